/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled patterns: grammar_compile.c makes them, grammar.c walks them. Control thread; they live as long as the
 * process. */
#pragma once

#include "cli/grammar.h"

enum node_type { NODE_WORD, NODE_ARG, NODE_SEQ, NODE_CHOICE, NODE_GROUP };
enum { GROUP_MAX = 32 };

struct node {
	uint8_t type;
	bool repeat, required; /* members of a group */
	bool silent;           /* keyword that only labels the argument behind it */
	const char *label, *text;
	const struct arg_type *arg;
	const char *fields; /* of FIELD=VALUE; may be NULL */
	uint64_t lo, hi;
	const char *unit; /* of a number, "" none */
	struct node *child, *next;
};

/* Aborts on a malformed pattern: patterns are our own text. */
struct node *pattern_compile(const char *pattern);
