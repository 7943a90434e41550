/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_errors.c - refusals: bad arguments, and files that are not what they should be.
 *
 * Goal: each has its own errno and a message, and leaves every file as it was: content, size and time of change of
 * cache and backing are compared (fixture_refuse).
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VOLUME_BYTES (2 * MIB)

static struct fixture *make_unopened(void)
{
	return fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
}

/* --- files that are no cache, or not this one --- */

START_TEST(open_of_missing_file_without_create_gives_enoent)
{
	struct fixture *fx = make_unopened();

	fixture_refuse(fx, 0, -ENOENT);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -ENOENT);
	ck_assert_int_ne(access(fx->cache_path, F_OK), 0);
	fixture_free(fx);
}
END_TEST

START_TEST(open_of_foreign_file_gives_euclean)
{
	struct fixture *fx = make_unopened();
	uint8_t *content = malloc(CACHE_SMALL);

	if (_i == 0)
		test_random_fill(&fx->random, content, CACHE_SMALL);
	else
		for (size_t i = 0; i < CACHE_SMALL; i++)
			content[i] = (uint8_t)"my only copy of the accounts\n"[i % 29];
	file_make(fx->cache_path, content, CACHE_SMALL);
	fixture_refuse(fx, 0, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL, -EEXIST);
	free(content);
	fixture_free(fx);
}
END_TEST

/* One byte in the first 64 KiB is enough for somebody to miss it. */
START_TEST(open_of_almost_zero_file_gives_euclean)
{
	static const uint64_t places[] = { 0, 1, 4096, 8191, 32768, 65535 };
	struct fixture *fx = make_unopened();
	uint8_t *content = calloc(1, CACHE_SMALL);

	content[places[_i]] = 1;
	file_make(fx->cache_path, content, CACHE_SMALL);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EUCLEAN);
	free(content);
	fixture_free(fx);
}
END_TEST

START_TEST(open_of_short_foreign_file_gives_euclean)
{
	struct fixture *fx = make_unopened();

	file_make(fx->cache_path, "hello", 5);
	fixture_refuse(fx, 0, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EUCLEAN);
	fixture_free(fx);
}
END_TEST

START_TEST(open_of_truncated_cache_gives_euclean)
{
	static const uint64_t sizes[] = { CACHE_SMALL - 1, CACHE_SMALL / 2, 70000, 65536, 20000, 4096, 100 };
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	ck_assert_int_eq(truncate(fx->cache_path, (off_t)sizes[_i]), 0);
	fixture_refuse(fx, 0, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EUCLEAN);
	fixture_free(fx);
}
END_TEST

START_TEST(open_of_directory_is_refused)
{
	struct fixture *fx = make_unopened();
	struct pcache *cache = NULL;

	fx->config.flags = PCACHE_OPEN_CREATE;
	ck_assert_int_lt(pcache_open(test_cache_dir(), fx->fd, &fx->config, &cache), 0);
	ck_assert_ptr_null(cache);
	ck_assert_uint_gt(fx->log_errors, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(open_below_missing_directory_gives_enoent)
{
	struct fixture *fx = make_unopened();

	snprintf(fx->cache_path, sizeof(fx->cache_path), "%s/none/cache", test_cache_dir());
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -ENOENT);
	fixture_free(fx);
}
END_TEST

START_TEST(open_with_backing_of_other_size_gives_emediumtype)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	ck_assert_int_eq(ftruncate(fx->fd, VOLUME_BYTES + 4096), 0);
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	ck_assert_int_eq(ftruncate(fx->fd, VOLUME_BYTES - 4096), 0);
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EMEDIUMTYPE);
	fixture_refuse(fx, PCACHE_OPEN_ANY_BACKING, -EMEDIUMTYPE); /* it shrank: dirty data may have no place */
	fixture_free(fx);
}
END_TEST

START_TEST(open_with_other_backing_id_gives_emediumtype)
{
	struct fixture *fx = make_unopened();

	memset(fx->config.backing_id, 0x41, sizeof(fx->config.backing_id));
	fixture_open(fx, PCACHE_OPEN_CREATE);
	fixture_write(fx, 0, 5000);
	fixture_reopen(fx);
	fixture_close(fx, 0);
	fx->config.backing_id[15] = 0x42;
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EMEDIUMTYPE);
	fixture_open(fx, PCACHE_OPEN_ANY_BACKING);
	fixture_check_all(fx);
	fixture_close(fx, 0);
	memset(fx->config.backing_id, 0, sizeof(fx->config.backing_id));
	fixture_open(fx, 0); /* all zero: not checked */
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* --- files that cannot be had --- */

START_TEST(second_open_in_one_process_gives_ebusy)
{
	struct fixture *fx = make_unopened();
	struct pcache *second = NULL;
	char other_name[PATH_BYTES + 8];

	fixture_open(fx, PCACHE_OPEN_CREATE);
	ck_assert_int_eq(pcache_open(fx->cache_path, fx->fd, &fx->config, &second), -EBUSY);
	fx->config.flags = PCACHE_OPEN_READONLY;
	ck_assert_int_eq(pcache_open(fx->cache_path, fx->fd, &fx->config, &second), -EBUSY);
	snprintf(other_name, sizeof(other_name), "%s.link", fx->cache_path);
	ck_assert_int_eq(link(fx->cache_path, other_name), 0);
	ck_assert_int_eq(pcache_open(other_name, fx->fd, &fx->config, &second), -EBUSY);
	ck_assert_int_eq(unlink(other_name), 0);
	ck_assert_ptr_null(second);
	ck_assert_uint_ge(fx->log_errors, 3);
	fixture_write(fx, 1, 99999);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(second_open_in_other_process_gives_ebusy)
{
	struct fixture *fx = make_unopened();
	int to_parent[2];
	int to_child[2];
	char byte = 0;
	pid_t child;

	ck_assert(pipe(to_parent) == 0 && pipe(to_child) == 0);
	child = fork();
	if (child == 0) {
		struct pcache *cache;

		fx->config.flags = PCACHE_OPEN_CREATE;
		if (pcache_open(fx->cache_path, fx->fd, &fx->config, &cache) < 0 || write(to_parent[1], "o", 1) != 1)
			_exit(1);
		_exit(read(to_child[0], &byte, 1) != 1 || pcache_close(cache, 0) < 0);
	}
	close(to_parent[1]);
	ck_assert_int_eq(read(to_parent[0], &byte, 1), 1);
	fx->log_errors = 0;
	ck_assert_int_eq(fixture_try_open(fx, 0), -EBUSY);
	ck_assert_int_eq(fixture_try_open(fx, PCACHE_OPEN_CREATE), -EBUSY);
	ck_assert_uint_ge(fx->log_errors, 2);
	ck_assert_int_eq(write(to_child[1], "c", 1), 1);
	ck_assert(child_succeeded(child));
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(unwritable_cache_file_gives_erofs)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	struct picture before;
	pid_t child;

	ck_assert_int_eq(chmod(fx->cache_path, 0444), 0);
	before = picture_take(fx->cache_path);
	child = fork();
	if (child == 0) {
		/* Root may write everything, nobody may not. */
		if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
			_exit(2);
		fx->log_errors = 0;
		_exit(fixture_try_open(fx, 0) != -EROFS || fx->log_errors == 0);
	}
	ck_assert(child_succeeded(child));
	ck_assert(picture_is_same(fx->cache_path, &before));
	picture_free(&before);
	fixture_free(fx);
}
END_TEST

START_TEST(readonly_backing_descriptor_gives_erofs)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	close(fx->fd);
	fx->fd = open(fx->backing_path, O_RDONLY | O_CLOEXEC);
	fixture_refuse(fx, 0, -EROFS);
	unlink(fx->cache_path);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EROFS);
	fixture_free(fx);
}
END_TEST

START_TEST(backing_that_is_no_file_is_refused)
{
	struct fixture *fx = make_unopened();
	int kept = fx->fd;
	int ends[2];

	fx->fd = -1;
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EBADF);
	ck_assert_int_eq(pipe(ends), 0);
	fx->fd = ends[0];
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EINVAL);
	close(ends[0]);
	close(ends[1]);
	fx->fd = kept;
	fixture_free(fx);
}
END_TEST

static bool mount_small_tmpfs(const char *path)
{
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", path, "tmpfs", 0, "size=512k") == 0;
}

/* The file system has no room, and a file of 64 KiB of zeroes that could have been made a cache is there. */
static void refuse_to_grow(struct fixture *fx)
{
	uint8_t *zeroes = calloc(1, 64 * KIB);
	struct picture after;

	file_make(fx->cache_path, zeroes, 64 * KIB);
	ck_assert_int_eq(fixture_try_open(fx, PCACHE_OPEN_CREATE), -ENOSPC);
	after = picture_take(fx->cache_path);
	ck_assert(after.exists);
	ck_assert_uint_eq(after.bytes, 64 * KIB);
	ck_assert_mem_eq(after.content, zeroes, 64 * KIB);
	picture_free(&after);
	free(zeroes);
}

/* In a mount namespace of its own, which goes with the process. */
START_TEST(create_on_full_file_system_gives_enospc_and_leaves_no_file)
{
	struct fixture *fx = make_unopened();
	char dir[PATH_BYTES - 8];

	snprintf(dir, sizeof(dir), "%s/small", test_cache_dir());
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	if (mount_small_tmpfs(dir)) {
		snprintf(fx->cache_path, sizeof(fx->cache_path), "%s/cache", dir);
		fixture_refuse(fx, PCACHE_OPEN_CREATE, -ENOSPC);
		ck_assert_int_ne(access(fx->cache_path, F_OK), 0);
		refuse_to_grow(fx);
	} else {
		fprintf(stderr, "# no mount possible here (%s), not tested\n", strerror(errno));
	}
	fixture_free(fx);
}
END_TEST

/* --- arguments --- */

struct bad_config {
	const char *name;
	int error;
	void (*change)(struct pcache_config *config);
};

static void small_cache(struct pcache_config *c) { c->cache_size_bytes = 4 * SEGMENT_SMALL; }
static void tiny_cache(struct pcache_config *c) { c->cache_size_bytes = 1; }
static void huge_cache(struct pcache_config *c) { c->cache_size_bytes = UINT64_MAX; }
static void no_cache_size(struct pcache_config *c) { c->cache_size_bytes = 0; }
static void small_segment(struct pcache_config *c) { c->segment_size_bytes = 32768; }
static void odd_segment(struct pcache_config *c) { c->segment_size_bytes = 65536 + 4096; }
static void large_segment(struct pcache_config *c)
{
	c->segment_size_bytes = 128u << 20;
	c->cache_size_bytes = 8ull << 30;
}
static void gc_too_high(struct pcache_config *c) { c->gc_percent = 96; }
static void gc_huge(struct pcache_config *c) { c->gc_percent = UINT32_MAX; }
static void mode_unknown(struct pcache_config *c) { c->mode = 5; }
static void durability_unknown(struct pcache_config *c) { c->durability = 3; }
static void depth_too_high(struct pcache_config *c) { c->queue_depth = 257; }
static void verify_unknown(struct pcache_config *c) { c->read_verify = 4; }
static void flag_unknown(struct pcache_config *c) { c->flags |= 1u << 20; }
static void flag_highest(struct pcache_config *c) { c->flags |= 1u << 31; }

static const struct bad_config bad_configs[] = {
	{ "cache of four segments", -EINVAL, small_cache },
	{ "cache of one byte", -EINVAL, tiny_cache },
	{ "new cache without a size", -EINVAL, no_cache_size },
	{ "segment too small", -EINVAL, small_segment },
	{ "segment not a power of two", -EINVAL, odd_segment },
	{ "segment too large", -EINVAL, large_segment },
	{ "gc_percent 96", -EINVAL, gc_too_high },
	{ "gc_percent huge", -EINVAL, gc_huge },
	{ "mode unknown", -EINVAL, mode_unknown },
	{ "durability unknown", -EINVAL, durability_unknown },
	{ "queue depth too high", -EINVAL, depth_too_high },
	{ "read_verify unknown", -EINVAL, verify_unknown },
	{ "flag unknown", -EINVAL, flag_unknown },
	{ "highest flag", -EINVAL, flag_highest },
};

START_TEST(bad_config_is_refused)
{
	struct fixture *fx = make_unopened();
	struct pcache *cache = NULL;
	int ret;

	fx->config.flags = PCACHE_OPEN_CREATE;
	bad_configs[_i].change(&fx->config);
	ret = pcache_open(fx->cache_path, fx->fd, &fx->config, &cache);
	ck_assert_msg(ret == bad_configs[_i].error, "%s: %d", bad_configs[_i].name, ret);
	ck_assert_ptr_null(cache);
	ck_assert_msg(fx->log_errors > 0, "%s: no message", bad_configs[_i].name);
	ck_assert_int_ne(access(fx->cache_path, F_OK), 0);
	fixture_free(fx);
}
END_TEST

START_TEST(cache_of_impossible_size_is_refused)
{
	struct fixture *fx = make_unopened();
	struct pcache *cache = NULL;

	fx->config.flags = PCACHE_OPEN_CREATE;
	huge_cache(&fx->config);
	ck_assert_int_lt(pcache_open(fx->cache_path, fx->fd, &fx->config, &cache), 0);
	ck_assert_ptr_null(cache);
	ck_assert_int_ne(access(fx->cache_path, F_OK), 0);
	fixture_free(fx);
}
END_TEST

START_TEST(null_argument_gives_einval)
{
	struct fixture *fx = make_unopened();
	struct pcache *cache = NULL;
	uint8_t byte = 0;

	fx->config.flags = PCACHE_OPEN_CREATE;
	ck_assert_int_eq(pcache_open(NULL, fx->fd, &fx->config, &cache), -EINVAL);
	ck_assert_int_eq(pcache_open(fx->cache_path, fx->fd, &fx->config, NULL), -EINVAL);
	ck_assert_ptr_null(cache);
	ck_assert_int_eq(pcache_read(NULL, &byte, 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_write(NULL, &byte, 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_flush(NULL, 0), -EINVAL);
	ck_assert_int_eq(pcache_drain(NULL, NULL, NULL, 0), -EINVAL);
	ck_assert_int_eq(pcache_stats(NULL, &(struct pcache_stats){ .size = sizeof(struct pcache_stats) }), -EINVAL);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	ck_assert_int_eq(pcache_read(fx->cache, NULL, 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_write(fx->cache, NULL, 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_stats(fx->cache, NULL), -EINVAL);
	ck_assert_int_eq(pcache_stats(fx->cache, &(struct pcache_stats){ .size = 0 }), -EINVAL);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(unknown_flags_give_einval)
{
	static const unsigned unknown[] = { 1u << 2, 1u << 3, 1u << 15, 1u << 31, UINT32_MAX };
	struct fixture *fx = make_unopened();
	uint8_t bytes[100] = { 0 };

	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		ck_assert_int_eq(pcache_read(fx->cache, bytes, sizeof(bytes), 0, unknown[i]), -EINVAL);
		ck_assert_int_eq(pcache_write(fx->cache, bytes, sizeof(bytes), 0, unknown[i]), -EINVAL);
		ck_assert_int_eq(pcache_write(fx->cache, bytes, 100, 0, unknown[i] | PCACHE_WRITE_FUA), -EINVAL);
		ck_assert_int_eq(pcache_flush(fx->cache, unknown[i]), -EINVAL);
		ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, unknown[i]), -EINVAL);
	}
	ck_assert_int_eq(pcache_read(fx->cache, bytes, sizeof(bytes), 0, PCACHE_WRITE_FUA), -EINVAL);
	ck_assert_int_eq(pcache_flush(fx->cache, 1), -EINVAL);
	ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 1), -EINVAL);
	fixture_check_all(fx);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(write_past_end_gives_enospc_and_writes_nothing)
{
	static const struct { uint64_t off; size_t len; } writes[] = {
		{ VOLUME_BYTES, 1 },           { VOLUME_BYTES - 1, 2 },     { VOLUME_BYTES - 100000, 100001 },
		{ 0, VOLUME_BYTES + 1 },       { UINT64_MAX, 1 },           { UINT64_MAX - 10, 11 },
		{ UINT64_MAX - 4096, 8192 },   { UINT64_MAX / 2 + 1, 4096 }, { VOLUME_BYTES + 1, 4096 },
	};
	struct fixture *fx = make_unopened();
	uint8_t *bytes = calloc(1, VOLUME_BYTES + 1);

	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		for (unsigned flags = 0; flags < 2; flags++)
			ck_assert_int_eq(pcache_write(fx->cache, bytes, writes[i].len, writes[i].off, flags), -ENOSPC);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	free(bytes);
	fixture_free(fx);
}
END_TEST

START_TEST(length_beyond_ssize_max_gives_einval)
{
	struct fixture *fx = make_unopened();
	uint8_t byte = 0;

	fixture_open(fx, PCACHE_OPEN_CREATE);
	ck_assert_int_eq(pcache_read(fx->cache, &byte, (size_t)SSIZE_MAX + 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_write(fx->cache, &byte, (size_t)SSIZE_MAX + 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_write(fx->cache, &byte, SIZE_MAX, 0, 0), -EINVAL);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(strerror_knows_every_documented_error)
{
	static const int errors[] = { EINVAL, ENOENT, EEXIST, EUCLEAN, EBADMSG, EPROTONOSUPPORT, EMEDIUMTYPE, EBUSY,
				      EROFS, ENOSPC, EAGAIN, EIO, EOPNOTSUPP, ECANCELED, ENOTRECOVERABLE, ENOMEM,
				      E2BIG };
	size_t count = sizeof(errors) / sizeof(errors[0]);

	for (size_t i = 0; i < count; i++) {
		const char *text = pcache_strerror(-errors[i]);

		ck_assert_ptr_nonnull(text);
		ck_assert_uint_gt(strlen(text), 3);
		ck_assert_str_eq(text, pcache_strerror(errors[i]));
		ck_assert_str_ne(text, pcache_strerror(-99999));
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(text, pcache_strerror(-errors[j]));
	}
	ck_assert_ptr_nonnull(pcache_strerror(0));
	ck_assert_ptr_nonnull(pcache_strerror(-99999));
	ck_assert_ptr_nonnull(pcache_strerror(INT32_MIN));
}
END_TEST

/* The number of the first call that did not refuse; 0 when all did. */
static int use_inherited_handle(struct pcache *cache)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	uint8_t byte = 0;

	if (pcache_read(cache, &byte, 1, 0, 0) != -ENOTRECOVERABLE)
		return 1;
	if (pcache_write(cache, &byte, 1, 0, 0) != -ENOTRECOVERABLE)
		return 2;
	if (pcache_flush(cache, 0) != -ENOTRECOVERABLE)
		return 3;
	if (pcache_drain(cache, NULL, NULL, 0) != -ENOTRECOVERABLE)
		return 4;
	if (pcache_stats(cache, &stats) != -ENOTRECOVERABLE)
		return 5;
	if (pcache_close(cache, 0) != -ENOTRECOVERABLE)
		return 6;
	return 0;
}

START_TEST(child_of_fork_gets_enotrecoverable_and_parent_goes_on)
{
	struct fixture *fx = make_unopened();
	int status;
	pid_t child;

	fixture_open(fx, PCACHE_OPEN_CREATE);
	fixture_write(fx, 100, 200000);
	child = fork();
	if (child == 0)
		_exit(use_inherited_handle(fx->cache));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status), "the child was killed by signal %d", WTERMSIG(status));
	ck_assert_msg(WEXITSTATUS(status) == 0, "call %d did not refuse", WEXITSTATUS(status));
	fixture_write(fx, 300000, 50000);
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

static void add_arguments(Suite *suite)
{
	TCase *tests = test_case(suite, "arguments");

	tcase_add_loop_test(tests, bad_config_is_refused, 0, sizeof(bad_configs) / sizeof(bad_configs[0]));
	tcase_add_test(tests, cache_of_impossible_size_is_refused);
	tcase_add_test(tests, null_argument_gives_einval);
	tcase_add_test(tests, unknown_flags_give_einval);
	tcase_add_test(tests, write_past_end_gives_enospc_and_writes_nothing);
	tcase_add_test(tests, length_beyond_ssize_max_gives_einval);
	tcase_add_test(tests, strerror_knows_every_documented_error);
	tcase_add_test(tests, child_of_fork_gets_enotrecoverable_and_parent_goes_on);
}

static Suite *make_suite(void)
{
	Suite *suite = suite_create("errors");
	TCase *tests = test_case(suite, "files");

	tcase_add_test(tests, open_of_missing_file_without_create_gives_enoent);
	tcase_add_loop_test(tests, open_of_foreign_file_gives_euclean, 0, 2);
	tcase_add_loop_test(tests, open_of_almost_zero_file_gives_euclean, 0, 6);
	tcase_add_test(tests, open_of_short_foreign_file_gives_euclean);
	tcase_add_loop_test(tests, open_of_truncated_cache_gives_euclean, 0, 7);
	tcase_add_test(tests, open_of_directory_is_refused);
	tcase_add_test(tests, open_below_missing_directory_gives_enoent);
	tcase_add_test(tests, open_with_backing_of_other_size_gives_emediumtype);
	tcase_add_test(tests, open_with_other_backing_id_gives_emediumtype);
	tcase_add_test(tests, second_open_in_one_process_gives_ebusy);
	tcase_add_test(tests, second_open_in_other_process_gives_ebusy);
	tcase_add_test(tests, unwritable_cache_file_gives_erofs);
	tcase_add_test(tests, readonly_backing_descriptor_gives_erofs);
	tcase_add_test(tests, backing_that_is_no_file_is_refused);
	tcase_add_test(tests, create_on_full_file_system_gives_enospc_and_leaves_no_file);
	add_arguments(suite);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
