/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.c - what a cache is, from its records. Works on open, dirty and damaged files, and takes no lock.
 */
#include "image.h"
#include "table.h"

#include <stdio.h>

static void hex(const uint8_t bytes[16], char text[33])
{
	for (unsigned i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static const char *judge(const struct image_record *record)
{
	if (!record->is_valid)
		return "damaged";
	if (!record->is_sane)
		return "makes no sense";
	return record->slots[0] == IMAGE_SLOT_GOOD && record->slots[1] == IMAGE_SLOT_GOOD ? "good" : "one copy";
}

static const char *state_of(const struct image *image, uint32_t bad_segments)
{
	uint32_t flags = pc_get32(image->info.flags);

	if (!image->super_record.is_sane || !image->info_record.is_sane || !image->tails_record.is_sane || bad_segments != 0)
		return "damaged";
	if (image->is_open)
		return "open";
	if ((flags & PCM_INFO_DROPPING) != 0)
		return "being emptied; the next open for writing finishes it";
	return (flags & PCM_INFO_CLEAN) != 0 ? "closed" : "not closed; the next open recovers it";
}

static void put_super(struct ctl_table *out, const struct image *image)
{
	char text[33];

	hex(image->super.uuid, text);
	ctl_record_text(out, "uuid", "UUID", text);
	ctl_record_number(out, "format_version", "Format version", CTL_TYPE_COUNT, pc_get32(image->super.version));
	ctl_record_number(out, "segments", "Segments", CTL_TYPE_COUNT, image->segment_count);
	ctl_record_number(out, "segment_bytes", "Size of a segment", CTL_TYPE_BYTES, image->segment_bytes);
}

static void put_info(struct ctl_table *out, const struct image *image)
{
	const struct pcm_info *info = &image->info;
	char text[33];

	hex(info->backing_id, text);
	ctl_record_number(out, "backing_bytes", "Size of the backing", CTL_TYPE_BYTES, image->backing_bytes);
	ctl_record_text(out, "backing_id", "Id of the backing", ctl_id_is_none(info->backing_id) ? NULL : text);
	ctl_record_number(out, "backing_id_is_derived", "... made by pcachectl", CTL_TYPE_BOOL,
			  ctl_id_is_derived(info->backing_id));
	ctl_record_text(out, "mode", "Mode", ctl_mode_name(pc_get32(info->mode) + PCACHE_MODE_WRITEBACK));
	ctl_record_number(out, "gc_percent", "Reclaim above (percent)", CTL_TYPE_COUNT, pc_get32(info->gc_percent));
	ctl_record_number(out, "epoch", "Times opened", CTL_TYPE_COUNT, pc_get64(info->epoch));
	ctl_record_number(out, "may_bypass", "Backing written past it", CTL_TYPE_BOOL,
			  (pc_get32(info->flags) & PCM_INFO_BYPASS) != 0);
	ctl_record_number(out, "has_lost_ranges", "Ranges that were lost", CTL_TYPE_BOOL,
			  (pc_get32(info->flags) & PCM_INFO_LOST) != 0);
}

struct roles {
	uint32_t by_stream[PC_STREAM_HOT + 1];
	uint32_t bad;
};

static struct roles count_roles(const struct image *image)
{
	struct roles roles = { 0 };

	for (uint32_t id = 0; id < image->segment_count && image->segments != NULL; id++) {
		if (image->segments[id].record.is_sane)
			roles.by_stream[image->segments[id].stream]++;
		else
			roles.bad++;
	}
	return roles;
}

static int put_content(struct ctl_table *out, struct image *image)
{
	struct image_content content;
	int status = image_content_load(image, false, NULL, NULL, &content);

	if (status != CTL_OK)
		return status;
	ctl_record_number(out, "dirty_bytes", "Not on the backing", CTL_TYPE_BYTES, content.dirty_bytes);
	ctl_record_number(out, "clean_bytes", "On the backing, too", CTL_TYPE_BYTES, content.clean_bytes);
	image_content_free(&content);
	return CTL_OK;
}

static int put_segments(struct ctl_table *out, struct image *image, const struct roles *roles)
{
	ctl_record_number(out, "segments_free", "Segments free", CTL_TYPE_COUNT, roles->by_stream[PC_STREAM_NONE]);
	ctl_record_number(out, "segments_write", "... of the log", CTL_TYPE_COUNT, roles->by_stream[PC_STREAM_WRITE]);
	ctl_record_number(out, "segments_fill", "... of kept misses", CTL_TYPE_COUNT, roles->by_stream[PC_STREAM_FILL]);
	ctl_record_number(out, "segments_hot", "... carried forward", CTL_TYPE_COUNT, roles->by_stream[PC_STREAM_HOT]);
	ctl_record_number(out, "segments_damaged", "... damaged", CTL_TYPE_COUNT, roles->bad);
	if (image->is_open || !image->info_record.is_sane || !image->tails_record.is_sane)
		return CTL_OK; /* of an open one the figures would be of no single moment */
	return put_content(out, image);
}

int ctl_info(const struct ctl_command *command, int argc, char **argv)
{
	struct ctl_form_options form = { 0 };
	const struct ctl_option options[] = { CTL_FORM_OPTIONS(&form) };
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);
	struct ctl_output output;
	struct ctl_table *out;
	struct image image;
	struct roles roles;

	if (status != CTL_GO)
		return status;
	status = image_open(argv[optind], false, &image);
	if (status != CTL_OK)
		return status;
	roles = count_roles(&image);
	ctl_output_begin(&output, &form, command->name);
	out = ctl_record_new("info");
	ctl_record_text(out, "path", "Cache", image.path);
	ctl_record_text(out, "state", "State", state_of(&image, roles.bad));
	ctl_record_number(out, "file_bytes", "Size of the file", CTL_TYPE_BYTES, image.file_bytes);
	ctl_record_text(out, "superblock", "Superblock", judge(&image.super_record));
	if (image.super_record.is_sane) {
		ctl_record_text(out, "cache_info", "Cache info", judge(&image.info_record));
		ctl_record_text(out, "tails", "Tails", judge(&image.tails_record));
		put_super(out, &image);
		if (image.info_record.is_sane)
			put_info(out, &image);
		status = put_segments(out, &image, &roles);
	}
	ctl_output_table(&output, out);
	image_close(&image);
	return ctl_output_end(&output, status);
}
