/* Sums in place, and copies.
 *
 * AddInto(a float32 [...], b float32 of the same shape) -> y float32, in a's memory: a + b
 * AddStrided(x float32 [N, C, H, W], small float32 [N, C, h, w]; strides int[2]) -> y float32, in x's memory:
 *     x[:, :, ::strides[0], ::strides[1]] += small, where h = ceil(H / strides[0]) and w = ceil(W / strides[1])
 * Copy(x float32 [...]) -> y float32 of its own memory: x
 */

#include "kernel.h"

enum { PART = 1 << 15 };

struct Sum {
    const float *a, *b; /* b null: nothing is added */
    float *y;
    size_t count;
};

static void add_part(void *context, size_t part) {
    const struct Sum *sum = context;
    const float *a = sum->a, *b = sum->b;
    float *y = sum->y;
    size_t begin = part * PART, end = least(sum->count, begin + PART);
    if (!b) {
        memcpy(y + begin, a + begin, (end - begin) * sizeof(float));
        return;
    }
    /* y is a's or b's memory or has none in common with them. */
#pragma clang loop vectorize(assume_safety)
    for (size_t i = begin; i < end; i++)
        y[i] = a[i] + b[i];
}

static OrtStatus *run(struct Call *call, const float *b) {
    const struct Tensor *a = &call->inputs[0];
    struct Tensor y;
    TRY(output_like(call, 0, a, &y));
    struct Sum sum = {a->data, b, y.data, a->count};
    pool_run(&call->pool, ceil_divide(a->count, PART), add_part, &sum);
    return NULL;
}

static OrtStatus *add_into(struct Call *call) {
    if (!same_shape(&call->inputs[0], &call->inputs[1]))
        return FAIL(call, "the shapes of its inputs differ");
    return run(call, call->inputs[1].data);
}

static OrtStatus *copy(struct Call *call) { return run(call, NULL); }

struct Strided {
    float *x;
    const float *small;
    size_t width, small_height, small_width, plane, strides[2];
};

static void add_plane(void *context, size_t plane) {
    const struct Strided *work = context;
    const float *from = work->small + plane * work->small_height * work->small_width;
    for (size_t row = 0; row < work->small_height; row++, from += work->small_width) {
        float *to = work->x + plane * work->plane + row * work->strides[0] * work->width;
        for (size_t column = 0; column < work->small_width; column++)
            to[column * work->strides[1]] += from[column];
    }
}

static OrtStatus *create_strides(const struct Node *node, void *state) {
    int64_t *strides = state;
    TRY(attribute_ints(node, "strides", 2, strides));
    if (strides[0] < 1 || strides[1] < 1)
        return FAIL(node, "strides are at least 1");
    return NULL;
}

static OrtStatus *add_strided(struct Call *call) {
    const struct Tensor *x = &call->inputs[0], *small = &call->inputs[1];
    const int64_t *strides = call->state;
    bool fits = x->rank == 4 && small->rank == 4;
    for (int axis = 0; axis < 4 && fits; axis++) {
        size_t stride = axis < 2 ? 1 : (size_t)strides[axis - 2];
        fits = (size_t)small->shape[axis] == ceil_divide((size_t)x->shape[axis], stride);
    }
    if (!fits)
        return FAIL(call, "its second input is not of the shape that the strides leave of the first");
    struct Tensor y;
    TRY(output_in_place(call, 0, &y));
    size_t height = (size_t)x->shape[2], width = (size_t)x->shape[3];
    struct Strided work = {
        .x = y.data,
        .small = small->data,
        .width = width,
        .small_height = (size_t)small->shape[2],
        .small_width = (size_t)small->shape[3],
        .plane = height * width,
        .strides = {(size_t)strides[0], (size_t)strides[1]},
    };
    if (x->count)
        pool_run(&call->pool, (size_t)(x->shape[0] * x->shape[1]), add_plane, &work);
    return NULL;
}

const struct Operator OPERATOR(AddInto) = {.name = "AddInto",
                                           .inputs = {{FLOAT32}, {FLOAT32}},
                                           .outputs = {{FLOAT32}},
                                           .in_place = 1,
                                           .compute = add_into};

const struct Operator OPERATOR(AddStrided) = {.name = "AddStrided",
                                              .inputs = {{FLOAT32}, {FLOAT32}},
                                              .outputs = {{FLOAT32}},
                                              .in_place = 1,
                                              .state_size = 2 * sizeof(int64_t),
                                              .create = create_strides,
                                              .compute = add_strided};

const struct Operator OPERATOR(Copy) = {
    .name = "Copy", .inputs = {{FLOAT32}}, .outputs = {{FLOAT32}}, .compute = copy};
