/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faulty_memory.h - the library's allocations go through here, so that any of them can fail, and none can leak unseen.
 *
 * The build of the library for these tests includes this file before all others; the library itself knows nothing of
 * it. Sanitizers keep their own allocator behind it.
 */
#ifndef PC_FAULTY_MEMORY_H
#define PC_FAULTY_MEMORY_H

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *faulty_malloc(size_t size);
void *faulty_calloc(size_t count, size_t size);
void *faulty_realloc(void *old, size_t size);
void *faulty_aligned_alloc(size_t alignment, size_t size);
int faulty_posix_memalign(void **ret_pointer, size_t alignment, size_t size);
char *faulty_strdup(const char *text);
void faulty_free(void *pointer);

#ifndef PC_FAULTY_MEMORY_IMPLEMENTATION
#undef strdup
#define malloc(size)                                 faulty_malloc(size)
#define calloc(count, size)                          faulty_calloc(count, size)
#define realloc(old, size)                           faulty_realloc(old, size)
#define aligned_alloc(alignment, size)               faulty_aligned_alloc(alignment, size)
#define posix_memalign(ret_pointer, alignment, size) faulty_posix_memalign(ret_pointer, alignment, size)
#define strdup(text)                                 faulty_strdup(text)
#define free(pointer)                                faulty_free(pointer)
#endif

#endif
