/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_carry.c - lib/move.c where keys have many blocks, and how much is carried forward (Q5).
 *
 * Method: as test_cache_clean.c, with segments of 256 KiB: a write of 16 KiB is one key.
 */
#define SEGMENTS      8u
#define SEGMENT_BYTES (256u << 10)
#define PER_SEGMENT   61u

#include "cache_clean_fixture.h"

static void drain_into_new_segment(void)
{
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	write_range(VOLUME_BYTES - 1, 1);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
}

/* Whole blocks in the middle of a key that begins and ends between blocks; some of them read, some not. */
START_TEST(blocks_of_a_long_key_are_moved_one_by_one)
{
	set_up_clean(granularities[_i]);
	write_range(off_of(2) + 100, 4 * PCM_BLOCK); /* blocks 3, 4 and 5 are whole */
	write_range(off_of(14) + 1000, 3 * PCM_BLOCK); /* a key ends with block 15, another begins with 16 */
	check_range(off_of(3), PCM_BLOCK);
	drain_into_new_segment();
	reclaim_one();
	/* One look-up marks the whole key. */
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 3 * PCM_BLOCK);
	for (uint64_t block = 2; block < 7; block++)
		ck_assert_int_eq(stream_unseen(block), block >= 3 && block <= 5 ? PC_STREAM_HOT : PC_STREAM_NONE);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_cached(3);
	check_cached(4);
	check_cached(5);
	check_blocks(15, 1);
	ck_assert_int_eq(stream_unseen(15), PC_STREAM_HOT); /* remembered */
	check_reads();
	ck_assert_int_eq(pc_io_flush(cache), 0);
	cut_power_and_reopen();
	check_cached(4);
	check_reads();
}
END_TEST

/* A later write took the middle of it, another one a byte of a block. */
START_TEST(what_is_left_of_a_long_key_is_moved)
{
	set_up_clean(granularities[_i]);
	write_range(off_of(0), 4 * PCM_BLOCK);
	write_range(off_of(1), PCM_BLOCK);
	write_range(off_of(3) + 9, 1);
	check_range(0, 4 * PCM_BLOCK);
	drain_into_new_segment();
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 3 * PCM_BLOCK);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(2), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(3), PC_STREAM_NONE);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_reads();
}
END_TEST

/* One bad byte: the checksum is that of the whole key, so nothing of it is believed. */
START_TEST(nothing_of_a_bad_key_is_moved)
{
	struct pc_mapping mapping;

	set_up_clean(granularities[_i]);
	write_range(off_of(0), 4 * PCM_BLOCK);
	write_range(off_of(8), 4 * PCM_BLOCK);
	check_range(0, 12 * PCM_BLOCK);
	drain_into_new_segment();
	ck_assert(find(2, &mapping));
	sim_media_flip(sim, pc_segment_at(cache->segments, mapping.segment)->off + mapping.data_off, 1);
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 4 * PCM_BLOCK);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
	ck_assert_int_eq(stream_unseen(8), PC_STREAM_HOT);
	check_reads();
}
END_TEST

/* All that is there is read all the time: reclaim must end up with space all the same. */
START_TEST(reclaim_gains_though_everything_is_read_again)
{
	uint64_t victims;
	uint64_t moved;

	set_up_clean(granularities[_i]);
	check_range(0, off_of(2 * PER_SEGMENT));
	pc_clean_close(cache, PC_STREAM_FILL);
	for (unsigned i = 0; i < 200; i++) {
		check_range(0, off_of(2 * PER_SEGMENT)); /* counts as an access to what is kept */
		atomic_store(&cache->clean_starved, true);
		if (pc_reclaim_step(cache) == 0)
			close_clean_segments(); /* full, and nothing has come after them */
		ck_assert_uint_ge(free_segments(), 3);
	}
	victims = counted(PC_COUNT_SEGMENTS_RECLAIMED);
	moved = counted(PC_COUNT_MOVED_BYTES) / PCM_BLOCK;
	ck_assert_uint_gt(victims, 100);
	ck_assert_uint_gt(moved, victims * PER_SEGMENT / 2);
	/* An eighth of it was let go, but for what may be carried at a stretch. */
	ck_assert_uint_le(moved, victims * PER_SEGMENT * 7 / 8 + 4 * PER_SEGMENT);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_reads();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache_carry");
	TCase *tests = case_new(suite, "carry");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, blocks_of_a_long_key_are_moved_one_by_one, 0, GRANULARITIES);
	tcase_add_loop_test(tests, what_is_left_of_a_long_key_is_moved, 0, GRANULARITIES);
	tcase_add_loop_test(tests, nothing_of_a_bad_key_is_moved, 0, GRANULARITIES);
	tcase_add_loop_test(tests, reclaim_gains_though_everything_is_read_again, 0, GRANULARITIES);
	return pc_run_suite(suite);
}
