/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_kset.c - lib/kset.c: what was encoded comes back, from the places and with the bytes that the format says.
 *
 * Method: random key sets of every size in a segment's lines (kset_lines.h). The layout is pinned by bytes that were
 * computed elsewhere.
 */
#include "kset_lines.h"

#include <errno.h>

/* ---- round trips ---- */

static void check_round_trip(uint32_t line, uint32_t count)
{
	static struct pc_key keys[PCM_KSET_MAX_KEYS];
	struct pc_kset in = kset_of(count);
	struct pc_kset out;

	in.durable_below = (uint32_t)test_random_below(&numbers, line + 1);
	for (uint32_t i = 0; i < count; i++)
		keys[i] = random_key();
	encode(line, &in, keys);
	EXPECT(pc_kset_decode(&scope, &lines, line, &out));
	EXPECT(out.seq == SEQ && out.count == count && !out.is_void);
	EXPECT(out.lines == (count + 2) / 2);
	EXPECT(out.durable_below == in.durable_below);
	for (uint32_t i = 0; i < count; i++) {
		struct pc_key key = pc_kset_key(&lines, line, i);

		EXPECT(key.off == keys[i].off && key.len == keys[i].len);
		EXPECT(key.data_off == keys[i].data_off && key.data_crc == keys[i].data_crc);
		EXPECT(key.stored_len == keys[i].stored_len && key.flags == 0);
	}
}

START_TEST(kset_of_any_number_of_keys_comes_back)
{
	for (uint32_t count = 1; count <= PCM_KSET_MAX_KEYS; count++) {
		check_round_trip(0, count);
		check_round_trip((uint32_t)test_random_below(&numbers, LINES_MAX - pc_kset_lines(count) + 1), count);
	}
}
END_TEST

START_TEST(kset_of_keys_with_and_without_data_comes_back)
{
	static const uint16_t flags[] = { 0, PCM_KEY_ZERO, PCM_KEY_DISCARD, PCM_KEY_INVALIDATE };
	struct pc_kset kset = kset_of(PC_ARRAY_SIZE(flags));
	struct pc_key keys[PC_ARRAY_SIZE(flags)];

	for (unsigned i = 0; i < kset.count; i++) {
		keys[i] = random_key();
		keys[i].flags = flags[i];
		if (flags[i] != 0)
			keys[i].data_crc = keys[i].stored_len = 0;
	}
	encode(7, &kset, keys);
	ck_assert(is_valid(7));
	for (unsigned i = 0; i < kset.count; i++) {
		struct pc_key key = pc_kset_key(&lines, 7, i);

		ck_assert(key.flags == flags[i] && key.off == keys[i].off && key.len == keys[i].len);
		ck_assert(key.stored_len == keys[i].stored_len && key.data_off == keys[i].data_off);
		ck_assert_uint_eq(pc_key_units(key.stored_len),
				  flags[i] != 0 ? 1 : (key.len + PCM_UNIT - 1) / PCM_UNIT);
	}
}
END_TEST

START_TEST(kset_in_any_line_comes_back)
{
	for (uint32_t line = 0; line < LINES_MAX; line++)
		check_round_trip(line, 1);
}
END_TEST

/* The first line of the buffer need not be line 0, nor the last one the end of the segment's log. */
START_TEST(kset_in_a_part_of_the_lines_comes_back)
{
	struct pc_key key = random_key();
	struct pc_kset kset = kset_of(1);

	key.data_off = PCM_SEGMENT_HEADER;
	for (lines.end = LINES_MAX; lines.end < ROOM - PCM_KEY_MAX_BYTES / PCM_LINE; lines.end += 1000) {
		encode(lines.end - 1, &kset, &key);
		encode(lines.end - LINES_MAX, &kset, &key);
		ck_assert(is_valid(lines.end - 1));
		ck_assert(is_valid(lines.end - LINES_MAX));
	}
}
END_TEST

START_TEST(ksets_in_a_row_do_not_disturb_each_other)
{
	struct pc_key keys[4] = { random_key(), random_key(), random_key(), random_key() };
	uint32_t line = 0;

	for (uint32_t count = 1; count <= 4; count++) {
		struct pc_kset kset = kset_of(count);

		encode(line, &kset, keys);
		line += pc_kset_lines(count);
	}
	ck_assert_uint_eq(line, 1 + 2 + 2 + 3);
	ck_assert(is_valid(0) && is_valid(1) && is_valid(3) && is_valid(5));
	ck_assert(!is_valid(2) && !is_valid(4) && !is_valid(6) && !is_valid(7) && !is_valid(8));
}
END_TEST

START_TEST(kset_that_is_void_takes_one_line)
{
	struct pc_kset kset = { .seq = SEQ, .durable_below = 3, .is_void = true };
	struct pc_kset out;

	ck_assert_uint_eq(pc_kset_lines(0), 1);
	encode(5, &kset, NULL);
	ck_assert(pc_kset_decode(&scope, &lines, 5, &out));
	ck_assert(out.is_void);
	ck_assert_uint_eq(out.count, 0);
	ck_assert_uint_eq(out.lines, 1);
	ck_assert_uint_eq(out.durable_below, 3);
}
END_TEST

START_TEST(places_of_lines_and_slots_are_counted_from_the_end)
{
	ck_assert_uint_eq(pc_segment_room(SEGMENT_BYTES), ROOM);
	ck_assert_uint_eq(pc_line_off(SEGMENT_BYTES, 0), SEGMENT_BYTES - 64);
	ck_assert_uint_eq(pc_line_off(SEGMENT_BYTES, 10), SEGMENT_BYTES - 11 * 64);
	ck_assert_uint_eq(pc_slot_off(SEGMENT_BYTES, 0), SEGMENT_BYTES - 64);
	ck_assert_uint_eq(pc_slot_off(SEGMENT_BYTES, 1), SEGMENT_BYTES - 32);
	ck_assert_uint_eq(pc_slot_off(SEGMENT_BYTES, 21), SEGMENT_BYTES - 11 * 64 + 32);
	for (uint32_t keys = 1; keys <= PCM_KSET_MAX_KEYS; keys++)
		EXPECT(pc_kset_lines(keys) * PCM_LINE - (keys + 1) * sizeof(struct pcm_key) < PCM_LINE);
}
END_TEST

/* Slot 2 * line + i + 1 names key i of the kset at that line, wherever it came from. */
START_TEST(key_is_found_from_its_slot)
{
	uint8_t segment[LINES_MAX * PCM_LINE];
	struct pc_key keys[7];
	struct pc_kset kset = kset_of(7);
	uint32_t line = 11;

	for (unsigned i = 0; i < 7; i++)
		keys[i] = random_key();
	encode(line, &kset, keys);
	memcpy(segment, buffer, sizeof(segment)); /* a segment of just these lines */
	for (uint32_t i = 0; i < 7; i++) {
		struct pcm_key raw;
		struct pc_key key;

		memcpy(&raw, segment + pc_slot_off(sizeof(segment), 2 * line + i + 1), sizeof(raw));
		key = pc_key_decode(&raw);
		ck_assert_uint_eq(key.off, keys[i].off);
		ck_assert_uint_eq(key.data_crc, keys[i].data_crc);
	}
}
END_TEST

/* A media that can only be read: byte i is i, mixed. */
static uint8_t media_byte(uint64_t off)
{
	return (uint8_t)(off * 41 + (off >> 8));
}

static int media_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	if (off + len > media->size_bytes)
		return -EIO;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = media_byte(off + i);
	return 0;
}

START_TEST(lines_read_are_those_asked_for)
{
	static const struct pc_media_ops ops = { .read = media_read };
	struct pc_media media = { .ops = &ops, .size_bytes = 1u << 20 };
	uint64_t end = 1u << 19;
	struct pc_lines got = { 0 };

	buffer[5 * PCM_LINE] = 0xee;
	ck_assert_int_eq(pc_lines_read(&media, end, 10, 15, buffer, &got), 0);
	ck_assert_ptr_eq(got.buf, buffer);
	ck_assert_uint_eq(got.end, 15);
	lines = got;
	for (uint32_t line = 10; line < 15; line++)
		for (uint32_t i = 0; i < PCM_LINE; i++)
			ck_assert_uint_eq(line_at(line)[i], media_byte(end - PCM_LINE * (line + 1) + i));
	ck_assert_uint_eq(buffer[5 * PCM_LINE], 0xee);
}
END_TEST

START_TEST(lines_read_from_failing_media_gives_its_error)
{
	static const struct pc_media_ops ops = { .read = media_read };
	struct pc_media media = { .ops = &ops, .size_bytes = 100 };
	struct pc_lines got = { .end = 77 };

	ck_assert_int_eq(pc_lines_read(&media, 1u << 19, 0, 1, buffer, &got), -EIO);
	ck_assert_uint_eq(got.end, 77);
}
END_TEST

/* ---- the format ---- */

/* docs/format.md by other means: two ksets, laid out and signed by a script that shares no code with this. */
START_TEST(kset_has_the_bytes_of_the_format)
{
	static const uint8_t uuid[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	static const uint8_t expected[2 * PCM_LINE] = {
		0x50, 0x43, 0x73, 0x6b, 0xfc, 0x9e, 0x5b, 0x12, 0x02, 0x00, 0x20, 0x00, 0x0b, 0x0a, 0x00, 0x00,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x90, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x40, 0x20, 0x00, 0x00,
		0xef, 0xbe, 0xad, 0xde, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x23, 0xa1, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x40, 0x30, 0x00, 0x00,
		0x04, 0x03, 0x02, 0x01, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	static const uint8_t expected_void[PCM_LINE] = {
		0x50, 0x43, 0x73, 0x6b, 0xb4, 0x11, 0xdf, 0xe7, 0x00, 0x00, 0x20, 0x01, 0x01, 0x00, 0x00, 0x00,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	const struct pc_key keys[2] = {
		{ .off = 0x123456789000, .len = 0x1000, .stored_len = 0x1000, .data_off = 0x2040, .data_crc = 0xdeadbeef },
		{ .off = 0x12345678a123, .len = 0x7, .stored_len = 0x7, .data_off = 0x3040, .data_crc = 0x01020304 },
	};
	const struct pc_kset kset = { .seq = 0x1122334455667788, .count = 2, .durable_below = 0x0a0b };
	const struct pc_kset kset_void = { .seq = 0x1122334455667788, .durable_below = 1, .is_void = true };
	uint32_t seed = pc_kset_seed(uuid, 0x0102030405);
	uint8_t got[2 * PCM_LINE];

	memset(got, 0xff, sizeof(got));
	pc_kset_encode(seed, 0x0c0d, &kset, keys, got);
	ck_assert_mem_eq(got, expected, sizeof(expected));
	memset(got, 0xff, sizeof(got));
	pc_kset_encode(seed, 0x0c0f, &kset_void, NULL, got);
	ck_assert_mem_eq(got, expected_void, sizeof(expected_void));
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, kset_of_any_number_of_keys_comes_back);
	tcase_add_test(tcase, kset_of_keys_with_and_without_data_comes_back);
	tcase_add_test(tcase, kset_in_any_line_comes_back);
	tcase_add_test(tcase, kset_in_a_part_of_the_lines_comes_back);
	tcase_add_test(tcase, ksets_in_a_row_do_not_disturb_each_other);
	tcase_add_test(tcase, kset_that_is_void_takes_one_line);
	tcase_add_test(tcase, places_of_lines_and_slots_are_counted_from_the_end);
	tcase_add_test(tcase, key_is_found_from_its_slot);
	tcase_add_test(tcase, lines_read_are_those_asked_for);
	tcase_add_test(tcase, lines_read_from_failing_media_gives_its_error);
	tcase_add_test(tcase, kset_has_the_bytes_of_the_format);
}

int main(void)
{
	Suite *suite = suite_create("kset");
	TCase *tcase = case_new(suite, "kset");

	tcase_add_checked_fixture(tcase, setup, NULL);
	add_tests(tcase);
	return pc_run_suite(suite);
}
