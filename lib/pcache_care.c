/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_care.c - the public functions that look for damage.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "enter.h"

int pcache_scrub(struct pcache *cache, pcache_progress_fn progress, void *arg, uint64_t rate_bytes_per_s, unsigned flags)
{
	int ret = pc_enter(cache, flags, 0);

	return ret < 0 ? ret : pc_scrub(cache, progress, arg, rate_bytes_per_s);
}

ssize_t pcache_damaged(struct pcache *cache, struct pcache_range *ranges, size_t count)
{
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (ranges == NULL || count == 0)
		return pc_fail(&cache->config.log, -EINVAL, "damaged: no room for a range");
	return (ssize_t)pc_damage_list(cache, ranges, pc_min64(count, SSIZE_MAX));
}
