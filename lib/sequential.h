/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sequential.h - recognises readers that go through the backing in order, by their misses.
 */
#ifndef PC_SEQUENTIAL_H
#define PC_SEQUENTIAL_H

#include "lock.h"

#define PC_SEQUENTIAL_RUNS 16u

struct pc_run {
	uint64_t next; /* where it is expected to go on; 0: nothing was seen yet */
	uint64_t bytes; /* it has gone through so far */
	uint64_t ahead_bytes; /* it was last given ahead of what it asked for */
	uint64_t seen;        /* when, by the table's clock */
};

/* Zero is empty. */
struct pc_sequential {
	struct pc_lock lock; /* guards what follows */

	uint64_t clock;
	struct pc_run runs[PC_SEQUENTIAL_RUNS];
};

/*
 * There was a miss at [off, off + len). Returns how far the run that it belongs to has gone, this miss included, and in
 * *ret_ahead_bytes how much to read ahead, at most max_ahead_bytes: nothing for a new run, then ever more.
 */
uint64_t pc_sequential_see(struct pc_sequential *table, uint64_t off, uint64_t len, uint64_t max_ahead_bytes,
			   uint64_t *ret_ahead_bytes);

/* The run that is expected at `from` was read ahead up to `to`. */
void pc_sequential_advance(struct pc_sequential *table, uint64_t from, uint64_t to);

#endif
