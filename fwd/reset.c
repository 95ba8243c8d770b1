/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP resets (contract in reset.h). The end that sent the packet gets an answer to it, the other end one in its sender's name,
 * with the number that comes next: both take it (RFC 5961 3.2 asks for exactly that number). */
#include "fwd/reset.h"

#include "fwd/replay.h"
#include "fwd/settings.h"

enum { DONT_FRAGMENT = 0x4000, FIN = 1, SYN = 2, RST = 4, ACK = 16 };

static uint32_t write_ip(uint8_t *h, const struct tuple *t, uint64_t *pseudo)
{
	const bool v6 = !ip_is4(&t->src);
	memset(h, 0, v6 ? IP6_HLEN : IP4_HLEN);
	if (v6) {
		h[0] = 0x60;
		wr16(h + 4, TCP_HLEN);
		h[6] = PROTO_TCP;
		h[7] = (uint8_t)LOAD_RELAXED(&settings.ip_ttl);
		memcpy(h + 8, t->src.b, 16);
		memcpy(h + 24, t->dst.b, 16);
		*pseudo = csum_pseudo(h + 8, h + 24, 16, PROTO_TCP, TCP_HLEN);
		return IP6_HLEN;
	}
	h[0] = 0x45;
	wr16(h + 2, IP4_HLEN + TCP_HLEN);
	wr16(h + 6, DONT_FRAGMENT); /* RFC 6864 4.3: else each would need an identification of its own */
	h[8] = (uint8_t)LOAD_RELAXED(&settings.ip_ttl);
	h[9] = PROTO_TCP;
	st32(h + 12, t->src.w[3]);
	st32(h + 16, t->dst.w[3]);
	st16(h + 10, (uint16_t)~csum_fold(csum_add(h, IP4_HLEN, 0)));
	*pseudo = csum_pseudo(h + 12, h + 16, 4, PROTO_TCP, TCP_HLEN);
	return IP4_HLEN;
}

uint32_t tcp_reset_write(uint8_t *h, const struct tcp_reset *x)
{
	uint64_t pseudo;
	const uint32_t len = write_ip(h, &x->t, &pseudo);
	uint8_t *l4 = h + len;
	memset(l4, 0, TCP_HLEN);
	st16(l4, x->t.sport);
	st16(l4 + 2, x->t.dport);
	wr32(l4 + 4, x->seq);
	wr32(l4 + 8, x->ack);
	l4[12] = TCP_HLEN / 4 << 4;
	l4[13] = x->flags;
	st16(l4 + 16, (uint16_t)~csum_fold(csum_add(l4, TCP_HLEN, pseudo)));
	return len + TCP_HLEN;
}

bool tcp_reset_answer(const struct pkt *p, struct tcp_reset *x)
{
	struct tuple t;
	if (p->flags & PKT_FRAG || p->l4_len < TCP_HLEN || p->tcp_flags & RST)
		return false;
	tuple_of_pkt(p, &t);
	if (p->flags & PKT_IP6 && (ip_is4(&t.src) || ip_is4(&t.dst)))
		return false;
	*x = (struct tcp_reset){ .flags = RST };
	tuple_reverse(&t, &x->t);
	if (p->tcp_flags & ACK) {
		x->seq = rd32(p->l4 + 8);
		return true;
	}
	const uint32_t data = p->l4_len - (p->l4[12] >> 4) * 4u;
	x->ack = rd32(p->l4 + 4) + data + !!(p->tcp_flags & SYN) + !!(p->tcp_flags & FIN);
	x->flags |= ACK;
	return true;
}

static void send_reset(const struct decision *d, const struct tcp_reset *x)
{
	struct worker *w = d->w;
	struct route r;
	const bool in_ip = d->dsr && ip_eq(&x->t.dst, decide_vip(d));
	step_route(x->t.zone, in_ip ? &d->odst : &x->t.dst, (uint32_t)d->p->hash, ID_REMOTE_NODE, &r);
	if (in_ip && r.kind != ROUTE_PORT)
		return;
	if (in_ip)
		step_route_ipip(&d->odst, &r);
	if (r.kind == ROUTE_NONE || r.failed || !r.adj)
		return;
	uint8_t *h = worker_new_frame(w);
	if (h)
		emit_l3(w, h, tcp_reset_write(h, x), !ip_is4(&x->t.src), r.adj, PORT_CONTROL, d->p->hash);
}

void reset_connection(const struct decision *d)
{
	const struct pkt *p = d->p;
	struct tcp_reset back, on = { .t = d->out, .flags = RST };
	if (!tcp_reset_answer(p, &back))
		return;
	on.seq = rd32(p->l4 + 4);
	on.ack = rd32(p->l4 + 8);
	on.flags |= p->tcp_flags & ACK;
	send_reset(d, &back);
	send_reset(d, &on);
}
