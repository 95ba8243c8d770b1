/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses, prefixes, MACs, unaligned wire access and Internet checksums (RFC 1071, RFC 1624).
 *
 * Every address is 16 bytes in network order; IPv4 is held as ::ffff:a.b.c.d, so that tables and decisions have one form.
 * The family is read off the address. Only the flow tables keep 4-byte IPv4 keys (tables/abi/flow.h). */
#pragma once

#include <arpa/inet.h>
#include <string.h>

#include "fwd/base/util.h"

typedef uint16_t be16; /* network byte order */
typedef uint32_t be32;

struct mac {
	uint8_t b[6];
};

struct ipaddr {
	union {
		uint8_t b[16];
		be32 w[4];
		uint64_t d[2];
	};
};

/* 'len' counts from the top of the 128 bits: an IPv4 /24 has len 120. Bits past 'len' are zero. */
struct ipnet {
	struct ipaddr addr;
	uint8_t len;
};

INLINE uint16_t ld16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, 2);
	return v;
}
INLINE uint32_t ld32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return v;
}
INLINE uint64_t ld64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}
INLINE void st16(void *p, uint16_t v)
{
	memcpy(p, &v, 2);
}
INLINE void st32(void *p, uint32_t v)
{
	memcpy(p, &v, 4);
}
INLINE void st64(void *p, uint64_t v)
{
	memcpy(p, &v, 8);
}
/* Host-order value of a big-endian 16/32-bit field. */
INLINE uint16_t rd16(const void *p)
{
	return __builtin_bswap16(ld16(p));
}
INLINE uint32_t rd32(const void *p)
{
	return __builtin_bswap32(ld32(p));
}
INLINE void wr16(void *p, uint16_t v)
{
	st16(p, __builtin_bswap16(v));
}
INLINE void wr32(void *p, uint32_t v)
{
	st32(p, __builtin_bswap32(v));
}

INLINE bool ip_is4(const struct ipaddr *a)
{
	return a->d[0] == 0 && a->w[2] == htonl(0xffff);
}
INLINE struct ipaddr ip_from4(be32 v)
{
	return (struct ipaddr){ .w = { 0, 0, htonl(0xffff), v } };
}
INLINE struct ipaddr ip_from6(const void *p)
{
	struct ipaddr a;
	memcpy(a.b, p, 16);
	return a;
}
INLINE bool ip_eq(const struct ipaddr *a, const struct ipaddr *b)
{
	return a->d[0] == b->d[0] && a->d[1] == b->d[1];
}
INLINE bool ip_is_zero(const struct ipaddr *a) /* :: or 0.0.0.0 */
{
	return a->d[0] == 0 && (a->d[1] == 0 || (a->w[2] == htonl(0xffff) && a->w[3] == 0));
}
INLINE bool ip_is_multicast(const struct ipaddr *a)
{
	return ip_is4(a) ? (a->b[12] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}
INLINE bool ip_is_linklocal6(const struct ipaddr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}
INLINE bool ip_is_loopback(const struct ipaddr *a)
{
	if (ip_is4(a))
		return a->b[12] == 127;
	return a->d[0] == 0 && a->w[2] == 0 && a->w[3] == htonl(1);
}
INLINE bool ip_is_bcast4(const struct ipaddr *a)
{
	return ip_is4(a) && a->w[3] == 0xffffffff;
}
/* An address that packets are forwarded to and from (RFC 1812 5.3.7, RFC 4291 2.5.6). 169.254/16 counts: see decide.c. */
INLINE bool ip_is_routed(const struct ipaddr *a)
{
	if (ip_is_zero(a) || ip_is_multicast(a) || ip_is_loopback(a) || ip_is_linklocal6(a))
		return false;
	return !ip_is4(a) || (a->b[12] != 0 && a->b[12] < 240);
}
/* 'a' with all bits past 'len' cleared */
struct ipaddr ip_mask(const struct ipaddr *a, unsigned len);
bool ipnet_contains(const struct ipnet *n, const struct ipaddr *a); /* an IPv4 address is never inside an IPv6 prefix */
INLINE bool ipnet_overlap(const struct ipnet *a, const struct ipnet *b)
{
	return a->len < b->len ? ipnet_contains(a, &b->addr) : ipnet_contains(b, &a->addr);
}
INLINE bool mac_eq(const struct mac *a, const struct mac *b)
{
	return memcmp(a->b, b->b, 6) == 0;
}
INLINE bool mac_is_zero(const struct mac *a)
{
	return ld32(a->b) == 0 && ld16(a->b + 4) == 0;
}

/* Parsers: false and nothing written when 's' is not exactly one such thing. */
bool mac_parse(const char *s, struct mac *out);
bool ip_parse(const char *s, struct ipaddr *out);
bool ipnet_parse(const char *s, struct ipnet *out); /* ADDR[/LEN]; host bits must be zero */
bool port_parse(const char *s, uint16_t *out);      /* 0..65535, host order */

/* Printers return 'buf'. IPv4 prints as dotted quad. ipnet omits /32 and /128. */
#define IP_STRLEN 48
#define MAC_STRLEN 18
const char *ip_print(const struct ipaddr *a, char buf[static IP_STRLEN]);
const char *ipnet_print(const struct ipnet *n, char buf[static IP_STRLEN]);
const char *mac_print(const struct mac *m, char buf[static MAC_STRLEN]);

/* Checksums work on 16-bit words as they lie in memory, so results can be stored as they are.
 * csum_add: unfolded sum of 'n' bytes (an odd last byte is padded with zero). csum_fold: to 16 bits, not complemented. */
uint64_t csum_add(const void *p, size_t n, uint64_t sum);
INLINE uint16_t csum_fold(uint64_t s)
{
	/* Adding the halves crosswise leaves in the upper one their sum with its carry added back. */
	s += s << 32 | s >> 32;
	uint32_t x = (uint32_t)(s >> 32);
	x += x << 16 | x >> 16;
	return (uint16_t)(x >> 16);
}
/* Unfolded sum of the pseudo-header of RFC 793/8200: 4- or 16-byte addresses at 'src' and 'dst', 'len' = L4 bytes. */
uint64_t csum_pseudo(const void *src, const void *dst, unsigned alen, uint8_t proto, uint32_t len);
/* RFC 1624 eqn 3: checksum field 'old' after words summing to 'minus' became words summing to 'plus' (both folded). */
INLINE uint16_t csum_update(uint16_t old, uint16_t minus, uint16_t plus)
{
	return (uint16_t)~csum_fold((uint64_t)(uint16_t)~old + (uint16_t)~minus + plus);
}

enum { ETH_HLEN_ = 14, IP4_HLEN = 20, IP6_HLEN = 40, UDP_HLEN = 8, TCP_HLEN = 20, ICMP_HLEN = 8, VXLAN_HLEN = 8 };
enum ethertype { ET_IP4 = 0x0800, ET_ARP = 0x0806, ET_VLAN = 0x8100, ET_QINQ = 0x88a8, ET_IP6 = 0x86dd };
enum ipproto {
	PROTO_HOPOPTS = 0,
	PROTO_ICMP = 1,
	PROTO_IPIP = 4, /* IPv4 in IP */
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_IP6IP = 41, /* IPv6 in IP */
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_AH = 51,
	PROTO_ICMP6 = 58,
	PROTO_NONE = 59,
	PROTO_DSTOPTS = 60,
	PROTO_SCTP = 132
};
/* By the names that operators use: tcp udp sctp icmp icmpv6. */
uint8_t proto_by_name(const char *s);  /* 0: none such */
const char *proto_name(uint8_t proto); /* NULL for others */
