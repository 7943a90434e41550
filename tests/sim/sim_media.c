/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_media.c - a media in memory that knows what a power cut may leave of it. The rules are in sim_media.h.
 *
 * A pending store is an event in the list of its unit. An event that becomes durable is folded: its bytes go to the
 * durable image, and earlier events that are still pending lose these bytes, for they can no longer be seen there.
 * That happens within lines only: on page granularity always the oldest events go first.
 *
 * The durable image has a hash, the sum over its lines, kept up to date as it changes.
 *
 * Lock: sim_media.lock, over everything but the view, which readers see through pc_media.base like any memory. Hooks
 * are called without it, choosers with it. A source of a crash is locked before its target.
 */
#define _GNU_SOURCE 1

#include "sim_media.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINE         64u
#define NO_UNIT      0u /* in slot_of: not pending, else number + 1 */
#define THREADS      64u
#define POISON_BYTE  0xdb

struct event {
	struct event *next;
	uint64_t seq;
	uint64_t flushed_by; /* threads whose drain makes it durable, one bit each; cached events */
	uint64_t bytes;      /* lines: those of the unit's bytes that it still has */
	uint16_t thread;
	uint16_t start; /* in the unit */
	uint16_t len;
	bool cached;
	uint8_t data[];
};

struct unit {
	uint64_t index; /* in the image: its offset in units */
	struct event *events; /* in program order */
	struct event *last;
};

/* A set of units that can be walked and emptied in the time of what is in it. */
struct unit_set {
	uint8_t *is_member;
	uint32_t *list;
	size_t count;
};

struct fault {
	unsigned primitives;
	uint64_t countdown; /* 0: none */
	int error;
	bool sticky;
	bool has_fired;
};

struct sim_media {
	struct pc_media media;
	uint8_t *view; /* media.base, but writable */
	bool is_open;
	struct sim_hooks hooks;
	bool (*is_meta)(uint64_t off, void *arg);
	void *is_meta_arg;

	pthread_mutex_t lock; /* guards what follows */
	uint8_t *durable;
	uint64_t durable_hash;
	uint32_t unit_bytes;
	uint64_t next_seq;
	uint32_t *slot_of; /* by unit index */
	struct unit *pending;
	size_t pending_count;
	size_t pending_room;
	struct event *spare; /* events with room for a line */
	uint64_t threads[THREADS];
	struct unit_set view_changed;    /* since it was last the target of a crash */
	struct unit_set durable_changed; /* since it was last the source of one */
	const struct sim_media *last_source;
	const struct sim_media *last_target;
	uint64_t calls;
	struct fault fault;
	int sync_error; /* page granularity: of the sync that failed */
	uint64_t *poisoned; /* offsets of lines */
	size_t poisoned_count;
};

/* A mistake in a test or in the library's use of the media; nothing that a test provokes. */
static void complain(const char *what)
{
	fprintf(stderr, "sim_media: %s\n", what);
	abort();
}

static struct sim_media *sim_of(struct pc_media *media)
{
	return (struct sim_media *)media; /* its first member */
}

static bool is_page(const struct sim_media *sim)
{
	return sim->media.granularity == PCACHE_GRANULARITY_PAGE;
}

/* Threads: a small number each, so that a set of them is a word. */

static uint64_t this_thread(void)
{
	static _Atomic uint64_t last;
	static _Thread_local uint64_t id;

	if (id == 0)
		id = atomic_fetch_add(&last, 1) + 1;
	return id;
}

static bool thread_is_used_locked(const struct sim_media *sim, unsigned thread)
{
	for (size_t i = 0; i < sim->pending_count; i++) {
		for (const struct event *event = sim->pending[i].events; event != NULL; event = event->next) {
			if (event->thread == thread || (event->flushed_by >> thread & 1) != 0)
				return true;
		}
	}
	return false;
}

static unsigned thread_locked(struct sim_media *sim)
{
	uint64_t id = this_thread();
	unsigned thread = 0;

	while (thread < THREADS && sim->threads[thread] != id && sim->threads[thread] != 0)
		thread++;
	for (unsigned i = 0; i < THREADS && thread == THREADS; i++) {
		if (!thread_is_used_locked(sim, i))
			thread = i;
	}
	if (thread == THREADS)
		complain("too many threads with pending stores");
	sim->threads[thread] = id;
	return thread;
}

/* Sets of units. */

static bool set_init(struct unit_set *set, size_t units)
{
	set->is_member = calloc(units, sizeof(*set->is_member));
	set->list = calloc(units, sizeof(*set->list));
	return set->is_member != NULL && set->list != NULL;
}

static void set_destroy(struct unit_set *set)
{
	free(set->is_member);
	free(set->list);
}

static void set_add(struct unit_set *set, uint64_t unit)
{
	if (set->is_member[unit])
		return;
	set->is_member[unit] = 1;
	set->list[set->count++] = (uint32_t)unit;
}

static void set_empty(struct unit_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		set->is_member[set->list[i]] = 0;
	set->count = 0;
}

/* The durable image and its hash. */

static uint64_t line_hash(uint64_t off, const uint8_t *line)
{
	uint64_t hash = (off + 1) * 0x9e3779b97f4a7c15u;

	for (unsigned i = 0; i < LINE; i += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, line + i, sizeof(word));
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	return hash;
}

static uint64_t range_hash(const struct sim_media *sim, uint64_t off, uint64_t len)
{
	uint64_t hash = 0;

	for (uint64_t line = off; line < off + len; line += LINE)
		hash += line_hash(line, sim->durable + line);
	return hash;
}

/* Around every change of a unit of the durable image. */
static void begin_change_locked(struct sim_media *sim, uint64_t unit)
{
	set_add(&sim->durable_changed, unit);
	set_add(&sim->view_changed, unit);
	sim->durable_hash -= range_hash(sim, unit * sim->unit_bytes, sim->unit_bytes);
}

static void end_change_locked(struct sim_media *sim, uint64_t unit)
{
	sim->durable_hash += range_hash(sim, unit * sim->unit_bytes, sim->unit_bytes);
}

/* Events. */

static struct event *new_event_locked(struct sim_media *sim, uint32_t len)
{
	struct event *event = sim->spare;

	if (event != NULL && len <= LINE) {
		sim->spare = event->next;
		return event;
	}
	event = malloc(sizeof(*event) + pc_max64(len, LINE));
	if (event == NULL)
		complain("no memory");
	return event;
}

static void free_event_locked(struct sim_media *sim, struct event *event)
{
	if (event->len > LINE) {
		free(event);
		return;
	}
	event->next = sim->spare;
	sim->spare = event;
}

static uint64_t byte_mask(uint32_t start, uint32_t len)
{
	return (len == 64 ? UINT64_MAX : (1ull << len) - 1) << start;
}

/* Copy the parts in the mask of what the event has into an image of its unit. */
static void apply(const struct sim_media *sim, const struct event *event, unsigned parts, uint8_t *unit_image)
{
	uint32_t part_bytes = sim->unit_bytes / SIM_PARTS;

	if (parts == SIM_WHOLE && (is_page(sim) || event->bytes == byte_mask(event->start, event->len))) {
		memcpy(unit_image + event->start, event->data, event->len);
		return;
	}
	for (uint32_t i = 0; i < event->len; i++) {
		uint32_t at = event->start + i;

		if ((parts >> (at / part_bytes) & 1) != 0 && (is_page(sim) || (event->bytes >> at & 1) != 0))
			unit_image[at] = event->data[i];
	}
}

static struct unit *pending_unit_locked(struct sim_media *sim, uint64_t index)
{
	struct unit *unit;

	if (sim->slot_of[index] != NO_UNIT)
		return &sim->pending[sim->slot_of[index] - 1];
	if (sim->pending_count == sim->pending_room) {
		sim->pending_room = sim->pending_room * 2 + 64;
		sim->pending = realloc(sim->pending, sim->pending_room * sizeof(*sim->pending));
		if (sim->pending == NULL)
			complain("no memory");
	}
	unit = &sim->pending[sim->pending_count++];
	*unit = (struct unit){ .index = index };
	sim->slot_of[index] = (uint32_t)sim->pending_count;
	return unit;
}

static void remove_unit_locked(struct sim_media *sim, size_t number)
{
	struct unit *unit = &sim->pending[number];

	sim->slot_of[unit->index] = NO_UNIT;
	sim->pending_count--;
	if (number == sim->pending_count)
		return;
	*unit = sim->pending[sim->pending_count];
	sim->slot_of[unit->index] = (uint32_t)number + 1;
}

static void append(struct unit *unit, struct event *event)
{
	event->next = NULL;
	if (unit->events == NULL)
		unit->events = event;
	else
		unit->last->next = event;
	unit->last = event;
}

static void add_event_locked(struct sim_media *sim, uint64_t off, uint32_t len, bool cached)
{
	struct unit *unit = pending_unit_locked(sim, off / sim->unit_bytes);
	struct event *event = new_event_locked(sim, len);

	event->seq = sim->next_seq++;
	event->flushed_by = 0;
	event->thread = (uint16_t)thread_locked(sim);
	event->start = (uint16_t)(off % sim->unit_bytes);
	event->len = (uint16_t)len;
	event->bytes = is_page(sim) ? 0 : byte_mask(event->start, event->len);
	event->cached = cached && !is_page(sim);
	memcpy(event->data, sim->view + off, len);
	append(unit, event);
	set_add(&sim->view_changed, unit->index);
}

/* Which events a fold takes. */
struct fold {
	bool all;
	bool cached_of_anybody;
	unsigned thread;
	uint64_t before_seq; /* page granularity */
};

static bool is_folded(const struct sim_media *sim, const struct fold *fold, const struct event *event)
{
	if (fold->all)
		return true;
	if (is_page(sim))
		return event->seq < fold->before_seq;
	if (!event->cached)
		return event->thread == fold->thread;
	return fold->cached_of_anybody || (event->flushed_by >> fold->thread & 1) != 0;
}

/* Take these bytes from the events of a list; those left without any go. Returns the last one that stays. */
static struct event *supersede_locked(struct sim_media *sim, struct event **list, uint64_t bytes)
{
	struct event *last = NULL;
	struct event **link = list;

	while (*link != NULL) {
		struct event *event = *link;

		event->bytes &= ~bytes;
		if (event->bytes != 0) {
			last = event;
			link = &event->next;
			continue;
		}
		*link = event->next;
		free_event_locked(sim, event);
	}
	return last;
}

/* The unit's list is rebuilt from the events that stay pending. */
static void fold_unit_locked(struct sim_media *sim, struct unit *unit, const struct fold *fold)
{
	struct event *events = unit->events;
	struct event *next;

	unit->events = NULL;
	unit->last = NULL;
	begin_change_locked(sim, unit->index);
	for (struct event *event = events; event != NULL; event = next) {
		next = event->next;
		if (!is_folded(sim, fold, event)) {
			append(unit, event);
			continue;
		}
		apply(sim, event, SIM_WHOLE, sim->durable + unit->index * sim->unit_bytes);
		if (!is_page(sim))
			unit->last = supersede_locked(sim, &unit->events, event->bytes);
		free_event_locked(sim, event);
	}
	end_change_locked(sim, unit->index);
}

static bool has_folded(const struct sim_media *sim, const struct unit *unit, const struct fold *fold)
{
	const struct event *event = unit->events;

	while (event != NULL && !is_folded(sim, fold, event))
		event = event->next;
	return event != NULL;
}

static void fold_locked(struct sim_media *sim, const struct fold *fold)
{
	size_t number = 0;

	while (number < sim->pending_count) {
		if (has_folded(sim, &sim->pending[number], fold))
			fold_unit_locked(sim, &sim->pending[number], fold);
		if (sim->pending[number].events == NULL)
			remove_unit_locked(sim, number); /* and another one takes its number */
		else
			number++;
	}
}

/* Forget what is pending, as if it never was. The view keeps it. */
static void drop_pending_locked(struct sim_media *sim)
{
	for (size_t i = 0; i < sim->pending_count; i++) {
		while (sim->pending[i].events != NULL) {
			struct event *event = sim->pending[i].events;

			sim->pending[i].events = event->next;
			free_event_locked(sim, event);
		}
		sim->slot_of[sim->pending[i].index] = NO_UNIT;
	}
	sim->pending_count = 0;
}

/* Primitives. */

/* Counts a call; the error if it is to fail. */
static int enter(struct sim_media *sim, enum sim_primitive primitive)
{
	struct fault *fault = &sim->fault;
	int error = 0;

	pthread_mutex_lock(&sim->lock);
	sim->calls++;
	if (fault->countdown > 0 && (fault->primitives & primitive) != 0 && --fault->countdown == 0) {
		error = fault->error;
		fault->has_fired = true;
		fault->countdown = fault->sticky ? 1 : 0;
	}
	if (primitive == SIM_SYNC && is_page(sim)) {
		if (sim->sync_error == 0)
			sim->sync_error = error;
		error = sim->sync_error;
	}
	pthread_mutex_unlock(&sim->lock);
	return error;
}

static void check_range(const struct sim_media *sim, uint64_t off, size_t len)
{
	if (!sim->is_open)
		complain("used after it was closed");
	if (off > sim->media.size_bytes || len > sim->media.size_bytes - off)
		complain("offset and length pass the end of the media");
}

static void heal_locked(struct sim_media *sim, uint64_t off, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < sim->poisoned_count; i++) {
		uint64_t line = sim->poisoned[i];

		if (line < off || line + LINE > off + len)
			sim->poisoned[kept++] = line;
	}
	sim->poisoned_count = kept;
}

static bool is_poisoned_locked(const struct sim_media *sim, uint64_t off, size_t len)
{
	for (size_t i = 0; i < sim->poisoned_count; i++) {
		if (sim->poisoned[i] < off + len && off < sim->poisoned[i] + LINE)
			return true;
	}
	return false;
}

/* data NULL: `byte` instead. */
static void store(struct sim_media *sim, uint64_t off, const void *data, int byte, size_t len, bool cached)
{
	pthread_mutex_lock(&sim->lock);
	if (data != NULL)
		memcpy(sim->view + off, data, len);
	else
		memset(sim->view + off, byte, len);
	if (sim->poisoned_count > 0)
		heal_locked(sim, off, len);
	for (uint64_t at = off; at < off + len;) {
		uint64_t piece = pc_min64(off + len - at, sim->unit_bytes - at % sim->unit_bytes);

		add_event_locked(sim, at, (uint32_t)piece, cached);
		at += piece;
	}
	pthread_mutex_unlock(&sim->lock);
}

/* The error of the store, if any; *len is cut to what is stored all the same. */
static int begin_store(struct sim_media *sim, enum sim_primitive primitive, uint64_t off, const void *data, size_t *len)
{
	int error;

	check_range(sim, off, *len);
	if (sim->media.readonly) {
		*len = 0;
		return -EROFS;
	}
	if (sim->hooks.store != NULL)
		sim->hooks.store(primitive, off, data, *len, sim->hooks.arg);
	error = enter(sim, primitive);
	if (error != 0)
		*len = is_page(sim) ? *len / 2 : 0;
	return error;
}

static int sim_copy(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	struct sim_media *sim = sim_of(media);
	int error = begin_store(sim, SIM_COPY, off, source, &len);

	store(sim, off, source, 0, len, kind == PC_COPY_CACHED);
	return error;
}

static int sim_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	struct sim_media *sim = sim_of(media);
	size_t len = sizeof(value);
	int error;

	if (off % sizeof(value) != 0)
		complain("store8 is not aligned");
	error = begin_store(sim, SIM_STORE8, off, &value, &len);
	/* Eight bytes in the page cache are there or not, never halves. */
	if (len == sizeof(value))
		store(sim, off, &value, 0, len, true);
	return error;
}

static int sim_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	struct sim_media *sim = sim_of(media);
	int error = begin_store(sim, SIM_SET, off, NULL, &len);

	store(sim, off, NULL, byte, len, true);
	return error;
}

static int sim_flush(struct pc_media *media, uint64_t off, size_t len)
{
	struct sim_media *sim = sim_of(media);
	uint64_t thread;
	int error;

	check_range(sim, off, len);
	error = enter(sim, SIM_FLUSH);
	if (error != 0 || len == 0)
		return error;
	pthread_mutex_lock(&sim->lock);
	thread = 1ull << thread_locked(sim);
	for (uint64_t i = off / sim->unit_bytes; i <= (off + len - 1) / sim->unit_bytes; i++) {
		if (sim->slot_of[i] == NO_UNIT)
			continue;
		/* The whole line as it is now, whoever stored it; streamed stores may not have come to the caches. */
		for (struct event *event = sim->pending[sim->slot_of[i] - 1].events; event != NULL; event = event->next)
			event->flushed_by |= thread;
	}
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static int drain_or_sync(struct sim_media *sim, enum sim_primitive primitive)
{
	struct fold fold = { .cached_of_anybody = sim->media.granularity == PCACHE_GRANULARITY_BYTE };
	int error;

	check_range(sim, 0, 0);
	pthread_mutex_lock(&sim->lock);
	fold.before_seq = sim->next_seq;
	pthread_mutex_unlock(&sim->lock);
	if (sim->hooks.crash_point != NULL)
		sim->hooks.crash_point(primitive, sim->hooks.arg);
	error = enter(sim, primitive);
	if (error != 0 || (is_page(sim) && primitive == SIM_DRAIN))
		return error;
	pthread_mutex_lock(&sim->lock);
	fold.thread = thread_locked(sim);
	fold_locked(sim, &fold);
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static int sim_drain(struct pc_media *media)
{
	return drain_or_sync(sim_of(media), SIM_DRAIN);
}

static int sim_sync(struct pc_media *media)
{
	if (is_page(sim_of(media)))
		atomic_fetch_add(&media->syncs, 1);
	return drain_or_sync(sim_of(media), SIM_SYNC);
}

static int sim_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	struct sim_media *sim = sim_of(media);
	int error;

	check_range(sim, off, 0);
	error = enter(sim, SIM_READ);
	if (error != 0)
		return error;
	if (len > media->size_bytes - off)
		return -EIO;
	pthread_mutex_lock(&sim->lock);
	error = is_poisoned_locked(sim, off, len) ? -EIO : 0;
	if (error == 0)
		memcpy(buf, sim->view + off, len);
	pthread_mutex_unlock(&sim->lock);
	return error;
}

static void sim_close(struct pc_media *media)
{
	check_range(sim_of(media), 0, 0);
	sim_of(media)->is_open = false;
}

static const struct pc_media_ops sim_ops = {
	.copy = sim_copy,
	.store8 = sim_store8,
	.set = sim_set,
	.flush = sim_flush,
	.drain = sim_drain,
	.sync = sim_sync,
	.read = sim_read,
	.close = sim_close,
};

/* Life. */

/* The view twice: for us, and for everybody else, where a stray store is a fault. */
static bool map_view(struct sim_media *sim, uint64_t bytes)
{
	int fd = memfd_create("sim_media", MFD_CLOEXEC);
	void *writable;
	void *readable;

	if (fd < 0)
		return false;
	if (ftruncate(fd, (off_t)bytes) < 0) {
		close(fd);
		return false;
	}
	writable = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	readable = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	sim->view = writable != MAP_FAILED ? writable : NULL;
	sim->media.base = readable != MAP_FAILED ? readable : NULL;
	return sim->view != NULL && sim->media.base != NULL;
}

struct sim_media *sim_media_new(uint64_t bytes, enum pcache_granularity granularity)
{
	struct sim_media *sim = calloc(1, sizeof(*sim));

	if (sim == NULL)
		return NULL;
	if (bytes == 0 || bytes % PC_PAGE != 0)
		complain("size is not a multiple of the page size");
	sim->media.ops = &sim_ops;
	sim->media.size_bytes = bytes;
	sim->media.granularity = granularity;
	sim->unit_bytes = is_page(sim) ? PC_PAGE : LINE;
	pthread_mutex_init(&sim->lock, NULL);
	sim->durable = calloc(1, bytes);
	sim->slot_of = calloc(bytes / sim->unit_bytes, sizeof(*sim->slot_of));
	if (!set_init(&sim->view_changed, bytes / sim->unit_bytes) ||
	    !set_init(&sim->durable_changed, bytes / sim->unit_bytes) || sim->durable == NULL ||
	    sim->slot_of == NULL || !map_view(sim, bytes)) {
		sim_media_delete(sim);
		return NULL;
	}
	sim->durable_hash = range_hash(sim, 0, bytes);
	return sim;
}

void sim_media_delete(struct sim_media *sim)
{
	if (sim == NULL)
		return;
	drop_pending_locked(sim);
	while (sim->spare != NULL) {
		struct event *event = sim->spare;

		sim->spare = event->next;
		free(event);
	}
	if (sim->view != NULL)
		munmap(sim->view, sim->media.size_bytes);
	if (sim->media.base != NULL)
		munmap((void *)(uintptr_t)sim->media.base, sim->media.size_bytes);
	set_destroy(&sim->view_changed);
	set_destroy(&sim->durable_changed);
	pthread_mutex_destroy(&sim->lock);
	free(sim->durable);
	free(sim->slot_of);
	free(sim->pending);
	free(sim->poisoned);
	free(sim);
}

struct pc_media *sim_media_open(struct sim_media *sim, bool readonly)
{
	uint64_t head = pc_min64(sim->media.size_bytes, PC_MEDIA_BLANK_BYTES);

	if (sim->is_open)
		complain("opened twice");
	sim->is_open = true;
	sim->sync_error = 0;
	sim->media.readonly = readonly;
	sim->media.syncs = 0;
	sim->media.blank = sim->view[0] == 0 && memcmp(sim->view, sim->view + 1, head - 1) == 0;
	return &sim->media;
}

bool sim_media_is_open(const struct sim_media *sim)
{
	return sim->is_open;
}

uint64_t sim_media_bytes(const struct sim_media *sim)
{
	return sim->media.size_bytes;
}

const uint8_t *sim_media_view(const struct sim_media *sim)
{
	return sim->media.base;
}

const uint8_t *sim_media_durable(const struct sim_media *sim)
{
	return sim->durable;
}

static void reset_locked(struct sim_media *sim, const uint8_t *image)
{
	if (sim->is_open)
		complain("reset while it is open");
	drop_pending_locked(sim);
	memcpy(sim->view, image, sim->media.size_bytes);
	memcpy(sim->durable, image, sim->media.size_bytes);
	sim->durable_hash = range_hash(sim, 0, sim->media.size_bytes);
	set_empty(&sim->view_changed);
	set_empty(&sim->durable_changed);
	sim->last_source = NULL;
	sim->last_target = NULL;
	sim->poisoned_count = 0;
}

void sim_media_reset_to(struct sim_media *sim, const uint8_t *image)
{
	pthread_mutex_lock(&sim->lock);
	reset_locked(sim, image);
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_settle(struct sim_media *sim)
{
	const struct fold fold = { .all = true };

	pthread_mutex_lock(&sim->lock);
	fold_locked(sim, &fold);
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_kill(struct sim_media *sim)
{
	if (sim->media.granularity == PCACHE_GRANULARITY_BYTE)
		sim_media_settle(sim);
	pthread_mutex_lock(&sim->lock);
	for (size_t i = 0; i < sim->pending_count && !is_page(sim); i++) {
		for (struct event *event = sim->pending[i].events; event != NULL; event = event->next) {
			event->cached = true;
			event->flushed_by = 0;
		}
	}
	sim->is_open = false;
	pthread_mutex_unlock(&sim->lock);
}

size_t sim_media_pending(struct sim_media *sim)
{
	size_t count;

	pthread_mutex_lock(&sim->lock);
	count = sim->pending_count;
	pthread_mutex_unlock(&sim->lock);
	return count;
}

bool sim_media_is_pending(struct sim_media *sim, uint64_t off, size_t len)
{
	bool found = false;

	pthread_mutex_lock(&sim->lock);
	for (uint64_t i = off / sim->unit_bytes; len > 0 && i <= (off + len - 1) / sim->unit_bytes && !found; i++)
		found = sim->slot_of[i] != NO_UNIT;
	pthread_mutex_unlock(&sim->lock);
	return found;
}

/* Crash images. */

struct sim_choice sim_choose_none(const struct sim_unit *unit, void *unused)
{
	(void)unit;
	(void)unused;
	return (struct sim_choice){ 0 };
}

struct sim_choice sim_choose_all(const struct sim_unit *unit, void *unused)
{
	(void)unused;
	return (struct sim_choice){
		.cached = unit->cached,
		.streamed = unit->streamed,
		.cached_torn = SIM_WHOLE,
		.streamed_torn = SIM_WHOLE,
		.streamed_older = SIM_WHOLE,
	};
}

static struct sim_choice all_if(bool wanted, const struct sim_unit *unit)
{
	return wanted ? sim_choose_all(unit, NULL) : sim_choose_none(unit, NULL);
}

struct sim_choice sim_choose_only(const struct sim_unit *unit, void *number)
{
	return all_if(unit->number == *(const size_t *)number, unit);
}

struct sim_choice sim_choose_all_but(const struct sim_unit *unit, void *number)
{
	return all_if(unit->number != *(const size_t *)number, unit);
}

struct sim_choice sim_choose_subset(const struct sim_unit *unit, void *bits)
{
	return all_if(unit->number < 64 && (*(const uint64_t *)bits >> unit->number & 1) != 0, unit);
}

/* splitmix64 */
static uint32_t next_random(struct sim_random *random)
{
	uint64_t value = random->state += 0x9e3779b97f4a7c15u;

	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((value ^ value >> 31) >> 32);
}

static bool happens(struct sim_random *random, unsigned percent)
{
	return next_random(random) % 100 < percent;
}

struct sim_choice sim_choose_random(const struct sim_unit *unit, void *random_arg)
{
	struct sim_random *random = random_arg;
	struct sim_choice choice = sim_choose_all(unit, NULL);

	if (!happens(random, unit->is_meta ? random->meta_percent : random->data_percent))
		return sim_choose_none(unit, NULL);
	if (happens(random, random->older_percent)) {
		choice.cached = next_random(random) % (unit->cached + 1);
		choice.streamed = next_random(random) % (unit->streamed + 1);
	}
	if (happens(random, random->torn_percent)) {
		choice.cached_torn = (uint8_t)next_random(random);
		choice.streamed_torn = (uint8_t)next_random(random);
		choice.streamed_older = (uint8_t)next_random(random);
	}
	return choice;
}

void sim_media_tag(struct sim_media *sim, bool (*is_meta)(uint64_t off, void *arg), void *arg)
{
	sim->is_meta = is_meta;
	sim->is_meta_arg = arg;
}

static struct sim_unit describe_locked(const struct sim_media *sim, size_t number)
{
	const struct unit *unit = &sim->pending[number];
	struct sim_unit description = {
		.number = number,
		.off = unit->index * sim->unit_bytes,
		.len = sim->unit_bytes,
	};

	for (const struct event *event = unit->events; event != NULL; event = event->next) {
		if (event->cached)
			description.cached++;
		else
			description.streamed++;
	}
	if (sim->is_meta != NULL)
		description.is_meta = sim->is_meta(description.off, sim->is_meta_arg);
	return description;
}

struct sim_unit sim_media_unit(struct sim_media *sim, size_t number)
{
	struct sim_unit description;

	pthread_mutex_lock(&sim->lock);
	if (number >= sim->pending_count)
		complain("no such pending unit");
	description = describe_locked(sim, number);
	pthread_mutex_unlock(&sim->lock);
	return description;
}

static unsigned parts_of_cached(const struct sim_choice *choice, uint32_t number)
{
	if (number > choice->cached)
		return 0;
	return number == choice->cached ? choice->cached_torn : SIM_WHOLE;
}

static unsigned parts_of_streamed(const struct sim_choice *choice, uint32_t number)
{
	if (number > choice->streamed)
		return 0;
	return number == choice->streamed ? choice->streamed_torn : choice->streamed_torn | choice->streamed_older;
}

/* What a crash leaves of the pending unit, over its durable bytes. */
static void compose_locked(const struct sim_media *sim, size_t number, const struct sim_choice *choice,
			   uint8_t *unit_image)
{
	uint32_t cached = 0;
	uint32_t streamed = 0;

	for (const struct event *event = sim->pending[number].events; event != NULL; event = event->next)
		apply(sim, event,
		      event->cached ? parts_of_cached(choice, ++cached) : parts_of_streamed(choice, ++streamed),
		      unit_image);
}

void sim_media_patch(struct sim_media *sim, sim_choose_fn choose, void *arg, uint8_t *image)
{
	pthread_mutex_lock(&sim->lock);
	for (size_t i = 0; i < sim->pending_count; i++) {
		struct sim_unit unit = describe_locked(sim, i);
		struct sim_choice choice = choose(&unit, arg);

		compose_locked(sim, i, &choice, image + unit.off);
	}
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_unpatch(struct sim_media *sim, uint8_t *image)
{
	pthread_mutex_lock(&sim->lock);
	for (size_t i = 0; i < sim->pending_count; i++) {
		uint64_t off = sim->pending[i].index * sim->unit_bytes;

		memcpy(image + off, sim->durable + off, sim->unit_bytes);
	}
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_crash_image(struct sim_media *sim, sim_choose_fn choose, void *arg, uint8_t *ret_image)
{
	memcpy(ret_image, sim->durable, sim->media.size_bytes);
	sim_media_patch(sim, choose, arg, ret_image);
}

/* View and durable image of a unit of the target. */
static void put_unit_locked(struct sim_media *target, uint64_t unit, const uint8_t *unit_image)
{
	uint64_t off = unit * target->unit_bytes;

	begin_change_locked(target, unit);
	memcpy(target->view + off, unit_image, target->unit_bytes);
	memcpy(target->durable + off, unit_image, target->unit_bytes);
	end_change_locked(target, unit);
}

static void put_set_locked(struct sim_media *target, const struct sim_media *source, const struct unit_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		put_unit_locked(target, set->list[i],
				source->durable + (uint64_t)set->list[i] * source->unit_bytes);
}

/* The target becomes the source's durable image. */
static void follow_locked(struct sim_media *source, struct sim_media *target)
{
	if (target->last_source != source || source->last_target != target) {
		reset_locked(target, source->durable);
		target->last_source = source;
		source->last_target = target;
	} else {
		drop_pending_locked(target);
		target->poisoned_count = 0;
		/* The first set grows while it is walked, by units that are in it already: not at all. */
		put_set_locked(target, source, &target->view_changed);
		put_set_locked(target, source, &source->durable_changed);
	}
	set_empty(&target->view_changed);
	set_empty(&source->durable_changed);
}

uint64_t sim_media_crash_into(struct sim_media *source, sim_choose_fn choose, void *arg, struct sim_media *target)
{
	uint8_t unit_image[PC_PAGE];
	uint64_t hash;

	if (source->media.size_bytes != target->media.size_bytes || source->unit_bytes != target->unit_bytes)
		complain("source and target differ in size or granularity");
	if (target->is_open)
		complain("crash into a media that is open");
	pthread_mutex_lock(&source->lock);
	pthread_mutex_lock(&target->lock);
	follow_locked(source, target);
	for (size_t i = 0; i < source->pending_count; i++) {
		struct sim_unit unit = describe_locked(source, i);
		struct sim_choice choice = choose(&unit, arg);

		if (choice.cached == 0 && choice.streamed == 0)
			continue;
		memcpy(unit_image, source->durable + unit.off, unit.len);
		compose_locked(source, i, &choice, unit_image);
		put_unit_locked(target, source->pending[i].index, unit_image);
	}
	hash = target->durable_hash;
	pthread_mutex_unlock(&target->lock);
	pthread_mutex_unlock(&source->lock);
	return hash;
}

/* Observers and faults. */

void sim_media_hook(struct sim_media *sim, const struct sim_hooks *hooks)
{
	sim->hooks = hooks != NULL ? *hooks : (struct sim_hooks){ 0 };
}

uint64_t sim_media_calls(struct sim_media *sim)
{
	uint64_t calls;

	pthread_mutex_lock(&sim->lock);
	calls = sim->calls;
	pthread_mutex_unlock(&sim->lock);
	return calls;
}

void sim_media_fail(struct sim_media *sim, unsigned primitives, uint64_t nth, int error, bool sticky)
{
	pthread_mutex_lock(&sim->lock);
	sim->fault = (struct fault){ .primitives = primitives, .countdown = nth, .error = error, .sticky = sticky };
	pthread_mutex_unlock(&sim->lock);
}

bool sim_media_has_failed(struct sim_media *sim)
{
	bool has_fired;

	pthread_mutex_lock(&sim->lock);
	has_fired = sim->fault.has_fired;
	pthread_mutex_unlock(&sim->lock);
	return has_fired;
}

/* Nothing pending in the unit, so that view and durable image can be changed together. */
static void settle_unit_locked(struct sim_media *sim, uint64_t unit)
{
	const struct fold fold = { .all = true };

	if (sim->slot_of[unit] == NO_UNIT)
		return;
	fold_unit_locked(sim, &sim->pending[sim->slot_of[unit] - 1], &fold);
	remove_unit_locked(sim, sim->slot_of[unit] - 1);
}

void sim_media_poison(struct sim_media *sim, uint64_t off)
{
	uint64_t line = pc_align_down(off, LINE);

	pthread_mutex_lock(&sim->lock);
	settle_unit_locked(sim, line / sim->unit_bytes);
	begin_change_locked(sim, line / sim->unit_bytes);
	memset(sim->view + line, POISON_BYTE, LINE);
	memset(sim->durable + line, POISON_BYTE, LINE);
	end_change_locked(sim, line / sim->unit_bytes);
	if (!is_poisoned_locked(sim, line, LINE)) {
		sim->poisoned = realloc(sim->poisoned, (sim->poisoned_count + 1) * sizeof(*sim->poisoned));
		if (sim->poisoned == NULL)
			complain("no memory");
		sim->poisoned[sim->poisoned_count++] = line;
	}
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_flip(struct sim_media *sim, uint64_t off, uint8_t bits)
{
	pthread_mutex_lock(&sim->lock);
	settle_unit_locked(sim, off / sim->unit_bytes);
	begin_change_locked(sim, off / sim->unit_bytes);
	sim->view[off] ^= bits;
	sim->durable[off] ^= bits;
	end_change_locked(sim, off / sim->unit_bytes);
	pthread_mutex_unlock(&sim->lock);
}
