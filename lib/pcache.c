/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache.c - the public functions that open, close and tune a cache. Each checks its arguments, enters, runs one flow,
 * and leaves; so do those of pcache_data.c and pcache_stats.c.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "enter.h"

#include <errno.h>
#include <string.h>

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
	{ ENOTEMPTY, "the cache holds data that is not on the backing" },
	{ ETIMEDOUT, "the backing does not answer" },
	{ ENOTRECOVERABLE, "the handle was inherited over fork" },
	{ ENODATA, "no statistics there yet" },
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
		.grow = config->grow,
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
	checked.shows_stats = true;
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

int pcache_forget(const char *cache_path, const struct pcache_config *config)
{
	struct pc_config checked;
	struct pc_media *media;
	int ret;

	if (cache_path == NULL)
		return -EINVAL;
	ret = pc_config_check(config, &checked);
	if (ret < 0)
		return ret;
	if (checked.create || checked.readonly || checked.grow)
		return pc_fail(&checked.log, -EINVAL, "%s: forget neither creates nor grows a cache, nor leaves it as it is",
			       cache_path);
	checked.drop_clean = true;
	ret = open_media(cache_path, &checked, &media);
	return ret < 0 ? ret : pc_cache_forget(&checked, media);
}

int pcache_close(struct pcache *cache, unsigned flags)
{
	int ret;

	if (cache == NULL)
		return 0;
	if (pc_is_inherited(cache))
		return -ENOTRECOVERABLE; /* threads and map are the parent's: the memory goes with the child */
	pc_queues_delete(cache);
	ret = pc_cache_close(cache, (flags & PCACHE_CLOSE_DRAIN) != 0);
	return (flags & ~PCACHE_CLOSE_DRAIN) != 0 ? -EINVAL : ret;
}

int pcache_handle_sigbus(const void *addr)
{
	return pc_media_handle_fault(addr) ? 1 : 0;
}

/* ---- tunables ---- */

int pcache_set(struct pcache *cache, enum pcache_tunable tunable, uint64_t value)
{
	int ret = pc_enter(cache, 0, 0);

	if (ret == 0)
		ret = pc_config_check_tunable(&cache->config.log, tunable, value);
	if (ret == 0 && pc_identity_has(tunable))
		ret = cache->config.readonly ? -EROFS : pc_identity_set(cache, tunable, value);
	else if (ret == 0)
		atomic_store_explicit(&cache->tunables[tunable], value, memory_order_relaxed);
	if (ret == 0) { /* what was below a mark may be above it now */
		pc_cache_wake_writeback(cache);
		pc_reclaim_wake(cache);
		pc_patience_wake(cache);
	}
	return ret;
}

int pcache_get(struct pcache *cache, enum pcache_tunable tunable, uint64_t *ret_value)
{
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (!pc_config_has_tunable(tunable) || ret_value == NULL)
		return -EINVAL;
	*ret_value = pc_tunable(cache, tunable);
	return 0;
}
