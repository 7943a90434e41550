/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_data.c - one thread writes and reads: every kind of offset, length and overlap.
 *
 * Goal: the cache reads as a plain array would, at its edges and at the edges of blocks, leaves and segments, and the
 * flags do what the header says. Method: every write also goes into the model; every look compares with it.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_BYTES (8 * MIB)

static struct fixture *make_volume(void)
{
	return fixture_make_open(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);
}

/* Writes and looks at it together with what is around it. */
static void write_and_look(struct fixture *fx, uint64_t off, size_t len)
{
	uint64_t before = off < 100 ? off : 100;
	uint64_t after = fx->bytes - off - len < 100 ? fx->bytes - off - len : 100;

	fixture_write(fx, off, len);
	fixture_check(fx, off, len);
	fixture_check(fx, off - before, len + before + after);
}

static void finish(struct fixture *fx)
{
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}

START_TEST(read_of_new_cache_gives_backing)
{
	struct fixture *fx = make_volume();

	fixture_check_all(fx);
	for (unsigned i = 0; i < 100; i++) {
		size_t len = test_random_length(&fx->random, MIB);

		fixture_check(fx, test_random_below(&fx->random, fx->bytes - len + 1), len);
	}
	ck_assert_uint_gt(fixture_stats(fx).read_miss_bytes, VOLUME_BYTES);
	fixture_free(fx);
}
END_TEST

START_TEST(write_of_every_length_is_read_back)
{
	static const size_t lengths[] = { 1, 2, 7, 8, 63, 64, 65, 511, 512, 513, 4095, 4096, 4097, 8192, 65535, 65536,
					  65537, 131072, 262143, 262144, 262145, 1000003, MIB, 4 * MIB - 1, 4 * MIB };
	static const uint64_t offsets[] = { 0, 1, 63, 64, 511, 4095, 4096, 65535, 65536, 262144, 262145, 1234567 };
	struct fixture *fx = make_volume();

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (size_t j = 0; j < sizeof(offsets) / sizeof(offsets[0]); j++)
			if (lengths[i] < 65536 || (j + i) % (media_is_slow() ? 6 : 2) == 0)
				write_and_look(fx, offsets[j], lengths[i]);
	finish(fx);
}
END_TEST

START_TEST(write_across_boundary_is_read_back)
{
	static const uint64_t boundaries[] = { 4096, 65536, 262144, MIB };
	static const uint64_t reach[] = { 1, 2, 63, 64, 100, 511, 512, 2048, 4000 };
	struct fixture *fx = make_volume();
	uint64_t boundary = boundaries[_i];

	for (uint64_t at = boundary; at < VOLUME_BYTES && at <= 3 * boundary; at += boundary)
		for (size_t i = 0; i < sizeof(reach) / sizeof(reach[0]); i++)
			for (size_t j = 0; j < sizeof(reach) / sizeof(reach[0]); j++)
				write_and_look(fx, at - reach[i], reach[i] + reach[j]);
	finish(fx);
}
END_TEST

/* All thirteen ways in which two ranges can lie to each other, over every edge that an extent may be cut at. */
START_TEST(write_over_write_wins_where_they_overlap)
{
	static const uint64_t edges[] = { 0, 3000, 5000, 9000, 12000 };
	struct fixture *fx = make_volume();
	uint64_t base = 65536 - 6000; /* so that some of them also cross a leaf */

	for (unsigned first = 0; first < 25; first++)
		for (unsigned second = 0; second < 25; second++) {
			unsigned a = first / 5, b = first % 5, c = second / 5, d = second % 5;

			if (a >= b || c >= d)
				continue;
			fixture_write(fx, base, 12000);
			fixture_write(fx, base + edges[a], edges[b] - edges[a]);
			fixture_write(fx, base + edges[c], edges[d] - edges[c]);
			fixture_check(fx, base - 1000, 14000);
			base += first % 2 == 0 ? 37 : 4096;
		}
	finish(fx);
}
END_TEST

START_TEST(overwrite_of_same_range_reads_newest)
{
	struct fixture *fx = make_volume();

	for (unsigned i = 0; i < thinned(400); i++) {
		fixture_write(fx, 123456, 10000);
		if (i % 16 == 0)
			fixture_check(fx, 120000, 20000);
	}
	finish(fx);
}
END_TEST

/* Byte by byte is the worst there is for an index of extents. */
START_TEST(many_tiny_writes_in_one_leaf_are_read_back)
{
	struct fixture *fx = make_volume();

	for (unsigned i = 0; i < thinned(8000); i++)
		fixture_write(fx, 262144 + 2 * test_random_below(&fx->random, 20000), 1);
	fixture_check(fx, 262144 - 1000, 50000);
	for (unsigned i = 0; i < thinned(2000); i++)
		fixture_write(fx, 524288 - 1000 + 3 * i, 2);
	fixture_check(fx, 524288 - 2000, 10000);
	finish(fx);
}
END_TEST

START_TEST(read_across_cached_and_uncached_joins_both)
{
	struct fixture *fx = make_volume();

	for (uint64_t off = 0; off + 20000 < VOLUME_BYTES; off += 100003)
		fixture_write(fx, off, 777);
	for (unsigned i = 0; i < 200; i++) {
		size_t len = 1 + test_random_below(&fx->random, 400000);

		fixture_check(fx, test_random_below(&fx->random, fx->bytes - len), len);
	}
	finish(fx);
}
END_TEST

START_TEST(last_byte_of_backing_is_written_and_read)
{
	struct fixture *fx = make_volume();
	uint8_t byte;

	fixture_write(fx, fx->bytes - 1, 1);
	fixture_check(fx, fx->bytes - 1, 1);
	ck_assert_int_eq(pcache_read(fx->cache, &byte, 1, fx->bytes, 0), 0);
	fixture_write(fx, fx->bytes - 70000, 70000);
	fixture_check(fx, fx->bytes - 80000, 80000);
	finish(fx);
}
END_TEST

START_TEST(odd_backing_size_is_kept_by_drain)
{
	static const uint64_t sizes[] = { 1000003, 4097, 513, 511, 1 };
	struct fixture *fx = fixture_make_open(sizes[_i], CACHE_SMALL, SEGMENT_SMALL);

	ck_assert_uint_eq(fixture_stats(fx).backing_bytes, sizes[_i]);
	fixture_write(fx, fx->bytes - 1, 1);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_write(fx, fx->bytes / 2, fx->bytes - fx->bytes / 2);
	fixture_write(fx, 0, fx->bytes / 3 + 1);
	finish(fx);
}
END_TEST

START_TEST(zero_length_does_nothing)
{
	struct fixture *fx = make_volume();
	uint8_t byte = 0x77;

	ck_assert_int_eq(pcache_read(fx->cache, &byte, 0, 0, 0), 0);
	ck_assert_int_eq(pcache_write(fx->cache, &byte, 0, 4096, 0), 0);
	ck_assert_int_eq(pcache_write(fx->cache, &byte, 0, fx->bytes, 0), 0);
	ck_assert_uint_eq(byte, 0x77);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	finish(fx);
}
END_TEST

START_TEST(read_past_end_is_short_and_touches_no_more)
{
	struct fixture *fx = make_volume();
	uint8_t buf[1000];

	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(pcache_read(fx->cache, buf, sizeof(buf), fx->bytes - 300, 0), 300);
	ck_assert_mem_eq(buf, fx->model + fx->bytes - 300, 300);
	for (size_t i = 300; i < sizeof(buf); i++)
		ck_assert_uint_eq(buf[i], 0xee);
	ck_assert_int_eq(pcache_read(fx->cache, buf, sizeof(buf), fx->bytes, 0), 0);
	ck_assert_int_eq(pcache_read(fx->cache, buf, sizeof(buf), fx->bytes + 12345, 0), 0);
	ck_assert_int_eq(pcache_read(fx->cache, buf, sizeof(buf), UINT64_MAX, 0), 0);
	ck_assert_int_eq(pcache_read(fx->cache, buf, sizeof(buf), UINT64_MAX - 500, 0), 0);
	fixture_write(fx, fx->bytes - 100, 100);
	ck_assert_int_eq(pcache_read(fx->cache, buf, sizeof(buf), fx->bytes - 300, 0), 300);
	ck_assert_mem_eq(buf, fx->model + fx->bytes - 300, 300);
	finish(fx);
}
END_TEST

START_TEST(nowait_read_gives_eagain_unless_all_is_cached)
{
	struct fixture *fx = make_volume();
	uint8_t *buf = fx->scratch;

	ck_assert_int_eq(pcache_read(fx->cache, buf, 4096, 0, PCACHE_NOWAIT), -EAGAIN);
	fixture_write(fx, 4096, 8192);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 8192, 4096, PCACHE_NOWAIT), 8192);
	ck_assert_mem_eq(buf, fx->model + 4096, 8192);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 100, 5000, PCACHE_NOWAIT), 100);
	ck_assert_mem_eq(buf, fx->model + 5000, 100);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 8193, 4096, PCACHE_NOWAIT), -EAGAIN);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 8192, 4095, PCACHE_NOWAIT), -EAGAIN);
	fixture_free(fx);
}
END_TEST

START_TEST(nowait_write_is_a_write_while_there_is_room)
{
	struct fixture *fx = make_volume();

	for (unsigned i = 0; i < 20; i++)
		fixture_write_flags(fx, i * 9999, 3000, PCACHE_NOWAIT);
	finish(fx);
}
END_TEST

/*
 * Memory is faster than write-back with its syncs, so that the cache fills up. Should write-back keep up all the time,
 * the test says so by failing at its ceiling.
 */
START_TEST(nowait_write_into_full_cache_gives_eagain_and_writes_nothing)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_LEAST, SEGMENT_SMALL);
	uint8_t *block = malloc(4096);
	unsigned refused = 0;

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; refused < 20; i++) {
		uint64_t off = test_random_below(&fx->random, VOLUME_BYTES / 4096) * 4096;
		ssize_t ret;

		ck_assert_msg(i < 1000000, "the cache never filled up");
		test_random_fill(&fx->random, block, 4096);
		ret = pcache_write(fx->cache, block, 4096, off, PCACHE_NOWAIT);
		if (ret == -EAGAIN) {
			refused++;
			fixture_check(fx, off, 4096);
			continue;
		}
		ck_assert_int_eq(ret, 4096);
		memcpy(fx->model + off, block, 4096);
	}
	free(block);
	fixture_check_all(fx);
	fixture_write(fx, 4097, 300000); /* without the flag it waits */
	finish(fx);
}
END_TEST

START_TEST(nowait_write_longer_than_atomic_gives_e2big)
{
	struct fixture *fx = make_volume();
	size_t max = fixture_stats(fx).max_atomic_bytes;

	ck_assert_uint_lt(max, VOLUME_BYTES);
	memset(fx->scratch, 0x11, max + 1);
	ck_assert_int_eq(pcache_write(fx->cache, fx->scratch, max + 1, 0, PCACHE_NOWAIT), -E2BIG);
	fixture_check(fx, 0, max + 1);
	fixture_write_flags(fx, 0, max, PCACHE_NOWAIT);
	finish(fx);
}
END_TEST

START_TEST(nowait_with_fua_follows_granularity)
{
	struct fixture *fx = make_volume();

	if (fixture_stats(fx).granularity == PCACHE_GRANULARITY_PAGE) {
		memset(fx->scratch, 0x11, 4096);
		ck_assert_int_eq(pcache_write(fx->cache, fx->scratch, 4096, 0, PCACHE_NOWAIT | PCACHE_WRITE_FUA),
				 -EOPNOTSUPP);
	} else {
		fixture_write_flags(fx, 0, 4096, PCACHE_NOWAIT | PCACHE_WRITE_FUA);
	}
	finish(fx);
}
END_TEST

START_TEST(fua_write_is_read_back_and_syncs_where_needed)
{
	struct fixture *fx = make_volume();
	uint64_t syncs = fixture_stats(fx).media_syncs;

	for (unsigned i = 0; i < 20; i++)
		fixture_write_flags(fx, i * 50001, 1 + i * 777, PCACHE_WRITE_FUA);
	if (fixture_stats(fx).granularity == PCACHE_GRANULARITY_PAGE)
		ck_assert_uint_ge(fixture_stats(fx).media_syncs, syncs + 20);
	fixture_write_flags(fx, 4096, MIB + 1, PCACHE_WRITE_FUA);
	finish(fx);
}
END_TEST

START_TEST(durability_on_return_syncs_each_write_on_page_granularity)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);
	uint64_t syncs;

	fx->config.durability = PCACHE_DURABILITY_ON_RETURN;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	syncs = fixture_stats(fx).media_syncs;
	for (unsigned i = 0; i < 10; i++)
		fixture_write(fx, i * 5001, 512);
	if (fixture_stats(fx).granularity == PCACHE_GRANULARITY_PAGE)
		ck_assert_uint_ge(fixture_stats(fx).media_syncs, syncs + 10);
	finish(fx);
}
END_TEST

START_TEST(durability_on_flush_is_read_back_after_reopen)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);

	fx->config.durability = PCACHE_DURABILITY_ON_FLUSH;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < 100; i++)
		fixture_write(fx, i * 7001, 3000);
	ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
	finish(fx);
}
END_TEST

START_TEST(flush_costs_a_media_sync_only_on_page_granularity)
{
	struct fixture *fx = make_volume();
	struct pcache_stats before;
	struct pcache_stats after;

	fixture_write(fx, 10, 10);
	before = fixture_stats(fx);
	ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
	after = fixture_stats(fx);
	ck_assert_uint_eq(after.flushes, before.flushes + 1);
	if (after.granularity == PCACHE_GRANULARITY_PAGE)
		ck_assert_uint_gt(after.media_syncs, before.media_syncs);
	else
		ck_assert_uint_eq(after.media_syncs, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(read_verify_of_every_kind_reads_the_same)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);

	fx->config.read_verify = (uint32_t)_i + 1;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < 100; i++) {
		size_t len = test_random_length(&fx->random, 100000);

		fixture_write(fx, test_random_below(&fx->random, MIB), len);
	}
	fixture_check_all(fx);
	fixture_check_all(fx);
	finish(fx);
}
END_TEST

START_TEST(stats_count_what_was_done)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, 4 * MIB, SEGMENT_SMALL);
	struct pcache_stats stats;

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < 10; i++)
		fixture_write(fx, i * 4096, 4096);
	fixture_check(fx, 0, 81920);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.writes, 10);
	ck_assert_uint_eq(stats.write_bytes, 40960);
	ck_assert_uint_eq(stats.reads, 1);
	ck_assert_uint_eq(stats.read_bytes, 81920);
	ck_assert_uint_eq(stats.read_miss_bytes, 40960);
	ck_assert_uint_eq(stats.fill_bytes, 40960);
	ck_assert_uint_eq(stats.cached_bytes, 81920);
	ck_assert_uint_ge(stats.dirty_log_bytes, 40960);
	ck_assert_uint_lt(stats.dirty_log_bytes, 50000);
	ck_assert_uint_gt(stats.index_bytes, 0);
	ck_assert_uint_lt(stats.segments_free, stats.segments);
	ck_assert_uint_eq(stats.checksum_errors, 0);
	fixture_drain(fx);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.dirty_log_bytes, 0);
	ck_assert_uint_eq(stats.writeback_bytes, 40960);
	ck_assert_uint_ge(stats.writeback_ios, 1);
	ck_assert_uint_ge(stats.writeback_batches, 1);
	ck_assert_uint_ge(stats.backing_syncs, 1);
	finish(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("data");
	TCase *tests = test_case(suite, "data");

	tcase_add_test(tests, read_of_new_cache_gives_backing);
	tcase_add_test(tests, write_of_every_length_is_read_back);
	tcase_add_loop_test(tests, write_across_boundary_is_read_back, 0, 4);
	tcase_add_test(tests, write_over_write_wins_where_they_overlap);
	tcase_add_test(tests, overwrite_of_same_range_reads_newest);
	tcase_add_test(tests, many_tiny_writes_in_one_leaf_are_read_back);
	tcase_add_test(tests, read_across_cached_and_uncached_joins_both);
	tcase_add_test(tests, last_byte_of_backing_is_written_and_read);
	tcase_add_loop_test(tests, odd_backing_size_is_kept_by_drain, 0, 5);
	tcase_add_test(tests, zero_length_does_nothing);
	tcase_add_test(tests, read_past_end_is_short_and_touches_no_more);
	tcase_add_test(tests, nowait_read_gives_eagain_unless_all_is_cached);
	tcase_add_test(tests, nowait_write_is_a_write_while_there_is_room);
	tcase_add_test(tests, nowait_write_into_full_cache_gives_eagain_and_writes_nothing);
	tcase_add_test(tests, nowait_write_longer_than_atomic_gives_e2big);
	tcase_add_test(tests, nowait_with_fua_follows_granularity);
	tcase_add_test(tests, fua_write_is_read_back_and_syncs_where_needed);
	tcase_add_test(tests, durability_on_return_syncs_each_write_on_page_granularity);
	tcase_add_test(tests, durability_on_flush_is_read_back_after_reopen);
	tcase_add_test(tests, flush_costs_a_media_sync_only_on_page_granularity);
	tcase_add_loop_test(tests, read_verify_of_every_kind_reads_the_same, 0, 3);
	tcase_add_test(tests, stats_count_what_was_done);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
