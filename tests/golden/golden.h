/* SPDX-License-Identifier: BSD-2-Clause */
/* Between golden.c (files, processes), golden_line.c (the words of a file) and golden_frame.c (frames sent and compared). */
#pragma once

#include <stdio.h>
#include <string.h>

#include "cli/pkttext.h"
#include "tests/support/box.h"

enum { OUT_MAX = 256, NAMES_MAX = 32 };

struct out_frame {
	struct port *port;
	uint32_t len;
	bool named; /* by an 'out' line */
	uint8_t data[BOX_FRAME_MAX];
};
/* Counters at some moment. */
struct counts {
	uint64_t drops[256], replayed, decided;
};

struct golden {
	const char *path;
	unsigned line; /* lines read before the current one */
	bool failed, opened, noreplay;
	FILE *out; /* what to print under the verdict */
	char *text;
	size_t text_size;
	struct box_limits limits;
	char *commands; /* of a transaction that is not complete yet */
	unsigned commands_line;
	struct mac gateway[PORTS_MAX]; /* last 'neigh' of a port */
	/* the last 'in' */
	bool has_in;
	struct port *in_port;
	uint8_t in[BOX_FRAME_MAX];
	uint32_t in_len;
	unsigned in_line;
	struct counts before;
	uint64_t in_replayed;
	uint64_t dropped[256]; /* named by 'drop' lines */
	bool named_none, named_held;
	unsigned n_out;
	struct out_frame frames[OUT_MAX];
	struct {
		char name[16], value[16];
	} names[NAMES_MAX];
	unsigned n_names;
	bool did_explain;
	char *explained; /* text of the last 'explain' */
};

__attribute__((format(printf, 2, 3))) void golden_fail(struct golden *g, const char *fmt, ...);
void golden_line(struct golden *g, char *line);
void golden_end(struct golden *g); /* last checks; closes the box */

/* golden_frame.c */
/* Words behind 'in', 'out'. */
void golden_in(struct golden *g, char *words);
void golden_out(struct golden *g, char *words);
void golden_again(struct golden *g);
void golden_flood(struct golden *g, unsigned n);
/* Before the next 'in' and at the end: was everything named? */
void golden_finish_in(struct golden *g);
void golden_collect(struct golden *g); /* frames that left go to g->frames */
void golden_counts(struct counts *c);
uint64_t golden_held(void); /* packets that wait now */
/* The next word of '*s', cut off; NULL at the end. */
char *golden_word(char **s);
struct port *golden_port(struct golden *g, const char *name);
