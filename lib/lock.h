/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - a four-byte lock for the index, which has one per bucket: a short spin, then sleep in the kernel. With a
 * version, so that readers can look without it and see afterwards whether somebody had it meanwhile.
 *
 * The word: version (30 bits), somebody may sleep, held. After Drepper, "Futexes are tricky", 2011, mutex 2; the version
 * as in a sequence lock (Lameter, "Effective synchronization on Linux/NUMA systems", 2005).
 * Sleeping matters: with more threads than processors the holder may have been preempted.
 */
#ifndef PC_LOCK_H
#define PC_LOCK_H

#include "util.h"

#include <stdatomic.h>

#define PC_LOCK_HELD    1u
#define PC_LOCK_WAITED  2u
#define PC_LOCK_VERSION 4u /* one */

struct pc_lock {
	_Atomic uint32_t state;
};

void pc_lock_wait(struct pc_lock *lock);
void pc_lock_wake(struct pc_lock *lock);

/* Never waits. */
static inline bool pc_lock_try(struct pc_lock *lock)
{
	uint32_t state = atomic_load_explicit(&lock->state, memory_order_relaxed);

	return (state & PC_LOCK_HELD) == 0 &&
	       atomic_compare_exchange_strong_explicit(&lock->state, &state, state | PC_LOCK_HELD, memory_order_acquire,
						       memory_order_relaxed);
}

static inline void pc_lock_acquire(struct pc_lock *lock)
{
	if (pc_unlikely(!pc_lock_try(lock)))
		pc_lock_wait(lock);
	atomic_thread_fence(memory_order_release); /* order: who sees what is stored from here on sees that it is held */
}

static inline void pc_lock_release(struct pc_lock *lock)
{
	uint32_t state = atomic_load_explicit(&lock->state, memory_order_relaxed); /* only WAITED may still be set */
	uint32_t next = (state & ~(PC_LOCK_HELD | PC_LOCK_WAITED)) + PC_LOCK_VERSION;

	if (pc_unlikely((atomic_exchange_explicit(&lock->state, next, memory_order_release) & PC_LOCK_WAITED) != 0))
		pc_lock_wake(lock);
}

/* Before a look without the lock. Odd: somebody has it, no use to look. */
static inline uint32_t pc_lock_version(const struct pc_lock *lock)
{
	return atomic_load_explicit(&lock->state, memory_order_acquire);
}

/* True: nobody has had the lock since pc_lock_version(), so what was loaded in between belongs together. */
static inline bool pc_lock_is_still(const struct pc_lock *lock, uint32_t version)
{
	atomic_thread_fence(memory_order_acquire); /* order: the looks before this */
	return atomic_load_explicit(&lock->state, memory_order_relaxed) == version;
}

#endif
