/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_generate.c - tools/trace/generate.c and export.c: the shapes are what they are called, follow from the seed, and
 * come back from a file as they went in.
 *
 * Method: blocks are counted, and the counts, largest first, compared with the weights of the distribution. Seeds are
 * fixed, so the outcome is, too; the bounds are several times the spread.
 */
#include "export.h"
#include "generate.h"
#include "parse.h"
#include "unit/support.h"

#include <errno.h>
#include <math.h>

static const struct trace_plan zipf_plan = {
	.shape = TRACE_ZIPF, .blocks = 1000, .requests = 200000, .theta = 0.99, .seed = 1,
	.scan_every = 100, .scan_blocks = 7,
};

static struct trace generated(const struct trace_plan *plan)
{
	struct trace trace;

	EXPECT(trace_generate(plan, &trace) == 0);
	EXPECT(trace.count == plan->requests);
	return trace;
}

static bool is_same(const struct trace *a, const struct trace *b)
{
	bool same = a->count == b->count;

	for (uint64_t i = 0; same && i < a->count; i++)
		same = a->requests[i].block == b->requests[i].block && a->requests[i].count == b->requests[i].count &&
		       a->requests[i].is_write == b->requests[i].is_write;
	return same;
}

struct hot {
	uint64_t count;
	uint32_t block;
};

static int compare_hot(const void *a, const void *b)
{
	const struct hot *left = a;
	const struct hot *right = b;

	return (left->count < right->count) - (left->count > right->count);
}

/* Blocks by how often they occur, most often first. */
static struct hot *counted(const struct trace *trace, uint32_t blocks)
{
	struct hot *hot = calloc(blocks, sizeof(*hot));

	EXPECT(hot != NULL);
	for (uint32_t i = 0; i < blocks; i++)
		hot[i].block = i;
	for (uint64_t i = 0; i < trace->count; i++) {
		EXPECT(trace->requests[i].block < blocks && trace->requests[i].count == 1);
		hot[trace->requests[i].block].count++;
	}
	qsort(hot, blocks, sizeof(*hot), compare_hot);
	return hot;
}

START_TEST(same_seed_gives_same_trace)
{
	for (unsigned shape = TRACE_ZIPF; shape <= TRACE_LOOP; shape++) {
		struct trace_plan plan = zipf_plan;
		struct trace first;
		struct trace second;

		plan.shape = (enum trace_shape)shape;
		plan.write_percent = 30;
		first = generated(&plan);
		second = generated(&plan);
		ck_assert(is_same(&first, &second));
		trace_free(&second);
		plan.seed++;
		second = generated(&plan);
		ck_assert(!is_same(&first, &second));
		trace_free(&first);
		trace_free(&second);
	}
}
END_TEST

/* _i: theta in hundredths */
static void check_zipf(unsigned theta_percent)
{
	struct trace_plan plan = zipf_plan;
	struct trace trace;
	struct hot *hot;
	double total = 0;
	double wanted = 0;
	double found = 0;

	plan.theta = theta_percent / 100.0;
	trace = generated(&plan);
	hot = counted(&trace, plan.blocks);
	for (uint32_t i = 0; i < plan.blocks; i++)
		total += pow(i + 1, -plan.theta);
	for (uint32_t i = 0; i < plan.blocks; i++) {
		wanted += pow(i + 1, -plan.theta) / total * (double)plan.requests;
		found += (double)hot[i].count;
		/* Sorting by chance adds to the top: half of the spread of the counts at hand, here at most 3 %. */
		if (fabs(found - wanted) > 0.03 * wanted + 6 * sqrt(wanted))
			ck_abort_msg("theta %.2f: the first %u blocks occur %.0f times, not %.0f", plan.theta, i + 1,
				     found, wanted);
	}
	free(hot);
	trace_free(&trace);
}

START_TEST(zipf_occurs_as_often_as_its_weights_say)
{
	static const unsigned thetas[] = { 50, 80, 99, 100, 120, 200 };

	for (unsigned i = 0; i < sizeof(thetas) / sizeof(thetas[0]); i++)
		check_zipf(thetas[i]);
}
END_TEST

START_TEST(zipf_with_theta_zero_is_even)
{
	struct trace_plan plan = zipf_plan;
	struct trace trace;
	struct hot *hot;

	plan.theta = 0;
	trace = generated(&plan);
	hot = counted(&trace, plan.blocks);
	/* 200 times each, spread 14 */
	ck_assert_uint_lt(hot[0].count, 270);
	ck_assert_uint_gt(hot[plan.blocks - 1].count, 130);
	free(hot);
	trace_free(&trace);
}
END_TEST

START_TEST(zipf_puts_hot_blocks_apart)
{
	struct trace_plan plan = zipf_plan;
	struct trace trace;
	struct hot *hot;
	unsigned neighbours = 0;
	double sum = 0;

	plan.blocks = 10000;
	trace = generated(&plan);
	hot = counted(&trace, plan.blocks);
	for (unsigned i = 0; i < 100; i++) {
		sum += hot[i].block;
		for (unsigned k = 0; k < i; k++)
			neighbours += hot[i].block + 1 == hot[k].block || hot[k].block + 1 == hot[i].block;
	}
	ck_assert_uint_le(neighbours, 5); /* one is to be expected */
	ck_assert(sum / 100 > 4000 && sum / 100 < 6000);
	free(hot);
	trace_free(&trace);
}
END_TEST

START_TEST(zipf_of_one_block_is_that_block)
{
	struct trace_plan plan = zipf_plan;
	struct trace trace;

	plan.blocks = 1;
	trace = generated(&plan);
	for (uint64_t i = 0; i < trace.count; i++)
		EXPECT(trace.requests[i].block == 0);
	trace_free(&trace);
}
END_TEST

START_TEST(scans_are_in_order_read_only_and_never_seen_again)
{
	struct trace_plan plan = zipf_plan;
	uint64_t next = plan.blocks;
	uint64_t period = plan.scan_every + plan.scan_blocks;
	struct trace trace;

	plan.shape = TRACE_SCAN_ZIPF;
	plan.write_percent = 100;
	trace = generated(&plan);
	for (uint64_t i = 0; i < trace.count; i++) {
		const struct trace_request *request = &trace.requests[i];

		if (i % period >= plan.scan_every)
			EXPECT(request->block == next++ && !request->is_write);
		else
			EXPECT(request->block < plan.blocks && request->is_write);
	}
	ck_assert_uint_gt(next, plan.blocks + plan.requests / period * plan.scan_blocks - plan.scan_blocks);
	trace_free(&trace);
}
END_TEST

START_TEST(loop_goes_round)
{
	struct trace_plan plan = zipf_plan;
	struct trace trace;

	plan.shape = TRACE_LOOP;
	trace = generated(&plan);
	for (uint64_t i = 0; i < trace.count; i++)
		EXPECT(trace.requests[i].block == i % plan.blocks && !trace.requests[i].is_write);
	trace_free(&trace);
}
END_TEST

START_TEST(write_percent_is_the_share_of_writes)
{
	static const uint32_t percents[] = { 0, 1, 30, 100 };

	for (unsigned i = 0; i < 4; i++) {
		struct trace_plan plan = zipf_plan;
		struct trace trace;
		uint64_t writes = 0;

		plan.write_percent = percents[i];
		trace = generated(&plan);
		for (uint64_t k = 0; k < trace.count; k++)
			writes += trace.requests[k].is_write;
		ck_assert_uint_le(writes, plan.requests / 100 * percents[i] + (percents[i] % 100 == 0 ? 0 : 1000));
		ck_assert_uint_ge(writes + (percents[i] % 100 == 0 ? 0 : 1000), plan.requests / 100 * percents[i]);
		trace_free(&trace);
	}
}
END_TEST

START_TEST(exported_csv_comes_back)
{
	struct trace_plan plan = zipf_plan;
	struct trace_parse_error error;
	struct trace back = { .count = 0 };
	FILE *file = tmpfile();
	struct trace trace;

	plan.requests = 5000;
	plan.shape = TRACE_SCAN_ZIPF;
	plan.write_percent = 50;
	trace = generated(&plan);
	trace.requests[17] = (struct trace_request){ 1u << 30, 12345, true };
	ck_assert_int_eq(trace_export_csv(&trace, file), 0);
	rewind(file);
	ck_assert_int_eq(trace_parse_csv(file, UINT64_MAX, &back, &error), 0);
	ck_assert(is_same(&trace, &back));
	fclose(file);
	trace_free(&trace);
	trace_free(&back);
}
END_TEST

/* The objects are the blocks; numbers that occur in order stay what they are. */
START_TEST(exported_oracle_comes_back)
{
	struct trace_plan plan = zipf_plan;
	struct trace_parse_error error;
	struct trace back = { .count = 0 };
	FILE *file = tmpfile();
	struct trace trace;

	plan.requests = 5000;
	plan.shape = TRACE_LOOP;
	trace = generated(&plan);
	ck_assert_int_eq(trace_export_oracle(&trace, file), 0);
	ck_assert_int_eq(ftell(file), 5000 * (long)TRACE_ORACLE_BYTES);
	rewind(file);
	ck_assert_int_eq(trace_parse_oracle(file, UINT64_MAX, &back, &error), 0);
	ck_assert(is_same(&trace, &back));
	fclose(file);
	trace_free(&trace);
	trace_free(&back);
}
END_TEST

/* The request behind i that has the same block, found by looking at each. */
static int64_t next_of(const struct trace *trace, uint64_t i)
{
	for (uint64_t k = i + 1; k < trace->count; k++)
		if (trace->requests[k].block == trace->requests[i].block)
			return (int64_t)k;
	return -1;
}

START_TEST(exported_oracle_names_block_and_next_access)
{
	struct trace_plan plan = zipf_plan;
	FILE *file = tmpfile();
	struct trace trace;

	plan.requests = 2000;
	trace = generated(&plan);
	ck_assert_int_eq(trace_export_oracle(&trace, file), 0);
	rewind(file);
	for (uint64_t i = 0; i < trace.count; i++) {
		uint8_t record[TRACE_ORACLE_BYTES];
		uint64_t object;
		uint32_t size;
		int64_t next;

		EXPECT(fread(record, sizeof(record), 1, file) == 1);
		memcpy(&object, record + 4, sizeof(object));
		memcpy(&size, record + 12, sizeof(size));
		memcpy(&next, record + 16, sizeof(next));
		EXPECT(object == trace.requests[i].block);
		EXPECT(size == TRACE_BLOCK_BYTES);
		EXPECT(next == next_of(&trace, i));
	}
	fclose(file);
	trace_free(&trace);
}
END_TEST

START_TEST(oracle_of_writes_or_long_requests_is_refused)
{
	struct trace_request request = { .block = 1, .count = 1, .is_write = true };
	struct trace trace = { .requests = &request, .count = 1 };
	FILE *file = tmpfile();

	ck_assert_int_eq(trace_export_oracle(&trace, file), -EINVAL);
	request = (struct trace_request){ .block = 1, .count = 2 };
	ck_assert_int_eq(trace_export_oracle(&trace, file), -EINVAL);
	ck_assert_int_eq(ftell(file), 0);
	fclose(file);
}
END_TEST

START_TEST(export_to_full_disk_fails)
{
	struct trace_plan plan = zipf_plan;
	FILE *file = fopen("/dev/full", "w");
	struct trace trace;

	ck_assert_ptr_nonnull(file);
	plan.requests = 10;
	trace = generated(&plan);
	ck_assert_int_eq(trace_export_csv(&trace, file), -EIO);
	ck_assert_int_eq(trace_export_oracle(&trace, file), -EIO);
	fclose(file);
	trace_free(&trace);
}
END_TEST

START_TEST(blocks_are_numbered_as_they_occur)
{
	struct trace_request requests[] = {
		{ 100, 2, false }, { 99, 3, true }, { 7, 1, false }, { 101, 1, false }, { 100, 3, false },
	};
	static const uint64_t wanted[] = { 100, 101, 99, 7, 102 };
	struct trace trace = { .requests = requests, .count = 5 };
	struct trace_blocks blocks;

	ck_assert_int_eq(trace_blocks_find(&trace, &blocks), 0);
	ck_assert_uint_eq(blocks.count, 5);
	ck_assert_uint_eq(blocks.end, 103);
	for (uint32_t i = 0; i < 5; i++) {
		ck_assert_uint_eq(blocks.blocks[i], wanted[i]);
		ck_assert_uint_eq(trace_table_get(&blocks.table, wanted[i]), i);
	}
	trace_blocks_free(&blocks);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("generate");
	TCase *tcase = case_new(suite, "generate");

	tcase_add_test(tcase, same_seed_gives_same_trace);
	tcase_add_test(tcase, zipf_occurs_as_often_as_its_weights_say);
	tcase_add_test(tcase, zipf_with_theta_zero_is_even);
	tcase_add_test(tcase, zipf_puts_hot_blocks_apart);
	tcase_add_test(tcase, zipf_of_one_block_is_that_block);
	tcase_add_test(tcase, scans_are_in_order_read_only_and_never_seen_again);
	tcase_add_test(tcase, loop_goes_round);
	tcase_add_test(tcase, write_percent_is_the_share_of_writes);
	tcase_add_test(tcase, blocks_are_numbered_as_they_occur);
	tcase_add_test(tcase, exported_csv_comes_back);
	tcase_add_test(tcase, exported_oracle_comes_back);
	tcase_add_test(tcase, exported_oracle_names_block_and_next_access);
	tcase_add_test(tcase, oracle_of_writes_or_long_requests_is_refused);
	tcase_add_test(tcase, export_to_full_disk_fails);
	return pc_run_suite(suite);
}
