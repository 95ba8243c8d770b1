/* SPDX-License-Identifier: BSD-2-Clause */
/* What the control thread does about endpoints besides their table row: the kernel's hooks and maps, MAC learning,
 * host routes; and the workers' requests. */
#pragma once

#include "tables/endpoint.h"
#include "xdp/loader.h"

/* NULL loader: no kernel side (tests, mem ports). */
void control_init(struct loader *l);
/* After endpoint 'id' was added, changed or removed (then 'old' is what it was): device, filter, adjacency, probes, routes.
 * 0, or -errno with the cause: the endpoint stands in the table but gets no traffic until its device is right. */
int control_endpoint_changed(uint32_t id, const struct endpoint *old, struct err *e);
/* A prefix that the box reaches over the gate was added or removed: a route on sluice_host (set host-routes on). */
void control_host_prefix(const struct ipnet *n, bool present);
void control_host_routes(bool on); /* the setting changed */
/* netlink_on_link: endpoint devices come, go and come again. */
void control_link(uint32_t ifindex, const char *name, bool present, bool up, uint32_t mtu, const struct mac *mac);
/* Serves what workers asked for. */
void control_requests(void);
void control_tick(uint64_t now_ns);
