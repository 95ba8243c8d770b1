/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin for any DPDK program (-d flows.so): every frame that port 0 receives becomes one of FLOWS flows, drawn at random,
 * the same as bench/gen makes. net_pcap repeats one frame; so a peer in memory sees what bench-core sees.
 * From the environment: FLOWS, a power of two (not set: nothing is changed); FLOWS_BOTH=1: every second frame is the answer of a flow, to FLOWS_NAT
 * (hexadecimal) where that is set; FLOWS_INNER: where the Ethernet frame to change begins (VXLAN: 50).
 * A thread waits until the program has started the port and adds the callback; the callback runs in the receiving thread. */
#if __has_include(<rte_ethdev.h>)
#include <pthread.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct state {
	uint32_t random, dst, src, sum, flows, inner, nat;
	bool both, back, known;
} state = { .random = 0x9e3779b9, .flows = 1 };

static uint16_t fold(uint32_t s)
{
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

static void learn(struct state *s, const struct rte_ipv4_hdr *ip)
{
	uint16_t w[5];
	memcpy(w, ip, sizeof(w));
	s->dst = rte_be_to_cpu_32(ip->dst_addr);
	s->src = ip->src_addr;
	for (int i = 0; i < 5; i++)
		s->sum += w[i];
	s->known = true;
}

static uint16_t on_rx(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, uint16_t max, void *arg)
{
	struct state *s = arg;
	(void)port;
	(void)queue;
	(void)max;
	for (uint16_t i = 0; i < n; i++) {
		char *p = rte_pktmbuf_mtod(m[i], char *);
		struct rte_ipv4_hdr *ip = (void *)(p + s->inner + 14);
		struct rte_udp_hdr *udp = (void *)(ip + 1);
		if (!s->known)
			learn(s, ip);
		uint32_t x = s->random;
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		s->random = x;
		const uint32_t f = x & (s->flows - 1), far = rte_cpu_to_be_32(s->dst + (f >> 14));
		const uint16_t sport = rte_cpu_to_be_16((uint16_t)(0x4000 | (f & 0x3fff))), dport = RTE_BE16(5001);
		s->back = s->both && !s->back;
		ip->src_addr = s->back ? far : s->src;
		ip->dst_addr = !s->back ? far : s->nat ? s->nat : s->src;
		udp->src_port = s->back ? dport : sport;
		udp->dst_port = s->back ? sport : dport;
		udp->dgram_cksum = 0;
		ip->hdr_checksum = fold(s->sum + (ip->src_addr & 0xffff) + (ip->src_addr >> 16) +
					(ip->dst_addr & 0xffff) + (ip->dst_addr >> 16));
		if (s->inner)
			((struct rte_udp_hdr *)(p + 34))->src_port =
				rte_cpu_to_be_16((uint16_t)(0xc000 | (f & 0x3fff)));
	}
	return n;
}

static void *wait_for_port(void *arg)
{
	for (;; usleep(50000)) {
		struct rte_eth_link l;
		struct rte_eth_dev_info d;
		if (rte_eth_dev_is_valid_port(0) && !rte_eth_dev_info_get(0, &d) && d.nb_rx_queues &&
		    !rte_eth_link_get_nowait(0, &l) && l.link_status && rte_eth_add_rx_callback(0, 0, on_rx, arg))
			return NULL;
	}
}

static uint32_t from_env(const char *name, int base, uint32_t otherwise)
{
	const char *v = getenv(name);
	return v ? (uint32_t)strtoul(v, NULL, base) : otherwise;
}

__attribute__((constructor)) static void init(void)
{
	pthread_t t;
	if (!getenv("FLOWS"))
		return;
	state.flows = from_env("FLOWS", 10, 1);
	state.both = from_env("FLOWS_BOTH", 10, 0);
	state.nat = rte_cpu_to_be_32(from_env("FLOWS_NAT", 16, 0));
	state.inner = from_env("FLOWS_INNER", 10, 0);
	if (pthread_create(&t, NULL, wait_for_port, &state))
		abort();
}
#else
extern int flows_need_dpdk;
#endif
