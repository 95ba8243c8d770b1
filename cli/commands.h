/* SPDX-License-Identifier: BSD-2-Clause */
/* The lists of rows, one a cmd_*.c file, and the makers of rows. Add yours here and in commands.c. */
#pragma once

#include "cli/grammar.h"

extern const struct command commands_misc[], commands_explain[], commands_proxy[], commands_stream[];

void config_generate(void (*add)(const struct command *c)); /* add, set, del */
void show_generate(void (*add)(const struct command *c));   /* show and count, by table */

/* ---- one request (execute.c); the server, tests ---- */
/* One line of any kind. 0 or -errno; the text to show goes to 'out'. */
int cli_execute(const char *line, bool json, FILE *out, struct err *e);
/* A batch: its configuration commands as one transaction, then its other commands in order. 'text' is cut into lines.
 * */
int cli_batch(const char *name, char *text, bool json, FILE *out, struct err *e);
