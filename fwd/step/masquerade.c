/* SPDX-License-Identifier: BSD-2-Clause */
/* Step un-NAT (a new packet to a mapped port) and step masquerade (local endpoint to outside), design section 6 steps 5 and
 * 8. Mappings are endpoint-independent unless the pool says otherwise; a filter says who may come back in (RFC 4787 REQ-1,
 * REQ-8).
 *
 * Hairpin: an endpoint that sends to a mapped port is translated twice, so that the other one sees the address and port by
 * which the first is known outside (RFC 4787 REQ-9a, RFC 5382 REQ-8). */
#include <errno.h>

#include "fwd/claim.h"
#include "fwd/decide.h"
#include "tables/ipmasq.h"
#include "tables/nat.h"
#include "tables/service.h"

enum { IP6_SRC = 8, IP6_DST = 24 }; /* offsets */

/* The port or id that stands for the inside in a tuple's source. */
static be16 inside_port(const struct tuple *t)
{
	return t->sport;
}

static bool from_container(const struct decision *d)
{
	return (d->p->in & 0xff000000) == FLOW_IN_ENDPOINT;
}

/* The pool when 'm' is one that translates a prefix, else NULL. */
static const struct nat_pool *prefix_pool(uint32_t m)
{
	return m & NAT_STATIC && nat_pools[m & ~NAT_STATIC].prefix ? &nat_pools[m & ~NAT_STATIC] : NULL;
}

/* Of what a mapping translates in the zone that the packet comes from: hairpin. A zone is the inside of its own mappings, and for
 * those of others it is outside. Behind prefixes the source says it. */
static bool from_inside(const struct decision *d)
{
	if (prefix_pool(d->inmap) && nat_under_prefix(&d->osrc))
		return true;
	if (!d->wire.zone || !nat_is_mapping(d->inmap))
		return from_container(d);
	return nat_key_at(d->inmap)->zone == d->wire.zone;
}

/* What prefix translation has no address for (RFC 6296 3.2, 3.7). 'field': offset in the IPv6 header, for who is told. */
static enum step untranslatable(struct decision *d, enum nat_prefix why, enum drop reason, uint8_t field)
{
	if (why == NAT_PREFIX_IID)
		d->bad_field = field;
	decide_say(d, "nat", "prefix translation has no address for %s",
		   why == NAT_PREFIX_IID ? "an interface identifier of all zeros, before or behind, or all ones"
					 : "subnet ffff (bits 48-63)");
	return decide_drop(d, reason);
}

/* One address for another, all protocols and ports; policy says who may come in. */
static enum step unnat_static(struct decision *d, unsigned pool)
{
	char text[IP_STRLEN];
	struct ipaddr inside;
	if (nat_pools[pool].prefix &&
	    decide_lives_here(&d->wire.dst)) /* of a prefix' addresses those are not translated */
		return STEP_ON;
	const enum nat_prefix r = nat_to_inside(pool, &d->wire.dst, &inside);
	if (r != NAT_PREFIX_OK)
		return untranslatable(d, r, DROP_NAT_NO_MAPPING, IP6_DST);
	d->inmap = NAT_STATIC | pool;
	d->inbound = true;
	d->odst = d->out.dst = inside;
	d->out.zone = 0; /* of where it lives, which routes tell; not the sender's */
	decide_say(d, "nat", "static to %s", ip_print(&inside, text));
	return STEP_ON;
}

enum step step_unnat(struct decision *d)
{
	const struct tuple *t = &d->wire;
	const bool may = d->p->in == FLOW_IN_UPLINK || from_container(d) || t->zone;
	const int pool = may ? nat_pool_by_outside(&t->dst) : -1;
	if (pool < 0)
		return STEP_ON;
	if (nat_is_static(&nat_pools[pool]))
		return unnat_static(d, (unsigned)pool);
	uint32_t m = nat_proto_supported(t->proto) ? nat_by_outside(&t->dst, t->proto, ntohs(t->dport)) : 0;
	if (!m && nat_is_shared(&t->dst, t->proto, ntohs(t->dport))) {
		decide_say(d, "nat", "no connection of this port is with this remote address and port");
		return decide_drop(d, DROP_NAT_FILTERED);
	}
	if (!m) {
		if (fib_is_own(&t->dst))
			return STEP_ON; /* the kernel's own address too: its own traffic */
		decide_say(d, "nat", "no mapping for this port of pool address");
		return decide_drop(d, DROP_NAT_NO_MAPPING);
	}
	const struct nat_key *k = nat_key_at(m);
	const struct nat_remote from = { .addr = t->src, .port = ntohs(t->sport), .zone = t->zone };
	d->inmap = m;
	/* who is inside is asked by his outside address, known once he is translated */
	if (!from_inside(d) && !nat_permitted_in(m, &from)) {
		decide_say(d, "nat", "the mapping never talked to this remote address");
		return decide_drop(d, DROP_NAT_FILTERED);
	}
	if (k->zone && k->zone != t->zone &&
	    (t->zone || from_container(d))) { /* both are insides, but not of each other */
		decide_say(d, "nat", "the mapping is one of zone %u", k->zone);
		return decide_drop(d, DROP_NAT_FILTERED);
	}
	d->inbound = true;
	d->out.zone = k->zone;
	d->odst = k->inside;
	d->out.dst = k->inside;
	d->out.dport = d->odport = htons(k->inside_port);
	decide_say(d, "nat", "mapped inbound to port %u", k->inside_port);
	return STEP_ON;
}

/* As if it went out by the port of the other one's pool, or where its address is routed; when nothing is configured for that,
 * by the same pool unless that has one address only. Out by the prefix that both are under, and back in (RFC 6296 4.3). */
static int hairpin_pool(const struct decision *d)
{
	const int other = (int)nat_pool_of(d->inmap);
	int32_t port = nat_pools[other].port;
	if (prefix_pool(d->inmap) && nat_is_inside((unsigned)other, &d->osrc))
		return other;
	if (port < 0 && nat_is_static(&nat_pools[other])) {
		struct fib_result f;
		fib_lookup(&d->wire.dst, 0, &f);
		port = f.kind == FIB_UNICAST ? f.nh.port : -1;
	}
	int pool = nat_pool_choose(&d->osrc, port < 0 ? UINT32_MAX : (uint32_t)port);
	return pool < 0 && !nat_is_static(&nat_pools[other]) ? other : pool;
}

/* Addresses of a zone mean nothing in another one. */
static bool leaves_its_zone(const struct decision *d, const struct route *to)
{
	return decide_zone_in(d) && decide_zone_in(d) != to->zone;
}

/* Of what leaves by 'port'. Who is inside by a prefix alone, neither a container nor in a zone, is translated by that alone, and
 * only on his way out of it. */
static int choose_pool(struct decision *d, uint16_t port, bool by_prefix)
{
	const int pool = nat_pool_choose(&d->osrc, port);
	const bool prefix = pool >= 0 && nat_pools[pool].prefix;
	if (pool < 0 || (by_prefix && !prefix)) {
		decide_say(d, "masquerade", "not translated: no pool of the family for this source and port");
		return -1;
	}
	if (prefix && nat_is_inside((unsigned)pool, &d->odst)) {
		decide_say(d, "masquerade", "not translated: the destination is under the same inside prefix");
		return -1;
	}
	return pool;
}

/* Pool this connection should leave by, -1 = untranslated. */
static int wanted_pool(struct decision *d)
{
	char text[IP_STRLEN];
	struct ipnet hit;
	const struct route *to = d->reply ? &d->from : &d->to;
	if (d->inmap && from_inside(d))
		return hairpin_pool(d);
	const bool member = d->src_endpoint || leaves_its_zone(d, to), inside = member || nat_under_prefix(&d->osrc);
	if (to->kind != ROUTE_PORT || d->inbound || d->proxy_port || (!inside && !d->backend))
		return -1;
	if (d->backend && (d->dsr || d->service->conf.keep_client) && !inside) {
		decide_say(d, "masquerade", "not translated: the service keeps its clients' addresses");
		return -1;
	}
	if (inside && ipmasq_match(&d->odst, &hit)) {
		decide_say(d, "masquerade", "not translated: destination is in ipmasq %s", ipnet_print(&hit, text));
		return -1;
	}
	return choose_pool(d, to->port, !member && !d->backend);
}

/* What nat_open() said, or would say. */
static enum step refused(struct decision *d, int pool, int err)
{
	const struct nat_pool *p = &nat_pools[pool];
	if (err == -EDQUOT) {
		decide_say(d, "masquerade",
			   "the source has all that the pool gives one: max-ports %u, max-sessions %u (0: no limit)%s",
			   p->max_ports, p->max_sessions, p->blocks ? ", or its blocks are full (block-limit)" : "");
		return decide_drop(d, DROP_NAT_QUOTA);
	}
	decide_say(d, "masquerade", "all %s of the pool are taken%s", p->blocks ? "blocks" : "ports",
		   p->mapping == NAT_APDM && !p->blocks ? " for this destination" : "");
	return decide_drop(d, DROP_NAT_NO_PORT);
}

/* Hairpin: may the sender, by its outside address and port, come in by the other one's mapping? */
static enum step check_hairpin(struct decision *d, const struct ipaddr *outside, uint16_t port)
{
	char text[IP_STRLEN];
	const struct nat_remote from = { .addr = *outside, .port = port, .zone = d->out.zone };
	if (!nat_is_mapping(d->inmap) || nat_permitted_in(d->inmap, &from))
		return STEP_ON;
	decide_say(d, "nat", "the mapping never talked to the sender's outside address %s, port %u",
		   ip_print(outside, text), port);
	return decide_drop(d, DROP_NAT_FILTERED);
}

/* Without a mapping yet, most probably the inside port is kept. */
static enum step rehearse(struct decision *d, const struct nat_key *k, const struct nat_remote *to)
{
	char text[IP_STRLEN];
	const uint32_t m = nat_find(k);
	const struct ipaddr outside = m ? nat_at(m)->outside : nat_pools[k->pool].addr;
	decide_say(d, "masquerade", "from pool %s%s", ip_print(&outside, text),
		   d->inmap ? ", the destination being another's outside address" : "");
	int err = nat_open_try(k, to);
	if (err)
		return refused(d, k->pool, err);
	if (m && m == d->inmap) /* to itself, which it permits by that */
		return STEP_ON;
	return check_hairpin(d, &outside, m ? nat_at(m)->outside_port : k->inside_port);
}

/* Of a prefix' addresses those that stand for something else: answers would go there. */
static bool has_other_use(const struct ipaddr *outside)
{
	return nat_pool_by_addr(outside) >= 0 || service_is_vip(outside) || decide_lives_here(outside);
}

static enum step masquerade_static(struct decision *d, int pool)
{
	char text[IP_STRLEN];
	struct ipaddr outside;
	const enum nat_prefix r = nat_to_outside((unsigned)pool, &d->osrc, &outside);
	if (r != NAT_PREFIX_OK)
		return untranslatable(d, r, DROP_NAT_NO_PORT, IP6_SRC);
	if (nat_pools[pool].prefix && has_other_use(&outside)) {
		decide_say(d, "masquerade",
			   "its outside address %s is a pool's, a service's, a container's or the box's own",
			   ip_print(&outside, text));
		return decide_drop(d, DROP_NAT_NO_PORT);
	}
	decide_say(d, "masquerade", "static to %s, ports stay", ip_print(&outside, text));
	const enum step s = check_hairpin(d, &outside, ntohs(inside_port(&d->wire)));
	if (s == STEP_ON) {
		d->mapping = NAT_STATIC | (uint32_t)pool;
		d->out.src = outside;
	}
	return s;
}

static enum step masquerade_new(struct decision *d, int pool)
{
	char text[IP_STRLEN];
	if (claim_taken(&nat_pools[pool].addr)) {
		decide_say(d, "masquerade", "another host on the link has pool address %s ('show addresses')",
			   ip_print(&nat_pools[pool].addr, text));
		return decide_drop(d, DROP_NAT_NO_PORT);
	}
	if (nat_is_static(&nat_pools[pool]))
		return masquerade_static(d, pool);
	if (!nat_proto_supported(d->wire.proto))
		return decide_drop(d, DROP_NAT_PROTO);
	const struct nat_remote to = decide_nat_remote(d);
	const struct nat_key k = { .inside = d->osrc,
				   .inside_port = ntohs(inside_port(&d->wire)),
				   .zone = d->wire.zone,
				   .proto = d->wire.proto,
				   .pool = (uint8_t)pool };
	if (d->x)
		return rehearse(d, &k, &to);
	struct worker *w = d->w;
	uint64_t random = (uint64_t)worker_random(w) << 32 | worker_random(w);
	uint32_t mapping;
	int err = nat_open(w->slot, &k, &to, w->now_s, random, &mapping);
	if (err)
		return refused(d, pool, err);
	d->mapping = mapping;
	const struct nat_mapping *m = nat_at(d->mapping);
	decide_say(d, "masquerade", "from pool %s, port %u", ip_print(&m->outside, text), m->outside_port);
	d->out.src = m->outside;
	d->out.sport = htons(m->outside_port);
	const enum step s = check_hairpin(d, &m->outside, m->outside_port);
	if (s != STEP_ON)
		decide_release_nat(d);
	return s;
}

/* Of a translation that a connection has: is its pool still there, between the same addresses? */
static bool has_pool(uint32_t mapping, const struct ipaddr *inside, const struct ipaddr *outside)
{
	if (mapping & NAT_STATIC)
		return nat_static(inside, outside) == mapping;
	return !mapping || !ip_is_zero(&nat_pools[nat_at(mapping)->pool].addr);
}

static bool has_pools(const struct decision *d)
{
	const struct tuple *fwd = d->reply ? &d->out : &d->wire, *rev = d->reply ? &d->wire : &d->out;
	const struct ipaddr *source = d->reply ? &rev->dst : &rev->src, *dest = d->reply ? &fwd->src : &fwd->dst;
	return has_pool(d->conn->mapping, &d->osrc, source) && (!d->inbound || has_pool(d->conn->dnat, &d->odst, dest));
}

enum step step_masquerade(struct decision *d)
{
	int pool = wanted_pool(d);
	if (!d->record)
		return pool < 0 ? STEP_ON : masquerade_new(d, pool);
	/* a stored translation that the configuration no longer wants ends the connection; its next packet starts anew */
	int have = d->conn->mapping ? (int)nat_pool_of(d->conn->mapping) : -1;
	if (d->inbound)
		pool = have; /* as long as there is that pool */
	if (have == pool && has_pools(d))
		return STEP_ON;
	decide_say(d, "masquerade", "the connection's translation is no longer configured: it starts anew");
	if (d->x)
		return d->reply ? decide_drop(d, DROP_NAT_NO_MAPPING) : STEP_ON;
	ct_delete(d->ct, d->w->slot, d->record >> 1);
	return d->reply ? decide_drop(d, DROP_NAT_NO_MAPPING) : STEP_AGAIN;
}
