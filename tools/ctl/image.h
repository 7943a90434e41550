/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.h - a cache file as it lies there: every record and key set, read with pread, judged, never changed. It does not
 * need the library's recovery, so that one can be compared with the other.
 */
#ifndef CTL_IMAGE_H
#define CTL_IMAGE_H

#include "format.h"
#include "kset.h"
#include "media.h"
#include "meta.h"

#include "ctl.h"

enum image_slot {
	IMAGE_SLOT_GOOD,
	IMAGE_SLOT_OLDER, /* valid, and the other one is newer */
	IMAGE_SLOT_BAD,   /* damaged, or it cannot be read */
};

struct image_record {
	enum image_slot slots[2];
	bool is_valid; /* one of them is good */
	bool is_sane;  /* ... and what it says can be */
	struct pc_meta meta;
};

struct image_segment {
	struct image_record record;
	uint32_t id;
	uint64_t off; /* in the file */
	uint8_t state;
	uint8_t stream;
	bool has_next;
	uint64_t gen;
	uint64_t seq;
	uint32_t lines;
	uint32_t next;
	uint32_t mark;  /* of an unsealed one in the log: lines under it were durable */
	uint32_t found; /* lines in use, as far as they were scanned */
};

struct image {
	struct pc_media media; /* the first member: the records are read through it */
	int fd;
	uint64_t hidden_off; /* one slot is not shown, so that the other can be judged alone */
	const char *path;
	uint64_t file_bytes;
	bool is_open; /* for writing, by some process */

	struct image_record super_record;
	struct image_record info_record;
	struct image_record tails_record;
	struct image_record lost_record; /* of the lost ranges, where the cache info says that there are some */
	struct pcm_super super;
	struct pcm_info info;
	struct pcm_tails tails;
	uint64_t segments_off;
	uint64_t backing_bytes;
	uint32_t segment_bytes;
	uint32_t segment_count;
	struct pc_pos dirty_tail;
	struct pc_pos batch_end;
	struct image_segment *segments; /* NULL where the superblock says nothing of use */
	struct image_segment **log;     /* those of the WRITE stream, oldest first */
	uint32_t log_count;
};

/*
 * Read all records. With `lock` the file is locked against writers until close. CTL_OK also for a damaged one;
 * CTL_FAILED, after a message: no such file, no cache at all, or in use.
 */
int image_open(const char *path, bool lock, struct image *ret_image);
void image_close(struct image *image);

const char *image_state_name(uint8_t state);
const char *image_stream_name(uint8_t stream);
const char *image_slot_name(enum image_slot slot);

enum image_what {
	IMAGE_KSET,
	IMAGE_VOID,
	IMAGE_TORN,      /* a line that was never acknowledged: the next open for writing voids it */
	IMAGE_TORN_DATA, /* the same, a key set whose data does not match */
	IMAGE_DAMAGED,   /* a line that was durable, and is no key set any more */
	IMAGE_MISSING,   /* ... and behind the last one that can be read */
	IMAGE_KILLED,    /* clean key that something superseded */
	IMAGE_UNREADABLE, /* all lines of the segment */
};

enum image_data { IMAGE_DATA_UNKNOWN, IMAGE_DATA_GOOD, IMAGE_DATA_BAD };

/* What is found at one line. */
struct image_find {
	enum image_what what;
	enum image_data data; /* of a key set: of its worst key */
	const struct image_segment *segment;
	uint32_t line;
	struct pc_kset kset;
	const struct pc_key *keys; /* kset.count of them */
};

typedef void (*image_find_fn)(void *arg, const struct image_find *find);

/* Go through a segment in use, from line 0 on. Data is compared with its checksum in unsealed segments, and with `data`. */
int image_scan(const struct image *image, struct image_segment *segment, bool data, image_find_fn fn, void *arg);

/* Not on the backing yet. */
static inline bool image_is_dirty(const struct image *image, const struct image_segment *segment, uint32_t line)
{
	return segment->stream == PC_STREAM_WRITE &&
	       pc_pos_cmp((struct pc_pos){ segment->seq, line }, image->dirty_tail) >= 0;
}

/* ---- content.c: what a read would find ---- */

struct image_content {
	uint64_t *live;        /* bytes by segment that are found there */
	uint64_t dirty_bytes;  /* not on the backing */
	uint64_t clean_bytes;
	uint64_t lost_bytes;   /* dirty, and damaged */
	uint64_t keys;
	uint64_t superseded;   /* clean keys that a newer one covers */
};

/* Scans everything in use; `also` hears of every find. CTL_OK or CTL_FAILED after a message. */
int image_content_load(struct image *image, bool data, image_find_fn also, void *arg, struct image_content *ret_content);
void image_content_free(struct image_content *content);

#endif
