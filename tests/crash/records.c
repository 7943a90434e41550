/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * records.c - finds and checks the two-slot records of an image: magic, CRC and sequence number of both slots.
 */
#include "records.h"

#include "crc32c.h"

#include <string.h>

#define NO_SEED UINT32_MAX

struct record_place record_number(const struct geometry *geometry, uint32_t n)
{
	switch (n) {
	case 0:
		return (struct record_place){ .off = PCM_SUPER_OFF, .bytes = sizeof(struct pcm_super),
					      .magic = PCM_MAGIC_SUPER, .number = NO_SEED };
	case 1:
		return (struct record_place){ .off = PCM_INFO_OFF, .bytes = sizeof(struct pcm_info),
					      .magic = PCM_MAGIC_INFO };
	case 2:
		return (struct record_place){ .off = PCM_TAILS_OFF, .bytes = sizeof(struct pcm_tails),
					      .magic = PCM_MAGIC_TAILS };
	default:
		return (struct record_place){
			.off = PCM_HEADER_BYTES + (uint64_t)(n - 3) * geometry->segment_bytes,
			.bytes = sizeof(struct pcm_segment),
			.magic = PCM_MAGIC_SEGMENT,
			.number = n - 3,
		};
	}
}

bool record_at(const struct geometry *geometry, uint64_t off, struct record_place *ret_place)
{
	uint32_t n;

	if (off >= PCM_HEADER_BYTES) {
		n = 3 + (uint32_t)((off - PCM_HEADER_BYTES) / geometry->segment_bytes);
	} else {
		n = off < PCM_INFO_OFF ? 0 : (off < PCM_TAILS_OFF ? 1 : 2);
	}
	*ret_place = record_number(geometry, n);
	ret_place->slot = off == ret_place->off ? 0 : 1;
	return off == ret_place->off || off == ret_place->off + PCM_SLOT_STRIDE;
}

static uint32_t crc_of(const struct record_place *place, const void *slot, const uint8_t uuid[16])
{
	uint32_t seed = place->number == NO_SEED ? 0 : pc_meta_seed(uuid, place->number);
	uint8_t copy[PCM_RECORD_MAX];

	memcpy(copy, slot, place->bytes);
	memset(copy + offsetof(struct pcm_record, crc), 0, sizeof(le32));
	return pc_crc32c(seed, copy, place->bytes);
}

static bool is_valid(const struct record_place *place, const uint8_t *slot, const uint8_t uuid[16])
{
	struct pcm_record head;

	memcpy(&head, slot, sizeof(head));
	return pc_get32(head.magic) == place->magic && pc_get32(head.crc) == crc_of(place, slot, uuid);
}

bool record_uuid(const uint8_t *image, uint8_t ret_uuid[16])
{
	static const uint8_t unused[16];
	const struct record_place super = { .bytes = sizeof(struct pcm_super), .magic = PCM_MAGIC_SUPER,
					    .number = NO_SEED };

	for (unsigned slot = 0; slot < 2; slot++) {
		const uint8_t *bytes = image + PCM_SUPER_OFF + (size_t)slot * PCM_SLOT_STRIDE;

		if (is_valid(&super, bytes, unused)) {
			memcpy(ret_uuid, bytes + offsetof(struct pcm_super, uuid), 16);
			return true;
		}
	}
	return false;
}

struct record_look record_look(const struct record_place *place, const uint8_t *image)
{
	uint8_t uuid[16] = { 0 };
	struct record_look look = { 0 };
	bool has_uuid = record_uuid(image, uuid);

	for (unsigned slot = 0; slot < 2; slot++) {
		struct pcm_record head;

		look.slots[slot] = image + place->off + (uint64_t)slot * PCM_SLOT_STRIDE;
		memcpy(&head, look.slots[slot], sizeof(head));
		look.slot_seq[slot] = pc_get64(head.slot_seq);
		look.valid[slot] = has_uuid && is_valid(place, look.slots[slot], uuid);
	}
	look.newest = !look.valid[0] || (look.valid[1] && look.slot_seq[1] > look.slot_seq[0]);
	return look;
}

void record_sign(const struct record_place *place, const uint8_t *image, void *record)
{
	uint8_t uuid[16] = { 0 };
	struct pcm_record head;

	(void)record_uuid(image, uuid);
	memcpy(&head, record, sizeof(head));
	head.crc = pc_le32(crc_of(place, record, uuid));
	memcpy(record, &head, sizeof(head));
}
