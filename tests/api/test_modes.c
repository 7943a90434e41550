/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_modes.c - the four cache modes, at open and at run time.
 *
 * Goal: each mode keeps what it says of a write that returned, the mode outlives a close, and a change of it never shows
 * older bytes. Method: after each call the backing file is read behind the library's back, and statistics are looked at.
 */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define BACKING_BYTES (4 * MIB)

static struct fixture *make_in_mode(enum pcache_mode mode)
{
	struct fixture *fx = fixture_make(BACKING_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	fx->config.mode = mode;
	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	fx->config.mode = PCACHE_MODE_DEFAULT;
	return fx;
}

static void set_mode(struct fixture *fx, enum pcache_mode mode)
{
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_MODE, mode), 0);
	ck_assert_uint_eq(fixture_stats(fx).mode, mode);
}

/* What the file has there, past the library. */
static bool backing_has(struct fixture *fx, uint64_t off, size_t len)
{
	ck_assert_int_eq(pread(fx->fd, fx->scratch, len, (off_t)off), (ssize_t)len);
	return memcmp(fx->scratch, fx->model + off, len) == 0;
}

/* ---- the mode itself ---- */

START_TEST(mode_outlives_the_close)
{
	static const enum pcache_mode modes[] = { PCACHE_MODE_WRITETHROUGH, PCACHE_MODE_WRITEAROUND,
						  PCACHE_MODE_WRITEONLY, PCACHE_MODE_WRITEBACK };
	struct fixture *fx = make_in_mode(PCACHE_MODE_DEFAULT);
	uint64_t value;

	ck_assert_uint_eq(fixture_stats(fx).mode, PCACHE_MODE_WRITEBACK);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		set_mode(fx, modes[i]);
		fixture_reopen(fx);
		ck_assert_int_eq(pcache_get(fx->cache, PCACHE_TUNABLE_MODE, &value), 0);
		ck_assert_uint_eq(value, modes[i]);
	}
	fixture_free(fx);
}
END_TEST

START_TEST(mode_of_an_open_is_the_default_of_the_next)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEONLY);

	fixture_reopen(fx);
	ck_assert_uint_eq(fixture_stats(fx).mode, PCACHE_MODE_WRITEONLY);
	fixture_free(fx);
}
END_TEST

START_TEST(modes_that_do_not_exist_are_out_of_range)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITETHROUGH);

	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_MODE, PCACHE_MODE_DEFAULT), -ERANGE);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_MODE, PCACHE_MODE_WRITEONLY + 1), -ERANGE);
	ck_assert_uint_eq(fixture_stats(fx).mode, PCACHE_MODE_WRITETHROUGH);
	fixture_free(fx);
}
END_TEST

START_TEST(mode_of_a_read_only_cache_cannot_be_set)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITETHROUGH);

	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_MODE, PCACHE_MODE_WRITEBACK), -EROFS);
	ck_assert_uint_eq(fixture_stats(fx).mode, PCACHE_MODE_WRITETHROUGH);
	fixture_free(fx);
}
END_TEST

/* ---- write-through ---- */

START_TEST(write_through_is_on_the_backing_on_return)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITETHROUGH);

	for (unsigned i = 0; i < thinned(60); i++) {
		uint64_t off = test_random_below(&fx->random, BACKING_BYTES - 200000);
		size_t len = 1 + test_random_below(&fx->random, i % 8 == 0 ? 200000 : 5000);

		fixture_write(fx, off, len);
		ck_assert(backing_has(fx, off, len));
		ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	}
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(write_through_without_wait_stores_nothing)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITETHROUGH);

	memset(fx->scratch, 1, 4096);
	ck_assert_int_eq(pcache_write(fx->cache, fx->scratch, 4096, 0, PCACHE_NOWAIT), -EAGAIN);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(change_to_write_through_takes_dirty_data_along)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEBACK);

	fixture_write(fx, 0, 100000);
	ck_assert(!backing_has(fx, 0, 100000));
	set_mode(fx, PCACHE_MODE_WRITETHROUGH);
	fixture_write(fx, 500000, 10);
	ck_assert(backing_has(fx, 500000, 10) && backing_has(fx, 0, 100000));
	fixture_free(fx);
}
END_TEST

START_TEST(write_through_is_not_held_up_by_a_pause)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITETHROUGH);

	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_WRITEBACK_PAUSED, 1), 0);
	fixture_write(fx, 4096, 4096);
	ck_assert(backing_has(fx, 4096, 4096));
	fixture_free(fx);
}
END_TEST

/* ---- write-only ---- */

START_TEST(write_only_keeps_writes_and_no_misses)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEONLY);

	fixture_write(fx, 0, 8192);
	ck_assert(!backing_has(fx, 0, 8192));
	fixture_check_all(fx);
	fixture_check_all(fx);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 0);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 8192);
	set_mode(fx, PCACHE_MODE_WRITEBACK);
	fixture_check_all(fx);
	ck_assert_uint_gt(fixture_stats(fx).fill_bytes, 0);
	fixture_free(fx);
}
END_TEST

/* ---- write-around ---- */

START_TEST(write_around_goes_to_the_backing_and_leaves_the_cache)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEBACK);
	struct pcache_stats stats;

	fixture_write(fx, 0, 65536);
	fixture_drain(fx);
	fixture_check(fx, MIB, 65536); /* kept */
	set_mode(fx, PCACHE_MODE_WRITEAROUND);
	fixture_write(fx, 1000, 5000);
	fixture_write(fx, MIB + 4096, 4096);
	ck_assert(backing_has(fx, 1000, 5000) && backing_has(fx, MIB + 4096, 4096));
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.around_bytes, 5000 + 4096);
	ck_assert_uint_eq(stats.cached_bytes, 2 * 65536 - 5000 - 4096);
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(write_around_dirty_data_goes_to_the_cache)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEBACK);

	fixture_write(fx, 8192, 4096);
	set_mode(fx, PCACHE_MODE_WRITEAROUND);
	fixture_write(fx, 10000, 100);
	ck_assert_uint_eq(fixture_stats(fx).around_bytes, 0);
	ck_assert(!backing_has(fx, 10000, 100));
	fixture_write(fx, 20000, 100);
	ck_assert_uint_eq(fixture_stats(fx).around_bytes, 100);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_write(fx, 10000, 100);
	ck_assert_uint_eq(fixture_stats(fx).around_bytes, 200);
	ck_assert(backing_has(fx, 10000, 100));
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(write_around_is_kept_as_a_miss_only_after_a_flush)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEAROUND);
	uint64_t syncs;

	fixture_write(fx, 0, 8192);
	fixture_check(fx, 0, 8192);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 0);
	syncs = fixture_stats(fx).backing_syncs;
	ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).backing_syncs, syncs + 1);
	ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).backing_syncs, syncs + 1);
	fixture_check(fx, 0, 8192);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 8192);
	fixture_free(fx);
}
END_TEST

START_TEST(write_around_with_fua_drain_or_close_syncs_the_backing)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEAROUND);

	fixture_write_flags(fx, 0, 100, PCACHE_WRITE_FUA);
	ck_assert_uint_eq(fixture_stats(fx).backing_syncs, 1);
	fixture_write(fx, 0, 100);
	fixture_drain(fx);
	ck_assert_uint_ge(fixture_stats(fx).backing_syncs, 2);
	fixture_check(fx, 0, 100);
	ck_assert_int_eq(pcache_write(fx->cache, fx->scratch, 100, 0, PCACHE_NOWAIT), -EAGAIN);
	fixture_free(fx);
}
END_TEST

/* Zeroes of all extents or none, also in this mode: through the cache. */
START_TEST(write_around_keeps_atomic_vectors_whole)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEAROUND);
	const struct pcache_extent extents[] = { { fx->model, 2048, 0 }, { fx->model + 100000, 2048, 100000 } };

	test_random_fill(&fx->random, fx->model, 2048);
	test_random_fill(&fx->random, fx->model + 100000, 2048);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 2, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).around_bytes, 0);
	ck_assert(!backing_has(fx, 0, 2048));
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* More ranges than the log has room for at once, over data that was in the cache. */
START_TEST(write_around_in_a_full_cache_goes_on)
{
	struct fixture *fx = make_in_mode(PCACHE_MODE_WRITEBACK);

	fx->config.dirty_high_bytes = 0;
	for (unsigned i = 0; i < thinned(3000); i++) {
		uint64_t off = test_random_below(&fx->random, BACKING_BYTES - 4096);

		if (i % 500 == 0)
			set_mode(fx, i % 1000 == 0 ? PCACHE_MODE_WRITEAROUND : PCACHE_MODE_WRITEBACK);
		fixture_write(fx, off, 1 + test_random_below(&fx->random, 4096));
		fixture_check(fx, off, 4096);
	}
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("modes");
	TCase *mode = test_case(suite, "mode");
	TCase *through = test_case(suite, "through");
	TCase *only = test_case(suite, "only");
	TCase *around = test_case(suite, "around");

	tcase_add_test(mode, mode_outlives_the_close);
	tcase_add_test(mode, mode_of_an_open_is_the_default_of_the_next);
	tcase_add_test(mode, modes_that_do_not_exist_are_out_of_range);
	tcase_add_test(mode, mode_of_a_read_only_cache_cannot_be_set);
	tcase_add_test(through, write_through_is_on_the_backing_on_return);
	tcase_add_test(through, write_through_without_wait_stores_nothing);
	tcase_add_test(through, change_to_write_through_takes_dirty_data_along);
	tcase_add_test(through, write_through_is_not_held_up_by_a_pause);
	tcase_add_test(only, write_only_keeps_writes_and_no_misses);
	tcase_add_test(around, write_around_goes_to_the_backing_and_leaves_the_cache);
	tcase_add_test(around, write_around_dirty_data_goes_to_the_cache);
	tcase_add_test(around, write_around_is_kept_as_a_miss_only_after_a_flush);
	tcase_add_test(around, write_around_with_fua_drain_or_close_syncs_the_backing);
	tcase_add_test(around, write_around_keeps_atomic_vectors_whole);
	tcase_add_test(around, write_around_in_a_full_cache_goes_on);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
