/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * range_drop.c - what the cache has of a range is dropped, but for what the backing does not have.
 *
 *   hold a piece -> look -> misses stale -> INVALIDATE keys for all that is not dirty: durable, clean keys killed, index
 *   entries gone -> let go
 *
 * (RD1) Held from before the look: a write that came in between could have a lower position than the INVALIDATE key, and
 *       a replay would lose it.
 * (RD2) An INVALIDATE key, because writes that are on the backing already may still be in the log: a replay would bring
 *       them back. Where the index has nothing, and reclaim is not just taking something out, there is nothing (AR2).
 * (RD3) Misses under way are made stale before: they may have read what the caller wants to be rid of.
 * (RD4) What is dirty stays. What is lost stays lost, whatever the INVALIDATE key says of it: the backing has older bytes.
 *
 * Locks: none of its own.
 */
#include "cache.h"

#include <errno.h>

#define KEYS_MAX 32u

/* One piece: of one leaf. */
struct drop {
	struct pcache *cache;
	uint64_t off;
	uint64_t end;
	struct pc_pos tail;
	struct pc_hold hold;
	struct pc_write_plan plan;
	uint64_t run_off; /* since here nothing is dirty */
	bool run_cached;  /* and something is cached */
	uint64_t kept_bytes;
};

static bool must_stay(const struct drop *drop, const struct pc_look *look)
{
	struct pc_pos pos = pc_look_pos(look);

	return look->cached && pc_pos_cmp(pos, drop->tail) >= 0; /* (RD4) */
}

static int store_plan(struct drop *drop)
{
	int ret = drop->plan.count == 0 ? 0 : pc_io_log_plan(drop->cache, &drop->plan, true);

	drop->plan.count = 0;
	drop->plan.units = 0;
	return ret;
}

/* Nothing in [run_off, end) must stay. */
static int end_run(struct drop *drop, uint64_t end)
{
	/* order: behind the look, for what reclaim dropped before it; it says so before the drop (RD2) */
	bool is_known = drop->run_cached ||
			atomic_load_explicit(&drop->cache->is_reclaiming, memory_order_acquire);
	int ret = 0;

	if (drop->run_off < end && is_known) {
		if (drop->plan.count + pc_plan_keys(drop->run_off, end - drop->run_off) > KEYS_MAX)
			ret = store_plan(drop);
		pc_plan_add_empty(&drop->plan, PCM_KEY_INVALIDATE, end - drop->run_off, drop->run_off);
	}
	drop->run_cached = false;
	return ret;
}

static int drop_held(struct drop *drop)
{
	const struct pc_look *look;
	struct pc_walk walk;
	int ret = 0;

	drop->run_off = drop->off;
	drop->kept_bytes = 0;
	pc_walk_begin(&walk, drop->cache->index, drop->off, drop->end);
	while (ret == 0 && (look = pc_walk_next(&walk)) != NULL) {
		if (!must_stay(drop, look)) {
			drop->run_cached |= look->cached;
			drop->kept_bytes += pc_lost_bytes(&drop->cache->lost, look->mapping.off,
							  look->mapping.off + look->mapping.len);
			continue;
		}
		ret = end_run(drop, look->mapping.off);
		drop->run_off = look->mapping.off + look->mapping.len;
		drop->kept_bytes += look->mapping.len;
	}
	if (ret == 0)
		ret = end_run(drop, drop->end);
	return ret == 0 ? store_plan(drop) : ret;
}

static bool is_empty(struct drop *drop)
{
	const struct pc_look *look;
	struct pc_walk walk;

	pc_misses_make_stale(&drop->cache->misses, drop->off, drop->end - drop->off); /* order: before the look (RD3) */
	pc_walk_begin(&walk, drop->cache->index, drop->off, drop->end);
	look = pc_walk_next(&walk);
	return !look->cached && look->mapping.len == drop->end - drop->off &&
	       !atomic_load_explicit(&drop->cache->is_reclaiming, memory_order_acquire);
}

static int drop_piece(struct drop *drop)
{
	struct pcache *cache = drop->cache;
	int ret;

	drop->kept_bytes = 0;
	if (is_empty(drop)) {
		drop->kept_bytes = pc_lost_bytes(&cache->lost, drop->off, drop->end);
		return 0;
	}
	for (;;) {
		uint64_t room = pc_stream_room(&cache->write);

		drop->tail = pc_cache_dirty_tail(cache);
		pc_hold_begin(cache, &drop->hold, drop->off, drop->end); /* order: before the look (RD1) */
		drop->plan.count = 0;
		drop->plan.units = 0;
		ret = drop_held(drop);
		pc_hold_end(cache, &drop->hold);
		if (ret != -EAGAIN)
			return ret;
		ret = pc_rotate(cache, room, false); /* not while the range is held (HO3) */
		if (ret < 0)
			return ret;
	}
}

int64_t pc_range_invalidate(struct pcache *cache, uint64_t off, uint64_t len)
{
	struct drop drop = { .cache = cache };
	uint64_t end = off + len;
	uint64_t kept_bytes = 0;
	int ret = pc_plan_new(KEYS_MAX + 2 * PC_LEAF_BYTES / PCM_KEY_MAX_BYTES, &drop.plan);

	if (ret < 0)
		return ret;
	drop.plan.hold = &drop.hold;
	while (off < end && ret == 0) {
		drop.off = off;
		drop.end = pc_min64(end, pc_align_down(off, PC_LEAF_BYTES) + PC_LEAF_BYTES);
		ret = drop_piece(&drop);
		kept_bytes += drop.kept_bytes;
		off = drop.end;
	}
	pc_plan_free(&drop.plan);
	if (ret == 0)
		ret = pc_io_flush_media(cache); /* page granularity: the caller may rely on it */
	pc_cache_report_failure(cache);
	return ret < 0 ? ret : (int64_t)kept_bytes;
}
