/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_backing_zero.c - ranges of zeroes: lib/backing_zero.c chooses a way and remembers what is refused (B7), a real file
 * does it, and the simulated backing leaves of it what a power cut may leave (SB5).
 *
 * Method: on the simulator each way is refused in turn, or fails; every byte of the image is compared. On a file, random
 * ranges against the model, with and without O_DIRECT.
 */
#include "backing_subject.h"
#include "sim_backing.h"

#define SIM_BYTES (3u << 20)
#define BLOCK     4096u

static struct sim_backing *sim;
static struct pc_backing *backing;
static uint8_t *model;

static void setup(void)
{
	ck_assert_int_eq(sim_backing_new(SIM_BYTES, 512, &sim), 0);
	backing = sim_backing_base(sim);
	model = malloc(SIM_BYTES);
	fill(model, SIM_BYTES);
	sim_backing_reset_to(sim, model);
}

static void teardown(void)
{
	ck_assert_uint_eq(sim_backing_counts(sim).misaligned, 0);
	ck_assert_uint_eq(sim_backing_counts(sim).past_the_end, 0);
	ck_assert_uint_eq(sim_backing_counts(sim).changed_in_flight, 0);
	sim_backing_free(sim);
	free(model);
}

static void zero(uint64_t off, uint64_t len, bool punch)
{
	ck_assert_int_eq(pc_backing_zero(backing, off, len, punch), 0);
	memset(model + off, 0, len);
	ck_assert_mem_eq(sim_backing_now(sim), model, SIM_BYTES);
}

START_TEST(range_is_zeroed_in_the_way_that_was_asked_for)
{
	zero(BLOCK, 5 * BLOCK, false);
	ck_assert_uint_eq(sim_backing_counts(sim).punches, 0);
	zero(8 * BLOCK, 3 * BLOCK, true);
	ck_assert_uint_eq(sim_backing_counts(sim).punches, 1);
	zero(0, SIM_BYTES, true);
	ck_assert_uint_eq(sim_backing_counts(sim).zeroes, 3);
	ck_assert_uint_eq(sim_backing_counts(sim).writes, 0);
	ck_assert_int_eq(pc_backing_zero(backing, 0, 0, false), 0);
	ck_assert_uint_eq(sim_backing_counts(sim).zeroes, 3);
}
END_TEST

/* (B7) _i: which errno says so */
START_TEST(way_that_is_refused_is_not_tried_again)
{
	static const int refusals[] = { -EOPNOTSUPP, -EINVAL, -ENOSYS };

	sim->punch_refused = refusals[_i];
	zero(BLOCK, BLOCK, true);
	ck_assert(backing->no_punch && !backing->no_zero);
	sim->punch_refused = 0;
	zero(3 * BLOCK, BLOCK, true);
	ck_assert_uint_eq(sim_backing_counts(sim).zeroes, 2);
	ck_assert_uint_eq(sim_backing_counts(sim).punches, 0);
	sim->zero_refused = refusals[_i];
	zero(5 * BLOCK, BLOCK, true);
	sim->zero_refused = 0;
	zero(7 * BLOCK, SIM_BYTES - 7 * BLOCK, false);
	ck_assert(backing->no_punch && backing->no_zero);
	ck_assert_uint_eq(sim_backing_counts(sim).zeroes, 2);
	ck_assert_uint_eq(sim_backing_counts(sim).write_bytes, SIM_BYTES - 6 * BLOCK);
}
END_TEST

START_TEST(error_of_a_range_is_told_and_hidden_by_no_other_way)
{
	sim_backing_inject(sim, SIM_ZERO_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_backing_zero(backing, 0, 4 * BLOCK, true), -EIO);
	ck_assert_uint_eq(sim_backing_counts(sim).writes, 0);
	ck_assert(!backing->no_punch && !backing->no_zero);
	sim->punch_refused = -ENOSPC;
	ck_assert_int_eq(pc_backing_zero(backing, 0, 4 * BLOCK, true), -ENOSPC);
	ck_assert(!backing->no_punch);
	sim->punch_refused = 0;
	zero(0, 4 * BLOCK, true);
	sim->zero_refused = -EOPNOTSUPP;
	sim_backing_inject(sim, SIM_WRITE_FAILS, 2, -EIO, false);
	ck_assert_int_eq(pc_backing_zero(backing, 0, 1u << 20, false), -EIO);
	zero(0, 1u << 20, false);
}
END_TEST

START_TEST(range_that_must_not_be_is_refused)
{
	ck_assert_int_eq(pc_backing_zero(backing, SIM_BYTES, BLOCK, false), -EINVAL);
	ck_assert_int_eq(pc_backing_zero(backing, BLOCK, SIM_BYTES, true), -EINVAL);
	ck_assert_int_eq(pc_backing_zero(backing, BLOCK, UINT64_MAX - 100, true), -EINVAL);
	backing->readonly = true;
	ck_assert_int_eq(pc_backing_zero(backing, 0, BLOCK, false), -EROFS);
	ck_assert_mem_eq(sim_backing_now(sim), model, SIM_BYTES);
	ck_assert(!backing->no_punch && !backing->no_zero);
}
END_TEST

/* ---- the simulator ---- */

static bool keep_odd(void *arg, size_t i, const struct sim_piece *piece)
{
	(void)arg;
	(void)piece;
	return i % 2 != 0;
}

START_TEST(crash_before_a_sync_leaves_any_sector_of_the_range)
{
	uint8_t *image = malloc(SIM_BYTES);

	ck_assert_int_eq(pc_backing_zero(backing, 2 * SIM_SECTOR, 4 * SIM_SECTOR, true), 0);
	ck_assert_uint_eq(sim_backing_pending(sim), 4);
	ck_assert(!sim_backing_all_synced(sim));
	sim_backing_crash_image(sim, image, keep_odd, NULL);
	memset(model + 3 * SIM_SECTOR, 0, SIM_SECTOR);
	memset(model + 5 * SIM_SECTOR, 0, SIM_SECTOR);
	ck_assert_mem_eq(image, model, SIM_BYTES);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	sim_backing_crash_image(sim, image, NULL, NULL);
	memset(model + 2 * SIM_SECTOR, 0, 4 * SIM_SECTOR);
	ck_assert_mem_eq(image, model, SIM_BYTES);
	ck_assert(sim_backing_all_synced(sim));
	free(image);
}
END_TEST

START_TEST(range_that_fails_is_done_in_part_and_owed)
{
	sim_backing_inject(sim, SIM_ZERO_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_backing_zero(backing, 0, 2 * SIM_SECTOR, false), -EIO);
	memset(model, 0, SIM_SECTOR);
	ck_assert_mem_eq(sim_backing_now(sim), model, SIM_BYTES);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(!sim_backing_all_synced(sim));
	zero(0, 2 * SIM_SECTOR, false);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(sim_backing_all_synced(sim));
}
END_TEST

/* ---- a file ---- */

/* _i: 1 with O_DIRECT */
START_TEST(ranges_of_a_file_are_zeroes_and_nothing_else_is)
{
	struct subject subject;

	if (!subject_open(&subject, FILE_SIZE, O_RDWR | (_i == 1 ? O_DIRECT : 0)))
		return;
	for (unsigned i = 0; i < 40; i++) {
		uint64_t blocks = FILE_SIZE / BLOCK;
		uint64_t first = random_below(blocks);
		uint64_t count = 1 + random_below(blocks - first);

		if (count > 20)
			count = 1 + count % 20;
		ck_assert_int_eq(pc_backing_zero(subject.backing, first * BLOCK, count * BLOCK, i % 2 == 0), 0);
		memset(subject.model + first * BLOCK, 0, count * BLOCK);
		run_random(&subject, PC_IO_WRITE, 2);
		subject_compare(&subject);
	}
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	fprintf(stderr, "# here: holes %s, zeroed ranges %s\n", subject.backing->no_punch ? "no" : "yes",
		subject.backing->no_zero ? "no" : "yes");
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("backing_zero");
	TCase *simulated = case_new(suite, "simulated");
	TCase *file = case_new(suite, "file");

	tcase_add_checked_fixture(simulated, setup, teardown);
	tcase_add_test(simulated, range_is_zeroed_in_the_way_that_was_asked_for);
	tcase_add_loop_test(simulated, way_that_is_refused_is_not_tried_again, 0, 3);
	tcase_add_test(simulated, error_of_a_range_is_told_and_hidden_by_no_other_way);
	tcase_add_test(simulated, range_that_must_not_be_is_refused);
	tcase_add_test(simulated, crash_before_a_sync_leaves_any_sector_of_the_range);
	tcase_add_test(simulated, range_that_fails_is_done_in_part_and_owed);
	tcase_add_loop_test(file, ranges_of_a_file_are_zeroes_and_nothing_else_is, 0, 2);
	return pc_run_suite(suite);
}
