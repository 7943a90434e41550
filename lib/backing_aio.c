/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing_aio.c - the operations on a real file or block device: libaio for runs, pread for single reads.
 *
 *   0                                     direct_end     size
 *   |  through fd (O_DIRECT where the user had it) | tail |  the tail through a buffered description
 *
 * (A1) The tail exists only under O_DIRECT, where the size is not a multiple of the alignment. It starts at a page and
 *      at a block of the file system, and its description reads nothing ahead: so no page of the cache and no block
 *      is ever used by both ways, and neither undoes what the other wrote (B3).
 * (A2) A sync covers both descriptions, and asks the second one also when the first failed: each reports an error of
 *      the file once, and an answer left for later would spoil a later batch.
 * (A3) Where the kernel takes no asynchronous requests (none left, none allowed), they are done in the calling thread.
 * (A4) An error of libaio is a negative return value, never errno. Nothing above this file knows libaio.
 *
 * No lock: submit and reap belong to one thread at a time, read and sync keep no state.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS_MAX       64u
#define BOUNCE_BYTES     (256u * 1024)
#define ALIGN_DEFAULT    4096u      /* of O_DIRECT, where the kernel does not tell */
#define ALIGN_MAX        (64u * 1024)
#define TAIL_ALIGN_MAX   (1u << 20) /* largest block of a file system that the tail takes care of */

struct aio_backing {
	struct pc_backing base; /* first, so that the one is the other */
	int fd;
	int tail_fd;            /* buffered, or -1 */
	uint64_t direct_end;    /* from here on through tail_fd; the size where there is no tail */
	io_context_t queue;     /* NULL: every request is done in the calling thread */
	uint32_t queue_room;    /* requests that it was made for */
	struct pc_io *finished; /* done in submit, waiting to be reaped; linked by private_data */
	struct iocb iocbs[PC_BACKING_DEPTH_MAX];
	struct iocb *idle[PC_BACKING_DEPTH_MAX]; /* those not in the kernel, idle_count of them */
	unsigned idle_count;
};

static struct aio_backing *aio_of(struct pc_backing *backing)
{
	return (struct aio_backing *)backing;
}

/* ---- requests ---- */

/* The bytes from `from` on that one description can serve. */
static size_t piece_len(const struct aio_backing *aio, uint64_t from, size_t len)
{
	return from < aio->direct_end ? (size_t)pc_min64(len, aio->direct_end - from) : len;
}

static int fd_at(const struct aio_backing *aio, uint64_t from)
{
	return from < aio->direct_end ? aio->fd : aio->tail_fd;
}

static int64_t read_once(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t count;

	do {
		count = pread(fd, buf, len, (off_t)off);
	} while (count < 0 && errno == EINTR);
	return count < 0 ? -errno : count;
}

static int64_t write_once(int fd, const void *buf, size_t len, uint64_t off)
{
	ssize_t count;

	do {
		count = pwrite(fd, buf, len, (off_t)off);
	} while (count < 0 && errno == EINTR);
	return count < 0 ? -errno : count;
}

static void transfer_now(struct aio_backing *aio, struct pc_io *io)
{
	uint64_t from = io->off + io->done;
	size_t len = piece_len(aio, from, io->len - io->done);

	if (io->op == PC_IO_WRITE)
		io->result = write_once(fd_at(aio, from), io->buf + io->done, len, from);
	else
		io->result = read_once(fd_at(aio, from), io->buf + io->done, len, from);
	io->private_data = aio->finished;
	aio->finished = io;
}

static void prepare(const struct aio_backing *aio, struct pc_io *io, struct iocb *iocb)
{
	uint64_t from = io->off + io->done;
	size_t len = piece_len(aio, from, io->len - io->done);

	if (io->op == PC_IO_WRITE)
		io_prep_pwrite(iocb, aio->fd, io->buf + io->done, len, (long long)from);
	else
		io_prep_pread(iocb, aio->fd, io->buf + io->done, len, (long long)from);
	iocb->data = io;
}

/* Submits the requests before the first one in the tail; returns how many, maybe 0, or negative errno. */
static int submit_direct(struct aio_backing *aio, struct pc_io **ios, unsigned count)
{
	struct iocb *batch[PC_BACKING_DEPTH_MAX];
	unsigned prepared = 0;
	int submitted;

	while (prepared < pc_min64(count, aio->idle_count) &&
	       ios[prepared]->off + ios[prepared]->done < aio->direct_end) {
		batch[prepared] = aio->idle[aio->idle_count - 1 - prepared];
		prepare(aio, ios[prepared], batch[prepared]);
		prepared++;
	}
	if (aio->queue == NULL || prepared == 0)
		return 0;
	submitted = io_submit(aio->queue, (long)prepared, batch);
	if (submitted > 0)
		aio->idle_count -= (unsigned)submitted;
	else if (submitted == -EAGAIN && aio->idle_count == PC_BACKING_DEPTH_MAX)
		return 0; /* waiting for completions would not help */
	return submitted;
}

/* A request that reaches into the tail is cut there: its rest comes back as that of a short completion. */
static int aio_submit(struct pc_backing *backing, struct pc_io **ios, unsigned count)
{
	struct aio_backing *aio = aio_of(backing);
	int submitted = submit_direct(aio, ios, count);

	if (submitted != 0)
		return submitted;
	transfer_now(aio, ios[0]);
	return 1;
}

static int take_finished(struct aio_backing *aio, struct pc_io **ret_done, unsigned max)
{
	unsigned count = 0;

	while (aio->finished != NULL && count < max) {
		ret_done[count] = aio->finished;
		aio->finished = ret_done[count++]->private_data;
	}
	return (int)count;
}

static int aio_reap(struct pc_backing *backing, struct pc_io **ret_done, unsigned max)
{
	struct aio_backing *aio = aio_of(backing);
	struct io_event events[EVENTS_MAX];
	int count;

	if (aio->finished != NULL)
		return take_finished(aio, ret_done, max);
	count = io_getevents(aio->queue, 1, (long)pc_min64(max, EVENTS_MAX), events, NULL);
	if (count < 0 && count != -EINTR) {
		/* the requests hold the caller's memory: this waits until the kernel has let go of it */
		io_destroy(aio->queue);
		aio->queue = NULL;
		return count;
	}
	for (int i = 0; i < count; i++) {
		ret_done[i] = events[i].data;
		ret_done[i]->result = (int64_t)events[i].res;
		aio->idle[aio->idle_count++] = events[i].obj;
	}
	return count;
}

/* ---- single reads ---- */

/* To the end of the file at most; there O_DIRECT may answer with part of a block, after which it cannot go on. */
static int64_t read_plain(int fd, uint8_t *buf, uint64_t off, size_t len, uint32_t align)
{
	size_t done = 0;

	while (done < len && done % align == 0) {
		int64_t count = read_once(fd, buf + done, len - done, off + done);

		if (count < 0)
			return count;
		if (count == 0)
			break;
		done += (size_t)count;
	}
	return (int64_t)done;
}

/* O_DIRECT at any alignment: whole blocks into memory of our own, the wanted part out of it. */
static int64_t read_bounced(struct aio_backing *aio, uint8_t *buf, uint64_t off, size_t len)
{
	uint32_t align = aio->base.align_bytes;
	uint64_t end = pc_align_up(off + len, align);
	size_t bounce_len = (size_t)pc_min64(end - pc_align_down(off, align), BOUNCE_BYTES);
	PC_FREE void *bounce = NULL;
	size_t done = 0;

	if (posix_memalign(&bounce, (size_t)pc_max64(align, PC_PAGE), bounce_len) != 0)
		return -ENOMEM;
	while (done < len) {
		uint64_t start = pc_align_down(off + done, align);
		size_t skip = (size_t)(off + done - start);
		int64_t count = read_plain(aio->fd, bounce, start, (size_t)pc_min64(end - start, bounce_len), align);
		size_t take;

		if (count < 0)
			return count;
		if ((uint64_t)count <= skip)
			break;
		take = (size_t)pc_min64(len - done, (uint64_t)count - skip);
		memcpy(buf + done, (uint8_t *)bounce + skip, take);
		done += take;
	}
	return (int64_t)done;
}

static int64_t read_piece(struct aio_backing *aio, uint8_t *buf, uint64_t off, size_t len)
{
	if (off >= aio->direct_end)
		return read_plain(aio->tail_fd, buf, off, len, 1);
	if (((off | len | (uintptr_t)buf) & (aio->base.align_bytes - 1)) == 0)
		return read_plain(aio->fd, buf, off, len, aio->base.align_bytes);
	return read_bounced(aio, buf, off, len);
}

static int64_t aio_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len)
{
	struct aio_backing *aio = aio_of(backing);
	size_t done = 0;

	while (done < len) {
		size_t piece = piece_len(aio, off + done, len - done);
		int64_t count = read_piece(aio, (uint8_t *)buf + done, off + done, piece);

		if (count < 0)
			return count;
		done += (size_t)count;
		if ((size_t)count < piece)
			break;
	}
	return (int64_t)done;
}

/* ---- single writes ---- */

static int64_t aio_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len)
{
	struct aio_backing *aio = aio_of(backing);
	size_t done = 0;

	while (done < len) {
		uint64_t from = off + done;
		int64_t count = write_once(fd_at(aio, from), (const uint8_t *)buf + done,
					   piece_len(aio, from, len - done), from);

		if (count < 0)
			return count;
		/* A part of a block is done again, as the rest must be aligned. */
		count = done + (uint64_t)count < len ? (int64_t)pc_align_down((uint64_t)count, aio->base.align_bytes) : count;
		if (count == 0)
			break;
		done += (size_t)count;
	}
	return (int64_t)done;
}

/* ---- ranges of zeroes ---- */

/* Of the file, whichever description: the kernel takes the range out of its cache (A1). Never longer than it is (B3). */
static int aio_zero(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch)
{
	int mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	int result;

	do {
		result = fallocate(aio_of(backing)->fd, mode, (off_t)off, (off_t)len);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

/* ---- sync and close ---- */

static int sync_description(int fd)
{
	int result;

	do {
		result = fdatasync(fd);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

static int aio_sync(struct pc_backing *backing)
{
	struct aio_backing *aio = aio_of(backing);
	int error = sync_description(aio->fd);
	int tail_error = aio->tail_fd >= 0 ? sync_description(aio->tail_fd) : 0;

	return error != 0 ? error : tail_error;
}

static int aio_direct_fd(const struct pc_backing *backing, const struct pc_io *io)
{
	const struct aio_backing *aio = (const struct aio_backing *)backing;
	bool is_aligned = ((io->off | io->len | (uintptr_t)io->buf) & (backing->align_bytes - 1)) == 0;

	return backing->align_bytes > 1 && is_aligned && io->off + io->len <= aio->direct_end ? aio->fd : -1;
}

static void aio_close(struct pc_backing *backing)
{
	struct aio_backing *aio = aio_of(backing);

	if (aio->queue != NULL)
		io_destroy(aio->queue);
	if (aio->tail_fd >= 0)
		close(aio->tail_fd);
	if (aio->fd >= 0)
		close(aio->fd);
	free(aio);
}

/* A larger queue is a new one. Where the system has none left, the old one stays, and the depth is what it has room for. */
static void aio_make_room(struct pc_backing *backing, uint32_t depth)
{
	struct aio_backing *aio = aio_of(backing);
	io_context_t larger = NULL;

	if (aio->queue == NULL || depth <= aio->queue_room)
		return;
	if (io_setup((int)depth, &larger) < 0) {
		backing->queue_depth = aio->queue_room;
		return;
	}
	io_destroy(aio->queue);
	aio->queue = larger;
	aio->queue_room = depth;
}

static const struct pc_backing_ops aio_ops = {
	.submit = aio_submit,
	.reap = aio_reap,
	.read = aio_read,
	.write = aio_write,
	.sync = aio_sync,
	.make_room = aio_make_room,
	.direct_fd = aio_direct_fd,
	.zero = aio_zero,
	.close = aio_close,
};

/* ---- open ---- */

static int check_descriptor(int fd, bool readonly, const struct pc_log *log, int *ret_flags)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat status;

	if (flags < 0 || fstat(fd, &status) < 0)
		return pc_fail(log, -errno, "backing: descriptor %d: %s", fd, strerror(errno));
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return pc_fail(log, -EINVAL, "backing: descriptor %d is neither a regular file nor a block device", fd);
	if ((flags & O_PATH) != 0 || ((flags & O_ACCMODE) != O_RDONLY && (flags & O_ACCMODE) != O_RDWR))
		return pc_fail(log, -EBADF, "backing: descriptor %d is not open for reading", fd);
	if (!readonly && (flags & O_ACCMODE) == O_RDONLY)
		return pc_fail(log, -EROFS, "backing: descriptor %d is open for reading only", fd);
	*ret_flags = flags;
	return 0;
}

/* A new description of the very same file, also of one without a name. */
static int reopen(int fd, int flags, int *ret_fd)
{
	struct stat theirs;
	struct stat ours;
	char path[64];
	int opened;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	opened = open(path, flags | O_CLOEXEC);
	if (opened < 0)
		return -errno;
	/* what is mounted on /proc may be something else */
	if (fstat(fd, &theirs) < 0 || fstat(opened, &ours) < 0 || theirs.st_dev != ours.st_dev ||
	    theirs.st_ino != ours.st_ino || theirs.st_rdev != ours.st_rdev) {
		close(opened);
		return -ENOENT;
	}
	*ret_fd = opened;
	return 0;
}

static int open_description(struct aio_backing *aio, int fd, int flags, const struct pc_log *log)
{
	int access = aio->base.readonly ? O_RDONLY : O_RDWR;
	int error = reopen(fd, access | (flags & O_DIRECT), &aio->fd);

	if (error == 0)
		return 0;
	/* a shared description keeps the user's flags, and with O_APPEND a write goes to the end, wherever it should */
	if ((flags & O_APPEND) != 0)
		return pc_fail(log, -EINVAL, "backing: open for appending, and cannot be opened again: %s",
			       strerror(-error));
	aio->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (aio->fd < 0)
		return pc_fail(log, -errno, "backing: cannot duplicate descriptor %d: %s", fd, strerror(errno));
	pc_log(log, PCACHE_LOG_WARNING, "backing: cannot be opened again (%s): a sync elsewhere may take its errors",
	       strerror(-error));
	return 0;
}

static int find_size(struct aio_backing *aio, const struct stat *status, const struct pc_log *log)
{
	uint64_t bytes = 0;

	aio->base.size_bytes = (uint64_t)status->st_size;
	if (!S_ISBLK(status->st_mode))
		return 0;
	if (ioctl(aio->fd, BLKGETSIZE64, &bytes) < 0)
		return pc_fail(log, -errno, "backing: cannot tell the size of the device: %s", strerror(errno));
	aio->base.size_bytes = bytes;
	return 0;
}

static uint32_t direct_align(int fd, const struct stat *status)
{
	int sector_bytes = 0;
#ifdef STATX_DIOALIGN
	struct statx extra;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extra) == 0 && (extra.stx_mask & STATX_DIOALIGN) != 0) {
		uint64_t align = pc_max64(extra.stx_dio_mem_align, extra.stx_dio_offset_align);

		if (extra.stx_dio_offset_align != 0 && pc_is_power_of_two(align) && align <= ALIGN_MAX)
			return (uint32_t)align;
	}
#endif
	if (S_ISBLK(status->st_mode) && ioctl(fd, BLKSSZGET, &sector_bytes) == 0 && sector_bytes > 0 &&
	    pc_is_power_of_two((uint64_t)sector_bytes))
		return (uint32_t)sector_bytes;
	return ALIGN_DEFAULT;
}

/* (A1) */
static int open_tail(struct aio_backing *aio, const struct stat *status, const struct pc_log *log)
{
	uint64_t align = pc_max64(aio->base.align_bytes, PC_PAGE);
	uint64_t block = (uint64_t)status->st_blksize;
	int error;

	aio->direct_end = aio->base.size_bytes;
	if (aio->base.size_bytes % aio->base.align_bytes == 0)
		return 0;
	if (pc_is_power_of_two(block) && block <= TAIL_ALIGN_MAX)
		align = pc_max64(align, block);
	aio->direct_end = pc_align_down(aio->base.size_bytes, align);
	error = reopen(aio->fd, aio->base.readonly ? O_RDONLY : O_RDWR, &aio->tail_fd);
	if (error != 0)
		return pc_fail(log, error, "backing: its last block needs a description without O_DIRECT: %s",
			       strerror(-error));
	posix_fadvise(aio->tail_fd, 0, 0, POSIX_FADV_RANDOM);
	return 0;
}

static int find_geometry(struct aio_backing *aio, int flags, const struct pc_log *log)
{
	struct stat status;
	int error;

	if (fstat(aio->fd, &status) < 0)
		return pc_fail(log, -errno, "backing: %s", strerror(errno));
	error = find_size(aio, &status, log);
	if (error != 0)
		return error;
	aio->base.align_bytes = (flags & O_DIRECT) != 0 ? direct_align(aio->fd, &status) : 1;
	return open_tail(aio, &status, log);
}

/* (A3) The system may have few requests left for us, or none: less depth then, never a failure. */
static void open_queue(struct aio_backing *aio, const struct pc_log *log)
{
	int error;

	for (;;) {
		error = io_setup((int)aio->base.queue_depth, &aio->queue);
		aio->queue_room = aio->base.queue_depth;
		if (error != -EAGAIN || aio->base.queue_depth == 1)
			break;
		aio->base.queue_depth /= 2;
	}
	if (error == 0)
		return;
	aio->queue = NULL;
	pc_log(log, PCACHE_LOG_WARNING, "backing: no asynchronous requests (%s), writing one at a time",
	       strerror(-error));
}

int pc_backing_open(int fd, uint32_t queue_depth, bool readonly, const struct pc_log *log,
		    struct pc_backing **ret_backing)
{
	struct aio_backing *aio;
	int flags = 0;
	int error;

	if (queue_depth == 0 || queue_depth > PC_BACKING_DEPTH_MAX)
		return -EINVAL;
	error = check_descriptor(fd, readonly, log, &flags);
	if (error != 0)
		return error;
	aio = calloc(1, sizeof(*aio));
	if (aio == NULL)
		return -ENOMEM;
	aio->base = (struct pc_backing){ .ops = &aio_ops, .queue_depth = queue_depth, .readonly = readonly };
	aio->fd = -1;
	aio->tail_fd = -1;
	for (unsigned i = 0; i < PC_BACKING_DEPTH_MAX; i++)
		aio->idle[aio->idle_count++] = &aio->iocbs[i];
	error = open_description(aio, fd, flags, log);
	if (error == 0)
		error = find_geometry(aio, flags, log);
	if (error != 0) {
		aio_close(&aio->base);
		return error;
	}
	open_queue(aio, log);
	*ret_backing = &aio->base;
	return 0;
}
