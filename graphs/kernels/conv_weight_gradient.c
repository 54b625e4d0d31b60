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
 * Where much is kept, the gradient is a product of dense matrices instead; for tests and benchmarks the environment
 * variable TOOLCHAIN_WEIGHT_GRADIENT, "sparse" or "dense", prescribes the way. The scratch memory is bounded, some MiB
 * for each thread, but for a bitmap of X.
 */

#include "conv_weight_gradient.h"

struct State {
    int64_t kernel[2], strides[2], pads[4], out_channels[2];
    OrtOp *gemm; /* null where the runtime lends none */
};

static OrtStatus *create(const struct Node *node, void *state) {
    struct State *a = state;
    TRY(attribute_ints(node, "kernel_shape", 2, a->kernel));
    TRY(attribute_ints(node, "strides", 2, a->strides));
    TRY(attribute_ints(node, "pads", 4, a->pads));
    TRY(attribute_ints(node, "out_channels", 2, a->out_channels));
    for (int axis = 0; axis < 2; axis++)
        if (a->kernel[axis] < 1 || a->strides[axis] < 1 || a->pads[axis] < 0 || a->pads[axis + 2] < 0)
            return FAIL(node, "kernel_shape and strides shall be at least 1, pads at least 0");
    if (a->out_channels[0] < 0 || a->out_channels[1] < a->out_channels[0])
        return FAIL(node, "out_channels are no range");
    OrtStatus *failure = make_gemm(node, &a->gemm);
    if (failure)
        node->api->ReleaseStatus(failure);
    return NULL;
}

static void destroy(const OrtApi *api, void *state) {
    struct State *a = state;
    if (a->gemm)
        api->ReleaseOp(a->gemm);
}

static OrtStatus *axis_of(const struct Call *call, int number, const struct Tensor *x, struct Axis *axis) {
    const struct State *a = call->state;
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
    const struct State *a = call->state;
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

/* Expands one part of the coded form. */
struct Expansion {
    const struct Places *places;
    uint64_t *words;
};

static void expand_part(void *context, size_t part) {
    const struct Expansion *expansion = context;
    places_part(expansion->places, part, expansion->words + part * PART_WORDS);
}

/* Whether more is kept than the share from which on the dense product is faster, as the column "our own dense" of
 * benchmarks/conv_weight_gradient.py shows it. */
static bool dense_is_faster(const struct Convolution *conv) {
#if ISA_AVX512
    static const double one_tap[] = {0.7, 0.7}, more_taps[] = {1, 0.95}; /* without strides, with */
#else
    static const double one_tap[] = {0.75, 0.55}, more_taps[] = {1, 0.62};
#endif
    const double *shares = conv->rows.kernel * conv->columns.kernel == 1 ? one_tap : more_taps;
    double elements = (double)(conv->images * conv->channels * conv->rows.size * conv->columns.size);
    return (double)conv->x.kept > shares[conv->rows.stride * conv->columns.stride > 1] * elements;
}

static OrtStatus *add_up(const struct Call *call, const struct Convolution *conv) {
    const struct State *a = call->state;
    const char *way = getenv("TOOLCHAIN_WEIGHT_GRADIENT");
    bool possible = a->gemm && dense_is_possible(conv), dense = way && !strcmp(way, "dense");
    if (dense && !possible)
        return FAIL(call, "a dense product is not possible here");
    if (dense || (!way && possible && dense_is_faster(conv)))
        return dense_weight_gradient(call, conv, a->gemm);
    return sparse_weight_gradient(call, conv);
}

/* The coded form is expanded first: to a bitmap, of which any part is found at once. */
static OrtStatus *add_up_places(const struct Call *call, const struct Places *places, struct Convolution *conv) {
    void *words = NULL;
    conv->x.starts = places->starts;
    if (places->coded) {
        size_t bytes = places->parts * PART_WORDS * sizeof(uint64_t);
        TRY(scratch(call, bytes, &words));
        struct Expansion expansion = {places, words};
        pool_run(&call->pool, places->parts, expand_part, &expansion);
        conv->x.bytes = bytes;
    }
    conv->x.bits = words ? words : places->bitmap;
    OrtStatus *failure = add_up(call, conv);
    memory_free(words);
    return failure;
}

static OrtStatus *compute(struct Call *call) {
    const struct Tensor *values = &call->inputs[1];
    struct Tensor x, dw;
    struct Convolution conv;
    struct Places places;
    TRY(described_shape(call, 3, &x));
    TRY(convolution_of(call, &x, &conv));
    TRY(places_open(call, &call->inputs[2], x.count, values->count, &places));
    int64_t shape[] = {(int64_t)(conv.end - conv.begin), x.shape[1], (int64_t)conv.rows.kernel,
                       (int64_t)conv.columns.kernel};
    OrtStatus *failure = output(call, 0, 4, shape, &dw);
    conv.result = dw.data;
    conv.x = (struct Stored){.bytes = call->inputs[2].count,
                             .values = values->data,
                             .halves = values->type == FLOAT16,
                             .kept = values->count};
    if (!failure && dw.count && values->count && call->inputs[0].count)
        failure = add_up_places(call, &places, &conv);
    else if (!failure && dw.count)
        memset(dw.data, 0, dw.count * sizeof(float));
    places_close(&places);
    return failure;
}

const struct Operator OPERATOR(ConvWeightGradient) = {.name = "ConvWeightGradient",
                                                      .inputs = {{FLOAT32}, {FLOATS}, {UINT8}, {INT64}},
                                                      .outputs = {{FLOAT32}},
                                                      .state_size = sizeof(struct State),
                                                      .create = create,
                                                      .destroy = destroy,
                                                      .compute = compute};
