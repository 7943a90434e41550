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

void pc_lock_wait(struct pc_lock *lock)
{
	for (int i = 0; i < SPINS; i++) {
		uint32_t state = 0;

		if (atomic_compare_exchange_weak_explicit(&lock->state, &state, 1, memory_order_acquire,
							   memory_order_relaxed))
			return;
		if (state == 2)
			break;
		relax();
	}
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
		futex(lock, FUTEX_WAIT, 2);
}

void pc_lock_wake(struct pc_lock *lock)
{
	futex(lock, FUTEX_WAKE, 1);
}
