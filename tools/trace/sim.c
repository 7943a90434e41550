/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.c - FIFO and S3-FIFO over blocks of one size.
 *
 * S3-FIFO follows Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023,
 * Algorithm 1 and section 4.1. Three queues: small, main, and ghost, which has names only.
 *
 * (F1) A hit adds one to the block's count, up to 3, and moves nothing.
 * (F2) A miss enters main if the ghost has the name, else small. Room is made first.
 * (F3) Room: if small has its share, its oldest block goes to main if its count is above the threshold, with the count
 *      cleared, else out, and its name to the ghost; until one is out. A move that makes main larger than its share
 *      evicts from main. If small has less than its share, main evicts.
 * (F4) Main evicts its oldest block if its count is 0, else puts it in front again with a count one lower.
 * (F5) The ghost has as many names as main has blocks at most, and forgets the oldest first.
 *
 * FIFO uses the small queue alone.
 */
#include "sim.h"

#include "table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define COUNT_MAX 3u
#define NOBODY    UINT32_MAX

enum queue_name {
	SMALL,
	MAIN,
	GHOST,
	QUEUES,
};

struct node {
	uint64_t block;
	uint32_t newer;
	uint32_t older; /* also the list of free nodes */
	uint8_t queue;
	uint8_t count;
};

struct queue {
	uint32_t newest;
	uint32_t oldest;
	uint32_t size;
};

struct trace_sim {
	struct trace_sim_params params;
	struct trace_table table; /* block to node */
	struct node *nodes;
	uint32_t free_node;
	uint32_t ghost_max;
	struct trace_sim_counts counts;
	struct queue queues[QUEUES];
};

static uint32_t min_of(uint64_t a, uint32_t b)
{
	return a < b ? (uint32_t)a : b;
}

/* Main's share of the capacity. */
static uint32_t main_share(const struct trace_sim_params *params)
{
	return (uint32_t)((uint64_t)params->capacity * (100 - params->small_percent) / 100);
}

static int init(struct trace_sim *sim, uint32_t blocks_max)
{
	/* One more: a name goes to the ghost before the oldest leaves it. */
	uint32_t nodes = min_of((uint64_t)sim->params.capacity + sim->ghost_max + 1, blocks_max);
	int ret;

	sim->nodes = calloc((size_t)nodes + 1, sizeof(*sim->nodes));
	if (sim->nodes == NULL)
		return -ENOMEM;
	ret = trace_table_init(nodes, &sim->table);
	if (ret < 0)
		return ret;
	sim->free_node = nodes == 0 ? NOBODY : 0;
	for (uint32_t i = 0; i < nodes; i++)
		sim->nodes[i].older = i + 1 < nodes ? i + 1 : NOBODY;
	for (unsigned i = 0; i < QUEUES; i++)
		sim->queues[i] = (struct queue){ .newest = NOBODY, .oldest = NOBODY };
	return 0;
}

int trace_sim_new(const struct trace_sim_params *params, uint32_t blocks_max, struct trace_sim **ret_sim)
{
	struct trace_sim *sim = calloc(1, sizeof(*sim));
	int ret;

	if (sim == NULL)
		return -ENOMEM;
	sim->params = *params;
	sim->ghost_max = params->policy == TRACE_FIFO ? 0 : main_share(params);
	ret = init(sim, blocks_max);
	if (ret < 0)
		trace_sim_free(sim);
	else
		*ret_sim = sim;
	return ret;
}

void trace_sim_free(struct trace_sim *sim)
{
	if (sim == NULL)
		return;
	trace_table_free(&sim->table);
	free(sim->nodes);
	free(sim);
}

static void push(struct trace_sim *sim, enum queue_name name, uint32_t number)
{
	struct queue *queue = &sim->queues[name];
	struct node *node = &sim->nodes[number];

	node->queue = (uint8_t)name;
	node->newer = NOBODY;
	node->older = queue->newest;
	if (queue->newest == NOBODY)
		queue->oldest = number;
	else
		sim->nodes[queue->newest].newer = number;
	queue->newest = number;
	queue->size++;
}

static void take(struct trace_sim *sim, uint32_t number)
{
	struct node *node = &sim->nodes[number];
	struct queue *queue = &sim->queues[node->queue];

	if (node->newer == NOBODY)
		queue->newest = node->older;
	else
		sim->nodes[node->newer].older = node->older;
	if (node->older == NOBODY)
		queue->oldest = node->newer;
	else
		sim->nodes[node->older].newer = node->newer;
	queue->size--;
}

static void forget(struct trace_sim *sim, uint32_t number)
{
	take(sim, number);
	trace_table_remove(&sim->table, sim->nodes[number].block);
	sim->nodes[number].older = sim->free_node;
	sim->free_node = number;
}

static uint32_t remember(struct trace_sim *sim, uint64_t block)
{
	uint32_t number = sim->free_node;
	int ret;

	assert(number != NOBODY); /* more blocks than the caller said */
	sim->free_node = sim->nodes[number].older;
	sim->nodes[number] = (struct node){ .block = block };
	ret = trace_table_put(&sim->table, block, number);
	assert(ret == 0); /* it has room for all nodes */
	(void)ret;
	return number;
}

/* (F4) */
static void evict_main(struct trace_sim *sim)
{
	struct queue *queue = &sim->queues[MAIN];

	while (queue->size > 0) {
		uint32_t oldest = queue->oldest;

		if (sim->nodes[oldest].count == 0) {
			forget(sim, oldest);
			return;
		}
		take(sim, oldest);
		push(sim, MAIN, oldest);
		sim->counts.moved++;
		sim->nodes[oldest].count--;
	}
}

/* (F5) */
static void move_to_ghost(struct trace_sim *sim, uint32_t number)
{
	struct queue *ghost = &sim->queues[GHOST];

	take(sim, number);
	push(sim, GHOST, number);
	if (ghost->size > sim->ghost_max)
		forget(sim, ghost->oldest);
}

/* (F3) */
static void evict_small(struct trace_sim *sim)
{
	struct queue *queue = &sim->queues[SMALL];

	while (queue->size > 0) {
		uint32_t oldest = queue->oldest;

		if (sim->nodes[oldest].count <= sim->params.move_above) {
			move_to_ghost(sim, oldest);
			return;
		}
		take(sim, oldest);
		push(sim, MAIN, oldest);
		sim->counts.moved++;
		sim->nodes[oldest].count = 0;
		if (sim->queues[MAIN].size > main_share(&sim->params))
			evict_main(sim);
	}
}

static void make_room(struct trace_sim *sim)
{
	const struct trace_sim_params *params = &sim->params;

	while (trace_sim_held(sim) >= params->capacity) {
		uint64_t small = sim->queues[SMALL].size;

		if (params->policy == TRACE_FIFO)
			forget(sim, sim->queues[SMALL].oldest);
		else if (small * 100 >= (uint64_t)params->capacity * params->small_percent)
			evict_small(sim);
		else
			evict_main(sim);
	}
}

uint32_t trace_sim_held(const struct trace_sim *sim)
{
	return sim->queues[SMALL].size + sim->queues[MAIN].size;
}

struct trace_sim_counts trace_sim_counts(const struct trace_sim *sim)
{
	return sim->counts;
}

bool trace_sim_access(struct trace_sim *sim, uint64_t block)
{
	uint32_t number = trace_table_get(&sim->table, block);
	bool was_ghost = false;

	if (number != TRACE_TABLE_NONE) {
		struct node *node = &sim->nodes[number];

		if (node->queue != GHOST) {
			node->count = (uint8_t)min_of(node->count + 1u, COUNT_MAX); /* (F1) */
			return true;
		}
		was_ghost = true;
		sim->counts.ghost_hits++;
		/* Before room is made, which may push it out of the ghost; the code of the authors does so, too. */
		forget(sim, number);
	}
	make_room(sim);
	sim->counts.inserted++;
	push(sim, was_ghost ? MAIN : SMALL, remember(sim, block)); /* (F2) */
	return false;
}
