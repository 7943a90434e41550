/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * histogram.c - log-linear buckets, as HdrHistogram has them: each power of two is cut into eight equal steps.
 *
 *   value    0 1 2 3 4 5 6 7   8 9 .. 15   16,17 18,19 .. 30,31   32-35 ..        up to 2^41 ns, 36 minutes
 *   bucket   0 1 2 3 4 5 6 7   8 9 .. 15   16    17    .. 23      24    ..        311
 *
 * (HG1) A bucket is at most an eighth as wide as its values are high, so a percentile is too high by an eighth at most.
 * (HG2) Adding is two or three relaxed atomic additions, no lock: whoever reads meanwhile gets figures of which each is
 *       right, and the count is the sum of the buckets that he read.
 */
#include "histogram.h"

#include <string.h>

#define STEP_BITS 3u
#define STEPS     (1u << STEP_BITS)
#define POWER_MAX 40u

static_assert(PCACHE_HISTOGRAM_BUCKETS == (POWER_MAX - STEP_BITS + 2) * STEPS, "buckets up to POWER_MAX");

unsigned pc_histogram_bucket(uint64_t ns)
{
	unsigned power;

	if (ns < STEPS)
		return (unsigned)ns;
	power = 63u - (unsigned)__builtin_clzll(ns);
	if (power > POWER_MAX)
		return PCACHE_HISTOGRAM_BUCKETS - 1;
	return (power - STEP_BITS + 1) * STEPS + ((unsigned)(ns >> (power - STEP_BITS)) & (STEPS - 1));
}

uint64_t pc_histogram_bound(unsigned bucket)
{
	uint64_t step = bucket % STEPS;

	if (bucket < STEPS)
		return bucket;
	if (bucket >= PCACHE_HISTOGRAM_BUCKETS - 1)
		return UINT64_MAX;
	return ((STEPS + step + 1) << (bucket / STEPS - 1)) - 1;
}

void pc_histogram_add(struct pc_histogram *histogram, uint64_t ns)
{
	uint64_t max = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);

	atomic_fetch_add_explicit(&histogram->buckets[pc_histogram_bucket(ns)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&histogram->sum_ns, ns, memory_order_relaxed);
	while (ns > max && !atomic_compare_exchange_weak_explicit(&histogram->max_ns, &max, ns, memory_order_relaxed,
								   memory_order_relaxed))
		;
}

void pc_histogram_copy(const struct pc_histogram *histogram, struct pcache_histogram *ret_copy)
{
	ret_copy->count = 0;
	for (unsigned i = 0; i < PCACHE_HISTOGRAM_BUCKETS; i++) {
		ret_copy->buckets[i] = atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
		ret_copy->count += ret_copy->buckets[i];
	}
	ret_copy->sum_ns = atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed);
	ret_copy->max_ns = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
}

uint64_t pc_histogram_percentile(const struct pcache_histogram *histogram, double percent)
{
	double wanted = (double)histogram->count * percent / 100;
	uint64_t seen = 0;

	for (unsigned i = 0; i < PCACHE_HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen > 0 && (double)seen >= wanted)
			return pc_min64(pc_histogram_bound(i), histogram->max_ns);
	}
	return histogram->max_ns;
}
