/* The k elements of a source that are largest in magnitude, exactly: ties first in order, NaN above infinity. */
#pragma once

#include "source.h"

#define find_threshold FOR_ISA(find_threshold)
#define kept_count FOR_ISA(kept_count)
#define select_open FOR_ISA(select_open)
#define select_write FOR_ISA(select_write)
#define select_union FOR_ISA(select_union)
#define select_last_tie FOR_ISA(select_last_tie)
#define select_close FOR_ISA(select_close)

/* floor(n (1 - prune_ratio)) in float64, where input `index` is the prune ratio: one float32 from 0 to 1. */
OrtStatus *kept_count(const struct Call *, int index, size_t n, size_t *k);

struct Selection {
    const struct Source *source;
    size_t k;
    int32_t threshold;          /* the k-th largest magnitude, as an integer */
    struct SelectedPart *parts; /* of the source */
};

struct SelectedPart {
    uint32_t above, ties; /* elements above and at the threshold */
    uint32_t kept_ties;   /* the first so many of those */
    size_t first;         /* how many elements are kept before this part */
    size_t candidates;    /* where those of this part begin */
};

/* The k-th largest magnitude, 0 < k, and of each part what is above it and at it. */
OrtStatus *find_threshold(const struct Call *, const struct Source *, size_t k, struct SelectedPart *parts,
                          int32_t *threshold);

/* Finds them; select_close has to follow unless it fails. Reads the source once, but for rare distributions. */
OrtStatus *select_open(const struct Call *, const struct Source *, size_t k, struct Selection *);

/* Writes the kept elements, in the type of that tensor, and a bitmap of n bits of their places. Reads the source
 * once. */
void select_write(const struct Call *, const struct Selection *, const struct Tensor *values, uint8_t *bitmap);

/* Writes a bitmap of the places of those that are kept of the one source or the other, both of n elements. */
void select_union(const struct Call *, const struct Selection *, const struct Selection *, uint8_t *bitmap);

/* The last kept element at the threshold; -1: there is none. */
int64_t select_last_tie(const struct Selection *);

void select_close(struct Selection *);
