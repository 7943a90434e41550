/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stream_threads.c - lib/stream.c under threads: room is given once, a segment is sealed when all are done, never
 * earlier and never not at all, and nothing is called durable that is not.
 *
 * Method: writers reserve and commit in segments so small that they rotate all the time; sealed segments come back into
 * use, the oldest first. Each line and unit carries a stamp: the sequence number of the life in which it was taken, and
 * of that in which it was committed. A checker looks for quiet moments, and plays the flush where commits are not
 * durable.
 */
#include "stream.h"
#include "support.h"

#include <sched.h>

#define SEGMENTS 4u
#define WRITERS  4u
#define ROOM_MAX 4096u

struct stamps {
	_Atomic uint64_t line_taken[ROOM_MAX];
	_Atomic uint64_t line_committed[ROOM_MAX];
	_Atomic uint64_t unit_taken[ROOM_MAX];
	_Atomic uint64_t seq;           /* of its life */
	_Atomic uint64_t flushed_seq;   /* of the last flush ... */
	_Atomic uint32_t flushed_below; /* ... and lines that it made durable */
};

static struct stamps stamps[SEGMENTS];
static struct pc_stream stream;
static uint32_t room_total;
static unsigned rounds; /* reservations of one writer */
static _Atomic bool stop;
static _Atomic uint64_t quiet_moments;
static _Atomic uint64_t durable_calls; /* reservations that came with lines to call durable */

/* ---- segments: what lives, what is sealed, what is free ---- */

static struct {
	pthread_mutex_t lock; /* guards what follows; taken within the stream's rotate_lock */

	uint64_t newest_seq;
	uint64_t oldest_seq;
	uint32_t segment_of[SEGMENTS + 1]; /* by seq; at most SEGMENTS live at once */
	bool sealed[SEGMENTS + 1];
	bool free[SEGMENTS];
	uint64_t sealed_lines;
	struct test_random random;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Of the open segment, or one that lives on because it is not sealed. */
static void seal(uint64_t seq, uint32_t segment, uint32_t lines)
{
	pthread_mutex_lock(&pool.lock);
	if (seq >= pool.oldest_seq && !pool.sealed[seq % (SEGMENTS + 1)]) {
		EXPECT(pool.segment_of[seq % (SEGMENTS + 1)] == segment);
		for (uint32_t i = 0; i < lines; i++)
			EXPECT(atomic_load(&stamps[segment].line_committed[i]) == seq);
		for (uint32_t i = lines; i < room_total; i++)
			EXPECT(atomic_load(&stamps[segment].line_taken[i]) != seq);
		pool.sealed[seq % (SEGMENTS + 1)] = true;
		pool.sealed_lines += lines;
	}
	pthread_mutex_unlock(&pool.lock);
}

/* Oldest first, as far as they are sealed. */
static void reclaim_locked(void)
{
	while (pool.oldest_seq <= pool.newest_seq && pool.sealed[pool.oldest_seq % (SEGMENTS + 1)])
		pool.free[pool.segment_of[pool.oldest_seq++ % (SEGMENTS + 1)]] = true;
}

/* A free segment for the next life, any of them; SEGMENTS: none. */
static uint32_t begin_life(uint64_t *ret_seq)
{
	uint32_t segment;
	uint32_t tries = 0;

	pthread_mutex_lock(&pool.lock);
	reclaim_locked();
	segment = (uint32_t)test_random_below(&pool.random, SEGMENTS);
	while (!pool.free[segment] && tries++ < SEGMENTS)
		segment = (segment + 1) % SEGMENTS;
	if (pool.free[segment]) {
		pool.free[segment] = false;
		*ret_seq = ++pool.newest_seq;
		pool.segment_of[*ret_seq % (SEGMENTS + 1)] = segment;
		pool.sealed[*ret_seq % (SEGMENTS + 1)] = false;
		atomic_store(&stamps[segment].seq, *ret_seq);
	} else {
		segment = SEGMENTS;
	}
	pthread_mutex_unlock(&pool.lock);
	return segment;
}

/* Until `seen` is no longer the open segment, or no segment is free. */
static void rotate(uint64_t seen)
{
	uint64_t room;
	uint64_t seq;
	uint32_t segment;
	uint32_t lines;

	pthread_mutex_lock(&stream.rotate_lock);
	room = pc_stream_room(&stream);
	if (pc_room_seq(room) == pc_room_seq(seen)) {
		segment = pc_stream_segment(&stream, pc_room_seq(room));
		if (!pc_room_is_closed(room) && pc_stream_close_segment(&stream, &lines))
			seal(atomic_load(&stamps[segment].seq), segment, lines);
		segment = begin_life(&seq);
		if (segment != SEGMENTS)
			pc_stream_open_segment(&stream, seq, segment);
	}
	pthread_mutex_unlock(&stream.rotate_lock);
}

/* ---- writers ---- */

static void check_durable(const struct pc_reservation *reservation, uint64_t seq)
{
	struct stamps *segment = &stamps[reservation->segment];

	EXPECT(reservation->durable_below <= reservation->line);
	for (uint32_t i = 0; i < reservation->durable_below; i++)
		EXPECT(atomic_load(&segment->line_committed[i]) == seq);
	if (reservation->durable_below == 0)
		return;
	atomic_fetch_add(&durable_calls, 1);
	EXPECT(stream.commit_is_durable || (atomic_load(&segment->flushed_seq) == seq &&
					    atomic_load(&segment->flushed_below) >= reservation->durable_below));
}

static void use(struct test_random *random, const struct pc_reservation *reservation)
{
	struct stamps *segment = &stamps[reservation->segment];
	uint64_t seq = atomic_load(&segment->seq);
	uint32_t lines;

	EXPECT((seq & PC_ROOM_SEQ_MASK) == reservation->seq_low);
	EXPECT(reservation->line + reservation->lines + reservation->unit + reservation->units <= room_total);
	for (uint32_t i = 0; i < reservation->lines; i++)
		EXPECT(atomic_exchange(&segment->line_taken[reservation->line + i], seq) != seq);
	for (uint32_t i = 0; i < reservation->units; i++)
		EXPECT(atomic_exchange(&segment->unit_taken[reservation->unit + i], seq) != seq);
	check_durable(reservation, seq);
	if (test_random_below(random, 8) == 0)
		sched_yield();
	for (uint32_t i = 0; i < reservation->lines; i++)
		atomic_store(&segment->line_committed[reservation->line + i], seq);
	if (pc_stream_commit(&stream, reservation, &lines))
		seal(seq, reservation->segment, lines);
}

static void *write_rounds(void *ret_lines)
{
	struct test_random random = test_random_make((uintptr_t)ret_lines);
	uint64_t taken = 0;

	for (unsigned done = 0; done < rounds;) {
		struct pc_reservation reservation;
		uint32_t lines = 1 + (uint32_t)test_random_below(&random, 2);
		uint32_t units = 1 + (uint32_t)test_random_below(&random, 4);
		uint64_t room;

		if (pc_stream_reserve(&stream, lines, units, &reservation, &room)) {
			use(&random, &reservation);
			taken += lines;
			done++;
		} else {
			rotate(room);
			sched_yield();
		}
	}
	*(uint64_t *)ret_lines = taken;
	return NULL;
}

/* ---- the checker ---- */

/* What is committed at a quiet moment is durable when the flush that began then is over. */
static void flush(uint64_t room, struct stamps *segment, uint64_t seq)
{
	if (atomic_load(&segment->flushed_seq) != seq) {
		atomic_store(&segment->flushed_below, 0);
		atomic_store(&segment->flushed_seq, seq);
	}
	atomic_store(&segment->flushed_below, pc_room_lines(room));
	pc_stream_set_durable(&stream, room);
}

/* The numbers stay far from where the word forgets their high bits. */
static void *look_for_quiet(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		uint64_t room;
		uint64_t seq;
		struct stamps *segment;

		if (!pc_stream_is_quiet(&stream, &room))
			continue;
		seq = pc_room_seq(room);
		segment = &stamps[pc_stream_segment(&stream, seq)];
		for (uint32_t i = 0; i < pc_room_lines(room); i++) {
			bool committed = atomic_load(&segment->line_committed[i]) == seq;

			/* While its number is the newest, the segment is in this life. */
			EXPECT(committed || pc_room_seq(pc_stream_room(&stream)) != seq);
		}
		atomic_fetch_add(&quiet_moments, 1);
		if (!stream.commit_is_durable && atomic_load(&segment->seq) == seq)
			flush(room, segment, seq);
	}
	return NULL;
}

/* ---- the tests ---- */

static void begin(uint32_t room, bool commit_is_durable)
{
	memset(stamps, 0, sizeof(stamps));
	memset(&stream, 0, sizeof(stream));
	room_total = room;
	atomic_store(&stop, false);
	atomic_store(&quiet_moments, 0);
	atomic_store(&durable_calls, 0);
	pool.newest_seq = 0;
	pool.oldest_seq = 1;
	pool.sealed_lines = 0;
	pool.random = test_random_make(7);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		pool.free[i] = true;
	ck_assert_int_eq(pc_stream_init(&stream, SEGMENTS, room_total, commit_is_durable), 0);
}

static uint64_t run_writers(void)
{
	pthread_t writers[WRITERS];
	pthread_t checker;
	uint64_t lines[WRITERS];
	uint64_t sum = 0;

	thread_start(&checker, look_for_quiet, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		thread_start(&writers[i], write_rounds, &lines[i]);
	for (unsigned i = 0; i < WRITERS; i++) {
		thread_join(writers[i]);
		sum += lines[i];
	}
	while (atomic_load(&quiet_moments) == 0)
		sched_yield(); /* it is quiet now */
	atomic_store(&stop, true);
	thread_join(checker);
	return sum;
}

/* _i: room of a segment, and whether a commit is durable by itself */
START_TEST(writers_that_rotate_seal_every_segment_and_share_no_line)
{
	static const uint32_t rooms[] = { 7, 12, 60 };
	uint64_t room;
	uint64_t sum;

	rounds = scaled(30000);
	begin(rooms[_i / 2], _i % 2 == 0);
	sum = run_writers();
	room = pc_stream_room(&stream);
	rotate(room); /* closes the last one; nobody is on the way: it is sealed */
	ck_assert_uint_eq(pool.sealed_lines, sum);
	ck_assert_uint_ge(pool.newest_seq, 2 * sum / room_total);
	fprintf(stderr, "# %ju segments, %ju quiet moments, %ju times something was called durable\n",
		(uintmax_t)pool.newest_seq, (uintmax_t)atomic_load(&quiet_moments), (uintmax_t)atomic_load(&durable_calls));
	pc_stream_destroy(&stream);
}
END_TEST

/* One segment: all of it is given out, and the close is the only one to seal. */
START_TEST(writers_in_one_large_segment_fill_it_without_overlap)
{
	uint64_t room;
	uint64_t sum;
	uint64_t lines = 0;

	rounds = ROOM_MAX / WRITERS / 6; /* at most 6 each time: they fit */
	begin(ROOM_MAX, true);
	rotate(pc_stream_room(&stream));
	sum = run_writers();
	room = pc_stream_room(&stream);
	ck_assert_uint_eq(pool.newest_seq, 1);
	ck_assert_uint_eq(pc_room_lines(room), sum);
	for (uint32_t i = 0; i < ROOM_MAX; i++)
		lines += atomic_load(&stamps[pc_stream_segment(&stream, 1)].line_committed[i]);
	ck_assert_uint_eq(lines, sum);
	rotate(room);
	ck_assert_uint_eq(pool.sealed_lines, sum);
	pc_stream_destroy(&stream);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stream_threads");
	TCase *tcase = case_new(suite, "threads");

	tcase_set_timeout(tcase, 300);
	tcase_add_loop_test(tcase, writers_that_rotate_seal_every_segment_and_share_no_line, 0, 6);
	tcase_add_test(tcase, writers_in_one_large_segment_fill_it_without_overlap);
	return pc_run_suite(suite);
}
