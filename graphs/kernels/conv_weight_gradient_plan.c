/* Cuts the sparse way's work into tiles and tasks. */

#include "conv_weight_gradient_plan.h"

/* Sizes for a second cache of 1 MiB or more, and for a first one that holds about half of a block's gradient. */
enum {
    GRADIENT_BYTES = 80 << 10, /* of a tile, for a block of output channels */
    SUMS_BYTES = 1 << 20,      /* of a task, or of all groups */
    MOST_GROUPS = 8,
    MOST_CHANNELS = 512, /* of a task */
    MOST_OUTPUTS = 512,  /* of a task */
    LISTED = 1 << 15,    /* kept values in lists at once, or those of a channel if these may be more */
};

static struct Tile first_tile(const struct Convolution *conv, size_t images, size_t rows) {
    struct Tile tile = {.images = images, .rows = rows};
    complete_tile(conv, &tile);
    return tile;
}

/* As many rows of an image, or as many images, as have at most so many pixels, in equal portions if in several. */
static void choose_tile(struct Plan *plan, size_t pixels) {
    const struct Convolution *conv = plan->conv;
    size_t all = conv->rows.size, stride = conv->rows.stride, images = 1, rows = all;
    size_t least_rows = stride * taps_met(&conv->rows, 0); /* else most of the gradient would be in several tiles */
    for (size_t portions = 2; rows > least_rows && first_tile(conv, 1, rows).pixels > pixels; portions++)
        rows = ceil_divide(ceil_divide(all, portions), stride) * stride;
    while (rows == all && images < plan->group_images && first_tile(conv, images + 1, all).pixels <= pixels)
        images++;
    images = ceil_divide(plan->group_images, ceil_divide(plan->group_images, images));
    plan->tile = first_tile(conv, images, rows);
}

static void choose_sizes(struct Plan *plan) {
    const struct Convolution *conv = plan->conv;
    size_t vector_bytes = LANES * sizeof(float), sums_of_vector = plan->taps * vector_bytes;
    size_t groups = SUMS_BYTES / (plan->vectors * conv->channels * sums_of_vector);
    plan->groups = most(1, least(groups, least(MOST_GROUPS, conv->images)));
    plan->group_images = ceil_divide(conv->images, plan->groups);
    choose_tile(plan, GRADIENT_BYTES / vector_bytes / plan->block);
    plan->task_vectors = least(plan->vectors, MOST_OUTPUTS / LANES);
    size_t channels = most(1, least(MOST_CHANNELS, SUMS_BYTES / (plan->task_vectors * sums_of_vector)));
    plan->task_channels = ceil_divide(conv->channels, ceil_divide(conv->channels, channels));
    size_t elements = phase_elements(plan);
    plan->listed = most(elements, least(LISTED / plan->phases, elements * plan->task_channels));
}

OrtStatus *make_plan(const struct Call *call, const struct Convolution *conv, struct Plan *plan) {
    size_t rows = least(MOST_TAPS, taps_met(&conv->rows, 0)), columns = least(MOST_TAPS, taps_met(&conv->columns, 0));
    *plan = (struct Plan){.conv = conv,
                          .phases = phase_count(conv),
                          .taps = conv->rows.kernel * conv->columns.kernel,
                          .vectors = ceil_divide(conv->end - conv->begin, LANES),
                          .block = most_vectors(rows * columns)};
    while (plan->block > plan->vectors)
        plan->block /= 2;
    choose_sizes(plan);
    if (plan->tile.pixels > UINT16_MAX || plan->phases > UINT16_MAX)
        return FAIL(call, "rows of %zu pixels are too long, or strides too large", conv->columns.out_size);
    return NULL;
}
