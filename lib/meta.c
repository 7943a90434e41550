/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meta.c - two-slot records.
 *
 * (T1) A store never touches the slot that holds the only valid copy: it writes the slot that is not the newest.
 * (T2) At rest both slots are equal: a media fault in either loses nothing.
 * (T3) Nothing is decided from a record before what was read of it is durable: repair flushes both slots, and
 *      overwrites a bad or older one with the newest.
 * (T4) The CRC is seeded with UUID and record number: a record in the wrong place is not valid.
 *
 * No lock: whoever owns the record serialises its updates.
 */
#include "meta.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>

static uint64_t slot_off(const struct pc_meta *meta, unsigned slot)
{
	return meta->off + (uint64_t)slot * PCM_SLOT_STRIDE;
}

static uint32_t record_crc(const struct pc_meta *meta, const void *record)
{
	uint8_t copy[PCM_SLOT_STRIDE];

	memcpy(copy, record, meta->bytes);
	memset(copy + offsetof(struct pcm_record, crc), 0, sizeof(le32));
	return pc_crc32c(meta->seed, copy, meta->bytes);
}

static void sign(const struct pc_meta *meta, uint64_t slot_seq, void *record)
{
	struct pcm_record head = { .magic = pc_le32(meta->magic), .slot_seq = pc_le64(slot_seq) };

	memcpy(record, &head, sizeof(head));
	head.crc = pc_le32(record_crc(meta, record));
	memcpy(record, &head, sizeof(head));
}

static bool is_valid(const struct pc_meta *meta, const void *record)
{
	struct pcm_record head;

	memcpy(&head, record, sizeof(head));
	return pc_get32(head.magic) == meta->magic && pc_get32(head.crc) == record_crc(meta, record);
}

static uint64_t slot_seq_of(const void *record)
{
	struct pcm_record head;

	memcpy(&head, record, sizeof(head));
	return pc_get64(head.slot_seq);
}

/* Not synced. Plain stores: slots are overwritten again later, by other threads. */
static int write_slot(struct pc_media *media, const struct pc_meta *meta, unsigned slot, const void *record)
{
	int ret = pc_media_copy(media, slot_off(meta, slot), record, meta->bytes, PC_COPY_CACHED);

	atomic_fetch_add_explicit(&media->record_bytes, meta->bytes, memory_order_relaxed);
	return ret < 0 ? ret : pc_media_flush(media, slot_off(meta, slot), meta->bytes);
}

uint32_t pc_meta_seed(const uint8_t uuid[16], uint32_t number)
{
	le32 number_on_media = pc_le32(number);

	return pc_crc32c(pc_crc32c(0, uuid, 16), &number_on_media, sizeof(number_on_media));
}

int pc_meta_load(struct pc_media *media, struct pc_meta *meta, void *ret_record)
{
	uint8_t slots[2][PCM_SLOT_STRIDE];
	bool valid[2];
	unsigned newest;

	for (unsigned i = 0; i < 2; i++) {
		int ret = pc_media_read(media, slots[i], slot_off(meta, i), meta->bytes);

		/* A slot that cannot be read is a bad slot: the other one is there for that. */
		valid[i] = ret == 0 && is_valid(meta, slots[i]);
	}
	if (!valid[0] && !valid[1])
		return -EUCLEAN;
	newest = !valid[0] || (valid[1] && slot_seq_of(slots[1]) > slot_seq_of(slots[0]));
	meta->slot_newest = (uint8_t)newest;
	meta->slot_seq = slot_seq_of(slots[newest]);
	meta->slot_stale = !valid[!newest] || slot_seq_of(slots[!newest]) != meta->slot_seq;
	memcpy(ret_record, slots[newest], meta->bytes);
	return 0;
}

int pc_meta_repair(struct pc_media *media, struct pc_meta *meta)
{
	struct pc_meta again = *meta;
	uint8_t record[PCM_SLOT_STRIDE];
	int ret = pc_meta_load(media, &again, record);

	/* A newest slot that can be read only now and then must not give way to an older one. */
	if (ret < 0 || again.slot_seq != meta->slot_seq || again.slot_newest != meta->slot_newest)
		return -EIO;
	meta->slot_stale |= again.slot_stale;

	/* order: the copy that counts is made durable before the other one is overwritten (T1) */
	for (unsigned i = 0; i < 2; i++) {
		ret = pc_media_flush(media, slot_off(meta, i), meta->bytes);
		if (ret < 0)
			return ret;
	}
	if (!meta->slot_stale)
		return 0;
	ret = pc_media_sync(media);
	if (ret < 0)
		return ret;
	ret = write_slot(media, meta, !meta->slot_newest, record);
	if (ret < 0)
		return ret;
	meta->slot_stale = false;
	return 0;
}

int pc_meta_store(struct pc_media *media, struct pc_meta *meta, void *record)
{
	unsigned target = !meta->slot_newest;
	int ret;

	sign(meta, meta->slot_seq + 1, record);
	ret = write_slot(media, meta, target, record);
	if (ret == 0)
		ret = pc_media_sync(media);
	if (ret < 0)
		return ret;
	meta->slot_newest = (uint8_t)target;
	meta->slot_seq++;
	meta->slot_stale = true;
	/* order: the first copy is durable before the last one of the old state goes (T1); then both are equal (T2) */
	ret = write_slot(media, meta, !target, record);
	if (ret == 0)
		ret = pc_media_sync(media);
	if (ret < 0)
		return ret;
	meta->slot_stale = false;
	return 0;
}

int pc_meta_create(struct pc_media *media, struct pc_meta *meta, void *record)
{
	int ret;

	meta->slot_seq = 1;
	meta->slot_newest = 1;
	meta->slot_stale = false;
	sign(meta, meta->slot_seq, record);
	ret = write_slot(media, meta, 0, record);
	return ret < 0 ? ret : write_slot(media, meta, 1, record);
}
