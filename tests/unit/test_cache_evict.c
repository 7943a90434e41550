/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_evict.c - lib/reclaim.c, lib/move.c: which segment gives way when space is needed, what of it is carried
 * forward, and that dirty data has precedence over everything that was kept.
 *
 * Method: as test_cache_clean.c. Victims are chosen one at a time, and looked at.
 */
#include "cache_clean_fixture.h"

static uint32_t segment_of(uint64_t block)
{
	struct pc_mapping mapping;

	for (uint32_t id = 0; id < SEGMENTS; id++)
		if (pc_index_find_in(cache->index, id, off_of(block), PCM_BLOCK, &mapping))
			return id;
	ck_abort_msg("block %ju is nowhere", (uintmax_t)block);
}

/* The next victim is the segment that this block is in. */
static void check_victim(uint64_t block)
{
	uint32_t expected = segment_of(block);

	ck_assert_uint_eq(reclaimed_segment(), expected);
}

static void set_eviction(enum pcache_eviction eviction)
{
	ck_assert_int_eq(pcache_set(cache, PCACHE_TUNABLE_EVICTION, eviction), 0);
}

/* All of the log is on the backing, and dirty_tail in a segment of its own. */
static void drain_into_new_segment(void)
{
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	write_range(VOLUME_BYTES - 1, 1);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
}

static void set_space_waiters(unsigned count)
{
	pthread_mutex_lock(&cache->state_lock);
	cache->space_waiters = count;
	pthread_mutex_unlock(&cache->state_lock);
}

/* ---- what is carried forward ---- */

START_TEST(block_read_again_is_moved_to_hot_and_the_others_are_dropped)
{
	struct pc_mapping mapping;
	struct pc_kset_scope scope;
	struct pc_lines lines;
	uint8_t buf[PCM_LINE];
	struct pc_key key;

	set_up_clean(granularities[_i]);
	check_blocks(0, PER_SEGMENT);
	check_blocks(2, 1);
	close_clean_segments();
	ck_assert_uint_eq(reclaimed_segment(), 1);
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), PCM_BLOCK);
	for (uint64_t block = 0; block < PER_SEGMENT; block++)
		ck_assert_int_eq(stream_unseen(block), block == 2 ? PC_STREAM_HOT : PC_STREAM_NONE);
	check_cached(2);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_cached(2);
	ck_assert(find(2, &mapping)); /* and its key says so */
	scope = pc_segment_scope(cache->segments, pc_segment_at(cache->segments, mapping.segment), VOLUME_BYTES);
	ck_assert_int_eq(pc_lines_read(cache->media,
				       pc_segment_at(cache->segments, mapping.segment)->off + SEGMENT_BYTES, 0, 1, buf,
				       &lines),
			 0);
	ck_assert_int_eq(pc_kset_decode_clean(&scope, &lines, 0, &key), PC_CLEAN_VALID);
	ck_assert_uint_eq(key.data_crc, pc_crc32c(0, model + off_of(2), PCM_BLOCK));
	ck_assert_uint_eq(key.off, off_of(2));
	check_reads();
	ck_assert_int_eq(pc_io_flush(cache), 0);
	cut_power_and_reopen();
	check_cached(2);
	check_reads();
}
END_TEST

/* Decay does not spread, and does not get a right checksum. */
START_TEST(bad_block_is_not_moved)
{
	struct pc_mapping mapping;

	set_up_clean(granularities[_i]);
	check_blocks(0, 2);
	check_blocks(0, 2);
	ck_assert(find(0, &mapping));
	sim_media_flip(sim, pc_segment_at(cache->segments, mapping.segment)->off + mapping.data_off + 9, 1);
	close_clean_segments();
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), PCM_BLOCK);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_HOT);
	check_reads();
}
END_TEST

/* What is killed or overwritten in part is not whole any more. */
START_TEST(block_that_was_written_over_is_not_moved)
{
	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	check_blocks(0, 3);
	write_range(off_of(0), PCM_BLOCK);
	write_range(off_of(1) + 1000, 1);
	check_blocks(0, 3);
	close_clean_segments();
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), PCM_BLOCK);
	ck_assert_int_eq(stream_unseen(2), PC_STREAM_HOT);
	check_reads();
}
END_TEST

START_TEST(block_not_read_again_is_remembered_and_goes_to_hot_next_time)
{
	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	close_clean_segments();
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 0);
	check_blocks(1, 1);
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_HOT);
	ck_assert_uint_eq(counted(PC_COUNT_GHOST_HITS), 1);
	check_blocks(20, 1); /* one that was never here does not */
	ck_assert_int_eq(stream_unseen(20), PC_STREAM_FILL);
	ck_assert_uint_eq(counted(PC_COUNT_GHOST_HITS), 1);
}
END_TEST

/* Neighbours that go to different streams: each to its own. */
START_TEST(miss_of_remembered_and_new_blocks_goes_to_both_streams)
{
	set_up_clean(granularities[_i]);
	pc_ghost_add(cache->evicted, 3);
	pc_ghost_add(cache->evicted, 6);
	pc_ghost_add(cache->evicted, 7);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(2), 6 * PCM_BLOCK));
	for (uint64_t block = 2; block < 8; block++)
		ck_assert_int_eq(stream_unseen(block),
				 block == 3 || block >= 6 ? PC_STREAM_HOT : PC_STREAM_FILL);
	ck_assert_uint_eq(counted(PC_COUNT_GHOST_HITS), 3);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_reads();
}
END_TEST

/* Of HOT, what was not read since it came there is dropped, and not remembered. */
START_TEST(block_of_hot_not_read_again_is_forgotten)
{
	set_up_clean(granularities[_i]);
	for (uint64_t block = 0; block < 3; block++)
		keep_hot(block);
	check_blocks(1, 1);
	close_clean_segments();
	reclaim_one();
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
	check_blocks(0, 1);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_FILL);
	check_reads();
}
END_TEST

START_TEST(fifo_carries_nothing_forward_and_remembers_nothing)
{
	set_up_clean(granularities[_i]);
	set_eviction(PCACHE_EVICTION_FIFO);
	check_blocks(0, 3);
	check_blocks(0, 1);
	close_clean_segments();
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 0);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
	check_blocks(0, 3);
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_FILL);
	ck_assert_uint_eq(counted(PC_COUNT_GHOST_HITS), 0);
	ck_assert_ptr_null(cache->misses.first);
}
END_TEST

/* ---- the clean end of WRITE ---- */

START_TEST(written_block_read_again_is_moved_when_its_log_goes)
{
	set_up_clean(granularities[_i]);
	write_range(off_of(0) + 100, PCM_BLOCK - 100);
	write_range(off_of(1), 3 * PCM_BLOCK);
	check_range(0, 3 * PCM_BLOCK);
	drain_into_new_segment();
	check_victim(1);
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 2 * PCM_BLOCK);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(2), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(3), PC_STREAM_NONE);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_cached(1);
	check_cached(2);
	cut_power_and_reopen();
	check_reads();
}
END_TEST

/* The older of the two is on the media still, with a right checksum. */
START_TEST(key_superseded_within_its_segment_is_never_moved)
{
	set_up_clean(granularities[_i]);
	write_range(off_of(5), PCM_BLOCK);
	write_range(off_of(5), PCM_BLOCK);
	write_range(off_of(6), PCM_BLOCK);
	write_range(off_of(6) + 5, 1);
	check_blocks(5, 2);
	drain_into_new_segment();
	reclaim_one();
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), PCM_BLOCK);
	ck_assert_int_eq(stream_unseen(5), PC_STREAM_HOT);
	ck_assert_int_eq(stream_unseen(6), PC_STREAM_NONE);
	check_reads();
	ck_assert_int_eq(pc_io_flush(cache), 0);
	cut_power_and_reopen();
	check_reads();
}
END_TEST

/* Moved out of WRITE, it is a clean key: the next write kills it. */
START_TEST(write_over_a_moved_block_kills_it)
{
	struct pc_mapping moved;

	set_up_clean(granularities[_i]);
	write_range(off_of(5), PCM_BLOCK);
	check_blocks(5, 1);
	drain_into_new_segment();
	reclaim_one();
	ck_assert(find(5, &moved));
	write_range(off_of(5) + 50, 60);
	ck_assert(is_killed_in(sim_media_view(sim), kill_word_of(&moved)));
	ck_assert_int_eq(pc_io_flush(cache), 0);
	cut_power_and_reopen();
	check_reads();
}
END_TEST

/* ---- somebody waits ---- */

START_TEST(nothing_is_moved_while_a_writer_waits)
{
	set_up_clean(granularities[_i]);
	check_blocks(0, PER_SEGMENT);
	check_blocks(0, PER_SEGMENT);
	close_clean_segments();
	set_space_waiters(1);
	ck_assert_int_eq(pc_reclaim_step(cache), 1);
	set_space_waiters(0);
	ck_assert_uint_eq(counted(PC_COUNT_MOVED_BYTES), 0);
	ck_assert_uint_eq(pc_index_cached_bytes(cache->index), 0);
	check_reads();
}
END_TEST

/* Only dirty log, and not a single segment for what is read: it is read all the same, at once. */
START_TEST(full_cache_refuses_fills_and_reads_on)
{
	set_up_clean(granularities[_i]);
	for (unsigned i = 0; free_segments() > 0; i++)
		ck_assert_int_eq(write_block(i % 100, PCACHE_NOWAIT), BLOCK);
	fill_open_segment();
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -EIO, true); /* nor can there be one */
	for (uint64_t block = 0; block < WHOLE_BLOCKS; block++)
		check_blocks(block, 1);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 0);
	ck_assert_uint_gt(counted(PC_COUNT_FILLS_REFUSED), 0);
	ck_assert_uint_eq(cache->stalls, 0);
}
END_TEST

/* The last free segments are left to writers: two to FILL, one to HOT. */
START_TEST(last_free_segments_are_not_for_fills)
{
	set_up_clean(granularities[_i]);
	check_range(0, off_of(WHOLE_BLOCKS));
	ck_assert_uint_eq(free_segments(), 2);
	ck_assert(atomic_load(&cache->clean_starved));
	ck_assert_uint_gt(counted(PC_COUNT_FILLS_REFUSED), 0);
	pc_ghost_add(cache->evicted, WHOLE_BLOCKS - 1);
	check_blocks(WHOLE_BLOCKS - 1, 1);
	ck_assert_int_eq(stream_unseen(WHOLE_BLOCKS - 1), PC_STREAM_HOT);
	ck_assert_uint_eq(free_segments(), 1);
	ck_assert_int_eq(pc_reclaim_step(cache), 1); /* a refused fill asks for one victim */
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	check_reads();
}
END_TEST

/* All of the media but what is open is FILL and HOT; the backing fails. Writers get every segment of it. */
START_TEST(kept_blocks_give_way_to_writers_though_the_backing_fails)
{
	unsigned written = 0;
	ssize_t ret;

	set_up_clean(granularities[_i]);
	for (uint64_t block = 0; block < 12; block++)
		keep_hot(block);
	check_range(0, off_of(WHOLE_BLOCKS));
	check_range(0, off_of(WHOLE_BLOCKS));
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	while ((ret = write_block(written % BLOCKS, 0)) == BLOCK)
		written++;
	ck_assert_int_eq(ret, -ENODATA);
	ck_assert_uint_eq(pc_clean_of(cache, PC_STREAM_FILL)->age.count, 0);
	ck_assert_uint_eq(pc_clean_of(cache, PC_STREAM_HOT)->age.count, 0);
	ck_assert_uint_eq(written, SEGMENTS * IN_SEGMENT);
	sim_backing_heal(backing);
	check_reads();
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_backing();
}
END_TEST

/* One block each, in segments that are open still. */
START_TEST(open_clean_segments_give_way_too)
{
	set_up_clean(granularities[_i]);
	check_blocks(120, 1);
	keep_hot(121);
	fill_cache();
	ck_assert_int_eq(write_block(0, PCACHE_NOWAIT), -EAGAIN);
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	fill_open_segment();
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	fill_open_segment();
	ck_assert_int_eq(write_block(0, 0), -ENODATA);
	ck_assert_uint_eq(pc_clean_of(cache, PC_STREAM_FILL)->age.count, 0);
	ck_assert_uint_eq(pc_clean_of(cache, PC_STREAM_HOT)->age.count, 0);
	sim_backing_heal(backing);
	check_reads();
}
END_TEST

/* The same with threads: the writer sleeps until reclaim has closed and freed them. */
START_TEST(writer_asleep_gets_the_open_clean_segments)
{
	set_up(granularities[_i]);
	open_cache(false);
	check_blocks(50, 1);
	check_blocks(51, 1);
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	for (unsigned i = 0; i < (SEGMENTS - 1) * IN_SEGMENT; i++)
		ck_assert_int_eq(write_block(i % 100, 0), BLOCK);
	for (unsigned i = 0; i < IN_SEGMENT; i++)
		ck_assert_int_eq(write_block(i, 0), BLOCK);
	ck_assert_int_eq(write_block(0, 0), -ENODATA);
	sim_backing_heal(backing);
	check_reads();
}
END_TEST

/* ---- which one ---- */

/* One of FILL that is full, or of HOT; from block 5 * i on. */
static void fill_a_segment(enum pc_stream_kind kind, unsigned i)
{
	for (uint64_t block = PER_SEGMENT * i; block < PER_SEGMENT * (i + 1); block++) {
		if (kind == PC_STREAM_HOT)
			keep_hot(block);
		else
			check_blocks(block, 1);
	}
	close_clean_segments();
}

START_TEST(small_queue_goes_first_while_it_is_more_than_a_tenth)
{
	set_up_clean(granularities[_i]);
	for (unsigned i = 0; i < 9; i++)
		fill_a_segment(PC_STREAM_HOT, i);
	fill_a_segment(PC_STREAM_FILL, 9);
	fill_a_segment(PC_STREAM_FILL, 10);
	check_victim(9 * PER_SEGMENT);  /* two of eleven: too many, though HOT is older */
	check_victim(0);                /* one of ten */
	check_victim(10 * PER_SEGMENT); /* one of nine */
	check_victim(1 * PER_SEGMENT);  /* HOT is all there is */
	check_reads();
}
END_TEST

/* FILL and the clean end of WRITE are one queue, by age. */
START_TEST(oldest_of_fill_and_write_goes_first)
{
	set_up_clean(granularities[_i]);
	fill_a_segment(PC_STREAM_FILL, 0);
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	write_range(off_of(40), 2 * PCM_BLOCK); /* in the second segment of WRITE */
	fill_a_segment(PC_STREAM_FILL, 1);
	drain_into_new_segment();
	ck_assert_uint_eq(reclaimed_segment(), 0); /* the first segment of WRITE is the oldest of all */
	check_victim(0);
	check_victim(40);
	check_victim(PER_SEGMENT);
	check_reads();
}
END_TEST

START_TEST(fifo_takes_the_oldest_of_all)
{
	set_up_clean(granularities[_i]);
	set_eviction(PCACHE_EVICTION_S3FIFO);
	fill_a_segment(PC_STREAM_FILL, 0);
	fill_a_segment(PC_STREAM_HOT, 1);
	fill_a_segment(PC_STREAM_FILL, 2);
	fill_a_segment(PC_STREAM_HOT, 3);
	set_eviction(PCACHE_EVICTION_FIFO);
	for (unsigned i = 0; i < 4; i++)
		check_victim(i * PER_SEGMENT);
	check_reads();
}
END_TEST

/* Dirty log is never taken, whatever is wanted. */
START_TEST(dirty_log_is_no_victim)
{
	set_up_clean(granularities[_i]);
	write_range(off_of(0), 12 * PCM_BLOCK);
	atomic_store(&cache->clean_starved, true);
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	set_space_waiters(1);
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	set_space_waiters(0);
	check_reads();
}
END_TEST

/* ---- nothing is left of it ---- */

START_TEST(segment_without_live_bytes_is_freed_at_once)
{
	uint32_t before;

	set_up_clean(granularities[_i]);
	fill_a_segment(PC_STREAM_FILL, 0);
	check_blocks(30, PER_SEGMENT);
	close_clean_segments();
	before = free_segments();
	write_range(off_of(30), (PER_SEGMENT - 1) * PCM_BLOCK);
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	write_range(off_of(30 + PER_SEGMENT - 1), PCM_BLOCK);
	before = free_segments();
	ck_assert_int_eq(pc_reclaim_step(cache), 1); /* nobody wants space */
	ck_assert_uint_eq(free_segments(), before + 1);
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_FILL);
	check_reads();
}
END_TEST

/* The segment was open when its last block died. */
START_TEST(open_segment_without_live_bytes_is_freed_once_it_is_closed)
{
	uint32_t before;

	set_up_clean(granularities[_i]);
	check_blocks(30, 2);
	write_range(off_of(30), 2 * PCM_BLOCK);
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	check_blocks(0, PER_SEGMENT - 2);
	write_range(off_of(0), (PER_SEGMENT - 2) * PCM_BLOCK);
	ck_assert_int_eq(pc_reclaim_step(cache), 0); /* full, and open */
	before = free_segments();
	check_blocks(10, 1); /* takes the next one */
	ck_assert_uint_eq(free_segments(), before - 1);
	ck_assert_int_eq(pc_reclaim_step(cache), 1);
	ck_assert_uint_eq(free_segments(), before);
	check_cached(10);
	check_reads();
}
END_TEST

/* Also when open finds it so. */
START_TEST(empty_segments_are_freed_after_open)
{
	set_up_clean(granularities[_i]);
	fill_a_segment(PC_STREAM_FILL, 0);
	write_range(off_of(0), PER_SEGMENT * PCM_BLOCK);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	kill_and_reopen(true);
	ck_assert_int_eq(pc_reclaim_step(cache), 1);
	ck_assert_int_eq(pc_reclaim_step(cache), 0);
	ck_assert_uint_eq(pc_clean_of(cache, PC_STREAM_FILL)->age.count, 0);
	check_reads();
}
END_TEST

static void add_carrying(Suite *suite)
{
	TCase *tests = case_new(suite, "carry");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, block_read_again_is_moved_to_hot_and_the_others_are_dropped, 0, GRANULARITIES);
	tcase_add_loop_test(tests, bad_block_is_not_moved, 0, GRANULARITIES);
	tcase_add_loop_test(tests, block_that_was_written_over_is_not_moved, 0, GRANULARITIES);
	tcase_add_loop_test(tests, block_not_read_again_is_remembered_and_goes_to_hot_next_time, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_of_remembered_and_new_blocks_goes_to_both_streams, 0, GRANULARITIES);
	tcase_add_loop_test(tests, block_of_hot_not_read_again_is_forgotten, 0, GRANULARITIES);
	tcase_add_loop_test(tests, fifo_carries_nothing_forward_and_remembers_nothing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, written_block_read_again_is_moved_when_its_log_goes, 0, GRANULARITIES);
	tcase_add_loop_test(tests, key_superseded_within_its_segment_is_never_moved, 0, GRANULARITIES);
	tcase_add_loop_test(tests, write_over_a_moved_block_kills_it, 0, GRANULARITIES);
}

static void add_space(Suite *suite)
{
	TCase *tests = case_new(suite, "space");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, nothing_is_moved_while_a_writer_waits, 0, GRANULARITIES);
	tcase_add_loop_test(tests, full_cache_refuses_fills_and_reads_on, 0, GRANULARITIES);
	tcase_add_loop_test(tests, last_free_segments_are_not_for_fills, 0, GRANULARITIES);
	tcase_add_loop_test(tests, kept_blocks_give_way_to_writers_though_the_backing_fails, 0, GRANULARITIES);
	tcase_add_loop_test(tests, open_clean_segments_give_way_too, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_asleep_gets_the_open_clean_segments, 0, GRANULARITIES);
	tcase_add_loop_test(tests, small_queue_goes_first_while_it_is_more_than_a_tenth, 0, GRANULARITIES);
	tcase_add_loop_test(tests, oldest_of_fill_and_write_goes_first, 0, GRANULARITIES);
	tcase_add_loop_test(tests, fifo_takes_the_oldest_of_all, 0, GRANULARITIES);
	tcase_add_loop_test(tests, dirty_log_is_no_victim, 0, GRANULARITIES);
	tcase_add_loop_test(tests, segment_without_live_bytes_is_freed_at_once, 0, GRANULARITIES);
	tcase_add_loop_test(tests, open_segment_without_live_bytes_is_freed_once_it_is_closed, 0, GRANULARITIES);
	tcase_add_loop_test(tests, empty_segments_are_freed_after_open, 0, GRANULARITIES);
}

int main(void)
{
	Suite *suite = suite_create("cache_evict");

	add_carrying(suite);
	add_space(suite);
	return pc_run_suite(suite);
}
