/* Reading and writing places: the coded form by spreading four-bit pieces to a byte each and joining them again. */

#include "places.h"

#include "blocks.h"

enum { FOURS = PART / 4, PART_BYTES = PART / 8, SUMMARY_BYTES = FOURS / 8, NIBBLE_SLACK = 16 };

static bool are_coded(size_t n, size_t k) { return 16 * k < 3 * n; }

static size_t summary_bytes(size_t n) { return ceil_divide(ceil_divide(n, 4), 8); }

/* Reading. */

static size_t fours_of(size_t n, size_t part) { return ceil_divide(part_size(n, part), 4); }

/* Which fours of a part have a kept element. */
static void load_summary(const struct Places *places, size_t part, uint16_t fours[PART_WORDS]) {
    size_t count = fours_of(places->n, part);
    memset(fours, 0, SUMMARY_BYTES);
    memcpy(fours, places->bitmap + part * SUMMARY_BYTES, ceil_divide(count, 8));
    if (count % 16)
        fours[count / 16] &= (uint16_t)(0xffff >> (16 - count % 16));
}

static size_t count_fours(const uint16_t fours[PART_WORDS]) {
    uint64_t words[PART_WORDS / 4];
    size_t count = 0;
    memcpy(words, fours, sizeof words);
    for (int i = 0; i < PART_WORDS / 4; i++)
        count += (size_t)__builtin_popcountll(words[i]);
    return count;
}

/* Sixteen nibbles, and maybe something behind them: from nibble i on. */
static uint64_t load_nibbles(const uint8_t *packed, size_t i) {
    uint64_t bits, behind = packed[i / 2 + 8];
    int shift = i % 2 * 4;
    memcpy(&bits, packed + i / 2, sizeof bits);
    return bits >> shift | behind << 4 << (60 - shift);
}

void places_part(const struct Places *places, size_t part, uint64_t words[PART_WORDS]) {
    if (!places->coded) {
        load_words(places->bitmap, places->n, part, words);
        return;
    }
    uint16_t fours[PART_WORDS];
    uint8_t packed[FOURS / 2 + NIBBLE_SLACK];
    const struct PartStart *start = &places->starts[part];
    size_t begin = start[0].nibble / 2, next = start[0].nibble % 2;
    load_summary(places, part, fours);
    memcpy(packed, places->nibbles + begin, ceil_divide(start[1].nibble, 2) - begin);
    for (int i = 0; i < PART_WORDS; i++) {
        words[i] = nibbles_join(load_nibbles(packed, next), fours[i]);
        next += (size_t)__builtin_popcount(fours[i]);
    }
    end_words(places->n, part, words);
}

/* Of the nibbles from start to end. */
static size_t count_packed(const uint8_t *packed, size_t start, size_t end) {
    size_t count = 0;
    if (start < end && start % 2)
        count += (size_t)__builtin_popcount(packed[start++ / 2] >> 4);
    if (start < end && end % 2)
        count += (size_t)__builtin_popcount(packed[--end / 2] & 15);
    uint64_t word;
    size_t i = start / 2;
    for (; i + sizeof word <= end / 2; i += sizeof word) {
        memcpy(&word, packed + i, sizeof word);
        count += (size_t)__builtin_popcountll(word);
    }
    for (; i < end / 2; i++)
        count += (size_t)__builtin_popcount(packed[i]);
    return count;
}

/* Fills the starts. False: there are more nibbles than bytes for them, or fewer. */
static bool find_coded_starts(struct Places *places, size_t bytes) {
    uint16_t fours[PART_WORDS];
    struct PartStart start = {0, 0};
    for (size_t part = 0; part < places->parts; part++) {
        places->starts[part] = start;
        load_summary(places, part, fours);
        size_t end = start.nibble + count_fours(fours);
        if (ceil_divide(end, 2) > bytes)
            return false;
        start.value += count_packed(places->nibbles, start.nibble, end);
        start.nibble = end;
    }
    places->starts[places->parts] = start;
    return ceil_divide(start.nibble, 2) == bytes;
}

static void find_plain_starts(struct Places *places) {
    uint64_t words[PART_WORDS];
    struct PartStart start = {0, 0};
    for (size_t part = 0; part < places->parts; part++) {
        places->starts[part] = start;
        load_words(places->bitmap, places->n, part, words);
        start.value += count_bits(words);
    }
    places->starts[places->parts] = start;
}

OrtStatus *places_open_mask(const struct Call *call, const struct Tensor *bits, size_t n, struct Places *places) {
    void *starts;
    if (bits->count != ceil_divide(n, 8))
        return FAIL(call, "%zu bytes are not a bit for each of %zu elements", bits->count, n);
    TRY(scratch(call, (parts_of(n) + 1) * sizeof(struct PartStart), &starts));
    *places = (struct Places){.bitmap = bits->data, .n = n, .parts = parts_of(n), .starts = starts};
    find_plain_starts(places);
    return NULL;
}

static OrtStatus *open_coded(const struct Call *call, const struct Tensor *input, size_t n, struct Places *places) {
    void *starts;
    size_t summary = summary_bytes(n);
    if (input->count < summary)
        return FAIL(call, "%zu bytes cannot be the places in %zu elements", input->count, n);
    TRY(scratch(call, (parts_of(n) + 1) * sizeof(struct PartStart), &starts));
    *places = (struct Places){.bitmap = input->data, .n = n, .parts = parts_of(n), .coded = true, .starts = starts};
    places->nibbles = places->bitmap + summary;
    if (find_coded_starts(places, input->count - summary))
        return NULL;
    places_close(places);
    return FAIL(call, "%zu bytes are not the places in %zu elements", input->count, n);
}

OrtStatus *places_open(const struct Call *call, const struct Tensor *input, size_t n, size_t k,
                       struct Places *places) {
    TRY(are_coded(n, k) ? open_coded(call, input, n, places) : places_open_mask(call, input, n, places));
    size_t found = places->starts[places->parts].value;
    if (found == k)
        return NULL;
    places_close(places);
    return FAIL(call, "the places are of %zu of %zu elements, not of %zu", found, n, k);
}

void places_close(struct Places *places) { memory_free(places->starts); }

struct Expansion {
    const struct Places *places;
    uint64_t *bitmap;
};

static void expand_part(void *context, size_t part) {
    const struct Expansion *job = context;
    uint64_t words[PART_WORDS];
    places_part(job->places, part, words);
    size_t count = ceil_divide(part_size(job->places->n, part), 64);
    memcpy(job->bitmap + part * PART_WORDS, words, count * sizeof *words);
}

OrtStatus *places_expand(const struct Call *call, const struct Tensor *input, size_t n, size_t k, uint64_t *bitmap) {
    struct Places places;
    TRY(places_open(call, input, n, k, &places));
    pool_run(&call->pool, places.parts, expand_part, &(struct Expansion){&places, bitmap});
    places_close(&places);
    return NULL;
}

/* Writing. */

OrtStatus *places_begin(struct Call *call, int index, size_t n, size_t k, struct NewPlaces *places) {
    void *bitmap;
    *places = (struct NewPlaces){.n = n, .coded = are_coded(n, k)};
    if (places->coded) {
        TRY(scratch(call, ceil_divide(n, 8), &bitmap));
    } else {
        struct Tensor made;
        TRY(output_flat(call, index, ceil_divide(n, 8), &made));
        bitmap = made.data;
    }
    places->bitmap = bitmap;
    return NULL;
}

static size_t count_nibbles(const uint64_t words[PART_WORDS]) {
    size_t count = 0;
    for (int i = 0; i < PART_WORDS; i += 8) {
        uint64_t sums = 0; /* of eight words, four bits each */
        for (int j = 0; j < 8; j++) {
            uint64_t used = words[i + j] | words[i + j] >> 1;
            sums += (used | used >> 2) & 0x1111111111111111;
        }
        sums = (sums & 0x0f0f0f0f0f0f0f0f) + (sums >> 4 & 0x0f0f0f0f0f0f0f0f);
        count += sums * 0x0101010101010101 >> 56;
    }
    return count;
}

struct Encoding {
    const uint8_t *bitmap;
    size_t n;
    uint8_t *summary, *nibbles;
    struct EncodedPart {
        size_t start;  /* how many nibbles come before */
        uint8_t shared; /* its first nibble, in the upper half, where that byte is begun by the part before */
    } *parts;
};

static void count_part(void *context, size_t part) {
    const struct Encoding *job = context;
    uint64_t words[PART_WORDS];
    load_words(job->bitmap, job->n, part, words);
    job->parts[part] = (struct EncodedPart){.start = count_nibbles(words)};
}

static void encode_part(void *context, size_t part) {
    const struct Encoding *job = context;
    uint64_t words[PART_WORDS];
    uint16_t fours[PART_WORDS];
    uint8_t spread[FOURS + NIBBLE_SLACK + 2];
    size_t first = job->parts[part].start, end = first % 2;
    load_words(job->bitmap, job->n, part, words);
    spread[0] = 0;
    for (int i = 0; i < PART_WORDS; i++)
        end += nibbles_spread(words[i], spread + end, &fours[i]);
    spread[end] = 0;
    memcpy(job->summary + part * SUMMARY_BYTES, fours, ceil_divide(fours_of(job->n, part), 8));
    uint8_t *out = job->nibbles + first / 2;
    if (first % 2 && end > 1)
        job->parts[part].shared = (uint8_t)(spread[1] << 4);
    for (size_t i = first % 2; i < ceil_divide(end, 2); i++)
        out[i] = (uint8_t)(spread[2 * i] | spread[2 * i + 1] << 4);
}

static size_t place_nibbles(const struct Encoding *job) {
    size_t start = 0;
    for (size_t part = 0; part < parts_of(job->n); part++) {
        size_t count = job->parts[part].start;
        job->parts[part].start = start;
        start += count;
    }
    return start;
}

static OrtStatus *write_parts(struct Call *call, int index, struct Encoding *job) {
    struct Tensor made;
    pool_run(&call->pool, parts_of(job->n), count_part, job);
    TRY(output_flat(call, index, summary_bytes(job->n) + ceil_divide(place_nibbles(job), 2), &made));
    job->summary = made.data;
    job->nibbles = job->summary + summary_bytes(job->n);
    pool_run(&call->pool, parts_of(job->n), encode_part, job);
    for (size_t part = 0; part < parts_of(job->n); part++)
        if (job->parts[part].shared)
            job->nibbles[job->parts[part].start / 2] |= job->parts[part].shared;
    return NULL;
}

static OrtStatus *write_coded(struct Call *call, int index, const uint8_t *bitmap, size_t n) {
    void *parts;
    TRY(scratch(call, parts_of(n) * sizeof(struct EncodedPart), &parts));
    OrtStatus *failure = write_parts(call, index, &(struct Encoding){.bitmap = bitmap, .n = n, .parts = parts});
    memory_free(parts);
    return failure;
}

OrtStatus *places_write(struct Call *call, int index, const uint8_t *bitmap, size_t n, size_t k) {
    struct Tensor made;
    if (are_coded(n, k))
        return write_coded(call, index, bitmap, n);
    TRY(output_flat(call, index, ceil_divide(n, 8), &made));
    if (n)
        memcpy(made.data, bitmap, made.count);
    return NULL;
}

OrtStatus *places_finish(struct Call *call, int index, const struct NewPlaces *places) {
    if (!places->coded)
        return NULL;
    OrtStatus *failure = write_coded(call, index, places->bitmap, places->n);
    memory_free(places->bitmap);
    return failure;
}
