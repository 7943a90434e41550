/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stamp.h - sectors that say who wrote them, when and where: for writers that overlap.
 *
 * A sector is 32 granules of 16 bytes: {version, seal}. The seal follows from the version and the granule's place on
 * the volume, so that bytes of another place, or half of one granule, do not pass. Version 0 is what the backing held
 * at the start.
 */
#ifndef TEST_API_STAMP_H
#define TEST_API_STAMP_H

#include "fixture.h"

#include <string.h>

enum stamp_state {
	STAMP_WHOLE,   /* one version */
	STAMP_MIXED,   /* each granule is good, but they are of different versions */
	STAMP_GARBAGE, /* never written here */
};

struct stamp_granule {
	uint64_t version;
	uint64_t seal;
};

#define STAMP_GRANULES (SECTOR / sizeof(struct stamp_granule))

static inline uint64_t stamp_seal(uint64_t version, uint64_t place)
{
	uint64_t mixed = version * 0x9e3779b97f4a7c15u + place * 0xc2b2ae3d27d4eb4fu + 1;

	mixed ^= mixed >> 29;
	mixed *= 0xbf58476d1ce4e5b9u;
	return mixed ^ mixed >> 32;
}

static inline void stamp_fill(void *buf, uint64_t sector, uint64_t sectors, uint64_t version)
{
	struct stamp_granule *granules = buf;

	for (uint64_t i = 0; i < sectors * STAMP_GRANULES; i++)
		granules[i] = (struct stamp_granule){ version, stamp_seal(version, sector * STAMP_GRANULES + i) };
}

/* ret_version: of the first granule, if it is good at all. */
static inline enum stamp_state stamp_check(const void *buf, uint64_t sector, uint64_t *ret_version)
{
	const struct stamp_granule *granules = buf;
	enum stamp_state state = STAMP_WHOLE;

	for (uint64_t i = 0; i < STAMP_GRANULES; i++) {
		if (granules[i].seal != stamp_seal(granules[i].version, sector * STAMP_GRANULES + i))
			return STAMP_GARBAGE;
		if (granules[i].version != granules[0].version)
			state = STAMP_MIXED;
	}
	*ret_version = granules[0].version;
	return state;
}

/* The whole volume in version 0, on the backing and in the model. Before the first open. */
static inline void stamp_backing(struct fixture *fx)
{
	stamp_fill(fx->model, 0, fx->bytes / SECTOR, 0);
	file_write(fx->backing_path, 0, fx->model, fx->bytes);
}

#endif
