/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clean.c - blocks of clean data: the append side of the FILL and HOT streams, and the kill.
 *
 * A clean segment holds whole, aligned blocks of 4 KiB. Line n describes block n of the data, so either is found from
 * the other. Everything in it is on the backing, too: a line that is torn, killed or was never written is a miss.
 *
 *   reserve -> copy the data, fence -> claim the range in the index -> key stored and flushed, entered, released -> fence
 *
 * (L1) Nobody waits for a clean segment: where there is none, or somebody else is rotating, the data is not kept. The
 *      WRITE stream has precedence: the last free segments are left to it.
 * (L2) The data is durable before its key is stored; the key is stored only under a claim of the index, so that a range
 *      which was written meanwhile never gets a key.
 * (L3) A kill is one aligned store of eight bytes, flushed, under the leaf's lock, before the index forgets the key;
 *      also where the word is there already. It is fenced before the write that caused it counts as done (W4). A second
 *      write that comes between finds nothing to kill; the first one stays in the log until it has fenced, and a replay
 *      kills the key because of that one.
 * (L4) What leaves the index without its segment being freed right after, was killed before.
 *
 * Locks: stream.rotate_lock, tried and never waited for; state_lock for the age lists.
 */
#include "cache.h"

#include <errno.h>

#define BLOCK_UNITS (PCM_BLOCK / PCM_UNIT)
#define BLOCK_ROOM  (BLOCK_UNITS + 1) /* units and line */

/* Free segments that are not for FILL; HOT may have one more, reclaim is about to give it back. */
#define RESERVED_SEGMENTS 2u

#define KILLS_AT_ONCE 16u

static int init_stream(struct pcache *cache, enum pc_stream_kind kind)
{
	const struct pc_segments *segments = cache->segments;
	struct pc_clean *clean = pc_clean_of(cache, kind);
	int ret = pc_stream_init(&clean->stream, segments->count, pc_clean_blocks(segments->segment_bytes) * BLOCK_ROOM,
				 true);

	if (ret < 0)
		return ret;
	clean->kind = kind;
	clean->next_seq = 1;
	clean->age.ids = calloc(segments->count, sizeof(*clean->age.ids));
	return clean->age.ids == NULL ? -ENOMEM : 0;
}

int pc_clean_init(struct pcache *cache)
{
	uint64_t blocks = (uint64_t)cache->segments->count * pc_clean_blocks(cache->segments->segment_bytes);
	/* As many as HOT may have at most: what reclaim leaves in use, without the small queue's tenth. */
	uint64_t hot_blocks = blocks * pc_tunable(cache, PCACHE_TUNABLE_GC_PERCENT) / 100 * 9 / 10;
	int ret = init_stream(cache, PC_STREAM_FILL);

	if (ret == 0)
		ret = init_stream(cache, PC_STREAM_HOT);
	if (ret == 0)
		ret = pc_ghost_new(hot_blocks, &cache->evicted);
	if (ret == 0)
		ret = pc_ghost_new(blocks, &cache->touched);
	return ret;
}

void pc_clean_destroy(struct pcache *cache)
{
	for (unsigned i = 0; i < PC_ARRAY_SIZE(cache->clean); i++) {
		pc_stream_destroy(&cache->clean[i].stream);
		free(cache->clean[i].age.ids);
	}
	pc_ghost_delete(cache->evicted);
	pc_ghost_delete(cache->touched);
}

/* ---- room ---- */

static uint32_t blocks_left(const struct pc_stream *stream, uint64_t room)
{
	return pc_room_is_closed(room) ? 0 : (stream->room_total - pc_room_lines(room) - pc_room_units(room)) / BLOCK_ROOM;
}

/* Closed, and everybody is done. Reclaim may wait for that, or find nothing alive in it any more. */
static void seal(struct pcache *cache, const struct pc_clean *clean, uint32_t segment, uint64_t seq, uint32_t lines)
{
	bool is_empty = pc_index_live_bytes(cache->index, segment) == 0;

	(void)pc_rotate_seal(cache, segment, clean->kind, seq, lines);
	if (is_empty)
		atomic_store_explicit(&cache->clean_emptied, true, memory_order_relaxed);
	pc_reclaim_wake(cache);
}

/* Under rotate_lock. */
static void close_locked(struct pcache *cache, struct pc_clean *clean)
{
	uint64_t room = pc_stream_room(&clean->stream);
	uint32_t segment = pc_stream_segment(&clean->stream, pc_room_seq(room));
	uint32_t lines;
	bool is_done;

	if (pc_room_is_closed(room))
		return;
	is_done = pc_stream_close_segment(&clean->stream, &lines);
	room = pc_stream_last_room(&clean->stream, segment);
	pc_stats_add(cache->stats, clean->kind == PC_STREAM_HOT ? PC_COUNT_LOG_HOT_BYTES : PC_COUNT_LOG_FILL_BYTES,
		     ((uint64_t)pc_room_units(room) + pc_room_lines(room)) * PCM_LINE);
	if (is_done)
		seal(cache, clean, segment, clean->next_seq - 1, lines);
}

/* (L1) */
static uint32_t take_segment(struct pcache *cache, enum pc_stream_kind kind)
{
	uint32_t reserved = kind == PC_STREAM_HOT ? RESERVED_SEGMENTS - 1 : RESERVED_SEGMENTS;

	if (atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed) > reserved)
		return pc_segment_alloc(cache->segments);
	if (!atomic_exchange_explicit(&cache->clean_starved, true, memory_order_relaxed))
		pc_reclaim_wake(cache);
	return PC_SEGMENT_NONE;
}

/* Under rotate_lock. */
static bool open_next_locked(struct pcache *cache, struct pc_clean *clean)
{
	uint32_t next = take_segment(cache, clean->kind);
	int ret;

	if (next == PC_SEGMENT_NONE)
		return false;
	ret = pc_segment_open(cache->segments, next, clean->kind, clean->next_seq);
	if (ret < 0) {
		(void)pc_cache_fail_media(cache, ret);
		return false;
	}
	pc_stream_open_segment(&clean->stream, clean->next_seq++, next);
	pthread_mutex_lock(&cache->state_lock);
	clean->age.ids[clean->age.count++] = next; /* order: behind the opening, until then it looks as if it were done */
	pc_worker_wake_locked(&cache->reclaim);    /* fewer are free: it looks whether that passes a mark */
	pthread_mutex_unlock(&cache->state_lock);
	return true;
}

/* Until `room_seen` is no longer the open one. */
static bool rotate(struct pcache *cache, struct pc_clean *clean, uint64_t room_seen)
{
	uint64_t room;
	bool is_open = true;

	if (pc_cache_is_failed(cache) || pthread_mutex_trylock(&clean->stream.rotate_lock) != 0)
		return false;
	room = pc_stream_room(&clean->stream);
	if (pc_room_seq(room) == pc_room_seq(room_seen)) {
		close_locked(cache, clean);
		is_open = open_next_locked(cache, clean);
	}
	pthread_mutex_unlock(&clean->stream.rotate_lock);
	return is_open;
}

bool pc_clean_reserve(struct pcache *cache, enum pc_stream_kind kind, uint32_t count, struct pc_clean_room *ret_room)
{
	struct pc_clean *clean = pc_clean_of(cache, kind);
	struct pc_reservation reservation;
	uint32_t fitting = 0;

	for (;;) {
		uint64_t room = pc_stream_room(&clean->stream);

		fitting = (uint32_t)pc_min64(count, blocks_left(&clean->stream, room));
		if (fitting == 0 && !rotate(cache, clean, room))
			return false;
		if (fitting > 0 &&
		    pc_stream_reserve(&clean->stream, fitting, fitting * BLOCK_UNITS, &reservation, &room))
			break;
	}
	*ret_room = (struct pc_clean_room){
		.clean = clean,
		.segment = pc_segment_at(cache->segments, reservation.segment),
		.seq = pc_segment_at(cache->segments, reservation.segment)->seq,
		.reservation = reservation,
		.count = fitting,
	};
	return true;
}

void pc_clean_close(struct pcache *cache, enum pc_stream_kind kind)
{
	struct pc_clean *clean = pc_clean_of(cache, kind);

	pthread_mutex_lock(&clean->stream.rotate_lock);
	close_locked(cache, clean);
	pthread_mutex_unlock(&clean->stream.rotate_lock);
}

/* ---- blocks ---- */

int pc_clean_copy(struct pcache *cache, const struct pc_clean_room *room, uint32_t i, const void *data,
		  uint32_t *ret_crc)
{
	uint64_t off = room->segment->off + pc_clean_data_off(room->reservation.line + i);

	*ret_crc = 0;
	return pc_media_copy_crc(cache->media, off, data, PCM_BLOCK, ret_crc);
}

int pc_clean_store_key(struct pcache *cache, const struct pc_clean_room *room, uint32_t i, uint64_t off, uint32_t crc,
		       struct pc_mapping *ret_mapping)
{
	uint32_t line = room->reservation.line + i;
	const struct pc_kset kset = { .seq = room->seq, .count = 1 };
	const struct pc_key key = {
		.off = off,
		.len = PCM_BLOCK,
		.data_off = pc_clean_data_off(line),
		.data_crc = crc,
		.stored_len = PCM_BLOCK,
	};
	uint64_t target = room->segment->off + pc_line_off(cache->segments->segment_bytes, line);
	uint8_t bytes[PCM_LINE];
	int ret;

	pc_kset_encode(room->segment->kset_seed, line, &kset, &key, bytes);
	/* Through the cache: a writer may put its kill over this line as soon as the claim ends. */
	ret = pc_media_copy(cache->media, target, bytes, sizeof(bytes), PC_COPY_CACHED);
	if (ret == 0)
		ret = pc_media_flush(cache->media, target, sizeof(bytes));
	*ret_mapping = (struct pc_mapping){
		.off = off,
		.len = PCM_BLOCK,
		.segment = room->reservation.segment,
		.data_off = key.data_off,
		.slot = 2 * line + 1,
		.verified = true,
	};
	return ret;
}

void pc_clean_commit(struct pcache *cache, struct pc_clean_room *room)
{
	uint32_t lines;
	int ret = pc_media_drain(cache->media);

	if (ret < 0)
		(void)pc_cache_fail_media(cache, ret);
	if (pc_stream_commit(&room->clean->stream, &room->reservation, &lines))
		seal(cache, room->clean, room->reservation.segment, room->seq, lines);
	pc_cache_report_failure(cache);
}

/* ---- kill ---- */

/* (L3) Called with the leaf's lock held: what fails is said by pc_clean_fence_kills(). */
void pc_clean_kill(void *arg, uint32_t segment_id, uint32_t slot)
{
	struct pcache *cache = arg;
	uint64_t segment_off = pc_segment_at(cache->segments, segment_id)->off;
	int ret = pc_kset_kill(cache->media, segment_off, cache->segments->segment_bytes, slot / 2);

	if (ret < 0)
		atomic_store_explicit(&cache->kill_error, ret, memory_order_relaxed);
	pc_stats_add(cache->stats, PC_COUNT_KILLS, 1);
	/* Not just the last block: several may be killed at once, each under a lock of its own. */
	if (pc_index_live_bytes(cache->index, segment_id) <= KILLS_AT_ONCE * PCM_BLOCK)
		atomic_store_explicit(&cache->clean_emptied, true, memory_order_relaxed);
}

/* Kills were stored, then fenced with this result. */
static int finish_kills(struct pcache *cache, int fenced)
{
	int ret = atomic_load_explicit(&cache->kill_error, memory_order_relaxed);

	if (ret == 0)
		ret = fenced;
	if (ret < 0)
		return pc_cache_fail_media(cache, ret);
	if (pc_unlikely(atomic_load_explicit(&cache->clean_emptied, memory_order_relaxed)))
		pc_reclaim_wake(cache);
	return 0;
}

int pc_clean_fence_kills(struct pcache *cache)
{
	return finish_kills(cache, pc_media_drain(cache->media));
}

/* (L4) */
int pc_clean_forget(struct pcache *cache, const struct pc_mapping *piece)
{
	const struct pc_mapping whole = {
		.off = pc_align_down(piece->off, PCM_BLOCK),
		.len = PCM_BLOCK,
		.segment = piece->segment,
	};
	struct pc_index_claim claim;
	int ret = pc_index_claim_place(cache->index, piece, &claim);

	if (ret < 0)
		return ret;
	if (!cache->config.readonly) {
		pc_clean_kill(cache, piece->segment, piece->slot);
		ret = pc_media_drain(cache->media); /* order: the next write over it finds nothing to kill (L4) */
	}
	pc_index_claim_drop(cache->index, &claim, &whole);
	return finish_kills(cache, ret);
}
