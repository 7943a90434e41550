/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parse.h - traces from files.
 */
#ifndef PCACHE_TRACE_PARSE_H
#define PCACHE_TRACE_PARSE_H

#include "trace.h"

#include <stdio.h>

struct trace_parse_error {
	char text[160]; /* where and what */
};

/*
 * Reads until the end or until so many requests. 0; -EINVAL: not a trace; -EIO; -ENOMEM; each with its text. The trace
 * holds what came before, and is the caller's to free.
 */
int trace_parse_csv(FILE *in, uint64_t limit, struct trace *trace, struct trace_parse_error *ret_error);

/* libCacheSim's oracleGeneral. Objects become blocks, numbered as they first occur. */
int trace_parse_oracle(FILE *in, uint64_t limit, struct trace *trace, struct trace_parse_error *ret_error);

#define TRACE_ORACLE_BYTES 24u /* a record: time 4, object 8, size 4, next access 8, little-endian */

#endif
