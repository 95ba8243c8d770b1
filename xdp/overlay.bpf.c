// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/* tc on sluice_vxlan, the kernel's VXLAN device. [from-overlay], ingress: XDP left the frame to the kernel because its inner
 * flow has a record that ends in a container; the kernel took VXLAN off (so that GRO saw it), the inner packet is replayed
 * here. [to-overlay], egress: what a replay in tc sends to a node over IPv6, with the tunnel key set; all else is put on by whoever
 * replays.
 *
 * Both fail closed. The device opens its UDP port on the box, and what comes in without a record was never decided. */
#define WITH_GATE
#define WITH_REPLAY
#include "xdp/replay_tc.bpf.h"

/* Who sent it, of either family. The helper gives what was asked for or nothing. */
static __always_inline int tunnel_sender(struct __sk_buff *skb, __be16 port, struct ingress *from)
{
	struct bpf_tunnel_key k = {};
	struct replay_remote r = { .port = port };

	if (!bpf_skb_get_tunnel_key(skb, &k, sizeof(k), 0)) {
		r.local[2] = r.remote[2] = bpf_htonl(0xffff);
		r.local[3] = bpf_htonl(k.local_ipv4);
		r.remote[3] = bpf_htonl(k.remote_ipv4);
	} else if (!bpf_skb_get_tunnel_key(skb, &k, sizeof(k), BPF_F_TUNINFO_IPV6)) {
		__builtin_memcpy(r.local, k.local_ipv6, 16);
		__builtin_memcpy(r.remote, k.remote_ipv6, 16);
	} else {
		return -1;
	}
	from->vni = k.tunnel_id;
	from->in = sender_find(&r, k.tunnel_id);
	return 0;
}

SEC("from-overlay") int from_overlay(struct __sk_buff *skb)
{
	const struct replay_conf *c = replay_config();
	struct ingress from;
	int verdict;

	if (!c || tunnel_sender(skb, c->overlay_port, &from)) {
		count(&replay_stats, REPLAY_DROP_OVERLAY);
		return TC_ACT_SHOT;
	}
	if (!from.in)
		count(&replay_stats, REPLAY_SENDER);
	else if (!tc_replay(skb, &from, 1, &verdict))
		return verdict;
	count(&replay_stats, REPLAY_DROP_OVERLAY);
	return TC_ACT_SHOT;
}

SEC("to-overlay") int to_overlay(struct __sk_buff *skb)
{
	if (skb->mark == REPLAY_META) {
		skb->mark = 0; /* would count in the route to the node */
		return TC_ACT_OK;
	}
	count(&replay_stats, REPLAY_DROP_TO_OVERLAY);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
