/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.c - the records of a cache file: read, judged slot by slot, nothing stored. docs/format.md is the reference.
 *
 * (IM1) Nothing that a record says is used before it is bounded: a file may hold anything.
 * (IM2) What is bad is kept apart from what is good: each record is judged alone, and the rest goes on.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTHING_HIDDEN UINT64_MAX

static int image_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	const struct image *image = (const struct image *)(const void *)media;
	uint8_t *to = buf;

	if (off == image->hidden_off)
		return -EIO;
	while (len > 0) {
		ssize_t count = pread(image->fd, to, len, (off_t)off);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return -EIO;
		to += count;
		off += (uint64_t)count;
		len -= (size_t)count;
	}
	return 0;
}

static_assert(offsetof(struct image, media) == 0, "image_read() takes one for the other");

static const struct pc_media_ops image_ops = { .read = image_read };

/* ---- records ---- */

static bool slot_is_valid(struct image *image, const struct pc_meta *meta, unsigned slot, uint64_t *ret_seq)
{
	uint8_t record[PCM_SLOT_STRIDE];
	struct pc_meta alone = *meta;
	bool valid;

	image->hidden_off = meta->off + (uint64_t)!slot * PCM_SLOT_STRIDE;
	valid = pc_meta_load(&image->media, &alone, record) == 0;
	image->hidden_off = NOTHING_HIDDEN;
	*ret_seq = valid ? alone.slot_seq : 0;
	return valid;
}

static void load(struct image *image, struct pc_meta meta, struct image_record *record, void *ret_bytes)
{
	uint64_t seq[2];

	*record = (struct image_record){ .meta = meta };
	for (unsigned slot = 0; slot < 2; slot++)
		record->slots[slot] = slot_is_valid(image, &meta, slot, &seq[slot]) ? IMAGE_SLOT_GOOD : IMAGE_SLOT_BAD;
	for (unsigned slot = 0; slot < 2; slot++)
		if (record->slots[slot] == IMAGE_SLOT_GOOD && record->slots[!slot] == IMAGE_SLOT_GOOD && seq[slot] < seq[!slot])
			record->slots[slot] = IMAGE_SLOT_OLDER;
	record->is_valid = pc_meta_load(&image->media, &record->meta, ret_bytes) == 0;
}

static struct pc_meta meta_of(uint64_t off, uint32_t bytes, uint32_t magic, uint32_t seed)
{
	return (struct pc_meta){ .off = off, .bytes = bytes, .magic = magic, .seed = seed };
}

static void load_super(struct image *image)
{
	const struct pcm_super *super = &image->super;
	uint32_t segment_bytes;
	uint32_t count;

	load(image, meta_of(PCM_SUPER_OFF, sizeof(*super), PCM_MAGIC_SUPER, 0), &image->super_record, &image->super);
	if (!image->super_record.is_valid)
		return;
	segment_bytes = pc_get32(super->segment_bytes);
	count = pc_get32(super->segment_count);
	image->segments_off = pc_get64(super->segments_off);
	image->super_record.is_sane =
		pc_get32(super->version) == PCM_VERSION && pc_get64(super->incompat) == 0 &&
		pc_is_power_of_two(segment_bytes) && segment_bytes >= PCM_SEGMENT_TEST_MIN &&
		segment_bytes <= PCM_SEGMENT_MAX && count >= PCM_SEGMENTS_MIN && count <= PCM_SEGMENTS_MAX &&
		image->segments_off == pc_max64(PCM_HEADER_BYTES, pc_min64(segment_bytes, PCM_SEGMENTS_ALIGN)) &&
		image->segments_off + (uint64_t)count * segment_bytes <= image->file_bytes;
	image->segment_bytes = segment_bytes;
	image->segment_count = count;
}

static void load_info(struct image *image)
{
	const struct pcm_info *info = &image->info;
	uint32_t flags;

	load(image, meta_of(PCM_INFO_OFF, sizeof(*info), PCM_MAGIC_INFO, pc_meta_seed(image->super.uuid, 0)),
	     &image->info_record, &image->info);
	if (!image->info_record.is_valid)
		return;
	flags = pc_get32(info->flags);
	image->backing_bytes = pc_get64(info->backing_bytes);
	image->info_record.is_sane =
		(flags & ~(PCM_INFO_CLEAN | PCM_INFO_DROPPING | PCM_INFO_BYPASS | PCM_INFO_LOST)) == 0 &&
		(flags & (PCM_INFO_DROPPING | PCM_INFO_LOST)) != (PCM_INFO_DROPPING | PCM_INFO_LOST) &&
		pc_get32(info->mode) <= PCACHE_MODE_WRITEONLY - PCACHE_MODE_WRITEBACK && pc_get32(info->options) == 0 &&
		pc_get32(info->gc_percent) <= 95 && pc_get64(info->epoch) <= (1ull << 31) &&
		((flags & PCM_INFO_DROPPING) != 0) == (pc_get64(info->first_seq) != 0) &&
		pc_get64(info->first_seq) >> 63 == 0;
}

static bool has_lost(const struct image *image)
{
	return image->info_record.is_sane && (pc_get32(image->info.flags) & PCM_INFO_LOST) != 0;
}

/* docs/format.md, section 15: sorted, with a gap between any two */
static bool lost_is_sane(const struct image *image, const struct pcm_lost *lost)
{
	uint32_t count = pc_get32(lost->count);
	uint64_t end = 0;

	if (count == 0 || count > PCM_LOST_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t off = pc_get64(lost->ranges[i].off);
		uint64_t len = pc_get64(lost->ranges[i].len);

		if (len == 0 || off > image->backing_bytes || len > image->backing_bytes - off || (i > 0 && off <= end))
			return false;
		end = off + len;
	}
	return true;
}

static void load_lost(struct image *image)
{
	struct pcm_lost lost;

	if (!has_lost(image))
		return;
	load(image, meta_of(PCM_LOST_OFF, sizeof(lost), PCM_MAGIC_LOST, pc_meta_seed(image->super.uuid, 0)),
	     &image->lost_record, &lost);
	image->lost_record.is_sane = image->lost_record.is_valid && lost_is_sane(image, &lost);
}

static void load_tails(struct image *image)
{
	const struct pcm_tails *tails = &image->tails;

	load(image, meta_of(PCM_TAILS_OFF, sizeof(*tails), PCM_MAGIC_TAILS, pc_meta_seed(image->super.uuid, 0)),
	     &image->tails_record, &image->tails);
	if (!image->tails_record.is_valid)
		return;
	image->dirty_tail = (struct pc_pos){ pc_get64(tails->dirty_tail.seq), pc_get32(tails->dirty_tail.line) };
	image->batch_end = (struct pc_pos){ pc_get64(tails->batch_end.seq), pc_get32(tails->batch_end.line) };
	image->tails_record.is_sane = image->dirty_tail.seq != 0 &&
				      pc_pos_cmp(image->batch_end, image->dirty_tail) >= 0;
}

/* docs/format.md, section 7 */
static bool segment_is_sane(const struct image *image, const struct pcm_segment *record)
{
	uint32_t room = record->stream > PC_STREAM_WRITE ? pc_clean_blocks(image->segment_bytes) :
							   pc_segment_room(image->segment_bytes);
	bool is_free = record->state == PCM_SEGMENT_FREE;
	uint16_t flags = pc_get16(record->flags);

	return record->state <= PCM_SEGMENT_SEALED && record->stream <= PC_STREAM_HOT &&
	       is_free == (record->stream == PC_STREAM_NONE) && is_free == (pc_get64(record->seq) == 0) &&
	       (flags & ~PCM_SEGMENT_HAS_NEXT) == 0 && (flags == 0 || record->stream == PC_STREAM_WRITE) &&
	       pc_get32(record->next) < image->segment_count && pc_get32(record->lines) <= room &&
	       (record->state == PCM_SEGMENT_SEALED || pc_get32(record->lines) == 0) && pc_get64(record->gen) != 0 &&
	       (pc_get64(record->gen) | pc_get64(record->seq)) >> 63 == 0;
}

static void load_segment(struct image *image, uint32_t id)
{
	struct image_segment *segment = &image->segments[id];
	struct pcm_segment record;

	segment->id = id;
	segment->off = image->segments_off + (uint64_t)id * image->segment_bytes;
	load(image, meta_of(segment->off, sizeof(record), PCM_MAGIC_SEGMENT, pc_meta_seed(image->super.uuid, id)),
	     &segment->record, &record);
	segment->record.is_sane = segment->record.is_valid && segment_is_sane(image, &record);
	if (!segment->record.is_sane)
		return;
	segment->state = record.state;
	segment->stream = record.stream;
	segment->has_next = pc_get16(record.flags) != 0;
	segment->gen = pc_get64(record.gen);
	segment->seq = pc_get64(record.seq);
	segment->lines = pc_get32(record.lines);
	segment->next = pc_get32(record.next);
}

static int compare_seq(const void *a, const void *b)
{
	const struct image_segment *left = *(struct image_segment *const *)a;
	const struct image_segment *right = *(struct image_segment *const *)b;

	return (left->seq > right->seq) - (left->seq < right->seq);
}

static void set_mark(struct image_segment *segment, struct pc_pos pos)
{
	if (segment->seq == pos.seq)
		segment->mark = (uint32_t)pc_max64(segment->mark, pos.line);
}

static bool load_segments(struct image *image)
{
	image->segments = calloc(image->segment_count, sizeof(*image->segments));
	image->log = calloc(image->segment_count, sizeof(*image->log));
	if (image->segments == NULL || image->log == NULL)
		return false;
	for (uint32_t id = 0; id < image->segment_count; id++) {
		load_segment(image, id);
		if (image->segments[id].stream != PC_STREAM_WRITE)
			continue;
		set_mark(&image->segments[id], image->dirty_tail);
		set_mark(&image->segments[id], image->batch_end);
		image->log[image->log_count++] = &image->segments[id];
	}
	qsort(image->log, image->log_count, sizeof(*image->log), compare_seq);
	return true;
}

/* ---- open ---- */

static bool is_zero(const struct image *image)
{
	static const uint8_t zeroes[PC_MEDIA_BLANK_BYTES];
	PC_FREE uint8_t *head = malloc(sizeof(zeroes));
	ssize_t len = head == NULL ? -1 : pread(image->fd, head, sizeof(zeroes), 0);

	return len >= 0 && memcmp(head, zeroes, (size_t)len) == 0;
}

static int open_file(struct image *image, bool lock)
{
	struct flock probe = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	struct stat status;

	image->fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO is refused, not waited for */
	if (image->fd < 0)
		return ctl_fail(CTL_FAILED, "%s: %s%s", image->path, strerror(errno),
				errno == ENOENT ? "; if its file system is not mounted, mount it; else see docs/operations.md, "
						  "\"The cache is lost\"" : "");
	if (fstat(image->fd, &status) < 0 || (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)))
		return ctl_fail(CTL_FAILED, "%s: is no regular file", image->path);
	image->file_bytes = (uint64_t)lseek(image->fd, 0, SEEK_END);
	image->is_open = fcntl(image->fd, F_OFD_GETLK, &probe) == 0 && probe.l_type == F_WRLCK;
	probe = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET };
	if (lock && (image->is_open || fcntl(image->fd, F_OFD_SETLK, &probe) < 0))
		return ctl_refused(image->path, EBUSY);
	if (image->file_bytes < PCM_HEADER_BYTES || is_zero(image))
		return ctl_fail(CTL_FAILED, "%s: is no cache: %s; `pcachectl create` makes one", image->path,
				image->file_bytes < PCM_HEADER_BYTES ? "it is too short" : "its first 64 KiB are zero");
	return CTL_OK;
}

int image_open(const char *path, bool lock, struct image *ret_image)
{
	struct image *image = ret_image;
	int status;

	*image = (struct image){
		.media = { .ops = &image_ops, .readonly = true },
		.fd = -1,
		.hidden_off = NOTHING_HIDDEN,
		.path = path,
	};
	status = open_file(image, lock);
	if (status == CTL_OK) {
		load_super(image);
		if (image->super_record.is_valid && pc_get32(image->super.version) != PCM_VERSION)
			status = ctl_refused(path, EPROTONOSUPPORT);
	}
	if (status == CTL_OK && image->super_record.is_sane) {
		load_info(image);
		load_lost(image);
		load_tails(image);
		if (!load_segments(image))
			status = ctl_fail(CTL_FAILED, "out of memory");
	}
	if (status != CTL_OK)
		image_close(image);
	return status;
}

void image_close(struct image *image)
{
	free(image->segments);
	free(image->log);
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
}

/* ---- names ---- */

const char *image_state_name(uint8_t state)
{
	static const char *const names[] = { "free", "open", "sealed" };

	return state < CTL_ARRAY_SIZE(names) ? names[state] : "?";
}

const char *image_stream_name(uint8_t stream)
{
	static const char *const names[] = { "-", "write", "fill", "hot" };

	return stream < CTL_ARRAY_SIZE(names) ? names[stream] : "?";
}

const char *image_slot_name(enum image_slot slot)
{
	static const char *const names[] = { "good", "older", "bad" };

	return names[slot];
}
