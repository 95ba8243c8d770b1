/* SPDX-License-Identifier: BSD-2-Clause */
/* Step entry: who sends this packet? The gate's stamp, a known VTEP, or any uplink; source checks; VXLAN off (RFC 7348,
 * ECN per RFC 6040 4.2). */
#include "fwd/claim.h"
#include "fwd/decide.h"
#include "fwd/gate.h"
#include "tables/nat.h"
#include "tables/service.h"

static bool owns(const struct endpoint *ep, const struct ipaddr *a)
{
	for (unsigned i = 0; i < ep->n_addrs; i++)
		if (ip_eq(&ep->addr[i], a))
			return true;
	return false;
}

static void source_of(const struct pkt *p, struct ipaddr *src)
{
	if (p->flags & PKT_ARP)
		*src = ip_from4(ld32(p->l3 + 14));
	else
		*src = p->flags & PKT_IP6 ? ip_from6(p->l3 + 8) : ip_from4(ld32(p->l3 + 12));
}

static bool is_nd(const struct pkt *p)
{
	return p->proto == PROTO_ICMP6 && (p->flags & (PKT_IP6 | PKT_FRAG)) == PKT_IP6 && p->l4[0] >= 133 &&
	       p->l4[0] <= 137;
}

/* Probes (ARP sender 0, DAD from ::) and link-local ND carry no address that could be spoofed: step_l2 ends them. Nor does
 * link-local multicast (MLD, mDNS of every Linux container): it is dropped as such, not counted as spoofing. */
static bool may_send_from(const struct endpoint *ep, const struct pkt *p, const struct ipaddr *src)
{
	if (owns(ep, src))
		return true;
	if (p->flags & PKT_ARP)
		return ip_is_zero(src);
	return p->flags & PKT_IP6 && (is_nd(p) || p->l3[24] == 0xff) && (ip_is_zero(src) || ip_is_linklocal6(src));
}

static enum step entry_endpoint(struct decision *d, uint32_t id)
{
	struct pkt *p = d->p;
	const struct endpoint *ep = endpoint_by_id(id);
	struct ipaddr src;
	if (!ep) {
		decide_say(d, "entry", "the gate's stamp names endpoint %u, which does not exist", id);
		return decide_drop(d, DROP_GATE);
	}
	d->sender = ep;
	p->in = FLOW_IN_ENDPOINT | id;
	p->identity = ep->identity;
	source_of(p, &src);
	bool mine = may_send_from(ep, p, &src);
	bool mac_ok = mac_is_zero(&ep->mac) || memcmp(ep->mac.b, p->data, 6) == 0;
	if (!mine || !mac_ok) {
		decide_say(d, "entry", "endpoint %u sent with a source %s that is not its own", id,
			   mac_ok ? "address" : "MAC");
		return decide_drop(d, DROP_INVALID_SOURCE);
	}
	if (mac_is_zero(&ep->mac) && !d->x) {
		struct request r = { .kind = REQUEST_LEARN_MAC, .endpoint = id };
		memcpy(r.mac.b, p->data, 6);
		worker_request(d->w, &r);
	}
	decide_say(d, "entry", "endpoint %u, identity %u", id, ep->identity);
	return STEP_ON;
}

/* Does a packet from 'src' come by the gate's endpoints or a tunnel only? The same order as in step_route. */
static bool lives_elsewhere(struct decision *d, const struct ipaddr *src, const struct ipcache_value *c)
{
	bool tunnel = (c && c->remote) || tunnel_lookup(d->p->zone, src, NULL);
	if (!tunnel && !(c && c->flags & IPCACHE_ENDPOINT))
		return false;
	decide_say(d, "entry", "the source lives %s: it cannot come in here",
		   tunnel ? "behind a tunnel" : "in a container");
	return true;
}

uint32_t entry_identity(uint32_t in, const struct ipaddr *src, uint32_t claimed)
{
	switch (in & 0xff000000) {
	case FLOW_IN_UPLINK:
		return ipcache_identity(src, NULL);
	case FLOW_IN_HOST: /* what the kernel routes for others is not the box */
		return fib_is_own(src) ? ID_HOST : ipcache_identity(src, NULL);
	case FLOW_IN_REMOTE: {
		const struct remote *r = remote_at(in & FLOW_IN_INDEX);
		return r && vteps[r->vtep].mode == VNI_NETWORK ? ipcache_identity(src, NULL) : claimed;
	}
	default:
		return claimed;
	}
}

/* The record by which a proxy answers what came as 't' reversed, 0: none. */
static uint32_t find_proxied(const struct decision *d, const struct tuple *t)
{
	uint8_t key[40];
	const uint64_t hash = tuple_key(t, key);
	const struct ct *c = ct_of(d->p->flags & PKT_IP6);
	const uint32_t r = ct_find(c, key, hash, d->w->now_s);
	return r & 1 && LOAD_RELAXED(&ct_conn(c, r >> 1)->flags) & CONN_PROXY ? r : 0;
}

/* A proxy answers in the name of whom the client asked, who may live anywhere. */
static bool is_proxy_answer(const struct decision *d)
{
	struct tuple t;
	if (d->p->flags & (PKT_ARP | PKT_ICMP_ERROR | PKT_FRAG_LATER))
		return false;
	tuple_of_pkt(d->p, &t);
	return find_proxied(d, &t);
}

/* The client's, of what went to a listener. */
static uint16_t proxied_zone(const struct decision *d)
{
	struct tuple t, back;
	tuple_of_pkt(d->p, &t);
	tuple_reverse(&t, &back);
	const uint32_t r = find_proxied(d, &back) & ~1u;
	if (!r)
		return 0;
	tuple_of_key(d->p->flags & PKT_IP6,
		     d->p->flags & PKT_IP6 ? (const void *)&ct_flow6(r)->key : (const void *)&ct_flow4(r)->key, &t);
	return t.zone;
}

/* What the engine sent to a listener came back: there is none. The client gets the answer, by the way its packet came. */
static enum step entry_refused(struct decision *d, uint32_t port)
{
	struct ipaddr src;
	struct route r;
	source_of(d->p, &src);
	d->p->zone = proxied_zone(d);
	step_route(d->p->zone, &src, 0, ID_REMOTE_NODE, &r);
	d->p->in = r.in;
	decide_say(d, "entry", "back from the gate: nobody listens on port %u of the box", port);
	return decide_drop(d, DROP_PROXY_LISTENER);
}

static enum step entry_host(struct decision *d)
{
	struct pkt *p = d->p;
	struct ipaddr src;
	source_of(p, &src);
	p->flags &= (uint16_t)~PKT_BCAST;
	p->in = FLOW_IN_HOST;
	p->identity = entry_identity(FLOW_IN_HOST, &src, ID_HOST);
	if (p->identity != ID_HOST && lives_elsewhere(d, &src, ipcache_lookup(&src, NULL)) && !is_proxy_answer(d))
		return decide_drop(d, DROP_INVALID_SOURCE);
	decide_say(d, "entry", "%s, identity %u",
		   p->identity == ID_HOST ? "the box itself" : "routed by the box's kernel", p->identity);
	return STEP_ON;
}

static enum step entry_gate(struct decision *d)
{
	uint32_t id;
	struct pkt *p = d->p;
	switch (gate_stamp_read(p->data + 6, &id)) {
	case GATE_ENDPOINT_BCAST:
		p->flags |= PKT_BCAST;
		return entry_endpoint(d, id);
	case GATE_ENDPOINT:
		p->flags &= (uint16_t)~PKT_BCAST;
		return entry_endpoint(d, id);
	case GATE_HOST:
		return entry_host(d);
	case GATE_PROXY:
		return p->flags & PKT_ARP ? decide_drop(d, DROP_GATE) : entry_refused(d, id);
	default:
		return decide_drop(d, DROP_GATE);
	}
}

/* RFC 6040 4.2, figure 4: a mark of the outer header, CE or ECT(1), must not get lost; a packet that cannot carry CE must not
 * go on. */
static enum step merge_ecn(struct decision *d)
{
	struct pkt *p = d->p;
	const uint8_t outer = p->outer_tos & 3, inner = p->tos & 3;
	uint8_t ecn = inner;
	if (p->flags & PKT_ARP)
		return STEP_ON;
	if (outer == 3)
		ecn = 3;
	else if (outer == 1 && inner == 2)
		ecn = 1;
	if (ecn == inner)
		return STEP_ON;
	if (inner == 0)
		return decide_drop(d, DROP_ECN);
	if (d->x)
		return STEP_ON;
	if (p->flags & PKT_IP6) {
		p->l3[1] = (uint8_t)((p->l3[1] & ~0x30) | ecn << 4);
	} else {
		uint16_t old = ld16(p->l3);
		p->l3[1] = (uint8_t)((p->l3[1] & ~3) | ecn);
		st16(p->l3 + 10, csum_update(ld16(p->l3 + 10), old, ld16(p->l3)));
	}
	p->tos = (uint8_t)((p->tos & ~3) | ecn);
	return STEP_ON;
}

static void say_zone(const struct decision *d)
{
	if (d->p->zone)
		decide_say(d, "entry", "in zone %u", d->p->zone);
}

static enum step inner_identity(struct decision *d, const struct vtep *v, uint32_t vni)
{
	struct pkt *p = d->p;
	struct ipaddr src;
	source_of(p, &src);
	if (v->mode == VNI_NETWORK) {
		p->identity = ipcache_identity(&src, NULL);
	} else {
		if (vni == ID_HOST || vni == ID_UNKNOWN)
			return decide_drop(d, DROP_INVALID_IDENTITY);
		/* cilium.md 2.1: remote-node from the wire is refined by the address */
		p->identity = vni == ID_REMOTE_NODE ? ipcache_identity(&src, NULL) : vni;
		if (vni == ID_REMOTE_NODE && p->identity == ID_WORLD)
			p->identity = ID_REMOTE_NODE;
	}
	if (decide_lives_here(&src)) {
		decide_say(d, "entry", "the source lives on this box: it cannot come out of a tunnel");
		return decide_drop(d, DROP_INVALID_SOURCE);
	}
	return STEP_ON;
}

/* A node may be known to another VTEP of the box only. */
static void say_unknown_sender(const struct decision *d, const struct ipaddr *src)
{
	char b[IP_STRLEN], c[IP_STRLEN];
	for (uint32_t v = 0; d->x && v < VTEPS_MAX; v++)
		if (remote_find(v, src)) {
			decide_say(d, "entry",
				   "VXLAN from %s, whose tunnel and ipcache rows are of vtep %s port %u: add a row "
				   "with this vtep",
				   ip_print(src, b), ip_print(&vteps[v].addr, c), vteps[v].port);
			return;
		}
	decide_say(d, "entry", "VXLAN from %s, which no tunnel or ipcache row names as remote", ip_print(src, b));
}

static enum step entry_overlay(struct decision *d, const struct tuple *outer, uint32_t vtep)
{
	struct pkt *p = d->p;
	uint8_t *x = p->l4 + UDP_HLEN;
	uint32_t len = rd16(p->l4 + 4) - UDP_HLEN, vni;
	char text[IP_STRLEN];
	uint32_t remote = remote_find(vtep, &outer->src);
	if (!remote) {
		say_unknown_sender(d, &outer->src);
		return decide_drop(d, DROP_UNKNOWN_SENDER);
	}
	if (len < VXLAN_HLEN || !(x[0] & 8)) /* RFC 7348 5: without the I flag there is no VNI */
		return decide_drop(d, DROP_VXLAN_HEADER);
	if (len < VXLAN_HLEN + ETH_HLEN_)
		return decide_drop(d, DROP_RUNT);
	vni = rd32(x + 4) >> 8;
	p->zone = 0;
	if (vteps[vtep].mode == VNI_NETWORK && !remote_has_vni(remote_at(remote), vni, &p->zone))
		return decide_drop(d, DROP_VNI);
	uint8_t outer_tos = p->tos, csum = p->csum, *frame = p->data;
	uint16_t port = p->port;
	uint32_t frame_len = p->len;
	p->data = x + VXLAN_HLEN; /* the inner frame is parsed like any frame */
	p->len = len - VXLAN_HLEN;
	enum drop why = parse_frame(p);
	uint8_t *inner = p->data;
	p->data = frame;
	p->len = frame_len;
	p->port = port;
	p->csum = csum;
	p->inner = inner;
	if (why != DROP_NONE)
		return decide_drop(d, why);
	p->flags |= (uint16_t)(PKT_OVERLAY | (vteps[vtep].mode == VNI_IDENTITY ? PKT_VNI_CLAIM : 0));
	p->in = FLOW_IN_REMOTE | remote;
	p->outer_vni = vni;
	p->outer_tos = outer_tos;
	enum step s = inner_identity(d, &vteps[vtep], vni);
	if (s != STEP_ON)
		return s;
	decide_say(d, "entry", "remote node %s, VNI %u, identity %u", ip_print(&outer->src, text), vni, p->identity);
	say_zone(d);
	return merge_ecn(d);
}

/* A VTEP's address may be a pool's or a service's too: then only the first fragment tells, and later ones of VXLAN packets find no
 * first (175). */
static bool outer_fragment(const struct pkt *p, const struct tuple *t)
{
	if (p->proto != PROTO_UDP || !(p->flags & PKT_FRAG) || !vtep_addr_known(&t->dst))
		return false;
	if (nat_pool_by_addr(&t->dst) < 0 && !service_is_vip(&t->dst))
		return true;
	return !(p->flags & PKT_FRAG_LATER) && p->l4_len >= 4 && vtep_find(&t->dst, rd16(p->l4 + 2)) >= 0;
}

/* Is it an address that only we send from, for somebody inside? While another host may have it, it is not; who has it says so by
 * neighbour discovery. */
static bool stands_for_inside(const struct pkt *p, const struct ipaddr *src)
{
	return nat_pool_by_outside(src) >= 0 && !is_nd(p) && !claim_withheld(src);
}

/* The source of what comes from the network outside any tunnel; 'source-validation' of the port is RFC 3704's reverse path. */
static enum step check_uplink_source(struct decision *d, const struct ipaddr *src)
{
	const struct port_conf *c = &ports[d->p->port]->conf;
	struct fib_result f;
	fib_lookup(src, 0, &f);
	if (f.kind == FIB_LOCAL) {
		decide_say(d, "entry", "the source is an address of this box");
		return decide_drop(d, DROP_INVALID_SOURCE);
	}
	if (stands_for_inside(d->p, src)) { /* RFC 1812 5.3.7: no more than the box's own */
		decide_say(d, "entry", "the source is an outside address of a NAT pool");
		return decide_drop(d, DROP_INVALID_SOURCE);
	}
	if (f.kind == FIB_BROADCAST) { /* no single host: RFC 1812 4.2.2.11, 5.3.7 */
		decide_say(d, "entry", "the source is a broadcast address");
		return decide_drop(d, DROP_MARTIAN);
	}
	if (c->source_validation == PORT_SOURCES_ANY ||
	    fib_source_valid(src, d->p->port, c->source_validation == PORT_SOURCES_STRICT, &d->source_dep))
		return STEP_ON;
	decide_say(d, "entry", "no route to the source%s: source-validation %s",
		   c->source_validation == PORT_SOURCES_STRICT ? " leaves by this port" : "",
		   c->source_validation == PORT_SOURCES_STRICT ? "strict" : "loose");
	return decide_drop(d, DROP_INVALID_SOURCE);
}

static enum step entry_uplink(struct decision *d)
{
	struct pkt *p = d->p;
	struct tuple t;
	enum step s;
	p->in = FLOW_IN_UPLINK;
	if (p->flags & PKT_ARP)
		return STEP_ON;
	tuple_of_pkt(p, &t);
	if (outer_fragment(p, &t))
		return decide_drop(d, DROP_OUTER_FRAGMENT); /* RFC 7348 4.3 */
	int v = p->proto == PROTO_UDP && !(p->flags & PKT_FRAG) ? vtep_find(&t.dst, ntohs(t.dport)) : -1;
	if (v >= 0)
		return entry_overlay(d, &t, (uint32_t)v);
	const struct ipcache_value *c = ipcache_lookup(&t.src, NULL);
	if (lives_elsewhere(d, &t.src, c))
		return decide_drop(d, DROP_INVALID_SOURCE);
	if ((s = check_uplink_source(d, &t.src)) != STEP_ON)
		return s;
	p->identity = c ? c->identity : ID_WORLD;
	decide_say(d, "entry", "uplink, identity %u", p->identity);
	say_zone(d);
	return STEP_ON;
}

enum step step_entry(struct decision *d)
{
	struct pkt *p = d->p;
	p->inner = p->data;
	if (unlikely(p->port != PORT_GATE && !ports[p->port])) /* its port was deleted while it waited */
		return decide_drop(d, DROP_NO_PORT);
	p->zone = port_zone(p->port);
	enum drop why = parse_frame(p);
	if (why != DROP_NONE)
		return decide_drop(d, why);
	if (p->port == PORT_GATE)
		return entry_gate(d);
	/* the box's own traffic, made by the engine or by explain */
	return entry_uplink(d);
}
