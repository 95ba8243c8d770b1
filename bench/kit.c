/* SPDX-License-Identifier: BSD-2-Clause */
/* The gateway that benchmarks measure (kit.h): its tables are filled by the calls that the control thread uses, its frames
 * by hand. Every route leaves by up1, the tunnel by up0, replies come in by the same. */
#include "bench/kit.h"

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
#include "tables/affinity.h"
#include "tables/ipmasq.h"
#include "tables/maglev.h"
#include "tables/nat.h"

const char *kit_program = "bench";
unsigned kit_endpoints = 1, kit_spread = 1;

void kit_die(const char *what, const char *text)
{
	fprintf(stderr, "%s: %s: %s\n", kit_program, what, text);
	exit(1);
}

/* ---- a port that sends into the void; frames stay the bench's ---- */
static int void_open(struct port *p, struct err *e)
{
	(void)e;
	p->n_queues = p->n_tx_queues = (uint16_t)n_workers;
	for (unsigned i = 0; i < n_workers; i++)
		p->queue[i] = (struct port_queue){ .port = p, .index = (uint16_t)i };
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

static void add_port(unsigned index, const char *name)
{
	static struct port store[4];
	static unsigned n;
	struct port *p = &store[n++];
	snprintf(p->conf.name, sizeof(p->conf.name), "%s", name);
	p->ops = &void_ops;
	p->index = (uint16_t)index;
	void_open(p, NULL);
	ports[index] = p;
}

struct ipaddr kit_addr(const char *s)
{
	struct ipaddr a;
	if (!ip_parse(s, &a))
		abort();
	return a;
}
struct ipnet kit_net(const char *s)
{
	struct ipnet n;
	if (!ipnet_parse(s, &n))
		abort();
	return n;
}

static void add_route(const char *prefix, const char *via, unsigned port)
{
	struct fib_route r = { .prefix = kit_net(prefix), .kind = FIB_UNICAST, .table = 254, .n = 1 };
	r.nh[0] = (struct fib_nexthop){
		.gateway = kit_addr(via), .ifindex = port + 100u, .port = (int)port, .weight = 1
	};
	KIT_MUST(fib_add(&r, &e));
	struct mac m = { { 2, 1, 0, 0, 0, (uint8_t)port } };
	struct neighbor nb = { .mac = m, .state = NEIGHBOR_REACHABLE, .source = NEIGHBOR_STATIC };
	struct neighbor_key k = { .ip = kit_addr(via), .dev = port };
	if (!(nb.adj = adj_alloc(NULL)))
		abort();
	adj_set_eth(nb.adj, (uint16_t)port, &ports[port]->mac, &m, 1500);
	KIT_MUST(neighbor_set(&k, &nb, &e));
}

static void add_remote(void)
{
	struct vtep v = { .addr = kit_addr("192.0.2.1"), .port = 4789, .mode = VNI_NETWORK };
	struct remote_name r = { .addr = kit_addr("192.0.2.2"), .has_vni = true };
	KIT_MUST(vtep_add(&v, &e));
	for (int six = 0; six < 2; six++) {
		struct ipnet n = kit_net(six ? "fd02::/64" : "10.2.0.0/16");
		struct tunnel_value t = { .vni = 300,
					  .flags = TUNNEL_VNI | TUNNEL_VIA,
					  .via = kit_addr(six ? "fd03::2" : "10.3.0.2") };
		KIT_MUST(tunnel_set(&n, &r, &t, &e));
		struct neighbor_key k = { .ip = t.via, .dev = NEIGHBOR_REMOTE | t.remote, .vni = 300 };
		struct neighbor nb = { .state = NEIGHBOR_REACHABLE, .source = NEIGHBOR_STATIC, .adj = adj_alloc(NULL) };
		struct adj_tunnel a = { .port = PORT_FIRST,
					.outer_src = ports[PORT_FIRST]->mac,
					.outer_dst = { { 2, 1, 0, 0, 0, 9 } },
					.inner_src = gate_gateway_mac,
					.inner_dst = { { 2, 1, 0, 0, 0, 8 } },
					.local = v.addr,
					.remote = r.addr,
					.dport = 4789,
					.vni = 300,
					.link_mtu = 1500 };
		adj_set_tunnel(nb.adj, &a);
		KIT_MUST(neighbor_set(&k, &nb, &e));
	}
}

/* Container 'i' and its policy set: one rule that allows all. */
static void add_endpoint(unsigned i)
{
	struct ipaddr a4 = kit_addr("10.1.0.10"), a6 = kit_addr("fd01::10");
	wr16(a4.b + 14, (uint16_t)(rd16(a4.b + 14) + i));
	wr16(a6.b + 14, (uint16_t)(rd16(a6.b + 14) + i));
	struct endpoint ep = { .id = KIT_EP_ID + i,
			       .identity = 1001,
			       .mac = { { 2, 2, 0, 0, 0, 10 } },
			       .mac_fixed = true,
			       .n_addrs = 2,
			       .addr = { a4, a6 } };
	struct policy_rule r = {
		.subject = POLICY_ENDPOINT, .subject_id = ep.id, .direction = POLICY_EGRESS, .verdict = POLICY_ALLOW
	};
	struct err e = { "" };
	snprintf(ep.device, sizeof(ep.device), "lxc%u", ep.id);
	ep.adj = resolve_endpoint_adj(0, ep.id, &ep.mac, &e);
	if (!ep.adj || endpoint_set(&ep, &e) || policy_add(&r, &e))
		kit_die("endpoint", e.text);
}

void kit_setup(unsigned n, uint32_t conns)
{
	ct_max_tcp = ct_max_other = conns;
	struct err e = { "" };
	if (frames_init(16384, &e) || endpoint_init(&e) || ipcache_init(&e) || ipmasq_init(&e) || tunnel_init(&e) ||
	    neighbor_init(&e) || policy_init(&e) || nat_init(&e) || ct_init(0, 0, &e) || fib_init(&e) ||
	    resolve_init(&e) || service_init(&e) || affinity_init(&e) || workers_init(n, &e))
		kit_die("init", e.text);
	ct_on_delete = decide_connection_gone;
	ct_may_evict = decide_may_evict;
	add_port(PORT_GATE, "gate");
	add_port(PORT_FIRST, "up0");
	add_port(PORT_FIRST + 1, "up1");
	workers_assign();
	add_route("0.0.0.0/0", "198.51.100.2", PORT_FIRST + 1);
	add_route("::/0", "2001:db8:2::2", PORT_FIRST + 1);
	add_remote();
	for (unsigned i = 0; i < kit_endpoints; i++)
		add_endpoint(i);
	if (policy_commit(&e))
		kit_die("policy", e.text);
}

void kit_pin(unsigned cpu)
{
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(cpu % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}

void kit_pools(bool on)
{
	static const char *const a[] = { "198.51.100.1", "2001:db8:2::1" };
	for (int i = 0; i < 2; i++) {
		struct nat_pool p = {
			.addr = kit_addr(a[i]), .port_lo = 1024, .port_hi = 65535, .port = -1, .filter = NAT_ADF
		};
		if (on)
			KIT_MUST(nat_pool_add(&p, &e));
		else
			KIT_MUST(nat_pool_del(&p.addr, &e));
	}
}

/* One for each destination that kit_build() gives a million flows. */
void kit_services(void)
{
	struct service_conf c = { .key = { .vip = kit_addr("203.1.0.0"), .port = 5001, .proto = PROTO_UDP },
				  .maglev_size = MAGLEV_DEFAULT };
	struct ipaddr b = kit_addr("198.18.0.0");
	for (unsigned i = 1; i <= 22; i++) {
		wr16(c.key.vip.b + 14, (uint16_t)i);
		KIT_MUST(service_set(&c, NULL, 0, &e));
		for (unsigned k = 0; k < 3; k++) {
			wr16(b.b + 14, (uint16_t)(4 * i + k));
			KIT_MUST(backend_set(&c.key, &b, 5001, 1, BACKEND_ACTIVE, &e));
		}
	}
	KIT_MUST(service_commit(&e));
}

uint32_t kit_build(uint8_t *b, const struct kit_case *c, uint32_t f)
{
	const char *net4 = c->remote    ? "10.2.0.0"
			   : c->service ? "203.1.0.0"
					: "203.0.0.0",
		   *net6 = c->remote ? "fd02::" : "2001:db8:9::";
	const uint32_t n = f % KIT_PORTS_PER_DST, ep = n % kit_endpoints;
	struct mac stamp = gate_stamp(GATE_ENDPOINT, KIT_EP_ID + ep);
	struct ipaddr src = kit_addr(c->v6 ? "fd01::10" : "10.1.0.10");
	struct ipaddr dst = kit_addr(c->v6 ? net6 : net4);
	uint8_t *l3 = b + ETH_HLEN_, *l4 = l3 + (c->v6 ? IP6_HLEN : IP4_HLEN);
	const uint16_t payload = 18, udp = UDP_HLEN + payload;
	wr16(src.b + 14, (uint16_t)(rd16(src.b + 14) + ep));
	wr16(dst.b + 14, (uint16_t)(1 + f / KIT_PORTS_PER_DST * kit_spread + n % kit_spread));
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
		l3[6] = 0x40; /* DF, as Linux sends */
		l3[8] = 64;
		l3[9] = PROTO_UDP;
		memcpy(l3 + 12, src.b + 12, 4);
		memcpy(l3 + 16, dst.b + 12, 4);
		st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
	}
	wr16(l4, (uint16_t)(2000 + n));
	wr16(l4 + 2, 5001);
	wr16(l4 + 4, udp);
	unsigned alen = c->v6 ? 16 : 4, off = c->v6 ? 8 : 12;
	st16(l4 + 6,
	     (uint16_t)~csum_fold(csum_add(l4, udp, csum_pseudo(l3 + off, l3 + off + alen, alen, PROTO_UDP, udp))));
	return ETH_HLEN_ + (c->v6 ? IP6_HLEN : IP4_HLEN) + udp;
}

uint32_t kit_build_reply(struct worker *w, uint8_t *b, const struct kit_case *c, uint32_t f)
{
	uint8_t key[40];
	struct pkt p = { .data = b, .len = kit_build(b, c, f) };
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
				.local = kit_addr("192.0.2.2"),
				.remote = kit_addr("192.0.2.1"),
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

uint16_t kit_in_port(const struct kit_case *c, bool reply)
{
	return !reply ? PORT_GATE : c->remote ? PORT_FIRST : PORT_FIRST + 1;
}

void kit_one(struct worker *w, uint8_t *f, uint32_t len, uint16_t port)
{
	struct pkt p = { .data = f, .len = len, .port = port };
	uint64_t sent = w->replayed + w->decided, dropped = w->port[port].dropped.packets;
	engine_burst(w, &p, 1);
	if (w->port[port].dropped.packets != dropped || w->n_held || w->replayed + w->decided != sent + 1) {
		fprintf(stderr, "%s: a packet was dropped or held:", kit_program);
		for (unsigned i = 0; i < ARRAY_LEN(w->drops); i++)
			if (w->drops[i].packets)
				fprintf(stderr, " %s", drop_text(i));
		fprintf(stderr, "\n");
		exit(1);
	}
}

int kit_by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

double kit_hz(void)
{
	static double v;
	if (v > 0)
		return v;
	uint64_t t0 = clock_ns(), c0 = clock_cycles();
	while (clock_ns() - t0 < 50000000)
		;
	return v = (double)(clock_cycles() - c0) * 1e9 / (double)(clock_ns() - t0);
}

void kit_settle(void)
{
	while (hidx_grow(&ct4.idx, 4096) || hidx_grow(&ct6.idx, 4096))
		rcu_poll_deferred();
}

void kit_clear(struct worker *w, bool v6)
{
	struct ct *ct = ct_of(v6);
	for (uint32_t i = ct_next(ct, 0); i; i = ct_next(ct, i))
		ct_delete(ct, w->slot, i);
	rcu_wait();
	rcu_wait();
}
