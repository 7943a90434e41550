/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * world.c - a simulated machine around the real library. Small geometry, no threads: background work is stepped.
 */
#include "world.h"

#include "crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	uint64_t bytes = PCM_HEADER_BYTES + (uint64_t)geometry->segments * geometry->segment_bytes;

	*world = (struct world){ .geometry = *geometry };
	world->media = sim_media_new(bytes, geometry->granularity);
	world->blank = calloc(1, geometry->volume_bytes);
	must(world->media != NULL && world->blank != NULL, "no memory");
	must(sim_backing_new(geometry->volume_bytes, geometry->align_bytes, &world->backing) == 0, "no memory");
	sim_media_tag(world->media, is_meta, &world->geometry);
}

void world_free(struct world *world)
{
	if (world->cache != NULL)
		world_drop(world);
	sim_media_delete(world->media);
	sim_backing_free(world->backing);
	free(world->blank);
}

int world_open(struct world *world)
{
	struct pc_config config = {
		.segment_bytes = world->geometry.segment_bytes,
		.gc_percent = 70,
		.batch_bytes = world->geometry.batch_bytes,
		.dirty_age_ms = 1000,
		.queue_depth = 8,
		.verify = PCACHE_VERIFY_FIRST,
		.replay_threads = 1,
	};

	return pc_cache_open(&config, sim_media_open(world->media, false), sim_backing_base(world->backing), true,
			     &world->cache);
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
	uint64_t bytes = from->geometry.volume_bytes;
	uint8_t *image = malloc(bytes);
	uint64_t hash;

	must(image != NULL, "no memory");
	hash = sim_media_crash_into(from->media, choice->choose, choice->choose_arg, to->media);
	sim_backing_crash_image(from->backing, image, choice->keep, choice->keep_arg);
	sim_backing_reset_to(to->backing, image);
	hash ^= (uint64_t)pc_crc32c(0, image, bytes) * 0x9e3779b97f4a7c15ull;
	free(image);
	return hash;
}
