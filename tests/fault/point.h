/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * point.h - the count of places that can fail: the nth one does, alone or with all that follow.
 */
#ifndef PC_FAULT_POINT_H
#define PC_FAULT_POINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* nth counts from 1 and from now; 0: none any more. Any thread. */
void point_arm(uint64_t nth, bool sticky);

/* To be asked at each point, with its name, which stays: does it fail? */
bool point_fails(const char *name);

/* The first one that failed since point_arm(); NULL: none. */
const char *point_failed(void);

static inline bool point_has_failed(void)
{
	return point_failed() != NULL;
}

/* While held by this thread, nothing fails: for the test's own use of what can. */
void point_hold(bool held);

/* Allocations of the library that are not freed. */
int64_t point_live_allocations(void);

#endif
