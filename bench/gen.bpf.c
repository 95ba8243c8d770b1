/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Traffic for veth: every frame of a live-frame test run gets a random flow and leaves by the configured device
 * (bench/gen.c). Frames are recycled with what the receiver wrote into them, so the whole header is put back. */
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct gen_conf {
	__u32 ifindex, flow_mask, random, dst;
	__u8 header[64];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gen_conf);
} conf SEC(".maps");

SEC("xdp") int gen(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct gen_conf *c = bpf_map_lookup_elem(&conf, &zero);
	void *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = p + 14;
	struct udphdr *udp = p + 34;
	if (!c || (void *)(udp + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(p, c->header, 42);
	__u32 x = c->random;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	c->random = x;
	__u32 flow = x & c->flow_mask, dst = c->dst + (flow >> 14);
	udp->source = bpf_htons(0x4000 | (flow & 0x3fff));
	ip->daddr = bpf_htonl(dst);
	/* header checksum of the constant fields (ver 4, DF, TTL 64, UDP, source 10.0.0.1) plus length and destination */
	__u32 s = 0x4500 + bpf_ntohs(ip->tot_len) + 0x4000 + 0x4011 + 0x0a00 + 0x0001 + (dst >> 16) + (dst & 0xffff);
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	ip->check = bpf_htons((__u16)~s);
	return bpf_redirect(c->ifindex, 0);
}
char _license[] SEC("license") = "Dual BSD/GPL";
