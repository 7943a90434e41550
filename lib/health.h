/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * health.h - the state of an open cache, its changes that nobody was told yet, and when a failed backing is tried again.
 *
 *          +--------------------+
 *          v                    |
 *   OK --------> DEGRADED ------+        a good attempt of write-back
 *    |              |
 *    +------+-------+
 *           v
 *        FAILED (final)                  READ_ONLY: from open to close
 *
 * (U1) Every change is told once, in order: changes wait in a row. While the row is full the state does not change; one
 *      place in it is kept for FAILED.
 * (U2) A backing that fails is tried again after 20 ms, then after twice the time before, up to 1 s, for ever. A good
 *      attempt begins the schedule anew.
 *
 * Whoever has the struct locks it.
 */
#ifndef PC_HEALTH_H
#define PC_HEALTH_H

#include "pcache.h"
#include "util.h"

#define PC_HEALTH_CHANGES 8u

struct pc_change {
	enum pcache_state from;
	enum pcache_state to;
	int reason; /* negative errno; 0 for OK */
};

struct pc_health {
	enum pcache_state state;
	struct pc_change changes[PC_HEALTH_CHANGES]; /* not told yet, oldest first */
	unsigned change_count;
	bool is_telling;         /* somebody is about to tell them, all of them */
	int error;               /* of the last attempt; 0 when it went well */
	bool is_backings;        /* that error is one of the backing: waiting may help */
	uint64_t attempts;       /* that ended, well or not */
	uint64_t failures;       /* of them that failed: `error` is as old as the last one */
	uint64_t failing_since_ns; /* the first failure since the last good attempt */
	uint32_t retry_ms;       /* until the next attempt, after a failure */
	bool is_stalled;         /* the backing does not answer, and did not since `stall_mark` */
	uint64_t stall_mark;
};

void pc_health_init(struct pc_health *health, enum pcache_state state);

/* An attempt ended with `error` (0: well). What the state ought to be is said by pc_health_set(). */
void pc_health_note_attempt(struct pc_health *health, int error, bool is_backings, uint64_t now_ns);

/* The state is to be `state`, if it is not, and if it may change now (U1). */
void pc_health_set(struct pc_health *health, enum pcache_state state, int reason);

/* The oldest change that was not told; it counts as told. False: there is none. */
bool pc_health_take(struct pc_health *health, struct pc_change *ret_change);

const char *pc_health_name(enum pcache_state state);

#endif
