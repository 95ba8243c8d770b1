/* SPDX-License-Identifier: BSD-2-Clause */
/* Linked into the golden program it runs every file over DPDK ports: 'add port NAME mem' becomes a net_ring device. The gate
 * stays in memory. */
#include <stdlib.h>

#include "tests/dpdk/wire.h"
#include "tests/support/box.h"

enum { RING = 4096 };

/* 'commands' with other ports; the caller frees it. */
static char *translate(const char *commands, struct err *e)
{
	char *text = NULL, name[PORT_NAME_MAX], copy[4096];
	size_t size;
	FILE *f = open_memstream(&text, &size);
	while (*commands) {
		const int n = (int)strcspn(commands, "\n");
		int at = 0;
		snprintf(copy, sizeof(copy), "%.*s", n, commands);
		commands += n + (commands[n] != 0);
		if (sscanf(copy, " add port %15s mem%n", name, &at) == 1 && at) {
			if (wire_make(name, RING, e)) {
				fclose(f);
				free(text);
				return NULL;
			}
			fprintf(f, "add port %s dpdk net_ring_%s%s\n", name, name, copy + at);
		} else {
			fprintf(f, "%s\n", copy);
		}
	}
	fclose(f);
	return text;
}

static int put(struct port *p, const void *frame, uint32_t len)
{
	return wire_put(p->conf.name, frame, len, 0, 0);
}

static uint32_t take(struct port *p, void *buf)
{
	return wire_take(p->conf.name, buf, BOX_FRAME_MAX);
}

static const struct box_wire wire = { .kind = "dpdk", .translate = translate, .put = put, .take = take };

__attribute__((constructor)) static void connect_wire(void)
{
	box_wire = &wire;
}
