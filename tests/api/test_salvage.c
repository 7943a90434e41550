/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_salvage.c - PCACHE_OPEN_SALVAGE: what is left of a damaged log is read, what is missing is told, nothing is stored.
 *
 * Method: bytes of a closed, dirty cache are flipped. Each block then reads as it was written, as it was before on the
 * backing, or not at all, and both files stay as they are, to the byte.
 */
#include "fixture.h"

#include "format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VOLUME_BYTES (2 * MIB)
#define BLOCK        4096u
#define SEGMENTS     ((CACHE_SMALL - PCM_HEADER_BYTES) / SEGMENT_SMALL)

static char last_words[512];

static void listen(enum pcache_log_level level, const char *message, void *arg)
{
	struct fixture *fx = arg;

	if (level != PCACHE_LOG_ERROR)
		return;
	fx->log_errors++;
	snprintf(last_words, sizeof(last_words), "%s", message);
}

/* The first open of a cache takes the segments in order, so that the log begins in the first one. */
static uint64_t segment_off(unsigned id)
{
	return PCM_HEADER_BYTES + (uint64_t)id * SEGMENT_SMALL;
}

static uint64_t line_off(unsigned id, unsigned line)
{
	return segment_off(id) + SEGMENT_SMALL - (line + 1) * PCM_LINE;
}

static struct fixture *make_dirty(void)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	fx->config.log = listen;
	last_words[0] = '\0';
	return fx;
}

struct left {
	unsigned written; /* blocks as they were written last */
	unsigned before;  /* as they are on the backing */
	unsigned refused;
};

/* Each block has one of the two contents, or gives -EBADMSG. */
static struct left read_what_is_left(struct fixture *fx)
{
	struct left left = { 0 };

	for (unsigned i = 0; i < VOLUME_BYTES / BLOCK; i++) {
		ssize_t ret = pcache_read(fx->cache, fx->scratch, BLOCK, i * BLOCK, 0);
		uint8_t before[BLOCK];

		file_read(fx->backing_path, i * BLOCK, before, BLOCK);
		if (ret == -EBADMSG)
			left.refused++;
		else if (memcmp(fx->scratch, fx->model + i * BLOCK, BLOCK) == 0)
			left.written++;
		else if (memcmp(fx->scratch, before, BLOCK) == 0)
			left.before++;
		else
			ck_abort_msg("block %u: read %zd, and it is neither the old nor the new one", i, ret);
	}
	return left;
}

/* Refused without the flag, which the message names. With it: what is left, and the statistics. */
static struct left salvage(struct fixture *fx, struct pcache_stats *ret_stats)
{
	struct picture cache = picture_take(fx->cache_path);
	struct picture backing = picture_take(fx->backing_path);
	struct left left;

	fixture_open(fx, PCACHE_OPEN_SALVAGE);
	left = read_what_is_left(fx);
	*ret_stats = fixture_stats(fx);
	ck_assert_int_eq(ret_stats->state, PCACHE_STATE_READ_ONLY);
	ck_assert_int_eq(pcache_write(fx->cache, fx->model, BLOCK, 0, 0), -EROFS);
	ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 0), -EROFS);
	(void)pcache_scrub(fx->cache, NULL, NULL, 0, 0);
	ck_assert_int_eq(pcache_close(fx->cache, 0), 0);
	fx->cache = NULL;
	ck_assert_msg(picture_is_same(fx->cache_path, &cache), "the cache file was touched");
	ck_assert_msg(picture_is_same(fx->backing_path, &backing), "the backing was touched");
	picture_free(&cache);
	picture_free(&backing);
	return left;
}

static void expect_refused(struct fixture *fx, int error)
{
	fixture_refuse(fx, 0, error);
	ck_assert_msg(strstr(last_words, "PCACHE_OPEN_SALVAGE") != NULL, "\"%s\" does not help", last_words);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, error);
}

START_TEST(sound_cache_is_salvaged_as_a_whole)
{
	struct fixture *fx = make_dirty();
	struct pcache_stats stats;
	struct left left = salvage(fx, &stats);

	ck_assert_uint_eq(left.written, VOLUME_BYTES / BLOCK);
	ck_assert_uint_eq(stats.salvage_segments + stats.salvage_gaps + stats.salvage_lines, 0);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* One write is missing, and it is known which. */
START_TEST(damaged_line_costs_its_write_which_is_listed)
{
	struct fixture *fx = make_dirty();
	struct pcache_range ranges[2];
	struct pcache_stats stats;
	struct left left;

	file_flip(fx->cache_path, line_off(0, 3) + offsetof(struct pcm_kset, crc));
	expect_refused(fx, -EBADMSG);
	left = salvage(fx, &stats);
	ck_assert_uint_eq(left.before, 1);
	ck_assert_uint_eq(left.refused, 0);
	ck_assert_uint_eq(stats.salvage_lines, 1);
	ck_assert_uint_eq(stats.salvage_segments + stats.salvage_gaps, 0);
	fixture_open(fx, PCACHE_OPEN_SALVAGE);
	ck_assert_int_eq(pcache_damaged(fx->cache, ranges, 2), 1);
	ck_assert_uint_eq(ranges[0].off, 3 * BLOCK);
	ck_assert_uint_eq(ranges[0].len, BLOCK);
	ck_assert_uint_eq(ranges[0].state, PCACHE_RANGE_STALE);
	fixture_free(fx);
}
END_TEST

/* The first segment, one in the middle: all that is in the others is there. */
START_TEST(damaged_record_of_a_segment_costs_what_is_in_it)
{
	struct fixture *fx = make_dirty();
	struct pcache_stats stats;
	struct left left;

	for (unsigned slot = 0; slot < 2; slot++)
		file_flip(fx->cache_path, segment_off((unsigned)_i) + slot * PCM_SLOT_STRIDE + 20);
	expect_refused(fx, -EUCLEAN);
	left = salvage(fx, &stats);
	ck_assert_uint_ge(left.before, 5);
	ck_assert_uint_lt(left.before, DIRTY_BLOCKS / 2);
	ck_assert_uint_eq(left.refused, 0);
	ck_assert_uint_eq(stats.salvage_segments, 1);
	ck_assert_uint_eq(stats.salvage_gaps, _i == 0 ? 0 : 1);
	fixture_free(fx);
}
END_TEST

START_TEST(damaged_tails_cost_nothing)
{
	struct fixture *fx = make_dirty();
	struct pcache_stats stats;
	struct left left;

	for (unsigned slot = 0; slot < 2; slot++)
		file_flip(fx->cache_path, PCM_TAILS_OFF + slot * PCM_SLOT_STRIDE + 20);
	expect_refused(fx, -EUCLEAN);
	left = salvage(fx, &stats);
	ck_assert_uint_eq(left.written, VOLUME_BYTES / BLOCK);
	ck_assert_uint_eq(stats.salvage_gaps, 1);
	fixture_free(fx);
}
END_TEST

START_TEST(damaged_data_is_refused_in_a_salvage_too)
{
	struct fixture *fx = make_dirty();
	struct pcache_stats stats;
	struct left left;

	file_flip(fx->cache_path, file_find(fx->cache_path, fx->model + 2 * BLOCK, BLOCK) + 1000);
	left = salvage(fx, &stats);
	ck_assert_uint_eq(left.refused, 1);
	ck_assert_uint_eq(left.before, 0);
	fixture_free(fx);
}
END_TEST

/* Any bytes behind superblock and cache info: never wrong data, never a store. */
START_TEST(random_damage_is_never_read_as_data)
{
	struct fixture *fx = make_dirty();

	for (unsigned i = 0; i < thinned(12); i++) {
		uint64_t flips[24];
		struct pcache_stats stats;

		for (unsigned f = 0; f < 24; f++) {
			flips[f] = PCM_TAILS_OFF + test_random_below(&fx->random, CACHE_SMALL - PCM_TAILS_OFF);
			if (f % 2 == 0) /* half of them where the lines of the log are */
				flips[f] = line_off((unsigned)test_random_below(&fx->random, 5),
						    (unsigned)test_random_below(&fx->random, 14));
			file_flip(fx->cache_path, flips[f]);
		}
		(void)salvage(fx, &stats);
		ck_assert_uint_gt(stats.salvage_lines, 0);
		for (unsigned f = 0; f < 24; f++)
			file_flip(fx->cache_path, flips[f]);
	}
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(salvage_goes_with_nothing_that_stores)
{
	struct fixture *fx = make_dirty();

	fixture_refuse(fx, PCACHE_OPEN_SALVAGE | PCACHE_OPEN_CREATE, -EINVAL);
	fixture_refuse(fx, PCACHE_OPEN_SALVAGE | PCACHE_OPEN_DROP_CLEAN, -EINVAL);
	fixture_refuse(fx, PCACHE_OPEN_SALVAGE | PCACHE_OPEN_GROW, -EINVAL);
	fixture_free(fx);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("salvage");
	TCase *tests = test_case(suite, "salvage");

	tcase_add_test(tests, sound_cache_is_salvaged_as_a_whole);
	tcase_add_test(tests, damaged_line_costs_its_write_which_is_listed);
	tcase_add_loop_test(tests, damaged_record_of_a_segment_costs_what_is_in_it, 0, 2);
	tcase_add_test(tests, damaged_tails_cost_nothing);
	tcase_add_test(tests, damaged_data_is_refused_in_a_salvage_too);
	tcase_add_test(tests, random_damage_is_never_read_as_data);
	tcase_add_test(tests, salvage_goes_with_nothing_that_stores);
	return test_main(suite);
}
