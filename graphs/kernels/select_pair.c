/* SelectNorm(values float32 [u], places uint8, shape int64 [r], bounds int64 [6]) -> values float32 [k], places uint8
 * SelectConv(the same, slope float32 [C], bias float32 [C]) -> values float32 [k], places uint8
 *
 * Of what SparsifyPair keeps of a tensor of that shape, [N, C, ...], what it keeps for the one layer and for the other:
 * what Sparsify would have given of c, and of y = max(0, c * slope + bias).
 *
 * Fails if the places are not those of u elements of a tensor of that shape, if bounds are not those of these values,
 * or if slope or bias is not one number for each channel.
 */

#include "blocks.h"
#include "select.h"

struct Members {
    const struct Tensor *stored; /* values */
    const struct Places *places;
    struct Source source; /* what is done to a value; it has no data */
    int32_t threshold;
    int64_t last; /* element at the threshold */
    size_t count;
    uint8_t *bitmap; /* of those that are chosen */
};

struct Gather {
    const struct Members *members;
    const struct Places *chosen;
    float *values;
};

/* A part of the tensor, with all that is done to its values, and which of its elements are stored. */
static void restore_part(const struct Members *job, size_t part, float dense[PART], uint64_t words[PART_WORDS]) {
    float values[PART + EXPAND_SLACK], expanded[64];
    const float *next = values;
    size_t first = job->places->starts[part].value, count = job->places->starts[part + 1].value - first;
    struct Reader reader = source_part(&job->source, part);
    if (count)
        memcpy(values, (const float *)job->stored->data + first, count * sizeof *values);
    places_part(job->places, part, words);
    for (size_t i = 0; i < PART; i += 64) {
        next += block_expand(next, words[i / 64], expanded);
        source_transform(&reader, expanded, 64, dense + i);
    }
}

static void mark_part(void *context, size_t part) {
    const struct Members *job = context;
    uint64_t words[PART_WORDS];
    float dense[PART];
    restore_part(job, part, dense, words);
    for (size_t i = 0; i < PART; i += 64) {
        int64_t left = job->last + 1 - (int64_t)(part * PART + i);
        uint64_t above = block_above(dense + i, 0, job->threshold);
        uint64_t ties = block_above(dense + i, 0, job->threshold - 1);
        words[i / 64] &= above | (ties & first_bits(left > 0 ? (size_t)left : 0));
    }
    store_words(job->bitmap, job->places->n, part, words);
}

static void gather_part(void *context, size_t part) {
    const struct Gather *job = context;
    uint64_t words[PART_WORDS];
    float dense[PART], kept[PART + COMPACT_SLACK];
    size_t count = 0;
    restore_part(job->members, part, dense, words);
    places_part(job->chosen, part, words);
    for (size_t i = 0; i < PART; i += 64)
        count += block_compact(dense + i, words[i / 64], kept + count);
    if (count)
        memcpy(job->values + job->chosen->starts[part].value, kept, count * sizeof *kept);
}

static OrtStatus *write_chosen(struct Call *call, const struct Members *job, const struct Places *chosen) {
    struct Tensor values;
    size_t count = chosen->starts[chosen->parts].value;
    if (count != job->count)
        return FAIL(call, "the bounds tell of %zu values and there are %zu", job->count, count);
    TRY(output_flat(call, 0, count, &values));
    pool_run(&call->pool, chosen->parts, gather_part, &(struct Gather){job, chosen, values.data});
    return places_write(call, 1, job->bitmap, chosen->n, count);
}

static OrtStatus *choose(struct Call *call, struct Members *job) {
    struct Places chosen;
    size_t n = job->places->n, bytes = ceil_divide(n, 8);
    void *bitmap;
    TRY(scratch(call, bytes, &bitmap));
    job->bitmap = bitmap;
    pool_run(&call->pool, job->places->parts, mark_part, job);
    OrtStatus *failure = places_open_mask(call, &(struct Tensor){.data = bitmap, .count = bytes}, n, &chosen);
    if (!failure) {
        failure = write_chosen(call, job, &chosen);
        places_close(&chosen);
    }
    free(bitmap);
    return failure;
}

/* which: 0 for the normalization, 1 for the convolution. */
static OrtStatus *read_bounds(const struct Call *call, int which, size_t n, struct Members *job) {
    const struct Tensor *input = &call->inputs[3];
    if (input->count != 6)
        return FAIL(call, "the bounds are %zu numbers, not 6", input->count);
    const int64_t *bounds = input->data, magnitude = bounds[2 * which], last = bounds[2 * which + 1];
    if (magnitude < 0 || magnitude > INT32_MAX || last < -1 || last >= (int64_t)n)
        return FAIL(call, "the bounds are not those of %zu elements", n);
    job->threshold = (int32_t)magnitude;
    job->last = last;
    job->count = (size_t)bounds[4 + which];
    return NULL;
}

static OrtStatus *select_members(struct Call *call, int which) {
    const struct Tensor *values = &call->inputs[0], *slope = &call->inputs[4], *bias = &call->inputs[5];
    struct Members job = {.stored = values};
    struct Tensor shape;
    struct Places places;
    TRY(described_shape(call, 2, &shape));
    TRY(read_bounds(call, which, shape.count, &job));
    if (!find_channels(&shape, &job.source))
        return FAIL(call, "the shape has no channels");
    if (which == 1) {
        if (!is_for_channels(slope, &job.source) || !is_for_channels(bias, &job.source))
            return FAIL(call, "slope and bias are not one number for each channel");
        job.source.slope = slope->data;
        job.source.bias = bias->data;
    }
    TRY(places_open(call, &call->inputs[1], shape.count, values->count, &places));
    job.places = &places;
    OrtStatus *failure = choose(call, &job);
    places_close(&places);
    return failure;
}

static OrtStatus *select_norm(struct Call *call) { return select_members(call, 0); }

static OrtStatus *select_conv(struct Call *call) { return select_members(call, 1); }

const struct Operator OPERATOR(SelectNorm) = {.name = "SelectNorm",
                                              .inputs = {{FLOAT32}, {UINT8}, {INT64}, {INT64}},
                                              .outputs = {{FLOAT32}, {UINT8}},
                                              .compute = select_norm};

const struct Operator OPERATOR(SelectConv) = {.name = "SelectConv",
                                              .inputs = {{FLOAT32}, {UINT8}, {INT64}, {INT64}, {FLOAT32}, {FLOAT32}},
                                              .outputs = {{FLOAT32}, {UINT8}},
                                              .compute = select_conv};
