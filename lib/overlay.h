/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overlay.h - of many overlapping ranges, the newest for each byte. A pure function.
 */
#ifndef PC_OVERLAY_H
#define PC_OVERLAY_H

#include <stddef.h>
#include <stdint.h>

struct pc_range {
	uint64_t off;
	uint32_t len; /* at least 1 */
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

#endif
