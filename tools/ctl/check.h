/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - all that is wrong with a cache file.
 */
#ifndef CTL_CHECK_H
#define CTL_CHECK_H

#include "image.h"
#include "table.h"

struct ctl_check {
	struct ctl_table *findings;
	uint64_t blemishes; /* nothing is lost: the next open for writing puts it right */
	uint64_t damages;
	uint64_t torn_lines;
	struct image_content content;
};

/* CTL_OK, also where much was found; CTL_FAILED after a message. */
int ctl_check_image(struct image *image, bool data, struct ctl_check *ret_check);
void ctl_check_free(struct ctl_check *check);

static inline int ctl_check_status(const struct ctl_check *check)
{
	return check->damages != 0 ? CTL_DAMAGED : check->blemishes != 0 ? CTL_FAILED : CTL_OK;
}

#endif
