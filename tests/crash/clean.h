/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clean.h - the keys of clean data in an image of the media, found and judged without the library's reader.
 */
#ifndef PC_CRASH_CLEAN_H
#define PC_CRASH_CLEAN_H

#include "world.h"

/* One key that is valid and not killed. */
struct clean_key {
	uint64_t off; /* of its block on the backing */
	uint64_t data_off; /* on the media */
	uint32_t data_crc;
	uint32_t segment;
	uint32_t line;
};

/* A walk over all of them in one image. */
struct clean_walk {
	const struct geometry *geometry;
	const uint8_t *image;
	struct clean_key key; /* the one that was found */
	uint32_t segment;     /* where to go on */
	uint32_t line;
	uint32_t blocks; /* of that segment; 0: not looked at, or not a clean one */
	uint32_t seed;
	uint64_t seq;
};

struct clean_walk clean_walk_begin(const struct geometry *geometry, const uint8_t *image);
bool clean_walk_next(struct clean_walk *walk);

/* Does the image call the segment at this offset one of FILL or HOT? */
bool clean_is_segment(const struct geometry *geometry, const uint8_t *image, uint64_t off);

/* False: there is no valid key in this line, or it was killed. */
bool clean_key_at(const struct geometry *geometry, const uint8_t *image, uint32_t segment, uint32_t line,
		  struct clean_key *ret_key);

/* Does the index of an open cache find the key's whole block where the key is? */
bool clean_is_found(const struct pcache *cache, const struct clean_key *key);

/*
 * NULL: every valid key is where the index finds its block, as the machine sees it and as it is durable; with `data`,
 * its data is what the backing has, and matches its checksum. For moments when nobody is at work.
 */
const char *clean_account(const struct world *world, bool data);

#endif
