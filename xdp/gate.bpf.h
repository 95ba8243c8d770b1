/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What the tc programs on both ways to the engine share: the stamp and the worker's queue (contract:
 * tables/abi/gate.h). */
#pragma once

#include <linux/pkt_cls.h>

#include "xdp/maps.bpf.h"
#include "xdp/parse.bpf.h"

#define GATE_PULL 128 /* Ethernet, IPv6 with a few extension headers, ports */

static __always_inline struct gate_conf *gate_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&gate_conf, &zero);
}

static __always_inline int mac_kind(const __u8 *m)
{
	return m[0] == GATE_MAC0 && (m[1] & 0xf0) == GATE_MAC1 ? m[1] & 0x0f : 0;
}

/* Headers of a frame built from page fragments (AF_PACKET, sendfile) may lie outside the linear part. */
static __always_inline int gate_pull(struct __sk_buff *skb)
{
	__u32 want = skb->len < GATE_PULL ? skb->len : GATE_PULL;

	if ((void *)(long)skb->data + want <= (void *)(long)skb->data_end)
		return 0;
	return bpf_skb_pull_data(skb, want);
}

/* Writes the stamp and chooses the queue. queue_mapping q + 1 leaves by transmit queue q, and so enters AF_XDP queue q.
 */
static __always_inline int gate_stamp(struct __sk_buff *skb, __u32 kind, __u32 id, __u32 n_queues)
{
	void *data, *end;
	struct ethhdr *eth;
	__u32 hash = 0;
	struct pkt p;

	if (gate_pull(skb))
		return -1;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return -1;
	if (!parse_ip(eth + 1, end, eth->h_proto, 4, &p))
		hash = pkt_flow_hash(&p, end);
	if (kind == GATE_ENDPOINT && eth->h_dest[0] & 1)
		kind = GATE_ENDPOINT_BCAST;
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	eth->h_source[0] = GATE_MAC0;
	eth->h_source[1] = GATE_MAC1 | kind;
	eth->h_source[2] = id >> 24;
	eth->h_source[3] = id >> 16;
	eth->h_source[4] = id >> 8;
	eth->h_source[5] = id;
	skb->queue_mapping = 1 + (n_queues ? hash % n_queues : 0);
	return 0;
}
