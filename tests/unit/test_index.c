/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_index.c - lib/index.c, one call after the other: entering, looking up, dropping, replay in any order, memory.
 *
 * Method: a model of every byte (index_model.h), compared as a whole after each step.
 */
#include "failing_memory.h"
#include "index_model.h"

#include <errno.h>

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

/* As two writes of one block end that were reserved in the other order; in one segment, and in two. */
START_TEST(key_entered_late_does_not_take_the_place_of_a_later_one)
{
	uint32_t low = key_in(0, 0, 4096);
	uint32_t high = key_in(0, 0, 4096);
	uint32_t lower = key_in(5, 8192, 4096);
	uint32_t higher = key_in(2, 8192, 4096);

	atomic_store(&model->refs[5].seq, 10);
	atomic_store(&model->refs[2].seq, 11);
	insert(high);
	insert(low);
	insert(higher);
	insert(lower);
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

/* ---- kinds ---- */

static void insert_kind(uint32_t segment, uint64_t off, uint32_t len, uint32_t slot, enum pc_mapping_kind kind)
{
	const struct pc_mapping mapping = {
		.off = BASE + off, .len = len, .segment = segment, .slot = slot, .kind = (uint8_t)kind,
	};

	ck_assert_int_ge(pc_index_insert(model->index, &mapping), 0);
}

/* Which segment has the byte, SEGMENTS for none; and as what. */
static uint32_t owner_of(uint64_t off, enum pc_mapping_kind *ret_kind)
{
	struct pc_piece piece;

	ck_assert_uint_eq(pc_index_lookup(model->index, BASE + off, 1, &piece, 1), 1);
	*ret_kind = (enum pc_mapping_kind)piece.mapping.kind;
	return piece.cached ? piece.mapping.segment : SEGMENTS;
}

START_TEST(mapping_keeps_its_kind_when_it_is_cut)
{
	enum pc_mapping_kind kind;

	insert_kind(0, 0, 65536, 1, PC_MAPPING_ZERO);
	insert_kind(1, 4096, 4096, 1, PC_MAPPING_ZERO);
	insert_kind(2, 20000, 100, 1, PC_MAPPING_DATA);
	for (uint64_t off = 0; off < 65536; off += 50) {
		uint32_t segment = owner_of(off, &kind);
		uint32_t expected = off >= 4096 && off < 8192 ? 1 : (off >= 20000 && off < 20100 ? 2 : 0);

		ck_assert_uint_eq(segment, expected);
		ck_assert_int_eq(kind, segment == 2 ? PC_MAPPING_DATA : PC_MAPPING_ZERO);
	}
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 65536 - 4096 - 100);
}
END_TEST

/* (X8) In any order: what is older goes, also in part, what is newer stays, and nothing else is left. */
START_TEST(tombstone_of_a_replay_voids_what_is_older_in_any_order)
{
	static const unsigned orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (unsigned order = 0; order < 6; order++) {
		enum pc_mapping_kind kind;

		pc_index_begin_replay(model->index);
		for (unsigned i = 0; i < 3; i++) {
			if (orders[order][i] == 0)
				insert_kind(0, 1000, 4000, 9, PC_MAPPING_DATA);
			else if (orders[order][i] == 1)
				insert_kind(1, 2000, 2000, 1, PC_MAPPING_TOMBSTONE);
			else
				insert_kind(1, 3000, 500, 2, PC_MAPPING_ZERO);
		}
		pc_index_end_replay(model->index);
		ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 2000);
		ck_assert_uint_eq(pc_index_live_bytes(model->index, 1), 500);
		ck_assert_uint_eq(owner_of(1999, &kind), 0);
		ck_assert_uint_eq(owner_of(2000, &kind), SEGMENTS);
		ck_assert_uint_eq(owner_of(3499, &kind), 1);
		ck_assert_uint_eq(owner_of(3500, &kind), SEGMENTS);
		ck_assert_uint_eq(owner_of(4000, &kind), 0);
		model_empty(model);
	}
}
END_TEST

START_TEST(tombstone_outside_a_replay_leaves_at_once)
{
	enum pc_mapping_kind kind;
	struct pc_mapping tombstone = {
		.off = BASE + 2000, .len = 2000, .segment = 1, .slot = 1, .kind = PC_MAPPING_TOMBSTONE,
	};

	insert_kind(0, 1000, 4000, 9, PC_MAPPING_DATA);
	insert_kind(2, 3000, 500, 1, PC_MAPPING_DATA);
	ck_assert_int_eq(pc_index_insert(model->index, &tombstone), 0);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 2000);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 1), 0);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 2), 500);
	ck_assert_uint_eq(owner_of(2500, &kind), SEGMENTS);
	tombstone.off = BASE;
	tombstone.slot = 2;
	prepare(0, 2000);
	ck_assert_int_eq(pc_index_publish(model->index, &tombstone), 0);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 0), 1000);
	ck_assert_uint_eq(pc_index_live_bytes(model->index, 1), 0);
	model_empty(model);
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
		ck_assert_int_eq(failing_memory_held(), 0);
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

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, index_that_is_new_is_one_hole_per_leaf);
	tcase_add_test(tcase, key_published_last_wins_only_with_a_higher_position);
	tcase_add_test(tcase, key_of_segment_with_higher_sequence_wins);
	tcase_add_test(tcase, key_entered_late_does_not_take_the_place_of_a_later_one);
	tcase_add_test(tcase, two_keys_in_any_relation_give_each_byte_to_the_later);
	tcase_add_test(tcase, mapping_keeps_its_kind_when_it_is_cut);
	tcase_add_test(tcase, tombstone_of_a_replay_voids_what_is_older_in_any_order);
	tcase_add_test(tcase, tombstone_outside_a_replay_leaves_at_once);
	tcase_add_test(tcase, key_with_largest_fields_comes_back_whole);
	tcase_add_test(tcase, drop_of_a_key_removes_what_is_left_of_it_and_nothing_else);
	tcase_add_test(tcase, drop_of_a_segment_sweeps_every_leaf);
	tcase_add_test(tcase, mark_verified_marks_every_part_of_its_key_and_no_other);
	tcase_add_test(tcase, unprepare_gives_back_all_memory);
	tcase_add_test(tcase, leaf_that_is_prepared_survives_its_last_extent);
	tcase_add_test(tcase, memory_for_random_blocks_is_at_most_24_bytes_each);
	tcase_add_test(tcase, leaf_that_loses_most_extents_gives_back_most_memory);
	tcase_add_loop_test(tcase, keys_inserted_in_any_order_give_the_result_of_their_positions, 0, 4);
	tcase_add_test(tcase, key_inserted_twice_counts_once);
	tcase_add_test(tcase, new_without_memory_fails_and_leaks_nothing);
	tcase_add_test(tcase, prepare_without_memory_takes_nothing);
	tcase_add_test(tcase, publish_without_memory_succeeds);
	tcase_add_test(tcase, insert_without_memory_fails_and_can_be_repeated);
}

int main(void)
{
	Suite *suite = suite_create("index");
	TCase *tcase = case_new(suite, "index");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
	return pc_run_suite(suite);
}
