/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.h - threads of the library: no signal of the application is ever handled on one of them.
 */
#ifndef PC_THREAD_H
#define PC_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* As pthread_create(); negative errno. */
int pc_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *arg);

/*
 * each(arg, i) for every i under `count`, on at most `threads` threads, the caller's one of them; those that cannot be
 * started make it slower, not wrong. After an error no more are begun. 0, or the first error.
 */
int pc_thread_each(uint32_t threads, uint32_t count, int (*each)(void *arg, uint32_t i), void *arg);

#endif
