/* Masks of one bit an element, eight in a byte, the first in the lowest bit, zeros past the end.
 *
 * PackPositive(x float32 [...]) -> bits uint8 [ceil(n / 8)]: which of the n elements are above zero. NaN is not.
 */

#include "kernel.h"

enum { PART = 1 << 16 };

struct Pack {
    const float *x;
    uint8_t *bits;
    size_t count;
};

static uint8_t positive_bits(const float *x, size_t count) {
    unsigned bits = 0;
    for (size_t i = 0; i < count; i++)
        bits |= (unsigned)(x[i] > 0) << i;
    return (uint8_t)bits;
}

static void pack_part(void *context, size_t part) {
    const struct Pack *pack = context;
    size_t end = least(pack->count, (part + 1) * PART);
    for (size_t i = part * PART; i < end; i += 8)
        pack->bits[i / 8] = positive_bits(pack->x + i, least(8, end - i));
}

static OrtStatus *pack_positive(struct Call *call) {
    const struct Tensor *x = &call->inputs[0];
    struct Tensor bits;
    TRY(output_flat(call, 0, ceil_divide(x->count, 8), &bits));
    struct Pack pack = {x->data, bits.data, x->count};
    pool_run(&call->pool, ceil_divide(x->count, PART), pack_part, &pack);
    return NULL;
}

const struct Operator OPERATOR(PackPositive) = {
    .name = "PackPositive", .inputs = {{FLOAT32}}, .outputs = {{UINT8}}, .compute = pack_positive};
