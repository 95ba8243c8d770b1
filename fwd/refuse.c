/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers for a listener that is not there (refuse.h). */
#include "fwd/refuse.h"

#include "fwd/gate.h"
#include "fwd/icmp.h"

enum { FLAG_FIN = 1, FLAG_SYN = 2, FLAG_RST = 4, FLAG_ACK = 16, HOPS = 64 };

/* Addresses of 'p' the other way round; returns the length. */
static uint32_t write_ip(uint8_t *h, const struct pkt *p)
{
	if (p->flags & PKT_IP6) {
		memset(h, 0, IP6_HLEN);
		h[0] = 0x60;
		wr16(h + 4, TCP_HLEN);
		h[6] = PROTO_TCP;
		h[7] = HOPS;
		memcpy(h + 8, p->l3 + 24, 16);
		memcpy(h + 24, p->l3 + 8, 16);
		return IP6_HLEN;
	}
	memset(h, 0, IP4_HLEN);
	h[0] = 0x45;
	wr16(h + 2, IP4_HLEN + TCP_HLEN);
	h[6] = 0x40; /* RFC 6864 4.3: else each would need an identification of its own */
	h[8] = HOPS;
	h[9] = PROTO_TCP;
	memcpy(h + 12, p->l3 + 16, 4);
	memcpy(h + 16, p->l3 + 12, 4);
	st16(h + 10, (uint16_t)~csum_fold(csum_add(h, IP4_HLEN, 0)));
	return IP4_HLEN;
}

static void write_tcp(uint8_t *t, const struct pkt *p)
{
	const uint8_t *q = p->l4;
	const uint32_t data = p->l4_len - (q[12] >> 4) * 4u;
	memset(t, 0, TCP_HLEN);
	memcpy(t, q + 2, 2);
	memcpy(t + 2, q, 2);
	t[12] = TCP_HLEN / 4 << 4;
	t[13] = FLAG_RST;
	if (p->tcp_flags & FLAG_ACK) {
		memcpy(t + 4, q + 8, 4);
		return;
	}
	t[13] |= FLAG_ACK;
	wr32(t + 8, rd32(q + 4) + data + !!(p->tcp_flags & FLAG_SYN) + !!(p->tcp_flags & FLAG_FIN));
}

static void reset(struct worker *w, const struct pkt *p)
{
	const struct mac from = gate_stamp(GATE_HOST, 0);
	uint8_t *f = p->tcp_flags & FLAG_RST ? NULL : worker_new_frame(w);
	if (!f)
		return;
	memcpy(f, gate_gateway_mac.b, 6);
	memcpy(f + 6, from.b, 6);
	memcpy(f + 12, p->inner + 12, 2);
	uint8_t *h = f + ETH_HLEN_;
	const uint32_t hl = write_ip(h, p);
	const bool v6 = p->flags & PKT_IP6;
	uint8_t *t = h + hl;
	write_tcp(t, p);
	st16(t + 16, (uint16_t)~csum_fold(csum_add(t, TCP_HLEN,
						   csum_pseudo(v6 ? h + 8 : h + 12, v6 ? h + 24 : h + 16, v6 ? 16 : 4,
							       PROTO_TCP, TCP_HLEN))));
	struct pkt answer = { .data = f, .len = ETH_HLEN_ + hl + TCP_HLEN, .port = PORT_GATE };
	decide(w, &answer);
}

void refuse(struct worker *w, const struct pkt *p)
{
	if (p->proto == PROTO_TCP)
		reset(w, p);
	else
		icmp_error(w, p, ICMP_PORT_UNREACHABLE, 0);
}
