/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crc32c.c - CRC32C (Castagnoli, as in RFC 3720) by ISA-L.
 *
 * ISA-L takes the register as it is; the inversion at both ends that the standard asks for is added here, so that
 * leading zeroes change the result.
 */
#include "crc32c.h"

#include <isa-l/crc.h>

/* ISA-L counts in int; a piece this long keeps far from its limit. */
#define PIECE_BYTES (1u << 30)

uint32_t pc_crc32c(uint32_t crc, const void *data, size_t len)
{
	/* ISA-L declares its source without const, and only reads it. */
	unsigned char *next = (unsigned char *)(uintptr_t)data;
	uint32_t state = ~crc;

	while (len > PIECE_BYTES) {
		state = crc32_iscsi(next, (int)PIECE_BYTES, state);
		next += PIECE_BYTES;
		len -= PIECE_BYTES;
	}
	return ~crc32_iscsi(next, (int)len, state);
}
