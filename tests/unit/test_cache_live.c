/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_live.c - lib/live.c: when a page of statistics is written, and when not (LV2); that nothing is promised of it
 * (LV1).
 *
 * Method: a stepped cache on the simulated media, and the time is an argument. Pages are found by their numbers.
 */
#include "cache_fixture.h"

#include "peek.h"

#define SECOND 1000000000ull
#define START  (100 * SECOND)

static void set_up_shown(enum pcache_granularity granularity)
{
	set_up(granularity);
	open_cache(true);
	pc_live_start(cache);
}

/* What a call that is timed does. */
static void ask(void)
{
	atomic_store(&cache->live.asked, true);
}

/* The newest page on the media. */
static struct pc_peek_page newest(void)
{
	struct pc_peek_page pages[2] = { 0 };

	for (unsigned slot = 0; slot < 2; slot++) {
		struct pcm_live live;

		ck_assert_int_eq(pc_media_read(cache->media, &live, PCM_LIVE_OFF + slot * PCM_SLOT_STRIDE, sizeof(live)), 0);
		(void)pc_peek_decode(&live, cache->identity.uuid, &pages[slot]);
	}
	ck_assert(pages[0].number == 0 || pages[1].number == 0 ||
		  pages[0].number + 1 == pages[1].number || pages[1].number + 1 == pages[0].number);
	return pages[0].number > pages[1].number ? pages[0] : pages[1];
}

START_TEST(change_is_shown_only_when_asked_for_and_then_once_more)
{
	uint64_t first;

	set_up_shown(granularities[_i]);
	first = newest().number;
	write_blocks(0, 1);
	ck_assert_uint_eq(pc_live_tick(cache, START), 0); /* nobody asked */
	ck_assert_uint_eq(newest().number, first);
	ask();
	ck_assert_uint_eq(pc_live_tick(cache, START), START + SECOND);
	ck_assert_uint_eq(newest().number, first + 1);
	ck_assert_uint_eq(newest().stats.writes, 1);
	write_blocks(1, 1); /* nobody asks for this one */
	ck_assert_uint_eq(pc_live_tick(cache, START + SECOND), START + 2 * SECOND);
	ck_assert_uint_eq(newest().number, first + 2);
	ck_assert_uint_eq(newest().stats.writes, 2);
	ck_assert_uint_eq(pc_live_tick(cache, START + 2 * SECOND), 0); /* no change: it sleeps for good */
	ck_assert_uint_eq(pc_live_tick(cache, START + 9 * SECOND), 0);
	ck_assert_uint_eq(newest().number, first + 2);
}
END_TEST

START_TEST(page_is_written_once_a_second_at_most)
{
	uint64_t first;

	set_up_shown(granularities[_i]);
	ask();
	write_blocks(0, 1);
	(void)pc_live_tick(cache, START);
	first = newest().number;
	for (uint64_t ns = 0; ns < SECOND; ns += SECOND / 4) {
		write_blocks(0, 1);
		ask();
		ck_assert_uint_eq(pc_live_tick(cache, START + ns), START + SECOND);
		ck_assert_uint_eq(newest().number, first);
	}
	(void)pc_live_tick(cache, START + SECOND);
	ck_assert_uint_eq(newest().number, first + 1);
}
END_TEST

/* (LV1) */
START_TEST(page_that_cannot_be_stored_ends_it_with_a_warning)
{
	uint64_t first;

	set_up_shown(granularities[_i]);
	write_blocks(0, 1);
	ask();
	sim_media_fail(sim, SIM_COPY, 1, -ENXIO, false);
	log_seen.text[0] = '\0';
	(void)pc_live_tick(cache, START);
	ck_assert_ptr_nonnull(strstr(log_seen.text, "no longer shown"));
	first = newest().number; /* it may be there in spite of the error */
	ask();
	write_blocks(1, 1);
	ck_assert_uint_eq(pc_live_tick(cache, START + 5 * SECOND), 0);
	pc_live_finish(cache);
	ck_assert_uint_eq(newest().number, first);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0); /* the cache is well */
	check_backing();
}
END_TEST

START_TEST(numbers_go_on_where_a_page_is_damaged)
{
	uint64_t first;

	set_up_shown(granularities[_i]);
	write_blocks(0, 1);
	ask();
	(void)pc_live_tick(cache, START);
	first = newest().number;
	sim_media_flip(sim, PCM_LIVE_OFF + first % 2 * PCM_SLOT_STRIDE + 500, 1);
	ck_assert_uint_eq(newest().number, first - 1);
	cache->live.number = 0;
	pc_live_start(cache); /* as an open does */
	ck_assert_uint_eq(newest().number, first);
	pc_live_finish(cache);
	ck_assert_uint_eq(newest().number, first + 1);
	ck_assert(newest().closed);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache_live");
	TCase *tests = case_new(suite, "live");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_loop_test(tests, change_is_shown_only_when_asked_for_and_then_once_more, 0, GRANULARITIES);
	tcase_add_loop_test(tests, page_is_written_once_a_second_at_most, 0, GRANULARITIES);
	tcase_add_loop_test(tests, page_that_cannot_be_stored_ends_it_with_a_warning, 0, GRANULARITIES);
	tcase_add_loop_test(tests, numbers_go_on_where_a_page_is_damaged, 0, GRANULARITIES);
	return pc_run_suite(suite);
}
