/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_meta.c - lib/meta.c: a record is there in its old or its new form, whatever is interrupted, damaged or failing
 * (T1 to T4).
 *
 * Method: records on a simulated media. A store or a repair is cut off at each of its calls in turn; then every image
 * that a power cut may leave is loaded: every subset of the words, or sectors, of one line or page, with many of the
 * other one. Looped tests run for both sizes of record on each kind of media.
 */
#include "meta.h"
#include "sim_media.h"
#include "support.h"

#include <errno.h>

#define BYTES      (8u * PC_PAGE)
#define RECORD_OFF 8192u
#define MAGIC      0x74657374u
#define NUMBER     3u
#define OLD        3u /* version of the record where a test begins */
#define CALLS      6u /* of a store: copy, flush, sync, for each slot */

static const uint8_t uuid[16] = "a cache's uuid.";

struct record {
	struct pcm_record head;
	uint8_t body[PCM_RECORD_MAX - sizeof(struct pcm_record)];
};

static struct sim_media *sim;
static struct sim_media *crashed;
static struct pc_media *media;
static struct pc_meta meta;
static uint32_t record_bytes;

/* ---- records ---- */

static struct record record_of(uint32_t version)
{
	struct test_random random = test_random_make(version);
	struct record record;

	test_random_fill(&random, &record, sizeof(record));
	return record;
}

/* Its head is the module's own business. */
static bool is_version(const void *record, uint32_t version)
{
	struct record expected = record_of(version);

	return memcmp((const uint8_t *)record + sizeof(expected.head), expected.body,
		      record_bytes - sizeof(expected.head)) == 0;
}

static struct pc_meta meta_at(uint64_t off, uint32_t number)
{
	return (struct pc_meta){ .off = off, .bytes = record_bytes, .magic = MAGIC, .seed = pc_meta_seed(uuid, number) };
}

static int store(uint32_t version)
{
	struct record record = record_of(version);

	return pc_meta_store(media, &meta, &record);
}

/* The version that is found, and how the slots are; meta is set by it. */
static void load(struct pc_media *from, uint32_t version)
{
	struct record record;

	meta = meta_at(RECORD_OFF, NUMBER);
	ck_assert_int_eq(pc_meta_load(from, &meta, &record), 0);
	ck_assert(is_version(&record, version));
}

static int repair(struct pc_media *on)
{
	struct record record;
	int ret = pc_meta_load(on, &meta, &record);

	if (ret == 0)
		ret = pc_meta_repair(on, &meta);
	return ret < 0 ? ret : pc_media_sync(on);
}

static const uint8_t *slot_in(const uint8_t *image, unsigned slot)
{
	return image + RECORD_OFF + 4096u * slot;
}

static bool is_at_rest(const struct sim_media *which, uint32_t version)
{
	const uint8_t *durable = sim_media_durable(which);

	return memcmp(slot_in(durable, 0), slot_in(durable, 1), record_bytes) == 0 &&
	       is_version(slot_in(durable, 0), version) &&
	       memcmp(durable + RECORD_OFF, sim_media_view(which) + RECORD_OFF, 8192) == 0;
}

/* ---- fixture ---- */

static const enum pcache_granularity granularities[] = {
	PCACHE_GRANULARITY_CACHE_LINE,
	PCACHE_GRANULARITY_BYTE,
	PCACHE_GRANULARITY_PAGE,
};

/* kind: two for each granularity, a record of 64 and one of 128 bytes */
#define KINDS 6

static void setup_empty(int kind)
{
	sim = sim_media_new(BYTES, granularities[kind / 2]);
	crashed = sim_media_new(BYTES, granularities[kind / 2]);
	ck_assert(sim != NULL && crashed != NULL);
	media = sim_media_open(sim, false);
	record_bytes = kind % 2 == 0 ? 64 : PCM_RECORD_MAX;
	meta = meta_at(RECORD_OFF, NUMBER);
}

static void setup_kind(int kind)
{
	struct record record = record_of(1);

	setup_empty(kind);
	ck_assert_int_eq(pc_meta_create(media, &meta, &record), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
}

static void teardown(void)
{
	sim_media_delete(sim);
	sim_media_delete(crashed);
	sim = NULL;
	crashed = NULL;
}

static void reopen(void)
{
	pc_media_close(media);
	media = sim_media_open(sim, false);
}

/* As found by an open: what the slots hold, and which one a store must not touch. */
enum start { START_EQUAL, START_A_OLDER, START_B_OLDER, START_A_BAD, START_B_BAD, STARTS };

static void put_slot(unsigned slot, const void *bytes)
{
	EXPECT(pc_media_copy(media, RECORD_OFF + 4096u * slot, bytes, record_bytes, PC_COPY_CACHED) == 0);
	EXPECT(pc_media_flush(media, RECORD_OFF + 4096u * slot, record_bytes) == 0);
	EXPECT(pc_media_sync(media) == 0);
}

static void start_from(enum start start, int kind)
{
	uint8_t older[PCM_RECORD_MAX];

	if (sim != NULL)
		teardown();
	setup_kind(kind);
	EXPECT(store(2) == 0);
	memcpy(older, slot_in(sim_media_view(sim), 0), record_bytes);
	EXPECT(store(OLD) == 0);
	if (start == START_A_OLDER || start == START_B_OLDER)
		put_slot(start == START_B_OLDER, older);
	else if (start != START_EQUAL)
		sim_media_flip(sim, RECORD_OFF + (start == START_B_BAD ? 4096u : 0) + 20, 0x10);
	reopen();
	load(media, OLD);
	EXPECT(meta.slot_stale == (start != START_EQUAL));
	EXPECT(start == START_EQUAL || meta.slot_newest == (start == START_A_OLDER || start == START_A_BAD));
}

/* ---- power cuts ---- */

/* Versions that may be found; 0: none at all. */
struct allowed {
	bool version[8];
};

static struct sim_choice choose_parts(const struct sim_unit *unit, void *masks)
{
	uint8_t mask = ((const uint8_t *)masks)[unit->number % 2];

	return (struct sim_choice){
		.cached = unit->cached,
		.streamed = unit->streamed,
		.cached_torn = mask,
		.streamed_torn = mask,
		.streamed_older = mask,
	};
}

static uint32_t version_after_crash(void)
{
	struct pc_media *found = sim_media_open(crashed, false);
	struct pc_meta found_meta = meta_at(RECORD_OFF, NUMBER);
	struct record record;
	uint32_t version = 0;

	if (pc_meta_load(found, &found_meta, &record) == 0)
		do
			version++;
		while (version < 8 && !is_version(&record, version));
	pc_media_close(found);
	return version;
}

/* What was decided from is what stays: after repair both slots hold it, durably. */
static void check_repair_after_crash(uint32_t version)
{
	struct pc_media *found = sim_media_open(crashed, false);
	struct pc_meta kept = meta;

	meta = meta_at(RECORD_OFF, NUMBER);
	EXPECT(repair(found) == 0);
	EXPECT(!meta.slot_stale);
	EXPECT(is_at_rest(crashed, version));
	meta = kept;
	pc_media_close(found);
}

static void check_power_cuts(const struct allowed *allowed)
{
	static const uint8_t second_masks[] = { 0, 0xff, 0x01, 0xfe, 0x02, 0x55, 0xaa, 0x0f };
	size_t pending = sim_media_pending(sim);
	unsigned seconds = pending > 1 ? sizeof(second_masks) : 1;

	for (unsigned first = 0; first < (pending == 0 ? 1 : 256); first++)
		for (unsigned second = 0; second < seconds; second++) {
			uint8_t masks[2] = { (uint8_t)first, second_masks[second] };
			uint32_t version;

			sim_media_crash_into(sim, choose_parts, masks, crashed);
			version = version_after_crash();
			ck_assert_msg(version < 8 && allowed->version[version], "version %u found", version);
			if (version > 0 && (first % 32 == 31 || pending == 0))
				check_repair_after_crash(version);
		}
}

/* The power goes at this call (from 1) of what follows. */
static void cut_at(unsigned call)
{
	sim_media_fail(sim, SIM_ANY, call, -EIO, true);
}

static void fail_once_at(unsigned call)
{
	sim_media_fail(sim, SIM_ANY, call, -EIO, false);
}

static void no_faults(void)
{
	sim_media_fail(sim, 0, 0, 0, false);
}

START_TEST(store_cut_off_anywhere_leaves_old_or_new)
{
	for (enum start start = START_EQUAL; start < STARTS; start++)
		for (unsigned repaired = 0; repaired < 2; repaired++)
			for (unsigned call = 1; call <= CALLS + 1; call++) {
				struct allowed allowed = { 0 };

				start_from(start, _i);
				if (repaired == 1)
					ck_assert_int_eq(repair(media), 0);
				cut_at(call);
				ck_assert_int_eq(store(OLD + 1), call <= CALLS ? -EIO : 0);
				no_faults();
				allowed.version[OLD] = call <= 3;
				allowed.version[OLD + 1] = call >= 2;
				check_power_cuts(&allowed);
			}
}
END_TEST

START_TEST(repair_cut_off_anywhere_keeps_what_was_found)
{
	const struct allowed allowed = { .version[OLD] = true };

	for (enum start start = START_EQUAL; start < STARTS; start++) {
		int ret = -EIO;

		for (unsigned call = 3; ret != 0; call++) { /* two reads come first */
			start_from(start, _i);
			cut_at(call);
			ret = repair(media);
			no_faults();
			check_power_cuts(&allowed);
			ck_assert_uint_lt(call, 20);
		}
		ck_assert(is_at_rest(sim, OLD));
	}
}
END_TEST

/* (T3) A killed process leaves its stores where others see them, but a power cut can take them. */
START_TEST(record_found_after_a_kill_stays_once_it_is_repaired)
{
	for (unsigned call = 1; call <= CALLS + 1; call++) {
		int ret = -EIO;

		for (unsigned repair_call = 3; ret != 0; repair_call++) {
			struct allowed allowed = { 0 };
			struct record record;
			uint32_t found;

			start_from(START_EQUAL, _i);
			cut_at(call);
			store(OLD + 1);
			no_faults();
			sim_media_kill(sim);
			media = sim_media_open(sim, false);
			meta = meta_at(RECORD_OFF, NUMBER);
			ck_assert_int_eq(pc_meta_load(media, &meta, &record), 0);
			found = is_version(&record, OLD) ? OLD : OLD + 1;
			ck_assert_uint_eq(found, call >= 2 ? OLD + 1 : OLD);
			cut_at(repair_call);
			ret = repair(media);
			no_faults();
			allowed.version[found] = true;
			allowed.version[OLD] |= ret != 0;
			check_power_cuts(&allowed);
			ck_assert(ret != 0 || is_at_rest(sim, found));
		}
	}
}
END_TEST

/* A media that works again: the store is repeated, and cut off in turn. Not on page granularity: there a failure is final. */
START_TEST(store_repeated_after_a_failure_never_loses_both)
{
	for (unsigned failed = 1; failed <= CALLS; failed++)
		for (unsigned call = 1; call <= CALLS + 1; call++) {
			struct allowed allowed = { 0 };
			struct pc_meta before;

			start_from(START_EQUAL, _i);
			before = meta;
			fail_once_at(failed);
			ck_assert_int_eq(store(OLD + 1), -EIO);
			no_faults();
			ck_assert_uint_eq(meta.slot_seq, before.slot_seq + (failed > 3));
			ck_assert(meta.slot_newest == before.slot_newest ? failed <= 3 : failed > 3);
			ck_assert(meta.slot_stale == (failed > 3));
			cut_at(call);
			ck_assert_int_eq(store(OLD + 2), call <= CALLS ? -EIO : 0);
			no_faults();
			allowed.version[OLD] = failed <= 3 && call <= 3;
			allowed.version[OLD + 1] = failed >= 2 && call <= 3;
			allowed.version[OLD + 2] = call >= 2;
			check_power_cuts(&allowed);
			if (call > CALLS)
				ck_assert(is_at_rest(sim, OLD + 2) && !meta.slot_stale);
		}
}
END_TEST

START_TEST(create_cut_off_anywhere_gives_the_record_or_none)
{
	for (unsigned call = 1; call <= 6; call++) {
		struct allowed allowed = { .version = { true, true } };
		struct record record = record_of(1);
		int ret;

		if (sim != NULL)
			teardown();
		setup_empty(_i);
		cut_at(call);
		ret = pc_meta_create(media, &meta, &record);
		ck_assert_int_eq(ret, call <= 4 ? -EIO : 0);
		if (ret == 0)
			ret = pc_media_sync(media);
		no_faults();
		allowed.version[0] = ret != 0;
		check_power_cuts(&allowed);
		ck_assert(is_at_rest(sim, 1) == (ret == 0));
		ck_assert(!meta.slot_stale);
	}
}
END_TEST

/* ---- at rest ---- */

START_TEST(record_at_rest_is_durable_in_both_slots_and_nowhere_else)
{
	static uint8_t zeroes[BYTES];

	for (uint32_t version = 1; version <= 20; version++) {
		const uint8_t *durable = sim_media_durable(sim);
		struct record record;
		struct pc_meta found = meta_at(RECORD_OFF, NUMBER);

		if (version > 1)
			ck_assert_int_eq(store(version), 0);
		ck_assert_uint_eq(meta.slot_seq, version);
		ck_assert(!meta.slot_stale);
		ck_assert(is_at_rest(sim, version));
		ck_assert_uint_eq(sim_media_pending(sim), 0);
		ck_assert_mem_eq(durable, zeroes, RECORD_OFF);
		ck_assert_mem_eq(slot_in(durable, 0) + record_bytes, zeroes, 4096 - record_bytes);
		ck_assert_mem_eq(slot_in(durable, 1) + record_bytes, zeroes, BYTES - RECORD_OFF - 4096 - record_bytes);
		ck_assert_int_eq(pc_meta_load(media, &found, &record), 0);
		ck_assert(is_version(&record, version));
		ck_assert_uint_eq(found.slot_seq, version);
		ck_assert(!found.slot_stale);
	}
}
END_TEST

/* What a store does to the slots, and when: the offset of each copy, 0 for a sync. */
static struct {
	uint64_t steps[16];
	unsigned count;
} journal;

static void note_store(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg)
{
	(void)data;
	(void)arg;
	ck_assert_int_eq(primitive, SIM_COPY);
	ck_assert_uint_eq(len, record_bytes);
	journal.steps[journal.count++] = off;
}

static void note_sync(enum sim_primitive primitive, void *arg)
{
	(void)arg;
	ck_assert_int_eq(primitive, SIM_SYNC);
	journal.steps[journal.count++] = 0;
}

/* (T1) */
START_TEST(store_after_open_never_begins_with_the_newest_slot)
{
	static const struct sim_hooks hooks = { .store = note_store, .crash_point = note_sync };

	for (enum start start = START_EQUAL; start < STARTS; start++) {
		uint64_t newest;
		uint64_t other;

		start_from(start, _i);
		newest = RECORD_OFF + 4096u * meta.slot_newest;
		other = RECORD_OFF + 4096u * !meta.slot_newest;
		memset(&journal, 0, sizeof(journal));
		sim_media_hook(sim, &hooks);
		ck_assert_int_eq(store(OLD + 1), 0);
		sim_media_hook(sim, NULL);
		ck_assert_uint_eq(journal.count, 4);
		ck_assert_uint_eq(journal.steps[0], other);
		ck_assert_uint_eq(journal.steps[1], 0);
		ck_assert_uint_eq(journal.steps[2], newest);
		ck_assert_uint_eq(journal.steps[3], 0);
	}
}
END_TEST

START_TEST(load_stores_nothing)
{
	for (enum start start = START_EQUAL; start < STARTS; start++) {
		uint64_t before;

		start_from(start, _i);
		before = sim_media_calls(sim);
		sim_media_fail(sim, SIM_ANY & ~SIM_READ, 1, -EIO, true);
		load(media, OLD);
		ck_assert(!sim_media_has_failed(sim));
		no_faults();
		ck_assert_uint_eq(sim_media_calls(sim), before + 2);
	}
}
END_TEST

/* ---- damage ---- */

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

/* (T4) Right bytes, but not here. */
START_TEST(record_of_another_number_cache_or_kind_is_invalid)
{
	static const uint8_t other_uuid[16] = "another's uuid.";
	struct pc_meta at = meta_at(RECORD_OFF, NUMBER);

	at.seed = pc_meta_seed(uuid, NUMBER + 1);
	check_load_fails(&at);
	at.seed = pc_meta_seed(uuid, NUMBER << 8);
	check_load_fails(&at);
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

static void setup_small(void)
{
	setup_kind(0);
}

static void add_tests(Suite *suite)
{
	TCase *cuts = case_new(suite, "cuts");
	TCase *rest = case_new(suite, "rest");

	tcase_add_checked_fixture(cuts, NULL, teardown);
	tcase_add_loop_test(cuts, store_cut_off_anywhere_leaves_old_or_new, 0, KINDS);
	tcase_add_loop_test(cuts, repair_cut_off_anywhere_keeps_what_was_found, 0, KINDS);
	tcase_add_loop_test(cuts, record_found_after_a_kill_stays_once_it_is_repaired, 0, KINDS);
	tcase_add_loop_test(cuts, store_repeated_after_a_failure_never_loses_both, 0, KINDS - 2);
	tcase_add_loop_test(cuts, create_cut_off_anywhere_gives_the_record_or_none, 0, KINDS);
	tcase_add_loop_test(cuts, store_after_open_never_begins_with_the_newest_slot, 0, KINDS);
	tcase_add_loop_test(cuts, load_stores_nothing, 0, KINDS);
	tcase_add_loop_test(cuts, repair_of_what_reads_differently_now_stores_nothing, 0, KINDS);
	tcase_add_checked_fixture(rest, setup_small, teardown);
	tcase_add_test(rest, record_at_rest_is_durable_in_both_slots_and_nowhere_else);
	tcase_add_test(rest, slot_with_any_byte_changed_is_bad_and_the_other_one_counts);
	tcase_add_test(rest, slot_that_cannot_be_read_is_replaced);
	tcase_add_test(rest, record_that_is_bad_in_both_slots_is_an_error);
	tcase_add_test(rest, record_of_another_number_cache_or_kind_is_invalid);
	tcase_add_test(rest, record_moved_to_the_place_of_another_is_invalid);
	tcase_add_test(rest, magic_that_is_wrong_under_a_right_crc_is_invalid);
}

int main(void)
{
	Suite *suite = suite_create("meta");

	add_tests(suite);
	return pc_run_suite(suite);
}
