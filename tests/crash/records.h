/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * records.h - the two-slot records in an image of the media, found and judged without the library's reader.
 */
#ifndef PC_CRASH_RECORDS_H
#define PC_CRASH_RECORDS_H

#include "world.h"

struct record_place {
	uint64_t off; /* of slot A */
	uint32_t bytes;
	uint32_t magic;
	uint32_t number; /* seeds the CRC; UINT32_MAX: the superblock, not seeded */
	unsigned slot;   /* the one that was asked for */
};

struct record_look {
	const uint8_t *slots[2];
	bool valid[2];
	uint64_t slot_seq[2];
	unsigned newest; /* of the valid ones */
};

/* The record whose slot begins at this offset. */
bool record_at(const struct geometry *geometry, uint64_t off, struct record_place *ret_place);

/* Record number n of the cache: superblock, info, tails, then the segments. */
struct record_place record_number(const struct geometry *geometry, uint32_t n);

struct record_look record_look(const struct record_place *place, const uint8_t *image);

/* Make the CRC of a changed record fit; the image has the UUID. */
void record_sign(const struct record_place *place, const uint8_t *image, void *record);

/* The UUID in the superblock; false: there is none. */
bool record_uuid(const uint8_t *image, uint8_t ret_uuid[16]);

#endif
