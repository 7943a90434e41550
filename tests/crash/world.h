/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * world.h - a machine: media, backing and the library on both. Machines are cloned from each other by a crash.
 */
#ifndef PC_CRASH_WORLD_H
#define PC_CRASH_WORLD_H

#include "cache.h"
#include "sim_backing.h"
#include "sim_media.h"

#include <errno.h>

struct geometry {
	enum pcache_granularity granularity;
	uint32_t segment_bytes;
	uint32_t segments;
	uint64_t volume_bytes;
	uint32_t align_bytes; /* of the backing */
	uint64_t batch_bytes;
};

struct world {
	struct geometry geometry;
	struct sim_media *media;
	struct sim_backing *backing;
	struct pcache *cache; /* NULL: not open */
	uint8_t *blank; /* the backing as it was first: zeroes */
};

void world_init(struct world *world, const struct geometry *geometry);
void world_free(struct world *world);

int world_open(struct world *world);
int world_close(struct world *world, bool drain);

/* The process is gone: memory is released, nothing is stored. */
void world_drop(struct world *world);

/* Read the whole volume through the cache. */
int world_read(struct world *world, uint8_t *buf);

/* What a crash leaves of one machine is the start of another. */
struct crash_choice {
	sim_choose_fn choose;
	void *choose_arg;
	sim_keep_fn keep;
	void *keep_arg;
};

/* Power cut. Returns a hash of what is left. */
uint64_t world_power_cut(struct world *from, const struct crash_choice *choice, struct world *to);


#endif
