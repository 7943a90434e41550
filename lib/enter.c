/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * enter.c - why a call is refused, in words.
 */
#include "enter.h"

#include <inttypes.h>

int pc_refuse_flags(const struct pcache *cache, unsigned flags)
{
	return pc_fail(&cache->config.log, -EINVAL, "unknown flags 0x%x", flags);
}

int pc_refuse_buffer(const struct pcache *cache, const void *buf, size_t len)
{
	if (buf == NULL)
		return pc_fail(&cache->config.log, -EINVAL, "the buffer is NULL");
	return pc_fail(&cache->config.log, -EINVAL, "a length of %zu bytes is too large", len);
}

int pc_refuse_write(const struct pcache *cache, uint64_t len, uint64_t off)
{
	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "write: the cache was opened read-only");
	return pc_fail(&cache->config.log, -ENOSPC,
		       "write of %" PRIu64 " bytes at offset %" PRIu64 ": the backing ends at %" PRIu64, len, off,
		       cache->backing->size_bytes);
}
