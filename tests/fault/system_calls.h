/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * system_calls.h - what a failing wait for completions returns: -EINTR, or an error that ends them all.
 */
#ifndef PC_FAULT_SYSTEM_CALLS_H
#define PC_FAULT_SYSTEM_CALLS_H

void system_calls_set_reap_error(int error);

#endif
