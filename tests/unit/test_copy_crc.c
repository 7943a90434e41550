/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Goal: the copy that computes the checksum on its way copies every byte, no other, and computes what crc32c.c does.
 * Method: random blocks at all alignments of the source, guard bytes around the target, ISA-L's result as the truth.
 */
#include "runner.h"

#include "copy_crc.h"
#include "crc32c.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 64u

static uint8_t source[PC_COPY_CRC_BYTES + 64];
static _Alignas(64) uint8_t target[PC_COPY_CRC_BYTES + 2 * GUARD];

static void fill_source(unsigned seed)
{
	srand(seed);
	for (size_t i = 0; i < sizeof(source); i++)
		source[i] = (uint8_t)rand();
}

static void check_block(const uint8_t *from, uint32_t seed)
{
	uint32_t crc;

	memset(target, 0xa5, sizeof(target));
	crc = pc_copy_crc_block(seed, target + GUARD, from);
	ck_assert_uint_eq(crc, pc_crc32c(seed, from, PC_COPY_CRC_BYTES));
	ck_assert_int_eq(memcmp(target + GUARD, from, PC_COPY_CRC_BYTES), 0);
	for (size_t i = 0; i < GUARD; i++) {
		ck_assert_uint_eq(target[i], 0xa5);
		ck_assert_uint_eq(target[GUARD + PC_COPY_CRC_BYTES + i], 0xa5);
	}
}

START_TEST(block_from_any_alignment_is_copied_and_checksummed)
{
	if (!pc_copy_crc_init())
		return;
	for (unsigned i = 0; i < 64; i++) {
		fill_source(i + 1);
		check_block(source + i, i * 0x9e3779b1u);
	}
}
END_TEST

START_TEST(each_single_bit_of_a_block_changes_the_checksum_as_isal_says)
{
	if (!pc_copy_crc_init())
		return;
	memset(source, 0, sizeof(source));
	for (size_t bit = 0; bit < 8 * (size_t)PC_COPY_CRC_BYTES; bit += 97) {
		source[bit / 8] = (uint8_t)(1u << bit % 8);
		check_block(source, 0);
		source[bit / 8] = 0;
	}
}
END_TEST

START_TEST(blocks_in_a_row_chain_to_the_checksum_of_all)
{
	uint8_t all[3 * PC_COPY_CRC_BYTES];
	uint32_t crc = 0;

	if (!pc_copy_crc_init())
		return;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * i >> 3);
	for (size_t off = 0; off < sizeof(all); off += PC_COPY_CRC_BYTES)
		crc = pc_copy_crc_block(crc, target + GUARD, all + off);
	ck_assert_uint_eq(crc, pc_crc32c(0, all, sizeof(all)));
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("copy_crc");
	TCase *tcase = tcase_create("copy_crc");

	tcase_add_test(tcase, block_from_any_alignment_is_copied_and_checksummed);
	tcase_add_test(tcase, each_single_bit_of_a_block_changes_the_checksum_as_isal_says);
	tcase_add_test(tcase, blocks_in_a_row_chain_to_the_checksum_of_all);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return pc_run_suite(suite());
}
