/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start.c - everything before the first byte: a new copy, or an unfinished one that is taken up again.
 *
 * (T1) A new copy never uses a cache that holds something: it could be all that is left of another copy.
 * (T2) A new copy that is refused takes away the record and the destination that it made itself.
 * (T3) A copy is only taken up where the last block that the record names is the same in the source and the cache.
 */
#include "cp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB                 (UINT64_C(1) << 20)
#define CACHE_DEFAULT_MIN   (4 * MIB)
#define CACHE_DEFAULT_MAX   (256 * MIB)
#define SEGMENT_MIN         (UINT64_C(64) << 10)
#define SEGMENT_MAX         (16 * MIB)
#define SEGMENTS_WANTED     16
#define BLANK_BYTES         65536 /* the library makes a cache where this much is zero */

static uint64_t default_cache_bytes(const struct cp_source *source)
{
	if (source->stream || source->size_bytes >= CACHE_DEFAULT_MAX / 2)
		return CACHE_DEFAULT_MAX;

	uint64_t bytes = (2 * source->size_bytes + MIB - 1) / MIB * MIB;

	return bytes < CACHE_DEFAULT_MIN ? CACHE_DEFAULT_MIN : bytes;
}

static uint32_t segment_bytes_for(uint64_t cache_bytes)
{
	uint64_t bytes = SEGMENT_MAX;

	while (bytes > SEGMENT_MIN && bytes * SEGMENTS_WANTED > cache_bytes)
		bytes /= 2;
	return (uint32_t)bytes;
}

static int open_cache(struct cp_job *job, unsigned flags)
{
	const struct cp_options *options = job->options;
	struct pcache_config config;
	struct stat file;
	uint64_t size_bytes = options->cache_bytes;
	uint64_t found_bytes = stat(options->cache, &file) == 0 ? (uint64_t)file.st_size : 0;

	if (size_bytes == 0 && found_bytes == 0)
		size_bytes = default_cache_bytes(&job->source);
	pcache_config_init(&config);
	config.flags = flags;
	config.cache_size_bytes = size_bytes;
	config.segment_size_bytes = segment_bytes_for(size_bytes ? size_bytes : found_bytes);
	config.log = cp_log;
	config.log_arg = (void *)(uintptr_t)options; /* only read there */
	memcpy(config.backing_id, job->destination.id, CP_ID_BYTES);

	int error = pcache_open(options->cache, job->destination.fd, &config, &job->cache);

	if (error == -EMEDIUMTYPE)
		return cp_fail(CP_REFUSED, "%s: holds data for another file than %s", options->cache,
			       job->destination.name);
	if (error == -ENOENT && options->resume)
		return cp_fail(CP_REFUSED, "%s: is gone, and with it a part of the copy; start again with --restart",
			       options->cache);
	if (error)
		return cp_fail(CP_REFUSED, "%s: %s", options->cache, pcache_strerror(error));
	job->opened_ns = cp_now_ns();
	return CP_OK;
}

static int check_blank(const char *path, bool *ret_missing)
{
	static const char zeroes[BLANK_BYTES];
	char *head = malloc(BLANK_BYTES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 || !head ? -1 : pread(fd, head, BLANK_BYTES, 0);
	int error = len < 0 ? errno : 0;
	bool blank = len >= 0 && memcmp(head, zeroes, (size_t)len) == 0;

	if (fd >= 0)
		close(fd);
	free(head);
	*ret_missing = error == ENOENT;
	if (error && error != ENOENT)
		return cp_fail(CP_REFUSED, "%s: %s", path, strerror(error));
	if (!error && !blank)
		return cp_fail(CP_REFUSED, "%s: is not empty: remove it, or name another cache with --cache", path);
	return CP_OK;
}

/* A copy that is still running must not lose its cache. */
static int check_idle(struct cp_job *job)
{
	struct pcache_config config;
	struct pcache *cache = NULL;

	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_READONLY;

	int error = pcache_open(job->options->cache, job->destination.fd, &config, &cache);

	if (error == -EBUSY)
		return cp_fail(CP_REFUSED, "%s: %s", job->options->cache, pcache_strerror(error));
	if (!error)
		pcache_close(cache, 0);
	return CP_OK; /* any other trouble is no reason to keep it */
}

static int throw_away(struct cp_job *job)
{
	const struct cp_options *options = job->options;
	struct cp_record old;
	int status = cp_record_load(options, &old);

	if (!status && memcmp(old.destination_id, job->destination.id, CP_ID_BYTES) != 0)
		status = cp_fail(CP_REFUSED, "%s: the unfinished copy is not to %s", options->record,
				 job->destination.name);
	if (!status && !old.cache_created)
		status = cp_fail(CP_REFUSED, "%s: was not made by pcache-cp: empty it and remove %s", options->cache,
				 options->record);
	if (!status)
		status = check_idle(job);
	if (status)
		return status;
	if (unlink(options->cache) != 0 && errno != ENOENT)
		return cp_fail(CP_FAILED, "%s: %s", options->cache, strerror(errno));
	return cp_record_remove(options);
}

static int clear_the_way(struct cp_job *job, bool *ret_missing)
{
	const struct cp_options *options = job->options;
	int status = CP_OK;

	if (cp_record_exists(options)) {
		if (!options->restart)
			return cp_fail(CP_REFUSED, "%s: a copy is unfinished: go on with --resume, or --restart",
				       options->record);
		status = throw_away(job);
	}
	return status ? status : check_blank(options->cache, ret_missing);
}

static int size_destination(struct cp_job *job)
{
	uint64_t bytes = job->source.size_bytes;

	if (job->source.stream) {
		int status = CP_OK;

		bytes = job->options->size_bytes;
		if (bytes == 0)
			status = cp_destination_room(&job->destination, &bytes);
		if (status)
			return status;
	}
	return cp_destination_resize(&job->destination, bytes);
}

static int start_new(struct cp_job *job)
{
	bool cache_missing = false;
	int status = clear_the_way(job, &cache_missing);

	if (!status)
		status = size_destination(job);
	if (status)
		return status;
	cp_record_describe(&job->record, &job->source, &job->destination);
	job->record.volume_bytes = job->destination.size_bytes;
	job->record.cache_created = cache_missing;
	status = cp_record_save(job->options, &job->record); /* order: record, cache, data (C2) */
	if (status)
		return status;
	status = open_cache(job, PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL);
	if (status)
		cp_record_remove(job->options);
	return status;
}

static int open_new(struct cp_job *job)
{
	mode_t mode = S_ISREG(job->source.status.st_mode) ? job->source.status.st_mode & 0777 : 0666;
	int status = cp_destination_open(job->options, true, mode, &job->destination);

	if (status)
		return status;
	status = cp_check_distinct(job->options, &job->source, &job->destination);
	if (!status)
		status = start_new(job);
	if (status && job->destination.created)
		unlink(job->destination.name);
	return status;
}

static int compare_last_block(struct cp_job *job)
{
	uint64_t end = job->record.copied_bytes;
	size_t len = (size_t)(end < job->options->block_bytes ? end : job->options->block_bytes);
	char *source = malloc(len);
	char *cached = malloc(len);
	int status = CP_OK;

	if (!source || !cached) {
		status = cp_fail(CP_FAILED, "out of memory");
	} else {
		ssize_t from_source = cp_source_read(&job->source, source, len, end - len);
		ssize_t from_cache = pcache_read(job->cache, cached, len, end - len, 0);

		if (from_source < 0)
			status = cp_fail(CP_FAILED, "%s: %s", job->source.name, strerror((int)-from_source));
		else if (from_cache < 0)
			status = cp_fail(CP_REFUSED, "%s: %s", job->options->cache, pcache_strerror((int)from_cache));
		else if (from_source != (ssize_t)len || from_cache != (ssize_t)len || memcmp(source, cached, len) != 0)
			status = cp_fail(CP_REFUSED,
					 "%s: differs from what was copied before byte %ju; start again with --restart",
					 job->source.name, (uintmax_t)end);
	}
	free(source);
	free(cached);
	return status;
}

/* Once all of the source is in the cache, it is not needed any more and may be gone. */
static int open_resumed(struct cp_job *job)
{
	int status = cp_destination_open(job->options, false, 0, &job->destination);

	if (!status)
		status = cp_record_check_destination(&job->record, &job->destination);
	if (status || job->record.phase != CP_COPYING)
		return status;
	status = cp_source_open(job->options->source, &job->source);
	if (!status)
		status = cp_record_check_source(&job->record, &job->source);
	if (!status)
		status = cp_check_distinct(job->options, &job->source, &job->destination);
	return status;
}

static int start_resumed(struct cp_job *job)
{
	int status = cp_record_load(job->options, &job->record);

	if (!status)
		status = open_resumed(job);
	if (status)
		return status;
	job->resumed_bytes = job->record.copied_bytes;
	job->done_bytes = job->record.copied_bytes;
	if (job->record.phase == CP_DRAINED)
		return CP_OK;

	/* a kill may have come before the cache was made */
	bool first = job->record.phase == CP_COPYING && job->record.copied_bytes == 0;

	status = open_cache(job, first ? PCACHE_OPEN_CREATE : 0);
	if (!status && job->record.phase == CP_COPYING && !first)
		status = compare_last_block(job);
	return status;
}

int cp_start(struct cp_job *job)
{
	int status;

	job->source.name = job->options->source;
	job->source.fd = -1;
	job->destination.fd = -1;
	if (job->options->resume)
		return start_resumed(job);
	status = cp_source_open(job->options->source, &job->source);
	return status ? status : open_new(job);
}
