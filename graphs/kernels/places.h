/* The places of the k kept elements of a tensor of n elements, as Sparsify writes them.
 *
 * Plain: a bit for each element, eight in a byte, the first in the lowest bit, zeros past the end: ceil(n / 8) bytes.
 * Coded, where 16 k < 3 n: a bit for each four elements that says whether any of them is kept, ceil(ceil(n / 4) / 8)
 * bytes; then the fours in which one is, four bits each, two in a byte, the first in the lower half, zeros past the
 * end.
 *
 * Tensors are worked on in parts of PART elements; the places of a part are PART_WORDS words of 64 bits.
 */
#pragma once

#include "kernel.h"

enum { PART = 4096, PART_WORDS = PART / 64 };

static inline size_t parts_of(size_t n) { return ceil_divide(n, PART); }

static inline size_t part_size(size_t n, size_t part) { return least(PART, n - part * PART); }

/* A part's elements, and those past the end up to a whole number of 64. */
static inline size_t blocks_size(size_t n, size_t part) { return ceil_divide(part_size(n, part), 64) * 64; }

/* A word with the first `count` bits set, all of them from 64 on. */
static inline uint64_t first_bits(size_t count) { return count < 64 ? ~(~0ull << count) : ~0ull; }

/* Clears what is past the end of n elements. */
static inline void end_words(size_t n, size_t part, uint64_t words[PART_WORDS]) {
    size_t count = part_size(n, part);
    if (count < PART) {
        words[count / 64] &= first_bits(count % 64);
        memset(words + count / 64 + 1, 0, (PART_WORDS - count / 64 - 1) * sizeof *words);
    }
}

/* A part as 64-bit words of a bitmap of n bits, zeros past the end; and back. */
static inline void load_words(const uint8_t *bitmap, size_t n, size_t part, uint64_t words[PART_WORDS]) {
    memcpy(words, bitmap + part * (PART / 8), ceil_divide(part_size(n, part), 8));
    end_words(n, part, words);
}

static inline void store_words(uint8_t *bitmap, size_t n, size_t part, const uint64_t words[PART_WORDS]) {
    memcpy(bitmap + part * (PART / 8), words, ceil_divide(part_size(n, part), 8));
}

/* Of the elements in words. */
static inline size_t count_bits(const uint64_t words[PART_WORDS]) {
    size_t count = 0;
    for (int i = 0; i < PART_WORDS; i++)
        count += (size_t)__builtin_popcountll(words[i]);
    return count;
}

struct Places {
    const uint8_t *bitmap; /* of the elements; of fours of elements if coded */
    const uint8_t *nibbles;
    size_t n, parts;
    bool coded;
    struct PartStart {
        size_t value;  /* how many elements are kept before this part */
        size_t nibble; /* how many nibbles come before those of this part */
    } *starts;         /* of each part, and one more for the end */
};

#define places_open FOR_ISA(places_open)
#define places_open_mask FOR_ISA(places_open_mask)
#define places_part FOR_ISA(places_part)
#define places_close FOR_ISA(places_close)
#define places_expand FOR_ISA(places_expand)
#define places_write FOR_ISA(places_write)
#define places_begin FOR_ISA(places_begin)
#define places_finish FOR_ISA(places_finish)

/* Opens an input for reading, part by part, in any order and by any thread. Fails where it is not the places of k of
 * n elements; otherwise places_close has to follow. */
OrtStatus *places_open(const struct Call *, const struct Tensor *places, size_t n, size_t k, struct Places *);

/* Opens a plain bitmap of ceil(n / 8) bytes, whatever number of bits is set in it. */
OrtStatus *places_open_mask(const struct Call *, const struct Tensor *bits, size_t n, struct Places *);

void places_part(const struct Places *, size_t part, uint64_t words[PART_WORDS]);
void places_close(struct Places *);

/* Reads an input whole, as a plain bitmap of ceil(n / 64) words, zeros past the end. Fails as places_open does. */
OrtStatus *places_expand(const struct Call *, const struct Tensor *places, size_t n, size_t k, uint64_t *bitmap);

/* Makes output `index` of a plain bitmap of n bits, k of them set, zeros past the end. */
OrtStatus *places_write(struct Call *, int index, const uint8_t *bitmap, size_t n, size_t k);

/* Places while they are written: between the two calls, every part of the bitmap is to be filled by store_words, k bits
 * of it set. Output `index` is made by the one or the other. */
struct NewPlaces {
    uint8_t *bitmap;
    size_t n;
    bool coded;
};

OrtStatus *places_begin(struct Call *, int index, size_t n, size_t k, struct NewPlaces *);
OrtStatus *places_finish(struct Call *, int index, const struct NewPlaces *);
