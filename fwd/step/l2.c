/* SPDX-License-Identifier: BSD-2-Clause */
/* Step l2: ARP (RFC 826) and neighbour discovery (RFC 4861) of senders that entry has checked.
 *
 *  containers  every request but one for the endpoint's own address is answered with the gateway MAC, so any default route
 *              works; never probes, DAD or gratuitous ones, so an address stays the container's own
 *  overlay     network mode: requests for anything that is not the remote's own; answers teach the control thread
 *  uplink      pool and service addresses that the kernel does not own; probes for them too, or another host would take one of them
 *              for free (RFC 5227 2.1.1, RFC 4861 7.2.4). Not before a claim is made; the control thread hears who else has one
 * A request is turned into its answer in place; the frame leaves where it came from. */
#include "fwd/claim.h"
#include "fwd/decide.h"
#include "fwd/gate.h"
#include "fwd/replay.h"
#include "tables/nat.h"

enum { ND_RS = 133, ND_RA = 134, ND_NS = 135, ND_NA = 136, ND_REDIRECT = 137 };
enum { NA_ROUTER = 0x80, NA_SOLICITED = 0x40, NA_OVERRIDE = 0x20 };

/* One question or answer about 'target', whichever protocol asked it. */
struct l2 {
	bool request, arp;
	bool probe; /* DAD, ARP probe or gratuitous */
	struct ipaddr sender, target;
	struct mac sender_mac; /* zero when it does not say */
};

static bool read_arp(const struct pkt *p, struct l2 *q)
{
	const uint8_t *a = p->l3;
	if (rd16(a) != 1 || rd16(a + 2) != ET_IP4 || a[4] != 6 || a[5] != 4 || rd16(a + 6) < 1 || rd16(a + 6) > 2)
		return false;
	*q = (struct l2){ .arp = true, .request = rd16(a + 6) == 1 };
	q->sender = ip_from4(ld32(a + 14));
	q->target = ip_from4(ld32(a + 24));
	memcpy(q->sender_mac.b, a + 8, 6);
	q->probe = ip_is_zero(&q->sender) || ip_eq(&q->sender, &q->target);
	return true;
}

/* The options behind the fixed 24 bytes of an NS or NA. The first link-layer address of type 'want' goes to 'm', which stays as it
 * is without one. False: an option of length 0 (RFC 4861 4.6: to be dropped) or one that runs past the end. */
static bool read_options(const uint8_t *icmp, uint16_t len, uint8_t want, struct mac *m)
{
	bool found = false;
	for (uint32_t at = 24, size; at < len; at += size) {
		size = at + 8 <= len ? icmp[at + 1] * 8u : 0;
		if (size == 0 || at + size > len)
			return false;
		if (icmp[at] != want || found)
			continue;
		memcpy(m->b, icmp + at + 2, 6);
		found = true;
	}
	return true;
}

static bool is_solicited_node(const struct ipaddr *a)
{
	static const uint8_t prefix[13] = { 0xff, 2, [11] = 1, [12] = 0xff };
	return memcmp(a->b, prefix, sizeof(prefix)) == 0;
}

/* RFC 4861 7.1.1, 7.1.2; RFC 6980: never in fragments or behind extension headers. */
static bool read_nd(const struct pkt *p, struct l2 *q)
{
	const uint8_t *i = p->l4;
	const struct ipaddr dst = ip_from6(p->l3 + 24);
	if (p->ttl != 255 || i[1] != 0 || p->l4_len < 24 || p->flags & (PKT_FRAG | PKT_OPTIONS))
		return false;
	*q = (struct l2){ .request = i[0] == ND_NS };
	q->sender = ip_from6(p->l3 + 8);
	q->target = ip_from6(i + 8);
	q->probe = ip_is_zero(&q->sender);
	if (ip_is_multicast(&q->target) || !read_options(i, p->l4_len, q->request ? 1 : 2, &q->sender_mac))
		return false;
	if (!q->request)
		return !(ip_is_multicast(&dst) && i[4] & NA_SOLICITED);
	return !q->probe || (is_solicited_node(&dst) && mac_is_zero(&q->sender_mac));
}

static void answer_arp(struct pkt *p, const struct l2 *q, const struct mac *me)
{
	uint8_t *a = p->l3;
	wr16(a + 6, 2);
	memcpy(a + 18, a + 8, 6);
	memcpy(a + 24, q->sender.b + 12, 4);
	memcpy(a + 8, me->b, 6);
	memcpy(a + 14, q->target.b + 12, 4);
	p->l3_len = 28;
}

/* To who asks; to all nodes when he has no address yet (RFC 4861 7.2.4). */
static void answer_nd(struct pkt *p, const struct l2 *q, const struct mac *me)
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
	uint8_t *h = p->l3, *i = p->l4;
	memcpy(h + 24, q->probe ? all_nodes : q->sender.b, 16);
	memcpy(h + 8, q->target.b, 16);
	wr16(h + 4, 32);
	h[6] = PROTO_ICMP6;
	i[0] = ND_NA;
	st16(i + 2, 0);
	wr32(i + 4, 0);
	i[4] = q->probe ? NA_ROUTER | NA_OVERRIDE : NA_ROUTER | NA_SOLICITED | NA_OVERRIDE;
	i[24] = 2;
	i[25] = 1;
	memcpy(i + 26, me->b, 6);
	uint16_t c = (uint16_t)~csum_fold(csum_add(i, 32, csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, 32)));
	st16(i + 2, c);
	p->l3_len = IP6_HLEN + 32;
}

/* UDP over IPv6 has a checksum (RFC 8200 8.1). */
static void finish_outer6(uint8_t *o, uint8_t *udp)
{
	uint16_t n = rd16(udp + 4), c;
	c = (uint16_t)~csum_fold(csum_add(udp, n, csum_pseudo(o + 22, o + 38, 16, PROTO_UDP, n)));
	st16(udp + 6, c ? c : 0xffff);
}

/* Sends the answer, now in p->l3 .. p->l3 + l3_len, back through the headers it came with. */
static enum step send_back(struct decision *d, const struct l2 *q, const struct mac *me)
{
	static const uint8_t all_nodes[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct pkt *p = d->p;
	uint8_t *e = p->inner, asker[6];
	memcpy(asker, p->port == PORT_GATE ? p->data : q->probe && !q->arp ? all_nodes : e + 6, 6);
	if (p->flags & PKT_OVERLAY) { /* the outer header turns round too: same VTEP pair, same VNI */
		uint8_t *o = p->data;
		bool o6 = rd16(o + 12) == ET_IP6;
		uint32_t oh = (uint32_t)(e - VXLAN_HLEN - UDP_HLEN - o), inner = ETH_HLEN_ + p->l3_len;
		uint8_t t[16], *src = o + ETH_HLEN_ + (o6 ? 8 : 12);
		size_t n = o6 ? 16 : 4;
		memcpy(t, o, 6);
		memcpy(o, o + 6, 6);
		memcpy(o + 6, t, 6);
		memcpy(t, src, n);
		memcpy(src, src + n, n);
		memcpy(src + n, t, n);
		wr16(o + oh, 0xc000 | (uint16_t)(p->hash & 0x3fff));
		wr16(o + oh + 4, (uint16_t)(UDP_HLEN + VXLAN_HLEN + inner));
		st16(o + oh + 6, 0);
		if (o6) {
			wr16(o + 18, (uint16_t)(oh - ETH_HLEN_ - IP6_HLEN + UDP_HLEN + VXLAN_HLEN + inner));
			o[21] = 64; /* the checksum is finished below */
		} else {
			wr16(o + 16, (uint16_t)(oh - ETH_HLEN_ + UDP_HLEN + VXLAN_HLEN + inner));
			o[22] = 64;
			st16(o + 24, 0);
			st16(o + 24, (uint16_t)~csum_fold(csum_add(o + ETH_HLEN_, oh - ETH_HLEN_, 0)));
		}
	}
	if (p->port == PORT_GATE) {
		struct mac stamp = gate_stamp(GATE_ENDPOINT, (p->in & FLOW_IN_INDEX));
		memcpy(e, stamp.b, 6);
		memcpy(e + 6, asker, 6);
	} else {
		memcpy(e, asker, 6);
		memcpy(e + 6, me->b, 6);
	}
	if (p->flags & PKT_OVERLAY && rd16(p->data + 12) == ET_IP6)
		finish_outer6(p->data, e - VXLAN_HLEN - UDP_HLEN);
	worker_tx(d->w, p->port, p->data, (uint32_t)(p->l3 + p->l3_len - p->data), p->port);
	return STEP_DONE;
}

/* RFC 4861 needs room for the target's address option: an NS may come without one. */
static enum step answer(struct decision *d, const struct l2 *q, const struct mac *me)
{
	struct pkt *p = d->p;
	char text[IP_STRLEN];
	decide_say(d, "l2", "%s for %s: answered", q->arp ? "ARP request" : "neighbour solicitation",
		   ip_print(&q->target, text));
	if (d->x)
		return STEP_DONE;
	if (!q->arp && frame_tailroom(p->l4 + 24) < 8)
		return decide_drop(d, DROP_NO_FRAME);
	frame_unpoison(p->data); /* the answer may be longer than the question */
	if (q->arp)
		answer_arp(p, q, me);
	else
		answer_nd(p, q, me);
	return send_back(d, q, me);
}

static enum step from_container(struct decision *d, const struct l2 *q)
{
	const struct endpoint *ep = endpoint_by_id(d->p->in & FLOW_IN_INDEX);
	const struct mac *real = (const struct mac *)d->p->data; /* the gate keeps the true source there */
	bool own = false;
	for (unsigned i = 0; ep && i < ep->n_addrs; i++)
		own |= ip_eq(&ep->addr[i], &q->target);
	if (!mac_is_zero(&q->sender_mac) && !mac_eq(&q->sender_mac, real)) {
		decide_say(d, "l2", "the sender's link-layer address is not the frame's");
		return decide_drop(d, DROP_INVALID_SOURCE);
	}
	if (q->request && !q->probe && !own)
		return answer(d, q, &gate_gateway_mac);
	if (d->x || q->request)
		return decide_drop(d, DROP_ARP);
	worker_consume(d->w, d->p); /* the answer to our own probe: entry has learned the MAC */
	return STEP_DONE;
}

static enum step from_overlay(struct decision *d, const struct l2 *q)
{
	struct pkt *p = d->p;
	if (q->request) {
		const struct tunnel_value *t = tunnel_lookup(p->zone, &q->target, NULL);
		bool theirs = t && t->remote == (p->in & FLOW_IN_INDEX);
		return q->probe || theirs ? decide_drop(d, DROP_ARP) : answer(d, q, &gate_gateway_mac);
	}
	if (d->x)
		return decide_drop(d, DROP_ARP);
	struct request r = { .kind = REQUEST_NEIGHBOR_SEEN, .mac = q->sender_mac };
	r.key = (struct neighbor_key){ .ip = q->arp ? q->sender : q->target,
				       .dev = NEIGHBOR_REMOTE | (p->in & FLOW_IN_INDEX),
				       .vni = p->outer_vni };
	if (mac_is_zero(&r.mac))
		memcpy(r.mac.b, p->inner + 6, 6);
	worker_request(d->w, &r);
	worker_consume(d->w, p);
	return STEP_DONE;
}

/* A pool or service address that the kernel does not own: those it answers for itself. */
static bool is_ours(const struct ipaddr *a)
{
	return (nat_pool_by_addr(a) >= 0 || service_is_vip(a)) && !fib_is_own(a);
}

/* The sender says that an address is his, or asks for it as we still do: of two that do the latter none may have it (RFC 4862
 * 5.4.3, RFC 5227 2.1.1). */
static void watch_claims(struct decision *d, const struct l2 *q)
{
	const struct pkt *p = d->p;
	const bool asks = q->request && ip_is_zero(&q->sender), says = q->arp || !q->request;
	const struct ipaddr *a = q->arp && !asks ? &q->sender : &q->target;
	struct request r = { .kind = REQUEST_ADDRESS_SEEN, .key = { .ip = *a, .dev = p->port } };
	memcpy(r.mac.b, p->inner + 6, 6);
	if (!(asks ? claim_withheld(a) : says) || mac_eq(&r.mac, &ports[p->port]->mac) || !is_ours(a))
		return;
	decide_say(d, "l2", "another host %s an address of ours", asks ? "asks for" : "has");
	if (!d->x)
		worker_request(d->w, &r);
}

static enum step from_uplink(struct decision *d, const struct l2 *q)
{
	const bool gratuitous = ip_eq(&q->sender, &q->target);
	watch_claims(d, q);
	if (!q->request || gratuitous || !is_ours(&q->target))
		return decide_drop(d, DROP_ARP);
	if (claim_withheld(&q->target)) {
		decide_say(d, "l2", "not answered: the address is not ours yet, or another's ('show addresses')");
		return decide_drop(d, DROP_ARP);
	}
	return answer(d, q, &ports[d->p->port]->mac);
}

enum step step_l2(struct decision *d)
{
	struct pkt *p = d->p;
	struct l2 q;
	bool nd = p->flags & PKT_IP6 && p->proto == PROTO_ICMP6 && !(p->flags & PKT_FRAG) && p->l4[0] >= ND_RS &&
		  p->l4[0] <= ND_REDIRECT;
	if (!(p->flags & PKT_ARP) && !nd)
		return STEP_ON;
	if (nd && (p->l4[0] == ND_RS || p->l4[0] == ND_RA || p->l4[0] == ND_REDIRECT))
		return decide_drop(d, DROP_ARP);
	if (nd ? !read_nd(p, &q) : !read_arp(p, &q))
		return decide_drop(d, DROP_INVALID_PACKET);
	if (p->flags & PKT_OVERLAY)
		return from_overlay(d, &q);
	switch (p->in & 0xff000000) {
	case FLOW_IN_ENDPOINT:
		return from_container(d, &q);
	case FLOW_IN_UPLINK:
		return from_uplink(d, &q);
	default:
		return decide_drop(d, DROP_ARP);
	}
}
