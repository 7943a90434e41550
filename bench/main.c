/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-bench: how many nanoseconds a call takes in the foreground, and how many the memory alone would.
 *
 * Output: one line per case on stdout, a table or (--json) one object each. Everything else goes to stderr.
 * Exit status: 0, 1 when something failed or a write stalled, 2 for a wrong command line.
 */
#include "bench.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES_MAX 64u

struct selection {
	const struct bench_case *cases[CASES_MAX];
	size_t count;
};

int bench_fail(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("pcache-bench: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return error;
}

static void print_help(void)
{
	puts("Usage: pcache-bench [options]\n"
	     "\n"
	     "Times calls of libpcache against the same work on bare memory, in slices that alternate.\n"
	     "\n"
	     "  --case NAME[,NAME...]  only these cases; may be repeated (default: all)\n"
	     "  --threads N            threads that work at once (default 1)\n"
	     "  --seconds S            measured time per case, at most (default 5)\n"
	     "  --cache FILE           cache file (default /dev/shm/pcache-bench.PID); an existing cache is refused\n"
	     "  --cache-size SIZE      size of the cache, K, M or G may follow (default 1G)\n"
	     "  --working-set SIZE     part of the backing that is written and read (default 256M)\n"
	     "  --backing FILE         backing file or device (default /var/tmp/pcache-bench.PID)\n"
	     "  --overwrite-backing    an existing backing may be overwritten\n"
	     "  --json                 one JSON object per line instead of a table\n"
	     "  --list                 name the cases and stop\n"
	     "  --help                 this text\n"
	     "\n"
	     "Files that the bench creates are gone when it ends. A file of the cache's size is created beside the\n"
	     "cache for the floor. On ordinary memory set PMEM2_FORCE_GRANULARITY=CACHE_LINE to measure what\n"
	     "persistent memory would do.\n"
	     "\n"
	     "ns_avg, floor_ns and ratio are medians of 9 pairs; ns is per operation and thread.");
}

static void print_cases(void)
{
	for (size_t i = 0; i < bench_case_count; i++)
		printf("%-16s %s\n", bench_cases[i].name, bench_cases[i].help);
}

static bool parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMG";
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	unsigned shift = 0;

	if (end == text || text[0] == '-')
		return false;
	if (*end != '\0') {
		const char *unit = strchr(units, *end);

		if (unit == NULL || end[1] != '\0')
			return false;
		shift = 10 * ((unsigned)(unit - units) + 1);
	}
	if (value == 0 || value > (UINT64_MAX >> 1 >> shift))
		return false;
	*ret_bytes = (uint64_t)value << shift;
	return true;
}

static bool parse_threads(const char *text, unsigned *ret_count)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end != '\0' || value == 0 || value > BENCH_THREADS_MAX)
		return false;
	*ret_count = (unsigned)value;
	return true;
}

static bool parse_seconds(const char *text, double *ret_seconds)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value > 0) || value > 86400)
		return false;
	*ret_seconds = value;
	return true;
}

static bool parse_cases(const char *text, struct selection *selection)
{
	for (;;) {
		size_t len = strcspn(text, ",");
		const struct bench_case *found = bench_case_find(text, len);

		if (found == NULL || selection->count == CASES_MAX) {
			bench_fail(0, "no case '%.*s'; --list names them", (int)len, text);
			return false;
		}
		selection->cases[selection->count++] = found;
		if (text[len] == '\0')
			return true;
		text += len + 1;
	}
}

enum {
	OPT_CASE = 256,
	OPT_THREADS,
	OPT_SECONDS,
	OPT_CACHE,
	OPT_CACHE_SIZE,
	OPT_WORKING_SET,
	OPT_BACKING,
	OPT_OVERWRITE,
	OPT_JSON,
	OPT_LIST,
	OPT_HELP,
};

static const struct option long_options[] = {
	{ "case", required_argument, NULL, OPT_CASE },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "cache-size", required_argument, NULL, OPT_CACHE_SIZE },
	{ "working-set", required_argument, NULL, OPT_WORKING_SET },
	{ "backing", required_argument, NULL, OPT_BACKING },
	{ "overwrite-backing", no_argument, NULL, OPT_OVERWRITE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "list", no_argument, NULL, OPT_LIST },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

/* False: wrong, and said so unless getopt did. */
static bool take_option(int opt, struct bench_options *options, struct selection *selection)
{
	switch (opt) {
	case OPT_CASE:
		return parse_cases(optarg, selection);
	case OPT_THREADS:
		return parse_threads(optarg, &options->thread_count);
	case OPT_SECONDS:
		return parse_seconds(optarg, &options->seconds);
	case OPT_CACHE:
		options->cache_path = optarg;
		return true;
	case OPT_CACHE_SIZE:
		return parse_size(optarg, &options->cache_bytes);
	case OPT_WORKING_SET:
		return parse_size(optarg, &options->working_set_bytes);
	case OPT_BACKING:
		options->backing_path = optarg;
		return true;
	case OPT_OVERWRITE:
		options->overwrite_backing = true;
		return true;
	case OPT_JSON:
		options->json = true;
		return true;
	case OPT_LIST:
		print_cases();
		exit(0);
	case OPT_HELP:
		print_help();
		exit(0);
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct bench_options *options, struct selection *selection)
{
	int opt;

	*options = (struct bench_options){ .cache_bytes = 1u << 30, .working_set_bytes = 256u << 20, .seconds = 5,
					   .thread_count = 1 };
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (take_option(opt, options, selection))
			continue;
		if (opt != '?' && opt != OPT_CASE)
			bench_fail(0, "bad value '%s'", optarg);
		return false;
	}
	if (optind < argc) {
		bench_fail(0, "unexpected argument '%s'", argv[optind]);
		return false;
	}
	for (size_t i = 0; selection->count == 0 && i < bench_case_count; i++)
		selection->cases[i] = &bench_cases[i];
	if (selection->count == 0)
		selection->count = bench_case_count;
	return true;
}

static const char *granularity_name(enum pcache_granularity granularity)
{
	switch (granularity) {
	case PCACHE_GRANULARITY_BYTE:
		return "byte";
	case PCACHE_GRANULARITY_CACHE_LINE:
		return "cache_line";
	case PCACHE_GRANULARITY_PAGE:
		return "page";
	}
	return "unknown";
}

static void print_result(const struct bench_env *env, const struct bench_result *result)
{
	const char *format = "%-14s %7u %9" PRIu64 " %9.1f %9.0f %9.0f %9.0f %9.1f %6.2f %6" PRIu64 "\n";

	if (env->options.json)
		format = "{\"case\":\"%s\",\"threads\":%u,\"ops\":%" PRIu64 ",\"ns_avg\":%.1f,\"p50_ns\":%.0f,"
			 "\"p99_ns\":%.0f,\"p999_ns\":%.0f,\"floor_ns\":%.1f,\"ratio\":%.3f,\"stalls\":%" PRIu64 ",";
	printf(format, result->name, env->options.thread_count, result->ops, result->ns_avg, result->p50_ns,
	       result->p99_ns, result->p999_ns, result->floor_ns, result->ratio, result->stalls);
	if (env->options.json)
		printf("\"granularity\":\"%s\"}\n", granularity_name(env->granularity));
	fflush(stdout);
}

static void print_heading(const struct bench_env *env)
{
	if (env->options.json)
		return;
	printf("%-14s %7s %9s %9s %9s %9s %9s %9s %6s %6s\n", "case", "threads", "ops", "ns_avg", "p50_ns", "p99_ns",
	       "p999_ns", "floor_ns", "ratio", "stalls");
}

static void print_media(const struct bench_env *env)
{
	bool in_memory = env->options.cache_path == NULL || strncmp(env->options.cache_path, "/dev/shm/", 9) == 0;

	fprintf(stderr, "libpcache %s, granularity %s, %" PRIu64 " segments of %" PRIu64 " KiB\n", pcache_version(),
		granularity_name(env->granularity), env->segments, env->segment_bytes >> 10);
	if (env->granularity == PCACHE_GRANULARITY_PAGE && in_memory)
		fputs("pcache-bench: warning: page granularity on /dev/shm measures system calls;"
		      " set PMEM2_FORCE_GRANULARITY=CACHE_LINE for what persistent memory would do\n", stderr);
}

/* 0, or 1 when the figures do not mean what they should. */
static int check_result(const struct bench_result *result)
{
	if (result->background > 0)
		bench_fail(0, "warning: %s: %" PRIu64 " segments or batches were worked on in the background",
			   result->name, result->background);
	if (result->faults > result->ops / 200)
		bench_fail(0, "warning: %s: %" PRIu64 " page faults", result->name, result->faults);
	if (result->stalls > 0)
		bench_fail(0, "%s: %" PRIu64 " writes waited for space", result->name, result->stalls);
	if (result->miss_bytes > 0)
		bench_fail(0, "%s: %" PRIu64 " bytes were not in the cache", result->name, result->miss_bytes);
	return result->stalls > 0 || result->miss_bytes > 0;
}

int main(int argc, char **argv)
{
	struct selection selection = { .count = 0 };
	struct bench_options options;
	struct bench_env env;
	int failed = 0;
	int ret;

	if (!parse_options(argc, argv, &options, &selection)) {
		fputs("Try 'pcache-bench --help'.\n", stderr);
		return 2;
	}
	ret = bench_env_open(&options, &env);
	if (ret == 0) {
		print_media(&env);
		print_heading(&env);
	}
	for (size_t i = 0; ret == 0 && i < selection.count; i++) {
		struct bench_result result;

		ret = bench_run_case(&env, selection.cases[i], &result);
		if (ret < 0)
			break;
		print_result(&env, &result);
		failed |= check_result(&result);
	}
	if (bench_env_close(&env) < 0 || ret < 0)
		failed = 1;
	return failed;
}
