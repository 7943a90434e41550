/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.c - messages to the user's callback, formatted on the stack.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

#define MESSAGE_BYTES 512

static void emit(const struct pc_log *log, enum pcache_log_level level, const char *format, va_list args)
{
	char message[MESSAGE_BYTES];

	vsnprintf(message, sizeof(message), format, args);
	log->fn(level, message, log->arg);
}

void pc_log(const struct pc_log *log, enum pcache_log_level level, const char *format, ...)
{
	va_list args;

	if (log == NULL || log->fn == NULL)
		return;
	va_start(args, format);
	emit(log, level, format, args);
	va_end(args);
}

int pc_fail(const struct pc_log *log, int error, const char *format, ...)
{
	va_list args;

	if (log == NULL || log->fn == NULL)
		return error;
	va_start(args, format);
	emit(log, PCACHE_LOG_ERROR, format, args);
	va_end(args);
	return error;
}
