/* The kept values of a tile of ConvWeightGradient, each with the place of the pixels that it meets. */

#include "conv_weight_gradient_stored.h"

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
    size_t low = bit_count((uint32_t)bits);
    __m512i first = _mm512_loadu_si512(table), second = _mm512_loadu_si512(table + 32);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi16((__mmask32)bits, first));
    _mm512_storeu_si512(to + low, _mm512_maskz_compress_epi16((__mmask32)(bits >> 32), second));
    return low + bit_count(bits >> 32);
#else
    size_t count = bit_count(bits);
    for (size_t done = 0; done < count; done += 8)
        for (size_t i = 0; i < 8; i++, bits &= bits - 1)
            to[done + i] = table[__builtin_ctzll(bits | (uint64_t)1 << 63)];
    return count;
#endif
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
            _mm512_storeu_ps(to + bit_count((__mmask16)of), _mm512_maskz_compress_ps((__mmask16)(of >> 16), high));
            *filled += (uint32_t)bit_count(of);
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

/* Adds the elements of some rows of a plane, `first` the first, to the lists; the values only if there are phases. */
static size_t gather_rows(const struct Convolution *conv, size_t first, size_t count, const uint16_t *table,
                          const uint16_t *phases, size_t cursor, const struct Passing *passing, struct Kept *lists) {
    uint16_t *places = phases ? passing->places : lists->places + *passing->filled;
    size_t kept = 0;
    for (size_t at = 0; at < count; at += 64) {
        uint64_t bits = bits_at(&conv->x, first + at) & lowest(count - at);
        if (phases)
            gather(bits, phases + at, passing->phases + kept);
        kept += gather(bits, table + at, places + kept);
    }
    if (phases) {
        copy_values(&conv->x, cursor, kept, passing->values);
        part(passing, kept, phase_count(conv), lists);
    } else {
        *passing->filled += (uint32_t)kept;
    }
    return kept;
}

/* Adds one image of a channel, strip by strip. */
static void gather_plane(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements,
                         size_t image, size_t plane, size_t entry, size_t *cursor, const struct Passing *passing,
                         struct Kept *lists) {
    size_t width = conv->columns.size, first = (plane * conv->rows.size + tile->row) * width, start = *cursor;
    size_t phases = phase_count(conv), filled = *passing->filled;
    bool one_phase = conv->rows.stride * conv->columns.stride == 1;
    const uint16_t *table = elements->places + image * elements->pitch;
    prefetch(&conv->x, first + PREFETCHED * conv->rows.size * width, cursor[PREFETCHED]);
    for (size_t row = 0; row < tile->rows; row += tile->strip_rows, entry++) {
        size_t at = row * width, count = least(tile->strip_rows, tile->rows - row) * width;
        for (size_t phase = 0; phase < phases && image % tile->strip_images == 0; phase++)
            lists[phase].begins[entry] = passing->filled[phase];
        *cursor += gather_rows(conv, first + at, count, table + at, one_phase ? NULL : elements->phases + at, *cursor,
                               passing, lists);
    }
    if (one_phase)
        copy_values(&conv->x, start, *cursor - start, lists->values + filled);
}

/* Counting sort; it matters little how channels of many values are sorted. */
static void sort_channels(const uint32_t *begins, size_t strips, size_t channels, uint16_t *order) {
    enum { BINS = 256 };
    uint32_t starts[BINS + 1] = {0};
    for (size_t channel = 0; channel < channels; channel++)
        starts[least(begins[channel * strips + 1] - begins[channel * strips], BINS - 1) + 1]++;
    for (size_t bin = 1; bin < BINS; bin++)
        starts[bin] += starts[bin - 1];
    for (size_t channel = 0; channel < channels; channel++) {
        size_t bin = least(begins[channel * strips + 1] - begins[channel * strips], BINS - 1);
        order[starts[bin]++] = (uint16_t)channel;
    }
}

void gather_kept(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements,
                 size_t channel, size_t channels, size_t *cursors, size_t cursor_pitch, const struct Passing *passing,
                 struct Kept *lists) {
    size_t phases = phase_count(conv), strips = strips_of(tile), row_strips = ceil_divide(tile->rows, tile->strip_rows);
    memset(passing->filled, 0, phases * sizeof *passing->filled);
    for (size_t i = 0; i < channels; i++)
        for (size_t image = 0; image < tile->images; image++)
            gather_plane(conv, tile, elements, image, (tile->image + image) * conv->channels + channel + i,
                         i * strips + image / tile->strip_images * row_strips, &cursors[image * cursor_pitch + i], passing, lists);
    for (size_t phase = 0; phase < phases; phase++) {
        lists[phase].begins[channels * strips] = passing->filled[phase];
        for (size_t strip = 0; strip < strips; strip++)
            sort_channels(lists[phase].begins + strip, strips, channels, lists[phase].order + strip * channels);
    }
}
