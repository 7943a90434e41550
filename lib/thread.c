/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.c - a new thread inherits the mask of the one that starts it, so all signals are blocked for that moment.
 */
#include "thread.h"

#include "util.h"

#include <signal.h>
#include <stdatomic.h>

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

struct each {
	int (*run)(void *arg, uint32_t i);
	void *arg;
	uint32_t count;
	_Atomic uint32_t next; /* first that nobody has taken */
	_Atomic int error;     /* the first one */
};

static void *run_each(void *arg)
{
	struct each *each = arg;
	int none = 0;
	int ret = 0;

	while (ret == 0 && atomic_load_explicit(&each->error, memory_order_relaxed) == 0) {
		uint32_t i = atomic_fetch_add_explicit(&each->next, 1, memory_order_relaxed);

		if (i >= each->count)
			return NULL;
		ret = each->run(each->arg, i);
	}
	if (ret < 0)
		atomic_compare_exchange_strong(&each->error, &none, ret);
	return NULL;
}

int pc_thread_each(uint32_t threads, uint32_t count, int (*each)(void *arg, uint32_t i), void *arg)
{
	struct each all = { .run = each, .arg = arg, .count = count };
	uint32_t wanted = (uint32_t)pc_min64(threads, count);
	PC_FREE pthread_t *others = wanted < 2 ? NULL : calloc(wanted - 1, sizeof(*others));
	uint32_t started = 0;

	while (others != NULL && started + 1 < wanted && pc_thread_start(&others[started], run_each, &all) == 0)
		started++;
	run_each(&all);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(others[i], NULL);
	return all.error;
}
