/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * floor.c - the least that the same work can cost: the bytes are moved once, and nothing else is done.
 *
 * (F1) The file has the cache's size and directory and is mapped by the same library, so that page faults, TLB misses
 *      and the granularity are the same; every page was written before the first slice.
 * (F2) An append takes the same sizes from the same hot sources as the case. On byte and cache-line granularity it is
 *      one non-temporal copy and one drain; on page granularity one pwrite, and one fdatasync where the case flushes.
 * (F3) Each thread appends in a part of its own, from its start again when it is full.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

static uint64_t next_append(struct bench_worker *worker)
{
	uint64_t off = worker->floor_off + worker->floor_next;

	worker->floor_next += worker->block_bytes;
	if (worker->floor_next == worker->floor_bytes)
		worker->floor_next = 0;
	return off;
}

static int append_pmem(struct bench_worker *worker)
{
	const struct bench_floor *floor = &worker->env->floor;
	uint64_t off = next_append(worker);

	floor->copy(floor->base + off, bench_source(worker, off), worker->block_bytes,
		    PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
	floor->drain();
	return 0;
}

static int append_file(struct bench_worker *worker)
{
	uint64_t off = next_append(worker);
	ssize_t len = pwrite(worker->env->floor.fd, bench_source(worker, off), worker->block_bytes, (off_t)off);

	if (len == (ssize_t)worker->block_bytes)
		return 0;
	return len < 0 ? -errno : -EIO;
}

static int append_file_sync(struct bench_worker *worker)
{
	int ret = append_file(worker);

	if (ret == 0 && fdatasync(worker->env->floor.fd) < 0)
		ret = -errno;
	return ret;
}

static int read_map(struct bench_worker *worker)
{
	memcpy(worker->hot, worker->env->floor.base + bench_random_off(worker), worker->block_bytes);
	__asm__ volatile("" : : "r"(worker->hot) : "memory"); /* the copy has a reader */
	return 0;
}

bench_op bench_floor_op(const struct bench_floor *floor, enum bench_floor_kind kind)
{
	if (kind == BENCH_FLOOR_READ)
		return read_map;
	if (floor->granularity != PMEM2_GRANULARITY_PAGE)
		return append_pmem;
	return kind == BENCH_FLOOR_APPEND_SYNC ? append_file_sync : append_file;
}

static int map_floor(struct bench_floor *floor)
{
	struct pmem2_config *config;
	int ret = pmem2_config_new(&config);

	if (ret < 0)
		return bench_fail(ret, "floor: %s", pmem2_errormsg());
	ret = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
	if (ret == 0)
		ret = pmem2_source_from_fd(&floor->source, floor->fd);
	if (ret == 0)
		ret = pmem2_map_new(&floor->map, config, floor->source);
	pmem2_config_delete(&config);
	if (ret < 0)
		return bench_fail(ret, "floor: %s", pmem2_errormsg());
	floor->base = pmem2_map_get_address(floor->map);
	floor->copy = pmem2_get_memcpy_fn(floor->map);
	floor->drain = pmem2_get_drain_fn(floor->map);
	floor->granularity = pmem2_map_get_store_granularity(floor->map);
	/* F1: the library asks for them too. A file system without them refuses, here as there. */
	(void)madvise(floor->base, pmem2_map_get_size(floor->map), MADV_HUGEPAGE);
	return 0;
}

/* F1. On page granularity the map is for reads only; its pages are touched too. */
static int touch_all_pages(struct bench_floor *floor)
{
	static const uint8_t piece[1u << 20];

	for (uint64_t off = 0; off < floor->size_bytes; off += sizeof(piece)) {
		uint64_t left = floor->size_bytes - off;
		size_t len = left < sizeof(piece) ? (size_t)left : sizeof(piece);

		if (floor->granularity != PMEM2_GRANULARITY_PAGE)
			memset(floor->base + off, 0, len);
		else if (pwrite(floor->fd, piece, len, (off_t)off) != (ssize_t)len)
			return bench_fail(-EIO, "floor: write: %s", strerror(errno));
	}
	for (uint64_t off = 0; off < floor->size_bytes; off += PAGE_BYTES)
		(void)*(const volatile uint8_t *)(floor->base + off);
	if (fdatasync(floor->fd) < 0)
		return bench_fail(-errno, "floor: sync: %s", strerror(errno));
	return 0;
}

int bench_floor_open(const char *path, uint64_t size_bytes, struct bench_floor *floor)
{
	int ret;

	*floor = (struct bench_floor){ .size_bytes = size_bytes };
	floor->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (floor->fd < 0)
		return bench_fail(-errno, "create %s: %s", path, strerror(errno));
	unlink(path);
	ret = posix_fallocate(floor->fd, 0, (off_t)size_bytes);
	if (ret != 0)
		return bench_fail(-ret, "allocate %s: %s", path, strerror(ret));
	ret = map_floor(floor);
	return ret < 0 ? ret : touch_all_pages(floor);
}

void bench_floor_close(struct bench_floor *floor)
{
	if (floor->map != NULL)
		pmem2_map_delete(&floor->map);
	if (floor->source != NULL)
		pmem2_source_delete(&floor->source);
	if (floor->fd >= 0)
		close(floor->fd);
}
