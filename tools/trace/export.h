/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * export.h - traces to files, as parse.h reads them.
 */
#ifndef PCACHE_TRACE_EXPORT_H
#define PCACHE_TRACE_EXPORT_H

#include "trace.h"

#include <stdio.h>

/* Requests are a thousandth of a second apart. -EIO. */
int trace_export_csv(const struct trace *trace, FILE *out);

/* -EINVAL: a write, or a request of several blocks, which the format cannot say; -ENOMEM; -EIO. */
int trace_export_oracle(const struct trace *trace, FILE *out);

#endif
