/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-cp: signals, one copy, exit status. cp.h says how it works.
 */
#include "cp.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t cp_caught_signal;

static void on_signal(int number)
{
	cp_caught_signal = number;
}

/* No SA_RESTART: a read of a pipe has to come back. A second signal finds the default action. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error with a message */
}

static int run(const struct cp_options *options)
{
	struct cp_job job = { .options = options, .begin_ns = cp_now_ns() };
	int status;

	job.progress.shown = options->progress || isatty(STDERR_FILENO);
	status = cp_start(&job);
	if (!status) {
		status = cp_copy(&job);
		if (options->stats)
			cp_report(&job);
	} else {
		if (job.cache)
			pcache_close(job.cache, 0);
		if (cp_caught_signal)
			status = CP_SIGNAL + cp_caught_signal;
	}
	if (job.source.fd >= 0)
		close(job.source.fd);
	if (job.destination.fd >= 0)
		close(job.destination.fd);
	return status;
}

int main(int argc, char **argv)
{
	struct cp_options options = { 0 };
	bool done = false;
	int status = cp_options_parse(argc, argv, &options, &done);

	if (!status && !done) {
		catch_signals();
		status = run(&options);
		cp_options_free(&options);
	}
	if (fflush(stdout) != 0 && !status) {
		perror("pcache-cp: stdout");
		status = CP_FAILED;
	}
	return status;
}
