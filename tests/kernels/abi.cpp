// Compared by the compiler: our ort.h, in a namespace of its own, and the runtime's own header. COMPARISONS is for
// test_abi.py to define: MEMBER(structure, name) and CONSTANT(ours, theirs), for all that ort.h has.
// Without C++'s own library, which takes minutes to build where it is not there.

#include <stddef.h>
#include <stdint.h>

#include "onnxruntime_c_api.h"

namespace ours {
struct OrtAllocator;
struct OrtApi;
struct OrtApiBase;
struct OrtCustomOp;
#include "ort.h"
}  // namespace ours

// What a type is to the machine: all pointers are one, and an enumeration is the integer that it is kept in.
template <class T, bool is_enum = __is_enum(T)>
struct Plain {
    using Type = T;
};
template <class T>
struct Plain<T *, false> {
    using Type = void *;
};
template <class T>
struct Plain<T, true> {
    using Type = __make_signed(__underlying_type(T));
};

template <class T>
struct Signature {
    using Type = T;
};
template <class Result, class... Arguments>
struct Signature<Result (*)(Arguments...)> {
    using Type = typename Plain<Result>::Type(typename Plain<Arguments>::Type...);
};
template <class Result, class... Arguments>
struct Signature<Result (*)(Arguments...) noexcept> : Signature<Result (*)(Arguments...)> {};

#define SIGNATURE(structure, name) Signature<decltype(structure::name)>::Type
#define MEMBER(structure, name)                                                                                   \
    static_assert(offsetof(ours::structure, name) == offsetof(::structure, name), "another place");              \
    static_assert(__is_same(SIGNATURE(ours::structure, name), SIGNATURE(::structure, name)), "another signature");
#define CONSTANT(our_name, their_name) static_assert(int(ours::our_name) == int(::their_name), "another number");

static_assert(ORT_VERSION <= ORT_API_VERSION, "a version that the runtime's header does not know yet");
COMPARISONS
