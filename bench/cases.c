/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cases.c - what is measured. A case is a line in the table at the end: one operation on the cache, the floor it is
 * held against, and what must be true of the cache before a slice begins.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>

static int write_block(struct bench_worker *worker, uint64_t off)
{
	ssize_t len = pcache_write(worker->env->cache, bench_source(worker, off), worker->block_bytes, off, 0);

	if (__builtin_expect(len != (ssize_t)worker->block_bytes, 0))
		return len < 0 ? (int)len : -EIO;
	return 0;
}

static int write_random(struct bench_worker *worker)
{
	return write_block(worker, bench_random_off(worker));
}

static int write_sequential(struct bench_worker *worker)
{
	return write_block(worker, bench_next_off(worker));
}

static int write_random_flush(struct bench_worker *worker)
{
	int ret = write_block(worker, bench_random_off(worker));

	return ret < 0 ? ret : pcache_flush(worker->env->cache, 0);
}

static int read_random(struct bench_worker *worker)
{
	ssize_t len = pcache_read(worker->env->cache, worker->hot, worker->block_bytes, bench_random_off(worker), 0);

	if (__builtin_expect(len != (ssize_t)worker->block_bytes, 0))
		return len < 0 ? (int)len : -EIO;
	return 0;
}

/*
 * Writes are measured as overwrites of cached data: the index is as full as it is in real use. The set is written anew
 * before each pair, because making room may have dropped it, and stays dirty, so that reclaim finds nothing to do.
 */
static int prepare_overwrite(struct bench_env *env, const struct bench_case *bench_case, uint64_t log_bytes)
{
	int ret = bench_env_make_room(env, env->options.working_set_bytes + log_bytes);

	return ret < 0 ? ret : bench_env_fill(env, bench_case->block_bytes);
}

/* The check also is the first read of each extent, the one that verifies checksums. */
static int prepare_hits(struct bench_env *env, const struct bench_case *bench_case, uint64_t log_bytes)
{
	int ret = prepare_overwrite(env, bench_case, log_bytes);

	return ret < 0 ? ret : bench_env_verify(env, bench_case->block_bytes);
}

#define KIB 1024u

const struct bench_case bench_cases[] = {
	{ "write4k_rand", "4 KiB writes at random offsets", 4 * KIB, true, BENCH_FLOOR_APPEND, prepare_overwrite,
	  write_random },
	{ "write4k_seq", "4 KiB writes in ascending order", 4 * KIB, true, BENCH_FLOOR_APPEND, prepare_overwrite,
	  write_sequential },
	{ "write4k_flush", "4 KiB writes at random offsets, a flush after each", 4 * KIB, true,
	  BENCH_FLOOR_APPEND_SYNC, prepare_overwrite, write_random_flush },
	{ "write128k_seq", "128 KiB writes in ascending order", 128 * KIB, true, BENCH_FLOOR_APPEND,
	  prepare_overwrite, write_sequential },
	{ "read4k_hit", "4 KiB reads of cached data at random offsets", 4 * KIB, false, BENCH_FLOOR_READ,
	  prepare_hits, read_random },
	{ "read128k_hit", "128 KiB reads of cached data at random offsets", 128 * KIB, false, BENCH_FLOOR_READ,
	  prepare_hits, read_random },
};

const size_t bench_case_count = sizeof(bench_cases) / sizeof(bench_cases[0]);

const struct bench_case *bench_case_find(const char *name, size_t name_len)
{
	for (size_t i = 0; i < bench_case_count; i++)
		if (strlen(bench_cases[i].name) == name_len && memcmp(bench_cases[i].name, name, name_len) == 0)
			return &bench_cases[i];
	return NULL;
}
