/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * damage.c - the list of what was found damaged, and is nowhere else.
 *
 * (DM1) What is listed is so now: an entry counts only as far as the index still finds these very bytes. What was written
 *       again, dropped or freed meanwhile falls out when the list is looked at.
 * (DM2) The list is bounded. What does not fit is found again by whoever reads it, or by the next scrub.
 * (DM4) What write-back left behind as lost comes first, from its table (losses.c), as far as nothing newer was written.
 * (DM3) After a salvage it also holds what a damaged key set seems to have written: ranges that may be stale. These stay.
 *
 * Lock: pc_damage.lock; nothing is called under it.
 */
#include "cache.h"

#include <string.h>

static bool is_same(const struct pc_damaged *a, const struct pc_damaged *b)
{
	return a->off == b->off && a->len == b->len && a->segment == b->segment && a->data_off == b->data_off &&
	       a->gen == b->gen;
}

static void add(struct pcache *cache, const struct pc_damaged *item)
{
	struct pc_damage *damage = &cache->damage;
	bool known = false;

	pthread_mutex_lock(&damage->lock);
	for (uint32_t i = 0; i < damage->count; i++)
		known |= is_same(&damage->items[i], item);
	if (!known && damage->count < PC_DAMAGE_MAX)
		damage->items[damage->count++] = *item;
	pthread_mutex_unlock(&damage->lock);
}

void pc_damage_note(struct pcache *cache, const struct pc_piece *piece)
{
	add(cache, &(struct pc_damaged){
			   .off = piece->mapping.off,
			   .len = piece->mapping.len,
			   .segment = piece->mapping.segment,
			   .data_off = piece->mapping.data_off,
			   .gen = piece->gen,
		   });
}

static uint64_t gen_of(const struct pcache *cache, uint32_t segment)
{
	return atomic_load_explicit(&cache->segments->refs[segment].gen, memory_order_acquire);
}

void pc_damage_note_at(struct pcache *cache, uint64_t off, uint32_t len, uint64_t media_off)
{
	const struct pc_look *look;
	struct pc_walk walk;

	pc_walk_begin(&walk, cache->index, off, off + len);
	while ((look = pc_walk_next(&walk)) != NULL) {
		const struct pc_mapping *mapping = &look->mapping;
		struct pc_piece piece = { .mapping = *mapping };

		if (!look->cached || mapping->kind != PC_MAPPING_DATA ||
		    pc_segment_at(cache->segments, mapping->segment)->off + mapping->data_off !=
			    media_off + (mapping->off - off))
			continue; /* something newer is there: nobody reads the damaged bytes */
		piece.gen = gen_of(cache, mapping->segment);
		pc_damage_note(cache, &piece);
	}
}

void pc_damage_note_stale(struct pcache *cache, uint64_t off, uint32_t len)
{
	add(cache, &(struct pc_damaged){ .off = off, .len = len, .segment = PC_SEGMENT_NONE });
}

/* Room for ranges that are given out: neighbours become one. */
struct output {
	struct pcache_range *ranges;
	size_t max;
	size_t count;
};

static void give_out(struct output *output, uint64_t off, uint64_t len, uint32_t state)
{
	struct pcache_range *last = output->count == 0 ? NULL : &output->ranges[output->count - 1];

	if (last != NULL && last->state == state && last->off + last->len == off)
		last->len += len;
	else if (output->count < output->max)
		output->ranges[output->count++] = (struct pcache_range){ .off = off, .len = len, .state = state };
}

/* (DM1) What of an entry is still so; false: nothing. */
static bool give_out_item(struct pcache *cache, const struct pc_damaged *item, struct output *output)
{
	const struct pc_look *look;
	struct pc_walk walk;
	bool any = false;

	if (item->segment == PC_SEGMENT_NONE) {
		give_out(output, item->off, item->len, PCACHE_RANGE_STALE);
		return true;
	}
	pc_walk_begin(&walk, cache->index, item->off, item->off + item->len);
	while ((look = pc_walk_next(&walk)) != NULL) {
		const struct pc_mapping *mapping = &look->mapping;

		if (!look->cached || mapping->kind != PC_MAPPING_DATA || mapping->segment != item->segment ||
		    mapping->data_off != item->data_off + (mapping->off - item->off) ||
		    gen_of(cache, item->segment) != item->gen)
			continue;
		give_out(output, mapping->off, mapping->len, PCACHE_RANGE_DIRTY | PCACHE_RANGE_LOST);
		any = true;
	}
	return any;
}

static void remove_item(struct pc_damage *damage, const struct pc_damaged *item)
{
	pthread_mutex_lock(&damage->lock);
	for (uint32_t i = 0; i < damage->count; i++) {
		if (!is_same(&damage->items[i], item))
			continue;
		damage->count--;
		memmove(&damage->items[i], &damage->items[i + 1], (damage->count - i) * sizeof(*item));
		break;
	}
	pthread_mutex_unlock(&damage->lock);
}

static bool item_at(struct pc_damage *damage, uint32_t i, struct pc_damaged *ret_item)
{
	bool found;

	pthread_mutex_lock(&damage->lock);
	found = i < damage->count;
	if (found)
		*ret_item = damage->items[i];
	pthread_mutex_unlock(&damage->lock);
	return found;
}

/* (DM4) */
static void give_out_lost(struct pcache *cache, struct output *output)
{
	struct pc_lost_range range = { 0 };

	while (pc_lost_find(&cache->lost, range.end, UINT64_MAX, &range)) {
		const struct pc_look *look;
		struct pc_walk walk;

		pc_walk_begin(&walk, cache->index, range.off, range.end);
		while ((look = pc_walk_next(&walk)) != NULL)
			if (!look->cached)
				give_out(output, look->mapping.off, look->mapping.len, PCACHE_RANGE_LOST);
	}
}

size_t pc_damage_list(struct pcache *cache, struct pcache_range *ranges, size_t max)
{
	struct output output = { .ranges = ranges, .max = max };
	struct pc_damaged item;
	uint32_t i = 0;

	give_out_lost(cache, &output);
	while (item_at(&cache->damage, i, &item)) {
		if (give_out_item(cache, &item, &output))
			i++;
		else
			remove_item(&cache->damage, &item);
	}
	return output.count;
}
