/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * enter.h - the way into every public function: is the handle good, are the flags known, is there a buffer, is the
 * range one of the backing's. Refusals are explained to the log callback, out of the way of the calls that go on.
 */
#ifndef PC_ENTER_H
#define PC_ENTER_H

#include "cache.h"

#include <errno.h>
#include <limits.h>

int pc_refuse_flags(const struct pcache *cache, unsigned flags);
int pc_refuse_buffer(const struct pcache *cache, const void *buf, size_t len);
int pc_refuse_write(const struct pcache *cache, uint64_t len, uint64_t off);

/* pcache_queue.c: end what is left of them, before the cache is closed. */
void pc_queues_delete(struct pcache *cache);

/* A child of fork() has the memory, but neither the threads nor the map. */
static inline bool pc_is_inherited(const struct pcache *cache)
{
	return *(const volatile uint32_t *)cache->fork_guard == 0;
}

/* -EINVAL, -ENOTRECOVERABLE. */
static inline int pc_enter(const struct pcache *cache, unsigned flags, unsigned known_flags)
{
	if (pc_unlikely(cache == NULL))
		return -EINVAL;
	if (pc_unlikely(pc_is_inherited(cache)))
		return -ENOTRECOVERABLE;
	return pc_likely((flags & ~known_flags) == 0) ? 0 : pc_refuse_flags(cache, flags & ~known_flags);
}

/* -EINVAL. */
static inline int pc_check_buffer(const struct pcache *cache, const void *buf, size_t len)
{
	return pc_likely(buf != NULL && len <= SSIZE_MAX) ? 0 : pc_refuse_buffer(cache, buf, len);
}

/* May bytes [off, off + len) be changed? -EROFS, -ENOSPC. */
static inline int pc_check_write(const struct pcache *cache, uint64_t len, uint64_t off)
{
	uint64_t size = cache->backing->size_bytes;

	return pc_likely(!cache->config.readonly && off <= size && len <= size - off) ? 0 :
											pc_refuse_write(cache, len, off);
}

#endif
