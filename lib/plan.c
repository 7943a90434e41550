/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.c - what one key set is going to be made of: memory for it, and keys without data.
 *
 * A key without data takes a unit all the same. So the offsets of a segment's keys ascend with their lines, and the last
 * key says how much of the segment is used.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>

void pc_plan_free(struct pc_write_plan *plan)
{
	free(plan->keys);
	free((void *)plan->sources);
	free(plan->lines);
}

int pc_plan_new(uint64_t keys, struct pc_write_plan *ret_plan)
{
	size_t line_bytes = (size_t)pc_kset_lines((uint32_t)keys) * PCM_LINE;
	struct pc_write_plan plan = {
		.keys = malloc(keys * sizeof(*plan.keys)),
		.sources = malloc(keys * sizeof(*plan.sources)),
		.lines = aligned_alloc(PC_CACHE_LINE, line_bytes),
	};

	if (plan.keys == NULL || plan.sources == NULL || plan.lines == NULL) {
		pc_plan_free(&plan);
		return -ENOMEM;
	}
	*ret_plan = plan;
	return 0;
}

void pc_plan_add_empty(struct pc_write_plan *plan, uint16_t flag, uint64_t len, uint64_t off)
{
	uint64_t end = off + len;

	while (off < end) {
		uint64_t key_end = pc_key_end(off, end);

		plan->sources[plan->count] = NULL;
		plan->keys[plan->count++] = (struct pc_key){
			.off = off,
			.len = (uint32_t)(key_end - off),
			.data_off = plan->units * PCM_UNIT,
			.flags = flag,
		};
		plan->units += pc_key_units(0);
		off = key_end;
	}
}

/* As much log as a write of max_atomic_bytes at most: what stays unused at the end of a segment is as little. */
uint32_t pc_plan_empty_max(const struct pcache *cache)
{
	uint64_t keys = cache->max_atomic_bytes / (PCM_UNIT + sizeof(struct pcm_key));

	return (uint32_t)pc_min64(keys, PCM_KSET_MAX_KEYS);
}
