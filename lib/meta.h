/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meta.h - records that exist twice on the media, each copy in a slot of its own.
 */
#ifndef PC_META_H
#define PC_META_H

#include "format.h"
#include "media.h"

/* One two-slot record, where it lies and how far it got. */
struct pc_meta {
	uint64_t off;   /* of slot A; slot B is PCM_SLOT_STRIDE further */
	uint32_t bytes; /* of the record, at most PCM_SLOT_STRIDE */
	uint32_t magic;
	uint32_t seed;     /* of its CRC: pc_meta_seed() */
	uint64_t slot_seq; /* of the newest slot */
	uint8_t slot_newest;
	bool slot_stale; /* the other slot is bad or older: load found it so, or a store was interrupted */
};

/* Seed for the record with this number (a segment's, else 0) in the cache with this UUID. */
uint32_t pc_meta_seed(const uint8_t uuid[16], uint32_t number);

/*
 * Read both slots and take the valid one with the higher sequence into ret_record. Stores nothing.
 * -EUCLEAN: both are bad, or cannot be read.
 */
int pc_meta_load(struct pc_media *media, struct pc_meta *meta, void *ret_record);

/*
 * Make what was loaded safe to decide from: both slots flushed as found, a stale one overwritten with the newest.
 * The caller syncs the media afterwards, once for all its records. -EIO: the record is no longer what load returned.
 */
int pc_meta_repair(struct pc_media *media, struct pc_meta *meta);

/*
 * Update: the slot that is not the newest first, then the other; durable when it returns.
 * `record` begins with a struct pcm_record, which is filled in here.
 */
int pc_meta_store(struct pc_media *media, struct pc_meta *meta, void *record);

/* First store of a record whose slots hold nothing: both are written. Not synced: the caller does, once for all. */
int pc_meta_create(struct pc_media *media, struct pc_meta *meta, void *record);

#endif
