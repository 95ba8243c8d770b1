/* SPDX-License-Identifier: BSD-2-Clause */
/* check.h: frames judged bit by bit, slowly. */
#include "tests/support/check.h"

#include <stdbool.h>

enum { DEEP = 3 };

static uint32_t word(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t sum(const uint8_t *p, uint32_t n, uint32_t s)
{
	for (uint32_t i = 0; i < n; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static unsigned ethernet(const uint8_t *f, uint32_t n, unsigned depth);

static unsigned vxlan(const uint8_t *p, uint32_t n, unsigned depth)
{
	unsigned bad = n < 8 ? FRAME_SHORT : depth < DEEP ? ethernet(p + 8, n - 8, depth + 1) : 0;
	const unsigned own = FRAME_SHORT | FRAME_IP_CSUM;
	return bad & own ? (bad & ~own) | FRAME_INNER : bad;
}

/* TCP, UDP, ICMP; 'pseudo' is the sum of addresses. */
static unsigned layer4(const uint8_t *p, uint32_t n, unsigned proto, uint32_t pseudo, bool v6, unsigned depth)
{
	unsigned bad = 0;
	uint32_t at = proto == 6 ? 16 : proto == 17 ? 6 : 2, len = n;
	if (proto != 6 && proto != 17 && proto != (v6 ? 58 : 1))
		return 0;
	if (n < (proto == 6 ? 20 : 8))
		return FRAME_SHORT;
	if (proto == 6 && ((p[12] >> 4) < 5 || (p[12] >> 4) * 4u > n))
		return FRAME_SHORT;
	if (proto == 17) {
		len = word(p + 4);
		if (len < 8 || len > n)
			return FRAME_SHORT;
	}
	uint32_t s = proto == 1 ? 0 : sum(p, 0, pseudo + proto + len);
	if ((proto != 17 || v6 || word(p + at)) && sum(p, len, s) != 0xffff)
		bad = proto != 1 && proto != 58 && word(p + at) == s ? FRAME_PARTIAL : FRAME_L4_CSUM;
	if (proto == 17 && v6 && word(p + at) == 0 && (word(p + 2) == 8472 || word(p + 2) == 4789))
		bad = 0; /* RFC 6935 */
	if (proto == 17 && (word(p + 2) == 8472 || word(p + 2) == 4789))
		bad |= vxlan(p + 8, len - 8, depth);
	return bad;
}

static unsigned ip4(const uint8_t *h, uint32_t n, unsigned depth)
{
	unsigned bad = 0;
	if (n < 20)
		return FRAME_SHORT;
	uint32_t hl = (h[0] & 15) * 4u, total = word(h + 2);
	if (h[0] >> 4 != 4 || hl < 20 || hl > total || total > n)
		return FRAME_SHORT;
	if (sum(h, hl, 0) != 0xffff)
		bad |= FRAME_IP_CSUM;
	if (word(h + 6) & 0x3fff)
		return bad | FRAME_FRAGMENT;
	return bad | layer4(h + hl, total - hl, h[9], sum(h + 12, 8, 0), false, depth);
}

static unsigned ip6(const uint8_t *h, uint32_t n, unsigned depth)
{
	if (n < 40 || h[0] >> 4 != 6 || word(h + 4) + 40 > n)
		return FRAME_SHORT;
	const uint8_t *p = h + 40, *end = p + word(h + 4);
	unsigned proto = h[6];
	while (proto == 0 || proto == 43 || proto == 60 || proto == 44) {
		if (end - p < 8)
			return FRAME_SHORT;
		if (proto == 44)
			return FRAME_FRAGMENT;
		uint32_t size = (p[1] + 1u) * 8;
		if (size > (uint32_t)(end - p))
			return FRAME_SHORT;
		proto = p[0];
		p += size;
	}
	return layer4(p, (uint32_t)(end - p), proto, sum(h + 8, 32, 0), true, depth);
}

static unsigned ethernet(const uint8_t *f, uint32_t n, unsigned depth)
{
	if (n < 14)
		return FRAME_SHORT;
	switch (word(f + 12)) {
	case 0x0800:
		return ip4(f + 14, n - 14, depth);
	case 0x86dd:
		return ip6(f + 14, n - 14, depth);
	case 0x0806:
		return n < 42 ? FRAME_SHORT : FRAME_OTHER;
	default:
		return FRAME_OTHER;
	}
}

unsigned check_frame(const uint8_t *f, uint32_t n)
{
	return ethernet(f, n, 0);
}

void repair_ip_csum(uint8_t *f, uint32_t n)
{
	while (n >= 14) {
		bool v6 = word(f + 12) == 0x86dd;
		uint32_t hl = v6 ? 40 : n > 14 ? (f[14] & 15) * 4u : 0;
		if ((!v6 && word(f + 12) != 0x0800) || hl < 20 || 14 + hl + 16 > n)
			return;
		uint8_t *h = f + 14;
		if (!v6) {
			h[10] = h[11] = 0;
			uint32_t c = ~sum(h, hl, 0);
			h[10] = (uint8_t)(c >> 8);
			h[11] = (uint8_t)c;
		}
		uint8_t *udp = h + hl;
		if (h[v6 ? 6 : 9] != 17 || (word(udp + 2) != 8472 && word(udp + 2) != 4789))
			return;
		n -= 14 + hl + 16;
		f = udp + 16;
	}
}
