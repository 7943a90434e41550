/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_media.h - a media in memory that knows what a power cut may leave of it.
 *
 * The view is what the program sees, through pc_media.base, which is mapped read-only. The durable image is what every
 * power cut keeps. In between are pending stores, kept per unit and in program order:
 *
 *   granularity   unit        torn at     a store is durable after
 *   cache line    64 bytes    8 bytes     streamed: a drain by its thread; cached: a flush, then a drain by the flusher
 *   byte          64 bytes    8 bytes     streamed: a drain by its thread; cached: any drain
 *   page          4096 bytes  512 bytes   a sync that was asked for after it
 *
 * A pending store may be on the media already at any time, so a crash image is made by choosing, per unit:
 * (S1) Cached stores persist in program order: a prefix of them, and any subset of the words of the last one.
 * (S2) Streamed stores persist in any order: any subset of their words. So do stores on page granularity, by sectors.
 * (S3) Streamed stores to one word, or to one sector, persist in program order. An aligned 8-byte store never tears.
 */
#ifndef PC_SIM_MEDIA_H
#define PC_SIM_MEDIA_H

#include "media.h"

#define SIM_PARTS 8u /* words of a line, or sectors of a page */
#define SIM_WHOLE 0xffu

struct sim_media;

/* All zero. bytes: a multiple of PC_PAGE. NULL: no memory. */
struct sim_media *sim_media_new(uint64_t bytes, enum pcache_granularity granularity);
void sim_media_delete(struct sim_media *sim);

/*
 * The media for the library. pc_media_close() ends its use and nothing else: images and pending stores stay, and it can
 * be opened again. One open at a time.
 */
struct pc_media *sim_media_open(struct sim_media *sim, bool readonly);
bool sim_media_is_open(const struct sim_media *sim);

/* Both are sim_media_bytes() long. The view is also what a killed process leaves. */
uint64_t sim_media_bytes(const struct sim_media *sim);
const uint8_t *sim_media_view(const struct sim_media *sim);
const uint8_t *sim_media_durable(const struct sim_media *sim);

/* View and durable image become this one; nothing is pending, no byte is poisoned. */
void sim_media_reset_to(struct sim_media *sim, const uint8_t *image);

/*
 * The process was killed, the machine goes on: its stores stay visible. On cache-line granularity whatever was pending
 * is now somewhere in the caches and needs a flush and a drain by somebody else; on byte granularity it is durable.
 * Also ends the use of the media, as close does.
 */
void sim_media_kill(struct sim_media *sim);

/* Everything pending reaches the media by itself. */
void sim_media_settle(struct sim_media *sim);

/* Pending units, and whether one of them is in the range. */
size_t sim_media_pending(struct sim_media *sim);
bool sim_media_is_pending(struct sim_media *sim, uint64_t off, size_t len);

/* Crash images. */

struct sim_unit {
	size_t number; /* of the pending units; holds until the next store, drain or sync */
	uint64_t off;
	uint32_t len;
	uint32_t cached;   /* pending stores of each kind; at least one in all */
	uint32_t streamed;
	bool is_meta; /* as sim_media_tag() says */
};

/* What persisted of a unit. All zero: nothing, as in the durable image. */
struct sim_choice {
	uint32_t cached;        /* the first so many; of the last of them only the parts in cached_torn */
	uint32_t streamed;      /* none after the first so many; of the last of them only the parts in streamed_torn, */
	uint8_t cached_torn;
	uint8_t streamed_torn;
	uint8_t streamed_older; /* and of the ones before it only the parts in either mask */
};

/* Called once for each pending unit, in the order of their numbers. May not call the simulator. */
typedef struct sim_choice (*sim_choose_fn)(const struct sim_unit *unit, void *arg);

/* Ready choosers, and what each takes as its argument. */
struct sim_choice sim_choose_none(const struct sim_unit *unit, void *unused);
struct sim_choice sim_choose_all(const struct sim_unit *unit, void *unused);
struct sim_choice sim_choose_only(const struct sim_unit *unit, void *number);    /* size_t * */
struct sim_choice sim_choose_all_but(const struct sim_unit *unit, void *number); /* size_t * */
struct sim_choice sim_choose_subset(const struct sim_unit *unit, void *bits);    /* uint64_t *, bit n: unit n */

struct sim_random {
	uint64_t state; /* the seed, and moves on with each use */
	uint8_t meta_percent; /* units that persist at all */
	uint8_t data_percent;
	uint8_t older_percent; /* of these, units that may lack their newest stores */
	uint8_t torn_percent;  /* of these, units that are torn */
};
struct sim_choice sim_choose_random(const struct sim_unit *unit, void *random); /* struct sim_random * */

void sim_media_tag(struct sim_media *sim, bool (*is_meta)(uint64_t off, void *arg), void *arg);

/* Pending unit `number`, counted from 0. */
struct sim_unit sim_media_unit(struct sim_media *sim, size_t number);

/* A crash image as a whole; ret_image is sim_media_bytes() long. */
void sim_media_crash_image(struct sim_media *sim, sim_choose_fn choose, void *arg, uint8_t *ret_image);

/* The same in place: image holds the durable image, and afterwards the crash image. Unpatch takes it back. */
void sim_media_patch(struct sim_media *sim, sim_choose_fn choose, void *arg, uint8_t *image);
void sim_media_unpatch(struct sim_media *sim, uint8_t *image);

/*
 * Reset `target`, which is closed and has the same size and granularity, to a crash image of `source`. Costs as much as
 * was changed in both since the last time; a source has one target at a time, another one is filled anew. Returns the
 * hash of the image: equal for equal images.
 */
uint64_t sim_media_crash_into(struct sim_media *source, sim_choose_fn choose, void *arg, struct sim_media *target);

/*
 * kill -9 of the owner of `source`, as seen in `target`, which is closed: the view is the same, and what was pending is
 * pending there, as sim_media_kill() says. Returns a hash of the view. `source` stays as it is.
 */
uint64_t sim_media_kill_into(struct sim_media *source, struct sim_media *target);

/* Observers and faults. */

enum sim_primitive {
	SIM_COPY = 1,
	SIM_STORE8 = 2,
	SIM_SET = 4,
	SIM_FLUSH = 8,
	SIM_DRAIN = 16,
	SIM_SYNC = 32,
	SIM_READ = 64,
	SIM_ANY = 127,
};

struct sim_hooks {
	/* SIM_DRAIN or SIM_SYNC, before it takes effect: a crash point. May use the simulator, but not store. */
	void (*crash_point)(enum sim_primitive primitive, void *arg);
	/* A store, before it takes effect; data is NULL for SIM_SET. May look, but not store. */
	void (*store)(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg);
	/* SIM_DRAIN or SIM_SYNC, after it took effect. */
	void (*drained)(enum sim_primitive primitive, void *arg);
	void (*read)(void *arg); /* before it looks */
	void *arg;
};

/* NULL: none any more. */
void sim_media_hook(struct sim_media *sim, const struct sim_hooks *hooks);

/* Calls of primitives so far, all kinds. */
uint64_t sim_media_calls(struct sim_media *sim);

/*
 * From now on the nth call (from 1) of the primitives in the mask fails with this negative errno; sticky: and every
 * later one. nth 0: no more faults. A failed store on page granularity stores its first half. A failed sync there is
 * final, as M1 says, until the media is opened again.
 */
void sim_media_fail(struct sim_media *sim, unsigned primitives, uint64_t nth, int error, bool sticky);
bool sim_media_has_failed(struct sim_media *sim); /* since sim_media_fail() */

/* The 64-byte line there is lost: reads give -EIO and the view garbage, until a store covers all of it. */
void sim_media_poison(struct sim_media *sim, uint64_t off);

/* Flip these bits of the byte there, in the view and the durable image. */
void sim_media_flip(struct sim_media *sim, uint64_t off, uint8_t bits);

#endif
