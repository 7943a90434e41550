/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explorer.h - runs a workload that follows from its seed, and at every crash point tries what a crash may leave.
 */
#ifndef PC_CRASH_EXPLORER_H
#define PC_CRASH_EXPLORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of crash states. The last four are power cuts while that is going on. */
enum crash_mode {
	MODE_POWER,       /* power cut */
	MODE_KILL,        /* kill -9: what memory holds */
	MODE_KILL_POWER,  /* kill, reopen, read, then power cut */
	MODE_NESTED,      /* power cut, then another one during recovery or what follows */
	MODE_MEDIA_FAULT, /* power cut, and one line lost or one bit flipped */
	MODE_MEDIA_LOST,  /* the backing alone */
	MODE_CREATE,
	MODE_CLOSE,
	MODE_DRAIN,
	MODE_CHANGE, /* of a setting, or of the cache as a whole */
	CRASH_MODES,
};

extern const char *const crash_mode_names[CRASH_MODES];

struct explorer_counts {
	uint64_t seeds;
	uint64_t points;             /* moments at which a crash was tried */
	uint64_t states;             /* crash states made */
	uint64_t unique;             /* of them, different from all before in their seed */
	uint64_t modes[CRASH_MODES]; /* the unique ones by kind */
	uint64_t drained;            /* states that were drained, and the backing alone compared */
	uint64_t rounds;             /* rounds of several writers */
	uint64_t failures;
};

/* One crash state, or one run. */
struct explorer_id {
	uint64_t seed;
	uint64_t point;
	unsigned state;
	uint64_t operations; /* bit n: operation n is run; 0: all are */
	unsigned geometry;   /* EXPLORER_SMALL_* */
	uint64_t lines;      /* bit n: pending unit n may survive; 0: all may */
};

#define EXPLORER_SMALL_CACHE  1u
#define EXPLORER_SMALL_VOLUME 2u

struct explorer_failure {
	struct explorer_id id;
	enum crash_mode mode;
	char what[320];
};

struct explorer_options {
	unsigned states_per_point;
	uint64_t only_point; /* with replay: the point and the state to check; UINT64_MAX: all */
	unsigned only_state;
	bool quiet;          /* prints nothing */
	unsigned modes;      /* bit by crash_mode; 0: all */
	uint64_t keep_operations; /* as in explorer_id */
	unsigned small_geometry;
	uint64_t keep_lines;
	struct explorer_failure *ret_failure; /* NULL, or filled in when the run fails */
};

/* Runs one seed to its end or its first failure, which it prints with the id that replays it. False: it failed. */
bool explorer_run(uint64_t seed, const struct explorer_options *options, struct explorer_counts *counts);

/* Make a failure smaller: fewer operations, smaller geometry, fewer lines. At most `runs` runs. */
void explorer_minimise(const struct explorer_options *options, unsigned runs, struct explorer_failure *failure);

/* SEED:POINT:STATE, and :OPERATIONS:GEOMETRY:LINES where one of them is not 0. */
void explorer_print_id(const struct explorer_id *id, char *text, size_t bytes);
bool explorer_parse_id(const char *text, struct explorer_id *ret_id);

/* For a library that is built for tests: here another thread of the workload may run. */
void explorer_pause(void);

/* The state at work now, for whoever catches a signal: plain memory, no lock. */
extern volatile struct explorer_id explorer_now;

#endif
