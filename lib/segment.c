/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment.c - segments, their life on the media and the free bitmap.
 *
 *            open              seal                 free (generation + 1)
 *     FREE ---------> OPEN ------------> SEALED --------------------------> FREE
 *                      |  link (next)      |  link (next)                    ^
 *                      +-------------------+---------------------------------+  also an OPEN one that was never linked
 *
 * (G1) A segment is in the bitmap only while its record says FREE, durably: its new generation is on the media before
 *      anybody can write into it again.
 * (G2) The generation in `refs` moves before the segment can be allocated again; readers compare it around a copy.
 * (G3) Link and seal of one segment are serialised by its info lock, held across the fence: neither can take the other
 *      back.
 *
 * Locks: pc_segment.info_lock (rank PC_RANK_INFO), pc_segments.free_lock (rank PC_RANK_FREE, a leaf).
 */
#include "segment.h"

#include <errno.h>
#include <string.h>

int pc_segments_new(struct pc_media *media, const struct pc_log *log, const struct pc_segments_layout *layout,
		    struct pc_segments **ret_segments)
{
	struct pc_segments *segments = calloc(1, sizeof(*segments));

	if (segments == NULL)
		return -ENOMEM;
	segments->table = calloc(layout->segment_count, sizeof(*segments->table));
	segments->refs = calloc(layout->segment_count, sizeof(*segments->refs));
	segments->free_bitmap = calloc((layout->segment_count + 63) / 64, sizeof(uint64_t));
	if (segments->table == NULL || segments->refs == NULL || segments->free_bitmap == NULL) {
		free(segments->table);
		free(segments->refs);
		free(segments->free_bitmap);
		free(segments);
		return -ENOMEM;
	}
	segments->media = media;
	segments->log = log;
	segments->count = layout->segment_count;
	segments->segment_bytes = layout->segment_bytes;
	segments->room = pc_segment_room(layout->segment_bytes);
	memcpy(segments->uuid, layout->uuid, sizeof(segments->uuid));
	pthread_mutex_init(&segments->free_lock, NULL);
	for (uint32_t id = 0; id < segments->count; id++) {
		struct pc_segment *segment = pc_segment_at(segments, id);

		pthread_mutex_init(&segment->info_lock, NULL);
		segment->id = id;
		segment->next = PC_SEGMENT_NONE;
		segment->off = layout->segments_off + (uint64_t)id * layout->segment_bytes;
		segment->meta = (struct pc_meta){
			.off = segment->off,
			.bytes = sizeof(struct pcm_segment),
			.magic = PCM_MAGIC_SEGMENT,
			.seed = pc_meta_seed(layout->uuid, id),
		};
	}
	*ret_segments = segments;
	return 0;
}

void pc_segments_delete(struct pc_segments *segments)
{
	if (segments == NULL)
		return;
	for (uint32_t id = 0; id < segments->count; id++)
		pthread_mutex_destroy(&segments->table[id].info_lock);
	pthread_mutex_destroy(&segments->free_lock);
	free(segments->table);
	free(segments->refs);
	free(segments->free_bitmap);
	free(segments);
}

/* What a record says. */
struct content {
	enum pc_segment_state state;
	enum pc_stream_kind stream;
	uint64_t gen;
	uint64_t seq;
	uint32_t lines;
	uint32_t next;
};

static struct content content_of(const struct pc_segment *segment)
{
	return (struct content){
		.state = segment->state,
		.stream = segment->stream,
		.gen = segment->gen,
		.seq = segment->seq,
		.lines = segment->lines,
		.next = segment->next,
	};
}

static struct pcm_segment encode(const struct content *content)
{
	bool has_next = content->next != PC_SEGMENT_NONE;

	return (struct pcm_segment){
		.gen = pc_le64(content->gen),
		.seq = pc_le64(content->seq),
		.lines = pc_le32(content->lines),
		.next = pc_le32(has_next ? content->next : 0),
		.state = (uint8_t)content->state,
		.stream = (uint8_t)content->stream,
		.flags = pc_le16(has_next ? PCM_SEGMENT_HAS_NEXT : 0),
	};
}

static void set_ref(struct pc_segments *segments, struct pc_segment *segment)
{
	struct pc_segment_ref *ref = &segments->refs[segment->id];

	segment->kset_seed = pc_kset_seed(segments->uuid, segment->gen);
	atomic_store_explicit(&ref->gen, segment->gen, memory_order_release);
	atomic_store_explicit(&ref->seq, segment->stream == PC_STREAM_WRITE ? segment->seq : 0, memory_order_release);
}

int pc_segments_create(struct pc_segments *segments, uint32_t first)
{
	for (uint32_t id = first; id < segments->count; id++) {
		struct pc_segment *segment = pc_segment_at(segments, id);
		struct content content = { .gen = 1, .next = PC_SEGMENT_NONE };
		struct pcm_segment record = encode(&content);
		int ret;

		segment->gen = content.gen;
		ret = pc_meta_create(segments->media, &segment->meta, &record);
		if (ret < 0)
			return ret;
		set_ref(segments, segment);
	}
	return 0;
}

/* The one place that takes a segment record from the media: every field is bounded here. */
static bool decode(const struct pc_segments *segments, const struct pcm_segment *record, struct pc_segment *segment)
{
	uint16_t flags = pc_get16(record->flags);
	bool has_next = (flags & PCM_SEGMENT_HAS_NEXT) != 0;
	bool is_free = record->state == PCM_SEGMENT_FREE;

	if (record->state > PCM_SEGMENT_SEALED || record->stream > PC_STREAM_HOT)
		return false;
	if (is_free != (record->stream == PC_STREAM_NONE) || is_free != (pc_get64(record->seq) == 0))
		return false;
	if ((flags & ~PCM_SEGMENT_HAS_NEXT) != 0 || (has_next && record->stream != PC_STREAM_WRITE))
		return false;
	if (pc_get32(record->next) >= segments->count || pc_get32(record->lines) > segments->room)
		return false;
	if (record->stream > PC_STREAM_WRITE && pc_get32(record->lines) > pc_clean_blocks(segments->segment_bytes))
		return false;
	if (record->state != PCM_SEGMENT_SEALED && pc_get32(record->lines) != 0)
		return false;
	/* Nobody counts that far: what begins there would run out. */
	if (pc_get64(record->gen) == 0 || (pc_get64(record->gen) | pc_get64(record->seq)) >> 63 != 0)
		return false;
	segment->state = record->state;
	segment->stream = record->stream;
	segment->gen = pc_get64(record->gen);
	segment->seq = pc_get64(record->seq);
	segment->lines = pc_get32(record->lines);
	segment->next = has_next ? pc_get32(record->next) : PC_SEGMENT_NONE;
	return true;
}

static int load(struct pc_segments *segments, uint32_t id)
{
	struct pc_segment *segment = pc_segment_at(segments, id);
	struct pcm_segment record;
	int ret = pc_meta_load(segments->media, &segment->meta, &record);

	if (ret < 0)
		return pc_fail(segments->log, ret, "segment %u: both copies of its record are damaged", id);
	if (!decode(segments, &record, segment))
		return pc_fail(segments->log, -EUCLEAN, "segment %u: its record makes no sense", id);
	set_ref(segments, segment);
	return 0;
}

int pc_segments_load(struct pc_segments *segments, uint32_t *ret_bad)
{
	uint32_t bad = 0;

	for (uint32_t id = 0; id < segments->count; id++) {
		int ret = load(segments, id);

		if (ret < 0 && ret_bad == NULL)
			return ret;
		bad += ret < 0; /* as it was: free */
	}
	if (ret_bad != NULL)
		*ret_bad = bad;
	return 0;
}

int pc_segments_reset(struct pc_segments *segments, uint64_t fresh_gen)
{
	for (uint32_t id = 0; id < segments->count; id++) {
		struct pc_segment *segment = pc_segment_at(segments, id);
		struct content content = { .gen = fresh_gen, .next = PC_SEGMENT_NONE };
		struct pcm_segment record;
		int ret;

		/* FREE ones are stored, too: that may be in a processor cache only, left by a process that was killed. */
		if (pc_meta_load(segments->media, &segment->meta, &record) == 0 && decode(segments, &record, segment))
			content.gen = segment->gen + (segment->state != PC_SEGMENT_FREE);
		record = encode(&content);
		ret = pc_meta_create(segments->media, &segment->meta, &record);
		if (ret < 0)
			return ret;
		segment->state = content.state;
		segment->stream = content.stream;
		segment->gen = content.gen;
		segment->seq = content.seq;
		segment->lines = content.lines;
		segment->next = content.next;
	}
	return 0;
}

int pc_segments_repair(struct pc_segments *segments)
{
	for (uint32_t id = 0; id < segments->count; id++) {
		int ret = pc_meta_repair(segments->media, &pc_segment_at(segments, id)->meta);

		if (ret < 0)
			return ret;
	}
	return 0;
}

void pc_segments_fill_bitmap(struct pc_segments *segments)
{
	for (uint32_t id = 0; id < segments->count; id++)
		if (segments->table[id].state == PC_SEGMENT_FREE)
			pc_segment_release(segments, id);
}

uint32_t pc_segment_alloc(struct pc_segments *segments)
{
	uint32_t words = (segments->count + 63) / 64;
	uint32_t found = PC_SEGMENT_NONE;

	pthread_mutex_lock(&segments->free_lock);
	for (uint32_t i = 0; i < words && found == PC_SEGMENT_NONE; i++) {
		uint32_t word = (segments->free_hint + i) % words;

		if (segments->free_bitmap[word] == 0)
			continue;
		found = word * 64 + (uint32_t)__builtin_ctzll(segments->free_bitmap[word]);
		segments->free_bitmap[word] &= segments->free_bitmap[word] - 1;
		segments->free_hint = word;
		atomic_fetch_sub_explicit(&segments->free_count, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&segments->free_lock);
	return found;
}

void pc_segment_release(struct pc_segments *segments, uint32_t id)
{
	pthread_mutex_lock(&segments->free_lock);
	segments->free_bitmap[id / 64] |= 1ull << (id % 64);
	atomic_fetch_add_explicit(&segments->free_count, 1, memory_order_relaxed);
	pthread_mutex_unlock(&segments->free_lock);
}

/* On the media first, then in memory; the caller holds the info lock. */
static int store_locked(struct pc_segments *segments, struct pc_segment *segment, const struct content *content)
{
	struct pcm_segment record = encode(content);
	int ret = pc_meta_store(segments->media, &segment->meta, &record);

	if (ret < 0)
		return ret;
	segment->state = content->state;
	segment->lines = content->lines;
	segment->next = content->next;
	segment->stream = content->stream;
	/* Writers at work in the segment read its number without the lock: it is written only where it changes. */
	if (segment->seq != content->seq)
		segment->seq = content->seq;
	if (segment->gen != content->gen)
		segment->gen = content->gen;
	return 0;
}

int pc_segment_open(struct pc_segments *segments, uint32_t id, enum pc_stream_kind stream, uint64_t seq)
{
	struct pc_segment *segment = pc_segment_at(segments, id);
	struct content content;
	int ret;

	pthread_mutex_lock(&segment->info_lock);
	assert(segment->state == PC_SEGMENT_FREE);
	content = content_of(segment);
	content.state = PC_SEGMENT_OPEN;
	content.stream = stream;
	content.seq = seq;
	segment->born = atomic_fetch_add_explicit(&segments->births, 1, memory_order_relaxed);
	ret = store_locked(segments, segment, &content);
	if (ret == 0)
		set_ref(segments, segment);
	pthread_mutex_unlock(&segment->info_lock);
	return ret;
}

int pc_segment_link(struct pc_segments *segments, uint32_t id, uint32_t next)
{
	struct pc_segment *segment = pc_segment_at(segments, id);
	struct content content;
	int ret;

	pthread_mutex_lock(&segment->info_lock);
	assert(segment->state != PC_SEGMENT_FREE && segment->next == PC_SEGMENT_NONE);
	content = content_of(segment);
	content.next = next;
	ret = store_locked(segments, segment, &content);
	pthread_mutex_unlock(&segment->info_lock);
	return ret;
}

int pc_segment_seal(struct pc_segments *segments, uint32_t id, enum pc_stream_kind stream, uint64_t seq, uint32_t lines)
{
	struct pc_segment *segment = pc_segment_at(segments, id);
	struct content content;
	int ret = 0;

	pthread_mutex_lock(&segment->info_lock);
	if (segment->state == PC_SEGMENT_OPEN && segment->stream == stream && segment->seq == seq) {
		content = content_of(segment);
		content.state = PC_SEGMENT_SEALED;
		content.lines = lines;
		ret = store_locked(segments, segment, &content);
	}
	pthread_mutex_unlock(&segment->info_lock);
	return ret;
}

int pc_segment_free(struct pc_segments *segments, uint32_t id)
{
	struct pc_segment *segment = pc_segment_at(segments, id);
	struct content content;
	int ret;

	pthread_mutex_lock(&segment->info_lock);
	assert(segment->state != PC_SEGMENT_FREE);
	content = (struct content){ .state = PC_SEGMENT_FREE, .gen = segment->gen + 1, .next = PC_SEGMENT_NONE };
	ret = store_locked(segments, segment, &content);
	if (ret == 0)
		set_ref(segments, segment); /* order: readers see the new generation before anybody can store here (G2) */
	pthread_mutex_unlock(&segment->info_lock);
	return ret;
}
