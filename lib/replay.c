/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay.c - rebuild the index from the key sets on the media, on all processors. Stores nothing.
 *
 * First the clean segments, then those of WRITE. In either threads take whole segments in any order: of two writes for
 * a byte the index keeps the one with the higher position, whichever comes first, and what is clean gives way to both.
 *
 * Torn or corrupt?
 * (E1) In a sealed segment every line up to its count belongs to a valid key set. Anything else is corruption.
 * (E2) In a segment that was not sealed the lines are scanned until they would meet the data. Lines have fixed places,
 *      so a hole left by a slower writer hides nothing behind it.
 * (E3) There, a bad line under the highest `durable_below` of any valid key set, or under dirty_tail or the end of a
 *      batch, is corruption: it was durable once. A bad line above is a write that was never acknowledged.
 * (E4) Data is checked in segments that were not sealed: one bad key above that mark voids its whole key set (a write
 *      is whole or absent); under the mark the data decayed, the key stays, and its readers are told. So it does where
 *      the data cannot be read: that may be an acknowledged write, and the error may pass.
 */
#include "recover.h"

#include "crc32c.h"
#include "thread.h"

#include <errno.h>
#include <string.h>

struct replay {
	struct pcache *cache;
	struct pc_found *found;
	_Atomic uint64_t keys;
	_Atomic uint64_t end_bytes;
	_Atomic uint64_t dirty_bytes;
};

/* One segment in the hands of one thread. */
struct scan {
	struct replay *replay;
	struct pc_segment *segment;
	struct pc_replayed *found;
	struct pc_kset_scope scope;
	struct pc_lines lines;
	uint8_t *data; /* PCM_KEY_MAX_BYTES */
	uint64_t keys;
	uint64_t end_bytes;
	uint64_t dirty_bytes;
};

/* What a bad line seems to have written may be stale (V9). */
static void note_stale(struct scan *scan, uint32_t line)
{
	struct pcache *cache = scan->replay->cache;
	uint64_t size = cache->backing->size_bytes;
	struct pcm_kset header;

	memcpy(&header, scan->lines.buf + (size_t)(scan->lines.end - 1 - line) * PCM_LINE, sizeof(header));
	if (pc_get32(header.magic) != PCM_MAGIC_KSET)
		return;
	for (uint32_t i = 0; i < pc_get16(header.count) && line + (i + 1) / 2 < scan->lines.end; i++) {
		struct pc_key key = pc_kset_key(&scan->lines, line, i);

		if (key.len != 0 && key.len <= PCM_KEY_MAX_BYTES && key.off <= size && key.len <= size - key.off)
			pc_damage_note_stale(cache, key.off, key.len);
	}
}

/* An error; in a salvage it is noted, and the line is left out (V9). */
static int corrupt(struct scan *scan, uint32_t line, const char *what)
{
	struct pcache *cache = scan->replay->cache;
	int ret = pc_fail(&cache->config.log, -EBADMSG,
			  "segment %u (number %llu of the log), line %u: %s; acknowledged writes may be damaged",
			  scan->segment->id, (unsigned long long)scan->segment->seq, line, what);

	if (!cache->config.salvage)
		return ret;
	cache->salvage_lines++;
	if (line < scan->lines.end)
		note_stale(scan, line);
	return 0;
}

/* Not on the backing, as the media has it. */
static bool is_dirty(const struct scan *scan, uint32_t line)
{
	return pc_pos_cmp((struct pc_pos){ scan->segment->seq, line }, scan->replay->cache->dirty_tail) >= 0;
}

static int enter_key(struct scan *scan, uint32_t line, uint32_t i, bool verified)
{
	struct pc_key key = pc_kset_key(&scan->lines, line, i);
	const struct pc_mapping mapping = {
		.off = key.off,
		.len = key.len,
		.segment = scan->segment->id,
		.data_off = key.data_off,
		.slot = 2 * line + 1 + i,
		.verified = verified,
		.kind = (uint8_t)pc_kind_of_key(&key),
	};
	int ret;

	scan->keys++;
	scan->end_bytes = pc_max64(scan->end_bytes, key.off + key.len);
	if (is_dirty(scan, line) && (key.flags & PCM_KEY_INVALIDATE) == 0)
		scan->dirty_bytes += key.len;
	ret = pc_index_insert(scan->replay->cache->index, &mapping);
	return ret < 0 ? ret : 0;
}

static int enter_kset(struct scan *scan, uint32_t line, const struct pc_kset *kset, bool verified)
{
	for (uint32_t i = 0; i < kset->count; i++) {
		int ret = enter_key(scan, line, i, verified);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Units up to the end of the data of this key set. */
static uint32_t kset_units(const struct scan *scan, uint32_t line, const struct pc_kset *kset)
{
	struct pc_key last;

	if (kset->count == 0)
		return 0;
	last = pc_kset_key(&scan->lines, line, kset->count - 1);
	return (last.data_off - PCM_SEGMENT_HEADER) / PCM_UNIT + pc_key_units(last.stored_len);
}

static int scan_sealed(struct scan *scan) /* (E1) */
{
	uint32_t line = 0;

	while (line < scan->found->lines) {
		struct pc_kset kset;
		int ret;

		if (!pc_kset_decode(&scan->scope, &scan->lines, line, &kset)) {
			ret = corrupt(scan, line, "a key set of a sealed segment does not match its checksum");
			if (ret < 0)
				return ret;
			line++;
			continue;
		}
		ret = enter_kset(scan, line, &kset, false);
		if (ret < 0)
			return ret;
		scan->found->units = (uint32_t)pc_max64(scan->found->units, kset_units(scan, line, &kset));
		line += kset.lines;
	}
	return 0;
}

/* How far the segment was used, and under which line everything was durable (E2, E3). */
static void find_end(struct scan *scan, uint32_t room)
{
	struct pc_replayed *found = scan->found;
	uint32_t line = 0;

	while (line + found->units < room) {
		struct pc_kset kset;

		if (!pc_kset_decode(&scan->scope, &scan->lines, line, &kset)) {
			line++;
			continue;
		}
		found->known = (uint32_t)pc_max64(found->known, kset.durable_below);
		found->units = (uint32_t)pc_max64(found->units, kset_units(scan, line, &kset));
		line += kset.lines;
		found->lines = line;
	}
}

enum finding { DATA_GOOD, DATA_BAD, DATA_UNREADABLE };

static int check_data(struct scan *scan, uint32_t line, const struct pc_kset *kset, enum finding *ret_finding)
{
	*ret_finding = DATA_GOOD;
	for (uint32_t i = 0; i < kset->count && *ret_finding != DATA_BAD; i++) {
		struct pc_key key = pc_kset_key(&scan->lines, line, i);
		int ret;

		if (key.stored_len == 0)
			continue;
		ret = pc_media_read(scan->replay->cache->media, scan->data, scan->segment->off + key.data_off,
				    key.stored_len);
		if (ret < 0 && ret != -EIO)
			return ret;
		if (ret < 0)
			*ret_finding = DATA_UNREADABLE;
		else if (pc_crc32c(0, scan->data, key.stored_len) != key.data_crc)
			*ret_finding = DATA_BAD;
	}
	return 0;
}

static int add_voids(struct pc_replayed *found, uint32_t line, uint32_t count)
{
	uint32_t *voids = realloc(found->voids, (found->void_count + count) * sizeof(*voids));

	if (voids == NULL)
		return -ENOMEM;
	found->voids = voids;
	for (uint32_t i = 0; i < count; i++)
		voids[found->void_count++] = line + i;
	return 0;
}

static int judge_kset(struct scan *scan, uint32_t line, const struct pc_kset *kset) /* (E4) */
{
	enum finding finding;
	int ret = check_data(scan, line, kset, &finding);

	if (ret < 0)
		return ret;
	if (finding == DATA_BAD && line >= scan->found->known)
		return add_voids(scan->found, line, kset->lines);
	if (finding != DATA_GOOD)
		pc_log(&scan->replay->cache->config.log, PCACHE_LOG_WARNING, "segment %u, line %u: %s",
		       scan->segment->id, line,
		       finding == DATA_BAD ? "acknowledged data does not match its checksum any more" :
					     "its data cannot be read; readers will be told");
	return enter_kset(scan, line, kset, finding == DATA_GOOD);
}

static int scan_unsealed(struct scan *scan)
{
	uint32_t line = 0;
	int ret = 0;

	scan->found->said = scan->found->known; /* by the tails */
	find_end(scan, scan->replay->cache->segments->room);
	if (scan->found->known > scan->found->lines)
		ret = corrupt(scan, scan->found->lines, "lines that were durable are missing");
	while (line < scan->found->lines && ret == 0) {
		struct pc_kset kset;

		if (pc_kset_decode(&scan->scope, &scan->lines, line, &kset)) {
			uint32_t voids = scan->found->void_count;

			ret = judge_kset(scan, line, &kset);
			if (scan->found->void_count == voids)
				scan->found->said = (uint32_t)pc_max64(scan->found->said, kset.durable_below);
			line += kset.lines;
		} else if (line < scan->found->known) {
			ret = corrupt(scan, line, "a line that was durable does not match its checksum"); /* (E3) */
			line++;
		} else {
			ret = add_voids(scan->found, line, 1);
			line++;
		}
	}
	return ret;
}

/* (V9) Line by line; what cannot be read is zero, which is no key set. */
static void salvage_lines(struct scan *scan, uint32_t count, uint8_t *buf)
{
	struct pcache *cache = scan->replay->cache;
	uint64_t end = scan->segment->off + cache->segments->segment_bytes;
	struct pc_lines line;

	memset(buf, 0, (size_t)count * PCM_LINE);
	for (uint32_t i = 0; i < count; i++)
		(void)pc_lines_read(cache->media, end, i, i + 1, buf + (size_t)(count - 1 - i) * PCM_LINE, &line);
	scan->lines = (struct pc_lines){ .buf = buf, .end = count };
}

static int scan_segment(struct scan *scan)
{
	struct pcache *cache = scan->replay->cache;
	bool sealed = scan->segment->state == PC_SEGMENT_SEALED;
	uint32_t count = sealed ? scan->segment->lines : cache->segments->room;
	PC_FREE uint8_t *buf = malloc((size_t)count * PCM_LINE + 1);
	int ret;

	if (buf == NULL)
		return -ENOMEM;
	scan->scope = pc_segment_scope(cache->segments, scan->segment, cache->backing->size_bytes);
	ret = pc_lines_read(cache->media, scan->segment->off + cache->segments->segment_bytes, 0, count, buf,
			    &scan->lines);
	if (ret < 0)
		ret = pc_fail(&cache->config.log, ret, "segment %u: its lines cannot be read", scan->segment->id);
	if (ret < 0 && !cache->config.salvage)
		return ret;
	if (ret < 0)
		salvage_lines(scan, count, buf);
	if (!sealed)
		return scan_unsealed(scan);
	scan->found->lines = count;
	return scan_sealed(scan);
}

static void raise_to(_Atomic uint64_t *value, uint64_t to)
{
	uint64_t now = atomic_load_explicit(value, memory_order_relaxed);

	while (now < to &&
	       !atomic_compare_exchange_weak_explicit(value, &now, to, memory_order_relaxed, memory_order_relaxed))
		;
}

static int replay_segment(void *arg, uint32_t i)
{
	struct replay *replay = arg;
	struct pc_replayed *item = &replay->found->chain.items[i];
	PC_FREE uint8_t *data = malloc(PCM_KEY_MAX_BYTES);
	struct scan scan = {
		.replay = replay,
		.segment = pc_segment_at(replay->cache->segments, item->segment),
		.found = item,
		.data = data,
	};
	int ret = data == NULL ? -ENOMEM : scan_segment(&scan);

	atomic_fetch_add_explicit(&replay->keys, scan.keys, memory_order_relaxed);
	raise_to(&replay->end_bytes, scan.end_bytes);
	atomic_fetch_add_explicit(&replay->dirty_bytes, scan.dirty_bytes, memory_order_relaxed);
	return ret;
}

static int replay_clean(void *arg, uint32_t i)
{
	struct replay *replay = arg;
	uint64_t keys = 0;
	int ret = pc_replay_clean(replay->cache, replay->found, i, &keys);

	atomic_fetch_add_explicit(&replay->keys, keys, memory_order_relaxed);
	return ret;
}

static void note_loser(void *arg, uint32_t segment, uint32_t slot)
{
	pc_losers_add(arg, segment, slot / 2);
}

int pc_replay(struct pcache *cache, struct pc_found *found)
{
	struct replay replay = { .cache = cache, .found = found };
	uint32_t threads = cache->stepped ? 1 : cache->config.replay_threads;
	int ret;

	/* What gives way is only noted: the kills come when everything has been judged (V8). */
	pc_index_set_killer(cache->index, note_loser, &found->losers);
	pc_index_begin_replay(cache->index);
	ret = pc_thread_each(threads, found->clean_count, replay_clean, &replay);
	if (ret == 0) /* writes after all that is clean (E5) */
		ret = pc_thread_each(threads, found->chain.count, replay_segment, &replay);
	pc_index_end_replay(cache->index);
	pc_index_set_killer(cache->index, pc_clean_kill, cache);
	cache->replay_keys = replay.keys;
	found->dirty_bytes = replay.dirty_bytes;
	cache->recovered_end_bytes = replay.end_bytes;
	return ret < 0 ? ret : found->losers.error;
}
