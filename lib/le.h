/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * le.h - little-endian integers as types of their own, so that a value on media is never used unconverted.
 */
#ifndef PC_LE_H
#define PC_LE_H

#include <endian.h>
#include <stdint.h>

typedef struct { uint16_t raw; } le16;
typedef struct { uint32_t raw; } le32;
typedef struct { uint64_t raw; } le64;

static inline le16 pc_le16(uint16_t value) { return (le16){ htole16(value) }; }
static inline le32 pc_le32(uint32_t value) { return (le32){ htole32(value) }; }
static inline le64 pc_le64(uint64_t value) { return (le64){ htole64(value) }; }

static inline uint16_t pc_get16(le16 value) { return le16toh(value.raw); }
static inline uint32_t pc_get32(le32 value) { return le32toh(value.raw); }
static inline uint64_t pc_get64(le64 value) { return le64toh(value.raw); }

#endif
