/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - checks the public settings and fills in defaults. The public struct may come from a program that was
 * compiled with an older, shorter header: what it does not have is zero, and zero means the default.
 */
#include "config.h"

#include "format.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define SIZE_MIN offsetof(struct pcache_config, log) /* of the first version: up to the backing id */
#define SIZE_MAX_SANE 4096u

#define CHANGE_FLAGS (PCACHE_OPEN_DROP_CLEAN | PCACHE_OPEN_DISCARD_DIRTY | PCACHE_OPEN_GROW)
#define OPEN_FLAGS   \
	(PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL | PCACHE_OPEN_READONLY | PCACHE_OPEN_ANY_BACKING | PCACHE_OPEN_SALVAGE | \
	 CHANGE_FLAGS)

#define GC_PERCENT_MAX       95u
#define BATCH_BYTES_DEFAULT  (64ull << 20)
#define DIRTY_AGE_MS_DEFAULT 5000u
#define QUEUE_DEPTH_DEFAULT  32u
#define QUEUE_DEPTH_MAX      256u
#define REPLAY_THREADS_MAX   64u
#define READ_AHEAD_DEFAULT   (128u << 10)
#define READ_AHEAD_MAX       (256u << 10)
#define READ_AHEAD_OFF       1u
#define BACKING_WAIT_DEFAULT 10000u

static int check_flags(const struct pcache_config *in)
{
	const struct pc_log log = { in->log, in->log_arg };

	if ((in->flags & ~OPEN_FLAGS) != 0)
		return pc_fail(&log, -EINVAL, "config: unknown flags 0x%x", in->flags & ~OPEN_FLAGS);
	if ((in->flags & PCACHE_OPEN_EXCL) != 0 && (in->flags & PCACHE_OPEN_CREATE) == 0)
		return pc_fail(&log, -EINVAL, "config: EXCL makes sense only together with CREATE");
	if ((in->flags & PCACHE_OPEN_SALVAGE) != 0 && (in->flags & (PCACHE_OPEN_CREATE | CHANGE_FLAGS)) != 0)
		return pc_fail(&log, -EINVAL, "config: flags: SALVAGE only reads; CREATE, and what changes the cache, do not go with it");
	if ((in->flags & PCACHE_OPEN_READONLY) != 0 && (in->flags & PCACHE_OPEN_CREATE) != 0)
		return pc_fail(&log, -EINVAL, "config: READONLY and CREATE exclude each other");
	if ((in->flags & PCACHE_OPEN_READONLY) != 0 && (in->flags & CHANGE_FLAGS) != 0)
		return pc_fail(&log, -EINVAL, "config: READONLY excludes DROP_CLEAN, DISCARD_DIRTY and GROW");
	return 0;
}

static int check_modes(const struct pcache_config *in)
{
	const struct pc_log log = { in->log, in->log_arg };

	if (in->mode > PCACHE_MODE_WRITEONLY)
		return pc_fail(&log, -EINVAL, "config: mode %u does not exist", in->mode);
	if (in->durability > PCACHE_DURABILITY_ON_FLUSH)
		return pc_fail(&log, -EINVAL, "config: durability %u does not exist", in->durability);
	if (in->read_verify > PCACHE_VERIFY_ALWAYS + 1)
		return pc_fail(&log, -EINVAL, "config: read_verify %u does not exist", in->read_verify);
	return 0;
}

static int check_numbers(const struct pcache_config *in)
{
	const struct pc_log log = { in->log, in->log_arg };
	uint32_t segment = in->segment_size_bytes == 0 ? PCM_SEGMENT_DEFAULT : in->segment_size_bytes;

	if (!pc_is_power_of_two(segment) || segment < PCM_SEGMENT_MIN || segment > PCM_SEGMENT_MAX)
		return pc_fail(&log, -EINVAL, "config: segment_size_bytes %u is not a power of two from %u to %u", segment,
			       PCM_SEGMENT_MIN, PCM_SEGMENT_MAX);
	if (in->queue_depth > QUEUE_DEPTH_MAX)
		return pc_fail(&log, -EINVAL, "config: queue_depth %u is above %u", in->queue_depth, QUEUE_DEPTH_MAX);
	if (in->replay_threads > REPLAY_THREADS_MAX)
		return pc_fail(&log, -EINVAL, "config: replay_threads %u is above %u", in->replay_threads,
			       REPLAY_THREADS_MAX);
	if (in->cache_size_bytes > INT64_MAX)
		return pc_fail(&log, -EINVAL, "config: cache_size_bytes %" PRIu64 " is too large", in->cache_size_bytes);
	return 0;
}

/* Which of them, what it is called, its limits. */
static const struct {
	const char *name;
	uint64_t min;
	uint64_t max;
} tunables[PC_TUNABLES] = {
	[PCACHE_TUNABLE_EVICTION] = { "eviction", 0, PCACHE_EVICTION_FIFO },
	[PCACHE_TUNABLE_FILL] = { "fill", 0, PCACHE_FILL_NEVER },
	[PCACHE_TUNABLE_READ_AHEAD] = { "read_ahead_bytes", 0, READ_AHEAD_MAX },
	[PCACHE_TUNABLE_SEQUENTIAL_BYPASS] = { "sequential_bypass_bytes", 0, INT64_MAX },
	[PCACHE_TUNABLE_GC_PERCENT] = { "gc_percent", 0, GC_PERCENT_MAX },
	[PCACHE_TUNABLE_DIRTY_HIGH] = { "dirty_high_bytes", 0, UINT64_MAX },
	[PCACHE_TUNABLE_DIRTY_AGE_MS] = { "dirty_age_ms", 1, UINT32_MAX },
	[PCACHE_TUNABLE_BATCH_BYTES] = { "batch_bytes", 1, UINT64_MAX },
	[PCACHE_TUNABLE_READ_VERIFY] = { "read_verify", 0, PCACHE_VERIFY_ALWAYS },
	[PCACHE_TUNABLE_WRITEBACK_PAUSED] = { "writeback_paused", 0, 1 },
	[PCACHE_TUNABLE_MODE] = { "mode", PCACHE_MODE_WRITEBACK, PCACHE_MODE_WRITEONLY },
	[PCACHE_TUNABLE_BACKING_WAIT_MS] = { "backing_wait_ms", 0, UINT32_MAX },
	[PCACHE_TUNABLE_DIRTY_LOW] = { "dirty_low_bytes", 0, UINT64_MAX },
	[PCACHE_TUNABLE_QUEUE_DEPTH] = { "queue_depth", 1, QUEUE_DEPTH_MAX },
	[PCACHE_TUNABLE_WRITEBACK_RATE] = { "writeback_rate", 0, UINT64_MAX },
};

bool pc_config_has_tunable(unsigned tunable)
{
	return tunable < PC_TUNABLES && tunables[tunable].name != NULL;
}

int pc_config_check_tunable(const struct pc_log *log, unsigned tunable, uint64_t value)
{
	if (!pc_config_has_tunable(tunable))
		return -EINVAL;
	if (value < tunables[tunable].min || value > tunables[tunable].max)
		return pc_fail(log, -ERANGE, "%s: %" PRIu64 " is not in %" PRIu64 "..%" PRIu64, tunables[tunable].name, value,
			       tunables[tunable].min, tunables[tunable].max);
	return 0;
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
	return value == 0 ? otherwise : value;
}

static void fill_tunables(const struct pcache_config *in, uint64_t out[PC_TUNABLES])
{
	uint64_t ahead = or_default(in->read_ahead_bytes, READ_AHEAD_DEFAULT);

	out[PCACHE_TUNABLE_EVICTION] = in->eviction;
	out[PCACHE_TUNABLE_FILL] = in->fill;
	out[PCACHE_TUNABLE_READ_AHEAD] = ahead == READ_AHEAD_OFF ? 0 : ahead;
	out[PCACHE_TUNABLE_SEQUENTIAL_BYPASS] = in->sequential_bypass_bytes;
	out[PCACHE_TUNABLE_GC_PERCENT] = or_default(in->gc_percent, PC_TUNABLE_UNSET);
	out[PCACHE_TUNABLE_DIRTY_HIGH] = in->dirty_high_bytes;
	out[PCACHE_TUNABLE_DIRTY_AGE_MS] = or_default(in->dirty_age_ms, DIRTY_AGE_MS_DEFAULT);
	out[PCACHE_TUNABLE_BATCH_BYTES] = or_default(in->batch_bytes, BATCH_BYTES_DEFAULT);
	out[PCACHE_TUNABLE_READ_VERIFY] = or_default(in->read_verify, PCACHE_VERIFY_FIRST + 1) - 1;
	out[PCACHE_TUNABLE_WRITEBACK_PAUSED] = 0;
	out[PCACHE_TUNABLE_MODE] = in->mode == PCACHE_MODE_DEFAULT ? PC_TUNABLE_UNSET : in->mode;
	out[PCACHE_TUNABLE_BACKING_WAIT_MS] = or_default(in->backing_wait_ms, BACKING_WAIT_DEFAULT);
	out[PCACHE_TUNABLE_DIRTY_LOW] = or_default(in->dirty_low_bytes, PCACHE_DIRTY_LOW_HALF);
	out[PCACHE_TUNABLE_QUEUE_DEPTH] = or_default(in->queue_depth, QUEUE_DEPTH_DEFAULT);
	out[PCACHE_TUNABLE_WRITEBACK_RATE] = in->writeback_rate;
}

/* As the media has it. */
static bool is_kept(unsigned tunable, uint64_t value)
{
	return value == PC_TUNABLE_UNSET && (tunable == PCACHE_TUNABLE_GC_PERCENT || tunable == PCACHE_TUNABLE_MODE);
}

static int check_tunables(const struct pcache_config *in)
{
	const struct pc_log log = { in->log, in->log_arg };
	uint64_t values[PC_TUNABLES] = { 0 };

	fill_tunables(in, values);
	for (unsigned i = 0; i < PC_TUNABLES; i++)
		if (pc_config_has_tunable(i) && !is_kept(i, values[i]) &&
		    pc_config_check_tunable(&log, i, values[i]) < 0)
			return -EINVAL;
	return 0;
}

static uint32_t processors(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count < 1 ? 1 : (uint32_t)pc_min64((uint64_t)count, REPLAY_THREADS_MAX);
}

static struct pc_config with_defaults(const struct pcache_config *in)
{
	struct pc_config out = {
		.create = (in->flags & PCACHE_OPEN_CREATE) != 0,
		.exclusive = (in->flags & PCACHE_OPEN_EXCL) != 0,
		.readonly = (in->flags & (PCACHE_OPEN_READONLY | PCACHE_OPEN_SALVAGE)) != 0,
		.salvage = (in->flags & PCACHE_OPEN_SALVAGE) != 0,
		.any_backing = (in->flags & PCACHE_OPEN_ANY_BACKING) != 0,
		.drop_clean = (in->flags & PCACHE_OPEN_DROP_CLEAN) != 0,
		.discard_dirty = (in->flags & PCACHE_OPEN_DISCARD_DIRTY) != 0,
		.grow = (in->flags & PCACHE_OPEN_GROW) != 0,
		.durable_on_return = in->durability == PCACHE_DURABILITY_ON_RETURN,
		.cache_size_bytes = in->cache_size_bytes,
		.segment_bytes = in->segment_size_bytes == 0 ? PCM_SEGMENT_DEFAULT : in->segment_size_bytes,
		.queue_depth = in->queue_depth == 0 ? QUEUE_DEPTH_DEFAULT : in->queue_depth,
		.replay_threads = in->replay_threads == 0 ? processors() : in->replay_threads,
		.log = { in->log, in->log_arg },
		.state_changed = in->state_changed,
		.state_arg = in->state_arg,
	};

	fill_tunables(in, out.tunables);
	memcpy(out.backing_id, in->backing_id, sizeof(out.backing_id));
	return out;
}

int pc_config_check(const struct pcache_config *config, struct pc_config *ret_config)
{
	struct pcache_config in = { 0 };
	int ret;

	if (config != NULL) {
		if (config->size < SIZE_MIN || config->size > SIZE_MAX_SANE)
			return -EINVAL;
		memcpy(&in, config, pc_min64(config->size, sizeof(in)));
	}
	ret = check_flags(&in);
	if (ret == 0)
		ret = check_modes(&in);
	if (ret == 0)
		ret = check_numbers(&in);
	if (ret == 0)
		ret = check_tunables(&in);
	if (ret == 0)
		*ret_config = with_defaults(&in);
	return ret;
}
