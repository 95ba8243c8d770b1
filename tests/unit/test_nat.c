/* SPDX-License-Identifier: BSD-2-Clause */
/* Masquerade state: pools and their choice, mappings, ports to the last one, references, permits. */
#include "tests/unit/nat_kit.h"

/* ---- pools ---- */

static void test_pool_config(void **state)
{
	struct nat_pool p = { .addr = ip("192.0.2.1"), .port_lo = 2000, .port_hi = 3000, .port = -1 };
	const struct ipaddr v4 = ip("10.0.0.1"), v6 = ip("fd00::1");
	struct err e;
	(void)state;
	uint32_t extra = gen_area->extra;
	assert_int_equal(nat_pool_by_addr(&p.addr), -1);
	assert_int_equal(nat_pool_choose(&v4, 0), -1);
	int i = nat_pool_add(&p, &e);
	assert_true(i >= 0);
	assert_int_not_equal(gen_area->extra, extra);
	extra = gen_area->extra;
	assert_int_equal(nat_pool_add(&p, &e), -EEXIST);
	assert_int_equal(nat_pool_by_addr(&p.addr), i);
	assert_int_equal(nat_pool_choose(&v4, 0), i);
	assert_int_equal(nat_pool_choose(&v6, 0), -1);
	assert_int_equal(gen_area->extra, extra);
	assert_int_equal(nat_pool_del(&p.addr, &e), 0);
	assert_int_not_equal(gen_area->extra, extra);
	assert_int_equal(nat_pool_del(&p.addr, &e), -ENOENT);
	assert_int_equal(nat_pool_choose(&v4, 0), -1);
	assert_true(ip_is_zero(&nat_pools[i].addr));

	struct nat_pool bad = p;
	bad.port_hi = 1999;
	assert_int_equal(nat_pool_add(&bad, &e), -EINVAL);
	bad = p;
	bad.port_lo = 0; /* port 0 is nobody's */
	assert_int_equal(nat_pool_add(&bad, &e), -EINVAL);
	bad = p;
	bad.addr = ip("224.0.0.1");
	assert_int_equal(nat_pool_add(&bad, &e), -EINVAL);
	bad = p;
	bad.has_source = true;
	assert_true(ipnet_parse("fd00::/8", &bad.source));
	assert_int_equal(nat_pool_add(&bad, &e), -EINVAL);
	p.port_lo = p.port_hi = 0;
	i = nat_pool_add(&p, &e);
	assert_int_equal(nat_pools[i].port_lo, 1024);
	assert_int_equal(nat_pools[i].port_hi, 65535);
}

static void test_pool_places(void **state)
{
	struct nat_pool p = { .port_lo = 2000, .port_hi = 3000, .port = -1 };
	struct err e;
	(void)state;
	for (uint32_t n = 0; n < NAT_POOLS_MAX; n++) {
		p.addr = ip_from4(htonl(0xc0000200 + n));
		assert_true(nat_pool_add(&p, &e) >= 0);
	}
	p.addr = ip("198.51.100.1");
	assert_int_equal(nat_pool_add(&p, &e), -ENOSPC);
	const struct ipaddr gone = ip("192.0.2.5");
	int place = nat_pool_by_addr(&gone);
	struct nat_key k = key_of((unsigned)place, PROTO_UDP, 1, 2500);
	uint32_t m = map_new(&k);
	assert_int_not_equal(m, 0);
	assert_int_equal(nat_pool_del(&gone, &e), 0);
	rcu_wait();
	/* a connection still has a port there */
	assert_int_equal(nat_pool_add(&p, &e), -ENOSPC);
	nat_unref(0, m);
	assert_int_equal(nat_pool_add(&p, &e), place);
	assert_int_equal(bits_in((unsigned)place, STEER_UDP), 0);
	/* without a grace period a worker may still be in the middle of it */
	assert_int_equal(nat_pool_del(&p.addr, &e), 0);
	p.addr = gone;
	assert_int_equal(nat_pool_add(&p, &e), -ENOSPC);
	rcu_wait();
	assert_int_equal(nat_pool_add(&p, &e), place);
}

static void test_pool_readded(void **state)
{
	const struct ipaddr a = ip("192.0.2.1");
	struct err e;
	bool created;
	uint32_t m, again;
	(void)state;
	unsigned p = add_pool("192.0.2.1", 5000, 5001, NAT_EIF);
	struct nat_key k1 = key_of(p, PROTO_TCP, 1, 5000), k2 = key_of(p, PROTO_TCP, 2, 5000);
	m = map_new(&k1);
	assert_int_equal(nat_pool_del(&a, &e), 0);
	/* no new mapping, but the old one goes on with its connections */
	assert_int_equal(map_new(&k2), 0);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 5000), 0);
	assert_int_equal(nat_map(0, &k1, 100, 0, &again, &created), 0);
	assert_int_equal(again, m);
	assert_false(created);
	/* back in time: port 5000 is still taken */
	assert_int_equal(add_pool("192.0.2.1", 5000, 5001, NAT_EIF), p);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 5000), m);
	again = map_new(&k2);
	assert_int_equal(nat_at(again)->outside_port, 5001);
	nat_unref(0, m);
	assert_true(bit_set(p, PROTO_TCP, 5000));
	nat_unref(0, m);
	assert_false(bit_set(p, PROTO_TCP, 5000));
	nat_unref(0, again);
	assert_int_equal(nat_count(), 0);
}

static int choose(const char *src, uint32_t out)
{
	const struct ipaddr a = ip(src);
	return nat_pool_choose(&a, out);
}

static void test_pool_choose(void **state)
{
	struct nat_pool p = { .port = -1 };
	struct err e;
	unsigned used[3] = { 0 }, moved = 0;
	int before[256];
	(void)state;
	/* least specific first and last, so that the order of places does not decide */
	p.addr = ip("192.0.2.1");
	int any = nat_pool_add(&p, &e);
	p.addr = ip("192.0.2.2");
	p.has_source = true;
	assert_true(ipnet_parse("10.1.0.0/16", &p.source));
	int source = nat_pool_add(&p, &e);
	p.addr = ip("192.0.2.4");
	p.port = 7;
	int both = nat_pool_add(&p, &e);
	p.addr = ip("192.0.2.3");
	p.has_source = false;
	int port = nat_pool_add(&p, &e);
	p.addr = ip("192.0.2.5");
	p.port = -1;
	p.has_source = true;
	assert_true(ipnet_parse("10.1.2.0/24", &p.source));
	int longer = nat_pool_add(&p, &e);
	p = (struct nat_pool){ .addr = ip("2001:db8::1"), .port = 7 };
	int six = nat_pool_add(&p, &e);
	assert_int_equal(choose("10.9.0.1", 3), any);
	assert_int_equal(choose("10.9.0.1", 7), port);
	assert_int_equal(choose("10.1.0.1", 3), source);
	assert_int_equal(choose("10.1.2.1", 3), longer);
	assert_int_equal(choose("10.1.2.1", 7), both);
	assert_int_equal(choose("fd00::1", 7), six);
	assert_int_equal(choose("fd00::1", 3), -1);
	/* static: before all others for its own address, by any port, and never for another's */
	p = (struct nat_pool){ .addr = ip("192.0.2.6"), .port = -1, .inside = ip("10.1.2.9") };
	int fixed = nat_pool_add(&p, &e);
	assert_int_equal(choose("10.1.2.9", 7), fixed);
	assert_int_equal(choose("10.1.2.9", 3), fixed);
	assert_int_equal(choose("10.1.2.1", 7), both);
	assert_int_equal(nat_static(&p.inside, &p.addr), NAT_STATIC | (uint32_t)fixed);
	assert_int_equal(nat_static(&p.addr, &p.inside), 0);
	p.inside = ip("fd00::1");
	p.addr = ip("192.0.2.7");
	assert_int_equal(nat_pool_add(&p, &e), -EINVAL);

	/* equals: a source keeps its pool (RFC 4787 REQ-2), sources spread, a third pool only takes */
	p = (struct nat_pool){ .addr = ip("198.51.100.1"), .port = 9 };
	int eq[3] = { nat_pool_add(&p, &e) };
	p.addr = ip("198.51.100.2");
	eq[1] = nat_pool_add(&p, &e);
	for (uint32_t n = 0; n < 256; n++) {
		const struct ipaddr a = ip_from4(htonl(0x0a090000 + n));
		before[n] = nat_pool_choose(&a, 9);
		assert_int_equal(nat_pool_choose(&a, 9), before[n]);
	}
	p.addr = ip("198.51.100.3");
	eq[2] = nat_pool_add(&p, &e);
	for (uint32_t n = 0; n < 256; n++) {
		const struct ipaddr a = ip_from4(htonl(0x0a090000 + n));
		int now = nat_pool_choose(&a, 9);
		for (unsigned i = 0; i < 3; i++)
			used[i] += now == eq[i];
		moved += now != before[n];
		assert_true(now == before[n] || now == eq[2]);
	}
	assert_int_equal(used[0] + used[1] + used[2], 256);
	assert_int_equal(moved, used[2]);
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(used[i], 40, 140);
}

static uint64_t given[STEER_PROTOS][STEER_BITMAP_SIZE / 8] __attribute__((aligned(64)));

static uint64_t *give(unsigned pool, enum steer_proto which)
{
	return pool == 0 ? given[which] : NULL;
}

static void test_provider(void **state)
{
	struct nat_pool p = { .addr = ip("192.0.2.2"), .port = -1 };
	struct err e;
	(void)state;
	memset(given, 0xff, sizeof(given)); /* what a dead process left */
	nat_set_bits_provider(give);
	unsigned i = add_pool("192.0.2.1", 1024, 65535, NAT_EIF);
	struct nat_key k = key_of(i, PROTO_ICMP, 1, 0x1234);
	uint32_t m = map_new(&k);
	assert_int_equal(nat_at(m)->outside_port, 0x1234);
	assert_int_equal(((uint8_t *)given[STEER_ICMP])[0x1234 / 8], 1 << (0x1234 % 8));
	assert_int_equal(bits_in(i, STEER_TCP) + bits_in(i, STEER_UDP), 0);
	assert_int_equal(nat_pool_add(&p, &e), -ENOMEM);
	assert_int_equal(nat_pool_by_addr(&p.addr), -1);
	nat_unref(0, m);
	assert_int_equal(bits_in(i, STEER_ICMP), 0);
}

/* ---- mappings ---- */

static void test_eim(void **state)
{
	const struct ipaddr a = ip("192.0.2.1"), other = ip("192.0.2.2");
	uint32_t m, again;
	bool created;
	(void)state;
	unsigned p = add_pool("192.0.2.1", 10000, 20000, NAT_ADF);
	struct nat_key k = key_of(p, PROTO_UDP, 1, 12345);
	assert_int_equal(nat_map(0, &k, 100, 1, &m, &created), 0);
	assert_true(created);
	assert_int_equal(nat_at(m)->outside_port, 12345); /* kept */
	assert_true(ip_eq(&nat_at(m)->outside, &a));
	assert_int_equal(nat_at(m)->created, 100);
	assert_memory_equal(nat_key_at(m), &k, sizeof(k));
	assert_int_equal(nat_map(0, &k, 105, 2, &again, &created), 0);
	assert_false(created);
	assert_int_equal(again, m);
	assert_int_equal(nat_at(m)->refs, 2);
	assert_int_equal(nat_at(m)->created, 100);
	assert_int_equal(nat_count(), 1);

	/* another host, zone or protocol is another mapping; a taken port is not given twice */
	struct nat_key host = key_of(p, PROTO_UDP, 2, 12345), zone = k, proto = key_of(p, PROTO_TCP, 1, 12345),
		       low = key_of(p, PROTO_UDP, 1, 53), icmp = key_of(p, PROTO_ICMP6, 1, 12345),
		       sctp = key_of(p, PROTO_SCTP, 1, 12345);
	zone.zone = 7;
	uint32_t mh = map_new(&host), mz = map_new(&zone), mp = map_new(&proto), ml = map_new(&low),
		 mi = map_new(&icmp), ms = map_new(&sctp);
	assert_int_equal(nat_count(), 7);
	assert_int_equal(nat_at(ms)->outside_port, 12345);
	assert_int_not_equal(nat_at(mh)->outside_port, 12345);
	assert_int_not_equal(nat_at(mz)->outside_port, 12345);
	assert_int_equal(nat_at(mp)->outside_port, 12345);
	assert_int_equal(nat_at(mi)->outside_port, 12345);
	assert_in_range(nat_at(ml)->outside_port, 10000, 20000);
	assert_int_equal(nat_pools[p].in_use[STEER_UDP], 4);
	assert_int_equal(nat_by_outside(&a, PROTO_UDP, 12345), m);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 12345), mp);
	assert_int_equal(nat_by_outside(&a, PROTO_ICMP6, 12345), mi);
	assert_int_equal(nat_by_outside(&a, PROTO_UDP, nat_at(mh)->outside_port), mh);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 12346), 0);
	assert_int_equal(nat_by_outside(&other, PROTO_UDP, 12345), 0);
	assert_int_equal(nat_by_outside(&a, PROTO_SCTP, 12345), ms);
	unsigned n = 0;
	for (uint32_t i = nat_next(0); i; i = nat_next(i))
		n++;
	assert_int_equal(n, 7);

	assert_true(nat_ref(m));
	for (unsigned refs = 3; refs; refs--) {
		assert_int_equal(nat_by_outside(&a, PROTO_UDP, 12345), m);
		assert_true(bit_set(p, PROTO_UDP, 12345));
		nat_unref(0, m);
	}
	/* the last one frees bit, owner and entry */
	assert_false(nat_ref(m));
	assert_false(bit_set(p, PROTO_UDP, 12345));
	assert_int_equal(nat_pools[p].owner[STEER_UDP][12345], 0);
	assert_int_equal(nat_by_outside(&a, PROTO_UDP, 12345), 0);
	assert_int_equal(nat_count(), 6);
	assert_int_equal(nat_pools[p].in_use[STEER_UDP], 3);
	assert_int_equal(nat_map(0, &k, 200, 3, &again, &created), 0);
	assert_true(created);
	assert_int_not_equal(again, m); /* it rests for a grace period */
	assert_int_equal(nat_at(again)->outside_port, 12345);
}

static void test_refused(void **state)
{
	uint32_t m;
	bool created;
	(void)state;
	unsigned p = add_pool("192.0.2.1", 10000, 20000, NAT_EIF);
	struct nat_key k = key_of(p, 4, 1, 5), nowhere = key_of(p + 1, PROTO_TCP, 1, 5),
		       far = key_of(255, PROTO_TCP, 1, 5);
	assert_int_equal(nat_map(0, &k, 100, 0, &m, &created), -EINVAL);
	assert_int_equal(nat_map(0, &nowhere, 100, 0, &m, &created), -ENOSPC);
	assert_int_equal(nat_map(0, &far, 100, 0, &m, &created), -EINVAL);
	assert_true(nat_proto_supported(PROTO_ICMP) && nat_proto_supported(PROTO_ICMP6) &&
		    nat_proto_supported(PROTO_TCP));
	assert_true(nat_proto_supported(PROTO_SCTP));
	assert_false(nat_proto_supported(4) || nat_proto_supported(0));
	assert_int_equal(nat_count(), 0);
}

/* No failure before the last free port, whatever the range's place in the words of the bitmap and the random start. */
static void fill_range(const char *addr, uint16_t lo, uint16_t hi)
{
	unsigned p = add_pool(addr, lo, hi, NAT_EIF), n = (unsigned)hi - lo + 1;
	uint32_t *m = calloc(n, sizeof(*m)), last;
	const struct ipaddr a = ip(addr);

	for (unsigned i = 0; i < n; i++) {
		struct nat_key k = key_of(p, PROTO_TCP, i, (uint16_t)(lo + rnd(n) / 2)); /* half of them collide */
		m[i] = map_new(&k);
		assert_int_not_equal(m[i], 0);
		assert_in_range(nat_at(m[i])->outside_port, lo, hi);
		assert_int_equal(nat_by_outside(&a, PROTO_TCP, nat_at(m[i])->outside_port), m[i]);
	}
	struct nat_key k = key_of(p, PROTO_TCP, n, lo);
	uint32_t count = nat_count();
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(map_new(&k), 0);
	assert_int_equal(nat_count(), count);
	assert_int_equal(bits_in(p, STEER_TCP), n);
	assert_int_equal(nat_pools[p].in_use[STEER_TCP], n);
	/* existing ones are still found, other protocols have ports of their own */
	bool created;
	const struct nat_key first = *nat_key_at(m[0]);
	assert_int_equal(nat_map(0, &first, 1, 0, &last, &created), 0);
	nat_unref(0, last);
	struct nat_key udp = key_of(p, PROTO_UDP, n, lo);
	last = map_new(&udp);
	assert_int_equal(nat_at(last)->outside_port, lo);
	nat_unref(0, last);
	/* the one that comes free is the one that is given */
	for (unsigned i = 0; i < 20; i++) {
		unsigned victim = rnd(n);
		uint16_t port = nat_at(m[victim])->outside_port;
		nat_unref(0, m[victim]);
		k.inside = ip_from4(htonl(0x0b000000 + i));
		m[victim] = map_new(&k);
		assert_int_equal(nat_at(m[victim])->outside_port, port);
	}
	for (unsigned i = 0; i < n; i++)
		nat_unref(0, m[i]);
	assert_int_equal(bits_in(p, STEER_TCP), 0);
	assert_int_equal(nat_pools[p].in_use[STEER_TCP], 0);
	assert_int_equal(nat_count(), 0);
	free(m);
}

static void test_fill(void **state)
{
	(void)state;
	fill_range("192.0.2.1", 1, 1);
	fill_range("192.0.2.2", 65535, 65535);
	fill_range("192.0.2.3", 1000, 1063);
	fill_range("192.0.2.4", 1024, 1087);
	fill_range("192.0.2.5", 2047, 2300);
	fill_range("192.0.2.6", 1, 65535);
}

static void test_random_port(void **state)
{
	unsigned low = 0;
	(void)state;
	unsigned p = add_pool("192.0.2.1", 32768, 65535, NAT_EIF);
	for (unsigned i = 0; i < 400; i++) {
		struct nat_key k = key_of(p, PROTO_TCP, i, 80); /* not in the range */
		low += nat_at(map_new(&k))->outside_port < 49152;
	}
	assert_in_range(low, 140, 260); /* 200 +- 6 sigma */
}

/* ---- permits ---- */

static void test_permits(void **state)
{
	const struct ipaddr r1 = ip("203.0.113.1"), r2 = ip("2001:db8::1");
	(void)state;
	unsigned pa = add_pool("192.0.2.1", 1024, 65535, NAT_ADF), pp = add_pool("192.0.2.2", 1024, 65535, NAT_APDF),
		 pe = add_pool("192.0.2.3", 1024, 65535, NAT_EIF);
	struct nat_key ka = key_of(pa, PROTO_UDP, 1, 5000), kp = key_of(pp, PROTO_UDP, 1, 5000),
		       ke = key_of(pe, PROTO_UDP, 1, 5000);
	uint32_t a = map_new(&ka), p = map_new(&kp), e = map_new(&ke);

	assert_false(nat_permitted(a, &r1, 53));
	assert_int_equal(nat_permit(0, a, &r1, 53), 0);
	assert_true(nat_permitted(a, &r1, 53));
	assert_true(nat_permitted(a, &r1, 54)); /* address-dependent: any port */
	assert_true(nat_permitted(a, &r1, 0));
	assert_false(nat_permitted(a, &r2, 53));
	assert_false(nat_permitted(p, &r1, 53)); /* another mapping */
	assert_int_equal(nat_permit(0, a, &r1, 99), 0);
	nat_unpermit(0, a, &r1, 53);
	assert_true(nat_permitted(a, &r1, 53));
	nat_unpermit(0, a, &r1, 99);
	assert_false(nat_permitted(a, &r1, 53));

	assert_int_equal(nat_permit(0, p, &r2, 53), 0);
	assert_true(nat_permitted(p, &r2, 53));
	assert_false(nat_permitted(p, &r2, 54));
	nat_unpermit(0, p, &r2, 54); /* not there: no harm */
	assert_true(nat_permitted(p, &r2, 53));
	nat_unpermit(0, p, &r2, 53);
	assert_false(nat_permitted(p, &r2, 53));

	assert_true(nat_permitted(e, &r1, 53));
	assert_int_equal(nat_permit(0, e, &r1, 53), 0);
	nat_unpermit(0, e, &r1, 53);
	assert_true(nat_permitted(e, &r1, 53));

	/* the filter of a mapping is the one it was made under */
	struct err err;
	const struct ipaddr addr = ip("192.0.2.1");
	assert_int_equal(nat_permit(0, a, &r1, 53), 0);
	assert_int_equal(nat_pool_del(&addr, &err), 0);
	assert_int_equal(add_pool("192.0.2.1", 1024, 65535, NAT_APDF), pa);
	assert_true(nat_permitted(a, &r1, 99));
	nat_unpermit(0, a, &r1, 53);
	assert_false(nat_permitted(a, &r1, 53));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pool_config, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_pool_places, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_pool_readded, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_pool_choose, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_provider, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_eim, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_refused, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_fill, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_random_port, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_permits, open_all, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
