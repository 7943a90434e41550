/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sweep.c - from the first point to the last, and TAP.
 */
#include "sweep.h"

#include "options.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_MAX     5u
#define POINT_SECONDS 240u
#define POINTS_MAX    100000u /* a workload without an end is a failure, too */

void sweep_fail(struct sweep *sweep, const char *what, int64_t value)
{
	if (sweep->failed++ < SHOWN_MAX)
		printf("# FAILURE: %s, point %" PRIu64 "%s: %s (%" PRId64 ")\n", sweep->name, sweep->point,
		       sweep->sticky ? " and all after it" : "", what, value);
}

/* Every nth point, where the scale of the test suite (percent) is below 100. */
static uint64_t thinned(void)
{
	double scale = test_scale();

	return scale <= 0.0 || scale >= 1.0 ? 1 : (uint64_t)(1.0 / scale);
}

/* ---- what hangs ---- */

static char hang_message[160];

static void on_alarm(int signal)
{
	ssize_t ret = write(STDOUT_FILENO, hang_message, strlen(hang_message));

	(void)signal;
	(void)ret;
	_exit(1);
}

/* A generous ceiling for one point. */
static void watch(const struct sweep *sweep)
{
	snprintf(hang_message, sizeof(hang_message), "not ok %u - %s\n# FAILURE: point %" PRIu64 "%s hangs\n",
		 sweep->cases + 1, sweep->name, sweep->point, sweep->sticky ? " and all after it" : "");
	signal(SIGALRM, on_alarm);
	alarm(POINT_SECONDS);
}

static void sweep_once(struct sweep *sweep, sweep_run_fn run, void *arg)
{
	uint64_t stride = thinned() * (sweep->sticky && sweep->sticky_stride != 0 ? sweep->sticky_stride : 1);
	uint64_t failed = sweep->failed;
	uint64_t points = 0;
	bool reached = true;

	for (sweep->point = 1; reached; sweep->point += stride) {
		fflush(stdout);
		watch(sweep);
		reached = run(sweep, arg);
		points += reached;
		if (sweep->point >= POINTS_MAX) {
			sweep_fail(sweep, "no end of points", 0);
			break;
		}
	}
	alarm(0);
	sweep->points += points;
	if (points == 0)
		sweep_fail(sweep, "nothing can fail", 0);
	printf("%s %u - %s_%s_loses_nothing\n", sweep->failed == failed ? "ok" : "not ok", ++sweep->cases, sweep->name,
	       sweep->sticky ? "fails_for_ever" : "fails_once");
	printf("# %" PRIu64 " points\n", points);
	fflush(stdout);
}

void sweep_single(struct sweep *sweep, const char *name, sweep_run_fn run, void *arg)
{
	sweep->name = name;
	sweep->sticky = false;
	sweep_once(sweep, run, arg);
}

void sweep_all(struct sweep *sweep, const char *name, sweep_run_fn run, void *arg)
{
	sweep_single(sweep, name, run, arg);
	sweep->sticky = true;
	sweep_once(sweep, run, arg);
}

int sweep_end(struct sweep *sweep)
{
	printf("1..%u\n# points %" PRIu64 ", failed %" PRIu64 "\n", sweep->cases, sweep->points, sweep->failed);
	return sweep->failed == 0 ? 0 : 1;
}
