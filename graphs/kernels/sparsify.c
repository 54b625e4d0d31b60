/* Sparsify(dense float32 [...], prune_ratio float32 [1], center float32 [C] optional)
 *     -> values float32 [k], places uint8 [m]
 * SparsifyHalf(the same) -> values float16 [k], places
 *
 * Keeps the k = floor(n (1 - prune_ratio)) of the n elements that are largest in magnitude, exactly: ties first in
 * order, NaN above infinity. k is computed in float64. The values are in the order of the elements; places.h has the
 * form of their places. With a center, it is dense less center[c] that is kept, c being the index along the second axis
 * of dense. Float16 values are rounded to nearest even, and at most the largest finite number.
 *
 * Fails if prune_ratio is not one number from 0 to 1, or center not one number for each channel.
 */

#include "select.h"

static OrtStatus *find_source(const struct Call *call, struct Source *source) {
    const struct Tensor *dense = &call->inputs[0], *center = &call->inputs[2];
    *source = (struct Source){.data = dense->data, .n = dense->count};
    if (center->rank < 0)
        return NULL;
    if (!find_channels(dense, source) || !is_for_channels(center, source))
        return FAIL(call, "center is not one number for each channel of dense");
    source->center = center->data;
    return NULL;
}

static OrtStatus *write_outputs(struct Call *call, const struct Selection *selection) {
    struct Tensor values;
    struct NewPlaces places;
    TRY(output_flat(call, 0, selection->k, &values));
    TRY(places_begin(call, 1, selection->source->n, selection->k, &places));
    select_write(call, selection, &values, places.bitmap);
    return places_finish(call, 1, &places);
}

static OrtStatus *sparsify(struct Call *call) {
    struct Source source;
    size_t k;
    TRY(find_source(call, &source));
    TRY(kept_count(call, 1, source.n, &k));
    struct Selection selection;
    TRY(select_open(call, &source, k, &selection));
    OrtStatus *failure = write_outputs(call, &selection);
    select_close(&selection);
    return failure;
}

const struct Operator OPERATOR(Sparsify) = {.name = "Sparsify",
                                            .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32, .optional = true}},
                                            .outputs = {{FLOAT32}, {UINT8}},
                                            .compute = sparsify};

const struct Operator OPERATOR(SparsifyHalf) = {.name = "SparsifyHalf",
                                                .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32, .optional = true}},
                                                .outputs = {{FLOAT16}, {UINT8}},
                                                .compute = sparsify};
