/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fixture.h - what all api tests share: one cache in front of one backing file, a plain array that says what the
 * backing must read as, and pictures of files that prove that nothing was touched.
 *
 * Everything goes through include/pcache.h. Helpers that begin with fixture_ assert by themselves, so they belong in
 * the thread that runs the test; other threads report through a struct verdict.
 *
 * Environment: PC_TEST_CACHE_DIR (cache files, default /dev/shm), PC_TEST_DIR (backing files, default /var/tmp),
 * PC_TEST_SCALE (percent of the usual number of rounds), PC_TEST_SEED (one seed instead of the usual ones),
 * PC_TEST_VERBOSE (shows the library's log messages).
 */
#ifndef TEST_API_FIXTURE_H
#define TEST_API_FIXTURE_H

#include "pcache.h"
#include "random.h"

#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

#define SEGMENT_SMALL (64 * KIB)
#define CACHE_SMALL   MIB         /* 14 segments of SEGMENT_SMALL */
#define CACHE_LEAST   (640 * KIB) /* 8 of them, and what the format takes before the first one */
#define SECTOR        512u

#define PATH_BYTES     512
#define TIMEOUT_SECONDS 600 /* a ceiling for one test case, also under sanitizers */

struct fixture {
	char cache_path[PATH_BYTES];
	char backing_path[PATH_BYTES];
	int fd; /* of the backing */
	uint64_t bytes;
	uint8_t *model; /* what the whole backing must read as */
	uint8_t *scratch;
	struct test_random random;
	struct pcache_config config; /* used by every open */
	struct pcache *cache;        /* NULL while closed */
	_Atomic unsigned log_errors; /* messages of level error so far, none of them empty */
};

/* A file as it was: existence, size, time of the last change, content. */
struct picture {
	bool exists;
	uint64_t bytes;
	struct timespec changed;
	uint8_t *content;
};

/* First failure seen by a thread that may not assert. */
struct verdict {
	bool failed;
	char message[256];
};

void verdict_fail(struct verdict *verdict, const char *format, ...) __attribute__((format(printf, 2, 3)));

unsigned scaled(unsigned count); /* by PC_TEST_SCALE, at least 1 */
bool media_is_slow(void);        /* page granularity: every sync is a system call */
unsigned thinned(unsigned count); /* scaled(), and a sixth of it on slow media */
uint64_t seed_or(uint64_t seed); /* PC_TEST_SEED if set */
void slow_down(unsigned microseconds); /* a pause between two looks at a condition; decides nothing */

/* A directory for this program's files below PC_TEST_CACHE_DIR or PC_TEST_DIR; the text stays valid. */
const char *test_cache_dir(void);
const char *test_backing_dir(void);

/* Runs the suite with those directories in place and removes them: the body of main(). */
int test_main(Suite *suite);

/* A case with the usual ceiling, already part of the suite. */
TCase *test_case(Suite *suite, const char *name);

/* Creates the backing with random content and fills in the config; nothing is opened, or the cache is created. */
struct fixture *fixture_make(uint64_t backing_bytes, uint64_t cache_bytes, uint64_t segment_bytes);
struct fixture *fixture_make_open(uint64_t backing_bytes, uint64_t cache_bytes, uint64_t segment_bytes);
void fixture_free(struct fixture *fx); /* closes what is open, removes the files */
/* Created with CACHE_SMALL and closed: block i of 4 KiB, for the first DIRTY_BLOCKS, is dirty in sealed segments. */
#define DIRTY_BLOCKS 60u
struct fixture *fixture_make_dirty(uint64_t backing_bytes);

/* The backing's descriptor gets O_DIRECT, or, where the file system has none, stays as it is, with a message. */
void fixture_use_direct(struct fixture *fx);

int fixture_try_open(struct fixture *fx, uint32_t flags);
void fixture_open(struct fixture *fx, uint32_t flags);
void fixture_close(struct fixture *fx, unsigned flags);
void fixture_reopen(struct fixture *fx);

/* Settings that leave write-back asleep until it is asked for, as long as there is room. */
void fixture_keep_dirty(struct fixture *fx);

/* Opens with these flags and expects this error, a message, no handle, and both files as they were. */
void fixture_refuse(struct fixture *fx, uint32_t flags, int error);

void fixture_write(struct fixture *fx, uint64_t off, size_t len); /* random bytes, also into the model */
void fixture_write_flags(struct fixture *fx, uint64_t off, size_t len, unsigned flags);
void fixture_check(struct fixture *fx, uint64_t off, size_t len);
void fixture_check_all(struct fixture *fx);
void fixture_check_backing(struct fixture *fx); /* the file itself, and its size */
void fixture_drain(struct fixture *fx);
struct pcache_stats fixture_stats(struct fixture *fx);

struct picture picture_take(const char *path);
bool picture_is_same(const char *path, const struct picture *picture);
void picture_free(struct picture *picture);

/* Reads or overwrites bytes of a closed file. */
void file_read(const char *path, uint64_t off, void *buf, size_t len);
void file_write(const char *path, uint64_t off, const void *buf, size_t len);
void file_flip(const char *path, uint64_t off); /* inverts one byte */
void file_make(const char *path, const void *content, size_t len);

/* Where these bytes are in the file, searched at multiples of 64; UINT64_MAX: nowhere. */
uint64_t file_find(const char *path, const void *bytes, size_t len);

/* Waits for the child; true when it left with exit status 0. */
bool child_succeeded(pid_t pid);

#endif
