/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_lost.c - lib/lost.c: sets of ranges, against one flag for each byte.
 */
#include "lost.h"
#include "support.h"

#define BYTES 4096u

static struct pc_lost lost;
static struct pc_lost_set set;
static bool flags[BYTES];

static void set_up(void)
{
	pc_lost_init(&lost);
	set.count = 0;
	set.is_short = false;
	memset(flags, 0, sizeof(flags));
	pc_lost_put(&lost, &set);
}

static void tear_down(void)
{
	pc_lost_destroy(&lost);
}

static void change(bool adds, uint64_t off, uint64_t end)
{
	if (adds)
		pc_lost_set_add(&set, off, end);
	else
		pc_lost_set_take(&set, off, end);
	memset(flags + off, adds, end - off);
}

/* (LO1) */
static void check_set(void)
{
	bool good = true;
	uint64_t at = 0;

	for (uint32_t i = 0; i < set.count; i++) {
		struct pc_lost_range range = set.ranges[i];

		good &= range.off < range.end && range.end <= BYTES && (i == 0 || range.off > at);
		for (; at < range.off; at++)
			good &= !flags[at];
		for (; at < range.end; at++)
			good &= flags[at];
	}
	for (; at < BYTES; at++)
		good &= !flags[at];
	ck_assert(good);
}

static void check_find(uint64_t off, uint64_t end)
{
	struct pc_lost_range range;
	uint64_t first = off;
	uint64_t bytes = 0;

	while (first < end && !flags[first])
		first++;
	ck_assert(pc_lost_find(&lost, off, end, &range) == (first < end));
	ck_assert(pc_lost_has(&lost, off, end - off) == (first < end));
	if (first < end) {
		ck_assert_uint_eq(range.off, first);
		for (; first < end && flags[first]; first++)
			;
		ck_assert_uint_eq(range.end, first);
	}
	for (uint64_t at = off; at < end; at++)
		bytes += flags[at];
	ck_assert_uint_eq(pc_lost_bytes(&lost, off, end), bytes);
}

START_TEST(set_is_what_was_added_and_not_taken)
{
	struct test_random random = random_of((uint64_t)_i + 1);

	for (unsigned round = 0; round < 400; round++) {
		uint64_t off = test_random_below(&random, BYTES);
		uint64_t end = off + 1 + test_random_below(&random, pc_min64(BYTES - off, 1u << (2 * _i)));

		change(test_random_below(&random, 3) != 0, off, end);
		check_set();
		pc_lost_put(&lost, &set);
		off = test_random_below(&random, BYTES);
		check_find(off, off + 1 + test_random_below(&random, BYTES - off));
	}
	ck_assert(!set.is_short);
}
END_TEST

START_TEST(neighbours_become_one_range)
{
	change(true, 100, 200);
	change(true, 300, 400);
	change(true, 200, 300);
	ck_assert_uint_eq(set.count, 1);
	change(false, 150, 350);
	ck_assert_uint_eq(set.count, 2);
	check_set();
	change(false, 0, BYTES);
	ck_assert_uint_eq(set.count, 0);
}
END_TEST

/* Both ways of needing one place more. */
START_TEST(set_without_room_says_so)
{
	for (unsigned i = 0; i < PC_LOST_ROOM; i++)
		change(true, 8 * i, 8 * i + 4);
	ck_assert(!set.is_short);
	ck_assert_uint_eq(set.count, PC_LOST_ROOM);
	check_set();
	if (_i == 0)
		pc_lost_set_add(&set, 8 * PC_LOST_ROOM, 8 * PC_LOST_ROOM + 1);
	else
		pc_lost_set_take(&set, 1, 2);
	ck_assert(set.is_short);
	check_set();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lost");
	TCase *tests = case_new(suite, "lost");

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_loop_test(tests, set_is_what_was_added_and_not_taken, 0, 6);
	tcase_add_test(tests, neighbours_become_one_range);
	tcase_add_loop_test(tests, set_without_room_says_so, 0, 2);
	return pc_run_suite(suite);
}
