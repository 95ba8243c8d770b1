/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP resets (contract in reset.h). The end that sent the packet gets an answer to it, the other end one in its sender's name,
 * with the number that comes next: both take it (RFC 5961 3.2 asks for exactly that number). */
#include "fwd/reset.h"

#include "fwd/icmp.h"
#include "fwd/replay.h"

enum { HOPS = 64, DONT_FRAGMENT = 0x4000, TCP_SIZE = 20, FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct reset {
	struct tuple t;
	uint32_t seq, ack;
	uint8_t flags;
};

static uint32_t write_ip(uint8_t *h, const struct tuple *t, uint64_t *pseudo)
{
	const bool v6 = !ip_is4(&t->src);
	memset(h, 0, IP6_HLEN);
	if (v6) {
		h[0] = 0x60;
		wr16(h + 4, TCP_SIZE);
		h[6] = PROTO_TCP;
		h[7] = HOPS;
		memcpy(h + 8, t->src.b, 16);
		memcpy(h + 24, t->dst.b, 16);
		*pseudo = csum_pseudo(h + 8, h + 24, 16, PROTO_TCP, TCP_SIZE);
		return IP6_HLEN;
	}
	h[0] = 0x45;
	wr16(h + 2, IP4_HLEN + TCP_SIZE);
	wr16(h + 6, DONT_FRAGMENT);
	h[8] = HOPS;
	h[9] = PROTO_TCP;
	st32(h + 12, t->src.w[3]);
	st32(h + 16, t->dst.w[3]);
	st16(h + 10, (uint16_t)~csum_fold(csum_add(h, IP4_HLEN, 0)));
	*pseudo = csum_pseudo(h + 12, h + 16, 4, PROTO_TCP, TCP_SIZE);
	return IP4_HLEN;
}

static void send_reset(const struct decision *d, const struct reset *x)
{
	struct worker *w = d->w;
	struct route r;
	uint64_t pseudo;
	step_route(&x->t.dst, (uint32_t)d->p->hash, ID_REMOTE_NODE, &r);
	if (r.kind == ROUTE_NONE || r.failed || !r.adj)
		return;
	uint8_t *h = worker_new_frame(w);
	if (!h)
		return;
	uint32_t len = write_ip(h, &x->t, &pseudo);
	uint8_t *l4 = h + len;
	memset(l4, 0, TCP_SIZE);
	st16(l4, x->t.sport);
	st16(l4 + 2, x->t.dport);
	wr32(l4 + 4, x->seq);
	wr32(l4 + 8, x->ack);
	l4[12] = TCP_SIZE / 4 << 4;
	l4[13] = x->flags;
	st16(l4 + 16, (uint16_t)~csum_fold(csum_add(l4, TCP_SIZE, pseudo)));
	emit_l3(w, h, len + TCP_SIZE, !ip_is4(&x->t.src), r.adj, PORT_CONTROL, d->p->hash);
}

void reset_connection(const struct decision *d)
{
	const struct pkt *p = d->p;
	struct reset back = { .flags = RST }, on = { .t = d->out, .flags = RST | ACK };
	if (p->flags & PKT_FRAG || p->l4_len < TCP_SIZE || p->tcp_flags & RST)
		return;
	const uint32_t seq = rd32(p->l4 + 4), ack = rd32(p->l4 + 8);
	const uint32_t len = p->l4_len - (p->l4[12] >> 4) * 4u + !!(p->tcp_flags & SYN) + !!(p->tcp_flags & FIN);
	tuple_reverse(&d->wire, &back.t);
	back.seq = ack;
	if (!(p->tcp_flags & ACK)) { /* RFC 9293 3.10.7.1 */
		back.seq = 0;
		back.ack = seq + len;
		back.flags |= ACK;
	}
	on.seq = seq;
	on.ack = ack;
	on.flags = p->tcp_flags & ACK ? RST | ACK : RST;
	send_reset(d, &back);
	send_reset(d, &on);
}
