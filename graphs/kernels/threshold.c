/* A sample tells between which two magnitudes the threshold is all but sure to be. One reading of the source counts
 * what is above them and collects the few candidates between them, among which the threshold is found. If it is not
 * there after all, it is found by counting the magnitudes of the whole source.
 */

#include <stdatomic.h>

#include "blocks.h"
#include "select.h"

enum { DIGITS = 11, BINS = 1 << DIGITS, SAMPLE_PART = 1024, MOST_SAMPLED = 16 * SAMPLE_PART, GROUP = 32, SLICES = 4 };

/* How many elements of a source are in each of BINS ranges, of 1 << shift magnitudes from `low` on. */
struct Ranges {
    const struct Source *source;
    int32_t low, high; /* no magnitude is below or above */
    int shift;
    size_t slices;                 /* which several threads count */
    uint32_t counts[SLICES][BINS]; /* the first becomes that of all */
};

/* Elements less center. */
static void count_magnitudes(const float *x, float center, size_t count, int32_t low, int shift, uint32_t *counts) {
    for (size_t i = 0; i < count; i++)
        counts[(magnitude(x[i] - center) - low) >> shift]++;
}

static void count_part(struct Ranges *ranges, size_t part, uint32_t *counts) {
    float buffer[64], center;
    struct Reader reader = source_part(ranges->source, part);
    for (size_t left = part_size(ranges->source->n, part); left; left -= least(left, 64)) {
        const float *x = source_block(&reader, buffer, &center);
        count_magnitudes(x, center, least(left, 64), ranges->low, ranges->shift, counts);
    }
}

static void count_slice(void *context, size_t slice) {
    struct Ranges *ranges = context;
    uint32_t *counts = ranges->counts[slice];
    memset(counts, 0, sizeof ranges->counts[slice]);
    for (size_t part = slice; part < parts_of(ranges->source->n); part += ranges->slices)
        count_part(ranges, part, counts);
}

static void count_ranges(const struct Pool *pool, const struct Source *source, int32_t low, int32_t high,
                         struct Ranges *ranges) {
    int width = 32 - __builtin_clz((unsigned)(high - low) | 1); /* in bits */
    ranges->source = source;
    ranges->low = low;
    ranges->high = high;
    ranges->shift = width > DIGITS ? width - DIGITS : 0;
    ranges->slices = least(SLICES, parts_of(source->n) / 8 + 1);
    pool_run(pool, ranges->slices, count_slice, ranges);
    for (size_t slice = 1; slice < ranges->slices; slice++)
        for (size_t bin = 0; bin < BINS; bin++)
            ranges->counts[0][bin] += ranges->counts[slice][bin];
}

/* The same of the magnitudes from `low` to `high` of any source; zeros, if any, may be too many. */
static void count_within(const struct Source *source, int32_t low, int32_t high, int shift, uint32_t *counts) {
    float buffer[64], center, found[64 + COMPACT_SLACK];
    size_t above = 0;
    memset(counts, 0, BINS * sizeof *counts);
    for (size_t part = 0; part < parts_of(source->n); part++) {
        struct Reader reader = source_part(source, part);
        for (size_t i = 0; i < part_size(source->n, part); i += 64) {
            const float *x = source_block(&reader, buffer, &center);
            size_t count = block_between(x, center, low - 1, high, found, &above);
            count_magnitudes(found, 0, count, low, shift, counts);
        }
    }
}

/* Digit by digit: in which of the ranges the k-th largest is, then in which part of that range. k counts from 1. */
static int32_t kth_largest(const struct Ranges *ranges, size_t k) {
    uint32_t finer[BINS];
    const uint32_t *counts = ranges->counts[0];
    int32_t low = ranges->low, high = ranges->high;
    for (int shift = ranges->shift;; counts = finer) {
        int bin = (high - low) >> shift;
        for (; counts[bin] < k; bin--)
            k -= counts[bin];
        low += bin << shift;
        if (shift == 0)
            return low;
        high = (int32_t)least((size_t)high, (size_t)low + (1u << shift) - 1);
        shift = shift > DIGITS ? shift - DIGITS : 0;
        count_within(ranges->source, low, high, shift, finer);
    }
}

struct Sample {
    const struct Source *source;
    size_t size;
    float elements[MOST_SAMPLED];
};

/* One element at random out of each of `size` stretches, SAMPLE_PART of them. */
static void sample_part(void *context, size_t part) {
    struct Sample *sample = context;
    uint32_t random = (uint32_t)part;
    size_t stretch = sample->source->n / sample->size;
    for (size_t i = part * SAMPLE_PART; i < (part + 1) * SAMPLE_PART; i++) {
        random = random * 1664525 + 1013904223;
        sample->elements[i] = source_element(sample->source, i * stretch + (random * (uint64_t)stretch >> 32));
    }
}

/* Grows as n to the power of 2/3, which is where the sample and the candidates take about the same time. */
static size_t sample_size(size_t n) {
    double size = SAMPLE_PART;
    while (size < MOST_SAMPLED && 64 * size * size * size < (double)n * (double)n)
        size *= 2;
    return (size_t)size;
}

struct Scan {
    const struct Source *source;
    int32_t low, high; /* not negative */
    int32_t threshold; /* -1: not found */
    float *candidates; /* whose magnitudes are above low and not above high */
    size_t room;
    atomic_size_t used;
    struct SelectedPart *parts;
    size_t group; /* of how many parts */
};

/* As block_between does, of a whole run. */
static size_t scan_run(struct Run run, int32_t low, int32_t high, float *found, size_t *above) {
    size_t count = 0, higher = 0;
    for (size_t i = 0; i < run.count; i += 64) {
        fetch_ahead(run.x + i);
        count += block_between(run.x + i, run.center, low, high, found + count, &higher);
    }
    *above += higher;
    return count;
}

/* Returns how many candidates of a part were found, the first of them at `found`. */
static size_t scan_part(const struct Scan *job, size_t part, float *found) {
    float buffer[64];
    struct Reader reader = source_part(job->source, part);
    size_t above = 0, count = 0;
    for (size_t left = blocks_size(job->source->n, part); left;) {
        struct Run run = source_run(&reader, left, buffer);
        count += scan_run(run, job->low, job->high, found + count, &above);
        left -= run.count;
    }
    job->parts[part] = (struct SelectedPart){.above = (uint32_t)above, .ties = (uint32_t)count};
    return count;
}

/* Puts the candidates of some parts behind those of others. */
static void hand_in(struct Scan *job, size_t first, size_t end, const float *found, size_t count) {
    size_t place = atomic_fetch_add_explicit(&job->used, count, memory_order_relaxed);
    if (count && place + count <= job->room)
        memcpy(job->candidates + place, found, count * sizeof *found);
    for (size_t part = first; part < end; part++) {
        job->parts[part].candidates = place;
        place += job->parts[part].ties;
    }
}

/* Of a group of parts, so that threads seldom write beside each other. */
static void scan_group(void *context, size_t group) {
    struct Scan *job = context;
    float found[2 * PART + COMPACT_SLACK];
    size_t first = group * job->group, end = least(first + job->group, parts_of(job->source->n)), count = 0;
    for (size_t part = first; part < end; part++) {
        count += scan_part(job, part, found + count);
        if (count > PART || part + 1 == end) {
            hand_in(job, first, part + 1, found, count);
            first = part + 1;
            count = 0;
        }
    }
}

/* Counts in every part the elements above `high`, and as its ties those above `low` and not above `high`. Returns how
 * many are above `high`. */
static size_t scan_all(const struct Call *call, struct Scan *job) {
    size_t above = 0;
    job->used = 0;
    pool_run(&call->pool, ceil_divide(parts_of(job->source->n), job->group), scan_group, job);
    for (size_t part = 0; part < parts_of(job->source->n); part++)
        above += job->parts[part].above;
    return above;
}

/* Between which magnitudes the k-th largest is, as far as a sample tells: 3.5 deviations to both sides. Returns how
 * many candidates there is to be room for. */
static size_t bracket(const struct Call *call, const struct Source *source, size_t k, int32_t *low, int32_t *high) {
    struct Sample sample; /* not cleared */
    struct Ranges ranges;
    sample.source = source;
    sample.size = sample_size(source->n);
    struct Source sampled = {.data = sample.elements, .n = sample.size};
    pool_run(&call->pool, sample.size / SAMPLE_PART, sample_part, &sample);
    count_ranges(&call->pool, &sampled, 0, INT32_MAX, &ranges);
    double share = (double)k / (double)source->n, size = (double)sample.size;
    double rank = share * size, margin = 3.5 * __builtin_sqrt(size * share * (1 - share)) + 2;
    *high = rank - margin < 1 ? INT32_MAX : kth_largest(&ranges, (size_t)(rank - margin));
    *low = rank + margin > size ? 0 : kth_largest(&ranges, (size_t)(rank + margin));
    return (size_t)(4 * margin / size * (double)source->n) + PART;
}

/* Now that the threshold is known: which of a part's candidates are above it and at it. */
static void count_candidates(void *context, size_t part) {
    const struct Scan *job = context;
    struct SelectedPart *counts = &job->parts[part];
    const float *candidates = job->candidates + counts->candidates;
    uint32_t above = 0, ties = 0;
    for (uint32_t i = 0; i < counts->ties; i++) {
        above += magnitude(candidates[i]) > job->threshold;
        ties += magnitude(candidates[i]) == job->threshold;
    }
    counts->above += above;
    counts->ties = ties;
}

/* The threshold is zero: all that is not above it is at it. */
static void count_zeros(const struct Scan *job) {
    for (size_t part = 0; part < parts_of(job->source->n); part++) {
        struct SelectedPart *counts = &job->parts[part];
        counts->above += counts->ties;
        counts->ties = (uint32_t)part_size(job->source->n, part) - counts->above;
    }
}

static void count_exactly(const struct Call *call, struct Scan *job, size_t k) {
    struct Ranges ranges;
    count_ranges(&call->pool, job->source, 0, INT32_MAX, &ranges);
    int32_t threshold = kth_largest(&ranges, k);
    job->low = threshold > 0 ? threshold - 1 : 0;
    job->high = job->threshold = threshold;
    job->room = 0;
    scan_all(call, job);
    if (threshold == 0)
        count_zeros(job);
}

static void guess(const struct Call *call, struct Scan *job, size_t k) {
    size_t above = scan_all(call, job), between = job->used;
    if (above < k && k <= above + between && between <= job->room) {
        struct Source found = {.data = job->candidates, .n = between};
        struct Ranges ranges;
        count_ranges(&call->pool, &found, job->low + 1, job->high, &ranges);
        job->threshold = kth_largest(&ranges, k - above);
        pool_run(&call->pool, parts_of(job->source->n), count_candidates, job);
    } else if (job->low == 0 && above + between < k) {
        job->threshold = 0;
        count_zeros(job);
    }
}

OrtStatus *find_threshold(const struct Call *call, const struct Source *source, size_t k, struct SelectedPart *parts,
                          int32_t *threshold) {
    size_t group = least(GROUP, parts_of(source->n) / 16 + 1);
    struct Scan job = {.source = source, .parts = parts, .group = group, .threshold = -1};
    if (source->n > 32 * SAMPLE_PART) {
        void *candidates;
        job.room = bracket(call, source, k, &job.low, &job.high);
        TRY(scratch(call, job.room * sizeof(float), &candidates));
        job.candidates = candidates;
        guess(call, &job, k);
        memory_free(candidates);
    }
    if (job.threshold < 0)
        count_exactly(call, &job, k);
    *threshold = job.threshold;
    return NULL;
}
