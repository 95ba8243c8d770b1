/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Other people's connections to a transparent listener of the box (policy 'redirect PORT'), at tc ingress of sluice_host.
 *
 * The packet keeps its destination, so that the listener sees it by getsockname(). Two things make the IP stack take it: the
 * mark, for which a rule leads to a local route for everything, and for what opens a connection the listener assigned to the
 * packet, because no look-up by its own ports would find one on another port. A connection that stands is found by its own
 * tuple, as always. Without a listener nothing goes up the stack, where a service of the box on the destination's port would
 * take it: the frame goes back to the engine, which refuses the client. */
#pragma once

#include "xdp/gate.bpf.h"

#define TYPE_HOST 0 /* PACKET_HOST */
#define PROXY_TCP_HEAD 14
#define PROXY_SYN 2
#define PROXY_ACK 16
#define PROXY_WAITS 2 /* in TIME_WAIT, and this is a SYN */

/* The engine left the real destination MAC in the source field. */
static __always_inline void unstamp(struct ethhdr *eth)
{
	const __u8 gateway[6] = GATE_GATEWAY_MAC;

	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, gateway, 6);
}

struct proxy_tuple {
	struct bpf_sock_tuple t;
	__u16 l4_off;
	__u8 proto, tcp_flags;
	__u8 v6;
};

/* 0: ports are there. */
static __always_inline int proxy_read(struct __sk_buff *skb, struct proxy_tuple *x, __u8 *proto)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;
	struct pkt p;
	__be16 *ports;
	__u8 *l4;

	if ((void *)(eth + 1) > end || parse_ip(eth + 1, end, eth->h_proto, 4, &p))
		return -1;
	*proto = p.proto;
	if (p.frag || (p.proto != P_TCP && p.proto != P_UDP))
		return -1;
	ports = pkt_l4(&p, 8, end);
	if (!ports)
		return -1;
	x->proto = p.proto;
	x->v6 = eth->h_proto == bpf_htons(ETH_P_IPV6);
	if (p.proto == P_TCP) {
		l4 = pkt_l4(&p, PROXY_TCP_HEAD, end);
		if (!l4)
			return -1;
		x->tcp_flags = l4[13];
		x->l4_off = (void *)l4 - (void *)eth;
	}
	if (x->v6) {
		__builtin_memcpy(x->t.ipv6.saddr, p.src, 16);
		__builtin_memcpy(x->t.ipv6.daddr, p.dst, 16);
		x->t.ipv6.sport = ports[0];
		x->t.ipv6.dport = ports[1];
	} else {
		x->t.ipv4.saddr = p.src[3];
		x->t.ipv4.daddr = p.dst[3];
		x->t.ipv4.sport = ports[0];
		x->t.ipv4.dport = ports[1];
	}
	return 0;
}

#define PROXY_LOOKUP(fn, skb, x)                                                                                       \
	((x)->v6 ? fn(skb, &(x)->t, sizeof((x)->t.ipv6), BPF_F_CURRENT_NETNS, 0)                                       \
		 : fn(skb, &(x)->t, sizeof((x)->t.ipv4), BPF_F_CURRENT_NETNS, 0))

/* The look-ups of TCP and UDP give pointers of two types. Functions of their own keep the compiler from joining their tails, which
 * the verifier would refuse. */
static __noinline int tcp_stands(struct __sk_buff *skb, struct proxy_tuple *x)
{
	struct bpf_sock *sk = PROXY_LOOKUP(bpf_skc_lookup_tcp, skb, x);
	int yes;

	if (!sk)
		return 0;
	yes = sk->state != BPF_TCP_LISTEN;
	if (sk->state == BPF_TCP_TIME_WAIT && x->tcp_flags & PROXY_SYN)
		yes = PROXY_WAITS;
	bpf_sk_release(sk);
	return yes;
}

static __noinline int udp_stands(struct __sk_buff *skb, struct proxy_tuple *x)
{
	struct bpf_sock *sk = PROXY_LOOKUP(bpf_sk_lookup_udp, skb, x);
	int yes;

	if (!sk)
		return 0;
	yes = sk->state == BPF_TCP_ESTABLISHED; /* connected */
	bpf_sk_release(sk);
	return yes;
}

/* Gives the packet to the socket that 'x' finds, if it waits for connections; 0: given. */
static __noinline int tcp_assign(struct __sk_buff *skb, struct proxy_tuple *x)
{
	struct bpf_sock *sk = PROXY_LOOKUP(bpf_skc_lookup_tcp, skb, x);
	int err = -1;

	if (!sk)
		return -1;
	if (sk->state == BPF_TCP_LISTEN)
		err = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return err;
}

static __noinline int udp_assign(struct __sk_buff *skb, struct proxy_tuple *x)
{
	struct bpf_sock *sk = PROXY_LOOKUP(bpf_sk_lookup_udp, skb, x);
	int err = -1;

	if (!sk)
		return -1;
	if (sk->state != BPF_TCP_ESTABLISHED)
		err = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return err;
}

/* Does a socket of exactly this connection exist? */
static __always_inline int proxy_stands(struct __sk_buff *skb, struct proxy_tuple *x)
{
	return x->proto == P_TCP ? tcp_stands(skb, x) : udp_stands(skb, x);
}

static __always_inline int proxy_assign(struct __sk_buff *skb, struct proxy_tuple *x)
{
	return x->proto == P_TCP ? tcp_assign(skb, x) : udp_assign(skb, x);
}

/* A new connection from the port of one that the proxy closed a moment ago. The stack would look for a listener on the
 * destination's port; one assigned to the packet could not answer, since the tuple is taken. Seen as an ACK it makes TIME_WAIT
 * repeat its last ACK. The client, which knows of no such thing, resets that, TIME_WAIT ends (as with any half-open connection,
 * RFC 9293 3.5.1), and the SYN it sends again a second later finds the listener. */
static __always_inline int proxy_wake(struct __sk_buff *skb, const struct proxy_tuple *x)
{
	__u8 off_flags[2];
	__u16 old, new;

	if (bpf_skb_load_bytes(skb, x->l4_off + 12, off_flags, 2))
		return -1;
	__builtin_memcpy(&old, off_flags, 2);
	off_flags[1] = PROXY_ACK;
	__builtin_memcpy(&new, off_flags, 2);
	if (bpf_l4_csum_replace(skb, x->l4_off + 16, old, new, 2))
		return -1;
	return bpf_skb_store_bytes(skb, x->l4_off + 12, off_flags, 2, 0);
}

/* A listener on any address, or on the destination's, else one on the loopback address. */
static __always_inline int proxy_listener(struct __sk_buff *skb, struct proxy_tuple *x, __u32 port)
{
	if (x->v6)
		x->t.ipv6.dport = bpf_htons(port);
	else
		x->t.ipv4.dport = bpf_htons(port);
	if (!proxy_assign(skb, x))
		return 0;
	if (x->v6) {
		x->t.ipv6.daddr[0] = x->t.ipv6.daddr[1] = x->t.ipv6.daddr[2] = 0;
		x->t.ipv6.daddr[3] = bpf_htonl(1);
	} else {
		x->t.ipv4.daddr = bpf_htonl(0x7f000001);
	}
	return proxy_assign(skb, x);
}

/* To the stack, or back by the way it came. */
static __always_inline int to_proxy(struct __sk_buff *skb, __u32 port)
{
	struct gate_conf *conf = gate_config();
	struct proxy_tuple x = {};
	struct ethhdr *eth;
	__u8 proto = 0;
	int up;

	if (gate_pull(skb) || !conf) {
		count(&gate_stats, GATE_DROP_WRITE);
		return TC_ACT_SHOT;
	}
	if (!proxy_read(skb, &x, &proto)) {
		up = proxy_stands(skb, &x);
		if (up == PROXY_WAITS)
			up = !proxy_wake(skb, &x);
		else if (!up)
			up = !proxy_listener(skb, &x, port);
	} else {
		up = proto == P_ICMP || proto == P_ICMP6; /* an error: the stack finds the socket by what it quotes */
	}
	if (!up) {
		count(&gate_stats, GATE_PROXY_REFUSED);
		if (gate_stamp(skb, GATE_PROXY, port, conf->n_queues))
			return TC_ACT_SHOT;
		return bpf_redirect(skb->ifindex, 0);
	}
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	unstamp(eth);
	/* eth_type_trans() compared the stamp with our MAC and said OTHERHOST; the IP stack would drop that. */
	bpf_skb_change_type(skb, TYPE_HOST);
	skb->mark = GATE_PROXY_MARK;
	count(&gate_stats, GATE_TO_PROXY);
	return TC_ACT_OK;
}
