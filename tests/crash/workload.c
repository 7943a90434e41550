/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * workload.c - geometry and operations. Each operation has random numbers of its own, so that it stays what it is when
 * others are left out.
 */
#include "crash.h"

#include "clean.h"

#include <string.h>

#define OPERATIONS_MIN 12u
#define TAKE_OVER_PERCENT 8u
#define MODE_PERCENT      10u
#define LARGE_PERCENT     5u
#define STREAM_GEOMETRY UINT64_MAX

/* A cache keeps what its seed says; small reads ahead, as volumes are small. */
static void choose_tunables(struct prng *prng, uint64_t *tunables)
{
	static const uint64_t read_ahead[] = { 0, 8192, 32768, 131072 };

	tunables[PCACHE_TUNABLE_EVICTION] = prng_happens(prng, 25) ? PCACHE_EVICTION_FIFO : PCACHE_EVICTION_S3FIFO;
	tunables[PCACHE_TUNABLE_FILL] = prng_happens(prng, 70) ? PCACHE_FILL_ALWAYS : prng_below(prng, 3);
	tunables[PCACHE_TUNABLE_READ_AHEAD] = read_ahead[prng_below(prng, 4)];
	tunables[PCACHE_TUNABLE_SEQUENTIAL_BYPASS] = prng_happens(prng, 15) ? 16384 : 0;
	tunables[PCACHE_TUNABLE_GC_PERCENT] = prng_happens(prng, 50) ? 70 : 30;
	tunables[PCACHE_TUNABLE_BATCH_BYTES] = 2048u << prng_below(prng, 5);
	tunables[PCACHE_TUNABLE_DIRTY_AGE_MS] = 1000;
	/* In half of the caches whoever waits tries a failed backing a few times more. No draw: seeds stay what they were. */
	tunables[PCACHE_TUNABLE_BACKING_WAIT_MS] = tunables[PCACHE_TUNABLE_GC_PERCENT] == 30 ? 100 : 0;
	tunables[PCACHE_TUNABLE_READ_VERIFY] = prng_happens(prng, 30) ? PCACHE_VERIFY_ALWAYS : PCACHE_VERIFY_FIRST;
}

/* Clean segments of one block, of five, and few larger ones; in the largest a write of one key set has two keys. */
static void choose_segments(struct prng *prng, struct geometry *geometry)
{
	static const uint32_t segment_bytes[] = { 16384, 16384, 32768, 32768 };

	geometry->segment_bytes = segment_bytes[prng_below(prng, 4)];
	geometry->segments = (uint32_t)(PCM_SEGMENTS_MIN + prng_below(prng, SEGMENTS_MAX - PCM_SEGMENTS_MIN + 1));
	if (prng_happens(prng, LARGE_PERCENT)) {
		geometry->segment_bytes = 65536u << prng_below(prng, 2);
		geometry->segments = PCM_SEGMENTS_MIN;
	}
	geometry->segments_room = (uint32_t)pc_min64(SEGMENTS_MAX, geometry->segments + prng_below(prng, 4));
}

void choose_geometry(struct explorer *explorer)
{
	struct prng prng = prng_of(explorer->seed, STREAM_GEOMETRY, 0);
	struct geometry *geometry = &explorer->geometry;
	unsigned small = explorer->options->small_geometry;

	geometry->granularity = (enum pcache_granularity)(explorer->seed % 3);
	choose_segments(&prng, geometry);
	geometry->volume_bytes = (16 + prng_below(&prng, 25)) * 1024 + CELL_BYTES * prng_below(&prng, 16);
	if (geometry->segment_bytes > 65536 || prng_happens(&prng, 12)) /* more than one key can reach over */
		geometry->volume_bytes += PCM_KEY_MAX_BYTES;
	geometry->align_bytes = prng_happens(&prng, 50) ? 1 : 512;
	choose_tunables(&prng, geometry->tunables);
	geometry->has_zero = prng_happens(&prng, 75);
	geometry->has_punch = geometry->has_zero && prng_happens(&prng, 75);
	if ((small & EXPLORER_SMALL_CACHE) != 0) {
		geometry->segment_bytes = 16384;
		geometry->segments = PCM_SEGMENTS_MIN;
		geometry->segments_room = PCM_SEGMENTS_MIN + 2;
	}
	if ((small & EXPLORER_SMALL_VOLUME) != 0)
		geometry->volume_bytes = 8192;
	if (geometry->align_bytes == 512)
		geometry->volume_bytes = pc_align_down(geometry->volume_bytes, 512);
}

/* ---- one call of the library ---- */

/* A sync that failed over what went past the cache is said later, maybe when the backing is well again. */
bool is_expected(const struct explorer *explorer, int error)
{
	return error == 0 || explorer->backing_faulty ||
	       (error == -EIO && explorer->mode_kind == MODES_AROUND && explorer->has_failed);
}

static void check_result(struct explorer *explorer, const char *where, int ret)
{
	if (ret < 0 && !is_expected(explorer, ret))
		fail_errno(explorer, where, ret);
}

/* Often in the same place: versions on versions; and across the end of a key. */
uint64_t choose_offset(const struct explorer *explorer, struct prng *prng, uint64_t len)
{
	uint64_t bytes = explorer->volume.bytes;
	uint64_t dice = prng_below(prng, 10);
	uint64_t off = prng_below(prng, (bytes - len) / CELL_BYTES + 1) * CELL_BYTES;

	if (dice < 4)
		return pc_min64(off % 2048, bytes - len);
	if (dice < 6 && bytes > PCM_KEY_MAX_BYTES + len)
		return PCM_KEY_MAX_BYTES - off % (len + CELL_BYTES);
	return off;
}

/* Writes [first, end) have returned. */
void end_write(struct explorer *explorer, uint32_t first, uint32_t end, bool is_durable)
{
	for (uint32_t number = first; number < end; number++) {
		explorer->volume.writes[number].returned = ++explorer->volume.returns;
		if (!is_durable || explorer->volume.writes[number].is_loose)
			continue;
		rule_acknowledged(explorer, number);
		if (explorer->baton.participants != 0)
			volume_require(&explorer->volume, number);
	}
	if (is_durable && explorer->baton.participants == 0)
		volume_require_all(&explorer->volume);
}

/* What the mode promises more of a write that returned. */
static void end_mode(struct explorer *explorer, unsigned flags)
{
	bool is_through = explorer->write_mode == PCACHE_MODE_WRITETHROUGH;

	if ((flags & PCACHE_WRITE_FUA) != 0 || is_through)
		volume_settle(&explorer->volume, explorer->volume.returns);
	if (!is_through)
		return;
	volume_require_all(&explorer->volume);
	rule_through(explorer);
}

/* A long write is a row of atomic ones: number them as the library cuts them. */
static void write_range(struct explorer *explorer, uint64_t off, uint64_t len, unsigned flags)
{
	struct volume *volume = &explorer->volume;
	bool is_paged = explorer->geometry.granularity == PCACHE_GRANULARITY_PAGE;
	struct issuer *issuer = &explorer->issuers[0];
	uint32_t first = volume->issued + 1;
	ssize_t ret;

	for (uint64_t done = 0; done < len;) {
		uint64_t piece = pc_min64(len - done, explorer->live->cache->max_atomic_bytes);

		volume_issue(volume, off + done, piece, explorer->scratch + done);
		done += piece;
	}
	*issuer = (struct issuer){ first, volume->issued + 1 };
	ret = pc_io_write(explorer->live->cache, explorer->scratch, len, off, flags);
	if (ret != (ssize_t)len)
		check_result(explorer, "write", ret < 0 ? (int)ret : -EIO);
	else
		issuer->next = issuer->end; /* what went past the cache has no key set */
	/* after an error of the backing: what came before it, and that was never more than written */
	end_write(explorer, first, issuer->next,
		  !is_paged || (ret == (ssize_t)len && (flags & PCACHE_WRITE_FUA) != 0));
	if (ret == (ssize_t)len && !explorer->failed && explorer->spare->cache == NULL)
		end_mode(explorer, flags);
}

static void do_write(struct explorer *explorer, unsigned flags)
{
	uint64_t most = pc_min64(prng_happens(&explorer->prng, 15) ? 12000 : 1600, explorer->volume.bytes / 2);
	uint64_t len = (1 + prng_below(&explorer->prng, most / CELL_BYTES)) * CELL_BYTES;

	write_range(explorer, choose_offset(explorer, &explorer->prng, len), len, flags);
}

/* Some of them in whole blocks: these can be zeroed as a range. */
static void do_zero(struct explorer *explorer)
{
	struct volume *volume = &explorer->volume;
	bool is_durable = explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE;
	unsigned flags = prng_happens(&explorer->prng, 20) ? PCACHE_WRITE_FUA : 0;
	uint16_t flag = prng_happens(&explorer->prng, 50) ? PCM_KEY_DISCARD : PCM_KEY_ZERO;
	uint64_t most = prng_happens(&explorer->prng, 10) ? volume->bytes : volume->bytes / 2;
	uint64_t len = (1 + prng_below(&explorer->prng, most / CELL_BYTES)) * CELL_BYTES;
	uint64_t off = choose_offset(explorer, &explorer->prng, len);
	uint32_t number;
	int ret;

	if (prng_happens(&explorer->prng, 40) && len >= PCM_BLOCK) {
		off = pc_align_down(off, PCM_BLOCK);
		len = pc_align_down(len, PCM_BLOCK);
	}
	number = volume_issue_zeroes(volume, off, len);
	explorer->issuers[0] = (struct issuer){ number, number + 1 };
	ret = pc_zero_range(explorer->live->cache, flag, len, off, flags);
	check_result(explorer, "zeroes", ret);
	end_write(explorer, number, explorer->issuers[0].next, is_durable || (ret == 0 && flags != 0));
}

#define EXTENTS_MAX 4u

/* One commit of several places. */
static void do_write_atomic(struct explorer *explorer)
{
	struct volume *volume = &explorer->volume;
	bool is_durable = explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE;
	unsigned flags = prng_happens(&explorer->prng, 20) ? PCACHE_WRITE_FUA : 0;
	uint32_t count = 2 + (uint32_t)prng_below(&explorer->prng, EXTENTS_MAX - 1);
	uint64_t stride = pc_align_down(volume->bytes / count, CELL_BYTES);
	struct pcache_extent extents[EXTENTS_MAX];
	uint32_t first = volume->issued + 1;
	uint8_t *buf = explorer->scratch;
	int ret;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t len = (1 + prng_below(&explorer->prng, 12)) * CELL_BYTES;
		uint64_t off = i * stride + prng_below(&explorer->prng, (stride - len) / CELL_BYTES + 1) * CELL_BYTES;

		(void)volume_issue(volume, off, len, buf);
		extents[i] = (struct pcache_extent){ .buf = buf, .len = len, .off = off };
		buf += len;
	}
	volume_group(volume, first, first + count);
	explorer->issuers[0] = (struct issuer){ first, first + count };
	ret = pc_vector_write_atomic(explorer->live->cache, extents, count, flags);
	check_result(explorer, "atomic write", ret);
	end_write(explorer, first, explorer->issuers[0].next, is_durable || (ret == 0 && flags != 0));
}

/* Whole blocks, which reclaim may carry forward, with something before the first one now and then. */
static void do_write_blocks(struct explorer *explorer)
{
	uint64_t blocks = explorer->volume.bytes / PCM_BLOCK;
	uint64_t first = prng_below(&explorer->prng, pc_min64(blocks, 1 + prng_below(&explorer->prng, blocks)));
	uint64_t end = pc_min64(blocks, first + 1 + prng_below(&explorer->prng, 3));
	uint64_t before = prng_happens(&explorer->prng, 30) ? prng_below(&explorer->prng, 8) * CELL_BYTES : 0;
	uint64_t off = first * PCM_BLOCK - pc_min64(before, first * PCM_BLOCK);

	write_range(explorer, off, end * PCM_BLOCK - off, 0);
	if (!explorer->failed && prng_happens(&explorer->prng, 30)) /* over the first one, in the same segment */
		write_range(explorer, first * PCM_BLOCK, PCM_BLOCK, 0);
	if (!explorer->failed && prng_happens(&explorer->prng, 40))
		do_read_parts(explorer);
}

/* The first so many writes that returned are promised. */
static void promise_returned(struct volume *volume, uint64_t returns)
{
	for (uint32_t number = 1; number <= volume->issued; number++) {
		const struct volume_write *write = &volume->writes[number];

		if (write->returned != 0 && write->returned <= returns && write->pos != 0 &&
		    !volume_is_required(volume, number))
			volume_require(volume, number);
	}
}

void do_flush(struct explorer *explorer)
{
	uint64_t returns = explorer->volume.returns; /* others may return while the flush is at work */
	int ret = pc_io_flush(explorer->live->cache);

	if (ret < 0) {
		if (explorer->mode_kind != MODES_AROUND || !is_expected(explorer, ret))
			fail_errno(explorer, "flush", ret);
		return;
	}
	if (explorer->spare->cache == NULL)
		volume_settle(&explorer->volume, returns);
	if (explorer->baton.participants != 0) {
		promise_returned(&explorer->volume, returns);
		return;
	}
	explorer->flushed = world_pos(pc_cache_head(explorer->live->cache));
	if (sim_media_pending(explorer->live->media) != 0 && explorer->geometry.granularity == PCACHE_GRANULARITY_PAGE)
		fail(explorer, "flush", "something is pending after it");
	volume_require_all(&explorer->volume);
}

static void do_drain(struct explorer *explorer)
{
	int ret;

	explorer->phase = MODE_DRAIN;
	ret = pc_writeback_drain(explorer->live->cache, NULL, NULL);
	check_result(explorer, "drain", ret);
	if (ret == 0 && explorer->spare->cache == NULL)
		volume_settle(&explorer->volume, explorer->volume.returns);
	explorer->phase = MODE_POWER;
}

static void do_reopen(struct explorer *explorer)
{
	int ret;

	explorer->phase = MODE_CLOSE;
	ret = world_close(explorer->live, prng_happens(&explorer->prng, 25));
	explorer->phase = MODE_POWER;
	check_result(explorer, "close", ret);
	if (explorer->spare->cache != NULL || explorer->failed)
		return;
	if (ret == 0)
		volume_settle(&explorer->volume, explorer->volume.returns);
	volume_require_all(&explorer->volume); /* close flushes */
	ret = world_open(explorer->live);
	if (ret < 0)
		fail_errno(explorer, "open after close", ret);
}

/* One-shot, soon; healed by a later operation of this kind, or sooner. */
static void do_backing_fault(struct explorer *explorer)
{
	static const int errors[SIM_BACKING_FAULTS] = {
		[SIM_SUBMIT_FAILS] = -EIO, [SIM_REAP_FAILS] = -EINTR, [SIM_WRITE_FAILS] = -EIO,
		[SIM_WRITE_IS_SHORT] = -EIO, [SIM_SYNC_FAILS] = -EIO, [SIM_ZERO_FAILS] = -EIO,
	};
	enum sim_backing_fault fault = (enum sim_backing_fault)prng_below(&explorer->prng, SIM_BACKING_FAULTS);
	struct sim_backing *backing = explorer->live->backing;

	/* What was written past the cache and lost by a sync nobody knows any more: all that can be said is that it was. */
	if (fault == SIM_SYNC_FAILS && explorer->mode_kind == MODES_AROUND)
		fault = SIM_WRITE_FAILS;
	sim_backing_heal(backing);
	explorer->backing_faulty = false;
	if (fault == SIM_READ_FAILS) {
		sim_backing_shuffle(backing, prng_next(&explorer->prng));
		return;
	}
	sim_backing_inject(backing, fault, 1 + prng_below(&explorer->prng, 3), errors[fault], false);
	explorer->backing_faulty = true;
	explorer->has_failed = true;
}

/* What is written goes to the backing, the log goes on in another segment, and older ones become free. */
static void do_turn_over(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	uint64_t steps = 1 + prng_below(&explorer->prng, 6);
	int ret = pc_rotate_close(cache);

	check_result(explorer, "close of the open segment", ret);
	if (!explorer->failed)
		do_write(explorer, 0);
	if (!explorer->failed)
		do_drain(explorer);
	for (uint64_t i = 0; i < steps && !explorer->failed; i++)
		check_result(explorer, "reclaim", pc_reclaim_step(cache));
}

static void do_tunable(struct explorer *explorer)
{
	uint64_t tunables[PC_TUNABLES] = { 0 };
	struct pcache *cache = explorer->live->cache;

	choose_tunables(&explorer->prng, tunables);
	for (unsigned i = 0; i < PC_TUNABLES; i++)
		if (!pc_identity_has((enum pcache_tunable)i))
			atomic_store(&cache->tunables[i], tunables[i]);
}

/* ---- the workload ---- */

static void do_operation(struct explorer *explorer)
{
	struct pcache *cache = explorer->live->cache;
	uint64_t dice = prng_below(&explorer->prng, 100);

	if (dice < 22)
		do_write(explorer, 0);
	else if (dice < 26)
		do_zero(explorer);
	else if (dice < 30)
		do_write_atomic(explorer);
	else if (dice < 33)
		do_turn_over(explorer);
	else if (dice < 38)
		do_write_blocks(explorer);
	else if (dice < 42)
		do_write(explorer, PCACHE_WRITE_FUA);
	else if (dice < 49)
		do_flush(explorer);
	else if (dice < 57)
		check_result(explorer, "write-back", pc_writeback_step(cache));
	else if (dice < 65)
		check_result(explorer, "reclaim", pc_reclaim_step(cache));
	else if (dice < 69)
		do_drain(explorer);
	else if (dice < 71)
		do_read(explorer);
	else if (dice < 77)
		do_read_parts(explorer);
	else if (dice < 78)
		do_query(explorer);
	else if (dice < 80)
		do_prefetch(explorer);
	else if (dice < 81)
		do_invalidate(explorer);
	else if (dice < 85)
		do_reopen(explorer);
	else if (dice < 93)
		do_round(explorer);
	else if (dice < 95)
		do_tunable(explorer);
	else if (dice < 97)
		do_backing_fault(explorer);
	else
		do_change(explorer);
}

static void run_operation(struct explorer *explorer, uint64_t number)
{
	explorer->prng = prng_of(explorer->seed, 1, number);
	if (prng_happens(&explorer->prng, TAKE_OVER_PERCENT) && explorer->take_over_in == 0) {
		explorer->take_over_in = 1 + (unsigned)prng_below(&explorer->prng, 6);
		explorer->take_over_by_kill = prng_happens(&explorer->prng, 50);
	}
	if (prng_happens(&explorer->prng, MODE_PERCENT) && explorer->live->cache != NULL)
		do_mode(explorer);
	if (!explorer->failed && explorer->spare->cache == NULL)
		do_operation(explorer);
	if (!explorer->failed && explorer->live->cache != NULL)
		check_nothing_wrong(explorer, "clean data", clean_account(explorer->live, true));
	finish_take_over(explorer);
}

static bool is_kept(const struct explorer *explorer, uint64_t number)
{
	uint64_t kept = explorer->options->keep_operations;

	return kept == 0 || (kept >> number & 1) != 0;
}

void run_workload(struct explorer *explorer)
{
	struct prng prng = prng_of(explorer->seed, 2, 0);
	uint64_t operations = OPERATIONS_MIN + prng_below(&prng, OPERATIONS_MAX - OPERATIONS_MIN);
	int ret;

	explorer->phase = MODE_CREATE;
	ret = world_open(explorer->live);
	explorer->phase = MODE_POWER;
	if (ret < 0) {
		fail_errno(explorer, "create", ret);
		return;
	}
	for (uint64_t i = 0; i < operations && !explorer->failed; i++)
		if (is_kept(explorer, i))
			run_operation(explorer, i);
	if (!explorer->failed)
		crash_point(explorer);
	finish_take_over(explorer);
	if (!explorer->failed)
		do_read(explorer);
}
