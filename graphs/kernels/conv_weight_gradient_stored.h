/* Access to the kept elements, in any order. */
#pragma once

#include "conv_weight_gradient.h"
#include "conv_weight_gradient_vector.h"

static inline size_t bit_count(uint64_t bits) { return (size_t)__builtin_popcountll(bits); }
static inline uint64_t lowest(size_t count) { return count < 64 ? ((uint64_t)1 << count) - 1 : ~(uint64_t)0; }

/* The 64 bits from that of `element` on; zeros past the end. */
static inline uint64_t bits_at(const struct Stored *x, size_t element) {
    size_t byte = element / 8, shift = element % 8;
    uint8_t last[9] = {0};
    const uint8_t *from = x->bits + byte;
    if (byte + 9 > x->bytes) {
        if (byte < x->bytes)
            memcpy(last, from, x->bytes - byte);
        from = last;
    }
    uint64_t low;
    memcpy(&low, from, 8);
    return low >> shift | (uint64_t)from[8] << 1 << (63 - shift);
}

/* How many of `count` elements, at least one, are kept. */
static inline size_t kept_among(const struct Stored *x, size_t first, size_t count) {
    size_t begin = first / 8 * 8, end = first + count, kept = 0;
    size_t before = bit_count(x->bits[first / 8] & lowest(first - begin));
    for (uint64_t word; begin + 64 <= end; begin += 64) {
        memcpy(&word, x->bits + begin / 8, sizeof word);
        kept += bit_count(word);
    }
    return kept + bit_count(bits_at(x, begin) & lowest(end - begin)) - before;
}

/* How many elements are kept before this one. */
static inline size_t kept_before(const struct Stored *x, size_t element) {
    size_t part = element / PART;
    size_t kept = x->starts[part].value, past = element % PART;
    return past ? kept + kept_among(x, element - past, past) : kept;
}

/* Some values as float32; writes up to COPIED more. So many at once, as how often the loop is run is then foreseen. */
enum { COPIED = 32 };

static inline void copy_values(const struct Stored *x, size_t first, size_t count, float *to) {
    const float *floats = (const float *)x->values + first;
    const half *halves = (const half *)x->values + first;
    if (first + count + COPIED > x->kept) {
        for (size_t i = 0; i < count; i++)
            to[i] = x->halves ? (float)halves[i] : floats[i];
        return;
    }
    if (x->halves)
        for (size_t i = 0; i < count; i += COPIED)
            for (size_t j = 0; j < COPIED; j += LANES)
                store(to + i + j, load_halves(halves + i + j));
    else
        for (size_t i = 0; i < count; i += COPIED)
            memcpy(to + i, floats + i, COPIED * sizeof(float));
}
