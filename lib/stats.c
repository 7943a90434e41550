/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.c - sharded counters. Threads take shards in turn; two that share one still count right, only slower.
 */
#include "stats.h"

unsigned pc_stats_shard(void)
{
	static _Atomic unsigned next;
	/* One word of static TLS: no call to find it. */
	static _Thread_local unsigned shard __attribute__((tls_model("initial-exec"))) = PC_STAT_SHARDS;

	if (pc_unlikely(shard == PC_STAT_SHARDS))
		shard = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % PC_STAT_SHARDS;
	return shard;
}

uint64_t pc_stats_sum(const struct pc_stats *stats, enum pc_counter counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PC_STAT_SHARDS; i++)
		sum += atomic_load_explicit(&stats->shards[i].counters[counter], memory_order_relaxed);
	return sum;
}
