/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * single_step.h - what happens if somebody else comes between any two instructions of a function without a lock.
 *
 * Method: the processor's trap flag stops the thread after each instruction; after the nth the signal handler does what
 * another thread could have done just then. A test repeats its function for n = 1, 2, 3 ... until n is past its end. So
 * every place for one interruption is tried, on one processor too, and a failure is repeated by its n.
 *
 * x86-64 only. Not under ThreadSanitizer, whose own code would be interrupted, nor where the flag does nothing
 * (valgrind): then the tests say so and do nothing.
 */
#ifndef PC_SINGLE_STEP_H
#define PC_SINGLE_STEP_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#if defined(__SANITIZE_THREAD__)
#define SINGLE_STEP_MISSING 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SINGLE_STEP_MISSING 1
#endif
#endif

#ifndef __x86_64__
#define SINGLE_STEP_MISSING 1
#endif

#ifndef SINGLE_STEP_MISSING
#include <ucontext.h>
#include <x86intrin.h>

#define TRAP_FLAG 0x100ull
#endif

static struct {
	void (*interrupt)(void); /* may not assert: it runs in a signal handler; may move `at` on, to be called again */
	unsigned at;
	unsigned count; /* instructions so far */
} single_step;

static inline void single_step_trapped(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	(void)context;
	if (++single_step.count == single_step.at)
		single_step.interrupt();
#ifndef SINGLE_STEP_MISSING
	if (single_step.count >= single_step.at) /* the rest at full speed */
		((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
#endif
}

/* From here on: `interrupt` is called after the nth instruction (from 1). */
static inline void single_step_begin(unsigned nth, void (*interrupt)(void))
{
	struct sigaction action = { .sa_sigaction = single_step_trapped, .sa_flags = SA_SIGINFO };

	single_step.interrupt = interrupt;
	single_step.at = nth;
	single_step.count = 0;
	sigaction(SIGTRAP, &action, NULL);
#ifndef SINGLE_STEP_MISSING
	__writeeflags(__readeflags() | TRAP_FLAG);
#endif
}

/* False: there were fewer instructions, and no interruption. */
static inline bool single_step_end(void)
{
#ifndef SINGLE_STEP_MISSING
	__writeeflags(__readeflags() & ~TRAP_FLAG);
#endif
	return single_step.count >= single_step.at;
}

static inline void single_step_nothing(void)
{
}

static inline bool single_step_works(void)
{
	bool works;

	single_step_begin(1, single_step_nothing);
	works = single_step_end();
	if (!works)
		fprintf(stderr, "# skipped: no single steps on this processor or under this tool\n");
	return works;
}

#endif
