/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bypass.c - ranges that were written past the cache and not synced since, and the syncs of the backing.
 *
 * (BY1) A sync covers what was written before it began (B2): it clears these ranges if it succeeds, and no others.
 * (BY2) There are few places for ranges. Where they are used up the nearest one grows: it may cover too much, never too
 *       little.
 * (BY3) Only one sync runs at a time, and each caller's began after he asked. So whoever wrote, and sees that no sync
 *       failed between his write and his own sync, knows that none took an error that was his: a system reports it once.
 * (BY4) A sync that failed over a range may have lost it for good, and nobody has the data. The next flush says so, once.
 *       What a read gives may be in the system's memory alone from then on: the range stays in the list. It counts also
 *       where the range was written before the sync began and came into the list behind its end.
 *
 * Lock: pc_bypass.lock, a leaf; not held during a sync.
 */
#include "bypass.h"

void pc_bypass_init(struct pc_bypass *bypass)
{
	pthread_mutex_init(&bypass->lock, NULL);
	pthread_cond_init(&bypass->done, NULL);
}

void pc_bypass_destroy(struct pc_bypass *bypass)
{
	pthread_cond_destroy(&bypass->done);
	pthread_mutex_destroy(&bypass->lock);
}

static uint32_t count_of(const struct pc_bypass *bypass)
{
	return atomic_load_explicit(&bypass->count, memory_order_relaxed);
}

static void set_count(struct pc_bypass *bypass, uint32_t count)
{
	atomic_store_explicit(&bypass->count, count, memory_order_relaxed);
}

/* ---- ranges ---- */

/* Bytes between the two; 0 where they touch. */
static uint64_t gap(const struct pc_bypass_range *range, uint64_t off, uint64_t end)
{
	if (off > range->end)
		return off - range->end;
	return range->off > end ? range->off - end : 0;
}

static struct pc_bypass_range *nearest_locked(struct pc_bypass *bypass, uint64_t off, uint64_t end)
{
	struct pc_bypass_range *nearest = NULL;

	for (uint32_t i = 0; i < count_of(bypass); i++) {
		struct pc_bypass_range *range = &bypass->ranges[i];

		if (nearest == NULL || gap(range, off, end) < gap(nearest, off, end))
			nearest = range;
	}
	return nearest;
}

void pc_bypass_add(struct pc_bypass *bypass, uint64_t off, uint64_t len, uint64_t failures_before)
{
	uint64_t end = off + len;
	struct pc_bypass_range *range;

	pthread_mutex_lock(&bypass->lock);
	range = nearest_locked(bypass, off, end);
	if (range == NULL || (gap(range, off, end) != 0 && count_of(bypass) < PC_BYPASS_RANGES)) {
		range = &bypass->ranges[count_of(bypass)];
		*range = (struct pc_bypass_range){ .off = off, .end = end };
		set_count(bypass, count_of(bypass) + 1);
	}
	range->off = pc_min64(range->off, off); /* (BY2) */
	range->end = pc_max64(range->end, end);
	range->written_at = pc_max64(range->written_at, bypass->syncs_begun);
	if (bypass->syncs_failed != failures_before) { /* it may have been behind the write (BY4) */
		range->written_at = UINT64_MAX;
		atomic_store_explicit(&bypass->is_lost, true, memory_order_relaxed);
	}
	pthread_mutex_unlock(&bypass->lock);
}

bool pc_bypass_has(struct pc_bypass *bypass, uint64_t off, uint64_t len)
{
	bool has = false;

	if (count_of(bypass) == 0)
		return false;
	pthread_mutex_lock(&bypass->lock);
	for (uint32_t i = 0; i < count_of(bypass) && !has; i++)
		has = bypass->ranges[i].off < off + len && off < bypass->ranges[i].end;
	pthread_mutex_unlock(&bypass->lock);
	return has;
}

/* (BY1) */
static void clear_locked(struct pc_bypass *bypass, uint64_t sync)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count_of(bypass); i++)
		if (bypass->ranges[i].written_at >= sync)
			bypass->ranges[kept++] = bypass->ranges[i];
	set_count(bypass, kept);
}

/* ---- syncs ---- */

bool pc_bypass_take_loss(struct pc_bypass *bypass)
{
	return atomic_exchange_explicit(&bypass->is_lost, false, memory_order_relaxed);
}

uint64_t pc_bypass_failures(struct pc_bypass *bypass)
{
	uint64_t failures;

	pthread_mutex_lock(&bypass->lock);
	failures = bypass->syncs_failed;
	pthread_mutex_unlock(&bypass->lock);
	return failures;
}

static void end_locked(struct pc_bypass *bypass, int result)
{
	bypass->is_running = false;
	bypass->syncs_ended = bypass->syncs_begun;
	if (result == 0) {
		clear_locked(bypass, bypass->syncs_begun);
	} else {
		bypass->syncs_failed++;
		for (uint32_t i = 0; i < count_of(bypass); i++)
			bypass->ranges[i].written_at = UINT64_MAX; /* no later sync proves anything of it (BY4) */
		bypass->last_error = result;
		if (count_of(bypass) != 0)
			atomic_store_explicit(&bypass->is_lost, true, memory_order_relaxed); /* (BY4) */
	}
	pthread_cond_broadcast(&bypass->done);
}

int pc_bypass_sync(struct pc_bypass *bypass, uint64_t failures_before, int (*sync)(void *arg), void *arg)
{
	uint64_t wanted;
	int ret;

	pthread_mutex_lock(&bypass->lock);
	wanted = bypass->syncs_begun + 1; /* one that is running began too early */
	while (bypass->syncs_ended < wanted) {
		if (bypass->is_running) {
			pthread_cond_wait(&bypass->done, &bypass->lock);
			continue;
		}
		bypass->syncs_begun++;
		bypass->is_running = true;
		pthread_mutex_unlock(&bypass->lock);
		ret = sync(arg);
		pthread_mutex_lock(&bypass->lock);
		end_locked(bypass, ret);
	}
	/* One that failed meanwhile, his or not, may have taken an error of his (BY3). */
	ret = bypass->syncs_failed == failures_before ? 0 : bypass->last_error;
	pthread_mutex_unlock(&bypass->lock);
	return ret;
}
