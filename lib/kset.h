/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kset.h - key sets: encode, decode and validate. Pure functions on private memory.
 *
 * A kset of n keys takes (n + 2) / 2 lines. Line n of a segment lies at the segment's end minus 64 * (n + 1) bytes, so
 * a kset's lines go downwards in memory; each line by itself is ascending. Key i of a kset sits in its slot i + 1,
 * slot 0 is the header; slots are counted from the start of the segment's line 0, so slot = 2 * line + i + 1 names a
 * key in its segment.
 */
#ifndef PC_KSET_H
#define PC_KSET_H

#include "format.h"
#include "media.h"
#include "types.h"

struct pc_key {
	uint64_t off; /* on the backing */
	uint32_t len;
	uint32_t data_off; /* in the segment */
	uint32_t data_crc;
	uint32_t stored_len; /* 0: no data */
	uint16_t flags;
};

struct pc_kset {
	uint64_t seq;
	uint32_t count;
	uint32_t lines;
	uint32_t durable_below;
	bool is_void;
};

/* What key sets of one segment are checked against. */
struct pc_kset_scope {
	uint32_t seed; /* pc_kset_seed() of the segment's life */
	uint32_t segment_bytes;
	uint64_t seq;
	uint64_t backing_bytes;
};

/* Lines up to `end` (not included) in private memory, the last one first, as they lie on the media. */
struct pc_lines {
	const uint8_t *buf;
	uint32_t end;
};

/* Units that a key takes; one also without data. */
static inline uint32_t pc_key_units(uint32_t stored_len)
{
	return stored_len == 0 ? 1 : (stored_len + PCM_UNIT - 1) / PCM_UNIT;
}

static inline uint32_t pc_kset_lines(uint32_t keys)
{
	return (keys + 2) / 2;
}

/* Lines and units that a segment has room for in all. */
static inline uint32_t pc_segment_room(uint32_t segment_bytes)
{
	return (segment_bytes - PCM_SEGMENT_HEADER) / PCM_LINE;
}

/* Offset in the segment of a line, and of the key in a slot. */
static inline uint32_t pc_line_off(uint32_t segment_bytes, uint32_t line)
{
	return segment_bytes - PCM_LINE * (line + 1);
}

static inline uint32_t pc_slot_off(uint32_t segment_bytes, uint32_t slot)
{
	return pc_line_off(segment_bytes, slot / 2) + (slot % 2) * (uint32_t)sizeof(struct pcm_key);
}

/* Seed of all ksets in one life of one segment: leftovers and misplaced copies do not validate (K1). */
uint32_t pc_kset_seed(const uint8_t uuid[16], uint64_t gen);

/* Encode into `lines`: pc_kset_lines(count) lines in ascending order of line number, zero padded. */
void pc_kset_encode(uint32_t seed, uint32_t line, const struct pc_kset *kset, const struct pc_key *keys, void *lines);

/*
 * Validate the kset that begins at `line`, all its keys included, and look at its header.
 * False: no valid kset begins here; nothing is said about why.
 */
bool pc_kset_decode(const struct pc_kset_scope *scope, const struct pc_lines *lines, uint32_t line,
		    struct pc_kset *ret_kset);

/* Key i of a kset that was validated. */
struct pc_key pc_kset_key(const struct pc_lines *lines, uint32_t line, uint32_t i);

/* One key from its raw 32 bytes, unchecked: for its CRC and place, after its kset was validated earlier. */
struct pc_key pc_key_decode(const struct pcm_key *raw);

/* The line of a VOID. */
void pc_kset_encode_void(uint32_t seed, uint32_t line, uint64_t seq, uint32_t durable_below, void *ret_line);

/*
 * Clean segments: line n is a kset of one key, for block n of the data. What is not valid there, or killed, is a miss.
 */
enum pc_clean_line {
	PC_CLEAN_NONE,   /* nothing valid */
	PC_CLEAN_VALID,
	PC_CLEAN_KILLED, /* *ret_key is set all the same; its len is 0 where the rest of the line cannot be believed */
};
enum pc_clean_line pc_kset_decode_clean(const struct pc_kset_scope *scope, const struct pc_lines *lines, uint32_t line,
					struct pc_key *ret_key);

/* Where a key that begins at `off`, of a range up to `end`, ends: it crosses no multiple of PCM_KEY_MAX_BYTES. */
static inline uint64_t pc_key_end(uint64_t off, uint64_t end)
{
	return pc_min64(end, pc_align_down(off, PCM_KEY_MAX_BYTES) + PCM_KEY_MAX_BYTES);
}

static inline uint32_t pc_clean_data_off(uint32_t line)
{
	return PCM_SEGMENT_HEADER + line * PCM_BLOCK;
}

/* Blocks that a clean segment has room for. */
static inline uint32_t pc_clean_blocks(uint32_t segment_bytes)
{
	return pc_segment_room(segment_bytes) / (PCM_BLOCK / PCM_UNIT + 1);
}

/* Kill the key in this line of the clean segment at media offset `segment_off`: stored and flushed. */
int pc_kset_kill(struct pc_media *media, uint64_t segment_off, uint32_t segment_bytes, uint32_t line);

/* Offset in the segment of the word that kills the key in this line. */
static inline uint32_t pc_kill_off(uint32_t segment_bytes, uint32_t line)
{
	return pc_line_off(segment_bytes, line) + (uint32_t)offsetof(struct pcm_kset, order);
}

/*
 * Read lines [first, end) of the segment whose last byte is before media offset segment_end into `buf`, which has room
 * for (end - first) * PCM_LINE bytes.
 */
int pc_lines_read(struct pc_media *media, uint64_t segment_end, uint32_t first, uint32_t end, void *buf,
		  struct pc_lines *ret_lines);

#endif
