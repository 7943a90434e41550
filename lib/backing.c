/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing.c - what does not depend on how requests reach the backing: keeps a queue of them going over the table of
 * operations, until each has ended. The simulator of the tests runs under this code too.
 *
 *   refill          submit            reap
 *   ios ------> ready ------> in flight ------> ended
 *                 ^                  |
 *                 +-- the rest of a short completion
 *
 * (B4) Nothing is in flight when pc_backing_run returns, and each request has its own result.
 * (B5) A request that goes past the end, or writes to a read-only backing, is refused before it is submitted (B3).
 * (B6) A completion without progress ends its request with an error, so that no request goes round for ever.
 *
 * No lock: a run belongs to the thread that called it.
 */
#include "backing.h"

#include <errno.h>

#define PATIENCE 1000u /* "try again" answers in a row without a byte of progress */

struct run {
	struct pc_backing *backing;
	struct pc_io *next; /* never submitted so far, up to end */
	struct pc_io *end;
	struct pc_io *ready[PC_BACKING_DEPTH_MAX]; /* to be submitted; ready and in flight together stay within depth */
	unsigned ready_count;
	unsigned in_flight;
	unsigned depth;
	unsigned patience;
};

static int check_request(const struct pc_backing *backing, const struct pc_io *io)
{
	if (io->op == PC_IO_WRITE && backing->readonly)
		return -EROFS;
	if (io->off > backing->size_bytes || io->len > backing->size_bytes - io->off)
		return -EINVAL;
	return 0;
}

static void refill(struct run *run)
{
	while (run->next < run->end && run->ready_count + run->in_flight < run->depth) {
		struct pc_io *io = run->next++;

		io->done = 0;
		io->result = 0;
		io->error = check_request(run->backing, io);
		if (io->error == 0 && io->len > 0)
			run->ready[run->ready_count++] = io;
	}
}

static void drop_ready(struct run *run, unsigned count)
{
	run->ready_count -= count;
	for (unsigned i = 0; i < run->ready_count; i++)
		run->ready[i] = run->ready[i + count];
}

static bool is_again(int64_t result)
{
	return result == -EAGAIN || result == -EINTR;
}

/* Says whether it is worth trying to submit more before waiting for a completion. */
static bool submit_ready(struct run *run)
{
	int submitted = run->backing->ops->submit(run->backing, run->ready, run->ready_count);

	pc_backing_note_answer(run->backing);
	if (submitted > 0) {
		for (int i = 0; i < submitted; i++)
			run->ready[i]->error = -EINPROGRESS;
		run->in_flight += (unsigned)submitted;
		drop_ready(run, (unsigned)submitted);
		return true;
	}
	if (is_again(submitted) && run->in_flight > 0)
		return false;
	if (is_again(submitted) && run->patience > 0) {
		run->patience--;
		return true;
	}
	/* the error of a submission is that of its first request */
	run->ready[0]->error = submitted < 0 ? submitted : -EIO;
	drop_ready(run, 1);
	return true;
}

/* Takes what one completion did; returns the error that ends the request, or 0. */
static int take_result(struct run *run, struct pc_io *io)
{
	size_t done;

	if (is_again(io->result) && run->patience > 0) {
		run->patience--;
		return 0;
	}
	if (io->result < 0)
		return (int)io->result;
	if ((uint64_t)io->result > io->len - io->done)
		return -EIO;
	done = io->done + (size_t)io->result;
	/* a part of a block is done again, as the rest must be aligned */
	if (done < io->len)
		done = (size_t)pc_align_down(done, run->backing->align_bytes);
	if (done <= io->done)
		return -EIO;
	io->done = done;
	run->patience = PATIENCE;
	return 0;
}

/* The operations gave up and have nothing in flight any more: those requests failed, the others go on. */
static void fail_in_flight(struct run *run, struct pc_io *first, int error)
{
	for (struct pc_io *io = first; io < run->next; io++) {
		if (io->error == -EINPROGRESS)
			io->error = error;
	}
	run->in_flight = 0;
}

static int reap_some(struct run *run)
{
	struct pc_io *done[PC_BACKING_DEPTH_MAX];
	int count = run->backing->ops->reap(run->backing, done, run->in_flight);

	pc_backing_note_answer(run->backing);
	if (count < 0)
		return is_again(count) ? 0 : count;
	for (int i = 0; i < count; i++) {
		struct pc_io *io = done[i];

		run->in_flight--;
		io->error = take_result(run, io);
		if (io->error == 0 && io->done < io->len)
			run->ready[run->ready_count++] = io;
	}
	return 0;
}

int pc_backing_run(struct pc_backing *backing, struct pc_io *ios, size_t count)
{
	struct run run = { .backing = backing, .next = ios, .patience = PATIENCE };

	if (count == 0)
		return 0;
	run.end = ios + count;
	run.depth = (unsigned)pc_max64(1, pc_min64(backing->queue_depth, PC_BACKING_DEPTH_MAX));
	while (run.next < run.end || run.ready_count > 0 || run.in_flight > 0) {
		int error = 0;

		refill(&run);
		while (run.ready_count > 0 && submit_ready(&run))
			continue;
		if (run.in_flight > 0)
			error = reap_some(&run);
		if (error < 0)
			fail_in_flight(&run, ios, error);
	}
	for (size_t i = 0; i < count; i++) {
		if (ios[i].error != 0)
			return pc_backing_note_result(backing, ios[i].error);
	}
	return 0;
}

int pc_backing_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len)
{
	int64_t count;

	if (off > backing->size_bytes || len > backing->size_bytes - off)
		return -EIO;
	if (len == 0)
		return 0;
	count = backing->ops->read(backing, buf, off, len);
	if (count < 0)
		return (int)count;
	return (uint64_t)count == len ? 0 : -EIO;
}

void pc_backing_set_depth(struct pc_backing *backing, uint32_t queue_depth)
{
	if (queue_depth == 0 || queue_depth == backing->queue_depth)
		return;
	backing->queue_depth = (uint32_t)pc_min64(queue_depth, PC_BACKING_DEPTH_MAX);
	if (backing->ops->make_room != NULL)
		backing->ops->make_room(backing, backing->queue_depth);
}

static void close_absent(struct pc_backing *backing)
{
	free(backing);
}

int pc_backing_open_absent(struct pc_backing **ret_backing)
{
	static const struct pc_backing_ops ops = { .close = close_absent };
	struct pc_backing *backing = calloc(1, sizeof(*backing));

	if (backing == NULL)
		return -ENOMEM;
	backing->ops = &ops;
	*ret_backing = backing;
	return 0;
}

int pc_backing_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len)
{
	int64_t count;

	if (backing->readonly)
		return -EROFS;
	if (off > backing->size_bytes || len > backing->size_bytes - off)
		return -EINVAL;
	if (len == 0)
		return 0;
	count = backing->ops->write(backing, buf, off, len);
	if (count < 0)
		return (int)count;
	return (uint64_t)count == len ? 0 : -EIO;
}

void pc_backing_close(struct pc_backing *backing)
{
	if (backing != NULL)
		backing->ops->close(backing);
}
