/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_backing_happens.c - what a test lets happen to the simulated backing: hooks, faults, order, stalls.
 */
#include "sim_backing.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void sim_backing_set_hook(struct sim_backing *sim, sim_sync_fn hook, void *arg)
{
	sim->hook = hook;
	sim->hook_arg = arg;
}

void sim_backing_set_submit_hook(struct sim_backing *sim, void (*hook)(void *arg))
{
	sim->submit_hook = hook;
}

void sim_backing_inject(struct sim_backing *sim, enum sim_backing_fault fault, uint64_t nth, int error, bool sticky)
{
	SIM_BACKING_HOLD(sim);

	assert(fault < SIM_BACKING_FAULTS && error <= 0);
	sim->faults[fault] = (struct sim_fault){ .left = nth, .error = error < 0 ? error : -EIO, .sticky = sticky };
}

void sim_backing_heal(struct sim_backing *sim)
{
	SIM_BACKING_HOLD(sim);

	memset(sim->faults, 0, sizeof(sim->faults));
}

void sim_backing_shuffle(struct sim_backing *sim, uint64_t seed)
{
	SIM_BACKING_HOLD(sim);

	sim->random_state = seed;
}

void sim_backing_stall(struct sim_backing *sim, bool stalled)
{
	SIM_BACKING_HOLD(sim);

	sim->stalled = stalled;
	pthread_cond_broadcast(&sim->wake);
}

unsigned sim_backing_waiting(struct sim_backing *sim)
{
	SIM_BACKING_HOLD(sim);

	return sim->stalled ? sim->waiting : 0;
}
