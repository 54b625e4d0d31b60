/* blocks.h for NEON. */

/* For each mask of four lanes of 32 bits, which bytes its lanes come from when those that are set move to the front,
 * and when the first ones move to those that are set, zero (255) elsewhere; and for eight lanes of one byte. */
#define front_words FOR_ISA(front_words)
#define back_words FOR_ISA(back_words)
#define front_bytes FOR_ISA(front_bytes)
#define back_bytes FOR_ISA(back_bytes)
extern uint8_t front_words[16][16], back_words[16][16], front_bytes[256][8], back_bytes[256][8];

/* Of 16 bytes, all ones or zero each. */
static inline uint64_t byte_bits(uint8x16_t mask) {
    static const uint8_t each[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = vandq_u8(mask, vld1q_u8(each));
    return vaddv_u8(vget_low_u8(bits)) | (uint64_t)vaddv_u8(vget_high_u8(bits)) << 8;
}

static inline uint8x16_t narrow(const uint32x4_t masks[4]) {
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(masks[0]), vreinterpretq_u16_u32(masks[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(masks[2]), vreinterpretq_u16_u32(masks[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

static inline int32x4_t magnitudes(const float *x) {
    return vandq_s32(vreinterpretq_s32_f32(vld1q_f32(x)), vdupq_n_s32(INT32_MAX));
}

static inline uint64_t block_above(const float *x, int32_t t) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 16) {
        uint32x4_t masks[4];
        for (int j = 0; j < 4; j++)
            masks[j] = vcgtq_s32(magnitudes(x + i + 4 * j), vdupq_n_s32(t));
        bits |= byte_bits(narrow(masks)) << i;
    }
    return bits;
}

static inline uint64_t block_positive(const float *x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 16) {
        uint32x4_t masks[4];
        for (int j = 0; j < 4; j++)
            masks[j] = vcgtzq_f32(vld1q_f32(x + i + 4 * j));
        bits |= byte_bits(narrow(masks)) << i;
    }
    return bits;
}

static inline uint64_t block_flags(const uint8_t *bytes) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 16) {
        uint8x16_t flags = vld1q_u8(bytes + i);
        bits |= byte_bits(vtstq_u8(flags, flags)) << i;
    }
    return bits;
}

static inline uint8x16_t move_words(const void *x, const uint8_t from[16]) { return vqtbl1q_u8(vld1q_u8(x), vld1q_u8(from)); }

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 4) {
        unsigned mask = bits >> i & 15;
        vst1q_u8((uint8_t *)(out + count), move_words(x + i, front_words[mask]));
        count += (size_t)__builtin_popcount(mask);
    }
    return count;
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 4) {
        unsigned mask = bits >> i & 15;
        vst1q_u8((uint8_t *)(out + i), move_words(x + count, back_words[mask]));
        count += (size_t)__builtin_popcount(mask);
    }
    return count;
}

static inline void block_keep(const float *x, uint64_t bits, float *out) {
    static const uint32_t each[4] = {1, 2, 4, 8};
    for (int i = 0; i < 64; i += 4) {
        uint32x4_t mask = vtstq_u32(vdupq_n_u32((uint32_t)(bits >> i)), vld1q_u32(each));
        vst1q_u32((uint32_t *)(out + i), vandq_u32(vld1q_u32((const uint32_t *)(x + i)), mask));
    }
}

/* Eight nibbles at a time. */
static inline size_t nibbles_spread(uint64_t bits, uint8_t *out, uint16_t *fours) {
    uint8x8_t bytes = vcreate_u8(bits), low = vand_u8(bytes, vdup_n_u8(15)), high = vshr_n_u8(bytes, 4);
    uint8x16_t nibbles = vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
    uint64_t used = byte_bits(vtstq_u8(nibbles, nibbles));
    size_t count = (size_t)__builtin_popcount(used & 255);
    vst1_u8(out, vtbl1_u8(vget_low_u8(nibbles), vld1_u8(front_bytes[used & 255])));
    vst1_u8(out + count, vtbl1_u8(vget_high_u8(nibbles), vld1_u8(front_bytes[used >> 8])));
    *fours = (uint16_t)used;
    return count + (size_t)__builtin_popcount((unsigned)used >> 8);
}

static inline uint64_t nibbles_join(const uint8_t *in, uint16_t fours) {
    uint8x8_t first = vtbl1_u8(vld1_u8(in), vld1_u8(back_bytes[fours & 255]));
    uint8x8_t second = vtbl1_u8(vld1_u8(in + __builtin_popcount(fours & 255)), vld1_u8(back_bytes[fours >> 8]));
    uint8x8_t low = vuzp1_u8(first, second), high = vuzp2_u8(first, second);
    return vget_lane_u64(vreinterpret_u64_u8(vorr_u8(low, vshl_n_u8(high, 4))), 0);
}

static inline size_t scan(const float *x, size_t count, int32_t low, int32_t high, int32_t *found, size_t *above) {
    static const uint32_t each[4] = {1, 2, 4, 8};
    uint32x4_t higher = vdupq_n_u32(0);
    size_t kept = 0;
    for (size_t i = 0; i < count; i += 4) {
        int32x4_t bits = magnitudes(x + i);
        uint32x4_t too_high = vcgtq_s32(bits, vdupq_n_s32(high));
        uint32x4_t between = vbicq_u32(vcgtq_s32(bits, vdupq_n_s32(low)), too_high);
        unsigned mask = vaddvq_u32(vandq_u32(between, vld1q_u32(each)));
        higher = vsubq_u32(higher, too_high);
        vst1q_u8((uint8_t *)(found + kept), vqtbl1q_u8(vreinterpretq_u8_s32(bits), vld1q_u8(front_words[mask])));
        kept += (size_t)__builtin_popcount(mask);
    }
    *above += vaddvq_u32(higher);
    return kept;
}
