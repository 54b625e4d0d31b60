/* Vectors of floats as wide as the registers, in plain C. */
#pragma once

#include "kernel.h"

#if ISA_AVX512
enum { LANES = 16, REGISTERS = 32 };
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SECOND_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif ISA_AVX2
enum { LANES = 8, REGISTERS = 16 };
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define SECOND_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#if ISA_NEON
enum { LANES = 4, REGISTERS = 32 };
#else
enum { LANES = 4, REGISTERS = 16 };
#endif
#define FIRST_HALVES 0, 4, 1, 5
#define SECOND_HALVES 2, 6, 3, 7
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float UnalignedVector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef half UnalignedHalves __attribute__((vector_size(2 * LANES), aligned(2)));

static inline Vector load(const float *from) { return *(const UnalignedVector *)from; }
static inline void store(float *to, Vector vector) { *(UnalignedVector *)to = vector; }

static inline Vector load_halves(const half *from) {
    return __builtin_convertvector(*(const UnalignedHalves *)from, Vector);
}

/* Weaves row i with row i + LANES / 2, log2(LANES) times: the numbers of rows and columns have then changed places. */
static inline __attribute__((always_inline)) void transpose_square(Vector rows[LANES]) {
#pragma unroll
    for (int round = 1; round < LANES; round *= 2) {
        Vector woven[LANES];
#pragma unroll
        for (int i = 0; i < LANES / 2; i++) {
            woven[2 * i] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], FIRST_HALVES);
            woven[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], SECOND_HALVES);
        }
#pragma unroll
        for (int i = 0; i < LANES; i++)
            rows[i] = woven[i];
    }
}
