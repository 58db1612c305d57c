/* Preloaded into the process under test: remembers how to undo every change of a file under SHIM_DIR
 * that no later fsync or fdatasync of that file has covered, so that the harness can take the files
 * back to what a power cut may leave. sync_file_range counts for nothing, as on real disks.
 *
 * SHIM_LOG gets one entry per write, truncation and sync: a header of seven 64-bit numbers and, for
 * changes, the bytes that were there before. With SHIM_FAIL_AFTER=n every fdatasync of a journal file
 * after the n-th fails with EIO. */
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
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CHANGED = 1, SYNCED = 2 };

struct entry {
  uint64_t kind, sequence, inode, offset, old_bytes, old_size, new_bytes;
};

static char dir[1024];
static size_t dir_length;
static int journal_fd = -1;
static uint64_t sequence, journal_syncs;
static uint64_t fail_after = UINT64_MAX;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *d = getenv("SHIM_DIR"), *log = getenv("SHIM_LOG"), *fail = getenv("SHIM_FAIL_AFTER");
  if (fail) fail_after = strtoull(fail, NULL, 10);
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
  if (!watched(fd, &st)) return syscall(SYS_writev, fd, parts, count);
  size_t n = 0;
  for (int i = 0; i < count; i++) n += parts[i].iov_len;
  pthread_mutex_lock(&lock);
  remember(fd, place_of(fd), n, n);
  ssize_t done = syscall(SYS_writev, fd, parts, count);
  pthread_mutex_unlock(&lock);
  return done;
}

int ftruncate64(int fd, off64_t length) {
  struct stat st;
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
