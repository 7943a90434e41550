/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_index.c - lib/index.c: which key has each byte, whatever the order in which keys come and go (X1 to X5).
 *
 * Method: a model of every byte (index_model.h). Writers that are prepared, reserved and published in any order are
 * simulated by one thread, so that a seed repeats them; real threads come last, and are compared when they are done.
 * Room that was promised and is not there shows as an assertion in the index, or in AddressSanitizer.
 */
#include "failing_memory.h"
#include "index_model.h"

#include <errno.h>

#define LEAF     PC_LEAF_BYTES
#define BASE     (1234567ull * LEAF)
#define KEYS_MAX 60000u
#define KIB      1024u

/* ---- one key after the other ---- */

static struct model *model;

static void setup(void)
{
	model = model_new(BASE, 1, KEYS_MAX);
}

static void teardown(void)
{
	model_delete(model);
}

/* The next position, in a segment; off counts from the start of the space. */
static uint32_t key_in(uint32_t segment, uint64_t off, uint32_t len)
{
	const struct pc_mapping mapping = {
		.off = BASE + off,
		.len = len,
		.segment = segment,
		.data_off = 64 * (model->key_count + 128),
		.slot = model->key_count + 1,
	};

	return model_key(model, &mapping);
}

static void prepare(uint64_t off, uint64_t len)
{
	EXPECT(pc_index_prepare(model->index, BASE + off, len) == 0);
}

static void publish(uint32_t key)
{
	pc_index_publish(model->index, &model->keys[key]);
	model_enter(model, key);
}

static uint32_t write_key(uint32_t segment, uint64_t off, uint32_t len)
{
	uint32_t key = key_in(segment, off, len);

	prepare(off, len);
	publish(key);
	return key;
}

static void drop(uint32_t segment, uint64_t off, uint32_t len)
{
	pc_index_drop(model->index, segment, BASE + off, len);
	model_drop(model, segment, BASE + off, len);
}

START_TEST(index_that_is_new_is_one_hole_per_leaf)
{
	struct pc_piece pieces[2];

	model_check(model, 1);
	ck_assert_uint_eq(pc_index_lookup(model->index, BASE + 5, 3 * LEAF, pieces, 2), 1);
	ck_assert(!pieces[0].cached);
	ck_assert_uint_eq(pieces[0].mapping.len, LEAF - 5);
	ck_assert_uint_eq(pc_index_lookup(model->index, BASE + 5, 7, pieces, 2), 1);
	ck_assert_uint_eq(pieces[0].mapping.len, 7);
	model_empty(model);
}
END_TEST

START_TEST(key_published_last_wins_only_with_a_higher_position)
{
	uint32_t low = key_in(0, 1000, 5000);
	uint32_t high = key_in(0, 3000, 1000);
	uint32_t other_segment = key_in(1, 3500, 5000);

	prepare(1000, 5000);
	prepare(3000, 1000);
	prepare(3500, 5000);
	publish(other_segment);
	publish(high);
	publish(low);
	model_check(model, PIECES_MAX);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 2500);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 1), 5000);
	ck_assert_uint_eq(pc_index_cached_bytes(model->index), 7500);
	model_empty(model);
}
END_TEST

/* Of two segments the one with the higher sequence number is later, not the one with the higher number or slot. */
START_TEST(key_of_segment_with_higher_sequence_wins)
{
	uint32_t low = key_in(5, 0, 4096);
	uint32_t high = key_in(2, 0, 4096);

	atomic_store(&model->refs[5].seq, 10);
	atomic_store(&model->refs[2].seq, 11);
	model->keys[low].slot = 900;
	model->keys[high].slot = 1;
	prepare(0, 4096);
	prepare(0, 4096);
	publish(high);
	publish(low);
	model_check(model, PIECES_MAX);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 2), 4096);
}
END_TEST

/* Every way in which a second key can lie to a first one, in both orders of position. */
START_TEST(two_keys_in_any_relation_give_each_byte_to_the_later)
{
	uint64_t live[SEGMENTS] = { 0 };

	for (uint64_t off = 0; off < 24; off++)
		for (uint32_t len = 1; off + len <= 24; len++)
			for (unsigned order = 0; order < 2; order++) {
				uint32_t first = key_in(0, order == 0 ? 8 : off, order == 0 ? 8 : len);
				uint32_t second = key_in(0, order == 0 ? off : 8, order == 0 ? len : 8);

				prepare(0, 24);
				prepare(0, 24);
				publish(order == 0 ? first : second);
				publish(order == 0 ? second : first);
				check_range(model, BASE, 32, 1, live);
				drop(0, 0, 24);
				check_range(model, BASE, 32, 1, live);
			}
	model_check(model, 1);
}
END_TEST

START_TEST(key_with_largest_fields_comes_back_whole)
{
	const struct pc_mapping largest = {
		.off = (INT64_MAX & ~(LEAF - 1ull)) + LEAF - PC_INDEX_KEY_MAX,
		.len = PC_INDEX_KEY_MAX,
		.segment = (1u << 17) - 1,
		.data_off = (64u << 20) - PC_INDEX_KEY_MAX,
		.slot = (1u << 21) - 1,
		.verified = true,
	};
	struct pc_segment_ref *refs = calloc(largest.segment + 1, sizeof(*refs));
	struct pc_index *index;
	struct pc_piece piece;

	atomic_store(&refs[largest.segment].gen, UINT64_MAX - 1);
	ck_assert_int_eq(pc_index_new(refs, largest.segment + 1, 1, &index), 0);
	ck_assert_int_eq(pc_index_insert(index, &largest), 0);
	ck_assert_uint_eq(pc_index_lookup(index, largest.off + 1, largest.len, &piece, 1), 1);
	ck_assert(piece.cached && piece.mapping.verified);
	ck_assert_uint_eq(piece.mapping.off, largest.off + 1);
	ck_assert_uint_eq(piece.mapping.len, largest.len - 1);
	ck_assert_uint_eq(piece.mapping.segment, largest.segment);
	ck_assert_uint_eq(piece.mapping.data_off, largest.data_off + 1);
	ck_assert_uint_eq(piece.mapping.slot, largest.slot);
	ck_assert_uint_eq(piece.gen, UINT64_MAX - 1);
	ck_assert_uint_eq(pc_index_live_bytes(index, largest.segment), PC_INDEX_KEY_MAX);
	pc_index_delete(index);
	free(refs);
}
END_TEST

START_TEST(drop_of_a_key_removes_what_is_left_of_it_and_nothing_else)
{
	uint32_t victim = write_key(0, 1000, 50000);

	write_key(1, 2000, 1000);
	write_key(0, 60000, 1000); /* same segment, another key */
	write_key(2, 40000, 20000);
	model_check(model, PIECES_MAX);
	drop(3, 0, 65536);
	drop(0, LEAF, 65536);
	model_check(model, PIECES_MAX);
	drop(0, 1000, model->keys[victim].len);
	model_check(model, PIECES_MAX);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 1000);
	drop(0, 60000, 1000);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 0);
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

/* Leaves that become empty, leaves that do not, and several of them on one bucket. */
START_TEST(drop_of_a_segment_sweeps_every_leaf)
{
	for (unsigned i = 0; i < SPACE_LEAFS * 4; i++) {
		write_key(0, i * 65536ull, 60000);
		write_key(1 + i % 2, i * 65536ull + 100, i % 3 == 0 ? 10 : 70);
	}
	pc_index_drop_segment(model->index, 0);
	model_drop(model, 0, BASE, SPACE_BYTES);
	model_check(model, PIECES_MAX);
	pc_index_drop_segment(model->index, 2);
	model_drop(model, 2, BASE, SPACE_BYTES);
	model_check(model, PIECES_MAX);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0) + pc_index_live_bytes(model->index, 2), 0);
	model_empty(model);
}
END_TEST

START_TEST(mark_verified_marks_every_part_of_its_key_and_no_other)
{
	uint32_t key = write_key(0, 65536, 65536);
	uint32_t neighbour = write_key(0, 2 * 65536, 65536); /* slot + 1 */
	uint32_t same_slot = key_in(1, 70000, 100);
	struct pc_piece pieces[PIECES_MAX];

	model->keys[same_slot].slot = model->keys[key].slot;
	prepare(70000, 100);
	publish(same_slot);
	write_key(2, 80000, 100);
	ck_assert_uint_eq(pc_index_lookup(model->index, BASE + 80100, 1, pieces, 1), 1);
	pc_index_mark_verified(model->index, &pieces[0].mapping); /* in the last part of the key */
	model->keys[key].verified = true;
	model_check(model, PIECES_MAX);
	ck_assert(!model->keys[neighbour].verified);
	/* Of a key that is gone, or a leaf that is not there: nothing happens. */
	drop(0, 65536, 65536);
	pc_index_mark_verified(model->index, &pieces[0].mapping);
	pieces[0].mapping.off = BASE + 2 * LEAF;
	pc_index_mark_verified(model->index, &pieces[0].mapping);
	model_check(model, PIECES_MAX);
}
END_TEST

START_TEST(unprepare_gives_back_all_memory)
{
	prepare(10, SPACE_BYTES - 20);
	prepare(100, 1);
	ck_assert_uint_gt(pc_index_memory_bytes(model->index), model->empty_bytes);
	pc_index_unprepare(model->index, BASE + 100, 1);
	pc_index_unprepare(model->index, BASE + 10, SPACE_BYTES - 20);
	ck_assert_uint_eq(pc_index_memory_bytes(model->index), model->empty_bytes);
	model_check(model, PIECES_MAX);
	pc_index_drop(model->index, 0, BASE, 65536);
	pc_index_drop_segment(model->index, 0);
}
END_TEST

/* A leaf whose last extent goes while somebody is preparing stays, and is freed by the last one (X5). */
START_TEST(leaf_that_is_prepared_survives_its_last_extent)
{
	write_key(0, 0, 4096);
	prepare(8192, 4096);
	drop(0, 0, 4096);
	ck_assert_uint_gt(pc_index_memory_bytes(model->index), model->empty_bytes);
	pc_index_drop_segment(model->index, 0);
	publish(key_in(1, 8192, 4096));
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

/* ---- bounds ---- */

/* The goal: at most 24 bytes for each 4 KiB block, whatever the order in which the blocks come. */
START_TEST(memory_for_random_blocks_is_at_most_24_bytes_each)
{
	uint64_t capacity = 128u << 20;
	uint32_t blocks = (uint32_t)(capacity / 4096);
	struct test_random random = random_of(11);
	struct pc_segment_ref refs[1] = { 0 };
	uint32_t *order = malloc(blocks * sizeof(*order));
	struct pc_index *index;

	ck_assert_int_eq(pc_index_new(refs, 1, capacity, &index), 0);
	for (uint32_t i = 0; i < blocks; i++) {
		uint32_t other = (uint32_t)test_random_below(&random, i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (uint32_t i = 0; i < blocks; i++) {
		struct pc_mapping mapping = { .off = order[i] * 4096ull, .len = 4096, .slot = i };

		EXPECT(pc_index_prepare(index, mapping.off, mapping.len) == 0);
		pc_index_publish(index, &mapping);
	}
	ck_assert_uint_eq(pc_index_cached_bytes(index), capacity);
	fprintf(stderr, "# %.2f bytes for each block\n", (double)pc_index_memory_bytes(index) / blocks);
	ck_assert_uint_le(pc_index_memory_bytes(index), 24ull * blocks);
	pc_index_drop_segment(index, 0);
	ck_assert_uint_eq(pc_index_cached_bytes(index), 0);
	ck_assert_uint_le(pc_index_memory_bytes(index), 5ull * blocks); /* the buckets */
	pc_index_delete(index);
	free(order);
}
END_TEST

START_TEST(leaf_that_loses_most_extents_gives_back_most_memory)
{
	uint64_t full;

	for (uint32_t off = 0; off < LEAF; off += 256)
		write_key(0, off, 100);
	full = pc_index_memory_bytes(model->index) - model->empty_bytes;
	ck_assert_uint_ge(full, LEAF / 256 * 16);
	for (uint32_t off = 0; off < LEAF; off += 65536)
		write_key(1, off, 65536);
	ck_assert_uint_le(pc_index_memory_bytes(model->index) - model->empty_bytes, full / 16);
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

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
	publish(writer->first + i);
	writer->published |= 1u << i;
	if (writer->published == (1u << writer->keys) - 1)
		writer->keys = 0;
}

static void writer_give_up(struct writer *writer)
{
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
		if (i % 64 == 0)
			look_somewhere(&sim);
		if (i % 256 == 0)
			model_check(model, PIECES_MAX);
		if (test_random_below(&sim.random, 400) == 0)
			rotate(&sim);
	}
	writers_finish(&sim, SEGMENTS);
	model_check(model, 1);
	model_empty(model);
}
END_TEST

/* ---- replay ---- */

static void shuffle(struct test_random *random, uint32_t *order, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t other = (uint32_t)test_random_below(random, i + 1);

		order[i] = order[other];
		order[other] = i + 1;
	}
}

START_TEST(keys_inserted_in_any_order_give_the_result_of_their_positions)
{
	struct test_random random = random_of(100 + (uint64_t)_i);
	uint32_t count = 1500;
	PC_FREE uint32_t *order = malloc(count * sizeof(*order));

	for (uint32_t i = 0; i < count; i++) {
		uint64_t off = test_random_below(&random, SPACE_BYTES);
		uint64_t len = 1 + test_random_below(&random, i % 7 == 0 ? 65536 : 3000);

		model_enter(model, key_in(i * SEGMENTS / count, off, (uint32_t)pc_min64(len, 65536 - off % 65536)));
	}
	for (unsigned round = 0; round < 10; round++) {
		shuffle(&random, order, count);
		for (uint32_t i = 0; i < count; i++)
			EXPECT(pc_index_insert(model->index, &model->keys[order[i]]) == 0);
		model_check(model, PIECES_MAX);
		for (unsigned segment = 0; segment < SEGMENTS; segment++)
			pc_index_drop_segment(model->index, segment);
		ck_assert_uint_eq(pc_index_memory_bytes(model->index), model->empty_bytes);
	}
}
END_TEST

START_TEST(key_inserted_twice_counts_once)
{
	uint32_t low = key_in(0, 100, 1000);
	uint32_t high = key_in(0, 300, 100);

	model_enter(model, low);
	model_enter(model, high);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(pc_index_insert(model->index, &model->keys[low]), 0);
		ck_assert_int_eq(pc_index_insert(model->index, &model->keys[high]), 0);
	}
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

/* ---- no memory ---- */

START_TEST(new_without_memory_fails_and_leaks_nothing)
{
	struct pc_segment_ref refs[1] = { 0 };
	struct pc_index *index = NULL;
	unsigned failures = 0;
	int ret;

	pc_index_delete(NULL);
	if (!failing_memory_works())
		return;
	for (;; failures++) {
		failing_memory_arm(failures + 1);
		ret = pc_index_new(refs, 1, 1 << 20, &index);
		if (!failing_memory_disarm())
			break;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_ptr_null(index);
	}
	ck_assert_int_eq(ret, 0);
	ck_assert_uint_ge(failures, 3);
	pc_index_delete(index);
}
END_TEST

START_TEST(prepare_without_memory_takes_nothing)
{
	unsigned failures = 0;
	int ret;

	if (!failing_memory_works())
		return;
	for (;; failures++) {
		failing_memory_arm(failures + 1);
		ret = pc_index_prepare(model->index, BASE + 10, SPACE_BYTES - 10);
		if (!failing_memory_disarm())
			break;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_uint_eq(pc_index_memory_bytes(model->index), model->empty_bytes);
	}
	ck_assert_int_eq(ret, 0);
	ck_assert_uint_eq(failures, SPACE_LEAFS);
	pc_index_unprepare(model->index, BASE + 10, SPACE_BYTES - 10);
	model_empty(model);
}
END_TEST

/* Publishing takes no memory, and keeps a leaf that cannot be made smaller. */
START_TEST(publish_without_memory_succeeds)
{
	uint32_t big;

	if (!failing_memory_works())
		return;
	for (uint32_t off = 0; off < 65536; off += 256)
		write_key(0, off, 100);
	big = key_in(1, 0, 65536);
	prepare(0, 65536);
	failing_memory_arm(1);
	publish(big);
	ck_assert_msg(failing_memory_disarm(), "the leaf was to be made smaller");
	model_check(model, PIECES_MAX);
	write_key(2, 1000, 10);
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

START_TEST(insert_without_memory_fails_and_can_be_repeated)
{
	unsigned failures = 0;

	if (!failing_memory_works())
		return;
	/* Low positions into the gaps of high ones: several pieces each. */
	for (uint32_t i = 0; i < 300; i++)
		key_in(0, i * 200, 65536 - i * 200);
	for (uint32_t i = 0; i < 300; i++)
		model_enter(model, key_in(1, i * 200, 100));
	for (uint32_t key = model->key_count; key > 0; key--) {
		int ret;

		do {
			failing_memory_arm(1);
			ret = pc_index_insert(model->index, &model->keys[key]);
			if (failing_memory_disarm()) {
				failures++;
				EXPECT(ret == -ENOMEM);
				ret = pc_index_insert(model->index, &model->keys[key]);
			}
		} while (ret != 0);
		model_enter(model, key);
	}
	ck_assert_uint_ge(failures, 5);
	model_check(model, PIECES_MAX);
	model_empty(model);
}
END_TEST

/* ---- threads ---- */

#define THREADS        4u
#define THREAD_TICKETS 6000u /* writes of all threads */
#define TICKET_SLOTS   (2 * WRITER_KEYS)

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
	tcase_add_test(tcase, index_that_is_new_is_one_hole_per_leaf);
	tcase_add_test(tcase, key_published_last_wins_only_with_a_higher_position);
	tcase_add_test(tcase, key_of_segment_with_higher_sequence_wins);
	tcase_add_test(tcase, two_keys_in_any_relation_give_each_byte_to_the_later);
	tcase_add_test(tcase, key_with_largest_fields_comes_back_whole);
	tcase_add_test(tcase, drop_of_a_key_removes_what_is_left_of_it_and_nothing_else);
	tcase_add_test(tcase, drop_of_a_segment_sweeps_every_leaf);
	tcase_add_test(tcase, mark_verified_marks_every_part_of_its_key_and_no_other);
	tcase_add_test(tcase, unprepare_gives_back_all_memory);
	tcase_add_test(tcase, leaf_that_is_prepared_survives_its_last_extent);
	tcase_add_test(tcase, memory_for_random_blocks_is_at_most_24_bytes_each);
	tcase_add_test(tcase, leaf_that_loses_most_extents_gives_back_most_memory);
	tcase_add_loop_test(tcase, writers_in_random_order_leave_each_byte_to_the_highest_position, 0, 20);
	tcase_add_loop_test(tcase, keys_inserted_in_any_order_give_the_result_of_their_positions, 0, 4);
	tcase_add_test(tcase, key_inserted_twice_counts_once);
	tcase_add_test(tcase, new_without_memory_fails_and_leaks_nothing);
	tcase_add_test(tcase, prepare_without_memory_takes_nothing);
	tcase_add_test(tcase, publish_without_memory_succeeds);
	tcase_add_test(tcase, insert_without_memory_fails_and_can_be_repeated);
	tcase_add_loop_test(tcase, threads_that_write_together_leave_each_byte_to_the_highest_position, 0, 4);
}

int main(void)
{
	Suite *suite = suite_create("index");
	TCase *tcase = case_new(suite, "index");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
	return pc_run_suite(suite);
}
