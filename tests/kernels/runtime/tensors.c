/* Tensors, in memory where it shows if more than they is touched. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

enum { JUNK = 0xA5 };

void give_up(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

size_t element_size(int type) {
    switch (type) {
        case ORT_FLOAT: return 4;
        case ORT_FLOAT16: return 2;
        case ORT_INT64: return 8;
        case ORT_UINT8:
        case ORT_BOOL: return 1;
        default: give_up("a tensor of type %d", type);
    }
}

size_t tensor_bytes(const OrtValue *tensor) {
    if (tensor->type == MISSING)
        return 0;
    size_t bytes = element_size(tensor->type);
    for (size_t axis = 0; axis < tensor->rank; axis++)
        bytes *= (size_t)tensor->shape[axis];
    return bytes;
}

void make_tensor(OrtValue *tensor, int type, size_t rank, const int64_t *shape) {
    *tensor = (OrtValue){.type = type, .rank = rank};
    if (rank > MOST_RANK)
        give_up("a tensor of %zu sides", rank);
    if (rank)
        memcpy(tensor->shape, shape, rank * sizeof *shape);
    size_t bytes = tensor_bytes(tensor);
    if (!bytes)
        return;
    /* Behind one element, so that it is aligned to no more than that; and up to the end, which a sanitizer watches. */
    tensor->memory = malloc(element_size(type) + bytes);
    if (!tensor->memory)
        give_up("no memory for %zu bytes", bytes);
    memset(tensor->memory, JUNK, element_size(type) + bytes);
    tensor->data = (char *)tensor->memory + element_size(type);
}

void copy_tensor(const OrtValue *tensor, OrtValue *copy) {
    *copy = *tensor;
    if (!tensor_bytes(tensor))
        return;
    make_tensor(copy, tensor->type, tensor->rank, tensor->shape);
    memcpy(copy->data, tensor->data, tensor_bytes(tensor));
}

void free_tensor(OrtValue *tensor) {
    free(tensor->memory);
    tensor->memory = tensor->data = NULL;
}
