/* SPDX-License-Identifier: BSD-2-Clause */
/* Links, addresses, routes, next-hop objects and neighbours from rtnetlink into fib, resolve, ports and endpoints.
 * Subscribes first, then dumps; ENOBUFS dumps again while the old FIB serves. Control thread only. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"

int netlink_init(struct err *e); /* subscribes, dumps everything once */
void netlink_fini(void);
int netlink_fd(void);
void netlink_read(void);            /* call when readable */
void netlink_tick(uint64_t now_ns); /* about ten times a second: re-dumps that were put off */
bool netlink_pending(void);         /* one is put off */
/* Own routes on sluice_host (own protocol number 196, not mirrored back). 0 or -errno; existing is fine. */
#define NETLINK_ROUTE_PROTOCOL 196
/* 'sluice_host' must exist, up. */
int netlink_host_route(bool add, const struct ipnet *n, struct err *e);
/* What listeners of other people's connections need of the box's routing (netlink_proxy.c): all of it, and for answers in the name
 * of an endpoint's address. Calls of either kind may be repeated. 0 or -errno. */
int netlink_proxy_routing(bool on, struct err *e);
int netlink_proxy_source(bool add, const struct ipaddr *a, struct err *e);
/* Called for links by name or index that changed: set by main.c (endpoint devices come and go, port state, gate). */
extern void (*netlink_on_link)(uint32_t ifindex, const char *name, bool present, bool up, uint32_t mtu,
			       const struct mac *mac);
