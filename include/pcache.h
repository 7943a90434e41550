/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file pcache.h
 * @brief A durable, crash-safe write-back cache: a persistent-memory file in front of a slow backing file.
 *
 * The cache lives in one file, the *media*: on DAX, CXL memory, an NVDIMM, tmpfs or a plain file on a disk.
 * The *backing* is a regular file or block device; the library puts no metadata on it.
 *
 * @par What is durable, and when
 * On media of byte or cache-line granularity a write that returned survives a power cut. On media of page
 * granularity (plain files) it does after the next pcache_flush(), or on return with #PCACHE_WRITE_FUA.
 * pcache_stats::granularity tells which media this is. A write of at most pcache_stats::max_atomic_bytes is
 * there whole or not at all after a crash. The backing gets the writes in order, batch by batch: even without
 * the media it is at every moment between two batches a consistent, older image.
 *
 * @par Threads and processes
 * Every call but pcache_open() and pcache_close() may be made from any thread at any time. One process owns
 * a cache file at a time. Background threads start in pcache_open(), so open after fork(): a child that
 * inherited a handle gets -ENOTRECOVERABLE from every call.
 *
 * @par Errors
 * Functions return 0 or a count on success and a negative errno on failure; each errno has one meaning:
 *
 * | error | meaning |
 * |---|---|
 * | -EINVAL | a bad argument, or an unknown flag bit |
 * | -ENOENT | no such cache file, and no #PCACHE_OPEN_CREATE |
 * | -EEXIST | the cache exists, and #PCACHE_OPEN_EXCL was given |
 * | -EUCLEAN | not a pcache file, or damaged metadata |
 * | -EBADMSG | a checksum does not match: the cached data or the log is damaged |
 * | -EPROTONOSUPPORT | a format this version does not know |
 * | -ENOTEMPTY | #PCACHE_OPEN_DROP_CLEAN, and the cache holds data that is not on the backing, or ranges are lost |
 * | -EMEDIUMTYPE | this cache belongs to another backing |
 * | -EBUSY | the cache is already open |
 * | -EROFS | opened read-only, or a file that cannot be written |
 * | -ENOSPC | no room for the cache file, or a write past the end of the backing |
 * | -EBADF | the backing descriptor is not open for reading |
 * | -E2BIG | the call must be atomic, or was given #PCACHE_NOWAIT, and is longer than pcache_stats says |
 * | -EAGAIN | #PCACHE_NOWAIT was given and the call would have to wait |
 * | -EIO | the media or the backing failed |
 * | -EOPNOTSUPP | not possible on this media or in this version |
 * | -ECANCELED | the progress callback asked to stop |
 * | -ETIMEDOUT | the backing does not answer; nothing is lost |
 * | -ENOTRECOVERABLE | the handle was inherited over fork() |
 * | -ENOMEM | out of memory; nothing was changed |
 *
 * A refusal is also explained in words to the log callback, if there is one to be called.
 */
#ifndef PCACHE_H
#define PCACHE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @name Version of this header
 *  @{ */
#define PCACHE_VERSION_MAJOR 0 /**< Incompatible changes. */
#define PCACHE_VERSION_MINOR 1 /**< Additions. */
#define PCACHE_VERSION_PATCH 0 /**< Corrections. */
/** @} */

/** @name Flags of pcache_config::flags
 *  @{ */
#define PCACHE_OPEN_CREATE      (1u << 0) /**< Create the cache where the file is missing, or its first 64 KiB are zero. */
#define PCACHE_OPEN_EXCL        (1u << 1) /**< With CREATE: fail with -EEXIST where a cache is already there. */
#define PCACHE_OPEN_READONLY    (1u << 2) /**< Read only: nothing is stored on the media or the backing; no threads. */
#define PCACHE_OPEN_ANY_BACKING (1u << 3) /**< Keep the content for another backing id, and for a backing that has grown. */
/** Empty the cache first, for any backing, whose id and size it takes over; -ENOTEMPTY where it holds data that is not on the
 *  backing. An interrupted one is either not begun, or finished by the next open for writing. */
#define PCACHE_OPEN_DROP_CLEAN (1u << 4)
/** The same, and data that is not on the backing is thrown away; the log says how many bytes. Also where the log is damaged. */
#define PCACHE_OPEN_DISCARD_DIRTY (1u << 5)
/** Use all of a cache file that was made longer; make it as long as pcache_config::cache_size_bytes first, if that is more. */
#define PCACHE_OPEN_GROW (1u << 6)
/**
 * Read only, and where the log is damaged go on with all of it that is valid. What is missing is told to the log callback,
 * in pcache_stats::salvage_segments and the fields behind it, and, as far as damaged key sets can still be made out, by
 * pcache_damaged(). What was written there reads as what was there before. Where a segment or a gap is counted, no list can
 * be complete. Superblock and cache info must be valid.
 */
#define PCACHE_OPEN_SALVAGE (1u << 7)
/** @} */

/** @name Flags of the data calls
 *  @{ */
#define PCACHE_WRITE_FUA (1u << 0) /**< Durable on return on every media, this write and all before it. */
#define PCACHE_NOWAIT    (1u << 1) /**< All or nothing: -EAGAIN instead of waiting for space or for the backing. */
/** @} */

/** @name Flags of pcache_close()
 *  @{ */
#define PCACHE_CLOSE_DRAIN (1u << 0) /**< Write everything to the backing first. */
/** @} */

/** @brief A cache; opaque. */
struct pcache;

/** @brief Requests that complete later; opaque. */
struct pcache_queue;

/**
 * @brief How writes and misses are treated.
 *
 * The mode outlives a close. It is chosen at open, or changed by pcache_set() at any time. Data that is dirty at a change
 * stays so, is what reads give, and goes to the backing as ever; no change ever shows older bytes. What each mode
 * promises of a write that returned:
 *
 * | mode | where it is | after a power cut |
 * |---|---|---|
 * | write-back, write-only | in the cache | there, see pcache_write() |
 * | write-through | in the cache, and on the backing, synced | there, on any media, even without the cache |
 * | write-around | on the backing | there after pcache_flush(), or with #PCACHE_WRITE_FUA; before that old and new bytes may be mixed |
 *
 * @par Write-through
 * Write-back does not wait for an amount or an age; one sync of the backing serves all writers who wait. Where the backing
 * fails or hangs for longer than pcache_config::backing_wait_ms, the writer gets -EIO (-EBADMSG where damaged log is the
 * reason). His data is in the cache then, is what reads give, and goes to the backing when it can. With
 * #PCACHE_NOWAIT every write is -EAGAIN, and nothing is stored.
 *
 * @par Write-around
 * The backing is written in the calling thread, and what the cache has of the range is dropped, durably; so the log gets
 * a line of 64 bytes for 64 KiB where the cache has something of it. Where data of the blocks in question is dirty, the
 * write goes to the cache as in write-back mode; so does one that the backing refuses, and pcache_write_atomic(), zeroes
 * and discards always do. A read at the same time sees old or new bytes, later ones the new ones. Misses of the range are
 * kept after the next sync of the backing. Such a write is neither atomic nor ordered with those in the cache. With
 * #PCACHE_NOWAIT what would go to the backing is -EAGAIN. A backing that hangs holds up the writer, and other writers of
 * the same blocks.
 */
enum pcache_mode {
	PCACHE_MODE_DEFAULT = 0,      /**< At open: as it was last; write-back for a new cache. */
	PCACHE_MODE_WRITEBACK = 1,    /**< Acknowledged in the cache, written to the backing later. */
	PCACHE_MODE_WRITETHROUGH = 2, /**< Acknowledged when it is on the backing, too, synced. */
	PCACHE_MODE_WRITEAROUND = 3,  /**< Goes to the backing, past the cache. */
	PCACHE_MODE_WRITEONLY = 4,    /**< As write-back, but read misses are never kept. */
};

/** @brief When a write is durable. */
enum pcache_durability {
	PCACHE_DURABILITY_AUTO = 0,      /**< On return where the media can without a system call, else on flush. */
	PCACHE_DURABILITY_ON_RETURN = 1, /**< On return on every media: on page granularity each write is synced. */
	PCACHE_DURABILITY_ON_FLUSH = 2,  /**< After pcache_flush(); a media that can do better still does. */
};

/** @brief When the checksum of cached data is verified by reads. */
enum pcache_verify {
	PCACHE_VERIFY_NEVER = 0,  /**< By write-back only. */
	PCACHE_VERIFY_FIRST = 1,  /**< At the first read of an extent after open (default). */
	PCACHE_VERIFY_ALWAYS = 2, /**< At every read. */
};

/** @brief Which data gives way when the cache is full. */
enum pcache_eviction {
	PCACHE_EVICTION_S3FIFO = 0, /**< What was read again is carried forward (Yang et al., SOSP 2023). Default. */
	PCACHE_EVICTION_FIFO = 1,   /**< The oldest goes, read or not. */
};

/** @brief Which read misses are kept. */
enum pcache_fill {
	PCACHE_FILL_ALWAYS = 0,       /**< All. Default. */
	PCACHE_FILL_SECOND_TOUCH = 1, /**< Those that were missed before, not long ago. */
	PCACHE_FILL_NEVER = 2,        /**< None: only what is written is cached. */
};

/** @brief What pcache_set() changes while the cache is in use. Their first values are those of struct pcache_config. */
enum pcache_tunable {
	PCACHE_TUNABLE_EVICTION = 0,         /**< enum pcache_eviction. */
	PCACHE_TUNABLE_FILL = 1,             /**< enum pcache_fill. */
	PCACHE_TUNABLE_READ_AHEAD = 2,       /**< Bytes read ahead of a sequential reader; 0 (off) to 256 KiB. */
	PCACHE_TUNABLE_SEQUENTIAL_BYPASS = 3, /**< A sequential reader's misses are no longer kept behind so many bytes; 0: off. */
	PCACHE_TUNABLE_GC_PERCENT = 4,       /**< Reclaim starts when more than this share of segments is in use; 0..95. */
	PCACHE_TUNABLE_DIRTY_HIGH = 5,       /**< Write-back starts when more log bytes than this are dirty; 0: at once. */
	PCACHE_TUNABLE_DIRTY_AGE_MS = 6,     /**< Write-back starts when data is dirty for this long; 1 to 2^32 - 1 ms. */
	PCACHE_TUNABLE_BATCH_BYTES = 7,      /**< Log bytes per write-back batch, from 1 on. */
	PCACHE_TUNABLE_READ_VERIFY = 8,      /**< enum pcache_verify. */
	PCACHE_TUNABLE_WRITEBACK_PAUSED = 9, /**< 1: write-back waits for a drain, or for a writer without space. 0: goes on. */
	PCACHE_TUNABLE_MODE = 10,            /**< enum pcache_mode, from #PCACHE_MODE_WRITEBACK on; kept on the media. */
	PCACHE_TUNABLE_BACKING_WAIT_MS = 11, /**< pcache_config::backing_wait_ms; 0: errors of the backing are told at once. */
	/** Write-back that the high mark started stops when no more log bytes than this are dirty. #PCACHE_DIRTY_LOW_HALF: half of
	 *  the high mark, whatever that is; more than the high mark counts as that. */
	PCACHE_TUNABLE_DIRTY_LOW = 12,
	PCACHE_TUNABLE_QUEUE_DEPTH = 13, /**< Writes to the backing in flight, from the next batch on; 1..256. The system may give less. */
	/** Bytes per second to the backing; 0: no limit. For drains, close and writers without space there is none. */
	PCACHE_TUNABLE_WRITEBACK_RATE = 14,
};

/** @brief #PCACHE_TUNABLE_DIRTY_LOW: half of the high mark. */
#define PCACHE_DIRTY_LOW_HALF UINT64_MAX

/** @brief What it takes to make a store on the media durable. */
enum pcache_granularity {
	PCACHE_GRANULARITY_BYTE = 0,       /**< Visible is durable (eADR). */
	PCACHE_GRANULARITY_CACHE_LINE = 1, /**< A cache-line flush and a fence. */
	PCACHE_GRANULARITY_PAGE = 2,       /**< A file sync. */
};

/** @brief Health of an open cache. */
enum pcache_state {
	PCACHE_STATE_OK = 0,        /**< All is well. */
	PCACHE_STATE_DEGRADED = 1,  /**< Write-back fails or hangs, and is retried; data stays safe in the cache. */
	PCACHE_STATE_READ_ONLY = 2, /**< Opened with #PCACHE_OPEN_READONLY. */
	PCACHE_STATE_FAILED = 3,    /**< The media failed: writes are refused, what can be drained is drained. */
};

/** @brief Severity of a log message. */
enum pcache_log_level {
	PCACHE_LOG_ERROR = 0,   /**< Something was refused or failed. */
	PCACHE_LOG_WARNING = 1, /**< Something was repaired or is being retried. */
	PCACHE_LOG_INFO = 2,    /**< Life cycle: opened, recovered, closed. */
};

/**
 * @brief Receives log messages.
 *
 * Called from any thread, never with a lock of the library held. It must not call back into the same cache.
 *
 * @param level    severity
 * @param message  one line without a newline, valid only during the call
 * @param arg      pcache_config::log_arg
 */
typedef void (*pcache_log_fn)(enum pcache_log_level level, const char *message, void *arg);

/**
 * @brief Hears of every change of state, in order, one at a time.
 *
 * From OK to DEGRADED, back to OK when write-back gets on, and from both to FAILED, which is final. Called with no lock
 * held, from a thread of the library or from one that is in a call of it, and maybe later than the change. It may call
 * pcache_stats(), pcache_get() and pcache_set(), and must not wait for anything that needs the cache to go on. It is not
 * called any more after pcache_close() has returned. The state after pcache_open() is in pcache_stats::state.
 *
 * @param from    enum pcache_state before
 * @param to      enum pcache_state from then on
 * @param reason  0 for OK; the error of write-back; -ETIMEDOUT: the backing does not answer, and somebody waits for it;
 *                for FAILED the error of the media
 * @param arg     pcache_config::state_arg
 */
typedef void (*pcache_state_fn)(enum pcache_state from, enum pcache_state to, int reason, void *arg);

/**
 * @brief Reports the progress of a drain.
 *
 * Called in the thread that called pcache_drain(), with no lock held, after each batch and each 8 MiB of one: the figures may be
 * those of the last call.
 *
 * @param done_bytes   media log bytes of this drain that are on the backing
 * @param total_bytes  media log bytes that were dirty when the drain began
 * @param arg          the argument given to pcache_drain()
 * @return 0 to go on, anything else to cancel: pcache_drain() then returns -ECANCELED
 */
typedef int (*pcache_progress_fn)(uint64_t done_bytes, uint64_t total_bytes, void *arg);

/**
 * @brief Settings of pcache_open(). Fill with pcache_config_init() first, then change what you need.
 *
 * A field that is zero stands for its default. Settings marked (create) count only when the cache is created
 * and are read from the media afterwards.
 */
struct pcache_config {
	uint32_t size;               /**< sizeof(struct pcache_config), set by pcache_config_init(). */
	uint32_t flags;              /**< PCACHE_OPEN_* bits. */
	uint64_t cache_size_bytes;   /**< (create, grow) Size of the cache file; at least 8 segments. 0: that of the file. */
	uint32_t segment_size_bytes; /**< (create) Power of two, 64 KiB..64 MiB. Default 16 MiB. */
	uint32_t mode;               /**< enum pcache_mode. Default: as it was last. */
	uint32_t durability;         /**< enum pcache_durability. */
	uint32_t gc_percent;         /**< Reclaim starts when more than this share of segments is in use; 1..95. Default: as set last, 70 at first. */
	uint8_t backing_id[16];      /**< Caller's name for the backing, checked at open. All zero: not checked. */
	pcache_log_fn log;           /**< Log callback, or NULL. */
	void *log_arg;               /**< Handed to the log callback. */
	uint64_t dirty_high_bytes;   /**< Write-back starts when more log than this is dirty. Default: a quarter of the cache. */
	uint64_t batch_bytes;        /**< Log bytes per write-back batch, one backing sync each. Default 64 MiB. */
	uint32_t dirty_age_ms;       /**< Write-back starts when data is dirty for this long. Default 5000 ms. */
	uint32_t queue_depth;        /**< Writes to the backing in flight; 1..256. Default 32. */
	uint32_t read_verify;        /**< enum pcache_verify, plus one (so that zero is the default, FIRST). */
	uint32_t replay_threads;     /**< Threads that rebuild the index at open; 1..64. Default: one per processor. */
	uint32_t eviction;           /**< enum pcache_eviction. */
	uint32_t fill;               /**< enum pcache_fill. */
	uint32_t read_ahead_bytes;   /**< Read ahead of a sequential reader, up to 256 KiB. Default 128 KiB. 1: off. */
	uint64_t sequential_bypass_bytes; /**< Misses of a sequential reader are no longer kept behind so many bytes. Default off. */
	pcache_state_fn state_changed; /**< State callback, or NULL. */
	void *state_arg;             /**< Handed to the state callback. */
	/**
	 * How long a call that needs write-back (a write into a full cache, a drain, close) waits while the backing fails,
	 * counted from the first failure, or while it answers nothing at all. Then it gets -EIO, or the error of the backing.
	 * Where an outage has lasted longer already, the next failed attempt is told, at most a second later. Write-back
	 * tries again after 20 ms, then ever later, up to a second, for ever. Default 10,000 ms.
	 */
	uint32_t backing_wait_ms;
	uint64_t dirty_low_bytes; /**< Write-back that the high mark started stops when no more log is dirty. Default: half of the high mark. */
	uint64_t writeback_rate;  /**< Bytes per second to the backing, while nobody waits for them. Default: no limit. */
};

/**
 * @brief A look at an open cache. The caller sets @ref size first; fields beyond it are not written.
 *
 * Counts begin at open. Two figures are left to divide: write amplification of the media is the sum of the media_*_bytes
 * over write_bytes + fill_bytes, that of the backing is writeback_bytes over write_bytes (below 1 where writes met in the
 * cache). Both mean little before the first segments were written back and reclaimed.
 */
struct pcache_stats {
	uint32_t size;                 /**< sizeof(struct pcache_stats), set by the caller. */
	uint32_t state;                /**< enum pcache_state. */
	uint32_t granularity;          /**< enum pcache_granularity of the media. */
	uint32_t mode;                 /**< enum pcache_mode. */
	uint64_t max_atomic_bytes;     /**< A write up to this length is whole or absent after a crash. */
	uint64_t backing_bytes;        /**< Size of the backing. */
	uint64_t capacity_bytes;       /**< Bytes of all segments, overhead included. */
	uint64_t segment_bytes;        /**< Size of one segment. */
	uint64_t segments;             /**< Number of segments. */
	uint64_t segments_free;        /**< Segments that hold nothing. */
	uint64_t cached_bytes;         /**< Bytes of the backing that a read finds in the cache. */
	uint64_t dirty_log_bytes;      /**< Media bytes of log that are not on the backing yet. */
	uint64_t index_bytes;          /**< DRAM taken by the index. */
	uint64_t reads;                /**< Read calls. */
	uint64_t read_bytes;           /**< Bytes read from the cache or the backing. */
	uint64_t read_miss_bytes;      /**< Bytes of them that came from the backing. */
	uint64_t writes;               /**< Write calls. */
	uint64_t write_bytes;          /**< Bytes written by them. */
	uint64_t flushes;              /**< Flush calls. */
	uint64_t writeback_batches;    /**< Write-back batches completed. */
	uint64_t writeback_bytes;      /**< Bytes written to the backing. */
	uint64_t writeback_ios;        /**< Write requests to the backing. */
	uint64_t backing_syncs;        /**< Syncs of the backing. */
	uint64_t media_syncs;          /**< Syncs of the media file (page granularity). */
	uint64_t segments_reclaimed;   /**< Segments turned free by reclaim. */
	uint64_t stalls;               /**< Writes that waited for space. */
	uint64_t stall_ns;             /**< Time they waited in all. */
	uint64_t stall_max_ns;         /**< Longest of these waits. */
	uint64_t writeback_errors;     /**< Failed write-back batches. */
	uint64_t checksum_errors;      /**< Extents whose data did not match its checksum. */
	uint64_t open_ns;              /**< Time pcache_open() took. */
	uint64_t replay_ns;            /**< Part of it spent in rebuilding the index. */
	uint64_t replay_keys;          /**< Keys found on the media at open. */
	uint64_t replay_voided;        /**< Torn lines found and voided at open: writes that were never acknowledged. */
	uint64_t epoch;                /**< Grows by one with each open. */
	uint64_t head_seq;             /**< Where the next write goes: segment sequence number. */
	uint64_t head_line;            /**< ... and line. */
	uint64_t tail_seq;             /**< dirty_tail: everything before it is on the backing, synced. */
	uint64_t tail_line;            /**< ... and line. */
	uint64_t recovered_end_bytes;  /**< Highest backing offset that replay found dirty or cached, or 0. */
	uint64_t segments_write;       /**< Segments that hold writes, dirty or not yet reclaimed. */
	uint64_t segments_fill;        /**< Segments that hold kept read misses. */
	uint64_t segments_hot;         /**< Segments that hold what was carried forward. */
	uint64_t fill_bytes;           /**< Read misses kept, read-ahead included. */
	uint64_t fills_refused;        /**< Misses not kept: no space, a write came between, or the range is no longer a hole. */
	uint64_t read_ahead_bytes;     /**< Bytes read from the backing before anybody asked for them. */
	uint64_t bypassed_bytes;       /**< Missed bytes not kept because of the admission or the sequential bypass. */
	uint64_t shared_misses;        /**< Misses that were answered by the backing read of another reader. */
	uint64_t ghost_hits;           /**< Misses of blocks that had been evicted not long ago. */
	uint64_t moved_bytes;          /**< Carried forward by reclaim. */
	uint64_t kills;                /**< Kept blocks made invalid on the media because a write superseded them. */
	uint64_t clean_errors;         /**< Pieces that did not match their checksum, and were read from the backing again. */
	uint64_t dirty_bytes;          /**< Of cached_bytes: not on the backing yet. The segment that dirty_tail is in is divided by lines. */
	uint64_t clean_bytes;          /**< Of cached_bytes: on the backing, too. */
	uint64_t dead_bytes;           /**< Data stored in segments in use that no read finds any more, until reclaim. */
	uint64_t read_hits;            /**< Read calls that needed nothing from the backing. */
	uint64_t read_hit_bytes;       /**< Bytes read from the cache. */
	uint64_t read_misses;          /**< Read calls that did. */
	uint64_t backing_read_bytes;   /**< Read from the backing: misses in whole blocks, read-ahead, edges for write-back. */
	uint64_t backing_read_errors;  /**< Reads of the backing that failed, write-back's not counted. */
	uint64_t media_data_bytes;     /**< Stored on the media for writes: data, in units of 64 bytes. */
	uint64_t media_key_bytes;      /**< Stored for writes: keys. */
	uint64_t media_fill_bytes;     /**< Stored for kept misses: data and keys. */
	uint64_t media_move_bytes;     /**< Stored for what reclaim carried forward: data and keys. */
	uint64_t media_record_bytes;   /**< Stored for records, each twice, and for kills, a line of 64 bytes each. */
	uint64_t around_bytes;         /**< Written to the backing past the cache (#PCACHE_MODE_WRITEAROUND). */
	uint64_t max_atomic_zero_bytes; /**< Zeroes and a discard up to this length are there whole or not at all after a crash. */
	uint64_t zero_bytes;           /**< Bytes of pcache_write_zeroes(). */
	uint64_t discard_bytes;        /**< Bytes of pcache_discard(). */
	uint64_t writeback_zero_bytes; /**< Bytes zeroed on the backing as ranges, not counted in writeback_bytes. */
	uint64_t scrubbed_bytes;       /**< Compared with their checksums by pcache_scrub(). */
	uint64_t salvage_segments;     /**< #PCACHE_OPEN_SALVAGE: segments left out because both copies of their record are bad. */
	uint64_t salvage_gaps;         /**< ... and places where a segment of the log is missing, or the mark of write-back. */
	uint64_t salvage_lines;        /**< ... and damaged lines of key sets. */
	uint64_t lost_bytes;           /**< Damaged before they came to the backing, and not written again: see pcache_drain(). */
	uint64_t lost_ranges;          /**< Ranges that they are in. */
};

/** @brief What pcache_histogram() tells the times of. */
enum pcache_latency {
	PCACHE_LATENCY_READ_HIT = 0,  /**< Read calls that needed nothing from the backing; one in 64, chosen at random. */
	PCACHE_LATENCY_READ_MISS = 1, /**< Read calls that did, from the first byte that was missing on; all. */
	PCACHE_LATENCY_WRITE = 2,     /**< Calls that write, waits included; one in 64. */
	PCACHE_LATENCY_FLUSH = 3,     /**< Calls of pcache_flush(); one in 64. */
	PCACHE_LATENCY_BATCH = 4,     /**< Write-back batches, the sync included; all that went well. */
};

#define PCACHE_LATENCIES         5   /**< Values of enum pcache_latency. */
#define PCACHE_HISTOGRAM_BUCKETS 312 /**< Each power of two of nanoseconds has eight; see pcache_histogram_bound(). */

/** @brief Times of one kind of call since open. The caller sets @ref size first. */
struct pcache_histogram {
	uint32_t size;         /**< sizeof(struct pcache_histogram), set by the caller. */
	uint32_t sample_calls; /**< One call in so many was timed, on average; 1: all. */
	uint64_t count;        /**< Times in it. */
	uint64_t sum_ns;       /**< Their sum. */
	uint64_t max_ns;       /**< The longest. */
	uint64_t buckets[PCACHE_HISTOGRAM_BUCKETS]; /**< How many; the last one has all above its lower end. */
};

/** @brief What a struct pcache_request asks for. */
enum pcache_op {
	PCACHE_OP_READ = 0,         /**< As pcache_read(). */
	PCACHE_OP_WRITE = 1,        /**< As pcache_write(). */
	PCACHE_OP_FLUSH = 2,        /**< As pcache_flush(); covers what was reaped, and what returned, before it was submitted. */
	PCACHE_OP_WRITE_ZEROES = 3, /**< As pcache_write_zeroes(); buf is not looked at. */
	PCACHE_OP_DISCARD = 4,      /**< As pcache_discard(); buf is not looked at. */
};

#define PCACHE_QUEUE_DEPTH_MAX 4096u /**< Largest depth of pcache_queue_create(). */

/** @brief One request of pcache_submit(). The caller's until submitted, and again when it was reaped. */
struct pcache_request {
	uint32_t op;    /**< enum pcache_op. */
	uint32_t flags; /**< As in the call that it stands for. */
	void *buf;      /**< Read into, or written from; must stay as it is until the request was reaped. */
	uint64_t len;   /**< Bytes. */
	uint64_t off;   /**< Bytes from the start of the backing. */
	void *user;     /**< The caller's. */
	int64_t result; /**< Once reaped: what the call would have returned, or -ECANCELED. */
};

/**
 * @brief Fill @p config with the defaults of this version.
 * @param config  to be filled; its size field is set to what the caller was compiled with
 * @par Thread-safety
 * Any thread.
 */
void pcache_config_init(struct pcache_config *config);

/**
 * @brief Open a cache file in front of @p backing_fd; create it if asked to.
 *
 * Recovers what an earlier owner left, however it ended, before it returns: every write that was durable is
 * there, and no later power cut takes away what a read has shown. Nothing is ever formatted over a file that
 * is not a pcache. A refused open leaves every file as it was.
 *
 * @param cache_path  path of the cache file
 * @param backing_fd  file or block device, readable and (unless read-only) writable; borrowed until close, the
 *                    library opens its own description of it where /proc allows. O_DIRECT is kept if it is set.
 * @param config      settings, or NULL for the defaults
 * @param[out] ret_cache  the handle; untouched on failure
 * @return 0, or -EINVAL, -EBADF, -ENOENT, -EEXIST, -EUCLEAN, -EBADMSG, -EPROTONOSUPPORT, -EMEDIUMTYPE, -ENOTEMPTY,
 *         -EBUSY, -EROFS, -ENOSPC, -EFBIG (the process's file size limit), -EOPNOTSUPP, -ENOMEM, -EIO, or what open(2) or
 *         pthread_create(3) gave
 * @par Thread-safety
 * Any thread, with different cache files.
 * @snippet hello.c open
 */
int pcache_open(const char *cache_path, int backing_fd, const struct pcache_config *config, struct pcache **ret_cache);

/**
 * @brief Throw away what a cache holds, without its backing.
 *
 * As an open with #PCACHE_OPEN_DROP_CLEAN and a close, but the cache goes on belonging to the backing that it had. It is empty
 * and durably so when this returns. The backing is not looked at. After a crash in the middle the next open for writing shows
 * all that the cache held, or finishes it.
 *
 * @param cache_path  path of the cache file; no other process and no handle may have it open
 * @param config      NULL, or settings of which some count: the log callback, the backing id (checked where one is given), and
 *                    of the flags #PCACHE_OPEN_ANY_BACKING (it is not), #PCACHE_OPEN_DROP_CLEAN (which is meant anyway), and
 *                    #PCACHE_OPEN_DISCARD_DIRTY: without it data that is not on the backing is kept, and the call refused
 * @return 0, or -EINVAL, -ENOENT, -ENOTEMPTY, -EUCLEAN, -EBADMSG, -EPROTONOSUPPORT, -EMEDIUMTYPE, -EBUSY, -EROFS, -ENOMEM, -EIO,
 *         or what open(2) gave
 * @par Thread-safety
 * Any thread.
 */
int pcache_forget(const char *cache_path, const struct pcache_config *config);

/**
 * @brief Read @p len bytes at byte @p off of the cached backing.
 *
 * Bytes that are not cached come from the backing, read in the calling thread, or by another one that is reading
 * them just now. Whole blocks of 4 KiB of them are kept in the cache, if there is room without waiting.
 *
 * @param cache  an open cache
 * @param buf    where the bytes go; contents undefined on failure
 * @param len    bytes, at most SSIZE_MAX
 * @param off    bytes from the start of the backing
 * @param flags  #PCACHE_NOWAIT or 0
 * @return bytes read, short or 0 at the end of the backing; -EINVAL, -EAGAIN (NOWAIT and not all cached),
 *         -EBADMSG (written data damaged, or lost; data that is on the backing, too, is read from there instead), -EIO, -ENOMEM,
 *         -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread. Of a write that runs at the same time a read sees any part or none.
 * @snippet hello.c read
 */
ssize_t pcache_read(struct pcache *cache, void *buf, size_t len, uint64_t off, unsigned flags);

/**
 * @brief Write @p len bytes at byte @p off.
 *
 * Durable on return on byte and cache-line granularity, and everywhere with #PCACHE_WRITE_FUA. Waits for
 * write-back only when the cache is full. Up to pcache_stats::max_atomic_bytes the write is atomic over a
 * crash; a longer one is a row of such writes in ascending order.
 *
 * @param cache  an open cache
 * @param buf    the bytes. They must not change during the call: what was stored would not match its checksum, and
 *               would count as damaged, and be lost (pcache_drain())
 * @param len    bytes, at most SSIZE_MAX
 * @param off    bytes from the start of the backing; off + len may not pass its end
 * @param flags  #PCACHE_WRITE_FUA, #PCACHE_NOWAIT or 0
 * @return @p len; fewer if a write longer than max_atomic_bytes failed after its first parts, which then are
 *         written; -EINVAL, -ENOSPC (past the end, nothing written), -EROFS, -EAGAIN (NOWAIT and no space),
 *         -E2BIG (NOWAIT and longer than max_atomic_bytes), -EOPNOTSUPP (NOWAIT with FUA on page granularity),
 *         -EIO or what write-back got from the backing (full and failing, or the media failed), -EBADMSG (full,
 *         and damaged log stops write-back; or a write-through, and data was lost meanwhile), -ENOMEM, -ENOTRECOVERABLE. After a failed FUA sync the write is
 *         readable, but not durable; so it is where a write-through does not get to the backing (enum pcache_mode).
 * @par Thread-safety
 * Any thread. Of overlapping concurrent writes one wins for each byte, the same one in memory and after a crash.
 * @snippet hello.c write
 */
ssize_t pcache_write(struct pcache *cache, const void *buf, size_t len, uint64_t off, unsigned flags);

/**
 * @brief Read into several buffers, one behind the other, as readv(2) does.
 * @param cache   an open cache
 * @param iov     buffers, filled in order
 * @param iovcnt  how many, 0 to IOV_MAX
 * @param off     bytes from the start of the backing
 * @param flags   #PCACHE_NOWAIT or 0
 * @return as pcache_read()
 * @par Thread-safety
 * Any thread.
 */
ssize_t pcache_readv(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags);

/**
 * @brief Write several buffers one behind the other from byte @p off on, as writev(2) does.
 *
 * Durability and atomicity are those of one pcache_write() of all bytes.
 *
 * @param cache   an open cache
 * @param iov     buffers; they must not change during the call
 * @param iovcnt  how many, 0 to IOV_MAX
 * @param off     bytes from the start of the backing
 * @param flags   #PCACHE_WRITE_FUA, #PCACHE_NOWAIT or 0
 * @return as pcache_write()
 * @par Thread-safety
 * Any thread.
 */
ssize_t pcache_writev(struct pcache *cache, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags);

/** @brief One piece of a pcache_write_atomic(). */
struct pcache_extent {
	const void *buf; /**< The bytes; they must not change during the call. */
	size_t len;      /**< Bytes; 0 is skipped. */
	uint64_t off;    /**< Bytes from the start of the backing. */
};

/**
 * @brief Write extents anywhere on the backing: after a crash all of them are there, or none.
 *
 * One commit for all of them: on byte and cache-line granularity durable on return at the cost of one fence, on page
 * granularity after the next flush, or on return with #PCACHE_WRITE_FUA. Write-back keeps them together, too.
 *
 * @param cache    an open cache
 * @param extents  what to write; in any order, without overlap
 * @param count    how many
 * @param flags    #PCACHE_WRITE_FUA, #PCACHE_NOWAIT or 0
 * @return 0 when all is written, else nothing is: -EINVAL (a NULL buffer, or extents that overlap), -ENOSPC (past the end of
 *         the backing), -E2BIG (more than pcache_stats::max_atomic_bytes in all, more than 1024 keys, or too many for a
 *         segment; an extent is one key, and one more for each multiple of 64 KiB of the backing that it crosses),
 *         -EROFS, -EAGAIN, -EOPNOTSUPP, -EIO, -EBADMSG, -ENOMEM, -ENOTRECOVERABLE as pcache_write()
 * @par Thread-safety
 * Any thread. A read that runs at the same time may see some of the extents and not others.
 */
int pcache_write_atomic(struct pcache *cache, const struct pcache_extent *extents, size_t count, unsigned flags);

/** @name What pcache_range::state says
 *  @{ */
#define PCACHE_RANGE_ABSENT 0u        /**< Not cached: a read goes to the backing. */
#define PCACHE_RANGE_CLEAN  (1u << 0) /**< Cached, and on the backing, synced. */
#define PCACHE_RANGE_DIRTY  (1u << 1) /**< Cached, and not on the backing yet. */
#define PCACHE_RANGE_ZERO   (1u << 2) /**< With CLEAN or DIRTY: zeroes that take no room in the cache. */
#define PCACHE_RANGE_LOST   (1u << 3) /**< Damaged, a read gets -EBADMSG. With DIRTY: in the cache still; alone: nowhere. */
#define PCACHE_RANGE_STALE  (1u << 4) /**< From pcache_damaged() only: a write to it may be missing. */
/** @} */

/** @brief A piece of the backing, and what the cache has of it. */
struct pcache_range {
	uint64_t off;      /**< Bytes from the start of the backing. */
	uint64_t len;      /**< Bytes. */
	uint32_t state;    /**< PCACHE_RANGE_* bits. */
	uint32_t reserved; /**< 0. */
};

/**
 * @brief Tell what of a range is dirty, clean, zero, absent.
 *
 * The ranges follow each other without a gap from @p off on, and neighbours differ in state. Where @p count are not
 * enough, or the backing ends, they end before off + len; go on behind the last one. Nothing is read, and nothing counts
 * as an access. The time that it takes grows with the range: about 50 ns for each 256 KiB, cached or not.
 *
 * @param cache        an open cache
 * @param off          bytes from the start of the backing
 * @param len          bytes
 * @param[out] ranges  room for @p count of them
 * @param count        at least 1
 * @return how many were filled in, 0 behind the end of the backing or for @p len 0; -EINVAL, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread. A write that returned before the call is seen. What goes to the backing meanwhile may still be called
 * dirty, never the other way round.
 */
ssize_t pcache_query(struct pcache *cache, uint64_t off, uint64_t len, struct pcache_range *ranges, size_t count);

/**
 * @brief Bring a range into the cache.
 *
 * Reads from the backing what is missing of it, in whole blocks of 4 KiB, and keeps it as a read would, but whatever
 * #PCACHE_TUNABLE_FILL with SECOND_TOUCH and the sequential bypass would say. A block that is cached in part stays so.
 * It never waits for room, and never takes more than half of the cache: then it ends early.
 *
 * @param cache  an open cache
 * @param off    bytes from the start of the backing
 * @param len    bytes; what is behind the end of the backing is left out
 * @param flags  #PCACHE_NOWAIT or 0
 * @return how many bytes from @p off on were gone through, fewer than @p len where there was no room for more;
 *         -EINVAL, -EAGAIN (NOWAIT, and a block of it is missing), -EROFS (opened read-only), -EOPNOTSUPP (misses are never
 *         kept: #PCACHE_FILL_NEVER), -EIO or another error of the backing, -ENOMEM, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread.
 */
int64_t pcache_prefetch(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags);

/**
 * @brief Write zeroes to @p len bytes from byte @p off on, without their bytes.
 *
 * Reads see zeroes at once, and nothing of the range is read from the media or the backing. Durable as pcache_write().
 * Takes little of the log: 96 bytes for each 64 KiB of the backing that the range touches. Write-back zeroes whole blocks
 * as ranges where the backing can do that (fallocate(2), FALLOC_FL_ZERO_RANGE), and writes zeroes where it cannot.
 *
 * A range up to pcache_stats::max_atomic_zero_bytes is there whole or not at all after a crash; a longer one is a row of
 * such ranges in ascending order.
 *
 * @param cache  an open cache
 * @param off    bytes from the start of the backing; off + len may not pass its end
 * @param len    bytes; 0 does nothing
 * @param flags  #PCACHE_WRITE_FUA, #PCACHE_NOWAIT or 0
 * @return 0 when all is written. Else nothing is, or, of a range longer than max_atomic_zero_bytes, maybe its beginning:
 *         -EINVAL, -ENOSPC (past the end, nothing written), -EROFS, -EAGAIN (NOWAIT and no space), -E2BIG (NOWAIT and
 *         longer than max_atomic_zero_bytes, nothing written), -EOPNOTSUPP (NOWAIT with FUA on page granularity), -EIO or
 *         what write-back got from the backing, -EBADMSG, -ENOMEM, -ENOTRECOVERABLE as pcache_write()
 * @par Thread-safety
 * Any thread. Of overlapping concurrent writes, zeroes and discards one wins for each byte.
 */
int pcache_write_zeroes(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags);

/**
 * @brief Say that nobody needs @p len bytes from byte @p off on any more.
 *
 * They are zeroes from then on: in the cache at once, and on the backing after write-back, which punches holes of whole
 * blocks of 4 KiB where the backing can (fallocate(2), FALLOC_FL_PUNCH_HOLE), and zeroes where it cannot. Durability,
 * atomicity and cost are those of pcache_write_zeroes(). A discard of a large backing takes log as well, 1.5 GiB for
 * each TiB, so in a small cache it displaces much of what is cached.
 *
 * @param cache  an open cache
 * @param off    bytes from the start of the backing; off + len may not pass its end
 * @param len    bytes; 0 does nothing
 * @param flags  #PCACHE_WRITE_FUA, #PCACHE_NOWAIT or 0
 * @return as pcache_write_zeroes()
 * @par Thread-safety
 * Any thread.
 */
int pcache_discard(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags);

/**
 * @brief Drop what the cache has of a range, but for what is dirty.
 *
 * For a backing that somebody else has changed: a read that begins after the call gets what is on the backing, also after
 * a crash. Bytes that are not on the backing yet stay, and lost ones stay lost: drain first to be rid of the former.
 * Somebody who changes the backing must know by other means that write-back does not do so at the same time; it writes
 * whole blocks around what is dirty.
 *
 * @param cache  an open cache
 * @param off    bytes from the start of the backing
 * @param len    bytes; what is behind the end of the backing is left out
 * @param flags  must be 0
 * @return how many bytes stay, or stay lost, 0 if all is gone; -EINVAL, -EROFS, -EIO or what write-back got from the backing (the log is
 *         full, and it fails; or the media failed), -EBADMSG, -ENOMEM, -ENOTRECOVERABLE: a part may be gone then
 * @par Thread-safety
 * Any thread. Writes to the range wait meanwhile.
 */
int64_t pcache_invalidate(struct pcache *cache, uint64_t off, uint64_t len, unsigned flags);

/**
 * @brief Compare all cached data with its checksums.
 *
 * In the calling thread, at a bounded rate, while everything else goes on: nobody waits for it, and what is overwritten or
 * evicted meanwhile is left out. Damaged data that is on the backing, too, is dropped: from then on it is a miss. Other
 * damaged data stays as it is, is counted (pcache_stats::checksum_errors) and listed by pcache_damaged(). It takes about
 * 50 ns more for each 256 KiB of the backing, cached or not.
 *
 * @param cache             an open cache
 * @param progress          called at least every 100 ms while data is checked, or NULL; counts bytes of the backing, in all
 *                          those that were cached at the start
 * @param arg               handed to @p progress
 * @param rate_bytes_per_s  not faster than this; 0: as fast as it goes
 * @param flags             must be 0
 * @return 0: nothing that is not on the backing is damaged; -EBADMSG: something is; -ECANCELED, -EINVAL, -EIO (the media
 *         failed), -ENOMEM, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread.
 */
int pcache_scrub(struct pcache *cache, pcache_progress_fn progress, void *arg, uint64_t rate_bytes_per_s,
		 unsigned flags);

/**
 * @brief List what was found damaged and is not on the backing.
 *
 * Lost ranges (pcache_drain()), whenever they were found, and what reads and pcache_scrub() have found since open; what was
 * written again since then is left out. Of such ranges reads get -EBADMSG. At most 256 findings since open are remembered. Neighbours become one range. After #PCACHE_OPEN_SALVAGE the list holds, as
 * #PCACHE_RANGE_STALE, what the damaged part of the log seems to have written.
 *
 * @param cache        an open cache
 * @param[out] ranges  room for @p count of them; state: #PCACHE_RANGE_LOST, with #PCACHE_RANGE_DIRTY while write-back has not come
 *                     to it, or #PCACHE_RANGE_STALE
 * @param count        at least 1
 * @return how many were filled in; -EINVAL, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread.
 */
ssize_t pcache_damaged(struct pcache *cache, struct pcache_range *ranges, size_t count);

/**
 * @brief Make everything written so far durable in the cache.
 *
 * Costs nothing on byte and cache-line granularity. On page granularity one sync of the media file, shared by
 * all threads that flush at the same time. The backing is not touched.
 *
 * @param cache  an open cache
 * @param flags  must be 0
 * @return 0, -EINVAL, -EIO (the media failed; final), -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread.
 * @snippet hello.c flush
 */
int pcache_flush(struct pcache *cache, unsigned flags);

/**
 * @brief Write everything that is dirty now to the backing, and sync it.
 *
 * Bounded by what was dirty at the call; writes that come later are not waited for. A cancelled drain ends at the next call of
 * @p progress; the batch that is on its way then is finished in the background.
 *
 * @param cache     an open cache
 * @param progress  called as it gets on, or NULL
 * @param arg       handed to @p progress
 * @param flags     must be 0
 * @return 0; -ECANCELED; -EIO or another error of the backing (the data stays safe in the cache and is
 *         retried); -EIO also when the media failed before: the data then is on the backing as far as memory held it,
 *         and the cache file must not be used again; -EBADMSG (see below; or the log is damaged, and write-back stops there);
 *         -EROFS, -EINVAL, -ENOTRECOVERABLE
 * @par Lost ranges
 * Dirty data that does not match its checksum, or cannot be read from the media, is never written to the backing. All else
 * is. Its range is lost from then on: reads of it get -EBADMSG, now, after a crash and after a restart, and never the older
 * bytes of the backing. pcache_damaged() lists such ranges, pcache_stats::lost_bytes counts them. As long as there are any, a
 * drain, and a close with #PCACHE_CLOSE_DRAIN, do all that they can, and return -EBADMSG; writes and flushes are not
 * disturbed. The way out is to write, zero or discard the range, then to drain. No more than 254 ranges fit; one more stops
 * write-back.
 * @par Thread-safety
 * Any thread.
 * @snippet hello.c drain
 */
int pcache_drain(struct pcache *cache, pcache_progress_fn progress, void *arg, unsigned flags);

/**
 * @brief Take a look at counters and state.
 * @param cache          an open cache
 * @param[in,out] stats  size set by the caller; the rest is filled, unknown parts of it left alone
 * @return 0, -EINVAL, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread. The figures are each right, but not taken at one instant.
 */
int pcache_stats(struct pcache *cache, struct pcache_stats *stats);

/**
 * @brief Tell how long calls of one kind took.
 *
 * Calls that end within tens of nanoseconds are sampled, so that nobody pays for looking. A failed call is not counted.
 *
 * @param cache               an open cache
 * @param which               which calls
 * @param[in,out] histogram   size set by the caller; the rest is filled
 * @return 0, -EINVAL (no such kind, or a size that is too small), -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread. Calls that end meanwhile are in it or not.
 */
int pcache_histogram(struct pcache *cache, enum pcache_latency which, struct pcache_histogram *histogram);

/** @brief Times of one kind of call, in short. */
struct pcache_times {
	uint64_t count;   /**< Times, of samples or of all calls: see enum pcache_latency. */
	uint64_t sum_ns;  /**< Their sum. */
	uint64_t max_ns;  /**< The longest. */
	uint64_t p50_ns;  /**< Half of them did not take longer than this. */
	uint64_t p99_ns;  /**< 99 of 100 did not. */
	uint64_t p999_ns; /**< 999 of 1000 did not. */
};

/** @brief Where the figures of pcache_stats_peek() come from. The caller sets @ref size first. */
struct pcache_peek {
	uint32_t size;       /**< sizeof(struct pcache_peek), set by the caller. */
	uint32_t is_open;    /**< 1: a process has the cache open for writing at this moment. */
	uint32_t is_closed;  /**< 1: these are the last figures of an orderly close. Neither: their process was killed. */
	uint32_t pid;        /**< The process that wrote them, as it calls itself. */
	uint64_t written_ns; /**< When, in nanoseconds since 1970. */
	uint64_t age_ns;     /**< How long ago that is. */
	uint8_t uuid[16];    /**< Of the cache. */
	struct pcache_times times[PCACHE_LATENCIES]; /**< By enum pcache_latency. */
};

/**
 * @brief Take a look at a cache from outside, open or not.
 *
 * A cache that is open for writing shows its statistics in its file: at most once a second, when something has changed,
 * and at close. Changes that cost nothing to make, such as a few reads that hit after a pause, may show later. Nothing of
 * that is durable at any certain time. This call takes no lock, and stores nothing.
 *
 * @param cache_path      path of the cache file
 * @param[in,out] stats   size set by the caller; figures as pcache_stats() gave them then
 * @param[in,out] peek    size set by the caller
 * @return 0; -EINVAL (also: not a regular file), -EUCLEAN (not a pcache), -EPROTONOSUPPORT, -ENODATA (it has not shown any
 *         yet), or what open(2) gave
 * @par Thread-safety
 * Any thread, any process.
 */
int pcache_stats_peek(const char *cache_path, struct pcache_stats *stats, struct pcache_peek *peek);

/**
 * @brief The time that so many of the calls did not exceed.
 * @param histogram  as filled by pcache_histogram()
 * @param percent    0 to 100, such as 50, 99 or 99.9
 * @return nanoseconds, too high by an eighth at most; 0: the histogram is empty, or NULL
 * @par Thread-safety
 * Any thread.
 */
uint64_t pcache_histogram_percentile(const struct pcache_histogram *histogram, double percent);

/**
 * @brief The highest value that a bucket counts; the next bucket begins one above.
 * @param bucket  0 to PCACHE_HISTOGRAM_BUCKETS - 1
 * @return nanoseconds; UINT64_MAX for the last bucket, and beyond
 * @par Thread-safety
 * Any thread.
 */
uint64_t pcache_histogram_bound(unsigned bucket);

/**
 * @brief Change a setting of an open cache; it counts at once, until close.
 *
 * #PCACHE_TUNABLE_GC_PERCENT and #PCACHE_TUNABLE_MODE outlive the close: they are durable on the media when the call returns,
 * and a later open whose config leaves them 0 takes them from there. Writes that are under way may still follow the old
 * mode.
 * @param cache    an open cache
 * @param tunable  which one
 * @param value    its new value
 * @return 0, -EINVAL (no such tunable), -ERANGE (the log says the limits), -ENOTRECOVERABLE; of one that outlives the
 *         close also -EROFS (the cache is open read-only) and -EIO (the media failed), and then the old value is in force
 * @par Thread-safety
 * Any thread.
 */
int pcache_set(struct pcache *cache, enum pcache_tunable tunable, uint64_t value);

/**
 * @brief Look at a setting of an open cache.
 * @param cache           an open cache
 * @param tunable         which one
 * @param[out] ret_value  its value; untouched on failure
 * @return 0, -EINVAL, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread.
 */
int pcache_get(struct pcache *cache, enum pcache_tunable tunable, uint64_t *ret_value);

/**
 * @brief Flush, stop the background threads and free the handle.
 *
 * A cache may be closed dirty and opened again. No other call on the handle may be running.
 *
 * @param cache  an open cache, or NULL (nothing happens, 0)
 * @param flags  #PCACHE_CLOSE_DRAIN or 0
 * @return 0, or the error of the flush or drain; -EINVAL for unknown flags, which are ignored.
 *         The handle is gone in every case.
 * @par Thread-safety
 * One thread, after all other calls have returned.
 */
int pcache_close(struct pcache *cache, unsigned flags);

/**
 * @brief For an application's SIGBUS handler: was that a bad page of a cache?
 *
 * Cached data is read from a mapping of the media. Where the media cannot deliver a page, the kernel raises SIGBUS in
 * the thread that reads it. The library installs no handler of its own. One of the application may ask here. If the
 * address lies in the mapping of a cache that this process has open, a page of zeroes takes the place of the bad one,
 * and the handler can return: the call that was interrupted goes on, and fails with -EIO. Until the cache is closed
 * every read of data on that page gets -EIO, and so does its write-back; other data can be read as before. Where a
 * write was to be stored on that page, the media has failed, which is final.
 *
 * @param addr  siginfo_t::si_addr
 * @return 1: it was, and the handler can return; 0: it was not, or the page could not be replaced: the handler does what it
 *         would do without this library
 * @par Thread-safety
 * Any thread; async-signal-safe. errno is kept. Of more than 64 caches open at a time some are not known here.
 */
int pcache_handle_sigbus(const void *addr);

/**
 * @brief Explain an error of this library.
 * @param error  a value a pcache function returned; the sign does not matter
 * @return a static string
 * @par Thread-safety
 * Any thread.
 */
const char *pcache_strerror(int error);

/**
 * @brief Version of the library that is running.
 * @return a static string such as "0.1.0"
 * @par Thread-safety
 * Any thread.
 */
const char *pcache_version(void);

/**
 * @brief Create a queue of requests that complete later, for a host with an event loop.
 *
 * Any number of queues may be open; each has an eventfd. Reads that hit and writes that find space are done inside
 * pcache_submit(). A read that misses goes to the backing by libaio if the backing descriptor was opened with O_DIRECT;
 * a buffered one would read in the caller, so there, and for all else that would wait (space, a sync of a page
 * granularity media), threads of the queue wait: at most 16, started when needed.
 *
 * @param cache   an open cache
 * @param depth   requests that are submitted and not reaped, at most; 1..#PCACHE_QUEUE_DEPTH_MAX
 * @param[out] ret_queue  the queue; untouched on failure
 * @return 0, -EINVAL, -ENOMEM, -ENOTRECOVERABLE, or what eventfd(2) gave
 * @par Thread-safety
 * Any thread.
 * @snippet async.c queue
 */
int pcache_queue_create(struct pcache *cache, unsigned depth, struct pcache_queue **ret_queue);

/**
 * @brief Delete a queue. pcache_close() does it for those that are left.
 *
 * Requests that had not begun get the result -ECANCELED and have no effect; those that had begun end first, a write
 * with its own result, a read maybe with -ECANCELED. All are the caller's again, those not reaped, too.
 *
 * @param queue  a queue, or NULL
 * @return 0, or -ENOTRECOVERABLE
 * @par Thread-safety
 * No other call on this queue may be under way.
 */
int pcache_queue_delete(struct pcache_queue *queue);

/**
 * @brief The eventfd of a queue: readable (poll, epoll, io_uring) as long as pcache_reap() has something to do, and
 *        sometimes once more.
 * @param queue  a queue
 * @return a descriptor that must only be waited for, owned by the queue; or -EINVAL
 * @par Thread-safety
 * Any thread.
 */
int pcache_queue_fd(const struct pcache_queue *queue);

/**
 * @brief Submit requests, in order; none of them waits.
 *
 * Requests that are under way at the same time have no order among them. What is wrong with a request is its result.
 *
 * @param queue     a queue
 * @param requests  pointers to the requests
 * @param count     how many
 * @return how many were accepted, from the first on; -EAGAIN if none, because the queue is full: reap first;
 *         -EINVAL, -ENOTRECOVERABLE
 * @par Durability
 * A write that was reaped with success is as durable as after pcache_write(); one that was not reaped may or may not be
 * there after a crash, whole or not at all.
 * @par Thread-safety
 * Any thread.
 * @snippet async.c submit
 */
int pcache_submit(struct pcache_queue *queue, struct pcache_request *const *requests, unsigned count);

/**
 * @brief Take requests that have ended; their result is set. Does not wait.
 *
 * It also takes what the backing has read to its requests and to the cache, so it must be called when the descriptor is
 * readable.
 *
 * @param queue     a queue
 * @param[out] ret_done  pointers to requests that have ended, in no special order
 * @param max       room in @p ret_done
 * @return how many, maybe 0; -EINVAL, -ENOTRECOVERABLE
 * @par Thread-safety
 * Any thread.
 * @snippet async.c reap
 */
int pcache_reap(struct pcache_queue *queue, struct pcache_request **ret_done, unsigned max);

#ifdef __cplusplus
}
#endif

#endif
