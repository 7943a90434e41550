/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * open.c - the two files of a cache, and whether they belong together.
 *
 * (OP1) An id that this program made begins with ID_TAG: only such a one is derived again and compared. An application's own
 *       id is compared where the user names it.
 */
#include "image.h"

#include "crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const uint8_t id_tag[4] = { 'c', 't', 'l', 1 };

/* ---- ids ---- */

/* What of a block device stays the same when it is found under another name. */
static size_t read_device_name(dev_t device, char *text, size_t room)
{
	static const char *const files[] = { "dm/uuid", "wwid", "device/wwid", "serial", "device/serial", "loop/backing_file" };

	for (size_t i = 0; i < CTL_ARRAY_SIZE(files); i++) {
		char path[128];
		ssize_t len;
		int fd;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(device), minor(device), files[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? -1 : read(fd, text, room);
		if (fd >= 0)
			close(fd);
		if (len > 0)
			return (size_t)len;
	}
	return 0;
}

/* FNV-1a: only to tell one name from another. */
static uint64_t hash(const char *name, size_t len)
{
	uint64_t value = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		value = (value ^ (uint8_t)name[i]) * 0x100000001b3u;
	return value;
}

void ctl_derive_id(int fd, uint8_t ret_id[CTL_ID_BYTES])
{
	char name[256] = { 0 };
	struct statfs fs;
	struct stat status;
	size_t len = 0;
	uint64_t first;
	uint32_t second;

	memset(ret_id, 0, CTL_ID_BYTES);
	if (fstat(fd, &status) < 0)
		return;
	if (S_ISBLK(status.st_mode))
		len = read_device_name(status.st_rdev, name, sizeof(name));
	else if (fstatfs(fd, &fs) == 0)
		len = (size_t)snprintf(name, sizeof(name), "file %08x%08x %" PRIu64, (unsigned)fs.f_fsid.__val[0],
				       (unsigned)fs.f_fsid.__val[1], (uint64_t)status.st_ino);
	if (len == 0)
		return;
	first = hash(name, len);
	second = pc_crc32c(0, name, len);
	memcpy(ret_id, id_tag, sizeof(id_tag));
	memcpy(ret_id + sizeof(id_tag), &first, sizeof(first));
	memcpy(ret_id + sizeof(id_tag) + sizeof(first), &second, sizeof(second));
}

bool ctl_id_is_derived(const uint8_t id[CTL_ID_BYTES])
{
	return memcmp(id, id_tag, sizeof(id_tag)) == 0;
}

bool ctl_id_is_none(const uint8_t id[CTL_ID_BYTES])
{
	static const uint8_t none[CTL_ID_BYTES];

	return memcmp(id, none, sizeof(none)) == 0;
}

bool ctl_parse_id(const char *text, uint8_t ret_id[CTL_ID_BYTES])
{
	if (strlen(text) != 2 * CTL_ID_BYTES || strspn(text, "0123456789abcdefABCDEF") != 2 * CTL_ID_BYTES)
		return false;
	for (size_t i = 0; i < CTL_ID_BYTES; i++)
		ret_id[i] = (uint8_t)strtoul((char[]){ text[2 * i], text[2 * i + 1], '\0' }, NULL, 16);
	return true;
}

/* ---- open ---- */

int ctl_open_backing(const char *path, bool readonly, int *ret_fd)
{
	*ret_fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (*ret_fd < 0)
		return ctl_fail(CTL_FAILED, "%s: the backing cannot be opened: %s; what is dirty stays in the cache%s", path,
				strerror(errno), errno == ENOENT ? "; see docs/operations.md, \"The backing is lost\"" : "");
	return CTL_OK;
}

/* (OP1) */
static int set_id(const char *path, const struct ctl_backing *backing, int fd, struct pcache_config *config)
{
	struct image image;
	int status;

	if (backing->id_text != NULL && !ctl_parse_id(backing->id_text, config->backing_id))
		return ctl_fail(CTL_USAGE, "--backing-id %s: an id has 32 hexadecimal digits", backing->id_text);
	if (backing->any)
		config->flags |= PCACHE_OPEN_ANY_BACKING;
	status = image_open(path, false, &image);
	if (status != CTL_OK)
		return status;
	if (backing->id_text == NULL && image.info_record.is_sane && ctl_id_is_derived(image.info.backing_id))
		ctl_derive_id(fd, config->backing_id);
	image_close(&image);
	return CTL_OK;
}

int ctl_open_cache(const char *path, const struct ctl_backing *backing, struct pcache_config *config, int *ret_fd,
		   struct pcache **ret_cache)
{
	bool readonly = (config->flags & (PCACHE_OPEN_READONLY | PCACHE_OPEN_SALVAGE)) != 0;
	int status;
	int error;

	if (backing->path == NULL)
		return ctl_fail(CTL_USAGE, "%s: --backing PATH is missing: the file or device that this cache belongs to", path);
	status = ctl_open_backing(backing->path, readonly, ret_fd);
	if (status != CTL_OK)
		return status;
	status = set_id(path, backing, *ret_fd, config);
	config->log = ctl_log;
	config->log_arg = (void *)(uintptr_t)path; /* only read there */
	error = status == CTL_OK ? pcache_open(path, *ret_fd, config, ret_cache) : 0;
	if (error < 0)
		status = ctl_refused(path, error);
	if (status != CTL_OK)
		close(*ret_fd);
	return status;
}

/* ---- names ---- */

static const char *const modes[] = { "default", "writeback", "writethrough", "writearound", "writeonly" };

uint32_t ctl_mode_of(const char *name)
{
	for (uint32_t mode = PCACHE_MODE_WRITEBACK; mode < CTL_ARRAY_SIZE(modes); mode++)
		if (strcmp(modes[mode], name) == 0)
			return mode;
	return 0;
}

const char *ctl_mode_name(uint32_t mode)
{
	return mode < CTL_ARRAY_SIZE(modes) ? modes[mode] : "?";
}

const char *ctl_granularity_name(uint32_t granularity)
{
	static const char *const names[] = { "byte", "cache line", "page" };

	return granularity < CTL_ARRAY_SIZE(names) ? names[granularity] : "?";
}
