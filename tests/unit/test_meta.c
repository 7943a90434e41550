/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_meta.c - lib/meta.c: a record is there in its old or its new form, whatever is interrupted or fails (T1 to T3).
 *
 * Method: records on a simulated media. A store or a repair is cut off at each of its calls in turn; then every image
 * that a power cut may leave is loaded: every subset of the words, or sectors, of one line or page, with many of the
 * other one. Looped tests run for both sizes of record on each kind of media. test_meta_damage.c has damaged records.
 */
#include "meta_fixture.h"

#define CALLS 6u /* of a store: copy, flush, sync, for each slot */

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

/* Other threads overwrite slots later: a store around the caches could come after theirs. */
static void check_is_cached(enum sim_primitive primitive, void *arg)
{
	unsigned *units = arg;

	(void)primitive;
	for (size_t i = 0; i < sim_media_pending(sim); i++, (*units)++)
		EXPECT(sim_media_unit(sim, i).streamed == 0);
}

START_TEST(store_goes_through_the_caches)
{
	unsigned units = 0;
	const struct sim_hooks hooks = { .crash_point = check_is_cached, .arg = &units };

	sim_media_hook(sim, &hooks);
	ck_assert_int_eq(store(2), 0);
	sim_media_hook(sim, NULL);
	ck_assert_uint_ge(units, 2);
}
END_TEST

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
	tcase_add_checked_fixture(rest, setup_small, teardown);
	tcase_add_test(rest, store_goes_through_the_caches);
	tcase_add_test(rest, record_at_rest_is_durable_in_both_slots_and_nowhere_else);
}

int main(void)
{
	Suite *suite = suite_create("meta");

	add_tests(suite);
	return pc_run_suite(suite);
}
