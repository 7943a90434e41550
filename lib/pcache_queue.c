/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcache_queue.c - the public functions for callers with an event loop: requests that complete later.
 *
 *   submit -> tried without a wait ----------------------------------------------> done -> reap
 *              |  a hole in a read: to the backing by libaio -> reaped, goes on ----^
 *              '- all that would wait: a helper thread makes the synchronous call --^
 *
 * (QU1) A slot belongs to one party at a time: the free list, the thread in submit or reap, the kernel, the helpers' list,
 *      one helper, the list of what is done.
 * (QU2) The event descriptor is readable as long as something can be reaped.
 * (QU3) Whatever was submitted ends: at the latest when the queue is deleted, with -ECANCELED if it had not begun.
 *
 * Lock: pcache_queue.lock, a leaf; not held during a call into the cache.
 */
#pragma GCC visibility push(default)
#include "pcache.h"
#pragma GCC visibility pop

#include "backing_queue.h"
#include "enter.h"
#include "thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#define HELPERS_MAX 16u
#define REAP_MAX    64u

/* One request that was accepted. */
struct slot {
	struct pc_io io; /* first, so that the one is the other */
	struct slot *next;
	struct pcache_request *request;
	size_t done;    /* of a read */
	uint64_t start_ns; /* of a read: pc_io_end_read() */
	bool missed;
	bool has_begun; /* the hole behind `done` is being read, or still to be */
	struct pc_miss_begun begun;
};

struct list {
	struct slot *first;
	struct slot **end;
};

struct pcache_queue {
	struct pcache_queue *next; /* of the cache; guarded by its state lock */
	struct pcache *cache;
	struct pc_backing_queue *reads; /* NULL: the system has none for us; helpers read */
	int event_fd;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;  /* of helpers */

	struct list work; /* for the helpers */
	struct list done;
	struct slot *free;
	pthread_t helpers[HELPERS_MAX];
	unsigned helper_count;
	unsigned helpers_idle;
	unsigned in_kernel;
	bool stop;
	struct slot slots[];
};

/* ---- lists ---- */

static void list_clear(struct list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_add(struct list *list, struct slot *slot)
{
	slot->next = NULL;
	*list->end = slot;
	list->end = &slot->next;
}

static void list_move(struct list *target, struct list *from)
{
	list_clear(target);
	if (from->first != NULL)
		*target = *from;
	list_clear(from);
}

static struct slot *list_take(struct list *list)
{
	struct slot *slot = list->first;

	if (slot != NULL) {
		list->first = slot->next;
		if (list->first == NULL)
			list->end = &list->first;
	}
	return slot;
}

static void signal_event(const struct pcache_queue *queue)
{
	uint64_t one = 1;

	while (write(queue->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		; /* a counter that is full is readable as well */
}

static void finish(struct pcache_queue *queue, struct slot *slot, int64_t result)
{
	bool was_empty;

	slot->request->result = result;
	pthread_mutex_lock(&queue->lock);
	was_empty = queue->done.first == NULL;
	list_add(&queue->done, slot);
	pthread_mutex_unlock(&queue->lock);
	if (was_empty)
		signal_event(queue); /* (QU2) */
}

/* ---- helpers ---- */

static int64_t call(struct pcache *cache, const struct pcache_request *request, unsigned more_flags)
{
	unsigned flags = request->flags | more_flags;

	switch (request->op) {
	case PCACHE_OP_READ:
		return pcache_read(cache, request->buf, request->len, request->off, flags);
	case PCACHE_OP_WRITE:
		return pcache_write(cache, request->buf, request->len, request->off, flags);
	case PCACHE_OP_FLUSH:
		return pcache_flush(cache, request->flags);
	case PCACHE_OP_WRITE_ZEROES:
		return pcache_write_zeroes(cache, request->off, request->len, flags);
	case PCACHE_OP_DISCARD:
		return pcache_discard(cache, request->off, request->len, flags);
	default:
		return -EINVAL;
	}
}

static void advance_read(struct pcache_queue *queue, struct slot *slot, bool may_wait);

static void help_read(struct pcache_queue *queue, struct slot *slot)
{
	struct pc_miss *miss = slot->begun.miss;
	uint8_t *target = (uint8_t *)slot->request->buf + slot->done;
	ssize_t ret = 0;

	if (slot->has_begun) {
		slot->has_begun = false;
		ret = pc_miss_end(queue->cache, &slot->begun,
				  pc_backing_read(queue->cache->backing, miss->data, miss->off, miss->len), target);
	}
	if (ret < 0) {
		finish(queue, slot, ret);
		return;
	}
	slot->done += (size_t)ret;
	advance_read(queue, slot, true);
}

static void help(struct pcache_queue *queue, struct slot *slot)
{
	if (slot->request->op == PCACHE_OP_READ)
		help_read(queue, slot);
	else
		finish(queue, slot, call(queue->cache, slot->request, 0));
}

static void *helper(void *arg)
{
	struct pcache_queue *queue = arg;
	struct slot *slot;

	pthread_mutex_lock(&queue->lock);
	for (;;) {
		queue->helpers_idle++;
		while (queue->work.first == NULL && !queue->stop)
			pthread_cond_wait(&queue->wake, &queue->lock);
		queue->helpers_idle--;
		slot = list_take(&queue->work);
		if (slot == NULL)
			break;
		pthread_mutex_unlock(&queue->lock);
		help(queue, slot);
		pthread_mutex_lock(&queue->lock);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

/* One more helper where all are busy; without any, the caller must do it himself. Lock held. */
static bool has_helper_locked(struct pcache_queue *queue)
{
	if (queue->helpers_idle == 0 && queue->helper_count < HELPERS_MAX &&
	    pc_thread_start(&queue->helpers[queue->helper_count], helper, queue) == 0)
		queue->helper_count++;
	return queue->helper_count > 0;
}

static void hand_over(struct pcache_queue *queue, struct slot *slot)
{
	bool has_helper;

	pthread_mutex_lock(&queue->lock);
	has_helper = has_helper_locked(queue);
	if (has_helper) {
		list_add(&queue->work, slot);
		pthread_cond_signal(&queue->wake);
	}
	pthread_mutex_unlock(&queue->lock);
	if (!has_helper)
		help(queue, slot);
}

/* ---- reads ---- */

/* The hole at `done` goes to the backing; whoever is told that it has been read goes on. */
static int read_hole(struct pcache_queue *queue, struct slot *slot, uint64_t hole)
{
	int ret = pc_miss_begin(queue->cache, hole, slot->request->off + slot->done, &slot->begun);

	if (ret < 0)
		return ret;
	slot->has_begun = true;
	slot->io = (struct pc_io){
		.op = PC_IO_READ,
		.off = slot->begun.miss->off,
		.buf = slot->begun.miss->data,
		.len = slot->begun.miss->len,
	};
	if (queue->reads == NULL)
		return -ENOTSUP;
	pthread_mutex_lock(&queue->lock);
	queue->in_kernel++;
	pthread_mutex_unlock(&queue->lock);
	ret = pc_backing_queue_read(queue->reads, &slot->io);
	if (ret < 0) {
		pthread_mutex_lock(&queue->lock);
		queue->in_kernel--;
		pthread_mutex_unlock(&queue->lock);
	}
	return ret < 0 ? -ENOTSUP : 0;
}

/* What is behind the hole comes later: 1: it goes on elsewhere; 0: it goes on here; or negative errno. */
static int pass_hole(struct pcache_queue *queue, struct slot *slot, uint64_t hole, bool may_wait)
{
	struct pcache_request *request = slot->request;
	ssize_t ret;

	if ((request->flags & PCACHE_NOWAIT) != 0)
		return -EAGAIN;
	if (!slot->missed)
		slot->start_ns = pc_now_ns();
	slot->missed = true;
	if (may_wait) {
		ret = pc_miss_read(queue->cache, (uint8_t *)request->buf + slot->done, hole, request->off + slot->done);
		slot->done += ret < 0 ? 0 : (size_t)ret;
		return ret < 0 ? (int)ret : 0;
	}
	ret = read_hole(queue, slot, hole);
	if (ret == -EAGAIN)
		return 0; /* no hole any more */
	if (ret < 0)
		hand_over(queue, slot);
	return 1;
}

/* As far as it goes. */
static void advance_read(struct pcache_queue *queue, struct slot *slot, bool may_wait)
{
	struct pcache_request *request = slot->request;
	struct pcache *cache = queue->cache;

	while (slot->done < request->len) {
		uint64_t hole;
		ssize_t ret = pc_io_read_cached(cache, (uint8_t *)request->buf + slot->done, request->len - slot->done,
						request->off + slot->done, &hole);

		slot->done += ret < 0 ? 0 : (size_t)ret;
		if (ret >= 0)
			ret = hole == 0 ? 0 : pass_hole(queue, slot, hole, may_wait);
		if (ret > 0)
			return;
		if (ret < 0) {
			finish(queue, slot, ret);
			return;
		}
	}
	pc_io_end_read(cache, slot->done, slot->missed, slot->start_ns);
	finish(queue, slot, (int64_t)slot->done);
}

static void submit_read(struct pcache_queue *queue, struct slot *slot)
{
	struct pcache_request *request = slot->request;
	uint64_t size = queue->cache->backing->size_bytes;
	int ret = pc_enter(queue->cache, request->flags, PCACHE_NOWAIT);

	if (ret == 0)
		ret = pc_check_buffer(queue->cache, request->buf, request->len);
	if (ret < 0 || request->off >= size) {
		finish(queue, slot, ret);
		return;
	}
	request->len = pc_min64(request->len, size - request->off);
	slot->start_ns = pc_stats_sample();
	advance_read(queue, slot, false);
}

/* ---- submit and reap ---- */

/* Would it have waited, and may it? */
static bool is_refused_for_waiting(const struct pcache_request *request, int64_t result)
{
	return (request->flags & PCACHE_NOWAIT) == 0 && (result == -EAGAIN || result == -E2BIG || result == -EOPNOTSUPP);
}

static void submit_one(struct pcache_queue *queue, struct slot *slot)
{
	struct pcache_request *request = slot->request;
	int64_t result = -EAGAIN;

	if (request->op == PCACHE_OP_READ) {
		submit_read(queue, slot);
		return;
	}
	/* A flush has no NOWAIT: it waits only where the media has to be synced, or the backing. */
	if (request->op != PCACHE_OP_FLUSH)
		result = call(queue->cache, request, PCACHE_NOWAIT);
	else if (queue->cache->media->granularity != PCACHE_GRANULARITY_PAGE &&
		 !pc_bypass_is_pending(&queue->cache->bypass))
		result = call(queue->cache, request, 0);
	if (is_refused_for_waiting(request, result))
		hand_over(queue, slot);
	else
		finish(queue, slot, result);
}

static struct slot *take_free(struct pcache_queue *queue)
{
	struct slot *slot;

	pthread_mutex_lock(&queue->lock);
	slot = queue->free;
	if (slot != NULL)
		queue->free = slot->next;
	pthread_mutex_unlock(&queue->lock);
	return slot;
}

int pcache_submit(struct pcache_queue *queue, struct pcache_request *const *requests, unsigned count)
{
	unsigned accepted = 0;

	if (queue == NULL || (requests == NULL && count > 0) || count > INT_MAX)
		return -EINVAL;
	if (pc_is_inherited(queue->cache))
		return -ENOTRECOVERABLE;
	while (accepted < count) {
		struct slot *slot = take_free(queue);

		if (slot == NULL)
			break;
		*slot = (struct slot){ .request = requests[accepted++] };
		submit_one(queue, slot);
	}
	return accepted == 0 && count > 0 ? -EAGAIN : (int)accepted;
}

/* Reads that the kernel has done: each is kept, and its request goes on. */
static void reap_reads(struct pcache_queue *queue)
{
	struct pc_io *ios[REAP_MAX];
	unsigned count = queue->reads == NULL ? 0 : pc_backing_queue_reap(queue->reads, ios, REAP_MAX, false);

	pthread_mutex_lock(&queue->lock);
	queue->in_kernel -= count;
	pthread_mutex_unlock(&queue->lock);
	for (unsigned i = 0; i < count; i++) {
		struct slot *slot = (struct slot *)ios[i];
		uint8_t *target = (uint8_t *)slot->request->buf + slot->done;
		ssize_t ret;

		slot->has_begun = false;
		ret = pc_miss_end(queue->cache, &slot->begun, ios[i]->error, target);
		if (ret < 0) {
			finish(queue, slot, ret);
			continue;
		}
		slot->done += (size_t)ret;
		advance_read(queue, slot, false);
	}
	if (count == REAP_MAX)
		signal_event(queue); /* there may be more (QU2) */
}

static void clear_event(const struct pcache_queue *queue)
{
	uint64_t events;

	while (read(queue->event_fd, &events, sizeof(events)) < 0 && errno == EINTR)
		;
}

int pcache_reap(struct pcache_queue *queue, struct pcache_request **ret_done, unsigned max)
{
	unsigned count = 0;
	bool is_more;

	if (queue == NULL || (ret_done == NULL && max > 0) || max > INT_MAX)
		return -EINVAL;
	if (pc_is_inherited(queue->cache))
		return -ENOTRECOVERABLE;
	clear_event(queue); /* order: before we look; what is done later makes it readable again (QU2) */
	reap_reads(queue);
	pthread_mutex_lock(&queue->lock);
	while (count < max && queue->done.first != NULL) {
		struct slot *slot = list_take(&queue->done);

		ret_done[count++] = slot->request;
		slot->next = queue->free;
		queue->free = slot;
	}
	is_more = queue->done.first != NULL;
	pthread_mutex_unlock(&queue->lock);
	if (is_more)
		signal_event(queue);
	return (int)count;
}

/* ---- life ---- */

int pcache_queue_fd(const struct pcache_queue *queue)
{
	return queue == NULL ? -EINVAL : queue->event_fd;
}

/* A system without asynchronous requests for us is slower, not wrong. */
static void open_reads(struct pcache_queue *queue, unsigned depth)
{
	struct pcache *cache = queue->cache;
	int ret;

	if (cache->backing->ops->direct_fd == NULL || cache->backing->align_bytes == 1)
		return;
	ret = pc_backing_queue_new(cache->backing, depth, queue->event_fd, &queue->reads);
	if (ret < 0)
		pc_log(&cache->config.log, PCACHE_LOG_WARNING, "queue: no asynchronous requests (%s), threads read instead",
		       pcache_strerror(ret));
}

int pcache_queue_create(struct pcache *cache, unsigned depth, struct pcache_queue **ret_queue)
{
	struct pcache_queue *queue;
	int ret = pc_enter(cache, 0, 0);

	if (ret < 0)
		return ret;
	if (ret_queue == NULL || depth == 0 || depth > PCACHE_QUEUE_DEPTH_MAX)
		return pc_fail(&cache->config.log, -EINVAL, "queue: a depth of %u is not in 1..%u", depth,
			       PCACHE_QUEUE_DEPTH_MAX);
	queue = calloc(1, sizeof(*queue) + depth * sizeof(queue->slots[0]));
	if (queue == NULL)
		return -ENOMEM;
	queue->cache = cache;
	queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->event_fd < 0) {
		ret = -errno;
		free(queue);
		return ret;
	}
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->wake, NULL);
	list_clear(&queue->work);
	list_clear(&queue->done);
	for (unsigned i = 0; i < depth; i++) {
		queue->slots[i].next = queue->free;
		queue->free = &queue->slots[i];
	}
	open_reads(queue, depth);
	pthread_mutex_lock(&cache->state_lock);
	queue->next = cache->queues;
	cache->queues = queue;
	pthread_mutex_unlock(&cache->state_lock);
	*ret_queue = queue;
	return 0;
}

static void unlink_queue(struct pcache_queue *queue)
{
	struct pcache_queue **link = &queue->cache->queues;

	pthread_mutex_lock(&queue->cache->state_lock);
	while (*link != queue)
		link = &(*link)->next;
	*link = queue->next;
	pthread_mutex_unlock(&queue->cache->state_lock);
}

/* What had not begun never will (QU3). */
static void cancel(struct pcache_queue *queue, struct slot *slot)
{
	if (slot->has_begun)
		pc_miss_cancel(queue->cache, &slot->begun);
	slot->has_begun = false;
	slot->request->result = -ECANCELED;
}

static void await_kernel(struct pcache_queue *queue)
{
	while (queue->in_kernel > 0) {
		struct pc_io *ios[REAP_MAX];
		unsigned count = pc_backing_queue_reap(queue->reads, ios, REAP_MAX, true);

		queue->in_kernel -= count;
		for (unsigned i = 0; i < count; i++)
			cancel(queue, (struct slot *)ios[i]);
	}
}

int pcache_queue_delete(struct pcache_queue *queue)
{
	struct list work;
	struct slot *slot;

	if (queue == NULL)
		return 0;
	if (pc_is_inherited(queue->cache))
		return -ENOTRECOVERABLE;
	unlink_queue(queue);
	pthread_mutex_lock(&queue->lock);
	queue->stop = true;
	list_move(&work, &queue->work);
	pthread_cond_broadcast(&queue->wake);
	pthread_mutex_unlock(&queue->lock);
	while ((slot = list_take(&work)) != NULL)
		cancel(queue, slot);
	for (unsigned i = 0; i < queue->helper_count; i++)
		pthread_join(queue->helpers[i], NULL);
	await_kernel(queue);
	pc_backing_queue_delete(queue->reads);
	close(queue->event_fd);
	pthread_cond_destroy(&queue->wake);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
	return 0;
}

void pc_queues_delete(struct pcache *cache)
{
	while (cache->queues != NULL)
		pcache_queue_delete(cache->queues);
}
