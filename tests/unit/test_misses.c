/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_misses.c - lib/misses.c: readers of one range share one read, and what a write has overtaken is never shared.
 *
 * Method: joiners are threads that are seen to wait before the read ends. Who frees a miss is checked by
 * AddressSanitizer, and by counting allocations.
 */
#include "misses.h"
#include "failing_memory.h"
#include "support.h"

#include <errno.h>
#include <unistd.h>

#define BLOCK      4096u
#define JOINERS    4u
#define CEILING_MS 100000u

static struct pc_misses misses;

static void setup(void)
{
	pc_misses_init(&misses);
}

static void teardown(void)
{
	ck_assert_ptr_null(misses.first);
	ck_assert_uint_eq(atomic_load(&misses.count), 0);
	pc_misses_destroy(&misses);
}

/* In the list. */
static struct pc_miss *begin(uint64_t off, uint64_t len)
{
	struct pc_miss *miss;

	ck_assert_int_eq(pc_miss_new(off, len, &miss), 0);
	ck_assert_ptr_null(pc_misses_join(&misses, miss, off));
	return miss;
}

static void end(struct pc_miss *miss, int result)
{
	pc_misses_finish(&misses, miss, result);
	pc_misses_leave(&misses, miss, true);
}

static bool is_stale(const struct pc_miss *miss)
{
	return atomic_load(&miss->stale);
}

/* ---- one thread ---- */

START_TEST(miss_has_room_that_is_aligned)
{
	struct pc_miss *miss;

	ck_assert_int_eq(pc_miss_new(8 * BLOCK, 3 * BLOCK, &miss), 0);
	ck_assert_uint_eq((uintptr_t)miss->data % PC_PAGE, 0);
	ck_assert(miss->off == 8 * BLOCK && miss->len == 3 * BLOCK && !is_stale(miss) && !miss->is_done);
	memset(miss->data, 1, 3 * BLOCK);
	pc_miss_delete(miss);
}
END_TEST

START_TEST(miss_is_in_the_list_until_its_owner_leaves)
{
	struct pc_miss *miss = begin(0, BLOCK);

	ck_assert_ptr_eq(misses.first, miss);
	ck_assert_uint_eq(atomic_load(&misses.count), 1);
	pc_misses_finish(&misses, miss, 0);
	ck_assert_ptr_eq(misses.first, miss);
	pc_misses_leave(&misses, miss, true);
	ck_assert_ptr_null(misses.first);
}
END_TEST

/* What counts is the first missing byte, not the block that it is in. */
START_TEST(join_takes_the_miss_that_has_the_byte)
{
	static const uint64_t inside[] = { 10 * BLOCK, 11 * BLOCK, 12 * BLOCK - 1 };
	static const uint64_t outside[] = { 0, 10 * BLOCK - 1, 12 * BLOCK, UINT64_MAX };
	struct pc_miss *miss = begin(10 * BLOCK, 2 * BLOCK);
	struct pc_miss *mine;

	pc_misses_finish(&misses, miss, 0);
	for (unsigned i = 0; i < PC_ARRAY_SIZE(inside); i++) {
		ck_assert_int_eq(pc_miss_new(0, BLOCK, &mine), 0);
		ck_assert_ptr_eq(pc_misses_join(&misses, mine, inside[i]), miss);
		pc_miss_delete(mine);
		pc_misses_leave(&misses, miss, false);
	}
	for (unsigned i = 0; i < PC_ARRAY_SIZE(outside); i++) {
		ck_assert_int_eq(pc_miss_new(0, BLOCK, &mine), 0);
		ck_assert_ptr_null(pc_misses_join(&misses, mine, outside[i]));
		end(mine, 0);
	}
	pc_misses_leave(&misses, miss, true);
}
END_TEST

START_TEST(supersede_makes_stale_what_it_overlaps)
{
	static const struct {
		uint64_t off;
		uint64_t len;
		bool overlaps;
	} ranges[] = {
		{ 0, 10 * BLOCK, false },     { 12 * BLOCK, BLOCK, false },     { 0, 10 * BLOCK + 1, true },
		{ 12 * BLOCK - 1, 1, true },  { 10 * BLOCK + 5, 1, true },      { 0, UINT64_MAX, true },
		{ 0, 20 * BLOCK, true },      { 10 * BLOCK, 2 * BLOCK, true },
	};

	for (unsigned i = 0; i < PC_ARRAY_SIZE(ranges); i++) {
		struct pc_miss *other = begin(100 * BLOCK, BLOCK);
		struct pc_miss *miss = begin(10 * BLOCK, 2 * BLOCK);

		pc_misses_supersede(&misses, ranges[i].off, ranges[i].len);
		ck_assert(is_stale(miss) == ranges[i].overlaps);
		ck_assert(is_stale(other) == (ranges[i].len == UINT64_MAX));
		end(miss, 0);
		end(other, 0);
	}
}
END_TEST

START_TEST(miss_that_is_stale_is_joined_no_more)
{
	struct pc_miss *stale = begin(0, 4 * BLOCK);
	struct pc_miss *fresh;

	pc_misses_supersede(&misses, BLOCK, 1);
	fresh = begin(0, 4 * BLOCK); /* asserts that it joins nothing */
	pc_misses_finish(&misses, fresh, 0);
	end(stale, 0);
	pc_misses_leave(&misses, fresh, true);
}
END_TEST

/* In any order: the list is not a stack. */
START_TEST(misses_leave_the_list_in_any_order)
{
	static const unsigned orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (unsigned order = 0; order < 6; order++) {
		struct pc_miss *all[3];

		for (unsigned i = 0; i < 3; i++)
			all[i] = begin(i * BLOCK, BLOCK);
		for (unsigned i = 0; i < 3; i++) {
			ck_assert_uint_eq(atomic_load(&misses.count), 3 - i);
			end(all[orders[order][i]], 0);
		}
	}
}
END_TEST

START_TEST(new_without_memory_gives_enomem)
{
	struct pc_miss *miss;

	if (!failing_memory_works())
		return;
	failing_memory_arm(1);
	ck_assert_int_eq(pc_miss_new(0, BLOCK, &miss), -ENOMEM);
	ck_assert(failing_memory_disarm());
	ck_assert_int_eq(failing_memory_held(), 0);
#ifndef __SANITIZE_ADDRESS__ /* which ends a program that asks for so much */
	failing_memory_arm(0);
	ck_assert_int_eq(pc_miss_new(0, 1ull << 62, &miss), -ENOMEM); /* no room for the data */
	ck_assert_int_eq(failing_memory_held(), 0);
	failing_memory_disarm();
#endif
}
END_TEST

/* ---- threads ---- */

struct joiner {
	pthread_t thread;
	uint64_t off;
	struct pc_miss *joined; /* NULL: none, it read by itself */
	int result;
	bool stale;
	uint8_t first;
};

static void *join_one(void *arg)
{
	struct joiner *joiner = arg;
	struct pc_miss *mine;
	struct pc_miss *other;

	EXPECT(pc_miss_new(joiner->off, BLOCK, &mine) == 0);
	other = pc_misses_join(&misses, mine, joiner->off);
	joiner->joined = other;
	if (other == NULL) {
		end(mine, 0);
		return NULL;
	}
	EXPECT(other->is_done);
	joiner->result = other->result;
	joiner->stale = is_stale(other);
	joiner->first = other->data[joiner->off - other->off];
	pc_miss_delete(mine);
	pc_misses_leave(&misses, other, false);
	return NULL;
}

static unsigned users_of(struct pc_miss *miss)
{
	unsigned users;

	pthread_mutex_lock(&misses.lock);
	users = miss->users;
	pthread_mutex_unlock(&misses.lock);
	return users;
}

static void wait_for_users(struct pc_miss *miss, unsigned users)
{
	unsigned waited_ms = 0;

	for (; users_of(miss) != users && waited_ms < CEILING_MS; waited_ms++)
		usleep(1000);
	ck_assert_msg(waited_ms < CEILING_MS, "never %u users", users);
}

static void start_joiners(struct joiner *joiners, struct pc_miss *miss)
{
	for (unsigned i = 0; i < JOINERS; i++) {
		joiners[i] = (struct joiner){ .off = miss->off + i * BLOCK };
		thread_start(&joiners[i].thread, join_one, &joiners[i]);
	}
	wait_for_users(miss, 1 + JOINERS);
}

/* The owner may go first or last: data and result stay until all have looked. */
START_TEST(joiners_wait_for_the_read_and_share_it)
{
	struct joiner joiners[JOINERS];
	struct pc_miss *miss = begin(64 * BLOCK, JOINERS * BLOCK);

	start_joiners(joiners, miss);
	for (unsigned i = 0; i < JOINERS; i++)
		miss->data[i * BLOCK] = (uint8_t)(i + 1);
	pc_misses_finish(&misses, miss, 0);
	if (_i == 0)
		pc_misses_leave(&misses, miss, true);
	for (unsigned i = 0; i < JOINERS; i++) {
		thread_join(joiners[i].thread);
		ck_assert_ptr_eq(joiners[i].joined, miss);
		ck_assert_int_eq(joiners[i].result, 0);
		ck_assert(!joiners[i].stale);
		ck_assert_uint_eq(joiners[i].first, i + 1);
	}
	if (_i == 1) {
		ck_assert_uint_eq(users_of(miss), 1);
		pc_misses_leave(&misses, miss, true);
	}
}
END_TEST

START_TEST(joiners_hear_of_an_error)
{
	struct joiner joiners[JOINERS];
	struct pc_miss *miss = begin(0, JOINERS * BLOCK);

	start_joiners(joiners, miss);
	end(miss, -EIO);
	for (unsigned i = 0; i < JOINERS; i++) {
		thread_join(joiners[i].thread);
		ck_assert_int_eq(joiners[i].result, -EIO);
	}
}
END_TEST

/* A write left the index while they waited. */
START_TEST(joiners_hear_that_it_became_stale)
{
	struct joiner joiners[JOINERS];
	struct pc_miss *miss = begin(0, JOINERS * BLOCK);

	start_joiners(joiners, miss);
	pc_misses_supersede(&misses, (JOINERS - 1) * BLOCK, 1);
	end(miss, 0);
	for (unsigned i = 0; i < JOINERS; i++) {
		thread_join(joiners[i].thread);
		ck_assert(joiners[i].stale);
	}
}
END_TEST

/* Everybody at once: for ThreadSanitizer, and for the memory. */
static void *miss_at_random(void *arg)
{
	struct test_random random = test_random_make((uintptr_t)arg);

	for (unsigned i = 0; i < scaled(5000); i++) {
		struct joiner joiner = { .off = test_random_below(&random, 8) * BLOCK };

		join_one(&joiner);
		if (i % 7 == 0)
			pc_misses_supersede(&misses, test_random_below(&random, 8) * BLOCK, BLOCK);
	}
	return NULL;
}

START_TEST(many_threads_leave_nothing_behind)
{
	pthread_t threads[JOINERS];

	for (uintptr_t i = 0; i < JOINERS; i++)
		thread_start(&threads[i], miss_at_random, (void *)(i + 1));
	for (unsigned i = 0; i < JOINERS; i++)
		thread_join(threads[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("misses");
	TCase *tcase = case_new(suite, "misses");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, miss_has_room_that_is_aligned);
	tcase_add_test(tcase, miss_is_in_the_list_until_its_owner_leaves);
	tcase_add_test(tcase, join_takes_the_miss_that_has_the_byte);
	tcase_add_test(tcase, supersede_makes_stale_what_it_overlaps);
	tcase_add_test(tcase, miss_that_is_stale_is_joined_no_more);
	tcase_add_test(tcase, misses_leave_the_list_in_any_order);
	tcase_add_test(tcase, new_without_memory_gives_enomem);
	tcase_add_loop_test(tcase, joiners_wait_for_the_read_and_share_it, 0, 2);
	tcase_add_test(tcase, joiners_hear_of_an_error);
	tcase_add_test(tcase, joiners_hear_that_it_became_stale);
	tcase_add_test(tcase, many_threads_leave_nothing_behind);
	return pc_run_suite(suite);
}
