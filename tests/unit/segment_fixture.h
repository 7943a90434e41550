/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_fixture.h - a few segments on a simulated media, and what a power cut would leave of them. For test_segment*.c.
 */
#ifndef PC_SEGMENT_FIXTURE_H
#define PC_SEGMENT_FIXTURE_H

#include "segment.h"
#include "sim_media.h"
#include "support.h"

#include <errno.h>

#define SEGMENTS      10u
#define SEGMENT_BYTES 16384u
#define SEGMENTS_OFF  32768u
#define ROOM          ((SEGMENT_BYTES - PCM_SEGMENT_HEADER) / PCM_LINE)
#define BYTES         (SEGMENTS_OFF + SEGMENTS * SEGMENT_BYTES)
#define CALLS         6u /* of the media, in one transition */

static struct pc_segments_layout layout = {
	.segments_off = SEGMENTS_OFF,
	.segment_count = SEGMENTS,
	.segment_bytes = SEGMENT_BYTES,
	.uuid = "segments' cache",
};

static struct sim_media *sim;
static struct sim_media *after_cut;
static struct pc_media *media;
static struct pc_segments *segments;
static char message[256];

static inline void keep_message(enum pcache_log_level level, const char *text, void *arg)
{
	(void)arg;
	ck_assert_int_eq(level, PCACHE_LOG_ERROR);
	snprintf(message, sizeof(message), "%s", text);
}

static const struct pc_log log_to_message = { .fn = keep_message };

static inline void setup(void)
{
	sim = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	after_cut = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	ck_assert(sim != NULL && after_cut != NULL);
	media = sim_media_open(sim, false);
	message[0] = '\0';
	ck_assert_int_eq(pc_segments_new(media, &log_to_message, &layout, &segments), 0);
	ck_assert_int_eq(pc_segments_create(segments, 0), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
}

static inline void teardown(void)
{
	pc_segments_delete(segments);
	segments = NULL;
	sim_media_delete(sim);
	sim_media_delete(after_cut);
}

/* ---- comparing ---- */

/* What a record says of a segment. */
struct facts {
	enum pc_segment_state state;
	enum pc_stream_kind stream;
	uint64_t gen;
	uint64_t seq;
	uint32_t lines;
	uint32_t next;
};

/* What follows from it is checked on the way: references and seed. */
static inline struct facts facts_of(const struct pc_segments *of, uint32_t id)
{
	const struct pc_segment *segment = pc_segment_at(of, id);

	EXPECT(atomic_load(&of->refs[id].gen) == segment->gen);
	EXPECT(atomic_load(&of->refs[id].seq) == (segment->stream == PC_STREAM_WRITE ? segment->seq : 0));
	EXPECT(segment->kset_seed == pc_kset_seed(layout.uuid, segment->gen));
	return (struct facts){
		.state = segment->state,
		.stream = segment->stream,
		.gen = segment->gen,
		.seq = segment->seq,
		.lines = segment->lines,
		.next = segment->next,
	};
}

static inline bool same_facts(const struct facts *a, const struct facts *b)
{
	return a->state == b->state && a->stream == b->stream && a->gen == b->gen && a->seq == b->seq &&
	       a->lines == b->lines && a->next == b->next;
}

static inline struct pc_segments *loaded_from(struct sim_media *from)
{
	struct pc_segments *found;

	ck_assert_int_eq(pc_segments_new(sim_media_open(from, false), &log_to_message, &layout, &found), 0);
	ck_assert_msg(pc_segments_load(found, NULL) == 0, "%s", message);
	return found;
}

static inline void unload(struct pc_segments *found)
{
	pc_media_close(found->media);
	pc_segments_delete(found);
}

/* What a power cut now would leave says the same as memory. */
static inline void check_durable(void)
{
	struct pc_segments *found;

	EXPECT(sim_media_pending(sim) == 0);
	sim_media_crash_into(sim, sim_choose_none, NULL, after_cut);
	found = loaded_from(after_cut);
	for (uint32_t id = 0; id < SEGMENTS; id++) {
		struct facts in_memory = facts_of(segments, id);
		struct facts on_media = facts_of(found, id);

		EXPECT(same_facts(&in_memory, &on_media));
		EXPECT(!pc_segment_at(found, id)->meta.slot_stale);
	}
	unload(found);
}

#endif
