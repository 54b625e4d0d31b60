/* The maxima of MaxPool's windows.
 *
 * Rows of the plane become integers in the order of their numbers, columns of equal remainder by the stride side by
 * side, so that the windows of neighbouring outputs read neighbouring integers. A row is kept while windows need it.
 */

#include <math.h>

#include "maxpool.h"

enum {
    LANES = 16,                                /* of a vector */
    TILE = 64,                                 /* windows side by side that are worked on together */
    ROOM = LARGEST_WINDOW * (TILE + LANES + 1) /* for all that these reach */
};

/* Vectors that become what the processor has. */
typedef float Floats __attribute__((ext_vector_type(LANES)));
typedef float DoubleFloats __attribute__((ext_vector_type(2 * LANES)));
typedef int32_t Ints __attribute__((ext_vector_type(LANES))); /* also the truth of a comparison: -1 or 0 */

static int64_t least_signed(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most_signed(int64_t a, int64_t b) { return a > b ? a : b; }

/* An integer for each number, in the order in which one is the maximum: zeros are equal, and NaN is the largest. */
static Ints keys_of(Floats x) {
    Floats unsigned_zero = x + 0.0f;
    Ints bits;
    memcpy(&bits, &unsigned_zero, sizeof bits);
    return x == x ? bits ^ (bits >> 31 & INT32_MAX) : (Ints)INT32_MAX;
}

static float number_of(int32_t key) {
    int32_t bits = key ^ (key >> 31 & INT32_MAX);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A place in the windows of a tile: where the key of the first window's stands, that of the next one behind it, and its
 * code. */
struct Tap {
    const int32_t *from;
    int32_t place;
};

/* The outputs `begin` to `begin + count` of all rows of a plane, and what of the plane they need. */
struct Column {
    const struct MaxPool *pool;
    const float *plane;
    int64_t begin, count, gathered; /* so many rows have been gathered */
    int64_t outside, first, inside; /* how far the windows reach out on the left; then columns of the plane */
    float row[ROOM + LANES];        /* a row as the windows see it, -inf outside of the plane */
    int64_t phases, pitch;          /* columns of equal remainder by the stride stand side by side */
    int32_t keys[ROOM];             /* of as many rows as a window has */
    int32_t cut[TILE];              /* how many columns of a window are left of the plane */
    struct Tap taps[LARGEST_WINDOW];
};

static void start_column(struct Column *column, const struct MaxPool *pool, const float *plane, int64_t begin) {
    int64_t kernel = pool->geometry.kernel[1], stride = pool->geometry.strides[1];
    int64_t left = begin * stride - pool->geometry.pads[1];
    column->pool = pool;
    column->plane = plane;
    column->begin = begin;
    column->count = least_signed(TILE, pool->pooled_width - begin);
    column->gathered = 0;
    column->phases = least_signed(stride, kernel);
    column->pitch = (column->count + (kernel - 1) / stride + LANES - 1) / LANES * LANES;
    column->outside = most_signed(0, -left);
    column->first = most_signed(0, left);
    column->inside = least_signed(pool->width, left + stride * column->pitch) - column->first;
    for (int64_t k = 0; k < stride * column->pitch + LANES; k++)
        column->row[k] = -INFINITY;
    for (int64_t k = 0; k < TILE; k++)
        column->cut[k] = (int32_t)most_signed(0, -left - k * stride);
}

static int32_t *keys_of_row(struct Column *column, int64_t row) {
    return column->keys + row % column->pool->geometry.kernel[0] * column->phases * column->pitch;
}

/* Every stride-th element. */
static Floats take(const float *from, int64_t stride) {
    Floats taken;
    DoubleFloats both;
    if (stride == 2) {
        memcpy(&both, from, sizeof both);
        return both.even;
    }
    for (int lane = 0; lane < LANES; lane++)
        taken[lane] = from[stride * lane];
    return taken;
}

static void gather_row(struct Column *column, int64_t row) {
    int64_t stride = column->pool->geometry.strides[1];
    int32_t *to = keys_of_row(column, row);
    memcpy(column->row + column->outside, column->plane + row * column->pool->width + column->first,
           (size_t)column->inside * sizeof(float));
    for (int64_t phase = 0; phase < column->phases; phase++)
        for (int64_t k = 0; k < column->pitch; k += LANES, to += LANES) {
            const float *from = column->row + phase + k * stride;
            Ints keys = keys_of(stride == 1 ? take(from, 1) : take(from, stride));
            memcpy(to, &keys, sizeof keys);
        }
}

static void gather_rows(struct Column *column, int64_t first, int64_t last) {
    for (int64_t row = most_signed(first, column->gathered); row < last; row++)
        gather_row(column, row);
    column->gathered = last;
}

/* Lists what the windows have in rows first..last of the plane; `place` is the code of the first. */
static size_t list_taps(struct Column *column, int64_t first, int64_t last, int32_t place) {
    size_t count = 0;
    for (int64_t row = first; row < last; row++) {
        const int32_t *from = keys_of_row(column, row);
        for (int64_t k = 0, phase = 0, step = 0; k < column->pool->geometry.kernel[1]; k++) {
            column->taps[count++] = (struct Tap){from + phase * column->pitch + step, place++};
            if (++phase == column->phases) {
                phase = 0;
                step++;
            }
        }
    }
    return count;
}

struct Maxima {
    int32_t keys[TILE], places[TILE];
};

static void find_maxima(const struct Column *column, size_t taps, int32_t first_place, struct Maxima *maxima) {
    for (int64_t k = 0; k < column->count; k += LANES) {
        Ints largest = keys_of((Floats)-INFINITY), places, key;
        memcpy(&places, column->cut + k, sizeof places);
        places += first_place;
        for (size_t i = 0; i < taps; i++) {
            memcpy(&key, column->taps[i].from + k, sizeof key);
            places = key > largest ? (Ints)column->taps[i].place : places;
            largest = __builtin_elementwise_max(key, largest);
        }
        memcpy(maxima->keys + k, &largest, sizeof largest);
        memcpy(maxima->places + k, &places, sizeof places);
    }
}

/* Writes the codes of outputs `first` and following, over zeros. */
static void put_codes(const struct MaxPool *pool, size_t first, size_t count, const struct Maxima *maxima) {
    uint8_t codes[TILE], none = none_of(pool);
    for (size_t k = 0; k < count; k++) {
        bool blocked = pool->geometry.rectified && !(number_of(maxima->keys[k]) > 0);
        codes[k] = blocked ? none : (uint8_t)maxima->places[k];
    }
    if (!pool->packed) {
        memcpy(pool->codes + first, codes, count);
        return;
    }
    uint8_t *to = pool->codes + first / 2;
    size_t odd = first % 2, pairs = (count - odd) / 2, last = odd + 2 * pairs;
    if (odd)
        *to++ |= (uint8_t)(codes[0] << 4);
    for (size_t k = 0; k < pairs; k++)
        to[k] = (uint8_t)(codes[odd + 2 * k] | codes[odd + 2 * k + 1] << 4);
    if (last < count)
        to[pairs] |= codes[last];
}

static void pool_column(struct Column *column, size_t outputs) {
    const struct MaxPool *pool = column->pool;
    const struct Geometry *geometry = &pool->geometry;
    struct Maxima maxima;
    for (int64_t row = 0; row < pool->pooled_height; row++) {
        int64_t top = row * geometry->strides[0] - geometry->pads[0];
        int64_t first = most_signed(top, 0), last = least_signed(top + geometry->kernel[0], pool->height);
        int32_t place = (int32_t)((first - top) * geometry->kernel[1]);
        gather_rows(column, first, last);
        find_maxima(column, list_taps(column, first, last, place), place, &maxima);
        size_t to = outputs + (size_t)(row * pool->pooled_width + column->begin), count = (size_t)column->count;
        for (size_t k = 0; k < count; k++)
            pool->y[to + k] = number_of(maxima.keys[k]);
        put_codes(pool, to, count, &maxima);
    }
}

void pool_planes(void *context, size_t part) {
    const struct MaxPool *pool = context;
    size_t begin = part * pool->planes_at_once, end = least(pool->planes, begin + pool->planes_at_once);
    size_t each = (size_t)(pool->pooled_height * pool->pooled_width), first_byte = code_bytes(pool, begin * each);
    memset(pool->codes + first_byte, 0, code_bytes(pool, end * each) - first_byte);
    struct Column column;
    for (size_t plane = begin; plane < end; plane++)
        for (int64_t at = 0; at < pool->pooled_width; at += TILE) {
            start_column(&column, pool, pool->x + plane * (size_t)(pool->height * pool->width), at);
            pool_column(&column, plane * each);
        }
}
