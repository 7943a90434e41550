/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io.c - the data paths: write, read, flush.
 *
 * A write of at most max_atomic_bytes is one key set, a longer one a row of them:
 *
 *   1. prepare    the index takes the memory that publishing will need
 *   2. reserve    lines and data units in the open segment, one compare-and-swap
 *   3. copy       the data; its CRC32C is computed while the stores are on their way
 *   4. commit     the lines of the key set, one fence
 *   5. publish    in the index
 *   6. count      the lines as done
 *
 * A key set of one key skips the first step: its place in the index is fetched into the processor's caches while the
 * data is copied, and room for it is made when it is entered.
 *
 * (W1) Nothing is published before it is durable (byte, cache line): a reader never sees what a power cut could take.
 * (W2) Between reserve and count only the media can fail, or the memory for a single key. Then the lines are voided,
 *      durably, before the caller hears of it, and counted all the same, so that nobody waits for them. Until then a
 *      power cut may bring the write back: nobody was told that it failed. Key sets of several keys are prepared,
 *      because the first key could not be taken back when there is no room for the second.
 * (W3) Nobody waits for space with memory prepared or room reserved.
 * (W4) What the write supersedes of clean data is killed on the media, durably, before its lines count as done: before
 *      it is acknowledged, and before write-back and reclaim can take the write itself away.
 * (W5) Nothing is stored of a write whose range somebody holds: that is looked at behind the reservation (HO1), and
 *      before, so that it is rare. The room is voided, and the write begins anew when the hold has ended.
 * (R1) A read copies without a lock and believes the bytes only if the segment's generation has not moved since the
 *      look-up.
 * (R2) What has no data is answered from the look-up alone: it was so at that moment, whatever became of the segment.
 * (R3) Bad data that is on the backing, too, is forgotten and read from there: what is clean for good (L4), a write before
 *      dirty_tail until the next open, which finds it bad again. Any other is an error of its range, and is listed; so is
 *      what write-back found bad, and left behind (losses.c).
 */
#include "cache.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>

/* Keys in one key set: max_atomic_bytes is at most a 16th of the largest segment, and may begin in the middle of a key. */
#define WRITE_KEYS_MAX (PCM_SEGMENT_MAX / 16 / PCM_KEY_MAX_BYTES + 1)

#define READ_PIECES 32u

void pc_plan_add(struct pc_write_plan *plan, const uint8_t *source, size_t len, uint64_t off)
{
	uint64_t end = off + len;

	while (off < end) {
		uint32_t key_len = (uint32_t)(pc_key_end(off, end) - off);

		plan->sources[plan->count] = source;
		plan->keys[plan->count++] = (struct pc_key){
			.off = off,
			.len = key_len,
			.data_off = plan->units * PCM_UNIT,
			.stored_len = key_len,
		};
		plan->units += pc_key_units(key_len);
		source += key_len;
		off += key_len;
	}
}

static int copy_data(struct pcache *cache, const struct pc_segment *segment, struct pc_key *key, const uint8_t *source)
{
	key->data_crc = 0;
	if (pc_unlikely(key->stored_len == 0))
		return 0;
	return pc_media_copy_crc(cache->media, segment->off + key->data_off, source, key->len, &key->data_crc);
}

/* Lines go downwards on the media: each is copied to its own place. */
static int copy_lines(struct pcache *cache, const struct pc_segment *segment, uint32_t line, const uint8_t *lines,
		      uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t target = segment->off + pc_line_off(cache->segments->segment_bytes, line + i);
		int ret = pc_media_copy(cache->media, target, lines + (size_t)i * PCM_LINE, PCM_LINE, PC_COPY_STREAM);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int store_kset(struct pcache *cache, const struct pc_segment *segment, const struct pc_reservation *reservation,
		      struct pc_write_plan *plan)
{
	const struct pc_kset kset = {
		.seq = segment->seq,
		.count = plan->count,
		.durable_below = reservation->durable_below,
	};
	uint32_t data_off = PCM_SEGMENT_HEADER + reservation->unit * PCM_UNIT;
	int ret;

	pc_index_prefetch_leaf(cache->index, plan->keys[0].off);
	for (uint32_t i = 0; i < plan->count; i++) {
		plan->keys[i].data_off += data_off;
		ret = copy_data(cache, segment, &plan->keys[i], plan->sources[i]);
		if (ret < 0)
			return ret;
	}
	pc_kset_encode(segment->kset_seed, reservation->line, &kset, plan->keys, plan->lines);
	ret = copy_lines(cache, segment, reservation->line, plan->lines, reservation->lines);
	if (ret < 0)
		return ret;
	/* order: data and lines in any order, one fence for both; a torn one fails its CRC and never happened (W1) */
	return pc_media_drain(cache->media);
}

/* (W2) On a media that failed, what can be stored of the VOIDs is; such a segment is never sealed. */
static int void_reservation(struct pcache *cache, const struct pc_segment *segment,
			    const struct pc_reservation *reservation)
{
	int ret = 0;

	for (uint32_t i = 0; i < reservation->lines; i++) {
		uint8_t line[PCM_LINE];
		int copied;

		pc_kset_encode_void(segment->kset_seed, reservation->line + i, segment->seq, reservation->durable_below, line);
		copied = copy_lines(cache, segment, reservation->line + i, line, 1);
		ret = ret < 0 ? ret : copied;
	}
	if (ret < 0)
		return ret;
	return pc_media_sync(cache->media); /* order: durable before the caller hears that the write failed (W2) */
}

/* The write failed with `error`, and is as if it had never been made, or the media failed too. */
static int take_back(struct pcache *cache, const struct pc_segment *segment, const struct pc_reservation *reservation,
		     int error)
{
	int ret = void_reservation(cache, segment, reservation);

	return ret < 0 ? pc_cache_fail_media(cache, ret) : error;
}

static struct pc_mapping mapping_of(const struct pc_reservation *reservation, const struct pc_write_plan *plan, uint32_t i)
{
	return (struct pc_mapping){
		.off = plan->keys[i].off,
		.len = plan->keys[i].len,
		.segment = reservation->segment,
		.data_off = plan->keys[i].data_off,
		.slot = 2 * reservation->line + 1 + i,
		.verified = true,
		.kind = (uint8_t)pc_kind_of_key(&plan->keys[i]),
	};
}

/* How many clean keys were killed. -ENOMEM: only for a single key, which was not prepared (W2). */
static int publish(struct pcache *cache, const struct pc_reservation *reservation, const struct pc_write_plan *plan)
{
	struct pc_mapping mapping = mapping_of(reservation, plan, 0);
	int kills = 0;

	if (plan->count == 1)
		return pc_index_insert(cache->index, &mapping);
	for (uint32_t i = 0; i < plan->count; i++) {
		mapping = mapping_of(reservation, plan, i);
		kills += pc_index_publish(cache->index, &mapping);
	}
	return kills;
}

static void unprepare(struct pcache *cache, const struct pc_write_plan *plan, uint32_t count)
{
	for (uint32_t i = 0; plan->count > 1 && i < count; i++)
		pc_index_unprepare(cache->index, plan->keys[i].off, plan->keys[i].len);
}

static int prepare(struct pcache *cache, const struct pc_write_plan *plan)
{
	for (uint32_t i = 0; plan->count > 1 && i < plan->count; i++) {
		int ret = pc_index_prepare(cache->index, plan->keys[i].off, plan->keys[i].len);

		if (ret < 0) {
			unprepare(cache, plan, i);
			return ret;
		}
	}
	return 0;
}

/* Prepared memory and reserved room, or neither (W3). */
static int prepare_and_reserve(struct pcache *cache, const struct pc_write_plan *plan, bool nowait,
			       struct pc_reservation *ret_reservation)
{
	for (;;) {
		uint64_t room;
		int ret = prepare(cache, plan);

		if (ret < 0)
			return ret;
		if (pc_likely(pc_stream_reserve(&cache->write, pc_kset_lines(plan->count), plan->units, ret_reservation,
						&room)))
			return 0;
		unprepare(cache, plan, plan->count);
		ret = pc_rotate(cache, room, nowait);
		if (ret < 0)
			return ret;
	}
}

/* The lines are done, well or not: `ret`. */
static int count_done(struct pcache *cache, const struct pc_reservation *reservation, uint64_t seq, int ret)
{
	uint32_t sealed_lines;

	if (pc_stream_commit(&cache->write, reservation, &sealed_lines)) {
		int sealed = pc_rotate_seal(cache, reservation->segment, PC_STREAM_WRITE, seq, sealed_lines);

		ret = ret < 0 ? ret : sealed;
	}
	if (pc_unlikely(atomic_load_explicit(&cache->writeback_asleep, memory_order_seq_cst)))
		pc_cache_wake_writeback(cache);
	if (pc_unlikely(pc_holds_any(&cache->holds))) /* order: behind the count (HD3) */
		pc_holds_wake(&cache->holds);
	return ret;
}

/* (W5) The room is given back: somebody holds the range. */
static int give_back(struct pcache *cache, const struct pc_reservation *reservation, const struct pc_write_plan *plan)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, reservation->segment);
	uint64_t seq = segment->seq;

	unprepare(cache, plan, plan->count);
	return count_done(cache, reservation, seq, take_back(cache, segment, reservation, 0));
}

static bool is_held(struct pcache *cache, const struct pc_write_plan *plan)
{
	return pc_unlikely(pc_holds_any(&cache->holds)) && pc_hold_stops(cache, plan);
}

/* As prepare_and_reserve(), in a range that nobody holds (W5). */
static int take_room(struct pcache *cache, const struct pc_write_plan *plan, bool nowait,
		     struct pc_reservation *ret_reservation)
{
	int ret = 0;

	for (;;) {
		while (is_held(cache, plan)) {
			if (nowait)
				return -EAGAIN;
			pc_hold_await(cache, plan);
		}
		ret = prepare_and_reserve(cache, plan, nowait, ret_reservation);
		if (ret < 0 || pc_likely(!is_held(cache, plan))) /* order: behind the reservation (HD2) */
			return ret;
		ret = give_back(cache, ret_reservation, plan);
		if (ret < 0)
			return ret;
	}
}

int pc_io_log_plan(struct pcache *cache, struct pc_write_plan *plan, bool nowait)
{
	struct pc_reservation reservation;
	const struct pc_segment *segment;
	uint64_t seq;
	int ret;

	pc_index_prefetch_bucket(cache->index, plan->keys[0].off);
	ret = take_room(cache, plan, nowait, &reservation);
	if (ret < 0)
		return ret;
	segment = pc_segment_at(cache->segments, reservation.segment);
	seq = segment->seq;
	ret = store_kset(cache, segment, &reservation, plan);
	if (pc_unlikely(ret < 0)) {
		ret = pc_cache_fail_media(cache, ret);
		(void)void_reservation(cache, segment, &reservation);
		unprepare(cache, plan, plan->count);
	} else {
		ret = publish(cache, &reservation, plan);
		if (pc_unlikely(ret < 0))
			ret = take_back(cache, segment, &reservation, ret);
		else if (ret > 0)
			ret = pc_clean_fence_kills(cache); /* order: before the lines are counted (W4) */
	}
	return count_done(cache, &reservation, seq, ret);
}

int pc_io_write_plan(struct pcache *cache, struct pc_write_plan *plan, bool nowait)
{
	if (pc_likely(pc_cache_mode(cache) != PCACHE_MODE_WRITEAROUND) || plan->is_whole || plan->keys[0].flags != 0)
		return pc_io_log_plan(cache, plan, nowait);
	return nowait ? -EAGAIN : pc_around_write(cache, plan);
}

/* One key set from one buffer. */
static int write_atomic(struct pcache *cache, const uint8_t *buf, size_t len, uint64_t off, bool nowait)
{
	_Alignas(PC_CACHE_LINE) uint8_t lines[(WRITE_KEYS_MAX + 2) / 2 * PCM_LINE];
	const uint8_t *sources[WRITE_KEYS_MAX];
	struct pc_key keys[WRITE_KEYS_MAX];
	struct pc_write_plan plan = { .keys = keys, .sources = sources, .lines = lines };

	pc_plan_add(&plan, buf, len, off);
	return pc_io_write_plan(cache, &plan, nowait);
}

/* FUA is for media where a write is not durable anyway. */
static bool must_sync(const struct pcache *cache, unsigned flags)
{
	return cache->media->granularity == PCACHE_GRANULARITY_PAGE &&
	       ((flags & PCACHE_WRITE_FUA) != 0 || cache->config.durable_on_return);
}

int pc_io_begin_write(const struct pcache *cache, size_t len, unsigned flags)
{
	if (pc_unlikely(pc_cache_is_failed(cache)))
		return -EIO;
	if ((flags & PCACHE_NOWAIT) == 0)
		return 0;
	if (pc_cache_mode(cache) == PCACHE_MODE_WRITETHROUGH)
		return -EAGAIN; /* it would wait for the backing, and nothing may be stored by then */
	if (must_sync(cache, flags))
		return -EOPNOTSUPP;
	return len > cache->max_atomic_bytes ? -E2BIG : 0;
}

int pc_io_finish_write(struct pcache *cache, unsigned flags)
{
	enum pcache_mode mode = pc_cache_mode(cache);

	if (pc_unlikely(mode == PCACHE_MODE_WRITETHROUGH))
		return pc_writeback_through(cache);
	if (must_sync(cache, flags) || (flags & PCACHE_WRITE_FUA) != 0 ||
	    (pc_unlikely(mode == PCACHE_MODE_WRITEAROUND) && cache->config.durable_on_return))
		return pc_io_flush(cache);
	return 0;
}

ssize_t pc_io_end_write(struct pcache *cache, size_t done, int error, unsigned flags)
{
	pc_stats_add(cache->stats, PC_COUNT_WRITES, 1);
	pc_stats_add(cache->stats, PC_COUNT_WRITE_BYTES, done);
	if (pc_unlikely(error < 0))
		pc_cache_report_failure(cache);
	if (done == 0)
		return error;
	error = pc_io_finish_write(cache, flags);
	return error < 0 ? error : (ssize_t)done;
}

ssize_t pc_io_write(struct pcache *cache, const void *buf, size_t len, uint64_t off, unsigned flags)
{
	size_t done = 0;
	int ret = pc_io_begin_write(cache, len, flags);

	if (ret < 0)
		return ret;
	while (done < len && ret == 0) {
		size_t piece = pc_min64(len - done, cache->max_atomic_bytes);

		ret = write_atomic(cache, (const uint8_t *)buf + done, piece, off + done, (flags & PCACHE_NOWAIT) != 0);
		if (ret == 0)
			done += piece;
	}
	return pc_io_end_write(cache, done, ret, flags);
}

int pc_io_flush_media(struct pcache *cache)
{
	uint64_t room;
	bool quiet;
	int ret;

	if (pc_cache_is_failed(cache))
		return -EIO;
	if (cache->media->granularity != PCACHE_GRANULARITY_PAGE)
		return 0; /* every write was durable when it returned */
	quiet = pc_stream_is_quiet(&cache->write, &room);
	ret = pc_media_sync(cache->media);
	if (ret < 0) {
		ret = pc_cache_fail_media(cache, ret);
		pc_cache_report_failure(cache);
		return ret;
	}
	if (quiet)
		pc_stream_set_durable(&cache->write, room);
	return 0;
}

int pc_io_flush(struct pcache *cache)
{
	int ret = pc_io_flush_media(cache);

	return ret < 0 ? ret : pc_around_flush(cache);
}

/* ---- reading ---- */

static bool has_moved(const struct pcache *cache, const struct pc_piece *piece)
{
	atomic_thread_fence(memory_order_acquire); /* the bytes were loaded before the generation is looked at again */
	return atomic_load_explicit(&cache->segments->refs[piece->mapping.segment].gen, memory_order_relaxed) !=
	       piece->gen;
}

/* The key may have decayed since it was validated: it must still lie around the piece. */
static bool holds_piece(const struct pcache *cache, const struct pc_key *key, const struct pc_mapping *piece)
{
	uint32_t skipped = piece->data_off - key->data_off;

	return key->stored_len == key->len && key->len <= PCM_KEY_MAX_BYTES && key->data_off <= piece->data_off &&
	       skipped < key->len && piece->len <= key->len - skipped && key->off == piece->off - skipped &&
	       key->data_off <= cache->segments->segment_bytes - key->len;
}

/* The backing has it, too: a miss, not an error. -EAGAIN: look up again. */
static int forget_clean(struct pcache *cache, const struct pc_piece *piece)
{
	int ret = pc_clean_forget(cache, &piece->mapping);

	if (ret < 0)
		return ret == -EBUSY ? -EAGAIN : ret;
	pc_stats_add(cache->stats, PC_COUNT_CLEAN_ERRORS, 1);
	pc_log(&cache->config.log, PCACHE_LOG_WARNING,
	       "clean data at offset %llu is damaged; it is read from the backing again",
	       (unsigned long long)piece->mapping.off);
	return -EAGAIN;
}

/* A key set is before dirty_tail as a whole or not at all, so the key's own line will do. */
static bool is_on_backing(struct pcache *cache, const struct pc_mapping *mapping)
{
	struct pc_pos pos = {
		.seq = atomic_load_explicit(&cache->segments->refs[mapping->segment].seq, memory_order_acquire),
		.line = mapping->slot / 2,
	};

	return pc_pos_cmp(pos, pc_cache_dirty_tail(cache)) < 0;
}

/* (R3) A write that has come to the backing. -EAGAIN: look up again. */
static int forget_written(struct pcache *cache, const struct pc_piece *piece)
{
	struct pc_index_claim claim;
	int ret;

	pc_misses_supersede(&cache->misses, piece->mapping.off, piece->mapping.len); /* order: before the drop (Q4) */
	ret = pc_index_claim_place(cache->index, &piece->mapping, &claim);
	if (ret < 0)
		return ret == -EBUSY ? -EAGAIN : ret;
	pc_index_claim_drop(cache->index, &claim, &piece->mapping);
	pc_stats_add(cache->stats, PC_COUNT_CLEAN_ERRORS, 1);
	pc_log(&cache->config.log, PCACHE_LOG_WARNING,
	       "written data at offset %llu is damaged; it is on the backing, and is read from there",
	       (unsigned long long)piece->mapping.off);
	return -EAGAIN;
}

/* -EBADMSG: the piece does not match its checksum; else what reading it gave. `key`: of the piece, or NULL. */
static int bad_data(struct pcache *cache, const struct pc_piece *piece, const struct pc_key *key, int error)
{
	if (pc_segment_is_clean(cache->segments, piece->mapping.segment))
		return forget_clean(cache, piece);
	if (is_on_backing(cache, &piece->mapping)) {
		int ret = pc_losses_report(cache, piece->mapping.off, piece->mapping.len);

		return ret < 0 ? ret : forget_written(cache, piece);
	}
	if (key == NULL)
		pc_damage_note(cache, piece);
	else /* all of it has one checksum */
		pc_damage_note_at(cache, key->off, key->len,
				  pc_segment_at(cache->segments, piece->mapping.segment)->off + key->data_off);
	if (error == -EBADMSG)
		pc_stats_add(cache->stats, PC_COUNT_CHECKSUM_ERRORS, 1);
	return pc_fail(&cache->config.log, error, "cached data of %u bytes at offset %llu %s", piece->mapping.len,
		       (unsigned long long)piece->mapping.off,
		       error == -EBADMSG ? "does not match its checksum" : "cannot be read from the media");
}

int pc_io_read_checked(struct pcache *cache, const struct pc_piece *piece, void *buf)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, piece->mapping.segment);
	uint32_t slot_off = pc_slot_off(cache->segments->segment_bytes, piece->mapping.slot);
	struct pcm_key raw = { 0 };
	struct pc_key key;
	PC_FREE uint8_t *data = NULL;
	bool known;
	bool good;
	int ret;

	ret = pc_media_read(cache->media, &raw, segment->off + slot_off, sizeof(raw));
	key = pc_key_decode(&raw);
	known = ret == 0 && holds_piece(cache, &key, &piece->mapping);
	good = known;
	if (known) {
		data = malloc(key.len);
		if (data == NULL)
			return -ENOMEM;
		ret = pc_media_read(cache->media, data, segment->off + key.data_off, key.len);
		good = ret == 0 && pc_crc32c(0, data, key.len) == key.data_crc;
	}
	if (has_moved(cache, piece))
		return -EAGAIN;
	if (good) {
		memcpy(buf, data + (piece->mapping.data_off - key.data_off), piece->mapping.len);
		pc_index_mark_verified(cache->index, &piece->mapping);
		return 0;
	}
	return bad_data(cache, piece, known ? &key : NULL, ret < 0 ? ret : -EBADMSG);
}

static bool must_verify(const struct pcache *cache, const struct pc_piece *piece)
{
	uint64_t verify = pc_tunable(cache, PCACHE_TUNABLE_READ_VERIFY);

	return verify == PCACHE_VERIFY_ALWAYS || (verify == PCACHE_VERIFY_FIRST && !piece->mapping.verified);
}

/* 0, -EAGAIN: the segment moved under us, look up again; or an error. */
static int read_cached(struct pcache *cache, const struct pc_piece *piece, void *buf)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, piece->mapping.segment);

	if (pc_unlikely(piece->mapping.kind != PC_MAPPING_DATA)) {
		memset(buf, 0, piece->mapping.len); /* (R2) */
		return 0;
	}
	if (pc_unlikely(must_verify(cache, piece)))
		return pc_io_read_checked(cache, piece, buf);
	pc_media_copy_racing(buf, cache->media, segment->off + piece->mapping.data_off, piece->mapping.len);
	if (has_moved(cache, piece)) /* (R1) */
		return -EAGAIN;
	if (pc_unlikely(pc_media_is_bad(cache->media, segment->off + piece->mapping.data_off, piece->mapping.len)))
		return bad_data(cache, piece, NULL, -EIO);
	return 0;
}

void pc_io_end_read(struct pcache *cache, size_t len, bool missed, uint64_t start_ns)
{
	pc_stats_add(cache->stats, PC_COUNT_READS, 1);
	pc_stats_add(cache->stats, PC_COUNT_READ_BYTES, len);
	if (pc_unlikely(missed))
		pc_stats_add(cache->stats, PC_COUNT_READ_MISSES, 1);
	pc_cache_end_sample(cache, missed ? PCACHE_LATENCY_READ_MISS : PCACHE_LATENCY_READ_HIT, start_ns);
}

ssize_t pc_io_read_cached(struct pcache *cache, void *buf, size_t len, uint64_t off, uint64_t *ret_hole)
{
	struct pc_piece pieces[READ_PIECES];
	unsigned count = pc_index_lookup(cache->index, off, len, pieces, READ_PIECES);
	size_t done = 0;

	*ret_hole = 0;
	for (unsigned i = 0; i < count; i++) {
		int ret;

		if (!pieces[i].cached) {
			*ret_hole = pieces[i].mapping.len;
			break;
		}
		ret = read_cached(cache, &pieces[i], (uint8_t *)buf + done);
		if (ret == -EAGAIN)
			break;
		if (ret < 0)
			return ret;
		done += pieces[i].mapping.len;
	}
	return (ssize_t)done;
}

ssize_t pc_io_read(struct pcache *cache, void *buf, size_t len, uint64_t off, unsigned flags)
{
	bool missed = false;
	uint64_t start_ns;
	size_t done = 0;

	pc_index_prefetch_bucket(cache->index, off);
	start_ns = pc_stats_sample();
	while (done < len) {
		uint64_t hole;
		ssize_t ret = pc_io_read_cached(cache, (uint8_t *)buf + done, len - done, off + done, &hole);

		if (ret < 0)
			return ret;
		done += (size_t)ret;
		if (hole == 0)
			continue;
		if ((flags & PCACHE_NOWAIT) != 0)
			return -EAGAIN;
		if (!missed)
			start_ns = pc_now_ns(); /* such calls are all timed, from here on */
		missed = true;
		ret = pc_miss_read(cache, (uint8_t *)buf + done, hole, off + done);
		if (ret < 0)
			return ret;
		done += (size_t)ret;
	}
	pc_io_end_read(cache, len, missed, start_ns);
	return (ssize_t)len;
}
