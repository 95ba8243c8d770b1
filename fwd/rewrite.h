/* SPDX-License-Identifier: BSD-2-Clause */
/* What replay does to a packet, inline for its two callers: burst.c (every established packet) and replay.c (the one that
 * was just decided). By value of the record alone, no configuration is read.
 *
 * Checksums are updated by deltas stored in the record: d3 for the IPv4 header (addresses and the TTL step), d4 for L4
 * (addresses and ports; ICMP echo: the id). RFC 1624 eqn 3 throughout; a UDP result of 0 is sent as 0xffff, a UDP checksum
 * of 0 over IPv4 stays 0 (RFC 768). */
#pragma once

#include "fwd/worker.h"
#include "tables/ct.h"

/* What stands in front of the inner IP packet (tables/abi/flow.h). */
enum { TUNNEL4_SIZE = 64, TUNNEL6_SIZE = 84, IPIP4_SIZE = 34, IPIP6_SIZE = 54 };

/* Two fields of a record as one word. */
typedef uint64_t __attribute__((may_alias)) flow_word;

/* ---- rewrite ---- */
/* Sum of two 16-bit words with its carry added back. */
INLINE uint16_t add16(uint16_t a, uint16_t b)
{
	__asm__("addw %1, %0\n\tadcw $0, %0" : "+r"(a) : "rm"(b));
	return a;
}

/* TCP or UDP: no branch, the two come mixed. 'both': the ports as they go out. */
INLINE void rewrite_ports(uint8_t *l4, uint32_t proto, uint16_t d4, uint32_t both)
{
	const uint32_t udp = proto == PROTO_UDP;
	uint8_t *field = l4 + 16 - 10 * udp;
	const uint16_t have = ld16(field);
	uint32_t s = (uint16_t)~add16((uint16_t)~have, d4);
	s |= -(udp & (s == 0));       /* UDP: 0 is sent as 0xffff, */
	s &= (udp & (have == 0)) - 1; /* and no checksum stays none */
	st16(field, (uint16_t)s);
	st32(l4, both);
}

INLINE void rewrite_l4(uint8_t *l4, uint32_t proto, uint16_t d4, be16 sport, be16 dport)
{
	if (proto == PROTO_TCP || proto == PROTO_UDP) {
		rewrite_ports(l4, proto, d4, (uint32_t)sport | (uint32_t)dport << 16);
	} else if (proto == PROTO_ICMP || proto == PROTO_ICMP6) {
		st16(l4 + 2, (uint16_t)~add16((uint16_t)~ld16(l4 + 2), d4));
		st16(l4 + 4, sport | dport); /* the echo id is in one of them, the other is 0 */
	}
}

/* One less, unless the record's 'way' has FLOW_NO_HOP. */
INLINE uint8_t ttl_after(uint8_t ttl, uint32_t way)
{
	return (uint8_t)(ttl - 1 + (way >> 31));
}

INLINE void rewrite_ip4(uint8_t *l3, uint64_t addrs, uint16_t d3, uint32_t way)
{
	l3[8] = ttl_after(l3[8], way);
	st16(l3 + 10, (uint16_t)~add16((uint16_t)~ld16(l3 + 10), d3));
	st64(l3 + 12, addrs);
}

/* Both addresses of a record. */
INLINE __m256i addrs6(const struct flow6 *f)
{
#if WITH_TSAN
	return _mm256_set_epi64x((int64_t)LOAD_RELAXED(&f->addrs[3]), (int64_t)LOAD_RELAXED(&f->addrs[2]),
				 (int64_t)LOAD_RELAXED(&f->addrs[1]), (int64_t)LOAD_RELAXED(&f->addrs[0]));
#else
	/* not read at once either, but one instruction: who reads a record looks at its version afterwards */
	return _mm256_load_si256((const void *)f->addrs);
#endif
}

INLINE void rewrite_ip6(uint8_t *l3, __m256i addrs, uint32_t way)
{
	l3[7] = ttl_after(l3[7], way);
	_mm256_storeu_si256((void *)(l3 + 8), addrs);
}

/* Is what was loaded of a record, 'a' (in a register of class 'in': r, x for vectors), 'b' and 'c' last, of one decision? 'was' is
 * its 'way', loaded first (tables/abi/flow.h). x86 keeps the order of loads, so only the compiler must, and forget nothing else
 * that it knows. */
#if WITH_TSAN
#define FLOW_STANDS(f, was, in, a, b, c) (__atomic_thread_fence(__ATOMIC_ACQUIRE), LOAD_RELAXED(&(f)->way) == (was))
#else
#define FLOW_STANDS(f, was, in, a, b, c)                                                                               \
	({                                                                                                             \
		__asm__ volatile("" : "+" in(a), "+r"(b), "+r"(c), "+m"((f)->way));                                    \
		(f)->way == (was);                                                                                     \
	})
#endif

/* Counters of 32 bits: what no longer fits goes to the connection. */
void flow_carry(const struct ct *c, uint32_t r, bool bytes, uint32_t *packets);

/* Packets and bytes of record 'r' lie side by side: one addition, 'add' = 1 | bytes << 32, or 0. */
INLINE void flow_count(const struct ct *c, uint32_t r, uint32_t *packets, uint64_t add)
{
	flow_word *word = (void *)packets;
	uint64_t both = LOAD_RACED(word);
	const bool bytes = __builtin_add_overflow(both, add, &both);
	STORE_RACED(word, both);
	if (unlikely(bytes | ((uint32_t)both == 0)) && add)
		flow_carry(c, r, bytes, packets);
}

/* ---- out ---- */
/* The 64 bytes of an IPv4 tunnel as one copy and its patches. 'hash' gives the outer source port. */
INLINE void put_tunnel4(uint8_t *o, const struct adj *a, uint32_t inner_len, uint8_t inner_tos, uint64_t hash,
			uint16_t type)
{
	const uint32_t ecn = inner_tos & 3; /* RFC 6040 normal mode: ECN is copied out, DSCP is not */
	const uint32_t udp_len = UDP_HLEN + VXLAN_HLEN + inner_len;
	const uint16_t total = htons((uint16_t)(udp_len + IP4_HLEN));
	memcpy(o, a->tmpl, 64);
	o[15] = (uint8_t)(a->tmpl[15] | ecn);
	st16(o + 16, total);
	st16(o + 24, (uint16_t)~csum_fold((uint64_t)a->base3 + total + (ecn << 8)));
	st16(o + 34, (uint16_t)(hash >> 20) | htons(0xc000)); /* 49152-65535: RFC 7348 section 5 */
	wr16(o + 38, (uint16_t)udp_len);
	st16(o + 62, type);
}

INLINE void put_tunnel6(uint8_t *o, const struct adj *a, uint32_t inner_len, uint8_t inner_tos, uint64_t hash,
			uint16_t type)
{
	const uint32_t udp_len = UDP_HLEN + VXLAN_HLEN + inner_len;
	memcpy(o, a->tmpl, TUNNEL6_SIZE);
	o[15] |= (uint8_t)((inner_tos & 3) << 4);
	wr16(o + 18, (uint16_t)udp_len);
	st16(o + 54, (uint16_t)(hash >> 20) | htons(0xc000));
	wr16(o + 58, (uint16_t)udp_len);
	st16(o + 82, type);
	/* RFC 8200 8.1: UDP over IPv6 has a checksum; a receiver takes zero only where configured to (RFC 6935) */
	uint16_t c =
		(uint16_t)~csum_fold(csum_add(o + 54, udp_len, csum_pseudo(o + 22, o + 38, 16, PROTO_UDP, udp_len)));
	st16(o + 60, c ? c : 0xffff);
}

/* IP in IP (RFC 2003, RFC 2473); 'ecn' of the inner packet is copied out as with VXLAN. */
INLINE uint8_t *put_ipip(uint8_t *l3, const struct adj *a, uint8_t kind, uint32_t l3_len, uint8_t tos)
{
	const uint32_t ecn = tos & 3;
	if (kind == ADJ_IPIP6) {
		uint8_t *o = l3 - IPIP6_SIZE;
		memcpy(o, a->tmpl, IPIP6_SIZE);
		o[15] |= (uint8_t)(ecn << 4);
		wr16(o + 18, (uint16_t)l3_len);
		return o;
	}
	const uint16_t total = htons((uint16_t)(l3_len + IP4_HLEN));
	uint8_t *o = l3 - IPIP4_SIZE;
	memcpy(o, a->tmpl, IPIP4_SIZE);
	o[15] |= (uint8_t)ecn;
	st16(o + 16, total);
	st16(o + 24, (uint16_t)~csum_fold((uint64_t)a->base3 + total + (ecn << 8)));
	return o;
}

/* Puts the adjacency's headers in front of the IP packet at 'l3' and tells where the frame starts. 'kind' is the adjacency's,
 * not ADJ_NONE, read once by the caller: the control thread may change it meanwhile. There must be TUNNEL6_SIZE bytes in front
 * of 'l3' unless it is ADJ_ETH. */
INLINE uint8_t *put_headers(const struct adj *a, uint8_t kind, uint8_t *l3, uint32_t l3_len, bool v6, uint64_t hash)
{
	const uint16_t type = v6 ? htons(ET_IP6) : htons(ET_IP4);
	uint8_t *o = l3 - ETH_HLEN_;
	if (likely(kind == ADJ_ETH)) {
		memcpy(o, a->eth, 12);
		st16(o + 12, type);
		return o;
	}
	const uint8_t tos = v6 ? (uint8_t)((l3[0] << 4) | (l3[1] >> 4)) : l3[1];
	if (likely(kind == ADJ_TUNNEL4)) {
		o = l3 - TUNNEL4_SIZE;
		put_tunnel4(o, a, l3_len + ETH_HLEN_, tos, hash, type);
	} else if (kind != ADJ_TUNNEL6) {
		o = put_ipip(l3, a, kind, l3_len, tos);
	} else {
		o = l3 - TUNNEL6_SIZE;
		put_tunnel6(o, a, l3_len + ETH_HLEN_, tos, hash, type);
	}
	return o;
}
