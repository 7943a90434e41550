/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - the command lines of the test programs, and PC_TEST_SCALE: a percentage of the usual rounds.
 */
#ifndef PC_TEST_OPTIONS_H
#define PC_TEST_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TEST_OPTIONS_MAX 16

/* --name, or --name VALUE: one of the pointers is set, and says where it goes and what it is. */
struct test_option {
	const char *name;
	bool *flag;
	uint64_t *number;
	unsigned *small;
	double *seconds;
	const char **text;
	bool (*take)(const char *text, void *arg);
	uint64_t unit; /* of a number; 0: 1 */
};

static inline bool test_option_number(const char *text, uint64_t *ret_number)
{
	char *end;
	uint64_t number = strtoull(text, &end, 0);

	if (end == text || *end != '\0') {
		fprintf(stderr, "not a number: %s\n", text);
		return false;
	}
	*ret_number = number;
	return true;
}

static inline bool test_option_take(const struct test_option *option, const char *text, void *arg)
{
	uint64_t number = 0;

	if (option->flag != NULL)
		return *option->flag = true;
	if (option->text != NULL)
		return *option->text = text, true;
	if (option->seconds != NULL)
		return *option->seconds = atof(text), true;
	if (option->take != NULL)
		return option->take(text, arg);
	if (!test_option_number(text, &number))
		return false;
	if (option->number != NULL)
		*option->number = number * (option->unit == 0 ? 1 : option->unit);
	else
		*option->small = (unsigned)number;
	return true;
}

/* The last entry of the table has no name. False: a mistake, which was named. What follows the options is at optind. */
static inline bool test_options(int argc, char **argv, const struct test_option *table, void *arg)
{
	struct option known[TEST_OPTIONS_MAX + 1] = { 0 };
	int index;

	for (unsigned i = 0; i < TEST_OPTIONS_MAX && table[i].name != NULL; i++) {
		known[i].name = table[i].name;
		known[i].has_arg = table[i].flag != NULL ? no_argument : required_argument;
	}
	for (;;) {
		int found = getopt_long(argc, argv, "", known, &index);

		if (found == -1)
			return true;
		if (found != 0 || !test_option_take(&table[index], optarg, arg))
			return false;
	}
}

/* 1 where nothing is set. */
static inline double test_scale(void)
{
	const char *percent = getenv("PC_TEST_SCALE");

	return percent == NULL ? 1.0 : atof(percent) / 100.0;
}

/* At least 1. */
static inline uint64_t test_scaled(uint64_t count)
{
	double scaled = (double)count * test_scale();

	return scaled < 1.0 ? 1 : (uint64_t)scaled;
}

#endif
