/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * failing_memory.h - the nth allocation fails. To be included by one file of a program.
 *
 * Method: this program's own malloc, calloc, realloc and aligned_alloc stand in front of libc's and hand on. Only the
 * thread that armed them is affected. Where a sanitizer has its allocator in the program itself, or allocates before it is
 * ready, there is nothing to hand on to: then the tests say so and do nothing.
 */
#ifndef PC_FAILING_MEMORY_H
#define PC_FAILING_MEMORY_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__)
#define FAILING_MEMORY_MISSING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define FAILING_MEMORY_MISSING 1
#endif
#endif

static _Thread_local struct {
	unsigned countdown; /* 0: not armed */
	bool failed;
} failing_memory;

/* The nth allocation from now on (from 1) of this thread fails; later ones work again. */
static inline void failing_memory_arm(unsigned nth)
{
	failing_memory.countdown = nth;
	failing_memory.failed = false;
}

/* Whether one failed. */
static inline bool failing_memory_disarm(void)
{
	failing_memory.countdown = 0;
	return failing_memory.failed;
}

static inline bool failing_memory_works(void)
{
#ifdef FAILING_MEMORY_MISSING
	fprintf(stderr, "# skipped: no failing allocations with this sanitizer\n");
	return false;
#else
	return true;
#endif
}

#ifndef FAILING_MEMORY_MISSING

static inline bool failing_memory_now(void)
{
	if (failing_memory.countdown == 0 || --failing_memory.countdown > 0)
		return false;
	failing_memory.failed = true;
	return true;
}

void *malloc(size_t size)
{
	static void *(*next)(size_t);

	if (next == NULL)
		next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	return failing_memory_now() ? NULL : next(size);
}

void *calloc(size_t count, size_t size)
{
	static void *(*next)(size_t, size_t);

	if (next == NULL)
		next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	return failing_memory_now() ? NULL : next(count, size);
}

void *realloc(void *old, size_t size)
{
	static void *(*next)(void *, size_t);

	if (next == NULL)
		next = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	return failing_memory_now() ? NULL : next(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	static void *(*next)(size_t, size_t);

	if (next == NULL)
		next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
	return failing_memory_now() ? NULL : next(alignment, size);
}

#endif

#endif
