/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * identity.c - the cache info record: whose backing it is, how often it was opened, the settings that outlive a close,
 * and whether it was closed in order. The one place that reads and writes it.
 *
 * (Y1) What is in force is what the media says: a setting counts only after it is durable.
 * (Y2) Updates are serialised, each is one update of a two-slot record: after a crash the old record or the new one.
 * (Y3) That the backing may be written past the cache is durable before it happens. An open that finds it so, and no close
 *      behind it, takes the whole backing for not synced: a process that was killed left its writes in the system.
 *
 * Lock: pcache.identity_lock, held across the media barriers of an update.
 */
#include "cache.h"

#include <errno.h>
#include <string.h>

#define GC_PERCENT_DEFAULT 70u
#define EPOCH_MAX          (1ull << 31) /* an open a second for 68 years */
#define GC_PERCENT_MAX     95u

/* ---- the record ---- */

static struct pc_meta record_of(const uint8_t uuid[16])
{
	return (struct pc_meta){
		.off = PCM_INFO_OFF,
		.bytes = sizeof(struct pcm_info),
		.magic = PCM_MAGIC_INFO,
		.seed = pc_meta_seed(uuid, 0),
	};
}

static struct pcm_info encode(const struct pc_identity *identity)
{
	struct pcm_info info = {
		.flags = pc_le32((identity->is_clean ? PCM_INFO_CLEAN : 0) |
				 (identity->is_dropping ? PCM_INFO_DROPPING : 0) |
				 (identity->may_bypass ? PCM_INFO_BYPASS : 0) |
				 (identity->has_lost ? PCM_INFO_LOST : 0)),
		.mode = pc_le32(identity->mode - PCACHE_MODE_WRITEBACK),
		.gc_percent = pc_le32(identity->gc_percent),
		.backing_bytes = pc_le64(identity->backing_bytes),
		.epoch = pc_le64(identity->epoch),
		.first_seq = pc_le64(identity->first_seq),
	};

	memcpy(info.backing_id, identity->backing_id, sizeof(info.backing_id));
	return info;
}

/* The one place that takes an info record from the media: every field is bounded here. */
static int decode(const struct pcache *cache, const struct pcm_info *info, struct pc_identity *identity)
{
	const struct pc_log *log = &cache->config.log;
	uint32_t flags = pc_get32(info->flags);
	uint32_t mode = pc_get32(info->mode);
	uint32_t gc_percent = pc_get32(info->gc_percent);
	uint64_t first_seq = pc_get64(info->first_seq);
	bool is_dropping = (flags & PCM_INFO_DROPPING) != 0;

	if (mode > PCACHE_MODE_WRITEONLY - PCACHE_MODE_WRITEBACK || pc_get32(info->options) != 0)
		return pc_fail(log, -EPROTONOSUPPORT, "mode %u, options 0x%x are not offered by this version", mode,
			       pc_get32(info->options));
	if ((flags & ~(PCM_INFO_CLEAN | PCM_INFO_DROPPING | PCM_INFO_BYPASS | PCM_INFO_LOST)) != 0 ||
	    (is_dropping && (flags & PCM_INFO_LOST) != 0) || gc_percent > GC_PERCENT_MAX ||
	    pc_get64(info->epoch) > EPOCH_MAX || is_dropping != (first_seq != 0) || first_seq >> 63 != 0)
		return pc_fail(log, -EUCLEAN, "the cache info makes no sense: flags 0x%x, gc_percent %u, epoch %llu",
			       flags, gc_percent, (unsigned long long)pc_get64(info->epoch));
	identity->is_clean = (flags & PCM_INFO_CLEAN) != 0;
	identity->is_dropping = is_dropping;
	identity->may_bypass = (flags & PCM_INFO_BYPASS) != 0;
	identity->has_lost = (flags & PCM_INFO_LOST) != 0;
	identity->first_seq = first_seq;
	identity->mode = mode + PCACHE_MODE_WRITEBACK; /* a cache that never heard of modes has 0 there */
	identity->gc_percent = gc_percent;
	identity->backing_bytes = pc_get64(info->backing_bytes);
	identity->epoch = pc_get64(info->epoch);
	memcpy(identity->backing_id, info->backing_id, sizeof(identity->backing_id));
	return 0;
}

/* ---- create and load ---- */

static void apply(struct pcache *cache, enum pcache_tunable tunable, uint64_t value)
{
	atomic_store_explicit(&cache->tunables[tunable], value, memory_order_relaxed);
	if (tunable == PCACHE_TUNABLE_MODE)
		atomic_store_explicit(&cache->mode, (uint8_t)value, memory_order_relaxed);
}

/* What the user did not set is as the media has it. */
static void fill_unset(struct pcache *cache, enum pcache_tunable tunable, uint64_t known)
{
	uint64_t value = pc_tunable(cache, tunable);

	if (value == PC_TUNABLE_UNSET || (tunable == PCACHE_TUNABLE_MODE && value == PCACHE_MODE_DEFAULT))
		value = known;
	apply(cache, tunable, value);
}

void pc_identity_new(struct pcache *cache, const uint8_t uuid[16])
{
	struct pc_identity *identity = &cache->identity;

	cache->info_meta = record_of(uuid);
	fill_unset(cache, PCACHE_TUNABLE_GC_PERCENT, GC_PERCENT_DEFAULT);
	fill_unset(cache, PCACHE_TUNABLE_MODE, PCACHE_MODE_WRITEBACK);
	memcpy(identity->uuid, uuid, sizeof(identity->uuid));
	memcpy(identity->backing_id, cache->config.backing_id, sizeof(identity->backing_id));
	identity->backing_bytes = cache->backing->size_bytes;
	identity->epoch = 1;
	identity->mode = pc_cache_mode(cache);
	identity->may_bypass = identity->mode == PCACHE_MODE_WRITEAROUND;
	identity->gc_percent = (uint32_t)pc_tunable(cache, PCACHE_TUNABLE_GC_PERCENT);
}

int pc_identity_create(struct pcache *cache)
{
	struct pcm_info info = encode(&cache->identity);

	return pc_meta_create(cache->media, &cache->info_meta, &info);
}

int pc_identity_load(struct pcache *cache, const uint8_t uuid[16])
{
	struct pcm_info info;
	int ret;

	cache->info_meta = record_of(uuid);
	memcpy(cache->identity.uuid, uuid, sizeof(cache->identity.uuid));
	ret = pc_meta_load(cache->media, &cache->info_meta, &info);

	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "both copies of the cache info are damaged");
	ret = decode(cache, &info, &cache->identity);
	if (ret < 0)
		return ret;
	if (cache->identity.may_bypass)
		pc_bypass_add(&cache->bypass, 0, cache->backing->size_bytes, 0); /* (Y3) */
	fill_unset(cache, PCACHE_TUNABLE_GC_PERCENT, cache->identity.gc_percent);
	fill_unset(cache, PCACHE_TUNABLE_MODE, cache->identity.mode);
	return 0;
}

int pc_identity_check_backing(const struct pcache *cache)
{
	static const uint8_t no_id[16];
	const struct pc_config *config = &cache->config;
	uint64_t known_bytes = cache->identity.backing_bytes;
	bool asked = memcmp(config->backing_id, no_id, sizeof(no_id)) != 0;

	if (asked && !config->any_backing && memcmp(config->backing_id, cache->identity.backing_id, sizeof(no_id)) != 0)
		return pc_fail(&config->log, -EMEDIUMTYPE, "the cache belongs to a backing with another id");
	if (cache->backing->size_bytes < known_bytes ||
	    (cache->backing->size_bytes > known_bytes && !config->any_backing))
		return pc_fail(&config->log, -EMEDIUMTYPE, "the cache belongs to a backing of %llu bytes; this has %llu",
			       (unsigned long long)known_bytes, (unsigned long long)cache->backing->size_bytes);
	return 0;
}

/* ---- update ---- */

static int store_locked(struct pcache *cache, struct pc_identity *next)
{
	struct pcm_info info = encode(next);
	int ret;

	if (pc_cache_is_failed(cache))
		return -EIO;
	ret = pc_meta_store(cache->media, &cache->info_meta, &info);
	if (ret == 0)
		cache->identity = *next;
	return ret;
}

/* What is known now, to be changed; nobody else does so until end_change(). */
static struct pc_identity begin_change(struct pcache *cache)
{
	pthread_mutex_lock(&cache->identity_lock);
	return cache->identity;
}

static int end_change(struct pcache *cache, struct pc_identity *next)
{
	int ret = store_locked(cache, next);

	pthread_mutex_unlock(&cache->identity_lock);
	return ret;
}

int pc_identity_mark_open(struct pcache *cache)
{
	static const uint8_t no_id[16];
	struct pc_identity next = begin_change(cache);

	next.epoch += next.epoch < EPOCH_MAX; /* nobody gets there but by forging */
	next.is_clean = false;
	next.gc_percent = (uint32_t)pc_tunable(cache, PCACHE_TUNABLE_GC_PERCENT);
	next.mode = pc_cache_mode(cache);
	/* What an owner that did not close wrote past the cache is not synced yet: the next one has to know, too (Y3). */
	next.may_bypass = next.mode == PCACHE_MODE_WRITEAROUND || pc_bypass_is_pending(&cache->bypass);
	next.backing_bytes = cache->backing->size_bytes;
	if (cache->config.any_backing && memcmp(cache->config.backing_id, no_id, sizeof(no_id)) != 0)
		memcpy(next.backing_id, cache->config.backing_id, sizeof(no_id));
	return end_change(cache, &next);
}

int pc_identity_mark_clean(struct pcache *cache)
{
	struct pc_identity next = begin_change(cache);

	next.is_clean = true;
	next.may_bypass = pc_bypass_is_pending(&cache->bypass); /* also where the last sync failed (Y3) */
	return end_change(cache, &next);
}

int pc_identity_begin_drop(struct pcache *cache, uint64_t first_seq)
{
	struct pc_identity next = begin_change(cache);

	next.is_clean = false;
	next.is_dropping = true;
	next.has_lost = false;
	next.first_seq = first_seq;
	next.backing_bytes = cache->backing->size_bytes;
	memcpy(next.backing_id, cache->config.backing_id, sizeof(next.backing_id));
	return end_change(cache, &next);
}

int pc_identity_end_drop(struct pcache *cache)
{
	struct pc_identity next = begin_change(cache);

	next.is_dropping = false;
	next.first_seq = 0;
	return end_change(cache, &next);
}

int pc_identity_set_lost(struct pcache *cache, bool has_lost)
{
	struct pc_identity next = begin_change(cache);

	next.has_lost = has_lost;
	return end_change(cache, &next);
}

int pc_identity_set(struct pcache *cache, enum pcache_tunable tunable, uint64_t value)
{
	struct pc_identity next = begin_change(cache);
	int ret;

	if (tunable == PCACHE_TUNABLE_GC_PERCENT)
		next.gc_percent = (uint32_t)value;
	else
		next.mode = (uint32_t)value;
	next.may_bypass |= next.mode == PCACHE_MODE_WRITEAROUND;
	ret = store_locked(cache, &next);
	if (ret == 0) /* order: durable, then in force (Y1); under the lock, so that of two the same one is both */
		apply(cache, tunable, value);
	pthread_mutex_unlock(&cache->identity_lock);
	if (ret < 0) {
		ret = pc_cache_fail_media(cache, ret);
		pc_cache_report_failure(cache);
	}
	return ret;
}
