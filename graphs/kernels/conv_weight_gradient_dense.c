/* The weight gradient as a product of matrices, for an activation of which much is kept: part by part of the pixels,
 *
 *     dw [outputs, channels * taps] += dy [outputs, pixels] * columns [channels * taps, pixels]^T
 *
 * where the columns hold what each tap meets. The activation is restored for one part at a time. The runtime's own Gemm
 * multiplies, so this is for one thread to call, and that Gemm's to share.
 */

#include "blocks.h"
#include "conv_weight_gradient_stored.h"

enum { MOST_BYTES = 2 << 20, FILLERS = 8 };

/* Rows of the output, of some images. */
struct Piece {
    size_t image, images, row, rows, pixels;
};

struct Memory {
    float *gradient, *columns; /* the matrices */
    float *restored;           /* rows of one channel, for each of FILLERS */
};

static size_t taps_of(const struct Convolution *conv) { return conv->rows.kernel * conv->columns.kernel; }

/* Whether each column is the activation itself. */
static bool is_pointwise(const struct Convolution *conv) {
    const struct Axis *axes[] = {&conv->rows, &conv->columns};
    for (int i = 0; i < 2; i++)
        if (axes[i]->kernel * axes[i]->stride != 1 || axes[i]->pad || axes[i]->size != axes[i]->out_size)
            return false;
    return true;
}

/* The rows of x that some rows of the output come from. */
static size_t rows_before(const struct Convolution *conv, size_t row) {
    size_t first = row * conv->rows.stride;
    return least(conv->rows.size, first > conv->rows.pad ? first - conv->rows.pad : 0);
}
static size_t rows_until(const struct Convolution *conv, size_t row) {
    size_t end = (row - 1) * conv->rows.stride + conv->rows.kernel;
    return least(conv->rows.size, end > conv->rows.pad ? end - conv->rows.pad : 0);
}

static size_t restored_floats(const struct Convolution *conv, size_t rows) {
    return least(conv->rows.size, (rows - 1) * conv->rows.stride + conv->rows.kernel) * conv->columns.size;
}

static size_t bytes_of(const struct Convolution *conv, size_t images, size_t rows) {
    size_t lines = conv->end - conv->begin + conv->channels * taps_of(conv);
    return (lines * images * rows * conv->columns.out_size + FILLERS * restored_floats(conv, rows)) * sizeof(float);
}

bool dense_is_possible(const struct Convolution *conv) { return bytes_of(conv, 1, 1) <= MOST_BYTES; }

/* Elements of x from `first` on. */
static void restore(const struct Stored *x, size_t first, size_t count, float *to) {
    float values[64 + COPIED], last[64];
    size_t kept = kept_before(x, first);
    for (size_t at = 0; at < count; at += 64) {
        uint64_t bits = bits_at(x, first + at) & lowest(count - at);
        copy_values(x, kept, bit_count(bits), values);
        kept += bit_count(bits);
        if (at + 64 <= count) {
            block_expand(values, bits, to + at);
        } else {
            block_expand(values, bits, last);
            memcpy(to + at, last, (count - at) * sizeof(float));
        }
    }
}

/* What one tap meets in a row of x, zeros outside. */
static void fill_row(const struct Axis *axis, size_t tap, const float *x, float *to) {
    size_t begin = tap < axis->pad ? ceil_divide(axis->pad - tap, axis->stride) : 0;
    size_t end = axis->size + axis->pad > tap ? ceil_divide(axis->size + axis->pad - tap, axis->stride) : 0;
    end = least(end, axis->out_size);
    if (begin >= end)
        begin = end = 0;
    memset(to, 0, begin * sizeof(float));
    memset(to + end, 0, (axis->out_size - end) * sizeof(float));
    if (axis->stride == 1 && end)
        memcpy(to + begin, x + begin + tap - axis->pad, (end - begin) * sizeof(float));
    else
        for (size_t pixel = begin; pixel < end; pixel++)
            to[pixel] = x[pixel * axis->stride + tap - axis->pad];
}

/* All that the taps of a channel meet: a line for each tap. */
static void fill_columns(const struct Convolution *conv, const struct Piece *piece, const float *x, float *to) {
    const struct Axis *down = &conv->rows, *across = &conv->columns;
    size_t first = rows_before(conv, piece->row);
    for (size_t tap = 0; tap < taps_of(conv); tap++)
        for (size_t row = 0; row < piece->rows; row++) {
            float *line = to + tap * piece->pixels + row * across->out_size;
            size_t place = (piece->row + row) * down->stride + tap / across->kernel - down->pad;
            if (place >= down->size)
                memset(line, 0, across->out_size * sizeof(float));
            else
                fill_row(across, tap % across->kernel, x + (place - first) * across->size, line);
        }
}

/* What is to be filled for a product. */
struct Filling {
    const struct Convolution *conv;
    const struct Piece *piece;
    const struct Memory *memory;
};

static void fill_channel(const struct Filling *filling, size_t channel, float *restored) {
    const struct Convolution *conv = filling->conv;
    const struct Piece *piece = filling->piece;
    size_t first = rows_before(conv, piece->row), end = rows_until(conv, piece->row + piece->rows);
    for (size_t image = 0; image < piece->images; image++) {
        float *to = filling->memory->columns + channel * taps_of(conv) * piece->pixels;
        to += image * piece->rows * conv->columns.out_size;
        size_t plane = (piece->image + image) * conv->channels + channel, width = conv->columns.size;
        float *rows = is_pointwise(conv) ? to : restored;
        restore(&conv->x, (plane * conv->rows.size + first) * width, (most(first, end) - first) * width, rows);
        if (!is_pointwise(conv))
            fill_columns(conv, piece, rows, to);
    }
}

static void fill_output(const struct Filling *filling, size_t output) {
    const struct Convolution *conv = filling->conv;
    const struct Piece *piece = filling->piece;
    size_t width = conv->columns.out_size, plane = conv->rows.out_size * width, count = piece->rows * width;
    float *to = filling->memory->gradient + output * piece->pixels;
    for (size_t image = 0; image < piece->images; image++) {
        size_t number = (piece->image + image) * conv->out_channels + conv->begin + output;
        memcpy(to + image * count, conv->gradient + number * plane + piece->row * width, count * sizeof(float));
    }
}

/* Every FILLERS-th line of both matrices. */
static void fill_lines(void *context, size_t filler) {
    const struct Filling *filling = context;
    const struct Convolution *conv = filling->conv;
    float *restored = filling->memory->restored + filler * restored_floats(conv, filling->piece->rows);
    for (size_t channel = filler; channel < conv->channels; channel += FILLERS)
        fill_channel(filling, channel, restored);
    for (size_t output = filler; output < conv->end - conv->begin; output += FILLERS)
        fill_output(filling, output);
}

/* As many rows, or else images, as the memory is enough for. */
static struct Piece choose_piece(const struct Convolution *conv) {
    struct Piece piece = {.images = 1, .rows = conv->rows.out_size};
    while (bytes_of(conv, 1, piece.rows) > MOST_BYTES)
        piece.rows--;
    piece.rows = ceil_divide(conv->rows.out_size, ceil_divide(conv->rows.out_size, piece.rows));
    while (piece.rows == conv->rows.out_size && piece.images < conv->images &&
           bytes_of(conv, piece.images + 1, piece.rows) <= MOST_BYTES)
        piece.images++;
    return piece;
}

static OrtStatus *matrix(const struct Call *call, const OrtMemoryInfo *where, float *data, size_t rows, size_t columns,
                         OrtValue **made) {
    int64_t shape[] = {(int64_t)rows, (int64_t)columns};
    return call->api->CreateTensorWithDataAsOrtValue(where, data, rows * columns * sizeof(float), shape, 2, ORT_FLOAT,
                                                     made);
}

/* result += gradient columns^T */
static OrtStatus *multiply(const struct Call *call, const struct Convolution *conv, const OrtOp *gemm,
                           const OrtMemoryInfo *where, const struct Memory *memory, size_t pixels) {
    size_t outputs = conv->end - conv->begin, lines = conv->channels * taps_of(conv);
    OrtValue *values[3] = {NULL};
    OrtStatus *failure = matrix(call, where, memory->gradient, outputs, pixels, &values[0]);
    if (!failure)
        failure = matrix(call, where, memory->columns, lines, pixels, &values[1]);
    if (!failure)
        failure = matrix(call, where, conv->result, outputs, lines, &values[2]);
    if (!failure)
        failure = call->api->InvokeOp(call->context, gemm, (const OrtValue *const *)values, 3, &values[2], 1);
    for (int i = 0; i < 3; i++)
        call->api->ReleaseValue(values[i]);
    return failure;
}

static OrtStatus *add_pieces(const struct Call *call, const struct Convolution *conv, const OrtOp *gemm,
                             const OrtMemoryInfo *where, const struct Memory *memory, struct Piece piece) {
    size_t images = piece.images, rows = piece.rows;
    for (piece.image = 0; piece.image < conv->images; piece.image += images)
        for (piece.row = 0; piece.row < conv->rows.out_size; piece.row += rows) {
            piece.images = least(images, conv->images - piece.image);
            piece.rows = least(rows, conv->rows.out_size - piece.row);
            piece.pixels = piece.images * piece.rows * conv->columns.out_size;
            struct Filling filling = {conv, &piece, memory};
            pool_run(&call->pool, FILLERS, fill_lines, &filling);
            TRY(multiply(call, conv, gemm, where, memory, piece.pixels));
        }
    return NULL;
}

OrtStatus *dense_weight_gradient(const struct Call *call, const struct Convolution *conv, const OrtOp *gemm) {
    struct Piece piece = choose_piece(conv);
    size_t pixels = piece.images * piece.rows * conv->columns.out_size, outputs = conv->end - conv->begin;
    void *floats;
    OrtMemoryInfo *where;
    TRY(scratch(call, bytes_of(conv, piece.images, piece.rows), &floats));
    OrtStatus *failure = call->api->CreateCpuMemoryInfo(ORT_DEVICE_ALLOCATOR, ORT_DEFAULT_MEMORY, &where);
    if (!failure) {
        struct Memory memory = {.gradient = floats};
        memory.columns = memory.gradient + outputs * pixels;
        memory.restored = memory.columns + conv->channels * taps_of(conv) * pixels;
        memset(conv->result, 0, outputs * conv->channels * taps_of(conv) * sizeof(float));
        failure = add_pieces(call, conv, gemm, where, &memory, piece);
        call->api->ReleaseMemoryInfo(where);
    }
    memory_free(floats);
    return failure;
}

OrtStatus *make_gemm(const struct Node *node, OrtOp **gemm) {
    enum { COUNT = 4 };
    const char *const names[COUNT] = {"transA", "transB", "alpha", "beta"};
    const int64_t no = 0, yes = 1;
    const float one = 1;
    const void *const values[COUNT] = {&no, &yes, &one, &one};
    OrtOpAttr *attributes[COUNT] = {NULL};
    OrtStatus *failure = NULL;
    for (int i = 0; i < COUNT && !failure; i++)
        failure = node->api->CreateOpAttr(names[i], values[i], 1, i < 2 ? ORT_ATTRIBUTE_INT : ORT_ATTRIBUTE_FLOAT,
                                          &attributes[i]);
    if (!failure)
        failure = node->api->CreateOp(node->info, "Gemm", "", 13, (const char *[]){"T"}, (int[]){ORT_FLOAT}, 1,
                                      (const OrtOpAttr *const *)attributes, COUNT, 3, 1, gemm);
    for (int i = 0; i < COUNT; i++)
        if (attributes[i])
            node->api->ReleaseOpAttr(attributes[i]);
    return failure;
}
