/* Preloaded into the process under test: remembers how to undo every change of a file under SHIM_DIR
 * that no later fsync or fdatasync of that file has covered, so that the harness can take the files
 * back to what a power cut may leave. sync_file_range counts for nothing, as on real disks.
 *
 * SHIM_LOG gets one entry per write, truncation and sync: a header of seven 64-bit numbers and, for
 * changes, the bytes that were there before. With SHIM_FAIL_AFTER=n every fdatasync of a journal file
 * after the n-th fails with EIO.
 *
 * SHIM_FAULTS names a file that is read before every call, so that a test can change its mind. A line is
 * "OPERATION WHAT PATH": it holds for files under SHIM_DIR whose path contains PATH ("*": all).
 *   write ERROR   writes, truncations, allocations and opening for writing fail with that error number
 *   grow ERROR    what makes a file longer fails, as on a full disk
 *   read ERROR    reads fail
 *   sync ERROR    fsync and fdatasync fail
 *   slow MS       fsync and fdatasync take so long
 *   free BYTES    so much is free on the disk */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

enum kind { CHANGED = 1, SYNCED = 2 };

struct entry {
  uint64_t kind, sequence, inode, offset, old_bytes, old_size, new_bytes;
};

static char dir[1024];
static char faults[1024];
static size_t dir_length;
static int journal_fd = -1;
static uint64_t sequence, journal_syncs;
static uint64_t fail_after = UINT64_MAX;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *d = getenv("SHIM_DIR"), *log = getenv("SHIM_LOG"), *fail = getenv("SHIM_FAIL_AFTER");
  if (fail) fail_after = strtoull(fail, NULL, 10);
  const char *f = getenv("SHIM_FAULTS");
  if (f && strlen(f) < sizeof faults) strcpy(faults, f);
  if (!d || strlen(d) >= sizeof dir) return;
  strcpy(dir, d);
  dir_length = strlen(dir);
  if (log) journal_fd = syscall(SYS_openat, AT_FDCWD, log, O_CREAT | O_WRONLY | O_APPEND, 0644);
}

static int path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, size - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return dir_length && strncmp(path, dir, dir_length) == 0;
}

/* What the fault file says of an operation on a path; -1 when nothing. */
static long fault_of(const char *operation, const char *path) {
  char text[2048], *line, *rest = text;
  if (!faults[0] || strncmp(path, dir, dir_length) != 0) return -1;
  int fd = syscall(SYS_openat, AT_FDCWD, faults, O_RDONLY, 0);
  if (fd < 0) return -1;
  ssize_t n = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  text[n > 0 ? n : 0] = 0;
  while ((line = strsep(&rest, "\n"))) {
    char word[32], part[512];
    long value;
    if (sscanf(line, "%31s %ld %511s", word, &value, part) == 3 && !strcmp(word, operation) &&
        (!strcmp(part, "*") || strstr(path, part)))
      return value;
  }
  return -1;
}

/* Whether an operation on an open file fails; sets errno then. */
static int fails(const char *operation, int fd) {
  char path[2048];
  long error;
  if (!faults[0] || fd <= 2 || !path_of(fd, path, sizeof path)) return 0;
  if ((error = fault_of(operation, path)) < 0) return 0;
  errno = error;
  return 1;
}

/* Whether writing up to `end` fails. */
static int write_fails(int fd, uint64_t end) {
  struct stat st;
  if (!faults[0]) return 0;
  if (fails("write", fd)) return 1;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && end > (uint64_t)st.st_size &&
         fails("grow", fd);
}

static int watched(int fd, struct stat *st) {
  char path[2048];
  return journal_fd >= 0 && fd > 2 && fd != journal_fd && fstat(fd, st) == 0 &&
         S_ISREG(st->st_mode) && path_of(fd, path, sizeof path);
}

static void put(struct entry entry, const void *bytes) {
  struct iovec parts[2] = {{&entry, sizeof entry}, {(void *)bytes, entry.old_bytes}};
  ssize_t want = sizeof entry + entry.old_bytes;
  if (syscall(SYS_writev, journal_fd, parts, entry.old_bytes ? 2 : 1) != want) _exit(97);
}

/* Notes what [offset, offset + length) and the size were. The lock is held. */
static void remember(int fd, uint64_t offset, uint64_t length, uint64_t written) {
  struct stat st;
  fstat(fd, &st);
  uint64_t size = st.st_size, have = 0;
  char *old = NULL;
  if (offset < size && length) {
    have = size - offset < length ? size - offset : length;
    old = malloc(have);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY, 0);
    if (!old || syscall(SYS_pread64, again, old, have, offset) != (ssize_t)have) _exit(98);
    syscall(SYS_close, again);
  }
  struct entry entry = {CHANGED, ++sequence, st.st_ino, offset, have, size, written};
  put(entry, old);
  free(old);
}

static uint64_t place_of(int fd) {
  struct stat st;
  if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &st) ? 0 : st.st_size;
  return lseek(fd, 0, SEEK_CUR);
}

static ssize_t at(long call, int fd, const void *bytes, size_t n, off64_t offset) {
  return call == SYS_write ? syscall(call, fd, bytes, n) : syscall(call, fd, bytes, n, offset);
}

static ssize_t change(long call, int fd, const void *bytes, size_t n, off64_t offset) {
  struct stat st;
  if (write_fails(fd, faults[0] ? (call == SYS_write ? place_of(fd) : (uint64_t)offset) + n : 0))
    return -1;
  if (!watched(fd, &st)) return at(call, fd, bytes, n, offset);
  pthread_mutex_lock(&lock);
  remember(fd, call == SYS_write ? place_of(fd) : (uint64_t)offset, n, n);
  ssize_t done = at(call, fd, bytes, n, offset);
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t write(int fd, const void *b, size_t n) { return change(SYS_write, fd, b, n, 0); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return change(SYS_pwrite64, fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
  return change(SYS_pwrite64, fd, b, n, o);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct stat st;
  size_t n = 0;
  for (int i = 0; i < count; i++) n += parts[i].iov_len;
  if (write_fails(fd, faults[0] ? place_of(fd) + n : 0)) return -1;
  if (!watched(fd, &st)) return syscall(SYS_writev, fd, parts, count);
  pthread_mutex_lock(&lock);
  remember(fd, place_of(fd), n, n);
  ssize_t done = syscall(SYS_writev, fd, parts, count);
  pthread_mutex_unlock(&lock);
  return done;
}

int ftruncate64(int fd, off64_t length) {
  struct stat st;
  if (write_fails(fd, length)) return -1;
  if (!watched(fd, &st)) return syscall(SYS_ftruncate, fd, length);
  pthread_mutex_lock(&lock);
  fstat(fd, &st);
  remember(fd, length, st.st_size > length ? st.st_size - length : 0, 0);
  int done = syscall(SYS_ftruncate, fd, length);
  pthread_mutex_unlock(&lock);
  return done;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int sync_with(long call, int fd) {
  struct stat st;
  char path[2048];
  if (faults[0] && fd > 2 && path_of(fd, path, sizeof path)) {
    long ms = fault_of("slow", path);
    if (ms > 0) nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    if (fails("sync", fd)) return -1;
  }
  if (call == SYS_fdatasync && fail_after != UINT64_MAX && path_of(fd, path, sizeof path) &&
      strstr(path, ".jnl") && __sync_add_and_fetch(&journal_syncs, 1) > fail_after) {
    errno = EIO;
    return -1;
  }
  if (!watched(fd, &st)) return syscall(call, fd);
  pthread_mutex_lock(&lock);
  uint64_t covered = sequence;
  pthread_mutex_unlock(&lock);
  int done = syscall(call, fd);
  if (done == 0) {
    struct entry entry = {SYNCED, covered, st.st_ino, 0, 0, 0, 0};
    pthread_mutex_lock(&lock);
    put(entry, NULL);
    pthread_mutex_unlock(&lock);
  }
  return done;
}
int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  if (write_fails(fd, offset + length)) return -1;
  return syscall(SYS_fallocate, fd, mode, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  return fallocate64(fd, mode, offset, length);
}

static int open_at(const char *path, int flags, int mode) {
  long error;
  if (faults[0] && (flags & (O_WRONLY | O_RDWR | O_CREAT)) &&
      (error = fault_of("write", path)) >= 0) {
    errno = error;
    return -1;
  }
  return syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return open_at(path, flags, mode);
}
int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return open_at(path, flags, mode);
}

ssize_t pread64(int fd, void *b, size_t n, off64_t o) {
  if (fails("read", fd)) return -1;
  return syscall(SYS_pread64, fd, b, n, o);
}
ssize_t pread(int fd, void *b, size_t n, off_t o) { return pread64(fd, b, n, o); }
ssize_t read(int fd, void *b, size_t n) {
  if (fails("read", fd)) return -1;
  return syscall(SYS_read, fd, b, n);
}

int statvfs64(const char *path, struct statvfs64 *found) {
  static int (*real)(const char *, struct statvfs64 *);
  if (!real) real = (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
  int done = real(path, found);
  long bytes;
  if (done == 0 && faults[0] && (bytes = fault_of("free", path)) >= 0)
    found->f_bavail = bytes / found->f_frsize;
  return done;
}
int statvfs(const char *path, struct statvfs *found) {
  return statvfs64(path, (struct statvfs64 *)found);
}
