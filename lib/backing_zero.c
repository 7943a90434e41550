/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing_zero.c - ranges of zeroes on the backing, in the best way that it has.
 *
 *   punch:  a hole  ->  a zeroed range  ->  plain writes
 *   else:               a zeroed range  ->  plain writes
 *
 * (B7) A way that a backing refuses as such is not tried again. Any other error is the request's, and is not hidden by
 *      another way.
 */
#include "backing.h"

#include <errno.h>
#include <string.h>

#define STEP_BYTES  (1ull << 30) /* of one operation: a signal, or close, need not wait for a whole device */
#define CHUNK_BYTES (256u << 10)
#define CHUNKS      32u

static bool is_refusal(int error)
{
	return error == -EOPNOTSUPP || error == -EINVAL || error == -ENOSYS;
}

static int write_zeroes(struct pc_backing *backing, uint64_t off, uint64_t len)
{
	struct pc_io ios[CHUNKS];
	PC_FREE void *zeroes = NULL;
	uint64_t end = off + len;
	int ret = 0;

	if (posix_memalign(&zeroes, (size_t)pc_max64(backing->align_bytes, PC_PAGE), CHUNK_BYTES) != 0)
		return -ENOMEM;
	memset(zeroes, 0, CHUNK_BYTES);
	while (off < end && ret == 0) {
		size_t count = 0;

		for (; off < end && count < CHUNKS; count++) {
			size_t part = (size_t)pc_min64(end - off, CHUNK_BYTES);

			ios[count] = (struct pc_io){ .op = PC_IO_WRITE, .off = off, .buf = zeroes, .len = part };
			off += part;
		}
		ret = pc_backing_run(backing, ios, count);
	}
	return ret;
}

/* -EOPNOTSUPP: this way is not there. (B7) */
static int zero_range(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch)
{
	bool *is_refused = punch ? &backing->no_punch : &backing->no_zero;
	int ret;

	if (*is_refused)
		return -EOPNOTSUPP;
	ret = backing->ops->zero(backing, off, len, punch);
	pc_backing_note_answer(backing);
	if (!is_refusal(ret))
		return pc_backing_note_result(backing, ret);
	*is_refused = true;
	return -EOPNOTSUPP;
}

static int zero_step(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch)
{
	int ret = punch ? zero_range(backing, off, len, true) : -EOPNOTSUPP;

	if (ret == -EOPNOTSUPP)
		ret = zero_range(backing, off, len, false);
	return ret == -EOPNOTSUPP ? write_zeroes(backing, off, len) : ret;
}

int pc_backing_zero(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch)
{
	int ret = 0;

	if (backing->readonly)
		return -EROFS;
	if (off > backing->size_bytes || len > backing->size_bytes - off)
		return -EINVAL;
	while (len > 0 && ret == 0) {
		uint64_t step = pc_min64(len, STEP_BYTES);

		ret = zero_step(backing, off, step, punch);
		off += step;
		len -= step;
	}
	return ret;
}
