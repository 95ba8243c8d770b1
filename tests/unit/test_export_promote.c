/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay, the engine's side: which connections are promoted, who makes room, the filter in front of the index. */
#include "tables/tunnel.h"
#include "tests/unit/export_kit.h"

/* ---- promotion ---- */

static void test_promotes_warm(void **state)
{
	(void)state;
	assert_int_equal(conf.flags & (REPLAY_ON | REPLAY_SOME), REPLAY_ON);
	assert_true(conf.seed[0] && conf.seed[1]);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ct *c = ct_of(v6);
		uint32_t hot = link_up(c, 1), cold = link_up(c, 2);
		ticks(1);
		assert_false(kernel_moves(c, hot, 1));
		assert_string_equal(export_state(c, hot), "cold");
		engine_moves(c, hot, 4); /* eight in all */
		engine_moves(c, cold, 3);
		ticks(1);
		assert_true(kernel_moves(c, hot, 1));
		assert_false(kernel_moves(c, cold, 1));
		assert_string_equal(export_state(c, hot), "tc");
		/* 3 + 3 packets every two seconds are never 8 within one */
		for (unsigned i = 0; i < 10; i++) {
			engine_moves(c, cold, 3);
			ticks(20);
			kernel_moves(c, hot, 1);
		}
		assert_string_equal(export_state(c, cold), "cold");
	}
}

static void test_slow_gathers_within_a_second(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	for (unsigned n = 0; n < 12; n++) { /* 20 packets a second, 2 in each tick */
		engine_moves(&ct4, i, 1);
		ticks(1);
	}
	assert_true(kernel_moves(&ct4, i, 1));
}

/* Of more than the ring holds the latest are looked at; what is no live connection is passed over. */
static void test_samples(void **state)
{
	(void)state;
	uint32_t old = link_up(&ct4, 1), hot = link_up(&ct4, 2);
	engine_moves(&ct4, old, 100);
	for (unsigned n = 0; n < SAMPLES - 1; n++)
		worker_sample(&worker, (n % 3 ? 0x3ffffffe : 2 * 1500) | (n & 1 ? SAMPLE_V6 : 0));
	engine_moves(&ct4, hot, 100);
	ticks(1);
	assert_false(kernel_moves(&ct4, old, 1));
	assert_true(kernel_moves(&ct4, hot, 1));
	/* nothing passed: nobody is looked at, and there is no hurry */
	assert_false(export_tick(now_ns));
	worker_sample(&worker, 2 * old);
	assert_true(export_tick(now_ns));
	assert_true(kernel_moves(&ct4, old, 1));
}

/* What the engine has to call something else is none for the kernel, but its answers are, and what is not translated. */
static void test_without_df(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	assert_true(settings.nat_unique_ids);
	for (unsigned n = 0; n < 3; n++) {
		ct_flow4(2 * i)->packets += 100;
		worker_sample(&worker, 2 * i | SAMPLE_NO_DF);
		ticks(1);
		assert_int_equal(connections(), 0);
	}
	settings.nat_unique_ids = false;
	worker_sample(&worker, 2 * i | SAMPLE_NO_DF);
	ticks(1);
	assert_int_equal(connections(), 1);
	settings.nat_unique_ids = true;
	uint32_t answered = link_up(&ct4, 2);
	ct_flow4(2 * answered + 1)->packets += 100;
	worker_sample(&worker, (2 * answered + 1) | SAMPLE_NO_DF);
	ticks(1);
	assert_int_equal(connections(), 2);
}

/* The window began long ago, or never: it takes another one to tell a burst from a speed. */
static void test_cold_for_long(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	move_clock(60000);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_false(kernel_moves(&ct4, i, 1));
	engine_moves(&ct4, i, 4);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	uint32_t never = link_up(&ct4, 2);
	export_families[0].look[never] = (struct export_look){ 0 };
	engine_moves(&ct4, never, 100);
	ticks(1);
	assert_false(kernel_moves(&ct4, never, 1));
	engine_moves(&ct4, never, 4);
	ticks(1);
	assert_true(kernel_moves(&ct4, never, 1));
}

/* Long after the table stood empty the window is as short as ever. */
static void test_after_a_pause(void **state)
{
	(void)state;
	ticks(1);
	move_clock(3600 * 1000);
	ticks(2);
	uint32_t i = link_up(&ct4, 1);
	engine_moves(&ct4, i, 5);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
}

static void test_who_is_refused(void **state)
{
	(void)state;
	uint32_t icmp = link_up_dep(&ct4, 1, PROTO_ICMP, no_dep), opening = link_up(&ct4, 2), oneway = link_up(&ct4, 3),
		 host = link_up(&ct4, 4), udp = link_up_dep(&ct4, 5, PROTO_UDP, no_dep), nodev = link_up(&ct4, 6);
	struct err e;
	const struct mac m = { { 2 } };
	uint32_t adj = adj_alloc(&e);
	adj_set_eth(adj, 9, &m, &m, 1500);
	ct_conn(&ct4, opening)->state = CT_SYN_RECV;
	ct_flow4(2 * oneway + 1)->in = 0;
	decide_record(&ct4, 2 * host, FLOW_IN_UPLINK, adj_host, no_dep);
	decide_record(&ct4, 2 * nodev, FLOW_IN_ENDPOINT | 1, adj, no_dep);
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		engine_moves(&ct4, i, 100);
	ticks(2);
	assert_int_equal(connections(), 1);
	assert_string_equal(export_state(&ct4, udp), "tc");
	assert_string_equal(export_state(&ct4, icmp), "proto");
	assert_string_equal(export_state(&ct4, opening), "state");
	assert_string_equal(export_state(&ct4, oneway), "one-way");
	assert_string_equal(export_state(&ct4, host), "host");
	assert_string_equal(export_state(&ct4, nodev), "path");
	ct_conn(&ct4, opening)->state = CT_ESTABLISHED;
	engine_moves(&ct4, opening, 100);
	ticks(1);
	assert_string_equal(export_state(&ct4, opening), "tc");
}

static void have_vtep(unsigned i, uint8_t first, uint16_t port)
{
	vteps[i] = (struct vtep){ .addr = first ? (struct ipaddr){ .b = { first, [15] = 1 } }
						: ip_from4(htonl(0xc0000201)),
				  .port = port };
}

/* The one port of sluice_vxlan. */
static void test_overlay_port(void **state)
{
	static struct replay_conf c;
	(void)state;
	assert_int_equal(export_overlay_port(&c), 0);
	c.port[2] = (struct replay_port){ 9, REPLAY_PORT_STRIP };
	have_vtep(1, 0xfd, 4789);
	assert_int_equal(export_overlay_port(&c), 4789);
	have_vtep(2, 0, 8472);
	have_vtep(3, 0, 8473);
	assert_int_equal(export_overlay_port(&c), 4789); /* XDP has those over IPv4 */
	c.port[3] = (struct replay_port){ 10, REPLAY_PORT_NETDEV };
	assert_int_equal(export_overlay_port(&c), 8472); /* not all of them */
	c.port[3].ifindex = 0;
	assert_int_equal(export_overlay_port(&c), 4789);
	have_vtep(4, 0xfe, 8472);
	assert_int_equal(export_overlay_port(&c), 8472); /* both families' */
	memset(&vteps[1], 0, sizeof(vteps[1]));
	memset(&vteps[4], 0, sizeof(vteps[4]));
	assert_int_equal(export_overlay_port(&c), 8472);
	memset(&vteps[2], 0, 2 * sizeof(vteps[2]));
}

static void test_path(void **state)
{
	(void)state;
	const char *why;
	const uint16_t both = REPLAY_BY_TC | REPLAY_BY_XDP;
	struct err e;
	const struct mac m = { { 2 } };
	uint32_t adj_veth = adj_alloc(&e);
	adj_set_eth(adj_veth, 3, &m, &m, 1500);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_UPLINK, adj_port, &why), both);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_UPLINK, adj_veth, &why), REPLAY_BY_TC);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_UPLINK, adj_box, &why), REPLAY_BY_TC);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_ENDPOINT | 3, adj_port, &why), REPLAY_BY_TC);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_ENDPOINT | 3, adj_host, &why), REPLAY_BY_TC);
	assert_int_equal(export_record_path(&conf, REPLAY_BY_XDP, FLOW_IN_ENDPOINT | 3, adj_port, &why), 0);
	assert_string_equal(why, "off");
	/* over IPv6 tc needs sluice_vxlan, on the VTEP's port */
	struct adj_tunnel t = { .port = 2, .remote.b[0] = 0xfd, .local.b[0] = 0xfd, .dport = 4789, .link_mtu = 1500 };
	uint32_t adj6 = adj_alloc(&e);
	adj_set_tunnel(adj6, &t);
	conf.overlay_ifindex = 7;
	conf.overlay_port = htons(8472);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_ENDPOINT | 3, adj6, &why), 0);
	assert_string_equal(why, "vtep-port");
	conf.overlay_port = htons(4789);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_UPLINK, adj6, &why), both);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_ENDPOINT | 3, adj6, &why), REPLAY_BY_TC);
	conf.overlay_ifindex = conf.overlay_port = 0;
	conf.port[2].flags &= ~(uint32_t)REPLAY_PORT_NETDEV;
	conf.port[3].flags = 0;
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_UPLINK, adj_box, &why), 0);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_UPLINK, adj_port, &why), REPLAY_BY_XDP);
	adj_free(adj_veth);
	assert_int_equal(export_record_path(&conf, both, FLOW_IN_ENDPOINT | 3, adj_veth, &why), 0);
}

/* ---- filter ---- */

static struct replay_flow4 flow_of(uint32_t n)
{
	return (struct replay_flow4){
		.key = { .src = htonl(0x0a000000 + n), .dst = 1, .sport = 2, .dport = 3, .zp = 17 }
	};
}

static uint64_t hash_of_flow(uint32_t n)
{
	const struct replay_flow4 f = flow_of(n);
	return replay_hash4(conf.seed, &f.key);
}

/* A bit that two records share goes with the second. Without records programs look at nothing. */
static void test_filter(void **state)
{
	(void)state;
	const uint64_t h = hash_of_flow(0);
	const uint32_t word = replay_filter_word(h, conf.buckets);
	uint32_t twin = 1, number[2];
	while (replay_filter_word(hash_of_flow(twin), conf.buckets) != word ||
	       replay_filter_bit(hash_of_flow(twin)) != replay_filter_bit(h))
		twin++;
	assert_false(conf.flags & REPLAY_SOME);
	for (unsigned i = 0; i < 2; i++) {
		const struct replay_flow4 f = flow_of(i ? twin : 0);
		number[i] = export_table_insert(false, &f, 1, now_ns);
		assert_int_not_equal(number[i], 0);
		assert_int_equal(filter[word], replay_filter_bit(h));
		assert_true(conf.flags & REPLAY_SOME);
	}
	export_table_remove(false, number[0], now_ns);
	assert_int_equal(filter[word], replay_filter_bit(h));
	assert_true(conf.flags & REPLAY_SOME);
	export_table_remove(false, number[1], now_ns);
	for (unsigned i = 0; i < BUCKETS / 2; i++)
		assert_int_equal(filter[i], 0);
	assert_int_equal(conf.flags & (REPLAY_ON | REPLAY_SOME), REPLAY_ON);
}

/* ---- capacity ---- */

static void test_full(void **state)
{
	(void)state;
	struct export_totals t;
	uint32_t conn[40];
	for (unsigned i = 0; i < 40; i++)
		conn[i] = link_up(&ct4, i);
	/* all alike: the table fills once, then nothing changes */
	for (unsigned n = 0; n < 100; n++) {
		for (unsigned i = 0; i < 40; i++)
			if (!kernel_moves(&ct4, conn[i], 10))
				engine_moves(&ct4, conn[i], 10);
		ticks(1);
	}
	export_read_totals(&t);
	assert_in_range(t.connections, 4, 7);
	assert_int_equal(t.promoted, t.connections);
	assert_int_equal(t.demoted, 0);
	assert_true(t.refused > 0);
	/* one ten times as fast finds room */
	unsigned full = 0, hot = 0;
	for (unsigned i = 0; i < 40; i++)
		if (!strcmp(export_state(&ct4, conn[i]), "full")) {
			full++;
			hot = i;
		}
	assert_int_equal(full, 40 - t.connections);
	bool in = false;
	for (unsigned n = 0; n < 60 && !in; n++) {
		for (unsigned i = 0; i < 40; i++)
			if (!kernel_moves(&ct4, conn[i], 10))
				engine_moves(&ct4, conn[i], i == hot ? 100 : 10);
		ticks(1);
		in = kernel_moves(&ct4, conn[hot], 100);
	}
	assert_true(in);
}

static void test_setting(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 7));
	settings.offload = OFFLOAD_OFF;
	export_setting_changed();
	assert_int_equal(conf.flags, 0);
	assert_false(kernel_moves(&ct4, i, 1));
	assert_int_equal(connections(), 0);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 7);
	assert_string_equal(export_state(&ct4, i), "off");
	engine_moves(&ct4, i, 100);
	ticks(2);
	assert_int_equal(connections(), 0);
	settings.offload = OFFLOAD_XDP;
	export_setting_changed();
	engine_moves(&ct4, i, 100);
	ticks(2);
	assert_string_equal(export_state(&ct4, i), "off"); /* containers belong to tc */
	settings.offload = OFFLOAD_TC;
	export_setting_changed();
	engine_moves(&ct4, i, 100);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
}

int main(void)
{
#define T(name, with) cmocka_unit_test_setup_teardown(name, with, teardown)
	const struct CMUnitTest tests[] = {
		T(test_promotes_warm, setup),  T(test_slow_gathers_within_a_second, setup),
		T(test_samples, setup),        T(test_cold_for_long, setup),
		T(test_without_df, setup),     T(test_after_a_pause, setup),
		T(test_who_is_refused, setup), T(test_path, setup),
		T(test_filter, setup),         T(test_overlay_port, setup),
		T(test_full, setup_small),     T(test_setting, setup),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
