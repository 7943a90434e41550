/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_index_claim.c - lib/index_claim.c, and what lib/index.c does with clean keys: claims of holes and places, and who is
 * killed when.
 *
 * Method: each case by itself, then random operations beside a model of every byte. The killer notes whom it is told of,
 * and what the index says at that moment: a key that is killed still counts as live (X7).
 */
#include "failing_memory.h"
#include "index.h"
#include "support.h"
#include "util.h"

#include <errno.h>
#include <string.h>

#define SEGMENTS    6u
#define WRITES_FROM 3u /* segments below are clean, this one and those above are of WRITE */
#define BLOCK       4096u
#define LEAF        PC_LEAF_BYTES
#define BASE        (77ull * LEAF)
#define KILLS_MAX   512u
#define SPACE       (2 * LEAF)

static struct pc_segment_ref refs[SEGMENTS];
static struct pc_index *subject;

static struct {
	struct {
		uint32_t segment;
		uint32_t slot;
		uint64_t live_bytes; /* of the segment, when it was told */
	} list[KILLS_MAX];
	unsigned count;
} kills;

static void note_kill(void *arg, uint32_t segment, uint32_t slot)
{
	EXPECT(arg == &kills && kills.count < KILLS_MAX && segment < WRITES_FROM);
	kills.list[kills.count].segment = segment;
	kills.list[kills.count].slot = slot;
	kills.list[kills.count++].live_bytes = pc_index_live_bytes(subject, segment);
}

static void setup(void)
{
	for (unsigned i = 0; i < SEGMENTS; i++) {
		atomic_init(&refs[i].gen, 1);
		atomic_init(&refs[i].seq, i < WRITES_FROM ? 0 : i);
	}
	ck_assert_int_eq(pc_index_new(refs, SEGMENTS, 1, &subject), 0);
	pc_index_set_killer(subject, note_kill, &kills);
	kills.count = 0;
}

static void teardown(void)
{
	pc_index_delete(subject);
}

static struct pc_mapping block_in(uint32_t segment, uint32_t slot, uint64_t off, uint32_t len)
{
	return (struct pc_mapping){
		.off = BASE + off,
		.len = len,
		.segment = segment,
		.data_off = 8192 + slot * 64,
		.slot = slot,
		.verified = true,
	};
}

static int fill(uint32_t segment, uint32_t slot, uint64_t off)
{
	struct pc_mapping mapping = block_in(segment, slot, off, BLOCK);
	struct pc_index_claim claim;
	int ret = pc_index_claim_hole(subject, mapping.off, BLOCK, &claim);

	if (ret == 0)
		pc_index_claim_enter(subject, &claim, &mapping);
	return ret;
}

/* Returns how many the index says were killed. */
static int write_key(uint32_t slot, uint64_t off, uint32_t len)
{
	struct pc_mapping mapping = block_in(WRITES_FROM, slot, off, len);

	return pc_index_insert(subject, &mapping);
}

static bool is_found(uint32_t segment, uint64_t off, uint32_t len, struct pc_mapping *ret_mapping, bool *ret_accessed)
{
	bool found = pc_index_find_in(subject, segment, BASE + off, len, ret_mapping);

	if (found)
		*ret_accessed = ret_mapping->hits > 0;
	return found;
}

static bool finds(uint32_t segment, uint64_t off, uint32_t len)
{
	struct pc_mapping mapping;
	bool accessed;

	return is_found(segment, off, len, &mapping, &accessed);
}

/* ---- holes ---- */

START_TEST(claim_of_a_hole_enters_what_is_found_then)
{
	struct pc_piece piece;

	ck_assert_int_eq(fill(0, 1, 3 * BLOCK), 0);
	ck_assert_uint_eq(pc_index_live_bytes(subject, 0), BLOCK);
	ck_assert_uint_eq(pc_index_lookup(subject, BASE + 3 * BLOCK, BLOCK, &piece, 1), 1);
	ck_assert(piece.cached && piece.mapping.segment == 0 && piece.mapping.slot == 1 && piece.mapping.verified);
	ck_assert_uint_eq(piece.mapping.data_off, 8192 + 64);
	ck_assert_uint_eq(kills.count, 0);
}
END_TEST

/* One byte anywhere in it, clean or written. */
START_TEST(claim_of_what_is_no_hole_is_refused)
{
	static const uint32_t bytes[] = { 0, 1, BLOCK / 2, BLOCK - 1 };

	for (unsigned i = 0; i < 4; i++) {
		write_key(1, 8 * BLOCK + bytes[i], 1);
		ck_assert_int_eq(fill(0, 3, 8 * BLOCK), -EBUSY);
		ck_assert_uint_eq(pc_index_cached_bytes(subject), 1);
		ck_assert_int_eq(fill(0, 3, 7 * BLOCK), 0); /* its neighbours are */
		ck_assert_int_eq(fill(0, 5, 9 * BLOCK), 0);
		ck_assert_int_eq(fill(1, 7, 9 * BLOCK), -EBUSY);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(claim_released_leaves_no_trace)
{
	uint64_t empty = pc_index_memory_bytes(subject);
	struct pc_index_claim claim;

	ck_assert_int_eq(pc_index_claim_hole(subject, BASE, BLOCK, &claim), 0);
	pc_index_claim_release(subject, &claim);
	ck_assert_uint_eq(pc_index_memory_bytes(subject), empty);
	ck_assert_uint_eq(pc_index_cached_bytes(subject), 0);
	ck_assert_int_eq(fill(0, 1, 0), 0); /* nothing is locked */
}
END_TEST

START_TEST(hole_bytes_end_at_the_next_key_the_range_or_the_leaf)
{
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE, 3 * LEAF), LEAF);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE + 100, LEAF), LEAF - 100);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE, 5), 5);
	write_key(1, 2000, 50);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE, LEAF), 2000);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE + 1999, LEAF), 1);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE + 2000, LEAF), 0);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE + 2049, LEAF), 0);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE + 2050, LEAF), LEAF - 2050);
	ck_assert_uint_eq(pc_index_hole_bytes(subject, BASE + 2050, 10), 10);
}
END_TEST

/* ---- places ---- */

START_TEST(claim_of_a_place_moves_what_is_there)
{
	struct pc_mapping from = block_in(0, 1, 0, BLOCK);
	struct pc_mapping to = block_in(2, 9, 0, BLOCK);
	struct pc_index_claim claim;

	fill(0, 1, 0);
	ck_assert_int_eq(pc_index_claim_place(subject, &from, &claim), 0);
	pc_index_claim_enter(subject, &claim, &to);
	ck_assert(finds(2, 0, BLOCK) && !finds(0, 0, BLOCK));
	ck_assert_uint_eq(pc_index_live_bytes(subject, 0), 0);
	ck_assert_uint_eq(pc_index_live_bytes(subject, 2), BLOCK);
	ck_assert_uint_eq(kills.count, 0); /* the copy left behind is as good */
}
END_TEST

/* A block out of a written key of many. */
START_TEST(claim_of_a_part_of_a_written_key_moves_just_that)
{
	struct pc_mapping from = block_in(WRITES_FROM, 1, 4 * BLOCK, BLOCK);
	struct pc_mapping to = block_in(2, 9, 4 * BLOCK, BLOCK);
	struct pc_index_claim claim;

	write_key(1, 3 * BLOCK, 4 * BLOCK);
	from.data_off += BLOCK;
	ck_assert_int_eq(pc_index_claim_place(subject, &from, &claim), 0);
	pc_index_claim_enter(subject, &claim, &to);
	ck_assert(finds(WRITES_FROM, 3 * BLOCK, BLOCK) && finds(2, 4 * BLOCK, BLOCK));
	ck_assert(finds(WRITES_FROM, 5 * BLOCK, 2 * BLOCK));
	ck_assert_uint_eq(pc_index_live_bytes(subject, WRITES_FROM), 3 * BLOCK);
}
END_TEST

START_TEST(claim_of_another_place_is_refused)
{
	struct pc_mapping wrong[6];
	struct pc_index_claim claim;

	fill(0, 1, 2 * BLOCK);
	for (unsigned i = 0; i < 6; i++)
		wrong[i] = block_in(0, 1, 2 * BLOCK, BLOCK);
	wrong[0].segment = 1;
	wrong[1].slot = 3;
	wrong[2].data_off += 64;
	wrong[3].off += BLOCK;
	wrong[4].len = BLOCK + 1;
	wrong[5].off -= 1;
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(pc_index_claim_place(subject, &wrong[i], &claim), -EBUSY);
	write_key(1, 2 * BLOCK + 7, 1); /* and when a write has taken a byte of it */
	wrong[0] = block_in(0, 1, 2 * BLOCK, BLOCK);
	ck_assert_int_eq(pc_index_claim_place(subject, &wrong[0], &claim), -EBUSY);
	ck_assert_int_eq(fill(0, 3, 0), 0); /* nothing is locked */
}
END_TEST

/* What the killer left of the key goes as well; another segment's bytes in the range stay. */
START_TEST(claim_dropped_forgets_all_of_the_block)
{
	struct pc_mapping piece = block_in(0, 1, 100, 50);
	struct pc_mapping whole = block_in(0, 1, 0, BLOCK);
	uint64_t empty = pc_index_memory_bytes(subject);
	struct pc_index_claim claim;

	fill(0, 1, 0);
	fill(0, 3, BLOCK);
	write_key(1, 1000, 500);
	piece.data_off += 100;
	ck_assert_int_eq(pc_index_claim_place(subject, &piece, &claim), 0);
	pc_index_claim_drop(subject, &claim, &whole);
	ck_assert_uint_eq(pc_index_live_bytes(subject, 0), BLOCK);
	ck_assert_uint_eq(pc_index_live_bytes(subject, WRITES_FROM), 500);
	ck_assert(finds(0, BLOCK, BLOCK) && finds(WRITES_FROM, 1000, 500));
	pc_index_drop_segment(subject, 0);
	pc_index_drop_segment(subject, WRITES_FROM);
	ck_assert_uint_eq(pc_index_memory_bytes(subject), empty);
}
END_TEST

START_TEST(find_in_says_where_and_whether_it_was_looked_up)
{
	struct pc_mapping mapping;
	struct pc_piece piece;
	bool accessed = true;

	ck_assert(!is_found(0, 0, BLOCK, &mapping, &accessed));
	fill(0, 5, BLOCK);
	ck_assert(is_found(0, BLOCK, BLOCK, &mapping, &accessed));
	ck_assert(!accessed);
	ck_assert(mapping.off == BASE + BLOCK && mapping.len == BLOCK && mapping.slot == 5);
	ck_assert(!is_found(0, BLOCK - 1, BLOCK, &mapping, &accessed));
	ck_assert(!is_found(0, BLOCK, BLOCK + 1, &mapping, &accessed));
	ck_assert(!is_found(1, BLOCK, BLOCK, &mapping, &accessed));
	pc_index_lookup(subject, BASE + 2 * BLOCK - 1, 1, &piece, 1);
	ck_assert(is_found(0, BLOCK + 10, 20, &mapping, &accessed));
	ck_assert(accessed);
	ck_assert(mapping.off == BASE + BLOCK + 10 && mapping.len == 20);
	ck_assert_uint_eq(mapping.data_off, 8192 + 5 * 64 + 10);
}
END_TEST

/* What was moved begins anew: it stays only if it is read again. */
START_TEST(place_that_was_moved_counts_as_not_looked_up)
{
	struct pc_mapping from = block_in(0, 1, 0, BLOCK);
	struct pc_mapping to = block_in(2, 9, 0, BLOCK);
	struct pc_index_claim claim;
	struct pc_mapping mapping;
	struct pc_piece piece;
	bool accessed;

	fill(0, 1, 0);
	pc_index_lookup(subject, BASE, 1, &piece, 1);
	ck_assert_int_eq(pc_index_claim_place(subject, &from, &claim), 0);
	pc_index_claim_enter(subject, &claim, &to);
	ck_assert(is_found(2, 0, BLOCK, &mapping, &accessed));
	ck_assert(!accessed);
}
END_TEST

/* ---- kills ---- */

static void check_kill(unsigned i, uint32_t segment, uint32_t slot, uint64_t live_bytes)
{
	ck_assert_uint_lt(i, kills.count);
	ck_assert_uint_eq(kills.list[i].segment, segment);
	ck_assert_uint_eq(kills.list[i].slot, slot);
	ck_assert_uint_eq(kills.list[i].live_bytes, live_bytes); /* (X7) */
}

START_TEST(write_kills_what_it_covers_and_says_how_many)
{
	fill(0, 1, 0);
	fill(0, 3, BLOCK);
	fill(1, 1, 2 * BLOCK);
	fill(1, 3, 3 * BLOCK);
	ck_assert_int_eq(write_key(1, 0, 3 * BLOCK), 3);
	ck_assert_uint_eq(kills.count, 3);
	check_kill(0, 0, 1, 2 * BLOCK);
	check_kill(1, 0, 3, BLOCK);
	check_kill(2, 1, 1, 2 * BLOCK);
	ck_assert(finds(1, 3 * BLOCK, BLOCK));
	ck_assert_uint_eq(pc_index_live_bytes(subject, 0), 0);
}
END_TEST

/* From each side, inside, and one byte. */
START_TEST(write_over_a_part_kills_the_whole_key)
{
	static const struct {
		uint64_t off;
		uint32_t len;
	} parts[] = { { 0, 4097 }, { 8191, 4096 }, { 5000, 7 }, { 4096, 1 }, { 8191, 1 }, { 4096, 4096 }, { 0, 60000 } };

	for (unsigned i = 0; i < PC_ARRAY_SIZE(parts); i++) {
		fill(2, 7, BLOCK);
		ck_assert_int_eq(write_key(1, parts[i].off, parts[i].len), 1);
		ck_assert_uint_eq(kills.count, 1);
		check_kill(0, 2, 7, BLOCK);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(write_beside_a_key_kills_nothing)
{
	fill(0, 1, BLOCK);
	ck_assert_int_eq(write_key(1, 0, BLOCK), 0);
	ck_assert_int_eq(write_key(3, 2 * BLOCK, BLOCK), 0);
	ck_assert_uint_eq(kills.count, 0);
}
END_TEST

/* Another writer's kill may not be durable yet: it is killed again with each write over what is left of it. */
START_TEST(write_over_remains_of_a_killed_key_kills_it_again)
{
	fill(0, 5, 0);
	ck_assert_int_eq(write_key(1, 1000, 100), 1);
	ck_assert_int_eq(write_key(3, 0, 10), 1);
	ck_assert_int_eq(write_key(5, 4000, 10), 1);
	ck_assert_int_eq(write_key(7, 1010, 10), 0); /* nothing of it is left there */
	ck_assert_int_eq(write_key(9, 500, 1000), 2); /* on both sides */
	ck_assert_uint_eq(kills.count, 5);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(kills.list[i].segment == 0 && kills.list[i].slot == 5);
}
END_TEST

START_TEST(write_that_is_older_than_what_is_there_kills_only_where_it_wins)
{
	fill(0, 1, 0);
	fill(0, 3, BLOCK);
	ck_assert_int_eq(write_key(9, 0, BLOCK), 1);
	ck_assert_int_eq(write_key(1, 0, BLOCK), 0);
	ck_assert_int_eq(write_key(3, 0, 2 * BLOCK), 1);
	ck_assert_uint_eq(kills.count, 2);
	check_kill(1, 0, 3, BLOCK);
}
END_TEST

/* In replay a clean key can come to another one: one of the two goes, and is killed. */
START_TEST(clean_key_over_a_clean_key_kills_the_other)
{
	struct pc_mapping first = block_in(0, 1, 0, BLOCK);
	struct pc_mapping second = block_in(1, 1, 0, BLOCK);
	struct pc_mapping third = block_in(1, 5, 0, BLOCK);
	struct pc_mapping fourth = block_in(1, 3, 0, BLOCK);

	ck_assert_int_eq(pc_index_insert(subject, &first), 0);
	ck_assert_int_eq(pc_index_insert(subject, &second), 1);
	check_kill(0, 0, 1, BLOCK);
	ck_assert_int_eq(pc_index_insert(subject, &third), 1); /* in one segment, too */
	check_kill(1, 1, 1, BLOCK);
	ck_assert_int_eq(pc_index_insert(subject, &fourth), 1); /* whichever slot is the higher one */
	check_kill(2, 1, 5, BLOCK);
	ck_assert(finds(1, 0, BLOCK));
	ck_assert_uint_eq(pc_index_cached_bytes(subject), BLOCK);
}
END_TEST

START_TEST(publish_of_prepared_keys_kills)
{
	struct pc_mapping first = block_in(WRITES_FROM, 1, 60000, 5536);
	struct pc_mapping second = block_in(WRITES_FROM, 2, 65536, 8192);

	fill(0, 1, 15 * BLOCK);
	fill(0, 3, 16 * BLOCK);
	fill(0, 5, 18 * BLOCK);
	ck_assert_int_eq(pc_index_prepare(subject, BASE + 60000, 13728), 0);
	ck_assert_int_eq(fill(0, 7, 17 * BLOCK), 0); /* a claim between takes none of what was promised */
	ck_assert_int_eq(pc_index_publish(subject, &first), 1);
	ck_assert_int_eq(pc_index_publish(subject, &second), 2);
	ck_assert_uint_eq(kills.count, 3);
	ck_assert(finds(0, 18 * BLOCK, BLOCK));
}
END_TEST

/* ---- memory ---- */

START_TEST(claims_without_memory_give_enomem_and_lock_nothing)
{
	struct pc_mapping from = block_in(0, 1, 0, BLOCK);
	struct pc_index_claim claim;
	unsigned failed = 0;

	if (!failing_memory_works())
		return;
	failing_memory_arm(1);
	ck_assert_int_eq(pc_index_claim_hole(subject, BASE, BLOCK, &claim), -ENOMEM);
	ck_assert(failing_memory_disarm());
	ck_assert_int_eq(failing_memory_held(), 0);
	for (uint32_t i = 0; i < 20; i++)
		ck_assert_int_eq(fill(0, 2 * i + 1, i * 2ull * BLOCK), 0);
	for (uint32_t i = 0; i < 20; i++) {
		int ret;

		failing_memory_arm(1);
		ret = pc_index_claim_place(subject, &from, &claim);
		if (failing_memory_disarm()) {
			ck_assert_int_eq(ret, -ENOMEM);
			failed++;
		} else {
			ck_assert_int_eq(ret, 0);
			pc_index_claim_release(subject, &claim);
		}
		ck_assert_int_eq(fill(1, 2 * i + 1, (i * 2ull + 1) * BLOCK), 0);
	}
	ck_assert_uint_gt(failed, 0);
	ck_assert_uint_eq(pc_index_cached_bytes(subject), 40 * BLOCK);
}
END_TEST

/* Claims beside keys that are prepared: the room that those were promised is there (an assertion in the index). */
START_TEST(prepared_keys_find_their_room_after_any_claims)
{
	struct test_random random = random_of(31);

	for (unsigned round = 0; round < scaled(300); round++) {
		uint32_t slot = 1;

		ck_assert_int_eq(pc_index_prepare(subject, BASE, LEAF), 0);
		ck_assert_int_eq(pc_index_prepare(subject, BASE + 100, LEAF / 2), 0);
		for (unsigned i = 0; i < 40; i++, slot += 2)
			(void)fill(0, slot, test_random_below(&random, LEAF / BLOCK) * BLOCK);
		for (uint64_t at = 0; at < LEAF; at += PC_INDEX_KEY_MAX) {
			struct pc_mapping mapping = block_in(WRITES_FROM, slot++, at, PC_INDEX_KEY_MAX);

			mapping.off += 1 + test_random_below(&random, 5000); /* any place that it may have */
			mapping.len = 1 + (uint32_t)test_random_below(&random, 50000);
			(void)pc_index_publish(subject, &mapping);
		}
		pc_index_unprepare(subject, BASE + 100, LEAF / 2);
		for (uint32_t segment = 0; segment < SEGMENTS; segment++)
			pc_index_drop_segment(subject, segment);
		ck_assert_uint_eq(pc_index_cached_bytes(subject), 0);
		kills.count = 0;
	}
}
END_TEST

/* ---- all of it, at random ---- */

#define KEYS_MAX 40000u

static uint32_t owner[SPACE]; /* key by byte; 0: none */
static struct pc_mapping keys[KEYS_MAX];
static bool killed[KEYS_MAX];
static uint32_t key_count;

static uint32_t new_key(uint32_t segment, uint64_t off, uint32_t len)
{
	uint32_t key = ++key_count;

	keys[key] = block_in(segment, key, off, len);
	killed[key] = false;
	return key;
}

static void own(uint32_t key)
{
	for (uint32_t i = 0; i < keys[key].len; i++)
		owner[keys[key].off - BASE + i] = key;
}

static bool is_clean(uint32_t key)
{
	return keys[key].segment < WRITES_FROM;
}

/* Each clean key that loses a byte is among the kills, and no other. */
static void random_write(struct test_random *random)
{
	uint64_t off = test_random_below(random, SPACE - 70000);
	uint32_t len = 1 + (uint32_t)test_random_below(random, 3 * BLOCK);
	uint32_t expected[16];
	unsigned count = 0;
	uint32_t key;
	int ret;

	len = (uint32_t)pc_min64(len, PC_INDEX_KEY_MAX - off % PC_INDEX_KEY_MAX);
	for (uint32_t i = 0; i < len; i++) {
		uint32_t old = owner[off + i];

		if (old != 0 && is_clean(old) && (count == 0 || expected[count - 1] != old) &&
		    (count < 2 || expected[count - 2] != old))
			expected[count++] = old;
	}
	key = new_key(WRITES_FROM, off, len);
	kills.count = 0;
	ret = pc_index_insert(subject, &keys[key]);
	EXPECT(ret == (int)kills.count && kills.count >= count);
	for (unsigned i = 0; i < kills.count; i++) {
		bool found = false;

		for (unsigned j = 0; j < count; j++)
			found |= keys[expected[j]].slot == kills.list[i].slot;
		EXPECT(found);
		killed[kills.list[i].slot] = true;
	}
	for (unsigned j = 0; j < count; j++)
		EXPECT(killed[expected[j]]);
	own(key);
}

static uint32_t owner_of_all(uint64_t off)
{
	for (uint32_t i = 1; i < BLOCK; i++)
		if (owner[off + i] != owner[off])
			return 0;
	return owner[off];
}

static bool is_hole(uint64_t off)
{
	for (uint32_t i = 0; i < BLOCK; i++)
		if (owner[off + i] != 0)
			return false;
	return true;
}

static void random_fill(struct test_random *random)
{
	uint64_t off = test_random_below(random, SPACE / BLOCK) * BLOCK;
	uint32_t key = new_key((uint32_t)test_random_below(random, WRITES_FROM), off, BLOCK);
	struct pc_index_claim claim;
	int ret = pc_index_claim_hole(subject, BASE + off, BLOCK, &claim);

	EXPECT(ret == (is_hole(off) ? 0 : -EBUSY));
	if (ret == 0) {
		pc_index_claim_enter(subject, &claim, &keys[key]);
		own(key);
	}
}

static void random_move(struct test_random *random)
{
	uint64_t off = test_random_below(random, SPACE / BLOCK) * BLOCK;
	uint32_t old = owner_of_all(off);
	struct pc_mapping from;
	struct pc_index_claim claim;
	bool accessed;
	uint32_t key;

	if (old == 0)
		return;
	EXPECT(is_found(keys[old].segment, off, BLOCK, &from, &accessed));
	EXPECT(from.slot == old && from.data_off == keys[old].data_off + (from.off - keys[old].off));
	EXPECT(pc_index_claim_place(subject, &from, &claim) == 0);
	key = new_key((keys[old].segment + 1) % WRITES_FROM, off, BLOCK);
	pc_index_claim_enter(subject, &claim, &keys[key]);
	own(key);
}

static void random_drop(struct test_random *random)
{
	uint32_t segment = (uint32_t)test_random_below(random, WRITES_FROM + 1);

	pc_index_drop_segment(subject, segment);
	for (uint32_t i = 0; i < SPACE; i++)
		if (owner[i] != 0 && keys[owner[i]].segment == segment)
			owner[i] = 0;
}

static void check_model(void)
{
	uint64_t live[SEGMENTS] = { 0 };

	for (uint64_t off = 0; off < SPACE;) {
		struct pc_piece piece;
		uint32_t key = owner[off];

		EXPECT(pc_index_lookup(subject, BASE + off, SPACE - off, &piece, 1) == 1);
		EXPECT(piece.cached == (key != 0));
		EXPECT(key == 0 || (piece.mapping.slot == key && piece.mapping.segment == keys[key].segment));
		for (uint32_t i = 0; i < piece.mapping.len; i++)
			EXPECT(owner[off + i] == key);
		live[keys[key].segment] += key == 0 ? 0 : piece.mapping.len;
		off += piece.mapping.len;
	}
	for (uint32_t segment = 0; segment < SEGMENTS; segment++)
		EXPECT(pc_index_live_bytes(subject, segment) == live[segment]);
}

START_TEST(random_fills_moves_and_writes_are_as_the_model)
{
	struct test_random random = random_of(40 + (uint64_t)_i);

	memset(owner, 0, sizeof(owner));
	key_count = 0;
	for (unsigned i = 0; i < scaled(6000); i++) {
		uint64_t kind = test_random_below(&random, 100);

		if (kind < 30)
			random_write(&random);
		else if (kind < 75)
			random_fill(&random);
		else if (kind < 99)
			random_move(&random);
		else
			random_drop(&random);
		if (i % 200 == 0)
			check_model();
	}
	check_model();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("index_claim");
	TCase *tcase = case_new(suite, "index_claim");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, claim_of_a_hole_enters_what_is_found_then);
	tcase_add_test(tcase, claim_of_what_is_no_hole_is_refused);
	tcase_add_test(tcase, claim_released_leaves_no_trace);
	tcase_add_test(tcase, hole_bytes_end_at_the_next_key_the_range_or_the_leaf);
	tcase_add_test(tcase, claim_of_a_place_moves_what_is_there);
	tcase_add_test(tcase, claim_of_a_part_of_a_written_key_moves_just_that);
	tcase_add_test(tcase, claim_of_another_place_is_refused);
	tcase_add_test(tcase, claim_dropped_forgets_all_of_the_block);
	tcase_add_test(tcase, find_in_says_where_and_whether_it_was_looked_up);
	tcase_add_test(tcase, place_that_was_moved_counts_as_not_looked_up);
	tcase_add_test(tcase, write_kills_what_it_covers_and_says_how_many);
	tcase_add_test(tcase, write_over_a_part_kills_the_whole_key);
	tcase_add_test(tcase, write_beside_a_key_kills_nothing);
	tcase_add_test(tcase, write_over_remains_of_a_killed_key_kills_it_again);
	tcase_add_test(tcase, write_that_is_older_than_what_is_there_kills_only_where_it_wins);
	tcase_add_test(tcase, clean_key_over_a_clean_key_kills_the_other);
	tcase_add_test(tcase, publish_of_prepared_keys_kills);
	tcase_add_test(tcase, claims_without_memory_give_enomem_and_lock_nothing);
	tcase_add_test(tcase, prepared_keys_find_their_room_after_any_claims);
	tcase_add_loop_test(tcase, random_fills_moves_and_writes_are_as_the_model, 0, 4);
	return pc_run_suite(suite);
}
