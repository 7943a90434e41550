/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_log.c - the log callback is never called with a lock of the library held, whatever fails.
 *
 * Method: each failure is provoked in turn. The callback takes every lock, and then does what it should not: it calls
 * back into the cache. Stepped, a lock that is taken is held by the caller itself; with threads, a callback that waits
 * for its caller ends in Check's timeout.
 */
#include "cache_fixture.h"

static _Thread_local bool is_visiting;
static _Atomic unsigned visits;

static void check_free(pthread_mutex_t *lock, const char *name)
{
	ck_assert_msg(pthread_mutex_trylock(lock) == 0, "%s is held during the message '%s'", name, log_seen.text);
	pthread_mutex_unlock(lock);
}

static void check_no_lock_is_held(void)
{
	check_free(&cache->write.rotate_lock, "rotate_lock");
	check_free(&cache->state_lock, "state_lock");
	check_free(&cache->segments->free_lock, "free_lock");
	for (uint32_t id = 0; id < SEGMENTS; id++)
		check_free(&pc_segment_at(cache->segments, id)->info_lock, "info_lock");
}

/* The index has a lock for each bucket: reads go through all of them. What the calls return is not the point. */
static void call_back(void)
{
	static _Thread_local uint8_t data[VOLUME_BYTES];
	struct pcache_stats stats = { .size = sizeof(stats) };

	ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	for (unsigned block = 0; block < BLOCKS; block++)
		(void)pcache_read(cache, data, BLOCK, block_off(block), 0);
	memset(data, 0, sizeof(data));
	(void)pcache_write(cache, data, BLOCK, block_off(BLOCKS - 1), PCACHE_NOWAIT);
	(void)pcache_flush(cache, 0);
}

/* Its own calls give messages, too. */
static void visit(void)
{
	if (is_visiting || cache == NULL)
		return;
	is_visiting = true;
	if (cache->stepped)
		check_no_lock_is_held();
	call_back();
	is_visiting = false;
	atomic_fetch_add(&visits, 1);
}

/* ---- failures ---- */

static void fail_copy(unsigned nth)
{
	sim_media_fail(sim, SIM_COPY, nth, -EIO, true);
}

static void fail_sync(unsigned nth)
{
	sim_media_fail(sim, SIM_SYNC, nth, -EIO, true);
}

static int write_without_media(void)
{
	fail_copy(1);
	return (int)write_block(0, 0);
}

static int write_without_fence(void)
{
	sim_media_fail(sim, SIM_DRAIN, 1, -EIO, true);
	return (int)write_block(0, 0);
}

/* A rotation seals, opens, links: each is two copies. */
static int rotate_failing_at(unsigned nth)
{
	fill_open_segment();
	fail_copy(nth);
	return (int)write_block(0, 0);
}

static int rotate_without_seal(void) { return rotate_failing_at(1); }
static int rotate_without_record(void) { return rotate_failing_at(3); }
static int rotate_without_link(void) { return rotate_failing_at(5); }

/* Somebody closes the segment while the writer is in it: the writer seals it. */
static void close_segment(enum sim_primitive primitive, void *unused)
{
	(void)unused;
	if (primitive == SIM_DRAIN && !pc_room_is_closed(pc_stream_room(&cache->write)))
		ck_assert_int_eq(pc_rotate_close(cache), 0);
}

static int seal_by_last_writer(void)
{
	static const struct sim_hooks hooks = { .crash_point = close_segment };
	int ret;

	sim_media_hook(sim, &hooks);
	fail_sync(1);
	ret = (int)write_block(0, 0);
	sim_media_hook(sim, NULL);
	return ret;
}

static int flush_without_sync(void)
{
	fail_sync(1);
	return pcache_flush(cache, 0);
}

static int fua_without_sync(void)
{
	fail_sync(1);
	return (int)write_block(0, PCACHE_WRITE_FUA);
}

/* The batch goes out all the same, from memory. */
static int writeback_without_media_sync(void)
{
	fail_sync(1);
	return pc_writeback_step(cache) == 1 ? pc_writeback_drain(cache, NULL, NULL) : 0;
}

static int writeback_without_batch_end(void)
{
	fail_copy(1);
	return pc_writeback_step(cache);
}

static int writeback_without_tail(void)
{
	fail_copy(3);
	return pc_writeback_step(cache);
}

static int reclaim_without_media(void)
{
	write_blocks(0, 2 * IN_SEGMENT);
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), 0);
	cache->tunables[PCACHE_TUNABLE_GC_PERCENT] = 1;
	fail_copy(1);
	return pc_reclaim_step(cache);
}

/* A close seals, then says that it was in order: each is two copies. */
static int close_failing_at(unsigned nth)
{
	int ret;

	fail_copy(nth);
	ret = pc_cache_close(cache, false);
	cache = NULL;
	return ret;
}

static int close_without_seal(void) { return close_failing_at(1); }
static int close_without_mark(void) { return close_failing_at(3); }

/* The first block's data and key are the first in the first segment. */
#define FIRST_DATA (PCM_HEADER_BYTES + PCM_SEGMENT_HEADER)
#define FIRST_KEY  (PCM_HEADER_BYTES + SEGMENT_BYTES - sizeof(struct pcm_key))

static int read_of_damaged_data(void)
{
	uint8_t data[BLOCK];

	sim_media_flip(sim, FIRST_DATA + 5, 1);
	cache->tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_ALWAYS;
	return (int)pc_io_read(cache, data, sizeof(data), 0, 0);
}

static int writeback_of_damaged_data(void)
{
	sim_media_flip(sim, FIRST_DATA + 5, 1);
	return pc_writeback_step(cache);
}

static int writeback_of_damaged_key(void)
{
	sim_media_flip(sim, FIRST_KEY, 1);
	return pc_writeback_step(cache);
}

static int writeback_of_lost_data(void)
{
	sim_media_poison(sim, FIRST_DATA);
	return pc_writeback_step(cache);
}

static int drain_of_damaged_data(void)
{
	sim_media_flip(sim, FIRST_DATA + 5, 1);
	return pc_writeback_drain(cache, NULL, NULL);
}

static int writeback_without_backing(void)
{
	sim_backing_inject(backing, SIM_WRITE_FAILS, 1, -EIO, true);
	return pc_writeback_step(cache);
}

static int writeback_without_backing_sync(void)
{
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -EIO, true);
	return pc_writeback_step(cache);
}

static int drain_without_backing(void)
{
	sim_backing_inject(backing, SIM_WRITE_FAILS, 1, -EIO, true);
	return pc_writeback_drain(cache, NULL, NULL);
}

/* The writer itself does the write-back that it needs. */
static int full_without_backing(void)
{
	fill_cache();
	sim_backing_inject(backing, SIM_WRITE_FAILS, 1, -EIO, true);
	return (int)write_block(0, 0);
}

static int write_past_the_end(void)
{
	return (int)pcache_write(cache, model, BLOCK, VOLUME_BYTES, 0);
}

static int write_with_unknown_flags(void)
{
	return (int)pcache_write(cache, model, BLOCK, 0, 1u << 30);
}

static int read_into_nothing(void)
{
	return (int)pcache_read(cache, NULL, BLOCK, 0, 0);
}

static const struct failure {
	int (*provoke)(void);
	int error;
	const char *words; /* of the message */
	bool paged_only;
} failures[] = {
	{ write_without_media, -EIO, "the media failed", false },
	{ write_without_fence, -EIO, "the media failed", false },
	{ rotate_without_seal, -EIO, "the media failed", false },
	{ rotate_without_record, -EIO, "the media failed", false },
	{ rotate_without_link, -EIO, "the media failed", false },
	{ seal_by_last_writer, -EIO, "the media failed", false },
	{ flush_without_sync, -EIO, "the media failed", true },
	{ fua_without_sync, -EIO, "the media failed", true },
	{ writeback_without_media_sync, -EIO, "the media failed", true },
	{ writeback_without_batch_end, -EIO, "the media failed", false },
	{ writeback_without_tail, -EIO, "the media failed", false },
	{ reclaim_without_media, -EIO, "the media failed", false },
	{ close_without_seal, -EIO, "the media failed", false },
	{ close_without_mark, -EIO, "the media failed", false },
	{ read_of_damaged_data, -EBADMSG, "does not match its checksum", false },
	{ writeback_of_damaged_data, 1, "does not match its checksum", false },
	{ writeback_of_damaged_key, -EBADMSG, "no longer matches its checksum", false },
	{ writeback_of_lost_data, 1, "cannot be read from the media", false },
	{ drain_of_damaged_data, -EBADMSG, "are lost", false },
	{ writeback_without_backing, -EIO, "a write to the backing failed", false },
	{ writeback_without_backing_sync, -EIO, "the sync of the backing failed", false },
	{ drain_without_backing, -EIO, "a write to the backing failed", false },
	{ full_without_backing, -EIO, "a write to the backing failed", false },
	{ write_past_the_end, -ENOSPC, "the backing ends at", false },
	{ write_with_unknown_flags, -EINVAL, "unknown flags", false },
	{ read_into_nothing, -EINVAL, "the buffer is NULL", false },
};

static void begin(int granularity, bool stepped)
{
	set_up(granularities[granularity]);
	atomic_store(&visits, 0);
	open_cache(stepped);
	write_blocks(0, 3);
	on_message = visit;
}

/* _i: the failure */
START_TEST(message_of_any_failure_comes_without_a_lock)
{
	const struct failure *failure = &failures[_i];

	for (int g = 0; g < GRANULARITIES; g++) {
		if (failure->paged_only && granularities[g] != PCACHE_GRANULARITY_PAGE)
			continue;
		begin(g, true);
		ck_assert_int_eq(failure->provoke(), failure->error);
		ck_assert_uint_gt(atomic_load(&visits), 0);
		on_message = NULL;
		ck_assert_msg(said(failure->words), "the last message was '%s'", log_seen.text);
		tear_down();
	}
}
END_TEST

/* ---- on the library's own threads ---- */

/* What fails on each of them, while a writer waits for space. */
static void fail_batch(void) { sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -EIO, false); }
static void fail_tails(void) { fail_copy(1); }
static void fail_free(void) { fail_copy(5); }

/* _i: granularity, and what fails */
START_TEST(callback_on_a_thread_of_the_library_may_call_back)
{
	static void (*const fail[])(void) = { fail_batch, fail_tails, fail_free };
	ssize_t ret;

	begin(_i % GRANULARITIES, false);
	fill_cache();
	ck_assert_int_eq(write_block(0, PCACHE_NOWAIT), -EAGAIN);
	fail[_i / GRANULARITIES]();
	ret = write_block(0, 0);
	ck_assert_msg(ret == -EIO || ret == BLOCK, "the writer got %zd", ret);
	WAIT_UNTIL(atomic_load(&visits) > 0);
	on_message = NULL;
	(void)pc_cache_close(cache, true);
	cache = NULL;
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_log");
	TCase *tests = case_new(suite, "log");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(tests, message_of_any_failure_comes_without_a_lock, 0, PC_ARRAY_SIZE(failures));
	tcase_add_loop_test(tests, callback_on_a_thread_of_the_library_may_call_back, 0, 3 * GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
