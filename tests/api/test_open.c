/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_open.c - the life of a cache: created, closed, opened again, opened to be read only.
 *
 * Goal: what was acknowledged is there after every kind of close and open, settings live where the header says, and
 * an open that may not write does not. Method: a model array, and pictures of both files before and after.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS 14 /* of SEGMENT_SMALL in CACHE_SMALL */

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

START_TEST(open_missing_with_create_makes_cache)
{
	struct fixture *fx = fixture_make_open(4 * MIB, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats stats = fixture_stats(fx);
	struct stat status;

	ck_assert_int_eq(stat(fx->cache_path, &status), 0);
	ck_assert_uint_eq((uint64_t)status.st_size, CACHE_SMALL);
	ck_assert_msg((uint64_t)status.st_blocks * 512 >= CACHE_SMALL, "the cache file is sparse");
	ck_assert_uint_eq(stats.size, sizeof(stats));
	ck_assert_uint_eq(stats.state, PCACHE_STATE_OK);
	ck_assert_uint_eq(stats.mode, PCACHE_MODE_WRITEBACK);
	ck_assert_uint_eq(stats.segment_bytes, SEGMENT_SMALL);
	ck_assert_uint_eq(stats.segments, SEGMENTS);
	ck_assert_uint_eq(stats.capacity_bytes, stats.segments * SEGMENT_SMALL);
	ck_assert_uint_eq(stats.backing_bytes, 4 * MIB);
	ck_assert_uint_ge(stats.max_atomic_bytes, 4096);
	ck_assert_uint_eq(stats.dirty_log_bytes, 0);
	ck_assert_uint_eq(stats.cached_bytes, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(open_takes_granularity_from_the_environment)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);
	const char *forced = getenv("PMEM2_FORCE_GRANULARITY");
	uint32_t granularity = fixture_stats(fx).granularity;

	if (forced == NULL)
		ck_assert_uint_le(granularity, PCACHE_GRANULARITY_PAGE);
	else if (strcmp(forced, "BYTE") == 0)
		ck_assert_uint_eq(granularity, PCACHE_GRANULARITY_BYTE);
	else if (strcmp(forced, "CACHE_LINE") == 0)
		ck_assert_uint_eq(granularity, PCACHE_GRANULARITY_CACHE_LINE);
	else
		ck_assert_uint_eq(granularity, PCACHE_GRANULARITY_PAGE);
	fixture_free(fx);
}
END_TEST

START_TEST(config_init_gives_documented_defaults)
{
	struct pcache_config config;

	memset(&config, 0xff, sizeof(config));
	pcache_config_init(&config);
	ck_assert_uint_eq(config.size, sizeof(config));
	ck_assert_uint_eq(config.flags, 0);
	ck_assert_uint_eq(config.cache_size_bytes, 0);
	ck_assert_uint_eq(config.mode, PCACHE_MODE_DEFAULT);
	ck_assert_uint_eq(config.durability, PCACHE_DURABILITY_AUTO);
	ck_assert_ptr_null(config.log);
	ck_assert(config.segment_size_bytes == 0 || config.segment_size_bytes == 16 * MIB);
	ck_assert(config.gc_percent == 0 || config.gc_percent == 70);
	for (size_t i = 0; i < sizeof(config.backing_id); i++)
		ck_assert_uint_eq(config.backing_id[i], 0);
}
END_TEST

START_TEST(open_without_segment_size_takes_16_mib)
{
	struct fixture *fx = fixture_make_open(MIB, 9 * 16 * MIB, 0);
	struct pcache_stats stats = fixture_stats(fx);

	ck_assert_uint_eq(stats.segment_bytes, 16 * MIB);
	ck_assert_uint_eq(stats.segments, 8);
	ck_assert_uint_ge(stats.max_atomic_bytes, MIB);
	fixture_write(fx, 12345, 54321);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(open_without_config_works_on_existing_cache)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, 100, 5000);
	fixture_close(fx, 0);
	ck_assert_int_eq(pcache_open(fx->cache_path, fx->fd, NULL, &fx->cache), 0);
	ck_assert_uint_eq(fixture_stats(fx).segment_bytes, SEGMENT_SMALL);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(reopen_with_other_create_settings_keeps_those_on_media)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, 0, 100000);
	fixture_close(fx, 0);
	fx->config.segment_size_bytes = 128 * KIB;
	fx->config.cache_size_bytes = 4 * MIB;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	ck_assert_uint_eq(fixture_stats(fx).segment_bytes, SEGMENT_SMALL);
	ck_assert_uint_eq(fixture_stats(fx).segments, SEGMENTS);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(reopen_after_close_reads_what_was_written)
{
	struct fixture *fx = fixture_make_open(2 * MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	for (unsigned i = 0; i < 60; i++)
		fixture_write(fx, test_random_below(&fx->random, 2 * MIB - 5000), 1 + i * 83 % 5000);
	for (unsigned round = 0; round < 3; round++) {
		fixture_reopen(fx);
		fixture_check_all(fx);
		fixture_write(fx, 77777 * round, 3333);
	}
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/*
 * Each segment begins with new versions of what the one before it ends with, and several threads replay them side by
 * side: the newest wins, whoever comes first.
 */
START_TEST(reopen_with_many_replay_threads_keeps_the_newest)
{
	struct fixture *fx = fixture_make(MIB, 12 * MIB, MIB);

	fixture_keep_dirty(fx);
	fx->config.replay_threads = 8;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < 50000; i++)
		fixture_write(fx, i % 1000 * 128 + 32, 64);
	ck_assert_uint_ge(fixture_stats(fx).head_seq, 6);
	for (unsigned round = 0; round < 5; round++) {
		fixture_reopen(fx);
		fixture_check(fx, 0, 200000);
	}
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(close_dirty_then_reopen_can_drain)
{
	struct fixture *fx = fixture_make(2 * MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < 40; i++)
		fixture_write(fx, i * 40000, 4096);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	ck_assert_msg(fixture_stats(fx).dirty_log_bytes >= 40 * 4096, "the cache was not dirty");
	ck_assert_uint_gt(fixture_stats(fx).replay_keys, 0);
	fixture_drain(fx);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	fixture_check_backing(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(reopen_after_drain_reads_the_same)
{
	struct fixture *fx = fixture_make_open(2 * MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, 4095, 300000);
	fixture_close(fx, PCACHE_CLOSE_DRAIN);
	fixture_check_backing(fx);
	fixture_open(fx, 0);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* The backing's last partial block cannot be addressed with O_DIRECT. */
START_TEST(open_with_direct_backing_reads_and_drains)
{
	uint64_t sizes[] = { 2 * MIB, 1000003 };
	struct fixture *fx = fixture_make(sizes[_i], CACHE_SMALL, SEGMENT_SMALL);

	fixture_use_direct(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	fixture_write(fx, fx->bytes - 1, 1);
	fixture_write(fx, 1, 10000);
	fixture_write(fx, 65536 - 7, 300001);
	fixture_write(fx, fx->bytes - 5000, 4000);
	fixture_check_all(fx);
	for (unsigned i = 0; i < 20; i++)
		fixture_check(fx, test_random_below(&fx->random, fx->bytes - 9999), 9999);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(excl_creates_missing_and_refuses_existing)
{
	struct fixture *fx = fixture_make(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_open(fx, PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL);
	fixture_write(fx, 4096, 4096);
	fixture_close(fx, 0);
	fixture_refuse(fx, PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL, -EEXIST);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(create_over_zero_file_formats_it)
{
	struct fixture *fx = fixture_make(MIB, 0, SEGMENT_SMALL);
	uint8_t *zeroes = calloc(1, CACHE_SMALL);

	file_make(fx->cache_path, zeroes, CACHE_SMALL);
	free(zeroes);
	fixture_refuse(fx, 0, -EUCLEAN);
	fixture_open(fx, PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL);
	ck_assert_uint_eq(fixture_stats(fx).segments, SEGMENTS);
	fixture_write(fx, 4096, 70000);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(segments_of_every_size_work)
{
	uint64_t segment_bytes = (64 * KIB) << (2 * _i);
	struct fixture *fx = fixture_make_open(4 * MIB, _i == 0 ? CACHE_LEAST : 9 * segment_bytes, segment_bytes);
	struct pcache_stats stats = fixture_stats(fx);

	ck_assert_uint_eq(stats.segment_bytes, segment_bytes);
	ck_assert_uint_eq(stats.segments, 8);
	for (unsigned i = 0; i < thinned(60); i++) {
		size_t len = 1 + test_random_below(&fx->random, 200000);

		fixture_write(fx, test_random_below(&fx->random, fx->bytes - len), len);
	}
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

static void check_readonly(struct fixture *fx)
{
	struct picture cache = picture_take(fx->cache_path);
	struct picture backing = picture_take(fx->backing_path);

	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_uint_eq(fixture_stats(fx).state, PCACHE_STATE_READ_ONLY);
	fixture_check_all(fx);
	fixture_check(fx, 12345, 70000);
	ck_assert_int_eq(pcache_write(fx->cache, fx->model, 4096, 0, 0), -EROFS);
	ck_assert_int_eq(pcache_write(fx->cache, fx->model, 1, 99, PCACHE_WRITE_FUA), -EROFS);
	ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 0), -EROFS);
	fixture_check_all(fx);
	fixture_close(fx, 0);
	ck_assert_msg(picture_is_same(fx->cache_path, &cache), "a read-only open changed the cache file");
	ck_assert_msg(picture_is_same(fx->backing_path, &backing), "a read-only open changed the backing");
	picture_free(&cache);
	picture_free(&backing);
}

START_TEST(readonly_open_of_clean_cache_reads_and_changes_nothing)
{
	struct fixture *fx = fixture_make_open(2 * MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, 333, 222222);
	fixture_close(fx, PCACHE_CLOSE_DRAIN);
	check_readonly(fx);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(readonly_open_of_dirty_cache_reads_and_changes_nothing)
{
	struct fixture *fx = fixture_make(2 * MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < 50; i++)
		fixture_write(fx, i * 30011, 6000);
	fixture_close(fx, 0);
	check_readonly(fx);
	check_readonly(fx);
	fixture_open(fx, 0);
	ck_assert_uint_gt(fixture_stats(fx).dirty_log_bytes, 0);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(readonly_open_needs_no_writable_backing)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, 5, 50000);
	fixture_close(fx, 0);
	close(fx->fd);
	fx->fd = open(fx->backing_path, O_RDONLY | O_CLOEXEC);
	check_readonly(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(epoch_grows_by_one_with_each_open)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);
	uint64_t epoch = fixture_stats(fx).epoch;

	for (unsigned i = 1; i <= 4; i++) {
		fixture_reopen(fx);
		ck_assert_uint_eq(fixture_stats(fx).epoch, epoch + i);
	}
	fixture_free(fx);
}
END_TEST

/* A program that was compiled when the struct was shorter: what it does not know has its default. */
START_TEST(config_of_smaller_size_is_accepted)
{
	static const uint32_t sizes[] = { offsetof(struct pcache_config, log),
					  offsetof(struct pcache_config, batch_bytes),
					  offsetof(struct pcache_config, replay_threads) };
	struct fixture *fx = fixture_make(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fx->config.size = sizes[_i];
	memset((uint8_t *)&fx->config + sizes[_i], 0xff, sizeof(fx->config) - sizes[_i]);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	fixture_write(fx, 5, 50000);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* A program that was compiled against a later header, and uses nothing of it. */
START_TEST(config_of_larger_size_is_accepted)
{
	struct {
		struct pcache_config config;
		uint8_t later[64];
	} larger = { .later = { 0 } };
	struct fixture *fx = fixture_make(MIB, CACHE_SMALL, SEGMENT_SMALL);

	larger.config = fx->config;
	larger.config.size = sizeof(larger);
	larger.config.flags = PCACHE_OPEN_CREATE;
	ck_assert_int_eq(pcache_open(fx->cache_path, fx->fd, &larger.config, &fx->cache), 0);
	fixture_write(fx, 5, 50000);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(config_of_impossible_size_is_refused)
{
	static const uint32_t sizes[] = { 0, 1, 4, 7, 1u << 20, UINT32_MAX };
	struct fixture *fx = fixture_make(MIB, CACHE_SMALL, SEGMENT_SMALL);
	int ret;

	fx->config.size = sizes[_i];
	fx->config.flags = PCACHE_OPEN_CREATE;
	ret = pcache_open(fx->cache_path, fx->fd, &fx->config, &fx->cache);
	ck_assert_int_eq(ret, -EINVAL);
	ck_assert_ptr_null(fx->cache);
	ck_assert_int_ne(access(fx->cache_path, F_OK), 0);
	fixture_free(fx);
}
END_TEST

START_TEST(stats_of_smaller_size_leave_the_rest_alone)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats stats;
	const uint8_t *bytes = (const uint8_t *)&stats;

	memset(&stats, 0xa5, sizeof(stats));
	stats.size = offsetof(struct pcache_stats, capacity_bytes);
	ck_assert_int_eq(pcache_stats(fx->cache, &stats), 0);
	ck_assert_uint_eq(stats.backing_bytes, MIB);
	for (size_t i = offsetof(struct pcache_stats, capacity_bytes); i < sizeof(stats); i++)
		ck_assert_uint_eq(bytes[i], 0xa5);
	fixture_free(fx);
}
END_TEST

START_TEST(close_of_null_is_nothing)
{
	ck_assert_int_eq(pcache_close(NULL, 0), 0);
	ck_assert_int_eq(pcache_close(NULL, PCACHE_CLOSE_DRAIN), 0);
}
END_TEST

START_TEST(close_with_unknown_flags_still_frees)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, 1, 1000);
	ck_assert_int_eq(pcache_close(fx->cache, 1u << 30), -EINVAL);
	fx->cache = NULL;
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* A joined thread stays in /proc for a moment. */
static unsigned settled_threads(unsigned expected)
{
	for (unsigned look = 0; look < 10000 && count_entries("/proc/self/task") != expected; look++)
		slow_down(1000);
	return count_entries("/proc/self/task");
}

/* Counted from the second open on: TSan starts a thread of its own with the first. */
START_TEST(close_leaves_no_thread_and_no_descriptor)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);
	unsigned threads_open = count_entries("/proc/self/task");
	unsigned descriptors_open = count_entries("/proc/self/fd");

	for (unsigned i = 0; i < 3; i++) {
		fixture_write(fx, 0, 100000);
		fixture_close(fx, i == 1 ? PCACHE_CLOSE_DRAIN : 0);
		ck_assert_uint_lt(count_entries("/proc/self/fd"), descriptors_open);
		fixture_open(fx, 0);
		ck_assert_uint_eq(settled_threads(threads_open), threads_open);
		ck_assert_uint_eq(count_entries("/proc/self/fd"), descriptors_open);
	}
	fixture_free(fx);
}
END_TEST

START_TEST(two_caches_in_one_process_are_independent)
{
	struct fixture *one = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);
	struct fixture *two = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	for (unsigned i = 0; i < 20; i++) {
		fixture_write(one, i * 5000, 7000);
		fixture_write(two, i * 6000, 8000);
	}
	fixture_check_all(one);
	fixture_close(one, PCACHE_CLOSE_DRAIN);
	fixture_check_all(two);
	fixture_drain(two);
	fixture_check_backing(one);
	fixture_check_backing(two);
	fixture_free(one);
	fixture_free(two);
}
END_TEST

START_TEST(any_backing_accepts_grown_backing)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fixture_write(fx, MIB - 3000, 3000);
	fixture_close(fx, 0);
	free(fx->model);
	free(fx->scratch);
	fx->bytes = 2 * MIB;
	fx->model = calloc(1, fx->bytes);
	fx->scratch = malloc(fx->bytes);
	ck_assert_int_eq(ftruncate(fx->fd, (off_t)fx->bytes), 0);
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_open(fx, PCACHE_OPEN_ANY_BACKING);
	ck_assert_uint_eq(fixture_stats(fx).backing_bytes, 2 * MIB);
	fixture_write(fx, 0, fx->bytes);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(version_names_the_header)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "%d.%d.%d", PCACHE_VERSION_MAJOR, PCACHE_VERSION_MINOR,
		 PCACHE_VERSION_PATCH);
	ck_assert_str_eq(pcache_version(), expected);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("open");
	TCase *tests = test_case(suite, "open");

	tcase_add_test(tests, open_missing_with_create_makes_cache);
	tcase_add_test(tests, open_takes_granularity_from_the_environment);
	tcase_add_test(tests, config_init_gives_documented_defaults);
	tcase_add_test(tests, open_without_segment_size_takes_16_mib);
	tcase_add_test(tests, open_without_config_works_on_existing_cache);
	tcase_add_test(tests, reopen_with_other_create_settings_keeps_those_on_media);
	tcase_add_test(tests, reopen_after_close_reads_what_was_written);
	tcase_add_test(tests, reopen_with_many_replay_threads_keeps_the_newest);
	tcase_add_test(tests, close_dirty_then_reopen_can_drain);
	tcase_add_test(tests, reopen_after_drain_reads_the_same);
	tcase_add_loop_test(tests, open_with_direct_backing_reads_and_drains, 0, 2);
	tcase_add_test(tests, excl_creates_missing_and_refuses_existing);
	tcase_add_test(tests, create_over_zero_file_formats_it);
	tcase_add_loop_test(tests, segments_of_every_size_work, 0, 5);
	tcase_add_test(tests, readonly_open_of_clean_cache_reads_and_changes_nothing);
	tcase_add_test(tests, readonly_open_of_dirty_cache_reads_and_changes_nothing);
	tcase_add_test(tests, readonly_open_needs_no_writable_backing);
	tcase_add_test(tests, epoch_grows_by_one_with_each_open);
	tcase_add_loop_test(tests, config_of_smaller_size_is_accepted, 0, 3);
	tcase_add_test(tests, config_of_larger_size_is_accepted);
	tcase_add_loop_test(tests, config_of_impossible_size_is_refused, 0, 6);
	tcase_add_test(tests, stats_of_smaller_size_leave_the_rest_alone);
	tcase_add_test(tests, close_of_null_is_nothing);
	tcase_add_test(tests, close_with_unknown_flags_still_frees);
	tcase_add_test(tests, close_leaves_no_thread_and_no_descriptor);
	tcase_add_test(tests, two_caches_in_one_process_are_independent);
	tcase_add_test(tests, any_backing_accepts_grown_backing);
	tcase_add_test(tests, version_names_the_header);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
