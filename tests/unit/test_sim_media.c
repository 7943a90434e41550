/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sim_media.c - the simulated media keeps its promises: a crash explorer proves nothing if its media is kinder
 * than a real one, and cries wolf if it is harsher.
 *
 * Method: a few stores, then all that a crash may leave of them, compared with what the rules in sim_media.h allow.
 */
#include "sim_media_fixture.h"

static struct sim_choice choose_this(const struct sim_unit *unit, void *choice)
{
	(void)unit;
	return *(const struct sim_choice *)choice;
}

static const uint8_t *crash(struct sim_choice choice)
{
	sim_media_crash_image(sim, choose_this, &choice, image);
	return image;
}

/* Cache-line granularity. */

START_TEST(streamed_store_is_visible_at_once_and_durable_after_drain)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(LINE, 'a', 3 * LINE);
	assert_bytes(media->base, LINE, 'a', 3 * LINE);
	assert_durable(LINE, 0, 3 * LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 3);
	ck_assert(sim_media_is_pending(sim, 0, LINE + 1));
	ck_assert(!sim_media_is_pending(sim, 0, LINE));
	ck_assert(!sim_media_is_pending(sim, 4 * LINE, LINE));
	drain();
	assert_durable(LINE, 'a', 3 * LINE);
	assert_durable(0, 0, LINE);
	assert_durable(4 * LINE, 0, LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
}
END_TEST

START_TEST(cached_store_needs_flush_and_drain)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', LINE);
	drain();
	assert_durable(0, 0, LINE);
	flush(0, 1);
	assert_durable(0, 0, LINE);
	drain();
	assert_durable(0, 'a', LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
	/* and the next store to the line needs both again */
	cache(0, 'b', LINE);
	drain();
	assert_durable(0, 'a', LINE);
}
END_TEST

START_TEST(flush_covers_only_what_was_stored_before_it)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', LINE);
	flush(0, LINE);
	cache(8, 'b', 8);
	drain();
	assert_durable(0, 'a', LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 1);
	assert_bytes(media->base, 8, 'b', 8);
	flush(8, 8);
	drain();
	assert_durable(8, 'b', 8);
}
END_TEST

START_TEST(flush_covers_only_its_lines)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', 4 * LINE);
	flush(LINE + 63, 2);
	drain();
	assert_durable(0, 0, LINE);
	assert_durable(LINE, 'a', 2 * LINE);
	assert_durable(3 * LINE, 0, LINE);
	flush(0, 0);
	drain();
	assert_durable(0, 0, LINE);
}
END_TEST

START_TEST(store8_and_set_are_cached_stores)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	ck_assert_int_eq(pc_media_store8(media, 8, 0x6161616161616161u), 0);
	ck_assert_int_eq(pc_media_set(media, LINE, 'b', LINE), 0);
	drain();
	assert_durable(0, 0, 2 * LINE);
	flush(0, 2 * LINE);
	drain();
	assert_durable(8, 'a', 8);
	assert_durable(LINE, 'b', LINE);
}
END_TEST

START_TEST(sync_is_a_drain_on_cache_lines)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	sync_media();
	assert_durable(0, 'a', LINE);
	ck_assert_uint_eq(atomic_load(&media->syncs), 0);
}
END_TEST

START_TEST(cached_stores_persist_in_program_order)
{
	struct sim_choice choice = { .cached_torn = SIM_WHOLE };

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', 8);
	cache(8, 'b', 8);
	cache(0, 'c', 16);
	choice.cached = 1;
	assert_bytes(crash(choice), 0, 'a', 8);
	assert_bytes(image, 8, 0, 56);
	choice.cached = 2;
	assert_bytes(crash(choice), 0, 'a', 8);
	assert_bytes(image, 8, 'b', 8);
	choice.cached = 3;
	assert_bytes(crash(choice), 0, 'c', 16);
	choice.cached_torn = 2;
	assert_bytes(crash(choice), 0, 'a', 8);
	assert_bytes(image, 8, 'c', 8);
	choice.cached_torn = 0;
	assert_bytes(crash(choice), 0, 'a', 8);
	assert_bytes(image, 8, 'b', 8);
}
END_TEST

START_TEST(streamed_stores_persist_in_any_subset_of_words)
{
	struct sim_choice choice = { .streamed = 2 };

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', 32);
	stream(32, 'b', 32);
	for (unsigned mask = 0; mask < 256; mask++) {
		choice.streamed_torn = (uint8_t)(mask & 0xf0);
		choice.streamed_older = (uint8_t)(mask & 0x0f);
		crash(choice);
		for (unsigned word = 0; word < SIM_PARTS; word++)
			assert_bytes(image, word * 8, (mask >> word & 1) == 0 ? 0 : word < 4 ? 'a' : 'b', 8);
	}
}
END_TEST

/* Within a word, what is newer is there only with what is older. */
START_TEST(streamed_stores_to_one_word_persist_in_program_order)
{
	struct sim_choice choice = { .streamed = 2, .streamed_torn = 1, .streamed_older = 0 };

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', 4);
	stream(4, 'b', 4);
	assert_bytes(crash(choice), 4, 'b', 4);
	assert_bytes(image, 0, 'a', 4);
}
END_TEST

START_TEST(store8_never_tears)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	ck_assert_int_eq(pc_media_store8(media, 16, 0x6161616161616161u), 0);
	for (unsigned mask = 0; mask < 256; mask++) {
		crash((struct sim_choice){ .cached = 1, .cached_torn = (uint8_t)mask });
		assert_bytes(image, 16, image[16], 8);
		ck_assert_int_eq(image[16], (mask & 4) != 0 ? 'a' : 0);
		assert_bytes(image, 0, 0, 16);
		assert_bytes(image, 24, 0, 40);
	}
}
END_TEST

/* Neither kind waits for the other. */
START_TEST(streamed_and_cached_stores_of_a_line_persist_independently)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', 16);
	stream(8, 'b', 16);
	assert_bytes(crash((struct sim_choice){ .cached = 1, .cached_torn = SIM_WHOLE }), 0, 'a', 16);
	assert_bytes(image, 16, 0, 48);
	assert_bytes(crash((struct sim_choice){ .streamed = 1, .streamed_torn = SIM_WHOLE }), 0, 0, 8);
	assert_bytes(image, 8, 'b', 16);
}
END_TEST

/* What became durable out of order stays, whatever an older store does later. */
START_TEST(older_pending_store_does_not_come_over_a_newer_durable_one)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', 32);
	stream(8, 'b', 8);
	drain();
	assert_durable(0, 0, 8);
	assert_durable(8, 'b', 8);
	ck_assert_uint_eq(sim_media_pending(sim), 1);
	sim_media_crash_image(sim, sim_choose_all, NULL, image);
	ck_assert_int_eq(memcmp(image, media->base, BYTES), 0);
	assert_bytes(image, 8, 'b', 8);
	flush(0, 1);
	drain();
	ck_assert_int_eq(memcmp(sim_media_durable(sim), media->base, BYTES), 0);
}
END_TEST

START_TEST(older_pending_store_that_was_covered_is_pending_no_more)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(8, 'a', 8);
	stream(0, 'b', LINE);
	cache(16, 'c', 8);
	drain();
	ck_assert_uint_eq(sim_media_unit(sim, 0).cached, 1);
	ck_assert_uint_eq(sim_media_unit(sim, 0).streamed, 0);
	assert_durable(0, 'b', LINE);
	cache(24, 'd', 8);
	assert_bytes(crash((struct sim_choice){ .cached = 2, .cached_torn = SIM_WHOLE }), 16, 'c', 8);
	assert_bytes(image, 24, 'd', 8);
	/* the newest of two pending ones is covered; the older stays, and others come behind it */
	stream(24, 'e', 8);
	drain();
	ck_assert_uint_eq(sim_media_unit(sim, 0).cached, 1);
	cache(32, 'f', 8);
	ck_assert_uint_eq(sim_media_unit(sim, 0).cached, 2);
	sim_media_crash_image(sim, sim_choose_all, NULL, image);
	ck_assert_int_eq(memcmp(image, media->base, BYTES), 0);
}
END_TEST

/* A unit that takes another one's number is still found by its offset. */
START_TEST(unit_stays_itself_while_others_become_durable)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	stream(LINE, 'a', LINE);
	cache(2 * LINE, 'b', LINE);
	drain();
	ck_assert_uint_eq(sim_media_pending(sim), 1);
	ck_assert(sim_media_is_pending(sim, 2 * LINE, LINE));
	ck_assert(!sim_media_is_pending(sim, 0, 2 * LINE));
	stream(3 * LINE, 'd', 2 * LINE);
	cache(2 * LINE, 'c', LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 3);
	ck_assert_uint_eq(sim_media_unit(sim, 0).off, 2 * LINE);
	ck_assert_uint_eq(sim_media_unit(sim, 0).cached, 2);
	flush(2 * LINE, LINE);
	drain();
	assert_durable(2 * LINE, 'c', LINE);
}
END_TEST

/* Threads: fences are a thread's own. */

struct other {
	void (*act)(void);
};

static void *run_other(void *arg)
{
	((struct other *)arg)->act();
	return NULL;
}

static void in_another_thread(void (*act)(void))
{
	struct other other = { .act = act };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run_other, &other), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void other_flushes(void)
{
	flush(0, 2 * LINE);
}

static void other_flushes_and_drains(void)
{
	flush(0, 2 * LINE);
	drain();
}

START_TEST(drain_covers_only_the_stores_and_flushes_of_its_thread)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	in_another_thread(drain);
	assert_durable(0, 0, LINE);
	in_another_thread(other_flushes_and_drains);
	assert_durable(0, 0, LINE);
	cache(LINE, 'b', LINE);
	in_another_thread(other_flushes);
	drain();
	assert_durable(0, 'a', LINE);
	assert_durable(LINE, 0, LINE);
}
END_TEST

START_TEST(flush_covers_the_cached_stores_of_other_threads)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(LINE, 'b', LINE);
	in_another_thread(other_flushes_and_drains);
	assert_durable(LINE, 'b', LINE);
}
END_TEST

START_TEST(many_short_threads_are_told_apart)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	for (int i = 0; i < 200; i++)
		in_another_thread(drain);
	assert_durable(0, 0, LINE);
	drain();
	assert_durable(0, 'a', LINE);
}
END_TEST

/* Byte granularity. */

START_TEST(byte_granularity_needs_only_a_drain)
{
	set_up(PCACHE_GRANULARITY_BYTE);
	cache(0, 'a', LINE);
	stream(LINE, 'b', LINE);
	assert_durable(0, 0, 2 * LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 2);
	in_another_thread(drain);
	assert_durable(0, 'a', LINE);
	assert_durable(LINE, 0, LINE);
	drain();
	assert_durable(LINE, 'b', LINE);
}
END_TEST

/* Page granularity. */

START_TEST(page_store_is_durable_after_sync_only)
{
	set_up(PCACHE_GRANULARITY_PAGE);
	stream(100, 'a', PC_PAGE);
	cache(3 * PC_PAGE, 'b', 8);
	ck_assert_uint_eq(sim_media_pending(sim), 3);
	flush(0, BYTES);
	drain();
	ck_assert_uint_eq(sim_media_pending(sim), 3);
	assert_durable(0, 0, BYTES);
	in_another_thread(sync_media);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
	assert_durable(100, 'a', PC_PAGE);
	assert_durable(3 * PC_PAGE, 'b', 8);
	ck_assert_uint_eq(atomic_load(&media->syncs), 1);
}
END_TEST

START_TEST(page_is_torn_at_sectors_and_a_sector_keeps_its_order)
{
	struct sim_choice choice = { .streamed = 2 };

	set_up(PCACHE_GRANULARITY_PAGE);
	stream(0, 'a', PC_PAGE);
	cache(100, 'b', BLOCK);
	for (unsigned torn = 0; torn < 256; torn++) {
		for (unsigned older = 0; older < 256; older += 51) {
			choice.streamed_torn = (uint8_t)torn;
			choice.streamed_older = (uint8_t)older;
			crash(choice);
			for (unsigned sector = 0; sector < SIM_PARTS; sector++) {
				bool is_new = (torn >> sector & 1) != 0;
				int old = ((torn | older) >> sector & 1) != 0 ? 'a' : 0;
				uint64_t off = sector * BLOCK;

				/* 'b' lies in bytes 100 to 611 */
				assert_bytes(image, off, sector == 1 && is_new ? 'b' : old, 100);
				assert_bytes(image, off + 100, sector == 0 && is_new ? 'b' : old, BLOCK - 100);
			}
		}
	}
}
END_TEST

static void store_more(enum sim_primitive primitive, void *arg)
{
	(void)primitive;
	(void)arg;
	stream(PC_PAGE, 'b', 8);
}

/* The hook stands for another thread here, which stores while the sync is on its way. */
START_TEST(sync_covers_only_stores_completed_before_it_was_asked_for)
{
	const struct sim_hooks hooks = { .crash_point = store_more };

	set_up(PCACHE_GRANULARITY_PAGE);
	stream(0, 'a', 8);
	sim_media_hook(sim, &hooks);
	sync_media();
	assert_durable(0, 'a', 8);
	assert_durable(PC_PAGE, 0, 8);
	ck_assert_uint_eq(sim_media_pending(sim), 1);
}
END_TEST

/* After a kill. */

START_TEST(killed_process_leaves_its_stores_visible_but_to_be_flushed)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	cache(LINE, 'b', LINE);
	flush(LINE, LINE);
	sim_media_kill(sim);
	ck_assert(!sim_media_is_open(sim));
	assert_bytes(sim_media_view(sim), 0, 'a', LINE);
	media = sim_media_open(sim, false);
	drain();
	assert_durable(0, 0, 2 * LINE);
	flush(0, 2 * LINE);
	drain();
	assert_durable(0, 'a', LINE);
	assert_durable(LINE, 'b', LINE);
}
END_TEST

START_TEST(killed_process_keeps_everything_on_byte_granularity)
{
	set_up(PCACHE_GRANULARITY_BYTE);
	stream(0, 'a', LINE);
	cache(LINE, 'b', LINE);
	sim_media_kill(sim);
	assert_durable(0, 'a', LINE);
	assert_durable(LINE, 'b', LINE);
}
END_TEST

START_TEST(killed_process_leaves_pages_to_be_synced)
{
	set_up(PCACHE_GRANULARITY_PAGE);
	stream(0, 'a', LINE);
	sim_media_kill(sim);
	assert_durable(0, 0, LINE);
	media = sim_media_open(sim, true);
	sync_media();
	assert_durable(0, 'a', LINE);
}
END_TEST

/* Life. */

START_TEST(close_keeps_images_and_what_is_pending)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	ck_assert(media->blank);
	stream(PC_PAGE, 'a', LINE);
	pc_media_abandon(media);
	pc_media_close(media);
	ck_assert(!sim_media_is_open(sim));
	ck_assert_uint_eq(sim_media_pending(sim), 1);
	assert_bytes(sim_media_view(sim), PC_PAGE, 'a', LINE);
	media = sim_media_open(sim, true);
	ck_assert(!media->blank);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -EROFS);
	ck_assert_int_eq(pc_media_copy(media, 0, "x", 1, PC_COPY_CACHED), -EROFS);
	ck_assert_int_eq(pc_media_set(media, 0, 1, 1), -EROFS);
	assert_bytes(media->base, 0, 0, PC_PAGE);
	ck_assert_uint_eq(media->size_bytes, BYTES);
}
END_TEST

START_TEST(reset_takes_an_image_and_forgets_the_rest)
{
	static uint8_t other[BYTES];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	memset(other, 'x', sizeof(other));
	stream(0, 'a', LINE);
	sim_media_poison(sim, PC_PAGE);
	pc_media_close(media);
	sim_media_reset_to(sim, other);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
	assert_bytes(sim_media_view(sim), 0, 'x', BYTES);
	assert_durable(0, 'x', BYTES);
	media = sim_media_open(sim, false);
	ck_assert_int_eq(pc_media_read(media, image, PC_PAGE, 1), 0);
}
END_TEST

START_TEST(settle_makes_everything_durable)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 'a', PC_PAGE);
	stream(PC_PAGE, 'b', PC_PAGE);
	sim_media_settle(sim);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
	assert_durable(0, 'a', PC_PAGE);
	assert_durable(PC_PAGE, 'b', PC_PAGE);
}
END_TEST

START_TEST(stray_store_is_a_fault)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	signal(SIGSEGV, SIG_DFL); /* sanitizers have a handler of their own */
	*(volatile uint8_t *)(uintptr_t)media->base = 1;
}
END_TEST

START_TEST(store_past_the_end_is_a_mistake)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(BYTES - 63, 'a', LINE);
}
END_TEST

START_TEST(use_after_close_is_a_mistake)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	pc_media_close(media);
	stream(0, 'a', LINE);
}
END_TEST

static void add_rule_tests(TCase *tests)
{
	tcase_add_test(tests, streamed_store_is_visible_at_once_and_durable_after_drain);
	tcase_add_test(tests, cached_store_needs_flush_and_drain);
	tcase_add_test(tests, flush_covers_only_what_was_stored_before_it);
	tcase_add_test(tests, flush_covers_only_its_lines);
	tcase_add_test(tests, store8_and_set_are_cached_stores);
	tcase_add_test(tests, sync_is_a_drain_on_cache_lines);
	tcase_add_test(tests, cached_stores_persist_in_program_order);
	tcase_add_test(tests, streamed_stores_persist_in_any_subset_of_words);
	tcase_add_test(tests, streamed_stores_to_one_word_persist_in_program_order);
	tcase_add_test(tests, store8_never_tears);
	tcase_add_test(tests, streamed_and_cached_stores_of_a_line_persist_independently);
	tcase_add_test(tests, older_pending_store_does_not_come_over_a_newer_durable_one);
	tcase_add_test(tests, older_pending_store_that_was_covered_is_pending_no_more);
	tcase_add_test(tests, unit_stays_itself_while_others_become_durable);
	tcase_add_test(tests, drain_covers_only_the_stores_and_flushes_of_its_thread);
	tcase_add_test(tests, flush_covers_the_cached_stores_of_other_threads);
	tcase_add_test(tests, many_short_threads_are_told_apart);
	tcase_add_test(tests, byte_granularity_needs_only_a_drain);
	tcase_add_test(tests, page_store_is_durable_after_sync_only);
	tcase_add_test(tests, page_is_torn_at_sectors_and_a_sector_keeps_its_order);
	tcase_add_test(tests, sync_covers_only_stores_completed_before_it_was_asked_for);
	tcase_add_test(tests, killed_process_leaves_its_stores_visible_but_to_be_flushed);
	tcase_add_test(tests, killed_process_keeps_everything_on_byte_granularity);
	tcase_add_test(tests, killed_process_leaves_pages_to_be_synced);
}

static void add_life_tests(TCase *tests)
{
	tcase_add_test(tests, close_keeps_images_and_what_is_pending);
	tcase_add_test(tests, reset_takes_an_image_and_forgets_the_rest);
	tcase_add_test(tests, settle_makes_everything_durable);
}

/* They end the process, so they need one of their own. */
static void add_mistake_tests(TCase *tests)
{
	tcase_add_test_raise_signal(tests, store_past_the_end_is_a_mistake, SIGABRT);
	tcase_add_test_raise_signal(tests, use_after_close_is_a_mistake, SIGABRT);
	tcase_add_test_raise_signal(tests, stray_store_is_a_fault, SIGSEGV);
}

int main(void)
{
	const char *fork_mode = getenv("CK_FORK");
	Suite *suite = suite_create("sim_media");

	add_rule_tests(add_case(suite, "rules"));
	add_life_tests(add_case(suite, "life"));
	if (fork_mode == NULL || strcmp(fork_mode, "no") != 0)
		add_mistake_tests(add_case(suite, "mistakes"));
	return pc_run_suite(suite);
}
