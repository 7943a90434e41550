/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * place.c - the directory belongs to a process that does nothing but wait: whatever happens to the one that works, the
 * files are removed.
 *
 * (L1) Signals that end the program are blocked from before the directory exists until after it is gone, and taken from
 *      the queue. The worker keeps them blocked: it is killed.
 */
#include "place.h"

#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void ending_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
}

/* (L1) */
static void hold_signals(struct trace_place *place)
{
	struct sigaction action = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP };
	sigset_t set;

	ending_signals(&set);
	sigaddset(&set, SIGCHLD);
	sigaction(SIGCHLD, &action, NULL); /* who started us may have ignored it */
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error with a message */
	sigprocmask(SIG_BLOCK, &set, &place->signals);
}

static int create_backing(const struct trace_place *place, uint64_t backing_bytes)
{
	int fd = open(place->backing, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int error = fd < 0 || ftruncate(fd, (off_t)backing_bytes) < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	if (error != 0)
		return trace_fail(TRACE_FAILED, "%s, %ju bytes: %s", place->backing, (uintmax_t)backing_bytes,
				  strerror(error));
	return TRACE_OK;
}

int trace_place_create(const char *parent, uint64_t backing_bytes, struct trace_place *place)
{
	int status;

	if (snprintf(place->dir, sizeof(place->dir), "%s/pcache-trace.XXXXXX", parent) > PATH_MAX - 16)
		return trace_fail(TRACE_FAILED, "the name of the directory is too long");
	hold_signals(place);
	if (mkdtemp(place->dir) == NULL) {
		int error = errno;

		sigprocmask(SIG_SETMASK, &place->signals, NULL);
		return trace_fail(TRACE_FAILED, "%s: %s", parent, strerror(error));
	}
	snprintf(place->cache, sizeof(place->cache), "%.*s/cache", PATH_MAX - 16, place->dir);
	snprintf(place->backing, sizeof(place->backing), "%.*s/backing", PATH_MAX - 16, place->dir);
	status = create_backing(place, backing_bytes);
	if (status != TRACE_OK)
		trace_place_remove(place);
	return status;
}

void trace_place_remove(struct trace_place *place)
{
	unlink(place->cache);
	unlink(place->backing);
	rmdir(place->dir);
	sigprocmask(SIG_SETMASK, &place->signals, NULL);
}

static int reap(pid_t worker)
{
	int wait = 0;

	while (waitpid(worker, &wait, 0) < 0 && errno == EINTR)
		continue;
	return wait;
}

int trace_place_run(int (*run)(void *arg), void *arg, int *ret_wait)
{
	pid_t parent = getpid();
	pid_t worker;
	sigset_t set;
	int number;

	fflush(stdout);
	worker = fork();
	if (worker < 0)
		return trace_fail(TRACE_FAILED, "no other process: %s", strerror(errno));
	if (worker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(getppid() == parent ? run(arg) : TRACE_FAILED);
	}
	ending_signals(&set);
	sigaddset(&set, SIGCHLD);
	do {
		number = sigwaitinfo(&set, NULL);
	} while (number < 0 && errno == EINTR);
	if (number != SIGCHLD)
		kill(worker, SIGKILL);
	*ret_wait = reap(worker);
	return number == SIGCHLD ? TRACE_OK : TRACE_SIGNAL + number;
}
