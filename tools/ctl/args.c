/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - options and words of a command, by getopt_long. The same table makes the help.
 */
#include "ctl.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24
#define HELP_CODE   1
#define FIRST_CODE  256 /* of getopt_long, for the first option of the table */

bool ctl_parse_number(const char *text, uint64_t *ret_number)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

bool ctl_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGTPE";
	const char *unit;
	double value;
	char *end;

	if (ctl_parse_number(text, ret_bytes))
		return true;
	if (text[0] < '0' || text[0] > '9')
		return false;
	value = strtod(text, &end);
	unit = *end == '\0' ? NULL : strchr(units, *end & ~0x20);
	if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0 && strcmp(end + 1, "i") != 0))
		return false;
	value = ldexp(value, 10 * (int)(unit - units + 1));
	if (value >= 18446744073709551616.0 || value != floor(value))
		return false;
	*ret_bytes = (uint64_t)value;
	return true;
}

static void print_help(const struct ctl_command *command, const struct ctl_option *options, size_t count)
{
	printf("usage: pcachectl %s %s\n\n%s.\n\n%s\n\n", command->name, command->usage, command->brief, command->text);
	for (size_t i = 0; i < count; i++) {
		char word[64];

		snprintf(word, sizeof(word), "--%s%s%s", options[i].name, options[i].meta == NULL ? "" : " ",
			 options[i].meta == NULL ? "" : options[i].meta);
		printf("  %-22s %s\n", word, options[i].help);
	}
	printf("  %-22s %s\n", "--help", "print this");
}

static int set(const struct ctl_command *command, const struct ctl_option *option, const char *text)
{
	switch (option->kind) {
	case CTL_FLAG:
		*(bool *)option->value = true;
		return CTL_GO;
	case CTL_TEXT:
		*(const char **)option->value = text;
		return CTL_GO;
	case CTL_SIZE:
		if (ctl_parse_size(text, option->value))
			return CTL_GO;
		return ctl_fail(CTL_USAGE, "%s: --%s %s: no size; write bytes, or a number with K, M, G or T", command->name,
				option->name, text);
	case CTL_NUMBER:
		if (ctl_parse_number(text, option->value))
			return CTL_GO;
		return ctl_fail(CTL_USAGE, "%s: --%s %s: no whole number", command->name, option->name, text);
	}
	return CTL_USAGE;
}

static int read_options(const struct ctl_command *command, int argc, char **argv, const struct ctl_option *options,
			size_t count)
{
	struct option table[OPTIONS_MAX + 2] = { 0 };
	int status = CTL_GO;
	int code;

	for (size_t i = 0; i < count; i++)
		table[i] = (struct option){ options[i].name, options[i].kind != CTL_FLAG, NULL, FIRST_CODE + (int)i };
	table[count] = (struct option){ "help", no_argument, NULL, HELP_CODE };
	optind = 0;
	opterr = 0;
	while (status == CTL_GO && (code = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		if (code == HELP_CODE || code == 'h') {
			print_help(command, options, count);
			return CTL_OK;
		}
		if (code < FIRST_CODE)
			return ctl_fail(CTL_USAGE, "%s: %s: no such option, or its argument is missing; try `pcachectl %s --help`",
					command->name, argv[optind - 1], command->name);
		status = set(command, &options[code - FIRST_CODE], optarg);
	}
	return status;
}

int ctl_parse(const struct ctl_command *command, int argc, char **argv, const struct ctl_option *options, size_t count,
	      int words_min, int words_max)
{
	int status = count > OPTIONS_MAX ? CTL_USAGE : read_options(command, argc, argv, options, count);
	int words = argc - optind;

	if (status == CTL_GO && (words < words_min || words > words_max))
		return ctl_fail(CTL_USAGE, "usage: pcachectl %s %s", command->name, command->usage);
	return status;
}
