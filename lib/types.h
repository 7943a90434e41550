/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * types.h - words that several modules share: streams, positions, and what everybody may know of a segment.
 */
#ifndef PC_TYPES_H
#define PC_TYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pc_stream_kind {
	PC_STREAM_NONE = 0,
	PC_STREAM_WRITE = 1, /* acknowledged writes */
	PC_STREAM_FILL = 2,  /* read misses kept */
	PC_STREAM_HOT = 3,   /* clean data worth keeping */
};

/* A place in a stream: everything with a lower position was reserved earlier. */
struct pc_pos {
	uint64_t seq;  /* sequence number of the segment */
	uint32_t line; /* line in it */
};

static inline int pc_pos_cmp(struct pc_pos a, struct pc_pos b)
{
	if (a.seq != b.seq)
		return a.seq < b.seq ? -1 : 1;
	return (a.line > b.line) - (a.line < b.line);
}

/*
 * What the index and readers need to know of a segment. The generation moves when the segment is reclaimed,
 * before its bytes are used again; a reader compares it before and after it copied.
 */
struct pc_segment_ref {
	_Atomic uint64_t gen;
	_Atomic uint64_t seq; /* in the WRITE stream; 0 in all others */
};

#endif
