/* SPDX-License-Identifier: BSD-2-Clause */
/* save, help, and the commands whose code is not in this version: they are refused, never accepted in silence. */
#include "cli/commands.h"

#include <errno.h>

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
	  NULL },
	{ "help [WORD]...", "commands that begin with these words", run_help, 0, NULL },
	{ NULL, NULL, NULL, 0, NULL },
};

static int run_missing(struct call *c, struct err *e)
{
	return err_set(e, -EOPNOTSUPP,
		       "services are not in this version: '%s service' and '%s backend' come with load balancing",
		       c->p->arg[0].label, c->p->arg[0].label);
}

#define SERVICE_OPTIONS                                                                                                \
	"[algorithm maglev|random|wrr|leastconn|source] [affinity N:0-4294967295] [source-range PREFIX]..."
#define BACKEND_OPTIONS "[weight N:0-65535] [state active|draining|down|maintenance]"
const struct command commands_service[] = {
	{ "add service VIP " SERVICE_OPTIONS, "a service (not in this version)", run_missing, CMD_CONFIG, NULL },
	{ "set service VIP " SERVICE_OPTIONS, "change a service (not in this version)", run_missing, CMD_CONFIG, NULL },
	{ "del service VIP", "delete a service (not in this version)", run_missing, CMD_CONFIG, NULL },
	{ "add backend VIP ADDR:PORT " BACKEND_OPTIONS, "a backend of a service (not in this version)", run_missing,
	  CMD_CONFIG, NULL },
	{ "set backend VIP ADDR:PORT " BACKEND_OPTIONS, "change a backend (not in this version)", run_missing,
	  CMD_CONFIG, NULL },
	{ "del backend VIP ADDR:PORT", "delete a backend (not in this version)", run_missing, CMD_CONFIG, NULL },
	{ NULL, NULL, NULL, 0, NULL },
};
