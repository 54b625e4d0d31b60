/* The kept values of a tile of ConvWeightGradient, each with the place of the pixels that it meets. */

#include "conv_weight_gradient.h"
#include "conv_weight_gradient_vector.h"

static size_t count_bits(uint64_t bits) { return (size_t)__builtin_popcountll(bits); }
static uint64_t lowest(size_t count) { return count < 64 ? ((uint64_t)1 << count) - 1 : ~(uint64_t)0; }

/* The 64 bits from that of `element` on; zeros past the end. */
static uint64_t bits_at(const struct Stored *x, size_t element) {
    size_t byte = element / 8, shift = element % 8;
    uint8_t last[9] = {0};
    const uint8_t *from = x->bits + byte;
    if (byte + 9 > x->bytes) {
        if (byte < x->bytes)
            memcpy(last, from, x->bytes - byte);
        from = last;
    }
    uint64_t low;
    memcpy(&low, from, 8);
    return low >> shift | (uint64_t)from[8] << 1 << (63 - shift);
}

size_t kept_before(const struct Stored *x, size_t element) {
    size_t at = element / RANK_STEP * RANK_STEP, kept = x->ranks[element / RANK_STEP];
    for (; at + 64 <= element; at += 64)
        kept += count_bits(bits_at(x, at));
    return kept + count_bits(bits_at(x, at) & lowest(element - at));
}

static void place_row(const struct Convolution *conv, const struct Tile *tile, size_t image, size_t row,
                      uint16_t *places, uint16_t *phases) {
    const struct Axis *down = &conv->rows, *across = &conv->columns;
    size_t y = tile->row + row + down->pad, row_phase = y % down->stride, row_taps = taps_met(down, row_phase);
    size_t row_place = image * tile->image_pitch + tile->margin;
    if (row_taps)
        row_place += (size_t)((ptrdiff_t)(y / down->stride + 1 - row_taps) - tile->first) * tile->row_pitch;
    for (size_t column = 0; column < across->size; column++) {
        size_t x = column + across->pad, phase = x % across->stride, taps = taps_met(across, phase);
        bool met = row_taps && taps;
        places[column] = met ? (uint16_t)(row_place + x / across->stride + 1 - taps) : 0;
        phases[column] = (uint16_t)(met ? row_phase * least(across->stride, across->kernel) + phase : phase_count(conv));
    }
}

void place_elements(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements) {
    for (size_t image = 0; image < tile->images; image++)
        for (size_t row = 0; row < tile->rows; row++) {
            size_t at = image * elements->pitch + row * conv->columns.size;
            place_row(conv, tile, image, row, elements->places + at, elements->phases + row * conv->columns.size);
        }
}

/* The entries of the table whose bits are set. Returns how many. */
static size_t gather(uint64_t bits, const uint16_t *table, uint16_t *to) {
#if ISA_AVX512
    size_t low = count_bits((uint32_t)bits);
    __m512i first = _mm512_loadu_si512(table), second = _mm512_loadu_si512(table + 32);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi16((__mmask32)bits, first));
    _mm512_storeu_si512(to + low, _mm512_maskz_compress_epi16((__mmask32)(bits >> 32), second));
    return low + count_bits(bits >> 32);
#else
    size_t count = count_bits(bits);
    for (size_t done = 0; done < count; done += 8)
        for (size_t i = 0; i < 8; i++, bits &= bits - 1)
            to[done + i] = table[__builtin_ctzll(bits | (uint64_t)1 << 63)];
    return count;
#endif
}

static void copy_values(const struct Stored *x, size_t first, size_t count, float *to) {
    const float *floats = (const float *)x->values + first;
    const half *halves = (const half *)x->values + first;
    if (first + count + LANES <= x->kept)
        for (size_t i = 0; i < count; i += LANES)
            store(to + i, x->halves ? load_halves(halves + i) : load(floats + i));
    else
        for (size_t i = 0; i < count; i++)
            to[i] = x->halves ? (float)halves[i] : floats[i];
}

#if ISA_AVX512
/* Fast for a few phases: goes over the values once for each. */
static void part_vectors(const struct Passing *p, size_t count, size_t phases, struct Kept *lists) {
    for (size_t i = 0; i < count; i += 32) {
        __m512i phase = _mm512_loadu_si512(p->phases + i), place = _mm512_loadu_si512(p->places + i);
        __m512 low = _mm512_loadu_ps(p->values + i), high = _mm512_loadu_ps(p->values + i + 16);
        for (size_t number = 0; number < phases; number++) {
            struct Kept *list = &lists[number];
            uint32_t *filled = &p->filled[number], present = (uint32_t)lowest(least(32, count - i));
            __mmask32 of = _mm512_mask_cmpeq_epi16_mask(present, phase, _mm512_set1_epi16((short)number));
            float *to = list->values + *filled;
            _mm512_storeu_si512(list->places + *filled, _mm512_maskz_compress_epi16(of, place));
            _mm512_storeu_ps(to, _mm512_maskz_compress_ps((__mmask16)of, low));
            _mm512_storeu_ps(to + count_bits((__mmask16)of), _mm512_maskz_compress_ps((__mmask16)(of >> 16), high));
            *filled += (uint32_t)count_bits(of);
        }
    }
}
#endif

/* Appends each value to the list of its phase. */
static void part(const struct Passing *p, size_t count, size_t phases, struct Kept *lists) {
#if ISA_AVX512
    if (phases <= 8) {
        part_vectors(p, count, phases, lists);
        return;
    }
#endif
    for (size_t i = 0; i < count; i++) {
        bool met = p->phases[i] < phases;
        size_t number = met ? p->phases[i] : 0;
        lists[number].places[p->filled[number]] = p->places[i];
        lists[number].values[p->filled[number]] = p->values[i];
        p->filled[number] += met;
    }
}

static void prefetch(const struct Stored *x, size_t element, size_t kept) {
    const char *values = (const char *)x->values + kept * (x->halves ? sizeof(half) : sizeof(float));
    __builtin_prefetch(values);
    __builtin_prefetch(values + 64);
    __builtin_prefetch(x->bits + element / 8);
}

/* Adds the elements of one image and channel to the lists. */
static void gather_plane(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements,
                         size_t image, size_t channel, size_t *cursor, const struct Passing *passing,
                         struct Kept *lists) {
    size_t width = conv->columns.size, plane = conv->rows.size * width, count = tile->rows * width, kept = 0;
    size_t first = ((tile->image + image) * conv->channels + channel) * plane + tile->row * width;
    bool one_phase = conv->rows.stride * conv->columns.stride == 1;
    uint16_t *places = one_phase ? lists->places + *passing->filled : passing->places;
    const uint16_t *table = elements->places + image * elements->pitch;
    prefetch(&conv->x, first + PREFETCHED * plane, cursor[PREFETCHED]);
    for (size_t at = 0; at < count; at += 64) {
        uint64_t bits = bits_at(&conv->x, first + at) & lowest(count - at);
        if (!one_phase)
            gather(bits, elements->phases + at, passing->phases + kept);
        kept += gather(bits, table + at, places + kept);
    }
    copy_values(&conv->x, *cursor, kept, one_phase ? lists->values + *passing->filled : passing->values);
    *cursor += kept;
    if (one_phase)
        *passing->filled += (uint32_t)kept;
    else
        part(passing, kept, phase_count(conv), lists);
}

/* Counting sort; it matters little how channels of many values are sorted. */
static void sort_channels(struct Kept *list, size_t channels) {
    enum { BINS = 256 };
    uint32_t starts[BINS + 1] = {0};
    for (size_t channel = 0; channel < channels; channel++)
        starts[least(list->begins[channel + 1] - list->begins[channel], BINS - 1) + 1]++;
    for (size_t bin = 1; bin < BINS; bin++)
        starts[bin] += starts[bin - 1];
    for (size_t channel = 0; channel < channels; channel++) {
        size_t bin = least(list->begins[channel + 1] - list->begins[channel], BINS - 1);
        list->order[starts[bin]++] = (uint16_t)channel;
    }
}

void gather_kept(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements,
                 size_t channel, size_t channels, size_t *cursors, size_t cursor_pitch, const struct Passing *passing,
                 struct Kept *lists) {
    size_t phases = phase_count(conv);
    memset(passing->filled, 0, phases * sizeof *passing->filled);
    for (size_t i = 0; i < channels; i++) {
        for (size_t phase = 0; phase < phases; phase++)
            lists[phase].begins[i] = passing->filled[phase];
        for (size_t image = 0; image < tile->images; image++)
            gather_plane(conv, tile, elements, image, channel + i, &cursors[image * cursor_pitch + i], passing, lists);
    }
    for (size_t phase = 0; phase < phases; phase++) {
        lists[phase].begins[channels] = passing->filled[phase];
        sort_channels(&lists[phase], channels);
    }
}
