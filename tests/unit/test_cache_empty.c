/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_empty.c - keys without data in the whole engine: what is read, what is found again after a kill, what
 * write-back makes of them, and that reclaim takes them as it takes others.
 *
 * Method: a stepped cache on the simulated media and backing (cache_fixture.h), all three granularities. Keys of every
 * kind go through pc_io_write_plan(), over data that is dirty, or on the backing already.
 */
#include "cache_fixture.h"

static void set_up_here(int i)
{
	set_up(granularities[i]);
	open_cache(true);
}

static int put_empty(uint16_t flag, uint64_t off, uint64_t len)
{
	struct pc_write_plan plan;
	int ret;

	ck_assert_int_eq(pc_plan_new(pc_plan_keys(off, len), &plan), 0);
	pc_plan_add_empty(&plan, flag, len, off);
	ret = pc_io_write_plan(cache, &plan, false);
	pc_plan_free(&plan);
	if (ret == 0 && (flag & (PCM_KEY_ZERO | PCM_KEY_DISCARD)) != 0)
		memset(model + off, 0, len);
	return ret;
}

static void drain(void)
{
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
}

static void reclaim_all(void)
{
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	ck_assert_int_eq(write_block(BLOCKS - 1, 0), BLOCK);
	drain();
	atomic_store(&cache->tunables[PCACHE_TUNABLE_GC_PERCENT], 0);
	while (pc_reclaim_step(cache) > 0)
		;
	atomic_store(&cache->tunables[PCACHE_TUNABLE_GC_PERCENT], 95);
	ck_assert_uint_eq(cache->oldest_seq, cache->dirty_tail.seq);
}

/* Now, after a kill, once it is on the backing, and when the log has left the cache. */
static void check_all_along(void)
{
	check_reads();
	ck_assert_int_eq(pc_io_flush(cache), 0);
	kill_and_reopen(true);
	check_reads();
	drain();
	check_backing();
	reclaim_all();
	check_reads();
}

/* Zeroes over part of dirty data: read, read again after a kill, written back, and still there without the cache. */
START_TEST(zeroes_are_read_replayed_and_written_back)
{
	set_up_here(_i);
	write_blocks(0, 8);
	ck_assert_int_eq(put_empty(PCM_KEY_ZERO, 1000, 3000), 0);
	ck_assert_int_eq(put_empty(PCM_KEY_DISCARD, 5 * BLOCK, 2 * BLOCK), 0);
	check_all_along();
}
END_TEST

START_TEST(zeroes_give_way_to_later_writes)
{
	set_up_here(_i);
	ck_assert_int_eq(put_empty(PCM_KEY_ZERO, 0, 100000), 0);
	write_blocks(3, 4);
	check_reads();
	kill_and_reopen(true);
	check_reads();
	drain();
	check_backing();
}
END_TEST

/* Zeroes over what the backing has: of a batch in which they are all there is. */
START_TEST(zeroes_over_the_backing_replace_its_bytes)
{
	set_up_here(_i);
	write_blocks(0, 12);
	reclaim_all();
	ck_assert_int_eq(put_empty(PCM_KEY_ZERO, 100, 3 * BLOCK), 0);
	ck_assert_int_eq(put_empty(PCM_KEY_DISCARD, 8 * BLOCK, 2 * BLOCK + 1), 0);
	check_reads();
	drain();
	check_backing();
	reclaim_all();
	check_reads();
}
END_TEST

/* A key of more than one line: a kset whose last key has no data says how many units are used. */
START_TEST(units_of_keys_without_data_are_found_again)
{
	uint64_t room;

	set_up_here(_i);
	ck_assert_int_eq(put_empty(PCM_KEY_ZERO, 10, 3 * PCM_KEY_MAX_BYTES), 0);
	room = pc_stream_room(&cache->write);
	ck_assert_uint_eq(pc_room_units(room), 4);
	ck_assert_uint_eq(pc_room_lines(room), 3);
	ck_assert_int_eq(pc_io_flush(cache), 0);
	kill_and_reopen(true);
	room = pc_stream_room(&cache->write);
	ck_assert_uint_eq(pc_room_units(room), 4);
	ck_assert_uint_eq(pc_room_lines(room), 3);
	check_reads();
}
END_TEST

static int read_byte(uint64_t off)
{
	uint8_t byte;

	return (int)pc_io_read(cache, &byte, 1, off, 0);
}

/* The backing has newer bytes: what is older in the cache is gone, before and after a kill, and is never written back. */
START_TEST(invalidated_bytes_come_from_the_backing)
{
	uint8_t newer[BLOCK];

	set_up_here(_i);
	write_blocks(0, 8);
	drain();
	memset(newer, 0x77, sizeof(newer));
	ck_assert_int_eq(put_empty(PCM_KEY_INVALIDATE, block_off(3), BLOCK), 0);
	sim_backing_patch(backing, block_off(3), newer, sizeof(newer));
	memcpy(model + block_off(3), newer, sizeof(newer));
	check_all_along();
}
END_TEST

/* (N4) Older dirty data under it stays in the log; later data over it goes out. */
START_TEST(invalidated_bytes_are_not_written_back)
{
	uint8_t newer[BLOCK];

	set_up_here(_i);
	write_blocks(0, 8);
	memset(newer, 0x77, sizeof(newer));
	ck_assert_int_eq(put_empty(PCM_KEY_INVALIDATE, block_off(3), 2 * BLOCK), 0);
	sim_backing_patch(backing, block_off(3), newer, sizeof(newer));
	memcpy(model + block_off(3), newer, sizeof(newer));
	write_blocks(4, 1);
	drain();
	check_backing();
	check_reads();
}
END_TEST

/* A kept miss is killed by each of them, durably: it does not come back when their segment has been reclaimed. */
START_TEST(clean_data_is_killed_by_keys_without_data)
{
	static const uint16_t flags[] = { PCM_KEY_ZERO, PCM_KEY_DISCARD, PCM_KEY_INVALIDATE };
	uint8_t newer[PCM_BLOCK];

	set_up_here(_i);
	memset(newer, 0x77, sizeof(newer));
	for (unsigned i = 0; i < PC_ARRAY_SIZE(flags); i++) {
		uint64_t off = (i + 1) * PCM_BLOCK;

		ck_assert_int_eq(read_byte(off), 1);
		ck_assert_int_eq(put_empty(flags[i], off, PCM_BLOCK), 0);
		ck_assert_uint_eq(pc_stats_sum(cache->stats, PC_COUNT_KILLS), i + 1);
		if (flags[i] != PCM_KEY_INVALIDATE)
			continue;
		sim_backing_patch(backing, off, newer, sizeof(newer));
		memcpy(model + off, newer, sizeof(newer));
	}
	check_reads();
	reclaim_all();
	kill_and_reopen(true);
	check_reads();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache_empty");
	TCase *tcase = case_new(suite, "cache_empty");

	tcase_add_checked_fixture(tcase, NULL, tear_down);
	tcase_add_loop_test(tcase, zeroes_are_read_replayed_and_written_back, 0, GRANULARITIES);
	tcase_add_loop_test(tcase, zeroes_give_way_to_later_writes, 0, GRANULARITIES);
	tcase_add_loop_test(tcase, zeroes_over_the_backing_replace_its_bytes, 0, GRANULARITIES);
	tcase_add_loop_test(tcase, units_of_keys_without_data_are_found_again, 0, GRANULARITIES);
	tcase_add_loop_test(tcase, invalidated_bytes_come_from_the_backing, 0, GRANULARITIES);
	tcase_add_loop_test(tcase, invalidated_bytes_are_not_written_back, 0, GRANULARITIES);
	tcase_add_loop_test(tcase, clean_data_is_killed_by_keys_without_data, 0, GRANULARITIES);
	return pc_run_suite(suite);
}
