/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media_page.c - stores and syncs by system call, for media of page granularity.
 *
 * Stores go through pwrite, so that an error comes back as a result where a store to a mapping would raise SIGBUS.
 *
 * (M1) A failed sync is final: the kernel may have dropped the pages and forgotten the error, so a later success would
 *      prove nothing. Every later sync returns the first error.
 * (M2) A sync serves only callers who asked before it began: what was stored while it ran may be missing from it.
 *
 * Lock: pc_group_sync.lock, a leaf; not held during the system call.
 */
#include "media_file.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define FILL_BYTES 4096

static int write_all(int fd, uint64_t off, const void *source, size_t len)
{
	const uint8_t *next = source;

	while (len > 0) {
		ssize_t count = pwrite(fd, next, len, (off_t)off);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			return -EIO;
		next += count;
		off += (uint64_t)count;
		len -= (size_t)count;
	}
	return 0;
}

int pc_page_fill(int fd, uint64_t off, int byte, size_t len)
{
	uint8_t piece[FILL_BYTES];

	memset(piece, byte, sizeof(piece));
	while (len > 0) {
		size_t piece_len = len < sizeof(piece) ? len : sizeof(piece);
		int ret = write_all(fd, off, piece, piece_len);

		if (ret < 0)
			return ret;
		off += piece_len;
		len -= piece_len;
	}
	return 0;
}

int pc_page_read(int fd, uint64_t off, void *buf, size_t len)
{
	uint8_t *next = buf;

	while (len > 0) {
		ssize_t count = pread(fd, next, len, (off_t)off);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			return -EIO;
		next += count;
		off += (uint64_t)count;
		len -= (size_t)count;
	}
	return 0;
}

int pc_group_sync_init(struct pc_group_sync *group)
{
	int error;

	*group = (struct pc_group_sync){ 0 };
	error = pthread_mutex_init(&group->lock, NULL);
	if (error != 0)
		return -error;
	error = pthread_cond_init(&group->done_cond, NULL);
	if (error != 0)
		pthread_mutex_destroy(&group->lock);
	return -error;
}

void pc_group_sync_destroy(struct pc_group_sync *group)
{
	pthread_cond_destroy(&group->done_cond);
	pthread_mutex_destroy(&group->lock);
}

static int sync_file(int fd, _Atomic uint64_t *syncs)
{
	int ret;

	do {
		atomic_fetch_add_explicit(syncs, 1, memory_order_relaxed);
		ret = fdatasync(fd);
	} while (ret < 0 && errno == EINTR); /* interrupted before it had a result: not a failed sync */
	return ret < 0 ? -errno : 0;
}

static void finish_locked(struct pc_group_sync *group, int result)
{
	group->running = false;
	if (result < 0)
		group->sticky_error = result;
	else
		group->done = group->begun;
	pthread_cond_broadcast(&group->done_cond);
}

/* Everything stored in the file before the call is durable on return 0. */
static int sync_in_group(struct pc_group_sync *group, int fd, _Atomic uint64_t *syncs)
{
	uint64_t wanted;
	int ret;

	pthread_mutex_lock(&group->lock);
	/* The one that may be running began before this call, so the next one counts (M2). */
	wanted = group->begun + 1;
	while (group->done < wanted && group->sticky_error == 0) {
		if (group->running) {
			pthread_cond_wait(&group->done_cond, &group->lock);
			continue;
		}
		group->begun++;
		group->running = true;
		pthread_mutex_unlock(&group->lock);
		ret = sync_file(fd, syncs);
		pthread_mutex_lock(&group->lock);
		finish_locked(group, ret);
	}
	/* A sync that served this caller and returned 0 counts, even if the one after it has failed by now. */
	ret = group->done >= wanted ? 0 : group->sticky_error;
	pthread_mutex_unlock(&group->lock);
	return ret;
}

static int page_copy(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	(void)kind;
	if (pc_media_is_bad(media, off, len))
		return -EIO; /* readers of the mapping would not find it */
	return write_all(pc_media_file_of(media)->fd, off, source, len);
}

static int page_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	return write_all(pc_media_file_of(media)->fd, off, &value, sizeof(value));
}

static int page_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	return pc_page_fill(pc_media_file_of(media)->fd, off, byte, len);
}

static int page_flush(struct pc_media *media, uint64_t off, size_t len)
{
	(void)media;
	(void)off;
	(void)len;
	return 0;
}

static int page_drain(struct pc_media *media)
{
	(void)media;
	return 0;
}

static int page_sync(struct pc_media *media)
{
	struct pc_media_file *file = pc_media_file_of(media);

	return sync_in_group(&file->group_sync, file->fd, &media->syncs);
}

const struct pc_media_ops pc_media_page_ops = {
	.copy = page_copy,
	.store8 = page_store8,
	.set = page_set,
	.flush = page_flush,
	.drain = page_drain,
	.sync = page_sync,
	.read = pc_media_file_read,
	.close = pc_media_file_close,
};
