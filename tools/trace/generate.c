/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * generate.c - Zipf by a table of the distribution: plain, and exact for every theta. Scans are read through block by
 * block, behind the other blocks.
 */
#include "generate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct random {
	uint64_t state;
};

/* splitmix64 */
static uint64_t next_random(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 0 <= x < 1 */
static double random_share(struct random *random)
{
	return (double)(next_random(random) >> 11) * 0x1p-53;
}

/* 0..limit-1 */
static uint32_t random_below(struct random *random, uint32_t limit)
{
	return (uint32_t)((next_random(random) >> 32) * limit >> 32);
}

struct zipf {
	uint32_t blocks;
	double *upto;         /* by rank: weight of this rank and all before it */
	uint32_t *block_of;   /* by rank: any order, so that those often used are not neighbours */
};

static void zipf_free(struct zipf *zipf)
{
	free(zipf->upto);
	free(zipf->block_of);
}

static int zipf_init(const struct trace_plan *plan, struct random *random, struct zipf *ret_zipf)
{
	struct zipf zipf = { .blocks = plan->blocks };
	double sum = 0;

	zipf.upto = malloc(plan->blocks * sizeof(*zipf.upto));
	zipf.block_of = malloc(plan->blocks * sizeof(*zipf.block_of));
	if (zipf.upto == NULL || zipf.block_of == NULL) {
		zipf_free(&zipf);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < plan->blocks; i++) {
		uint32_t other = random_below(random, i + 1);

		sum += pow((double)i + 1, -plan->theta);
		zipf.upto[i] = sum;
		zipf.block_of[i] = i;
		zipf.block_of[i] = zipf.block_of[other];
		zipf.block_of[other] = i;
	}
	*ret_zipf = zipf;
	return 0;
}

static uint32_t zipf_next(const struct zipf *zipf, struct random *random)
{
	double wanted = random_share(random) * zipf->upto[zipf->blocks - 1];
	uint32_t low = 0;
	uint32_t high = zipf->blocks - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (zipf->upto[middle] > wanted)
			high = middle;
		else
			low = middle + 1;
	}
	return zipf->block_of[low];
}

static bool is_scan(const struct trace_plan *plan, uint64_t request)
{
	return plan->shape == TRACE_SCAN_ZIPF && request % (plan->scan_every + plan->scan_blocks) >= plan->scan_every;
}

static int add_requests(const struct trace_plan *plan, const struct zipf *zipf, struct random *random,
			struct trace *trace)
{
	uint64_t next_scanned = plan->blocks;
	int ret = 0;

	for (uint64_t i = 0; i < plan->requests && ret == 0; i++) {
		struct trace_request request = { .count = 1 };

		if (is_scan(plan, i)) {
			request.block = next_scanned++;
		} else {
			request.block = plan->shape == TRACE_LOOP ? i % plan->blocks : zipf_next(zipf, random);
			request.is_write = random_below(random, 100) < plan->write_percent;
		}
		ret = trace_add(trace, request);
	}
	return ret;
}

int trace_generate(const struct trace_plan *plan, struct trace *ret_trace)
{
	struct random random = { .state = plan->seed };
	struct zipf zipf = { .blocks = 0 };
	struct trace trace = { .count = 0 };
	int ret = 0;

	if (plan->shape != TRACE_LOOP)
		ret = zipf_init(plan, &random, &zipf);
	if (ret == 0)
		ret = add_requests(plan, &zipf, &random, &trace);
	zipf_free(&zipf);
	if (ret < 0)
		trace_free(&trace);
	else
		*ret_trace = trace;
	return ret;
}
