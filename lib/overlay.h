/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overlay.h - of many overlapping ranges, the newest for each byte. A pure function.
 */
#ifndef PC_OVERLAY_H
#define PC_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pc_range_kind {
	PC_RANGE_DATA,
	PC_RANGE_ZERO,
	PC_RANGE_PUNCH,  /* zeroes; a hole is welcome */
	PC_RANGE_SILENT, /* hides what is older, and is nothing itself */
};

struct pc_range {
	uint64_t off;
	uint32_t len;  /* at least 1 */
	uint32_t kind; /* enum pc_range_kind */
};

/* A piece of the result, and the range that it was cut from. */
struct pc_overlay_piece {
	uint64_t off;
	uint32_t len;
	uint32_t range; /* number in the input */
};

/*
 * ranges: in age order, the oldest first. ret_pieces: sorted by offset, without overlap, neighbours of one range
 * joined; allocated, to be freed by the caller. -ENOMEM.
 */
int pc_overlay(const struct pc_range *ranges, uint32_t count, struct pc_overlay_piece **ret_pieces,
	       uint32_t *ret_count);

/* Many bytes of zeroes, in whole aligned blocks. */
struct pc_zero_run {
	uint64_t off;
	uint64_t len;
	bool punch;
};

/* From how many bytes on zeroes are worth a run. */
struct pc_zero_rule {
	uint64_t align_bytes; /* power of two */
	uint64_t zero_min;
	uint64_t punch_min;
};

/*
 * Take what is silent out of the pieces, and of zeroes what is worth a run: *ret_runs, sorted, allocated if there are
 * any. What is left of zeroes stays a piece. *pieces may be replaced. -ENOMEM: nothing changed.
 */
int pc_overlay_take_zeroes(const struct pc_range *ranges, const struct pc_zero_rule *rule,
			   struct pc_overlay_piece **pieces, uint32_t *count, struct pc_zero_run **ret_runs,
			   uint32_t *ret_run_count);

#endif
