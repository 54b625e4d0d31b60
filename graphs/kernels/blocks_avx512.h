/* blocks.h for AVX-512. Compressing into a register and storing all of it is fast everywhere; into memory it is not. */

static inline __m512i magnitudes(const float *x) {
    return _mm512_and_si512(_mm512_loadu_si512(x), _mm512_set1_epi32(INT32_MAX));
}

static inline uint64_t four_masks(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return a | b << 16 | c << 32 | d << 48;
}

static inline uint64_t block_above(const float *x, int32_t t) {
    __m512i limit = _mm512_set1_epi32(t);
    return four_masks(
        _mm512_cmpgt_epi32_mask(magnitudes(x), limit), _mm512_cmpgt_epi32_mask(magnitudes(x + 16), limit),
        _mm512_cmpgt_epi32_mask(magnitudes(x + 32), limit), _mm512_cmpgt_epi32_mask(magnitudes(x + 48), limit));
}

static inline uint64_t positive_mask(const float *x) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_setzero_ps(), _CMP_GT_OQ);
}

static inline uint64_t block_positive(const float *x) {
    return four_masks(positive_mask(x), positive_mask(x + 16), positive_mask(x + 32), positive_mask(x + 48));
}

static inline uint64_t block_flags(const uint8_t *bytes) {
    __m512i flags = _mm512_loadu_si512(bytes);
    return _mm512_test_epi8_mask(flags, flags);
}

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 16) {
        __mmask16 mask = (__mmask16)(bits >> i);
        _mm512_storeu_ps(out + count, _mm512_maskz_compress_ps(mask, _mm512_loadu_ps(x + i)));
        count += (size_t)__builtin_popcount(mask);
    }
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

static inline size_t scan(const float *x, size_t count, int32_t low, int32_t high, int32_t *found, size_t *above) {
    __m512i lows = _mm512_set1_epi32(low), highs = _mm512_set1_epi32(high), higher = _mm512_setzero_si512();
    size_t kept = 0;
    for (size_t i = 0; i < count; i += 16) {
        __m512i bits = magnitudes(x + i);
        __mmask16 too_high = _mm512_cmpgt_epi32_mask(bits, highs);
        __mmask16 mask = _mm512_cmpgt_epi32_mask(bits, lows) & ~too_high;
        higher = _mm512_mask_sub_epi32(higher, too_high, higher, _mm512_set1_epi32(-1));
        _mm512_storeu_si512(found + kept, _mm512_maskz_compress_epi32(mask, bits));
        kept += (size_t)__builtin_popcount(mask);
    }
    *above += (size_t)_mm512_reduce_add_epi32(higher);
    return kept;
}
