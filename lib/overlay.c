/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overlay.c - a sweep over the ranges sorted by offset, with a heap of those that cover the current byte, the newest on
 * top. n ranges take O(n log n), and end in at most 2n - 1 pieces.
 */
#include "overlay.h"

#include "util.h"

#include <errno.h>
#include <string.h>

struct sweep {
	const struct pc_range *ranges;
	uint32_t *order; /* ranges by offset */
	uint32_t *heap;  /* of range numbers, the highest (newest) first */
	uint32_t heap_count;
	struct pc_overlay_piece *pieces;
	uint32_t piece_count;
};

struct start {
	uint64_t off;
	uint32_t range;
};

static int compare_starts(const void *a, const void *b)
{
	const struct start *left = a;
	const struct start *right = b;

	return (left->off > right->off) - (left->off < right->off);
}

static int sort_by_offset(const struct pc_range *ranges, uint32_t count, uint32_t *order)
{
	PC_FREE struct start *starts = malloc(count * sizeof(*starts));

	if (starts == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		starts[i] = (struct start){ .off = ranges[i].off, .range = i };
	qsort(starts, count, sizeof(*starts), compare_starts);
	for (uint32_t i = 0; i < count; i++)
		order[i] = starts[i].range;
	return 0;
}

static void swap(uint32_t *a, uint32_t *b)
{
	uint32_t kept = *a;

	*a = *b;
	*b = kept;
}

static void push(struct sweep *sweep, uint32_t range)
{
	uint32_t at = sweep->heap_count++;

	sweep->heap[at] = range;
	while (at > 0 && sweep->heap[(at - 1) / 2] < sweep->heap[at]) {
		swap(&sweep->heap[(at - 1) / 2], &sweep->heap[at]);
		at = (at - 1) / 2;
	}
}

static void pop(struct sweep *sweep)
{
	uint32_t at = 0;

	sweep->heap[0] = sweep->heap[--sweep->heap_count];
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= sweep->heap_count)
			return;
		if (child + 1 < sweep->heap_count && sweep->heap[child + 1] > sweep->heap[child])
			child++;
		if (sweep->heap[child] < sweep->heap[at])
			return;
		swap(&sweep->heap[child], &sweep->heap[at]);
		at = child;
	}
}

static uint64_t range_end(const struct sweep *sweep, uint32_t range)
{
	return sweep->ranges[range].off + sweep->ranges[range].len;
}

static void emit(struct sweep *sweep, uint32_t range, uint64_t from, uint64_t to)
{
	struct pc_overlay_piece *last = sweep->piece_count == 0 ? NULL : &sweep->pieces[sweep->piece_count - 1];

	if (last != NULL && last->range == range && last->off + last->len == from)
		last->len += (uint32_t)(to - from);
	else
		sweep->pieces[sweep->piece_count++] =
			(struct pc_overlay_piece){ .off = from, .len = (uint32_t)(to - from), .range = range };
}

static void run(struct sweep *sweep, uint32_t count)
{
	uint64_t at = 0;
	uint32_t next = 0;

	while (next < count || sweep->heap_count > 0) {
		uint64_t to;

		if (sweep->heap_count == 0)
			at = sweep->ranges[sweep->order[next]].off;
		while (next < count && sweep->ranges[sweep->order[next]].off == at)
			push(sweep, sweep->order[next++]);
		while (sweep->heap_count > 0 && range_end(sweep, sweep->heap[0]) <= at)
			pop(sweep);
		if (sweep->heap_count == 0)
			continue;
		to = range_end(sweep, sweep->heap[0]);
		if (next < count)
			to = pc_min64(to, sweep->ranges[sweep->order[next]].off);
		emit(sweep, sweep->heap[0], at, to);
		at = to;
	}
}

int pc_overlay(const struct pc_range *ranges, uint32_t count, struct pc_overlay_piece **ret_pieces,
	       uint32_t *ret_count)
{
	PC_FREE uint32_t *order = malloc((count + 1) * sizeof(*order));
	PC_FREE uint32_t *heap = malloc((count + 1) * sizeof(*heap));
	struct sweep sweep = { .ranges = ranges, .order = order, .heap = heap };
	int ret;

	if (order == NULL || heap == NULL)
		return -ENOMEM;
	ret = sort_by_offset(ranges, count, order);
	if (ret < 0)
		return ret;
	sweep.pieces = malloc((2 * (size_t)count + 1) * sizeof(*sweep.pieces));
	if (sweep.pieces == NULL)
		return -ENOMEM;
	run(&sweep, count);
	*ret_pieces = sweep.pieces;
	*ret_count = sweep.piece_count;
	return 0;
}
