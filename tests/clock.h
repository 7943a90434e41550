/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clock.h - for test programs that run for so many seconds. Time ends them; it never decides what they say.
 */
#ifndef PC_TEST_CLOCK_H
#define PC_TEST_CLOCK_H

#include <time.h>

static inline double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif
