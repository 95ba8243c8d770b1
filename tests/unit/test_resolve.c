/* SPDX-License-Identifier: BSD-2-Clause */
/* fwd/resolve with a kernel and workers of our own: what is asked when, what workers see, what goes into tunnels. */
#include "fwd/resolve.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/fib.h"
#include "tables/abi/gate.h"
#include "tables/endpoint.h"
#include "tables/ipcache.h"
#include "tables/tunnel.h"

/* ---- stand-ins for fwd/worker.c and fwd/port/port.c ---- */

struct port *ports[PORTS_MAX];
static struct port gate, up0, up1;
static unsigned n_asked, n_changed, n_injected;
static uint32_t asked_ifindex;
static struct ipaddr asked_ip;
static uint8_t injected[512];
static uint32_t injected_len;
static uint16_t injected_port;

struct port *port_by_ifindex(uint32_t ifindex)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && ports[i]->ifindex == ifindex)
			return ports[i];
	return NULL;
}

int workers_inject(uint16_t out, const void *frame, uint32_t len)
{
	assert_true(len <= sizeof(injected));
	memcpy(injected, frame, len);
	injected_len = len;
	injected_port = out;
	n_injected++;
	return 0;
}

void workers_neighbor_changed(void)
{
	n_changed++;
}

static void ask(uint32_t ifindex, const struct ipaddr *ip)
{
	n_asked++;
	asked_ifindex = ifindex;
	asked_ip = *ip;
}

/* ---- frame ---- */

static uint64_t now;
static const struct mac mac_a = { { 2, 0, 0, 0, 0, 0xa } }, mac_b = { { 2, 0, 0, 0, 0, 0xb } };
static const struct mac gateway_mac = { GATE_GATEWAY_MAC };

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static void route(const char *prefix, const char *gateway, uint32_t ifindex)
{
	struct fib_route r = { .kind = FIB_UNICAST, .table = 254, .n = 1 };
	struct err e;
	assert_true(ipnet_parse(prefix, &r.prefix));
	r.nh[0].ifindex = ifindex;
	if (gateway)
		r.nh[0].gateway = ip(gateway);
	assert_int_equal(fib_add(&r, &e), 0);
	resolve_routes_changed();
}

static int setup(void **state)
{
	struct err e;
	(void)state;
	hash_init(3);
	now = 1000 * NS_PER_S;
	clock_set(now);
	memset(ports, 0, sizeof(ports));
	gate = (struct port){ .index = PORT_GATE, .ifindex = 9, .mtu = 1500 };
	up0 = (struct port){ .index = PORT_FIRST, .ifindex = 11, .mtu = 1500, .mac = { { 2, 0, 0, 0, 1, 0 } } };
	up1 = (struct port){ .index = PORT_FIRST + 1, .ifindex = 12, .mtu = 1600, .mac = { { 2, 0, 0, 0, 1, 1 } } };
	ports[PORT_GATE] = &gate;
	ports[PORT_FIRST] = &up0;
	ports[PORT_FIRST + 1] = &up1;
	n_asked = n_changed = n_injected = 0;
	if (fib_init(&e) || neighbor_init(&e) || ipcache_init(&e) || tunnel_init(&e) || endpoint_init(&e) ||
	    resolve_init(&e))
		return -1;
	resolve_ask_kernel = ask;
	struct vtep v4 = { .addr = ip("192.0.2.1"), .port = 4789, .mode = VNI_NETWORK };
	struct vtep v6 = { .addr = ip("2001:db8::1"), .port = 4789, .mode = VNI_NETWORK };
	return vtep_add(&v4, &e) < 0 || vtep_add(&v6, &e) < 0;
}

static int teardown(void **state)
{
	(void)state;
	resolve_fini();
	endpoint_fini();
	tunnel_fini();
	ipcache_fini();
	neighbor_fini();
	fib_fini();
	rcu_wait();
	clock_set(0);
	return 0;
}

/* A second passes, in tenths as in life. */
static void seconds(unsigned n)
{
	for (unsigned i = 0; i < n * 10; i++) {
		now += NS_PER_S / 10;
		clock_set(now);
		resolve_tick(now);
		rcu_poll_deferred();
	}
}

static void resolve(const struct neighbor_key *k)
{
	struct request r = { .kind = REQUEST_RESOLVE, .key = *k };
	resolve_request(&r);
}

static void seen(const struct neighbor_key *k, const struct mac *m)
{
	struct request r = { .kind = REQUEST_NEIGHBOR_SEEN, .key = *k, .mac = *m };
	resolve_request(&r);
}

static int state_of(const struct neighbor_key *k)
{
	const struct neighbor *n = neighbor_find(k);
	return n ? n->state : -1;
}

static const struct adj *adj_of(const struct neighbor_key *k)
{
	const struct neighbor *n = neighbor_find(k);
	assert_non_null(n);
	assert_int_not_equal(n->adj, 0);
	return adj_at(n->adj);
}

static struct neighbor_key on_port(const char *addr, uint32_t port)
{
	return (struct neighbor_key){ .ip = ip(addr), .dev = port };
}

static uint32_t remote(const char *addr)
{
	struct ipaddr a = ip(addr);
	struct err e;
	uint32_t i = remote_get(&(struct remote_name){ .addr = a }, &e);
	assert_int_not_equal(i, 0);
	return i;
}

/* ---- on a port ---- */

static void test_ask_and_answer(void **state)
{
	struct neighbor_key k = on_port("10.0.0.2", PORT_FIRST);
	(void)state;
	resolve(&k);
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked_ifindex, 11);
	assert_true(ip_eq(&asked_ip, &k.ip));
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	for (int i = 0; i < 100; i++)
		resolve(&k);
	assert_int_equal(n_asked, 1); /* RFC 1122 2.3.2.1: at most once a second */
	seconds(1);
	assert_in_range(n_asked, 2, 2);
	unsigned before = n_changed;
	resolve_kernel_neighbor(12, &k.ip, &mac_b, true, false); /* same address, other device */
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	resolve_kernel_neighbor(11, &k.ip, &mac_a, true, false);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	assert_true(n_changed > before);
	const struct adj *a = adj_of(&k);
	assert_int_equal(a->kind, ADJ_ETH);
	assert_int_equal(a->port, PORT_FIRST);
	assert_int_equal(a->mtu, 1500);
	assert_memory_equal(a->eth, mac_a.b, 6);
	assert_memory_equal(a->eth + 6, up0.mac.b, 6);
	/* a new MAC: in place, no flow is decided again */
	uint32_t gen = gen_load((uint16_t)a->gen);
	resolve_kernel_neighbor(11, &k.ip, &mac_b, true, false);
	assert_ptr_equal(adj_of(&k), a);
	assert_memory_equal(a->eth, mac_b.b, 6);
	assert_int_equal(gen_load((uint16_t)a->gen), gen);
	/* a port's own MAC and MTU */
	up0.mac.b[5] = 0x77;
	up0.mtu = 1400;
	resolve_port_changed(PORT_FIRST);
	assert_int_equal(a->eth[11], 0x77);
	assert_int_equal(a->mtu, 1400);
}

static void test_known_already(void **state)
{
	struct neighbor_key k = on_port("2001:db8:1::2", PORT_FIRST + 1);
	(void)state;
	resolve_kernel_neighbor(12, &k.ip, &mac_a, true, false);
	assert_int_equal(state_of(&k), -1); /* nobody wanted it */
	resolve(&k);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	assert_memory_equal(adj_of(&k)->eth, mac_a.b, 6);
}

static void test_failure_and_retry(void **state)
{
	struct neighbor_key k = on_port("10.0.0.3", PORT_FIRST), f = on_port("10.0.0.4", PORT_FIRST);
	(void)state;
	resolve(&k);
	seconds(2);
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	seconds(2);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED);
	assert_in_range(n_asked, 3, 4);
	unsigned asked = n_asked;
	seconds(5);
	assert_int_equal(n_asked, asked); /* not unasked for */
	resolve(&k);
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	assert_int_equal(n_asked, asked + 1);
	resolve_kernel_neighbor(11, &k.ip, &mac_a, true, false);
	const struct adj *a = adj_of(&k);
	uint32_t gen = gen_load((uint16_t)a->gen);
	/* the kernel gives up on one that worked: flows must decide again */
	resolve_kernel_neighbor(11, &k.ip, NULL, false, true);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED);
	assert_int_equal(a->kind, ADJ_NONE);
	assert_int_not_equal(gen_load((uint16_t)a->gen), gen);
	resolve(&f);
	resolve_kernel_neighbor(11, &f.ip, NULL, false, true);
	assert_int_equal(state_of(&f), NEIGHBOR_FAILED); /* at once, not after 3 s */
	seconds(70);
	assert_int_equal(state_of(&f), -1); /* forgotten */
}

static void test_operators_own(void **state)
{
	struct neighbor_key k = on_port("10.0.0.9", PORT_FIRST);
	(void)state;
	resolve_kernel_neighbor(11, &k.ip, &mac_a, true, false);
	resolve_kernel_fixed(11, &k.ip);
	resolve(&k);
	seconds(100);
	/* never: the kernel's NTF_USE turns PERMANENT into INCOMPLETE */
	assert_int_equal(n_asked, 0);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	resolve_kernel_neighbor(11, &k.ip, &mac_b, true, false); /* no longer permanent: refreshed like any other */
	seconds(100);
	assert_true(n_asked > 0);
}

static void test_refresh_and_loss(void **state)
{
	struct neighbor_key k = on_port("10.0.0.5", PORT_FIRST);
	(void)state;
	resolve_kernel_neighbor(11, &k.ip, &mac_a, true, false);
	resolve(&k);
	unsigned asked = n_asked;
	seconds(28);
	assert_int_equal(n_asked, asked);
	seconds(8);
	assert_int_equal(n_asked, asked + 1);
	/* collected by the kernel: serves on, is asked for */
	resolve_kernel_neighbor(11, &k.ip, NULL, false, false);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	seconds(2);
	assert_true(n_asked > asked + 1);
	resolve_kernel_neighbor(11, &k.ip, &mac_a, true, false);
	seconds(10);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	/* missing in a re-dump counts as deleted; no answer then: failed */
	resolve_resync_begin();
	resolve_resync_end();
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	seconds(4);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED);
}

static void test_port_goes(void **state)
{
	struct neighbor_key k = on_port("10.0.0.6", PORT_FIRST);
	(void)state;
	resolve_kernel_neighbor(11, &k.ip, &mac_a, true, false);
	resolve(&k);
	ports[PORT_FIRST] = NULL;
	resolve_port_changed(PORT_FIRST);
	assert_int_equal(state_of(&k), -1);
	resolve(&k); /* late request of a worker */
	assert_int_equal(state_of(&k), -1);
	/* the index is taken by another device */
	ports[PORT_FIRST] = &up0;
	resolve(&k);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	up0.ifindex = 44;
	resolve(&k);
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	assert_int_equal(asked_ifindex, 44);
}

/* ---- tunnels ---- */

static void test_tunnel(void **state)
{
	struct neighbor_key k = { .dev = NEIGHBOR_REMOTE | remote("198.51.100.7"), .vni = 5 };
	struct neighbor_key m = k, via = on_port("10.0.0.254", PORT_FIRST),
			    via1 = on_port("10.1.0.254", PORT_FIRST + 1);
	(void)state;
	m.ip = resolve_mac_key(&mac_b);
	resolve(&k);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED); /* no way there */
	route("198.51.100.0/24", "10.0.0.254", 11);
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	assert_true(ip_eq(&asked_ip, &via.ip));
	resolve(&m);
	resolve_kernel_neighbor(11, &via.ip, &mac_a, true, false);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	assert_int_equal(state_of(&m), NEIGHBOR_REACHABLE);
	const struct adj *a = adj_of(&k), *b = adj_of(&m);
	assert_int_equal(a->kind, ADJ_TUNNEL4);
	assert_int_equal(a->mtu, 1450);
	assert_memory_equal(a->tmpl, mac_a.b, 6);
	assert_memory_equal(a->tmpl + 50, gateway_mac.b, 6);
	assert_memory_equal(a->tmpl + 56, gateway_mac.b, 6);
	assert_memory_equal(b->tmpl + 50, mac_b.b, 6);
	assert_int_equal(rd32(a->tmpl + 46), 5 << 8);
	/* the underlay neighbour's MAC changes: in place */
	uint32_t gen = gen_load((uint16_t)a->gen);
	resolve_kernel_neighbor(11, &via.ip, &mac_b, true, false);
	assert_ptr_equal(adj_of(&k), a);
	assert_memory_equal(a->tmpl, mac_b.b, 6);
	assert_int_equal(gen_load((uint16_t)a->gen), gen);
	/* the route moves: the old way serves until the new neighbour is known, and is not written to by what comes then */
	route("198.51.100.0/24", "10.1.0.254", 12);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	assert_int_equal(a->port, PORT_FIRST);
	resolve_kernel_neighbor(12, &via1.ip, &mac_a, true, false);
	assert_ptr_not_equal(adj_of(&k), a);
	assert_int_equal(a->port, PORT_FIRST);
	assert_memory_equal(a->tmpl, mac_b.b, 6);
	assert_int_equal(a->kind, ADJ_NONE);
	assert_true(gen_load((uint16_t)a->gen) > gen);
	a = adj_of(&k);
	assert_int_equal(a->port, PORT_FIRST + 1);
	assert_int_equal(a->mtu, 1550);
	/* and fails */
	resolve_kernel_neighbor(12, &via1.ip, NULL, false, true);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED);
	assert_int_equal(a->kind, ADJ_NONE);
	seconds(2);
	resolve(&k);
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	resolve_kernel_neighbor(12, &via1.ip, &mac_a, true, false);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	/* the remote goes */
	remote_put(k.dev & ~NEIGHBOR_REMOTE);
	seconds(2);
	assert_int_equal(state_of(&k), -1);
	assert_int_equal(state_of(&m), -1);
}

static void test_inner_arp(void **state)
{
	struct neighbor_key k = { .ip = ip("10.3.0.9"), .dev = NEIGHBOR_REMOTE | remote("198.51.100.7"), .vni = 77 };
	struct ipaddr via = ip("10.0.0.254");
	static const uint8_t ones[6] = { 255, 255, 255, 255, 255, 255 };
	(void)state;
	route("198.51.100.0/24", "10.0.0.254", 11);
	resolve(&k);
	assert_int_equal(n_injected, 0); /* the underlay first */
	resolve_kernel_neighbor(11, &via, &mac_a, true, false);
	assert_int_equal(n_injected, 1);
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	const uint8_t *f = injected, *arp = f + 64;
	assert_int_equal(injected_port, PORT_FIRST);
	assert_int_equal(injected_len, 14 + 20 + 8 + 8 + 14 + 28);
	assert_memory_equal(f, mac_a.b, 6);
	assert_int_equal(csum_fold(csum_add(f + 14, 20, 0)), 0xffff);
	assert_int_equal(rd16(f + 16), injected_len - 14);
	assert_int_equal(rd16(f + 36), 4789);
	assert_int_equal(rd16(f + 38), injected_len - 34);
	assert_int_equal(rd32(f + 46), 77 << 8);
	assert_memory_equal(f + 50, ones, 6);
	assert_memory_equal(f + 56, gateway_mac.b, 6);
	assert_int_equal(rd16(f + 62), ET_ARP);
	assert_int_equal(rd16(arp + 6), 1);
	assert_memory_equal(arp + 8, gateway_mac.b, 6);
	assert_int_equal(rd32(arp + 14), 0); /* no address of ours there: a probe */
	assert_memory_equal(arp + 24, k.ip.b + 12, 4);
	seconds(1);
	assert_int_equal(n_injected, 2);
	seconds(1);
	assert_int_equal(n_injected, 3);
	seconds(2);
	assert_int_equal(n_injected, 3);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED);
	resolve(&k);
	assert_int_equal(n_injected, 4);
	struct neighbor_key other = k;
	other.vni = 78;
	seen(&other, &mac_b); /* another VNI's host has the same address */
	assert_int_equal(state_of(&k), NEIGHBOR_INCOMPLETE);
	assert_int_equal(state_of(&other), -1);
	seen(&k, &mac_b);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	const struct adj *a = adj_of(&k);
	assert_memory_equal(a->tmpl + 50, mac_b.b, 6);
	seen(&k, &mac_a);
	assert_ptr_equal(adj_of(&k), a);
	assert_memory_equal(a->tmpl + 50, mac_a.b, 6);
	struct mac group = { { 1, 0, 0, 0, 0, 1 } };
	seen(&k, &group);
	assert_memory_equal(a->tmpl + 50, mac_a.b, 6);
	/* checked every 30 s; answers keep it, silence ends it */
	unsigned sent = n_injected;
	seconds(36);
	assert_true(n_injected > sent);
	seen(&k, &mac_a);
	seconds(5);
	assert_int_equal(state_of(&k), NEIGHBOR_REACHABLE);
	seconds(45);
	assert_int_equal(state_of(&k), NEIGHBOR_FAILED);
}

static bool own_source(const struct ipaddr *target, struct ipaddr *src)
{
	*src = *target;
	src->b[15] = 1;
	return true;
}

static void test_inner_nd(void **state)
{
	struct neighbor_key k = { .ip = ip("fd00:3::9"), .dev = NEIGHBOR_REMOTE | remote("2001:db8:7::1"), .vni = 9 };
	struct neighbor_key v4 = { .ip = ip("10.3.0.9"), .dev = k.dev, .vni = 9 };
	struct ipaddr via = ip("fe80::1"), ll = ip("fe80::e9:ff:fe00:1"), group = ip("ff02::1:ff00:9");
	bool (*before)(const struct ipaddr *, struct ipaddr *) = resolve_inner_source;
	(void)state;
	route("2001:db8::/32", "fe80::1", 12);
	resolve_kernel_neighbor(12, &via, &mac_a, true, false);
	resolve(&k);
	assert_int_equal(n_injected, 1);
	assert_int_equal(injected_port, PORT_FIRST + 1);
	const uint8_t *inner = injected + 14 + 40 + 8 + 8, *p6 = inner + 14;
	static const uint8_t group_mac[6] = { 0x33, 0x33, 0xff, 0, 0, 9 };
	assert_int_equal(injected_len, 14 + 40 + 16 + 14 + 40 + 32);
	assert_memory_equal(inner, group_mac, 6);
	assert_int_equal(p6[7], 255);
	assert_memory_equal(p6 + 8, ll.b, 16);
	assert_memory_equal(p6 + 24, group.b, 16);
	assert_int_equal(p6[40], 135);
	assert_memory_equal(p6 + 48, k.ip.b, 16);
	assert_int_equal(csum_fold(csum_add(p6 + 40, 32, csum_pseudo(p6 + 8, p6 + 24, 16, 58, 32))), 0xffff);
	seen(&k, &mac_b);
	assert_int_equal(adj_of(&k)->kind, ADJ_TUNNEL6);
	assert_int_equal(adj_of(&k)->mtu, 1530);
	resolve_inner_source = own_source;
	resolve(&v4);
	resolve_inner_source = before;
	struct ipaddr sender = ip("10.3.0.1");
	assert_memory_equal(injected + 14 + 40 + 16 + 14 + 14, sender.b + 12, 4);
}

/* ---- the gate ---- */

static void test_gate(void **state)
{
	struct err e;
	struct mac none = { { 0 } };
	(void)state;
	resolve_gate_changed(&mac_a, 1500);
	assert_int_not_equal(resolve_host_adj, 0);
	const struct adj *h = adj_at(resolve_host_adj);
	static const uint8_t host_stamp[6] = { 2, 0xe3, 0, 0, 0, 0 }, ep_stamp[6] = { 2, 0xe1, 0, 0, 1, 2 };
	assert_memory_equal(h->eth, host_stamp, 6);
	assert_memory_equal(h->eth + 6, mac_a.b, 6);
	assert_int_equal(h->port, PORT_GATE);
	struct endpoint ep = { .id = 258, .identity = 1000, .mac = mac_b, .n_addrs = 1, .addr = { ip("10.9.0.1") } };
	ep.adj = resolve_endpoint_adj(0, ep.id, &mac_b, &e);
	assert_int_not_equal(ep.adj, 0);
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_memory_equal(adj_at(ep.adj)->eth, ep_stamp, 6);
	assert_memory_equal(adj_at(ep.adj)->eth + 6, mac_b.b, 6);
	assert_int_equal(resolve_endpoint_adj(ep.adj, ep.id, &mac_a, &e), ep.adj);
	assert_memory_equal(adj_at(ep.adj)->eth + 6, mac_a.b, 6);
	uint32_t same = resolve_host_adj;
	resolve_gate_changed(&mac_b, 1400);
	assert_int_equal(resolve_host_adj, same);
	assert_memory_equal(h->eth + 6, mac_b.b, 6);
	assert_int_equal(adj_at(ep.adj)->mtu, 1400);
	resolve_gate_changed(&none, 1400);
	assert_int_equal(resolve_host_adj, 0);
	assert_int_equal(h->kind, ADJ_NONE);
}

/* Thousands of next hops come and fail while tunnels depend on some of them. */
static void test_many(void **state)
{
	(void)state;
	route("198.51.100.0/24", NULL, 11);
	struct neighbor_key t[200];
	for (unsigned i = 0; i < 200; i++) {
		char text[32];
		snprintf(text, sizeof(text), "198.51.100.%u", i + 1);
		t[i] = (struct neighbor_key){ .dev = NEIGHBOR_REMOTE | remote(text), .vni = i };
		if (i & 1)
			t[i].ip = ip("10.3.0.9");
		resolve(&t[i]);
	}
	for (unsigned i = 0; i < 20000; i++) {
		struct neighbor_key k = { .ip = ip_from4(htonl(0x0a000000 + i)), .dev = PORT_FIRST };
		resolve(&k);
	}
	assert_int_equal(neighbor_count(), 20400); /* and 200 underlay neighbours */
	for (unsigned i = 0; i < 200; i += 4) {
		struct ipaddr a = remote_at(t[i].dev & ~NEIGHBOR_REMOTE)->addr;
		resolve_kernel_neighbor(11, &a, &mac_a, true, false);
	}
	for (unsigned i = 100; i < 200; i++)
		remote_put(t[i].dev & ~NEIGHBOR_REMOTE);
	seconds(10);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(state_of(&t[i]), i >= 100 ? -1 : i % 4 == 0 ? NEIGHBOR_REACHABLE : NEIGHBOR_FAILED);
	seconds(90);
	assert_int_equal(neighbor_count(),
			 25 + 50); /* those that work: remotes, and their and former underlay neighbours */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ask_and_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_known_already, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_and_retry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_operators_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refresh_and_loss, setup, teardown),
		cmocka_unit_test_setup_teardown(test_port_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tunnel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inner_arp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inner_nd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};
	rcu_thread_register();
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return rc;
}
