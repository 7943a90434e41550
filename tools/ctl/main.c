/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcachectl: look at a cache, check it, move it along, and get out of every bad state.
 */
#include "ctl.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static int help(const struct ctl_command *command, int argc, char **argv);

const struct ctl_command ctl_commands[] = {
	{ "create", "CACHE --size SIZE --backing PATH", "make a new cache in front of a file or device",
	  "The cache file must not exist, or begin with 64 KiB of zeroes. All of its blocks are allocated.", ctl_create },
	{ "info", "CACHE", "what a cache is and what state it is in, open or not, sound or damaged",
	  "Reads the metadata and changes nothing. What is damaged is named; `check` tells more.", ctl_info },
	{ "stats", "CACHE", "the figures of an open cache, or the last ones of a closed one",
	  "Reads the page of statistics in the cache file; takes no lock, so it may be called at any time.", ctl_stats },
	{ "check", "CACHE", "hold a cache file against every rule of its format; changes nothing",
	  "Exit status: 0 sound; 1 blemishes, which the next open for writing puts right and which cost nothing; 4 damage;\n"
	  "2 it could not be checked. Not while a process has the cache open for writing.", ctl_check },
	{ "repair", "CACHE", "overwrite damaged copies of records with their good twins",
	  "Nothing else is changed. Exit status: 0 nothing to do; 1 all put right; 4 damage stays, and what to do is said;\n"
	  "2 it could not be done. May be interrupted at any time, and run again.", ctl_repair },
	{ "drain", "CACHE --backing PATH", "bring all that is dirty to the backing",
	  "Ctrl-C stops it between two batches; the same command goes on from there.", ctl_drain },
	{ "scrub", "CACHE --backing PATH", "compare all cached data with its checksums",
	  "Damaged data that is on the backing, too, is dropped. Exit status 4: some is nowhere else.", ctl_scrub },
	{ "grow", "CACHE --backing PATH [--size SIZE]", "use more room", "What is cached stays.", ctl_grow },
	{ "forget", "CACHE [--discard-dirty [--yes]]", "throw away what a cache holds",
	  "Without --discard-dirty it is refused while something is not on the backing.", ctl_forget },
	{ "export", "CACHE OUT --backing PATH [--salvage]", "write backing and cache, merged, to a new file",
	  "Neither of the two is changed. Exit status 4, with --salvage: not all of it is there.", ctl_export },
	{ "help", "[COMMAND]", "explain a command", "Without a command: the list of them.", help },
	{ 0 },
};

static void print_commands(FILE *stream)
{
	fprintf(stream, "usage: pcachectl COMMAND [OPTION...] ...\n\n");
	for (const struct ctl_command *command = ctl_commands; command->name != NULL; command++)
		fprintf(stream, "  %-8s %s\n", command->name, command->brief);
	fprintf(stream, "\n`pcachectl COMMAND --help` tells more. libpcache %s\n", pcache_version());
}

const struct ctl_command *ctl_find_command(const char *name)
{
	for (const struct ctl_command *command = ctl_commands; command->name != NULL; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

static int help(const struct ctl_command *command, int argc, char **argv)
{
	char option[] = "--help";
	const struct ctl_command *asked;

	(void)command;
	if (argc < 2) {
		print_commands(stdout);
		return CTL_OK;
	}
	asked = ctl_find_command(argv[1]);
	if (asked == NULL || asked->run == help) {
		print_commands(asked == NULL ? stderr : stdout);
		return asked == NULL ? ctl_fail(CTL_USAGE, "there is no command %s", argv[1]) : CTL_OK;
	}
	return asked->run(asked, 2, (char *[]){ argv[1], option, NULL });
}

int main(int argc, char **argv)
{
	const struct ctl_command *command;

	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		print_commands(stderr);
		return CTL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(NULL, 1, argv);
	if (strcmp(argv[1], "--version") == 0) {
		printf("pcachectl %s\n", pcache_version());
		return CTL_OK;
	}
	command = ctl_find_command(argv[1]);
	if (command == NULL)
		return ctl_fail(CTL_USAGE, "there is no command %s; `pcachectl help` lists them", argv[1]);
	return command->run(command, argc - 1, argv + 1);
}
