/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.c - a power cut, and one fault of the media: a line that cannot be read any more, a bit that flipped, a line
 * of key sets that was stored in the place of another, or a segment that is gone: its record says, whole, that it is
 * free. Or the same in a clean segment: in a line of keys, often in the word that kills, or in data.
 *
 * Then open and reads give the right data or an error, never anything else:
 * (MF1) A fault in one slot of a record whose two slots were equal is repaired and changes nothing.
 * (MF2) Reads fail only where the write lies whose data has the fault.
 * (MF3) A write may be missing only where a decayed record cannot be told from a torn one: in a segment that was not
 *       sealed, and no key set that is valid says that it was durable once.
 * (MF4) Write-back spreads nothing: a drain that succeeds leaves right data on the backing. Nor does reclaim, which
 *       carries blocks forward.
 * (MF6) A fault in data that is dirty is an error of its range and of nothing else: everything else is drained, and the
 *       range is lost, or has what was written last, now, when reclaim has come, and after a power cut anywhere. When it
 *       was written again nothing is lost.
 * (MF5) A fault in a clean segment is never seen: the backing has it all. And no clean key stays valid that the index
 *       does not have: it could come back.
 */
#include "crash.h"

#include "clean.h"
#include "records.h"

#include <string.h>

#define PICK_TRIES    16u
#define RECLAIM_STEPS 12u
#define CUT_PERCENT   12u

enum fault_kind {
	FAULT_RECORD,
	FAULT_KSET,
	FAULT_DATA,
	FAULT_SEGMENT, /* it is gone */
	FAULT_CLEAN,   /* (MF5) */
};

struct fault_plan {
	enum fault_kind kind;
	struct record_place record; /* of a FAULT_RECORD */
	bool slots_were_equal;
	uint32_t number; /* of the write that is hit; 0: none */
	bool may_vanish; /* (MF3) */
	uint64_t off;
	uint64_t source; /* of a line that is stored here too; 0: none */
	uint8_t bits;    /* 0: the line is lost */
};

/* ---- where ---- */

static struct pcm_segment segment_record(const struct explorer *explorer, const uint8_t *image, uint64_t off)
{
	uint64_t id = (off - PCM_HEADER_BYTES) / explorer->geometry.segment_bytes;
	struct record_place place = record_number(&explorer->geometry, 3 + (uint32_t)id);
	struct record_look look = record_look(&place, image);
	struct pcm_segment record = { 0 };

	if (look.valid[look.newest])
		memcpy(&record, look.slots[look.newest], sizeof(record));
	return record;
}

/* Of several that share a commit one alone cannot be excused. */
static bool is_alone(const struct volume *volume, uint32_t number)
{
	return volume->writes[number].group_end - volume->writes[number].group == 1;
}

/* Is this write in the log, as the image has it? */
static bool is_in_log(const struct explorer *explorer, const uint8_t *image, uint32_t number)
{
	const struct volume_write *write = &explorer->volume.writes[number];
	struct pcm_segment record;

	if (write->pos == 0)
		return false;
	record = segment_record(explorer, image, write->line_off);
	return record.state != PCM_SEGMENT_FREE && pc_get64(record.seq) == write->pos >> 32;
}

/* The key set or VOID where this write has its own, if it is valid. */
static bool line_of(const struct explorer *explorer, const uint8_t *image, const struct volume_write *write,
		    struct pc_kset *ret_kset)
{
	struct pcm_segment record = segment_record(explorer, image, write->line_off);
	uint32_t segment_bytes = explorer->geometry.segment_bytes;
	uint64_t segment_off = pc_align_down(write->line_off - PCM_HEADER_BYTES, segment_bytes) + PCM_HEADER_BYTES;
	uint8_t uuid[16];
	struct pc_kset_scope scope = {
		.segment_bytes = segment_bytes,
		.seq = write->pos >> 32,
		.backing_bytes = explorer->geometry.volume_bytes,
	};
	struct pc_lines lines = {
		.buf = image + segment_off + PCM_SEGMENT_HEADER,
		.end = pc_segment_room(segment_bytes),
	};

	if (!record_uuid(image, uuid))
		return false;
	scope.seed = pc_kset_seed(uuid, pc_get64(record.gen));
	return pc_kset_decode(&scope, &lines, (uint32_t)write->pos, ret_kset);
}

/* The key set of a later write says that this one was durable. */
static bool is_said_durable(const struct explorer *explorer, const uint8_t *image, uint32_t number)
{
	const struct volume *volume = &explorer->volume;
	uint64_t pos = volume->writes[number].pos;

	for (uint32_t other = 1; other <= volume->issued; other++) {
		const struct volume_write *write = &volume->writes[other];
		struct pc_kset kset;

		if (write->pos > pos && write->pos >> 32 == pos >> 32 && line_of(explorer, image, write, &kset) &&
		    kset.durable_below > (uint32_t)pos)
			return true;
	}
	return false;
}

/* Sealed, or under the end of a batch: all is known of it (MF3). */
static bool is_settled(const struct explorer *explorer, const uint8_t *image, uint32_t number)
{
	const struct volume_write *write = &explorer->volume.writes[number];
	struct pcm_segment record = segment_record(explorer, image, write->line_off);
	struct record_place place = record_number(&explorer->geometry, 2);
	struct record_look look = record_look(&place, image);
	struct pcm_tails tails;

	memcpy(&tails, look.slots[look.newest], sizeof(tails));
	return record.state != PCM_SEGMENT_OPEN ||
	       write->pos < (pc_get64(tails.batch_end.seq) << 32 | pc_get32(tails.batch_end.line));
}

/* (MF3) */
static bool may_look_torn(const struct explorer *explorer, const uint8_t *image, uint32_t number)
{
	return !is_settled(explorer, image, number) && !is_said_durable(explorer, image, number);
}

static bool pick_write(const struct explorer *explorer, struct prng *prng, const uint8_t *image, uint32_t *ret_number)
{
	uint32_t issued = explorer->volume.issued;

	for (unsigned i = 0; i < PICK_TRIES && issued > 0; i++) {
		/* the newer ones more often: they are still in the log */
		uint32_t back = (uint32_t)prng_below(prng, 1 + prng_below(prng, issued));

		*ret_number = issued - back;
		if (is_alone(&explorer->volume, *ret_number) && is_in_log(explorer, image, *ret_number))
			return true;
	}
	return false;
}

static void plan_record(struct explorer *explorer, struct prng *prng, const uint8_t *image, struct fault_plan *plan)
{
	uint32_t records = 3 + explorer->geometry.segments;
	uint32_t n = (uint32_t)(prng_happens(prng, 50) ? prng_below(prng, 3) : prng_below(prng, records));
	struct record_place place = record_number(&explorer->geometry, n);
	struct record_look look = record_look(&place, image);

	plan->kind = FAULT_RECORD;
	plan->record = place;
	plan->slots_were_equal = look.valid[0] && look.valid[1] &&
				 memcmp(look.slots[0], look.slots[1], place.bytes) == 0;
	plan->off = place.off + prng_below(prng, 2) * PCM_SLOT_STRIDE + prng_below(prng, place.bytes);
	plan->bits = prng_happens(prng, 40) ? 0 : (uint8_t)(1u << prng_below(prng, 8));
}

/* No room for excuses: open notices, or the segment was of no use any more. */
static void plan_segment(struct explorer *explorer, struct prng *prng, struct fault_plan *plan)
{
	plan->kind = FAULT_SEGMENT;
	plan->record = record_number(&explorer->geometry, 3 + (uint32_t)prng_below(prng, explorer->geometry.segments));
	plan->off = plan->record.off;
}

/* Where another write has its key set, in the same segment; 0: none found. */
static uint64_t pick_source(const struct explorer *explorer, struct prng *prng, const struct volume_write *target)
{
	for (unsigned i = 0; i < PICK_TRIES; i++) {
		uint32_t number = 1 + (uint32_t)prng_below(prng, explorer->volume.issued);
		const struct volume_write *other = &explorer->volume.writes[number];

		if (other != target && other->pos != 0 && other->pos >> 32 == target->pos >> 32)
			return other->line_off;
	}
	return 0;
}

static void plan_write(struct explorer *explorer, struct prng *prng, const uint8_t *image, uint32_t number,
		       struct fault_plan *plan)
{
	const struct volume_write *write = &explorer->volume.writes[number];

	plan->kind = write->data_bytes == 0 || prng_happens(prng, 50) ? FAULT_KSET : FAULT_DATA;
	plan->number = number;
	plan->may_vanish = may_look_torn(explorer, image, number);
	plan->bits = prng_happens(prng, 40) ? 0 : (uint8_t)(1u << prng_below(prng, 8));
	if (plan->kind == FAULT_KSET && prng_happens(prng, 20))
		plan->source = pick_source(explorer, prng, write);
	if (plan->source != 0)
		plan->off = write->line_off;
	else if (plan->kind == FAULT_KSET)
		plan->off = write->line_off + PCM_LINE - 1 - prng_below(prng, write->lines * PCM_LINE);
	else
		plan->off = write->data_off + prng_below(prng, write->data_bytes);
}

/* A clean segment, and a line in it: a valid one if there is one among the first that were tried. False: no segment. */
static bool pick_clean(const struct explorer *explorer, struct prng *prng, const uint8_t *image, uint32_t *ret_segment,
		       uint32_t *ret_line)
{
	uint32_t blocks = pc_clean_blocks(explorer->geometry.segment_bytes);
	bool found = false;

	for (unsigned i = 0; i < PICK_TRIES; i++) {
		uint32_t id = (uint32_t)prng_below(prng, explorer->geometry.segments);
		uint32_t line = (uint32_t)prng_below(prng, blocks);
		struct clean_key key;

		if (!clean_is_segment(&explorer->geometry, image,
				      PCM_HEADER_BYTES + (uint64_t)id * explorer->geometry.segment_bytes))
			continue;
		found = true;
		*ret_segment = id;
		*ret_line = line;
		if (clean_key_at(&explorer->geometry, image, id, line, &key))
			break;
	}
	return found;
}

static bool plan_clean(const struct explorer *explorer, struct prng *prng, const uint8_t *image,
		       struct fault_plan *plan)
{
	uint32_t segment_bytes = explorer->geometry.segment_bytes;
	uint32_t segment;
	uint32_t line;

	if (!pick_clean(explorer, prng, image, &segment, &line))
		return false;
	plan->kind = FAULT_CLEAN;
	plan->off = PCM_HEADER_BYTES + (uint64_t)segment * segment_bytes;
	if (prng_happens(prng, 40))
		plan->off += pc_clean_data_off(line) + prng_below(prng, PCM_BLOCK);
	else if (prng_happens(prng, 40))
		plan->off += pc_kill_off(segment_bytes, line) + prng_below(prng, sizeof(le64));
	else
		plan->off += pc_line_off(segment_bytes, line) + prng_below(prng, PCM_LINE);
	plan->bits = prng_happens(prng, 40) ? 0 : (uint8_t)(1u << prng_below(prng, 8));
	return true;
}

static struct fault_plan plan_fault(struct explorer *explorer, struct prng *prng)
{
	const uint8_t *image = sim_media_view(explorer->check->media);
	struct fault_plan plan = { 0 };
	uint32_t number;

	if (prng_happens(prng, 25) && plan_clean(explorer, prng, image, &plan))
		return plan;
	if (prng_happens(prng, 55) && pick_write(explorer, prng, image, &number))
		plan_write(explorer, prng, image, number, &plan);
	else if (prng_happens(prng, 15))
		plan_segment(explorer, prng, &plan);
	else
		plan_record(explorer, prng, image, &plan);
	return plan;
}

/* ---- what comes of it ---- */

static uint64_t fault_hash(uint64_t hash, const struct fault_plan *plan)
{
	return prng_mix(hash ^ prng_mix(plan->off << 8 | plan->bits) ^ prng_mix(plan->source << 3 | plan->kind));
}

/* Cell by cell what can be read; false: an error where there may be none (MF2). */
static bool read_cells(struct explorer *explorer, struct world *world, const struct fault_plan *plan, bool *ret_all)
{
	const struct volume_write *write = &explorer->volume.writes[plan->number];

	*ret_all = true;
	for (uint32_t cell = 0; cell < explorer->volume.cells; cell++) {
		ssize_t ret = pc_io_read(world->cache, explorer->fault_buf + (size_t)cell * CELL_BYTES,
					 CELL_BYTES, (uint64_t)cell * CELL_BYTES, 0);

		explorer->unknown[cell] = ret < 0;
		if (ret >= 0)
			continue;
		*ret_all = false;
		if (plan->kind != FAULT_DATA || explorer->fault_is_healed || cell < write->first ||
		    cell >= write->first + write->cells) {
			fail_errno(explorer, "read after a media fault", (int)ret);
			return false;
		}
	}
	return true;
}

/* (MF4) Of another fault than one in data that is dirty. */
static void drain_faulty(struct explorer *explorer, struct world *world, const struct fault_plan *plan, bool all)
{
	struct volume_question question = question_of(explorer);
	const uint8_t *durable = sim_backing_durable(world->backing);
	int ret = pc_writeback_drain(world->cache, NULL, NULL);

	if (ret < 0) {
		fail_errno(explorer, "drain after a media fault", ret);
		return;
	}
	if (plan->may_vanish) {
		question.rule = VOLUME_SETS;
		question.excused = plan->number;
	}
	if (judge(explorer, "the backing drained after a media fault", durable, &question) && all &&
	    memcmp(durable, explorer->fault_buf, explorer->geometry.volume_bytes) != 0)
		fail(explorer, "drain after a media fault", "the backing does not hold what was read");
}

/* Reclaim takes what it can and carries forward what was read; then all is read again (MF4). */
static bool reclaim_faulty(struct explorer *explorer, struct world *world, const struct fault_plan *plan, bool *ret_all)
{
	int ret = 1;

	atomic_store(&world->cache->tunables[PCACHE_TUNABLE_GC_PERCENT], 0); /* any segment in use is one too many */
	for (unsigned i = 0; i < RECLAIM_STEPS && ret > 0; i++)
		ret = pc_reclaim_step(world->cache);
	if (ret < 0) {
		fail_errno(explorer, "reclaim after a media fault", ret);
		return false;
	}
	return read_cells(explorer, world, plan, ret_all);
}

/* ---- dirty data that is damaged (MF6) ---- */

static struct volume_question question_of_fault(const struct explorer *explorer, const struct fault_plan *plan)
{
	struct volume_question question = question_of(explorer);

	question.unknown = explorer->unknown;
	if (plan->may_vanish) {
		question.rule = VOLUME_SETS;
		question.excused = plan->number;
	}
	return question;
}

/* Everything can be read, but for what may be lost. */
static bool check_reads(struct explorer *explorer, struct world *world, const struct fault_plan *plan, const char *where)
{
	struct volume_question question = question_of_fault(explorer, plan);
	bool all;

	return read_cells(explorer, world, plan, &all) && judge(explorer, where, explorer->fault_buf, &question);
}

/* Everything is on the backing, but for what is lost. */
static bool drain_and_check(struct explorer *explorer, struct world *world, const struct fault_plan *plan, const char *where)
{
	int ret = pc_writeback_drain(world->cache, NULL, NULL);
	bool is_lost = pc_lost_any(&world->cache->lost);

	if (explorer->failed)
		return false;
	if (ret != (is_lost ? -EBADMSG : 0) || pc_pos_cmp(world->cache->dirty_tail, pc_cache_head(world->cache)) != 0) {
		fail_errno(explorer, where, ret);
		return false;
	}
	if (!check_reads(explorer, world, plan, where))
		return false;
	for (uint32_t cell = 0; cell < explorer->volume.cells; cell++)
		if (explorer->unknown[cell] == 0 &&
		    memcmp(sim_backing_durable(world->backing) + (size_t)cell * CELL_BYTES,
			   explorer->fault_buf + (size_t)cell * CELL_BYTES, CELL_BYTES) != 0) {
			fail(explorer, where, "the backing does not hold what was read");
			return false;
		}
	return true;
}

/* `check` is cut in the middle of all that, and recovered on `nested`. */
void cut_fault(struct explorer *explorer)
{
	const struct fault_plan *plan = explorer->fault;
	struct world *world = explorer->nested;
	struct choice_store store;
	uint64_t hash;
	int ret;

	choose_crash(&explorer->cut_prng, (unsigned)prng_below(&explorer->cut_prng, 6), explorer->check, &store);
	hash = world_power_cut(explorer->check, &store.choice, world);
	if (count_state(explorer, fault_hash(hash, plan), MODE_MEDIA_FAULT) == 0)
		return;
	explorer->depth = 2;
	world->keeps_no_reads = explorer->check->keeps_no_reads;
	ret = world_open(world);
	if (ret < 0)
		fail_errno(explorer, "open after lost data and a power cut", ret);
	else if (check_reads(explorer, world, plan, "after lost data and a power cut") &&
		 drain_and_check(explorer, world, plan, "drain after lost data and a power cut"))
		check_nothing_wrong(explorer, "drain after lost data and a power cut", world_account(world));
	if (world->cache != NULL)
		world_drop(world);
	explorer->depth = 1;
}

/* The same bytes once more, so that the log moves on. */
static bool rewrite_something(struct explorer *explorer, struct world *world)
{
	uint32_t cell = 0;
	ssize_t ret;

	while (cell < explorer->volume.cells && explorer->unknown[cell] != 0)
		cell++;
	(void)pc_rotate_close(world->cache);
	if (cell == explorer->volume.cells)
		return true;
	ret = pc_io_write(world->cache, explorer->fault_buf + (size_t)cell * CELL_BYTES, CELL_BYTES,
			  (uint64_t)cell * CELL_BYTES, 0);
	if (ret < 0)
		fail_errno(explorer, "write after lost data", (int)ret);
	return ret > 0 && !explorer->failed;
}

/* What is lost is written again, as it was. */
static bool heal(struct explorer *explorer, struct world *world, const struct fault_plan *plan)
{
	struct pc_lost_set set;

	pc_lost_get(&world->cache->lost, &set);
	for (uint32_t i = 0; i < set.count && !explorer->failed; i++)
		for (uint64_t off = set.ranges[i].off; off < set.ranges[i].end && !explorer->failed; off += CELL_BYTES) {
			uint8_t bytes[CELL_BYTES];
			ssize_t ret;

			volume_stamp(plan->number, (uint32_t)(off / CELL_BYTES), bytes);
			ret = pc_io_write(world->cache, bytes, CELL_BYTES, off, 0);
			if (ret < 0)
				fail_errno(explorer, "write over lost data", (int)ret);
		}
	if (!explorer->failed && pc_io_flush(world->cache) < 0)
		fail(explorer, "flush over lost data", "it failed");
	explorer->fault_is_healed = true;
	return !explorer->failed;
}

static bool lose_and_heal(struct explorer *explorer, struct world *world, struct prng *prng, const struct fault_plan *plan)
{
	bool all;

	if (!drain_and_check(explorer, world, plan, "drain of damaged data"))
		return false;
	if (prng_happens(prng, 50) &&
	    (!rewrite_something(explorer, world) || !drain_and_check(explorer, world, plan, "drain behind lost data") ||
	     !reclaim_faulty(explorer, world, plan, &all) ||
	     !check_reads(explorer, world, plan, "after lost data and reclaim")))
		return false;
	if (prng_happens(prng, 40))
		return true;
	return heal(explorer, world, plan) && drain_and_check(explorer, world, plan, "drain after lost data was written again");
}

static void check_damaged_data(struct explorer *explorer, struct world *world, struct prng *prng,
			       const struct fault_plan *plan)
{
	explorer->fault = plan;
	explorer->fault_is_healed = false;
	if (world == explorer->check) {
		explorer->cut_prng = prng_of(explorer->seed ^ 0xfa, explorer->point, explorer->state);
		explorer->cut_percent = CUT_PERCENT;
		explorer->depth = 1;
	}
	if (lose_and_heal(explorer, world, prng, plan))
		check_nothing_wrong(explorer, "accounts after lost data", world_account(world));
	explorer->fault_is_healed = false;
	explorer->fault = NULL;
	explorer->depth = 2;
}

static void check_slots(struct explorer *explorer, struct world *world, const struct fault_plan *plan)
{
	struct record_look look = record_look(&plan->record, sim_media_durable(world->media));

	if (!look.valid[0] || !look.valid[1] || memcmp(look.slots[0], look.slots[1], plan->record.bytes) != 0)
		fail(explorer, "open after a media fault", "the slots of a record were not made equal");
}

static void judge_fault(struct explorer *explorer, struct world *world, struct prng *prng,
			const struct fault_plan *plan)
{
	struct volume_question question = question_of(explorer);
	int ret = world_open(world);
	bool all;

	if (ret < 0) {
		if (plan->kind == FAULT_RECORD && plan->slots_were_equal)
			fail_errno(explorer, "open after a fault in one of two slots", ret); /* (MF1) */
		if (plan->kind == FAULT_CLEAN)
			fail_errno(explorer, "open after a fault in clean data", ret); /* (MF5) */
		return;
	}
	check_nothing_wrong(explorer, "open after a media fault", clean_account(world, false));
	if (plan->kind == FAULT_RECORD)
		check_slots(explorer, world, plan);
	question.unknown = explorer->unknown;
	if (plan->may_vanish) {
		question.rule = VOLUME_SETS;
		question.excused = plan->number;
	}
	if (explorer->failed || !read_cells(explorer, world, plan, &all) ||
	    !judge(explorer, "after a media fault", explorer->fault_buf, &question))
		return;
	check_nothing_wrong(explorer, "reads after a media fault", clean_account(world, false));
	if (prng_happens(prng, 25) &&
	    (!reclaim_faulty(explorer, world, plan, &all) ||
	     !judge(explorer, "after a media fault and reclaim", explorer->fault_buf, &question)))
		return;
	if (!prng_happens(prng, 50))
		return;
	if (plan->kind == FAULT_DATA)
		check_damaged_data(explorer, world, prng, plan);
	else
		drain_faulty(explorer, world, plan, all);
}

static void overwrite(struct sim_media *media, uint64_t off, const void *data, size_t len)
{
	const uint8_t *view = sim_media_view(media);

	for (size_t i = 0; i < len; i++)
		sim_media_flip(media, off + i, view[off + i] ^ ((const uint8_t *)data)[i]);
}

/* Both slots say that the segment was freed. */
static void lose_segment(struct sim_media *media, const struct record_place *place)
{
	const uint8_t *image = sim_media_view(media);
	struct record_look look = record_look(place, image);
	struct pcm_segment old;
	struct pcm_segment record = { 0 };

	memcpy(&old, look.slots[look.newest], sizeof(old));
	record.record = old.record;
	record.gen = pc_le64(pc_get64(old.gen) + 1);
	record_sign(place, image, &record);
	overwrite(media, place->off, &record, sizeof(record));
	overwrite(media, place->off + PCM_SLOT_STRIDE, &record, sizeof(record));
}

static void hit(struct sim_media *media, const struct fault_plan *plan)
{
	uint8_t line[PCM_LINE];

	if (plan->kind == FAULT_SEGMENT) {
		lose_segment(media, &plan->record);
	} else if (plan->source != 0) {
		memcpy(line, sim_media_view(media) + plan->source, sizeof(line));
		overwrite(media, plan->off, line, sizeof(line));
	} else if (plan->bits == 0) {
		sim_media_poison(media, plan->off);
	} else {
		sim_media_flip(media, plan->off, plan->bits);
	}
}

/* Open, judge, and drop what was opened. */
static void apply_fault(struct explorer *explorer, struct world *world, struct prng *prng,
			const struct fault_plan *plan)
{
	hit(world->media, plan);
	explorer->mode = MODE_MEDIA_FAULT;
	explorer->depth = 2;
	judge_fault(explorer, world, prng, plan);
	if (world->cache != NULL)
		world_drop(world);
}

void check_fault(struct explorer *explorer, unsigned state)
{
	struct prng prng = state_prng(explorer, state);
	struct choice_store store;
	struct fault_plan plan;
	uint64_t hash;

	enter_state(explorer, state);
	choose_crash(&prng, (unsigned)prng_below(&prng, 6), explorer->live, &store);
	hash = world_power_cut(explorer->live, &store.choice, explorer->check);
	plan = plan_fault(explorer, &prng);
	explorer->check->keeps_no_reads = !prng_happens(&prng, 30);
	if (count_state(explorer, fault_hash(hash, &plan), MODE_MEDIA_FAULT) == 0)
		return;
	apply_fault(explorer, explorer->check, &prng, &plan);
	explorer->depth = 0;
}

void choose_decay(struct explorer *explorer, struct prng *prng)
{
	const uint8_t *image = sim_media_view(explorer->check->media);

	if (!pick_write(explorer, prng, image, &explorer->decaying)) {
		explorer->decaying = 0;
		return;
	}
	explorer->decay_is_quiet = may_look_torn(explorer, image, explorer->decaying);
}

void check_decay(struct explorer *explorer, struct prng *prng, uint64_t hash)
{
	const uint8_t *image = sim_media_view(explorer->nested->media);
	struct fault_plan plan = { 0 };

	if (!is_in_log(explorer, image, explorer->decaying))
		return;
	plan_write(explorer, prng, image, explorer->decaying, &plan);
	/* What the image before said stays said: a recovery that was interrupted does not forget it (V7). */
	plan.may_vanish = explorer->decay_is_quiet && !is_settled(explorer, image, explorer->decaying);
	if (count_state(explorer, fault_hash(hash, &plan), MODE_MEDIA_FAULT) != 0)
		apply_fault(explorer, explorer->nested, prng, &plan);
}
