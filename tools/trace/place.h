/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * place.h - a directory for one replay, and the processes that run in it.
 */
#ifndef PCACHE_TRACE_PLACE_H
#define PCACHE_TRACE_PLACE_H

#include <limits.h>
#include <signal.h>
#include <stdint.h>

struct trace_place {
	char dir[PATH_MAX];
	char cache[PATH_MAX];
	char backing[PATH_MAX];
	sigset_t signals; /* as they were before */
};

/*
 * The directory and in it a sparse backing. From here on SIGHUP, SIGINT and SIGTERM wait until trace_place_run() takes
 * them, or the place is removed. TRACE_OK or TRACE_FAILED.
 */
int trace_place_create(const char *parent, uint64_t backing_bytes, struct trace_place *place);
void trace_place_remove(struct trace_place *place);

/*
 * Call run(arg) in a process of its own, which ends with what it returns, and wait for it. TRACE_OK: see *ret_wait, as
 * of waitpid(); TRACE_FAILED; TRACE_SIGNAL and more: a signal came, and the process was killed.
 */
int trace_place_run(int (*run)(void *arg), void *arg, int *ret_wait);

#endif
