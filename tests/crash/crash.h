/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash.h - the inside of the explorer: one seed's run, and what its files call of each other.
 *
 *     explorer.c   one seed from begin to end, crash points, failures
 *     workload.c   geometry and operations
 *     reads.c      the reads among them
 *     ranges.c     whole ranges: query, prefetch, invalidate
 *     writers.c    several writers and readers that take turns
 *     turns.c      whose turn it is
 *     states.c     crash states: made, opened, judged
 *     faults.c     crash states with one media fault
 *     rules.c      what is checked while the library runs
 *     records.c    a look at the two-slot records
 *     clean.c      a look at the keys of clean data
 *     volume.c     what may be read
 *     world.c      the simulated machines
 */
#ifndef PC_CRASH_CRASH_H
#define PC_CRASH_CRASH_H

#include "explorer.h"
#include "random.h"
#include "volume.h"
#include "world.h"

#include <pthread.h>

#define WRITERS_MAX 3u
#define READERS_MAX 3u
#define WORKERS_MAX 2u
#define PARTICIPANTS_MAX (WRITERS_MAX + READERS_MAX + WORKERS_MAX)
#define OPERATIONS_MAX 64u
#define SEGMENTS_MAX 12u

/* States with numbers of their own. */
#define STATE_KILL      100u
#define STATE_FAULT     200u
#define STATE_TAKE_OVER 900u

struct seen {
	uint64_t hash;
	uint64_t promises;
};

/* The writes that a thread has begun and that have no position yet, in order. */
struct issuer {
	uint32_t next;
	uint32_t end; /* not included */
};

/* Whoever has the turn runs, all others wait. Participant 0 is the explorer itself. */
struct baton {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned turn;
	unsigned stalled;      /* 0: nobody */
	unsigned participants; /* 0: no round */
	bool is_slow;          /* who reads the backing is often stalled, and whoever is stalled is so for long */
	bool done[PARTICIPANTS_MAX + 1];
};

/* What modes a seed is about: the rules for what a crash may leave differ. */
enum mode_kind {
	MODES_BACK,    /* write-back */
	MODES_THROUGH, /* write-through and write-only, too */
	MODES_AROUND,  /* all: each cell is judged by itself */
};

struct explorer {
	uint64_t seed;
	const struct explorer_options *options;
	struct explorer_counts *counts;
	struct geometry geometry;
	struct volume volume;
	struct world worlds[4];
	struct world *live;
	struct world *check;
	struct world *nested;
	struct world *spare; /* open: takes over from `live` after this operation */
	struct seen *seen;
	uint8_t *read_buf;   /* what `check` showed */
	uint8_t *nested_buf;
	uint8_t *fault_buf;
	uint8_t *scratch;
	uint8_t *unknown; /* by cell */
	uint64_t point;
	unsigned state;
	unsigned depth; /* 0: the workload runs; 1: `check` is at work; 2: nothing that is cut again */
	enum crash_mode phase;    /* of the workload: power, create, close or drain */
	enum crash_mode mode;     /* of the state that is checked */
	enum crash_mode cut_mode; /* of the cuts of `check` */
	struct prng cut_prng;
	unsigned cut_percent;
	bool has_shown;   /* what read_buf holds was read: no cut of `check` may take it */
	enum volume_rule rule;
	struct pc_pos tail;       /* as stored last */
	struct pc_pos batch_end;
	struct prng prng;         /* of the operation that runs */
	uint64_t flushed; /* position: a flush of a quiet log came so far */
	struct issuer issuers[PARTICIPANTS_MAX + 1];
	struct baton baton;
	unsigned reclaiming;   /* participants that are in a step of reclaim: 0 or 1 */
	unsigned take_over_in; /* crash points until `spare` is made; 0: not planned */
	bool take_over_by_kill;
	uint32_t decaying; /* number of a write that may decay when `check` is cut; 0: none */
	const struct fault_plan *fault; /* `check` has this one: cuts of it are judged so; NULL: none */
	bool fault_is_healed;           /* nothing is lost any more, durably */
	bool decay_is_quiet; /* as the image had it from which `check` began, nothing said that it was durable */
	uint64_t gc_percent;      /* as set last, */
	uint64_t gc_percent_next; /* and while it is being set: the new one */
	bool discarding; /* what is not on the backing goes: all of it, or nothing */
	enum mode_kind mode_kind;
	enum pcache_mode write_mode;      /* as set last, */
	enum pcache_mode write_mode_next; /* or being set */
	bool has_failed;     /* the backing, ever */
	bool backing_faulty; /* since the last time it was healed: errors are expected */
	bool failed;
};

/* ---- explorer.c ---- */

void fail(struct explorer *explorer, const char *where, const char *what);
void fail_errno(struct explorer *explorer, const char *where, int error);
void crash_point(struct explorer *explorer);
void enter_state(struct explorer *explorer, unsigned state);

static inline bool is_wanted(const struct explorer *explorer, enum crash_mode mode)
{
	/* Which errors and losses a fault excuses is not told cell by cell. */
	if (explorer->mode_kind == MODES_AROUND && mode == MODE_MEDIA_FAULT)
		return false;
	return explorer->options->modes == 0 || (explorer->options->modes >> mode & 1) != 0;
}

/* False: not this one, of the states of a replay. */
static inline bool is_replayed(const struct explorer *explorer, unsigned state)
{
	const struct explorer_options *options = explorer->options;

	return options->only_point == UINT64_MAX ||
	       (options->only_point == explorer->point && options->only_state == state);
}

void set_hooks(struct explorer *explorer, struct world *world, bool is_live);

extern struct explorer *explorer_running; /* the one of this process */

/* ---- workload.c ---- */

void choose_geometry(struct explorer *explorer);
void run_workload(struct explorer *explorer);

/* One call of the library, judged. `piece` is at most what a write of a round may be. */
void do_flush(struct explorer *explorer);
void end_write(struct explorer *explorer, uint32_t first, uint32_t end, bool is_durable);
uint64_t choose_offset(const struct explorer *explorer, struct prng *prng, uint64_t len);
bool is_expected(const struct explorer *explorer, int error);

/* ---- change.c ---- */

void do_change(struct explorer *explorer);
void do_setting(struct explorer *explorer);
void do_mode(struct explorer *explorer);
const char *check_setting(const struct explorer *explorer, const struct world *world);

/* ---- reads.c ---- */

/* What one reader has read, and cell by cell whether it has; both as large as the volume. */
struct reader {
	uint8_t *buf;
	uint8_t *unknown;
	uint64_t next; /* where a sequential one goes on */
	bool is_near;  /* others are at work in the same few blocks */
};

#define NEAR_BYTES 12288u /* those are so many, at the beginning of the volume */

void do_read(struct explorer *explorer);
void do_read_parts(struct explorer *explorer);

/* One read of a part, judged. `where` names it in a failure. */
bool read_part(struct explorer *explorer, struct prng *prng, struct reader *reader, const char *where,
	       const struct volume_question *question);

/* ---- ranges.c ---- */

void do_query(struct explorer *explorer);
void do_prefetch(struct explorer *explorer);
void do_invalidate(struct explorer *explorer);

/* ---- writers.c ---- */

void do_round(struct explorer *explorer);

/* ---- turns.c ---- */

/* Between begin and end: participants 1 to n wait for their first turn, run_round() gives it and waits for the last. */
void begin_round(struct explorer *explorer, unsigned participants);
void await_turn(struct explorer *explorer, unsigned number);
void leave_round(struct explorer *explorer, unsigned number);
void run_round(struct explorer *explorer);
void end_round(struct explorer *explorer);

/* The turn may change hands here. */
void yield_turn(struct explorer *explorer);

/* ---- states.c ---- */

struct keep_random {
	uint64_t state;
	unsigned percent;
};

struct choice_store {
	struct crash_choice choice;
	struct sim_random random;
	struct keep_random keep;
	size_t unit;
	uint64_t subset;
	sim_choose_fn unmasked;
	void *unmasked_arg;
	uint64_t lines;
};

struct prng state_prng(const struct explorer *explorer, unsigned state);
void choose_crash(struct prng *prng, unsigned state, struct world *world, struct choice_store *store);

/* 2: not seen before, and counted; 1: seen, but more was promised since; 0: nothing new. */
int count_state(struct explorer *explorer, uint64_t hash, enum crash_mode mode);

bool judge(struct explorer *explorer, const char *where, const uint8_t *image, const struct volume_question *question);
struct volume_question question_of(const struct explorer *explorer);

/* NULL at `wrong`: good. */
void check_nothing_wrong(struct explorer *explorer, const char *where, const char *wrong);

/* Open, read, judge. Leaves the cache open. */
bool open_and_judge(struct explorer *explorer, struct world *world, uint8_t *buf, const char *where);

void states_at_point(struct explorer *explorer);
void cut_check(struct explorer *explorer);
void take_over(struct explorer *explorer);
void finish_take_over(struct explorer *explorer);
void take_geometry(struct explorer *explorer);

/* ---- faults.c ---- */

void check_fault(struct explorer *explorer, unsigned state);
void cut_fault(struct explorer *explorer);

/* Before `check` is opened: choose a write to decay later, when it is cut. Then, for what the cut left on `nested`. */
void choose_decay(struct explorer *explorer, struct prng *prng);
void check_decay(struct explorer *explorer, struct prng *prng, uint64_t hash);

/* ---- rules.c ---- */

void rule_store(struct explorer *explorer, uint64_t off, const void *data, size_t len);
void rule_submit(struct explorer *explorer);
void rule_around(struct explorer *explorer, uint64_t off, uint64_t len);
void rule_through(struct explorer *explorer);
void rule_synced(struct explorer *explorer);
void rule_acknowledged(struct explorer *explorer, uint32_t number);

#endif
