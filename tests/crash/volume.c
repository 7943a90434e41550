/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * volume.c - stamps, histories of cells, and the two rules. Number 0 is the backing as it was: zeroes.
 */
#include "volume.h"

#include "random.h"

#include <stdlib.h>
#include <string.h>

#define CELL_WORDS (CELL_BYTES / 8)

static void *grow(void *memory, size_t bytes)
{
	memory = realloc(memory, bytes);
	if (memory == NULL)
		abort();
	return memory;
}

/* Word 0 is the number, the others follow from it and the cell. */
static inline uint64_t stamp_word(uint64_t base, unsigned word)
{
	return (base + word) * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t stamp_base(uint32_t number, uint32_t cell)
{
	return prng_mix((uint64_t)number << 32 | cell);
}

void volume_stamp(uint32_t number, uint32_t cell, uint8_t bytes[CELL_BYTES])
{
	uint64_t words[CELL_WORDS] = { number };
	uint64_t base = stamp_base(number, cell);

	for (unsigned i = 1; i < CELL_WORDS; i++)
		words[i] = stamp_word(base, i);
	memcpy(bytes, words, sizeof(words));
}

static bool stamp_is_whole(const struct volume *volume, const uint64_t words[CELL_WORDS], uint32_t cell)
{
	uint8_t *verified = volume->verified + (size_t)cell * CELL_BYTES;
	uint64_t base = stamp_base((uint32_t)words[0], cell);
	uint64_t wrong = words[0] >> 32;

	if (memcmp(verified, words, CELL_BYTES) == 0)
		return true;
	for (unsigned i = 1; i < CELL_WORDS; i++)
		wrong |= words[i] ^ (words[0] == 0 ? 0 : stamp_word(base, i));
	if (wrong == 0)
		memcpy(verified, words, CELL_BYTES);
	return wrong == 0;
}

void volume_init(struct volume *volume, uint64_t bytes)
{
	*volume = (struct volume){ .bytes = bytes, .cells = (uint32_t)(bytes / CELL_BYTES) };
	volume->history = calloc(volume->cells, sizeof(*volume->history));
	volume->verified = calloc(1, bytes);
	if (volume->history == NULL || volume->verified == NULL)
		abort();
}

void volume_free(struct volume *volume)
{
	for (uint32_t cell = 0; cell < volume->cells; cell++)
		free(volume->history[cell].writes);
	free(volume->history);
	free(volume->writes);
	free(volume->shown);
	free(volume->verified);
}

static void remember_write(struct volume *volume, uint32_t number, uint32_t first, uint32_t cells)
{
	if (number >= volume->writes_room) {
		uint32_t room = volume->writes_room * 2 + 64;

		volume->writes = grow(volume->writes, room * sizeof(*volume->writes));
		volume->shown = grow(volume->shown, room * sizeof(*volume->shown));
		memset(volume->shown + volume->writes_room, 0, (room - volume->writes_room) * sizeof(*volume->shown));
		volume->writes_room = room;
	}
	volume->writes[number] =
		(struct volume_write){ .first = first, .cells = cells, .group = number, .group_end = number + 1 };
}

uint32_t volume_issue(struct volume *volume, uint64_t off, uint64_t len, uint8_t *buf)
{
	uint32_t number = ++volume->issued;
	uint32_t first = (uint32_t)(off / CELL_BYTES);
	uint32_t cells = (uint32_t)(len / CELL_BYTES);

	remember_write(volume, number, first, cells);
	for (uint32_t i = 0; i < cells; i++)
		volume_stamp(number, first + i, buf + (size_t)i * CELL_BYTES);
	return number;
}

uint32_t volume_issue_zeroes(struct volume *volume, uint64_t off, uint64_t len)
{
	uint32_t number = ++volume->issued;

	remember_write(volume, number, (uint32_t)(off / CELL_BYTES), (uint32_t)(len / CELL_BYTES));
	volume->writes[number].is_zero = true;
	return number;
}

void volume_group(struct volume *volume, uint32_t first, uint32_t end)
{
	for (uint32_t number = first; number < end; number++) {
		volume->writes[number].group = first;
		volume->writes[number].group_end = end;
	}
}

static void insert(const struct volume *volume, struct cell_history *history, uint32_t number)
{
	uint32_t at = history->count;

	if (history->count == history->room) {
		history->room = history->room * 2 + 4;
		history->writes = grow(history->writes, history->room * sizeof(*history->writes));
	}
	for (; at > 0 && volume->writes[history->writes[at - 1]].pos > volume->writes[number].pos; at--)
		history->writes[at] = history->writes[at - 1];
	history->writes[at] = number;
	history->count++;
	history->has_zeroes |= volume->writes[number].is_zero;
}

void volume_place(struct volume *volume, uint32_t number, uint64_t pos)
{
	struct volume_write *write = &volume->writes[number];

	write->pos = pos;
	for (uint32_t i = 0; i < write->cells; i++)
		insert(volume, &volume->history[write->first + i], number);
	if (pos > volume->newest)
		volume->newest = pos;
}

void volume_forget(struct volume *volume, uint32_t number)
{
	struct volume_write *write = &volume->writes[number];

	for (uint32_t i = 0; i < write->cells && write->pos != 0; i++) {
		struct cell_history *history = &volume->history[write->first + i];
		uint32_t kept = 0;

		for (uint32_t j = 0; j < history->count; j++)
			if (history->writes[j] != number)
				history->writes[kept++] = history->writes[j];
		history->count = kept;
		history->has_rests |= write->is_torn;
	}
	write->pos = 0;
	write->required_since = 0;
	write->is_around = false;
	write->is_loose = false;
	write->is_doomed = false;
}

void volume_place_around(struct volume *volume, uint32_t number, uint64_t head)
{
	volume_place(volume, number, head - 1);
	volume->writes[number].is_around = true;
	volume->writes[number].is_loose = true;
}

void volume_settle(struct volume *volume, uint64_t returns)
{
	for (uint32_t number = 1; number <= volume->issued; number++) {
		struct volume_write *write = &volume->writes[number];

		if (!write->is_loose || write->is_doomed || write->returned == 0 || write->returned > returns)
			continue;
		write->is_loose = false;
		volume_require(volume, number); /* not before: a reader under way may still see what was there */
	}
	volume->promises++;
}

void volume_doom(struct volume *volume)
{
	for (uint32_t number = 1; number <= volume->issued; number++)
		volume->writes[number].is_doomed |= volume->writes[number].is_loose;
}

bool volume_is_loose(const struct volume *volume)
{
	for (uint32_t number = 1; number <= volume->issued; number++)
		if (volume->writes[number].is_loose)
			return true;
	return false;
}

void volume_require(struct volume *volume, uint32_t number)
{
	volume->writes[number].required_since = ++volume->promises;
}

void volume_require_all(struct volume *volume)
{
	if (volume->promised == volume->newest)
		return;
	volume->promised = volume->newest;
	volume->promises++;
}

uint32_t volume_number(const uint8_t *image, uint32_t cell)
{
	uint64_t word;

	memcpy(&word, image + (size_t)cell * CELL_BYTES, sizeof(word));
	return (uint32_t)word;
}

/* ---- the judge ---- */

struct trial {
	struct volume *volume;
	const uint8_t *image;
	const struct volume_question *question;
	struct verdict verdict;
};

/* What a cell shows, and which of the writes to it come later: history->writes[*ret_later] and on. */
static bool read_cell(struct trial *trial, uint32_t cell, uint32_t *ret_later)
{
	const struct volume *volume = trial->volume;
	const struct cell_history *history = &volume->history[cell];
	uint64_t words[CELL_WORDS];
	uint32_t later = history->count;
	uint32_t number;

	memcpy(words, trial->image + (size_t)cell * CELL_BYTES, sizeof(words));
	number = (uint32_t)words[0];
	trial->verdict.cell = cell;
	trial->verdict.number = number;
	trial->verdict.why = "garbage";
	if (!stamp_is_whole(volume, words, cell) || number > volume->issued)
		return false;
	while (later > 0 && history->writes[later - 1] != number)
		later--;
	trial->verdict.why = "a write that never came here, or that was lost before";
	*ret_later = later;
	return later > 0 || number == 0;
}

static bool is_unknown(const struct trial *trial, uint32_t cell)
{
	return trial->question->unknown != NULL && trial->question->unknown[cell] != 0;
}

static uint64_t pos_of(const struct volume *volume, uint32_t number)
{
	return number == 0 ? 0 : volume->writes[number].pos;
}

static uint64_t history_pos(const struct volume *volume, const struct cell_history *history, uint32_t at)
{
	return volume->writes[history->writes[at]].pos;
}

uint64_t volume_shown_pos(const struct volume *volume, const uint8_t *bytes, uint32_t cell)
{
	const struct cell_history *history = &volume->history[cell];
	uint32_t number = volume_number(bytes, 0);

	if (number > volume->issued)
		return UINT64_MAX;
	for (uint32_t at = number == 0 ? history->count : 0; at > 0; at--)
		if (volume->writes[history->writes[at - 1]].is_zero)
			return history_pos(volume, history, at - 1);
	return pos_of(volume, number);
}

/* The last position up to `at` after which the cell was zeroes; at the beginning it was. */
static uint64_t zeroes_before(const struct volume *volume, uint32_t cell, uint64_t at)
{
	const struct cell_history *history = &volume->history[cell];
	uint32_t i = history->count;

	while (i > 0 && history_pos(volume, history, i - 1) > at)
		i--;
	for (; i > 0 && !volume->writes[history->writes[i - 1]].is_zero; i--)
		at = history_pos(volume, history, i - 1) - 1;
	return at;
}

static bool judge_prefix_cell(struct trial *trial, uint32_t cell)
{
	const struct cell_history *history = &trial->volume->history[cell];
	struct verdict *verdict = &trial->verdict;
	uint32_t later;
	uint64_t pos;

	if (!read_cell(trial, cell, &later))
		return history->has_rests;
	if (verdict->number == 0 && history->has_zeroes)
		return true; /* judge_zeroes() */
	pos = pos_of(trial->volume, verdict->number);
	if (pos > verdict->low)
		verdict->low = pos;
	if (later < history->count && pos_of(trial->volume, history->writes[later]) - 1 < verdict->high)
		verdict->high = pos_of(trial->volume, history->writes[later]) - 1;
	verdict->why = "no moment at which it looked like this: an acknowledged write is lost, or order is broken";
	return verdict->low <= verdict->high;
}

/* Must this write be there? */
static bool counts(const struct trial *trial, uint32_t number)
{
	const struct volume_question *question = trial->question;

	return volume_is_required(trial->volume, number) && number != question->excused &&
	       (question->rule != VOLUME_CELLS || trial->volume->writes[number].required_since <= question->since);
}

/* Down from the highest position that all other cells allow, until every cell of zeroes was that at it. */
static bool judge_zeroes(struct trial *trial)
{
	const struct volume *volume = trial->volume;
	struct verdict *verdict = &trial->verdict;
	uint64_t before;

	do {
		before = verdict->high;
		for (uint32_t cell = 0; cell < volume->cells; cell++) {
			if (!volume->history[cell].has_zeroes || is_unknown(trial, cell) ||
			    volume_number(trial->image, cell) != 0)
				continue;
			verdict->high = zeroes_before(volume, cell, verdict->high);
			if (verdict->high >= verdict->low)
				continue;
			verdict->cell = cell;
			verdict->number = 0;
			verdict->why = "no moment at which it was zeroes: a write is lost, or order is broken";
			return false;
		}
	} while (verdict->high != before);
	return true;
}

/* Which writes of zeroes, or what was there at first, can the cell show? If it can only be one, that one is there. */
static bool judge_set_zeroes(struct trial *trial, uint32_t cell)
{
	const struct cell_history *history = &trial->volume->history[cell];
	uint32_t candidates = 0;
	uint32_t candidate = 0;
	uint32_t at = history->count;

	for (; at > 0; at--) {
		uint32_t number = history->writes[at - 1];

		if (trial->volume->writes[number].is_zero) {
			candidates++;
			candidate = number;
		}
		if (counts(trial, number))
			break;
	}
	candidates += at == 0;
	if (candidates == 1 && at > 0)
		trial->volume->shown[candidate] = trial->volume->judgements;
	return candidates > 0;
}

static bool ran_during(const struct volume_question *question, const struct volume_write *write)
{
	return question->running != 0 && (write->returned == 0 || write->returned >= question->running);
}

/* What goes past the cache may be torn at any byte before it is synced; so may a read, by a write at the same time. */
static bool may_be_torn(const struct trial *trial, uint32_t cell)
{
	const struct cell_history *history = &trial->volume->history[cell];

	for (uint32_t i = 0; i < history->count; i++) {
		const struct volume_write *write = &trial->volume->writes[history->writes[i]];

		if (write->is_loose || write->is_torn || ran_during(trial->question, write))
			return true;
	}
	return history->has_rests;
}

static bool judge_set_cell(struct trial *trial, uint32_t cell)
{
	const struct cell_history *history = &trial->volume->history[cell];
	struct verdict *verdict = &trial->verdict;
	uint32_t later;

	if (!read_cell(trial, cell, &later))
		return may_be_torn(trial, cell);
	verdict->why = "a write that was promised is lost";
	if (verdict->number == 0 && history->has_zeroes)
		return judge_set_zeroes(trial, cell);
	for (; later < history->count; later++)
		if (counts(trial, history->writes[later]))
			return false;
	trial->volume->shown[verdict->number] = trial->volume->judgements;
	return true;
}

/* A write of which one cell is there is there with all its cells, but for those that a later one has. */
static bool judge_whole(struct trial *trial, uint32_t number)
{
	const struct volume_write *write = &trial->volume->writes[number];

	for (uint32_t i = 0; i < write->cells; i++) {
		uint32_t cell = write->first + i;

		if (is_unknown(trial, cell) ||
		    volume_shown_pos(trial->volume, trial->image + (size_t)cell * CELL_BYTES, cell) >= write->pos)
			continue;
		trial->verdict.cell = cell;
		trial->verdict.number = number;
		trial->verdict.why = "a write is there in part";
		return false;
	}
	return true;
}

/* With all that went out in one commit. */
static bool judge_group(struct trial *trial, uint32_t number)
{
	const struct volume_write *write = &trial->volume->writes[number];
	bool good = true;

	for (uint32_t other = write->group; other < write->group_end && good; other++)
		good = judge_whole(trial, other);
	return good;
}

static bool judge_sets(struct trial *trial)
{
	bool by_cell = trial->question->rule == VOLUME_CELLS;
	bool good = true;

	trial->volume->judgements++;
	for (uint32_t cell = 0; cell < trial->volume->cells && good; cell++)
		good = is_unknown(trial, cell) || judge_set_cell(trial, cell);
	for (uint32_t number = 1; number <= trial->volume->issued && good && !by_cell; number++)
		if (trial->volume->shown[number] == trial->volume->judgements)
			good = judge_group(trial, number);
	return good;
}

static bool judge_prefix(struct trial *trial)
{
	bool good = true;

	for (uint32_t cell = 0; cell < trial->volume->cells && good; cell++)
		good = is_unknown(trial, cell) || judge_prefix_cell(trial, cell);
	return good && judge_zeroes(trial);
}

struct verdict volume_judge(struct volume *volume, const uint8_t *image, const struct volume_question *question)
{
	struct trial trial = { .volume = volume, .image = image, .question = question };

	trial.verdict.low = question->low;
	trial.verdict.high = question->high;
	if (volume->issued == 0)
		remember_write(volume, 0, 0, 0); /* so that there is room for marks */
	trial.verdict.good = question->rule == VOLUME_PREFIX ? judge_prefix(&trial) : judge_sets(&trial);
	return trial.verdict;
}
