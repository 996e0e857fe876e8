/* Stands between a process and the write-class system calls on the files of one directory: it counts them, records
   them, and at the nth one ends the process, writes only half, or reports an error. Preloaded; does nothing until
   fi_arm is called. Built and used by tests/reliability/shim.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, TEAR, FAIL_ONCE, FAIL_ALWAYS };

static char directory[4096];
static size_t length;
static int mode = OFF, error_number, log_descriptor = -1;
static long strike_at, seen;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

struct record {
  char op;
  char padding[3];
  uint32_t path_bytes;
  int64_t offset;
  uint64_t data_bytes;
};

void fi_arm(const char *under, int what, long at, int error) {
  pthread_mutex_lock(&guard);
  snprintf(directory, sizeof directory, "%s", under);
  length = strlen(directory);
  mode = what;
  strike_at = at;
  error_number = error;
  seen = 0;
  pthread_mutex_unlock(&guard);
}

long fi_seen(void) { return seen; }

static void put(const void *data, size_t bytes) {
  while (bytes) {
    ssize_t done = syscall(SYS_write, log_descriptor, data, bytes);
    if (done <= 0) return;
    data = (const char *)data + done;
    bytes -= done;
  }
}

static void record(char op, const char *path, int64_t offset, const void *data, uint64_t bytes) {
  if (log_descriptor < 0) return;
  struct record header = {op, {0}, strlen(path), offset, bytes};
  pthread_mutex_lock(&guard);
  put(&header, sizeof header);
  put(path, header.path_bytes);
  if (data) put(data, bytes);
  pthread_mutex_unlock(&guard);
}

void fi_log(int descriptor) { log_descriptor = descriptor; }

void fi_mark(const char *text) { record('A', "", 0, text, strlen(text)); }

/* The directory ends in a slash; it counts itself, as syncing it makes the names in it last. */
static int is_ours(const char *path) {
  if (mode == OFF) return 0;
  if (strlen(path) + 1 == length) return strncmp(path, directory, length - 1) == 0;
  return strncmp(path, directory, length) == 0;
}

static int path_of(int descriptor, char *path, size_t size) {
  char link[64];
  if (mode == OFF) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t bytes = readlink(link, path, size - 1);
  if (bytes < 0) return 0;
  path[bytes] = 0;
  return is_ours(path);
}

/* Count one call. Return whether it is the one to strike; end the process where that is what is wanted. */
static int is_struck(void) {
  long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  if (mode == KILL && number == strike_at) syscall(SYS_exit_group, 137);
  if (mode == TEAR && number == strike_at) return 1;
  if (mode == FAIL_ONCE && number == strike_at) return 1;
  return mode == FAIL_ALWAYS && number >= strike_at;
}

static int fail(void) {
  if (mode == TEAR) syscall(SYS_exit_group, 137);
  errno = error_number;
  return -1;
}

static int64_t place_of(int descriptor) {
  struct stat about;
  if (fcntl(descriptor, F_GETFL) & O_APPEND) return fstat(descriptor, &about) ? 0 : about.st_size;
  return lseek(descriptor, 0, SEEK_CUR);
}

ssize_t write(int descriptor, const void *data, size_t bytes) {
  char path[4096];
  if (!path_of(descriptor, path, sizeof path)) return syscall(SYS_write, descriptor, data, bytes);
  if (is_struck()) {
    if (mode == TEAR) syscall(SYS_write, descriptor, data, bytes / 2);
    return fail();
  }
  record('W', path, place_of(descriptor), data, bytes);
  return syscall(SYS_write, descriptor, data, bytes);
}

ssize_t pwrite64(int descriptor, const void *data, size_t bytes, off64_t offset) {
  char path[4096];
  if (!path_of(descriptor, path, sizeof path)) return syscall(SYS_pwrite64, descriptor, data, bytes, offset);
  if (is_struck()) {
    if (mode == TEAR) syscall(SYS_pwrite64, descriptor, data, bytes / 2, offset);
    return fail();
  }
  record('W', path, offset, data, bytes);
  return syscall(SYS_pwrite64, descriptor, data, bytes, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t bytes, off_t offset) {
  return pwrite64(descriptor, data, bytes, offset);
}

int ftruncate64(int descriptor, off64_t size) {
  char path[4096];
  if (!path_of(descriptor, path, sizeof path)) return syscall(SYS_ftruncate, descriptor, size);
  if (is_struck()) return fail();
  record('T', path, size, 0, 0);
  return syscall(SYS_ftruncate, descriptor, size);
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

static int synced(int descriptor, long call) {
  char path[4096];
  if (!path_of(descriptor, path, sizeof path)) return syscall(call, descriptor);
  if (is_struck()) return fail();
  int result = syscall(call, descriptor);
  record('S', path, 0, 0, 0);
  return result;
}

int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }

int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }

int unlink(const char *path) {
  if (is_ours(path)) {
    if (is_struck()) return fail();
    record('U', path, 0, 0, 0);
  }
  return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int rename(const char *from, const char *to) {
  if (is_ours(from)) {
    if (is_struck()) return fail();
    record('R', to, 0, from, strlen(from));
  }
  return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int link(const char *from, const char *to) {
  if (is_ours(to)) {
    if (is_struck()) return fail();
    record('L', to, 0, from, strlen(from));
  }
  return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}
