/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cache_clean_fixture.h - a stepped cache over a backing with content, for test_cache_clean*.c and test_cache_evict.c.
 *
 * A clean segment has room for five blocks, unless a program chooses another shape. The backing ends in the middle of a block. A block here is one of 4 KiB.
 */
#ifndef PC_CACHE_CLEAN_FIXTURE_H
#define PC_CACHE_CLEAN_FIXTURE_H

#ifndef SEGMENTS
#define SEGMENTS      16u
#define SEGMENT_BYTES 32768u
#define PER_SEGMENT   5u
#endif
#define VOLUME_BYTES  ((512u << 10) + 1024u)

#include "cache_fixture.h"
#include "crc32c.h"

#define WHOLE_BLOCKS (VOLUME_BYTES / PCM_BLOCK)
#define LAST_BLOCK   WHOLE_BLOCKS /* not a whole one */

/* The cache is open, stepped, empty; the backing has content, and so has the model. */
static inline void set_up_clean(enum pcache_granularity granularity)
{
	set_up(granularity);
	test_random_fill(&contents, model, sizeof(model));
	sim_backing_patch(backing, 0, model, sizeof(model));
	open_cache(true);
	ck_assert_uint_eq(pc_clean_blocks(SEGMENT_BYTES), PER_SEGMENT);
}

static inline uint64_t off_of(uint64_t block)
{
	return block * PCM_BLOCK;
}

static inline uint64_t backing_reads(void)
{
	return sim_backing_counts(backing).reads;
}

static inline uint64_t counted(enum pc_counter counter)
{
	return pc_stats_sum(cache->stats, counter);
}

static inline void check_range(uint64_t off, size_t len)
{
	static uint8_t found[VOLUME_BYTES];

	ck_assert_int_eq(pc_io_read(cache, found, len, off, 0), (ssize_t)len);
	ck_assert_msg(memcmp(found, model + off, len) == 0, "%zu bytes at %ju are wrong", len, (uintmax_t)off);
}

static inline void check_blocks(uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		check_range(off_of(i), PCM_BLOCK);
}

/* As many backing reads as said, whatever else happens. */
#define CHECK_READS_FROM_BACKING(expected, what) \
	do { \
		uint64_t reads_before = backing_reads(); \
\
		what; \
		ck_assert_uint_eq(backing_reads() - reads_before, expected); \
	} while (0)

static inline void check_cached(uint64_t block)
{
	CHECK_READS_FROM_BACKING(0, check_blocks(block, 1));
}

/* Any bytes; the model has them. */
static inline void write_range(uint64_t off, size_t len)
{
	static uint8_t data[VOLUME_BYTES];

	test_random_fill(&contents, data, len);
	ck_assert_int_eq(pc_io_write(cache, data, len, off, 0), (ssize_t)len);
	memcpy(model + off, data, len);
}

/* Where the index finds the first byte of a block; false: nowhere. Counts as an access. */
static inline bool find(uint64_t block, struct pc_mapping *ret_mapping)
{
	struct pc_piece piece;

	ck_assert_uint_eq(pc_index_lookup(cache->index, off_of(block), 1, &piece, 1), 1);
	*ret_mapping = piece.mapping;
	return piece.cached;
}

static inline enum pc_stream_kind stream_of(uint64_t block)
{
	struct pc_mapping mapping;

	if (!find(block, &mapping))
		return PC_STREAM_NONE;
	return pc_segment_at(cache->segments, mapping.segment)->stream;
}

/* Without an access: in which stream the whole block is found. */
static inline enum pc_stream_kind stream_unseen(uint64_t block)
{
	for (uint32_t id = 0; id < SEGMENTS; id++) {
		struct pc_mapping mapping;

		if (pc_index_find_in(cache->index, id, off_of(block), PCM_BLOCK, &mapping))
			return pc_segment_at(cache->segments, id)->stream;
	}
	return PC_STREAM_NONE;
}

/* Media offset of the word that kills the key found there. */
static inline uint64_t kill_word_of(const struct pc_mapping *mapping)
{
	return pc_segment_at(cache->segments, mapping->segment)->off + pc_kill_off(SEGMENT_BYTES, mapping->slot / 2);
}

static inline bool is_killed_in(const uint8_t *image, uint64_t off)
{
	return memcmp(image + off, "PCKilled", 8) == 0;
}

/* A power cut that leaves what is durable and nothing else; the backing too. */
static inline void cut_power_and_reopen(void)
{
	static uint8_t image[MEDIA_BYTES];
	static uint8_t volume[VOLUME_BYTES];

	memcpy(image, sim_media_durable(sim), sizeof(image));
	sim_backing_crash_image(backing, volume, NULL, NULL);
	pc_cache_abandon(cache);
	cache = NULL;
	sim_media_reset_to(sim, image);
	sim_backing_reset_to(backing, volume);
	open_cache(true);
}

/* One victim, though there is space enough. */
static inline void reclaim_one(void)
{
	atomic_store(&cache->clean_starved, true);
	ck_assert_int_eq(pc_reclaim_step(cache), 1);
}

/* The segment that would have gone: its number and stream, by what is gone after it. */
static inline uint32_t reclaimed_segment(void)
{
	bool was_free[SEGMENTS];

	for (uint32_t id = 0; id < SEGMENTS; id++)
		was_free[id] = pc_segment_at(cache->segments, id)->state == PC_SEGMENT_FREE;
	reclaim_one();
	for (uint32_t id = 0; id < SEGMENTS; id++)
		if (!was_free[id] && pc_segment_at(cache->segments, id)->state == PC_SEGMENT_FREE)
			return id;
	ck_abort_msg("no segment became free");
}

static inline void close_clean_segments(void)
{
	pc_clean_close(cache, PC_STREAM_FILL);
	pc_clean_close(cache, PC_STREAM_HOT);
}

/* Kept in HOT at once, as a block that was evicted not long ago. */
static inline void keep_hot(uint64_t block)
{
	pc_ghost_add(cache->evicted, block);
	check_blocks(block, 1);
	ck_assert_int_eq(stream_unseen(block), PC_STREAM_HOT);
}

static inline uint32_t free_segments(void)
{
	return atomic_load(&cache->segments->free_count);
}

/* ---- in the middle of a miss ---- */

static struct {
	const struct pc_backing_ops *ops;
	struct pc_backing_ops changed;
	void (*meanwhile)(void); /* once, when the backing has answered and before the reader has it */
} between;

static inline int64_t read_and_more(struct pc_backing *base, void *buf, uint64_t off, size_t len)
{
	int64_t ret = between.ops->read(base, buf, off, len);
	void (*meanwhile)(void) = between.meanwhile;

	between.meanwhile = NULL;
	if (meanwhile != NULL)
		meanwhile();
	return ret;
}

static inline void during_next_miss(void (*meanwhile)(void))
{
	between.ops = cache->backing->ops;
	between.changed = *between.ops;
	between.changed.read = read_and_more;
	between.meanwhile = meanwhile;
	cache->backing->ops = &between.changed;
}

static inline void after_miss(void)
{
	ck_assert_ptr_null(between.meanwhile);
	cache->backing->ops = between.ops;
}

#endif
