/* Narrow(values float32 or float16 [K], places uint8, shape int64 [r], prune_ratio float32 [1])
 *     -> values of the same type [k], places uint8
 *
 * What Sparsify at the higher prune_ratio gives of a tensor of that shape, from what it gave at a lower one: the k =
 * floor(n (1 - prune_ratio)) of the values that are largest in magnitude, ties first in order, NaN above infinity.
 *
 * Fails if k is above K, if the places are not those of K elements of a tensor of that shape, or if prune_ratio is not
 * one number from 0 to 1.
 */

#include "blocks.h"
#include "select.h"

struct Narrow {
    const struct Places *old;
    const uint64_t *kept; /* a bit for each of the old values, and a word more */
    uint8_t *bitmap;
};

static void narrow_part(void *context, size_t part) {
    const struct Narrow *job = context;
    uint64_t words[PART_WORDS];
    places_part(job->old, part, words);
    narrow_words(words, PART_WORDS, job->kept, job->old->starts[part].value);
    store_words(job->bitmap, job->old->n, part, words);
}

static OrtStatus *narrow_places(struct Call *call, const struct Places *old, size_t k, const uint64_t *kept) {
    struct NewPlaces places;
    TRY(places_begin(call, 1, old->n, k, &places));
    pool_run(&call->pool, old->parts, narrow_part, &(struct Narrow){old, kept, places.bitmap});
    return places_finish(call, 1, &places);
}

static OrtStatus *narrow(struct Call *call, const struct Places *old, size_t k, const struct Source *source) {
    struct Tensor values;
    struct Selection selection;
    void *kept;
    TRY(output_flat(call, 0, k, &values));
    TRY(scratch(call, (source->n / 64 + 2) * sizeof(uint64_t), &kept));
    OrtStatus *failure = select_open(call, source, k, &selection);
    if (!failure) {
        memset((uint64_t *)kept + source->n / 64, 0, 2 * sizeof(uint64_t));
        select_write(call, &selection, &values, kept);
        select_close(&selection);
        failure = narrow_places(call, old, k, kept);
    }
    memory_free(kept);
    return failure;
}

static OrtStatus *compute(struct Call *call) {
    const struct Tensor *values = &call->inputs[0];
    struct Tensor shape;
    struct Places old;
    size_t k;
    TRY(described_shape(call, 2, &shape));
    TRY(kept_count(call, 3, shape.count, &k));
    if (k > values->count)
        return FAIL(call, "%zu values cannot be narrowed to %zu", values->count, k);
    TRY(places_open(call, &call->inputs[1], shape.count, values->count, &old));
    struct Source source = {.data = values->data, .is_half = values->type == FLOAT16, .n = values->count};
    OrtStatus *failure = narrow(call, &old, k, &source);
    places_close(&old);
    return failure;
}

const struct Operator OPERATOR(Narrow) = {.name = "Narrow",
                                          .inputs = {{FLOATS}, {UINT8}, {INT64}, {FLOAT32}},
                                          .outputs = {{FLOATS}, {UINT8}},
                                          .compute = compute};
