/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clean.c - walks over the clean keys of an image, and what must hold for all of them when nobody is at work:
 *
 * (CK1) The index finds the block of every valid key in its place. So what a write or another key covers has been
 *       killed: it cannot come back when what covers it has left the log.
 * (CK2) The same of what is durable. A page that is pending may still hold a key whose kill is in it.
 * (CK3) The data of a valid key is what the backing has: nothing that is dirty covers it.
 */
#include "clean.h"

#include "crc32c.h"
#include "records.h"

#include <string.h>

static uint64_t segment_off(const struct geometry *geometry, uint32_t id)
{
	return PCM_HEADER_BYTES + (uint64_t)id * geometry->segment_bytes;
}

static bool is_clean_record(const struct record_look *look, struct pcm_segment *ret_record)
{
	if (!look->valid[look->newest])
		return false;
	memcpy(ret_record, look->slots[look->newest], sizeof(*ret_record));
	return ret_record->stream == PC_STREAM_FILL || ret_record->stream == PC_STREAM_HOT;
}

/* False: not a clean segment. */
static bool look_at_segment(struct clean_walk *walk)
{
	struct record_place place = record_number(walk->geometry, 3 + walk->segment);
	struct record_look look = record_look(&place, walk->image);
	struct pcm_segment record;
	uint8_t uuid[16];

	if (!is_clean_record(&look, &record) || !record_uuid(walk->image, uuid))
		return false;
	walk->seed = pc_crc32c(pc_crc32c(0, uuid, sizeof(uuid)), &record.gen, sizeof(record.gen));
	walk->seq = pc_get64(record.seq);
	walk->blocks = (walk->geometry->segment_bytes - PCM_SEGMENT_HEADER) / (PCM_BLOCK + PCM_LINE);
	return true;
}

static bool is_header_good(const struct clean_walk *walk, const struct pcm_kset *header)
{
	return pc_get32(header->magic) == PCM_MAGIC_KSET && pc_get16(header->count) == 1 &&
	       header->key_bytes == sizeof(struct pcm_key) && header->flags == 0 && pc_get64(header->order) == 0 &&
	       pc_get64(header->seq) == walk->seq && pc_get32(header->durable_below) <= walk->line;
}

static bool is_place_good(const struct clean_walk *walk, const struct pcm_key *key)
{
	uint64_t off = pc_get64(key->off);

	return off % PCM_BLOCK == 0 && off + PCM_BLOCK <= walk->geometry->volume_bytes &&
	       pc_get32(key->len) == PCM_BLOCK && pc_get32(key->stored_len) == PCM_BLOCK &&
	       pc_get32(key->data_off) == PCM_SEGMENT_HEADER + walk->line * PCM_BLOCK;
}

/* The line that the walk has come to. */
static bool decode(struct clean_walk *walk)
{
	uint64_t off = segment_off(walk->geometry, walk->segment);
	uint8_t line[PCM_LINE];
	struct pcm_kset header;
	struct pcm_key key;

	memcpy(line, walk->image + off + walk->geometry->segment_bytes - (walk->line + 1) * PCM_LINE, sizeof(line));
	memcpy(&header, line, sizeof(header));
	memcpy(&key, line + sizeof(header), sizeof(key));
	if (!is_header_good(walk, &header) || !is_place_good(walk, &key))
		return false;
	memset(line + offsetof(struct pcm_kset, crc), 0, sizeof(header.crc));
	if (pc_crc32c(walk->seed ^ walk->line, line, sizeof(line)) != pc_get32(header.crc))
		return false;
	walk->key = (struct clean_key){
		.off = pc_get64(key.off),
		.data_off = off + pc_get32(key.data_off),
		.data_crc = pc_get32(key.data_crc),
		.segment = walk->segment,
		.line = walk->line,
	};
	return true;
}

struct clean_walk clean_walk_begin(const struct geometry *geometry, const uint8_t *image)
{
	return (struct clean_walk){ .geometry = geometry, .image = image };
}

bool clean_walk_next(struct clean_walk *walk)
{
	bool found = false;

	while (!found && walk->segment < walk->geometry->segments) {
		if (walk->line == walk->blocks && (walk->blocks != 0 || !look_at_segment(walk))) {
			walk->segment++;
			walk->line = 0;
			walk->blocks = 0;
			continue;
		}
		found = decode(walk);
		walk->line++;
	}
	return found;
}

/* ---- one line ---- */

bool clean_is_segment(const struct geometry *geometry, const uint8_t *image, uint64_t off)
{
	uint32_t id = (uint32_t)((off - PCM_HEADER_BYTES) / geometry->segment_bytes);
	struct record_place place = record_number(geometry, 3 + id);
	struct record_look look = record_look(&place, image);
	struct pcm_segment record;

	return is_clean_record(&look, &record);
}

bool clean_key_at(const struct geometry *geometry, const uint8_t *image, uint32_t segment, uint32_t line,
		  struct clean_key *ret_key)
{
	struct clean_walk walk = { .geometry = geometry, .image = image, .segment = segment, .line = line };

	if (!look_at_segment(&walk) || line >= walk.blocks || !decode(&walk))
		return false;
	*ret_key = walk.key;
	return true;
}

/* ---- all of them ---- */

bool clean_is_found(const struct pcache *cache, const struct clean_key *key)
{
	struct pc_mapping mapping;

	return pc_index_find_in(cache->index, key->segment, key->off, PCM_BLOCK, &mapping) &&
	       mapping.slot == 2 * key->line + 1 &&
	       mapping.data_off == PCM_SEGMENT_HEADER + key->line * PCM_BLOCK;
}

/* (CK1), (CK3) */
static const char *account_view(const struct world *world, bool data)
{
	const uint8_t *view = sim_media_view(world->media);
	struct clean_walk walk = clean_walk_begin(&world->geometry, view);

	while (clean_walk_next(&walk)) {
		const uint8_t *bytes = view + walk.key.data_off;

		if (!clean_is_found(world->cache, &walk.key))
			return "a clean key is valid that the index does not have";
		if (data && memcmp(bytes, sim_backing_now(world->backing) + walk.key.off, PCM_BLOCK) != 0)
			return "the data of a valid clean key is not what the backing has";
		if (data && pc_crc32c(0, bytes, PCM_BLOCK) != walk.key.data_crc)
			return "the data of a valid clean key does not match its checksum";
	}
	return NULL;
}

/* (CK2) */
static const char *account_durable(const struct world *world)
{
	struct clean_walk walk = clean_walk_begin(&world->geometry, sim_media_durable(world->media));

	while (clean_walk_next(&walk)) {
		uint64_t line_off = segment_off(&world->geometry, walk.key.segment + 1) -
				    (uint64_t)(walk.key.line + 1) * PCM_LINE;

		if (!clean_is_found(world->cache, &walk.key) &&
		    (world->geometry.granularity != PCACHE_GRANULARITY_PAGE ||
		     !sim_media_is_pending(world->media, line_off, PCM_LINE)))
			return "a clean key that was killed is valid in what is durable";
	}
	return NULL;
}

const char *clean_account(const struct world *world, bool data)
{
	const char *wrong = account_view(world, data);

	return wrong != NULL || sim_media_pending(world->media) == 0 ? wrong : account_durable(world);
}
