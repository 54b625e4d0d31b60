/* What the kernels share.
 *
 * To add an operator:
 *   1. Write NAME.c beside this file. It begins with the operator's contract and ends with its description:
 *
 *          static OrtStatus *compute(struct Call *call) { ... }
 *
 *          const struct Operator OPERATOR(PackPositive) = {
 *              .name = "PackPositive", .inputs = {{FLOAT32}}, .outputs = {{UINT8}}, .compute = compute};
 *
 *      The file is compiled once for each instruction set, with exactly one of ISA_SCALAR, ISA_AVX2, ISA_AVX512 (with
 *      BW, DQ, VL, VBMI, VBMI2, BITALG and all of AVX2's) and ISA_NEON defined as 1, and the intrinsics of that one at
 *      hand. All in it is static but the operators. What other files shall call is declared in a header, renamed for
 *      each set:
 *
 *          #define places_expand FOR_ISA(places_expand)
 *
 *   2. Add a line to OPERATORS in register.c.
 *
 * compute() finds its inputs in call->inputs, as many and of the types that the description says (an optional one that
 * is missing has rank -1), checks that their shapes fit, makes its outputs and fills them. The data of a tensor is not
 * null, even if it has no elements. Work is shared among threads by pool_run; what is computed may not depend on how
 * many there are.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "ort.h"

#if ISA_AVX2 || ISA_AVX512
#include <immintrin.h>
#elif ISA_NEON
#include <arm_neon.h>
#endif

#define JOIN_EXPANDED(name, isa) name##_##isa
#define JOIN(name, isa) JOIN_EXPANDED(name, isa)
#define FOR_ISA(name) JOIN(name, ISA)
#define OPERATOR(name) FOR_ISA(name)

enum { MAX_INPUTS = 8, MAX_OUTPUTS = 3, MAX_RANK = 8 };

typedef _Float16 half;

/* FLOATS is either FLOAT32 or FLOAT16; as the type of an output, that of the one input that is FLOATS. */
enum Type { NOTHING, FLOAT32, FLOAT16, UINT8, INT64, BOOL, FLOATS };

struct Tensor {
    void *data;
    enum Type type;
    int rank; /* -1: an optional input that is missing */
    int64_t shape[MAX_RANK];
    size_t count; /* of elements */
};

/* The threads that may share the work of one call. */
struct Pool {
    const OrtApi *api;
    const OrtKernelContext *context;
};

/* A node while it is made. */
struct Node {
    const OrtApi *api;
    const struct Operator *operator;
    const OrtKernelInfo *info;
};

/* A node while it runs. */
struct Call {
    const OrtApi *api;
    const struct Operator *operator;
    OrtKernelContext *context;
    void *state;
    struct Pool pool;
    struct Tensor inputs[MAX_INPUTS];
};

struct Slot {
    enum Type type;
    bool optional;
};

struct Operator {
    const char *name;
    struct Slot inputs[MAX_INPUTS + 1], outputs[MAX_OUTPUTS + 1]; /* up to the first NOTHING */
    int in_place; /* how many of the first outputs take the memory of the inputs of the same numbers, where they can */

    /* What a node keeps from its creation to its end: memory of that size, zero at first; each function may be null.
     * destroy also follows a create that failed. */
    size_t state_size;
    OrtStatus *(*create)(const struct Node *, void *state);
    void (*destroy)(const OrtApi *, void *state);

    OrtStatus *(*compute)(struct Call *);
};

/* Errors. A status that is not null is a failure, and goes up to the runtime. */

#define TRY(expression)                  \
    do {                                 \
        OrtStatus *failure = expression; \
        if (failure)                     \
            return failure;              \
    } while (0)

/* The failure of a node (struct Node or struct Call) for the reason that the format and its arguments tell. */
#define FAIL(where, ...) failure_of((where)->api, (where)->operator, __VA_ARGS__)

__attribute__((format(printf, 3, 4))) OrtStatus *failure_of(const OrtApi *, const struct Operator *,
                                                            const char *format, ...);

/* Attributes, all of them required. */

OrtStatus *attribute_int(const struct Node *, const char *name, int64_t *value);
OrtStatus *attribute_float(const struct Node *, const char *name, float *value);
OrtStatus *attribute_ints(const struct Node *, const char *name, size_t count, int64_t *values);

/* Tensors. */

/* Points a described tensor to the data that the runtime has for it. */
OrtStatus *data_of(const struct Call *, OrtValue *, struct Tensor *);

/* Makes output `index`; the new tensor's content is undefined. */
OrtStatus *output(struct Call *, int index, int rank, const int64_t *shape, struct Tensor *made);
OrtStatus *output_flat(struct Call *, int index, size_t count, struct Tensor *made);

/* Makes output `index` in the shape of an input. One of the first in_place outputs may be that very input's memory. */
OrtStatus *output_like(struct Call *, int index, const struct Tensor *input, struct Tensor *made);

/* Makes one of the first in_place outputs, which holds what input `index` holds. */
OrtStatus *output_in_place(struct Call *, int index, struct Tensor *made);

/* The rank, shape and count of the tensor that input `index`, int64 [r], describes. */
OrtStatus *described_shape(const struct Call *, int index, struct Tensor *described);

bool same_shape(const struct Tensor *, const struct Tensor *);

/* Memory of that many bytes, aligned to 64, to be freed by memory_free(). */
OrtStatus *scratch(const struct Call *, size_t bytes, void **memory);

/* work(context, i) for each i < count, by several threads at once where the runtime has them. */
void pool_run(const struct Pool *, size_t count, void (*work)(void *context, size_t i), void *context);

static inline size_t ceil_divide(size_t count, size_t by) { return count / by + (count % by != 0); }

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Rounds to nearest even; what is too large becomes the largest finite number, and NaN stays NaN. */
static inline half half_of(float value) {
    return (half)(value > 65504.0f ? 65504.0f : value < -65504.0f ? -65504.0f : value);
}
