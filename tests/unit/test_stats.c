/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stats.c - lib/stats.c: counters are exact whoever counts, and neighbouring threads keep out of each other's way.
 *
 * Method: threads, more of them than shards, so that some must share one; each counter with an amount of its own.
 */
#include "stats.h"
#include "support.h"

#define THREADS (2 * PC_SLOTS + 3)
#define ROUNDS  3000ull

static struct pc_stats stats;
static pthread_barrier_t everybody_is_here;

START_TEST(counter_added_to_changes_no_other)
{
	for (unsigned i = 0; i < PC_COUNTERS; i++) {
		pc_stats_add(&stats, (enum pc_counter)i, 1ull << i);
		for (unsigned j = 0; j < PC_COUNTERS; j++)
			ck_assert_uint_eq(pc_stats_sum(&stats, (enum pc_counter)j), j <= i ? 1ull << j : 0);
	}
}
END_TEST

START_TEST(sum_takes_every_shard)
{
	for (unsigned i = 0; i < PC_SLOTS; i++)
		atomic_store(&stats.shards[i].counters[PC_COUNT_WRITES], 1ull << i);
	ck_assert_uint_eq(pc_stats_sum(&stats, PC_COUNT_WRITES), UINT64_MAX);
	ck_assert_uint_eq(pc_stats_sum(&stats, PC_COUNT_READS), 0);
}
END_TEST

struct counting {
	pthread_t thread;
	unsigned shard;
	unsigned amount;
};

static void *count(void *arg)
{
	struct counting *counting = arg;

	counting->shard = pc_slot();
	pthread_barrier_wait(&everybody_is_here);
	for (unsigned i = 0; i < ROUNDS; i++)
		for (unsigned counter = 0; counter < PC_COUNTERS; counter++)
			pc_stats_add(&stats, (enum pc_counter)counter, counter + counting->amount);
	return NULL;
}

/* There are more threads than shards, and all count at the same time. */
START_TEST(threads_with_and_without_a_shard_lose_nothing)
{
	struct counting threads[THREADS] = { 0 };
	unsigned owners[PC_SLOTS] = { 0 };
	uint64_t amounts = 0;

	ck_assert_int_eq(pthread_barrier_init(&everybody_is_here, NULL, THREADS), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i].amount = i + 1;
		amounts += i + 1;
		thread_start(&threads[i].thread, count, &threads[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		thread_join(threads[i].thread);
		owners[threads[i].shard]++;
	}
	for (unsigned i = 0; i < PC_SLOT_SHARED; i++)
		ck_assert_msg(owners[i] <= 1, "shard %u has %u owners", i, owners[i]);
	ck_assert_uint_ge(owners[PC_SLOT_SHARED], 2);
	for (unsigned i = 0; i < PC_COUNTERS; i++)
		ck_assert_uint_eq(pc_stats_sum(&stats, (enum pc_counter)i), ROUNDS * (THREADS * i + amounts));
	pthread_barrier_destroy(&everybody_is_here);
}
END_TEST

static void *take_shard(void *ret_shard)
{
	unsigned *shard = ret_shard;

	*shard = pc_slot();
	pc_stats_add(&stats, PC_COUNT_READS, 1);
	return pc_slot() == *shard ? NULL : ret_shard;
}

START_TEST(shard_of_a_thread_stays_and_comes_back_at_its_end)
{
	for (unsigned i = 0; i < THREADS; i++) {
		unsigned shard;
		void *moved;
		pthread_t thread;

		thread_start(&thread, take_shard, &shard);
		ck_assert_int_eq(pthread_join(thread, &moved), 0);
		ck_assert_ptr_null(moved);
		ck_assert_uint_lt(shard, PC_SLOT_SHARED);
	}
	ck_assert_uint_eq(pc_stats_sum(&stats, PC_COUNT_READS), THREADS);
}
END_TEST

START_TEST(shards_do_not_share_a_cache_line)
{
	ck_assert_uint_eq((uintptr_t)&stats % PC_CACHE_LINE, 0);
	ck_assert_uint_eq(sizeof(stats.shards[0]) % PC_CACHE_LINE, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stats");
	TCase *tcase = case_new(suite, "stats");

	tcase_add_test(tcase, counter_added_to_changes_no_other);
	tcase_add_test(tcase, sum_takes_every_shard);
	tcase_add_test(tcase, threads_with_and_without_a_shard_lose_nothing);
	tcase_add_test(tcase, shard_of_a_thread_stays_and_comes_back_at_its_end);
	tcase_add_test(tcase, shards_do_not_share_a_cache_line);
	return pc_run_suite(suite);
}
