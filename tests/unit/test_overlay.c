/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_overlay.c - lib/overlay.c: of many ranges the newest for each byte, as sorted, joined pieces.
 *
 * Method: the oracle paints the ranges into an array, one after the other, the oldest first. The result must say the
 * same of every byte, in the fewest pieces: a piece ends only where the array changes.
 */
#include "failing_memory.h"
#include "overlay.h"
#include "support.h"
#include "util.h"

#include <errno.h>

#define SPACE_BYTES 2048u
#define RANGES_MAX  200u
#define NOBODY      UINT32_MAX

struct space {
	uint64_t base; /* backing offset of owner[0] */
	uint32_t size;
	uint32_t *owner; /* range by byte */
};

static struct space space_new(uint64_t base, uint32_t size)
{
	struct space space = { .base = base, .size = size, .owner = malloc(size * sizeof(*space.owner)) };

	EXPECT(space.owner != NULL);
	return space;
}

static struct pc_range range(uint64_t off, uint64_t len)
{
	return (struct pc_range){ .off = off, .len = (uint32_t)len };
}

static void paint(struct space *space, const struct pc_range *ranges, uint32_t count)
{
	memset(space->owner, 0xff, space->size * sizeof(*space->owner));
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t at = 0; at < ranges[i].len; at++)
			space->owner[ranges[i].off - space->base + at] = i;
}

/* The next run of bytes with one owner; 0 at the end. */
static uint32_t next_run(const struct space *space, uint32_t *at)
{
	uint32_t start;

	while (*at < space->size && space->owner[*at] == NOBODY)
		(*at)++;
	start = *at;
	while (*at < space->size && space->owner[*at] == space->owner[start])
		(*at)++;
	return *at - start;
}

static void check(struct space *space, const struct pc_range *ranges, uint32_t count)
{
	struct pc_overlay_piece *pieces;
	uint32_t piece_count;
	uint32_t at = 0;

	EXPECT(pc_overlay(ranges, count, &pieces, &piece_count) == 0);
	paint(space, ranges, count);
	for (uint32_t i = 0; i < piece_count; i++) {
		uint32_t len = next_run(space, &at);

		EXPECT(pieces[i].len == len);
		EXPECT(pieces[i].off == space->base + at - len);
		EXPECT(pieces[i].range == space->owner[at - len]);
	}
	EXPECT(next_run(space, &at) == 0);
	EXPECT(piece_count <= (count == 0 ? 0 : 2 * count - 1));
	free(pieces);
}

START_TEST(overlay_of_nothing_is_empty)
{
	struct space space = space_new(0, SPACE_BYTES);

	check(&space, NULL, 0);
	free(space.owner);
}
END_TEST

START_TEST(overlay_of_one_range_is_that_range)
{
	const struct pc_range ranges[] = { range(0, 1), range(0, SPACE_BYTES), range(77, 1), range(SPACE_BYTES - 1, 1) };
	struct space space = space_new(0, SPACE_BYTES);

	for (unsigned i = 0; i < PC_ARRAY_SIZE(ranges); i++)
		check(&space, &ranges[i], 1);
	free(space.owner);
}
END_TEST

/* Every way in which three short ranges can lie to each other, and every order of age. */
START_TEST(overlay_of_any_three_short_ranges_is_the_newest_of_each_byte)
{
	struct space space = space_new(0, 6);
	struct pc_range all[21];
	uint32_t count = 0;

	for (uint64_t off = 0; off < 6; off++)
		for (uint32_t len = 1; off + len <= 6; len++)
			all[count++] = range(off, len);
	ck_assert_uint_eq(count, PC_ARRAY_SIZE(all));
	for (uint32_t i = 0; i < count * count * count; i++) {
		const struct pc_range three[] = { all[i % count], all[i / count % count], all[i / count / count] };

		check(&space, three, 3);
	}
	free(space.owner);
}
END_TEST

START_TEST(overlay_of_identical_ranges_is_the_last_one)
{
	struct space space = space_new(0, SPACE_BYTES);
	struct pc_range ranges[RANGES_MAX];

	for (uint32_t count = 1; count <= RANGES_MAX; count++) {
		ranges[count - 1] = range(100, 1000);
		check(&space, ranges, count);
	}
	free(space.owner);
}
END_TEST

/* _i: 0 the outermost is the oldest, 1 the outermost is the newest and hides all */
START_TEST(overlay_of_nested_ranges_shows_what_newer_ones_leave)
{
	struct space space = space_new(0, SPACE_BYTES);
	struct pc_range ranges[RANGES_MAX];

	for (uint32_t i = 0; i < RANGES_MAX; i++) {
		uint32_t depth = _i == 0 ? i : RANGES_MAX - 1 - i;

		ranges[i] = range(2 * depth, SPACE_BYTES - 5 * depth);
	}
	check(&space, ranges, RANGES_MAX);
	free(space.owner);
}
END_TEST

/* Touching each other, but two ranges are two pieces; ascending, descending and every other one first. */
START_TEST(overlay_of_adjacent_ranges_keeps_them_apart)
{
	struct space space = space_new(0, SPACE_BYTES);
	struct pc_range up[RANGES_MAX];
	struct pc_range down[RANGES_MAX];
	struct pc_range alternating[RANGES_MAX];

	for (uint32_t i = 0; i < RANGES_MAX; i++) {
		up[i] = range(10 + 7 * i, 7);
		down[RANGES_MAX - 1 - i] = up[i];
		alternating[i % 2 == 0 ? i / 2 : RANGES_MAX / 2 + i / 2] = up[i];
	}
	check(&space, up, RANGES_MAX);
	check(&space, down, RANGES_MAX);
	check(&space, alternating, RANGES_MAX);
	free(space.owner);
}
END_TEST

START_TEST(overlay_of_random_ranges_equals_painting)
{
	/* Near the end of what a file offset can be, too. */
	static const uint64_t bases[] = { 0, 0xffffff00u, (1ull << 63) - SPACE_BYTES };
	static const uint32_t longest[] = { 4, 40, 400, SPACE_BYTES };
	struct test_random random = random_of(3);

	for (unsigned round = 0; round < scaled(10000); round++) {
		struct space space = space_new(bases[round % 3], SPACE_BYTES);
		uint32_t count = 1 + (uint32_t)test_random_below(&random, round % 10 == 0 ? RANGES_MAX : 12);
		uint32_t len_max = longest[test_random_below(&random, 4)];
		uint32_t grain = 1u << test_random_below(&random, 6); /* coarse: more equal ends */
		struct pc_range ranges[RANGES_MAX];

		for (uint32_t i = 0; i < count; i++) {
			uint32_t off = (uint32_t)test_random_below(&random, SPACE_BYTES / grain) * grain;
			uint64_t len = (1 + test_random_below(&random, len_max)) * grain;

			ranges[i] = range(space.base + off, pc_min64(len, SPACE_BYTES - off));
		}
		check(&space, ranges, count);
		free(space.owner);
	}
}
END_TEST

START_TEST(overlay_of_many_ranges_equals_painting)
{
	uint32_t count = 30000;
	uint32_t size = 4u << 20;
	struct test_random random = random_of(4);
	struct space space = space_new(1ull << 40, size);
	struct pc_range *ranges = malloc(count * sizeof(*ranges));

	for (uint32_t i = 0; i < count; i++) {
		uint32_t off = (uint32_t)test_random_below(&random, size);

		ranges[i] = range(space.base + off, pc_min64(1 + test_random_below(&random, 8192), size - off));
	}
	check(&space, ranges, count);
	free(ranges);
	free(space.owner);
}
END_TEST

/* ---- zeroes ---- */

/* Where the bytes of this kind end. */
static uint32_t next_kind(const uint8_t *kinds, uint32_t at)
{
	uint32_t end = at + 1;

	while (end < SPACE_BYTES && kinds[end] == kinds[at])
		end++;
	return end;
}

/* What take_zeroes() must leave: each byte's kind, and whether it is in a run. */
static void check_taken(const struct pc_range *ranges, uint32_t count, const struct pc_zero_rule *rule)
{
	struct pc_overlay_piece *before;
	struct pc_overlay_piece *pieces;
	struct pc_zero_run *runs = NULL;
	uint8_t kinds[SPACE_BYTES];
	uint8_t taken[SPACE_BYTES] = { 0 };
	uint8_t in_run[SPACE_BYTES] = { 0 };
	uint32_t piece_count;
	uint32_t run_count = 0;
	uint64_t end = 0;

	memset(kinds, PC_RANGE_SILENT, sizeof(kinds));
	EXPECT(pc_overlay(ranges, count, &before, &piece_count) == 0);
	for (uint32_t i = 0; i < piece_count; i++)
		memset(kinds + before[i].off, (int)ranges[before[i].range].kind, before[i].len);
	pieces = before;
	EXPECT(pc_overlay_take_zeroes(ranges, rule, &pieces, &piece_count, &runs, &run_count) == 0);
	for (uint32_t i = 0; i < run_count; i++) {
		EXPECT(runs[i].off % rule->align_bytes == 0 && runs[i].len % rule->align_bytes == 0 && runs[i].off >= end);
		EXPECT(runs[i].len >= (runs[i].punch ? rule->punch_min : rule->zero_min));
		end = runs[i].off + runs[i].len;
		for (uint64_t at = runs[i].off; at < end; at++)
			EXPECT(kinds[at] == (runs[i].punch ? PC_RANGE_PUNCH : PC_RANGE_ZERO));
		memset(taken + runs[i].off, 1, runs[i].len);
		memset(in_run + runs[i].off, 1, runs[i].len);
	}
	end = 0;
	for (uint32_t i = 0; i < piece_count; i++) {
		const struct pc_range *of = &ranges[pieces[i].range];

		EXPECT(pieces[i].len > 0 && pieces[i].off >= end && of->kind != PC_RANGE_SILENT);
		end = pieces[i].off + pieces[i].len;
		EXPECT(pieces[i].off >= of->off && end <= of->off + of->len);
		for (uint64_t at = pieces[i].off; at < end; at++)
			EXPECT(kinds[at] == of->kind && taken[at] == 0);
		memset(taken + pieces[i].off, 1, pieces[i].len);
	}
	for (uint32_t at = 0; at < SPACE_BYTES; at++)
		EXPECT(taken[at] == (kinds[at] != PC_RANGE_SILENT));
	for (uint32_t at = 0; at < SPACE_BYTES; at = next_kind(kinds, at)) {
		uint64_t from = pc_align_up(at, rule->align_bytes);
		uint64_t to = pc_align_down(next_kind(kinds, at), rule->align_bytes);
		uint64_t min = kinds[at] == PC_RANGE_PUNCH ? rule->punch_min : rule->zero_min;

		if ((kinds[at] == PC_RANGE_ZERO || kinds[at] == PC_RANGE_PUNCH) && to >= from + min)
			for (uint64_t i = from; i < to; i++)
				EXPECT(in_run[i] == 1);
	}
	free(pieces);
	free(runs);
}

START_TEST(zeroes_that_are_long_enough_become_runs)
{
	const struct pc_zero_rule rule = { .align_bytes = 64, .zero_min = 192, .punch_min = 64 };
	struct test_random random = random_of(9);

	for (unsigned round = 0; round < scaled(4000); round++) {
		struct pc_range ranges[12];
		uint32_t count = 1 + (uint32_t)test_random_below(&random, 12);

		for (uint32_t i = 0; i < count; i++) {
			uint64_t grain = test_random_below(&random, 2) == 0 ? 1 : 64;
			uint64_t off = test_random_below(&random, SPACE_BYTES / grain) * grain;
			uint64_t len = (1 + test_random_below(&random, 700 / grain)) * grain;

			ranges[i] = range(off, pc_min64(len, SPACE_BYTES - off));
			ranges[i].kind = (uint32_t)test_random_below(&random, 4);
		}
		check_taken(ranges, count, &rule);
	}
}
END_TEST

START_TEST(neighbours_of_one_kind_become_one_run)
{
	const struct pc_zero_rule rule = { .align_bytes = 64, .zero_min = 192, .punch_min = 64 };
	struct pc_range ranges[] = { range(10, 100), range(110, 100), range(210, 100), range(310, 100), range(410, 100) };
	struct pc_overlay_piece *pieces;
	struct pc_zero_run *runs;
	uint32_t count;
	uint32_t run_count;

	for (unsigned i = 0; i < 5; i++)
		ranges[i].kind = i < 3 ? PC_RANGE_ZERO : PC_RANGE_PUNCH;
	ck_assert_int_eq(pc_overlay(ranges, 5, &pieces, &count), 0);
	ck_assert_int_eq(pc_overlay_take_zeroes(ranges, &rule, &pieces, &count, &runs, &run_count), 0);
	ck_assert_uint_eq(run_count, 2);
	ck_assert(runs[0].off == 64 && runs[0].len == 192 && !runs[0].punch);
	ck_assert(runs[1].off == 320 && runs[1].len == 128 && runs[1].punch);
	ck_assert_uint_eq(count, 4);
	free(pieces);
	free(runs);
}
END_TEST

START_TEST(data_alone_is_left_as_it_is)
{
	const struct pc_zero_rule rule = { .align_bytes = 64, .zero_min = 64, .punch_min = 64 };
	const struct pc_range ranges[] = { range(0, 1000), range(5, 10) };
	struct pc_overlay_piece *pieces;
	const struct pc_overlay_piece *before;
	struct pc_zero_run *runs = NULL;
	uint32_t count;
	uint32_t run_count = 0;

	ck_assert_int_eq(pc_overlay(ranges, 2, &pieces, &count), 0);
	before = pieces;
	ck_assert_int_eq(pc_overlay_take_zeroes(ranges, &rule, &pieces, &count, &runs, &run_count), 0);
	ck_assert(pieces == before && count == 3 && runs == NULL && run_count == 0);
	free(pieces);
}
END_TEST

START_TEST(zeroes_without_memory_fail_and_change_nothing)
{
	const struct pc_zero_rule rule = { .align_bytes = 64, .zero_min = 64, .punch_min = 64 };
	struct pc_range ranges[] = { range(0, 1000), range(5, 10) };
	struct pc_overlay_piece *pieces;
	const struct pc_overlay_piece *before;
	struct pc_zero_run *runs = NULL;
	uint32_t count;
	uint32_t run_count = 0;

	if (!failing_memory_works())
		return;
	ranges[0].kind = PC_RANGE_ZERO;
	ck_assert_int_eq(pc_overlay(ranges, 2, &pieces, &count), 0);
	before = pieces;
	for (unsigned nth = 1; nth <= 2; nth++) {
		failing_memory_arm(nth);
		ck_assert_int_eq(pc_overlay_take_zeroes(ranges, &rule, &pieces, &count, &runs, &run_count), -ENOMEM);
		ck_assert(failing_memory_disarm());
		ck_assert_int_eq(failing_memory_held(), 0);
		ck_assert(pieces == before && count == 3 && runs == NULL);
	}
	free(pieces);
}
END_TEST

START_TEST(overlay_without_memory_fails_and_leaks_nothing)
{
	const struct pc_range ranges[] = { range(0, 10), range(5, 10) };
	struct pc_overlay_piece *pieces = NULL;
	uint32_t count = 7;
	unsigned failures = 0;
	int ret;

	if (!failing_memory_works())
		return;
	do {
		failing_memory_arm(failures + 1);
		ret = pc_overlay(ranges, 2, &pieces, &count);
		if (!failing_memory_disarm())
			break;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_int_eq(failing_memory_held(), 0);
		ck_assert_ptr_null(pieces);
		ck_assert_uint_eq(count, 7);
		failures++;
	} while (true);
	ck_assert_int_eq(ret, 0);
	ck_assert_uint_ge(failures, 1);
	free(pieces);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlay");
	TCase *tcase = case_new(suite, "overlay");

	tcase_add_test(tcase, overlay_of_nothing_is_empty);
	tcase_add_test(tcase, overlay_of_one_range_is_that_range);
	tcase_add_test(tcase, overlay_of_any_three_short_ranges_is_the_newest_of_each_byte);
	tcase_add_test(tcase, overlay_of_identical_ranges_is_the_last_one);
	tcase_add_loop_test(tcase, overlay_of_nested_ranges_shows_what_newer_ones_leave, 0, 2);
	tcase_add_test(tcase, overlay_of_adjacent_ranges_keeps_them_apart);
	tcase_add_test(tcase, overlay_of_random_ranges_equals_painting);
	tcase_add_test(tcase, overlay_of_many_ranges_equals_painting);
	tcase_add_test(tcase, overlay_without_memory_fails_and_leaks_nothing);
	tcase_add_test(tcase, zeroes_that_are_long_enough_become_runs);
	tcase_add_test(tcase, neighbours_of_one_kind_become_one_run);
	tcase_add_test(tcase, data_alone_is_left_as_it_is);
	tcase_add_test(tcase, zeroes_without_memory_fail_and_change_nothing);
	return pc_run_suite(suite);
}
