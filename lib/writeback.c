/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writeback.c - when the log goes to the backing, and how far.
 *
 * (D1) dirty_tail moves only after every write of the batch completed and a sync issued after that returned 0.
 * (D2) The end of a batch is durable before its first write to the backing: if it is interrupted, the backing is
 *      consistent again when a batch has gone at least that far.
 * (D3) After any failure the whole batch is written again, not only synced: the kernel may have dropped what it could
 *      not write.
 * (D4) An error stops the tail, never the data. It is retried for ever, ever more slowly (U2); waiting callers are told
 *      (U3).
 * (D5) Only what is durable in the cache goes out: sealed segments, and the open one up to a quiet line; on page
 *      granularity after a sync of the media.
 * (D6) dirty_tail enters a segment only when the one before it is sealed and linked to it.
 * (D7) A write-through is a drain of what was written so far: acknowledged when dirty_tail has passed it (D1). One batch
 *      serves all who wait; neither age nor amount nor a pause holds it up, and patience bounds it (U3, U4).
 *
 * Only this flow, on one thread, changes the tails. Lock: pcache.state_lock.
 */
#include "cache.h"

#include <errno.h>
#include <sched.h>

/* Looks at an open segment before it is closed to make it quiet. */
#define QUIET_TRIES 64u

/* ---- how far ---- */

/* Lines of a segment that may go out; false: its writers are still at work. (D5) */
static bool usable_lines(const struct pcache *cache, uint64_t seq, bool is_newest, uint32_t *ret_lines)
{
	uint32_t id = pc_stream_segment(&cache->write, seq);
	uint64_t room;

	if (is_newest && pc_stream_is_quiet(&cache->write, &room) && pc_room_seq(room) == (seq & PC_ROOM_SEQ_MASK)) {
		*ret_lines = pc_room_lines(room);
		return true;
	}
	/* On a failed media nothing is sealed any more, and nothing will be replayed from it: take what memory holds. */
	if (is_newest || !(pc_segment_is_sealed(cache->segments, id) || pc_cache_is_failed(cache)))
		return false;
	*ret_lines = pc_room_lines(pc_stream_last_room(&cache->write, id));
	return true;
}

/* The end of the next batch; equal to `from` when nothing can go out now. */
static struct pc_pos choose_end(const struct pcache *cache, struct pc_pos from, struct pc_pos at_least)
{
	uint64_t batch_bytes = pc_tunable(cache, PCACHE_TUNABLE_BATCH_BYTES);
	uint64_t newest = pc_cache_head(cache).seq;
	struct pc_pos end = from;
	uint32_t lines;

	while (usable_lines(cache, end.seq, end.seq == newest, &lines)) {
		if (end.seq == newest) {
			end.line = lines;
			break;
		}
		end = (struct pc_pos){ .seq = end.seq + 1 }; /* it is open, so the link to it is durable (D6) */
		if (pc_cache_log_bytes(cache, from, end) >= batch_bytes && pc_pos_cmp(end, at_least) >= 0)
			break;
	}
	return end;
}

/* ---- one batch ---- */

static int store_tails(struct pcache *cache, struct pc_pos dirty_tail, struct pc_pos batch_end)
{
	struct pcm_tails tails = {
		.dirty_tail = { .seq = pc_le64(dirty_tail.seq), .line = pc_le32(dirty_tail.line) },
		.batch_end = { .seq = pc_le64(batch_end.seq), .line = pc_le32(batch_end.line) },
	};
	int ret;

	if (pc_cache_is_failed(cache))
		return 0; /* memory alone knows from here on; the media keeps the older, safe tail */
	ret = pc_meta_store(cache->media, &cache->tails_meta, &tails);
	if (ret < 0)
		pc_cache_fail_media(cache, ret);
	return ret;
}

static void set_tails(struct pcache *cache, struct pc_pos dirty_tail, struct pc_pos batch_end)
{
	pthread_mutex_lock(&cache->state_lock);
	cache->dirty_tail = dirty_tail;
	cache->batch_end = batch_end;
	pthread_mutex_unlock(&cache->state_lock);
}

static int write_batch(struct pcache *cache, struct pc_pos from, struct pc_pos end, struct pc_pos batch_end)
{
	uint64_t start_ns;
	int ret;

	if (cache->media->granularity == PCACHE_GRANULARITY_PAGE && !pc_cache_is_failed(cache)) {
		ret = pc_media_sync(cache->media); /* order: the log is durable before the backing changes (D5) */
		if (ret < 0)
			pc_cache_fail_media(cache, ret);
	}
	if (pc_pos_cmp(end, batch_end) > 0) {
		ret = store_tails(cache, from, end); /* order: durable before the first write (D2) */
		if (ret < 0)
			return ret;
		set_tails(cache, from, end);
		batch_end = end;
	}
	start_ns = pc_now_ns();
	ret = pc_batch_write(cache, from, &end, &cache->lost_next);
	if (ret == 0 && atomic_load_explicit(&cache->abandoned, memory_order_acquire))
		ret = -ECANCELED; /* close has stored its last word already */
	if (ret < 0)
		return ret;
	pc_cache_count_time(cache, PCACHE_LATENCY_BATCH, start_ns);
	ret = pc_losses_store(cache, &cache->lost_next); /* order: after the sync, before dirty_tail (LS1) */
	if (ret < 0)
		return ret;
	/* order: after the sync (D1); before reclaim hears of it */
	ret = store_tails(cache, end, batch_end);
	if (ret < 0)
		return ret;
	set_tails(cache, end, batch_end);
	pc_losses_leave_index(cache); /* order: behind the tail: a replay may find them until then (LS4) */
	pc_stats_add(cache->stats, PC_COUNT_WRITEBACK_BATCHES, 1);
	return 0;
}

/* Half of an interrupted batch is not a consistent image: all of it must go (D2). */
static bool is_enough(struct pc_pos end, struct pc_pos from, struct pc_pos at_least)
{
	return pc_pos_cmp(end, from) > 0 && pc_pos_cmp(end, at_least) >= 0;
}

/* As choose_end(), but where writers are at work in the open segment, wait a moment, then close it. */
static int insist_on_end(struct pcache *cache, struct pc_pos from, struct pc_pos at_least, struct pc_pos *ret_end)
{
	struct pc_pos end = choose_end(cache, from, at_least);
	int ret = 0;

	for (unsigned i = 0; i < QUIET_TRIES && !is_enough(end, from, at_least) && !cache->stepped; i++) {
		sched_yield();
		end = choose_end(cache, from, at_least);
	}
	if (!is_enough(end, from, at_least)) {
		ret = pc_rotate_close(cache); /* the last writer to leave seals it */
		end = choose_end(cache, from, at_least);
	}
	*ret_end = end;
	return ret;
}

static int attempt(struct pcache *cache)
{
	struct pc_pos from;
	struct pc_pos batch_end;
	struct pc_pos end;
	int ret;

	pthread_mutex_lock(&cache->state_lock);
	from = cache->dirty_tail;
	batch_end = cache->batch_end;
	pthread_mutex_unlock(&cache->state_lock);
	if (pc_pos_cmp(pc_cache_head(cache), from) == 0)
		return 0;
	ret = insist_on_end(cache, from, batch_end, &end);
	if (ret < 0 && (!pc_cache_is_failed(cache) || pc_pos_cmp(end, from) == 0))
		return ret;
	if (!is_enough(end, from, batch_end))
		return 0;
	ret = write_batch(cache, from, end, batch_end);
	return ret < 0 ? ret : 1;
}

int pc_writeback_step(struct pcache *cache)
{
	uint64_t failures;
	int ret;

	failures = atomic_load_explicit(&cache->backing->failures, memory_order_relaxed);
	ret = attempt(cache);
	pthread_mutex_lock(&cache->state_lock);
	pc_patience_note_step_locked(cache, ret, failures);
	if (ret == 1)
		pc_worker_wake_locked(&cache->reclaim);
	pthread_cond_broadcast(&cache->progress);
	if (ret < 0)
		pthread_cond_broadcast(&cache->space);
	pthread_mutex_unlock(&cache->state_lock);
	if (ret < 0)
		pc_stats_add(cache->stats, PC_COUNT_WRITEBACK_ERRORS, 1);
	pc_cache_report_failure(cache);
	pc_patience_tell(cache);
	return ret;
}

/* ---- when ---- */

static bool is_dirty_locked(const struct pcache *cache)
{
	return pc_pos_cmp(pc_cache_head(cache), cache->dirty_tail) > 0;
}

/* The high mark starts it, the low one stops it. */
static bool above_water_locked(struct pcache *cache)
{
	uint64_t dirty = pc_cache_log_bytes(cache, cache->dirty_tail, pc_cache_head(cache));
	uint64_t high = pc_tunable(cache, PCACHE_TUNABLE_DIRTY_HIGH);
	uint64_t low = pc_tunable(cache, PCACHE_TUNABLE_DIRTY_LOW);
	uint64_t mark = cache->high_water ? (low == PCACHE_DIRTY_LOW_HALF ? high / 2 : pc_min64(low, high)) : high;

	cache->high_water = dirty > mark;
	return cache->high_water;
}

static bool is_old_locked(struct pcache *cache, uint64_t now_ns)
{
	if (cache->age_deadline_ns == 0) {
		cache->age_deadline_ns = now_ns + pc_tunable(cache, PCACHE_TUNABLE_DIRTY_AGE_MS) * 1000000u;
	} else if (now_ns >= cache->age_deadline_ns) {
		cache->age_goal = pc_cache_head(cache);
		cache->age_deadline_ns = 0;
	}
	return pc_pos_cmp(cache->age_goal, cache->dirty_tail) > 0;
}

static bool is_wanted_locked(struct pcache *cache)
{
	bool wanted;

	if (!is_dirty_locked(cache)) {
		cache->age_deadline_ns = 0;
		return false;
	}
	/* Each looked at, so that each keeps its own state. */
	wanted = is_old_locked(cache, pc_now_ns());
	wanted |= above_water_locked(cache);
	wanted |= pc_pos_cmp(cache->batch_end, cache->dirty_tail) > 0;
	if (pc_tunable(cache, PCACHE_TUNABLE_WRITEBACK_PAUSED) != 0)
		wanted = false;
	return wanted || cache->space_waiters > 0 || pc_pos_cmp(cache->drain_goal, cache->dirty_tail) > 0;
}

/* (D4) Only time helps a backing that failed: events do not bring the next attempt nearer, stop does. */
static void back_off_locked(struct pcache *cache, uint64_t ms)
{
	struct timespec deadline = pc_timespec(pc_now_ns() + ms * 1000000u);
	int ret = 0;

	while (!cache->stop && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&cache->writeback.wake, &cache->state_lock, &deadline);
}

/* Until an event later than `events`, the deadline, or stop. */
static void sleep_locked(struct pcache *cache, uint64_t events, uint64_t deadline_ns)
{
	struct timespec deadline = pc_timespec(deadline_ns);
	int ret = 0;

	while (cache->writeback.events == events && !cache->stop && ret != ETIMEDOUT) {
		if (deadline_ns == 0)
			pthread_cond_wait(&cache->writeback.wake, &cache->state_lock);
		else
			ret = pthread_cond_timedwait(&cache->writeback.wake, &cache->state_lock, &deadline);
	}
}

static void sleep_until_wanted_locked(struct pcache *cache)
{
	uint64_t events = cache->writeback.events;

	while (!cache->stop && !is_wanted_locked(cache)) {
		/* order: say that we sleep, then look once more; a writer counts its lines, then looks whether we sleep */
		atomic_store_explicit(&cache->writeback_asleep, true, memory_order_seq_cst);
		if (is_dirty_locked(cache)) {
			atomic_store_explicit(&cache->writeback_asleep, false, memory_order_seq_cst);
			if (cache->age_deadline_ns == 0)
				continue; /* became dirty just now: arm its age */
		}
		sleep_locked(cache, events, cache->age_deadline_ns);
		atomic_store_explicit(&cache->writeback_asleep, false, memory_order_seq_cst);
		events = cache->writeback.events;
	}
}

void *pc_writeback_thread(void *arg)
{
	struct pcache *cache = arg;

	pthread_mutex_lock(&cache->state_lock);
	for (;;) {
		uint64_t events;
		int ret;

		sleep_until_wanted_locked(cache);
		if (cache->stop)
			break;
		events = cache->writeback.events;
		pthread_mutex_unlock(&cache->state_lock);
		ret = pc_writeback_step(cache);
		pthread_mutex_lock(&cache->state_lock);
		if (ret == 0)
			sleep_locked(cache, events, 0); /* the seal that we wait for is an event */
		else if (ret < 0)
			back_off_locked(cache, cache->health.retry_ms);
	}
	pthread_mutex_unlock(&cache->state_lock);
	pc_cache_end_worker(cache, &cache->writeback);
	return NULL;
}

/* ---- drain ---- */

/* Wait for one attempt that changes something. State lock held. 0, or why it will not get on. */
static int await_attempt_locked(struct pcache *cache, struct pc_patience *patience)
{
	uint64_t attempts = cache->health.attempts;
	uint64_t waves = cache->waves;
	struct pc_pos tail = cache->dirty_tail;
	int ret;

	if (cache->stepped) {
		pthread_mutex_unlock(&cache->state_lock);
		ret = pc_writeback_step(cache);
		pthread_mutex_lock(&cache->state_lock);
		return ret == 0 ? -EAGAIN : pc_patience_verdict_locked(cache, patience);
	}
	pc_worker_wake_locked(&cache->writeback);
	ret = pc_patience_verdict_locked(cache, patience);
	while (ret == 0 && cache->health.attempts == attempts && cache->waves == waves &&
	       pc_pos_cmp(cache->dirty_tail, tail) == 0) {
		pc_patience_sleep_locked(cache, patience, &cache->progress);
		ret = pc_patience_verdict_locked(cache, patience);
	}
	return ret;
}

/* A drain that is under way. */
struct drain {
	struct pc_pos target;
	uint64_t total;
	uint64_t left; /* as reported last */
	pcache_progress_fn progress;
	void *arg;
};

static uint64_t left_locked(const struct pcache *cache, const struct drain *drain)
{
	struct pc_pos tail = cache->dirty_tail;

	return pc_pos_cmp(tail, drain->target) < 0 ? pc_cache_log_bytes(cache, tail, drain->target) : 0;
}

static int report_locked(struct pcache *cache, struct drain *drain)
{
	int ret;

	if (drain->progress == NULL)
		return 0;
	drain->left = pc_min64(left_locked(cache, drain), drain->left);
	pthread_mutex_unlock(&cache->state_lock);
	ret = drain->progress(drain->total - drain->left, drain->total, drain->arg);
	pthread_mutex_lock(&cache->state_lock);
	return ret == 0 ? 0 : -ECANCELED;
}

/* Whether anything is lost is not asked. */
static int drain_log(struct pcache *cache, pcache_progress_fn progress, void *arg)
{
	struct drain drain = { .target = pc_cache_head(cache), .progress = progress, .arg = arg };
	struct pc_patience patience;
	int ret = 0;

	pthread_mutex_lock(&cache->state_lock);
	cache->drainers++;
	if (pc_pos_cmp(drain.target, cache->drain_goal) > 0)
		cache->drain_goal = drain.target;
	drain.total = left_locked(cache, &drain);
	drain.left = drain.total;
	pc_patience_begin_locked(cache, &patience);
	while (ret == 0 && pc_pos_cmp(cache->dirty_tail, drain.target) < 0) {
		ret = await_attempt_locked(cache, &patience);
		if (ret == 0)
			ret = report_locked(cache, &drain);
	}
	if (ret == 0 && drain.left != 0) /* it ended while the last report was made */
		ret = report_locked(cache, &drain);
	if (--cache->drainers == 0)
		cache->drain_goal = (struct pc_pos){ 0 };
	pthread_mutex_unlock(&cache->state_lock);
	pc_patience_tell(cache);
	if (ret == 0)
		ret = pc_around_flush(cache);
	/* All is on the backing, but the media still says otherwise: its next owner would write old data over it. */
	return ret == 0 && pc_cache_is_failed(cache) ? -EIO : ret;
}

int pc_writeback_drain(struct pcache *cache, pcache_progress_fn progress, void *arg)
{
	int ret = drain_log(cache, progress, arg);

	return ret == 0 ? pc_losses_report_all(cache) : ret;
}

/* ---- write-through ---- */

int pc_writeback_through(struct pcache *cache)
{
	uint64_t losses = atomic_load_explicit(&cache->lost.times, memory_order_relaxed);
	int ret = drain_log(cache, NULL, NULL);

	/* What decayed on the way may have been his. */
	if (ret == 0 && atomic_load_explicit(&cache->lost.times, memory_order_relaxed) != losses)
		return pc_fail(&cache->config.log, -EBADMSG, "write-through: data was damaged on its way to the backing");
	if (ret == 0 || pc_cache_is_failed(cache))
		return ret;
	ret = ret == -EBADMSG ? ret : -EIO;
	return pc_fail(&cache->config.log, ret, "write-through: the backing does not take the data; it stays in the cache");
}
