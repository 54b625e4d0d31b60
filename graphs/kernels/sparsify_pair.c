/* SparsifyPair(z float32 [N, C, ...], norm_ratio float32 [1], conv_ratio float32 [1],
 *              mean float32 [C], slope float32 [C], bias float32 [C])
 *     -> values float32 [u], places uint8 [m], bounds int64 [6]
 *
 * One store for two layers that read one activation: a batch normalization, which needs c = z - mean, and the
 * convolution behind it, which needs y = max(0, c * slope + bias). What is kept is the union of what Sparsify keeps of
 * c at norm_ratio and of y at conv_ratio. The values are those of c, in the order of the elements; places.h has the
 * form of their u places.
 *
 * bounds is by what the two are told apart: for each of them the smallest magnitude that is kept, its float32 bits read
 * as an integer, and the index of the last kept element of that magnitude; then how many each of them keeps. Where
 * nothing is kept, no magnitude is enough: 0x7fffffff, and -1. Where all is kept, any is: 0, and the last index.
 *
 * Fails if a ratio is not one number from 0 to 1, or mean, slope or bias not one number for each channel.
 */

#include "blocks.h"
#include "select.h"

struct Pair {
    struct Source norm, conv;
    size_t norm_count, conv_count;
    int64_t bounds[6];
    uint8_t *bitmap; /* of the union */
};

static OrtStatus *find_sources(const struct Call *call, struct Pair *pair) {
    const struct Tensor *z = &call->inputs[0], *numbers = &call->inputs[3];
    pair->norm = (struct Source){.data = z->data, .n = z->count, .center = numbers[0].data};
    bool fit = find_channels(z, &pair->norm);
    for (int i = 0; i < 3; i++)
        fit = fit && is_for_channels(&numbers[i], &pair->norm);
    if (!fit)
        return FAIL(call, "mean, slope and bias are not one number for each channel of z");
    pair->conv = pair->norm;
    pair->conv.slope = numbers[1].data;
    pair->conv.bias = numbers[2].data;
    TRY(kept_count(call, 1, z->count, &pair->norm_count));
    return kept_count(call, 2, z->count, &pair->conv_count);
}

static void find_bounds(const struct Selection *selection, int64_t bounds[2]) {
    bool all = selection->k == selection->source->n;
    bounds[0] = selection->threshold;
    bounds[1] = all ? (int64_t)selection->k - 1 : select_last_tie(selection);
}

static OrtStatus *unite(const struct Call *call, struct Pair *pair) {
    struct Selection norm, conv;
    TRY(select_open(call, &pair->norm, pair->norm_count, &norm));
    OrtStatus *failure = select_open(call, &pair->conv, pair->conv_count, &conv);
    if (!failure) {
        select_union(call, &norm, &conv, pair->bitmap);
        find_bounds(&norm, pair->bounds);
        find_bounds(&conv, pair->bounds + 2);
        pair->bounds[4] = (int64_t)pair->norm_count;
        pair->bounds[5] = (int64_t)pair->conv_count;
        select_close(&conv);
    }
    select_close(&norm);
    return failure;
}

struct Gather {
    const struct Source *source;
    const struct Places *places;
    float *values;
};

static void gather_part(void *context, size_t part) {
    const struct Gather *job = context;
    uint64_t words[PART_WORDS];
    float buffer[64], block[64], kept[PART + COMPACT_SLACK], center;
    struct Reader reader = source_part(job->source, part);
    size_t count = 0;
    places_part(job->places, part, words);
    for (size_t i = 0; i < part_size(job->source->n, part); i += 64) {
        const float *x = source_block(&reader, buffer, &center);
        for (int j = 0; j < 64; j++)
            block[j] = x[j] - center;
        count += block_compact(block, words[i / 64], kept + count);
    }
    if (count)
        memcpy(job->values + job->places->starts[part].value, kept, count * sizeof *kept);
}

static OrtStatus *write_union(struct Call *call, const struct Pair *pair, const struct Places *kept) {
    struct Tensor values, bounds;
    size_t count = kept->starts[kept->parts].value;
    TRY(output_flat(call, 2, 6, &bounds));
    memcpy(bounds.data, pair->bounds, sizeof pair->bounds);
    TRY(output_flat(call, 0, count, &values));
    pool_run(&call->pool, kept->parts, gather_part, &(struct Gather){&pair->norm, kept, values.data});
    return places_write(call, 1, pair->bitmap, kept->n, count);
}

static OrtStatus *sparsify(struct Call *call, struct Pair *pair) {
    struct Places kept;
    struct Tensor bits = {.data = pair->bitmap, .count = ceil_divide(pair->norm.n, 8)};
    TRY(unite(call, pair));
    TRY(places_open_mask(call, &bits, pair->norm.n, &kept));
    OrtStatus *failure = write_union(call, pair, &kept);
    places_close(&kept);
    return failure;
}

static OrtStatus *compute(struct Call *call) {
    struct Pair pair;
    void *bitmap;
    TRY(find_sources(call, &pair));
    TRY(scratch(call, ceil_divide(pair.norm.n, 8), &bitmap));
    pair.bitmap = bitmap;
    OrtStatus *failure = sparsify(call, &pair);
    memory_free(bitmap);
    return failure;
}

const struct Operator OPERATOR(SparsifyPair) = {
    .name = "SparsifyPair",
    .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}},
    .outputs = {{FLOAT32}, {UINT8}, {INT64}},
    .compute = compute};
