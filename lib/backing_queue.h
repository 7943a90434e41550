/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing_queue.h - reads of the backing that complete later, for callers with an event loop.
 */
#ifndef PC_BACKING_QUEUE_H
#define PC_BACKING_QUEUE_H

#include "backing.h"

struct pc_backing_queue;

/*
 * event_fd: an eventfd that becomes readable with each completion; borrowed. At most `depth` reads at a time.
 * -ENOMEM, or what the system says when it has no more asynchronous requests.
 */
int pc_backing_queue_new(struct pc_backing *backing, unsigned depth, int event_fd, struct pc_backing_queue **ret_queue);

/* Waits until the kernel has let go of every read. NULL is accepted. */
void pc_backing_queue_delete(struct pc_backing_queue *queue);

/*
 * Begin to read io->len bytes at io->off into io->buf. 0: it will be reaped. -EAGAIN: not possible without waiting (a
 * buffered description, an alignment, no request left): read it elsewhere. Any thread.
 */
int pc_backing_queue_read(struct pc_backing_queue *queue, struct pc_io *io);

/* Those that completed, at most `max`: io->error is 0 or negative errno. `wait`: at least one. Any thread. */
unsigned pc_backing_queue_reap(struct pc_backing_queue *queue, struct pc_io **ret_done, unsigned max, bool wait);

#endif
