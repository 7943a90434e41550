/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reclaim.c - segments whose data is on the backing become free ones.
 *
 *   choose a victim -> move what is worth keeping to HOT -> drop the rest from the index -> generation + 1 -> free
 *
 * Which one: first whichever has no live bytes. Then, as in S3-FIFO, the oldest of the small queue (FILL and the clean
 * end of WRITE) while that has more than a tenth of the clean segments, else the oldest of HOT. With FIFO the oldest of
 * all.
 *
 * (Q1) Of WRITE only segments whose number is below that of dirty_tail's segment, oldest first: all of their bytes are
 *      on the backing, synced, and a missing one in the middle of the chain stays noticeable. Clean segments in any
 *      order.
 * (Q2) No index entry survives its segment: checked each time, by the count of live bytes.
 * (Q3) One victim at a time; its new generation is durable before the segment can be taken, and before the next victim:
 *      the keys of a clean victim are not killed, so a write over them may leave the log only after they are gone.
 * (Q4) Misses under way over a write that leaves the index are made stale before it does (F1).
 * (Q5) Reclaim gains: over time at least an eighth of what it goes through becomes free. When more is carried forward
 *      than that leaves, the next victim's data goes without a second look.
 * (Q6) It says that it is at work before it drops anything, until the segment's new generation is durable: meanwhile the
 *      media may have keys that the index does not have (AR2).
 *
 * Only this flow, on one thread, moves oldest_seq and takes from the age lists. Lock: pcache.state_lock, never held
 * during the work.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_PERCENT  10u
#define CARRY_GAIN     8u
#define CARRY_SEGMENTS 2u /* so many may be carried forward at a stretch */

struct victim {
	enum pc_stream_kind kind;
	uint32_t segment;
	uint32_t lines;
};

/* ---- choosing ---- */

static bool is_done(const struct pc_clean *clean, uint32_t segment)
{
	return pc_stream_is_done(&clean->stream, segment);
}

/* The oldest clean segment that nobody writes into any more; with `empty`, that has no live bytes either. */
static bool find_clean_locked(struct pcache *cache, enum pc_stream_kind kind, bool empty, struct victim *ret_victim)
{
	const struct pc_clean *clean = pc_clean_of(cache, kind);

	for (uint32_t i = 0; i < clean->age.count; i++) {
		uint32_t id = clean->age.ids[i];

		if ((empty && pc_index_live_bytes(cache->index, id) != 0) || !is_done(clean, id))
			continue;
		*ret_victim = (struct victim){
			.kind = kind,
			.segment = id,
			.lines = pc_room_lines(pc_stream_last_room(&clean->stream, id)),
		};
		return true;
	}
	return false;
}

static bool is_write_possible_locked(const struct pcache *cache)
{
	return cache->oldest_seq < cache->dirty_tail.seq; /* (Q1) */
}

static bool find_write_locked(const struct pcache *cache, struct victim *ret_victim)
{
	uint32_t id;

	if (!is_write_possible_locked(cache))
		return false;
	id = pc_stream_segment(&cache->write, cache->oldest_seq);
	*ret_victim = (struct victim){
		.kind = PC_STREAM_WRITE,
		.segment = id,
		.lines = pc_segment_at(cache->segments, id)->lines,
	};
	return true;
}

static bool is_older(const struct pcache *cache, const struct victim *a, const struct victim *b)
{
	return pc_segment_at(cache->segments, a->segment)->born < pc_segment_at(cache->segments, b->segment)->born;
}

/* Has the small queue more than its share? */
static bool is_small_large_locked(struct pcache *cache)
{
	uint64_t small = cache->dirty_tail.seq - cache->oldest_seq + pc_clean_of(cache, PC_STREAM_FILL)->age.count;
	uint64_t all = small + pc_clean_of(cache, PC_STREAM_HOT)->age.count;

	return small * 100 > all * SMALL_PERCENT;
}

static bool find_victim_locked(struct pcache *cache, struct victim *ret_victim)
{
	bool is_fifo = pc_tunable(cache, PCACHE_TUNABLE_EVICTION) == PCACHE_EVICTION_FIFO;
	struct victim fill;
	struct victim hot;
	bool has_small = find_write_locked(cache, ret_victim);
	bool has_hot = find_clean_locked(cache, PC_STREAM_HOT, false, &hot);

	if (find_clean_locked(cache, PC_STREAM_FILL, false, &fill) && (!has_small || is_older(cache, &fill, ret_victim))) {
		*ret_victim = fill;
		has_small = true;
	}
	if (has_hot && (!has_small || (is_fifo ? is_older(cache, &hot, ret_victim) : !is_small_large_locked(cache))))
		*ret_victim = hot;
	return has_small || has_hot;
}

bool pc_reclaim_possible_locked(const struct pcache *cache)
{
	return is_write_possible_locked(cache) || cache->clean[0].age.count > 0 || cache->clean[1].age.count > 0;
}

static bool is_wanted_locked(const struct pcache *cache)
{
	uint64_t total = cache->segments->count;
	uint64_t used = total - atomic_load_explicit(&cache->segments->free_count, memory_order_relaxed);

	return cache->space_waiters > 0 || used * 100 > total * pc_tunable(cache, PCACHE_TUNABLE_GC_PERCENT) ||
	       atomic_load_explicit(&cache->clean_starved, memory_order_relaxed);
}

static bool choose_locked(struct pcache *cache, struct victim *ret_victim)
{
	if (pc_cache_is_failed(cache))
		return false;
	if (atomic_exchange_explicit(&cache->clean_emptied, false, memory_order_relaxed) &&
	    (find_clean_locked(cache, PC_STREAM_FILL, true, ret_victim) ||
	     find_clean_locked(cache, PC_STREAM_HOT, true, ret_victim))) {
		atomic_store_explicit(&cache->clean_emptied, true, memory_order_relaxed); /* there may be more */
		return true;
	}
	return is_wanted_locked(cache) && find_victim_locked(cache, ret_victim);
}

/* Somebody waits, and all that could go is in the open clean segments: close them. True: that may have helped. */
static bool close_clean(struct pcache *cache)
{
	bool help;

	pthread_mutex_lock(&cache->state_lock);
	help = cache->space_waiters > 0 && !is_write_possible_locked(cache) && !pc_cache_is_failed(cache) &&
	       pc_reclaim_possible_locked(cache);
	pthread_mutex_unlock(&cache->state_lock);
	if (help) {
		pc_clean_close(cache, PC_STREAM_FILL);
		pc_clean_close(cache, PC_STREAM_HOT);
	}
	return help;
}

/* ---- emptying ---- */

static void drop_key(struct pcache *cache, const struct pc_segment *segment, const struct pc_key *key)
{
	if (!pc_segment_is_clean(cache->segments, segment->id))
		pc_misses_supersede(&cache->misses, key->off, key->len); /* order: before the drop (Q4) */
	pc_index_drop(cache->index, segment->id, key->off, key->len);
}

/* Of keys that were killed the index may still find what the killer left of them. */
static void drop_clean(struct pcache *cache, const struct pc_segment *segment, const struct pc_lines *lines)
{
	struct pc_kset_scope scope = pc_segment_scope(cache->segments, segment, cache->backing->size_bytes);

	for (uint32_t line = 0; line < lines->end; line++) {
		struct pc_key key;

		if (pc_kset_decode_clean(&scope, lines, line, &key) != PC_CLEAN_NONE && key.len != 0)
			drop_key(cache, segment, &key);
	}
}

static void drop_written(struct pcache *cache, const struct pc_segment *segment, const struct pc_lines *lines)
{
	struct pc_kset_scope scope = pc_segment_scope(cache->segments, segment, cache->backing->size_bytes);
	struct pc_kset kset;

	for (uint32_t line = 0; line < lines->end; line += kset.lines) {
		if (!pc_kset_decode(&scope, lines, line, &kset))
			return;
		for (uint32_t i = 0; i < kset.count; i++) {
			struct pc_key key = pc_kset_key(lines, line, i);

			drop_key(cache, segment, &key);
		}
	}
}

/* (Q5) */
static void carry_forward(struct pcache *cache, const struct victim *victim, const struct pc_lines *lines)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, victim->segment);
	uint32_t blocks = pc_clean_blocks(cache->segments->segment_bytes);
	uint64_t allowed = blocks - blocks / CARRY_GAIN;

	if (pc_tunable(cache, PCACHE_TUNABLE_EVICTION) != PCACHE_EVICTION_S3FIFO)
		return;
	if (cache->carried_blocks <= CARRY_SEGMENTS * blocks)
		cache->carried_blocks += pc_move_hot(cache, segment, victim->kind, lines);
	cache->carried_blocks -= pc_min64(cache->carried_blocks, allowed);
}

/* (Q2) */
static void empty_segment(struct pcache *cache, const struct victim *victim)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, victim->segment);
	PC_FREE uint8_t *buf = malloc((size_t)victim->lines * PCM_LINE + 1);
	struct pc_lines lines = { .end = 0 };

	if (buf != NULL && pc_lines_read(cache->media, segment->off + cache->segments->segment_bytes, 0, victim->lines, buf,
					 &lines) == 0) {
		if (pc_index_live_bytes(cache->index, victim->segment) != 0)
			carry_forward(cache, victim, &lines);
		if (victim->kind == PC_STREAM_WRITE)
			drop_written(cache, segment, &lines);
		else
			drop_clean(cache, segment, &lines);
	}
	/* Keys that cannot be read, or memory that is not there: the index is swept, slower and as sure. */
	if (pc_index_live_bytes(cache->index, segment->id) != 0) {
		pc_misses_supersede(&cache->misses, 0, UINT64_MAX);
		pc_index_drop_segment(cache->index, segment->id);
	}
	assert(pc_index_live_bytes(cache->index, segment->id) == 0);
}

/* ---- one victim ---- */

static void forget_locked(struct pcache *cache, const struct victim *victim)
{
	struct pc_age *age;
	uint32_t i = 0;

	if (victim->kind == PC_STREAM_WRITE) {
		cache->oldest_seq++;
		return;
	}
	age = &pc_clean_of(cache, victim->kind)->age;
	while (age->ids[i] != victim->segment)
		i++;
	age->count--;
	memmove(&age->ids[i], &age->ids[i + 1], (age->count - i) * sizeof(*age->ids));
}

static int reclaim(struct pcache *cache, const struct victim *victim)
{
	int ret;

	atomic_store_explicit(&cache->is_reclaiming, true, memory_order_relaxed); /* order: before anything is dropped (Q6) */
	empty_segment(cache, victim);
	ret = pc_segment_free(cache->segments, victim->segment);
	if (ret < 0) {
		ret = pc_cache_fail_media(cache, ret);
		pc_cache_report_failure(cache);
		return ret;
	}
	atomic_store_explicit(&cache->is_reclaiming, false, memory_order_release);
	/* order: the new generation is durable before anybody can take the segment (Q3) */
	pc_stats_add(cache->stats, PC_COUNT_SEGMENTS_RECLAIMED, 1); /* before: who waited for the segment finds it counted */
	pthread_mutex_lock(&cache->state_lock);
	forget_locked(cache, victim); /* before the release: in its next life it may come back to the list */
	pthread_mutex_unlock(&cache->state_lock);
	pc_segment_release(cache->segments, victim->segment);
	pthread_mutex_lock(&cache->state_lock);
	atomic_store_explicit(&cache->clean_starved, false, memory_order_relaxed);
	pthread_cond_broadcast(&cache->space);
	pthread_mutex_unlock(&cache->state_lock);
	return 1;
}

static bool choose(struct pcache *cache, struct victim *ret_victim)
{
	bool found;

	pthread_mutex_lock(&cache->state_lock);
	found = choose_locked(cache, ret_victim);
	pthread_mutex_unlock(&cache->state_lock);
	return found;
}

int pc_reclaim_step(struct pcache *cache)
{
	struct victim victim;

	if (choose(cache, &victim) || (close_clean(cache) && choose(cache, &victim)))
		return reclaim(cache, &victim);
	return 0;
}

/* ---- when ---- */

void pc_reclaim_wake(struct pcache *cache)
{
	pthread_mutex_lock(&cache->state_lock);
	pc_worker_wake_locked(&cache->reclaim);
	pthread_mutex_unlock(&cache->state_lock);
}

/* Until an event later than `events`, stop, or the time to show the statistics again; 0: that may wait. */
static void sleep_locked(struct pcache *cache, uint64_t events, uint64_t deadline_ns)
{
	const struct timespec deadline = { (time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u) };
	int ret = 0;

	while (cache->reclaim.events == events && !cache->stop && ret != ETIMEDOUT) {
		if (deadline_ns == 0)
			pthread_cond_wait(&cache->reclaim.wake, &cache->state_lock);
		else
			ret = pthread_cond_timedwait(&cache->reclaim.wake, &cache->state_lock, &deadline);
	}
}

void *pc_reclaim_thread(void *arg)
{
	struct pcache *cache = arg;

	pthread_mutex_lock(&cache->state_lock);
	while (!cache->stop) {
		uint64_t events = cache->reclaim.events;
		uint64_t deadline_ns;
		int ret;

		pthread_mutex_unlock(&cache->state_lock);
		ret = pc_reclaim_step(cache); /* a failure is sticky in the cache's state */
		deadline_ns = pc_live_tick(cache, pc_now_ns());
		pthread_mutex_lock(&cache->state_lock);
		if (ret <= 0)
			sleep_locked(cache, events, deadline_ns);
	}
	pthread_mutex_unlock(&cache->state_lock);
	return NULL;
}
