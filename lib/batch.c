/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * batch.c - one batch of write-back: a stretch of the log becomes few, large, sorted writes to the backing.
 *
 *   key sets -> ranges in log order -> overlay (the newest version of each byte) -> zeroed ranges
 *                                                                               -> runs of whole blocks -> waves
 *
 * A run is one write: neighbours merged, aligned as the backing wants it, at most RUN_BYTES. A block that the batch
 * covers only in part is a run of its own; the rest of it is read from the backing first. A wave is as many runs as the
 * buffer holds.
 *
 * (N1) Only versions from within the batch are written: what is newer comes with a later batch, so that the backing is
 *      at every end of a batch what the log said at that position.
 * (N2) Data is checked against its CRC in the buffer that goes out. What does not match is never written.
 * (N3) The sync is issued after every write has completed and every range is zeroed; its result is the batch's result.
 * (N4) A key without data hides what is older in the batch as one with data does. Zeroes go out as such; what was
 *      invalidated does not go out at all, nor does anything in its place.
 * (N5) What does not match, or cannot be read, is lost, and of it only what nothing newer of the batch covers: the backing
 *      keeps the bytes that it has there, everything else goes out. What went out is no longer lost, if it was before.
 */
#include "cache.h"

#include "crc32c.h"
#include "overlay.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define RUN_BYTES  (1u << 20)
#define WAVE_BYTES (8u << 20)
#define WAVE_RUNS  2048u
#define PIECE_RUNS 3u /* a piece, shorter than RUN_BYTES, lies in at most so many: a partial block, whole ones, a partial one */

#define ZERO_RUN_MIN (64u << 10) /* shorter zeroes are quicker written than their range is zeroed */

#define LOST 1 /* a line that a failed media never got */

/* Where a range's data is, and its checksum. */
struct source {
	uint64_t media_off;
	uint32_t crc;
};

/* A place in the pieces: `skip` bytes into one. */
struct cursor {
	uint32_t piece;
	uint32_t skip;
};

struct run {
	struct cursor from;
	uint64_t data_off; /* first and last byte that the batch has; the run itself is whole blocks */
	uint64_t data_end;
	bool is_partial;
};

struct batch {
	struct pcache *cache;
	struct pc_pos end;
	struct pc_range *ranges;
	struct source *sources;
	uint32_t range_count;
	uint32_t range_room;
	struct pc_overlay_piece *pieces;
	uint32_t piece_count;
	struct pc_zero_run *zero_runs;
	uint32_t zero_run_count;
	uint8_t *buffer;  /* a wave, aligned */
	uint8_t *scratch; /* one key */
	size_t buffer_used;
	struct run *runs;
	struct pc_io *ios;
	unsigned run_count;
	struct pc_lost_set bad; /* what could not be written (N5) */
	bool may_pass;          /* of what was found bad last: it may be readable later */
};

static void batch_free(struct batch *batch)
{
	free(batch->ranges);
	free(batch->sources);
	free(batch->pieces);
	free(batch->zero_runs);
	free(batch->buffer);
	free(batch->scratch);
	free(batch->runs);
	free(batch->ios);
}

/* ---- gather ---- */

static int make_room(struct batch *batch, uint32_t more)
{
	uint32_t need = batch->range_count + more;
	struct pc_range *ranges;
	struct source *sources;

	if (need <= batch->range_room)
		return 0;
	need = (uint32_t)pc_power_of_two_above(need + 1024);
	ranges = realloc(batch->ranges, need * sizeof(*ranges));
	if (ranges == NULL)
		return -ENOMEM;
	batch->ranges = ranges;
	sources = realloc(batch->sources, need * sizeof(*sources));
	if (sources == NULL)
		return -ENOMEM;
	batch->sources = sources;
	batch->range_room = need;
	return 0;
}

/* (N4) */
static enum pc_range_kind kind_of(const struct pc_key *key)
{
	switch (key->flags) {
	case 0:
		return PC_RANGE_DATA;
	case PCM_KEY_ZERO:
		return PC_RANGE_ZERO;
	case PCM_KEY_DISCARD:
		return PC_RANGE_PUNCH;
	default:
		return PC_RANGE_SILENT;
	}
}

static int gather_kset(struct batch *batch, const struct pc_segment *segment, const struct pc_lines *lines,
		       uint32_t line, uint32_t count)
{
	int ret = make_room(batch, count);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < count; i++) {
		struct pc_key key = pc_kset_key(lines, line, i);

		batch->ranges[batch->range_count] =
			(struct pc_range){ .off = key.off, .len = key.len, .kind = kind_of(&key) };
		batch->sources[batch->range_count] =
			(struct source){ .media_off = segment->off + key.data_off, .crc = key.data_crc };
		batch->range_count++;
	}
	return 0;
}

static int gather_lines(struct batch *batch, const struct pc_segment *segment, uint32_t first, uint32_t end)
{
	struct pcache *cache = batch->cache;
	struct pc_kset_scope scope = pc_segment_scope(cache->segments, segment, cache->backing->size_bytes);
	PC_FREE uint8_t *buf = malloc((size_t)(end - first) * PCM_LINE + 1);
	struct pc_lines lines;
	uint32_t line = first;
	int ret;

	if (buf == NULL)
		return -ENOMEM;
	ret = pc_lines_read(cache->media, segment->off + cache->segments->segment_bytes, first, end, buf, &lines);
	while (ret == 0 && line < end) {
		struct pc_kset kset;

		batch->end = (struct pc_pos){ .seq = segment->seq, .line = line };
		if (!pc_kset_decode(&scope, &lines, line, &kset))
			return pc_cache_is_failed(cache) ? LOST : pc_fail(&cache->config.log, -EBADMSG,
				       "segment %u, line %u: a key set no longer matches its checksum; write-back stops here",
				       segment->id, line);
		ret = gather_kset(batch, segment, &lines, line, kset.count);
		line += kset.lines;
	}
	return ret;
}

/* From `from` up to batch->end, which moves to the first lost line. */
static int gather(struct batch *batch, struct pc_pos from)
{
	const struct pc_pos end = batch->end;
	struct pcache *cache = batch->cache;
	int ret = 0;

	for (uint64_t seq = from.seq; seq <= end.seq && ret == 0; seq++) {
		uint32_t id = pc_stream_segment(&cache->write, seq);
		uint32_t first_line = seq == from.seq ? from.line : 0;
		uint32_t end_line = seq == end.seq ? end.line : pc_room_lines(pc_stream_last_room(&cache->write, id));

		if (first_line < end_line)
			ret = gather_lines(batch, pc_segment_at(cache->segments, id), first_line, end_line);
	}
	if (ret == LOST)
		return pc_pos_cmp(batch->end, from) > 0 ? 0 : -EIO;
	batch->end = end;
	return ret;
}

static int overlay(struct batch *batch)
{
	const struct pc_zero_rule rule = {
		.align_bytes = pc_max64(batch->cache->backing->align_bytes, PC_PAGE),
		.zero_min = ZERO_RUN_MIN,
		.punch_min = PC_PAGE,
	};
	int ret = pc_overlay(batch->ranges, batch->range_count, &batch->pieces, &batch->piece_count);

	if (ret < 0)
		return ret;
	return pc_overlay_take_zeroes(batch->ranges, &rule, &batch->pieces, &batch->piece_count, &batch->zero_runs,
				      &batch->zero_run_count);
}

/* ---- runs ---- */

static uint64_t cursor_off(const struct batch *batch, struct cursor at)
{
	return batch->pieces[at.piece].off + at.skip;
}

static uint64_t piece_end(const struct batch *batch, uint32_t piece)
{
	return batch->pieces[piece].off + batch->pieces[piece].len;
}

/* The first byte at or behind `off` that the batch has. */
static struct cursor advance(const struct batch *batch, struct cursor at, uint64_t off)
{
	while (at.piece < batch->piece_count && piece_end(batch, at.piece) <= off)
		at = (struct cursor){ .piece = at.piece + 1 };
	if (at.piece < batch->piece_count && cursor_off(batch, at) < off)
		at.skip = (uint32_t)(off - batch->pieces[at.piece].off);
	return at;
}

/* Up to where the batch has every byte from `at` on. */
static uint64_t contiguous_end(const struct batch *batch, struct cursor at, uint64_t limit)
{
	uint64_t end = cursor_off(batch, at);

	for (uint32_t piece = at.piece; piece < batch->piece_count && end < limit; piece++) {
		if (piece != at.piece && batch->pieces[piece].off != end)
			break;
		end = piece_end(batch, piece);
	}
	return pc_min64(end, limit);
}

/* The next run, and the cursor behind it. */
static struct cursor add_run(struct batch *batch, struct cursor at)
{
	const struct pc_backing *backing = batch->cache->backing;
	uint64_t align = backing->align_bytes;
	uint64_t data_off = cursor_off(batch, at);
	uint64_t run_off = pc_align_down(data_off, align);
	uint64_t data_end = contiguous_end(batch, at, run_off + RUN_BYTES);
	uint64_t whole_end = data_end == backing->size_bytes ? data_end : pc_align_down(data_end, align);
	struct run *run = &batch->runs[batch->run_count];
	uint64_t run_end = whole_end;

	*run = (struct run){ .from = at, .data_off = data_off, .data_end = whole_end };
	if (data_off != run_off || whole_end <= run_off) {
		run->is_partial = true;
		run_end = pc_min64(run_off + align, backing->size_bytes);
		run->data_end = run_end;
	}
	batch->ios[batch->run_count++] = (struct pc_io){
		.op = PC_IO_WRITE,
		.off = run_off,
		.buf = batch->buffer + batch->buffer_used,
		.len = run_end - run_off,
	};
	batch->buffer_used += pc_align_up(run_end - run_off, PC_PAGE);
	return advance(batch, at, run_end);
}

/* ---- fill the buffer, write ---- */

/* What the batch does not have of a block comes from the backing. */
static int read_partial(struct batch *batch)
{
	PC_FREE struct pc_io *reads = malloc((batch->run_count + 1) * sizeof(*reads));
	size_t count = 0;

	if (reads == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < batch->run_count; i++) {
		if (!batch->runs[i].is_partial)
			continue;
		reads[count] = batch->ios[i];
		reads[count++].op = PC_IO_READ;
		pc_stats_add(batch->cache->stats, PC_COUNT_BACKING_READ_BYTES, batch->ios[i].len);
	}
	return count == 0 ? 0 : pc_backing_run(batch->cache->backing, reads, count);
}

/* Is it one place that cannot be read, or all of the media? */
static bool can_be_read(struct pcache *cache)
{
	uint8_t line[PCM_LINE];

	return pc_media_read(cache->media, line, PCM_SUPER_OFF, sizeof(line)) == 0 ||
	       pc_media_read(cache->media, line, PCM_SUPER_OFF + PCM_SLOT_STRIDE, sizeof(line)) == 0;
}

/* (N2), (N5) */
static int note_bad(struct batch *batch, uint32_t range, int error)
{
	const struct source *source = &batch->sources[range];
	struct pcache *cache = batch->cache;
	uint64_t off = batch->ranges[range].off;
	uint32_t len = batch->ranges[range].len;

	/* A page that was found bad by a signal may be well again at the next open (pcache_handle_sigbus()). */
	batch->may_pass = error != -EBADMSG &&
			  (!can_be_read(cache) || pc_media_is_bad(cache->media, source->media_off, len));
	if (!batch->may_pass)
		pc_damage_note_at(cache, off, len, source->media_off);
	if (error != -EBADMSG)
		return pc_fail(&cache->config.log, error, "dirty data for offset %" PRIu64 " cannot be read from the media", off);
	pc_stats_add(cache->stats, PC_COUNT_CHECKSUM_ERRORS, 1);
	return pc_fail(&cache->config.log, error,
		       "dirty data for %u bytes at offset %" PRIu64 " does not match its checksum; it is not written back", len,
		       off);
}

/* Part of a range's data to `target`, the whole range checked (N2). */
static int copy_checked(struct batch *batch, uint32_t range, uint32_t skip, uint32_t len, uint8_t *target)
{
	struct pcache *cache = batch->cache;
	const struct source *source = &batch->sources[range];
	uint32_t range_len = batch->ranges[range].len;
	uint8_t *whole = len == range_len ? target : batch->scratch;
	int ret;

	if (batch->ranges[range].kind != PC_RANGE_DATA) {
		memset(target, 0, len);
		return 0;
	}
	ret = pc_media_read(cache->media, whole, source->media_off, range_len);
	if (ret < 0) /* once more: what it takes for lost will not come back */
		ret = pc_media_read(cache->media, whole, source->media_off, range_len);
	if (ret == 0 && pc_crc32c(0, whole, range_len) != source->crc)
		ret = -EBADMSG;
	if (ret < 0)
		return note_bad(batch, range, ret);
	if (whole != target)
		memcpy(target, whole + skip, len);
	return 0;
}

/* (N5) Where the media failed as a whole, or what is wrong may pass, nothing is lost yet. */
static int leave_as_it_is(struct batch *batch, uint64_t off, uint64_t end, uint8_t *target, int error)
{
	struct pcache *cache = batch->cache;
	int ret;

	if (pc_cache_is_failed(cache) || batch->may_pass)
		return error;
	ret = pc_backing_read(cache->backing, target, off, end - off);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "write-back: a read of the backing failed: %s", pcache_strerror(ret));
	pc_stats_add(cache->stats, PC_COUNT_BACKING_READ_BYTES, end - off);
	pc_lost_set_add(&batch->bad, off, end);
	return 0;
}

static int fill_run(struct batch *batch, const struct run *run, const struct pc_io *io)
{
	struct cursor at = run->from;

	while (at.piece < batch->piece_count && cursor_off(batch, at) < run->data_end) {
		const struct pc_overlay_piece *piece = &batch->pieces[at.piece];
		uint64_t off = cursor_off(batch, at);
		uint64_t end = pc_min64(piece_end(batch, at.piece), run->data_end);
		uint32_t skip = (uint32_t)(off - batch->ranges[piece->range].off);
		uint8_t *target = io->buf + (off - io->off);
		int ret = copy_checked(batch, piece->range, skip, (uint32_t)(end - off), target);

		if (pc_unlikely(ret < 0))
			ret = leave_as_it_is(batch, off, end, target, ret);
		if (ret < 0)
			return ret;
		at = advance(batch, at, end);
	}
	return 0;
}

static int write_wave(struct batch *batch)
{
	struct pcache *cache = batch->cache;
	uint64_t bytes = 0;
	int ret = read_partial(batch);

	for (unsigned i = 0; i < batch->run_count && ret == 0; i++)
		ret = fill_run(batch, &batch->runs[i], &batch->ios[i]);
	if (ret < 0)
		return ret;
	ret = pc_backing_run(cache->backing, batch->ios, batch->run_count);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "write-back: a write to the backing failed: %s",
			       pcache_strerror(ret));
	pc_stats_add(cache->stats, PC_COUNT_WRITEBACK_IOS, batch->run_count);
	for (unsigned i = 0; i < batch->run_count; i++)
		bytes += batch->ios[i].len;
	pc_stats_add(cache->stats, PC_COUNT_WRITEBACK_BYTES, bytes);
	pc_pace_wave(cache, bytes);
	return 0;
}

static int zero_ranges(struct batch *batch)
{
	struct pcache *cache = batch->cache;

	for (uint32_t i = 0; i < batch->zero_run_count; i++) {
		const struct pc_zero_run *run = &batch->zero_runs[i];
		int ret = pc_backing_zero(cache->backing, run->off, run->len, run->punch);

		if (ret < 0)
			return pc_fail(&cache->config.log, ret,
				       "write-back: %" PRIu64 " bytes at offset %" PRIu64 " of the backing cannot be zeroed: %s",
				       run->len, run->off, pcache_strerror(ret));
		pc_stats_add(cache->stats, PC_COUNT_WRITEBACK_IOS, 1);
		pc_stats_add(cache->stats, PC_COUNT_WRITEBACK_ZERO_BYTES, run->len);
	}
	return 0;
}

static int write_pieces(struct batch *batch)
{
	struct cursor at = { 0 };
	int ret = 0;

	while (at.piece < batch->piece_count && ret == 0) {
		batch->run_count = 0;
		batch->buffer_used = 0;
		while (at.piece < batch->piece_count && batch->run_count < WAVE_RUNS &&
		       batch->buffer_used + RUN_BYTES <= pc_pace_wave_bytes(batch->cache, WAVE_BYTES))
			at = add_run(batch, at);
		ret = atomic_load_explicit(&batch->cache->abandoned, memory_order_acquire) ? -ECANCELED : write_wave(batch);
	}
	return ret;
}

/* What the pieces can need of the buffer at most: each of their runs is rounded up to whole blocks, then to a page. */
static uint64_t bytes_bound(const struct batch *batch)
{
	uint64_t rounding = PC_PAGE + 2ull * batch->cache->backing->align_bytes;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < batch->piece_count && sum < WAVE_BYTES; i++)
		sum += batch->pieces[i].len + PIECE_RUNS * rounding;
	return sum;
}

static int allocate_buffers(struct batch *batch)
{
	size_t runs = pc_min64(WAVE_RUNS, (uint64_t)PIECE_RUNS * batch->piece_count);
	void *buffer = NULL;

	if (posix_memalign(&buffer, PC_PAGE, pc_min64(WAVE_BYTES, bytes_bound(batch))) != 0)
		return -ENOMEM;
	batch->buffer = buffer;
	batch->scratch = malloc(PCM_KEY_MAX_BYTES);
	batch->runs = malloc(runs * sizeof(*batch->runs));
	batch->ios = malloc(runs * sizeof(*batch->ios));
	return batch->scratch == NULL || batch->runs == NULL || batch->ios == NULL ? -ENOMEM : 0;
}

static int write_and_sync(struct batch *batch, struct pc_pos from)
{
	uint64_t failures = pc_bypass_failures(&batch->cache->bypass);
	int ret = gather(batch, from);

	if (ret < 0 || batch->range_count == 0)
		return ret;
	ret = overlay(batch);
	if (ret == 0)
		ret = allocate_buffers(batch);
	if (ret == 0)
		ret = zero_ranges(batch);
	if (ret == 0)
		ret = write_pieces(batch);
	if (ret < 0)
		return ret;
	ret = pc_around_sync_backing(batch->cache, failures); /* order: every write above has completed (N3) */
	if (ret < 0)
		return pc_fail(&batch->cache->config.log, ret, "write-back: the sync of the backing failed: %s",
			       pcache_strerror(ret));
	return 0;
}

/* (N5) What is lost from now on; everything else of the batch is on the backing, and synced. */
static void count_losses(const struct batch *batch, struct pc_lost_set *ret_lost)
{
	struct pcache *cache = batch->cache;

	pc_lost_get(&cache->lost, ret_lost);
	for (uint32_t i = 0; i < batch->piece_count && ret_lost->count != 0; i++)
		pc_lost_set_take(ret_lost, batch->pieces[i].off, piece_end(batch, i));
	for (uint32_t i = 0; i < batch->zero_run_count && ret_lost->count != 0; i++)
		pc_lost_set_take(ret_lost, batch->zero_runs[i].off, batch->zero_runs[i].off + batch->zero_runs[i].len);
	for (uint32_t i = 0; i < batch->bad.count; i++)
		pc_lost_set_add(ret_lost, batch->bad.ranges[i].off, batch->bad.ranges[i].end);
	ret_lost->is_short |= batch->bad.is_short;
	if (batch->bad.count != 0)
		atomic_fetch_add_explicit(&cache->lost.times, 1, memory_order_relaxed);
}

int pc_batch_write(struct pcache *cache, struct pc_pos from, struct pc_pos *end, struct pc_lost_set *ret_lost)
{
	struct batch batch = { .cache = cache, .end = *end };
	int ret;

	pc_backing_set_depth(cache->backing, (uint32_t)pc_tunable(cache, PCACHE_TUNABLE_QUEUE_DEPTH));
	ret = write_and_sync(&batch, from);
	if (ret == 0)
		count_losses(&batch, ret_lost);
	*end = batch.end;
	batch_free(&batch);
	return ret;
}
