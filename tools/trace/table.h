/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.h - a hash table from any 64-bit number to a small one.
 */
#ifndef PCACHE_TRACE_TABLE_H
#define PCACHE_TRACE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define TRACE_TABLE_NONE UINT32_MAX /* not a value */

struct trace_table_slot {
	uint64_t key;
	uint32_t value;
};

struct trace_table {
	struct trace_table_slot *slots;
	uint64_t mask; /* slots - 1 */
	uint64_t count;
};

/* Room for as many keys; it grows beyond. -ENOMEM. */
int trace_table_init(uint64_t expected, struct trace_table *ret_table);
void trace_table_free(struct trace_table *table);

/* TRACE_TABLE_NONE: not there. */
uint32_t trace_table_get(const struct trace_table *table, uint64_t key);

/* Adds a key or changes its value. -ENOMEM, only where the table has to grow. */
int trace_table_put(struct trace_table *table, uint64_t key, uint32_t value);

/* False: it was not there. */
bool trace_table_remove(struct trace_table *table, uint64_t key);

#endif
