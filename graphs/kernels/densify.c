/* Densify(values float32 or float16 [k], places uint8 [m], shape int64 [r]) -> dense float32 [shape]
 *
 * The values at their places, as Sparsify writes both, and zeros elsewhere.
 *
 * Fails if the places are not those of k elements of a tensor of that shape.
 */

#include "blocks.h"
#include "places.h"

struct Densify {
    const struct Tensor *values;
    const struct Places *places;
    float *dense;
};

/* A part's values as float32: in the tensor itself or, where reading a little past them could leave it, in the
 * buffer. */
static const float *load_values(const struct Tensor *values, size_t first, size_t count, float *buffer) {
    if (!count)
        return buffer;
    if (values->type == FLOAT16)
        for (size_t i = 0; i < count; i++)
            buffer[i] = (float)((const half *)values->data)[first + i];
    else if (first + count + EXPAND_SLACK <= values->count)
        return (const float *)values->data + first;
    else
        memcpy(buffer, (const float *)values->data + first, count * sizeof *buffer);
    return buffer;
}

static void densify_part(void *context, size_t part) {
    const struct Densify *job = context;
    const struct PartStart *start = &job->places->starts[part];
    float buffer[PART + EXPAND_SLACK], last[64];
    uint64_t words[PART_WORDS];
    size_t size = part_size(job->places->n, part);
    float *dense = job->dense + part * PART;
    const float *next = load_values(job->values, start[0].value, start[1].value - start[0].value, buffer);
    places_part(job->places, part, words);
    for (size_t i = 0; i < size / 64; i++)
        next += block_expand(next, words[i], dense + 64 * i);
    if (size % 64) {
        block_expand(next, words[size / 64], last);
        memcpy(dense + size / 64 * 64, last, size % 64 * sizeof *last);
    }
}

static OrtStatus *densify(struct Call *call) {
    const struct Tensor *values = &call->inputs[0];
    struct Tensor shape, dense;
    struct Places places;
    TRY(described_shape(call, 2, &shape));
    TRY(places_open(call, &call->inputs[1], shape.count, values->count, &places));
    OrtStatus *failure = output_like(call, 0, &shape, &dense);
    if (!failure)
        pool_run(&call->pool, places.parts, densify_part, &(struct Densify){values, &places, dense.data});
    places_close(&places);
    return failure;
}

const struct Operator OPERATOR(Densify) = {
    .name = "Densify", .inputs = {{FLOATS}, {UINT8}, {INT64}}, .outputs = {{FLOAT32}}, .compute = densify};
