/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * index.h - which bytes of the backing are cached, and where. DRAM only, rebuilt at open.
 */
#ifndef PC_INDEX_H
#define PC_INDEX_H

#include "lock.h"
#include "types.h"

#define PC_LEAF_BYTES     (256u << 10) /* of the backing, per leaf */
#define PC_INDEX_KEY_MAX  (64u << 10)  /* a mapping never crosses a multiple of this */

/* Some bytes of the backing and the place in the cache that holds them. */
struct pc_mapping {
	uint64_t off; /* on the backing */
	uint32_t len; /* 1..PC_INDEX_KEY_MAX */
	uint32_t segment;
	uint32_t data_off; /* in the segment, of the first byte */
	uint32_t slot;     /* of the key, in the segment */
	bool verified;     /* the data has matched its CRC since open, or was written since */
};

/* A piece of a looked-up range: cached, or a hole. */
struct pc_piece {
	struct pc_mapping mapping; /* of a hole: off and len only */
	uint64_t gen;              /* of the segment, at the look-up */
	bool cached;
};

struct pc_index;

/*
 * refs: generation and sequence number by segment, `segment_count` of them; borrowed.
 * capacity_bytes: of the cache; decides the number of buckets. -ENOMEM.
 */
int pc_index_new(const struct pc_segment_ref *refs, uint32_t segment_count, uint64_t capacity_bytes,
		 struct pc_index **ret_index);
void pc_index_delete(struct pc_index *index);

/*
 * Hints: the range at `off` will soon be looked up or entered. The first brings its bucket near, the second what hangs on
 * it, best called when the first has had time. No lock, nothing is changed.
 */
void pc_index_prefetch_bucket(const struct pc_index *index, uint64_t off);
void pc_index_prefetch_leaf(const struct pc_index *index, uint64_t off);

/*
 * Take all memory that publishing the keys of this range will need. Balanced by one pc_index_publish() for each key
 * (the range cut at multiples of PC_INDEX_KEY_MAX), or by pc_index_unprepare() of the range. -ENOMEM: nothing taken.
 */
int pc_index_prepare(struct pc_index *index, uint64_t off, uint64_t len);
void pc_index_unprepare(struct pc_index *index, uint64_t off, uint64_t len);

/* Enter a prepared key. Bytes for which a later position is already known keep it. Never fails. */
void pc_index_publish(struct pc_index *index, const struct pc_mapping *mapping);

/*
 * Enter a key that was not prepared, in any order: a write of one key, or replay. Bytes for which a later position is
 * already known keep it. -ENOMEM: nothing is entered.
 */
int pc_index_insert(struct pc_index *index, const struct pc_mapping *mapping);

/*
 * Look up from off on: up to `max` pieces, without a gap, ordered, covering at most len bytes and at most to the end of
 * off's leaf. Returns how many (at least 1 for len > 0); go on behind the last one.
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
