/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * turns.c - the baton of a round: of its threads only the one that has the turn runs, and who is next follows from the
 * seed. One of them may be stalled: it hardly ever gets the turn, so that others come far while it is in the middle of
 * something.
 *
 * The turn may change hands while locks are held. So whoever wants a lock of the library does not sleep for it, where
 * nobody could wake it, but gives the turn away until the lock is free. For that the program is linked with --wrap.
 * Now and then the turn changes just before a mutex is taken. It changes around reads of the backing, too, and who
 * waits for the read of another gives it away.
 */
#include "crash.h"

#include "lock.h"

#include <errno.h>

#define LOCK_PERCENT    30u /* of the locks, the turn may change before them */
#define STALL_PERCENT   5u  /* of the moves, who gives the turn away is stalled, */
#define STALLED_PERCENT 7u  /* and may get it back with so many of the next; then it is not any more */
#define SLOW_PERCENT    1u  /* the same in slow rounds */
#define PAUSE_PERCENT   40u /* of the pauses, who comes there is stalled, and whoever was before is not */

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __real_pc_backing_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len);
int __wrap_pc_backing_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len);
int __real_pc_backing_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len);
int __wrap_pc_backing_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len);
void __real_pc_lock_wait(struct pc_lock *lock);
void __wrap_pc_lock_wait(struct pc_lock *lock);

static struct explorer *in_round; /* NULL: no round; one at a time in a process */

static void wait_turn(struct baton *baton, unsigned number)
{
	while (baton->turn != number)
		pthread_cond_wait(&baton->moved, &baton->lock);
}

static void pass_locked(struct explorer *explorer)
{
	struct baton *baton = &explorer->baton;
	unsigned candidates[PARTICIPANTS_MAX];
	unsigned back_percent = baton->is_slow ? SLOW_PERCENT : STALLED_PERCENT;
	unsigned count = 0;

	if (baton->stalled == 0 && prng_happens(&explorer->prng, STALL_PERCENT))
		baton->stalled = baton->turn;
	for (unsigned i = 1; i <= baton->participants; i++)
		if (!baton->done[i] && (i != baton->stalled || prng_happens(&explorer->prng, back_percent)))
			candidates[count++] = i;
	if (count == 0 && baton->stalled != 0 && !baton->done[baton->stalled])
		candidates[count++] = baton->stalled;
	baton->turn = count == 0 ? 0 : candidates[prng_below(&explorer->prng, count)];
	if (baton->turn == baton->stalled)
		baton->stalled = 0;
	pthread_cond_broadcast(&baton->moved);
}

void yield_turn(struct explorer *explorer)
{
	struct baton *baton = &explorer->baton;
	unsigned self = baton->turn;

	if (baton->participants == 0 || self == 0 || explorer->depth != 0)
		return;
	pthread_mutex_lock(&baton->lock);
	pass_locked(explorer);
	wait_turn(baton, self);
	pthread_mutex_unlock(&baton->lock);
}

void explorer_pause(void)
{
	if (in_round == NULL)
		return;
	if (prng_happens(&in_round->prng, PAUSE_PERCENT))
		in_round->baton.stalled = in_round->baton.turn;
	yield_turn(in_round);
}

/* ---- locks of the library ---- */

static bool is_inside(const void *what, const void *object, size_t bytes)
{
	return (uintptr_t)what - (uintptr_t)object < bytes;
}

static bool is_of_live_cache(const struct explorer *explorer, const pthread_mutex_t *mutex)
{
	const struct pcache *cache = explorer->live->cache;
	const struct pc_segments *segments = cache->segments;

	return is_inside(mutex, cache, sizeof(*cache)) || is_inside(mutex, segments, sizeof(*segments)) ||
	       is_inside(mutex, segments->table, segments->count * sizeof(*segments->table));
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	struct explorer *explorer = in_round;

	if (explorer == NULL || explorer->depth != 0 || !is_of_live_cache(explorer, mutex))
		return __real_pthread_mutex_lock(mutex);
	if (prng_happens(&explorer->prng, LOCK_PERCENT))
		yield_turn(explorer);
	while (pthread_mutex_trylock(mutex) == EBUSY)
		yield_turn(explorer);
	return 0;
}

/* It wakes without a reason: whoever waits looks again. */
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	struct explorer *explorer = in_round;

	if (explorer == NULL || explorer->depth != 0 || !is_of_live_cache(explorer, mutex))
		return __real_pthread_cond_wait(cond, mutex);
	pthread_mutex_unlock(mutex);
	yield_turn(explorer);
	return __wrap_pthread_mutex_lock(mutex);
}

/* Of a miss. */
int __wrap_pc_backing_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len)
{
	struct explorer *explorer = in_round;
	bool is_ours = explorer != NULL && explorer->depth == 0;
	int ret;

	if (is_ours)
		yield_turn(explorer);
	ret = __real_pc_backing_read(backing, buf, off, len);
	if (is_ours && explorer->baton.is_slow)
		explorer_pause();
	else if (is_ours)
		yield_turn(explorer);
	return ret;
}

/* Past the cache. */
int __wrap_pc_backing_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len)
{
	struct explorer *explorer = explorer_running;
	int ret;

	if (explorer->depth != 0)
		return __real_pc_backing_write(backing, buf, off, len);
	if (in_round != NULL)
		yield_turn(explorer);
	rule_around(explorer, off, len);
	ret = __real_pc_backing_write(backing, buf, off, len);
	crash_point(explorer);
	if (in_round != NULL)
		explorer_pause();
	return ret;
}

/* Of the index; somebody has it. */
void __wrap_pc_lock_wait(struct pc_lock *lock)
{
	if (in_round == NULL || in_round->depth != 0) {
		__real_pc_lock_wait(lock);
		return;
	}
	while (!pc_lock_try(lock))
		yield_turn(in_round);
}

/* ---- a round ---- */

void begin_round(struct explorer *explorer, unsigned participants)
{
	struct baton *baton = &explorer->baton;

	for (unsigned i = 0; i < PC_ARRAY_SIZE(baton->done); i++)
		baton->done[i] = false;
	baton->turn = 0;
	baton->stalled = 0;
	baton->participants = participants;
	in_round = explorer;
}

void await_turn(struct explorer *explorer, unsigned number)
{
	pthread_mutex_lock(&explorer->baton.lock);
	wait_turn(&explorer->baton, number);
	pthread_mutex_unlock(&explorer->baton.lock);
}

void leave_round(struct explorer *explorer, unsigned number)
{
	pthread_mutex_lock(&explorer->baton.lock);
	explorer->baton.done[number] = true;
	pass_locked(explorer);
	pthread_mutex_unlock(&explorer->baton.lock);
}

void run_round(struct explorer *explorer)
{
	pthread_mutex_lock(&explorer->baton.lock);
	pass_locked(explorer);
	wait_turn(&explorer->baton, 0);
	pthread_mutex_unlock(&explorer->baton.lock);
}

void end_round(struct explorer *explorer)
{
	in_round = NULL;
	explorer->baton.participants = 0;
}
