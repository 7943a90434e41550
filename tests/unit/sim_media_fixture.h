/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_media_fixture.h - what the tests of the simulated media share: one of them, open, and short words for its stores.
 */
#ifndef PC_SIM_MEDIA_FIXTURE_H
#define PC_SIM_MEDIA_FIXTURE_H

#include "runner.h"
#include "sim_media.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define BYTES (16u * PC_PAGE)
#define LINE  64u
#define BLOCK 512u

static struct sim_media *sim;
static struct pc_media *media;
static uint8_t image[BYTES];

static inline void set_up(enum pcache_granularity granularity)
{
	sim = sim_media_new(BYTES, granularity);
	ck_assert_ptr_nonnull(sim);
	media = sim_media_open(sim, false);
}

static inline void tear_down(void)
{
	sim_media_delete(sim);
	sim = NULL;
}

static inline void copy(uint64_t off, int byte, size_t len, enum pc_copy_kind kind)
{
	uint8_t data[2 * PC_PAGE];

	memset(data, byte, len);
	ck_assert_int_eq(pc_media_copy(media, off, data, len, kind), 0);
}

static inline void stream(uint64_t off, int byte, size_t len)
{
	copy(off, byte, len, PC_COPY_STREAM);
}

static inline void cache(uint64_t off, int byte, size_t len)
{
	copy(off, byte, len, PC_COPY_CACHED);
}

static inline void flush(uint64_t off, size_t len)
{
	ck_assert_int_eq(pc_media_flush(media, off, len), 0);
}

static inline void drain(void)
{
	ck_assert_int_eq(pc_media_drain(media), 0);
}

static inline void sync_media(void)
{
	ck_assert_int_eq(pc_media_sync(media), 0);
}

static inline void assert_bytes(const uint8_t *bytes, uint64_t off, int byte, size_t len)
{
	size_t i = 0;

	/* Check notes every assertion by a system call: one for all of them. */
	while (i < len && bytes[off + i] == byte)
		i++;
	ck_assert_msg(i == len, "byte %zu of %zu is %d, not %d", i, len, bytes[off + i], byte);
}

static inline void assert_durable(uint64_t off, int byte, size_t len)
{
	assert_bytes(sim_media_durable(sim), off, byte, len);
}

static inline TCase *add_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, NULL, tear_down);
	suite_add_tcase(suite, tests);
	return tests;
}

/* ---- a media that is busy ---- */

static inline uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static inline void store_at_random(struct pc_media *at, uint32_t *state)
{
	uint64_t off = next_random(state) % (BYTES - 200);
	uint8_t data[200];

	memset(data, (int)(next_random(state) % 255 + 1), sizeof(data));
	switch (next_random(state) % 6) {
	case 0:
		ck_assert_int_eq(pc_media_store8(at, pc_align_down(off, 8), next_random(state)), 0);
		break;
	case 1:
		ck_assert_int_eq(pc_media_flush(at, off / 2, BYTES / 2), 0);
		break;
	case 2:
		ck_assert_int_eq(pc_media_sync(at), 0);
		break;
	default:
		ck_assert_int_eq(pc_media_copy(at, off, data, next_random(state) % sizeof(data),
					       next_random(state) % 2 ? PC_COPY_STREAM : PC_COPY_CACHED),
				 0);
	}
}

#endif
