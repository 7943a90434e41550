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
	if (look->mapping.kind == PC_MAPPING_LOST)
		state |= PCACHE_RANGE_LOST;
	return state;
}

size_t pc_range_query(struct pcache *cache, uint64_t off, uint64_t len, struct pcache_range *ranges, size_t max)
{
	struct pc_pos tail = pc_cache_dirty_tail(cache); /* order: before the index (RG1) */
	const struct pc_look *look;
	struct pc_walk walk;
	size_t count = 0;

	pc_walk_begin(&walk, cache->index, off, off + len);
	while ((look = pc_walk_next(&walk)) != NULL) {
		uint32_t state = state_of(look, tail);

		if (count == 0 || ranges[count - 1].state != state) {
			if (count == max)
				break;
			ranges[count++] = (struct pcache_range){ .off = look->mapping.off, .state = state };
		}
		ranges[count - 1].len += look->mapping.len;
	}
	return count;
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
