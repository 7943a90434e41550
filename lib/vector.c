/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vector.c - reads and writes of several buffers.
 *
 *   readv         one read for each buffer
 *   writev        as a write of all buffers one behind the other: key sets of up to max_atomic_bytes
 *   write_atomic  extents anywhere on the backing in one key set: all of them or nothing, for one fence
 *
 * A key's data is stored from one buffer. Where a key of writev has its bytes from several, they are put together
 * first.
 */
#include "cache.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

/* Where in the caller's buffers. */
struct cursor {
	const struct iovec *iov; /* the current one */
	size_t skip;             /* bytes of it that are done */
};

/* ---- read ---- */

ssize_t pc_vector_read(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags)
{
	uint64_t size = cache->backing->size_bytes;
	size_t done = 0;

	for (int i = 0; i < iovcnt && off + done < size; i++) {
		size_t len = pc_min64(iov[i].iov_len, size - off - done);
		ssize_t ret = len == 0 ? 0 : pc_io_read(cache, iov[i].iov_base, len, off + done, flags);

		if (ret < 0)
			return ret;
		done += len;
	}
	return (ssize_t)done;
}

/* ---- writev ---- */

static void skip_empty(struct cursor *at)
{
	while (at->skip == at->iov->iov_len) {
		at->iov++;
		at->skip = 0;
	}
}

/* The next `len` bytes: in the caller's buffer if they lie in one, else put together in `room`. */
static const uint8_t *take(struct cursor *at, size_t len, uint8_t *room)
{
	const uint8_t *direct;
	size_t done = 0;

	skip_empty(at);
	direct = (const uint8_t *)at->iov->iov_base + at->skip;
	if (at->iov->iov_len - at->skip >= len) {
		at->skip += len;
		return direct;
	}
	while (done < len) {
		size_t part;

		skip_empty(at);
		part = pc_min64(len - done, at->iov->iov_len - at->skip);
		memcpy(room + done, (const uint8_t *)at->iov->iov_base + at->skip, part);
		at->skip += part;
		done += part;
	}
	return room;
}

/* One key set from the next `len` bytes. */
static int write_piece(struct pcache *cache, struct pc_write_plan *plan, struct cursor *at, size_t len, uint64_t off,
		       uint8_t *room, bool nowait)
{
	uint64_t end = off + len;

	plan->count = 0;
	plan->units = 0;
	while (off < end) {
		size_t key_len = pc_key_end(off, end) - off;

		pc_plan_add(plan, take(at, key_len, room), key_len, off);
		room += key_len;
		off += key_len;
	}
	return pc_io_write_plan(cache, plan, nowait);
}

static size_t sum_of(const struct iovec *iov, int iovcnt)
{
	size_t sum = 0;

	for (int i = 0; i < iovcnt; i++)
		sum += iov[i].iov_len;
	return sum;
}

ssize_t pc_vector_write(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags)
{
	size_t len = sum_of(iov, iovcnt);
	size_t piece_max = pc_min64(len, cache->max_atomic_bytes);
	struct cursor at = { .iov = iov };
	PC_FREE uint8_t *room = malloc(piece_max);
	struct pc_write_plan plan;
	size_t done = 0;
	int ret = pc_io_begin_write(cache, len, flags);

	if (ret == 0)
		ret = room == NULL ? -ENOMEM : pc_plan_new(piece_max / PCM_KEY_MAX_BYTES + 2, &plan);
	if (ret < 0)
		return ret;
	while (done < len && ret == 0) {
		size_t piece = pc_min64(len - done, piece_max);

		ret = write_piece(cache, &plan, &at, piece, off + done, room, (flags & PCACHE_NOWAIT) != 0);
		if (ret == 0)
			done += piece;
	}
	pc_plan_free(&plan);
	return pc_io_end_write(cache, done, ret, flags);
}

/* ---- write_atomic ---- */

/* A key set has room for so many keys, and a segment for so much of it. */
static bool is_too_much(const struct pcache *cache, uint64_t bytes, uint64_t keys, uint64_t units)
{
	return bytes > cache->max_atomic_bytes || keys > PCM_KSET_MAX_KEYS ||
	       units + pc_kset_lines((uint32_t)keys) > cache->write.room_total;
}

int pc_vector_write_atomic(struct pcache *cache, const struct pcache_extent *extents, size_t count, unsigned flags)
{
	struct pc_write_plan plan;
	uint64_t bytes = 0;
	uint64_t keys = 0;
	uint64_t units = 0;
	int ret;

	for (size_t i = 0; i < count && bytes <= cache->max_atomic_bytes; i++) {
		uint64_t more = pc_plan_keys(extents[i].off, extents[i].len);

		bytes += extents[i].len;
		keys += more;
		units += extents[i].len / PCM_UNIT + more; /* each key may fill its last unit in part */
	}
	if (is_too_much(cache, bytes, keys, units))
		return -E2BIG;
	ret = pc_io_begin_write(cache, bytes, flags);
	if (ret < 0 || keys == 0)
		return ret;
	ret = pc_plan_new(keys, &plan);
	if (ret < 0)
		return ret;
	plan.is_whole = true;
	for (size_t i = 0; i < count; i++)
		pc_plan_add(&plan, extents[i].buf, extents[i].len, extents[i].off);
	ret = pc_io_write_plan(cache, &plan, (flags & PCACHE_NOWAIT) != 0);
	pc_plan_free(&plan);
	ret = (int)pc_io_end_write(cache, ret == 0 ? bytes : 0, ret, flags);
	return ret < 0 ? ret : 0;
}
