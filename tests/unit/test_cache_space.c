/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_space.c - lib/rotate.c: a writer without space waits for as long as there is hope, and no longer (O3).
 *
 * Method: a cache with threads is full to the last line. The media fails at each moment that matters: before the writer
 * sleeps, while it sleeps, and in the work that it waits for. A writer that is never told ends in a ceiling.
 */
#include "cache_fixture.h"

struct waiter {
	pthread_t thread;
	_Atomic bool returned;
	ssize_t ret;
};

static void *write_one_block(void *arg)
{
	struct waiter *waiter = arg;
	uint8_t data[BLOCK] = { 0 };

	waiter->ret = pc_io_write(cache, data, sizeof(data), 0, 0);
	atomic_store(&waiter->returned, true);
	return NULL;
}

static void waiter_start(struct waiter *waiter)
{
	*waiter = (struct waiter){ .ret = 1 };
	thread_start(&waiter->thread, write_one_block, waiter);
}

static ssize_t waiter_end(struct waiter *waiter)
{
	WAIT_UNTIL(atomic_load(&waiter->returned));
	thread_join(waiter->thread);
	return waiter->ret;
}

/* Full, and the segment closed: a writer has nothing to store before it waits. */
static void fill_and_close(void)
{
	fill_cache();
	ck_assert_int_eq(write_block(0, PCACHE_NOWAIT), -EAGAIN);
	ck_assert(pc_room_is_closed(pc_stream_room(&cache->write)));
}

static void check_failed(void)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	ck_assert_int_eq(stats.state, PCACHE_STATE_FAILED);
	ck_assert_uint_eq(space_waiters(), 0);
	ck_assert_int_eq(write_block(0, 0), -EIO);
	check_reads();
}

/* ---- before it sleeps ---- */

static _Atomic bool has_failed;

/* The writer is about to seal the last segment; another thread finds that the media is bad. */
static void fail_media_in_rotation(enum sim_primitive primitive, void *arg)
{
	(void)primitive;
	if (pthread_equal(pthread_self(), *(pthread_t *)arg) && !atomic_exchange(&has_failed, true))
		ck_assert_int_eq(pc_cache_fail_media(cache, -ENXIO), -EIO);
}

static void check_writer_with_media_failed_before_it_waits(enum pcache_granularity granularity, bool stepped)
{
	pthread_t self = pthread_self();
	const struct sim_hooks hooks = { .crash_point = fail_media_in_rotation, .arg = &self };

	set_up(granularity);
	open_cache(stepped);
	fill_cache();
	atomic_store(&has_failed, false);
	sim_media_hook(sim, &hooks);
	ck_assert_int_eq(write_block(0, 0), -EIO);
	ck_assert(atomic_load(&has_failed));
	sim_media_hook(sim, NULL);
	check_failed();
}

/* Nothing that comes after this could wake it: write-back gets on, and reclaim does not work on a failed media. */
START_TEST(writer_with_media_failed_before_it_sleeps_gets_eio)
{
	check_writer_with_media_failed_before_it_waits(granularities[_i], false);
}
END_TEST

START_TEST(stepped_writer_with_media_failed_before_it_waits_gets_eio)
{
	check_writer_with_media_failed_before_it_waits(granularities[_i], true);
}
END_TEST

/* ---- while it sleeps ---- */

static void fail_media_now(enum pcache_granularity granularity)
{
	if (granularity == PCACHE_GRANULARITY_PAGE) {
		sim_media_fail(sim, SIM_SYNC, 1, -EIO, true);
		ck_assert_int_eq(pc_io_flush(cache), -EIO);
	} else {
		ck_assert_int_eq(pc_cache_fail_media(cache, -EIO), -EIO); /* as a writer on its way would report it */
	}
}

/* Write-back hangs in the backing, so that no attempt ends and wakes anybody. */
START_TEST(writer_asleep_when_the_media_fails_gets_eio)
{
	struct waiter waiters[3];

	set_up(granularities[_i]);
	open_cache(false);
	fill_and_close();
	sim_backing_stall(backing, true);
	for (unsigned i = 0; i < PC_ARRAY_SIZE(waiters); i++)
		waiter_start(&waiters[i]);
	WAIT_UNTIL(space_waiters() == PC_ARRAY_SIZE(waiters) && sim_backing_waiting(backing) > 0);
	fail_media_now(granularities[_i]);
	for (unsigned i = 0; i < PC_ARRAY_SIZE(waiters); i++)
		ck_assert_int_eq(waiter_end(&waiters[i]), -EIO);
	sim_backing_stall(backing, false);
	check_failed();
	ck_assert_int_eq(pc_writeback_drain(cache, NULL, NULL), -EIO);
	check_backing();
}
END_TEST

/* ---- in the work that it waits for ---- */

/* The first store of write-back is that of the tails; one batch makes four, and the next one is reclaim's. */
#define IN_WRITEBACK 1u
#define IN_RECLAIM   5u

static void check_writer_gets_eio_when_copy_fails(unsigned nth)
{
	struct waiter waiter;

	open_cache(false);
	fill_and_close();
	sim_media_fail(sim, SIM_COPY, nth, -EIO, true);
	waiter_start(&waiter);
	ck_assert_int_eq(waiter_end(&waiter), -EIO);
	ck_assert(sim_media_has_failed(sim));
	check_failed();
}

START_TEST(writer_waiting_when_tails_cannot_be_stored_gets_eio)
{
	set_up(granularities[_i]);
	check_writer_gets_eio_when_copy_fails(IN_WRITEBACK);
}
END_TEST

START_TEST(writer_waiting_when_segment_cannot_be_freed_gets_eio)
{
	set_up(granularities[_i]);
	check_writer_gets_eio_when_copy_fails(IN_RECLAIM);
	ck_assert(is_clean());
	check_backing();
}
END_TEST

/* ---- a backing that failed ---- */

/* What an attempt left behind that nobody has repeated since. */
START_TEST(writer_with_an_old_error_of_the_backing_waits_for_a_new_attempt)
{
	set_up(granularities[_i]);
	open_cache(false);
	fill_and_close();
	pthread_mutex_lock(&cache->state_lock);
	cache->health.error = -ENODATA;
	pthread_mutex_unlock(&cache->state_lock);
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	check_reads();
}
END_TEST

START_TEST(writer_waiting_when_the_backing_fails_gets_its_error)
{
	struct waiter waiter;

	set_up(granularities[_i]);
	open_cache(false);
	fill_and_close();
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	waiter_start(&waiter);
	ck_assert_int_eq(waiter_end(&waiter), -ENODATA);
	sim_backing_heal(backing);
	check_reads();
}
END_TEST

/* One segment can be reclaimed; the error of the next batch is there already, and stays. */
START_TEST(stepped_writer_gets_the_last_space_despite_an_error_of_the_backing)
{
	set_up(granularities[_i]);
	config.tunables[PCACHE_TUNABLE_BATCH_BYTES] = 1; /* a batch is one segment */
	open_cache(true);
	fill_cache();
	ck_assert_int_eq(pc_writeback_step(cache), 1);
	ck_assert(is_at(dirty_tail(), 2, 0));
	sim_backing_inject(backing, SIM_SYNC_FAILS, 1, -ENODATA, true);
	ck_assert_int_eq(pc_writeback_step(cache), -ENODATA);
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	fill_open_segment();
	ck_assert_int_eq(write_block(0, 0), -ENODATA); /* now there is none to come */
	sim_backing_heal(backing);
	ck_assert_int_eq(write_block(0, 0), BLOCK);
	check_reads();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_space");
	TCase *tests = case_new(suite, "space");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(tests, writer_with_media_failed_before_it_sleeps_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, stepped_writer_with_media_failed_before_it_waits_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_asleep_when_the_media_fails_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_waiting_when_tails_cannot_be_stored_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_waiting_when_segment_cannot_be_freed_gets_eio, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_with_an_old_error_of_the_backing_waits_for_a_new_attempt, 0, GRANULARITIES);
	tcase_add_loop_test(tests, writer_waiting_when_the_backing_fails_gets_its_error, 0, GRANULARITIES);
	tcase_add_loop_test(tests, stepped_writer_gets_the_last_space_despite_an_error_of_the_backing, 0,
			    GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
