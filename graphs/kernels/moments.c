/* What a batch tells of its channels.
 *
 * ChannelMoments(x float32 [N, C, ...]) -> mean float32 [C], variance float32 [C]
 *
 * Over the n elements of each channel: sum(x) / n, and sum((x - mean)^2) / n with a relative error of about 1e-6, also
 * where the mean is a thousand deviations from zero. NaN where a channel has no elements.
 */

#include <math.h>

#include "planes.h"

enum { TILE = 4096, RUN = 1 << 14 };

struct Moments {
    struct Planes planes;
    const float *x;
    double *sums, *squares; /* of each channel: sum(x), sum(x^2) */
    float *mean, *variance;
    size_t block; /* channels that are worked on together */
};

static float sum_of(const float *x, size_t count) {
#pragma clang fp reassociate(on)
    float sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
}

/* Adds the sum of a tile and of its squares. Both are taken of what is left of the elements beside the tile's mean,
 * which is small, and moved back to zero in double. */
static void add_tile(const float *x, size_t count, double *sum, double *squares) {
#pragma clang fp reassociate(on)
    float total = sum_of(x, count), center = total / (float)count, left = 0, left_squares = 0;
    for (size_t i = 0; i < count; i++) {
        left += x[i] - center;
        left_squares += (x[i] - center) * (x[i] - center);
    }
    double moved = (double)count * center;
    *sum += isfinite(center) ? moved + left : total;
    *squares += left_squares + center * (moved + 2.0 * left);
}

static void finish_channel(const struct Moments *moments, size_t channel) {
    double count = (double)(moments->planes.images * moments->planes.pixels);
    double mean = moments->sums[channel] / count;
    double variance = moments->squares[channel] / count - mean * mean;
    moments->mean[channel] = (float)mean;
    moments->variance[channel] = (float)(variance < 0 ? 0 : variance);
}

static void measure_block(void *context, size_t block) {
    const struct Moments *moments = context;
    const struct Planes *planes = &moments->planes;
    size_t first = block * moments->block, last = least(planes->channels, first + moments->block);
    for (size_t channel = first; channel < last; channel++)
        moments->sums[channel] = moments->squares[channel] = 0;
    for (size_t image = 0; image < planes->images; image++)
        for (size_t channel = first; channel < last; channel++) {
            const float *plane = moments->x + (image * planes->channels + channel) * planes->pixels;
            for (size_t at = 0; at < planes->pixels; at += TILE)
                add_tile(plane + at, least(TILE, planes->pixels - at), &moments->sums[channel],
                         &moments->squares[channel]);
        }
    for (size_t channel = first; channel < last; channel++)
        finish_channel(moments, channel);
}

static OrtStatus *channel_moments(struct Call *call) {
    struct Moments moments = {.x = call->inputs[0].data};
    TRY(planes_of(call, &call->inputs[0], &moments.planes));
    struct Tensor mean, variance;
    size_t channels = moments.planes.channels;
    TRY(output_flat(call, 0, channels, &mean));
    TRY(output_flat(call, 1, channels, &variance));
    void *memory;
    TRY(scratch(call, 2 * channels * sizeof(double), &memory));
    moments.sums = memory;
    moments.squares = moments.sums + channels;
    moments.mean = mean.data;
    moments.variance = variance.data;
    moments.block = channels_within(&moments.planes, 1, RUN);
    pool_run(&call->pool, ceil_divide(channels, moments.block), measure_block, &moments);
    memory_free(memory);
    return NULL;
}

const struct Operator OPERATOR(ChannelMoments) = {.name = "ChannelMoments",
                                                  .inputs = {{FLOAT32}},
                                                  .outputs = {{FLOAT32}, {FLOAT32}},
                                                  .compute = channel_moments};
