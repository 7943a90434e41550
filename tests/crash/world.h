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
	uint32_t segments;      /* of the cache; */
	uint32_t segments_room; /* of its file */
	uint64_t volume_bytes;
	uint32_t align_bytes; /* of the backing */
	uint64_t tunables[PC_TUNABLES]; /* by enum pcache_tunable */
	bool has_zero;  /* the backing can zero a range, */
	bool has_punch; /* and punch a hole */
};

struct world {
	struct geometry geometry;
	struct sim_media *media;
	struct sim_backing *backing;
	struct pcache *cache; /* NULL: not open */
	bool readonly;        /* at the next open */
	bool drops;           /* at the next open: what it holds */
	bool discards;        /* at the next open: that, and what is not on the backing */
	uint32_t grow_to;     /* at the next open: segments; 0: it does not grow */
	bool keeps_no_reads;  /* at the next open: misses are not kept, whatever the geometry says */
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

/* kill -9 of the process; the machine goes on. Returns a hash of what it sees. */
uint64_t world_kill(struct world *from, const struct crash_choice *choice, struct world *to);

/* The same, in place: its cache goes. */
void world_kill_here(struct world *world);

/* A position as one number. */
static inline uint64_t world_pos(struct pc_pos pos)
{
	return pos.seq << 32 | pos.line;
}

/* Does the log of an open cache hold a valid key set at this position? */
bool world_has_kset(const struct world *world, uint64_t pos);

/* NULL: every segment has one role, and counts of live bytes are what the index finds. Else what is wrong. (O7) */
const char *world_account(const struct world *world);

#endif
