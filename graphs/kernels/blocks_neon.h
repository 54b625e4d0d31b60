/* blocks.h for NEON. */

#include "lanes.h"

/* Of 16 bytes, all ones or zero each. */
static inline uint64_t byte_bits(uint8x16_t mask) {
    static const uint8_t each[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = vandq_u8(mask, vld1q_u8(each));
    return vaddv_u8(vget_low_u8(bits)) | (uint64_t)vaddv_u8(vget_high_u8(bits)) << 8;
}

static inline uint8x16_t narrow_masks(const uint32x4_t masks[4]) {
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(masks[0]), vreinterpretq_u16_u32(masks[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(masks[2]), vreinterpretq_u16_u32(masks[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

static inline uint64_t block_above(const float *x, float center, int32_t t) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 16) {
        uint32x4_t masks[4];
        for (int j = 0; j < 4; j++) {
            float32x4_t size = vabsq_f32(vsubq_f32(vld1q_f32(x + i + 4 * j), vdupq_n_f32(center)));
            masks[j] = vcgtq_s32(vreinterpretq_s32_f32(size), vdupq_n_s32(t));
        }
        bits |= byte_bits(narrow_masks(masks)) << i;
    }
    return bits;
}

static inline uint64_t block_positive(const float *x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 16) {
        uint32x4_t masks[4];
        for (int j = 0; j < 4; j++)
            masks[j] = vcgtzq_f32(vld1q_f32(x + i + 4 * j));
        bits |= byte_bits(narrow_masks(masks)) << i;
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

static inline uint8x16_t move_words(float32x4_t x, const uint8_t from[16]) {
    return vqtbl1q_u8(vreinterpretq_u8_f32(x), vld1q_u8(from));
}

static inline size_t block_compact(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 4) {
        unsigned mask = bits >> i & 15;
        vst1q_u8((uint8_t *)(out + count), move_words(vld1q_f32(x + i), front_words[mask]));
        count += (size_t)__builtin_popcount(mask);
    }
    return count;
}

static inline size_t block_expand(const float *x, uint64_t bits, float *out) {
    size_t count = 0;
    for (int i = 0; i < 64; i += 4) {
        unsigned mask = bits >> i & 15;
        vst1q_u8((uint8_t *)(out + i), move_words(vld1q_f32(x + count), back_words[mask]));
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

static inline uint64_t deposit(uint64_t bits, uint64_t places) {
    uint64_t moved = 0;
    for (; places; places &= places - 1, bits >>= 1)
        moved |= (places & -places) & -(bits & 1);
    return moved;
}

/* Eight nibbles at a time. */
static inline size_t nibbles_spread(uint64_t bits, uint8_t *out, uint16_t *fours) {
    uint8x8_t bytes = vcreate_u8(bits), low = vand_u8(bytes, vdup_n_u8(15)), high = vshr_n_u8(bytes, 4);
    uint8x16_t nibbles = vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
    uint64_t used = byte_bits(vtstq_u8(nibbles, nibbles));
    size_t count = (size_t)__builtin_popcount(used & 255);
    vst1_u8(out, vtbl1_u8(vget_low_u8(nibbles), vld1_u8(front_lanes[used & 255])));
    vst1_u8(out + count, vtbl1_u8(vget_high_u8(nibbles), vld1_u8(front_lanes[used >> 8])));
    *fours = (uint16_t)used;
    return count + (size_t)__builtin_popcount((unsigned)used >> 8);
}

static inline uint64_t nibbles_join(uint64_t packed, uint16_t fours) {
    uint8x8_t bytes = vcreate_u8(packed), even = vand_u8(bytes, vdup_n_u8(15)), odd = vshr_n_u8(bytes, 4);
    uint8x16_t nibbles = vcombine_u8(vzip1_u8(even, odd), vzip2_u8(even, odd));
    uint8x8_t taken = vdup_n_u8((uint8_t)__builtin_popcount(fours & 255)); /* by the first eight; NONE stays NONE */
    uint8x8_t first = vqtbl1_u8(nibbles, vld1_u8(back_lanes[fours & 255]));
    uint8x8_t second = vqtbl1_u8(nibbles, vqadd_u8(vld1_u8(back_lanes[fours >> 8]), taken));
    uint8x8_t low = vuzp1_u8(first, second), high = vuzp2_u8(first, second);
    return vget_lane_u64(vreinterpret_u64_u8(vorr_u8(low, vshl_n_u8(high, 4))), 0);
}
