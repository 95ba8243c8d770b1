/* SPDX-License-Identifier: BSD-2-Clause */
/* What kernel replay needs around the records (fwd/export.h): the table's memory, which devices and tunnels the programs know, the
 * programs on uplinks and on sluice_vxlan. Control thread. Without a loader every call does nothing. */
#pragma once

#include "fwd/base/err.h"
#include "xdp/loader.h"

/* Before the first adjacency and after ct_init: lays the adjacency array over the kernel's and starts the export. */
int offload_init(struct loader *l, struct err *e);
/* Programs look away: every packet goes by the engine. While the workers run. */
void offload_stop(void);
/* Records out, [from-netdev] and sluice_vxlan removed. After the workers, before the loader. 'clean' false (a start that failed):
 * devices stay as they are. */
void offload_fini(bool clean);
/* Ports, VTEPs, tunnels or settings have changed. */
void offload_dirty(void);
/* Brings the kernel's view up to date if dirty: after each transaction, from the control loop. */
void offload_sync(void);
/* Promotion, counts; devices that came or went. As export_tick(): true when the next slice is due in 10 ms instead of 100. */
bool offload_tick(uint64_t now_ns);

/* Has the port's device GRO and does replay use it? As looked at last. */
bool offload_port_gro(unsigned port);
/* Why VXLAN frames for containers are not taken by the kernel; "" when they are, or no VTEP asks for it. */
const char *offload_overlay_reason(void);
/* Packets by reason, sums over CPUs; zero without a kernel side. */
void offload_stats(uint64_t n[static REPLAY_STATS]);
/* The same of the programs at the gate and at containers (gate_stat). */
void offload_gate_stats(uint64_t n[static GATE_STATS]);
