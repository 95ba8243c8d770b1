/* SPDX-License-Identifier: BSD-2-Clause */
/* What test_ct_lives.c sends and reads: lives, the frames of their two sides, and how an arrival is known again: by its payload,
 * whatever the gateway made of addresses and ports. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fwd/gate.h"
#include "tests/support/box.h"

enum { LIVES = 512, SCRIPT_MAX = 24, PAYLOAD = 8, FRAME = 128 };

/* What a side does: TCP flags; UDP and echo packets look alike whatever they say. */
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16, ERROR = 32 /* an ICMP error about the packet */, O = 64, P = 128 };

/* What one side sends; 'endpoint' 0: from the world. ICMP: the id is sport | dport. */
struct way {
	struct ipaddr src, dst;
	uint16_t sport, dport;
	uint32_t endpoint;
};
struct life {
	struct way way[2]; /* of the opener, and of its peer once something arrived there */
	uint32_t stamp;    /* which life in this place */
	uint8_t proto;
	bool v6, known, mapped;
	uint8_t at, n, script[SCRIPT_MAX];
};

static struct port *up0, *gate;
static struct life lives[LIVES];

static uint8_t *put_ip(uint8_t *f, const struct life *l, const struct way *w, uint8_t proto, uint32_t l4_len)
{
	uint8_t *l3 = f + ETH_HLEN_;
	if (w->endpoint) {
		const struct mac stamp = gate_stamp(GATE_ENDPOINT, w->endpoint);
		memcpy(f, (uint8_t[]){ 2, 0, 0, 0, 0x0a, (uint8_t)w->endpoint }, 6);
		memcpy(f + 6, stamp.b, 6);
	} else {
		memcpy(f, up0->mac.b, 6);
		memcpy(f + 6, (uint8_t[]){ 2, 0, 0, 0, 0, 0x99 }, 6);
	}
	wr16(f + 12, l->v6 ? ET_IP6 : ET_IP4);
	if (l->v6) {
		memset(l3, 0, IP6_HLEN);
		l3[0] = 0x60;
		wr16(l3 + 4, (uint16_t)l4_len);
		l3[6] = proto;
		l3[7] = 64;
		memcpy(l3 + 8, w->src.b, 16);
		memcpy(l3 + 24, w->dst.b, 16);
		return l3 + IP6_HLEN;
	}
	memset(l3, 0, IP4_HLEN);
	l3[0] = 0x45;
	wr16(l3 + 2, (uint16_t)(IP4_HLEN + l4_len));
	l3[8] = 64;
	l3[9] = proto;
	st32(l3 + 12, w->src.w[3]);
	st32(l3 + 16, w->dst.w[3]);
	st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
	return l3 + IP4_HLEN;
}

static void put_csum(const struct life *l, const struct way *w, uint8_t proto, uint8_t *l4, uint32_t len, uint32_t at)
{
	const uint64_t pseudo = proto == PROTO_ICMP
					? 0
					: csum_pseudo(l->v6 ? w->src.b : w->src.b + 12,
						      l->v6 ? w->dst.b : w->dst.b + 12, l->v6 ? 16 : 4, proto, len);
	st16(l4 + at, 0);
	const uint16_t sum = (uint16_t)~csum_fold(csum_add(l4, len, pseudo));
	st16(l4 + at, sum || proto != PROTO_UDP ? sum : 0xffff);
}

static uint32_t header_size(uint8_t proto)
{
	return proto == PROTO_TCP ? TCP_HLEN : UDP_HLEN; /* ICMP has 8, too */
}

static void put_l4(const struct life *l, unsigned side, uint8_t flags, uint8_t *l4)
{
	const struct way *w = &l->way[side];
	const uint32_t n = header_size(l->proto);
	memset(l4, 0, n);
	wr16(l4, w->sport);
	wr16(l4 + 2, w->dport);
	if (l->proto == PROTO_TCP) {
		wr32(l4 + 4, 1000 * l->at);
		wr32(l4 + 8, flags & ACK ? 1000 * l->at : 0);
		l4[12] = 0x50;
		l4[13] = flags;
		wr16(l4 + 14, 65000);
	} else if (l->proto == PROTO_UDP) {
		wr16(l4 + 4, UDP_HLEN + PAYLOAD);
	} else {
		wr16(l4, l->v6 ? (side ? 129 << 8 : 128 << 8) : side ? 0 : 8 << 8);
		wr16(l4 + 2, 0);
		wr16(l4 + 4, w->sport | w->dport);
	}
	wr16(l4 + n, (uint16_t)(l - lives));
	wr16(l4 + n + 2, (uint16_t)side);
	wr32(l4 + n + 4, l->stamp);
	put_csum(l, w, l->proto, l4, n + PAYLOAD, l->proto == PROTO_TCP ? 16 : l->proto == PROTO_UDP ? 6 : 2);
}

/* Port unreachable about what the opener sent, as its peer saw it. IPv4 only. */
static uint32_t build_error(const struct life *l, uint8_t *f)
{
	uint8_t quoted[FRAME];
	const struct way *w = &l->way[1], r = { w->dst, w->src, w->dport, w->sport, 0 };
	struct life as_seen = *l;
	as_seen.way[0] = r;
	uint8_t *l4 = put_ip(f, l, w, PROTO_ICMP, ICMP_HLEN + IP4_HLEN + 8), *in;
	in = put_ip(quoted, &as_seen, &r, l->proto, header_size(l->proto) + PAYLOAD);
	put_l4(l, 1, ACK, in); /* whatever: ports are set below */
	wr16(in, r.sport);
	wr16(in + 2, r.dport);
	if (l->proto == PROTO_ICMP) {
		wr16(in, 8 << 8);
		wr16(in + 4, r.sport | r.dport);
	}
	memset(l4, 0, ICMP_HLEN);
	l4[0] = 3;
	l4[1] = 3;
	memcpy(l4 + ICMP_HLEN, quoted + ETH_HLEN_, IP4_HLEN + 8);
	put_csum(l, w, PROTO_ICMP, l4, ICMP_HLEN + IP4_HLEN + 8, 2);
	return (uint32_t)(l4 - f) + ICMP_HLEN + IP4_HLEN + 8;
}

static uint32_t build(const struct life *l, unsigned side, uint8_t flags, uint8_t *f)
{
	const uint32_t n = header_size(l->proto) + PAYLOAD;
	if (flags & ERROR)
		return build_error(l, f);
	uint8_t *l4 = put_ip(f, l, &l->way[side], l->proto, n);
	put_l4(l, side, flags, l4);
	return (uint32_t)(l4 - f) + n;
}

/* False: an ICMP error, ours or about something. */
static bool read_frame(const struct port *p, const uint8_t *f, struct way *w, struct life **l, unsigned *side)
{
	const bool v6 = rd16(f + 12) == ET_IP6;
	const uint8_t *l3 = f + ETH_HLEN_, *l4 = l3 + (v6 ? IP6_HLEN : IP4_HLEN);
	const uint8_t proto = v6 ? l3[6] : l3[9];
	*w = (struct way){ .src = v6 ? ip_from6(l3 + 8) : ip_from4(ld32(l3 + 12)),
			   .dst = v6 ? ip_from6(l3 + 24) : ip_from4(ld32(l3 + 16)) };
	if (p == gate)
		assert_int_equal(gate_stamp_read(f, &w->endpoint), GATE_ENDPOINT);
	if (proto == PROTO_TCP || proto == PROTO_UDP) {
		w->sport = rd16(l4);
		w->dport = rd16(l4 + 2);
	} else {
		const bool request = l4[0] == (v6 ? 128 : 8), reply = l4[0] == (v6 ? 129 : 0);
		if (!request && !reply)
			return false;
		*(request ? &w->sport : &w->dport) = rd16(l4 + 4);
	}
	const uint8_t *payload = l4 + header_size(proto);
	*l = &lives[rd16(payload) % LIVES];
	*side = rd16(payload + 2) & 1;
	return (*l)->stamp == rd32(payload + 4);
}
