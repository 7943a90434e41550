/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * drain.c - what needs both files: drain, scrub and grow.
 *
 * Ctrl-C ends a drain or a scrub between two batches; what was done stays done, and the next call goes on from there.
 */
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define DAMAGED_MAX 256

struct both {
	const char *path;
	struct ctl_backing backing;
	struct pcache *cache;
	int fd;
	struct ctl_progress progress;
};

static int on_progress(uint64_t done_bytes, uint64_t total_bytes, void *arg)
{
	struct both *both = arg;

	ctl_progress_update(&both->progress, done_bytes, total_bytes);
	return ctl_is_stopped();
}

static int open_both(struct both *both, unsigned flags, uint64_t size_bytes)
{
	struct pcache_config config;

	pcache_config_init(&config);
	config.flags = flags;
	config.cache_size_bytes = size_bytes;
	return ctl_open_cache(both->path, &both->backing, &config, &both->fd, &both->cache);
}

static int close_both(struct both *both, int status)
{
	int error = pcache_close(both->cache, 0);

	close(both->fd);
	return error < 0 && status == CTL_OK ? ctl_refused(both->path, error) : status;
}

static int drain(struct both *both)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	int error;

	ctl_catch_stop();
	ctl_progress_begin(&both->progress, "drain");
	error = pcache_drain(both->cache, on_progress, both, 0);
	ctl_progress_end(&both->progress);
	pcache_stats(both->cache, &stats);
	if (error == -ECANCELED)
		return ctl_fail(CTL_STOPPED, "%s: stopped; %" PRIu64 " bytes of log are left: the same command goes on", both->path,
				stats.dirty_log_bytes);
	if (error < 0)
		return ctl_refused(both->path, error);
	printf("%s: all is on the backing, synced; %" PRIu64 " bytes were written there\n", both->path, stats.writeback_bytes);
	return CTL_OK;
}

int ctl_drain(const struct ctl_command *command, int argc, char **argv)
{
	struct both both = { 0 };
	const struct ctl_option options[] = { CTL_BACKING_OPTIONS(&both.backing) };
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);

	if (status != CTL_GO)
		return status;
	both.path = argv[optind];
	status = open_both(&both, 0, 0);
	return status != CTL_OK ? status : close_both(&both, drain(&both));
}

/* ---- scrub ---- */

static void list_damaged(struct both *both)
{
	struct pcache_range ranges[DAMAGED_MAX];
	ssize_t count = pcache_damaged(both->cache, ranges, DAMAGED_MAX);

	for (ssize_t i = 0; i < count; i++)
		ctl_say("%s: damaged: %" PRIu64 " bytes at %" PRIu64 " of the backing; write them again", both->path,
			ranges[i].len, ranges[i].off);
}

static int scrub(struct both *both, uint64_t rate)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	int error;

	ctl_catch_stop();
	ctl_progress_begin(&both->progress, "scrub");
	error = pcache_scrub(both->cache, on_progress, both, rate, 0);
	ctl_progress_end(&both->progress);
	pcache_stats(both->cache, &stats);
	printf("%s: %" PRIu64 " bytes compared, %" PRIu64 " pieces dropped that the backing has, too\n", both->path,
	       stats.scrubbed_bytes, stats.clean_errors);
	if (error == -ECANCELED)
		return ctl_fail(CTL_STOPPED, "%s: stopped", both->path);
	if (error == -EBADMSG)
		list_damaged(both);
	if (error < 0)
		return ctl_refused(both->path, error) == CTL_OK || error == -EBADMSG ? CTL_DAMAGED : CTL_FAILED;
	return CTL_OK;
}

int ctl_scrub(const struct ctl_command *command, int argc, char **argv)
{
	struct both both = { 0 };
	uint64_t rate = 0;
	const struct ctl_option options[] = {
		{ "rate", CTL_SIZE, &rate, "SIZE", "not faster than so many bytes a second" },
		CTL_BACKING_OPTIONS(&both.backing),
	};
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);

	if (status != CTL_GO)
		return status;
	both.path = argv[optind];
	status = open_both(&both, 0, 0);
	return status != CTL_OK ? status : close_both(&both, scrub(&both, rate));
}

/* ---- grow ---- */

int ctl_grow(const struct ctl_command *command, int argc, char **argv)
{
	struct both both = { 0 };
	uint64_t size_bytes = 0;
	const struct ctl_option options[] = {
		{ "size", CTL_SIZE, &size_bytes, "SIZE", "how large the cache file is to be; default: as it is now" },
		CTL_BACKING_OPTIONS(&both.backing),
	};
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);
	struct pcache_stats stats = { .size = sizeof(stats) };

	if (status != CTL_GO)
		return status;
	both.path = argv[optind];
	status = open_both(&both, PCACHE_OPEN_GROW, size_bytes);
	if (status != CTL_OK)
		return status;
	pcache_stats(both.cache, &stats);
	printf("%s: %" PRIu64 " segments of %" PRIu64 " bytes\n", both.path, stats.segments, stats.segment_bytes);
	return close_both(&both, CTL_OK);
}
