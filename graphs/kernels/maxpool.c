/* The largest of each window, and where it was.
 *
 * MaxPool(x float32 [N, C, H, W]; kernel_shape int[2], strides int[2], pads int[4], rectified int)
 *     -> y float32 [N, C, h, w], codes uint8 [n or ceil(n / 2)] for the n elements of y
 *     y is the first maximum of each window in order of rows, where NaN is the largest; its code is row * KW + column
 *     in the window. rectified 1: x comes from a Relu, through which no gradient goes where it gives zero, so a window
 *     whose maximum is not above zero gets the code NONE. h = floor((H + pads[0] + pads[2] - KH) / strides[0]) + 1.
 * MaxPoolGradient(dy float32 [N, C, h, w], codes uint8, shape int64 [4] of x; the same attributes)
 *     -> dx float32 [N, C, H, W]: the sum of the dy of all windows whose maximum it is
 *
 * Windows of at most 15 places have codes of four bits, two in a byte, the first in the low half, NONE = 15; of at most
 * 255, bytes, NONE = 255. Refused: larger windows or strides, pads as large as the window, codes that x has no place for.
 */

#include <stdatomic.h>

#include "maxpool.h"

enum { PART = 1 << 14 }; /* outputs of a thread's share */

struct Spread {
    struct MaxPool pool;
    const float *dy;
    float *dx;
    size_t shifts[256]; /* from a window's corner to the place that a code names; too far for a code that names none */
    atomic_bool broken;
};

static void spread_plane(struct Spread *spread, size_t plane) {
    const struct MaxPool *pool = &spread->pool;
    const struct Geometry *geometry = &pool->geometry;
    size_t size = (size_t)(pool->height * pool->width);
    size_t from = plane * (size_t)(pool->pooled_height * pool->pooled_width);
    float *to = spread->dx + plane * size;
    uint8_t none = geometry->rectified ? none_of(pool) : 0;
    memset(to, 0, size * sizeof(float));
    for (int64_t row = 0; row < pool->pooled_height; row++) {
        int64_t corner = (row * geometry->strides[0] - geometry->pads[0]) * pool->width - geometry->pads[1];
        for (int64_t column = 0; column < pool->pooled_width; column++, from++, corner += geometry->strides[1]) {
            uint8_t code = pool->packed ? pool->codes[from / 2] >> from % 2 * 4 & 15 : pool->codes[from];
            size_t at = (size_t)corner + spread->shifts[code];
            if (at < size)
                to[at] += spread->dy[from];
            else if (!none || code != none)
                spread->broken = true;
        }
    }
}

static void spread_planes(void *context, size_t part) {
    struct Spread *spread = context;
    size_t begin = part * spread->pool.planes_at_once;
    size_t end = least(spread->pool.planes, begin + spread->pool.planes_at_once);
    for (size_t plane = begin; plane < end; plane++)
        spread_plane(spread, plane);
}

static OrtStatus *create(const struct Node *node, void *state) {
    struct Geometry *geometry = state;
    TRY(attribute_ints(node, "kernel_shape", 2, geometry->kernel));
    TRY(attribute_ints(node, "strides", 2, geometry->strides));
    TRY(attribute_ints(node, "pads", 4, geometry->pads));
    TRY(attribute_int(node, "rectified", &geometry->rectified));
    for (int axis = 0; axis < 2; axis++) {
        if (geometry->kernel[axis] < 1 || geometry->strides[axis] < 1 || geometry->strides[axis] > LARGEST_STRIDE)
            return FAIL(node, "windows and strides are at least 1, and strides at most %d", LARGEST_STRIDE);
        for (int end = axis; end < 4; end += 2)
            if (geometry->pads[end] < 0 || geometry->pads[end] >= geometry->kernel[axis])
                return FAIL(node, "pads are at least 0 and less than the window");
    }
    if (geometry->kernel[0] > LARGEST_WINDOW || geometry->kernel[1] > LARGEST_WINDOW / geometry->kernel[0])
        return FAIL(node, "a window has at most %d places", LARGEST_WINDOW);
    return NULL;
}

static OrtStatus *pooled_side(const struct Call *call, const struct Tensor *x, int axis, int64_t *pooled) {
    const struct Geometry *geometry = call->state;
    int64_t side = x->shape[axis + 2], room = side + geometry->pads[axis] + geometry->pads[axis + 2];
    if (side < 1 || room < geometry->kernel[axis])
        return FAIL(call, "a window of %lld does not fit in %lld", (long long)geometry->kernel[axis], (long long)room);
    *pooled = (room - geometry->kernel[axis]) / geometry->strides[axis] + 1;
    return NULL;
}

static OrtStatus *plan(const struct Call *call, const struct Tensor *x, struct MaxPool *pool) {
    if (x->rank != 4)
        return FAIL(call, "a tensor of %d sides is not [N, C, H, W]", x->rank);
    *pool = (struct MaxPool){.geometry = *(const struct Geometry *)call->state,
                             .height = x->shape[2],
                             .width = x->shape[3],
                             .planes = (size_t)(x->shape[0] * x->shape[1])};
    TRY(pooled_side(call, x, 0, &pool->pooled_height));
    TRY(pooled_side(call, x, 1, &pool->pooled_width));
    pool->packed = pool->geometry.kernel[0] * pool->geometry.kernel[1] <= 15;
    /* An even number of planes, so that no two threads share a byte of codes. */
    pool->planes_at_once = 2 * ceil_divide(PART / 2, (size_t)(pool->pooled_height * pool->pooled_width));
    return NULL;
}

static size_t all_code_bytes(const struct MaxPool *pool) {
    return code_bytes(pool, pool->planes * (size_t)(pool->pooled_height * pool->pooled_width));
}

static OrtStatus *max_pool(struct Call *call) {
    const struct Tensor *x = &call->inputs[0];
    struct MaxPool pool;
    TRY(plan(call, x, &pool));
    struct Tensor y, codes;
    TRY(output(call, 0, 4, (int64_t[]){x->shape[0], x->shape[1], pool.pooled_height, pool.pooled_width}, &y));
    TRY(output_flat(call, 1, all_code_bytes(&pool), &codes));
    pool.x = x->data;
    pool.y = y.data;
    pool.codes = codes.data;
    pool_run(&call->pool, ceil_divide(pool.planes, pool.planes_at_once), pool_planes, &pool);
    return NULL;
}

static OrtStatus *max_pool_gradient(struct Call *call) {
    const struct Tensor *dy = &call->inputs[0], *codes = &call->inputs[1];
    struct Spread spread = {.dy = dy->data};
    struct MaxPool *pool = &spread.pool;
    struct Tensor shape, dx;
    TRY(described_shape(call, 2, &shape));
    TRY(plan(call, &shape, pool));
    struct Tensor pooled = {.rank = 4,
                            .shape = {shape.shape[0], shape.shape[1], pool->pooled_height, pool->pooled_width}};
    if (!same_shape(dy, &pooled) || codes->count != all_code_bytes(pool))
        return FAIL(call, "its gradient and codes are not those of windows in the shape given");
    TRY(output(call, 0, 4, shape.shape, &dx));
    pool->codes = codes->data;
    spread.dx = dx.data;
    int64_t columns = pool->geometry.kernel[1], places = pool->geometry.kernel[0] * columns;
    for (int64_t code = 0; code < 256; code++)
        spread.shifts[code] = (size_t)(code < places ? code / columns * pool->width + code % columns : INT64_MAX / 2);
    pool_run(&call->pool, ceil_divide(pool->planes, pool->planes_at_once), spread_planes, &spread);
    return spread.broken ? FAIL(call, "its codes name places outside of the shape given") : NULL;
}

const struct Operator OPERATOR(MaxPool) = {.name = "MaxPool",
                                           .inputs = {{FLOAT32}},
                                           .outputs = {{FLOAT32}, {UINT8}},
                                           .state_size = sizeof(struct Geometry),
                                           .create = create,
                                           .compute = max_pool};

const struct Operator OPERATOR(MaxPoolGradient) = {.name = "MaxPoolGradient",
                                                   .inputs = {{FLOAT32}, {UINT8}, {INT64}},
                                                   .outputs = {{FLOAT32}},
                                                   .state_size = sizeof(struct Geometry),
                                                   .create = create,
                                                   .compute = max_pool_gradient};
