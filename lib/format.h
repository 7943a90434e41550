/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * format.h - every structure on the media, its size and its offsets. docs/format.md is the reference.
 *
 *   0       superblock  slot A, slot B       one slot each 4 KiB; the rest of the first 64 KiB is zero
 *   64 KiB  cache info  slot A, slot B
 *   72 KiB  tails       slot A, slot B
 *   80 KiB  statistics, two slots             for other processes; never read by recovery
 *   88 KiB  lost ranges slot A, slot B    counts only where the cache info says so
 *   96 KiB  reserved, zero
 *   segments_off: segment 0 .. n-1           each: info slot A | info slot B | data -> ... <- key sets
 */
#ifndef PC_FORMAT_H
#define PC_FORMAT_H

#include "le.h"

#include <assert.h>
#include <stddef.h>

#define PCM_MAGIC_SUPER   0x50734350u /* "PCsP" in memory order */
#define PCM_MAGIC_INFO    0x69734350u
#define PCM_MAGIC_TAILS   0x74734350u
#define PCM_MAGIC_SEGMENT 0x67734350u
#define PCM_MAGIC_KSET    0x6b734350u
#define PCM_MAGIC_LIVE    0x6c734350u
#define PCM_MAGIC_LOST    0x62734350u /* "PCsb" in memory order */

#define PCM_VERSION 1u

#define PCM_SLOT_STRIDE     4096u
#define PCM_SUPER_OFF       0u
#define PCM_INFO_OFF        65536u /* behind the first 64 KiB: a create that was interrupted leaves those zero */
#define PCM_TAILS_OFF       73728u
#define PCM_LIVE_OFF        81920u
#define PCM_LOST_OFF        90112u
#define PCM_HEADER_BYTES    131072u
#define PCM_SEGMENTS_ALIGN  (2u << 20) /* segments begin at a multiple of their size, up to this */
#define PCM_SEGMENT_HEADER  8192u /* both info slots; data begins here */
#define PCM_UNIT            64u   /* data is placed in units */
#define PCM_LINE            64u   /* key sets are placed in lines */
#define PCM_KEY_MAX_BYTES   65536u /* a key never crosses a multiple of this on the backing */
#define PCM_KSET_MAX_KEYS   1024u
#define PCM_BLOCK           4096u /* clean segments hold whole, aligned blocks: line n describes block n */

#define PCM_SEGMENT_MIN     65536u
#define PCM_SEGMENT_MAX     (64u << 20)
#define PCM_SEGMENT_DEFAULT (16u << 20)
#define PCM_SEGMENT_TEST_MIN 16384u /* smallest that the format allows; the public minimum is PCM_SEGMENT_MIN */
#define PCM_SEGMENTS_MIN    8u
#define PCM_SEGMENTS_MAX    (1u << 22)

/* Starts every two-slot record. The CRC covers the whole record with this field zero, seeded (docs/format.md). */
struct pcm_record {
	le32 magic;
	le32 crc;
	le64 slot_seq; /* grows by one with each update; the higher valid one counts */
};
static_assert(sizeof(struct pcm_record) == 16, "pcm_record");

struct pcm_super {
	struct pcm_record record;
	le32 version;
	le32 segment_bytes;
	le64 compat;    /* unknown bits: go on */
	le64 ro_compat; /* unknown bits: read-only */
	le64 incompat;  /* unknown bits: refuse */
	uint8_t uuid[16];
	le64 media_bytes;
	le64 segments_off;
	le32 segment_count;
	uint8_t reserved[44];
};
static_assert(sizeof(struct pcm_super) == 128, "pcm_super");
static_assert(offsetof(struct pcm_super, version) == 16, "pcm_super.version");
static_assert(offsetof(struct pcm_super, compat) == 24, "pcm_super.compat");
static_assert(offsetof(struct pcm_super, uuid) == 48, "pcm_super.uuid");
static_assert(offsetof(struct pcm_super, media_bytes) == 64, "pcm_super.media_bytes");
static_assert(offsetof(struct pcm_super, segment_count) == 80, "pcm_super.segment_count");

#define PCM_INFO_CLEAN    1u /* closed in order, and nothing was stored since */
#define PCM_INFO_BYPASS   4u /* the backing may have been written past the cache since the last close */
#define PCM_INFO_LOST     8u /* there is a table of lost ranges */
#define PCM_INFO_DROPPING 2u /* all that the cache holds is void; the next open for writing frees it */

struct pcm_info {
	struct pcm_record record;
	le32 flags;
	le32 mode;
	le32 gc_percent;
	le32 options;
	uint8_t backing_id[16];
	le64 backing_bytes;
	le64 epoch;
	le64 first_seq; /* with DROPPING: of the segment that the log begins with after it */
	uint8_t reserved[56];
};
static_assert(sizeof(struct pcm_info) == 128, "pcm_info");
static_assert(offsetof(struct pcm_info, flags) == 16, "pcm_info.flags");
static_assert(offsetof(struct pcm_info, backing_id) == 32, "pcm_info.backing_id");
static_assert(offsetof(struct pcm_info, backing_bytes) == 48, "pcm_info.backing_bytes");
static_assert(offsetof(struct pcm_info, epoch) == 56, "pcm_info.epoch");
static_assert(offsetof(struct pcm_info, first_seq) == 64, "pcm_info.first_seq");

struct pcm_pos {
	le64 seq;
	le32 line;
	le32 reserved;
};
static_assert(sizeof(struct pcm_pos) == 16, "pcm_pos");

struct pcm_tails {
	struct pcm_record record;
	struct pcm_pos dirty_tail;
	struct pcm_pos batch_end; /* a batch that began was to go this far; equal to dirty_tail when none is open */
	struct pcm_pos reserved[2];
	uint8_t padding[48];
};
static_assert(sizeof(struct pcm_tails) == 128, "pcm_tails");
static_assert(offsetof(struct pcm_tails, dirty_tail) == 16, "pcm_tails.dirty_tail");
static_assert(offsetof(struct pcm_tails, batch_end) == 32, "pcm_tails.batch_end");

#define PCM_SEGMENT_FREE   0u
#define PCM_SEGMENT_OPEN   1u
#define PCM_SEGMENT_SEALED 2u

#define PCM_SEGMENT_HAS_NEXT 1u

struct pcm_segment {
	struct pcm_record record;
	le64 gen;
	le64 seq;
	le32 lines; /* once sealed */
	le32 next;  /* segment number, with HAS_NEXT */
	uint8_t state;
	uint8_t stream; /* enum pc_stream_kind */
	le16 flags;
	uint8_t reserved[20];
};
static_assert(sizeof(struct pcm_segment) == 64, "pcm_segment");
static_assert(offsetof(struct pcm_segment, gen) == 16, "pcm_segment.gen");
static_assert(offsetof(struct pcm_segment, seq) == 24, "pcm_segment.seq");
static_assert(offsetof(struct pcm_segment, lines) == 32, "pcm_segment.lines");
static_assert(offsetof(struct pcm_segment, state) == 40, "pcm_segment.state");

#define PCM_LIVE_CLOSED    1u /* the last one of an orderly close */
#define PCM_LIVE_TIMES_MAX 8u
#define PCM_LIVE_STATS_MAX 3648u

struct pcm_live_time {
	le64 count;
	le64 sum_ns;
	le64 max_ns;
	le64 p50_ns;
	le64 p99_ns;
	le64 p999_ns;
};
static_assert(sizeof(struct pcm_live_time) == 48, "pcm_live_time");

struct pcm_live {
	le32 magic;
	le32 crc; /* of the whole slot with this field zero; seeded with the UUID */
	le64 number; /* grows with each page; the slot is its lowest bit */
	le64 written_ns; /* since 1970 */
	le32 pid;
	le32 flags;
	le32 stats_bytes; /* used of `stats` */
	le32 times;       /* used of `time` */
	uint8_t reserved[24];
	struct pcm_live_time time[PCM_LIVE_TIMES_MAX]; /* by enum pcache_latency */
	uint8_t stats[PCM_LIVE_STATS_MAX]; /* struct pcache_stats of pcache.h, little-endian; it only grows at its end */
};
static_assert(sizeof(struct pcm_live) == PCM_SLOT_STRIDE, "pcm_live");
static_assert(offsetof(struct pcm_live, number) == 8, "pcm_live.number");
static_assert(offsetof(struct pcm_live, written_ns) == 16, "pcm_live.written_ns");
static_assert(offsetof(struct pcm_live, stats_bytes) == 32, "pcm_live.stats_bytes");
static_assert(offsetof(struct pcm_live, time) == 64, "pcm_live.time");
static_assert(offsetof(struct pcm_live, stats) == 448, "pcm_live.stats");

struct pcm_lost_range {
	le64 off; /* on the backing */
	le64 len;
};
static_assert(sizeof(struct pcm_lost_range) == 16, "pcm_lost_range");

#define PCM_LOST_MAX 254u

/* Of these ranges the backing has older bytes than were acknowledged, and so has the cache, or none that are right. */
struct pcm_lost {
	struct pcm_record record;
	le32 count; /* of ranges, at least 1; sorted, with a gap between any two; the rest is zero */
	uint8_t reserved[12];
	struct pcm_lost_range ranges[PCM_LOST_MAX];
};
static_assert(sizeof(struct pcm_lost) == PCM_SLOT_STRIDE, "pcm_lost");
static_assert(offsetof(struct pcm_lost, count) == 16, "pcm_lost.count");
static_assert(offsetof(struct pcm_lost, ranges) == 32, "pcm_lost.ranges");

#define PCM_RECORD_MAX 128u /* largest two-slot record but for pcm_lost, which fills its slot */

#define PCM_KILLED 0x64656c6c694b4350ull /* "PCKilled" in memory order */

#define PCM_KSET_VOID 1u /* takes its one line and says nothing */

struct pcm_kset {
	le32 magic;
	le32 crc; /* of all its bytes with this field zero; seeded with UUID, generation and line */
	le16 count;
	uint8_t key_bytes; /* sizeof(struct pcm_key) */
	uint8_t flags;
	le32 durable_below; /* lines under this one were known to be durable when it was written */
	le64 seq;           /* of the segment */
	le64 order;         /* 0; in a clean segment PCM_KILLED: something superseded the key */
};
static_assert(sizeof(struct pcm_kset) == 32, "pcm_kset");
static_assert(offsetof(struct pcm_kset, count) == 8, "pcm_kset.count");
static_assert(offsetof(struct pcm_kset, durable_below) == 12, "pcm_kset.durable_below");
static_assert(offsetof(struct pcm_kset, seq) == 16, "pcm_kset.seq");
static_assert(offsetof(struct pcm_kset, order) == 24, "pcm_kset.order");

/*
 * Keys of the WRITE stream may have no data: exactly one of these flags, stored_len and data_crc 0, and one unit all the
 * same, so that the order of units is that of the keys.
 */
#define PCM_KEY_ZERO       1u /* zeroes */
#define PCM_KEY_DISCARD    2u /* zeroes; a hole on the backing is welcome */
#define PCM_KEY_INVALIDATE 4u /* what older keys said is void: the backing has newer bytes */

struct pcm_key {
	le64 off;  /* bytes, on the backing */
	le32 len;  /* bytes, 1..PCM_KEY_MAX_BYTES */
	le32 data_off; /* bytes, in the segment */
	le32 data_crc; /* CRC32C of the stored bytes */
	le16 flags;    /* 0, or one of PCM_KEY_* */
	le16 volume; /* 0 */
	le32 stored_len; /* bytes stored in the segment; 0 for keys without data */
	le32 reserved;
};
static_assert(sizeof(struct pcm_key) == 32, "pcm_key");
static_assert(offsetof(struct pcm_key, len) == 8, "pcm_key.len");
static_assert(offsetof(struct pcm_key, data_off) == 12, "pcm_key.data_off");
static_assert(offsetof(struct pcm_key, data_crc) == 16, "pcm_key.data_crc");
static_assert(offsetof(struct pcm_key, stored_len) == 24, "pcm_key.stored_len");
static_assert(2 * sizeof(struct pcm_key) == PCM_LINE, "a kset of one key is one line");

#endif
