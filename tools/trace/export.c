/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * export.c - traces to files.
 */
#include "export.h"

#include "parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_PER_SECOND 1000u

int trace_export_csv(const struct trace *trace, FILE *out)
{
	fputs("time_s,op,offset_bytes,length_bytes\n", out);
	for (uint64_t i = 0; i < trace->count; i++) {
		const struct trace_request *request = &trace->requests[i];

		fprintf(out, "%" PRIu64 ".%03u,%c,%" PRIu64 ",%" PRIu64 "\n", i / REQUESTS_PER_SECOND,
			(unsigned)(i % REQUESTS_PER_SECOND), request->is_write ? 'w' : 'r',
			request->block * TRACE_BLOCK_BYTES, (uint64_t)request->count * TRACE_BLOCK_BYTES);
	}
	return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

/* By request: the next one for the same block, or -1. NULL: no memory. */
static int64_t *find_next(const struct trace *trace, const struct trace_blocks *blocks)
{
	int64_t *next = malloc(trace->count * sizeof(*next) + 1);
	int64_t *seen = malloc(blocks->count * sizeof(*seen) + 1); /* by number of the block */

	if (next == NULL || seen == NULL) {
		free(next);
		free(seen);
		return NULL;
	}
	for (uint32_t i = 0; i < blocks->count; i++)
		seen[i] = -1;
	for (uint64_t i = trace->count; i-- > 0;) {
		uint32_t number = trace_table_get(&blocks->table, trace->requests[i].block);

		next[i] = seen[number];
		seen[number] = (int64_t)i;
	}
	free(seen);
	return next;
}

static void put_record(const struct trace *trace, uint64_t number, int64_t next, FILE *out)
{
	const uint32_t time_s = (uint32_t)(number / REQUESTS_PER_SECOND);
	const uint32_t size = TRACE_BLOCK_BYTES;
	uint8_t record[TRACE_ORACLE_BYTES];

	memcpy(record, &time_s, sizeof(time_s));
	memcpy(record + 4, &trace->requests[number].block, sizeof(uint64_t));
	memcpy(record + 12, &size, sizeof(size));
	memcpy(record + 16, &next, sizeof(next));
	fwrite(record, sizeof(record), 1, out);
}

int trace_export_oracle(const struct trace *trace, FILE *out)
{
	struct trace_blocks blocks;
	int64_t *next;
	int ret;

	for (uint64_t i = 0; i < trace->count; i++)
		if (trace->requests[i].is_write || trace->requests[i].count != 1)
			return -EINVAL;
	ret = trace_blocks_find(trace, &blocks);
	if (ret < 0)
		return ret;
	next = find_next(trace, &blocks);
	trace_blocks_free(&blocks);
	if (next == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < trace->count; i++)
		put_record(trace, i, next[i], out);
	free(next);
	return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}
