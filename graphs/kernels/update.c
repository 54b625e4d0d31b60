/* Optimizers, in the memory of the parameters and their moments.
 *
 * AdamUpdate(parameter, moment1, moment2 float32 [...], gradient float32 [...], rate, deviation, active float32 [1];
 *            beta1, beta2, epsilon float, offset int) -> the first three, each in its own memory
 *     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *     parameter -= rate * (m / (sqrt(v) / deviation + epsilon))
 * MomentumUpdate(parameter, moment float32 [...], gradient float32 [...], rate, active float32 [1];
 *                momentum float, nesterov, offset int) -> the first two, each in its own memory
 *     m = momentum m + g;  parameter -= rate * m, and where nesterov is 1, rate * (g + momentum m)
 *
 * The gradient's elements g belong to those of the parameter and of its moments from `offset` on; the others stay. Where
 * active is 0, nothing changes.
 */

#include "kernel.h"

enum { PART = 1 << 14 };

struct Adam {
    float beta1, beta2, epsilon;
    int64_t offset;
};

struct Momentum {
    float momentum;
    int64_t nesterov, offset;
};

struct Update {
    const void *attributes;
    float *parameter, *moments[2]; /* from the offset on */
    const float *gradient;
    size_t count;
    float rate, deviation;
};

/* 1 - beta for a beta that was a decimal fraction of at most seven digits before it was rounded to float32: the float's
 * own distance from 1 would be off by 1e-5 of itself for 0.999. */
static float complement(float beta) { return (float)(__builtin_round((1.0 - beta) * 1e7) / 1e7); }

static void adam_part(void *context, size_t part) {
    const struct Update *update = context;
    const struct Adam *adam = update->attributes;
    float *parameter = update->parameter, *first = update->moments[0], *second = update->moments[1];
    const float *gradient = update->gradient;
    float beta1 = adam->beta1, beta2 = adam->beta2, epsilon = adam->epsilon;
    float rest1 = complement(beta1), rest2 = complement(beta2);
    float rate = update->rate, deviation = update->deviation;
    size_t begin = part * PART, end = least(update->count, begin + PART);
#pragma clang loop vectorize(assume_safety)
    for (size_t i = begin; i < end; i++) {
        float m = beta1 * first[i] + rest1 * gradient[i];
        float v = beta2 * second[i] + rest2 * (gradient[i] * gradient[i]);
        first[i] = m;
        second[i] = v;
        parameter[i] -= rate * (m / (__builtin_sqrtf(v) / deviation + epsilon));
    }
}

static void momentum_part(void *context, size_t part) {
    const struct Update *update = context;
    const struct Momentum *attributes = update->attributes;
    float *parameter = update->parameter, *moment = update->moments[0];
    const float *gradient = update->gradient;
    float momentum = attributes->momentum, rate = update->rate;
    bool nesterov = attributes->nesterov;
    size_t begin = part * PART, end = least(update->count, begin + PART);
#pragma clang loop vectorize(assume_safety)
    for (size_t i = begin; i < end; i++) {
        float m = momentum * moment[i] + gradient[i];
        moment[i] = m;
        parameter[i] -= rate * (nesterov ? gradient[i] + momentum * m : m);
    }
}

/* The shapes of `states` tensors and the gradient behind them fit, and `scalars` of one element each follow. */
static OrtStatus *check(const struct Call *call, int states, int scalars, int64_t offset) {
    const struct Tensor *gradient = &call->inputs[states];
    for (int index = 1; index < states; index++)
        if (!same_shape(&call->inputs[0], &call->inputs[index]))
            return FAIL(call, "input %d has not the parameter's shape", index);
    if ((size_t)offset > call->inputs[0].count || gradient->count > call->inputs[0].count - (size_t)offset)
        return FAIL(call, "%zu elements from %lld on go past the parameter's %zu", gradient->count, (long long)offset,
                    call->inputs[0].count);
    for (int index = states + 1; index <= states + scalars; index++)
        if (call->inputs[index].count != 1)
            return FAIL(call, "input %d has %zu elements, not 1", index, call->inputs[index].count);
    return NULL;
}

static float scalar(const struct Call *call, int index) { return *(const float *)call->inputs[index].data; }

/* rate, deviation if there are two moments, and active follow the gradient. */
static OrtStatus *run(struct Call *call, int states, int64_t offset, void (*work)(void *, size_t)) {
    const struct Tensor *gradient = &call->inputs[states];
    TRY(check(call, states, states, offset));
    struct Update update = {.attributes = call->state,
                            .gradient = gradient->data,
                            .count = gradient->count,
                            .rate = scalar(call, states + 1),
                            .deviation = scalar(call, states + 2)};
    float *starts[3];
    for (int index = 0; index < states; index++) {
        struct Tensor made;
        TRY(output_in_place(call, index, &made));
        starts[index] = made.count ? (float *)made.data + offset : NULL;
    }
    update.parameter = starts[0];
    for (int index = 1; index < states; index++)
        update.moments[index - 1] = starts[index];
    if (scalar(call, 2 * states) != 0)
        pool_run(&call->pool, ceil_divide(update.count, PART), work, &update);
    return NULL;
}

static OrtStatus *read_offset(const struct Node *node, int64_t *offset) {
    TRY(attribute_int(node, "offset", offset));
    return *offset < 0 ? FAIL(node, "offset is %lld", (long long)*offset) : NULL;
}

static OrtStatus *create_adam(const struct Node *node, void *state) {
    struct Adam *adam = state;
    TRY(attribute_float(node, "beta1", &adam->beta1));
    TRY(attribute_float(node, "beta2", &adam->beta2));
    TRY(attribute_float(node, "epsilon", &adam->epsilon));
    return read_offset(node, &adam->offset);
}

static OrtStatus *create_momentum(const struct Node *node, void *state) {
    struct Momentum *attributes = state;
    TRY(attribute_float(node, "momentum", &attributes->momentum));
    TRY(attribute_int(node, "nesterov", &attributes->nesterov));
    return read_offset(node, &attributes->offset);
}

static OrtStatus *adam_update(struct Call *call) {
    return run(call, 3, ((const struct Adam *)call->state)->offset, adam_part);
}

static OrtStatus *momentum_update(struct Call *call) {
    return run(call, 2, ((const struct Momentum *)call->state)->offset, momentum_part);
}

const struct Operator OPERATOR(AdamUpdate) = {
    .name = "AdamUpdate",
    .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}},
    .outputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}},
    .in_place = 3,
    .state_size = sizeof(struct Adam),
    .create = create_adam,
    .compute = adam_update};

const struct Operator OPERATOR(MomentumUpdate) = {
    .name = "MomentumUpdate",
    .inputs = {{FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}, {FLOAT32}},
    .outputs = {{FLOAT32}, {FLOAT32}},
    .in_place = 2,
    .state_size = sizeof(struct Momentum),
    .create = create_momentum,
    .compute = momentum_update};
