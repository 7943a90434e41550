/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.c - sharded counters, and which calls are timed.
 */
#include "stats.h"

_Thread_local struct pc_thread_stats pc_thread_stats;

/* Half to one and a half of PC_SAMPLE_CALLS until the next one, evenly. */
uint64_t pc_stats_begin_sample(void)
{
	uint32_t random = pc_thread_stats.random + pc_slot() + 1;

	/* xorshift (Marsaglia, 2003): a few instructions, and nobody needs better numbers here. */
	random ^= random << 13;
	random ^= random >> 17;
	random ^= random << 5;
	pc_thread_stats.random = random;
	pc_thread_stats.calls_until_sample = PC_SAMPLE_CALLS / 2 + (random >> 8) % (PC_SAMPLE_CALLS + 1);
	return pc_now_ns();
}

uint64_t pc_stats_sum(const struct pc_stats *stats, enum pc_counter counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PC_SLOTS; i++)
		sum += atomic_load_explicit(&stats->shards[i].counters[counter], memory_order_relaxed);
	return sum;
}
