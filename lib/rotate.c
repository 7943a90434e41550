/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rotate.c - the WRITE stream goes from one segment to the next.
 *
 *   close the old segment -> take a free one -> its record durable -> the link to it durable -> open it for writers
 *
 * (O1) The next segment gets its first line only after both its record and the link to it are durable: a segment that
 *      is missing in the middle or at the end of the chain is noticed at open. Linked and empty is normal; the one that
 *      was never linked is empty.
 * (O2) The old segment is closed before anybody waits for a free one: it can be sealed and written back meanwhile.
 * (O3) No lock is held while waiting for space. A wait ends when there is space, or when write-back cannot get on (U3,
 *      U4).
 * (O4) On page granularity a segment is synced before its seal: what the seal counts is durable.
 */
#include "cache.h"

#include <errno.h>

int pc_rotate_seal(struct pcache *cache, uint32_t segment, enum pc_stream_kind stream, uint64_t seq, uint32_t lines)
{
	int ret = 0;

	/* A media that failed may have lost lines: never say that they are all there. */
	if (pc_cache_is_failed(cache))
		return -EIO;
	if (cache->media->granularity == PCACHE_GRANULARITY_PAGE)
		ret = pc_media_sync(cache->media); /* order: (O4) */
	if (ret == 0)
		ret = pc_segment_seal(cache->segments, segment, stream, seq, lines);
	if (ret < 0)
		return pc_cache_fail_media(cache, ret);
	pc_cache_wake_writeback(cache);
	return 0;
}

/* What the segment has taken; what is still open is added by whoever asks. */
static void count_log(struct pcache *cache, uint64_t room)
{
	pc_stats_add(cache->stats, PC_COUNT_LOG_DATA_BYTES, (uint64_t)pc_room_units(room) * PCM_UNIT);
	pc_stats_add(cache->stats, PC_COUNT_LOG_KEY_BYTES, (uint64_t)pc_room_lines(room) * PCM_LINE);
}

/* Under rotate_lock. */
static int close_locked(struct pcache *cache)
{
	uint64_t room = pc_stream_room(&cache->write);
	uint32_t segment = pc_stream_segment(&cache->write, pc_room_seq(room));
	uint64_t seq = atomic_load_explicit(&cache->segments->refs[segment].seq, memory_order_relaxed);
	uint32_t lines;
	bool is_done;

	if (pc_room_is_closed(room))
		return 0; /* whoever left last has sealed it */
	is_done = pc_stream_close_segment(&cache->write, &lines);
	count_log(cache, pc_stream_last_room(&cache->write, segment));
	if (!is_done)
		return 0; /* whoever leaves last will */
	return pc_rotate_seal(cache, segment, PC_STREAM_WRITE, seq, lines);
}

int pc_rotate_close(struct pcache *cache)
{
	int ret;

	pthread_mutex_lock(&cache->write.rotate_lock);
	ret = close_locked(cache);
	pthread_mutex_unlock(&cache->write.rotate_lock);
	return ret;
}

/* Under rotate_lock: `next` is the new open segment (O1). */
static int open_next_locked(struct pcache *cache, uint32_t next)
{
	struct pc_pos head = pc_cache_head(cache);
	uint32_t last = pc_stream_segment(&cache->write, head.seq);
	int ret = pc_segment_open(cache->segments, next, PC_STREAM_WRITE, head.seq + 1);

	/* order: the record is durable before the link, the link before the first line (O1) */
	if (ret == 0)
		ret = pc_segment_link(cache->segments, last, next);
	if (ret < 0)
		return pc_cache_fail_media(cache, ret);
	pc_stream_open_segment(&cache->write, head.seq + 1, next);
	return 0;
}

/* What a waiting writer gets when there will be no space; 0: go on waiting. State lock held. */
static int hopeless_locked(const struct pcache *cache, const struct pc_patience *patience)
{
	if (pc_cache_is_failed(cache))
		return -EIO;
	return pc_reclaim_possible_locked(cache) ? 0 : pc_patience_verdict_locked(cache, patience);
}

static void count_stall_locked(struct pcache *cache, uint64_t since_ns)
{
	uint64_t waited_ns = pc_now_ns() - since_ns;

	cache->stalls++;
	cache->stall_ns += waited_ns;
	cache->stall_max_ns = pc_max64(cache->stall_max_ns, waited_ns);
}

static bool has_space(const struct pcache *cache)
{
	return atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed) > 0;
}

/* A stepped cache has nobody to wait for: do the work here. */
static int wait_by_stepping(struct pcache *cache)
{
	struct pc_patience patience;
	int ret = 0;

	pthread_mutex_lock(&cache->state_lock);
	pc_patience_begin_locked(cache, &patience);
	pthread_mutex_unlock(&cache->state_lock);
	while (!has_space(cache) && ret == 0) {
		uint64_t failures = cache->health.failures;
		bool moved;

		pthread_mutex_lock(&cache->state_lock);
		cache->space_waiters++;
		pthread_mutex_unlock(&cache->state_lock);
		moved = pc_cache_step(cache);
		pthread_mutex_lock(&cache->state_lock);
		cache->space_waiters--;
		/* The error may be older than the space that the step made, and does not count then (O3). */
		if (!has_space(cache))
			ret = hopeless_locked(cache, &patience);
		if (!moved && ret == 0 && !has_space(cache))
			ret = cache->health.failures == failures ? -ENOSPC : pc_patience_verdict_locked(cache, &patience);
		pthread_mutex_unlock(&cache->state_lock);
	}
	return ret;
}

/* (O3) */
static int wait_for_space(struct pcache *cache)
{
	uint64_t since_ns = pc_now_ns();
	struct pc_patience patience;
	int ret = 0;

	if (cache->stepped)
		return wait_by_stepping(cache);
	pthread_mutex_lock(&cache->state_lock);
	cache->space_waiters++;
	pc_worker_wake_locked(&cache->writeback);
	pc_worker_wake_locked(&cache->reclaim);
	pc_patience_begin_locked(cache, &patience);
	while (!has_space(cache)) {
		ret = hopeless_locked(cache, &patience);
		if (ret < 0)
			break;
		pc_patience_sleep_locked(cache, &patience, &cache->space);
	}
	cache->space_waiters--;
	count_stall_locked(cache, since_ns);
	pthread_mutex_unlock(&cache->state_lock);
	pc_patience_tell(cache);
	return ret;
}

/* One try. 1: there is no free segment. */
static int rotate_once(struct pcache *cache, uint64_t room_seen)
{
	uint32_t next;
	int ret = 0;

	pthread_mutex_lock(&cache->write.rotate_lock);
	if (pc_room_seq(pc_stream_room(&cache->write)) == pc_room_seq(room_seen)) {
		ret = close_locked(cache); /* (O2) */
		next = ret < 0 ? PC_SEGMENT_NONE : pc_segment_alloc(cache->segments);
		if (ret == 0)
			ret = next == PC_SEGMENT_NONE ? 1 : open_next_locked(cache, next);
	}
	pthread_mutex_unlock(&cache->write.rotate_lock);
	return ret;
}

int pc_rotate(struct pcache *cache, uint64_t room_seen, bool nowait)
{
	int ret;

	if (pc_cache_is_failed(cache))
		return -EIO;
	while ((ret = rotate_once(cache, room_seen)) == 1) {
		if (nowait)
			return -EAGAIN;
		ret = wait_for_space(cache);
		if (ret < 0)
			return ret;
	}
	if (ret == 0) {
		/* Fewer are free now, more is dirty: both workers look whether that passes a mark. */
		pthread_mutex_lock(&cache->state_lock);
		pc_worker_wake_locked(&cache->writeback);
		pc_worker_wake_locked(&cache->reclaim);
		pthread_mutex_unlock(&cache->state_lock);
	}
	return ret;
}
