/* The part of ONNX Runtime's C interface that these kernels use.
 *
 * OrtApi is a table that only ever grows at its end, so a place in it stays what it is; what is not used here is a gap,
 * named for the places that it covers. OrtCustomOp is what the runtime reads of an operator: all of its version 18.
 * tests/kernels/test_abi.py compares both with the runtime's own header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ORT_VERSION 18

typedef struct OrtAllocator OrtAllocator;
typedef struct OrtApi OrtApi;
typedef struct OrtApiBase OrtApiBase;
typedef struct OrtCustomOp OrtCustomOp;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtEnv OrtEnv;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtOp OrtOp;
typedef struct OrtOpAttr OrtOpAttr;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtShapeInferContext OrtShapeInferContext;
typedef struct OrtStatus OrtStatus;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtValue OrtValue;

enum { ORT_FAIL = 1 };                                              /* OrtErrorCode */
enum { ORT_WARNING = 2 };                                           /* OrtLoggingLevel */
enum { ORT_ANY_TYPE = 0, ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT64 = 7, ORT_BOOL = 9, ORT_FLOAT16 = 10 };
enum { ORT_REQUIRED = 0, ORT_OPTIONAL = 1 };                        /* OrtCustomOpInputOutputCharacteristic */
enum { ORT_DEVICE_ALLOCATOR = 0 };                                  /* OrtAllocatorType */
enum { ORT_DEFAULT_MEMORY = 0 };                                    /* OrtMemType */
enum { ORT_ATTRIBUTE_INT = 1, ORT_ATTRIBUTE_INTS = 2, ORT_ATTRIBUTE_FLOAT = 3 }; /* OrtOpAttrType */

#define ORT_GAP(first, last) void *gap_##first##_##last[(last) - (first) + 1]

struct OrtApi {
    OrtStatus *(*CreateStatus)(int code, const char *message);                                                /* 0 */
    ORT_GAP(1, 1);
    const char *(*GetErrorMessage)(const OrtStatus *);                                                        /* 2 */
    OrtStatus *(*CreateEnv)(int severity, const char *name, OrtEnv **);                                       /* 3 */
    ORT_GAP(4, 25);
    OrtStatus *(*CreateCustomOpDomain)(const char *name, OrtCustomOpDomain **);                               /* 26 */
    OrtStatus *(*CustomOpDomain_Add)(OrtCustomOpDomain *, const OrtCustomOp *);                               /* 27 */
    OrtStatus *(*AddCustomOpDomain)(OrtSessionOptions *, OrtCustomOpDomain *);                                /* 28 */
    ORT_GAP(29, 48);
    OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *data, size_t bytes,
                                                 const int64_t *shape, size_t rank, int type, OrtValue **);   /* 49 */
    ORT_GAP(50, 50);
    OrtStatus *(*GetTensorMutableData)(OrtValue *, void **data);                                              /* 51 */
    ORT_GAP(52, 59);
    OrtStatus *(*GetTensorElementType)(const OrtTensorTypeAndShapeInfo *, int *type);                         /* 60 */
    OrtStatus *(*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo *, size_t *rank);                        /* 61 */
    OrtStatus *(*GetDimensions)(const OrtTensorTypeAndShapeInfo *, int64_t *shape, size_t rank);              /* 62 */
    ORT_GAP(63, 64);
    OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *, OrtTensorTypeAndShapeInfo **);                      /* 65 */
    ORT_GAP(66, 68);
    OrtStatus *(*CreateCpuMemoryInfo)(int allocator, int memory, OrtMemoryInfo **);                           /* 69 */
    ORT_GAP(70, 84);
    OrtStatus *(*KernelInfoGetAttribute_float)(const OrtKernelInfo *, const char *name, float *);             /* 85 */
    OrtStatus *(*KernelInfoGetAttribute_int64)(const OrtKernelInfo *, const char *name, int64_t *);           /* 86 */
    ORT_GAP(87, 87);
    OrtStatus *(*KernelContext_GetInputCount)(const OrtKernelContext *, size_t *);                            /* 88 */
    ORT_GAP(89, 89);
    OrtStatus *(*KernelContext_GetInput)(const OrtKernelContext *, size_t index, const OrtValue **);          /* 90 */
    OrtStatus *(*KernelContext_GetOutput)(OrtKernelContext *, size_t index, const int64_t *shape, size_t rank,
                                          OrtValue **);                                                       /* 91 */
    ORT_GAP(92, 92);
    void (*ReleaseStatus)(OrtStatus *);                                                                       /* 93 */
    void (*ReleaseMemoryInfo)(OrtMemoryInfo *);                                                               /* 94 */
    ORT_GAP(95, 95);
    void (*ReleaseValue)(OrtValue *);                                                                         /* 96 */
    ORT_GAP(97, 98);
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo *);                                       /* 99 */
    ORT_GAP(100, 100);
    void (*ReleaseCustomOpDomain)(OrtCustomOpDomain *);                                                       /* 101 */
    ORT_GAP(102, 129);
    OrtStatus *(*AddSessionConfigEntry)(OrtSessionOptions *, const char *key, const char *value);             /* 130 */
    ORT_GAP(131, 162);
    OrtStatus *(*KernelInfoGetAttributeArray_int64)(const OrtKernelInfo *, const char *name, int64_t *,
                                                    size_t *count);                                           /* 163 */
    ORT_GAP(164, 175);
    OrtStatus *(*RegisterAllocator)(OrtEnv *, OrtAllocator *);                                                /* 176 */
    OrtStatus *(*UnregisterAllocator)(OrtEnv *, const OrtMemoryInfo *);                                       /* 177 */
    ORT_GAP(178, 210);
    OrtStatus *(*CreateOpAttr)(const char *name, const void *data, int count, int type, OrtOpAttr **);        /* 211 */
    void (*ReleaseOpAttr)(OrtOpAttr *);                                                                       /* 212 */
    OrtStatus *(*CreateOp)(const OrtKernelInfo *, const char *op_type, const char *domain, int version,
                           const char **constraint_names, const int *constraint_types, int constraints,
                           const OrtOpAttr *const *attributes, int attribute_count, int input_count,
                           int output_count, OrtOp **);                                                       /* 213 */
    OrtStatus *(*InvokeOp)(const OrtKernelContext *, const OrtOp *, const OrtValue *const *inputs, int input_count,
                           OrtValue *const *outputs, int output_count);                                       /* 214 */
    void (*ReleaseOp)(OrtOp *);                                                                               /* 215 */
    ORT_GAP(216, 273);
    OrtStatus *(*KernelContext_ParallelFor)(const OrtKernelContext *, void (*work)(void *, size_t), size_t count,
                                            size_t batches, void *context);                                   /* 274 */
};

struct OrtApiBase {
    const OrtApi *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
};

struct OrtAllocator {
    uint32_t version;
    void *(*Alloc)(OrtAllocator *, size_t bytes);
    void (*Free)(OrtAllocator *, void *);
    const OrtMemoryInfo *(*Info)(const OrtAllocator *);
    void *(*Reserve)(OrtAllocator *, size_t bytes);
};

struct OrtCustomOp {
    uint32_t version;
    void *(*CreateKernel)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *);
    const char *(*GetName)(const OrtCustomOp *);
    const char *(*GetExecutionProviderType)(const OrtCustomOp *);
    int (*GetInputType)(const OrtCustomOp *, size_t index);
    size_t (*GetInputTypeCount)(const OrtCustomOp *);
    int (*GetOutputType)(const OrtCustomOp *, size_t index);
    size_t (*GetOutputTypeCount)(const OrtCustomOp *);
    void (*KernelCompute)(void *kernel, OrtKernelContext *);
    void (*KernelDestroy)(void *kernel);
    int (*GetInputCharacteristic)(const OrtCustomOp *, size_t index);
    int (*GetOutputCharacteristic)(const OrtCustomOp *, size_t index);
    int (*GetInputMemoryType)(const OrtCustomOp *, size_t index);
    int (*GetVariadicInputMinArity)(const OrtCustomOp *);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp *);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp *);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp *);
    OrtStatus *(*CreateKernelV2)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *, void **kernel);
    OrtStatus *(*KernelComputeV2)(void *kernel, OrtKernelContext *);
    OrtStatus *(*InferOutputShapeFn)(const OrtCustomOp *, OrtShapeInferContext *);
    int (*GetStartVersion)(const OrtCustomOp *);
    int (*GetEndVersion)(const OrtCustomOp *);
    size_t (*GetMayInplace)(int **inputs, int **outputs);
    void (*ReleaseMayInplace)(int *inputs, int *outputs);
    size_t (*GetAliasMap)(int **inputs, int **outputs);
    void (*ReleaseAliasMap)(int *inputs, int *outputs);
};
