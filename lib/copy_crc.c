/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_crc.c - the checksum hides behind the copy.
 *
 * Non-temporal stores wait for the memory bus; the crc32 instruction waits for nothing but its own last result, three
 * cycles. So the block is cut in four quarters with a chain each (Gopal et al., "Fast CRC Computation for iSCSI
 * Polynomial Using CRC32 Instruction", Intel 2011), and their instructions stand between the stores. At the end each
 * chain is moved on over the bytes behind its quarter: a linear map, by four tables of 256 entries.
 */
#include "copy_crc.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <pthread.h>
#include <stddef.h>

#define QUARTER_BYTES (PC_COPY_CRC_BYTES / 4)
#define QUARTER_WORDS (QUARTER_BYTES / 8)

/* [n][i][b]: byte i of a CRC has the value b, and n + 1 quarters of zeroes follow. */
static uint32_t moved[3][4][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static void fill_tables(void)
{
	for (unsigned n = 0; n < 3; n++)
		for (unsigned i = 0; i < 4; i++)
			for (uint32_t byte = 0; byte < 256; byte++) {
				uint64_t crc = byte << (8 * i);

				for (unsigned word = 0; word < (n + 1) * QUARTER_WORDS; word++)
					crc = _mm_crc32_u64(crc, 0);
				moved[n][i][byte] = (uint32_t)crc;
			}
}

bool pc_copy_crc_init(void)
{
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("sse4.2"))
		return false;
	pthread_once(&once, fill_tables);
	return true;
}

static uint32_t move_on(uint32_t (*table)[256], uint64_t crc)
{
	return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^ table[3][crc >> 24 & 0xff];
}

static inline uint64_t load8(const uint8_t *from)
{
	uint64_t word;

	__builtin_memcpy(&word, from, sizeof(word));
	return word;
}

__attribute__((target("avx2,sse4.2"))) uint32_t pc_copy_crc_block(uint32_t crc, void *target, const void *source)
{
	const uint8_t *from = source;
	uint8_t *to = target;
	uint64_t chain[4] = { (uint32_t)~crc, 0, 0, 0 };

	/* 128 bytes are stored while each chain takes 32 of its quarter: both end after 4 KiB. */
	for (size_t at = 0; at < QUARTER_BYTES; at += 32) {
		for (size_t i = 0; i < 4; i++) {
			size_t off = 4 * at + 32 * i;

			_mm256_stream_si256((__m256i *)(void *)(to + off),
					    _mm256_loadu_si256((const __m256i *)(const void *)(from + off)));
		}
		for (size_t i = 0; i < 32; i += 8) {
			chain[0] = _mm_crc32_u64(chain[0], load8(from + at + i));
			chain[1] = _mm_crc32_u64(chain[1], load8(from + QUARTER_BYTES + at + i));
			chain[2] = _mm_crc32_u64(chain[2], load8(from + 2 * QUARTER_BYTES + at + i));
			chain[3] = _mm_crc32_u64(chain[3], load8(from + 3 * QUARTER_BYTES + at + i));
		}
	}
	return ~(move_on(moved[2], chain[0]) ^ move_on(moved[1], chain[1]) ^ move_on(moved[0], chain[2]) ^
		 (uint32_t)chain[3]);
}

#else

bool pc_copy_crc_init(void)
{
	return false;
}

uint32_t pc_copy_crc_block(uint32_t crc, void *target, const void *source)
{
	(void)target;
	(void)source;
	return crc; /* never called: init said no */
}

#endif
