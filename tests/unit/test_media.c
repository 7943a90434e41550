/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media.c - the media file: what open accepts, refuses and leaves behind, and the primitives on it.
 *
 * Method: real files. Looped tests run once per granularity, forced with PMEM2_FORCE_GRANULARITY on /dev/shm, and once
 * on a plain file without it. System calls that must fail or meet another process are this program's own: its fcntl,
 * fdatasync, pread and pwrite stand in front of libc's.
 */
#define _GNU_SOURCE 1

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

static bool take(atomic_int *count)
{
	int value = atomic_load(count);

	while (value > 0) {
		if (atomic_compare_exchange_weak(count, &value, value - 1))
			return true;
	}
	return false;
}

static int injected(void)
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

static ssize_t transfer(long number, int fd, void *buf, size_t len, off_t off)
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

static void inject_nothing(void)
{
	memset(&inject, 0, sizeof(inject));
}

/* Fixture. */

static void use_place(int place)
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

static bool is_page(int place)
{
	return place == PLACE_PAGE || place == PLACE_PLAIN_FILE;
}

static void clean_up(void)
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

static void keep_message(enum pcache_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(message, sizeof(message), "%s", text);
}

static const struct pc_log test_log = { .fn = keep_message };

static int open_media(struct pc_media_request request, struct pc_media **ret_media)
{
	request.path = path;
	return pc_media_open(&request, &test_log, ret_media);
}

static struct pc_media *create_media(void)
{
	struct pc_media *media = NULL;

	ck_assert_int_eq(open_media((struct pc_media_request){ .create_bytes = MEDIA_BYTES, .create = true }, &media),
			 0);
	return media;
}

/* A refusal leaves the output alone and says why. */
static void assert_refused(struct pc_media_request request, int error)
{
	struct pc_media *untouched = (struct pc_media *)(uintptr_t)&request;
	struct pc_media *media = untouched;

	ck_assert_int_eq(open_media(request, &media), error);
	ck_assert_ptr_eq(media, untouched);
	ck_assert_ptr_nonnull(strstr(message, path));
}

/* A file of these many bytes, `byte` each. */
static void make_file(const char *name, size_t bytes, int byte)
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

static uint64_t file_bytes(void)
{
	struct stat stat_buf;

	ck_assert_int_eq(stat(path, &stat_buf), 0);
	return (uint64_t)stat_buf.st_size;
}

static bool file_is_there(void)
{
	return access(path, F_OK) == 0;
}

static void assert_file_holds(size_t bytes, int byte)
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

/* Create. */

START_TEST(create_missing_file_allocates_every_block)
{
	struct pc_media *media;
	struct stat stat_buf;

	use_place(_i);
	media = create_media();
	ck_assert(media->blank);
	ck_assert(!media->readonly);
	ck_assert_uint_eq(media->size_bytes, MEDIA_BYTES);
	ck_assert_int_eq(stat(path, &stat_buf), 0);
	ck_assert_int_eq(stat_buf.st_size, MEDIA_BYTES);
	ck_assert_int_ge(stat_buf.st_blocks, MEDIA_BYTES / 512);
	ck_assert_int_eq(stat_buf.st_mode & 07777, 0600);
	pc_media_close(media);
}
END_TEST

START_TEST(open_reports_the_granularity_of_the_media)
{
	static const enum pcache_granularity expected[] = {
		[PLACE_BYTE] = PCACHE_GRANULARITY_BYTE,
		[PLACE_CACHE_LINE] = PCACHE_GRANULARITY_CACHE_LINE,
		[PLACE_PAGE] = PCACHE_GRANULARITY_PAGE,
		[PLACE_PLAIN_FILE] = PCACHE_GRANULARITY_PAGE,
	};
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	ck_assert_int_eq(media->granularity, expected[_i]);
	pc_media_close(media);
}
END_TEST

START_TEST(create_over_zero_file_keeps_or_grows_its_size)
{
	struct pc_media *media;

	use_place(_i);
	make_file(path, 3 * PC_PAGE, 0);
	ck_assert_int_eq(open_media((struct pc_media_request){ .create = true }, &media), 0);
	ck_assert(media->blank);
	ck_assert_uint_eq(media->size_bytes, 3 * PC_PAGE);
	pc_media_close(media);
	media = create_media();
	ck_assert(media->blank);
	ck_assert_uint_eq(file_bytes(), MEDIA_BYTES);
	pc_media_close(media);
}
END_TEST

START_TEST(create_smaller_than_zero_file_leaves_the_file_long)
{
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	make_file(path, 2 * MEDIA_BYTES, 0);
	media = create_media();
	ck_assert_uint_eq(media->size_bytes, MEDIA_BYTES);
	ck_assert_uint_eq(file_bytes(), 2 * MEDIA_BYTES);
	pc_media_close(media);
}
END_TEST

START_TEST(create_without_any_size_is_refused_and_leaves_nothing)
{
	use_place(PLACE_CACHE_LINE);
	assert_refused((struct pc_media_request){ .create = true }, -EINVAL);
	ck_assert(!file_is_there());
	make_file(path, 0, 0);
	assert_refused((struct pc_media_request){ .create = true }, -EINVAL);
	assert_file_holds(0, 0);
}
END_TEST

START_TEST(create_beyond_any_file_is_refused_and_leaves_nothing)
{
	use_place(PLACE_CACHE_LINE);
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = UINT64_MAX }, -EINVAL);
	ck_assert(!file_is_there());
}
END_TEST

START_TEST(create_over_foreign_file_maps_it_unchanged)
{
	struct pc_media *media;

	use_place(_i);
	make_file(path, 3 * PC_PAGE, 'x');
	media = create_media();
	ck_assert(!media->blank);
	ck_assert_uint_eq(media->size_bytes, 3 * PC_PAGE);
	pc_media_close(media);
	assert_file_holds(3 * PC_PAGE, 'x');
}
END_TEST

START_TEST(file_with_one_set_byte_in_its_head_is_not_blank)
{
	static const size_t offsets[] = { 0, 4095, PC_MEDIA_BLANK_BYTES - 1 };
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	for (size_t i = 0; i < PC_ARRAY_SIZE(offsets); i++) {
		int fd;

		make_file(path, 2 * PC_MEDIA_BLANK_BYTES, 0);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)offsets[i]), 1);
		close(fd);
		ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &media), 0);
		ck_assert(!media->blank);
		pc_media_close(media);
	}
}
END_TEST

START_TEST(file_with_bytes_behind_its_head_is_blank)
{
	struct pc_media *media;
	int fd;

	use_place(PLACE_CACHE_LINE);
	make_file(path, 2 * PC_MEDIA_BLANK_BYTES, 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, "x", 1, PC_MEDIA_BLANK_BYTES), 1);
	close(fd);
	media = create_media();
	ck_assert(media->blank);
	pc_media_close(media);
}
END_TEST

START_TEST(exclusive_create_takes_missing_and_blank_but_no_other_file)
{
	struct pc_media_request request = { .create = true, .exclusive = true, .create_bytes = MEDIA_BYTES };
	struct pc_media *media;

	use_place(_i);
	ck_assert_int_eq(open_media(request, &media), 0);
	pc_media_close(media);
	ck_assert_int_eq(open_media(request, &media), 0);
	ck_assert(media->blank);
	pc_media_close(media);
	make_file(path, PC_PAGE, 'x');
	assert_refused(request, -EEXIST);
	assert_file_holds(PC_PAGE, 'x');
}
END_TEST

START_TEST(file_beyond_the_size_limit_of_the_process_is_refused_for_writing)
{
	struct pc_media *media;
	struct rlimit limit;
	struct rlimit low;

	use_place(PLACE_CACHE_LINE);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	low = limit;
	low.rlim_cur = MEDIA_BYTES / 2;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = MEDIA_BYTES }, -EFBIG);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert(!file_is_there());
	make_file(path, MEDIA_BYTES, 'x');
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_refused((struct pc_media_request){ 0 }, -EFBIG);
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &media), 0);
	pc_media_close(media);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}
END_TEST

/* Mounts a file system of this size on `dir`; false with a message where that is not allowed. */
static bool mount_small(size_t bytes)
{
	char options[64];

	snprintf(options, sizeof(options), "size=%zu", bytes);
	if (mount("none", dir, "tmpfs", 0, options) == 0)
		return true;
	fprintf(stderr, "skipped: a tmpfs cannot be mounted here: %s\n", strerror(errno));
	return false;
}

START_TEST(create_on_full_disk_is_enospc_and_leaves_everything_as_it_was)
{
	struct pc_media_request request = { .create = true, .create_bytes = 64 * MIB };

	use_place(_i);
	if (!mount_small(40 * MIB))
		return;
	assert_refused(request, -ENOSPC);
	ck_assert(!file_is_there());
	make_file(path, PC_PAGE, 0);
	assert_refused(request, -ENOSPC);
	assert_file_holds(PC_PAGE, 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(umount(dir), 0);
}
END_TEST

START_TEST(open_on_readonly_disk_is_erofs_but_may_read)
{
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	if (!mount_small(MIB))
		return;
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(mount("none", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_refused((struct pc_media_request){ 0 }, -EROFS);
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = MIB }, -EROFS);
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &media), 0);
	pc_media_close(media);
	ck_assert_int_eq(umount(dir), 0);
}
END_TEST

/* Open. */

START_TEST(open_of_missing_file_is_enoent)
{
	use_place(_i);
	assert_refused((struct pc_media_request){ 0 }, -ENOENT);
	assert_refused((struct pc_media_request){ .readonly = true }, -ENOENT);
	ck_assert(!file_is_there());
}
END_TEST

START_TEST(create_behind_a_link_to_nothing_is_enoent)
{
	use_place(PLACE_CACHE_LINE);
	ck_assert_int_eq(symlink("nowhere", path), 0);
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = MIB }, -ENOENT);
}
END_TEST

START_TEST(open_of_blank_file_is_euclean_and_changes_nothing)
{
	use_place(_i);
	make_file(path, 0, 0);
	assert_refused((struct pc_media_request){ 0 }, -EUCLEAN);
	assert_file_holds(0, 0);
	make_file(path, 100, 0);
	assert_refused((struct pc_media_request){ 0 }, -EUCLEAN);
	assert_refused((struct pc_media_request){ .readonly = true }, -EUCLEAN);
	assert_file_holds(100, 0);
}
END_TEST

START_TEST(open_of_short_foreign_file_maps_all_of_it)
{
	struct pc_media *media;

	use_place(_i);
	make_file(path, 100, 'x');
	ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &media), 0);
	ck_assert_uint_eq(media->size_bytes, 100);
	ck_assert_int_eq(media->base[0], 'x');
	ck_assert_int_eq(media->base[99], 'x');
	pc_media_close(media);
	assert_file_holds(100, 'x');
}
END_TEST

START_TEST(open_of_what_is_no_regular_file_is_einval)
{
	use_place(PLACE_CACHE_LINE);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	assert_refused((struct pc_media_request){ 0 }, -EINVAL);
	assert_refused((struct pc_media_request){ .readonly = true }, -EINVAL);
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = MIB }, -EINVAL);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	assert_refused((struct pc_media_request){ 0 }, -EINVAL);
	assert_refused((struct pc_media_request){ .readonly = true }, -EINVAL);
}
END_TEST

START_TEST(readonly_create_is_einval)
{
	use_place(PLACE_CACHE_LINE);
	assert_refused((struct pc_media_request){ .create = true, .readonly = true, .create_bytes = MIB }, -EINVAL);
	ck_assert(!file_is_there());
}
END_TEST

static int errors_without_permission(void)
{
	struct pc_media *media;
	int writer;
	int reader;

	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return 77;
	writer = open_media((struct pc_media_request){ 0 }, &media);
	reader = open_media((struct pc_media_request){ .readonly = true }, &media);
	return writer == -EROFS && reader == -EACCES ? 0 : 1;
}

START_TEST(open_without_permission_is_erofs_to_write_and_eacces_to_read)
{
	int status;
	pid_t child;

	use_place(PLACE_CACHE_LINE);
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(chmod(path, 0), 0);
	child = fork();
	if (child == 0)
		_exit(errors_without_permission());
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		fprintf(stderr, "skipped: no other user to become\n");
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(failed_read_of_the_head_is_reported)
{
	use_place(PLACE_CACHE_LINE);
	make_file(path, PC_PAGE, 'x');
	atomic_store(&inject.error_code, EIO);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.armed, true);
	assert_refused((struct pc_media_request){ 0 }, -EIO);
}
END_TEST

/* Lock. */

START_TEST(second_open_is_ebusy_and_changes_nothing)
{
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = 2 * MEDIA_BYTES }, -EBUSY);
	assert_refused((struct pc_media_request){ 0 }, -EBUSY);
	assert_refused((struct pc_media_request){ .readonly = true }, -EBUSY);
	ck_assert_uint_eq(file_bytes(), MEDIA_BYTES);
	pc_media_close(media);
	media = create_media();
	pc_media_close(media);
}
END_TEST

START_TEST(readers_share_the_file_and_keep_writers_out)
{
	struct pc_media *first;
	struct pc_media *second;

	use_place(_i);
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &first), 0);
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &second), 0);
	assert_refused((struct pc_media_request){ 0 }, -EBUSY);
	pc_media_close(first);
	assert_refused((struct pc_media_request){ 0 }, -EBUSY);
	pc_media_close(second);
	ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &first), 0);
	pc_media_close(first);
}
END_TEST

START_TEST(close_unlocks_though_a_child_still_runs)
{
	struct pc_media *media;
	pid_t child;

	use_place(_i);
	media = create_media();
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	pc_media_close(media);
	media = create_media();
	pc_media_close(media);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

START_TEST(close_in_a_child_leaves_the_lock_to_the_parent)
{
	struct pc_media *media;
	int status;
	pid_t child;

	use_place(_i);
	media = create_media();
	child = fork();
	if (child == 0) {
		pc_media_close(media);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	assert_refused((struct pc_media_request){ 0 }, -EBUSY);
	pc_media_close(media);
}
END_TEST

static void replace_file(void)
{
	ck_assert_int_eq(unlink(path), 0);
	make_file(path, 3 * PC_PAGE, 'y');
}

START_TEST(open_of_a_file_that_is_replaced_before_its_lock_takes_the_new_one)
{
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	make_file(path, PC_PAGE, 'x');
	inject.before_lock = replace_file;
	ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &media), 0);
	ck_assert_uint_eq(media->size_bytes, 3 * PC_PAGE);
	ck_assert_int_eq(media->base[0], 'y');
	pc_media_close(media);
	ck_assert_int_eq(unlink(path), 0);
	inject.before_lock = replace_file;
	media = create_media();
	ck_assert(!media->blank);
	ck_assert_int_eq(media->base[0], 'y');
	pc_media_close(media);
}
END_TEST

static void remove_file(void)
{
	ck_assert_int_eq(unlink(path), 0);
}

START_TEST(create_over_a_file_that_is_removed_before_its_lock_creates_it)
{
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	make_file(path, PC_PAGE, 'x');
	inject.before_lock = remove_file;
	media = create_media();
	ck_assert(media->blank);
	ck_assert_uint_eq(file_bytes(), MEDIA_BYTES);
	pc_media_close(media);
}
END_TEST

static void grow_file(void)
{
	make_file(path, 3 * PC_PAGE, 'y');
}

START_TEST(size_is_learnt_after_the_lock)
{
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	make_file(path, PC_PAGE, 'x');
	inject.before_lock = grow_file;
	ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &media), 0);
	ck_assert_uint_eq(media->size_bytes, 3 * PC_PAGE);
	pc_media_close(media);
}
END_TEST

static int other_fd;

static void lock_file_elsewhere(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	other_fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(other_fd, F_OFD_SETLK, &lock), 0);
}

START_TEST(created_file_that_another_open_locks_first_is_left_to_it)
{
	use_place(PLACE_CACHE_LINE);
	inject.before_lock = lock_file_elsewhere;
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = MIB }, -EBUSY);
	ck_assert(file_is_there());
	close(other_fd);
}
END_TEST

START_TEST(created_file_that_cannot_be_locked_is_removed)
{
	use_place(PLACE_CACHE_LINE);
	inject.lock_error = ENOLCK;
	assert_refused((struct pc_media_request){ .create = true, .create_bytes = MIB }, -ENOLCK);
	ck_assert(!file_is_there());
}
END_TEST

struct creator {
	pthread_t thread;
	atomic_int *start;
	int ret;
};

static void *create_and_abandon(void *arg)
{
	struct creator *creator = arg;
	struct pc_media_request request = { .path = path, .create = true, .create_bytes = 2 * PC_PAGE };

	while (atomic_load(creator->start) == 0)
		sched_yield();
	for (int round = 0; round < 200; round++) {
		struct pc_media *media;
		int ret = pc_media_open(&request, NULL, &media);

		if (ret == -EBUSY)
			continue;
		/* Whoever got it has the file that is at the path, whole, and to itself. */
		if (ret == 0 && (!media->blank || media->size_bytes != 2 * PC_PAGE || file_bytes() != 2 * PC_PAGE))
			ret = -EBADMSG;
		if (ret < 0) {
			creator->ret = ret;
			return NULL;
		}
		if (round % 2 == 0)
			pc_media_abandon(media);
		pc_media_close(media);
	}
	return NULL;
}

START_TEST(racing_creators_never_share_or_lose_a_file)
{
	struct creator creators[3] = { 0 };
	atomic_int start = 0;

	use_place(_i);
	for (size_t i = 0; i < PC_ARRAY_SIZE(creators); i++) {
		creators[i].start = &start;
		ck_assert_int_eq(pthread_create(&creators[i].thread, NULL, create_and_abandon, &creators[i]), 0);
	}
	atomic_store(&start, 1);
	for (size_t i = 0; i < PC_ARRAY_SIZE(creators); i++) {
		ck_assert_int_eq(pthread_join(creators[i].thread, NULL), 0);
		ck_assert_int_eq(creators[i].ret, 0);
	}
}
END_TEST

/* Abandon. */

START_TEST(abandon_removes_the_file_that_open_created)
{
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	pc_media_abandon(media);
	ck_assert(!file_is_there());
	pc_media_close(media);
	ck_assert(!file_is_there());
}
END_TEST

START_TEST(abandon_puts_a_blank_file_back_as_it_was)
{
	struct pc_media *media;

	use_place(_i);
	make_file(path, PC_PAGE, 0);
	media = create_media();
	ck_assert_int_eq(pc_media_set(media, 0, 'x', 2 * PC_PAGE), 0);
	pc_media_abandon(media);
	pc_media_close(media);
	assert_file_holds(PC_PAGE, 0);
}
END_TEST

START_TEST(abandon_spares_a_file_that_was_not_blank)
{
	struct pc_media *media;

	use_place(_i);
	make_file(path, PC_PAGE, 'x');
	media = create_media();
	pc_media_abandon(media);
	pc_media_close(media);
	assert_file_holds(PC_PAGE, 'x');
}
END_TEST

START_TEST(abandon_spares_another_file_that_took_the_path)
{
	struct pc_media *media;

	use_place(PLACE_CACHE_LINE);
	media = create_media();
	ck_assert_int_eq(unlink(path), 0);
	make_file(path, PC_PAGE, 'x');
	pc_media_abandon(media);
	pc_media_close(media);
	assert_file_holds(PC_PAGE, 'x');
}
END_TEST

START_TEST(close_accepts_null)
{
	pc_media_close(NULL);
	pc_media_abandon(NULL);
}
END_TEST

/* Primitives. */

static void fill_pattern(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 7 + i / 251);
}

/* Visible in the mapping and to read, and still there after a reopen. */
START_TEST(stores_are_seen_by_the_mapping_by_read_and_after_reopen)
{
	static const struct {
		uint64_t off;
		size_t len;
	} pieces[] = { { 0, 64 }, { 4096, 4096 }, { 10001, 77 }, { 20480, 65536 }, { MEDIA_BYTES - 5, 5 } };
	static uint8_t expected[MEDIA_BYTES];
	static uint8_t found[MEDIA_BYTES];
	struct pc_media *media;
	uint64_t word = 0x0123456789abcdefu;

	use_place(_i);
	media = create_media();
	memset(expected, 0, sizeof(expected));
	for (unsigned kind = PC_COPY_STREAM; kind <= PC_COPY_CACHED; kind++) {
		for (size_t i = 0; i < PC_ARRAY_SIZE(pieces); i++) {
			uint64_t off = pieces[i].off;

			fill_pattern(expected + off, pieces[i].len, (unsigned)i + kind * 100);
			ck_assert_int_eq(pc_media_copy(media, off, expected + off, pieces[i].len, kind), 0);
			ck_assert_int_eq(pc_media_flush(media, off, pieces[i].len), 0);
		}
		ck_assert_int_eq(pc_media_drain(media), 0);
		ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	}
	memset(expected + 300001, 0xa5, 9000);
	ck_assert_int_eq(pc_media_set(media, 300001, 0xa5, 9000), 0);
	memcpy(expected + 400008, &word, sizeof(word));
	ck_assert_int_eq(pc_media_store8(media, 400008, word), 0);
	ck_assert_int_eq(pc_media_flush(media, 300001, 200000), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	ck_assert_int_eq(pc_media_read(media, found, 0, sizeof(found)), 0);
	ck_assert_int_eq(memcmp(found, expected, sizeof(expected)), 0);
	pc_media_close(media);
	ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &media), 0);
	ck_assert(!media->blank);
	ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	pc_media_close(media);
}
END_TEST

START_TEST(readonly_media_refuses_stores_and_still_flushes_and_syncs)
{
	struct pc_media *media;
	uint8_t byte;

	use_place(_i);
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &media), 0);
	ck_assert(media->readonly);
	ck_assert_int_eq(pc_media_copy(media, 0, "y", 1, PC_COPY_STREAM), -EROFS);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -EROFS);
	ck_assert_int_eq(pc_media_set(media, 0, 0, 1), -EROFS);
	ck_assert_int_eq(pc_media_flush(media, 0, PC_PAGE), 0);
	ck_assert_int_eq(pc_media_drain(media), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(pc_media_read(media, &byte, 7, 1), 0);
	ck_assert_int_eq(byte, 'x');
	pc_media_close(media);
	assert_file_holds(PC_PAGE, 'x');
}
END_TEST

START_TEST(read_past_the_end_is_eio)
{
	struct pc_media *media;
	uint8_t buf[64];

	use_place(_i);
	media = create_media();
	ck_assert_int_eq(pc_media_read(media, buf, MEDIA_BYTES - 64, 64), 0);
	ck_assert_int_eq(pc_media_read(media, buf, MEDIA_BYTES - 63, 64), -EIO);
	pc_media_close(media);
}
END_TEST

START_TEST(racing_copy_gives_the_bytes_at_any_alignment)
{
	struct pc_media *media;
	uint8_t expected[256];
	uint8_t found[256];

	use_place(_i);
	media = create_media();
	fill_pattern(expected, sizeof(expected), 3);
	ck_assert_int_eq(pc_media_copy(media, 4096, expected, sizeof(expected), PC_COPY_CACHED), 0);
	for (size_t start = 0; start < 20; start++) {
		for (size_t len = 0; len < 50; len++) {
			memset(found, 0xee, sizeof(found));
			pc_media_copy_racing(found + 1, media, 4096 + start, len);
			ck_assert_int_eq(memcmp(found + 1, expected + start, len), 0);
			ck_assert_int_eq(found[0], 0xee);
			ck_assert_int_eq(found[len + 1], 0xee);
		}
	}
	pc_media_close(media);
}
END_TEST

/* Does a line of /proc/self/smaps that begins with `field` hold `word`, in the mapping at `address`? */
static bool mapping_has(const void *address, const char *field, const char *word)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[512];
	bool inside = false;
	bool found = false;

	ck_assert_ptr_nonnull(smaps);
	while (fgets(line, sizeof(line), smaps) != NULL) {
		unsigned long start;
		unsigned long end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-') < strchr(line, ' ')) {
			inside = (uintptr_t)address >= start && (uintptr_t)address < end;
			if (inside && field == NULL)
				found = strstr(line, word) != NULL;
		} else if (inside && field != NULL && strncmp(line, field, strlen(field)) == 0) {
			found = strstr(line, word) != NULL;
		}
	}
	fclose(smaps);
	return found;
}

START_TEST(mapping_is_not_inherited_and_writable_only_where_stores_go_through_it)
{
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	ck_assert(mapping_has(media->base, "VmFlags:", " dc"));
	ck_assert(mapping_has(media->base, NULL, is_page(_i) ? " r--s " : " rw-s "));
	pc_media_close(media);
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &media), 0);
	ck_assert(mapping_has(media->base, NULL, " r--s "));
	pc_media_close(media);
}
END_TEST

START_TEST(large_mapping_begins_on_a_huge_page)
{
	struct pc_media *media;

	use_place(_i);
	for (uint64_t bytes = 2 * MIB; bytes <= 5 * MIB; bytes += MIB) {
		ck_assert_int_eq(
			open_media((struct pc_media_request){ .create = true, .create_bytes = bytes }, &media), 0);
		ck_assert_uint_eq((uintptr_t)media->base % (2 * MIB), 0);
		pc_media_close(media);
	}
}
END_TEST

/* System calls that fail, page granularity. */

START_TEST(short_and_interrupted_transfers_are_continued)
{
	static uint8_t expected[3 * PC_PAGE];
	static uint8_t found[3 * PC_PAGE];
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	fill_pattern(expected, sizeof(expected), 9);
	memset(expected + 8192, 0x3c, 4096);
	atomic_store(&inject.halve, true);
	atomic_store(&inject.eintr, 5);
	atomic_store(&inject.armed, true);
	ck_assert_int_eq(pc_media_copy(media, 0, expected, sizeof(expected), PC_COPY_STREAM), 0);
	atomic_store(&inject.eintr, 2);
	ck_assert_int_eq(pc_media_set(media, 8192, 0x3c, 4096), 0);
	ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	atomic_store(&inject.eintr, 3);
	ck_assert_int_eq(pc_media_read(media, found, 0, sizeof(found)), 0);
	ck_assert_int_eq(memcmp(found, expected, sizeof(expected)), 0);
	atomic_store(&inject.eintr, 3);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(atomic_load(&inject.eintr), 0);
	pc_media_close(media);
}
END_TEST

START_TEST(failed_stores_return_their_error)
{
	struct pc_media *media;
	uint8_t buf[64] = { 0 };

	use_place(PLACE_PAGE);
	media = create_media();
	atomic_store(&inject.error_code, ENOSPC);
	atomic_store(&inject.armed, true);
	atomic_store(&inject.error, 3);
	ck_assert_int_eq(pc_media_copy(media, 0, buf, sizeof(buf), PC_COPY_CACHED), -ENOSPC);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_set(media, 0, 0, 10000), -ENOSPC);
	ck_assert_int_eq(pc_media_copy(media, 0, buf, sizeof(buf), PC_COPY_CACHED), 0);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.error_code, EIO);
	ck_assert_int_eq(pc_media_read(media, buf, 0, sizeof(buf)), -EIO);
	pc_media_close(media);
}
END_TEST

START_TEST(failed_sync_is_final)
{
	struct pc_media *media;

	use_place(PLACE_PAGE);
	media = create_media();
	ck_assert_int_eq(pc_media_sync(media), 0);
	atomic_store(&inject.error_code, EIO);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.armed, true);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	atomic_store(&inject.armed, false);
	atomic_store(&inject.calls, 0);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	ck_assert_int_eq(atomic_load(&inject.calls), 0);
	pc_media_close(media);
}
END_TEST

START_TEST(sync_makes_a_system_call_on_page_granularity_only)
{
	struct pc_media *media;
	int calls;

	use_place(_i);
	media = create_media();
	calls = is_page(_i) ? 2 : 0;
	atomic_store(&inject.calls, 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(pc_media_drain(media), 0);
	ck_assert_int_eq(pc_media_flush(media, 0, 64), 0);
	ck_assert_int_eq(atomic_load(&inject.calls), calls);
	ck_assert_uint_eq(atomic_load(&media->syncs), (uint64_t)calls);
	pc_media_close(media);
}
END_TEST

/* Group commit. */

struct syncer {
	struct pc_media *media;
	pthread_t thread;
	atomic_int tid;
	int ret;
};

static void *sync_once(void *arg)
{
	struct syncer *syncer = arg;

	atomic_store(&syncer->tid, (int)gettid());
	syncer->ret = pc_media_sync(syncer->media);
	return NULL;
}

/* Sleeping in the kernel: from its start on this thread does nothing but sync, so it waits for another one's. */
static bool is_asleep(const struct syncer *syncer)
{
	char stat_path[64];
	char line[256] = "";
	const char *state;
	FILE *stat_file;

	if (atomic_load(&syncer->tid) == 0)
		return false;
	snprintf(stat_path, sizeof(stat_path), "/proc/self/task/%d/stat", atomic_load(&syncer->tid));
	stat_file = fopen(stat_path, "re");
	if (stat_file == NULL)
		return false;
	state = fgets(line, sizeof(line), stat_file) != NULL ? strrchr(line, ')') : NULL;
	fclose(stat_file);
	return state != NULL && state[2] == 'S';
}

/* One sync is in the kernel, held there, while the others ask for one. */
static void start_group(struct pc_media *media, struct syncer *syncers)
{
	atomic_store(&inject.calls, 0);
	atomic_store(&inject.closed_gate, 1);
	for (int i = 0; i < SYNC_THREADS; i++) {
		syncers[i] = (struct syncer){ .media = media };
		ck_assert_int_eq(pthread_create(&syncers[i].thread, NULL, sync_once, &syncers[i]), 0);
		while (i == 0 && atomic_load(&inject.calls) == 0)
			sched_yield();
		while (i != 0 && !is_asleep(&syncers[i]))
			sched_yield();
	}
}

static void finish_group(struct syncer *syncers)
{
	atomic_store(&inject.closed_gate, 0);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(pthread_join(syncers[i].thread, NULL), 0);
}

START_TEST(syncs_asked_for_while_one_runs_share_the_next)
{
	struct syncer syncers[SYNC_THREADS];
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	start_group(media, syncers);
	finish_group(syncers);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(syncers[i].ret, 0);
	/* Not one: what was stored while it ran may be missing from it. Not four: they are shared. */
	ck_assert_int_eq(atomic_load(&inject.calls), 2);
	ck_assert_uint_eq(atomic_load(&media->syncs), 2);
	pc_media_close(media);
}
END_TEST

START_TEST(failed_sync_fails_all_who_wait)
{
	struct syncer syncers[SYNC_THREADS];
	struct pc_media *media;

	use_place(PLACE_PAGE);
	media = create_media();
	atomic_store(&inject.error_code, EIO);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.armed, true);
	start_group(media, syncers);
	finish_group(syncers);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(syncers[i].ret, -EIO);
	ck_assert_int_eq(atomic_load(&inject.calls), 1);
	pc_media_close(media);
}
END_TEST

static void *sync_often(void *arg)
{
	struct syncer *syncer = arg;

	for (int i = 0; i < 50 && syncer->ret == 0; i++)
		syncer->ret = pc_media_sync(syncer->media);
	return NULL;
}

START_TEST(many_syncs_at_once_all_end)
{
	struct syncer syncers[SYNC_THREADS];
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	for (int i = 0; i < SYNC_THREADS; i++) {
		syncers[i] = (struct syncer){ .media = media };
		ck_assert_int_eq(pthread_create(&syncers[i].thread, NULL, sync_often, &syncers[i]), 0);
	}
	finish_group(syncers);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(syncers[i].ret, 0);
	ck_assert_uint_le(atomic_load(&media->syncs), SYNC_THREADS * 50);
	ck_assert_uint_ge(atomic_load(&media->syncs), 50);
	pc_media_close(media);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, NULL, clean_up);
	suite_add_tcase(suite, tests);
	return tests;
}

static void add_create_tests(TCase *tests)
{
	tcase_add_loop_test(tests, create_missing_file_allocates_every_block, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, open_reports_the_granularity_of_the_media, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, create_over_zero_file_keeps_or_grows_its_size, 0, PLACE_COUNT);
	tcase_add_test(tests, create_smaller_than_zero_file_leaves_the_file_long);
	tcase_add_test(tests, create_without_any_size_is_refused_and_leaves_nothing);
	tcase_add_test(tests, create_beyond_any_file_is_refused_and_leaves_nothing);
	tcase_add_loop_test(tests, create_over_foreign_file_maps_it_unchanged, 0, PLACE_COUNT);
	tcase_add_test(tests, file_with_one_set_byte_in_its_head_is_not_blank);
	tcase_add_test(tests, file_with_bytes_behind_its_head_is_blank);
	tcase_add_loop_test(tests, exclusive_create_takes_missing_and_blank_but_no_other_file, 0, PLACE_COUNT);
	tcase_add_test(tests, file_beyond_the_size_limit_of_the_process_is_refused_for_writing);
	tcase_add_loop_test(tests, create_on_full_disk_is_enospc_and_leaves_everything_as_it_was, 0, PLACE_COUNT);
	tcase_add_test(tests, open_on_readonly_disk_is_erofs_but_may_read);
}

static void add_open_tests(TCase *tests)
{
	tcase_add_loop_test(tests, open_of_missing_file_is_enoent, 0, PLACE_COUNT);
	tcase_add_test(tests, create_behind_a_link_to_nothing_is_enoent);
	tcase_add_loop_test(tests, open_of_blank_file_is_euclean_and_changes_nothing, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, open_of_short_foreign_file_maps_all_of_it, 0, PLACE_COUNT);
	tcase_add_test(tests, open_of_what_is_no_regular_file_is_einval);
	tcase_add_test(tests, readonly_create_is_einval);
	tcase_add_test(tests, open_without_permission_is_erofs_to_write_and_eacces_to_read);
	tcase_add_test(tests, failed_read_of_the_head_is_reported);
	tcase_add_loop_test(tests, second_open_is_ebusy_and_changes_nothing, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, readers_share_the_file_and_keep_writers_out, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, close_unlocks_though_a_child_still_runs, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, close_in_a_child_leaves_the_lock_to_the_parent, 0, PLACE_COUNT);
	tcase_add_test(tests, open_of_a_file_that_is_replaced_before_its_lock_takes_the_new_one);
	tcase_add_test(tests, create_over_a_file_that_is_removed_before_its_lock_creates_it);
	tcase_add_test(tests, size_is_learnt_after_the_lock);
	tcase_add_test(tests, created_file_that_another_open_locks_first_is_left_to_it);
	tcase_add_test(tests, created_file_that_cannot_be_locked_is_removed);
	tcase_add_loop_test(tests, racing_creators_never_share_or_lose_a_file, 0, PLACE_COUNT - 1);
	tcase_add_loop_test(tests, abandon_removes_the_file_that_open_created, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, abandon_puts_a_blank_file_back_as_it_was, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, abandon_spares_a_file_that_was_not_blank, 0, PLACE_COUNT);
	tcase_add_test(tests, abandon_spares_another_file_that_took_the_path);
	tcase_add_test(tests, close_accepts_null);
}

static void add_primitive_tests(TCase *tests)
{
	tcase_add_loop_test(tests, stores_are_seen_by_the_mapping_by_read_and_after_reopen, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, readonly_media_refuses_stores_and_still_flushes_and_syncs, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, read_past_the_end_is_eio, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, racing_copy_gives_the_bytes_at_any_alignment, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, mapping_is_not_inherited_and_writable_only_where_stores_go_through_it, 0,
			    PLACE_COUNT);
	tcase_add_loop_test(tests, large_mapping_begins_on_a_huge_page, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, short_and_interrupted_transfers_are_continued, PLACE_PAGE, PLACE_COUNT);
	tcase_add_test(tests, failed_stores_return_their_error);
	tcase_add_test(tests, failed_sync_is_final);
	tcase_add_loop_test(tests, sync_makes_a_system_call_on_page_granularity_only, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, syncs_asked_for_while_one_runs_share_the_next, PLACE_PAGE, PLACE_COUNT);
	tcase_add_test(tests, failed_sync_fails_all_who_wait);
	tcase_add_loop_test(tests, many_syncs_at_once_all_end, PLACE_PAGE, PLACE_COUNT);
}

int main(void)
{
	Suite *suite = suite_create("media");

	add_create_tests(add_case(suite, "create"));
	add_open_tests(add_case(suite, "open"));
	add_primitive_tests(add_case(suite, "primitives"));
	return pc_run_suite(suite);
}
