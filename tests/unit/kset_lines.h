/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kset_lines.h - a segment's lines in memory, as they lie on the media, and what is put there. For test_kset*.c.
 */
#ifndef PC_KSET_LINES_H
#define PC_KSET_LINES_H

#include "kset.h"
#include "support.h"
#include "util.h"

#define SEGMENT_BYTES (1u << 20)
#define ROOM          ((SEGMENT_BYTES - PCM_SEGMENT_HEADER) / PCM_LINE)
#define BACKING_BYTES (1ull << 40)
#define SEED          0x5eed5eedu
#define SEQ           0x0102030405060708ull
#define LINES_MAX     600u /* in the buffer */

static const struct pc_kset_scope scope = {
	.seed = SEED,
	.segment_bytes = SEGMENT_BYTES,
	.seq = SEQ,
	.backing_bytes = BACKING_BYTES,
};

static uint8_t buffer[LINES_MAX * PCM_LINE];
static struct pc_lines lines;
static struct test_random numbers;

static inline void setup(void)
{
	numbers = random_of(21);
	test_random_fill(&numbers, buffer, sizeof(buffer)); /* leftovers */
	lines = (struct pc_lines){ .buf = buffer, .end = LINES_MAX };
}

/* Line n of the segment; they lie downwards. */
static inline uint8_t *line_at(uint32_t line)
{
	return buffer + (size_t)(lines.end - 1 - line) * PCM_LINE;
}

/* Lines in ascending order, put where they belong. */
static inline void put(uint32_t line, const uint8_t *ascending, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		memcpy(line_at(line + i), ascending + (size_t)i * PCM_LINE, PCM_LINE);
}

static inline void encode(uint32_t line, const struct pc_kset *kset, const struct pc_key *keys)
{
	uint8_t ascending[LINES_MAX * PCM_LINE];

	memset(ascending, 0xa5, pc_kset_lines(kset->count) * PCM_LINE);
	pc_kset_encode(SEED, line, kset, keys, ascending);
	put(line, ascending, pc_kset_lines(kset->count));
}

/* Of what is not valid nothing goes out. */
static inline bool is_valid(uint32_t line)
{
	static const struct pc_kset untouched = { .seq = ~SEQ, .count = 0xabcd, .lines = 0xef };
	struct pc_kset kset = untouched;

	if (pc_kset_decode(&scope, &lines, line, &kset))
		return true;
	EXPECT(kset.seq == untouched.seq && kset.count == untouched.count && kset.lines == untouched.lines);
	return false;
}

/* A key that is within all bounds at any line of the buffer. */
static inline struct pc_key random_key(void)
{
	uint32_t within = (uint32_t)test_random_below(&numbers, PCM_KEY_MAX_BYTES);
	uint32_t len = 1 + (uint32_t)test_random_below(&numbers, PCM_KEY_MAX_BYTES - within);
	uint32_t units = (SEGMENT_BYTES - LINES_MAX * PCM_LINE - PCM_SEGMENT_HEADER - PCM_KEY_MAX_BYTES) / PCM_UNIT;

	return (struct pc_key){
		.off = test_random_below(&numbers, BACKING_BYTES / PCM_KEY_MAX_BYTES) * PCM_KEY_MAX_BYTES + within,
		.len = len,
		.data_off = PCM_SEGMENT_HEADER + PCM_UNIT * (uint32_t)test_random_below(&numbers, units),
		.data_crc = (uint32_t)test_random_next(&numbers),
		.stored_len = len,
	};
}

static inline struct pc_kset kset_of(uint32_t count)
{
	return (struct pc_kset){ .seq = SEQ, .count = count };
}

#endif
