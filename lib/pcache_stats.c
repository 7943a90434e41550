/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_stats.c - a look at an open cache.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "enter.h"

#include <errno.h>
#include <string.h>

static void fill_counters(const struct pc_stats *counters, struct pcache_stats *out)
{
	out->reads = pc_stats_sum(counters, PC_COUNT_READS);
	out->read_bytes = pc_stats_sum(counters, PC_COUNT_READ_BYTES);
	out->read_miss_bytes = pc_stats_sum(counters, PC_COUNT_READ_MISS_BYTES);
	out->writes = pc_stats_sum(counters, PC_COUNT_WRITES);
	out->write_bytes = pc_stats_sum(counters, PC_COUNT_WRITE_BYTES);
	out->flushes = pc_stats_sum(counters, PC_COUNT_FLUSHES);
	out->writeback_batches = pc_stats_sum(counters, PC_COUNT_WRITEBACK_BATCHES);
	out->writeback_bytes = pc_stats_sum(counters, PC_COUNT_WRITEBACK_BYTES);
	out->writeback_ios = pc_stats_sum(counters, PC_COUNT_WRITEBACK_IOS);
	out->writeback_errors = pc_stats_sum(counters, PC_COUNT_WRITEBACK_ERRORS);
	out->backing_syncs = pc_stats_sum(counters, PC_COUNT_BACKING_SYNCS);
	out->segments_reclaimed = pc_stats_sum(counters, PC_COUNT_SEGMENTS_RECLAIMED);
	out->checksum_errors = pc_stats_sum(counters, PC_COUNT_CHECKSUM_ERRORS);
	out->fill_bytes = pc_stats_sum(counters, PC_COUNT_FILL_BYTES);
	out->fills_refused = pc_stats_sum(counters, PC_COUNT_FILLS_REFUSED);
	out->read_ahead_bytes = pc_stats_sum(counters, PC_COUNT_READ_AHEAD_BYTES);
	out->bypassed_bytes = pc_stats_sum(counters, PC_COUNT_BYPASSED_BYTES);
	out->shared_misses = pc_stats_sum(counters, PC_COUNT_SHARED_MISSES);
	out->ghost_hits = pc_stats_sum(counters, PC_COUNT_GHOST_HITS);
	out->moved_bytes = pc_stats_sum(counters, PC_COUNT_MOVED_BYTES);
	out->kills = pc_stats_sum(counters, PC_COUNT_KILLS);
	out->clean_errors = pc_stats_sum(counters, PC_COUNT_CLEAN_ERRORS);
}

static void fill_constants(const struct pcache *cache, struct pcache_stats *out)
{
	out->granularity = cache->media->granularity;
	out->mode = PCACHE_MODE_WRITEBACK;
	out->max_atomic_bytes = cache->max_atomic_bytes;
	out->backing_bytes = cache->backing->size_bytes;
	out->segment_bytes = cache->segments->segment_bytes;
	out->segments = cache->segments->count;
	out->capacity_bytes = out->segments * out->segment_bytes;
	out->open_ns = cache->open_ns;
	out->replay_ns = cache->replay_ns;
	out->replay_keys = cache->replay_keys;
	out->replay_voided = cache->replay_voided;
	out->recovered_end_bytes = cache->recovered_end_bytes;
	out->epoch = cache->identity.epoch;
}

static enum pcache_state state_locked(const struct pcache *cache)
{
	if (cache->config.readonly)
		return PCACHE_STATE_READ_ONLY;
	if (pc_cache_is_failed(cache))
		return PCACHE_STATE_FAILED;
	return cache->writeback_error != 0 ? PCACHE_STATE_DEGRADED : PCACHE_STATE_OK;
}

static void fill_state(struct pcache *cache, struct pcache_stats *out)
{
	struct pc_pos head;

	pthread_mutex_lock(&cache->state_lock);
	head = pc_cache_head(cache);
	out->state = state_locked(cache);
	out->dirty_log_bytes = pc_cache_log_bytes(cache, cache->dirty_tail, head);
	out->tail_seq = cache->dirty_tail.seq;
	out->tail_line = cache->dirty_tail.line;
	out->stalls = cache->stalls;
	out->stall_ns = cache->stall_ns;
	out->stall_max_ns = cache->stall_max_ns;
	out->segments_fill = pc_clean_of(cache, PC_STREAM_FILL)->age.count;
	out->segments_hot = pc_clean_of(cache, PC_STREAM_HOT)->age.count;
	out->segments_write = head.seq - cache->oldest_seq + 1;
	pthread_mutex_unlock(&cache->state_lock);
	out->head_seq = head.seq;
	out->head_line = head.line;
	out->segments_free = atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed);
	out->cached_bytes = pc_index_cached_bytes(cache->index);
	out->index_bytes = pc_index_memory_bytes(cache->index) + pc_ghost_memory_bytes(cache->evicted) +
			   pc_ghost_memory_bytes(cache->touched);
	out->media_syncs = atomic_load_explicit(&cache->media->syncs, memory_order_relaxed);
}

int pcache_stats(struct pcache *cache, struct pcache_stats *stats)
{
	struct pcache_stats all = { 0 };
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (stats == NULL || stats->size < offsetof(struct pcache_stats, max_atomic_bytes))
		return -EINVAL;
	all.size = stats->size;
	fill_counters(cache->stats, &all);
	fill_constants(cache, &all);
	fill_state(cache, &all);
	memcpy(stats, &all, pc_min64(stats->size, sizeof(all)));
	return 0;
}
