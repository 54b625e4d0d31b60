/* A case that record.py wrote down; the format is told there. */
#pragma once

#include "compare.h"
#include "runtime.h"

struct Case {
    char operator[64];
    struct Tolerance tolerance;
    OrtKernelInfo node;
    size_t input_count, output_count;
    OrtValue inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    char *failure; /* "": the operator succeeds */
};

void read_case(const char *path, struct Case *);
void free_case(struct Case *);
