/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media_fixture.h - what the tests of the media file share: a directory of their own on a media of some granularity,
 * and system calls that fail or meet another process on demand: fcntl, fdatasync, pread and pwrite of the program that
 * includes this stand in front of libc's.
 *
 * Looped tests run once per place: each granularity, forced with PMEM2_FORCE_GRANULARITY on /dev/shm, and a plain file
 * without it.
 */
#ifndef PC_MEDIA_FIXTURE_H
#define PC_MEDIA_FIXTURE_H

#include "media.h"
#include "runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB          (1u << 20)
#define MEDIA_BYTES  MIB
#define PATH_BYTES   512
#define NOBODY       65534
#define SYNC_THREADS 4

enum place { PLACE_BYTE, PLACE_CACHE_LINE, PLACE_PAGE, PLACE_PLAIN_FILE, PLACE_COUNT };

static char dir[PATH_BYTES];
static char path[2 * PATH_BYTES];
static char message[512];

/* System calls that fail on demand. */

static struct {
	atomic_int eintr;       /* so many calls are interrupted */
	atomic_int error;       /* so many calls fail, with `error_code` */
	atomic_int error_code;
	atomic_bool halve;      /* do only half of what was asked */
	atomic_int calls;       /* syncs begun */
	atomic_int closed_gate; /* a sync waits here */
	atomic_bool armed;
	int lock_error;              /* locking fails with this */
	void (*before_lock)(void);   /* what another process does between open and lock, once */
} inject;

static inline bool take(atomic_int *count)
{
	int value = atomic_load(count);

	while (value > 0) {
		if (atomic_compare_exchange_weak(count, &value, value - 1))
			return true;
	}
	return false;
}

static inline int injected(void)
{
	if (!atomic_load(&inject.armed))
		return 0;
	if (take(&inject.eintr))
		return EINTR;
	if (take(&inject.error))
		return atomic_load(&inject.error_code);
	return 0;
}

int fdatasync(int fd)
{
	int error;

	atomic_fetch_add(&inject.calls, 1);
	while (atomic_load(&inject.closed_gate) != 0)
		sched_yield();
	error = injected();
	if (error != 0) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

int fcntl(int fd, int command, ...)
{
	void (*others)(void) = inject.before_lock;
	va_list args;
	long arg;

	va_start(args, command);
	arg = va_arg(args, long);
	va_end(args);
	if (command == F_OFD_SETLK && inject.lock_error != 0) {
		errno = inject.lock_error;
		return -1;
	}
	if (command == F_OFD_SETLK && others != NULL) {
		inject.before_lock = NULL;
		others();
	}
	return (int)syscall(SYS_fcntl, fd, command, arg);
}

static inline ssize_t transfer(long number, int fd, void *buf, size_t len, off_t off)
{
	int error = injected();

	if (error != 0) {
		errno = error;
		return -1;
	}
	if (atomic_load(&inject.armed) && atomic_load(&inject.halve) && len > 1)
		len /= 2;
	return syscall(number, fd, buf, len, off);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return transfer(SYS_pwrite64, fd, (void *)(uintptr_t)buf, len, off);
}

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	return transfer(SYS_pread64, fd, buf, len, off);
}

static inline void inject_nothing(void)
{
	memset(&inject, 0, sizeof(inject));
}

/* Fixture. */

static inline void use_place(int place)
{
	static const char *const granularity[] = { "BYTE", "CACHE_LINE", "PAGE", NULL };
	const char *plain_dir = getenv("PC_TEST_DIR");
	const char *parent = "/dev/shm";

	if (place == PLACE_PLAIN_FILE) {
		unsetenv("PMEM2_FORCE_GRANULARITY");
		parent = plain_dir != NULL ? plain_dir : "/var/tmp";
	} else {
		setenv("PMEM2_FORCE_GRANULARITY", granularity[place], 1);
	}
	snprintf(dir, sizeof(dir), "%s/pc-test-media-XXXXXX", parent);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/cache", dir);
	inject_nothing();
	message[0] = '\0';
}

static inline bool is_page(int place)
{
	return place == PLACE_PAGE || place == PLACE_PLAIN_FILE;
}

static inline void clean_up(void)
{
	struct dirent *entry;
	DIR *stream;

	(void)umount2(dir, MNT_DETACH); /* of a test that failed */
	stream = opendir(dir);
	if (stream == NULL)
		return;
	while ((entry = readdir(stream)) != NULL)
		unlinkat(dirfd(stream), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
	closedir(stream);
	rmdir(dir);
	dir[0] = '\0';
}

static inline void keep_message(enum pcache_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(message, sizeof(message), "%s", text);
}

static const struct pc_log test_log = { .fn = keep_message };

static inline int open_media(struct pc_media_request request, struct pc_media **ret_media)
{
	request.path = path;
	return pc_media_open(&request, &test_log, ret_media);
}

static inline struct pc_media *create_media(void)
{
	struct pc_media *media = NULL;

	ck_assert_int_eq(open_media((struct pc_media_request){ .create_bytes = MEDIA_BYTES, .create = true }, &media),
			 0);
	return media;
}

/* A refusal leaves the output alone and says why. */
static inline void assert_refused(struct pc_media_request request, int error)
{
	struct pc_media *untouched = (struct pc_media *)(uintptr_t)&request;
	struct pc_media *media = untouched;

	ck_assert_int_eq(open_media(request, &media), error);
	ck_assert_ptr_eq(media, untouched);
	ck_assert_ptr_nonnull(strstr(message, path));
}

/* A file of these many bytes, `byte` each. */
static inline void make_file(const char *name, size_t bytes, int byte)
{
	uint8_t *content = malloc(bytes + 1);
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_nonnull(content);
	memset(content, byte, bytes + 1);
	ck_assert_int_eq(write(fd, content, bytes), (ssize_t)bytes);
	close(fd);
	free(content);
}

static inline uint64_t file_bytes(void)
{
	struct stat stat_buf;

	ck_assert_int_eq(stat(path, &stat_buf), 0);
	return (uint64_t)stat_buf.st_size;
}

static inline bool file_is_there(void)
{
	return access(path, F_OK) == 0;
}

static inline void assert_file_holds(size_t bytes, int byte)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool same = true;

	ck_assert_uint_eq(file_bytes(), bytes);
	for (size_t done = 0; done < bytes;) {
		uint8_t piece[4096];
		ssize_t count = read(fd, piece, sizeof(piece));

		ck_assert_int_gt(count, 0);
		for (ssize_t i = 0; i < count; i++)
			same = same && piece[i] == byte;
		done += (size_t)count;
	}
	ck_assert(same);
	close(fd);
}

static inline TCase *add_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, NULL, clean_up);
	suite_add_tcase(suite, tests);
	return tests;
}

#endif
