/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runner.h - the main of every Check program: TAP on standard output and nothing else there.
 */
#ifndef PC_RUNNER_H
#define PC_RUNNER_H

#include <check.h>

static inline int pc_run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

#endif
