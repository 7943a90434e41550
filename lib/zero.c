/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zero.c - zeroes and discards: ranges that are written without a byte of data.
 *
 * A range becomes keys of up to 64 KiB, and as many of them one key set as pc_plan_empty_max() allows. So 64 MiB of the
 * backing take 96 KiB of log in a cache with segments of 16 MiB, and 1 TiB takes 1.5 GiB. A longer range is a row of key
 * sets, each of which waits for space as a write does.
 */
#include "cache.h"

#include <errno.h>

/* A range that begins in the middle of a key touches one more. */
uint64_t pc_zero_atomic_max(const struct pcache *cache)
{
	return (uint64_t)(pc_plan_empty_max(cache) - 1) * PCM_KEY_MAX_BYTES;
}

/* Where the key set that begins at `off` ends. */
static uint64_t piece_end(const struct pcache *cache, uint64_t off, uint64_t end)
{
	uint64_t most = (uint64_t)pc_plan_empty_max(cache) * PCM_KEY_MAX_BYTES;
	uint64_t start = pc_align_down(off, PCM_KEY_MAX_BYTES);

	return end - start <= most ? end : start + most;
}

static int zero_pieces(struct pcache *cache, struct pc_write_plan *plan, uint16_t flag, uint64_t len, uint64_t off,
		       bool nowait, uint64_t *ret_done)
{
	uint64_t end = off + len;
	uint64_t at = off;
	int ret = 0;

	while (at < end && ret == 0) {
		uint64_t next = piece_end(cache, at, end);

		plan->count = 0;
		plan->units = 0;
		pc_plan_add_empty(plan, flag, next - at, at);
		ret = pc_io_write_plan(cache, plan, nowait);
		at = ret == 0 ? next : at;
	}
	*ret_done = at - off;
	return ret;
}

int pc_zero_range(struct pcache *cache, uint16_t flag, uint64_t len, uint64_t off, unsigned flags)
{
	bool nowait = (flags & PCACHE_NOWAIT) != 0;
	struct pc_write_plan plan;
	uint64_t done;
	int ret = pc_io_begin_write(cache, 0, flags);

	if (ret < 0)
		return ret;
	if (nowait && len > pc_zero_atomic_max(cache))
		return -E2BIG;
	ret = pc_plan_new(pc_min64(pc_plan_keys(off, len), pc_plan_empty_max(cache)), &plan);
	if (ret < 0)
		return ret;
	ret = zero_pieces(cache, &plan, flag, len, off, nowait, &done);
	pc_plan_free(&plan);
	pc_stats_add(cache->stats, flag == PCM_KEY_ZERO ? PC_COUNT_ZERO_BYTES : PC_COUNT_DISCARD_BYTES, done);
	if (ret < 0) {
		pc_cache_report_failure(cache);
		return ret;
	}
	return pc_io_finish_write(cache, flags);
}
