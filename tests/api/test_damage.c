/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_damage.c - caches that were damaged, or written by a later version.
 *
 * Goal: what exists twice is repaired, what exists once is reported with its own errno, a refusal leaves both files as
 * they were, and damaged data never goes anywhere. Method: bytes of a closed cache are flipped; where a test needs a
 * wrong field under a right checksum it signs the record again, from format.h.
 */
#include "fixture.h"

#include "crc32c.h"
#include "format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_BYTES (2 * MIB)
#define SEGMENTS     ((CACHE_SMALL - PCM_HEADER_BYTES) / SEGMENT_SMALL)

/* --- a format from the future --- */

static void load_super(const struct fixture *fx, unsigned slot, struct pcm_super *ret_super)
{
	file_read(fx->cache_path, PCM_SUPER_OFF + slot * PCM_SLOT_STRIDE, ret_super, sizeof(*ret_super));
}

/* The superblock holds the UUID that seeds all others, and has no seed itself: see docs/format.md. */
static uint32_t super_crc(const struct pcm_super *super)
{
	struct pcm_super copy = *super;

	copy.record.crc = pc_le32(0);
	return pc_crc32c(0, &copy, sizeof(copy));
}

static void store_super(const struct fixture *fx, unsigned slot, struct pcm_super *super)
{
	super->record.crc = pc_le32(super_crc(super));
	file_write(fx->cache_path, PCM_SUPER_OFF + slot * PCM_SLOT_STRIDE, super, sizeof(*super));
}

enum future { FUTURE_VERSION, FUTURE_INCOMPAT, FUTURE_RO_COMPAT, FUTURE_COMPAT };

static void patch_super(const struct fixture *fx, unsigned slot, enum future future, uint64_t slot_seq_more)
{
	struct pcm_super super;

	load_super(fx, slot, &super);
	ck_assert_msg(pc_get32(super.record.crc) == super_crc(&super), "the test does not know the checksum");
	switch (future) {
	case FUTURE_VERSION: super.version = pc_le32(PCM_VERSION + 1); break;
	case FUTURE_INCOMPAT: super.incompat = pc_le64(1ull << 63); break;
	case FUTURE_RO_COMPAT: super.ro_compat = pc_le64(1ull << 63); break;
	case FUTURE_COMPAT: super.compat = pc_le64(1ull << 63); break;
	}
	super.record.slot_seq = pc_le64(pc_get64(super.record.slot_seq) + slot_seq_more);
	store_super(fx, slot, &super);
}

START_TEST(newer_format_in_both_slots_gives_eprotonosupport)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	patch_super(fx, 0, (enum future)_i, 0);
	patch_super(fx, 1, (enum future)_i, 0);
	fixture_refuse(fx, 0, -EPROTONOSUPPORT);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EPROTONOSUPPORT);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EPROTONOSUPPORT);
	fixture_free(fx);
}
END_TEST

START_TEST(newer_format_in_newest_slot_gives_eprotonosupport)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	patch_super(fx, (unsigned)_i, FUTURE_VERSION, 1);
	fixture_refuse(fx, 0, -EPROTONOSUPPORT);
	fixture_free(fx);
}
END_TEST

START_TEST(unknown_ro_compat_bit_allows_reading_only)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	patch_super(fx, 0, FUTURE_RO_COMPAT, 0);
	patch_super(fx, 1, FUTURE_RO_COMPAT, 0);
	fixture_refuse(fx, 0, -EPROTONOSUPPORT);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(unknown_compat_bit_is_ignored_and_kept)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	struct pcm_super super;

	patch_super(fx, 0, FUTURE_COMPAT, 0);
	patch_super(fx, 1, FUTURE_COMPAT, 0);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_write(fx, 0, 10000);
	fixture_close(fx, 0);
	load_super(fx, 0, &super);
	ck_assert_uint_eq(pc_get64(super.compat), 1ull << 63);
	fixture_free(fx);
}
END_TEST

/* --- a cache info that another one signed --- */

enum forgery { UNKNOWN_FLAG, TOO_HIGH_GC_PERCENT, LAST_EPOCH, DROPPING_TO_NOWHERE, FIRST_SEQ_ALONE, LAST_SEQ, DROPPING };

static void forge_info(const struct fixture *fx, enum forgery forgery)
{
	const le32 number = pc_le32(0);
	struct pcm_super super;
	struct pcm_info info;
	uint32_t seed;

	load_super(fx, 0, &super);
	seed = pc_crc32c(pc_crc32c(0, super.uuid, sizeof(super.uuid)), &number, sizeof(number));
	file_read(fx->cache_path, PCM_INFO_OFF, &info, sizeof(info));
	switch (forgery) {
	case UNKNOWN_FLAG: info.flags = pc_le32(1u << 31); break;
	case TOO_HIGH_GC_PERCENT: info.gc_percent = pc_le32(96); break;
	case LAST_EPOCH: info.epoch = pc_le64(UINT64_MAX); break;
	case FIRST_SEQ_ALONE: info.first_seq = pc_le64(9); break;
	case DROPPING_TO_NOWHERE: info.flags = pc_le32(PCM_INFO_DROPPING); break;
	case LAST_SEQ: info.first_seq = pc_le64(UINT64_MAX); info.flags = pc_le32(PCM_INFO_DROPPING); break;
	case DROPPING: info.first_seq = pc_le64(1000); info.flags = pc_le32(PCM_INFO_DROPPING); break;
	}
	info.record.crc = pc_le32(0);
	info.record.crc = pc_le32(pc_crc32c(seed, &info, sizeof(info)));
	file_write(fx->cache_path, PCM_INFO_OFF, &info, sizeof(info));
	file_write(fx->cache_path, PCM_INFO_OFF + PCM_SLOT_STRIDE, &info, sizeof(info));
}

START_TEST(cache_info_that_makes_no_sense_gives_euclean)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	forge_info(fx, (enum forgery)_i);
	fixture_refuse(fx, 0, -EUCLEAN);
	fixture_refuse(fx, PCACHE_OPEN_DISCARD_DIRTY, -EUCLEAN);
	fixture_free(fx);
}
END_TEST

START_TEST(drop_that_was_interrupted_is_finished_by_an_open_for_writing)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	forge_info(fx, DROPPING);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EROFS);
	fixture_open(fx, 0);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 0);
	ck_assert_uint_eq(fixture_stats(fx).head_seq, 1000);
	file_read(fx->backing_path, 0, fx->model, fx->bytes);
	fixture_check_all(fx);
	fixture_write(fx, 0, 100000);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* --- damage --- */

struct record_place {
	const char *name;
	uint64_t off; /* of slot A */
	uint32_t bytes;
};

static struct record_place record_place(unsigned number)
{
	switch (number) {
	case 0: return (struct record_place){ "superblock", PCM_SUPER_OFF, sizeof(struct pcm_super) };
	case 1: return (struct record_place){ "cache info", PCM_INFO_OFF, sizeof(struct pcm_info) };
	case 2: return (struct record_place){ "tails", PCM_TAILS_OFF, sizeof(struct pcm_tails) };
	default: break;
	}
	return (struct record_place){ "segment info", PCM_HEADER_BYTES + (number - 3) * SEGMENT_SMALL,
				      sizeof(struct pcm_segment) };
}

#define RECORDS (3 + SEGMENTS)

/* Every byte of a record is under its checksum: the place to damage is as good as any. */
static void damage(const struct fixture *fx, const struct record_place *place, unsigned slot, unsigned byte)
{
	file_flip(fx->cache_path, place->off + slot * PCM_SLOT_STRIDE + byte % place->bytes);
}

static bool slots_are_equal(const struct fixture *fx, const struct record_place *place)
{
	uint8_t slots[2][PCM_RECORD_MAX];

	file_read(fx->cache_path, place->off, slots[0], place->bytes);
	file_read(fx->cache_path, place->off + PCM_SLOT_STRIDE, slots[1], place->bytes);
	return memcmp(slots[0], slots[1], place->bytes) == 0;
}

/* Slot A of every record goes, then, after an open has repaired them, slot B of every record. */
START_TEST(one_damaged_slot_of_each_record_is_repaired)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < RECORDS; i++) {
			struct record_place place = record_place(i);

			damage(fx, &place, round % 2, round * 13 + i);
		}
		fixture_open(fx, 0);
		fixture_check_all(fx);
		fixture_close(fx, 0);
		for (unsigned i = 0; i < RECORDS; i++) {
			struct record_place place = record_place(i);

			ck_assert_msg(slots_are_equal(fx, &place), "%s %u was not repaired", place.name, i);
		}
	}
	fixture_open(fx, 0);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(damaged_slot_is_read_around_in_readonly_open)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	struct picture before;

	for (unsigned i = 0; i < RECORDS; i++) {
		struct record_place place = record_place(i);

		damage(fx, &place, i % 2, 20);
	}
	before = picture_take(fx->cache_path);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	fixture_check_all(fx);
	fixture_close(fx, 0);
	ck_assert(picture_is_same(fx->cache_path, &before));
	picture_free(&before);
	fixture_free(fx);
}
END_TEST

START_TEST(both_slots_of_a_record_damaged_give_euclean)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	for (unsigned i = 0; i < RECORDS; i++) {
		struct record_place place = record_place(i);

		damage(fx, &place, 0, i);
		damage(fx, &place, 1, 17 + i);
		fixture_refuse(fx, i % 2 == 0 ? 0 : PCACHE_OPEN_CREATE, -EUCLEAN);
		damage(fx, &place, 0, i);
		damage(fx, &place, 1, 17 + i);
	}
	fixture_open(fx, 0); /* flipped back: the refusals did no harm */
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

/* Number of a sealed WRITE segment with at least 4 lines, the nth of them. */
static unsigned sealed_segment(const struct fixture *fx, unsigned nth)
{
	for (unsigned i = 0; i < SEGMENTS; i++) {
		struct pcm_segment info;

		file_read(fx->cache_path, PCM_HEADER_BYTES + i * SEGMENT_SMALL, &info, sizeof(info));
		if (info.state == PCM_SEGMENT_SEALED && info.stream == 1 && pc_get32(info.lines) >= 4 && nth-- == 0)
			return i;
	}
	ck_abort_msg("no sealed segment");
}

START_TEST(damaged_line_in_sealed_dirty_segment_gives_ebadmsg)
{
	static const unsigned bytes[] = { 0, 5, 8, 16, 32, 41, 44, 48, 63 };
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	uint64_t segment_end = PCM_HEADER_BYTES + (sealed_segment(fx, (unsigned)_i % 3) + 1) * SEGMENT_SMALL;
	uint64_t line = segment_end - ((unsigned)_i % 4 + 1) * PCM_LINE;

	file_flip(fx->cache_path, line + bytes[_i]);
	fixture_refuse(fx, 0, -EBADMSG);
	fixture_refuse(fx, PCACHE_OPEN_CREATE, -EBADMSG);
	file_flip(fx->cache_path, line + bytes[_i]);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* The life in which the segment has this number of the log; false: there is none. */
static bool find_segment(const struct fixture *fx, uint64_t seq, unsigned *ret_id, struct pcm_segment *ret_info)
{
	for (unsigned i = 0; i < SEGMENTS; i++) {
		struct pcm_segment info;

		file_read(fx->cache_path, PCM_HEADER_BYTES + i * SEGMENT_SMALL, &info, sizeof(info));
		if (pc_get64(info.seq) != seq)
			continue;
		*ret_id = i;
		*ret_info = info;
		return true;
	}
	return false;
}

/* Both slots say, rightly signed, that the segment is free. */
static void forget_segment(const struct fixture *fx, unsigned id, const struct pcm_segment *info)
{
	uint64_t place = PCM_HEADER_BYTES + id * SEGMENT_SMALL;
	struct pcm_segment free_info = { .record = info->record, .gen = pc_le64(pc_get64(info->gen) + 1) };
	struct pcm_super super;
	le32 number = pc_le32(id);
	uint32_t seed;

	load_super(fx, 0, &super);
	seed = pc_crc32c(pc_crc32c(0, super.uuid, sizeof(super.uuid)), &number, sizeof(number));
	free_info.record.crc = pc_le32(0);
	free_info.record.crc = pc_le32(pc_crc32c(seed, &free_info, sizeof(free_info)));
	file_write(fx->cache_path, place, &free_info, sizeof(free_info));
	file_write(fx->cache_path, place + PCM_SLOT_STRIDE, &free_info, sizeof(free_info));
}

/* The first, one in the middle, the newest: the log may end nowhere but at its end. */
START_TEST(segment_missing_in_the_log_gives_ebadmsg)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	struct pcm_segment info;
	uint64_t newest = 1;
	uint64_t missing;
	unsigned id;

	while (find_segment(fx, newest + 1, &id, &info))
		newest++;
	ck_assert_uint_ge(newest, 3);
	missing = _i == 0 ? 1 : _i == 1 ? 2 : newest;
	ck_assert(find_segment(fx, missing, &id, &info));
	forget_segment(fx, id, &info);
	fixture_refuse(fx, 0, -EBADMSG);
	fixture_refuse(fx, PCACHE_OPEN_READONLY, -EBADMSG);
	fixture_free(fx);
}
END_TEST

/* One byte of it, in the cache; the first blocks lie in the first segment, which is sealed. */
static void damage_block(const struct fixture *fx, unsigned block)
{
	uint64_t place = file_find(fx->cache_path, fx->model + block * 4096, 4096);

	ck_assert_msg(place != UINT64_MAX, "block %u is not in the cache file", block);
	file_flip(fx->cache_path, place + 1000);
}

START_TEST(damaged_dirty_data_gives_ebadmsg_there_and_nowhere_else)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	uint8_t *buf = fx->scratch;

	damage_block(fx, 2);
	fixture_open(fx, 0);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 4096, 2 * 4096, 0), -EBADMSG);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 10, 2 * 4096 + 5, 0), -EBADMSG);
	ck_assert_int_eq(pcache_read(fx->cache, buf, 4096, 2 * 4096 + 4095, 0), -EBADMSG);
	ck_assert_uint_gt(fixture_stats(fx).checksum_errors, 0);
	ck_assert_uint_gt(fx->log_errors, 0);
	fixture_check(fx, 0, 2 * 4096);
	fixture_check(fx, 3 * 4096, VOLUME_BYTES - 3 * 4096);
	fixture_free(fx);
}
END_TEST

START_TEST(damaged_dirty_data_is_never_written_back)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);
	uint8_t original[4096];

	damage_block(fx, 2);
	file_read(fx->backing_path, 2 * 4096, original, sizeof(original));
	fixture_open(fx, 0);
	ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 0), -EBADMSG);
	fixture_close(fx, 0);
	file_read(fx->backing_path, 2 * 4096, fx->scratch, 4096);
	ck_assert_mem_eq(fx->scratch, original, sizeof(original));
	fixture_open(fx, 0);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	ck_assert_uint_eq(fixture_stats(fx).lost_bytes, 4096);
	ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 4096, 2 * 4096, 0), -EBADMSG);
	fixture_check(fx, 3 * 4096, VOLUME_BYTES - 3 * 4096);
	fixture_free(fx);
}
END_TEST

/* All else goes out, writers are not disturbed, however much they write, and the way out is to write it again. */
START_TEST(damaged_dirty_data_does_not_stop_write_back)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	damage_block(fx, 2);
	fixture_open(fx, 0);
	for (unsigned i = 0; i < 60; i++)
		fixture_write(fx, 512 * KIB + i % 20 * 65536, 65536);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 0), -EBADMSG);
	ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 1, 3 * 4096 - 1, 0), -EBADMSG);
	fixture_check(fx, 0, 2 * 4096);
	fixture_check(fx, 3 * 4096, VOLUME_BYTES - 3 * 4096);
	fixture_close(fx, 0);
	fixture_refuse(fx, PCACHE_OPEN_DROP_CLEAN, -ENOTEMPTY);
	fixture_open(fx, 0);
	fixture_write(fx, 2 * 4096, 4096);
	fixture_drain(fx);
	ck_assert_uint_eq(fixture_stats(fx).lost_bytes, 0);
	fixture_check_all(fx);
	fixture_check_backing(fx);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_DROP_CLEAN);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(damage_after_first_read_is_seen_by_verify_always)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	fx->config.read_verify = PCACHE_VERIFY_ALWAYS + 1;
	fixture_open(fx, 0);
	fixture_check_all(fx);
	damage_block(fx, 2);
	ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 4096, 2 * 4096, 0), -EBADMSG);
	fixture_check(fx, 0, 2 * 4096);
	fixture_free(fx);
}
END_TEST

START_TEST(damaged_data_is_healed_by_writing_it_again)
{
	struct fixture *fx = fixture_make_dirty(VOLUME_BYTES);

	damage_block(fx, 2);
	fixture_open(fx, 0);
	fixture_write(fx, 2 * 4096 - 100, 4300);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("damage");
	TCase *tests = test_case(suite, "damage");

	tcase_add_loop_test(tests, newer_format_in_both_slots_gives_eprotonosupport, 0, FUTURE_INCOMPAT + 1);
	tcase_add_loop_test(tests, newer_format_in_newest_slot_gives_eprotonosupport, 0, 2);
	tcase_add_test(tests, unknown_ro_compat_bit_allows_reading_only);
	tcase_add_loop_test(tests, cache_info_that_makes_no_sense_gives_euclean, 0, DROPPING);
	tcase_add_test(tests, drop_that_was_interrupted_is_finished_by_an_open_for_writing);
	tcase_add_test(tests, unknown_compat_bit_is_ignored_and_kept);
	tcase_add_test(tests, one_damaged_slot_of_each_record_is_repaired);
	tcase_add_test(tests, damaged_slot_is_read_around_in_readonly_open);
	tcase_add_test(tests, both_slots_of_a_record_damaged_give_euclean);
	tcase_add_loop_test(tests, segment_missing_in_the_log_gives_ebadmsg, 0, 3);
	tcase_add_loop_test(tests, damaged_line_in_sealed_dirty_segment_gives_ebadmsg, 0, 9);
	tcase_add_test(tests, damaged_dirty_data_gives_ebadmsg_there_and_nowhere_else);
	tcase_add_test(tests, damaged_dirty_data_is_never_written_back);
	tcase_add_test(tests, damaged_dirty_data_does_not_stop_write_back);
	tcase_add_test(tests, damage_after_first_read_is_seen_by_verify_always);
	tcase_add_test(tests, damaged_data_is_healed_by_writing_it_again);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
