/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-core: cycles a packet of the engine, device I/O excluded. One core, bursts of 64 out of 4096 frames, flows drawn at
 * random; every connection was decided by the engine itself (its first packet ran the decision path), counters on.
 *
 * Cases: route (policy + conntrack), snat (the same with masquerade), encap and decap (VXLAN), each followed by 6 for IPv6;
 * 'both' draws packets of both directions. A line a case: bench-core CASE flows N cycles C mpps M (median of 9 rounds).
 * 'decide' is the first packet of a connection with everything, connection creation included. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/decide.h"
#include "fwd/engine.h"
#include "fwd/gate.h"
#include "fwd/resolve.h"
#include "fwd/settings.h"
#include "tables/ipmasq.h"
#include "tables/nat.h"

enum { FRAMES = 4096, ROUNDS = 9, PASSES = 32, EP_ID = 10, PORTS_PER_DST = 50000 };

static uint8_t *frames[FRAMES];
static struct worker *w;

struct bench_case {
	const char *name;
	bool v6, snat, remote, both,
		reply; /* remote: endpoint to a remote node; reply: packets from outside or overlay */
};
static const struct bench_case cases[] = {
	{ "route", false, false, false, false, false },   { "snat", false, true, false, false, false },
	{ "snat-both", false, true, false, true, false }, { "encap", false, false, true, false, false },
	{ "decap", false, false, true, false, true },     { "route6", true, false, false, false, false },
	{ "snat6", true, true, false, false, false },     { "encap6", true, false, true, false, false },
	{ "decap6", true, false, true, false, true },
};

static void die(const char *what, const struct err *e)
{
	fprintf(stderr, "bench-core: %s: %s\n", what, e->text);
	exit(1);
}
#define MUST(call)                                                                                                     \
	do {                                                                                                           \
		struct err e = { "" };                                                                                 \
		if ((call) < 0)                                                                                        \
			die(#call, &e);                                                                                \
	} while (0)

/* ---- a port that sends into the void; frames stay the bench's ---- */
static int void_open(struct port *p, struct err *e)
{
	(void)e;
	p->n_queues = p->n_tx_queues = 1;
	p->mtu = 1500;
	p->ifindex = p->index + 100u;
	p->mac = (struct mac){ { 2, 0, 0, 0, 0, (uint8_t)p->index } };
	p->up = true;
	p->mode_text = "void";
	return 0;
}
static void void_close(struct port *p, bool clean)
{
	(void)p;
	(void)clean;
}
static unsigned void_rx(struct port_queue *q, struct frame_cache *c, struct pkt *p, unsigned max)
{
	(void)q;
	(void)c;
	(void)p;
	(void)max;
	return 0;
}
static unsigned void_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n)
{
	(void)q;
	(void)c;
	(void)d;
	return n;
}
static int void_wait_fd(struct port_queue *q)
{
	(void)q;
	return -1;
}
static const struct port_ops void_ops = {
	.kind = "void", .open = void_open, .close = void_close, .rx = void_rx, .tx = void_tx, .wait_fd = void_wait_fd
};

static struct port *add_port(unsigned index, const char *name)
{
	static struct port store[4];
	static unsigned n;
	struct port *p = &store[n++];
	snprintf(p->conf.name, sizeof(p->conf.name), "%s", name);
	p->ops = &void_ops;
	p->index = (uint16_t)index;
	void_open(p, NULL);
	p->queue[0] = (struct port_queue){ .port = p };
	ports[index] = p;
	return p;
}

static struct ipaddr addr(const char *s)
{
	struct ipaddr a;
	if (!ip_parse(s, &a))
		abort();
	return a;
}
static struct ipnet net(const char *s)
{
	struct ipnet n;
	if (!ipnet_parse(s, &n))
		abort();
	return n;
}

static void add_route(const char *prefix, const char *via, unsigned port)
{
	struct fib_route r = { .prefix = net(prefix), .kind = FIB_UNICAST, .table = 254, .n = 1 };
	r.nh[0] = (struct fib_nexthop){ .gateway = addr(via), .ifindex = port + 100u, .port = (int)port, .weight = 1 };
	MUST(fib_add(&r, &e));
	struct mac m = { { 2, 1, 0, 0, 0, (uint8_t)port } };
	struct neighbor nb = { .mac = m, .state = NEIGHBOR_REACHABLE, .source = NEIGHBOR_STATIC };
	struct neighbor_key k = { .ip = addr(via), .dev = port };
	if (!(nb.adj = adj_alloc(NULL)))
		abort();
	adj_set_eth(nb.adj, (uint16_t)port, &ports[port]->mac, &m, 1500);
	MUST(neighbor_set(&k, &nb, &e));
}

static void add_remote(void)
{
	struct vtep v = { .addr = addr("192.0.2.1"), .port = 4789, .mode = VNI_NETWORK };
	struct ipaddr r = addr("192.0.2.2");
	MUST(vtep_add(&v, &e));
	for (int six = 0; six < 2; six++) {
		struct ipnet n = net(six ? "fd02::/64" : "10.2.0.0/16");
		struct tunnel_value t = { .vni = 300,
					  .flags = TUNNEL_VNI | TUNNEL_VIA,
					  .via = addr(six ? "fd03::2" : "10.3.0.2") };
		MUST(tunnel_set(&n, &r, &t, &e));
		struct neighbor_key k = { .ip = t.via, .dev = NEIGHBOR_REMOTE | t.remote, .vni = 300 };
		struct neighbor nb = { .state = NEIGHBOR_REACHABLE, .source = NEIGHBOR_STATIC, .adj = adj_alloc(NULL) };
		struct adj_tunnel a = { .port = PORT_FIRST,
					.outer_src = ports[PORT_FIRST]->mac,
					.outer_dst = { { 2, 1, 0, 0, 0, 9 } },
					.inner_src = gate_gateway_mac,
					.inner_dst = { { 2, 1, 0, 0, 0, 8 } },
					.local = v.addr,
					.remote = r,
					.dport = 4789,
					.vni = 300,
					.link_mtu = 1500 };
		adj_set_tunnel(nb.adj, &a);
		MUST(neighbor_set(&k, &nb, &e));
	}
}

static void setup(void)
{
	struct err e = { "" };
	if (frames_init(16384, &e) || endpoint_init(&e) || ipcache_init(&e) || ipmasq_init(&e) || tunnel_init(&e) ||
	    neighbor_init(&e) || policy_init(&e) || nat_init(&e) || ct_init(1100000, 1100000, &e) || fib_init(&e) ||
	    resolve_init(&e) || workers_init(1, &e))
		die("init", &e);
	ct_on_delete = decide_connection_gone;
	w = workers[0];
	add_port(PORT_GATE, "gate");
	add_port(PORT_FIRST, "up0");
	add_port(PORT_FIRST + 1, "up1");
	workers_assign();
	add_route("0.0.0.0/0", "198.51.100.2", PORT_FIRST + 1);
	add_route("::/0", "2001:db8:2::2", PORT_FIRST + 1);
	add_remote();
	struct endpoint ep = { .id = EP_ID,
			       .identity = 1001,
			       .device = "lxc10",
			       .mac = { { 2, 2, 0, 0, 0, 10 } },
			       .mac_fixed = true,
			       .n_addrs = 2,
			       .addr = { addr("10.1.0.10"), addr("fd01::10") } };
	ep.adj = resolve_endpoint_adj(0, EP_ID, &ep.mac, &e);
	if (!ep.adj || endpoint_set(&ep, &e))
		die("endpoint", &e);
	struct policy_rule r = {
		.subject = POLICY_ENDPOINT, .subject_id = EP_ID, .direction = POLICY_EGRESS, .verdict = POLICY_ALLOW
	};
	if (policy_add(&r, &e) || policy_commit(&e))
		die("policy", &e);
	for (int i = 0; i < FRAMES; i++)
		frames[i] = frame_get(&w->frames);
}

static void pools(bool on)
{
	static const char *const a[] = { "198.51.100.1", "2001:db8:2::1" };
	for (int i = 0; i < 2; i++) {
		struct nat_pool p = {
			.addr = addr(a[i]), .port_lo = 1024, .port_hi = 65535, .port = -1, .filter = NAT_ADF
		};
		if (on)
			MUST(nat_pool_add(&p, &e));
		else
			MUST(nat_pool_del(&p.addr, &e));
	}
}

/* Frame of flow 'f' as the container sends it; 60 bytes for IPv4, 62 for IPv6, UDP with a checksum. */
static uint32_t build(uint8_t *b, const struct bench_case *c, uint32_t f)
{
	const char *net4 = c->remote ? "10.2.0.0" : "203.0.0.0", *net6 = c->remote ? "fd02::" : "2001:db8:9::";
	struct mac stamp = gate_stamp(GATE_ENDPOINT, EP_ID);
	const struct ipaddr src = addr(c->v6 ? "fd01::10" : "10.1.0.10");
	struct ipaddr dst = addr(c->v6 ? net6 : net4);
	uint8_t *l3 = b + ETH_HLEN_, *l4 = l3 + (c->v6 ? IP6_HLEN : IP4_HLEN);
	const uint16_t payload = 18, udp = UDP_HLEN + payload;
	wr16(dst.b + 14, (uint16_t)(1 + f / PORTS_PER_DST));
	memcpy(b, (uint8_t[]){ 2, 2, 0, 0, 0, 10 }, 6);
	memcpy(b + 6, stamp.b, 6);
	wr16(b + 12, c->v6 ? ET_IP6 : ET_IP4);
	memset(l3, 0, 80);
	if (c->v6) {
		l3[0] = 0x60;
		wr16(l3 + 4, udp);
		l3[6] = PROTO_UDP;
		l3[7] = 64;
		memcpy(l3 + 8, src.b, 16);
		memcpy(l3 + 24, dst.b, 16);
	} else {
		l3[0] = 0x45;
		wr16(l3 + 2, IP4_HLEN + udp);
		l3[8] = 64;
		l3[9] = PROTO_UDP;
		memcpy(l3 + 12, src.b + 12, 4);
		memcpy(l3 + 16, dst.b + 12, 4);
		st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
	}
	wr16(l4, (uint16_t)(2000 + f % PORTS_PER_DST));
	wr16(l4 + 2, 5001);
	wr16(l4 + 4, udp);
	unsigned alen = c->v6 ? 16 : 4, off = c->v6 ? 8 : 12;
	st16(l4 + 6,
	     (uint16_t)~csum_fold(csum_add(l4, udp, csum_pseudo(l3 + off, l3 + off + alen, alen, PROTO_UDP, udp))));
	return ETH_HLEN_ + (c->v6 ? IP6_HLEN : IP4_HLEN) + udp;
}

/* What the other side answers to the frame that the engine sent for 'f': read from the flow's record. */
static uint32_t build_reply(uint8_t *b, const struct bench_case *c, uint32_t f)
{
	uint8_t key[40];
	struct pkt p = { .data = b, .len = build(b, c, f) };
	parse_frame(&p);
	struct tuple t, rev;
	tuple_of_pkt(&p, &t);
	uint64_t h = tuple_key(&t, key);
	struct ct *ct = ct_of(c->v6);
	uint32_t r = ct_find(ct, key, h, w->now_s);
	if (!r)
		abort();
	tuple_of_key(c->v6, c->v6 ? (void *)&ct_flow6(r ^ 1)->key : (void *)&ct_flow4(r ^ 1)->key, &rev);
	uint8_t *e = c->remote ? b + 50 : b, *l3 = e + ETH_HLEN_;
	uint32_t l3_len = p.l3_len;
	memmove(l3, p.l3, l3_len);
	uint8_t *l4 = l3 + (c->v6 ? IP6_HLEN : IP4_HLEN);
	memcpy(e, c->remote ? gate_gateway_mac.b : ports[PORT_FIRST + 1]->mac.b, 6);
	memcpy(e + 6, (uint8_t[]){ 2, 1, 0, 0, 0, 8 }, 6);
	wr16(e + 12, c->v6 ? ET_IP6 : ET_IP4);
	unsigned alen = c->v6 ? 16 : 4, off = c->v6 ? 8 : 12, skip = c->v6 ? 0 : 12;
	memcpy(l3 + off, rev.src.b + skip, alen);
	memcpy(l3 + off + alen, rev.dst.b + skip, alen);
	st16(l4, rev.sport);
	st16(l4 + 2, rev.dport);
	uint16_t udp = rd16(l4 + 4);
	st16(l4 + 6, 0);
	st16(l4 + 6,
	     (uint16_t)~csum_fold(csum_add(l4, udp, csum_pseudo(l3 + off, l3 + off + alen, alen, PROTO_UDP, udp))));
	if (!c->v6) {
		st16(l3 + 10, 0);
		st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
	}
	if (!c->remote)
		return ETH_HLEN_ + l3_len;
	struct adj_tunnel a = { .port = PORT_FIRST,
				.outer_dst = ports[PORT_FIRST]->mac,
				.outer_src = { { 2, 1, 0, 0, 0, 9 } },
				.inner_src = { { 2, 1, 0, 0, 0, 8 } },
				.inner_dst = gate_gateway_mac,
				.local = addr("192.0.2.2"),
				.remote = addr("192.0.2.1"),
				.dport = 4789,
				.vni = 300,
				.link_mtu = 1500 };
	static uint32_t tmp;
	if (!tmp)
		tmp = adj_alloc(NULL);
	adj_set_tunnel(tmp, &a);
	const struct adj *t2 = adj_at(tmp);
	memcpy(b, t2->tmpl, 50);
	wr16(b + 16, (uint16_t)(36 + ETH_HLEN_ + l3_len));
	st16(b + 24, 0);
	st16(b + 24, (uint16_t)~csum_fold(csum_add(b + 14, IP4_HLEN, 0)));
	wr16(b + 34, 0xc000 | (uint16_t)(h & 0x3fff));
	wr16(b + 38, (uint16_t)(16 + ETH_HLEN_ + l3_len));
	return 50 + ETH_HLEN_ + l3_len;
}

static void one(uint8_t *f, uint32_t len, uint16_t port)
{
	struct pkt p = { .data = f, .len = len, .port = port };
	uint64_t sent = w->replayed + w->decided, dropped = w->port[port].dropped.packets;
	engine_burst(w, &p, 1);
	if (w->port[port].dropped.packets != dropped || w->n_held || w->replayed + w->decided != sent + 1) {
		fprintf(stderr, "bench-core: a packet was dropped or held:");
		for (unsigned i = 0; i < ARRAY_LEN(w->drops); i++)
			if (w->drops[i].packets)
				fprintf(stderr, " %s", drop_text(i));
		fprintf(stderr, "\n");
		exit(1);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double hz(void)
{
	static double v;
	if (v > 0)
		return v;
	uint64_t t0 = clock_ns(), c0 = clock_cycles();
	while (clock_ns() - t0 < 50000000)
		;
	return v = (double)(clock_cycles() - c0) * 1e9 / (double)(clock_ns() - t0);
}

static void print(const char *name, uint32_t flows, double cycles)
{
	printf("bench-core %s flows %u cycles %.1f mpps %.2f\n", name, flows, cycles, hz() / cycles / 1e6);
	fflush(stdout);
}

static void clear_flows(const struct bench_case *c)
{
	struct ct *ct = ct_of(c->v6);
	for (uint32_t i = ct_next(ct, 0); i; i = ct_next(ct, i))
		ct_delete(ct, w->slot, i);
	rcu_wait();
	rcu_wait();
}

static void run(const struct bench_case *c, uint32_t flows)
{
	static struct pkt pkts[FRAMES];
	static uint32_t len[FRAMES];
	static uint16_t port[FRAMES];
	double round[ROUNDS];
	char name[32];
	uint64_t decided = w->decided, t0 = clock_cycles();
	if (c->snat)
		pools(true);
	uint8_t *b = frame_get(&w->frames);
	for (uint32_t f = 0; f < flows; f++)
		one(b, build(b, c, f), PORT_GATE);
	double setup_cycles = (double)(clock_cycles() - t0) / flows;
	if (w->decided - decided < flows)
		fprintf(stderr, "bench-core: %s: some first packets were not decided\n", c->name);
	if (c->both || c->reply)
		for (uint32_t f = 0; f < flows; f++)
			one(b, build_reply(b, c, f), c->remote ? PORT_FIRST : PORT_FIRST + 1);
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t spent = 0, replayed = w->replayed;
		for (int pass = 0; pass < PASSES; pass++) {
			for (int i = 0; i < FRAMES; i++) {
				uint32_t f = (uint32_t)(((uint64_t)worker_random(w) * flows) >> 32);
				bool back = c->reply || (c->both && i & 1);
				len[i] = back ? build_reply(frames[i], c, f) : build(frames[i], c, f);
				port[i] = back ? (c->remote ? PORT_FIRST : PORT_FIRST + 1) : PORT_GATE;
			}
			uint64_t t = clock_cycles();
			for (int i = 0; i < FRAMES; i += BURST_MAX) {
				for (int k = i; k < i + BURST_MAX; k++)
					pkts[k - i] = (struct pkt){ .data = frames[k], .len = len[k], .port = port[k] };
				engine_burst(w, pkts, BURST_MAX);
			}
			spent += clock_cycles() - t;
			if (flows > 100000 && pass == PASSES / 4)
				break;
		}
		uint64_t n = w->replayed - replayed;
		round[r] = (double)spent / (double)n;
		if (n % FRAMES) {
			fprintf(stderr, "bench-core: %s: not every packet was replayed\n", c->name);
			exit(1);
		}
	}
	qsort(round, ROUNDS, sizeof(round[0]), by_value);
	print(c->name, flows, round[ROUNDS / 2]);
	if (flows > 10000) { /* fewer: page faults of fresh arenas, not decisions */
		snprintf(name, sizeof(name), "decide-%s", c->name);
		print(name, flows, setup_cycles);
	}
	clear_flows(c);
	frame_put(&w->frames, b);
	if (c->snat)
		pools(false);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 1024, 64 * 1024, 1000 * 1000 };
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(1 % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	hash_init(0);
	rcu_thread_register();
	setup();
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		for (unsigned k = 0; k < ARRAY_LEN(sizes); k++)
			if (argc < 2 || strcmp(argv[1], cases[i].name) == 0)
				run(&cases[i], sizes[k]);
	return 0;
}
