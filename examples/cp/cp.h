/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cp.h - pcache-cp: copy a file through a cache, so that a crash never costs more than the last few blocks.
 *
 * Until it is complete a copy owns two files: the cache, and beside it the record CACHE.resume, a small text that says
 * which copy this is and how far it is. A copy goes through three phases:
 *
 *   copying --(all of the source is flushed)--> copied --(cache drained)--> drained --> record and cache removed
 *
 * (C1) The record never names a byte that was not flushed before: all it names is in the cache or on the destination.
 * (C2) The record is there from before the cache is made until the destination is complete: whoever finds one knows
 *      that the copy is unfinished.
 * (C3) The destination is not changed before every check that needs no change has passed.
 * (C4) The cache is removed only after the record says "drained".
 *
 * Functions that return int return 0 or an exit status of the program, and then have said why on stderr, unless they
 * say otherwise. One thread copies; only the log callback may come from other threads.
 */
#ifndef CP_H
#define CP_H

#include "pcache.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum cp_status {
	CP_OK = 0,
	CP_FAILED = 1,  /* a file could not be read or written */
	CP_USAGE = 2,   /* the command makes no sense */
	CP_REFUSED = 3, /* the cache or the record does not fit, is busy or damaged */
	CP_SIGNAL = 128, /* plus the number of the signal */
};

#define CP_ID_BYTES 16

/* options.c */
struct cp_options {
	const char *source;
	const char *destination;
	char *cache;
	char *record;      /* CACHE.resume */
	char *record_temp; /* where a new record is written before it takes its name */
	uint64_t cache_bytes; /* 0: chosen from the size of the source */
	uint64_t size_bytes;  /* room for a source of unknown size; 0: what the file system has free */
	uint64_t block_bytes;
	uint64_t checkpoint_bytes;
	bool stats;
	bool no_drain;
	bool resume;
	bool restart;
	bool keep_cache;
	bool progress;
	bool verbose;
	bool direct;
};

/* ret_done: the program is finished (help, version). The strings are freed by cp_options_free(). */
int cp_options_parse(int argc, char **argv, struct cp_options *ret_options, bool *ret_done);
void cp_options_free(struct cp_options *options);

/* progress.c: all that goes to stderr */
struct cp_progress {
	bool shown;
	const char *label;
	uint64_t total_bytes; /* 0: unknown */
	uint64_t first_bytes;
	uint64_t begin_ns;
	uint64_t last_ns;
};

#define CP_HUMAN_BYTES 32

int cp_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cp_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cp_log(enum pcache_log_level level, const char *message, void *arg); /* arg: struct cp_options */
uint64_t cp_now_ns(void);
const char *cp_human(char text[static CP_HUMAN_BYTES], uint64_t bytes);
void cp_progress_begin(struct cp_progress *progress, const char *label, uint64_t done_bytes, uint64_t total_bytes);
void cp_progress_update(struct cp_progress *progress, uint64_t done_bytes);
void cp_progress_end(struct cp_progress *progress);

/* files.c: source and destination */
struct cp_source {
	const char *name;
	int fd;
	bool stream;        /* a pipe or terminal: size unknown, cannot be read twice */
	uint64_t start_off; /* a redirected stdin may not begin at 0 */
	uint64_t size_bytes;
	struct stat status; /* when it was opened */
	uint8_t id[CP_ID_BYTES];
};

struct cp_destination {
	const char *name;
	int fd;
	bool created;
	bool device;
	uint64_t size_bytes;
	uint8_t id[CP_ID_BYTES]; /* the backing id in the cache */
};

int cp_source_open(const char *name, struct cp_source *ret_source);
/* Fills len bytes if the source has them; bytes read, 0 at the end, or negative errno without a message. */
ssize_t cp_source_read(struct cp_source *source, void *buf, size_t len, uint64_t off);
int cp_source_check_unchanged(const struct cp_source *source);

/* Opens options->destination; mode counts where it is created. */
int cp_destination_open(const struct cp_options *options, bool create, mode_t mode,
			struct cp_destination *ret_destination);
/* Gives it the size that the cache will be opened with, durably. */
int cp_destination_resize(struct cp_destination *destination, uint64_t size_bytes);
/* Room for a stream of unknown length. */
int cp_destination_room(const struct cp_destination *destination, uint64_t *ret_bytes);
/* Make file and name durable. */
int cp_destination_sync(const struct cp_destination *destination);
int cp_sync_directory_of(const char *path); /* 0 or negative errno, no message */

/* Source, destination, cache and record must be four files. */
int cp_check_distinct(const struct cp_options *options, const struct cp_source *source,
		      const struct cp_destination *destination);

/* record.c */
enum cp_phase {
	CP_COPYING,
	CP_COPIED,
	CP_DRAINED,
};

struct cp_record {
	enum cp_phase phase;
	bool cache_created;
	uint64_t copied_bytes; /* from the start of the source, durable */
	uint64_t volume_bytes; /* size of the destination while the cache is in front of it */
	bool stream;
	uint64_t source_bytes;
	uint64_t source_start_off;
	int64_t source_mtime_s;
	int64_t source_mtime_ns;
	uint8_t source_id[CP_ID_BYTES];
	uint8_t destination_id[CP_ID_BYTES];
	char source[1024]; /* for the reader; shortened, without control characters */
};

bool cp_record_exists(const struct cp_options *options);
int cp_record_load(const struct cp_options *options, struct cp_record *ret_record);
int cp_record_save(const struct cp_options *options, const struct cp_record *record);
int cp_record_remove(const struct cp_options *options);

void cp_record_describe(struct cp_record *record, const struct cp_source *source,
			const struct cp_destination *destination);
int cp_record_check_source(const struct cp_record *record, const struct cp_source *source);
int cp_record_check_destination(const struct cp_record *record, const struct cp_destination *destination);

/* start.c, copy.c, report.c: one copy */
struct cp_job {
	const struct cp_options *options;
	struct cp_source source;
	struct cp_destination destination;
	struct cp_record record;
	struct pcache *cache;
	struct pcache_stats stats; /* the last look before close */
	struct cp_progress progress;
	uint64_t resumed_bytes; /* where this run took up */
	uint64_t done_bytes;    /* written to the cache so far */
	uint64_t checkpoint_ns; /* of the last record */
	uint64_t begin_ns;
	uint64_t opened_ns;  /* these three: 0 if not reached */
	uint64_t durable_ns;
	uint64_t drained_ns;
};

/* Everything up to an open cache. Where the record says "drained" there is no cache to open. */
int cp_start(struct cp_job *job);

/* The rest. job->cache is closed when it returns. */
int cp_copy(struct cp_job *job);

void cp_report(const struct cp_job *job);

/* main.c: set by SIGINT and SIGTERM, 0 before */
extern volatile sig_atomic_t cp_caught_signal;

#endif
