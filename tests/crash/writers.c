/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writers.c - rounds of several writers, one more thread for flushes, write-back and reclaim, and one that reads.
 *
 * They are real threads, but only the one that has the baton runs. It may change hands where the library stores data
 * or key sets or reads the media, at its fences, and around requests to the backing: there no lock is held. Who is next
 * follows from the seed. So room is reserved while others commit: holes, commits out of order, segments sealed by the
 * last to leave.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_OPERATIONS 4u
#define ROUND_CELLS      16u /* longest write of a round */
#define ROUND_FREE       4u  /* segments: enough that no writer of the round has to wait */
#define STEPS_MAX        32u

enum role {
	ROLE_WRITER,
	ROLE_WORKER,
	ROLE_READER, /* one: it has the scratch buffer */
};

struct participant {
	struct explorer *explorer;
	unsigned number;
	enum role role;
	uint8_t buf[ROUND_CELLS * CELL_BYTES];
	pthread_t thread;
};

/* ---- the baton ---- */

static void wait_turn(struct baton *baton, unsigned number)
{
	while (baton->turn != number)
		pthread_cond_wait(&baton->moved, &baton->lock);
}

static unsigned choose_next(struct explorer *explorer)
{
	struct baton *baton = &explorer->baton;
	unsigned candidates[WRITERS_MAX + 2];
	unsigned count = 0;

	for (unsigned i = 1; i <= baton->participants; i++)
		if (!baton->done[i])
			candidates[count++] = i;
	return count == 0 ? 0 : candidates[prng_below(&explorer->prng, count)];
}

static void pass(struct baton *baton, unsigned next)
{
	baton->turn = next;
	pthread_cond_broadcast(&baton->moved);
}

void yield_turn(struct explorer *explorer)
{
	struct baton *baton = &explorer->baton;
	unsigned self = baton->turn;

	if (baton->participants == 0 || self == 0 || explorer->depth != 0)
		return;
	pthread_mutex_lock(&baton->lock);
	pass(baton, choose_next(explorer));
	wait_turn(baton, self);
	pthread_mutex_unlock(&baton->lock);
}

/* ---- what they do ---- */

static void round_write(struct participant *self)
{
	struct explorer *explorer = self->explorer;
	uint64_t len = (1 + prng_below(&explorer->prng, ROUND_CELLS)) * CELL_BYTES;
	uint64_t off = choose_offset(explorer, &explorer->prng, len);
	uint32_t number = volume_issue(&explorer->volume, off, len, self->buf);
	ssize_t ret;

	explorer->issuers[self->number] = (struct issuer){ number, number + 1 };
	ret = pc_io_write(explorer->live->cache, self->buf, len, off, PCACHE_NOWAIT);
	if (ret == (ssize_t)len)
		end_write(explorer, number, number + 1, explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE);
	else if (ret != -EAGAIN)
		fail_errno(explorer, "write among others", (int)ret);
}

/* What a reader saw no crash may take: it was durable before. Not so on page granularity. */
static void promise_shown(struct explorer *explorer)
{
	for (uint32_t cell = 0; cell < explorer->volume.cells; cell++) {
		uint32_t number = volume_number(explorer->scratch, cell);

		if (number != 0 && !volume_is_required(&explorer->volume, number))
			volume_require(&explorer->volume, number);
	}
}

static void round_read(struct explorer *explorer)
{
	const struct volume_question question = { .rule = VOLUME_CELLS, .since = explorer->volume.promises };
	int ret = world_read(explorer->live, explorer->scratch);

	if (ret < 0)
		fail_errno(explorer, "read among writers", ret);
	else if (judge(explorer, "read among writers", explorer->scratch, &question) &&
		 explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE)
		promise_shown(explorer);
}

static void round_work(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	uint64_t dice = prng_below(&explorer->prng, 100);
	int ret = 0;

	if (dice < 25)
		do_flush(explorer);
	else if (dice < 60)
		ret = pc_writeback_step(cache);
	else
		ret = pc_reclaim_step(cache);
	if (ret < 0 && !is_expected(explorer, ret))
		fail_errno(explorer, "write-back or reclaim among writers", ret);
}

static void *run_participant(void *arg)
{
	struct participant *self = arg;
	struct explorer *explorer = self->explorer;
	struct baton *baton = &explorer->baton;
	uint64_t operations;

	pthread_mutex_lock(&baton->lock);
	wait_turn(baton, self->number);
	pthread_mutex_unlock(&baton->lock);
	operations = 1 + prng_below(&explorer->prng, ROUND_OPERATIONS);
	for (uint64_t i = 0; i < operations && !explorer->failed; i++) {
		if (self->role == ROLE_WRITER)
			round_write(self);
		else if (self->role == ROLE_WORKER)
			round_work(explorer);
		else
			round_read(explorer);
		yield_turn(explorer);
	}
	pthread_mutex_lock(&baton->lock);
	baton->done[self->number] = true;
	pass(baton, choose_next(explorer));
	pthread_mutex_unlock(&baton->lock);
	return NULL;
}

/* ---- a round ---- */

/* As if a writer waited for space: nobody of the round shall. */
static bool make_space(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	bool moved = true;

	cache->space_waiters++;
	for (unsigned i = 0; i < STEPS_MAX && moved && cache->segments->free_count < ROUND_FREE; i++)
		moved = pc_cache_step(cache);
	cache->space_waiters--;
	return cache->segments->free_count >= ROUND_FREE && !explorer->failed;
}

static void run_round(struct explorer *explorer, struct participant *participants, unsigned count)
{
	struct baton *baton = &explorer->baton;
	pthread_attr_t attributes;

	memset(baton->done, 0, sizeof(baton->done));
	baton->turn = 0;
	baton->participants = count;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1u << 20);
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&participants[i].thread, &attributes, run_participant, &participants[i]) != 0)
			abort();
	pthread_attr_destroy(&attributes);
	pthread_mutex_lock(&baton->lock);
	pass(baton, choose_next(explorer));
	wait_turn(baton, 0);
	pthread_mutex_unlock(&baton->lock);
	for (unsigned i = 0; i < count; i++)
		pthread_join(participants[i].thread, NULL);
	baton->participants = 0;
}

void do_round(struct explorer *explorer)
{
	struct participant participants[WRITERS_MAX + 2] = { 0 };
	unsigned writers = 2 + (unsigned)prng_below(&explorer->prng, WRITERS_MAX - 1);
	unsigned count = writers;
	enum volume_rule rule = explorer->rule;

	if (!make_space(explorer))
		return;
	if (prng_happens(&explorer->prng, 60))
		participants[count++].role = ROLE_WORKER;
	if (prng_happens(&explorer->prng, 40))
		participants[count++].role = ROLE_READER;
	for (unsigned i = 0; i < count; i++) {
		participants[i].explorer = explorer;
		participants[i].number = i + 1;
	}
	explorer->rule = VOLUME_SETS;
	run_round(explorer, participants, count);
	explorer->rule = rule;
	explorer->counts->rounds++;
	if (explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE)
		volume_require_all(&explorer->volume);
}
