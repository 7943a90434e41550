/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.c - stamps of sectors, and what may be where.
 */
#include "model.h"

#include <string.h>

#define WORDS (MODEL_SECTOR / 8)

static uint64_t word_of(uint32_t number, uint32_t sector, uint32_t i)
{
	return number == 0 ? 0 : (uint64_t)number << 32 | (uint64_t)sector << 16 | i;
}

static uint32_t begin(struct model *model, uint32_t first, uint32_t sectors, bool is_zero)
{
	uint32_t number = ++model->issued;

	model->first[number] = first;
	model->count[number] = sectors;
	model->is_zero[number] = is_zero;
	return number;
}

uint32_t model_begin(struct model *model, uint32_t first, uint32_t sectors, uint8_t *buf)
{
	uint32_t number = begin(model, first, sectors, false);

	for (uint32_t sector = first; sector < first + sectors; sector++) {
		for (uint32_t i = 0; i < WORDS; i++, buf += sizeof(uint64_t)) {
			uint64_t word = word_of(number, sector, i);

			memcpy(buf, &word, sizeof(word));
		}
	}
	return number;
}

uint32_t model_begin_zeroes(struct model *model, uint32_t first, uint32_t sectors)
{
	return begin(model, first, sectors, true);
}

void model_acknowledge(struct model *model, uint32_t number, uint32_t sectors, bool durable)
{
	for (uint32_t i = 0; i < sectors; i++) {
		model->shown[model->first[number] + i] = number;
		if (durable)
			model->durable[model->first[number] + i] = number;
	}
}

void model_refuse(struct model *model, uint32_t number, uint32_t sectors)
{
	model->count[number] = sectors;
}

void model_cut(struct model *model)
{
	memcpy(model->shown, model->durable, sizeof(model->shown));
}

void model_flushed(struct model *model)
{
	for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++)
		if (model->shown[sector] > model->loose)
			model->durable[sector] = model->shown[sector];
}

void model_loosen(struct model *model)
{
	model->loose = model->issued;
}

static bool is_of(const struct model *model, uint32_t sector, uint32_t number)
{
	return sector - model->first[number] < model->count[number]; /* also not before it: unsigned */
}

/* The newest write that may have given the sector its bytes. */
static uint32_t shown_by(const struct model *model, const uint8_t *bytes, uint32_t sector)
{
	uint64_t word;
	uint32_t number;

	memcpy(&word, bytes + (size_t)sector * MODEL_SECTOR, sizeof(word));
	number = (uint32_t)(word >> 32);
	if (number > 0)
		return number;
	number = model->issued;
	while (number > 0 && !(model->is_zero[number] && is_of(model, sector, number)))
		number--;
	return number;
}

static bool is_whole(const struct model *model, const uint8_t *bytes, uint32_t sector, uint32_t number)
{
	for (uint32_t i = 0; i < WORDS; i++) {
		uint64_t word = word_of(model->is_zero[number] ? 0 : number, sector, i);

		if (memcmp(bytes + (size_t)sector * MODEL_SECTOR + i * sizeof(word), &word, sizeof(word)) != 0)
			return false;
	}
	return true;
}

uint32_t model_check(const struct model *model, const uint8_t *bytes, bool after_power_cut)
{
	const uint32_t *least = after_power_cut ? model->durable : model->shown;
	uint32_t sector = 0;

	while (sector < MODEL_SECTORS) {
		uint32_t number = shown_by(model, bytes, sector);

		if (number > model->issued || number < least[sector] || !is_whole(model, bytes, sector, number))
			break;
		if (number > 0 && !is_of(model, sector, number))
			break;
		sector++;
	}
	return sector;
}

void model_settle(struct model *model, const uint8_t *bytes)
{
	for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++) {
		model->shown[sector] = shown_by(model, bytes, sector);
		model->durable[sector] = model->shown[sector];
	}
}
