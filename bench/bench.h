/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h - what the parts of pcache-bench share.
 *
 *   main.c    options, the loop over the cases, the report
 *   env.c     the cache and its backing: create, fill, make room between the slices
 *   cases.c   the table of cases and their operations; a new case is a line there
 *   floor.c   what the same work costs without a cache: raw copies in a file of the same kind
 *   run.c     slices: threads, interleaving, medians and percentiles
 *
 * A slice is a fixed number of operations, timed as a whole in each thread. A pair is a slice of the floor and a
 * slice of the case, one right after the other.
 */
#ifndef PCACHE_BENCH_H
#define PCACHE_BENCH_H

#include "pcache.h"

#include <libpmem2.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define BENCH_PAIRS       9u
#define BENCH_THREADS_MAX 256u

struct bench_options {
	const char *cache_path;   /* NULL: a name of our own */
	const char *backing_path; /* NULL: a name of our own */
	uint64_t cache_bytes;
	uint64_t working_set_bytes;
	double seconds; /* of measured time, at most, per case */
	unsigned thread_count;
	bool overwrite_backing;
	bool json;
};

enum bench_floor_kind {
	BENCH_FLOOR_APPEND,      /* one durable append where the media can; else a pwrite */
	BENCH_FLOOR_APPEND_SYNC, /* one durable append on every media */
	BENCH_FLOOR_READ,        /* one copy out of the mapping */
};

/* A file beside the cache, of the same size, mapped the same way, every page touched. */
struct bench_floor {
	struct pmem2_source *source;
	struct pmem2_map *map;
	uint8_t *base;
	uint64_t size_bytes;
	pmem2_memcpy_fn copy;
	pmem2_drain_fn drain;
	enum pmem2_granularity granularity;
	int fd;
};

struct bench_env {
	struct bench_options options;
	struct pcache *cache;
	struct bench_floor floor;
	uint64_t capacity_bytes;
	uint64_t segment_bytes;
	uint64_t segments;
	uint64_t stamp_key; /* another one for each fill: nobody takes an older one for it */
	enum pcache_granularity granularity;
	int backing_fd;
};

struct bench_case;

/* One thread's state for one case; lives over all its slices. */
struct bench_worker {
	struct bench_env *env;
	const struct bench_case *bench_case;
	uint8_t *hot; /* source blocks of writes, destination of reads; used by the case and the floor */
	uint64_t hot_bytes;
	uint64_t hot_next;
	uint64_t block_bytes;
	uint64_t rng;
	uint64_t set_blocks;   /* of the working set, for random offsets */
	uint64_t region_off;   /* this thread's part of the working set, for sequential offsets */
	uint64_t region_bytes;
	uint64_t region_next;
	uint64_t floor_off;    /* this thread's part of the floor file, for appends */
	uint64_t floor_bytes;
	uint64_t floor_next;
} __attribute__((aligned(128)));

/* One operation: 0 or a negative errno. */
typedef int (*bench_op)(struct bench_worker *worker);

struct bench_case {
	const char *name;
	const char *help;
	uint32_t block_bytes;
	bool writes; /* each operation takes block_bytes of log */
	enum bench_floor_kind floor;
	/* Untimed, before each pair of a case that writes, else once; log_bytes: what its slices will write. */
	int (*prepare)(struct bench_env *env, const struct bench_case *bench_case, uint64_t log_bytes);
	bench_op op;
};

struct bench_result {
	const char *name;
	uint64_t ops; /* in the timed slices of the case */
	double ns_avg;
	double p50_ns;
	double p99_ns;
	double p999_ns;
	double floor_ns;
	double ratio;
	uint64_t stalls;     /* writes that waited for space in a slice; must be 0 */
	uint64_t miss_bytes; /* read from the backing in a slice; must be 0 */
	uint64_t background; /* segments reclaimed and batches written back in a slice; should be 0 */
	uint64_t faults;     /* page faults of the threads in a slice; should be few */
};

/* cases.c; NULL: no such case */
extern const struct bench_case bench_cases[];
extern const size_t bench_case_count;
const struct bench_case *bench_case_find(const char *name, size_t name_len);

/* env.c: all return 0 or a negative errno, explained on stderr */
int bench_env_open(const struct bench_options *options, struct bench_env *env);
int bench_env_close(struct bench_env *env);
/* Room for this much data in free segments, nothing dirty, nothing going on in the background. */
int bench_env_make_room(struct bench_env *env, uint64_t data_bytes);
/* Write the whole working set once, in mixed order, stamped, and flush. */
int bench_env_fill(struct bench_env *env, uint32_t block_bytes);
/* Read the working set and check the stamps. */
int bench_env_verify(struct bench_env *env, uint32_t block_bytes);
int bench_env_stats(struct bench_env *env, struct pcache_stats *ret_stats);
/* Most data that the slices of one pair may write. */
uint64_t bench_env_pair_bytes(const struct bench_env *env);

/* floor.c */
int bench_floor_open(const char *path, uint64_t size_bytes, struct bench_floor *floor);
void bench_floor_close(struct bench_floor *floor);
bench_op bench_floor_op(const struct bench_floor *floor, enum bench_floor_kind kind);

/* run.c */
int bench_run_case(struct bench_env *env, const struct bench_case *bench_case, struct bench_result *ret_result);

/* main.c: a message, and the error handed through, so that a failure is one statement */
int bench_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: a few instructions, no state to share, every seed is good. */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t value = (*state += 0x9e3779b97f4a7c15u);

	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

static inline uint64_t bench_random_below(uint64_t *state, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)bench_random(state) * limit) >> 64);
}

/* What the first eight bytes of a block at this offset hold since the last fill, whoever wrote it. */
static inline uint64_t bench_stamp(const struct bench_env *env, uint64_t off)
{
	return off ^ env->stamp_key;
}

/* The next hot source block, stamped, so that no two operations in a row write the same bytes. */
static inline const void *bench_source(struct bench_worker *worker, uint64_t off)
{
	uint8_t *block = worker->hot + worker->hot_next;

	worker->hot_next += worker->block_bytes;
	if (worker->hot_next == worker->hot_bytes)
		worker->hot_next = 0;
	*(uint64_t *)(void *)block = bench_stamp(worker->env, off);
	return block;
}

static inline uint64_t bench_random_off(struct bench_worker *worker)
{
	return bench_random_below(&worker->rng, worker->set_blocks) * worker->block_bytes;
}

static inline uint64_t bench_next_off(struct bench_worker *worker)
{
	uint64_t off = worker->region_off + worker->region_next;

	worker->region_next += worker->block_bytes;
	if (worker->region_next == worker->region_bytes)
		worker->region_next = 0;
	return off;
}

#endif
