/* Where a tile of ConvWeightGradient has its pixels, and the transposition of the gradient into that layout. */

#include "conv_weight_gradient.h"
#include "conv_weight_gradient_vector.h"

static size_t positive(ptrdiff_t number) { return number > 0 ? (size_t)number : 0; }

void complete_tile(const struct Convolution *conv, struct Tile *tile) {
    const struct Axis *down = &conv->rows, *across = &conv->columns;
    ptrdiff_t end = last_met(down, tile->row + tile->rows - 1) + 1;
    tile->first = first_met(down, tile->row);
    tile->stored = (size_t)(end - tile->first);
    size_t right = positive(last_met(across, across->size - 1) + 1 - (ptrdiff_t)across->out_size);
    tile->margin = positive(-first_met(across, 0));
    tile->row_pitch = across->out_size + most(tile->margin, right);
    size_t above = positive(-tile->first), below = positive(end - (ptrdiff_t)down->out_size);
    tile->image_pitch = (tile->stored - least(above, below)) * tile->row_pitch;
    tile->pixels = (tile->images - 1) * tile->image_pitch + tile->stored * tile->row_pitch + tile->margin;
}

/* The rows of the gradient that a tile has, those of zeros not counted. */
struct Range {
    size_t first, end;
};

static struct Range rows_of(const struct Convolution *conv, const struct Tile *tile) {
    size_t end = least(conv->rows.out_size, positive(tile->first + (ptrdiff_t)tile->stored));
    return (struct Range){least(positive(tile->first), end), end};
}

void place_gradient(const struct Convolution *conv, const struct Tile *tile, uint16_t *places) {
    for (size_t row = 0; row < tile->stored; row++)
        for (size_t column = 0; column < conv->columns.out_size; column++)
            *places++ = (uint16_t)(row * tile->row_pitch + tile->margin + column);
}

static void clear(float *pixels, size_t count, size_t width) {
    if (count)
        memset(pixels, 0, count * width * sizeof(float));
}

static void clear_margins(const struct Convolution *conv, const struct Tile *tile, size_t width, float *to) {
    struct Range rows = rows_of(conv, tile);
    size_t inside = tile->margin + conv->columns.out_size;
    for (size_t image = 0; image < tile->images; image++)
        for (size_t i = 0; i < tile->stored; i++) {
            float *row = to + (image * tile->image_pitch + i * tile->row_pitch) * width;
            ptrdiff_t number = tile->first + (ptrdiff_t)i;
            bool outside = number < (ptrdiff_t)rows.first || number >= (ptrdiff_t)rows.end;
            clear(row, outside ? tile->row_pitch : tile->margin, width);
            clear(row + inside * width, outside ? 0 : tile->row_pitch - inside, width);
        }
    clear(to + (tile->pixels - tile->margin) * width, tile->margin, width);
}

/* LANES channels of `count` pixels, of which `channels` exist, to their places. */
static void transpose_few(const float *from, size_t pitch, size_t channels, size_t count, const uint16_t *places,
                          size_t width, float *to) {
    for (size_t pixel = 0; pixel < count; pixel++)
        for (size_t channel = 0; channel < LANES; channel++)
            to[places[pixel] * width + channel] = channel < channels ? from[channel * pitch + pixel] : 0;
}

/* The last square overlaps the one before. */
static void transpose(const float *from, size_t pitch, size_t channels, size_t count, const uint16_t *places,
                      size_t width, float *to) {
    for (size_t done = 0; done < count; done += LANES) {
        size_t pixel = least(done, count - LANES);
        Vector square[LANES];
        if (channels == LANES)
            for (size_t channel = 0; channel < LANES; channel++)
                square[channel] = load(from + channel * pitch + pixel);
        else
            for (size_t channel = 0; channel < LANES; channel++)
                square[channel] = channel < channels ? load(from + channel * pitch + pixel) : (Vector){0};
        transpose_square(square);
        for (size_t i = 0; i < LANES; i++)
            store(to + places[pixel + i] * width, square[i]);
    }
}

void lay_gradient(const struct Convolution *conv, const struct Tile *tile, const uint16_t *places, size_t channel,
                  size_t width, float *to) {
    struct Range rows = rows_of(conv, tile);
    size_t across = conv->columns.out_size, plane = conv->rows.out_size * across;
    size_t count = (rows.end - rows.first) * across;
    places += (size_t)((ptrdiff_t)rows.first - tile->first) * across;
    clear_margins(conv, tile, width, to);
    for (size_t part = 0; part < width; part += LANES)
        for (size_t image = 0; image < tile->images; image++) {
            size_t first = channel + part, channels = first < conv->end ? least(LANES, conv->end - first) : 0;
            size_t plane_number = (tile->image + image) * conv->out_channels + first;
            const float *from = conv->gradient + plane_number * plane + rows.first * across;
            float *image_to = to + image * tile->image_pitch * width + part;
            (count < LANES ? transpose_few : transpose)(from, plane, channels, count, places, width, image_to);
        }
}

/* In portions of about so many lines: less often than for each channel where that is enough. Tiles of several images
 * have all of their rows. */
enum { PORTION = 8 };

struct Ahead look_ahead(const struct Convolution *conv, const struct Tile *tile, size_t channel, size_t width,
                        size_t channels) {
    struct Range rows = rows_of(conv, tile);
    size_t across = conv->columns.out_size, plane = conv->rows.out_size * across, image = conv->out_channels * plane;
    size_t outputs = least(width, conv->end - channel), runs = outputs;
    struct Ahead ahead = {.floats = (rows.end - rows.first) * across, .pitch = plane};
    if (tile->images > 1) {
        ahead = (struct Ahead){.floats = outputs * plane, .pitch = image};
        runs = tile->images;
    }
    size_t lines = ceil_divide(ahead.floats, LINE_FLOATS) + 1;
    ahead.every = (uint32_t)most(1, channels * PORTION / (lines * runs));
    size_t portions = ceil_divide(channels, ahead.every);
    ahead.runs = ceil_divide(runs, portions);
    ahead.lines = ceil_divide(lines, most(1, portions * ahead.runs / runs));
    ahead.line = conv->gradient + tile->image * image + channel * plane + rows.first * across;
    ahead.end = ahead.line + ahead.floats;
    return ahead;
}
