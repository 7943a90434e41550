/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-trace: from the command line to the exit status.
 */
#include "export.h"
#include "options.h"
#include "parse.h"
#include "report.h"
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int parse_trace(const struct trace_options *options, FILE *in, struct trace *trace)
{
	struct trace_parse_error error;
	int ret = trace_options_format(options, options->input) == TRACE_CSV
		? trace_parse_csv(in, options->limit, trace, &error)
		: trace_parse_oracle(in, options->limit, trace, &error);

	if (ret < 0)
		return trace_fail(TRACE_FAILED, "%s: %s", options->input, error.text);
	if (trace->count == 0)
		return trace_fail(TRACE_FAILED, "%s: no requests", options->input);
	return TRACE_OK;
}

static int read_trace(const struct trace_options *options, struct trace *trace)
{
	FILE *in = strcmp(options->input, "-") == 0 ? stdin : fopen(options->input, "rbe");
	int status;

	if (in == NULL)
		return trace_fail(TRACE_FAILED, "%s: %s", options->input, strerror(errno));
	status = parse_trace(options, in, trace);
	if (in != stdin)
		fclose(in);
	return status;
}

static int make_trace(const struct trace_options *options, struct trace *trace)
{
	struct trace_plan plan = options->plan;
	int ret;

	if (plan.requests > options->limit)
		plan.requests = options->limit;
	ret = trace_generate(&plan, trace);
	return ret < 0 ? trace_fail(TRACE_FAILED, "generate: %s", strerror(-ret)) : TRACE_OK;
}

static int write_trace(const struct trace_options *options, const struct trace *trace)
{
	FILE *out = strcmp(options->out, "-") == 0 ? stdout : fopen(options->out, "wbe");
	int ret;

	if (out == NULL)
		return trace_fail(TRACE_FAILED, "%s: %s", options->out, strerror(errno));
	ret = trace_options_format(options, options->out) == TRACE_CSV ? trace_export_csv(trace, out)
								       : trace_export_oracle(trace, out);
	if (out != stdout && fclose(out) != 0 && ret == 0)
		ret = -errno;
	if (ret == -EINVAL)
		return trace_fail(TRACE_FAILED, "%s: oracleGeneral has only reads of single blocks", options->out);
	return ret < 0 ? trace_fail(TRACE_FAILED, "%s: %s", options->out, strerror(-ret)) : TRACE_OK;
}

/* How one process of the replay ended; where a crash was due, by that and nothing else. */
static int check_end(int wait, bool is_crash)
{
	if (is_crash && WIFSIGNALED(wait) && WTERMSIG(wait) == SIGKILL)
		return TRACE_OK;
	if (is_crash)
		return trace_fail(TRACE_FAILED, "the replay was to be killed and was not");
	if (WIFSIGNALED(wait))
		return trace_fail(TRACE_FAILED, "the replay ended with signal %d (%s)", WTERMSIG(wait),
				  strsignal(WTERMSIG(wait)));
	return WEXITSTATUS(wait);
}

static int run_processes(struct trace_job *job)
{
	int status = TRACE_OK;

	do {
		bool was_killed = job->outcome->is_killed;
		int wait;

		status = trace_place_run(trace_replay, job, &wait);
		if (status == TRACE_OK)
			status = check_end(wait, !was_killed && job->outcome->is_killed);
	} while (status == TRACE_OK && job->outcome->next_request < job->trace->count);
	return status;
}

static int replay(struct trace_job *job)
{
	int status;

	job->outcome_bytes = sizeof(*job->outcome) + job->blocks->count * sizeof(job->outcome->versions[0]);
	job->outcome = mmap(NULL, job->outcome_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job->outcome == MAP_FAILED)
		return trace_fail(TRACE_FAILED, "no memory");
	status = trace_place_create(job->options->dir, job->blocks->end * TRACE_BLOCK_BYTES, &job->place);
	if (status == TRACE_OK) {
		status = run_processes(job);
		trace_place_remove(&job->place);
	}
	if (status == TRACE_OK)
		status = trace_report(job);
	munmap(job->outcome, job->outcome_bytes);
	return status;
}

static int replay_trace(const struct trace_options *options, const struct trace *trace)
{
	struct trace_blocks blocks;
	struct trace_job job = { .options = options, .trace = trace, .blocks = &blocks };
	int status;
	int ret;

	if (options->crash_after >= trace->count)
		return trace_fail(TRACE_USAGE, "--crash-after: the trace has only %ju requests",
				  (uintmax_t)trace->count);
	ret = trace_blocks_find(trace, &blocks);
	if (ret < 0)
		return trace_fail(TRACE_FAILED, "too many different blocks: %s", strerror(-ret));
	status = replay(&job);
	trace_blocks_free(&blocks);
	return status;
}

int main(int argc, char **argv)
{
	struct trace_options options;
	struct trace trace = { .count = 0 };
	bool done = false;
	int status = trace_options_parse(argc, argv, &options, &done);

	if (status == TRACE_OK && !done) {
		status = options.input != NULL ? read_trace(&options, &trace) : make_trace(&options, &trace);
		if (status == TRACE_OK)
			status = options.out != NULL ? write_trace(&options, &trace) : replay_trace(&options, &trace);
		trace_free(&trace);
	}
	if (fflush(stdout) != 0 && status == TRACE_OK)
		status = trace_fail(TRACE_FAILED, "stdout: %s", strerror(errno));
	return status;
}
