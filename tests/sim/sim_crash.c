/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_crash.c - what a power cut or a kill may leave of a simulated media: choosers, images, and machines made from
 * them. The rules are in sim_media.h.
 *
 * Lock: sim_media.lock; choosers are called with it. Of two machines the one with the lower address is locked first:
 * they take turns in being the source.
 */
#include "sim_pending.h"

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
	uint64_t start = unit * target->unit_bytes;

	set_add(&target->durable_changed, unit);
	set_add(&target->view_changed, unit);
	memcpy(target->view + start, unit_image, target->unit_bytes);
	for (uint32_t i = 0; i < target->unit_bytes; i += LINE) {
		uint64_t off = start + i;

		if (memcmp(target->durable + off, unit_image + i, LINE) == 0)
			continue;
		target->durable_hash += line_hash(off, unit_image + i) - line_hash(off, target->durable + off);
		memcpy(target->durable + off, unit_image + i, LINE);
	}
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

static void lock_pair(struct sim_media *a, struct sim_media *b)
{
	bool a_first = (uintptr_t)a < (uintptr_t)b;

	pthread_mutex_lock(a_first ? &a->lock : &b->lock);
	pthread_mutex_lock(a_first ? &b->lock : &a->lock);
}

static void unlock_pair(struct sim_media *a, struct sim_media *b)
{
	pthread_mutex_unlock(&a->lock);
	pthread_mutex_unlock(&b->lock);
}

static void check_pair(const struct sim_media *source, const struct sim_media *target)
{
	if (source->media.size_bytes != target->media.size_bytes || source->unit_bytes != target->unit_bytes)
		complain("source and target differ in size or granularity");
	if (target->is_open)
		complain("crash into a media that is open");
}

uint64_t sim_media_crash_into(struct sim_media *source, sim_choose_fn choose, void *arg, struct sim_media *target)
{
	uint8_t unit_image[PC_PAGE];
	uint64_t hash;

	check_pair(source, target);
	lock_pair(source, target);
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
	unlock_pair(source, target);
	return hash;
}

/* The pending stores of a unit, and what the view shows of it. */
static void clone_unit_locked(const struct sim_media *source, const struct unit *unit, struct sim_media *target)
{
	struct unit *clone = pending_unit_locked(target, unit->index);
	uint64_t off = unit->index * source->unit_bytes;

	for (const struct event *event = unit->events; event != NULL; event = event->next) {
		struct event *copy = new_event_locked(target, event->len);

		memcpy(copy, event, sizeof(*event) + event->len);
		copy->seq = target->next_seq++;
		copy->flushed_by = 0;
		copy->cached = !is_page(source);
		append(clone, copy);
	}
	memcpy(target->view + off, source->view + off, source->unit_bytes);
	set_add(&target->view_changed, unit->index);
}

uint64_t sim_media_kill_into(struct sim_media *source, struct sim_media *target)
{
	uint64_t hash;

	check_pair(source, target);
	lock_pair(source, target);
	follow_locked(source, target);
	hash = target->durable_hash;
	for (size_t i = 0; i < source->pending_count; i++) {
		const struct unit *unit = &source->pending[i];
		uint64_t start = unit->index * source->unit_bytes;

		clone_unit_locked(source, unit, target);
		for (uint64_t off = start; off < start + source->unit_bytes; off += LINE)
			hash += line_hash(off, source->view + off) - line_hash(off, source->durable + off);
	}
	unlock_pair(source, target);
	if (target->media.granularity == PCACHE_GRANULARITY_BYTE)
		sim_media_settle(target);
	return hash;
}
