/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random_run.h - a run of random writes with a flush after each, drained and compared with a model, and what it cost.
 */
#ifndef TEST_API_RANDOM_RUN_H
#define TEST_API_RANDOM_RUN_H

#include <stdint.h>

struct random_run {
	const char *cache_path;
	const char *backing_path;
	uint64_t volume_bytes; /* of the backing; a multiple of write_bytes */
	uint64_t cache_bytes;
	uint64_t segment_bytes; /* 0: the library's default */
	uint64_t dirty_bytes;   /* write-back starts above this; 0: the library's default */
	uint64_t write_bytes;
	uint64_t writes;
	uint64_t seed;
};

struct random_result {
	uint64_t writes;
	uint64_t backing_syncs;
	uint64_t writeback_ios;
	uint64_t mismatches; /* blocks of the drained backing that differ from the model */
};

/* Makes both files anew and leaves them. Returns 0, or a negative errno after a line on stderr. */
int random_run(const struct random_run *run, struct random_result *ret_result);

#endif
