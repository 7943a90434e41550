/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * minimise.c - makes a failure smaller: leaves out operations, shrinks the geometry, keeps fewer pending lines. What
 * still fails in the same way is taken.
 */
#include "explorer.h"

#include <string.h>

struct search {
	const struct explorer_options *options;
	struct explorer_failure *best;
	unsigned runs_left;
	bool no_state; /* the run alone, without any crash state */
};

/* The first words of a failure say where it was found. */
static bool is_same_kind(const struct explorer_failure *a, const struct explorer_failure *b)
{
	const char *end = strchr(a->what, ':');
	size_t len = end == NULL ? strlen(a->what) : (size_t)(end - a->what);

	return a->mode == b->mode && strncmp(a->what, b->what, len) == 0;
}

/* Run it like this; a failure of the same kind becomes the best one. */
static bool try(struct search *search, uint64_t operations, unsigned geometry, uint64_t lines, bool one_state)
{
	struct explorer_failure failure = { 0 };
	struct explorer_options options = *search->options;
	struct explorer_counts counts = { 0 };

	if (search->runs_left == 0)
		return false;
	search->runs_left--;
	options.quiet = true;
	options.ret_failure = &failure;
	options.keep_operations = operations;
	options.small_geometry = geometry;
	options.keep_lines = lines;
	options.only_point = one_state ? search->best->id.point : UINT64_MAX;
	options.only_state = search->no_state ? UINT32_MAX : search->best->id.state;
	if (explorer_run(search->best->id.seed, &options, &counts) || !is_same_kind(search->best, &failure))
		return false;
	*search->best = failure;
	return true;
}

/* Leave out runs of operations, ever shorter ones. */
static void fewer_operations(struct search *search)
{
	if (search->best->id.operations == 0)
		search->best->id.operations = UINT64_MAX;
	for (unsigned width = 32; width > 0; width /= 2) {
		uint64_t mask = (1ull << width) - 1;

		for (unsigned at = 0; at < 64; at += width) {
			uint64_t kept = search->best->id.operations & ~(mask << at);

			if (kept != search->best->id.operations && kept != 0)
				try(search, kept, search->best->id.geometry, 0, false);
		}
	}
}

static void smaller_geometry(struct search *search)
{
	for (unsigned bit = 1; bit <= EXPLORER_SMALL_VOLUME; bit *= 2)
		try(search, search->best->id.operations, search->best->id.geometry | bit, 0, false);
}

/* Of the one state: pending units that need not survive. */
static void fewer_lines(struct search *search)
{
	uint64_t lines = UINT64_MAX;

	for (unsigned width = 32; width > 0; width /= 2) {
		uint64_t mask = (1ull << width) - 1;

		for (unsigned at = 0; at < 64; at += width) {
			uint64_t kept = lines & ~(mask << at);

			if (kept != lines && kept != 0 &&
			    try(search, search->best->id.operations, search->best->id.geometry, kept, true))
				lines = kept;
		}
	}
}

/* Unless the workload fails by itself: then it was not the state. */
static void fewer_lines_of_state(struct search *search)
{
	struct explorer_failure failure = *search->best;

	search->no_state = true;
	if (try(search, failure.id.operations, failure.id.geometry, 0, true)) {
		*search->best = failure;
		return;
	}
	search->no_state = false;
	fewer_lines(search);
}

void explorer_minimise(const struct explorer_options *options, unsigned runs, struct explorer_failure *failure)
{
	struct search search = { .options = options, .best = failure, .runs_left = runs };

	fewer_operations(&search);
	smaller_geometry(&search);
	fewer_operations(&search);
	if (failure->mode == MODE_POWER || failure->mode >= MODE_CREATE)
		fewer_lines_of_state(&search);
}
