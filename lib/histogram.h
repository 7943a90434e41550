/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * histogram.h - how long things took, counted in buckets that grow with what they count.
 */
#ifndef PC_HISTOGRAM_H
#define PC_HISTOGRAM_H

#include "pcache.h"
#include "util.h"

#include <stdatomic.h>

struct pc_histogram {
	_Atomic uint64_t sum_ns;
	_Atomic uint64_t max_ns;
	_Atomic uint64_t buckets[PCACHE_HISTOGRAM_BUCKETS];
};

void pc_histogram_add(struct pc_histogram *histogram, uint64_t ns);

/* Everything but the size. What is added meanwhile is in it or not; its count is that of its buckets. */
void pc_histogram_copy(const struct pc_histogram *histogram, struct pcache_histogram *ret_copy);

/* Where a value is counted, and the highest value that is counted there. */
unsigned pc_histogram_bucket(uint64_t ns);
uint64_t pc_histogram_bound(unsigned bucket);

/* The value that `percent` of all do not exceed, to the end of its bucket; 0: nothing was counted. */
uint64_t pc_histogram_percentile(const struct pcache_histogram *histogram, double percent);

#endif
