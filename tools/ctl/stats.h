/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.h - every figure of struct pcache_stats, by name: for tables and for Prometheus.
 */
#ifndef CTL_STATS_H
#define CTL_STATS_H

#include "table.h"

struct ctl_figure {
	const char *name;
	size_t off; /* of a uint64_t in struct pcache_stats */
	enum ctl_type type;
	bool is_counter; /* only grows while a cache is open */
	const char *help;
};

extern const struct ctl_figure ctl_figures[];
extern const size_t ctl_figure_count;

uint64_t ctl_figure_value(const struct pcache_stats *stats, const struct ctl_figure *figure);

/* By enum pcache_latency. */
extern const char *const ctl_latency_names[PCACHE_LATENCIES];

const char *ctl_state_name(uint32_t state);

/* The page of statistics; CTL_OK, or an exit status after a message. */
int ctl_peek(const char *path, struct pcache_stats *ret_stats, struct pcache_peek *ret_peek);

/* prometheus.c */
int ctl_print_prometheus(const char *path, const struct pcache_stats *stats, const struct pcache_peek *peek);

#endif
