/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * world.c - a simulated machine around the real library. Small geometry, no threads: background work is stepped.
 */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNT_PIECES 64u

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "crash explorer: %s\n", what);
	abort();
}

/* Where an offset on the media belongs: metadata and key sets decide more than data, and are fewer. */
static bool is_meta(uint64_t off, void *arg)
{
	const struct geometry *geometry = arg;
	uint64_t in_segment;

	if (off < PCM_HEADER_BYTES)
		return true;
	in_segment = (off - PCM_HEADER_BYTES) % geometry->segment_bytes;
	return in_segment < PCM_SEGMENT_HEADER || in_segment >= geometry->segment_bytes - geometry->segment_bytes / 16;
}

void world_init(struct world *world, const struct geometry *geometry)
{
	uint64_t bytes = PCM_HEADER_BYTES + (uint64_t)geometry->segments_room * geometry->segment_bytes;

	*world = (struct world){ .geometry = *geometry };
	world->media = sim_media_new(bytes, geometry->granularity);
	must(world->media != NULL, "no memory");
	must(sim_backing_new(geometry->volume_bytes, geometry->align_bytes, &world->backing) == 0, "no memory");
	world->backing->zero_refused = geometry->has_zero ? 0 : -EOPNOTSUPP;
	world->backing->punch_refused = geometry->has_punch ? 0 : -EOPNOTSUPP;
	sim_media_tag(world->media, is_meta, &world->geometry);
}

void world_free(struct world *world)
{
	if (world->cache != NULL)
		world_drop(world);
	sim_media_delete(world->media);
	sim_backing_free(world->backing);
}

int world_open(struct world *world)
{
	struct pc_config config = {
		.segment_bytes = world->geometry.segment_bytes,
		.queue_depth = 8,
		.replay_threads = 1,
		.readonly = world->readonly,
		.drop_clean = world->drops,
		.discard_dirty = world->discards,
		.grow = world->grow_to != 0,
	};
	struct pc_media *media = sim_media_open(world->media, world->readonly);
	uint32_t segments = media->blank ? world->geometry.segments : world->grow_to;

	memcpy(config.tunables, world->geometry.tunables, sizeof(config.tunables));
	if (!media->blank)
		config.tunables[PCACHE_TUNABLE_GC_PERCENT] = PC_TUNABLE_UNSET;
	if (segments != 0)
		config.cache_size_bytes = PCM_HEADER_BYTES + (uint64_t)segments * world->geometry.segment_bytes;
	if (world->keeps_no_reads)
		config.tunables[PCACHE_TUNABLE_FILL] = PCACHE_FILL_NEVER;
	return pc_cache_open(&config, media, sim_backing_base(world->backing),
			     true, &world->cache);
}

int world_close(struct world *world, bool drain)
{
	int ret = pc_cache_close(world->cache, drain);

	world->cache = NULL;
	return ret;
}

void world_drop(struct world *world)
{
	pc_cache_abandon(world->cache);
	world->cache = NULL;
}

int world_read(struct world *world, uint8_t *buf)
{
	ssize_t ret = pc_io_read(world->cache, buf, world->geometry.volume_bytes, 0, 0);

	if (ret < 0)
		return (int)ret;
	return (uint64_t)ret == world->geometry.volume_bytes ? 0 : -EIO;
}

uint64_t world_power_cut(struct world *from, const struct crash_choice *choice, struct world *to)
{
	uint64_t hash = sim_media_crash_into(from->media, choice->choose, choice->choose_arg, to->media);

	return hash ^ sim_backing_crash_into(from->backing, choice->keep, choice->keep_arg, to->backing);
}

uint64_t world_kill(struct world *from, const struct crash_choice *choice, struct world *to)
{
	uint64_t hash = sim_media_kill_into(from->media, to->media);

	sim_backing_kill_into(to->backing, from->backing, choice->keep, choice->keep_arg);
	return hash;
}

void world_kill_here(struct world *world)
{
	sim_media_kill(world->media);
	world->cache->media = NULL; /* it ended with the process */
	world_drop(world);
}

/* ---- looks inside ---- */

bool world_has_kset(const struct world *world, uint64_t pos)
{
	const struct pcache *cache = world->cache;
	uint64_t seq = pos >> 32;
	uint32_t line = (uint32_t)pos;
	struct pc_pos head = pc_cache_head(cache);
	const struct pc_segment *segment;
	struct pc_kset_scope scope;
	struct pc_lines lines;
	struct pc_kset kset;

	if (seq < cache->oldest_seq || seq > head.seq)
		return false;
	segment = pc_segment_at(cache->segments, pc_stream_segment(&cache->write, seq));
	scope = pc_segment_scope(cache->segments, segment, cache->backing->size_bytes);
	lines = (struct pc_lines){
		.buf = sim_media_view(world->media) + segment->off + PCM_SEGMENT_HEADER,
		.end = cache->segments->room,
	};
	if (segment->state == PC_SEGMENT_SEALED && line >= segment->lines)
		return false;
	return pc_kset_decode(&scope, &lines, line, &kset) && !kset.is_void;
}

static bool is_in_bitmap(const struct pc_segments *segments, uint32_t id)
{
	return (segments->free_bitmap[id / 64] >> (id % 64) & 1) != 0;
}

static const char *account_writes(const struct pcache *cache, uint32_t *used)
{
	uint64_t head = pc_cache_head(cache).seq;

	for (uint64_t seq = cache->oldest_seq; seq <= head; seq++, ++*used) {
		uint32_t id = pc_stream_segment(&cache->write, seq);
		const struct pc_segment *segment = pc_segment_at(cache->segments, id);

		if (segment->seq != seq || segment->stream != PC_STREAM_WRITE || segment->state == PC_SEGMENT_FREE)
			return "a segment of the stream is not what the stream says";
		if (is_in_bitmap(cache->segments, id))
			return "a segment of the stream is in the bitmap of free ones";
		if (seq < head && segment->next != pc_stream_segment(&cache->write, seq + 1))
			return "a segment does not name the next one";
	}
	return NULL;
}

/* Ages ascend by number; all but the newest are closed, and what is closed is sealed: nobody is at work in it. */
static const char *account_clean(const struct pcache *cache, const struct pc_clean *clean, uint32_t *used)
{
	uint64_t before = 0;

	for (uint32_t i = 0; i < clean->age.count; i++, ++*used) {
		uint32_t id = clean->age.ids[i];
		const struct pc_segment *segment = pc_segment_at(cache->segments, id);
		bool is_open = !pc_stream_is_done(&clean->stream, id);

		if (segment->stream != clean->kind || segment->state == PC_SEGMENT_FREE || segment->seq <= before)
			return "a clean segment is not what its stream says";
		if (is_open && (i + 1 < clean->age.count || pc_stream_segment(&clean->stream, segment->seq) != id))
			return "a clean segment was not closed";
		if (!is_open && segment->state != PC_SEGMENT_SEALED)
			return "a clean segment that was closed is not sealed";
		if (is_in_bitmap(cache->segments, id))
			return "a clean segment is in the bitmap of free ones";
		before = segment->seq;
	}
	return NULL;
}

static const char *account_roles(const struct pcache *cache)
{
	uint32_t used = 0;
	const char *wrong = account_writes(cache, &used);

	for (unsigned i = 0; i < PC_ARRAY_SIZE(cache->clean) && wrong == NULL; i++)
		wrong = account_clean(cache, &cache->clean[i], &used);
	if (wrong != NULL)
		return wrong;
	for (uint32_t id = 0; id < cache->segments->count; id++)
		if (is_in_bitmap(cache->segments, id)) {
			if (pc_segment_at(cache->segments, id)->state != PC_SEGMENT_FREE)
				return "a segment in the bitmap is not free";
			used++;
		}
	if (used != cache->segments->count)
		return "a segment has no role";
	return NULL;
}

static void count_live(const struct pcache *cache, uint64_t *live)
{
	struct pc_piece pieces[ACCOUNT_PIECES];
	uint64_t off = 0;

	while (off < cache->backing->size_bytes) {
		unsigned count = pc_index_lookup(cache->index, off, cache->backing->size_bytes - off, pieces,
						 ACCOUNT_PIECES);

		for (unsigned i = 0; i < count; i++) {
			if (pieces[i].cached)
				live[pieces[i].mapping.segment] += pieces[i].mapping.len;
			off += pieces[i].mapping.len;
		}
	}
}

const char *world_account(const struct world *world)
{
	const struct pcache *cache = world->cache;
	PC_FREE uint64_t *live = calloc(cache->segments->count, sizeof(*live));
	const char *wrong = account_roles(cache);
	uint64_t total = 0;

	must(live != NULL, "no memory");
	count_live(cache, live);
	for (uint32_t id = 0; id < cache->segments->count && wrong == NULL; id++) {
		total += live[id];
		if (live[id] != pc_index_live_bytes(cache->index, id))
			wrong = "live bytes of a segment are not what the index finds";
		else if (live[id] != 0 && pc_segment_at(cache->segments, id)->state == PC_SEGMENT_FREE)
			wrong = "the index points into a free segment";
	}
	if (wrong == NULL && total != pc_index_cached_bytes(cache->index))
		wrong = "cached bytes are not what the index finds";
	return wrong;
}
