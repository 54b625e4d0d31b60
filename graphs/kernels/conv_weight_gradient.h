/* What the parts of ConvWeightGradient share.
 *
 * An element of x meets a tap of the kernel where it lies under it for some pixel of the gradient:
 * pixel * stride + tap - pad == element. Elements that leave the same remainder, (element + pad) % stride, are of the
 * same phase and meet the same taps: phase, phase + stride, phase + 2 stride ... These are met at the pixel
 * (element + pad) / stride, at the one before it, at the one before that ...
 */
#pragma once

#include "places.h"

#define complete_tile FOR_ISA(conv_weight_gradient_complete_tile)
#define lay_gradient FOR_ISA(conv_weight_gradient_lay_gradient)
#define look_ahead FOR_ISA(conv_weight_gradient_look_ahead)
#define place_gradient FOR_ISA(conv_weight_gradient_place_gradient)
#define place_elements FOR_ISA(conv_weight_gradient_place_elements)
#define gather_kept FOR_ISA(conv_weight_gradient_gather_kept)
#define most_vectors FOR_ISA(conv_weight_gradient_most_vectors)
#define add_block FOR_ISA(conv_weight_gradient_add_block)
#define sparse_weight_gradient FOR_ISA(conv_weight_gradient_sparse)
#define dense_weight_gradient FOR_ISA(conv_weight_gradient_dense)
#define dense_is_possible FOR_ISA(conv_weight_gradient_dense_is_possible)
#define make_gemm FOR_ISA(conv_weight_gradient_make_gemm)

/* The kept elements of a tensor. */
struct Stored {
    const uint8_t *bits; /* the plain bitmap */
    size_t bytes;        /* of the bitmap */
    const struct PartStart *starts;
    const void *values;
    bool halves;
    size_t kept;
};

/* The rows or the columns of a convolution. */
struct Axis {
    size_t size, out_size, kernel, stride, pad;
};

struct Convolution {
    size_t images, channels, out_channels;
    struct Axis rows, columns;
    size_t begin, end;     /* the output channels to compute */
    const float *gradient; /* [images][out_channels][rows.out_size][columns.out_size] */
    struct Stored x;       /* [images][channels][rows.size][columns.size] */
    float *result;         /* [end - begin][channels][rows.kernel][columns.kernel] */
};

enum { LINE_FLOATS = 16 }; /* of a cache */

static inline size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* How many taps an element of this phase meets. */
static inline size_t taps_met(const struct Axis *axis, size_t phase) {
    return phase < axis->kernel ? ceil_divide(axis->kernel - phase, axis->stride) : 0;
}

/* The pixels that an element meets, if it is of the phase of most taps, are among these, and any other's too. */
static inline ptrdiff_t last_met(const struct Axis *axis, size_t element) {
    return (ptrdiff_t)((element + axis->pad) / axis->stride);
}
static inline ptrdiff_t first_met(const struct Axis *axis, size_t element) {
    return last_met(axis, element) + 1 - (ptrdiff_t)taps_met(axis, 0);
}

/* A phase along both axes. */
struct Phase {
    size_t row, column;   /* the remainders, and the first taps */
    size_t rows, columns; /* how many taps */
};

static inline size_t phase_count(const struct Convolution *conv) {
    return least(conv->rows.stride, conv->rows.kernel) * least(conv->columns.stride, conv->columns.kernel);
}
static inline struct Phase phase_at(const struct Convolution *conv, size_t number) {
    size_t across = least(conv->columns.stride, conv->columns.kernel), row = number / across, column = number % across;
    return (struct Phase){row, column, taps_met(&conv->rows, row), taps_met(&conv->columns, column)};
}

/* Some images of x, or some rows of one, and the pixels of the gradient that they meet. These are laid out row by row
 * with zeros around them. The zeros to the right of a row are those to the left of the next; below and above alike. */
struct Tile {
    size_t image, images, row, rows;
    ptrdiff_t first;               /* row of the gradient that is laid out */
    size_t stored;                 /* rows of each image, of the gradient and of zeros */
    size_t image_pitch, row_pitch; /* pixels from one to the next */
    size_t margin;                 /* zeros to the left of each row */
    size_t pixels;                 /* of the whole */
};

/* The rest of a tile of which the first line is set. */
void complete_tile(const struct Convolution *, struct Tile *);

/* Where in an image's layout the pixels of each stored row go. Of any tile that has no more rows, as long as a tile
 * begins with a row that is a multiple of the stride. */
void place_gradient(const struct Convolution *, const struct Tile *, uint16_t *places);

/* Lays out the output channels from `channel` on as [pixel][width], `width` a multiple of LANES. */
void lay_gradient(const struct Convolution *, const struct Tile *, const uint16_t *places, size_t channel, size_t width,
                  float *to);

/* What lay_gradient is going to read, in runs, on its way into the second cache while other work is done. */
struct Ahead {
    const float *line, *end; /* of what is left of this run */
    size_t floats, pitch;    /* of a run, and from one to the next */
    size_t runs, lines;      /* to fetch at once: runs, and of each so many lines */
    uint32_t every;          /* for how many channels at once */
};

/* Of the output channels that lay_gradient is given, while so many channels are added. */
struct Ahead look_ahead(const struct Convolution *, const struct Tile *, size_t channel, size_t width, size_t channels);

/* The next portion, or more, as branches that can be predicted matter more. */
static inline void fetch_portion(struct Ahead *ahead) {
    for (size_t run = 0; run < ahead->runs; run++) {
        for (size_t i = 0; i < ahead->lines; i++)
            __builtin_prefetch(ahead->line + i * LINE_FLOATS, 0, 2);
        const float *line = ahead->line + ahead->lines * LINE_FLOATS, *end = ahead->end + ahead->pitch;
        bool over = line >= ahead->end;
        ahead->line = over ? end - ahead->floats : line;
        ahead->end = over ? end : ahead->end;
    }
}

/* Of the elements of a tile in one channel, those of one image after those of the one before. Each image has
 * `pitch` entries, which are GATHER_SLACK more than elements. */
struct Elements {
    size_t pitch;
    uint16_t *places; /* where in the layout an element's last tap lies */
    uint16_t *phases; /* phase_count() for an element that meets no tap */
};

/* What reads a table or writes a list may read or write so many entries more. */
enum { GATHER_SLACK = 64 };

/* Of any tile that has no more rows and images, as above. */
void place_elements(const struct Convolution *, const struct Tile *, const struct Elements *);

/* The kept values of one phase in some channels of a tile: those of channel c are begins[c] .. begins[c + 1]. */
struct Kept {
    uint16_t *places;
    float *values;
    uint32_t *begins;
};

/* One channel and image of a tile on the way to the lists. */
struct Passing {
    uint16_t *places, *phases;
    float *values;
    uint32_t *filled; /* how long the list of each phase is */
    size_t room;      /* no list may be longer when a channel begins */
};

/* Makes the lists of at most `channels` channels, and moves on the cursors: of each image and channel, images
 * `cursor_pitch` apart, how many elements of x are kept before those of the tile. PREFETCHED cursors past the end are
 * read. Returns how many channels the lists had room for: at least one. */
size_t gather_kept(const struct Convolution *, const struct Tile *, const struct Elements *, size_t channel,
                   size_t channels, size_t *cursors, size_t cursor_pitch, const struct Passing *, struct Kept *);

enum { PREFETCHED = 8 };

/* The sums of a block of taps that are next to each other in the layout, times some vectors of output channels. */
struct Addition {
    struct Kept kept;
    size_t channels;
    const float *gradient; /* [pixel][vectors * LANES], moved on by the block's place among the taps of its phase */
    size_t pitch;          /* floats from a row of the gradient to the next */
    float *sums;           /* of the first channel, at the block's last tap */
    size_t channel_pitch, row_pitch, column_pitch; /* floats of sums; a later row of pixels is that of an earlier tap */
    bool first;                                    /* the sums are not set yet */
    struct Ahead *ahead;
};

enum { MOST_TAPS = 3 }; /* rows and columns of a block */

void add_block(const struct Addition *, size_t rows, size_t columns, size_t vectors);

/* The widest block, in vectors, of so many taps: a power of two. */
size_t most_vectors(size_t taps);

/* Both fill conv->result. */
OrtStatus *sparse_weight_gradient(const struct Call *, const struct Convolution *);
OrtStatus *dense_weight_gradient(const struct Call *, const struct Convolution *, const OrtOp *gemm);

/* The runtime's own product A B^T + C, as dense_weight_gradient needs it. */
OrtStatus *make_gemm(const struct Node *, OrtOp **gemm);

/* Whether it can do with the memory that it may take. */
bool dense_is_possible(const struct Convolution *);
