/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay.h - the trace through a real cache, and through the reference.
 */
#ifndef PCACHE_TRACE_REPLAY_H
#define PCACHE_TRACE_REPLAY_H

#include "options.h"
#include "place.h"
#include "sim.h"
#include "trace.h"

#define TRACE_RUNS_MAX 2u /* before and after a crash */

/* Reads of single blocks. */
struct trace_tally {
	uint64_t hits;
	uint64_t misses;
};

/* Which requests a tally counts. */
enum trace_span {
	TRACE_WHOLE,
	TRACE_BEFORE, /* the window before the crash */
	TRACE_AFTER,
	TRACE_SPANS,
};

struct trace_run {
	struct pcache_stats stats; /* at its end */
	uint64_t ns;               /* of the requests */
};

/* What outlives the process that replays. */
struct trace_outcome {
	uint64_t next_request;
	bool is_killed; /* as it was to be */
	uint32_t run_count;
	struct trace_run runs[TRACE_RUNS_MAX];
	struct trace_tally tallies[TRACE_SPANS];
	uint32_t versions[]; /* by number of the block: how often it has been written */
};

struct trace_job {
	const struct trace_options *options;
	const struct trace *trace;
	const struct trace_blocks *blocks;
	struct trace_place place;
	struct trace_outcome *outcome; /* shared memory */
	size_t outcome_bytes;
};

struct trace_reference {
	uint32_t capacity; /* blocks */
	struct trace_tally tallies[TRACE_SPANS];
	struct trace_sim_counts counts;
};

/* Adds one read of a block, which belongs to this request. */
void trace_count(const struct trace_options *options, uint64_t request, bool is_hit, struct trace_tally *tallies);

/* In a process of its own, from outcome->next_request on. TRACE_OK, TRACE_FAILED or TRACE_WRONG. */
int trace_replay(void *job);

/* -ENOMEM. */
int trace_reference(const struct trace_job *job, enum trace_policy policy, uint32_t capacity,
		    struct trace_reference *ret_reference);

#endif
