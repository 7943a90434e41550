/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * content.h - what --verify puts into blocks and expects there. Each block says which one it is, and how often it has
 * been written.
 */
#ifndef PCACHE_TRACE_CONTENT_H
#define PCACHE_TRACE_CONTENT_H

#include "trace.h"

/* Version 0 is what the backing has from the start. */
void trace_content_fill(uint8_t *content, uint64_t block, uint32_t version);

bool trace_content_is(const uint8_t *content, uint64_t block, uint32_t version);

/* Says in words what is there. */
void trace_content_describe(const uint8_t *content, char *text, size_t text_bytes);

#endif
