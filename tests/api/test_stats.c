/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stats.c - what an application can see: figures that add up, and how long calls took.
 *
 * Method: known work, then every figure that follows from it; what cannot be known exactly is bounded from both sides.
 */
#include "fixture.h"

#include <errno.h>
#include <string.h>

#define VOLUME_BYTES (4 * MIB)
#define BLOCK        4096u

static struct pcache_histogram histogram_of(struct fixture *fx, enum pcache_latency which)
{
	struct pcache_histogram histogram = { .size = sizeof(histogram) };

	ck_assert_int_eq(pcache_histogram(fx->cache, which, &histogram), 0);
	return histogram;
}

/* ---- content ---- */

static void write_blocks(struct fixture *fx, uint64_t first, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		fixture_write(fx, (first + i) * BLOCK, BLOCK);
}

START_TEST(cached_bytes_are_dirty_or_clean)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats stats;

	fixture_keep_dirty(fx);
	fx->config.read_ahead_bytes = 1;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	write_blocks(fx, 0, 40);
	fixture_check(fx, 100 * BLOCK, 8 * BLOCK);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.dirty_bytes, 40 * BLOCK);
	ck_assert_uint_eq(stats.clean_bytes, 8 * BLOCK);
	ck_assert_uint_eq(stats.dead_bytes, 0);

	write_blocks(fx, 10, 5); /* the older ones are found no more */
	write_blocks(fx, 100, 2);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.dirty_bytes, 42 * BLOCK);
	ck_assert_uint_eq(stats.clean_bytes, 6 * BLOCK);
	ck_assert_uint_eq(stats.dead_bytes, 7 * BLOCK);

	fixture_drain(fx);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.dirty_bytes, 0);
	ck_assert_uint_eq(stats.clean_bytes, 48 * BLOCK);
	ck_assert_uint_eq(stats.dead_bytes, 7 * BLOCK);
	fixture_reopen(fx);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.dirty_bytes, 0);
	ck_assert_uint_eq(stats.clean_bytes + stats.dead_bytes, 55 * BLOCK);
	fixture_free(fx);
}
END_TEST

/* The tail in the middle of a segment: as many of its bytes as of its lines. */
START_TEST(dirty_bytes_count_from_dirty_tail)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats stats;

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	write_blocks(fx, 0, 6);
	fixture_drain(fx);
	write_blocks(fx, 50, 4);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.cached_bytes, 10 * BLOCK);
	ck_assert_uint_eq(stats.dirty_bytes, 4 * BLOCK);
	fixture_free(fx);
}
END_TEST

/* ---- traffic ---- */

START_TEST(reads_are_hits_or_misses)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats stats;

	fx->config.read_ahead_bytes = 1;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	write_blocks(fx, 0, 2);
	fixture_check(fx, 0, 2 * BLOCK);             /* hit */
	fixture_check(fx, BLOCK, 2 * BLOCK);         /* one block of two is missing */
	fixture_check(fx, BLOCK, 2 * BLOCK);         /* hit */
	fixture_check(fx, 20 * BLOCK + 100, 1000);   /* miss, of a whole block */
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.reads, 4);
	ck_assert_uint_eq(stats.read_hits, 2);
	ck_assert_uint_eq(stats.read_misses, 2);
	ck_assert_uint_eq(stats.read_miss_bytes, BLOCK + 1000);
	ck_assert_uint_eq(stats.read_hit_bytes, 5 * BLOCK);
	ck_assert_uint_eq(stats.backing_read_bytes, 2 * BLOCK);
	ck_assert_uint_eq(stats.backing_read_errors, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(media_bytes_are_what_was_stored)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats before;
	struct pcache_stats stats;

	fixture_keep_dirty(fx);
	fx->config.read_ahead_bytes = 1;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	before = fixture_stats(fx);
	write_blocks(fx, 0, 60); /* more than four segments */
	fixture_write(fx, 70 * BLOCK, 100);
	fixture_check(fx, 200 * BLOCK, 30 * BLOCK); /* more than two */
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.media_data_bytes, 60 * BLOCK + 128);
	ck_assert_uint_eq(stats.media_key_bytes, 61 * 64);
	ck_assert_uint_eq(stats.media_fill_bytes, 30 * (BLOCK + 64));
	ck_assert_uint_eq(stats.media_move_bytes, 0);
	ck_assert_uint_gt(stats.media_record_bytes, before.media_record_bytes);
	write_blocks(fx, 200, 3);
	ck_assert_uint_eq(fixture_stats(fx).media_record_bytes - stats.media_record_bytes, 3 * 64);
	fixture_free(fx);
}
END_TEST

/* ---- times ---- */

START_TEST(call_is_timed_by_its_kind)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_histogram histogram;
	unsigned rounds = media_is_slow() ? 400 : 3000; /* too few there to say how many are chosen */

	fixture_keep_dirty(fx);
	fx->config.read_ahead_bytes = 1;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < rounds; i++) {
		fixture_write(fx, i % 8 * BLOCK, 64);
		ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
		fixture_check(fx, i % 8 * BLOCK, 64);
	}
	for (unsigned i = 0; i < 10; i++)
		fixture_check(fx, (100 + i) * BLOCK, 10);
	fixture_drain(fx);
	for (int which = PCACHE_LATENCY_READ_HIT; which <= PCACHE_LATENCY_BATCH; which++) {
		histogram = histogram_of(fx, (enum pcache_latency)which);
		if (which == PCACHE_LATENCY_READ_MISS) {
			ck_assert_uint_eq(histogram.count, 10);
			ck_assert_uint_eq(histogram.sample_calls, 1);
		} else if (which == PCACHE_LATENCY_BATCH) {
			ck_assert_uint_eq(histogram.count, fixture_stats(fx).writeback_batches);
			ck_assert_uint_eq(histogram.sample_calls, 1);
		} else if (!media_is_slow()) {
			ck_assert_uint_ge(histogram.count * histogram.sample_calls, rounds / 2);
			ck_assert_uint_le(histogram.count * histogram.sample_calls, rounds * 2);
		}
		ck_assert_uint_le(pcache_histogram_percentile(&histogram, 50),
				  pcache_histogram_percentile(&histogram, 99));
		ck_assert_uint_le(pcache_histogram_percentile(&histogram, 99), histogram.max_ns);
		ck_assert_uint_eq(pcache_histogram_percentile(&histogram, 100), histogram.max_ns);
	}
	fixture_free(fx);
}
END_TEST

START_TEST(failed_call_is_not_timed)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	uint8_t byte = 0;

	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(pcache_read(fx->cache, &byte, 1, 5000, PCACHE_NOWAIT), -EAGAIN);
		ck_assert_int_eq(pcache_write(fx->cache, &byte, 1, VOLUME_BYTES, 0), -ENOSPC);
	}
	ck_assert_uint_eq(histogram_of(fx, PCACHE_LATENCY_READ_HIT).count, 0);
	ck_assert_uint_eq(histogram_of(fx, PCACHE_LATENCY_READ_MISS).count, 0);
	ck_assert_uint_eq(histogram_of(fx, PCACHE_LATENCY_WRITE).count, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(histogram_with_bad_arguments_is_refused)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_histogram histogram = { .size = sizeof(histogram), .count = 7 };
	struct pcache_histogram small = { .size = sizeof(histogram) - 1 };

	ck_assert_int_eq(pcache_histogram(NULL, PCACHE_LATENCY_WRITE, &histogram), -EINVAL);
	ck_assert_int_eq(pcache_histogram(fx->cache, PCACHE_LATENCY_WRITE, NULL), -EINVAL);
	ck_assert_int_eq(pcache_histogram(fx->cache, PCACHE_LATENCY_WRITE, &small), -EINVAL);
	ck_assert_int_eq(pcache_histogram(fx->cache, (enum pcache_latency)PCACHE_LATENCIES, &histogram), -EINVAL);
	ck_assert_uint_eq(histogram.count, 7);
	ck_assert_uint_eq(pcache_histogram_percentile(NULL, 50), 0);
	ck_assert_uint_eq(pcache_histogram_percentile(&small, 50), 0);
	ck_assert_uint_eq(pcache_histogram_bound(0), 0);
	ck_assert_uint_eq(pcache_histogram_bound(16), 17);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("stats");
	TCase *tests = test_case(suite, "stats");

	tcase_add_test(tests, cached_bytes_are_dirty_or_clean);
	tcase_add_test(tests, dirty_bytes_count_from_dirty_tail);
	tcase_add_test(tests, reads_are_hits_or_misses);
	tcase_add_test(tests, media_bytes_are_what_was_stored);
	tcase_add_test(tests, call_is_timed_by_its_kind);
	tcase_add_test(tests, failed_call_is_not_timed);
	tcase_add_test(tests, histogram_with_bad_arguments_is_refused);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
