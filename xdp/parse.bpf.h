/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Header cursor for the XDP and tc programs: addresses, protocol, fragment state and where L4 starts.
 *
 * It only classifies. A header that does not hold together yields "no L4" (pkt_l4 gives NULL), never a verdict: who
 * takes the frame verifies it (fwd/parse.c), who does not leaves that to the kernel. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define P_HOPOPTS 0
#define P_ICMP 1
#define P_TCP 6
#define P_UDP 17
#define P_ROUTING 43
#define P_FRAGMENT 44
#define P_ICMP6 58
#define P_DSTOPTS 60
#define P_SCTP 132

enum pkt_frag { PKT_WHOLE, PKT_FIRST, PKT_LATER };

struct pkt {
	__u32 src[4], dst[4]; /* network order, IPv4 as ::ffff:a.b.c.d */
	void *l4;             /* unchecked: read it through pkt_l4() */
	__u32 frag_id;
	__u8 proto;
	__u8 frag; /* enum pkt_frag */
	__u8 hop_limit;
	__u8 reserved;
};

/* First 'n' bytes of L4, or NULL when the frame ends before. */
#define pkt_l4(p, n, end) ((p)->l4 + (n) > (end) ? (void *)0 : (p)->l4)

static __always_inline int parse_ip4(void *l3, void *end, struct pkt *p)
{
	struct iphdr *ip = l3;
	__u16 off;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return -1;
	p->src[0] = p->src[1] = p->dst[0] = p->dst[1] = 0;
	p->src[2] = p->dst[2] = bpf_htonl(0xffff);
	p->src[3] = ip->saddr;
	p->dst[3] = ip->daddr;
	p->proto = ip->protocol;
	p->hop_limit = ip->ttl;
	p->frag_id = ip->id;
	off = bpf_ntohs(ip->frag_off);
	p->frag = off & 0x1fff ? PKT_LATER : off & 0x2000 ? PKT_FIRST : PKT_WHOLE;
	p->l4 = l3 + ip->ihl * 4;
	return 0;
}

struct ip6_ext {
	__u8 next, len;
	__be16 off;
	__be32 id;
};

static __always_inline int parse_ip6(void *l3, void *end, int max_ext, struct pkt *p)
{
	struct ipv6hdr *ip = l3;
	void *h = ip + 1;

	if (h > end || ip->version != 6)
		return -1;
	__builtin_memcpy(p->src, &ip->saddr, 16);
	__builtin_memcpy(p->dst, &ip->daddr, 16);
	p->proto = ip->nexthdr;
	p->hop_limit = ip->hop_limit;
	p->frag = PKT_WHOLE;
	p->frag_id = 0;
	/* Four is what RFC 8200 4.1 lists short of IPsec; a longer chain keeps an extension number as its protocol and
	 * so matches no L4 rule. */
#pragma unroll
	for (int i = 0; i < 4; i++) {
		struct ip6_ext *x = h;

		if (i >= max_ext)
			break;
		if (p->proto != P_HOPOPTS && p->proto != P_ROUTING && p->proto != P_DSTOPTS && p->proto != P_FRAGMENT)
			break;
		if ((void *)(x + 1) > end)
			break;
		if (p->proto == P_FRAGMENT) {
			p->frag = x->off & bpf_htons(0xfff8) ? PKT_LATER
				  : x->off & bpf_htons(1)    ? PKT_FIRST
							     : PKT_WHOLE;
			p->frag_id = x->id;
			h += 8;
		} else {
			h += (x->len + 1) * 8;
		}
		p->proto = x->next;
		if (p->frag == PKT_LATER)
			break;
	}
	p->l4 = h;
	return 0;
}

/* 0 when 'l3' holds an IPv4 or IPv6 header as 'ethertype' (network order) says. Up to 'max_ext' (at most 4, a constant)
 * extension headers are skipped. */
static __always_inline int parse_ip(void *l3, void *end, __be16 ethertype, int max_ext, struct pkt *p)
{
	if (ethertype == bpf_htons(ETH_P_IP))
		return parse_ip4(l3, end, p);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return parse_ip6(l3, end, max_ext, p);
	return -1;
}

static __always_inline __u64 hash_mix(__u64 v)
{
	v ^= v >> 33;
	v *= 0xff51afd7ed558ccdull;
	v ^= v >> 33;
	v *= 0xc4ceb9fe1a85ec53ull;
	return v ^ v >> 33;
}

static __always_inline __u64 hash_end(const __u32 a[4], __be16 port)
{
	return hash_mix(((__u64)a[0] << 32 | a[1]) * 31 + ((__u64)a[2] << 32 | a[3]) * 17 + ((__u64)port << 48));
}

/* The same for both directions of a connection: each end is hashed alone and the results are added. Fragments use the
 * addresses only, so that all pieces of a datagram meet in one worker. */
static __always_inline __u32 pkt_flow_hash(const struct pkt *p, void *end)
{
	__be16 sport = 0, dport = 0;
	__be16 *ports = pkt_l4(p, 4, end);

	if (ports && p->frag == PKT_WHOLE && (p->proto == P_TCP || p->proto == P_UDP || p->proto == P_SCTP)) {
		sport = ports[0];
		dport = ports[1];
	}
	return hash_mix(hash_end(p->src, sport) + hash_end(p->dst, dport) + (p->frag ? 0 : p->proto)) >> 32;
}
