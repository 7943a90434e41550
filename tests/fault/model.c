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

void model_begin(struct model *model, uint32_t first, uint32_t sectors, uint8_t *buf)
{
	uint32_t number = ++model->issued;

	model->first[number] = first;
	model->count[number] = sectors;
	for (uint32_t sector = first; sector < first + sectors; sector++) {
		for (uint32_t i = 0; i < WORDS; i++, buf += sizeof(uint64_t)) {
			uint64_t word = word_of(number, sector, i);

			memcpy(buf, &word, sizeof(word));
		}
	}
}

void model_acknowledge(struct model *model, uint32_t sectors, bool durable)
{
	uint32_t number = model->issued;

	for (uint32_t i = 0; i < sectors; i++) {
		model->shown[model->first[number] + i] = number;
		if (durable)
			model->durable[model->first[number] + i] = number;
	}
}

void model_refuse(struct model *model, uint32_t sectors)
{
	model->count[model->issued] = sectors;
}

void model_cut(struct model *model)
{
	memcpy(model->shown, model->durable, sizeof(model->shown));
}

void model_flushed(struct model *model)
{
	memcpy(model->durable, model->shown, sizeof(model->durable));
}

uint32_t model_shown(const uint8_t *bytes, uint32_t sector)
{
	uint64_t word;

	memcpy(&word, bytes + (size_t)sector * MODEL_SECTOR, sizeof(word));
	return (uint32_t)(word >> 32);
}

static bool is_whole(const uint8_t *bytes, uint32_t sector, uint32_t number)
{
	for (uint32_t i = 0; i < WORDS; i++) {
		uint64_t word = word_of(number, sector, i);

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
		uint32_t number = model_shown(bytes, sector);

		if (number > model->issued || number < least[sector] || !is_whole(bytes, sector, number))
			break;
		if (number > 0 && sector - model->first[number] >= model->count[number])
			break;
		sector++;
	}
	return sector;
}

void model_settle(struct model *model, const uint8_t *bytes)
{
	for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++) {
		model->shown[sector] = model_shown(bytes, sector);
		model->durable[sector] = model->shown[sector];
	}
}
