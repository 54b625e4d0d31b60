/* KernelContext_ParallelFor: the items one by one, from the last or from the first, or by threads as they come. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime.h"

enum { MOST_THREADS = 16 };

struct Work {
    void (*work)(void *, size_t);
    void *context;
    size_t count;
    atomic_size_t next;
};

/* Relaxed, so that it is no order between the items, which would hide it where one needs another. */
static void *take_items(void *work_pointer) {
    struct Work *work = work_pointer;
    size_t i;
    while ((i = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed)) < work->count)
        work->work(work->context, i);
    return NULL;
}

static void share(struct Work *work, size_t threads) {
    pthread_t made[MOST_THREADS];
    for (size_t i = 1; i < threads; i++)
        if (pthread_create(&made[i], NULL, take_items, work))
            give_up("no thread to be had");
    take_items(work);
    for (size_t i = 1; i < threads; i++)
        pthread_join(made[i], NULL);
}

OrtStatus *parallel_for(const OrtKernelContext *context, void (*work)(void *, size_t), size_t count, size_t batches,
                        void *user) {
    (void)batches;
    const struct Manner *manner = context->manner;
    if (manner->threads > 1)
        share(&(struct Work){.work = work, .context = user, .count = count}, manner->threads);
    else
        for (size_t i = 0; i < count; i++)
            work(user, manner->backwards ? count - 1 - i : i);
    return NULL;
}
