/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.h - what the parts of pcache-trace share.
 *
 *   main.c      from the command line to the exit status
 *   options.c   the command line and its help
 *   trace.c     a trace in memory, and the set of blocks that it touches
 *   parse.c     traces from files
 *   generate.c  traces from a seed
 *   export.c    traces to files
 *   table.c     a hash table
 *   sim.c       the reference: FIFO and S3-FIFO as the literature has them
 *   place.c     a directory for one replay, and the processes that run in it
 *   replay.c    one process: the trace through a real cache
 *   content.c   what --verify puts into blocks and expects there
 *   report.c    the figures
 *
 * The unit is a block of 4 KiB: a request that begins or ends inside a block is widened to whole ones.
 */
#ifndef PCACHE_TRACE_H
#define PCACHE_TRACE_H

#include "table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_BLOCK_BYTES 4096u

enum trace_status {
	TRACE_OK = 0,
	TRACE_FAILED = 1,
	TRACE_USAGE = 2,
	TRACE_WRONG = 3,    /* --verify found other content than it should be */
	TRACE_SIGNAL = 128, /* plus the number of the signal */
};

struct trace_request {
	uint64_t block;
	uint32_t count; /* of blocks, at least 1 */
	bool is_write;
};

struct trace {
	struct trace_request *requests;
	uint64_t count;
	uint64_t room;
};

/* The different blocks of a trace, numbered as they first occur. */
struct trace_blocks {
	struct trace_table table; /* block to number */
	uint64_t *blocks;         /* number to block */
	uint32_t count;
	uint32_t room;
	uint64_t end; /* one more than the highest block */
};

/* Prints a line on stderr; returns status. */
int trace_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* -ENOMEM. */
int trace_add(struct trace *trace, struct trace_request request);
void trace_free(struct trace *trace);

/* -ENOMEM; -E2BIG: too many different blocks. */
int trace_blocks_find(const struct trace *trace, struct trace_blocks *ret_blocks);
void trace_blocks_free(struct trace_blocks *blocks);

#endif
