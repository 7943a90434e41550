/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_zero.c - zeroes and discards: read at once, kept over reopen and drain, refused as writes are.
 *
 * Goal: a range that is zeroed reads zeroes and nothing else changes, whatever its length and alignment, in the cache and
 * then on the backing; it takes little of the log, however long it is. Method: the plain array of the fixture.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VOLUME_BYTES (4 * MIB)

typedef int (*zero_fn)(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags);

static zero_fn const ways[] = { pcache_write_zeroes, pcache_discard };

static struct fixture *make_volume(void)
{
	return fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
}

static void zero(struct fixture *fx, zero_fn way, uint64_t off, uint64_t len, unsigned flags)
{
	ck_assert_int_eq(way(fx->cache, off, len, flags), 0);
	memset(fx->model + off, 0, len);
}

static void finish(struct fixture *fx)
{
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}

/* _i: which way */
START_TEST(ranges_of_any_length_and_place_are_zeroes)
{
	struct fixture *fx = make_volume();

	for (unsigned i = 0; i < thinned(60); i++) {
		uint64_t len = test_random_length(&fx->random, MIB);
		uint64_t off = test_random_below(&fx->random, fx->bytes - len + 1);

		if (i % 2 == 0)
			fixture_write(fx, off, len);
		else
			zero(fx, ways[_i], off, len, i % 9 == 0 ? PCACHE_WRITE_FUA : 0);
		fixture_check(fx, off, len);
		if (i % 30 == 29)
			fixture_drain(fx);
	}
	finish(fx);
}
END_TEST

/* The first and last byte, the neighbours of blocks and keys, and nothing beside them. */
START_TEST(range_ends_where_it_says)
{
	static const uint64_t edges[] = { 0, 1, 4095, 4096, 4097, 65535, 65537, 70000 };
	struct fixture *fx = make_volume();

	for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		for (unsigned j = i + 1; j < sizeof(edges) / sizeof(edges[0]); j += 3) {
			zero(fx, ways[j % 2], edges[i], edges[j] - edges[i], 0);
			zero(fx, ways[i % 2], fx->bytes - edges[j], edges[j] - edges[i], 0);
			fixture_check(fx, 0, 80000);
			fixture_check(fx, fx->bytes - 80000, 80000);
			fixture_write(fx, edges[i], edges[j] - edges[i]);
			fixture_write(fx, fx->bytes - edges[j], edges[j] - edges[i]);
		}
	zero(fx, pcache_discard, fx->bytes - 1, 1, 0);
	zero(fx, pcache_write_zeroes, 0, fx->bytes - 1, 0);
	finish(fx);
}
END_TEST

START_TEST(zeroes_over_kept_misses_stay_when_the_segments_are_reclaimed)
{
	struct fixture *fx = make_volume();

	fixture_check(fx, 0, 512 * KIB); /* kept */
	zero(fx, ways[_i], 4096, 100000, 0);
	zero(fx, ways[_i], 200100, 300, 0);
	ck_assert_uint_gt(fixture_stats(fx).kills, 0);
	for (unsigned i = 0; i < 3; i++)
		fixture_write(fx, MIB, 2 * MIB); /* more than the cache holds */
	finish(fx);
}
END_TEST

START_TEST(ranges_that_cannot_be_are_refused)
{
	struct fixture *fx = make_volume();
	uint64_t atomic_max = fixture_stats(fx).max_atomic_zero_bytes;
	zero_fn way = ways[_i];

	ck_assert_int_eq(way(NULL, 0, 1, 0), -EINVAL);
	ck_assert_int_eq(way(fx->cache, 0, 1, 1u << 31), -EINVAL);
	ck_assert_int_eq(way(fx->cache, fx->bytes, 1, 0), -ENOSPC);
	ck_assert_int_eq(way(fx->cache, fx->bytes - 1, 2, 0), -ENOSPC);
	ck_assert_int_eq(way(fx->cache, 1, UINT64_MAX, 0), -ENOSPC);
	ck_assert_int_eq(way(fx->cache, UINT64_MAX, 1, 0), -ENOSPC);
	ck_assert_int_eq(way(fx->cache, fx->bytes, 0, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	ck_assert_uint_lt(atomic_max, fx->bytes);
	ck_assert_int_eq(way(fx->cache, 0, atomic_max + 1, PCACHE_NOWAIT), -E2BIG);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	zero(fx, way, 1, atomic_max, PCACHE_NOWAIT);
	if (media_is_slow())
		ck_assert_int_eq(way(fx->cache, 0, 1, PCACHE_NOWAIT | PCACHE_WRITE_FUA), -EOPNOTSUPP);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_int_eq(way(fx->cache, 0, 1, 0), -EROFS);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	finish(fx);
}
END_TEST

/* Up to then every one was taken. */
START_TEST(zeroes_without_space_and_wait_are_refused)
{
	struct fixture *fx = make_volume();
	uint64_t len = fixture_stats(fx).max_atomic_zero_bytes;
	unsigned taken = 0;
	int ret;

	fixture_close(fx, 0);
	fixture_keep_dirty(fx);
	fixture_open(fx, 0);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_WRITEBACK_PAUSED, 1), 0);
	do {
		ret = ways[_i](fx->cache, 0, len, PCACHE_NOWAIT);
		taken += ret == 0;
	} while (ret == 0);
	ck_assert_int_eq(ret, -EAGAIN);
	ck_assert_uint_gt(taken, 100);
	memset(fx->model, 0, len);
	fixture_check_all(fx);
	zero(fx, ways[_i], fx->bytes - len, len, 0); /* this one waits */
	finish(fx);
}
END_TEST

START_TEST(figures_say_what_was_zeroed)
{
	struct fixture *fx = make_volume();
	struct pcache_stats stats;

	zero(fx, pcache_write_zeroes, 8192, MIB, 0);
	zero(fx, pcache_discard, 2 * MIB + 100, MIB, 0);
	fixture_drain(fx);
	stats = fixture_stats(fx);
	ck_assert_uint_eq(stats.zero_bytes, MIB);
	ck_assert_uint_eq(stats.discard_bytes, MIB);
	ck_assert_uint_eq(stats.writeback_zero_bytes, 2 * MIB - 4096); /* whole blocks only */
	ck_assert_uint_le(stats.writeback_bytes, 2 * 4096);
	ck_assert_uint_eq(stats.writes, 0);
	finish(fx);
}
END_TEST

static uint64_t blocks_of(int fd)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return (uint64_t)status.st_blocks;
}

/* A discard gives its space back, zeroes keep theirs; where the file system has no holes, both are zeroes all the same. */
START_TEST(discard_leaves_a_hole_on_the_backing)
{
	struct fixture *fx = make_volume();
	bool has_holes = fallocate(fx->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536) == 0;
	uint64_t before;

	memset(fx->model, 0, has_holes ? 65536 : 0);
	fixture_write(fx, 0, fx->bytes);
	fixture_drain(fx);
	ck_assert_int_eq(fsync(fx->fd), 0);
	before = blocks_of(fx->fd);
	zero(fx, pcache_discard, MIB - 5, 2 * MIB, 0);
	fixture_drain(fx);
	ck_assert_int_eq(fsync(fx->fd), 0);
	if (has_holes)
		ck_assert_uint_le(blocks_of(fx->fd) + (2 * MIB - 4096) / SECTOR, before);
	finish(fx);
}
END_TEST

/* Much more than the cache could hold of data, in a small part of the log that it would take. */
START_TEST(discard_of_a_large_backing_takes_little_log)
{
	struct fixture *fx = make_volume();
	uint64_t large = 1024 * MIB;
	uint8_t byte = 1;

	fixture_close(fx, PCACHE_CLOSE_DRAIN);
	ck_assert_int_eq(ftruncate(fx->fd, (off_t)large), 0);
	fixture_open(fx, PCACHE_OPEN_ANY_BACKING);
	ck_assert_int_eq(pcache_write(fx->cache, &byte, 1, large / 2, 0), 1);
	ck_assert_int_eq(pcache_discard(fx->cache, 0, large, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).discard_bytes, large);
	for (uint64_t off = 0; off < large; off += large / 8) {
		ck_assert_int_eq(pcache_read(fx->cache, &byte, 1, off, 0), 1);
		ck_assert_uint_eq(byte, 0);
	}
	fixture_drain(fx);
	/* 100 bytes for 64 KiB, in segments of 64 KiB that are never quite full */
	ck_assert_uint_le(fixture_stats(fx).segments_reclaimed, large / (64 * KIB) * 120 / SEGMENT_SMALL);
	fixture_close(fx, 0);
	ck_assert_int_eq(ftruncate(fx->fd, (off_t)fx->bytes), 0);
	memset(fx->model, 0, fx->bytes);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("zero");
	TCase *tests = test_case(suite, "zero");

	tcase_add_loop_test(tests, ranges_of_any_length_and_place_are_zeroes, 0, 2);
	tcase_add_test(tests, range_ends_where_it_says);
	tcase_add_loop_test(tests, zeroes_over_kept_misses_stay_when_the_segments_are_reclaimed, 0, 2);
	tcase_add_loop_test(tests, ranges_that_cannot_be_are_refused, 0, 2);
	tcase_add_loop_test(tests, zeroes_without_space_and_wait_are_refused, 0, 2);
	tcase_add_test(tests, figures_say_what_was_zeroed);
	tcase_add_test(tests, discard_leaves_a_hole_on_the_backing);
	tcase_add_test(tests, discard_of_a_large_backing_takes_little_log);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
