/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holds.c - a list of held ranges; there are never more than callers.
 *
 * (HD1) Two holds never overlap: the second one waits.
 * (HD2) A writer reserves its room in the log, then looks at `count`. A holder raises `count`, then looks at the log. All
 *       four are in one total order, so that not both can miss the other: either the writer knows of the hold before it
 *       stores anything, or the holder knows of the writer and waits until it is done (hold.c).
 * (HD3) A writer counts its lines as done, then looks at `count`, and wakes. A holder raises `count`, then looks whether
 *       they are done, under the lock under which it falls asleep. So no wake-up is missed.
 *
 * Lock: pc_holds.lock, a leaf.
 */
#include "holds.h"

void pc_holds_init(struct pc_holds *holds)
{
	pthread_mutex_init(&holds->lock, NULL);
	pthread_cond_init(&holds->changed, NULL);
}

void pc_holds_destroy(struct pc_holds *holds)
{
	pthread_cond_destroy(&holds->changed);
	pthread_mutex_destroy(&holds->lock);
}

static bool has_locked(const struct pc_holds *holds, uint64_t off, uint64_t end, const struct pc_hold *own)
{
	for (const struct pc_hold *hold = holds->first; hold != NULL; hold = hold->next)
		if (hold != own && hold->off < end && off < hold->end)
			return true;
	return false;
}

void pc_holds_begin(struct pc_holds *holds, struct pc_hold *hold)
{
	pthread_mutex_lock(&holds->lock);
	while (has_locked(holds, hold->off, hold->end, NULL)) /* (HD1) */
		pthread_cond_wait(&holds->changed, &holds->lock);
	hold->next = holds->first;
	holds->first = hold;
	/* order: in the list before the count says so; the count before the holder's look at the log (HD2) */
	atomic_fetch_add_explicit(&holds->count, 1, memory_order_seq_cst);
	pthread_mutex_unlock(&holds->lock);
}

void pc_holds_end(struct pc_holds *holds, struct pc_hold *hold)
{
	struct pc_hold **link = &holds->first;

	pthread_mutex_lock(&holds->lock);
	while (*link != hold)
		link = &(*link)->next;
	*link = hold->next;
	atomic_fetch_sub_explicit(&holds->count, 1, memory_order_seq_cst);
	pthread_cond_broadcast(&holds->changed);
	pthread_mutex_unlock(&holds->lock);
}

bool pc_holds_has(struct pc_holds *holds, uint64_t off, uint64_t len, const struct pc_hold *own)
{
	bool has;

	pthread_mutex_lock(&holds->lock);
	has = has_locked(holds, off, off + len, own);
	pthread_mutex_unlock(&holds->lock);
	return has;
}

void pc_holds_await(struct pc_holds *holds, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&holds->lock);
	while (has_locked(holds, off, off + len, NULL))
		pthread_cond_wait(&holds->changed, &holds->lock);
	pthread_mutex_unlock(&holds->lock);
}

void pc_holds_wake(struct pc_holds *holds)
{
	pthread_mutex_lock(&holds->lock);
	pthread_cond_broadcast(&holds->changed);
	pthread_mutex_unlock(&holds->lock);
}
