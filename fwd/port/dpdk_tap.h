/* SPDX-License-Identifier: BSD-2-Clause */
/* The face of a DPDK port in the kernel: a tap device that carries the port's addresses, routes and neighbours, and what the
 * kernel itself has to say on that link (ARP, ND, routing protocols). Control thread. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"

/* Makes (or takes, if it exists and is persistent) the tap device 'name', gives it MAC and MTU and brings it up. Returns a
 * non-blocking descriptor, or -errno with the sentence. */
int dpdk_tap_open(const char *port, const char *name, const struct mac *mac, uint16_t mtu, uint32_t *ifindex,
		  struct err *e);
/* Tells the kernel whether the link is there. */
void dpdk_tap_carrier(int fd, bool up);
