/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay.c - one process: the trace through a real cache. At the place for a crash it kills itself, with the threads of
 * the library at work as they are.
 */
#include "replay.h"

#include "content.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITE_BLOCKS_MAX 256u

struct replay {
	const struct trace_job *job;
	struct trace_outcome *outcome;
	struct pcache *cache;
	int backing_fd;
	uint64_t missed_bytes;  /* as the stats said last */
	uint64_t fills_refused; /* so, too */
	uint8_t *buf;          /* WRITE_BLOCKS_MAX blocks */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int get_stats(const struct replay *replay, struct pcache_stats *ret_stats)
{
	int ret;

	ret_stats->size = sizeof(*ret_stats);
	ret = pcache_stats(replay->cache, ret_stats);
	return ret < 0 ? trace_fail(TRACE_FAILED, "stats: %s", pcache_strerror(ret)) : TRACE_OK;
}

static uint32_t *version_of(const struct replay *replay, uint64_t block)
{
	return &replay->outcome->versions[trace_table_get(&replay->job->blocks->table, block)];
}

static int check_content(const struct replay *replay, const uint8_t *content, uint64_t block, const char *where)
{
	uint32_t version = *version_of(replay, block);
	char found[80];

	if (trace_content_is(content, block, version))
		return TRACE_OK;
	trace_content_describe(content, found, sizeof(found));
	return trace_fail(TRACE_WRONG, "%s, at request %" PRIu64 ": block %" PRIu64 " should be version %" PRIu32
			  ", found %s", where, replay->outcome->next_request, block, version, found);
}

static int read_block(const struct replay *replay, uint64_t block)
{
	ssize_t len = pcache_read(replay->cache, replay->buf, TRACE_BLOCK_BYTES, block * TRACE_BLOCK_BYTES, 0);

	if (len < 0)
		return trace_fail(TRACE_FAILED, "read of block %" PRIu64 ": %s", block, pcache_strerror((int)len));
	if (len != TRACE_BLOCK_BYTES)
		return trace_fail(TRACE_FAILED, "read of block %" PRIu64 ": only %zd bytes", block, len);
	return TRACE_OK;
}

static int read_and_count(struct replay *replay, uint64_t block)
{
	static const struct timespec pace = { .tv_nsec = 1000000 };
	struct trace_outcome *outcome = replay->outcome;
	struct pcache_stats stats;
	int status = read_block(replay, block);

	if (status == TRACE_OK)
		status = get_stats(replay, &stats);
	if (status != TRACE_OK)
		return status;
	trace_count(replay->job->options, outcome->next_request, stats.read_miss_bytes == replay->missed_bytes,
		    outcome->tallies);
	replay->missed_bytes = stats.read_miss_bytes;
	if (replay->job->options->pace && stats.fills_refused != replay->fills_refused)
		nanosleep(&pace, NULL);
	replay->fills_refused = stats.fills_refused;
	return replay->job->options->verify ? check_content(replay, replay->buf, block, "read") : TRACE_OK;
}

static int write_blocks(struct replay *replay, uint64_t block, uint32_t count)
{
	size_t bytes = (size_t)count * TRACE_BLOCK_BYTES;
	ssize_t len;

	for (uint32_t i = 0; replay->job->options->verify && i < count; i++)
		trace_content_fill(replay->buf + (size_t)i * TRACE_BLOCK_BYTES, block + i,
				   ++*version_of(replay, block + i));
	len = pcache_write(replay->cache, replay->buf, bytes, block * TRACE_BLOCK_BYTES, 0);
	if (len < 0)
		return trace_fail(TRACE_FAILED, "write of block %" PRIu64 ": %s", block, pcache_strerror((int)len));
	if ((size_t)len != bytes)
		return trace_fail(TRACE_FAILED, "write of block %" PRIu64 ": only %zd bytes", block, len);
	return TRACE_OK;
}

static int do_request(struct replay *replay, const struct trace_request *request)
{
	int status = TRACE_OK;

	for (uint32_t done = 0; done < request->count && status == TRACE_OK;) {
		uint32_t count = request->count - done;

		if (!request->is_write)
			count = 1;
		else if (count > WRITE_BLOCKS_MAX)
			count = WRITE_BLOCKS_MAX;
		status = request->is_write ? write_blocks(replay, request->block + done, count)
					   : read_and_count(replay, request->block + done);
		done += count;
	}
	return status;
}

static int end_run(struct replay *replay, uint64_t begin_ns)
{
	struct trace_run *run = &replay->outcome->runs[replay->outcome->run_count];
	int status;

	run->ns = now_ns() - begin_ns;
	status = get_stats(replay, &run->stats);
	replay->outcome->run_count++;
	return status;
}

static int do_requests(struct replay *replay)
{
	struct trace_outcome *outcome = replay->outcome;
	const struct trace *trace = replay->job->trace;
	uint64_t crash_after = replay->job->options->crash_after;
	uint64_t begin_ns = now_ns();
	int status = TRACE_OK;

	while (outcome->next_request < trace->count && status == TRACE_OK) {
		status = do_request(replay, &trace->requests[outcome->next_request++]);
		if (status == TRACE_OK && outcome->next_request == crash_after) {
			status = end_run(replay, begin_ns);
			outcome->is_killed = true;
			if (status == TRACE_OK)
				raise(SIGKILL);
		}
	}
	return status == TRACE_OK ? end_run(replay, begin_ns) : status;
}

/* All blocks again, from the cache and then from the backing alone. */
static int check_all(const struct replay *replay)
{
	const struct trace_blocks *blocks = replay->job->blocks;
	int status = TRACE_OK;
	int ret;

	for (uint32_t i = 0; i < blocks->count && status == TRACE_OK; i++) {
		status = read_block(replay, blocks->blocks[i]);
		if (status == TRACE_OK)
			status = check_content(replay, replay->buf, blocks->blocks[i], "at the end");
	}
	if (status != TRACE_OK)
		return status;
	ret = pcache_drain(replay->cache, NULL, NULL, 0);
	if (ret < 0)
		return trace_fail(TRACE_FAILED, "drain: %s", pcache_strerror(ret));
	for (uint32_t i = 0; i < blocks->count && status == TRACE_OK; i++) {
		off_t off = (off_t)(blocks->blocks[i] * TRACE_BLOCK_BYTES);

		if (pread(replay->backing_fd, replay->buf, TRACE_BLOCK_BYTES, off) != TRACE_BLOCK_BYTES)
			return trace_fail(TRACE_FAILED, "the backing cannot be read at %jd", (intmax_t)off);
		status = check_content(replay, replay->buf, blocks->blocks[i], "backing");
	}
	return status;
}

static int fill_backing(const struct replay *replay)
{
	const struct trace_blocks *blocks = replay->job->blocks;

	for (uint32_t i = 0; i < blocks->count; i++) {
		off_t off = (off_t)(blocks->blocks[i] * TRACE_BLOCK_BYTES);
		ssize_t len;

		trace_content_fill(replay->buf, blocks->blocks[i], 0);
		errno = 0;
		len = pwrite(replay->backing_fd, replay->buf, TRACE_BLOCK_BYTES, off);
		if (len != TRACE_BLOCK_BYTES)
			return trace_fail(TRACE_FAILED, "filling the backing, block %" PRIu32 " of %" PRIu32 ": %s",
					  i + 1, blocks->count, errno != 0 ? strerror(errno) : "no space");
	}
	return TRACE_OK;
}

static void print_log(enum pcache_log_level level, const char *message, void *arg)
{
	(void)arg;
	if (level != PCACHE_LOG_INFO)
		fprintf(stderr, "pcache-trace: library: %s\n", message);
}

static int open_cache(struct replay *replay)
{
	const struct trace_cache_options *wanted = &replay->job->options->cache;
	struct pcache_config config;
	int ret;

	pcache_config_init(&config);
	config.cache_size_bytes = wanted->cache_bytes;
	config.segment_size_bytes = wanted->segment_bytes;
	config.gc_percent = wanted->gc_percent;
	config.eviction = wanted->eviction;
	config.fill = wanted->fill;
	config.read_ahead_bytes = wanted->read_ahead_bytes == 0 ? 1 : wanted->read_ahead_bytes;
	config.sequential_bypass_bytes = wanted->bypass_bytes;
	config.log = print_log;
	if (replay->outcome->run_count == 0)
		config.flags = PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL;
	ret = pcache_open(replay->job->place.cache, replay->backing_fd, &config, &replay->cache);
	return ret < 0 ? trace_fail(TRACE_FAILED, "open: %s", pcache_strerror(ret)) : TRACE_OK;
}

static int open_files(struct replay *replay)
{
	const char *name = replay->job->place.backing;
	int status = TRACE_OK;

	replay->buf = aligned_alloc(TRACE_BLOCK_BYTES, WRITE_BLOCKS_MAX * TRACE_BLOCK_BYTES);
	if (replay->buf == NULL)
		return trace_fail(TRACE_FAILED, "no memory");
	memset(replay->buf, 0x5a, WRITE_BLOCKS_MAX * TRACE_BLOCK_BYTES);
	replay->backing_fd = open(name, O_RDWR | O_CLOEXEC);
	if (replay->backing_fd < 0)
		return trace_fail(TRACE_FAILED, "%s: %s", name, strerror(errno));
	if (replay->job->options->verify && replay->outcome->run_count == 0)
		status = fill_backing(replay);
	return status == TRACE_OK ? open_cache(replay) : status;
}

int trace_replay(void *arg)
{
	const struct trace_job *job = arg;
	struct replay replay = { .job = job, .outcome = job->outcome, .backing_fd = -1 };
	int status = open_files(&replay);
	int ret;

	if (status == TRACE_OK)
		status = do_requests(&replay);
	if (status == TRACE_OK && job->options->verify)
		status = check_all(&replay);
	ret = pcache_close(replay.cache, 0);
	if (ret < 0 && status == TRACE_OK)
		status = trace_fail(TRACE_FAILED, "close: %s", pcache_strerror(ret));
	if (replay.backing_fd >= 0)
		close(replay.backing_fd);
	free(replay.buf);
	return status;
}
