/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * index_model.h - what the index should say, byte by byte: for each byte of a small space the key that has it. For
 * test_index*.c.
 *
 * Keys are numbered from 1 in the order of their positions, so the higher number wins (X2). A byte without a key has 0.
 */
#ifndef PC_INDEX_MODEL_H
#define PC_INDEX_MODEL_H

#include "index.h"
#include "support.h"
#include "util.h"

#define SEGMENTS    6u
#define SPACE_LEAFS 2u
#define SPACE_BYTES (SPACE_LEAFS * PC_LEAF_BYTES)
#define PIECES_MAX  16u
#define KEYS_MAX    60000u
#define LEAF        PC_LEAF_BYTES
#define BASE        (1234567ull * LEAF)
#define KIB         1024u

/* The bytes of the model belong to one thread, and there are many: TSan need not watch each. */
#define NOT_WATCHED __attribute__((no_sanitize("thread")))

struct model {
	struct pc_segment_ref refs[SEGMENTS];
	struct pc_index *index;
	uint64_t base; /* backing offset where the space begins; a multiple of PC_LEAF_BYTES */
	uint32_t *owner;
	struct pc_mapping *keys;
	uint32_t key_count;
	uint32_t key_max;
	uint64_t empty_bytes; /* of memory, without a leaf */
};

/* Segment i has sequence number i + 1. capacity: a small one makes leaves share buckets. */
static inline struct model *model_new(uint64_t base, uint64_t capacity_bytes, uint32_t key_max)
{
	struct model *model = calloc(1, sizeof(*model));

	EXPECT(model != NULL);
	model->base = base;
	model->owner = calloc(SPACE_BYTES, sizeof(*model->owner));
	model->keys = calloc(key_max + 1, sizeof(*model->keys));
	model->key_max = key_max;
	EXPECT(model->owner != NULL && model->keys != NULL);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		atomic_init(&model->refs[i].gen, 100 + i);
		atomic_init(&model->refs[i].seq, i + 1);
	}
	EXPECT(pc_index_new(model->refs, SEGMENTS, capacity_bytes, &model->index) == 0);
	model->empty_bytes = pc_index_memory_bytes(model->index);
	return model;
}

static inline void model_delete(struct model *model)
{
	pc_index_delete(model->index);
	free(model->owner);
	free(model->keys);
	free(model);
}

/* Number the next position. */
static inline uint32_t model_key(struct model *model, const struct pc_mapping *mapping)
{
	EXPECT(model->key_count < model->key_max);
	model->keys[++model->key_count] = *mapping;
	return model->key_count;
}

NOT_WATCHED static inline void model_enter(struct model *model, uint32_t key)
{
	uint32_t *owner = model->owner + (model->keys[key].off - model->base);

	for (uint32_t i = 0; i < model->keys[key].len; i++)
		owner[i] = owner[i] > key ? owner[i] : key;
}

/* Everything of `segment` that overlaps the range goes, also what sticks out of it, as far as it is in one piece. */
NOT_WATCHED static inline void model_drop(struct model *model, uint32_t segment, uint64_t off, uint32_t len)
{
	uint64_t from = off - model->base;
	uint64_t end = from + len;

	for (uint64_t at = from; at < end; at++) {
		uint32_t key = model->owner[at];
		uint64_t start = at;

		if (key == 0 || model->keys[key].segment != segment)
			continue;
		while (start > 0 && model->owner[start - 1] == key)
			start--;
		for (uint64_t i = start; i < SPACE_BYTES && model->owner[i] == key; i++)
			model->owner[i] = 0;
	}
}

NOT_WATCHED static inline void check_piece(const struct model *model, const struct pc_piece *piece)
{
	const struct pc_mapping *mapping = &piece->mapping;
	uint64_t at = mapping->off - model->base;
	uint32_t key = model->owner[at];
	const struct pc_mapping *whole = &model->keys[key];

	EXPECT(mapping->len > 0);
	EXPECT(at + mapping->len <= SPACE_BYTES);
	for (uint32_t i = 0; i < mapping->len; i++)
		EXPECT(model->owner[at + i] == key);
	EXPECT(piece->cached == (key != 0));
	if (key == 0)
		return;
	EXPECT(mapping->segment == whole->segment);
	EXPECT(mapping->slot == whole->slot);
	EXPECT(mapping->data_off == whole->data_off + (mapping->off - whole->off));
	EXPECT(mapping->verified == whole->verified);
	EXPECT(piece->gen == atomic_load(&model->refs[whole->segment].gen));
}

/* Look up a range in steps of at most `max` pieces, and compare. Adds up what each segment has. */
static inline void check_range(const struct model *model, uint64_t off, uint64_t len, unsigned max, uint64_t *live)
{
	struct pc_piece pieces[PIECES_MAX];
	uint64_t end = off + len;

	while (off < end) {
		uint64_t leaf_end = pc_min64(end, pc_align_down(off, PC_LEAF_BYTES) + PC_LEAF_BYTES);
		unsigned count = pc_index_lookup(model->index, off, end - off, pieces, max);

		EXPECT(count >= 1 && count <= max);
		for (unsigned i = 0; i < count; i++) {
			EXPECT(pieces[i].mapping.off == off);
			check_piece(model, &pieces[i]);
			off += pieces[i].mapping.len;
			EXPECT(off <= leaf_end);
			/* A piece ends where its key ends, or where the look-up does. */
			EXPECT(off == leaf_end ||
			       model->owner[off - model->base] != model->owner[off - model->base - 1]);
			if (pieces[i].cached)
				live[pieces[i].mapping.segment] += pieces[i].mapping.len;
		}
		EXPECT(count == max || off == leaf_end);
	}
}

static inline void model_check(const struct model *model, unsigned max)
{
	uint64_t live[SEGMENTS] = { 0 };
	uint64_t sum = 0;

	check_range(model, model->base, SPACE_BYTES, max, live);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		EXPECT(pc_index_live_bytes(model->index, i) == live[i]);
		sum += live[i];
	}
	EXPECT(pc_index_cached_bytes(model->index) == sum);
}

/* Drop every segment; then nothing is left, of memory neither. */
static inline void model_empty(struct model *model)
{
	memset(model->owner, 0, SPACE_BYTES * sizeof(*model->owner));
	for (unsigned i = 0; i < SEGMENTS; i++)
		pc_index_drop_segment(model->index, i);
	model_check(model, PIECES_MAX);
	EXPECT(pc_index_cached_bytes(model->index) == 0);
	EXPECT(pc_index_memory_bytes(model->index) == model->empty_bytes);
}

/* ---- the model of a test ---- */

static struct model *model;

static inline void setup(void)
{
	model = model_new(BASE, 1, KEYS_MAX);
}

static inline void teardown(void)
{
	model_delete(model);
}

/* The next position, in a segment; off counts from the start of the space. */
static inline uint32_t key_in(uint32_t segment, uint64_t off, uint32_t len)
{
	const struct pc_mapping mapping = {
		.off = BASE + off,
		.len = len,
		.segment = segment,
		.data_off = 64 * (model->key_count + 128),
		.slot = model->key_count + 1,
	};

	return model_key(model, &mapping);
}

static inline void prepare(uint64_t off, uint64_t len)
{
	EXPECT(pc_index_prepare(model->index, BASE + off, len) == 0);
}

static inline void publish(uint32_t key)
{
	pc_index_publish(model->index, &model->keys[key]);
	model_enter(model, key);
}

/* Without a promise. */
static inline void insert(uint32_t key)
{
	EXPECT(pc_index_insert(model->index, &model->keys[key]) == 0);
	model_enter(model, key);
}

static inline uint32_t write_key(uint32_t segment, uint64_t off, uint32_t len)
{
	uint32_t key = key_in(segment, off, len);

	prepare(off, len);
	publish(key);
	return key;
}

static inline void drop(uint32_t segment, uint64_t off, uint32_t len)
{
	pc_index_drop(model->index, segment, BASE + off, len);
	model_drop(model, segment, BASE + off, len);
}

#endif
