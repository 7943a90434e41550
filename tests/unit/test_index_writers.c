/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_index_writers.c - lib/index.c with many writers on the way: any order of publishing, stalls, reclaim meanwhile.
 *
 * Method: writers that are prepared (most of them), reserved and published in any order are simulated by one
 * thread, so that a seed repeats them, and compared with a model of every byte (index_model.h). Real threads come last,
 * and are compared when they are done. Room that was promised and is not there (X3) shows as an assertion in the index,
 * or in AddressSanitizer.
 */
#include "index_model.h"

/* ---- many writers, simulated ---- */

#define WRITERS     8u
#define WRITER_KEYS 5u
#define SLOW_WRITERS 2u /* long ones, which others overtake */

/* Idle (keys == 0), prepared (first == 0), or reserved, with some of its keys published. */
struct writer {
	uint64_t off;
	uint32_t len;
	uint32_t keys;
	uint32_t first; /* key number */
	uint32_t published; /* bits */
	uint32_t segment;
	bool is_alone; /* one key, not prepared: it makes its room when it is entered */
};

struct simulation {
	struct test_random random;
	struct writer writers[WRITERS];
	uint32_t segment; /* where reservations go */
	uint64_t seq;
};

static void writer_prepare(struct simulation *sim, struct writer *writer)
{
	static const uint32_t longest[] = { 64, 512, 2 * KIB, 64 * KIB, 200 * KIB };
	bool is_slow = writer < sim->writers + SLOW_WRITERS;
	uint32_t grain = 1u << test_random_below(&sim->random, 13);
	uint64_t space = test_random_below(&sim->random, 4) == 0 ? SPACE_BYTES : 100 * KIB; /* mostly crowded */
	uint64_t len = 1 + test_random_below(&sim->random, longest[is_slow ? 4 : test_random_below(&sim->random, 5)]);

	writer->off = pc_align_down(test_random_below(&sim->random, space), grain);
	writer->len = (uint32_t)pc_min64(pc_align_up(len, grain), SPACE_BYTES - writer->off);
	writer->keys = (uint32_t)((writer->off + writer->len - 1) / 65536 - writer->off / 65536 + 1);
	writer->first = 0;
	writer->published = 0;
	writer->is_alone = writer->keys == 1 && test_random_below(&sim->random, 2) == 0;
	if (!writer->is_alone)
		prepare(writer->off, writer->len);
}

static void writer_reserve(struct simulation *sim, struct writer *writer)
{
	uint64_t off = writer->off;
	uint64_t end = off + writer->len;

	writer->segment = sim->segment;
	writer->first = model->key_count + 1;
	while (off < end) {
		uint64_t key_end = pc_min64(end, pc_align_down(off, 65536) + 65536);
		uint32_t key = key_in(sim->segment, off, (uint32_t)(key_end - off));

		model->keys[key].verified = test_random_below(&sim->random, 2) == 0;
		off = key_end;
	}
}

static void writer_publish(struct simulation *sim, struct writer *writer)
{
	uint32_t i = (uint32_t)test_random_below(&sim->random, writer->keys);

	while ((writer->published & 1u << i) != 0)
		i = (i + 1) % writer->keys;
	if (writer->is_alone)
		insert(writer->first);
	else
		publish(writer->first + i);
	writer->published |= 1u << i;
	if (writer->published == (1u << writer->keys) - 1)
		writer->keys = 0;
}

static void writer_give_up(struct writer *writer)
{
	if (!writer->is_alone)
		pc_index_unprepare(model->index, BASE + writer->off, writer->len);
	writer->keys = 0;
}

static void writer_step(struct simulation *sim)
{
	bool is_slow = test_random_below(&sim->random, 64) == 0;
	uint32_t first = is_slow ? 0 : SLOW_WRITERS;
	uint32_t count = is_slow ? SLOW_WRITERS : WRITERS - SLOW_WRITERS;
	struct writer *writer = &sim->writers[first + test_random_below(&sim->random, count)];

	if (writer->keys == 0)
		writer_prepare(sim, writer);
	else if (writer->published == 0 && test_random_below(&sim->random, 12) == 0)
		writer_give_up(writer);
	else if (writer->first == 0)
		writer_reserve(sim, writer);
	else
		writer_publish(sim, writer);
}

/* Whoever is on the way in this segment; SEGMENTS: everybody. */
static void writers_finish(struct simulation *sim, uint32_t segment)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		struct writer *writer = &sim->writers[i];

		if (segment == SEGMENTS && writer->keys != 0 && writer->first == 0)
			writer_reserve(sim, writer);
		while (writer->keys != 0 && writer->first != 0 && (segment == SEGMENTS || writer->segment == segment))
			writer_publish(sim, writer);
	}
}

/* As reclaim does it: key by key, or in one sweep; then the segment begins another life. */
static void reclaim(struct simulation *sim, uint32_t segment)
{
	if (test_random_below(&sim->random, 4) == 0) {
		pc_index_drop_segment(model->index, segment);
		model_drop(model, segment, BASE, SPACE_BYTES);
	}
	for (uint32_t key = 1; key <= model->key_count; key++)
		if (model->keys[key].segment == segment) {
			drop(segment, model->keys[key].off - BASE, model->keys[key].len);
			model->keys[key].segment = SEGMENTS; /* of an earlier life */
		}
	EXPECT(pc_index_live_bytes(model->index, segment) == 0);
	atomic_fetch_add(&model->refs[segment].gen, 1);
	atomic_store(&model->refs[segment].seq, 0);
}

/* The next segment, reclaimed first: nobody is on the way in it any more, but others may be anywhere. */
static void rotate(struct simulation *sim)
{
	uint32_t next = (sim->segment + 1) % SEGMENTS;

	writers_finish(sim, next);
	reclaim(sim, next);
	sim->segment = next;
	atomic_store(&model->refs[next].seq, ++sim->seq);
}

static void verify_something(struct simulation *sim)
{
	struct pc_piece piece;
	uint64_t off = BASE + test_random_below(&sim->random, SPACE_BYTES);

	EXPECT(pc_index_lookup(model->index, off, 1, &piece, 1) == 1);
	if (!piece.cached)
		return;
	pc_index_mark_verified(model->index, &piece.mapping);
	model->keys[model->owner[off - BASE]].verified = true;
}

static void look_somewhere(struct simulation *sim)
{
	uint64_t live[SEGMENTS] = { 0 };
	uint64_t off = test_random_below(&sim->random, SPACE_BYTES);
	uint64_t len = test_random_below(&sim->random, SPACE_BYTES - off) + 1;

	check_range(model, BASE + off, len, 1 + (unsigned)test_random_below(&sim->random, PIECES_MAX), live);
}

START_TEST(writers_in_random_order_leave_each_byte_to_the_highest_position)
{
	struct simulation sim = { .random = random_of((uint64_t)_i), .seq = SEGMENTS };
	unsigned steps = scaled(6000);

	atomic_store(&model->refs[0].seq, ++sim.seq);
	for (unsigned i = 0; i < steps; i++) {
		writer_step(&sim);
		if (i % 16 == 0)
			verify_something(&sim);
		if (i % 128 == 0)
			look_somewhere(&sim);
		if (i % 512 == 0)
			model_check(model, PIECES_MAX);
		if (test_random_below(&sim.random, 400) == 0)
			rotate(&sim);
	}
	writers_finish(&sim, SEGMENTS);
	model_check(model, 1);
	model_empty(model);
}
END_TEST

/* ---- promises of room ---- */

/* What one writer cut, another one's segment takes along when it is reclaimed; a third uses the room meanwhile (X3). */
START_TEST(drop_while_a_writer_stalls_leaves_it_the_room_it_was_promised)
{
	uint32_t stalled;

	write_key(0, 0, 65536);
	write_key(1, 65536, 65536);
	prepare(0, 65536);
	stalled = key_in(2, 0, 65536);
	for (uint32_t i = 0; i < 8; i++)
		write_key(2, 4096 + 8192 * i, 1024);
	drop(0, 0, 65536);
	for (uint32_t i = 0; i < 5; i++)
		write_key(2, 65536 + 4096 + 8192 * i, 1024);
	publish(stalled);
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

/* Somebody is always preparing: what others were promised and did not use must go back all the same. */
START_TEST(leaf_that_is_never_quiet_takes_memory_for_what_it_holds)
{
	prepare(65536, 1);
	for (uint32_t i = 0; i < 20000; i++)
		write_key(0, 4096 * (i % 4), 4096);
	ck_assert_uint_le(pc_index_memory_bytes(model->index) - model->empty_bytes, 1024);
	pc_index_unprepare(model->index, BASE + 65536, 1);
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

#define EPISODE_BYTES 4096u

static void episode_prepare(struct simulation *sim, struct writer *writer, uint32_t len_max)
{
	*writer = (struct writer){ .off = test_random_below(&sim->random, EPISODE_BYTES), .keys = 1 };
	writer->len = 1 + (uint32_t)test_random_below(&sim->random, pc_min64(len_max, EPISODE_BYTES - writer->off));
	writer->is_alone = len_max < EPISODE_BYTES && test_random_below(&sim->random, 2) == 0;
	if (!writer->is_alone)
		prepare(writer->off, writer->len);
}

/* What was there before: a few keys of segments 0 and 1, which are dropped on the way. */
static void episode_begin(struct simulation *sim)
{
	uint32_t count = (uint32_t)test_random_below(&sim->random, 6);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t off = test_random_below(&sim->random, EPISODE_BYTES);

		write_key(i * 2 / count, off, 1 + (uint32_t)test_random_below(&sim->random, EPISODE_BYTES - off));
	}
	sim->segment = 2;
	for (unsigned i = 0; i < SLOW_WRITERS; i++)
		episode_prepare(sim, &sim->writers[i], EPISODE_BYTES);
}

static void episode_step(struct simulation *sim, uint32_t drop_one_in)
{
	struct writer *writer = &sim->writers[test_random_below(&sim->random, WRITERS)];
	bool is_slow = writer < sim->writers + SLOW_WRITERS;

	if (test_random_below(&sim->random, drop_one_in) == 0)
		drop((uint32_t)test_random_below(&sim->random, 2), 0, EPISODE_BYTES);
	if (writer->keys != 0 && writer->first == 0)
		writer_reserve(sim, writer);
	else if (writer->keys != 0 && !is_slow)
		writer_publish(sim, writer);
	else if (!is_slow)
		episode_prepare(sim, writer, 64);
}

/*
 * Long writers stall while short ones come and go, older keys are dropped, and all of it happens in a leaf that has just
 * as much room as was asked for. Many short episodes: between them the leaf is freed.
 */
START_TEST(publish_after_stall_has_its_room_whatever_happened_meanwhile)
{
	struct simulation sim = { .random = random_of(200) };
	unsigned episodes = scaled(3000);

	for (unsigned episode = 0; episode < episodes; episode++) {
		uint32_t steps = 1 + (uint32_t)test_random_below(&sim.random, 300);
		uint32_t drop_one_in = 1 + steps / (1 + (uint32_t)test_random_below(&sim.random, 3));
		uint64_t live[SEGMENTS] = { 0 };

		model->key_count = 0;
		episode_begin(&sim);
		for (uint32_t i = 0; i < steps; i++)
			episode_step(&sim, drop_one_in);
		writers_finish(&sim, SEGMENTS);
		check_range(model, BASE, EPISODE_BYTES, PIECES_MAX, live);
		for (uint32_t segment = 0; segment <= sim.segment; segment++)
			drop(segment, 0, EPISODE_BYTES);
		EXPECT(pc_index_memory_bytes(model->index) == model->empty_bytes);
	}
}
END_TEST

/* ---- threads ---- */

#define THREADS        4u
#define THREAD_TICKETS 6000u /* writes of all threads */

static _Atomic uint32_t next_ticket;
static _Atomic bool stop;

/* A write is a ticket: the position of the write, and the seed of its range. Keys of ticket t are t * WRITER_KEYS + 1 ... */
static void ticket_write(uint32_t ticket, uint64_t off, uint64_t len)
{
	uint32_t key = ticket * WRITER_KEYS + 1;
	uint32_t first = key;

	for (uint64_t end = off + len; off < end; key++) {
		uint64_t key_end = pc_min64(end, pc_align_down(off, 65536) + 65536);

		model->keys[key] = (struct pc_mapping){
			.off = BASE + off,
			.len = (uint32_t)(key_end - off),
			.segment = ticket * SEGMENTS / THREAD_TICKETS,
			.data_off = 64 * key,
			.slot = key,
		};
		off = key_end;
	}
	/* The last one first: no order among the keys of a write. */
	while (key-- > first)
		pc_index_publish(model->index, &model->keys[key]);
}

static void *write_tickets(void *seed)
{
	struct test_random random = test_random_make((uintptr_t)seed);

	for (;;) {
		uint64_t off = test_random_below(&random, 4) == 0 ? test_random_below(&random, SPACE_BYTES) :
								    test_random_below(&random, 70 * KIB);
		uint64_t len = 1 + test_random_below(&random, test_random_below(&random, 8) == 0 ? 200 * KIB : 9000);
		uint32_t ticket;

		len = pc_min64(len, SPACE_BYTES - off);
		EXPECT(pc_index_prepare(model->index, BASE + off, len) == 0);
		ticket = atomic_fetch_add(&next_ticket, 1);
		if (ticket >= THREAD_TICKETS) {
			pc_index_unprepare(model->index, BASE + off, len);
			return NULL;
		}
		ticket_write(ticket, off, len);
	}
}

/* What is found lies inside its key: a key is written before it is published, and never changes. */
static void *read_pieces(void *seed)
{
	struct test_random random = test_random_make((uintptr_t)seed);
	struct pc_piece pieces[PIECES_MAX];

	while (!atomic_load(&stop)) {
		uint64_t off = BASE + test_random_below(&random, SPACE_BYTES);
		unsigned count = pc_index_lookup(model->index, off, 1 + test_random_below(&random, LEAF), pieces, PIECES_MAX);

		EXPECT(count >= 1);
		for (unsigned i = 0; i < count; i++) {
			const struct pc_mapping *piece = &pieces[i].mapping;
			const struct pc_mapping *key = &model->keys[piece->slot];

			EXPECT(piece->off == off);
			off += piece->len;
			EXPECT(!pieces[i].cached ||
			       (piece->segment == key->segment && piece->off >= key->off &&
				piece->off + piece->len <= key->off + key->len &&
				piece->data_off == key->data_off + (piece->off - key->off)));
		}
	}
	return NULL;
}

START_TEST(threads_that_write_together_leave_each_byte_to_the_highest_position)
{
	pthread_t writers[THREADS];
	pthread_t reader;

	thread_start(&reader, read_pieces, (void *)(uintptr_t)99);
	for (uintptr_t i = 0; i < THREADS; i++)
		thread_start(&writers[i], write_tickets, (void *)(i + 10 * (uintptr_t)_i));
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(writers[i]);
	atomic_store(&stop, true);
	thread_join(reader);
	for (uint32_t key = 1; key <= THREAD_TICKETS * WRITER_KEYS; key++)
		if (model->keys[key].len != 0)
			model_enter(model, key);
	model_check(model, PIECES_MAX);
	model_empty(model);
	atomic_store(&stop, false);
	atomic_store(&next_ticket, 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, writers_in_random_order_leave_each_byte_to_the_highest_position, 0, 10);
	tcase_add_test(tcase, drop_while_a_writer_stalls_leaves_it_the_room_it_was_promised);
	tcase_add_test(tcase, leaf_that_is_never_quiet_takes_memory_for_what_it_holds);
	tcase_add_test(tcase, publish_after_stall_has_its_room_whatever_happened_meanwhile);
	tcase_add_loop_test(tcase, threads_that_write_together_leave_each_byte_to_the_highest_position, 0, 4);
}

int main(void)
{
	Suite *suite = suite_create("index_writers");
	TCase *tcase = case_new(suite, "writers");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
	return pc_run_suite(suite);
}
