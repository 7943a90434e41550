/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * change.c - operations that change the cache as a whole: a setting that outlives the close, a drop, and growing. The
 * crash may come in the middle of each.
 *
 * (CH1) A setting is the old one or the new one, and from the return of the call on the new one.
 * (CH2) A drop of a clean cache takes nothing: the backing has it all.
 * (CH3) A drop of a dirty one takes all that is not on the backing, or nothing. Once shown as done, it stays done.
 * (CH4) Growing takes nothing, and what is there afterwards has the old number of segments or the new one.
 */
#include "crash.h"

/* ---- settings ---- */

const char *check_setting(const struct explorer *explorer, const struct world *world)
{
	uint64_t value = pc_tunable(world->cache, PCACHE_TUNABLE_GC_PERCENT);

	if (value != explorer->gc_percent && value != explorer->gc_percent_next)
		return "gc_percent is neither the old nor the new one"; /* (CH1) */
	if (pc_cache_mode(world->cache) != explorer->write_mode && pc_cache_mode(world->cache) != explorer->write_mode_next)
		return "the mode is neither the old nor the new one"; /* (CH1) */
	return NULL;
}

void do_setting(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	int ret;

	explorer->gc_percent_next = 20 + prng_below(&explorer->prng, 70);
	explorer->phase = MODE_CHANGE;
	ret = pc_identity_set(cache, PCACHE_TUNABLE_GC_PERCENT, explorer->gc_percent_next);
	explorer->phase = MODE_POWER;
	if (ret < 0)
		fail_errno(explorer, "setting", ret);
	explorer->gc_percent = explorer->gc_percent_next;
	if (!explorer->failed && explorer->spare->cache == NULL)
		crash_point(explorer);
}

void do_mode(struct explorer *explorer)
{
	static const enum pcache_mode modes[] = { PCACHE_MODE_WRITEBACK, PCACHE_MODE_WRITETHROUGH, PCACHE_MODE_WRITEONLY,
						  PCACHE_MODE_WRITEAROUND, PCACHE_MODE_WRITEAROUND };
	unsigned count = explorer->mode_kind == MODES_AROUND ? 5 : 3;
	int ret;

	if (explorer->mode_kind == MODES_BACK)
		return;
	explorer->write_mode_next = modes[prng_below(&explorer->prng, count)];
	explorer->phase = MODE_CHANGE;
	ret = pc_identity_set(explorer->live->cache, PCACHE_TUNABLE_MODE, explorer->write_mode_next);
	explorer->phase = MODE_POWER;
	if (ret < 0)
		fail_errno(explorer, "mode", ret);
	explorer->write_mode = explorer->write_mode_next;
	if (!explorer->failed && explorer->spare->cache == NULL)
		crash_point(explorer);
}

/* ---- drop and grow ---- */

static bool close_for_change(struct explorer *explorer, bool drain)
{
	int ret;

	explorer->phase = MODE_CLOSE;
	ret = world_close(explorer->live, drain);
	explorer->phase = MODE_POWER;
	if (ret < 0)
		fail_errno(explorer, "close", ret);
	if (explorer->spare->cache != NULL || explorer->failed)
		return false; /* the workload goes on from a crash in the middle of the close */
	volume_require_all(&explorer->volume);
	return true;
}

static bool open_changed(struct explorer *explorer)
{
	struct world *live = explorer->live;
	int ret;

	explorer->phase = MODE_CHANGE;
	ret = world_open(live);
	explorer->phase = MODE_POWER;
	live->drops = false;
	live->discards = false;
	live->grow_to = 0;
	if (ret < 0)
		fail_errno(explorer, "open with a change", ret);
	if (ret < 0 || explorer->spare->cache != NULL)
		return false;
	take_geometry(explorer);
	return true;
}

static void do_drop(struct explorer *explorer)
{
	if (!close_for_change(explorer, true))
		return;
	explorer->live->drops = true;
	if (open_changed(explorer) && pc_index_cached_bytes(explorer->live->cache->index) != 0)
		fail(explorer, "drop", "something is still cached");
}

/* Whatever is not on the backing never was. */
static void forget_discarded(struct explorer *explorer, uint64_t tail)
{
	struct volume *volume = &explorer->volume;

	volume->newest = 0;
	for (uint32_t number = 1; number <= volume->issued; number++) {
		uint64_t pos = volume->writes[number].pos;

		if (pos >= tail)
			volume_forget(volume, number);
		else if (pos > volume->newest)
			volume->newest = pos;
	}
	volume->promised = 0;
	volume_require_all(volume);
	volume->promises++;
}

static void do_discard(struct explorer *explorer)
{
	uint64_t tail;

	if (!close_for_change(explorer, false))
		return;
	/* Half of a batch on the backing is no state of the volume. */
	if (pc_pos_cmp(explorer->batch_end, explorer->tail) > 0 ||
	    sim_backing_pending(explorer->live->backing) != 0) {
		(void)open_changed(explorer);
		return;
	}
	tail = world_pos(explorer->tail);
	explorer->live->discards = true;
	explorer->discarding = true;
	if (open_changed(explorer))
		forget_discarded(explorer, tail);
	explorer->discarding = false;
}

static void do_grow(struct explorer *explorer)
{
	uint32_t segments = explorer->geometry.segments;
	uint32_t room = explorer->geometry.segments_room - segments;

	if (room == 0 || !close_for_change(explorer, prng_happens(&explorer->prng, 30)))
		return;
	explorer->live->grow_to = segments + 1 + (uint32_t)prng_below(&explorer->prng, room);
	segments = explorer->live->grow_to;
	if (open_changed(explorer) && explorer->live->cache->segments->count != segments)
		fail(explorer, "grow", "not as many segments as asked for"); /* (CH4) */
}

void do_change(struct explorer *explorer)
{
	uint64_t dice = prng_below(&explorer->prng, 4);

	if (explorer->backing_faulty) {
		sim_backing_heal(explorer->live->backing);
		explorer->backing_faulty = false;
	}
	if (dice == 0 || explorer->mode_kind == MODES_AROUND)
		do_setting(explorer);
	else if (dice == 1)
		do_drop(explorer);
	else if (dice == 2)
		do_discard(explorer);
	else
		do_grow(explorer);
}
