/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_health.c - lib/health.c: which changes of state there are, that each is told once and in order (U1), and when a
 * failed backing is tried again (U2).
 */
#include "support.h"

#include "health.h"

#include <errno.h>

static struct pc_health health;

static void set_up(void)
{
	pc_health_init(&health, PCACHE_STATE_OK);
}

static void expect_change(enum pcache_state from, enum pcache_state to, int reason)
{
	struct pc_change change;

	ck_assert(pc_health_take(&health, &change));
	ck_assert_int_eq(change.from, from);
	ck_assert_int_eq(change.to, to);
	ck_assert_int_eq(change.reason, reason);
}

static void expect_no_change(void)
{
	struct pc_change change;

	ck_assert(!pc_health_take(&health, &change));
}

START_TEST(change_is_told_once)
{
	pc_health_set(&health, PCACHE_STATE_OK, 0);
	expect_no_change();
	pc_health_set(&health, PCACHE_STATE_DEGRADED, -EIO);
	pc_health_set(&health, PCACHE_STATE_DEGRADED, -ENOSPC);
	expect_change(PCACHE_STATE_OK, PCACHE_STATE_DEGRADED, -EIO);
	expect_no_change();
	pc_health_set(&health, PCACHE_STATE_OK, 0);
	expect_change(PCACHE_STATE_DEGRADED, PCACHE_STATE_OK, 0);
	expect_no_change();
}
END_TEST

START_TEST(changes_are_told_in_order)
{
	pc_health_set(&health, PCACHE_STATE_DEGRADED, -EIO);
	pc_health_set(&health, PCACHE_STATE_OK, 0);
	pc_health_set(&health, PCACHE_STATE_FAILED, -ENXIO);
	expect_change(PCACHE_STATE_OK, PCACHE_STATE_DEGRADED, -EIO);
	expect_change(PCACHE_STATE_DEGRADED, PCACHE_STATE_OK, 0);
	expect_change(PCACHE_STATE_OK, PCACHE_STATE_FAILED, -ENXIO);
	expect_no_change();
}
END_TEST

START_TEST(failed_is_final)
{
	pc_health_set(&health, PCACHE_STATE_FAILED, -EIO);
	pc_health_set(&health, PCACHE_STATE_OK, 0);
	pc_health_set(&health, PCACHE_STATE_DEGRADED, -EIO);
	ck_assert_int_eq(health.state, PCACHE_STATE_FAILED);
	expect_change(PCACHE_STATE_OK, PCACHE_STATE_FAILED, -EIO);
	expect_no_change();
}
END_TEST

START_TEST(read_only_does_not_change)
{
	pc_health_init(&health, PCACHE_STATE_READ_ONLY);
	pc_health_set(&health, PCACHE_STATE_OK, 0);
	pc_health_set(&health, PCACHE_STATE_FAILED, -EIO);
	ck_assert_int_eq(health.state, PCACHE_STATE_READ_ONLY);
	expect_no_change();
}
END_TEST

static enum pcache_state other(enum pcache_state state)
{
	return state == PCACHE_STATE_OK ? PCACHE_STATE_DEGRADED : PCACHE_STATE_OK;
}

/* Nobody listens for a long time: what was not told did not happen, and each change begins where the last one ended. */
START_TEST(row_that_is_full_delays_changes_and_keeps_a_place_for_failed)
{
	enum pcache_state seen = PCACHE_STATE_OK;
	struct pc_change change;
	unsigned count = 0;

	for (unsigned i = 0; i < 3 * PC_HEALTH_CHANGES; i++)
		pc_health_set(&health, other(health.state), 0);
	ck_assert_uint_eq(health.change_count, PC_HEALTH_CHANGES - 1);
	pc_health_set(&health, PCACHE_STATE_FAILED, -EIO);
	for (; pc_health_take(&health, &change); count++) {
		ck_assert_int_eq(change.from, seen);
		ck_assert_int_ne(change.to, seen);
		seen = change.to;
	}
	ck_assert_uint_eq(count, PC_HEALTH_CHANGES);
	ck_assert_int_eq(seen, PCACHE_STATE_FAILED);
}
END_TEST

START_TEST(retries_come_ever_later_up_to_a_second)
{
	static const uint32_t schedule_ms[] = { 20, 40, 80, 160, 320, 640, 1000, 1000, 1000 };

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < PC_ARRAY_SIZE(schedule_ms); i++) {
			pc_health_note_attempt(&health, -EIO, true, 1000 * round + i);
			ck_assert_uint_eq(health.retry_ms, schedule_ms[i]);
			ck_assert_uint_eq(health.failing_since_ns, 1000 * round);
		}
		pc_health_note_attempt(&health, 0, false, 999);
		ck_assert_int_eq(health.error, 0);
	}
	ck_assert_uint_eq(health.failures, 2 * PC_ARRAY_SIZE(schedule_ms));
	ck_assert_uint_eq(health.attempts, 2 * PC_ARRAY_SIZE(schedule_ms) + 2);
}
END_TEST

START_TEST(attempt_that_ends_ends_a_stall)
{
	health.is_stalled = true;
	pc_health_note_attempt(&health, _i == 0 ? 0 : -EIO, true, 0);
	ck_assert(!health.is_stalled);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("health");
	TCase *tests = case_new(suite, "health");

	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, change_is_told_once);
	tcase_add_test(tests, changes_are_told_in_order);
	tcase_add_test(tests, failed_is_final);
	tcase_add_test(tests, read_only_does_not_change);
	tcase_add_test(tests, row_that_is_full_delays_changes_and_keeps_a_place_for_failed);
	tcase_add_test(tests, retries_come_ever_later_up_to_a_second);
	tcase_add_loop_test(tests, attempt_that_ends_ends_a_stall, 0, 2);
	return pc_run_suite(suite);
}
