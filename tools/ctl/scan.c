/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scan.c - the key sets of one segment, line by line, and whether a line that is none was torn or damaged
 * (docs/format.md, section 10).
 *
 * Sealed: every line up to the count is part of a key set; what is not is damage. Not sealed: what lies under the highest
 * `durable_below` of any valid key set, or under one of the tails, was durable once; what lies above was never acknowledged.
 */
#include "image.h"

#include "crc32c.h"

struct scan {
	const struct image *image;
	struct image_segment *segment;
	struct pc_kset_scope scope;
	struct pc_lines lines;
	struct pc_key keys[PCM_KSET_MAX_KEYS];
	uint8_t data[PCM_KEY_MAX_BYTES];
	bool wants_data;
	image_find_fn fn;
	void *arg;
};

static void tell(struct scan *scan, uint32_t line, struct image_find find)
{
	find.segment = scan->segment;
	find.line = line;
	find.keys = scan->keys;
	scan->fn(scan->arg, &find);
}

static enum image_data look_at_data(struct scan *scan, uint32_t count)
{
	struct pc_media *media = (struct pc_media *)(uintptr_t)&scan->image->media;

	for (uint32_t i = 0; i < count; i++) {
		const struct pc_key *key = &scan->keys[i];

		if (key->stored_len == 0)
			continue;
		if (pc_media_read(media, scan->data, scan->segment->off + key->data_off, key->stored_len) < 0 ||
		    pc_crc32c(0, scan->data, key->stored_len) != key->data_crc)
			return IMAGE_DATA_BAD;
	}
	return IMAGE_DATA_GOOD;
}

/* True: a key set, or a VOID, begins there, and its keys are in scan->keys. */
static bool decode(struct scan *scan, uint32_t line, struct pc_kset *ret_kset)
{
	if (!pc_kset_decode(&scan->scope, &scan->lines, line, ret_kset))
		return false;
	for (uint32_t i = 0; i < ret_kset->count; i++)
		scan->keys[i] = pc_kset_key(&scan->lines, line, i);
	return true;
}

/* How far an unsealed segment was used, and its mark. */
static void find_end(struct scan *scan)
{
	struct image_segment *segment = scan->segment;
	uint32_t room = pc_segment_room(scan->image->segment_bytes);
	uint32_t units = 0;
	uint32_t line = 0;

	segment->found = 0;
	while (line + units < room) {
		struct pc_kset kset;

		if (!decode(scan, line, &kset)) {
			line++;
			continue;
		}
		segment->mark = (uint32_t)pc_max64(segment->mark, kset.durable_below);
		if (kset.count != 0) {
			const struct pc_key *last = &scan->keys[kset.count - 1];

			units = (uint32_t)pc_max64(units, (last->data_off - PCM_SEGMENT_HEADER) / PCM_UNIT +
								  pc_key_units(last->stored_len));
		}
		line += kset.lines;
		segment->found = line;
	}
}

static uint32_t scan_one(struct scan *scan, uint32_t line)
{
	bool is_sealed = scan->segment->state == PCM_SEGMENT_SEALED;
	bool was_durable = is_sealed || line < scan->segment->mark;
	struct image_find find = { 0 };

	if (!decode(scan, line, &find.kset)) {
		find.what = was_durable ? IMAGE_DAMAGED : IMAGE_TORN;
		find.kset.lines = 1;
	} else if (find.kset.is_void) {
		find.what = IMAGE_VOID;
	} else {
		if (!is_sealed || scan->wants_data)
			find.data = look_at_data(scan, find.kset.count);
		find.what = find.data == IMAGE_DATA_BAD && !was_durable ? IMAGE_TORN_DATA : IMAGE_KSET;
	}
	tell(scan, line, find);
	return find.kset.lines;
}

static void scan_log(struct scan *scan)
{
	struct image_segment *segment = scan->segment;

	if (segment->state == PCM_SEGMENT_SEALED)
		segment->found = segment->lines;
	else
		find_end(scan);
	for (uint32_t line = 0; line < segment->found;)
		line += scan_one(scan, line);
	for (uint32_t line = segment->found; line < segment->mark && segment->state != PCM_SEGMENT_SEALED; line++)
		tell(scan, line, (struct image_find){ .what = IMAGE_MISSING });
}

static void scan_clean(struct scan *scan)
{
	struct image_segment *segment = scan->segment;
	bool is_sealed = segment->state == PCM_SEGMENT_SEALED;

	for (uint32_t line = 0; line < scan->lines.end; line++) {
		enum pc_clean_line kind = pc_kset_decode_clean(&scan->scope, &scan->lines, line, &scan->keys[0]);
		struct image_find find = { .what = kind == PC_CLEAN_KILLED ? IMAGE_KILLED : IMAGE_KSET };

		if (kind == PC_CLEAN_NONE)
			continue;
		segment->found = line + 1;
		find.kset = (struct pc_kset){ .seq = segment->seq, .count = scan->keys[0].len != 0, .lines = 1 };
		if (kind == PC_CLEAN_VALID && (!is_sealed || scan->wants_data))
			find.data = look_at_data(scan, 1);
		tell(scan, line, find);
	}
}

int image_scan(const struct image *image, struct image_segment *segment, bool data, image_find_fn fn, void *arg)
{
	bool is_clean = segment->stream > PC_STREAM_WRITE;
	uint32_t room = is_clean ? pc_clean_blocks(image->segment_bytes) : pc_segment_room(image->segment_bytes);
	uint32_t count = segment->state == PCM_SEGMENT_SEALED ? segment->lines : room;
	struct pc_media *media = (struct pc_media *)(uintptr_t)&image->media;
	PC_FREE struct scan *scan = calloc(1, sizeof(*scan));
	PC_FREE uint8_t *lines = malloc((size_t)count * PCM_LINE + 1);

	if (scan == NULL || lines == NULL)
		return ctl_fail(CTL_FAILED, "out of memory");
	scan->image = image;
	scan->segment = segment;
	scan->wants_data = data;
	scan->fn = fn;
	scan->arg = arg;
	scan->scope = (struct pc_kset_scope){
		.seed = pc_kset_seed(image->super.uuid, segment->gen),
		.segment_bytes = image->segment_bytes,
		.seq = segment->seq,
		.backing_bytes = image->info_record.is_sane ? image->backing_bytes : INT64_MAX,
	};
	if (pc_lines_read(media, segment->off + image->segment_bytes, 0, count, lines, &scan->lines) < 0)
		tell(scan, 0, (struct image_find){ .what = IMAGE_UNREADABLE });
	else if (is_clean)
		scan_clean(scan);
	else
		scan_log(scan);
	return CTL_OK;
}
