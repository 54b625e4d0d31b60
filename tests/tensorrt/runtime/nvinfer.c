/* The symbols that TensorRT's Python bindings want of its libraries: they load, and can make nothing. */
#include <stddef.h>

#define RETURNS_NOTHING(name) \
    void *name(void) {        \
        return NULL;          \
    }

RETURNS_NOTHING(createInferBuilder_INTERNAL)
RETURNS_NOTHING(createInferRefitter_INTERNAL)
RETURNS_NOTHING(createInferRuntime_INTERNAL)
RETURNS_NOTHING(createNvOnnxParser_INTERNAL)
RETURNS_NOTHING(createNvOnnxParserRefitter_INTERNAL)
RETURNS_NOTHING(getBuilderPluginRegistry)
RETURNS_NOTHING(getNvOnnxParserVersion)
RETURNS_NOTHING(getPluginRegistry)
RETURNS_NOTHING(initLibNvInferPlugins)

/* C++, of the parsers for UFF and Caffe that 8.6 has. */
RETURNS_NOTHING(_ZN11nvuffparser15createUffParserEv)
RETURNS_NOTHING(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
RETURNS_NOTHING(_ZN14nvcaffeparser117createCaffeParserEv)
RETURNS_NOTHING(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
