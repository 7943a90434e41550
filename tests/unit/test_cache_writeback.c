/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_writeback.c - lib/writeback.c: a batch that began goes to its end (D2), and lib/batch.c: what a failed
 * media still holds goes to the backing, nothing else, and the caller is told.
 *
 * Method: a backing that fails once interrupts a batch whose end lies in the open segment; then a writer goes in there
 * and stays. The media fails at each store of a write, so that its lines are lost, torn, or voided. The backing is
 * compared with what was acknowledged.
 */
#include "cache_fixture.h"

/* ---- a batch that was interrupted ---- */

#define IN_OPEN 3u /* blocks in the open segment */

/* One segment full, a few blocks in the next; a batch of all this has failed on the backing. */
static void interrupt_batch(void)
{
	struct pc_pos head;

	write_blocks(0, IN_SEGMENT + IN_OPEN);
	head = pc_cache_head(cache);
	ck_assert(is_at(head, 2, IN_OPEN));
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, false);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -ENODATA);
	sim_backing_heal(backing);
}

static void check_interrupted(void)
{
	ck_assert(is_at(dirty_tail(), 1, 0));
	ck_assert(is_at(batch_end(), 2, IN_OPEN));
}

START_TEST(interrupted_batch_with_a_writer_at_its_end_closes_the_segment)
{
	struct pc_reservation writer;
	uint64_t writes;

	set_up(granularities[_i]);
	open_cache(true);
	interrupt_batch();
	check_interrupted();
	writer = enter_segment();
	writes = sim_backing_counts(backing).writes;
	ck_assert_int_eq(pc_writeback_step(cache), 0);
	ck_assert(pc_room_is_closed(pc_stream_room(&cache->write)));
	check_interrupted();
	ck_assert_msg(sim_backing_counts(backing).writes == writes, "a part of the batch went out");
	leave_segment(&writer);
	ck_assert_int_eq(pc_writeback_step(cache), 1);
	ck_assert(is_clean());
	check_backing();
	check_reads();
}
END_TEST

/* Nobody asks: the thread waits for the writer, and for nothing else. */
START_TEST(interrupted_batch_goes_out_when_the_writer_leaves)
{
	struct pc_reservation writer;

	set_up(granularities[_i]);
	open_cache(false);
	write_blocks(0, IN_SEGMENT + IN_OPEN);
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -ENODATA);
	writer = enter_segment();
	sim_backing_heal(backing);
	WAIT_UNTIL(pc_room_is_closed(pc_stream_room(&cache->write)));
	check_interrupted();
	leave_segment(&writer);
	WAIT_UNTIL(is_clean());
	check_backing();
}
END_TEST

/* In small steps now: the first one must reach the end of the old batch all the same, with one sync. */
START_TEST(interrupted_batch_is_repeated_whole_after_a_crash)
{
	struct pc_pos end;

	set_up(granularities[_i]);
	open_cache(true);
	interrupt_batch();
	end = batch_end();
	config.tunables[PCACHE_TUNABLE_BATCH_BYTES] = 1;
	kill_and_reopen(true);
	check_interrupted();
	check_reads();
	ck_assert_int_eq(pc_writeback_step(cache), 1);
	ck_assert_int_ge(pc_pos_cmp(dirty_tail(), end), 0);
	check_backing();
}
END_TEST

/* ---- a media that failed ---- */

#define GOOD 5u /* blocks before the one that is lost */

static void check_failed_drain(uint64_t seq, uint32_t line)
{
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
		ck_assert(is_at(dirty_tail(), seq, line));
	}
	check_backing();
	check_reads();
}

/* All is there, only its way to the media is not: nobody must take the cache file for the truth. */
START_TEST(drain_after_the_media_failed_gives_eio_with_all_on_the_backing)
{
	set_up(granularities[_i]);
	open_cache(true);
	write_blocks(0, GOOD);
	sim_media_fail(sim, SIM_ANY & ~SIM_READ, 1, -EIO, true);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO); /* which finds that the media failed */
	check_failed_drain(1, GOOD);
	ck_assert(is_clean());
	ck_assert_int_eq(pc_cache_close(cache, true), -EIO);
	cache = NULL;
}
END_TEST

START_TEST(drain_of_a_clean_cache_after_the_media_failed_gives_eio)
{
	set_up(granularities[_i]);
	open_cache(true);
	write_blocks(0, GOOD);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	pc_cache_fail_media(cache, -EIO);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
}
END_TEST

START_TEST(drain_by_threads_after_the_media_failed_gives_eio_with_all_on_the_backing)
{
	set_up(granularities[_i]);
	open_cache(false);
	write_blocks(0, 2 * IN_SEGMENT + GOOD);
	sim_media_fail(sim, SIM_ANY & ~SIM_READ, 1, -EIO, true);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
	check_failed_drain(3, GOOD);
	ck_assert_int_eq(pc_cache_close(cache, true), -EIO);
	cache = NULL;
}
END_TEST

/* Once around: every line and unit holds something of an earlier life, that half a line does not cover. */
static void use_every_segment(void)
{
	while (pc_cache_head(cache).seq <= SEGMENTS + 1)
		write_blocks((unsigned)test_random_below(&contents, BLOCKS), 1);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	fill_open_segment();
}

enum lost_store { DATA, LINE, LOST_STORES };

/* _i: granularity, and which store of the write fails. On page granularity a half of it is stored. */
START_TEST(line_that_was_lost_ends_the_batch_before_it)
{
	uint64_t seq;

	set_up(granularities[_i / LOST_STORES]);
	open_cache(true);
	use_every_segment();
	write_blocks(0, GOOD);
	seq = pc_cache_head(cache).seq;
	sim_media_fail(sim, SIM_COPY, 1 + _i % LOST_STORES, -EIO, true);
	ck_assert_int_eq(write_block(100, 0), -EIO);
	ck_assert_int_eq(write_block(101, 0), -EIO);
	check_failed_drain(seq, GOOD);
	ck_assert_int_eq(pc_cache_close(cache, true), -EIO);
	cache = NULL;
}
END_TEST

/* The first line of all that is dirty: nothing can go out, and that is said every time. */
START_TEST(line_that_was_lost_first_leaves_nothing_to_write)
{
	uint64_t writes;

	set_up(granularities[_i / LOST_STORES]);
	open_cache(true);
	use_every_segment();
	write_blocks(0, GOOD);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	writes = sim_backing_counts(backing).writes;
	sim_media_fail(sim, SIM_COPY, 1 + _i % LOST_STORES, -EIO, true);
	ck_assert_int_eq(write_block(100, 0), -EIO);
	ck_assert_int_eq(pc_writeback_step(cache), -EIO);
	check_failed_drain(pc_cache_head(cache).seq, GOOD);
	ck_assert_uint_eq(sim_backing_counts(backing).writes, writes);
}
END_TEST

/* Somebody else's line behind it is whole, but order comes first. */
START_TEST(line_behind_one_that_was_lost_does_not_go_out)
{
	struct pc_reservation late;

	set_up(granularities[_i / LOST_STORES]);
	open_cache(true);
	use_every_segment();
	write_blocks(0, GOOD);
	sim_media_fail(sim, SIM_COPY, 1 + _i % LOST_STORES, -EIO, true);
	ck_assert_int_eq(write_block(100, 0), -EIO);
	sim_media_fail(sim, 0, 0, 0, false);
	late = enter_segment();
	leave_segment(&late);
	check_failed_drain(late.seq_low, GOOD);
}
END_TEST

/* The media failed just once: the line says that there is nothing, and the batch goes on behind it. */
START_TEST(line_that_was_voided_does_not_end_the_batch)
{
	set_up(granularities[_i / LOST_STORES]);
	open_cache(true);
	use_every_segment();
	write_blocks(0, GOOD);
	sim_media_fail(sim, SIM_COPY, 1 + _i % LOST_STORES, -EIO, false);
	ck_assert_int_eq(write_block(100, 0), -EIO);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
	ck_assert(is_clean());
	check_backing();
	check_reads();
}
END_TEST

START_TEST(line_that_was_lost_ends_drain_and_close_by_threads)
{
	set_up(granularities[_i / LOST_STORES]);
	open_cache(false);
	use_every_segment();
	write_blocks(0, IN_SEGMENT + GOOD);
	sim_media_fail(sim, SIM_COPY, 1 + _i % LOST_STORES, -EIO, true);
	ck_assert_int_eq(write_block(100, 0), -EIO);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
	check_failed_drain(pc_cache_head(cache).seq, GOOD);
	ck_assert_int_eq(pc_cache_close(cache, true), -EIO);
	cache = NULL;
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_writeback");
	TCase *batch = case_new(suite, "batch");
	TCase *failed = case_new(suite, "failed");

	tcase_add_checked_fixture(batch, NULL, tear_down);
	tcase_set_timeout(batch, 120);
	tcase_add_loop_test(batch, interrupted_batch_with_a_writer_at_its_end_closes_the_segment, 0, GRANULARITIES);
	tcase_add_loop_test(batch, interrupted_batch_goes_out_when_the_writer_leaves, 0, GRANULARITIES);
	tcase_add_loop_test(batch, interrupted_batch_is_repeated_whole_after_a_crash, 0, GRANULARITIES);
	tcase_add_checked_fixture(failed, NULL, tear_down);
	tcase_set_timeout(failed, 120);
	tcase_add_loop_test(failed, drain_after_the_media_failed_gives_eio_with_all_on_the_backing, 0, GRANULARITIES);
	tcase_add_loop_test(failed, drain_of_a_clean_cache_after_the_media_failed_gives_eio, 0, GRANULARITIES);
	tcase_add_loop_test(failed, drain_by_threads_after_the_media_failed_gives_eio_with_all_on_the_backing, 0,
			    GRANULARITIES);
	tcase_add_loop_test(failed, line_that_was_lost_ends_the_batch_before_it, 0, GRANULARITIES * LOST_STORES);
	tcase_add_loop_test(failed, line_that_was_lost_first_leaves_nothing_to_write, 0, GRANULARITIES * LOST_STORES);
	tcase_add_loop_test(failed, line_behind_one_that_was_lost_does_not_go_out, 0, GRANULARITIES * LOST_STORES);
	tcase_add_loop_test(failed, line_that_was_voided_does_not_end_the_batch, 0, GRANULARITIES * LOST_STORES);
	tcase_add_loop_test(failed, line_that_was_lost_ends_drain_and_close_by_threads, 0, GRANULARITIES * LOST_STORES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
