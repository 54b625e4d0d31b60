/* replay CASE...: has the kernels do what was recorded, each case in each manner, and compares. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "case.h"

static const struct Manner manners[] = {
    {.name = "by one thread", .threads = 1},
    {.name = "in place and backwards", .threads = 1, .in_place = true, .backwards = true},
    {.name = "by three threads", .threads = 3},
};
static const struct Tolerance exact = {0, 0};
enum { MANNERS = sizeof manners / sizeof *manners };

static const OrtCustomOp *find_operator(const OrtCustomOpDomain *domain, const char *name) {
    for (size_t i = 0; i < domain->count; i++)
        if (!strcmp(domain->operators[i]->GetName(domain->operators[i]), name))
            return domain->operators[i];
    give_up("the library has no operator %s", name);
}

static OrtStatus *create_and_compute(const struct Case *wanted, OrtKernelContext *context) {
    void *kernel;
    OrtStatus *failure = context->operator->CreateKernelV2(context->operator, &runtime_api, &wanted->node, &kernel);
    if (failure)
        return failure;
    failure = context->operator->KernelComputeV2(kernel, context);
    context->operator->KernelDestroy(kernel);
    return failure;
}

static void open_context(const struct Case *wanted, const struct Manner *manner, const OrtCustomOp *operator,
                         OrtKernelContext *context) {
    *context = (OrtKernelContext){.operator= operator, .manner = manner, .input_count = wanted->input_count};
    context->output_count = operator->GetOutputTypeCount(operator);
    for (size_t i = 0; i < wanted->input_count; i++)
        copy_tensor(&wanted->inputs[i], &context->inputs[i]);
    for (size_t i = 0; i < context->output_count; i++) {
        int type = operator->GetOutputType(operator, i);
        int recorded = wanted->output_count ? wanted->outputs[i].type : ORT_FLOAT;
        context->output_types[i] = type == ORT_ANY_TYPE ? recorded : type;
    }
}

static void close_context(OrtKernelContext *context) {
    for (size_t i = 0; i < context->input_count; i++)
        free_tensor(&context->inputs[i]);
    for (size_t i = 0; i < context->output_count; i++)
        free_tensor(&context->outputs[i]);
}

/* That an output took its memory is the one reason for which an input may change. */
static bool is_overwritten(const OrtKernelContext *context, size_t input) {
    for (size_t i = 0; i < context->output_count; i++)
        if (context->outputs[i].data && context->outputs[i].data == context->inputs[input].data)
            return true;
    return false;
}

static bool are_tensors_right(const struct Case *wanted, const OrtKernelContext *context, char *reason, size_t room) {
    char difference[256];
    for (size_t i = 0; i < wanted->input_count; i++)
        if (wanted->inputs[i].type != MISSING && !is_overwritten(context, i) &&
            !is_same(&context->inputs[i], &wanted->inputs[i], exact, difference, sizeof difference))
            return snprintf(reason, room, "input %zu was changed: %s", i, difference), false;
    for (size_t i = 0; i < wanted->output_count; i++)
        if (!is_same(&context->outputs[i], &wanted->outputs[i], wanted->tolerance, difference, sizeof difference))
            return snprintf(reason, room, "output %zu: %s", i, difference), false;
    return true;
}

/* The runtime told more than the operator's own words. */
static bool is_right_failure(const struct Case *wanted, const OrtStatus *failure, char *reason, size_t room) {
    if (failure && *wanted->failure && strstr(wanted->failure, failure->message))
        return true;
    snprintf(reason, room, "it says '%s', not '%s'", failure ? failure->message : "", wanted->failure);
    return false;
}

/* Once in one manner. The outputs of the first are what those of the others shall be to the bit. */
static bool run(struct Case *wanted, const struct Manner *manner, const OrtCustomOp *operator, char *reason,
                size_t room) {
    OrtKernelContext context;
    open_context(wanted, manner, operator, &context);
    OrtStatus *failure = create_and_compute(wanted, &context);
    bool right = failure || *wanted->failure ? is_right_failure(wanted, failure, reason, room)
                                             : are_tensors_right(wanted, &context, reason, room);
    if (right && !failure && manner == manners) {
        wanted->tolerance = exact;
        for (size_t i = 0; i < wanted->output_count; i++) {
            free_tensor(&wanted->outputs[i]);
            copy_tensor(&context.outputs[i], &wanted->outputs[i]);
        }
    }
    free(failure);
    close_context(&context);
    return right;
}

static bool replay(const char *path, const OrtCustomOpDomain *domain) {
    struct Case wanted;
    char reason[6000];
    bool right = true;
    read_case(path, &wanted);
    const OrtCustomOp *operator = find_operator(domain, wanted.operator);
    for (int i = 0; right && i < MANNERS; i++) {
        right = run(&wanted, &manners[i], operator, reason, sizeof reason);
        if (!right)
            printf("%s, %s: %s\n", path, manners[i].name, reason);
    }
    free_case(&wanted);
    return right;
}

int main(int count, char **paths) {
    OrtSessionOptions options = {NULL};
    OrtStatus *failure = RegisterCustomOps(&options, &runtime);
    if (failure)
        give_up("%s", failure->message);
    int passed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < count; i++)
        passed += replay(paths[i], options.domain);
    printf("%d passed, %d failed\n", passed, count - 1 - passed);
    free(options.domain);
    return passed == count - 1 ? 0 : 1;
}
