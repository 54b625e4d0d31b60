/* A tensor as Sparsify stores it, read anywhere as the dense tensor that it stands for. */
#pragma once

#include "places.h"

#define sparse_open FOR_ISA(sparse_open)
#define sparse_close FOR_ISA(sparse_close)
#define sparse_kept_before FOR_ISA(sparse_kept_before)
#define sparse_restore FOR_ISA(sparse_restore)
#define words_of FOR_ISA(words_of)

enum { TILE = 1 << 10, TILE_WORDS = TILE / 64 }; /* the most elements that are restored at once */

struct Sparse {
    const struct Tensor *values;
    struct Places places;
    const uint8_t *bits; /* a plain bitmap */
    size_t bytes;
    void *expanded; /* the bitmap's memory if the places are coded */
};

/* Opens two inputs, the values and the places, of a tensor of n elements. Fails where they do not fit; otherwise
 * sparse_close has to follow. */
OrtStatus *sparse_open(const struct Call *, int values, int places, size_t n, struct Sparse *);
void sparse_close(struct Sparse *);

/* How many of the elements before this one are kept. */
size_t sparse_kept_before(const struct Sparse *, size_t element);

/* Writes elements begin..end, at most TILE, and zeros up to a whole number of 64. `*kept` is sparse_kept_before(begin),
 * and then that of the end. */
void sparse_restore(const struct Sparse *, size_t begin, size_t end, size_t *kept, float to[TILE]);

/* The bits of elements begin..end, at most TILE, of a bitmap, zeros past the end. */
void words_of(const uint8_t *bits, size_t bytes, size_t begin, size_t end, uint64_t words[TILE_WORDS]);
