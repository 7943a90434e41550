/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * create.c - make a cache.
 */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct create {
	const char *path;
	struct ctl_backing backing;
	uint64_t backing_bytes;
	const char *mode;
	uint64_t cache_bytes;
	uint64_t segment_bytes;
	uint64_t gc_percent;
};

/* A backing that will only come later: a file of its size is enough to make the cache for it. */
static int open_stand_in(uint64_t bytes, int *ret_fd)
{
	*ret_fd = memfd_create("pcachectl", MFD_CLOEXEC);
	if (*ret_fd >= 0 && ftruncate(*ret_fd, (off_t)bytes) == 0)
		return CTL_OK;
	return ctl_fail(CTL_FAILED, "--backing-size: %s", strerror(errno));
}

static int open_backing(const struct create *create, struct pcache_config *config, int *ret_fd)
{
	const struct ctl_backing *backing = &create->backing;
	int status;

	if ((backing->path == NULL) == (create->backing_bytes == 0))
		return ctl_fail(CTL_USAGE, "create: give either --backing PATH, or --backing-size SIZE of one that comes later");
	status = backing->path != NULL ? ctl_open_backing(backing->path, false, ret_fd) :
					 open_stand_in(create->backing_bytes, ret_fd);
	if (status != CTL_OK)
		return status;
	if (backing->id_text != NULL && !ctl_parse_id(backing->id_text, config->backing_id))
		return ctl_fail(CTL_USAGE, "--backing-id %s: an id has 32 hexadecimal digits", backing->id_text);
	if (backing->id_text == NULL && backing->path != NULL)
		ctl_derive_id(*ret_fd, config->backing_id);
	return CTL_OK;
}

static int fill_config(const struct create *create, struct pcache_config *config)
{
	pcache_config_init(config);
	if (create->cache_bytes == 0)
		return ctl_fail(CTL_USAGE, "create: --size SIZE is missing: how large the cache file is to be");
	if (create->segment_bytes > UINT32_MAX || create->gc_percent > 95)
		return ctl_fail(CTL_USAGE, "create: a segment has 64K to 64M, and --gc-percent goes from 1 to 95");
	config->flags = PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL;
	config->cache_size_bytes = create->cache_bytes;
	config->segment_size_bytes = (uint32_t)create->segment_bytes;
	config->gc_percent = (uint32_t)create->gc_percent;
	config->mode = create->mode == NULL ? PCACHE_MODE_WRITEBACK : ctl_mode_of(create->mode);
	if (config->mode == 0)
		return ctl_fail(CTL_USAGE, "create: --mode %s: there are writeback, writethrough, writearound and writeonly",
				create->mode);
	config->log = ctl_log;
	config->log_arg = (void *)(uintptr_t)create->path; /* only read there */
	return CTL_OK;
}

static int make(const struct create *create, int fd, const struct pcache_config *config)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	struct pcache *cache;
	int error = pcache_open(create->path, fd, config, &cache);

	if (error < 0)
		return ctl_refused(create->path, error);
	pcache_stats(cache, &stats);
	error = pcache_close(cache, 0);
	if (error < 0)
		return ctl_refused(create->path, error);
	printf("%s: %llu segments of %llu bytes, for a backing of %llu bytes; a write is durable %s\n", create->path,
	       (unsigned long long)stats.segments, (unsigned long long)stats.segment_bytes,
	       (unsigned long long)stats.backing_bytes,
	       stats.granularity == PCACHE_GRANULARITY_PAGE ? "after a flush" : "on return");
	return CTL_OK;
}

int ctl_create(const struct ctl_command *command, int argc, char **argv)
{
	struct create create = { 0 };
	const struct ctl_option options[] = {
		{ "size", CTL_SIZE, &create.cache_bytes, "SIZE", "size of the cache file" },
		{ "segment-size", CTL_SIZE, &create.segment_bytes, "SIZE", "64K to 64M, a power of two; default 16M" },
		{ "backing", CTL_TEXT, &create.backing.path, "PATH", "the file or block device that it is for" },
		{ "backing-size", CTL_SIZE, &create.backing_bytes, "SIZE", "... or its size, where it comes later" },
		{ "backing-id", CTL_TEXT, &create.backing.id_text, "HEX", "its id; one is derived where none is given" },
		{ "mode", CTL_TEXT, &create.mode, "MODE", "writeback (default), writethrough, writearound, writeonly" },
		{ "gc-percent", CTL_NUMBER, &create.gc_percent, "N", "reclaim begins above this share of segments; default 70" },
	};
	struct pcache_config config;
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);
	int fd = -1;

	if (status != CTL_GO)
		return status;
	create.path = argv[optind];
	status = fill_config(&create, &config);
	if (status == CTL_OK)
		status = open_backing(&create, &config, &fd);
	if (status == CTL_OK)
		status = make(&create, fd, &config);
	if (fd >= 0)
		close(fd);
	return status;
}
