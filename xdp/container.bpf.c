// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/* tc on the host end of a container's veth. Ingress, [from-container]: every frame to the engine, stamped with its
 * endpoint, but for flows that kernel replay has (xdp/replay.bpf.h).
 *
 * A device that is no endpoint is not let through: the kernel would forward it past all policy. GSO frames stay whole
 * here and are cut at sluice_host, whose offloads are off; each piece inherits the stamp.
 *
 * Egress, [to-container]: what the engine or a replay delivers has the gateway's MAC as source. All else is the box's own,
 * routed or multicast to this device past all policy, and ends here. Frames handed straight to the peer
 * (bpf_redirect_peer: from the gate, from a container, from a tunnel) do not pass it, so it costs them nothing. */
#define WITH_GATE
#define WITH_REPLAY
#include "xdp/replay_tc.bpf.h"

SEC("from-container") int from_container(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct gate_endpoint *ep = bpf_map_lookup_elem(&gate_by_ifindex, &ifindex);
	struct gate_conf *conf = gate_config();
	struct ingress from = { .in = FLOW_IN_ENDPOINT };
	int verdict;

	if (!ep) {
		count(&gate_stats, GATE_DROP_UNKNOWN_DEVICE);
		return TC_ACT_SHOT;
	}
	/* The source MAC is checked by the decision, not by replay: neither here nor in the engine. */
	from.in |= ep->id & FLOW_IN_INDEX;
	if (!tc_replay(skb, &from, 1, &verdict))
		return verdict;
	if (!conf || !conf->host_ifindex || gate_stamp(skb, GATE_ENDPOINT, ep->id, conf->n_queues)) {
		count(&gate_stats, GATE_DROP_WRITE);
		return TC_ACT_SHOT;
	}
	return bpf_redirect(conf->host_ifindex, 0);
}

SEC("to-container") int to_container(struct __sk_buff *skb)
{
	const __u8 gateway[6] __attribute__((aligned(2))) = GATE_GATEWAY_MAC;
	const __u16 *want = (const void *)gateway, *have;
	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		goto drop;
	have = (const void *)eth->h_source;
	if ((have[0] ^ want[0]) | (have[1] ^ want[1]) | (have[2] ^ want[2]))
		goto drop;
	count(&gate_stats, GATE_TO_CONTAINER);
	return TC_ACT_OK;
drop:
	count(&gate_stats, GATE_DROP_TO_CONTAINER);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
