/* SPDX-License-Identifier: BSD-2-Clause */
/* Step ICMP error: an error belongs to the connection whose packet it quotes (RFC 5508 REQ-4, RFC 5927 4). It is translated
 * like that connection, outside and inside, and passes while its packets would, by today's rules, pools and backends; it neither
 * refreshes nor ends anything.
 *
 * The quoted packet travelled the other way, so the *reverse* of the quoted tuple is the key of the direction in which the
 * error travels. With 8 quoted bytes of L4 everything works (RFC 792); more is translated when it is there. */
#include "fwd/frag.h"
#include "fwd/fragment.h"
#include "fwd/replay.h"
#include "fwd/sctp.h"
#include "tables/proxy.h"

struct quoted {
	uint8_t *l3, *l4;
	uint32_t len;    /* bytes quoted, from l3 */
	uint32_t l4_len; /* bytes quoted of L4; 0: a later fragment has none */
	uint8_t *frag;   /* IPv6: the fragment header of a first fragment, NULL: none */
	struct tuple t;
};

static bool quote_l4(struct quoted *q, bool v6)
{
	uint8_t *l4 = q->l4;
	if (q->l4_len < 8)
		return false;
	switch (q->t.proto) {
	case PROTO_TCP:
	case PROTO_UDP:
	case PROTO_SCTP:
		q->t.sport = ld16(l4);
		q->t.dport = ld16(l4 + 2);
		return true;
	case PROTO_ICMP:
	case PROTO_ICMP6:
		if (l4[0] == (v6 ? 128 : 8))
			q->t.sport = ld16(l4 + 4);
		else if (l4[0] == (v6 ? 129 : 0))
			q->t.dport = ld16(l4 + 4);
		else
			return false;
		return true;
	default: /* no ports, and known at all by its addresses only */
		return true;
	}
}

/* The datagram 'k' as it comes from where 'zone' has a route to its source. */
static bool find_datagram(struct frag_key *k, uint16_t zone, uint32_t hash, struct frag_ports *f)
{
	struct route from;
	step_route(zone, &k->src, hash, ID_UNKNOWN, &from);
	k->in = from.in;
	k->zone = from.zone;
	if (frag_ports_find(k, f))
		return true;
	/* the kernel may have routed it here from a device that is no port of ours, or a port have got what is routed elsewhere */
	k->in = from.in == FLOW_IN_UPLINK ? FLOW_IN_HOST : FLOW_IN_UPLINK;
	k->zone = from.in == FLOW_IN_UPLINK ? 0 : zone;
	return (from.in == FLOW_IN_UPLINK || from.in == FLOW_IN_HOST) && frag_ports_find(k, f);
}

/* A later fragment: its ports are known as long as its datagram is. It came from the zone that it was sent to, or from none. */
static bool quote_later(const struct pkt *p, struct quoted *q, uint32_t id)
{
	struct frag_key k = {
		.src = q->t.src, .dst = q->t.dst, .id = id, .proto = p->flags & PKT_IP6 ? 0 : q->t.proto
	};
	struct frag_ports f;
	const uint32_t hash = (uint32_t)p->hash;
	if (!find_datagram(&k, p->zone, hash, &f) && !(p->zone && find_datagram(&k, 0, hash, &f)))
		return false;
	q->t.sport = f.sport;
	q->t.dport = f.dport;
	q->t.proto = f.proto;
	return true;
}

/* The IPv6 header and the extension headers behind it; 0: they are not quoted whole. '*later' becomes the fragment header when
 * no L4 header can follow; the quoted packet's protocol is what follows the last one. */
static uint32_t skip_headers(struct quoted *q, const uint8_t **later)
{
	uint32_t at = IP6_HLEN;
	for (unsigned n = 0; n < 8; n++) {
		const uint8_t proto = q->t.proto;
		uint8_t *x = q->l3 + at;
		if (proto != PROTO_HOPOPTS && proto != PROTO_ROUTING && proto != PROTO_DSTOPTS &&
		    proto != PROTO_FRAGMENT)
			return at;
		if (q->len < at + 8)
			return 0;
		q->t.proto = x[0];
		at += proto == PROTO_FRAGMENT ? 8 : (x[1] + 1u) * 8;
		if (proto == PROTO_FRAGMENT && rd16(x + 2) & 0xfff8) {
			*later = x;
			return at;
		}
		if (proto == PROTO_FRAGMENT)
			q->frag = x;
	}
	return 0;
}

/* Reads the quoted packet; false when there is too little of it or it is none we track. */
static bool read_quoted(const struct pkt *p, struct quoted *q)
{
	bool v6 = p->flags & PKT_IP6;
	uint8_t *h = p->l4 + ICMP_HLEN;
	uint32_t room = p->l4_len - ICMP_HLEN, hl;
	*q = (struct quoted){ .l3 = h, .len = room };
	if (v6) {
		if (room < IP6_HLEN + 8 || h[0] >> 4 != 6)
			return false;
		q->t = (struct tuple){ ip_from6(h + 8), ip_from6(h + 24), 0, 0, p->zone, h[6] };
		if (ip_is4(&q->t.src) || ip_is4(&q->t.dst))
			return false;
		const uint8_t *later = NULL;
		hl = skip_headers(q, &later);
		if (later)
			return quote_later(p, q, rd32(later + 4));
		if (!hl)
			return false;
	} else {
		hl = room ? (h[0] & 15) * 4u : 0; /* options are skipped: RFC 5508 REQ-3 */
		if (room < IP4_HLEN + 8 || h[0] >> 4 != 4 || hl < IP4_HLEN || room < hl + 8)
			return false;
		if (csum_fold(csum_add(h, hl, 0)) != 0xffff)
			return false;
		q->t = (struct tuple){ ip_from4(ld32(h + 12)), ip_from4(ld32(h + 16)), 0, 0, p->zone, h[9] };
		if (rd16(h + 6) & 0x1fff)
			return quote_later(p, q, rd16(h + 4));
	}
	if (room < hl)
		return false;
	q->l4 = h + hl;
	q->l4_len = room - hl;
	return quote_l4(q, v6);
}

/* Of the whole packet, which its checksum is about. (It is a guess where the packet was a fragment, like its checksum then.) */
static uint32_t sctp_length(const struct quoted *q, bool v6)
{
	const uint32_t end = v6 ? IP6_HLEN + rd16(q->l3 + 4) : rd16(q->l3 + 2), at = (uint32_t)(q->l4 - q->l3);
	return end >= at + SCTP_HLEN ? end - at : q->l4_len;
}

/* The identification that its sender gave it, where that is still known: it left with another one if under another source (RFC 6864
 * 5.3.1). One that could not be cut up has its own, or none (4.1); whoever put the pieces together quotes a whole packet. */
static void restore_id(struct quoted *q, bool v6)
{
	uint8_t key[40];
	uint32_t was;
	const bool atomic = v6 ? !q->frag : (rd16(q->l3 + 6) & 0x7fff) == 0x4000;
	if (atomic || !frag_id_was(tuple_key(&q->t, key), v6 ? rd32(q->frag + 4) : rd16(q->l3 + 4), &was))
		return;
	if (v6)
		wr32(q->frag + 4, was);
	else
		frag_set_id4(q->l3, (uint16_t)was);
}

/* Rewrites the quoted packet to tuple 'n'; its checksums follow as far as they are quoted. */
static void rewrite_quoted(struct quoted *q, const struct tuple *n, bool v6)
{
	unsigned alen = v6 ? 16 : 4, aoff = v6 ? 8 : 12, skip = v6 ? 0 : 12;
	uint16_t old = csum_fold(csum_add(q->l3 + aoff, 2 * alen, 0));
	uint16_t new = csum_fold(csum_add(n->src.b + skip, alen, csum_add(n->dst.b + skip, alen, 0)));
	uint16_t oldp = csum_fold((uint64_t)q->t.sport + q->t.dport), newp = csum_fold((uint64_t)n->sport + n->dport);
	memcpy(q->l3 + aoff, n->src.b + skip, alen);
	memcpy(q->l3 + aoff + alen, n->dst.b + skip, alen);
	if (!v6)
		st16(q->l3 + 10, csum_update(ld16(q->l3 + 10), old, new));
	if (q->l4_len == 0 || !nat_proto_supported(q->t.proto))
		return;
	bool icmp = q->t.proto == PROTO_ICMP || q->t.proto == PROTO_ICMP6;
	unsigned at = q->t.proto == PROTO_TCP ? 16 : q->t.proto == PROTO_UDP ? 6 : 2;
	bool has_field =
		q->t.proto != PROTO_SCTP && q->l4_len >= at + 2u && !(q->t.proto == PROTO_UDP && ld16(q->l4 + at) == 0);
	if (has_field && (old != new || oldp != newp)) { /* of the two zeroes the one that is there stays */
		uint16_t c = ld16(q->l4 + at);
		if (q->t.proto != PROTO_ICMP)
			c = csum_update(c, old, new);
		c = csum_update(c, oldp, newp);
		st16(q->l4 + at, q->t.proto == PROTO_UDP && !c ? 0xffff : c); /* RFC 768: 0 would say there is none */
	}
	if (icmp) {
		st16(q->l4 + 4, n->sport | n->dport);
	} else if (q->t.proto == PROTO_SCTP && q->l4_len >= SCTP_HLEN) {
		sctp_set_ports(q->l4, sctp_length(q, v6), n->sport, n->dport);
	} else {
		st16(q->l4, n->sport);
		st16(q->l4 + 2, n->dport);
	}
}

static void finish(struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst, bool hop)
{
	uint8_t *h = p->l3;
	if (p->flags & PKT_IP6) {
		memcpy(h + 8, src->b, 16);
		memcpy(h + 24, dst->b, 16);
		h[7] = (uint8_t)(h[7] - hop);
		st16(p->l4 + 2, 0);
		st16(p->l4 + 2, (uint16_t)~csum_fold(csum_add(p->l4, p->l4_len,
							      csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, p->l4_len))));
		return;
	}
	memcpy(h + 12, src->b + 12, 4);
	memcpy(h + 16, dst->b + 12, 4);
	h[8] = (uint8_t)(h[8] - hop);
	st16(h + 10, 0);
	st16(h + 10, (uint16_t)~csum_fold(csum_add(h, (h[0] & 15) * 4u, 0)));
	st16(p->l4 + 2, 0);
	st16(p->l4 + 2, (uint16_t)~csum_fold(csum_add(p->l4, p->l4_len, 0)));
}

/* Any router on the way may send an error, but only from the side that the packets of record 'r' come from: else a container or
 * somebody outside could end or slow down connections it has no part in (RFC 5927 4). 'key': of the record. */
static bool from_its_side(const struct decision *d, const struct conn *cn, uint32_t r, const struct tuple *key)
{
	struct route from = { .in = LOAD_RELAXED(&cn->in) };
	uint32_t in = d->p->in, class = in & 0xff000000;
	if (r & 1)
		step_route(key->zone, &key->src, (uint32_t)d->p->hash, ID_UNKNOWN, &from);
	if (class == FLOW_IN_REMOTE)
		return (from.in & 0xff000000) == FLOW_IN_REMOTE;
	if (r & 1 && conn_flags(cn) & CONN_PROXY)
		return in == FLOW_IN_HOST;
	/* the kernel may have routed it here from a device that is no port of ours */
	return from.in == in || (class == FLOW_IN_HOST && from.in == FLOW_IN_UPLINK);
}

/* Of a connection with direct return, toward its backend: who that is, else NULL. */
static const struct ipaddr *direct_backend(const struct conn *cn, uint32_t r, const struct tuple *key,
					   const struct tuple *sibling)
{
	if (r & 1 || !(conn_flags(cn) & CONN_SERVICE) || !ip_eq(&key->dst, &sibling->src))
		return NULL;
	return &backend_key_at(LOAD_RELAXED(&cn->dnat))->addr;
}

/* Who sends it, as the side sees it that it goes to: what the quoted packet was sent to, for the end itself and for routers
 * that are inside as the end is (RFC 5508 REQ-5). Under a prefix such a router has an outside address of its own. */
static void translate_source(const struct conn *cn, uint32_t r, const struct tuple *key, const struct tuple *sibling,
			     struct ipaddr *src)
{
	const uint32_t out = LOAD_RELAXED(&cn->mapping), in = decide_is_inbound(cn) ? LOAD_RELAXED(&cn->dnat) : 0;
	const uint32_t m = r & 1 ? in : out, pool = m & ~NAT_STATIC;
	struct ipaddr own;
	if (ip_eq(src, &key->src) || m)
		own = sibling->dst;
	else
		own = *src;
	if (m & NAT_STATIC && nat_pools[pool].prefix && nat_is_inside(pool, src) &&
	    nat_to_outside(pool, src, &own) != NAT_PREFIX_OK)
		own = sibling->dst;
	*src = own;
}

/* To 'to', in its zone. 'direct': the backend that gets it in IP, or NULL. 'proxied': the connection whose proxy gets it, 0 = none. */
static enum step forward(struct decision *d, const struct tuple *to, const struct ipaddr *direct, uint32_t proxied)
{
	struct pkt *p = d->p;
	step_route(to->zone, direct ? direct : &to->src, (uint32_t)p->hash, p->identity, &d->to);
	if (direct && d->to.kind != ROUTE_PORT)
		return decide_drop(d, DROP_UNROUTABLE);
	if (direct)
		step_route_ipip(direct, &d->to);
	if (proxied)
		decide_proxy_route(proxy_port(d->ct->v6, proxied), &d->to);
	if (d->to.kind == ROUTE_NONE)
		return decide_drop(d, d->to.refused ? d->to.refused : DROP_UNROUTABLE);
	if (!decide_may_hop(p, &d->to))
		return decide_drop(d, DROP_TTL);
	if (d->to.failed)
		return decide_drop(d, DROP_NO_NEIGHBOR);
	if (!d->to.adj) {
		d->wait = d->to.key;
		return STEP_HOLD;
	}
	const bool may_fragment = !(p->flags & PKT_IP6) && !(p->l3[6] & 0x40);
	return p->l3_len > adj_at(d->to.adj)->mtu && !may_fragment ? decide_drop(d, DROP_MTU) : STEP_ON;
}

/* The record of the direction in which the error travels; 0: none that may be spoken about. */
static uint32_t find_related(struct decision *d, const struct quoted *q)
{
	struct tuple travel;
	uint8_t raw[40];
	tuple_reverse(&q->t, &travel);
	uint64_t hash = tuple_key(&travel, raw);
	d->ct = ct_of(d->p->flags & PKT_IP6);
	uint32_t r = ct_find(d->ct, raw, hash, d->w->now_s);
	if (r && LOAD_RELAXED(&ct_conn(d->ct, r >> 1)->state) != CT_REFUSED)
		return r;
	decide_say(d, "ct", "the quoted packet belongs to no connection");
	return 0;
}

enum step step_icmp_error(struct decision *d)
{
	struct pkt *p = d->p;
	struct quoted q;
	struct tuple key, sibling;
	const uint32_t r = read_quoted(p, &q) ? find_related(d, &q) : 0;
	if (!r) /* about a packet of the box itself, maybe */
		return step_box_rest(d) == STEP_ON ? decide_drop(d, DROP_ICMP_UNRELATED) : STEP_DONE;
	const struct ct *c = d->ct;
	tuple_of_key(c->v6, c->v6 ? (const void *)&ct_flow6(r)->key : (const void *)&ct_flow4(r)->key, &key);
	tuple_of_key(c->v6, c->v6 ? (const void *)&ct_flow6(r ^ 1)->key : (const void *)&ct_flow4(r ^ 1)->key,
		     &sibling);
	if (!from_its_side(d, ct_conn(c, r >> 1), r, &key)) {
		decide_say(d, "ct", "related to a connection whose packets come from elsewhere");
		return decide_drop(d, DROP_INVALID_SOURCE);
	}
	/* such a packet never passed here, and the option may name inside addresses (RFC 5508 7.3) */
	if (!(p->flags & PKT_IP6) && options_check(q.l3, &(uint8_t){ 0 }) == DROP_SOURCE_ROUTE) {
		decide_say(d, "options", "the quoted packet has a source route (set ip source-route)");
		return decide_drop(d, DROP_SOURCE_ROUTE);
	}
	decide_say(d, "ct", "related to a connection");
	enum step s = decide_still_wanted(d, r);
	if (s != STEP_ON)
		return s;
	/* 'sibling' is the quoted packet as we first saw it; its sender is where the error goes */
	struct ipaddr src = d->wire.src;
	const struct conn *cn = ct_conn(c, r >> 1);
	translate_source(cn, r, &key, &sibling, &src);
	s = forward(d, &sibling, direct_backend(cn, r, &key, &sibling),
		    conn_flags(cn) & CONN_PROXY && !(r & 1) ? r >> 1 : 0);
	if (s != STEP_ON || d->x)
		return s;
	restore_id(&q, p->flags & PKT_IP6);
	rewrite_quoted(&q, &sibling, p->flags & PKT_IP6);
	finish(p, &src, &sibling.src, decide_hop(p, &d->to));
	if (p->l3_len > adj_at(d->to.adj)->mtu)
		fragment_and_emit(d->w, p, d->to.adj);
	else
		emit(d->w, p, d->to.adj);
	return STEP_DONE;
}
