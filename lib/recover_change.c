/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover_change.c - open, where the cache as a whole changes: it is emptied, or it grows. Then the usual parts follow.
 *
 * (J1) Nothing is stored before all was judged: a refusal leaves the file as it was.
 * (J2) A drop is one update of the cache info, DROPPING together with the new backing. Before that is durable everything
 *      is there; afterwards nothing is, whatever the other records say, and the next open for writing finishes it.
 * (J3) DROPPING goes when nothing of the old content can come back: every segment is FREE of a new generation, and the
 *      log begins in a new segment, durably. Until then each step can be repeated, so none has to be atomic.
 * (J4) The superblock counts a segment when its record is durable, and the file is as long as that.
 * (J5) Data that is not on the backing is thrown away only where the caller said so; he is told how much it was.
 */
#include "recover.h"

#include <errno.h>

/* Of segments whose record cannot be read: no count of lives comes here. */
#define FRESH_GEN(epoch) ((1ull << 62) + ((epoch) << 32))

bool pc_recover_is_change(const struct pcache *cache)
{
	const struct pc_config *config = &cache->config;

	return config->drop_clean || config->discard_dirty || config->grow || cache->identity.is_dropping;
}

/* ---- judge ---- */

/* The log belongs to the backing that it was written for, not to the one that takes its place. */
static int look_at_old(struct pcache *cache, const struct pc_segments_layout *layout, struct pc_found *found)
{
	uint64_t new_bytes = cache->backing->size_bytes;
	int ret;

	cache->backing->size_bytes = cache->identity.backing_bytes;
	ret = pc_recover_look(cache, layout, found);
	cache->backing->size_bytes = new_bytes;
	return ret;
}

static bool is_damage(int error)
{
	return error == -EBADMSG || error == -EUCLEAN || error == -EIO;
}

/* (J5) */
static int judge_drop(struct pcache *cache, const struct pc_found *found, int looked)
{
	const struct pc_log *log = &cache->config.log;
	uint64_t lost_bytes = pc_lost_bytes(&cache->lost, 0, UINT64_MAX);

	if (looked < 0 && (!cache->config.discard_dirty || !is_damage(looked)))
		return looked;
	if (looked < 0) {
		pc_log(log, PCACHE_LOG_WARNING, "a damaged cache is emptied; how much of it was not on the backing is unknown");
		return 0;
	}
	if (found->dirty_bytes == 0 && lost_bytes == 0)
		return 0;
	if (!cache->config.discard_dirty && lost_bytes != 0)
		return pc_fail(log, -ENOTEMPTY, "%llu bytes of writes were damaged, and are lost: the cache is not emptied",
			       (unsigned long long)lost_bytes);
	if (!cache->config.discard_dirty)
		return pc_fail(log, -ENOTEMPTY, "%llu bytes of writes are not on the backing: the cache is not emptied",
			       (unsigned long long)found->dirty_bytes);
	pc_log(log, PCACHE_LOG_WARNING, "%llu bytes of writes that are not on the backing are thrown away, and %llu were lost",
	       (unsigned long long)found->dirty_bytes, (unsigned long long)lost_bytes);
	return 0;
}

static int judge_growth(const struct pcache *cache, const struct pc_segments_layout *layout, uint32_t *ret_count)
{
	const struct pc_config *config = &cache->config;
	uint64_t bytes = config->cache_size_bytes != 0 ? config->cache_size_bytes : cache->media->size_bytes;
	uint64_t count = bytes < layout->segments_off ? 0 : (bytes - layout->segments_off) / layout->segment_bytes;

	if (count < layout->segment_count)
		return pc_fail(&config->log, -EINVAL, "a cache cannot shrink: %u segments are more than %llu bytes hold",
			       layout->segment_count, (unsigned long long)bytes);
	if (count > PCM_SEGMENTS_MAX)
		return pc_fail(&config->log, -EINVAL, "a cache of %llu bytes has more than %u segments",
			       (unsigned long long)bytes, PCM_SEGMENTS_MAX);
	*ret_count = (uint32_t)count;
	return 0;
}

/* Behind the last segment of the log, as far as it can be told. */
static uint64_t next_seq(const struct pcache *cache)
{
	uint64_t seq = cache->batch_end.seq;

	for (uint32_t id = 0; cache->segments != NULL && id < cache->segments->count; id++) {
		const struct pc_segment *segment = pc_segment_at(cache->segments, id);

		if (segment->stream == PC_STREAM_WRITE)
			seq = pc_max64(seq, segment->seq);
	}
	return seq < UINT64_MAX / 2 ? seq + 1 : 1;
}

/* ---- drop ---- */

/* (J3) */
static int finish_drop(struct pcache *cache, const struct pc_segments_layout *layout)
{
	struct pc_pos first = { .seq = cache->identity.first_seq };
	struct pc_segments *segments;
	int ret = pc_segments_new(cache->media, &cache->config.log, layout, &segments);

	if (ret < 0)
		return ret;
	ret = pc_segments_reset(segments, FRESH_GEN(cache->identity.epoch));
	if (ret == 0)
		ret = pc_recover_create_tails(cache, first);
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	/* order: behind the sync, so that the tails never point at the old log without DROPPING */
	if (ret == 0)
		ret = pc_segment_open(segments, 0, PC_STREAM_WRITE, first.seq);
	if (ret == 0)
		ret = pc_identity_end_drop(cache); /* order: last (J3) */
	pc_segments_delete(segments);
	return ret;
}

/* ---- grow ---- */

/* (J4) */
static int grow(struct pcache *cache, struct pcm_super *super, struct pc_segments_layout layout, uint32_t count)
{
	uint32_t old_count = layout.segment_count;
	struct pc_segments *segments;
	int ret;

	layout.segment_count = count;
	ret = pc_segments_new(cache->media, &cache->config.log, &layout, &segments);
	if (ret < 0)
		return ret;
	ret = pc_segments_create(segments, old_count);
	pc_segments_delete(segments);
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	if (ret < 0)
		return ret;
	cache->media->grown = false; /* from here on the length is needed, even if this fails half way */
	super->segment_count = pc_le32(count);
	super->media_bytes = pc_le64(cache->media->size_bytes);
	/* order: the records are durable before the superblock counts them (J4) */
	ret = pc_meta_store(cache->media, &cache->super_meta, super);
	if (ret == 0)
		pc_log(&cache->config.log, PCACHE_LOG_INFO, "grown from %u to %u segments", old_count,
		       count);
	return ret;
}

/* ---- all ---- */

struct change {
	bool drops;
	uint64_t first_seq;
	uint32_t segment_count;
};

/* (J1) */
static int judge(struct pcache *cache, const struct pc_segments_layout *layout, struct change *ret_change)
{
	struct change change = { .segment_count = layout->segment_count };
	struct pc_found found = PC_FOUND_NOTHING;
	int ret = 0;

	if (cache->identity.is_dropping) {
		change.drops = cache->config.drop_clean || cache->config.discard_dirty;
		change.first_seq = cache->identity.first_seq;
	} else {
		ret = look_at_old(cache, layout, &found);
		change.drops = cache->config.drop_clean || cache->config.discard_dirty;
		if (change.drops)
			ret = judge_drop(cache, &found, ret);
		change.first_seq = next_seq(cache);
	}
	if (ret == 0 && cache->config.grow)
		ret = judge_growth(cache, layout, &change.segment_count);
	pc_found_free(&found);
	pc_recover_unbuild(cache);
	*ret_change = change;
	return ret;
}

/* Slots first: what the change is built on must stay (V2). */
static int apply(struct pcache *cache, const struct change *change, struct pcm_super *super,
		 const struct pc_segments_layout *layout)
{
	int ret = pc_meta_repair(cache->media, &cache->super_meta);

	if (ret == 0)
		ret = pc_meta_repair(cache->media, &cache->info_meta);
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	if (ret == 0 && change->drops)
		ret = pc_identity_begin_drop(cache, change->first_seq);
	if (ret == 0 && cache->identity.is_dropping)
		ret = finish_drop(cache, layout);
	if (ret == 0 && change->segment_count > layout->segment_count)
		ret = grow(cache, super, *layout, change->segment_count);
	return ret;
}

int pc_recover_change(struct pcache *cache, struct pcm_super *super, const struct pc_segments_layout *layout)
{
	struct change change;
	int ret;

	if (cache->config.readonly)
		return pc_fail(&cache->config.log, -EROFS, "the cache was being emptied: an open for writing must finish that");
	ret = judge(cache, layout, &change);
	if (ret < 0)
		return ret;
	ret = apply(cache, &change, super, layout);
	return ret < 0 ? pc_fail(&cache->config.log, ret, "the cache could not be changed: %s", pcache_strerror(ret)) : 0;
}
