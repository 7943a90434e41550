/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * content.c - what a read would find where, worked out from the keys alone.
 *
 * No key crosses a multiple of 64 KiB of the backing. So the keys are sorted by such chunks, and in each from the newest to
 * the oldest; a bit map of the chunk's bytes tells what is still open. Clean keys come after all writes.
 */
#include "image.h"

#include <string.h>

struct entry {
	uint64_t off;
	uint64_t seq; /* 0: clean */
	uint32_t line;
	uint32_t index; /* in its key set */
	uint32_t len;
	uint32_t segment;
	uint16_t flags;
	bool is_dirty;
	bool is_bad;
};

struct entries {
	struct image *image;
	struct entry *items;
	size_t count;
	size_t room;
	bool failed;
	image_find_fn also;
	void *arg;
};

static void add(struct entries *entries, const struct entry *entry)
{
	if (entries->count == entries->room) {
		size_t room = 2 * entries->room + 1024;
		struct entry *items = realloc(entries->items, room * sizeof(*items));

		entries->failed |= items == NULL;
		if (items == NULL)
			return;
		entries->items = items;
		entries->room = room;
	}
	entries->items[entries->count++] = *entry;
}

static void collect(void *arg, const struct image_find *find)
{
	struct entries *entries = arg;
	bool is_clean = find->segment->stream > PC_STREAM_WRITE;

	if (entries->also != NULL)
		entries->also(entries->arg, find);
	if (find->what != IMAGE_KSET)
		return;
	for (uint32_t i = 0; i < find->kset.count; i++)
		add(entries, &(struct entry){
			.off = find->keys[i].off,
			.len = find->keys[i].len,
			.flags = find->keys[i].flags,
			.seq = is_clean ? 0 : find->segment->seq,
			.line = find->line,
			.index = i,
			.segment = find->segment->id,
			.is_dirty = image_is_dirty(entries->image, find->segment, find->line),
			.is_bad = find->data == IMAGE_DATA_BAD,
		});
}

static int compare(const void *a, const void *b)
{
	const struct entry *left = a;
	const struct entry *right = b;
	uint64_t left_chunk = left->off / PCM_KEY_MAX_BYTES;
	uint64_t right_chunk = right->off / PCM_KEY_MAX_BYTES;

	if (left_chunk != right_chunk)
		return left_chunk < right_chunk ? -1 : 1;
	if (left->seq != right->seq)
		return left->seq > right->seq ? -1 : 1;
	if (left->line != right->line)
		return left->line > right->line ? -1 : 1;
	return (left->index < right->index) - (left->index > right->index);
}

/* Bits that were open, and are taken now. */
static uint32_t take(uint64_t *taken, uint32_t first, uint32_t len)
{
	uint32_t count = 0;

	for (uint32_t bit = first; bit < first + len;) {
		uint32_t bits = (uint32_t)pc_min64(64 - bit % 64, first + len - bit);
		uint64_t mask = (bits == 64 ? UINT64_MAX : (1ull << bits) - 1) << bit % 64;

		count += (uint32_t)__builtin_popcountll(mask & ~taken[bit / 64]);
		taken[bit / 64] |= mask;
		bit += bits;
	}
	return count;
}

static void count_live(const struct entries *entries, struct image_content *content)
{
	uint64_t taken[PCM_KEY_MAX_BYTES / 64];
	uint64_t chunk = UINT64_MAX;

	for (size_t i = 0; i < entries->count; i++) {
		const struct entry *entry = &entries->items[i];
		uint32_t bytes;

		if (entry->off / PCM_KEY_MAX_BYTES != chunk)
			memset(taken, 0, sizeof(taken));
		chunk = entry->off / PCM_KEY_MAX_BYTES;
		bytes = take(taken, (uint32_t)(entry->off % PCM_KEY_MAX_BYTES), entry->len);
		content->superseded += entry->seq == 0 && bytes < entry->len;
		if (entry->flags == PCM_KEY_INVALIDATE)
			continue;
		content->live[entry->segment] += bytes;
		content->dirty_bytes += entry->is_dirty ? bytes : 0;
		content->clean_bytes += entry->is_dirty ? 0 : bytes;
		content->lost_bytes += entry->is_bad && entry->is_dirty ? bytes : 0;
	}
}

int image_content_load(struct image *image, bool data, image_find_fn also, void *arg, struct image_content *ret_content)
{
	struct entries entries = { .image = image, .also = also, .arg = arg };
	struct image_content content = { .live = calloc(image->segment_count + 1, sizeof(*content.live)) };
	int status = CTL_OK;

	for (uint32_t id = 0; id < image->segment_count && image->segments != NULL && status == CTL_OK; id++)
		if (image->segments[id].stream != PC_STREAM_NONE)
			status = image_scan(image, &image->segments[id], data, collect, &entries);
	if (content.live == NULL || entries.failed)
		status = ctl_fail(CTL_FAILED, "out of memory");
	if (status == CTL_OK && entries.count != 0) {
		qsort(entries.items, entries.count, sizeof(*entries.items), compare);
		count_live(&entries, &content);
	}
	content.keys = entries.count;
	free(entries.items);
	if (status != CTL_OK)
		image_content_free(&content);
	else
		*ret_content = content;
	return status;
}

void image_content_free(struct image_content *content)
{
	free(content->live);
	content->live = NULL;
}
