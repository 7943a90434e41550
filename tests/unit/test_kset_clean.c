/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_kset_clean.c - lib/kset.c: lines of clean segments. What is valid is found, what is not is a miss, and what was
 * killed stays dead whatever becomes of the rest of its line.
 *
 * Method: every line; every bit flipped, and every word torn, with and without the kill.
 */
#include "kset_lines.h"

#define BLOCKS ((uint32_t)(ROOM / (PCM_BLOCK / PCM_UNIT + 1)))
#define OFF    (7ull * PCM_BLOCK)

static struct pc_key clean_key(uint32_t line)
{
	return (struct pc_key){
		.off = OFF,
		.len = PCM_BLOCK,
		.data_off = PCM_SEGMENT_HEADER + line * PCM_BLOCK,
		.data_crc = 0xc4c4c4c4u,
		.stored_len = PCM_BLOCK,
	};
}

static void put_key(uint32_t line, const struct pc_key *key)
{
	struct pc_kset kset = kset_of(1);

	encode(line, &kset, key);
}

static void put_clean(uint32_t line)
{
	struct pc_key key = clean_key(line);

	put_key(line, &key);
}

static void kill_line(uint32_t line)
{
	memcpy(line_at(line) + 24, "PCKilled", 8);
}

static enum pc_clean_line decode(uint32_t line, struct pc_key *ret_key)
{
	memset(ret_key, 0xee, sizeof(*ret_key));
	return pc_kset_decode_clean(&scope, &lines, line, ret_key);
}

static enum pc_clean_line kind_of(uint32_t line)
{
	struct pc_key key;
	enum pc_clean_line kind = decode(line, &key);

	EXPECT(kind != PC_CLEAN_VALID || (key.len == PCM_BLOCK && key.off == OFF));
	EXPECT(kind != PC_CLEAN_NONE || key.len == 0);
	return kind;
}

START_TEST(places_in_a_clean_segment_follow_from_the_line)
{
	ck_assert_uint_eq(pc_clean_blocks(SEGMENT_BYTES), BLOCKS);
	ck_assert_uint_eq(pc_clean_blocks(16384), 1);
	ck_assert_uint_eq(pc_clean_blocks(65536), 13);
	ck_assert_uint_eq(pc_clean_data_off(0), PCM_SEGMENT_HEADER);
	ck_assert_uint_eq(pc_clean_data_off(5), PCM_SEGMENT_HEADER + 5 * 4096);
	ck_assert_uint_eq(pc_kill_off(SEGMENT_BYTES, 3), SEGMENT_BYTES - 4 * 64 + 24);
	for (uint32_t bytes = 16384; bytes <= PCM_SEGMENT_MAX; bytes *= 2) {
		uint32_t blocks = pc_clean_blocks(bytes);

		/* the last block does not reach its line */
		ck_assert_uint_le(pc_clean_data_off(blocks - 1) + PCM_BLOCK, pc_line_off(bytes, blocks - 1));
		ck_assert_uint_gt(pc_clean_data_off(blocks) + PCM_BLOCK, pc_line_off(bytes, blocks));
	}
}
END_TEST

START_TEST(line_of_any_number_is_valid)
{
	for (uint32_t line = 0; line < BLOCKS; line++)
		put_clean(line);
	for (uint32_t line = 0; line < BLOCKS; line++) {
		struct pc_key key;

		EXPECT(decode(line, &key) == PC_CLEAN_VALID);
		EXPECT(key.off == OFF && key.len == PCM_BLOCK && key.stored_len == PCM_BLOCK);
		EXPECT(key.data_off == PCM_SEGMENT_HEADER + line * PCM_BLOCK && key.data_crc == 0xc4c4c4c4u);
	}
}
END_TEST

START_TEST(line_with_leftovers_is_none)
{
	for (uint32_t line = 0; line < LINES_MAX; line++)
		ck_assert_int_eq(kind_of(line), PC_CLEAN_NONE);
	memset(buffer, 0, sizeof(buffer));
	ck_assert_int_eq(kind_of(0), PC_CLEAN_NONE);
}
END_TEST

/* Neither in a later life of the segment, nor in another line. */
START_TEST(line_out_of_its_place_or_time_is_none)
{
	const struct pc_kset_scope later = {
		.seed = SEED + 1, .segment_bytes = SEGMENT_BYTES, .seq = SEQ, .backing_bytes = BACKING_BYTES
	};
	const struct pc_kset_scope other_seq = {
		.seed = SEED, .segment_bytes = SEGMENT_BYTES, .seq = SEQ + 1, .backing_bytes = BACKING_BYTES
	};
	struct pc_key key;

	put_clean(4);
	memcpy(line_at(5), line_at(4), PCM_LINE);
	ck_assert_int_eq(kind_of(4), PC_CLEAN_VALID);
	ck_assert_int_eq(kind_of(5), PC_CLEAN_NONE);
	ck_assert_int_eq(pc_kset_decode_clean(&later, &lines, 4, &key), PC_CLEAN_NONE);
	ck_assert_int_eq(pc_kset_decode_clean(&other_seq, &lines, 4, &key), PC_CLEAN_NONE);
}
END_TEST

START_TEST(line_that_is_killed_says_what_it_was)
{
	struct pc_key key;

	put_clean(9);
	kill_line(9);
	ck_assert_int_eq(decode(9, &key), PC_CLEAN_KILLED);
	ck_assert(key.off == OFF && key.len == PCM_BLOCK && key.data_crc == 0xc4c4c4c4u);
	kill_line(9);
	ck_assert_int_eq(decode(9, &key), PC_CLEAN_KILLED);
}
END_TEST

/* To other readers of key sets a killed line is nothing. */
START_TEST(line_that_is_killed_is_no_valid_key_set)
{
	put_clean(9);
	ck_assert(is_valid(9));
	kill_line(9);
	ck_assert(!is_valid(9));
}
END_TEST

START_TEST(kill_over_leftovers_is_dead_without_a_key)
{
	struct pc_key key;

	kill_line(3);
	ck_assert_int_eq(decode(3, &key), PC_CLEAN_KILLED);
	ck_assert_uint_eq(key.len, 0);
	ck_assert_uint_eq(key.off, 0);
}
END_TEST

/* The media decays by a bit: never valid; and one that was killed stays so, unless the word of the kill decayed. */
START_TEST(line_with_any_bit_flipped_is_none_and_killed_stays_killed)
{
	for (unsigned bit = 0; bit < 8 * PCM_LINE; bit++) {
		bool in_kill_word = bit / 64 == 3;

		put_clean(2);
		line_at(2)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		EXPECT(kind_of(2) == PC_CLEAN_NONE);
		put_clean(2);
		kill_line(2);
		line_at(2)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		EXPECT(kind_of(2) == (in_kill_word ? PC_CLEAN_NONE : PC_CLEAN_KILLED));
	}
}
END_TEST

/* Any of its eight words are new, the others leftovers: valid with all of them, else nothing; the kill is one word. */
START_TEST(line_that_is_torn_is_none_and_the_kill_never_is)
{
	for (unsigned words = 0; words < 256; words++) {
		uint8_t old[PCM_LINE];
		uint8_t new[PCM_LINE];

		test_random_fill(&numbers, old, sizeof(old));
		put_clean(6);
		memcpy(new, line_at(6), sizeof(new));
		for (unsigned i = 0; i < 8; i++)
			memcpy(line_at(6) + 8 * i, (words >> i & 1 ? new : old) + 8 * i, 8);
		EXPECT(kind_of(6) == (words == 255 ? PC_CLEAN_VALID : PC_CLEAN_NONE));
		kill_line(6);
		EXPECT(kind_of(6) == PC_CLEAN_KILLED);
	}
}
END_TEST

/* A whole key set, right checksum and all, that no clean segment can have. */
START_TEST(key_that_no_clean_segment_has_is_none)
{
	struct pc_key keys[9];
	struct pc_key killed;

	for (unsigned i = 0; i < 9; i++)
		keys[i] = clean_key(10);
	keys[0].off = OFF + 512;
	keys[1].len = keys[1].stored_len = PCM_BLOCK - 1;
	keys[2].len = keys[2].stored_len = 2 * PCM_BLOCK;
	keys[3].data_off += PCM_UNIT;
	keys[4].data_off -= PCM_BLOCK;
	keys[5].stored_len = 0;
	keys[6].off = BACKING_BYTES;
	keys[7].flags = 1;
	keys[8].flags = PCM_KEY_ZERO; /* in WRITE this would be one */
	keys[8].data_crc = keys[8].stored_len = 0;
	for (unsigned i = 0; i < 9; i++) {
		put_key(10, &keys[i]);
		EXPECT(kind_of(10) == PC_CLEAN_NONE);
		kill_line(10);
		EXPECT(decode(10, &killed) == PC_CLEAN_KILLED && killed.len == 0);
	}
}
END_TEST

/* The last block of a backing that is no multiple of a block is not whole. */
START_TEST(key_past_the_end_of_the_backing_is_none)
{
	struct pc_kset_scope small = scope;
	struct pc_key key;

	put_clean(1);
	small.backing_bytes = OFF + PCM_BLOCK;
	ck_assert_int_eq(pc_kset_decode_clean(&small, &lines, 1, &key), PC_CLEAN_VALID);
	small.backing_bytes--;
	ck_assert_int_eq(pc_kset_decode_clean(&small, &lines, 1, &key), PC_CLEAN_NONE);
}
END_TEST

START_TEST(void_and_longer_key_sets_are_none)
{
	struct pc_kset void_kset = { .seq = SEQ, .is_void = true };
	struct pc_kset pair = kset_of(2);
	struct pc_key keys[2] = { clean_key(20), clean_key(21) };

	encode(20, &void_kset, NULL);
	ck_assert_int_eq(kind_of(20), PC_CLEAN_NONE);
	encode(20, &pair, keys);
	ck_assert(is_valid(20));
	ck_assert_int_eq(kind_of(20), PC_CLEAN_NONE);
}
END_TEST

/* Signed, but by nobody who keeps to the format: nothing has looked at the key's bounds. */
START_TEST(void_with_a_key_behind_it_is_none)
{
	struct pc_kset void_kset = { .seq = SEQ, .is_void = true };
	uint8_t line[PCM_LINE];
	uint8_t key[PCM_LINE];
	le32 crc = pc_le32(0);

	put_clean(20);
	memcpy(key, line_at(20), PCM_LINE);
	encode(20, &void_kset, NULL);
	memcpy(line, line_at(20), PCM_LINE);
	memcpy(line + 32, key + 32, 32);
	memcpy(line + offsetof(struct pcm_kset, crc), &crc, 4);
	crc = pc_le32(bitwise_crc32c(SEED ^ 20, line, PCM_LINE));
	memcpy(line + offsetof(struct pcm_kset, crc), &crc, 4);
	memcpy(line_at(20), line, PCM_LINE);
	ck_assert(is_valid(20)); /* as a VOID */
	ck_assert_int_eq(kind_of(20), PC_CLEAN_NONE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kset_clean");
	TCase *tcase = case_new(suite, "kset_clean");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, places_in_a_clean_segment_follow_from_the_line);
	tcase_add_test(tcase, line_of_any_number_is_valid);
	tcase_add_test(tcase, line_with_leftovers_is_none);
	tcase_add_test(tcase, line_out_of_its_place_or_time_is_none);
	tcase_add_test(tcase, line_that_is_killed_says_what_it_was);
	tcase_add_test(tcase, line_that_is_killed_is_no_valid_key_set);
	tcase_add_test(tcase, kill_over_leftovers_is_dead_without_a_key);
	tcase_add_test(tcase, line_with_any_bit_flipped_is_none_and_killed_stays_killed);
	tcase_add_test(tcase, line_that_is_torn_is_none_and_the_kill_never_is);
	tcase_add_test(tcase, key_that_no_clean_segment_has_is_none);
	tcase_add_test(tcase, key_past_the_end_of_the_backing_is_none);
	tcase_add_test(tcase, void_and_longer_key_sets_are_none);
	tcase_add_test(tcase, void_with_a_key_behind_it_is_none);
	return pc_run_suite(suite);
}
