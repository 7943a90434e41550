/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base.c - the images that inputs start from: a fixed workload, looked at before some of its media syncs.
 *
 * A sync is where metadata is half-way: a segment opened and not linked, a batch begun and not ended, a seal on its
 * way. The last image is that of an orderly close. Segments of every stream are in them, sealed and not, with keys that
 * were killed; that is checked. The UUID would be random, so getrandom() is replaced here.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/random.h>

#define OPERATIONS 120u

static uint8_t bases[FUZZ_BASES][FUZZ_MEDIA_BYTES];
static uint8_t volumes[FUZZ_BASES][FUZZ_VOLUME_BYTES];
static uint8_t volume[FUZZ_VOLUME_BYTES];
static uint64_t syncs;
static uint64_t syncs_in_all; /* 0: the first of two runs, which counts them */

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(0x60 + i);
	return (ssize_t)len;
}

static void keep(unsigned base, const uint8_t *image)
{
	memcpy(bases[base], image, FUZZ_MEDIA_BYTES);
	memcpy(volumes[base], volume, FUZZ_VOLUME_BYTES);
}

static void on_sync(const uint8_t *image)
{
	uint64_t number = syncs++;

	for (unsigned i = 0; i + 1 < FUZZ_BASES && syncs_in_all != 0; i++)
		if (number == (i + 1) * syncs_in_all / FUZZ_BASES)
			keep(i, image);
}

static void expect(bool good, const char *what, int64_t value)
{
	if (!good)
		fuzz_fail(what, value);
}

/* Much of it in one place, which is read again and again. */
static void read_some(struct pcache *cache, uint64_t i)
{
	static uint8_t data[12000];
	uint64_t len = 1 + i * 2711 % sizeof(data);
	uint64_t off = i % 3 == 0 ? i * 50 % 8192 : i * 10007 % (FUZZ_VOLUME_BYTES - len);
	ssize_t ret = pc_io_read(cache, data, len, off, 0);

	expect(ret == (ssize_t)len, "read of a base image", ret);
}

static void do_operation(struct pcache *cache, uint64_t i)
{
	static uint8_t data[6000];
	uint64_t len = 1 + i * i * 37 % sizeof(data);
	uint64_t off = i * 7919 % (FUZZ_VOLUME_BYTES - len);
	ssize_t ret;

	memset(data, (int)i, sizeof(data));
	ret = pc_io_write(cache, data, len, off, 0);
	expect(ret == (ssize_t)len, "write of a base image", ret);
	if (i % 3 == 1)
		ret = pc_zero_range(cache, i % 2 == 0 ? PCM_KEY_ZERO : PCM_KEY_DISCARD, len * 2, off / 2, 0);
	expect(ret >= 0, "zeroes of a base image", ret);
	read_some(cache, 2 * i);
	read_some(cache, 2 * i + 1);
	if (i % 8 == 7)
		expect(pc_writeback_step(cache) >= 0, "write-back of a base image", 0);
	if (i % 4 == 3)
		expect(pc_reclaim_step(cache) >= 0, "reclaim of a base image", 0);
}

static void run_workload(void)
{
	static uint8_t image[FUZZ_MEDIA_BYTES];
	struct pc_config config = {
		.create = true,
		.segment_bytes = FUZZ_SEGMENT_BYTES,
		.tunables[PCACHE_TUNABLE_GC_PERCENT] = 60,
		.tunables[PCACHE_TUNABLE_BATCH_BYTES] = 20000,
		.queue_depth = 8,
		.tunables[PCACHE_TUNABLE_READ_VERIFY] = PCACHE_VERIFY_FIRST,
		.replay_threads = 1,
	};
	struct pcache *cache;
	int ret;

	memset(image, 0, sizeof(image));
	for (size_t i = 0; i < sizeof(volume); i++)
		volume[i] = (uint8_t)(i / 512 + i % 7);
	ret = pc_cache_open(&config, fuzz_media_open(image, sizeof(image), PCACHE_GRANULARITY_CACHE_LINE, false),
			    fuzz_backing_open(volume, false), true, &cache);
	expect(ret == 0, "create of a base image", ret);
	for (uint64_t i = 0; i < OPERATIONS; i++)
		do_operation(cache, i);
	ret = pc_cache_close(cache, false);
	expect(ret == 0, "close of a base image", ret);
	keep(FUZZ_BASES - 1, image);
}

/* ---- are they what they should be? ---- */

static struct pcm_segment record_of(unsigned base, uint32_t id)
{
	struct pcm_segment record;

	memcpy(&record, bases[base] + PCM_HEADER_BYTES + id * FUZZ_SEGMENT_BYTES, sizeof(record));
	return record;
}

static unsigned count_killed(unsigned base, uint32_t id)
{
	const uint8_t *segment = bases[base] + PCM_HEADER_BYTES + id * FUZZ_SEGMENT_BYTES;
	le64 killed = pc_le64(PCM_KILLED);
	unsigned count = 0;

	for (uint32_t line = 0; line < pc_clean_blocks(FUZZ_SEGMENT_BYTES); line++)
		count += memcmp(segment + pc_kill_off(FUZZ_SEGMENT_BYTES, line), &killed, sizeof(killed)) == 0;
	return count;
}

static void check_bases(void)
{
	unsigned of_stream[PC_STREAM_HOT + 1] = { 0 };
	unsigned open_clean = 0;
	unsigned killed = 0;

	for (unsigned base = 0; base < FUZZ_BASES; base++)
		for (uint32_t id = 0; id < FUZZ_SEGMENTS; id++) {
			struct pcm_segment record = record_of(base, id);

			of_stream[record.stream]++;
			if (record.stream > PC_STREAM_WRITE) {
				open_clean += record.state == PCM_SEGMENT_OPEN;
				killed += count_killed(base, id);
			}
		}
	expect(of_stream[PC_STREAM_WRITE] >= FUZZ_BASES, "segments of WRITE in the base images", of_stream[PC_STREAM_WRITE]);
	expect(of_stream[PC_STREAM_FILL] >= FUZZ_BASES / 2, "segments of FILL in the base images", of_stream[PC_STREAM_FILL]);
	expect(of_stream[PC_STREAM_HOT] >= FUZZ_BASES / 2, "segments of HOT in the base images", of_stream[PC_STREAM_HOT]);
	expect(open_clean >= FUZZ_BASES / 2, "clean segments that are open in the base images", open_clean);
	expect(killed >= FUZZ_BASES, "killed keys in the base images", killed);
}

static void make_bases(void)
{
	if (syncs_in_all == 0) {
		fuzz_calls_reset(UINT64_MAX);
		fuzz_sync_hook = on_sync;
		run_workload();
		syncs_in_all = syncs;
		syncs = 0;
		run_workload();
		fuzz_sync_hook = NULL;
		check_bases();
	}
}

const uint8_t *fuzz_base(unsigned base)
{
	make_bases();
	return bases[base % FUZZ_BASES];
}

const uint8_t *fuzz_base_volume(unsigned base)
{
	make_bases();
	return volumes[base % FUZZ_BASES];
}
