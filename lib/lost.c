/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lost.c - sets of ranges, and the one of what is lost.
 *
 * (LO1) The ranges of a set are sorted and disjoint, and no two of them touch. A set that ran out of room says so.
 * (LO2) The count is looked at without the lock. Whoever finds a range in no other place takes a lock for that which the
 *       one who removed it from there took after he had put it here: the leaf's, or that of the state.
 *
 * Lock: pc_lost.lock, a leaf.
 */
#include "lost.h"

#include <string.h>

/* ---- sets ---- */

/* The first range that ends at `off` or behind. */
static uint32_t first_at(const struct pc_lost_set *set, uint64_t off)
{
	uint32_t low = 0;
	uint32_t high = set->count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (set->ranges[middle].end >= off)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* `new_count` ranges take the place of `old_count`. False: there is no room. */
static bool replace(struct pc_lost_set *set, uint32_t at, uint32_t old_count, const struct pc_lost_range *new,
		    uint32_t new_count)
{
	if (set->count - old_count + new_count > PC_LOST_ROOM) {
		set->is_short = true;
		return false;
	}
	memmove(&set->ranges[at + new_count], &set->ranges[at + old_count],
		(set->count - at - old_count) * sizeof(*set->ranges));
	for (uint32_t i = 0; i < new_count; i++)
		set->ranges[at + i] = new[i];
	set->count = set->count - old_count + new_count;
	return true;
}

void pc_lost_set_add(struct pc_lost_set *set, uint64_t off, uint64_t end)
{
	struct pc_lost_range range = { .off = off, .end = end };
	uint32_t at = first_at(set, off);
	uint32_t behind = at;

	for (; behind < set->count && set->ranges[behind].off <= end; behind++) {
		range.off = pc_min64(range.off, set->ranges[behind].off);
		range.end = pc_max64(range.end, set->ranges[behind].end);
	}
	(void)replace(set, at, behind - at, &range, 1);
}

void pc_lost_set_take(struct pc_lost_set *set, uint64_t off, uint64_t end)
{
	uint32_t at = first_at(set, off + 1);

	while (at < set->count && set->ranges[at].off < end) {
		struct pc_lost_range range = set->ranges[at];
		struct pc_lost_range rest[2];
		uint32_t count = 0;

		if (range.off < off)
			rest[count++] = (struct pc_lost_range){ .off = range.off, .end = off };
		if (end < range.end)
			rest[count++] = (struct pc_lost_range){ .off = end, .end = range.end };
		if (!replace(set, at, 1, rest, count))
			return;
		at += count;
	}
}

bool pc_lost_set_is_equal(const struct pc_lost_set *a, const struct pc_lost_set *b)
{
	return a->count == b->count && memcmp(a->ranges, b->ranges, a->count * sizeof(*a->ranges)) == 0;
}

/* ---- what is lost ---- */

void pc_lost_init(struct pc_lost *lost)
{
	pthread_mutex_init(&lost->lock, NULL);
}

void pc_lost_destroy(struct pc_lost *lost)
{
	pthread_mutex_destroy(&lost->lock);
}

void pc_lost_get(struct pc_lost *lost, struct pc_lost_set *ret_set)
{
	pthread_mutex_lock(&lost->lock);
	ret_set->count = lost->set.count;
	ret_set->is_short = false;
	memcpy(ret_set->ranges, lost->set.ranges, lost->set.count * sizeof(*ret_set->ranges));
	pthread_mutex_unlock(&lost->lock);
}

void pc_lost_put(struct pc_lost *lost, const struct pc_lost_set *set)
{
	pthread_mutex_lock(&lost->lock);
	lost->set.count = set->count;
	memcpy(lost->set.ranges, set->ranges, set->count * sizeof(*set->ranges));
	atomic_store_explicit(&lost->count, set->count, memory_order_relaxed); /* (LO2) */
	pthread_mutex_unlock(&lost->lock);
}

bool pc_lost_search(struct pc_lost *lost, uint64_t off, uint64_t end, struct pc_lost_range *ret_range)
{
	bool found = false;
	uint32_t at;

	pthread_mutex_lock(&lost->lock);
	at = first_at(&lost->set, off + 1);
	if (off < end && at < lost->set.count && lost->set.ranges[at].off < end) {
		ret_range->off = pc_max64(off, lost->set.ranges[at].off);
		ret_range->end = pc_min64(end, lost->set.ranges[at].end);
		found = true;
	}
	pthread_mutex_unlock(&lost->lock);
	return found;
}

uint64_t pc_lost_bytes(struct pc_lost *lost, uint64_t off, uint64_t end)
{
	struct pc_lost_range range = { .end = off };
	uint64_t bytes = 0;

	while (pc_lost_find(lost, range.end, end, &range))
		bytes += range.end - range.off;
	return bytes;
}
