/* As much of ONNX Runtime as the kernels call, to run one operator by itself: on any machine, and under any sanitizer.
 *
 * It is stricter than the original. The memory of a tensor is its own, ends where the tensor ends, and is aligned to
 * its elements alone; what is in a new output is junk. Work that is shared among threads may be done in any order.
 */
#pragma once

#include <stdbool.h>

#include "../../../graphs/kernels/ort.h"

enum { MOST_RANK = 8, MOST_TENSORS = 8, MOST_ATTRIBUTES = 8, MOST_OPERATORS = 64 };

struct OrtStatus {
    char message[1024];
};

struct OrtValue {
    int type; /* as in ONNX; MISSING, of an input */
    size_t rank;
    int64_t shape[MOST_RANK];
    void *data; /* null where there are no elements */
    void *memory; /* that data is in; null if it is another's */
};
enum { MISSING = -1 };

struct Attribute {
    char name[64];
    int type; /* OrtOpAttrType */
    size_t count;
    int64_t ints[MOST_RANK];
    double number;
};

struct OrtKernelInfo {
    size_t count;
    struct Attribute attributes[MOST_ATTRIBUTES];
};

/* How the work of an operator is done. */
struct Manner {
    const char *name;
    bool in_place; /* the outputs that can be take the memory of inputs */
    bool backwards;
    size_t threads;
};

struct OrtKernelContext {
    const OrtCustomOp *operator;
    const struct Manner *manner;
    size_t input_count, output_count;
    OrtValue inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    int output_types[MOST_TENSORS];
};

struct OrtCustomOpDomain {
    size_t count;
    const OrtCustomOp *operators[MOST_OPERATORS];
};

struct OrtSessionOptions {
    OrtCustomOpDomain *domain;
};

extern const OrtApiBase runtime;
extern const OrtApi runtime_api;

OrtStatus *RegisterCustomOps(OrtSessionOptions *, const OrtApiBase *); /* the kernels' */

/* Ends the program, with the reason that the format and its arguments tell. */
__attribute__((format(printf, 1, 2), noreturn)) void give_up(const char *format, ...);

/* A failure of this text. */
OrtStatus *refuse(const char *message);

/* What the interface has, in files of their own. */
OrtStatus *parallel_for(const OrtKernelContext *, void (*work)(void *, size_t), size_t count, size_t batches, void *);
OrtStatus *create_op_attribute(const char *name, const void *data, int count, int type, OrtOpAttr **);
void release_op_attribute(OrtOpAttr *);
OrtStatus *create_op(const OrtKernelInfo *, const char *op_type, const char *domain, int version,
                     const char **constraint_names, const int *constraint_types, int constraints,
                     const OrtOpAttr *const *attributes, int attribute_count, int input_count, int output_count,
                     OrtOp **);
OrtStatus *invoke_op(const OrtKernelContext *, const OrtOp *, const OrtValue *const *inputs, int input_count,
                     OrtValue *const *outputs, int output_count);
void release_op(OrtOp *);

size_t element_size(int type);
size_t tensor_bytes(const OrtValue *);
void make_tensor(OrtValue *, int type, size_t rank, const int64_t *shape); /* of junk */
void copy_tensor(const OrtValue *, OrtValue *copy);
void free_tensor(OrtValue *);
