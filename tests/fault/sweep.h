/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sweep.h - fail the nth point of a workload, n = 1, 2, 3 ..., and count.
 */
#ifndef PC_FAULT_SWEEP_H
#define PC_FAULT_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

struct sweep {
	const char *name;
	uint64_t points;
	uint64_t failed;
	uint64_t point; /* the one that fails now */
	bool sticky;
	uint64_t sticky_stride; /* of the sticky sweep only every nth point; 0: each */
	unsigned cases; /* of TAP so far */
};

/* One run with the point armed. Reports what is wrong by sweep_fail(); returns whether the point was reached. */
typedef bool (*sweep_run_fn)(struct sweep *sweep, void *arg);

void sweep_fail(struct sweep *sweep, const char *what, int64_t value);

/* One-shot, then sticky: two cases of TAP. */
void sweep_all(struct sweep *sweep, const char *name, sweep_run_fn run, void *arg);

/* One-shot only, for what cannot go on for ever. */
void sweep_single(struct sweep *sweep, const char *name, sweep_run_fn run, void *arg);

/* The plan of TAP and the totals; the exit status. */
int sweep_end(struct sweep *sweep);

#endif
