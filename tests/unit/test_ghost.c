/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_ghost.c - lib/ghost.c: what was added is remembered for about as long as was asked for, and is taken once.
 *
 * Method: how many of many blocks are remembered is counted and held to generous limits; the hash is fixed, so that each
 * run counts the same. Threads share one, for ThreadSanitizer.
 */
#include "ghost.h"
#include "failing_memory.h"
#include "support.h"

#include <errno.h>

#define BLOCKS  10000u
#define THREADS 4u

static struct pc_ghost *ghost;

static void setup(void)
{
	ck_assert_int_eq(pc_ghost_new(BLOCKS, &ghost), 0);
}

static void teardown(void)
{
	pc_ghost_delete(ghost);
}

/* Of blocks [first, first + count); they are forgotten by it. */
static unsigned count_taken(uint64_t first, unsigned count)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < count; i++)
		taken += pc_ghost_take(ghost, first + i);
	return taken;
}

static void add(uint64_t first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pc_ghost_add(ghost, first + i);
}

START_TEST(ghost_that_is_new_remembers_nothing)
{
	ck_assert_uint_eq(count_taken(0, 3 * BLOCKS), 0);
}
END_TEST

START_TEST(block_is_taken_once)
{
	pc_ghost_add(ghost, 77);
	ck_assert(!pc_ghost_take(ghost, 78));
	ck_assert(pc_ghost_take(ghost, 77));
	ck_assert(!pc_ghost_take(ghost, 77));
}
END_TEST

/* The newest goes first, and the older one is still there. */
START_TEST(block_added_twice_is_taken_twice)
{
	pc_ghost_add(ghost, 5);
	pc_ghost_add(ghost, 5);
	ck_assert(pc_ghost_take(ghost, 5));
	ck_assert(pc_ghost_take(ghost, 5));
	ck_assert(!pc_ghost_take(ghost, 5));
}
END_TEST

START_TEST(block_of_any_number_is_remembered)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		pc_ghost_add(ghost, 1ull << bit);
		pc_ghost_add(ghost, (1ull << bit) - 1);
	}
	for (unsigned bit = 0; bit < 64; bit++)
		ck_assert(pc_ghost_take(ghost, 1ull << bit) && pc_ghost_take(ghost, (1ull << bit) - 1));
}
END_TEST

/* A quarter of what there is room for: only an unlucky set has more than its eight. */
START_TEST(few_blocks_are_nearly_all_remembered)
{
	add(1000, BLOCKS / 4);
	ck_assert_uint_ge(count_taken(1000, BLOCKS / 4), BLOCKS / 4 * 99 / 100);
}
END_TEST

/* Nothing is remembered for ever: of as many as there is room for most, of those before them ever fewer. */
START_TEST(oldest_blocks_are_forgotten_first)
{
	unsigned newest;
	unsigned oldest;

	add(0, 4 * BLOCKS);
	oldest = count_taken(0, BLOCKS);
	newest = count_taken(3 * BLOCKS, BLOCKS);
	ck_assert_uint_le(oldest, BLOCKS / 50);
	ck_assert_uint_ge(newest, BLOCKS * 3 / 4);
}
END_TEST

/* What another block's fingerprint makes of it: rare. */
START_TEST(blocks_never_added_are_rarely_remembered)
{
	add(0, BLOCKS);
	ck_assert_uint_le(count_taken(1ull << 40, 10 * BLOCKS), 10 * BLOCKS / 1000);
}
END_TEST

/* Neighbours, and blocks far apart by the same distance, fall into all sets alike. */
START_TEST(blocks_at_any_stride_are_spread)
{
	for (unsigned shift = 0; shift < 40; shift += 3) {
		unsigned taken = 0;

		for (uint64_t i = 0; i < BLOCKS / 4; i++)
			pc_ghost_add(ghost, i << shift);
		for (uint64_t i = 0; i < BLOCKS / 4; i++)
			taken += pc_ghost_take(ghost, i << shift);
		ck_assert_uint_ge(taken, BLOCKS / 4 * 98 / 100);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(smallest_ghost_works)
{
	teardown();
	ck_assert_int_eq(pc_ghost_new(0, &ghost), 0);
	for (uint64_t i = 0; i < 8; i++)
		pc_ghost_add(ghost, i);
	ck_assert_uint_eq(count_taken(0, 8), 8);
	for (uint64_t i = 0; i < 9; i++)
		pc_ghost_add(ghost, i);
	ck_assert(!pc_ghost_take(ghost, 0));
	ck_assert_uint_eq(count_taken(1, 8), 8);
}
END_TEST

START_TEST(memory_is_two_bytes_a_block)
{
	uint64_t bytes = pc_ghost_memory_bytes(ghost);

	ck_assert(bytes >= 2ull * BLOCKS && bytes < 2ull * BLOCKS + 256);
	ck_assert_uint_eq(pc_ghost_memory_bytes(NULL), 0);
}
END_TEST

START_TEST(new_without_memory_gives_enomem)
{
	struct pc_ghost *none = NULL;

	if (!failing_memory_works())
		return;
	failing_memory_arm(1);
	ck_assert_int_eq(pc_ghost_new(BLOCKS, &none), -ENOMEM);
	ck_assert(failing_memory_disarm());
	ck_assert_int_eq(failing_memory_held(), 0);
	pc_ghost_delete(NULL);
}
END_TEST

/* Each has blocks of its own; others only push them out. */
static void *add_and_take(void *arg)
{
	uint64_t first = (uint64_t)(uintptr_t)arg << 32;
	unsigned rounds = scaled(200);
	unsigned taken = 0;

	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < 100; i++)
			pc_ghost_add(ghost, first + i);
		for (unsigned i = 0; i < 100; i++)
			taken += pc_ghost_take(ghost, first + i);
	}
	EXPECT(taken >= rounds * 90);
	EXPECT(taken <= rounds * 100);
	return NULL;
}

START_TEST(threads_find_their_own_blocks)
{
	pthread_t others[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		thread_start(&others[i], add_and_take, (void *)(i + 1));
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(others[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ghost");
	TCase *tcase = case_new(suite, "ghost");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, ghost_that_is_new_remembers_nothing);
	tcase_add_test(tcase, block_is_taken_once);
	tcase_add_test(tcase, block_added_twice_is_taken_twice);
	tcase_add_test(tcase, block_of_any_number_is_remembered);
	tcase_add_test(tcase, few_blocks_are_nearly_all_remembered);
	tcase_add_test(tcase, oldest_blocks_are_forgotten_first);
	tcase_add_test(tcase, blocks_never_added_are_rarely_remembered);
	tcase_add_test(tcase, blocks_at_any_stride_are_spread);
	tcase_add_test(tcase, smallest_ghost_works);
	tcase_add_test(tcase, memory_is_two_bytes_a_block);
	tcase_add_test(tcase, new_without_memory_gives_enomem);
	tcase_add_test(tcase, threads_find_their_own_blocks);
	return pc_run_suite(suite);
}
