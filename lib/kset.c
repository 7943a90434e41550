/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kset.c - key sets: the unit of commit, all or nothing.
 *
 * (K1) The CRC is seeded with UUID, generation and line: neither what an earlier life of the segment left, nor a copy
 *      in another line or segment, ever validates.
 * (K2) A kset is believed only as a whole: header, every key, every bound. Nothing of an invalid one is used.
 * (K3) Decoding works on private memory and reads each field once: what was checked is what is used.
 * (K4) A key has data, all of its bytes, and no flag; or none, and exactly one flag says what its range is instead.
 */
#include "kset.h"

#include "crc32c.h"

#include <string.h>

/* Slots, not lines: slot 0 of a kset is its header, slot i + 1 its key i. Two slots a line. */
static const uint8_t *slot_at(const struct pc_lines *lines, uint32_t line, uint32_t slot)
{
	return lines->buf + (size_t)PCM_LINE * (lines->end - 1 - line - slot / 2) + (slot % 2) * sizeof(struct pcm_key);
}

uint32_t pc_kset_seed(const uint8_t uuid[16], uint64_t gen)
{
	le64 gen_on_media = pc_le64(gen);

	return pc_crc32c(pc_crc32c(0, uuid, 16), &gen_on_media, sizeof(gen_on_media));
}

static uint32_t line_seed(uint32_t seed, uint32_t line)
{
	return seed ^ line; /* a CRC differs whenever its seed does */
}

static uint64_t word(uint64_t low, uint64_t high)
{
	return low | high << 32;
}

/*
 * Header and keys are stored in whole words: the CRC and the copy to the media read them in whole words right after, and
 * a processor waits where a load takes more than one store that is still on its way.
 */
static void put_words(uint8_t *slot, const uint64_t words[4])
{
	for (unsigned i = 0; i < 4; i++) {
		le64 on_media = pc_le64(words[i]);

		memcpy(slot + 8 * i, &on_media, sizeof(on_media));
	}
}

static void put_header(uint8_t *slot, const struct pc_kset *kset, uint32_t crc)
{
	uint64_t flags = kset->is_void ? PCM_KSET_VOID : 0;
	const uint64_t words[4] = {
		word(PCM_MAGIC_KSET, crc),
		word(kset->count | (uint64_t)sizeof(struct pcm_key) << 16 | flags << 24, kset->durable_below),
		kset->seq,
		0,
	};

	static_assert(offsetof(struct pcm_kset, crc) == 4 && offsetof(struct pcm_kset, key_bytes) == 10 &&
			      offsetof(struct pcm_kset, flags) == 11, "words of a header");
	put_words(slot, words);
}

static void put_key(uint8_t *slot, const struct pc_key *key)
{
	const uint64_t words[4] = {
		key->off,
		word(key->len, key->data_off),
		word(key->data_crc, key->flags),
		key->stored_len,
	};

	static_assert(offsetof(struct pcm_key, flags) == 20 && offsetof(struct pcm_key, volume) == 22, "words of a key");
	put_words(slot, words);
}

void pc_kset_encode(uint32_t seed, uint32_t line, const struct pc_kset *kset, const struct pc_key *keys, void *lines)
{
	size_t bytes = (size_t)pc_kset_lines(kset->count) * PCM_LINE;
	uint8_t *slot = lines;

	put_header(slot, kset, 0);
	for (uint32_t i = 0; i < kset->count; i++) {
		slot += sizeof(struct pcm_key);
		put_key(slot, &keys[i]);
	}
	if (kset->count % 2 == 0) /* header and keys are an odd number of slots: one is left over */
		memset((uint8_t *)lines + bytes - sizeof(struct pcm_key), 0, sizeof(struct pcm_key));
	put_header(lines, kset, pc_crc32c(line_seed(seed, line), lines, bytes));
}

void pc_kset_encode_void(uint32_t seed, uint32_t line, uint64_t seq, uint32_t durable_below, void *ret_line)
{
	const struct pc_kset kset = { .seq = seq, .durable_below = durable_below, .is_void = true };

	pc_kset_encode(seed, line, &kset, NULL, ret_line);
}

static uint32_t kset_crc(uint32_t seed, const struct pc_lines *lines, uint32_t line, uint32_t line_count)
{
	uint8_t first[PCM_LINE];
	uint32_t crc;

	memcpy(first, slot_at(lines, line, 0), sizeof(first));
	memset(first + offsetof(struct pcm_kset, crc), 0, sizeof(le32));
	crc = pc_crc32c(line_seed(seed, line), first, sizeof(first));
	for (uint32_t i = 1; i < line_count; i++)
		crc = pc_crc32c(crc, slot_at(lines, line, 2 * i), PCM_LINE);
	return crc;
}

/* (K4) */
static bool has_sane_flags(const struct pc_key *key)
{
	switch (key->flags) {
	case 0:
		return key->stored_len == key->len;
	case PCM_KEY_ZERO:
	case PCM_KEY_DISCARD:
	case PCM_KEY_INVALIDATE:
		return key->stored_len == 0 && key->data_crc == 0;
	default:
		return false;
	}
}

static bool key_is_sane(const struct pc_kset_scope *scope, const struct pc_lines *lines, uint32_t line, uint32_t i,
			uint32_t line_count)
{
	struct pcm_key raw;
	struct pc_key key;
	uint32_t data_end;

	memcpy(&raw, slot_at(lines, line, i + 1), sizeof(raw));
	key = pc_key_decode(&raw);
	if (!has_sane_flags(&key) || pc_get16(raw.volume) != 0 || pc_get32(raw.reserved) != 0)
		return false;
	if (key.len == 0 || key.len > PCM_KEY_MAX_BYTES)
		return false;
	if (key.off > scope->backing_bytes || key.len > scope->backing_bytes - key.off)
		return false;
	if (key.off / PCM_KEY_MAX_BYTES != (key.off + key.len - 1) / PCM_KEY_MAX_BYTES)
		return false;
	data_end = pc_line_off(scope->segment_bytes, line + line_count - 1); /* data never reaches its own lines */
	return key.data_off % PCM_UNIT == 0 && key.data_off >= PCM_SEGMENT_HEADER && key.data_off < data_end &&
	       key.stored_len <= data_end - key.data_off;
}

bool pc_kset_decode(const struct pc_kset_scope *scope, const struct pc_lines *lines, uint32_t line,
		    struct pc_kset *ret_kset)
{
	struct pcm_kset header;
	struct pc_kset kset;

	memcpy(&header, slot_at(lines, line, 0), sizeof(header));
	if (pc_get32(header.magic) != PCM_MAGIC_KSET || header.key_bytes != sizeof(struct pcm_key))
		return false;
	kset.count = pc_get16(header.count);
	kset.lines = pc_kset_lines(kset.count);
	kset.seq = pc_get64(header.seq);
	kset.durable_below = pc_get32(header.durable_below);
	kset.is_void = header.flags == PCM_KSET_VOID;
	if (kset.count > PCM_KSET_MAX_KEYS || kset.lines > lines->end - line)
		return false;
	if (kset.seq != scope->seq || kset.durable_below > line || pc_get64(header.order) != 0)
		return false;
	if (kset.is_void ? kset.count != 0 : (header.flags != 0 || kset.count == 0))
		return false;
	if (kset_crc(scope->seed, lines, line, kset.lines) != pc_get32(header.crc))
		return false;
	for (uint32_t i = 0; i < kset.count; i++)
		if (!key_is_sane(scope, lines, line, i, kset.lines))
			return false;
	*ret_kset = kset;
	return true;
}

/* A kill is seen before any checksum: whatever happened to the rest of the line, the key stays dead. */
enum pc_clean_line pc_kset_decode_clean(const struct pc_kset_scope *scope, const struct pc_lines *lines, uint32_t line,
					struct pc_key *ret_key)
{
	uint8_t copy[PCM_LINE];
	const struct pc_lines one = { .buf = copy, .end = line + 1 };
	struct pc_kset kset;
	struct pcm_kset header;
	bool is_killed;
	bool is_valid;

	memcpy(copy, slot_at(lines, line, 0), sizeof(copy));
	memcpy(&header, copy, sizeof(header));
	is_killed = pc_get64(header.order) == PCM_KILLED;
	if (is_killed)
		memset(copy + offsetof(struct pcm_kset, order), 0, sizeof(header.order));
	is_valid = pc_kset_decode(scope, &one, line, &kset) && kset.count == 1;
	*ret_key = (struct pc_key){ 0 };
	if (is_valid)
		*ret_key = pc_kset_key(&one, line, 0);
	if (ret_key->off % PCM_BLOCK != 0 || ret_key->len != PCM_BLOCK || ret_key->stored_len != PCM_BLOCK ||
	    ret_key->data_off != pc_clean_data_off(line))
		*ret_key = (struct pc_key){ 0 };
	if (is_killed)
		return PC_CLEAN_KILLED;
	return ret_key->len == 0 ? PC_CLEAN_NONE : PC_CLEAN_VALID;
}

int pc_kset_kill(struct pc_media *media, uint64_t segment_off, uint32_t segment_bytes, uint32_t line)
{
	int ret = pc_media_store8(media, segment_off + pc_kill_off(segment_bytes, line), PCM_KILLED);

	return ret < 0 ? ret : pc_media_flush(media, segment_off + pc_line_off(segment_bytes, line), PCM_LINE);
}

struct pc_key pc_key_decode(const struct pcm_key *raw)
{
	return (struct pc_key){
		.off = pc_get64(raw->off),
		.len = pc_get32(raw->len),
		.data_off = pc_get32(raw->data_off),
		.data_crc = pc_get32(raw->data_crc),
		.stored_len = pc_get32(raw->stored_len),
		.flags = pc_get16(raw->flags),
	};
}

struct pc_key pc_kset_key(const struct pc_lines *lines, uint32_t line, uint32_t i)
{
	struct pcm_key raw;

	memcpy(&raw, slot_at(lines, line, i + 1), sizeof(raw));
	return pc_key_decode(&raw);
}

int pc_lines_read(struct pc_media *media, uint64_t segment_end, uint32_t first, uint32_t end, void *buf,
		  struct pc_lines *ret_lines)
{
	int ret = pc_media_read(media, buf, segment_end - (uint64_t)end * PCM_LINE, (size_t)(end - first) * PCM_LINE);

	if (ret < 0)
		return ret;
	*ret_lines = (struct pc_lines){ .buf = buf, .end = end };
	return 0;
}
