/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache.c - the public functions: check the arguments, enter, one flow, leave.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "cache.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#define STRING(x)  #x
#define NUMBER(x)  STRING(x)
#define VERSION    NUMBER(PCACHE_VERSION_MAJOR) "." NUMBER(PCACHE_VERSION_MINOR) "." NUMBER(PCACHE_VERSION_PATCH)

const char *pcache_version(void)
{
	return VERSION;
}

static const struct {
	int error;
	const char *text;
} messages[] = {
	{ 0, "success" },
	{ EINVAL, "bad argument" },
	{ ENOENT, "no such cache file" },
	{ EEXIST, "the cache exists already" },
	{ EUCLEAN, "not a pcache file, or its metadata is damaged" },
	{ EBADMSG, "a checksum does not match" },
	{ EPROTONOSUPPORT, "format not known to this version" },
	{ EMEDIUMTYPE, "the cache belongs to another backing" },
	{ EBUSY, "the cache is already open" },
	{ EROFS, "opened read-only, or not writable" },
	{ ENOSPC, "no space, or past the end of the backing" },
	{ EAGAIN, "would have to wait" },
	{ EIO, "the media or the backing failed" },
	{ EOPNOTSUPP, "not supported" },
	{ ECANCELED, "canceled" },
	{ ENOTRECOVERABLE, "the handle was inherited over fork" },
	{ ENOMEM, "out of memory" },
	{ E2BIG, "longer than what can be written at once" },
};

const char *pcache_strerror(int error)
{
	const char *text;
	int code = error < 0 ? -error : error;

	for (size_t i = 0; i < PC_ARRAY_SIZE(messages); i++)
		if (messages[i].error == code)
			return messages[i].text;
	text = strerrordesc_np(code);
	return text == NULL ? "unknown error" : text;
}

void pcache_config_init(struct pcache_config *config)
{
	if (config == NULL)
		return;
	*config = (struct pcache_config){ .size = sizeof(*config) };
}

/* ---- open and close ---- */

static int open_media(const char *path, const struct pc_config *config, struct pc_media **ret_media)
{
	const struct pc_media_request request = {
		.path = path,
		.create_bytes = config->cache_size_bytes,
		.create = config->create,
		.exclusive = config->exclusive,
		.readonly = config->readonly,
	};

	return pc_media_open(&request, &config->log, ret_media);
}

int pcache_open(const char *cache_path, int backing_fd, const struct pcache_config *config, struct pcache **ret_cache)
{
	struct pc_config checked;
	struct pc_backing *backing;
	struct pc_media *media;
	int ret;

	if (cache_path == NULL || ret_cache == NULL)
		return -EINVAL;
	ret = pc_config_check(config, &checked);
	if (ret < 0)
		return ret;
	ret = pc_backing_open(backing_fd, checked.queue_depth, checked.readonly, &checked.log, &backing);
	if (ret < 0)
		return ret;
	ret = open_media(cache_path, &checked, &media);
	if (ret < 0) {
		pc_backing_close(backing);
		return ret;
	}
	return pc_cache_open(&checked, media, backing, false, ret_cache);
}

/* A child of fork() has the memory, but neither the threads nor the map. */
static bool is_inherited(const struct pcache *cache)
{
	return *(const volatile uint32_t *)cache->fork_guard == 0;
}

int pcache_close(struct pcache *cache, unsigned flags)
{
	int ret;

	if (cache == NULL)
		return 0;
	if (is_inherited(cache))
		return -ENOTRECOVERABLE; /* threads and map are the parent's: the memory goes with the child */
	ret = pc_cache_close(cache, (flags & PCACHE_CLOSE_DRAIN) != 0);
	return (flags & ~PCACHE_CLOSE_DRAIN) != 0 ? -EINVAL : ret;
}

int pcache_handle_sigbus(const void *addr)
{
	return pc_media_handle_fault(addr) ? 1 : 0;
}

/* ---- data ---- */

static int enter(const struct pcache *cache, unsigned flags, unsigned known_flags)
{
	if (cache == NULL)
		return -EINVAL;
	if (is_inherited(cache))
		return -ENOTRECOVERABLE;
	if ((flags & ~known_flags) != 0)
		return pc_fail(&cache->config.log, -EINVAL, "unknown flags 0x%x", flags & ~known_flags);
	return 0;
}

static int check_buffer(const struct pcache *cache, const void *buf, size_t len)
{
	if (buf == NULL)
		return pc_fail(&cache->config.log, -EINVAL, "the buffer is NULL");
	if (len > SSIZE_MAX)
		return pc_fail(&cache->config.log, -EINVAL, "a length of %zu bytes is too large", len);
	return 0;
}

ssize_t pcache_read(struct pcache *cache, void *buf, size_t len, uint64_t off, unsigned flags)
{
	int ret = enter(cache, flags, PCACHE_NOWAIT);

	if (ret < 0)
		return ret;
	ret = check_buffer(cache, buf, len);
	if (ret < 0)
		return ret;
	if (off >= cache->backing->size_bytes || len == 0)
		return 0;
	return pc_io_read(cache, buf, pc_min64(len, cache->backing->size_bytes - off), off, flags);
}

static int check_write(const struct pcache *cache, size_t len, uint64_t off)
{
	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "write: the cache was opened read-only");
	if (off > cache->backing->size_bytes || len > cache->backing->size_bytes - off)
		return pc_fail(&cache->config.log, -ENOSPC, "write of %zu bytes at offset %llu: the backing ends at %llu",
			       len, (unsigned long long)off, (unsigned long long)cache->backing->size_bytes);
	return 0;
}

ssize_t pcache_write(struct pcache *cache, const void *buf, size_t len, uint64_t off, unsigned flags)
{
	int ret = enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);

	if (ret < 0)
		return ret;
	ret = check_buffer(cache, buf, len);
	if (ret < 0)
		return ret;
	ret = check_write(cache, len, off);
	return ret < 0 || len == 0 ? ret : pc_io_write(cache, buf, len, off, flags);
}

/* Every buffer, and their sum. */
static int check_vector(const struct pcache *cache, const struct iovec *iov, int iovcnt, size_t *ret_len)
{
	size_t len = 0;

	if (iovcnt < 0 || iovcnt > IOV_MAX || (iov == NULL && iovcnt > 0))
		return pc_fail(&cache->config.log, -EINVAL, "%d buffers: not from 0 to %d, or none given", iovcnt, IOV_MAX);
	for (int i = 0; i < iovcnt; i++) {
		int ret = iov[i].iov_len == 0 ? 0 : check_buffer(cache, iov[i].iov_base, iov[i].iov_len);

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
	int ret = enter(cache, flags, PCACHE_NOWAIT);

	if (ret == 0)
		ret = check_vector(cache, iov, iovcnt, &len);
	return ret < 0 || len == 0 ? ret : pc_vector_read(cache, iov, iovcnt, off, flags);
}

ssize_t pcache_writev(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags)
{
	size_t len;
	int ret = enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);

	if (ret == 0)
		ret = check_vector(cache, iov, iovcnt, &len);
	if (ret == 0)
		ret = check_write(cache, len, off);
	return ret < 0 || len == 0 ? ret : pc_vector_write(cache, iov, iovcnt, off, flags);
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
	int ret = enter(cache, flags, PCACHE_WRITE_FUA | PCACHE_NOWAIT);

	if (ret < 0)
		return ret;
	if (extents == NULL && count > 0)
		return pc_fail(&cache->config.log, -EINVAL, "the extents are NULL");
	if (count > cache->max_atomic_bytes)
		return -E2BIG; /* more extents than bytes */
	for (size_t i = 0; i < count && ret == 0; i++) {
		ret = extents[i].len == 0 ? 0 : check_buffer(cache, extents[i].buf, extents[i].len);
		if (ret == 0)
			ret = check_write(cache, extents[i].len, extents[i].off);
	}
	if (ret == 0)
		ret = check_overlap(cache, extents, count);
	return ret < 0 || count == 0 ? ret : pc_vector_write_atomic(cache, extents, count, flags);
}

int pcache_flush(struct pcache *cache, unsigned flags)
{
	int ret = enter(cache, flags, 0);

	if (ret < 0)
		return ret;
	pc_stats_add(cache->stats, PC_COUNT_FLUSHES, 1);
	return cache->config.readonly ? 0 : pc_io_flush(cache);
}

int pcache_drain(struct pcache *cache, pcache_progress_fn progress, void *arg, unsigned flags)
{
	int ret = enter(cache, flags, 0);

	if (ret < 0)
		return ret;
	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "drain: the cache was opened read-only");
	return pc_writeback_drain(cache, progress, arg);
}

/* ---- statistics ---- */

static void fill_counters(const struct pc_stats *counters, struct pcache_stats *out)
{
	out->reads = pc_stats_sum(counters, PC_COUNT_READS);
	out->read_bytes = pc_stats_sum(counters, PC_COUNT_READ_BYTES);
	out->read_miss_bytes = pc_stats_sum(counters, PC_COUNT_READ_MISS_BYTES);
	out->writes = pc_stats_sum(counters, PC_COUNT_WRITES);
	out->write_bytes = pc_stats_sum(counters, PC_COUNT_WRITE_BYTES);
	out->flushes = pc_stats_sum(counters, PC_COUNT_FLUSHES);
	out->writeback_batches = pc_stats_sum(counters, PC_COUNT_WRITEBACK_BATCHES);
	out->writeback_bytes = pc_stats_sum(counters, PC_COUNT_WRITEBACK_BYTES);
	out->writeback_ios = pc_stats_sum(counters, PC_COUNT_WRITEBACK_IOS);
	out->writeback_errors = pc_stats_sum(counters, PC_COUNT_WRITEBACK_ERRORS);
	out->backing_syncs = pc_stats_sum(counters, PC_COUNT_BACKING_SYNCS);
	out->segments_reclaimed = pc_stats_sum(counters, PC_COUNT_SEGMENTS_RECLAIMED);
	out->checksum_errors = pc_stats_sum(counters, PC_COUNT_CHECKSUM_ERRORS);
	out->fill_bytes = pc_stats_sum(counters, PC_COUNT_FILL_BYTES);
	out->fills_refused = pc_stats_sum(counters, PC_COUNT_FILLS_REFUSED);
	out->read_ahead_bytes = pc_stats_sum(counters, PC_COUNT_READ_AHEAD_BYTES);
	out->bypassed_bytes = pc_stats_sum(counters, PC_COUNT_BYPASSED_BYTES);
	out->shared_misses = pc_stats_sum(counters, PC_COUNT_SHARED_MISSES);
	out->ghost_hits = pc_stats_sum(counters, PC_COUNT_GHOST_HITS);
	out->moved_bytes = pc_stats_sum(counters, PC_COUNT_MOVED_BYTES);
	out->kills = pc_stats_sum(counters, PC_COUNT_KILLS);
	out->clean_errors = pc_stats_sum(counters, PC_COUNT_CLEAN_ERRORS);
}

static void fill_constants(const struct pcache *cache, struct pcache_stats *out)
{
	out->granularity = cache->media->granularity;
	out->mode = PCACHE_MODE_WRITEBACK;
	out->max_atomic_bytes = cache->max_atomic_bytes;
	out->backing_bytes = cache->backing->size_bytes;
	out->segment_bytes = cache->segments->segment_bytes;
	out->segments = cache->segments->count;
	out->capacity_bytes = out->segments * out->segment_bytes;
	out->open_ns = cache->open_ns;
	out->replay_ns = cache->replay_ns;
	out->replay_keys = cache->replay_keys;
	out->replay_voided = cache->replay_voided;
	out->recovered_end_bytes = cache->recovered_end_bytes;
	out->epoch = cache->identity.epoch;
}

static enum pcache_state state_locked(const struct pcache *cache)
{
	if (cache->config.readonly)
		return PCACHE_STATE_READ_ONLY;
	if (pc_cache_is_failed(cache))
		return PCACHE_STATE_FAILED;
	return cache->writeback_error != 0 ? PCACHE_STATE_DEGRADED : PCACHE_STATE_OK;
}

static void fill_state(struct pcache *cache, struct pcache_stats *out)
{
	struct pc_pos head;

	pthread_mutex_lock(&cache->state_lock);
	head = pc_cache_head(cache);
	out->state = state_locked(cache);
	out->dirty_log_bytes = pc_cache_log_bytes(cache, cache->dirty_tail, head);
	out->tail_seq = cache->dirty_tail.seq;
	out->tail_line = cache->dirty_tail.line;
	out->stalls = cache->stalls;
	out->stall_ns = cache->stall_ns;
	out->stall_max_ns = cache->stall_max_ns;
	out->segments_fill = pc_clean_of(cache, PC_STREAM_FILL)->age.count;
	out->segments_hot = pc_clean_of(cache, PC_STREAM_HOT)->age.count;
	out->segments_write = head.seq - cache->oldest_seq + 1;
	pthread_mutex_unlock(&cache->state_lock);
	out->head_seq = head.seq;
	out->head_line = head.line;
	out->segments_free = atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed);
	out->cached_bytes = pc_index_cached_bytes(cache->index);
	out->index_bytes = pc_index_memory_bytes(cache->index) + pc_ghost_memory_bytes(cache->evicted) +
			   pc_ghost_memory_bytes(cache->touched);
	out->media_syncs = atomic_load_explicit(&cache->media->syncs, memory_order_relaxed);
}

int pcache_stats(struct pcache *cache, struct pcache_stats *stats)
{
	struct pcache_stats all = { 0 };
	int ret = enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (stats == NULL || stats->size < offsetof(struct pcache_stats, max_atomic_bytes))
		return -EINVAL;
	all.size = stats->size;
	fill_counters(cache->stats, &all);
	fill_constants(cache, &all);
	fill_state(cache, &all);
	memcpy(stats, &all, pc_min64(stats->size, sizeof(all)));
	return 0;
}

/* ---- tunables ---- */

int pcache_set(struct pcache *cache, enum pcache_tunable tunable, uint64_t value)
{
	int ret = enter(cache, 0, 0);

	if (ret == 0)
		ret = pc_config_check_tunable(&cache->config.log, tunable, value);
	if (ret == 0)
		atomic_store_explicit(&cache->tunables[tunable], value, memory_order_relaxed);
	if (ret == 0) { /* what was below a mark may be above it now */
		pc_cache_wake_writeback(cache);
		pc_reclaim_wake(cache);
	}
	return ret;
}

int pcache_get(struct pcache *cache, enum pcache_tunable tunable, uint64_t *ret_value)
{
	int ret = enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if ((unsigned)tunable >= PC_TUNABLES || ret_value == NULL)
		return -EINVAL;
	*ret_value = pc_tunable(cache, tunable);
	return 0;
}
