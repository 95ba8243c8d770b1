/* SPDX-License-Identifier: BSD-2-Clause */
/* Adjacencies over the gate: toward endpoints and toward the box itself (tables/abi/gate.h). Nobody is asked for these: the
 * destination is a stamp. Control thread writes; workers read resolve_host_adj. */
#include <errno.h>

#include "fwd/resolve_private.h"

#include "tables/abi/gate.h"
#include "tables/endpoint.h"

enum { DEFAULT_MTU = 1500 };

uint32_t resolve_host_adj, resolve_proxy_adj[65536];
static struct mac gate_host_mac;
static uint16_t gate_mtu;

void resolve_gate_fini(void)
{
	resolve_host_adj = 0;
	memset(resolve_proxy_adj, 0, sizeof(resolve_proxy_adj));
	gate_mtu = 0;
}

static struct mac stamp(enum gate_kind kind, uint32_t id)
{
	struct mac m = { { GATE_MAC0, (uint8_t)(GATE_MAC1 | kind) } };
	wr32(m.b + 2, id);
	return m;
}

uint32_t resolve_endpoint_adj(uint32_t have, uint32_t endpoint_id, const struct mac *mac, struct err *e)
{
	struct mac to = stamp(GATE_ENDPOINT, endpoint_id);
	uint32_t adj = have ? have : adj_alloc(e);
	if (!adj)
		return 0;
	adj_set_eth(adj, PORT_GATE, mac, &to, gate_mtu ? gate_mtu : DEFAULT_MTU);
	workers_neighbor_changed();
	return adj;
}

static void write_proxy(uint32_t adj, uint16_t port)
{
	struct mac to = stamp(GATE_PROXY, port);
	adj_set_eth(adj, PORT_GATE, &gate_host_mac, &to, gate_mtu ? gate_mtu : DEFAULT_MTU);
}

int resolve_proxy_port(uint16_t port, struct err *e)
{
	if (resolve_proxy_adj[port])
		return 0;
	uint32_t adj = adj_alloc(e);
	if (!adj)
		return -ENOSPC;
	write_proxy(adj, port);
	STORE_RELEASE(&resolve_proxy_adj[port], adj);
	return 0;
}

void resolve_gate_changed(const struct mac *host_mac, uint16_t mtu)
{
	struct mac to = stamp(GATE_HOST, 0);
	struct err e;
	bool resized = mtu != gate_mtu;
	gate_host_mac = *host_mac;
	gate_mtu = mtu;
	if (mac_is_zero(host_mac)) {
		adj_free(resolve_host_adj);
		STORE_RELEASE(&resolve_host_adj, 0);
		workers_neighbor_changed();
		return;
	}
	uint32_t adj = resolve_host_adj ? resolve_host_adj : adj_alloc(&e);
	if (!adj) {
		resolve_complain(&e);
		return;
	}
	adj_set_eth(adj, PORT_GATE, &gate_host_mac, &to, mtu);
	STORE_RELEASE(&resolve_host_adj, adj);
	for (uint32_t port = 1; port < ARRAY_LEN(resolve_proxy_adj); port++)
		if (resolve_proxy_adj[port])
			write_proxy(resolve_proxy_adj[port], (uint16_t)port);
	for (uint32_t id = resized ? endpoint_next(0) : 0; id; id = endpoint_next(id)) {
		const struct endpoint *ep = endpoint_by_id(id);
		if (ep && ep->adj)
			resolve_endpoint_adj(ep->adj, id, &ep->mac, &e);
	}
	workers_neighbor_changed();
}
