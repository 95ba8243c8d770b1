/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of kernel replay, the engine's side, share. The kernel is played by them: it finds records as the programs do and
 * counts in them. One worker, which leaves a sample for each move of a connection. */
#pragma once

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

static inline void on_delete(unsigned slot, bool v6, uint32_t conn)
{
	(void)slot;
	export_stop(ct_of(v6), conn);
}

static inline void move_clock(unsigned ms)
{
	now_ns += ms * 1000000ull;
	clock_set(now_ns);
}

static inline uint32_t now_s(void)
{
	return (uint32_t)(now_ns / NS_PER_S);
}
static inline void ticks(unsigned n)
{
	while (n--) {
		move_clock(TICK);
		for (unsigned slices = 0; slices < 10 && export_tick(now_ns); slices++)
			;
	}
}

static inline int setup_with(uint32_t flows, uint8_t offload)
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

static inline int setup(void **state)
{
	(void)state;
	return setup_with(FLOWS, OFFLOAD_ON);
}

static inline int setup_small(void **state)
{
	(void)state;
	return setup_with(16, OFFLOAD_ON);
}

static inline int teardown(void **state)
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
static inline void decide_record(struct ct *c, uint32_t r, uint32_t in, uint32_t adj, const uint16_t dep[4])
{
	struct tuple other, out;
	tuple_of_key(c->v6, record(c, r ^ 1), &other);
	tuple_reverse(&other, &out);
	record_write(c, r, &out, adj, &(struct flow_from){ .in = in }, dep, gen_begin());
}

/* An established connection number 'n': container 10 to uplink port 2, port changed on the way out. */
static inline uint32_t link_up_dep(struct ct *c, unsigned n, uint8_t proto, const uint16_t dep[4])
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
	worker_sample(&worker, 2 * i | (c->v6 ? SAMPLE_V6 : 0));
	export_look(now_ns); /* its window begins */
	return i;
}

static inline uint32_t link_up(struct ct *c, unsigned n)
{
	return link_up_dep(c, n, PROTO_TCP, no_dep);
}

/* The engine replays 'n' packets each way. */
static inline void engine_moves(struct ct *c, uint32_t conn, uint32_t n)
{
	for (unsigned d = 0; d < 2; d++) {
		uint32_t *packets = c->v6 ? &ct_flow6(2 * conn + d)->packets : &ct_flow4(2 * conn + d)->packets;
		*packets += n;
		set_seen(c, 2 * conn + d, now_s());
	}
	worker_sample(&worker, 2 * conn | (c->v6 ? SAMPLE_V6 : 0));
}

/* The record a program finds for record 'r' of the engine, NULL: none. */
static inline void *kernel_find(struct ct *c, uint32_t r)
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

static inline bool kernel_valid(struct ct *c, void *k)
{
	struct replay_flow4 *a = k;
	struct replay_flow6 *b = k;
	return k && (c->v6 ? b->gensum == gen_sum(b->dep) : a->gensum == gen_sum(a->dep));
}

/* Does the kernel replay both directions? Then it counts 'n' packets of 100 bytes in each. */
static inline bool kernel_moves(struct ct *c, uint32_t conn, uint32_t n)
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

static inline uint32_t connections(void)
{
	struct export_totals t;
	export_read_totals(&t);
	return t.connections;
}
