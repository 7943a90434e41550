/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_histogram.c - lib/histogram.c: every value has one bucket, buckets are as narrow as they are said to be, and
 * percentiles are what a sorted list says, but for the width of a bucket. And lib/stats.c: which calls are timed.
 *
 * Method: all ends of all buckets; random values beside a sorted array of them; threads that add at once.
 */
#include "histogram.h"
#include "stats.h"
#include "support.h"

#include <string.h>

#define VALUES  5000u
#define THREADS 4u
#define ROUNDS  20000u

static struct pc_histogram histogram;

START_TEST(bucket_ends_where_the_next_one_begins)
{
	for (unsigned i = 0; i + 1 < PCACHE_HISTOGRAM_BUCKETS; i++) {
		ck_assert_uint_eq(pc_histogram_bucket(pc_histogram_bound(i)), i);
		ck_assert_uint_eq(pc_histogram_bucket(pc_histogram_bound(i) + 1), i + 1);
	}
	ck_assert_uint_eq(pc_histogram_bucket(0), 0);
	ck_assert_uint_eq(pc_histogram_bucket(UINT64_MAX), PCACHE_HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(pc_histogram_bound(PCACHE_HISTOGRAM_BUCKETS - 1), UINT64_MAX);
	ck_assert_uint_eq(pc_histogram_bound(PCACHE_HISTOGRAM_BUCKETS), UINT64_MAX);
	/* 2^41 ns is the first that is too long for a bucket of its own. */
	ck_assert_uint_eq(pc_histogram_bound(PCACHE_HISTOGRAM_BUCKETS - 2) + 1, 15ull << 37);
}
END_TEST

START_TEST(bucket_is_an_eighth_of_its_values_wide_at_most)
{
	for (unsigned i = 8; i + 1 < PCACHE_HISTOGRAM_BUCKETS; i++) {
		uint64_t first = pc_histogram_bound(i - 1) + 1;

		ck_assert_uint_le(pc_histogram_bound(i) - first, first / 8);
	}
}
END_TEST

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

START_TEST(percentile_is_that_of_a_sorted_list)
{
	static uint64_t values[VALUES];
	struct pcache_histogram copy;
	uint64_t sum = 0;

	for (unsigned i = 0; i < VALUES; i++) {
		values[i] = (i * 2654435761u % 1000003u) << i % 12;
		sum += values[i];
		pc_histogram_add(&histogram, values[i]);
	}
	qsort(values, VALUES, sizeof(values[0]), compare);
	pc_histogram_copy(&histogram, &copy);
	ck_assert_uint_eq(copy.count, VALUES);
	ck_assert_uint_eq(copy.sum_ns, sum);
	ck_assert_uint_eq(copy.max_ns, values[VALUES - 1]);
	for (unsigned percent = 1; percent <= 100; percent++) {
		uint64_t exact = values[VALUES * percent / 100 - 1];
		uint64_t found = pc_histogram_percentile(&copy, percent);

		ck_assert_uint_ge(found, exact);
		ck_assert_uint_le(found, exact + exact / 8);
	}
	ck_assert_uint_eq(pc_histogram_percentile(&copy, 100), values[VALUES - 1]);
	ck_assert_uint_le(pc_histogram_percentile(&copy, 0), values[0] + values[0] / 8);
}
END_TEST

START_TEST(percentile_of_nothing_is_zero)
{
	struct pcache_histogram copy;

	pc_histogram_copy(&histogram, &copy);
	ck_assert_uint_eq(copy.count, 0);
	ck_assert_uint_eq(pc_histogram_percentile(&copy, 50), 0);
}
END_TEST

static void *add_all(void *arg)
{
	(void)arg;
	for (uint64_t i = 1; i <= ROUNDS; i++)
		pc_histogram_add(&histogram, i);
	return NULL;
}

START_TEST(adding_from_several_threads_loses_nothing)
{
	pthread_t threads[THREADS];
	struct pcache_histogram copy;

	for (unsigned i = 0; i < THREADS; i++)
		thread_start(&threads[i], add_all, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	pc_histogram_copy(&histogram, &copy);
	ck_assert_uint_eq(copy.count, (uint64_t)THREADS * ROUNDS);
	ck_assert_uint_eq(copy.sum_ns, (uint64_t)THREADS * ROUNDS * (ROUNDS + 1) / 2);
	ck_assert_uint_eq(copy.max_ns, ROUNDS);
}
END_TEST

/* Calls that take turns are all chosen: two kinds get half each, which every 64th call would never give. */
START_TEST(calls_that_take_turns_are_sampled_alike)
{
	unsigned chosen[2] = { 0 };

	ck_assert_uint_ne(pc_stats_sample(), 0); /* the first one of a thread */
	for (unsigned i = 0; i < 640000; i++)
		chosen[i % 2] += pc_stats_sample() != 0;
	ck_assert_uint_ge(chosen[0] + chosen[1], 9500);
	ck_assert_uint_le(chosen[0] + chosen[1], 10500);
	ck_assert_uint_ge(chosen[0], 4500);
	ck_assert_uint_ge(chosen[1], 4500);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("histogram");
	TCase *tcase = case_new(suite, "histogram");

	tcase_add_test(tcase, bucket_ends_where_the_next_one_begins);
	tcase_add_test(tcase, bucket_is_an_eighth_of_its_values_wide_at_most);
	tcase_add_test(tcase, percentile_is_that_of_a_sorted_list);
	tcase_add_test(tcase, percentile_of_nothing_is_zero);
	tcase_add_test(tcase, adding_from_several_threads_loses_nothing);
	tcase_add_test(tcase, calls_that_take_turns_are_sampled_alike);
	return pc_run_suite(suite);
}
