/* Which elements are kept, once the threshold is known, and writing them. */

#include "select.h"

#include "blocks.h"

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
    OrtStatus *failure = NULL;
    if (k == 0 || k == source->n)
        select_trivially(selection);
    else
        failure = find_threshold(call, source, k, parts, &selection->threshold);
    if (failure)
        select_close(selection);
    else
        place_parts(selection);
    return failure;
}

void select_close(struct Selection *selection) { memory_free(selection->parts); }

/* How a part's elements are chosen: those above a limit or, where some of its ties are kept and some not, those above
 * the threshold and the first ties. */
struct Choice {
    int32_t threshold, limit;
    bool some_ties;
    uint32_t ties_left;
};

static struct Choice choice_of(const struct Selection *selection, size_t part) {
    const struct SelectedPart *counts = &selection->parts[part];
    return (struct Choice){.threshold = selection->threshold,
                           .limit = selection->threshold - (counts->kept_ties > 0),
                           .some_ties = counts->kept_ties > 0 && counts->kept_ties < counts->ties,
                           .ties_left = counts->kept_ties};
}

static uint64_t choose_among_ties(struct Choice *choice, const float *x, float center) {
    uint64_t above = block_above(x, center, choice->threshold);
    uint64_t ties = block_above(x, center, choice->threshold - 1) & ~above;
    while ((uint32_t)__builtin_popcountll(ties) > choice->ties_left)
        ties &= ~(1ull << (63 - __builtin_clzll(ties)));
    choice->ties_left -= (uint32_t)__builtin_popcountll(ties);
    return above | ties;
}

static uint64_t choose(struct Choice *choice, const float *x, float center) {
    return choice->some_ties ? choose_among_ties(choice, x, center) : block_above(x, center, choice->limit);
}

/* Chooses of a run, sets the words, and writes what is chosen, less center. Returns how many that are. */
static size_t take_above(struct Run run, int32_t limit, uint64_t *words, float *out) {
    size_t count = 0, taken;
    for (size_t i = 0; i < run.count; i += 64) {
        fetch_ahead(run.x + i);
        words[i / 64] = block_take(run.x + i, run.center, limit, out + count, &taken);
        count += taken;
    }
    return count;
}

static size_t take_some_ties(struct Run run, struct Choice *choice, uint64_t *words, float *out) {
    size_t count = 0, all;
    float block[64 + COMPACT_SLACK];
    for (size_t i = 0; i < run.count; i += 64) {
        words[i / 64] = choose_among_ties(choice, run.x + i, run.center);
        block_take(run.x + i, run.center, -1, block, &all);
        count += block_compact(block, words[i / 64], out + count);
    }
    return count;
}

struct Write {
    const struct Selection *selection;
    const struct Tensor *values;
    uint8_t *bitmap;
};

static void store_values(const float *kept, size_t count, const struct Tensor *values, size_t first) {
    if (count && values->type == FLOAT32)
        memcpy((float *)values->data + first, kept, count * sizeof *kept);
    else
        for (size_t i = 0; i < count; i++)
            ((half *)values->data)[first + i] = half_of(kept[i]);
}

static void write_part(void *context, size_t part) {
    const struct Write *job = context;
    const struct Selection *selection = job->selection;
    const struct SelectedPart *counts = &selection->parts[part];
    size_t n = selection->source->n, size = blocks_size(n, part), count = 0;
    float buffer[64], kept[PART + COMPACT_SLACK];
    uint64_t words[PART_WORDS];
    struct Reader reader = source_part(selection->source, part);
    struct Choice choice = choice_of(selection, part);
    for (size_t i = 0; i < size;) {
        struct Run run = source_run(&reader, size - i, buffer);
        count += choice.some_ties ? take_some_ties(run, &choice, words + i / 64, kept + count)
                                  : take_above(run, choice.limit, words + i / 64, kept + count);
        i += run.count;
    }
    end_words(n, part, words);
    store_words(job->bitmap, n, part, words);
    store_values(kept, counts->above + counts->kept_ties, job->values, counts->first);
}

void select_write(const struct Call *call, const struct Selection *selection, const struct Tensor *values,
                  uint8_t *bitmap) {
    size_t parts = parts_of(selection->source->n);
    pool_run(&call->pool, parts, write_part, &(struct Write){selection, values, bitmap});
}

struct Union {
    const struct Selection *one, *other;
    uint8_t *bitmap;
};

static void mark_part(const struct Selection *selection, size_t part, uint64_t words[PART_WORDS]) {
    float buffer[64], center;
    struct Reader reader = source_part(selection->source, part);
    struct Choice choice = choice_of(selection, part);
    for (size_t i = 0; i < part_size(selection->source->n, part); i += 64) {
        const float *x = source_block(&reader, buffer, &center);
        words[i / 64] = choose(&choice, x, center);
    }
    end_words(selection->source->n, part, words);
}

static void unite_part(void *context, size_t part) {
    const struct Union *job = context;
    uint64_t words[PART_WORDS], others[PART_WORDS];
    mark_part(job->one, part, words);
    mark_part(job->other, part, others);
    for (int i = 0; i < PART_WORDS; i++)
        words[i] |= others[i];
    store_words(job->bitmap, job->one->source->n, part, words);
}

void select_union(const struct Call *call, const struct Selection *one, const struct Selection *other,
                  uint8_t *bitmap) {
    pool_run(&call->pool, parts_of(one->source->n), unite_part, &(struct Union){one, other, bitmap});
}

static int64_t nth_tie(const struct Selection *selection, size_t part, uint32_t number) {
    float buffer[64], center;
    struct Reader reader = source_part(selection->source, part);
    for (size_t i = part * PART;; i += 64) {
        const float *x = source_block(&reader, buffer, &center);
        uint64_t above = block_above(x, center, selection->threshold);
        uint64_t ties = block_above(x, center, selection->threshold - 1) & ~above;
        uint32_t count = (uint32_t)__builtin_popcountll(ties);
        if (number > count) {
            number -= count;
            continue;
        }
        while (--number)
            ties &= ties - 1;
        return (int64_t)i + __builtin_ctzll(ties);
    }
}

int64_t select_last_tie(const struct Selection *selection) {
    for (size_t part = parts_of(selection->source->n); part-- > 0;)
        if (selection->parts[part].kept_ties)
            return nth_tie(selection, part, selection->parts[part].kept_ties);
    return -1;
}
