/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * volume.h - what the cached volume may hold, by cells of 64 bytes.
 *
 * Every write gets a number, and stamps each of its cells with {number, cell}. So a cell that is read back names the
 * write it came from, or is garbage. From each cell's version follows an interval of writes after which the volume looked
 * like this; writes are atomic and ordered if and only if all intervals have a number in common.
 */
#ifndef PC_CRASH_VOLUME_H
#define PC_CRASH_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CELL_BYTES 64u

struct cell_history {
	uint32_t *writes; /* numbers of the writes to this cell, ascending */
	uint32_t count;
	uint32_t room;
};

/* The cells of one write. */
struct write_extent {
	uint32_t first;
	uint32_t cells;
};

struct volume {
	uint64_t bytes;
	uint32_t cells;
	struct cell_history *history;
	struct write_extent *writes; /* by number, from 1 */
	uint32_t writes_room;
	uint32_t issued;  /* number of the newest write that has begun */
	uint32_t durable; /* no crash may go back behind this one */
};

/* Writes after which the volume may have looked as it was read. */
struct verdict {
	bool good;
	uint32_t low;
	uint32_t high;
	uint32_t cell;   /* of a bad one: the cell that does not fit, and what was read there */
	uint32_t number;
	const char *why;
};

void volume_init(struct volume *volume, uint64_t bytes);
void volume_free(struct volume *volume);

/* Begin the next write: remember it, and put its stamps into buf. off and len are multiples of CELL_BYTES. */
uint32_t volume_begin(struct volume *volume, uint64_t off, uint64_t len, uint8_t *buf);

/* Does the image look as after some write from low to high? */
struct verdict volume_judge(const struct volume *volume, const uint8_t *image, uint32_t low, uint32_t high);

/*
 * The weaker rule between two flushes on page granularity: everything up to write `low` is there, and of the later ones
 * any set, each of them whole.
 */
struct verdict volume_judge_epoch(const struct volume *volume, const uint8_t *image, uint32_t low, uint32_t high);

#endif
