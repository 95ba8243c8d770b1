/* SPDX-License-Identifier: BSD-2-Clause */
/* The decision path: the steps of design section 6 for one packet, in order, on its worker. Explain runs it dry.
 *
 * Up to 'route' a packet that goes on leaves no trace but a learned MAC, so one that must wait for a neighbour is held as it
 * came and decided anew. */
#include "fwd/decide.h"

#include <stdarg.h>
#include <stdio.h>

#include "fwd/frag.h"
#include "fwd/hold.h"
#include "fwd/icmp.h"
#include "fwd/refuse.h"
#include "fwd/replay.h"

void decide_say_line(const struct decision *d, const char *step, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->say->line(d->say, step, text);
}

enum step decide_drop(struct decision *d, enum drop reason)
{
	d->drop = reason;
	return STEP_DROP;
}

/* RFC 3927 2.7: 169.254/16 stays on its link. What the operator has an endpoint or a more specific route for is meant to go
 * there: a resolver on each node, a cloud's metadata service. */
static bool is_offlink4(const struct ipaddr *a)
{
	struct fib_result f;
	if (!ip_is4(a) || rd16(a->b + 12) != 0xa9fe || endpoint_by_addr(a))
		return false;
	fib_lookup(a, 0, &f);
	return f.kind != FIB_LOCAL && (f.kind != FIB_UNICAST || f.prefix.len <= 96 + 16);
}

/* RFC 1812 5.3.7: addresses that never belong on the wire as source or destination. */
static enum step check_addresses(struct decision *d)
{
	const struct ipaddr *s = &d->wire.src, *t = &d->wire.dst;
	/* ::ffff:a.b.c.d in an IPv6 packet would be taken for IPv4 everywhere behind this line */
	if (d->p->flags & PKT_IP6 && (ip_is4(s) || ip_is4(t)))
		return decide_drop(d, DROP_MARTIAN);
	if (ip_is_multicast(t) || ip_is_bcast4(t) || d->p->flags & PKT_BCAST)
		return decide_drop(d, DROP_MULTICAST);
	if (ip_is_multicast(s) || ip_is_bcast4(s) || ip_is_zero(s) || ip_is_loopback(s) || ip_is_zero(t) ||
	    ip_is_loopback(t))
		return decide_drop(d, DROP_MARTIAN);
	if (ip_is4(s) ? s->b[12] == 0 || t->b[12] == 0 || s->b[12] >= 240 || t->b[12] >= 240
		      : ip_is_linklocal6(s) || ip_is_linklocal6(t))
		return decide_drop(d, DROP_MARTIAN);
	if (is_offlink4(s) || is_offlink4(t))
		return decide_drop(d, DROP_MARTIAN);
	return STEP_ON;
}

/* Source quench is deprecated (RFC 6633); a redirect is about a host's own link, and passed on through a translation it names
 * addresses that mean nothing behind it. Neither is to be answered, so both are errors all the same. */
static bool is_unwanted_error(const struct pkt *p)
{
	return (p->flags & (PKT_ICMP_ERROR | PKT_IP6)) == PKT_ICMP_ERROR && (p->l4[0] == 4 || p->l4[0] == 5);
}

/* Prefixes are translated under any protocol (RFC 6296 1); one without ports has one connection between two addresses. ICMP is none
 * of them: replay would rewrite a checksum and an identifier that are not there. */
static bool is_under_prefix(const struct decision *d)
{
	const struct tuple *t = &d->wire;
	if (t->proto == PROTO_ICMP || t->proto == PROTO_ICMP6)
		return false;
	const int pool = nat_pool_by_outside(&t->dst);
	return (pool >= 0 && nat_pools[pool].prefix) || nat_under_prefix(&t->src);
}

static enum step check_protocol(struct decision *d)
{
	const struct pkt *p = d->p;
	if (is_unwanted_error(p))
		return decide_drop(d, DROP_CT_UNKNOWN_PROTO);
	if (p->proto == PROTO_TCP || p->proto == PROTO_UDP || p->proto == PROTO_SCTP ||
	    p->flags & (PKT_ICMP_ECHO | PKT_ICMP_ERROR) || is_under_prefix(d))
		return STEP_ON;
	return decide_drop(d, DROP_CT_UNKNOWN_PROTO);
}

/* The counter that stands for the side a real address is on. */
static uint16_t side_dep(const struct endpoint *ep, bool host, const struct ipaddr *a)
{
	uint16_t dep;
	if (ep)
		return ep->gen;
	if (host)
		return policy_host_gen();
	ipcache_lookup(a, &dep);
	return dep;
}

/* Real addresses and identities of the original direction, endpoints of both ends. The sender is whom entry found: a second
 * look may find it gone, and with it its policy and its translation. */
static void find_ends(struct decision *d)
{
	d->src_endpoint = d->sender && !d->reply ? d->sender : endpoint_by_addr(&d->osrc);
	d->dst_endpoint = d->sender && d->reply ? d->sender : endpoint_by_addr(&d->odst);
	if (!d->reply)
		d->src_identity = d->p->identity;
	else if (d->src_endpoint)
		d->src_identity = d->src_endpoint->identity;
	else
		d->src_identity =
			entry_identity(LOAD_RELAXED(&d->conn->in), &d->osrc, LOAD_RELAXED(&d->conn->identity));
}

/* The way of the original direction. What a mapping stands for lives in the mapping's zone. */
static void route_there(const struct decision *d, uint32_t hash, struct route *r)
{
	const uint16_t own = d->src_endpoint ? d->src_endpoint->zone : decide_zone_in(d);
	if (d->inbound && decide_zone_out(d))
		step_route(decide_zone_out(d), &d->odst, hash, d->src_identity, r);
	else
		step_route_from(own, &d->odst, hash, d->src_identity, r);
}

/* The reply of a known connection is expected from another zone than its destination is in now. */
static enum step check_zone(struct decision *d)
{
	if (!d->record || d->reply || conn_flags(d->conn) & CONN_PROXY || d->to.kind == ROUTE_NONE ||
	    d->to.zone == d->out.zone)
		return STEP_ON;
	decide_say(d, "route", "the way leads to zone %u now, not to zone %u: the connection starts anew", d->to.zone,
		   d->out.zone);
	if (d->x)
		return STEP_ON;
	ct_delete(d->ct, d->w->slot, d->record >> 1);
	return STEP_AGAIN;
}

enum step decide_still_wanted(struct decision *d, uint32_t r)
{
	static struct explain dry;
	struct decision as = *d;
	enum step s;
	as.x = &dry;
	/* as a reply: who sent this packet need be at no end of the connection, and a reply's identities are the connection's */
	as.record = r | 1;
	as.reply = true;
	as.conn = ct_conn(d->ct, r >> 1);
	as.sender = NULL;
	tuple_of_key(d->ct->v6, d->ct->v6 ? (const void *)&ct_flow6(r | 1)->key : (const void *)&ct_flow4(r | 1)->key,
		     &as.wire);
	decide_stored_tuples(&as);
	if ((s = step_service(&as)) == STEP_ON) {
		find_ends(&as);
		route_there(&as, (uint32_t)d->p->hash, &as.from);
		as.dst_identity = as.from.identity;
		if ((s = step_policy(&as)) == STEP_ON)
			s = step_masquerade(&as);
	}
	d->drop = as.drop;
	return s;
}

static uint64_t original_hash(const struct decision *d)
{
	const uint32_t original = d->record & ~1u;
	return hash_key(d->ct->v6 ? (const void *)&ct_flow6(original)->key : (const void *)&ct_flow4(original)->key,
			d->ct->idx.key_len);
}

/* The answer about the source's route. Toward an endpoint dep[2], the counter of the ipcache row that the endpoint itself
 * implies, says nothing that the endpoint's own does not. */
static void depend_on_source(struct decision *d)
{
	if (d->to.kind == ROUTE_ENDPOINT)
		d->dep[2] = d->source_dep;
	else if (!LOAD_RELAXED(&fib_sources_matter))
		STORE_RELEASE(&fib_sources_matter, 1);
}

static enum step find_routes(struct decision *d)
{
	struct pkt *p = d->p;
	struct route *other = &d->from;
	/* the same among several paths whichever way the packet goes: the pool depends on the port */
	const uint32_t hash = (uint32_t)(d->reply ? original_hash(d) : p->hash);
	route_there(d, hash, d->reply ? &d->from : &d->to);
	d->dst_identity = (d->reply ? &d->from : &d->to)->identity;
	if (d->reply) {
		step_route(decide_zone_in(d), &d->osrc, hash, d->dst_identity, &d->to);
		d->dep[0] =
			side_dep(d->dst_endpoint, d->from.in == FLOW_IN_HOST && d->dst_identity == ID_HOST, &d->odst);
	} else {
		d->dep[0] = side_dep(d->src_endpoint, p->in == FLOW_IN_HOST && d->src_identity == ID_HOST, &d->osrc);
	}
	if (d->to.kind == ROUTE_ENDPOINT) /* who gets it: as the sender, one look for all */
		*(d->reply ? &d->src_endpoint : &d->dst_endpoint) = d->to.endpoint;
	memcpy(&d->dep[1], d->to.dep, sizeof(d->to.dep));
	/* routes to endpoints leave the last one free: a source that moves behind a tunnel must stop what its old place sends */
	if (d->to.kind == ROUTE_ENDPOINT)
		tunnel_lookup(d->wire.zone, d->reply ? &d->odst : &d->osrc, &d->dep[3]);
	if (d->source_dep)
		depend_on_source(d);
	if (!d->record) {
		d->out.zone = d->to.zone;
		return STEP_ON;
	}
	/* a live tuple from another ingress than it belongs to is spoofed, unless the sender has moved there */
	uint32_t expected = d->reply ? other->in : LOAD_RELAXED(&d->conn->in);
	if (d->reply && conn_flags(d->conn) & CONN_PROXY) /* the proxy answers in the destination's name */
		expected = FLOW_IN_HOST;
	if (p->in == expected)
		return check_zone(d);
	if (!d->reply) {
		step_route(d->wire.zone, &d->osrc, hash, d->dst_identity, other);
		if (other->in == p->in)
			return check_zone(d);
	}
	decide_say(d, "ct", "the packet came in where its source does not live");
	return decide_drop(d, DROP_INVALID_SOURCE);
}

/* A container that spoke VXLAN to the outside could be taken for this box, masqueraded to a VTEP's address even by a remote
 * node that checks the sender (cilium.md 2.3). Inside the overlay it may speak what it likes. */
static bool is_encapsulation(const struct decision *d)
{
	if (d->p->proto != PROTO_UDP || (d->p->in & 0xff000000) != FLOW_IN_ENDPOINT ||
	    (d->to.kind != ROUTE_PORT && d->to.kind != ROUTE_HOST))
		return false;
	for (unsigned i = 0; i < VTEPS_MAX; i++)
		if (!ip_is_zero(&vteps[i].addr) && vteps[i].port == ntohs(d->wire.dport))
			return true;
	return false;
}

/* Most addresses of an outside prefix stand for no network inside: what comes for those must not go back out, by the default
 * route, with an inside address. */
static bool leads_back_out(const struct decision *d)
{
	return d->inmap & NAT_STATIC && d->p->in == FLOW_IN_UPLINK && d->to.port == d->p->port &&
	       !nat_under_prefix(&d->osrc);
}

/* May the packet go that way at all? */
static enum step check_way(struct decision *d)
{
	const struct pkt *p = d->p;
	const struct route *r = &d->to;
	if (r->kind == ROUTE_NONE)
		return decide_drop(d, r->no_tunnel ? DROP_NO_TUNNEL : r->refused ? r->refused : DROP_UNROUTABLE);
	if (r->kind == ROUTE_HOST && p->in == FLOW_IN_HOST)
		return decide_drop(d, DROP_UNROUTABLE); /* the kernel would send it straight back */
	if (r->kind == ROUTE_PORT && leads_back_out(d)) {
		decide_say(d, "route", "the inside address leads out by the port that this came in by");
		return decide_drop(d, DROP_UNROUTABLE);
	}
	if (r->kind == ROUTE_PORT && p->in == FLOW_IN_UPLINK && !d->backend &&
	    !(ports[r->port] && ports[r->port]->conf.transit)) {
		decide_say(d, "route", "from uplink to uplink needs transit on at the port it leaves by");
		d->silent = true; /* RFC 1812 5.3.11 */
		return decide_drop(d, DROP_UNROUTABLE);
	}
	if (is_encapsulation(d)) {
		decide_say(d, "route", "UDP to a tunnel port from a container must not leave the overlay");
		return decide_drop(d, DROP_ENCAP_PROHIBITED);
	}
	return STEP_ON;
}

static enum step check_route(struct decision *d)
{
	const struct pkt *p = d->p;
	const struct route *r = &d->to;
	if (unlikely(d->say))
		step_route_say(d);
	enum step s = check_way(d);
	if (s != STEP_ON)
		return s;
	if (!decide_may_hop(p, r))
		return decide_drop(d, DROP_TTL);
	if (r->failed)
		return decide_drop(d, DROP_NO_NEIGHBOR);
	if (!r->adj) {
		decide_say(d, "neighbour", "not resolved yet: the packet would wait for it");
		d->wait = r->key;
		return STEP_HOLD;
	}
	return STEP_ON;
}

static enum step connection(struct decision *d)
{
	enum step s;
	if ((s = step_ct(d)) != STEP_ON)
		return s;
	if ((s = step_service(d)) != STEP_ON)
		return s;
	if (!d->record && !d->backend && (s = step_unnat(d)) != STEP_ON)
		return s;
	if ((s = step_box_rest(d)) != STEP_ON)
		return s;
	find_ends(d);
	if ((s = find_routes(d)) != STEP_ON || (s = step_dsr(d)) != STEP_ON)
		return s;
	if ((s = step_policy(d)) != STEP_ON)
		return s;
	if ((s = step_proxy(d)) != STEP_ON)
		return s;
	if ((s = check_route(d)) != STEP_ON)
		return s;
	if ((s = step_masquerade(d)) != STEP_ON)
		return s;
	if ((s = frag_translated(d)) != STEP_ON || (s = step_size(d)) != STEP_ON) {
		if (!d->record)
			decide_release_nat(d);
		return s;
	}
	return step_commit(d);
}

static enum step run(struct decision *d)
{
	enum step s;
	struct pkt *p = d->p;
	d->begin = gen_begin();
	if ((s = step_entry(d)) != STEP_ON)
		return s;
	if ((s = step_l2(d)) != STEP_ON)
		return s;
	tuple_of_pkt(p, &d->wire);
	if ((s = step_box(d)) != STEP_ON)
		return s;
	if ((s = check_addresses(d)) != STEP_ON || (s = step_options(d)) != STEP_ON)
		return s;
	if (p->flags & PKT_FRAG && (s = step_frag(d)) != STEP_ON)
		return s;
	if ((s = check_protocol(d)) != STEP_ON)
		return s;
	if (p->flags & PKT_ICMP_ERROR)
		return step_icmp_error(d);
	/* again: another worker created the same connection first, or a finished one gives way to a new one */
	for (int tries = 0; tries < 4; tries++) {
		s = connection(d);
		if (s != STEP_AGAIN)
			return s;
	}
	return decide_drop(d, DROP_CT_FULL); /* not full, but "map insertion failed" says it */
}

/* To the sender; what a proxy answered has another one than its source says. */
static void error(struct decision *d, enum icmp_kind kind, uint16_t mtu)
{
	struct route r = { 0 };
	if (!d->reply || !d->proxy_port) {
		icmp_error(d->w, d->p, kind, mtu);
		return;
	}
	decide_proxy_route(d->proxy_port, &r);
	icmp_error_by(d->w, d->p, kind, mtu, &r);
}

/* The ICMP error that goes with a drop, if any. */
static void answer(struct decision *d)
{
	if (d->silent)
		return;
	if (d->bad_field) { /* RFC 1812 4.3.3.5, RFC 6296 3.7 */
		error(d, ICMP_BAD_FIELD, d->bad_field);
		return;
	}
	switch (d->drop) {
	case DROP_TTL:
		error(d, ICMP_TIME_EXCEEDED, 0);
		break;
	case DROP_NO_TUNNEL:
	case DROP_UNROUTABLE:
		error(d, ICMP_NO_ROUTE, 0);
		break;
	case DROP_UNREACHABLE:
		error(d, ICMP_UNREACHABLE_ROUTE, 0);
		break;
	case DROP_NO_NEIGHBOR:
		error(d, ICMP_HOST_UNREACHABLE, 0);
		break;
	case DROP_MTU:
		if (adj_state(adj_at(d->to.adj)).mtu) /* it may have gone away since */
			error(d, ICMP_TOO_BIG, adj_at(d->to.adj)->mtu);
		break;
	case DROP_PROXY_LISTENER:
		refuse(d->w, d->p);
		break;
	case DROP_PROHIBIT:
	case DROP_CT_FULL: /* RFC 5508 REQ-8 */
	case DROP_NAT_NO_PORT:
		error(d, ICMP_ADMIN_PROHIBITED, 0);
		break;
	case DROP_NAT_QUOTA: /* no business of who comes from outside */
		if (!d->inbound)
			error(d, ICMP_ADMIN_PROHIBITED, 0);
		break;
	case DROP_NO_SERVICE:
		if (d->no_backend && !settings.service_drop)
			icmp_error(d->w, d->p, ICMP_PORT_UNREACHABLE, 0);
		break;
	case DROP_POLICY:
	case DROP_POLICY_DENY:
		if (settings.policy_reject)
			error(d, ICMP_ADMIN_PROHIBITED, 0);
		break;
	default:
		break;
	}
}

/* Its identification means something (RFC 6864 4.1). */
static bool is_whole_without_df(const struct pkt *p)
{
	return !(p->flags & (PKT_IP6 | PKT_FRAG)) && !(p->l3[6] & 0x40);
}

void decide(struct worker *w, struct pkt *p)
{
	struct decision d = { .w = w, .p = p, .say = w->say };
	switch (run(&d)) {
	case STEP_DROP:
		answer(&d);
		if (d.frag)
			frag_dropped(&d);
		worker_drop(w, p, d.drop);
		break;
	case STEP_HOLD:
		if (d.frag)
			frag_put_off(&d);
		hold_packet(w, p, &d.wait, d.to.failed);
		break;
	case STEP_ON: /* committed: send it as every later packet will be sent */
		if (d.rule_egress)
			policy_count(d.rule_egress, w->slot);
		if (d.rule_ingress)
			policy_count(d.rule_ingress, w->slot);
		if (p->csum)
			parse_complete_csum(p);
		step_mss(&d);
		if (d.cut || (settings.nat_unique_ids && is_whole_without_df(p)))
			frag_rename(&d);
		if (d.frag)
			frag_send(&d);
		else
			replay_one(w, p, d.ct, d.record);
		break;
	default:
		break;
	}
}

void decide_explain(struct worker *w, struct pkt *p, struct explain *x)
{
	struct decision d = { .w = w, .p = p, .x = x, .say = x };
	switch (run(&d)) {
	case STEP_DROP:
		decide_say(&d, "verdict", "dropped: %s (%d)", drop_text(d.drop), (int)d.drop);
		break;
	case STEP_HOLD:
		decide_say(&d, "verdict", "held until the %s",
			   d.wait_frag ? "first fragment comes" : "neighbour is known");
		break;
	case STEP_ON:
		decide_say(&d, "verdict", "forwarded");
		break;
	default:
		decide_say(&d, "verdict", d.left ? "left to the kernel" : "answered by the gateway");
		break;
	}
}
