/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay_clean.c - the keys of one clean segment into the index. Nothing in it can be corrupt: what is not valid is a
 * miss.
 *
 * In a segment that was not sealed data is checked, too. A key whose data is bad is a loser: it must not come back when
 * it can be read again, since a write over it finds nothing to kill. For the same reason a segment whose keys cannot be
 * read is given up as a whole.
 */
#include "recover.h"

#include "crc32c.h"

#include <errno.h>

void pc_losers_add(struct pc_losers *losers, uint32_t segment, uint32_t line)
{
	pthread_mutex_lock(&losers->lock);
	if (losers->count == losers->room) {
		size_t room = 2 * losers->room + 64;
		struct pc_loser *items = realloc(losers->items, room * sizeof(*items));

		if (items == NULL)
			losers->error = -ENOMEM;
		else
			losers->items = items;
		losers->room = items == NULL ? losers->room : room;
	}
	if (losers->count < losers->room)
		losers->items[losers->count++] = (struct pc_loser){ .segment = segment, .line = line };
	pthread_mutex_unlock(&losers->lock);
}

static bool is_data_good(struct pcache *cache, const struct pc_segment *segment, const struct pc_key *key)
{
	uint8_t data[PCM_BLOCK];

	return pc_media_read(cache->media, data, segment->off + key->data_off, sizeof(data)) == 0 &&
	       pc_crc32c(0, data, sizeof(data)) == key->data_crc;
}

static int enter_block(struct pcache *cache, const struct pc_segment *segment, uint32_t line, const struct pc_key *key,
		       bool verified)
{
	const struct pc_mapping mapping = {
		.off = key->off,
		.len = key->len,
		.segment = segment->id,
		.data_off = key->data_off,
		.slot = 2 * line + 1,
		.verified = verified,
	};
	int ret = pc_index_insert(cache->index, &mapping);

	return ret < 0 ? ret : 0;
}

static int scan_lines(struct pcache *cache, struct pc_found *found, struct pc_replayed_clean *item,
		      const struct pc_lines *lines, uint64_t *ret_keys)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	struct pc_kset_scope scope = pc_segment_scope(cache->segments, segment, cache->backing->size_bytes);
	bool is_sealed = segment->state == PC_SEGMENT_SEALED;
	int ret = 0;

	for (uint32_t line = 0; line < lines->end && ret == 0; line++) {
		struct pc_key key;
		enum pc_clean_line kind = pc_kset_decode_clean(&scope, lines, line, &key);

		if (kind == PC_CLEAN_NONE)
			continue;
		item->lines = line + 1;
		if (kind == PC_CLEAN_KILLED)
			continue;
		if (!is_sealed && !is_data_good(cache, segment, &key)) {
			pc_losers_add(&found->losers, item->segment, line);
			continue;
		}
		(*ret_keys)++;
		ret = enter_block(cache, segment, line, &key, !is_sealed);
	}
	return ret;
}

int pc_replay_clean(struct pcache *cache, struct pc_found *found, uint32_t i, uint64_t *ret_keys)
{
	struct pc_replayed_clean *item = &found->clean[i];
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	uint32_t count = segment->state == PC_SEGMENT_SEALED ? segment->lines :
							       pc_clean_blocks(cache->segments->segment_bytes);
	PC_FREE uint8_t *buf = malloc((size_t)count * PCM_LINE + 1);
	struct pc_lines lines;
	int ret;

	if (buf == NULL)
		return -ENOMEM;
	ret = pc_lines_read(cache->media, segment->off + cache->segments->segment_bytes, 0, count, buf, &lines);
	item->is_unreadable = ret < 0;
	if (ret < 0) {
		pc_log(&cache->config.log, PCACHE_LOG_WARNING, "segment %u: its clean keys cannot be read; it is given up",
		       segment->id);
		return 0;
	}
	return scan_lines(cache, found, item, &lines, ret_keys);
}
