/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sequential.c - a small table of runs, the one seen longest ago gives way. A run goes on where it is expected, or a
 * block before: the block that a reader's last request ended in the middle of.
 *
 * Lock: pc_sequential.lock, a leaf.
 */
#include "sequential.h"

#define BLOCK_BYTES 4096u

static struct pc_run *find_run(struct pc_sequential *table, uint64_t off)
{
	for (unsigned i = 0; i < PC_SEQUENTIAL_RUNS; i++) {
		struct pc_run *run = &table->runs[i];

		if (run->next != 0 && off <= run->next && run->next - off <= BLOCK_BYTES)
			return run;
	}
	return NULL;
}

static struct pc_run *oldest_run(struct pc_sequential *table)
{
	struct pc_run *oldest = &table->runs[0];

	for (unsigned i = 1; i < PC_SEQUENTIAL_RUNS; i++)
		if (table->runs[i].seen < oldest->seen)
			oldest = &table->runs[i];
	return oldest;
}

uint64_t pc_sequential_see(struct pc_sequential *table, uint64_t off, uint64_t len, uint64_t max_ahead_bytes,
			   uint64_t *ret_ahead_bytes)
{
	struct pc_run *run;
	uint64_t bytes;

	pc_lock_acquire(&table->lock);
	run = find_run(table, off);
	if (run == NULL) {
		run = oldest_run(table);
		*run = (struct pc_run){ .next = off };
	} else {
		run->ahead_bytes = pc_min64(max_ahead_bytes, pc_max64(2 * run->ahead_bytes, 2 * len));
	}
	run->bytes += off + len - run->next;
	run->next = off + len;
	run->seen = ++table->clock;
	*ret_ahead_bytes = run->ahead_bytes;
	bytes = run->bytes;
	pc_lock_release(&table->lock);
	return bytes;
}

void pc_sequential_advance(struct pc_sequential *table, uint64_t from, uint64_t to)
{
	pc_lock_acquire(&table->lock);
	for (unsigned i = 0; i < PC_SEQUENTIAL_RUNS; i++) {
		struct pc_run *run = &table->runs[i];

		if (run->next == from) {
			run->bytes += to - from;
			run->next = to;
			break;
		}
	}
	pc_lock_release(&table->lock);
}
