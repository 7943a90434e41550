/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lost.h - ranges of the backing of which neither it nor the cache has the newest bytes, and sets of such ranges.
 */
#ifndef PC_LOST_H
#define PC_LOST_H

#include "util.h"

#include <pthread.h>
#include <stdatomic.h>

#define PC_LOST_ROOM 512u /* of a set that is being worked on; the media takes fewer */

struct pc_lost_range {
	uint64_t off;
	uint64_t end;
};

/* Sorted, disjoint, with a gap between any two. */
struct pc_lost_set {
	uint32_t count;
	bool is_short; /* something had no room: the set is of no use */
	struct pc_lost_range ranges[PC_LOST_ROOM];
};

void pc_lost_set_add(struct pc_lost_set *set, uint64_t off, uint64_t end);
void pc_lost_set_take(struct pc_lost_set *set, uint64_t off, uint64_t end);
bool pc_lost_set_is_equal(const struct pc_lost_set *a, const struct pc_lost_set *b);

/* What is lost as things are. */
struct pc_lost {
	_Atomic uint32_t count; /* of ranges; nearly always 0, and then nobody needs the lock */
	_Atomic uint64_t times; /* that something was lost since open */

	pthread_mutex_t lock; /* guards what follows */

	struct pc_lost_set set;
};

void pc_lost_init(struct pc_lost *lost);
void pc_lost_destroy(struct pc_lost *lost);

void pc_lost_get(struct pc_lost *lost, struct pc_lost_set *ret_set);
void pc_lost_put(struct pc_lost *lost, const struct pc_lost_set *set);

static inline bool pc_lost_any(const struct pc_lost *lost)
{
	return pc_unlikely(atomic_load_explicit(&lost->count, memory_order_relaxed) != 0);
}

bool pc_lost_search(struct pc_lost *lost, uint64_t off, uint64_t end, struct pc_lost_range *ret_range);

/* The first lost bytes in [off, end); false: none is lost. */
static inline bool pc_lost_find(struct pc_lost *lost, uint64_t off, uint64_t end, struct pc_lost_range *ret_range)
{
	return pc_lost_any(lost) && pc_lost_search(lost, off, end, ret_range);
}

static inline bool pc_lost_has(struct pc_lost *lost, uint64_t off, uint64_t len)
{
	struct pc_lost_range range;

	return pc_lost_find(lost, off, off + len, &range);
}

/* How many bytes of [off, end) are lost. */
uint64_t pc_lost_bytes(struct pc_lost *lost, uint64_t off, uint64_t end);

#endif
