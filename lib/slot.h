/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slot.h - a small number that no other thread has, so that a thread can own cells of arrays and store there without a
 * locked instruction: one of those waits for everything that the thread has stored, and holds up all that it loads next.
 *
 * (SL1) A slot belongs to one thread at a time, which gives it back when it ends; the next owner sees what this one has
 *       stored. Threads that come when none is left share PC_SLOT_SHARED, which has no owner.
 */
#ifndef PC_SLOT_H
#define PC_SLOT_H

#include "util.h"

#define PC_SLOTS       64u
#define PC_SLOT_SHARED (PC_SLOTS - 1)

/* Static TLS: no call to find it. 0: the thread has not asked yet. */
extern _Thread_local unsigned pc_slot_plus_one __attribute__((tls_model("initial-exec")));

unsigned pc_slot_take(void);

/* The calling thread's, always the same. */
static inline unsigned pc_slot(void)
{
	unsigned plus_one = pc_slot_plus_one;

	return pc_likely(plus_one != 0) ? plus_one - 1 : pc_slot_take();
}

#endif
