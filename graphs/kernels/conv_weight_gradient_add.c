/* The innermost loops of ConvWeightGradient: the sums of a block stay in registers while the kept values of a channel
 * are gone through, each of which is multiplied with the pixels that it meets. A tile's sums begin with zero and are
 * added to those before: a long sum made of short ones is more exact than one made term by term. */

#include "conv_weight_gradient.h"
#include "conv_weight_gradient_vector.h"

/* Registers that hold sums, the others hold a value and pixels. And 64 floats are 256 bytes, a good stride for x86. */
enum { MOST_SUMS = REGISTERS * 3 / 4, MOST_VECTORS = 8 };

#define EACH_SUM(statement)                                            \
    _Pragma("unroll") for (int r = 0; r < rows; r++)                   \
        _Pragma("unroll") for (int q = 0; q < columns; q++)            \
            _Pragma("unroll") for (int v = 0; v < vectors; v++) {      \
                statement;                                             \
            }
#define SUM sum[(r * columns + q) * vectors + v]
#define STORED_SUM (sums - r * a.row_pitch - q * a.column_pitch + v * LANES)

static inline __attribute__((always_inline)) void add(const struct Addition *addition, int rows, int columns,
                                                      int vectors) {
    if (rows * columns * vectors > MOST_SUMS)
        return;
    const struct Addition a = *addition;
    size_t fetched = 0;
    for (size_t channel = 0; channel < a.channels; channel++) {
        size_t at = a.kept.begins[channel], end = a.kept.begins[channel + 1];
        float *sums = a.sums + channel * a.channel_pitch;
        Vector sum[MOST_SUMS];
        EACH_SUM(SUM = (Vector){0})
        for (; at < end; at++) {
            const float *gradient = a.gradient + (size_t)a.kept.places[at] * (size_t)(vectors * LANES);
            Vector value = a.kept.values[at] - (Vector){0};
            EACH_SUM(SUM += value * load(gradient + r * a.pitch + (q * vectors + v) * LANES))
        }
        if (!a.first) {
            EACH_SUM(SUM += load(STORED_SUM))
        }
        EACH_SUM(store(STORED_SUM, SUM))
        if (channel >= fetched) {
            fetch_portion(a.ahead);
            fetched += a.ahead->every;
        }
    }
}

#define ADD(R, Q, V) \
    static void add_##R##Q##V(const struct Addition *addition) { add(addition, R, Q, V); }
#define ADD_BLOCKS(V)                             \
    ADD(1, 1, V) ADD(1, 2, V) ADD(1, 3, V)        \
    ADD(2, 1, V) ADD(2, 2, V) ADD(2, 3, V)        \
    ADD(3, 1, V) ADD(3, 2, V) ADD(3, 3, V)
ADD_BLOCKS(1) ADD_BLOCKS(2) ADD_BLOCKS(4) ADD_BLOCKS(8)

#define BLOCKS(V)                             \
    {{add_11##V, add_12##V, add_13##V},       \
     {add_21##V, add_22##V, add_23##V},       \
     {add_31##V, add_32##V, add_33##V}}

void add_block(const struct Addition *addition, size_t rows, size_t columns, size_t vectors) {
    static void (*const adds[][MOST_TAPS][MOST_TAPS])(const struct Addition *) = {BLOCKS(1), BLOCKS(2), BLOCKS(4),
                                                                                  BLOCKS(8)};
    adds[__builtin_ctzll(vectors)][rows - 1][columns - 1](addition);
}

size_t most_vectors(size_t taps) {
    size_t vectors = MOST_VECTORS;
    while (vectors * taps > MOST_SUMS)
        vectors /= 2;
    return vectors;
}
