/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing.h - the slow file or block device behind the cache: the only user of libaio, behind a table of operations.
 *
 * (B1) The library works on an open file description of its own, so that nobody else's fsync takes our errors.
 * (B2) A sync covers only writes that completed before it was issued.
 * (B3) The backing is never made longer: its size is what it was at open, and the partial block at its end goes
 *      through a buffered description where O_DIRECT could not address it.
 */
#ifndef PC_BACKING_H
#define PC_BACKING_H

#include "log.h"
#include "util.h"

#include <stdatomic.h>

struct pc_backing;

enum pc_io_op {
	PC_IO_READ,
	PC_IO_WRITE,
};

/* One request: off, len and buf are multiples of align_bytes, but for the end of the backing. */
struct pc_io {
	enum pc_io_op op;
	uint64_t off;
	uint8_t *buf;
	size_t len;
	int error; /* set by pc_backing_run: 0 when all of it was done, else negative errno */

	size_t done;     /* private to pc_backing_run: bytes completed so far */
	int64_t result;  /* set by reap: bytes of the last submission, or negative errno */
	void *private_data; /* for the operations */
};

struct pc_backing_ops {
	/* Submits a prefix of the requests from io->off + io->done; returns how many (1 or more), or negative errno. */
	int (*submit)(struct pc_backing *backing, struct pc_io **ios, unsigned count);
	/*
	 * Waits for at least one, returns how many are in ret_done (result set), or negative errno: -EINTR says again,
	 * any other one that nothing is in flight any more and all that was has failed.
	 */
	int (*reap)(struct pc_backing *backing, struct pc_io **ret_done, unsigned max);
	/* Synchronous read in the calling thread, any alignment; bytes read (short at the end), or negative errno. */
	int64_t (*read)(struct pc_backing *backing, void *buf, uint64_t off, size_t len);
	/* Synchronous write in the calling thread, aligned as requests are; bytes written, or negative errno. */
	int64_t (*write)(struct pc_backing *backing, const void *buf, uint64_t off, size_t len);
	int (*sync)(struct pc_backing *backing);
	/* Nothing is in flight: room for so many, as far as the system has it. NULL: there always is. */
	void (*make_room)(struct pc_backing *backing, uint32_t depth);
	/* The descriptor that serves a read without a wait in its submission, or -1. NULL: there is none. */
	int (*direct_fd)(const struct pc_backing *backing, const struct pc_io *io);
	/*
	 * Synchronously, in the calling thread: the range reads zeroes; `punch`: and needs no space. Another errno than
	 * those of pc_backing_zero(): done in part, or not at all. Multiples of align_bytes.
	 */
	int (*zero)(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch);
	void (*close)(struct pc_backing *backing);
};

struct pc_backing {
	const struct pc_backing_ops *ops;
	uint64_t size_bytes;
	uint32_t align_bytes;  /* what requests must be aligned to; 1 for buffered descriptions */
	uint32_t queue_depth;
	bool readonly;
	_Atomic uint64_t failures; /* runs and syncs that failed */
	_Atomic uint64_t answers; /* requests that were taken or completed, and syncs: it moves, so the backing is alive */
	bool no_zero;  /* the operations cannot zero a range; found out by trying */
	bool no_punch;
};

#define PC_BACKING_DEPTH_MAX 256u

/*
 * -EBADF: not open for reading; -EROFS: not open for writing, and not `readonly`; -EINVAL: neither regular file nor
 * block device, or a bad depth. readonly: never written. queue_depth may come out lower where the system has less.
 */
int pc_backing_open(int fd, uint32_t queue_depth, bool readonly, const struct pc_log *log,
		    struct pc_backing **ret_backing);

/* One that is not there, of 0 bytes: never read or written. -ENOMEM. */
int pc_backing_open_absent(struct pc_backing **ret_backing);

/* NULL is accepted. */
void pc_backing_close(struct pc_backing *backing);

/*
 * Do all requests, at most queue_depth in flight; the rest of a short completion is submitted again. Every request is
 * finished when this returns, each with its own `error`. Returns the first error. Submit and reap belong to one thread
 * at a time.
 */
int pc_backing_run(struct pc_backing *backing, struct pc_io *ios, size_t count);

/*
 * Make a range of whole aligned blocks read zeroes, with a hole if `punch` and it can be had. Where the operations say
 * -EOPNOTSUPP, -EINVAL or -ENOSYS, zeroes are written, now and from then on. In the thread that calls pc_backing_run().
 */
int pc_backing_zero(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch);

/* Read exactly len bytes in the calling thread; the end of the backing within the range is -EIO. Any alignment. */
int pc_backing_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len);

static inline void pc_backing_note_answer(struct pc_backing *backing)
{
	atomic_fetch_add_explicit(&backing->answers, 1, memory_order_relaxed);
}

static inline int pc_backing_note_result(struct pc_backing *backing, int ret)
{
	if (ret < 0)
		atomic_fetch_add_explicit(&backing->failures, 1, memory_order_relaxed);
	return ret;
}
/* Write exactly len bytes in the calling thread, aligned as requests are; after an error some of them may be written. */
int pc_backing_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len);

/* From the next run on; 0: as it is. May come out lower where the system has less. Not during a run. */
void pc_backing_set_depth(struct pc_backing *backing, uint32_t queue_depth);

static inline int pc_backing_sync(struct pc_backing *backing)
{
	int ret = pc_backing_note_result(backing, backing->ops->sync(backing));

	pc_backing_note_answer(backing);
	return ret;
}

#endif
