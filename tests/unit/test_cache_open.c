/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_open.c - lib/recover.c: an open that is refused says why and stores nothing, whatever the records say.
 *
 * Method: a cache is put into the state that is wanted by its own internals, then the process is gone. After a refusal
 * the media must be byte for byte what it was, with nothing pending. Then it is opened again, without the fault.
 */
#include "cache_fixture.h"

static uint8_t before[MEDIA_BYTES];

static void kill_process(void)
{
	pc_cache_abandon(cache);
	cache = NULL;
	sim_media_settle(sim);
	memcpy(before, sim_media_view(sim), sizeof(before));
}

static void check_untouched(void)
{
	ck_assert_msg(memcmp(before, sim_media_view(sim), sizeof(before)) == 0, "the media was changed");
	ck_assert_uint_eq(sim_media_pending(sim), 0);
	ck_assert_uint_eq(sim_backing_counts(backing).writes, 0);
}

/* ---- a newest segment that was never linked ---- */

#define WRITTEN 3u /* lines in the one before */

/* As a crash between the record of the new segment and the link to it leaves it. Returns the new segment. */
static uint32_t open_without_link(void)
{
	uint32_t next = pc_segment_alloc(cache->segments);

	write_blocks(0, WRITTEN);
	ck_assert_int_eq(pc_rotate_close(cache), 0);
	ck_assert_int_eq(pc_segment_open(cache->segments, next, PC_STREAM_WRITE, 2), 0);
	return next;
}

static void store_tails(struct pc_pos tail, struct pc_pos end)
{
	struct pcm_tails tails = {
		.dirty_tail = { .seq = pc_le64(tail.seq), .line = pc_le32(tail.line) },
		.batch_end = { .seq = pc_le64(end.seq), .line = pc_le32(end.line) },
	};

	ck_assert_int_eq(pc_meta_store(cache->media, &cache->tails_meta, &tails), 0);
}

START_TEST(segment_never_linked_and_empty_is_freed)
{
	uint32_t next;
	uint64_t gen;

	set_up(granularities[_i]);
	open_cache(true);
	next = open_without_link();
	gen = pc_segment_at(cache->segments, next)->gen;
	store_tails((struct pc_pos){ 1, 1 }, (struct pc_pos){ 1, WRITTEN });
	kill_process();
	open_cache(true);
	ck_assert_int_eq(pc_segment_at(cache->segments, next)->state, PC_SEGMENT_FREE);
	ck_assert_uint_eq(pc_segment_at(cache->segments, next)->gen, gen + 1);
	ck_assert(is_at(pc_cache_head(cache), 1, WRITTEN));
	check_reads();
}
END_TEST

/* _i: granularity, and where the tails are. Write-back never comes to a segment that nobody could write to. */
START_TEST(segment_never_linked_with_a_tail_in_it_is_refused)
{
	static const struct pc_pos tails[][2] = {
		{ { 1, 0 }, { 2, 0 } },
		{ { 1, WRITTEN }, { 2, 0 } },
		{ { 2, 0 }, { 2, 0 } },
	};
	const struct pc_pos *pair = tails[(unsigned)_i / GRANULARITIES];

	set_up(granularities[_i % GRANULARITIES]);
	open_cache(true);
	open_without_link();
	store_tails(pair[0], pair[1]);
	kill_process();
	ck_assert_int_eq(try_open(true), -EBADMSG);
	ck_assert_msg(said("the one before does not name it"), "%s", log_seen.text);
	check_untouched();
	ck_assert_int_eq(try_open(true), -EBADMSG);
	check_untouched();
}
END_TEST

/* _i: granularity, and a tail behind a line that is not there. */
START_TEST(segment_never_linked_with_a_tail_behind_its_lines_is_refused)
{
	static const struct pc_pos tails[][2] = {
		{ { 1, 0 }, { 2, 1 } },
		{ { 2, 0 }, { 2, 5 } },
		{ { 2, 5 }, { 2, 5 } },
		{ { 1, 0 }, { 2, UINT32_MAX } },
	};
	const struct pc_pos *pair = tails[(unsigned)_i / GRANULARITIES];

	set_up(granularities[_i % GRANULARITIES]);
	open_cache(true);
	open_without_link();
	store_tails(pair[0], pair[1]);
	kill_process();
	ck_assert_int_eq(try_open(true), -EBADMSG);
	ck_assert_uint_gt(log_seen.count, 0);
	check_untouched();
}
END_TEST

/* ---- records that read differently the second time ---- */

/* Superblock, info, tails; then one record for each segment. */
#define UP_TO_TAILS  6u
#define RECORD_READS (UP_TO_TAILS + 2u * SEGMENTS)

/* The newer copy of the tails is there, the older one is not overwritten yet. */
static void stop_between_the_slots(enum pcache_granularity granularity)
{
	write_blocks(0, IN_SEGMENT + WRITTEN);
	/* page granularity: the first sync is that of the log */
	sim_media_fail(sim, SIM_SYNC, granularity == PCACHE_GRANULARITY_PAGE ? 2 : 1, -EIO, true);
	ck_assert_int_lt(pc_writeback_step(cache), 0);
	sim_media_fail(sim, 0, 0, 0, false);
	kill_process();
}

static void check_opens_with_all(void)
{
	open_cache(true);
	check_reads();
	ck_assert(is_at(batch_end(), 2, WRITTEN));
	ck_assert_int_eq(pc_writeback_step(cache), 1);
	ck_assert_int_ge(pc_pos_cmp(dirty_tail(), (struct pc_pos){ 2, WRITTEN }), 0);
	check_backing();
	pc_cache_abandon(cache);
	cache = NULL;
}

static void put_back(void)
{
	static const uint8_t zeroes[VOLUME_BYTES];

	sim_media_reset_to(sim, before);
	sim_backing_reset_to(backing, zeroes);
	log_seen.count = 0;
}

/*
 * _i: granularity. Each read of a record fails once. The open comes to the same result, or it is refused: an older copy
 * of the tails never takes the place of the newer one. Nothing is stored before the tails have been looked at again.
 */
START_TEST(record_that_cannot_be_read_once_never_gives_way_to_an_older_one)
{
	unsigned refused = 0;

	set_up(granularities[_i]);
	open_cache(true);
	stop_between_the_slots(granularities[_i]);
	for (unsigned read = 1; read <= RECORD_READS; read++) {
		int ret;

		put_back();
		sim_media_fail(sim, SIM_READ, read, -EIO, false);
		ret = try_open(true);
		ck_assert(sim_media_has_failed(sim));
		sim_media_fail(sim, 0, 0, 0, false);
		if (ret == 0) {
			pc_cache_abandon(cache);
			cache = NULL;
		} else {
			ck_assert_int_eq(ret, -EIO);
			ck_assert_uint_gt(log_seen.count, 0);
			if (read <= UP_TO_TAILS)
				check_untouched();
			refused++;
		}
		check_opens_with_all();
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_lt(refused, RECORD_READS);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_open");
	TCase *tests = case_new(suite, "open");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, segment_never_linked_and_empty_is_freed, 0, GRANULARITIES);
	tcase_add_loop_test(tests, segment_never_linked_with_a_tail_in_it_is_refused, 0, 3 * GRANULARITIES);
	tcase_add_loop_test(tests, segment_never_linked_with_a_tail_behind_its_lines_is_refused, 0, 4 * GRANULARITIES);
	tcase_add_loop_test(tests, record_that_cannot_be_read_once_never_gives_way_to_an_older_one, 0, GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
