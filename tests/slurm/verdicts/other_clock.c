/* Preloaded into all programs of a job, lets those on one node see a wall clock that is ahead. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    static long seconds = -1;
    if (seconds < 0) {
        const char *node = getenv("OTHER_CLOCK_NODE"), *by = getenv("OTHER_CLOCK_S");
        char name[65] = "";
        gethostname(name, 64);
        seconds = node && by && strcmp(node, name) == 0 ? atol(by) : 0;
    }
    return seconds;
}

int clock_gettime(clockid_t which, struct timespec *to) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, to);
    if (code == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) to->tv_sec += ahead();
    return code;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int code = real(to, zone);
    if (code == 0) to->tv_sec += ahead();
    return code;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
