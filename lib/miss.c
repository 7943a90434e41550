/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * miss.c - a read that is not in the cache: from the backing to the caller, then into FILL or HOT.
 *
 *   whole blocks around the range, more of them ahead of a sequential reader -> list of misses, or a place in one that is
 *   under way -> look that it is still a hole -> backing -> caller -> clean blocks
 *
 * (I1) A miss is in the list before it is looked whether its range is a hole (F1): hole_of_own().
 * (I2) A block is kept only while it is a hole and the miss is not stale, both seen under a claim of the index.
 *      Nor while its range is held, or was written around the cache and not synced since: the look comes under the claim,
 *      so that whoever holds the range finds the block, or is found himself (AR3, AR4). Nor where a byte of it is lost (LS3).
 * (I3) The caller gets his bytes whatever becomes of keeping them. They are kept from memory of our own: the caller's
 *      buffer may change.
 */
#include "cache.h"

#include <errno.h>
#include <string.h>

#define BLOCKS_MAX (PC_LEAF_BYTES / PCM_BLOCK)

/* What is read, in whole blocks but for the end of the backing, and how much of it before anybody asked. */
struct plan {
	uint64_t off;
	uint64_t end;
	uint64_t ahead_bytes;
	bool keep;
};

bool pc_miss_is_kept(const struct pcache *cache)
{
	return pc_tunable(cache, PCACHE_TUNABLE_FILL) != PCACHE_FILL_NEVER && !cache->config.readonly &&
	       pc_cache_mode(cache) != PCACHE_MODE_WRITEONLY && !pc_cache_is_failed(cache);
}

static struct plan make_plan(struct pcache *cache, uint64_t off, size_t len)
{
	uint64_t bypass = pc_tunable(cache, PCACHE_TUNABLE_SEQUENTIAL_BYPASS);
	uint64_t size = cache->backing->size_bytes;
	struct plan plan = { .off = pc_align_down(off, PCM_BLOCK), .keep = pc_miss_is_kept(cache) };
	uint64_t leaf_end = pc_align_down(off, PC_LEAF_BYTES) + PC_LEAF_BYTES;
	uint64_t ahead;
	uint64_t run;

	plan.end = pc_min64(pc_align_up(off + len, PCM_BLOCK), size);
	if (!plan.keep)
		return plan;
	run = pc_sequential_see(&cache->sequential, plan.off, plan.end - plan.off,
				pc_tunable(cache, PCACHE_TUNABLE_READ_AHEAD), &ahead);
	plan.keep = bypass == 0 || run <= bypass;
	ahead = pc_min64(plan.end + ahead, pc_min64(leaf_end, size)) - plan.end;
	if (plan.keep && ahead > 0)
		plan.ahead_bytes = pc_align_down(pc_index_hole_bytes(cache->index, plan.end, ahead), PCM_BLOCK);
	return plan;
}

/* A read of the backing has ended. */
static void count_backing_read(struct pcache *cache, int result, size_t len)
{
	pc_stats_add(cache->stats, result < 0 ? PC_COUNT_BACKING_READ_ERRORS : PC_COUNT_BACKING_READ_BYTES,
		     result < 0 ? 1 : len);
}

/* Just for the caller. */
static ssize_t read_past(struct pcache *cache, void *buf, size_t len, uint64_t off)
{
	int ret = pc_backing_read(cache->backing, buf, off, len);

	count_backing_read(cache, ret, len);
	if (ret < 0)
		return ret;
	pc_stats_add(cache->stats, PC_COUNT_READ_MISS_BYTES, len);
	return (ssize_t)len;
}

/* ---- keep ---- */

/* Where a block is to be kept; PC_STREAM_NONE: nowhere. What the caller ordered need not be admitted. */
static enum pc_stream_kind stream_for(struct pcache *cache, uint64_t off, bool is_ordered)
{
	uint64_t block = off / PCM_BLOCK;

	if (pc_index_hole_bytes(cache->index, off, PCM_BLOCK) < PCM_BLOCK)
		return PC_STREAM_NONE;
	if (is_ordered)
		return PC_STREAM_FILL;
	if (pc_tunable(cache, PCACHE_TUNABLE_EVICTION) == PCACHE_EVICTION_S3FIFO &&
	    pc_ghost_take(cache->evicted, block)) {
		pc_stats_add(cache->stats, PC_COUNT_GHOST_HITS, 1);
		return PC_STREAM_HOT;
	}
	if (pc_tunable(cache, PCACHE_TUNABLE_FILL) == PCACHE_FILL_SECOND_TOUCH && !pc_ghost_take(cache->touched, block)) {
		pc_ghost_add(cache->touched, block);
		pc_stats_add(cache->stats, PC_COUNT_BYPASSED_BYTES, PCM_BLOCK);
		return PC_STREAM_NONE;
	}
	return PC_STREAM_FILL;
}

/* Under a claim (I2). */
static bool is_refused(struct pcache *cache, const struct pc_miss *miss, uint64_t off)
{
	return atomic_load_explicit(&miss->stale, memory_order_relaxed) ||
	       (pc_holds_any(&cache->holds) && pc_holds_has(&cache->holds, off, PCM_BLOCK, NULL)) ||
	       pc_bypass_has(&cache->bypass, off, PCM_BLOCK) || pc_lost_has(&cache->lost, off, PCM_BLOCK);
}

/* (I2) */
static int keep_block(struct pcache *cache, const struct pc_miss *miss, const struct pc_clean_room *room, uint32_t i,
		      uint64_t off, uint32_t crc)
{
	struct pc_index_claim claim;
	struct pc_mapping mapping;
	int ret = pc_index_claim_hole(cache->index, off, PCM_BLOCK, &claim);

	if (ret < 0)
		return ret;
	if (is_refused(cache, miss, off))
		ret = -ESTALE;
	else
		ret = pc_clean_store_key(cache, room, i, off, crc, &mapping);
	if (ret < 0)
		pc_index_claim_release(cache->index, &claim);
	else
		pc_index_claim_enter(cache->index, &claim, &mapping);
	return ret;
}

static bool is_refusal(int error)
{
	return error == -EBUSY || error == -ESTALE || error == -ENOMEM;
}

/* Blocks of the miss from `first` on, as many as there is room for. */
static void keep_in_room(struct pcache *cache, const struct pc_miss *miss, struct pc_clean_room *room, uint32_t first)
{
	const uint8_t *data = miss->data + (size_t)first * PCM_BLOCK;
	uint64_t off = miss->off + (uint64_t)first * PCM_BLOCK;
	uint32_t crcs[BLOCKS_MAX];
	int ret = 0;

	for (uint32_t i = 0; i < room->count && ret == 0; i++)
		ret = pc_clean_copy(cache, room, i, data + (size_t)i * PCM_BLOCK, &crcs[i]);
	if (ret == 0)
		ret = pc_media_drain(cache->media); /* order: the data before its keys (L2) */
	for (uint32_t i = 0; i < room->count && ret == 0; i++) {
		ret = keep_block(cache, miss, room, i, off + (uint64_t)i * PCM_BLOCK, crcs[i]);
		pc_stats_add(cache->stats, ret == 0 ? PC_COUNT_FILL_BYTES : PC_COUNT_FILLS_REFUSED,
			     ret == 0 ? PCM_BLOCK : 1);
		if (is_refusal(ret))
			ret = 0;
	}
	if (ret < 0)
		(void)pc_cache_fail_media(cache, ret);
	pc_clean_commit(cache, room);
}

/* False: there was no room for all. */
static bool keep_run(struct pcache *cache, const struct pc_miss *miss, enum pc_stream_kind kind, uint32_t first,
		     uint32_t end)
{
	while (first < end) {
		struct pc_clean_room room;

		if (!pc_clean_reserve(cache, kind, end - first, &room)) {
			pc_stats_add(cache->stats, PC_COUNT_FILLS_REFUSED, end - first);
			return false;
		}
		keep_in_room(cache, miss, &room, first);
		first += room.count;
	}
	return true;
}

/* Neighbours that go to the same stream are kept together: they share the fences. False: there was no room for all. */
static bool keep(struct pcache *cache, const struct pc_miss *miss, bool is_ordered)
{
	uint32_t count = (uint32_t)(miss->len / PCM_BLOCK); /* the end of the backing may have less than a block */
	enum pc_stream_kind kinds[BLOCKS_MAX];
	bool has_room = true;
	uint32_t end;

	for (uint32_t i = 0; i < count; i++)
		kinds[i] = stream_for(cache, miss->off + (uint64_t)i * PCM_BLOCK, is_ordered);
	for (uint32_t first = 0; first < count; first = end) {
		for (end = first + 1; end < count && kinds[end] == kinds[first]; end++)
			;
		if (kinds[first] != PC_STREAM_NONE && !keep_run(cache, miss, kinds[first], first, end))
			has_room = false;
	}
	return has_room;
}

/* ---- read ---- */

/* What the miss has of [off, off + len). */
static ssize_t copy_out(struct pcache *cache, const struct pc_miss *miss, void *buf, size_t len, uint64_t off)
{
	len = pc_min64(len, miss->off + miss->len - off);
	memcpy(buf, miss->data + (off - miss->off), len);
	pc_stats_add(cache->stats, PC_COUNT_READ_MISS_BYTES, len);
	return (ssize_t)len;
}

/* A miss in the list, and ours: the range is looked at only now (I1). 0: it is no hole any more. */
static uint64_t hole_of_own(struct pcache *cache, size_t len, uint64_t off)
{
	return pc_index_hole_bytes(cache->index, off, len);
}

/* Its read has ended: to the caller, and kept. */
static ssize_t end_own(struct pcache *cache, struct pc_miss *miss, int result, void *buf, size_t len, uint64_t off)
{
	ssize_t ret;

	count_backing_read(cache, result, miss->len);
	pc_misses_finish(&cache->misses, miss, result);
	if (result < 0) {
		ret = read_past(cache, buf, len, off); /* what failed may be what nobody asked for */
	} else {
		ret = copy_out(cache, miss, buf, len, off);
		(void)keep(cache, miss, false);
	}
	pc_misses_leave(&cache->misses, miss, true);
	return ret;
}

static void drop_own(struct pcache *cache, struct pc_miss *miss)
{
	pc_misses_finish(&cache->misses, miss, -EAGAIN);
	pc_misses_leave(&cache->misses, miss, true);
}

static ssize_t read_own(struct pcache *cache, struct pc_miss *miss, void *buf, size_t len, uint64_t off)
{
	uint64_t hole = hole_of_own(cache, len, off);
	int result;

	if (hole == 0) {
		drop_own(cache, miss);
		return 0;
	}
	result = pc_backing_read(cache->backing, miss->data, miss->off, miss->len);
	return end_own(cache, miss, result, buf, hole, off);
}

/* Somebody else's (F2). */
static ssize_t read_joined(struct pcache *cache, struct pc_miss *miss, void *buf, size_t len, uint64_t off)
{
	bool is_good = miss->result == 0 && !atomic_load_explicit(&miss->stale, memory_order_relaxed);
	ssize_t ret;

	if (is_good) {
		ret = copy_out(cache, miss, buf, len, off);
		pc_stats_add(cache->stats, PC_COUNT_SHARED_MISSES, 1);
	} else {
		ret = miss->result == -EAGAIN ? 0 : read_past(cache, buf, len, off);
	}
	pc_misses_leave(&cache->misses, miss, false);
	return ret;
}

static void count_ahead(struct pcache *cache, const struct plan *plan)
{
	if (plan->ahead_bytes == 0)
		return;
	pc_stats_add(cache->stats, PC_COUNT_READ_AHEAD_BYTES, plan->ahead_bytes);
	pc_sequential_advance(&cache->sequential, plan->end, plan->end + plan->ahead_bytes);
}

ssize_t pc_miss_read(struct pcache *cache, void *buf, size_t len, uint64_t off)
{
	struct plan plan = make_plan(cache, off, len);
	struct pc_miss *miss;
	struct pc_miss *other;
	int ret = pc_losses_report(cache, off, len); /* order: behind the caller's look that found a hole (LS3) */

	if (ret < 0)
		return ret;
	if (!plan.keep)
		pc_stats_add(cache->stats, PC_COUNT_BYPASSED_BYTES, len);
	if (!plan.keep || pc_miss_new(plan.off, plan.end + plan.ahead_bytes - plan.off, &miss) < 0)
		return read_past(cache, buf, len, off);
	other = pc_misses_join(&cache->misses, miss, off);
	if (other != NULL) {
		pc_miss_delete(miss);
		return read_joined(cache, other, buf, len, off);
	}
	count_ahead(cache, &plan);
	return read_own(cache, miss, buf, len, off);
}

/* ---- in two halves ---- */

int pc_miss_begin(struct pcache *cache, size_t len, uint64_t off, struct pc_miss_begun *ret_begun)
{
	struct plan plan = make_plan(cache, off, len);
	struct pc_miss_begun begun = { .off = off, .len = len };
	int ret = pc_losses_report(cache, off, len);

	if (ret < 0)
		return ret;
	ret = pc_miss_new(plan.off, plan.end + plan.ahead_bytes - plan.off, &begun.miss);

	if (ret < 0)
		return ret;
	if (!plan.keep)
		pc_stats_add(cache->stats, PC_COUNT_BYPASSED_BYTES, len);
	begun.is_listed = plan.keep;
	if (plan.keep) {
		pc_misses_add(&cache->misses, begun.miss, true);
		count_ahead(cache, &plan);
		begun.len = hole_of_own(cache, len, off);
	}
	if (begun.len == 0) {
		drop_own(cache, begun.miss);
		return -EAGAIN;
	}
	*ret_begun = begun;
	return 0;
}

ssize_t pc_miss_end(struct pcache *cache, struct pc_miss_begun *begun, int result, void *buf)
{
	ssize_t ret;

	if (begun->is_listed)
		return end_own(cache, begun->miss, result, buf, begun->len, begun->off);
	count_backing_read(cache, result, begun->miss->len);
	ret = result < 0 ? result : copy_out(cache, begun->miss, buf, begun->len, begun->off);
	pc_miss_delete(begun->miss);
	return ret;
}

void pc_miss_cancel(struct pcache *cache, struct pc_miss_begun *begun)
{
	if (begun->is_listed)
		drop_own(cache, begun->miss);
	else
		pc_miss_delete(begun->miss);
}

/* ---- ordered ---- */

int pc_miss_fetch(struct pcache *cache, uint64_t off, size_t len)
{
	struct pc_miss *miss;
	bool has_room = true;
	int ret = pc_miss_new(off, len, &miss);

	if (ret < 0)
		return ret;
	pc_misses_add(&cache->misses, miss, false); /* order: before its blocks are claimed as holes (I1) */
	ret = pc_backing_read(cache->backing, miss->data, off, len);
	count_backing_read(cache, ret, len);
	pc_misses_finish(&cache->misses, miss, ret);
	if (ret == 0)
		has_room = keep(cache, miss, true);
	pc_misses_leave(&cache->misses, miss, true);
	return ret < 0 ? ret : !has_room;
}
