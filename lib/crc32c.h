/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crc32c.h - CRC32C (Castagnoli) by ISA-L. crc is the seed, or the result so far: calls can be chained.
 */
#ifndef PC_CRC32C_H
#define PC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t pc_crc32c(uint32_t crc, const void *data, size_t len);

#endif
