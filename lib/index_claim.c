/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * index_claim.c - the rest of the index: removing, claims, figures. Invariants: index.c.
 */
#include "index_leaf.h"

#include <errno.h>
#include <string.h>

/* ---- asking ---- */

uint64_t pc_index_hole_bytes(struct pc_index *index, uint64_t off, uint64_t len)
{
	uint64_t number = off / PC_LEAF_BYTES;
	struct pc_bucket *bucket = bucket_of(index, number);
	uint32_t from = (uint32_t)(off % PC_LEAF_BYTES);
	uint32_t end = (uint32_t)pc_min64(from + len, PC_LEAF_BYTES);
	const struct pc_leaf *leaf;

	pc_lock_acquire(&bucket->lock);
	leaf = *find_leaf(bucket, number);
	if (leaf != NULL) {
		uint32_t i = first_behind(leaf, from);

		if (i < leaf->count)
			end = (uint32_t)pc_max64(from, pc_min64(end, leaf->extents[i].off));
	}
	pc_lock_release(&bucket->lock);
	return end - from;
}

/* Bytes of an extent from `from` on, to its end or `end`. */
static struct pc_look look_at(const struct pc_index *index, const struct pc_extent *extent, uint64_t leaf_off,
			      uint32_t from, uint32_t end)
{
	struct pc_look look = { .mapping = mapping_of(extent, leaf_off), .seq = seq_of(index, extent), .cached = true };
	uint32_t skipped = from - (uint32_t)extent->off;

	look.mapping.off += skipped;
	look.mapping.data_off += skipped;
	look.mapping.len = (uint32_t)pc_min64(extent_end(extent), end) - from;
	return look;
}

static unsigned look(struct pc_index *index, uint64_t off, uint64_t len, struct pc_look *ret_looks, unsigned max)
{
	uint64_t number = off / PC_LEAF_BYTES;
	uint64_t leaf_off = number * PC_LEAF_BYTES;
	struct pc_bucket *bucket = bucket_of(index, number);
	uint32_t from = (uint32_t)(off - leaf_off);
	uint32_t end = (uint32_t)pc_min64(from + len, PC_LEAF_BYTES);
	const struct pc_leaf *leaf;
	unsigned count = 0;

	pc_lock_acquire(&bucket->lock);
	leaf = *find_leaf(bucket, number);
	for (uint32_t i = leaf == NULL ? 0 : first_behind(leaf, from); from < end && count < max; count++) {
		const struct pc_extent *extent = leaf == NULL || i == leaf->count ? NULL : &leaf->extents[i];

		if (extent != NULL && extent->off <= from) {
			ret_looks[count] = look_at(index, extent, leaf_off, from, end);
			i++;
		} else {
			uint32_t to = extent == NULL ? end : (uint32_t)pc_min64(end, extent->off);

			ret_looks[count] = (struct pc_look){ .mapping = { .off = leaf_off + from, .len = to - from } };
		}
		from += ret_looks[count].mapping.len;
	}
	pc_lock_release(&bucket->lock);
	return count;
}

void pc_walk_begin(struct pc_walk *walk, struct pc_index *index, uint64_t off, uint64_t end)
{
	walk->index = index;
	walk->off = off;
	walk->end = end;
	walk->next = 0;
	walk->count = 0;
}

const struct pc_look *pc_walk_next(struct pc_walk *walk)
{
	const struct pc_look *next;

	if (walk->next == walk->count) {
		if (walk->off >= walk->end)
			return NULL;
		walk->next = 0;
		walk->count = look(walk->index, walk->off, walk->end - walk->off, walk->looks, PC_ARRAY_SIZE(walk->looks));
	}
	next = &walk->looks[walk->next++];
	walk->off = next->mapping.off + next->mapping.len;
	return next;
}

/* The extent that has all of [from, from + len), or NULL. */
static struct pc_extent *extent_around(struct pc_leaf *leaf, uint32_t from, uint32_t len)
{
	uint32_t i = leaf == NULL ? 0 : first_behind(leaf, from);
	struct pc_extent *extent = leaf == NULL || i == leaf->count ? NULL : &leaf->extents[i];

	return extent != NULL && extent->off <= from && extent_end(extent) >= from + len ? extent : NULL;
}

bool pc_index_find_in(struct pc_index *index, uint32_t segment, uint64_t off, uint32_t len,
		      struct pc_mapping *ret_mapping)
{
	uint64_t number = off / PC_LEAF_BYTES;
	uint32_t from = (uint32_t)(off % PC_LEAF_BYTES);
	struct pc_bucket *bucket = bucket_of(index, number);
	const struct pc_extent *extent;
	bool found;

	pc_lock_acquire(&bucket->lock);
	extent = extent_around(*find_leaf(bucket, number), from, len);
	found = extent != NULL && extent->segment == segment;
	if (found) {
		*ret_mapping = mapping_of(extent, off - from);
		ret_mapping->data_off += from - extent->off;
		ret_mapping->off = off;
		ret_mapping->len = len;
	}
	pc_lock_release(&bucket->lock);
	return found;
}

/* ---- removing ---- */

static bool is_dropped(const struct pc_extent *extent, uint32_t segment)
{
	return segment == PC_TOMBSTONES ? extent->kind == PC_MAPPING_TOMBSTONE : extent->segment == segment;
}

void pc_leaf_drop(struct pc_index *index, struct pc_leaf *leaf, uint32_t segment, uint32_t from, uint32_t end)
{
	uint32_t first = first_behind(leaf, from);
	uint32_t kept = first;
	uint32_t i = first;

	for (; i < leaf->count && leaf->extents[i].off < end; i++) {
		if (is_dropped(&leaf->extents[i], segment))
			add_live(index, leaf->extents[i].segment, -(int64_t)(leaf->extents[i].len_minus_1 + 1));
		else
			leaf->extents[kept++] = leaf->extents[i];
	}
	if (kept != i)
		memmove(&leaf->extents[kept], &leaf->extents[i], (leaf->count - i) * sizeof(struct pc_extent));
	leaf->count -= i - kept;
}

void pc_index_drop(struct pc_index *index, uint32_t segment, uint64_t off, uint32_t len)
{
	uint64_t number = off / PC_LEAF_BYTES;
	uint32_t from = (uint32_t)(off % PC_LEAF_BYTES);
	struct pc_bucket *bucket = bucket_of(index, number);
	struct pc_leaf **link;

	pc_lock_acquire(&bucket->lock);
	link = find_leaf(bucket, number);
	if (*link != NULL) {
		pc_leaf_drop(index, *link, segment, from, from + len);
		pc_leaf_trim(index, link);
		update_hint(bucket, link);
	}
	pc_lock_release(&bucket->lock);
}

void pc_index_drop_segment(struct pc_index *index, uint32_t segment)
{
	for (uint64_t i = 0; i < index->bucket_count; i++) {
		struct pc_bucket *bucket = &index->buckets[i];
		struct pc_leaf **link = &bucket->leaves;

		pc_lock_acquire(&bucket->lock);
		while (*link != NULL) {
			struct pc_leaf *leaf = *link;
			uint64_t number = leaf->number;

			pc_leaf_drop(index, leaf, segment, 0, PC_LEAF_BYTES);
			pc_leaf_trim(index, link);
			update_hint(bucket, link);
			if (*link != NULL && (*link)->number == number)
				link = &(*link)->next;
		}
		pc_lock_release(&bucket->lock);
	}
}

/* (X8) */
void pc_index_begin_replay(struct pc_index *index)
{
	index->replays = true;
}

void pc_index_end_replay(struct pc_index *index)
{
	index->replays = false;
	if (atomic_exchange_explicit(&index->has_tombstones, false, memory_order_relaxed))
		pc_index_drop_segment(index, PC_TOMBSTONES);
}

/* ---- claims ---- */

/* Ends the claim, with or without a change to the leaf. */
static void unclaim(struct pc_index *index, struct pc_index_claim *claim)
{
	if (*claim->link != NULL)
		pc_leaf_trim(index, claim->link);
	update_hint(claim->bucket, claim->link);
	pc_lock_release(&claim->bucket->lock);
}

void pc_index_claim_release(struct pc_index *index, struct pc_index_claim *claim)
{
	unclaim(index, claim);
}

/* Locks the leaf; one extent may take the place of part of another, so two more must fit beyond what is promised (X3). */
static int lock_and_make_room(struct pc_index *index, uint64_t number, struct pc_index_claim *ret_claim)
{
	struct pc_bucket *bucket = bucket_of(index, number);
	struct pc_leaf **link;
	int ret;

	pc_lock_acquire(&bucket->lock);
	link = find_leaf(bucket, number);
	ret = pc_leaf_share(index, link, number, 1);
	*ret_claim = (struct pc_index_claim){ .bucket = bucket, .link = link };
	if (ret < 0)
		pc_lock_release(&bucket->lock);
	return ret;
}

int pc_index_claim_hole(struct pc_index *index, uint64_t off, uint32_t len, struct pc_index_claim *ret_claim)
{
	uint32_t from = (uint32_t)(off % PC_LEAF_BYTES);
	int ret = lock_and_make_room(index, off / PC_LEAF_BYTES, ret_claim);
	const struct pc_leaf *leaf;
	uint32_t i;

	if (ret < 0)
		return ret;
	leaf = *ret_claim->link;
	i = first_behind(leaf, from);
	if (i == leaf->count || leaf->extents[i].off >= from + len)
		return 0;
	unclaim(index, ret_claim);
	return -EBUSY;
}

int pc_index_claim_place(struct pc_index *index, const struct pc_mapping *mapping, struct pc_index_claim *ret_claim)
{
	uint32_t from = (uint32_t)(mapping->off % PC_LEAF_BYTES);
	int ret = lock_and_make_room(index, mapping->off / PC_LEAF_BYTES, ret_claim);
	const struct pc_extent *extent;

	if (ret < 0)
		return ret;
	extent = extent_around(*ret_claim->link, from, mapping->len);
	if (extent != NULL && extent->segment == mapping->segment && extent->slot == mapping->slot &&
	    extent->data_off + (from - extent->off) == mapping->data_off)
		return 0;
	unclaim(index, ret_claim);
	return -EBUSY;
}

void pc_index_claim_enter(struct pc_index *index, struct pc_index_claim *claim, const struct pc_mapping *mapping)
{
	struct pc_extent new = extent_of(mapping);

	(void)pc_leaf_replace(index, *claim->link, &new, (uint32_t)new.off, extent_end(&new), false);
	unclaim(index, claim);
}

void pc_index_claim_drop(struct pc_index *index, struct pc_index_claim *claim, const struct pc_mapping *mapping)
{
	uint32_t from = (uint32_t)(mapping->off % PC_LEAF_BYTES);

	pc_leaf_drop(index, *claim->link, mapping->segment, from, from + mapping->len);
	unclaim(index, claim);
}

/* ---- figures ---- */

uint64_t pc_index_live_bytes(const struct pc_index *index, uint32_t segment)
{
	return atomic_load_explicit(&index->live[segment].bytes, memory_order_acquire); /* (X7) */
}

uint64_t pc_index_cached_bytes(const struct pc_index *index)
{
	uint64_t bytes = 0;

	for (uint32_t segment = 0; segment < index->segment_count; segment++)
		bytes += pc_index_live_bytes(index, segment);
	return bytes;
}

uint64_t pc_index_memory_bytes(const struct pc_index *index)
{
	return sizeof(*index) + index->bucket_count * sizeof(*index->buckets) +
	       index->segment_count * sizeof(*index->live) +
	       atomic_load_explicit(&index->leaf_bytes, memory_order_relaxed);
}
