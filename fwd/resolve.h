/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has that next hop? Control thread: answers workers' requests with adjacencies.
 *
 *  engine port + IP        the kernel's neighbour table (netlink.c feeds resolve_kernel_neighbor; a miss asks the kernel with
 *                          RTM_NEWNEIGH NTF_USE, at most once a second)
 *  remote node + VNI       underlay route (fib) -> underlay neighbour -> tunnel template; rebuilt in place when either changes
 *  remote + VNI + inner IP additionally ARP / ND over the tunnel, sent by workers_inject, three tries a second apart, then FAILED
 */
#pragma once

#include "fwd/worker.h"

/* Key of a remote whose inner MAC is fixed: 'ip' is all zero (identity mode: the gateway MAC is written) or carries the MAC
 * given with the tunnel: byte 0 = 0xff as the mark (no next hop is multicast), bytes 10..15 the MAC. */
INLINE struct ipaddr resolve_mac_key(const struct mac *m)
{
	struct ipaddr a = { .b = { 0xff } };
	memcpy(a.b + 10, m->b, 6);
	return a;
}

int resolve_init(struct err *e);
void resolve_fini(void);
void resolve_request(const struct request *r); /* one request of a worker, REQUEST_RESOLVE or REQUEST_NEIGHBOR_SEEN */
void resolve_tick(uint64_t now_ns); /* about ten times a second: retries, refresh of adjacencies in use, failures */
/* netlink events */
void resolve_kernel_neighbor(uint32_t ifindex, const struct ipaddr *ip, const struct mac *mac, bool usable,
			     bool failed);
/* After the above: the entry is PERMANENT or NOARP and must never be asked for. */
void resolve_kernel_fixed(uint32_t ifindex, const struct ipaddr *ip);
void resolve_routes_changed(void); /* rebuild tunnel adjacencies whose underlay moved */
void resolve_port_changed(uint16_t port);
/* Around a re-dump of the kernel's neighbours: those not fed again between the two count as deleted. */
void resolve_resync_begin(void);
void resolve_resync_end(void);
/* Tunnels, VTEPs or remotes were changed: forgets what belonged to remotes that are gone. resolve_tick() finds out by itself
 * too; call this before a freed remote index can be used again. */
void resolve_remotes_changed(void);
/* How to ask the kernel; netlink.c sets it, tests replace it. */
extern void (*resolve_ask_kernel)(uint32_t ifindex, const struct ipaddr *ip);
/* Sender address of ARP requests and neighbour solicitations sent into a tunnel. Default: IPv4: an address of sluice_host in the
 * target's subnet; IPv6: the link-local address of the gateway MAC. false: none, IPv4 then asks as 0.0.0.0 (an RFC 5227 probe: it
 * is answered to the sender's MAC and enters nobody's ARP cache; an invented sender address would), IPv6 as the link-local. */
extern bool (*resolve_inner_source)(const struct ipaddr *target, struct ipaddr *src);
/* The adjacency of an endpoint (by its stamp and MAC over the gate), made or changed in place; 0 with err text when full. */
uint32_t resolve_endpoint_adj(uint32_t have, uint32_t endpoint_id, const struct mac *mac, struct err *e);
/* The adjacency toward the box itself over the gate; 0 before the gate exists. Workers read. */
extern uint32_t resolve_host_adj;
/* By port: the adjacency toward a listener of the box that takes other people's connections; 0: no rule ever named the port. Once
 * made they stay: connections outlive rules. Control thread; workers read. */
extern uint32_t resolve_proxy_adj[65536];
int resolve_proxy_port(uint16_t port, struct err *e);
void resolve_gate_changed(const struct mac *host_mac, uint16_t mtu);
