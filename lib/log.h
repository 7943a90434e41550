/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.h - messages to the user's callback. Never called with a lock held.
 */
#ifndef PC_LOG_H
#define PC_LOG_H

#include "pcache.h"

struct pc_log {
	pcache_log_fn fn; /* may be NULL */
	void *arg;
};

void pc_log(const struct pc_log *log, enum pcache_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Log an error and return `error`, so that a refusal is one statement. */
int pc_fail(const struct pc_log *log, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
