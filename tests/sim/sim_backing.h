/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_backing.h - a backing in memory that knows what a power cut may leave of it. Runs under lib/backing.c.
 *
 *     submit          reap                  sync
 *   ---------> in flight ------> written ---------> durable
 *               (a copy)        (reads see it)
 *
 * Writes are kept as pieces of at most one sector, in the order of submission.
 *
 * (SB1) A power cut leaves the durable image and any of the pieces, in flight or written, in any order.
 * (SB2) A sync covers the pieces that were written when it was called, no others.
 * (SB3) A sync that fails loses every second one of those for good, reads still see them, and the next sync knows
 *       nothing of it: so does Linux. Only writing them again helps.
 * (SB4) A write that fails was done in part: every second piece.
 * (SB5) A range that is zeroed is a write of zeroes that completes at once.
 *
 * Ownership: pc_backing_close() on sim_backing_base() frees nothing and only counts, so that the test can look at what
 * is left and open it again; the test calls sim_backing_free().
 * Lock: one mutex inside; the hook is called without it. Pointers to the images and to the data of pieces are for
 * moments when no other thread writes or syncs: inside the hook, or when the library is idle.
 */
#ifndef PC_SIM_BACKING_H
#define PC_SIM_BACKING_H

#include "backing.h"

#include <pthread.h>

#define SIM_SECTOR 512u

struct sim_piece {
	uint64_t off;
	size_t len;          /* within one sector */
	uint64_t write;      /* which submission it is of, from 1 */
	bool in_flight;      /* else written */
	const uint8_t *data;
};

enum sim_backing_fault {
	SIM_SUBMIT_FAILS,   /* the error of the whole call; -EAGAIN for "no room" */
	SIM_REAP_FAILS,     /* -EINTR; any other error: all in flight fail, as the queue is lost */
	SIM_WRITE_FAILS,    /* the completion of a write (SB4) */
	SIM_WRITE_IS_SHORT, /* a completion with half of the bytes, whole sectors where there are some; error unused */
	SIM_READ_FAILS,     /* either way of reading */
	SIM_SYNC_FAILS,     /* (SB3) */
	SIM_ZERO_FAILS,     /* of a range, done in part (SB4) */
	SIM_BACKING_FAULTS,
};

enum sim_sync_point {
	SIM_SYNC_BEFORE, /* it was called, and has made nothing durable */
	SIM_SYNC_AFTER,
};

struct sim_backing_counts {
	uint64_t submits;
	uint64_t writes;       /* completed, also short ones, not failed ones */
	uint64_t write_bytes;
	uint64_t reads;
	uint64_t zeroes;       /* ranges zeroed */
	uint64_t zero_bytes;
	uint64_t punches;      /* of these ranges, as holes */
	uint64_t syncs;        /* called */
	uint64_t syncs_failed;
	uint64_t faults;       /* injected ones that came true */
	uint64_t closes;
	/* Breaches of the contract; a test expects 0: */
	uint64_t misaligned;        /* offset, length or memory; the request fails with -EINVAL */
	uint64_t past_the_end;      /* the same */
	uint64_t changed_in_flight; /* the memory of a write changed between submit and reap */
	uint64_t closed_in_flight;
};

/* Says whether a piece survives; i counts from 0 in the order of submission. */
typedef bool (*sim_keep_fn)(void *arg, size_t i, const struct sim_piece *piece);
typedef void (*sim_sync_fn)(void *arg, enum sim_sync_point point, int result);

/* ---- private: use the functions ---- */

struct sim_stored_piece {
	uint64_t off;
	uint64_t write;
	uint64_t written_at; /* 0: in flight; else the value of the clock when it completed */
	size_t len;
	uint8_t data[SIM_SECTOR];
};

struct sim_flight {
	struct pc_io *io;
	uint64_t write; /* 0: a read */
};

struct sim_fault {
	uint64_t left; /* operations until it comes true, that one included; 0: never */
	int error;
	bool sticky;
};

struct sim_backing {
	struct pc_backing base; /* first, so that the one is the other */

	pthread_mutex_t lock;
	pthread_cond_t wake; /* the stall ended */
	uint8_t *now;
	uint8_t *durable;
	uint64_t *owed; /* per sector, 0: nothing */
	uint64_t owed_count;
	bool *touched; /* per sector, since the reset */
	size_t *touched_list;
	size_t touched_count;
	struct sim_stored_piece *pieces;
	size_t piece_count;
	size_t piece_room;
	struct sim_flight flights[PC_BACKING_DEPTH_MAX];
	unsigned flight_count;
	uint64_t clock; /* grows with each completion */
	uint64_t writes_submitted;
	uint64_t random_state; /* 0: in order */
	struct sim_fault faults[SIM_BACKING_FAULTS];
	struct sim_backing_counts counts;
	int zero_refused;  /* what a range of zeroes is answered with: 0, it can; else negative errno. Set while idle */
	int punch_refused;
	bool stalled;
	unsigned waiting;
	sim_sync_fn hook; /* set while idle */
	void (*submit_hook)(void *arg);
	void *hook_arg;
};

static inline void sim_backing_unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

static inline pthread_mutex_t *sim_backing_lock(struct sim_backing *sim)
{
	pthread_mutex_lock(&sim->lock);
	return &sim->lock;
}

/* To the end of the block. */
#define SIM_BACKING_HOLD(sim) \
	__attribute__((cleanup(sim_backing_unlock), unused)) pthread_mutex_t *held = sim_backing_lock(sim)

/* ---- life ---- */

/* All zero, nothing pending. align_bytes: 1 as a buffered file, 512 as O_DIRECT. -ENOMEM. */
int sim_backing_new(uint64_t size_bytes, uint32_t align_bytes, struct sim_backing **ret_sim);
void sim_backing_free(struct sim_backing *sim);

/* To be handed to the library; queue_depth and readonly may be set before. */
static inline struct pc_backing *sim_backing_base(struct sim_backing *sim)
{
	return &sim->base;
}

/* ---- what is there ---- */

static inline const uint8_t *sim_backing_now(const struct sim_backing *sim)
{
	return sim->now;
}

static inline const uint8_t *sim_backing_durable(const struct sim_backing *sim)
{
	return sim->durable;
}

size_t sim_backing_pending(struct sim_backing *sim);
struct sim_piece sim_backing_piece(struct sim_backing *sim, size_t i);
struct sim_backing_counts sim_backing_counts(struct sim_backing *sim);

/*
 * The online rule of a dirty_tail update: every byte ever submitted is durable, by a write that succeeded and a sync
 * that was called after it completed and that succeeded.
 */
bool sim_backing_all_synced(struct sim_backing *sim);

/* ---- what may be left ---- */

/* Power cut: the durable image and the kept pieces, in the order of submission. NULL for `keep` keeps none. */
void sim_backing_crash_image(struct sim_backing *sim, uint8_t *ret_image, sim_keep_fn keep, void *arg);

/* Power cut: the durable image and exactly these pieces, in this order. */
void sim_backing_crash_image_of(struct sim_backing *sim, uint8_t *ret_image, const size_t *pieces, size_t count);

/*
 * kill -9 of the owner of `source`, as seen in `sim`, of the same size: what was written there is pending here; of what
 * was in flight the kept pieces are written, the others never were. `source` stays as it is.
 */
void sim_backing_kill_into(struct sim_backing *sim, struct sim_backing *source, sim_keep_fn keep, void *arg);

/*
 * Power cut: `target`, of the same size, starts with the durable image and the kept pieces, as after reset_to().
 * Returns a hash of that image.
 */
uint64_t sim_backing_crash_into(struct sim_backing *sim, sim_keep_fn keep, void *arg, struct sim_backing *target);

/* Everything is `image`, nothing is pending or failing, the counts are 0. */
void sim_backing_reset_to(struct sim_backing *sim, const uint8_t *image);

/* The same, but fast: only where something was written or patched since reset_to() with the same image. */
void sim_backing_restore(struct sim_backing *sim, const uint8_t *image);

/* Put bytes into both images, as if they had always been there. */
void sim_backing_patch(struct sim_backing *sim, uint64_t off, const uint8_t *data, size_t len);

/* ---- what happens ---- */

void sim_backing_set_hook(struct sim_backing *sim, sim_sync_fn hook, void *arg);

/* Called before requests are taken, with what sim_backing_set_hook() was given as `arg`. */
void sim_backing_set_submit_hook(struct sim_backing *sim, void (*hook)(void *arg));

/* The nth operation of this kind from now on fails, 1 being the next; sticky: and all that follow. nth 0: none. */
void sim_backing_inject(struct sim_backing *sim, enum sim_backing_fault fault, uint64_t nth, int error, bool sticky);
void sim_backing_heal(struct sim_backing *sim); /* no more faults */

/* 0: all complete at once, in order. Else some of them, in an order drawn from the seed. */
void sim_backing_shuffle(struct sim_backing *sim, uint64_t seed);

/* While stalled, completions, syncs and reads wait; sim_backing_waiting() tells how many threads do. */
void sim_backing_stall(struct sim_backing *sim, bool stalled);
unsigned sim_backing_waiting(struct sim_backing *sim);

#endif
