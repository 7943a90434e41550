/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sequential.c - lib/sequential.c: readers in order are recognised, and get ever more ahead; others do not.
 */
#include "sequential.h"
#include "support.h"

#define BLOCK   4096u
#define MOST    (128u << 10)
#define THREADS 4u

static struct pc_sequential table;

static void setup(void)
{
	table = (struct pc_sequential){ 0 };
}

static uint64_t ahead;

static uint64_t see(uint64_t off, uint64_t len)
{
	ahead = UINT64_MAX;
	return pc_sequential_see(&table, off, len, MOST, &ahead);
}

START_TEST(first_miss_reads_nothing_ahead)
{
	ck_assert_uint_eq(see(40 * BLOCK, 2 * BLOCK), 2 * BLOCK);
	ck_assert_uint_eq(ahead, 0);
}
END_TEST

START_TEST(run_gets_twice_as_much_each_time_up_to_the_most)
{
	uint64_t off = 7 * BLOCK;
	uint64_t expected = 2 * BLOCK;

	see(off, BLOCK);
	for (unsigned i = 0; i < 12; i++) {
		off += BLOCK;
		ck_assert_uint_eq(see(off, BLOCK), (i + 2) * BLOCK);
		ck_assert_uint_eq(ahead, expected);
		expected = expected < MOST ? 2 * expected : MOST;
	}
	ck_assert_uint_eq(ahead, MOST);
}
END_TEST

/* Twice what was asked for, whatever that was. */
START_TEST(run_of_long_reads_gets_as_much_at_once)
{
	see(0, 8 * BLOCK);
	see(8 * BLOCK, 8 * BLOCK);
	ck_assert_uint_eq(ahead, 16 * BLOCK);
	see(16 * BLOCK, 40 * BLOCK);
	ck_assert_uint_eq(ahead, MOST);
}
END_TEST

START_TEST(miss_behind_what_was_read_ahead_goes_on_with_the_run)
{
	see(0, BLOCK);
	see(BLOCK, BLOCK);
	ck_assert_uint_eq(ahead, 2 * BLOCK);
	pc_sequential_advance(&table, 2 * BLOCK, 4 * BLOCK);
	ck_assert_uint_eq(see(4 * BLOCK, BLOCK), 5 * BLOCK);
	ck_assert_uint_eq(ahead, 4 * BLOCK);
}
END_TEST

/* The reader's last request ended in the middle of a block. */
START_TEST(miss_a_block_before_goes_on_with_the_run)
{
	see(0, 3 * BLOCK);
	ck_assert_uint_eq(see(2 * BLOCK, 3 * BLOCK), 5 * BLOCK);
	ck_assert_uint_gt(ahead, 0);
}
END_TEST

START_TEST(miss_further_away_is_a_run_of_its_own)
{
	see(100 * BLOCK, 3 * BLOCK);
	ck_assert_uint_eq(see(101 * BLOCK, BLOCK), BLOCK); /* two blocks before */
	ck_assert_uint_eq(ahead, 0);
	ck_assert_uint_eq(see(104 * BLOCK, BLOCK), BLOCK); /* one too far */
	ck_assert_uint_eq(ahead, 0);
	ck_assert_uint_eq(see(103 * BLOCK, BLOCK), 4 * BLOCK); /* just right */
	ck_assert_uint_gt(ahead, 0);
}
END_TEST

/* The start of the backing is where an empty table's runs seem to be expected. */
START_TEST(miss_at_the_start_of_an_empty_table_is_no_run)
{
	ck_assert_uint_eq(see(0, BLOCK), BLOCK);
	ck_assert_uint_eq(ahead, 0);
}
END_TEST

START_TEST(readers_in_order_side_by_side_are_all_recognised)
{
	for (unsigned round = 0; round < 10; round++)
		for (uint64_t i = 0; i < PC_SEQUENTIAL_RUNS; i++) {
			ck_assert_uint_eq(see((i * 1000 + round) * BLOCK, BLOCK), (round + 1) * BLOCK);
			ck_assert((ahead > 0) == (round > 0));
		}
}
END_TEST

/* One more than there is room for: the one seen longest ago has to begin anew, the others have not. */
START_TEST(run_seen_longest_ago_gives_way)
{
	for (uint64_t i = 0; i < PC_SEQUENTIAL_RUNS; i++)
		see((i + 1) * 1000 * BLOCK, BLOCK);
	see((1000 + 1) * BLOCK, BLOCK); /* the first is fresh again: the second is the oldest */
	see(999000ull * BLOCK, BLOCK);
	ck_assert_uint_eq(see((3000 + 1) * BLOCK, BLOCK), 2 * BLOCK);
	ck_assert_uint_eq(see((1000 + 2) * BLOCK, BLOCK), 3 * BLOCK);
	ck_assert_uint_eq(see((2000 + 1) * BLOCK, BLOCK), BLOCK);
	ck_assert_uint_eq(ahead, 0);
}
END_TEST

START_TEST(most_of_zero_reads_nothing_ahead)
{
	for (uint64_t i = 0; i < 5; i++) {
		ck_assert_uint_eq(pc_sequential_see(&table, i * BLOCK, BLOCK, 0, &ahead), (i + 1) * BLOCK);
		ck_assert_uint_eq(ahead, 0);
	}
}
END_TEST

START_TEST(advance_of_an_unknown_run_does_nothing)
{
	see(10 * BLOCK, BLOCK);
	pc_sequential_advance(&table, 12 * BLOCK, 20 * BLOCK);
	ck_assert_uint_eq(see(11 * BLOCK, BLOCK), 2 * BLOCK);
}
END_TEST

/* Each reads in order in a place of its own. */
static void *read_in_order(void *arg)
{
	uint64_t base = (uint64_t)(uintptr_t)arg << 32;
	uint64_t bytes = 0;

	for (uint64_t i = 0; i < scaled(20000); i++) {
		uint64_t own_ahead;

		bytes = pc_sequential_see(&table, base + i * BLOCK, BLOCK, MOST, &own_ahead);
		EXPECT(own_ahead == 0 ? i == 0 : own_ahead <= MOST);
	}
	EXPECT(bytes == (uint64_t)scaled(20000) * BLOCK);
	return NULL;
}

START_TEST(threads_do_not_disturb_each_other)
{
	pthread_t others[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		thread_start(&others[i], read_in_order, (void *)(i + 1));
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(others[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sequential");
	TCase *tcase = case_new(suite, "sequential");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, first_miss_reads_nothing_ahead);
	tcase_add_test(tcase, run_gets_twice_as_much_each_time_up_to_the_most);
	tcase_add_test(tcase, run_of_long_reads_gets_as_much_at_once);
	tcase_add_test(tcase, miss_behind_what_was_read_ahead_goes_on_with_the_run);
	tcase_add_test(tcase, miss_a_block_before_goes_on_with_the_run);
	tcase_add_test(tcase, miss_further_away_is_a_run_of_its_own);
	tcase_add_test(tcase, miss_at_the_start_of_an_empty_table_is_no_run);
	tcase_add_test(tcase, readers_in_order_side_by_side_are_all_recognised);
	tcase_add_test(tcase, run_seen_longest_ago_gives_way);
	tcase_add_test(tcase, most_of_zero_reads_nothing_ahead);
	tcase_add_test(tcase, advance_of_an_unknown_run_does_nothing);
	tcase_add_test(tcase, threads_do_not_disturb_each_other);
	return pc_run_suite(suite);
}
