/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * volume.h - what the cached volume may hold, by cells of 64 bytes.
 *
 * Every write gets a number, and stamps each of its cells with {number, cell}. So a cell that is read back names the
 * write it came from, or is garbage. When the library stores its key set the write gets its position, which is the
 * order that counts. The rules:
 *
 *   VOLUME_PREFIX  from each cell follows an interval of positions after which the volume looked like this; writes are
 *                  atomic, durable and ordered if and only if all intervals have a position in common
 *   VOLUME_SETS    what was promised is there, and of the rest any set of whole writes: between two flushes on page
 *                  granularity, and while several writers are at work
 *   VOLUME_CELLS   as before, but each cell by itself: a read that others overtook
 *
 * Zeroes carry no stamp: a cell of zeroes may be what was there at first, or any of the writes of zeroes to it. It is
 * judged by whatever of these fits. Writes of one commit have one position; they are there together or not at all.
 */
#ifndef PC_CRASH_VOLUME_H
#define PC_CRASH_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CELL_BYTES 64u

struct cell_history {
	uint32_t *writes; /* numbers of the writes to this cell, by position, ascending */
	uint32_t count;
	uint32_t room;
	bool has_zeroes; /* one of them is of zeroes */
	bool has_rests;  /* a crash took a write that had gone past the cache in part: bytes of it may be there */
};

struct volume_write {
	uint64_t pos;        /* 0: has none, and cannot be seen */
	uint32_t first;      /* cells */
	uint32_t cells;
	bool is_zero;        /* a write of zeroes */
	uint32_t group;      /* numbers of one commit: the first, */
	uint32_t group_end;  /* and behind the last */
	uint64_t required_since; /* volume.promises when it was promised by itself; 0: it was not */
	uint64_t returned;   /* to the caller, as the so manieth; 0: not yet */
	bool is_around;      /* it went past the cache, */
	bool is_loose;       /* and no flush has come since: a crash may take it, or any of its cells */
	bool is_torn;        /* it went past the cache in part, then into the log */
	bool is_doomed;      /* loose for ever: a sync failed */
	uint64_t line_off;   /* of its key set's first line on the media; the next ones lie before it */
	uint32_t lines;
	uint64_t data_off;   /* of its data on the media */
	uint32_t data_bytes;
};

struct volume {
	uint64_t bytes;
	uint32_t cells;
	struct cell_history *history;
	struct volume_write *writes; /* by number, from 1 */
	uint32_t writes_room;
	uint32_t issued;    /* number of the newest write that has begun */
	uint64_t newest;    /* highest position of a write */
	uint64_t promised;  /* no crash may take a write up to this position */
	uint64_t promises;  /* moves whenever more is promised */
	uint64_t returns;   /* writes that returned */
	uint8_t *verified;  /* by cell, what was found whole last: no need to compute it again */
	uint64_t *shown;    /* by number, which call of the judge saw it; scratch */
	uint64_t judgements;
};

enum volume_rule {
	VOLUME_PREFIX,
	VOLUME_SETS,
	VOLUME_CELLS,
};

struct volume_question {
	enum volume_rule rule;
	uint64_t low;  /* with VOLUME_PREFIX: positions that the common one must lie between */
	uint64_t high;
	uint64_t since;         /* with VOLUME_CELLS: promises given later do not count */
	uint64_t running;       /* with VOLUME_CELLS: a write that returned as this one or later ran at the same time as the
				   read, which may see any part of it; 0: none did */
	uint32_t excused;       /* number of a write that may be missing; 0: none */
	const uint8_t *unknown; /* by cell, 1: could not be read; NULL: all were */
};

struct verdict {
	bool good;
	uint64_t low; /* with VOLUME_PREFIX: what is common */
	uint64_t high;
	uint32_t cell; /* of a bad one: the cell that does not fit, and what was read there */
	uint32_t number;
	const char *why;
};

void volume_init(struct volume *volume, uint64_t bytes);
void volume_free(struct volume *volume);

/* Begin the next write, and put its stamps into buf. off and len are multiples of CELL_BYTES. */
uint32_t volume_issue(struct volume *volume, uint64_t off, uint64_t len, uint8_t *buf);

/* What the cell holds of this write. */
void volume_stamp(uint32_t number, uint32_t cell, uint8_t bytes[CELL_BYTES]);

/* The same for zeroes: there is nothing to be put into a buffer. */
uint32_t volume_issue_zeroes(struct volume *volume, uint64_t off, uint64_t len);

/* Numbers [first, end) go out in one commit. */
void volume_group(struct volume *volume, uint32_t first, uint32_t end);

/* From now on the write may be seen. */
void volume_place(struct volume *volume, uint32_t number, uint64_t pos);

/* The write did not survive: it is as if it never was. */
void volume_forget(struct volume *volume, uint32_t number);

/* The write may be seen from now on, and is not in the log: behind all that is there before `head`. */
void volume_place_around(struct volume *volume, uint32_t number, uint64_t head);

/* A flush: of the writes past the cache the first so many that returned are no longer loose. Is any? */
void volume_settle(struct volume *volume, uint64_t returns);
void volume_doom(struct volume *volume); /* all that are loose now stay so */
bool volume_is_loose(const struct volume *volume);

/* This write was promised; everything that has a position was. */
void volume_require(struct volume *volume, uint32_t number);
void volume_require_all(struct volume *volume);

static inline bool volume_is_required(const struct volume *volume, uint32_t number)
{
	const struct volume_write *write = &volume->writes[number];

	return write->pos != 0 && !write->is_loose && (write->required_since != 0 || write->pos <= volume->promised);
}

/* The number of the write that the cell of an image names, whether it is true or not. */
uint32_t volume_number(const uint8_t *image, uint32_t cell);

/* Position of the newest write that a cell with these bytes can show, 0: none; UINT64_MAX: never issued. */
uint64_t volume_shown_pos(const struct volume *volume, const uint8_t *bytes, uint32_t cell);

struct verdict volume_judge(struct volume *volume, const uint8_t *image, const struct volume_question *question);

#endif
