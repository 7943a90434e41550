/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_segment.c - lib/segment.c: what a transition says is on the media when it returns, or nothing has changed; each
 * free segment is given out once (G1 to G3).
 *
 * Method: a few segments on a simulated media (segment_fixture.h). What is durable is read back into a second table,
 * which must say the same as the first.
 */
#include "failing_memory.h"
#include "segment_fixture.h"

/* ---- transitions ---- */

START_TEST(segments_of_a_new_cache_are_free_and_of_generation_1)
{
	for (uint32_t id = 0; id < SEGMENTS; id++) {
		struct facts facts = facts_of(segments, id);

		ck_assert_int_eq(facts.state, PC_SEGMENT_FREE);
		ck_assert_int_eq(facts.stream, PC_STREAM_NONE);
		ck_assert_uint_eq(facts.gen, 1);
		ck_assert_uint_eq(facts.seq, 0);
		ck_assert_uint_eq(facts.next, PC_SEGMENT_NONE);
		ck_assert_uint_eq(pc_segment_at(segments, id)->id, id);
		ck_assert_uint_eq(pc_segment_at(segments, id)->off, SEGMENTS_OFF + id * SEGMENT_BYTES);
	}
	ck_assert_uint_eq(segments->room, ROOM);
	check_durable();
}
END_TEST

START_TEST(life_of_a_segment_is_durable_at_every_step)
{
	uint32_t seed = pc_segment_at(segments, 4)->kset_seed;
	struct facts facts;

	ck_assert_int_eq(pc_segment_open(segments, 4, PC_STREAM_WRITE, 77), 0);
	check_durable();
	facts = facts_of(segments, 4);
	ck_assert(facts.state == PC_SEGMENT_OPEN && facts.stream == PC_STREAM_WRITE && facts.seq == 77 && facts.gen == 1);
	ck_assert(!pc_segment_is_sealed(segments, 4));
	ck_assert_int_eq(pc_segment_link(segments, 4, 9), 0);
	check_durable();
	ck_assert_uint_eq(facts_of(segments, 4).next, 9);
	ck_assert_int_eq(pc_segment_seal(segments, 4, PC_STREAM_WRITE, 77, 33), 0);
	check_durable();
	facts = facts_of(segments, 4);
	ck_assert(facts.state == PC_SEGMENT_SEALED && facts.lines == 33 && facts.next == 9 && facts.seq == 77);
	ck_assert(pc_segment_is_sealed(segments, 4));
	ck_assert_uint_eq(pc_segment_at(segments, 4)->kset_seed, seed);
	ck_assert_int_eq(pc_segment_free(segments, 4), 0);
	check_durable();
	facts = facts_of(segments, 4);
	ck_assert(facts.state == PC_SEGMENT_FREE && facts.stream == PC_STREAM_NONE && facts.seq == 0 && facts.lines == 0);
	ck_assert_uint_eq(facts.next, PC_SEGMENT_NONE);
	ck_assert_uint_eq(facts.gen, 2);
	ck_assert_uint_ne(pc_segment_at(segments, 4)->kset_seed, seed);
}
END_TEST

/* Sealed first, linked later; and an open one that was never linked. */
START_TEST(segment_is_linked_after_its_seal_and_freed_while_open)
{
	ck_assert_int_eq(pc_segment_open(segments, 0, PC_STREAM_WRITE, 5), 0);
	ck_assert_int_eq(pc_segment_seal(segments, 0, PC_STREAM_WRITE, 5, ROOM), 0);
	ck_assert_int_eq(pc_segment_link(segments, 0, 0), 0);
	check_durable();
	ck_assert_uint_eq(facts_of(segments, 0).lines, ROOM);
	ck_assert_uint_eq(facts_of(segments, 0).next, 0);
	ck_assert_int_eq(pc_segment_open(segments, 1, PC_STREAM_FILL, 6), 0);
	ck_assert_int_eq(pc_segment_free(segments, 1), 0);
	ck_assert_int_eq(pc_segment_open(segments, 2, PC_STREAM_HOT, 7), 0);
	check_durable();
	ck_assert_int_eq(facts_of(segments, 1).state, PC_SEGMENT_FREE);
	ck_assert_uint_eq(facts_of(segments, 1).gen, 2);
}
END_TEST

START_TEST(seal_of_another_life_or_twice_does_nothing)
{
	struct facts before;
	struct facts after;
	uint64_t calls;

	ck_assert_int_eq(pc_segment_open(segments, 3, PC_STREAM_WRITE, 11), 0);
	before = facts_of(segments, 3);
	calls = sim_media_calls(sim);
	ck_assert_int_eq(pc_segment_seal(segments, 3, PC_STREAM_WRITE, 10, 5), 0);
	ck_assert_int_eq(pc_segment_seal(segments, 3, PC_STREAM_WRITE, 12, 5), 0);
	ck_assert_int_eq(pc_segment_seal(segments, 5, PC_STREAM_WRITE, 0, 5), 0); /* free */
	ck_assert_uint_eq(sim_media_calls(sim), calls);
	after = facts_of(segments, 3);
	ck_assert(same_facts(&before, &after));
	ck_assert_int_eq(pc_segment_seal(segments, 3, PC_STREAM_WRITE, 11, 5), 0);
	calls = sim_media_calls(sim);
	ck_assert_int_eq(pc_segment_seal(segments, 3, PC_STREAM_WRITE, 11, 6), 0);
	ck_assert_uint_eq(sim_media_calls(sim), calls);
	ck_assert_uint_eq(facts_of(segments, 3).lines, 5);
	check_durable();
}
END_TEST

/* The transitions one by one, from a state where it is allowed. */
enum transition { OPEN, LINK, SEAL, FREE, TRANSITIONS };

static int transit(enum transition transition)
{
	switch (transition) {
	case OPEN:
		return pc_segment_open(segments, 6, PC_STREAM_WRITE, 21);
	case LINK:
		return pc_segment_link(segments, 6, 2);
	case SEAL:
		return pc_segment_seal(segments, 6, PC_STREAM_WRITE, 21, 40);
	default:
		return pc_segment_free(segments, 6);
	}
}

/* A new media, with the segment where the transition is allowed. */
static void begin(int transition)
{
	if (segments != NULL)
		teardown();
	setup();
	for (int i = OPEN; i < transition; i++)
		ck_assert_int_eq(transit((enum transition)i), 0);
}

/* _i: the transition. Each call of the media fails once: the error comes out, memory is as before, and it can be repeated. */
START_TEST(transition_on_failing_media_changes_nothing_in_memory)
{
	for (unsigned call = 1; call <= CALLS; call++) {
		struct facts before;
		struct facts after;

		begin(_i);
		before = facts_of(segments, 6);
		sim_media_fail(sim, SIM_ANY, call, -EIO, false);
		ck_assert_int_eq(transit((enum transition)_i), -EIO);
		ck_assert(sim_media_has_failed(sim));
		sim_media_fail(sim, 0, 0, 0, false);
		after = facts_of(segments, 6);
		ck_assert(same_facts(&before, &after));
		ck_assert_int_eq(transit((enum transition)_i), 0);
		after = facts_of(segments, 6);
		ck_assert(!same_facts(&before, &after));
		check_durable();
	}
}
END_TEST

/* What is loaded and repaired after a power cut that left some of what was pending. */
static struct facts facts_after_cut(struct sim_random *random)
{
	struct pc_segments *found;
	struct facts facts;

	sim_media_crash_into(sim, sim_choose_random, random, after_cut);
	found = loaded_from(after_cut);
	ck_assert_int_eq(pc_segments_repair(found), 0);
	ck_assert_int_eq(pc_media_sync(found->media), 0);
	facts = facts_of(found, 6);
	unload(found);
	return facts;
}

/* _i: the transition. The power goes at each call of the media. */
START_TEST(transition_cut_off_anywhere_leaves_old_or_new)
{
	struct facts new;

	begin(_i);
	ck_assert_int_eq(transit((enum transition)_i), 0);
	new = facts_of(segments, 6);
	for (unsigned call = 1; call <= CALLS; call++) {
		struct sim_random random = { .state = call, .meta_percent = 60, .data_percent = 60, .torn_percent = 70 };
		struct facts old;

		begin(_i);
		old = facts_of(segments, 6);
		sim_media_fail(sim, SIM_ANY, call, -EIO, true);
		ck_assert_int_eq(transit((enum transition)_i), -EIO);
		for (unsigned i = 0; i < scaled(100); i++) {
			struct facts facts = facts_after_cut(&random);

			/* call 3 is the sync that makes the first copy durable */
			ck_assert((call <= 3 && same_facts(&facts, &old)) || (call >= 2 && same_facts(&facts, &new)));
		}
	}
}
END_TEST

/* ---- link and seal at once ---- */

static void *seal_one(void *unused)
{
	(void)unused;
	EXPECT(pc_segment_seal(segments, 6, PC_STREAM_WRITE, 21, 40) == 0);
	return NULL;
}

/* (G3) */
START_TEST(link_and_seal_at_once_both_stay)
{
	for (unsigned round = 0; round < scaled(300); round++) {
		struct facts facts;
		pthread_t sealer;

		ck_assert_int_eq(transit(OPEN), 0);
		thread_start(&sealer, seal_one, NULL);
		ck_assert_int_eq(transit(LINK), 0);
		thread_join(sealer);
		facts = facts_of(segments, 6);
		ck_assert(facts.state == PC_SEGMENT_SEALED && facts.lines == 40 && facts.next == 2);
		check_durable();
		ck_assert_int_eq(transit(FREE), 0);
	}
}
END_TEST

/* ---- free segments ---- */

static struct pc_segments *many_free(uint32_t count)
{
	struct pc_segments_layout many = layout;
	struct pc_segments *found;

	many.segment_count = count;
	ck_assert_int_eq(pc_segments_new(NULL, NULL, &many, &found), 0);
	ck_assert_uint_eq(pc_segment_alloc(found), PC_SEGMENT_NONE); /* nothing is in the bitmap yet */
	pc_segments_fill_bitmap(found);
	ck_assert_uint_eq(atomic_load(&found->free_count), count);
	return found;
}

static void alloc_all(struct pc_segments *from, uint32_t count)
{
	bool *taken = calloc(from->count, sizeof(*taken));

	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = pc_segment_alloc(from);

		EXPECT(id < from->count);
		EXPECT(!taken[id]);
		taken[id] = true;
		EXPECT(atomic_load(&from->free_count) == count - 1 - i);
	}
	ck_assert_uint_eq(pc_segment_alloc(from), PC_SEGMENT_NONE);
	ck_assert_uint_eq(pc_segment_alloc(from), PC_SEGMENT_NONE);
	ck_assert_uint_eq(atomic_load(&from->free_count), 0);
	free(taken);
}

START_TEST(alloc_gives_every_segment_once_then_none)
{
	static const uint32_t counts[] = { 1, 2, 8, 63, 64, 65, 127, 128, 129, 1000 };

	for (unsigned i = 0; i < PC_ARRAY_SIZE(counts); i++) {
		struct pc_segments *found = many_free(counts[i]);

		alloc_all(found, counts[i]);
		for (uint32_t id = 0; id < counts[i]; id += 3)
			pc_segment_release(found, id);
		alloc_all(found, (counts[i] + 2) / 3);
		/* The hint points behind the one that is free. */
		pc_segment_release(found, 0);
		ck_assert_uint_eq(pc_segment_alloc(found), 0);
		pc_segment_release(found, counts[i] - 1);
		ck_assert_uint_eq(pc_segment_alloc(found), counts[i] - 1);
		pc_segments_delete(found);
	}
}
END_TEST

START_TEST(fill_bitmap_takes_only_free_segments)
{
	ck_assert_int_eq(pc_segment_open(segments, 0, PC_STREAM_WRITE, 1), 0);
	ck_assert_int_eq(pc_segment_open(segments, 5, PC_STREAM_WRITE, 2), 0);
	ck_assert_int_eq(pc_segment_seal(segments, 5, PC_STREAM_WRITE, 2, 9), 0);
	ck_assert_int_eq(pc_segment_open(segments, 9, PC_STREAM_FILL, 3), 0);
	ck_assert_int_eq(pc_segment_free(segments, 9), 0);
	pc_segments_fill_bitmap(segments);
	ck_assert_uint_eq(atomic_load(&segments->free_count), SEGMENTS - 2);
	for (uint32_t id; (id = pc_segment_alloc(segments)) != PC_SEGMENT_NONE;)
		ck_assert(id != 0 && id != 5);
}
END_TEST

#define TAKERS 4u

static _Atomic bool owned[130];

static void *take_and_release(void *of)
{
	for (unsigned i = 0; i < scaled(20000); i++) {
		uint32_t ids[3];

		for (unsigned j = 0; j < 3; j++) {
			ids[j] = pc_segment_alloc(of);
			EXPECT(ids[j] != PC_SEGMENT_NONE && !atomic_exchange(&owned[ids[j]], true));
		}
		for (unsigned j = 0; j < 3; j++) {
			atomic_store(&owned[ids[j]], false);
			pc_segment_release(of, ids[j]);
		}
	}
	return NULL;
}

START_TEST(alloc_by_threads_gives_no_segment_twice)
{
	struct pc_segments *found = many_free(TAKERS * 3); /* just enough */
	pthread_t takers[TAKERS];

	for (unsigned i = 0; i < TAKERS; i++)
		thread_start(&takers[i], take_and_release, found);
	for (unsigned i = 0; i < TAKERS; i++)
		thread_join(takers[i]);
	alloc_all(found, TAKERS * 3);
	pc_segments_delete(found);
}
END_TEST

START_TEST(new_without_memory_fails_and_leaks_nothing)
{
	struct pc_segments *found = NULL;
	unsigned failures = 0;
	int ret;

	pc_segments_delete(NULL);
	if (!failing_memory_works())
		return;
	for (;; failures++) {
		failing_memory_arm(failures + 1);
		ret = pc_segments_new(media, NULL, &layout, &found);
		if (!failing_memory_disarm())
			break;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_int_eq(failing_memory_held(), 0);
		ck_assert_ptr_null(found);
	}
	ck_assert_int_eq(ret, 0);
	ck_assert_uint_ge(failures, 4);
	pc_segments_delete(found);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, segments_of_a_new_cache_are_free_and_of_generation_1);
	tcase_add_test(tcase, life_of_a_segment_is_durable_at_every_step);
	tcase_add_test(tcase, segment_is_linked_after_its_seal_and_freed_while_open);
	tcase_add_test(tcase, seal_of_another_life_or_twice_does_nothing);
	tcase_add_loop_test(tcase, transition_on_failing_media_changes_nothing_in_memory, OPEN, TRANSITIONS);
	tcase_add_loop_test(tcase, transition_cut_off_anywhere_leaves_old_or_new, OPEN, TRANSITIONS);
	tcase_add_test(tcase, link_and_seal_at_once_both_stay);
	tcase_add_test(tcase, alloc_gives_every_segment_once_then_none);
	tcase_add_test(tcase, fill_bitmap_takes_only_free_segments);
	tcase_add_test(tcase, alloc_by_threads_gives_no_segment_twice);
	tcase_add_test(tcase, new_without_memory_fails_and_leaks_nothing);
}

int main(void)
{
	Suite *suite = suite_create("segment");
	TCase *tcase = case_new(suite, "segment");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
	return pc_run_suite(suite);
}
