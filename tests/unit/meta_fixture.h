/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meta_fixture.h - one two-slot record on a simulated media, and every state in which an open can find it. For
 * test_meta*.c.
 */
#ifndef PC_META_FIXTURE_H
#define PC_META_FIXTURE_H

#include "meta.h"
#include "sim_media.h"
#include "support.h"

#include <errno.h>

#define BYTES      (8u * PC_PAGE)
#define RECORD_OFF 8192u
#define MAGIC      0x74657374u
#define NUMBER     3u
#define OLD        3u /* version of the record where a test begins */

static const uint8_t uuid[16] = "a cache's uuid.";

struct record {
	struct pcm_record head;
	uint8_t body[PCM_RECORD_MAX - sizeof(struct pcm_record)];
};

static struct sim_media *sim;
static struct sim_media *crashed;
static struct pc_media *media;
static struct pc_meta meta;
static uint32_t record_bytes;

/* ---- records ---- */

static inline struct record record_of(uint32_t version)
{
	struct test_random random = test_random_make(version);
	struct record record;

	test_random_fill(&random, &record, sizeof(record));
	return record;
}

/* Its head is the module's own business. */
static inline bool is_version(const void *record, uint32_t version)
{
	struct record expected = record_of(version);

	return memcmp((const uint8_t *)record + sizeof(expected.head), expected.body,
		      record_bytes - sizeof(expected.head)) == 0;
}

static inline struct pc_meta meta_at(uint64_t off, uint32_t number)
{
	return (struct pc_meta){
		.off = off,
		.bytes = record_bytes,
		.magic = MAGIC,
		.seed = pc_meta_seed(uuid, number),
	};
}

static inline int store(uint32_t version)
{
	struct record record = record_of(version);

	return pc_meta_store(media, &meta, &record);
}

/* The version that is found, and how the slots are; meta is set by it. */
static inline void load(struct pc_media *from, uint32_t version)
{
	struct record record;

	meta = meta_at(RECORD_OFF, NUMBER);
	ck_assert_int_eq(pc_meta_load(from, &meta, &record), 0);
	ck_assert(is_version(&record, version));
}

static inline int repair(struct pc_media *on)
{
	struct record record;
	int ret = pc_meta_load(on, &meta, &record);

	if (ret == 0)
		ret = pc_meta_repair(on, &meta);
	return ret < 0 ? ret : pc_media_sync(on);
}

static const uint8_t *slot_in(const uint8_t *image, unsigned slot)
{
	return image + RECORD_OFF + 4096u * slot;
}

static inline bool is_at_rest(const struct sim_media *which, uint32_t version)
{
	const uint8_t *durable = sim_media_durable(which);

	return memcmp(slot_in(durable, 0), slot_in(durable, 1), record_bytes) == 0 &&
	       is_version(slot_in(durable, 0), version) &&
	       memcmp(durable + RECORD_OFF, sim_media_view(which) + RECORD_OFF, 8192) == 0;
}

/* ---- fixture ---- */

static const enum pcache_granularity granularities[] = {
	PCACHE_GRANULARITY_CACHE_LINE,
	PCACHE_GRANULARITY_BYTE,
	PCACHE_GRANULARITY_PAGE,
};

/* kind: two for each granularity, a record of 64 and one of 128 bytes */
#define KINDS 6

static inline void setup_empty(int kind)
{
	sim = sim_media_new(BYTES, granularities[kind / 2]);
	crashed = sim_media_new(BYTES, granularities[kind / 2]);
	ck_assert(sim != NULL && crashed != NULL);
	media = sim_media_open(sim, false);
	record_bytes = kind % 2 == 0 ? 64 : PCM_RECORD_MAX;
	meta = meta_at(RECORD_OFF, NUMBER);
}

static inline void setup_kind(int kind)
{
	struct record record = record_of(1);

	setup_empty(kind);
	ck_assert_int_eq(pc_meta_create(media, &meta, &record), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
}

static inline void teardown(void)
{
	sim_media_delete(sim);
	sim_media_delete(crashed);
	sim = NULL;
	crashed = NULL;
}

static inline void reopen(void)
{
	pc_media_close(media);
	media = sim_media_open(sim, false);
}

/* As found by an open: what the slots hold, and which one a store must not touch. */
enum start { START_EQUAL, START_A_OLDER, START_B_OLDER, START_A_BAD, START_B_BAD, STARTS };

static inline void put_slot(unsigned slot, const void *bytes)
{
	EXPECT(pc_media_copy(media, RECORD_OFF + 4096u * slot, bytes, record_bytes, PC_COPY_CACHED) == 0);
	EXPECT(pc_media_flush(media, RECORD_OFF + 4096u * slot, record_bytes) == 0);
	EXPECT(pc_media_sync(media) == 0);
}

static inline void start_from(enum start start, int kind)
{
	uint8_t older[PCM_RECORD_MAX];

	if (sim != NULL)
		teardown();
	setup_kind(kind);
	EXPECT(store(2) == 0);
	memcpy(older, slot_in(sim_media_view(sim), 0), record_bytes);
	EXPECT(store(OLD) == 0);
	if (start == START_A_OLDER || start == START_B_OLDER)
		put_slot(start == START_B_OLDER, older);
	else if (start != START_EQUAL)
		sim_media_flip(sim, RECORD_OFF + (start == START_B_BAD ? 4096u : 0) + 20, 0x10);
	reopen();
	load(media, OLD);
	EXPECT(meta.slot_stale == (start != START_EQUAL));
	EXPECT(start == START_EQUAL || meta.slot_newest == (start == START_A_OLDER || start == START_A_BAD));
}

static inline void no_faults(void)
{
	sim_media_fail(sim, 0, 0, 0, false);
}

static inline void setup_small(void)
{
	setup_kind(0);
}

#endif
