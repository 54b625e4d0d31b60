/* A stand-in for libcudart, for tests: the memory of its device is the host's, and a stream does nothing until it is
 * synchronized, so that whoever forgets to finds stale numbers. Mapped memory has two addresses, as the interface allows.
 *
 * CUDART_INTEGRATED=1: the device shares the host's memory, as a Jetson's does. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400 };
enum { MAPPED = 2, DEFAULT_DIRECTION = 4, MOST_WORK = 64, MOST_BLOCKS = 4096 };
enum { PROCESSORS = 16, INTEGRATED = 18, CAN_MAP = 19, MAJOR = 75, MINOR = 76 };

typedef void (*Function)(void *);

typedef struct {
    Function function;
    void *argument, *target;
    const void *source;
    size_t bytes;
} Work;

typedef struct {
    int magic, count;
    Work work[MOST_WORK];
} Stream;

typedef struct {
    void *host, *device;
    size_t bytes;
} Block;

static const int STREAM = 0x57AE;
static Block blocks[MOST_BLOCKS];
static char failing[64];
static int fails_after, fails_with;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* The named function fails once, with this error, after so many calls that do not. */
void standin_fail(const char *name, int after, int error) {
    snprintf(failing, sizeof failing, "%s", name);
    fails_after = after;
    fails_with = error;
}

static int fault(const char *name) {
    if (strcmp(name, failing) != 0 || fails_after-- > 0) return SUCCESS;
    failing[0] = 0;
    return fails_with;
}

static void unlock(int *locked) {
    (void)locked;
    pthread_mutex_unlock(&mutex);
}

/* For the rest of the block. */
#define LOCKED() __attribute__((cleanup(unlock), unused)) int locked = pthread_mutex_lock(&mutex)

#define MAY_FAIL()                                   \
    do {                                             \
        int injected = fault(__func__);              \
        if (injected != SUCCESS) return injected;    \
    } while (0)

static int is_integrated(void) {
    const char *chosen = getenv("CUDART_INTEGRATED");
    return chosen != NULL && *chosen == '1';
}

/* The block that holds this address; NULL: an empty place. */
static Block *find(const void *address) {
    for (int i = 0; i < MOST_BLOCKS; i++) {
        const char *host = blocks[i].host, *device = blocks[i].device, *wanted = address;
        if (address == NULL ? device == NULL : device == wanted || (host != NULL && host == wanted)) return &blocks[i];
    }
    return NULL;
}

/* Blocks that nobody has freed. */
int standin_blocks(void) {
    LOCKED();
    int count = 0;
    for (int i = 0; i < MOST_BLOCKS; i++) count += blocks[i].device != NULL;
    return count;
}

const char *cudaGetErrorString(int error) {
    switch (error) {
    case SUCCESS: return "no error";
    case INVALID_VALUE: return "invalid argument";
    case OUT_OF_MEMORY: return "out of memory";
    case INVALID_HANDLE: return "invalid resource handle";
    default: return "unspecified launch failure";
    }
}

int cudaRuntimeGetVersion(int *version) {
    *version = 11040;
    return SUCCESS;
}

int cudaSetDevice(int device) {
    MAY_FAIL();
    return device == 0 ? SUCCESS : INVALID_VALUE;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    if (device != 0) return INVALID_VALUE;
    switch (attribute) {
    case PROCESSORS: *value = 6; return SUCCESS;
    case INTEGRATED: *value = is_integrated(); return SUCCESS;
    case CAN_MAP: *value = 1; return SUCCESS;
    case MAJOR: *value = 7; return SUCCESS;
    case MINOR: *value = 2; return SUCCESS;
    default: return INVALID_VALUE;
    }
}

int cudaGetDeviceProperties(char *properties, int device) {
    if (device != 0) return INVALID_VALUE;
    memset(properties, 0, 1000);
    strcpy(properties, "Stand-in");
    return SUCCESS;
}

int cudaMalloc(void **address, size_t bytes) {
    LOCKED();
    MAY_FAIL();
    Block *block = find(NULL);
    if (block == NULL || bytes == 0) return INVALID_VALUE;
    *block = (Block){NULL, calloc(1, bytes), bytes};
    *address = block->device;
    return block->device != NULL ? SUCCESS : OUT_OF_MEMORY;
}

int cudaFree(void *address) {
    LOCKED();
    Block *block = address != NULL ? find(address) : NULL;
    if (block == NULL || block->host != NULL) return INVALID_VALUE;
    free(block->device);
    *block = (Block){0};
    return SUCCESS;
}

int cudaHostAlloc(void **address, size_t bytes, unsigned flags) {
    LOCKED();
    MAY_FAIL();
    Block *block = find(NULL);
    int file = memfd_create("mapped", 0);
    if (block == NULL || flags != MAPPED || file < 0 || ftruncate(file, (off_t)bytes) != 0) return INVALID_VALUE;
    void *host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *device = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (host == MAP_FAILED || device == MAP_FAILED) return OUT_OF_MEMORY;
    *block = (Block){host, device, bytes};
    *address = host;
    return SUCCESS;
}

int cudaHostGetDevicePointer(void **device, void *host, unsigned flags) {
    LOCKED();
    Block *block = host != NULL ? find(host) : NULL;
    if (block == NULL || block->host != host || flags != 0) return INVALID_VALUE;
    *device = block->device;
    return SUCCESS;
}

int cudaFreeHost(void *host) {
    LOCKED();
    Block *block = host != NULL ? find(host) : NULL;
    if (block == NULL || block->host != host) return INVALID_VALUE;
    munmap(block->host, block->bytes);
    munmap(block->device, block->bytes);
    *block = (Block){0};
    return SUCCESS;
}

int cudaStreamCreate(Stream **stream) {
    MAY_FAIL();
    *stream = calloc(1, sizeof **stream);
    (*stream)->magic = STREAM;
    return SUCCESS;
}

int cudaStreamDestroy(Stream *stream) {
    if (stream == NULL || stream->magic != STREAM) return INVALID_HANDLE;
    stream->magic = 0;
    free(stream);
    return SUCCESS;
}

static int enqueue(Stream *stream, Work work) {
    if (stream == NULL || stream->magic != STREAM) return INVALID_HANDLE;
    if (stream->count == MOST_WORK) return INVALID_VALUE;
    stream->work[stream->count++] = work;
    return SUCCESS;
}

/* What an engine does on a stream. */
int standin_enqueue(Stream *stream, Function function, void *argument) {
    return enqueue(stream, (Work){function, argument, NULL, NULL, 0});
}

int cudaMemcpyAsync(void *target, const void *source, size_t bytes, int direction, Stream *stream) {
    LOCKED();
    MAY_FAIL();
    Block *from = find(source), *to = find(target);
    if (direction != DEFAULT_DIRECTION || from == NULL || to == NULL) return INVALID_VALUE;
    if (bytes > from->bytes || bytes > to->bytes) return INVALID_VALUE;
    return enqueue(stream, (Work){NULL, NULL, target, source, bytes});
}

int cudaStreamSynchronize(Stream *stream) {
    if (stream == NULL || stream->magic != STREAM) return INVALID_HANDLE;
    for (int i = 0; i < stream->count; i++) {
        Work *work = &stream->work[i];
        if (work->function != NULL) work->function(work->argument);
        else memcpy(work->target, work->source, work->bytes);
    }
    stream->count = 0;
    return fault(__func__);
}
