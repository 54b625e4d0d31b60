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

/* PackValues rounds values far below the largest, which may carry one across the bound: fewer than one of so many. */
enum { ROUNDED = 1024 };

struct Members {
    const struct Tensor *stored; /* values */
    const struct Places *places;
    struct Source source; /* what is done to a value; it has no data */
    int32_t threshold;
    int64_t last;   /* element at the threshold */
    size_t count;   /* of members */
    size_t *firsts; /* how many members come before each part */
    float *values;
    uint8_t *bitmap;
};

/* A part, in which the stored elements are numbered. */
struct Stored {
    uint64_t words[PART_WORDS]; /* which elements they are */
    size_t count;
    float values[PART];              /* with all that is done to them */
    uint64_t members[PART_WORDS + 1]; /* a bit for each, and a word more */
};

/* How many of the elements from begin to end are set. */
static size_t count_between(const uint64_t words[PART_WORDS], size_t begin, size_t end) {
    size_t count = 0;
    for (size_t i = begin / 64; 64 * i < end; i++) {
        uint64_t before = 64 * i < begin ? first_bits(begin - 64 * i) : 0;
        count += (size_t)__builtin_popcountll(words[i] & first_bits(end - 64 * i) & ~before);
    }
    return count;
}

static void transform_values(const struct Source *source, size_t part, const float *from, struct Stored *stored) {
    struct Reader reader = source_part(source, part);
    for (size_t i = 0, taken = 0; taken < stored->count;) {
        size_t next = least(PART, i + reader.left), count = count_between(stored->words, i, next);
        transform(source, reader.channel, from + taken, count, stored->values + taken);
        reader.channel = reader.channel + 1 < source->channels ? reader.channel + 1 : 0;
        reader.left = source->pixels;
        taken += count;
        i = next;
    }
}

static void find_members(const struct Members *job, size_t part, struct Stored *stored) {
    int64_t until = job->last + 1 - (int64_t)(part * PART); /* ties are members before this element */
    size_t ties_left = until > 0 ? count_between(stored->words, 0, least(PART, (size_t)until)) : 0;
    memset(stored->members, 0, sizeof stored->members);
    for (size_t i = 0; i < stored->count; i += 64) {
        uint64_t above = block_above(stored->values + i, 0, job->threshold);
        uint64_t ties = block_above(stored->values + i, 0, job->threshold - 1);
        uint64_t early = i < ties_left ? first_bits(ties_left - i) : 0;
        stored->members[i / 64] = (above | (ties & early)) & first_bits(stored->count - i);
    }
}

static void load_part(const struct Members *job, size_t part, struct Stored *stored) {
    size_t first = job->places->starts[part].value;
    stored->count = job->places->starts[part + 1].value - first;
    places_part(job->places, part, stored->words);
    if (stored->count) {
        const float *from = (const float *)job->stored->data + first;
        if (is_by_channel(&job->source))
            transform_values(&job->source, part, from, stored);
        else
            memcpy(stored->values, from, stored->count * sizeof *from);
    }
    find_members(job, part, stored);
}

static void count_part(void *context, size_t part) {
    const struct Members *job = context;
    struct Stored stored;
    load_part(job, part, &stored);
    job->firsts[part] = count_bits(stored.members);
}

static void write_part(void *context, size_t part) {
    const struct Members *job = context;
    struct Stored stored;
    float kept[PART + COMPACT_SLACK];
    size_t count = 0;
    load_part(job, part, &stored);
    for (size_t i = 0; i < stored.count; i += 64)
        count += block_compact(stored.values + i, stored.members[i / 64], kept + count);
    if (count)
        memcpy(job->values + job->firsts[part], kept, count * sizeof *kept);
    narrow_words(stored.words, PART_WORDS, stored.members, 0);
    store_words(job->bitmap, job->places->n, part, stored.words);
}

/* Turns how many members each part has into how many come before it; returns the sum. */
static size_t place_parts(const struct Members *job) {
    size_t first = 0;
    for (size_t part = 0; part < job->places->parts; part++) {
        size_t count = job->firsts[part];
        job->firsts[part] = first;
        first += count;
    }
    return first;
}

static OrtStatus *write_members(struct Call *call, struct Members *job) {
    struct Tensor values;
    struct NewPlaces places;
    pool_run(&call->pool, job->places->parts, count_part, job);
    size_t count = place_parts(job);
    size_t difference = count > job->count ? count - job->count : job->count - count;
    if (difference > 1 + job->stored->count / ROUNDED)
        return FAIL(call, "the bounds tell of %zu values and there are %zu", job->count, count);
    TRY(output_flat(call, 0, count, &values));
    TRY(places_begin(call, 1, job->places->n, count, &places));
    job->values = values.data;
    job->bitmap = places.bitmap;
    pool_run(&call->pool, job->places->parts, write_part, job);
    return places_finish(call, 1, &places);
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
    void *firsts;
    OrtStatus *failure = scratch(call, places.parts * sizeof *job.firsts, &firsts);
    if (!failure) {
        job.firsts = firsts;
        failure = write_members(call, &job);
        memory_free(firsts);
    }
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
