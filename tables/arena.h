/* SPDX-License-Identifier: BSD-2-Clause */
/* Arenas: the memory of a table, one file per table under the instance's state directory (hugetlbfs or tmpfs), so that it
 * outlives the process; without a directory, anonymous memory (tests, bench).
 *
 * A process never writes into what another one left: it moves that directory aside, builds its own and reads the former
 * one (tables/former.h). So a crash in the middle of adoption costs nothing, damaged bytes stay data, and a capacity may
 * change. Header: magic, layout hash (of the row: name, sizes), capacity, the boot it belongs to. */
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

/* Directory for arena files of this process, made anew (mode 0700); what is there is moved to DIR.former. NULL (default):
 * anonymous memory. Before the first table is opened. Nothing of another user's is believed: -EPERM for the directory. */
int arena_set_dir(const char *dir, struct err *e);
/* Zeroed memory, lazily backed; huge pages when the kernel has some (MAP_HUGETLB for anonymous, else THP advice).
 * 'name' NULL: anonymous in any case (indices, which are rebuilt). */
int arena_open(struct arena *a, const char *name, uint64_t layout, uint64_t capacity, size_t size, struct err *e);
/* Backs all of it at once, where the kernel can: no page fault later. */
void arena_populate(struct arena *a);
void arena_close(struct arena *a); /* unmaps; the file stays. NULL-safe, twice-safe */
/* Removes the files of this directory, and it: a clean stop. The former one stays unless arena_former_done() was called. */
void arena_remove_all(void);

/* ---- what the former process left: control thread, at start ---- */
struct arena_file {
	int fd;
	uint64_t capacity, size; /* of the data; checked against the file's length */
};
/* Is there a former directory? Counts an attempt: the third that does not come to arena_former_done() finds nothing, so
 * that state which kills its reader does not do so for ever. */
bool arena_former_begin(void);
/* -ENOENT: there is no such file. -EINVAL: of another layout, boot or user, or damaged; arena_reason() says which. */
int arena_former_open(const char *name, uint64_t layout, struct arena_file *f);
/* Reads, never maps: a file that is shorter than it says gives false and no SIGBUS. */
bool arena_former_read(const struct arena_file *f, uint64_t offset, void *buf, size_t len);
/* This process' own arenas hold everything now: the former directory goes, in one step. */
void arena_former_done(void);
/* Does this system give shared memory small pages only? Arenas ask for large ones, which saves a replayed packet 10 to 20
 * cycles (TLB misses). */
bool arena_small_pages(void);
/* Why files could not be taken over or will not outlive the process ("" if all is well). */
const char *arena_reason(void);
