/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay, the engine's side: what is promoted and demoted, what a record looks like, how counts come home. The kernel is
 * played by the test: it finds records as the programs do and counts in them. */
#include "tests/unit/ct_kit.h"

#include "fwd/base/clock.h"
#include "fwd/export.h"
#include "fwd/export_priv.h"
#include "fwd/export_record.h"
#include "fwd/replay.h"
#include "fwd/settings.h"
#include "tables/neighbor.h"

enum { FLOWS = 256, BUCKETS = 2 * FLOWS / REPLAY_WAYS, TICK = 100 };

static struct replay_conf conf;
static struct replay_bucket index_[BUCKETS];
static uint64_t filter[BUCKETS / 2];
static struct replay_flow4 flow4[FLOWS];
static struct replay_flow6 flow6[FLOWS];
static struct loader_replay area = { .conf = &conf, .index = index_, .filter = filter, .flow4 = flow4, .flow6 = flow6 };
static struct worker worker;
static uint64_t now_ns;
static uint32_t adj_port, adj_box, adj_host;

static void on_delete(unsigned slot, bool v6, uint32_t conn)
{
	(void)slot;
	export_stop(ct_of(v6), conn);
}

static void move_clock(unsigned ms)
{
	now_ns += ms * 1000000ull;
	clock_set(now_ns);
}

static uint32_t now_s(void)
{
	return (uint32_t)(now_ns / NS_PER_S);
}
static void ticks(unsigned n)
{
	while (n--) {
		move_clock(TICK);
		for (unsigned slices = 0; slices < 10 && export_tick(now_ns); slices++)
			;
	}
}

static int setup_with(uint32_t flows, uint8_t offload)
{
	struct err e = { "" };
	const struct mac m = { { 2, 0, 0, 0, 0, 1 } }, box = { { 0x02, 0xe1, 0, 0, 0, 10 } }, host = { { 0x02, 0xe3 } };
	if (open_with(20000, 20000) || neighbor_init(&e))
		return -1;
	ct_on_delete = on_delete;
	memset(&conf, 0, sizeof(conf));
	memset(index_, 0xaa, sizeof(index_)); /* what a dead process left */
	memset(filter, 0xaa, sizeof(filter));
	conf.flags = REPLAY_ON;
	conf.flows = flows;
	conf.buckets = 2 * flows / REPLAY_WAYS;
	conf.port[2] = (struct replay_port){ 7, REPLAY_PORT_REDIRECT | REPLAY_PORT_NETDEV };
	conf.port[3] = (struct replay_port){ 8, REPLAY_PORT_NETDEV };
	adj_set_eth(adj_port = adj_alloc(&e), 2, &m, &m, 1500);
	adj_set_eth(adj_box = adj_alloc(&e), 0, &m, &box, 1500);
	adj_set_eth(adj_host = adj_alloc(&e), 0, &m, &host, 1500);
	now_ns = 1000 * NS_PER_S;
	clock_set(now_ns);
	settings.offload = offload;
	workers[0] = &worker;
	n_workers = 1;
	return export_init(&area, &e);
}

static int setup(void **state)
{
	(void)state;
	return setup_with(FLOWS, OFFLOAD_ON);
}

static int setup_small(void **state)
{
	(void)state;
	return setup_with(16, OFFLOAD_ON);
}

static int teardown(void **state)
{
	export_fini();
	assert_int_equal(conf.flags, 0);
	clock_set(0);
	settings.offload = OFFLOAD_ON;
	neighbor_fini();
	return close_all(state);
}

static const uint16_t no_dep[4] = { 0 };

/* Its packets leave as the reverse of what the other direction comes in as. */
static void decide_record(struct ct *c, uint32_t r, uint32_t in, uint32_t adj, const uint16_t dep[4])
{
	struct tuple other, out;
	tuple_of_key(c->v6, record(c, r ^ 1), &other);
	tuple_reverse(&other, &out);
	record_write(c, r, &out, adj, &(struct flow_from){ .in = in }, dep, gen_begin());
}

/* An established connection number 'n': container 10 to uplink port 2, port changed on the way out. */
static uint32_t link_up_dep(struct ct *c, unsigned n, uint8_t proto, const uint16_t dep[4])
{
	uint8_t fwd[40], rev[40];
	uint32_t present;
	int err;
	make_key(c, fwd, 1, 1000 + n, 9, 80, proto);
	make_key(c, rev, 9, 80, 5, 30000 + n, proto);
	uint32_t i = create(c, 0, fwd, rev, proto, now_s(), &err, &present);
	assert_int_not_equal(i, 0);
	ct_conn(c, i)->state = proto == PROTO_TCP ? CT_ESTABLISHED : CT_REPLIED;
	decide_record(c, 2 * i, FLOW_IN_ENDPOINT | 10, adj_port, dep);
	decide_record(c, 2 * i + 1, FLOW_IN_UPLINK, adj_box, dep);
	worker_sample(&worker, 2 * i, c->v6);
	export_look(now_ns); /* its window begins */
	return i;
}

static uint32_t link_up(struct ct *c, unsigned n)
{
	return link_up_dep(c, n, PROTO_TCP, no_dep);
}

/* The engine replays 'n' packets each way. */
static void engine_moves(struct ct *c, uint32_t conn, uint32_t n)
{
	for (unsigned d = 0; d < 2; d++) {
		uint32_t *packets = c->v6 ? &ct_flow6(2 * conn + d)->packets : &ct_flow4(2 * conn + d)->packets;
		*packets += n;
		set_seen(c, 2 * conn + d, now_s());
	}
	worker_sample(&worker, 2 * conn, c->v6);
}

/* The record a program finds for record 'r' of the engine, NULL: none. */
static void *kernel_find(struct ct *c, uint32_t r)
{
	uint64_t h = c->v6 ? replay_hash6(conf.seed, record(c, r)) : replay_hash4(conf.seed, record(c, r));
	if (!(conf.flags & REPLAY_ON) || !(conf.flags & REPLAY_SOME) ||
	    !(filter[replay_filter_word(h, conf.buckets)] & replay_filter_bit(h)))
		return NULL;
	for (unsigned i = 0; i < 2; i++) {
		const struct replay_bucket *b = &index_[replay_bucket(h, conf.buckets, i)];
		for (unsigned w = 0; w < REPLAY_WAYS; w++) {
			uint32_t n = b->idx[w] & ~REPLAY_V6;
			if (b->tag[w] != replay_tag(h) || !!(b->idx[w] & REPLAY_V6) != c->v6)
				continue;
			void *k = c->v6 ? (void *)&flow6[n] : (void *)&flow4[n];
			if (!memcmp(k, record(c, r), c->idx.key_len))
				return k;
		}
	}
	return NULL;
}

static bool kernel_valid(struct ct *c, void *k)
{
	struct replay_flow4 *a = k;
	struct replay_flow6 *b = k;
	return k && (c->v6 ? b->gensum == gen_sum(b->dep) : a->gensum == gen_sum(a->dep));
}

/* Does the kernel replay both directions? Then it counts 'n' packets of 100 bytes in each. */
static bool kernel_moves(struct ct *c, uint32_t conn, uint32_t n)
{
	for (unsigned d = 0; d < 2; d++) {
		void *k = kernel_find(c, 2 * conn + d);
		if (!kernel_valid(c, k))
			return false;
		struct replay_use *u = c->v6 ? &((struct replay_flow6 *)k)->use : &((struct replay_flow4 *)k)->use;
		u->packets += n;
		u->bytes += 100 * n;
		u->seen = REPLAY_SEEN_NOW(now_ns);
	}
	return true;
}

static uint32_t connections(void)
{
	struct export_totals t;
	export_read_totals(&t);
	return t.connections;
}

/* ---- promotion ---- */

static void test_promotes_warm(void **state)
{
	(void)state;
	assert_int_equal(conf.flags, REPLAY_ON);
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
		worker_sample(&worker, n % 3 ? 0x7ffffffe : 2 * 1500, n & 1);
	engine_moves(&ct4, hot, 100);
	ticks(1);
	assert_false(kernel_moves(&ct4, old, 1));
	assert_true(kernel_moves(&ct4, hot, 1));
	/* nothing passed: nobody is looked at, and there is no hurry */
	assert_false(export_tick(now_ns));
	worker_sample(&worker, 2 * old, false);
	assert_true(export_tick(now_ns));
	assert_true(kernel_moves(&ct4, old, 1));
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

/* ---- records ---- */

static uint16_t fold(uint64_t s)
{
	return csum_fold(s);
}

static void test_record(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ct *c = ct_of(v6);
		uint32_t i = link_up(c, 1);
		engine_moves(c, i, 10);
		ticks(1);
		for (unsigned d = 0; d < 2; d++) {
			const struct replay_flow4 *a = kernel_find(c, 2 * i + d);
			const struct replay_flow6 *b = kernel_find(c, 2 * i + d);
			assert_non_null(a);
			if (v6) {
				const struct flow6 *f = ct_flow6(2 * i + d);
				assert_int_equal(b->in, f->in);
				assert_int_equal(b->adj, f->adj);
				assert_memory_equal(b->dst, f->dst, 16);
				assert_int_equal(b->dport, f->dport);
				/* the two parts are the engine's one */
				assert_int_equal(fold((uint64_t)b->d_addr + b->d_port) % 0xffff, f->d4 % 0xffff);
				assert_int_equal(b->use.owner, 2 * i + d);
			} else {
				const struct flow4 *f = ct_flow4(2 * i + d);
				assert_int_equal(a->in, f->in);
				assert_int_equal(a->adj, f->adj);
				assert_int_equal(a->d3, f->d3);
				assert_int_equal(a->src, f->src);
				assert_int_equal(a->sport, f->sport);
				assert_int_equal(fold((uint64_t)a->d_addr + a->d_port) % 0xffff, f->d4 % 0xffff);
				assert_int_equal(a->use.seen, REPLAY_SEEN_NOW(now_ns));
				assert_int_equal(a->flags, REPLAY_BY_TC);
			}
		}
	}
}

static void test_counts_come_home(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1000));
	struct export_count n = export_counted(&ct4, i, 0);
	assert_int_equal(n.packets, 1000);
	assert_int_equal(n.bytes, 100000);
	move_clock(3000);
	assert_true(kernel_moves(&ct4, i, 500));
	ticks(1);
	assert_int_equal(export_counted(&ct4, i, 1).packets, 1500);
	assert_in_range(ct_flow4(2 * i)->seen, now_s() - 1, now_s() + 1);
	/* they stay when it leaves the kernel, and come on top when it returns */
	move_clock(7000);
	ticks(1);
	assert_int_equal(connections(), 0);
	assert_null(kernel_find(&ct4, 2 * i));
	assert_int_equal(export_counted(&ct4, i, 0).packets, 1500);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	assert_int_equal(export_counted(&ct4, i, 0).packets, 1501);
	/* and end with the connection: another one in its place starts at zero */
	assert_true(ct_delete(&ct4, 0, i));
	ticks(1);
	uint32_t next = 0;
	for (unsigned k = 2; k < 3000 && next != i; k++) {
		rcu_poll_deferred();
		next = link_up(&ct4, k);
	}
	assert_int_equal(next, i);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 0);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 0);
	assert_true(kernel_moves(&ct4, i, 1));
}

static void test_new_decision(void **state)
{
	(void)state;
	const uint16_t dep[4] = { 100, 0, 0, 0 };
	uint32_t i = link_up_dep(&ct4, 1, PROTO_TCP, dep);
	struct export_totals t;
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	gen_bump(100);
	assert_false(kernel_moves(&ct4, i, 1)); /* at once, without us */
	ticks(1);
	assert_false(kernel_moves(&ct4, i, 1));
	decide_record(&ct4, 2 * i, FLOW_IN_ENDPOINT | 10, adj_port, dep);
	decide_record(&ct4, 2 * i + 1, FLOW_IN_UPLINK, adj_box, dep);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	export_read_totals(&t);
	assert_int_equal(t.renewed, 2);
	assert_int_equal(t.promoted, 1);
	/* old numbers rest: theirs are not used again for two seconds */
	assert_int_equal(t.resting[0], 2);
	ticks(31);
	kernel_moves(&ct4, i, 1);
	export_read_totals(&t);
	assert_int_equal(export_table_free(false, now_ns), FLOWS - 1 - 2);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 3);
}

/* Decided anew between the copy and its place in the kernel's table: who did that could not see the place yet. */
static void test_changed_on_its_way(void **state)
{
	const uint16_t dep[4] = { 100, 0, 0, 0 };
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ct *c = ct_of(v6);
		const uint32_t i = link_up(c, 1);
		for (unsigned changed = 0; changed < 2; changed++) {
			struct export_pair p = { .conn = i, .v6 = v6 };
			union export_record k;
			assert_true(export_record_copy(c, 2 * i, &k));
			gen_bump(100);
			if (changed)
				decide_record(c, 2 * i, FLOW_IN_ENDPOINT | 10, adj_host, dep);
			assert_true(export_write_record(&p, 0, &k, now_ns));
			assert_int_equal(kernel_valid(c, kernel_find(c, 2 * i)), !changed);
			export_table_remove(v6, p.number[0], now_ns);
			export_totals.records[v6]--;
		}
	}
}

static void test_end_of_connection(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1), k = link_up(&ct4, 2);
	engine_moves(&ct4, i, 10);
	engine_moves(&ct4, k, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	record_stop_both(&ct4, 2 * i); /* an RST */
	ct_conn(&ct4, i)->state = CT_RST_SEEN;
	assert_false(kernel_valid(&ct4, kernel_find(&ct4, 2 * i)));
	assert_false(kernel_valid(&ct4, kernel_find(&ct4, 2 * i + 1)));
	assert_true(kernel_moves(&ct4, k, 1));
	ticks(1);
	assert_int_equal(connections(), 1);
	assert_string_equal(export_state(&ct4, i), "state");
	export_stop(&ct4, k); /* twice does not bring it back */
	export_stop(&ct4, k);
	assert_false(kernel_moves(&ct4, k, 1));
	ticks(1);
	assert_true(kernel_moves(&ct4, k, 1));
	assert_true(ct_delete(&ct4, 0, k));
	assert_false(kernel_moves(&ct4, k, 1));
	ticks(1);
	assert_int_equal(connections(), 0);
}

/* ---- time ---- */

static void test_no_expiry_while_offloaded(void **state)
{
	(void)state;
	uint32_t saved = ct_timeouts[CT_T_TCP_ESTABLISHED];
	uint32_t i = link_up(&ct4, 1);
	ct_timeouts[CT_T_TCP_ESTABLISHED] = 10;
	engine_moves(&ct4, i, 10);
	ticks(1);
	for (unsigned n = 0; n < 5; n++) { /* no tick in between: only the question helps */
		move_clock(9000);
		assert_true(kernel_moves(&ct4, i, 1));
		move_clock(8000);
		ct_age(&ct4, 0, 1, 100000, now_s());
		assert_true(ct_is_live(&ct4, i));
		assert_in_range(ct_remaining(&ct4, i, now_s()), 1, 4);
	}
	move_clock(12000);
	ct_age(&ct4, 0, 1, 100000, now_s());
	assert_false(ct_is_live(&ct4, i));
	assert_false(kernel_moves(&ct4, i, 1));
	ct_timeouts[CT_T_TCP_ESTABLISHED] = saved;
}

static void test_quiet_direction_stays(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	engine_moves(&ct4, i, 10);
	ticks(1);
	for (unsigned n = 0; n < 200; n++) {
		struct replay_flow4 *k = kernel_find(&ct4, 2 * i);
		assert_non_null(k);
		k->use.packets += 10;
		k->use.seen = REPLAY_SEEN_NOW(now_ns);
		ticks(1);
	}
	struct replay_flow4 *quiet = kernel_find(&ct4, 2 * i + 1);
	assert_true(now_ns - ((uint64_t)quiet->use.seen << REPLAY_SEEN_SHIFT) < 3 * NS_PER_S);
	assert_int_equal(export_counted(&ct4, i, 1).packets, 0);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 2000);
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
	assert_int_equal(conf.flags, REPLAY_ON);
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
		T(test_promotes_warm, setup),
		T(test_slow_gathers_within_a_second, setup),
		T(test_samples, setup),
		T(test_cold_for_long, setup),
		T(test_after_a_pause, setup),
		T(test_who_is_refused, setup),
		T(test_path, setup),
		T(test_record, setup),
		T(test_counts_come_home, setup),
		T(test_new_decision, setup),
		T(test_changed_on_its_way, setup),
		T(test_end_of_connection, setup),
		T(test_no_expiry_while_offloaded, setup),
		T(test_quiet_direction_stays, setup),
		T(test_filter, setup),
		T(test_full, setup_small),
		T(test_setting, setup),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
