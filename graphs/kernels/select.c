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

void select_close(struct Selection *selection) { free(selection->parts); }

struct Write {
    const struct Selection *selection;
    const struct Tensor *values; /* or null */
    uint8_t *bitmap;
    bool add; /* to the bits that are set in it */
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
    if (count && values->type == FLOAT32)
        memcpy((float *)values->data + first, kept, count * sizeof *kept);
    else
        for (size_t i = 0; i < count; i++)
            ((half *)values->data)[first + i] = half_of(kept[i]);
}

static void add_words(const uint8_t *bitmap, size_t n, size_t part, uint64_t words[PART_WORDS]) {
    uint64_t old[PART_WORDS];
    load_words(bitmap, n, part, old);
    for (int i = 0; i < PART_WORDS; i++)
        words[i] |= old[i];
}

static void write_part(void *context, size_t part) {
    const struct Write *job = context;
    const struct Selection *selection = job->selection;
    const struct SelectedPart *counts = &selection->parts[part];
    float buffer[64], center, kept[PART + COMPACT_SLACK];
    uint64_t words[PART_WORDS] = {0};
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
    if (job->add)
        add_words(job->bitmap, selection->source->n, part, words);
    store_words(job->bitmap, selection->source->n, part, words);
    if (job->values)
        store_values(kept, counts->above + counts->kept_ties, job->values, counts->first);
}

static void write_all(const struct Call *call, struct Write *job) {
    pool_run(&call->pool, parts_of(job->selection->source->n), write_part, job);
}

void select_write(const struct Call *call, const struct Selection *selection, const struct Tensor *values,
                  uint8_t *bitmap) {
    write_all(call, &(struct Write){selection, values, bitmap, .add = false});
}

void select_add_places(const struct Call *call, const struct Selection *selection, uint8_t *bitmap) {
    write_all(call, &(struct Write){selection, NULL, bitmap, .add = true});
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
