/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_index_readers.c - lib/index.c and lib/retire.c: look-ups without the lock, while leaves change and are freed.
 *
 * Method: of each mapping, place, slot, segment and generation follow from one another, so that a look-up which mixes two
 * of them is found out, whatever the other thread has done since. A leaf that is freed too early shows in AddressSanitizer. Hits are
 * driven to their maximum, because below it a look-up takes the lock.
 */
#include "index.h"
#include "retire.h"
#include "support.h"

#include <sched.h>

#define SEGMENTS 64u
#define LEAVES   8u
#define GENS     16u
#define READERS  3u
#define CHANGES  60000u
#define GRAIN    512u
#define GRAINS   (PC_LEAF_BYTES / GRAIN)

static struct pc_segment_ref refs[SEGMENTS];
static struct pc_index *subject;
static _Atomic bool is_over;

static void setup(void)
{
	for (uint32_t i = 0; i < SEGMENTS; i++)
		atomic_store(&refs[i].seq, i + 1);
	ck_assert_int_eq(pc_index_new(refs, SEGMENTS, LEAVES * PC_LEAF_BYTES / 64, &subject), 0); /* few buckets, long chains */
	atomic_store(&is_over, false);
}

static void teardown(void)
{
	pc_index_delete(subject);
}

static uint32_t slot_of(uint64_t leaf, uint32_t segment, uint64_t gen)
{
	return (uint32_t)((leaf * GENS + gen % GENS) * SEGMENTS + segment);
}

static struct pc_mapping mapping_of(uint32_t leaf, uint32_t grain, uint32_t grains, uint32_t segment)
{
	return (struct pc_mapping){
		.off = (uint64_t)leaf * PC_LEAF_BYTES + grain * GRAIN,
		.len = grains * GRAIN,
		.segment = segment,
		.data_off = segment * PC_LEAF_BYTES + grain * GRAIN,
		.slot = slot_of(leaf, segment, atomic_load(&refs[segment].gen)),
		.hits = PC_HITS_MAX,
		.verified = true,
	};
}

static const char *what_is_wrong(const struct pc_piece *piece, uint64_t off)
{
	const struct pc_mapping *mapping = &piece->mapping;

	if (mapping->off != off || mapping->len == 0)
		return "a gap";
	if (!piece->cached)
		return NULL;
	if (mapping->segment >= SEGMENTS)
		return "a segment that is none";
	if (mapping->slot != slot_of(off / PC_LEAF_BYTES, mapping->segment, piece->gen))
		return "slot, segment and generation of two mappings";
	if (mapping->data_off != mapping->segment * PC_LEAF_BYTES + off % PC_LEAF_BYTES)
		return "place and segment of two mappings";
	return NULL;
}

static void *look_up(void *arg)
{
	struct test_random random = test_random_make((uint64_t)(uintptr_t)arg);
	struct pc_piece pieces[8];

	while (!atomic_load(&is_over)) {
		uint64_t off = test_random_below(&random, LEAVES * GRAINS) * GRAIN;
		unsigned count = pc_index_lookup(subject, off, 4096, pieces, PC_ARRAY_SIZE(pieces));

		for (unsigned i = 0; i < count; i++) {
			const char *wrong = what_is_wrong(&pieces[i], off);

			if (wrong != NULL)
				return (void *)(uintptr_t)wrong;
			off += pieces[i].mapping.len;
		}
	}
	return NULL;
}

static void begin_life(uint32_t segment)
{
	pc_index_drop_segment(subject, segment);
	atomic_fetch_add(&refs[segment].gen, 1);
}

static void change(struct test_random *random)
{
	uint32_t leaf = (uint32_t)test_random_below(random, LEAVES);
	uint32_t segment = (uint32_t)test_random_below(random, SEGMENTS);
	uint32_t grain = (uint32_t)test_random_below(random, GRAINS);
	uint32_t key_left = PC_INDEX_KEY_MAX / GRAIN - grain % (PC_INDEX_KEY_MAX / GRAIN);
	struct pc_mapping mapping = mapping_of(leaf, grain, 1 + (uint32_t)test_random_below(random, pc_min64(16, key_left)), segment);

	if (test_random_below(random, 3) != 0)
		ck_assert_int_ge(pc_index_insert(subject, &mapping), 0);
	else
		pc_index_drop(subject, segment, mapping.off, mapping.len);
	if (test_random_below(random, 20) == 0)
		begin_life(segment);
	if (test_random_below(random, 2000) == 0) /* leaves become small, or go */
		for (uint32_t i = 0; i < SEGMENTS; i++)
			begin_life(i);
}

START_TEST(look_up_never_mixes_what_was_there_at_two_moments)
{
	struct test_random random = test_random_make(1);
	pthread_t readers[READERS];

	for (uintptr_t i = 0; i < READERS; i++)
		thread_start(&readers[i], look_up, (void *)(i + 2));
	for (unsigned i = 0; i < scaled(CHANGES); i++)
		change(&random);
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < READERS; i++) {
		void *wrong;

		ck_assert_int_eq(pthread_join(readers[i], &wrong), 0);
		ck_assert_msg(wrong == NULL, "%s", (const char *)wrong);
	}
}
END_TEST

/* ---- retiring ---- */

static _Atomic int stage;

static void *stay_inside(void *arg)
{
	bool *entered = arg;

	*entered = pc_reader_enter();
	atomic_store(&stage, 1);
	while (atomic_load(&stage) != 2)
		sched_yield();
	if (*entered)
		pc_reader_leave();
	return NULL;
}

static uint32_t list_length(const struct pc_retired *list)
{
	uint32_t length = 0;

	for (; list != NULL; list = list->next)
		length++;
	return length;
}

static void retire_some(struct pc_retirement *retirement, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		void *memory = malloc(64);

		ck_assert_ptr_nonnull(memory);
		pc_retire(retirement, memory);
	}
}

START_TEST(memory_stays_while_a_reader_of_that_time_is_inside)
{
	struct pc_retirement retirement = { .count = 0 };
	bool entered = false;
	pthread_t reader;

	if (!pc_retire_works())
		return;
	atomic_store(&stage, 0);
	thread_start(&reader, stay_inside, &entered);
	while (atomic_load(&stage) != 1)
		sched_yield();
	ck_assert(entered);
	retire_some(&retirement, 1000);
	ck_assert_uint_eq(list_length(retirement.waiting) + list_length(retirement.fresh), 1000);
	atomic_store(&stage, 2);
	thread_join(reader);
	retire_some(&retirement, 1000);
	ck_assert_uint_lt(list_length(retirement.waiting) + list_length(retirement.fresh), 1000);
	pc_retire_all(&retirement);
}
END_TEST

START_TEST(memory_is_freed_when_nobody_is_inside)
{
	struct pc_retirement retirement = { .count = 0 };

	if (!pc_retire_works())
		return;
	for (unsigned i = 0; i < 50; i++) {
		ck_assert(pc_reader_enter());
		pc_reader_leave();
		retire_some(&retirement, 100);
		ck_assert_uint_le(list_length(retirement.waiting) + list_length(retirement.fresh), 256);
	}
	pc_retire_all(&retirement);
	ck_assert_ptr_null(retirement.fresh);
	ck_assert_ptr_null(retirement.waiting);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("index_readers");
	TCase *tcase = case_new(suite, "readers");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, look_up_never_mixes_what_was_there_at_two_moments);
	suite_add_tcase(suite, tcase);
	tcase = case_new(suite, "retire");
	tcase_add_test(tcase, memory_stays_while_a_reader_of_that_time_is_inside);
	tcase_add_test(tcase, memory_is_freed_when_nobody_is_inside);
	return pc_run_suite(suite);
}
