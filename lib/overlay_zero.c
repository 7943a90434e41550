/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overlay_zero.c - of the pieces of an overlay: what is not written at all, and what is zeroed as a range.
 *
 *   pieces of zeroes, one behind the other:   [   64 KiB   ][   64 KiB   ][  30 KiB ]
 *   whole blocks of them: a run                 |===========================|
 *   what stays as pieces                      [ ]                           [ ]
 */
#include "overlay.h"

#include "util.h"

#include <errno.h>

struct split {
	const struct pc_range *ranges;
	const struct pc_zero_rule *rule;
	const struct pc_overlay_piece *in;
	uint32_t in_count;
	struct pc_overlay_piece *out; /* a stretch of zeroes leaves one piece more at most */
	uint32_t out_count;
	struct pc_zero_run *runs;
	uint32_t run_count;
};

static uint32_t kind_of(const struct split *split, uint32_t piece)
{
	return split->ranges[split->in[piece].range].kind;
}

static uint64_t end_of(const struct pc_overlay_piece *piece)
{
	return piece->off + piece->len;
}

/* Behind the last piece of the stretch of one kind that begins here. */
static uint32_t stretch_end(const struct split *split, uint32_t first)
{
	uint32_t end = first + 1;

	while (end < split->in_count && kind_of(split, end) == kind_of(split, first) &&
	       split->in[end].off == end_of(&split->in[end - 1]))
		end++;
	return end;
}

/* The part of a piece in [from, to). */
static void keep(struct split *split, const struct pc_overlay_piece *piece, uint64_t from, uint64_t to)
{
	from = pc_max64(from, piece->off);
	to = pc_min64(to, end_of(piece));
	if (from < to)
		split->out[split->out_count++] =
			(struct pc_overlay_piece){ .off = from, .len = (uint32_t)(to - from), .range = piece->range };
}

static void split_zeroes(struct split *split, uint32_t first, uint32_t end)
{
	bool punch = kind_of(split, first) == PC_RANGE_PUNCH;
	uint64_t run_off = pc_align_up(split->in[first].off, split->rule->align_bytes);
	uint64_t run_end = pc_align_down(end_of(&split->in[end - 1]), split->rule->align_bytes);

	if (run_end <= run_off || run_end - run_off < (punch ? split->rule->punch_min : split->rule->zero_min))
		run_end = run_off = UINT64_MAX;
	else
		split->runs[split->run_count++] =
			(struct pc_zero_run){ .off = run_off, .len = run_end - run_off, .punch = punch };
	for (uint32_t i = first; i < end; i++) {
		keep(split, &split->in[i], 0, run_off);
		keep(split, &split->in[i], run_end, UINT64_MAX);
	}
}

static bool has_other_than_data(const struct split *split)
{
	for (uint32_t i = 0; i < split->in_count; i++)
		if (kind_of(split, i) != PC_RANGE_DATA)
			return true;
	return false;
}

static void split_all(struct split *split)
{
	uint32_t end;

	for (uint32_t i = 0; i < split->in_count; i = end) {
		uint32_t kind = kind_of(split, i);

		end = stretch_end(split, i);
		if (kind == PC_RANGE_ZERO || kind == PC_RANGE_PUNCH)
			split_zeroes(split, i, end);
		for (uint32_t j = i; j < end && kind == PC_RANGE_DATA; j++)
			split->out[split->out_count++] = split->in[j];
	}
}

int pc_overlay_take_zeroes(const struct pc_range *ranges, const struct pc_zero_rule *rule,
			   struct pc_overlay_piece **pieces, uint32_t *count, struct pc_zero_run **ret_runs,
			   uint32_t *ret_run_count)
{
	struct split split = { .ranges = ranges, .rule = rule, .in = *pieces, .in_count = *count };

	if (!has_other_than_data(&split))
		return 0;
	split.out = malloc(2 * (size_t)*count * sizeof(*split.out));
	split.runs = malloc(*count * sizeof(*split.runs));
	if (split.out == NULL || split.runs == NULL) {
		free(split.out);
		free(split.runs);
		return -ENOMEM;
	}
	split_all(&split);
	free(*pieces);
	*pieces = split.out;
	*count = split.out_count;
	*ret_runs = split.runs;
	*ret_run_count = split.run_count;
	return 0;
}
