/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * range.c - whole ranges of the backing: what the cache has of them, and bringing them in.
 *
 * (RG1) dirty_tail is looked at before the index: it only moves on, so what is called clean is on the backing, and what is
 *       called dirty may have got there meanwhile.
 * (RG2) A prefetch is a miss like any other (F1, I2), and takes room only where nobody waits for it (L1): it ends when
 *       there is none, and at half of the cache at the latest, where it would begin to push out what it brought.
 *
 * No lock of its own.
 */
#include "cache.h"

#include <errno.h>

/* ---- query ---- */

static uint32_t state_of(const struct pc_look *look, struct pc_pos tail)
{
	struct pc_pos pos = pc_look_pos(look);
	uint32_t state;

	if (!look->cached)
		return PCACHE_RANGE_ABSENT;
	state = look->seq != 0 && pc_pos_cmp(pos, tail) >= 0 ? PCACHE_RANGE_DIRTY : PCACHE_RANGE_CLEAN;
	if (look->mapping.kind == PC_MAPPING_ZERO)
		state |= PCACHE_RANGE_ZERO;
	return state;
}

struct listing {
	struct pcache_range *ranges;
	size_t max;
	size_t count;
};

/* False: no more room. */
static bool append(struct listing *listing, uint64_t off, uint64_t len, uint32_t state)
{
	if (listing->count == 0 || listing->ranges[listing->count - 1].state != state) {
		if (listing->count == listing->max)
			return false;
		listing->ranges[listing->count++] = (struct pcache_range){ .off = off, .state = state };
	}
	listing->ranges[listing->count - 1].len += len;
	return true;
}

/* What is not dirty, and lost in part. */
static bool append_around_lost(struct pcache *cache, struct listing *listing, uint64_t off, uint64_t end, uint32_t state)
{
	bool has_room = true;

	while (off < end && has_room) {
		struct pc_lost_range lost = { .off = end, .end = end };

		(void)pc_lost_find(&cache->lost, off, end, &lost);
		if (off < lost.off)
			has_room = append(listing, off, lost.off - off, state);
		if (has_room && lost.off < lost.end)
			has_room = append(listing, lost.off, lost.end - lost.off, PCACHE_RANGE_LOST);
		off = lost.end;
	}
	return has_room;
}

size_t pc_range_query(struct pcache *cache, uint64_t off, uint64_t len, struct pcache_range *ranges, size_t max)
{
	struct pc_pos tail = pc_cache_dirty_tail(cache); /* order: before the index (RG1) */
	struct listing listing = { .ranges = ranges, .max = max };
	const struct pc_look *look;
	struct pc_walk walk;
	bool has_room = true;

	pc_walk_begin(&walk, cache->index, off, off + len);
	while (has_room && (look = pc_walk_next(&walk)) != NULL) {
		const struct pc_mapping *mapping = &look->mapping;
		uint32_t state = state_of(look, tail);

		if (pc_lost_any(&cache->lost) && (state & PCACHE_RANGE_DIRTY) == 0)
			has_room = append_around_lost(cache, &listing, mapping->off, mapping->off + mapping->len, state);
		else
			has_room = append(&listing, mapping->off, mapping->len, state);
	}
	return listing.count;
}

/* ---- prefetch ---- */

/* The whole blocks of what is missing. 0, 1: no more room; or negative errno. */
static int fetch(struct pcache *cache, const struct pc_mapping *hole, bool nowait)
{
	uint64_t first = pc_align_up(hole->off, PCM_BLOCK);
	uint64_t behind = pc_align_down(hole->off + hole->len, PCM_BLOCK);

	if (first >= behind)
		return 0;
	return nowait ? -EAGAIN : pc_miss_fetch(cache, first, behind - first);
}

int64_t pc_range_prefetch(struct pcache *cache, uint64_t off, uint64_t len, bool nowait)
{
	uint64_t half = (uint64_t)cache->segments->count * cache->segments->segment_bytes / 2;
	uint64_t end = pc_min64(pc_align_up(off + len, PCM_BLOCK), cache->backing->size_bytes);
	uint64_t at = pc_align_down(off, PCM_BLOCK);
	const struct pc_look *look;
	struct pc_walk walk;
	int ret = 0;

	end = pc_min64(end, at + pc_align_down(half, PCM_BLOCK)); /* (RG2) */
	pc_walk_begin(&walk, cache->index, at, end);
	while (ret == 0 && (look = pc_walk_next(&walk)) != NULL) {
		ret = look->cached ? 0 : fetch(cache, &look->mapping, nowait);
		at = look->mapping.off + (ret == 0 ? look->mapping.len : 0);
	}
	pc_cache_report_failure(cache);
	if (ret < 0)
		return ret;
	return (int64_t)(pc_min64(pc_max64(at, off), off + len) - off);
}
