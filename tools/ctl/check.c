/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - every rule of docs/format.md, held against a cache file. Goes on behind what it finds, and stores nothing.
 *
 * (CH1) Damage is what open refuses, or what a read would get an error for: exit status 4.
 * (CH2) A blemish costs nothing: a record of which one copy is left, a torn write that was never acknowledged, clean data
 *       that is on the backing, too. The next open for writing puts it right: exit status 1.
 */
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define FINDINGS_MAX 1000 /* listed; all are counted */

struct state {
	struct ctl_check *check;
	const struct image *image;
	const struct image_segment *segment; /* of the key set before */
	uint32_t next_off;                   /* where its data ended */
};

__attribute__((format(printf, 4, 5))) static void note(struct ctl_check *check, bool is_damage, const char *where,
						       const char *format, ...)
{
	uint64_t *count = is_damage ? &check->damages : &check->blemishes;
	char text[256];
	va_list args;

	if (++*count > FINDINGS_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ctl_table_text(check->findings, is_damage ? "damage" : "blemish");
	ctl_table_text(check->findings, where);
	ctl_table_text(check->findings, text);
}

/* ---- records ---- */

static void check_record(struct ctl_check *check, const struct image_record *record, const char *where)
{
	if (!record->is_valid) {
		note(check, true, where, "both copies are damaged");
		return;
	}
	if (!record->is_sane)
		note(check, true, where, "its checksum is right, but it makes no sense");
	for (unsigned slot = 0; slot < 2; slot++)
		if (record->slots[slot] != IMAGE_SLOT_GOOD)
			note(check, false, where, "copy %c at byte %" PRIu64 " is %s; the other one is good", 'A' + slot,
			     record->meta.off + (uint64_t)slot * PCM_SLOT_STRIDE, image_slot_name(record->slots[slot]));
}

static void check_segments(struct ctl_check *check, const struct image *image)
{
	char where[32];

	for (uint32_t id = 0; id < image->segment_count; id++) {
		snprintf(where, sizeof(where), "segment %u", id);
		check_record(check, &image->segments[id].record, where);
	}
}

/* ---- the log as a whole ---- */

static bool is_unlinked_end(const struct image *image, uint32_t i)
{
	const struct image_segment *last = image->log[i + 1];

	return i + 2 == image->log_count && !image->log[i]->has_next && last->state == PCM_SEGMENT_OPEN &&
	       last->found == 0 && image->batch_end.seq != last->seq;
}

static void check_chain(struct ctl_check *check, const struct image *image)
{
	for (uint32_t i = 0; i < image->log_count; i++) {
		const struct image_segment *segment = image->log[i];

		if (i + 1 == image->log_count) {
			if (segment->has_next)
				note(check, true, "log", "segment number %" PRIu64 " is missing, at the end", segment->seq + 1);
		} else if (image->log[i + 1]->seq != segment->seq + 1) {
			note(check, true, "log", "segment number %" PRIu64 " is missing, or there twice", segment->seq + 1);
		} else if ((!segment->has_next || segment->next != image->log[i + 1]->id) && !is_unlinked_end(image, i)) {
			note(check, true, "log", "segment number %" PRIu64 " does not name the next one", segment->seq);
		}
	}
}

static void check_mark(struct ctl_check *check, const struct image *image, struct pc_pos pos, const char *where)
{
	uint32_t room = pc_segment_room(image->segment_bytes);
	bool found = false;

	for (uint32_t i = 0; i < image->log_count; i++) {
		const struct image_segment *segment = image->log[i];

		if (segment->seq < pos.seq && segment->state != PCM_SEGMENT_SEALED)
			note(check, true, where, "write-back has passed segment number %" PRIu64 ", but it is not sealed",
			     segment->seq);
		if (segment->seq != pos.seq)
			continue;
		found = true;
		if (pos.line > (segment->state == PCM_SEGMENT_SEALED ? segment->lines : room))
			note(check, true, where, "is at line %u of segment %u, which has fewer", pos.line, segment->id);
	}
	if (!found)
		note(check, true, where, "is in segment number %" PRIu64 ", which is missing", pos.seq);
}

/* ---- key sets ---- */

/* Data order is line order, and in a key set without gaps. */
static void check_order(struct state *state, const struct image_find *find, const char *where)
{
	if (find->segment != state->segment)
		state->next_off = PCM_SEGMENT_HEADER;
	state->segment = find->segment;
	for (uint32_t i = 0; i < find->kset.count; i++) {
		const struct pc_key *key = &find->keys[i];

		if (key->data_off < state->next_off || (i > 0 && key->data_off != state->next_off))
			note(state->check, true, where, "key %u: its data is not where the order of keys puts it", i);
		state->next_off = key->data_off + pc_key_units(key->stored_len) * PCM_UNIT;
	}
}

static void hear(void *arg, const struct image_find *find)
{
	struct state *state = arg;
	struct ctl_check *check = state->check;
	bool is_clean = find->segment->stream > PC_STREAM_WRITE;
	char where[48];

	snprintf(where, sizeof(where), "segment %u, line %u", find->segment->id, find->line);
	switch (find->what) {
	case IMAGE_KSET:
		if (!is_clean)
			check_order(state, find, where);
		if (find->data == IMAGE_DATA_BAD)
			note(check, image_is_dirty(state->image, find->segment, find->line), where,
			     "data of %" PRIu64 " on the backing does not match its checksum%s", find->keys[0].off,
			     image_is_dirty(state->image, find->segment, find->line) ? "" : "; the backing has it, too");
		break;
	case IMAGE_TORN:
	case IMAGE_TORN_DATA:
		check->torn_lines++;
		note(check, false, where, "torn: a write that was not acknowledged");
		break;
	case IMAGE_DAMAGED:
	case IMAGE_MISSING:
		note(check, true, where, "was durable, and is no key set any more");
		break;
	case IMAGE_UNREADABLE:
		note(check, !is_clean, where, "the key sets of this segment cannot be read");
		break;
	case IMAGE_VOID:
	case IMAGE_KILLED:
		break;
	}
}

int ctl_check_image(struct image *image, bool data, struct ctl_check *ret_check)
{
	static const struct ctl_field fields[] = {
		{ "kind", "KIND", CTL_TYPE_TEXT },
		{ "where", "WHERE", CTL_TYPE_TEXT },
		{ "what", "WHAT", CTL_TYPE_TEXT },
	};
	struct ctl_check *check = ret_check;
	struct state state = { .check = check, .image = image };
	int status;

	*check = (struct ctl_check){ .findings = ctl_table_new("findings", fields, CTL_ARRAY_SIZE(fields)) };
	check_record(check, &image->super_record, "superblock");
	if (!image->super_record.is_sane)
		return CTL_OK;
	check_record(check, &image->info_record, "cache info");
	check_record(check, &image->tails_record, "tails");
	if (image->info_record.is_sane && (pc_get32(image->info.flags) & PCM_INFO_LOST) != 0)
		check_record(check, &image->lost_record, "lost ranges");
	check_segments(check, image);
	if (image->info_record.is_sane && (pc_get32(image->info.flags) & PCM_INFO_DROPPING) != 0) {
		note(check, false, "cache info", "the cache is being emptied; nothing else in it counts");
		return CTL_OK;
	}
	status = image_content_load(image, data, hear, &state, &check->content);
	if (status != CTL_OK)
		return status;
	check_chain(check, image);
	if (image->tails_record.is_sane) {
		check_mark(check, image, image->dirty_tail, "dirty_tail");
		check_mark(check, image, image->batch_end, "batch_end");
	}
	return CTL_OK;
}

void ctl_check_free(struct ctl_check *check)
{
	ctl_table_free(check->findings);
	image_content_free(&check->content);
}

/* ---- the command ---- */

static const char *verdict(int status)
{
	return status == CTL_OK ? "sound" : status == CTL_FAILED ? "blemished; the next open for writing puts it right" : "damaged";
}

static int report(const struct ctl_command *command, struct ctl_check *check, const struct ctl_form_options *form,
		  const struct image *image)
{
	int status = ctl_check_status(check);
	struct ctl_table *out = ctl_record_new("check");
	struct ctl_output output;

	ctl_output_begin(&output, form, command->name);
	ctl_record_text(out, "path", "Cache", image->path);
	ctl_record_text(out, "verdict", "Verdict", verdict(status));
	ctl_record_number(out, "damages", "Damage", CTL_TYPE_COUNT, check->damages);
	ctl_record_number(out, "blemishes", "Blemishes", CTL_TYPE_COUNT, check->blemishes);
	ctl_record_number(out, "torn_lines", "... of them torn writes", CTL_TYPE_COUNT, check->torn_lines);
	ctl_record_number(out, "keys", "Keys", CTL_TYPE_COUNT, check->content.keys);
	ctl_record_number(out, "dirty_bytes", "Not on the backing", CTL_TYPE_BYTES, check->content.dirty_bytes);
	ctl_record_number(out, "clean_bytes", "On the backing, too", CTL_TYPE_BYTES, check->content.clean_bytes);
	ctl_record_number(out, "lost_bytes", "Dirty and damaged", CTL_TYPE_BYTES, check->content.lost_bytes);
	ctl_output_table(&output, out);
	if (form->json || check->damages + check->blemishes != 0) {
		ctl_output_table(&output, check->findings);
		check->findings = NULL;
	}
	if (status == CTL_DAMAGED)
		ctl_say("%s: next: `pcachectl export --salvage` saves all that is valid; `pcachectl repair` puts right what has a "
			"good copy; docs/operations.md has every way out", image->path);
	return ctl_output_end(&output, status);
}

int ctl_check(const struct ctl_command *command, int argc, char **argv)
{
	struct ctl_form_options form = { 0 };
	bool data = false;
	const struct ctl_option options[] = {
		{ "data", CTL_FLAG, &data, NULL, "compare all data with its checksums, too" },
		CTL_FORM_OPTIONS(&form),
	};
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);
	struct ctl_check check;
	struct image image;

	if (status != CTL_GO)
		return status;
	if (image_open(argv[optind], true, &image) != CTL_OK)
		return CTL_USAGE; /* 1 would say that something was found */
	status = ctl_check_image(&image, data, &check);
	status = status == CTL_OK ? report(command, &check, &form, &image) : CTL_USAGE;
	ctl_check_free(&check);
	image_close(&image);
	return status;
}
