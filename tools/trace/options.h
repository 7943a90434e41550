/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - the command line of pcache-trace.
 */
#ifndef PCACHE_TRACE_OPTIONS_H
#define PCACHE_TRACE_OPTIONS_H

#include "generate.h"
#include "pcache.h"

#include <stdbool.h>
#include <stdint.h>

enum trace_format {
	TRACE_BY_NAME,
	TRACE_CSV,
	TRACE_ORACLE,
};

struct trace_cache_options {
	enum pcache_eviction eviction;
	enum pcache_fill fill;
	uint64_t cache_bytes;
	uint32_t segment_bytes;
	uint32_t gc_percent;
	uint32_t read_ahead_bytes; /* 0: off */
	uint64_t bypass_bytes;     /* 0: off */
};

struct trace_options {
	const char *input; /* "-": the standard input; NULL: generate */
	enum trace_format format;
	struct trace_plan plan;
	const char *out; /* not NULL: only write the trace */
	const char *dir;
	struct trace_cache_options cache;
	uint64_t limit;       /* requests */
	uint64_t crash_after; /* requests; 0: no crash */
	uint64_t window;      /* requests before and after the crash whose hits are counted apart */
	bool verify;
	bool pace; /* give background work the time that a slow backing would */
	bool json;
};

/* TRACE_OK or TRACE_USAGE. *ret_done: help or version was all that was wanted. */
int trace_options_parse(int argc, char **argv, struct trace_options *ret_options, bool *ret_done);

/* TRACE_CSV or TRACE_ORACLE, for a file of this name. */
enum trace_format trace_options_format(const struct trace_options *options, const char *name);

#endif
