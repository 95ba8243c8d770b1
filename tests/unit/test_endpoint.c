/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints: look-up by id and address, replacement, refusals that change nothing, the ipcache rows they imply, and a
 * random run against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "fwd/base/hash.h"
#include "fwd/base/rcu.h"
#include "tables/endpoint.h"
#include "tables/gen.h"
#include "tables/ipcache.h"
#include "tables/tunnel.h"

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static struct ipnet net(const char *s)
{
	struct ipnet n;
	assert_true(ipnet_parse(s, &n));
	return n;
}

static struct endpoint make(uint32_t id, uint32_t identity, const char *a, const char *b)
{
	struct endpoint ep = { .id = id, .identity = identity };
	if (a)
		ep.addr[ep.n_addrs++] = ip(a);
	if (b)
		ep.addr[ep.n_addrs++] = ip(b);
	return ep;
}

static int setup(void **state)
{
	struct err e = { "" };
	(void)state;
	hash_init(7);
	rcu_thread_register();
	assert_int_equal(tunnel_init(&e), 0);
	assert_int_equal(ipcache_init(&e), 0);
	assert_int_equal(endpoint_init(&e), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rcu_wait();
	endpoint_fini();
	ipcache_fini();
	tunnel_fini();
	return 0;
}

static uint32_t id_at(const char *a)
{
	struct ipaddr addr = ip(a);
	const struct endpoint *ep = endpoint_by_addr(&addr);
	return ep ? ep->id : 0;
}

static uint32_t identity_at(const char *a)
{
	struct ipaddr addr = ip(a);
	return ipcache_identity(&addr, NULL);
}

static void test_set_and_replace(void **state)
{
	struct endpoint ep = make(10, 1001, "10.1.0.10", "fd00::10");
	struct err e = { "" };
	uint16_t dep;
	(void)state;
	assert_null(endpoint_by_id(10));
	assert_null(endpoint_by_id(ENDPOINT_ID_MAX + 1));
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(endpoint_count(), 1);
	assert_int_equal(id_at("10.1.0.10"), 10);
	assert_int_equal(id_at("fd00::10"), 10);
	assert_int_equal(id_at("10.1.0.11"), 0);
	assert_int_equal(identity_at("fd00::10"), 1001);
	assert_int_equal(ipcache_count(), 2);
	uint16_t gen = endpoint_by_id(10)->gen;
	assert_int_not_equal(gen, 0);

	/* other addresses and identity: rows follow, counters of both move */
	struct ipaddr kept = ip("10.1.0.10");
	ipcache_identity(&kept, &dep);
	uint32_t g = gen_load(gen), row = gen_load(dep);
	ep = make(10, 1002, "10.1.0.10", "10.1.0.12");
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(endpoint_by_id(10)->gen, gen);
	assert_true(gen_load(gen) > g);
	assert_true(gen_load(dep) > row);
	assert_int_equal(endpoint_count(), 1);
	assert_int_equal(id_at("10.1.0.12"), 10);
	assert_int_equal(id_at("fd00::10"), 0);
	assert_int_equal(identity_at("fd00::10"), ID_WORLD);
	assert_int_equal(identity_at("10.1.0.10"), 1002);
	assert_int_equal(identity_at("10.1.0.12"), 1002);
	assert_int_equal(ipcache_count(), 2);

	g = gen_load(gen);
	assert_int_equal(endpoint_del(10, &e), 0);
	assert_int_equal(gen_load(gen), g + 1);
	assert_int_equal(endpoint_del(10, &e), -ENOENT);
	assert_int_equal(endpoint_count(), 0);
	assert_int_equal(ipcache_count(), 0);
	assert_int_equal(id_at("10.1.0.10"), 0);
}

static void test_refusals(void **state)
{
	struct endpoint a = make(10, 1001, "10.1.0.10", NULL), b = make(11, 1002, "10.1.0.11", "10.1.0.10");
	struct err e = { "" };
	(void)state;
	assert_int_equal(endpoint_set(&a, &e), 0);
	assert_int_equal(endpoint_set(&b, &e), -EEXIST);
	assert_non_null(strstr(e.text, "endpoint 11: address 10.1.0.10 belongs to endpoint 10"));
	assert_null(endpoint_by_id(11));
	assert_int_equal(id_at("10.1.0.11"), 0);
	assert_int_equal(ipcache_count(), 1);
	b = make(0, 1, "10.1.0.11", NULL);
	assert_int_equal(endpoint_set(&b, &e), -EINVAL);
	b = make(65536, 1, "10.1.0.11", NULL);
	assert_int_equal(endpoint_set(&b, &e), -EINVAL);
	b = make(11, ID_MAX + 1, "10.1.0.11", NULL);
	assert_int_equal(endpoint_set(&b, &e), -EINVAL);
	b = make(11, 1, "10.1.0.11", "10.1.0.11");
	assert_int_equal(endpoint_set(&b, &e), -EINVAL);
	b = make(11, 1, "224.0.0.1", NULL);
	assert_int_equal(endpoint_set(&b, &e), -EINVAL);
	b = make(11, 1, "0.0.0.0", NULL);
	assert_int_equal(endpoint_set(&b, &e), -EINVAL);
	assert_int_equal(endpoint_count(), 1);
}

/* A configured row of an endpoint's address stands aside while the endpoint lives. */
static void test_configured_row_returns(void **state)
{
	struct endpoint ep = make(10, 1001, "10.1.0.10", NULL);
	struct ipnet host = net("10.1.0.10/32"), n;
	struct ipcache_value v;
	struct err e = { "" };
	(void)state;
	assert_int_equal(ipcache_set(&host, 2001, NULL, 0, &e), 0);
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(identity_at("10.1.0.10"), 1001);
	assert_int_equal(ipcache_count(), 1);
	assert_int_not_equal(ipcache_next(0, &n, &v), 0);
	assert_int_equal(v.flags, IPCACHE_ENDPOINT);
	assert_int_equal(ipcache_set(&host, 2002, NULL, 0, &e), -EEXIST);
	assert_int_equal(endpoint_del(10, &e), 0);
	assert_int_equal(identity_at("10.1.0.10"), 2001);
	assert_int_equal(ipcache_count(), 1);

	/* deleted while it stood aside: gone for good */
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(ipcache_del(&host, &e), 0);
	assert_int_equal(identity_at("10.1.0.10"), 1001);
	assert_int_equal(ipcache_del(&host, &e), -EEXIST);
	assert_int_equal(endpoint_del(10, &e), 0);
	assert_int_equal(identity_at("10.1.0.10"), ID_WORLD);
	assert_int_equal(ipcache_count(), 0);
}

/* The address table filled to the brim: one more is refused as a whole, and a deletion makes room at once. */
static void test_full(void **state)
{
	enum { CAPACITY = 64 * 1024 };
	struct err e = { "" };
	uint32_t n = 0, id = 0;
	(void)state;
	while (n < CAPACITY - 1) {
		struct endpoint ep = { .id = ++id, .identity = 1001 };
		while (ep.n_addrs < ENDPOINT_ADDRS && n < CAPACITY - 1)
			ep.addr[ep.n_addrs++] = ip_from4(htonl(0x0a000001 + n++));
		assert_int_equal(endpoint_set(&ep, &e), 0);
	}
	struct endpoint two = make(60000, 1002, "192.0.2.1", "192.0.2.2");
	assert_int_equal(endpoint_set(&two, &e), -ENOSPC);
	assert_null(endpoint_by_id(60000));
	assert_int_equal(id_at("192.0.2.1"), 0);
	assert_int_equal(identity_at("192.0.2.1"), ID_WORLD);
	assert_int_equal(ipcache_count(), CAPACITY - 1);
	assert_int_equal(endpoint_del(1, &e), 0);
	assert_int_equal(endpoint_set(&two, &e), 0);
	assert_int_equal(id_at("192.0.2.2"), 60000);
}

/* ---- against a plain array ---- */

enum { IDS = 12, ADDRS = 20 };
static uint64_t seed = 88172645463325252ull;
static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % n;
}

static struct ipaddr nth(uint32_t i)
{
	struct ipaddr six = ip("fd00::1");
	six.b[14] = (uint8_t)i;
	return i & 1 ? six : ip_from4(htonl(0x0a010000 + i));
}

static void test_random(void **state)
{
	struct endpoint twin[IDS + 1] = { 0 };
	uint32_t configured[ADDRS] = { 0 }; /* identity of a configured ipcache row */
	struct err e = { "" };
	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		uint32_t owner[ADDRS] = { 0 }, count = 0, rows = 0, id = 1 + rnd(IDS), a = rnd(ADDRS);
		for (uint32_t i = 1; i <= IDS; i++)
			for (unsigned k = 0; k < twin[i].n_addrs; k++)
				for (uint32_t x = 0; x < ADDRS; x++) {
					struct ipaddr addr = nth(x);
					if (ip_eq(&addr, &twin[i].addr[k]))
						owner[x] = i;
				}
		struct ipnet host = { .addr = nth(a), .len = 128 };
		if (rnd(4) == 0) {
			int r = rnd(2) ? ipcache_set(&host, 3000 + round, NULL, 0, &e) : -1;
			if (r == 0)
				configured[a] = 3000 + round;
			else if (r == -1)
				configured[a] = ipcache_del(&host, &e) ? configured[a] : 0;
			else
				assert_int_not_equal(owner[a], 0);
		} else if (rnd(4) == 0) {
			assert_int_equal(endpoint_del(id, &e), twin[id].id ? 0 : -ENOENT);
			memset(&twin[id], 0, sizeof(twin[id]));
		} else {
			struct endpoint ep = { .id = id, .identity = 1000 + rnd(3) };
			bool taken = false;
			for (uint32_t x = rnd(3); x < ADDRS && ep.n_addrs < 4; x += 1 + rnd(10)) {
				ep.addr[ep.n_addrs++] = nth(x);
				taken |= owner[x] && owner[x] != id;
			}
			assert_int_equal(endpoint_set(&ep, &e), taken ? -EEXIST : 0);
			if (!taken)
				twin[id] = ep;
		}
		for (uint32_t x = 0; x < ADDRS; x++) {
			struct ipaddr addr = nth(x);
			const struct endpoint *got = endpoint_by_addr(&addr);
			uint32_t who = 0;
			for (uint32_t i = 1; i <= IDS; i++)
				for (unsigned k = 0; k < twin[i].n_addrs; k++)
					if (ip_eq(&addr, &twin[i].addr[k]))
						who = i;
			assert_int_equal(got ? got->id : 0, who);
			assert_int_equal(ipcache_identity(&addr, NULL), who             ? twin[who].identity
									: configured[x] ? configured[x]
											: ID_WORLD);
			rows += who || configured[x];
		}
		for (uint32_t i = endpoint_next(0); i; i = endpoint_next(i), count++)
			assert_int_equal(endpoint_by_id(i)->n_addrs, twin[i].n_addrs);
		assert_int_equal(count, endpoint_count());
		assert_int_equal(rows, ipcache_count());
		rcu_poll_deferred();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_and_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_configured_row_returns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
