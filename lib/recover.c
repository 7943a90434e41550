/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover.c - create a cache, and open one however its last owner ended.
 *
 * Open goes through three phases:
 *   look    every record and key set is read and judged; nothing is stored, so a refusal leaves the file as it was
 *   persist what was found and judged becomes durable: slots repaired, torn lines voided, survivors flushed, segments
 *           sealed
 *   serve   the stream goes on behind the newest segment; never in an old one
 *
 * (V1) What a read is going to show survives the next power cut: everything found is flushed and fenced before open
 *      returns. After a mere process kill it may still sit in processor caches.
 * (V2) Slots are equal and durable before anything that was decided from them is stored.
 * (V3) What was rejected is voided, durably, before its segment is sealed: a later replay sees the same.
 * (V4) Recovery can itself be interrupted anywhere and starts again with the same result.
 * (V5) Open needs no free segment.
 * (V6) The superblock is stored last at create: a file with a valid one is complete.
 * (V7) What is known to be durable in a segment (`durable_below`) stays known. Where only key sets that are going to be
 *      voided say so, a line of its own says it first, durably: the store of a VOID over a key set can be torn, and then
 *      neither says anything.
 */
#include "cache.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* ---- records ---- */

static struct pc_meta super_meta(void)
{
	return (struct pc_meta){ .off = PCM_SUPER_OFF, .bytes = sizeof(struct pcm_super), .magic = PCM_MAGIC_SUPER };
}

static struct pc_meta info_meta(const uint8_t uuid[16])
{
	return (struct pc_meta){
		.off = PCM_INFO_OFF,
		.bytes = sizeof(struct pcm_info),
		.magic = PCM_MAGIC_INFO,
		.seed = pc_meta_seed(uuid, 0),
	};
}

static struct pc_meta tails_meta(const uint8_t uuid[16])
{
	return (struct pc_meta){
		.off = PCM_TAILS_OFF,
		.bytes = sizeof(struct pcm_tails),
		.magic = PCM_MAGIC_TAILS,
		.seed = pc_meta_seed(uuid, 0),
	};
}

static struct pcm_info encode_info(const struct pcache *cache, bool clean)
{
	struct pcm_info info = {
		.flags = pc_le32(clean ? PCM_INFO_CLEAN : 0),
		.mode = pc_le32(PCACHE_MODE_WRITEBACK),
		.gc_percent = pc_le32(cache->config.gc_percent),
		.backing_bytes = pc_le64(cache->backing->size_bytes),
		.epoch = pc_le64(cache->identity.epoch),
	};

	memcpy(info.backing_id, cache->identity.backing_id, sizeof(info.backing_id));
	return info;
}

static int store_info(struct pcache *cache, bool clean)
{
	struct pcm_info info = encode_info(cache, clean);

	return pc_meta_store(cache->media, &cache->info_meta, &info);
}

int pc_recover_mark_clean(struct pcache *cache)
{
	return store_info(cache, true);
}

/* Segments, index and stream for this layout, empty. */
static int build_state(struct pcache *cache, const struct pc_segments_layout *layout)
{
	uint64_t capacity = (uint64_t)layout->segment_count * layout->segment_bytes;
	bool commit_is_durable = cache->media->granularity != PCACHE_GRANULARITY_PAGE;
	int ret = pc_segments_new(cache->media, &cache->config.log, layout, &cache->segments);

	memcpy(cache->identity.uuid, layout->uuid, sizeof(cache->identity.uuid));
	cache->info_meta = info_meta(layout->uuid);
	cache->tails_meta = tails_meta(layout->uuid);
	cache->max_atomic_bytes = pc_max64(layout->segment_bytes / 16, PCM_SEGMENT_TEST_MIN / 4);
	if (cache->config.dirty_high_bytes == 0)
		cache->config.dirty_high_bytes = capacity / 4;
	if (ret == 0)
		ret = pc_index_new(cache->segments->refs, layout->segment_count, capacity, &cache->index);
	if (ret == 0)
		ret = pc_stream_init(&cache->write, layout->segment_count, cache->segments->room - 1 /* (V7) */,
				     commit_is_durable);
	return ret;
}

/* ---- create ---- */

/* Behind the header, at a multiple of the segment size, which for large ones is also that of a huge page. */
static uint64_t segments_offset(uint32_t segment_bytes)
{
	return pc_max64(PCM_HEADER_BYTES, pc_min64(segment_bytes, PCM_SEGMENTS_ALIGN));
}

static int plan_layout(const struct pcache *cache, struct pc_segments_layout *ret_layout)
{
	const struct pc_log *log = &cache->config.log;
	uint32_t segment_bytes = cache->config.segment_bytes;
	uint64_t segments_off = segments_offset(segment_bytes);
	uint64_t size = cache->media->size_bytes;
	uint64_t count = size < segments_off ? 0 : (size - segments_off) / segment_bytes;

	if (count < PCM_SEGMENTS_MIN)
		return pc_fail(log, -EINVAL, "cache of %llu bytes is too small: %u segments of %u bytes need %llu",
			       (unsigned long long)size, PCM_SEGMENTS_MIN, segment_bytes,
			       (unsigned long long)(segments_off + (uint64_t)PCM_SEGMENTS_MIN * segment_bytes));
	if (count > PCM_SEGMENTS_MAX)
		return pc_fail(log, -EINVAL, "cache of %llu bytes has more than %u segments: choose larger ones",
			       (unsigned long long)size, PCM_SEGMENTS_MAX);
	*ret_layout = (struct pc_segments_layout){
		.segments_off = segments_off,
		.segment_count = (uint32_t)count,
		.segment_bytes = segment_bytes,
	};
	if (getrandom(ret_layout->uuid, sizeof(ret_layout->uuid), 0) != (ssize_t)sizeof(ret_layout->uuid))
		return pc_fail(log, -EIO, "no random bytes for the UUID");
	return 0;
}

static int create_super(struct pcache *cache, const struct pc_segments_layout *layout)
{
	struct pc_meta meta = super_meta();
	struct pcm_super super = {
		.version = pc_le32(PCM_VERSION),
		.segment_bytes = pc_le32(layout->segment_bytes),
		.media_bytes = pc_le64(cache->media->size_bytes),
		.segments_off = pc_le64(layout->segments_off),
		.segment_count = pc_le32(layout->segment_count),
	};
	int ret;

	memcpy(super.uuid, layout->uuid, sizeof(super.uuid));
	ret = pc_meta_create(cache->media, &meta, &super);
	return ret < 0 ? ret : pc_media_sync(cache->media);
}

static struct pcm_tails encode_tails(struct pc_pos dirty_tail, struct pc_pos batch_end)
{
	return (struct pcm_tails){
		.dirty_tail = { .seq = pc_le64(dirty_tail.seq), .line = pc_le32(dirty_tail.line) },
		.batch_end = { .seq = pc_le64(batch_end.seq), .line = pc_le32(batch_end.line) },
	};
}

int pc_recover_create(struct pcache *cache)
{
	struct pc_segments_layout layout;
	struct pcm_tails tails;
	struct pcm_info info;
	int ret = plan_layout(cache, &layout);

	if (ret == 0)
		ret = build_state(cache, &layout);
	if (ret < 0)
		return ret;
	memcpy(cache->identity.backing_id, cache->config.backing_id, sizeof(cache->identity.backing_id));
	cache->identity.epoch = 1;
	cache->dirty_tail = (struct pc_pos){ .seq = 1 };
	cache->batch_end = cache->dirty_tail;
	cache->oldest_seq = 1;
	info = encode_info(cache, false);
	tails = encode_tails(cache->dirty_tail, cache->batch_end);
	ret = pc_segments_create(cache->segments);
	if (ret == 0)
		ret = pc_meta_create(cache->media, &cache->info_meta, &info);
	if (ret == 0)
		ret = pc_meta_create(cache->media, &cache->tails_meta, &tails);
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	if (ret == 0)
		ret = pc_segment_open(cache->segments, 0, PC_STREAM_WRITE, 1);
	/* order: everything else is durable before the superblock says that it is there (V6) */
	if (ret == 0)
		ret = create_super(cache, &layout);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "the cache could not be written to the media");
	pc_segments_fill_bitmap(cache->segments);
	pc_stream_open_segment(&cache->write, 1, 0);
	return 0;
}

/* ---- open: look ---- */

static int check_super(const struct pcache *cache, const struct pcm_super *super)
{
	const struct pc_log *log = &cache->config.log;
	uint64_t ro_compat = pc_get64(super->ro_compat);

	if (pc_get32(super->version) != PCM_VERSION)
		return pc_fail(log, -EPROTONOSUPPORT, "format version %u; this library knows version %u",
			       pc_get32(super->version), PCM_VERSION);
	if (pc_get64(super->incompat) != 0)
		return pc_fail(log, -EPROTONOSUPPORT, "the cache uses features unknown to this version (0x%llx)",
			       (unsigned long long)pc_get64(super->incompat));
	if (ro_compat != 0 && !cache->config.readonly)
		return pc_fail(log, -EPROTONOSUPPORT, "the cache can only be opened read-only by this version (0x%llx)",
			       (unsigned long long)ro_compat);
	return 0;
}

static int decode_layout(const struct pcache *cache, const struct pcm_super *super,
			 struct pc_segments_layout *ret_layout)
{
	const struct pc_log *log = &cache->config.log;
	uint64_t segments_off = pc_get64(super->segments_off);
	uint32_t segment_bytes = pc_get32(super->segment_bytes);
	uint32_t count = pc_get32(super->segment_count);

	if (!pc_is_power_of_two(segment_bytes) || segment_bytes < PCM_SEGMENT_TEST_MIN ||
	    segment_bytes > PCM_SEGMENT_MAX || count < PCM_SEGMENTS_MIN || count > PCM_SEGMENTS_MAX ||
	    segments_off != segments_offset(segment_bytes))
		return pc_fail(log, -EUCLEAN, "the superblock makes no sense");
	if (segments_off + (uint64_t)count * segment_bytes > cache->media->size_bytes)
		return pc_fail(log, -EUCLEAN, "the cache file is truncated: %llu bytes of %llu",
			       (unsigned long long)cache->media->size_bytes,
			       (unsigned long long)pc_get64(super->media_bytes));
	*ret_layout = (struct pc_segments_layout){
		.segments_off = segments_off,
		.segment_count = count,
		.segment_bytes = segment_bytes,
	};
	memcpy(ret_layout->uuid, super->uuid, sizeof(ret_layout->uuid));
	return 0;
}

static int load_super(struct pcache *cache, struct pc_segments_layout *ret_layout)
{
	struct pcm_super super;
	int ret;

	cache->super_meta = super_meta();
	if (cache->media->size_bytes < PCM_HEADER_BYTES)
		return pc_fail(&cache->config.log, -EUCLEAN, "not a pcache file, or truncated to %llu bytes",
			       (unsigned long long)cache->media->size_bytes);
	ret = pc_meta_load(cache->media, &cache->super_meta, &super);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "not a pcache file, or both superblocks are damaged");
	ret = check_super(cache, &super);
	return ret < 0 ? ret : decode_layout(cache, &super, ret_layout);
}

static int check_backing(const struct pcache *cache, const struct pcm_info *info)
{
	static const uint8_t no_id[16];
	const struct pc_config *config = &cache->config;
	uint64_t known_bytes = pc_get64(info->backing_bytes);
	bool asked = memcmp(config->backing_id, no_id, sizeof(no_id)) != 0;

	if (asked && !config->any_backing && memcmp(config->backing_id, info->backing_id, sizeof(no_id)) != 0)
		return pc_fail(&config->log, -EMEDIUMTYPE, "the cache belongs to a backing with another id");
	if (cache->backing->size_bytes < known_bytes ||
	    (cache->backing->size_bytes > known_bytes && !config->any_backing))
		return pc_fail(&config->log, -EMEDIUMTYPE, "the cache belongs to a backing of %llu bytes; this has %llu",
			       (unsigned long long)known_bytes, (unsigned long long)cache->backing->size_bytes);
	return 0;
}

static int load_info(struct pcache *cache)
{
	static const uint8_t no_id[16];
	struct pcm_info info;
	int ret = pc_meta_load(cache->media, &cache->info_meta, &info);

	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "both copies of the cache info are damaged");
	if (pc_get32(info.mode) != PCACHE_MODE_WRITEBACK || pc_get32(info.options) != 0)
		return pc_fail(&cache->config.log, -EPROTONOSUPPORT, "mode %u is not offered by this version",
			       pc_get32(info.mode));
	ret = check_backing(cache, &info);
	if (ret < 0)
		return ret;
	cache->identity.epoch = pc_get64(info.epoch);
	memcpy(cache->identity.backing_id, info.backing_id, sizeof(info.backing_id));
	if (cache->config.any_backing && memcmp(cache->config.backing_id, no_id, sizeof(no_id)) != 0)
		memcpy(cache->identity.backing_id, cache->config.backing_id, sizeof(no_id));
	return 0;
}

static struct pc_pos decode_pos(const struct pcm_pos *pos)
{
	return (struct pc_pos){ .seq = pc_get64(pos->seq), .line = pc_get32(pos->line) };
}

static int load_tails(struct pcache *cache)
{
	struct pcm_tails tails;
	int ret = pc_meta_load(cache->media, &cache->tails_meta, &tails);

	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "both copies of the tails are damaged");
	cache->dirty_tail = decode_pos(&tails.dirty_tail);
	cache->batch_end = decode_pos(&tails.batch_end);
	if (cache->dirty_tail.seq == 0 || pc_pos_cmp(cache->batch_end, cache->dirty_tail) < 0)
		return pc_fail(&cache->config.log, -EUCLEAN, "the tails make no sense");
	return 0;
}

/* ---- open: the chain of WRITE segments ---- */

static void chain_free(struct pc_chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++)
		free(chain->items[i].voids);
	free(chain->items);
	chain->items = NULL;
	chain->count = 0;
}

static uint64_t item_seq(const struct pcache *cache, const struct pc_replayed *item)
{
	return pc_segment_at(cache->segments, item->segment)->seq;
}

static int compare_items(const void *a, const void *b, void *arg)
{
	const struct pcache *cache = arg;
	uint64_t left = item_seq(cache, a);
	uint64_t right = item_seq(cache, b);

	return (left > right) - (left < right);
}

static int collect_chain(struct pcache *cache, struct pc_chain *chain)
{
	chain->items = calloc(cache->segments->count, sizeof(*chain->items));
	if (chain->items == NULL)
		return -ENOMEM;
	for (uint32_t id = 0; id < cache->segments->count; id++) {
		const struct pc_segment *segment = pc_segment_at(cache->segments, id);

		if (segment->stream == PC_STREAM_WRITE)
			chain->items[chain->count++].segment = id;
		else if (segment->state != PC_SEGMENT_FREE)
			return pc_fail(&cache->config.log, -EPROTONOSUPPORT,
				       "segment %u holds kept reads, which this version does not know", id);
	}
	qsort_r(chain->items, chain->count, sizeof(*chain->items), compare_items, cache);
	return 0;
}

static int broken_chain(const struct pcache *cache, uint64_t seq, const char *what)
{
	return pc_fail(&cache->config.log, -EBADMSG, "segment number %llu of the log: %s", (unsigned long long)seq, what);
}

/* Each segment names the next one, without a gap; the newest may have come too late to be named. */
static int check_links(const struct pcache *cache, const struct pc_chain *chain, bool *ret_last_is_unlinked)
{
	*ret_last_is_unlinked = false;
	for (uint32_t i = 0; i < chain->count; i++) {
		const struct pc_segment *segment = pc_segment_at(cache->segments, chain->items[i].segment);
		bool is_last = i + 1 == chain->count;

		if (is_last && segment->next != PC_SEGMENT_NONE)
			return broken_chain(cache, segment->seq + 1, "it is missing, at the end");
		if (is_last)
			break;
		if (item_seq(cache, &chain->items[i + 1]) != segment->seq + 1)
			return broken_chain(cache, segment->seq + 1, "it is missing");
		if (segment->next == PC_SEGMENT_NONE && i + 2 == chain->count)
			*ret_last_is_unlinked = true;
		else if (segment->next != chain->items[i + 1].segment)
			return broken_chain(cache, segment->seq, "it does not name the next one");
	}
	return 0;
}

/* Both tails lie in the chain, and everything before dirty_tail's segment is sealed. Sets what is known to be durable. */
static int check_tails(const struct pcache *cache, struct pc_chain *chain)
{
	const struct pc_pos marks[] = { cache->dirty_tail, cache->batch_end };
	uint64_t first = chain->count == 0 ? 0 : item_seq(cache, &chain->items[0]);

	for (uint32_t m = 0; m < PC_ARRAY_SIZE(marks); m++) {
		const struct pc_segment *segment;
		struct pc_replayed *item;

		if (chain->count == 0 || marks[m].seq < first || marks[m].seq - first >= chain->count)
			return broken_chain(cache, marks[m].seq, "it is missing, and write-back had come to it");
		item = &chain->items[marks[m].seq - first];
		segment = pc_segment_at(cache->segments, item->segment);
		if (marks[m].line > (segment->state == PC_SEGMENT_SEALED ? segment->lines : cache->segments->room))
			return broken_chain(cache, marks[m].seq, "write-back had come further than it has lines");
		item->known = (uint32_t)pc_max64(item->known, marks[m].line);
		for (uint64_t i = 0; i < marks[m].seq - first; i++)
			if (pc_segment_at(cache->segments, chain->items[i].segment)->state != PC_SEGMENT_SEALED)
				return broken_chain(cache, first + i, "write-back has passed it, but it is not sealed");
	}
	return 0;
}

/* ---- open: persist ---- */

/* (V2) */
static int repair_slots(struct pcache *cache)
{
	int ret = pc_meta_repair(cache->media, &cache->super_meta);

	if (ret == 0)
		ret = pc_meta_repair(cache->media, &cache->info_meta);
	if (ret == 0)
		ret = pc_meta_repair(cache->media, &cache->tails_meta);
	if (ret == 0)
		ret = pc_segments_repair(cache->segments);
	return ret < 0 ? ret : pc_media_sync(cache->media);
}

/* Stored and flushed; a fence makes it durable. */
static int store_void(struct pcache *cache, const struct pc_replayed *item, uint32_t line)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	uint64_t off = segment->off + pc_line_off(cache->segments->segment_bytes, line);
	const struct pc_kset kset = {
		.seq = segment->seq,
		.durable_below = (uint32_t)pc_min64(item->known, line), /* the mark survives what it was found in */
		.is_void = true,
	};
	uint8_t bytes[PCM_LINE];
	int ret;

	pc_kset_encode(segment->kset_seed, line, &kset, NULL, bytes);
	ret = pc_media_copy(cache->media, off, bytes, sizeof(bytes), PC_COPY_CACHED);
	return ret < 0 ? ret : pc_media_flush(cache->media, off, sizeof(bytes));
}

/* (V7) The stream keeps the last line free for this; only a forged segment is full to the end. */
static int save_mark(struct pcache *cache, struct pc_replayed *item)
{
	int ret;

	if (item->known <= item->said || item->lines + item->units >= cache->segments->room)
		return 0;
	ret = store_void(cache, item, item->lines);
	if (ret < 0)
		return ret;
	item->lines++;
	return pc_media_sync(cache->media); /* order: before the key sets that say it are overwritten (V7) */
}

static int store_voids(struct pcache *cache, struct pc_replayed *item)
{
	int ret = save_mark(cache, item);

	for (uint32_t i = 0; i < item->void_count && ret == 0; i++)
		ret = store_void(cache, item, item->voids[i]);
	cache->replay_voided += item->void_count;
	return ret;
}

static int flush_segment(struct pcache *cache, const struct pc_replayed *item)
{
	const struct pc_segment *segment = pc_segment_at(cache->segments, item->segment);
	uint64_t line_bytes = (uint64_t)item->lines * PCM_LINE;
	int ret = pc_media_flush(cache->media, segment->off + PCM_SEGMENT_HEADER, (size_t)item->units * PCM_UNIT);

	if (ret < 0)
		return ret;
	return pc_media_flush(cache->media, segment->off + cache->segments->segment_bytes - line_bytes, line_bytes);
}

/* Rejected lines voided, survivors flushed, one fence, then the seals (V1, V3). Read-only: the flush alone. */
static int persist_unsealed(struct pcache *cache, struct pc_chain *chain)
{
	int ret = 0;

	for (uint32_t i = 0; i < chain->count && ret == 0; i++) {
		struct pc_replayed *item = &chain->items[i];

		if (pc_segment_at(cache->segments, item->segment)->state == PC_SEGMENT_SEALED)
			continue;
		if (!cache->config.readonly)
			ret = store_voids(cache, item);
		if (ret == 0)
			ret = flush_segment(cache, item);
	}
	if (ret == 0)
		ret = pc_media_sync(cache->media);
	for (uint32_t i = 0; i < chain->count && ret == 0 && !cache->config.readonly; i++) {
		const struct pc_replayed *item = &chain->items[i];

		/* order: voids and survivors are durable before the seal counts them (V3) */
		ret = pc_segment_seal(cache->segments, item->segment, item_seq(cache, item), item->lines);
	}
	return ret;
}

static int persist(struct pcache *cache, struct pc_chain *chain, uint32_t unlinked)
{
	int ret;

	if (cache->config.readonly)
		return persist_unsealed(cache, chain);
	ret = repair_slots(cache);
	if (ret == 0)
		ret = persist_unsealed(cache, chain);
	if (ret == 0 && unlinked != PC_SEGMENT_NONE)
		ret = pc_segment_free(cache->segments, unlinked);
	if (ret == 0) {
		cache->identity.epoch++;
		ret = store_info(cache, false);
	}
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "what was recovered could not be made durable");
	return 0;
}

/* ---- open: serve ---- */

static void adopt(struct pcache *cache, const struct pc_chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++) {
		const struct pc_replayed *item = &chain->items[i];

		pc_stream_adopt(&cache->write, item_seq(cache, item), item->segment, item->lines, item->units);
	}
	cache->oldest_seq = item_seq(cache, &chain->items[0]);
	pc_segments_fill_bitmap(cache->segments);
}

/* Take the newest segment off the chain: it was never linked, so nobody can have been told of a write in it. */
static int split_unlinked(const struct pcache *cache, struct pc_chain *chain, uint32_t *ret_unlinked)
{
	struct pc_replayed *last = &chain->items[chain->count - 1];

	if (pc_segment_at(cache->segments, last->segment)->state != PC_SEGMENT_OPEN || last->lines != 0 ||
	    cache->batch_end.seq == item_seq(cache, last))
		return broken_chain(cache, item_seq(cache, last), "it is in use, but the one before does not name it");
	*ret_unlinked = last->segment;
	free(last->voids);
	chain->count--;
	return 0;
}

static int look(struct pcache *cache, struct pc_chain *chain, uint32_t *ret_unlinked)
{
	struct pc_segments_layout layout;
	bool last_is_unlinked = false;
	uint64_t start_ns;
	int ret = load_super(cache, &layout);

	if (ret == 0)
		ret = build_state(cache, &layout);
	if (ret == 0)
		ret = load_info(cache);
	if (ret == 0)
		ret = load_tails(cache);
	if (ret == 0)
		ret = pc_segments_load(cache->segments);
	if (ret == 0)
		ret = collect_chain(cache, chain);
	if (ret == 0)
		ret = check_links(cache, chain, &last_is_unlinked);
	if (ret == 0)
		ret = check_tails(cache, chain);
	if (ret < 0)
		return ret;
	start_ns = pc_now_ns();
	ret = pc_replay(cache, chain);
	cache->replay_ns = pc_now_ns() - start_ns;
	*ret_unlinked = PC_SEGMENT_NONE;
	return ret < 0 || !last_is_unlinked ? ret : split_unlinked(cache, chain, ret_unlinked);
}

int pc_recover_open(struct pcache *cache)
{
	struct pc_chain chain = { 0 };
	uint32_t unlinked;
	int ret = look(cache, &chain, &unlinked);

	if (ret == 0)
		ret = persist(cache, &chain, unlinked);
	if (ret == 0)
		adopt(cache, &chain);
	chain_free(&chain);
	return ret;
}
