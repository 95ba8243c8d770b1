// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/* XDP on uplinks (sluice_steer): an allow list of what the engine takes; everything else stays with the kernel
 * untouched. XDP on sluice_net (sluice_gate): every frame to the engine, none past it.
 *
 * Order: the device is configured; kernel replay has the flow; ARP and neighbour discovery by the addresses in it; own destination MAC; longest prefix
 * of the destination; then its flags. Tagged frames are passed: VLAN devices belong to the kernel. */
#define WITH_STEER
#define WITH_REPLAY
#include "xdp/replay_xdp.bpf.h"

#define ND_SOLICIT 135
#define ND_ADVERTISE 136

static __always_inline struct steer_val *find(const __u32 a[4])
{
	struct steer_key k = { .prefixlen = 128 };
	struct steer_val *v;

	__builtin_memcpy(k.addr, a, 16);
	v = bpf_map_lookup_elem(&steer_lpm, &k);
	return v && !(v->flags & STEER_PASS) ? v : 0;
}

static __always_inline int bit_is_set(const struct steer_val *v, __u32 which, __be16 number)
{
	__u32 n = bpf_ntohs(number), index = v->pool * STEER_PROTOS + which;
	struct steer_bitmap *bits;

	if (!(v->flags & STEER_POOL))
		return 0;
	bits = bpf_map_lookup_elem(&steer_bits, &index);
	return bits && bits->byte[n >> 3 & (STEER_BITMAP_SIZE - 1)] >> (n & 7) & 1;
}

static __always_inline int has_ports(__u8 proto)
{
	return proto == P_TCP || proto == P_UDP || proto == P_SCTP;
}

/* 'a' is the address that 'v' was found for. */
static __always_inline int port_is_ours(const struct steer_val *v, const __u32 a[4], __u8 proto, __be16 port)
{
	struct steer_service k = { .port = port, .proto = proto };

	if (bit_is_set(v, proto == P_TCP ? STEER_TCP : proto == P_UDP ? STEER_UDP : STEER_SCTP, port))
		return 1;
	__builtin_memcpy(k.addr, a, 16);
	return v->flags & STEER_SERVICE && bpf_map_lookup_elem(&steer_service, &k);
}

/* ICMP errors name the packet they are about: one that we sent from that address, so its source is what we own. */
static __always_inline int error_is_ours(const struct steer_val *v, const struct pkt *outer, void *end,
					 __be16 ethertype)
{
	struct pkt in;
	__u8 *l4;

	/* What we send has a fragment header at most. */
	if (parse_ip(outer->l4 + 8, end, ethertype, 1, &in) || in.frag == PKT_LATER)
		return 0;
	/* one branch: each one more doubles what the verifier walks through at load */
	if ((in.src[0] ^ outer->dst[0]) | (in.src[1] ^ outer->dst[1]) | (in.src[2] ^ outer->dst[2]) |
	    (in.src[3] ^ outer->dst[3]))
		return 0;
	l4 = pkt_l4(&in, 8, end);
	if (!l4)
		return 0;
	if (has_ports(in.proto))
		return port_is_ours(v, in.src, in.proto, *(__be16 *)l4);
	if ((in.proto == P_ICMP && l4[0] == 8) || (in.proto == P_ICMP6 && l4[0] == 128))
		return bit_is_set(v, STEER_ICMP, *(__be16 *)(l4 + 4));
	return 0;
}

static __always_inline int icmp_is_ours(const struct steer_val *v, const struct pkt *p, void *end, __be16 ethertype)
{
	__u8 *l4 = pkt_l4(p, 8, end), type;

	if (!l4)
		return 0;
	type = l4[0];
	if (p->proto == P_ICMP ? type == 0 : type == 129)
		return bit_is_set(v, STEER_ICMP, *(__be16 *)(l4 + 4));
	if (p->proto == P_ICMP ? type == 3 || type == 4 || type == 11 || type == 12 : type >= 1 && type <= 4)
		return error_is_ours(v, p, end, ethertype);
	return 0;
}

static __always_inline int l4_is_ours(const struct steer_val *v, const struct pkt *p, void *end, __be16 ethertype)
{
	__be16 *ports;

	if (has_ports(p->proto)) {
		ports = pkt_l4(p, 4, end);
		return ports && port_is_ours(v, p->dst, p->proto, ports[1]);
	}
	if ((p->proto == P_ICMP && ethertype == bpf_htons(ETH_P_IP)) ||
	    (p->proto == P_ICMP6 && ethertype == bpf_htons(ETH_P_IPV6)))
		return icmp_is_ours(v, p, end, ethertype);
	return 0;
}

/* Fragments to a pool or service address. The first one carries the port and is judged by it. The later ones carry none:
 * - the engine answers ARP for the address (STEER_ARP), so the kernel does not own it: every later one is taken;
 * - the address is shared with the box: a later one is taken when the first of the same datagram was seen and taken,
 *   else passed. Reordered ones are lost to the engine rather than stolen from the kernel. */
static __always_inline int fragment_is_ours(const struct steer_val *v, const struct pkt *p, void *end, __be16 ethertype,
					    __u16 zone)
{
	/* RFC 8200 4.5: later fragments may name another protocol */
	struct steer_frag k = { .id = p->frag_id,
				.proto = ethertype == bpf_htons(ETH_P_IPV6) ? 0 : p->proto,
				.zone = zone };
	__u32 one = 1;

	if (p->frag == PKT_LATER && v->flags & STEER_ARP)
		return 1;
	__builtin_memcpy(k.src, p->src, 16);
	__builtin_memcpy(k.dst, p->dst, 16);
	if (p->frag == PKT_LATER)
		return bpf_map_lookup_elem(&steer_frag, &k) != 0;
	if (!l4_is_ours(v, p, end, ethertype)) {
		/* The identification may be in use again: a stale entry would take the kernel's later pieces. */
		bpf_map_delete_elem(&steer_frag, &k);
		return 0;
	}
	bpf_map_update_elem(&steer_frag, &k, &one, BPF_ANY);
	return 1;
}

static __always_inline int vtep_is_ours(const struct steer_val *v, const struct pkt *p, void *end)
{
	__be16 *ports;

	if (p->proto != P_UDP || p->frag == PKT_LATER)
		return 0;
	ports = pkt_l4(p, 4, end);
	/* 0 marks an unused entry and is no port to listen on. */
	return ports && ports[1] &&
	       (ports[1] == v->vtep_port[0] || ports[1] == v->vtep_port[1] || ports[1] == v->vtep_port[2] ||
		ports[1] == v->vtep_port[3]);
}

static __always_inline int engine_answers(const __u32 a[4])
{
	struct steer_val *v = find(a);

	return v && v->flags & STEER_ARP;
}

/* Who asks for one of our addresses, and who says that it is his: in answer to our probe, or to all. What such a host and the
 * kernel tell each other stays with the kernel: else a host that has one of our addresses would lose the box. */
static __always_inline int arp_is_ours(const __u8 *arp, void *end, int unicast, const __u8 *dmac)
{
	__u32 a[4] = { 0, 0, bpf_htonl(0xffff), 0 };
	const __u32 *head = (const void *)arp;

	if ((void *)arp + 28 > end || (!unicast && (dmac[0] & dmac[1] & dmac[2] & dmac[3] & dmac[4] & dmac[5]) != 0xff))
		return 0;
	/* Ethernet, IPv4, lengths 6 and 4, request or answer */
	if (head[0] != bpf_htonl(0x00010800) || (head[1] != bpf_htonl(0x06040001) && head[1] != bpf_htonl(0x06040002)))
		return 0;
	__builtin_memcpy(&a[3], arp + 24, 4);
	if (a[3] && !engine_answers(a))
		return 0;
	if (a[3] && head[1] == bpf_htonl(0x06040001))
		return 1;
	__builtin_memcpy(&a[3], arp + 14, 4);
	return engine_answers(a);
}

/* 'own': to the box alone; an answer so sent is one that the kernel asked for, our probes come from nobody (RFC 4861 7.2.4). */
static __always_inline int nd_is_ours(const struct pkt *p, void *end, int own)
{
	__u8 *l4 = pkt_l4(p, 24, end);
	__u32 target[4];

	if (!l4 || p->proto != P_ICMP6 || p->frag || p->hop_limit != 255 ||
	    (l4[0] != ND_SOLICIT && (own || l4[0] != ND_ADVERTISE)))
		return 0;
	__builtin_memcpy(target, l4 + 8, 16);
	return engine_answers(target);
}

/* Solicited-node groups and all nodes: where neighbour discovery goes that is not for us alone. */
static __always_inline int is_nd_group(const __u8 *mac)
{
	return mac[0] == 0x33 && mac[1] == 0x33 && (mac[2] == 0xff || (!(mac[2] | mac[3] | mac[4]) && mac[5] == 1));
}

static __always_inline int is_ours(void *data, void *end, const struct steer_dev *dev)
{
	struct ethhdr *eth = data;
	const __u16 *have, *want = (const void *)dev->mac;
	struct steer_val *v;
	struct pkt p;
	int own;

	if ((void *)(eth + 1) > end)
		return 0;
	have = (const void *)eth->h_dest;
	own = !((have[0] ^ want[0]) | (have[1] ^ want[1]) | (have[2] ^ want[2]));
	if (eth->h_proto == bpf_htons(ETH_P_ARP))
		return arp_is_ours((void *)(eth + 1), end, own, eth->h_dest);
	if (!own && !is_nd_group(eth->h_dest))
		return 0;
	if (parse_ip(eth + 1, end, eth->h_proto, 4, &p))
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && nd_is_ours(&p, end, own))
		return 1;
	if (!own)
		return 0;
	v = find(p.dst);
	if (!v)
		return 0;
	if (v->flags & STEER_ALL)
		return 1;
	if (v->flags & STEER_VTEP && vtep_is_ours(v, &p, end))
		return 1;
	if (!(v->flags & (STEER_POOL | STEER_SERVICE)))
		return 0;
	return p.frag ? fragment_is_ours(v, &p, end, eth->h_proto, dev->zone) : l4_is_ours(v, &p, end, eth->h_proto);
}

SEC("xdp.frags") int sluice_steer(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex, queue = ctx->rx_queue_index;
	struct steer_dev *dev = bpf_map_lookup_elem(&steer_dev, &ifindex);
	int verdict = dev ? xdp_replay(ctx, dev) : -1;

	/* What has a record was taken before: the prefixes need not be asked. */
	if (verdict >= 0)
		return verdict;
	if (!dev || !is_ours((void *)(long)ctx->data, (void *)(long)ctx->data_end, dev)) {
		count(&steer_stats, STEER_PASSED);
		return XDP_PASS;
	}
	/* A queue past the slot's range would reach another port's socket. */
	verdict = queue < STEER_QUEUES
			  ? bpf_redirect_map(&steer_xsk, dev->slot * STEER_QUEUES + queue, dev->on_exit & 3)
			  : dev->on_exit;
	count(&steer_stats, verdict == XDP_REDIRECT ? STEER_TAKEN : STEER_NO_SOCKET);
	return verdict;
}

/* Slot 0 is the gate's. Without a socket it drops: a dead engine must not let tenants through unpoliced. */
SEC("xdp") int sluice_gate(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index;
	int verdict = queue < STEER_QUEUES ? bpf_redirect_map(&steer_xsk, queue, XDP_DROP) : XDP_DROP;

	count(&gate_stats, verdict == XDP_REDIRECT ? GATE_TO_ENGINE : GATE_DROP_NO_SOCKET);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
