/* 64 elements at a time, and the word of 64 bits that says which of them: bit i is element i.
 *
 *   block_above(x, center, t)   those for which the magnitude of x - center, its float32 bits read as an integer, is
 *                               above t (t = -1: all)
 *   block_positive(x)           those above zero
 *   block_flags(bytes)          the bytes that are not zero
 *   block_compact(x, bits, out) writes those in order and returns how many; may write COMPACT_SLACK elements past them
 *   block_expand(x, bits, out)  the inverse, zeros elsewhere; may read EXPAND_SLACK elements past those it takes
 *   block_keep(x, bits, out)    x where the bit is set, zeros elsewhere
 *   block_take(x, center, t, out, &count)  those of block_above, and writes them, less center, as block_compact does
 *   block_between(x, center, low, high, out, &above)  writes those above `low` and not above `high` in the same way and
 *                               returns how many; adds how many are above `high` to `above`
 *   deposit(bits, places)       moves the first bits to the places that are set, in order
 *   nibbles_spread(bits, out, &fours)  the four-bit pieces of `bits` that are not zero, a byte each, and in `fours`
 *                               which of the 16 they are; may write 16 bytes whatever their number, which it returns
 *   nibbles_join(packed, fours) the inverse, of nibbles that are packed two in a byte
 */
#pragma once

#include "kernel.h"

enum { COMPACT_SLACK = 16, EXPAND_SLACK = 32 };

/* The order of magnitudes: that of these integers, NaN above infinity. */
static inline int32_t magnitude(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & INT32_MAX;
}

/* Asks the processor for a block some pages ahead: its own foresight ends with a page. */
static inline void fetch_ahead(const float *x) {
    for (int i = 0; i < 64; i += 16)
        __builtin_prefetch(x + 3072 + i);
}

#if ISA_AVX512
#include "blocks_avx512.h"
#elif ISA_AVX2
#include "blocks_avx2.h"
#elif ISA_NEON
#include "blocks_neon.h"
#else
#include "blocks_scalar.h"
#endif

#if ISA_AVX2 || ISA_AVX512
static inline uint64_t deposit(uint64_t bits, uint64_t places) { return _pdep_u64(bits, places); }

static inline uint64_t nibbles_join(uint64_t packed, uint16_t fours) {
    return _pdep_u64(packed, _pdep_u64(fours, 0x1111111111111111) * 15);
}
#endif

#if ISA_NEON || ISA_SCALAR
static inline size_t compact_less(const float *x, float center, uint64_t bits, float *out) {
    size_t count = block_compact(x, bits, out);
    for (size_t i = 0; center != 0 && i < count; i++)
        out[i] -= center;
    return count;
}

static inline uint64_t block_take(const float *x, float center, int32_t t, float *out, size_t *count) {
    uint64_t bits = block_above(x, center, t);
    *count = compact_less(x, center, bits, out);
    return bits;
}

static inline size_t block_between(const float *x, float center, int32_t low, int32_t high, float *out,
                                   size_t *above) {
    uint64_t higher = block_above(x, center, high);
    *above += (size_t)__builtin_popcountll(higher);
    return compact_less(x, center, block_above(x, center, low) & ~higher, out);
}
#endif

/* Keeps of the elements in a part's words those whose bit is set in `kept`, which has a bit for each of them from bit
 * `first` on, and a word more. */
static inline void narrow_words(uint64_t *words, size_t word_count, const uint64_t *kept, size_t first) {
    for (size_t i = 0; i < word_count; i++) {
        const uint64_t *from = kept + first / 64;
        size_t count = (size_t)__builtin_popcountll(words[i]);
        if (count)
            words[i] = deposit(from[0] >> first % 64 | from[1] << 1 << (63 - first % 64), words[i]);
        first += count;
    }
}
