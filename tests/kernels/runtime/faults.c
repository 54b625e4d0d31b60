/* faults FAULT: makes the mistake named. A sanitizer that does not notice it is none. */

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static volatile int shared;

static void *count(void *unused) {
    shared++;
    return unused;
}

static void race(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, count, NULL);
    shared++;
    pthread_join(thread, NULL);
}

static int overrun(void) {
    volatile char *memory = malloc(3);
    int past_the_end = memory[3];
    free((void *)memory);
    return past_the_end;
}

static void leak(void) {
    char *volatile memory = malloc(3);
    *memory = 0;
    memory = NULL;
}

static int overflow(void) {
    volatile int32_t large = INT32_MAX;
    return large + 1;
}

int main(int arguments, char **names) {
    const char *fault = arguments == 2 ? names[1] : "";
    if (!strcmp(fault, "race"))
        race();
    else if (!strcmp(fault, "leak"))
        leak();
    else
        return (strcmp(fault, "overrun") ? overflow() : overrun()) == 42;
    return 0;
}
