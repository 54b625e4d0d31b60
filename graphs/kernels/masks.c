/* Masks of one bit an element, eight in a byte, the first in the lowest bit, zeros past the end: ceil(n / 8) bytes.
 *
 * PackMask(mask bool [...]) -> bits uint8 [ceil(n / 8)]
 * PackPositive(x float32 [...]) -> bits uint8 [ceil(n / 8)], which of the n elements are above zero; NaN is not
 * UnpackMask(bits uint8 [ceil(n / 8)], shape int64 [r]) -> mask bool [shape], the inverse of PackMask
 * ApplyMask(x float32 [...], bits uint8 [ceil(n / 8)]) -> y float32 like x, in its place: x where the bit is set, 0
 *     elsewhere
 *
 * Bits past the end are ignored. UnpackMask and ApplyMask fail if there are not ceil(n / 8) bytes.
 */

#include "blocks.h"
#include "places.h"

struct Mask {
    const void *from;
    const uint8_t *bits;
    void *to;
    size_t n;
};

static uint64_t pack_flags(const void *flags, size_t i, size_t count) {
    uint8_t some[64] = {0};
    const uint8_t *block = (const uint8_t *)flags + i;
    return block_flags(count < 64 ? memcpy(some, block, count) : block);
}

static uint64_t pack_positive(const void *x, size_t i, size_t count) {
    float some[64] = {0};
    const float *block = (const float *)x + i;
    fetch_ahead(block);
    return block_positive(count < 64 ? memcpy(some, block, count * sizeof *block) : block);
}

static inline void pack_part(const struct Mask *job, size_t part, uint64_t (*pack)(const void *, size_t, size_t)) {
    uint64_t words[PART_WORDS];
    size_t size = part_size(job->n, part);
    for (size_t i = 0; i < size; i += 64)
        words[i / 64] = pack(job->from, part * PART + i, least(64, size - i));
    store_words(job->to, job->n, part, words);
}

static void pack_flags_part(void *job, size_t part) { pack_part(job, part, pack_flags); }

static void pack_positive_part(void *job, size_t part) { pack_part(job, part, pack_positive); }

static OrtStatus *pack(struct Call *call, void (*work)(void *, size_t)) {
    const struct Tensor *from = &call->inputs[0];
    struct Tensor bits;
    TRY(output_flat(call, 0, ceil_divide(from->count, 8), &bits));
    struct Mask job = {.from = from->data, .to = bits.data, .n = from->count};
    pool_run(&call->pool, parts_of(job.n), work, &job);
    return NULL;
}

static OrtStatus *compute_pack_mask(struct Call *call) { return pack(call, pack_flags_part); }

static OrtStatus *compute_pack_positive(struct Call *call) { return pack(call, pack_positive_part); }

static OrtStatus *check_bits(const struct Call *call, const struct Tensor *bits, size_t n) {
    if (bits->count != ceil_divide(n, 8))
        return FAIL(call, "%zu bytes are no mask of %zu elements", bits->count, n);
    return NULL;
}

static void unpack_part(void *context, size_t part) {
    const struct Mask *job = context;
    uint64_t words[PART_WORDS];
    uint8_t flags[PART];
    load_words(job->bits, job->n, part, words);
    for (size_t i = 0; i < PART; i++)
        flags[i] = words[i / 64] >> i % 64 & 1;
    memcpy((uint8_t *)job->to + part * PART, flags, part_size(job->n, part));
}

static OrtStatus *compute_unpack_mask(struct Call *call) {
    const struct Tensor *bits = &call->inputs[0];
    struct Tensor shape, mask;
    TRY(described_shape(call, 1, &shape));
    TRY(check_bits(call, bits, shape.count));
    TRY(output_like(call, 0, &shape, &mask));
    struct Mask job = {.bits = bits->data, .to = mask.data, .n = mask.count};
    pool_run(&call->pool, parts_of(job.n), unpack_part, &job);
    return NULL;
}

static void apply_part(void *context, size_t part) {
    const struct Mask *job = context;
    uint64_t words[PART_WORDS];
    const float *x = (const float *)job->from + part * PART;
    float *y = (float *)job->to + part * PART;
    size_t size = part_size(job->n, part), i = 0;
    load_words(job->bits, job->n, part, words);
    for (; i + 64 <= size; i += 64)
        block_keep(x + i, words[i / 64], y + i);
    for (; i < size; i++)
        y[i] = words[i / 64] >> i % 64 & 1 ? x[i] : 0;
}

static OrtStatus *compute_apply_mask(struct Call *call) {
    const struct Tensor *x = &call->inputs[0], *bits = &call->inputs[1];
    struct Tensor y;
    TRY(check_bits(call, bits, x->count));
    TRY(output_like(call, 0, x, &y));
    struct Mask job = {x->data, bits->data, y.data, x->count};
    pool_run(&call->pool, parts_of(job.n), apply_part, &job);
    return NULL;
}

const struct Operator OPERATOR(PackMask) = {
    .name = "PackMask", .inputs = {{BOOL}}, .outputs = {{UINT8}}, .compute = compute_pack_mask};

const struct Operator OPERATOR(PackPositive) = {
    .name = "PackPositive", .inputs = {{FLOAT32}}, .outputs = {{UINT8}}, .compute = compute_pack_positive};

const struct Operator OPERATOR(UnpackMask) = {
    .name = "UnpackMask", .inputs = {{UINT8}, {INT64}}, .outputs = {{BOOL}}, .compute = compute_unpack_mask};

const struct Operator OPERATOR(ApplyMask) = {.name = "ApplyMask",
                                             .inputs = {{FLOAT32}, {UINT8}},
                                             .outputs = {{FLOAT32}},
                                             .in_place = 1,
                                             .compute = compute_apply_mask};
