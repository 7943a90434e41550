/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ghost.c - fingerprints of 16 bits in sets of eight, each set a queue: what comes in pushes the oldest out.
 *
 * All sets together hold as many as are to be remembered, so a block is forgotten after about so many others came. How
 * many exactly varies with its set, which is good enough for what it decides: where a block begins its life.
 *
 * Lock: pc_ghost.lock, a leaf.
 */
#include "ghost.h"

#include "lock.h"

#include <errno.h>
#include <string.h>

#define SET_BLOCKS 8u

struct set {
	uint16_t prints[SET_BLOCKS]; /* newest first; 0: none */
};

struct pc_ghost {
	struct pc_lock lock; /* guards the sets */

	uint64_t set_count;
	struct set sets[];
};

int pc_ghost_new(uint64_t blocks, struct pc_ghost **ret_ghost)
{
	uint64_t set_count = blocks / SET_BLOCKS + 1;
	struct pc_ghost *ghost = calloc(1, sizeof(*ghost) + set_count * sizeof(struct set));

	if (ghost == NULL)
		return -ENOMEM;
	ghost->set_count = set_count;
	*ret_ghost = ghost;
	return 0;
}

void pc_ghost_delete(struct pc_ghost *ghost)
{
	free(ghost);
}

/* Every bit of the result depends on every bit of the block (Steele, Lea, Flood: SplitMix, OOPSLA 2014). */
static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ value >> 27) * 0x94d049bb133111ebull;
	return value ^ value >> 31;
}

/* Where the block's fingerprint is, or would be: the set by the high bits, the fingerprint by the low ones. */
static struct set *set_of(struct pc_ghost *ghost, uint64_t block, uint16_t *ret_print)
{
	uint64_t hash = mix(block + 0x9e3779b97f4a7c15ull);

	*ret_print = (uint16_t)hash == 0 ? 1 : (uint16_t)hash;
	return &ghost->sets[(uint64_t)((unsigned __int128)hash * ghost->set_count >> 64)];
}

void pc_ghost_add(struct pc_ghost *ghost, uint64_t block)
{
	uint16_t print;
	struct set *set = set_of(ghost, block, &print);

	pc_lock_acquire(&ghost->lock);
	memmove(&set->prints[1], &set->prints[0], (SET_BLOCKS - 1) * sizeof(set->prints[0]));
	set->prints[0] = print;
	pc_lock_release(&ghost->lock);
}

bool pc_ghost_take(struct pc_ghost *ghost, uint64_t block)
{
	uint16_t print;
	struct set *set = set_of(ghost, block, &print);
	unsigned i = 0;

	pc_lock_acquire(&ghost->lock);
	while (i < SET_BLOCKS && set->prints[i] != print)
		i++;
	if (i < SET_BLOCKS) {
		memmove(&set->prints[i], &set->prints[i + 1], (SET_BLOCKS - 1 - i) * sizeof(set->prints[0]));
		set->prints[SET_BLOCKS - 1] = 0;
	}
	pc_lock_release(&ghost->lock);
	return i < SET_BLOCKS;
}

uint64_t pc_ghost_memory_bytes(const struct pc_ghost *ghost)
{
	return ghost == NULL ? 0 : sizeof(*ghost) + ghost->set_count * sizeof(struct set);
}
