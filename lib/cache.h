/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cache.h - one open cache: the modules it is made of, the state that the flows share, and the flows' entry points.
 *
 *     write       io -> stream (reserve) -> media (copy, kset, fence) -> index (publish, kill)
 *     read hit    io -> index -> media
 *     read miss   miss -> backing -> caller, then clean (FILL)
 *     clean       clean -> stream (reserve) -> media (copy, fence) -> index (claim) -> media (line, fence)
 *     rotate      rotate -> segment (open, link, seal) -> stream
 *     write-back  writeback -> media -> overlay -> backing (write, sync) -> tails
 *     reclaim     reclaim -> move (HOT) -> index (drop) -> segment (generation, free)
 *     open        recover -> replay -> index, segment, stream
 */
#ifndef PC_CACHE_H
#define PC_CACHE_H

#include "backing.h"
#include "bypass.h"
#include "config.h"
#include "ghost.h"
#include "health.h"
#include "histogram.h"
#include "holds.h"
#include "index.h"
#include "lost.h"
#include "misses.h"
#include "peek.h"
#include "segment.h"
#include "sequential.h"
#include "stats.h"
#include "stream.h"

/* What the cache info record says. */
struct pc_identity {
	uint8_t uuid[16]; /* constant; of the superblock */
	uint64_t epoch;   /* constant after open */
	uint8_t backing_id[16];
	uint64_t backing_bytes;
	uint32_t mode;
	uint32_t gc_percent;
	bool may_bypass;    /* the backing may be written past the cache in this epoch */
	bool is_clean;      /* closed in order, and nothing was stored since */
	bool is_dropping;   /* what the cache holds is void */
	bool has_lost;      /* there is a table of lost ranges; changed by write-back alone */
	uint64_t first_seq; /* then: of the segment that the log begins with */
};

/* Where a background thread sleeps. Events are counted under the state lock, so that none is lost. */
struct pc_worker {
	pthread_t thread;
	pthread_cond_t wake;
	uint64_t events;
	bool running;
	bool ended; /* it does nothing any more */
};

/* Segments of a clean stream in the order in which they were opened; the last one may be open. */
struct pc_age {
	uint32_t *ids;
	uint32_t count;
};

/* A stream of clean blocks: FILL or HOT. */
struct pc_clean {
	struct pc_stream stream;
	enum pc_stream_kind kind;
	uint64_t next_seq; /* guarded by stream.rotate_lock */
	struct pc_age age; /* guarded by the state lock; only reclaim takes from it */
};

/* The page of statistics (live.c). */
struct pc_live_page {
	_Atomic bool is_on;
	_Atomic bool asked; /* something has changed, or may have */
	uint64_t number;    /* of the newest page */
	uint64_t next_ns;   /* not before */
	struct pcache_stats shown;
};

/* What was found damaged, and where it is; a segment of PC_SEGMENT_NONE: what may be stale. */
struct pc_damaged {
	uint64_t off; /* on the backing */
	uint64_t gen;
	uint32_t len;
	uint32_t segment;
	uint32_t data_off;
};

#define PC_DAMAGE_MAX 256u

struct pc_damage {
	pthread_mutex_t lock; /* guards what follows */

	uint32_t count;
	struct pc_damaged items[PC_DAMAGE_MAX];
};

struct pcache {
	struct pc_config config;
	struct pc_media *media;
	struct pc_backing *backing;
	struct pc_segments *segments;
	struct pc_index *index;
	struct pc_stream write; /* the WRITE stream */
	struct pc_clean clean[2]; /* pc_clean_of() */
	struct pc_misses misses;
	struct pc_damage damage;
	struct pc_lost lost;
	struct pc_lost_set lost_next; /* what a batch makes of it; write-back's own */
	struct pc_meta lost_meta;     /* the same */
	struct pc_sequential sequential;
	uint64_t carried_blocks;  /* moved to HOT beyond what each victim may be; reclaim's own (Q5) */
	struct pc_ghost *evicted; /* blocks that reclaim dropped without a second look */
	struct pc_ghost *touched; /* blocks that were missed once, for the admission by second touch */
	struct pc_stats *stats;
	struct pc_log user_log;   /* behind config.log (U6) */
	const uint32_t *fork_guard; /* its page reads zero in a child of fork() */
	uint64_t max_atomic_bytes;
	uint64_t open_ns;
	uint64_t replay_ns;
	uint64_t replay_keys;
	uint64_t replay_voided;
	_Atomic uint64_t salvage_segments; /* what a salvage found damaged: records of segments */
	_Atomic uint64_t salvage_gaps;     /* ... places where the log does not go on, or tails are missing */
	_Atomic uint64_t salvage_lines;    /* ... lines of key sets */
	uint64_t recovered_end_bytes;
	struct pc_meta super_meta;
	bool stepped; /* no threads: whoever waits does the background work itself */

	_Atomic uint64_t tunables[PC_TUNABLES];
	_Atomic bool is_reclaiming;     /* the media may have what the index does not have any more (Q6) */
	struct pc_bypass bypass;
	_Atomic int kill_error;         /* of a kill that could not be stored: the media failed, which cannot be said there */
	_Atomic bool clean_emptied;     /* a clean segment may have no live bytes any more */
	_Atomic bool clean_starved;     /* a clean stream was refused a segment */
	/* On one cache line: every writer looks at these, and few change them. */
	_Alignas(PC_CACHE_LINE) _Atomic int media_error; /* sticky: the media failed (C3) */
	_Atomic bool failure_is_reported;
	_Atomic bool abandoned;         /* close gave up on write-back: it ends as soon as the backing answers */
	_Atomic bool writeback_asleep;  /* nothing is dirty: the next writer wakes write-back */
	_Atomic uint8_t mode;           /* enum pcache_mode in force; as the tunable */
	struct pc_holds holds;

	pthread_mutex_t identity_lock; /* rank PC_RANK_INFO; guards what follows, held across the media update */

	struct pc_identity identity;
	struct pc_meta info_meta;

	pthread_mutex_t state_lock; /* rank PC_RANK_STATE; guards what follows */

	struct pc_worker writeback;
	struct pc_worker reclaim;
	pthread_cond_t space;    /* a segment became free, or waiting for one makes no sense any more */
	pthread_cond_t progress; /* dirty_tail moved, or cannot */
	struct pc_meta tails_meta;   /* only the write-back flow changes it */
	struct pc_pos dirty_tail;    /* durable */
	struct pc_pos batch_end;     /* durable: a batch that began goes at least this far */
	struct pc_pos drain_goal;    /* somebody waits until dirty_tail is here */
	unsigned drainers;
	struct pc_pos age_goal;      /* what is dirty for too long ends here */
	uint64_t age_deadline_ns;    /* 0: not armed */
	uint64_t oldest_seq;         /* oldest segment of the WRITE stream */
	struct pc_health health;
	uint64_t stepped_ns;         /* the clock of a stepped cache */
	unsigned callbacks;          /* functions of the user that are running */
	bool is_mute;                /* none may be called any more */
	bool is_orphan;              /* close has returned; the write-back thread frees everything */
	unsigned space_waiters;
	uint64_t waves;              /* parts of batches that were written */
	uint64_t pace_ns;            /* up to here the time is used up (Z1) */
	struct pcache_queue *queues; /* of pcache_queue_create() */
	bool high_water;             /* between the high and the low mark of dirty log */
	bool stop;
	uint64_t stalls;
	uint64_t stall_ns;
	uint64_t stall_max_ns;

	struct pc_histogram latency[PCACHE_LATENCIES]; /* by enum pcache_latency; no lock */
	struct pc_live_page live; /* live.c says who may */
};

/* ---- cache.c: life cycle, shared state ---- */

/*
 * Takes over media and backing in every case, also on failure. `stepped`: no threads are started, and background work
 * happens in pc_cache_step() and wherever a caller would wait. -E... as pcache_open().
 */
int pc_cache_open(const struct pc_config *config, struct pc_media *media, struct pc_backing *backing, bool stepped,
		  struct pcache **ret_cache);
int pc_cache_close(struct pcache *cache, bool drain);

/* Throw away what a cache holds that is not open. Takes over the media. */
int pc_cache_forget(const struct pc_config *config, struct pc_media *media);

/* Release everything without a store: after a failed open, or as a crash in tests. Threads are stopped. */
void pc_cache_abandon(struct pcache *cache);

/*
 * The media failed: every later write and flush gets -EIO, what can still be read is drained. Returns -EIO. May be
 * called with locks held; the message waits for pc_cache_report_failure(), which may not.
 */
int pc_cache_fail_media(struct pcache *cache, int error);
void pc_cache_report_failure(struct pcache *cache);

static inline bool pc_cache_is_failed(const struct pcache *cache)
{
	return atomic_load_explicit(&cache->media_error, memory_order_relaxed) != 0;
}

/* A call ends well that began with pc_stats_sample() or at a time known otherwise; 0: it is not one that is timed. */
void pc_cache_count_time(struct pcache *cache, enum pcache_latency which, uint64_t start_ns);

static inline void pc_cache_end_sample(struct pcache *cache, enum pcache_latency which, uint64_t start_ns)
{
	if (pc_unlikely(start_ns != 0))
		pc_cache_count_time(cache, which, start_ns);
}

/* Where the next write goes, and what is not on the backing yet; the state lock is not held. */
struct pc_pos pc_cache_head(const struct pcache *cache);
struct pc_pos pc_cache_dirty_tail(struct pcache *cache);

/* Log bytes from one position to another, estimated by lines within a segment. */
uint64_t pc_cache_log_bytes(const struct pcache *cache, struct pc_pos from, struct pc_pos to);

/* Start and stop the background threads; state lock not held. */
int pc_cache_start_threads(struct pcache *cache);
void pc_cache_stop_threads(struct pcache *cache);

/* Do one piece of background work; true if there was any that got on. For stepped caches. */
bool pc_cache_step(struct pcache *cache);

/* An event for a worker; the caller holds the state lock. */
static inline void pc_worker_wake_locked(struct pc_worker *worker)
{
	worker->events++;
	pthread_cond_signal(&worker->wake);
}

void pc_cache_wake_writeback(struct pcache *cache);

/* The last thing that a worker does: the cache may be gone afterwards. */
void pc_cache_end_worker(struct pcache *cache, struct pc_worker *worker);

/* ---- the flows ---- */

/* What one key set is made of; room for all keys is the caller's. */
struct pc_write_plan {
	struct pc_key *keys; /* data_off counts from the first unit of the reservation */
	const uint8_t **sources;
	uint8_t *lines; /* pc_kset_lines(count) of them */
	uint32_t count;
	uint32_t units;
	bool is_whole;              /* all or nothing in every mode: it goes to the cache */
	const struct pc_hold *hold; /* the writer's own, or NULL */
};

/* What the index is told of a key. */
static inline enum pc_mapping_kind pc_kind_of_key(const struct pc_key *key)
{
	if (pc_likely(key->flags == 0))
		return PC_MAPPING_DATA;
	if (key->flags == PCM_KEY_INVALIDATE)
		return PC_MAPPING_TOMBSTONE;
	return PC_MAPPING_ZERO;
}

/* Keys that a range is cut into, at multiples of PCM_KEY_MAX_BYTES. */
static inline uint64_t pc_plan_keys(uint64_t off, uint64_t len)
{
	return len == 0 ? 0 : (off + len - 1) / PCM_KEY_MAX_BYTES - off / PCM_KEY_MAX_BYTES + 1;
}

/* plan.c: memory for a plan of at most so many keys. -ENOMEM. */
int pc_plan_new(uint64_t keys, struct pc_write_plan *ret_plan);
void pc_plan_free(struct pc_write_plan *plan);

/* The range as keys without data: `flag` is one of PCM_KEY_*. Plans may hold both kinds. */
void pc_plan_add_empty(struct pc_write_plan *plan, uint16_t flag, uint64_t len, uint64_t off);

/* Keys without data that one plan may hold in this cache. */
uint32_t pc_plan_empty_max(const struct pcache *cache);

void pc_plan_add(struct pc_write_plan *plan, const uint8_t *source, size_t len, uint64_t off);

/*
 * What a write is made of, as the mode has it: here it is decided whether it goes to the cache or around it. To the
 * cache all of it goes or nothing.
 */
int pc_io_write_plan(struct pcache *cache, struct pc_write_plan *plan, bool nowait);

/* To the cache, whatever the mode. -EAGAIN: with nowait there is no room, or somebody holds the range. */
int pc_io_log_plan(struct pcache *cache, struct pc_write_plan *plan, bool nowait);

/* Around the plans of one call: may it go on at all; and what the caller gets for it. */
int pc_io_begin_write(const struct pcache *cache, size_t len, unsigned flags);
ssize_t pc_io_end_write(struct pcache *cache, size_t done, int error, unsigned flags);
int pc_io_finish_write(struct pcache *cache, unsigned flags); /* as durable as the mode and the flags have it */

/* vector.c. As io.c; extents do not overlap. */
ssize_t pc_vector_read(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags);
ssize_t pc_vector_write(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags);
int pc_vector_write_atomic(struct pcache *cache, const struct pcache_extent *extents, size_t count, unsigned flags);

/* zero.c. As io.c; `flag` is PCM_KEY_ZERO or PCM_KEY_DISCARD. A range up to this length is one key set. */
int pc_zero_range(struct pcache *cache, uint16_t flag, uint64_t len, uint64_t off, unsigned flags);
uint64_t pc_zero_atomic_max(const struct pcache *cache);

/* io.c. len > 0, inside the backing, flags checked. Bytes done, or negative errno. */
ssize_t pc_io_write(struct pcache *cache, const void *buf, size_t len, uint64_t off, unsigned flags);
ssize_t pc_io_read(struct pcache *cache, void *buf, size_t len, uint64_t off, unsigned flags);
int pc_io_flush(struct pcache *cache);
int pc_io_flush_media(struct pcache *cache); /* of what is in the cache alone */

/*
 * Read a piece out of its whole key, checked. -EBADMSG; -EIO: cannot be read; -EAGAIN: look up again, it has moved, or was
 * bad and on the backing, and is forgotten; -ENOMEM.
 */
int pc_io_read_checked(struct pcache *cache, const struct pc_piece *piece, void *buf);

/*
 * What the cache has from off on, up to the first hole or to where one look-up ends: its bytes, or negative errno.
 * *ret_hole: bytes that are missing behind them; 0: look again from there.
 */
ssize_t pc_io_read_cached(struct pcache *cache, void *buf, size_t len, uint64_t off, uint64_t *ret_hole);

/* A read call went well; start_ns: of its first miss, else what pc_stats_sample() said. */
void pc_io_end_read(struct pcache *cache, size_t len, bool missed, uint64_t start_ns);

/*
 * hold.c: the range is the caller's until he ends the hold: nobody else writes there, no miss of it is kept, and what was
 * being written when it began is in the index. Reads go on. In between the caller must not wait for space. For plans:
 * does somebody else hold a key's range; wait until nobody does.
 */
void pc_hold_begin(struct pcache *cache, struct pc_hold *hold, uint64_t off, uint64_t end);
void pc_hold_end(struct pcache *cache, struct pc_hold *hold);
bool pc_hold_stops(struct pcache *cache, const struct pc_write_plan *plan);
void pc_hold_await(struct pcache *cache, const struct pc_write_plan *plan);

/*
 * around.c: one contiguous plan with data goes to the backing. And the syncs of the backing: of what was written around
 * the cache; and of anything else, with the failures as they were before it was written.
 */
int pc_around_write(struct pcache *cache, struct pc_write_plan *plan);
int pc_around_flush(struct pcache *cache);
int pc_around_sync_backing(struct pcache *cache, uint64_t failures_before);

static inline enum pcache_mode pc_cache_mode(const struct pcache *cache)
{
	return (enum pcache_mode)atomic_load_explicit(&cache->mode, memory_order_relaxed);
}

static inline struct pc_clean *pc_clean_of(struct pcache *cache, enum pc_stream_kind kind)
{
	return &cache->clean[kind - PC_STREAM_FILL];
}

static inline uint64_t pc_tunable(const struct pcache *cache, enum pcache_tunable tunable)
{
	return atomic_load_explicit(&cache->tunables[tunable], memory_order_relaxed);
}

/* miss.c: bytes [off, off + len) of one leaf are a hole. How many were read; 0: it is none any more, look again. */
ssize_t pc_miss_read(struct pcache *cache, void *buf, size_t len, uint64_t off);

/* The same in two halves, for a caller that does not wait for the backing. */
struct pc_miss_begun {
	struct pc_miss *miss;
	uint64_t off;
	size_t len;     /* that the caller lacks, from off on */
	bool is_listed; /* it may be kept */
};

/*
 * 0: read miss->len bytes at miss->off of the backing into miss->data, then pc_miss_end(). -EAGAIN: no hole any more,
 * look again. -ENOMEM.
 */
int pc_miss_begin(struct pcache *cache, size_t len, uint64_t off, struct pc_miss_begun *ret_begun);

/* `result` of the read: 0 or negative errno. Returns as pc_miss_read(). `begun` is gone. */
ssize_t pc_miss_end(struct pcache *cache, struct pc_miss_begun *begun, int result, void *buf);
void pc_miss_cancel(struct pcache *cache, struct pc_miss_begun *begun); /* instead of end */

/* False: no miss is ever kept, as things are. */
bool pc_miss_is_kept(const struct pcache *cache);

/*
 * [off, off + len): whole blocks of one leaf, which go to FILL where they are holes, whatever the admission would say.
 * 1: there was no room for all; 0; or negative errno.
 */
int pc_miss_fetch(struct pcache *cache, uint64_t off, size_t len);

/* look.c: all figures; the size is the caller's. */
void pc_cache_look(struct pcache *cache, struct pcache_stats *stats);

/*
 * live.c: they are shown in the file; before the threads start, on the reclaim thread, and after they ended. When to come
 * again; 0: not before somebody asks.
 */
void pc_live_start(struct pcache *cache);
uint64_t pc_live_tick(struct pcache *cache, uint64_t now_ns);
void pc_live_finish(struct pcache *cache);

/* range.c. Ranges are inside the backing. What is found of one: at most `max` pieces; how many. */
size_t pc_range_query(struct pcache *cache, uint64_t off, uint64_t len, struct pcache_range *ranges, size_t max);

/* range_drop.c: how many bytes stay, dirty, or go on being lost, or negative errno. */
int64_t pc_range_invalidate(struct pcache *cache, uint64_t off, uint64_t len);

/* How many bytes from off on were gone through, or negative errno. -EAGAIN: nowait, and something is missing. */
int64_t pc_range_prefetch(struct pcache *cache, uint64_t off, uint64_t len, bool nowait);

/* clean.c: room for blocks in FILL or HOT, and what becomes of it. */
struct pc_clean_room {
	struct pc_clean *clean;
	const struct pc_segment *segment;
	uint64_t seq;
	struct pc_reservation reservation;
	uint32_t count; /* blocks */
};

int pc_clean_init(struct pcache *cache);
void pc_clean_destroy(struct pcache *cache);

/* Room for `count` blocks or fewer; false: none, and none is waited for. Balanced by pc_clean_commit(). */
bool pc_clean_reserve(struct pcache *cache, enum pc_stream_kind kind, uint32_t count, struct pc_clean_room *ret_room);

/* Store the data of block i. The caller drains before it publishes a key of it. */
int pc_clean_copy(struct pcache *cache, const struct pc_clean_room *room, uint32_t i, const void *data,
		  uint32_t *ret_crc);

/* Store the key of block i, for the backing at `off`, under a claim of the index; where the index finds it then. */
int pc_clean_store_key(struct pcache *cache, const struct pc_clean_room *room, uint32_t i, uint64_t off, uint32_t crc,
		       struct pc_mapping *ret_mapping);

/* Fence the keys, count the room as done. A media that fails is noted. */
void pc_clean_commit(struct pcache *cache, struct pc_clean_room *room);

/* No more room in the open segment. */
void pc_clean_close(struct pcache *cache, enum pc_stream_kind kind);

/* The index's killer; arg: the cache. And its fence, before the write that killed counts as done: 0 or -EIO. */
void pc_clean_kill(void *arg, uint32_t segment, uint32_t slot);
int pc_clean_fence_kills(struct pcache *cache);

/* Forget a piece of clean data that turned out bad, and its whole key. 0, -EBUSY (it is no longer there), -EIO. */
int pc_clean_forget(struct pcache *cache, const struct pc_mapping *piece);

/*
 * move.c: what is worth keeping of the victim, whose lines these are, goes to HOT; stops when somebody waits for space.
 * Returns how many blocks did.
 */
uint32_t pc_move_hot(struct pcache *cache, const struct pc_segment *victim, enum pc_stream_kind kind,
		     const struct pc_lines *lines);

/* rotate.c: the life of a segment in the WRITE stream. */
int pc_rotate(struct pcache *cache, uint64_t room_seen, bool nowait); /* until `room_seen` is no longer the open one */
int pc_rotate_close(struct pcache *cache);                           /* close the open segment, seal it if all is done */
int pc_rotate_seal(struct pcache *cache, uint32_t segment, enum pc_stream_kind stream, uint64_t seq, uint32_t lines);

/* patience.c: waiting for the backing, and telling the user. */
struct pc_patience {
	uint64_t failures; /* when he came */
	uint64_t mark;     /* of progress, and when it was seen first */
	uint64_t since_ns;
};

void pc_patience_begin_locked(const struct pcache *cache, struct pc_patience *patience);

/* What the waiting caller gets now; 0: he may go on waiting. */
int pc_patience_verdict_locked(const struct pcache *cache, const struct pc_patience *patience);

bool pc_patience_is_stalled_locked(const struct pcache *cache);

/* Until `cond` is signalled, or the verdict may be another one. */
void pc_patience_sleep_locked(struct pcache *cache, struct pc_patience *patience, pthread_cond_t *cond);

/* Those who wait look at the tunable again. */
void pc_patience_wake(struct pcache *cache);

/*
 * A step of write-back ended with `ret`; pc_backing.failures was `failures` before. The media failed. The changes of state are told by
 * pc_patience_tell(), no lock held.
 */
void pc_patience_note_step_locked(struct pcache *cache, int ret, uint64_t failures);
void pc_patience_note_media_locked(struct pcache *cache);
void pc_patience_tell(struct pcache *cache);

/* Before the first message of an open cache; and when nothing of the user's may be called any more (U6). */
void pc_patience_guard_log(struct pcache *cache);
void pc_patience_mute_locked(struct pcache *cache);

/* damage.c: a piece that is damaged, and not on the backing; the same by its place on the media; what may be stale. */
void pc_damage_note(struct pcache *cache, const struct pc_piece *piece);
void pc_damage_note_at(struct pcache *cache, uint64_t off, uint32_t len, uint64_t media_off);
void pc_damage_note_stale(struct pcache *cache, uint64_t off, uint32_t len);
size_t pc_damage_list(struct pcache *cache, struct pcache_range *ranges, size_t max);

/*
 * losses.c: the table of lost ranges. Load stores nothing; -EUCLEAN. Store: durable when it returns 0; -EBADMSG: too many,
 * -EIO: the media failed. Then, when dirty_tail has moved, and at open: what is lost leaves the index.
 */
int pc_losses_load(struct pcache *cache);
int pc_losses_repair(struct pcache *cache); /* as pc_meta_repair() */
int pc_losses_store(struct pcache *cache, const struct pc_lost_set *set);
void pc_losses_leave_index(struct pcache *cache);

/* -EBADMSG, and said, where something of it is lost: of a range that is a hole; of all. Else 0. */
int pc_losses_report(struct pcache *cache, uint64_t off, uint64_t len);
int pc_losses_report_all(struct pcache *cache);

/* scrub.c. -EBADMSG: something is damaged that is not on the backing. */
int pc_scrub(struct pcache *cache, pcache_progress_fn progress, void *arg, uint64_t rate);

/* recover*.c, replay*.c: from the media to a cache that can serve. */
int pc_recover_create(struct pcache *cache);
int pc_recover_open(struct pcache *cache);
int pc_recover_forget(struct pcache *cache); /* empties the cache, and opens nothing */

/*
 * identity.c: the cache info record. Load stores nothing. The updates are durable when they return 0; negative errno:
 * nothing changed in memory.
 */
void pc_identity_new(struct pcache *cache, const uint8_t uuid[16]);
int pc_identity_create(struct pcache *cache); /* not synced */
int pc_identity_load(struct pcache *cache, const uint8_t uuid[16]);
int pc_identity_check_backing(const struct pcache *cache); /* -EMEDIUMTYPE */
int pc_identity_mark_open(struct pcache *cache);           /* one epoch more, not clean; takes the backing over */
int pc_identity_mark_clean(struct pcache *cache);
int pc_identity_begin_drop(struct pcache *cache, uint64_t first_seq); /* and takes the backing over */
int pc_identity_end_drop(struct pcache *cache);

int pc_identity_set_lost(struct pcache *cache, bool has_lost);

/* A setting that outlives the close; -EIO: the media failed. */
int pc_identity_set(struct pcache *cache, enum pcache_tunable tunable, uint64_t value);

static inline bool pc_identity_has(enum pcache_tunable tunable)
{
	return tunable == PCACHE_TUNABLE_GC_PERCENT || tunable == PCACHE_TUNABLE_MODE;
}

/*
 * batch.c: the log in [from, *end) goes to the backing, merged and synced; stores nothing on the media. On a media that
 * failed, a line that was lost ends the batch before it: *end says how far it went. -EIO if that is nowhere. *ret_lost: what
 * is lost when dirty_tail is there.
 */
int pc_batch_write(struct pcache *cache, struct pc_pos from, struct pc_pos *end, struct pc_lost_set *ret_lost);

/* pace.c: a wave has been written; waits as the rate wants it. And how long one may be. */
void pc_pace_wave(struct pcache *cache, uint64_t bytes);
size_t pc_pace_wave_bytes(const struct pcache *cache, size_t most);

/* writeback.c */
int pc_writeback_step(struct pcache *cache); /* 1: a batch went out; 0: nothing could be done; or negative errno */
int pc_writeback_drain(struct pcache *cache, pcache_progress_fn progress, void *arg);
int pc_writeback_through(struct pcache *cache); /* all that was written so far is on the backing; -EIO, -EBADMSG */
void *pc_writeback_thread(void *cache);

/* reclaim.c */
int pc_reclaim_step(struct pcache *cache); /* 1: a segment became free; 0: nothing to do; or negative errno */
bool pc_reclaim_possible_locked(const struct pcache *cache);
void pc_reclaim_wake(struct pcache *cache);
void *pc_reclaim_thread(void *cache);

#endif
