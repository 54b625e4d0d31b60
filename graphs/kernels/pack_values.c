/* Kept values in 28 bits each, for the time that they wait.
 *
 * PackValues(values float32 [k]) -> packed uint8 [3 k + ceil(k / 2) + 1]
 * UnpackValues(packed uint8 [m]) -> values float32 [k], the inverse
 *
 * What is kept of an activation is what is largest in it, so its exponents are few. A value takes 24 bits and a nibble:
 * how many binades it is below the largest exponent of all. Up to 14 the 24 bits are its sign and its mantissa, and
 * it comes back as it was, infinity and NaN too. 15 says that it is smaller: then they are sign, exponent and the
 * upper 15 bits of the mantissa, rounded, which is exact for zero and else within 2^-31 of the largest magnitude.
 *
 * The packed form: the lower 16 bits of every value, the upper 8 of each, the nibbles, the first of two in the lower
 * half, and the largest exponent. UnpackValues fails where m is no such length.
 */

#include "places.h"

enum { FAR = 15, BITS = 7 }; /* BITS: half bytes of a value */

typedef uint16_t __attribute__((aligned(1))) unaligned16;

struct Packed {
    unaligned16 *low;
    uint8_t *high, *nibbles, *top;
};

static struct Packed planes_of(void *packed, size_t k) {
    uint8_t *high = (uint8_t *)packed + 2 * k;
    return (struct Packed){packed, high, high + k, high + k + ceil_divide(k, 2)};
}

static size_t packed_size(size_t k) { return 3 * k + ceil_divide(k, 2) + 1; }

struct Packing {
    uint32_t *values;
    struct Packed packed;
    size_t k;
    uint8_t *tops; /* of each part */
};

static void find_top(void *context, size_t part) {
    const struct Packing *job = context;
    const uint32_t *x = job->values + part * PART;
    uint32_t largest = 0;
    for (size_t i = 0; i < part_size(job->k, part); i++) {
        uint32_t magnitude = x[i] & INT32_MAX;
        largest = magnitude > largest ? magnitude : largest;
    }
    job->tops[part] = (uint8_t)(largest >> 23);
}

static void pack_part(void *context, size_t part) {
    const struct Packing *job = context;
    const uint32_t *restrict x = job->values + part * PART;
    unaligned16 *restrict low = job->packed.low + part * PART;
    uint8_t *restrict high = job->packed.high + part * PART, *restrict nibbles = job->packed.nibbles + part * PART / 2;
    uint8_t offsets[PART + 1];
    uint32_t top = *job->packed.top;
    size_t size = part_size(job->k, part);
    for (size_t i = 0; i < size; i++) {
        uint32_t below = top - (x[i] >> 23 & 255), sign = x[i] >> 31 << 23;
        uint32_t near = x[i] & 0x7fffff, far = ((x[i] & INT32_MAX) + 0x80) >> 8;
        uint32_t code = (below < FAR ? near : far) | sign;
        low[i] = (uint16_t)code;
        high[i] = (uint8_t)(code >> 16);
        offsets[i] = (uint8_t)(below < FAR ? below : FAR);
    }
    offsets[size] = 0;
    for (size_t i = 0; i < ceil_divide(size, 2); i++)
        nibbles[i] = (uint8_t)(offsets[2 * i] | offsets[2 * i + 1] << 4);
}

static void unpack_part(void *context, size_t part) {
    const struct Packing *job = context;
    uint32_t *restrict x = job->values + part * PART;
    const unaligned16 *restrict low = job->packed.low + part * PART;
    const uint8_t *restrict high = job->packed.high + part * PART;
    const uint8_t *restrict nibbles = job->packed.nibbles + part * PART / 2;
    uint8_t offsets[PART + 1];
    uint32_t top = *job->packed.top;
    size_t size = part_size(job->k, part);
    for (size_t i = 0; i < ceil_divide(size, 2); i++) {
        offsets[2 * i] = nibbles[i] & 15;
        offsets[2 * i + 1] = nibbles[i] >> 4;
    }
    for (size_t i = 0; i < size; i++) {
        uint32_t code = low[i] | (uint32_t)high[i] << 16, rest = code & 0x7fffff;
        uint32_t magnitude = offsets[i] < FAR ? (top - offsets[i]) << 23 | rest : rest << 8;
        x[i] = magnitude | code >> 23 << 31;
    }
}

static OrtStatus *pack(struct Call *call) {
    const struct Tensor *values = &call->inputs[0];
    struct Tensor made;
    void *tops;
    TRY(output_flat(call, 0, packed_size(values->count), &made));
    TRY(scratch(call, parts_of(values->count) + 1, &tops));
    struct Packing job = {values->data, planes_of(made.data, values->count), values->count, tops};
    pool_run(&call->pool, parts_of(job.k), find_top, &job);
    *job.packed.top = 0;
    for (size_t part = 0; part < parts_of(job.k); part++)
        *job.packed.top = job.tops[part] > *job.packed.top ? job.tops[part] : *job.packed.top;
    memory_free(tops);
    pool_run(&call->pool, parts_of(job.k), pack_part, &job);
    return NULL;
}

static OrtStatus *unpack(struct Call *call) {
    const struct Tensor *packed = &call->inputs[0];
    struct Tensor made;
    size_t k = packed->count ? (packed->count - 1) * 2 / BITS : 0;
    if (packed->count != packed_size(k))
        return FAIL(call, "%zu bytes are no packed values", packed->count);
    TRY(output_flat(call, 0, k, &made));
    struct Packing job = {made.data, planes_of(packed->data, k), k, NULL};
    pool_run(&call->pool, parts_of(k), unpack_part, &job);
    return NULL;
}

const struct Operator OPERATOR(PackValues) = {
    .name = "PackValues", .inputs = {{FLOAT32}}, .outputs = {{UINT8}}, .compute = pack};

const struct Operator OPERATOR(UnpackValues) = {
    .name = "UnpackValues", .inputs = {{UINT8}}, .outputs = {{FLOAT32}}, .compute = unpack};
