/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_bypass.c - lib/bypass.c: what a sync of the backing covers (BY1), ranges that grow where places are used up (BY2),
 * whose error a failed sync is (BY3), and that a loss is told once (BY4).
 *
 * Method: the sync is a function of the test. What is to happen while one runs is done inside of it; who has to wait for
 * one is a thread that is seen to have asked.
 */
#include "bypass.h"
#include "support.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define BLOCK   4096u
#define FAR     (1u << 20)
#define THREADS 4u
#define ROUNDS  200u

static struct pc_bypass bypass;

static void setup(void)
{
	memset(&bypass, 0, sizeof(bypass));
	pc_bypass_init(&bypass);
}

static void teardown(void)
{
	pc_bypass_destroy(&bypass);
}

static int succeed(void *arg)
{
	++*(unsigned *)arg;
	return 0;
}

static int fail_it(void *arg)
{
	(void)arg;
	return -ENODATA;
}

static int sync_with(int (*sync)(void *arg), void *arg)
{
	return pc_bypass_sync(&bypass, pc_bypass_failures(&bypass), sync, arg);
}

START_TEST(range_is_pending_until_a_sync_succeeds)
{
	unsigned syncs = 0;

	ck_assert(!pc_bypass_is_pending(&bypass));
	pc_bypass_add(&bypass, BLOCK, BLOCK, pc_bypass_failures(&bypass));
	ck_assert(pc_bypass_is_pending(&bypass));
	ck_assert(!pc_bypass_has(&bypass, 0, BLOCK));
	ck_assert(pc_bypass_has(&bypass, 0, BLOCK + 1));
	ck_assert(pc_bypass_has(&bypass, 2 * BLOCK - 1, 1));
	ck_assert(!pc_bypass_has(&bypass, 2 * BLOCK, BLOCK));
	ck_assert_int_eq(sync_with(succeed, &syncs), 0);
	ck_assert_uint_eq(syncs, 1);
	ck_assert(!pc_bypass_has(&bypass, 0, 2 * BLOCK));
	ck_assert(!pc_bypass_is_pending(&bypass));
}
END_TEST

static int write_meanwhile(void *arg)
{
	(void)arg;
	pc_bypass_add(&bypass, FAR, BLOCK, pc_bypass_failures(&bypass));
	pc_bypass_add(&bypass, 0, 10, pc_bypass_failures(&bypass)); /* in a range that was there before */
	return 0;
}

/* (BY1) */
START_TEST(sync_leaves_what_was_written_while_it_ran)
{
	unsigned syncs = 0;

	pc_bypass_add(&bypass, 0, BLOCK, pc_bypass_failures(&bypass));
	pc_bypass_add(&bypass, 2 * FAR, BLOCK, pc_bypass_failures(&bypass));
	ck_assert_int_eq(sync_with(write_meanwhile, NULL), 0);
	ck_assert(pc_bypass_has(&bypass, 0, 1));
	ck_assert(pc_bypass_has(&bypass, FAR, BLOCK));
	ck_assert(!pc_bypass_has(&bypass, 2 * FAR, BLOCK));
	ck_assert_int_eq(sync_with(succeed, &syncs), 0);
	ck_assert(!pc_bypass_is_pending(&bypass));
}
END_TEST

/* (BY2) Against a list of all that was written. */
START_TEST(ranges_beyond_the_places_cover_all_that_was_written)
{
	struct test_random random = random_of(1);
	uint64_t written[3 * PC_BYPASS_RANGES];

	for (unsigned i = 0; i < PC_ARRAY_SIZE(written); i++) {
		written[i] = test_random_below(&random, 1u << 30);
		pc_bypass_add(&bypass, written[i], BLOCK, pc_bypass_failures(&bypass));
		ck_assert_uint_le(bypass.count, PC_BYPASS_RANGES);
		for (unsigned j = 0; j <= i; j++) {
			ck_assert(pc_bypass_has(&bypass, written[j], 1));
			ck_assert(pc_bypass_has(&bypass, written[j] + BLOCK - 1, 1));
		}
	}
}
END_TEST

START_TEST(neighbours_take_one_place)
{
	for (unsigned i = 0; i < 3 * PC_BYPASS_RANGES; i++)
		pc_bypass_add(&bypass, (uint64_t)i * BLOCK, BLOCK, pc_bypass_failures(&bypass));
	ck_assert_uint_eq(bypass.count, 1);
	ck_assert(!pc_bypass_has(&bypass, 3ull * PC_BYPASS_RANGES * BLOCK, BLOCK));
}
END_TEST

/* (BY3) */
START_TEST(sync_that_failed_since_is_an_error_of_all_who_wrote_before_it)
{
	uint64_t before = pc_bypass_failures(&bypass);
	unsigned syncs = 0;

	ck_assert_int_eq(sync_with(fail_it, NULL), -ENODATA);
	ck_assert_uint_eq(pc_bypass_failures(&bypass), before + 1);
	ck_assert_int_eq(pc_bypass_sync(&bypass, before, succeed, &syncs), -ENODATA);
	ck_assert_uint_eq(syncs, 1);
	ck_assert_int_eq(sync_with(succeed, &syncs), 0);
}
END_TEST

/* (BY4) */
START_TEST(loss_is_told_once_and_the_range_stays)
{
	unsigned syncs = 0;

	ck_assert_int_eq(sync_with(fail_it, NULL), -ENODATA);
	ck_assert(!pc_bypass_take_loss(&bypass)); /* nothing was there to be lost */
	pc_bypass_add(&bypass, 0, BLOCK, pc_bypass_failures(&bypass));
	ck_assert_int_eq(sync_with(fail_it, NULL), -ENODATA);
	pc_bypass_add(&bypass, 100, 10, pc_bypass_failures(&bypass));
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(sync_with(succeed, &syncs), 0);
		ck_assert(pc_bypass_has(&bypass, 0, BLOCK));
		ck_assert(pc_bypass_is_pending(&bypass));
	}
	ck_assert(pc_bypass_take_loss(&bypass));
	ck_assert(!pc_bypass_take_loss(&bypass));
}
END_TEST

/* ---- threads ---- */

static struct {
	_Atomic unsigned running;
	_Atomic unsigned syncs;
	_Atomic unsigned asked; /* whose call was about to begin */
	_Atomic bool go;
} shared;

static int count_alone(void *arg)
{
	(void)arg;
	EXPECT(atomic_fetch_add(&shared.running, 1) == 0); /* one at a time (BY3) */
	shared.syncs++;
	while (!shared.go)
		sched_yield();
	EXPECT(atomic_fetch_sub(&shared.running, 1) == 1);
	return 0;
}

static void *ask(void *arg)
{
	(void)arg;
	shared.asked++;
	EXPECT(sync_with(count_alone, NULL) == 0);
	return NULL;
}

/* Whoever comes while one runs needs another one, which all of them share. */
START_TEST(sync_that_is_running_serves_nobody_who_comes_later)
{
	pthread_t threads[THREADS];

	thread_start(&threads[0], ask, NULL);
	while (shared.running == 0)
		sched_yield();
	for (unsigned i = 1; i < THREADS; i++)
		thread_start(&threads[i], ask, NULL);
	while (shared.asked < THREADS)
		sched_yield();
	ck_assert_uint_eq(shared.syncs, 1);
	shared.go = true;
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	ck_assert_uint_ge(shared.syncs, 2);
	ck_assert_uint_le(shared.syncs, THREADS);
}
END_TEST

static void *write_and_sync(void *arg)
{
	uint64_t off = (uint64_t)(uintptr_t)arg * FAR;

	for (unsigned i = 0; i < ROUNDS; i++) {
		pc_bypass_add(&bypass, off + i * BLOCK, BLOCK, pc_bypass_failures(&bypass));
		EXPECT(pc_bypass_has(&bypass, off + i * BLOCK, BLOCK));
		EXPECT(sync_with(count_alone, NULL) == 0);
		EXPECT(!pc_bypass_has(&bypass, off + i * BLOCK, BLOCK));
	}
	return NULL;
}

START_TEST(each_thread_finds_its_own_range_synced)
{
	pthread_t threads[THREADS];

	shared.go = true;
	for (uintptr_t i = 0; i < THREADS; i++)
		thread_start(&threads[i], write_and_sync, (void *)i);
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	ck_assert(!pc_bypass_is_pending(&bypass));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bypass");
	TCase *tests = case_new(suite, "bypass");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, range_is_pending_until_a_sync_succeeds);
	tcase_add_test(tests, sync_leaves_what_was_written_while_it_ran);
	tcase_add_test(tests, ranges_beyond_the_places_cover_all_that_was_written);
	tcase_add_test(tests, neighbours_take_one_place);
	tcase_add_test(tests, sync_that_failed_since_is_an_error_of_all_who_wrote_before_it);
	tcase_add_test(tests, loss_is_told_once_and_the_range_stays);
	tcase_add_test(tests, sync_that_is_running_serves_nobody_who_comes_later);
	tcase_add_test(tests, each_thread_finds_its_own_range_synced);
	return pc_run_suite(suite);
}
