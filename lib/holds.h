/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holds.h - ranges of the backing that somebody holds: until he lets go nobody else writes there, and no miss is kept.
 */
#ifndef PC_HOLDS_H
#define PC_HOLDS_H

#include "util.h"

#include <pthread.h>
#include <stdatomic.h>

/* One range; the memory is its holder's. */
struct pc_hold {
	struct pc_hold *next;
	uint64_t off;
	uint64_t end;
};

struct pc_holds {
	_Atomic uint32_t count; /* of the list; every writer looks at it */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a hold ended, or a writer is done that a holder may wait for */

	struct pc_hold *first;
	uint64_t quiet_seq; /* of the log: writers before this segment are done; the flow's */
};

void pc_holds_init(struct pc_holds *holds);
void pc_holds_destroy(struct pc_holds *holds);

/* Is there any hold at all? Sequentially consistent with pc_holds_begin(): see holds.c. */
static inline bool pc_holds_any(const struct pc_holds *holds)
{
	return atomic_load_explicit(&holds->count, memory_order_seq_cst) != 0;
}

/* Into the list, as soon as no other hold overlaps. */
void pc_holds_begin(struct pc_holds *holds, struct pc_hold *hold);
void pc_holds_end(struct pc_holds *holds, struct pc_hold *hold);

/* Does a hold overlap the range? One that is `own` does not count. */
bool pc_holds_has(struct pc_holds *holds, uint64_t off, uint64_t len, const struct pc_hold *own);

/* Until none does; another one may begin right after. */
void pc_holds_await(struct pc_holds *holds, uint64_t off, uint64_t len);

/* A writer is done: whoever waits for writers looks again. */
void pc_holds_wake(struct pc_holds *holds);

#endif
