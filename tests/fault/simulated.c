/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * simulated.c - a workload on the simulated media and backing, with each allocation, media primitive and backing
 * operation failing in its turn, once or for ever after, also during recovery.
 *
 * The workload: create, write until segments rotate and are reclaimed, flush, drain, with zeroes, discards, atomic writes,
 * prefetches, invalidates and queries in between; write around the cache; the process is killed; recover, read all,
 * write around, drain; the power is cut in the middle of a write, which is torn; recover, the second time in
 * write-through; read, drain, close; open, and in that drop what is cached, and grow; read, write, set, close. After
 * the fault is gone the power is cut, and the cache opened on healthy parts:
 *
 * (L1) Each call returns a negative errno that fits the fault, or succeeds. It never hangs: there are no threads, and
 *      what it does is bounded.
 * (L2) Reads never show less than what was acknowledged; after the power cut not less than what was durable.
 * (L3) The healthy cache opens, drains, and the backing then holds what reads showed.
 * (L4) When everything is closed, nothing is allocated.
 * (L5) An open that failed for want of memory has stored nothing.
 * (L6) A write that failed for want of memory is never seen, also not after a crash; but a write-through that was stored,
 *      and did not get to the backing.
 * (L7) Query tells of each byte once; what it calls clean the backing has, synced.
 * (L8) A write-through that was acknowledged is on the backing, synced.
 */
#include "model.h"
#include "point.h"
#include "sweep.h"

#include "cache.h"
#include "sim/sim_backing.h"
#include "sim/sim_media.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_BYTES   PCM_SEGMENT_TEST_MIN
#define CACHE_BYTES     (PCM_HEADER_BYTES + PCM_SEGMENTS_MIN * SEGMENT_BYTES) /* as created */
#define MEDIA_BYTES     (CACHE_BYTES + 2 * SEGMENT_BYTES)                      /* it may grow */

enum fault_kind {
	FAULT_MEMORY,
	FAULT_MEDIA,
	FAULT_BACKING, /* with the fault of the backing in `fault` */
};

struct setting {
	enum pcache_granularity granularity;
	enum fault_kind kind;
	enum sim_backing_fault fault;
	unsigned primitives; /* of the media */
	int error;
};

struct flow {
	struct sweep *sweep;
	const struct setting *setting;
	struct sim_media *media;
	struct sim_backing *backing;
	struct pcache *cache;
	struct model model;
	uint64_t random;
	uint8_t buf[MODEL_BYTES];
	bool created;
	bool changes; /* the next open drops what is clean, and grows */
	bool media_failed;
	bool went_around; /* what a failed sync took is not written again */
};

static uint64_t below(struct flow *flow, uint64_t limit)
{
	flow->random = flow->random * 6364136223846793005ull + 1442695040888963407ull;
	return (flow->random >> 33) % limit;
}

/* ---- faults ---- */

static void arm(struct flow *flow, uint64_t nth)
{
	const struct setting *setting = flow->setting;
	bool sticky = flow->sweep->sticky;

	if (setting->kind == FAULT_MEMORY)
		point_arm(nth, sticky);
	else if (setting->kind == FAULT_MEDIA)
		sim_media_fail(flow->media, setting->primitives, nth, setting->error, sticky);
	else
		sim_backing_inject(flow->backing, setting->fault, nth, setting->error, sticky);
}

static bool was_reached(struct flow *flow)
{
	switch (flow->setting->kind) {
	case FAULT_MEMORY:
		return point_has_failed();
	case FAULT_MEDIA:
		return sim_media_has_failed(flow->media);
	default:
		return sim_backing_counts(flow->backing).faults > 0;
	}
}

/* (L1) What a caller may see. A record that cannot be read counts as damaged. */
static bool fits(const struct flow *flow, int64_t ret)
{
	const struct setting *setting = flow->setting;

	if (flow->cache != NULL && pc_cache_mode(flow->cache) == PCACHE_MODE_WRITETHROUGH && ret == -EIO)
		return true; /* whatever it was that kept the write from the backing */
	switch (setting->kind) {
	case FAULT_MEMORY:
		return ret == -ENOMEM;
	case FAULT_MEDIA:
		return ret == setting->error || ret == -EIO || ret == -EUCLEAN;
	default:
		return ret == setting->error || ret == -EIO;
	}
}

static bool succeeded(struct flow *flow, const char *what, int64_t ret)
{
	if (ret >= 0)
		return true;
	if (!was_reached(flow))
		sweep_fail(flow->sweep, "an error before the fault", ret);
	else if (!fits(flow, ret))
		sweep_fail(flow->sweep, what, ret);
	if (flow->went_around)
		model_loosen(&flow->model);
	flow->media_failed |= flow->cache != NULL && pc_cache_is_failed(flow->cache);
	return false;
}

/* ---- steps ---- */

static int open_cache(struct flow *flow)
{
	const struct pc_config config = {
		.create = true,
		.segment_bytes = SEGMENT_BYTES,
		.tunables[PCACHE_TUNABLE_GC_PERCENT] = 60,
		.tunables[PCACHE_TUNABLE_BATCH_BYTES] = 9000,
		.tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_FIRST,
		.queue_depth = 4,
		.replay_threads = 1,
		.cache_size_bytes = flow->changes ? MEDIA_BYTES : CACHE_BYTES,
		.drop_clean = flow->changes,
		.grow = flow->changes,
	};

	return pc_cache_open(&config, sim_media_open(flow->media, false), sim_backing_base(flow->backing), true,
			     &flow->cache);
}

/* (L5) */
static bool open_and_compare(struct flow *flow)
{
	static uint8_t before[MEDIA_BYTES];
	int ret;

	memcpy(before, sim_media_view(flow->media), MEDIA_BYTES);
	ret = open_cache(flow);
	/* A change is stored before memory is taken for what follows it. */
	if (ret < 0 && flow->setting->kind == FAULT_MEMORY && flow->created && !flow->changes &&
	    memcmp(before, sim_media_view(flow->media), MEDIA_BYTES) != 0)
		sweep_fail(flow->sweep, "L5: a failed open has changed the media", ret);
	return succeeded(flow, "open", ret);
}

/* ---- what changes bytes ---- */

struct change {
	uint32_t numbers[2]; /* of the model */
	uint32_t sectors;    /* of each */
	unsigned count;
	unsigned flags;
	bool is_logged; /* in every mode */
};

/* A call that changes bytes has returned: how many sectors of each number are done, or negative errno. */
static void end_change(struct flow *flow, const struct change *change, const char *what, int64_t ret)
{
	enum pcache_mode mode = pc_cache_mode(flow->cache);
	bool is_durable = flow->setting->granularity != PCACHE_GRANULARITY_PAGE &&
			  (change->is_logged || mode != PCACHE_MODE_WRITEAROUND);
	bool is_refused = flow->setting->kind == FAULT_MEMORY && (ret >= 0 || mode != PCACHE_MODE_WRITETHROUGH);
	uint32_t done = ret < 0 ? 0 : (uint32_t)ret;
	bool is_good = succeeded(flow, what, ret);

	for (unsigned i = 0; i < change->count; i++) {
		if (is_refused) /* (L6) */
			model_refuse(&flow->model, change->numbers[i], done);
		if (is_good)
			model_acknowledge(&flow->model, change->numbers[i], done, is_durable);
	}
	/* Both cover what came before, too. */
	if (is_good && ((change->flags & PCACHE_WRITE_FUA) != 0 || mode == PCACHE_MODE_WRITETHROUGH))
		model_flushed(&flow->model);
}

static void write_bytes(struct flow *flow, unsigned flags)
{
	uint32_t sectors = 1 + (uint32_t)below(flow, below(flow, 4) == 0 ? 24 : 6);
	uint32_t first = (uint32_t)below(flow, MODEL_SECTORS - 1 - sectors);
	struct change change = { .count = 1, .flags = flags };
	ssize_t ret;

	if (pc_cache_mode(flow->cache) == PCACHE_MODE_WRITEAROUND && sectors == 1)
		sectors++; /* of one sector, a short write to the backing leaves a part of it */
	change.sectors = sectors;
	change.numbers[0] = model_begin(&flow->model, first, sectors, flow->buf);
	ret = pc_io_write(flow->cache, flow->buf, sectors * MODEL_SECTOR, first * MODEL_SECTOR, flags);
	end_change(flow, &change, "write", ret < 0 ? ret : ret / (ssize_t)MODEL_SECTOR);
	if (pc_cache_mode(flow->cache) == PCACHE_MODE_WRITETHROUGH && ret > 0 &&
	    memcmp(flow->buf, sim_backing_durable(flow->backing) + first * MODEL_SECTOR, (size_t)ret) != 0)
		sweep_fail(flow->sweep, "L8: written through, and not on the backing, from sector", first);
}

/* Discards of whole blocks, and long zeroes, go to the backing as ranges. */
static void write_zeroes(struct flow *flow, unsigned flags, bool discard)
{
	uint32_t sectors = discard ? 8 + (uint32_t)below(flow, 16) : 128 + (uint32_t)below(flow, 16);
	uint32_t first = (uint32_t)below(flow, (MODEL_SECTORS - sectors) / 8) * 8;
	struct change change = { .sectors = sectors, .count = 1, .flags = flags, .is_logged = true };
	int ret;

	if (!discard && below(flow, 2) == 0)
		sectors = change.sectors = 1 + sectors % 12;
	change.numbers[0] = model_begin_zeroes(&flow->model, first, sectors);
	ret = discard ? pcache_discard(flow->cache, first * MODEL_SECTOR, sectors * MODEL_SECTOR, flags) :
			pcache_write_zeroes(flow->cache, first * MODEL_SECTOR, sectors * MODEL_SECTOR, flags);
	end_change(flow, &change, discard ? "discard" : "zeroes", ret < 0 ? ret : (int64_t)sectors);
}

static void write_atomic(struct flow *flow, unsigned flags)
{
	const uint32_t half = MODEL_SECTORS / 2;
	struct change change = { .sectors = 1 + (uint32_t)below(flow, 3), .count = 2, .flags = flags, .is_logged = true };
	struct pcache_extent extents[2];
	int ret;

	for (uint32_t i = 0; i < 2; i++) {
		uint32_t first = i * half + (uint32_t)below(flow, half - change.sectors);
		uint8_t *buf = flow->buf + i * change.sectors * MODEL_SECTOR;

		change.numbers[i] = model_begin(&flow->model, first, change.sectors, buf);
		extents[i] = (struct pcache_extent){ buf, change.sectors * MODEL_SECTOR, first * MODEL_SECTOR };
	}
	ret = pcache_write_atomic(flow->cache, extents, 2, flags);
	end_change(flow, &change, "atomic write", ret < 0 ? ret : (int64_t)change.sectors);
}

static void write_one(struct flow *flow)
{
	unsigned flags = below(flow, 8) == 0 ? PCACHE_WRITE_FUA : 0;
	uint64_t dice = below(flow, 12);

	if (dice < 2)
		write_zeroes(flow, flags, dice == 0);
	else if (dice < 4)
		write_atomic(flow, flags);
	else
		write_bytes(flow, flags);
}

static void flush(struct flow *flow)
{
	if (succeeded(flow, "flush", pc_io_flush(flow->cache)))
		model_flushed(&flow->model);
}

/*
 * (L7) After a read of all into the buffer. What a failed sync took past the cache the backing only seems to have; and when
 * the media failed in a write that then nobody could void, the backing may get it, and reads not.
 */
static void query_all(struct flow *flow)
{
	struct pcache_range ranges[64];
	ssize_t count = pcache_query(flow->cache, 0, MODEL_BYTES, ranges, PC_ARRAY_SIZE(ranges));
	bool is_judged = flow->model.loose == 0 && !flow->media_failed;
	uint64_t end = 0;

	for (ssize_t i = 0; i < count; i++) {
		bool is_clean = (ranges[i].state & PCACHE_RANGE_CLEAN) != 0 && (ranges[i].state & PCACHE_RANGE_LOST) == 0;

		if (ranges[i].off != end || ranges[i].len == 0)
			sweep_fail(flow->sweep, "L7: query has a gap before offset", (int64_t)ranges[i].off);
		end = ranges[i].off + ranges[i].len;
		if (is_clean && is_judged &&
		    memcmp(flow->buf + ranges[i].off, sim_backing_durable(flow->backing) + ranges[i].off, ranges[i].len) != 0)
			sweep_fail(flow->sweep, "L7: clean, and not on the backing, at offset", (int64_t)ranges[i].off);
	}
	if (count < 0 || (end != MODEL_BYTES && count < (ssize_t)PC_ARRAY_SIZE(ranges)))
		sweep_fail(flow->sweep, "L7: query ends at", count < 0 ? count : (int64_t)end);
}

/* (L2) A sector that cannot be read is an error, and says nothing about the others. */
static bool read_all(struct flow *flow, bool after_power_cut)
{
	bool good = true;

	for (uint32_t off = 0; off < MODEL_BYTES; off += 4096) {
		ssize_t ret = pc_io_read(flow->cache, flow->buf + off, 4096, off, 0);

		if (!succeeded(flow, "read", ret))
			good = false;
	}
	if (good) {
		uint32_t sector = model_check(&flow->model, flow->buf, after_power_cut);

		if (sector < MODEL_SECTORS)
			sweep_fail(flow->sweep, after_power_cut ? "L2: durable, and gone, in sector" :
								  "L2: acknowledged, and not read, in sector", sector);
		query_all(flow);
	}
	return good;
}

static void drain(struct flow *flow)
{
	if (succeeded(flow, "drain", pc_writeback_drain(flow->cache, NULL, NULL)))
		model_flushed(&flow->model);
}

static void prefetch_or_invalidate(struct flow *flow, bool prefetch)
{
	uint64_t off = below(flow, MODEL_BYTES / 2);
	uint64_t len = 1 + below(flow, MODEL_BYTES / 2);
	int64_t ret = prefetch ? pcache_prefetch(flow->cache, off, len, 0) : pcache_invalidate(flow->cache, off, len, 0);

	if (succeeded(flow, prefetch ? "prefetch" : "invalidate", ret) && (uint64_t)ret > len)
		sweep_fail(flow->sweep, "more than it was asked for", ret);
}

static void set_mode(struct flow *flow, enum pcache_mode mode)
{
	(void)succeeded(flow, "mode", pcache_set(flow->cache, PCACHE_TUNABLE_MODE, mode));
	flow->went_around |= pc_cache_mode(flow->cache) == PCACHE_MODE_WRITEAROUND;
}

static void work(struct flow *flow, unsigned writes)
{
	for (unsigned i = 0; i < writes; i++) {
		write_one(flow);
		if (i % 8 == 4)
			flush(flow);
		if (i % 16 == 9)
			succeeded(flow, "write-back", pc_writeback_step(flow->cache));
		if (i % 16 == 13)
			succeeded(flow, "reclaim", pc_reclaim_step(flow->cache));
		if (i % 16 == 3 || i % 16 == 11)
			prefetch_or_invalidate(flow, i % 16 == 3);
	}
	read_all(flow, false);
	drain(flow);
}

/* The process goes, the machine stays. */
static void kill_process(struct flow *flow)
{
	sim_media_kill(flow->media);
	flow->cache->media = NULL;
	pc_cache_abandon(flow->cache);
	flow->cache = NULL;
	if (flow->went_around && was_reached(flow)) /* of a sync that failed nobody tells any more */
		model_loosen(&flow->model);
}

/* ---- a power cut in the middle ---- */

struct cut {
	struct flow *flow;
	bool done;
	uint8_t media[MEDIA_BYTES];
	uint8_t backing[MODEL_BYTES];
};

/* Key sets are on the media, of their data only parts: all of them are torn writes. */
static struct sim_choice tear(const struct sim_unit *unit, void *random)
{
	if ((unit->off - PCM_HEADER_BYTES) % SEGMENT_BYTES >= SEGMENT_BYTES / 4 * 3)
		return sim_choose_all(unit, NULL);
	return sim_choose_random(unit, random);
}

/* Before the fence of the write. */
static void cut_here(enum sim_primitive primitive, void *arg)
{
	struct cut *cut = arg;
	struct sim_random random = {
		.state = cut->flow->random,
		.data_percent = 40,
		.torn_percent = 50,
	};

	(void)primitive;
	if (cut->done)
		return;
	sim_media_crash_image(cut->flow->media, tear, &random, cut->media);
	sim_backing_crash_image(cut->flow->backing, cut->backing, NULL, NULL);
	cut->done = true;
}

static void crash_in_write(struct flow *flow)
{
	static struct cut cut;
	const struct sim_hooks hooks = { .crash_point = cut_here, .arg = &cut };
	const uint32_t sectors = 6;
	uint32_t first = (uint32_t)below(flow, MODEL_SECTORS - sectors);
	ssize_t ret;

	cut.flow = flow;
	cut.done = false;
	(void)model_begin(&flow->model, first, sectors, flow->buf);
	sim_media_hook(flow->media, &hooks);
	ret = pc_io_write(flow->cache, flow->buf, sectors * MODEL_SECTOR, first * MODEL_SECTOR, 0);
	sim_media_hook(flow->media, NULL);
	succeeded(flow, "write with a power cut in it", ret); /* nobody heard of it */
	cut_here(SIM_DRAIN, &cut);
	kill_process(flow);
	sim_media_reset_to(flow->media, cut.media);
	sim_backing_reset_to(flow->backing, cut.backing);
	model_cut(&flow->model);
}

static void close_cache(struct flow *flow)
{
	int ret = pc_cache_close(flow->cache, false);

	flow->cache = NULL;
	if (succeeded(flow, "close", ret))
		model_flushed(&flow->model);
}

/*
 * Not where a read at open may fail: what cannot be read is kept, and may be torn (design.md, section 8). Nor where the
 * backing fails: its faults do not survive the cut.
 */
static bool cuts_are_judged(const struct setting *setting)
{
	return setting->kind == FAULT_MEMORY || (setting->kind == FAULT_MEDIA && setting->primitives != SIM_READ);
}

/* Emptied and made larger: what was acknowledged is on the backing. */
static void change(struct flow *flow)
{
	bool drained = succeeded(flow, "drain", pc_writeback_drain(flow->cache, NULL, NULL));
	bool opened;

	close_cache(flow);
	flow->changes = drained;
	opened = drained && open_and_compare(flow);
	flow->changes = false;
	if (!opened)
		return;
	if (flow->cache->segments->count != PCM_SEGMENTS_MIN + 2)
		sweep_fail(flow->sweep, "not grown: segments", flow->cache->segments->count);
	read_all(flow, false);
	set_mode(flow, PCACHE_MODE_WRITETHROUGH); /* also where no cut is judged */
	for (unsigned i = 0; i < 4; i++)
		write_one(flow);
	(void)succeeded(flow, "set", pc_identity_set(flow->cache, PCACHE_TUNABLE_GC_PERCENT, 50));
	close_cache(flow);
}

static void run_workload(struct flow *flow)
{
	flow->created = false;
	if (!open_and_compare(flow))
		return;
	flow->created = true;
	work(flow, 40);
	work(flow, 6); /* so that there is something to recover */
	set_mode(flow, PCACHE_MODE_WRITEAROUND);
	for (unsigned i = 0; i < 6; i++)
		write_one(flow);
	kill_process(flow);
	if (!open_and_compare(flow))
		return;
	read_all(flow, false);
	work(flow, 20);
	set_mode(flow, PCACHE_MODE_WRITEBACK);
	for (unsigned i = 0; i < 2 && cuts_are_judged(flow->setting); i++) {
		for (unsigned j = 0; j < 5; j++)
			write_one(flow);
		crash_in_write(flow);
		if (!open_and_compare(flow))
			return;
		if (read_all(flow, true) && !flow->media_failed) /* else see backing_is_good() */
			model_settle(&flow->model, flow->buf);
		set_mode(flow, i == 0 ? PCACHE_MODE_WRITETHROUGH : PCACHE_MODE_WRITEBACK);
	}
	change(flow);
}

/* ---- afterwards ---- */

static void cut_power(struct flow *flow)
{
	static uint8_t media[MEDIA_BYTES];
	static uint8_t backing[MODEL_BYTES];

	memcpy(media, sim_media_durable(flow->media), MEDIA_BYTES);
	sim_media_reset_to(flow->media, media);
	sim_backing_crash_image(flow->backing, backing, NULL, NULL);
	sim_backing_reset_to(flow->backing, backing);
}

/*
 * (L3) Where a sync took what went past the cache, reads may show it once more; where the media failed in a write, the backing
 * may have got it, and clean data under it is older. Then the backing has what it must have.
 */
static bool backing_is_good(const struct flow *flow, const struct model *before)
{
	const uint8_t *bytes = sim_backing_durable(flow->backing);

	if (before->loose == 0 && !flow->media_failed)
		return model_check(&flow->model, bytes, false) == MODEL_SECTORS;
	return model_check(before, bytes, true) == MODEL_SECTORS;
}

static void check_afterwards(struct flow *flow)
{
	static struct model before;
	int ret = open_cache(flow);

	if (ret < 0 && !flow->created)
		return; /* half a cache that nobody was told of */
	if (ret < 0) {
		sweep_fail(flow->sweep, "L3: the healthy cache does not open", ret);
		return;
	}
	if (!read_all(flow, true)) {
		sweep_fail(flow->sweep, "L3: the healthy cache cannot be read", 0);
	} else {
		before = flow->model;
		model_settle(&flow->model, flow->buf);
		ret = pc_writeback_drain(flow->cache, NULL, NULL);
		if (ret < 0)
			sweep_fail(flow->sweep, "L3: the healthy cache does not drain", ret);
		else if (!backing_is_good(flow, &before))
			sweep_fail(flow->sweep, "L3: drained, and not on the backing", 0);
	}
	ret = pc_cache_close(flow->cache, false);
	if (ret < 0)
		sweep_fail(flow->sweep, "L3: the healthy cache does not close", ret);
}

static bool run(struct sweep *sweep, void *arg)
{
	static struct flow flow;
	bool reached;

	flow = (struct flow){ .sweep = sweep, .setting = arg, .random = 17 };
	flow.media = sim_media_new(MEDIA_BYTES, flow.setting->granularity);
	if (flow.media == NULL || sim_backing_new(MODEL_BYTES, MODEL_SECTOR, &flow.backing) != 0)
		abort();
	arm(&flow, sweep->point);
	run_workload(&flow);
	reached = was_reached(&flow);
	arm(&flow, 0);
	sim_backing_heal(flow.backing);
	cut_power(&flow);
	check_afterwards(&flow);
	if (point_live_allocations() != 0) /* (L4) */
		sweep_fail(sweep, "L4: allocated, and never freed", point_live_allocations());
	sim_media_delete(flow.media);
	sim_backing_free(flow.backing);
	return reached;
}

static void sweep_setting(struct sweep *sweep, const char *what, struct setting setting)
{
	static const char *const granularities[] = { "byte", "cache_line", "page" };

	for (unsigned i = 0; i < 3; i++) {
		char name[64];

		setting.granularity = (enum pcache_granularity)i;
		snprintf(name, sizeof(name), "%s@%s", what, granularities[i]);
		/* A signal for each wait, for ever: no process is in that state. */
		if (setting.error == -EINTR)
			sweep_single(sweep, name, run, &setting);
		else
			sweep_all(sweep, name, run, &setting);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum sim_backing_fault fault;
		int error;
	} faults[] = {
		{ "submit_without_room", SIM_SUBMIT_FAILS, -EAGAIN },
		{ "submit_with_an_error", SIM_SUBMIT_FAILS, -EIO },
		{ "reap_interrupted", SIM_REAP_FAILS, -EINTR },
		{ "reap_with_an_error", SIM_REAP_FAILS, -EIO },
		{ "write_with_an_error", SIM_WRITE_FAILS, -EIO },
		{ "write_to_a_full_backing", SIM_WRITE_FAILS, -ENOSPC },
		{ "write_that_is_short", SIM_WRITE_IS_SHORT, -EIO },
		{ "read_of_the_backing", SIM_READ_FAILS, -EIO },
		{ "sync_that_loses_writes", SIM_SYNC_FAILS, -EIO },
		{ "zeroing_with_an_error", SIM_ZERO_FAILS, -EIO },
		{ "zeroing_that_is_not_there", SIM_ZERO_FAILS, -EOPNOTSUPP },
	};
	const char *what = argc == 2 ? argv[1] : "";
	struct sweep sweep = { 0 };

	if (strcmp(what, "memory") == 0) {
		sweep_setting(&sweep, "allocation", (struct setting){ .kind = FAULT_MEMORY });
	} else if (strcmp(what, "media") == 0) {
		sweep_setting(&sweep, "media_store", (struct setting){
			.kind = FAULT_MEDIA, .primitives = SIM_ANY & ~SIM_READ, .error = -EIO });
	} else if (strcmp(what, "media_read") == 0) {
		sweep_setting(&sweep, "media_read", (struct setting){
			.kind = FAULT_MEDIA, .primitives = SIM_READ, .error = -EIO });
	} else if (strcmp(what, "backing") == 0) {
		for (unsigned i = 0; i < PC_ARRAY_SIZE(faults); i++)
			sweep_setting(&sweep, faults[i].name, (struct setting){
				.kind = FAULT_BACKING, .fault = faults[i].fault, .error = faults[i].error });
	} else {
		fprintf(stderr, "usage: fault_simulated memory|media|media_read|backing\n");
		return 2;
	}
	return sweep_end(&sweep);
}
