/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faulty_memory.c - allocations that fail when their turn comes, and the count of those that live.
 */
#define PC_FAULTY_MEMORY_IMPLEMENTATION
#include "faulty_memory.h"

#include "point.h"

#include <errno.h>
#include <stdatomic.h>

static _Atomic int64_t live;

int64_t point_live_allocations(void)
{
	return live;
}

static void *counted(void *pointer)
{
	live += pointer != NULL;
	return pointer;
}

void *faulty_malloc(size_t size)
{
	return point_fails(__func__) ? NULL : counted(malloc(size));
}

void *faulty_calloc(size_t count, size_t size)
{
	return point_fails(__func__) ? NULL : counted(calloc(count, size));
}

void *faulty_realloc(void *old, size_t size)
{
	if (old == NULL)
		return faulty_malloc(size);
	return point_fails(__func__) ? NULL : realloc(old, size);
}

void *faulty_aligned_alloc(size_t alignment, size_t size)
{
	return point_fails(__func__) ? NULL : counted(aligned_alloc(alignment, size));
}

int faulty_posix_memalign(void **ret_pointer, size_t alignment, size_t size)
{
	int error = point_fails(__func__) ? ENOMEM : posix_memalign(ret_pointer, alignment, size);

	live += error == 0;
	return error;
}

char *faulty_strdup(const char *text)
{
	return point_fails(__func__) ? NULL : counted(strdup(text));
}

void faulty_free(void *pointer)
{
	live -= pointer != NULL;
	free(pointer);
}
