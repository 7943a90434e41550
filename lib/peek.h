/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peek.h - the page of statistics in the cache file: made for whoever looks from outside, believed by nobody inside.
 */
#ifndef PC_PEEK_H
#define PC_PEEK_H

#include "format.h"
#include "pcache.h"

#include <stdbool.h>

/* One page, as it is in memory. */
struct pc_peek_page {
	uint64_t number; /* grows with each page; it goes to slot number % 2 */
	uint64_t written_ns; /* CLOCK_REALTIME */
	uint32_t pid;
	bool closed; /* the last one of an orderly close */
	struct pcache_stats stats;
	struct pcache_times times[PCACHE_LATENCIES];
};

void pc_peek_encode(const struct pc_peek_page *page, const uint8_t uuid[16], struct pcm_live *ret_live);

/* Of a page in private memory. False: torn, of another cache, or none. What it does not have is 0. */
bool pc_peek_decode(const struct pcm_live *live, const uint8_t uuid[16], struct pc_peek_page *ret_page);

#endif
