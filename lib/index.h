/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * index.h - which bytes of the backing are cached, and where. DRAM only, rebuilt at open.
 *
 * A mapping into a segment of the WRITE stream is a write, and wins over older ones by its position. One into a segment
 * without a number (pc_segment_ref.seq 0) is clean: it gives way to every newcomer.
 */
#ifndef PC_INDEX_H
#define PC_INDEX_H

#include "lock.h"
#include "types.h"

#define PC_LEAF_BYTES     (256u << 10) /* of the backing, per leaf */
#define PC_INDEX_KEY_MAX  (64u << 10)  /* a mapping never crosses a multiple of this */

#define PC_HITS_MAX       3u           /* more look-ups of a mapping are not counted */

/* What a mapping says of its bytes. */
enum pc_mapping_kind {
	PC_MAPPING_DATA,      /* they are in its segment */
	PC_MAPPING_ZERO,      /* they are zeroes; nothing is stored */
	PC_MAPPING_TOMBSTONE, /* older mappings of them are void; never found by a look-up */
};

/* Some bytes of the backing and the place in the cache that holds them. */
struct pc_mapping {
	uint64_t off; /* on the backing */
	uint32_t len; /* 1..PC_INDEX_KEY_MAX */
	uint32_t segment;
	uint32_t data_off; /* in the segment, of the first byte; without data it means nothing */
	uint32_t slot;     /* of the key, in the segment */
	uint8_t hits;      /* look-ups since it was entered, up to PC_HITS_MAX */
	bool verified;     /* the data has matched its CRC since open, or was written since */
	uint8_t kind;      /* enum pc_mapping_kind */
};

/* A piece of a looked-up range: cached, or a hole. */
struct pc_piece {
	struct pc_mapping mapping; /* of a hole: off and len only */
	uint64_t gen;              /* of the segment, at the look-up */
	bool cached;
};

struct pc_index;

/*
 * Told of each clean key that a newcomer takes bytes from, before the index forgets them; under the leaf's lock, so
 * that the key's segment stays what it is meanwhile. What goes wrong it keeps to itself.
 */
typedef void (*pc_index_kill_fn)(void *arg, uint32_t segment, uint32_t slot);

/* A leaf that is locked because it holds what was asked for; ended by exactly one of enter, drop and release. */
struct pc_index_claim {
	struct pc_bucket *bucket;
	struct pc_leaf **link;
};

/*
 * refs: generation and sequence number by segment, `segment_count` of them; borrowed.
 * capacity_bytes: of the cache; decides the number of buckets. -ENOMEM.
 */
int pc_index_new(const struct pc_segment_ref *refs, uint32_t segment_count, uint64_t capacity_bytes,
		 struct pc_index **ret_index);
void pc_index_delete(struct pc_index *index);

/* Before a mapping can displace a clean one. */
void pc_index_set_killer(struct pc_index *index, pc_index_kill_fn kill, void *arg);

/*
 * Around a replay, which enters keys in any order: in between tombstones stay where they are, so that they void older
 * mappings that come later (X8). No other call is running at either.
 */
void pc_index_begin_replay(struct pc_index *index);
void pc_index_end_replay(struct pc_index *index);

/*
 * Hints: the range at `off` will soon be looked up or entered. The first brings its bucket near, the second what hangs
 * on it, best called when the first has had time. No lock, nothing is changed.
 */
void pc_index_prefetch_bucket(const struct pc_index *index, uint64_t off);
void pc_index_prefetch_leaf(const struct pc_index *index, uint64_t off);

/*
 * Take all memory that publishing the keys of this range will need. Balanced by one pc_index_publish() for each key
 * (the range cut at multiples of PC_INDEX_KEY_MAX), or by pc_index_unprepare() of the range. -ENOMEM: nothing taken.
 */
int pc_index_prepare(struct pc_index *index, uint64_t off, uint64_t len);
void pc_index_unprepare(struct pc_index *index, uint64_t off, uint64_t len);

/*
 * Enter a prepared key. Bytes for which a later position is already known keep it. Never fails. Returns how many clean
 * keys were killed.
 */
int pc_index_publish(struct pc_index *index, const struct pc_mapping *mapping);

/*
 * Enter a key that was not prepared, in any order: a write of one key, or replay. Bytes for which a later position is
 * already known keep it. -ENOMEM: nothing is entered. Else how many clean keys were killed.
 */
int pc_index_insert(struct pc_index *index, const struct pc_mapping *mapping);

/*
 * Claims. hole: none of [off, off + len) is cached. place: the mapping is still where the index finds its bytes. Room
 * for what may be entered is made. -EBUSY: not so; -ENOMEM: no room. Nothing is locked then.
 */
int pc_index_claim_hole(struct pc_index *index, uint64_t off, uint32_t len, struct pc_index_claim *ret_claim);
int pc_index_claim_place(struct pc_index *index, const struct pc_mapping *mapping, struct pc_index_claim *ret_claim);

/* The claimed bytes are found in this place from now on, or nowhere; nothing is killed. */
void pc_index_claim_enter(struct pc_index *index, struct pc_index_claim *claim, const struct pc_mapping *mapping);
void pc_index_claim_drop(struct pc_index *index, struct pc_index_claim *claim, const struct pc_mapping *mapping);
void pc_index_claim_release(struct pc_index *index, struct pc_index_claim *claim);

/* How many bytes from off on are not cached, at most `len` and at most to the end of off's leaf. A hint: not locked after. */
uint64_t pc_index_hole_bytes(struct pc_index *index, uint64_t off, uint64_t len);

/* What a range looks like, for whoever does not want the bytes. */
struct pc_look {
	struct pc_mapping mapping; /* of a hole: off and len only */
	uint64_t seq;              /* of the segment, in the WRITE stream; 0: clean */
	bool cached;
};

/* In the log; what is clean has number 0. A key set is before dirty_tail as a whole or not at all: the key's line will do. */
static inline struct pc_pos pc_look_pos(const struct pc_look *look)
{
	return (struct pc_pos){ .seq = look->seq, .line = look->mapping.slot / 2 };
}

/* On the way through a range. */
struct pc_walk {
	struct pc_index *index;
	uint64_t off; /* behind what was looked at */
	uint64_t end;
	unsigned next; /* to be given out */
	unsigned count;
	struct pc_look looks[32]; /* one visit to a leaf at most */
};

/*
 * What the index has of [off, end), in order and without a gap; unlike pc_index_lookup() nothing counts as an access.
 * NULL: that was all. Each look is as old as the visit to its leaf.
 */
void pc_walk_begin(struct pc_walk *walk, struct pc_index *index, uint64_t off, uint64_t end);
const struct pc_look *pc_walk_next(struct pc_walk *walk);

/* True: the index finds all of [off, off + len) in one place in `segment`; where. */
bool pc_index_find_in(struct pc_index *index, uint32_t segment, uint64_t off, uint32_t len,
		      struct pc_mapping *ret_mapping);

/*
 * Look up from off on: up to `max` pieces, without a gap, ordered, covering at most len bytes and at most to the end of
 * off's leaf. Returns how many (at least 1 for len > 0); go on behind the last one. Counts as an access to what is
 * found.
 */
unsigned pc_index_lookup(struct pc_index *index, uint64_t off, uint64_t len, struct pc_piece *ret_pieces, unsigned max);

/* The data of the key that `mapping` was looked up with matched its CRC: no need to look again. */
void pc_index_mark_verified(struct pc_index *index, const struct pc_mapping *mapping);

/* Remove what points into `segment` for a key of it, or, with the whole index swept, everything. */
void pc_index_drop(struct pc_index *index, uint32_t segment, uint64_t off, uint32_t len);
void pc_index_drop_segment(struct pc_index *index, uint32_t segment);

/* Bytes that the index finds in one segment, and in all; and the DRAM it takes. */
uint64_t pc_index_live_bytes(const struct pc_index *index, uint32_t segment);
uint64_t pc_index_cached_bytes(const struct pc_index *index);
uint64_t pc_index_memory_bytes(const struct pc_index *index);

#endif
