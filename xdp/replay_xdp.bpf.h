/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Kernel replay in XDP on an uplink (xdp/replay.bpf.h): uplink to uplink or tunnel by XDP_REDIRECT, VXLAN put on and taken
 * off. XDP can't enter a container, and some devices take no redirect: such frames are left to [from-netdev] with a mark that
 * tells who sent them, VXLAN taken off: GRO then sees the inner packets, and the kernel's stack no outer ones. Where the device
 * has no GRO or no [from-netdev], VXLAN frames go to the kernel's VXLAN device, whose GRO is its own, and [from-overlay] behind
 * it, if they are for its port. */
#pragma once

#include "xdp/replay.bpf.h"

/* Where in the frame the IP packet is that is to be replayed, and whose it is. */
struct framing {
	__u32 off;    /* 14, or 64 or 84 behind VXLAN */
	__u32 room;   /* bytes from there on */
	__be16 dport; /* of the VXLAN header, 0 plain */
	struct ingress from;
	const struct steer_dev *dev;
};

/* The frame at 'data' is plain UDP between the addresses and to the port of 'k': VXLAN of somebody we know? 'front', a constant, is
 * all in front of its inner packet. RFC 7348 5; an outer mark, CE or ECT(1), is for the engine (RFC 6040 4.2), and like the
 * engine this does not look at the outer checksum. */
static __always_inline int framing_vxlan(const __u8 *data, void *end, struct replay_remote *k, __u32 front,
					 struct framing *f)
{
	const __u8 *x = data + front - ETH_SIZE - 8;
	__u32 len, vni, mark;

	if ((void *)data + front > end)
		return REPLAY_SENDER; /* no VXLAN: as it stands */
	vni = bpf_ntohl(*(__be32 *)(x + 4)) >> 8;
	f->from.in = sender_find(k, vni);
	if (!f->from.in)
		return REPLAY_SENDER;
	len = bpf_ntohs(*(__be16 *)(x - 4));
	mark = data[ETH_SIZE + 1] & (front == TUNNEL4_SIZE ? 1 : 0x10);
	if (len < 8 + 8 + ETH_SIZE + IP4_SIZE + 8 || !(x[0] & 8) || mark || x[8] & 1)
		return REPLAY_SHAPE;
	f->from.vni = vni;
	f->off = front;
	f->room = len - 8 - 8 - ETH_SIZE;
	f->dport = k->port;
	return REPLAY_OK;
}

static __always_inline int framing_vxlan4(const __u8 *data, void *end, const struct flow_key4 *o, struct framing *f)
{
	struct replay_remote k = { .local = { 0, 0, bpf_htonl(0xffff), o->dst },
				   .remote = { 0, 0, bpf_htonl(0xffff), o->src },
				   .port = o->dport };

	return framing_vxlan(data, end, &k, TUNNEL4_SIZE, f);
}

static __always_inline int framing_vxlan6(const __u8 *data, void *end, const struct flow_key6 *o, struct framing *f)
{
	struct replay_remote k = { .port = o->dport };

	__builtin_memcpy(k.local, o->dst, 16);
	__builtin_memcpy(k.remote, o->src, 16);
	return framing_vxlan(data, end, &k, TUNNEL6_SIZE, f);
}

/* A veth peer sends checksums unfinished, the sum of the pseudo header: the engine finishes those (fwd/parse.c). */
#define L4_UNFINISHED 1u
#define L4_UNSUMMED 2u /* UDP without one, or shorter than its packet: the IP header does not tell the sum */

static __always_inline __u32 l4_sums(__u64 addrs, const struct plain *s, __u32 ip_size, __u16 have)
{
	__u32 unfinished = have == csum_fold(addrs + bpf_htons(s->proto) + bpf_htons(s->l3_len - ip_size));

	return unfinished * L4_UNFINISHED | (s->slack || (s->proto == P_UDP && !have)) * L4_UNSUMMED;
}

/* L4 of 'proto' with its bounds known: TCP 20 bytes, UDP 8. */
static __always_inline void write_l4(__u8 *l4, __u16 *field, int udp, const struct found *o)
{
	__u32 have = *field, sum = csum_fold((have ^ 0xffff) + (__u64)o->d_addr + o->d_port) ^ 0xffff;

	if (udp) {
		sum = sum ? sum : 0xffff;
		sum = have ? sum : 0; /* RFC 768: none sent */
	}
	*field = sum;
	*(__be16 *)l4 = o->sport;
	*(__be16 *)(l4 + 2) = o->dport;
}

/* All checks passed; >= 0 with the frame as it was, or REPLAY_DROP_WRITE. */
static __always_inline int xdp_send(struct xdp_md *ctx, const struct framing *f, const struct plain *s,
				    const struct found *o, const struct way *w, int v6)
{
	const __u32 ip_size = v6 ? IP6_SIZE : IP4_SIZE;
	__u32 front = w->kind == ADJ_ETH ? ETH_SIZE : w->kind == ADJ_TUNNEL4 ? TUNNEL4_SIZE : TUNNEL6_SIZE, tos;
	__u8 *data, *l3, *l4, *end;

	if (front != f->off && bpf_xdp_adjust_head(ctx, (int)f->off - (int)front))
		return REPLAY_NOT_HERE;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	l3 = data + front;
	l4 = l3 + ip_size;
	if (l4 + 8 > end)
		return REPLAY_DROP_WRITE;
	tos = v6 ? bpf_ntohs(*(__be16 *)l3) >> 4 : l3[1];
	if (v6)
		write_ip6((void *)l3, o->f6);
	else
		write_ip4((void *)l3, o->f4);
	/* the bounds are known: for the verifier */
	if (w->kind == ADJ_ETH)
		write_eth(data, w->adj->eth, v6);
	else if (w->kind == ADJ_TUNNEL4 && data + TUNNEL4_SIZE <= end)
		write_tunnel4(data, w->adj, s->l3_len, tos, o->outer_port, v6);
	else if (data + TUNNEL6_SIZE <= end)
		write_tunnel6(data, w->adj, l3, s, tos, o->outer_port, v6);
	if (s->proto == P_UDP) {
		write_l4(l4, (__u16 *)(l4 + 6), 1, o);
		return REPLAY_OK;
	}
	if (l4 + 20 > end)
		return REPLAY_DROP_WRITE;
	write_l4(l4, (__u16 *)(l4 + 16), 0, o);
	return REPLAY_OK;
}

/* To [from-netdev] behind us. An inner frame is addressed to somebody else's MAC; the device gets its own. */
static __always_inline int xdp_leave(struct xdp_md *ctx, const struct framing *f)
{
	struct replay_meta *m;
	__u16 *to;

	/* the mark first: it may be refused, while the bytes to take off are known to be there */
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*m)))
		return REPLAY_NOT_HERE;
	if (f->dport && bpf_xdp_adjust_head(ctx, (int)f->off - ETH_SIZE))
		return REPLAY_DROP_WRITE;
	m = (void *)(long)ctx->data_meta;
	to = (void *)(long)ctx->data;
	if ((void *)(m + 1) > (void *)to || (void *)(to + 3) > (void *)(long)ctx->data_end)
		return REPLAY_DROP_WRITE;
	m->magic = REPLAY_META;
	m->in = f->from.in;
	m->vni = f->from.vni;
	if (f->dport)
		__builtin_memcpy(to, f->dev->mac, 6);
	return REPLAY_XDP_TO_TC;
}

/* REPLAY_XDP: sent, '*verdict' tells how; REPLAY_XDP_TO_TC: XDP_PASS; REPLAY_DROP_WRITE: XDP_DROP; others: refused. */
static __always_inline int xdp_replay_found(struct xdp_md *ctx, const struct replay_conf *c,
					    const struct replay_port *me, const struct framing *f,
					    const struct plain *s, const struct found *o, int v6, __u32 sums,
					    int *verdict)
{
	struct way w;
	__u64 now;
	int why = record_refuses(o, &f->from, &now);

	if (why == REPLAY_OK)
		why = way_find(c, o, &w);
	if (why != REPLAY_OK)
		return why;
	if (s->l3_len > w.adj->mtu)
		return REPLAY_LONG;
	if (needs_new_id(c, s, o))
		return REPLAY_SHAPE;
	if (!w.gate && o->flags & REPLAY_BY_XDP && w.port_flags & REPLAY_PORT_REDIRECT) {
		if (sums & L4_UNFINISHED || (w.kind == ADJ_TUNNEL6 && sums & L4_UNSUMMED))
			return REPLAY_UNFINISHED;
		why = xdp_send(ctx, f, s, o, &w, v6);
		if (why != REPLAY_OK)
			return why;
		replay_count(o->use, now, 1, s->l3_len);
		*verdict = bpf_redirect(w.ifindex, 0);
		return REPLAY_XDP;
	}
	if (!(o->flags & REPLAY_BY_TC) || (w.kind == ADJ_TUNNEL6 && !overlay_has(c, w.adj)))
		return REPLAY_NOT_HERE;
	if (f->dport && f->dport == c->overlay_port && (me->flags & REPLAY_PORT_STRIP) != REPLAY_PORT_STRIP)
		return REPLAY_XDP_TO_TC;
	return me->flags & REPLAY_PORT_NETDEV ? xdp_leave(ctx, f) : REPLAY_NOT_HERE;
}

static __always_inline int xdp_replay4(struct xdp_md *ctx, const struct replay_conf *c, const struct replay_port *me,
				       const struct framing *f, const struct plain *s, const struct flow_key4 *k,
				       __u16 csum, int *verdict)
{
	struct found o;
	int why = find4(c, k, &o);

	if (why != REPLAY_OK)
		return why;
	return xdp_replay_found(ctx, c, me, f, s, &o, 0, l4_sums(csum_words(&k->src, 2), s, IP4_SIZE, csum), verdict);
}

static __always_inline int xdp_replay6(struct xdp_md *ctx, const struct replay_conf *c, const struct replay_port *me,
				       const struct framing *f, const struct plain *s, const struct flow_key6 *k,
				       __u16 csum, int *verdict)
{
	struct found o;
	int why = find6(c, k, &o);

	if (why != REPLAY_OK)
		return why;
	return xdp_replay_found(ctx, c, me, f, s, &o, 1, l4_sums(csum_words(k->src, 8), s, IP6_SIZE, csum), verdict);
}

/* The checksum field of L4; plain_l4() checked the bounds, which the verifier wants to see again. */
static __always_inline __u16 l4_csum(const __u8 *l4, void *end, __u32 proto)
{
	if (proto == P_UDP)
		return (void *)l4 + 8 > end ? 0 : *(__u16 *)(l4 + 6);
	return (void *)l4 + 20 > end ? 0 : *(__u16 *)(l4 + 16);
}

static __always_inline int xdp_replay_at(struct xdp_md *ctx, const struct replay_conf *c, const struct replay_port *me,
					 struct framing *f, int *verdict)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *l3 = data + f->off;
	struct plain s;
	__be16 type;
	int why, sender = REPLAY_OK;

	if (l3 > end)
		return REPLAY_SHAPE;
	type = *(__be16 *)(l3 - 2);
	if (type == bpf_htons(ETH_P_IP)) {
		struct flow_key4 k __attribute__((aligned(8)));

		why = plain_ip4(l3, end, f->room, &s, &k);
		if (why != REPLAY_OK)
			return why;
		if (!f->dport && s.proto == P_UDP && c->vtep_ports >> (bpf_ntohs(k.dport) & 63) & 1) {
			sender = framing_vxlan4(data, end, &k, f);
			if (sender != REPLAY_SENDER)
				return sender; /* REPLAY_OK: once more, inside */
		}
		/* the bit stands for 1024 ports: it may be no VXLAN at all */
		why = xdp_replay4(ctx, c, me, f, &s, &k, l4_csum(l3 + IP4_SIZE, end, s.proto), verdict);
		return why == REPLAY_MISS && sender == REPLAY_SENDER ? REPLAY_SENDER : why;
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		struct flow_key6 k __attribute__((aligned(8)));

		why = plain_ip6(l3, end, f->room, &s, &k);
		if (why != REPLAY_OK)
			return why;
		if (!f->dport && s.proto == P_UDP && c->vtep_ports >> (bpf_ntohs(k.dport) & 63) & 1) {
			sender = framing_vxlan6(data, end, &k, f);
			if (sender != REPLAY_SENDER)
				return sender;
		}
		why = xdp_replay6(ctx, c, me, f, &s, &k, l4_csum(l3 + IP6_SIZE, end, s.proto), verdict);
		return why == REPLAY_MISS && sender == REPLAY_SENDER ? REPLAY_SENDER : why;
	}
	return REPLAY_SHAPE;
}

/* Replays a frame received by 'dev', or leaves it to tc: the verdict. -1: not replayed, the frame is as it was. */
static __always_inline int xdp_replay(struct xdp_md *ctx, const struct steer_dev *dev)
{
	const struct replay_conf *c = replay_config();
	const __u16 *have, *want = (const void *)dev->mac;
	struct framing f = { .off = ETH_SIZE, .from.in = FLOW_IN_UPLINK, .dev = dev };
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct replay_port *me;
	int why = REPLAY_OK, verdict = XDP_PASS;

	if (!c || data + ETH_SIZE > end)
		return -1;
	me = &c->port[dev->slot & (REPLAY_PORTS - 1)];
	have = data;
	if (me->flags & REPLAY_PORT_NO_INGRESS || (have[0] ^ want[0]) | (have[1] ^ want[1]) | (have[2] ^ want[2]))
		return -1;
	f.room = end - data - ETH_SIZE;
#pragma unroll
	for (int i = 0; i < 2 && why == REPLAY_OK; i++)
		why = xdp_replay_at(ctx, c, me, &f, &verdict);
	count(&replay_stats, why == REPLAY_OK ? REPLAY_SHAPE : why);
	if (why == REPLAY_DROP_WRITE)
		return XDP_DROP;
	return why == REPLAY_XDP || why == REPLAY_XDP_TO_TC ? verdict : -1;
}
