/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-mutants: the crash explorer against a library with planted bugs.
 *
 * Goal: the explorer finds every mutant of the catalogue, and does not complain about a variant that breaks no promise.
 *
 * Method: each one runs in a process of its own, as a mutant may crash, stop at an assertion or hang. Seeds are tried
 * in order. A mutant ends with the first seed that fails, a variant after so many states. The limit of a mutant is a
 * number of seeds, not a time: the outcome is the same on every machine.
 */
#include "clock.h"
#include "crash/explorer.h"
#include "mutants.h"
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 64u

/* A process that has checked no new state in so much time hangs. One state takes about a millisecond. */
#define HANG_CPU_SECONDS  5
#define HANG_WALL_SECONDS 180

enum child_status {
	CHILD_CLEAN = 0,
	CHILD_FOUND = 40, /* the explorer reported a failure */
	CHILD_HUNG = 41,
};

struct arguments {
	const char *only;    /* this one; NULL: all */
	uint64_t first_seed;
	uint64_t seeds;      /* of a mutant, before it counts as not caught */
	uint64_t states;     /* of a variant */
	double seconds;      /* 0: no limit */
	unsigned jobs;
	bool list;
	bool tap;
};

enum phase {
	PHASE_LEFT_OUT,
	PHASE_WAITING,
	PHASE_RUNNING,
	PHASE_ENDED,
};

struct job {
	enum phase phase;
	pid_t pid;
	int log_fd;
	int status;                     /* of wait() */
	struct explorer_counts *counts; /* shared with the child: they survive it */
};

static const char usage[] =
	"usage: pcache-mutants [--mutant NAME] [--seeds N] [--states N] [--seconds S] [--seed N] [--jobs N]\n"
	"                      [--list] [--tap]\n"
	"Runs the crash explorer against planted bugs, which it must find, and harmless variants, which it must not.\n"
	"  --mutant NAME  this one only\n"
	"  --seeds N      a mutant is not caught when so many seeds found nothing (default 10000)\n"
	"  --states N     crash states that a variant must pass (default 10000)\n"
	"  --seconds S    no new seed after so much time on one of them (default: no limit)\n"
	"  --seed N       first seed (default 1)\n"
	"  --jobs N       so many at a time (default 2)\n"
	"  --list         names and what they break\n";

/* ---- in the child ---- */

void pc_mutant_pause(void)
{
	explorer_pause();
}

static const struct explorer_counts *watched;

static void on_tick(int signal)
{
	static uint64_t states_before[2] = { UINT64_MAX, UINT64_MAX };
	uint64_t *before = &states_before[signal == SIGPROF];

	if (watched->states == *before)
		_exit(CHILD_HUNG);
	*before = watched->states;
}

static void start_watchdog(const struct explorer_counts *counts)
{
	const struct itimerval cpu = { .it_interval.tv_sec = HANG_CPU_SECONDS, .it_value.tv_sec = HANG_CPU_SECONDS };
	const struct itimerval wall = { .it_interval.tv_sec = HANG_WALL_SECONDS, .it_value.tv_sec = HANG_WALL_SECONDS };
	const struct sigaction action = { .sa_handler = on_tick, .sa_flags = SA_RESTART };

	watched = counts;
	sigaction(SIGPROF, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_PROF, &cpu, NULL);
	setitimer(ITIMER_REAL, &wall, NULL);
}

/* As a mask for the explorer. */
static unsigned modes_of(const struct mutant *mutant)
{
	unsigned modes = 0;

	for (const char *word = mutant->modes; *word != '\0'; word += strspn(word, " ")) {
		size_t len = strcspn(word, " ");
		unsigned mode = 0;

		while (mode < CRASH_MODES &&
		       (strlen(crash_mode_names[mode]) != len || strncmp(crash_mode_names[mode], word, len) != 0))
			mode++;
		if (mode == CRASH_MODES) {
			fprintf(stderr, "pcache-mutants: %s: unknown mode: %s\n", mutant->name, word);
			exit(2);
		}
		modes |= 1u << mode;
		word += len;
	}
	return modes;
}

static enum child_status explore(const struct arguments *arguments, const struct mutant *mutant,
				 struct explorer_counts *counts)
{
	const struct explorer_options options = {
		.states_per_point = 6,
		.only_point = UINT64_MAX,
		.modes = modes_of(mutant),
	};
	double start = now_seconds();

	for (uint64_t i = 0; mutant->is_harmless ? counts->states < arguments->states : i < arguments->seeds; i++) {
		if (!explorer_run(arguments->first_seed + mutant->seed - 1 + i, &options, counts))
			return CHILD_FOUND;
		if (arguments->seconds > 0 && now_seconds() - start > arguments->seconds)
			break;
	}
	return CHILD_CLEAN;
}

static _Noreturn void be_child(const struct arguments *arguments, unsigned number, const struct job *job)
{
	enum child_status status;

	dup2(job->log_fd, STDOUT_FILENO);
	dup2(job->log_fd, STDERR_FILENO);
	pc_mutant = (int)number + 1;
	start_watchdog(job->counts);
	status = explore(arguments, &mutants[number], job->counts);
	fflush(stdout);
	_exit(status);
}

/* ---- jobs ---- */

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "pcache-mutants: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void start_job(const struct arguments *arguments, unsigned number, struct job *job)
{
	job->log_fd = memfd_create("log", 0);
	must(job->log_fd >= 0, "memfd_create");
	fflush(stdout);
	job->pid = fork();
	must(job->pid >= 0, "fork");
	if (job->pid == 0)
		be_child(arguments, number, job);
	job->phase = PHASE_RUNNING;
}

/* Wait until one of them ends. */
static void reap_job(struct job *jobs)
{
	int status;
	pid_t pid = wait(&status);

	must(pid >= 0, "wait");
	for (unsigned i = 0; i < mutant_count; i++) {
		if (jobs[i].phase != PHASE_RUNNING || jobs[i].pid != pid)
			continue;
		jobs[i].phase = PHASE_ENDED;
		jobs[i].status = status;
	}
}

/* ---- what came out ---- */

/* The line of the log that says why, without its line end: the explorer's, else that of an assertion or a sanitizer. */
static void find_reason(int log_fd, char *ret_text, size_t text_bytes)
{
	static const char *const signs[] = { "FAILURE ", "Assertion", "ERROR: ", "runtime error: " };
	char log[8192];
	ssize_t count = pread(log_fd, log, sizeof(log) - 1, 0);

	*ret_text = '\0';
	log[count > 0 ? count : 0] = '\0';
	for (unsigned i = 0; i < sizeof(signs) / sizeof(signs[0]) && *ret_text == '\0'; i++) {
		const char *line = strstr(log, signs[i]);

		if (line != NULL)
			snprintf(ret_text, text_bytes, "%.*s", (int)strcspn(line, "\n"), line);
	}
}

static void describe(const struct job *job, char *ret_text, size_t text_bytes)
{
	if (WIFEXITED(job->status) && WEXITSTATUS(job->status) == CHILD_HUNG) {
		snprintf(ret_text, text_bytes, "it hangs");
		return;
	}
	find_reason(job->log_fd, ret_text, text_bytes);
	if (*ret_text == '\0' && WIFSIGNALED(job->status))
		snprintf(ret_text, text_bytes, "signal %d, %s", WTERMSIG(job->status),
			 strsignal(WTERMSIG(job->status)));
	else if (*ret_text == '\0')
		snprintf(ret_text, text_bytes, "exit status %d", WEXITSTATUS(job->status));
}

/* True: as it should be. */
static bool report(const struct arguments *arguments, unsigned number, unsigned test, const struct job *job)
{
	const struct mutant *mutant = &mutants[number];
	bool is_clean = WIFEXITED(job->status) && WEXITSTATUS(job->status) == CHILD_CLEAN;
	bool good = is_clean == mutant->is_harmless;
	char reason[400];

	if (arguments->tap)
		printf("%s %u - ", good ? "ok" : "not ok", test);
	if (is_clean) {
		printf("%-36s %s after %" PRIu64 " states\n", mutant->name, good ? "clean" : "NOT CAUGHT",
		       job->counts->states);
	} else {
		describe(job, reason, sizeof(reason));
		printf("%-36s %s after %" PRIu64 " states (%s)\n", mutant->name, good ? "caught" : "NOT CLEAN",
		       job->counts->states, reason);
	}
	if (!good)
		printf("%s    %s: %s\n", arguments->tap ? "#" : "", mutant->is_harmless ? "differs" : "breaks",
		       mutant->what);
	fflush(stdout);
	return good;
}

struct totals {
	unsigned mutants;
	unsigned caught;
	unsigned variants;
	unsigned clean;
};

static void add_up(struct totals *totals, const struct mutant *mutant, bool good)
{
	totals->variants += mutant->is_harmless;
	totals->clean += mutant->is_harmless && good;
	totals->mutants += !mutant->is_harmless;
	totals->caught += !mutant->is_harmless && good;
}

/* As many at a time as asked for; reported in the order of the catalogue. */
static struct totals run_all(const struct arguments *arguments, struct job *jobs)
{
	struct totals totals = { 0 };
	unsigned next = 0;
	unsigned reported = 0;
	unsigned running = 0;
	unsigned tests = 0;

	while (reported < mutant_count) {
		for (; next < mutant_count && running < arguments->jobs; next++) {
			if (jobs[next].phase != PHASE_WAITING)
				continue;
			start_job(arguments, next, &jobs[next]);
			running++;
		}
		if (running > 0) {
			reap_job(jobs);
			running--;
		}
		for (; reported < mutant_count; reported++) {
			struct job *job = &jobs[reported];

			if (job->phase == PHASE_LEFT_OUT)
				continue;
			if (job->phase != PHASE_ENDED)
				break;
			add_up(&totals, &mutants[reported], report(arguments, reported, ++tests, job));
			close(job->log_fd);
		}
	}
	return totals;
}

static unsigned choose_jobs(const struct arguments *arguments, struct job *jobs)
{
	struct explorer_counts *counts = mmap(NULL, mutant_count * sizeof(*counts), PROT_READ | PROT_WRITE,
					      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned chosen = 0;

	must(counts != MAP_FAILED, "mmap");
	for (unsigned i = 0; i < mutant_count; i++) {
		(void)modes_of(&mutants[i]); /* a mistake ends the program here, not a child that then looks caught */
		jobs[i].counts = &counts[i];
		if (arguments->only != NULL && strcmp(arguments->only, mutants[i].name) != 0)
			continue;
		jobs[i].phase = PHASE_WAITING;
		chosen++;
	}
	return chosen;
}

/* ---- command line ---- */

static bool parse(int argc, char **argv, struct arguments *arguments)
{
	const struct test_option options[] = {
		{ "mutant", .text = &arguments->only },        { "seeds", .number = &arguments->seeds },
		{ "states", .number = &arguments->states },    { "seconds", .seconds = &arguments->seconds },
		{ "seed", .number = &arguments->first_seed },  { "jobs", .small = &arguments->jobs },
		{ "list", .flag = &arguments->list },          { "tap", .flag = &arguments->tap },
		{ .name = NULL },
	};

	return test_options(argc, argv, options, NULL) && optind == argc && arguments->jobs >= 1 &&
	       arguments->jobs <= JOBS_MAX;
}

static int list(void)
{
	for (unsigned i = 0; i < mutant_count; i++)
		printf("%-8s %-36s %s\n", mutants[i].is_harmless ? "variant" : "mutant", mutants[i].name,
		       mutants[i].what);
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .first_seed = 1, .seeds = 10000, .states = 10000, .jobs = 2 };
	struct job *jobs = calloc(mutant_count, sizeof(*jobs));
	struct totals totals;
	unsigned chosen;

	if (jobs == NULL || !parse(argc, argv, &arguments)) {
		fputs(usage, stderr);
		return 2;
	}
	if (arguments.list)
		return list();
	chosen = choose_jobs(&arguments, jobs);
	if (chosen == 0) {
		fprintf(stderr, "pcache-mutants: there is no %s\n", arguments.only);
		return 2;
	}
	if (arguments.tap) {
		arguments.states = test_scaled(arguments.states); /* a mutant gets all its seeds */
		printf("1..%u\n", chosen);
	}
	totals = run_all(&arguments, jobs);
	printf("%smutants %u, caught %u; variants %u, clean %u\n", arguments.tap ? "# " : "", totals.mutants,
	       totals.caught, totals.variants, totals.clean);
	free(jobs);
	return totals.caught == totals.mutants && totals.clean == totals.variants ? 0 : 1;
}
