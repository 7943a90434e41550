/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patience.c - how long a caller waits for the backing, and how the user hears of changes of state.
 *
 * `wait` is the tunable backing_wait_ms. A stepped cache has no clock: there the time that passes is that between
 * attempts, by the schedule of health.h.
 *
 * (U3) While attempts fail, a caller who waits gets their error when `wait` has passed since the first of them failed,
 *      and an attempt that began after he came has failed too: an old error is not his.
 * (U4) The backing is stalled when it has answered nothing for `wait` while somebody waited for it. Then all who wait
 *      get -EIO, and all who come, until it answers. With a `wait` of 0 a stall is never told from slowness.
 * (U5) Errors that are not the backing's (damaged data, memory, the media) are told at once: time does not help.
 * (U6) The user is told with no lock held, by one thread at a time; nothing of his is called any more once close has
 *      returned.
 */
#include "cache.h"

#include <errno.h>

#define NS_PER_MS 1000000u

/* ---- telling ---- */

/* What the state ought to be, from the facts. */
static void update_locked(struct pcache *cache)
{
	struct pc_health *health = &cache->health;
	int media_error = atomic_load_explicit(&cache->media_error, memory_order_relaxed);

	if (media_error != 0)
		pc_health_set(health, PCACHE_STATE_FAILED, media_error);
	else if (health->error != 0)
		pc_health_set(health, PCACHE_STATE_DEGRADED, health->error);
	else if (health->is_stalled)
		pc_health_set(health, PCACHE_STATE_DEGRADED, -ETIMEDOUT);
	else
		pc_health_set(health, PCACHE_STATE_OK, 0);
}

/* (U6) May the user's functions be called? Balanced by end_callback_locked(). */
static bool begin_callback_locked(struct pcache *cache)
{
	if (cache->is_mute)
		return false;
	cache->callbacks++;
	return true;
}

static void end_callback_locked(struct pcache *cache)
{
	if (--cache->callbacks == 0)
		pthread_cond_broadcast(&cache->progress);
}

static void tell_locked(struct pcache *cache, const struct pc_change *change)
{
	const struct pc_config *config = &cache->config;

	if (config->state_changed == NULL || !begin_callback_locked(cache))
		return;
	pthread_mutex_unlock(&cache->state_lock);
	config->state_changed(change->from, change->to, change->reason, config->state_arg);
	pthread_mutex_lock(&cache->state_lock);
	end_callback_locked(cache);
}

static void log_change(struct pcache *cache, const struct pc_change *change)
{
	pc_log(&cache->config.log, PCACHE_LOG_INFO, "state: %s -> %s%s%s", pc_health_name(change->from),
	       pc_health_name(change->to), change->reason == 0 ? "" : ": ",
	       change->reason == 0 ? "" : pcache_strerror(change->reason));
}

void pc_patience_tell(struct pcache *cache)
{
	struct pc_change change;

	pthread_mutex_lock(&cache->state_lock);
	if (!cache->health.is_telling) {
		cache->health.is_telling = true;
		while (pc_health_take(&cache->health, &change)) {
			pthread_mutex_unlock(&cache->state_lock);
			log_change(cache, &change);
			pthread_mutex_lock(&cache->state_lock);
			tell_locked(cache, &change);
			update_locked(cache); /* what had no place in the row has one now (U1) */
		}
		cache->health.is_telling = false;
	}
	pthread_mutex_unlock(&cache->state_lock);
}

/* In front of the user's log function. */
static void log_guarded(enum pcache_log_level level, const char *message, void *arg)
{
	struct pcache *cache = arg;
	bool may_call;

	pthread_mutex_lock(&cache->state_lock);
	may_call = begin_callback_locked(cache);
	pthread_mutex_unlock(&cache->state_lock);
	if (!may_call)
		return;
	cache->user_log.fn(level, message, cache->user_log.arg);
	pthread_mutex_lock(&cache->state_lock);
	end_callback_locked(cache);
	pthread_mutex_unlock(&cache->state_lock);
}

void pc_patience_guard_log(struct pcache *cache)
{
	cache->user_log = cache->config.log;
	if (cache->user_log.fn != NULL)
		cache->config.log = (struct pc_log){ log_guarded, cache };
}

void pc_patience_mute_locked(struct pcache *cache)
{
	cache->is_mute = true;
	while (cache->callbacks > 0)
		pthread_cond_wait(&cache->progress, &cache->state_lock);
}

/* ---- time ---- */

static uint64_t now_ns(const struct pcache *cache)
{
	return cache->stepped ? cache->stepped_ns : pc_now_ns();
}

static uint64_t wait_ns(const struct pcache *cache)
{
	return pc_tunable(cache, PCACHE_TUNABLE_BACKING_WAIT_MS) * NS_PER_MS;
}

/* Moves with everything that shows that it goes on. */
static uint64_t progress_mark(const struct pcache *cache)
{
	return cache->health.attempts + pc_stats_sum(cache->stats, PC_COUNT_SEGMENTS_RECLAIMED) +
	       atomic_load_explicit(&cache->backing->answers, memory_order_relaxed);
}

void pc_patience_note_step_locked(struct pcache *cache, int ret, uint64_t failures)
{
	bool is_backings = atomic_load_explicit(&cache->backing->failures, memory_order_relaxed) != failures;
	struct pc_health *health = &cache->health;

	if (ret == 0) {
		health->attempts++;
		health->is_stalled = false;
	} else {
		pc_health_note_attempt(health, ret < 0 ? ret : 0, is_backings, now_ns(cache));
	}
	if (ret < 0 && cache->stepped)
		cache->stepped_ns += health->retry_ms * (uint64_t)NS_PER_MS;
	update_locked(cache);
}

void pc_patience_note_media_locked(struct pcache *cache)
{
	cache->health.attempts++; /* drains look again */
	update_locked(cache);
}

/* ---- waiting ---- */

void pc_patience_begin_locked(const struct pcache *cache, struct pc_patience *patience)
{
	patience->failures = cache->health.failures;
	patience->mark = progress_mark(cache);
	patience->since_ns = now_ns(cache);
}

bool pc_patience_is_stalled_locked(const struct pcache *cache)
{
	return cache->health.is_stalled && cache->health.stall_mark == progress_mark(cache);
}

int pc_patience_verdict_locked(const struct pcache *cache, const struct pc_patience *patience)
{
	const struct pc_health *health = &cache->health;

	if (pc_patience_is_stalled_locked(cache))
		return -EIO; /* (U4) */
	if (health->error == 0 || health->failures == patience->failures)
		return 0;
	if (health->is_backings && now_ns(cache) - health->failing_since_ns < wait_ns(cache))
		return 0;
	return health->error; /* (U3), (U5) */
}

/* When to look again though nothing was signalled. */
static uint64_t deadline_locked(const struct pcache *cache, const struct pc_patience *patience)
{
	uint64_t stalled = patience->since_ns + wait_ns(cache);
	uint64_t failed = cache->health.failing_since_ns + wait_ns(cache);

	if (cache->health.error != 0 && failed > now_ns(cache))
		return pc_min64(stalled, failed);
	return stalled;
}

/* The deadline has passed: is it a stall? */
static void look_for_stall_locked(struct pcache *cache, struct pc_patience *patience)
{
	uint64_t mark = progress_mark(cache);
	uint64_t now = now_ns(cache);
	bool is_over = now - patience->since_ns >= wait_ns(cache);

	if (mark == patience->mark && is_over) {
		cache->health.is_stalled = true;
		cache->health.stall_mark = mark;
		update_locked(cache);
	}
	if (mark != patience->mark || is_over)
		patience->since_ns = now;
	patience->mark = mark;
}

void pc_patience_sleep_locked(struct pcache *cache, struct pc_patience *patience, pthread_cond_t *cond)
{
	struct timespec deadline = pc_timespec(deadline_locked(cache, patience));

	if (wait_ns(cache) == 0)
		pthread_cond_wait(cond, &cache->state_lock);
	else if (pthread_cond_timedwait(cond, &cache->state_lock, &deadline) == ETIMEDOUT)
		look_for_stall_locked(cache, patience);
}

void pc_patience_wake(struct pcache *cache)
{
	pthread_mutex_lock(&cache->state_lock);
	pthread_cond_broadcast(&cache->space);
	pthread_cond_broadcast(&cache->progress);
	pthread_mutex_unlock(&cache->state_lock);
}
