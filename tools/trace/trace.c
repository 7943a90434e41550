/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.c - a trace in memory, 16 bytes a request, and the set of blocks that it touches.
 */
#include "trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM_MIN 1024u

int trace_fail(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("pcache-trace: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return status;
}

int trace_add(struct trace *trace, struct trace_request request)
{
	if (trace->count == trace->room) {
		uint64_t room = trace->room == 0 ? ROOM_MIN : 2 * trace->room;
		struct trace_request *larger = reallocarray(trace->requests, room, sizeof(*larger));

		if (larger == NULL)
			return -ENOMEM;
		trace->requests = larger;
		trace->room = room;
	}
	trace->requests[trace->count++] = request;
	return 0;
}

void trace_free(struct trace *trace)
{
	free(trace->requests);
	*trace = (struct trace){ .count = 0 };
}

static int add_block(struct trace_blocks *blocks, uint64_t block)
{
	int ret;

	if (trace_table_get(&blocks->table, block) != TRACE_TABLE_NONE)
		return 0;
	if (blocks->count == blocks->room) {
		uint32_t room = blocks->room == 0 ? ROOM_MIN : 2 * blocks->room;
		uint64_t *larger;

		if (room < blocks->room)
			return -E2BIG;
		larger = reallocarray(blocks->blocks, room, sizeof(*larger));
		if (larger == NULL)
			return -ENOMEM;
		blocks->blocks = larger;
		blocks->room = room;
	}
	ret = trace_table_put(&blocks->table, block, blocks->count);
	if (ret == 0)
		blocks->blocks[blocks->count++] = block;
	return ret;
}

int trace_blocks_find(const struct trace *trace, struct trace_blocks *ret_blocks)
{
	struct trace_blocks blocks = { .count = 0 };
	int ret = trace_table_init(0, &blocks.table);

	for (uint64_t i = 0; ret == 0 && i < trace->count; i++) {
		const struct trace_request *request = &trace->requests[i];

		for (uint32_t k = 0; ret == 0 && k < request->count; k++)
			ret = add_block(&blocks, request->block + k);
		if (blocks.end < request->block + request->count)
			blocks.end = request->block + request->count;
	}
	if (ret < 0)
		trace_blocks_free(&blocks);
	else
		*ret_blocks = blocks;
	return ret;
}

void trace_blocks_free(struct trace_blocks *blocks)
{
	trace_table_free(&blocks->table);
	free(blocks->blocks);
	blocks->blocks = NULL;
}
