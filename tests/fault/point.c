/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * point.c - whose turn it is to fail.
 */
#include "point.h"

#include <stdatomic.h>

static _Atomic uint64_t countdown;
static _Atomic bool is_sticky;
static _Atomic bool has_failed;
static _Thread_local bool is_held;

void point_arm(uint64_t nth, bool sticky)
{
	has_failed = false;
	is_sticky = sticky;
	countdown = nth;
}

bool point_fails(void)
{
	uint64_t left = countdown;

	if (is_held)
		return false;
	while (left > 1 && !atomic_compare_exchange_weak(&countdown, &left, left - 1))
		;
	if (left != 1 || (!is_sticky && !atomic_compare_exchange_strong(&countdown, &left, 0)))
		return false;
	has_failed = true;
	return true;
}

bool point_has_failed(void)
{
	return has_failed;
}

void point_hold(bool held)
{
	is_held = held;
}
