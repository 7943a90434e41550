/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * retire.c - two lists: `fresh` grows until a barrier is worth its time, then it waits for the readers of that moment.
 */
#include "retire.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BARRIER_COUNT 64u

struct pc_reader pc_readers[PC_SLOTS];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool works;

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

static void ask_kernel(void)
{
	works = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

bool pc_retire_works(void)
{
	pthread_once(&once, ask_kernel);
	return works;
}

static void free_list(struct pc_retired *list)
{
	while (list != NULL) {
		struct pc_retired *next = list->next;

		free(list);
		list = next;
	}
}

/* (RT2) */
static bool have_left(const struct pc_retirement *retirement)
{
	for (unsigned slot = 0; slot < PC_SLOT_SHARED; slot++)
		if (retirement->inside[slot] != 0 &&
		    atomic_load_explicit(&pc_readers[slot].steps, memory_order_acquire) == retirement->inside[slot])
			return false;
	return true;
}

/* (RT1) A barrier that fails proves nothing: all stays as it is. */
static void begin_waiting(struct pc_retirement *retirement)
{
	if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)
		return;
	for (unsigned slot = 0; slot < PC_SLOT_SHARED; slot++) {
		uint64_t steps = atomic_load_explicit(&pc_readers[slot].steps, memory_order_acquire);

		retirement->inside[slot] = steps % 2 != 0 ? steps : 0;
	}
	retirement->waiting = retirement->fresh;
	retirement->fresh = NULL;
	retirement->count = 0;
}

static void step(struct pc_retirement *retirement)
{
	if (retirement->waiting != NULL && have_left(retirement)) {
		free_list(retirement->waiting);
		retirement->waiting = NULL;
	}
	if (retirement->waiting == NULL)
		begin_waiting(retirement);
}

void pc_retire(struct pc_retirement *retirement, void *memory)
{
	struct pc_retired *retired = memory;

	pc_lock_acquire(&retirement->lock);
	*(struct pc_retired *volatile *)&retired->next = retirement->fresh;
	retirement->fresh = retired;
	if (++retirement->count % BARRIER_COUNT == 0)
		step(retirement);
	pc_lock_release(&retirement->lock);
}

void pc_retire_all(struct pc_retirement *retirement)
{
	free_list(retirement->fresh);
	free_list(retirement->waiting);
	retirement->fresh = NULL;
	retirement->waiting = NULL;
	retirement->count = 0;
}
