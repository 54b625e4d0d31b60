/* Blocks of elements that are not in memory as they are wanted. */

#include "source.h"

/* They may begin and end within a plane, and be of many. */
void source_transform(struct Reader *reader, const float *x, size_t count, float *out) {
    const struct Source *source = reader->source;
    if (!is_by_channel(source)) {
        memcpy(out, x, count * sizeof *x);
        return;
    }
    for (size_t i = 0; i < count;) {
        size_t taken = least(reader->left, count - i);
        transform(source, reader->channel, x + i, taken, out + i);
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
    else
        source_transform(reader, (const float *)source->data + reader->next, count, buffer);
    memset(buffer + count, 0, (64 - count) * sizeof *buffer);
    reader->next += count;
    return buffer;
}
