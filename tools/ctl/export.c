/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * export.c - backing and cache merged into a file of their own. Both are only read.
 *
 * (EX1) The file is new, and is taken away again if it does not become complete.
 * (EX2) With --salvage what cannot be read from the cache is as the backing has it, is listed, and makes the exit status 4.
 */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES (1u << 20)
#define BLOCK_BYTES 4096u

struct export {
	const char *path;
	const char *out_path;
	struct ctl_backing backing;
	bool salvage;
	struct pcache *cache;
	int backing_fd;
	int out_fd;
	uint64_t lost_bytes;
	uint8_t *buf; /* PIECE_BYTES */
};

static int write_all(int fd, const uint8_t *from, size_t len, uint64_t off)
{
	while (len > 0) {
		ssize_t count = pwrite(fd, from, len, (off_t)off);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return count < 0 ? -errno : -EIO;
		from += count;
		off += (uint64_t)count;
		len -= (size_t)count;
	}
	return 0;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* (EX2) */
static int read_salvaged(struct export *export, uint64_t off, size_t len)
{
	for (size_t at = 0; at < len; at += BLOCK_BYTES) {
		size_t bytes = len - at < BLOCK_BYTES ? len - at : BLOCK_BYTES;
		ssize_t count = pcache_read(export->cache, export->buf + at, bytes, off + at, 0);

		if (count == (ssize_t)bytes)
			continue;
		if (pread(export->backing_fd, export->buf + at, bytes, (off_t)(off + at)) != (ssize_t)bytes)
			return -EIO;
		export->lost_bytes += bytes;
		ctl_say("%s: %zu bytes at %" PRIu64 " are damaged; there the file is as the backing", export->path, bytes,
			off + at);
	}
	return 0;
}

static int copy_piece(struct export *export, uint64_t off, size_t len)
{
	ssize_t count = pcache_read(export->cache, export->buf, len, off, 0);
	int ret = count < 0 ? (int)count : 0;

	if (ret < 0 && export->salvage)
		ret = read_salvaged(export, off, len);
	if (ret < 0)
		return ctl_refused(export->path, ret);
	if (!is_zero(export->buf, len)) /* else a hole */
		ret = write_all(export->out_fd, export->buf, len, off);
	return ret < 0 ? ctl_fail(CTL_FAILED, "%s: %s", export->out_path, strerror(-ret)) : CTL_OK;
}

static int copy(struct export *export)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	struct ctl_progress progress;
	int status = CTL_OK;

	pcache_stats(export->cache, &stats);
	ctl_catch_stop();
	ctl_progress_begin(&progress, "export");
	for (uint64_t off = 0; off < stats.backing_bytes && status == CTL_OK; off += PIECE_BYTES) {
		uint64_t left = stats.backing_bytes - off;

		status = copy_piece(export, off, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES);
		ctl_progress_update(&progress, off, stats.backing_bytes);
		if (status == CTL_OK && ctl_is_stopped())
			status = ctl_fail(CTL_STOPPED, "%s: stopped; %s is taken away", export->path, export->out_path);
	}
	ctl_progress_end(&progress);
	if (status == CTL_OK && (ftruncate(export->out_fd, (off_t)stats.backing_bytes) < 0 || fsync(export->out_fd) < 0))
		status = ctl_fail(CTL_FAILED, "%s: %s", export->out_path, strerror(errno));
	if (status == CTL_OK && stats.salvage_segments + stats.salvage_gaps + stats.salvage_lines + export->lost_bytes != 0)
		status = CTL_DAMAGED;
	return status;
}

static int write_image(struct export *export)
{
	int status;

	export->buf = malloc(PIECE_BYTES);
	if (export->buf == NULL)
		return ctl_fail(CTL_FAILED, "out of memory");
	export->out_fd = open(export->out_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (export->out_fd < 0) {
		free(export->buf);
		return ctl_fail(CTL_FAILED, "%s: %s; name a file that does not exist", export->out_path, strerror(errno));
	}
	status = copy(export);
	free(export->buf);
	close(export->out_fd);
	if (status != CTL_OK && status != CTL_DAMAGED)
		unlink(export->out_path); /* (EX1) */
	return status;
}

int ctl_export(const struct ctl_command *command, int argc, char **argv)
{
	struct export export = { 0 };
	const struct ctl_option options[] = {
		{ "salvage", CTL_FLAG, &export.salvage, NULL, "from a damaged cache: all that is valid" },
		CTL_BACKING_OPTIONS(&export.backing),
	};
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 2, 2);
	struct pcache_config config;

	if (status != CTL_GO)
		return status;
	export.path = argv[optind];
	export.out_path = argv[optind + 1];
	pcache_config_init(&config);
	config.flags = export.salvage ? PCACHE_OPEN_SALVAGE : PCACHE_OPEN_READONLY;
	status = ctl_open_cache(export.path, &export.backing, &config, &export.backing_fd, &export.cache);
	if (status != CTL_OK)
		return status;
	status = write_image(&export);
	pcache_close(export.cache, 0);
	close(export.backing_fd);
	return status;
}
