/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.c - a new thread inherits the mask of the one that starts it, so all signals are blocked for that moment.
 */
#include "thread.h"

#include <signal.h>

int pc_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *arg)
{
	sigset_t all;
	sigset_t before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(ret_thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}
