/* blocks.h for AVX-512. Compressing into a register and storing all of it is fast everywhere; into memory it is not. */

static inline __m512 less(const float *x, float center) {
    return _mm512_sub_ps(_mm512_loadu_ps(x), _mm512_set1_ps(center));
}

static inline __mmask16 mask_above(__m512 x, int32_t t) {
    __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_MAX));
    return _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(t));
}

static inline uint64_t join_masks(__mmask16 a, __mmask16 b, __mmask16 c, __mmask16 d) {
    return _mm512_kunpackd(_mm512_kunpackw(d, c), _mm512_kunpackw(b, a));
}

struct Block {
    __m512 a, b, c, d;
};

static inline struct Block load_less(const float *x, float center) {
    return (struct Block){less(x, center), less(x + 16, center), less(x + 32, center), less(x + 48, center)};
}

static inline uint64_t bits_above(struct Block x, int32_t t) {
    return join_masks(mask_above(x.a, t), mask_above(x.b, t), mask_above(x.c, t), mask_above(x.d, t));
}

static inline uint64_t block_above(const float *x, float center, int32_t t) {
    return bits_above(load_less(x, center), t);
}

static inline __mmask16 mask_positive(const float *x) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_setzero_ps(), _CMP_GT_OQ);
}

static inline uint64_t block_positive(const float *x) {
    return join_masks(mask_positive(x), mask_positive(x + 16), mask_positive(x + 32), mask_positive(x + 48));
}

static inline uint64_t block_flags(const uint8_t *bytes) {
    __m512i flags = _mm512_loadu_si512(bytes);
    return _mm512_test_epi8_mask(flags, flags);
}

static inline size_t compact(__m512 x, __mmask16 mask, float *out) {
    _mm512_storeu_ps(out, _mm512_maskz_compress_ps(mask, x));
    return (size_t)__builtin_popcount(mask);
}

/* The numbers from 0 on, a byte each. */
static inline __m512i each_place(void) {
    return _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
                           40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
                           17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

/* At most 16 of a block: their places are compacted, and they are fetched from there. */
static inline void fetch_few(struct Block x, uint64_t bits, float *out) {
    __m512i places = _mm512_maskz_compress_epi8(bits, each_place());
    __m512i from = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places));
    __m512 low = _mm512_permutex2var_ps(x.a, from, x.b), high = _mm512_permutex2var_ps(x.c, from, x.d);
    _mm512_storeu_ps(out, _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(from, _mm512_set1_epi32(32)), high));
}

static inline size_t compact_block(struct Block x, uint64_t bits, float *out) {
    size_t count = (size_t)__builtin_popcountll(bits);
    if (count <= 16) {
        fetch_few(x, bits, out);
    } else {
        out += compact(x.a, (__mmask16)bits, out);
        out += compact(x.b, (__mmask16)(bits >> 16), out);
        out += compact(x.c, (__mmask16)(bits >> 32), out);
        compact(x.d, (__mmask16)(bits >> 48), out);
    }
    return count;
}

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    return compact_block(load_less(x, 0), bits, out);
}

static inline uint64_t block_take(const float *x, float center, int32_t t, float *out, size_t *count) {
    struct Block block = load_less(x, center);
    uint64_t bits = bits_above(block, t);
    *count = compact_block(block, bits, out);
    return bits;
}

static inline size_t block_between(const float *x, float center, int32_t low, int32_t high, float *out,
                                   size_t *above) {
    struct Block block = load_less(x, center);
    uint64_t higher = bits_above(block, high);
    *above += (size_t)__builtin_popcountll(higher);
    return compact_block(block, bits_above(block, low) & ~higher, out);
}

/* 32 elements at a time, from two vectors, by their numbers among those that are set. (VEXPANDPS from memory, which
 * compilers make of a load and an expansion, is slow.) */
static inline size_t expand_half(const float *x, uint32_t bits, float *out) {
    __m256i numbers = _mm256_maskz_expand_epi8(bits, _mm512_castsi512_si256(each_place()));
    __m512i first = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(numbers));
    __m512i second = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(numbers, 1));
    __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    _mm512_storeu_ps(out, _mm512_maskz_permutex2var_ps((__mmask16)bits, low, first, high));
    _mm512_storeu_ps(out + 16, _mm512_maskz_permutex2var_ps((__mmask16)(bits >> 16), low, second, high));
    return (size_t)__builtin_popcount(bits);
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = expand_half(x, (uint32_t)bits, out);
    return count + expand_half(x + count, (uint32_t)(bits >> 32), out + 32);
}

/* (A load with a mask would be slow: hence one that compilers do not join with what follows.) */
static inline void block_keep(const float *x, uint64_t bits, float *out) {
    for (int i = 0; i < 64; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        __asm__("" : "+v"(v));
        _mm512_storeu_ps(out + i, _mm512_maskz_mov_ps((__mmask16)(bits >> i), v));
    }
}

static inline size_t nibbles_spread(uint64_t bits, uint8_t *out, uint16_t *fours) {
    __m128i low = _mm_cvtsi64_si128((int64_t)bits), high = _mm_srli_epi16(low, 4);
    __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(low, high), _mm_set1_epi8(15));
    __mmask16 mask = _mm_test_epi8_mask(nibbles, nibbles);
    _mm_storeu_si128((__m128i *)out, _mm_maskz_compress_epi8(mask, nibbles));
    *fours = mask;
    return (size_t)__builtin_popcount(mask);
}
