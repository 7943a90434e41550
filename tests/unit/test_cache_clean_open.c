/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_clean_open.c - lib/replay_clean.c, lib/recover_persist.c and the reading side of lib/clean.c: what was kept is
 * there again after open, unless something newer has taken its place or its data went bad.
 *
 * Method: as test_cache_clean.c. Damage is done to the simulated media between close, or crash, and open.
 */
#include "cache_clean_fixture.h"

enum ending { CLOSED, KILLED, CUT };
#define ENDINGS 3

static void end_and_reopen(enum ending ending)
{
	if (ending == CUT) {
		cut_power_and_reopen();
	} else if (ending == KILLED) {
		kill_and_reopen(true);
	} else {
		ck_assert_int_eq(pc_cache_close(cache, false), 0);
		cache = NULL;
		open_cache(true);
	}
}

static uint64_t segment_off(uint32_t id)
{
	return pc_segment_at(cache->segments, id)->off;
}

/* Of the data of a block, on the media. */
static uint64_t data_off_of(uint64_t block)
{
	struct pc_mapping mapping;

	ck_assert(find(block, &mapping));
	return segment_off(mapping.segment) + mapping.data_off;
}

static uint64_t kill_off_of(uint64_t block)
{
	struct pc_mapping mapping;

	ck_assert(find(block, &mapping));
	return kill_word_of(&mapping);
}

/* ---- what stays ---- */

START_TEST(kept_blocks_are_there_after_open)
{
	for (int ending = 0; ending < ENDINGS; ending++) {
		set_up_clean(granularities[_i]);
		check_blocks(0, PER_SEGMENT + 2); /* one segment is sealed, the other open */
		keep_hot(20);
		write_range(off_of(30), PCM_BLOCK);
		ck_assert_int_eq(pc_io_flush(cache), 0);
		end_and_reopen((enum ending)ending);
		for (uint64_t block = 0; block < PER_SEGMENT + 2; block++)
			check_cached(block);
		check_cached(20);
		check_cached(30);
		ck_assert_int_eq(stream_unseen(0), PC_STREAM_FILL);
		ck_assert_int_eq(stream_unseen(20), PC_STREAM_HOT);
		ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 0);
		check_blocks(10, 3); /* and more can be kept */
		check_cached(12);
		check_reads();
		tear_down();
	}
}
END_TEST

/* Never into an old segment. */
START_TEST(fill_after_open_takes_a_new_segment)
{
	struct pc_mapping before;
	struct pc_mapping behind;

	set_up_clean(granularities[_i]);
	check_blocks(0, 1);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	end_and_reopen(KILLED);
	ck_assert(find(0, &before));
	ck_assert(pc_segment_is_sealed(cache->segments, before.segment));
	check_blocks(1, 1);
	ck_assert(find(1, &behind));
	ck_assert_uint_ne(before.segment, behind.segment);
	ck_assert_uint_eq(pc_segment_at(cache->segments, behind.segment)->seq,
			  pc_segment_at(cache->segments, before.segment)->seq + 1);
}
END_TEST

START_TEST(readonly_open_reads_what_was_kept_and_stores_nothing)
{
	static uint8_t before[MEDIA_BYTES];

	set_up_clean(granularities[_i]);
	check_blocks(0, 2);
	write_range(off_of(1) + 10, 10);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	pc_cache_abandon(cache);
	cache = NULL;
	memcpy(before, sim_media_view(sim), sizeof(before));
	config.readonly = true;
	open_cache(true);
	check_cached(0);
	check_reads();
	ck_assert_mem_eq(before, sim_media_view(sim), sizeof(before));
}
END_TEST

/* ---- losers ---- */

/* The kill did not reach the media, the write did. */
START_TEST(key_under_a_write_is_killed_by_open)
{
	static const uint8_t no_kill[8];
	struct pc_mapping kept;
	uint64_t off;

	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	ck_assert(find(1, &kept));
	off = kill_word_of(&kept);
	write_range(off_of(1) + 4000, 50); /* a part is enough */
	ck_assert_int_eq(pc_io_flush(cache), 0);
	for (unsigned i = 0; i < 8; i++)
		sim_media_flip(sim, off + i, sim_media_view(sim)[off + i]);
	ck_assert_mem_eq(sim_media_durable(sim) + off, no_kill, 8);
	kill_and_reopen(true);
	ck_assert(is_killed_in(sim_media_durable(sim), off));
	check_reads();
	check_cached(0);
	check_cached(2);
	cut_power_and_reopen();
	check_reads();
}
END_TEST

/* Reclaim had moved a block, and did not come to free what it moved it from. */
static void move_without_freeing(uint32_t segment)
{
	static uint8_t buf[PER_SEGMENT * PCM_LINE];
	struct pc_lines lines;

	ck_assert_int_eq(pc_lines_read(cache->media, segment_off(segment) + SEGMENT_BYTES, 0, PER_SEGMENT, buf, &lines), 0);
	ck_assert_uint_eq(pc_move_hot(cache, pc_segment_at(cache->segments, segment), PC_STREAM_FILL, &lines), 1);
}

START_TEST(of_two_copies_one_is_killed_by_open)
{
	struct pc_mapping first;
	struct pc_mapping second;
	unsigned killed = 0;

	set_up_clean(granularities[_i]);
	check_blocks(0, PER_SEGMENT);
	check_blocks(0, 1); /* once more: worth keeping */
	ck_assert(find(0, &first));
	move_without_freeing(first.segment);
	ck_assert(find(0, &second));
	ck_assert_uint_ne(first.segment, second.segment);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert(!is_killed_in(sim_media_view(sim), kill_word_of(&first)));
	end_and_reopen(CUT);
	killed += is_killed_in(sim_media_durable(sim), kill_word_of(&first));
	killed += is_killed_in(sim_media_durable(sim), kill_word_of(&second));
	ck_assert_uint_eq(killed, 1);
	check_cached(0);
	check_reads();
	write_range(off_of(0), 1); /* and it is the living one that dies */
	ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert(is_killed_in(sim_media_durable(sim), kill_word_of(&first)));
	ck_assert(is_killed_in(sim_media_durable(sim), kill_word_of(&second)));
}
END_TEST

/* ---- data that went bad ---- */

/* In a sealed segment it is found by the first read. Which gets the right bytes. */
START_TEST(bad_data_is_read_from_the_backing_and_killed)
{
	uint64_t off;
	uint64_t word;

	set_up_clean(granularities[_i]);
	check_blocks(0, 2);
	end_and_reopen(CLOSED);
	off = data_off_of(1);
	word = kill_off_of(1);
	sim_media_flip(sim, off + 1234, 0x10);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(1) + 10, 20)); /* not the bad byte itself */
	ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 1);
	ck_assert_uint_eq(counted(PC_COUNT_CHECKSUM_ERRORS), 0);
	ck_assert(said("is damaged"));
	ck_assert(is_killed_in(sim_media_view(sim), word));
	if (granularities[_i] == PCACHE_GRANULARITY_PAGE)
		ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert(is_killed_in(sim_media_durable(sim), word));
	check_cached(1); /* kept again, elsewhere */
	check_cached(0);
	ck_assert_uint_ne(data_off_of(1), off);
	sim_media_flip(sim, off + 1234, 0x10); /* even if the old one is good again */
	cut_power_and_reopen();
	check_reads();
	ck_assert_uint_ne(data_off_of(1), off);
}
END_TEST

/* Not even its key can be read. */
START_TEST(data_or_key_that_cannot_be_read_is_read_from_the_backing)
{
	for (int what = 0; what < 2; what++) {
		uint64_t off;

		set_up_clean(granularities[_i]);
		check_blocks(0, 2);
		end_and_reopen(CLOSED);
		off = what == 0 ? data_off_of(1) + 1024 : kill_off_of(1) - 24;
		sim_media_poison(sim, off);
		CHECK_READS_FROM_BACKING(1, check_blocks(1, 1));
		ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 1);
		check_cached(1);
		check_reads();
		tear_down();
	}
}
END_TEST

/* What writes have left of a block in several places is one key: all of it goes. */
START_TEST(bad_remains_are_dropped_together)
{
	set_up_clean(granularities[_i]);
	check_blocks(0, 2);
	end_and_reopen(CLOSED);
	sim_media_flip(sim, data_off_of(1) + 5, 1);
	write_range(off_of(1) + 1000, 10);
	write_range(off_of(1) + 2000, 10);
	check_range(off_of(1) + 3000, 100);
	ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 1);
	check_blocks(1, 1);
	ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 1);
	check_cached(0);
	check_reads();
}
END_TEST

START_TEST(bad_data_with_nowait_is_a_miss)
{
	uint8_t data[PCM_BLOCK];

	set_up_clean(granularities[_i]);
	check_blocks(0, 2);
	end_and_reopen(CLOSED);
	sim_media_flip(sim, data_off_of(1), 1);
	CHECK_READS_FROM_BACKING(0, ck_assert_int_eq(pc_io_read(cache, data, sizeof(data), off_of(1), PCACHE_NOWAIT),
						     -EAGAIN));
	ck_assert_int_eq(stream_unseen(1), PC_STREAM_NONE);
	check_blocks(1, 1);
}
END_TEST

START_TEST(bad_data_in_a_readonly_cache_is_read_from_the_backing)
{
	static uint8_t before[MEDIA_BYTES];

	set_up_clean(granularities[_i]);
	check_blocks(0, 2);
	ck_assert_int_eq(pc_cache_close(cache, false), 0);
	config.readonly = true;
	open_cache(true);
	sim_media_flip(sim, data_off_of(1), 1);
	memcpy(before, sim_media_view(sim), sizeof(before));
	CHECK_READS_FROM_BACKING(1, check_blocks(1, 1));
	ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 1);
	ck_assert_uint_eq(counted(PC_COUNT_KILLS), 0);
	check_cached(0);
	ck_assert_mem_eq(before, sim_media_view(sim), sizeof(before));
}
END_TEST

/* In a segment that was not sealed open looks at the data, and the key must never come back. */
START_TEST(bad_data_in_an_unsealed_segment_is_killed_by_open)
{
	uint64_t word;
	uint64_t off;

	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	word = kill_off_of(1);
	off = data_off_of(1);
	sim_media_flip(sim, off + 77, 0x80);
	kill_and_reopen(true);
	ck_assert(is_killed_in(sim_media_durable(sim), word));
	sim_media_flip(sim, off + 77, 0x80);
	check_cached(0);
	check_cached(2);
	CHECK_READS_FROM_BACKING(1, check_blocks(1, 1));
	ck_assert_int_eq(pc_io_flush(cache), 0);
	cut_power_and_reopen();
	ck_assert_uint_ne(data_off_of(1), off);
	check_reads();
}
END_TEST

/* What of a line does not fit is a miss, and the others stay. */
START_TEST(torn_line_is_a_miss)
{
	struct pc_mapping kept;

	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert(find(1, &kept));
	sim_media_flip(sim, segment_off(kept.segment) + pc_line_off(SEGMENT_BYTES, kept.slot / 2) + 33, 4);
	kill_and_reopen(true);
	check_cached(0);
	check_cached(2);
	CHECK_READS_FROM_BACKING(1, check_blocks(1, 1));
	check_reads();
}
END_TEST

/* ---- a segment whose keys cannot be read ---- */

START_TEST(segment_that_cannot_be_read_is_given_up)
{
	for (int sealed = 0; sealed < 2; sealed++) {
		struct pc_mapping kept;
		uint64_t gen;

		set_up_clean(granularities[_i]);
		check_blocks(0, 3);
		keep_hot(20);
		ck_assert(find(0, &kept));
		gen = pc_segment_at(cache->segments, kept.segment)->gen;
		if (sealed) {
			end_and_reopen(CLOSED);
			ck_assert_int_eq(pc_cache_close(cache, false), 0);
		} else {
			ck_assert_int_eq(pc_io_flush(cache), 0);
			pc_cache_abandon(cache);
		}
		cache = NULL;
		sim_media_poison(sim, SEGMENTS_OFF + kept.segment * SEGMENT_BYTES +
					      pc_line_off(SEGMENT_BYTES, 2));
		open_cache(true);
		ck_assert(said("is given up"));
		ck_assert_int_eq(pc_segment_at(cache->segments, kept.segment)->state, PC_SEGMENT_FREE);
		ck_assert_uint_eq(pc_segment_at(cache->segments, kept.segment)->gen, gen + 1);
		check_cached(20);
		CHECK_READS_FROM_BACKING(3, check_blocks(0, 3));
		cut_power_and_reopen();
		check_reads();
		tear_down();
	}
}
END_TEST

START_TEST(readonly_open_leaves_out_a_segment_that_cannot_be_read)
{
	static uint8_t before[MEDIA_BYTES];
	struct pc_mapping kept;

	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	ck_assert(find(0, &kept));
	ck_assert_int_eq(pc_cache_close(cache, false), 0);
	sim_media_poison(sim, SEGMENTS_OFF + kept.segment * SEGMENT_BYTES + pc_line_off(SEGMENT_BYTES, 2));
	memcpy(before, sim_media_view(sim), sizeof(before));
	config.readonly = true;
	open_cache(true);
	CHECK_READS_FROM_BACKING(3, check_blocks(0, 3));
	ck_assert_mem_eq(before, sim_media_view(sim), sizeof(before));
}
END_TEST

/* ---- open again and again ---- */

/* The power goes at each call of the media during open; the next open finds all the same. */
START_TEST(open_cut_off_anywhere_starts_again)
{
	static uint8_t image[MEDIA_BYTES];
	static const uint8_t no_kill[8];
	struct pc_mapping kept;
	bool failed = true;
	uint64_t off;

	set_up_clean(granularities[_i]);
	check_blocks(0, 3);
	ck_assert(find(1, &kept));
	off = kill_word_of(&kept);
	write_range(off_of(1), 50);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	for (unsigned i = 0; i < 8; i++)
		sim_media_flip(sim, off + i, sim_media_view(sim)[off + i]);
	ck_assert_mem_eq(sim_media_durable(sim) + off, no_kill, 8);
	pc_cache_abandon(cache);
	cache = NULL;
	memcpy(image, sim_media_durable(sim), sizeof(image));
	for (unsigned nth = 1; failed; nth++) {
		sim_media_reset_to(sim, image);
		sim_media_fail(sim, SIM_COPY | SIM_STORE8 | SIM_FLUSH | SIM_DRAIN | SIM_SYNC, nth, -EIO, true);
		failed = try_open(true) < 0;
		if (!failed)
			break;
		sim_media_fail(sim, SIM_ANY, 0, 0, false);
		cache = NULL;
		open_cache(true);
		cut_power_and_reopen();
		ck_assert(is_killed_in(sim_media_durable(sim), off));
		check_reads();
		pc_cache_abandon(cache);
		cache = NULL;
		ck_assert_uint_lt(nth, 1000);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_clean_open");
	TCase *tests = case_new(suite, "open");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, kept_blocks_are_there_after_open, 0, GRANULARITIES);
	tcase_add_loop_test(tests, fill_after_open_takes_a_new_segment, 0, GRANULARITIES);
	tcase_add_loop_test(tests, readonly_open_reads_what_was_kept_and_stores_nothing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, key_under_a_write_is_killed_by_open, 0, GRANULARITIES);
	tcase_add_loop_test(tests, of_two_copies_one_is_killed_by_open, 0, GRANULARITIES);
	tcase_add_loop_test(tests, bad_data_is_read_from_the_backing_and_killed, 0, GRANULARITIES);
	tcase_add_loop_test(tests, data_or_key_that_cannot_be_read_is_read_from_the_backing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, bad_remains_are_dropped_together, 0, GRANULARITIES);
	tcase_add_loop_test(tests, bad_data_with_nowait_is_a_miss, 0, GRANULARITIES);
	tcase_add_loop_test(tests, bad_data_in_a_readonly_cache_is_read_from_the_backing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, bad_data_in_an_unsealed_segment_is_killed_by_open, 0, GRANULARITIES);
	tcase_add_loop_test(tests, torn_line_is_a_miss, 0, GRANULARITIES);
	tcase_add_loop_test(tests, segment_that_cannot_be_read_is_given_up, 0, GRANULARITIES);
	tcase_add_loop_test(tests, readonly_open_leaves_out_a_segment_that_cannot_be_read, 0, GRANULARITIES);
	tcase_add_loop_test(tests, open_cut_off_anywhere_starts_again, 0, GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
