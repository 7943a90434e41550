/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_kset_hostile.c - lib/kset.c believes nothing but a whole, right key set in its own place (K1 to K3).
 *
 * Method: every single byte of a good one is changed. Hostile ones carry a right CRC: they are encoded as they are, or
 * changed byte by byte and signed again by a CRC32C of the test's own.
 */
#include "kset_lines.h"

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
		key = key_on_backing(4096, lengths[i]); /* 0 bytes before 0 would pass a boundary */
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

/* Data never begins in the header, and never reaches the lines that speak of it. */
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

START_TEST(key_with_data_in_the_last_line_of_its_kset_is_invalid)
{
	for (uint32_t count = 1; count <= 9; count++) {
		struct pc_key keys[9];
		struct pc_kset kset = kset_of(count);
		uint32_t last_line_off = pc_line_off(SEGMENT_BYTES, 100 + pc_kset_lines(count) - 1);

		for (unsigned i = 0; i < 9; i++)
			keys[i] = key_on_backing(0, 100);
		keys[0].data_off = last_line_off - 128;
		encode(100, &kset, keys);
		ck_assert(is_valid(100));
		keys[0].data_off = last_line_off - 64;
		encode(100, &kset, keys);
		ck_assert(!is_valid(100));
	}
}
END_TEST

START_TEST(key_with_data_and_flags_is_invalid)
{
	struct pc_key key = key_on_backing(0, 64);

	for (unsigned bit = 0; bit < 16; bit++) {
		key.flags = (uint16_t)(1u << bit);
		refuse_key(&key);
	}
}
END_TEST

/* (K4) */
START_TEST(key_without_data_says_exactly_one_thing)
{
	struct pc_key key = { .off = 4096, .len = 4096, .data_off = PCM_SEGMENT_HEADER };

	for (unsigned flags = 0; flags <= UINT16_MAX; flags++) {
		key.flags = (uint16_t)flags;
		if (flags == PCM_KEY_ZERO || flags == PCM_KEY_DISCARD || flags == PCM_KEY_INVALIDATE)
			accept_key(100, &key);
		else if (flags < 64 || (flags & (flags - 1)) == 0)
			refuse_key(&key);
	}
	key.flags = PCM_KEY_ZERO;
	key.data_crc = 1;
	refuse_key(&key);
	key.data_crc = 0;
	key.stored_len = 1;
	refuse_key(&key);
	key.stored_len = key.len;
	refuse_key(&key);
}
END_TEST

/* Its one unit is as much in the segment as data would be, and its range as much on the backing. */
START_TEST(key_without_data_is_bounded_as_one_with)
{
	struct pc_key key = { .off = 0, .len = PCM_KEY_MAX_BYTES, .flags = PCM_KEY_ZERO };
	uint32_t line_off = pc_line_off(SEGMENT_BYTES, 100);

	key.data_off = line_off - PCM_UNIT;
	accept_key(100, &key);
	key.data_off = line_off;
	refuse_key(&key);
	key.data_off = line_off - PCM_UNIT - 1;
	refuse_key(&key);
	key.data_off = PCM_SEGMENT_HEADER - PCM_UNIT;
	refuse_key(&key);
	key.data_off = PCM_SEGMENT_HEADER;
	key.len++;
	refuse_key(&key);
	key.len = 0;
	refuse_key(&key);
	key.len = PCM_KEY_MAX_BYTES;
	key.off = 1;
	refuse_key(&key);
	key.off = BACKING_BYTES;
	refuse_key(&key);
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
	uint32_t crc = SEED ^ line;
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
	tcase_add_loop_test(tcase, kset_with_any_byte_changed_is_invalid, 1, 5);
	tcase_add_test(tcase, kset_of_another_life_place_or_segment_is_invalid);
	tcase_add_test(tcase, key_outside_its_bounds_on_the_backing_is_invalid);
	tcase_add_test(tcase, key_at_the_end_of_a_small_backing_is_bounded_by_it);
	tcase_add_test(tcase, key_with_impossible_length_is_invalid);
	tcase_add_test(tcase, key_with_data_out_of_place_is_invalid);
	tcase_add_test(tcase, key_with_data_in_the_last_line_of_its_kset_is_invalid);
	tcase_add_test(tcase, key_with_data_and_flags_is_invalid);
	tcase_add_test(tcase, key_without_data_says_exactly_one_thing);
	tcase_add_test(tcase, key_without_data_is_bounded_as_one_with);
	tcase_add_test(tcase, kset_with_more_keys_than_allowed_is_invalid);
	tcase_add_test(tcase, kset_that_reaches_beyond_the_last_line_is_invalid);
	tcase_add_test(tcase, kset_that_calls_its_own_line_durable_is_invalid);
	tcase_add_test(tcase, kset_with_void_and_keys_or_neither_is_invalid);
	tcase_add_test(tcase, kset_with_reserved_bits_is_invalid);
	tcase_add_test(tcase, lines_of_noise_with_right_crc_never_give_more_than_they_hold);
}

int main(void)
{
	Suite *suite = suite_create("kset_hostile");
	TCase *tcase = case_new(suite, "kset");

	tcase_add_checked_fixture(tcase, setup, NULL);
	add_tests(tcase);
	return pc_run_suite(suite);
}
