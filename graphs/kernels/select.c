/* A sample tells between which two magnitudes the threshold is all but sure to be. One reading of the source counts what
 * is above them and collects the few candidates between them, among which the threshold is found. If it is not there
 * after all, it is found by counting the magnitudes of the whole source.
 */

#include "select.h"

#include <stdatomic.h>

#include "blocks.h"

enum { SAMPLE = 16384, DIGITS = 11, BINS = 1 << DIGITS };

OrtStatus *kept_count(const struct Call *call, int index, size_t n, size_t *k) {
    const struct Tensor *ratio = &call->inputs[index];
    if (ratio->count != 1)
        return FAIL(call, "the prune ratio is %zu numbers, not one", ratio->count);
    double value = *(const float *)ratio->data;
    if (!(0 <= value && value <= 1))
        return FAIL(call, "the prune ratio is %g, not from 0 to 1", value);
    *k = (size_t)((double)n * (1 - value));
    return NULL;
}

/* Counts the first elements of a block by which range of 1 << shift magnitudes from `low` on they are in, those that are
 * in none of them as BINS. */
static void count_block(const float *x, float center, size_t count, int32_t low, int shift, uint32_t *counts) {
    uint32_t bins[64];
    for (int i = 0; i < 64; i++) {
        uint32_t bin = (uint32_t)(magnitude(x[i] - center) - low) >> shift;
        bins[i] = bin < BINS ? bin : BINS;
    }
    for (size_t i = 0; i < count; i++)
        counts[bins[i]]++;
}

/* Digit by digit: in which of BINS ranges of magnitudes from `low` on the k-th largest is, then in which part of that
 * range. All magnitudes from `low` to `high` have to be in the source that are; k counts from 1. */
static int32_t kth_largest(const struct Source *source, size_t k, int32_t low, int32_t high) {
    float buffer[64], center;
    int width = 32 - __builtin_clz((unsigned)(high - low) | 1); /* the range, in bits */
    for (;;) {
        int shift = width > DIGITS ? width - DIGITS : 0;
        uint32_t counts[BINS + 1] = {0};
        for (size_t part = 0; part < parts_of(source->n); part++) {
            struct Reader reader = source_part(source, part);
            for (size_t left = part_size(source->n, part); left; left -= least(left, 64)) {
                const float *x = source_block(&reader, buffer, &center);
                count_block(x, center, least(left, 64), low, shift, counts);
            }
        }
        int bin = (1 << (width - shift)) - 1;
        for (; counts[bin] < k; bin--)
            k -= counts[bin];
        low += bin << shift;
        if (shift == 0)
            return low;
        width = shift;
    }
}

/* One element at random out of each of `count` stretches. */
static void take_sample(const struct Source *source, size_t count, float *sample) {
    uint32_t random = 1;
    size_t stretch = source->n / count;
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        sample[i] = source_element(source, i * stretch + (random * (uint64_t)stretch >> 32));
    }
}

struct Scan {
    const struct Source *source;
    int32_t low, high; /* not negative */
    float *candidates; /* whose magnitudes are above low and not above high */
    size_t room;
    atomic_size_t used;
    struct SelectedPart *parts;
};

static void scan_part(void *context, size_t part) {
    struct Scan *job = context;
    float buffer[64], center, found[PART + COMPACT_SLACK];
    struct Reader reader = source_part(job->source, part);
    size_t above = 0, count = 0, size = part_size(job->source->n, part);
    for (size_t i = 0; i < size; i += 64) {
        const float *x = source_block(&reader, buffer, &center);
        count += block_between(x, center, job->low, job->high, found + count, &above);
    }
    size_t place = atomic_fetch_add_explicit(&job->used, count, memory_order_relaxed);
    if (place + count <= job->room)
        memcpy(job->candidates + place, found, count * sizeof *found);
    job->parts[part] = (struct SelectedPart){(uint32_t)above, (uint32_t)count, .candidates = place};
}

/* Counts in every part the elements above `high`, and as its ties those above `low` and not above `high`. Returns how
 * many are above `high`. */
static size_t scan_all(const struct Call *call, struct Scan *job) {
    size_t above = 0;
    job->used = 0;
    pool_run(&call->pool, parts_of(job->source->n), scan_part, job);
    for (size_t part = 0; part < parts_of(job->source->n); part++)
        above += job->parts[part].above;
    return above;
}

/* Between which magnitudes the k-th largest is, as far as a sample tells: 3.5 deviations to both sides. Returns how
 * many candidates there is to be room for. */
static size_t bracket(const struct Source *source, size_t k, int32_t *low, int32_t *high) {
    float sample[SAMPLE];
    struct Source sampled = {.data = sample, .n = SAMPLE};
    take_sample(source, SAMPLE, sample);
    double share = (double)k / (double)source->n;
    double rank = share * SAMPLE, margin = 3.5 * __builtin_sqrt(SAMPLE * share * (1 - share)) + 2;
    *high = rank - margin < 1 ? INT32_MAX : kth_largest(&sampled, (size_t)(rank - margin), 0, INT32_MAX);
    *low = rank + margin > SAMPLE ? 0 : kth_largest(&sampled, (size_t)(rank + margin), 0, INT32_MAX);
    return (size_t)(4 * margin / SAMPLE * (double)source->n) + PART;
}

/* Now that the threshold is known: which of each part's candidates are above it and at it. */
static void count_candidates(const struct Scan *job, int32_t threshold) {
    for (size_t part = 0; part < parts_of(job->source->n); part++) {
        struct SelectedPart *counts = &job->parts[part];
        const float *candidates = job->candidates + counts->candidates;
        uint32_t above = 0, ties = 0;
        for (uint32_t i = 0; i < counts->ties; i++) {
            above += magnitude(candidates[i]) > threshold;
            ties += magnitude(candidates[i]) == threshold;
        }
        counts->above += above;
        counts->ties = ties;
    }
}

/* The threshold is zero: all that is not above it is at it. */
static void count_zeros(const struct Scan *job) {
    for (size_t part = 0; part < parts_of(job->source->n); part++) {
        struct SelectedPart *counts = &job->parts[part];
        counts->above += counts->ties;
        counts->ties = (uint32_t)part_size(job->source->n, part) - counts->above;
    }
}

static int32_t count_exactly(const struct Call *call, struct Scan *job, size_t k) {
    int32_t threshold = kth_largest(job->source, k, 0, INT32_MAX);
    job->low = threshold > 0 ? threshold - 1 : 0;
    job->high = threshold;
    job->room = 0;
    scan_all(call, job);
    if (threshold == 0)
        count_zeros(job);
    return threshold;
}

static OrtStatus *find_threshold(const struct Call *call, struct Scan *job, size_t k, int32_t *threshold) {
    void *candidates = NULL;
    *threshold = -1;
    if (job->source->n > 2 * SAMPLE) {
        job->room = bracket(job->source, k, &job->low, &job->high);
        TRY(scratch(call, job->room * sizeof(float), &candidates));
        job->candidates = candidates;
        size_t above = scan_all(call, job), between = job->used;
        if (above < k && k <= above + between && between <= job->room) {
            struct Source found = {.data = candidates, .n = between};
            *threshold = kth_largest(&found, k - above, job->low + 1, job->high);
            count_candidates(job, *threshold);
        } else if (job->low == 0 && above + between < k) {
            *threshold = 0;
            count_zeros(job);
        }
    }
    free(candidates);
    if (*threshold < 0)
        *threshold = count_exactly(call, job, k);
    return NULL;
}

/* All or nothing. */
static void select_trivially(struct Selection *selection) {
    bool all = selection->k > 0;
    selection->threshold = all ? 0 : INT32_MAX;
    for (size_t part = 0; part < parts_of(selection->source->n); part++)
        selection->parts[part] = (struct SelectedPart){
            .above = 0, .ties = all ? (uint32_t)part_size(selection->source->n, part) : 0};
}

static void place_parts(struct Selection *selection) {
    size_t ties = selection->k, first = 0;
    for (size_t part = 0; part < parts_of(selection->source->n); part++)
        ties -= selection->parts[part].above;
    for (size_t part = 0; part < parts_of(selection->source->n); part++) {
        struct SelectedPart *counts = &selection->parts[part];
        counts->kept_ties = (uint32_t)least(counts->ties, ties);
        counts->first = first;
        ties -= counts->kept_ties;
        first += counts->above + counts->kept_ties;
    }
}

OrtStatus *select_open(const struct Call *call, const struct Source *source, size_t k, struct Selection *selection) {
    void *parts;
    TRY(scratch(call, parts_of(source->n) * sizeof(struct SelectedPart), &parts));
    *selection = (struct Selection){source, k, 0, parts};
    struct Scan job = {.source = source, .parts = parts};
    OrtStatus *failure = NULL;
    if (k == 0 || k == source->n)
        select_trivially(selection);
    else
        failure = find_threshold(call, &job, k, &selection->threshold);
    if (failure)
        select_close(selection);
    else
        place_parts(selection);
    return failure;
}

void select_close(struct Selection *selection) { free(selection->parts); }

struct Write {
    const struct Selection *selection;
    const struct Tensor *values;
    uint8_t *bitmap;
};

/* Takes of a block all above the threshold and the first ties, at most `left`, which are then fewer. */
static uint64_t take_ties(const float *x, float center, int32_t threshold, uint32_t *left, float *out, size_t *count) {
    float all[64 + COMPACT_SLACK];
    uint64_t above = block_above(x, center, threshold), ties = block_above(x, center, threshold - 1) & ~above;
    while ((uint32_t)__builtin_popcountll(ties) > *left)
        ties &= ~(1ull << (63 - __builtin_clzll(ties)));
    *left -= (uint32_t)__builtin_popcountll(ties);
    block_take(x, center, -1, all, count);
    *count = block_compact(all, above | ties, out);
    return above | ties;
}

static void store_values(const float *kept, size_t count, const struct Tensor *values, size_t first) {
    if (values->type == FLOAT32)
        memcpy((float *)values->data + first, kept, count * sizeof *kept);
    else
        for (size_t i = 0; i < count; i++)
            ((half *)values->data)[first + i] = half_of(kept[i]);
}

static void write_part(void *context, size_t part) {
    const struct Write *job = context;
    const struct Selection *selection = job->selection;
    const struct SelectedPart *counts = &selection->parts[part];
    float buffer[64], center, kept[PART + COMPACT_SLACK];
    uint64_t words[PART_WORDS];
    struct Reader reader = source_part(selection->source, part);
    size_t size = part_size(selection->source->n, part), count = 0;
    bool some_ties = counts->kept_ties && counts->kept_ties < counts->ties;
    int32_t limit = selection->threshold - (counts->kept_ties > 0);
    uint32_t left = counts->kept_ties;
    for (size_t i = 0; i < size; i += 64) {
        const float *x = source_block(&reader, buffer, &center);
        size_t taken;
        words[i / 64] = some_ties ? take_ties(x, center, selection->threshold, &left, kept + count, &taken)
                                  : block_take(x, center, limit, kept + count, &taken);
        count += taken;
    }
    if (size % 64)
        words[size / 64] &= first_bits(size % 64);
    store_words(job->bitmap, selection->source->n, part, words);
    store_values(kept, counts->above + counts->kept_ties, job->values, counts->first);
}

void select_write(const struct Call *call, const struct Selection *selection, const struct Tensor *values,
                  uint8_t *bitmap) {
    pool_run(&call->pool, parts_of(selection->source->n), write_part, &(struct Write){selection, values, bitmap});
}
