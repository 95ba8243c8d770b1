// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/* tc on sluice_vxlan, the kernel's VXLAN device. [from-overlay], ingress: XDP left the frame to the kernel because its inner
 * flow has a record that ends in a container; the kernel took VXLAN off (so that GRO saw it), the inner packet is replayed
 * here. [to-overlay], egress: nothing is sent this way, the engine's templates are put on by whoever replays.
 *
 * Both fail closed. The device opens its UDP port on the box, and what comes in without a record was never decided. */
#define WITH_GATE
#define WITH_REPLAY
#include "xdp/replay_tc.bpf.h"

SEC("from-overlay") int from_overlay(struct __sk_buff *skb)
{
	const struct replay_conf *c = replay_config();
	struct bpf_tunnel_key k = {};
	struct ingress from;
	int verdict;

	if (!c || bpf_skb_get_tunnel_key(skb, &k, sizeof(k), 0)) {
		count(&replay_stats, REPLAY_DROP_OVERLAY);
		return TC_ACT_SHOT;
	}
	from.vni = k.tunnel_id;
	from.in = sender_find(bpf_htonl(k.local_ipv4), bpf_htonl(k.remote_ipv4), c->overlay_port, k.tunnel_id);
	if (!from.in)
		count(&replay_stats, REPLAY_SENDER);
	else if (!tc_replay(skb, &from, 1, &verdict))
		return verdict;
	count(&replay_stats, REPLAY_DROP_OVERLAY);
	return TC_ACT_SHOT;
}

SEC("to-overlay") int to_overlay(struct __sk_buff *skb)
{
	count(&replay_stats, REPLAY_DROP_TO_OVERLAY);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
