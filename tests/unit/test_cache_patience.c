/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_patience.c - lib/patience.c: how long callers wait for a backing that fails (U3) or hangs (U4), what is told
 * at once (U5), what the state callback hears (U6), and close while the backing hangs (C4).
 *
 * Method: a stepped cache has no clock but that of the attempts, so that the waits there are counted exactly. With
 * threads the backing hangs until the test lets it go.
 */
#include "cache_fixture.h"

#define SHORT_MS 30u
#define LONG_MS  600000u

/* ---- what the callback hears ---- */

#define HEARD_MAX 16u

static struct {
	pthread_mutex_t lock; /* guards what follows */

	struct pc_change changes[HEARD_MAX];
	unsigned count;
} heard = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void hear(enum pcache_state from, enum pcache_state to, int reason, void *arg)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	ck_assert_ptr_eq(arg, &heard);
	if (cache != NULL) /* as a user's may */
		ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	pthread_mutex_lock(&heard.lock);
	if (heard.count < HEARD_MAX)
		heard.changes[heard.count++] = (struct pc_change){ from, to, reason };
	pthread_mutex_unlock(&heard.lock);
}

static unsigned heard_count(void)
{
	unsigned count;

	pthread_mutex_lock(&heard.lock);
	count = heard.count;
	pthread_mutex_unlock(&heard.lock);
	return count;
}

static void expect_heard(unsigned i, enum pcache_state from, enum pcache_state to, int reason)
{
	WAIT_UNTIL(heard_count() > i);
	pthread_mutex_lock(&heard.lock);
	EXPECT(heard.changes[i].from == from && heard.changes[i].to == to);
	ck_assert_int_eq(heard.changes[i].reason, reason);
	pthread_mutex_unlock(&heard.lock);
}

static enum pcache_state state(void)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	return stats.state;
}

static void set_up_listening(enum pcache_granularity granularity, uint32_t wait_ms)
{
	set_up(granularity);
	heard.count = 0;
	config.tunables[PCACHE_TUNABLE_BACKING_WAIT_MS] = wait_ms;
	config.state_changed = hear;
	config.state_arg = &heard;
}

/* ---- a backing that fails; the clock is that of the attempts ---- */

/* 20 + 40 + 80 + 160 + 320 + 640 ms */
#define WAIT_MS       1000u
#define WAIT_ATTEMPTS 6u

START_TEST(stepped_writer_waits_as_configured_then_gets_the_error)
{
	set_up_listening(granularities[_i], WAIT_MS);
	open_cache(true);
	fill_cache();
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(write_block(0, 0), -ENODATA);
	ck_assert_uint_eq(cache->health.failures, WAIT_ATTEMPTS);
	ck_assert_int_eq(write_block(0, 0), -ENODATA); /* the outage is older than that: the next attempt is told */
	ck_assert_uint_eq(cache->health.failures, WAIT_ATTEMPTS + 1);
	ck_assert_int_eq(state(), PCACHE_STATE_DEGRADED);
	sim_backing_heal(backing);
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	ck_assert_int_eq(state(), PCACHE_STATE_OK);
	ck_assert_uint_eq(heard.count, 2);
	expect_heard(0, PCACHE_STATE_OK, PCACHE_STATE_DEGRADED, -ENODATA);
	expect_heard(1, PCACHE_STATE_DEGRADED, PCACHE_STATE_OK, 0);
	check_reads();
}
END_TEST

START_TEST(stepped_drain_waits_as_configured_then_gets_the_error)
{
	set_up_listening(granularities[_i], WAIT_MS);
	open_cache(true);
	write_blocks(0, 3);
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -ENODATA);
	ck_assert_uint_eq(cache->health.failures, WAIT_ATTEMPTS);
	sim_backing_heal(backing);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_backing();
}
END_TEST

START_TEST(stepped_writer_with_no_wait_gets_the_first_error)
{
	set_up_listening(granularities[_i], 0);
	open_cache(true);
	fill_cache();
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(write_block(0, 0), -ENODATA);
	ck_assert_uint_eq(cache->health.failures, 1);
}
END_TEST

static unsigned failures_left;

static void heal_after_some(void)
{
	if (--failures_left == 0)
		sim_backing_heal(backing);
}

START_TEST(stepped_writer_with_backing_back_in_time_gets_no_error)
{
	set_up_listening(granularities[_i], WAIT_MS);
	open_cache(true);
	fill_cache();
	failures_left = WAIT_ATTEMPTS - 1;
	on_message = heal_after_some;
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	ck_assert_uint_eq(cache->health.failures, WAIT_ATTEMPTS - 1);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_backing();
}
END_TEST

/* The first line of the log is no longer what it was. */
START_TEST(damaged_log_is_told_at_once)
{
	uint64_t off;

	set_up_listening(granularities[_i], WAIT_MS);
	open_cache(true);
	write_blocks(0, 1);
	off = pc_segment_at(cache->segments, pc_stream_segment(&cache->write, dirty_tail().seq))->off +
	      pc_line_off(SEGMENT_BYTES, dirty_tail().line);
	sim_media_flip(sim, off + 40, 1);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EBADMSG);
	ck_assert_uint_eq(cache->health.failures, 1);
	expect_heard(0, PCACHE_STATE_OK, PCACHE_STATE_DEGRADED, -EBADMSG);
}
END_TEST

START_TEST(media_that_fails_is_told_by_the_writer)
{
	set_up_listening(granularities[_i], WAIT_MS);
	open_cache(true);
	sim_media_fail(sim, SIM_COPY, 1, -ENXIO, true);
	ck_assert_int_eq(write_block(0, 0), -EIO);
	ck_assert_uint_eq(heard.count, 1);
	expect_heard(0, PCACHE_STATE_OK, PCACHE_STATE_FAILED, -ENXIO);
	ck_assert_int_eq(write_block(0, 0), -EIO);
	ck_assert_uint_eq(heard.count, 1);
}
END_TEST

/* ---- a backing that hangs ---- */

static void hang(bool is_full)
{
	open_cache(false);
	if (is_full)
		fill_cache();
	else
		write_blocks(0, 3);
	sim_backing_stall(backing, true);
}

static void check_after_hang(void)
{
	expect_heard(0, PCACHE_STATE_OK, PCACHE_STATE_DEGRADED, -ETIMEDOUT);
	ck_assert_int_eq(state(), PCACHE_STATE_DEGRADED);
	sim_backing_stall(backing, false);
	expect_heard(1, PCACHE_STATE_DEGRADED, PCACHE_STATE_OK, 0); /* by itself */
	config.tunables[PCACHE_TUNABLE_BACKING_WAIT_MS] = LONG_MS;
	ck_assert_int_eq(pcache_set(cache, PCACHE_TUNABLE_BACKING_WAIT_MS, LONG_MS), 0);
	ck_assert_int_eq(write_block(1, 0), BLOCK);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_reads();
	check_backing();
}

START_TEST(writer_with_a_backing_that_hangs_gets_eio)
{
	set_up_listening(granularities[_i], SHORT_MS);
	hang(true);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(write_block(0, 0), -EIO);
	check_after_hang();
}
END_TEST

START_TEST(drain_with_a_backing_that_hangs_gets_eio)
{
	set_up_listening(granularities[_i], SHORT_MS);
	hang(false);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
	check_after_hang();
}
END_TEST

/* What close leaves behind is freed by the write-back thread, and tells nobody. */
START_TEST(close_with_a_backing_that_hangs_returns_and_keeps_all)
{
	unsigned count;

	set_up_listening(granularities[_i], SHORT_MS);
	config.tunables[PCACHE_TUNABLE_DIRTY_HIGH] = 1; /* write-back begins at once */
	open_cache(false);
	sim_backing_stall(backing, true);
	write_blocks(0, 3);
	WAIT_UNTIL(sim_backing_waiting(backing) > 0);
	ck_assert_int_eq(pc_cache_close(cache, _i > 0), -ETIMEDOUT);
	cache = NULL;
	count = heard_count();
	log_seen.text[0] = '\0';
	sim_backing_stall(backing, false);
	WAIT_UNTIL(sim_backing_counts(backing).closes == 1);
	ck_assert_uint_eq(heard_count(), count);
	ck_assert_str_eq(log_seen.text, "");
	config.tunables[PCACHE_TUNABLE_BACKING_WAIT_MS] = LONG_MS;
	open_cache(true);
	check_reads();
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_backing();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_patience");
	TCase *tests = case_new(suite, "patience");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(tests, stepped_writer_waits_as_configured_then_gets_the_error, 0, GRANULARITIES);
	tcase_add_loop_test(tests, stepped_drain_waits_as_configured_then_gets_the_error, 0, GRANULARITIES);
	tcase_add_loop_test(tests, stepped_writer_with_no_wait_gets_the_first_error, 0, GRANULARITIES);
	tcase_add_loop_test(tests, stepped_writer_with_backing_back_in_time_gets_no_error, 0, GRANULARITIES);
	tcase_add_loop_test(tests, damaged_log_is_told_at_once, 0, GRANULARITIES);
	tcase_add_loop_test(tests, media_that_fails_is_told_by_the_writer, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_with_a_backing_that_hangs_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, drain_with_a_backing_that_hangs_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, close_with_a_backing_that_hangs_returns_and_keeps_all, 0, GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
