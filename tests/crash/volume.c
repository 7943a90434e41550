/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * volume.c - stamps and the prefix rule. Number 0 is the backing as it was: zeroes.
 */
#include "volume.h"

#include <stdlib.h>
#include <string.h>

#define CELL_WORDS (CELL_BYTES / 8)

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull; /* splitmix64, Steele et al., OOPSLA 2014 */
	value = (value ^ value >> 27) * 0x94d049bb133111ebull;
	return value ^ value >> 31;
}

static void stamp(uint32_t number, uint32_t cell, uint64_t *words)
{
	if (number == 0) {
		memset(words, 0, CELL_BYTES);
		return;
	}
	words[0] = number;
	for (uint64_t i = 1; i < CELL_WORDS; i++)
		words[i] = mix((uint64_t)number << 32 ^ (uint64_t)cell << 8 ^ i);
}

void volume_init(struct volume *volume, uint64_t bytes)
{
	*volume = (struct volume){ .bytes = bytes, .cells = (uint32_t)(bytes / CELL_BYTES) };
	volume->history = calloc(volume->cells, sizeof(*volume->history));
	if (volume->history == NULL)
		abort();
}

void volume_free(struct volume *volume)
{
	for (uint32_t cell = 0; cell < volume->cells; cell++)
		free(volume->history[cell].writes);
	free(volume->history);
	free(volume->writes);
	volume->history = NULL;
}

static void remember(struct cell_history *history, uint32_t number)
{
	if (history->count == history->room) {
		history->room = history->room * 2 + 4;
		history->writes = realloc(history->writes, history->room * sizeof(*history->writes));
		if (history->writes == NULL)
			abort();
	}
	history->writes[history->count++] = number;
}

static void remember_extent(struct volume *volume, uint32_t number, uint32_t first, uint32_t cells)
{
	if (number >= volume->writes_room) {
		volume->writes_room = volume->writes_room * 2 + 64;
		volume->writes = realloc(volume->writes, volume->writes_room * sizeof(*volume->writes));
		if (volume->writes == NULL)
			abort();
	}
	volume->writes[number] = (struct write_extent){ .first = first, .cells = cells };
}

uint32_t volume_begin(struct volume *volume, uint64_t off, uint64_t len, uint8_t *buf)
{
	uint32_t number = ++volume->issued;
	uint32_t first = (uint32_t)(off / CELL_BYTES);

	remember_extent(volume, number, first, (uint32_t)(len / CELL_BYTES));
	for (uint32_t i = 0; i < len / CELL_BYTES; i++) {
		uint64_t words[CELL_WORDS];

		stamp(number, first + i, words);
		memcpy(buf + (size_t)i * CELL_BYTES, words, CELL_BYTES);
		remember(&volume->history[first + i], number);
	}
	return number;
}

/* The write after `number` to this cell; 0 if there was none. False: no such write to this cell. */
static bool next_write(const struct cell_history *history, uint32_t number, uint32_t *ret_next)
{
	uint32_t i = 0;

	while (i < history->count && history->writes[i] < number)
		i++;
	if (number != 0) {
		if (i == history->count || history->writes[i] != number)
			return false;
		i++;
	}
	*ret_next = i < history->count ? history->writes[i] : 0;
	return true;
}

/* The number of the write that a cell names, and the one after it there. */
static bool read_cell(const struct volume *volume, const uint8_t *image, uint32_t cell, struct verdict *verdict,
		      uint32_t *ret_next)
{
	uint64_t read[CELL_WORDS];
	uint64_t expected[CELL_WORDS];

	memcpy(read, image + (size_t)cell * CELL_BYTES, CELL_BYTES);
	verdict->cell = cell;
	verdict->number = (uint32_t)read[0];
	verdict->why = "garbage";
	stamp(verdict->number, cell, expected);
	return memcmp(read, expected, CELL_BYTES) == 0 &&
	       next_write(&volume->history[cell], verdict->number, ret_next);
}

static bool judge_cell(const struct volume *volume, const uint8_t *image, uint32_t cell, struct verdict *verdict)
{
	uint32_t next;

	if (!read_cell(volume, image, cell, verdict, &next))
		return false;
	if (verdict->number > verdict->low)
		verdict->low = verdict->number;
	if (next != 0 && next - 1 < verdict->high)
		verdict->high = next - 1;
	verdict->why = "no moment at which the volume looked like this: an acknowledged write is lost, or order is broken";
	return verdict->low <= verdict->high;
}

struct verdict volume_judge(const struct volume *volume, const uint8_t *image, uint32_t low, uint32_t high)
{
	struct verdict verdict = { .low = low, .high = high };

	for (uint32_t cell = 0; cell < volume->cells; cell++)
		if (!judge_cell(volume, image, cell, &verdict))
			return verdict;
	verdict.good = true;
	return verdict;
}

static bool judge_epoch_cell(const struct volume *volume, const uint8_t *image, uint32_t cell, uint8_t *seen,
			     struct verdict *verdict)
{
	uint32_t next;

	if (!read_cell(volume, image, cell, verdict, &next))
		return false;
	verdict->why = "a flushed write is lost";
	if (next != 0 && next <= verdict->low)
		return false;
	verdict->why = "a write that was not issued yet";
	if (verdict->number > verdict->high)
		return false;
	if (verdict->number > verdict->low)
		seen[verdict->number - verdict->low] = 1;
	return true;
}

/* A write of which one cell is there is there with all its cells, but for those that a later one has. */
static bool judge_whole(const struct volume *volume, const uint8_t *image, uint32_t number, struct verdict *verdict)
{
	const struct write_extent *extent = &volume->writes[number];
	uint32_t next;

	verdict->why = "a write is there in part";
	for (uint32_t i = 0; i < extent->cells; i++)
		if (!read_cell(volume, image, extent->first + i, verdict, &next) || verdict->number < number)
			return false;
	return true;
}

struct verdict volume_judge_epoch(const struct volume *volume, const uint8_t *image, uint32_t low, uint32_t high)
{
	struct verdict verdict = { .low = low, .high = high };
	uint8_t *seen = calloc(1, high - low + 1);

	if (seen == NULL)
		abort();
	verdict.good = true;
	for (uint32_t cell = 0; cell < volume->cells && verdict.good; cell++)
		verdict.good = judge_epoch_cell(volume, image, cell, seen, &verdict);
	for (uint32_t number = low + 1; number <= high && verdict.good; number++)
		if (seen[number - low] != 0)
			verdict.good = judge_whole(volume, image, number, &verdict);
	free(seen);
	return verdict;
}
