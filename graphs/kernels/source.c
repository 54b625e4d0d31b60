/* Blocks of elements that are not in memory as they are wanted. */

#include "source.h"

static void subtract(const float *restrict x, float center, size_t count, float *restrict out) {
    for (size_t i = 0; i < count; i++)
        out[i] = x[i] - center;
}

/* A block may begin and end within a plane, and hold many. */
static void subtract_center(struct Reader *reader, size_t count, float *out) {
    const struct Source *source = reader->source;
    const float *x = (const float *)source->data + reader->next;
    for (size_t i = 0; i < count;) {
        size_t taken = least(reader->left, count - i);
        subtract(x + i, source->center[reader->channel], taken, out + i);
        i += taken;
        reader->left -= taken;
        if (!reader->left) {
            reader->left = source->pixels;
            reader->channel = reader->channel + 1 < source->channels ? reader->channel + 1 : 0;
        }
    }
}

const float *source_some(struct Reader *reader, float buffer[64]) {
    const struct Source *source = reader->source;
    size_t count = least(64, source->n - reader->next);
    if (source->is_half)
        for (size_t i = 0; i < count; i++)
            buffer[i] = (float)((const half *)source->data)[reader->next + i];
    else if (source->center)
        subtract_center(reader, count, buffer);
    else
        memcpy(buffer, (const float *)source->data + reader->next, count * sizeof *buffer);
    memset(buffer + count, 0, (64 - count) * sizeof *buffer);
    reader->next += count;
    return buffer;
}
