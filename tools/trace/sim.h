/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.h - which blocks a cache of so many blocks would hold, with no data and no segments: the reference.
 */
#ifndef PCACHE_TRACE_SIM_H
#define PCACHE_TRACE_SIM_H

#include <stdbool.h>
#include <stdint.h>

enum trace_policy {
	TRACE_S3FIFO,
	TRACE_FIFO,
};

#define TRACE_SMALL_PERCENT 10u /* S3-FIFO, Algorithm 1 */
#define TRACE_MOVE_ABOVE    1u

struct trace_sim_params {
	enum trace_policy policy;
	uint32_t capacity;      /* blocks; at least 1 */
	uint32_t small_percent; /* S3-FIFO: share of the small queue, 1..100 */
	uint32_t move_above;    /* S3-FIFO: what was hit more often goes from the small queue to the main one; 0..3 */
};

struct trace_sim_counts {
	uint64_t inserted;   /* misses, of reads and writes */
	uint64_t moved;      /* from small to main, and from the end of main to its front */
	uint64_t ghost_hits; /* misses of what the ghost knew */
};

struct trace_sim;

/* Most blocks that will ever be accessed: bounds the memory. -ENOMEM. */
int trace_sim_new(const struct trace_sim_params *params, uint32_t blocks_max, struct trace_sim **ret_sim);
void trace_sim_free(struct trace_sim *sim);

/* A read or a write of one block; it is there afterwards. True: it was there before. */
bool trace_sim_access(struct trace_sim *sim, uint64_t block);

/* Blocks held now. */
uint32_t trace_sim_held(const struct trace_sim *sim);

struct trace_sim_counts trace_sim_counts(const struct trace_sim *sim);

#endif
