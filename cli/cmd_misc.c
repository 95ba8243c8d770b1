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

/* The server answers help before it parses; here it is known to completion and documents, and taken when it was abbreviated. */
static int run_help(struct call *c, struct err *e)
{
	char line[256] = "";
	size_t n = 0;

	(void)e;
	for (unsigned i = 0; i < c->p->n && n < sizeof(line); i++)
		if (c->p->arg[i].type)
			n += (size_t)snprintf(line + n, sizeof(line) - n, "%s ", c->p->arg[i].text);
	grammar_help(line, c->out);
	return 0;
}

const struct command commands_misc[] = {
	{ "save FILE", "write the running configuration as commands; - writes it to the terminal", run_save,
	  CMD_ALONE | CMD_WHOLE, NULL, NULL },
	{ "help [WORD]...", "commands that begin with these words", run_help, 0, NULL, NULL },
	{ NULL, NULL, NULL, 0, NULL, NULL },
};
