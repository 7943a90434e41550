/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cache.c - the life of an open cache, and the little state that its flows share.
 *
 * (C1) Threads start last and stop first.
 * (C2) Close seals the open segments, and says on the media that it ended in order.
 * (C3) A media failure is final: the flag is set once, writes and flushes are refused from then on, and nothing more is
 *      sealed, freed or moved on the media.
 * (C4) Close does not wait for a backing that is stalled (U4). What it has to do is done, then the write-back thread is
 *      the owner of the cache, and frees it when the backing answers. Until then the cache file stays locked: a request
 *      that is still under way could overwrite what the next owner writes back.
 */
#include "cache.h"

#include "thread.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* ---- state ---- */

static int make_fork_guard(struct pcache *cache)
{
	uint32_t *guard = mmap(NULL, PC_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (guard == MAP_FAILED)
		return -ENOMEM;
	cache->fork_guard = guard;
	if (madvise(guard, PC_PAGE, MADV_WIPEONFORK) != 0)
		return -errno;
	*guard = 1;
	return 0;
}

static void init_locks(struct pcache *cache)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&cache->identity_lock, NULL);
	pthread_mutex_init(&cache->state_lock, NULL);
	pthread_cond_init(&cache->writeback.wake, &monotonic);
	pthread_cond_init(&cache->reclaim.wake, &monotonic);
	pthread_cond_init(&cache->space, &monotonic);
	pthread_cond_init(&cache->progress, &monotonic);
	pc_misses_init(&cache->misses);
	pc_holds_init(&cache->holds);
	pc_bypass_init(&cache->bypass);
	pthread_mutex_init(&cache->damage.lock, NULL);
	pc_lost_init(&cache->lost);
	pthread_condattr_destroy(&monotonic);
}

static int allocate(struct pcache **ret_cache)
{
	struct pcache *cache = aligned_alloc(PC_CACHE_LINE, sizeof(*cache));
	struct pc_stats *stats = aligned_alloc(2 * PC_CACHE_LINE, sizeof(*stats));
	int ret;

	if (cache == NULL || stats == NULL) {
		free(cache);
		free(stats);
		return -ENOMEM;
	}
	memset(cache, 0, sizeof(*cache));
	memset(stats, 0, sizeof(*stats));
	cache->stats = stats;
	init_locks(cache);
	ret = make_fork_guard(cache);
	if (ret < 0) {
		pc_cache_abandon(cache);
		return ret;
	}
	*ret_cache = cache;
	return 0;
}

void pc_cache_abandon(struct pcache *cache)
{
	pc_cache_stop_threads(cache);
	pc_stream_destroy(&cache->write);
	pc_clean_destroy(cache);
	pc_misses_destroy(&cache->misses);
	pc_holds_destroy(&cache->holds);
	pc_bypass_destroy(&cache->bypass);
	pc_index_delete(cache->index);
	pc_segments_delete(cache->segments);
	pc_media_close(cache->media);
	pc_backing_close(cache->backing);
	if (cache->fork_guard != NULL)
		munmap((void *)(uintptr_t)cache->fork_guard, PC_PAGE);
	pthread_mutex_destroy(&cache->identity_lock);
	pthread_mutex_destroy(&cache->damage.lock);
	pc_lost_destroy(&cache->lost);
	pthread_mutex_destroy(&cache->state_lock);
	pthread_cond_destroy(&cache->writeback.wake);
	pthread_cond_destroy(&cache->reclaim.wake);
	pthread_cond_destroy(&cache->space);
	pthread_cond_destroy(&cache->progress);
	free(cache->stats);
	free(cache);
}

int pc_cache_fail_media(struct pcache *cache, int error)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&cache->media_error, &none, error))
		return -EIO;
	pthread_mutex_lock(&cache->state_lock);
	pc_patience_note_media_locked(cache);
	pthread_cond_broadcast(&cache->space);
	pc_worker_wake_locked(&cache->writeback);
	pthread_mutex_unlock(&cache->state_lock);
	return -EIO;
}

void pc_cache_report_failure(struct pcache *cache)
{
	int error = atomic_load_explicit(&cache->media_error, memory_order_relaxed);

	if (error != 0 && !atomic_exchange_explicit(&cache->failure_is_reported, true, memory_order_relaxed))
		pc_log(&cache->config.log, PCACHE_LOG_ERROR, "the media failed: %s; the cache takes no more writes",
		       pcache_strerror(error));
	if (error != 0)
		pc_patience_tell(cache);
}

void pc_cache_wake_writeback(struct pcache *cache)
{
	pthread_mutex_lock(&cache->state_lock);
	atomic_store_explicit(&cache->writeback_asleep, false, memory_order_relaxed);
	pc_worker_wake_locked(&cache->writeback);
	pthread_mutex_unlock(&cache->state_lock);
}

void pc_cache_count_time(struct pcache *cache, enum pcache_latency which, uint64_t start_ns)
{
	pc_histogram_add(&cache->latency[which], pc_now_ns() - start_ns);
	if (cache->live.is_on && !atomic_load_explicit(&cache->live.asked, memory_order_relaxed) &&
	    !atomic_exchange_explicit(&cache->live.asked, true, memory_order_relaxed))
		pc_reclaim_wake(cache);
}

/* ---- positions ---- */

struct pc_pos pc_cache_head(const struct pcache *cache)
{
	uint64_t room;
	uint64_t seq;

	/* Once more if the stream went on meanwhile: the full number must be that of the segment in the word. */
	do {
		room = pc_stream_room(&cache->write);
		seq = atomic_load_explicit(
			&cache->segments->refs[pc_stream_segment(&cache->write, pc_room_seq(room))].seq,
			memory_order_acquire);
	} while (pc_room_seq(pc_stream_room(&cache->write)) != pc_room_seq(room));
	return (struct pc_pos){ .seq = seq, .line = pc_room_lines(room) };
}

struct pc_pos pc_cache_dirty_tail(struct pcache *cache)
{
	struct pc_pos tail;

	pthread_mutex_lock(&cache->state_lock);
	tail = cache->dirty_tail;
	pthread_mutex_unlock(&cache->state_lock);
	return tail;
}

/* Bytes of log in one segment before `line`: its lines and, in proportion, its data. */
static uint64_t bytes_before(uint64_t room, uint32_t line)
{
	uint64_t lines = pc_room_lines(room);

	if (lines == 0)
		return 0;
	return (pc_room_units(room) + lines) * PCM_LINE * pc_min64(line, lines) / lines;
}

uint64_t pc_cache_log_bytes(const struct pcache *cache, struct pc_pos from, struct pc_pos to)
{
	uint64_t newest_room = pc_stream_room(&cache->write);
	uint64_t bytes = 0;

	for (uint64_t seq = from.seq; seq <= to.seq; seq++) {
		bool is_newest = (seq & PC_ROOM_SEQ_MASK) == pc_room_seq(newest_room);
		uint64_t room = is_newest ? newest_room :
					    pc_stream_last_room(&cache->write, pc_stream_segment(&cache->write, seq));

		bytes += bytes_before(room, seq == to.seq ? to.line : UINT32_MAX);
		bytes -= bytes_before(room, seq == from.seq ? from.line : 0);
	}
	return bytes;
}

/* ---- threads ---- */

static int start_worker(struct pcache *cache, struct pc_worker *worker, void *(*run)(void *))
{
	int ret = pc_thread_start(&worker->thread, run, cache);

	worker->running = ret == 0;
	return ret;
}

int pc_cache_start_threads(struct pcache *cache)
{
	int ret;

	if (cache->stepped || cache->config.readonly)
		return 0;
	if (cache->config.shows_stats)
		pc_live_start(cache);
	ret = start_worker(cache, &cache->writeback, pc_writeback_thread);
	if (ret == 0)
		ret = start_worker(cache, &cache->reclaim, pc_reclaim_thread);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "no background threads: %s", pcache_strerror(ret));
	return 0;
}

static void join_worker(struct pc_worker *worker)
{
	if (worker->running)
		pthread_join(worker->thread, NULL);
	worker->running = false;
}

static void tell_to_stop(struct pcache *cache)
{
	pthread_mutex_lock(&cache->state_lock);
	cache->stop = true;
	pthread_cond_broadcast(&cache->writeback.wake);
	pthread_cond_broadcast(&cache->reclaim.wake);
	pthread_mutex_unlock(&cache->state_lock);
}

void pc_cache_stop_threads(struct pcache *cache)
{
	tell_to_stop(cache);
	join_worker(&cache->writeback);
	join_worker(&cache->reclaim);
}

/* (C4) The same, but false: the write-back thread waits for a backing that does not answer. */
static bool stop_threads_in_time(struct pcache *cache)
{
	struct pc_patience patience;
	bool ended;

	tell_to_stop(cache);
	join_worker(&cache->reclaim);
	pthread_mutex_lock(&cache->state_lock);
	pc_patience_begin_locked(cache, &patience);
	while (cache->writeback.running && !cache->writeback.ended && !pc_patience_is_stalled_locked(cache))
		pc_patience_sleep_locked(cache, &patience, &cache->progress);
	ended = !cache->writeback.running || cache->writeback.ended;
	pthread_mutex_unlock(&cache->state_lock);
	if (ended)
		join_worker(&cache->writeback);
	return ended;
}

void pc_cache_end_worker(struct pcache *cache, struct pc_worker *worker)
{
	bool is_orphan;

	pthread_mutex_lock(&cache->state_lock);
	worker->ended = true;
	is_orphan = cache->is_orphan;
	pthread_cond_broadcast(&cache->progress);
	pthread_mutex_unlock(&cache->state_lock);
	if (is_orphan)
		pc_cache_abandon(cache);
}

/* (C4) False: it has ended just now, and the cache is still the caller's. */
static bool leave_to_writeback(struct pcache *cache)
{
	pthread_t thread = cache->writeback.thread;
	bool left;

	pthread_mutex_lock(&cache->state_lock);
	pc_patience_mute_locked(cache);
	left = !cache->writeback.ended;
	if (left) {
		cache->writeback.running = false; /* nobody joins it */
		cache->is_orphan = true;
	}
	pthread_mutex_unlock(&cache->state_lock);
	if (left)
		pthread_detach(thread);
	return left;
}

bool pc_cache_step(struct pcache *cache)
{
	return pc_reclaim_step(cache) > 0 || pc_writeback_step(cache) > 0;
}

/* ---- open and close ---- */

static void set_up(struct pcache *cache, const struct pc_config *config, struct pc_media *media,
		   struct pc_backing *backing, bool stepped)
{
	cache->config = *config;
	for (unsigned i = 0; i < PC_TUNABLES; i++)
		atomic_init(&cache->tunables[i], config->tunables[i]);
	cache->media = media;
	cache->backing = backing;
	cache->stepped = stepped;
	pc_health_init(&cache->health, config->readonly ? PCACHE_STATE_READ_ONLY : PCACHE_STATE_OK);
	pc_patience_guard_log(cache);
}

/* (Y3) Where it fails no miss is kept, and the first flush says so: whoever reads those writes relies on it (BY4). */
static void sync_left_over(struct pcache *cache)
{
	int ret = pc_bypass_is_pending(&cache->bypass) ? pc_around_sync_backing(cache, 0) : 0;

	if (ret < 0)
		pc_log(&cache->config.log, PCACHE_LOG_WARNING,
		       "a sync of the backing failed; what an owner that was killed wrote around the cache may be lost: %s",
		       pcache_strerror(ret));
}

int pc_cache_open(const struct pc_config *config, struct pc_media *media, struct pc_backing *backing, bool stepped,
		  struct pcache **ret_cache)
{
	uint64_t start_ns = pc_now_ns();
	struct pcache *cache;
	int ret = allocate(&cache);

	if (ret < 0) {
		if (media->blank || media->grown)
			pc_media_abandon(media);
		pc_media_close(media);
		pc_backing_close(backing);
		return ret;
	}
	set_up(cache, config, media, backing, stepped);
	ret = media->blank ? pc_recover_create(cache) : pc_recover_open(cache);
	if (ret == 0 && !config->readonly)
		sync_left_over(cache);
	cache->open_ns = pc_now_ns() - start_ns; /* order: before there are threads that show it to others */
	if (ret == 0)
		ret = pc_cache_start_threads(cache);
	if (ret < 0) {
		pc_cache_stop_threads(cache);
		if (media->blank || media->grown)
			pc_media_abandon(media);
		pc_cache_abandon(cache);
		return ret;
	}
	pc_log(&config->log, PCACHE_LOG_INFO, "opened: epoch %llu, %u segments, %llu keys, %llu torn lines voided",
	       (unsigned long long)cache->identity.epoch, cache->segments->count, (unsigned long long)cache->replay_keys,
	       (unsigned long long)cache->replay_voided);
	*ret_cache = cache;
	return 0;
}

int pc_cache_forget(const struct pc_config *config, struct pc_media *media)
{
	struct pc_backing *absent;
	struct pcache *cache;
	int ret = pc_backing_open_absent(&absent);

	if (ret < 0) {
		pc_media_close(media);
		return ret;
	}
	ret = allocate(&cache);
	if (ret < 0) {
		pc_media_close(media);
		pc_backing_close(absent);
		return ret;
	}
	set_up(cache, config, media, absent, true);
	ret = pc_recover_forget(cache);
	pc_cache_abandon(cache);
	return ret;
}

/* (C2) */
static int finish(struct pcache *cache)
{
	int ret = pc_io_flush_media(cache);

	if (ret == 0)
		ret = pc_rotate_close(cache);
	pc_clean_close(cache, PC_STREAM_FILL);
	pc_clean_close(cache, PC_STREAM_HOT);
	if (ret == 0)
		ret = pc_identity_mark_clean(cache);
	if (ret < 0)
		ret = pc_cache_fail_media(cache, ret);
	pc_cache_report_failure(cache);
	return ret;
}

int pc_cache_close(struct pcache *cache, bool drain)
{
	int drained = drain && !cache->config.readonly ? pc_writeback_drain(cache, NULL, NULL) : 0;
	int synced = pc_around_flush(cache);
	bool stopped = stop_threads_in_time(cache);
	int ret = 0;

	atomic_store_explicit(&cache->abandoned, !stopped, memory_order_release);
	pc_patience_tell(cache);
	if (!cache->config.readonly)
		ret = finish(cache);
	pc_live_finish(cache);
	if (!stopped) {
		ret = pc_fail(&cache->config.log, ret < 0 ? ret : -ETIMEDOUT,
			      "closed while the backing does not answer; the cache file stays in use until it does");
		if (leave_to_writeback(cache))
			return ret;
	}
	pc_cache_abandon(cache);
	if (drained < 0)
		return drained;
	return ret < 0 ? ret : synced;
}
