/* SPDX-License-Identifier: BSD-2-Clause */
/* All commands: the lists of rows, and the rows made from kinds of objects, settings and tables. */
#include "cli/commands.h"

const struct command *const command_lists[] = { commands_misc, commands_explain, commands_proxy, commands_stream,
						NULL };

void commands_generate(void (*add)(const struct command *c))
{
	config_generate(add);
	show_generate(add);
}
