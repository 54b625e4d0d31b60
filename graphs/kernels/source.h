/* Where the elements that are selected from come: a tensor as it is, less a number for each channel, or from float16. */
#pragma once

#include "places.h"

struct Source {
    const void *data;
    bool is_half;
    const float *center; /* of each channel, or null */
    size_t n, channels, pixels;
};

/* Reads a source in blocks of 64 elements. */
struct Reader {
    const struct Source *source;
    size_t next;          /* element */
    size_t channel, left; /* of the next element; how many of its plane are left */
};

#define source_some FOR_ISA(source_some)

/* From the first element of a part on. */
static inline struct Reader source_part(const struct Source *source, size_t part) {
    struct Reader reader = {.source = source, .next = part * PART};
    if (source->center) {
        reader.channel = reader.next / source->pixels % source->channels;
        reader.left = source->pixels - reader.next % source->pixels;
    }
    return reader;
}

/* A block that is not in memory as it is wanted, or not within one channel. */
const float *source_some(struct Reader *, float buffer[64]);

/* The next block as float32, in the source itself or in the buffer, and what is still to be subtracted from all of it;
 * less that, it is zero after the source's end. */
static inline const float *source_block(struct Reader *reader, float buffer[64], float *center) {
    const struct Source *source = reader->source;
    *center = 0;
    if (source->is_half || reader->next + 64 > source->n || (source->center && reader->left <= 64))
        return source_some(reader, buffer);
    reader->next += 64;
    if (source->center) {
        *center = source->center[reader->channel];
        reader->left -= 64;
    }
    return (const float *)source->data + reader->next - 64;
}

/* One element. */
static inline float source_element(const struct Source *source, size_t i) {
    if (source->is_half)
        return (float)((const half *)source->data)[i];
    float x = ((const float *)source->data)[i];
    return source->center ? x - source->center[i / source->pixels % source->channels] : x;
}
