/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Kernel replay in tc programs (xdp/replay.bpf.h). GSO frames stay whole, unfinished checksums unfinished: L4 checksums are
 * changed by bpf_l4_csum_replace only, which knows CHECKSUM_PARTIAL; those take the address part of the delta alone. */
#pragma once

#include "xdp/gate.bpf.h"
#include "xdp/replay.bpf.h"

#define CSUM_IPV6 (1ull << 7) /* BPF_F_IPV6, Linux 6.16: no IPv4 header checksum balances a CHECKSUM_COMPLETE */

/* Longest IP packet on the wire, and how many. */
static __always_inline __u32 wire_packets(const struct __sk_buff *skb, const struct plain *s, __u32 *longest)
{
	__u32 n = skb->gso_segs;

	*longest = skb->gso_size ? s->head + skb->gso_size : s->l3_len;
	return n && skb->gso_size ? n : 1;
}

/* Address and port parts one after the other; a UDP checksum of zero stays zero. */
static __always_inline int tc_l4_csum(struct __sk_buff *skb, __u32 l4, __u32 proto, const struct found *o, int v6)
{
	__u32 at = l4 + (proto == P_UDP ? 6 : 16);
	__u64 f = proto == P_UDP ? BPF_F_MARK_MANGLED_0 : 0, pseudo = f | BPF_F_PSEUDO_HDR;

	if (o->d_addr && (!v6 || bpf_l4_csum_replace(skb, at, 0, o->d_addr, pseudo | CSUM_IPV6)) &&
	    bpf_l4_csum_replace(skb, at, 0, o->d_addr, pseudo))
		return -1;
	return o->d_port ? bpf_l4_csum_replace(skb, at, 0, o->d_port, f) : 0;
}

/* Endpoint or box, over what stands in the adjacency (abi/gate.h): never through the gate's queue. */
static __always_inline int tc_to_gate(struct __sk_buff *skb, const struct adj *a, int ingress)
{
	const __u8 gateway[6] = GATE_GATEWAY_MAC;
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;
	struct gate_endpoint *ep;
	struct gate_conf *conf = gate_config();
	__u32 id = (__u32)a->eth[2] << 24 | (__u32)a->eth[3] << 16 | (__u32)a->eth[4] << 8 | a->eth[5];

	if (data + ETH_SIZE > (void *)(long)skb->data_end || !conf)
		return TC_ACT_SHOT;
	if (mac_kind(a->eth) == GATE_HOST) {
		__builtin_memcpy(eth, a->eth, 12);
		return bpf_redirect(conf->host_ifindex, BPF_F_INGRESS); /* [to-host] takes the stamp off */
	}
	ep = bpf_map_lookup_elem(&gate_by_id, &id);
	if (!ep)
		return TC_ACT_SHOT;
	__builtin_memcpy(eth->h_dest, a->eth + 6, 6);
	__builtin_memcpy(eth->h_source, gateway, 6);
	if (ingress && ep->attach == 0)
		return bpf_redirect_peer(ep->ifindex, 0);
	return bpf_redirect(ep->ifindex, 0);
}

/* Room for outer headers. bpf_skb_adjust_room marks GSO frames as tunnelled: the device cuts them, headers and all. It refuses
 * what is a tunnel already (VXLAN inside a container) and some kinds of GSO. The inner L2 header is Ethernet alone: segmentation
 * looks for the type there, and takes what stands between it and UDP for the tunnel's. */
static __always_inline int tc_make_room(struct __sk_buff *skb)
{
	const __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_FIXED_GSO |
			    BPF_F_ADJ_ROOM_ENCAP_L2(ETH_SIZE) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;

	return bpf_skb_adjust_room(skb, TUNNEL4_SIZE - ETH_SIZE, BPF_ADJ_ROOM_MAC, flags);
}

/* A tunnel over IPv6 is put on by the kernel's VXLAN device, which has the checksum over it right for GSO frames too. Fields of the
 * template as write_tunnel6() has them. The mark opens [to-overlay]. */
static __always_inline int tc_tunnel_key6(struct __sk_buff *skb, const struct replay_conf *c, const struct adj *a)
{
	const __u8 *t = a->tmpl;
	struct bpf_tunnel_key k = { .tunnel_id = bpf_ntohl(*(const __be32 *)(t + 66)) >> 8,
				    .tunnel_tos = (__u8)(t[14] << 4 | t[15] >> 4),
				    .tunnel_ttl = t[21] };

	if (!overlay_has(c, a))
		return -1;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		k.local_ipv6[i] = *(const __u32 *)(t + 22 + 4 * i);
		k.remote_ipv6[i] = *(const __u32 *)(t + 38 + 4 * i);
	}
	if (bpf_skb_set_tunnel_key(skb, &k, sizeof(k), BPF_F_TUNINFO_IPV6))
		return -1;
	skb->mark = REPLAY_META;
	return 0;
}

/* Rewrites and sends the packet behind 'front' bytes, a constant. */
static __always_inline int tc_send(struct __sk_buff *skb, const struct plain *s, const struct found *o,
				   const struct way *w, __u32 front, int v6, int ingress)
{
	const __u32 l4 = front + (v6 ? IP6_SIZE : IP4_SIZE);
	void *data = (void *)(long)skb->data, *l3 = data + front;

	if (data + l4 + 8 > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	if (front == TUNNEL4_SIZE)
		write_tunnel4(data, w->adj, s->l3_len, v6 ? bpf_ntohs(*(__be16 *)l3) >> 4 : *(__u8 *)(l3 + 1),
			      o->outer_port, v6);
	else if (!w->gate)
		write_eth(data, w->kind == ADJ_TUNNEL6 ? w->adj->tmpl + TUNNEL6_INNER : w->adj->eth, v6);
	if (v6)
		write_ip6(l3, o->f6);
	else
		write_ip4(l3, o->f4);
	*(__be16 *)(data + l4) = o->sport;
	*(__be16 *)(data + l4 + 2) = o->dport;
	if (tc_l4_csum(skb, l4, s->proto, o, v6))
		return TC_ACT_SHOT;
	return front == ETH_SIZE && w->gate ? tc_to_gate(skb, w->adj, ingress) : bpf_redirect(w->ifindex, 0);
}

/* Checks after the match, then sends. >= 0: refused because of that. */
static __always_inline int tc_replay_found(struct __sk_buff *skb, const struct replay_conf *c, const struct plain *s,
					   const struct found *o, const struct ingress *from, int v6, int ingress,
					   int *verdict)
{
	__u32 longest, n = wire_packets(skb, s, &longest);
	struct way w;
	__u64 now;
	int why = record_refuses(o, from, &now);

	if (why == REPLAY_OK)
		why = o->flags & REPLAY_BY_TC ? way_find(c, o, &w) : REPLAY_NOT_HERE;
	if (why != REPLAY_OK)
		return why;
	if (longest > w.adj->mtu)
		return REPLAY_LONG;
	if (needs_new_id(c, s, o))
		return REPLAY_SHAPE;
	/* first of all, since it may fail: the frame is as it was then */
	if (w.kind == ADJ_TUNNEL4 && tc_make_room(skb))
		return REPLAY_NOT_HERE;
	if (w.kind == ADJ_TUNNEL6) {
		if (tc_tunnel_key6(skb, c, w.adj))
			return REPLAY_NOT_HERE;
		w.ifindex = c->overlay_ifindex;
	}
	replay_count(o->use, now, n, s->l3_len + (n - 1) * s->head);
	*verdict = w.kind == ADJ_TUNNEL4 ? tc_send(skb, s, o, &w, TUNNEL4_SIZE, v6, ingress)
					 : tc_send(skb, s, o, &w, ETH_SIZE, v6, ingress);
	return REPLAY_OK;
}

/* Replays the frame of sender 'from'. 0: '*verdict' is to be returned. Else refused and counted; the frame is as it was.
 * 'ingress', a constant: the program runs on a device's ingress, where redirect_peer works. */
static __always_inline int tc_replay(struct __sk_buff *skb, const struct ingress *from, int ingress, int *verdict)
{
	const struct replay_conf *c = replay_config();
	__u32 room = skb->len - ETH_SIZE;
	struct found o;
	struct plain s;
	void *data, *end;
	int why = REPLAY_SHAPE;

	if (!c)
		return -1;
	if (gate_pull(skb))
		goto refused;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_SIZE > end || *(__u8 *)data & 1 || skb->vlan_present)
		goto refused;
	if (((struct ethhdr *)data)->h_proto == bpf_htons(ETH_P_IP)) {
		struct flow_key4 k __attribute__((aligned(8)));

		why = plain_ip4(data + ETH_SIZE, end, room, &s, &k);
		if (why == REPLAY_OK)
			why = find4(c, &k, &o);
		if (why == REPLAY_OK)
			why = tc_replay_found(skb, c, &s, &o, from, 0, ingress, verdict);
	} else if (((struct ethhdr *)data)->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct flow_key6 k __attribute__((aligned(8)));

		why = plain_ip6(data + ETH_SIZE, end, room, &s, &k);
		if (why == REPLAY_OK)
			why = find6(c, &k, &o);
		if (why == REPLAY_OK)
			why = tc_replay_found(skb, c, &s, &o, from, 1, ingress, verdict);
	}
	if (why == REPLAY_OK) {
		count(&replay_stats, *verdict == TC_ACT_SHOT ? REPLAY_DROP_WRITE : REPLAY_TC);
		return 0;
	}
refused:
	count(&replay_stats, why);
	return -1;
}
