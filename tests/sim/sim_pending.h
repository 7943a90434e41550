/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_pending.h - the inside of sim_media.c and sim_crash.c: the structure, and the pending stores from store to fold.
 * The rules are in sim_media.h. Nobody else includes this.
 *
 * A pending store is an event in the list of its unit. An event that becomes durable is folded: its bytes go to the
 * durable image, and earlier events that are still pending lose these bytes, for they can no longer be seen there.
 * That happens within lines only: on page granularity always the oldest events go first.
 *
 * The durable image has a hash, the sum over its lines, kept up to date as it changes.
 *
 * Lock: sim_media.lock, over everything but the view, which readers see through pc_media.base like any memory.
 */
#ifndef PC_SIM_PENDING_H
#define PC_SIM_PENDING_H

#include "sim_media.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

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
static inline void complain(const char *what)
{
	fprintf(stderr, "sim_media: %s\n", what);
	abort();
}

static inline struct sim_media *sim_of(struct pc_media *media)
{
	return (struct sim_media *)media; /* its first member */
}

static inline bool is_page(const struct sim_media *sim)
{
	return sim->media.granularity == PCACHE_GRANULARITY_PAGE;
}

/* Threads: a small number each, so that a set of them is a word. */

static inline uint64_t this_thread(void)
{
	static _Atomic uint64_t last;
	static _Thread_local uint64_t id;

	if (id == 0)
		id = atomic_fetch_add(&last, 1) + 1;
	return id;
}

static inline bool thread_is_used_locked(const struct sim_media *sim, unsigned thread)
{
	for (size_t i = 0; i < sim->pending_count; i++) {
		for (const struct event *event = sim->pending[i].events; event != NULL; event = event->next) {
			if (event->thread == thread || (event->flushed_by >> thread & 1) != 0)
				return true;
		}
	}
	return false;
}

static inline unsigned thread_locked(struct sim_media *sim)
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

static inline bool set_init(struct unit_set *set, size_t units)
{
	set->is_member = calloc(units, sizeof(*set->is_member));
	set->list = calloc(units, sizeof(*set->list));
	return set->is_member != NULL && set->list != NULL;
}

static inline void set_destroy(struct unit_set *set)
{
	free(set->is_member);
	free(set->list);
}

static inline void set_add(struct unit_set *set, uint64_t unit)
{
	if (set->is_member[unit])
		return;
	set->is_member[unit] = 1;
	set->list[set->count++] = (uint32_t)unit;
}

static inline void set_empty(struct unit_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		set->is_member[set->list[i]] = 0;
	set->count = 0;
}

/* The durable image and its hash. */

/*
 * Four independent products of sums, then a finish that depends on the place ("NH" of Black et al., "UMAC", 1999):
 * lines are hashed at every change, so it has to be fast.
 */
static inline uint64_t line_hash(uint64_t off, const uint8_t *line)
{
	static const uint64_t keys[LINE / 8] = {
		0x9e3779b97f4a7c15u, 0xbf58476d1ce4e5b9u, 0x94d049bb133111ebu, 0xff51afd7ed558ccdu,
		0xc4ceb9fe1a85ec53u, 0x2545f4914f6cdd1du, 0xd6e8feb86659fd93u, 0xa0761d6478bd642fu,
	};
	uint64_t words[LINE / 8];
	uint64_t hash = (off + 1) * 0xe7037ed1a0b428dbu;

	memcpy(words, line, sizeof(words));
	for (unsigned i = 0; i < LINE / 8; i += 2) {
		unsigned __int128 product = (unsigned __int128)(words[i] + keys[i]) * (words[i + 1] + keys[i + 1]);

		hash += (uint64_t)product ^ (uint64_t)(product >> 64);
	}
	hash = (hash ^ hash >> 32) * 0xff51afd7ed558ccdu;
	return hash ^ hash >> 29;
}

static inline uint64_t range_hash(const struct sim_media *sim, uint64_t off, uint64_t len)
{
	uint64_t hash = 0;

	for (uint64_t line = off; line < off + len; line += LINE)
		hash += line_hash(line, sim->durable + line);
	return hash;
}

/* Around every change of a unit of the durable image. */
static inline void begin_change_locked(struct sim_media *sim, uint64_t unit)
{
	set_add(&sim->durable_changed, unit);
	set_add(&sim->view_changed, unit);
	sim->durable_hash -= range_hash(sim, unit * sim->unit_bytes, sim->unit_bytes);
}

static inline void end_change_locked(struct sim_media *sim, uint64_t unit)
{
	sim->durable_hash += range_hash(sim, unit * sim->unit_bytes, sim->unit_bytes);
}

/* Events. */

static inline struct event *new_event_locked(struct sim_media *sim, uint32_t len)
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

static inline void free_event_locked(struct sim_media *sim, struct event *event)
{
	if (event->len > LINE) {
		free(event);
		return;
	}
	event->next = sim->spare;
	sim->spare = event;
}

static inline uint64_t byte_mask(uint32_t start, uint32_t len)
{
	return (len == 64 ? UINT64_MAX : (1ull << len) - 1) << start;
}

/* Copy the parts in the mask of what the event has into an image of its unit. */
static inline void apply(const struct sim_media *sim, const struct event *event, unsigned parts, uint8_t *unit_image)
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

static inline struct unit *pending_unit_locked(struct sim_media *sim, uint64_t index)
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

static inline void remove_unit_locked(struct sim_media *sim, size_t number)
{
	struct unit *unit = &sim->pending[number];

	sim->slot_of[unit->index] = NO_UNIT;
	sim->pending_count--;
	if (number == sim->pending_count)
		return;
	*unit = sim->pending[sim->pending_count];
	sim->slot_of[unit->index] = (uint32_t)number + 1;
}

static inline void append(struct unit *unit, struct event *event)
{
	event->next = NULL;
	if (unit->events == NULL)
		unit->events = event;
	else
		unit->last->next = event;
	unit->last = event;
}

static inline void add_event_locked(struct sim_media *sim, uint64_t off, uint32_t len, bool cached)
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

static inline bool is_folded(const struct sim_media *sim, const struct fold *fold, const struct event *event)
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
static inline struct event *supersede_locked(struct sim_media *sim, struct event **list, uint64_t bytes)
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
static inline void fold_unit_locked(struct sim_media *sim, struct unit *unit, const struct fold *fold)
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

static inline bool has_folded(const struct sim_media *sim, const struct unit *unit, const struct fold *fold)
{
	const struct event *event = unit->events;

	while (event != NULL && !is_folded(sim, fold, event))
		event = event->next;
	return event != NULL;
}

static inline void fold_locked(struct sim_media *sim, const struct fold *fold)
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
static inline void drop_pending_locked(struct sim_media *sim)
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

/* View and durable image become this one. */
static inline void reset_locked(struct sim_media *sim, const uint8_t *image)
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

/* What a crash leaves. */

static inline struct sim_unit describe_locked(const struct sim_media *sim, size_t number)
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

static inline unsigned parts_of_cached(const struct sim_choice *choice, uint32_t number)
{
	if (number > choice->cached)
		return 0;
	return number == choice->cached ? choice->cached_torn : SIM_WHOLE;
}

static inline unsigned parts_of_streamed(const struct sim_choice *choice, uint32_t number)
{
	if (number > choice->streamed)
		return 0;
	return number == choice->streamed ? choice->streamed_torn : choice->streamed_torn | choice->streamed_older;
}

/* What a crash leaves of the pending unit, over its durable bytes. */
static inline void compose_locked(const struct sim_media *sim, size_t number, const struct sim_choice *choice,
			   uint8_t *unit_image)
{
	uint32_t cached = 0;
	uint32_t streamed = 0;

	for (const struct event *event = sim->pending[number].events; event != NULL; event = event->next)
		apply(sim, event,
		      event->cached ? parts_of_cached(choice, ++cached) : parts_of_streamed(choice, ++streamed),
		      unit_image);
}

#endif
