/* blocks.h for AVX2. */

/* For each mask of eight lanes, where its lanes come from when those that are set move to the front, and when the first
 * ones move to those that are set; a byte each. */
#define front_lanes FOR_ISA(front_lanes)
#define back_lanes FOR_ISA(back_lanes)
extern uint64_t front_lanes[256], back_lanes[256];

static inline __m256i lanes(uint64_t bytes) { return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes)); }

/* All ones in the lanes whose bits are set. */
static inline __m256i lane_mask(unsigned bits) {
    __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each);
}

static inline unsigned lane_bits(__m256i mask) { return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(mask)); }

static inline __m256i magnitudes(const float *x) {
    return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)x), _mm256_set1_epi32(INT32_MAX));
}

static inline uint64_t block_above(const float *x, int32_t t) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 8)
        bits |= (uint64_t)lane_bits(_mm256_cmpgt_epi32(magnitudes(x + i), _mm256_set1_epi32(t))) << i;
    return bits;
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

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 8) {
        unsigned mask = bits >> i & 255;
        _mm256_storeu_ps(out + count, _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + i), lanes(front_lanes[mask])));
        count += (size_t)__builtin_popcount(mask);
    }
    return count;
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 8) {
        unsigned mask = bits >> i & 255;
        __m256 moved = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + count), lanes(back_lanes[mask]));
        _mm256_storeu_ps(out + i, _mm256_and_ps(moved, _mm256_castsi256_ps(lane_mask(mask))));
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
    size_t count = 0;
    unsigned which = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t nibbles = _pdep_u64(bits >> 32 * i, 0x0f0f0f0f0f0f0f0f);
        uint64_t used = (nibbles + 0x0f0f0f0f0f0f0f0f) >> 4 & 0x0101010101010101;
        uint64_t packed = _pext_u64(nibbles, used * 255);
        memcpy(out + count, &packed, sizeof packed);
        count += (size_t)__builtin_popcountll(used);
        which |= (unsigned)_pext_u64(used, 0x0101010101010101) << 8 * i;
    }
    *fours = (uint16_t)which;
    return count;
}

static inline uint64_t nibbles_join(const uint8_t *in, uint16_t fours) {
    uint64_t bits = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t packed, used = _pdep_u64(fours >> 8 * i, 0x0101010101010101);
        memcpy(&packed, in, sizeof packed);
        in += __builtin_popcountll(used);
        bits |= _pext_u64(_pdep_u64(packed, used * 15), 0x0f0f0f0f0f0f0f0f) << 32 * i;
    }
    return bits;
}

static inline size_t scan(const float *x, size_t count, int32_t low, int32_t high, int32_t *found, size_t *above) {
    __m256i lows = _mm256_set1_epi32(low), highs = _mm256_set1_epi32(high), higher = _mm256_setzero_si256();
    size_t kept = 0;
    for (size_t i = 0; i < count; i += 8) {
        __m256i bits = magnitudes(x + i);
        __m256i too_high = _mm256_cmpgt_epi32(bits, highs);
        unsigned mask = lane_bits(_mm256_andnot_si256(too_high, _mm256_cmpgt_epi32(bits, lows)));
        higher = _mm256_sub_epi32(higher, too_high);
        _mm256_storeu_si256((__m256i *)(found + kept), _mm256_permutevar8x32_epi32(bits, lanes(front_lanes[mask])));
        kept += (size_t)__builtin_popcount(mask);
    }
    int32_t sums[8];
    _mm256_storeu_si256((__m256i *)sums, higher);
    for (int i = 0; i < 8; i++)
        *above += (size_t)sums[i];
    return kept;
}
