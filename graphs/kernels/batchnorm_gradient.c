/* The gradient of BatchNorm on batch statistics, from the kept values of its centred input.
 *
 * BatchNormGradient(dy float32 [N, C, ...], values float32|float16 [k], places uint8 [m], scale, inverse float32 [C],
 *                   bits uint8 [ceil(n / 8)] optional)
 *     -> dx float32, in dy's memory, dscale float32 [C], dbias float32 [C]
 *
 * values and places are what Sparsify gives of the centred input c = x - mean, inverse = 1 / sqrt(variance + epsilon).
 * bits, where given, say which elements of dy count (those that a Relu let through); the others count as 0. With the
 * sums over the `count` elements of each channel:
 *     dscale = inverse sum(dy c)      dbias = sum(dy)
 *     dx = scale inverse (dy - dbias / count - c inverse dscale / count)
 * Source: Ioffe and Szegedy (ICML 2015) section 3.
 *
 * Works on a few channels at a time, so that what the sums have read is still in the cache when dx is made of it.
 * c stands in memory by tiles only. Refused: shapes that do not fit, places that do not hold k elements.
 */

#include "blocks.h"
#include "planes.h"
#include "sparse.h"

enum { BLOCK = 1 << 16 }; /* elements of the channels that are worked on together */

struct Channel {
    double sum, product; /* of dy, of dy c */
    float slope, shift, pull;
};

struct Gradient {
    struct Planes planes;
    const float *dy;
    float *dx;
    const uint8_t *bits;
    size_t bytes; /* of the bits */
    struct Sparse centered;
    const float *scale, *inverse;
    float *dscale, *dbias;
    struct Channel *channels;
    size_t block; /* channels that are worked on together */
};

/* A part of one plane: masked dy, c, and where dx belongs. */
struct Stretch {
    const float *dy, *centered;
    float *dx;
    size_t count;
};

typedef void Visit(struct Channel *, const struct Stretch *);

static void measure(struct Channel *channel, const struct Stretch *stretch) {
#pragma clang fp reassociate(on)
    float sum = 0, product = 0;
#pragma clang loop vectorize_width(16) interleave_count(2)
    for (size_t i = 0; i < stretch->count; i++) {
        sum += stretch->dy[i];
        product += stretch->dy[i] * stretch->centered[i];
    }
    channel->sum += sum;
    channel->product += product;
}

static void apply(struct Channel *channel, const struct Stretch *stretch) {
    float slope = channel->slope, shift = channel->shift, pull = channel->pull;
    const float *dy = stretch->dy, *centered = stretch->centered;
    float *dx = stretch->dx; /* is dy, or has none of it */
#pragma clang loop vectorize(assume_safety)
    for (size_t i = 0; i < stretch->count; i++)
        dx[i] = slope * dy[i] + shift - pull * centered[i];
}

/* Elements begin..end of dy where their bits are set, and 0 elsewhere, in `room` if anything has to change. */
static const float *masked(const struct Gradient *gradient, size_t begin, size_t end, float room[TILE]) {
    const float *dy = gradient->dy + begin;
    if (!gradient->bits)
        return dy;
    uint64_t words[TILE_WORDS];
    size_t count = end - begin, whole = count / 64;
    words_of(gradient->bits, gradient->bytes, begin, end, words);
    for (size_t i = 0; i < whole; i++)
        block_keep(dy + 64 * i, words[i], room + 64 * i);
    for (size_t i = 64 * whole; i < count; i++)
        room[i] = words[whole] >> i % 64 & 1 ? dy[i] : 0;
    return room;
}

/* Visits elements begin..end, which begin and end with a channel's plane, tile by tile. */
static void walk_run(const struct Gradient *gradient, size_t begin, size_t end, size_t channel, Visit *visit) {
    float centered[TILE], room[TILE];
    size_t pixels = gradient->planes.pixels, edge = begin + pixels;
    size_t kept = sparse_kept_before(&gradient->centered, begin);
    for (size_t first = begin; first < end; first += TILE) {
        size_t last = least(end, first + TILE);
        sparse_restore(&gradient->centered, first, last, &kept, centered);
        const float *dy = masked(gradient, first, last, room);
        for (size_t at = first; at < last;) {
            size_t stop = least(edge, last), offset = at - first;
            visit(&gradient->channels[channel],
                  &(struct Stretch){dy + offset, centered + offset, gradient->dx + at, stop - at});
            at = stop;
            if (stop == edge) {
                edge += pixels;
                channel++;
            }
        }
    }
}

static void walk_block(const struct Gradient *gradient, size_t block, Visit *visit) {
    const struct Planes *planes = &gradient->planes;
    size_t first = block * gradient->block, last = least(planes->channels, first + gradient->block);
    for (size_t image = 0; image < planes->images; image++) {
        size_t begin = (image * planes->channels + first) * planes->pixels;
        walk_run(gradient, begin, begin + (last - first) * planes->pixels, first, visit);
    }
}

static void finish_sums(const struct Gradient *gradient, size_t index) {
    struct Channel *channel = &gradient->channels[index];
    double count = (double)(gradient->planes.images * gradient->planes.pixels), inverse = gradient->inverse[index];
    double dscale = inverse * channel->product, slope = gradient->scale[index] * inverse;
    gradient->dscale[index] = (float)dscale;
    gradient->dbias[index] = (float)channel->sum;
    channel->slope = (float)slope;
    channel->shift = (float)(-slope * channel->sum / count);
    channel->pull = (float)(slope * inverse * dscale / count);
}

static void derive_block(void *context, size_t block) {
    const struct Gradient *gradient = context;
    size_t first = block * gradient->block, last = least(gradient->planes.channels, first + gradient->block);
    for (size_t channel = first; channel < last; channel++)
        gradient->channels[channel] = (struct Channel){0};
    walk_block(gradient, block, measure);
    for (size_t channel = first; channel < last; channel++)
        finish_sums(gradient, channel);
    walk_block(gradient, block, apply);
}

/* Makes the outputs and fills them. */
static OrtStatus *derive(struct Call *call, struct Gradient *gradient) {
    const struct Planes *planes = &gradient->planes;
    struct Tensor dx, dscale, dbias;
    void *channels;
    TRY(output_like(call, 0, &call->inputs[0], &dx));
    TRY(output_flat(call, 1, planes->channels, &dscale));
    TRY(output_flat(call, 2, planes->channels, &dbias));
    TRY(scratch(call, planes->channels * sizeof(struct Channel), &channels));
    gradient->dx = dx.data;
    gradient->dscale = dscale.data;
    gradient->dbias = dbias.data;
    gradient->channels = channels;
    gradient->block = channels_within(planes, planes->images, BLOCK);
    pool_run(&call->pool, ceil_divide(planes->channels, gradient->block), derive_block, gradient);
    memory_free(channels);
    return NULL;
}

static OrtStatus *compute(struct Call *call) {
    const struct Tensor *dy = &call->inputs[0], *bits = &call->inputs[5];
    struct Gradient gradient = {.dy = dy->data,
                                .bits = bits->rank < 0 ? NULL : bits->data,
                                .bytes = ceil_divide(dy->count, 8),
                                .scale = call->inputs[3].data,
                                .inverse = call->inputs[4].data};
    TRY(planes_of(call, dy, &gradient.planes));
    TRY(one_per_channel(call, &gradient.planes, 3, 4));
    if (bits->rank >= 0 && bits->count != gradient.bytes)
        return FAIL(call, "%zu bytes of bits do not fit %zu elements", bits->count, dy->count);
    TRY(sparse_open(call, 1, 2, dy->count, &gradient.centered));
    OrtStatus *failure = derive(call, &gradient);
    sparse_close(&gradient.centered);
    return failure;
}

const struct Operator OPERATOR(BatchNormGradient) = {
    .name = "BatchNormGradient",
    .inputs = {{FLOAT32}, {FLOATS}, {UINT8}, {FLOAT32}, {FLOAT32}, {UINT8, .optional = true}},
    .outputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}},
    .in_place = 1,
    .compute = compute};
