/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * record.c - the record of an unfinished copy, CACHE.resume: a text of fixed lines, closed by a line "end".
 *
 * (R1) A record is replaced whole: written beside, synced, renamed, the directory synced. A crash leaves the old one
 *      or the new one.
 * (R2) What is read is checked before it is used: every line must be there, and the figures must fit each other.
 */
#include "cp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX_BYTES 4096
#define ID_TEXT_BYTES    (2 * CP_ID_BYTES + 1)

static const char *const phase_names[] = { [CP_COPYING] = "copying", [CP_COPIED] = "copied", [CP_DRAINED] = "drained" };

static void id_to_text(const uint8_t id[CP_ID_BYTES], char text[ID_TEXT_BYTES])
{
	for (size_t i = 0; i < CP_ID_BYTES; i++)
		sprintf(text + 2 * i, "%02x", id[i]);
}

static bool id_from_text(const char *text, uint8_t id[CP_ID_BYTES])
{
	if (strlen(text) != ID_TEXT_BYTES - 1)
		return false;
	for (size_t i = 0; i < CP_ID_BYTES; i++)
		if (sscanf(text + 2 * i, "%2hhx", &id[i]) != 1)
			return false;
	return true;
}

static bool phase_from_text(const char *text, enum cp_phase *ret_phase)
{
	for (size_t i = 0; i < sizeof(phase_names) / sizeof(phase_names[0]); i++) {
		if (strcmp(text, phase_names[i]) == 0) {
			*ret_phase = (enum cp_phase)i;
			return true;
		}
	}
	return false;
}

static int format_record(const struct cp_record *record, char text[RECORD_MAX_BYTES])
{
	char source_id[ID_TEXT_BYTES];
	char destination_id[ID_TEXT_BYTES];

	id_to_text(record->source_id, source_id);
	id_to_text(record->destination_id, destination_id);
	return snprintf(text, RECORD_MAX_BYTES,
			"pcache-cp-resume 1\n"
			"phase: %s\n"
			"copied_bytes: %" PRIu64 "\n"
			"volume_bytes: %" PRIu64 "\n"
			"cache_created: %d\n"
			"destination_id: %s\n"
			"stream: %d\n"
			"source_id: %s\n"
			"source_bytes: %" PRIu64 "\n"
			"source_start: %" PRIu64 "\n"
			"source_mtime: %" PRId64 ".%09" PRId64 "\n"
			"source: \"%.1000s\"\n"
			"end\n",
			phase_names[record->phase], record->copied_bytes, record->volume_bytes, record->cache_created,
			destination_id, record->stream, source_id, record->source_bytes, record->source_start_off,
			record->source_mtime_s, record->source_mtime_ns, record->source);
}

static bool parse_record(const char *text, struct cp_record *ret_record)
{
	struct cp_record record = { 0 };
	char phase[16];
	char source_id[ID_TEXT_BYTES];
	char destination_id[ID_TEXT_BYTES];
	int cache_created;
	int stream;
	int end = 0;

	sscanf(text,
	       "pcache-cp-resume 1 phase: %15s copied_bytes: %" SCNu64 " volume_bytes: %" SCNu64
	       " cache_created: %d destination_id: %32s stream: %d source_id: %32s source_bytes: %" SCNu64
	       " source_start: %" SCNu64 " source_mtime: %" SCNd64 ".%" SCNd64 " source: \"%1023[^\n] end%n",
	       phase, &record.copied_bytes, &record.volume_bytes, &cache_created, destination_id, &stream, source_id,
	       &record.source_bytes, &record.source_start_off, &record.source_mtime_s, &record.source_mtime_ns,
	       record.source, &end);
	if (end == 0 || strcmp(text + end, "\n") != 0) /* %n is only reached when all before it fitted */
		return false;
	record.source[strlen(record.source) - 1] = '\0'; /* the closing quote; a name may begin with a blank */
	record.cache_created = cache_created == 1;
	record.stream = stream == 1;
	if (!phase_from_text(phase, &record.phase) || !id_from_text(source_id, record.source_id) ||
	    !id_from_text(destination_id, record.destination_id))
		return false;
	if (record.volume_bytes > INT64_MAX || record.copied_bytes > record.volume_bytes)
		return false;
	if (!record.stream && (record.source_bytes > record.volume_bytes || record.copied_bytes > record.source_bytes))
		return false;
	*ret_record = record;
	return true;
}

bool cp_record_exists(const struct cp_options *options)
{
	return access(options->record, F_OK) == 0;
}

int cp_record_load(const struct cp_options *options, struct cp_record *ret_record)
{
	char text[RECORD_MAX_BYTES];
	FILE *file = fopen(options->record, "re");

	if (!file)
		return cp_fail(errno == ENOENT ? CP_USAGE : CP_FAILED, "%s: %s%s", options->record, strerror(errno),
			       errno == ENOENT ? ": there is no unfinished copy with this cache" : "");

	size_t len = fread(text, 1, sizeof(text) - 1, file);
	bool failed = ferror(file);

	fclose(file);
	text[len] = '\0';
	if (failed)
		return cp_fail(CP_FAILED, "%s: %s", options->record, strerror(EIO));
	if (!parse_record(text, ret_record))
		return cp_fail(CP_REFUSED, "%s: is not a record of a copy, or is damaged", options->record);
	return CP_OK;
}

static int write_temp(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;

	ssize_t written = write(fd, text, len);
	int error = 0;

	if (written != (ssize_t)len)
		error = written < 0 ? -errno : -ENOSPC;
	else if (fsync(fd) != 0)
		error = -errno;
	if (close(fd) != 0 && !error)
		error = -errno;
	return error;
}

int cp_record_save(const struct cp_options *options, const struct cp_record *record)
{
	char text[RECORD_MAX_BYTES];
	int len = format_record(record, text);
	int error = write_temp(options->record_temp, text, (size_t)len);

	if (!error && rename(options->record_temp, options->record) != 0)
		error = -errno;
	if (error)
		unlink(options->record_temp);
	else
		error = cp_sync_directory_of(options->record);
	if (error)
		return cp_fail(CP_FAILED, "%s: %s", options->record, strerror(-error));
	return CP_OK;
}

int cp_record_remove(const struct cp_options *options)
{
	if (unlink(options->record) != 0 && errno != ENOENT)
		return cp_fail(CP_FAILED, "%s: %s", options->record, strerror(errno));
	return CP_OK;
}

void cp_record_describe(struct cp_record *record, const struct cp_source *source,
			const struct cp_destination *destination)
{
	record->stream = source->stream;
	record->source_bytes = source->size_bytes;
	record->source_start_off = source->start_off;
	record->source_mtime_s = source->status.st_mtim.tv_sec;
	record->source_mtime_ns = source->status.st_mtim.tv_nsec;
	memcpy(record->source_id, source->id, CP_ID_BYTES);
	memcpy(record->destination_id, destination->id, CP_ID_BYTES);
	snprintf(record->source, sizeof(record->source), "%s", source->name);
	for (char *c = record->source; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = '?';
}

int cp_record_check_source(const struct cp_record *record, const struct cp_source *source)
{
	if (source->stream || record->stream)
		return cp_fail(CP_USAGE,
			       "%s: a pipe that was not read to its end cannot be resumed; start again with --restart",
			       source->name);
	if (memcmp(record->source_id, source->id, CP_ID_BYTES) != 0)
		return cp_fail(CP_REFUSED, "%s: is another file than the one whose copy is unfinished (%s)",
			       source->name, record->source);
	if (record->source_bytes != source->size_bytes || record->source_start_off != source->start_off ||
	    record->source_mtime_s != source->status.st_mtim.tv_sec ||
	    record->source_mtime_ns != source->status.st_mtim.tv_nsec)
		return cp_fail(CP_REFUSED, "%s: was changed since the copy began; start again with --restart",
			       source->name);
	return CP_OK;
}

int cp_record_check_destination(const struct cp_record *record, const struct cp_destination *destination)
{
	if (memcmp(record->destination_id, destination->id, CP_ID_BYTES) != 0)
		return cp_fail(CP_REFUSED, "%s: is another file than the one whose copy is unfinished",
			       destination->name);
	if (record->phase != CP_DRAINED && record->volume_bytes != destination->size_bytes)
		return cp_fail(CP_REFUSED, "%s: has %ju bytes, the unfinished copy needs it with %ju",
			       destination->name, (uintmax_t)destination->size_bytes, (uintmax_t)record->volume_bytes);
	return CP_OK;
}
