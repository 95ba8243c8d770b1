/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The one kernel replay (contract: tables/abi/replay.h): match, check, rewrite, count, send. Included by every program that
 * replays; what they share is here up to the choice of a record and where it sends, tc and XDP differ in how they write
 * (replay_tc.bpf.h, replay_xdp.bpf.h).
 *
 * The checks are fwd/burst.c's. A refusal is a number >= 0 of enum replay_stat, counted by the program. Nothing is written
 * before all checks passed, so a refused frame is as it came. */
#pragma once

#include "xdp/maps.bpf.h"
#include "xdp/parse.bpf.h"

#define REPLAY_OK (-1)
#define ETH_SIZE 14
#define TUNNEL4_SIZE 64
#define TUNNEL6_SIZE 84
#define TUNNEL6_INNER 70 /* inner Ethernet header */
#define IP4_SIZE 20
#define IP6_SIZE 40

/* A packet of the plain shape. */
struct plain {
	__u32 l3_len; /* IP packet as its header says */
	__u32 head;   /* IP and L4 header */
	__u32 slack;  /* bytes of it behind L4: UDP has a length of its own */
	__u32 proto;
	__u32 no_df; /* IPv4: its identification means something (RFC 6864 4.1) */
};

/* Of a record, whichever family. */
struct found {
	struct replay_use *use;
	const struct replay_flow4 *f4; /* one of the two */
	const struct replay_flow6 *f6;
	__u64 dep;
	__u32 adj, in, gensum, vni, flags;
	__be16 sport, dport, outer_port;
	__u16 d_addr, d_port;
};

/* Who sends. */
struct ingress {
	__u32 in, vni;
};

static __always_inline __u32 csum_fold(__u64 s)
{
	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffff) + (s >> 16 & 0xffff) + (s >> 32);
	s = (s & 0xffff) + (s >> 16);
	return (s & 0xffff) + (s >> 16);
}

static __always_inline __u64 csum_words(const void *p, int words)
{
	const __u32 *w = p;
	__u64 s = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		s += w[i];
	return s;
}

/* memcpy of unknown alignment would go byte by byte. */
static __always_inline void copy_words(void *to, const void *from, int words)
{
	__u64 *t = to;
	const __u64 *f = from;

#pragma unroll
	for (int i = 0; i < words; i++)
		t[i] = f[i];
}

static __always_inline struct replay_conf *replay_config(void)
{
	__u32 zero = 0;
	struct replay_conf *c = bpf_map_lookup_elem(&replay_conf, &zero);

	return c && (c->flags & (REPLAY_ON | REPLAY_SOME)) == (REPLAY_ON | REPLAY_SOME) ? c : 0;
}

/* ---- shape: what fwd/burst.c takes without a decision ---- */
/* 'room' bytes from l4 on as the IP header says. */
static __always_inline int plain_l4(const __u8 *l4, void *end, __u32 room, struct plain *s)
{
	__u32 len, flags;

	if (s->proto == P_UDP) {
		if ((void *)l4 + 8 > end)
			return REPLAY_SHAPE;
		len = bpf_ntohs(*(__be16 *)(l4 + 4));
		s->head += 8;
		s->slack = room - len;
		return len < 8 || len > room ? REPLAY_SHAPE : REPLAY_OK;
	}
	if (s->proto != P_TCP || (void *)l4 + 20 > end)
		return REPLAY_SHAPE;
	len = (l4[12] & 0xf0) >> 2;
	flags = l4[13];
	s->head += len;
	s->slack = 0;
	/* ACK, and neither SYN, FIN nor RST */
	return len < 20 || len > room || (flags & 0x17) != 0x10 ? REPLAY_SHAPE : REPLAY_OK;
}

/* 'room' = bytes of the frame from l3 on. Fills in the key; its ports are the first four bytes of L4. */
static __always_inline int plain_ip4(const void *l3, void *end, __u32 room, struct plain *s, struct flow_key4 *k)
{
	const struct iphdr *ip = l3;

	if (l3 + IP4_SIZE + 8 > end)
		return REPLAY_SHAPE;
	s->l3_len = bpf_ntohs(ip->tot_len);
	s->head = IP4_SIZE;
	s->proto = ip->protocol;
	/* clang would read it again later, and the verifier forget what was learned of it */
	asm volatile("" : "+r"(s->proto));
	if (*(__u8 *)l3 != 0x45 || ip->frag_off & bpf_htons(0x3fff) || ip->ttl < 2 || s->l3_len > room ||
	    s->l3_len < IP4_SIZE + 8 || csum_fold(csum_words(l3, 5)) != 0xffff)
		return REPLAY_SHAPE;
	s->no_df = ~ip->frag_off & bpf_htons(0x4000);
	k->src = ip->saddr;
	k->dst = ip->daddr;
	*(__u32 *)&k->sport = *(__u32 *)(l3 + IP4_SIZE);
	k->zp = s->proto;
	return plain_l4(l3 + IP4_SIZE, end, s->l3_len - IP4_SIZE, s);
}

static __always_inline int plain_ip6(const void *l3, void *end, __u32 room, struct plain *s, struct flow_key6 *k)
{
	const struct ipv6hdr *ip = l3;
	__u32 payload;

	if (l3 + IP6_SIZE + 8 > end)
		return REPLAY_SHAPE;
	payload = bpf_ntohs(ip->payload_len);
	s->l3_len = payload + IP6_SIZE;
	s->head = IP6_SIZE;
	s->proto = ip->nexthdr;
	s->no_df = 0;
	asm volatile("" : "+r"(s->proto));
	if ((*(__u8 *)l3 & 0xf0) != 0x60 || ip->hop_limit < 2 || s->l3_len > room || s->l3_len > 65535 || payload < 8)
		return REPLAY_SHAPE;
	copy_words(k->src, &ip->saddr, 4);
	*(__u32 *)&k->sport = *(__u32 *)(l3 + IP6_SIZE);
	k->zp = s->proto;
	return plain_l4(l3 + IP6_SIZE, end, payload, s);
}

/* ---- match ---- */
/* No branch per way: each one would double what the verifier walks through. A bucket never holds a tag twice. */
static __always_inline __u32 bucket_match(const struct replay_bucket *b, __u32 tag)
{
	__u32 idx = 0;

#pragma unroll
	for (int i = 0; i < REPLAY_WAYS; i++)
		idx |= b->idx[i] & (__u32)(((__u64)(b->tag[i] ^ tag) - 1) >> 32);
	return idx;
}

static __always_inline __u32 index_find(const struct replay_conf *c, __u64 hash)
{
	__u32 tag = replay_tag(hash), word = replay_filter_word(hash, c->buckets);
	const __u64 *filter = bpf_map_lookup_elem(&replay_filter, &word);

	if (!filter || !(*filter & replay_filter_bit(hash)))
		return 0;
#pragma unroll
	for (__u32 which = 0; which < 2; which++) {
		__u32 i = replay_bucket(hash, c->buckets, which);
		const struct replay_bucket *b = bpf_map_lookup_elem(&replay_index, &i);
		__u32 idx = b ? bucket_match(b, tag) : 0;

		if (idx)
			return idx;
	}
	return 0;
}

/* What records of both families have; 'family': f4 or f6. */
#define FOUND(f, family)                                                                                               \
	((struct found){ .use = &(f)->use,                                                                             \
			 .family = (f),                                                                                \
			 .adj = (f)->adj,                                                                              \
			 .in = (f)->in,                                                                                \
			 .gensum = (f)->gensum,                                                                        \
			 .vni = (f)->vni,                                                                              \
			 .flags = (f)->flags,                                                                          \
			 .sport = (f)->sport,                                                                          \
			 .dport = (f)->dport,                                                                          \
			 .outer_port = (f)->outer_port,                                                                \
			 .d_addr = (f)->d_addr,                                                                        \
			 .d_port = (f)->d_port,                                                                        \
			 .dep = replay_word((f)->dep) })

static __always_inline int find4(const struct replay_conf *c, const struct flow_key4 *k, struct found *o)
{
	__u32 i = index_find(c, replay_hash4(c->seed, k));
	struct replay_flow4 *f = i ? bpf_map_lookup_elem(&replay_flow4, &i) : 0;

	if (!f ||
	    (replay_word(&f->key.src) ^ replay_word(&k->src)) | (replay_word(&f->key.sport) ^ replay_word(&k->sport)))
		return REPLAY_MISS;
	*o = FOUND(f, f4);
	return REPLAY_OK;
}

static __always_inline int find6(const struct replay_conf *c, const struct flow_key6 *k, struct found *o)
{
	__u32 i = index_find(c, replay_hash6(c->seed, k));
	struct replay_flow6 *f;
	__u64 differ = 0;

	i = i & REPLAY_V6 ? i & ~REPLAY_V6 : 0;
	f = i ? bpf_map_lookup_elem(&replay_flow6, &i) : 0;
	if (!f)
		return REPLAY_MISS;
#pragma unroll
	for (int w = 0; w < 5; w++)
		differ |= replay_word((void *)&f->key + 8 * w) ^ replay_word((void *)k + 8 * w);
	if (differ)
		return REPLAY_MISS;
	*o = FOUND(f, f6);
	return REPLAY_OK;
}

/* ---- check ---- */
/* FLOW_IN_REMOTE | index of who sent a VXLAN packet, 0 unknown. 'k' but for its VNI is filled in. */
static __always_inline __u32 sender_find(struct replay_remote *k, __u32 vni)
{
	__u32 *in;

	k->vni = REPLAY_ANY_VNI;
	in = bpf_map_lookup_elem(&replay_remote, k);
	if (!in) {
		k->vni = vni;
		in = bpf_map_lookup_elem(&replay_remote, k);
	}
	return in ? *in : 0;
}

/* Is the record valid now and for this sender? '*now' = CLOCK_MONOTONIC ns, to the tick. */
static __always_inline int record_refuses(const struct found *o, const struct ingress *from, __u64 *now)
{
	__u32 zero = 0;
	const struct gen_area *g = bpf_map_lookup_elem(&gen_area, &zero);
	__u32 sum;

	if (!g)
		return REPLAY_DEAD;
	*now = bpf_ktime_get_coarse_ns();
	if (*now > g->alive_until_ns + REPLAY_DEAD_NS)
		return REPLAY_DEAD;
	sum = g->counter[o->dep & 0xffff] + g->counter[o->dep >> 16 & 0xffff] + g->counter[o->dep >> 32 & 0xffff] +
	      g->counter[o->dep >> 48] + g->extra;
	if (sum != o->gensum)
		return REPLAY_STALE;
	if (o->in != from->in || (o->flags & REPLAY_VNI && o->vni != from->vni))
		return REPLAY_INGRESS;
	if (*now > ((__u64)o->use->seen << REPLAY_SEEN_SHIFT) + REPLAY_IDLE_NS)
		return REPLAY_IDLE;
	return REPLAY_OK;
}

/* 'set nat identification unique' and a packet that it is about. */
static __always_inline int needs_new_id(const struct replay_conf *c, const struct plain *s, const struct found *o)
{
	return c->flags & REPLAY_UNIQUE_IDS && s->no_df && o->f4 && o->f4->src != o->f4->key.src;
}

/* Where it goes: by the adjacency as it is now. */
struct way {
	const struct adj *adj;
	__u32 kind, ifindex, port_flags;
	int gate; /* to an endpoint or the box */
};

static __always_inline int way_find(const struct replay_conf *c, const struct found *o, struct way *w)
{
	__u32 i = o->adj, port;

	w->adj = bpf_map_lookup_elem(&replay_adj, &i);
	if (!w->adj)
		return REPLAY_NOT_HERE;
	w->kind = w->adj->kind;
	asm volatile("" : "+r"(w->kind)); /* the engine may change it meanwhile: read once */
	port = w->adj->port;
	w->gate = port == 0;
	if ((w->kind != ADJ_ETH && w->kind != ADJ_TUNNEL4 && w->kind != ADJ_TUNNEL6) || port >= REPLAY_PORTS)
		return REPLAY_NOT_HERE;
	w->ifindex = c->port[port].ifindex;
	w->port_flags = c->port[port].flags;
	return !w->gate && !w->ifindex ? REPLAY_NOT_HERE : REPLAY_OK;
}

/* Can sluice_vxlan put on this tunnel over IPv6? By the UDP port in its template. */
static __always_inline int overlay_has(const struct replay_conf *c, const struct adj *a)
{
	return c->overlay_ifindex && *(const __be16 *)(a->tmpl + 56) == c->overlay_port;
}

/* ---- rewrite ---- */
static __always_inline void write_ip4(struct iphdr *ip, const struct replay_flow4 *f)
{
	ip->ttl -= !f->no_hop;
	ip->check = ~csum_fold((__u64)(__u16)~ip->check + f->d3);
	ip->saddr = f->src;
	ip->daddr = f->dst;
}

static __always_inline void write_ip6(struct ipv6hdr *ip, const struct replay_flow6 *f)
{
	ip->hop_limit -= !f->no_hop;
	copy_words(&ip->saddr, f->src, 4);
}

/* The bytes in front of the packet: fwd/rewrite.h put_headers(). 'o' has room for them. */
static __always_inline void write_eth(__u8 *o, const __u8 *eth, int v6)
{
	*(__u64 *)o = *(const __u64 *)eth;
	*(__u32 *)(o + 8) = *(const __u32 *)(eth + 8);
	*(__be16 *)(o + 12) = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

static __always_inline void write_tunnel4(__u8 *o, const struct adj *a, __u32 l3_len, __u32 tos, __be16 port, int v6)
{
	__u32 ecn = tos & 3, udp_len = 8 + 8 + ETH_SIZE + l3_len; /* RFC 6040 normal mode: ECN is copied out */
	__u16 total = bpf_htons(udp_len + IP4_SIZE);

	copy_words(o, a->tmpl, TUNNEL4_SIZE / 8);
	o[15] |= ecn;
	*(__be16 *)(o + 16) = total;
	*(__u16 *)(o + 24) = ~csum_fold((__u64)a->base3 + total + (ecn << 8));
	*(__be16 *)(o + 34) = port;
	*(__be16 *)(o + 38) = bpf_htons(udp_len);
	*(__be16 *)(o + 62) = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

/* Sum of a packet whose L4 checksum is finished, by its IP header alone: an IPv4 header adds up to nothing, L4 to the complement
 * of the pseudo header, of which an IPv6 header has the same addresses. */
static __always_inline __u64 sum_of_packet(const void *l3, const struct plain *s, int v6)
{
	__u64 rest = bpf_htons(s->proto) + bpf_htons(s->l3_len - (v6 ? IP6_SIZE : IP4_SIZE));

	if (v6)
		return csum_words(l3, 2) + (csum_fold(rest) ^ 0xffff);
	return csum_fold(rest + csum_words(l3 + 12, 2)) ^ 0xffff;
}

/* The packet at 'l3' has its new addresses and hop limit. RFC 8200 8.1. */
static __always_inline void write_tunnel6(__u8 *o, const struct adj *a, const void *l3, const struct plain *s,
					  __u32 tos, __be16 port, int v6)
{
	__be16 type = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP), len = bpf_htons(8 + 8 + ETH_SIZE + s->l3_len);
	__u64 sum = (__u64)a->base3 + port + type + len + len + sum_of_packet(l3, s, v6);
	__u16 check = ~csum_fold(sum);

	copy_words(o, a->tmpl, 80 / 8);
	*(__u32 *)(o + 80) = *(const __u32 *)(a->tmpl + 80);
	o[15] |= (tos & 3) << 4;
	*(__be16 *)(o + 18) = len;
	*(__be16 *)(o + 54) = port;
	*(__be16 *)(o + 58) = len;
	*(__u16 *)(o + 60) = check ? check : 0xffff;
	*(__be16 *)(o + 82) = type;
}

static __always_inline void replay_count(struct replay_use *u, __u64 now, __u32 packets, __u32 bytes)
{
	__u32 seen = REPLAY_SEEN_NOW(now);

	if (u->seen != seen)
		u->seen = seen;
	u->packets += packets;
	u->bytes += bytes;
}
