/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_kset.c - lib/kset.c: what was encoded comes back, and nothing else is believed (K1 to K3).
 *
 * Method: a segment's lines in memory, as they lie on the media. Hostile ones carry a right CRC: they are encoded as
 * they are, or changed byte by byte and signed again by a CRC32C of the test's own. The layout is pinned by bytes that
 * were computed elsewhere.
 */
#include "kset.h"
#include "support.h"
#include "util.h"

#include <errno.h>

#define SEGMENT_BYTES (1u << 20)
#define ROOM          ((SEGMENT_BYTES - PCM_SEGMENT_HEADER) / PCM_LINE)
#define BACKING_BYTES (1ull << 40)
#define SEED          0x5eed5eedu
#define SEQ           0x0102030405060708ull
#define LINES_MAX     600u /* in the buffer */

static const struct pc_kset_scope scope = {
	.seed = SEED,
	.segment_bytes = SEGMENT_BYTES,
	.seq = SEQ,
	.backing_bytes = BACKING_BYTES,
};

static uint8_t buffer[LINES_MAX * PCM_LINE];
static struct pc_lines lines;
static struct test_random numbers;

static void setup(void)
{
	numbers = random_of(21);
	test_random_fill(&numbers, buffer, sizeof(buffer)); /* leftovers */
	lines = (struct pc_lines){ .buf = buffer, .end = LINES_MAX };
}

/* Line n of the segment; they lie downwards. */
static uint8_t *line_at(uint32_t line)
{
	return buffer + (size_t)(lines.end - 1 - line) * PCM_LINE;
}

/* Lines in ascending order, put where they belong. */
static void put(uint32_t line, const uint8_t *ascending, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		memcpy(line_at(line + i), ascending + (size_t)i * PCM_LINE, PCM_LINE);
}

static void encode(uint32_t line, const struct pc_kset *kset, const struct pc_key *keys)
{
	uint8_t ascending[LINES_MAX * PCM_LINE];

	test_random_fill(&numbers, ascending, sizeof(ascending));
	pc_kset_encode(SEED, line, kset, keys, ascending);
	put(line, ascending, pc_kset_lines(kset->count));
}

static bool is_valid(uint32_t line)
{
	struct pc_kset kset;

	return pc_kset_decode(&scope, &lines, line, &kset);
}

/* A key that is within all bounds at any line of the buffer. */
static struct pc_key random_key(void)
{
	uint32_t within = (uint32_t)test_random_below(&numbers, PCM_KEY_MAX_BYTES);
	uint32_t len = 1 + (uint32_t)test_random_below(&numbers, PCM_KEY_MAX_BYTES - within);
	uint32_t units = (SEGMENT_BYTES - LINES_MAX * PCM_LINE - PCM_SEGMENT_HEADER - PCM_KEY_MAX_BYTES) / PCM_UNIT;

	return (struct pc_key){
		.off = test_random_below(&numbers, BACKING_BYTES / PCM_KEY_MAX_BYTES) * PCM_KEY_MAX_BYTES + within,
		.len = len,
		.data_off = PCM_SEGMENT_HEADER + PCM_UNIT * (uint32_t)test_random_below(&numbers, units),
		.data_crc = (uint32_t)test_random_next(&numbers),
		.stored_len = len,
	};
}

static struct pc_kset kset_of(uint32_t count)
{
	return (struct pc_kset){ .seq = SEQ, .count = count };
}

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

	for (lines.end = LINES_MAX; lines.end < ROOM; lines.end += 1000) {
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

/* ---- the format ---- */

/* docs/format.md by other means: two ksets, laid out and signed by a script that shares no code with this. */
START_TEST(kset_has_the_bytes_of_the_format)
{
	static const uint8_t uuid[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	static const uint8_t expected[2 * PCM_LINE] = {
		0x50, 0x43, 0x73, 0x6b, 0x0f, 0x2a, 0xb3, 0x0c, 0x02, 0x00, 0x20, 0x00, 0x0b, 0x0a, 0x00, 0x00,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x90, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x40, 0x20, 0x00, 0x00,
		0xef, 0xbe, 0xad, 0xde, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x23, 0xa1, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x40, 0x30, 0x00, 0x00,
		0x04, 0x03, 0x02, 0x01, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	static const uint8_t expected_void[PCM_LINE] = {
		0x50, 0x43, 0x73, 0x6b, 0xc2, 0xd5, 0xd7, 0x58, 0x00, 0x00, 0x20, 0x01, 0x01, 0x00, 0x00, 0x00,
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

/* ---- what is not believed ---- */

/* _i: number of keys */
START_TEST(kset_with_any_byte_changed_is_invalid)
{
	struct pc_key keys[] = { random_key(), random_key(), random_key(), random_key() };
	struct pc_kset kset = kset_of((uint32_t)_i);
	uint32_t line = 40;

	encode(line, &kset, keys);
	for (uint32_t at = 0; at < pc_kset_lines((uint32_t)_i) * PCM_LINE; at++) {
		uint8_t *byte = line_at(line + at / PCM_LINE) + at % PCM_LINE;

		for (unsigned change = 1; change < 256; change++) {
			*byte ^= (uint8_t)change;
			EXPECT(!is_valid(line));
			*byte ^= (uint8_t)change;
		}
	}
	ck_assert(is_valid(line));
}
END_TEST

/* (K1) */
START_TEST(kset_of_another_life_place_or_segment_is_invalid)
{
	static const uint8_t uuid[2][16] = { "the one cache..", "the other cache" };
	uint32_t seeds[] = { pc_kset_seed(uuid[0], 7), pc_kset_seed(uuid[0], 8), pc_kset_seed(uuid[1], 7),
			     pc_kset_seed(uuid[0], 7ull << 32) };
	struct pc_key key = random_key();
	struct pc_kset kset = kset_of(1);
	struct pc_kset_scope other = scope;
	struct pc_kset out;
	uint8_t line[PCM_LINE];

	for (unsigned written = 0; written < PC_ARRAY_SIZE(seeds); written++) {
		pc_kset_encode(seeds[written], 9, &kset, &key, line);
		put(9, line, 1);
		put(10, line, 1);
		put(8, line, 1);
		for (unsigned found = 0; found < PC_ARRAY_SIZE(seeds); found++) {
			other.seed = seeds[found];
			ck_assert(pc_kset_decode(&other, &lines, 9, &out) == (found == written));
			ck_assert(!pc_kset_decode(&other, &lines, 8, &out));
			ck_assert(!pc_kset_decode(&other, &lines, 10, &out));
		}
		other.seed = seeds[written];
		other.seq = SEQ + 1;
		ck_assert(!pc_kset_decode(&other, &lines, 9, &out));
		other.seq = SEQ;
	}
}
END_TEST

/* One key, one field of it hostile; the CRC is right. */
static void refuse_key(const struct pc_key *key)
{
	struct pc_key keys[3] = { random_key(), random_key(), random_key() };
	struct pc_kset kset = kset_of(3);

	encode(100, &kset, keys);
	ck_assert(is_valid(100));
	for (unsigned i = 0; i < 3; i++) {
		struct pc_key kept = keys[i];

		keys[i] = *key;
		encode(100, &kset, keys);
		ck_assert_msg(!is_valid(100), "key %u: off %#jx len %#x data_off %#x stored %#x flags %#x", i,
			      (uintmax_t)key->off, key->len, key->data_off, key->stored_len, key->flags);
		keys[i] = kept;
	}
}

static void accept_key(uint32_t line, const struct pc_key *key)
{
	struct pc_kset kset = kset_of(1);

	encode(line, &kset, key);
	ck_assert_msg(is_valid(line), "off %#jx len %#x data_off %#x", (uintmax_t)key->off, key->len, key->data_off);
}

static struct pc_key key_on_backing(uint64_t off, uint32_t len)
{
	return (struct pc_key){ .off = off, .len = len, .stored_len = len, .data_off = PCM_SEGMENT_HEADER };
}

START_TEST(key_outside_its_bounds_on_the_backing_is_invalid)
{
	static const uint64_t boundaries[] = { PCM_KEY_MAX_BYTES, 1ull << 39, BACKING_BYTES - PCM_KEY_MAX_BYTES };
	struct pc_key key;

	for (unsigned i = 0; i < PC_ARRAY_SIZE(boundaries); i++) {
		key = key_on_backing(boundaries[i] - 1, 2);
		refuse_key(&key);
		key = key_on_backing(boundaries[i] - 1, 1);
		accept_key(0, &key);
		key = key_on_backing(boundaries[i] - PCM_KEY_MAX_BYTES, PCM_KEY_MAX_BYTES);
		accept_key(0, &key);
		key = key_on_backing(boundaries[i] - PCM_KEY_MAX_BYTES + 1, PCM_KEY_MAX_BYTES);
		refuse_key(&key);
	}
	key = key_on_backing(BACKING_BYTES - 1, 1);
	accept_key(0, &key);
	key = key_on_backing(BACKING_BYTES - 1, 2);
	refuse_key(&key);
	key = key_on_backing(BACKING_BYTES, 1);
	refuse_key(&key);
	key = key_on_backing(UINT64_MAX, 1);
	refuse_key(&key);
	key = key_on_backing(UINT64_MAX - 4095, 4096);
	refuse_key(&key);
	key = key_on_backing(1ull << 63, 4096);
	refuse_key(&key);
}
END_TEST

START_TEST(key_at_the_end_of_a_small_backing_is_bounded_by_it)
{
	struct pc_kset_scope small = scope;
	struct pc_kset kset = kset_of(1);
	struct pc_kset out;

	for (small.backing_bytes = 0; small.backing_bytes < 20; small.backing_bytes++)
		for (uint64_t off = 0; off < 22; off++)
			for (uint32_t len = 1; len < 22; len++) {
				struct pc_key key = key_on_backing(off, len);

				encode(0, &kset, &key);
				EXPECT(pc_kset_decode(&small, &lines, 0, &out) == (off + len <= small.backing_bytes));
			}
}
END_TEST

START_TEST(key_with_impossible_length_is_invalid)
{
	static const uint32_t lengths[] = { 0, PCM_KEY_MAX_BYTES + 1, 2 * PCM_KEY_MAX_BYTES, 1u << 31, UINT32_MAX };
	struct pc_key key;

	for (unsigned i = 0; i < PC_ARRAY_SIZE(lengths); i++) {
		key = key_on_backing(0, lengths[i]);
		refuse_key(&key);
		key = key_on_backing(0, 4096);
		key.stored_len = lengths[i];
		refuse_key(&key);
	}
	key = key_on_backing(0, 4096);
	key.stored_len = 4095;
	refuse_key(&key);
	key.stored_len = 4097;
	refuse_key(&key);
}
END_TEST

/* Data never begins in the header, and never reaches the line that speaks of it. */
START_TEST(key_with_data_out_of_place_is_invalid)
{
	static const uint32_t wrong[] = { 0, 64, PCM_SEGMENT_HEADER - 64, PCM_SEGMENT_HEADER + 1, PCM_SEGMENT_HEADER + 32,
					  PCM_SEGMENT_HEADER + 63, SEGMENT_BYTES, SEGMENT_BYTES - 64, UINT32_MAX - 63,
					  UINT32_MAX };
	struct pc_key key = key_on_backing(0, 64);
	uint32_t line_off = pc_line_off(SEGMENT_BYTES, 100);

	for (unsigned i = 0; i < PC_ARRAY_SIZE(wrong); i++) {
		key.data_off = wrong[i];
		refuse_key(&key);
	}
	key = key_on_backing(0, 128);
	key.data_off = line_off - 128;
	accept_key(100, &key);
	key.data_off = line_off - 64;
	refuse_key(&key);
	key = key_on_backing(0, 129);
	key.data_off = line_off - 128;
	refuse_key(&key);
	key = key_on_backing(0, 1);
	key.data_off = line_off;
	refuse_key(&key);
	key = key_on_backing(0, PCM_KEY_MAX_BYTES);
	key.data_off = line_off - PCM_KEY_MAX_BYTES;
	accept_key(100, &key);
	key.data_off += 64;
	refuse_key(&key);
}
END_TEST

START_TEST(key_with_flags_is_invalid)
{
	struct pc_key key = key_on_backing(0, 64);

	for (unsigned bit = 0; bit < 16; bit++) {
		key.flags = (uint16_t)(1u << bit);
		refuse_key(&key);
	}
}
END_TEST

START_TEST(kset_with_more_keys_than_allowed_is_invalid)
{
	static struct pc_key keys[PCM_KSET_MAX_KEYS + 1];
	struct pc_kset kset = kset_of(PCM_KSET_MAX_KEYS);

	for (uint32_t i = 0; i <= PCM_KSET_MAX_KEYS; i++)
		keys[i] = random_key();
	encode(0, &kset, keys);
	ck_assert(is_valid(0));
	kset.count++;
	encode(0, &kset, keys);
	ck_assert(!is_valid(0));
}
END_TEST

/* All its bytes are there and its CRC is right, but the log ends before. */
START_TEST(kset_that_reaches_beyond_the_last_line_is_invalid)
{
	struct pc_key keys[9];
	uint8_t *start = buffer;

	for (unsigned i = 0; i < 9; i++)
		keys[i] = random_key();
	for (uint32_t count = 1; count <= 9; count++) {
		struct pc_kset kset = kset_of(count);

		encode(20, &kset, keys);
		for (uint32_t end = 21; end < 30; end++) {
			lines = (struct pc_lines){ .buf = start + (LINES_MAX - end) * PCM_LINE, .end = end };
			ck_assert(is_valid(20) == (20 + pc_kset_lines(count) <= end));
		}
		lines = (struct pc_lines){ .buf = start, .end = LINES_MAX };
	}
}
END_TEST

START_TEST(kset_that_calls_its_own_line_durable_is_invalid)
{
	static const uint32_t lines_above[] = { 1, 2, 1000, UINT32_MAX - 50 };
	struct pc_key key = random_key();
	struct pc_kset kset = kset_of(1);

	kset.durable_below = 50;
	encode(50, &kset, &key);
	ck_assert(is_valid(50));
	for (unsigned i = 0; i < PC_ARRAY_SIZE(lines_above); i++) {
		kset.durable_below = 50 + lines_above[i];
		encode(50, &kset, &key);
		ck_assert(!is_valid(50));
	}
}
END_TEST

START_TEST(kset_with_void_and_keys_or_neither_is_invalid)
{
	struct pc_key keys[3] = { random_key(), random_key(), random_key() };
	struct pc_kset kset = kset_of(0);

	encode(50, &kset, keys);
	ck_assert(!is_valid(50));
	kset.is_void = true;
	for (kset.count = 1; kset.count <= 3; kset.count++) {
		encode(50, &kset, keys);
		ck_assert(!is_valid(50));
	}
}
END_TEST

/* ---- fields that the encoder never sets ---- */

static void sign(uint32_t line, uint32_t count)
{
	le32 line_on_media = pc_le32(line);
	uint32_t crc = bitwise_crc32c(SEED, &line_on_media, sizeof(line_on_media));
	le32 crc_on_media = pc_le32(0);

	memcpy(line_at(line) + offsetof(struct pcm_kset, crc), &crc_on_media, sizeof(crc_on_media));
	for (uint32_t i = 0; i < count; i++)
		crc = bitwise_crc32c(crc, line_at(line + i), PCM_LINE);
	crc_on_media = pc_le32(crc);
	memcpy(line_at(line) + offsetof(struct pcm_kset, crc), &crc_on_media, sizeof(crc_on_media));
}

/* Bits set where the format says 0, or one value: 1-key ksets, everything signed anew. */
START_TEST(kset_with_reserved_bits_is_invalid)
{
	static const struct {
		size_t from;
		size_t to;
	} fixed[] = {
		{ offsetof(struct pcm_kset, magic), offsetof(struct pcm_kset, crc) },
		{ offsetof(struct pcm_kset, key_bytes), offsetof(struct pcm_kset, durable_below) },
		{ offsetof(struct pcm_kset, order), sizeof(struct pcm_kset) },
		{ 32 + offsetof(struct pcm_key, flags), 32 + offsetof(struct pcm_key, stored_len) },
		{ 32 + offsetof(struct pcm_key, reserved), 32 + sizeof(struct pcm_key) },
	};
	struct pc_key key = random_key();
	struct pc_kset kset = kset_of(1);

	encode(70, &kset, &key);
	sign(70, 1);
	ck_assert_msg(is_valid(70), "the test's own signature");
	for (unsigned i = 0; i < PC_ARRAY_SIZE(fixed); i++)
		for (size_t at = fixed[i].from; at < fixed[i].to; at++)
			for (unsigned bit = 0; bit < 8; bit++) {
				line_at(70)[at] ^= (uint8_t)(1u << bit);
				sign(70, 1);
				ck_assert_msg(!is_valid(70), "byte %zu bit %u", at, bit);
				line_at(70)[at] ^= (uint8_t)(1u << bit);
			}
}
END_TEST

/* Any 64 bytes with a right CRC: believed only if every field is in its bounds, and never read beyond the lines. */
START_TEST(lines_of_noise_with_right_crc_never_give_more_than_they_hold)
{
	uint32_t believed = 0;

	for (unsigned round = 0; round < scaled(200000); round++) {
		struct pc_key keys[2] = { random_key(), random_key() };
		struct pc_kset kset = kset_of(1 + round % 2);
		uint32_t count = pc_kset_lines(kset.count);
		struct pc_kset out;

		lines.end = 3 + round % 3;
		encode(1, &kset, keys);
		for (uint64_t changes = 1 + test_random_below(&numbers, 3); changes > 0; changes--) {
			uint32_t at = (uint32_t)test_random_below(&numbers, count * PCM_LINE);

			line_at(1 + at / PCM_LINE)[at % PCM_LINE] = (uint8_t)test_random_next(&numbers);
		}
		sign(1, count);
		if (!pc_kset_decode(&scope, &lines, 1, &out))
			continue;
		believed++;
		EXPECT(out.seq == SEQ && out.durable_below <= 1 && out.lines == pc_kset_lines(out.count));
		EXPECT(1 + out.lines <= lines.end);
		for (uint32_t i = 0; i < out.count; i++) {
			struct pc_key key = pc_kset_key(&lines, 1, i);

			EXPECT(key.len >= 1 && key.len <= PCM_KEY_MAX_BYTES && key.off + key.len <= BACKING_BYTES);
			EXPECT(key.data_off >= PCM_SEGMENT_HEADER && key.data_off % PCM_UNIT == 0);
			EXPECT(key.data_off + key.len <= pc_line_off(SEGMENT_BYTES, 1));
		}
	}
	ck_assert_uint_gt(believed, 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, kset_of_any_number_of_keys_comes_back);
	tcase_add_test(tcase, kset_in_any_line_comes_back);
	tcase_add_test(tcase, kset_in_a_part_of_the_lines_comes_back);
	tcase_add_test(tcase, ksets_in_a_row_do_not_disturb_each_other);
	tcase_add_test(tcase, kset_that_is_void_takes_one_line);
	tcase_add_test(tcase, places_of_lines_and_slots_are_counted_from_the_end);
	tcase_add_test(tcase, key_is_found_from_its_slot);
	tcase_add_test(tcase, kset_has_the_bytes_of_the_format);
	tcase_add_loop_test(tcase, kset_with_any_byte_changed_is_invalid, 1, 5);
	tcase_add_test(tcase, kset_of_another_life_place_or_segment_is_invalid);
	tcase_add_test(tcase, key_outside_its_bounds_on_the_backing_is_invalid);
	tcase_add_test(tcase, key_at_the_end_of_a_small_backing_is_bounded_by_it);
	tcase_add_test(tcase, key_with_impossible_length_is_invalid);
	tcase_add_test(tcase, key_with_data_out_of_place_is_invalid);
	tcase_add_test(tcase, key_with_flags_is_invalid);
	tcase_add_test(tcase, kset_with_more_keys_than_allowed_is_invalid);
	tcase_add_test(tcase, kset_that_reaches_beyond_the_last_line_is_invalid);
	tcase_add_test(tcase, kset_that_calls_its_own_line_durable_is_invalid);
	tcase_add_test(tcase, kset_with_void_and_keys_or_neither_is_invalid);
	tcase_add_test(tcase, kset_with_reserved_bits_is_invalid);
	tcase_add_test(tcase, lines_of_noise_with_right_crc_never_give_more_than_they_hold);
}

int main(void)
{
	Suite *suite = suite_create("kset");
	TCase *tcase = case_new(suite, "kset");

	tcase_add_checked_fixture(tcase, setup, NULL);
	add_tests(tcase);
	return pc_run_suite(suite);
}
