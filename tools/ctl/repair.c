/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * repair.c - a damaged copy of a record is overwritten with its good twin.
 *
 * (RP1) Nothing but a bad or older copy is ever overwritten, and only with a valid one: what was valid before still is. It is
 *       what every open for writing does first, so it can be interrupted anywhere and done again.
 * (RP2) The rest is left as it is: torn writes are voided by the next open for writing, which has the backing; for damage
 *       there is a way out in words.
 */
#include "check.h"

#include <errno.h>

static bool needs_repair(const struct image_record *record)
{
	return record->is_valid && record->is_sane &&
	       (record->slots[0] != IMAGE_SLOT_GOOD || record->slots[1] != IMAGE_SLOT_GOOD);
}

static int repair_record(struct pc_media *media, const struct image_record *record, unsigned *count)
{
	struct pc_meta meta = record->meta;
	int ret;

	if (!needs_repair(record))
		return 0;
	ret = pc_meta_repair(media, &meta);
	*count += ret == 0;
	return ret;
}

static int repair_records(struct pc_media *media, const struct image *image, unsigned *ret_count)
{
	int ret = repair_record(media, &image->super_record, ret_count);

	if (ret == 0)
		ret = repair_record(media, &image->info_record, ret_count);
	if (ret == 0)
		ret = repair_record(media, &image->tails_record, ret_count);
	if (ret == 0)
		ret = repair_record(media, &image->lost_record, ret_count);
	for (uint32_t id = 0; id < image->segment_count && image->segments != NULL && ret == 0; id++)
		ret = repair_record(media, &image->segments[id].record, ret_count);
	return ret < 0 ? ret : pc_media_sync(media);
}

/* The records are read under the lock of one who may write. */
static int repair(const char *path, unsigned *ret_count)
{
	const struct pc_media_request request = { .path = path };
	const struct pc_log log = { ctl_log, (void *)(uintptr_t)path };
	struct pc_media *media;
	struct image image;
	int ret = pc_media_open(&request, &log, &media);
	int status;

	if (ret < 0)
		return ctl_refused(path, ret);
	status = image_open(path, false, &image);
	if (status == CTL_OK) {
		ret = image.super_record.is_sane ? repair_records(media, &image, ret_count) : 0;
		if (ret < 0)
			status = ctl_refused(path, ret);
		image_close(&image);
	}
	pc_media_close(media);
	return status;
}

static int look_again(const char *path, unsigned count)
{
	struct ctl_check check;
	struct image image;
	int status = image_open(path, true, &image);

	if (status != CTL_OK)
		return CTL_USAGE;
	status = ctl_check_image(&image, false, &check);
	if (status == CTL_OK && check.damages != 0) {
		status = CTL_DAMAGED;
		ctl_say("%s: %llu damages stay, which have no good copy; `pcachectl check` lists them, `pcachectl export --salvage` "
			"saves all that is valid, `pcachectl forget --discard-dirty` makes the cache usable again",
			path, (unsigned long long)check.damages);
	} else if (status == CTL_OK) {
		status = count != 0 ? CTL_FAILED : CTL_OK;
		if (check.blemishes != 0)
			ctl_say("%s: torn writes are left for the next open for writing; nothing is lost with them", path);
	}
	ctl_check_free(&check);
	image_close(&image);
	return status;
}

int ctl_repair(const struct ctl_command *command, int argc, char **argv)
{
	int status = ctl_parse(command, argc, argv, NULL, 0, 1, 1);
	struct image image;
	unsigned count = 0;

	if (status != CTL_GO)
		return status;
	if (image_open(argv[optind], true, &image) != CTL_OK) /* no cache at all is not even locked for writing */
		return CTL_USAGE;
	image_close(&image);
	if (repair(argv[optind], &count) != CTL_OK)
		return CTL_USAGE;
	ctl_say("%s: %u records put right", argv[optind], count);
	return look_again(argv[optind], count);
}
