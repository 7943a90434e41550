/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-crash: the command line of the crash explorer. TAP with --tap, for the test suite.
 */
#include "explorer.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct arguments {
	double seconds;
	uint64_t first_seed;
	uint64_t seeds; /* 0: until the time is over */
	bool tap;
	struct explorer_options options;
};

static const char usage[] =
	"usage: pcache-crash [--seconds S] [--seed N] [--seeds COUNT] [--states N] [--replay SEED:POINT:STATE] [--tap]\n"
	"Cuts the power of a simulated machine at every barrier of a random workload and checks what recovery makes of it.\n"
	"  --seconds S   stop after the seed that is running then (default 10)\n"
	"  --seed N      first seed (default 1)\n"
	"  --seeds COUNT run so many seeds instead, whatever time it takes\n"
	"  --states N    crash states per point (default 6)\n"
	"  --replay ID   one seed again; of the crash states only the one named\n";

static double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool parse_replay(const char *text, struct arguments *arguments)
{
	uint64_t seed;
	uint64_t point;
	unsigned state;

	if (sscanf(text, "%" SCNu64 ":%" SCNu64 ":%u", &seed, &point, &state) != 3)
		return false;
	arguments->first_seed = seed;
	arguments->seeds = 1;
	arguments->options.only_point = point;
	arguments->options.only_state = state;
	return true;
}

static bool parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'n' },
		{ "seeds", required_argument, NULL, 'c' },   { "states", required_argument, NULL, 'p' },
		{ "replay", required_argument, NULL, 'r' },  { "tap", no_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			arguments->seconds = atof(optarg);
			break;
		case 'n':
			arguments->first_seed = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			arguments->seeds = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			arguments->options.states_per_point = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			if (!parse_replay(optarg, arguments))
				return false;
			break;
		case 't':
			arguments->tap = true;
			break;
		default:
			return false;
		}
	}
	return optind == argc;
}

/* The scale of the test suite, in percent. */
static double scale(void)
{
	const char *percent = getenv("PC_TEST_SCALE");

	return percent == NULL ? 1.0 : atof(percent) / 100.0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {
		.seconds = 10,
		.first_seed = 1,
		.options = { .states_per_point = 6, .only_point = UINT64_MAX },
	};
	struct explorer_counts counts = { 0 };
	double end;

	if (!parse(argc, argv, &arguments)) {
		fputs(usage, stderr);
		return 2;
	}
	if (arguments.tap && arguments.seeds > 1)
		arguments.seeds = 1 + (uint64_t)((double)(arguments.seeds - 1) * scale());
	end = now_seconds() + arguments.seconds;
	for (uint64_t i = 0; arguments.seeds != 0 ? i < arguments.seeds : now_seconds() < end; i++) {
		explorer_run(arguments.first_seed + i, &arguments.options, &counts);
		fflush(stdout);
	}
	if (arguments.tap)
		printf("1..1\n%s 1 - every crash state recovers to a prefix of the writes\n# ",
		       counts.failures == 0 ? "ok" : "not ok");
	printf("seeds %" PRIu64 ", points %" PRIu64 ", drained %" PRIu64 "\n%s", counts.seeds, counts.points, counts.drained,
	       arguments.tap ? "# " : "");
	printf("states %" PRIu64 ", unique %" PRIu64 ", nested %" PRIu64 ", kill-power %" PRIu64
	       ", media-fault 0, failures %" PRIu64 "\n",
	       counts.states, counts.unique, counts.nested, counts.kill_power, counts.failures);
	return counts.failures == 0 ? 0 : 1;
}
