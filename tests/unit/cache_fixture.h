/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cache_fixture.h - a whole cache on a simulated media and backing, so small that a few writes fill it. For
 * test_cache_*.c.
 *
 * A stepped cache has no threads: everything happens in the calls of the test. With threads, waits have a generous
 * ceiling. Helpers assert by themselves, so they belong in the thread that runs the test.
 */
#ifndef PC_CACHE_FIXTURE_H
#define PC_CACHE_FIXTURE_H

#include "cache.h"
#include "sim_backing.h"
#include "sim_media.h"
#include "support.h"

#include <errno.h>
#include <unistd.h>

#ifndef SEGMENTS /* a program may choose another shape */
#define SEGMENTS      8u
#define SEGMENT_BYTES PCM_SEGMENT_TEST_MIN
#define VOLUME_BYTES  (256u << 10)
#endif
#define SEGMENTS_OFF  (SEGMENT_BYTES > PCM_HEADER_BYTES ? SEGMENT_BYTES : PCM_HEADER_BYTES)
#define MEDIA_BYTES   (SEGMENTS_OFF + SEGMENTS * SEGMENT_BYTES)
#define BLOCK         1024u
#define BLOCKS        (VOLUME_BYTES / BLOCK)
#define BLOCK_ROOM    (1 + BLOCK / PCM_UNIT) /* of a segment, for one block */
#define IN_SEGMENT    ((SEGMENT_BYTES - PCM_SEGMENT_HEADER) / PCM_LINE / BLOCK_ROOM)
#define CEILING_MS    100000u

static struct sim_media *sim;
static struct sim_backing *backing;
static struct pcache *cache;
static struct pc_config config;
static struct test_random contents;
static uint8_t model[VOLUME_BYTES]; /* what was acknowledged */

static struct {
	pthread_mutex_t lock; /* guards what follows */

	char text[512]; /* the last error or warning */
	unsigned count;
} log_seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void (*on_message)(void); /* called by the log callback, as a user's would be */

static inline void note_message(enum pcache_log_level level, const char *message, void *arg)
{
	(void)arg;
	if (level == PCACHE_LOG_INFO || strstr(message, "PCACHE_OPEN_SALVAGE") != NULL) /* that comes behind the reason */
		return;
	pthread_mutex_lock(&log_seen.lock);
	snprintf(log_seen.text, sizeof(log_seen.text), "%s", message);
	log_seen.count++;
	pthread_mutex_unlock(&log_seen.lock);
	if (on_message != NULL)
		on_message();
}

static inline bool said(const char *words)
{
	bool found;

	pthread_mutex_lock(&log_seen.lock);
	found = strstr(log_seen.text, words) != NULL;
	pthread_mutex_unlock(&log_seen.lock);
	return found;
}

static inline int try_open(bool stepped)
{
	return pc_cache_open(&config, sim_media_open(sim, config.readonly), sim_backing_base(backing), stepped, &cache);
}

static inline void open_cache(bool stepped)
{
	ck_assert_int_eq(try_open(stepped), 0);
}

/* The process is gone; what it stored is still visible. */
static inline void kill_and_reopen(bool stepped)
{
	pc_cache_abandon(cache);
	cache = NULL;
	open_cache(stepped);
}

/* Nothing moves unless it is asked to. */
static inline void set_up(enum pcache_granularity granularity)
{
	sim = sim_media_new(MEDIA_BYTES, granularity);
	ck_assert_ptr_nonnull(sim);
	ck_assert_int_eq(sim_backing_new(VOLUME_BYTES, 512, &backing), 0);
	contents = random_of(5);
	memset(model, 0, sizeof(model));
	log_seen.text[0] = '\0';
	log_seen.count = 0;
	on_message = NULL;
	config = (struct pc_config){
		.segment_bytes = SEGMENT_BYTES,
		.tunables[PCACHE_TUNABLE_GC_PERCENT] = 95,
		.tunables[PCACHE_TUNABLE_DIRTY_HIGH] = UINT32_MAX,
		.tunables[PCACHE_TUNABLE_BATCH_BYTES] = UINT32_MAX,
		.tunables[PCACHE_TUNABLE_DIRTY_AGE_MS] = UINT32_MAX,
		.queue_depth = 8,
		.tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_FIRST,
		.replay_threads = 1,
		.log = { .fn = note_message },
	};
}

static inline void tear_down(void)
{
	if (cache != NULL)
		pc_cache_abandon(cache);
	cache = NULL;
	sim_media_delete(sim);
	sim_backing_free(backing);
	sim = NULL;
	backing = NULL;
}

static const enum pcache_granularity granularities[] = {
	PCACHE_GRANULARITY_CACHE_LINE,
	PCACHE_GRANULARITY_BYTE,
	PCACHE_GRANULARITY_PAGE,
};
#define GRANULARITIES 3

/* ---- data ---- */

static inline uint64_t block_off(unsigned block)
{
	return (uint64_t)block * BLOCK;
}

/* New content for a block; the model has it if it was acknowledged. */
static inline ssize_t write_block(unsigned block, unsigned flags)
{
	uint8_t data[BLOCK];
	ssize_t ret;

	test_random_fill(&contents, data, sizeof(data));
	ret = pc_io_write(cache, data, sizeof(data), block_off(block), flags);
	if (ret == BLOCK)
		memcpy(model + block_off(block), data, sizeof(data));
	return ret;
}

static inline void write_blocks(unsigned first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(write_block(first + i, 0), BLOCK);
}

/* The open segment has no room for one more block; the next writer is the one to close it. */
static inline bool open_segment_is_full(void)
{
	uint64_t room = pc_stream_room(&cache->write);

	return pc_room_lines(room) + pc_room_units(room) + BLOCK_ROOM > cache->write.room_total;
}

static inline void fill_open_segment(void)
{
	for (unsigned block = 0; !open_segment_is_full(); block++)
		ck_assert_int_eq(write_block(block, PCACHE_NOWAIT), BLOCK);
}

/* No segment is free, and none of them is on the backing. */
static inline void fill_cache(void)
{
	for (unsigned block = 0; atomic_load(&cache->segments->free_count) > 0; block = (block + 1) % BLOCKS)
		ck_assert_int_eq(write_block(block, PCACHE_NOWAIT), BLOCK);
	fill_open_segment();
}

static inline void check_reads(void)
{
	static uint8_t found[VOLUME_BYTES];

	ck_assert_int_eq(pc_io_read(cache, found, sizeof(found), 0, 0), VOLUME_BYTES);
	for (unsigned block = 0; block < BLOCKS; block++)
		EXPECT(memcmp(found + block_off(block), model + block_off(block), BLOCK) == 0);
}

/* All of the model is on the backing, and would survive a power cut. */
static inline void check_backing(void)
{
	for (unsigned block = 0; block < BLOCKS; block++)
		EXPECT(memcmp(sim_backing_durable(backing) + block_off(block), model + block_off(block), BLOCK) == 0);
	EXPECT(sim_backing_all_synced(backing));
}

/* ---- positions ---- */

static inline struct pc_pos pos_locked(const struct pc_pos *pos)
{
	struct pc_pos now;

	pthread_mutex_lock(&cache->state_lock);
	now = *pos;
	pthread_mutex_unlock(&cache->state_lock);
	return now;
}

static inline struct pc_pos dirty_tail(void)
{
	return pos_locked(&cache->dirty_tail);
}

static inline struct pc_pos batch_end(void)
{
	return pos_locked(&cache->batch_end);
}

static inline bool is_at(struct pc_pos pos, uint64_t seq, uint32_t line)
{
	return pos.seq == seq && pos.line == line;
}

static inline bool is_clean(void)
{
	return pc_pos_cmp(dirty_tail(), pc_cache_head(cache)) == 0;
}

/* ---- a writer between reserve and commit ---- */

static inline struct pc_reservation enter_segment(void)
{
	struct pc_reservation reservation;
	uint64_t room;

	ck_assert(pc_stream_reserve(&cache->write, 1, 0, &reservation, &room));
	return reservation;
}

/* It could not commit: its line says so. */
static inline void leave_segment(const struct pc_reservation *reservation)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, reservation->segment);
	const struct pc_kset kset = {
		.seq = segment->seq,
		.durable_below = reservation->durable_below,
		.is_void = true,
	};
	uint64_t off = segment->off + pc_line_off(SEGMENT_BYTES, reservation->line);
	uint64_t seq = segment->seq;
	uint8_t line[PCM_LINE];
	uint32_t lines;

	pc_kset_encode(segment->kset_seed, reservation->line, &kset, NULL, line);
	ck_assert_int_eq(pc_media_copy(cache->media, off, line, sizeof(line), PC_COPY_STREAM), 0);
	ck_assert_int_eq(pc_media_drain(cache->media), 0);
	if (pc_stream_commit(&cache->write, reservation, &lines))
		ck_assert_int_eq(pc_rotate_seal(cache, reservation->segment, PC_STREAM_WRITE, seq, lines), 0);
}

/* ---- waiting ---- */

#define WAIT_UNTIL(condition) \
	do { \
		unsigned waited_ms = 0; \
\
		for (; !(condition) && waited_ms < CEILING_MS; waited_ms++) \
			usleep(1000); \
		if (waited_ms == CEILING_MS) \
			ck_abort_msg("never: %s", #condition); \
	} while (0)

static inline unsigned space_waiters(void)
{
	unsigned count;

	pthread_mutex_lock(&cache->state_lock);
	count = cache->space_waiters;
	pthread_mutex_unlock(&cache->state_lock);
	return count;
}

#endif
