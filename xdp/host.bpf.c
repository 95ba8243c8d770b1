// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/* tc on sluice_host, the kernel's end of the gate. [to-host], ingress: frames from the engine to an endpoint or the
 * box, or to a listener on it that takes other people's connections (xdp/proxy.bpf.h). [from-host], egress: frames of
 * the box get their stamp, but for flows that kernel replay has; those [from-container] redirected here have one and
 * pass.
 * tc ingress on sluice_net, [to-host] too: XDP in front of it takes every frame; were it gone, they would enter the box past
 * the engine.
 * tc ingress on uplinks, [from-netdev]: replays the frames that XDP in front of it left to tc. */
#define WITH_GATE
#define WITH_REPLAY
#include "xdp/replay_tc.bpf.h"
#include "xdp/proxy.bpf.h"

SEC("to-host") int to_host(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;
	struct gate_endpoint *ep;
	__u32 id;
	int kind;

	if ((void *)(eth + 1) > end) {
		count(&gate_stats, GATE_DROP_BAD_STAMP);
		return TC_ACT_SHOT;
	}
	kind = mac_kind(eth->h_dest);
	if (kind == GATE_HOST) {
		unstamp(eth);
		/* eth_type_trans() compared the stamp with our MAC and said OTHERHOST; the IP stack would drop that. */
		bpf_skb_change_type(skb, TYPE_HOST);
		count(&gate_stats, GATE_FROM_ENGINE);
		return TC_ACT_OK;
	}
	id = (__u32)eth->h_dest[2] << 24 | (__u32)eth->h_dest[3] << 16 | (__u32)eth->h_dest[4] << 8 | eth->h_dest[5];
	if (kind == GATE_PROXY)
		return to_proxy(skb, id);
	if (kind != GATE_ENDPOINT) {
		count(&gate_stats, GATE_DROP_BAD_STAMP);
		return TC_ACT_SHOT;
	}
	ep = bpf_map_lookup_elem(&gate_by_id, &id);
	if (!ep) {
		count(&gate_stats, GATE_DROP_UNKNOWN_ENDPOINT);
		return TC_ACT_SHOT;
	}
	unstamp(eth);
	count(&gate_stats, GATE_FROM_ENGINE);
	/* The peer form skips the backlog queue of the far side and sets PACKET_HOST; it needs a veth into another
	 * namespace. */
	if (ep->attach == 0)
		return bpf_redirect_peer(ep->ifindex, 0);
	return bpf_redirect(ep->ifindex, 0);
}

SEC("to-host") int net_to_host(struct __sk_buff *skb)
{
	count(&gate_stats, GATE_DROP_NET);
	return TC_ACT_SHOT;
}

SEC("from-host") int from_host(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;
	struct gate_conf *conf = gate_config();
	struct ingress from = { .in = FLOW_IN_HOST };
	int kind, verdict;

	if ((void *)(eth + 1) > end) {
		count(&gate_stats, GATE_DROP_WRITE);
		return TC_ACT_SHOT;
	}
	/* No tenant can forge this: [from-container] overwrites every source MAC, and sluice_host's own is 02:e9. */
	kind = mac_kind(eth->h_source);
	if (kind >= GATE_ENDPOINT && kind <= GATE_PROXY)
		return TC_ACT_OK;
	if (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6) &&
	    eth->h_proto != bpf_htons(ETH_P_ARP)) {
		count(&gate_stats, GATE_DROP_HOST_PROTO);
		return TC_ACT_SHOT;
	}
	if (!tc_replay(skb, &from, 0, &verdict))
		return verdict;
	if (!conf || gate_stamp(skb, GATE_HOST, 0, conf->n_queues)) {
		count(&gate_stats, GATE_DROP_WRITE);
		return TC_ACT_SHOT;
	}
	return TC_ACT_OK;
}

SEC("from-netdev") int from_netdev(struct __sk_buff *skb)
{
	const struct replay_meta *m = (void *)(long)skb->data_meta;
	void *end = (void *)(long)skb->data;
	struct ingress from;
	int verdict;

	/* Without the mark it is the kernel's own, or VXLAN for the device behind. With it, XDP took it for the engine's:
	 * the host stack would forward it past all policy. */
	if ((void *)(&m->magic + 1) > end || m->magic != REPLAY_META)
		return TC_ACT_OK;
	if ((void *)(m + 1) > end)
		goto drop; /* of another version's program */
	from.in = m->in;
	from.vni = m->vni;
	if (!tc_replay(skb, &from, 1, &verdict))
		return verdict;
drop:
	count(&replay_stats, REPLAY_DROP_NETDEV);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
