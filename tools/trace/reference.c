/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reference.c - the trace through a simulated cache, and how hits are counted in both.
 */
#include "replay.h"

void trace_count(const struct trace_options *options, uint64_t request, bool is_hit, struct trace_tally *tallies)
{
	enum trace_span span = TRACE_WHOLE;
	uint64_t crash = options->crash_after;

	/* request is the number of the one after it: 1 is the first */
	if (crash != 0 && request <= crash && crash - request < options->window)
		span = TRACE_BEFORE;
	else if (crash != 0 && request > crash && request - crash <= options->window)
		span = TRACE_AFTER;
	for (unsigned i = 0; i < TRACE_SPANS; i++) {
		if (i != TRACE_WHOLE && i != span)
			continue;
		if (is_hit)
			tallies[i].hits++;
		else
			tallies[i].misses++;
	}
}

int trace_reference(const struct trace_job *job, enum trace_policy policy, uint32_t capacity,
		    struct trace_reference *ret_reference)
{
	const struct trace_sim_params params = {
		.policy = policy,
		.capacity = capacity,
		.small_percent = TRACE_SMALL_PERCENT,
		.move_above = TRACE_MOVE_ABOVE,
	};
	struct trace_reference reference = { .capacity = capacity };
	struct trace_sim *sim;
	int ret = trace_sim_new(&params, job->blocks->count, &sim);

	if (ret < 0)
		return ret;
	for (uint64_t i = 0; i < job->trace->count; i++) {
		const struct trace_request *request = &job->trace->requests[i];

		for (uint32_t k = 0; k < request->count; k++) {
			bool is_hit = trace_sim_access(sim, request->block + k);

			if (!request->is_write)
				trace_count(job->options, i + 1, is_hit, reference.tallies);
		}
	}
	reference.counts = trace_sim_counts(sim);
	trace_sim_free(sim);
	*ret_reference = reference;
	return 0;
}
