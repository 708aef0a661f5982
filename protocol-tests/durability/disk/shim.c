/*
 * Sits between an unchanged program and its files below one directory. Preloaded; see README.md beside this file.
 *
 *   DISK_UNDER   the directory, absolute and free of links
 *   DISK_TRACE   file to which every change is appended, in order; not below DISK_UNDER
 *   DISK_MARKS   what the program writes to the file of this name becomes marks in the trace
 *   DISK_SOCKETS if set, what leaves by a socket is in the trace too
 *   DISK_FAULT   file that says what is to fail, read anew at each call; none: nothing fails
 *
 * A trace record is a head and `length` bytes. Kinds: N a process begins; C a file is made, O one is opened (the name);
 * W bytes are written; T the length is set to `offset`; A bytes up to `offset` are set aside; b a sync begins, e it has
 * returned, f it has failed; U a file is removed (the name); R renamed (old NUL new); M a mark; S bytes leave by a
 * socket; m the index in shared memory is written, of which nothing needs to last.
 *
 * All but e and f are noted before the call, so that nothing can be taken for safe that was not.
 *
 * A fault is one line: KINDS ACTION FROM TO. KINDS are letters of the above (b: sync; C: any open that may make a
 * file). FROM and TO count calls of these kinds since this line was first seen, from 1. ACTION is an errno, or
 *   short  write half and say so
 *   full   as short the first time, ENOSPC from then on
 *   hang   wait until the file says something else, then go on
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum what { NOTHING, FILE_BELOW, FOLDER, MARKS, INDEX };

#define FDS 65536
static unsigned char known[FDS];
static const char *under, *marks, *control;
static size_t under_length;
static int trace = -1, sockets;

struct head {
    char kind, pad[3];
    uint32_t file;
    uint64_t offset, length;
};

static void note_parts(char kind, int file, uint64_t offset, const struct iovec *parts, int count) {
    if (trace < 0) return;
    int saved = errno;
    struct iovec all[65];
    struct head head = {kind, {0}, (uint32_t)file, offset, 0};
    if (count > 64) count = 64;
    all[0] = (struct iovec){&head, sizeof head};
    for (int i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        head.length += parts[i].iov_len;
    }
    /* One call on a file opened for appending: records of different threads do not mix. */
    ssize_t done = syscall(SYS_writev, trace, all, count + 1);
    if (done != (ssize_t)(sizeof head + head.length)) abort();
    errno = saved;
}

static void note(char kind, int file, uint64_t offset, const void *data, size_t length) {
    struct iovec part = {(void *)data, length};
    note_parts(kind, file, offset, &part, data ? 1 : 0);
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("DISK_TRACE");
    if (path) trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (path && trace < 0) abort();
    marks = getenv("DISK_MARKS");
    control = getenv("DISK_FAULT");
    sockets = getenv("DISK_SOCKETS") != NULL;
    under = getenv("DISK_UNDER");
    under_length = under ? strlen(under) : 0;
    note('N', 0, 0, NULL, 0);
}

/* The name below the directory; "" is the directory itself. NULL: none of ours. */
static const char *name_of(const char *path) {
    if (!under || strncmp(path, under, under_length) != 0) return NULL;
    if (path[under_length] == '/') return path + under_length + 1;
    return path[under_length] ? NULL : path + under_length;
}

static int is_index(const char *name) {
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, "-shm") == 0;
}

/* 0: go on; an errno; or one of these. */
enum { SHORT = -1 };

static size_t read_control(char *into, size_t most) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    ssize_t got = syscall(SYS_read, fd, into, most - 1);
    syscall(SYS_close, fd);
    into[got > 0 ? got : 0] = 0;
    return got > 0 ? (size_t)got : 0;
}

static int fault(char kind) {
    static char seen[128];
    static unsigned long count;
    static volatile int lock;
    char line[128], kinds[32], action[32];
    unsigned long from, to, now;
    if (!control || !read_control(line, sizeof line)) return 0;
    if (sscanf(line, "%31s %31s %lu %lu", kinds, action, &from, &to) != 4) return 0;
    if (!strchr(kinds, kind)) return 0;
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) usleep(10);
    if (strcmp(line, seen) != 0) {
        strcpy(seen, line);
        count = 0;
    }
    now = ++count;
    __atomic_clear(&lock, __ATOMIC_RELEASE);
    if (now < from || now > to) return 0;
    if (strcmp(action, "hang") == 0) {
        char again[128];
        while (read_control(again, sizeof again) && strcmp(again, line) == 0) usleep(2000);
        return 0;
    }
    if (strcmp(action, "short") == 0) return SHORT;
    if (strcmp(action, "full") == 0) return now == from && kind == 'W' ? SHORT : ENOSPC;
    return atoi(action);
}

/* Fails a call that has no half way. */
#define FAIL_IF_TOLD(kind)                 \
    do {                                   \
        int told_ = fault(kind);           \
        if (told_ > 0) {                   \
            errno = told_;                 \
            return -1;                     \
        }                                  \
    } while (0)

static enum what what(int fd) { return fd >= 0 && fd < FDS ? (enum what)known[fd] : NOTHING; }

static int open_any(int folder, const char *path, int flags, mode_t mode) {
    const char *name = path[0] == '/' ? name_of(path) : NULL;
    int is_marks = marks && strcmp(path, marks) == 0;
    struct stat stat_;
    int is_new = 0;
    if (name && *name && !is_index(name)) {
        if (flags & O_CREAT) {
            FAIL_IF_TOLD('C');
            is_new = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
        }
    }
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd < 0 || fd >= FDS) return fd;
    known[fd] = NOTHING;
    if (is_marks) known[fd] = MARKS;
    if (!name) return fd;
    if (is_index(name)) {
        known[fd] = INDEX;
        return fd;
    }
    known[fd] = FILE_BELOW;
    if (!*name || (syscall(SYS_fstat, fd, &stat_) == 0 && S_ISDIR(stat_.st_mode))) known[fd] = FOLDER;
    if (known[fd] == FOLDER) name = "";
    note(is_new ? 'C' : 'O', fd, 0, name, strlen(name));
    if (flags & O_TRUNC) note('T', fd, 0, NULL, 0);
    return fd;
}

#define MODE_FROM(flags, last)                                \
    mode_t mode = 0;                                          \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                    \
        va_list rest;                                         \
        va_start(rest, last);                                 \
        mode = va_arg(rest, mode_t);                          \
        va_end(rest);                                         \
    }

int open(const char *path, int flags, ...) {
    MODE_FROM(flags, flags)
    return open_any(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE_FROM(flags, flags)
    return open_any(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE_FROM(flags, flags)
    return open_any(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE_FROM(flags, flags)
    return open_any(folder, path, flags, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < FDS) known[fd] = NOTHING;
    return (int)syscall(SYS_close, fd);
}

static int is_socket(int fd) {
    int type;
    socklen_t length = sizeof type;
    return sockets && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

/* Notes a write and shortens it if it is to be short; -1: it is to fail. */
static ssize_t admit(int fd, uint64_t offset, const void *data, size_t length) {
    int told;
    switch (what(fd)) {
    case MARKS:
        note('M', 0, 0, data, length);
        break;
    case INDEX:
        FAIL_IF_TOLD('m');
        note('m', 0, 0, NULL, 0);
        break;
    case FILE_BELOW:
        told = fault('W');
        if (told > 0) {
            errno = told;
            return -1;
        }
        if (told == SHORT && length > 1) length /= 2;
        note('W', fd, offset, data, length);
        break;
    default:
        if (is_socket(fd)) note('S', fd, 0, data, length);
    }
    return (ssize_t)length;
}

ssize_t write(int fd, const void *data, size_t length) {
    uint64_t at = what(fd) == FILE_BELOW ? (uint64_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : 0;
    ssize_t admitted = admit(fd, at, data, length);
    return admitted < 0 ? -1 : syscall(SYS_write, fd, data, (size_t)admitted);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    ssize_t admitted = admit(fd, (uint64_t)offset, data, length);
    return admitted < 0 ? -1 : syscall(SYS_pwrite64, fd, data, (size_t)admitted, offset);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (what(fd) == NOTHING) {
        if (is_socket(fd)) note_parts('S', fd, 0, parts, count);
        return syscall(SYS_writev, fd, parts, count);
    }
    return write(fd, parts[0].iov_base, parts[0].iov_len);
}

/* Nobody is known to use these for files of a store: better to stop than to miss a change. */
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (what(fd) != NOTHING) abort();
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    if (is_socket(fd)) note('S', fd, 0, data, length);
    return syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
}
ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
    if (is_socket(fd)) note('S', fd, 0, data, length);
    return syscall(SYS_sendto, fd, data, length, flags, to, size);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (is_socket(fd)) note_parts('S', fd, 0, message->msg_iov, (int)message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

int ftruncate(int fd, off_t length) {
    if (what(fd) == FILE_BELOW) {
        FAIL_IF_TOLD('T');
        note('T', fd, (uint64_t)length, NULL, 0);
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (what(fd) == FILE_BELOW) {
        FAIL_IF_TOLD('A');
        note('A', fd, (uint64_t)(offset + length), NULL, 0);
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }
/* This one returns the error rather than setting errno. */
int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

static int sync_any(long call, int fd) {
    int result, told;
    if (what(fd) != FILE_BELOW && what(fd) != FOLDER) return (int)syscall(call, fd);
    note('b', fd, 0, NULL, 0);
    told = fault('b');
    if (told > 0) {
        note('f', fd, 0, NULL, 0);
        errno = told;
        return -1;
    }
    result = (int)syscall(call, fd);
    note(result ? 'f' : 'e', fd, 0, NULL, 0);
    return result;
}
int fsync(int fd) { return sync_any(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_any(SYS_fdatasync, fd); }

static int unlink_any(int folder, const char *path, int flags) {
    const char *name = path[0] == '/' ? name_of(path) : NULL;
    if (name && *name && !is_index(name)) {
        FAIL_IF_TOLD('U');
        note('U', 0, 0, name, strlen(name));
    }
    return (int)syscall(SYS_unlinkat, folder, path, flags);
}
int unlink(const char *path) { return unlink_any(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlink_any(folder, path, flags); }

int rename(const char *from, const char *to) {
    const char *old = name_of(from), *new = name_of(to);
    if (old && new) {
        char both[2 * PATH_MAX];
        int length = snprintf(both, sizeof both, "%s%c%s", old, 0, new);
        FAIL_IF_TOLD('R');
        note('R', 0, 0, both, (size_t)length);
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
