/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_threads.c - four threads write and read overlapping ranges, while others flush, drain and take looks.
 *
 * Goal: each sector has one history that all threads agree with. Method: every write stamps its sectors with
 * {thread, number}. What a read returns is held to:
 *
 * (A1) A sector reads as one version that was written there, or the backing's first one. A write that runs at the same
 *      time may be caught half way on the backing, so a mixed sector is looked at again: it may not stay as it is.
 * (A2) Once a thread has seen a version, or its own write was acknowledged, no version that was replaced by then comes
 *      back: a version, once it was followed by another one, is dead.
 * (A3) Of each writer nothing older is read than what was acknowledged before the read began.
 * (A4) When all have stopped, what is read stays: after close and open, and on the drained backing. Memory, replay and
 *      write-back agree on who won.
 *
 * The acknowledged numbers are relaxed atomics: the test must not order the threads for the library, or TSan would see
 * an order that users do not have.
 */
#include "stamp.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS      4u
#define VOLUME_BYTES (4 * MIB)
#define SECTORS      (VOLUME_BYTES / SECTOR)
#define RANGE_MAX    256u /* sectors of one operation */
#define NUMBER_BITS  32

/* What one thread knows of one sector. */
struct seen {
	uint64_t current;            /* version seen last, or written by itself */
	uint32_t alive[THREADS + 1]; /* per writer: lowest number that may still be read */
};

struct worker {
	pthread_t thread;
	struct arena *arena;
	unsigned id; /* 1..THREADS; writer 0 is the backing as it was */
	unsigned rounds;
	unsigned write_percent;
	struct test_random random;
	struct seen *seen; /* per sector */
	uint8_t *buf;
	uint8_t *again;
	struct verdict verdict;
};

struct arena {
	struct fixture *fx;
	_Atomic uint32_t (*acked)[THREADS + 1]; /* per sector and writer: highest number acknowledged */
	_Atomic bool stop;
	struct worker workers[THREADS];
};

static uint64_t version_of(unsigned writer, uint32_t number)
{
	return (uint64_t)writer << NUMBER_BITS | number;
}

static void see(struct worker *worker, uint64_t sector, uint64_t version, const uint32_t *floor)
{
	struct seen *seen = &worker->seen[sector];
	uint64_t writer = version >> NUMBER_BITS;
	uint32_t number = (uint32_t)version;

	if (writer > THREADS || number > worker->rounds) {
		verdict_fail(&worker->verdict, "A1: sector %ju: version %jx was never written", (uintmax_t)sector,
			     (uintmax_t)version);
		return;
	}
	if (number < seen->alive[writer])
		verdict_fail(&worker->verdict, "A2: sector %ju: thread %u reads %ju.%u, dead below %u",
			     (uintmax_t)sector, worker->id, (uintmax_t)writer, number, seen->alive[writer]);
	if (number < floor[writer])
		verdict_fail(&worker->verdict, "A3: sector %ju: thread %u reads %ju.%u, %u was acknowledged before",
			     (uintmax_t)sector, worker->id, (uintmax_t)writer, number, floor[writer]);
	if (version == seen->current)
		return;
	seen->alive[seen->current >> NUMBER_BITS] = (uint32_t)seen->current + 1;
	if (number > seen->alive[writer])
		seen->alive[writer] = number;
	seen->current = version;
}

/* A version that is replaced by a write that came later in the same thread is dead as well. */
static void note_own_write(struct worker *worker, uint64_t sector, uint32_t number)
{
	struct seen *seen = &worker->seen[sector];

	seen->alive[seen->current >> NUMBER_BITS] = (uint32_t)seen->current + 1;
	seen->alive[worker->id] = number;
	seen->current = version_of(worker->id, number);
	atomic_store_explicit(&worker->arena->acked[sector][worker->id], number, memory_order_relaxed);
}

static void do_write(struct worker *worker, uint64_t sector, uint64_t sectors, uint32_t number)
{
	ssize_t ret;

	stamp_fill(worker->buf, sector, sectors, version_of(worker->id, number));
	ret = pcache_write(worker->arena->fx->cache, worker->buf, sectors * SECTOR, sector * SECTOR, 0);
	if (ret != (ssize_t)(sectors * SECTOR)) {
		verdict_fail(&worker->verdict, "write of %ju sectors at %ju gave %zd", (uintmax_t)sectors,
			     (uintmax_t)sector, ret);
		return;
	}
	for (uint64_t i = 0; i < sectors; i++)
		note_own_write(worker, sector + i, number);
}

/* A1: half a write may be seen while it goes on, not for ever. */
static bool mixture_stays(struct worker *worker, uint64_t sector, const uint8_t *first)
{
	for (unsigned look = 0; look < 100; look++) {
		uint64_t version;

		if (pcache_read(worker->arena->fx->cache, worker->again, SECTOR, sector * SECTOR, 0) != SECTOR)
			return true;
		if (stamp_check(worker->again, sector, &version) == STAMP_GARBAGE)
			return true;
		if (memcmp(worker->again, first, SECTOR) != 0)
			return false;
		sched_yield();
	}
	return true;
}

static void check_sector(struct worker *worker, uint64_t sector, const uint8_t *bytes, const uint32_t *floor)
{
	uint64_t version = 0;
	enum stamp_state state = stamp_check(bytes, sector, &version);

	if (state == STAMP_WHOLE)
		see(worker, sector, version, floor);
	else if (state == STAMP_GARBAGE)
		verdict_fail(&worker->verdict, "A1: sector %ju holds what was never written there", (uintmax_t)sector);
	else if (mixture_stays(worker, sector, bytes))
		verdict_fail(&worker->verdict, "A1: sector %ju stays a mixture", (uintmax_t)sector);
}

static void do_read(struct worker *worker, uint64_t sector, uint64_t sectors)
{
	uint32_t floors[RANGE_MAX][THREADS + 1];
	ssize_t ret;

	for (uint64_t i = 0; i < sectors; i++)
		for (unsigned writer = 0; writer <= THREADS; writer++)
			floors[i][writer] = atomic_load_explicit(&worker->arena->acked[sector + i][writer],
								 memory_order_relaxed);
	ret = pcache_read(worker->arena->fx->cache, worker->buf, sectors * SECTOR, sector * SECTOR, 0);
	if (ret != (ssize_t)(sectors * SECTOR)) {
		verdict_fail(&worker->verdict, "read of %ju sectors at %ju gave %zd", (uintmax_t)sectors,
			     (uintmax_t)sector, ret);
		return;
	}
	for (uint64_t i = 0; i < sectors; i++)
		check_sector(worker, sector + i, worker->buf + i * SECTOR, floors[i]);
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (uint32_t number = 1; number <= worker->rounds && !worker->verdict.failed; number++) {
		uint64_t sectors = test_random_length(&worker->random, RANGE_MAX);
		uint64_t sector = test_random_below(&worker->random, SECTORS - sectors + 1);

		/* Half of it in one place, so that they meet. */
		if (number % 2 == 0)
			sector %= 1024;
		if (test_random_below(&worker->random, 100) < worker->write_percent)
			do_write(worker, sector, sectors, number);
		else
			do_read(worker, sector, sectors);
	}
	return NULL;
}

/* At least enough rounds to go through the smallest cache several times. */
static struct arena *arena_make(uint64_t cache_bytes, uint64_t segment_bytes, unsigned rounds, bool direct)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	rounds = rounds < 100 ? 100 : rounds;
	arena->fx = fixture_make(VOLUME_BYTES, cache_bytes, segment_bytes);
	arena->acked = calloc(SECTORS, sizeof(arena->acked[0]));
	stamp_backing(arena->fx);
	if (direct)
		fixture_use_direct(arena->fx);
	for (unsigned i = 0; i < THREADS; i++) {
		struct worker *worker = &arena->workers[i];

		worker->arena = arena;
		worker->id = i + 1;
		worker->rounds = rounds;
		worker->write_percent = 50;
		worker->random = test_random_make(seed_or(1) * 100 + i);
		worker->seen = calloc(SECTORS, sizeof(worker->seen[0]));
		worker->buf = malloc(RANGE_MAX * SECTOR);
		worker->again = malloc(SECTOR);
	}
	fixture_open(arena->fx, PCACHE_OPEN_CREATE);
	return arena;
}

static void arena_run(struct arena *arena)
{
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&arena->workers[i].thread, NULL, work, &arena->workers[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(arena->workers[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_msg(!arena->workers[i].verdict.failed, "%s", arena->workers[i].verdict.message);
}

/* Every sector holds the newest of some writer; that becomes the model. */
static void settle(struct arena *arena)
{
	struct fixture *fx = arena->fx;

	ck_assert_int_eq(pcache_read(fx->cache, fx->model, fx->bytes, 0, 0), (ssize_t)fx->bytes);
	for (uint64_t sector = 0; sector < SECTORS; sector++) {
		uint64_t version = 0;
		enum stamp_state state = stamp_check(fx->model + sector * SECTOR, sector, &version);
		uint64_t writer = version >> NUMBER_BITS;

		ck_assert_msg(state == STAMP_WHOLE, "sector %ju is not whole at the end", (uintmax_t)sector);
		ck_assert_uint_le(writer, THREADS);
		ck_assert_msg(arena->acked[sector][writer] == (uint32_t)version,
			      "sector %ju ends as %ju.%u, not the last of that writer", (uintmax_t)sector,
			      (uintmax_t)writer, (unsigned)(uint32_t)version);
		for (unsigned i = 0; version == 0 && i <= THREADS; i++)
			ck_assert_uint_eq(arena->acked[sector][i], 0);
	}
}

/* A4 */
static void check_end(struct arena *arena)
{
	struct fixture *fx = arena->fx;

	settle(arena);
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_check_all(fx);
}

static void arena_free(struct arena *arena)
{
	for (unsigned i = 0; i < THREADS; i++) {
		free(arena->workers[i].seen);
		free(arena->workers[i].buf);
		free(arena->workers[i].again);
	}
	free(arena->acked);
	fixture_free(arena->fx);
	free(arena);
}

START_TEST(overlapping_writers_in_roomy_cache_agree)
{
	struct arena *arena = arena_make(32 * MIB, MIB, thinned(3000), false);

	arena_run(arena);
	check_end(arena);
	arena_free(arena);
}
END_TEST

START_TEST(overlapping_writers_in_full_cache_agree)
{
	struct arena *arena = arena_make(_i == 0 ? CACHE_LEAST : MIB, SEGMENT_SMALL, thinned(3000), _i == 1);

	arena_run(arena);
	ck_assert_uint_gt(fixture_stats(arena->fx).segments_reclaimed, 0);
	check_end(arena);
	arena_free(arena);
}
END_TEST

/* One writer keeps reclaim going under three readers. */
START_TEST(readers_during_reclaim_agree)
{
	struct arena *arena = arena_make(CACHE_LEAST, SEGMENT_SMALL, thinned(4000), false);

	for (unsigned i = 1; i < THREADS; i++)
		arena->workers[i].write_percent = 0;
	arena->workers[0].write_percent = 100;
	arena_run(arena);
	ck_assert_uint_gt(fixture_stats(arena->fx).segments_reclaimed, 0);
	check_end(arena);
	arena_free(arena);
}
END_TEST

/*
 * Two writers in step go over the same blocks, a long write against a short one that starts a little later. The long
 * one often reserves its place first and publishes last: memory must still agree with the log about who won.
 */
struct racer {
	pthread_t thread;
	struct arena *arena;
	unsigned id;
	uint32_t pass;
	uint64_t sectors;  /* of one write */
	unsigned handicap; /* the start is delayed by less than so many turns */
	const _Atomic uint64_t *others_block;
	_Atomic uint64_t block;
	struct verdict verdict;
};

#define RACE_SECTORS 64u /* of a block */

static void wait_for_start(const struct racer *racer, uint64_t block)
{
	unsigned turns = 0;

	while (atomic_load_explicit(racer->others_block, memory_order_relaxed) < block)
		if (++turns % 256 == 0)
			sched_yield();
	for (unsigned i = 0; racer->handicap > 0 && i < block * 7 % racer->handicap; i++)
		atomic_signal_fence(memory_order_seq_cst);
}

static void *race(void *arg)
{
	struct racer *racer = arg;
	uint8_t buf[RACE_SECTORS * SECTOR];

	for (uint64_t block = 1; block < SECTORS / RACE_SECTORS; block++) {
		uint64_t sector = block * RACE_SECTORS;
		size_t len = racer->sectors * SECTOR;

		stamp_fill(buf, sector, racer->sectors, version_of(racer->id, racer->pass));
		atomic_store_explicit(&racer->block, block, memory_order_relaxed);
		wait_for_start(racer, block);
		if (pcache_write(racer->arena->fx->cache, buf, len, sector * SECTOR, 0) != (ssize_t)len)
			verdict_fail(&racer->verdict, "write of block %ju failed", (uintmax_t)block);
	}
	return NULL;
}

static void race_once(struct arena *arena, uint32_t pass)
{
	struct racer racers[2] = {
		{ .id = 1, .sectors = RACE_SECTORS, .others_block = &racers[1].block },
		{ .id = 2, .sectors = 1, .handicap = 2000, .others_block = &racers[0].block },
	};

	for (unsigned i = 0; i < 2; i++) {
		racers[i].arena = arena;
		racers[i].pass = pass;
		ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(racers[i].thread, NULL);
		ck_assert_msg(!racers[i].verdict.failed, "%s", racers[i].verdict.message);
	}
}

START_TEST(racing_writers_end_the_same_in_memory_and_in_replay)
{
	struct arena *arena = arena_make(16 * MIB, MIB, 1, false);
	struct fixture *fx = arena->fx;

	for (uint32_t pass = 1; pass <= thinned(12); pass++) {
		race_once(arena, pass);
		ck_assert_int_eq(pcache_read(fx->cache, fx->model, fx->bytes, 0, 0), (ssize_t)fx->bytes);
		fixture_reopen(fx);
		fixture_check_all(fx);
	}
	fixture_drain(fx);
	fixture_check_backing(fx);
	arena_free(arena);
}
END_TEST

struct bystander {
	pthread_t thread;
	struct arena *arena;
	int (*call)(struct pcache *cache);
	unsigned calls;
	int error;
};

static void *stand_by(void *arg)
{
	struct bystander *bystander = arg;

	while (!atomic_load_explicit(&bystander->arena->stop, memory_order_relaxed) && bystander->error == 0) {
		bystander->error = bystander->call(bystander->arena->fx->cache);
		bystander->calls++;
		slow_down(200);
	}
	return NULL;
}

static int call_flush(struct pcache *cache)
{
	return pcache_flush(cache, 0);
}

static int call_drain(struct pcache *cache)
{
	return pcache_drain(cache, NULL, NULL, 0);
}

static int call_stats(struct pcache *cache)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	int ret = pcache_stats(cache, &stats);

	if (ret < 0)
		return ret;
	return stats.state == PCACHE_STATE_OK && stats.segments_free <= stats.segments &&
		       stats.dirty_log_bytes <= stats.capacity_bytes ? 0 : -1;
}

START_TEST(flush_drain_and_stats_beside_writers_agree)
{
	static int (*const calls[])(struct pcache *) = { call_flush, call_drain, call_stats };
	struct arena *arena = arena_make(2 * MIB, SEGMENT_SMALL, thinned(3000), false);
	struct bystander bystanders[3] = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		bystanders[i].arena = arena;
		bystanders[i].call = calls[i];
		ck_assert_int_eq(pthread_create(&bystanders[i].thread, NULL, stand_by, &bystanders[i]), 0);
	}
	arena_run(arena);
	arena->stop = true;
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(bystanders[i].thread, NULL);
		ck_assert_msg(bystanders[i].error == 0, "bystander %u got %d", i, bystanders[i].error);
		ck_assert_uint_gt(bystanders[i].calls, 0);
	}
	check_end(arena);
	arena_free(arena);
}
END_TEST

/* Four drains at once, each with work of its own. */
START_TEST(drains_from_all_threads_end)
{
	struct arena *arena = arena_make(4 * MIB, SEGMENT_SMALL, thinned(800), false);
	struct bystander bystanders[THREADS] = { 0 };

	for (unsigned i = 0; i < THREADS; i++) {
		bystanders[i].arena = arena;
		bystanders[i].call = call_drain;
		ck_assert_int_eq(pthread_create(&bystanders[i].thread, NULL, stand_by, &bystanders[i]), 0);
	}
	arena_run(arena);
	arena->stop = true;
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(bystanders[i].thread, NULL);
		ck_assert_int_eq(bystanders[i].error, 0);
	}
	check_end(arena);
	arena_free(arena);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("threads");
	TCase *tests = test_case(suite, "threads");

	tcase_add_test(tests, overlapping_writers_in_roomy_cache_agree);
	tcase_add_loop_test(tests, overlapping_writers_in_full_cache_agree, 0, 2);
	tcase_add_test(tests, readers_during_reclaim_agree);
	tcase_add_test(tests, racing_writers_end_the_same_in_memory_and_in_replay);
	tcase_add_test(tests, flush_drain_and_stats_beside_writers_agree);
	tcase_add_test(tests, drains_from_all_threads_end);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
