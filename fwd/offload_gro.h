/* SPDX-License-Identifier: BSD-2-Clause */
/* GRO on uplinks for kernel replay. Control thread.
 *
 * What XDP leaves to [from-netdev] for a container goes through the kernel packet by packet unless the device merges segments (GRO)
 * in front of it. Drivers of network cards begin with GRO on, veth with it off. So it is turned on once for a port 'gro auto' that
 * has the program, and off again, by us or a later process, when the port or the program goes; what somebody sets meanwhile by
 * ethtool stays. Generic XDP and GRO exclude each other in the kernel: such ports are left alone.
 *
 * Measured, one TCP stream from a VXLAN peer to a container, Gbit/s: sluice 3.2 without and 4.6 with it, the kernel's own VXLAN
 * device 4.7 and 4.9, which has a GRO of its own behind the decapsulation. */
#pragma once

#include "fwd/port/port.h"
#include "tables/abi/replay.h"

/* 'conf' as the former process left it: what it turned on is ours to turn off. */
void offload_gro_init(const struct replay_conf *conf);
/* For port 'i', now 'p' (NULL: gone). 'wanted': [from-netdev] is on it. The port's replay_port_flag bits that GRO decides. */
uint32_t offload_gro_sync(unsigned i, const struct port *p, bool wanted);
/* Whatever is left of a former process' as well. */
void offload_gro_fini(void);
