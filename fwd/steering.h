/* SPDX-License-Identifier: BSD-2-Clause */
/* The steer LPM of the kernel, kept equal to what the tables want taken (design section 7, steer). Control thread. */
#pragma once

#include "xdp/loader.h"

/* Without a loader (mem and pcap ports only) nothing is steered and every call succeeds. */
void steering_init(struct loader *l);
void steering_fini(void);
/* Something that steers has changed: endpoints, pools, VTEPs, tunnels, routes, addresses, ports. */
void steering_dirty(void);
/* Brings the kernel's table up to date if dirty: after each transaction, and from the control loop. 0 or -errno. */
int steering_sync(struct err *e);
