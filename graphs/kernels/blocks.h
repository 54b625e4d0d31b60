/* 64 elements at a time, and the word of 64 bits that says which of them: bit i is element i.
 *
 *   block_above(x, t)           those whose magnitude, its float32 bits read as an integer, is above t (t = -1: all)
 *   block_positive(x)           those above zero
 *   block_flags(bytes)          the bytes that are not zero
 *   block_compact(x, bits, out) writes those in order and returns how many; may write COMPACT_SLACK elements past them
 *   block_expand(x, bits, out)  the inverse, zeros elsewhere; may read EXPAND_SLACK elements past those it takes
 *   block_keep(x, bits, out)    x where the bit is set, zeros elsewhere
 *   nibbles_spread(bits, out, &fours)  the four-bit pieces of `bits` that are not zero, a byte each, and in `fours` which
 *                               of the 16 they are; may write 16 bytes whatever their number, which it returns
 *   nibbles_join(in, fours)     the inverse; may read 16 bytes
 *
 * and for a whole number of blocks:
 *
 *   scan(x, count, low, high, found, &above)  writes the magnitudes above low and not above high (as block_above
 *                               compares) to `found` and returns how many, COMPACT_SLACK as before; counts those above
 *                               high in `above`
 */
#pragma once

#include "kernel.h"

enum { COMPACT_SLACK = 16, EXPAND_SLACK = 16 };

#if ISA_AVX512
#include "blocks_avx512.h"
#elif ISA_AVX2
#include "blocks_avx2.h"
#elif ISA_NEON
#include "blocks_neon.h"
#else
#include "blocks_scalar.h"
#endif
