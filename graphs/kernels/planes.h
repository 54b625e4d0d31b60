/* Tensors [N, C, ...] as N images of C channels, each a plane of pixels. */
#pragma once

#include "kernel.h"

struct Planes {
    size_t images, channels, pixels;
};

static inline OrtStatus *planes_of(const struct Call *call, const struct Tensor *tensor, struct Planes *planes) {
    if (tensor->rank < 2)
        return FAIL(call, "a tensor of %d sides has no channels", tensor->rank);
    *planes = (struct Planes){(size_t)tensor->shape[0], (size_t)tensor->shape[1], 1};
    for (int axis = 2; axis < tensor->rank; axis++)
        planes->pixels *= (size_t)tensor->shape[axis];
    return NULL;
}

/* Whether each of these inputs has one number for each channel. */
static inline OrtStatus *one_per_channel(const struct Call *call, const struct Planes *planes, int first, int last) {
    for (int index = first; index <= last; index++)
        if (call->inputs[index].rank != 1 || call->inputs[index].count != planes->channels)
            return FAIL(call, "input %d has %zu numbers for %zu channels", index, call->inputs[index].count,
                        planes->channels);
    return NULL;
}

/* How many neighbouring channels to work on together, so that their planes in so many images have about that many
 * elements, or more where one channel has. */
static inline size_t channels_within(const struct Planes *planes, size_t images, size_t elements) {
    size_t each = images * planes->pixels;
    size_t channels = elements / (each ? each : 1);
    return least(channels ? channels : 1, planes->channels ? planes->channels : 1);
}
