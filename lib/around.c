/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * around.c - write-around: a write goes to the backing, past the cache, and what the cache has of its range goes.
 *
 *   hold the range -> anything dirty in it? -> yes: let go, write to the cache as ever
 *                                           -> no:  misses stale -> INVALIDATE durable, index entries dropped
 *                                                   -> backing written -> misses stale -> noted as not synced -> let go
 *
 * The range is made of whole blocks of the backing: write-back may be about to write any part of such a block (batch.c).
 *
 * (AR1) Held from before the look for dirty data until the backing has been written: nothing of the range is, or
 *       becomes, dirty meanwhile, so that no write-back goes over it, now or later, with older bytes.
 * (AR2) What the media has of the range is void, durably, before the backing changes: an INVALIDATE key hides the writes
 *       that are still in the log and on the backing already, clean keys are killed. Else a replay could bring them back.
 *       Where the index has nothing of the range, and reclaim is not just taking something out of it, the media has
 *       nothing either that a replay would show: older writes leave before newer ones, and with them.
 * (AR3) Misses under way are made stale before entries go (F1), and again when the backing has been written: those that
 *       began in between may have read either. While the range is held no miss of it is kept (miss.c).
 * (AR4) Until a sync that began later has succeeded a power cut may take the write back: no miss of its range is kept.
 *       A flush syncs the backing, too.
 * (AR5) A backing that does not take the write has changed in part, or not at all. The write goes to the cache then.
 *
 * Locks: none of its own.
 */
#include "cache.h"

#include <errno.h>
#include <string.h>

#define TAKE_LOG 1 /* the write belongs in the cache after all */
/* One write: its bytes, and the whole blocks of the backing around them. */
struct around {
	struct pc_write_plan *plan;
	uint64_t off;
	uint64_t end;
	uint64_t block_off;
	uint64_t block_end;
	uint8_t *buf; /* of the blocks */
	struct pc_hold hold;
};

struct finding {
	bool is_cached;
	bool is_dirty;
};

static struct around around_of(const struct pcache *cache, struct pc_write_plan *plan)
{
	const struct pc_key *last = &plan->keys[plan->count - 1];
	uint64_t align = cache->backing->align_bytes;
	struct around around = { .plan = plan, .off = plan->keys[0].off, .end = last->off + last->len };

	around.block_off = pc_align_down(around.off, align);
	around.block_end = pc_min64(pc_align_up(around.end, align), cache->backing->size_bytes);
	return around;
}

/* What the cache has of the blocks. */
static struct finding find(struct pcache *cache, const struct around *around)
{
	struct pc_pos tail = pc_cache_dirty_tail(cache);
	struct finding finding = { 0 };
	const struct pc_look *look;
	struct pc_walk walk;

	pc_walk_begin(&walk, cache->index, around->block_off, around->block_end);
	while ((look = pc_walk_next(&walk)) != NULL) {
		finding.is_cached |= look->cached;
		finding.is_dirty |= look->cached && pc_pos_cmp(pc_look_pos(look), tail) >= 0;
	}
	/* order: behind the look, which finds what was lost after dirty_tail had been asked (LS5) */
	finding.is_dirty |= pc_lost_has(&cache->lost, around->block_off, around->block_end - around->block_off);
	return finding;
}

/* ---- the media ---- */

/* (AR2) */
static bool is_known(const struct pcache *cache, struct finding finding)
{
	/* order: behind the look, for what reclaim dropped before it; it says so before the drop (Q6) */
	return finding.is_cached || atomic_load_explicit(&cache->is_reclaiming, memory_order_acquire);
}

/* -EAGAIN: the log has no room; nothing has changed. */
static int invalidate(struct pcache *cache, const struct around *around)
{
	struct pc_write_plan plan;
	int ret = pc_plan_new(pc_plan_keys(around->off, around->end - around->off), &plan);

	if (ret < 0)
		return ret;
	plan.hold = &around->hold;
	pc_plan_add_empty(&plan, PCM_KEY_INVALIDATE, around->end - around->off, around->off);
	ret = pc_io_log_plan(cache, &plan, true);
	pc_plan_free(&plan);
	if (ret == 0 && cache->media->granularity == PCACHE_GRANULARITY_PAGE) {
		ret = pc_media_sync(cache->media); /* order: durable before the backing changes (AR2) */
		if (ret < 0)
			ret = pc_cache_fail_media(cache, ret);
	}
	return ret;
}

/* ---- the backing ---- */

/* The blocks: the data, and what the backing has around it. */
static int fill(struct pcache *cache, struct around *around)
{
	const struct pc_write_plan *plan = around->plan;
	int ret = pc_backing_read(cache->backing, around->buf, around->block_off, around->off - around->block_off);

	if (ret == 0)
		ret = pc_backing_read(cache->backing, around->buf + (around->end - around->block_off), around->end,
				      around->block_end - around->end);
	for (uint32_t i = 0; i < plan->count && ret == 0; i++)
		memcpy(around->buf + (plan->keys[i].off - around->block_off), plan->sources[i], plan->keys[i].len);
	return ret;
}

static int write_backing(struct pcache *cache, struct around *around)
{
	int ret = fill(cache, around);

	if (ret == 0)
		ret = pc_backing_write(cache->backing, around->buf, around->block_off,
				       around->block_end - around->block_off);
	if (ret < 0) {
		pc_log(&cache->config.log, PCACHE_LOG_WARNING,
		       "write-around: the backing did not take %llu bytes at offset %llu: %s; they go to the cache",
		       (unsigned long long)(around->end - around->off), (unsigned long long)around->off,
		       pcache_strerror(ret));
		return TAKE_LOG; /* (AR5) */
	}
	pc_stats_add(cache->stats, PC_COUNT_AROUND_BYTES, around->end - around->off);
	return 0;
}

/* ---- one write ---- */

static int write_held(struct pcache *cache, struct around *around)
{
	struct finding finding = find(cache, around);
	uint64_t failures = pc_bypass_failures(&cache->bypass); /* order: before the write (BY4) */
	uint64_t len = around->end - around->off;
	int ret = 0;

	if (finding.is_dirty)
		return TAKE_LOG;
	pc_misses_make_stale(&cache->misses, around->off, len); /* order: before entries go (AR3) */
	if (is_known(cache, finding))
		ret = invalidate(cache, around);
	if (ret < 0)
		return ret;
	ret = write_backing(cache, around);
	pc_misses_make_stale(&cache->misses, around->off, len); /* order: behind the write (AR3) */
	pc_bypass_add(&cache->bypass, around->off, len, failures); /* order: before the hold ends (AR4) */
	return ret;
}

int pc_around_write(struct pcache *cache, struct pc_write_plan *plan)
{
	struct around around = around_of(cache, plan);
	PC_FREE void *buf = NULL;
	bool is_full;
	int ret;

	if (posix_memalign(&buf, PC_PAGE, pc_align_up(around.block_end - around.block_off, PC_PAGE)) != 0)
		return -ENOMEM;
	around.buf = buf;
	do {
		uint64_t room = pc_stream_room(&cache->write);

		pc_hold_begin(cache, &around.hold, around.block_off, around.block_end);
		ret = write_held(cache, &around);
		pc_hold_end(cache, &around.hold);
		is_full = ret == -EAGAIN;
		if (is_full)
			ret = pc_rotate(cache, room, false); /* (HO3) */
	} while (is_full && ret == 0);
	return ret == TAKE_LOG ? pc_io_log_plan(cache, plan, false) : ret;
}

/* ---- syncs of the backing ---- */

static int sync_backing(void *arg)
{
	struct pcache *cache = arg;

	pc_stats_add(cache->stats, PC_COUNT_BACKING_SYNCS, 1);
	return pc_backing_sync(cache->backing);
}

int pc_around_sync_backing(struct pcache *cache, uint64_t failures_before)
{
	return pc_bypass_sync(&cache->bypass, failures_before, sync_backing, cache);
}

int pc_around_flush(struct pcache *cache)
{
	int ret;

	if (!pc_bypass_is_pending(&cache->bypass))
		return 0;
	ret = pc_around_sync_backing(cache, pc_bypass_failures(&cache->bypass));
	if (pc_bypass_take_loss(&cache->bypass) && ret == 0)
		ret = -EIO;
	if (ret < 0)
		return pc_fail(&cache->config.log, ret,
			       "flush: a sync of the backing failed; what was written around the cache may be lost: %s",
			       pcache_strerror(ret));
	return 0;
}
