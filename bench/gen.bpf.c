/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Traffic for veth: every frame of a live-frame test run gets a random flow and leaves by the configured device
 * (bench/gen.c). Frames are recycled with what the receiver wrote into them, so the whole header is put back.
 * Paced by dropping: the program runs all the time, and what comes before its turn is not sent. */
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct gen_conf {
	__u64 sent, first_ns, last_ns, turn; /* turn: 1/1024 ns */
	__u32 interval;                      /* between frames, 1/1024 ns; 0: no pace */
	__u32 ifindex, flow_mask, hot_mask, random, peer, reply, imix, vxlan;
	__u8 header[96];
};
#define OUTER 50 /* Ethernet, IPv4, UDP, VXLAN */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gen_conf);
} conf SEC(".maps");

/* What differs from frame to frame, in a plain frame at 'p'. */
static __always_inline void write_inner(const struct gen_conf *c, void *p, __u32 len, __u32 flow)
{
	struct iphdr *ip = p + 14;
	struct udphdr *udp = p + 34;
	__u32 peer = c->peer + (flow >> 14), port = bpf_htons(0x4000 | (flow & 0x3fff));

	if (c->reply) {
		ip->saddr = bpf_htonl(peer);
		udp->dest = port;
	} else {
		ip->daddr = bpf_htonl(peer);
		udp->source = port;
	}
	ip->tot_len = bpf_htons(len - 14);
	udp->len = bpf_htons(len - 34);
	/* header checksum: the fields that are constant here (ver 4, DF, TTL 64, UDP), length, both addresses */
	__u32 src = bpf_ntohl(ip->saddr), dst = bpf_ntohl(ip->daddr);
	__u32 s = 0x4500 + len - 14 + 0x4000 + 0x4011 + (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff);
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	ip->check = bpf_htons((__u16)~s);
}

SEC("xdp") int gen(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct gen_conf *c = bpf_map_lookup_elem(&conf, &zero);
	if (!c)
		return XDP_DROP;
	if (c->interval) {
		__u64 now = bpf_ktime_get_ns(), scaled = now << 10;
		if (scaled < c->turn)
			return XDP_DROP;
		/* a generator that was not running does not catch up more than 200 us */
		if (scaled - c->turn > 200000ull << 10)
			c->turn = scaled;
		c->turn += c->interval;
		if (!c->first_ns)
			c->first_ns = now;
		c->last_ns = now;
	}
	__u32 x = c->random, len = ctx->data_end - ctx->data;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	c->random = x;
	if (c->imix) {
		__u32 draw = (x >> 20) % 12, want = draw < 7 ? 60 : draw < 11 ? 590 : 1514;
		if (want < len && bpf_xdp_adjust_tail(ctx, (int)want - (int)len))
			return XDP_DROP;
		len = want;
	}
	void *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 flow = x & (x >> 22 < 922 ? c->hot_mask : c->flow_mask);
	if (c->vxlan) {
		if (p + OUTER + 42 > end)
			return XDP_DROP;
		__builtin_memcpy(p, c->header, OUTER + 42);
		*(__u16 *)(p + 34) = bpf_htons(0xc000 | (flow & 0x3fff)); /* RFC 7348 5; the outer checksum is 0 */
		write_inner(c, p + OUTER, len - OUTER, flow);
	} else {
		if (p + 42 > end)
			return XDP_DROP;
		__builtin_memcpy(p, c->header, 42);
		write_inner(c, p, len, flow);
	}
	c->sent++;
	return bpf_redirect(c->ifindex, 0);
}
/* The sink of frames that come by XDP_REDIRECT: for nftables' drop each of them would become an sk_buff. */
SEC("xdp") int drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}
char _license[] SEC("license") = "Dual BSD/GPL";
