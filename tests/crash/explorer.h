/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explorer.h - runs a workload that follows from its seed, and at every crash point tries what a crash may leave.
 */
#ifndef PC_CRASH_EXPLORER_H
#define PC_CRASH_EXPLORER_H

#include <stdbool.h>
#include <stdint.h>

struct explorer_counts {
	uint64_t seeds;
	uint64_t points;     /* moments at which a crash was tried */
	uint64_t states;     /* crash states checked */
	uint64_t unique;     /* of them, different from all before in their seed */
	uint64_t nested;     /* of them, cut again during their recovery */
	uint64_t kill_power; /* process killed, reopened, read, then power cut */
	uint64_t drained;    /* of them, drained and the backing alone compared */
	uint64_t failures;
};

struct explorer_options {
	unsigned states_per_point;
	uint64_t only_point; /* with replay: the point and the state to check; UINT64_MAX: all */
	unsigned only_state;
	bool verbose;
};

/* Runs one seed to its end or its first failure, which it prints with the id that replays it. False: it failed. */
bool explorer_run(uint64_t seed, const struct explorer_options *options, struct explorer_counts *counts);

#endif
