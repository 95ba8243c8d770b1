/* SPDX-License-Identifier: BSD-2-Clause */
/* Control-thread glue between endpoints, the gate, netlink and the workers' requests.
 *
 * An endpoint's MAC is learned from its answer to an ARP probe (sender 0, RFC 5227) or a neighbour solicitation, or from the
 * first frame it sends, and pinned until its device is created anew (design section 7, Containers). */
#include "fwd/control.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/claim.h"
#include "fwd/fib.h"
#include "fwd/gate.h"
#include "fwd/health.h"
#include "fwd/nat_log.h"
#include "fwd/netlink.h"
#include "fwd/resolve.h"
#include "fwd/settings.h"
#include "fwd/steering.h"
#include "fwd/vtep_watch.h"
#include "tables/nat_block.h"
#include "tables/policy.h"
#include "tables/service.h"
#include "tables/tunnel.h"
#include "xdp/health.h"

static struct loader *loader;
static uint64_t next_probe_ns;
static unsigned ticks;
static struct err last_failure; /* of opening a port again */

void control_init(struct loader *l)
{
	loader = l;
	next_probe_ns = 0;
}

/* ---- asking an endpoint for its MAC ---- */

static void probe_header(uint8_t *f, uint32_t id, const uint8_t dst[6], uint16_t type)
{
	struct mac stamp = gate_stamp(GATE_ENDPOINT, id);
	memcpy(f, stamp.b, 6);
	memcpy(f + 6, dst, 6);
	wr16(f + 12, type);
}

static void probe_arp(uint32_t id, const struct ipaddr *a)
{
	uint8_t f[60] = { 0 }, *p = f + ETH_HLEN_;
	probe_header(f, id, (const uint8_t[6]){ 255, 255, 255, 255, 255, 255 }, ET_ARP);
	wr16(p, 1);
	wr16(p + 2, ET_IP4);
	p[4] = 6;
	p[5] = 4;
	wr16(p + 6, 1);
	memcpy(p + 8, gate_gateway_mac.b, 6);
	memcpy(p + 24, a->b + 12, 4);
	workers_inject(PORT_GATE, f, sizeof(f));
}

static void probe_nd(uint32_t id, const struct ipaddr *a)
{
	uint8_t f[ETH_HLEN_ + IP6_HLEN + 32] = { 0 }, *h = f + ETH_HLEN_, *i = h + IP6_HLEN;
	const uint8_t *m = gate_gateway_mac.b;
	const uint8_t dst[6] = { 0x33, 0x33, 0xff, a->b[13], a->b[14], a->b[15] };
	const uint8_t from[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] };
	const uint8_t to[16] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a->b[13], a->b[14], a->b[15] };
	probe_header(f, id, dst, ET_IP6);
	h[0] = 0x60;
	wr16(h + 4, 32);
	h[6] = PROTO_ICMP6;
	h[7] = 255;
	memcpy(h + 8, from, 16);
	memcpy(h + 24, to, 16);
	i[0] = 135;
	memcpy(i + 8, a->b, 16);
	i[24] = 1;
	i[25] = 1;
	memcpy(i + 26, m, 6);
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, 32, csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, 32))));
	workers_inject(PORT_GATE, f, sizeof(f));
}

static void probe(const struct endpoint *ep)
{
	if (!ports[PORT_GATE] || !ep->ifindex)
		return;
	for (unsigned i = 0; i < ep->n_addrs; i++) {
		if (ip_is4(&ep->addr[i]))
			probe_arp(ep->id, &ep->addr[i]);
		else
			probe_nd(ep->id, &ep->addr[i]);
	}
}

/* ---- endpoints ---- */

/* Replaces the row after 'ep' (a copy) was changed here. */
static void store(struct endpoint *ep)
{
	struct err e = { "" };
	if (!mac_is_zero(&ep->mac))
		ep->adj = resolve_endpoint_adj(ep->adj, ep->id, &ep->mac, &e);
	if ((!mac_is_zero(&ep->mac) && !ep->adj) || endpoint_set(ep, &e) != 0)
		log_error("endpoint %u: %s", ep->id, e.text);
	workers_neighbor_changed();
}

static int attach(const struct endpoint *ep, struct err *e)
{
	if (!loader || !ep->ifindex)
		return 0;
	struct gate_endpoint g = { .id = ep->id, .ifindex = ep->ifindex };
	int err = loader_endpoint_set(loader, &g);
	if (err)
		return err_set(e, err, "endpoint %u: kernel map: %s", ep->id, strerror(-err));
	err = loader_attach_tc(loader, PROG_FROM_CONTAINER, ep->device, e);
	return err ? err : loader_attach_tc(loader, PROG_TO_CONTAINER, ep->device, e);
}

static void detach(const struct endpoint *ep)
{
	struct err e = { "" };
	if (!loader || !ep->ifindex)
		return;
	loader_endpoint_del(loader, ep->id, ep->ifindex);
	if (loader_detach(loader, PROG_FROM_CONTAINER, ep->ifindex, &e) ||
	    loader_detach(loader, PROG_TO_CONTAINER, ep->ifindex, &e))
		log_warn("%s", e.text);
}

void control_host_prefix(const struct ipnet *n, bool present)
{
	struct err e = { "" };
	if (!loader || (present && !settings.host_routes))
		return;
	if (netlink_host_route(present, n, &e) && present)
		log_warn("%s", e.text);
}

static bool is_health(const struct endpoint *ep)
{
	return ep && strcmp(ep->device, HEALTH_DEVICE) == 0;
}

/* Its device is made before anything looks for it, and removed when no endpoint is left that names it. */
static int health_changed(const struct endpoint *old, const struct endpoint *now, struct err *e)
{
	if (!loader || (!is_health(old) && !is_health(now)))
		return 0;
	for (uint32_t id = endpoint_next(0); !is_health(now) && id; id = endpoint_next(id))
		now = is_health(endpoint_by_id(id)) ? endpoint_by_id(id) : now;
	return health_set(is_health(now) ? now : NULL, e);
}

int control_endpoint_changed(uint32_t id, const struct endpoint *old, struct err *e)
{
	const struct endpoint *now = endpoint_by_id(id);
	steering_dirty();
	if (old) {
		if (!now || old->ifindex != now->ifindex)
			detach(old);
	}
	int err = health_changed(old, now, e);
	if (!now) {
		if (old && old->adj)
			adj_free(old->adj);
		return err;
	}
	struct endpoint ep = *now;
	uint32_t ifindex = is_health(&ep) ? health_ifindex() : if_nametoindex(ep.device);
	if (loader && ifindex != ep.ifindex)
		ep.ifindex = ifindex;
	store(&ep);
	if (!err)
		err = attach(&ep, e);
	if (!err && mac_is_zero(&ep.mac))
		probe(&ep);
	return err;
}

void control_host_routes(bool on)
{
	struct tunnel_value v;
	struct ipnet n;
	struct err e = { "" };
	for (uint32_t id = endpoint_next(0); id; id = endpoint_next(id))
		for (unsigned i = 0; i < endpoint_by_id(id)->n_addrs; i++) {
			n = (struct ipnet){ endpoint_by_id(id)->addr[i], 128 };
			netlink_host_route(on, &n, &e);
		}
	for (uint32_t i = tunnel_next(0, &n, &v); i; i = tunnel_next(i, &n, &v))
		if (!v.zone)
			netlink_host_route(on, &n, &e);
	for (uint32_t id = service_next(0); id; id = service_next(id)) {
		n = (struct ipnet){ service_at(id)->conf.key.vip, 128 };
		netlink_host_route(on, &n, &e);
	}
}

static void endpoint_link(const struct endpoint *have, uint32_t ifindex, bool present)
{
	struct endpoint ep = *have;
	struct err e = { "" };
	if (present == (ep.ifindex != 0) && (!present || ep.ifindex == ifindex))
		return;
	detach(&ep);
	ep.ifindex = present ? ifindex : 0;
	if (!ep.mac_fixed) { /* another device may be another container: learn anew */
		ep.mac = (struct mac){ { 0 } };
		if (ep.adj)
			adj_free(ep.adj);
		ep.adj = 0;
	}
	store(&ep);
	log_info("endpoint %u: device %s %s", ep.id, ep.device, present ? "is here" : "is gone");
	if (attach(&ep, &e))
		log_error("endpoint %u: %s", ep.id, e.text);
	else if (present && !ep.mac_fixed)
		probe(&ep);
}

/* A port whose device was removed is opened again once there is one of that name. */
static void port_device(struct port *p)
{
	struct err e = { "" };
	uint32_t ifindex = if_nametoindex(p->conf.device);
	if (ifindex == p->ifindex && !p->reopen)
		return;
	if (!ifindex) {
		if (p->up)
			log_warn("port %s: device %s is gone; the port is opened again once it is back", p->conf.name,
				 p->conf.device);
		p->up = false;
		return;
	}
	if (port_reopen(p, &e)) { /* every second until it succeeds: said once */
		if (strcmp(e.text, last_failure.text) != 0)
			log_warn("%s", e.text);
		last_failure = e;
		return;
	}
	last_failure.text[0] = 0;
	fib_ports_changed();
	resolve_port_changed(p->index);
	steering_dirty();
}

static void port_devices(void)
{
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
		if (ports[i] && ports[i]->ops == &port_ops_xdp)
			port_device(ports[i]);
		else if (ports[i] && ports[i]->ops && ports[i]->ops->tick)
			ports[i]->ops->tick(ports[i]);
}

void control_link(uint32_t ifindex, const char *name, bool present, bool up, uint32_t mtu, const struct mac *mac)
{
	(void)up;
	(void)mtu;
	(void)mac;
	claim_link_changed();
	for (uint32_t id = endpoint_next(0); id; id = endpoint_next(id)) {
		const struct endpoint *ep = endpoint_by_id(id);
		if (present ? strcmp(ep->device, name) != 0 : ep->ifindex != ifindex)
			continue;
		if (!present || strcmp(name, HEALTH_DEVICE) != 0 || ifindex == health_ifindex())
			endpoint_link(ep, ifindex, present);
	}
}

/* ---- workers ---- */

static void learn(const struct request *r)
{
	const struct endpoint *ep = endpoint_by_id(r->endpoint);
	char text[MAC_STRLEN];
	if (!ep || ep->mac_fixed || !mac_is_zero(&ep->mac) || r->mac.b[0] & 1 || mac_is_zero(&r->mac))
		return;
	struct endpoint e = *ep;
	e.mac = r->mac;
	store(&e);
	log_info("endpoint %u: MAC %s learned on %s", e.id, mac_print(&e.mac, text), e.device);
}

void control_requests(void)
{
	struct request r;
	/* bounded: a flood of misses must not starve the operator */
	for (unsigned n = 0; n < 4096 && workers_next_request(&r); n++) {
		if (r.kind == REQUEST_LEARN_MAC) {
			learn(&r);
		} else if (r.kind == REQUEST_RESOLVE && r.key.dev == PORT_GATE) {
			const struct endpoint *ep = endpoint_by_id(r.key.vni);
			if (ep && mac_is_zero(&ep->mac))
				probe(ep);
		} else if (r.kind == REQUEST_ADDRESS_SEEN) {
			claim_seen(&r.key.ip, r.key.dev, &r.mac);
		} else {
			resolve_request(&r);
		}
	}
}

/* Containers that came up later than their device hear the next probe. */
void control_tick(uint64_t now_ns)
{
	nat_log_tick();
	claim_tick(now_ns);
	if (now_ns < next_probe_ns)
		return;
	next_probe_ns = now_ns + NS_PER_S;
	port_devices();
	health_tick();
	vtep_watch_tick();
	service_tick((uint32_t)(now_ns / NS_PER_S));
	nat_block_tick((uint32_t)(now_ns / NS_PER_S));
	if (++ticks % 5)
		return;
	for (uint32_t id = endpoint_next(0); id; id = endpoint_next(id))
		if (mac_is_zero(&endpoint_by_id(id)->mac))
			probe(endpoint_by_id(id));
}
