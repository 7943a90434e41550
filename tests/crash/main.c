/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-crash: the command line of the crash explorer. TAP with --tap, for the test suite.
 */
#include "clock.h"
#include "explorer.h"
#include "options.h"

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX         256u
#define MINIMISE_RUNS    400u
#define SEED_MAX_SECONDS 300u /* a seed takes less than one; more is a hang */

struct arguments {
	double seconds;
	uint64_t first_seed;
	uint64_t seeds;  /* 0: until the time is over, or enough unique states are seen */
	uint64_t unique; /* 0: any number */
	unsigned jobs;
	bool tap;
	bool is_replay;
	struct explorer_options options;
};

static const char usage[] =
	"usage: pcache-crash [OPTIONS]\n"
	"Crashes a simulated machine at every barrier of a random workload and checks what recovery makes of it.\n"
	"  --seconds S   stop after the seed that is running then (default 10)\n"
	"  --seed N      first seed (default 1)\n"
	"  --seeds COUNT run so many seeds instead, whatever time it takes\n"
	"  --unique N    run until so many different states were checked instead\n"
	"  --states N    power cuts per point (default 4)\n"
	"  --mode M      only such states: power, kill, kill-power, nested, media-fault, media-lost, create, close,\n"
	"                drain, change; may be given several times\n"
	"  --jobs N      so many processes, each with seeds of its own\n"
	"  --replay ID   one seed again; of the crash states only the one named\n"
	"  --tap         report as a test\n";

/* ---- arguments ---- */

static bool take_mode(const char *text, void *arg)
{
	struct arguments *arguments = arg;

	if (strcmp(text, "all") == 0)
		return true;
	for (unsigned mode = 0; mode < CRASH_MODES; mode++) {
		if (strcmp(text, crash_mode_names[mode]) != 0)
			continue;
		arguments->options.modes |= 1u << mode;
		return true;
	}
	return false;
}

static bool take_replay(const char *text, void *arg)
{
	struct arguments *arguments = arg;
	struct explorer_id id;

	if (!explorer_parse_id(text, &id))
		return false;
	arguments->first_seed = id.seed;
	arguments->seeds = 1;
	arguments->is_replay = true;
	arguments->options.only_point = id.point;
	arguments->options.only_state = id.state;
	arguments->options.keep_operations = id.operations;
	arguments->options.small_geometry = id.geometry;
	arguments->options.keep_lines = id.lines;
	return true;
}

static bool parse(int argc, char **argv, struct arguments *arguments)
{
	const struct test_option options[] = {
		{ "seconds", .seconds = &arguments->seconds }, { "seed", .number = &arguments->first_seed },
		{ "seeds", .number = &arguments->seeds },      { "unique", .number = &arguments->unique },
		{ "states", .small = &arguments->options.states_per_point },
		{ "mode", .take = take_mode },                 { "jobs", .small = &arguments->jobs },
		{ "replay", .take = take_replay },             { "tap", .flag = &arguments->tap },
		{ .name = NULL },
	};

	return test_options(argc, argv, options, arguments) && optind == argc && arguments->jobs > 0 &&
	       arguments->jobs <= JOBS_MAX;
}

/* ---- signals ---- */

static const char *append_number(char *end, uint64_t number)
{
	*--end = '\0';
	do {
		*--end = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return end;
}

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

/* Nothing but write() in here: whatever was broken, the state has its name. */
static void on_signal(int number)
{
	char digits[32];
	const uint64_t parts[] = { explorer_now.seed, explorer_now.point, explorer_now.state };

	say("FAILURE ");
	for (unsigned i = 0; i < 3; i++) {
		say(append_number(digits + sizeof(digits), parts[i]));
		say(i < 2 ? ":" : ": signal ");
	}
	say(append_number(digits + sizeof(digits), (uint64_t)number));
	say(number == SIGALRM ? ": a seed that does not end\n" : "\n");
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_signals(void)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };
	const struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_NODEFER };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

/* ---- seeds ---- */

static void report_smallest(const struct arguments *arguments, struct explorer_failure *failure)
{
	char id[96];

	explorer_minimise(&arguments->options, MINIMISE_RUNS, failure);
	explorer_print_id(&failure->id, id, sizeof(id));
	printf("smallest: pcache-crash --replay %s", id);
	for (unsigned mode = 0; mode < CRASH_MODES; mode++)
		if ((arguments->options.modes >> mode & 1) != 0)
			printf(" --mode %s", crash_mode_names[mode]);
	printf("\n          %s: %s\n", crash_mode_names[failure->mode], failure->what);
}

static bool is_over(const struct arguments *arguments, const struct explorer_counts *counts, uint64_t done, double end)
{
	if (arguments->seeds != 0)
		return done >= arguments->seeds;
	if (arguments->unique != 0)
		return counts->unique >= arguments->unique;
	return now_seconds() >= end;
}

/* Every jobs-th seed. Only the first failure is made smaller: the others are often the same one. */
static void run_seeds(const struct arguments *arguments, unsigned job, struct explorer_counts *counts)
{
	double end = now_seconds() + arguments->seconds;

	for (uint64_t i = job; !is_over(arguments, counts, i, end); i += arguments->jobs) {
		struct explorer_failure failure;
		struct explorer_options options = arguments->options;

		options.ret_failure = &failure;
		alarm(SEED_MAX_SECONDS);
		if (!explorer_run(arguments->first_seed + i, &options, counts) && counts->failures == 1 &&
		    !arguments->is_replay)
			report_smallest(arguments, &failure);
		fflush(stdout);
	}
	alarm(0);
}

static void add_counts(struct explorer_counts *sum, const struct explorer_counts *counts)
{
	sum->seeds += counts->seeds;
	sum->points += counts->points;
	sum->states += counts->states;
	sum->unique += counts->unique;
	sum->drained += counts->drained;
	sum->rounds += counts->rounds;
	sum->failures += counts->failures;
	for (unsigned mode = 0; mode < CRASH_MODES; mode++)
		sum->modes[mode] += counts->modes[mode];
}

/* The counts of the children lie in shared memory; one that did not exit by itself is a failure. */
static void run_jobs(struct arguments *arguments, struct explorer_counts *sum)
{
	size_t bytes = arguments->jobs * sizeof(*sum);
	struct explorer_counts *counts =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	if (counts == MAP_FAILED)
		abort();
	arguments->unique = (arguments->unique + arguments->jobs - 1) / arguments->jobs;
	fflush(stdout);
	for (unsigned job = 0; job < arguments->jobs; job++) {
		pid_t child = fork();

		if (child < 0)
			abort();
		if (child == 0) {
			run_seeds(arguments, job, &counts[job]);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			sum->failures++;
	for (unsigned job = 0; job < arguments->jobs; job++)
		add_counts(sum, &counts[job]);
	munmap(counts, bytes);
}

static void report(const struct arguments *arguments, const struct explorer_counts *counts)
{
	const char *prefix = arguments->tap ? "# " : "";

	if (arguments->tap)
		printf("1..1\n%s 1 - every crash state recovers to what was promised\n",
		       counts->failures == 0 ? "ok" : "not ok");
	printf("%sseeds %" PRIu64 ", points %" PRIu64 ", drained %" PRIu64 ", rounds of writers %" PRIu64 "\n%s",
	       prefix, counts->seeds, counts->points, counts->drained, counts->rounds, prefix);
	for (unsigned mode = 0; mode < CRASH_MODES; mode++)
		printf("%s%s %" PRIu64, mode == 0 ? "" : ", ", crash_mode_names[mode], counts->modes[mode]);
	printf("\n%sstates %" PRIu64 ", unique %" PRIu64 ", nested %" PRIu64 ", kill-power %" PRIu64
	       ", media-fault %" PRIu64 ", failures %" PRIu64 "\n",
	       prefix, counts->states, counts->unique, counts->modes[MODE_NESTED], counts->modes[MODE_KILL_POWER],
	       counts->modes[MODE_MEDIA_FAULT], counts->failures);
}

int main(int argc, char **argv)
{
	struct arguments arguments = {
		.seconds = 10,
		.first_seed = 1,
		.jobs = 1,
		.options = { .states_per_point = 4, .only_point = UINT64_MAX },
	};
	struct explorer_counts counts = { 0 };

	if (!parse(argc, argv, &arguments)) {
		fputs(usage, stderr);
		return 2;
	}
	if (arguments.tap && arguments.seeds > 1)
		arguments.seeds = test_scaled(arguments.seeds);
	/* Caches come and go by the thousand: keep their memory. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	catch_signals();
	if (arguments.jobs == 1)
		run_seeds(&arguments, 0, &counts);
	else
		run_jobs(&arguments, &counts);
	report(&arguments, &counts);
	return counts.failures == 0 ? 0 : 1;
}
