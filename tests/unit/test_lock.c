/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_lock.c - lib/lock.c: one holder at a time, and whoever sleeps is woken.
 *
 * Method: threads change a plain variable under the lock. For the sleeping path the lock is held until the kernel says
 * that the waiters sleep; nothing depends on how long that takes. A waiter that is never woken ends in Check's timeout.
 * Where two threads would have to meet within a few instructions, single_step.h makes them.
 */
#include "lock.h"
#include "single_step.h"
#include "support.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 4u
#define WAITERS 8u

static struct pc_lock lock;
static uint64_t guarded; /* by lock, and nothing else */
static _Atomic unsigned inside;

/* Without the version. */
static uint32_t state(void)
{
	return atomic_load(&lock.state) & (PC_LOCK_HELD | PC_LOCK_WAITED);
}

static void setup(void)
{
	atomic_store(&lock.state, 0);
	atomic_store(&inside, 0);
	guarded = 0;
}

START_TEST(version_tells_whether_somebody_had_the_lock)
{
	uint32_t version = pc_lock_version(&lock);

	ck_assert(pc_lock_is_still(&lock, version));
	pc_lock_acquire(&lock);
	ck_assert(!pc_lock_is_still(&lock, version));
	ck_assert((pc_lock_version(&lock) & PC_LOCK_HELD) != 0);
	pc_lock_release(&lock);
	ck_assert(!pc_lock_is_still(&lock, version));
	ck_assert((pc_lock_version(&lock) & PC_LOCK_HELD) == 0);
}
END_TEST

START_TEST(lock_taken_and_released_by_one_thread_never_waits)
{
	for (unsigned i = 0; i < 1000; i++) {
		pc_lock_acquire(&lock);
		ck_assert_uint_eq(state(), PC_LOCK_HELD);
		pc_lock_release(&lock);
		ck_assert_uint_eq(state(), 0);
	}
}
END_TEST

/* ---- another one at every instruction ---- */

#define HOLD_STEPS  100u /* the other one leaves while we still spin */
#define STEPS_MAX   5000u

static volatile bool other_has_it;
static volatile bool other_is_gone;
static volatile bool we_have_it;
static volatile bool both_have_it;

static void other_takes_and_leaves(void)
{
	if (!other_has_it) {
		other_has_it = pc_lock_try(&lock);
		single_step.at += other_has_it ? HOLD_STEPS : 0;
	} else {
		both_have_it = we_have_it;
		pc_lock_release(&lock);
		other_is_gone = true;
	}
}

START_TEST(acquire_while_another_takes_the_lock_waits_for_it)
{
	bool was_interrupted = single_step_works();

	for (unsigned nth = 1; was_interrupted; nth++) {
		setup();
		other_has_it = other_is_gone = we_have_it = both_have_it = false;
		single_step_begin(nth, other_takes_and_leaves);
		pc_lock_acquire(&lock);
		we_have_it = true;
		while (other_has_it && !other_is_gone)
			;
		we_have_it = false;
		pc_lock_release(&lock);
		was_interrupted = single_step_end();
		ck_assert_msg(!both_have_it, "step %u: two holders at once", nth);
		EXPECT(nth < STEPS_MAX);
	}
}
END_TEST

/* ---- threads ---- */

struct worker {
	pthread_t thread;
	unsigned rounds;
	unsigned yield_every; /* within the lock, so that others find it taken for long; 0: never */
	_Atomic int tid;
	_Atomic unsigned entered; /* times that it got the lock */
	_Atomic bool overlapped;
};

static void *add_under_lock(void *arg)
{
	struct worker *worker = arg;

	atomic_store(&worker->tid, (int)syscall(SYS_gettid));
	for (unsigned i = 0; i < worker->rounds; i++) {
		pc_lock_acquire(&lock);
		atomic_fetch_add(&worker->entered, 1);
		if (atomic_fetch_add(&inside, 1) != 0)
			atomic_store(&worker->overlapped, true);
		guarded++;
		if (worker->yield_every != 0 && i % worker->yield_every == 0)
			sched_yield();
		atomic_fetch_sub(&inside, 1);
		pc_lock_release(&lock);
	}
	return NULL;
}

static void workers_start(struct worker *workers, unsigned count, unsigned rounds, unsigned yield_every)
{
	for (unsigned i = 0; i < count; i++) {
		workers[i].rounds = rounds;
		workers[i].yield_every = yield_every;
		thread_start(&workers[i].thread, add_under_lock, &workers[i]);
	}
}

static void workers_join(struct worker *workers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		thread_join(workers[i].thread);
		ck_assert_msg(!atomic_load(&workers[i].overlapped), "two holders at once");
	}
}

/* _i: 0 short holds, mostly spinning; 1 the holder often gives its processor away, so that the others sleep. */
START_TEST(lock_under_contention_has_one_holder)
{
	static const unsigned yield_every[] = { 0, 3 };
	struct worker workers[THREADS] = { 0 };
	unsigned rounds = scaled(_i == 0 ? 200000 : 30000);

	workers_start(workers, THREADS, rounds, yield_every[_i]);
	workers_join(workers, THREADS);
	ck_assert_uint_eq(guarded, (uint64_t)THREADS * rounds);
	ck_assert_uint_eq(state(), 0);
}
END_TEST

/* The state letter of a thread, and how often it has gone to sleep. */
static char thread_state(const struct worker *worker, unsigned long *ret_sleeps)
{
	char path[64];
	char line[256];
	char state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", atomic_load(&worker->tid));
	file = fopen(path, "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		sscanf(line, "State: %c", &state);
		sscanf(line, "voluntary_ctxt_switches: %lu", ret_sleeps);
	}
	if (file != NULL)
		fclose(file);
	return state;
}

/* Wait until the thread sleeps, and has gone to sleep more than `after` times. */
static unsigned long wait_until_asleep(const struct worker *worker, unsigned long after)
{
	unsigned long sleeps = 0;

	while (atomic_load(&worker->tid) == 0 || state() != (PC_LOCK_HELD | PC_LOCK_WAITED) ||
	       thread_state(worker, &sleeps) != 'S' || sleeps <= after) {
		EXPECT(atomic_load(&worker->entered) == 0); /* the lock is held */
		sched_yield();
	}
	return sleeps;
}

START_TEST(waiter_that_sleeps_is_woken_by_release)
{
	for (unsigned round = 0; round < scaled(100); round++) {
		struct worker worker = { 0 };

		pc_lock_acquire(&lock);
		workers_start(&worker, 1, 1, 0);
		wait_until_asleep(&worker, 0);
		ck_assert_uint_eq(guarded, round);
		pc_lock_release(&lock);
		workers_join(&worker, 1);
		ck_assert_uint_eq(guarded, round + 1);
	}
}
END_TEST

/* One release wakes one waiter; the woken one knows that there may be more. */
START_TEST(waiters_that_sleep_are_all_woken_in_the_end)
{
	for (unsigned round = 0; round < scaled(30); round++) {
		struct worker workers[WAITERS] = { 0 };

		guarded = 0;
		pc_lock_acquire(&lock);
		workers_start(workers, WAITERS, 2, 0);
		for (unsigned i = 0; i < WAITERS; i++)
			wait_until_asleep(&workers[i], 0);
		pc_lock_release(&lock);
		workers_join(workers, WAITERS);
		ck_assert_uint_eq(guarded, 2 * WAITERS);
		ck_assert_uint_eq(state(), 0);
	}
}
END_TEST

START_TEST(waiter_woken_for_no_reason_goes_on_waiting)
{
	struct worker worker = { 0 };
	unsigned long sleeps;

	pc_lock_acquire(&lock);
	workers_start(&worker, 1, 1, 0);
	sleeps = wait_until_asleep(&worker, 0);
	for (unsigned i = 0; i < 20; i++) {
		syscall(SYS_futex, &lock.state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
		sleeps = wait_until_asleep(&worker, sleeps);
	}
	ck_assert_uint_eq(guarded, 0);
	pc_lock_release(&lock);
	workers_join(&worker, 1);
	ck_assert_uint_eq(guarded, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lock");
	TCase *tcase = case_new(suite, "lock");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, version_tells_whether_somebody_had_the_lock);
	tcase_add_test(tcase, lock_taken_and_released_by_one_thread_never_waits);
	tcase_add_test(tcase, acquire_while_another_takes_the_lock_waits_for_it);
	tcase_add_loop_test(tcase, lock_under_contention_has_one_holder, 0, 2);
	tcase_add_test(tcase, waiter_that_sleeps_is_woken_by_release);
	tcase_add_test(tcase, waiters_that_sleep_are_all_woken_in_the_end);
	tcase_add_test(tcase, waiter_woken_for_no_reason_goes_on_waiting);
	return pc_run_suite(suite);
}
