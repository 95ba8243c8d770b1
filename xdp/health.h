/* SPDX-License-Identifier: BSD-2-Clause */
/* The health endpoint's device: a veth pair whose far end lies in a network namespace that only this process holds, with
 * the endpoint's addresses. That namespace's kernel answers echo requests, and a socket in it listens on TCP. Both ends
 * vanish with the process, also when it is killed. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"

#define HEALTH_DEVICE "sluice_health"
enum { HEALTH_TCP_PORT = 4240 };

/* Makes the pair anew, each of the 'n' addresses on the far end, default routes to 'gateway' (a MAC). The near end is left
 * up, its index in '*ifindex'. '*listener' is a listening socket for both families, non-blocking; closing it and '*netns' removes everything.
 * Control thread: forks a thread that enters the namespace and is joined. -EEXIST when the device name is taken. */
int health_device(const struct ipaddr *addr, unsigned n, const struct mac *gateway, uint32_t *ifindex, int *netns,
		  int *listener, struct err *e);
