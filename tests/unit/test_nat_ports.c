/* SPDX-License-Identifier: BSD-2-Clause */
/* Which port of a pool address a new mapping gets: class and parity, rest; quotas of inside addresses. */
#include "fwd/base/clock.h"
#include "tables/nat_pool.h"
#include "tests/unit/nat_kit.h"
#include "tests/support/pair.h"

static const struct nat_remote somebody = { .port = 53 };

static unsigned add(const struct nat_pool *more)
{
	struct nat_pool conf = *more;
	struct err e = { "" };
	conf.addr = ip("192.0.2.1");
	conf.port = -1;
	int r = nat_pool_add(&conf, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return (unsigned)r;
}

static int map_at(const struct nat_key *k, uint32_t now_s, uint32_t *m)
{
	bool created;
	return nat_map(0, k, now_s, rnd64(), m, &created);
}

/* ---- class and parity ---- */

static void test_class(void **state)
{
	enum { N = 200 };
	uint32_t m[2][N];
	(void)state;
	unsigned p = add(&(struct nat_pool){ .port_lo = 1, .port_hi = 65535, .filter = NAT_EIF });
	/* well-known ones stay below 1024, the others stay above: RFC 4787 REQ-3a */
	for (uint32_t i = 0; i < N; i++) {
		struct nat_key low = key_of(p, PROTO_UDP, i, 500), high = key_of(p, PROTO_UDP, i, 4500);
		m[0][i] = map_new(&low);
		m[1][i] = map_new(&high);
		assert_in_range(nat_at(m[0][i])->outside_port, 1, 1023);
		assert_in_range(nat_at(m[1][i])->outside_port, 1024, 65535);
	}
	/* an id of ICMP has no class: nothing is preferred but the id itself */
	unsigned above = 0;
	for (uint32_t i = 0; i < N; i++) {
		struct nat_key k = key_of(p, PROTO_ICMP, i, 500);
		above += nat_at(map_new(&k))->outside_port > 1023;
	}
	assert_true(above > N / 2);
	/* more than the class has: others are better than none */
	for (uint32_t i = N; i < 1023; i++) {
		struct nat_key k = key_of(p, PROTO_UDP, i, 500);
		assert_in_range(nat_at(map_new(&k))->outside_port, 1, 1023);
	}
	struct nat_key k = key_of(p, PROTO_UDP, 5000, 500);
	assert_in_range(nat_at(map_new(&k))->outside_port, 1024, 65535);
}

static void test_parity(void **state)
{
	unsigned odd = 0;
	(void)state;
	unsigned p = add(&(struct nat_pool){ .port_lo = 2000, .port_hi = 2099, .filter = NAT_EIF });
	for (uint32_t i = 0; i < 50; i++) { /* RFC 4787 REQ-4, as long as there is one */
		struct nat_key k = key_of(p, PROTO_UDP, i, 9000), tcp = key_of(p, PROTO_TCP, i, 9000);
		assert_int_equal(nat_at(map_new(&k))->outside_port % 2, 0);
		odd += nat_at(map_new(&tcp))->outside_port % 2;
	}
	assert_true(odd);
	struct nat_key k = key_of(p, PROTO_UDP, 99, 9000);
	assert_int_equal(nat_at(map_new(&k))->outside_port % 2, 1);
	for (uint32_t i = 0; i < 49; i++) {
		k = key_of(p, PROTO_UDP, i, 9001);
		assert_int_equal(nat_at(map_new(&k))->outside_port % 2, 1);
	}
	k = key_of(p, PROTO_UDP, 50, 9001);
	assert_int_equal(map_new(&k), 0);
}

/* ---- rest ---- */

static void test_rest(void **state)
{
	uint32_t m, other;
	(void)state;
	unsigned p = add(&(struct nat_pool){ .port_lo = 3000, .port_hi = 3001, .filter = NAT_EIF, .rest = 120 });
	struct nat_key a = key_of(p, PROTO_TCP, 1, 3000), b = key_of(p, PROTO_TCP, 2, 3000),
		       c = key_of(p, PROTO_TCP, 3, 3000), d = key_of(p, PROTO_TCP, 4, 3000);
	clock_set(1000 * NS_PER_S);
	m = map_new(&a);
	assert_int_equal(nat_at(m)->outside_port, 3000);
	nat_unref(0, m);
	/* its last user gets it back, others do not, until it has rested */
	assert_int_equal(map_at(&a, 1001, &m), 0);
	assert_int_equal(nat_at(m)->outside_port, 3000);
	nat_unref(0, m);
	assert_int_equal(map_at(&b, 1119, &m), 0);
	assert_int_equal(nat_at(m)->outside_port, 3001);
	/* but it refuses nobody: with nothing else free it is given */
	assert_int_equal(map_at(&c, 1119, &other), 0);
	assert_int_equal(nat_at(other)->outside_port, 3000);
	assert_int_equal(map_at(&d, 1119, &m), -ENOSPC);
	clock_set(1200 * NS_PER_S);
	nat_unref(0, other);
	assert_int_equal(map_at(&d, 1320, &m), 0);
	assert_int_equal(nat_at(m)->outside_port, 3000);
	clock_set(0);
}

/* All free ones rest: the one that rested longest is given. */
static void test_rest_longest(void **state)
{
	enum { N = 300 };
	static uint32_t m[N];
	uint32_t got;
	(void)state;
	unsigned p =
		add(&(struct nat_pool){ .port_lo = 4000, .port_hi = 4000 + N - 1, .filter = NAT_EIF, .rest = 3600 });
	for (uint32_t i = 0; i < N; i++) {
		struct nat_key k = key_of(p, PROTO_UDP, i, (uint16_t)(4000 + i));
		m[i] = map_new(&k);
	}
	for (uint32_t i = 0; i < N; i++) {
		const uint32_t which = (i * 7 + 5) % N; /* 7 and 300 share no factor */
		clock_set((5000 + i) * NS_PER_S);
		nat_unref(0, m[which]);
	}
	for (uint32_t i = 0; i < N; i++) {
		struct nat_key k = key_of(p, PROTO_UDP, N + i, 80);
		assert_int_equal(map_at(&k, 5000 + N, &got), 0);
		assert_int_equal(nat_at(got)->outside_port, 4000 + (i * 7 + 5) % N);
	}
	clock_set(0);
}

/* A large range in which everything rests: a claim does not look at all of it, and refuses nobody before the last port. */
static void test_rest_all(void **state)
{
	struct nat_port_wish w = { .user = 1, .now_s = 1000 };
	struct ipaddr a;
	(void)state;
	unsigned p = add(&(struct nat_pool){ .port_lo = 1, .port_hi = 65535, .filter = NAT_EIF, .rest = 3600 });
	clock_set(1000 * NS_PER_S);
	for (unsigned i = 1; i <= 65535; i++) {
		w.port = (uint16_t)i;
		assert_int_equal(nat_port_claim(p, STEER_TCP, &w, &a), i);
	}
	for (unsigned i = 1; i <= 65535; i++)
		nat_port_release(p, STEER_TCP, (uint16_t)i, 1 + i % 500 / 499);
	/* others take some; the last user takes his, but for every 500th; others take these */
	w = (struct nat_port_wish){ .user = 3, .now_s = 1001 };
	for (unsigned i = 0; i < 100; i++) {
		w.random = rnd64();
		assert_true(nat_port_claim(p, STEER_TCP, &w, &a) > 0);
	}
	w.user = 1;
	for (unsigned i = 1; i <= 65535; i++) {
		w.port = (uint16_t)i;
		if (i % 500 != 499 && !bit_set(p, PROTO_TCP, w.port))
			assert_int_equal(nat_port_claim(p, STEER_TCP, &w, &a), i);
	}
	w.user = 3;
	w.port = 0;
	unsigned left = 65535 - nat_ports_taken(&nat_pools[p], STEER_TCP);
	assert_true(left > 100);
	for (; left; left--) {
		w.random = rnd64();
		assert_true(nat_port_claim(p, STEER_TCP, &w, &a) > 0);
	}
	assert_int_equal(nat_port_claim(p, STEER_TCP, &w, &a), -ENOSPC);
	clock_set(0);
}

/* ---- quota ---- */

static void test_quota(void **state)
{
	uint32_t m[4], again;
	struct err e;
	(void)state;
	unsigned p = add(&(struct nat_pool){ .filter = NAT_EIF, .max_ports = 3, .max_sessions = 5 });
	for (unsigned i = 0; i < 3; i++) {
		struct nat_key k = key_of(p, i ? PROTO_UDP : PROTO_TCP, 1, (uint16_t)(5000 + i));
		assert_int_equal(nat_open_try(&k, &somebody), 0);
		m[i] = map_new(&k);
	}
	struct nat_key fourth = key_of(p, PROTO_UDP, 1, 6000), other = key_of(p, PROTO_UDP, 2, 6000),
		       second = *nat_key_at(m[1]);
	assert_int_equal(nat_open_try(&fourth, &somebody), -EDQUOT);
	assert_int_equal(map_at(&fourth, 1, &again), -EDQUOT);
	assert_int_equal(nat_count(), 3);
	assert_int_equal(nat_refused(p, -EDQUOT), 1);
	assert_int_equal(nat_refused(p, -ENOSPC), 0);
	/* another address has a quota of its own */
	m[3] = map_new(&other);
	assert_int_not_equal(m[3], 0);
	assert_int_equal(nat_source_count(), 2);
	/* more connections by a port there is: up to 5 */
	assert_int_equal(map_at(&second, 1, &again), 0);
	assert_int_equal(nat_ref_new(0, m[1]), 0);
	assert_int_equal(nat_open_try(&second, &somebody), -EDQUOT);
	assert_int_equal(map_at(&second, 1, &again), -EDQUOT);
	assert_int_equal(nat_ref_new(0, m[2]), -EDQUOT);
	assert_int_equal(nat_at(m[1])->refs, 3);
	assert_int_equal(nat_refused(p, -EDQUOT), 3);
	nat_unref(0, m[1]);
	assert_int_equal(map_at(&second, 1, &again), 0);
	/* a port comes free */
	nat_unref(0, m[0]);
	assert_int_equal(map_at(&fourth, 1, &m[0]), 0);
	/* another pool asks for nothing, what it had is still counted to the end */
	const struct ipaddr a = ip("192.0.2.1");
	assert_int_equal(nat_pool_del(&a, &e), 0);
	assert_int_equal(add(&(struct nat_pool){ .filter = NAT_EIF }), p);
	struct nat_key fifth = key_of(p, PROTO_UDP, 1, 6001);
	again = map_new(&fifth);
	assert_int_not_equal(again, 0);
	assert_int_equal(nat_at(again)->source, 0);
	nat_unref(0, again);
	for (unsigned i = 0; i < 3; i++)
		nat_unref(0, m[1]);
	nat_unref(0, m[0]);
	nat_unref(0, m[2]);
	nat_unref(0, m[3]);
	assert_int_equal(nat_count(), 0);
	assert_int_equal(nat_source_count(), 0);
	/* added anew by another address in the same place: counted from 0 */
	assert_int_equal(nat_pool_del(&a, &e), 0);
	assert_int_equal(add(&(struct nat_pool){ .filter = NAT_EIF }), p);
}

/* Two threads open and close connections of one address: the row comes and goes, and never counts wrong. */
enum { QUOTA_ROUNDS = 100000 };
static unsigned quota_pool, quota_over[2];

static void churn(unsigned me)
{
	uint64_t x = 5 + me;
	uint32_t m;
	bool created;

	for (unsigned n = 0; n < QUOTA_ROUNDS; n++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		struct nat_key k = key_of(quota_pool, PROTO_UDP, 1, (uint16_t)(3000 + (x >> 40) % 3));
		int err = nat_map(me, &k, 1, x, &m, &created);
		if (err && err != -EDQUOT)
			abort();
		quota_over[me] += err == -EDQUOT;
		if (!err)
			nat_unref(me, m);
		if (n % 64 == 0)
			rcu_quiescent();
	}
}

static void test_quota_race(void **state)
{
	(void)state;
	quota_pool = add(&(struct nat_pool){ .filter = NAT_EIF, .max_ports = 2, .max_sessions = 2 });
	run_pair(churn);
	assert_int_equal(quota_over[0] + quota_over[1], 0); /* two threads hold one each at most */
	assert_int_equal(nat_count(), 0);
	assert_int_equal(nat_source_count(), 0);
}

/* ---- how full ---- */

static void test_taken(void **state)
{
	const struct ipaddr a = ip("192.0.2.1");
	struct err e;
	(void)state;
	unsigned p = add(&(struct nat_pool){ .port_lo = 1000, .port_hi = 1100, .filter = NAT_EIF });
	for (uint32_t i = 0; i < 101; i++) {
		struct nat_key k = key_of(p, PROTO_TCP, i, 80);
		map_new(&k);
		assert_int_equal(nat_ports_taken(&nat_pools[p], STEER_TCP), i + 1);
	}
	assert_int_equal(nat_ports_of(&nat_pools[p]), 101);
	struct nat_key k = key_of(p, PROTO_TCP, 200, 80);
	assert_int_equal(nat_open_try(&k, &somebody), -ENOSPC);
	assert_int_equal(map_new(&k), 0);
	assert_int_equal(nat_refused(p, -ENOSPC), 1);
	/* another range: ports of the former one are in use, but it is empty, and all of it can be had */
	assert_int_equal(nat_pool_del(&a, &e), 0);
	assert_int_equal(add(&(struct nat_pool){ .port_lo = 2000, .port_hi = 2001, .filter = NAT_EIF }), p);
	assert_int_equal(nat_ports_taken(&nat_pools[p], STEER_TCP), 0);
	assert_int_equal(nat_open_try(&k, &somebody), 0);
	assert_int_not_equal(map_new(&k), 0);
	k.inside_port = 81;
	assert_int_not_equal(map_new(&k), 0);
	k.inside_port = 82;
	assert_int_equal(map_new(&k), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_class, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_parity, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_rest, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_rest_longest, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_rest_all, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_quota, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_quota_race, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_taken, open_all, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
