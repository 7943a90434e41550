/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.c - sharded counters, and which thread has which shard (T1). A thread gives its shard back when it ends.
 */
#include "stats.h"

#include <pthread.h>

static_assert(PC_STAT_SHARED < 64, "taken_shards");

static _Atomic uint64_t taken_shards; /* a bit each */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static bool has_key;

_Thread_local struct pc_thread_stats pc_thread_stats;

static void give_back(void *shard_plus_one)
{
	unsigned shard = (unsigned)(uintptr_t)shard_plus_one - 1;

	pc_thread_stats.shard_plus_one = 0;
	/* order: the next owner loads the sums that this one has stored */
	atomic_fetch_and_explicit(&taken_shards, ~(1ull << shard), memory_order_release);
}

static void make_key(void)
{
	has_key = pthread_key_create(&at_thread_end, give_back) == 0;
}

/* Threads may outlive the library, where a program unloads it. */
__attribute__((destructor)) static void delete_key(void)
{
	if (has_key)
		pthread_key_delete(at_thread_end);
}

/* PC_STAT_SHARED: none is left, or nobody would give it back. */
static unsigned take_free_shard(void)
{
	uint64_t taken = atomic_load_explicit(&taken_shards, memory_order_relaxed);
	unsigned shard;

	pthread_once(&once, make_key);
	do {
		shard = (unsigned)__builtin_ctzll(~taken);
		if (shard >= PC_STAT_SHARED || !has_key)
			return PC_STAT_SHARED;
	} while (!atomic_compare_exchange_weak_explicit(&taken_shards, &taken, taken | 1ull << shard,
							 memory_order_acquire, memory_order_relaxed));
	if (pthread_setspecific(at_thread_end, (void *)(uintptr_t)(shard + 1)) == 0)
		return shard;
	atomic_fetch_and_explicit(&taken_shards, ~(1ull << shard), memory_order_release);
	return PC_STAT_SHARED;
}

unsigned pc_stats_take_shard(void)
{
	unsigned shard = take_free_shard();

	pc_thread_stats.shard_plus_one = shard + 1;
	pc_thread_stats.random = shard + 1;
	return shard;
}

/* Half to one and a half of PC_SAMPLE_CALLS until the next one, evenly. */
uint64_t pc_stats_begin_sample(void)
{
	uint32_t random = pc_thread_stats.random + pc_stats_shard() + 1;

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

	for (unsigned i = 0; i < PC_STAT_SHARDS; i++)
		sum += atomic_load_explicit(&stats->shards[i].counters[counter], memory_order_relaxed);
	return sum;
}
