/* SPDX-License-Identifier: BSD-2-Clause */
/* Text forms of addresses, and the checksums that are too long to inline. Pure functions, any thread. */
#include "fwd/base/net.h"

#include <stdio.h>

struct ipaddr ip_mask(const struct ipaddr *a, unsigned len)
{
	struct ipaddr r = *a;
	for (unsigned i = 0; i < 2; i++) {
		unsigned n = len > 64 * i ? len - 64 * i : 0;
		if (n < 64)
			r.d[i] &= n ? __builtin_bswap64(~0ull << (64 - n)) : 0;
	}
	return r;
}

bool ipnet_contains(const struct ipnet *n, const struct ipaddr *a)
{
	bool net4 = n->len >= 96 && ip_is4(&n->addr);
	if (net4 != ip_is4(a))
		return false;
	struct ipaddr m = ip_mask(a, n->len);
	return ip_eq(&m, &n->addr);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool mac_parse(const char *s, struct mac *out)
{
	struct mac m;
	for (unsigned i = 0; i < 6; i++, s += 3) {
		int hi = hex_digit(s[0]);
		int lo = hi < 0 ? -1 : hex_digit(s[1]);
		if (lo < 0 || s[2] != (i < 5 ? ':' : '\0'))
			return false;
		m.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*out = m;
	return true;
}

bool ip_parse(const char *s, struct ipaddr *out)
{
	be32 v4;
	uint8_t v6[16];

	if (inet_pton(AF_INET, s, &v4) == 1)
		*out = ip_from4(v4);
	else if (inet_pton(AF_INET6, s, v6) == 1)
		*out = ip_from6(v6);
	else
		return false;
	return true;
}

/* Decimal digits only, at most 'digits' of them: strtoul would take blanks and signs. */
static bool number_parse(const char *s, unsigned digits, unsigned max, unsigned *out)
{
	unsigned v = 0, n = 0;
	for (; s[n] >= '0' && s[n] <= '9' && n < digits; n++)
		v = v * 10 + (unsigned)(s[n] - '0');
	if (!n || s[n] || v > max)
		return false;
	*out = v;
	return true;
}

bool ipnet_parse(const char *s, struct ipnet *out)
{
	char text[IP_STRLEN];
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : strlen(s);
	struct ipnet r;
	unsigned len;

	if (n >= sizeof(text))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	if (!ip_parse(text, &r.addr))
		return false;
	unsigned bits = strchr(text, ':') ? 128 : 32; /* ::ffff:a.b.c.d is counted in 128 bits, as written */
	len = bits;
	if (slash && !number_parse(slash + 1, 3, bits, &len))
		return false;
	r.len = (uint8_t)(128 - bits + len);
	struct ipaddr m = ip_mask(&r.addr, r.len);
	if (!ip_eq(&m, &r.addr))
		return false;
	*out = r;
	return true;
}

bool port_parse(const char *s, uint16_t *out)
{
	unsigned v;
	if (!number_parse(s, 5, 65535, &v))
		return false;
	*out = (uint16_t)v;
	return true;
}

const char *ip_print(const struct ipaddr *a, char buf[static IP_STRLEN])
{
	if (ip_is4(a))
		inet_ntop(AF_INET, &a->w[3], buf, IP_STRLEN);
	else
		inet_ntop(AF_INET6, a->b, buf, IP_STRLEN);
	return buf;
}

const char *ipnet_print(const struct ipnet *n, char buf[static IP_STRLEN])
{
	ip_print(&n->addr, buf);
	if (n->len < 128) {
		bool net4 = n->len >= 96 && ip_is4(&n->addr);
		size_t at = strlen(buf);
		snprintf(buf + at, IP_STRLEN - at, "/%u", net4 ? n->len - 96u : n->len);
	}
	return buf;
}

const char *mac_print(const struct mac *m, char buf[static MAC_STRLEN])
{
	snprintf(buf, MAC_STRLEN, "%02x:%02x:%02x:%02x:%02x:%02x", m->b[0], m->b[1], m->b[2], m->b[3], m->b[4],
		 m->b[5]);
	return buf;
}

uint64_t csum_add(const void *p, size_t n, uint64_t sum)
{
	const uint8_t *b = p;
	uint64_t odd = 0; /* two chains: the adds of one word do not wait for each other */

	/* 32-bit words in a 64-bit sum: no carry handling for the 2^32 words that no packet has */
	for (; n >= 8; n -= 8, b += 8) {
		uint64_t v = ld64(b);
		sum += (uint32_t)v;
		odd += v >> 32;
	}
	sum += odd;
	if (n & 4) {
		sum += ld32(b);
		b += 4;
	}
	if (n & 2) {
		sum += ld16(b);
		b += 2;
	}
	if (n & 1)
		sum += *b;
	return sum;
}

uint64_t csum_pseudo(const void *src, const void *dst, unsigned alen, uint8_t proto, uint32_t len)
{
	uint64_t sum = csum_add(src, alen, (uint64_t)htons(proto) + htonl(len));
	return csum_add(dst, alen, sum);
}

static const struct {
	const char *name;
	uint8_t proto;
} protos[] = { { "tcp", PROTO_TCP },
	       { "udp", PROTO_UDP },
	       { "sctp", PROTO_SCTP },
	       { "icmp", PROTO_ICMP },
	       { "icmpv6", PROTO_ICMP6 } };

uint8_t proto_by_name(const char *s)
{
	for (unsigned i = 0; i < ARRAY_LEN(protos); i++)
		if (!strcmp(s, protos[i].name))
			return protos[i].proto;
	return 0;
}

const char *proto_name(uint8_t proto)
{
	for (unsigned i = 0; i < ARRAY_LEN(protos); i++)
		if (proto == protos[i].proto)
			return protos[i].name;
	return NULL;
}
