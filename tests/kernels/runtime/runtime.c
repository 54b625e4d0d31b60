/* The interface itself: failures, attributes, tensors and domains. What is not here is null, and calling it a crash. */

#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct OrtTensorTypeAndShapeInfo {
    int type;
    size_t rank;
    int64_t shape[MOST_RANK];
};

struct OrtMemoryInfo {
    int allocator;
};

struct OrtEnv {
    OrtAllocator *allocator;
};

OrtStatus *refuse(const char *message) {
    OrtStatus *status = malloc(sizeof *status);
    snprintf(status->message, sizeof status->message, "%s", message);
    return status;
}

static OrtStatus *create_status(int code, const char *message) { return (void)code, refuse(message); }
static const char *message_of(const OrtStatus *status) { return status->message; }
static void release_status(OrtStatus *status) { free(status); }

static OrtStatus *create_domain(const char *name, OrtCustomOpDomain **made) {
    if (strcmp(name, "toolchain"))
        return refuse("a domain of another name");
    *made = calloc(1, sizeof **made);
    return NULL;
}

static OrtStatus *add_operator(OrtCustomOpDomain *domain, const OrtCustomOp *operator) {
    if (domain->count == MOST_OPERATORS)
        return refuse("more operators than there is room for");
    domain->operators[domain->count++] = operator;
    return NULL;
}

static OrtStatus *add_domain(OrtSessionOptions *options, OrtCustomOpDomain *domain) {
    options->domain = domain;
    return NULL;
}

static OrtStatus *find_attribute(const OrtKernelInfo *info, const char *name, int type,
                                 const struct Attribute **found) {
    for (size_t i = 0; i < info->count; i++) {
        *found = &info->attributes[i];
        if (!strcmp((*found)->name, name) && (*found)->type == type)
            return NULL;
    }
    return refuse("an attribute that the node does not have");
}

static OrtStatus *attribute_float(const OrtKernelInfo *info, const char *name, float *value) {
    const struct Attribute *found;
    OrtStatus *failure = find_attribute(info, name, ORT_ATTRIBUTE_FLOAT, &found);
    if (!failure)
        *value = (float)found->number;
    return failure;
}

static OrtStatus *attribute_int(const OrtKernelInfo *info, const char *name, int64_t *value) {
    const struct Attribute *found;
    OrtStatus *failure = find_attribute(info, name, ORT_ATTRIBUTE_INT, &found);
    if (!failure)
        *value = found->ints[0];
    return failure;
}

static OrtStatus *attribute_ints(const OrtKernelInfo *info, const char *name, int64_t *values, size_t *count) {
    const struct Attribute *found;
    OrtStatus *failure = find_attribute(info, name, ORT_ATTRIBUTE_INTS, &found);
    if (failure)
        return failure;
    if (values && *count < found->count)
        return refuse("no room for all of an attribute");
    *count = found->count;
    if (values)
        memcpy(values, found->ints, found->count * sizeof *values);
    return NULL;
}

static OrtStatus *input_count(const OrtKernelContext *context, size_t *count) {
    *count = context->input_count;
    return NULL;
}

static OrtStatus *get_input(const OrtKernelContext *context, size_t index, const OrtValue **value) {
    if (index >= context->input_count)
        return refuse("an input that there is not");
    *value = context->inputs[index].type == MISSING ? NULL : &context->inputs[index];
    return NULL;
}

/* The input whose memory an output takes, where it is as large. */
static const OrtValue *input_below(const OrtKernelContext *context, size_t output) {
    int *inputs, *outputs;
    const OrtValue *found = NULL;
    size_t count = context->operator->GetAliasMap(&inputs, &outputs);
    for (size_t i = 0; i < count; i++)
        if ((size_t)outputs[i] == output && context->manner->in_place)
            found = &context->inputs[inputs[i]];
    context->operator->ReleaseAliasMap(inputs, outputs);
    return found;
}

static OrtStatus *get_output(OrtKernelContext *context, size_t index, const int64_t *shape, size_t rank,
                             OrtValue **value) {
    if (index >= context->output_count)
        return refuse("an output that there is not");
    OrtValue *output = *value = &context->outputs[index];
    make_tensor(output, context->output_types[index], rank, shape);
    const OrtValue *input = input_below(context, index);
    if (input && tensor_bytes(input) == tensor_bytes(output)) {
        free_tensor(output);
        output->data = input->data;
    }
    return NULL;
}

static OrtStatus *tensor_over(const OrtMemoryInfo *where, void *data, size_t bytes, const int64_t *shape, size_t rank,
                              int type, OrtValue **made) {
    if (where->allocator != ORT_DEVICE_ALLOCATOR || rank > MOST_RANK)
        return refuse("a tensor of a kind that is not known here");
    *made = malloc(sizeof **made);
    **made = (OrtValue){.type = type, .rank = rank, .data = data};
    memcpy((*made)->shape, shape, rank * sizeof *shape);
    return tensor_bytes(*made) == bytes ? NULL : refuse("a tensor of another size than its memory");
}

static void release_tensor(OrtValue *tensor) { free(tensor); }

static OrtStatus *data_of(OrtValue *tensor, void **data) {
    *data = tensor->data;
    return NULL;
}

static OrtStatus *create_info(const OrtValue *tensor, OrtTensorTypeAndShapeInfo **made) {
    *made = malloc(sizeof **made);
    (*made)->type = tensor->type;
    (*made)->rank = tensor->rank;
    memcpy((*made)->shape, tensor->shape, sizeof tensor->shape);
    return NULL;
}

static void release_info(OrtTensorTypeAndShapeInfo *info) { free(info); }

static OrtStatus *type_in(const OrtTensorTypeAndShapeInfo *info, int *type) {
    *type = info->type;
    return NULL;
}

static OrtStatus *rank_in(const OrtTensorTypeAndShapeInfo *info, size_t *rank) {
    *rank = info->rank;
    return NULL;
}

static OrtStatus *shape_in(const OrtTensorTypeAndShapeInfo *info, int64_t *shape, size_t rank) {
    memcpy(shape, info->shape, rank * sizeof *shape);
    return NULL;
}

static OrtStatus *create_memory_info(int allocator, int memory, OrtMemoryInfo **made) {
    (void)memory;
    *made = malloc(sizeof **made);
    (*made)->allocator = allocator;
    return NULL;
}

static void release_memory_info(OrtMemoryInfo *info) { free(info); }

static OrtStatus *create_environment(int severity, const char *name, OrtEnv **found) {
    static OrtEnv only;
    (void)severity, (void)name;
    *found = &only;
    return NULL;
}

static OrtStatus *register_allocator(OrtEnv *environment, OrtAllocator *allocator) {
    if (environment->allocator || allocator->Info(allocator)->allocator != ORT_DEVICE_ALLOCATOR)
        return refuse("an allocator where there is one, or for another place");
    environment->allocator = allocator;
    return NULL;
}

static OrtStatus *unregister_allocator(OrtEnv *environment, const OrtMemoryInfo *where) {
    (void)where;
    if (!environment->allocator)
        return refuse("no allocator");
    environment->allocator = NULL;
    return NULL;
}

static OrtStatus *configure(OrtSessionOptions *options, const char *key, const char *value) {
    (void)options, (void)value;
    return strcmp(key, "session.use_env_allocators") ? refuse("a setting that is not known here") : NULL;
}

const OrtApi runtime_api = {
    .CreateEnv = create_environment,
    .RegisterAllocator = register_allocator,
    .UnregisterAllocator = unregister_allocator,
    .AddSessionConfigEntry = configure,
    .CreateStatus = create_status,
    .GetErrorMessage = message_of,
    .ReleaseStatus = release_status,
    .CreateCustomOpDomain = create_domain,
    .CustomOpDomain_Add = add_operator,
    .AddCustomOpDomain = add_domain,
    .KernelInfoGetAttribute_float = attribute_float,
    .KernelInfoGetAttribute_int64 = attribute_int,
    .KernelInfoGetAttributeArray_int64 = attribute_ints,
    .KernelContext_GetInputCount = input_count,
    .KernelContext_GetInput = get_input,
    .KernelContext_GetOutput = get_output,
    .KernelContext_ParallelFor = parallel_for,
    .CreateTensorWithDataAsOrtValue = tensor_over,
    .ReleaseValue = release_tensor,
    .GetTensorMutableData = data_of,
    .GetTensorTypeAndShape = create_info,
    .ReleaseTensorTypeAndShapeInfo = release_info,
    .GetTensorElementType = type_in,
    .GetDimensionsCount = rank_in,
    .GetDimensions = shape_in,
    .CreateCpuMemoryInfo = create_memory_info,
    .ReleaseMemoryInfo = release_memory_info,
    .CreateOpAttr = create_op_attribute,
    .ReleaseOpAttr = release_op_attribute,
    .CreateOp = create_op,
    .ReleaseOp = release_op,
    .InvokeOp = invoke_op,
};

static const OrtApi *get_api(uint32_t version) { return version == ORT_VERSION ? &runtime_api : NULL; }
static const char *version_string(void) { return "1.23.0"; }

const OrtApiBase runtime = {get_api, version_string};
