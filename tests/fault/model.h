/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.h - what each sector of the volume may hold, when writes fail in the middle.
 *
 * Writes are numbered, and every sector names its write. A write that failed may be there or not, until a later one
 * to the sector was acknowledged, or until it was looked at after a crash: what was shown has to stay. Zeroes name none:
 * they may be of any write of zeroes, and count as the newest one.
 */
#ifndef PC_FAULT_MODEL_H
#define PC_FAULT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_SECTOR     512u
#define MODEL_SECTORS    192u
#define MODEL_BYTES      (MODEL_SECTOR * MODEL_SECTORS)
#define MODEL_WRITES_MAX 256u

struct model {
	uint32_t issued;                   /* writes are numbered from 1; 0 is what was there before, zeroes */
	uint32_t loose;                    /* up to here a flush makes nothing durable any more */
	uint32_t first[MODEL_WRITES_MAX];  /* sector, and how many */
	uint32_t count[MODEL_WRITES_MAX];
	bool is_zero[MODEL_WRITES_MAX];
	uint32_t shown[MODEL_SECTORS];     /* reads show this write or a later one */
	uint32_t durable[MODEL_SECTORS];   /* after a power cut they show this one or a later one */
};

/* The next write: its number, and its bytes, for `sectors` from `first`. */
uint32_t model_begin(struct model *model, uint32_t first, uint32_t sectors, uint8_t *buf);
uint32_t model_begin_zeroes(struct model *model, uint32_t first, uint32_t sectors);

/* So many sectors of it were acknowledged, the rest failed. */
void model_acknowledge(struct model *model, uint32_t number, uint32_t sectors, bool durable);

/* It failed, but for so many sectors, and its caller was told that it is as if it had never been made. */
void model_refuse(struct model *model, uint32_t number, uint32_t sectors);

/* Everything acknowledged is durable now. */
void model_flushed(struct model *model);

/* The caller was told that what is not durable now may never be. */
void model_loosen(struct model *model);

/* Is the volume as it may be? The number of the first sector that is not, or MODEL_SECTORS. */
uint32_t model_check(const struct model *model, const uint8_t *bytes, bool after_power_cut);

/* The power was cut: only what is durable has to be there. */
void model_cut(struct model *model);

/* After a crash: what is shown is from now on what has to be there. The bytes were checked. */
void model_settle(struct model *model, const uint8_t *bytes);

#endif
