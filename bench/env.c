/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * env.c - the cache under test, its backing and the floor's file.
 *
 * (E1) Nothing runs in the background of a slice: write-back starts by drain only, and all that is clean is reclaimed
 *      before the slice, so that nothing is left to be reclaimed in it.
 * (E2) No page is touched for the first time in a slice: every segment was written once before the first one.
 * (E3) A file that the bench created has lost its name before the first slice: it is gone however the bench ends.
 * (E4) Nothing is overwritten that was there before, but for a backing given with --overwrite-backing.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES         512
#define SPARE_SEGMENTS     4u /* open ones, and what the library keeps for itself */
#define TOUCH_SPARE        1u /* left free by the warm-up, so that it never waits for space */
#define PIECE_BYTES        65536u
#define ROOM_POLL_NS       2000000
#define ROOM_CALM_POLLS    5u
#define ROOM_CEILING_POLLS 30000u

/* Log bytes per 4 KiB of data: one 64-byte line each. */
static uint64_t log_bytes_of(uint64_t data_bytes)
{
	return data_bytes + data_bytes / 64;
}

static uint64_t segments_for(const struct bench_env *env, uint64_t data_bytes)
{
	/* A segment loses its header, and at its end less than one write of the largest size. */
	uint64_t usable = env->segment_bytes - env->segment_bytes / 16;

	return (log_bytes_of(data_bytes) + usable - 1) / usable + SPARE_SEGMENTS;
}

uint64_t bench_env_pair_bytes(const struct bench_env *env)
{
	uint64_t taken = segments_for(env, env->options.working_set_bytes);
	uint64_t left = env->segments > taken ? (env->segments - taken) * env->segment_bytes / 8 * 7 : 0;
	uint64_t third = env->capacity_bytes / 3;

	return left < third ? left : third;
}

int bench_env_stats(struct bench_env *env, struct pcache_stats *ret_stats)
{
	int ret;

	memset(ret_stats, 0, sizeof(*ret_stats));
	ret_stats->size = sizeof(*ret_stats);
	ret = pcache_stats(env->cache, ret_stats);
	return ret < 0 ? bench_fail(ret, "stats: %s", pcache_strerror(ret)) : 0;
}

static uint64_t background_work(const struct pcache_stats *stats)
{
	return stats->segments_reclaimed + stats->writeback_batches;
}

int bench_env_make_room(struct bench_env *env, uint64_t data_bytes)
{
	const struct timespec poll = { .tv_nsec = ROOM_POLL_NS };
	uint64_t wanted = segments_for(env, data_bytes);
	uint64_t work_before = UINT64_MAX;
	struct pcache_stats stats;
	unsigned calm = 0;
	int ret;

	ret = pcache_drain(env->cache, NULL, NULL, 0);
	if (ret < 0)
		return bench_fail(ret, "drain: %s", pcache_strerror(ret));
	for (unsigned polls = 0; polls < ROOM_CEILING_POLLS; polls++) {
		ret = bench_env_stats(env, &stats);
		if (ret < 0)
			return ret;
		calm = background_work(&stats) == work_before ? calm + 1 : 0;
		work_before = background_work(&stats);
		if (calm >= ROOM_CALM_POLLS && stats.segments_free >= wanted)
			return 0;
		nanosleep(&poll, NULL);
	}
	return bench_fail(-ETIMEDOUT, "reclaim left %" PRIu64 " of %" PRIu64 " segments free, %" PRIu64 " are needed",
			  stats.segments_free, env->segments, wanted);
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
	while (b != 0) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* A step that visits each of count blocks once, in an order that is neither ascending nor local. */
static uint64_t mixing_step(uint64_t count)
{
	uint64_t step = count * 5 / 8 + 1;

	while (common_divisor(step, count) != 1)
		step++;
	return step;
}

int bench_env_fill(struct bench_env *env, uint32_t block_bytes)
{
	uint64_t count = env->options.working_set_bytes / block_bytes;
	uint64_t step = mixing_step(count);
	uint8_t *block = calloc(1, block_bytes);
	ssize_t len = 0;
	int ret;

	if (block == NULL)
		return bench_fail(-ENOMEM, "no memory for a block");
	env->stamp_key++;
	for (uint64_t i = 0, number = 0; i < count && len >= 0; i++, number = (number + step) % count) {
		uint64_t stamp = bench_stamp(env, number * block_bytes);

		memcpy(block, &stamp, sizeof(stamp));
		len = pcache_write(env->cache, block, block_bytes, number * block_bytes, 0);
	}
	free(block);
	ret = len < 0 ? (int)len : pcache_flush(env->cache, 0);
	return ret < 0 ? bench_fail(ret, "fill: %s", pcache_strerror(ret)) : 0;
}

int bench_env_verify(struct bench_env *env, uint32_t block_bytes)
{
	uint64_t count = env->options.working_set_bytes / block_bytes;
	uint8_t *block = malloc(block_bytes);
	int ret = 0;

	if (block == NULL)
		return bench_fail(-ENOMEM, "no memory for a block");
	for (uint64_t number = 0; number < count && ret == 0; number++) {
		uint64_t off = number * block_bytes;
		ssize_t len = pcache_read(env->cache, block, block_bytes, off, 0);
		uint64_t stamp;

		memcpy(&stamp, block, sizeof(stamp));
		if (len != (ssize_t)block_bytes)
			ret = bench_fail(len < 0 ? (int)len : -EIO, "read at %" PRIu64 ": %zd", off, len);
		else if (stamp != bench_stamp(env, off))
			ret = bench_fail(-EBADMSG, "read at %" PRIu64 ": not what was written there", off);
	}
	free(block);
	return ret;
}

/*
 * E2. Writes until hardly a segment is free, always to the same small range, of which write-back later sends only the
 * newest version to the backing.
 */
static int touch_all_segments(struct bench_env *env)
{
	static const uint8_t piece[PIECE_BYTES];
	uint64_t range = env->options.working_set_bytes / 16 / PIECE_BYTES * PIECE_BYTES + PIECE_BYTES;
	uint64_t off = 0;
	struct pcache_stats stats;
	int ret;

	if (range > env->options.working_set_bytes)
		return bench_fail(-EINVAL, "the working set is too small");
	ret = bench_env_stats(env, &stats);
	while (ret == 0 && stats.segments_free > TOUCH_SPARE) {
		ssize_t len = pcache_write(env->cache, piece, PIECE_BYTES, off % range, 0);

		if (len < 0)
			return bench_fail((int)len, "warm-up: %s", pcache_strerror((int)len));
		off += PIECE_BYTES;
		ret = bench_env_stats(env, &stats);
	}
	return ret;
}

static void print_log(enum pcache_log_level level, const char *message, void *arg)
{
	(void)arg;
	if (level != PCACHE_LOG_INFO)
		fprintf(stderr, "pcache-bench: library: %s\n", message);
}

static int open_cache(struct bench_env *env, const char *path)
{
	bool was_there = access(path, F_OK) == 0;
	struct pcache_config config;
	struct pcache_stats stats;
	int ret;

	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL; /* E4 */
	config.cache_size_bytes = env->options.cache_bytes;
	config.log = print_log;
	/* E1 */
	config.dirty_high_bytes = env->options.cache_bytes;
	config.dirty_age_ms = UINT32_MAX;
	config.gc_percent = 1;
	config.batch_bytes = env->options.cache_bytes; /* drains are not timed; this makes them short */
	ret = pcache_open(path, env->backing_fd, &config, &env->cache);
	if (ret < 0)
		return bench_fail(ret, "open %s: %s", path, pcache_strerror(ret));
	if (!was_there)
		unlink(path); /* E3 */
	ret = bench_env_stats(env, &stats);
	env->capacity_bytes = stats.capacity_bytes;
	env->segment_bytes = stats.segment_bytes;
	env->segments = stats.segments;
	env->granularity = (enum pcache_granularity)stats.granularity;
	return ret;
}

/* O_DIRECT keeps drains out of the page cache, whose own write-back would run into the slices. */
static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT | O_CLOEXEC, 0600);

	return fd < 0 && errno == EINVAL ? open(path, flags | O_CLOEXEC, 0600) : fd;
}

static int create_backing(struct bench_env *env, const char *path)
{
	env->backing_fd = open_direct(path, O_RDWR | O_CREAT);
	if (env->backing_fd < 0)
		return bench_fail(-errno, "create %s: %s", path, strerror(errno));
	unlink(path); /* E3 */
	if (ftruncate(env->backing_fd, (off_t)env->options.working_set_bytes) < 0)
		return bench_fail(-errno, "size of %s: %s", path, strerror(errno));
	return 0;
}

static int open_backing(struct bench_env *env, const char *path)
{
	struct stat status;
	off_t size;

	if (stat(path, &status) < 0) {
		if (errno == ENOENT)
			return create_backing(env, path);
		return bench_fail(-errno, "%s: %s", path, strerror(errno));
	}
	if (!env->options.overwrite_backing)
		return bench_fail(-EEXIST, "%s exists: give --overwrite-backing if its content may go", path);
	env->backing_fd = open_direct(path, O_RDWR);
	if (env->backing_fd < 0)
		return bench_fail(-errno, "open %s: %s", path, strerror(errno));
	size = lseek(env->backing_fd, 0, SEEK_END);
	if (size < 0 || (uint64_t)size < env->options.working_set_bytes)
		return bench_fail(-EINVAL, "%s is smaller than the working set", path);
	return 0;
}

static int open_floor(struct bench_env *env, const char *cache_path)
{
	char path[PATH_BYTES + 16];

	snprintf(path, sizeof(path), "%s.floor", cache_path);
	return bench_floor_open(path, env->options.cache_bytes, &env->floor);
}

int bench_env_open(const struct bench_options *options, struct bench_env *env)
{
	char cache_path[PATH_BYTES];
	char backing_path[PATH_BYTES];
	int ret;

	*env = (struct bench_env){ .options = *options, .backing_fd = -1, .floor.fd = -1 };
	snprintf(cache_path, sizeof(cache_path), "/dev/shm/pcache-bench.%d", (int)getpid());
	snprintf(backing_path, sizeof(backing_path), "/var/tmp/pcache-bench.%d", (int)getpid());
	if (options->cache_path != NULL)
		snprintf(cache_path, sizeof(cache_path), "%s", options->cache_path);
	if (options->backing_path != NULL)
		snprintf(backing_path, sizeof(backing_path), "%s", options->backing_path);

	ret = open_backing(env, backing_path);
	if (ret == 0)
		ret = open_cache(env, cache_path);
	if (ret == 0)
		ret = open_floor(env, cache_path);
	if (ret == 0 && bench_env_pair_bytes(env) < env->segment_bytes)
		ret = bench_fail(-EINVAL, "the cache is too small for this working set");
	if (ret == 0)
		ret = touch_all_segments(env);
	return ret;
}

int bench_env_close(struct bench_env *env)
{
	int ret = pcache_close(env->cache, 0);

	bench_floor_close(&env->floor);
	if (env->backing_fd >= 0)
		close(env->backing_fd);
	return ret < 0 ? bench_fail(ret, "close: %s", pcache_strerror(ret)) : 0;
}
