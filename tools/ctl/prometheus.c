/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * prometheus.c - figures in the text format that Prometheus reads, with base units: bytes and seconds.
 */
#include "stats.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_label(const char *path)
{
	fputs("{cache=\"", stdout);
	for (; *path != '\0'; path++) {
		if (*path == '\\' || *path == '"')
			putchar('\\');
		if (*path == '\n')
			fputs("\\n", stdout);
		else
			putchar(*path);
	}
	putchar('"');
}

static void print_value(enum ctl_type type, uint64_t value)
{
	if (type == CTL_TYPE_NS)
		printf("} %" PRIu64 ".%09" PRIu64 "\n", value / 1000000000u, value % 1000000000u);
	else
		printf("} %" PRIu64 "\n", value);
}

/* stall_ns becomes stall_seconds, stall_max_ns stall_max_seconds. */
static void name_of(const struct ctl_figure *figure, char *name, size_t room)
{
	size_t len = strlen(figure->name) - (figure->type == CTL_TYPE_NS ? strlen("_ns") : 0);

	snprintf(name, room, "pcache_%.*s%s%s", (int)len, figure->name, figure->type == CTL_TYPE_NS ? "_seconds" : "",
		 figure->is_counter ? "_total" : "");
}

static void print_figure(const char *path, const char *name, const char *kind, const char *help, enum ctl_type type,
			 uint64_t value)
{
	printf("# HELP %s %c%s.\n# TYPE %s %s\n%s", name, toupper((unsigned char)help[0]), help + 1, name, kind, name);
	print_label(path);
	print_value(type, value);
}

static void print_quantile(const char *path, const char *call, const char *quantile, uint64_t ns)
{
	fputs("pcache_latency_seconds", stdout);
	print_label(path);
	printf(",call=\"%s\",quantile=\"%s\"", call, quantile);
	print_value(CTL_TYPE_NS, ns);
}

static void print_times(const char *path, const struct pcache_peek *peek)
{
	puts("# HELP pcache_latency_seconds Time of calls; those that end fast are sampled.\n"
	     "# TYPE pcache_latency_seconds summary");
	for (unsigned i = 0; i < PCACHE_LATENCIES; i++) {
		const struct pcache_times *times = &peek->times[i];

		print_quantile(path, ctl_latency_names[i], "0.5", times->p50_ns);
		print_quantile(path, ctl_latency_names[i], "0.99", times->p99_ns);
		print_quantile(path, ctl_latency_names[i], "0.999", times->p999_ns);
		fputs("pcache_latency_seconds_sum", stdout);
		print_label(path);
		printf(",call=\"%s\"", ctl_latency_names[i]);
		print_value(CTL_TYPE_NS, times->sum_ns);
		fputs("pcache_latency_seconds_count", stdout);
		print_label(path);
		printf(",call=\"%s\"", ctl_latency_names[i]);
		print_value(CTL_TYPE_COUNT, times->count);
	}
}

int ctl_print_prometheus(const char *path, const struct pcache_stats *stats, const struct pcache_peek *peek)
{
	print_figure(path, "pcache_up", "gauge", "a process has the cache open", CTL_TYPE_COUNT, peek->is_open);
	print_figure(path, "pcache_state", "gauge", "0 ok, 1 degraded, 2 read-only, 3 failed", CTL_TYPE_COUNT, stats->state);
	print_figure(path, "pcache_age_seconds", "gauge", "age of these figures", CTL_TYPE_NS, peek->age_ns);
	for (size_t i = 0; i < ctl_figure_count; i++) {
		const struct ctl_figure *figure = &ctl_figures[i];
		char name[80];

		name_of(figure, name, sizeof(name));
		print_figure(path, name, figure->is_counter ? "counter" : "gauge", figure->help, figure->type,
			     ctl_figure_value(stats, figure));
	}
	print_times(path, peek);
	if (fflush(stdout) != 0 || ferror(stdout))
		return ctl_fail(CTL_FAILED, "stdout: %s", strerror(errno));
	return CTL_OK;
}
