/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_tunables.c - settings that change while the cache is open.
 *
 * Goal: a change counts at once, wakes whoever it matters to, and is refused outside its limits. Method: conditions that come
 * true only if the new value is used; what must not happen is looked for after many chances to happen.
 */
#include "fixture.h"

#include <errno.h>

#define VOLUME_BYTES (4 * MIB)
#define GIB          (1024 * MIB)

static void set(struct fixture *fx, enum pcache_tunable tunable, uint64_t value)
{
	uint64_t now = ~value;

	ck_assert_int_eq(pcache_set(fx->cache, tunable, value), 0);
	ck_assert_int_eq(pcache_get(fx->cache, tunable, &now), 0);
	ck_assert_uint_eq(now, value);
}

/* Open, and nothing is written back by itself. */
static struct fixture *make_quiet(void)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	return fx;
}

/* Many chances for write-back to run, or to fall asleep; decides nothing. */
static void give_chances(void)
{
	for (unsigned i = 0; i < 50; i++)
		slow_down(1000);
}

static void wait_until_clean(struct fixture *fx)
{
	while (fixture_stats(fx).dirty_log_bytes > 0)
		slow_down(1000);
}

static void finish(struct fixture *fx)
{
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}

START_TEST(lower_dirty_mark_starts_writeback)
{
	struct fixture *fx = make_quiet();

	fixture_write(fx, 0, MIB);
	give_chances();
	ck_assert_uint_gt(fixture_stats(fx).dirty_log_bytes, 0);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, 0);
	wait_until_clean(fx);
	finish(fx);
}
END_TEST

START_TEST(shorter_age_starts_writeback)
{
	struct fixture *fx = make_quiet();

	fixture_write(fx, 0, 5000);
	set(fx, PCACHE_TUNABLE_DIRTY_AGE_MS, 1);
	fixture_write(fx, MIB, 5000);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, 0); /* the age of what was dirty before was set by the older value */
	wait_until_clean(fx);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, UINT64_MAX); /* from here on it is the age alone */
	fixture_write(fx, 2 * MIB, 5000);
	wait_until_clean(fx);
	finish(fx);
}
END_TEST

START_TEST(paused_writeback_waits_until_it_is_resumed)
{
	struct fixture *fx = make_quiet();

	set(fx, PCACHE_TUNABLE_WRITEBACK_PAUSED, 1);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, 0);
	for (unsigned i = 0; i < 200; i++)
		fixture_write(fx, i * 4096, 4096);
	give_chances();
	ck_assert_uint_eq(fixture_stats(fx).writeback_batches, 0);
	set(fx, PCACHE_TUNABLE_WRITEBACK_PAUSED, 0);
	wait_until_clean(fx);
	finish(fx);
}
END_TEST

START_TEST(paused_writeback_still_drains)
{
	struct fixture *fx = make_quiet();

	set(fx, PCACHE_TUNABLE_WRITEBACK_PAUSED, 1);
	fixture_write(fx, 0, MIB);
	fixture_drain(fx);
	fixture_check_backing(fx);
	finish(fx);
}
END_TEST

START_TEST(paused_writeback_still_makes_room)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_LEAST, SEGMENT_SMALL);

	set(fx, PCACHE_TUNABLE_WRITEBACK_PAUSED, 1);
	for (unsigned i = 0; i < 4; i++)
		fixture_write(fx, i * MIB, MIB); /* several times the cache */
	finish(fx);
}
END_TEST

START_TEST(lower_gc_percent_frees_segments)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);

	fx->config.gc_percent = 95;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	fixture_write(fx, 0, 2 * MIB);
	fixture_drain(fx);
	set(fx, PCACHE_TUNABLE_FILL, PCACHE_FILL_NEVER);
	set(fx, PCACHE_TUNABLE_GC_PERCENT, 0);
	while (fixture_stats(fx).segments - fixture_stats(fx).segments_free > 2)
		slow_down(1000);
	finish(fx);
}
END_TEST

START_TEST(verify_always_finds_what_verify_first_no_longer_looks_at)
{
	struct fixture *fx = make_quiet();
	uint8_t seen[4096];

	fixture_write(fx, 8192, 4096);
	fixture_check(fx, 8192, 4096);
	file_flip(fx->cache_path, file_find(fx->cache_path, fx->model + 8192, 4096) + 100);
	ck_assert_int_eq(pcache_read(fx->cache, seen, 4096, 8192, 0), 4096);
	set(fx, PCACHE_TUNABLE_READ_VERIFY, PCACHE_VERIFY_ALWAYS);
	ck_assert_int_eq(pcache_read(fx->cache, seen, 4096, 8192, 0), -EBADMSG);
	fixture_write(fx, 8192, 4096);
	finish(fx);
}
END_TEST

static const struct {
	enum pcache_tunable tunable;
	uint64_t min;
	uint64_t max;
} limits[] = {
	{ PCACHE_TUNABLE_EVICTION, 0, 1 },
	{ PCACHE_TUNABLE_FILL, 0, 2 },
	{ PCACHE_TUNABLE_READ_AHEAD, 0, 256 * KIB },
	{ PCACHE_TUNABLE_SEQUENTIAL_BYPASS, 0, INT64_MAX },
	{ PCACHE_TUNABLE_GC_PERCENT, 0, 95 },
	{ PCACHE_TUNABLE_DIRTY_HIGH, 0, UINT64_MAX },
	{ PCACHE_TUNABLE_DIRTY_AGE_MS, 1, UINT32_MAX },
	{ PCACHE_TUNABLE_BATCH_BYTES, 1, UINT64_MAX },
	{ PCACHE_TUNABLE_READ_VERIFY, 0, 2 },
	{ PCACHE_TUNABLE_WRITEBACK_PAUSED, 0, 1 },
	{ PCACHE_TUNABLE_MODE, PCACHE_MODE_WRITEBACK, PCACHE_MODE_WRITEONLY },
	{ PCACHE_TUNABLE_BACKING_WAIT_MS, 0, UINT32_MAX },
	{ PCACHE_TUNABLE_DIRTY_LOW, 0, UINT64_MAX },
	{ PCACHE_TUNABLE_QUEUE_DEPTH, 1, 256 },
	{ PCACHE_TUNABLE_WRITEBACK_RATE, 0, UINT64_MAX },
};

START_TEST(tunable_is_refused_outside_its_limits)
{
	struct fixture *fx = make_quiet();
	enum pcache_tunable tunable = limits[_i].tunable;
	uint64_t value;

	set(fx, tunable, limits[_i].min);
	set(fx, tunable, limits[_i].max);
	ck_assert_uint_eq(fx->log_errors, 0);
	if (limits[_i].max < UINT64_MAX)
		ck_assert_int_eq(pcache_set(fx->cache, tunable, limits[_i].max + 1), -ERANGE);
	if (limits[_i].min > 0)
		ck_assert_int_eq(pcache_set(fx->cache, tunable, limits[_i].min - 1), -ERANGE);
	ck_assert_uint_eq(fx->log_errors, (limits[_i].max < UINT64_MAX) + (limits[_i].min > 0));
	ck_assert_int_eq(pcache_get(fx->cache, tunable, &value), 0);
	ck_assert_uint_eq(value, limits[_i].max);
	fixture_free(fx);
}
END_TEST

START_TEST(tunable_that_does_not_exist_is_refused)
{
	struct fixture *fx = make_quiet();
	uint64_t value = 5;

	ck_assert_int_eq(pcache_set(fx->cache, (enum pcache_tunable)99, 0), -EINVAL);
	ck_assert_int_eq(pcache_get(fx->cache, (enum pcache_tunable)99, &value), -EINVAL);
	ck_assert_int_eq(pcache_get(fx->cache, PCACHE_TUNABLE_FILL, NULL), -EINVAL);
	ck_assert_int_eq(pcache_set(NULL, PCACHE_TUNABLE_FILL, 0), -EINVAL);
	ck_assert_int_eq(pcache_get(NULL, PCACHE_TUNABLE_FILL, &value), -EINVAL);
	ck_assert_uint_eq(value, 5);
	fixture_free(fx);
}
END_TEST

static uint64_t gc_percent_of(struct fixture *fx)
{
	uint64_t value = 0;

	ck_assert_int_eq(pcache_get(fx->cache, PCACHE_TUNABLE_GC_PERCENT, &value), 0);
	return value;
}

START_TEST(gc_percent_outlives_the_close)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	ck_assert_uint_eq(gc_percent_of(fx), 70);
	set(fx, PCACHE_TUNABLE_GC_PERCENT, 42);
	fixture_reopen(fx);
	ck_assert_uint_eq(gc_percent_of(fx), 42);
	set(fx, PCACHE_TUNABLE_GC_PERCENT, 0);
	fixture_reopen(fx);
	ck_assert_uint_eq(gc_percent_of(fx), 0);
	fx->config.gc_percent = 33; /* asked for at open: from then on this one */
	fixture_reopen(fx);
	fx->config.gc_percent = 0;
	fixture_reopen(fx);
	ck_assert_uint_eq(gc_percent_of(fx), 33);
	fixture_free(fx);
}
END_TEST

/* Dirty now, once write-back has come to rest. */
static uint64_t dirty_at_rest(struct fixture *fx)
{
	uint64_t batches = 0;

	do {
		batches = fixture_stats(fx).writeback_batches;
		give_chances();
	} while (fixture_stats(fx).writeback_batches != batches || batches == 0);
	return fixture_stats(fx).dirty_log_bytes;
}

START_TEST(low_dirty_mark_stops_writeback)
{
	static const struct {
		uint64_t low;
		uint64_t at_most;
	} marks[] = { { 0, 0 }, { 256 * KIB, 256 * KIB }, { PCACHE_DIRTY_LOW_HALF, 512 * KIB } };
	struct fixture *fx = make_quiet();

	set(fx, PCACHE_TUNABLE_BATCH_BYTES, 1);
	set(fx, PCACHE_TUNABLE_DIRTY_LOW, marks[_i].low);
	fixture_write(fx, 0, 2 * MIB);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, MIB);
	while (fixture_stats(fx).dirty_log_bytes > marks[_i].at_most)
		slow_down(1000);
	if (marks[_i].low != 0) /* it did not go on to the end */
		ck_assert_uint_gt(dirty_at_rest(fx), marks[_i].at_most / 2);
	finish(fx);
}
END_TEST

START_TEST(low_dirty_mark_above_the_high_one_counts_as_that)
{
	struct fixture *fx = make_quiet();

	set(fx, PCACHE_TUNABLE_DIRTY_LOW, UINT64_MAX - 1);
	fixture_write(fx, 0, MIB);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, 0);
	wait_until_clean(fx);
	finish(fx);
}
END_TEST

START_TEST(queue_depth_changes_between_batches)
{
	static const uint32_t depths[] = { 1, 256, 3, 64 };
	struct fixture *fx = make_quiet();

	for (unsigned i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		set(fx, PCACHE_TUNABLE_QUEUE_DEPTH, depths[i]);
		for (unsigned j = 0; j < 150; j++)
			fixture_write(fx, j * 16384 + i * 4096, 4096);
		fixture_drain(fx);
		fixture_check_backing(fx);
	}
	finish(fx);
}
END_TEST

/* The rate is so low that what it allows would take days. */
START_TEST(writeback_rate_holds_back_until_somebody_waits)
{
	struct fixture *fx = make_quiet();

	set(fx, PCACHE_TUNABLE_WRITEBACK_RATE, 1);
	set(fx, PCACHE_TUNABLE_BATCH_BYTES, 1);
	fixture_write(fx, 0, 2 * MIB);
	set(fx, PCACHE_TUNABLE_DIRTY_HIGH, 0);
	give_chances();
	ck_assert_uint_gt(fixture_stats(fx).dirty_log_bytes, 0);
	if (_i == 0) { /* a drain */
		fixture_drain(fx);
	} else if (_i == 1) { /* writers without space */
		fixture_write(fx, 0, 4 * MIB);
		fixture_write(fx, 0, 4 * MIB);
	} else if (_i == 2) { /* another rate */
		set(fx, PCACHE_TUNABLE_WRITEBACK_RATE, GIB);
		wait_until_clean(fx);
	} else { /* close */
		fixture_reopen(fx);
	}
	finish(fx);
}
END_TEST

START_TEST(gc_percent_cannot_be_set_read_only)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	set(fx, PCACHE_TUNABLE_GC_PERCENT, 42);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_GC_PERCENT, 50), -EROFS);
	ck_assert_uint_eq(gc_percent_of(fx), 42);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("tunables");
	TCase *tests = test_case(suite, "tunables");

	tcase_add_test(tests, lower_dirty_mark_starts_writeback);
	tcase_add_test(tests, shorter_age_starts_writeback);
	tcase_add_test(tests, paused_writeback_waits_until_it_is_resumed);
	tcase_add_test(tests, paused_writeback_still_drains);
	tcase_add_test(tests, paused_writeback_still_makes_room);
	tcase_add_test(tests, lower_gc_percent_frees_segments);
	tcase_add_test(tests, verify_always_finds_what_verify_first_no_longer_looks_at);
	tcase_add_loop_test(tests, tunable_is_refused_outside_its_limits, 0, (int)(sizeof(limits) / sizeof(limits[0])));
	tcase_add_test(tests, tunable_that_does_not_exist_is_refused);
	tcase_add_test(tests, gc_percent_outlives_the_close);
	tcase_add_loop_test(tests, low_dirty_mark_stops_writeback, 0, 3);
	tcase_add_test(tests, low_dirty_mark_above_the_high_one_counts_as_that);
	tcase_add_test(tests, queue_depth_changes_between_batches);
	tcase_add_loop_test(tests, writeback_rate_holds_back_until_somebody_waits, 0, 4);
	tcase_add_test(tests, gc_percent_cannot_be_set_read_only);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
