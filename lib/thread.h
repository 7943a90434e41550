/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.h - threads of the library: no signal of the application is ever handled on one of them.
 */
#ifndef PC_THREAD_H
#define PC_THREAD_H

#include <pthread.h>

/* As pthread_create(); negative errno. */
int pc_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *arg);

#endif
