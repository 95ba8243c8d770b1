/* SPDX-License-Identifier: BSD-2-Clause */
/* Arenas: the memory of a table, one file per table under the instance's state directory (hugetlbfs or tmpfs), so that it
 * outlives the process; without a directory, anonymous memory (tests, bench).
 *
 * Header: magic, layout hash (of the row: name, sizes), capacity. Another hash or size: the file is replaced and the
 * reason is kept for 'show version'. Adoption of the contents is a later step; today every open starts empty, but the
 * layout is final: names are indices, no pointers, no locks inside. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/util.h"

struct arena {
	void *base;  /* of the data, page aligned */
	size_t size; /* of the data */
	void *map;   /* header + data */
	size_t map_size;
	int fd; /* -1: anonymous */
};

/* Directory for arena files of this process, created when missing (mode 0700); NULL (default): anonymous memory.
 * Before the first table is opened. */
int arena_set_dir(const char *dir, struct err *e);
/* Zeroed memory, lazily backed; huge pages when the kernel has some (MAP_HUGETLB for anonymous, else THP advice).
 * 'name' NULL: anonymous in any case (indices, which are rebuilt). */
int arena_open(struct arena *a, const char *name, uint64_t layout, uint64_t capacity, size_t size, struct err *e);
void arena_close(struct arena *a); /* unmaps; the file stays. NULL-safe, twice-safe */
/* Why the last file found could not be taken over ("" if none): for 'show version'. */
const char *arena_reason(void);
/* Removes the files of this directory, and it: a clean stop. */
void arena_remove_all(void);
