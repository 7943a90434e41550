/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy.c - the copy itself: source to cache, cache to destination, and what is left behind.
 *
 * (P1) Blocks are written in order, each once, so "the first n bytes" says all about how far the copy is.
 * (P2) Whatever stops the copy, it is first made durable as far as it is, and the record says so.
 */
#include "cp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKPOINT_NS UINT64_C(1000000000)

static int cache_trouble(const struct cp_job *job, const char *action, int error)
{
	int status = error == -EBADMSG || error == -EUCLEAN ? CP_REFUSED : CP_FAILED;

	return cp_fail(status, "%s to %s through %s: %s", action, job->destination.name, job->options->cache,
		       pcache_strerror(error));
}

/* order: flush, then record (C1) */
static int checkpoint(struct cp_job *job, enum cp_phase phase)
{
	int error = pcache_flush(job->cache, 0);

	if (error)
		return cache_trouble(job, "flush", error);
	job->record.phase = phase;
	job->record.copied_bytes = job->done_bytes;
	job->checkpoint_ns = cp_now_ns();
	return cp_record_save(job->options, &job->record);
}

static bool checkpoint_is_due(const struct cp_job *job)
{
	return job->done_bytes - job->record.copied_bytes >= job->options->checkpoint_bytes ||
	       cp_now_ns() - job->checkpoint_ns >= CHECKPOINT_NS;
}

static int write_block(struct cp_job *job, const char *block, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t written = pcache_write(job->cache, block + done, len - done, job->done_bytes + done, 0);

		if (written < 0)
			return cache_trouble(job, "write", (int)written);
		done += (size_t)written;
	}
	job->done_bytes += len;
	return CP_OK;
}

/* ret_len 0: the end. For a source of known size the end is where it was when the copy began. */
static int read_block(struct cp_job *job, char *block, size_t *ret_len)
{
	uint64_t end = job->source.stream ? job->record.volume_bytes : job->source.size_bytes;
	uint64_t left = end - job->done_bytes;
	size_t want = (size_t)(left < job->options->block_bytes ? left : job->options->block_bytes);
	bool probe = want == 0 && job->source.stream; /* full: is there more? */
	ssize_t got = cp_source_read(&job->source, block, probe ? 1 : want, job->done_bytes);

	if (got == -EINTR && cp_caught_signal)
		got = 0;
	if (got < 0)
		return cp_fail(CP_FAILED, "%s: read: %s", job->source.name, strerror((int)-got));
	if (probe && got > 0)
		return cp_fail(CP_FAILED, "%s: has more than the %ju bytes that there is room for; see --size",
			       job->source.name, (uintmax_t)end);
	if ((size_t)got < want && !job->source.stream && !cp_caught_signal)
		return cp_fail(CP_FAILED, "%s: became shorter while it was copied", job->source.name);
	*ret_len = (size_t)got;
	return CP_OK;
}

static int copy_blocks(struct cp_job *job, char *block)
{
	int status = CP_OK;

	while (!status && !cp_caught_signal) {
		size_t len = 0;

		status = read_block(job, block, &len);
		if (status || len == 0)
			break;
		status = write_block(job, block, len);
		if (!status && checkpoint_is_due(job))
			status = checkpoint(job, CP_COPYING);
		cp_progress_update(&job->progress, job->done_bytes);
	}
	return status;
}

static int copy_source(struct cp_job *job)
{
	char *block = malloc(job->options->block_bytes);
	int status;

	if (!block)
		return cp_fail(CP_FAILED, "out of memory");
	job->checkpoint_ns = cp_now_ns();
	cp_progress_begin(&job->progress, "copy", job->done_bytes, job->source.size_bytes);
	status = copy_blocks(job, block);
	cp_progress_end(&job->progress);
	free(block);
	if (!status && cp_caught_signal)
		status = CP_SIGNAL + cp_caught_signal;
	if (!status)
		status = cp_source_check_unchanged(&job->source);
	if (status) {
		checkpoint(job, CP_COPYING); /* (P2); if it fails, the last record still holds */
		return status;
	}
	status = checkpoint(job, CP_COPIED);
	job->durable_ns = cp_now_ns();
	return status;
}

static int on_drain_progress(uint64_t done_bytes, uint64_t total_bytes, void *arg)
{
	struct cp_job *job = arg;

	if (job->progress.total_bytes != total_bytes)
		cp_progress_begin(&job->progress, "drain", 0, total_bytes);
	cp_progress_update(&job->progress, done_bytes);
	return cp_caught_signal != 0;
}

static int drain(struct cp_job *job)
{
	int error;

	job->progress.total_bytes = 0;
	error = cp_caught_signal ? -ECANCELED : pcache_drain(job->cache, on_drain_progress, job, 0);
	cp_progress_end(&job->progress);
	if (error == -ECANCELED && cp_caught_signal)
		return CP_SIGNAL + cp_caught_signal;
	if (error)
		return cache_trouble(job, "drain", error);
	job->drained_ns = cp_now_ns();
	job->record.phase = CP_DRAINED;
	return cp_record_save(job->options, &job->record); /* order: record, then the cache may go (C4) */
}

static int close_cache(struct cp_job *job)
{
	int error;

	job->stats.size = sizeof(job->stats);
	error = pcache_stats(job->cache, &job->stats);
	if (error)
		cp_say("%s: stats: %s", job->options->cache, pcache_strerror(error));
	error = pcache_close(job->cache, 0);
	job->cache = NULL;
	return error ? cache_trouble(job, "close", error) : CP_OK;
}

static int check_size(const struct cp_job *job)
{
	off_t end = lseek(job->destination.fd, 0, SEEK_END);
	uint64_t want = job->destination.device ? job->destination.size_bytes : job->record.copied_bytes;

	if (end < 0)
		return cp_fail(CP_FAILED, "%s: %s", job->destination.name, strerror(errno));
	if ((uint64_t)end != want)
		return cp_fail(CP_FAILED, "%s: has %ju bytes, not %ju as it should", job->destination.name,
			       (uintmax_t)end, (uintmax_t)want);
	return CP_OK;
}

/* A destination of unknown length gets its length. Only shorter: a drained record never names more than was written. */
static int finish(struct cp_job *job)
{
	const struct cp_options *options = job->options;
	struct cp_destination *destination = &job->destination;
	int status = CP_OK;

	if (!destination->device && destination->size_bytes > job->record.copied_bytes)
		status = cp_destination_resize(destination, job->record.copied_bytes);
	if (!status)
		status = check_size(job);
	if (!status)
		status = cp_destination_sync(destination);
	if (status)
		return status;
	if (job->record.cache_created && !options->keep_cache && unlink(options->cache) != 0 && errno != ENOENT)
		return cp_fail(CP_FAILED, "%s: %s", options->cache, strerror(errno));
	return cp_record_remove(options);
}

static void say_what_is_left(const struct cp_job *job, int status)
{
	char copied[CP_HUMAN_BYTES];

	cp_human(copied, job->record.copied_bytes);
	if (!status)
		cp_say("%s: all %s are durable in the cache; --resume writes them to %s", job->options->cache, copied,
		       job->destination.name);
	else if (job->record.phase == CP_COPYING && job->record.stream)
		cp_say("%s is unfinished, and a pipe cannot be resumed; start again with --restart",
		       job->destination.name);
	else
		cp_say("%s is unfinished, %s are safe; go on with --resume", job->destination.name, copied);
}

int cp_copy(struct cp_job *job)
{
	int status = CP_OK;

	if (job->record.phase == CP_COPYING)
		status = copy_source(job);
	if (!status && job->record.phase == CP_COPIED && !job->options->no_drain)
		status = drain(job);
	if (job->cache) {
		int close_status = close_cache(job);

		if (!status)
			status = close_status;
	}
	if (!status && job->record.phase == CP_DRAINED)
		return finish(job);
	say_what_is_left(job, status);
	return status;
}
