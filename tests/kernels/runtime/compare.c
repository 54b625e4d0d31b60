#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double value_at(const OrtValue *tensor, size_t i) {
    switch (tensor->type) {
        case ORT_FLOAT: return ((const float *)tensor->data)[i];
        case ORT_FLOAT16: return (double)((const _Float16 *)tensor->data)[i];
        case ORT_INT64: return (double)((const int64_t *)tensor->data)[i];
        default: return ((const uint8_t *)tensor->data)[i];
    }
}

static size_t element_count(const OrtValue *tensor) { return tensor_bytes(tensor) / element_size(tensor->type); }

static double root_mean_square(const OrtValue *tensor) {
    double sum = 0;
    size_t finite = 0;
    for (size_t i = 0; i < element_count(tensor); i++)
        if (isfinite(value_at(tensor, i))) {
            sum += value_at(tensor, i) * value_at(tensor, i);
            finite++;
        }
    return finite ? sqrt(sum / (double)finite) : 0;
}

static bool is_shaped_alike(const OrtValue *a, const OrtValue *b) {
    return a->type == b->type && a->rank == b->rank && !memcmp(a->shape, b->shape, a->rank * sizeof *a->shape);
}

static bool has_same_bits(const OrtValue *a, const OrtValue *b, size_t i) {
    size_t size = element_size(a->type);
    return !memcmp((const char *)a->data + i * size, (const char *)b->data + i * size, size);
}

bool is_same(const OrtValue *found, const OrtValue *expected, struct Tolerance tolerance, char *difference,
             size_t room) {
    if (!is_shaped_alike(found, expected))
        return snprintf(difference, room, "it is of another type or shape"), false;
    double part = found->type == ORT_FLOAT ? tolerance.part : 0;
    double least = part > 0 ? fmax(root_mean_square(expected), tolerance.size) : 0;
    for (size_t i = 0; i < element_count(found); i++) {
        double is = value_at(found, i), shall = value_at(expected, i);
        double allowed = part * fmax(least, fabs(shall));
        bool near = isfinite(shall) && allowed > 0 && fabs(is - shall) <= allowed;
        if (!near && !has_same_bits(found, expected, i) && !(isnan(is) && isnan(shall)))
            return snprintf(difference, room, "element %zu is %.9g, not %.9g", i, is, shall), false;
    }
    return true;
}
