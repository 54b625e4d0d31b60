#define _GNU_SOURCE /* mremap */

#include "kernel.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Stands before all memory that is given out: at the start of pages, or of memory of malloc, which has no pages. */
struct Block {
    size_t pages;
    struct Block *next; /* while it is free */
};

enum { HEADER = 64, SMALL = 2048 };

static size_t most_of_malloc = SIZE_MAX; /* bytes */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Block *held; /* free blocks, the last freed first */
static size_t used_pages, held_pages, most_pages; /* used and held together are never above most */

static size_t page_size(void) {
    static size_t size;
    return size ? size : (size = (size_t)sysconf(_SC_PAGESIZE));
}

static void hold(struct Block *block, size_t pages) {
    *block = (struct Block){.pages = pages, .next = held};
    held = block;
    held_pages += pages;
}

static struct Block *release(struct Block **place) {
    struct Block *block = *place;
    *place = block->next;
    held_pages -= block->pages;
    return block;
}

/* The smallest held block that is large enough, else the largest; null: none is held. */
static struct Block **find(size_t pages) {
    struct Block **best = NULL;
    for (struct Block **place = &held; *place; place = &(*place)->next) {
        size_t size = (*place)->pages, known = best ? (*best)->pages : 0;
        if (!best || (size >= pages ? known < pages || size < known : known < pages && size > known))
            best = place;
        if (size == pages)
            break;
    }
    return best;
}

static void give_back(struct Block *block, size_t pages) {
    char *end = (char *)block + block->pages * page_size();
    munmap(end - pages * page_size(), pages * page_size());
}

/* Of what is held, so that so many pages more may be in use. */
static void make_room(size_t pages) {
    while (held && used_pages + held_pages + pages > most_pages) {
        size_t excess = used_pages + held_pages + pages - most_pages;
        struct Block *block = release(&held);
        size_t given = least(excess, block->pages), rest = block->pages - given;
        give_back(block, given);
        if (rest)
            hold(block, rest);
    }
}

static struct Block *map(size_t pages) {
    void *made = mmap(NULL, pages * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

static struct Block *grow(struct Block *block, size_t pages) {
    void *moved = mremap(block, block->pages * page_size(), pages * page_size(), MREMAP_MAYMOVE);
    if (moved != MAP_FAILED)
        return moved;
    hold(block, block->pages);
    return NULL;
}

static struct Block *take_held(struct Block **place, size_t pages) {
    struct Block *block = release(place);
    if (block->pages < pages) {
        make_room(pages);
        return grow(block, pages);
    }
    if (block->pages > pages)
        hold((struct Block *)((char *)block + pages * page_size()), block->pages - pages);
    return block;
}

static struct Block *take_pages(size_t pages) {
    if (used_pages + pages > most_pages)
        most_pages = used_pages + pages;
    struct Block **place = find(pages), *block = place ? take_held(place, pages) : map(pages);
    if (!block)
        return NULL;
    used_pages += pages;
    block->pages = pages;
    return block;
}

static struct Block *take_large(size_t bytes) {
    pthread_mutex_lock(&lock);
    struct Block *block = take_pages(ceil_divide(bytes, page_size()));
    pthread_mutex_unlock(&lock);
    return block;
}

static struct Block *take_small(size_t bytes) {
    struct Block *block = aligned_alloc(HEADER, ceil_divide(bytes, HEADER) * HEADER);
    if (block)
        block->pages = 0;
    return block;
}

void *memory_take(size_t bytes) {
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes += HEADER;
    struct Block *block = bytes <= most_of_malloc ? take_small(bytes) : take_large(bytes);
    return block ? (char *)block + HEADER : NULL;
}

void memory_free(void *memory) {
    if (!memory)
        return;
    struct Block *block = (struct Block *)((char *)memory - HEADER);
    if (!block->pages) {
        free(block);
        return;
    }
    pthread_mutex_lock(&lock);
    used_pages -= block->pages;
    hold(block, block->pages);
    pthread_mutex_unlock(&lock);
}

void memory_return(void) {
    pthread_mutex_lock(&lock);
    while (held) {
        struct Block *block = release(&held);
        give_back(block, block->pages);
    }
    most_pages = used_pages;
    pthread_mutex_unlock(&lock);
}

void memory_recycle(void) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* malloc tells them of every misuse */
    most_of_malloc = SMALL;
#endif
}

/* The runtime's view of it. */

static OrtMemoryInfo *place;

static void *take_for(OrtAllocator *allocator, size_t bytes) { return (void)allocator, memory_take(bytes); }
static void free_for(OrtAllocator *allocator, void *memory) { (void)allocator, memory_free(memory); }
static const OrtMemoryInfo *place_of(const OrtAllocator *allocator) { return (void)allocator, place; }

static OrtAllocator allocator = {
    .version = ORT_VERSION, .Alloc = take_for, .Free = free_for, .Info = place_of, .Reserve = take_for};

/* In place of that of another copy of this library, whose sessions keep theirs. */
static OrtStatus *register_allocator(const OrtApi *api) {
    static OrtEnv *environment;
    if (!environment)
        TRY(api->CreateEnv(ORT_WARNING, "toolchain", &environment)); /* the one that the process has */
    if (!place)
        TRY(api->CreateCpuMemoryInfo(ORT_DEVICE_ALLOCATOR, ORT_DEFAULT_MEMORY, &place));
    OrtStatus *none = api->UnregisterAllocator(environment, place);
    if (none)
        api->ReleaseStatus(none);
    return api->RegisterAllocator(environment, &allocator);
}

/* Before version 1.23 Python's sessions had an environment of their own, which nothing leads to. */
static bool has_one_environment(const OrtApiBase *base) {
    int major = 0, minor = 0;
    sscanf(base->GetVersionString(), "%d.%d", &major, &minor);
    return major > 1 || (major == 1 && minor >= 23);
}

/* A runtime that takes no allocator keeps its own. */
OrtStatus *memory_serve(const OrtApiBase *base, const OrtApi *api, OrtSessionOptions *options) {
    static pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER;
    if (!has_one_environment(base))
        return NULL;
    pthread_mutex_lock(&registering);
    OrtStatus *failure = register_allocator(api);
    pthread_mutex_unlock(&registering);
    if (failure) {
        api->ReleaseStatus(failure);
        return NULL;
    }
    memory_recycle();
    return api->AddSessionConfigEntry(options, "session.use_env_allocators", "1");
}
