/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * system_calls.c - the library's calls to the system, each of which fails when its turn comes (point.h).
 *
 * Linked with --wrap: these functions take the place of the system's wherever the library, linked statically, calls
 * them. What libpmem2 calls by itself is not reached. Left out: what puts a file back after a failure (unlink,
 * ftruncate), and what frees (close, munmap, io_destroy).
 */
#include "point.h"
#include "system_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

static int reap_error = -EINTR;

void system_calls_set_reap_error(int error)
{
	reap_error = error;
}

/* One function each way: the real one, and the one that stands before it. `result` is what a failure returns. */
#define FAILING_AS(label, type, name, parameters, arguments, error, result) \
	type __real_##name parameters;                                      \
	type __wrap_##name parameters;                                      \
	type __wrap_##name parameters                                       \
	{                                                                   \
		if (!point_fails(label))                                    \
			return __real_##name arguments;                     \
		errno = (error);                                            \
		return (result);                                            \
	}
#define FAILING(type, name, parameters, arguments, error, result) \
	FAILING_AS(#name, type, name, parameters, arguments, error, result)

FAILING(ssize_t, pread64, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off), EIO, -1)
FAILING(ssize_t, pwrite64, (int fd, const void *buf, size_t len, off_t off), (fd, buf, len, off), ENOSPC, -1)
FAILING(int, fdatasync, (int fd), (fd), EIO, -1)
FAILING(int, fsync, (int fd), (fd), EIO, -1)
FAILING(int, fstat64, (int fd, struct stat *status), (fd, status), EIO, -1)
FAILING(int, fstatvfs64, (int fd, struct statvfs *status), (fd, status), EIO, -1)
FAILING(int, getrlimit64, (int resource, struct rlimit *limit), (resource, limit), EINVAL, -1)
FAILING(ssize_t, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags), ENOSYS, -1)
FAILING(int, posix_fallocate64, (int fd, off_t off, off_t len), (fd, off, len), EIO, ENOSPC)
FAILING_AS(advice == MADV_HUGEPAGE ? "huge pages" : "madvise",
	int, madvise, (void *addr, size_t len, int advice), (addr, len, advice), ENOMEM, -1)
FAILING(int, mprotect, (void *addr, size_t len, int protection), (addr, len, protection), ENOMEM, -1)
FAILING(void *, mmap64, (void *addr, size_t len, int protection, int flags, int fd, off_t off),
	(addr, len, protection, flags, fd, off), ENOMEM, MAP_FAILED)
FAILING(int, pthread_create, (pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
	(thread, attr, run, arg), EIO, EAGAIN)
FAILING(int, io_setup, (int depth, io_context_t *queue), (depth, queue), EIO, -EAGAIN)
FAILING(int, io_submit, (io_context_t queue, long count, struct iocb **iocbs), (queue, count, iocbs), EIO, -EAGAIN)
FAILING_AS(reap_error == -EINTR ? "interrupted wait" : "io_getevents", int, io_getevents,
	(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout),
	(queue, least, most, events, timeout), EIO, reap_error)

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if ((flags & O_CREAT) != 0)
		mode = va_arg(args, mode_t);
	va_end(args);
	if (!point_fails("open64"))
		return __real_open64(path, flags, mode);
	errno = EMFILE;
	return -1;
}

static bool is_unlock(int command, const struct flock *lock)
{
	return command == F_OFD_SETLK && lock->l_type == F_UNLCK;
}

/* The third argument, if there is one, is a pointer or fits into one. */
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	if (!point_fails(is_unlock(command, arg) ? "unlock" : "fcntl64"))
		return __real_fcntl64(fd, command, arg);
	errno = ENOLCK;
	return -1;
}
