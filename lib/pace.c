/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pace.c - between two waves of a batch: who waits for a drain hears of it, and write-back keeps to its rate.
 *
 * (Z1) At a rate, each wave uses up as much time as its bytes take at that rate. Time that nothing used up is lost, but
 *      for the last BURST_NS.
 * (Z2) Who waits is never slowed: a drain, a writer without space and close end the pause at once, and so does another
 *      rate. The thread sleeps until then; nothing is polled.
 *
 * Lock: pcache.state_lock.
 */
#include "cache.h"

#include <errno.h>

#define BURST_NS  100000000u
#define NS_PER_S  1000000000u
#define PER_PAUSE 8u /* waves in a second, where a rate allows it */
#define WAVE_MIN  (1u << 20)

/* (Z2) */
static bool is_urgent_locked(const struct pcache *cache)
{
	return cache->stop || cache->space_waiters > 0 || pc_cache_is_failed(cache) ||
	       pc_pos_cmp(cache->drain_goal, cache->dirty_tail) > 0;
}

/* When `bytes` more are due; now, where there is no rate. */
static uint64_t due_ns(const struct pcache *cache, uint64_t start_ns, uint64_t bytes)
{
	uint64_t rate = pc_tunable(cache, PCACHE_TUNABLE_WRITEBACK_RATE);

	return rate == 0 ? start_ns : start_ns + (uint64_t)((__uint128_t)bytes * NS_PER_S / rate);
}

static void pause_locked(struct pcache *cache, uint64_t bytes)
{
	uint64_t now_ns = pc_now_ns();
	uint64_t start_ns = pc_max64(cache->pace_ns, now_ns - BURST_NS);

	while (!is_urgent_locked(cache) && now_ns < due_ns(cache, start_ns, bytes)) {
		struct timespec deadline = pc_timespec(due_ns(cache, start_ns, bytes));

		pthread_cond_timedwait(&cache->writeback.wake, &cache->state_lock, &deadline);
		now_ns = pc_now_ns();
	}
	cache->pace_ns = pc_min64(now_ns, due_ns(cache, start_ns, bytes));
}

size_t pc_pace_wave_bytes(const struct pcache *cache, size_t most)
{
	uint64_t rate = pc_tunable(cache, PCACHE_TUNABLE_WRITEBACK_RATE);

	return rate == 0 ? most : (size_t)pc_min64(most, pc_max64(WAVE_MIN, rate / PER_PAUSE));
}

void pc_pace_wave(struct pcache *cache, uint64_t bytes)
{
	pthread_mutex_lock(&cache->state_lock);
	cache->waves++;
	if (cache->drainers > 0)
		pthread_cond_broadcast(&cache->progress);
	if (!cache->stepped)
		pause_locked(cache, bytes);
	pthread_mutex_unlock(&cache->state_lock);
}
