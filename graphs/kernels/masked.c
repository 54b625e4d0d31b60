/* The elements of a tensor that a mask of one bit an element (see masks.c) has set, in order.
 *
 * GatherMasked(x float32 [...], bits uint8 [ceil(n / 8)]) -> values float32 [v], v being how many bits are set
 * AddMasked(x float32 [...], values float32 [v], bits uint8) -> y float32 like x, in its place: the values are added to
 *     those elements; a zero elsewhere may lose its sign
 * ScatterMasked(values float32 [v], bits uint8, shape int64 [r]) -> y float32 [shape]: the values there, zeros
 *     elsewhere
 *
 * Bits past the end are ignored. Fails if there are not ceil(n / 8) bytes, or not as many values as bits that are set.
 */

#include "blocks.h"
#include "places.h"

struct Masked {
    struct Places mask;
    const float *values;
    float *x;
};

static void gather_part(void *context, size_t part) {
    const struct Masked *job = context;
    uint64_t words[PART_WORDS];
    float kept[PART + COMPACT_SLACK], last[64] = {0};
    const float *x = job->x + part * PART;
    size_t size = part_size(job->mask.n, part), count = 0, i = 0;
    places_part(&job->mask, part, words);
    for (; i + 64 <= size; i += 64)
        count += block_compact(x + i, words[i / 64], kept + count);
    if (i < size)
        count += block_compact(memcpy(last, x + i, (size - i) * sizeof *x), words[i / 64], kept + count);
    if (count)
        memcpy((float *)job->values + job->mask.starts[part].value, kept, count * sizeof *kept);
}

/* A part of a tensor that is zero but for the values. */
static void scattered_part(const struct Masked *job, size_t part, float scattered[PART]) {
    uint64_t words[PART_WORDS];
    float values[PART + EXPAND_SLACK], *next = values;
    const struct PartStart *start = &job->mask.starts[part];
    if (start[1].value > start[0].value)
        memcpy(values, job->values + start[0].value, (start[1].value - start[0].value) * sizeof *values);
    places_part(&job->mask, part, words);
    for (size_t i = 0; i < PART_WORDS; i++)
        next += block_expand(next, words[i], scattered + 64 * i);
}

static void add_part(void *context, size_t part) {
    const struct Masked *job = context;
    float scattered[PART], *x = job->x + part * PART;
    scattered_part(job, part, scattered);
    for (size_t i = 0; i < part_size(job->mask.n, part); i++)
        x[i] += scattered[i];
}

static void scatter_part(void *context, size_t part) {
    const struct Masked *job = context;
    float scattered[PART];
    scattered_part(job, part, scattered);
    memcpy(job->x + part * PART, scattered, part_size(job->mask.n, part) * sizeof *scattered);
}

static size_t mask_count(const struct Masked *job) { return job->mask.starts[job->mask.parts].value; }

static OrtStatus *check_values(const struct Call *call, const struct Tensor *values, const struct Masked *job) {
    if (values->count != mask_count(job))
        return FAIL(call, "%zu values for a mask of %zu", values->count, mask_count(job));
    return NULL;
}

static OrtStatus *gather(struct Call *call, struct Masked *job) {
    struct Tensor values;
    TRY(output_flat(call, 0, mask_count(job), &values));
    job->x = call->inputs[0].data;
    job->values = values.data;
    pool_run(&call->pool, job->mask.parts, gather_part, job);
    return NULL;
}

static OrtStatus *add(struct Call *call, struct Masked *job) {
    const struct Tensor *values = &call->inputs[1];
    struct Tensor y;
    TRY(check_values(call, values, job));
    TRY(output_in_place(call, 0, &y));
    job->x = y.data;
    job->values = values->data;
    pool_run(&call->pool, job->mask.parts, add_part, job);
    return NULL;
}

static OrtStatus *scatter(struct Call *call, struct Masked *job) {
    const struct Tensor *values = &call->inputs[0];
    struct Tensor shape, y;
    TRY(check_values(call, values, job));
    TRY(described_shape(call, 2, &shape));
    TRY(output_like(call, 0, &shape, &y));
    job->x = y.data;
    job->values = values->data;
    pool_run(&call->pool, job->mask.parts, scatter_part, job);
    return NULL;
}

static OrtStatus *with_mask(struct Call *call, const struct Tensor *bits, size_t n,
                            OrtStatus *(*compute)(struct Call *, struct Masked *)) {
    struct Masked job = {0};
    TRY(places_open_mask(call, bits, n, &job.mask));
    OrtStatus *failure = compute(call, &job);
    places_close(&job.mask);
    return failure;
}

static OrtStatus *compute_gather(struct Call *call) {
    return with_mask(call, &call->inputs[1], call->inputs[0].count, gather);
}

static OrtStatus *compute_add(struct Call *call) {
    return with_mask(call, &call->inputs[2], call->inputs[0].count, add);
}

static OrtStatus *compute_scatter(struct Call *call) {
    struct Tensor shape;
    TRY(described_shape(call, 2, &shape));
    return with_mask(call, &call->inputs[1], shape.count, scatter);
}

const struct Operator OPERATOR(GatherMasked) = {
    .name = "GatherMasked", .inputs = {{FLOAT32}, {UINT8}}, .outputs = {{FLOAT32}}, .compute = compute_gather};

const struct Operator OPERATOR(AddMasked) = {.name = "AddMasked",
                                             .inputs = {{FLOAT32}, {FLOAT32}, {UINT8}},
                                             .outputs = {{FLOAT32}},
                                             .in_place = 1,
                                             .compute = compute_add};

const struct Operator OPERATOR(ScatterMasked) = {.name = "ScatterMasked",
                                                 .inputs = {{FLOAT32}, {UINT8}, {INT64}},
                                                 .outputs = {{FLOAT32}},
                                                 .compute = compute_scatter};
