/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * misses.c - a list of the backing reads under way; there are never more than readers.
 *
 * (F1) A miss is in the list before its reader looks whether the range is a hole, and until it has been kept. A write
 *      that is published after that look and leaves the index again passes pc_misses_supersede() first. So a miss that
 *      is not stale, over a range that is a hole, has read what is valid now.
 * (F2) For the same reason a second reader, who found the hole himself, may take its data if it is not stale by then.
 *
 * Lock: pc_misses.lock, a leaf; not held during a read.
 */
#include "misses.h"

#include <errno.h>

void pc_misses_init(struct pc_misses *misses)
{
	pthread_mutex_init(&misses->lock, NULL);
	pthread_cond_init(&misses->done, NULL);
}

void pc_misses_destroy(struct pc_misses *misses)
{
	pthread_cond_destroy(&misses->done);
	pthread_mutex_destroy(&misses->lock);
}

int pc_miss_new(uint64_t off, uint64_t len, struct pc_miss **ret_miss)
{
	struct pc_miss *miss = malloc(sizeof(*miss));
	void *data;

	if (miss == NULL)
		return -ENOMEM;
	if (posix_memalign(&data, PC_PAGE, len) != 0) {
		free(miss);
		return -ENOMEM;
	}
	*miss = (struct pc_miss){ .off = off, .len = len, .data = data, .users = 1 };
	*ret_miss = miss;
	return 0;
}

void pc_miss_delete(struct pc_miss *miss)
{
	free(miss->data);
	free(miss);
}

static bool has(const struct pc_miss *miss, uint64_t off)
{
	return off >= miss->off && off - miss->off < miss->len;
}

static struct pc_miss *find_locked(struct pc_misses *misses, uint64_t off)
{
	struct pc_miss *miss = misses->first;

	while (miss != NULL &&
	       (miss->is_private || !has(miss, off) || atomic_load_explicit(&miss->stale, memory_order_relaxed)))
		miss = miss->next;
	return miss;
}

static void link_locked(struct pc_misses *misses, struct pc_miss *miss)
{
	miss->next = misses->first;
	misses->first = miss;
	atomic_fetch_add_explicit(&misses->count, 1, memory_order_relaxed);
}

void pc_misses_add(struct pc_misses *misses, struct pc_miss *miss, bool is_private)
{
	pthread_mutex_lock(&misses->lock);
	miss->is_private = is_private;
	link_locked(misses, miss);
	pthread_mutex_unlock(&misses->lock);
}

struct pc_miss *pc_misses_join(struct pc_misses *misses, struct pc_miss *miss, uint64_t off)
{
	struct pc_miss *other;

	pthread_mutex_lock(&misses->lock);
	other = find_locked(misses, off);
	if (other == NULL) {
		link_locked(misses, miss);
	} else {
		other->users++;
		while (!other->is_done)
			pthread_cond_wait(&misses->done, &misses->lock);
	}
	pthread_mutex_unlock(&misses->lock);
	return other;
}

void pc_misses_finish(struct pc_misses *misses, struct pc_miss *miss, int result)
{
	pthread_mutex_lock(&misses->lock);
	miss->result = result;
	miss->is_done = true;
	pthread_cond_broadcast(&misses->done);
	pthread_mutex_unlock(&misses->lock);
}

static void unlink_locked(struct pc_misses *misses, const struct pc_miss *miss)
{
	struct pc_miss **link = &misses->first;

	while (*link != miss)
		link = &(*link)->next;
	*link = miss->next;
	atomic_fetch_sub_explicit(&misses->count, 1, memory_order_relaxed);
}

void pc_misses_leave(struct pc_misses *misses, struct pc_miss *miss, bool owner)
{
	bool is_last;

	pthread_mutex_lock(&misses->lock);
	if (owner)
		unlink_locked(misses, miss);
	is_last = --miss->users == 0;
	pthread_mutex_unlock(&misses->lock);
	if (is_last)
		pc_miss_delete(miss);
}

void pc_misses_supersede(struct pc_misses *misses, uint64_t off, uint64_t len)
{
	/*
	 * A miss that this range matters to was put in the list before the write was published that is now leaving the
	 * index: whoever got here has seen that write, and with it the count.
	 */
	if (pc_unlikely(atomic_load_explicit(&misses->count, memory_order_relaxed) != 0))
		pc_misses_make_stale(misses, off, len);
}

void pc_misses_make_stale(struct pc_misses *misses, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&misses->lock);
	for (struct pc_miss *miss = misses->first; miss != NULL; miss = miss->next)
		if (miss->off < off + len && off < miss->off + miss->len)
			atomic_store_explicit(&miss->stale, true, memory_order_relaxed);
	pthread_mutex_unlock(&misses->lock);
}
