/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_range.c - the public functions for whole ranges of the backing.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "enter.h"

#include <errno.h>

/* What of [off, off + len) is inside the backing. */
static uint64_t inside(const struct pcache *cache, uint64_t off, uint64_t len)
{
	uint64_t size = cache->backing->size_bytes;

	return off >= size ? 0 : pc_min64(len, size - off);
}

ssize_t pcache_query(struct pcache *cache, uint64_t off, uint64_t len, struct pcache_range *ranges, size_t count)
{
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (ranges == NULL || count == 0)
		return pc_fail(&cache->config.log, -EINVAL, "query: no room for a range");
	return (ssize_t)pc_range_query(cache, off, inside(cache, off, len), ranges, pc_min64(count, SSIZE_MAX));
}

int64_t pcache_invalidate(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags)
{
	int ret = pc_enter(cache, flags, 0);

	if (ret < 0)
		return ret;
	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "invalidate: the cache was opened read-only");
	if (pc_cache_is_failed(cache))
		return -EIO;
	len = inside(cache, off, len);
	return len == 0 ? 0 : pc_range_invalidate(cache, off, len);
}

int64_t pcache_prefetch(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags)
{
	int ret = pc_enter(cache, flags, PCACHE_NOWAIT);

	if (ret < 0)
		return ret;
	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "prefetch: the cache was opened read-only");
	if (pc_cache_is_failed(cache))
		return -EIO;
	if (!pc_miss_is_kept(cache))
		return pc_fail(&cache->config.log, -EOPNOTSUPP, "prefetch: misses are never kept, as it is set");
	len = inside(cache, off, len);
	return len == 0 ? 0 : pc_range_prefetch(cache, off, len, (flags & PCACHE_NOWAIT) != 0);
}
