/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover.c - open a cache however its last owner ended.
 *
 *   change   recover_change.c   first, where the cache is dropped or grows
 *   look     recover_look.c     every record and key set is read and judged; nothing is stored
 *   replay   replay*.c          ... and entered in the index
 *   persist  recover_persist.c  what was found and judged becomes durable
 *   serve    here               the streams go on behind their newest segments; never in an old one
 *
 * (V1) What a read is going to show survives the next power cut: everything found is flushed and fenced before open
 *      returns. After a mere process kill it may still sit in processor caches.
 * (V2) Slots are equal and durable before anything that was decided from them is stored.
 * (V3) What was rejected is voided, durably, before its segment is sealed: a later replay sees the same.
 * (V4) Recovery can itself be interrupted anywhere and starts again with the same result.
 * (V5) Open needs no free segment.
 * (V6) The superblock is stored last at create: a file with a valid one is complete.
 * (V7) What is known to be durable in a segment (`durable_below`) stays known. Where only key sets that are going to be
 *      voided say so, a line of its own says it first, durably: the store of a VOID over a key set can be torn, and
 *      then neither says anything.
 * (V8) Every clean key that something newer covers is killed, durably, before open returns, and so is one whose data is
 *      bad; a clean segment whose keys cannot be read gets a new generation. Else they could come back when what covers
 *      them has left the log.
 * (V9) A salvage stores nothing. What is valid counts, at its position; what is not is noted, and left out.
 */
#include "recover.h"

#include <errno.h>
#include <string.h>

/* ---- records ---- */

struct pc_meta pc_recover_super_meta(void)
{
	return (struct pc_meta){ .off = PCM_SUPER_OFF, .bytes = sizeof(struct pcm_super), .magic = PCM_MAGIC_SUPER };
}

static struct pc_meta tails_meta(const uint8_t uuid[16])
{
	return (struct pc_meta){
		.off = PCM_TAILS_OFF,
		.bytes = sizeof(struct pcm_tails),
		.magic = PCM_MAGIC_TAILS,
		.seed = pc_meta_seed(uuid, 0),
	};
}

int pc_recover_create_tails(struct pcache *cache, struct pc_pos tail)
{
	const struct pcm_pos pos = { .seq = pc_le64(tail.seq), .line = pc_le32(tail.line) };
	struct pcm_tails tails = { .dirty_tail = pos, .batch_end = pos };

	cache->tails_meta = tails_meta(cache->identity.uuid);
	return pc_meta_create(cache->media, &cache->tails_meta, &tails);
}

int pc_recover_build(struct pcache *cache, const struct pc_segments_layout *layout)
{
	uint64_t capacity = (uint64_t)layout->segment_count * layout->segment_bytes;
	bool commit_is_durable = cache->media->granularity != PCACHE_GRANULARITY_PAGE;
	int ret = pc_segments_new(cache->media, &cache->config.log, layout, &cache->segments);

	cache->tails_meta = tails_meta(layout->uuid);
	cache->max_atomic_bytes = pc_max64(layout->segment_bytes / 16, PCM_SEGMENT_TEST_MIN / 4);
	if (cache->config.tunables[PCACHE_TUNABLE_DIRTY_HIGH] == 0)
		cache->tunables[PCACHE_TUNABLE_DIRTY_HIGH] = capacity / 4;
	if (ret == 0)
		ret = pc_index_new(cache->segments->refs, layout->segment_count, capacity, &cache->index);
	if (ret == 0)
		ret = pc_stream_init(&cache->write, layout->segment_count, cache->segments->room - 1 /* (V7) */,
				     commit_is_durable);
	if (ret == 0)
		ret = pc_clean_init(cache);
	if (ret == 0)
		pc_index_set_killer(cache->index, pc_clean_kill, cache);
	return ret;
}

void pc_recover_unbuild(struct pcache *cache)
{
	pc_stream_destroy(&cache->write);
	memset(&cache->write, 0, sizeof(cache->write));
	pc_clean_destroy(cache);
	memset(cache->clean, 0, sizeof(cache->clean));
	cache->evicted = NULL;
	cache->touched = NULL;
	pc_index_delete(cache->index);
	cache->index = NULL;
	pc_segments_delete(cache->segments);
	cache->segments = NULL;
}

/* ---- serve ---- */

static void adopt_writes(struct pcache *cache, const struct pc_chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++) {
		const struct pc_replayed *item = &chain->items[i];

		pc_segment_at(cache->segments, item->segment)->born = cache->segments->births++;
		pc_stream_adopt(&cache->write, pc_replayed_seq(cache, item), item->segment, item->lines, item->units);
	}
	cache->oldest_seq = pc_replayed_seq(cache, &chain->items[0]);
}

static void adopt_clean(struct pcache *cache, const struct pc_replayed_clean *item)
{
	struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	struct pc_clean *clean = pc_clean_of(cache, segment->stream);

	segment->born = cache->segments->births++;
	pc_stream_adopt(&clean->stream, segment->seq, item->segment, item->lines, item->lines * (PCM_BLOCK / PCM_UNIT));
	clean->next_seq = segment->seq + 1;
	clean->age.ids[clean->age.count++] = item->segment;
}

static void adopt(struct pcache *cache, const struct pc_found *found)
{
	adopt_writes(cache, &found->chain);
	for (uint32_t i = 0; i < found->clean_count; i++)
		if (!found->clean[i].is_unreadable)
			adopt_clean(cache, &found->clean[i]);
	cache->clean_emptied = true; /* reclaim looks for those of which nothing is left */
	pc_segments_fill_bitmap(cache->segments);
}

void pc_found_free(struct pc_found *found)
{
	for (uint32_t i = 0; i < found->chain.count; i++)
		free(found->chain.items[i].voids);
	free(found->chain.items);
	free(found->clean);
	free(found->losers.items);
	pthread_mutex_destroy(&found->losers.lock);
}

/* Then any backing will do: it is taken over. */
static bool drops(const struct pcache *cache)
{
	return cache->config.drop_clean || cache->config.discard_dirty;
}

int pc_recover_forget(struct pcache *cache)
{
	struct pc_segments_layout layout;
	struct pcm_super super;
	int ret = pc_recover_records(cache, &super, &layout);

	if (ret < 0)
		return ret;
	cache->backing->size_bytes = cache->identity.backing_bytes; /* whose cache it is does not change */
	ret = pc_identity_check_backing(cache);
	if (ret < 0)
		return ret;
	memcpy(cache->config.backing_id, cache->identity.backing_id, sizeof(cache->config.backing_id));
	return pc_recover_change(cache, &super, &layout);
}

static int look(struct pcache *cache, const struct pc_segments_layout *layout, struct pc_found *found)
{
	int ret = pc_recover_look(cache, layout, found);

	if ((ret == -EBADMSG || ret == -EUCLEAN) && !cache->config.salvage)
		pc_log(&cache->config.log, PCACHE_LOG_ERROR,
		       "the log is damaged; PCACHE_OPEN_SALVAGE opens what is left of it, for reading");
	if (ret == 0 && cache->config.salvage)
		pc_log(&cache->config.log, PCACHE_LOG_WARNING,
		       "salvage: %llu records of segments, %llu places where the log does not go on, %llu lines are damaged",
		       (unsigned long long)cache->salvage_segments, (unsigned long long)cache->salvage_gaps,
		       (unsigned long long)cache->salvage_lines);
	return ret;
}

int pc_recover_open(struct pcache *cache)
{
	struct pc_found found = PC_FOUND_NOTHING;
	struct pc_segments_layout layout;
	struct pcm_super super;
	int ret = pc_recover_records(cache, &super, &layout);

	if (ret == 0 && !drops(cache))
		ret = pc_identity_check_backing(cache);
	if (ret == 0 && pc_recover_is_change(cache)) {
		ret = pc_recover_change(cache, &super, &layout);
		if (ret == 0) /* what follows takes its records as found */
			ret = pc_recover_records(cache, &super, &layout);
	}
	if (ret == 0)
		ret = look(cache, &layout, &found);
	if (ret == 0)
		ret = pc_recover_persist(cache, &found);
	if (ret == 0)
		adopt(cache, &found);
	if (ret == 0)
		pc_losses_leave_index(cache);
	pc_found_free(&found);
	return ret;
}
