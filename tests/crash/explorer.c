/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explorer.c - the crash explorer.
 *
 * Goal: whatever a power cut leaves, open ends, and the volume reads as after one of the writes between the last one
 * acknowledged as durable and the last one issued; the backing alone, after each successful sync, as after some write.
 *
 * Method: the library runs on simulated media and backing. At each drain or sync of the media and around each sync of the
 * backing ("crash points") a few images of what could survive are made: nothing pending, everything, random subsets,
 * torn. Each is opened on a second machine, read and judged; some are cut again during that recovery, on a third machine;
 * some are drained, and their backing compared. A third of the seeds end in a killed process: reopened, read, then cut.
 */
#include "explorer.h"

#include "volume.h"
#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_SLOTS (1u << 16)

struct explorer {
	uint64_t seed;
	uint64_t random;
	const struct explorer_options *options;
	struct explorer_counts *counts;
	struct geometry geometry;
	struct volume volume;
	struct world live;
	struct world check;
	struct world nested;
	uint64_t *seen; /* hashes of states */
	uint8_t *write_buf;
	uint8_t *read_buf;
	uint8_t *nested_buf;
	uint64_t point;
	unsigned state;
	unsigned depth; /* 0: the workload runs; 1: a recovery on `check` */
	struct pc_pos tail; /* dirty_tail as it was stored last */
	uint32_t low;       /* bounds for the recovery that runs on `check` */
	uint32_t high;
	bool failed;
};

/* ---- random numbers ---- */

static uint64_t next_random(struct explorer *explorer)
{
	/* xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016 */
	explorer->random ^= explorer->random >> 12;
	explorer->random ^= explorer->random << 25;
	explorer->random ^= explorer->random >> 27;
	return explorer->random * 0x2545f4914f6cdd1dull;
}

static uint64_t below(struct explorer *explorer, uint64_t bound)
{
	return (next_random(explorer) >> 16) % bound;
}

/* A stream of its own for each state, so that one state can be replayed without the ones before. */
static uint64_t state_random(const struct explorer *explorer, unsigned state)
{
	uint64_t value = explorer->seed * 0x9e3779b97f4a7c15ull ^ explorer->point << 20 ^ state;

	value = (value ^ value >> 31) * 0x94d049bb133111ebull;
	return value ^ value >> 29;
}

/* ---- failures ---- */

static void fail(struct explorer *explorer, const char *where, const char *what)
{
	if (!explorer->failed)
		printf("FAILURE %" PRIu64 ":%" PRIu64 ":%u: %s: %s\n", explorer->seed, explorer->point, explorer->state,
		       where, what);
	if (!explorer->failed)
		explorer->counts->failures++;
	explorer->failed = true;
}

static void fail_errno(struct explorer *explorer, const char *where, int error)
{
	char what[64];

	snprintf(what, sizeof(what), "error %d (%s)", error, pcache_strerror(error));
	fail(explorer, where, what);
}

static bool report(struct explorer *explorer, const char *where, struct verdict verdict, uint32_t low, uint32_t high)
{
	char what[256];

	if (verdict.good)
		return true;
	snprintf(what, sizeof(what), "%s; cell %u holds write %u; expected a moment from write %u to %u, left %u to %u",
		 verdict.why, verdict.cell, verdict.number, low, high, verdict.low, verdict.high);
	fail(explorer, where, what);
	return false;
}

/* Some moment from write `low` to write `high`. */
static bool judge(struct explorer *explorer, const char *where, const uint8_t *image, uint32_t low, uint32_t high)
{
	return report(explorer, where, volume_judge(&explorer->volume, image, low, high), low, high);
}

/* The same after a crash: on page granularity order holds from flush to flush. */
static bool judge_crash(struct explorer *explorer, const char *where, const uint8_t *image, uint32_t low, uint32_t high)
{
	if (explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE)
		return judge(explorer, where, image, low, high);
	return report(explorer, where, volume_judge_epoch(&explorer->volume, image, low, high), low, high);
}

/* ---- one crash state ---- */

struct keep_random {
	uint64_t state;
	unsigned percent;
};

static bool keep_some(void *arg, size_t i, const struct sim_piece *piece)
{
	struct keep_random *keep = arg;

	(void)i;
	(void)piece;
	keep->state = keep->state * 6364136223846793005ull + 1442695040888963407ull;
	return (keep->state >> 33) % 100 < keep->percent;
}

struct choice_store {
	struct crash_choice choice;
	struct sim_random random;
	struct keep_random keep;
	size_t unit;
};

/* State 0: nothing that is pending survives; 1: all of it; then single units and random subsets, torn. */
static void choose(const struct explorer *explorer, unsigned state, struct world *world, struct choice_store *store)
{
	static const uint8_t densities[] = { 5, 20, 50, 80, 95 };
	uint64_t random = state_random(explorer, state);
	size_t pending = sim_media_pending(world->media);

	*store = (struct choice_store){ 0 };
	store->keep = (struct keep_random){ .state = random, .percent = state == 0 ? 0 : state == 1 ? 100 : random % 101 };
	store->unit = pending == 0 ? 0 : (random >> 8) % pending;
	store->random = (struct sim_random){
		.state = random | 1,
		.meta_percent = densities[(random >> 16) % 5],
		.data_percent = densities[(random >> 24) % 5],
		.older_percent = 25,
		.torn_percent = (random >> 32) % 2 == 0 ? 0 : 40,
	};
	store->choice = (struct crash_choice){ .keep = keep_some, .keep_arg = &store->keep };
	if (state == 0) {
		store->choice.choose = sim_choose_none;
	} else if (state == 1) {
		store->choice.choose = sim_choose_all;
	} else if (state % 4 == 2) {
		store->choice.choose = random % 2 == 0 ? sim_choose_only : sim_choose_all_but;
		store->choice.choose_arg = &store->unit;
	} else {
		store->choice.choose = sim_choose_random;
		store->choice.choose_arg = &store->random;
	}
}

static bool is_new(struct explorer *explorer, uint64_t hash)
{
	uint64_t key = hash | 1;

	for (uint32_t i = 0; i < 16; i++) {
		uint64_t *slot = &explorer->seen[((hash >> 20) + i) % HASH_SLOTS];

		if (*slot == key)
			return false;
		if (*slot == 0) {
			*slot = key;
			return true;
		}
	}
	return true; /* full here: checked again rather than left out */
}

/* Open, read, judge. Leaves the cache open. */
static bool open_and_judge(struct explorer *explorer, struct world *world, uint8_t *buf, const char *where,
			   uint32_t low, uint32_t high)
{
	int ret = world_open(world);

	/* A create that was cut off in its last store leaves a file that is refused; nobody was told that it is there. */
	if (ret == -EUCLEAN && explorer->live.cache == NULL && explorer->volume.issued == 0)
		return false;
	if (ret < 0) {
		fail_errno(explorer, where, ret);
		return false;
	}
	ret = world_read(world, buf);
	if (ret < 0) {
		fail_errno(explorer, where, ret);
		return false;
	}
	return judge_crash(explorer, where, buf, low, high);
}

/* The backing alone holds after a drain what reads showed before. */
static void check_drained(struct explorer *explorer, struct world *world, const uint8_t *shown)
{
	int ret = pc_writeback_drain(world->cache, NULL, NULL);

	if (ret < 0)
		fail_errno(explorer, "drain after a crash", ret);
	else if (memcmp(sim_backing_durable(world->backing), shown, world->geometry.volume_bytes) != 0)
		fail(explorer, "drain after a crash", "the backing does not hold what was read");
	explorer->counts->drained++;
}

/* The cache takes writes after the crash, as many as it has room for, drains them, and has them when opened again. */
static void check_usable(struct explorer *explorer, struct world *world, uint8_t *buf)
{
	uint64_t bytes = world->geometry.volume_bytes;
	ssize_t ret;

	explorer->depth = 2; /* no write that the volume knows of: nothing to judge in here */
	memset(buf, 0x5a, bytes);
	ret = pc_io_write(world->cache, buf, bytes, 0, 0);
	if (ret != (ssize_t)bytes)
		fail_errno(explorer, "write after a crash", (int)ret);
	else
		check_drained(explorer, world, buf);
	if (explorer->failed)
		return;
	ret = world_close(world, false);
	if (ret == 0)
		ret = world_open(world);
	if (ret == 0)
		ret = world_read(world, explorer->nested_buf);
	if (ret < 0)
		fail_errno(explorer, "opened again after a crash", (int)ret);
	else if (memcmp(explorer->nested_buf, buf, bytes) != 0)
		fail(explorer, "opened again after a crash", "other content than before");
}

/* Which crash a world got, and what its recovery must show. */
static void check_state(struct explorer *explorer, unsigned state, uint32_t low, uint32_t high)
{
	struct world *world = &explorer->check;
	struct choice_store store;
	uint64_t hash;

	choose(explorer, state, &explorer->live, &store);
	explorer->state = state;
	hash = world_power_cut(&explorer->live, &store.choice, world);
	explorer->counts->states++;
	if (!is_new(explorer, hash))
		return;
	explorer->counts->unique++;
	explorer->depth = 1;
	explorer->low = low;
	explorer->high = high;
	if (open_and_judge(explorer, world, explorer->read_buf, "after a power cut", low, high) && state % 3 == 2)
		check_drained(explorer, world, explorer->read_buf);
	if (!explorer->failed && explorer->point % 16 == 0 && state == 3)
		check_usable(explorer, world, explorer->read_buf);
	if (world->cache != NULL)
		world_drop(world);
	explorer->depth = 0;
}

/* During a recovery on `check`: cut it again, and recover what is left on `nested`. */
static void check_nested(struct explorer *explorer)
{
	struct world *world = &explorer->nested;
	struct choice_store store;
	unsigned state = (unsigned)(state_random(explorer, explorer->state + 1000) % 8);

	choose(explorer, state, &explorer->check, &store);
	world_power_cut(&explorer->check, &store.choice, world);
	explorer->counts->states++;
	explorer->counts->unique++;
	explorer->counts->nested++;
	explorer->depth = 2;
	open_and_judge(explorer, world, explorer->nested_buf, "after a power cut during recovery", explorer->low,
		       explorer->high);
	if (world->cache != NULL)
		world_drop(world);
	explorer->depth = 1;
}

static void crash_point(struct explorer *explorer)
{
	const struct explorer_options *options = explorer->options;

	if (explorer->failed)
		return;
	explorer->point++;
	explorer->counts->points++;
	for (unsigned state = 0; state < options->states_per_point && !explorer->failed; state++) {
		if (options->only_point != UINT64_MAX &&
		    (options->only_point != explorer->point || options->only_state != state))
			continue;
		check_state(explorer, state, explorer->volume.durable, explorer->volume.issued);
	}
}

/* ---- hooks ---- */

static void on_live_media(enum sim_primitive primitive, void *arg)
{
	struct explorer *explorer = arg;

	(void)primitive;
	if (explorer->depth == 0)
		crash_point(explorer);
}

/* Online rule: dirty_tail moves only when every write to the backing has completed and was synced after that. */
static void on_live_store(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg)
{
	struct explorer *explorer = arg;
	struct pcm_tails tails;
	struct pc_pos tail;

	(void)primitive;
	if ((off != PCM_TAILS_OFF && off != PCM_TAILS_OFF + PCM_SLOT_STRIDE) || len != sizeof(tails))
		return;
	memcpy(&tails, data, sizeof(tails));
	tail = (struct pc_pos){ .seq = pc_get64(tails.dirty_tail.seq), .line = pc_get32(tails.dirty_tail.line) };
	if (pc_pos_cmp(tail, explorer->tail) > 0 && !sim_backing_all_synced(explorer->live.backing))
		fail(explorer, "store of the tails", "dirty_tail moves before the backing is synced");
	explorer->tail = tail;
}

static void on_check_media(enum sim_primitive primitive, void *arg)
{
	struct explorer *explorer = arg;

	(void)primitive;
	if (explorer->depth == 1 && !explorer->failed &&
	    state_random(explorer, explorer->state + (unsigned)sim_media_calls(explorer->check.media)) % 8 == 0)
		check_nested(explorer);
}

/* After each sync that succeeded the backing alone is a consistent, older image. */
static void on_live_backing(void *arg, enum sim_sync_point point, int result)
{
	struct explorer *explorer = arg;

	if (explorer->depth != 0)
		return;
	if (point == SIM_SYNC_AFTER && result == 0 && !explorer->failed)
		judge(explorer, "the backing alone after a sync", sim_backing_durable(explorer->live.backing), 0,
		      explorer->volume.issued);
	crash_point(explorer);
}

/* ---- the workload ---- */

static void choose_geometry(struct explorer *explorer)
{
	static const uint32_t segment_bytes[] = { 16384, 16384, 32768, 65536 };
	struct geometry *geometry = &explorer->geometry;

	geometry->granularity = (enum pcache_granularity)(explorer->seed % 3);
	geometry->segment_bytes = segment_bytes[below(explorer, 4)];
	geometry->segments = (uint32_t)(PCM_SEGMENTS_MIN + below(explorer, 5));
	geometry->volume_bytes = (96 + 32 * below(explorer, 8)) * 1024 + CELL_BYTES * below(explorer, 64);
	geometry->align_bytes = below(explorer, 2) == 0 ? 1 : 512;
	geometry->batch_bytes = 8192 << below(explorer, 4);
	if (geometry->align_bytes == 512)
		geometry->volume_bytes = pc_align_down(geometry->volume_bytes, 512);
}

/* A long write is a row of atomic ones: number them as the library cuts them. */
static void do_write(struct explorer *explorer, unsigned flags)
{
	struct volume *volume = &explorer->volume;
	uint64_t most = below(explorer, 4) == 0 ? 20000 : 3000;
	uint64_t len = (1 + below(explorer, most / CELL_BYTES)) * CELL_BYTES;
	uint64_t off = below(explorer, volume->cells - len / CELL_BYTES) * CELL_BYTES;
	ssize_t ret;

	if (below(explorer, 3) == 0) /* often in the same place: versions on versions */
		off = pc_align_down(off % 8192, CELL_BYTES);
	for (uint64_t done = 0; done < len;) {
		uint64_t piece = pc_min64(len - done, explorer->live.cache->max_atomic_bytes);

		volume_begin(volume, off + done, piece, explorer->write_buf + done);
		done += piece;
	}
	ret = pc_io_write(explorer->live.cache, explorer->write_buf, len, off, flags);
	if (ret != (ssize_t)len) {
		fail_errno(explorer, "write", (int)ret);
		return;
	}
	if (explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE || (flags & PCACHE_WRITE_FUA) != 0)
		volume->durable = volume->issued;
}

static void do_flush(struct explorer *explorer)
{
	int ret = pc_io_flush(explorer->live.cache);

	if (ret < 0)
		fail_errno(explorer, "flush", ret);
	else
		explorer->volume.durable = explorer->volume.issued;
}

static void do_read(struct explorer *explorer)
{
	uint32_t newest = explorer->volume.issued;
	int ret = world_read(&explorer->live, explorer->read_buf);

	if (ret < 0)
		fail_errno(explorer, "read", ret);
	else
		judge(explorer, "read", explorer->read_buf, newest, newest);
}

static void do_reopen(struct explorer *explorer)
{
	int ret = world_close(&explorer->live, below(explorer, 4) == 0);

	if (ret < 0) {
		fail_errno(explorer, "close", ret);
		return;
	}
	explorer->volume.durable = explorer->volume.issued; /* close flushes */
	ret = world_open(&explorer->live);
	if (ret < 0)
		fail_errno(explorer, "open after close", ret);
}

static void check_step(struct explorer *explorer, const char *where, int ret)
{
	if (ret < 0)
		fail_errno(explorer, where, ret);
}

static void do_operation(struct explorer *explorer)
{
	struct pcache *cache = explorer->live.cache;
	uint64_t dice = below(explorer, 100);

	if (dice < 70)
		do_write(explorer, below(explorer, 10) == 0 ? PCACHE_WRITE_FUA : 0);
	else if (dice < 80)
		do_flush(explorer);
	else if (dice < 88)
		check_step(explorer, "write-back", pc_writeback_step(cache));
	else if (dice < 92)
		check_step(explorer, "reclaim", pc_reclaim_step(cache));
	else if (dice < 95)
		check_step(explorer, "drain", pc_writeback_drain(cache, NULL, NULL));
	else if (dice < 98)
		do_read(explorer);
	else
		do_reopen(explorer);
}

/* The process is killed, and started again: what its reads show must survive a power cut right after. */
static void kill_and_cut(struct explorer *explorer)
{
	struct choice_store store;

	sim_media_kill(explorer->live.media);
	explorer->live.cache->media = NULL; /* it ended with the process */
	world_drop(&explorer->live);
	if (!open_and_judge(explorer, &explorer->live, explorer->read_buf, "after a kill", explorer->volume.durable,
			    explorer->volume.issued))
		return;
	for (unsigned state = 0; state < explorer->options->states_per_point && !explorer->failed; state++) {
		choose(explorer, state, &explorer->live, &store);
		explorer->state = state;
		world_power_cut(&explorer->live, &store.choice, &explorer->check);
		explorer->counts->states++;
		explorer->counts->unique++;
		explorer->counts->kill_power++;
		explorer->depth = 2;
		if (open_and_judge(explorer, &explorer->check, explorer->nested_buf, "after kill, read and power cut",
				   explorer->volume.durable, explorer->volume.issued) &&
		    memcmp(explorer->nested_buf, explorer->read_buf, explorer->geometry.volume_bytes) != 0)
			fail(explorer, "after kill, read and power cut", "what was read before is gone");
		if (explorer->check.cache != NULL)
			world_drop(&explorer->check);
		explorer->depth = 0;
	}
}

static void run_workload(struct explorer *explorer)
{
	uint64_t operations = 20 + below(explorer, 100);
	int ret = world_open(&explorer->live);

	if (ret < 0) {
		fail_errno(explorer, "create", ret);
		return;
	}
	for (uint64_t i = 0; i < operations && !explorer->failed; i++)
		do_operation(explorer);
	if (!explorer->failed)
		crash_point(explorer);
	if (!explorer->failed && explorer->seed / 3 % 3 == 0)
		kill_and_cut(explorer);
}

/* ---- one seed ---- */

static bool prepare(struct explorer *explorer)
{
	const struct sim_hooks live = { .crash_point = on_live_media, .store = on_live_store, .arg = explorer };
	const struct sim_hooks check = { .crash_point = on_check_media, .arg = explorer };

	choose_geometry(explorer);
	volume_init(&explorer->volume, explorer->geometry.volume_bytes);
	world_init(&explorer->live, &explorer->geometry);
	world_init(&explorer->check, &explorer->geometry);
	world_init(&explorer->nested, &explorer->geometry);
	explorer->seen = calloc(HASH_SLOTS, sizeof(*explorer->seen));
	explorer->write_buf = malloc(explorer->geometry.volume_bytes);
	explorer->read_buf = malloc(explorer->geometry.volume_bytes);
	explorer->nested_buf = malloc(explorer->geometry.volume_bytes);
	sim_media_hook(explorer->live.media, &live);
	sim_media_hook(explorer->check.media, &check);
	sim_backing_set_hook(explorer->live.backing, on_live_backing, explorer);
	return explorer->seen != NULL && explorer->write_buf != NULL && explorer->read_buf != NULL &&
	       explorer->nested_buf != NULL;
}

static void release(struct explorer *explorer)
{
	sim_media_hook(explorer->live.media, NULL);
	sim_media_hook(explorer->check.media, NULL);
	world_free(&explorer->live);
	world_free(&explorer->check);
	world_free(&explorer->nested);
	volume_free(&explorer->volume);
	free(explorer->seen);
	free(explorer->write_buf);
	free(explorer->read_buf);
	free(explorer->nested_buf);
}

bool explorer_run(uint64_t seed, const struct explorer_options *options, struct explorer_counts *counts)
{
	struct explorer explorer = { .seed = seed, .options = options, .counts = counts };

	explorer.random = (seed + 1) * 0x9e3779b97f4a7c15ull | 1;
	for (int i = 0; i < 8; i++)
		next_random(&explorer);
	if (!prepare(&explorer))
		abort();
	run_workload(&explorer);
	counts->seeds++;
	release(&explorer);
	return !explorer.failed;
}
