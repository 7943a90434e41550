/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.h - counters that cost the hot paths next to nothing: each thread adds to a shard of its own, and of its calls a
 * few are chosen to be timed.
 *
 * (ST1) The owner of a slot adds with a load and a store. Threads that share the last slot add with locked instructions.
 */
#ifndef PC_STATS_H
#define PC_STATS_H

#include "slot.h"
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
	PC_COUNT_SCRUBBED_BYTES,
	PC_COUNT_READ_MISSES,
	PC_COUNT_BACKING_READ_BYTES,
	PC_COUNT_BACKING_READ_ERRORS,
	PC_COUNT_LOG_DATA_BYTES,  /* of closed segments of WRITE */
	PC_COUNT_LOG_KEY_BYTES,
	PC_COUNT_LOG_FILL_BYTES,  /* data and keys of closed segments of FILL; of HOT */
	PC_COUNT_LOG_HOT_BYTES,
	PC_COUNT_AROUND_BYTES,
	PC_COUNT_ZERO_BYTES,
	PC_COUNT_DISCARD_BYTES,
	PC_COUNT_WRITEBACK_ZERO_BYTES,
	PC_COUNTERS,
};


struct pc_stat_shard {
	_Alignas(2 * PC_CACHE_LINE) _Atomic uint64_t counters[PC_COUNTERS];
};

struct pc_stats {
	struct pc_stat_shard shards[PC_SLOTS];
};

/* One call in so many is timed, on average. Not every so manieth: calls that take turns would never be seen. */
#define PC_SAMPLE_CALLS 64u

/* What a thread has of its own. */
struct pc_thread_stats {
	unsigned calls_until_sample; /* 0: the next one is the first */
	uint32_t random;
};

/* Static TLS: no call to find it. */
extern _Thread_local struct pc_thread_stats pc_thread_stats __attribute__((tls_model("initial-exec")));

uint64_t pc_stats_begin_sample(void);

/* When a call begins: the time, if it is one that is timed; else 0. The first call of a thread is one. */
static inline uint64_t pc_stats_sample(void)
{
	if (pc_likely(pc_thread_stats.calls_until_sample > 1)) {
		pc_thread_stats.calls_until_sample--;
		return 0;
	}
	return pc_stats_begin_sample();
}

static inline void pc_stats_add(struct pc_stats *stats, enum pc_counter counter, uint64_t value)
{
	unsigned slot = pc_slot();
	_Atomic uint64_t *sum = &stats->shards[slot].counters[counter];

	if (pc_unlikely(slot == PC_SLOT_SHARED))
		atomic_fetch_add_explicit(sum, value, memory_order_relaxed);
	else /* (ST1) */
		atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + value, memory_order_relaxed);
}

uint64_t pc_stats_sum(const struct pc_stats *stats, enum pc_counter counter);

#endif
