/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing_queue.c - a queue of libaio for reads alone, apart from that of write-back (backing_aio.c).
 *
 * (A5) Only what O_DIRECT can do goes to the kernel: a buffered description would read in io_submit(), and the caller
 *      would wait after all.
 * (A6) The rest of a short completion is read at once, in the thread that reaps: it is rare, and mostly an error.
 *
 * The idle control blocks are guarded by the lock, a leaf; it is not held across a system call.
 */
#include "backing_queue.h"

#include <errno.h>
#include <libaio.h>
#include <pthread.h>

#define EVENTS_MAX 64u

struct pc_backing_queue {
	struct pc_backing *backing;
	io_context_t context;
	int event_fd;

	pthread_mutex_t lock; /* guards what follows */

	struct iocb **idle; /* idle_count of `depth` */
	unsigned idle_count;
	struct iocb iocbs[];
};

int pc_backing_queue_new(struct pc_backing *backing, unsigned depth, int event_fd, struct pc_backing_queue **ret_queue)
{
	struct pc_backing_queue *queue = calloc(1, sizeof(*queue) + depth * sizeof(queue->iocbs[0]));
	int ret;

	if (queue == NULL)
		return -ENOMEM;
	queue->idle = calloc(depth, sizeof(struct iocb *));
	ret = queue->idle == NULL ? -ENOMEM : io_setup((int)depth, &queue->context);
	if (ret < 0) {
		free(queue->idle);
		free(queue);
		return ret;
	}
	queue->backing = backing;
	queue->event_fd = event_fd;
	pthread_mutex_init(&queue->lock, NULL);
	for (unsigned i = 0; i < depth; i++)
		queue->idle[queue->idle_count++] = &queue->iocbs[i];
	*ret_queue = queue;
	return 0;
}

void pc_backing_queue_delete(struct pc_backing_queue *queue)
{
	if (queue == NULL)
		return;
	io_destroy(queue->context);
	pthread_mutex_destroy(&queue->lock);
	free(queue->idle);
	free(queue);
}

static struct iocb *take_idle(struct pc_backing_queue *queue)
{
	struct iocb *iocb = NULL;

	pthread_mutex_lock(&queue->lock);
	if (queue->idle_count > 0)
		iocb = queue->idle[--queue->idle_count];
	pthread_mutex_unlock(&queue->lock);
	return iocb;
}

static void give_back(struct pc_backing_queue *queue, struct iocb *iocb)
{
	pthread_mutex_lock(&queue->lock);
	queue->idle[queue->idle_count++] = iocb;
	pthread_mutex_unlock(&queue->lock);
}

int pc_backing_queue_read(struct pc_backing_queue *queue, struct pc_io *io)
{
	struct pc_backing *backing = queue->backing;
	int fd = backing->ops->direct_fd == NULL ? -1 : backing->ops->direct_fd(backing, io); /* (A5) */
	struct iocb *iocb = fd < 0 ? NULL : take_idle(queue);

	if (iocb == NULL)
		return -EAGAIN;
	io_prep_pread(iocb, fd, io->buf, io->len, (long long)io->off);
	io_set_eventfd(iocb, queue->event_fd);
	iocb->data = io;
	if (io_submit(queue->context, 1, &iocb) == 1)
		return 0;
	give_back(queue, iocb);
	return -EAGAIN; /* whoever reads it elsewhere hears of a real error */
}

static int result_of(struct pc_backing *backing, const struct pc_io *io, int64_t result)
{
	if (result < 0)
		return (int)result;
	if ((size_t)result >= io->len)
		return 0;
	return pc_backing_read(backing, io->buf + result, io->off + (uint64_t)result, io->len - (size_t)result); /* (A6) */
}

unsigned pc_backing_queue_reap(struct pc_backing_queue *queue, struct pc_io **ret_done, unsigned max, bool wait)
{
	struct timespec at_once = { 0 };
	struct io_event events[EVENTS_MAX];
	int count;

	do {
		count = io_getevents(queue->context, wait, (long)pc_min64(max, EVENTS_MAX), events, wait ? NULL : &at_once);
	} while (count == -EINTR);
	for (int i = 0; i < count; i++) {
		ret_done[i] = events[i].data;
		ret_done[i]->error = result_of(queue->backing, ret_done[i], (int64_t)events[i].res);
		give_back(queue, events[i].obj);
	}
	return count < 0 ? 0 : (unsigned)count;
}
