/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cheap.c - system calls of each open and each batch, answered from memory: they would take most of the time.
 *
 * Linked with --wrap. The page that tells a child of fork() is heap memory here, and the large buffer of write-back is
 * always the same one, unless somebody holds it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

#define PAGE_BYTES  4096u
#define LARGE_BYTES (8u << 20)

void *__wrap_mmap(void *addr, size_t len, int protection, int flags, int fd, off_t off);
void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t off);
int __wrap_munmap(void *addr, size_t len);
int __wrap_madvise(void *addr, size_t len, int advice);
int __real_posix_memalign(void **ret_pointer, size_t alignment, size_t len);
int __wrap_posix_memalign(void **ret_pointer, size_t alignment, size_t len);
void __real_free(void *pointer);
void __wrap_free(void *pointer);

static _Alignas(PAGE_BYTES) uint8_t large[LARGE_BYTES];
static bool large_is_taken;

void *__wrap_mmap(void *addr, size_t len, int protection, int flags, int fd, off_t off)
{
	void *pages = NULL;

	(void)addr;
	(void)protection;
	(void)off;
	if (fd != -1 || (flags & MAP_ANONYMOUS) == 0 || __real_posix_memalign(&pages, PAGE_BYTES, len) != 0) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	memset(pages, 0, len);
	return pages;
}

/* The same with large offsets. */
void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t off)
{
	return __wrap_mmap(addr, len, protection, flags, fd, off);
}

int __wrap_munmap(void *addr, size_t len)
{
	(void)len;
	__real_free(addr);
	return 0;
}

int __wrap_madvise(void *addr, size_t len, int advice)
{
	(void)addr;
	(void)len;
	(void)advice;
	return 0;
}

int __wrap_posix_memalign(void **ret_pointer, size_t alignment, size_t len)
{
	if (len != LARGE_BYTES || alignment > PAGE_BYTES || large_is_taken)
		return __real_posix_memalign(ret_pointer, alignment, len);
	large_is_taken = true;
	*ret_pointer = large;
	return 0;
}

void __wrap_free(void *pointer)
{
	if (pointer == large)
		large_is_taken = false;
	else
		__real_free(pointer);
}
