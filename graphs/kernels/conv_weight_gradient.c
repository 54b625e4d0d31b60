/* The gradient of a convolution's weight, from an activation of which some elements are kept and the others are zero.
 *
 * ConvWeightGradient(dy float32 [N, O, OH, OW], values float32 or float16 [k], places uint8 [m], shape int64 [4])
 *     -> dw float32 [end - begin, C, KH, KW]
 *
 *     dw[o - begin, c, i, j] = sum over n, y, x of dy[n, o, y, x] X[n, c, y SH + i - PT, x SW + j - PL]
 *
 * X, of the given shape [N, C, H, W], is what Densify makes of values and places, and zero outside. Attributes:
 * kernel_shape [KH, KW], strides [SH, SW], pads [PT, PL, PB, PR], out_channels [begin, end]. One group, no dilation.
 *
 * Fails if dy is not the output of such a convolution, or if places do not have k elements of a tensor of this shape.
 * NaN or infinity in X: its channel's sums are NaN even where such an element meets only padding.
 *
 * The scratch memory is bounded, some MiB for each thread, but for a bitmap of X.
 */

#include "conv_weight_gradient.h"

struct Attributes {
    int64_t kernel[2], strides[2], pads[4], out_channels[2];
};

static OrtStatus *create(const struct Node *node, void *state) {
    struct Attributes *a = state;
    TRY(attribute_ints(node, "kernel_shape", 2, a->kernel));
    TRY(attribute_ints(node, "strides", 2, a->strides));
    TRY(attribute_ints(node, "pads", 4, a->pads));
    TRY(attribute_ints(node, "out_channels", 2, a->out_channels));
    for (int axis = 0; axis < 2; axis++)
        if (a->kernel[axis] < 1 || a->strides[axis] < 1 || a->pads[axis] < 0 || a->pads[axis + 2] < 0)
            return FAIL(node, "kernel_shape and strides shall be at least 1, pads at least 0");
    if (a->out_channels[0] < 0 || a->out_channels[1] < a->out_channels[0])
        return FAIL(node, "out_channels are no range");
    return NULL;
}

static OrtStatus *axis_of(const struct Call *call, int number, const struct Tensor *x, struct Axis *axis) {
    const struct Attributes *a = call->state;
    int64_t size = x->shape[2 + number], out_size = call->inputs[0].shape[2 + number];
    int64_t room = size + a->pads[number] + a->pads[number + 2] - a->kernel[number];
    int64_t expected = room < 0 ? 0 : room / a->strides[number] + 1;
    if (out_size != expected)
        return FAIL(call, "side %d of dy is %lld, and of an output it would be %lld", 2 + number, (long long)out_size,
                    (long long)expected);
    *axis = (struct Axis){(size_t)size, (size_t)out_size, (size_t)a->kernel[number], (size_t)a->strides[number],
                          (size_t)a->pads[number]};
    return NULL;
}

static OrtStatus *convolution_of(const struct Call *call, const struct Tensor *x, struct Convolution *conv) {
    const struct Attributes *a = call->state;
    const struct Tensor *dy = &call->inputs[0];
    if (dy->rank != 4 || x->rank != 4)
        return FAIL(call, "dy has %d sides and x %d, not 4", dy->rank, x->rank);
    if (dy->shape[0] != x->shape[0])
        return FAIL(call, "dy is of %lld images and x of %lld", (long long)dy->shape[0], (long long)x->shape[0]);
    if (dy->shape[1] < a->out_channels[1])
        return FAIL(call, "dy has %lld channels, not %lld", (long long)dy->shape[1], (long long)a->out_channels[1]);
    *conv = (struct Convolution){.images = (size_t)x->shape[0],
                                 .channels = (size_t)x->shape[1],
                                 .out_channels = (size_t)dy->shape[1],
                                 .begin = (size_t)a->out_channels[0],
                                 .end = (size_t)a->out_channels[1],
                                 .gradient = dy->data};
    TRY(axis_of(call, 0, x, &conv->rows));
    return axis_of(call, 1, x, &conv->columns);
}

/* Counts the kept elements, so that any part of them is found at once. */
static OrtStatus *count_kept(const struct Call *call, struct Stored *x, size_t elements, size_t *ranks) {
    size_t kept = 0;
    for (size_t element = 0; element < elements; element += RANK_STEP) {
        ranks[element / RANK_STEP] = kept;
        size_t end = least(x->bytes, (element + RANK_STEP) / 8);
        for (size_t byte = element / 8; byte < end; byte += 8) {
            uint64_t bits = 0;
            memcpy(&bits, x->bits + byte, least(8, end - byte));
            kept += (size_t)__builtin_popcountll(bits);
        }
    }
    if (kept != x->kept)
        return FAIL(call, "places are %zu, and values %zu", kept, x->kept);
    x->ranks = ranks;
    return NULL;
}

static OrtStatus *compute(struct Call *call) {
    const struct Tensor *values = &call->inputs[1], *places = &call->inputs[2];
    struct Tensor x, dw;
    struct Convolution conv;
    TRY(described_shape(call, 3, &x));
    TRY(convolution_of(call, &x, &conv));
    int64_t shape[] = {(int64_t)(conv.end - conv.begin), x.shape[1], (int64_t)conv.rows.kernel,
                       (int64_t)conv.columns.kernel};
    TRY(output(call, 0, 4, shape, &dw));
    conv.result = dw.data;
    conv.x = (struct Stored){.bits = places->data,
                             .bytes = places->count,
                             .values = values->data,
                             .halves = values->type == FLOAT16,
                             .kept = values->count};
    if (!dw.count)
        return NULL;
    if (!values->count || !call->inputs[0].count) {
        memset(dw.data, 0, dw.count * sizeof(float));
        return NULL;
    }
    void *ranks;
    TRY(scratch(call, ceil_divide(x.count, RANK_STEP) * sizeof(size_t), &ranks));
    OrtStatus *failure = count_kept(call, &conv.x, x.count, ranks);
    if (!failure)
        failure = sparse_weight_gradient(call, &conv);
    free(ranks);
    return failure;
}

const struct Operator OPERATOR(ConvWeightGradient) = {.name = "ConvWeightGradient",
                                                      .inputs = {{FLOAT32}, {FLOATS}, {UINT8}, {INT64}},
                                                      .outputs = {{FLOAT32}},
                                                      .state_size = sizeof(struct Attributes),
                                                      .create = create,
                                                      .compute = compute};
