/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.h - the figures of a replay.
 */
#ifndef PCACHE_TRACE_REPORT_H
#define PCACHE_TRACE_REPORT_H

#include "replay.h"

/* Runs the reference and prints everything. TRACE_OK or TRACE_FAILED. */
int trace_report(const struct trace_job *job);

#endif
