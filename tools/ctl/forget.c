/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * forget.c - throw away what a cache holds; what is nowhere else only after a question.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is lost, in words. */
static int tell_loss(const char *path, bool *ret_any)
{
	char text[CTL_HUMAN_BYTES];
	struct ctl_check check;
	struct image image;
	int status = image_open(path, true, &image);

	if (status != CTL_OK)
		return status;
	status = ctl_check_image(&image, false, &check);
	*ret_any = check.content.dirty_bytes != 0 || check.damages != 0;
	if (status == CTL_OK && check.content.dirty_bytes != 0)
		ctl_say("%s: %s of writes are not on the backing, and will be lost", path,
			ctl_human(CTL_TYPE_BYTES, check.content.dirty_bytes, text));
	if (status == CTL_OK && check.damages != 0)
		ctl_say("%s: the cache is damaged: it may hold more that is not on the backing, and will be lost", path);
	ctl_check_free(&check);
	image_close(&image);
	return status;
}

static int ask(void)
{
	char answer[16];

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return ctl_fail(CTL_FAILED, "nothing was changed: nobody can be asked here; --yes answers beforehand");
	fprintf(stderr, "Type yes to lose it: ");
	if (fgets(answer, sizeof(answer), stdin) == NULL || strcmp(answer, "yes\n") != 0)
		return ctl_fail(CTL_FAILED, "nothing was changed; `pcachectl drain` would bring it to the backing");
	return CTL_OK;
}

int ctl_forget(const struct ctl_command *command, int argc, char **argv)
{
	bool discard = false;
	bool yes = false;
	const struct ctl_option options[] = {
		{ "discard-dirty", CTL_FLAG, &discard, NULL, "also what is not on the backing; asks first" },
		{ "yes", CTL_FLAG, &yes, NULL, "do not ask" },
	};
	int status = ctl_parse(command, argc, argv, options, CTL_ARRAY_SIZE(options), 1, 1);
	struct pcache_config config;
	bool any = false;
	int error;

	if (status != CTL_GO)
		return status;
	status = tell_loss(argv[optind], &any);
	if (status == CTL_OK && any && discard && !yes)
		status = ask();
	if (status != CTL_OK)
		return status;
	pcache_config_init(&config);
	config.flags = discard ? PCACHE_OPEN_DISCARD_DIRTY : 0;
	config.log = ctl_log;
	config.log_arg = argv[optind];
	error = pcache_forget(argv[optind], &config);
	if (error < 0)
		return ctl_refused(argv[optind], error);
	printf("%s: empty\n", argv[optind]);
	return CTL_OK;
}
