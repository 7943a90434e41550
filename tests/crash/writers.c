/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writers.c - rounds of several writers and readers, and threads for flushes, write-back and reclaim: one for all, or
 * one for reclaim and one for the rest, as a cache has them.
 *
 * They are real threads, but only the one that has the turn runs (turns.c). It changes hands where the library stores
 * data or key sets or reads the media, before and after its fences and syncs, around requests to the backing, and
 * before locks. So room is reserved while others commit: holes, commits out of order, segments sealed by the last to
 * leave, and a look at what another has changed and not made durable. Misses are under way while writes come and go,
 * and are shared. In busy rounds writes even leave the log again meanwhile.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_OPERATIONS 4u
#define ROUND_CELLS      16u /* longest write of a round, */
#define ROUND_CELLS_MAX  64u /* and of some rounds, where segments fill up soon */
#define WORK_OPERATIONS  8u
#define BUSY_OPERATIONS  24u /* of the worker in rounds that write back all, and free segments */
#define BUSY_PERCENT     40u
#define ROUND_FREE       4u  /* segments: enough that no writer of the round has to wait */
#define STEPS_MAX        32u

enum role {
	ROLE_WRITER,
	ROLE_WORKER,    /* all that is in the background */
	ROLE_WRITEBACK, /* all but reclaim */
	ROLE_RECLAIM,
	ROLE_READER,
};

struct participant {
	struct explorer *explorer;
	unsigned number;
	enum role role;
	bool is_busy;
	bool is_tight;
	uint64_t cells_max;
	struct reader reader;
	uint8_t buf[ROUND_CELLS_MAX * CELL_BYTES];
	pthread_t thread;
};

/* ---- what they do ---- */

/* Whole blocks now and then; in busy rounds near each other, where the readers are. */
static uint64_t choose_round_offset(const struct participant *self, uint64_t len)
{
	struct explorer *explorer = self->explorer;
	uint64_t off = choose_offset(explorer, &explorer->prng, len);

	if (self->is_busy)
		off %= pc_min64(NEAR_BYTES, explorer->volume.bytes - len + CELL_BYTES);
	return len == PCM_BLOCK ? pc_align_down(off, PCM_BLOCK) : off;
}

static void round_write(struct participant *self)
{
	struct explorer *explorer = self->explorer;
	uint64_t len = (1 + prng_below(&explorer->prng, self->cells_max)) * CELL_BYTES;
	uint64_t off = choose_round_offset(self, len);
	bool is_zero = prng_happens(&explorer->prng, 15);
	uint32_t number = is_zero ? volume_issue_zeroes(&explorer->volume, off, len) :
				    volume_issue(&explorer->volume, off, len, self->buf);
	ssize_t ret;

	explorer->issuers[self->number] = (struct issuer){ number, number + 1 };
	if (is_zero)
		ret = pc_zero_range(explorer->live->cache, PCM_KEY_ZERO, len, off, PCACHE_NOWAIT);
	else
		ret = pc_io_write(explorer->live->cache, self->buf, len, off,
				  pc_cache_mode(explorer->live->cache) == PCACHE_MODE_WRITEAROUND ? 0 : PCACHE_NOWAIT);
	if (ret == (is_zero ? 0 : (ssize_t)len))
		end_write(explorer, number, number + 1, explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE);
	else if (ret != -EAGAIN)
		fail_errno(explorer, "write among others", (int)ret);
}

/* It may have been seen on the backing, from where it then went into the log. */
static bool is_half_way(const struct volume *volume, uint32_t number)
{
	return volume->writes[number].is_torn && volume->writes[number].returned == 0;
}

/* What a reader saw no crash may take: it was durable before. Not so on page granularity. */
static void promise_shown(struct explorer *explorer, const struct reader *reader)
{
	for (uint32_t cell = 0; cell < explorer->volume.cells; cell++) {
		uint32_t number = reader->unknown[cell] ? 0 : volume_number(reader->buf, cell);

		if (number != 0 && !volume_is_required(&explorer->volume, number) && !is_half_way(&explorer->volume, number))
			volume_require(&explorer->volume, number);
	}
}

static void round_read(struct participant *self)
{
	struct explorer *explorer = self->explorer;
	const struct volume_question question = {
		.rule = VOLUME_CELLS,
		.since = explorer->volume.promises,
		.running = explorer->volume.returns + 1,
	};

	if (read_part(explorer, &explorer->prng, &self->reader, "read among writers", &question) &&
	    explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE)
		promise_shown(explorer, &self->reader);
}

/* Now and then as if a writer waited for space: then any segment will do, and nothing is carried forward. */
static int round_reclaim(const struct participant *self)
{
	struct explorer *explorer = self->explorer;
	struct pcache *cache = explorer->live->cache;
	bool is_urgent = self->is_busy && prng_happens(&explorer->prng, 60);
	int ret;

	cache->space_waiters += is_urgent;
	explorer->reclaiming++;
	ret = pc_reclaim_step(cache);
	explorer->reclaiming--;
	cache->space_waiters -= is_urgent;
	return ret;
}

/* Brought in, or dropped but for what is dirty: neither changes what anybody reads. */
static int round_range(const struct participant *self, bool is_drop)
{
	struct explorer *explorer = self->explorer;
	uint64_t len = 1 + prng_below(&explorer->prng, is_drop ? 2 * PCM_BLOCK : 4 * PCM_BLOCK);
	uint64_t off = choose_round_offset(self, pc_min64(len, explorer->volume.bytes));
	int64_t ret;

	len = pc_min64(len, explorer->volume.bytes - off);
	if (is_drop)
		ret = pc_range_invalidate(explorer->live->cache, off, len);
	else
		ret = pc_miss_is_kept(explorer->live->cache) ? pc_range_prefetch(explorer->live->cache, off, len, false) : 0;
	return ret < 0 ? (int)ret : 0;
}

/* In some of the seeds: the others need the steps of write-back. Both may wait for space, and tight rounds have none. */
static bool has_ranges(const struct participant *self)
{
	return self->explorer->seed % 8 == 3 && !self->is_tight;
}

static void round_work(struct participant *self)
{
	struct explorer *explorer = self->explorer;
	uint64_t dice = prng_below(&explorer->prng, 100);
	int ret = 0;

	if (self->role == ROLE_RECLAIM || (self->role == ROLE_WORKER && dice >= 50))
		ret = round_reclaim(self);
	else if (self->is_busy && dice % 50 < 15)
		ret = pc_rotate_close(explorer->live->cache);
	else if (dice % 50 < 20)
		do_flush(explorer);
	else if (dice % 50 >= 44 && has_ranges(self))
		ret = round_range(self, dice % 2 == 0);
	else
		ret = pc_writeback_step(explorer->live->cache);
	if (ret < 0 && !is_expected(explorer, ret))
		fail_errno(explorer, "work among writers", ret);
}

static uint64_t most_operations(const struct participant *self)
{
	if (self->role == ROLE_WRITER || self->role == ROLE_READER)
		return self->is_busy ? 2 * ROUND_OPERATIONS : ROUND_OPERATIONS;
	return self->is_busy ? BUSY_OPERATIONS : WORK_OPERATIONS;
}

static void *run_participant(void *arg)
{
	struct participant *self = arg;
	struct explorer *explorer = self->explorer;
	uint64_t operations;

	await_turn(explorer, self->number);
	operations = 1 + prng_below(&explorer->prng, most_operations(self));
	for (uint64_t i = 0; i < operations && !explorer->failed; i++) {
		if (self->role == ROLE_WRITER)
			round_write(self);
		else if (self->role == ROLE_READER)
			round_read(self);
		else
			round_work(self);
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

/* Before a busy round: little that is old is in the way of what will be written, and there is clean data under it. */
static void make_room(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	bool moved = pc_writeback_drain(cache, NULL, NULL) == 0 && !explorer->failed;

	cache->space_waiters++;
	for (unsigned i = 0; i < STEPS_MAX && moved && !explorer->failed; i++)
		moved = pc_reclaim_step(cache) > 0;
	cache->space_waiters--;
	for (unsigned i = 0; i < 2 && !explorer->failed; i++)
		do_read_parts(explorer);
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

static void add_participant(struct explorer *explorer, struct participant *participants, unsigned *count,
			    enum role role)
{
	struct participant *new = &participants[*count];

	new->explorer = explorer;
	new->number = ++*count;
	new->role = role;
	if (role != ROLE_READER)
		return;
	new->reader.buf = malloc(explorer->volume.bytes);
	new->reader.unknown = malloc(explorer->volume.cells);
	if (new->reader.buf == NULL || new->reader.unknown == NULL)
		abort();
}

static unsigned choose_participants(struct explorer *explorer, struct participant *participants, bool is_tight,
				    bool is_busy)
{
	struct prng *prng = &explorer->prng;
	unsigned readers = prng_happens(prng, 60) ? 1 + (unsigned)prng_below(prng, READERS_MAX) : 0;
	unsigned writers = (readers > 1 ? 1 : 2) + (unsigned)prng_below(prng, WRITERS_MAX - 1);
	uint64_t cells_max = is_busy || prng_happens(prng, 20) ? ROUND_CELLS_MAX : ROUND_CELLS;
	unsigned count = 0;

	for (unsigned i = 0; i < writers; i++)
		add_participant(explorer, participants, &count, ROLE_WRITER);
	for (unsigned i = 0; i < readers; i++)
		add_participant(explorer, participants, &count, ROLE_READER);
	if (prng_happens(prng, 30)) {
		add_participant(explorer, participants, &count, ROLE_WRITEBACK);
		add_participant(explorer, participants, &count, ROLE_RECLAIM);
	} else if (is_busy || is_tight || prng_happens(prng, 60)) {
		add_participant(explorer, participants, &count, ROLE_WORKER);
	}
	for (unsigned i = 0; i < count; i++) {
		participants[i].cells_max = cells_max;
		participants[i].is_busy = is_busy;
		participants[i].is_tight = is_tight;
		participants[i].reader.is_near = is_busy;
	}
	explorer->baton.is_slow = is_busy;
	return count;
}

void do_round(struct explorer *explorer)
{
	struct participant participants[PARTICIPANTS_MAX] = { 0 };
	enum volume_rule rule = explorer->rule;
	struct pc_segments *segments = explorer->live->cache->segments;
	bool is_busy = prng_happens(&explorer->prng, BUSY_PERCENT);
	bool is_tight = !is_busy && prng_happens(&explorer->prng, 30) && explorer->mode_kind != MODES_AROUND;
	uint32_t hidden[SEGMENTS_MAX];
	unsigned hidden_count;
	unsigned count;

	if (is_busy)
		make_room(explorer);
	if (!make_space(explorer))
		return;
	count = choose_participants(explorer, participants, is_tight, is_busy);
	explorer->rule = explorer->mode_kind == MODES_AROUND ? VOLUME_CELLS : VOLUME_SETS;
	hidden_count = is_tight ? hide_free(segments, prng_below(&explorer->prng, 2), hidden) : 0;
	run_participants(explorer, participants, count);
	show_free(segments, hidden, hidden_count);
	explorer->rule = rule;
	explorer->counts->rounds++;
	for (unsigned i = 0; i < count; i++) {
		free(participants[i].reader.buf);
		free(participants[i].reader.unknown);
	}
	if (explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE)
		volume_require_all(&explorer->volume);
}
