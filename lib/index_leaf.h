/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * index_leaf.h - inside of the index: what a leaf is made of, for index.c and index_claim.c alone. Every function needs
 * the bucket's lock.
 */
#ifndef PC_INDEX_LEAF_H
#define PC_INDEX_LEAF_H

#include "index.h"
#include "retire.h"

#include <assert.h>

struct pc_extent {
	uint64_t off : 18; /* in the leaf */
	uint64_t len_minus_1 : 16;
	uint64_t slot : 21; /* of the key, in its segment */
	uint64_t verified : 1;
	uint64_t hits : 2;
	uint64_t kind : 2;
	uint64_t : 4;
	uint64_t data_off : 26; /* in the segment */
	uint64_t segment : 22;
	uint64_t : 16;
};
static_assert(sizeof(struct pc_extent) == 16, "pc_extent");
static_assert(PC_LEAF_BYTES == 1u << 18, "pc_extent.off");

struct pc_leaf {
	struct pc_leaf *next;
	uint64_t number;
	uint32_t count;
	uint32_t capacity;
	uint32_t prepared; /* keys that are prepared and not yet published */
	struct pc_extent extents[];
};

struct pc_bucket {
	struct pc_lock lock; /* guards the chain and every leaf in it */

	uint32_t first_count; /* extents in the first leaf of the chain; a hint (X6) */
	struct pc_leaf *leaves;
};

struct pc_live {
	_Alignas(PC_CACHE_LINE) _Atomic uint64_t bytes;
};

struct pc_index {
	const struct pc_segment_ref *refs;
	struct pc_bucket *buckets;
	struct pc_live *live;
	uint64_t bucket_count; /* power of two */
	unsigned hash_shift;
	uint32_t segment_count;
	pc_index_kill_fn kill;
	void *kill_arg;
	bool replays;
	bool looks_freely;           /* look-ups may go without the lock (X9) */
	_Atomic bool has_tombstones; /* of a replay */

	_Alignas(PC_CACHE_LINE) _Atomic uint64_t leaf_bytes; /* of memory */
	struct pc_retirement retired;                        /* leaves that readers may still look at */
};

static inline struct pc_bucket *bucket_of(const struct pc_index *index, uint64_t number)
{
	/* Fibonacci hashing (Knuth, TAOCP 3, 6.4): the golden ratio spreads neighbours evenly. */
	return &index->buckets[number * 0x9e3779b97f4a7c15ull >> index->hash_shift];
}

/* Where the pointer to the leaf is, or would be. */
static inline struct pc_leaf **find_leaf(struct pc_bucket *bucket, uint64_t number)
{
	struct pc_leaf **link = &bucket->leaves;

	while (*link != NULL && (*link)->number != number)
		link = &(*link)->next;
	return link;
}

/* After a change to the leaf at *link (X6). */
static inline void update_hint(struct pc_bucket *bucket, struct pc_leaf *const *link)
{
	if (link == &bucket->leaves)
		bucket->first_count = *link == NULL ? 0 : (*link)->count;
}

static inline uint32_t extent_end(const struct pc_extent *extent)
{
	return (uint32_t)extent->off + (uint32_t)extent->len_minus_1 + 1;
}

/* Where the extent would be if all of the leaf were covered evenly. */
static inline uint32_t guess_extent(uint32_t count, uint32_t off)
{
	return (uint32_t)((uint64_t)off * count / PC_LEAF_BYTES);
}

/*
 * First extent that ends behind `off`. In a leaf that is evenly covered it is where the offset says; from there the
 * bracket doubles until it holds the answer, so that the usual look-up touches one cache line and not a bisection's
 * worth.
 */
static inline uint32_t first_behind_in(const struct pc_extent *extents, uint32_t count, uint32_t off)
{
	uint32_t guess = guess_extent(count, off);
	uint32_t low = 0;
	uint32_t high = count;
	uint32_t step = 1;

	if (guess < high && extent_end(&extents[guess]) <= off) {
		for (low = guess + 1; low + step < high && extent_end(&extents[low + step]) <= off; step *= 2)
			low += step + 1;
		high = (uint32_t)pc_min64(high, (uint64_t)low + step);
	} else {
		high = guess;
		while (high > step && extent_end(&extents[high - step]) > off) {
			high -= step;
			step *= 2;
		}
		low = high > step ? high - step : 0;
	}
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (extent_end(&extents[middle]) > off)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static inline uint32_t first_behind(const struct pc_leaf *leaf, uint32_t off)
{
	return first_behind_in(leaf->extents, leaf->count, off);
}

static inline void add_live(struct pc_index *index, uint32_t segment, int64_t bytes)
{
	atomic_fetch_add_explicit(&index->live[segment].bytes, (uint64_t)bytes, memory_order_release); /* (X7) */
}

static inline uint64_t seq_of(const struct pc_index *index, const struct pc_extent *extent)
{
	return atomic_load_explicit(&index->refs[extent->segment].seq, memory_order_relaxed);
}

static inline struct pc_extent extent_of(const struct pc_mapping *mapping)
{
	return (struct pc_extent){
		.off = mapping->off % PC_LEAF_BYTES,
		.len_minus_1 = mapping->len - 1,
		.slot = mapping->slot,
		.verified = mapping->verified,
		.hits = mapping->hits & PC_HITS_MAX,
		.kind = mapping->kind & 3u,
		.data_off = mapping->data_off,
		.segment = mapping->segment,
	};
}

static inline struct pc_mapping mapping_of(const struct pc_extent *extent, uint64_t leaf_off)
{
	return (struct pc_mapping){
		.off = leaf_off + extent->off,
		.len = (uint32_t)extent->len_minus_1 + 1,
		.segment = (uint32_t)extent->segment,
		.data_off = (uint32_t)extent->data_off,
		.slot = (uint32_t)extent->slot,
		.verified = extent->verified,
		.hits = extent->hits,
		.kind = extent->kind,
	};
}

/* Room for so many keys besides those that are prepared, in a leaf that need not be there yet (X3). -ENOMEM. */
int pc_leaf_share(struct pc_index *index, struct pc_leaf **link, uint64_t number, uint32_t keys);

/* Free an empty leaf (X5), or give back memory after a removal. */
void pc_leaf_trim(struct pc_index *index, struct pc_leaf **link);

/* Remove the extents that begin in [from, end) and are in this segment, or, with PC_TOMBSTONES, that are tombstones. */
#define PC_TOMBSTONES UINT32_MAX
void pc_leaf_drop(struct pc_index *index, struct pc_leaf *leaf, uint32_t segment, uint32_t from, uint32_t end);

/*
 * Put [from, to) of `new` in the place of whatever is there; with `kill`, what is clean there is killed. The leaf has
 * room for two more. Returns kills.
 */
int pc_leaf_replace(struct pc_index *index, struct pc_leaf *leaf, const struct pc_extent *new, uint32_t from, uint32_t to,
		    bool kill);

#endif
