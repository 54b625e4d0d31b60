/* Which instruction sets the kernels are compiled for, the plainest first, and which of them to use. */
#pragma once

#if defined(__x86_64__)
enum InstructionSet { SCALAR, AVX2, AVX512, INSTRUCTION_SETS };
#define INSTRUCTION_SET_NAMES {"scalar", "avx2", "avx512"}
#else
enum InstructionSet { SCALAR, NEON, INSTRUCTION_SETS };
#define INSTRUCTION_SET_NAMES {"scalar", "neon"}
#endif

extern const char *const instruction_set_names[INSTRUCTION_SETS];

/* The best that this processor has, or the one that the environment variable TOOLCHAIN_ISA names; -1: the processor
 * has not what it names. */
int instruction_set(void);
