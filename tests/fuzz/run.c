/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - one hostile image: open, read, write, drain, close, open again.
 *
 * What is expected, whatever the image says:
 *
 * (F1) Every call ends, after a bounded number of accesses to media and backing, which all lie inside.
 * (F2) A read-only open stores nothing.
 * (F3) What was written after open reads back, reaches the backing with a drain, and is there after the next open.
 * (F4) A cache that was opened and closed without an error can be opened again, and what could be read before and can
 *      be read then is the same. Clean data may be dropped at any time: where it differs from the backing, because it was
 *      forged, either may be read then.
 *
 * The process's own checks (sanitizers, assertions, leaks) say the rest.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CALLS_MAX   200000u
#define PIECE_BYTES 4096u
#define PIECES      (FUZZ_VOLUME_BYTES / PIECE_BYTES + 1)
#define WRITES_MAX  8u
#define WRITE_BYTES 9000u

struct range {
	uint64_t off;
	size_t len;
};

struct view {
	uint8_t bytes[FUZZ_VOLUME_BYTES];
	bool good[PIECES];
};

struct trial {
	struct fuzz_head head;
	uint64_t media_bytes;
	bool is_huge; /* numbers near their end */
	struct pcache *cache;
	uint64_t random;
	struct range writes[WRITES_MAX];
	unsigned write_count;
};

static uint8_t image[FUZZ_MEDIA_BYTES];
static uint8_t volume[FUZZ_VOLUME_BYTES];
static uint8_t written[FUZZ_VOLUME_BYTES]; /* what the writes of this trial leave */
static bool is_write[FUZZ_VOLUME_BYTES]; /* not clean: by the look-up of `before` */
static struct view before;
static struct view after;

static bool has(const struct trial *trial, unsigned flag)
{
	return (trial->head.flags & flag) != 0;
}

static uint64_t next_random(struct trial *trial)
{
	trial->random = trial->random * 6364136223846793005ull + 1442695040888963407ull;
	return trial->random >> 33;
}

static int check_result(const char *what, int64_t ret, int64_t most)
{
	if (ret > most || ret < -4095)
		fuzz_fail(what, ret);
	return ret < 0 ? (int)ret : 0;
}

static int open_cache(struct trial *trial)
{
	bool readonly = has(trial, FUZZ_READONLY);
	enum pcache_granularity granularity =
		has(trial, FUZZ_PAGE) ? PCACHE_GRANULARITY_PAGE : PCACHE_GRANULARITY_CACHE_LINE;
	const struct pc_config config = {
		.readonly = readonly,
		.any_backing = has(trial, FUZZ_ANY_BACKING),
		.segment_bytes = FUZZ_SEGMENT_BYTES,
		.tunables[PCACHE_TUNABLE_GC_PERCENT] = 60,
		.tunables[PCACHE_TUNABLE_BATCH_BYTES] = 20000,
		.queue_depth = 8,
		.tunables[PCACHE_TUNABLE_READ_VERIFY] = (enum pcache_verify)(trial->head.verify % 3),
		.replay_threads = 1,
	};
	struct pc_media *media = fuzz_media_open(image, trial->media_bytes, granularity, readonly);

	/* Without the option to create, a blank file ends in media.c; nothing here formats one. */
	if (media->blank) {
		pc_media_close(media);
		return -EUCLEAN;
	}
	return check_result("open", pc_cache_open(&config, media, fuzz_backing_open(volume, readonly), true, &trial->cache),
			    0);
}

static int close_cache(struct trial *trial, bool drain)
{
	int ret = pc_cache_close(trial->cache, drain);

	trial->cache = NULL;
	return check_result("close", ret, 0);
}

static void read_all(struct trial *trial, struct view *view)
{
	for (uint64_t i = 0; i < PIECES; i++) {
		uint64_t off = i * PIECE_BYTES;
		size_t len = (size_t)pc_min64(PIECE_BYTES, FUZZ_VOLUME_BYTES - off);
		ssize_t ret = pc_io_read(trial->cache, view->bytes + off, len, off, 0);

		view->good[i] = check_result("read", ret, (int64_t)len) == 0;
		if (view->good[i] && ret != (ssize_t)len)
			fuzz_fail("short read", ret);
	}
}

/* Which bytes are found in a segment of WRITE. */
static void note_writes(struct trial *trial)
{
	for (uint64_t off = 0; off < FUZZ_VOLUME_BYTES;) {
		struct pc_piece piece;

		pc_index_lookup(trial->cache->index, off, FUZZ_VOLUME_BYTES - off, &piece, 1);
		memset(is_write + off,
		       piece.cached && !pc_segment_is_clean(trial->cache->segments, piece.mapping.segment),
		       piece.mapping.len);
		off += piece.mapping.len;
	}
}

/* (F4) */
static void compare_views(void)
{
	for (uint64_t off = 0; off < FUZZ_VOLUME_BYTES; off++) {
		uint64_t i = off / PIECE_BYTES;

		if (before.bytes[off] != after.bytes[off] && before.good[i] && after.good[i] &&
		    (is_write[off] || after.bytes[off] != volume[off]))
			fuzz_fail("F4: other content after opening again, at", (int64_t)off);
	}
}

/* (F3) */
static void check_writes(struct trial *trial)
{
	for (unsigned i = 0; i < trial->write_count; i++) {
		static uint8_t found[WRITE_BYTES];
		const struct range *range = &trial->writes[i];
		ssize_t ret = pc_io_read(trial->cache, found, range->len, range->off, 0);

		if (ret != (ssize_t)range->len)
			fuzz_fail("F3: what was written cannot be read", ret);
		if (memcmp(found, written + range->off, range->len) != 0)
			fuzz_fail("F3: something else than what was written, at", (int64_t)range->off);
	}
}

static void check_drained(struct trial *trial)
{
	for (unsigned i = 0; i < trial->write_count; i++) {
		const struct range *range = &trial->writes[i];

		if (memcmp(volume + range->off, written + range->off, range->len) != 0)
			fuzz_fail("F3: drained, and not on the backing, at", (int64_t)range->off);
	}
}

static void do_writes(struct trial *trial)
{
	static uint8_t data[WRITE_BYTES];

	for (unsigned i = 0; i < trial->head.writes % (WRITES_MAX + 1); i++) {
		size_t len = 1 + next_random(trial) % WRITE_BYTES;
		uint64_t off = next_random(trial) % (FUZZ_VOLUME_BYTES - len);
		ssize_t ret;

		memset(data, (int)(0xa0 + i), len);
		ret = pc_io_write(trial->cache, data, len, off, i % 4 == 3 ? PCACHE_WRITE_FUA : 0);
		if (check_result("write", ret, (int64_t)len) < 0 || ret == 0)
			continue;
		memcpy(written + off, data, (size_t)ret);
		trial->writes[trial->write_count++] = (struct range){ off, (size_t)ret };
		pc_cache_step(trial->cache);
	}
	check_result("flush", pc_io_flush(trial->cache), 0);
}

/* Misses are kept, and what was kept gives way, comes back and is carried forward, whatever it is. */
static void browse(struct trial *trial)
{
	for (unsigned round = 0; round < 2; round++) {
		read_all(trial, &after);
		for (unsigned i = 0; i < FUZZ_SEGMENTS && pc_reclaim_step(trial->cache) > 0; i++)
			;
	}
}

/* (F4) At the bound of their numbers sequences and generations come to an end: nobody gets there but by forging. */
static bool has_huge_numbers(const struct trial *trial)
{
	for (uint32_t id = 0; id < trial->cache->segments->count; id++) {
		const struct pc_segment *segment = pc_segment_at(trial->cache->segments, id);

		if ((segment->gen | segment->seq) >> 62 != 0)
			return true;
	}
	return false;
}

static bool reopen(struct trial *trial)
{
	int ret = close_cache(trial, false);

	if (ret < 0)
		return false;
	ret = open_cache(trial);
	if (ret < 0 && !trial->is_huge)
		fuzz_fail("F4: closed in order, and cannot be opened again", ret);
	return ret == 0;
}

static bool do_all(struct trial *trial)
{
	trial->is_huge = has_huge_numbers(trial);
	read_all(trial, &before);
	note_writes(trial);
	if (has(trial, FUZZ_REOPEN)) {
		if (!reopen(trial))
			return false;
		read_all(trial, &after);
		compare_views();
	}
	if (has(trial, FUZZ_READONLY))
		return true;
	do_writes(trial);
	browse(trial);
	check_writes(trial);
	if (has(trial, FUZZ_DRAIN) && pc_writeback_drain(trial->cache, NULL, NULL) == 0)
		check_drained(trial);
	if (trial->write_count == 0)
		return true;
	if (!reopen(trial))
		return false;
	check_writes(trial);
	return true;
}

static void make_image(struct trial *trial, const uint8_t *patches_at, size_t patches_bytes)
{
	struct fuzz_patch patches[FUZZ_PATCHES_MAX];
	size_t count = (size_t)pc_min64(patches_bytes / sizeof(patches[0]), FUZZ_PATCHES_MAX);

	memcpy(image, fuzz_base(trial->head.base), FUZZ_MEDIA_BYTES);
	memcpy(volume, fuzz_base_volume(trial->head.base), FUZZ_VOLUME_BYTES);
	if (count > 0)
		memcpy(patches, patches_at, count * sizeof(patches[0]));
	fuzz_patch(image, patches, count);
	if (has(trial, FUZZ_REPAIR))
		fuzz_repair(image, patches, count, has(trial, FUZZ_REPAIR_DATA));
}

int fuzz_run(const uint8_t *input, size_t input_bytes)
{
	struct trial trial = { .media_bytes = FUZZ_MEDIA_BYTES };

	if (input_bytes < sizeof(trial.head))
		return 0;
	memcpy(&trial.head, input, sizeof(trial.head));
	trial.random = pc_get32(trial.head.seed);
	if (has(&trial, FUZZ_TRUNCATED))
		trial.media_bytes = pc_get32(trial.head.seed) % FUZZ_MEDIA_BYTES;
	make_image(&trial, input + sizeof(trial.head), input_bytes - sizeof(trial.head));
	fuzz_calls_reset(CALLS_MAX);
	if (open_cache(&trial) < 0)
		return 0;
	if (do_all(&trial))
		close_cache(&trial, false);
	return 1;
}
