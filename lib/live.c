/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * live.c - an open cache shows its statistics in its file, to other processes (peek.h).
 *
 * (LV1) Nothing is promised: no flush, no sync, an error ends it with a warning, and recovery never looks.
 * (LV2) At most once a second, and only if something changed. A timed call asks for a page; after each page the thread
 *       looks once more a second later, and sleeps for good when nothing has changed since.
 * (LV3) On the reclaim thread, which never waits for the backing: a stalled backing is when somebody looks.
 *
 * Only open, the reclaim thread and close come here, one after the other: no lock.
 */
#include "cache.h"

#include <string.h>
#include <unistd.h>

#define PERIOD_NS 1000000000u

static uint64_t real_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void summarise(const struct pc_histogram *histogram, struct pcache_times *times)
{
	struct pcache_histogram copy;

	pc_histogram_copy(histogram, &copy);
	*times = (struct pcache_times){
		.count = copy.count,
		.sum_ns = copy.sum_ns,
		.max_ns = copy.max_ns,
		.p50_ns = pc_histogram_percentile(&copy, 50),
		.p99_ns = pc_histogram_percentile(&copy, 99),
		.p999_ns = pc_histogram_percentile(&copy, 99.9),
	};
}

/* (LV1) */
static void write_page(struct pcache *cache, const struct pcache_stats *stats, bool closed)
{
	struct pc_peek_page page = {
		.number = ++cache->live.number,
		.written_ns = real_now_ns(),
		.pid = (uint32_t)getpid(),
		.closed = closed,
		.stats = *stats,
	};
	struct pcm_live live;
	int ret;

	for (unsigned i = 0; i < PCACHE_LATENCIES; i++)
		summarise(&cache->latency[i], &page.times[i]);
	pc_peek_encode(&page, cache->identity.uuid, &live);
	ret = pc_media_copy(cache->media, PCM_LIVE_OFF + page.number % 2 * PCM_SLOT_STRIDE, &live, sizeof(live),
			    PC_COPY_CACHED);
	if (ret < 0) {
		cache->live.is_on = false;
		pc_log(&cache->config.log, PCACHE_LOG_WARNING, "statistics are no longer shown in the cache file: %s",
		       pcache_strerror(ret));
	}
	cache->live.shown = *stats;
}

static void look(struct pcache *cache, struct pcache_stats *ret_stats)
{
	*ret_stats = (struct pcache_stats){ .size = sizeof(*ret_stats) };
	pc_cache_look(cache, ret_stats);
}

void pc_live_start(struct pcache *cache)
{
	struct pcache_stats stats;

	for (unsigned slot = 0; slot < 2; slot++) {
		struct pc_peek_page page;
		struct pcm_live live;

		if (pc_media_read(cache->media, &live, PCM_LIVE_OFF + slot * PCM_SLOT_STRIDE, sizeof(live)) == 0 &&
		    pc_peek_decode(&live, cache->identity.uuid, &page))
			cache->live.number = pc_max64(cache->live.number, page.number);
	}
	cache->live.is_on = true;
	look(cache, &stats);
	write_page(cache, &stats, false);
}

uint64_t pc_live_tick(struct pcache *cache, uint64_t now_ns)
{
	struct pcache_stats stats;

	if (!cache->live.is_on || !atomic_load_explicit(&cache->live.asked, memory_order_relaxed))
		return 0;
	if (now_ns < cache->live.next_ns)
		return cache->live.next_ns;
	/* order: before the look, so that what comes after it asks again */
	atomic_store_explicit(&cache->live.asked, false, memory_order_seq_cst);
	look(cache, &stats);
	if (memcmp(&stats, &cache->live.shown, sizeof(stats)) == 0)
		return 0;
	write_page(cache, &stats, false);
	atomic_store_explicit(&cache->live.asked, true, memory_order_relaxed); /* (LV2) */
	cache->live.next_ns = now_ns + PERIOD_NS;
	return cache->live.next_ns;
}

void pc_live_finish(struct pcache *cache)
{
	struct pcache_stats stats;

	if (!cache->live.is_on)
		return;
	look(cache, &stats);
	write_page(cache, &stats, true);
}
