/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_clean.c - lib/miss.c, lib/clean.c: which read misses are kept, what a write does to what was kept, and what
 * the caller gets meanwhile.
 *
 * Method: a stepped cache (cache_clean_fixture.h). Whether something was kept shows in the reads of the backing; whether
 * it was killed, in the bytes on the media. What happens while a miss is under way is done from inside of its backing
 * read. Each on all granularities.
 */
#include "cache_clean_fixture.h"

/* ---- keeping ---- */

START_TEST(miss_is_kept_and_read_again_without_the_backing)
{
	set_up_clean(granularities[_i]);
	CHECK_READS_FROM_BACKING(1, check_blocks(3, 1));
	ck_assert_int_eq(stream_unseen(3), PC_STREAM_FILL);
	check_cached(3);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), PCM_BLOCK);
	ck_assert_uint_eq(counted(PC_COUNT_FILLS_REFUSED), 0);
	ck_assert_uint_eq(counted(PC_COUNT_READ_MISS_BYTES), PCM_BLOCK);
}
END_TEST

/* Whole blocks are read and kept around what was asked for. */
START_TEST(miss_of_a_few_bytes_keeps_their_blocks)
{
	set_up_clean(granularities[_i]);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(5) + 4000, 200));
	check_cached(5);
	check_cached(6);
	CHECK_READS_FROM_BACKING(1, check_blocks(7, 1));
	ck_assert_uint_eq(counted(PC_COUNT_READ_MISS_BYTES), 200 + PCM_BLOCK);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 3 * PCM_BLOCK);
}
END_TEST

/* One read, more than a clean segment has room for. */
START_TEST(long_miss_is_kept_in_several_segments)
{
	set_up_clean(granularities[_i]);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(10), 3 * PER_SEGMENT * PCM_BLOCK));
	for (uint64_t block = 10; block < 10 + 3 * PER_SEGMENT; block++)
		check_cached(block);
	ck_assert_uint_eq(pc_clean_of(cache, PC_STREAM_FILL)->age.count, 3);
}
END_TEST

START_TEST(end_of_an_odd_backing_is_read_and_not_kept)
{
	uint64_t tail = VOLUME_BYTES - off_of(LAST_BLOCK);

	set_up_clean(granularities[_i]);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(LAST_BLOCK), tail));
	CHECK_READS_FROM_BACKING(1, check_range(off_of(LAST_BLOCK) + 5, tail - 5));
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 0);
	ck_assert_int_eq(stream_of(LAST_BLOCK), PC_STREAM_NONE);
	CHECK_READS_FROM_BACKING(2, check_range(off_of(LAST_BLOCK - 1), PCM_BLOCK + tail)); /* beside its neighbour */
	ck_assert_int_eq(stream_unseen(LAST_BLOCK - 1), PC_STREAM_FILL);
	check_reads();
}
END_TEST

START_TEST(block_that_is_written_in_part_is_not_kept)
{
	set_up_clean(granularities[_i]);
	write_range(off_of(4) + 1000, 50);
	CHECK_READS_FROM_BACKING(2, check_blocks(4, 1)); /* before and behind what was written */
	CHECK_READS_FROM_BACKING(2, check_blocks(4, 1));
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 0);
	check_range(off_of(3), 3 * PCM_BLOCK);
	check_cached(3);
	check_cached(5);
}
END_TEST

START_TEST(nowait_read_never_fills)
{
	uint8_t data[PCM_BLOCK];

	set_up_clean(granularities[_i]);
	CHECK_READS_FROM_BACKING(0, ck_assert_int_eq(pc_io_read(cache, data, sizeof(data), 0, PCACHE_NOWAIT), -EAGAIN));
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
	check_blocks(0, 1);
	ck_assert_int_eq(pc_io_read(cache, data, sizeof(data), 0, PCACHE_NOWAIT), PCM_BLOCK);
	ck_assert_mem_eq(data, model, sizeof(data));
}
END_TEST

START_TEST(readonly_cache_keeps_nothing)
{
	set_up_clean(granularities[_i]);
	check_blocks(1, 1);
	ck_assert_int_eq(pc_cache_close(cache, false), 0);
	config.readonly = true;
	open_cache(true);
	check_cached(1);
	CHECK_READS_FROM_BACKING(2, { check_blocks(2, 1); check_blocks(2, 1); });
	ck_assert_uint_eq(counted(PC_COUNT_BYPASSED_BYTES), 2 * PCM_BLOCK); /* it did not even try */
	ck_assert(!pc_cache_is_failed(cache));
}
END_TEST

/* ---- a backing that fails ---- */

START_TEST(miss_that_fails_is_an_error_and_nothing_is_kept)
{
	uint8_t data[PCM_BLOCK];

	set_up_clean(granularities[_i]);
	sim_backing_inject(backing, SIM_READ_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(pc_io_read(cache, data, sizeof(data), 0, 0), -ENODATA);
	sim_backing_heal(backing);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 0);
	ck_assert_ptr_null(cache->misses.first);
	CHECK_READS_FROM_BACKING(1, check_blocks(0, 1));
	check_cached(0);
}
END_TEST

/* The whole block, or what was read ahead, cannot be read: not the business of who asked for a part. */
START_TEST(miss_whose_surroundings_fail_is_read_by_itself)
{
	set_up_clean(granularities[_i]);
	sim_backing_inject(backing, SIM_READ_FAILS, 1, -EIO, false);
	CHECK_READS_FROM_BACKING(2, check_range(100, 50));
	ck_assert_int_eq(stream_unseen(0), PC_STREAM_NONE);
}
END_TEST

/* ---- writes over what was kept ---- */

START_TEST(write_over_a_kept_block_kills_it_durably_before_it_returns)
{
	static const struct {
		uint64_t off;
		size_t len;
	} writes[] = { { 0, 4096 }, { 17, 1 }, { 4095, 1 }, { 4095, 2 }, { 0, 20000 } };

	for (unsigned i = 0; i < PC_ARRAY_SIZE(writes); i++) {
		struct pc_mapping kept;

		set_up_clean(granularities[_i]);
		check_blocks(2, 1);
		ck_assert(find(2, &kept));
		ck_assert(!is_killed_in(sim_media_view(sim), kill_word_of(&kept)));
		write_range(off_of(2) + writes[i].off, writes[i].len);
		ck_assert(is_killed_in(sim_media_view(sim), kill_word_of(&kept)));
		if (granularities[_i] == PCACHE_GRANULARITY_PAGE)
			ck_assert_int_eq(pc_io_flush(cache), 0);
		ck_assert(is_killed_in(sim_media_durable(sim), kill_word_of(&kept)));
		ck_assert_uint_eq(counted(PC_COUNT_KILLS), 1);
		check_range(off_of(1), 8 * PCM_BLOCK);
		tear_down();
	}
}
END_TEST

START_TEST(write_beside_a_kept_block_kills_nothing)
{
	set_up_clean(granularities[_i]);
	check_blocks(2, 1);
	write_range(off_of(1), PCM_BLOCK);
	write_range(off_of(3), PCM_BLOCK);
	ck_assert_uint_eq(counted(PC_COUNT_KILLS), 0);
	check_cached(2);
}
END_TEST

/* What is left of the block is still in its place, and read from there, also with a look at its checksum. */
START_TEST(remains_of_a_killed_block_are_read_right)
{
	set_up_clean(granularities[_i]);
	check_blocks(2, 1);
	write_range(off_of(2) + 500, 700);
	check_cached(2);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_cached(2);
	write_range(off_of(2) + 3000, 10);
	check_cached(2);
	ck_assert_uint_eq(counted(PC_COUNT_CLEAN_ERRORS), 0);
	cut_power_and_reopen(); /* the write alone is left; the rest comes from the backing */
	if (granularities[_i] != PCACHE_GRANULARITY_PAGE)
		check_range(off_of(2), PCM_BLOCK);
}
END_TEST

/* The write and its log are gone: the key that it killed is still dead, after a power cut too. */
START_TEST(killed_block_does_not_come_back_when_the_write_has_left)
{
	set_up_clean(granularities[_i]);
	check_blocks(2, 2);
	write_range(off_of(2), PCM_BLOCK);
	write_range(off_of(3) + 10, 20);
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	write_range(off_of(60), 1000); /* so that dirty_tail goes to another segment */
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	pc_ghost_delete(cache->evicted);
	ck_assert_int_eq(pc_ghost_new(1, &cache->evicted), 0);
	atomic_store(&cache->tunables[PCACHE_TUNABLE_EVICTION], PCACHE_EVICTION_FIFO);
	while (cache->oldest_seq < dirty_tail().seq)
		reclaim_one();
	cut_power_and_reopen();
	check_reads();
	kill_and_reopen(true);
	check_reads();
}
END_TEST

/* ---- what happens while a miss is under way ---- */

static void write_block_8(void)
{
	write_range(off_of(8), PCM_BLOCK);
}

static void write_in_block_8_and_lose_it(void)
{
	write_range(off_of(8) + 100, 100);
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	write_range(off_of(60), 1000);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	while (cache->oldest_seq < dirty_tail().seq)
		reclaim_one();
}

/* The reader may get either; what is kept may not be the older one. */
static void read_block_8_while(void (*meanwhile)(void))
{
	uint8_t data[PCM_BLOCK];

	during_next_miss(meanwhile);
	ck_assert_int_eq(pc_io_read(cache, data, sizeof(data), off_of(8), 0), PCM_BLOCK);
	after_miss();
}

START_TEST(miss_overtaken_by_a_write_is_not_kept)
{
	set_up_clean(granularities[_i]);
	read_block_8_while(write_block_8);
	ck_assert_int_eq(stream_unseen(8), PC_STREAM_WRITE);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 0);
	check_cached(8);
}
END_TEST

/* The range is a hole again: only the list of misses knows. */
START_TEST(miss_overtaken_by_a_write_that_has_left_again_is_not_kept)
{
	set_up_clean(granularities[_i]);
	read_block_8_while(write_in_block_8_and_lose_it);
	ck_assert_int_eq(stream_unseen(8), PC_STREAM_NONE);
	ck_assert_uint_eq(counted(PC_COUNT_FILLS_REFUSED), 1);
	check_blocks(8, 1);
	check_cached(8);
	cut_power_and_reopen();
	check_reads();
}
END_TEST

static void read_block_8(void)
{
	check_range(off_of(8), PCM_BLOCK);
}

/* Nothing of the index or the log was touched: it is kept. */
static void write_elsewhere(void)
{
	write_range(off_of(9), PCM_BLOCK);
}

START_TEST(miss_beside_a_write_is_kept)
{
	set_up_clean(granularities[_i]);
	read_block_8_while(write_elsewhere);
	ck_assert_int_eq(stream_unseen(8), PC_STREAM_FILL);
	check_cached(8);
}
END_TEST

/* The reader's buffer is his: what he does with it does not get into the cache. */
START_TEST(buffer_changed_by_its_owner_does_not_matter)
{
	uint8_t data[PCM_BLOCK];

	set_up_clean(granularities[_i]);
	ck_assert_int_eq(pc_io_read(cache, data, sizeof(data), off_of(8), 0), PCM_BLOCK);
	memset(data, 0, sizeof(data));
	read_block_8();
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	check_cached(8);
}
END_TEST

/* ---- order of the stores ---- */

static struct {
	uint64_t line_off;  /* of the key, once it is known */
	uint64_t data_off;
	bool key_came_first;
	bool watching;
} order;

/* The moment that the key is stored: its data is durable, or on page granularity at least stored. */
static void look_at_key(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg)
{
	(void)arg;
	if (primitive != SIM_COPY || data == NULL || off != order.line_off || len != PCM_LINE)
		return;
	order.watching = true;
	if (sim_media_is_pending(sim, order.data_off, PCM_BLOCK))
		order.key_came_first = true;
}

START_TEST(data_is_durable_before_its_key_is_stored)
{
	const struct sim_hooks hooks = { .store = look_at_key };
	struct pc_mapping kept;

	set_up_clean(granularities[_i]);
	check_blocks(1, 1);
	ck_assert(find(1, &kept));
	order.line_off = pc_segment_at(cache->segments, kept.segment)->off +
			 pc_line_off(SEGMENT_BYTES, kept.slot / 2 + 1);
	order.data_off = pc_segment_at(cache->segments, kept.segment)->off + kept.data_off + PCM_BLOCK;
	order.key_came_first = false;
	order.watching = false;
	sim_media_hook(sim, &hooks);
	check_blocks(2, 1);
	sim_media_hook(sim, NULL);
	ck_assert(order.watching);
	if (granularities[_i] != PCACHE_GRANULARITY_PAGE)
		ck_assert(!order.key_came_first);
	if (granularities[_i] == PCACHE_GRANULARITY_PAGE)
		ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert_mem_eq(sim_media_durable(sim) + order.data_off, model + off_of(2), PCM_BLOCK);
	ck_assert(!sim_media_is_pending(sim, order.line_off, PCM_LINE)); /* a fill fences before it leaves */
}
END_TEST

/* ---- a media that fails ---- */

START_TEST(miss_that_cannot_be_kept_on_a_failed_media_is_read_all_the_same)
{
	for (unsigned nth = 1; nth < 12; nth++) {
		set_up_clean(granularities[_i]);
		check_blocks(0, 1);
		sim_media_fail(sim, SIM_COPY | SIM_STORE8 | SIM_FLUSH | SIM_DRAIN | SIM_SYNC, nth, -EIO, true);
		check_range(off_of(1), 6 * PCM_BLOCK);
		check_range(off_of(1), 6 * PCM_BLOCK);
		if (sim_media_has_failed(sim))
			ck_assert(pc_cache_is_failed(cache));
		check_reads();
		tear_down();
	}
}
END_TEST

/* The write cannot say that it is done: the key that it supersedes might come back. */
START_TEST(write_whose_kill_fails_gives_eio)
{
	uint8_t data[PCM_BLOCK] = { 1 };

	set_up_clean(granularities[_i]);
	check_blocks(2, 1);
	sim_media_fail(sim, SIM_STORE8, 1, -EIO, false);
	ck_assert_int_eq(pc_io_write(cache, data, sizeof(data), off_of(2), 0), -EIO);
	ck_assert(sim_media_has_failed(sim));
	ck_assert(pc_cache_is_failed(cache));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_clean");
	TCase *tests = case_new(suite, "clean");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, miss_is_kept_and_read_again_without_the_backing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_of_a_few_bytes_keeps_their_blocks, 0, GRANULARITIES);
	tcase_add_loop_test(tests, long_miss_is_kept_in_several_segments, 0, GRANULARITIES);
	tcase_add_loop_test(tests, end_of_an_odd_backing_is_read_and_not_kept, 0, GRANULARITIES);
	tcase_add_loop_test(tests, block_that_is_written_in_part_is_not_kept, 0, GRANULARITIES);
	tcase_add_loop_test(tests, nowait_read_never_fills, 0, GRANULARITIES);
	tcase_add_loop_test(tests, readonly_cache_keeps_nothing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_that_fails_is_an_error_and_nothing_is_kept, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_whose_surroundings_fail_is_read_by_itself, 0, GRANULARITIES);
	tcase_add_loop_test(tests, write_over_a_kept_block_kills_it_durably_before_it_returns, 0, GRANULARITIES);
	tcase_add_loop_test(tests, write_beside_a_kept_block_kills_nothing, 0, GRANULARITIES);
	tcase_add_loop_test(tests, remains_of_a_killed_block_are_read_right, 0, GRANULARITIES);
	tcase_add_loop_test(tests, killed_block_does_not_come_back_when_the_write_has_left, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_overtaken_by_a_write_is_not_kept, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_overtaken_by_a_write_that_has_left_again_is_not_kept, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_beside_a_write_is_kept, 0, GRANULARITIES);
	tcase_add_loop_test(tests, buffer_changed_by_its_owner_does_not_matter, 0, GRANULARITIES);
	tcase_add_loop_test(tests, data_is_durable_before_its_key_is_stored, 0, GRANULARITIES);
	tcase_add_loop_test(tests, miss_that_cannot_be_kept_on_a_failed_media_is_read_all_the_same, 0, GRANULARITIES);
	tcase_add_loop_test(tests, write_whose_kill_fails_gives_eio, 0, GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
