/* What MaxPool and its gradient share. */
#pragma once

#include "kernel.h"

#define pool_planes FOR_ISA(pool_planes)

enum { LARGEST_WINDOW = 255, LARGEST_STRIDE = 255 };

struct Geometry {
    int64_t kernel[2], strides[2], pads[4], rectified;
};

struct MaxPool {
    struct Geometry geometry;
    int64_t height, width, pooled_height, pooled_width;
    size_t planes, planes_at_once;
    bool packed; /* two codes in a byte */
    const float *x;
    float *y;
    uint8_t *codes;
};

/* The code of a window through which no gradient goes. */
static inline uint8_t none_of(const struct MaxPool *pool) { return pool->packed ? 15 : 255; }

static inline size_t code_bytes(const struct MaxPool *pool, size_t outputs) {
    return pool->packed ? ceil_divide(outputs, 2) : outputs;
}

/* Writes y and the codes of `planes_at_once` planes. */
void pool_planes(void *pool, size_t part);
