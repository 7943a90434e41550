/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_change.c - a cache that changes as a whole: it is emptied, with or without its backing, or it grows.
 *
 * Goal: nothing that is only in the cache goes unless the caller said so, a refusal changes nothing, and what was
 * emptied or has grown works like any other. Method: a model array, and pictures of both files before and after.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VOLUME_BYTES MIB
#define SEGMENTS     14 /* of SEGMENT_SMALL in CACHE_SMALL */

/* Closed, with `bytes` dirty bytes, or with as many clean ones. */
static struct fixture *make_closed(uint64_t bytes, bool is_dirty)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	fixture_write(fx, 0, bytes);
	if (!is_dirty)
		fixture_drain(fx);
	fixture_close(fx, 0);
	return fx;
}

/* The volume is what the backing has. */
static void forget_dirty(struct fixture *fx)
{
	file_read(fx->backing_path, 0, fx->model, fx->bytes);
}

static void resize_backing(struct fixture *fx, uint64_t bytes)
{
	ck_assert_int_eq(ftruncate(fx->fd, (off_t)bytes), 0);
	free(fx->model);
	free(fx->scratch);
	fx->bytes = bytes;
	fx->model = malloc(bytes);
	fx->scratch = malloc(bytes);
	forget_dirty(fx);
}

static void check_works(struct fixture *fx)
{
	fixture_check_all(fx);
	for (unsigned i = 0; i < 2; i++)
		fixture_write(fx, 0, fx->bytes); /* in all more than the cache holds */
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
}

static uint64_t file_bytes(const char *path)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	return (uint64_t)status.st_size;
}

/* The bytes that the log said are thrown away; UINT64_MAX: it did not. */
static uint64_t thrown_away;

static void note_thrown_away(enum pcache_log_level level, const char *message, void *arg)
{
	unsigned long long bytes;

	(void)arg;
	if (level == PCACHE_LOG_WARNING && sscanf(message, "%llu bytes of writes", &bytes) == 1)
		thrown_away = bytes;
}

static void listen(struct fixture *fx)
{
	thrown_away = UINT64_MAX;
	fx->config.log = note_thrown_away;
}

/* ---- drop ---- */

START_TEST(drop_clean_empties_a_clean_cache)
{
	struct fixture *fx = make_closed(200000, false);
	struct pcache_stats stats;

	fixture_open(fx, PCACHE_OPEN_DROP_CLEAN);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.cached_bytes, 0);
	ck_assert_uint_eq(stats.replay_keys, 0);
	ck_assert_uint_eq(stats.segments, SEGMENTS);
	ck_assert_uint_eq(stats.segments_free, SEGMENTS - 1);
	ck_assert_uint_eq(stats.epoch, 2);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(drop_clean_refuses_a_dirty_cache)
{
	struct fixture *fx = make_closed(200000, true);

	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN, -ENOTEMPTY);
	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN | PCACHE_OPEN_ANY_BACKING | PCACHE_OPEN_CREATE, -ENOTEMPTY);
	fixture_open(fx, 0);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(one_dirty_byte_is_enough_to_be_refused)
{
	struct fixture *fx = make_closed(1, true);

	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN, -ENOTEMPTY);
	fixture_open(fx, 0);
	fixture_drain(fx);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_DROP_CLEAN);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(clean_cache_of_a_resized_backing_is_refused_until_it_is_dropped)
{
	static const uint64_t sizes[] = { VOLUME_BYTES / 2, VOLUME_BYTES + 4096 };
	struct fixture *fx = make_closed(200000, false);

	resize_backing(fx, sizes[_i]);
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_open(fx, PCACHE_OPEN_DROP_CLEAN);
	ck_assert_uint_eq(fixture_stats(fx).backing_bytes, sizes[_i]);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(dirty_cache_of_a_smaller_backing_is_dropped_only_by_discard_dirty)
{
	struct fixture *fx = make_closed(VOLUME_BYTES / 4, true);

	resize_backing(fx, VOLUME_BYTES / 8);
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_refuse(fx, PCACHE_OPEN_ANY_BACKING, -EMEDIUMTYPE);
	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN, -ENOTEMPTY);
	listen(fx);
	fixture_open(fx, PCACHE_OPEN_DISCARD_DIRTY);
	ck_assert_uint_eq(thrown_away, VOLUME_BYTES / 4);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(drop_takes_the_backing_id_over)
{
	struct fixture *fx = make_closed(5000, false);

	fx->config.backing_id[0] = 7;
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_open(fx, PCACHE_OPEN_DROP_CLEAN);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	fixture_close(fx, 0);
	fx->config.backing_id[0] = 8;
	fixture_refuse(fx, 0, -EMEDIUMTYPE);
	fixture_free(fx);
}
END_TEST

START_TEST(discard_dirty_says_how_much_it_throws_away)
{
	struct fixture *fx = make_closed(123456, true);

	listen(fx);
	fixture_open(fx, PCACHE_OPEN_DISCARD_DIRTY);
	ck_assert_uint_eq(thrown_away, 123456);
	forget_dirty(fx);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(discard_dirty_of_a_clean_cache_throws_nothing_away)
{
	struct fixture *fx = make_closed(123456, false);

	listen(fx);
	fixture_open(fx, PCACHE_OPEN_DISCARD_DIRTY);
	ck_assert_uint_eq(thrown_away, UINT64_MAX);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

/* Both copies of the record of each segment, and what the log begins with. */
START_TEST(discard_dirty_empties_a_damaged_cache)
{
	struct fixture *fx = make_closed(200000, true);

	for (unsigned i = 0; i < SEGMENTS; i++)
		for (unsigned slot = 0; slot < 2; slot++)
			file_flip(fx->cache_path, 128 * KIB + i * SEGMENT_SMALL + slot * 4096 + 20);
	if (_i == 1)
		for (unsigned slot = 0; slot < 2; slot++)
			file_flip(fx->cache_path, 72 * KIB + slot * 4096 + 20);
	fixture_refuse(fx, 0, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN, -EUCLEAN);
	fixture_open(fx, PCACHE_OPEN_DISCARD_DIRTY);
	forget_dirty(fx);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(drop_creates_a_missing_cache_with_create)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	fixture_open(fx, PCACHE_OPEN_CREATE | PCACHE_OPEN_DROP_CLEAN | PCACHE_OPEN_GROW);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

/* ---- forget ---- */

START_TEST(forget_empties_a_clean_cache)
{
	struct fixture *fx = make_closed(200000, false);

	fx->config.flags = 0;
	ck_assert_int_eq(pcache_forget(fx->cache_path, _i == 0 ? NULL : &fx->config), 0);
	fixture_open(fx, 0);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 0);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(forget_keeps_dirty_data_unless_told)
{
	struct fixture *fx = make_closed(200000, true);
	struct picture before = picture_take(fx->cache_path);

	ck_assert_int_eq(pcache_forget(fx->cache_path, NULL), -ENOTEMPTY);
	ck_assert(picture_is_same(fx->cache_path, &before));
	listen(fx);
	fx->config.flags = PCACHE_OPEN_DISCARD_DIRTY;
	ck_assert_int_eq(pcache_forget(fx->cache_path, &fx->config), 0);
	ck_assert_uint_eq(thrown_away, 200000);
	forget_dirty(fx);
	fixture_open(fx, 0);
	check_works(fx);
	picture_free(&before);
	fixture_free(fx);
}
END_TEST

START_TEST(forget_refuses_what_makes_no_sense)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	static const uint32_t flags[] = { PCACHE_OPEN_CREATE, PCACHE_OPEN_READONLY, PCACHE_OPEN_GROW, 1u << 31 };

	ck_assert_int_eq(pcache_forget(fx->cache_path, NULL), -EBUSY);
	fixture_close(fx, 0);
	ck_assert_int_eq(pcache_forget(NULL, NULL), -EINVAL);
	ck_assert_int_eq(pcache_forget("/nowhere/at/all", NULL), -ENOENT);
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		fx->config.flags = flags[i];
		ck_assert_int_eq(pcache_forget(fx->cache_path, &fx->config), -EINVAL);
	}
	fx->config.flags = 0;
	fx->config.backing_id[3] = 1;
	ck_assert_int_eq(pcache_forget(fx->cache_path, &fx->config), -EMEDIUMTYPE);
	fx->config.flags = PCACHE_OPEN_ANY_BACKING;
	ck_assert_int_eq(pcache_forget(fx->cache_path, &fx->config), 0);
	fixture_free(fx);
}
END_TEST

/* ---- grow ---- */

START_TEST(grow_makes_the_file_longer_and_keeps_everything)
{
	struct fixture *fx = make_closed(300000, true);

	fx->config.cache_size_bytes = 2 * MIB;
	fixture_open(fx, PCACHE_OPEN_GROW);
	ck_assert_uint_eq(file_bytes(fx->cache_path), 2 * MIB);
	ck_assert_uint_eq(fixture_stats(fx).segments, 30);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes > 300000, 1);
	check_works(fx);
	fx->config.cache_size_bytes = 0;
	fixture_reopen(fx);
	ck_assert_uint_eq(fixture_stats(fx).segments, 30);
	fixture_free(fx);
}
END_TEST

START_TEST(grow_takes_a_file_that_is_longer_already)
{
	struct fixture *fx = make_closed(300000, true);

	ck_assert_int_eq(truncate(fx->cache_path, (off_t)(2 * MIB)), 0);
	fx->config.cache_size_bytes = 0;
	fixture_open(fx, 0);
	ck_assert_uint_eq(fixture_stats(fx).segments, SEGMENTS);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_GROW);
	ck_assert_uint_eq(fixture_stats(fx).segments, 30);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(grow_by_less_than_a_segment_changes_nothing)
{
	struct fixture *fx = make_closed(300000, true);

	fx->config.cache_size_bytes = CACHE_SMALL + SEGMENT_SMALL - 1;
	fixture_open(fx, PCACHE_OPEN_GROW);
	ck_assert_uint_eq(fixture_stats(fx).segments, SEGMENTS);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(grow_refuses_to_shrink)
{
	struct fixture *fx = make_closed(300000, true);

	fx->config.cache_size_bytes = CACHE_SMALL - 1;
	fixture_refuse(fx, PCACHE_OPEN_GROW, -EINVAL);
	fixture_refuse(fx, PCACHE_OPEN_GROW | PCACHE_OPEN_READONLY, -EINVAL);
	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN | PCACHE_OPEN_READONLY, -EINVAL);
	fixture_open(fx, 0);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(refused_grow_leaves_the_file_as_long_as_it_was)
{
	struct fixture *fx = make_closed(300000, true);

	fx->config.cache_size_bytes = 2 * MIB;
	fx->config.backing_id[0] = 1;
	ck_assert_int_eq(fixture_try_open(fx, PCACHE_OPEN_GROW), -EMEDIUMTYPE);
	ck_assert_uint_eq(file_bytes(fx->cache_path), CACHE_SMALL);
	fx->config.backing_id[0] = 0;
	ck_assert_int_eq(fixture_try_open(fx, PCACHE_OPEN_GROW | PCACHE_OPEN_DROP_CLEAN), -ENOTEMPTY);
	ck_assert_uint_eq(file_bytes(fx->cache_path), CACHE_SMALL);
	fixture_open(fx, 0);
	ck_assert_uint_eq(fixture_stats(fx).segments, SEGMENTS);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(drop_and_grow_go_together)
{
	struct fixture *fx = make_closed(300000, false);

	fx->config.cache_size_bytes = 2 * MIB;
	fixture_open(fx, PCACHE_OPEN_GROW | PCACHE_OPEN_DROP_CLEAN);
	ck_assert_uint_eq(fixture_stats(fx).segments, 30);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 0);
	check_works(fx);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("change");
	TCase *tests = test_case(suite, "change");

	tcase_add_test(tests, drop_clean_empties_a_clean_cache);
	tcase_add_test(tests, drop_clean_refuses_a_dirty_cache);
	tcase_add_test(tests, one_dirty_byte_is_enough_to_be_refused);
	tcase_add_loop_test(tests, clean_cache_of_a_resized_backing_is_refused_until_it_is_dropped, 0, 2);
	tcase_add_test(tests, dirty_cache_of_a_smaller_backing_is_dropped_only_by_discard_dirty);
	tcase_add_test(tests, drop_takes_the_backing_id_over);
	tcase_add_test(tests, discard_dirty_says_how_much_it_throws_away);
	tcase_add_test(tests, discard_dirty_of_a_clean_cache_throws_nothing_away);
	tcase_add_loop_test(tests, discard_dirty_empties_a_damaged_cache, 0, 2);
	tcase_add_test(tests, drop_creates_a_missing_cache_with_create);
	tcase_add_loop_test(tests, forget_empties_a_clean_cache, 0, 2);
	tcase_add_test(tests, forget_keeps_dirty_data_unless_told);
	tcase_add_test(tests, forget_refuses_what_makes_no_sense);
	tcase_add_test(tests, grow_makes_the_file_longer_and_keeps_everything);
	tcase_add_test(tests, grow_takes_a_file_that_is_longer_already);
	tcase_add_test(tests, grow_by_less_than_a_segment_changes_nothing);
	tcase_add_test(tests, grow_refuses_to_shrink);
	tcase_add_test(tests, refused_grow_leaves_the_file_as_long_as_it_was);
	tcase_add_test(tests, drop_and_grow_go_together);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
