/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_holds.c - lib/holds.c: holds do not overlap (HD1), a writer and a holder never miss each other (HD2), and who
 * waits is woken (HD3).
 *
 * Method: threads that hold overlapping ranges and look whether they are alone; a writer and a holder that each say so
 * and then look for the other, over and over, as the log and the holders do.
 */
#include "holds.h"
#include "support.h"

#include <sched.h>
#include <string.h>

#define CELLS   8u
#define THREADS 4u
#define ROUNDS  3000u

static struct pc_holds holds;

static void setup(void)
{
	memset(&holds, 0, sizeof(holds));
	pc_holds_init(&holds);
}

static void teardown(void)
{
	ck_assert(!pc_holds_any(&holds));
	ck_assert_ptr_null(holds.first);
	pc_holds_destroy(&holds);
}

START_TEST(range_is_held_from_its_first_byte_to_its_last)
{
	struct pc_hold hold = { .off = 100, .end = 200 };

	ck_assert(!pc_holds_any(&holds));
	pc_holds_begin(&holds, &hold);
	ck_assert(pc_holds_any(&holds));
	ck_assert(!pc_holds_has(&holds, 0, 100, NULL));
	ck_assert(pc_holds_has(&holds, 0, 101, NULL));
	ck_assert(pc_holds_has(&holds, 150, 1, NULL));
	ck_assert(pc_holds_has(&holds, 199, 100, NULL));
	ck_assert(!pc_holds_has(&holds, 200, 100, NULL));
	ck_assert(!pc_holds_has(&holds, 0, 1000, &hold)); /* its own */
	pc_holds_await(&holds, 200, 100);
	pc_holds_end(&holds, &hold);
	ck_assert(!pc_holds_has(&holds, 0, 1000, NULL));
}
END_TEST

/* In every order of ending. */
START_TEST(holds_that_touch_end_in_any_order)
{
	static const unsigned orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct pc_hold hold[3];

	for (unsigned i = 0; i < 3; i++) {
		hold[i] = (struct pc_hold){ .off = i * 10, .end = i * 10 + 10 };
		pc_holds_begin(&holds, &hold[i]);
	}
	ck_assert(pc_holds_has(&holds, 0, 30, &hold[0]));
	for (unsigned i = 0; i < 3; i++) {
		unsigned ended = orders[_i][i];

		pc_holds_end(&holds, &hold[ended]);
		ck_assert(!pc_holds_has(&holds, ended * 10, 10, NULL));
		ck_assert_uint_eq(holds.count, 2 - i);
	}
}
END_TEST

/* ---- threads ---- */

static _Atomic unsigned owners[CELLS];

static void *hold_cells(void *arg)
{
	struct test_random random = test_random_make((uintptr_t)arg);

	for (unsigned i = 0; i < scaled(ROUNDS); i++) {
		uint64_t first = test_random_below(&random, CELLS);
		struct pc_hold hold = { .off = first, .end = first + 1 + test_random_below(&random, CELLS - first) };

		pc_holds_begin(&holds, &hold);
		for (uint64_t cell = hold.off; cell < hold.end; cell++)
			EXPECT(atomic_fetch_add(&owners[cell], 1) == 0);
		EXPECT(pc_holds_has(&holds, hold.off, hold.end - hold.off, NULL));
		EXPECT(!pc_holds_has(&holds, hold.off, hold.end - hold.off, &hold));
		if (i % 16 == 0)
			sched_yield();
		for (uint64_t cell = hold.off; cell < hold.end; cell++)
			EXPECT(atomic_fetch_sub(&owners[cell], 1) == 1);
		pc_holds_end(&holds, &hold);
	}
	return NULL;
}

START_TEST(cell_has_one_holder_at_a_time)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		thread_start(&threads[i], hold_cells, (void *)(i + 1));
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(threads[i]);
}
END_TEST

static void *await(void *arg)
{
	pc_holds_await(&holds, 0, 10);
	*(_Atomic bool *)arg = true;
	return NULL;
}

START_TEST(who_waits_for_a_hold_goes_on_when_it_ends)
{
	struct pc_hold hold = { .off = 5, .end = 6 };
	struct pc_hold other = { .off = 10, .end = 20 };
	_Atomic bool is_through = false;
	pthread_t thread;

	pc_holds_begin(&holds, &hold);
	pc_holds_begin(&holds, &other); /* not waited for */
	thread_start(&thread, await, (void *)&is_through);
	for (unsigned i = 0; i < 100; i++) {
		pc_holds_wake(&holds); /* a reason to look, not to go on */
		sched_yield();
		EXPECT(!is_through);
	}
	pc_holds_end(&holds, &hold);
	thread_join(thread);
	EXPECT(is_through);
	pc_holds_end(&holds, &other);
}
END_TEST

/* A log of one line: the writer reserves, looks, stores, counts, wakes; the holder says so, and waits for what is reserved. */
static struct {
	_Atomic unsigned reserved;
	_Atomic unsigned done;
	_Atomic bool stores;
	_Atomic bool stop;
} line;

static void *write_lines(void *arg)
{
	(void)arg;
	while (!line.stop) {
		atomic_fetch_add(&line.reserved, 1);
		if (!(pc_holds_any(&holds) && pc_holds_has(&holds, 0, 1, NULL))) { /* (HD2) */
			line.stores = true;
			line.stores = false;
		}
		atomic_fetch_add(&line.done, 1);
		if (pc_holds_any(&holds)) /* (HD3) */
			pc_holds_wake(&holds);
	}
	return NULL;
}

START_TEST(writer_and_holder_never_miss_each_other)
{
	pthread_t thread;

	thread_start(&thread, write_lines, NULL);
	for (unsigned i = 0; i < scaled(ROUNDS); i++) {
		struct pc_hold hold = { .off = 0, .end = 1 };
		unsigned reserved;

		pc_holds_begin(&holds, &hold);
		reserved = line.reserved;
		pthread_mutex_lock(&holds.lock);
		while ((int)(line.done - reserved) < 0)
			pthread_cond_wait(&holds.changed, &holds.lock);
		pthread_mutex_unlock(&holds.lock);
		for (unsigned j = 0; j < 50; j++)
			EXPECT(!line.stores);
		pc_holds_end(&holds, &hold);
	}
	line.stop = true;
	thread_join(thread);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holds");
	TCase *tests = case_new(suite, "holds");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, range_is_held_from_its_first_byte_to_its_last);
	tcase_add_loop_test(tests, holds_that_touch_end_in_any_order, 0, 6);
	tcase_add_test(tests, cell_has_one_holder_at_a_time);
	tcase_add_test(tests, who_waits_for_a_hold_goes_on_when_it_ends);
	tcase_add_test(tests, writer_and_holder_never_miss_each_other);
	return pc_run_suite(suite);
}
