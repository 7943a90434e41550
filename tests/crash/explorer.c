/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explorer.c - the crash explorer: one seed from begin to end.
 *
 * Goal: whatever a crash leaves, open ends, and the volume reads as after one of the writes between the last one that
 * was promised and the last one issued; the backing alone, after each successful sync, as after some write behind
 * dirty_tail.
 *
 * Method: the library runs on simulated media and backing. At each drain or sync of the media and around each sync of
 * the backing ("crash points") a few images of what could survive are made, opened on a second machine, read and
 * judged. Some are cut again, on a third machine. Now and then the workload goes on from such an image, on a fourth.
 */
#include "crash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_BYTES ((1u << 15) * sizeof(struct seen))

const char *const crash_mode_names[CRASH_MODES] = {
	[MODE_POWER] = "power",
	[MODE_KILL] = "kill",
	[MODE_KILL_POWER] = "kill-power",
	[MODE_NESTED] = "nested",
	[MODE_MEDIA_FAULT] = "media-fault",
	[MODE_MEDIA_LOST] = "media-lost",
	[MODE_CREATE] = "create",
	[MODE_CLOSE] = "close",
	[MODE_DRAIN] = "drain",
	[MODE_CHANGE] = "change",
};

volatile struct explorer_id explorer_now;
struct explorer *explorer_running;

/* ---- failures ---- */

void explorer_print_id(const struct explorer_id *id, char *text, size_t bytes)
{
	int used = snprintf(text, bytes, "%" PRIu64 ":%" PRIu64 ":%u", id->seed, id->point, id->state);

	if (used > 0 && (size_t)used < bytes && (id->operations != 0 || id->geometry != 0 || id->lines != 0))
		snprintf(text + used, bytes - (size_t)used, ":%" PRIx64 ":%u:%" PRIx64, id->operations, id->geometry,
			 id->lines);
}

bool explorer_parse_id(const char *text, struct explorer_id *ret_id)
{
	struct explorer_id id = { 0 };
	int count = sscanf(text, "%" SCNu64 ":%" SCNu64 ":%u:%" SCNx64 ":%u:%" SCNx64, &id.seed, &id.point, &id.state,
			   &id.operations, &id.geometry, &id.lines);

	if (count != 3 && count != 6)
		return false;
	*ret_id = id;
	return true;
}

static struct explorer_id current_id(const struct explorer *explorer)
{
	const struct explorer_options *options = explorer->options;

	return (struct explorer_id){
		.seed = explorer->seed,
		.point = explorer->point,
		.state = explorer->state,
		.operations = options->keep_operations,
		.geometry = options->small_geometry,
		.lines = options->keep_lines,
	};
}

void fail(struct explorer *explorer, const char *where, const char *what)
{
	struct explorer_failure failure = { .id = current_id(explorer), .mode = explorer->mode };
	char id[96];

	if (explorer->failed)
		return;
	explorer->failed = true;
	explorer->counts->failures++;
	snprintf(failure.what, sizeof(failure.what), "%s: %s", where, what);
	explorer_print_id(&failure.id, id, sizeof(id));
	if (!explorer->options->quiet)
		printf("FAILURE %s: %s: %s\n", id, crash_mode_names[failure.mode], failure.what);
	if (explorer->options->ret_failure != NULL)
		*explorer->options->ret_failure = failure;
}

void fail_errno(struct explorer *explorer, const char *where, int error)
{
	char what[64];

	snprintf(what, sizeof(what), "error %d (%s)", error, pcache_strerror(error));
	fail(explorer, where, what);
}

/* ---- crash points ---- */

void enter_state(struct explorer *explorer, unsigned state)
{
	explorer->state = state;
	explorer_now = current_id(explorer);
}

void crash_point(struct explorer *explorer)
{
	if (explorer->failed || explorer->depth != 0)
		return;
	explorer->point++;
	explorer->counts->points++;
	enter_state(explorer, 0);
	if (explorer->take_over_in > 0 && explorer->phase != MODE_CREATE && !explorer->discarding &&
	    explorer->spare->cache == NULL && !volume_is_loose(&explorer->volume) && --explorer->take_over_in == 0)
		take_over(explorer);
	if (!explorer->failed && (explorer->options->only_point == UINT64_MAX ||
				  explorer->options->only_point == explorer->point))
		states_at_point(explorer);
	enter_state(explorer, 0);
}

static void on_live_drain(enum sim_primitive primitive, void *arg)
{
	(void)primitive;
	yield_turn(arg);
	crash_point(arg);
}

static void on_live_drained(enum sim_primitive primitive, void *arg)
{
	(void)primitive;
	yield_turn(arg);
}

static void on_live_store(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg)
{
	struct explorer *explorer = arg;

	if ((primitive == SIM_COPY || primitive == SIM_STORE8) && off >= PCM_HEADER_BYTES &&
	    (off - PCM_HEADER_BYTES) % explorer->geometry.segment_bytes >= PCM_SEGMENT_HEADER)
		yield_turn(explorer);
	rule_store(explorer, off, data, len);
}

static void on_live_read(void *arg)
{
	yield_turn(arg);
}

static void on_live_submit(void *arg)
{
	struct explorer *explorer = arg;

	yield_turn(explorer);
	rule_submit(explorer);
}

static void on_live_sync(void *arg, enum sim_sync_point point, int result)
{
	struct explorer *explorer = arg;

	if (point == SIM_SYNC_AFTER && result == 0)
		rule_synced(explorer);
	if (point == SIM_SYNC_AFTER && result < 0)
		volume_doom(&explorer->volume);
	crash_point(explorer);
	yield_turn(explorer);
}

static void cut_now_and_then(struct explorer *explorer)
{
	if (explorer->depth != 1 || explorer->failed || !prng_happens(&explorer->cut_prng, explorer->cut_percent))
		return;
	if (explorer->fault != NULL)
		cut_fault(explorer);
	else
		cut_check(explorer);
}

static void on_check_drain(enum sim_primitive primitive, void *arg)
{
	(void)primitive;
	cut_now_and_then(arg);
}

static void on_check_sync(void *arg, enum sim_sync_point point, int result)
{
	(void)point;
	(void)result;
	cut_now_and_then(arg);
}

void set_hooks(struct explorer *explorer, struct world *world, bool is_live)
{
	const struct sim_hooks hooks = {
		.crash_point = on_live_drain,
		.store = on_live_store,
		.drained = on_live_drained,
		.read = on_live_read,
		.arg = explorer,
	};

	sim_media_hook(world->media, is_live ? &hooks : NULL);
	sim_backing_set_hook(world->backing, is_live ? on_live_sync : NULL, explorer);
	sim_backing_set_submit_hook(world->backing, is_live ? on_live_submit : NULL);
}

/* ---- one seed ---- */

static void *must_calloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (memory == NULL)
		abort();
	return memory;
}

static void prepare(struct explorer *explorer)
{
	const struct sim_hooks check = { .crash_point = on_check_drain, .arg = explorer };

	choose_geometry(explorer);
	volume_init(&explorer->volume, explorer->geometry.volume_bytes);
	for (unsigned i = 0; i < 4; i++)
		world_init(&explorer->worlds[i], &explorer->geometry);
	explorer->live = &explorer->worlds[0];
	explorer->check = &explorer->worlds[1];
	explorer->nested = &explorer->worlds[2];
	explorer->spare = &explorer->worlds[3];
	explorer->seen = must_calloc(SEEN_BYTES);
	explorer->read_buf = must_calloc(explorer->geometry.volume_bytes);
	explorer->nested_buf = must_calloc(explorer->geometry.volume_bytes);
	explorer->fault_buf = must_calloc(explorer->geometry.volume_bytes);
	explorer->scratch = must_calloc(explorer->geometry.volume_bytes);
	explorer->unknown = must_calloc(explorer->volume.cells);
	explorer->rule = explorer->geometry.granularity == PCACHE_GRANULARITY_PAGE ? VOLUME_SETS : VOLUME_PREFIX;
	if (explorer->mode_kind == MODES_AROUND)
		explorer->rule = VOLUME_CELLS;
	explorer->write_mode = PCACHE_MODE_WRITEBACK;
	explorer->write_mode_next = PCACHE_MODE_WRITEBACK;
	explorer->gc_percent = explorer->geometry.tunables[PCACHE_TUNABLE_GC_PERCENT];
	explorer->gc_percent_next = explorer->gc_percent;
	explorer->tail = (struct pc_pos){ .seq = 1 };
	explorer->batch_end = explorer->tail;
	pthread_mutex_init(&explorer->baton.lock, NULL);
	pthread_cond_init(&explorer->baton.moved, NULL);
	set_hooks(explorer, explorer->live, true);
	sim_media_hook(explorer->check->media, &check);
	sim_backing_set_hook(explorer->check->backing, on_check_sync, explorer);
}

static void release(struct explorer *explorer)
{
	for (unsigned i = 0; i < 4; i++) {
		set_hooks(explorer, &explorer->worlds[i], false);
		world_free(&explorer->worlds[i]);
	}
	volume_free(&explorer->volume);
	pthread_mutex_destroy(&explorer->baton.lock);
	pthread_cond_destroy(&explorer->baton.moved);
	free(explorer->seen);
	free(explorer->read_buf);
	free(explorer->nested_buf);
	free(explorer->fault_buf);
	free(explorer->scratch);
	free(explorer->unknown);
}

bool explorer_run(uint64_t seed, const struct explorer_options *options, struct explorer_counts *counts)
{
	static const enum mode_kind kinds[] = { MODES_BACK, MODES_AROUND, MODES_BACK, MODES_THROUGH, MODES_AROUND };
	struct explorer explorer = {
		.seed = seed, .options = options, .counts = counts, .mode_kind = kinds[seed / 3 % PC_ARRAY_SIZE(kinds)],
	};

	explorer_running = &explorer;

	prepare(&explorer);
	enter_state(&explorer, 0);
	run_workload(&explorer);
	counts->seeds++;
	release(&explorer);
	return !explorer.failed;
}
