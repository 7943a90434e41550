/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_data.c - the public functions that read, write, flush and drain.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "enter.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

ssize_t pcache_read(struct pcache *cache, void *buf, size_t len, uint64_t off, unsigned flags)
{
	int ret = pc_enter(cache, flags, PCACHE_NOWAIT);

	if (ret < 0)
		return ret;
	ret = pc_check_buffer(cache, buf, len);
	if (ret < 0)
		return ret;
	if (off >= cache->backing->size_bytes || len == 0)
		return 0;
	return pc_io_read(cache, buf, pc_min64(len, cache->backing->size_bytes - off), off, flags);
}

static ssize_t end_write(struct pcache *cache, ssize_t ret, uint64_t start_ns)
{
	if (ret >= 0)
		pc_cache_end_sample(cache, PCACHE_LATENCY_WRITE, start_ns);
	return ret;
}

ssize_t pcache_write(struct pcache *cache, const void *buf, size_t len, uint64_t off, unsigned flags)
{
	int ret = pc_enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);
	uint64_t start_ns;

	if (ret < 0)
		return ret;
	ret = pc_check_buffer(cache, buf, len);
	if (ret < 0)
		return ret;
	ret = pc_check_write(cache, len, off);
	if (ret < 0 || len == 0)
		return ret;
	start_ns = pc_stats_sample();
	return end_write(cache, pc_io_write(cache, buf, len, off, flags), start_ns);
}

/* Every buffer, and their sum. */
static int check_vector(const struct pcache *cache, const struct iovec *iov, int iovcnt, size_t *ret_len)
{
	size_t len = 0;

	if (iovcnt < 0 || iovcnt > IOV_MAX || (iov == NULL && iovcnt > 0))
		return pc_fail(&cache->config.log, -EINVAL, "%d buffers: not from 0 to %d, or none given", iovcnt, IOV_MAX);
	for (int i = 0; i < iovcnt; i++) {
		int ret = iov[i].iov_len == 0 ? 0 : pc_check_buffer(cache, iov[i].iov_base, iov[i].iov_len);

		if (ret < 0)
			return ret;
		if (iov[i].iov_len > SSIZE_MAX - len)
			return pc_fail(&cache->config.log, -EINVAL, "the buffers together are too large");
		len += iov[i].iov_len;
	}
	*ret_len = len;
	return 0;
}

ssize_t pcache_readv(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags)
{
	size_t len;
	int ret = pc_enter(cache, flags, PCACHE_NOWAIT);

	if (ret == 0)
		ret = check_vector(cache, iov, iovcnt, &len);
	return ret < 0 || len == 0 ? ret : pc_vector_read(cache, iov, iovcnt, off, flags);
}

ssize_t pcache_writev(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags)
{
	size_t len;
	uint64_t start_ns;
	int ret = pc_enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);

	if (ret == 0)
		ret = check_vector(cache, iov, iovcnt, &len);
	if (ret == 0)
		ret = pc_check_write(cache, len, off);
	if (ret < 0 || len == 0)
		return ret;
	start_ns = pc_stats_sample();
	return end_write(cache, pc_vector_write(cache, iov, iovcnt, off, flags), start_ns);
}

static int compare_extents(const void *a, const void *b)
{
	const struct pcache_extent *left = a;
	const struct pcache_extent *right = b;

	return (left->off > right->off) - (left->off < right->off);
}

/* Sorted, each begins behind the end of the one before. */
static int check_overlap(const struct pcache *cache, const struct pcache_extent *extents, size_t count)
{
	PC_FREE struct pcache_extent *sorted = malloc((count + 1) * sizeof(*sorted));
	uint64_t end = 0;

	if (sorted == NULL)
		return -ENOMEM;
	memcpy(sorted, extents, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_extents);
	for (size_t i = 0; i < count; i++) {
		if (sorted[i].len == 0)
			continue;
		if (sorted[i].off < end)
			return pc_fail(&cache->config.log, -EINVAL, "two extents overlap at offset %llu",
				       (unsigned long long)sorted[i].off);
		end = sorted[i].off + sorted[i].len;
	}
	return 0;
}

int pcache_write_atomic(struct pcache *cache, const struct pcache_extent *extents, size_t count, unsigned flags)
{
	int ret = pc_enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);
	uint64_t start_ns;

	if (ret < 0)
		return ret;
	if (extents == NULL && count > 0)
		return pc_fail(&cache->config.log, -EINVAL, "the extents are NULL");
	if (count > cache->max_atomic_bytes)
		return -E2BIG; /* more extents than bytes */
	for (size_t i = 0; i < count && ret == 0; i++) {
		ret = extents[i].len == 0 ? 0 : pc_check_buffer(cache, extents[i].buf, extents[i].len);
		if (ret == 0)
			ret = pc_check_write(cache, extents[i].len, extents[i].off);
	}
	if (ret == 0)
		ret = check_overlap(cache, extents, count);
	if (ret < 0 || count == 0)
		return ret;
	start_ns = pc_stats_sample();
	return (int)end_write(cache, pc_vector_write_atomic(cache, extents, count, flags), start_ns);
}

static int zero(struct pcache *cache, uint16_t flag, uint64_t off, uint64_t len, unsigned flags)
{
	int ret = pc_enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);

	if (ret == 0)
		ret = pc_check_write(cache, len, off);
	return ret < 0 || len == 0 ? ret : pc_zero_range(cache, flag, len, off, flags);
}

int pcache_write_zeroes(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags)
{
	return zero(cache, PCM_KEY_ZERO, off, len, flags);
}

int pcache_discard(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags)
{
	return zero(cache, PCM_KEY_DISCARD, off, len, flags);
}

int pcache_flush(struct pcache *cache, unsigned flags)
{
	int ret = pc_enter(cache, flags, 0);
	uint64_t start_ns;

	if (ret < 0)
		return ret;
	start_ns = pc_stats_sample();
	pc_stats_add(cache->stats, PC_COUNT_FLUSHES, 1);
	ret = cache->config.readonly ? 0 : pc_io_flush(cache);
	if (ret == 0)
		pc_cache_end_sample(cache, PCACHE_LATENCY_FLUSH, start_ns);
	return ret;
}

int pcache_drain(struct pcache *cache, pcache_progress_fn progress, void *arg, unsigned flags)
{
	int ret = pc_enter(cache, flags, 0);

	if (ret < 0)
		return ret;
	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "drain: the cache was opened read-only");
	return pc_writeback_drain(cache, progress, arg);
}
