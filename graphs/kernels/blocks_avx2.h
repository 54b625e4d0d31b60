/* blocks.h for AVX2. */

#include "lanes.h"

/* Eight places to come from, NONE as -1. */
static inline __m256i load_lanes(const uint8_t from[8]) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

/* All ones in the lanes whose bits are set. */
static inline __m256i lane_mask(unsigned bits) {
    __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each);
}

static inline __m256 less(const float *x, float center) {
    return _mm256_sub_ps(_mm256_loadu_ps(x), _mm256_set1_ps(center));
}

static inline __m256i mask_above(__m256 x, int32_t t) {
    __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(INT32_MAX));
    return _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(t));
}

/* Of 32 lanes, all ones or zero each. */
static inline uint64_t join_masks(const __m256i masks[4]) {
    __m256i low = _mm256_packs_epi32(masks[0], masks[1]), high = _mm256_packs_epi32(masks[2], masks[3]);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    return (uint32_t)_mm256_movemask_epi8(bytes);
}

static inline uint64_t block_above(const float *x, float center, int32_t t) {
    __m256i masks[8];
#pragma unroll
    for (int i = 0; i < 8; i++)
        masks[i] = mask_above(less(x + 8 * i, center), t);
    return join_masks(masks) | join_masks(masks + 4) << 32;
}

static inline uint64_t block_positive(const float *x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 8) {
        __m256 positive = _mm256_cmp_ps(_mm256_loadu_ps(x + i), _mm256_setzero_ps(), _CMP_GT_OQ);
        bits |= (uint64_t)(unsigned)_mm256_movemask_ps(positive) << i;
    }
    return bits;
}

static inline uint64_t block_flags(const uint8_t *bytes) {
    uint64_t zeros = 0;
    for (int i = 0; i < 64; i += 32) {
        __m256i zero = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(bytes + i)), _mm256_setzero_si256());
        zeros |= (uint64_t)(unsigned)_mm256_movemask_epi8(zero) << i;
    }
    return ~zeros;
}

/* Where a vector goes follows from the bits before it, not from where the vector before it ended. */
static inline size_t compact_less(const float *x, float center, uint64_t bits, float *out) {
    float *to = out;
#pragma unroll
    for (int i = 0; i < 64; i += 8) {
        __m256 front = _mm256_permutevar8x32_ps(less(x + i, center), load_lanes(front_lanes[bits >> i & 255]));
        _mm256_storeu_ps(to, front);
        to = out + __builtin_popcountll(bits << (56 - i));
    }
    return (size_t)(to - out);
}

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    return compact_less(x, 0, bits, out);
}

static inline uint64_t block_take(const float *x, float center, int32_t t, float *out, size_t *count) {
    uint64_t bits = block_above(x, center, t);
    *count = compact_less(x, center, bits, out);
    return bits;
}

static inline uint64_t sum_lanes(__m256i x) {
    x = _mm256_sad_epu8(x, _mm256_setzero_si256());
    __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return (uint64_t)(_mm_cvtsi128_si64(halves) + _mm_extract_epi64(halves, 1));
}

/* Few of a block, one by one; three at least, so that how many they are is seldom worth a branch. */
static inline size_t fetch_few(const float *x, float center, uint64_t bits, float *out) {
    size_t count = (size_t)__builtin_popcountll(bits), i = 0;
    do {
#pragma unroll
        for (int j = 0; j < 3; j++, i++, bits &= bits - 1)
            out[i] = x[_tzcnt_u64(bits) & 63] - center;
    } while (i < count);
    return count;
}

static inline size_t block_between(const float *x, float center, int32_t low, int32_t high, float *out,
                                   size_t *above) {
    __m256i between[8], higher = _mm256_setzero_si256();
#pragma unroll
    for (int i = 0; i < 8; i++) {
        __m256 v = less(x + 8 * i, center);
        __m256i too_high = mask_above(v, high);
        higher = _mm256_sub_epi32(higher, too_high);
        between[i] = _mm256_andnot_si256(too_high, mask_above(v, low));
    }
    *above += sum_lanes(higher);
    return fetch_few(x, center, join_masks(between) | join_masks(between + 4) << 32, out);
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
#pragma unroll
    for (int i = 0; i < 64; i += 8) {
        unsigned mask = bits >> i & 255;
        __m256i from = load_lanes(back_lanes[mask]), none = _mm256_srai_epi32(from, 31);
        __m256 moved = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + count), from);
        _mm256_storeu_ps(out + i, _mm256_andnot_ps(_mm256_castsi256_ps(none), moved));
        count += (size_t)__builtin_popcount(mask);
    }
    return count;
}

static inline void block_keep(const float *x, uint64_t bits, float *out) {
    for (int i = 0; i < 64; i += 8) {
        __m256 mask = _mm256_castsi256_ps(lane_mask(bits >> i & 255));
        _mm256_storeu_ps(out + i, _mm256_and_ps(_mm256_loadu_ps(x + i), mask));
    }
}

/* Eight nibbles at a time. */
static inline size_t nibbles_spread(uint64_t bits, uint8_t *out, uint16_t *fours) {
    __m128i low = _mm_cvtsi64_si128((int64_t)bits), high = _mm_srli_epi16(low, 4);
    __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(low, high), _mm_set1_epi8(15));
    unsigned used = (unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(nibbles, _mm_setzero_si128()));
    size_t count = (size_t)__builtin_popcount(used & 255);
    __m128i first = _mm_loadl_epi64((const __m128i *)front_lanes[used & 255]);
    __m128i second = _mm_loadl_epi64((const __m128i *)front_lanes[used >> 8]);
    _mm_storel_epi64((__m128i *)out, _mm_shuffle_epi8(nibbles, first));
    _mm_storel_epi64((__m128i *)(out + count), _mm_shuffle_epi8(_mm_unpackhi_epi64(nibbles, nibbles), second));
    *fours = (uint16_t)used;
    return count + (size_t)__builtin_popcount(used >> 8);
}
