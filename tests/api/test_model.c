/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_model.c - random operations against a plain array.
 *
 * Goal: whatever the order of writes, zeroes, discards, reads, flushes, drains and reopens, the cache reads as the array does, and so
 * does the backing after the last drain. Method: a volume of 16 MiB behind a cache of 1 to 4 MiB, so that write-back
 * and reclaim run all the time, misses are kept, killed and carried forward, which is counted; lengths from 1 byte to
 * 4 MiB at every alignment, more in some places than in others.
 * A failure names its seed; PC_TEST_SEED replays it.
 */
#include "random_run.h"
#include "fixture.h"

#include <stdio.h>
#include <string.h>

#define VOLUME_BYTES (16 * MIB)
#define SEEDS        6
#define STEPS        1200u

struct walk {
	struct fixture *fx;
	struct test_random random; /* steps of its own, so that the fixture's use of random numbers does not matter */
	uint64_t hot; /* where much of it happens */
	uint64_t fill_bytes; /* of all its caches, as the next ones */
	uint64_t kills;
	uint64_t moved_bytes;
};

/* The counts begin anew with each open. */
static void count(struct walk *walk)
{
	struct pcache_stats stats = fixture_stats(walk->fx);

	walk->fill_bytes += stats.fill_bytes;
	walk->kills += stats.kills;
	walk->moved_bytes += stats.moved_bytes;
}

static void count_and_reopen(struct walk *walk)
{
	count(walk);
	fixture_reopen(walk->fx);
}

static void choose_range(struct walk *walk, uint64_t *ret_off, size_t *ret_len)
{
	static const uint64_t alignments[] = { 1, 1, 64, 512, 4096, 4096, 65536 };
	uint64_t alignment = alignments[test_random_below(&walk->random, 7)];
	size_t len = test_random_length(&walk->random, 4 * MIB);
	uint64_t off = test_random_below(&walk->random, VOLUME_BYTES);

	if (test_random_below(&walk->random, 4) == 0)
		off = walk->hot + test_random_below(&walk->random, 300000);
	if (test_random_below(&walk->random, 16) == 0)
		off = VOLUME_BYTES - len; /* up to the last byte */
	off -= off % alignment;
	if (alignment > 1 && len > alignment)
		len -= len % alignment;
	if (off > VOLUME_BYTES - len)
		off = VOLUME_BYTES - len;
	*ret_off = off;
	*ret_len = len;
}

static void choose_mode(struct walk *walk)
{
	uint64_t mode = PCACHE_MODE_WRITEBACK + test_random_below(&walk->random, 4);

	ck_assert_int_eq(pcache_set(walk->fx->cache, PCACHE_TUNABLE_MODE, mode), 0);
}

static void zero(struct fixture *fx, uint64_t off, size_t len, uint64_t kind)
{
	unsigned flags = kind % 8 == 0 ? PCACHE_WRITE_FUA : 0;

	if (kind % 2 == 0)
		ck_assert_int_eq(pcache_write_zeroes(fx->cache, off, len, flags), 0);
	else
		ck_assert_int_eq(pcache_discard(fx->cache, off, len, flags), 0);
	memset(fx->model + off, 0, len);
}

static void step(struct walk *walk)
{
	struct fixture *fx = walk->fx;
	uint64_t kind = test_random_below(&walk->random, 1000);
	uint64_t off;
	size_t len;

	choose_range(walk, &off, &len);
	if (kind < 60)
		zero(fx, off, len, kind);
	else if (kind < 550)
		fixture_write_flags(fx, off, len, kind < 90 ? PCACHE_WRITE_FUA : 0);
	else if (kind < 960)
		fixture_check(fx, off, len);
	else if (kind < 985)
		ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
	else if (kind < 990)
		fixture_drain(fx);
	else if (kind < 995)
		count_and_reopen(walk);
	else if (kind < 998)
		choose_mode(walk);
	else
		walk->hot = test_random_below(&walk->random, VOLUME_BYTES - 300000);
}

struct shape {
	uint64_t cache_bytes;
	uint64_t segment_bytes;
	bool direct; /* the backing is opened with O_DIRECT */
};

static void walk_and_compare(uint64_t seed, const struct shape *shape, unsigned steps)
{
	struct walk walk = { .random = test_random_make(seed) };

	fprintf(stderr, "# PC_TEST_SEED=%ju, cache of %ju KiB, segments of %ju KiB\n", (uintmax_t)seed,
	       (uintmax_t)(shape->cache_bytes / KIB), (uintmax_t)(shape->segment_bytes / KIB));
	walk.fx = fixture_make(VOLUME_BYTES, shape->cache_bytes, shape->segment_bytes);
	if (shape->direct)
		fixture_use_direct(walk.fx);
	walk.fx->random = test_random_make(~seed);
	walk.fx->config.batch_bytes = test_random_below(&walk.random, 2) == 0 ? 0 : 256 * KIB;
	walk.fx->config.read_verify = (uint32_t)test_random_below(&walk.random, 4);
	walk.fx->config.replay_threads = 1 + (uint32_t)test_random_below(&walk.random, 8);
	fixture_open(walk.fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < steps; i++)
		step(&walk);
	fixture_check_all(walk.fx);
	count_and_reopen(&walk);
	fixture_check_all(walk.fx);
	fixture_drain(walk.fx);
	fixture_check_backing(walk.fx);
	fixture_check_all(walk.fx);
	count(&walk);
	fprintf(stderr, "# kept %ju KiB, killed %ju, carried forward %ju KiB\n", (uintmax_t)(walk.fill_bytes / KIB),
		(uintmax_t)walk.kills, (uintmax_t)(walk.moved_bytes / KIB));
	ck_assert_uint_gt(walk.fill_bytes, 0);
	if (steps >= STEPS) /* fewer may not come to it */
		ck_assert(walk.kills > 0 && walk.moved_bytes > 0);
	fixture_free(walk.fx);
}

START_TEST(random_operations_read_as_the_model)
{
	static const struct shape shapes[SEEDS] = {
		{ CACHE_LEAST, SEGMENT_SMALL, false }, { MIB, SEGMENT_SMALL, false },
		{ 2 * MIB, SEGMENT_SMALL, true },      { 4 * MIB, SEGMENT_SMALL, false },
		{ 1280 * KIB, 128 * KIB, true },       { 4 * MIB, 256 * KIB, false },
	};

	walk_and_compare(seed_or((uint64_t)_i + 1), &shapes[_i], thinned(STEPS));
}
END_TEST

/* Nothing ever leaves: the index and the log alone. */
START_TEST(random_operations_in_large_cache_read_as_the_model)
{
	static const struct shape large = { 160 * MIB, 16 * MIB, false };

	walk_and_compare(seed_or(100), &large, thinned(STEPS));
}
END_TEST

/* Thousands of small extents, most of them overwritten in part again and again. */
START_TEST(random_small_writes_in_few_leaves_read_as_the_model)
{
	struct fixture *fx = fixture_make_open(MIB, CACHE_SMALL, SEGMENT_SMALL);

	fx->random = test_random_make(seed_or(200));
	for (unsigned i = 0; i < thinned(20000); i++) {
		size_t len = 1 + test_random_below(&fx->random, 600);
		uint64_t off = test_random_below(&fx->random, MIB - len);

		fixture_write(fx, off, len);
		if (i % 50 == 0)
			fixture_check(fx, off, len);
		if (i % 2000 == 0)
			fixture_check_all(fx);
	}
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

/* big_run in small: 64 MiB through 16 MiB, or a sixth of it where each flush is a system call. */
START_TEST(random_writes_with_flush_each_end_identical_with_few_syncs)
{
	char cache_path[PATH_BYTES];
	char backing_path[PATH_BYTES];
	struct random_run run = {
		.cache_path = cache_path,
		.backing_path = backing_path,
		.volume_bytes = 64 * MIB,
		.cache_bytes = 16 * MIB,
		.segment_bytes = 256 * KIB,
		.write_bytes = 4096,
		.writes = thinned(16384),
		.seed = seed_or(1),
	};
	struct random_result result;

	snprintf(cache_path, sizeof(cache_path), "%s/run.cache", test_cache_dir());
	snprintf(backing_path, sizeof(backing_path), "%s/run.backing", test_backing_dir());
	ck_assert_int_eq(random_run(&run, &result), 0);
	fprintf(stderr, "# writes %ju, backing syncs %ju, mismatches %ju\n", (uintmax_t)result.writes,
	       (uintmax_t)result.backing_syncs, (uintmax_t)result.mismatches);
	ck_assert_uint_eq(result.writes, run.writes);
	ck_assert_uint_eq(result.mismatches, 0);
	/* A sync for 4 MiB of log at the least, and one for the drain: no sync per flush. */
	ck_assert_uint_le(result.backing_syncs, run.writes * run.write_bytes / MIB + 2);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("model");
	TCase *tests = test_case(suite, "model");

	tcase_add_loop_test(tests, random_operations_read_as_the_model, 0, SEEDS);
	tcase_add_test(tests, random_operations_in_large_cache_read_as_the_model);
	tcase_add_test(tests, random_small_writes_in_few_leaves_read_as_the_model);
	tcase_add_test(tests, random_writes_with_flush_each_end_identical_with_few_syncs);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
