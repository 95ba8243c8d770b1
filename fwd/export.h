/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay, the engine's side (design section 5): records of hot connections are put into the kernel's table, taken out when
 * they cool, change or end, and what the kernel counted comes back. Without a loader every call does nothing.
 *
 * Control thread, except where a line says "any thread". */
#pragma once

#include "fwd/export_table.h"
#include "tables/ct.h"

enum offload { OFFLOAD_OFF, OFFLOAD_ON, OFFLOAD_TC, OFFLOAD_XDP }; /* words of the setting 'offload' */

/* After ct_init. Empties the table: a former process' records end here. area->conf NULL: there is no kernel side. */
int export_init(const struct loader_replay *area, struct err *e);
/* Programs off, all records out, memory freed: no worker runs any more. */
void export_fini(void);
/* One slice; the next one in 100 ms, in 10 when it says true: there was more than a slice. */
bool export_tick(uint64_t now_ns);
/* 'set offload' changed. */
void export_setting_changed(void);

/* Any thread: the kernel replays no packet of the connection from now on; the control thread takes its records out later. For
 * connections that change state or go. Costs a look at conn.flags where it was never exported. */
void export_stop(const struct ct *c, uint32_t conn);

/* What the kernel forwarded for the connection, to add to what the records say. 'reply': which direction. */
struct export_count {
	uint64_t packets, bytes;
};
struct export_count export_counted(const struct ct *c, uint32_t conn, unsigned reply);
/* "tc", "xdp", or why not: "off", "proto", "state", "one-way" (a direction was never decided), "host", "path" (no kernel program
 * reaches its device), "vtep-port" (into a tunnel over IPv6 whose UDP port sluice_vxlan does not have), "cold", "full". */
const char *export_state(const struct ct *c, uint32_t conn);

struct export_totals {
	uint64_t promoted, demoted;                   /* connections */
	uint64_t refused;                             /* hot, but no room */
	uint64_t renewed;                             /* records written anew after another decision */
	uint64_t packets, bytes;                      /* forwarded by the kernel */
	uint32_t connections;                         /* now */
	uint32_t records[2], capacity[2], resting[2]; /* by family */
};
void export_read_totals(struct export_totals *t);
