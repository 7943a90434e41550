/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover.h - what the flows of open hand to each other: recover.c, recover_*.c and replay*.c.
 */
#ifndef PC_RECOVER_H
#define PC_RECOVER_H

#include "cache.h"

/* One segment of the WRITE stream, and what replay found in it. */
struct pc_replayed {
	uint32_t segment;
	uint32_t lines;  /* used */
	uint32_t units;
	uint32_t known;  /* lines under this one were known to be durable */
	uint32_t said;   /* the same, as said by what is not voided */
	uint32_t *voids; /* lines to be voided */
	uint32_t void_count;
};

/* The segments of the WRITE stream, oldest first. */
struct pc_chain {
	struct pc_replayed *items;
	uint32_t count;
};

/* One segment of FILL or HOT. */
struct pc_replayed_clean {
	uint32_t segment;
	uint32_t lines;     /* used */
	bool is_unreadable; /* its keys cannot be read: it holds nothing, and must not come back */
};

/* A clean key that something supersedes, or whose data is bad. */
struct pc_loser {
	uint32_t segment;
	uint32_t line;
};

struct pc_losers {
	pthread_mutex_t lock; /* guards what follows */

	struct pc_loser *items;
	size_t count;
	size_t room;
	int error; /* -ENOMEM: one is missing */
};

struct pc_found {
	uint64_t dirty_bytes; /* written, and not on the backing */
	struct pc_chain chain;
	struct pc_replayed_clean *clean; /* by sequence number in each stream; FILL and HOT in any order */
	uint32_t clean_count;
	uint32_t unlinked; /* a segment of WRITE that was never linked, or PC_SEGMENT_NONE */
	struct pc_losers losers;
};

#define PC_FOUND_NOTHING \
	{ .unlinked = PC_SEGMENT_NONE, .losers = { .lock = PTHREAD_MUTEX_INITIALIZER } }

/* recover.c: records and modules for both ways. */
struct pc_meta pc_recover_super_meta(void);
int pc_recover_create_tails(struct pcache *cache, struct pc_pos tail); /* in both slots, not synced */
int pc_recover_build(struct pcache *cache, const struct pc_segments_layout *layout); /* segments, index, streams: empty */
void pc_recover_unbuild(struct pcache *cache);
void pc_found_free(struct pc_found *found);

/* Segments begin behind the header, at a multiple of their size, which for large ones is also that of a huge page. */
static inline uint64_t pc_recover_segments_off(uint32_t segment_bytes)
{
	return pc_max64(PCM_HEADER_BYTES, pc_min64(segment_bytes, PCM_SEGMENTS_ALIGN));
}

static inline uint64_t pc_replayed_seq(const struct pcache *cache, const struct pc_replayed *item)
{
	return pc_segment_at(cache->segments, item->segment)->seq;
}

/* recover_look.c: superblock and cache info. Then read and judge everything. Stores nothing. */
int pc_recover_records(struct pcache *cache, struct pcm_super *ret_super, struct pc_segments_layout *ret_layout);
int pc_recover_look(struct pcache *cache, const struct pc_segments_layout *layout, struct pc_found *found);

/* recover_change.c: drop what the cache holds, grow it, finish a drop that was interrupted. */
bool pc_recover_is_change(const struct pcache *cache);
int pc_recover_change(struct pcache *cache, struct pcm_super *super, const struct pc_segments_layout *layout);

/* recover_persist.c: what was found and judged becomes durable. */
int pc_recover_persist(struct pcache *cache, struct pc_found *found);

/* replay.c: everything into the index; stores nothing. */
int pc_replay(struct pcache *cache, struct pc_found *found);

/* replay_clean.c: one segment of FILL or HOT. And a loser more; -ENOMEM is kept in the list. */
int pc_replay_clean(struct pcache *cache, struct pc_found *found, uint32_t i, uint64_t *ret_keys);
void pc_losers_add(struct pc_losers *losers, uint32_t segment, uint32_t line);

#endif
