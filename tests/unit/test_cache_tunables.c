/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_cache_tunables.c - pcache_set() and pcache_get(): what is accepted, and what each value does to misses.
 *
 * Method: as test_cache_clean.c.
 */
#include "cache_clean_fixture.h"

static void set(enum pcache_tunable tunable, uint64_t value)
{
	uint64_t now;

	ck_assert_int_eq(pcache_set(cache, tunable, value), 0);
	ck_assert_int_eq(pcache_get(cache, tunable, &now), 0);
	ck_assert_uint_eq(now, value);
}

/* ---- values ---- */

static void check_refused(enum pcache_tunable tunable, uint64_t value, const char *name)
{
	uint64_t before;
	uint64_t now;

	ck_assert_int_eq(pcache_get(cache, tunable, &before), 0);
	log_seen.text[0] = '\0';
	ck_assert_int_eq(pcache_set(cache, tunable, value), -ERANGE);
	ck_assert(said(name));
	ck_assert_int_eq(pcache_get(cache, tunable, &now), 0);
	ck_assert_uint_eq(now, before);
}

START_TEST(tunable_takes_its_range_and_nothing_else)
{
	static const struct {
		enum pcache_tunable tunable;
		uint64_t min;
		uint64_t max;
		const char *name;
	} tunables[] = {
		{ PCACHE_TUNABLE_EVICTION, 0, PCACHE_EVICTION_FIFO, "eviction" },
		{ PCACHE_TUNABLE_FILL, 0, PCACHE_FILL_NEVER, "fill" },
		{ PCACHE_TUNABLE_READ_AHEAD, 0, 256 << 10, "read_ahead_bytes" },
		{ PCACHE_TUNABLE_SEQUENTIAL_BYPASS, 0, INT64_MAX, "sequential_bypass_bytes" },
		{ PCACHE_TUNABLE_GC_PERCENT, 0, 95, "gc_percent" },
		{ PCACHE_TUNABLE_DIRTY_HIGH, 0, UINT64_MAX, "dirty_high_bytes" },
		{ PCACHE_TUNABLE_DIRTY_AGE_MS, 1, UINT32_MAX, "dirty_age_ms" },
		{ PCACHE_TUNABLE_BATCH_BYTES, 1, UINT64_MAX, "batch_bytes" },
		{ PCACHE_TUNABLE_READ_VERIFY, 0, PCACHE_VERIFY_ALWAYS, "read_verify" },
		{ PCACHE_TUNABLE_WRITEBACK_PAUSED, 0, 1, "writeback_paused" },
	};

	set_up_clean(PCACHE_GRANULARITY_BYTE);
	for (unsigned i = 0; i < PC_ARRAY_SIZE(tunables); i++) {
		uint64_t now;

		set(tunables[i].tunable, tunables[i].min);
		set(tunables[i].tunable, tunables[i].max);
		if (tunables[i].min > 0)
			check_refused(tunables[i].tunable, tunables[i].min - 1, tunables[i].name);
		if (tunables[i].max < UINT64_MAX) {
			check_refused(tunables[i].tunable, tunables[i].max + 1, tunables[i].name);
			check_refused(tunables[i].tunable, UINT64_MAX, tunables[i].name);
		}
		ck_assert_int_eq(pcache_get(cache, tunables[i].tunable, &now), 0);
		ck_assert_uint_eq(now, tunables[i].max);
		ck_assert_int_eq(pcache_get(cache, tunables[i].tunable, NULL), -EINVAL);
	}
}
END_TEST

START_TEST(tunable_that_does_not_exist_gives_einval)
{
	uint64_t value = 77;

	set_up_clean(PCACHE_GRANULARITY_BYTE);
	ck_assert_int_eq(pcache_set(cache, (enum pcache_tunable)PC_TUNABLES, 0), -EINVAL);
	ck_assert_int_eq(pcache_set(cache, (enum pcache_tunable)-1, 0), -EINVAL);
	ck_assert_int_eq(pcache_get(cache, (enum pcache_tunable)PC_TUNABLES, &value), -EINVAL);
	ck_assert_int_eq(pcache_get(cache, (enum pcache_tunable)-1, &value), -EINVAL);
	ck_assert_int_eq(pcache_set(NULL, PCACHE_TUNABLE_FILL, 0), -EINVAL);
	ck_assert_int_eq(pcache_get(NULL, PCACHE_TUNABLE_FILL, &value), -EINVAL);
	ck_assert_uint_eq(value, 77);
}
END_TEST

START_TEST(tunables_begin_as_configured)
{
	static const uint64_t values[PC_TUNABLES] = { 1, 2, 8192, 4096, 33, 1u << 20, 44, 22, 2, 0,
						       PCACHE_MODE_WRITEONLY, 77 };

	set_up(PCACHE_GRANULARITY_BYTE);
	memcpy(config.tunables, values, sizeof(values));
	open_cache(true);
	for (unsigned i = 0; i < PC_TUNABLES; i++) {
		if (!pc_config_has_tunable(i))
			continue;
		uint64_t now;

		ck_assert_int_eq(pcache_get(cache, (enum pcache_tunable)i, &now), 0);
		ck_assert_uint_eq(now, values[i]);
	}
}
END_TEST

/* ---- fill ---- */

START_TEST(fill_never_keeps_nothing_until_it_is_set_otherwise)
{
	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_FILL, PCACHE_FILL_NEVER);
	CHECK_READS_FROM_BACKING(2, { check_blocks(0, 1); check_blocks(0, 1); });
	ck_assert_uint_eq(counted(PC_COUNT_BYPASSED_BYTES), 2 * PCM_BLOCK);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 0);
	set(PCACHE_TUNABLE_FILL, PCACHE_FILL_ALWAYS);
	CHECK_READS_FROM_BACKING(1, { check_blocks(0, 1); check_blocks(0, 1); });
	set(PCACHE_TUNABLE_FILL, PCACHE_FILL_NEVER);
	check_cached(0); /* what is there stays */
}
END_TEST

START_TEST(fill_second_touch_keeps_what_is_missed_again)
{
	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_FILL, PCACHE_FILL_SECOND_TOUCH);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(3), 2 * PCM_BLOCK));
	ck_assert_uint_eq(counted(PC_COUNT_BYPASSED_BYTES), 2 * PCM_BLOCK);
	CHECK_READS_FROM_BACKING(1, check_range(off_of(2), 2 * PCM_BLOCK));
	ck_assert_int_eq(stream_unseen(2), PC_STREAM_NONE);
	ck_assert_int_eq(stream_unseen(3), PC_STREAM_FILL);
	check_cached(3);
	CHECK_READS_FROM_BACKING(1, check_blocks(4, 1));
	check_cached(4);
}
END_TEST

/* It was here, and was evicted: reason enough. */
START_TEST(fill_second_touch_keeps_what_was_evicted)
{
	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_FILL, PCACHE_FILL_SECOND_TOUCH);
	pc_ghost_add(cache->evicted, 5);
	check_blocks(5, 1);
	ck_assert_int_eq(stream_unseen(5), PC_STREAM_HOT);
}
END_TEST

/* ---- sequential readers ---- */

/* One block after the other from `first` on. */
static uint64_t reads_for(uint64_t first, uint64_t count)
{
	uint64_t before = backing_reads();

	check_blocks(first, count);
	return backing_reads() - before;
}

START_TEST(reader_in_order_is_read_ahead)
{
	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_READ_AHEAD, 4 * PCM_BLOCK);
	/* 0; 1 and two ahead; 4 and four ahead; 9 and four ahead */
	ck_assert_uint_eq(reads_for(0, 14), 4);
	ck_assert_uint_eq(counted(PC_COUNT_READ_AHEAD_BYTES), 10 * PCM_BLOCK);
	ck_assert_uint_eq(counted(PC_COUNT_READ_MISS_BYTES), 4 * PCM_BLOCK);
	ck_assert_uint_eq(counted(PC_COUNT_FILL_BYTES), 14 * PCM_BLOCK);
	check_reads();
}
END_TEST

START_TEST(reader_in_order_without_read_ahead_reads_each)
{
	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_READ_AHEAD, 0);
	ck_assert_uint_eq(reads_for(0, 10), 10);
	ck_assert_uint_eq(counted(PC_COUNT_READ_AHEAD_BYTES), 0);
}
END_TEST

START_TEST(reader_in_no_order_is_not_read_ahead)
{
	static const uint8_t blocks[] = { 50, 3, 77, 20, 90, 41, 12 };

	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_READ_AHEAD, 256 << 10);
	for (unsigned i = 0; i < sizeof(blocks); i++)
		ck_assert_uint_eq(reads_for(blocks[i], 1), 1);
	ck_assert_uint_eq(counted(PC_COUNT_READ_AHEAD_BYTES), 0);
}
END_TEST

/* Not over what is cached, nor over the end of a leaf or of the backing. */
START_TEST(read_ahead_ends_where_something_else_begins)
{
	uint64_t leaf_blocks = PC_LEAF_BYTES / PCM_BLOCK;

	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_READ_AHEAD, 256 << 10);
	write_range(off_of(3), 1);
	ck_assert_uint_eq(reads_for(0, 2), 2);
	ck_assert_uint_eq(counted(PC_COUNT_READ_AHEAD_BYTES), PCM_BLOCK);
	ck_assert_uint_eq(reads_for(leaf_blocks - 4, 3), 2);
	ck_assert_uint_eq(counted(PC_COUNT_READ_AHEAD_BYTES), 3 * PCM_BLOCK);
	set(PCACHE_TUNABLE_READ_AHEAD, 0);
	check_blocks(WHOLE_BLOCKS - 3, 1);
	set(PCACHE_TUNABLE_READ_AHEAD, 256 << 10);
	ck_assert_uint_eq(reads_for(WHOLE_BLOCKS - 2, 2), 1);
	check_reads();
}
END_TEST

/* A long reader would push everything else out. */
START_TEST(reader_in_order_bypasses_the_cache_behind_so_many_bytes)
{
	set_up_clean(granularities[_i]);
	set(PCACHE_TUNABLE_READ_AHEAD, 0);
	set(PCACHE_TUNABLE_SEQUENTIAL_BYPASS, 4 * PCM_BLOCK);
	ck_assert_uint_eq(reads_for(0, 20), 20);
	for (uint64_t block = 0; block < 20; block++)
		ck_assert_int_eq(stream_unseen(block), block < 4 ? PC_STREAM_FILL : PC_STREAM_NONE);
	ck_assert_uint_eq(counted(PC_COUNT_BYPASSED_BYTES), 16 * PCM_BLOCK);
	check_blocks(60, 1); /* somebody else's is kept */
	check_cached(60);
	set(PCACHE_TUNABLE_SEQUENTIAL_BYPASS, 0);
	check_blocks(20, 1);
	check_cached(20);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("cache_tunables");
	TCase *tests = case_new(suite, "tunables");

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_add_test(tests, tunable_takes_its_range_and_nothing_else);
	tcase_add_test(tests, tunable_that_does_not_exist_gives_einval);
	tcase_add_test(tests, tunables_begin_as_configured);
	tcase_add_loop_test(tests, fill_never_keeps_nothing_until_it_is_set_otherwise, 0, GRANULARITIES);
	tcase_add_loop_test(tests, fill_second_touch_keeps_what_is_missed_again, 0, GRANULARITIES);
	tcase_add_loop_test(tests, fill_second_touch_keeps_what_was_evicted, 0, GRANULARITIES);
	tcase_add_loop_test(tests, reader_in_order_is_read_ahead, 0, GRANULARITIES);
	tcase_add_loop_test(tests, reader_in_order_without_read_ahead_reads_each, 0, GRANULARITIES);
	tcase_add_loop_test(tests, reader_in_no_order_is_not_read_ahead, 0, GRANULARITIES);
	tcase_add_loop_test(tests, read_ahead_ends_where_something_else_begins, 0, GRANULARITIES);
	tcase_add_loop_test(tests, reader_in_order_bypasses_the_cache_behind_so_many_bytes, 0, GRANULARITIES);
	return suite;
}

int main(void)
{
	return pc_run_suite(make_suite());
}
