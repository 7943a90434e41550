/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stream.c - lib/stream.c: room is given once, a segment is sealed when all are done, nothing is called durable too
 * early (S1 to S5).
 *
 * Method: by hand, every order in which a few writers can reserve and commit. test_stream_threads.c has the threads.
 */
#include "failing_memory.h"
#include "stream.h"
#include "support.h"

#include <errno.h>

#define SEGMENTS 4u
#define ROOM     128u

static struct pc_stream stream;

static void stream_new(uint32_t room_total, bool commit_is_durable)
{
	memset(&stream, 0, sizeof(stream));
	ck_assert_int_eq(pc_stream_init(&stream, SEGMENTS, room_total, commit_is_durable), 0);
}

static void setup(void)
{
	stream_new(ROOM, true);
	pc_stream_open_segment(&stream, 1, 0);
}

static void teardown(void)
{
	pc_stream_destroy(&stream);
}

static struct pc_reservation reserve(uint32_t lines, uint32_t units)
{
	struct pc_reservation reservation;
	uint64_t room;

	EXPECT(pc_stream_reserve(&stream, lines, units, &reservation, &room));
	EXPECT(reservation.lines == lines && reservation.units == units);
	return reservation;
}

/* Returns the word that was handed back. */
static uint64_t refuse(uint32_t lines, uint32_t units)
{
	struct pc_reservation reservation = { .segment = 77 };
	uint64_t room = 0;

	EXPECT(!pc_stream_reserve(&stream, lines, units, &reservation, &room));
	EXPECT(reservation.segment == 77);
	EXPECT(room == pc_stream_room(&stream));
	return room;
}

static void commit(const struct pc_reservation *reservation)
{
	uint32_t lines;

	EXPECT(!pc_stream_commit(&stream, reservation, &lines));
}

/* ---- room ---- */

START_TEST(word_keeps_its_fields_apart)
{
	static const struct {
		uint64_t seq;
		uint32_t lines;
		uint32_t units;
		bool closed;
	} words[] = {
		{ 0, 0, 0, false },
		{ PC_ROOM_SEQ_MASK, 0, 0, false },
		{ 0, (1u << 20) - 1, 0, false },
		{ 0, 0, (1u << 20) - 1, false },
		{ 0, 0, 0, true },
		{ 0x123456, 0x54321, 0xfedcb, true },
	};

	for (unsigned i = 0; i < PC_ARRAY_SIZE(words); i++) {
		uint64_t room = pc_room(words[i].seq, words[i].lines, words[i].units, words[i].closed);

		ck_assert_uint_eq(pc_room_seq(room), words[i].seq);
		ck_assert_uint_eq(pc_room_lines(room), words[i].lines);
		ck_assert_uint_eq(pc_room_units(room), words[i].units);
		ck_assert(pc_room_is_closed(room) == words[i].closed);
	}
	ck_assert_uint_eq(pc_room_seq(pc_room(PC_ROOM_SEQ_MASK + 6, 0, 0, false)), 5);
}
END_TEST

START_TEST(stream_that_is_new_has_no_room)
{
	teardown();
	stream_new(ROOM, true);
	ck_assert(pc_room_is_closed(refuse(1, 1)));
	ck_assert(pc_room_is_closed(refuse(0, 0)));
}
END_TEST

START_TEST(segment_is_filled_to_the_last_unit)
{
	struct pc_reservation first = reserve(2, 5);
	struct pc_reservation second = reserve(1, ROOM - 12);

	ck_assert_uint_eq(first.segment, 0);
	ck_assert_uint_eq(first.seq_low, 1);
	ck_assert_uint_eq(first.line, 0);
	ck_assert_uint_eq(first.unit, 0);
	ck_assert_uint_eq(second.line, 2);
	ck_assert_uint_eq(second.unit, 5);
	/* 4 left: what does not fit takes nothing, and less still fits. */
	refuse(1, 4);
	refuse(5, 0);
	refuse(UINT32_MAX, UINT32_MAX);
	refuse(UINT32_MAX, 0);
	ck_assert_uint_eq(reserve(1, 3).line, 3);
	ck_assert_uint_eq(pc_room_lines(refuse(1, 0)), 4);
	ck_assert_uint_eq(pc_room_units(refuse(0, 1)), 5 + ROOM - 12 + 3);
	ck_assert(!pc_room_is_closed(refuse(1, 1)));
}
END_TEST

/* The largest segment that there is: no field runs over into the next. */
START_TEST(largest_segment_is_filled_by_one_unit_lines)
{
	uint32_t total = ((64u << 20) - 8192) / 64;

	teardown();
	stream_new(total, true);
	pc_stream_open_segment(&stream, PC_ROOM_SEQ_MASK, 3);
	for (uint32_t i = 0; i < total / 2; i++) {
		struct pc_reservation reservation = reserve(1, 1);

		EXPECT(reservation.line == i && reservation.unit == i && reservation.segment == 3);
		EXPECT(reservation.durable_below == i);
		commit(&reservation);
	}
	ck_assert_uint_eq(pc_room_seq(refuse(1, 1)), PC_ROOM_SEQ_MASK);
	pc_stream_open_segment(&stream, PC_ROOM_SEQ_MASK + 1, 2);
	reserve(1, total - 1);
	refuse(1, 0);
	pc_stream_open_segment(&stream, PC_ROOM_SEQ_MASK + 2, 1);
	reserve(total, 0);
	refuse(0, 1);
	ck_assert_uint_eq(pc_room_seq(pc_stream_room(&stream)), 1);
}
END_TEST

START_TEST(segment_that_is_closed_has_no_room)
{
	uint32_t lines = 0;
	struct pc_reservation reservation = reserve(3, 4);

	ck_assert(!pc_stream_close_segment(&stream, &lines));
	ck_assert_uint_eq(lines, 3);
	ck_assert(refuse(1, 1) == pc_room(1, 3, 4, true));
	ck_assert(pc_stream_commit(&stream, &reservation, &lines));
	refuse(0, 0);
	pc_stream_open_segment(&stream, 2, 1);
	ck_assert_uint_eq(reserve(1, 1).segment, 1);
}
END_TEST

/* ---- sealing ---- */

/* Writers with 1, 2, 3 ... lines; the segment is closed after so many commits. The last one to leave is told to seal. */
START_TEST(segment_is_sealed_by_whoever_is_last)
{
	for (uint32_t writers = 0; writers <= 4; writers++)
		for (uint32_t close_after = 0; close_after <= writers; close_after++)
			for (unsigned rotate = 0; rotate < 2; rotate++) {
				struct pc_reservation reservations[4];
				uint32_t all = writers * (writers + 1) / 2;
				uint32_t lines = 0;

				pc_stream_open_segment(&stream, 5, 0);
				for (uint32_t i = 0; i < writers; i++)
					reservations[i] = reserve(i + 1, 1);
				for (uint32_t i = 0; i < close_after; i++)
					commit(&reservations[i]);
				EXPECT(pc_stream_close_segment(&stream, &lines) == (close_after == writers));
				EXPECT(lines == all);
				EXPECT(pc_stream_last_room(&stream, 0) == pc_room(5, all, writers, true));
				if (rotate == 1) /* the next segment is open already: the old one keeps its own account */
					pc_stream_open_segment(&stream, 6, 1);
				for (uint32_t i = writers; i-- > close_after;) {
					bool is_last = i == close_after;

					lines = 99;
					EXPECT(pc_stream_commit(&stream, &reservations[i], &lines) == is_last);
					EXPECT(lines == (is_last ? all : 99));
				}
			}
}
END_TEST

START_TEST(segment_closed_twice_says_the_same_again)
{
	struct pc_reservation reservation = reserve(2, 2);
	uint32_t lines;

	ck_assert(!pc_stream_close_segment(&stream, &lines));
	ck_assert(!pc_stream_close_segment(&stream, &lines));
	ck_assert(pc_stream_commit(&stream, &reservation, &lines));
	lines = 0;
	ck_assert(pc_stream_close_segment(&stream, &lines));
	ck_assert_uint_eq(lines, 2);
}
END_TEST

START_TEST(segment_in_its_next_life_counts_anew)
{
	struct pc_reservation reservation = reserve(2, 2);
	uint32_t lines;

	commit(&reservation);
	ck_assert(pc_stream_close_segment(&stream, &lines));
	pc_stream_open_segment(&stream, 2, 1);
	pc_stream_open_segment(&stream, 3, 0);
	reservation = reserve(2, 2);
	ck_assert_uint_eq(reservation.line, 0);
	ck_assert_uint_eq(reservation.durable_below, 0);
	ck_assert(!pc_stream_close_segment(&stream, &lines));
	ck_assert(pc_stream_commit(&stream, &reservation, &lines));
	ck_assert_uint_eq(lines, 2);
}
END_TEST

/* Stalled since its lines were counted: the segment has lived on, and its new account looks just like the old one. */
START_TEST(commit_that_ends_in_a_later_life_seals_nothing)
{
	struct pc_reservation stalled = reserve(2, 2);
	struct pc_reservation other;
	uint32_t lines = 99;

	pc_stream_open_segment(&stream, 2, 1);
	pc_stream_open_segment(&stream, 3, 0);
	other = reserve(2, 2);
	ck_assert(!pc_stream_close_segment(&stream, &lines));
	pc_stream_open_segment(&stream, 4, 2);
	lines = 99;
	ck_assert(!pc_stream_commit(&stream, &stalled, &lines));
	ck_assert_uint_eq(lines, 99);
	ck_assert_uint_eq(other.segment, stalled.segment);
}
END_TEST

/* ---- what is durable ---- */

#define HAND_WRITERS 6u

/* Every order of reserving and committing: writers[0..reserved) have come, those in `gone` have left. */
struct hand {
	struct pc_reservation reservations[HAND_WRITERS];
	uint32_t reserved;
	uint32_t gone; /* bits */
	uint32_t last_exact;
};

static uint32_t hand_lines(const struct hand *hand)
{
	uint32_t lines = 0;

	for (uint32_t i = 0; i < hand->reserved; i++)
		lines += hand->reservations[i].lines;
	return lines;
}

static void hand_reserve(struct hand *hand)
{
	uint32_t lines_before = hand_lines(hand);
	bool alone = hand->gone == (1u << hand->reserved) - 1;
	struct pc_reservation *reservation = &hand->reservations[hand->reserved];

	*reservation = reserve(1 + hand->reserved % 3, 1);
	if (alone)
		hand->last_exact = lines_before;
	EXPECT(reservation->line == lines_before);
	EXPECT(reservation->durable_below == hand->last_exact);
	hand->reserved++;
}

static void hand_commit(struct hand *hand, uint32_t writer)
{
	commit(&hand->reservations[writer]);
	hand->gone |= 1u << writer;
}

static void hand_check_quiet(const struct hand *hand)
{
	uint64_t room = 0;

	EXPECT(pc_stream_is_quiet(&stream, &room) == (hand->gone == (1u << hand->reserved) - 1));
	EXPECT(room == pc_room(1, hand_lines(hand), hand->reserved, false));
}

/* Play the order with this number: each digit says who moves next. False: there is no such order. */
static bool hand_play(uint32_t order)
{
	struct hand hand = { 0 };

	pc_stream_open_segment(&stream, 1, 0);
	hand_check_quiet(&hand);
	while (hand.gone != (1u << HAND_WRITERS) - 1) {
		uint32_t in_flight = hand.reserved - (uint32_t)__builtin_popcount(hand.gone);
		uint32_t choices = in_flight + (hand.reserved < HAND_WRITERS ? 1 : 0);
		uint32_t choice = order % choices;
		uint32_t writer = 0;

		order /= choices;
		if (choice == in_flight) {
			hand_reserve(&hand);
		} else {
			for (;; writer++)
				if ((hand.gone & 1u << writer) == 0 && choice-- == 0)
					break;
			hand_commit(&hand, writer);
		}
		hand_check_quiet(&hand);
	}
	return order == 0;
}

/*
 * Exact for a writer that comes when nobody is on the way, else the last exact value: never too high, whoever leaves
 * first. There are 11 * 9 * 7 * 5 * 3 orders, numbered with gaps; the highest number begins with all reservations.
 */
START_TEST(durable_below_is_exact_when_alone_and_else_the_last_exact_value)
{
	uint32_t played = 0;

	for (uint32_t order = 0; order < 720 * 720; order++)
		played += hand_play(order);
	ck_assert_uint_eq(played, 10395);
}
END_TEST

/* The case that the sum of done lines must not be fooled by: B left, A did not. */
START_TEST(durable_below_with_an_older_writer_in_flight_stays_low)
{
	struct pc_reservation a = reserve(1, 1);
	struct pc_reservation b = reserve(1, 1);
	struct pc_reservation c;
	struct pc_reservation d;

	commit(&b);
	c = reserve(1, 1);
	ck_assert_uint_eq(c.durable_below, 0);
	commit(&c);
	ck_assert_uint_eq(reserve(0, 1).durable_below, 0);
	commit(&a);
	d = reserve(1, 1);
	ck_assert_uint_eq(d.durable_below, 3);
}
END_TEST

/* Another writer came later and was faster: what it found to be durable lies behind our own line. */
START_TEST(durable_below_never_passes_its_own_line)
{
	struct pc_reservation in_flight = reserve(3, 3);

	pc_stream_set_durable(&stream, pc_room(1, 50, 50, false));
	ck_assert_uint_eq(reserve(1, 1).durable_below, 3);
	ck_assert_uint_eq(reserve(1, 1).durable_below, 4);
	commit(&in_flight);
}
END_TEST

START_TEST(commit_that_is_not_durable_leaves_it_to_the_flush)
{
	struct pc_reservation reservation;
	uint64_t room;

	teardown();
	stream_new(ROOM, false);
	pc_stream_open_segment(&stream, 1, 0);
	reservation = reserve(2, 2);
	ck_assert(!pc_stream_is_quiet(&stream, &room));
	commit(&reservation);
	reservation = reserve(1, 1);
	ck_assert_uint_eq(reservation.durable_below, 0);
	commit(&reservation);
	ck_assert(pc_stream_is_quiet(&stream, &room));
	reservation = reserve(4, 1); /* after the flush began */
	pc_stream_set_durable(&stream, room);
	ck_assert_uint_eq(reservation.durable_below, 0);
	ck_assert_uint_eq(reserve(1, 1).durable_below, 3);
	/* An older flush that ends later takes nothing back. */
	pc_stream_set_durable(&stream, pc_room(1, 2, 2, false));
	ck_assert_uint_eq(reserve(1, 1).durable_below, 3);
	/* Of a closed segment, too. */
	pc_stream_set_durable(&stream, pc_room(1, 5, 9, true));
	ck_assert_uint_eq(reserve(1, 1).durable_below, 5);
}
END_TEST

/* A flush that ends late finds: the segment in another life; its number taken by another; both. */
START_TEST(set_durable_of_an_earlier_life_does_nothing)
{
	static const struct {
		uint64_t seq;
		uint32_t segment;
	} lives[] = { { 2, 0 }, { 1 + 8, 1 }, { 1 + 8, 0 } }; /* the ring has 8 places */

	for (unsigned i = 0; i < PC_ARRAY_SIZE(lives); i++) {
		struct pc_reservation reservation;
		uint64_t room;

		teardown();
		stream_new(ROOM, false);
		pc_stream_open_segment(&stream, 1, 0);
		reservation = reserve(5, 5);
		commit(&reservation);
		ck_assert(pc_stream_is_quiet(&stream, &room));
		pc_stream_open_segment(&stream, lives[i].seq, lives[i].segment);
		reserve(9, 9);
		pc_stream_set_durable(&stream, room);
		ck_assert_uint_eq(reserve(1, 1).durable_below, 0);
		ck_assert_uint_eq(pc_room_lines(pc_stream_room(&stream)), 10);
	}
}
END_TEST

START_TEST(quiet_after_close_still_waits_for_writers)
{
	struct pc_reservation reservation = reserve(2, 3);
	uint64_t room;
	uint32_t lines;

	ck_assert(!pc_stream_close_segment(&stream, &lines));
	ck_assert(!pc_stream_is_quiet(&stream, &room));
	ck_assert(pc_stream_commit(&stream, &reservation, &lines));
	ck_assert(pc_stream_is_quiet(&stream, &room));
	ck_assert_uint_eq(room, pc_room(1, 2, 3, true));
}
END_TEST

/* ---- after replay ---- */

START_TEST(adopted_segments_are_closed_and_the_last_one_is_the_head)
{
	uint64_t first = (3ull << 23) - 2; /* the low bits of the numbers turn over on the way */
	uint64_t room;
	uint32_t lines;

	teardown();
	stream_new(ROOM, true);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		pc_stream_adopt(&stream, first + i, SEGMENTS - 1 - i, 10 + i, 20 + i);
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		uint32_t segment = pc_stream_segment(&stream, first + i);

		ck_assert_uint_eq(segment, SEGMENTS - 1 - i);
		ck_assert_uint_eq(pc_stream_last_room(&stream, segment), pc_room(first + i, 10 + i, 20 + i, true));
	}
	ck_assert_uint_eq(refuse(1, 1), pc_room(first + 3, 13, 23, true));
	ck_assert(pc_stream_is_quiet(&stream, &room));
	ck_assert_uint_eq(room, pc_room(first + 3, 13, 23, true));
	ck_assert(pc_stream_close_segment(&stream, &lines));
	ck_assert_uint_eq(lines, 13);
	pc_stream_open_segment(&stream, first + 4, 3);
	ck_assert_uint_eq(reserve(1, 1).segment, 3);
	ck_assert_uint_eq(pc_stream_segment(&stream, first + 3), 0);
}
END_TEST

/* Every number that can be in the stream at once has a place of its own. */
START_TEST(ring_holds_one_segment_more_than_there_are)
{
	for (uint32_t count = 1; count <= 70; count++) {
		teardown();
		memset(&stream, 0, sizeof(stream));
		ck_assert_int_eq(pc_stream_init(&stream, count, ROOM, true), 0);
		/* The first and the last number, which would meet in a smaller ring, have different segments. */
		for (uint32_t i = 0; i <= count; i++)
			pc_stream_adopt(&stream, 1000 + i, i < count ? i : count - 1, 1, 1);
		for (uint32_t i = 0; i <= count; i++)
			EXPECT(pc_stream_segment(&stream, 1000 + i) == (i < count ? i : count - 1));
	}
}
END_TEST

START_TEST(init_without_memory_fails_and_leaks_nothing)
{
	unsigned failures = 0;
	int ret;

	teardown();
	pc_stream_destroy(&stream); /* once more, and of one that never was */
	memset(&stream, 0, sizeof(stream));
	pc_stream_destroy(&stream);
	if (!failing_memory_works())
		return;
	for (;; failures++) {
		failing_memory_arm(failures + 1);
		ret = pc_stream_init(&stream, SEGMENTS, ROOM, true);
		if (!failing_memory_disarm())
			break;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_int_eq(failing_memory_held(), 0);
		pc_stream_destroy(&stream);
	}
	ck_assert_int_eq(ret, 0);
	ck_assert_uint_ge(failures, 2);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, word_keeps_its_fields_apart);
	tcase_add_test(tcase, stream_that_is_new_has_no_room);
	tcase_add_test(tcase, segment_is_filled_to_the_last_unit);
	tcase_add_test(tcase, largest_segment_is_filled_by_one_unit_lines);
	tcase_add_test(tcase, segment_that_is_closed_has_no_room);
	tcase_add_test(tcase, segment_is_sealed_by_whoever_is_last);
	tcase_add_test(tcase, segment_closed_twice_says_the_same_again);
	tcase_add_test(tcase, segment_in_its_next_life_counts_anew);
	tcase_add_test(tcase, commit_that_ends_in_a_later_life_seals_nothing);
	tcase_add_test(tcase, durable_below_is_exact_when_alone_and_else_the_last_exact_value);
	tcase_add_test(tcase, durable_below_with_an_older_writer_in_flight_stays_low);
	tcase_add_test(tcase, durable_below_never_passes_its_own_line);
	tcase_add_test(tcase, commit_that_is_not_durable_leaves_it_to_the_flush);
	tcase_add_test(tcase, set_durable_of_an_earlier_life_does_nothing);
	tcase_add_test(tcase, quiet_after_close_still_waits_for_writers);
	tcase_add_test(tcase, adopted_segments_are_closed_and_the_last_one_is_the_head);
	tcase_add_test(tcase, ring_holds_one_segment_more_than_there_are);
	tcase_add_test(tcase, init_without_memory_fails_and_leaks_nothing);
}

int main(void)
{
	Suite *suite = suite_create("stream");
	TCase *tcase = case_new(suite, "stream");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
	return pc_run_suite(suite);
}
