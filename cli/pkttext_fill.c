/* SPDX-License-Identifier: BSD-2-Clause */
/* What the text did not give: lengths, protocol numbers, checksums (pkttext.h). */
#include "cli/pkttext_private.h"

static uint16_t ethertype_of(const struct layer *l)
{
	switch (l->kind) {
	case K_IP4:
		return ET_IP4;
	case K_IP6:
		return ET_IP6;
	case K_ARP:
		return ET_ARP;
	case K_VLAN:
		return ET_VLAN;
	default:
		return PKTTEXT_ETHERTYPE;
	}
}

static uint8_t proto_of(const struct layer *l, bool v6)
{
	switch (l->kind) {
	case K_TCP:
		return PROTO_TCP;
	case K_UDP:
		return PROTO_UDP;
	case K_SCTP:
		return PROTO_SCTP;
	case K_ICMP:
		return v6 ? PROTO_ICMP6 : PROTO_ICMP;
	case K_EXT:
		return l->proto;
	case K_IP4:
		return 4;
	case K_IP6:
		return 41;
	default:
		return PKTTEXT_PROTO;
	}
}

/* Bytes of layer 'l' to its end, which padding is not part of. */
static uint32_t length(const struct build *b, const struct layer *l)
{
	uint32_t end = b->n - (l->scope == b->scope ? b->pad : 0);
	return end > l->at ? end - l->at : 0;
}

static const struct layer *ip_above(const struct build *b, const struct layer *l)
{
	while (l-- > b->l)
		if (l->kind == K_IP4 || l->kind == K_IP6)
			return l;
	return NULL;
}

static void fill_checksum(struct build *b, struct layer *l, uint32_t at)
{
	const struct layer *ip = ip_above(b, l);
	uint32_t n = length(b, l);
	bool v6 = ip && ip->kind == K_IP6;
	if (n < at + 2 || (l->csum && !l->partial))
		return;
	uint8_t proto = proto_of(l, v6), *p = b->f + l->at;
	const uint8_t *h = ip ? b->f + ip->at : NULL;
	uint64_t s = !ip || proto == PROTO_ICMP
			     ? 0
			     : csum_pseudo(h + (v6 ? 8 : 12), h + (v6 ? 24 : 16), v6 ? 16 : 4, proto, n);
	if (l->partial) {
		st16(p + at, csum_fold(s));
		return;
	}
	uint16_t c = (uint16_t)~csum_fold(csum_add(p, n, s));
	st16(p + at, c == 0 && l->kind == K_UDP ? 0xffff : c);
}

static void fill_ip4(struct build *b, struct layer *l, const struct layer *next)
{
	uint8_t *h = b->f + l->at;
	uint32_t n = length(b, l), hl = MIN((h[0] & 15u) * 4, n);
	if (n < IP4_HLEN)
		return;
	if (!l->len)
		wr16(h + 2, (uint16_t)n);
	if (!l->type)
		h[9] = next ? proto_of(next, false) : PKTTEXT_PROTO;
	if (!l->csum)
		st16(h + 10, (uint16_t)~csum_fold(csum_add(h, hl, 0)));
}

/* Where an IPv6 or extension header says what follows, counted from the layer. */
static void fill_next(struct build *b, const struct layer *l, uint32_t at, const struct layer *next)
{
	if (!l->type)
		b->f[l->at + at] = next ? proto_of(next, true) : PKTTEXT_PROTO;
}

static void fill_l4(struct build *b, struct layer *l)
{
	uint8_t *p = b->f + l->at;
	switch (l->kind) {
	case K_UDP:
		if (!l->len && length(b, l) >= UDP_HLEN)
			wr16(p + 4, (uint16_t)length(b, l));
		fill_checksum(b, l, 6);
		break;
	case K_TCP:
		fill_checksum(b, l, 16);
		break;
	case K_ICMP:
		fill_checksum(b, l, 2);
		break;
	case K_SCTP:
		if (!l->csum && length(b, l) >= 12)
			st32(p + 8, pkttext_crc32c(p, length(b, l)));
		break;
	default:
		break;
	}
}

void pkttext_fill(struct build *b, struct layer *l, const struct layer *next)
{
	uint8_t *p = b->f + l->at;
	switch (l->kind) {
	case K_ETH:
	case K_VLAN:
		if (!l->type && length(b, l) >= 4)
			wr16(p + (l->kind == K_ETH ? 12 : 2), next ? ethertype_of(next) : PKTTEXT_ETHERTYPE);
		break;
	case K_IP4:
		fill_ip4(b, l, next);
		break;
	case K_IP6:
		if (!l->len && length(b, l) >= IP6_HLEN)
			wr16(p + 4, (uint16_t)(length(b, l) - IP6_HLEN));
		fill_next(b, l, 6, next);
		break;
	case K_EXT:
		fill_next(b, l, 0, next);
		break;
	default:
		fill_l4(b, l);
		break;
	}
}

uint32_t pkttext_crc32c(const uint8_t *p, uint32_t n)
{
	uint32_t c = ~0u;
	for (uint32_t i = 0; i < n; i++) {
		c ^= p[i];
		for (unsigned k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
	}
	return ~c;
}
