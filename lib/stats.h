/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.h - counters that cost the hot paths next to nothing: each thread adds to a shard of its own.
 */
#ifndef PC_STATS_H
#define PC_STATS_H

#include "util.h"

#include <stdatomic.h>

enum pc_counter {
	PC_COUNT_READS,
	PC_COUNT_READ_BYTES,
	PC_COUNT_READ_MISS_BYTES,
	PC_COUNT_WRITES,
	PC_COUNT_WRITE_BYTES,
	PC_COUNT_FLUSHES,
	PC_COUNT_WRITEBACK_BATCHES,
	PC_COUNT_WRITEBACK_BYTES,
	PC_COUNT_WRITEBACK_IOS,
	PC_COUNT_WRITEBACK_ERRORS,
	PC_COUNT_BACKING_SYNCS,
	PC_COUNT_SEGMENTS_RECLAIMED,
	PC_COUNT_CHECKSUM_ERRORS,
	PC_COUNT_FILL_BYTES,
	PC_COUNT_FILLS_REFUSED,
	PC_COUNT_READ_AHEAD_BYTES,
	PC_COUNT_BYPASSED_BYTES,
	PC_COUNT_SHARED_MISSES,
	PC_COUNT_GHOST_HITS,
	PC_COUNT_MOVED_BYTES,
	PC_COUNT_KILLS,
	PC_COUNT_CLEAN_ERRORS,
	PC_COUNTERS,
};

#define PC_STAT_SHARDS 16u

struct pc_stat_shard {
	_Alignas(2 * PC_CACHE_LINE) _Atomic uint64_t counters[PC_COUNTERS];
};

struct pc_stats {
	struct pc_stat_shard shards[PC_STAT_SHARDS];
};

/* A number of the calling thread that differs from those of its neighbours. */
unsigned pc_stats_shard(void);

static inline void pc_stats_add(struct pc_stats *stats, enum pc_counter counter, uint64_t value)
{
	atomic_fetch_add_explicit(&stats->shards[pc_stats_shard()].counters[counter], value, memory_order_relaxed);
}

uint64_t pc_stats_sum(const struct pc_stats *stats, enum pc_counter counter);

#endif
