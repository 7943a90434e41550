/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * generate.h - traces from a seed: the same numbers make the same trace, everywhere.
 */
#ifndef PCACHE_TRACE_GENERATE_H
#define PCACHE_TRACE_GENERATE_H

#include "trace.h"

enum trace_shape {
	TRACE_ZIPF,      /* the block of rank k with a weight of 1 / k^theta; ranks lie anywhere */
	TRACE_SCAN_ZIPF, /* and now and then a row of blocks that never come again */
	TRACE_LOOP,      /* one block after the other, over and over */
};

struct trace_plan {
	enum trace_shape shape;
	uint32_t blocks; /* without those of scans; at least 1 */
	uint64_t requests;
	double theta;
	uint64_t seed;
	uint32_t write_percent; /* of requests that belong to no scan */
	uint64_t scan_every;    /* requests between two scans; at least 1 */
	uint64_t scan_blocks;   /* length of one */
};

/* -ENOMEM. */
int trace_generate(const struct trace_plan *plan, struct trace *ret_trace);

#endif
