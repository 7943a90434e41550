/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutants.h - the planted bugs that weave.py has put into the copies of the library's sources.
 */
#ifndef PC_MUTANTS_H
#define PC_MUTANTS_H

#include <stdbool.h>

struct mutant {
	const char *name;
	const char *what;  /* what it breaks, or what is different */
	const char *modes; /* kinds of crash states, with blanks between; empty: all */
	unsigned seed;     /* the first one to try */
	bool is_harmless;
};

extern const struct mutant mutants[]; /* number 1 first */
extern const unsigned mutant_count;

extern int pc_mutant; /* the one at work; 0: none */

/* Others may run here. */
void pc_mutant_pause(void);

#endif
