/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media.c - the media file: what open accepts, refuses and leaves behind.
 *
 * Method: real files, on every granularity; what another process may do between open and lock is done in its place by
 * the stand-in for fcntl.
 */
#define _GNU_SOURCE 1

#include "media_fixture.h"

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

int main(void)
{
	Suite *suite = suite_create("media");

	add_create_tests(add_case(suite, "create"));
	add_open_tests(add_case(suite, "open"));
	return pc_run_suite(suite);
}
