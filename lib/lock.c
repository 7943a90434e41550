/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.c - the slow half of the four-byte lock.
 */
#include "lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 100

static void futex(struct pc_lock *lock, int operation, uint32_t value)
{
	syscall(SYS_futex, &lock->state, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

/* False: a sleeper is there before us. */
static bool spin(struct pc_lock *lock)
{
	for (int i = 0; i < SPINS; i++) {
		if (pc_lock_try(lock))
			return true;
		if ((atomic_load_explicit(&lock->state, memory_order_relaxed) & PC_LOCK_WAITED) != 0)
			return false;
		relax();
	}
	return false;
}

/* Who has slept may not be the last sleeper, so the lock is taken as one that somebody waits for. */
void pc_lock_wait(struct pc_lock *lock)
{
	const uint32_t both = PC_LOCK_HELD | PC_LOCK_WAITED;

	if (spin(lock))
		return;
	for (;;) {
		uint32_t state = atomic_load_explicit(&lock->state, memory_order_relaxed);

		if (!atomic_compare_exchange_weak_explicit(&lock->state, &state, state | both, memory_order_acquire,
							    memory_order_relaxed))
			continue;
		if ((state & PC_LOCK_HELD) == 0)
			return;
		futex(lock, FUTEX_WAIT, state | both);
	}
}

void pc_lock_wake(struct pc_lock *lock)
{
	futex(lock, FUTEX_WAKE, 1);
}
