/* Where the elements that are selected from come: a tensor as it is or from float16; less a number for each channel;
 * and times another plus a third, with zero for what is below zero. */
#pragma once

#include "places.h"

struct Source {
    const void *data;
    bool is_half;
    const float *center, *slope, *bias; /* of each channel; null for nothing to do; slope and bias go together */
    size_t n, channels, pixels;
};

/* Reads a source in blocks of 64 elements. */
struct Reader {
    const struct Source *source;
    size_t next;          /* element */
    size_t channel, left; /* of the next element; how many of its plane are left */
};

/* The channels of a tensor [N, C, ...]; false: it has none. */
static inline bool find_channels(const struct Tensor *dense, struct Source *source) {
    if (dense->rank < 2)
        return false;
    source->channels = (size_t)dense->shape[1];
    source->pixels = 1;
    for (int axis = 2; axis < dense->rank; axis++)
        source->pixels *= (size_t)dense->shape[axis];
    return true;
}

/* Whether a tensor is one number for each channel. */
static inline bool is_for_channels(const struct Tensor *numbers, const struct Source *source) {
    return numbers->rank == 1 && (size_t)numbers->shape[0] == source->channels;
}

#define source_transform FOR_ISA(source_transform)
#define source_some FOR_ISA(source_some)

static inline bool is_by_channel(const struct Source *source) { return source->center || source->slope; }

/* From the first element of a part on. */
static inline struct Reader source_part(const struct Source *source, size_t part) {
    struct Reader reader = {.source = source, .next = part * PART};
    if (is_by_channel(source)) {
        reader.channel = reader.next / source->pixels % source->channels;
        reader.left = source->pixels - reader.next % source->pixels;
    }
    return reader;
}

static inline float center_of(const struct Source *source, size_t channel) {
    return source->center ? source->center[channel] : 0;
}

/* Elements of one channel, with all that is to be done to them. */
static inline void transform(const struct Source *source, size_t channel, const float *restrict x, size_t count,
                             float *restrict out) {
    float center = center_of(source, channel);
    if (!source->slope) {
        for (size_t i = 0; i < count; i++)
            out[i] = x[i] - center;
        return;
    }
    float slope = source->slope[channel], bias = source->bias[channel];
    for (size_t i = 0; i < count; i++) {
        float y = (x[i] - center) * slope + bias;
        out[i] = y < 0 ? 0 : y;
    }
}

/* The next elements, `x` in place of the source's own, with all that is to be done to them. The reader's element
 * stays. */
void source_transform(struct Reader *, const float *x, size_t count, float *out);

/* A block that is not in memory as it is wanted, or not within one channel. */
const float *source_some(struct Reader *, float buffer[64]);

/* The next block as float32, in the source itself or in the buffer, and what is still to be subtracted from all of it;
 * less that, it is zero after the source's end. */
static inline const float *source_block(struct Reader *reader, float buffer[64], float *center) {
    const struct Source *source = reader->source;
    const float *x = (const float *)source->data + reader->next;
    *center = 0;
    if (source->is_half || reader->next + 64 > source->n || (is_by_channel(source) && reader->left <= 64))
        return source_some(reader, buffer);
    reader->next += 64;
    reader->left -= 64;
    if (source->slope) {
        transform(source, reader->channel, x, 64, buffer);
        return buffer;
    }
    *center = center_of(source, reader->channel);
    return x;
}

/* Whole blocks of one channel, one after the other. */
struct Run {
    const float *x; /* as source_block gives them */
    float center;
    size_t count; /* of elements */
};

/* The next block and, up to so many elements, those that can be read in the same way. */
static inline struct Run source_run(struct Reader *reader, size_t most, float buffer[64]) {
    struct Run run = {.count = 64};
    const struct Source *source = reader->source;
    run.x = source_block(reader, buffer, &run.center);
    if (run.x == buffer)
        return run;
    size_t more = least(most, source->n - reader->next + 64) - 64;
    if (source->center)
        more = least(more, reader->left - 1);
    more = more / 64 * 64;
    reader->next += more;
    reader->left -= more;
    run.count += more;
    return run;
}

/* One element. */
static inline float source_element(const struct Source *source, size_t i) {
    if (source->is_half)
        return (float)((const half *)source->data)[i];
    float x = ((const float *)source->data)[i], y = x;
    if (is_by_channel(source))
        transform(source, i / source->pixels % source->channels, &x, 1, &y);
    return y;
}
