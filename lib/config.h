/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.h - the settings of one open cache: the public struct, checked once, with its defaults filled in.
 */
#ifndef PC_CONFIG_H
#define PC_CONFIG_H

#include "log.h"
#include "util.h"

#define PC_TUNABLES 15u
#define PC_TUNABLE_UNSET UINT64_MAX /* of a setting that the media has: as it is there */

struct pc_config {
	bool create;
	bool exclusive;
	bool readonly;
	bool salvage; /* and readonly */
	bool any_backing;
	bool drop_clean;
	bool discard_dirty;
	bool grow;
	bool shows_stats;       /* statistics are shown in the cache file */
	bool durable_on_return; /* on page granularity too: every write is synced */
	uint64_t cache_size_bytes;
	uint32_t segment_bytes;
	uint8_t backing_id[16];
	uint32_t queue_depth;
	uint32_t replay_threads;
	uint64_t tunables[PC_TUNABLES]; /* by enum pcache_tunable: what they are at open; DIRTY_HIGH 0: a quarter of the cache */
	struct pc_log log;
	pcache_state_fn state_changed; /* may be NULL */
	void *state_arg;
};

/* `config` may be NULL, or shorter than today's struct. -EINVAL or -EOPNOTSUPP, with a message. */
int pc_config_check(const struct pcache_config *config, struct pc_config *ret_config);

bool pc_config_has_tunable(unsigned tunable);

/* -EINVAL: no such tunable; -ERANGE, with a message. */
int pc_config_check_tunable(const struct pc_log *log, unsigned tunable, uint64_t value);

#endif
