/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sim.c - tools/trace/sim.c: FIFO and S3-FIFO hit and miss as the algorithm says.
 *
 * Method: sequences that were worked out by hand, and random ones compared access by access with a model that follows
 * the paper's Algorithm 1 line by line, on plain arrays, with a search through all of them each time.
 */
#include "sim.h"
#include "unit/support.h"

#define BLOCKS_MAX   400u
#define QUEUE_MAX    BLOCKS_MAX
#define COUNT_MAX    3u

static const struct trace_sim_params fifo_of_3 = { .policy = TRACE_FIFO, .capacity = 3 };

/* Small has its share with one block, main with three; the ghost knows three. */
static const struct trace_sim_params s3fifo_of_4 = {
	.policy = TRACE_S3FIFO, .capacity = 4, .small_percent = 25, .move_above = TRACE_MOVE_ABOVE,
};

/* Accesses in words: "1 2 1h" is a miss of 1, a miss of 2, a hit of 1. */
static void check_accesses(const struct trace_sim_params *params, const char *accesses)
{
	struct trace_sim *sim;
	const char *at = accesses;
	char *end;

	ck_assert_int_eq(trace_sim_new(params, BLOCKS_MAX, &sim), 0);
	for (uint64_t block = strtoull(at, &end, 10); end != at; block = strtoull(at, &end, 10)) {
		bool is_hit = *end == 'h';

		if (trace_sim_access(sim, block) != is_hit)
			ck_abort_msg("not a %s, but the other: '%s'", is_hit ? "hit" : "miss", at);
		at = is_hit ? end + 1 : end;
	}
	ck_assert_str_eq(at, "");
	trace_sim_free(sim);
}

START_TEST(fifo_evicts_oldest_whatever_was_hit)
{
	check_accesses(&fifo_of_3, "1 2 3 1h 2h 3h 1h 4 1 3h 4h 2 4h 1h 3");
}
END_TEST

START_TEST(s3fifo_that_is_not_full_evicts_nothing)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 1h 2h 3h 4h 4h 3h 2h 1h");
}
END_TEST

/* 1 leaves small without a hit, comes back by the ghost, and outlives what came with it. */
START_TEST(s3fifo_ghost_hit_enters_main)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 5 1 6 7 8 9 1h 6");
}
END_TEST

/* small: 2 3 4, 5; 1 has count 2 and goes to main, 2 to the ghost */
START_TEST(s3fifo_block_hit_twice_moves_to_main)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 1h 1h 5 1h 6 7 8 1h 2");
}
END_TEST

START_TEST(s3fifo_block_hit_once_leaves_by_the_ghost)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 1h 5 1");
}
END_TEST

START_TEST(s3fifo_with_lower_threshold_moves_block_hit_once)
{
	struct trace_sim_params params = s3fifo_of_4;

	params.move_above = 0;
	check_accesses(&params, "1 2 3 4 1h 5 1h");
}
END_TEST

/*
 * Before 7: main 1 3 2 4 and 1 with a count of 1, small empty, ghost 5 6. 7 makes main evict: 1 goes to the front with
 * a count of 0, 3 leaves, not to the ghost.
 */
START_TEST(s3fifo_main_passes_over_what_was_hit)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 5 1 1h 3h 6 3 2 4 7 3 1h 2h 4h 8 5 8");
}
END_TEST

/* 1, 2, 3 and 4 all reach main; 1 was hit so often that two rounds leave it there, with its count worn down. */
START_TEST(s3fifo_main_wears_counts_down)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 5 6 7 8 "  /* small 5 6 7 8, ghost 2 3 4 */
				     "2 3 4 "            /* main 2 3 4, small 8, ghost 5 6 7 */
				     "7 "                /* main 2 3 4 7, small empty, ghost 5 6 8 */
				     "2h 2h 2h 2h 2h "   /* count of 2: 3 */
				     "8 "                /* 3 is out: main 4 7 2 8, count of 2: 2 */
				     "6 "                /* 4 is out: main 7 2 8 6 */
				     "5 "                /* 7 is out: main 2 8 6 5 */
				     "9 "                /* 8 is out: main 6 5 2, small 9, count of 2: 1 */
				     "2h 6h 5h 9h");
}
END_TEST

/* The ghost has three names: of 1 2 3 4 it has forgotten 1, so that only 2 enters main and stays. */
START_TEST(s3fifo_ghost_forgets_oldest_name)
{
	check_accesses(&s3fifo_of_4, "1 2 3 4 5 6 7 8 2 9 10 11 12 2h");
	check_accesses(&s3fifo_of_4, "1 2 3 4 5 6 7 8 1 9 10 11 12 1");
}
END_TEST

START_TEST(cache_of_one_block_holds_the_last)
{
	struct trace_sim_params params = s3fifo_of_4;

	params.capacity = 1;
	check_accesses(&params, "1 1h 2 2h 1 1h 1h 1h 2 1");
	params.policy = TRACE_FIFO;
	check_accesses(&params, "1 1h 2 2h 1 1h 1h 1h 2 1");
}
END_TEST

/* The model: three arrays, the newest at the end. */
struct entry {
	uint64_t block;
	unsigned count;
};

struct line {
	struct entry entries[QUEUE_MAX];
	uint32_t size;
};

struct model {
	struct trace_sim_params params;
	struct line small;
	struct line main;
	struct line ghost;
};

static void enter(struct line *line, struct entry entry)
{
	EXPECT(line->size < QUEUE_MAX);
	line->entries[line->size++] = entry;
}

static struct entry leave(struct line *line, uint32_t at)
{
	struct entry entry = line->entries[at];

	line->size--;
	memmove(&line->entries[at], &line->entries[at + 1], (line->size - at) * sizeof(entry));
	return entry;
}

static struct entry *find(struct line *line, uint64_t block)
{
	for (uint32_t i = 0; i < line->size; i++)
		if (line->entries[i].block == block)
			return &line->entries[i];
	return NULL;
}

static uint32_t main_share(const struct model *model)
{
	return model->params.capacity * (100 - model->params.small_percent) / 100;
}

static void model_evict_main(struct model *model)
{
	bool evicted = false;

	while (!evicted && model->main.size > 0) {
		struct entry tail = leave(&model->main, 0);

		if (tail.count > 0)
			enter(&model->main, (struct entry){ tail.block, tail.count - 1 });
		else
			evicted = true;
	}
}

static void model_evict_small(struct model *model)
{
	bool evicted = false;

	while (!evicted && model->small.size > 0) {
		struct entry tail = leave(&model->small, 0);

		if (tail.count > model->params.move_above) {
			enter(&model->main, (struct entry){ tail.block, 0 });
			if (model->main.size > main_share(model))
				model_evict_main(model);
		} else {
			enter(&model->ghost, tail);
			if (model->ghost.size > main_share(model))
				leave(&model->ghost, 0);
			evicted = true;
		}
	}
}

static bool model_access(struct model *model, uint64_t block)
{
	struct entry *found = find(&model->small, block);
	bool was_ghost;

	if (found == NULL)
		found = find(&model->main, block);
	if (found != NULL) {
		found->count += found->count < COUNT_MAX;
		return true;
	}
	found = find(&model->ghost, block);
	was_ghost = found != NULL;
	if (was_ghost)
		leave(&model->ghost, (uint32_t)(found - model->ghost.entries));
	while (model->small.size + model->main.size >= model->params.capacity) {
		if (model->params.policy == TRACE_FIFO)
			leave(&model->small, 0);
		else if (model->small.size * 100 >= model->params.capacity * model->params.small_percent)
			model_evict_small(model);
		else
			model_evict_main(model);
	}
	enter(was_ghost ? &model->main : &model->small, (struct entry){ block, 0 });
	return false;
}

/* Some blocks often, most seldom, and rows of blocks now and then. */
static uint64_t next_block(struct test_random *random, uint32_t blocks, uint64_t *scanned)
{
	uint64_t kind = test_random_below(random, 100);

	if (kind < 10)
		return (*scanned)++ % blocks;
	if (kind < 40)
		return test_random_below(random, blocks);
	return test_random_below(random, 1 + blocks / 8);
}

/* _i: the policy */
START_TEST(random_accesses_hit_as_in_the_model)
{
	struct test_random random = random_of(11);
	uint64_t hits = 0;
	uint64_t accesses = 0;

	for (unsigned round = 0; round < scaled(400); round++) {
		struct model model = { .params = {
			.policy = _i == 0 ? TRACE_S3FIFO : TRACE_FIFO,
			.capacity = 1 + (uint32_t)test_random_below(&random, round % 4 == 0 ? 8 : 150),
			.small_percent = TRACE_SMALL_PERCENT,
			.move_above = TRACE_MOVE_ABOVE,
		} };
		uint32_t blocks = 1 + (uint32_t)test_random_below(&random, BLOCKS_MAX);
		uint64_t scanned = 0;
		struct trace_sim *sim;

		if (round % 2 != 0)
			model.params.small_percent = 1 + (uint32_t)test_random_below(&random, 100);
		if (round % 3 == 0)
			model.params.move_above = (uint32_t)test_random_below(&random, 4);
		EXPECT(trace_sim_new(&model.params, blocks, &sim) == 0);
		for (unsigned i = 0; i < 2000; i++) {
			/* far apart: the table must cope */
			uint64_t block = next_block(&random, blocks, &scanned) * 0x100000001u;
			bool is_hit = trace_sim_access(sim, block);

			EXPECT(is_hit == model_access(&model, block));
			EXPECT(trace_sim_held(sim) == model.small.size + model.main.size);
			EXPECT(trace_sim_held(sim) <= model.params.capacity);
			hits += is_hit;
			accesses++;
		}
		trace_sim_free(sim);
	}
	ck_assert_uint_gt(hits, accesses / 10);
	ck_assert_uint_lt(hits, accesses / 10 * 9);
}
END_TEST

START_TEST(counts_say_what_happened)
{
	struct trace_sim_counts counts;
	struct trace_sim *sim;

	ck_assert_int_eq(trace_sim_new(&s3fifo_of_4, BLOCKS_MAX, &sim), 0);
	for (uint64_t block = 1; block <= 4; block++)
		trace_sim_access(sim, block);
	trace_sim_access(sim, 1);
	trace_sim_access(sim, 1);
	trace_sim_access(sim, 5); /* 1 to main, 2 to the ghost */
	trace_sim_access(sim, 2);
	counts = trace_sim_counts(sim);
	ck_assert_uint_eq(counts.inserted, 6);
	ck_assert_uint_eq(counts.moved, 1);
	ck_assert_uint_eq(counts.ghost_hits, 1);
	trace_sim_access(sim, 1);
	trace_sim_access(sim, 3); /* main 1 2 3, small 5, ghost 4 */
	trace_sim_access(sim, 4); /* main 1 2 3 4 */
	trace_sim_access(sim, 7); /* 1 to the front, 2 out */
	counts = trace_sim_counts(sim);
	ck_assert_uint_eq(counts.inserted, 9);
	ck_assert_uint_eq(counts.moved, 2);
	ck_assert_uint_eq(counts.ghost_hits, 3);
	trace_sim_free(sim);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sim");
	TCase *tcase = case_new(suite, "sim");

	tcase_add_test(tcase, fifo_evicts_oldest_whatever_was_hit);
	tcase_add_test(tcase, s3fifo_that_is_not_full_evicts_nothing);
	tcase_add_test(tcase, s3fifo_ghost_hit_enters_main);
	tcase_add_test(tcase, s3fifo_block_hit_twice_moves_to_main);
	tcase_add_test(tcase, s3fifo_block_hit_once_leaves_by_the_ghost);
	tcase_add_test(tcase, s3fifo_with_lower_threshold_moves_block_hit_once);
	tcase_add_test(tcase, s3fifo_main_passes_over_what_was_hit);
	tcase_add_test(tcase, s3fifo_main_wears_counts_down);
	tcase_add_test(tcase, s3fifo_ghost_forgets_oldest_name);
	tcase_add_test(tcase, cache_of_one_block_holds_the_last);
	tcase_add_loop_test(tcase, random_accesses_hit_as_in_the_model, 0, 2);
	tcase_add_test(tcase, counts_say_what_happened);
	return pc_run_suite(suite);
}
