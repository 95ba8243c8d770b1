/* SPDX-License-Identifier: BSD-2-Clause */
/* What 'show' and 'count' know: one row a name. Functions write rows to 'o' and stop early when out_full(o). Control
 * thread, RCU online; tables may change meanwhile, an entry is read once. */
#pragma once

#include "fwd/base/out.h"

struct show_table {
	const char *name, *help;
	void (*rows)(struct out *o);
	uint64_t (*count)(void); /* NULL: no 'count' */
	const char *columns;     /* for out_declare() */
};
extern const struct show_table show_tables[]; /* the rows of show.def; ends with a NULL name */

/* cmd_show_tables.c */
void show_ct(struct out *o);
void show_nat(struct out *o);
void show_blocks(struct out *o);
void show_neighbor(struct out *o);
void show_endpoints(struct out *o);
void show_ipcache(struct out *o);
void show_policy(struct out *o);
void show_tunnel(struct out *o);
void show_ipmasq(struct out *o);
void show_frag(struct out *o);
/* cmd_proxy.c */
void show_proxy(struct out *o);
/* cmd_show_services.c */
void show_lb(struct out *o);
void show_services(struct out *o);
void show_probes(struct out *o);
void show_affinity(struct out *o);
void show_source_range(struct out *o);
/* cmd_show_offload.c */
void show_offload(struct out *o);
/* cmd_set.c */
void show_settings(struct out *o);

/* Connections that match the filters: 'fn' for each. */
int show_ct_each(const struct out_filter *f, unsigned n, void (*fn)(bool v6, uint32_t conn), struct err *e);
