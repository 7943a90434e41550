/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_ranges.c - what the cache has of a range, and bringing ranges in.
 *
 * Method: a state per byte that follows from what was done, compared with what is told, however many ranges there is room
 * for; and whether reads afterwards need the backing.
 */
#include "fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define VOLUME_BYTES (4 * MIB)
#define BLOCK        4096u
#define RANGES       64u

/* ---- query ---- */

static void check_ranges(struct fixture *fx, uint64_t off, uint64_t len, const struct pcache_range *expected,
			 size_t count)
{
	for (size_t room = 1; room <= count + 1; room++) {
		struct pcache_range ranges[RANGES];
		uint64_t at = off;
		size_t seen = 0;
		ssize_t ret;

		while ((ret = pcache_query(fx->cache, at, off + len - at, ranges, room)) > 0) {
			for (ssize_t i = 0; i < ret; i++, seen++) {
				ck_assert_uint_lt(seen, count);
				ck_assert_uint_eq(ranges[i].off, expected[seen].off);
				ck_assert_uint_eq(ranges[i].len, expected[seen].len);
				ck_assert_uint_eq(ranges[i].state, expected[seen].state);
				ck_assert_uint_eq(ranges[i].reserved, 0);
			}
			at = ranges[ret - 1].off + ranges[ret - 1].len;
		}
		ck_assert_int_eq(ret, 0);
		ck_assert_uint_eq(at, off + len);
		ck_assert_uint_eq(seen, count);
	}
}

static struct fixture *make_quiet(void)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	fx->config.read_ahead_bytes = 1;
	fixture_open(fx, PCACHE_OPEN_CREATE);
	return fx;
}

START_TEST(query_tells_dirty_clean_and_absent)
{
	struct fixture *fx = make_quiet();
	const struct pcache_range before[] = {
		{ 0, 10 * BLOCK + 100, PCACHE_RANGE_ABSENT, 0 },
		{ 10 * BLOCK + 100, 300, PCACHE_RANGE_DIRTY, 0 },
		{ 10 * BLOCK + 400, 80 * BLOCK - 400, PCACHE_RANGE_ABSENT, 0 },
		{ 90 * BLOCK, 20 * BLOCK, PCACHE_RANGE_CLEAN, 0 },
		{ 110 * BLOCK, BLOCK, PCACHE_RANGE_DIRTY, 0 },
		{ 111 * BLOCK, 9 * BLOCK, PCACHE_RANGE_CLEAN, 0 },
		{ 120 * BLOCK, VOLUME_BYTES - 120 * BLOCK, PCACHE_RANGE_ABSENT, 0 },
	};
	const struct pcache_range after[] = {
		{ 0, 10 * BLOCK + 100, PCACHE_RANGE_ABSENT, 0 },
		{ 10 * BLOCK + 100, 300, PCACHE_RANGE_CLEAN, 0 },
		{ 10 * BLOCK + 400, 80 * BLOCK - 400, PCACHE_RANGE_ABSENT, 0 },
		{ 90 * BLOCK, 30 * BLOCK, PCACHE_RANGE_CLEAN, 0 },
		{ 120 * BLOCK, BLOCK, PCACHE_RANGE_DIRTY, 0 },
		{ 121 * BLOCK, VOLUME_BYTES - 121 * BLOCK, PCACHE_RANGE_ABSENT, 0 },
	};

	fixture_write(fx, 10 * BLOCK + 100, 300);
	fixture_check(fx, 90 * BLOCK, 30 * BLOCK);
	fixture_write(fx, 110 * BLOCK, BLOCK);
	check_ranges(fx, 0, VOLUME_BYTES, before, 7);
	fixture_drain(fx);
	fixture_write(fx, 120 * BLOCK, BLOCK); /* in the same segment as what has gone out */
	check_ranges(fx, 0, VOLUME_BYTES, after, 6);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	check_ranges(fx, 0, VOLUME_BYTES, after, 6);
	fixture_free(fx);
}
END_TEST

START_TEST(query_is_cut_at_both_ends_and_at_the_end_of_the_backing)
{
	struct fixture *fx = make_quiet();
	const struct pcache_range inner = { BLOCK + 7, 100, PCACHE_RANGE_DIRTY, 0 };
	const struct pcache_range last = { VOLUME_BYTES - 5, 5, PCACHE_RANGE_DIRTY, 0 };
	struct pcache_range range = { .off = 9 };

	fixture_write(fx, BLOCK, BLOCK);
	fixture_write(fx, VOLUME_BYTES - BLOCK, BLOCK);
	check_ranges(fx, BLOCK + 7, 100, &inner, 1);
	ck_assert_int_eq(pcache_query(fx->cache, VOLUME_BYTES - 5, UINT64_MAX, &range, 1), 1);
	ck_assert_int_eq(memcmp(&range, &last, sizeof(range)), 0);
	ck_assert_int_eq(pcache_query(fx->cache, VOLUME_BYTES, BLOCK, &range, 1), 0);
	ck_assert_int_eq(pcache_query(fx->cache, 0, 0, &range, 1), 0);
	ck_assert_int_eq(pcache_query(fx->cache, 0, BLOCK, NULL, 1), -EINVAL);
	ck_assert_int_eq(pcache_query(fx->cache, 0, BLOCK, &range, 0), -EINVAL);
	ck_assert_int_eq(pcache_query(NULL, 0, BLOCK, &range, 1), -EINVAL);
	fixture_free(fx);
}
END_TEST

/* ---- prefetch ---- */

START_TEST(prefetched_range_is_read_without_the_backing)
{
	struct fixture *fx = make_quiet();
	const struct pcache_range expected = { 30 * BLOCK, 90 * BLOCK, PCACHE_RANGE_CLEAN, 0 };
	struct pcache_stats before;
	struct pcache_stats after;

	ck_assert_int_eq(pcache_prefetch(fx->cache, 30 * BLOCK + 10, 90 * BLOCK - 20, 0), 90 * BLOCK - 20);
	before = fixture_stats(fx);
	ck_assert_uint_eq(before.fill_bytes, 90 * BLOCK);
	ck_assert_uint_eq(before.backing_read_bytes, 90 * BLOCK);
	ck_assert_uint_eq(before.reads, 0);
	fixture_check(fx, 30 * BLOCK, 90 * BLOCK);
	after = fixture_stats(fx);
	ck_assert_uint_eq(after.backing_read_bytes, before.backing_read_bytes);
	ck_assert_uint_eq(after.read_misses, 0);
	check_ranges(fx, 30 * BLOCK, 90 * BLOCK, &expected, 1);
	/* again: nothing to do */
	ck_assert_int_eq(pcache_prefetch(fx->cache, 30 * BLOCK, 90 * BLOCK, PCACHE_NOWAIT), 90 * BLOCK);
	ck_assert_uint_eq(fixture_stats(fx).backing_read_bytes, before.backing_read_bytes);
	fixture_free(fx);
}
END_TEST

START_TEST(prefetch_keeps_what_was_written)
{
	struct fixture *fx = make_quiet();

	fixture_write(fx, 4 * BLOCK, 3 * BLOCK);
	fixture_write(fx, 9 * BLOCK + 50, 100); /* a block cached in part: it stays so */
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 16 * BLOCK, 0), 16 * BLOCK);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 12 * BLOCK);
	ck_assert_uint_eq(fixture_stats(fx).kills, 0);
	fixture_check(fx, 0, 16 * BLOCK);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(prefetch_with_nowait_reads_nothing)
{
	struct fixture *fx = make_quiet();

	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, BLOCK, PCACHE_NOWAIT), -EAGAIN);
	fixture_write(fx, 0, 2 * BLOCK);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 2 * BLOCK, PCACHE_NOWAIT), 2 * BLOCK);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 3 * BLOCK, PCACHE_NOWAIT), -EAGAIN);
	ck_assert_uint_eq(fixture_stats(fx).backing_read_bytes, 0);
	fixture_free(fx);
}
END_TEST

/* A volume four times the cache: it ends before the cache has only that, and writers find room. */
START_TEST(prefetch_of_more_than_fits_ends_early)
{
	struct fixture *fx = make_quiet();
	int64_t done = pcache_prefetch(fx->cache, 0, VOLUME_BYTES, 0);

	ck_assert_int_gt(done, 0);
	ck_assert_int_le(done, (int64_t)(CACHE_SMALL / 2));
	ck_assert_uint_le(fixture_stats(fx).fill_bytes, CACHE_SMALL / 2);
	ck_assert_uint_ge(fixture_stats(fx).fill_bytes + BLOCK, (uint64_t)done);
	fixture_write(fx, MIB, 128 * KIB);
	fixture_check(fx, 0, MIB + 128 * KIB);
	fixture_free(fx);
}
END_TEST

START_TEST(prefetch_ignores_admission_but_not_never)
{
	struct fixture *fx = make_quiet();

	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_FILL, PCACHE_FILL_SECOND_TOUCH), 0);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_SEQUENTIAL_BYPASS, 1), 0);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 8 * BLOCK, 0), 8 * BLOCK);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 8 * BLOCK);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_FILL, PCACHE_FILL_NEVER), 0);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 8 * BLOCK, 8 * BLOCK, 0), -EOPNOTSUPP);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 8 * BLOCK);
	fixture_free(fx);
}
END_TEST

START_TEST(prefetch_at_odd_ends_is_refused_or_cut)
{
	struct fixture *fx = fixture_make(10 * BLOCK + 100, CACHE_SMALL, SEGMENT_SMALL);

	fixture_open(fx, PCACHE_OPEN_CREATE);
	/* The last block is not whole: gone through, not kept. */
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, UINT64_MAX, 0), 10 * BLOCK + 100);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 10 * BLOCK);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 10 * BLOCK + 100, 5, 0), 0);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 0, 0), 0);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 5, 1u << 31), -EINVAL);
	ck_assert_int_eq(pcache_prefetch(NULL, 0, 5, 0), -EINVAL);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_int_eq(pcache_prefetch(fx->cache, 0, 5, 0), -EROFS);
	fixture_free(fx);
}
END_TEST

/* ---- invalidate ---- */

/* Somebody else writes to the backing: the file, and what it is expected to read as. */
static void change_backing(struct fixture *fx, uint64_t off, size_t len)
{
	test_random_fill(&fx->random, fx->model + off, len);
	ck_assert_int_eq(pwrite(fx->fd, fx->model + off, len, (off_t)off), (ssize_t)len);
}

/* Kept misses, and writes that are on the backing but still in the log. The copy of the file is what a kill leaves. */
START_TEST(invalidated_range_is_read_from_the_backing_also_after_a_kill)
{
	struct fixture *fx = make_quiet();
	struct picture picture;

	fixture_check(fx, 90 * BLOCK, 30 * BLOCK);
	fixture_write(fx, 10 * BLOCK + 100, 3 * BLOCK);
	fixture_write(fx, 12 * BLOCK, 10); /* an older version of it is in the log, too */
	fixture_drain(fx);
	change_backing(fx, 8 * BLOCK, 8 * BLOCK);
	change_backing(fx, 88 * BLOCK, 34 * BLOCK);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 8 * BLOCK, 8 * BLOCK, 0), 0);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 88 * BLOCK, 34 * BLOCK, 0), 0);
	picture = picture_take(fx->cache_path);
	fixture_check_all(fx);
	fixture_close(fx, 0);
	file_make(fx->cache_path, picture.content, picture.bytes);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	picture_free(&picture);
	fixture_free(fx);
}
END_TEST

START_TEST(invalidate_keeps_what_is_dirty)
{
	struct fixture *fx = make_quiet();
	const struct pcache_range expected[] = {
		{ 0, 4 * BLOCK + 7, PCACHE_RANGE_ABSENT, 0 },
		{ 4 * BLOCK + 7, 100, PCACHE_RANGE_DIRTY, 0 },
		{ 4 * BLOCK + 107, 6 * BLOCK - 107, PCACHE_RANGE_ABSENT, 0 },
		{ 10 * BLOCK, BLOCK, PCACHE_RANGE_DIRTY, 0 },
		{ 11 * BLOCK, VOLUME_BYTES - 11 * BLOCK, PCACHE_RANGE_ABSENT, 0 },
	};

	fixture_check(fx, 0, 30 * BLOCK);
	fixture_write(fx, 4 * BLOCK + 7, 100);
	fixture_write(fx, 10 * BLOCK, BLOCK);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 0, UINT64_MAX, 0), 100 + BLOCK);
	check_ranges(fx, 0, VOLUME_BYTES, expected, 5);
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 0, VOLUME_BYTES, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 0);
	fixture_check_backing(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(invalidate_with_bad_arguments_is_refused)
{
	struct fixture *fx = make_quiet();

	ck_assert_int_eq(pcache_invalidate(NULL, 0, 5, 0), -EINVAL);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 0, 5, PCACHE_NOWAIT), -EINVAL);
	ck_assert_int_eq(pcache_invalidate(fx->cache, VOLUME_BYTES, 5, 0), 0);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 0, 0, 0), 0);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_int_eq(pcache_invalidate(fx->cache, 0, 5, 0), -EROFS);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("ranges");
	TCase *tests = test_case(suite, "ranges");

	tcase_add_test(tests, query_tells_dirty_clean_and_absent);
	tcase_add_test(tests, query_is_cut_at_both_ends_and_at_the_end_of_the_backing);
	tcase_add_test(tests, prefetched_range_is_read_without_the_backing);
	tcase_add_test(tests, prefetch_keeps_what_was_written);
	tcase_add_test(tests, prefetch_with_nowait_reads_nothing);
	tcase_add_test(tests, prefetch_of_more_than_fits_ends_early);
	tcase_add_test(tests, prefetch_ignores_admission_but_not_never);
	tcase_add_test(tests, prefetch_at_odd_ends_is_refused_or_cut);
	tcase_add_test(tests, invalidated_range_is_read_from_the_backing_also_after_a_kill);
	tcase_add_test(tests, invalidate_keeps_what_is_dirty);
	tcase_add_test(tests, invalidate_with_bad_arguments_is_refused);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
