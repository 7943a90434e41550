/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sim_media.c - the simulated media keeps its promises: a crash explorer proves nothing if its media is kinder
 * than a real one, and cries wolf if it is harsher.
 *
 * Method: a few stores, then all that a crash may leave of them, compared with what the rules in sim_media.h allow.
 */
#include "runner.h"
#include "sim_media.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define BYTES (16u * PC_PAGE)
#define LINE  64u
#define BLOCK 512u

static struct sim_media *sim;
static struct pc_media *media;
static uint8_t image[BYTES];

static void set_up(enum pcache_granularity granularity)
{
	sim = sim_media_new(BYTES, granularity);
	ck_assert_ptr_nonnull(sim);
	media = sim_media_open(sim, false);
}

static void tear_down(void)
{
	sim_media_delete(sim);
	sim = NULL;
}

static void copy(uint64_t off, int byte, size_t len, enum pc_copy_kind kind)
{
	uint8_t data[2 * PC_PAGE];

	memset(data, byte, len);
	ck_assert_int_eq(pc_media_copy(media, off, data, len, kind), 0);
}

static void stream(uint64_t off, int byte, size_t len)
{
	copy(off, byte, len, PC_COPY_STREAM);
}

static void cache(uint64_t off, int byte, size_t len)
{
	copy(off, byte, len, PC_COPY_CACHED);
}

static void flush(uint64_t off, size_t len)
{
	ck_assert_int_eq(pc_media_flush(media, off, len), 0);
}

static void drain(void)
{
	ck_assert_int_eq(pc_media_drain(media), 0);
}

static void sync_media(void)
{
	ck_assert_int_eq(pc_media_sync(media), 0);
}

static void assert_bytes(const uint8_t *bytes, uint64_t off, int byte, size_t len)
{
	size_t i = 0;

	/* Check notes every assertion by a system call: one for all of them. */
	while (i < len && bytes[off + i] == byte)
		i++;
	ck_assert_msg(i == len, "byte %zu of %zu is %d, not %d", i, len, bytes[off + i], byte);
}

static void assert_durable(uint64_t off, int byte, size_t len)
{
	assert_bytes(sim_media_durable(sim), off, byte, len);
}

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

/* Choosers and images. */

static bool is_in_second_page(uint64_t off, void *arg)
{
	(void)arg;
	return off >= PC_PAGE;
}

/* Lines that are not zero, of the first so many. */
static unsigned lines_set(const uint8_t *bytes, unsigned lines)
{
	unsigned count = 0;

	for (unsigned i = 0; i < lines; i++)
		count += bytes[i * LINE] != 0;
	return count;
}

START_TEST(choosers_take_the_units_they_name)
{
	size_t number = 2;
	uint64_t bits = 0x0a;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', 5 * LINE);
	for (size_t i = 0; i < 5; i++)
		ck_assert_uint_eq(sim_media_unit(sim, i).off, i * LINE);
	sim_media_crash_image(sim, sim_choose_none, NULL, image);
	ck_assert_uint_eq(lines_set(image, 5), 0);
	sim_media_crash_image(sim, sim_choose_all, NULL, image);
	ck_assert_uint_eq(lines_set(image, 5), 5);
	sim_media_crash_image(sim, sim_choose_only, &number, image);
	ck_assert_uint_eq(lines_set(image, 5), 1);
	assert_bytes(image, 2 * LINE, 'a', LINE);
	sim_media_crash_image(sim, sim_choose_all_but, &number, image);
	ck_assert_uint_eq(lines_set(image, 5), 4);
	assert_bytes(image, 2 * LINE, 0, LINE);
	sim_media_crash_image(sim, sim_choose_subset, &bits, image);
	ck_assert_uint_eq(lines_set(image, 5), 2);
	assert_bytes(image, LINE, 'a', LINE);
	assert_bytes(image, 3 * LINE, 'a', LINE);
}
END_TEST

START_TEST(random_chooser_keeps_to_its_densities_and_its_seed)
{
	struct sim_random random = { .state = 7, .meta_percent = 100, .data_percent = 0 };
	static uint8_t again[BYTES];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	sim_media_tag(sim, is_in_second_page, NULL);
	stream(0, 'a', 2 * PC_PAGE);
	ck_assert(!sim_media_unit(sim, 0).is_meta);
	ck_assert(sim_media_unit(sim, 64).is_meta);
	sim_media_crash_image(sim, sim_choose_random, &random, image);
	assert_bytes(image, 0, 0, PC_PAGE);
	assert_bytes(image, PC_PAGE, 'a', PC_PAGE);
	random = (struct sim_random){ .state = 8, .meta_percent = 50, .data_percent = 50, .torn_percent = 50 };
	sim_media_crash_image(sim, sim_choose_random, &random, image);
	random.state = 8;
	sim_media_crash_image(sim, sim_choose_random, &random, again);
	ck_assert_int_eq(memcmp(image, again, BYTES), 0);
	sim_media_crash_image(sim, sim_choose_random, &random, again);
	ck_assert_int_ne(memcmp(image, again, BYTES), 0);
	ck_assert_uint_gt(lines_set(image, 128), 20);
	ck_assert_uint_lt(lines_set(image, 128), 90);
}
END_TEST

/* Three stores to one line: over many seeds the chooser must come to every state that the rules allow. */
START_TEST(random_chooser_reaches_every_state)
{
	struct sim_random random = {
		.state = 1, .meta_percent = 90, .data_percent = 90, .older_percent = 60, .torn_percent = 60
	};
	bool seen[4][4] = { { false } };
	unsigned states = 0;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 1, 16);
	cache(0, 2, 8);
	cache(8, 3, 8);
	for (int i = 0; i < 5000; i++) {
		sim_media_crash_image(sim, sim_choose_random, &random, image);
		seen[image[0]][image[8]] = true;
	}
	for (unsigned i = 0; i < 16; i++)
		states += seen[i / 4][i % 4];
	/* Words: the first store torn in four ways; the second over it, the first being whole; then the third. */
	ck_assert(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1] && seen[2][1] && seen[2][3]);
	ck_assert_uint_eq(states, 6);
}
END_TEST

START_TEST(patch_and_unpatch_touch_only_what_is_pending)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	drain();
	stream(32, 'b', LINE);
	memcpy(image, sim_media_durable(sim), BYTES);
	sim_media_patch(sim, sim_choose_all, NULL, image);
	ck_assert_int_eq(memcmp(image, media->base, BYTES), 0);
	sim_media_unpatch(sim, image);
	ck_assert_int_eq(memcmp(image, sim_media_durable(sim), BYTES), 0);
}
END_TEST

/* Crashes into another simulator. */

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void store_at_random(struct pc_media *at, uint32_t *state)
{
	uint64_t off = next_random(state) % (BYTES - 200);
	uint8_t data[200];

	memset(data, (int)(next_random(state) % 255 + 1), sizeof(data));
	switch (next_random(state) % 6) {
	case 0:
		ck_assert_int_eq(pc_media_store8(at, pc_align_down(off, 8), next_random(state)), 0);
		break;
	case 1:
		ck_assert_int_eq(pc_media_flush(at, off / 2, BYTES / 2), 0);
		break;
	case 2:
		ck_assert_int_eq(pc_media_sync(at), 0);
		break;
	default:
		ck_assert_int_eq(pc_media_copy(at, off, data, next_random(state) % sizeof(data),
					       next_random(state) % 2 ? PC_COPY_STREAM : PC_COPY_CACHED),
				 0);
	}
}

/* The same choices give the same image, by the slow way and by the quick one, whatever happened in between. */
START_TEST(crash_into_equals_the_crash_image)
{
	struct sim_random random = { .state = 3, .meta_percent = 50, .data_percent = 50, .torn_percent = 30,
				     .older_percent = 30 };
	struct sim_media *targets[2];
	uint32_t state = 5;
	uint64_t hash = 0;

	set_up((enum pcache_granularity)_i);
	for (int i = 0; i < 2; i++)
		targets[i] = sim_media_new(BYTES, (enum pcache_granularity)_i);
	for (int round = 0; round < 2000; round++) {
		struct sim_random same = random;
		/* mostly the same target; a change makes the other one start anew */
		struct sim_media *target = targets[next_random(&state) % 16 == 0];
		struct pc_media *recovered;

		store_at_random(media, &state);
		sim_media_crash_image(sim, sim_choose_random, &random, image);
		hash = sim_media_crash_into(sim, sim_choose_random, &same, target);
		ck_assert_int_eq(memcmp(sim_media_view(target), image, BYTES), 0);
		ck_assert_int_eq(memcmp(sim_media_durable(target), image, BYTES), 0);
		ck_assert_uint_eq(sim_media_pending(target), 0);
		recovered = sim_media_open(target, false);
		ck_assert_int_eq(pc_media_read(recovered, image, 0, BYTES), 0);
		for (int i = 0; i < 4; i++)
			store_at_random(recovered, &state);
		sim_media_poison(target, next_random(&state) % BYTES);
		pc_media_close(recovered);
	}
	/* The hash is the image's own: the same as that of a fresh target, another than before a store. */
	hash = sim_media_crash_into(sim, sim_choose_all, NULL, targets[1]);
	ck_assert_int_eq(pc_media_store8(media, 0, 0x123456789), 0);
	sim_media_delete(targets[0]);
	targets[0] = sim_media_new(BYTES, (enum pcache_granularity)_i);
	ck_assert_uint_eq(sim_media_crash_into(sim, sim_choose_all, NULL, targets[0]),
			  sim_media_crash_into(sim, sim_choose_all, NULL, targets[1]));
	ck_assert_uint_ne(sim_media_crash_into(sim, sim_choose_all, NULL, targets[1]), hash);
	for (int i = 0; i < 2; i++)
		sim_media_delete(targets[i]);
}
END_TEST

/* A crash, a recovery, a crash in that recovery, its recovery. */
START_TEST(crash_within_a_recovery_equals_its_image)
{
	struct sim_random random = { .state = 3, .meta_percent = 50, .data_percent = 50, .torn_percent = 30 };
	struct sim_media *first;
	struct sim_media *second;
	uint32_t state = 6;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	first = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	second = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	for (int round = 0; round < 500; round++) {
		struct pc_media *recovered;

		store_at_random(media, &state);
		sim_media_crash_into(sim, sim_choose_random, &random, first);
		recovered = sim_media_open(first, false);
		for (int i = 0; i < 4; i++) {
			struct sim_random same = random;
			struct pc_media *again;

			store_at_random(recovered, &state);
			sim_media_crash_image(first, sim_choose_random, &random, image);
			sim_media_crash_into(first, sim_choose_random, &same, second);
			ck_assert_int_eq(memcmp(sim_media_view(second), image, BYTES), 0);
			again = sim_media_open(second, false);
			store_at_random(again, &state);
			pc_media_close(again);
		}
		pc_media_close(recovered);
	}
	sim_media_delete(first);
	sim_media_delete(second);
}
END_TEST

START_TEST(crash_into_takes_turns_between_sources)
{
	struct sim_media *other = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	struct sim_media *target = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	drain();
	for (int i = 0; i < 3; i++) {
		sim_media_crash_into(sim, sim_choose_none, NULL, target);
		assert_bytes(sim_media_view(target), 0, 'a', LINE);
		sim_media_crash_into(other, sim_choose_none, NULL, target);
		assert_bytes(sim_media_view(target), 0, 0, LINE);
	}
	sim_media_delete(other);
	sim_media_delete(target);
}
END_TEST

START_TEST(hash_differs_with_any_byte_and_any_place)
{
	struct sim_media *target = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	uint64_t hashes[4];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	hashes[0] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	stream(0, 1, LINE);
	hashes[1] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	drain();
	ck_assert_uint_eq(sim_media_crash_into(sim, sim_choose_none, NULL, target), hashes[1]);
	stream(0, 0, LINE);
	ck_assert_uint_eq(sim_media_crash_into(sim, sim_choose_all, NULL, target), hashes[0]);
	stream(LINE, 1, LINE);
	hashes[2] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	stream(LINE, 0, LINE);
	stream(63, 1, 1);
	hashes[3] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < i; j++)
			ck_assert_uint_ne(hashes[i], hashes[j]);
	}
	sim_media_delete(target);
}
END_TEST

/* Hooks and faults. */

static unsigned points_seen;
static unsigned stores_seen;
static bool hooks_come_first;

static void see_point(enum sim_primitive primitive, void *arg)
{
	ck_assert_ptr_eq(arg, &points_seen);
	ck_assert_int_eq(primitive, points_seen == 0 ? SIM_DRAIN : SIM_SYNC);
	hooks_come_first = hooks_come_first && sim_media_pending(sim) == 1;
	points_seen++;
}

static void see_store(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg)
{
	static const enum sim_primitive order[] = { SIM_COPY, SIM_STORE8, SIM_SET };

	(void)arg;
	ck_assert_int_eq(primitive, order[stores_seen % 3]);
	ck_assert_uint_eq(off, LINE * stores_seen);
	ck_assert_uint_eq(len, 8);
	ck_assert_int_eq(data == NULL, primitive == SIM_SET);
	hooks_come_first = hooks_come_first && media->base[off] == 0;
	stores_seen++;
}

START_TEST(hooks_are_called_before_the_effect)
{
	const struct sim_hooks hooks = { .crash_point = see_point, .store = see_store, .arg = &points_seen };

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	points_seen = 0;
	stores_seen = 0;
	hooks_come_first = true;
	sim_media_hook(sim, &hooks);
	stream(0, 'a', 8);
	drain();
	ck_assert_int_eq(pc_media_store8(media, LINE, 1), 0);
	flush(LINE, LINE);
	sync_media();
	ck_assert_int_eq(pc_media_set(media, 2 * LINE, 'a', 8), 0);
	ck_assert_uint_eq(points_seen, 2);
	ck_assert_uint_eq(stores_seen, 3);
	ck_assert(hooks_come_first);
	sim_media_hook(sim, NULL);
	drain();
	ck_assert_uint_eq(points_seen, 2);
}
END_TEST

START_TEST(nth_call_fails_once_or_for_ever)
{
	uint8_t byte;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	sim_media_fail(sim, SIM_COPY | SIM_DRAIN, 2, -EIO, false);
	stream(0, 'a', LINE);
	ck_assert(!sim_media_has_failed(sim));
	ck_assert_int_eq(pc_media_flush(media, 0, LINE), 0);
	ck_assert_int_eq(pc_media_drain(media), -EIO);
	ck_assert(sim_media_has_failed(sim));
	assert_durable(0, 0, LINE);
	drain();
	assert_durable(0, 'a', LINE);
	ck_assert_uint_eq(sim_media_calls(sim), 4);
	sim_media_fail(sim, SIM_ANY, 1, -ENOSPC, true);
	ck_assert_int_eq(pc_media_copy(media, 0, "bb", 2, PC_COPY_STREAM), -ENOSPC);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_set(media, 0, 1, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_flush(media, 0, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_drain(media), -ENOSPC);
	ck_assert_int_eq(pc_media_sync(media), -ENOSPC);
	ck_assert_int_eq(pc_media_read(media, &byte, 0, 1), -ENOSPC);
	assert_bytes(media->base, 0, 'a', LINE);
	sim_media_fail(sim, 0, 0, 0, false);
	ck_assert_int_eq(pc_media_read(media, &byte, 0, 1), 0);
	ck_assert_int_eq(byte, 'a');
}
END_TEST

START_TEST(failed_page_store_leaves_its_first_half)
{
	set_up(PCACHE_GRANULARITY_PAGE);
	sim_media_fail(sim, SIM_COPY, 1, -EIO, false);
	ck_assert_int_eq(pc_media_copy(media, 0, "abcd", 4, PC_COPY_STREAM), -EIO);
	ck_assert_int_eq(memcmp(media->base, "ab\0\0", 4), 0);
	sim_media_fail(sim, SIM_STORE8, 1, -EIO, false);
	ck_assert_int_eq(pc_media_store8(media, 8, UINT64_MAX), -EIO);
	assert_bytes(media->base, 8, 0, 8);
}
END_TEST

START_TEST(failed_page_sync_is_final_until_the_next_open)
{
	set_up(PCACHE_GRANULARITY_PAGE);
	stream(0, 'a', 8);
	sim_media_fail(sim, SIM_SYNC, 1, -EIO, false);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	assert_durable(0, 0, 8);
	pc_media_close(media);
	media = sim_media_open(sim, false);
	sync_media();
	assert_durable(0, 'a', 8);
}
END_TEST

START_TEST(poisoned_line_cannot_be_read_until_it_is_stored_whole)
{
	uint8_t buf[PC_PAGE];

	set_up((enum pcache_granularity)_i);
	stream(0, 'a', 4 * LINE);
	sim_media_poison(sim, LINE + 5);
	ck_assert_int_ne(media->base[LINE], 'a');
	sync_media(); /* what was pending there is gone as well */
	ck_assert_int_ne(sim_media_durable(sim)[LINE], 'a');
	ck_assert_int_eq(pc_media_read(media, buf, 0, 4 * LINE), -EIO);
	ck_assert_int_eq(pc_media_read(media, buf, LINE + 63, 1), -EIO);
	ck_assert_int_eq(pc_media_read(media, buf, 0, LINE), 0);
	ck_assert_int_eq(pc_media_read(media, buf, 2 * LINE, LINE), 0);
	assert_bytes(buf, 0, 'a', LINE);
	cache(LINE, 'b', LINE - 1);
	cache(LINE + 1, 'b', LINE - 1);
	ck_assert_int_eq(pc_media_read(media, buf, LINE, LINE), -EIO);
	cache(LINE, 'b', LINE);
	ck_assert_int_eq(pc_media_read(media, buf, LINE, LINE), 0);
	assert_bytes(buf, 0, 'b', LINE);
}
END_TEST

START_TEST(flip_changes_bits_in_both_images)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	sim_media_flip(sim, 10, 0x81);
	ck_assert_int_eq(media->base[10], 'a' ^ 0x81);
	assert_durable(10, 'a' ^ 0x81, 1);
	assert_durable(0, 'a', 10);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
}
END_TEST

START_TEST(read_past_the_end_is_eio)
{
	uint8_t buf[2];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	ck_assert_int_eq(pc_media_read(media, buf, BYTES - 2, 2), 0);
	ck_assert_int_eq(pc_media_read(media, buf, BYTES - 1, 2), -EIO);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, NULL, tear_down);
	suite_add_tcase(suite, tests);
	return tests;
}

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
	tcase_add_test(tests, hooks_are_called_before_the_effect);
	tcase_add_test(tests, nth_call_fails_once_or_for_ever);
	tcase_add_test(tests, failed_page_store_leaves_its_first_half);
	tcase_add_test(tests, failed_page_sync_is_final_until_the_next_open);
	tcase_add_loop_test(tests, poisoned_line_cannot_be_read_until_it_is_stored_whole, PCACHE_GRANULARITY_BYTE,
			    PCACHE_GRANULARITY_PAGE + 1);
	tcase_add_test(tests, flip_changes_bits_in_both_images);
	tcase_add_test(tests, read_past_the_end_is_eio);
}

static void add_crash_tests(TCase *tests)
{
	tcase_add_test(tests, choosers_take_the_units_they_name);
	tcase_add_test(tests, random_chooser_keeps_to_its_densities_and_its_seed);
	tcase_add_test(tests, random_chooser_reaches_every_state);
	tcase_add_test(tests, patch_and_unpatch_touch_only_what_is_pending);
	tcase_add_loop_test(tests, crash_into_equals_the_crash_image, PCACHE_GRANULARITY_BYTE,
			    PCACHE_GRANULARITY_PAGE + 1);
	tcase_add_test(tests, crash_within_a_recovery_equals_its_image);
	tcase_add_test(tests, crash_into_takes_turns_between_sources);
	tcase_add_test(tests, hash_differs_with_any_byte_and_any_place);
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
	add_crash_tests(add_case(suite, "crash"));
	if (fork_mode == NULL || strcmp(fork_mode, "no") != 0)
		add_mistake_tests(add_case(suite, "mistakes"));
	return pc_run_suite(suite);
}
