/* Zig's __builtin_cpu_supports always answers no, so the processor is asked here. */

#include "cpu.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

const char *const instruction_set_names[INSTRUCTION_SETS] = INSTRUCTION_SET_NAMES;

#if defined(__x86_64__)
#include <cpuid.h>

/* Bits of CPUID's answers, and of XCR0: the registers that the operating system keeps. */
enum { FMA = 1 << 12, MOVBE = 1 << 22, POPCNT = 1 << 23, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
enum { BMI1 = 1 << 3, AVX2_BIT = 1 << 5, BMI2 = 1 << 8 };
enum { AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512BW = 1 << 30 };
static const uint32_t AVX512VL = 1u << 31;
enum { VBMI = 1 << 1, VBMI2 = 1 << 6, BITALG = 1 << 12 };
enum { LZCNT = 1 << 5 };
enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 };

static uint64_t kept_registers(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }

static enum InstructionSet best(void) {
    uint32_t a, b, c, d, extended_c;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, OSXSAVE | AVX | FMA | F16C | POPCNT | MOVBE))
        return SCALAR;
    if (!__get_cpuid(0x80000001, &a, &b, &extended_c, &d) || !has(extended_c, LZCNT))
        return SCALAR;
    uint64_t registers = kept_registers();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, BMI1 | AVX2_BIT | BMI2) || !has(registers, YMM_STATE))
        return SCALAR;
    uint64_t avx512 = (uint64_t)AVX512F | AVX512DQ | AVX512BW | AVX512VL;
    return has(b, avx512) && has(c, VBMI | VBMI2 | BITALG) && has(registers, ZMM_STATE) ? AVX512 : AVX2;
}
#else
static enum InstructionSet best(void) { return NEON; }
#endif

int instruction_set(void) {
    const char *wanted = getenv("TOOLCHAIN_ISA");
    int found = best();
    if (!wanted)
        return found;
    while (found >= 0 && strcmp(instruction_set_names[found], wanted))
        found--;
    return found;
}
