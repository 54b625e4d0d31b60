/* BatchNorm's map of each channel, and Relu, in place.
 *
 * BatchNormalize(x float32 [N, C, ...], scale, bias, mean, inverse float32 [C]) -> y float32, in x's memory
 *     y = (x - mean) * (scale * inverse) + bias
 * BatchNormalizeRelu(the same) -> y float32, in x's memory, bits uint8 [ceil(n / 8)]
 *     y = max(0, that)
 * ReluPack(x float32 [...]) -> y float32, in x's memory, bits uint8 [ceil(n / 8)]
 *     y = max(0, x)
 *
 * bits: one bit an element, eight in a byte, the first in the lowest: whether y > 0. NaN stays NaN and is not above 0.
 */

#include "blocks.h"
#include "planes.h"

enum { TILE = 1 << 11, PART = 1 << 15 }; /* what stays in the nearest cache between two passes; a thread's share */

struct Map {
    float center, slope, bias;
};

struct Normalize {
    const float *x;
    float *y;
    uint8_t *bits; /* null: no Relu */
    size_t count;
    struct Planes planes;
    const struct Map *maps; /* of each channel; null: Relu alone */
};

/* x and y are the same memory or have none in common, so no element waits for another. Relu is computed together with
 * the map, and packed afterwards: a Relu of memory onto itself would become stores under masks, which are slow. */
#define EACH_ELEMENT _Pragma("clang loop vectorize(assume_safety)") for (size_t i = 0; i < count; i++)

static void map_plane(const struct Map *map, const float *x, float *y, size_t count) {
    float center = map->center, slope = map->slope, bias = map->bias;
    EACH_ELEMENT
        y[i] = (x[i] - center) * slope + bias;
}

static void map_plane_relu(const struct Map *map, const float *x, float *y, size_t count) {
    float center = map->center, slope = map->slope, bias = map->bias;
    EACH_ELEMENT {
        float mapped = (x[i] - center) * slope + bias;
        y[i] = mapped < 0 ? 0 : mapped;
    }
}

static void relu(const float *x, float *y, size_t count) {
    EACH_ELEMENT
        y[i] = x[i] < 0 ? 0 : x[i];
}

static void pack(const float *y, uint8_t *bits, size_t count) {
    size_t whole = count / 64 * 64;
    for (size_t i = 0; i < whole; i += 64) {
        uint64_t word = block_positive(y + i);
        memcpy(bits + i / 8, &word, sizeof word);
    }
    if (whole < count) {
        float last[64] = {0};
        memcpy(last, y + whole, (count - whole) * sizeof *y);
        uint64_t word = block_positive(last);
        memcpy(bits + whole / 8, &word, ceil_divide(count - whole, 8));
    }
}

/* Elements begin..end, each by the map of its channel. */
static void map_tile(const struct Normalize *work, size_t begin, size_t end) {
    size_t plane = begin / work->planes.pixels, channel = plane % work->planes.channels;
    size_t edge = (plane + 1) * work->planes.pixels;
    for (size_t at = begin; at < end; edge += work->planes.pixels) {
        size_t stop = least(edge, end);
        (work->bits ? map_plane_relu : map_plane)(&work->maps[channel], work->x + at, work->y + at, stop - at);
        at = stop;
        channel = channel + 1 == work->planes.channels ? 0 : channel + 1;
    }
}

static void normalize_part(void *context, size_t part) {
    const struct Normalize *work = context;
    size_t last = least(work->count, (part + 1) * PART);
    for (size_t begin = part * PART; begin < last; begin += TILE) {
        size_t end = least(last, begin + TILE);
        if (work->maps)
            map_tile(work, begin, end);
        else
            relu(work->x + begin, work->y + begin, end - begin);
        if (work->bits)
            pack(work->y + begin, work->bits + begin / 8, end - begin);
    }
}

static OrtStatus *run(struct Call *call, struct Normalize *work, bool with_bits) {
    const struct Tensor *x = &call->inputs[0];
    struct Tensor y, bits = {.data = NULL};
    TRY(output_like(call, 0, x, &y));
    if (with_bits)
        TRY(output_flat(call, 1, ceil_divide(x->count, 8), &bits));
    work->x = x->data;
    work->y = y.data;
    work->bits = bits.data;
    work->count = x->count;
    pool_run(&call->pool, ceil_divide(work->count, PART), normalize_part, work);
    return NULL;
}

static OrtStatus *batch_normalize(struct Call *call, bool with_relu) {
    struct Normalize work = {.maps = NULL};
    TRY(planes_of(call, &call->inputs[0], &work.planes));
    TRY(one_per_channel(call, &work.planes, 1, 4));
    const float *scale = call->inputs[1].data, *bias = call->inputs[2].data;
    const float *mean = call->inputs[3].data, *inverse = call->inputs[4].data;
    void *memory;
    TRY(scratch(call, work.planes.channels * sizeof(struct Map), &memory));
    struct Map *maps = memory;
    for (size_t channel = 0; channel < work.planes.channels; channel++)
        maps[channel] = (struct Map){mean[channel], scale[channel] * inverse[channel], bias[channel]};
    work.maps = maps;
    OrtStatus *failure = run(call, &work, with_relu);
    memory_free(memory);
    return failure;
}

static OrtStatus *batch_normalize_only(struct Call *call) { return batch_normalize(call, false); }
static OrtStatus *batch_normalize_relu(struct Call *call) { return batch_normalize(call, true); }
static OrtStatus *relu_pack(struct Call *call) { return run(call, &(struct Normalize){.maps = NULL}, true); }

const struct Operator OPERATOR(BatchNormalize) = {
    .name = "BatchNormalize",
    .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}},
    .outputs = {{FLOAT32}},
    .in_place = 1,
    .compute = batch_normalize_only};

const struct Operator OPERATOR(BatchNormalizeRelu) = {
    .name = "BatchNormalizeRelu",
    .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}},
    .outputs = {{FLOAT32}, {UINT8}},
    .in_place = 1,
    .compute = batch_normalize_relu};

const struct Operator OPERATOR(ReluPack) = {
    .name = "ReluPack", .inputs = {{FLOAT32}}, .outputs = {{FLOAT32}, {UINT8}}, .in_place = 1, .compute = relu_pack};
