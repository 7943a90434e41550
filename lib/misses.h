/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * misses.h - the backing reads that are under way because of misses: other readers of the range share them, and whoever
 * takes a write out of the index makes those stale that may have read what was there before.
 */
#ifndef PC_MISSES_H
#define PC_MISSES_H

#include "util.h"

#include <pthread.h>
#include <stdatomic.h>

/* One backing read. */
struct pc_miss {
	struct pc_miss *next;
	uint64_t off;
	uint64_t len;
	uint8_t *data;       /* `len` bytes once it is done */
	bool is_private;     /* never joined */
	_Atomic bool stale;  /* the data may be older than a write that was acknowledged: never to be kept or shared */
	bool is_done;
	int result; /* of the read; then 0 or negative errno */
	unsigned users;
};

struct pc_misses {
	pthread_mutex_t lock; /* guards the list, and all of its elements but the data */
	pthread_cond_t done;

	struct pc_miss *first;
	_Atomic uint32_t count; /* of the list; read without the lock as a hint */
};

void pc_misses_init(struct pc_misses *misses);
void pc_misses_destroy(struct pc_misses *misses);

/* Room for the data included, aligned to a page. -ENOMEM. */
int pc_miss_new(uint64_t off, uint64_t len, struct pc_miss **ret_miss);
void pc_miss_delete(struct pc_miss *miss);

/*
 * The caller is about to read `miss` because bytes from `off` on are missing. NULL: it is in the list now, to be ended
 * by pc_misses_leave(). Else another one that has `off` and is done, to be ended in the same way; `miss` is still the
 * caller's.
 */
struct pc_miss *pc_misses_join(struct pc_misses *misses, struct pc_miss *miss, uint64_t off);

/*
 * In the list, whoever else reads the range. Private: nobody may join it, because its read ends when the caller likes, and
 * whoever waited for it might be the one who has to see to that.
 */
void pc_misses_add(struct pc_misses *misses, struct pc_miss *miss, bool is_private);

/* The read of a miss in the list has ended. */
void pc_misses_finish(struct pc_misses *misses, struct pc_miss *miss, int result);

/* The caller does not need it any more; the last one frees it. `owner`: it goes off the list. */
void pc_misses_leave(struct pc_misses *misses, struct pc_miss *miss, bool owner);

/* Bytes of this range are about to go from the index, and what is on the backing is newer than it was. */
void pc_misses_supersede(struct pc_misses *misses, uint64_t off, uint64_t len);

/* What is on the backing has changed, or is about to, without a write that a miss could have seen in the index. */
void pc_misses_make_stale(struct pc_misses *misses, uint64_t off, uint64_t len);

#endif
