/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_crc32c.c - lib/crc32c.c computes CRC32C as RFC 3720 defines it, for every length, place and division in pieces.
 *
 * Method: the published vectors, and an implementation bit by bit as the oracle.
 */
#include "crc32c.h"
#include "support.h"

#include <sys/mman.h>

#define GIB (1ul << 30)

START_TEST(crc_of_published_vectors_is_as_published)
{
	static const struct {
		const char *text;
		uint32_t crc;
	} texts[] = {
		{ "a", 0xc1d04330u },
		{ "123456789", 0xe3069283u },
		{ "The quick brown fox jumps over the lazy dog", 0x22620404u },
	};
	uint8_t zeroes[32] = { 0 };
	uint8_t ones[32];
	uint8_t rising[32];
	uint8_t falling[32];

	for (uint8_t i = 0; i < 32; i++) {
		ones[i] = 0xff;
		rising[i] = i;
		falling[i] = (uint8_t)(31 - i);
	}
	ck_assert_uint_eq(pc_crc32c(0, zeroes, 32), 0x8a9136aau);
	ck_assert_uint_eq(pc_crc32c(0, ones, 32), 0x62a8ab43u);
	ck_assert_uint_eq(pc_crc32c(0, rising, 32), 0x46dd794eu);
	ck_assert_uint_eq(pc_crc32c(0, falling, 32), 0x113fdb5cu);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_uint_eq(pc_crc32c(0, texts[i].text, strlen(texts[i].text)), texts[i].crc);
}
END_TEST

START_TEST(crc_of_nothing_is_its_seed)
{
	uint8_t byte = 1;

	ck_assert_uint_eq(pc_crc32c(0, &byte, 0), 0);
	ck_assert_uint_eq(pc_crc32c(0x12345678u, &byte, 0), 0x12345678u);
}
END_TEST

START_TEST(crc_of_every_length_and_alignment_equals_bitwise)
{
	struct test_random random = random_of(1);
	uint8_t bytes[600 + 8];

	test_random_fill(&random, bytes, sizeof(bytes));
	for (size_t start = 0; start < 8; start++)
		for (size_t len = 0; len <= 600; len++) {
			uint32_t seed = (uint32_t)test_random_next(&random);

			EXPECT(pc_crc32c(seed, bytes + start, len) == bitwise_crc32c(seed, bytes + start, len));
		}
}
END_TEST

START_TEST(crc_in_pieces_equals_crc_at_once)
{
	struct test_random random = random_of(2);
	uint8_t bytes[4096];
	uint32_t whole;

	test_random_fill(&random, bytes, sizeof(bytes));
	whole = pc_crc32c(7, bytes, sizeof(bytes));
	for (unsigned round = 0; round < 1000; round++) {
		uint32_t crc = 7;

		for (size_t at = 0; at < sizeof(bytes);) {
			size_t len = test_random_below(&random, sizeof(bytes) - at + 1);

			crc = pc_crc32c(crc, bytes + at, len);
			at += len;
		}
		ck_assert_uint_eq(crc, whole);
	}
}
END_TEST

START_TEST(crc_with_leading_zeroes_differs)
{
	static const uint8_t bytes[10] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 2 };

	for (size_t zeroes = 1; zeroes <= 8; zeroes++)
		ck_assert_uint_ne(pc_crc32c(0, bytes + 8 - zeroes, zeroes + 2), pc_crc32c(0, bytes + 8, 2));
}
END_TEST

/* Longer than one piece of the implementation: nothing is left out or done twice. The pages are all the zero page. */
START_TEST(crc_of_more_than_a_gibibyte_equals_crc_of_its_quarters)
{
	size_t len = 2 * GIB + 12345;
	uint8_t *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint32_t crc = 0;

	ck_assert_ptr_ne(bytes, MAP_FAILED);
	bytes[GIB - 1] = 1;
	bytes[GIB] = 2;
	bytes[2 * GIB] = 3;
	bytes[len - 1] = 4;
	for (size_t at = 0; at < len; at += GIB / 4)
		crc = pc_crc32c(crc, bytes + at, len - at < GIB / 4 ? len - at : GIB / 4);
	ck_assert_uint_eq(pc_crc32c(0, bytes, len), crc);
	munmap(bytes, len);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("crc32c");
	TCase *tcase = case_new(suite, "crc32c");

	tcase_add_test(tcase, crc_of_published_vectors_is_as_published);
	tcase_add_test(tcase, crc_of_nothing_is_its_seed);
	tcase_add_test(tcase, crc_of_every_length_and_alignment_equals_bitwise);
	tcase_add_test(tcase, crc_in_pieces_equals_crc_at_once);
	tcase_add_test(tcase, crc_with_leading_zeroes_differs);
	tcase_add_test(tcase, crc_of_more_than_a_gibibyte_equals_crc_of_its_quarters);
	return pc_run_suite(suite);
}
