/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ranges.c - whole ranges in the workload: what the cache says that it has of the volume, and bringing parts in.
 */
#include "crash.h"

#include <string.h>

#define RANGES_MAX 4u

/* ---- query ---- */

/* The state of each cell; of one that has several, all of their bits. False: ranges that do not fit together. */
static bool query_cells(struct explorer *explorer, uint8_t *states)
{
	uint64_t bytes = explorer->volume.bytes;
	size_t room = 1 + (size_t)prng_below(&explorer->prng, RANGES_MAX);
	uint64_t off = 0;

	memset(states, 0, explorer->volume.cells);
	while (off < bytes) {
		struct pcache_range ranges[RANGES_MAX];
		size_t count = pc_range_query(explorer->live->cache, off, bytes - off, ranges, room);

		for (size_t i = 0; i < count; i++) {
			if (ranges[i].off != off || ranges[i].len == 0 || ranges[i].len > bytes - off)
				return false;
			for (uint64_t at = off; at < off + ranges[i].len; at = (at / CELL_BYTES + 1) * CELL_BYTES)
				states[at / CELL_BYTES] |= (uint8_t)ranges[i].state;
			off += ranges[i].len;
		}
		if (count == 0)
			return false;
	}
	return true;
}

/* What is not on the backing is said to be dirty. */
static bool has_dirty(const struct explorer *explorer, const uint8_t *states)
{
	uint64_t tail = world_pos(explorer->live->cache->dirty_tail);

	for (uint32_t cell = 0; cell < explorer->volume.cells; cell++) {
		const struct cell_history *history = &explorer->volume.history[cell];
		uint32_t newest = history->count == 0 ? 0 : history->writes[history->count - 1];

		if (newest != 0 && explorer->volume.writes[newest].pos >= tail &&
		    (states[cell] & PCACHE_RANGE_DIRTY) == 0)
			return false;
	}
	return true;
}

/* What is clean is durable on the backing, the newest version of it. */
static void check_clean(struct explorer *explorer, const uint8_t *states)
{
	const struct volume_question question = {
		.rule = VOLUME_PREFIX,
		.low = explorer->volume.newest,
		.high = UINT64_MAX,
		.unknown = explorer->unknown,
	};

	for (uint32_t cell = 0; cell < explorer->volume.cells; cell++)
		explorer->unknown[cell] = states[cell] != PCACHE_RANGE_CLEAN;
	judge(explorer, "the backing where it is said to be clean", sim_backing_durable(explorer->live->backing),
	      &question);
}

void do_query(struct explorer *explorer)
{
	uint8_t *states = explorer->scratch;

	if (explorer->mode_kind == MODES_AROUND)
		return; /* what went past the cache is neither in it nor durable */
	if (!query_cells(explorer, states))
		fail(explorer, "query", "ranges that leave gaps or do not end");
	else if (!has_dirty(explorer, states))
		fail(explorer, "query", "something that is not on the backing is not said to be dirty");
	else
		check_clean(explorer, states);
}

/* ---- invalidate ---- */

/* What is dirty stays, all else goes; that nothing is lost by it is seen when it is read, now and after a crash. */
void do_invalidate(struct explorer *explorer)
{
	uint64_t off = prng_below(&explorer->prng, explorer->volume.bytes);
	uint64_t len = 1 + prng_below(&explorer->prng, explorer->volume.bytes - off);
	int64_t kept = pc_range_invalidate(explorer->live->cache, off, len);
	uint64_t dirty = 0;

	if (kept < 0) {
		if (!is_expected(explorer, (int)kept))
			fail_errno(explorer, "invalidate", (int)kept);
		return;
	}
	for (uint64_t at = off; at < off + len;) {
		struct pcache_range range;

		(void)pc_range_query(explorer->live->cache, at, off + len - at, &range, 1);
		if ((range.state & PCACHE_RANGE_CLEAN) != 0)
			fail(explorer, "invalidate", "something clean is still there");
		dirty += range.state == PCACHE_RANGE_ABSENT ? 0 : range.len;
		at += range.len;
	}
	if (dirty > (uint64_t)kept)
		fail(explorer, "invalidate", "more has stayed than it says");
}

/* ---- prefetch ---- */

void do_prefetch(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	uint64_t off = prng_below(&explorer->prng, explorer->volume.bytes);
	uint64_t len = 1 + prng_below(&explorer->prng, explorer->volume.bytes - off);
	bool nowait = prng_happens(&explorer->prng, 20);
	int64_t ret;

	if (!pc_miss_is_kept(cache))
		return;
	ret = pc_range_prefetch(cache, off, len, nowait);
	if (ret < 0 && !(nowait && ret == -EAGAIN) && !is_expected(explorer, (int)ret))
		fail_errno(explorer, "prefetch", (int)ret);
	else if (ret > (int64_t)len)
		fail(explorer, "prefetch", "more than was asked for");
}
