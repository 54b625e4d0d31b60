/* The kept values of a tile of ConvWeightGradient, each with the place of the pixels that it meets. */

#include "conv_weight_gradient_stored.h"

static void place_row(const struct Convolution *conv, const struct Tile *tile, size_t image, size_t row,
                      uint16_t *places, uint16_t *phases) {
    const struct Axis *down = &conv->rows, *across = &conv->columns;
    size_t y = tile->row + row + down->pad, row_phase = y % down->stride, row_taps = taps_met(down, row_phase);
    size_t row_place = image * tile->image_pitch + tile->margin, none = phase_count(conv);
    if (row_taps)
        row_place += (size_t)((ptrdiff_t)(y / down->stride + 1 - row_taps) - tile->first) * tile->row_pitch;
    for (size_t column = 0; column < across->size; column++) {
        size_t x = column + across->pad, phase = x % across->stride, taps = taps_met(across, phase);
        bool met = row_taps && taps;
        places[column] = met ? (uint16_t)(row_place + x / across->stride + 1 - taps) : 0;
        phases[column] = (uint16_t)(met ? row_phase * least(across->stride, across->kernel) + phase : none);
    }
}

void place_elements(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements) {
    for (size_t image = 0; image < tile->images; image++)
        for (size_t row = 0; row < tile->rows; row++) {
            size_t at = image * elements->pitch + row * conv->columns.size;
            place_row(conv, tile, image, row, elements->places + at, elements->phases + row * conv->columns.size);
        }
}

#if ISA_AVX512
#define FOUR(n) n, n + 1, n + 2, n + 3
#define SIXTEEN(n) FOUR(n), FOUR(n + 4), FOUR(n + 8), FOUR(n + 12)
static const _Alignas(64) uint8_t bytes_in_order[64] = {SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48)};
#endif

/* The entries of the table whose bits are set. Returns how many. */
static size_t gather(uint64_t bits, const uint16_t *table, uint16_t *to) {
#if ISA_AVX512
    size_t count = bit_count(bits);
    __m512i first = _mm512_loadu_si512(table), second = _mm512_loadu_si512(table + 32);
    __m512i numbers = _mm512_maskz_compress_epi8(bits, _mm512_load_si512(bytes_in_order));
    __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(numbers));
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, low, second));
    if (count > 32) {
        __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(numbers, 1));
        _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(first, high, second));
    }
    return count;
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

/* What `count` elements are stored in, if the values are about as many as those of some others. */
static void prefetch(const struct Stored *x, size_t element, size_t count, size_t cursor, size_t kept) {
    size_t size = x->halves ? sizeof(half) : sizeof(float);
    const char *values = (const char *)x->values + cursor * size;
    for (size_t byte = 0; byte < kept * size + 64; byte += 256)
        for (size_t line = 0; line < 256; line += 64)
            __builtin_prefetch(values + byte + line);
    for (size_t byte = 0; byte < count / 8 + 64; byte += 64)
        __builtin_prefetch(x->bits + element / 8 + byte);
}

/* The entries of the table for those of `count` elements that are kept. Returns how many. */
static inline size_t gather_range(const struct Stored *x, size_t first, size_t count, const uint16_t *table,
                                  uint16_t *to) {
    size_t kept = 0, at = 0;
    for (; at + 64 <= count; at += 64)
        kept += gather(bits_at(x, first + at), table + at, to + kept);
    return at < count ? kept + gather(bits_at(x, first + at) & lowest(count - at), table + at, to + kept) : kept;
}

/* From where the kept elements of a tile are gathered. */
struct Gathering {
    struct Stored x;
    struct Elements elements;
    size_t images, image_pitch, plane;
    size_t first, count; /* elements of the first image and channel */
    size_t *cursors, cursor_pitch;
};

/* Those of one image and channel. Returns how many. */
static inline size_t gather_piece(const struct Gathering *g, size_t image, size_t channel, uint16_t *places,
                                  float *values) {
    size_t first = g->first + image * g->image_pitch + channel * g->plane;
    size_t *cursor = g->cursors + image * g->cursor_pitch + channel;
    size_t kept = gather_range(&g->x, first, g->count, g->elements.places + image * g->elements.pitch, places);
    prefetch(&g->x, first + PREFETCHED * g->plane, g->count, cursor[PREFETCHED], kept);
    copy_values(&g->x, *cursor, kept, values);
    *cursor += kept;
    return kept;
}

/* Elements of one phase are listed at once. */
static size_t gather_plain(const struct Gathering *given, size_t channels, size_t room, struct Kept *list) {
    const struct Gathering g = *given;
    size_t filled = 0, channel = 0;
    for (; channel < channels && filled <= room; channel++) {
        list->begins[channel] = (uint32_t)filled;
        for (size_t image = 0; image < g.images; image++)
            filled += gather_piece(&g, image, channel, list->places + filled, list->values + filled);
    }
    list->begins[channel] = (uint32_t)filled;
    return channel;
}

static size_t longest_list(const struct Passing *passing, size_t phases) {
    size_t longest = 0;
    for (size_t phase = 0; phase < phases; phase++)
        longest = most(longest, passing->filled[phase]);
    return longest;
}

static size_t gather_phases(const struct Gathering *g, size_t channels, size_t phases, const struct Passing *passing,
                            struct Kept *lists) {
    size_t channel = 0;
    memset(passing->filled, 0, phases * sizeof *passing->filled);
    for (; channel < channels && longest_list(passing, phases) <= passing->room; channel++) {
        for (size_t phase = 0; phase < phases; phase++)
            lists[phase].begins[channel] = passing->filled[phase];
        for (size_t image = 0; image < g->images; image++) {
            size_t first = g->first + image * g->image_pitch + channel * g->plane;
            gather_range(&g->x, first, g->count, g->elements.phases, passing->phases);
            size_t kept = gather_piece(g, image, channel, passing->places, passing->values);
            part(passing, kept, phases, lists);
        }
    }
    for (size_t phase = 0; phase < phases; phase++)
        lists[phase].begins[channel] = passing->filled[phase];
    return channel;
}

size_t gather_kept(const struct Convolution *conv, const struct Tile *tile, const struct Elements *elements,
                   size_t channel, size_t channels, size_t *cursors, size_t cursor_pitch,
                   const struct Passing *passing, struct Kept *lists) {
    size_t width = conv->columns.size, plane = conv->rows.size * width;
    const struct Gathering gathering = {.x = conv->x,
                                        .elements = *elements,
                                        .images = tile->images,
                                        .image_pitch = conv->channels * plane,
                                        .plane = plane,
                                        .first = (tile->image * conv->channels + channel) * plane + tile->row * width,
                                        .count = tile->rows * width,
                                        .cursors = cursors,
                                        .cursor_pitch = cursor_pitch};
    if (conv->rows.stride * conv->columns.stride == 1)
        return gather_plain(&gathering, channels, passing->room, lists);
    return gather_phases(&gathering, channels, phase_count(conv), passing, lists);
}
