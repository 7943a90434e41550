/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover_persist.c - open, second part: what was found and judged becomes durable: slots repaired, torn lines voided,
 * survivors flushed, clean keys that lost killed, segments sealed. Invariants: recover.c.
 */
#include "recover.h"

#include <errno.h>

/* (V2) */
static int repair_slots(struct pcache *cache)
{
	int ret = pc_meta_repair(cache->media, &cache->super_meta);

	if (ret == 0)
		ret = pc_meta_repair(cache->media, &cache->info_meta);
	if (ret == 0)
		ret = pc_meta_repair(cache->media, &cache->tails_meta);
	if (ret == 0)
		ret = pc_losses_repair(cache);
	if (ret == 0)
		ret = pc_segments_repair(cache->segments);
	return ret < 0 ? ret : pc_media_sync(cache->media);
}

/* Stored and flushed; a fence makes it durable. */
static int store_void(struct pcache *cache, const struct pc_replayed *item, uint32_t line)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	uint64_t off = segment->off + pc_line_off(cache->segments->segment_bytes, line);
	uint8_t bytes[PCM_LINE];
	int ret;

	/* The mark survives what it was found in. */
	pc_kset_encode_void(segment->kset_seed, line, segment->seq, (uint32_t)pc_min64(item->known, line), bytes);
	ret = pc_media_copy(cache->media, off, bytes, sizeof(bytes), PC_COPY_CACHED);
	return ret < 0 ? ret : pc_media_flush(cache->media, off, sizeof(bytes));
}

/* (V7) The stream keeps the last line free for this; only a forged segment is full to the end. */
static int save_mark(struct pcache *cache, struct pc_replayed *item)
{
	int ret;

	if (item->known <= item->said || item->lines + item->units >= cache->segments->room)
		return 0;
	ret = store_void(cache, item, item->lines);
	if (ret < 0)
		return ret;
	item->lines++;
	return pc_media_sync(cache->media); /* order: before the key sets that say it are overwritten (V7) */
}

static int store_voids(struct pcache *cache, struct pc_replayed *item)
{
	int ret = save_mark(cache, item);

	for (uint32_t i = 0; i < item->void_count && ret == 0; i++)
		ret = store_void(cache, item, item->voids[i]);
	cache->replay_voided += item->void_count;
	return ret;
}

static int flush_segment(struct pcache *cache, const struct pc_replayed *item)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	uint64_t line_bytes = (uint64_t)item->lines * PCM_LINE;
	int ret = pc_media_flush(cache->media, segment->off + PCM_SEGMENT_HEADER, (size_t)item->units * PCM_UNIT);

	if (ret < 0)
		return ret;
	return pc_media_flush(cache->media, segment->off + cache->segments->segment_bytes - line_bytes, line_bytes);
}

/* ---- clean segments ---- */

/* Keys and kills as found may still sit in processor caches, and a kill must not be lost when its write leaves the log. */
static int flush_lines(struct pcache *cache, const struct pc_replayed_clean *item)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	uint64_t bytes = (uint64_t)item->lines * PCM_LINE;

	return pc_media_flush(cache->media, segment->off + cache->segments->segment_bytes - bytes, bytes);
}

static int kill_loser(struct pcache *cache, const struct pc_loser *loser)
{
	return pc_kset_kill(cache->media, pc_segment_at(cache->segments, loser->segment)->off,
			    cache->segments->segment_bytes, loser->line);
}

/* Flushed; a fence makes it durable (V1, V8). */
static int persist_clean(struct pcache *cache, const struct pc_found *found)
{
	int ret = 0;

	for (uint32_t i = 0; i < found->clean_count && ret == 0; i++)
		if (!found->clean[i].is_unreadable)
			ret = flush_lines(cache, &found->clean[i]);
	for (size_t i = 0; i < found->losers.count && ret == 0 && !cache->config.readonly; i++)
		ret = kill_loser(cache, &found->losers.items[i]);
	return ret;
}

static int seal_clean(struct pcache *cache, const struct pc_replayed_clean *item)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);

	return pc_segment_seal(cache->segments, item->segment, segment->stream, segment->seq, item->lines);
}

/* Behind the fence: sealed, or of a new generation where the keys cannot be read (V8). */
static int finish_clean(struct pcache *cache, const struct pc_found *found)
{
	int ret = 0;

	for (uint32_t i = 0; i < found->clean_count && ret == 0; i++) {
		const struct pc_replayed_clean *item = &found->clean[i];

		if (item->is_unreadable)
			ret = pc_segment_free(cache->segments, item->segment);
		else
			ret = seal_clean(cache, item);
	}
	return ret;
}

/* ---- all ---- */

/* Rejected lines voided, survivors flushed, one fence, then the seals (V1, V3). Read-only: the flush alone. */
static int persist_unsealed(struct pcache *cache, struct pc_found *found)
{
	struct pc_chain *chain = &found->chain;
	int ret = 0;

	for (uint32_t i = 0; i < chain->count && ret == 0; i++) {
		struct pc_replayed *item = &chain->items[i];

		if (pc_segment_at(cache->segments, item->segment)->state == PC_SEGMENT_SEALED)
			continue;
		if (!cache->config.readonly)
			ret = store_voids(cache, item);
		if (ret == 0)
			ret = flush_segment(cache, item);
	}
	if (ret == 0)
		ret = persist_clean(cache, found);
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	for (uint32_t i = 0; i < chain->count && ret == 0 && !cache->config.readonly; i++) {
		const struct pc_replayed *item = &chain->items[i];

		/* order: voids and survivors are durable before the seal counts them (V3) */
		ret = pc_segment_seal(cache->segments, item->segment, PC_STREAM_WRITE, pc_replayed_seq(cache, item),
				      item->lines);
	}
	return ret;
}

int pc_recover_persist(struct pcache *cache, struct pc_found *found)
{
	int ret;

	if (cache->config.readonly)
		return persist_unsealed(cache, found);
	ret = repair_slots(cache);
	if (ret == 0)
		ret = persist_unsealed(cache, found);
	if (ret == 0)
		ret = finish_clean(cache, found);
	if (ret == 0 && found->unlinked != PC_SEGMENT_NONE)
		ret = pc_segment_free(cache->segments, found->unlinked);
	if (ret == 0)
		ret = pc_identity_mark_open(cache);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "what was recovered could not be made durable");
	return 0;
}
