/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_scrub.c - pcache_scrub() and pcache_damaged(): damage is found, told apart, and listed as long as it is there.
 *
 * Method: bytes of a closed cache file are flipped, then it is opened and scrubbed.
 */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define VOLUME_BYTES (2 * MIB)
#define BLOCK        4096u
#define BAD          2u /* the block that is damaged */

static void damage_block(const struct fixture *fx, unsigned block)
{
	uint64_t place = file_find(fx->cache_path, fx->model + block * BLOCK, BLOCK);

	ck_assert_msg(place != UINT64_MAX, "block %u is not in the cache file", block);
	file_flip(fx->cache_path, place + 1000);
}

static void expect_damaged_as(struct fixture *fx, uint64_t off, uint64_t len, uint32_t state)
{
	struct pcache_range ranges[4];

	ck_assert_int_eq(pcache_damaged(fx->cache, ranges, 4), len == 0 ? 0 : 1);
	if (len == 0)
		return;
	ck_assert_uint_eq(ranges[0].off, off);
	ck_assert_uint_eq(ranges[0].len, len);
	ck_assert_uint_eq(ranges[0].state, state);
}

static void expect_damaged(struct fixture *fx, uint64_t off, uint64_t len)
{
	expect_damaged_as(fx, off, len, PCACHE_RANGE_DIRTY | PCACHE_RANGE_LOST);
}

static int scrub(struct fixture *fx)
{
	return pcache_scrub(fx->cache, NULL, NULL, 0, 0);
}

/* The media may be slow to say so, but never faster than the rate. */
START_TEST(sound_cache_is_scrubbed_at_most_at_the_rate)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	struct timespec before;
	struct timespec after;
	double seconds;

	fixture_open(fx, 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	ck_assert_int_eq(pcache_scrub(fx->cache, NULL, NULL, DIRTY_BLOCKS * BLOCK * 10, 0), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9;
	ck_assert_msg(seconds >= 0.1, "%.3f s", seconds);
	ck_assert_uint_eq(fixture_stats(fx).scrubbed_bytes, DIRTY_BLOCKS * BLOCK);
	ck_assert_uint_eq(fixture_stats(fx).checksum_errors, 0);
	expect_damaged(fx, 0, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(damaged_dirty_data_is_counted_and_listed_until_it_is_written_again)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	damage_block(fx, BAD);
	fixture_open(fx, 0);
	expect_damaged(fx, 0, 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(scrub(fx), -EBADMSG);
	ck_assert_uint_ge(fixture_stats(fx).checksum_errors, 3);
	expect_damaged(fx, BAD * BLOCK, BLOCK);
	fixture_write(fx, BAD * BLOCK + 1024, BLOCK);
	expect_damaged(fx, BAD * BLOCK, 1024);
	ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, BLOCK, BAD * BLOCK, 0), -EBADMSG);
	fixture_write(fx, BAD * BLOCK, 1024);
	expect_damaged(fx, 0, 0);
	ck_assert_int_eq(scrub(fx), 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(read_and_write_back_list_what_they_find)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	damage_block(fx, BAD);
	fixture_open(fx, 0);
	if (_i == 0)
		ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 10, BAD * BLOCK, 0), -EBADMSG);
	else
		ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 0), -EBADMSG);
	expect_damaged_as(fx, BAD * BLOCK, BLOCK, (_i == 0 ? PCACHE_RANGE_DIRTY : 0) | PCACHE_RANGE_LOST);
	if (_i == 1) { /* as long as it is there */
		fixture_reopen(fx);
		expect_damaged_as(fx, BAD * BLOCK, BLOCK, PCACHE_RANGE_LOST);
		ck_assert_int_eq(scrub(fx), -EBADMSG);
	}
	fixture_free(fx);
}
END_TEST

/* It is in the log still, but on the backing, too. */
START_TEST(damaged_written_data_that_is_on_the_backing_is_read_from_there)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	fixture_open(fx, 0);
	fixture_drain(fx);
	fixture_close(fx, 0);
	damage_block(fx, BAD);
	fx->config.fill = PCACHE_FILL_NEVER; /* what is read would push the log out */
	for (unsigned i = 0; i < 2; i++) { /* and at the next open again */
		fixture_open(fx, i == 0 ? 0 : PCACHE_OPEN_READONLY);
		if (_i == 0)
			ck_assert_int_eq(scrub(fx), 0);
		fixture_check_all(fx);
		ck_assert_uint_eq(fixture_stats(fx).clean_errors, 1);
		ck_assert_uint_eq(fixture_stats(fx).checksum_errors, 0);
		expect_damaged(fx, 0, 0);
		fixture_close(fx, 0);
	}
	fixture_free(fx);
}
END_TEST

static int cancel_at_once(uint64_t done, uint64_t total, void *arg)
{
	ck_assert_uint_le(done, total);
	ck_assert_uint_eq(total, DIRTY_BLOCKS * BLOCK);
	++*(unsigned *)arg;
	return 1;
}

START_TEST(scrub_that_is_cancelled_ends)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	unsigned calls = 0;

	fixture_open(fx, 0);
	ck_assert_int_eq(pcache_scrub(fx->cache, cancel_at_once, &calls, 1, 0), -ECANCELED);
	ck_assert_uint_eq(calls, 1);
	fixture_free(fx);
}
END_TEST

START_TEST(bad_arguments_give_einval)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	struct pcache_range range;

	fixture_open(fx, 0);
	ck_assert_int_eq(pcache_scrub(fx->cache, NULL, NULL, 0, 1), -EINVAL);
	ck_assert_int_eq(pcache_scrub(NULL, NULL, NULL, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_damaged(fx->cache, NULL, 1), -EINVAL);
	ck_assert_int_eq(pcache_damaged(fx->cache, &range, 0), -EINVAL);
	ck_assert_int_eq(pcache_damaged(NULL, &range, 1), -EINVAL);
	fixture_free(fx);
}
END_TEST

struct scrubber {
	pthread_t thread;
	struct fixture *fx;
	_Atomic bool stop;
	int ret;
};

static void *scrub_all_the_time(void *arg)
{
	struct scrubber *scrubber = arg;

	while (scrubber->ret == 0 && !scrubber->stop)
		scrubber->ret = scrub(scrubber->fx);
	return NULL;
}

/* What it looks at is overwritten, written back and evicted meanwhile: never an error, and nobody reads anything wrong. */
START_TEST(scrub_beside_writers_and_reclaim_finds_nothing)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct scrubber scrubber = { .fx = fx };

	ck_assert_int_eq(pthread_create(&scrubber.thread, NULL, scrub_all_the_time, &scrubber), 0);
	for (unsigned i = 0; i < thinned(1500); i++)
		fixture_write(fx, test_random_below(&fx->random, VOLUME_BYTES - BLOCK), BLOCK);
	scrubber.stop = true;
	pthread_join(scrubber.thread, NULL);
	ck_assert_int_eq(scrubber.ret, 0);
	ck_assert_uint_eq(fixture_stats(fx).checksum_errors + fixture_stats(fx).clean_errors, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scrub");
	TCase *tests = test_case(suite, "scrub");

	tcase_add_test(tests, sound_cache_is_scrubbed_at_most_at_the_rate);
	tcase_add_test(tests, damaged_dirty_data_is_counted_and_listed_until_it_is_written_again);
	tcase_add_loop_test(tests, read_and_write_back_list_what_they_find, 0, 2);
	tcase_add_loop_test(tests, damaged_written_data_that_is_on_the_backing_is_read_from_there, 0, 2);
	tcase_add_test(tests, scrub_that_is_cancelled_ends);
	tcase_add_test(tests, bad_arguments_give_einval);
	tcase_add_test(tests, scrub_beside_writers_and_reclaim_finds_nothing);
	return test_main(suite);
}
