/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * move.c - before a segment is freed: what of it is worth keeping goes to HOT, what leaves unread is remembered.
 *
 * S3-FIFO on segments (Yang, Qiu, Zhang, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023).
 * FILL and the clean end of WRITE are its small queue, HOT the main one. A block of either that was read since it came
 * there goes to the end of HOT; each round in HOT wears off one of the hits that it is known for. One of the small
 * queue that was not read is remembered by its fingerprint, and goes to HOT at once if it is missed soon.
 *
 * (H1) Only whole blocks, aligned, that the index finds in this key of the victim: a later key of the same segment may
 *      have taken its place.
 * (H2) A block is moved only if its whole key matches its checksum; a clean key keeps the one that it has.
 * (H3) The index is asked again under the leaf's lock: a write that came between has won. A copy that a crash leaves
 *      twice is the same twice; replay keeps one.
 * (H4) Moving ends when somebody waits for space.
 */
#include "cache.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>

#define KEY_BLOCKS (PCM_KEY_MAX_BYTES / PCM_BLOCK)

struct move {
	struct pcache *cache;
	const struct pc_segment *victim;
	bool is_main;      /* the victim is a segment of HOT */
	uint8_t *data;     /* of one key */
	struct pc_mapping blocks[KEY_BLOCKS]; /* of one key: what is to be moved */
	uint32_t block_count;
	uint32_t moved; /* of all keys so far */
};

static bool is_urgent(struct pcache *cache)
{
	bool urgent;

	pthread_mutex_lock(&cache->state_lock);
	urgent = cache->space_waiters > 0 || cache->stop;
	pthread_mutex_unlock(&cache->state_lock);
	return urgent;
}

/* Which blocks of the key are worth keeping; the others of the small queue are remembered (H1). */
static void choose_blocks(struct move *move, const struct pc_key *key, uint32_t slot)
{
	uint64_t end = key->off + key->len;

	move->block_count = 0;
	for (uint64_t off = pc_align_up(key->off, PCM_BLOCK); off + PCM_BLOCK <= end; off += PCM_BLOCK) {
		struct pc_mapping *block = &move->blocks[move->block_count];

		if (!pc_index_find_in(move->cache->index, move->victim->id, off, PCM_BLOCK, block) ||
		    block->slot != slot)
			continue;
		if (block->hits > 0)
			move->block_count++;
		else if (!move->is_main)
			pc_ghost_add(move->cache->evicted, off / PCM_BLOCK);
	}
}

/* (H2) */
static bool read_key(struct move *move, const struct pc_key *key)
{
	int ret = pc_media_read(move->cache->media, move->data, move->victim->off + key->data_off, key->len);

	return ret == 0 && pc_crc32c(0, move->data, key->len) == key->data_crc;
}

/* (H3) */
static int move_block(struct move *move, const struct pc_clean_room *room, uint32_t i, const struct pc_mapping *from,
		      uint32_t crc)
{
	struct pc_index *index = move->cache->index;
	struct pc_index_claim claim;
	struct pc_mapping to;
	int ret = pc_index_claim_place(index, from, &claim);

	if (ret < 0)
		return ret;
	ret = pc_clean_store_key(move->cache, room, i, from->off, crc, &to);
	to.hits = move->is_main ? (uint8_t)(from->hits - 1) : 0;
	if (ret < 0) {
		pc_index_claim_release(index, &claim);
		return ret;
	}
	pc_index_claim_enter(index, &claim, &to);
	move->moved++;
	pc_stats_add(move->cache->stats, PC_COUNT_MOVED_BYTES, PCM_BLOCK);
	return 0;
}

/* Blocks from `first` on, as many as there is room for. */
static void move_in_room(struct move *move, const struct pc_key *key, struct pc_clean_room *room, uint32_t first)
{
	uint32_t crcs[KEY_BLOCKS];
	int ret = 0;

	for (uint32_t i = 0; i < room->count && ret == 0; i++)
		ret = pc_clean_copy(move->cache, room, i, move->data + (move->blocks[first + i].off - key->off), &crcs[i]);
	if (ret == 0)
		ret = pc_media_drain(move->cache->media); /* order: the data before its keys (L2) */
	for (uint32_t i = 0; i < room->count && ret == 0; i++) {
		ret = move_block(move, room, i, &move->blocks[first + i], key->len == PCM_BLOCK ? key->data_crc : crcs[i]);
		if (ret == -EBUSY || ret == -ENOMEM)
			ret = 0; /* it is no longer there, or not worth the memory */
	}
	if (ret < 0)
		(void)pc_cache_fail_media(move->cache, ret);
	pc_clean_commit(move->cache, room);
}

static void move_key(struct move *move, const struct pc_key *key, uint32_t slot)
{
	uint32_t done = 0;

	choose_blocks(move, key, slot);
	if (move->block_count == 0 || !read_key(move, key))
		return;
	while (done < move->block_count) {
		struct pc_clean_room room;

		if (!pc_clean_reserve(move->cache, PC_STREAM_HOT, move->block_count - done, &room))
			return;
		move_in_room(move, key, &room, done);
		done += room.count;
	}
}

static void move_kset(struct move *move, const struct pc_lines *lines, uint32_t line, const struct pc_kset *kset)
{
	for (uint32_t i = 0; i < kset->count; i++) {
		struct pc_key key = pc_kset_key(lines, line, i);

		if (key.stored_len == key.len)
			move_key(move, &key, 2 * line + 1 + i);
	}
}

uint32_t pc_move_hot(struct pcache *cache, const struct pc_segment *victim, enum pc_stream_kind kind,
		     const struct pc_lines *lines)
{
	bool is_clean = kind != PC_STREAM_WRITE;
	struct pc_kset_scope scope = pc_segment_scope(cache->segments, victim, cache->backing->size_bytes);
	PC_FREE uint8_t *data = malloc(PCM_KEY_MAX_BYTES);
	struct move move = { .cache = cache, .victim = victim, .is_main = kind == PC_STREAM_HOT, .data = data };
	uint32_t line = 0;

	while (data != NULL && line < lines->end && !is_urgent(cache) && !pc_cache_is_failed(cache)) {
		struct pc_kset kset = { .lines = 1 };
		struct pc_key key;

		if (is_clean) {
			if (pc_kset_decode_clean(&scope, lines, line, &key) == PC_CLEAN_VALID)
				move_key(&move, &key, 2 * line + 1);
		} else if (pc_kset_decode(&scope, lines, line, &kset)) {
			move_kset(&move, lines, line, &kset);
		} else {
			break;
		}
		line += kset.lines;
	}
	return move.moved;
}
