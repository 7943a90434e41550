/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stream_steps.c - lib/stream.c with somebody else in between, at every instruction (S1 to S5).
 *
 * Method: single_step.h. One function runs, and at one point another thread's work is done at once: it reserves,
 * commits, closes, rotates, or brings the segment into its next life. Then the outcome is compared with what was true.
 */
#include "single_step.h"
#include "stream.h"
#include "support.h"

#define SEGMENTS 4u
#define ROOM     128u
#define STEPS_MAX 5000u /* far more than any of the functions has */

static struct pc_stream stream;
static unsigned nth;

static void begin(bool commit_is_durable)
{
	pc_stream_destroy(&stream);
	memset(&stream, 0, sizeof(stream));
	EXPECT(pc_stream_init(&stream, SEGMENTS, ROOM, commit_is_durable) == 0);
	pc_stream_open_segment(&stream, 1, 0);
}

static void teardown(void)
{
	pc_stream_destroy(&stream);
}

static struct pc_reservation reserve(uint32_t lines)
{
	struct pc_reservation reservation = { .segment = UINT32_MAX };
	uint64_t room;

	(void)pc_stream_reserve(&stream, lines, lines, &reservation, &room);
	return reservation;
}

/* True: it is for this one to seal. */
static bool commit(const struct pc_reservation *reservation)
{
	uint32_t lines;

	return pc_stream_commit(&stream, reservation, &lines);
}

static bool close_segment(void)
{
	uint32_t lines;

	return pc_stream_close_segment(&stream, &lines);
}

/* Each way through `body` with the interruption at another instruction. */
#define AT_EVERY_STEP(interrupt, prepare, body, check) \
	do { \
		bool was_interrupted = single_step_works(); \
\
		for (nth = 1; was_interrupted; nth++) { \
			prepare; \
			single_step_begin(nth, interrupt); \
			body; \
			was_interrupted = single_step_end(); \
			if (was_interrupted) \
				check; \
			EXPECT(nth < STEPS_MAX); \
		} \
	} while (0)

/* ---- reserve ---- */

static void rotate(void)
{
	(void)close_segment();
	pc_stream_open_segment(&stream, 2, 1);
}

/* (S2) */
START_TEST(reserve_while_the_stream_rotates_gets_room_in_the_segment_of_its_number)
{
	struct pc_reservation got = { 0 };

	AT_EVERY_STEP(rotate, begin(true), got = reserve(3), {
		ck_assert_msg(got.seq_low == 1 || got.seq_low == 2, "step %u: no room", nth);
		ck_assert_msg(got.segment == got.seq_low - 1, "step %u: segment %u of number %u", nth, got.segment,
			      got.seq_low);
		ck_assert_msg(got.line == 0 && got.unit == 0 && got.durable_below == 0, "step %u", nth);
	});
}
END_TEST

static struct pc_reservation first;
static struct pc_reservation second;

static void another_reserves(void)
{
	second = reserve(2);
}

static bool are_apart(uint32_t a, uint32_t a_len, uint32_t b, uint32_t b_len)
{
	return a + a_len <= b || b + b_len <= a;
}

/* (S1) */
START_TEST(reserve_while_another_reserves_shares_nothing)
{
	struct pc_reservation got = { 0 };

	AT_EVERY_STEP(another_reserves, begin(true), got = reserve(3), {
		ck_assert_msg(are_apart(got.line, got.lines, second.line, second.lines), "step %u: lines", nth);
		ck_assert_msg(are_apart(got.unit, got.units, second.unit, second.units), "step %u: units", nth);
		ck_assert_uint_eq(pc_room_lines(pc_stream_room(&stream)), 5);
	});
}
END_TEST

static void begin_with_one_in_flight(void)
{
	begin(true);
	first = reserve(1);
}

static void another_comes_and_goes(void)
{
	second = reserve(1);
	(void)commit(&second);
}

/* (S4) As many lines are done as there were: but not those. */
START_TEST(reserve_while_another_comes_and_goes_calls_nothing_durable)
{
	struct pc_reservation got = { 0 };

	AT_EVERY_STEP(another_comes_and_goes, begin_with_one_in_flight(), got = reserve(1), {
		ck_assert_msg(got.durable_below == 0, "step %u: not all below %u is durable", nth, got.durable_below);
		(void)commit(&got);
		ck_assert_uint_eq(reserve(1).durable_below, 0);
	});
}
END_TEST

/* ---- quiet ---- */

START_TEST(quiet_while_another_comes_and_goes_is_not_quiet)
{
	uint64_t room;
	bool quiet = false;

	AT_EVERY_STEP(another_comes_and_goes, begin_with_one_in_flight(), quiet = pc_stream_is_quiet(&stream, &room),
		      ck_assert_msg(!quiet, "step %u: the first writer is still there", nth));
}
END_TEST

static void begin_with_one_of_two_done(void)
{
	begin_with_one_in_flight();
	another_comes_and_goes();
}

/* As many lines there as are done here. */
static void rotate_and_reserve(void)
{
	rotate();
	second = reserve(1);
}

START_TEST(quiet_while_the_stream_rotates_is_not_quiet)
{
	uint64_t room;
	bool quiet = false;

	AT_EVERY_STEP(rotate_and_reserve, begin_with_one_of_two_done(), quiet = pc_stream_is_quiet(&stream, &room),
		      ck_assert_msg(!quiet, "step %u: a writer is in each segment", nth));
}
END_TEST

/* ---- close and commit ---- */

static bool interrupter_seals;

static void first_commits(void)
{
	interrupter_seals = commit(&first);
}

static void another_closes(void)
{
	interrupter_seals = close_segment();
}

static void another_closes_and_rotates(void)
{
	another_closes();
	pc_stream_open_segment(&stream, 2, 1);
}

/* (S5) */
START_TEST(close_while_the_last_writer_leaves_is_sealed_by_one_of_them)
{
	bool seals = false;

	AT_EVERY_STEP(first_commits, begin_with_one_in_flight(), seals = close_segment(),
		      ck_assert_msg(seals || interrupter_seals, "step %u: nobody seals", nth));
}
END_TEST

/* _i: whether the next segment is open by then */
START_TEST(commit_while_the_segment_is_closed_is_sealed_by_one_of_them)
{
	bool seals = false;

	AT_EVERY_STEP(_i == 0 ? another_closes : another_closes_and_rotates, begin_with_one_in_flight(),
		      seals = commit(&first), ck_assert_msg(seals || interrupter_seals, "step %u: nobody seals", nth));
}
END_TEST

/* The closer finds all done, seals, and the segment comes back: closed, with a writer in it, and as many lines. */
static void segment_lives_again_if_it_can(void)
{
	another_closes_and_rotates();
	if (!interrupter_seals)
		return;
	pc_stream_open_segment(&stream, 3, 0);
	second = reserve(first.lines);
	(void)close_segment();
	pc_stream_open_segment(&stream, 4, 2);
}

START_TEST(commit_while_the_segment_lives_again_is_sealed_by_one_of_them)
{
	bool seals = false;

	AT_EVERY_STEP(segment_lives_again_if_it_can, begin_with_one_in_flight(), seals = commit(&first),
		      ck_assert_msg(seals != interrupter_seals, "step %u: %s", nth, seals ? "both" : "nobody"));
}
END_TEST

/* ---- the next segment ---- */

/* Segment 1 had a life before; the place of number 4 still names segment 0. */
static void begin_used(void)
{
	begin(true);
	rotate();
	first = reserve(4);
	(void)commit(&first);
	(void)close_segment();
	pc_stream_open_segment(&stream, 3, 2);
	(void)close_segment();
}

static bool is_gone;

/* A number that is seen has its segment, and nothing of the life before. */
static void check_is_new_life(const struct pc_reservation *got)
{
	if (got->segment == UINT32_MAX)
		return; /* came too early: the old one is closed */
	ck_assert_msg(got->segment == 1 && got->seq_low == 4, "step %u: segment %u", nth, got->segment);
	ck_assert_msg(got->line == 0 && got->durable_below == 0, "step %u", nth);
	if (!is_gone)
		(void)commit(got);
	ck_assert_msg(reserve(1).durable_below == got->lines, "step %u: its lines are not counted", nth);
}

static void another_reserves_and_leaves_if_it_can(void)
{
	another_reserves();
	is_gone = second.segment != UINT32_MAX;
	if (is_gone)
		(void)commit(&second);
}

/* _i: whether the other one has left by then */
START_TEST(open_while_another_reserves_gives_room_in_the_new_segment_only)
{
	is_gone = false;
	AT_EVERY_STEP(_i == 0 ? another_reserves : another_reserves_and_leaves_if_it_can, begin_used(),
		      pc_stream_open_segment(&stream, 4, 1), check_is_new_life(&second));
}
END_TEST

static uint64_t flushed_room;

static void begin_flushed(void)
{
	begin(false);
	first = reserve(5);
	(void)commit(&first);
	flushed_room = pc_stream_room(&stream);
}

static void segment_lives_again(void)
{
	(void)close_segment();
	pc_stream_open_segment(&stream, 2, 1);
	pc_stream_open_segment(&stream, 3, 0);
	(void)reserve(9);
}

START_TEST(set_durable_while_the_segment_lives_again_does_nothing_to_it)
{
	AT_EVERY_STEP(segment_lives_again, begin_flushed(), pc_stream_set_durable(&stream, flushed_room),
		      ck_assert_msg(reserve(1).durable_below == 0, "step %u", nth));
}
END_TEST

static void older_flush_ends(void)
{
	pc_stream_set_durable(&stream, pc_room(1, 2, 2, false));
}

static void newer_flush_ends(void)
{
	pc_stream_set_durable(&stream, flushed_room);
}

START_TEST(set_durable_while_another_flush_ends_keeps_the_higher_line)
{
	AT_EVERY_STEP(older_flush_ends, begin_flushed(), newer_flush_ends(),
		      ck_assert_msg(reserve(1).durable_below == 5, "step %u", nth));
	AT_EVERY_STEP(newer_flush_ends, begin_flushed(), older_flush_ends(),
		      ck_assert_msg(reserve(1).durable_below == 5, "step %u", nth));
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, reserve_while_the_stream_rotates_gets_room_in_the_segment_of_its_number);
	tcase_add_test(tcase, reserve_while_another_reserves_shares_nothing);
	tcase_add_test(tcase, reserve_while_another_comes_and_goes_calls_nothing_durable);
	tcase_add_test(tcase, quiet_while_another_comes_and_goes_is_not_quiet);
	tcase_add_test(tcase, quiet_while_the_stream_rotates_is_not_quiet);
	tcase_add_test(tcase, close_while_the_last_writer_leaves_is_sealed_by_one_of_them);
	tcase_add_loop_test(tcase, commit_while_the_segment_is_closed_is_sealed_by_one_of_them, 0, 2);
	tcase_add_test(tcase, commit_while_the_segment_lives_again_is_sealed_by_one_of_them);
	tcase_add_loop_test(tcase, open_while_another_reserves_gives_room_in_the_new_segment_only, 0, 2);
	tcase_add_test(tcase, set_durable_while_the_segment_lives_again_does_nothing_to_it);
	tcase_add_test(tcase, set_durable_while_another_flush_ends_keeps_the_higher_line);
}

int main(void)
{
	Suite *suite = suite_create("stream_steps");
	TCase *tcase = case_new(suite, "steps");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	add_tests(tcase);
	return pc_run_suite(suite);
}
