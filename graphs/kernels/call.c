/* What an operator does through the runtime: errors, attributes, tensors, threads. */

#include "kernel.h"

#include <stdarg.h>
#include <stdio.h>

OrtStatus *failure_of(const OrtApi *api, const struct Operator *operator, const char *format, ...) {
    char message[512];
    int length = snprintf(message, sizeof message, "%s: ", operator->name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message + length, sizeof message - (size_t)length, format, arguments);
    va_end(arguments);
    return api->CreateStatus(ORT_FAIL, message);
}

OrtStatus *attribute_int(const struct Node *node, const char *name, int64_t *value) {
    return node->api->KernelInfoGetAttribute_int64(node->info, name, value);
}

OrtStatus *attribute_float(const struct Node *node, const char *name, float *value) {
    return node->api->KernelInfoGetAttribute_float(node->info, name, value);
}

OrtStatus *attribute_ints(const struct Node *node, const char *name, size_t count, int64_t *values) {
    size_t found = 0;
    TRY(node->api->KernelInfoGetAttributeArray_int64(node->info, name, NULL, &found));
    if (found != count)
        return FAIL(node, "attribute %s has %zu numbers, not %zu", name, found, count);
    return node->api->KernelInfoGetAttributeArray_int64(node->info, name, values, &found);
}

static enum Type output_type(const struct Call *call, int index) {
    enum Type type = call->operator->outputs[index].type;
    for (int i = 0; type == FLOATS && i < MAX_INPUTS; i++)
        if (call->operator->inputs[i].type == FLOATS)
            type = call->inputs[i].type;
    return type;
}

OrtStatus *data_of(const struct Call *call, OrtValue *value, struct Tensor *tensor) {
    static _Alignas(64) char nothing[64];
    TRY(call->api->GetTensorMutableData(value, &tensor->data));
    if (!tensor->count)
        tensor->data = nothing;
    return NULL;
}

OrtStatus *output(struct Call *call, int index, int rank, const int64_t *shape, struct Tensor *made) {
    OrtValue *value;
    TRY(call->api->KernelContext_GetOutput(call->context, (size_t)index, shape, (size_t)rank, &value));
    *made = (struct Tensor){.type = output_type(call, index), .rank = rank, .count = 1};
    for (int axis = 0; axis < rank; axis++) {
        made->shape[axis] = shape[axis];
        made->count *= (size_t)shape[axis];
    }
    return data_of(call, value, made);
}

OrtStatus *output_flat(struct Call *call, int index, size_t count, struct Tensor *made) {
    return output(call, index, 1, &(int64_t){(int64_t)count}, made);
}

OrtStatus *output_like(struct Call *call, int index, const struct Tensor *input, struct Tensor *made) {
    return output(call, index, input->rank, input->shape, made);
}

OrtStatus *output_in_place(struct Call *call, int index, struct Tensor *made) {
    const struct Tensor *input = &call->inputs[index];
    TRY(output_like(call, index, input, made));
    if (made->data != input->data && input->count)
        memcpy(made->data, input->data, input->count * sizeof(float));
    return NULL;
}

OrtStatus *described_shape(const struct Call *call, int index, struct Tensor *described) {
    const struct Tensor *input = &call->inputs[index];
    if (input->rank != 1 || input->shape[0] > MAX_RANK)
        return FAIL(call, "input %d is no shape of at most %d sides", index, MAX_RANK);
    *described = (struct Tensor){.rank = (int)input->shape[0], .count = 1};
    for (int axis = 0; axis < described->rank; axis++) {
        int64_t side = ((const int64_t *)input->data)[axis];
        if (side < 0 || __builtin_mul_overflow(described->count, (size_t)side, &described->count))
            return FAIL(call, "input %d is no shape: side %d is %lld", index, axis, (long long)side);
        described->shape[axis] = side;
    }
    return NULL;
}

bool same_shape(const struct Tensor *a, const struct Tensor *b) {
    return a->rank == b->rank && !memcmp(a->shape, b->shape, (size_t)(a->rank > 0 ? a->rank : 0) * sizeof(int64_t));
}

OrtStatus *scratch(const struct Call *call, size_t bytes, void **memory) {
    *memory = memory_take(bytes);
    return *memory ? NULL : FAIL(call, "no memory for %zu bytes", bytes);
}

void pool_run(const struct Pool *pool, size_t count, void (*work)(void *context, size_t i), void *context) {
    OrtStatus *failure = NULL;
    if (count > 1)
        failure = pool->api->KernelContext_ParallelFor(pool->context, work, count, 0, context);
    else if (count)
        work(context, 0);
    if (failure)
        pool->api->ReleaseStatus(failure);
}
