/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment.h - the segments of the media: their records, their states, and which of them are free.
 */
#ifndef PC_SEGMENT_H
#define PC_SEGMENT_H

#include "kset.h"
#include "meta.h"
#include "types.h"

#include <pthread.h>

enum pc_segment_state {
	PC_SEGMENT_FREE = PCM_SEGMENT_FREE,
	PC_SEGMENT_OPEN = PCM_SEGMENT_OPEN,
	PC_SEGMENT_SEALED = PCM_SEGMENT_SEALED,
};

#define PC_SEGMENT_NONE UINT32_MAX

struct pc_segment {
	pthread_mutex_t info_lock; /* guards what follows up to `id`, held across the media update */

	struct pc_meta meta;
	enum pc_segment_state state;
	enum pc_stream_kind stream;
	uint64_t gen;
	uint64_t seq;
	uint32_t lines; /* once sealed */
	uint32_t next;  /* next segment of the WRITE stream, or PC_SEGMENT_NONE */

	uint32_t id;        /* constant */
	uint64_t off;       /* constant: of the segment on the media */
	uint32_t kset_seed; /* of this life; written before the stream opens the segment */
	uint64_t born;      /* order of opening since the cache was opened, over all streams; the same */
};

struct pc_segments {
	struct pc_media *media;
	const struct pc_log *log;
	struct pc_segment *table;
	struct pc_segment_ref *refs; /* what the index and readers see: gen and seq by segment */
	uint32_t count;
	uint32_t segment_bytes;
	uint32_t room; /* lines and units of one segment in all */
	uint8_t uuid[16];
	_Atomic uint64_t births;

	pthread_mutex_t free_lock; /* guards what follows */

	uint64_t *free_bitmap;
	uint32_t free_hint;
	_Atomic uint32_t free_count; /* may be read without the lock: a hint */
};

struct pc_segments_layout {
	uint64_t segments_off;
	uint32_t segment_count;
	uint32_t segment_bytes;
	uint8_t uuid[16];
};

/* All segments are FREE of generation 0 in memory and nothing is stored or in the bitmap. -ENOMEM. */
int pc_segments_new(struct pc_media *media, const struct pc_log *log, const struct pc_segments_layout *layout,
		    struct pc_segments **ret_segments);
void pc_segments_delete(struct pc_segments *segments);

/* First records of the segments from `first` on, which never had one: FREE, generation 1. Not synced. */
int pc_segments_create(struct pc_segments *segments, uint32_t first);

/*
 * For a cache whose content is void already: the records of all segments say FREE, whatever they said. One generation
 * more, or `fresh_gen` where the record cannot be read. Both slots of a record are overwritten, and not synced.
 */
int pc_segments_reset(struct pc_segments *segments, uint64_t fresh_gen);

/*
 * Read and check all records; stores nothing. -EUCLEAN, with a message, when one is bad in both slots or impossible; with
 * `ret_bad` these are counted and left as they are, free.
 */
int pc_segments_load(struct pc_segments *segments, uint32_t *ret_bad);

/* Flush and repair the records as found (meta.h). Not synced. */
int pc_segments_repair(struct pc_segments *segments);

/* Mark every segment that is FREE as such in the bitmap. */
void pc_segments_fill_bitmap(struct pc_segments *segments);

/* Take a free segment for a new life; PC_SEGMENT_NONE when there is none. */
uint32_t pc_segment_alloc(struct pc_segments *segments);

/* Give back a segment whose record is FREE and durable. */
void pc_segment_release(struct pc_segments *segments, uint32_t id);

/* The transitions. Each is durable when it returns, takes the info lock, and changes nothing in memory on failure. */
int pc_segment_open(struct pc_segments *segments, uint32_t id, enum pc_stream_kind stream, uint64_t seq);
int pc_segment_link(struct pc_segments *segments, uint32_t id, uint32_t next);
int pc_segment_free(struct pc_segments *segments, uint32_t id); /* generation + 1 */
/* Where the segment is no longer the open one at `seq` of the stream, somebody else sealed it: 0. */
int pc_segment_seal(struct pc_segments *segments, uint32_t id, enum pc_stream_kind stream, uint64_t seq, uint32_t lines);

static inline struct pc_segment *pc_segment_at(const struct pc_segments *segments, uint32_t id)
{
	return &segments->table[id];
}

/* Holds blocks of clean data: of a FILL or HOT stream. For a segment that the index points into, or a flow owns. */
static inline bool pc_segment_is_clean(const struct pc_segments *segments, uint32_t id)
{
	return atomic_load_explicit(&segments->refs[id].seq, memory_order_relaxed) == 0;
}

static inline bool pc_segment_is_sealed(const struct pc_segments *segments, uint32_t id)
{
	struct pc_segment *segment = pc_segment_at(segments, id);
	bool sealed;

	pthread_mutex_lock(&segment->info_lock);
	sealed = segment->state == PC_SEGMENT_SEALED;
	pthread_mutex_unlock(&segment->info_lock);
	return sealed;
}

/* What key sets found in this segment are checked against. */
static inline struct pc_kset_scope pc_segment_scope(const struct pc_segments *segments,
						    const struct pc_segment *segment, uint64_t backing_bytes)
{
	return (struct pc_kset_scope){
		.seed = segment->kset_seed,
		.segment_bytes = segments->segment_bytes,
		.seq = segment->seq,
		.backing_bytes = backing_bytes,
	};
}

#endif
