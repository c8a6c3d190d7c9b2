/* A disk and a clock that fail on demand, under a program that does not know of it. Preloaded, it looks
 * into a page that it shares with the campaign before each call, and delays, fails or shifts the call as
 * the page says. A page of zeros changes nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* In the order and the byte order in which the campaign writes it. */
struct page {
    _Atomic int64_t sync_delay_us; /* each sync takes so much longer */
    _Atomic int64_t sync_errno;    /* each sync fails with it */
    _Atomic int64_t write_errno;   /* each write at a place of a file fails with it */
    _Atomic int64_t skew_ms;       /* the wall clock is ahead by so much */
};

static struct page nothing;
static struct page *page = &nothing;

__attribute__((constructor)) static void map_page(void)
{
    const char *path = getenv("ENTENTE_FAULT_PAGE");
    if (!path)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct page), PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        page = mapped;
    close(fd);
}

/* The function that this one stands before. A race looks it up twice, and finds the same. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int fails(_Atomic int64_t *which)
{
    int64_t error = atomic_load_explicit(which, memory_order_relaxed);
    if (error)
        errno = (int)error;
    return error != 0;
}

static int sync_fails(void)
{
    int64_t micros = atomic_load_explicit(&page->sync_delay_us, memory_order_relaxed);
    if (micros > 0) {
        struct timespec left = {micros / 1000000, (micros % 1000000) * 1000};
        while (nanosleep(&left, &left) && errno == EINTR)
            ;
    }
    return fails(&page->sync_errno);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return sync_fails() ? -1 : real(fd);
}

int fsync(int fd)
{
    REAL(fsync);
    return sync_fails() ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    REAL(pwrite64);
    return fails(&page->write_errno) ? -1 : real(fd, bytes, count, at);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime);
    int result = real(clock, now);
    int64_t skew = atomic_load_explicit(&page->skew_ms, memory_order_relaxed);
    if (result == 0 && skew && clock == CLOCK_REALTIME) {
        now->tv_sec += skew / 1000;
        now->tv_nsec += (skew % 1000) * 1000000;
        if (now->tv_nsec >= 1000000000) {
            now->tv_nsec -= 1000000000;
            now->tv_sec += 1;
        } else if (now->tv_nsec < 0) {
            now->tv_nsec += 1000000000;
            now->tv_sec -= 1;
        }
    }
    return result;
}
