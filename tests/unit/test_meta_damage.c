/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_meta_damage.c - lib/meta.c: a slot that is damaged, lost or out of place is noticed and replaced, and a record
 * that reads differently the second time is left alone (T1, T3, T4).
 *
 * Method: each byte of each slot is changed in every way; slots are poisoned, moved, signed for something else, or
 * changed between load and repair. Looped tests run for both sizes of record on each kind of media.
 */
#include "meta_fixture.h"

START_TEST(slot_with_any_byte_changed_is_bad_and_the_other_one_counts)
{
	for (unsigned slot = 0; slot < 2; slot++)
		for (uint32_t at = 0; at < record_bytes; at++) {
			uint64_t off = RECORD_OFF + 4096u * slot + at;

			for (unsigned change = 1; change < 256; change++) {
				struct record record;

				meta = meta_at(RECORD_OFF, NUMBER);
				sim_media_flip(sim, off, (uint8_t)change);
				EXPECT(pc_meta_load(media, &meta, &record) == 0);
				EXPECT(is_version(&record, 1));
				EXPECT(meta.slot_newest == !slot && meta.slot_stale);
				sim_media_flip(sim, off, (uint8_t)change);
			}
			sim_media_flip(sim, off, 0x80);
			EXPECT(repair(media) == 0);
			EXPECT(is_at_rest(sim, 1));
		}
}
END_TEST

START_TEST(slot_that_cannot_be_read_is_replaced)
{
	for (unsigned slot = 0; slot < 2; slot++) {
		for (uint32_t at = 0; at < record_bytes; at += PC_CACHE_LINE)
			sim_media_poison(sim, RECORD_OFF + 4096u * slot + at);
		load(media, 1);
		ck_assert(meta.slot_stale);
		ck_assert_uint_eq(meta.slot_newest, !slot);
		ck_assert_int_eq(repair(media), 0);
		ck_assert(is_at_rest(sim, 1));
		load(media, 1);
		ck_assert(!meta.slot_stale);
	}
}
END_TEST

/* The record that was decided from must not give way to another one: what reads differently now is left alone. */
static void check_repair_is_refused(uint32_t version)
{
	struct pc_meta loaded = meta;

	sim_media_fail(sim, SIM_ANY & ~SIM_READ, 1, -ENODATA, true);
	ck_assert_int_eq(pc_meta_repair(media, &meta), -EIO);
	ck_assert_msg(!sim_media_has_failed(sim), "something was stored");
	no_faults();
	ck_assert_uint_eq(meta.slot_seq, loaded.slot_seq);
	ck_assert_uint_eq(meta.slot_newest, loaded.slot_newest);
	load(media, version);
}

START_TEST(repair_of_what_reads_differently_now_stores_nothing)
{
	start_from(START_B_OLDER, _i);
	sim_media_flip(sim, RECORD_OFF + 40, 1);
	check_repair_is_refused(2);

	start_from(START_B_OLDER, _i);
	sim_media_poison(sim, RECORD_OFF);
	check_repair_is_refused(2);

	/* The newest slot could not be read just once. */
	start_from(START_B_OLDER, _i);
	sim_media_fail(sim, SIM_READ, 1, -EIO, false);
	load(media, 2);
	no_faults();
	check_repair_is_refused(OLD);

	/* Both said the same, and the one that was taken is gone: the other one must not be touched. */
	start_from(START_EQUAL, _i);
	sim_media_flip(sim, RECORD_OFF + 4096u * meta.slot_newest + 40, 1);
	check_repair_is_refused(OLD);
}
END_TEST

START_TEST(repair_of_a_slot_that_holds_another_version_now_stores_nothing)
{
	uint8_t older[PCM_RECORD_MAX];

	start_from(START_B_OLDER, _i);
	memcpy(older, slot_in(sim_media_view(sim), 1), record_bytes);
	sim_media_flip(sim, RECORD_OFF + 4096 + 20, 1);
	load(media, OLD);
	put_slot(0, older);
	check_repair_is_refused(2);
}
END_TEST

/* Found equal, or found bad: what one of the two looks does not like is written anew. */
START_TEST(repair_writes_the_other_slot_if_it_was_bad_at_either_look)
{
	start_from(START_EQUAL, _i);
	sim_media_flip(sim, RECORD_OFF + 4096u * !meta.slot_newest + 40, 1);
	ck_assert_int_eq(pc_meta_repair(media, &meta), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert(is_at_rest(sim, OLD) && !meta.slot_stale);

	start_from(START_EQUAL, _i);
	sim_media_fail(sim, SIM_READ, 2, -EIO, false);
	load(media, OLD);
	ck_assert(meta.slot_stale && meta.slot_newest == 0);
	sim_media_fail(sim, SIM_COPY, 1, -ENODATA, false);
	ck_assert_int_eq(pc_meta_repair(media, &meta), -ENODATA);
	no_faults();
	ck_assert_int_eq(pc_meta_repair(media, &meta), 0);
	ck_assert(!meta.slot_stale);
}
END_TEST

static void check_load_fails(const struct pc_meta *at)
{
	struct pc_meta found = *at;
	struct record record = record_of(7);
	struct record before = record;

	ck_assert_int_eq(pc_meta_load(media, &found, &record), -EUCLEAN);
	ck_assert_mem_eq(&record, &before, sizeof(record));
	ck_assert_mem_eq(&found, at, sizeof(found));
}

START_TEST(record_that_is_bad_in_both_slots_is_an_error)
{
	struct pc_meta at = meta_at(RECORD_OFF, NUMBER);

	sim_media_flip(sim, RECORD_OFF + 30, 1);
	sim_media_flip(sim, RECORD_OFF + 4096 + 31, 1);
	check_load_fails(&at);
	at.off = RECORD_OFF + 16384; /* nothing was ever stored there */
	check_load_fails(&at);
}
END_TEST

static int read_and_fail(struct pc_media *unused, void *buf, uint64_t off, size_t len)
{
	(void)unused;
	memcpy(buf, sim_media_view(sim) + off, len);
	return -EIO;
}

/* All bytes came, and yet the media says that they are not to be trusted. */
START_TEST(record_read_with_an_error_is_bad_whatever_the_bytes)
{
	static const struct pc_media_ops ops = { .read = read_and_fail };
	struct pc_media failing = { .ops = &ops, .size_bytes = BYTES };
	struct pc_meta at = meta_at(RECORD_OFF, NUMBER);
	struct record record;

	ck_assert_int_eq(pc_meta_load(media, &at, &record), 0);
	ck_assert_int_eq(pc_meta_load(&failing, &at, &record), -EUCLEAN);
}
END_TEST

/* (T4) Right bytes, but not here. */
START_TEST(record_of_another_number_cache_or_kind_is_invalid)
{
	static const uint8_t other_uuid[16] = "another's uuid.";
	struct pc_meta at = meta_at(RECORD_OFF, NUMBER);

	at.seed = pc_meta_seed(uuid, NUMBER + 1);
	check_load_fails(&at);
	at.seed = pc_meta_seed(uuid, NUMBER << 8);
	check_load_fails(&at);
	for (unsigned shift = 8; shift < 32; shift += 8) {
		at.seed = pc_meta_seed(uuid, NUMBER + (1u << shift));
		check_load_fails(&at);
	}
	at.seed = pc_meta_seed(other_uuid, NUMBER);
	check_load_fails(&at);
	at = meta_at(RECORD_OFF, NUMBER);
	at.magic = MAGIC + 1;
	check_load_fails(&at);
	at = meta_at(RECORD_OFF, NUMBER);
	at.bytes = record_bytes - 8;
	check_load_fails(&at);
	at = meta_at(RECORD_OFF, NUMBER);
	ck_assert_int_eq(pc_meta_load(media, &at, &(struct record){ 0 }), 0);
}
END_TEST

START_TEST(record_moved_to_the_place_of_another_is_invalid)
{
	uint64_t place = RECORD_OFF + 8192;
	struct pc_meta at = meta_at(place, NUMBER + 1);

	for (unsigned slot = 0; slot < 2; slot++)
		ck_assert_int_eq(pc_media_copy(media, place + 4096u * slot, slot_in(sim_media_view(sim), slot), record_bytes,
					       PC_COPY_CACHED), 0);
	check_load_fails(&at);
}
END_TEST

START_TEST(magic_that_is_wrong_under_a_right_crc_is_invalid)
{
	struct record record = record_of(1);
	struct pc_meta other = meta_at(RECORD_OFF, NUMBER);
	struct pc_meta at = other;

	other.magic = MAGIC ^ 1;
	ck_assert_int_eq(pc_meta_create(media, &other, &record), 0);
	check_load_fails(&at);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *repaired = case_new(suite, "repair");
	TCase *rest = case_new(suite, "rest");

	tcase_add_checked_fixture(repaired, NULL, teardown);
	tcase_add_loop_test(repaired, repair_of_what_reads_differently_now_stores_nothing, 0, KINDS);
	tcase_add_loop_test(repaired, repair_of_a_slot_that_holds_another_version_now_stores_nothing, 0, KINDS);
	tcase_add_loop_test(repaired, repair_writes_the_other_slot_if_it_was_bad_at_either_look, 0, KINDS);
	tcase_add_checked_fixture(rest, setup_small, teardown);
	tcase_add_test(rest, slot_with_any_byte_changed_is_bad_and_the_other_one_counts);
	tcase_add_test(rest, slot_that_cannot_be_read_is_replaced);
	tcase_add_test(rest, record_that_is_bad_in_both_slots_is_an_error);
	tcase_add_test(rest, record_read_with_an_error_is_bad_whatever_the_bytes);
	tcase_add_test(rest, record_of_another_number_cache_or_kind_is_invalid);
	tcase_add_test(rest, record_moved_to_the_place_of_another_is_invalid);
	tcase_add_test(rest, magic_that_is_wrong_under_a_right_crc_is_invalid);
}

int main(void)
{
	Suite *suite = suite_create("meta_damage");

	add_tests(suite);
	return pc_run_suite(suite);
}
