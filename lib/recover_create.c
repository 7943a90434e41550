/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover_create.c - a new cache: everything is durable before the superblock says that it is there (V6).
 */
#include "recover.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static int plan_layout(const struct pcache *cache, struct pc_segments_layout *ret_layout)
{
	const struct pc_log *log = &cache->config.log;
	uint32_t segment_bytes = cache->config.segment_bytes;
	uint64_t segments_off = pc_recover_segments_off(segment_bytes);
	uint64_t asked = cache->config.cache_size_bytes;
	uint64_t size = asked == 0 ? cache->media->size_bytes : pc_min64(asked, cache->media->size_bytes);
	uint64_t count = size < segments_off ? 0 : (size - segments_off) / segment_bytes;

	if (count < PCM_SEGMENTS_MIN)
		return pc_fail(log, -EINVAL, "cache of %llu bytes is too small: %u segments of %u bytes need %llu",
			       (unsigned long long)size, PCM_SEGMENTS_MIN, segment_bytes,
			       (unsigned long long)(segments_off + (uint64_t)PCM_SEGMENTS_MIN * segment_bytes));
	if (count > PCM_SEGMENTS_MAX)
		return pc_fail(log, -EINVAL, "cache of %llu bytes has more than %u segments: choose larger ones",
			       (unsigned long long)size, PCM_SEGMENTS_MAX);
	*ret_layout = (struct pc_segments_layout){
		.segments_off = segments_off,
		.segment_count = (uint32_t)count,
		.segment_bytes = segment_bytes,
	};
	if (getrandom(ret_layout->uuid, sizeof(ret_layout->uuid), 0) != (ssize_t)sizeof(ret_layout->uuid))
		return pc_fail(log, -EIO, "no random bytes for the UUID");
	return 0;
}

static int create_super(struct pcache *cache, const struct pc_segments_layout *layout)
{
	struct pc_meta meta = pc_recover_super_meta();
	struct pcm_super super = {
		.version = pc_le32(PCM_VERSION),
		.segment_bytes = pc_le32(layout->segment_bytes),
		.media_bytes = pc_le64(cache->media->size_bytes),
		.segments_off = pc_le64(layout->segments_off),
		.segment_count = pc_le32(layout->segment_count),
	};
	int ret;

	memcpy(super.uuid, layout->uuid, sizeof(super.uuid));
	ret = pc_meta_create(cache->media, &meta, &super);
	return ret < 0 ? ret : pc_media_sync(cache->media);
}

int pc_recover_create(struct pcache *cache)
{
	struct pc_segments_layout layout;
	int ret = plan_layout(cache, &layout);

	if (ret < 0)
		return ret;
	pc_identity_new(cache, layout.uuid);
	ret = pc_losses_load(cache);
	if (ret == 0)
		ret = pc_recover_build(cache, &layout);
	if (ret < 0)
		return ret;
	cache->dirty_tail = (struct pc_pos){ .seq = 1 };
	cache->batch_end = cache->dirty_tail;
	cache->oldest_seq = 1;
	ret = pc_segments_create(cache->segments, 0);
	if (ret == 0)
		ret = pc_identity_create(cache);
	if (ret == 0)
		ret = pc_recover_create_tails(cache, cache->dirty_tail);
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	if (ret == 0)
		ret = pc_segment_open(cache->segments, 0, PC_STREAM_WRITE, 1);
	/* order: everything else is durable before the superblock says that it is there (V6) */
	if (ret == 0)
		ret = create_super(cache, &layout);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "the cache could not be written to the media");
	pc_segments_fill_bitmap(cache->segments);
	pc_stream_open_segment(&cache->write, 1, 0);
	return 0;
}
