/* How the work of the sparse way is cut. It depends on the shapes alone. */
#pragma once

#include "conv_weight_gradient.h"
#include "conv_weight_gradient_vector.h"

#define make_plan FOR_ISA(conv_weight_gradient_make_plan)

struct Plan {
    const struct Convolution *conv;
    size_t phases, taps;
    size_t vectors;              /* that hold all output channels */
    size_t block;                /* vectors that are worked on at once, at most; a power of two */
    size_t groups, group_images; /* how many there are of images, and of how many at most */
    struct Tile tile;            /* the first one, and the largest */
    size_t task_vectors, task_channels;
    size_t listed; /* entries of the list of each phase */
};

/* A task: some vectors of output channels, and channels, in a group of images. */
struct Part {
    size_t group, vector, vectors, channel, channels;
};

/* Fails if a tile has too many pixels or phases to be numbered. */
OrtStatus *make_plan(const struct Call *, const struct Convolution *, struct Plan *);

/* The first image of a group, or behind the last group their number. */
static inline size_t group_begin(const struct Plan *plan, size_t group) {
    return group * plan->conv->images / plan->groups;
}

static inline size_t vector_parts(const struct Plan *plan) { return ceil_divide(plan->vectors, plan->task_vectors); }
static inline size_t channel_parts(const struct Plan *plan) {
    return ceil_divide(plan->conv->channels, plan->task_channels);
}
static inline size_t sums_of_task(const struct Plan *plan) {
    return plan->task_vectors * LANES * plan->task_channels * plan->taps;
}

static inline struct Part part_at(const struct Plan *plan, size_t task) {
    size_t vector = task / channel_parts(plan) % vector_parts(plan) * plan->task_vectors;
    size_t channel = task % channel_parts(plan) * plan->task_channels;
    return (struct Part){.group = task / channel_parts(plan) / vector_parts(plan),
                         .vector = vector,
                         .vectors = least(plan->task_vectors, plan->vectors - vector),
                         .channel = channel,
                         .channels = least(plan->task_channels, plan->conv->channels - channel)};
}

/* Elements of a phase in one channel of a tile, at most. */
static inline size_t phase_elements(const struct Plan *plan) {
    const struct Axis *down = &plan->conv->rows, *across = &plan->conv->columns;
    return plan->tile.images * ceil_divide(plan->tile.rows, down->stride) * ceil_divide(across->size, across->stride);
}

/* How many vectors the block has that begins at `vector` of a task. */
static inline size_t block_at(const struct Plan *plan, const struct Part *part, size_t vector) {
    size_t vectors = plan->block;
    while (vectors > part->vectors - vector)
        vectors /= 2;
    return vectors;
}
