/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * health.c - the states of a cache and their changes; no clock, no lock, no callback of its own.
 */
#include "health.h"

#include <string.h>

#define RETRY_MIN_MS 20u
#define RETRY_MAX_MS 1000u

void pc_health_init(struct pc_health *health, enum pcache_state state)
{
	*health = (struct pc_health){ .state = state };
}

/* (U2) */
void pc_health_note_attempt(struct pc_health *health, int error, bool is_backings, uint64_t now_ns)
{
	health->attempts++;
	health->is_stalled = false;
	if (error == 0) {
		health->error = 0;
		health->retry_ms = 0;
		return;
	}
	if (health->error == 0)
		health->failing_since_ns = now_ns;
	health->failures++;
	health->error = error;
	health->is_backings = is_backings;
	health->retry_ms = (uint32_t)pc_max64(RETRY_MIN_MS, pc_min64(2ull * health->retry_ms, RETRY_MAX_MS));
}

/* (U1) */
static bool may_change(const struct pc_health *health, enum pcache_state state)
{
	unsigned kept = state == PCACHE_STATE_FAILED ? 0 : 1;

	if (health->state == state || health->state == PCACHE_STATE_FAILED || health->state == PCACHE_STATE_READ_ONLY)
		return false;
	return health->change_count + kept < PC_HEALTH_CHANGES;
}

void pc_health_set(struct pc_health *health, enum pcache_state state, int reason)
{
	if (!may_change(health, state))
		return;
	health->changes[health->change_count++] = (struct pc_change){ health->state, state, reason };
	health->state = state;
}

bool pc_health_take(struct pc_health *health, struct pc_change *ret_change)
{
	if (health->change_count == 0)
		return false;
	*ret_change = health->changes[0];
	health->change_count--;
	memmove(&health->changes[0], &health->changes[1], health->change_count * sizeof(health->changes[0]));
	return true;
}

const char *pc_health_name(enum pcache_state state)
{
	static const char *const names[] = {
		[PCACHE_STATE_OK] = "ok",
		[PCACHE_STATE_DEGRADED] = "degraded",
		[PCACHE_STATE_READ_ONLY] = "read-only",
		[PCACHE_STATE_FAILED] = "failed",
	};

	return names[state];
}
