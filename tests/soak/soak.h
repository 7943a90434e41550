/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak.h - what the soak's two processes share: the writer, which is killed, and its parent, which judges.
 *
 * The volume is cut in stripes, dealt to the writer's threads ("lanes") in turn. So each sector has one writer, and
 * each lane knows what its sectors must hold. That knowledge is the diary, in memory that outlives the writer:
 *
 * (K1) `versions` is what each sector holds after the last write of its lane that returned.
 * (K2) A lane has at most one write under way: begun != returned. It is there up to one of its atomic pieces.
 * (K3) begun, returned and settled move in this order around a write; versions is changed between the last two. So a
 *      kill between any two instructions leaves a diary from which the right content follows.
 *
 * A process kill takes nothing from the page cache, so the same holds on every granularity.
 */
#ifndef PC_SOAK_H
#define PC_SOAK_H

#include "api/stamp.h"

#define LANES          4u
#define STRIPE_SECTORS 192u /* neither a multiple of a key's 64 KiB nor of a leaf's 256 KiB */
#define PIECE_BYTES    MIB  /* of one read of the judge */

enum soak_stage {
	STAGE_BEGIN,   /* the process has started */
	STAGE_OPENING,
	STAGE_OPEN,
	STAGE_CLOSING,
	STAGE_CLOSED,
};

enum soak_plan {
	PLAN_WRITE,  /* write until killed */
	PLAN_CLOSE,  /* write so many, then close */
	PLAN_OPEN,   /* open, nothing else */
	PLAN_CREATE, /* the same, and there is no cache yet */
	PLANS,
};

struct lane {
	_Atomic uint64_t begun;    /* version of the write that began last */
	_Atomic uint64_t returned; /* version of the last one that returned */
	_Atomic uint64_t settled;  /* version of the last one that is in `versions` */
	uint64_t sector;           /* of the write that began last */
	uint64_t sectors;
	bool is_zero;              /* it is of zeroes, which carry no stamp */
	uint64_t random;
};

struct diary {
	_Atomic uint32_t stage;
	_Atomic uint64_t writes;         /* returned in this life of the writer */
	_Atomic uint64_t bytes_verified; /* by both processes */
	_Atomic uint64_t lost;           /* sectors that do not hold what they must */
	struct verdict verdict;          /* of the writer */
	struct lane lanes[LANES];
	uint64_t versions[]; /* by sector; with VERSION_ZEROES: no stamp */
};

struct soak {
	const char *cache_path;
	const char *backing_path;
	int fd; /* of the backing */
	uint64_t volume_bytes;
	uint64_t sectors;
	struct pcache_config config;
	struct diary *diary;
	uint64_t max_atomic_bytes;
	struct test_random random;
	uint64_t kills[PLANS];
	uint64_t open_us; /* how long the last ones took */
	uint64_t close_us;
	uint8_t *buf; /* PIECE_BYTES, of the judge */
};

#define VERSION_ZEROES (1ull << 63)

/* Of the write that began last, as it is in `versions`. */
static inline uint64_t lane_version(const struct lane *lane)
{
	return lane->begun | (lane->is_zero ? VERSION_ZEROES : 0);
}

static inline unsigned lane_of(uint64_t sector)
{
	return (unsigned)(sector / STRIPE_SECTORS % LANES);
}

/* Files and diary; the volume is all version 0. False: said why. */
bool soak_init(struct soak *soak);
void soak_free(struct soak *soak);

/* The writer. Never returns. `writes`: for PLAN_CLOSE. */
void soak_child(struct soak *soak, enum soak_plan plan, uint64_t writes) __attribute__((noreturn));

/* One or more kills, then the judgement. False: something was lost or failed, and it was said what. */
bool soak_round(struct soak *soak);

/* How many kills so far. */
uint64_t soak_kills(const struct soak *soak);

/* Compare len bytes that belong at `sector` with the diary. Says what is wrong. */
bool soak_compare(struct soak *soak, const uint8_t *buf, uint64_t sector, uint64_t sectors, const char *where);

/* The cache through the library, closed before and afterwards: what the writer left, settled and judged. */
bool soak_judge(struct soak *soak, bool readonly);

/* The backing alone holds everything. */
bool soak_judge_backing(struct soak *soak);

#endif
