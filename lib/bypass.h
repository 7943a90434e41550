/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bypass.h - what was written to the backing past the cache and is not synced there yet, and the syncs of the backing,
 * which several callers share.
 */
#ifndef PC_BYPASS_H
#define PC_BYPASS_H

#include "util.h"

#include <pthread.h>
#include <stdatomic.h>

#define PC_BYPASS_RANGES 64u

struct pc_bypass_range {
	uint64_t off;
	uint64_t end;
	uint64_t written_at; /* syncs that had begun then */
};

struct pc_bypass {
	_Atomic uint32_t count; /* ranges; with `is_lost` the hint that a flush has work here */
	_Atomic bool is_lost;   /* a sync failed over ranges: a flush has to say so */

	pthread_mutex_t lock; /* guards what follows, and changes of the above */
	pthread_cond_t done;

	struct pc_bypass_range ranges[PC_BYPASS_RANGES];
	uint64_t syncs_begun;
	uint64_t syncs_ended;
	uint64_t syncs_failed;
	int last_error; /* of the one that failed last */
	bool is_running;
};

void pc_bypass_init(struct pc_bypass *bypass);
void pc_bypass_destroy(struct pc_bypass *bypass);

/* The range was written, or may have been; with the failed syncs as they were before that (BY4). */
void pc_bypass_add(struct pc_bypass *bypass, uint64_t off, uint64_t len, uint64_t failures_before);

/* May bytes of the range be lost by a power cut? Also true for some ranges that were not written. */
bool pc_bypass_has(struct pc_bypass *bypass, uint64_t off, uint64_t len);

/* Anything for a flush? What the caller wrote himself he sees. */
static inline bool pc_bypass_is_pending(const struct pc_bypass *bypass)
{
	return atomic_load_explicit(&bypass->count, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&bypass->is_lost, memory_order_relaxed);
}

/* A failed sync was not reported to whoever wrote: true once. */
bool pc_bypass_take_loss(struct pc_bypass *bypass);

/* How many syncs have failed so far. */
uint64_t pc_bypass_failures(struct pc_bypass *bypass);

/*
 * One sync that begins after this call, for the caller and for everybody else who comes before it begins. `sync` is
 * called without the lock. failures_before: as they were before what the sync is for was written. 0, or the error of this
 * sync or of one that failed since (BY3).
 */
int pc_bypass_sync(struct pc_bypass *bypass, uint64_t failures_before, int (*sync)(void *arg), void *arg);

#endif
