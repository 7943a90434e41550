/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.h - append points. A stream owns one open segment and hands out room in it.
 */
#ifndef PC_STREAM_H
#define PC_STREAM_H

#include "types.h"
#include "util.h"

#include <pthread.h>

/*
 * The reservation word:  seq (low 23 bits) | closed (1) | lines (20) | units (20)
 * A segment has fewer than 2^20 lines and units in all.
 */
#define PC_ROOM_UNITS_BITS 20u
#define PC_ROOM_MASK       ((1ull << 20) - 1)
#define PC_ROOM_CLOSED     (1ull << 40)
#define PC_ROOM_SEQ_SHIFT  41u
#define PC_ROOM_SEQ_MASK   ((1ull << 23) - 1)

static inline uint32_t pc_room_units(uint64_t room) { return (uint32_t)(room & PC_ROOM_MASK); }
static inline uint32_t pc_room_lines(uint64_t room) { return (uint32_t)(room >> PC_ROOM_UNITS_BITS & PC_ROOM_MASK); }
static inline bool pc_room_is_closed(uint64_t room) { return (room & PC_ROOM_CLOSED) != 0; }
static inline uint64_t pc_room_seq(uint64_t room) { return room >> PC_ROOM_SEQ_SHIFT; }

static inline uint64_t pc_room(uint64_t seq, uint32_t lines, uint32_t units, bool closed)
{
	return (seq & PC_ROOM_SEQ_MASK) << PC_ROOM_SEQ_SHIFT | (closed ? PC_ROOM_CLOSED : 0) |
	       (uint64_t)lines << PC_ROOM_UNITS_BITS | units;
}

/* Room taken in a segment; its owner stores there without a lock, then commits. */
struct pc_reservation {
	uint32_t segment;
	uint32_t seq_low;       /* low bits of the segment's sequence number */
	uint32_t line;          /* first of `lines` */
	uint32_t lines;
	uint32_t unit;          /* first of `units` */
	uint32_t units;
	uint32_t durable_below; /* every line under this one is durable */
};

/* How far the writers of one segment are; on a cache line of its own, every writer adds to it. */
struct pc_progress {
	_Alignas(PC_CACHE_LINE) _Atomic uint32_t done; /* lines whose writers have committed */
	_Atomic uint64_t durable;                      /* a word: lines under its line are durable, last exact value */
	_Atomic uint64_t last_room;                    /* the word at close, once it is closed */
};

struct pc_stream {
	pthread_mutex_t rotate_lock; /* guards the change from one segment to the next; never held while waiting */

	uint32_t *segment_of; /* segment by sequence number, a ring; an entry is set before its number is in `room` */
	uint64_t ring_mask;
	struct pc_progress *progress; /* by segment */
	uint32_t room_total;          /* lines and units of one segment */
	bool commit_is_durable;       /* a line that is done is durable; else only a flush makes it so */

	_Alignas(PC_CACHE_LINE) _Atomic uint64_t room; /* a cache line of its own: every writer swaps it */
	uint8_t padding[PC_CACHE_LINE - sizeof(uint64_t)];
};

/* segment_count bounds how many segments can be in the stream at once. -ENOMEM. */
int pc_stream_init(struct pc_stream *stream, uint32_t segment_count, uint32_t room_total, bool commit_is_durable);
void pc_stream_destroy(struct pc_stream *stream);

/* Take room in the open segment. False: it does not fit, or the segment is closed; *ret_room is the word as it was. */
bool pc_stream_reserve(struct pc_stream *stream, uint32_t lines, uint32_t units, struct pc_reservation *ret,
		       uint64_t *ret_room);

/*
 * The writer is done with its reservation. True: the segment is closed and this was its last writer, or may have been:
 * it can be sealed with *ret_lines lines (twice is harmless).
 */
bool pc_stream_commit(struct pc_stream *stream, const struct pc_reservation *reservation, uint32_t *ret_lines);

/* A closed segment found by replay: its place in the stream and what is used of it. Ascending; the last one is the head. */
void pc_stream_adopt(struct pc_stream *stream, uint64_t seq, uint32_t segment, uint32_t lines, uint32_t units);

/* No more reservations in the open segment. True: all its writers are done, it can be sealed with *ret_lines lines. */
bool pc_stream_close_segment(struct pc_stream *stream, uint32_t *ret_lines);

/* Go on in a new, empty segment. Under rotate_lock; the segment is ready for writers. */
void pc_stream_open_segment(struct pc_stream *stream, uint64_t seq, uint32_t segment);

/* True: at this moment no writer was between reserve and commit in the newest segment, up to *ret_room. */
bool pc_stream_is_quiet(const struct pc_stream *stream, uint64_t *ret_room);

/* True: the segment was closed in this life, and every writer in it is done. */
static inline bool pc_stream_is_done(const struct pc_stream *stream, uint32_t segment)
{
	const struct pc_progress *progress = &stream->progress[segment];
	uint64_t room = atomic_load_explicit(&progress->last_room, memory_order_acquire);

	return pc_room_is_closed(room) &&
	       atomic_load_explicit(&progress->done, memory_order_acquire) == pc_room_lines(room);
}

/* A flush has made everything durable that was committed when pc_stream_is_quiet() gave this word. */
void pc_stream_set_durable(struct pc_stream *stream, uint64_t room);

/* Segment at this sequence number; only for numbers that are in the stream. */
static inline uint32_t pc_stream_segment(const struct pc_stream *stream, uint64_t seq)
{
	return __atomic_load_n(&stream->segment_of[seq & stream->ring_mask], __ATOMIC_ACQUIRE);
}

static inline uint64_t pc_stream_room(const struct pc_stream *stream)
{
	return atomic_load_explicit(&stream->room, memory_order_seq_cst);
}

/* Word of a segment of the stream that is no longer the newest: lines and units used. */
static inline uint64_t pc_stream_last_room(const struct pc_stream *stream, uint32_t segment)
{
	return atomic_load_explicit(&stream->progress[segment].last_room, memory_order_acquire);
}

#endif
