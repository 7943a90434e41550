/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * retire.h - memory that readers without a lock may still be looking at is freed when none of them can be.
 *
 * Quiescence with asymmetric barriers, as in userspace RCU (Desnoyers et al., "User-Level Implementations of Read-Copy
 * Update", IEEE TPDS 2012): a reader says when it comes and goes by plain stores to a cell of its own, and the barrier
 * that these would need is made for it by membarrier(2), once for many blocks of memory.
 *
 * (RT1) Before memory is retired nobody can find it any more. Behind the barrier that follows, a reader has either said
 *       that it is inside, or finds what is there now.
 * (RT2) A block is freed when every reader that was inside at the barrier has left. A reader that is stopped inside holds
 *       up the freeing, and nothing else.
 */
#ifndef PC_RETIRE_H
#define PC_RETIRE_H

#include "lock.h"
#include "slot.h"

#include <stdatomic.h>

struct pc_reader {
	_Alignas(2 * PC_CACHE_LINE) _Atomic uint64_t steps; /* odd: inside; stored by the owner of the slot only */
};

extern struct pc_reader pc_readers[PC_SLOTS];

/* The first word of the memory, once it is retired. */
struct pc_retired {
	struct pc_retired *next;
};

struct pc_retirement {
	struct pc_lock lock; /* guards what follows */
	uint32_t count;             /* of `fresh` */
	struct pc_retired *fresh;   /* since the last barrier */
	struct pc_retired *waiting; /* before it */
	uint64_t inside[PC_SLOTS];  /* steps of who was inside at the barrier; 0: nobody */
};

/* Does the kernel do its part? If not, nobody may enter. */
bool pc_retire_works(void);

/* From malloc(); nobody can find it any more (RT1). */
void pc_retire(struct pc_retirement *retirement, void *memory);

/* Nobody is inside. */
void pc_retire_all(struct pc_retirement *retirement);

/* False: the thread has no cell of its own. No waiting, and no other enter, before the leave. */
static inline bool pc_reader_enter(void)
{
	unsigned slot = pc_slot();
	_Atomic uint64_t *steps = &pc_readers[slot].steps;

	if (pc_unlikely(slot == PC_SLOT_SHARED))
		return false;
	atomic_store_explicit(steps, atomic_load_explicit(steps, memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst); /* order: the processor's part is membarrier's (RT1) */
	return true;
}

static inline void pc_reader_leave(void)
{
	_Atomic uint64_t *steps = &pc_readers[pc_slot()].steps;

	atomic_store_explicit(steps, atomic_load_explicit(steps, memory_order_relaxed) + 1, memory_order_release);
}

#endif
