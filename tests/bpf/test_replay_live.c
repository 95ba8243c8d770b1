/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay on devices: what BPF_PROG_TEST_RUN has no way to give a program. Unfinished checksums and GSO frames, the mark
 * between XDP and [from-netdev], tunnel keys in [from-overlay], redirects that a driver takes or not.
 *
 *   c0 - c1 [from-container]      d0 - d1      u0 - u1 XDP, [from-netdev]; sluice_vxlan      e0 - e1
 * Left ends are read and written here by packet sockets; all in one namespace. Records are written by hand. */
#include "tests/bpf/env.h"

#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <time.h>

#include "fwd/export_table.h"
#include "tables/gen.h"
#include "tables/neighbor.h"
#include "xdp/overlay.h"

enum { EP_C = 10, EP_D = 11, UP = 2, UP_E = 3, ADJ_D = 1, ADJ_TUNNEL = 2, ADJ_E = 3, REMOTE = FLOW_IN_REMOTE | 5 };
enum { FRAME = 8192, L4 = ETH_HLEN_ + IP4_HLEN, MSS = 1000 };

static const struct loader_replay *table;
static const uint8_t mac_d[6] = { 2, 0, 0, 0, 0, 0xd }, mac_u[6] = { 2, 0, 0, 0, 0, 0xf },
		     gateway[6] = GATE_GATEWAY_MAC;

static void sh(const char *cmd)
{
	if (system(cmd))
		fail_msg("failed: %s", cmd);
}

static uint64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t stat_of(enum replay_stat which)
{
	uint64_t n[REPLAY_STATS];

	assert_int_equal(loader_replay_stats(loader, n), 0);
	return n[which];
}

static uint32_t addr(const char *s)
{
	struct ipaddr a;

	assert_true(ip_parse(s, &a));
	return a.w[3];
}

/* ---- sockets ---- */

static int open_end(const char *dev)
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

static void send_one(int fd, struct packet *p)
{
	uint8_t out[sizeof(p->v) + FRAME];

	memcpy(out, &p->v, sizeof(p->v));
	memcpy(out + sizeof(p->v), p->b, p->n);
	assert_int_equal(write(fd, out, sizeof(p->v) + p->n), sizeof(p->v) + p->n);
}

/* Next IPv4 frame within 2 s. */
static bool receive(int fd, struct packet *p, int timeout_ms)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };
	uint8_t in[sizeof(p->v) + FRAME];

	while (poll(&f, 1, timeout_ms) > 0) {
		ssize_t n = read(fd, in, sizeof(in));

		if (n < (ssize_t)(sizeof(p->v) + L4 + 8) || rd16(in + sizeof(p->v) + 12) != ET_IP4)
			continue;
		memcpy(&p->v, in, sizeof(p->v));
		p->n = (uint32_t)(n - (ssize_t)sizeof(p->v));
		memcpy(p->b, in + sizeof(p->v), p->n);
		return true;
	}
	return false;
}

/* ---- frames ---- */

static uint16_t pseudo(const uint8_t *l3, uint32_t l4_len)
{
	return csum_fold(csum_pseudo(l3 + 12, l3 + 16, 4, l3[9], l4_len));
}

/* UDP or TCP over IPv4 at 'l3', 'data' bytes of payload; L4 checksum finished or just the pseudo header. */
static uint32_t ip4(uint8_t *l3, const char *src, const char *dst, uint8_t proto, uint16_t sport, uint16_t dport,
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

static void eth(uint8_t *b, const uint8_t *dst, uint8_t last)
{
	const uint8_t src[6] = { 2, 0, 0, 0, 0, last };

	memcpy(b, dst, 6);
	memcpy(b + 6, src, 6);
	wr16(b + 12, ET_IP4);
}

static void assert_sums(const uint8_t *l3)
{
	uint32_t len = rd16(l3 + 2) - IP4_HLEN;

	assert_int_equal(csum_fold(csum_add(l3, IP4_HLEN, 0)), 0xffff);
	assert_int_equal(csum_fold(csum_add(l3 + IP4_HLEN, len, pseudo(l3, len))), 0xffff);
}

/* ---- records ---- */

static uint16_t delta(const void *was, const void *now, unsigned n)
{
	uint16_t d = csum_fold((uint64_t)(uint16_t)~csum_fold(csum_add(was, n, 0)) + csum_add(now, n, 0));

	return d == 0xffff ? 0 : d;
}

static uint32_t put_record(struct replay_flow4 r)
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
static struct replay_flow4 translate(uint8_t proto, uint32_t in, uint32_t adj)
{
	return (struct replay_flow4){ .key = { addr("10.0.0.1"), addr("10.0.0.2"), htons(1000), htons(80), proto },
				      .src = addr("198.51.100.7"),
				      .dst = addr("10.9.9.9"),
				      .sport = htons(40001),
				      .dport = htons(8080),
				      .in = in,
				      .adj = adj };
}

static void assert_translated(const uint8_t *l3)
{
	assert_int_equal(l3[8], 63);
	assert_int_equal(ld32(l3 + 12), addr("198.51.100.7"));
	assert_int_equal(ld32(l3 + 16), addr("10.9.9.9"));
	assert_int_equal(rd16(l3 + 20), 40001);
	assert_int_equal(rd16(l3 + 22), 8080);
}

static void fill_adjs(void)
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

static int setup(void **state)
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
	export_table_switch(true);
	return 0;
}

static int teardown(void **state)
{
	struct err e;
	int rc = overlay_destroy(loader, &e);

	export_table_close();
	gen_use(NULL);
	return env_teardown(state) || rc;
}

/* ---- tests ---- */

/* One GSO frame with an unfinished checksum stays that. */
static void unfinished_stays_unfinished(void **state)
{
	struct packet p = { .v = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
				   .gso_size = MSS,
				   .hdr_len = L4 + TCP_HLEN,
				   .csum_start = L4,
				   .csum_offset = 16 } },
		      q;
	int c = open_end("c0"), d = open_end("d0");
	uint32_t n = put_record(translate(PROTO_TCP, FLOW_IN_ENDPOINT | EP_C, ADJ_D));

	(void)state;
	eth(p.b, gateway, 0xc);
	p.n = ETH_HLEN_ + ip4(p.b + ETH_HLEN_, "10.0.0.1", "10.0.0.2", PROTO_TCP, 1000, 80, 3 * MSS, false);
	send_one(c, &p);
	assert_true(receive(d, &q, 2000));
	assert_int_equal(q.n, p.n);
	assert_memory_equal(q.b, mac_d, 6);
	assert_memory_equal(q.b + 6, gateway, 6);
	assert_translated(q.b + ETH_HLEN_);
	assert_int_equal(q.v.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(q.v.gso_size, MSS);
	assert_int_equal(q.v.csum_start, L4);
	/* of the two zeroes either will do */
	assert_int_equal(ld16(q.b + L4 + 16) % 0xffff, pseudo(q.b + ETH_HLEN_, TCP_HLEN + 3 * MSS) % 0xffff);
	assert_int_equal(export_table_use(false, n)->packets, 3);
	export_table_remove(false, n, real_ns());
	close(c);
	close(d);
}

/* Into a tunnel: the device, which has no offloads, cuts the frame behind our headers. */
static void gso_into_a_tunnel(void **state)
{
	struct packet p = { .v = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
				   .gso_size = MSS,
				   .hdr_len = L4 + TCP_HLEN,
				   .csum_start = L4,
				   .csum_offset = 16 } },
		      q;
	int c = open_end("c0"), u = open_end("u0");
	uint32_t n = put_record(translate(PROTO_TCP, FLOW_IN_ENDPOINT | EP_C, ADJ_TUNNEL)), data = 0;

	(void)state;
	eth(p.b, gateway, 0xc);
	p.n = ETH_HLEN_ + ip4(p.b + ETH_HLEN_, "10.0.0.1", "10.0.0.2", PROTO_TCP, 1000, 80, 2 * MSS + 300, false);
	send_one(c, &p);
	while (data < 2 * MSS + 300) {
		const uint8_t *outer = q.b + ETH_HLEN_, *l3 = q.b + 64;
		uint32_t len;

		assert_true(receive(u, &q, 2000));
		len = rd16(l3 + 2);
		assert_int_equal(q.n, 64 + len);
		assert_int_equal(rd16(outer + 2), q.n - ETH_HLEN_);
		assert_int_equal(csum_fold(csum_add(outer, IP4_HLEN, 0)), 0xffff);
		assert_int_equal(rd16(outer + 20), 0xc123);
		assert_int_equal(rd16(outer + 24), q.n - L4);
		assert_int_equal(ld16(outer + 26), 0);
		assert_int_equal(rd32(outer + 32) >> 8, 77);
		assert_translated(l3);
		assert_sums(l3);
		assert_int_equal(len, IP4_HLEN + TCP_HLEN + MIN(MSS, 2 * MSS + 300 - data));
		data += len - IP4_HLEN - TCP_HLEN;
	}
	assert_int_equal(data, 2 * MSS + 300);
	export_table_remove(false, n, real_ns());
	close(c);
	close(u);
}

/* XDP finds it, [from-netdev] replays it. */
static void uplink_to_container(void **state)
{
	struct packet p = { .n = 0 }, q = { .n = 0 };
	int u = open_end("u0"), d = open_end("d0");
	uint32_t n = put_record(translate(PROTO_UDP, FLOW_IN_UPLINK, ADJ_D));
	uint64_t found = stat_of(REPLAY_XDP_TO_TC);

	(void)state;
	eth(p.b, mac_u, 0x77);
	p.n = ETH_HLEN_ + ip4(p.b + ETH_HLEN_, "10.0.0.1", "10.0.0.2", PROTO_UDP, 1000, 80, 20, true);
	send_one(u, &p);
	assert_true(receive(d, &q, 2000));
	assert_int_equal(q.n, p.n);
	assert_translated(q.b + ETH_HLEN_);
	assert_sums(q.b + ETH_HLEN_);
	assert_int_equal(stat_of(REPLAY_XDP_TO_TC), found + 1);
	assert_int_equal(export_table_use(false, n)->packets, 1);
	export_table_remove(false, n, real_ns());
	/* the kernel's own frames pass it: no reason is counted */
	uint64_t dropped = stat_of(REPLAY_DROP_NETDEV), missed = stat_of(REPLAY_MISS);

	send_one(u, &p);
	for (unsigned i = 0; i < 2000 && stat_of(REPLAY_MISS) == missed; i++)
		usleep(1000);
	assert_int_equal(stat_of(REPLAY_MISS), missed + 1); /* XDP's */
	assert_int_equal(stat_of(REPLAY_DROP_NETDEV), dropped);
	assert_false(receive(d, &q, 0));
	close(u);
	close(d);
}

/* Over IPv4 or, 'front' = 84, IPv6. */
static void vxlan(struct packet *p, uint16_t sport, uint32_t front)
{
	const uint32_t inner = ip4(p->b + front, "10.0.0.1", "10.0.0.2", PROTO_UDP, sport, 80, 20, true);
	const uint32_t data = VXLAN_HLEN + ETH_HLEN_ + inner;
	uint8_t *ip = p->b + ETH_HLEN_, *udp = p->b + front - ETH_HLEN_ - VXLAN_HLEN - UDP_HLEN;

	eth(p->b, mac_u, 0x77);
	ip4(ip, "192.0.2.2", "192.0.2.1", PROTO_UDP, 50000, 8472, data, true);
	if (front == 84) {
		struct ipaddr a;

		wr16(p->b + 12, ET_IP6);
		memset(ip, 0, IP6_HLEN);
		ip[0] = 0x60;
		wr16(ip + 4, (uint16_t)(UDP_HLEN + data));
		ip[6] = PROTO_UDP;
		ip[7] = 64;
		assert_true(ip_parse("2001:db8:f::2", &a));
		memcpy(ip + 8, a.b, 16);
		assert_true(ip_parse("2001:db8:f::1", &a));
		memcpy(ip + 24, a.b, 16);
		wr16(udp, 50000);
		wr16(udp + 2, 8472);
		wr16(udp + 4, (uint16_t)(UDP_HLEN + data));
	}
	ip4(p->b + front, "10.0.0.1", "10.0.0.2", PROTO_UDP, sport, 80, 20, true);
	st16(udp + 6, 0);
	wr32(udp + 8, 0x08000000);
	wr32(udp + 12, 2001 << 8);
	eth(p->b + front - ETH_HLEN_, gateway, 0x55);
	p->n = front + inner;
}

/* XDP finds the inner flow, the kernel takes VXLAN off, [from-overlay] replays. What it can't replay does not enter. */
static void from_underlay(const char *local, const char *remote, uint32_t front, uint32_t port_flags)
{
	struct replay_remote k = { .port = htons(8472), .vni = REPLAY_ANY_VNI };
	struct ipaddr a;
	struct replay_flow4 r = translate(PROTO_UDP, REMOTE, ADJ_D);
	struct packet p = { .n = 0 }, q = { .n = 0 };
	struct overlay_info info;
	struct err e = { "" };
	int u = open_end("u0"), d = open_end("d0");
	uint64_t dropped = stat_of(REPLAY_DROP_OVERLAY);

	assert_true(ip_parse(local, &a));
	memcpy(k.local, a.b, 16);
	assert_true(ip_parse(remote, &a));
	memcpy(k.remote, a.b, 16);
	table->conf->port[UP].flags = port_flags;
	if (overlay_create(loader, 8472, &info, &e))
		fail_msg("%s", e.text);
	table->conf->overlay_port = htons(8472);
	assert_int_equal(loader_replay_remote_set(loader, &k, REMOTE), 0);
	r.vni = 2001;
	r.flags = REPLAY_VNI;
	uint32_t n = put_record(r);

	vxlan(&p, 1000, front);
	send_one(u, &p);
	assert_true(receive(d, &q, 2000));
	assert_int_equal(q.n, p.n - (front - ETH_HLEN_));
	assert_translated(q.b + ETH_HLEN_);
	assert_sums(q.b + ETH_HLEN_);
	assert_memory_equal(q.b, mac_d, 6);
	assert_int_equal(export_table_use(false, n)->packets, 1);
	assert_int_equal(stat_of(REPLAY_DROP_OVERLAY), dropped);

	vxlan(&p, 1001, front); /* nobody's: steering has no prefix here, so it is left to the kernel */
	send_one(u, &p);
	for (unsigned i = 0; i < 2000 && stat_of(REPLAY_DROP_OVERLAY) == dropped; i++)
		usleep(1000);
	assert_int_equal(stat_of(REPLAY_DROP_OVERLAY), dropped + 1);
	export_table_remove(false, n, real_ns());
	table->conf->overlay_port = 0;
	assert_int_equal(loader_replay_remote_del(loader, &k), 0);
	close(u);
	close(d);
}

static void overlay_to_container(void **state)
{
	(void)state;
	from_underlay("192.0.2.1", "192.0.2.2", 64, REPLAY_PORT_NETDEV);
	from_underlay("2001:db8:f::1", "2001:db8:f::2", 84, REPLAY_PORT_NETDEV);
	table->conf->port[UP].flags = REPLAY_PORT_NETDEV;
}

/* XDP takes VXLAN off, [from-netdev] replays. */
static void stripped_to_container(void **state)
{
	(void)state;
	from_underlay("192.0.2.1", "192.0.2.2", 64, REPLAY_PORT_STRIP);
	from_underlay("2001:db8:f::1", "2001:db8:f::2", 84, REPLAY_PORT_STRIP);
}

/* A veth takes redirected frames only while its peer has NAPI. */
static void redirects(void **state)
{
	struct packet p = { .n = 0 }, q = { .n = 0 };
	int u = open_end("u0"), e0 = open_end("e0");
	uint32_t n = put_record(translate(PROTO_UDP, FLOW_IN_UPLINK, ADJ_E)), e1 = if_nametoindex("e1");

	(void)state;
	assert_int_equal(loader_can_redirect(e1), 0);
	sh("ethtool -K e0 gro on >/dev/null");
	assert_int_equal(loader_can_redirect(e1), 1);
	assert_true(loader_has_gro("e0"));
	assert_false(loader_has_gro("e1"));
	assert_false(loader_has_gro("nobody"));
	assert_true(loader_can_redirect(0xffffff) < 0);
	eth(p.b, mac_u, 0x77);
	p.n = ETH_HLEN_ + ip4(p.b + ETH_HLEN_, "10.0.0.1", "10.0.0.2", PROTO_UDP, 1000, 80, 20, true);
	send_one(u, &p);
	assert_true(receive(e0, &q, 2000));
	assert_int_equal(q.n, p.n);
	assert_translated(q.b + ETH_HLEN_);
	assert_sums(q.b + ETH_HLEN_);
	export_table_remove(false, n, real_ns());
	close(u);
	close(e0);
}

/* Writes the mark of a frame that XDP left to tc, whatever it is. */
static int load_marker(void)
{
	static const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = -(int)sizeof(struct replay_meta) },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_xdp_adjust_meta },
		{ .code = BPF_LDX | BPF_MEM | BPF_W,
		  .dst_reg = 1,
		  .src_reg = 6,
		  .off = offsetof(struct xdp_md, data_meta) },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 6, .off = offsetof(struct xdp_md, data) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 1 },
		{ .code = BPF_ALU64 | BPF_ADD, .dst_reg = 3, .imm = sizeof(struct replay_meta) },
		{ .code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 3, .src_reg = 2, .off = 1 },
		{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 1, .imm = REPLAY_META },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "marker", "GPL", code, ARRAY_LEN(code), NULL);
}

/* A frame taken from the kernel by XDP must not come back to it when tc can't replay it after all. */
static void marked_but_refused(void **state)
{
	struct packet p = { .n = 0 };
	struct err e = { "" };
	uint32_t e1 = if_nametoindex("e1");
	int fd = load_marker(), end = open_end("e0");
	uint64_t dropped = stat_of(REPLAY_DROP_NETDEV), missed = stat_of(REPLAY_MISS);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(bpf_xdp_attach((int)e1, fd, XDP_FLAGS_DRV_MODE, NULL), 0);
	if (loader_attach_tc(loader, PROG_FROM_NETDEV, "e1", &e))
		fail_msg("%s", e.text);
	eth(p.b, mac_d, 0x77);
	p.n = ETH_HLEN_ + ip4(p.b + ETH_HLEN_, "10.0.0.1", "10.0.0.2", PROTO_UDP, 1000, 80, 20, true);
	send_one(end, &p);
	for (unsigned i = 0; i < 2000 && stat_of(REPLAY_DROP_NETDEV) == dropped; i++)
		usleep(1000);
	assert_int_equal(stat_of(REPLAY_DROP_NETDEV), dropped + 1);
	assert_int_equal(stat_of(REPLAY_MISS), missed + 1);
	assert_int_equal(bpf_xdp_detach((int)e1, XDP_FLAGS_DRV_MODE, NULL), 0);
	close(fd);
	close(end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unfinished_stays_unfinished), cmocka_unit_test(gso_into_a_tunnel),
		cmocka_unit_test(uplink_to_container),         cmocka_unit_test(overlay_to_container),
		cmocka_unit_test(stripped_to_container),       cmocka_unit_test(redirects),
		cmocka_unit_test(marked_but_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
