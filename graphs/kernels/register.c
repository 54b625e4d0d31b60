/* What the runtime sees of the library: the operators of the domain "toolchain", for the instruction set in use. */

#include "cpu.h"
#include "kernel.h"

#define OPERATORS(EACH) \
    EACH(Sparsify) \
    EACH(SparsifyHalf) \
    EACH(Densify) \
    EACH(Narrow) \
    EACH(SparsifyPair) \
    EACH(SelectNorm) \
    EACH(SelectConv) \
    EACH(PackValues) \
    EACH(UnpackValues) \
    EACH(PackMask) \
    EACH(UnpackMask) \
    EACH(ApplyMask) \
    EACH(GatherMasked) \
    EACH(AddMasked) \
    EACH(ScatterMasked) \
    EACH(PackPositive) \
    EACH(ChannelMoments) \
    EACH(BatchNormalize) \
    EACH(BatchNormalizeRelu) \
    EACH(ReluPack) \
    EACH(BatchNormGradient) \
    EACH(MaxPool) \
    EACH(MaxPoolGradient) \
    EACH(AdamUpdate) \
    EACH(MomentumUpdate) \
    EACH(AddInto) \
    EACH(AddStrided) \
    EACH(Copy) \
    EACH(ConvWeightGradient)

#if defined(__x86_64__)
#define DECLARE(name) extern const struct Operator name##_scalar, name##_avx2, name##_avx512;
#define EACH_SET(name) {&name##_scalar, &name##_avx2, &name##_avx512},
#else
#define DECLARE(name) extern const struct Operator name##_scalar, name##_neon;
#define EACH_SET(name) {&name##_scalar, &name##_neon},
#endif
#define COUNT(name) +1

OPERATORS(DECLARE)
enum { OPERATOR_COUNT = 0 OPERATORS(COUNT) };
static const struct Operator *const operators[OPERATOR_COUNT][INSTRUCTION_SETS] = {OPERATORS(EACH_SET)};

/* An operator as the runtime knows it. The runtime passes the first member back, which is as good as the whole. */
struct Custom {
    OrtCustomOp interface;
    const struct Operator *operator;
};

static struct Custom customs[OPERATOR_COUNT][INSTRUCTION_SETS];

static const struct Operator *operator_of(const OrtCustomOp *custom) {
    return ((const struct Custom *)custom)->operator;
}

static size_t slot_count(const struct Slot *slots) {
    size_t count = 0;
    while (slots[count].type != NOTHING)
        count++;
    return count;
}

static const int ort_types[] = {[FLOAT32] = ORT_FLOAT, [FLOAT16] = ORT_FLOAT16, [UINT8] = ORT_UINT8,
                                [INT64] = ORT_INT64,   [BOOL] = ORT_BOOL,       [FLOATS] = ORT_ANY_TYPE};

static const char *name(const OrtCustomOp *custom) { return operator_of(custom)->name; }
static const char *any_provider(const OrtCustomOp *custom) { return (void)custom, NULL; }
static size_t input_count(const OrtCustomOp *custom) { return slot_count(operator_of(custom)->inputs); }
static size_t output_count(const OrtCustomOp *custom) { return slot_count(operator_of(custom)->outputs); }
static int input_type(const OrtCustomOp *custom, size_t i) { return ort_types[operator_of(custom)->inputs[i].type]; }
static int output_type(const OrtCustomOp *custom, size_t i) { return ort_types[operator_of(custom)->outputs[i].type]; }
static int input_need(const OrtCustomOp *custom, size_t i) { return operator_of(custom)->inputs[i].optional; }
static int output_need(const OrtCustomOp *custom, size_t i) { return (void)custom, (void)i, ORT_REQUIRED; }
static int default_memory(const OrtCustomOp *custom, size_t i) { return (void)custom, (void)i, ORT_DEFAULT_MEMORY; }
static int version_one(const OrtCustomOp *custom) { return (void)custom, 1; }

/* The runtime does not say of which operator it asks this, so there is a function for each answer. */
static int same_numbers[] = {0, 1, 2};
static size_t aliases(size_t count, int **inputs, int **outputs) {
    *inputs = *outputs = same_numbers;
    return count;
}
static size_t no_alias(int **inputs, int **outputs) { return aliases(0, inputs, outputs); }
static size_t one_alias(int **inputs, int **outputs) { return aliases(1, inputs, outputs); }
static size_t two_aliases(int **inputs, int **outputs) { return aliases(2, inputs, outputs); }
static size_t three_aliases(int **inputs, int **outputs) { return aliases(3, inputs, outputs); }
static size_t (*const alias_maps[])(int **, int **) = {no_alias, one_alias, two_aliases, three_aliases};
static void keep(int *inputs, int *outputs) { (void)inputs, (void)outputs; }

struct Kernel {
    const OrtApi *api;
    const struct Operator *operator;
    _Alignas(16) char state[];
};

static void destroy_kernel(void *kernel_pointer) {
    struct Kernel *kernel = kernel_pointer;
    if (kernel->operator->destroy)
        kernel->operator->destroy(kernel->api, kernel->state);
    free(kernel);
}

static OrtStatus *create_kernel(const OrtCustomOp *custom, const OrtApi *api, const OrtKernelInfo *info,
                                void **kernel_pointer) {
    struct Node node = {api, operator_of(custom), info};
    struct Kernel *kernel = calloc(1, sizeof *kernel + node.operator->state_size);
    if (!kernel)
        return FAIL(&node, "no memory");
    *kernel = (struct Kernel){api, node.operator};
    OrtStatus *failure = node.operator->create ? node.operator->create(&node, kernel->state) : NULL;
    if (failure)
        destroy_kernel(kernel);
    else
        *kernel_pointer = kernel;
    return failure;
}

static enum Type type_of(int ort_type) {
    for (enum Type type = FLOAT32; type < FLOATS; type++)
        if (ort_types[type] == ort_type)
            return type;
    return NOTHING;
}

static OrtStatus *describe(const struct Call *call, const OrtTensorTypeAndShapeInfo *info, struct Tensor *tensor) {
    int type;
    size_t rank;
    TRY(call->api->GetTensorElementType(info, &type));
    TRY(call->api->GetDimensionsCount(info, &rank));
    if (rank > MAX_RANK)
        return FAIL(call, "a tensor has %zu sides, and %d is the most", rank, MAX_RANK);
    *tensor = (struct Tensor){.type = type_of(type), .rank = (int)rank, .count = 1};
    TRY(call->api->GetDimensions(info, tensor->shape, rank));
    for (size_t axis = 0; axis < rank; axis++)
        tensor->count *= (size_t)tensor->shape[axis];
    return NULL;
}

static OrtStatus *read_input(struct Call *call, size_t index, size_t present) {
    const OrtValue *value = NULL;
    struct Tensor *tensor = &call->inputs[index];
    *tensor = (struct Tensor){.rank = -1};
    if (index < present)
        TRY(call->api->KernelContext_GetInput(call->context, index, &value));
    if (!value)
        return NULL;
    OrtTensorTypeAndShapeInfo *info;
    TRY(call->api->GetTensorTypeAndShape(value, &info));
    OrtStatus *failure = describe(call, info, tensor);
    call->api->ReleaseTensorTypeAndShapeInfo(info);
    if (failure)
        return failure;
    enum Type type = call->operator->inputs[index].type;
    if (tensor->type != type && !(type == FLOATS && (tensor->type == FLOAT32 || tensor->type == FLOAT16)))
        return FAIL(call, "input %zu is of a type that it cannot be", index);
    return data_of(call, (OrtValue *)value, tensor);
}

static OrtStatus *compute(void *kernel_pointer, OrtKernelContext *context) {
    struct Kernel *kernel = kernel_pointer;
    struct Call call = {.api = kernel->api,
                        .operator= kernel->operator,
                        .context = context,
                        .state = kernel->state,
                        .pool = {kernel->api, context}};
    size_t present;
    TRY(call.api->KernelContext_GetInputCount(context, &present));
    for (size_t index = 0; index < slot_count(call.operator->inputs); index++)
        TRY(read_input(&call, index, present));
    return call.operator->compute(&call);
}

__attribute__((constructor)) static void fill_customs(void) {
    for (int i = 0; i < OPERATOR_COUNT; i++)
        for (int set = 0; set < INSTRUCTION_SETS; set++)
            customs[i][set] = (struct Custom){
                .operator= operators[i][set],
                .interface = {.version = ORT_VERSION,
                              .GetName = name,
                              .GetExecutionProviderType = any_provider,
                              .GetInputType = input_type,
                              .GetInputTypeCount = input_count,
                              .GetOutputType = output_type,
                              .GetOutputTypeCount = output_count,
                              .KernelDestroy = destroy_kernel,
                              .GetInputCharacteristic = input_need,
                              .GetOutputCharacteristic = output_need,
                              .GetInputMemoryType = default_memory,
                              .CreateKernelV2 = create_kernel,
                              .KernelComputeV2 = compute,
                              .GetStartVersion = version_one,
                              .GetEndVersion = version_one,
                              .GetAliasMap = alias_maps[operators[i][set]->in_place],
                              .ReleaseAliasMap = keep}};
}

#define EXPORTED __attribute__((visibility("default")))

/* The instruction set that a session made now would use; null: TOOLCHAIN_ISA names one that the processor has not. */
EXPORTED const char *toolchain_isa(void) {
    int set = instruction_set();
    return set < 0 ? NULL : instruction_set_names[set];
}

/* Memory that tensors and kernels no longer use goes back to the system. */
EXPORTED void toolchain_return_memory(void) { memory_return(); }

/* The domain lives on with the library: the runtime does not tell when the last session that uses it is gone. */
EXPORTED OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const OrtApi *api = base->GetApi(ORT_VERSION);
    if (!api)
        return NULL;
    int set = instruction_set();
    if (set < 0)
        return api->CreateStatus(ORT_FAIL, "TOOLCHAIN_ISA names an instruction set that this processor does not have");
    OrtCustomOpDomain *domain;
    TRY(api->CreateCustomOpDomain("toolchain", &domain));
    for (int i = 0; i < OPERATOR_COUNT; i++)
        TRY(api->CustomOpDomain_Add(domain, &customs[i][set].interface));
    TRY(api->AddCustomOpDomain(options, domain));
    return memory_serve(base, api, options);
}
