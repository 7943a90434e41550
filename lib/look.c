/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * look.c - all figures of an open cache. Each is right, but they are not taken at one instant.
 *
 * Lock: pcache.state_lock for what it guards.
 */
#include "cache.h"

static void fill_counters(const struct pc_stats *counters, struct pcache_stats *out)
{
	out->reads = pc_stats_sum(counters, PC_COUNT_READS);
	out->read_bytes = pc_stats_sum(counters, PC_COUNT_READ_BYTES);
	out->read_miss_bytes = pc_stats_sum(counters, PC_COUNT_READ_MISS_BYTES);
	out->writes = pc_stats_sum(counters, PC_COUNT_WRITES);
	out->write_bytes = pc_stats_sum(counters, PC_COUNT_WRITE_BYTES);
	out->flushes = pc_stats_sum(counters, PC_COUNT_FLUSHES);
	out->writeback_batches = pc_stats_sum(counters, PC_COUNT_WRITEBACK_BATCHES);
	out->writeback_bytes = pc_stats_sum(counters, PC_COUNT_WRITEBACK_BYTES);
	out->writeback_ios = pc_stats_sum(counters, PC_COUNT_WRITEBACK_IOS);
	out->writeback_errors = pc_stats_sum(counters, PC_COUNT_WRITEBACK_ERRORS);
	out->backing_syncs = pc_stats_sum(counters, PC_COUNT_BACKING_SYNCS);
	out->segments_reclaimed = pc_stats_sum(counters, PC_COUNT_SEGMENTS_RECLAIMED);
	out->checksum_errors = pc_stats_sum(counters, PC_COUNT_CHECKSUM_ERRORS);
	out->fill_bytes = pc_stats_sum(counters, PC_COUNT_FILL_BYTES);
	out->fills_refused = pc_stats_sum(counters, PC_COUNT_FILLS_REFUSED);
	out->read_ahead_bytes = pc_stats_sum(counters, PC_COUNT_READ_AHEAD_BYTES);
	out->bypassed_bytes = pc_stats_sum(counters, PC_COUNT_BYPASSED_BYTES);
	out->shared_misses = pc_stats_sum(counters, PC_COUNT_SHARED_MISSES);
	out->ghost_hits = pc_stats_sum(counters, PC_COUNT_GHOST_HITS);
	out->moved_bytes = pc_stats_sum(counters, PC_COUNT_MOVED_BYTES);
	out->kills = pc_stats_sum(counters, PC_COUNT_KILLS);
	out->clean_errors = pc_stats_sum(counters, PC_COUNT_CLEAN_ERRORS);
	out->scrubbed_bytes = pc_stats_sum(counters, PC_COUNT_SCRUBBED_BYTES);
	out->read_misses = pc_stats_sum(counters, PC_COUNT_READ_MISSES);
	out->read_hits = out->reads - pc_min64(out->reads, out->read_misses);
	out->read_hit_bytes = out->read_bytes - pc_min64(out->read_bytes, out->read_miss_bytes);
	out->backing_read_bytes = pc_stats_sum(counters, PC_COUNT_BACKING_READ_BYTES);
	out->backing_read_errors = pc_stats_sum(counters, PC_COUNT_BACKING_READ_ERRORS);
	out->around_bytes = pc_stats_sum(counters, PC_COUNT_AROUND_BYTES);
	out->zero_bytes = pc_stats_sum(counters, PC_COUNT_ZERO_BYTES);
	out->discard_bytes = pc_stats_sum(counters, PC_COUNT_DISCARD_BYTES);
	out->writeback_zero_bytes = pc_stats_sum(counters, PC_COUNT_WRITEBACK_ZERO_BYTES);
}

static void fill_constants(const struct pcache *cache, struct pcache_stats *out)
{
	out->granularity = cache->media->granularity;
	out->mode = (uint32_t)pc_tunable(cache, PCACHE_TUNABLE_MODE);
	out->max_atomic_bytes = cache->max_atomic_bytes;
	out->max_atomic_zero_bytes = pc_zero_atomic_max(cache);
	out->backing_bytes = cache->backing->size_bytes;
	out->segment_bytes = cache->segments->segment_bytes;
	out->segments = cache->segments->count;
	out->capacity_bytes = out->segments * out->segment_bytes;
	out->open_ns = cache->open_ns;
	out->replay_ns = cache->replay_ns;
	out->replay_keys = cache->replay_keys;
	out->replay_voided = cache->replay_voided;
	out->salvage_segments = cache->salvage_segments;
	out->salvage_gaps = cache->salvage_gaps;
	out->salvage_lines = cache->salvage_lines;
	out->recovered_end_bytes = cache->recovered_end_bytes;
	out->epoch = cache->identity.epoch;
}

static void fill_state(struct pcache *cache, struct pcache_stats *out)
{
	struct pc_pos head;

	pthread_mutex_lock(&cache->state_lock);
	head = pc_cache_head(cache);
	out->state = cache->health.state;
	out->dirty_log_bytes = pc_cache_log_bytes(cache, cache->dirty_tail, head);
	out->tail_seq = cache->dirty_tail.seq;
	out->tail_line = cache->dirty_tail.line;
	out->stalls = cache->stalls;
	out->stall_ns = cache->stall_ns;
	out->stall_max_ns = cache->stall_max_ns;
	out->segments_fill = pc_clean_of(cache, PC_STREAM_FILL)->age.count;
	out->segments_hot = pc_clean_of(cache, PC_STREAM_HOT)->age.count;
	out->segments_write = head.seq - cache->oldest_seq + 1;
	pthread_mutex_unlock(&cache->state_lock);
	out->head_seq = head.seq;
	out->head_line = head.line;
	out->segments_free = atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed);
	out->cached_bytes = pc_index_cached_bytes(cache->index);
	out->index_bytes = pc_index_memory_bytes(cache->index) + pc_ghost_memory_bytes(cache->evicted) +
			   pc_ghost_memory_bytes(cache->touched);
	out->media_syncs = atomic_load_explicit(&cache->media->syncs, memory_order_relaxed);
}

/* Bytes that a stream has taken: closed segments are counted, the open one is looked at. */
static uint64_t open_bytes(const struct pc_stream *stream, uint32_t (*part)(uint64_t room))
{
	uint64_t room = pc_stream_room(stream);

	return pc_room_is_closed(room) ? 0 : (uint64_t)part(room) * PCM_UNIT;
}

static uint32_t units_and_lines(uint64_t room)
{
	return pc_room_units(room) + pc_room_lines(room);
}

static void fill_media(struct pcache *cache, struct pcache_stats *out)
{
	const struct pc_stats *counters = cache->stats;

	out->media_data_bytes = pc_stats_sum(counters, PC_COUNT_LOG_DATA_BYTES) + open_bytes(&cache->write, pc_room_units);
	out->media_key_bytes = pc_stats_sum(counters, PC_COUNT_LOG_KEY_BYTES) + open_bytes(&cache->write, pc_room_lines);
	out->media_fill_bytes = pc_stats_sum(counters, PC_COUNT_LOG_FILL_BYTES) +
				open_bytes(&pc_clean_of(cache, PC_STREAM_FILL)->stream, units_and_lines);
	out->media_move_bytes = pc_stats_sum(counters, PC_COUNT_LOG_HOT_BYTES) +
				open_bytes(&pc_clean_of(cache, PC_STREAM_HOT)->stream, units_and_lines);
	out->media_record_bytes = atomic_load_explicit(&cache->media->record_bytes, memory_order_relaxed) +
				  out->kills * PCM_LINE;
}

/* Data that a segment has taken. */
static uint64_t stored_bytes(const struct pc_stream *stream, uint32_t segment)
{
	uint64_t room = pc_stream_room(stream);

	if (pc_room_is_closed(room) || pc_stream_segment(stream, pc_room_seq(room)) != segment)
		room = pc_stream_last_room(stream, segment);
	return (uint64_t)pc_room_units(room) * PCM_UNIT;
}

/* Data in all segments in use, whether anything is found there or not. */
static uint64_t all_stored_bytes_locked(struct pcache *cache, uint64_t newest_seq)
{
	uint64_t bytes = 0;

	for (uint64_t seq = cache->oldest_seq; seq <= newest_seq; seq++)
		bytes += stored_bytes(&cache->write, pc_stream_segment(&cache->write, seq));
	for (unsigned i = 0; i < PC_ARRAY_SIZE(cache->clean); i++)
		for (uint32_t j = 0; j < cache->clean[i].age.count; j++)
			bytes += stored_bytes(&cache->clean[i].stream, cache->clean[i].age.ids[j]);
	return bytes;
}

/* What of the tail's own segment is dirty is taken to be as much of its live bytes as of its lines. */
static uint64_t dirty_part(const struct pcache *cache, struct pc_pos tail, uint64_t live)
{
	uint64_t room = pc_stream_room(&cache->write);
	uint64_t lines;

	if (pc_room_seq(room) != (tail.seq & PC_ROOM_SEQ_MASK))
		room = pc_stream_last_room(&cache->write, pc_stream_segment(&cache->write, tail.seq));
	lines = pc_room_lines(room);
	return lines == 0 ? live : live * (lines - pc_min64(tail.line, lines)) / lines;
}

static uint64_t dirty_bytes(const struct pcache *cache, struct pc_pos tail)
{
	uint64_t bytes = 0;

	for (uint32_t id = 0; id < cache->segments->count; id++) {
		uint64_t seq = atomic_load_explicit(&cache->segments->refs[id].seq, memory_order_relaxed);

		if (seq > tail.seq)
			bytes += pc_index_live_bytes(cache->index, id);
		else if (seq == tail.seq)
			bytes += dirty_part(cache, tail, pc_index_live_bytes(cache->index, id));
	}
	return bytes;
}

static void fill_content(struct pcache *cache, struct pcache_stats *out)
{
	uint64_t stored;

	pthread_mutex_lock(&cache->state_lock);
	stored = all_stored_bytes_locked(cache, pc_cache_head(cache).seq);
	pthread_mutex_unlock(&cache->state_lock);
	out->dirty_bytes = dirty_bytes(cache, (struct pc_pos){ out->tail_seq, (uint32_t)out->tail_line });
	out->dirty_bytes = pc_min64(out->dirty_bytes, out->cached_bytes);
	out->clean_bytes = out->cached_bytes - out->dirty_bytes;
	out->lost_ranges = atomic_load_explicit(&cache->lost.count, memory_order_relaxed);
	out->lost_bytes = pc_lost_bytes(&cache->lost, 0, UINT64_MAX);
	out->dead_bytes = stored - pc_min64(stored, out->cached_bytes);
}

void pc_cache_look(struct pcache *cache, struct pcache_stats *stats)
{
	fill_counters(cache->stats, stats);
	fill_constants(cache, stats);
	fill_state(cache, stats);
	fill_content(cache, stats);
	fill_media(cache, stats);
}
