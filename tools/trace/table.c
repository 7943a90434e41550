/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.c - open addressing with linear probing, at most three quarters full.
 *
 * (H1) Between the home of a key and its slot there is no empty slot. A removal moves later keys back, so that this
 *      holds without marks for what was removed.
 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 16u

/* The last step of splitmix64: neighbours go far apart. */
static uint64_t hash(uint64_t key)
{
	key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
	key = (key ^ key >> 27) * 0x94d049bb133111ebu;
	return key ^ key >> 31;
}

static bool is_crowded(uint64_t count, uint64_t slots)
{
	return count > slots / 4 * 3;
}

static int allocate(struct trace_table *table, uint64_t slots)
{
	if (slots > SIZE_MAX / sizeof(*table->slots))
		return -ENOMEM;
	table->slots = malloc(slots * sizeof(*table->slots));
	if (table->slots == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < slots; i++)
		table->slots[i].value = TRACE_TABLE_NONE;
	table->mask = slots - 1;
	return 0;
}

int trace_table_init(uint64_t expected, struct trace_table *ret_table)
{
	struct trace_table table = { .count = 0 };
	uint64_t slots = SLOTS_MIN;
	int ret;

	while (is_crowded(expected, slots)) {
		if (slots > UINT64_MAX / 2)
			return -ENOMEM;
		slots *= 2;
	}
	ret = allocate(&table, slots);
	if (ret == 0)
		*ret_table = table;
	return ret;
}

void trace_table_free(struct trace_table *table)
{
	free(table->slots);
	table->slots = NULL;
}

/* The slot of the key, or the empty one where it would go. */
static struct trace_table_slot *find(const struct trace_table *table, uint64_t key)
{
	uint64_t at = hash(key) & table->mask;

	while (table->slots[at].value != TRACE_TABLE_NONE && table->slots[at].key != key)
		at = (at + 1) & table->mask;
	return &table->slots[at];
}

uint32_t trace_table_get(const struct trace_table *table, uint64_t key)
{
	return find(table, key)->value;
}

static int grow(struct trace_table *table)
{
	struct trace_table larger = { .count = table->count };
	int ret = allocate(&larger, 2 * (table->mask + 1));

	if (ret < 0)
		return ret;
	for (uint64_t i = 0; i <= table->mask; i++)
		if (table->slots[i].value != TRACE_TABLE_NONE)
			*find(&larger, table->slots[i].key) = table->slots[i];
	free(table->slots);
	*table = larger;
	return 0;
}

int trace_table_put(struct trace_table *table, uint64_t key, uint32_t value)
{
	struct trace_table_slot *slot = find(table, key);

	if (slot->value == TRACE_TABLE_NONE) {
		if (is_crowded(table->count + 1, table->mask + 1)) {
			int ret = grow(table);

			if (ret < 0)
				return ret;
			slot = find(table, key);
		}
		table->count++;
	}
	*slot = (struct trace_table_slot){ .key = key, .value = value };
	return 0;
}

bool trace_table_remove(struct trace_table *table, uint64_t key)
{
	struct trace_table_slot *slots = table->slots;
	uint64_t hole = (uint64_t)(find(table, key) - slots);

	if (slots[hole].value == TRACE_TABLE_NONE)
		return false;
	for (uint64_t at = (hole + 1) & table->mask; slots[at].value != TRACE_TABLE_NONE; at = (at + 1) & table->mask) {
		uint64_t home = hash(slots[at].key) & table->mask;

		/* (H1) a key whose home lies behind the hole stays */
		if (((at - home) & table->mask) < ((at - hole) & table->mask))
			continue;
		slots[hole] = slots[at];
		hole = at;
	}
	slots[hole].value = TRACE_TABLE_NONE;
	table->count--;
	return true;
}
