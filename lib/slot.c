/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slot.c - which thread has which slot (SL1).
 */
#include "slot.h"

#include <pthread.h>
#include <stdatomic.h>

static_assert(PC_SLOT_SHARED < 64, "taken_slots");

static _Atomic uint64_t taken_slots; /* a bit each */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static bool has_key;

_Thread_local unsigned pc_slot_plus_one;

static void give_back(void *plus_one)
{
	unsigned slot = (unsigned)(uintptr_t)plus_one - 1;

	pc_slot_plus_one = 0;
	/* order: the next owner loads what this one has stored */
	atomic_fetch_and_explicit(&taken_slots, ~(1ull << slot), memory_order_release);
}

static void make_key(void)
{
	has_key = pthread_key_create(&at_thread_end, give_back) == 0;
}

/* Threads may outlive the library, where a program unloads it. */
__attribute__((destructor)) static void delete_key(void)
{
	if (has_key)
		pthread_key_delete(at_thread_end);
}

/* PC_SLOT_SHARED: none is left, or nobody would give it back. */
static unsigned take_free(void)
{
	uint64_t taken = atomic_load_explicit(&taken_slots, memory_order_relaxed);
	unsigned slot;

	pthread_once(&once, make_key);
	do {
		slot = (unsigned)__builtin_ctzll(~taken);
		if (slot >= PC_SLOT_SHARED || !has_key)
			return PC_SLOT_SHARED;
	} while (!atomic_compare_exchange_weak_explicit(&taken_slots, &taken, taken | 1ull << slot, memory_order_acquire,
							 memory_order_relaxed));
	if (pthread_setspecific(at_thread_end, (void *)(uintptr_t)(slot + 1)) == 0)
		return slot;
	atomic_fetch_and_explicit(&taken_slots, ~(1ull << slot), memory_order_release);
	return PC_SLOT_SHARED;
}

unsigned pc_slot_take(void)
{
	unsigned slot = take_free();

	pc_slot_plus_one = slot + 1;
	return slot;
}
