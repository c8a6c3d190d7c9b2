/*
 * A disk that fails on command, under a program that is started with LD_PRELOAD.
 *
 * It looks at regular files in the folder SHIM_FOLDER and at nothing else. Faults are files in the
 * folder SHIM_CONTROL:
 *
 *   full       while it is there, writes fail with ENOSPC
 *   slow       while it is there, each sync waits for a quarter of a second before it begins
 *   fail-sync  taken away by the next sync, which fails with EIO
 *   tear       taken away by the next write, which stores half and then fails with EIO
 *
 * What it tells, as files beside them:
 *
 *   synced     "<inode> <bytes>": of the file synced last, up to where it was written when that sync
 *              began. A file that is only being filled with zeros, *.tmp, does not count as written.
 *   retried    there if a file was synced again after a sync of it had failed
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Up to where files were written; the least recent of a few is forgotten. */
static struct {
    ino_t inode;
    off_t end;
} written[8];
static unsigned newest;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

static off_t end_of(const struct stat *is) {
    off_t end = is->st_size;
    pthread_mutex_lock(&writing);
    for (unsigned at = 0; at < 8; at++)
        if (written[at].inode == is->st_ino)
            end = written[at].end;
    pthread_mutex_unlock(&writing);
    return end;
}

static void wrote(const struct stat *is, off_t end) {
    pthread_mutex_lock(&writing);
    unsigned at = 0;
    while (at < 8 && written[at].inode != is->st_ino)
        at++;
    if (at == 8) {
        at = newest++ % 8;
        written[at].inode = is->st_ino;
        written[at].end = 0;
    }
    if (written[at].end < end)
        written[at].end = end;
    pthread_mutex_unlock(&writing);
}

static int is_watched(int fd, struct stat *is, int *is_draft) {
    const char *folder = getenv("SHIM_FOLDER");
    char link[64], path[PATH_MAX];
    if (!folder || fstat(fd, is) != 0 || !S_ISREG(is->st_mode))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    *is_draft = length > 4 && strcmp(path + length - 4, ".tmp") == 0;
    size_t prefix = strlen(folder);
    return strncmp(path, folder, prefix) == 0 && path[prefix] == '/';
}

static const char *control(const char *name, char *path) {
    const char *folder = getenv("SHIM_CONTROL");
    snprintf(path, PATH_MAX, "%s/%s", folder ? folder : "/nonexistent", name);
    return path;
}

static int is_on(const char *name) {
    char path[PATH_MAX];
    return access(control(name, path), F_OK) == 0;
}

static int take(const char *name) {
    char path[PATH_MAX];
    return unlink(control(name, path)) == 0;
}

static void tell(const char *name, const char *text) {
    char path[PATH_MAX], draft[PATH_MAX];
    int fd = open(control("draft", draft), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0)
        return;
    /* Renamed, so that a reader finds all of it, also if this process is killed here. */
    if (write(fd, text, strlen(text)) >= 0)
        rename(draft, control(name, path));
    close(fd);
}

static int synced(int fd, const char *call) {
    static ino_t failed;
    struct stat is;
    int is_draft;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
    if (!is_watched(fd, &is, &is_draft))
        return real(fd);
    off_t end = end_of(&is);
    if (failed == is.st_ino)
        tell("retried", "");
    if (is_on("slow"))
        usleep(250 * 1000);
    if (take("fail-sync")) {
        failed = is.st_ino;
        errno = EIO;
        return -1;
    }
    int outcome = real(fd);
    if (outcome == 0 && !is_draft) {
        char text[64];
        snprintf(text, sizeof text, "%llu %lld", (unsigned long long)is.st_ino,
                 (long long)end);
        tell("synced", text);
    }
    return outcome;
}

int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int fsync(int fd) { return synced(fd, "fsync"); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    struct stat is;
    int is_draft;
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (is_watched(fd, &is, &is_draft)) {
        if (is_on("full")) {
            errno = ENOSPC;
            return -1;
        }
        if (!is_draft && take("tear")) {
            real(fd, bytes, count / 2, at);
            errno = EIO;
            return -1;
        }
        ssize_t done = real(fd, bytes, count, at);
        if (done > 0 && !is_draft)
            wrote(&is, at + done);
        return done;
    }
    return real(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return pwrite64(fd, bytes, count, at);
}
