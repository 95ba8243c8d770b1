/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy table: rows follow the keys of a connection, one for each, and a full table refuses. */
#include "tests/unit/ct_kit.h"

#include "tables/proxy.h"

static int setup(void **state)
{
	struct err e;
	return open_small(state) || proxy_init(&e);
}

static int teardown(void **state)
{
	(void)state;
	proxy_fini();
	ct_fini();
	rcu_thread_unregister();
	return 0;
}

static struct ipaddr address(bool v6, uint32_t n)
{
	struct ipaddr a = { 0 };
	if (!v6)
		return ip_from4(htonl(0x0a000000 + n));
	a.b[0] = 0xfd;
	a.w[3] = htonl(n);
	return a;
}

static void set_key(bool v6, uint32_t r, uint32_t src, uint16_t sp, uint32_t dst, uint16_t dp)
{
	struct ipaddr s = address(v6, src), d = address(v6, dst);
	if (v6) {
		struct flow_key6 *k = &ct_flow6(r)->key;
		memcpy(k->src, s.b, 16);
		memcpy(k->dst, d.b, 16);
		k->sport = htons(sp);
		k->dport = htons(dp);
		k->zp = PROTO_TCP | 9 << 8; /* the zone is no part of what a socket knows */
	} else {
		ct_flow4(r)->key = (struct flow_key4){ s.w[3], d.w[3], htons(sp), htons(dp), PROTO_TCP | 9 << 8 };
	}
}

/* A client 'n' that asked address 2 port 80, which a mapping leads to address 3 port 8080. */
static uint32_t connection(bool v6, uint32_t n)
{
	uint32_t c = ct_alloc(ct_of(v6), 0, PROTO_TCP, T0);
	assert_true(c);
	ct_conn(ct_of(v6), c)->identity = 1000 + n;
	set_key(v6, 2 * c, n, 4000, 2, 80);
	set_key(v6, 2 * c + 1, 3, 8080, n, 4000);
	return c;
}

static uint32_t find_row(bool v6, uint32_t n, uint32_t dst, uint16_t port)
{
	const struct proxy_key k = { address(v6, n), address(v6, dst), htons(4000), htons(port), PROTO_TCP };
	return proxy_find(&k);
}

static void test_rows(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const bool v6 = families[i];
		const uint32_t a = connection(v6, 50), b = connection(v6, 51);
		assert_int_equal(proxy_add(0, v6, a, 15001), 0);
		assert_int_equal(proxy_add(0, v6, b, 15001), 0);
		assert_int_equal(proxy_add(1, v6, a, 15001), -EEXIST);
		assert_int_equal(proxy_count(), 2);
		/* by what the listener sees, not by what the client sent */
		assert_int_equal(find_row(v6, 50, 2, 80), 0);
		const uint32_t row = find_row(v6, 50, 3, 8080);
		assert_true(row);
		const struct proxy_value *v = proxy_at(row);
		const struct ipaddr asked = address(v6, 2);
		assert_true(ip_eq(&v->dst, &asked));
		assert_int_equal(v->dport, htons(80));
		assert_int_equal(v->identity, 1050);
		assert_int_equal(proxy_port(v6, a), 15001);
		ct_conn(ct_of(v6), a)->identity = 7;
		proxy_update(v6, a, 15002);
		assert_int_equal(v->identity, 7);
		assert_int_equal(proxy_port(v6, a), 15002);
		assert_int_equal(proxy_port(v6, b), 15001);
		proxy_del(0, v6, a);
		assert_int_equal(find_row(v6, 50, 3, 8080), 0);
		assert_int_equal(proxy_port(v6, a), 0);
		proxy_update(v6, a, 1); /* nothing to update */
		proxy_del(0, v6, b);
		assert_int_equal(proxy_count(), 0);
	}
}

static void test_full(void **state)
{
	(void)state;
	const uint32_t c = connection(false, 1), capacity = table_defs[TABLE_PROXY].capacity;
	for (uint32_t i = 0; i < capacity; i++) {
		set_key(false, 2 * c + 1, 3, 8080, i + 100, 4000);
		if (proxy_add(0, false, c, 15001))
			fail_msg("row %u of %u was refused", i + 1, capacity);
	}
	set_key(false, 2 * c + 1, 3, 8080, 99, 4000);
	assert_int_equal(proxy_add(0, false, c, 15001), -ENOSPC);
	assert_int_equal(proxy_count(), capacity);
	set_key(false, 2 * c + 1, 3, 8080, 100, 4000);
	proxy_del(0, false, c);
	set_key(false, 2 * c + 1, 3, 8080, 99, 4000);
	assert_int_equal(proxy_add(0, false, c, 15001), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
