/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_content.c - tools/trace/content.c: a block with any bit changed, or of another place or version, is not taken
 * for the right one.
 */
#include "content.h"
#include "unit/support.h"

START_TEST(content_fits_only_its_block_and_version)
{
	static const uint64_t blocks[] = { 0, 1, 2, 1000000, UINT64_MAX / TRACE_BLOCK_BYTES };
	static const uint32_t versions[] = { 0, 1, 2, UINT32_MAX };
	uint8_t content[TRACE_BLOCK_BYTES];

	for (unsigned b = 0; b < 5; b++) {
		for (unsigned v = 0; v < 4; v++) {
			trace_content_fill(content, blocks[b], versions[v]);
			for (unsigned ob = 0; ob < 5; ob++)
				for (unsigned ov = 0; ov < 4; ov++)
					EXPECT(trace_content_is(content, blocks[ob], versions[ov]) ==
					       (b == ob && v == ov));
		}
	}
}
END_TEST

/* A block that was put together from two is noticed wherever they meet. */
START_TEST(content_of_versions_has_nothing_in_common)
{
	uint8_t old[TRACE_BLOCK_BYTES];
	uint8_t new[TRACE_BLOCK_BYTES];
	uint8_t elsewhere[TRACE_BLOCK_BYTES];

	trace_content_fill(old, 7, 3);
	trace_content_fill(new, 7, 4);
	trace_content_fill(elsewhere, 8, 3);
	for (unsigned at = 16; at < TRACE_BLOCK_BYTES; at += 8) {
		EXPECT(memcmp(old + at, new + at, 8) != 0);
		EXPECT(memcmp(old + at, elsewhere + at, 8) != 0);
	}
}
END_TEST

START_TEST(content_with_one_bit_changed_does_not_fit)
{
	uint8_t content[TRACE_BLOCK_BYTES];

	trace_content_fill(content, 7, 3);
	for (unsigned bit = 0; bit < 8 * TRACE_BLOCK_BYTES; bit++) {
		content[bit / 8] ^= (uint8_t)(1u << bit % 8);
		EXPECT(!trace_content_is(content, 7, 3));
		content[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert(trace_content_is(content, 7, 3));
}
END_TEST

START_TEST(description_names_what_is_there)
{
	uint8_t content[TRACE_BLOCK_BYTES];
	char text[80];

	trace_content_fill(content, 7, 3);
	trace_content_describe(content, text, sizeof(text));
	ck_assert_str_eq(text, "version 3 of block 7");
	content[TRACE_BLOCK_BYTES - 1] ^= 1;
	trace_content_describe(content, text, sizeof(text));
	ck_assert_str_eq(text, "no version of any block");
	memset(content, 0, sizeof(content));
	trace_content_describe(content, text, sizeof(text));
	ck_assert_str_eq(text, "zeroes");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("content");
	TCase *tcase = case_new(suite, "content");

	tcase_add_test(tcase, content_fits_only_its_block_and_version);
	tcase_add_test(tcase, content_of_versions_has_nothing_in_common);
	tcase_add_test(tcase, content_with_one_bit_changed_does_not_fit);
	tcase_add_test(tcase, description_names_what_is_there);
	return pc_run_suite(suite);
}
