/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP errors made by the engine. Quoting: RFC 1812 4.3.2.3 (as much as fits in 576 bytes), RFC 4443 2.4(c) (1280).
 * A token bucket per worker and class limits them (RFC 1812 4.3.2.8, RFC 4443 2.4(f)). Workers only. */
#include "fwd/icmp.h"

#include "fwd/base/clock.h"
#include "fwd/claim.h"
#include "fwd/replay.h"

enum { QUOTED4_MAX = 576, QUOTED6_MAX = 1280, TOS_BITS = 0x1c, PRECEDENCE = 0xc0, DONT_FRAGMENT = 0x4000 };

static const struct {
	uint8_t type4, code4, type6, code6;
	enum icmp_class class;
} kinds[ICMP_KINDS] = {
	[ICMP_TIME_EXCEEDED] = { 11, 0, 3, 0, ICMP_CLASS_TIME },
	[ICMP_TOO_BIG] = { 3, 4, 2, 0, ICMP_CLASS_TOO_BIG },
	[ICMP_NO_ROUTE] = { 3, 0, 1, 0, ICMP_CLASS_UNREACHABLE },
	[ICMP_UNREACHABLE_ROUTE] = { 3, 1, 1, 0, ICMP_CLASS_UNREACHABLE },
	[ICMP_HOST_UNREACHABLE] = { 3, 1, 1, 3, ICMP_CLASS_UNREACHABLE },
	[ICMP_PORT_UNREACHABLE] = { 3, 3, 1, 4, ICMP_CLASS_UNREACHABLE },
	[ICMP_ADMIN_PROHIBITED] = { 3, 13, 1, 1, ICMP_CLASS_PROHIBITED },
	[ICMP_BAD_FIELD] = { 12, 0, 4, 0, ICMP_CLASS_PROHIBITED },
};

uint32_t icmp_host_ifindex;

/* Each worker writes its own lines. */
static struct worker_buckets {
	struct {
		uint64_t last_ns;
		uint32_t tokens;
	} class[ICMP_CLASSES];
} __attribute__((aligned(64))) buckets[WORKERS_MAX];

static bool take_token(struct worker *w, enum icmp_class class)
{
	uint64_t *last = &buckets[w->id].class[class].last_ns;
	uint32_t *tokens = &buckets[w->id].class[class].tokens;
	const uint32_t rate = LOAD_RELAXED(&settings.icmp_rate[class]), burst = LOAD_RELAXED(&settings.icmp_burst);
	if (!rate)
		return false;
	const uint64_t step = NS_PER_S / rate, earned = (w->now_ns - *last) / step;
	if (*last == 0 || earned >= burst) {
		*tokens = burst;
		*last = w->now_ns;
	} else {
		*tokens = MIN(*tokens + (uint32_t)earned, burst);
		*last += earned * step;
	}
	if (*tokens == 0)
		return false;
	--*tokens;
	return true;
}

/* An address that stands for several hosts or for none; the FIB knows the broadcast addresses of connected subnets. */
static bool is_no_single_host(const struct ipaddr *a)
{
	struct fib_result f;
	if (ip_is_multicast(a) || ip_is_zero(a) || ip_is_loopback(a) || ip_is_bcast4(a))
		return true;
	if (!ip_is4(a))
		return false;
	if (a->b[12] == 0 || a->b[12] >= 240)
		return true;
	fib_lookup(a, 0, &f);
	return f.kind == FIB_BROADCAST;
}

bool icmp_forbidden(const struct pkt *p, enum icmp_kind kind)
{
	const bool v6 = p->flags & PKT_IP6;
	struct tuple t;
	struct fib_result f;
	if (p->flags & (PKT_ARP | PKT_ICMP_ERROR))
		return true;
	tuple_of_pkt(p, &t);
	if (is_no_single_host(&t.src))
		return true;
	/* RFC 4443 2.4(e.3): multicast is no obstacle to path-MTU discovery. It knows no rule about later fragments either. */
	if (v6)
		return kind != ICMP_TOO_BIG && (p->flags & PKT_BCAST || ip_is_multicast(&t.dst));
	if (p->flags & (PKT_FRAG_LATER | PKT_BCAST) || ip_is_multicast(&t.dst) || ip_is_bcast4(&t.dst))
		return true;
	fib_lookup(&t.dst, 0, &f);
	return f.kind == FIB_BROADCAST;
}

/* An address of the device that the answer leaves by; 'ifindex' 0: it has none. */
static bool device_addr(uint32_t ifindex, bool v6, struct ipaddr *src)
{
	return ifindex && fib_port_addr(ifindex, v6, src);
}

bool icmp_source(bool v6, const struct route *r, struct ipaddr *src)
{
	const uint16_t port = r->adj ? adj_at(r->adj)->port : r->port;
	const struct port *by = port >= PORT_FIRST && port < PORTS_MAX ? ports[port] : NULL;
	const uint32_t host = ports[PORT_GATE] ? icmp_host_ifindex : 0, uplink = by ? by->ifindex : 0;
	const bool network = r->kind == ROUTE_PORT;
	if (device_addr(network ? uplink : host, v6, src) || device_addr(network ? host : uplink, v6, src))
		return true;
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
		if (ports[i] && fib_port_addr(ports[i]->ifindex, v6, src))
			return true;
	return false;
}

static uint32_t write4(uint8_t *h, const struct pkt *p, const struct ipaddr *src, enum icmp_kind kind, uint16_t mtu)
{
	uint32_t quote = MIN(p->l3_len, (uint32_t)QUOTED4_MAX - IP4_HLEN - ICMP_HLEN),
		 total = IP4_HLEN + ICMP_HLEN + quote;
	uint8_t *i = h + IP4_HLEN;
	memset(h, 0, IP4_HLEN + ICMP_HLEN);
	h[0] = 0x45;
	h[1] = PRECEDENCE | (p->l3[1] & TOS_BITS); /* RFC 1812 4.3.2.5: precedence 6, TOS of the cause; no ECN */
	wr16(h + 2, (uint16_t)total);
	wr16(h + 6, DONT_FRAGMENT); /* RFC 6864 4.3: else each would need an identification of its own */
	h[8] = (uint8_t)LOAD_RELAXED(&settings.ip_ttl);
	h[9] = PROTO_ICMP;
	memcpy(h + 12, src->b + 12, 4);
	memcpy(h + 16, p->l3 + 12, 4);
	st16(h + 10, (uint16_t)~csum_fold(csum_add(h, IP4_HLEN, 0)));
	i[0] = kinds[kind].type4;
	i[1] = kinds[kind].code4;
	if (kind == ICMP_TOO_BIG)
		wr16(i + 6, mtu); /* RFC 1191 4 */
	if (kind == ICMP_BAD_FIELD)
		i[4] = (uint8_t)mtu;
	memcpy(i + ICMP_HLEN, p->l3, quote);
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, ICMP_HLEN + quote, 0)));
	return total;
}

static uint32_t write6(uint8_t *h, const struct pkt *p, const struct ipaddr *src, enum icmp_kind kind, uint16_t mtu)
{
	uint32_t quote = MIN(p->l3_len, (uint32_t)QUOTED6_MAX - IP6_HLEN - ICMP_HLEN), len = ICMP_HLEN + quote;
	uint8_t *i = h + IP6_HLEN;
	memset(h, 0, IP6_HLEN + ICMP_HLEN);
	h[0] = 0x60;
	wr16(h + 4, (uint16_t)len);
	h[6] = PROTO_ICMP6;
	h[7] = (uint8_t)LOAD_RELAXED(&settings.ip_ttl);
	memcpy(h + 8, src->b, 16);
	memcpy(h + 24, p->l3 + 8, 16);
	i[0] = kinds[kind].type6;
	i[1] = kinds[kind].code6;
	if (kind == ICMP_TOO_BIG)
		wr32(i + 4, MAX(mtu, (uint32_t)QUOTED6_MAX));
	if (kind == ICMP_BAD_FIELD)
		wr32(i + 4, mtu);
	memcpy(i + ICMP_HLEN, p->l3, quote);
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, len, csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, len))));
	return IP6_HLEN + len;
}

void icmp_error(struct worker *w, const struct pkt *p, enum icmp_kind kind, uint16_t mtu)
{
	struct ipaddr to;
	struct route r;
	if (icmp_forbidden(p, kind))
		return;
	to = p->flags & PKT_IP6 ? ip_from6(p->l3 + 8) : ip_from4(ld32(p->l3 + 12));
	step_route(p->zone, &to, (uint32_t)p->hash, ID_REMOTE_NODE, &r);
	if (r.in == p->in && !r.failed) /* only toward where it came from: a spoofed source gets nothing */
		icmp_error_by(w, p, kind, mtu, &r);
}

/* An address of the box, or one of a pool or service that is not another host's. fib_is_own() alone would hold for anycast
 * addresses, which are no sources. */
static bool is_own_unicast(const struct ipaddr *a)
{
	if (fib_is_own(a) && fib_has_addr(a))
		return true;
	return (nat_pool_by_addr(a) >= 0 || service_is_vip(a)) && !claim_withheld(a);
}

/* About a packet to one of our addresses an IPv6 error comes from that one (RFC 4443 2.2 (a)). RFC 1812 4.3.2.4 knows no such
 * rule. */
static bool source_for(const struct pkt *p, const struct route *r, struct ipaddr *src)
{
	const bool v6 = p->flags & PKT_IP6;
	if (v6) {
		*src = ip_from6(p->l3 + 24);
		if (is_own_unicast(src))
			return true;
	}
	return icmp_source(v6, r, src);
}

void icmp_error_by(struct worker *w, const struct pkt *p, enum icmp_kind kind, uint16_t mtu, const struct route *r)
{
	struct ipaddr src;
	const bool v6 = p->flags & PKT_IP6;
	if (icmp_forbidden(p, kind))
		return;
	if (!source_for(p, r, &src) || !take_token(w, kinds[kind].class))
		return;
	if (!r->adj) { /* this answer is lost; the next one will find the neighbour */
		worker_request(w, &(struct request){ .kind = REQUEST_RESOLVE, .key = r->key });
		return;
	}
	uint8_t *h = worker_new_frame(w);
	if (!h)
		return;
	uint32_t len = v6 ? write6(h, p, &src, kind, mtu) : write4(h, p, &src, kind, mtu);
	emit_l3(w, h, len, v6, r->adj, PORT_CONTROL, p->hash);
}
