/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * failing_memory.h - the nth allocation fails, and what is not given back is noticed. To be included by one file of a
 * program.
 *
 * Method: this program's own malloc, calloc, realloc, aligned_alloc and free stand in front of libc's and hand on. Only
 * the thread that armed them is affected. Where a sanitizer has its allocator in the program itself, or allocates
 * before it is ready, there is nothing to hand on to: then the tests say so and do nothing.
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
	unsigned countdown; /* 0: nothing fails any more */
	bool armed;
	bool failed;
	long held; /* allocations minus frees since it was armed */
} failing_memory;

/* The nth allocation from now on (from 1) of this thread fails; later ones work again. */
static inline void failing_memory_arm(unsigned nth)
{
	failing_memory.countdown = nth;
	failing_memory.failed = false;
	failing_memory.held = 0;
	failing_memory.armed = true;
}

/* Whether one failed. */
static inline bool failing_memory_disarm(void)
{
	failing_memory.countdown = 0;
	failing_memory.armed = false;
	return failing_memory.failed;
}

/* Allocations of this thread that were made and not freed while it was armed. AddressSanitizer finds leaks by itself. */
static inline long failing_memory_held(void)
{
#ifdef __SANITIZE_ADDRESS__
	return 0;
#else
	return failing_memory.held;
#endif
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

static inline void *failing_memory_count(void *memory)
{
	if (failing_memory.armed && memory != NULL)
		failing_memory.held++;
	return memory;
}

void *malloc(size_t size)
{
	static void *(*next)(size_t);

	if (next == NULL)
		next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	return failing_memory_now() ? NULL : failing_memory_count(next(size));
}

void *calloc(size_t count, size_t size)
{
	static void *(*next)(size_t, size_t);

	if (next == NULL)
		next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	return failing_memory_now() ? NULL : failing_memory_count(next(count, size));
}

void *realloc(void *old, size_t size)
{
	static void *(*next)(void *, size_t);

	if (next == NULL)
		next = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	if (failing_memory_now())
		return NULL;
	return old == NULL ? failing_memory_count(next(old, size)) : next(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	static void *(*next)(size_t, size_t);

	if (next == NULL)
		next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
	return failing_memory_now() ? NULL : failing_memory_count(next(alignment, size));
}

#ifndef __SANITIZE_ADDRESS__

void free(void *memory)
{
	static void (*next)(void *);

	if (next == NULL)
		next = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	if (failing_memory.armed && memory != NULL)
		failing_memory.held--;
	next(memory);
}

#endif

#endif

#endif
