/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * content.c - a block is its number, its version, and numbers that follow from both: nothing fits anywhere else.
 */
#include "content.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS (TRACE_BLOCK_BYTES / sizeof(uint64_t))
#define STEP  0x9e3779b97f4a7c15u

static uint64_t first_word(uint64_t block, uint64_t version)
{
	uint64_t word = (block * STEP ^ version) * 0xbf58476d1ce4e5b9u;

	return (word ^ word >> 31) * 0x94d049bb133111ebu;
}

void trace_content_fill(uint8_t *content, uint64_t block, uint32_t version)
{
	uint64_t words[WORDS];

	words[0] = block;
	words[1] = version;
	words[2] = first_word(block, version);
	for (unsigned i = 3; i < WORDS; i++)
		words[i] = words[i - 1] + STEP;
	memcpy(content, words, sizeof(words));
}

bool trace_content_is(const uint8_t *content, uint64_t block, uint32_t version)
{
	uint8_t wanted[TRACE_BLOCK_BYTES];

	trace_content_fill(wanted, block, version);
	return memcmp(content, wanted, sizeof(wanted)) == 0;
}

static bool is_zero(const uint8_t *content)
{
	for (unsigned i = 0; i < TRACE_BLOCK_BYTES; i++)
		if (content[i] != 0)
			return false;
	return true;
}

void trace_content_describe(const uint8_t *content, char *text, size_t text_bytes)
{
	uint64_t block;
	uint64_t version;

	memcpy(&block, content, sizeof(block));
	memcpy(&version, content + sizeof(block), sizeof(version));
	if (is_zero(content))
		snprintf(text, text_bytes, "zeroes");
	else if (version <= UINT32_MAX && trace_content_is(content, block, (uint32_t)version))
		snprintf(text, text_bytes, "version %" PRIu64 " of block %" PRIu64, version, block);
	else
		snprintf(text, text_bytes, "no version of any block");
}
