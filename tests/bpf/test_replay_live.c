/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay on devices: what BPF_PROG_TEST_RUN has no way to give a program. Unfinished checksums and GSO frames, the mark
 * between XDP and [from-netdev], tunnel keys in [from-overlay] and [to-overlay], redirects that a driver takes or not. */
#include "tests/bpf/replay_live_kit.h"

/* Of a frame to be cut into segments, its checksum unfinished */
static const struct virtio_net_hdr gso_tcp4 = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
						.gso_size = MSS,
						.hdr_len = L4 + TCP_HLEN,
						.csum_start = L4,
						.csum_offset = 16 };

/* One GSO frame with an unfinished checksum stays that. */
static void unfinished_stays_unfinished(void **state)
{
	struct packet p = { .v = gso_tcp4 }, q;
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
	struct packet p = { .v = gso_tcp4 }, q;
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

/* Over IPv6: by the kernel's device, each piece with a checksum of its own. */
static void gso_into_a_tunnel6(void **state)
{
	struct packet p = { .v = gso_tcp4 }, q;
	const uint8_t inner[12] = { 0x02, 0, 0, 0, 0, 0x44, 0x02, 0xe9, 0, 0, 0, 1 };
	struct adj_tunnel t = { .port = UP, .dport = 8472, .vni = 77, .link_mtu = 1500 };
	int c = open_end("c0"), u = open_end("u0");
	struct overlay_info info;
	uint32_t data = 0;
	struct err e;

	(void)state;
	sh("ip -6 neigh replace 2001:db8:f::2 lladdr 02:00:00:00:00:33 dev u1");
	assert_true(ip_parse("2001:db8:f::1", &t.local) && ip_parse("2001:db8:f::2", &t.remote));
	memcpy(t.inner_dst.b, inner, 6);
	memcpy(t.inner_src.b, inner + 6, 6);
	adj_use(table->adjs); /* which clears all */
	adj_set_tunnel(ADJ_TUNNEL, &t);
	adj_use(NULL);
	if (overlay_create(loader, 8472, &info, &e))
		fail_msg("%s", e.text);
	table->conf->overlay_ifindex = info.ifindex;
	table->conf->overlay_port = htons(8472);
	uint32_t n = put_record(translate(PROTO_TCP, FLOW_IN_ENDPOINT | EP_C, ADJ_TUNNEL));
	uint64_t refused = stat_of(REPLAY_DROP_TO_OVERLAY);

	eth(p.b, gateway, 0xc);
	p.n = ETH_HLEN_ + ip4(p.b + ETH_HLEN_, "10.0.0.1", "10.0.0.2", PROTO_TCP, 1000, 80, 2 * MSS + 300, false);
	send_one(c, &p);
	while (data < 2 * MSS + 300) {
		const uint8_t *ip = q.b + ETH_HLEN_, *udp = ip + IP6_HLEN, *l3 = q.b + 84;
		uint32_t len;

		assert_true(receive(u, &q, 2000));
		if (rd16(q.b + 12) != ET_IP6)
			continue;
		len = rd16(l3 + 2);
		assert_int_equal(q.n, 84 + len);
		assert_int_equal(rd16(ip + 4), q.n - ETH_HLEN_ - IP6_HLEN);
		assert_int_equal(ip[7], 64);
		assert_memory_equal(ip + 8, t.local.b, 16);
		assert_memory_equal(ip + 24, t.remote.b, 16);
		assert_int_equal(rd16(udp + 2), 8472);
		assert_int_not_equal(ld16(udp + 6), 0);
		assert_int_equal(
			csum_fold(csum_add(udp, rd16(udp + 4),
					   csum_fold(csum_pseudo(ip + 8, ip + 24, 16, PROTO_UDP, rd16(udp + 4))))),
			0xffff);
		assert_int_equal(rd32(udp + 12) >> 8, 77);
		assert_memory_equal(udp + 16, inner, 12);
		assert_translated(l3);
		assert_sums(l3);
		data += len - IP4_HLEN - TCP_HLEN;
	}
	assert_int_equal(data, 2 * MSS + 300);
	assert_int_equal(export_table_use(false, n)->packets, 3);
	/* nobody else sends by it */
	sh("ip link set u0 up; ip -6 route add fd99::/64 dev sluice_vxlan 2>/dev/null; ping -6 -c 1 -W 1 -I "
	   "sluice_vxlan ff02::1 "
	   ">/dev/null 2>&1; true");
	assert_true(stat_of(REPLAY_DROP_TO_OVERLAY) > refused);
	export_table_remove(false, n, real_ns());
	table->conf->overlay_ifindex = table->conf->overlay_port = 0;
	fill_adjs();
	assert_int_equal(overlay_destroy(loader, &e), 0);
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
	uint32_t other = put_record(translate(PROTO_TCP, FLOW_IN_UPLINK, ADJ_D)); /* without one nothing is looked at */

	export_table_remove(false, n, real_ns());
	/* the kernel's own frames pass it: no reason is counted */
	uint64_t dropped = stat_of(REPLAY_DROP_NETDEV), missed = stat_of(REPLAY_MISS);

	send_one(u, &p);
	for (unsigned i = 0; i < 2000 && stat_of(REPLAY_MISS) == missed; i++)
		usleep(1000);
	assert_int_equal(stat_of(REPLAY_MISS), missed + 1); /* XDP's */
	assert_int_equal(stat_of(REPLAY_DROP_NETDEV), dropped);
	assert_false(receive(d, &q, 0));
	export_table_remove(false, other, real_ns());
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
	struct err e = { "" };
	assert_int_equal(loader_set_gro("e0", true, &e), 0);
	assert_int_equal(loader_can_redirect(e1), 1);
	assert_true(loader_has_gro("e0"));
	assert_false(loader_has_gro("e1"));
	assert_false(loader_has_gro("nobody"));
	assert_int_equal(loader_set_gro("nobody", true, &e), -ENODEV);
	assert_non_null(strstr(e.text, "cannot turn GRO of nobody on"));
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
	uint32_t other = put_record(translate(PROTO_TCP, FLOW_IN_UPLINK, ADJ_D));
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
	/* without any record, too */
	export_table_remove(false, other, real_ns());
	send_one(end, &p);
	for (unsigned i = 0; i < 2000 && stat_of(REPLAY_DROP_NETDEV) == dropped + 1; i++)
		usleep(1000);
	assert_int_equal(stat_of(REPLAY_DROP_NETDEV), dropped + 2);
	assert_int_equal(bpf_xdp_detach((int)e1, XDP_FLAGS_DRV_MODE, NULL), 0);
	close(fd);
	close(end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unfinished_stays_unfinished),
		cmocka_unit_test(gso_into_a_tunnel),
		cmocka_unit_test(gso_into_a_tunnel6),
		cmocka_unit_test(uplink_to_container),
		cmocka_unit_test(overlay_to_container),
		cmocka_unit_test(stripped_to_container),
		cmocka_unit_test(redirects),
		cmocka_unit_test(marked_but_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
