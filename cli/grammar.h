/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar: every command is one row; from the rows come parsing, error texts, help and completion.
 *
 * A pattern is what 'help' prints:
 *	word	    stands for itself			 NAME	    a typed argument (cli/args.c lists the types)
 *	N:1-64s	    a number, its range and unit	 (a|b|c)    one of these sequences
 *	[x y]	    optional, once; [x y]... repeated	 ~	    not printed
 * From the first '[' or '~' of a sequence on, its members may come in any order; those without brackets must be there.
 * An argument is labelled with the keyword in front of it, else with its type's name in lower case.
 * [x none|ARG]: an option that a value cannot make absent; 'none' does (arg_is_none), so that 'set' can take it back.
 * The choice is made by the first word of each alternative, never by trying further (LL(1)). */
#pragma once

#include <stdio.h>

#include "fwd/base/err.h"
#include "fwd/base/net.h"

enum { WORDS_MAX = 256, ARGS_MAX = 128 };

struct words {
	unsigned n;
	char *w[WORDS_MAX];
	char buf[16 * 1024];
};
/* Splits at blanks; "..." keeps blanks, \ inside quotes takes the next character; # at the start of a word ends the
 * line. */
int words_split(const char *line, struct words *w, struct err *e);
/* Writes 's' so that words_split gives it back as one word. */
void word_print(FILE *f, const char *s);

struct arg_type;
struct arg {
	const char *label;
	const struct arg_type *type; /* NULL: a keyword, label is it */
	const char *text;            /* as typed */
	union {
		uint64_t n;
		struct ipaddr ip;
		struct ipnet net;
		struct mac mac;
		struct {
			uint16_t lo, hi;
		} range;
		struct {
			struct ipaddr ip;
			uint16_t port;
			uint8_t proto; /* 0: none given */
		} service;
		struct {
			char *field;
			const char *value; /* in words, behind '=' */
		} filter;
	};
};
struct parse {
	const struct command *cmd;
	unsigned n;
	struct arg arg[ARGS_MAX];
};

struct config_tx;
struct call {
	const struct parse *p;
	bool json;
	FILE *out;            /* the reply's text */
	struct config_tx *tx; /* configuration commands: the open transaction */
};

enum command_flag {
	CMD_CONFIG = 1, /* changes the model: allowed in files, runs inside a transaction */
	CMD_ALONE = 2,  /* not in a batch */
	CMD_HIDDEN = 4, /* not in help */
	CMD_WHOLE = 8,  /* sluicectl looks for its first word, which is therefore not abbreviated */
};
struct command {
	const char *pattern, *help;
	/* 0 or -errno with a sentence in 'e'. */
	int (*run)(struct call *c, struct err *e);
	unsigned flags;
	const void *aux;    /* for run */
	const char *fields; /* that FIELD=VALUE takes, for TAB; as columns of show.def */
};
/* Lists of rows, each ended by a NULL pattern: the one place to add a cmd_*.c file (cli/commands.c). */
extern const struct command *const command_lists[];
/* Rows made from other rows (config kinds, settings, tables): calls add() for each; strings are copied. */
void commands_generate(void (*add)(const struct command *c));

/* Compiles all rows; aborts on a malformed pattern (unit test). Further calls do nothing. */
void grammar_init(void);
/* Words that are the beginning of the only keyword possible there become it. For what is typed; files say words in full. True: some did.
 * The command in it then takes the line, or it is as wrong as before. */
bool grammar_expand(struct words *w);
/* The command in 'w'; 'w' must outlive 'p'. -EINVAL and what was expected where. w->n > 0. */
int grammar_parse(const struct words *w, struct parse *p, struct err *e);
/* Commands whose words begin with those of 'line'; when there are none, those whose words begin so letter by letter. */
void grammar_help(const char *line, FILE *out);
/* What may follow: candidates for the last, unfinished word (empty after a blank), one per line; <...> describes an
 * argument. */
void grammar_complete(const char *line, FILE *out);
/* Walks all rows, for documents. NULL at the end. */
const struct command *grammar_row(unsigned i);

/* First argument or keyword with this label, NULL if absent. */
const struct arg *parse_arg(const struct parse *p, const char *label);
INLINE bool parse_has(const struct parse *p, const char *label)
{
	return parse_arg(p, label) != NULL;
}

INLINE bool arg_is_none(const struct arg *a)
{
	return !a->type && !strcmp(a->text, "none");
}

/* ---- argument types (args.c) ---- */
struct arg_type {
	const char *name; /* in patterns */
	const char *text; /* "an IPv4 address" */
	bool (*parse)(char *s, struct arg *a);
	/* Writes names that exist, one per line; may be NULL. */
	void (*complete)(FILE *out);
};
const struct arg_type *arg_type_by_name(const char *name, size_t len);
bool arg_parse_u64(const char *s, uint64_t *v);
/* "5m" for a number of "s": with a larger unit of the same kind, or its own. */
bool arg_parse_unit(const char *s, const char *unit, uint64_t *v);
