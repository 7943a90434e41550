/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_memory.c - a write that finds no memory.
 *
 * Goal: it fails with -ENOMEM and is as if it had never been made: for readers, for later writes, after a power cut at
 * once, and on the backing (W2).
 *
 * Method: every allocation of a write fails in turn, on a cache so new that the index has no leaf yet. The power cut
 * leaves what is durable and nothing else: so a line that was stored is there, and must have been voided, durably.
 */
#include "failing_memory.h"

#include "cache_fixture.h"
#include "runner.h"

#define PAST_A_KEY (PCM_KEY_MAX_BYTES - BLOCK / 2) /* a block here has two keys */

/* The simulated media itself needs memory; that is never refused. */
static const struct pc_media_ops *sim_ops;

static int copy_with_memory(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	unsigned countdown = failing_memory.countdown;
	int ret;

	failing_memory.countdown = 0;
	ret = sim_ops->copy(media, off, source, len, kind);
	failing_memory.countdown = countdown;
	return ret;
}

static void open_with_memory(void)
{
	static struct pc_media_ops ops;

	open_cache(true);
	sim_ops = cache->media->ops;
	ops = *sim_ops;
	ops.copy = copy_with_memory;
	cache->media->ops = &ops;
}

static void close_without_a_store(void)
{
	cache->media->ops = sim_ops;
	pc_cache_abandon(cache);
	cache = NULL;
}

static void cut_power(enum pcache_granularity granularity)
{
	struct sim_media *target = sim_media_new(MEDIA_BYTES, granularity);

	ck_assert_ptr_nonnull(target);
	sim_media_crash_into(sim, sim_choose_none, NULL, target);
	close_without_a_store();
	sim_media_delete(sim);
	sim = target;
	open_cache(true);
}

/* Fails at allocation `nth`; false: there are not that many. */
static bool write_without_memory(uint64_t off, unsigned nth)
{
	uint8_t data[BLOCK];
	ssize_t ret;

	memset(data, 0xee, sizeof(data));
	failing_memory_arm(nth);
	ret = pc_io_write(cache, data, sizeof(data), off, 0);
	if (!failing_memory_disarm()) {
		ck_assert_int_eq(ret, BLOCK);
		return false;
	}
	ck_assert_int_eq(ret, -ENOMEM);
	return true;
}

static void check_as_if_never_made(enum pcache_granularity granularity)
{
	check_reads();
	cut_power(granularity);
	check_reads();
	write_blocks(0, BLOCKS / 2); /* also where the failed one was */
	check_reads();
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	check_backing();
}

static void fail_each_allocation(uint64_t off)
{
	unsigned nth = 1;

	if (!failing_memory_works())
		return;
	for (bool failed = true; failed; nth++) {
		for (int i = 0; i < GRANULARITIES; i++) {
			set_up(granularities[i]);
			open_with_memory();
			failed = write_without_memory(off, nth);
			if (failed)
				check_as_if_never_made(granularities[i]);
			tear_down();
		}
	}
	ck_assert_uint_gt(nth, 2);
}

START_TEST(write_of_one_key_without_memory_is_as_if_never_made)
{
	fail_each_allocation(0);
}
END_TEST

START_TEST(write_of_two_keys_without_memory_is_as_if_never_made)
{
	fail_each_allocation(PAST_A_KEY);
}
END_TEST

/* The writer that had no memory is not waited for. */
START_TEST(segment_with_a_voided_write_is_sealed_and_drained)
{
	if (!failing_memory_works())
		return;
	for (int i = 0; i < GRANULARITIES; i++) {
		set_up(granularities[i]);
		open_with_memory();
		ck_assert(write_without_memory(0, 1));
		fill_open_segment();
		ck_assert_int_eq(pc_rotate_close(cache), 0);
		EXPECT(pc_segment_is_sealed(cache->segments, 0));
		ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
		check_backing();
		tear_down();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache_memory");
	TCase *tcase = case_new(suite, "cache_memory");

	tcase_add_test(tcase, write_of_one_key_without_memory_is_as_if_never_made);
	tcase_add_test(tcase, write_of_two_keys_without_memory_is_as_if_never_made);
	tcase_add_test(tcase, segment_with_a_voided_write_is_sealed_and_drained);
	return pc_run_suite(suite);
}
