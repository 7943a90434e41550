/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hold.c - a range of the backing is held: nobody else writes there, no miss of it is kept.
 *
 *   holder   in the list -> wait for the writers that may not have seen it -> ... -> out of the list
 *   writer   reserve -> is the range held? -> no: store, publish, count as done
 *                                          -> yes: VOID what is reserved, wait for the holder, begin anew
 *
 * (HO1) When the hold begins every write that could not see it is in the index: whoever reserved room before the hold
 *       was in the list is waited for (HD2). Later ones see the hold before they store anything.
 * (HO2) Nobody waits for a holder with room reserved (W3): the holder may wait for just that room.
 * (HO3) A holder does not wait for space in the log: write-back may need a hold to make some.
 * (HO4) The wait for writers ends: who has room stores, without a wait, and is done. Where new ones keep the open
 *       segment from ever being quiet it is closed, and they go on in the next one.
 *
 * Lock: pc_holds.lock.
 */
#include "cache.h"

#define QUIET_WAITS 64u

/* True: every writer of this segment of the log is done. */
static bool is_done(const struct pcache *cache, uint64_t seq, struct pc_pos head)
{
	uint32_t id = pc_stream_segment(&cache->write, seq);
	uint64_t room;

	if (seq == head.seq && pc_stream_is_quiet(&cache->write, &room) &&
	    pc_room_seq(room) == (seq & PC_ROOM_SEQ_MASK))
		return true;
	if (pc_stream_is_done(&cache->write, id))
		return true;
	/* A segment that lives another life was left by everybody. */
	return atomic_load_explicit(&cache->segments->refs[id].seq, memory_order_acquire) != seq;
}

/* Looks from the oldest segment on that may have writers. Under holds.lock. */
static bool are_writers_done_locked(struct pcache *cache, struct pc_pos head)
{
	struct pc_holds *holds = &cache->holds;

	while (holds->quiet_seq < head.seq && is_done(cache, holds->quiet_seq, head))
		holds->quiet_seq++;
	return holds->quiet_seq > head.seq || (holds->quiet_seq == head.seq && is_done(cache, head.seq, head));
}

/* (HO1) */
static void await_writers(struct pcache *cache)
{
	struct pc_holds *holds = &cache->holds;
	struct pc_pos head;
	uint64_t tail_seq; /* segments before it are sealed */
	unsigned waits = 0;

	atomic_thread_fence(memory_order_seq_cst); /* order: after the hold is in the list (HD2, HD3) */
	head = pc_cache_head(cache);
	tail_seq = pc_cache_dirty_tail(cache).seq;
	pthread_mutex_lock(&holds->lock);
	holds->quiet_seq = pc_max64(holds->quiet_seq, tail_seq);
	while (!are_writers_done_locked(cache, head)) {
		if (waits++ != QUIET_WAITS) {
			pthread_cond_wait(&holds->changed, &holds->lock);
			continue;
		}
		pthread_mutex_unlock(&holds->lock);
		(void)pc_rotate_close(cache); /* (HO4) */
		pthread_mutex_lock(&holds->lock);
	}
	pthread_mutex_unlock(&holds->lock);
}

void pc_hold_begin(struct pcache *cache, struct pc_hold *hold, uint64_t off, uint64_t end)
{
	*hold = (struct pc_hold){ .off = off, .end = end };
	pc_holds_begin(&cache->holds, hold);
	await_writers(cache);
}

void pc_hold_end(struct pcache *cache, struct pc_hold *hold)
{
	pc_holds_end(&cache->holds, hold);
}

bool pc_hold_stops(struct pcache *cache, const struct pc_write_plan *plan)
{
	for (uint32_t i = 0; i < plan->count; i++)
		if (pc_holds_has(&cache->holds, plan->keys[i].off, plan->keys[i].len, plan->hold))
			return true;
	return false;
}

void pc_hold_await(struct pcache *cache, const struct pc_write_plan *plan)
{
	for (uint32_t i = 0; i < plan->count; i++)
		pc_holds_await(&cache->holds, plan->keys[i].off, plan->keys[i].len);
}
