/* Makes the disk fail: preloaded into a server, it fails the calls that the file named by BROKEN_DISK selects. That file has
 * one line, "sync|write ERRNO PREFIX": calls of this kind (`write` includes `sync`) on files whose path begins with PREFIX
 * fail with ERRNO. Without the file, everything works. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SYNC, WRITE };

static int refusal(int kind, const char *path) {
    const char *control = getenv("BROKEN_DISK");
    if (!control || !path) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[4096], what[16], prefix[4000];
    long length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return 0;
    text[length] = 0;
    int code = 0;
    if (sscanf(text, "%15s %d %3999s", what, &code, prefix) != 3) return 0;
    int broken = strcmp(what, "write") == 0 ? WRITE : SYNC;
    return kind <= broken && strncmp(path, prefix, strlen(prefix)) == 0 ? code : 0;
}

static int refused(int kind, int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    int code = refusal(kind, path);
    if (code) errno = code;
    return code;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return refused(SYNC, fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return refused(SYNC, fd) ? -1 : REAL(fdatasync)(fd); }
int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) {
    return refused(SYNC, fd) ? -1 : REAL(sync_file_range)(fd, at, count, flags);
}
ssize_t write(int fd, const void *bytes, size_t count) {
    return refused(WRITE, fd) ? -1 : REAL(write)(fd, bytes, count);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return refused(WRITE, fd) ? -1 : REAL(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return refused(WRITE, fd) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return refused(WRITE, fd) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}
int ftruncate(int fd, off_t length) { return refused(WRITE, fd) ? -1 : REAL(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { return refused(WRITE, fd) ? -1 : REAL(ftruncate64)(fd, length); }
