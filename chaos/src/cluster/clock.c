/* Preloaded into a replica whose wall clock is to be wrong. The file that CHAOS_CLOCK names says how:
 * "OFFSET SPEED", seconds that are added and how fast it runs; it is read again once a second.
 *
 * libfaketime would do more, and cannot be used here: it allocates before it is ready, and jemalloc asks for the time
 * before it is. This allocates nothing and asks nobody but the kernel. The other clocks stay right. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int busy;
static long long offset, speed = 1;
/* On the monotonic clock: since when it is wrong like that, and when the file was read. */
static long long since, looked = -SECOND;

static int ask(clockid_t clock, struct timespec *at) {
    return (int)syscall(SYS_clock_gettime, clock, at);
}

static long long number(const char **text) {
    long long value = 0, sign = 1;
    while (**text == ' ') ++*text;
    if (**text == '-') sign = -1;
    if (**text == '-' || **text == '+') ++*text;
    while (**text >= '0' && **text <= '9') value = value * 10 + (*(*text)++ - '0');
    return sign * value;
}

static void look(long long now) {
    const char *path = getenv("CHAOS_CLOCK");
    char words[64];
    long file = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    looked = now;
    if (file < 0) return;
    long length = syscall(SYS_read, file, words, sizeof words - 1);
    syscall(SYS_close, file);
    if (length <= 0) return;
    words[length] = 0;
    const char *rest = words;
    long long new_offset = number(&rest), new_speed = number(&rest);
    if (new_offset != offset || new_speed != speed) since = now;
    offset = new_offset;
    speed = new_speed;
}

/* Nanoseconds that the wall clock is wrong by. */
static long long wrong_by(void) {
    struct timespec now;
    if (ask(CLOCK_MONOTONIC, &now)) return 0;
    long long at = now.tv_sec * SECOND + now.tv_nsec;
    while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE)) {}
    if (at - looked >= SECOND) look(at);
    long long wrong = offset * SECOND + (at > since ? (speed - 1) * (at - since) : 0);
    __atomic_clear(&busy, __ATOMIC_RELEASE);
    return wrong;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = ask(clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long time = at->tv_sec * SECOND + at->tv_nsec + wrong_by();
        at->tv_sec = time / SECOND;
        at->tv_nsec = time % SECOND;
    }
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    if (result == 0) {
        at->tv_sec = now.tv_sec;
        at->tv_usec = now.tv_nsec / 1000;
    }
    return result;
}

time_t time(time_t *at) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
