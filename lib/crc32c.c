/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crc32c.c - CRC32C (Castagnoli, as in RFC 3720) by ISA-L.
 *
 * ISA-L takes the register as it is; the inversion at both ends that the standard asks for is added here, so that
 * leading zeroes change the result.
 */
#include "crc32c.h"

#include <isa-l/crc.h>
#include <stdbool.h>
#include <string.h>

/* ISA-L counts in int; a piece this long keeps far from its limit. */
#define PIECE_BYTES (1u << 30)

#ifdef __x86_64__

#include <nmmintrin.h>

/* A line of a key set: as long as the way into ISA-L and back. */
#define FEW_BYTES 64u

__attribute__((target("sse4.2"))) static uint32_t crc_of_words(uint32_t crc, const uint8_t *data, size_t len)
{
	uint64_t state = ~crc;

	for (size_t at = 0; at < len; at += 8) {
		uint64_t word;

		memcpy(&word, data + at, sizeof(word));
		state = _mm_crc32_u64(state, word);
	}
	return ~(uint32_t)state;
}

static bool is_few_words(size_t len)
{
	return len <= FEW_BYTES && len % 8 == 0 && __builtin_cpu_supports("sse4.2");
}

#else

#define is_few_words(len)            false
#define crc_of_words(crc, data, len) (crc)

#endif

uint32_t pc_crc32c(uint32_t crc, const void *data, size_t len)
{
	/* ISA-L declares its source without const, and only reads it. */
	unsigned char *next = (unsigned char *)(uintptr_t)data;
	uint32_t state = ~crc;

	if (is_few_words(len))
		return crc_of_words(crc, data, len);
	while (len > PIECE_BYTES) {
		state = crc32_iscsi(next, (int)PIECE_BYTES, state);
		next += PIECE_BYTES;
		len -= PIECE_BYTES;
	}
	return ~crc32_iscsi(next, (int)len, state);
}
