/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_peek.c - the public function that looks at a cache from outside: without its lock, and without a store.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "media.h"
#include "meta.h"
#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Looks at a page that is written at the same time: one of the two is whole at every moment, so this is plenty. */
#define TRIES 16u

/* Just enough of a media to read records from. */
struct outside {
	struct pc_media media;
	int fd;
};

static int outside_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	const struct outside *outside = (const struct outside *)media;
	ssize_t ret = pread(outside->fd, buf, len, (off_t)off);

	return ret == (ssize_t)len ? 0 : -EIO;
}

static_assert(offsetof(struct outside, media) == 0, "outside_read() takes one for the other");

static const struct pc_media_ops outside_ops = { .read = outside_read };

static int open_outside(const char *path, struct outside *ret_outside)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO is refused, not waited for */

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	*ret_outside = (struct outside){ .media = { .ops = &outside_ops, .readonly = true }, .fd = fd };
	return 0;
}

static int read_uuid(struct outside *outside, uint8_t ret_uuid[16])
{
	struct pc_meta meta = { .off = PCM_SUPER_OFF, .bytes = sizeof(struct pcm_super), .magic = PCM_MAGIC_SUPER };
	struct pcm_super super;
	int ret = pc_meta_load(&outside->media, &meta, &super);

	if (ret < 0)
		return ret;
	if (pc_get32(super.version) != PCM_VERSION)
		return -EPROTONOSUPPORT;
	memcpy(ret_uuid, super.uuid, sizeof(super.uuid));
	return 0;
}

/* The newer of the two slots that are whole. */
static bool read_newest(struct outside *outside, const uint8_t uuid[16], struct pc_peek_page *ret_page)
{
	bool found = false;

	for (unsigned slot = 0; slot < 2; slot++) {
		struct pc_peek_page page;
		struct pcm_live live;

		if (outside_read(&outside->media, &live, PCM_LIVE_OFF + slot * PCM_SLOT_STRIDE, sizeof(live)) < 0 ||
		    !pc_peek_decode(&live, uuid, &page) || (found && page.number <= ret_page->number))
			continue;
		*ret_page = page;
		found = true;
	}
	return found;
}

/* Somebody holds the lock of one who may write. */
static bool has_writer(const struct outside *outside)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	return fcntl(outside->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK;
}

static uint64_t age_ns(uint64_t written_ns)
{
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return now_ns < written_ns ? 0 : now_ns - written_ns;
}

static int look(struct outside *outside, struct pcache_stats *stats, struct pcache_peek *peek)
{
	uint32_t stats_size = stats->size;
	struct pc_peek_page page;
	struct pcache_peek out = { .size = peek->size };
	int ret = read_uuid(outside, out.uuid);
	bool found = false;

	for (unsigned i = 0; i < TRIES && ret == 0 && !found; i++)
		found = read_newest(outside, out.uuid, &page);
	if (ret < 0 || !found)
		return ret < 0 ? ret : -ENODATA;
	out.is_open = has_writer(outside);
	out.is_closed = page.closed;
	out.pid = page.pid;
	out.written_ns = page.written_ns;
	out.age_ns = age_ns(page.written_ns);
	memcpy(out.times, page.times, sizeof(out.times));
	memcpy(peek, &out, sizeof(out));
	page.stats.size = stats_size;
	memcpy(stats, &page.stats, pc_min64(stats_size, sizeof(page.stats)));
	return 0;
}

int pcache_stats_peek(const char *cache_path, struct pcache_stats *stats, struct pcache_peek *peek)
{
	struct outside outside;
	int ret;

	if (cache_path == NULL || stats == NULL || stats->size < offsetof(struct pcache_stats, max_atomic_bytes) ||
	    peek == NULL || peek->size < sizeof(*peek))
		return -EINVAL;
	ret = open_outside(cache_path, &outside);
	if (ret < 0)
		return ret;
	ret = look(&outside, stats, peek);
	close(outside.fd);
	return ret;
}
