/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reclaim.c - the oldest clean segments become free ones.
 *
 * (Q1) Only segments whose number is below that of dirty_tail's segment, oldest first: all of their bytes are on the
 *      backing, synced, and a missing one in the middle of the chain stays noticeable.
 * (Q2) No index entry survives its segment: checked each time, by the count of live bytes.
 * (Q3) One victim at a time; its new generation is durable before the segment can be taken, and before the next victim.
 *
 * Only this flow, on one thread, moves oldest_seq. Lock: pcache.state_lock, never held during the work.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>

/* Each key of the segment: what the index still finds there goes. */
static int drop_keys(struct pcache *cache, const struct pc_segment *segment)
{
	struct pc_kset_scope scope = pc_segment_scope(cache->segments, segment, cache->backing->size_bytes);
	PC_FREE uint8_t *buf = malloc((size_t)segment->lines * PCM_LINE + 1);
	struct pc_lines lines;
	uint32_t line = 0;
	int ret;

	if (buf == NULL)
		return -ENOMEM;
	ret = pc_lines_read(cache->media, segment->off + cache->segments->segment_bytes, 0, segment->lines, buf, &lines);
	while (ret == 0 && line < segment->lines) {
		struct pc_kset kset;

		if (!pc_kset_decode(&scope, &lines, line, &kset))
			return -EBADMSG;
		for (uint32_t i = 0; i < kset.count; i++) {
			struct pc_key key = pc_kset_key(&lines, line, i);

			pc_index_drop(cache->index, segment->id, key.off, key.len);
		}
		line += kset.lines;
	}
	return ret;
}

/* (Q2) */
static void empty_segment(struct pcache *cache, const struct pc_segment *segment)
{
	int ret = drop_keys(cache, segment);

	/* Keys that cannot be read, or memory that is not there: the index is swept, slower and as sure. */
	if (ret < 0 || pc_index_live_bytes(cache->index, segment->id) != 0)
		pc_index_drop_segment(cache->index, segment->id);
	assert(pc_index_live_bytes(cache->index, segment->id) == 0);
}

bool pc_reclaim_possible_locked(const struct pcache *cache)
{
	return cache->oldest_seq < cache->dirty_tail.seq; /* (Q1) */
}

static bool is_wanted_locked(const struct pcache *cache)
{
	uint64_t total = cache->segments->count;
	uint64_t used = total - atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed);

	if (!pc_reclaim_possible_locked(cache) || pc_cache_is_failed(cache))
		return false;
	return cache->space_waiters > 0 || used * 100 > total * cache->config.gc_percent;
}

int pc_reclaim_step(struct pcache *cache)
{
	uint64_t victim_seq;
	uint32_t victim;
	bool wanted;
	int ret;

	pthread_mutex_lock(&cache->state_lock);
	wanted = is_wanted_locked(cache);
	victim_seq = cache->oldest_seq;
	pthread_mutex_unlock(&cache->state_lock);
	if (!wanted)
		return 0;
	victim = pc_stream_segment(&cache->write, victim_seq);
	empty_segment(cache, pc_segment_at(cache->segments, victim));
	ret = pc_segment_free(cache->segments, victim);
	if (ret < 0) {
		ret = pc_cache_fail_media(cache, ret);
		pc_cache_report_failure(cache);
		return ret;
	}
	/* order: the new generation is durable before anybody can take the segment (Q3) */
	pc_stats_add(cache->stats, PC_COUNT_SEGMENTS_RECLAIMED, 1); /* before: who waited for the segment finds it counted */
	pc_segment_release(cache->segments, victim);
	pthread_mutex_lock(&cache->state_lock);
	cache->oldest_seq = victim_seq + 1;
	pthread_cond_broadcast(&cache->space);
	pthread_mutex_unlock(&cache->state_lock);
	return 1;
}

void *pc_reclaim_thread(void *arg)
{
	struct pcache *cache = arg;

	pthread_mutex_lock(&cache->state_lock);
	while (!cache->stop) {
		uint64_t events = cache->reclaim.events;

		if (is_wanted_locked(cache)) {
			pthread_mutex_unlock(&cache->state_lock);
			(void)pc_reclaim_step(cache); /* a failure is sticky in the cache's state */
			pthread_mutex_lock(&cache->state_lock);
			continue;
		}
		while (cache->reclaim.events == events && !cache->stop)
			pthread_cond_wait(&cache->reclaim.wake, &cache->state_lock);
	}
	pthread_mutex_unlock(&cache->state_lock);
	return NULL;
}
