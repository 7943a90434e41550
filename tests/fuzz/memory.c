/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.c - media and backing in plain memory, checked: nothing outside, nothing for ever.
 *
 * The simulators of tests/sim know what a power cut may leave; here nothing is cut, and speed counts.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct memory_media {
	struct pc_media media; /* first */
	uint8_t *image;
};

struct memory_backing {
	struct pc_backing backing; /* first */
	uint8_t *volume;
	struct pc_io *finished[PC_BACKING_DEPTH_MAX];
	unsigned finished_count;
};

void (*fuzz_sync_hook)(const uint8_t *image);
static uint64_t calls_left;

void fuzz_calls_reset(uint64_t calls_max)
{
	calls_left = calls_max;
}

void fuzz_fail(const char *what, int64_t value)
{
	fprintf(stderr, "FUZZ FAILURE: %s (%lld)\n", what, (long long)value);
	abort();
}

static void count_call(void)
{
	if (calls_left == 0)
		fuzz_fail("unbounded work: too many calls of media and backing", 0);
	calls_left--;
}

/* ---- media ---- */

static uint8_t *media_at(struct pc_media *media, uint64_t off, size_t len)
{
	count_call();
	if (off > media->size_bytes || len > media->size_bytes - off)
		fuzz_fail("access outside the media", (int64_t)off);
	return ((struct memory_media *)media)->image + off;
}

static uint8_t *store_at(struct pc_media *media, uint64_t off, size_t len)
{
	if (media->readonly)
		fuzz_fail("store to a read-only media", (int64_t)off);
	return media_at(media, off, len);
}

static int media_copy(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	(void)kind;
	memcpy(store_at(media, off, len), source, len);
	return 0;
}

static int media_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	memcpy(store_at(media, off, sizeof(value)), &value, sizeof(value));
	return 0;
}

static int media_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	memset(store_at(media, off, len), byte, len);
	return 0;
}

static int media_flush(struct pc_media *media, uint64_t off, size_t len)
{
	media_at(media, off, len);
	return 0;
}

static int media_drain(struct pc_media *media)
{
	media_at(media, 0, 0);
	return 0;
}

static int media_sync(struct pc_media *media)
{
	const uint8_t *image = media_at(media, 0, 0);

	if (fuzz_sync_hook != NULL)
		fuzz_sync_hook(image);
	return 0;
}

static int media_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	memcpy(buf, media_at(media, off, len), len);
	return 0;
}

static void media_close(struct pc_media *media)
{
	free(media);
}

static const struct pc_media_ops media_ops = {
	.copy = media_copy,
	.store8 = media_store8,
	.set = media_set,
	.flush = media_flush,
	.drain = media_drain,
	.sync = media_sync,
	.read = media_read,
	.close = media_close,
};

struct pc_media *fuzz_media_open(uint8_t *image, uint64_t bytes, enum pcache_granularity granularity, bool readonly)
{
	static const uint8_t zeroes[PC_MEDIA_BLANK_BYTES];
	struct memory_media *memory = calloc(1, sizeof(*memory));

	if (memory == NULL)
		fuzz_fail("no memory", 0);
	memory->image = image;
	memory->media.ops = &media_ops;
	memory->media.base = image;
	memory->media.size_bytes = bytes;
	memory->media.granularity = granularity;
	memory->media.readonly = readonly;
	memory->media.blank = bytes >= sizeof(zeroes) && memcmp(image, zeroes, sizeof(zeroes)) == 0;
	return &memory->media;
}

/* ---- backing ---- */

static void transfer(struct memory_backing *memory, struct pc_io *io)
{
	uint8_t *at = memory->volume + io->off + io->done;
	size_t len = io->len - io->done;

	if (io->op == PC_IO_WRITE)
		memcpy(at, io->buf + io->done, len);
	else
		memcpy(io->buf + io->done, at, len);
	io->result = (int64_t)len;
}

static int backing_submit(struct pc_backing *backing, struct pc_io **ios, unsigned count)
{
	struct memory_backing *memory = (struct memory_backing *)backing;

	count_call();
	for (unsigned i = 0; i < count; i++) {
		if (ios[i]->off > backing->size_bytes || ios[i]->len > backing->size_bytes - ios[i]->off)
			fuzz_fail("request outside the backing", (int64_t)ios[i]->off);
		if (ios[i]->op == PC_IO_WRITE && backing->readonly)
			fuzz_fail("write to a read-only backing", (int64_t)ios[i]->off);
		transfer(memory, ios[i]);
		memory->finished[memory->finished_count++] = ios[i];
	}
	return (int)count;
}

static int backing_reap(struct pc_backing *backing, struct pc_io **ret_done, unsigned max)
{
	struct memory_backing *memory = (struct memory_backing *)backing;
	unsigned count = 0;

	count_call();
	while (count < max && memory->finished_count > 0)
		ret_done[count++] = memory->finished[--memory->finished_count];
	return (int)count;
}

static int64_t backing_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len)
{
	count_call();
	if (off > backing->size_bytes || len > backing->size_bytes - off)
		fuzz_fail("read outside the backing", (int64_t)off);
	memcpy(buf, ((struct memory_backing *)backing)->volume + off, len);
	return (int64_t)len;
}

static int64_t backing_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len)
{
	count_call();
	if (off > backing->size_bytes || len > backing->size_bytes - off)
		fuzz_fail("write outside the backing", (int64_t)off);
	memcpy(((struct memory_backing *)backing)->volume + off, buf, len);
	return (int64_t)len;
}

static int backing_sync(struct pc_backing *backing)
{
	(void)backing;
	count_call();
	return 0;
}

static int backing_zero(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch)
{
	(void)punch;
	count_call();
	if (backing->readonly)
		fuzz_fail("zeroes to a read-only backing", (int64_t)off);
	if (off > backing->size_bytes || len > backing->size_bytes - off)
		fuzz_fail("zeroes outside the backing", (int64_t)off);
	memset(((struct memory_backing *)backing)->volume + off, 0, len);
	return 0;
}

static void backing_close(struct pc_backing *backing)
{
	free(backing);
}

static const struct pc_backing_ops backing_ops = {
	.submit = backing_submit,
	.reap = backing_reap,
	.read = backing_read,
	.write = backing_write,
	.sync = backing_sync,
	.zero = backing_zero,
	.close = backing_close,
};

struct pc_backing *fuzz_backing_open(uint8_t *volume, bool readonly)
{
	struct memory_backing *memory = calloc(1, sizeof(*memory));

	if (memory == NULL)
		fuzz_fail("no memory", 0);
	memory->volume = volume;
	memory->backing = (struct pc_backing){
		.ops = &backing_ops,
		.size_bytes = FUZZ_VOLUME_BYTES,
		.align_bytes = 1,
		.queue_depth = 8,
		.readonly = readonly,
	};
	return &memory->backing;
}
