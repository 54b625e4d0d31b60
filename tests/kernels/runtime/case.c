#include "case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Source {
    const char *path;
    FILE *file;
};

static void read_bytes(struct Source *source, void *bytes, size_t count) {
    if (count && fread(bytes, 1, count, source->file) != count)
        give_up("%s ends too early", source->path);
}

static int64_t read_int(struct Source *source) {
    int64_t number;
    read_bytes(source, &number, sizeof number);
    return number;
}

static double read_double(struct Source *source) {
    double number;
    read_bytes(source, &number, sizeof number);
    return number;
}

static size_t read_count(struct Source *source, size_t most) {
    int64_t count = read_int(source);
    if (count < 0 || (size_t)count > most)
        give_up("%s has %lld of what there may be %zu of", source->path, (long long)count, most);
    return (size_t)count;
}

static void read_text(struct Source *source, char *text, size_t room) {
    size_t length = read_count(source, room - 1);
    read_bytes(source, text, length);
    text[length] = '\0';
}

static void read_attribute(struct Source *source, struct Attribute *attribute) {
    read_text(source, attribute->name, sizeof attribute->name);
    attribute->type = (int)read_int(source);
    attribute->count = read_count(source, MOST_RANK);
    if (attribute->type == ORT_ATTRIBUTE_FLOAT)
        attribute->number = read_double(source);
    else
        read_bytes(source, attribute->ints, attribute->count * sizeof *attribute->ints);
}

static void read_tensor(struct Source *source, OrtValue *tensor) {
    int type = (int)read_int(source);
    *tensor = (OrtValue){.type = type};
    if (type == MISSING)
        return;
    int64_t shape[MOST_RANK];
    size_t rank = read_count(source, MOST_RANK);
    read_bytes(source, shape, rank * sizeof *shape);
    make_tensor(tensor, type, rank, shape);
    read_bytes(source, tensor->data, tensor_bytes(tensor));
}

void read_case(const char *path, struct Case *made) {
    struct Source source = {path, fopen(path, "rb")};
    if (!source.file)
        give_up("%s cannot be opened", path);
    *made = (struct Case){.failure = calloc(1, 4096)};
    read_text(&source, made->operator, sizeof made->operator);
    made->tolerance.part = read_double(&source);
    made->tolerance.size = read_double(&source);
    made->node.count = read_count(&source, MOST_ATTRIBUTES);
    for (size_t i = 0; i < made->node.count; i++)
        read_attribute(&source, &made->node.attributes[i]);
    made->input_count = read_count(&source, MOST_TENSORS);
    for (size_t i = 0; i < made->input_count; i++)
        read_tensor(&source, &made->inputs[i]);
    made->output_count = read_count(&source, MOST_TENSORS);
    for (size_t i = 0; i < made->output_count; i++)
        read_tensor(&source, &made->outputs[i]);
    read_text(&source, made->failure, 4096);
    fclose(source.file);
}

void free_case(struct Case *made) {
    for (size_t i = 0; i < made->input_count; i++)
        free_tensor(&made->inputs[i]);
    for (size_t i = 0; i < made->output_count; i++)
        free_tensor(&made->outputs[i]);
    free(made->failure);
}
