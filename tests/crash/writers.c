/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writers.c - rounds of several writers, one more thread for flushes, write-back and reclaim, and one that reads.
 *
 * They are real threads, but only the one that has the turn runs (turns.c). It changes hands where the library stores
 * data or key sets or reads the media, before and after its fences and syncs, around requests to the backing, and before
 * locks. So room is reserved while others commit: holes, commits out of order, segments sealed by the last to leave,
 * and a look at what another has changed and not made durable.
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

	if (dice < 20)
		do_flush(explorer);
	else if (dice < 50)
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
	uint64_t operations;

	await_turn(explorer, self->number);
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
	leave_round(explorer, self->number);
	return NULL;
}

/* ---- a round ---- */

/* Free segments out of sight but for so many: what reclaim gives back is taken at once. Returns how many. */
static unsigned hide_free(struct pc_segments *segments, uint64_t left, uint32_t *ret_hidden)
{
	unsigned count = 0;

	while (segments->free_count > left)
		ret_hidden[count++] = pc_segment_alloc(segments);
	return count;
}

static void show_free(struct pc_segments *segments, const uint32_t *hidden, unsigned count)
{
	while (count > 0)
		pc_segment_release(segments, hidden[--count]);
}

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

static void run_participants(struct explorer *explorer, struct participant *participants, unsigned count)
{
	pthread_attr_t attributes;

	begin_round(explorer, count);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1u << 20);
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&participants[i].thread, &attributes, run_participant, &participants[i]) != 0)
			abort();
	pthread_attr_destroy(&attributes);
	run_round(explorer);
	for (unsigned i = 0; i < count; i++)
		pthread_join(participants[i].thread, NULL);
	end_round(explorer);
}

void do_round(struct explorer *explorer)
{
	struct participant participants[PARTICIPANTS_MAX] = { 0 };
	unsigned writers = 2 + (unsigned)prng_below(&explorer->prng, WRITERS_MAX - 1);
	unsigned count = writers;
	enum volume_rule rule = explorer->rule;
	struct pc_segments *segments = explorer->live->cache->segments;
	bool is_tight = prng_happens(&explorer->prng, 30);
	uint32_t hidden[SEGMENTS_MAX];
	unsigned hidden_count;

	if (!make_space(explorer))
		return;
	if (is_tight || prng_happens(&explorer->prng, 60))
		participants[count++].role = ROLE_WORKER;
	if (prng_happens(&explorer->prng, 40))
		participants[count++].role = ROLE_READER;
	for (unsigned i = 0; i < count; i++) {
		participants[i].explorer = explorer;
		participants[i].number = i + 1;
	}
	explorer->rule = VOLUME_SETS;
	hidden_count = is_tight ? hide_free(segments, prng_below(&explorer->prng, 2), hidden) : 0;
	run_participants(explorer, participants, count);
	show_free(segments, hidden, hidden_count);
	explorer->rule = rule;
	explorer->counts->rounds++;
	if (explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE)
		volume_require_all(&explorer->volume);
}
