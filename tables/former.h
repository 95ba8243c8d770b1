/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading what a former process left in an arena (tables/arena.h), entry by entry. Control thread, at start.
 *
 * Everything read is a claim: the reader checks it and makes an entry of its own of it by the functions that workers use. So
 * this is the whole of adoption at the level of pools: the free lists, the index and all reference counts come by themselves.
 * Entries are read in windows: only the pages that hold LIVE entries are touched. */
#pragma once

#include "tables/table.h"

enum { FORMER_WINDOW = 256 };

struct former {
	struct arena_file file; /* fd -1: nothing to read */
	uint32_t entry_size, capacity;
	uint8_t *state;  /* a pool's, copied; NULL: array */
	uint8_t *window; /* entries from 'first' on */
	uint64_t first;  /* UINT64_MAX: none read yet */
};

/* The pool opened under this name by pool_open() or table_open(). -ENOENT, -EINVAL (see arena_reason()), -ENOMEM. On failure
 * the walk is empty, and nothing has to be closed. */
int former_open_pool(struct former *f, const char *name, uint32_t entry_size);
/* An arena of its own beside a pool of 'capacity' entries: entry i is 'entry_size' bytes at i * entry_size. */
int former_open_array(struct former *f, const char *name, uint64_t layout, uint32_t entry_size, uint32_t capacity);
void former_close(struct former *f);
/* Walk of LIVE entries, in index order: for (i = former_next(f, 0); i; i = former_next(f, i)). BUSY and DEAD ones were being
 * made or deleted: as good as free. */
uint32_t former_next(const struct former *f, uint32_t after);
/* Is it an index of the pool, and LIVE? For indices found in other entries. */
bool former_is_live(const struct former *f, uint32_t i);
/* Entry 'i', aligned to 8; NULL when it cannot be read. Good until an entry of another window (i / FORMER_WINDOW) is read. */
const void *former_at(struct former *f, uint32_t i);
