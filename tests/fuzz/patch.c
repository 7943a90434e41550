/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patch.c - apply the patches of an input to an image, and make the checksums right again.
 *
 * With all checksums compared, a fuzzer that only flips bytes never gets behind them. Here each record, and each line
 * that was patched or begins with the magic of a key set, is signed anew, whatever it says. All arithmetic here is
 * checked: what is read from the image is hostile to this file, too.
 */
#include "fuzz.h"

#include "crc32c.h"

#include <string.h>

#define ROOM ((FUZZ_SEGMENT_BYTES - PCM_SEGMENT_HEADER) / PCM_LINE) /* lines of a segment, and units */

static uint32_t segment_off(uint32_t number)
{
	return PCM_HEADER_BYTES + number % FUZZ_SEGMENTS * FUZZ_SEGMENT_BYTES;
}

static uint32_t line_off(uint32_t number, uint32_t line)
{
	return segment_off(number) + pc_line_off(FUZZ_SEGMENT_BYTES, line % ROOM);
}

static uint32_t record_off(unsigned place, uint32_t number)
{
	static const uint32_t offs[] = { PCM_SUPER_OFF, PCM_INFO_OFF, PCM_TAILS_OFF };

	return place == PLACE_SEGMENT ? segment_off(number) : offs[place];
}

static uint32_t record_bytes(unsigned place)
{
	return place == PLACE_SEGMENT ? sizeof(struct pcm_segment) : PCM_RECORD_MAX;
}

/* ---- patches ---- */

static uint64_t load(const uint8_t *at, size_t len)
{
	uint64_t value = 0;

	memcpy(&value, at, len);
	return value;
}

static void change(uint8_t *at, const struct fuzz_patch *patch)
{
	size_t len = (size_t)1 << patch->len % 4;
	uint64_t value = pc_get64(patch->value);

	if (patch->action % ACTIONS == ACTION_ADD)
		value += load(at, len);
	else if (patch->action % ACTIONS == ACTION_XOR)
		value ^= load(at, len);
	memcpy(at, &value, len);
}

/* `bytes` are there from `at`; `other` is where ACTION_COPY takes its 64 bytes. */
static void apply_at(uint8_t *image, uint32_t at, uint32_t bytes, uint32_t other, const struct fuzz_patch *patch)
{
	if (patch->action % ACTIONS == ACTION_COPY)
		memmove(image + at, image + other, PCM_LINE);
	else
		change(image + at + patch->off % (bytes - 7), patch);
}

static void apply(uint8_t *image, const struct fuzz_patch *patch)
{
	unsigned place = patch->place % PLACES;
	uint32_t index = pc_get16(patch->index);
	uint32_t other = (uint32_t)pc_get64(patch->value);

	if (place == PLACE_LINE) {
		apply_at(image, line_off(patch->number, index), PCM_LINE, line_off(other, other >> 8), patch);
	} else if (place == PLACE_DATA) {
		uint32_t data = segment_off(patch->number) + PCM_SEGMENT_HEADER;
		uint32_t other_data = segment_off(other) + PCM_SEGMENT_HEADER;

		apply_at(image, data + index % ROOM * PCM_UNIT, PCM_UNIT, other_data + (other >> 8) % ROOM * PCM_UNIT,
			 patch);
	} else {
		uint32_t from = record_off(place, other);

		for (unsigned slot = 0; slot < 2; slot++)
			if (patch->slots % 3 != 2 - slot)
				apply_at(image, record_off(place, patch->number) + slot * PCM_SLOT_STRIDE,
					 record_bytes(place), from, patch);
	}
}

void fuzz_patch(uint8_t *image, const struct fuzz_patch *patches, size_t count)
{
	for (size_t i = 0; i < count; i++)
		apply(image, &patches[i]);
}

/* ---- checksums ---- */

static void sign_record(uint8_t *image, unsigned place, uint32_t number, uint32_t seed)
{
	for (unsigned slot = 0; slot < 2; slot++) {
		uint8_t *record = image + record_off(place, number) + slot * PCM_SLOT_STRIDE;
		le32 crc = { 0 };

		memcpy(record + offsetof(struct pcm_record, crc), &crc, sizeof(crc));
		crc = pc_le32(pc_crc32c(seed, record, record_bytes(place)));
		memcpy(record + offsetof(struct pcm_record, crc), &crc, sizeof(crc));
	}
}

static void sign_data(uint8_t *image, uint32_t number, uint8_t *slot)
{
	struct pcm_key key;
	uint32_t data_off;
	uint32_t len;

	memcpy(&key, slot, sizeof(key));
	data_off = pc_get32(key.data_off);
	len = pc_get32(key.stored_len);
	if (data_off > FUZZ_SEGMENT_BYTES || len > FUZZ_SEGMENT_BYTES - data_off)
		return;
	key.data_crc = pc_le32(pc_crc32c(0, image + segment_off(number) + data_off, len));
	memcpy(slot, &key, sizeof(key));
}

/* The key set that begins at this line, if it has one that fits; its lines are counted as decoding does. */
static void sign_kset(uint8_t *image, uint32_t number, uint32_t line, uint32_t seed, bool data_too)
{
	struct pcm_kset header;
	uint32_t lines;
	uint32_t crc;

	memcpy(&header, image + line_off(number, line), sizeof(header));
	lines = pc_kset_lines(pc_get16(header.count));
	if (pc_get32(header.magic) != PCM_MAGIC_KSET || lines > ROOM - line)
		return;
	for (uint32_t i = 1; i <= pc_get16(header.count) && data_too; i++)
		sign_data(image, number,
			  image + line_off(number, line + i / 2) + i % 2 * sizeof(struct pcm_key));
	header.crc = (le32){ 0 };
	memcpy(image + line_off(number, line), &header, sizeof(header));
	crc = pc_crc32c(seed ^ line, image + line_off(number, line), PCM_LINE);
	for (uint32_t i = 1; i < lines; i++)
		crc = pc_crc32c(crc, image + line_off(number, line + i), PCM_LINE);
	header.crc = pc_le32(crc);
	memcpy(image + line_off(number, line), &header, sizeof(header));
}

/* Leftovers of an earlier life stay what they are: only lines of this one are signed, and those that were patched. */
static bool is_to_be_signed(const uint8_t *image, uint32_t number, uint32_t line, uint64_t seq,
			    const struct fuzz_patch *patches, size_t count)
{
	struct pcm_kset header;

	memcpy(&header, image + line_off(number, line), sizeof(header));
	if (pc_get32(header.magic) == PCM_MAGIC_KSET && pc_get64(header.seq) == seq)
		return true;
	for (size_t i = 0; i < count; i++)
		if (patches[i].place % PLACES == PLACE_LINE && patches[i].number % FUZZ_SEGMENTS == number &&
		    pc_get16(patches[i].index) % ROOM == line)
			return true;
	return false;
}

static const uint8_t *newer_slot(const uint8_t *image, uint32_t number)
{
	const uint8_t *slot_a = image + segment_off(number);
	const uint8_t *slot_b = slot_a + PCM_SLOT_STRIDE;
	size_t at = offsetof(struct pcm_record, slot_seq);

	return load(slot_b + at, 8) > load(slot_a + at, 8) ? slot_b : slot_a;
}

void fuzz_repair(uint8_t *image, const struct fuzz_patch *patches, size_t count, bool data_too)
{
	const uint8_t *uuid = image + PCM_SUPER_OFF + offsetof(struct pcm_super, uuid);

	sign_record(image, PLACE_SUPER, 0, 0);
	sign_record(image, PLACE_INFO, 0, pc_meta_seed(uuid, 0));
	sign_record(image, PLACE_TAILS, 0, pc_meta_seed(uuid, 0));
	for (uint32_t number = 0; number < FUZZ_SEGMENTS; number++) {
		struct pcm_segment info;
		uint32_t seed;

		sign_record(image, PLACE_SEGMENT, number, pc_meta_seed(uuid, number));
		memcpy(&info, newer_slot(image, number), sizeof(info));
		seed = pc_kset_seed(uuid, pc_get64(info.gen));
		for (uint32_t line = 0; line < ROOM; line++)
			if (is_to_be_signed(image, number, line, pc_get64(info.seq), patches, count))
				sign_kset(image, number, line, seed, data_too);
	}
}
