/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices, frames and hand-written records for test_replay_live.c:
 *
 *   c0 - c1 [from-container]      d0 - d1      u0 - u1 XDP, [from-netdev]; sluice_vxlan      e0 - e1
 * Left ends are read and written here by packet sockets; all in one namespace. */
#pragma once

#include "tests/bpf/env.h"

#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <time.h>

#include "fwd/export_table.h"
#include "fwd/settings.h"
#include "tables/gen.h"
#include "tables/neighbor.h"
#include "xdp/overlay.h"

enum { EP_C = 10, EP_D = 11, UP = 2, UP_E = 3, ADJ_D = 1, ADJ_TUNNEL = 2, ADJ_E = 3, REMOTE = FLOW_IN_REMOTE | 5 };
enum { FRAME = 8192, L4 = ETH_HLEN_ + IP4_HLEN, MSS = 1000 };

static const struct loader_replay *table;
static const uint8_t mac_d[6] = { 2, 0, 0, 0, 0, 0xd }, mac_u[6] = { 2, 0, 0, 0, 0, 0xf },
		     gateway[6] = GATE_GATEWAY_MAC;

static inline void sh(const char *cmd)
{
	if (system(cmd))
		fail_msg("failed: %s", cmd);
}

static inline uint64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline uint64_t stat_of(enum replay_stat which)
{
	uint64_t n[REPLAY_STATS];

	assert_int_equal(loader_replay_stats(loader, n), 0);
	return n[which];
}

static inline uint32_t addr(const char *s)
{
	struct ipaddr a;

	assert_true(ip_parse(s, &a));
	return a.w[3];
}

/* ---- sockets ---- */

static inline int open_end(const char *dev)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(dev) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

	a.sll_protocol = htons(ETH_P_ALL);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

struct packet {
	struct virtio_net_hdr v;
	uint8_t b[FRAME];
	uint32_t n;
};

static inline void send_one(int fd, struct packet *p)
{
	uint8_t out[sizeof(p->v) + FRAME];

	memcpy(out, &p->v, sizeof(p->v));
	memcpy(out + sizeof(p->v), p->b, p->n);
	assert_int_equal(write(fd, out, sizeof(p->v) + p->n), sizeof(p->v) + p->n);
}

/* Next frame of IPv4, or UDP over IPv6. */
static inline bool receive(int fd, struct packet *p, int timeout_ms)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };
	uint8_t in[sizeof(p->v) + FRAME];

	while (poll(&f, 1, timeout_ms) > 0) {
		ssize_t n = read(fd, in, sizeof(in));

		const uint8_t *b = in + sizeof(p->v);

		if (n < (ssize_t)(sizeof(p->v) + L4 + 8) ||
		    !(rd16(b + 12) == ET_IP4 || (rd16(b + 12) == ET_IP6 && b[20] == PROTO_UDP)))
			continue;
		memcpy(&p->v, in, sizeof(p->v));
		p->n = (uint32_t)(n - (ssize_t)sizeof(p->v));
		memcpy(p->b, in + sizeof(p->v), p->n);
		return true;
	}
	return false;
}

/* ---- frames ---- */

static inline uint16_t pseudo(const uint8_t *l3, uint32_t l4_len)
{
	return csum_fold(csum_pseudo(l3 + 12, l3 + 16, 4, l3[9], l4_len));
}

/* UDP or TCP over IPv4 at 'l3', 'data' bytes of payload; L4 checksum finished or just the pseudo header. */
static inline uint32_t ip4(uint8_t *l3, const char *src, const char *dst, uint8_t proto, uint16_t sport, uint16_t dport,
			   uint32_t data, bool finished)
{
	uint32_t head = proto == PROTO_TCP ? TCP_HLEN : UDP_HLEN, len = head + data, at = proto == PROTO_TCP ? 16 : 6;
	uint8_t *l4 = l3 + IP4_HLEN;

	memset(l3, 0, IP4_HLEN + head);
	l3[0] = 0x45;
	wr16(l3 + 2, (uint16_t)(IP4_HLEN + len));
	l3[8] = 64;
	l3[9] = proto;
	st32(l3 + 12, addr(src));
	st32(l3 + 16, addr(dst));
	st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
	wr16(l4, sport);
	wr16(l4 + 2, dport);
	if (proto == PROTO_TCP) {
		l4[12] = 0x50;
		l4[13] = 0x10;
	} else {
		wr16(l4 + 4, (uint16_t)len);
	}
	for (uint32_t i = 0; i < data; i++)
		l4[head + i] = (uint8_t)(i * 7);
	st16(l4 + at, pseudo(l3, len));
	if (finished)
		st16(l4 + at, (uint16_t)~csum_fold(csum_add(l4, len, 0)));
	return IP4_HLEN + len;
}

static inline void eth(uint8_t *b, const uint8_t *dst, uint8_t last)
{
	const uint8_t src[6] = { 2, 0, 0, 0, 0, last };

	memcpy(b, dst, 6);
	memcpy(b + 6, src, 6);
	wr16(b + 12, ET_IP4);
}

static inline void assert_sums(const uint8_t *l3)
{
	uint32_t len = rd16(l3 + 2) - IP4_HLEN;

	assert_int_equal(csum_fold(csum_add(l3, IP4_HLEN, 0)), 0xffff);
	assert_int_equal(csum_fold(csum_add(l3 + IP4_HLEN, len, pseudo(l3, len))), 0xffff);
}

/* ---- records ---- */

static inline uint16_t delta(const void *was, const void *now, unsigned n)
{
	uint16_t d = csum_fold((uint64_t)(uint16_t)~csum_fold(csum_add(was, n, 0)) + csum_add(now, n, 0));

	return d == 0xffff ? 0 : d;
}

static inline uint32_t put_record(struct replay_flow4 r)
{
	uint32_t n;

	gen_area->alive_until_ns = real_ns() + 10ull * 1000000000;
	r.d_addr = delta(&r.key.src, &r.src, 8);
	r.d_port = delta(&r.key.sport, &r.sport, 4);
	r.d3 = csum_fold((uint64_t)r.d_addr + 0xfffe);
	r.outer_port = htons(0xc123);
	r.flags |= REPLAY_BY_TC | REPLAY_BY_XDP;
	r.gensum = gen_sum(r.dep);
	n = export_table_insert(false, &r, 1, real_ns());
	assert_int_not_equal(n, 0);
	return n;
}

/* 10.0.0.1:1000 -> 10.0.0.2:80 becomes 198.51.100.7:40001 -> 10.9.9.9:8080 */
static inline struct replay_flow4 translate(uint8_t proto, uint32_t in, uint32_t adj)
{
	return (struct replay_flow4){ .key = { addr("10.0.0.1"), addr("10.0.0.2"), htons(1000), htons(80), proto },
				      .src = addr("198.51.100.7"),
				      .dst = addr("10.9.9.9"),
				      .sport = htons(40001),
				      .dport = htons(8080),
				      .in = in,
				      .adj = adj };
}

static inline void assert_translated(const uint8_t *l3)
{
	assert_int_equal(l3[8], 63);
	assert_int_equal(ld32(l3 + 12), addr("198.51.100.7"));
	assert_int_equal(ld32(l3 + 16), addr("10.9.9.9"));
	assert_int_equal(rd16(l3 + 20), 40001);
	assert_int_equal(rd16(l3 + 22), 8080);
}

static inline void fill_adjs(void)
{
	const uint8_t stamp[6] = { 0x02, 0xe1, 0, 0, 0, EP_D }, out[64] = {
		0x02, 0,    0, 0, 0,    0x33, 0x02, 0,    0,  0,  0, 0xf, 8,   0, /* Ethernet */
		0x45, 0,    0, 0, 0,    0,    0x40, 0,    64, 17, 0, 0,   192, 0, 2, 1, 192, 0,
		2,    2,    0, 0, 0x21, 0x18, 0,    0,    0,  0,  8, 0,   0,   0, 0, 0, 77,  0, /* UDP 8472, VXLAN */
		0x02, 0xe9, 0, 0, 0,    1,    0x02, 0xe9, 0,  0,  0, 1,   8,   0,
	};
	struct adj *d = &table->adjs[ADJ_D], *t = &table->adjs[ADJ_TUNNEL], *e = &table->adjs[ADJ_E];

	*d = (struct adj){ .kind = ADJ_ETH, .mtu = 1500 };
	memcpy(d->eth, stamp, 6);
	memcpy(d->eth + 6, mac_d, 6);
	*t = (struct adj){ .kind = ADJ_TUNNEL4, .port = UP, .mtu = 1450, .tmpl_size = sizeof(out) };
	memcpy(t->tmpl, out, sizeof(out));
	t->base3 = (uint32_t)csum_add(out + ETH_HLEN_, IP4_HLEN, 0);
	*e = (struct adj){ .kind = ADJ_ETH, .port = UP_E, .mtu = 1500 };
	memcpy(e->eth, mac_d, 6);
}

static inline int setup(void **state)
{
	struct gate_endpoint c = { .id = EP_C, .attach = 1 }, d = { .id = EP_D, .attach = 1 };
	struct steer_dev dev = { .slot = UP, .on_exit = XDP_DROP };
	struct err e = { "" };

	env_setup(state);
	sh("for i in c d u e; do ip link add ${i}0 type veth peer name ${i}1 &&"
	   " echo 1 >/proc/sys/net/ipv6/conf/${i}0/disable_ipv6 && echo 1 >/proc/sys/net/ipv6/conf/${i}1/disable_ipv6 "
	   "&&"
	   " ip link set ${i}0 up && ip link set ${i}1 up || exit 1; done; ip link set lo up");
	sh("ip link set u1 address 02:00:00:00:00:0f && ip addr add 192.0.2.1/24 dev u1 && "
	   "echo 0 >/proc/sys/net/ipv6/conf/u1/disable_ipv6 && ip addr add 2001:db8:f::1/64 dev u1 nodad && "
	   "ethtool -K u1 tx off tso off gso off >/dev/null");
	table = loader_replay(loader);
	gen_use(loader_gen_area(loader));
	c.ifindex = if_nametoindex("c1");
	d.ifindex = if_nametoindex("d1");
	assert_int_equal(loader_endpoint_set(loader, &c), 0);
	assert_int_equal(loader_endpoint_set(loader, &d), 0);
	memcpy(dev.mac, mac_u, 6);
	assert_int_equal(loader_steer_dev_set(loader, if_nametoindex("u1"), &dev), 0);
	struct gate_conf conf = { .host_ifindex = LO, .n_queues = 1 };

	assert_int_equal(loader_gate_conf_set(loader, &conf), 0);
	if (loader_attach_tc(loader, PROG_FROM_CONTAINER, "c1", &e) ||
	    loader_attach_tc(loader, PROG_FROM_NETDEV, "u1", &e) ||
	    loader_attach_xdp(loader, PROG_STEER, "u1", LOADER_NATIVE, NULL, &e) || export_table_open(table))
		fail_msg("%s", e.text);
	table->conf->port[UP] = (struct replay_port){ if_nametoindex("u1"), REPLAY_PORT_NETDEV };
	table->conf->port[UP_E] = (struct replay_port){ if_nametoindex("e1"), REPLAY_PORT_REDIRECT };
	table->conf->vtep_ports = 1ull << (8472 % 64);
	fill_adjs();
	settings.nat_unique_ids = false; /* frames here have no DF */
	export_table_switch(true);
	return 0;
}

static inline int teardown(void **state)
{
	struct err e;
	int rc = overlay_destroy(loader, &e);

	export_table_close();
	gen_use(NULL);
	return env_teardown(state) || rc;
}
