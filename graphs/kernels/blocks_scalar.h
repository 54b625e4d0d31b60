/* blocks.h in plain C. */

static inline uint64_t block_above(const float *x, float center, int32_t t) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i++)
        bits |= (uint64_t)(magnitude(x[i] - center) > t) << i;
    return bits;
}

static inline uint64_t block_positive(const float *x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i++)
        bits |= (uint64_t)(x[i] > 0) << i;
    return bits;
}

static inline uint64_t block_flags(const uint8_t *bytes) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i++)
        bits |= (uint64_t)(bytes[i] != 0) << i;
    return bits;
}

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (; bits; bits &= bits - 1)
        out[count++] = x[__builtin_ctzll(bits)];
    return count;
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    memset(out, 0, 64 * sizeof *out);
    for (; bits; bits &= bits - 1)
        out[__builtin_ctzll(bits)] = x[count++];
    return count;
}

static inline void block_keep(const float *x, uint64_t bits, float *out) {
    for (int i = 0; i < 64; i++)
        out[i] = bits >> i & 1 ? x[i] : 0;
}

static inline uint64_t deposit(uint64_t bits, uint64_t places) {
    uint64_t moved = 0;
    for (; places; places &= places - 1, bits >>= 1)
        moved |= (places & -places) & -(bits & 1);
    return moved;
}

static inline size_t nibbles_spread(uint64_t bits, uint8_t *out, uint16_t *fours) {
    size_t count = 0;
    unsigned which = 0;
    for (int i = 0; i < 16; i++) {
        unsigned nibble = bits >> 4 * i & 15;
        which |= (unsigned)(nibble != 0) << i;
        out[count] = (uint8_t)nibble;
        count += nibble != 0;
    }
    *fours = (uint16_t)which;
    return count;
}

static inline uint64_t nibbles_join(uint64_t packed, uint16_t fours) {
    uint64_t bits = 0;
    for (unsigned left = fours; left; left &= left - 1, packed >>= 4)
        bits |= (packed & 15) << 4 * __builtin_ctz(left);
    return bits;
}
