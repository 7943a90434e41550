/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.c - figures of an open cache, or the last ones of a closed one.
 */
#include "stats.h"

#include <string.h>

static const char *source_of(const struct pcache_peek *peek)
{
	if (peek->is_open)
		return "open";
	return peek->is_closed ? "closed" : "killed";
}

static void print_figures(struct ctl_output *output, const char *path, const struct pcache_stats *stats,
			  const struct pcache_peek *peek)
{
	struct ctl_table *out = ctl_record_new("stats");

	ctl_record_text(out, "path", "cache", path);
	ctl_record_text(out, "source", "source", source_of(peek));
	ctl_record_number(out, "pid", "process", CTL_TYPE_COUNT, peek->pid);
	ctl_record_number(out, "age_ns", "age of the figures", CTL_TYPE_NS, peek->age_ns);
	ctl_record_text(out, "state", "state", ctl_state_name(stats->state));
	ctl_record_text(out, "mode", "mode", ctl_mode_name(stats->mode));
	ctl_record_text(out, "granularity", "granularity", ctl_granularity_name(stats->granularity));
	for (size_t i = 0; i < ctl_figure_count; i++)
		ctl_record_number(out, ctl_figures[i].name, ctl_figures[i].help, ctl_figures[i].type,
				  ctl_figure_value(stats, &ctl_figures[i]));
	ctl_output_table(output, out);
}

static void print_times(struct ctl_output *output, const struct pcache_peek *peek)
{
	static const struct ctl_field fields[] = {
		{ "call", "call", CTL_TYPE_TEXT },      { "count", "timed", CTL_TYPE_COUNT },
		{ "sum_ns", "sum", CTL_TYPE_NS },       { "p50_ns", "median", CTL_TYPE_NS },
		{ "p99_ns", "99%", CTL_TYPE_NS },       { "p999_ns", "99.9%", CTL_TYPE_NS },
		{ "max_ns", "longest", CTL_TYPE_NS },
	};
	struct ctl_table *out = ctl_table_new("latencies", fields, CTL_ARRAY_SIZE(fields));

	for (unsigned i = 0; i < PCACHE_LATENCIES; i++) {
		const struct pcache_times *times = &peek->times[i];

		ctl_table_text(out, ctl_latency_names[i]);
		ctl_table_number(out, times->count);
		ctl_table_number(out, times->sum_ns);
		ctl_table_number(out, times->p50_ns);
		ctl_table_number(out, times->p99_ns);
		ctl_table_number(out, times->p999_ns);
		ctl_table_number(out, times->max_ns);
	}
	ctl_output_table(output, out);
}

int ctl_stats(const struct ctl_command *command, int argc, char **argv)
{
	struct ctl_form_options form = { 0 };
	const char *format = NULL;
	const struct ctl_option options[] = {
		{ "format", CTL_TEXT, &format, "FORMAT", "text (default), json, raw or prometheus" },
		CTL_FORM_OPTIONS(&form),
	};
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);
	struct ctl_output output;
	struct pcache_stats stats;
	struct pcache_peek peek;

	if (status != CTL_GO)
		return status;
	if (format != NULL && strcmp(format, "text") != 0 && strcmp(format, "json") != 0 && strcmp(format, "raw") != 0 &&
	    strcmp(format, "prometheus") != 0)
		return ctl_fail(CTL_USAGE, "stats: --format %s: there are text, json, raw and prometheus", format);
	status = ctl_peek(argv[optind], &stats, &peek);
	if (status != CTL_OK)
		return status;
	if (format != NULL && strcmp(format, "prometheus") == 0)
		return ctl_print_prometheus(argv[optind], &stats, &peek);
	form.json |= format != NULL && strcmp(format, "json") == 0;
	form.raw |= format != NULL && strcmp(format, "raw") == 0;
	ctl_output_begin(&output, &form, command->name);
	print_figures(&output, argv[optind], &stats, &peek);
	print_times(&output, &peek);
	return ctl_output_end(&output, CTL_OK);
}
