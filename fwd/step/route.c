/* SPDX-License-Identifier: BSD-2-Clause */
/* Step route: the box itself, a local endpoint, a remote node, the kernel's FIB, in that order (design section 6, 7). */
#include "fwd/decide.h"
#include "fwd/resolve.h"

static void route_host(struct route *r)
{
	r->zone = 0;
	r->kind = ROUTE_HOST;
	r->adj = resolve_host_adj;
	r->in = FLOW_IN_HOST;
	r->key = (struct neighbor_key){ .dev = PORT_GATE };
}

static void route_neighbor(struct route *r)
{
	const struct neighbor *n = neighbor_find(&r->key);
	if (!n)
		return;
	r->failed = n->state == NEIGHBOR_FAILED;
	if (n->state == NEIGHBOR_REACHABLE || n->state == NEIGHBOR_STALE)
		r->adj = n->adj;
}

void step_route_ipip(const struct ipaddr *dst, struct route *r)
{
	r->key = (struct neighbor_key){ .ip = *dst, .dev = NEIGHBOR_IPIP };
	r->adj = 0;
	r->failed = false;
	route_neighbor(r);
}

static void say_remote(const struct decision *d, const struct route *r, const struct remote *node)
{
	const struct vtep *v = &vteps[node->vtep];
	char to[IP_STRLEN], from[IP_STRLEN];
	struct fib_result f;
	fib_lookup(&v->addr, 0, &f);
	ip_print(&node->addr, to);
	ip_print(&v->addr, from);
	if (r->no_tunnel)
		decide_say(d, "route",
			   "no tunnel to remote node %s tells the VNI, which vtep %s port %u in network mode needs", to,
			   from, v->port);
	else
		decide_say(d, "route", "remote node %s, from vtep %s port %u, VNI %u%s", to, from, v->port, r->key.vni,
			   f.kind == FIB_LOCAL ? "" : "; the box does not have the vtep's address ('show vteps')");
}

void step_route_say(const struct decision *d)
{
	const struct route *r = &d->to;
	const bool remote = (r->in & 0xff000000) == FLOW_IN_REMOTE;
	const struct remote *node = remote ? remote_at(r->in & 0xffffff) : NULL;
	char via[IP_STRLEN];
	if (node && (r->kind == ROUTE_REMOTE || r->no_tunnel))
		say_remote(d, r, node);
	else if (r->kind == ROUTE_PORT && ip_eq(&r->key.ip, &d->odst))
		decide_say(d, "route", "uplink %s", ports[r->port] ? ports[r->port]->conf.name : "");
	else if (r->kind == ROUTE_PORT)
		decide_say(d, "route", "uplink %s via %s", ports[r->port] ? ports[r->port]->conf.name : "",
			   ip_print(&r->key.ip, via));
	else if (r->kind == ROUTE_ENDPOINT)
		decide_say(d, "route", "local endpoint %u", r->endpoint->id);
	else if (r->kind == ROUTE_HOST)
		decide_say(d, "route", "host");
	else
		decide_say(d, "route", "%s", r->refused ? drop_text(r->refused) : "no route");
}

/* An inner MAC that is fixed travels inside the key, so that each has an adjacency of its own (fwd/resolve.h). */
static struct ipaddr fixed_mac_key(const struct mac *m)
{
	struct ipaddr a = { .b = { 0xff } };
	memcpy(a.b + 10, m->b, 6);
	return a;
}

static void route_remote(struct route *r, const struct ipaddr *dst, uint32_t remote, const struct tunnel_value *t,
			 uint32_t identity)
{
	const struct remote *node = remote_at(remote);
	r->in = FLOW_IN_REMOTE | remote;
	r->key = (struct neighbor_key){ .dev = NEIGHBOR_REMOTE | remote };
	if (!node) { /* the control thread is deleting it */
		r->no_tunnel = true;
		return;
	}
	const struct vtep *v = &vteps[node->vtep];
	r->zone = 0;
	if (v->mode == VNI_IDENTITY) {
		/* host must not be claimed on the wire (cilium.md 1.6) */
		r->key.vni = identity == ID_HOST ? ID_REMOTE_NODE : identity;
	} else if (t && t->remote == remote) {
		r->zone = t->zone;
		r->key.vni = t->vni;
		r->key.ip = t->flags & TUNNEL_VIA ? t->via : *dst;
	} else {
		r->no_tunnel = true;
		return;
	}
	if (t && t->remote == remote && t->flags & TUNNEL_MAC)
		r->key.ip = fixed_mac_key(&t->mac);
	r->kind = ROUTE_REMOTE;
	route_neighbor(r);
}

static void route_fib(struct route *r, const struct ipaddr *dst, const struct fib_result *f)
{
	static const uint8_t refused[] = { [FIB_BROADCAST] = DROP_MULTICAST, /* directed: RFC 2644 */
					   [FIB_BLACKHOLE] = DROP_BLACKHOLE,
					   [FIB_UNREACHABLE] = DROP_UNREACHABLE,
					   [FIB_PROHIBIT] = DROP_PROHIBIT,
					   [FIB_THROW] = 0 };
	if (f->kind != FIB_UNICAST) {
		r->refused = refused[f->kind];
		return;
	}
	r->in = FLOW_IN_UPLINK;
	if (f->nh.port < 0) { /* leaves by a device that is no port of ours: the kernel's business */
		route_host(r);
		return;
	}
	r->kind = ROUTE_PORT;
	r->port = (uint16_t)f->nh.port;
	r->zone = port_zone(r->port);
	r->key = (struct neighbor_key){ .ip = ip_is_zero(&f->nh.gateway) ? *dst : f->nh.gateway, .dev = r->port };
	route_neighbor(r);
}

/* In a zone there are its tunnels and the routes by its ports, neither the box nor containers. */
static void route_zone(uint16_t zone, const struct ipaddr *dst, uint32_t hash, uint32_t identity, struct route *r)
{
	struct fib_result f;
	*r = (struct route){ .identity = ID_WORLD };
	const struct ipcache_value *c = ipcache_lookup(dst, &r->dep[1]);
	const struct tunnel_value *t = tunnel_lookup(zone, dst, &r->dep[0]);
	fib_lookup_zone(zone, dst, hash, &f);
	r->dep[2] = f.dep;
	if (c)
		r->identity = c->identity;
	if (t)
		route_remote(r, dst, t->remote, t, identity);
	else
		route_fib(r, dst, &f);
}

/* Has the zone a route of its own to 'dst', as long as the one that 'r' is? */
static bool zone_goes_first(uint16_t zone, const struct ipaddr *dst, uint32_t hash, const struct route *r)
{
	struct fib_result all, own;
	if (tunnel_lookup(zone, dst, NULL))
		return r->kind != ROUTE_ENDPOINT && r->identity != ID_HOST;
	if ((r->kind != ROUTE_PORT && r->kind != ROUTE_NONE && r->kind != ROUTE_HOST) || r->identity == ID_HOST ||
	    (r->kind == ROUTE_PORT && r->zone == zone))
		return false;
	fib_lookup_zone(zone, dst, hash, &own);
	fib_lookup(dst, hash, &all);
	return own.kind == FIB_UNICAST && own.prefix.len >= all.prefix.len;
}

/* An ipcache row tells the node, and which VTEP to take only if it names one: else the tunnel to that node does. */
static bool leaves_vtep_to(const struct ipcache_value *c, const struct tunnel_value *t)
{
	const struct remote *node = remote_at(t->remote);
	return node && !(c->flags & IPCACHE_VTEP) && ip_eq(&node->addr, &c->remote_addr);
}

void step_route_from(uint16_t zone, const struct ipaddr *dst, uint32_t hash, uint32_t identity, struct route *r)
{
	step_route(0, dst, hash, identity, r);
	if (likely(!zone))
		return;
	/* two answers were asked, and the record has place for the counter of one */
	if (!LOAD_RELAXED(&fib_sources_matter))
		STORE_RELEASE(&fib_sources_matter, 1);
	if (zone_goes_first(zone, dst, hash, r))
		step_route(zone, dst, hash, identity, r);
}

void step_route(uint16_t zone, const struct ipaddr *dst, uint32_t hash, uint32_t identity, struct route *r)
{
	struct fib_result f;
	if (zone) {
		route_zone(zone, dst, hash, identity, r);
		return;
	}
	*r = (struct route){ .identity = ID_WORLD };
	fib_lookup(dst, hash, &f);
	r->dep[2] = f.dep;
	if (f.kind == FIB_LOCAL) {
		route_host(r);
		r->identity = ID_HOST;
		r->dep[0] = policy_host_gen();
		return;
	}
	const struct endpoint *ep = endpoint_by_addr(dst);
	const struct ipcache_value *c = ipcache_lookup(dst, &r->dep[1]);
	if (ep) {
		*r = (struct route){ .kind = ROUTE_ENDPOINT,
				     .adj = ep->adj,
				     .identity = ep->identity,
				     .endpoint = ep,
				     .in = FLOW_IN_ENDPOINT | ep->id,
				     .dep = { ep->gen, r->dep[1], 0 } };
		r->key = (struct neighbor_key){ .ip = *dst, .dev = PORT_GATE, .vni = ep->id };
		return;
	}
	const struct tunnel_value *t = tunnel_lookup(0, dst, &r->dep[0]);
	if (c)
		r->identity = c->identity;
	if (c && c->remote && !(t && leaves_vtep_to(c, t)))
		route_remote(r, dst, c->remote, t, identity);
	else if (t)
		route_remote(r, dst, t->remote, t, identity);
	else
		route_fib(r, dst, &f);
}
