/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_around.c - goal: what went past the cache and was lost by a failed sync of the backing is said by the next
 * flush, whatever the moment of that sync. Method: write-back of something else has its sync fail, in the middle of the
 * write or behind it.
 */
#include "cache_fixture.h"

#define DIRTY_BLOCK  40u
#define AROUND_BLOCK 8u

static const struct pc_backing_ops *sim_ops;
static bool has_failing_step; /* right behind the next write past the cache */

static void failing_step(void)
{
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_writeback_step(cache), -EIO);
}

static int64_t write_then_step(struct pc_backing *base, const void *buf, uint64_t off, size_t len)
{
	int64_t ret = sim_ops->write(base, buf, off, len);

	if (has_failing_step) {
		has_failing_step = false;
		failing_step();
	}
	return ret;
}

/* Something dirty is there; the mode is write-around. */
static void set_up_around(enum pcache_granularity granularity)
{
	static struct pc_backing_ops ops;

	set_up(granularity);
	open_cache(true);
	ck_assert_int_eq(write_block(DIRTY_BLOCK, 0), BLOCK);
	ck_assert_int_eq(pc_identity_set(cache, PCACHE_TUNABLE_MODE, PCACHE_MODE_WRITEAROUND), 0);
	sim_ops = sim_backing_base(backing)->ops;
	ops = *sim_ops;
	ops.write = write_then_step;
	sim_backing_base(backing)->ops = &ops;
}

START_TEST(sync_that_fails_behind_the_write_is_said_by_the_next_flush_once)
{
	set_up_around(granularities[_i]);
	ck_assert_int_eq(write_block(AROUND_BLOCK, 0), BLOCK);
	failing_step();
	ck_assert_int_eq(pc_io_flush(cache), -EIO);
	EXPECT(said("may be lost"));
	ck_assert_int_eq(pc_io_flush(cache), 0);
}
END_TEST

START_TEST(sync_that_fails_before_the_write_returns_is_said_by_the_next_flush_once)
{
	set_up_around(granularities[_i]);
	has_failing_step = true;
	ck_assert_int_eq(write_block(AROUND_BLOCK, 0), BLOCK);
	EXPECT(!has_failing_step);
	ck_assert_int_eq(pc_io_flush(cache), -EIO);
	EXPECT(said("may be lost"));
	ck_assert_int_eq(pc_io_flush(cache), 0);
}
END_TEST

START_TEST(sync_that_failed_before_the_write_is_not_said)
{
	set_up_around(granularities[_i]);
	failing_step();
	ck_assert_int_eq(write_block(AROUND_BLOCK, 0), BLOCK);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_backing();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_around");
	TCase *tests = case_new(suite, "around");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, sync_that_fails_behind_the_write_is_said_by_the_next_flush_once, 0, GRANULARITIES);
	tcase_add_loop_test(tests, sync_that_fails_before_the_write_returns_is_said_by_the_next_flush_once, 0, GRANULARITIES);
	tcase_add_loop_test(tests, sync_that_failed_before_the_write_is_not_said, 0, GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
