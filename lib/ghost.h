/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ghost.h - remembers which blocks were seen not long ago, without their data: two bytes a block.
 */
#ifndef PC_GHOST_H
#define PC_GHOST_H

#include "util.h"

struct pc_ghost;

/* Remembers about `blocks` of them, the last ones. -ENOMEM. */
int pc_ghost_new(uint64_t blocks, struct pc_ghost **ret_ghost);
void pc_ghost_delete(struct pc_ghost *ghost);

void pc_ghost_add(struct pc_ghost *ghost, uint64_t block);

/* True: the block was added and is remembered (wrongly once in some ten thousand times). It is forgotten then. */
bool pc_ghost_take(struct pc_ghost *ghost, uint64_t block);

uint64_t pc_ghost_memory_bytes(const struct pc_ghost *ghost);

#endif
