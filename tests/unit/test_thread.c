/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_thread.c - lib/thread.c: work for several threads is done once, by however many there are; no thread of the
 * library handles signals.
 *
 * Method: pthread_create() is wrapped, and gives no thread from the nth on.
 */
#include "thread.h"
#include "failing_memory.h"
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define ITEMS_MAX  1000u
#define CEILING_MS 100000u

static _Atomic unsigned threads_left = UINT32_MAX;
static _Atomic unsigned threads_asked;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	atomic_fetch_add(&threads_asked, 1);
	if (atomic_load(&threads_left) == 0)
		return EAGAIN;
	atomic_fetch_sub(&threads_left, 1);
	return __real_pthread_create(thread, attr, run, arg);
}

static void setup(void)
{
	atomic_store(&threads_left, UINT32_MAX);
	atomic_store(&threads_asked, 0);
}

/* ---- each ---- */

struct work {
	_Atomic unsigned done[ITEMS_MAX]; /* how often */
	_Atomic unsigned begun;
	uint32_t bad; /* this one fails, and all above it with another error */
	uint32_t together; /* so many are in work at once before one of them ends */
};

static int do_one(void *arg, uint32_t i)
{
	struct work *work = arg;

	EXPECT(i < ITEMS_MAX);
	atomic_fetch_add(&work->done[i], 1);
	atomic_fetch_add(&work->begun, 1);
	for (unsigned ms = 0; atomic_load(&work->begun) < work->together && ms < CEILING_MS; ms++)
		usleep(1000);
	return i == work->bad ? -EBADMSG : i > work->bad ? -EIO : 0;
}

static struct work *work_new(uint32_t bad)
{
	struct work *work = calloc(1, sizeof(*work));

	ck_assert_ptr_nonnull(work);
	work->bad = bad;
	return work;
}

static void check_each_once(const struct work *work, uint32_t count)
{
	for (uint32_t i = 0; i < ITEMS_MAX; i++)
		EXPECT(atomic_load(&work->done[i]) == (i < count));
}

START_TEST(each_is_done_once_by_any_number_of_threads)
{
	static const uint32_t threads[] = { 0, 1, 2, 3, 8, 64 };
	static const uint32_t counts[] = { 0, 1, 2, 5, 100, ITEMS_MAX };

	for (unsigned t = 0; t < 6; t++)
		for (unsigned c = 0; c < 6; c++) {
			struct work *work = work_new(UINT32_MAX);

			ck_assert_int_eq(pc_thread_each(threads[t], counts[c], do_one, work), 0);
			check_each_once(work, counts[c]);
			free(work);
		}
}
END_TEST

/* The caller is one of them; more than there is work for are not started. */
START_TEST(no_more_threads_are_started_than_asked_for_or_needed)
{
	struct work *work = work_new(UINT32_MAX);

	ck_assert_int_eq(pc_thread_each(4, 100, do_one, work), 0);
	ck_assert_uint_eq(atomic_load(&threads_asked), 3);
	setup();
	ck_assert_int_eq(pc_thread_each(4, 2, do_one, work), 0);
	ck_assert_uint_eq(atomic_load(&threads_asked), 1);
	setup();
	ck_assert_int_eq(pc_thread_each(4, 1, do_one, work), 0);
	ck_assert_int_eq(pc_thread_each(1, 100, do_one, work), 0);
	ck_assert_uint_eq(atomic_load(&threads_asked), 0);
	free(work);
}
END_TEST

/* None ends before all four are at work. */
START_TEST(threads_work_at_the_same_time)
{
	struct work *work = work_new(UINT32_MAX);

	work->together = 4;
	ck_assert_int_eq(pc_thread_each(4, 4, do_one, work), 0);
	check_each_once(work, 4);
	free(work);
}
END_TEST

START_TEST(each_is_done_with_fewer_threads_than_wanted)
{
	for (unsigned left = 0; left < 4; left++) {
		struct work *work = work_new(UINT32_MAX);

		atomic_store(&threads_left, left);
		ck_assert_int_eq(pc_thread_each(8, 500, do_one, work), 0);
		check_each_once(work, 500);
		free(work);
	}
}
END_TEST

START_TEST(each_is_done_without_memory_for_threads)
{
	struct work *work = work_new(UINT32_MAX);

	if (failing_memory_works()) {
		failing_memory_arm(1);
		ck_assert_int_eq(pc_thread_each(8, 500, do_one, work), 0);
		ck_assert(failing_memory_disarm());
		check_each_once(work, 500);
		ck_assert_uint_eq(atomic_load(&threads_asked), 0);
	}
	free(work);
}
END_TEST

START_TEST(error_is_the_result_and_ends_it)
{
	struct work *work = work_new(3);

	ck_assert_int_eq(pc_thread_each(1, ITEMS_MAX, do_one, work), -EBADMSG);
	check_each_once(work, 4);
	free(work);
}
END_TEST

/* Others may be at work when one fails: none of them begins another, and one error is told. */
START_TEST(error_of_a_thread_ends_all)
{
	for (unsigned round = 0; round < scaled(100); round++) {
		struct work *work = work_new(10);
		int ret = pc_thread_each(4, ITEMS_MAX, do_one, work);

		ck_assert(ret == -EBADMSG || ret == -EIO);
		ck_assert_uint_le(atomic_load(&work->begun), 10 + 4);
		ck_assert_uint_ge(atomic_load(&work->begun), 11);
		free(work);
	}
}
END_TEST

/* There is far more to do than anybody would wait for. */
static int fail_third(void *arg, uint32_t i)
{
	(void)arg;
	usleep(1000);
	return i == 2 ? -EBADMSG : 0;
}

START_TEST(error_keeps_the_others_from_going_on)
{
	ck_assert_int_eq(pc_thread_each(4, UINT32_MAX / 2, fail_third, NULL), -EBADMSG);
}
END_TEST

/* Errors of all four, not one after the other: the later ones do not take the place of the first. */
static int fail_slowly(void *arg, uint32_t i)
{
	_Atomic unsigned *begun = arg;

	atomic_fetch_add(begun, 1);
	for (unsigned ms = 0; atomic_load(begun) < 4 && ms < CEILING_MS; ms++)
		usleep(1000);
	return -(int)(100 + i);
}

START_TEST(errors_at_once_give_one_of_them)
{
	_Atomic unsigned begun = 0;
	int ret = pc_thread_each(4, ITEMS_MAX, fail_slowly, &begun);

	ck_assert(ret <= -100 && ret > -104);
	ck_assert_uint_eq(begun, 4);
}
END_TEST

/* ---- signals ---- */

static void *has_all_blocked(void *ret_blocked)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	*(bool *)ret_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGALRM);
	return NULL;
}

START_TEST(thread_blocks_all_signals_and_its_starter_none)
{
	bool blocked = false;
	pthread_t thread;
	sigset_t mask;

	ck_assert_int_eq(pc_thread_start(&thread, has_all_blocked, &blocked), 0);
	thread_join(thread);
	ck_assert(blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ck_assert(!sigismember(&mask, SIGUSR1));
}
END_TEST

START_TEST(thread_that_cannot_be_started_gives_its_error)
{
	pthread_t thread;
	sigset_t mask;

	atomic_store(&threads_left, 0);
	ck_assert_int_eq(pc_thread_start(&thread, has_all_blocked, NULL), -EAGAIN);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ck_assert(!sigismember(&mask, SIGUSR1));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("thread");
	TCase *tcase = case_new(suite, "thread");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, each_is_done_once_by_any_number_of_threads);
	tcase_add_test(tcase, no_more_threads_are_started_than_asked_for_or_needed);
	tcase_add_test(tcase, threads_work_at_the_same_time);
	tcase_add_test(tcase, each_is_done_with_fewer_threads_than_wanted);
	tcase_add_test(tcase, each_is_done_without_memory_for_threads);
	tcase_add_test(tcase, error_is_the_result_and_ends_it);
	tcase_add_test(tcase, error_of_a_thread_ends_all);
	tcase_add_test(tcase, error_keeps_the_others_from_going_on);
	tcase_add_test(tcase, errors_at_once_give_one_of_them);
	tcase_add_test(tcase, thread_blocks_all_signals_and_its_starter_none);
	tcase_add_test(tcase, thread_that_cannot_be_started_gives_its_error);
	return pc_run_suite(suite);
}
