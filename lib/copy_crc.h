/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_crc.h - copy a block with non-temporal stores and compute its CRC32C in the same pass.
 */
#ifndef PC_COPY_CRC_H
#define PC_COPY_CRC_H

#include <stdbool.h>
#include <stdint.h>

#define PC_COPY_CRC_BYTES 4096u
#define PC_COPY_CRC_ALIGN 32u /* of the target */

/* False: this processor lacks the instructions. To be called before the first block; any thread. */
bool pc_copy_crc_init(void);

/* One aligned line of 64 bytes, as such a block is stored. */
#define PC_COPY_LINE_BYTES 64u
void pc_copy_line(void *target, const void *source);

/* One block; returns the CRC continued over it, as pc_crc32c() does. The stores are ordered by a fence only. */
uint32_t pc_copy_crc_block(uint32_t crc, void *target, const void *source);

#endif
