/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_stats.c - the public functions that tell what an open cache does: figures, and how long calls took.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "enter.h"

#include <errno.h>
#include <string.h>

int pcache_stats(struct pcache *cache, struct pcache_stats *stats)
{
	struct pcache_stats all = { 0 };
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (stats == NULL || stats->size < offsetof(struct pcache_stats, max_atomic_bytes))
		return -EINVAL;
	all.size = stats->size;
	pc_cache_look(cache, &all);
	memcpy(stats, &all, pc_min64(stats->size, sizeof(all)));
	return 0;
}

/* ---- times ---- */

int pcache_histogram(struct pcache *cache, enum pcache_latency which, struct pcache_histogram *histogram)
{
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (histogram == NULL || histogram->size < sizeof(*histogram) || (unsigned)which >= PCACHE_LATENCIES)
		return -EINVAL;
	pc_histogram_copy(&cache->latency[which], histogram);
	histogram->sample_calls = which == PCACHE_LATENCY_READ_MISS || which == PCACHE_LATENCY_BATCH ? 1 : PC_SAMPLE_CALLS;
	return 0;
}

uint64_t pcache_histogram_percentile(const struct pcache_histogram *histogram, double percent)
{
	if (histogram == NULL || histogram->size < sizeof(*histogram))
		return 0;
	return pc_histogram_percentile(histogram, percent);
}

uint64_t pcache_histogram_bound(unsigned bucket)
{
	return pc_histogram_bound(bucket);
}
