/* See sparse.h. */

#include "sparse.h"

#include "blocks.h"

static void expand_part(void *context, size_t part) {
    const struct Sparse *sparse = context;
    places_part(&sparse->places, part, (uint64_t *)sparse->expanded + part * PART_WORDS);
}

OrtStatus *sparse_open(const struct Call *call, int values, int places, size_t n, struct Sparse *sparse) {
    *sparse = (struct Sparse){.values = &call->inputs[values], .bytes = ceil_divide(n, 8)};
    TRY(places_open(call, &call->inputs[places], n, sparse->values->count, &sparse->places));
    sparse->bits = sparse->places.bitmap;
    if (!sparse->places.coded)
        return NULL;
    OrtStatus *failure = scratch(call, sparse->places.parts * PART_WORDS * sizeof(uint64_t), &sparse->expanded);
    if (failure) {
        places_close(&sparse->places);
        return failure;
    }
    pool_run(&call->pool, sparse->places.parts, expand_part, sparse);
    sparse->bits = sparse->expanded;
    return NULL;
}

void sparse_close(struct Sparse *sparse) {
    places_close(&sparse->places);
    memory_free(sparse->expanded);
}

size_t sparse_kept_before(const struct Sparse *sparse, size_t element) {
    size_t part = element / PART, kept = sparse->places.starts[part].value, last = element / 8;
    size_t byte = part * (PART / 8);
    for (; byte + 8 <= last; byte += 8) {
        uint64_t word;
        memcpy(&word, sparse->bits + byte, sizeof word);
        kept += (size_t)__builtin_popcountll(word);
    }
    for (; byte < last; byte++)
        kept += (size_t)__builtin_popcount(sparse->bits[byte]);
    if (element % 8)
        kept += (size_t)__builtin_popcount(sparse->bits[last] & ((1u << element % 8) - 1));
    return kept;
}

void words_of(const uint8_t *bits, size_t bytes, size_t begin, size_t end, uint64_t words[TILE_WORDS]) {
    uint64_t raw[TILE_WORDS + 1];
    size_t first = begin / 8, shift = begin % 8, count = end - begin;
    if (first + sizeof raw <= bytes) {
        memcpy(raw, bits + first, sizeof raw);
    } else {
        memset(raw, 0, sizeof raw);
        memcpy(raw, bits + first, bytes - first);
    }
    for (size_t i = 0; i < TILE_WORDS; i++)
        words[i] = raw[i] >> shift | raw[i + 1] << 1 << (63 - shift);
    if (count % 64)
        words[count / 64] &= ((uint64_t)1 << count % 64) - 1;
}

/* The values from the `first` on, `count` of which are wanted, as float32: in the tensor itself or, where reading a
 * little past them could leave it, in the buffer. */
static const float *load_values(const struct Tensor *values, size_t first, size_t count, float *buffer) {
    const half *halves = (const half *)values->data + first;
    const float *floats = (const float *)values->data + first;
    if (values->type == FLOAT16)
        for (size_t i = 0; i < count; i++)
            buffer[i] = (float)halves[i];
    else if (first + count + EXPAND_SLACK <= values->count)
        return floats;
    else if (count)
        memcpy(buffer, floats, count * sizeof *buffer);
    return buffer;
}

void sparse_restore(const struct Sparse *sparse, size_t begin, size_t end, size_t *kept, float to[TILE]) {
    uint64_t words[TILE_WORDS];
    float buffer[TILE + EXPAND_SLACK];
    size_t blocks = ceil_divide(end - begin, 64), count = 0;
    words_of(sparse->bits, sparse->bytes, begin, end, words);
    for (size_t i = 0; i < blocks; i++)
        count += (size_t)__builtin_popcountll(words[i]);
    const float *next = load_values(sparse->values, *kept, count, buffer);
    for (size_t i = 0; i < blocks; i++)
        next += block_expand(next, words[i], to + 64 * i);
    *kept += count;
}
