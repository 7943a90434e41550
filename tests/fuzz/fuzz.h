/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h - hostile cache images: how one is described, made, and tried.
 *
 * An input is short: which base image, what to do with it, and a list of patches to it. Base images are what a fixed
 * workload leaves at fixed moments, made anew in each process. So an input means the same on every machine, and a
 * corpus of inputs is small. A library that lays out the same workload differently gives the inputs another meaning,
 * not none.
 */
#ifndef PC_FUZZ_H
#define PC_FUZZ_H

#include "cache.h"

#define FUZZ_SEGMENT_BYTES (2 * PCM_SEGMENT_TEST_MIN) /* five blocks of clean data */
#define FUZZ_SEGMENTS      PCM_SEGMENTS_MIN
#define FUZZ_MEDIA_BYTES   (PCM_HEADER_BYTES + FUZZ_SEGMENTS * FUZZ_SEGMENT_BYTES)
#define FUZZ_VOLUME_BYTES  (96u * 1024 + 100)
#define FUZZ_BASES         16u
#define FUZZ_PATCHES_MAX   32u

enum fuzz_place {
	PLACE_SUPER,
	PLACE_INFO,
	PLACE_TAILS,
	PLACE_SEGMENT, /* number: of the segment */
	PLACE_LINE,    /* number: of the segment; index: of the line */
	PLACE_DATA,    /* number: of the segment; index: of the unit */
	PLACES,
};

enum fuzz_action {
	ACTION_SET,
	ACTION_ADD,
	ACTION_XOR,
	ACTION_COPY, /* 64 bytes of the same kind of place; value: its index * 256 + number */
	ACTIONS,
};

struct fuzz_patch {
	uint8_t place;
	uint8_t number;
	le16 index;
	uint8_t off;    /* bytes, in the record, line or unit */
	uint8_t len;    /* 1, 2, 4 or 8 bytes: as a power of two */
	uint8_t slots;  /* of records. 0: both, 1: A, 2: B */
	uint8_t action;
	le64 value;
};
static_assert(sizeof(struct fuzz_patch) == 16, "fuzz_patch");

#define FUZZ_REPAIR      1u   /* every checksum is made right after the patches */
#define FUZZ_REPAIR_DATA 2u   /* those of data too */
#define FUZZ_READONLY    4u
#define FUZZ_ANY_BACKING 8u
#define FUZZ_REOPEN      16u  /* before anything is written */
#define FUZZ_DRAIN       32u
#define FUZZ_PAGE        64u  /* page granularity, else cache line */
#define FUZZ_TRUNCATED   128u /* the file is shorter than the image */

struct fuzz_head {
	uint8_t base;
	uint8_t flags;
	uint8_t verify; /* enum pcache_verify */
	uint8_t writes; /* how many, after open */
	le32 seed;      /* of these writes; of a truncated file: its length */
};
static_assert(sizeof(struct fuzz_head) == 8, "fuzz_head");

/* Try one input. Returns 1 where the image was opened. Aborts, with a message, on anything that must not be. */
int fuzz_run(const uint8_t *input, size_t input_bytes);

/* Change an input with an eye for fields and their limits; returns its new length, at most room_bytes (64 or more). */
size_t fuzz_mutate(uint8_t *input, size_t input_bytes, size_t room_bytes, uint64_t seed);

__attribute__((noreturn)) void fuzz_fail(const char *what, int64_t value);

/* ---- base.c, patch.c ---- */

const uint8_t *fuzz_base(unsigned base); /* FUZZ_MEDIA_BYTES; made at the first call */
const uint8_t *fuzz_base_volume(unsigned base); /* FUZZ_VOLUME_BYTES, of the same moment */

void fuzz_patch(uint8_t *image, const struct fuzz_patch *patches, size_t count);
void fuzz_repair(uint8_t *image, const struct fuzz_patch *patches, size_t count, bool data_too);

/* ---- memory.c: media and backing in plain memory ---- */

/* `image` is used as it is, and outlives the media. More calls than `calls_max` abort: work must be bounded. */
struct pc_media *fuzz_media_open(uint8_t *image, uint64_t bytes, enum pcache_granularity granularity, bool readonly);
struct pc_backing *fuzz_backing_open(uint8_t *volume, bool readonly);
void fuzz_calls_reset(uint64_t calls_max);

/* For base.c: called at each sync of a media, before it. */
extern void (*fuzz_sync_hook)(const uint8_t *image);

#endif
