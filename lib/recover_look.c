/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover_look.c - open, first part: every record and key set is read and judged. Nothing is stored, so that a refusal
 * leaves the file as it was.
 */
#include "recover.h"

#include <errno.h>
#include <string.h>

/* ---- records ---- */

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
	    segments_off != pc_recover_segments_off(segment_bytes))
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

static int load_super(struct pcache *cache, struct pcm_super *ret_super, struct pc_segments_layout *ret_layout)
{
	int ret;

	cache->super_meta = pc_recover_super_meta();
	if (cache->media->size_bytes < PCM_HEADER_BYTES)
		return pc_fail(&cache->config.log, -EUCLEAN, "not a pcache file, or truncated to %llu bytes",
			       (unsigned long long)cache->media->size_bytes);
	ret = pc_meta_load(cache->media, &cache->super_meta, ret_super);
	if (ret < 0)
		return pc_fail(&cache->config.log, ret, "not a pcache file, or both superblocks are damaged");
	ret = check_super(cache, ret_super);
	return ret < 0 ? ret : decode_layout(cache, ret_super, ret_layout);
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

/* ---- segments ---- */

static int compare_items(const void *a, const void *b, void *arg)
{
	const struct pcache *cache = arg;
	uint64_t left = pc_replayed_seq(cache, a);
	uint64_t right = pc_replayed_seq(cache, b);

	return (left > right) - (left < right);
}

/* By stream, and in it by sequence number. */
static int compare_clean(const void *a, const void *b, void *arg)
{
	const struct pcache *cache = arg;
	const struct pc_segment *left = pc_segment_at(cache->segments, ((const struct pc_replayed_clean *)a)->segment);
	const struct pc_segment *right = pc_segment_at(cache->segments, ((const struct pc_replayed_clean *)b)->segment);

	if (left->stream != right->stream)
		return left->stream < right->stream ? -1 : 1;
	return (left->seq > right->seq) - (left->seq < right->seq);
}

static int collect_segments(struct pcache *cache, struct pc_found *found)
{
	struct pc_chain *chain = &found->chain;

	chain->items = calloc(cache->segments->count, sizeof(*chain->items));
	found->clean = calloc(cache->segments->count, sizeof(*found->clean));
	if (chain->items == NULL || found->clean == NULL)
		return -ENOMEM;
	for (uint32_t id = 0; id < cache->segments->count; id++) {
		enum pc_stream_kind stream = pc_segment_at(cache->segments, id)->stream;

		if (stream == PC_STREAM_WRITE)
			chain->items[chain->count++].segment = id;
		else if (stream != PC_STREAM_NONE)
			found->clean[found->clean_count++].segment = id;
	}
	qsort_r(chain->items, chain->count, sizeof(*chain->items), compare_items, cache);
	qsort_r(found->clean, found->clean_count, sizeof(*found->clean), compare_clean, cache);
	return 0;
}

/* An error; in a salvage it is noted, and the rest goes on (V9). */
static int broken_chain(struct pcache *cache, uint64_t seq, const char *what)
{
	int ret = pc_fail(&cache->config.log, -EBADMSG, "segment number %llu of the log: %s", (unsigned long long)seq, what);

	if (!cache->config.salvage)
		return ret;
	cache->salvage_gaps++;
	return 0;
}

/* Each segment names the next one, without a gap; the newest may have come too late to be named. */
static int check_links(struct pcache *cache, const struct pc_chain *chain, bool *ret_last_is_unlinked)
{
	int ret = 0;

	*ret_last_is_unlinked = false;
	for (uint32_t i = 0; i < chain->count && ret == 0; i++) {
		const struct pc_segment *segment = pc_segment_at(cache->segments, chain->items[i].segment);
		bool is_last = i + 1 == chain->count;

		if (is_last && segment->next != PC_SEGMENT_NONE)
			return broken_chain(cache, segment->seq + 1, "it is missing, at the end");
		if (is_last)
			break;
		if (pc_replayed_seq(cache, &chain->items[i + 1]) != segment->seq + 1)
			ret = broken_chain(cache, segment->seq + 1, "it is missing");
		else if (segment->next == PC_SEGMENT_NONE && i + 2 == chain->count)
			*ret_last_is_unlinked = true;
		else if (segment->next != chain->items[i + 1].segment)
			ret = broken_chain(cache, segment->seq, "it does not name the next one");
	}
	return ret;
}

/* Both tails lie in the chain, and everything before dirty_tail's segment is sealed. Sets what is known to be durable. */
static int check_tails(struct pcache *cache, struct pc_chain *chain)
{
	const struct pc_pos marks[] = { cache->dirty_tail, cache->batch_end };
	uint64_t first = chain->count == 0 ? 0 : pc_replayed_seq(cache, &chain->items[0]);

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

/*
 * (V9) What is older than the newest by more than there are segments was never in one log with it, and is left out. The
 * tails count as far as they lie in what is left; without them everything is dirty.
 */
static int salvage_tails(struct pcache *cache, struct pc_chain *chain)
{
	const struct pc_pos marks[] = { cache->dirty_tail, cache->batch_end };
	struct pc_pos first;
	uint64_t newest;
	uint32_t left_out = 0;

	if (chain->count == 0)
		return pc_fail(&cache->config.log, -EBADMSG, "nothing is left of the log");
	newest = pc_replayed_seq(cache, &chain->items[chain->count - 1]);
	while (newest - pc_replayed_seq(cache, &chain->items[left_out]) >= cache->segments->count)
		left_out++;
	chain->count -= left_out;
	memmove(chain->items, &chain->items[left_out], chain->count * sizeof(*chain->items));
	for (uint32_t m = 0; m < PC_ARRAY_SIZE(marks); m++)
		for (uint32_t i = 0; i < chain->count; i++)
			if (pc_replayed_seq(cache, &chain->items[i]) == marks[m].seq)
				chain->items[i].known = (uint32_t)pc_max64(chain->items[i].known,
									   pc_min64(marks[m].line, cache->segments->room));
	first = (struct pc_pos){ .seq = pc_replayed_seq(cache, &chain->items[0]) };
	if (pc_pos_cmp(cache->dirty_tail, first) < 0 || cache->dirty_tail.seq > newest)
		cache->dirty_tail = first;
	return 0;
}

static int look_at_chain(struct pcache *cache, struct pc_found *found, bool *ret_last_is_unlinked)
{
	int ret = check_links(cache, &found->chain, ret_last_is_unlinked);

	if (ret < 0)
		return ret;
	return cache->config.salvage ? salvage_tails(cache, &found->chain) : check_tails(cache, &found->chain);
}

/* Without the table nobody knows which of the backing's bytes are old: in a salvage that is one more gap (V9). */
static int load_lost(struct pcache *cache)
{
	int ret = pc_losses_load(cache);

	if (ret == 0 || !cache->config.salvage)
		return ret;
	cache->salvage_gaps++;
	return 0;
}

/* (V9) */
static int load_records(struct pcache *cache)
{
	bool salvage = cache->config.salvage;
	uint32_t bad = 0;
	int ret = load_tails(cache);

	if (ret < 0 && salvage) {
		cache->salvage_gaps++;
		cache->dirty_tail = (struct pc_pos){ 0 };
		cache->batch_end = (struct pc_pos){ 0 };
		ret = 0;
	}
	if (ret == 0)
		ret = load_lost(cache);
	if (ret == 0)
		ret = pc_segments_load(cache->segments, salvage ? &bad : NULL);
	cache->salvage_segments = bad;
	return ret;
}

/* Take the newest segment off the chain: it was never linked, so nobody can have been told of a write in it. */
static int split_unlinked(struct pcache *cache, struct pc_chain *chain, uint32_t *ret_unlinked)
{
	struct pc_replayed *last = &chain->items[chain->count - 1];

	if (pc_segment_at(cache->segments, last->segment)->state != PC_SEGMENT_OPEN || last->lines != 0 ||
	    cache->batch_end.seq == pc_replayed_seq(cache, last))
		return broken_chain(cache, pc_replayed_seq(cache, last), "it is in use, but the one before does not name it");
	*ret_unlinked = last->segment;
	free(last->voids);
	chain->count--;
	return 0;
}

int pc_recover_records(struct pcache *cache, struct pcm_super *ret_super, struct pc_segments_layout *ret_layout)
{
	int ret = load_super(cache, ret_super, ret_layout);

	return ret < 0 ? ret : pc_identity_load(cache, ret_layout->uuid);
}

int pc_recover_look(struct pcache *cache, const struct pc_segments_layout *layout, struct pc_found *found)
{
	bool last_is_unlinked = false;
	uint64_t start_ns;
	int ret = pc_recover_build(cache, layout);

	if (ret == 0)
		ret = load_records(cache);
	if (ret == 0)
		ret = collect_segments(cache, found);
	if (ret == 0)
		ret = look_at_chain(cache, found, &last_is_unlinked);
	if (ret < 0)
		return ret;
	start_ns = pc_now_ns();
	ret = pc_replay(cache, found);
	cache->replay_ns = pc_now_ns() - start_ns;
	return ret < 0 || !last_is_unlinked || cache->config.salvage ? ret : split_unlinked(cache, &found->chain, &found->unlinked);
}
