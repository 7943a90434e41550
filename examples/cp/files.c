/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * files.c - source and destination: what kind of file each is, which file it is, and its size.
 *
 * (F1) A file is told by its file system and inode number, not by its name or device number: these outlive a reboot
 *      on most file systems. A block device is told by its device number.
 */
#include "cp.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int identify(const char *name, int fd, const struct stat *status, uint8_t ret_id[CP_ID_BYTES])
{
	static const char device_mark[] = "blockdev";
	struct statvfs system;
	uint64_t first = status->st_rdev;
	uint64_t second;

	memcpy(&second, device_mark, sizeof(second));
	if (!S_ISBLK(status->st_mode)) {
		if (fstatvfs(fd, &system) != 0)
			return cp_fail(CP_FAILED, "%s: %s", name, strerror(errno));
		first = system.f_fsid ? system.f_fsid : status->st_dev;
		second = status->st_ino;
	}
	memcpy(ret_id, &first, sizeof(first));
	memcpy(ret_id + sizeof(first), &second, sizeof(second));
	return CP_OK;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int measure_source(struct cp_source *source)
{
	off_t end;

	source->stream = !S_ISREG(source->status.st_mode) && !S_ISBLK(source->status.st_mode);
	if (source->stream)
		return CP_OK;
	if (strcmp(source->name, "-") == 0) {
		off_t start = lseek(source->fd, 0, SEEK_CUR);

		if (start < 0)
			return cp_fail(CP_FAILED, "%s: %s", source->name, strerror(errno));
		source->start_off = (uint64_t)start;
	}
	end = S_ISREG(source->status.st_mode) ? source->status.st_size : lseek(source->fd, 0, SEEK_END);
	if (end < 0)
		return cp_fail(CP_FAILED, "%s: %s", source->name, strerror(errno));
	source->size_bytes = (uint64_t)end > source->start_off ? (uint64_t)end - source->start_off : 0;
	posix_fadvise(source->fd, (off_t)source->start_off, 0, POSIX_FADV_SEQUENTIAL);
	return CP_OK;
}

int cp_source_open(const char *name, struct cp_source *ret_source)
{
	struct cp_source source = { .name = name };
	int status;

	if (strcmp(name, "-") == 0)
		source.fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	else
		source.fd = open(name, O_RDONLY | O_CLOEXEC);
	if (source.fd < 0)
		return cp_fail(CP_FAILED, "%s: %s", name, strerror(errno));
	if (fstat(source.fd, &source.status) != 0)
		status = cp_fail(CP_FAILED, "%s: %s", name, strerror(errno));
	else if (S_ISDIR(source.status.st_mode))
		status = cp_fail(CP_USAGE, "%s: is a directory", name);
	else
		status = identify(name, source.fd, &source.status, source.id);
	if (!status)
		status = measure_source(&source);
	if (status) {
		close(source.fd);
		return status;
	}
	*ret_source = source;
	return CP_OK;
}

ssize_t cp_source_read(struct cp_source *source, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		char *to = (char *)buf + done;
		off_t from = (off_t)(source->start_off + off + done);
		ssize_t got = source->stream ? read(source->fd, to, len - done)
					     : pread(source->fd, to, len - done, from);

		if (got < 0 && errno == EINTR && !cp_caught_signal)
			continue;
		if (got < 0 && errno == EINTR)
			break; /* what was read must not be lost: a pipe cannot be read again */
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	if (done == 0 && len > 0 && cp_caught_signal)
		return -EINTR;
	return (ssize_t)done;
}

int cp_source_check_unchanged(const struct cp_source *source)
{
	struct stat now;

	if (!S_ISREG(source->status.st_mode))
		return CP_OK;
	if (fstat(source->fd, &now) != 0)
		return cp_fail(CP_FAILED, "%s: %s", source->name, strerror(errno));
	if (now.st_size == source->status.st_size && now.st_mtim.tv_sec == source->status.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == source->status.st_mtim.tv_nsec)
		return CP_OK;
	return cp_fail(CP_FAILED, "%s: was changed while it was copied", source->name);
}

static int open_destination_file(const char *name, bool create, mode_t mode, bool *ret_created)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && create) {
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		*ret_created = fd >= 0;
	}
	return fd < 0 ? -errno : fd;
}

/* O_EXCL on a block device: -EBUSY where it is mounted. */
static int claim_device(struct cp_destination *destination)
{
	int fd = open(destination->name, O_RDWR | O_EXCL | O_CLOEXEC);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (end < 0) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return cp_fail(CP_FAILED, "%s: %s", destination->name, strerror(error));
	}
	close(destination->fd);
	destination->fd = fd;
	destination->device = true;
	destination->size_bytes = (uint64_t)end;
	return CP_OK;
}

static int check_destination(const struct cp_options *options, struct cp_destination *destination)
{
	struct stat file;
	int status;

	if (fstat(destination->fd, &file) != 0)
		return cp_fail(CP_FAILED, "%s: %s", destination->name, strerror(errno));
	if (!S_ISREG(file.st_mode) && !S_ISBLK(file.st_mode))
		return cp_fail(CP_USAGE, "%s: is neither a regular file nor a block device", destination->name);
	destination->size_bytes = (uint64_t)file.st_size;
	status = S_ISBLK(file.st_mode) ? claim_device(destination) : CP_OK;
	if (status)
		return status;
	if (options->direct && fcntl(destination->fd, F_SETFL, O_DIRECT) != 0)
		return cp_fail(CP_USAGE, "%s: --direct: %s", destination->name, strerror(errno));
	return identify(destination->name, destination->fd, &file, destination->id);
}

int cp_destination_open(const struct cp_options *options, bool create, mode_t mode,
			struct cp_destination *ret_destination)
{
	struct cp_destination destination = { .name = options->destination };
	int status;

	destination.fd = open_destination_file(destination.name, create, mode, &destination.created);
	if (destination.fd < 0)
		return cp_fail(destination.fd == -EISDIR ? CP_USAGE : CP_FAILED, "%s: %s", destination.name,
			       strerror(-destination.fd));
	status = check_destination(options, &destination);
	if (status) {
		close(destination.fd);
		if (destination.created)
			unlink(destination.name);
		return status;
	}
	*ret_destination = destination;
	return CP_OK;
}

int cp_destination_resize(struct cp_destination *destination, uint64_t size_bytes)
{
	if (destination->device) {
		if (size_bytes > destination->size_bytes)
			return cp_fail(CP_FAILED, "%s: the device has %ju bytes, %ju are needed", destination->name,
				       (uintmax_t)destination->size_bytes, (uintmax_t)size_bytes);
		return CP_OK;
	}
	if (size_bytes != destination->size_bytes && ftruncate(destination->fd, (off_t)size_bytes) != 0)
		return cp_fail(CP_FAILED, "%s: cannot make it %ju bytes long: %s", destination->name,
			       (uintmax_t)size_bytes, strerror(errno));
	destination->size_bytes = size_bytes;
	return cp_destination_sync(destination);
}

int cp_destination_room(const struct cp_destination *destination, uint64_t *ret_bytes)
{
	struct statvfs system;
	struct stat file;
	struct rlimit limit;

	if (destination->device) {
		*ret_bytes = destination->size_bytes;
		return CP_OK;
	}
	if (fstatvfs(destination->fd, &system) != 0 || fstat(destination->fd, &file) != 0 ||
	    getrlimit(RLIMIT_FSIZE, &limit) != 0)
		return cp_fail(CP_FAILED, "%s: %s", destination->name, strerror(errno));

	/* its present blocks are written over; whole pages keep the write-back aligned */
	uint64_t bytes = (uint64_t)system.f_bavail * system.f_frsize + (uint64_t)file.st_blocks * 512;

	if (limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur)
		bytes = limit.rlim_cur;
	bytes &= ~UINT64_C(4095);
	if (bytes == 0)
		return cp_fail(CP_FAILED, "%s: %s", destination->name, strerror(ENOSPC));
	*ret_bytes = bytes;
	return CP_OK;
}

int cp_sync_directory_of(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	free(copy);
	return error;
}

int cp_destination_sync(const struct cp_destination *destination)
{
	int error = fsync(destination->fd) != 0 ? -errno : 0;

	if (!error && !destination->device)
		error = cp_sync_directory_of(destination->name);
	if (error)
		return cp_fail(CP_FAILED, "%s: sync: %s", destination->name, strerror(-error));
	return CP_OK;
}

int cp_check_distinct(const struct cp_options *options, const struct cp_source *source,
		      const struct cp_destination *destination)
{
	const char *const own[] = { options->cache, options->record, options->record_temp };
	struct stat target;
	struct stat other;

	if (fstat(destination->fd, &target) != 0)
		return cp_fail(CP_FAILED, "%s: %s", destination->name, strerror(errno));
	if (same_file(&source->status, &target))
		return cp_fail(CP_USAGE, "%s and %s are the same file", source->name, destination->name);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (stat(own[i], &other) != 0)
			continue;
		if (same_file(&source->status, &other) || same_file(&target, &other))
			return cp_fail(CP_USAGE, "%s is needed for the cache, it cannot be copied from or to", own[i]);
	}
	return CP_OK;
}
