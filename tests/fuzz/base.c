/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base.c - the images that inputs start from: a fixed workload, looked at before some of its media syncs.
 *
 * A sync is where metadata is half-way: a segment opened and not linked, a batch begun and not ended, a seal on its
 * way. The last image is that of an orderly close. The UUID would be random, so getrandom() is replaced here.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/random.h>

#define OPERATIONS 90u

static uint8_t bases[FUZZ_BASES][FUZZ_MEDIA_BYTES];
static uint64_t syncs;
static uint64_t syncs_in_all; /* 0: the first of two runs, which counts them */

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(0x60 + i);
	return (ssize_t)len;
}

static void on_sync(const uint8_t *image)
{
	uint64_t number = syncs++;

	for (unsigned i = 0; i + 1 < FUZZ_BASES && syncs_in_all != 0; i++)
		if (number == (i + 1) * syncs_in_all / FUZZ_BASES)
			memcpy(bases[i], image, FUZZ_MEDIA_BYTES);
}

static void expect(bool good, const char *what, int64_t value)
{
	if (!good)
		fuzz_fail(what, value);
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
	if (i % 8 == 7)
		expect(pc_writeback_step(cache) >= 0, "write-back of a base image", 0);
	if (i % 16 == 15)
		expect(pc_reclaim_step(cache) >= 0, "reclaim of a base image", 0);
}

static void run_workload(void)
{
	static uint8_t image[FUZZ_MEDIA_BYTES];
	static uint8_t volume[FUZZ_VOLUME_BYTES];
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
	memset(volume, 0, sizeof(volume));
	ret = pc_cache_open(&config, fuzz_media_open(image, sizeof(image), PCACHE_GRANULARITY_CACHE_LINE, false),
			    fuzz_backing_open(volume, false), true, &cache);
	expect(ret == 0, "create of a base image", ret);
	for (uint64_t i = 0; i < OPERATIONS; i++)
		do_operation(cache, i);
	ret = pc_cache_close(cache, false);
	expect(ret == 0, "close of a base image", ret);
	memcpy(bases[FUZZ_BASES - 1], image, sizeof(image));
}

const uint8_t *fuzz_base(unsigned base)
{
	if (syncs_in_all == 0) {
		fuzz_calls_reset(UINT64_MAX);
		fuzz_sync_hook = on_sync;
		run_workload();
		syncs_in_all = syncs;
		syncs = 0;
		run_workload();
		fuzz_sync_hook = NULL;
	}
	return bases[base % FUZZ_BASES];
}
