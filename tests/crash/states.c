/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * states.c - crash states: what a crash may leave of the machine is made on a second one, opened there, and judged.
 * That one may be cut again while it recovers, onto a third.
 */
#include "crash.h"

#include "clean.h"
#include "crc32c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEEN_SLOTS (1u << 15)
#define FILL_PERCENT 15u /* of the states: reads in them are kept, and may be cut, too */

/* ---- what survives ---- */

struct prng state_prng(const struct explorer *explorer, unsigned state)
{
	return prng_of(explorer->seed, explorer->point, state);
}

static bool keep_some(void *arg, size_t i, const struct sim_piece *piece)
{
	struct keep_random *keep = arg;
	struct prng prng = { .state = keep->state };

	(void)i;
	(void)piece;
	keep->state += 0x9e3779b97f4a7c15ull;
	return prng_happens(&prng, keep->percent);
}

/* Only the units that the minimiser left. */
static struct sim_choice choose_masked(const struct sim_unit *unit, void *arg)
{
	struct choice_store *store = arg;
	struct sim_choice choice = store->unmasked(unit, store->unmasked_arg);

	if ((store->lines >> unit->number % 64 & 1) == 0)
		return sim_choose_none(unit, NULL);
	return choice;
}

static void choose_units(struct prng *prng, unsigned state, size_t pending, struct choice_store *store)
{
	if (state == 0) {
		store->choice.choose = sim_choose_none;
	} else if (state == 1) {
		store->choice.choose = sim_choose_all;
	} else if (pending <= 5 && state % 4 == 2) {
		store->choice.choose = sim_choose_subset;
		store->choice.choose_arg = &store->subset;
	} else if (state % 4 == 3) {
		store->choice.choose = prng_happens(prng, 50) ? sim_choose_only : sim_choose_all_but;
		store->choice.choose_arg = &store->unit;
	} else {
		store->choice.choose = sim_choose_random;
		store->choice.choose_arg = &store->random;
	}
}

/* State 0: nothing that is pending survives; 1: all of it; then single units and random subsets, torn. */
void choose_crash(struct prng *prng, unsigned state, struct world *world, struct choice_store *store)
{
	static const uint8_t densities[] = { 5, 20, 50, 80, 95 };
	static const uint8_t torn[] = { 0, 0, 40, 90 };
	size_t pending = sim_media_pending(world->media);

	*store = (struct choice_store){ 0 };
	store->keep = (struct keep_random){
		.state = prng_next(prng),
		.percent = state == 0 ? 0 : (state == 1 ? 100 : (unsigned)prng_below(prng, 101)),
	};
	store->unit = pending == 0 ? 0 : prng_below(prng, pending);
	store->subset = prng_next(prng);
	store->random = (struct sim_random){
		.state = prng_next(prng),
		.meta_percent = densities[prng_below(prng, 5)],
		.data_percent = densities[prng_below(prng, 5)],
		.older_percent = 25,
		.torn_percent = torn[prng_below(prng, 4)],
	};
	store->choice = (struct crash_choice){ .keep = keep_some, .keep_arg = &store->keep };
	choose_units(prng, state, pending, store);
}

static void mask_lines(const struct explorer *explorer, struct choice_store *store)
{
	if (explorer->options->keep_lines == 0)
		return;
	store->lines = explorer->options->keep_lines;
	store->unmasked = store->choice.choose;
	store->unmasked_arg = store->choice.choose_arg;
	store->choice.choose = choose_masked;
	store->choice.choose_arg = store;
}

/* ---- counting ---- */

int count_state(struct explorer *explorer, uint64_t hash, enum crash_mode mode)
{
	uint64_t key = hash | 1;
	struct seen *slot = &explorer->seen[(hash >> 20) % SEEN_SLOTS];

	explorer->counts->states++;
	for (unsigned i = 0; i < 16 && slot->hash != 0 && slot->hash != key; i++)
		slot = &explorer->seen[((hash >> 20) + i + 1) % SEEN_SLOTS];
	if (slot->hash == key) {
		bool known = slot->promises == explorer->volume.promises;

		slot->promises = explorer->volume.promises;
		return known ? 0 : 1;
	}
	if (slot->hash == 0)
		*slot = (struct seen){ .hash = key, .promises = explorer->volume.promises };
	explorer->counts->unique++;
	explorer->counts->modes[mode]++;
	return 2;
}

/* ---- judging ---- */

struct volume_question question_of(const struct explorer *explorer)
{
	return (struct volume_question){
		.rule = explorer->rule,
		.low = explorer->volume.promised,
		.high = UINT64_MAX,
		.since = UINT64_MAX,
	};
}

bool judge(struct explorer *explorer, const char *where, const uint8_t *image, const struct volume_question *question)
{
	struct verdict verdict = volume_judge(&explorer->volume, image, question);
	char what[256];

	if (verdict.good)
		return true;
	snprintf(what, sizeof(what),
		 "%s; cell %u holds write %u; expected positions %" PRIx64 " to %" PRIx64 ", left %" PRIx64
		 " to %" PRIx64,
		 verdict.why, verdict.cell, verdict.number, question->low, question->high, verdict.low, verdict.high);
	fail(explorer, where, what);
	return false;
}

void check_nothing_wrong(struct explorer *explorer, const char *where, const char *wrong)
{
	if (wrong != NULL)
		fail(explorer, where, wrong);
}

bool open_and_judge(struct explorer *explorer, struct world *world, uint8_t *buf, const char *where)
{
	struct volume_question question = question_of(explorer);
	int ret = world_open(world);

	/* A create that was cut off in its last store leaves a file that is refused: nobody was told of it. */
	if (ret == -EUCLEAN && explorer->phase == MODE_CREATE)
		return false;
	if (ret == 0 && !world->readonly)
		check_nothing_wrong(explorer, where, clean_account(world, true));
	if (ret == -EROFS && world->readonly && explorer->phase == MODE_CHANGE)
		return false;
	if (ret == 0)
		check_nothing_wrong(explorer, where, check_setting(explorer, world));
	if (ret == 0)
		ret = world_read(world, buf);
	if (ret < 0) {
		fail_errno(explorer, where, ret);
		return false;
	}
	if (explorer->discarding && memcmp(buf, sim_backing_durable(world->backing), explorer->geometry.volume_bytes) == 0)
		return true; /* (CH3) */
	return judge(explorer, where, buf, &question);
}

/* ---- what is done with a state that was opened ---- */

static void check_accounts(struct explorer *explorer, const struct world *world, const char *where)
{
	check_nothing_wrong(explorer, where, world_account(world));
	check_nothing_wrong(explorer, where, clean_account(world, true));
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

/* Opened once more, in order or after a kill: the same content. */
static void check_again(struct explorer *explorer, struct world *world, bool by_kill)
{
	int ret = 0;

	if (by_kill)
		world_kill_here(world);
	else
		ret = world_close(world, false);
	if (ret == 0)
		ret = world_open(world);
	if (ret == 0)
		ret = world_read(world, explorer->nested_buf);
	if (ret < 0)
		fail_errno(explorer, "opened again after a crash", ret);
	else if (memcmp(explorer->nested_buf, explorer->read_buf, world->geometry.volume_bytes) != 0)
		fail(explorer, "opened again after a crash", "other content than before");
}

/* The cache takes writes after the crash, as many as the volume holds, drains them, and has them when opened again. */
static void check_usable(struct explorer *explorer, struct world *world)
{
	uint64_t bytes = world->geometry.volume_bytes;
	ssize_t ret;

	explorer->depth = 2; /* no write that the volume knows of: nothing to judge in here */
	memset(explorer->read_buf, 0x5a, bytes);
	ret = pc_io_write(world->cache, explorer->read_buf, bytes, 0, 0);
	if (ret == (ssize_t)bytes)
		ret = pc_io_flush(world->cache);
	if (ret < 0)
		fail_errno(explorer, "write after a crash", (int)ret);
	else
		check_drained(explorer, world, explorer->read_buf);
	if (!explorer->failed)
		check_accounts(explorer, world, "accounts after a full volume");
	if (!explorer->failed)
		check_again(explorer, world, false);
}

static void check_further(struct explorer *explorer, struct prng *prng)
{
	struct world *world = explorer->check;

	explorer->has_shown = true; /* from here on a crash must show what was read */
	if (prng_happens(prng, 25))
		check_accounts(explorer, world, "accounts after a crash");
	if (!explorer->failed && prng_happens(prng, 15))
		check_drained(explorer, world, explorer->read_buf);
	if (!explorer->failed && prng_happens(prng, 10))
		check_again(explorer, world, prng_happens(prng, 50));
	if (!explorer->failed && prng_happens(prng, 1))
		check_usable(explorer, world);
}

/* ---- the kinds ---- */

/* Hooks of `check` may cut it again from here on. */
static void begin_check(struct explorer *explorer, enum crash_mode mode, enum crash_mode cut_mode, unsigned cut_percent)
{
	explorer->mode = mode;
	explorer->cut_mode = cut_mode;
	explorer->cut_percent = is_wanted(explorer, cut_mode) ? cut_percent : 0;
	explorer->cut_prng = prng_of(explorer->seed ^ 0xc7, explorer->point, explorer->state);
	explorer->has_shown = false;
	explorer->check->keeps_no_reads = !prng_happens(&explorer->cut_prng, FILL_PERCENT);
	explorer->nested->keeps_no_reads = explorer->check->keeps_no_reads;
	explorer->depth = 1;
}

static void end_check(struct explorer *explorer)
{
	if (explorer->check->cache != NULL)
		world_drop(explorer->check);
	explorer->depth = 0;
}

/* Cut `check`, and recover what is left on `nested`. */
void cut_check(struct explorer *explorer)
{
	static const char *const after[] = { "after a power cut", "after what was read, and a power cut" };
	enum crash_mode outer = explorer->mode;
	unsigned state = (unsigned)prng_below(&explorer->cut_prng, 8);
	struct world *world = explorer->nested;
	struct choice_store store;
	uint64_t hash;

	choose_crash(&explorer->cut_prng, state, explorer->check, &store);
	hash = world_power_cut(explorer->check, &store.choice, world);
	if (explorer->decaying != 0 && prng_happens(&explorer->cut_prng, 50)) {
		check_decay(explorer, &explorer->cut_prng, hash);
		explorer->depth = 1;
		explorer->mode = outer;
		return;
	}
	if (count_state(explorer, hash, explorer->cut_mode) == 0 && !explorer->has_shown)
		return;
	explorer->mode = explorer->cut_mode;
	explorer->depth = 2;
	if (open_and_judge(explorer, world, explorer->nested_buf, after[explorer->has_shown]) && explorer->has_shown &&
	    memcmp(explorer->nested_buf, explorer->read_buf, explorer->geometry.volume_bytes) != 0)
		fail(explorer, after[1], "what was read before is gone");
	if (world->cache != NULL)
		world_drop(world);
	explorer->depth = 1;
	explorer->mode = outer;
}

/*
 * What was read must stay. But what was written past the cache and not synced was in the system's memory: seen, and not
 * safe, until recovery has synced it.
 */
static void note_shown(struct explorer *explorer)
{
	explorer->has_shown = !volume_is_loose(&explorer->volume) || sim_backing_all_synced(explorer->check->backing);
}

/* Opened read-only, judged, then cut or opened once more for writing: the same content. */
static void check_readonly(struct explorer *explorer, const char *where)
{
	struct world *world = explorer->check;

	world->readonly = true;
	if (open_and_judge(explorer, world, explorer->read_buf, where)) {
		note_shown(explorer);
		if (explorer->cut_percent != 0)
			cut_check(explorer);
		world->readonly = false;
		if (!explorer->failed)
			check_again(explorer, world, true);
	}
	world->readonly = false;
}

/* What a fault may do is not told while the records of the whole cache change. */
static bool has_faults(const struct explorer *explorer)
{
	return explorer->phase != MODE_CREATE && explorer->phase != MODE_CHANGE;
}

static void check_power(struct explorer *explorer, unsigned state)
{
	bool nested_only = explorer->options->modes == 1u << MODE_NESTED;
	unsigned cut_percent = 15;
	struct prng prng = state_prng(explorer, state);
	struct choice_store store;
	uint64_t hash;

	enter_state(explorer, state);
	choose_crash(&prng, state, explorer->live, &store);
	mask_lines(explorer, &store);
	hash = world_power_cut(explorer->live, &store.choice, explorer->check);
	if (count_state(explorer, hash, explorer->phase) == 0)
		return;
	explorer->decaying = 0;
	if (has_faults(explorer) && is_wanted(explorer, MODE_MEDIA_FAULT) && prng_happens(&prng, 25))
		choose_decay(explorer, &prng);
	if (nested_only)
		cut_percent = 60;
	else if (explorer->decaying != 0)
		cut_percent = 40;
	begin_check(explorer, explorer->phase, MODE_NESTED, cut_percent);
	if (explorer->phase != MODE_CREATE && prng_happens(&prng, 6))
		check_readonly(explorer, "read-only after a power cut");
	else if (open_and_judge(explorer, explorer->check, explorer->read_buf, "after a power cut"))
		check_further(explorer, &prng);
	end_check(explorer);
}

/* Killed, opened and read; then cut, at once, or while it is drained. */
static void check_kill(struct explorer *explorer)
{
	struct prng prng = state_prng(explorer, STATE_KILL);
	struct choice_store store;
	uint64_t hash;

	enter_state(explorer, STATE_KILL);
	choose_crash(&prng, 4, explorer->live, &store);
	hash = world_kill(explorer->live, &store.choice, explorer->check);
	if (count_state(explorer, prng_mix(hash + MODE_KILL), MODE_KILL) == 0)
		return;
	explorer->decaying = 0;
	begin_check(explorer, MODE_KILL, MODE_KILL_POWER, 35);
	if (prng_happens(&prng, 10)) {
		check_readonly(explorer, "read-only after a kill");
	} else if (open_and_judge(explorer, explorer->check, explorer->read_buf, "after a kill")) {
		note_shown(explorer);
		for (unsigned i = 0; i < 2 && !explorer->failed && is_wanted(explorer, MODE_KILL_POWER); i++)
			cut_check(explorer);
		explorer->cut_percent *= 2;
		if (!explorer->failed && prng_happens(&prng, 50) && explorer->has_shown)
			check_drained(explorer, explorer->check, explorer->read_buf);
		if (!explorer->failed && prng_happens(&prng, 20))
			check_accounts(explorer, explorer->check, "accounts after a kill");
	}
	end_check(explorer);
}

/* Between two batches the backing alone is a consistent, older image. */
static void check_lost(struct explorer *explorer)
{
	struct world *live = explorer->live;
	const struct volume_question question = {
		.rule = VOLUME_PREFIX,
		.low = world_pos(explorer->tail) - 1,
		.high = UINT64_MAX,
	};
	const uint8_t *image = sim_backing_durable(live->backing);
	uint64_t hash;

	if (explorer->phase == MODE_CREATE || explorer->mode_kind == MODES_AROUND || pc_pos_cmp(explorer->batch_end, explorer->tail) > 0 ||
	    sim_backing_pending(live->backing) != 0)
		return;
	hash = pc_crc32c(0, image, explorer->geometry.volume_bytes);
	if (count_state(explorer, prng_mix(hash + MODE_MEDIA_LOST), MODE_MEDIA_LOST) != 0) {
		explorer->mode = MODE_MEDIA_LOST;
		judge(explorer, "the backing alone", image, &question);
	}
}

static bool is_to_run(const struct explorer *explorer, unsigned state)
{
	return !explorer->failed && is_replayed(explorer, state);
}

void states_at_point(struct explorer *explorer)
{
	struct prng dice = prng_of(explorer->seed ^ 0xd1ce, explorer->point, 0);
	unsigned others = explorer->options->modes == 0 ? 33 : 100;
	bool has_cache = explorer->phase != MODE_CREATE;

	if (is_wanted(explorer, explorer->phase) || is_wanted(explorer, MODE_NESTED))
		for (unsigned state = 0; state < explorer->options->states_per_point; state++)
			if (is_to_run(explorer, state))
				check_power(explorer, state);
	if (has_cache && (is_wanted(explorer, MODE_KILL) || is_wanted(explorer, MODE_KILL_POWER)) &&
	    prng_happens(&dice, others) && is_to_run(explorer, STATE_KILL))
		check_kill(explorer);
	for (unsigned i = 0; i < 2 && has_faults(explorer) && is_wanted(explorer, MODE_MEDIA_FAULT); i++)
		if (prng_happens(&dice, 2 * others) && is_to_run(explorer, STATE_FAULT + i))
			check_fault(explorer, STATE_FAULT + i);
	if (is_wanted(explorer, MODE_MEDIA_LOST) && !explorer->failed)
		check_lost(explorer);
	explorer->mode = explorer->phase;
}

/* ---- a crash after which the workload goes on ---- */

/* Now: the crash, and recovery on `spare`. The operation that runs ends on the old machine. */
void take_over(struct explorer *explorer)
{
	struct prng prng = state_prng(explorer, STATE_TAKE_OVER);
	struct choice_store store;

	enter_state(explorer, STATE_TAKE_OVER);
	choose_crash(&prng, 2 + (unsigned)prng_below(&prng, 6), explorer->live, &store);
	if (explorer->take_over_by_kill)
		world_kill(explorer->live, &store.choice, explorer->spare);
	else
		world_power_cut(explorer->live, &store.choice, explorer->spare);
	explorer->depth = 2;
	explorer->mode = explorer->take_over_by_kill ? MODE_KILL : MODE_POWER;
	open_and_judge(explorer, explorer->spare, explorer->nested_buf, "after a crash in the middle");
	if (!explorer->failed)
		check_accounts(explorer, explorer->spare, "accounts after a crash in the middle");
	explorer->depth = 0;
}

/* What the crash took is forgotten, also what was acknowledged after it, on the old machine. */
static void forget_lost(struct explorer *explorer)
{
	struct volume *volume = &explorer->volume;
	uint64_t oldest = explorer->spare->cache->oldest_seq << 32;

	volume->newest = 0;
	for (uint32_t number = 1; number <= volume->issued; number++) {
		uint64_t pos = volume->writes[number].pos;

		/* Past the cache: what is loose came after the crash, which waits for a moment when nothing is. */
		if (volume->writes[number].is_loose)
			volume_forget(volume, number);
		else if (volume->writes[number].is_around)
			volume->newest = pc_max64(volume->newest, pos);
		else if (pos >= oldest && !world_has_kset(explorer->spare, pos))
			volume_forget(volume, number);
		else if (pos > volume->newest)
			volume->newest = pos;
	}
	volume->promised = 0;
	volume_require_all(volume);
	volume->promises++;
}

/* The setting and the number of segments, as the crash left them. */
void take_geometry(struct explorer *explorer)
{
	const struct pcache *cache = explorer->live->cache;

	explorer->gc_percent = pc_tunable(cache, PCACHE_TUNABLE_GC_PERCENT);
	explorer->gc_percent_next = explorer->gc_percent;
	explorer->write_mode = pc_cache_mode(cache);
	explorer->write_mode_next = explorer->write_mode;
	explorer->geometry.segments = cache->segments->count;
	for (unsigned i = 0; i < PC_ARRAY_SIZE(explorer->worlds); i++)
		explorer->worlds[i].geometry.segments = cache->segments->count;
}

void finish_take_over(struct explorer *explorer)
{
	struct world *old = explorer->live;

	if (explorer->spare->cache == NULL)
		return;
	if (explorer->failed) {
		world_drop(explorer->spare);
		return;
	}
	forget_lost(explorer);
	set_hooks(explorer, old, false);
	if (old->cache != NULL)
		world_kill_here(old);
	explorer->live = explorer->spare;
	explorer->spare = old;
	explorer->tail = explorer->live->cache->dirty_tail;
	explorer->batch_end = explorer->live->cache->batch_end;
	explorer->backing_faulty = false;
	explorer->flushed = 0;
	take_geometry(explorer);
	set_hooks(explorer, explorer->live, true);
}
