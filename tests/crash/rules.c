/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rules.c - the rules that are checked while the library runs, at its stores and syncs.
 *
 * (OR1) A write gets its position when its key set is stored; before that nobody can see it.
 * (OR2) dirty_tail moves only when every write to the backing has completed and was synced after that.
 * (OR3) The end of a batch is durable before its first write to the backing.
 * (OR4) After each successful sync the durable backing lies between the log's state at dirty_tail and at its head.
 * (OR5) A record is never stored over the slot that holds the only valid copy, or the newest one.
 * (OR6) A segment starts a new life only when the end of the old one, a FREE record of this generation, is durable; and
 *       that generation is a new one.
 * (OR7) A key set says of no line that it is durable while it is not; and of all that are, where nobody was in flight.
 * (OR8) At an acknowledged durable write nothing of its data and key set is pending.
 * (OR9) A clean key is stored only for what the backing has at that moment, and its data is durable before (but on page
 *       granularity).
 * (OR10) At an acknowledged durable write no valid clean key on the durable image has older bytes of its range. But for
 *       those of a segment that reclaim is emptying: they go with it; and for those that another write has killed and
 *       not fenced yet: it is in the log, durably, until it has.
 * (OR11) The same when a write leaves the log, as its segment becomes free. What reclaim is emptying is not excused.
 * (OR12) Before the backing is written past the cache no valid clean key on the durable image has older bytes of the range.
 * (OR13) A clean key is stored only for what the backing has durably, where it was written past the cache.
 * (OR14) A write-through that returned is on the durable backing, as is all before it.
 */
#include "crash.h"

#include "clean.h"
#include "records.h"

#include <stdio.h>
#include <string.h>

static struct pc_pos decode_pos(const struct pcm_pos *pos)
{
	return (struct pc_pos){ .seq = pc_get64(pos->seq), .line = pc_get32(pos->line) };
}

static bool is_pending(const struct explorer *explorer, const struct volume_write *write)
{
	struct sim_media *media = explorer->live->media;
	uint64_t lines_bytes = (uint64_t)write->lines * PCM_LINE;

	return sim_media_is_pending(media, write->line_off + PCM_LINE - lines_bytes, lines_bytes) ||
	       (write->data_bytes > 0 && sim_media_is_pending(media, write->data_off, write->data_bytes));
}

/* (OR7) */
static void check_mark(struct explorer *explorer, uint64_t pos, uint32_t durable_below)
{
	const struct volume *volume = &explorer->volume;
	uint64_t segment = pos & ~(uint64_t)UINT32_MAX;
	bool is_paged = explorer->geometry.granularity == PCACHE_GRANULARITY_PAGE;
	uint64_t known = is_paged ? explorer->flushed : pos;

	/* A page is pending again as soon as a neighbour is stored: nothing can be said of it here. */
	for (uint32_t number = 1; number <= volume->issued && !is_paged; number++) {
		const struct volume_write *write = &volume->writes[number];

		if (write->pos >= segment && write->pos < segment + durable_below && is_pending(explorer, write))
			fail(explorer, "store of a key set", "it calls durable what is not");
	}
	if (explorer->baton.participants == 0 && known >= segment && segment + durable_below < known)
		fail(explorer, "store of a key set", "it does not say what is known to be durable");
}

/* (OR1) */
static void note_kset(struct explorer *explorer, uint64_t off, uint64_t in_segment, const uint8_t *line)
{
	struct issuer *issuer = &explorer->issuers[explorer->baton.participants == 0 ? 0 : explorer->baton.turn];
	uint32_t segment_bytes = explorer->geometry.segment_bytes;
	struct volume_write *write;
	struct pcm_kset header;
	struct pcm_key first;
	uint64_t data_off;
	uint64_t pos;

	memcpy(&header, line, sizeof(header));
	if (pc_get32(header.magic) != PCM_MAGIC_KSET || header.flags != 0 || issuer->next == issuer->end)
		return;
	memcpy(&first, line + sizeof(header), sizeof(first));
	if (pc_get16(first.flags) == PCM_KEY_INVALIDATE)
		return;
	/* Those before it went past the cache. So did this one, in vain: it is in the log after all. */
	while (explorer->mode_kind == MODES_AROUND && issuer->next + 1 < issuer->end &&
	       (uint64_t)explorer->volume.writes[issuer->next].first * CELL_BYTES != pc_get64(first.off))
		issuer->next++;
	write = &explorer->volume.writes[issuer->next];
	if (write->pos != 0) {
		volume_forget(&explorer->volume, issuer->next);
		write->is_torn = true;
	}
	data_off = off - in_segment + pc_get32(first.data_off);
	pos = pc_get64(header.seq) << 32 | (segment_bytes - in_segment - PCM_LINE) / PCM_LINE;
	check_mark(explorer, pos, pc_get32(header.durable_below));
	for (uint32_t end = explorer->volume.writes[issuer->next].group_end; issuer->next < end; issuer->next++) {
		write = &explorer->volume.writes[issuer->next];
		write->line_off = off;
		write->lines = pc_kset_lines(pc_get16(header.count));
		write->data_off = data_off;
		write->data_bytes = write->is_zero ? 0 : write->cells * CELL_BYTES;
		data_off += write->data_bytes;
		volume_place(&explorer->volume, issuer->next, pos);
	}
}

/* (OR2) */
static void note_tails(struct explorer *explorer, const struct pcm_tails *tails)
{
	struct pc_pos tail = decode_pos(&tails->dirty_tail);

	if (pc_pos_cmp(tail, explorer->tail) > 0 && explorer->mode_kind != MODES_AROUND && !sim_backing_all_synced(explorer->live->backing))
		fail(explorer, "store of the tails", "dirty_tail moves before the backing is synced");
	explorer->tail = tail;
	explorer->batch_end = decode_pos(&tails->batch_end);
}

/* (OR5) */
static void check_slot(struct explorer *explorer, const struct record_place *place)
{
	struct record_look look = record_look(place, sim_media_durable(explorer->live->media));
	unsigned other = !place->slot;

	if (!look.valid[place->slot])
		return;
	if (!look.valid[other])
		fail(explorer, "store of a record", "over the only valid copy");
	else if (look.slot_seq[place->slot] > look.slot_seq[other])
		fail(explorer, "store of a record", "over the newest copy");
}

/* A write behind `pos` that has not returned has killed it, and waits for its fence. */
static bool is_being_killed(const struct explorer *explorer, const struct clean_key *key, uint64_t pos)
{
	const struct volume *volume = &explorer->volume;
	struct clean_key seen;
	bool found = false;

	if (clean_key_at(&explorer->geometry, sim_media_view(explorer->live->media), key->segment, key->line, &seen))
		return false;
	for (uint32_t number = 1; number <= volume->issued && !found; number++) {
		const struct volume_write *write = &volume->writes[number];

		found = write->pos > pos && write->returned == 0 &&
			(uint64_t)write->first * CELL_BYTES < key->off + PCM_BLOCK &&
			key->off < (uint64_t)(write->first + write->cells) * CELL_BYTES;
	}
	return found;
}

/* Of a block that a key has: is a byte older than a write in this segment of the log? */
static bool is_older_than_log(const struct explorer *explorer, const struct clean_key *key, uint64_t seq)
{
	const struct volume *volume = &explorer->volume;
	const uint8_t *data = sim_media_durable(explorer->live->media) + key->data_off;

	for (uint32_t i = 0; i < PCM_BLOCK / CELL_BYTES; i++) {
		const struct cell_history *history = &volume->history[key->off / CELL_BYTES + i];
		uint64_t shown = volume_shown_pos(volume, data + (size_t)i * CELL_BYTES, (uint32_t)(key->off / CELL_BYTES) + i);

		for (uint32_t j = 0; j < history->count; j++) {
			uint64_t pos = volume->writes[history->writes[j]].pos;

			if (pos >> 32 == seq && (shown == UINT64_MAX || pos > shown))
				return true;
		}
	}
	return false;
}

/* (OR11) */
static void check_leaving(struct explorer *explorer, uint64_t seq)
{
	struct clean_walk walk = clean_walk_begin(&explorer->geometry, sim_media_durable(explorer->live->media));

	/* A drop takes all segments together; until it is done none of them counts. */
	while (explorer->phase != MODE_CHANGE && clean_walk_next(&walk))
		if (is_older_than_log(explorer, &walk.key, seq) &&
		    !is_being_killed(explorer, &walk.key, seq << 32 | UINT32_MAX))
			fail(explorer, "a segment of the log becomes free", "an older clean key is valid on the media");
}

/* (OR6) */
static void check_new_life(struct explorer *explorer, const struct record_place *place, const struct pcm_segment *new)
{
	struct record_look look = record_look(place, sim_media_durable(explorer->live->media));
	struct pcm_segment old;

	if (!look.valid[look.newest])
		return;
	memcpy(&old, look.slots[look.newest], sizeof(old));
	if (new->state == PCM_SEGMENT_FREE && old.state != PCM_SEGMENT_FREE &&
	    pc_get64(new->gen) <= pc_get64(old.gen))
		fail(explorer, "store of a segment record", "free, but of the same generation");
	if (new->state == PCM_SEGMENT_FREE && old.stream == PC_STREAM_WRITE)
		check_leaving(explorer, pc_get64(old.seq));
	if (new->state != PCM_SEGMENT_OPEN)
		return;
	if (pc_get64(old.seq) == pc_get64(new->seq) && old.stream == new->stream)
		return;
	if (old.state != PCM_SEGMENT_FREE || pc_get64(old.gen) != pc_get64(new->gen))
		fail(explorer, "store of a segment record", "a new life before the end of the old one is durable");
}

static void note_record(struct explorer *explorer, const struct record_place *place, const void *data)
{
	check_slot(explorer, place);
	if (place->magic == PCM_MAGIC_TAILS) {
		struct pcm_tails tails;

		memcpy(&tails, data, sizeof(tails));
		note_tails(explorer, &tails);
	} else if (place->magic == PCM_MAGIC_SEGMENT) {
		struct pcm_segment segment;

		memcpy(&segment, data, sizeof(segment));
		check_new_life(explorer, place, &segment);
	}
}

/* (OR13) */
static bool is_backing_pending(const struct world *live, uint64_t block_off)
{
	for (size_t i = 0; i < sim_backing_pending(live->backing); i++) {
		struct sim_piece piece = sim_backing_piece(live->backing, i);

		if (piece.off < block_off + PCM_BLOCK && block_off < piece.off + piece.len)
			return true;
	}
	return false;
}

/* (OR9) */
static void check_clean_key(struct explorer *explorer, uint64_t segment_off, const uint8_t *line)
{
	const struct world *live = explorer->live;
	struct pcm_kset header;
	struct pcm_key key;
	uint64_t data_off;

	memcpy(&header, line, sizeof(header));
	memcpy(&key, line + sizeof(header), sizeof(key));
	if (pc_get64(key.off) + PCM_BLOCK > explorer->geometry.volume_bytes ||
	    pc_get32(key.data_off) + PCM_BLOCK > explorer->geometry.segment_bytes) {
		fail(explorer, "store of a clean key", "out of bounds");
		return;
	}
	data_off = segment_off + pc_get32(key.data_off);
	if (memcmp(sim_media_view(live->media) + data_off, sim_backing_now(live->backing) + pc_get64(key.off),
		   PCM_BLOCK) != 0)
		fail(explorer, "store of a clean key", "its data is not what the backing has");
	if (explorer->mode_kind == MODES_AROUND && is_backing_pending(live, pc_get64(key.off)))
		fail(explorer, "store of a clean key", "its block is not durable on the backing");
	if (explorer->geometry.granularity != PCACHE_GRANULARITY_PAGE &&
	    sim_media_is_pending(live->media, data_off, PCM_BLOCK))
		fail(explorer, "store of a clean key", "its data is not durable");
}

void rule_store(struct explorer *explorer, uint64_t off, const void *data, size_t len)
{
	struct record_place place;
	uint64_t in_segment;

	if (data == NULL || explorer->failed)
		return;
	if (record_at(&explorer->geometry, off, &place) && len == place.bytes) {
		note_record(explorer, &place, data);
		return;
	}
	in_segment = off < PCM_HEADER_BYTES ? 0 : (off - PCM_HEADER_BYTES) % explorer->geometry.segment_bytes;
	if (in_segment < PCM_SEGMENT_HEADER || len != PCM_LINE)
		return;
	if (clean_is_segment(&explorer->geometry, sim_media_view(explorer->live->media), off))
		check_clean_key(explorer, off - in_segment, data);
	else
		note_kset(explorer, off, in_segment, data);
}

/* (OR3) */
void rule_submit(struct explorer *explorer)
{
	struct record_place place = record_number(&explorer->geometry, 2);
	struct record_look look = record_look(&place, sim_media_durable(explorer->live->media));
	struct pcm_tails tails;

	if (explorer->failed)
		return;
	memcpy(&tails, look.slots[look.newest], sizeof(tails));
	if (!look.valid[look.newest] || pc_pos_cmp(decode_pos(&tails.batch_end), explorer->batch_end) < 0 ||
	    pc_pos_cmp(decode_pos(&tails.batch_end), explorer->tail) <= 0)
		fail(explorer, "request to the backing", "the end of the batch is not durable");
}

/* (OR4) */
void rule_synced(struct explorer *explorer)
{
	const struct volume_question question = {
		.rule = VOLUME_PREFIX,
		.low = world_pos(explorer->tail) - 1,
		.high = UINT64_MAX,
	};

	if (!explorer->failed && explorer->mode_kind != MODES_AROUND)
		judge(explorer, "the backing alone after a sync", sim_backing_durable(explorer->live->backing),
		      &question);
}

/* Bytes of the write that a key has: are they older? */
static bool has_older(const struct explorer *explorer, const struct clean_key *key, const struct volume_write *write)
{
	const uint8_t *durable = sim_media_durable(explorer->live->media);
	uint32_t from = (uint32_t)(pc_max64(key->off, (uint64_t)write->first * CELL_BYTES) / CELL_BYTES);
	uint64_t end = pc_min64(key->off + PCM_BLOCK, (uint64_t)(write->first + write->cells) * CELL_BYTES);

	for (uint32_t cell = from; (uint64_t)cell * CELL_BYTES < end; cell++) {
		const uint8_t *bytes = durable + key->data_off + ((uint64_t)cell * CELL_BYTES - key->off);
		uint64_t shown = volume_shown_pos(&explorer->volume, bytes, cell);

		if (shown == UINT64_MAX || shown < write->pos)
			return true;
	}
	return false;
}

/* (OR10) */
static void check_kills(struct explorer *explorer, const struct volume_write *write)
{
	struct clean_walk walk = clean_walk_begin(&explorer->geometry, sim_media_durable(explorer->live->media));

	/* The index is asked last: it has locks, and the turn may change there. */
	while (clean_walk_next(&walk))
		if (has_older(explorer, &walk.key, write) && !is_being_killed(explorer, &walk.key, 0) &&
		    (explorer->reclaiming == 0 || clean_is_found(explorer->live->cache, &walk.key)))
			fail(explorer, "acknowledged write", "a clean key that it covers is not killed durably");
}

/* (OR8) */
void rule_acknowledged(struct explorer *explorer, uint32_t number)
{
	const struct volume_write *write = &explorer->volume.writes[number];

	if (explorer->failed)
		return;
	if (write->pos == 0)
		fail(explorer, "acknowledged write", "it has no key set on the media");
	else if (is_pending(explorer, write))
		fail(explorer, "acknowledged write", "it is not durable");
	else
		check_kills(explorer, write);
}

/* Which write of the participant at work goes to these blocks of the backing; 0: none of its. */
static uint32_t number_around(const struct explorer *explorer, const struct issuer *issuer, uint64_t off, uint64_t len)
{
	uint64_t align = explorer->geometry.align_bytes;

	for (uint32_t number = issuer->next; number < issuer->end; number++) {
		const struct volume_write *write = &explorer->volume.writes[number];
		uint64_t first = (uint64_t)write->first * CELL_BYTES;

		if (pc_align_down(first, align) == off &&
		    pc_min64(pc_align_up(first + (uint64_t)write->cells * CELL_BYTES, align), explorer->volume.bytes) ==
			    off + len)
			return number;
	}
	return 0;
}

/* (OR12) */
void rule_around(struct explorer *explorer, uint64_t off, uint64_t len)
{
	struct issuer *issuer = &explorer->issuers[explorer->baton.participants == 0 ? 0 : explorer->baton.turn];
	uint32_t number = number_around(explorer, issuer, off, len);

	if (explorer->failed || number == 0)
		return;
	issuer->next = number;
	volume_place_around(&explorer->volume, number, world_pos(pc_cache_head(explorer->live->cache)));
	check_kills(explorer, &explorer->volume.writes[number]);
}

/* (OR14) */
void rule_through(struct explorer *explorer)
{
	const struct volume_question question = {
		.rule = explorer->mode_kind == MODES_AROUND ? VOLUME_CELLS : VOLUME_PREFIX,
		.low = explorer->volume.newest,
		.high = UINT64_MAX,
		.since = UINT64_MAX,
	};

	judge(explorer, "the backing alone after a write-through", sim_backing_durable(explorer->live->backing), &question);
}
