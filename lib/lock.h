/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - a four-byte lock for the index, which has one per bucket: a short spin, then sleep in the kernel.
 *
 * States: 0 free, 1 held, 2 held and somebody may sleep (Drepper, "Futexes are tricky", 2011, mutex 2).
 * Sleeping matters: with more threads than processors the holder may have been preempted.
 */
#ifndef PC_LOCK_H
#define PC_LOCK_H

#include "util.h"

#include <stdatomic.h>

struct pc_lock {
	_Atomic uint32_t state;
};

void pc_lock_wait(struct pc_lock *lock);
void pc_lock_wake(struct pc_lock *lock);

static inline void pc_lock_acquire(struct pc_lock *lock)
{
	uint32_t free_state = 0;

	if (pc_unlikely(!atomic_compare_exchange_strong_explicit(&lock->state, &free_state, 1, memory_order_acquire,
								  memory_order_relaxed)))
		pc_lock_wait(lock);
}

static inline void pc_lock_release(struct pc_lock *lock)
{
	if (pc_unlikely(atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2))
		pc_lock_wake(lock);
}

#endif
