/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP errors made by the engine. Quoting: RFC 1812 4.3.2.3 (as much as fits in 576 bytes), RFC 4443 2.4(c) (1280).
 * A token bucket per worker and kind limits them (RFC 1812 4.3.2.8, RFC 4443 2.4(f)). Workers only. */
#include "fwd/icmp.h"

#include "fwd/base/clock.h"
#include "fwd/replay.h"

enum { ICMP_RATE = 1000 /* a second, worker and kind */, ICMP_BURST_TOKENS = 200 };

static const struct {
	uint8_t type4, code4, type6, code6;
} kinds[ICMP_KINDS] = {
	[ICMP_TIME_EXCEEDED] = { 11, 0, 3, 0 },    [ICMP_TOO_BIG] = { 3, 4, 2, 0 },
	[ICMP_NO_ROUTE] = { 3, 0, 1, 0 },          [ICMP_HOST_UNREACHABLE] = { 3, 1, 1, 3 },
	[ICMP_ADMIN_PROHIBITED] = { 3, 13, 1, 1 },
};

uint32_t icmp_host_ifindex;

static struct bucket_state {
	uint64_t last_ns;
	uint32_t tokens;
} buckets[WORKERS_MAX][ICMP_KINDS];

static bool take_token(struct worker *w, enum icmp_kind kind)
{
	struct bucket_state *b = &buckets[w->id][kind];
	uint64_t earned = (w->now_ns - b->last_ns) / (NS_PER_S / ICMP_RATE);
	if (b->last_ns == 0 || earned > ICMP_BURST_TOKENS) {
		b->tokens = ICMP_BURST_TOKENS;
		b->last_ns = w->now_ns;
	} else if (earned) {
		b->tokens = MIN(b->tokens + (uint32_t)earned, (uint32_t)ICMP_BURST_TOKENS);
		b->last_ns += earned * (NS_PER_S / ICMP_RATE);
	}
	if (b->tokens == 0)
		return false;
	b->tokens--;
	return true;
}

bool icmp_forbidden(const struct pkt *p, enum icmp_kind kind)
{
	struct tuple t;
	if (p->flags & (PKT_ARP | PKT_FRAG_LATER | PKT_ICMP_ERROR | PKT_BCAST))
		return true;
	tuple_of_pkt(p, &t);
	if (ip_is_multicast(&t.dst) && !(p->flags & PKT_IP6 && kind == ICMP_TOO_BIG))
		return true;
	return ip_is_multicast(&t.src) || ip_is_zero(&t.src) || ip_is_loopback(&t.src) || ip_is_bcast4(&t.src) ||
	       ip_is_bcast4(&t.dst);
}

bool icmp_source(const struct pkt *p, struct ipaddr *src)
{
	bool v6 = p->flags & PKT_IP6;
	if (ports[PORT_GATE] && fib_port_addr(icmp_host_ifindex, v6, src))
		return true;
	if (p->port >= PORT_FIRST && ports[p->port] && fib_port_addr(ports[p->port]->ifindex, v6, src))
		return true;
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
		if (ports[i] && fib_port_addr(ports[i]->ifindex, v6, src))
			return true;
	return false;
}

static uint32_t write4(uint8_t *h, const struct pkt *p, const struct ipaddr *src, enum icmp_kind kind, uint16_t mtu)
{
	uint32_t quote = MIN(p->l3_len, 576u - IP4_HLEN - ICMP_HLEN), total = IP4_HLEN + ICMP_HLEN + quote;
	uint8_t *i = h + IP4_HLEN;
	memset(h, 0, IP4_HLEN + ICMP_HLEN);
	h[0] = 0x45;
	h[1] = 0xc0; /* RFC 1812 4.3.2.5: precedence 6 */
	wr16(h + 2, (uint16_t)total);
	h[8] = 64;
	h[9] = PROTO_ICMP;
	memcpy(h + 12, src->b + 12, 4);
	memcpy(h + 16, p->l3 + 12, 4);
	st16(h + 10, (uint16_t)~csum_fold(csum_add(h, IP4_HLEN, 0)));
	i[0] = kinds[kind].type4;
	i[1] = kinds[kind].code4;
	if (kind == ICMP_TOO_BIG)
		wr16(i + 6, mtu); /* RFC 1191 4 */
	memcpy(i + ICMP_HLEN, p->l3, quote);
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, ICMP_HLEN + quote, 0)));
	return total;
}

static uint32_t write6(uint8_t *h, const struct pkt *p, const struct ipaddr *src, enum icmp_kind kind, uint16_t mtu)
{
	uint32_t quote = MIN(p->l3_len, 1280u - IP6_HLEN - ICMP_HLEN), len = ICMP_HLEN + quote;
	uint8_t *i = h + IP6_HLEN;
	memset(h, 0, IP6_HLEN + ICMP_HLEN);
	h[0] = 0x60;
	wr16(h + 4, (uint16_t)len);
	h[6] = PROTO_ICMP6;
	h[7] = 64;
	memcpy(h + 8, src->b, 16);
	memcpy(h + 24, p->l3 + 8, 16);
	i[0] = kinds[kind].type6;
	i[1] = kinds[kind].code6;
	if (kind == ICMP_TOO_BIG)
		wr32(i + 4, MAX(mtu, 1280u));
	memcpy(i + ICMP_HLEN, p->l3, quote);
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, len, csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, len))));
	return IP6_HLEN + len;
}

void icmp_error(struct worker *w, const struct pkt *p, enum icmp_kind kind, uint16_t mtu)
{
	struct ipaddr src, to;
	struct route r;
	if (icmp_forbidden(p, kind) || !icmp_source(p, &src) || !take_token(w, kind))
		return;
	bool v6 = p->flags & PKT_IP6;
	to = v6 ? ip_from6(p->l3 + 8) : ip_from4(ld32(p->l3 + 12));
	step_route(&to, (uint32_t)p->hash, ID_REMOTE_NODE, &r);
	if (!r.adj || r.in != p->in) /* only toward where it came from: a spoofed source gets nothing */
		return;
	uint8_t *h = worker_new_frame(w);
	if (!h)
		return;
	uint32_t len = v6 ? write6(h, p, &src, kind, mtu) : write4(h, p, &src, kind, mtu);
	emit_l3(w, h, len, v6, r.adj, PORT_CONTROL, p->hash);
}
