/* SPDX-License-Identifier: BSD-2-Clause */
/* fwd/fib against a naive twin under random changes, with the property that flow records live on: whenever the answer for an
 * address changed, the counter that the former answer named was bumped. Then one test for each rule of choice. */
#include "fwd/fib.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "fwd/port/port.h"
#include "tests/support/turns.h"

struct port *ports[PORTS_MAX];
static struct port uplink[4];

struct port *port_by_ifindex(uint32_t ifindex)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && ports[i]->ifindex == ifindex)
			return ports[i];
	return NULL;
}

static int setup(void **state)
{
	struct err e;
	(void)state;
	hash_init(7);
	srandom(1);
	memset(ports, 0, sizeof(ports));
	for (unsigned i = 0; i < 2; i++) {
		uplink[i] = (struct port){ .index = (uint16_t)(PORT_FIRST + i), .ifindex = 11 + i };
		ports[PORT_FIRST + i] = &uplink[i];
	}
	uplink[3] = (struct port){ .index = PORT_GATE, .ifindex = 19 };
	ports[PORT_GATE] = &uplink[3];
	return fib_init(&e);
}

static int teardown(void **state)
{
	(void)state;
	fib_fini();
	rcu_wait();
	return 0;
}

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static struct fib_route route(const char *prefix, uint32_t metric, const char *gateway, uint32_t ifindex)
{
	struct fib_route r = { .kind = FIB_UNICAST, .metric = metric, .table = 254, .n = 1 };
	assert_true(ipnet_parse(prefix, &r.prefix));
	r.nh[0] = (struct fib_nexthop){ .gateway = gateway ? ip(gateway) : (struct ipaddr){ .d = { 0 } },
					.ifindex = ifindex };
	return r;
}

static void hop(struct fib_route *r, const char *gateway, uint32_t ifindex, uint32_t weight)
{
	r->nh[r->n++] = (struct fib_nexthop){ .gateway = ip(gateway), .ifindex = ifindex, .weight = weight };
}

static void put(struct fib_route r)
{
	struct err e;
	assert_int_equal(fib_add(&r, &e), 0);
}

static struct fib_result look(const char *addr, uint32_t hash)
{
	struct ipaddr a = ip(addr);
	struct fib_result r;
	fib_lookup(&a, hash, &r);
	return r;
}

static void expect_gateway(const char *addr, const char *gateway)
{
	struct fib_result r = look(addr, 1);
	struct ipaddr g = ip(gateway);
	assert_int_equal(r.kind, FIB_UNICAST);
	assert_true(ip_eq(&r.nh.gateway, &g));
}

/* ---- the twin ---- */

enum { ROWS = 120, PROBES = 300, ROUNDS = TURNS(6000) };
struct row {
	bool used;
	struct fib_route r;
};
static struct row rows[ROWS];
struct seen {
	enum fib_kind kind;
	struct ipnet prefix;
	struct ipaddr gateway;
	uint16_t dep;
	uint32_t counter;
};

static struct ipaddr random_addr(bool v4)
{
	struct ipaddr a = v4 ? ip_from4(htonl(0x0a000000)) : (struct ipaddr){ .b = { 0x20, 1 } };
	for (unsigned i = 13; i < 16; i++)
		a.b[i] = (uint8_t)((random() & 3) << (random() & 1 ? 6 : 0));
	return a;
}

static struct fib_route random_route(void)
{
	static const uint8_t lens[] = { 96, 104, 106, 112, 114, 120, 122, 127, 128 };
	bool v4 = random() & 1;
	struct ipaddr a = random_addr(v4);
	struct fib_route r = { .metric = (uint32_t)(random() % 3), .table = random() % 4 ? 254 : 255 };
	r.prefix.len = random() % 10 ? lens[random() % ARRAY_LEN(lens)] : v4 ? 96 : 0;
	r.prefix.addr = ip_mask(&a, r.prefix.len);
	r.kind = random() % 3 ? FIB_UNICAST : (enum fib_kind)(FIB_LOCAL + random() % 6);
	r.n = 1;
	r.nh[0] = (struct fib_nexthop){ .gateway = random_addr(v4), .ifindex = 11, .dead = random() % 4 == 0 };
	return r;
}

static bool same_identity(const struct fib_route *a, const struct fib_route *b)
{
	return a->metric == b->metric && a->table == b->table && a->prefix.len == b->prefix.len &&
	       ip_eq(&a->prefix.addr, &b->prefix.addr);
}

static bool better(const struct fib_route *a, const struct fib_route *b)
{
	if (a->prefix.len != b->prefix.len)
		return a->prefix.len > b->prefix.len;
	if (a->table != b->table)
		return a->table > b->table;
	return a->metric < b->metric;
}

static const struct fib_route *naive(const struct ipaddr *a)
{
	const struct fib_route *best = NULL;
	for (unsigned i = 0; i < ROWS; i++) {
		const struct fib_route *r = &rows[i].r;
		if (rows[i].used && ipnet_contains(&r->prefix, a) && !(r->kind == FIB_UNICAST && r->nh[0].dead) &&
		    (!best || better(r, best)))
			best = r;
	}
	return best;
}

static void check(const struct ipaddr *probe, struct seen *s, bool compare)
{
	const struct fib_route *want = naive(probe);
	struct fib_result r;
	fib_lookup(probe, 5, &r);
	assert_int_equal(r.kind, want ? want->kind : FIB_NONE);
	if (want) {
		assert_int_equal(r.prefix.len, want->prefix.len);
		assert_true(ip_eq(&r.prefix.addr, &want->prefix.addr));
		assert_true(ip_eq(&r.nh.gateway, &want->nh[0].gateway));
	}
	bool changed = compare && (r.kind != s->kind || r.prefix.len != s->prefix.len ||
				   !ip_eq(&r.prefix.addr, &s->prefix.addr) || !ip_eq(&r.nh.gateway, &s->gateway));
	if (changed)
		assert_int_not_equal(gen_load(s->dep) + gen_area->extra, s->counter);
	*s = (struct seen){ r.kind, r.prefix, r.nh.gateway, r.dep, gen_load(r.dep) + gen_area->extra };
}

/* Adds or deletes one route in both; a resync now and then drops a random part of them. */
static void change(void)
{
	struct err e;
	if (random() % 50 == 0) {
		fib_resync_begin();
		for (unsigned i = 0; i < ROWS; i++) {
			if (rows[i].used && random() % 5 == 0)
				rows[i].used = false;
			else if (rows[i].used)
				assert_int_equal(fib_append(&rows[i].r, &e), 0);
		}
		fib_resync_end();
		return;
	}
	unsigned at = (unsigned)random() % ROWS;
	if (rows[at].used && random() & 1) {
		rows[at].used = false;
		assert_int_equal(fib_del(&rows[at].r), 0);
		assert_int_equal(fib_del(&rows[at].r), -ENOENT);
		return;
	}
	struct fib_route r = random_route();
	unsigned to = ROWS;
	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].used && same_identity(&rows[i].r, &r))
			to = i;
	for (unsigned i = 0; i < ROWS && to == ROWS; i++)
		if (!rows[i].used)
			to = i;
	if (to == ROWS)
		return;
	rows[to] = (struct row){ true, r };
	assert_int_equal(fib_add(&r, &e), 0);
}

static void test_twin(void **state)
{
	static struct ipaddr probe[PROBES];
	static struct seen seen[PROBES];
	(void)state;
	memset(rows, 0, sizeof(rows));
	for (unsigned i = 0; i < PROBES; i++) {
		probe[i] = random_addr(i & 1);
		check(&probe[i], &seen[i], false);
	}
	for (unsigned n = 0; n < ROUNDS; n++) {
		change();
		for (unsigned i = 0; i < PROBES; i++)
			check(&probe[i], &seen[i], true);
		rcu_poll_deferred();
	}
	uint32_t used = 0, walked = 0, at = 0;
	struct fib_route r;
	for (unsigned i = 0; i < ROWS; i++)
		used += rows[i].used;
	while ((at = fib_next(at, &r)))
		walked++;
	assert_true(used > 20);
	assert_int_equal(walked, used);
	assert_int_equal(fib_count(), used);
}

/* ---- rules ---- */

static void test_metrics_and_tables(void **state)
{
	(void)state;
	put(route("10.1.0.0/16", 100, "10.0.0.1", 11));
	put(route("10.1.0.0/16", 50, "10.0.0.2", 11));
	expect_gateway("10.1.2.3", "10.0.0.2");
	struct fib_route dead = route("10.1.0.0/16", 50, "10.0.0.2", 11);
	dead.nh[0].dead = 1;
	put(dead);
	expect_gateway("10.1.2.3", "10.0.0.1");
	struct fib_route local = route("10.1.0.0/16", 500, NULL, 1);
	local.kind = FIB_LOCAL;
	local.table = 255;
	put(local);
	assert_int_equal(look("10.1.2.3", 0).kind, FIB_LOCAL);
	assert_int_equal(fib_del(&local), 0);
	expect_gateway("10.1.2.3", "10.0.0.1");
	/* nothing usable: the shorter prefix answers */
	put(route("0.0.0.0/0", 0, "10.0.0.9", 12));
	struct fib_route all = route("10.1.0.0/16", 100, "10.0.0.1", 11);
	all.nh[0].dead = 1;
	put(all);
	expect_gateway("10.1.2.3", "10.0.0.9");
	assert_int_equal(look("10.1.2.3", 0).prefix.len, 96);
	assert_int_equal(look("2001::1", 0).kind, FIB_NONE);
}

static void test_ports(void **state)
{
	(void)state;
	put(route("10.1.0.0/16", 0, NULL, 11));
	put(route("10.2.0.0/16", 0, NULL, 14));
	put(route("10.3.0.0/16", 0, NULL, 19));
	struct fib_result a = look("10.1.0.1", 0), b = look("10.2.0.1", 0);
	assert_int_equal(a.nh.port, PORT_FIRST);
	assert_int_equal(b.nh.port, -1);
	assert_int_equal(look("10.3.0.1", 0).nh.port, -1); /* the gate is no uplink */
	uint32_t before_a = gen_load(a.dep), before_b = gen_load(b.dep);
	uplink[2] = (struct port){ .index = PORT_FIRST + 2, .ifindex = 14 };
	ports[PORT_FIRST + 2] = &uplink[2];
	fib_ports_changed();
	assert_int_equal(look("10.2.0.1", 0).nh.port, PORT_FIRST + 2);
	assert_int_equal(gen_load(a.dep), before_a);
	assert_int_not_equal(gen_load(b.dep), before_b);
	ports[PORT_FIRST] = NULL;
	fib_ports_changed();
	assert_int_equal(look("10.1.0.1", 0).nh.port, -1);
	assert_int_not_equal(gen_load(a.dep), before_a);
}

static void expect_zone(uint16_t zone, const char *addr, const char *gateway)
{
	const struct ipaddr a = ip(addr);
	struct fib_result r;
	fib_lookup_zone(zone, &a, 0, &r);
	const struct ipaddr g = gateway ? ip(gateway) : (struct ipaddr){ 0 };
	assert_int_equal(r.kind, gateway ? FIB_UNICAST : FIB_NONE);
	assert_true(ip_eq(&r.nh.gateway, &g));
}

/* Each zone is answered by the routes of its ports alone, those that lose to others included. */
static void test_zones(void **state)
{
	struct fib_route best = route("10.9.0.0/16", 10, "10.0.1.1", 11),
			 second = route("10.9.0.0/16", 20, "10.0.2.1", 12);
	const struct ipaddr host = ip("10.9.0.7");
	struct fib_result r;
	uint16_t dep;
	(void)state;
	uplink[0].conf.zone = 1;
	uplink[1].conf.zone = 2;
	fib_ports_changed();
	put(best);
	put(second);
	put(route("0.0.0.0/0", 0, "10.0.9.9", 19));
	expect_zone(0, "10.9.0.7", "10.0.1.1");
	expect_zone(1, "10.9.0.7", "10.0.1.1");
	expect_zone(2, "10.9.0.7", "10.0.2.1");
	expect_zone(3, "10.9.0.7", NULL);
	expect_zone(2, "8.8.8.8", NULL); /* a default route of nobody's zone */
	assert_true(fib_source_valid(&host, PORT_FIRST + 1, true, &dep));
	/* a change of one zone concerns that one */
	fib_lookup_zone(2, &host, 0, &r);
	const uint16_t dep2 = r.dep;
	fib_lookup_zone(1, &host, 0, &r);
	const uint32_t before1 = gen_load(r.dep), before2 = gen_load(dep2);
	second.nh[0].gateway = ip("10.0.2.2");
	put(second);
	expect_zone(2, "10.9.0.7", "10.0.2.2");
	assert_int_not_equal(gen_load(dep2), before2);
	assert_int_equal(gen_load(r.dep), before1);
	/* a blackhole of the table is none of the zone's; several next hops are shared out by zone */
	struct fib_route hole = route("10.8.0.0/16", 1, NULL, 0);
	hole.kind = FIB_BLACKHOLE;
	hole.n = 0;
	put(hole);
	struct fib_route many = route("10.8.0.0/16", 2, "10.0.1.5", 11);
	many.nh[many.n++] = route("10.8.0.0/16", 2, "10.0.2.5", 12).nh[0];
	put(many);
	assert_int_equal(look("10.8.0.1", 0).kind, FIB_BLACKHOLE);
	expect_zone(1, "10.8.0.1", "10.0.1.5");
	expect_zone(2, "10.8.0.1", "10.0.2.5");
	/* zones that change, live */
	uplink[1].conf.zone = 65535;
	fib_ports_changed();
	expect_zone(2, "10.9.0.7", NULL);
	expect_zone(65535, "10.9.0.7", "10.0.2.2");
	assert_int_equal(fib_del(&second), 0);
	expect_zone(65535, "10.9.0.7", NULL);
	expect_zone(1, "10.9.0.7", "10.0.1.1");
	uplink[0].conf.zone = uplink[1].conf.zone = 0;
	fib_ports_changed();
	expect_zone(1, "10.9.0.7", NULL);
	expect_zone(0, "10.9.0.7", "10.0.1.1");
}

static void count_paths(const char *addr, const char *const *gateways, unsigned n, unsigned *hits, bool random_hash)
{
	memset(hits, 0, n * sizeof(*hits));
	for (uint32_t h = 0; h < 8000; h++) {
		struct fib_result r = look(addr, random_hash ? (uint32_t)random() : h);
		for (unsigned i = 0; i < n; i++) {
			struct ipaddr g = ip(gateways[i]);
			hits[i] += ip_eq(&r.nh.gateway, &g);
		}
	}
}

static void test_multipath(void **state)
{
	static const char *const gateways[] = { "10.0.0.1", "10.0.0.2", "10.0.0.3" };
	unsigned hits[3];
	(void)state;
	struct fib_route r = route("10.1.0.0/16", 0, "10.0.0.1", 11);
	hop(&r, "10.0.0.2", 12, 2);
	hop(&r, "10.0.0.3", 11, 1);
	put(r);
	for (int random_hash = 0; random_hash < 2; random_hash++) {
		count_paths("10.1.0.1", gateways, 3, hits, random_hash);
		assert_int_equal(hits[0] + hits[1] + hits[2], 8000);
		assert_in_range(hits[0], 1800, 2200);
		assert_in_range(hits[1], 3700, 4300);
		assert_in_range(hits[2], 1800, 2200);
	}
	struct fib_result one = look("10.1.0.1", 77), again = look("10.1.0.1", 77);
	assert_true(ip_eq(&one.nh.gateway, &again.nh.gateway));
	/* one hop dies: the others share, the record goes on */
	uint32_t before = gen_load(one.dep);
	r.nh[1].dead = 1;
	put(r);
	assert_int_not_equal(gen_load(one.dep), before);
	count_paths("10.1.0.1", gateways, 3, hits, true);
	assert_int_equal(hits[1], 0);
	assert_in_range(hits[0], 3700, 4300);
	assert_int_equal(fib_ifindex_routes(12), 1);
	assert_int_equal(fib_ifindex_routes(11), 2);
	struct fib_route all = { .prefix = r.prefix, .table = 254 };
	assert_int_equal(fib_del(&all), 0);
	assert_int_equal(fib_ifindex_routes(11), 0);
	assert_int_equal(fib_count(), 0);
}

/* IPv6 siblings in messages of their own, in one that repeats all, and one deleted alone. */
static void test_ipv6_siblings(void **state)
{
	static const char *const gateways[] = { "fe80::1", "fe80::2", "fe80::3" };
	unsigned hits[3];
	struct err e;
	(void)state;
	struct fib_route a = route("2001:db8::/32", 1024, "fe80::1", 11),
			 b = route("2001:db8::/32", 1024, "fe80::2", 12);
	assert_int_equal(fib_append(&a, &e), 0);
	assert_int_equal(fib_append(&b, &e), 0);
	count_paths("2001:db8::1", gateways, 3, hits, true);
	assert_in_range(hits[0], 3700, 4300);
	assert_in_range(hits[1], 3700, 4300);
	struct fib_route set = a;
	hop(&set, "fe80::2", 12, 1);
	hop(&set, "fe80::3", 12, 1);
	assert_int_equal(fib_append(&set, &e), 0);
	assert_int_equal(fib_count(), 1);
	count_paths("2001:db8::1", gateways, 3, hits, true);
	assert_in_range(hits[2], 2400, 2950);
	assert_int_equal(fib_del(&b), 0);
	count_paths("2001:db8::1", gateways, 3, hits, true);
	assert_int_equal(hits[1], 0);
	assert_int_equal(fib_del(&b), -ENOENT);
	/* a preferred router wins alone */
	struct fib_route high = route("2001:db8::/32", 1024, "fe80::2", 12);
	high.pref = 1;
	assert_int_equal(fib_append(&high, &e), 0);
	expect_gateway("2001:db8::1", "fe80::2");
	/* fe80::/64 on two devices is no multipath */
	struct fib_route l1 = route("fe80::/64", 256, NULL, 11), l2 = route("fe80::/64", 256, NULL, 12);
	assert_int_equal(fib_append(&l1, &e), 0);
	assert_int_equal(fib_append(&l2, &e), 0);
	for (uint32_t h = 0; h < 100; h++)
		assert_int_equal(look("fe80::9", h).nh.ifindex, 11);
}

static void test_resync(void **state)
{
	struct err e;
	(void)state;
	struct fib_route keep = route("10.1.0.0/16", 0, "10.0.0.1", 11), drop = route("10.2.0.0/16", 0, "10.0.0.1", 11);
	struct fib_route s1 = route("2001:db8::/32", 1024, "fe80::1", 11),
			 s2 = route("2001:db8::/32", 1024, "fe80::2", 12);
	struct ipaddr a1 = ip("192.0.2.1"), a2 = ip("192.0.2.2"), found;
	put(keep);
	put(drop);
	assert_int_equal(fib_append(&s1, &e), 0);
	assert_int_equal(fib_append(&s2, &e), 0);
	fib_addr_set(11, &a1, 120, true);
	fib_addr_set(11, &a2, 120, true);
	struct fib_result k = look("10.1.0.1", 0), d = look("10.2.0.1", 0), s = look("2001:db8::1", 0);
	uint32_t gk = gen_load(k.dep), gd = gen_load(d.dep), gs = gen_load(s.dep);
	uint64_t version = fib_version();
	fib_resync_begin();
	assert_int_equal(fib_append(&keep, &e), 0);
	assert_int_equal(fib_append(&s1, &e), 0);
	assert_int_equal(look("10.2.0.1", 0).kind, FIB_UNICAST); /* the old one serves */
	assert_int_equal(fib_append(&s2, &e), 0);
	fib_addr_set(11, &a2, 120, true);
	fib_resync_end();
	assert_int_equal(look("10.2.0.1", 0).kind, FIB_NONE);
	assert_int_equal(gen_load(k.dep), gk);
	assert_int_equal(gen_load(s.dep), gs);
	assert_int_not_equal(gen_load(d.dep), gd);
	assert_int_equal(fib_version(), version + 1);
	assert_true(fib_port_addr(11, false, &found));
	assert_true(ip_eq(&found, &a2));
	/* the same again with nothing missing: no counter moves */
	fib_resync_begin();
	assert_int_equal(fib_append(&s1, &e), 0);
	assert_int_equal(fib_append(&s2, &e), 0);
	assert_int_equal(fib_append(&keep, &e), 0);
	fib_resync_end();
	assert_int_equal(fib_version(), version + 1);
	assert_false(fib_port_addr(11, false, &found));
}

static void test_addresses(void **state)
{
	struct ipaddr ll = ip("fe80::1"), g6 = ip("2001:db8::1"), auto4 = ip("169.254.1.1"), g4 = ip("192.0.2.1"), a;
	struct ipaddr near = ip("192.0.2.77"), far = ip("192.0.3.1");
	(void)state;
	assert_false(fib_port_addr(11, false, &a));
	fib_addr_set(11, &ll, 64, true);
	fib_addr_set(11, &auto4, 112, true);
	assert_false(fib_port_addr(11, true, &a));
	assert_false(fib_port_addr(11, false, &a));
	fib_addr_set(11, &g6, 64, true);
	fib_addr_set(11, &g4, 120, true);
	assert_true(fib_port_addr(11, true, &a) && ip_eq(&a, &g6));
	assert_true(fib_port_addr(11, false, &a) && ip_eq(&a, &g4));
	assert_false(fib_port_addr(12, false, &a));
	assert_true(fib_has_addr(&g6) && fib_has_addr(&g4) && fib_has_addr(&ll));
	assert_false(fib_has_addr(&near));
	assert_true(fib_subnet_addr(11, &near, &a) && ip_eq(&a, &g4));
	assert_false(fib_subnet_addr(11, &far, &a));
	assert_false(fib_subnet_addr(11, &g4, &a)); /* not itself */
	fib_addr_set(11, &g4, 120, false);
	assert_false(fib_port_addr(11, false, &a));
}

/* RFC 3704: by which port a source may come in; every one of equal paths counts. */
static void test_source_valid(void **state)
{
	struct fib_route two = route("10.1.0.0/16", 0, "10.0.0.1", 11), nowhere = route("10.2.0.0/16", 0, NULL, 0);
	struct ipaddr a = ip("10.1.2.3"), b = ip("10.2.2.3"), c = ip("10.3.0.1");
	uint16_t dep = 0;

	(void)state;
	nowhere.kind = FIB_PROHIBIT;
	nowhere.n = 0;
	put(two);
	put(nowhere);
	assert_true(fib_source_valid(&a, PORT_FIRST, true, &dep));
	assert_int_not_equal(dep, 0);
	assert_false(fib_source_valid(&a, PORT_FIRST + 1, true, &dep));
	assert_true(fib_source_valid(&a, PORT_FIRST + 1, false, &dep));
	hop(&two, "10.0.1.1", 12, 1);
	put(two);
	assert_true(fib_source_valid(&a, PORT_FIRST, true, &dep) && fib_source_valid(&a, PORT_FIRST + 1, true, &dep));
	assert_false(fib_source_valid(&b, PORT_FIRST, false, &dep));
	assert_false(fib_source_valid(&c, PORT_FIRST, false, &dep));
	/* who could not note the counter hears of every change */
	const uint32_t extra = gen_area->extra;
	put(route("10.4.0.0/16", 0, "10.0.0.1", 11));
	assert_int_equal(gen_area->extra, extra);
	fib_sources_matter = 1;
	put(route("10.5.0.0/16", 0, "10.0.0.1", 11));
	assert_int_not_equal(gen_area->extra, extra);
	fib_sources_matter = 0;
	put(route("0.0.0.0/0", 0, "10.0.0.1", 11));
	assert_true(fib_source_valid(&c, PORT_FIRST, true, &dep));
	assert_false(fib_source_valid(&c, PORT_FIRST + 1, true, &dep));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_twin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics_and_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_multipath, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ipv6_siblings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_valid, setup, teardown),
	};
	rcu_thread_register();
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return rc;
}
