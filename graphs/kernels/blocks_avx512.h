/* blocks.h for AVX-512. Compressing into a register and storing all of it is fast everywhere; into memory it is not. */

static inline __m512 less(const float *x, float center) {
    return _mm512_sub_ps(_mm512_loadu_ps(x), _mm512_set1_ps(center));
}

static inline __mmask16 mask_above(__m512 x, int32_t t) {
    __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_MAX));
    return _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(t));
}

static inline uint64_t four_masks(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return a | b << 16 | c << 32 | d << 48;
}

static inline uint64_t block_above(const float *x, float center, int32_t t) {
    return four_masks(mask_above(less(x, center), t), mask_above(less(x + 16, center), t),
                      mask_above(less(x + 32, center), t), mask_above(less(x + 48, center), t));
}

static inline uint64_t mask_positive(const float *x) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_setzero_ps(), _CMP_GT_OQ);
}

static inline uint64_t block_positive(const float *x) {
    return four_masks(mask_positive(x), mask_positive(x + 16), mask_positive(x + 32), mask_positive(x + 48));
}

static inline uint64_t block_flags(const uint8_t *bytes) {
    __m512i flags = _mm512_loadu_si512(bytes);
    return _mm512_test_epi8_mask(flags, flags);
}

static inline size_t compact(__m512 x, __mmask16 mask, float *out) {
    _mm512_storeu_ps(out, _mm512_maskz_compress_ps(mask, x));
    return (size_t)__builtin_popcount(mask);
}

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 16)
        count += compact(_mm512_loadu_ps(x + i), (__mmask16)(bits >> i), out + count);
    return count;
}

static inline uint64_t block_take(const float *x, float center, int32_t t, float *out, size_t *count) {
    uint64_t bits = 0;
    *count = 0;
    for (int i = 0; i < 64; i += 16) {
        __m512 v = less(x + i, center);
        __mmask16 mask = mask_above(v, t);
        *count += compact(v, mask, out + *count);
        bits |= (uint64_t)mask << i;
    }
    return bits;
}

static inline size_t block_between(const float *x, float center, int32_t low, int32_t high, float *out,
                                   size_t *above) {
    uint64_t higher = 0;
    size_t count = 0;
    for (int i = 0; i < 64; i += 16) {
        __m512 v = less(x + i, center);
        __mmask16 too_high = mask_above(v, high);
        higher |= (uint64_t)too_high << i;
        count += compact(v, mask_above(v, low) & ~too_high, out + count);
    }
    *above += (size_t)__builtin_popcountll(higher);
    return count;
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 16) {
        __mmask16 mask = (__mmask16)(bits >> i);
        _mm512_storeu_ps(out + i, _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(x + count)));
        count += (size_t)__builtin_popcount(mask);
    }
    return count;
}

static inline void block_keep(const float *x, uint64_t bits, float *out) {
    for (int i = 0; i < 64; i += 16)
        _mm512_storeu_ps(out + i, _mm512_maskz_loadu_ps((__mmask16)(bits >> i), x + i));
}

static inline uint64_t deposit(uint64_t bits, uint64_t places) { return _pdep_u64(bits, places); }

static inline size_t nibbles_spread(uint64_t bits, uint8_t *out, uint16_t *fours) {
    __m128i low = _mm_cvtsi64_si128((int64_t)bits), high = _mm_srli_epi16(low, 4);
    __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(low, high), _mm_set1_epi8(15));
    __mmask16 mask = _mm_test_epi8_mask(nibbles, nibbles);
    _mm_storeu_si128((__m128i *)out, _mm_maskz_compress_epi8(mask, nibbles));
    *fours = mask;
    return (size_t)__builtin_popcount(mask);
}

static inline uint64_t nibbles_join(const uint8_t *in, uint16_t fours) {
    __m128i nibbles = _mm_maskz_expand_epi8(fours, _mm_loadu_si128((const __m128i *)in));
    __m128i pairs = _mm_maddubs_epi16(nibbles, _mm_set1_epi16(0x1001));
    return (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs));
}
