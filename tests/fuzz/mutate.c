/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutate.c - changes inputs with an eye for the format: whole fields, and values at the edges of what they may hold.
 */
#include "fuzz.h"

#include <string.h>

struct field {
	uint8_t place;
	uint8_t off;
	uint8_t len; /* as a power of two */
};

#define FIELD(place, type, member) { place, (uint8_t)offsetof(type, member), LOG(sizeof(((type *)0)->member)) }
#define LOG(bytes) ((bytes) == 8 ? 3 : (bytes) == 4 ? 2 : (bytes) == 2 ? 1 : 0)
#define KEY(member) { PLACE_LINE, (uint8_t)(sizeof(struct pcm_kset) + offsetof(struct pcm_key, member)), \
		      LOG(sizeof(((struct pcm_key *)0)->member)) }

static const struct field fields[] = {
	FIELD(PLACE_SUPER, struct pcm_super, record.magic),
	FIELD(PLACE_SUPER, struct pcm_super, record.slot_seq),
	FIELD(PLACE_SUPER, struct pcm_super, version),
	FIELD(PLACE_SUPER, struct pcm_super, segment_bytes),
	FIELD(PLACE_SUPER, struct pcm_super, ro_compat),
	FIELD(PLACE_SUPER, struct pcm_super, incompat),
	FIELD(PLACE_SUPER, struct pcm_super, media_bytes),
	FIELD(PLACE_SUPER, struct pcm_super, segments_off),
	FIELD(PLACE_SUPER, struct pcm_super, segment_count),
	FIELD(PLACE_INFO, struct pcm_info, record.slot_seq),
	FIELD(PLACE_INFO, struct pcm_info, flags),
	FIELD(PLACE_INFO, struct pcm_info, mode),
	FIELD(PLACE_INFO, struct pcm_info, options),
	FIELD(PLACE_INFO, struct pcm_info, backing_bytes),
	FIELD(PLACE_INFO, struct pcm_info, epoch),
	FIELD(PLACE_INFO, struct pcm_info, gc_percent),
	FIELD(PLACE_INFO, struct pcm_info, first_seq),
	FIELD(PLACE_TAILS, struct pcm_tails, record.slot_seq),
	FIELD(PLACE_TAILS, struct pcm_tails, dirty_tail.seq),
	FIELD(PLACE_TAILS, struct pcm_tails, dirty_tail.line),
	FIELD(PLACE_TAILS, struct pcm_tails, batch_end.seq),
	FIELD(PLACE_TAILS, struct pcm_tails, batch_end.line),
	FIELD(PLACE_SEGMENT, struct pcm_segment, record.slot_seq),
	FIELD(PLACE_SEGMENT, struct pcm_segment, gen),
	FIELD(PLACE_SEGMENT, struct pcm_segment, seq),
	FIELD(PLACE_SEGMENT, struct pcm_segment, lines),
	FIELD(PLACE_SEGMENT, struct pcm_segment, next),
	FIELD(PLACE_SEGMENT, struct pcm_segment, state),
	FIELD(PLACE_SEGMENT, struct pcm_segment, stream),
	FIELD(PLACE_SEGMENT, struct pcm_segment, flags),
	FIELD(PLACE_LINE, struct pcm_kset, magic),
	FIELD(PLACE_LINE, struct pcm_kset, crc),
	FIELD(PLACE_LINE, struct pcm_kset, count),
	FIELD(PLACE_LINE, struct pcm_kset, key_bytes),
	FIELD(PLACE_LINE, struct pcm_kset, flags),
	FIELD(PLACE_LINE, struct pcm_kset, durable_below),
	FIELD(PLACE_LINE, struct pcm_kset, seq),
	FIELD(PLACE_LINE, struct pcm_kset, order),
	KEY(off),
	KEY(len),
	KEY(data_off),
	KEY(data_crc),
	KEY(flags),
	KEY(volume),
	KEY(stored_len),
	KEY(reserved),
	{ PLACE_DATA, 0, 3 },
};

struct input {
	struct fuzz_head head;
	struct fuzz_patch patches[FUZZ_PATCHES_MAX];
	size_t count;
	size_t room;
	uint64_t random;
};

static uint64_t below(struct input *input, uint64_t limit)
{
	input->random = input->random * 6364136223846793005ull + 1442695040888963407ull;
	return (input->random >> 33) % limit;
}

static uint64_t choose_value(struct input *input)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 7, 8, 32, 63, 64, 127, 128, 129, 1023, 1024, 1025, 4096, 8191, 8192, 8256, 16320, 16383, 16384,
		24576, 32704, 32767, 32768, 65535, 65536, 65537, FUZZ_VOLUME_BYTES - 1, FUZZ_VOLUME_BYTES, FUZZ_VOLUME_BYTES + 1, 131072,
		FUZZ_MEDIA_BYTES, 1u << 26, INT32_MAX, UINT32_MAX - 63, UINT32_MAX, INT64_MAX, UINT64_MAX - 1, UINT64_MAX, PCM_KILLED,
	};

	switch (below(input, 4)) {
	case 0:
		return edges[below(input, PC_ARRAY_SIZE(edges))];
	case 1:
		return below(input, 40);
	case 2:
		return below(input, 1u << 17);
	default:
		return 1ull << below(input, 64);
	}
}

/* Sums are small and of both signs: the neighbours of a good value. */
static struct fuzz_patch make_patch(struct input *input)
{
	const struct field *field = &fields[below(input, PC_ARRAY_SIZE(fields))];
	uint8_t action = (uint8_t)below(input, ACTIONS);
	uint64_t value = choose_value(input);

	if (action == ACTION_COPY && below(input, 2) == 0)
		action = ACTION_SET;
	if (action == ACTION_ADD)
		value = below(input, 2) == 0 ? value % 64 + 1 : 0 - (value % 64 + 1);
	return (struct fuzz_patch){
		.place = field->place,
		.number = (uint8_t)below(input, FUZZ_SEGMENTS),
		.index = pc_le16((uint16_t)(below(input, 4) == 0 ? below(input, 128) : below(input, 16))),
		.off = field->off,
		.len = field->len,
		.slots = (uint8_t)(below(input, 2) == 0 ? 0 : below(input, 3)),
		.action = action,
		.value = pc_le64(value),
	};
}

/* The one value that this field may have besides zero. */
static void add_kill(struct input *input)
{
	struct fuzz_patch patch = make_patch(input);

	patch.place = PLACE_LINE;
	patch.action = ACTION_SET;
	patch.off = offsetof(struct pcm_kset, order);
	patch.len = 3;
	patch.index = pc_le16((uint16_t)below(input, 5));
	patch.value = pc_le64(below(input, 4) == 0 ? 0 : PCM_KILLED);
	input->patches[input->count++] = patch;
}

/* Both lengths of a key: one alone makes no sense, and is refused for that. */
static void add_lengths(struct input *input)
{
	struct fuzz_patch patch = make_patch(input);

	patch.place = PLACE_LINE;
	patch.action = ACTION_SET;
	patch.off = sizeof(struct pcm_kset) + offsetof(struct pcm_key, len);
	patch.len = 2;
	input->patches[input->count++] = patch;
	patch.off = sizeof(struct pcm_kset) + offsetof(struct pcm_key, stored_len);
	input->patches[input->count++] = patch;
}

/* A key that loses its data, and says what its range is instead; now and then two things, or nothing. */
static void add_empty(struct input *input)
{
	struct fuzz_patch patch = make_patch(input);

	patch.place = PLACE_LINE;
	patch.action = ACTION_SET;
	patch.off = sizeof(struct pcm_kset) + offsetof(struct pcm_key, data_crc);
	patch.len = 3; /* with the flags and the volume behind it */
	patch.value = pc_le64((uint64_t)(below(input, 8) == 0 ? below(input, 32) : 1u << below(input, 4)) << 32);
	input->patches[input->count++] = patch;
	patch.off = sizeof(struct pcm_kset) + offsetof(struct pcm_key, stored_len);
	patch.len = 2;
	patch.value = pc_le64(0);
	input->patches[input->count++] = patch;
}

static void change_head(struct input *input)
{
	switch (below(input, 4)) {
	case 0:
		input->head.base = (uint8_t)below(input, FUZZ_BASES);
		break;
	case 1:
		input->head.flags ^= (uint8_t)(1u << below(input, 7));
		break;
	case 2:
		input->head.writes = (uint8_t)below(input, 10);
		break;
	default:
		input->head.verify = (uint8_t)below(input, 3);
		input->head.seed = pc_le32((uint32_t)below(input, 1u << 18));
		break;
	}
}

static void change_patch(struct input *input, struct fuzz_patch *patch)
{
	struct fuzz_patch fresh = make_patch(input);

	switch (below(input, 4)) {
	case 0:
		*patch = fresh;
		break;
	case 1:
		patch->number = fresh.number;
		break;
	case 2:
		patch->index = fresh.index;
		break;
	default:
		patch->value = fresh.value;
		break;
	}
}

static void change(struct input *input)
{
	uint64_t dice = below(input, 11);

	if (dice < 2) {
		change_head(input);
	} else if (dice == 10 && input->count < input->room) {
		add_kill(input);
	} else if (dice < 3 && input->count + 2 <= input->room) {
		if (below(input, 3) == 0)
			add_empty(input);
		else
			add_lengths(input);
	} else if (dice < 6 && input->count < input->room) {
		input->patches[input->count++] = make_patch(input);
	} else if (dice < 7 && input->count > 0) {
		uint64_t removed = below(input, input->count);

		input->count--;
		input->patches[removed] = input->patches[input->count];
	} else if (input->count > 0) {
		change_patch(input, &input->patches[below(input, input->count)]);
	}
}

size_t fuzz_mutate(uint8_t *bytes, size_t input_bytes, size_t room_bytes, uint64_t seed)
{
	struct input input = { .random = seed };

	/* A new one is repaired, and does all it can. */
	if (input_bytes < sizeof(input.head)) {
		input.head = (struct fuzz_head){ .flags = FUZZ_REPAIR | FUZZ_REOPEN | FUZZ_DRAIN, .writes = 3 };
	} else {
		memcpy(&input.head, bytes, sizeof(input.head));
		input.count = (size_t)pc_min64((input_bytes - sizeof(input.head)) / sizeof(input.patches[0]),
					       FUZZ_PATCHES_MAX);
		memcpy(input.patches, bytes + sizeof(input.head), input.count * sizeof(input.patches[0]));
	}
	input.room = (size_t)pc_min64((room_bytes - sizeof(input.head)) / sizeof(input.patches[0]), FUZZ_PATCHES_MAX);
	for (uint64_t i = below(&input, 3) + 1; i > 0; i--)
		change(&input);
	input.count = (size_t)pc_min64(input.count, input.room);
	memcpy(bytes, &input.head, sizeof(input.head));
	memcpy(bytes + sizeof(input.head), input.patches, input.count * sizeof(input.patches[0]));
	return sizeof(input.head) + input.count * sizeof(input.patches[0]);
}
