/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media_bad.c - bad pages of the mappings: which they are, and what an application's SIGBUS handler does about one.
 *
 * The handler puts a page of zeroes in the place of the bad one, so that the interrupted load or store can go on, and
 * the page is remembered. Whoever used the mapping asks afterwards, and gets -EIO (pc_media_is_bad).
 *
 * (B1) A page is remembered, and has_bad set, before it is replaced: who has seen zeroes finds it.
 * (B2) The handler takes no lock and no memory, and touches nothing that can be freed: the mappings of the process are
 *      in a fixed table. It follows the pointer to a media only if the fault was in its mapping, so somebody is using
 *      it.
 * (B3) Where the list is full, all of the mapping counts as bad.
 *
 * Lock: maps_lock, a leaf, for entries of the table; the handler reads them without it, see is_inside().
 */
#include "media_file.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAPS_MAX  64u /* include/pcache.h says so */
#define PAGES_MAX 64u

struct pc_bad_map {
	_Atomic uintptr_t base;
	_Atomic size_t bytes; /* 0: not in use; what follows is set before */
	struct pc_media *media;
	pid_t owner; /* a child of fork has other things at these addresses */
	size_t page_bytes;
	int protection;
	_Atomic uint64_t pages[PAGES_MAX]; /* number in the mapping, plus one; 0: from here on none */
	_Atomic bool all;
};

static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pc_bad_map maps[MAPS_MAX];

void pc_bad_register(struct pc_media_file *file, size_t map_bytes)
{
	struct pc_bad_map *map = maps;

	pthread_mutex_lock(&maps_lock);
	while (map < maps + MAPS_MAX && map->bytes != 0)
		map++;
	if (map < maps + MAPS_MAX) {
		map->media = &file->media;
		map->owner = file->owner;
		map->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
		map->protection = PROT_READ | (file->store != NULL && !file->media.readonly ? PROT_WRITE : 0);
		for (unsigned i = 0; i < PAGES_MAX; i++)
			map->pages[i] = 0;
		map->all = false;
		map->base = (uintptr_t)file->media.base;
		map->bytes = map_bytes;
		file->bad = map;
	}
	pthread_mutex_unlock(&maps_lock);
}

/* Before it is unmapped: another mapping may come to these addresses. */
void pc_bad_unregister(struct pc_media_file *file)
{
	if (file->bad == NULL)
		return;
	pthread_mutex_lock(&maps_lock);
	file->bad->bytes = 0;
	file->bad = NULL;
	pthread_mutex_unlock(&maps_lock);
}

/* Base and size may be of two lives of the entry, which then is not the one: that has not changed since the fault. */
static bool is_inside(struct pc_bad_map *map, uintptr_t addr)
{
	size_t bytes = map->bytes;
	uintptr_t base = map->base;

	return addr - base < bytes && map->bytes == bytes && map->owner == getpid();
}

/* Others may do the same at the same time, also for the same page. */
static void remember(struct pc_bad_map *map, uint64_t page)
{
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		uint64_t known = 0;

		if (atomic_compare_exchange_strong(&map->pages[i], &known, page + 1) || known == page + 1)
			return;
	}
	map->all = true; /* (B3) */
}

static bool replace_page(struct pc_bad_map *map, uintptr_t addr)
{
	uint64_t page = (addr - map->base) / map->page_bytes;
	void *at = (void *)(map->base + page * map->page_bytes);

	remember(map, page);
	map->media->has_bad = true; /* order: before anybody can see a zero of the new page (B1) */
	return mmap(at, map->page_bytes, map->protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

bool pc_media_handle_fault(const void *addr)
{
	int saved_errno = errno;
	bool handled = false;

	for (unsigned i = 0; i < MAPS_MAX && !handled; i++)
		handled = is_inside(&maps[i], (uintptr_t)addr) && replace_page(&maps[i], (uintptr_t)addr);
	errno = saved_errno;
	return handled;
}

bool pc_media_find_bad(const struct pc_media *media, uint64_t off, size_t len)
{
	struct pc_bad_map *map = ((const struct pc_media_file *)media)->bad;

	if (map->all)
		return true;
	for (unsigned i = 0; i < PAGES_MAX && map->pages[i] != 0; i++) {
		uint64_t from = (map->pages[i] - 1) * map->page_bytes;

		if (from < off + len && off < from + map->page_bytes)
			return true;
	}
	return false;
}
