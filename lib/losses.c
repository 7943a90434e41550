/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * losses.c - what was acknowledged, damaged before it came to the backing, and not written again: the table of it on the
 * media, and in memory.
 *
 *   batch: written and synced, but for what cannot be read -> the table without the former and with the latter, durable
 *          -> dirty_tail -> the damaged extents leave the index
 *
 * (LS1) The table grows before dirty_tail passes what is added, and shrinks after a sync of the newer bytes: both are one
 *       store between the sync and the tail. So at every moment a byte that is not on the backing as it was acknowledged
 *       is either behind dirty_tail or in the table.
 * (LS2) PCM_INFO_LOST says that there is a table. It is set when the first table is durable, and cleared when the last
 *       range has gone. A table without it says nothing, so its slots may hold anything.
 * (LS3) What is not in the index, and in the table, is an error to whoever reads it, and never kept as clean data.
 * (LS4) What is in the table may be in the index only as something newer, once dirty_tail has passed. What memory does not
 *       suffice to drop is found bad, or the table is asked (io.c).
 * (LS5) Only write-back changes the table. What is written past the cache never goes over a lost range: it takes the way of
 *       one that is dirty.
 *
 * Locks: none of its own. Only the write-back flow stores.
 */
#include "cache.h"

#include <errno.h>

static struct pc_meta table_of(const struct pcache *cache)
{
	return (struct pc_meta){
		.off = PCM_LOST_OFF,
		.bytes = sizeof(struct pcm_lost),
		.magic = PCM_MAGIC_LOST,
		.seed = pc_meta_seed(cache->identity.uuid, 0),
	};
}

/* ---- load ---- */

/* The one place that takes the table from the media: everything is bounded here. */
static int decode(struct pcache *cache, const struct pcm_lost *table, struct pc_lost_set *set)
{
	uint32_t count = pc_get32(table->count);
	uint64_t before = 0;

	if (count == 0 || count > PCM_LOST_MAX)
		return -EUCLEAN;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t off = pc_get64(table->ranges[i].off);
		uint64_t len = pc_get64(table->ranges[i].len);

		if ((i > 0 && off <= before) || len == 0 || off > cache->backing->size_bytes ||
		    len > cache->backing->size_bytes - off)
			return -EUCLEAN;
		set->ranges[i] = (struct pc_lost_range){ .off = off, .end = off + len };
		before = off + len;
	}
	set->count = count;
	return 0;
}

int pc_losses_load(struct pcache *cache)
{
	struct pc_lost_set *set = &cache->lost_next;
	struct pcm_lost table;
	int ret = 0;

	set->count = 0;
	cache->lost_meta = table_of(cache);
	if (cache->identity.has_lost) {
		ret = pc_meta_load(cache->media, &cache->lost_meta, &table);
		if (ret == 0)
			ret = decode(cache, &table, set);
	}
	pc_lost_put(&cache->lost, set);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "both copies of the table of lost ranges are damaged");
	return 0;
}

int pc_losses_repair(struct pcache *cache)
{
	return cache->identity.has_lost ? pc_meta_repair(cache->media, &cache->lost_meta) : 0;
}

/* ---- store ---- */

static int store_table(struct pcache *cache, const struct pc_lost_set *set)
{
	struct pcm_lost table = { .count = pc_le32(set->count) };
	int ret;

	for (uint32_t i = 0; i < set->count; i++)
		table.ranges[i] = (struct pcm_lost_range){
			.off = pc_le64(set->ranges[i].off),
			.len = pc_le64(set->ranges[i].end - set->ranges[i].off),
		};
	if (cache->identity.has_lost)
		return pc_meta_store(cache->media, &cache->lost_meta, &table);
	ret = pc_meta_create(cache->media, &cache->lost_meta, &table);
	return ret < 0 ? ret : pc_media_sync(cache->media); /* order: before PCM_INFO_LOST (LS2) */
}

static int store(struct pcache *cache, const struct pc_lost_set *set)
{
	int ret = set->count == 0 ? 0 : store_table(cache, set);

	if (ret == 0 && cache->identity.has_lost != (set->count != 0))
		ret = pc_identity_set_lost(cache, set->count != 0);
	return ret < 0 ? pc_cache_fail_media(cache, ret) : 0;
}

int pc_losses_store(struct pcache *cache, const struct pc_lost_set *set)
{
	int ret = 0;

	if (set->is_short || set->count > PCM_LOST_MAX)
		return pc_fail(&cache->config.log, -EBADMSG,
			       "more than %u ranges of dirty data are damaged; write-back stops here", PCM_LOST_MAX);
	if (pc_lost_set_is_equal(set, &cache->lost.set)) /* nobody else changes it */
		return 0;
	if (!pc_cache_is_failed(cache)) /* else memory alone knows, as of the tails */
		ret = store(cache, set);
	if (ret == 0)
		pc_lost_put(&cache->lost, set); /* order: before dirty_tail, which lets reclaim at the log (LS1) */
	return ret;
}

/* ---- the index ---- */

static void drop(struct pcache *cache, const struct pc_look *look)
{
	const struct pc_mapping *mapping = &look->mapping;
	struct pc_index_claim claim;

	pc_misses_supersede(&cache->misses, mapping->off, mapping->len); /* order: before the drop (Q4) */
	if (pc_index_claim_place(cache->index, mapping, &claim) < 0)
		return;
	/* Still the life of the segment that was looked at? The entry pins it. */
	if (atomic_load_explicit(&cache->segments->refs[mapping->segment].seq, memory_order_acquire) == look->seq)
		pc_index_claim_drop(cache->index, &claim, mapping);
	else
		pc_index_claim_release(cache->index, &claim);
}

void pc_losses_leave_index(struct pcache *cache)
{
	struct pc_pos tail = pc_cache_dirty_tail(cache);
	struct pc_lost_range range = { 0 };

	while (pc_lost_find(&cache->lost, range.end, UINT64_MAX, &range)) {
		const struct pc_look *look;
		struct pc_walk walk;

		pc_walk_begin(&walk, cache->index, range.off, range.end);
		while ((look = pc_walk_next(&walk)) != NULL)
			if (look->cached && look->seq != 0 && pc_pos_cmp(pc_look_pos(look), tail) < 0)
				drop(cache, look);
	}
}

/* ---- looking ---- */

int pc_losses_report(struct pcache *cache, uint64_t off, uint64_t len)
{
	struct pc_lost_range range;

	if (!pc_lost_find(&cache->lost, off, off + len, &range))
		return 0;
	pc_stats_add(cache->stats, PC_COUNT_CHECKSUM_ERRORS, 1);
	return pc_fail(&cache->config.log, -EBADMSG,
		       "%llu bytes at offset %llu are lost: they were damaged before they reached the backing",
		       (unsigned long long)(range.end - range.off), (unsigned long long)range.off);
}

int pc_losses_report_all(struct pcache *cache)
{
	struct pc_lost_range first;
	uint64_t bytes;

	if (!pc_lost_find(&cache->lost, 0, UINT64_MAX, &first))
		return 0;
	bytes = pc_lost_bytes(&cache->lost, 0, UINT64_MAX);
	return pc_fail(&cache->config.log, -EBADMSG,
		       "drain: all else is on the backing, but %llu bytes in %u ranges are lost, the first at offset %llu; "
		       "write or discard them",
		       (unsigned long long)bytes, atomic_load_explicit(&cache->lost.count, memory_order_relaxed),
		       (unsigned long long)first.off);
}
