/* SPDX-License-Identifier: BSD-2-Clause */
/* save and help. */
#include "cli/commands.h"

#include "cli/config.h"

static int run_save(struct call *c, struct err *e)
{
	(void)e;
	config_save(c->out);
	return 0;
}

/* The server answers help before it parses; this row makes it known to completion and documents. */
static int run_help(struct call *c, struct err *e)
{
	(void)e;
	grammar_help("", c->out);
	return 0;
}

const struct command commands_misc[] = {
	{ "save FILE", "write the running configuration as commands; - writes it to the terminal", run_save, CMD_ALONE,
	  NULL, NULL },
	{ "help [WORD]...", "commands that begin with these words", run_help, 0, NULL, NULL },
	{ NULL, NULL, NULL, 0, NULL, NULL },
};
