/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ctl.h - what the commands of pcachectl share: the table of commands, options, messages, the two files of a cache.
 */
#ifndef CTL_H
#define CTL_H

#include "pcache.h"

#include <getopt.h>
#include <stdbool.h>

#define CTL_ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Exit status. Those of check and repair are fsck's: 0 sound, 1 put right or easily so, 4 damage that stays. */
#define CTL_OK      0
#define CTL_FAILED  1
#define CTL_USAGE   2
#define CTL_DAMAGED 4
#define CTL_STOPPED 130 /* by Ctrl-C */

#define CTL_GO (-1) /* no exit status: go on */

struct ctl_command {
	const char *name;
	const char *usage; /* what stands behind the name */
	const char *brief; /* one line */
	const char *text;  /* the rest of the help */
	int (*run)(const struct ctl_command *command, int argc, char **argv);
};

/* ---- main.c ---- */

extern const struct ctl_command ctl_commands[];
const struct ctl_command *ctl_find_command(const char *name); /* NULL: none */

/* ---- args.c ---- */

enum ctl_kind {
	CTL_FLAG,   /* bool */
	CTL_TEXT,   /* const char * */
	CTL_SIZE,   /* uint64_t, with K, M, G, T */
	CTL_NUMBER, /* uint64_t */
};

struct ctl_option {
	const char *name;
	enum ctl_kind kind;
	void *value;      /* changed when the option is given */
	const char *meta; /* what the argument is called in the help; NULL for a flag */
	const char *help;
};

/*
 * Read the options of a command; the words left over are argv[optind] on, from `words_min` to `words_max` of them.
 * CTL_GO, or the exit status: of --help, or of a wrong call, which has been explained.
 */
int ctl_parse(const struct ctl_command *command, int argc, char **argv, const struct ctl_option *options, size_t count,
	      int words_min, int words_max);

/* "4096", "64K", "1.5G", "16MiB": false if it is none, or not a whole number of bytes. */
bool ctl_parse_size(const char *text, uint64_t *ret_bytes);
bool ctl_parse_number(const char *text, uint64_t *ret_number);

/* ---- say.c: all that goes to stderr ---- */

void ctl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ctl_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3))); /* says it, returns status */

/* Say why the library refused, and what to do next; CTL_FAILED. */
int ctl_refused(const char *path, int error);

/* For pcache_config::log: errors and warnings to stderr. */
void ctl_log(enum pcache_log_level level, const char *message, void *arg);

/* A bar on a terminal, else nothing. Begin, any number of updates, end. */
struct ctl_progress {
	const char *what;
	bool shown;
	uint64_t begin_ns;
	uint64_t drawn_ns;
};
void ctl_progress_begin(struct ctl_progress *progress, const char *what);
void ctl_progress_update(struct ctl_progress *progress, uint64_t done_bytes, uint64_t total_bytes);
void ctl_progress_end(struct ctl_progress *progress);

uint64_t ctl_now_ns(void); /* monotonic */

/* From now on SIGINT and SIGTERM only set what ctl_is_stopped() tells. */
void ctl_catch_stop(void);
bool ctl_is_stopped(void);

/* ---- open.c ---- */

#define CTL_ID_BYTES 16

struct ctl_backing {
	const char *path;    /* --backing */
	const char *id_text; /* --backing-id, 32 hexadecimal digits */
	bool any;            /* --any-backing */
};

#define CTL_BACKING_OPTIONS(backing)                                                                             \
	{ "backing", CTL_TEXT, &(backing)->path, "PATH", "the file or block device behind the cache" },          \
	{ "backing-id", CTL_TEXT, &(backing)->id_text, "HEX", "its id, where the application gave it one" },     \
	{ "any-backing", CTL_FLAG, &(backing)->any, NULL, "take it whatever its id is, and if it has grown" }

/* A name for this file or device: the same until it is replaced by another one. All zero: none can be made. */
void ctl_derive_id(int fd, uint8_t ret_id[CTL_ID_BYTES]);
bool ctl_id_is_derived(const uint8_t id[CTL_ID_BYTES]);
bool ctl_id_is_none(const uint8_t id[CTL_ID_BYTES]);
bool ctl_parse_id(const char *text, uint8_t ret_id[CTL_ID_BYTES]);

/* Open the backing; CTL_OK, or an exit status after a message. */
int ctl_open_backing(const char *path, bool readonly, int *ret_fd);

/*
 * Open an existing cache in front of its backing. The id is checked if one was given, or if the cache has one that this
 * program derived. `config` was initialised by the caller, and may hold flags and sizes. CTL_OK, or an exit status after
 * a message.
 */
int ctl_open_cache(const char *path, const struct ctl_backing *backing, struct pcache_config *config, int *ret_fd,
		   struct pcache **ret_cache);

/* The names that options use: "writeback" ...; 0: no such mode. */
uint32_t ctl_mode_of(const char *name);
const char *ctl_mode_name(uint32_t mode);
const char *ctl_granularity_name(uint32_t granularity);

/* ---- commands ---- */

int ctl_create(const struct ctl_command *command, int argc, char **argv);
int ctl_info(const struct ctl_command *command, int argc, char **argv);
int ctl_stats(const struct ctl_command *command, int argc, char **argv);
int ctl_check(const struct ctl_command *command, int argc, char **argv);
int ctl_repair(const struct ctl_command *command, int argc, char **argv);
int ctl_drain(const struct ctl_command *command, int argc, char **argv);
int ctl_scrub(const struct ctl_command *command, int argc, char **argv);
int ctl_grow(const struct ctl_command *command, int argc, char **argv);
int ctl_forget(const struct ctl_command *command, int argc, char **argv);
int ctl_export(const struct ctl_command *command, int argc, char **argv);

#endif
