/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * point.c - whose turn it is to fail.
 */
#include "point.h"

#include <stdatomic.h>

static _Atomic uint64_t countdown;
static _Atomic bool is_sticky;
static _Atomic(const char *) failed;
static _Thread_local bool is_held;

void point_arm(uint64_t nth, bool sticky)
{
	failed = NULL;
	is_sticky = sticky;
	countdown = nth;
}

bool point_fails(const char *name)
{
	uint64_t left = countdown;
	const char *none = NULL;

	if (is_held)
		return false;
	while (left > 1 && !atomic_compare_exchange_weak(&countdown, &left, left - 1))
		;
	if (left != 1 || (!is_sticky && !atomic_compare_exchange_strong(&countdown, &left, 0)))
		return false;
	atomic_compare_exchange_strong(&failed, &none, name);
	return true;
}

const char *point_failed(void)
{
	return failed;
}

void point_hold(bool held)
{
	is_held = held;
}
