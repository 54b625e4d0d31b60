/* The one operator of the runtime's own that the kernels call: Gemm(a, b, c) = a b^T + c, in float32. */

#include <stdlib.h>
#include <string.h>

#include "runtime.h"

struct OrtOpAttr {
    char name[16];
    double value;
};

struct OrtOp {
    int inputs, outputs;
};

OrtStatus *create_op_attribute(const char *name, const void *data, int count, int type, OrtOpAttr **made) {
    bool is_number = count == 1 && (type == ORT_ATTRIBUTE_INT || type == ORT_ATTRIBUTE_FLOAT);
    if (!is_number || strlen(name) >= sizeof (*made)->name)
        return refuse("an attribute that is not known here");
    *made = calloc(1, sizeof **made);
    strcpy((*made)->name, name);
    (*made)->value = type == ORT_ATTRIBUTE_INT ? (double)*(const int64_t *)data : (double)*(const float *)data;
    return NULL;
}

void release_op_attribute(OrtOpAttr *attribute) { free(attribute); }

static bool all_are_one(const OrtOpAttr *const *attributes, int count) {
    for (int i = 0; i < count; i++)
        if (attributes[i]->value != 1 || (strcmp(attributes[i]->name, "transB") && strcmp(attributes[i]->name, "beta")))
            return false;
    return true;
}

OrtStatus *create_op(const OrtKernelInfo *info, const char *op_type, const char *domain, int version,
                     const char **constraint_names, const int *constraint_types, int constraints,
                     const OrtOpAttr *const *attributes, int attribute_count, int input_count, int output_count,
                     OrtOp **made) {
    (void)info, (void)version, (void)constraint_names;
    bool known = !strcmp(op_type, "Gemm") && !*domain && constraints == 1 && constraint_types[0] == ORT_FLOAT;
    if (!known || attribute_count != 2 || !all_are_one(attributes, 2) || input_count != 3 || output_count != 1)
        return refuse("an operator that is not known here");
    *made = malloc(sizeof **made);
    **made = (OrtOp){input_count, output_count};
    return NULL;
}

void release_op(OrtOp *op) { free(op); }

static bool is_matrix(const OrtValue *value, int64_t rows, int64_t columns) {
    return value->type == ORT_FLOAT && value->rank == 2 && value->shape[0] == rows && value->shape[1] == columns;
}

OrtStatus *invoke_op(const OrtKernelContext *context, const OrtOp *op, const OrtValue *const *inputs, int input_count,
                     OrtValue *const *outputs, int output_count) {
    (void)context;
    if (input_count != op->inputs || output_count != op->outputs)
        return refuse("Gemm is called with another number of tensors than it has");
    int64_t rows = inputs[0]->shape[0], columns = inputs[1]->shape[0], depth = inputs[0]->shape[1];
    if (!is_matrix(inputs[0], rows, depth) || !is_matrix(inputs[1], columns, depth) ||
        !is_matrix(inputs[2], rows, columns) || !is_matrix(outputs[0], rows, columns))
        return refuse("Gemm is called with shapes that do not fit");
    const float *a = inputs[0]->data, *b = inputs[1]->data, *c = inputs[2]->data;
    float *y = outputs[0]->data;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            double sum = c[i * columns + j];
            for (int64_t k = 0; k < depth; k++)
                sum += (double)a[i * depth + k] * (double)b[j * depth + k];
            y[i * columns + j] = (float)sum;
        }
    return NULL;
}
