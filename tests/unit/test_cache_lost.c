/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_lost.c - dirty data that decays before it is written back: its range is lost, and nothing else is.
 *
 * Method: a stepped cache on the simulated media and backing (cache_fixture.h), all three granularities. Bytes of dirty
 * data are flipped, or a line of it cannot be read; then it is drained, reclaimed, killed, and opened again.
 */
#include "cache_fixture.h"

#define BAD     5u /* the block that is damaged */
#define BAD_OFF (BAD * BLOCK)

static uint8_t before[VOLUME_BYTES]; /* the backing */

static void set_up_here(int i)
{
	set_up(granularities[i]);
	open_cache(true);
	write_blocks(0, 12);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	memcpy(before, sim_backing_durable(backing), VOLUME_BYTES);
	write_blocks(0, 12);
}

static uint64_t place_of(uint64_t off)
{
	struct pc_piece piece;

	ck_assert_uint_eq(pc_index_lookup(cache->index, off, 1, &piece, 1), 1);
	ck_assert(piece.cached);
	return pc_segment_at(cache->segments, piece.mapping.segment)->off + piece.mapping.data_off;
}

static void damage(uint64_t off)
{
	sim_media_flip(sim, place_of(off), 1);
}

static int drain(void)
{
	return pc_writeback_drain(cache, NULL, NULL);
}

static int read_at(uint64_t off, size_t len)
{
	uint8_t data[VOLUME_BYTES];
	ssize_t ret = pc_io_read(cache, data, len, off, 0);

	if (ret == (ssize_t)len)
		EXPECT(memcmp(data, model + off, len) == 0);
	return (int)ret;
}

/* Of the first blocks all but [off, end) can be read, and that is what the cache says of it. */
static void expect_lost(uint64_t off, uint64_t end)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	struct pcache_range range;

	for (uint64_t at = 0; at < 12 * BLOCK; at += 128)
		ck_assert_int_eq(read_at(at, 128), at < end && at + 128 > off ? -EBADMSG : 128);
	ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.lost_bytes, end - off);
	ck_assert_uint_eq(stats.lost_ranges, off < end);
	ck_assert_uint_eq(pc_damage_list(cache, &range, 1), off < end);
	ck_assert_int_eq(pc_scrub(cache, NULL, NULL, 0), off < end ? -EBADMSG : 0);
	if (off == end)
		return;
	ck_assert(range.off == off && range.len == end - off && range.state == PCACHE_RANGE_LOST);
	ck_assert_uint_eq(pc_range_query(cache, off, VOLUME_BYTES - off, &range, 1), 1);
	ck_assert(range.off == off && range.len == end - off && range.state == PCACHE_RANGE_LOST);
}

static void check_backing_but(uint64_t off, uint64_t end)
{
	const uint8_t *durable = sim_backing_durable(backing);

	EXPECT(memcmp(durable, model, off) == 0);
	EXPECT(memcmp(durable + off, before + off, end - off) == 0);
	EXPECT(memcmp(durable + end, model + end, VOLUME_BYTES - end) == 0);
}

static void reclaim_all(void)
{
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	ck_assert_int_eq(write_block(BLOCKS - 1, 0), BLOCK);
	(void)drain();
	atomic_store(&cache->tunables[PCACHE_TUNABLE_GC_PERCENT], 0);
	while (pc_reclaim_step(cache) > 0)
		;
	atomic_store(&cache->tunables[PCACHE_TUNABLE_GC_PERCENT], 95);
}

static void lose(void)
{
	damage(BAD_OFF);
	ck_assert_int_eq(drain(), -EBADMSG);
	ck_assert(said("1024 bytes in 1 ranges are lost, the first at offset 5120"));
	ck_assert(is_clean());
	check_backing_but(BAD_OFF, BAD_OFF + BLOCK);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
}

/* Also when the log has left, after a kill, and for a reader; until it is written again. */
START_TEST(damaged_block_is_lost_and_nothing_else)
{
	set_up_here(_i);
	lose();
	reclaim_all();
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
	kill_and_reopen(true);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
	config.readonly = true;
	kill_and_reopen(true);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
	config.readonly = false;
	kill_and_reopen(true);
	write_blocks(20, 4); /* writers and flush are not disturbed */
	ck_assert_int_eq(pc_io_flush(cache), 0);
	ck_assert_int_eq(drain(), -EBADMSG);
	write_blocks(BAD, 1);
	ck_assert_int_eq(drain(), 0);
	expect_lost(0, 0);
	ck_assert(!cache->identity.has_lost);
	check_backing();
	kill_and_reopen(true);
	expect_lost(0, 0);
}
END_TEST

/* A line of the media that cannot be read, in the middle of a key. */
START_TEST(unreadable_data_is_lost_as_a_whole_key)
{
	set_up_here(_i);
	sim_media_poison(sim, place_of(BAD_OFF) + 512);
	ck_assert_int_eq(drain(), -EBADMSG);
	check_backing_but(BAD_OFF, BAD_OFF + BLOCK);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
}
END_TEST

/* _i: granularity, and for how long: for one read, or until it is over. Nothing is lost by it. */
START_TEST(media_that_cannot_be_read_for_a_while_loses_nothing)
{
	bool lasts = _i >= GRANULARITIES;
	int ret;

	set_up_here(_i % GRANULARITIES);
	for (unsigned nth = 2; nth < 8; nth++) {
		write_blocks(0, 12);
		sim_media_fail(sim, SIM_READ, nth, -EIO, lasts);
		ret = drain(); /* where keys cannot be read the first time, too, the batch fails */
		ck_assert(ret == -EIO || (!lasts && ret == 0));
		sim_media_fail(sim, SIM_READ, 0, 0, false);
		ck_assert_int_eq(drain(), 0);
		expect_lost(0, 0);
		check_backing();
	}
}
END_TEST

/* What is newer in the same batch, before or behind the damaged key, goes out. */
START_TEST(newer_bytes_of_the_batch_are_not_lost)
{
	uint8_t data[256];

	set_up_here(_i);
	damage(BAD_OFF);
	memset(data, 0x31, sizeof(data));
	memcpy(model + BAD_OFF, data, sizeof(data));
	ck_assert_int_eq(pc_io_write(cache, data, sizeof(data), BAD_OFF, 0), sizeof(data));
	ck_assert_int_eq(drain(), -EBADMSG);
	check_backing_but(BAD_OFF + 256, BAD_OFF + BLOCK);
	expect_lost(BAD_OFF + 256, BAD_OFF + BLOCK);
}
END_TEST

START_TEST(zeroes_and_discards_are_a_way_out)
{
	set_up_here(_i);
	lose();
	ck_assert_int_eq(pc_zero_range(cache, PCM_KEY_ZERO, 512, BAD_OFF, 0), 0);
	memset(model + BAD_OFF, 0, BLOCK);
	ck_assert_int_eq(drain(), -EBADMSG);
	expect_lost(BAD_OFF + 512, BAD_OFF + BLOCK);
	ck_assert_int_eq(pc_zero_range(cache, PCM_KEY_DISCARD, 8192, 4096, 0), 0);
	memset(model + 4096, 0, 8192);
	ck_assert_int_eq(read_at(BAD_OFF, BLOCK), BLOCK);
	ck_assert_int_eq(drain(), 0);
	expect_lost(0, 0);
	reclaim_all();
	check_reads();
	check_backing();
}
END_TEST

/* It stays lost, and says so; nothing of its block is kept as clean data. */
START_TEST(lost_range_is_neither_invalidated_nor_filled)
{
	set_up_here(_i);
	lose();
	ck_assert_int_eq(pc_range_invalidate(cache, 0, VOLUME_BYTES), BLOCK);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
	reclaim_all();
	ck_assert_int_eq(pc_range_invalidate(cache, 0, VOLUME_BYTES), BLOCK);
	ck_assert_int_gt(pc_range_prefetch(cache, 0, 16384, false), 0);
	ck_assert_uint_eq(pc_index_hole_bytes(cache->index, 4096, 4096), 4096);
	ck_assert_uint_eq(pc_index_hole_bytes(cache->index, 0, 4096), 0);
	ck_assert_int_eq(read_at(4096, 1024), 1024);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
	kill_and_reopen(true);
	expect_lost(BAD_OFF, BAD_OFF + BLOCK);
}
END_TEST

/* (LS5) */
START_TEST(write_around_over_a_lost_range_goes_to_the_log)
{
	set_up_here(_i);
	lose();
	reclaim_all();
	atomic_store(&cache->mode, PCACHE_MODE_WRITEAROUND);
	write_blocks(BAD, 1);
	ck_assert_uint_eq(pc_stats_sum(cache->stats, PC_COUNT_AROUND_BYTES), 0);
	ck_assert_int_eq(read_at(BAD_OFF, BLOCK), BLOCK);
	ck_assert_int_eq(drain(), 0);
	write_blocks(BAD, 1);
	ck_assert_uint_eq(pc_stats_sum(cache->stats, PC_COUNT_AROUND_BYTES), BLOCK);
	expect_lost(0, 0);
}
END_TEST

START_TEST(write_through_that_was_damaged_is_told)
{
	uint8_t data[64];

	set_up_here(_i);
	damage(BAD_OFF);
	memset(data, 0x32, sizeof(data));
	atomic_store(&cache->mode, PCACHE_MODE_WRITETHROUGH);
	ck_assert_int_eq(pc_io_write(cache, data, sizeof(data), 0, 0), -EBADMSG);
	ck_assert_int_eq(pc_io_write(cache, data, sizeof(data), 0, 0), sizeof(data));
}
END_TEST

static void damage_one_byte_in_each(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t byte = (uint8_t)i;

		ck_assert_int_eq(pc_io_write(cache, &byte, 1, block_off(i), 0), 1);
		damage(block_off(i));
	}
}

/* As many as the table takes; one more stops write-back until it is written again. */
START_TEST(full_table_stops_write_back)
{
	uint8_t byte = 1;

	set_up(granularities[_i]);
	open_cache(true);
	damage_one_byte_in_each(PCM_LOST_MAX + 1);
	ck_assert_int_eq(drain(), -EBADMSG);
	ck_assert(said("more than 254 ranges"));
	ck_assert(is_at(dirty_tail(), 1, 0));
	ck_assert_int_eq(pc_io_write(cache, &byte, 1, 0, 0), 1);
	ck_assert_int_eq(drain(), -EBADMSG);
	ck_assert(is_clean());
	ck_assert_uint_eq(cache->lost.count, PCM_LOST_MAX);
	kill_and_reopen(true);
	ck_assert_uint_eq(cache->lost.count, PCM_LOST_MAX);
}
END_TEST

START_TEST(cache_with_lost_ranges_is_not_clean)
{
	set_up_here(_i);
	lose();
	ck_assert_int_eq(pc_cache_close(cache, false), 0);
	config.drop_clean = true;
	ck_assert_int_eq(try_open(true), -ENOTEMPTY);
	ck_assert(said("1024 bytes of writes were damaged"));
	config.drop_clean = false;
	config.discard_dirty = true;
	open_cache(true);
	config.discard_dirty = false;
	memcpy(model + BAD_OFF, before + BAD_OFF, BLOCK);
	expect_lost(0, 0);
	kill_and_reopen(true);
	expect_lost(0, 0);
	check_reads();
}
END_TEST

/* _i: granularity, and which slots are hit. */
START_TEST(table_survives_the_loss_of_a_slot)
{
	unsigned slots = (unsigned)_i / GRANULARITIES;

	set_up_here(_i % GRANULARITIES);
	lose();
	pc_cache_abandon(cache);
	cache = NULL;
	if (slots != 1)
		sim_media_flip(sim, PCM_LOST_OFF + 40, 1);
	if (slots != 0)
		sim_media_flip(sim, PCM_LOST_OFF + PCM_SLOT_STRIDE + 20, 1);
	if (slots < 2) {
		open_cache(true);
		expect_lost(BAD_OFF, BAD_OFF + BLOCK);
		EXPECT(memcmp(sim_media_view(sim) + PCM_LOST_OFF, sim_media_view(sim) + PCM_LOST_OFF + PCM_SLOT_STRIDE,
			      sizeof(struct pcm_lost)) == 0);
		return;
	}
	ck_assert_int_eq(try_open(true), -EUCLEAN);
	ck_assert(said("both copies of the table of lost ranges are damaged"));
	config.readonly = true;
	config.salvage = true;
	open_cache(true);
	ck_assert_uint_eq(cache->salvage_gaps, 1);
}
END_TEST

/* The media fails at each store of a batch that loses something: write-back ends, and nothing older is ever shown. */
START_TEST(store_of_the_table_that_fails_fails_the_media)
{
	for (unsigned nth = 3; nth <= 8; nth++) {
		set_up_here(_i);
		damage(BAD_OFF);
		cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
		sim_media_fail(sim, SIM_COPY, nth, -EIO, true);
		ck_assert_int_lt(drain(), 0);
		ck_assert(pc_cache_is_failed(cache));
		ck_assert_int_eq(read_at(BAD_OFF, 1), -EBADMSG);
		tear_down();
	}
	set_up_here(_i);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache_lost");
	TCase *tests = case_new(suite, "lost");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, damaged_block_is_lost_and_nothing_else, 0, GRANULARITIES);
	tcase_add_loop_test(tests, unreadable_data_is_lost_as_a_whole_key, 0, GRANULARITIES);
	tcase_add_loop_test(tests, media_that_cannot_be_read_for_a_while_loses_nothing, 0, 2 * GRANULARITIES);
	tcase_add_loop_test(tests, newer_bytes_of_the_batch_are_not_lost, 0, GRANULARITIES);
	tcase_add_loop_test(tests, zeroes_and_discards_are_a_way_out, 0, GRANULARITIES);
	tcase_add_loop_test(tests, lost_range_is_neither_invalidated_nor_filled, 0, GRANULARITIES);
	tcase_add_loop_test(tests, write_around_over_a_lost_range_goes_to_the_log, 0, GRANULARITIES);
	tcase_add_loop_test(tests, write_through_that_was_damaged_is_told, 0, GRANULARITIES);
	tcase_add_loop_test(tests, full_table_stops_write_back, 0, GRANULARITIES);
	tcase_add_loop_test(tests, cache_with_lost_ranges_is_not_clean, 0, GRANULARITIES);
	tcase_add_loop_test(tests, table_survives_the_loss_of_a_slot, 0, 3 * GRANULARITIES);
	tcase_add_loop_test(tests, store_of_the_table_that_fails_fails_the_media, 0, GRANULARITIES);
	return pc_run_suite(suite);
}
