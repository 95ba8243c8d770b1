/* SPDX-License-Identifier: BSD-2-Clause */
/* Services without packets: Maglev's properties against counting, and the choice of each algorithm. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "tables/affinity.h"
#include "tables/endpoint.h"
#include "tables/ipcache.h"
#include "tables/maglev.h"
#include "tables/service.h"

enum { M = MAGLEV_DEFAULT, NODES = 200, MANY = 300 };

static struct maglev_node node[MANY];
static uint16_t slot[M], other[M];

static struct ipaddr addr(uint32_t n)
{
	return ip_from4(htonl(0x0a000000 + n));
}

static void nodes(uint32_t n, uint32_t weight)
{
	for (uint32_t i = 0; i < n; i++) {
		struct ipaddr a = addr(i + 1);
		node[i] = (struct maglev_node){ maglev_name(&a, 80), weight };
	}
}

/* Weights of the property tests: equal ones, small ones (also 0), far apart. */
static uint32_t weight_of(unsigned kind, uint32_t i)
{
	const uint32_t r = (i + 1) * 2654435761u >> 8;
	return kind == 0 ? 1 : kind == 1 ? r % 6 : 1 + r % 1000;
}

static uint64_t total_of(const struct maglev_node *v, uint32_t n)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < n; i++)
		total += v[i].weight;
	return total;
}

/* Shares follow the weights to less than two slots; who has a weight that comes to a slot has one. */
static void check_spread(const uint16_t *s, const struct maglev_node *v, uint32_t n)
{
	uint32_t count[MANY] = { 0 };
	const uint64_t total = total_of(v, n);
	for (uint32_t i = 0; i < M; i++)
		count[s[i]]++;
	for (uint32_t i = 0; i < n; i++) {
		const double want = (double)M * v[i].weight / (double)total;
		assert_true(count[i] > want - 2 && count[i] < want + 2);
		assert_true(want < 1 || count[i] > 0);
		assert_true(v[i].weight || !count[i]);
	}
}

/* 'gone' of 'n' goes, which moves at most 1 % of the table beyond its own slots. Seen the other way it comes. */
static void check_disruption(uint32_t n, uint32_t gone)
{
	const uint32_t weight = node[gone].weight;
	uint32_t moved = 0;
	node[gone].weight = 0;
	assert_int_equal(maglev_fill(other, M, node, n), 0);
	check_spread(other, node, n);
	node[gone].weight = weight;
	for (uint32_t s = 0; s < M; s++)
		moved += slot[s] != gone && slot[s] != other[s];
	if (moved > M / 100)
		fail_msg("%u of %u goes: %u slots of others move", gone, n, moved);
}

static void test_spread_and_disruption(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++)
		for (uint32_t n = 2; n <= NODES; n += n < 10 ? 1 : n < 50 ? 8 : 25) {
			nodes(n, 1);
			for (uint32_t i = 0; i < n; i++)
				node[i].weight = weight_of(kind, i);
			assert_int_equal(maglev_fill(slot, M, node, n), 0);
			check_spread(slot, node, n);
			for (uint32_t i = 0; i < 4; i++) {
				const uint32_t gone = i * n / 4;
				if (node[gone].weight < total_of(node, n))
					check_disruption(n, gone);
			}
		}
	nodes(3, 0);
	assert_int_equal(maglev_fill(slot, M, node, 3), -EINVAL);
	nodes(3, 1);
	assert_int_equal(maglev_fill(slot, 1000, node, 3), -EINVAL);
}

/* More nodes than slots, and weights as far apart as they get: who comes to a slot has one, and it ends. */
static void test_extremes(void **state)
{
	(void)state;
	nodes(MANY, 1);
	node[0].weight = UINT16_MAX * 256u;
	assert_int_equal(maglev_fill(slot, M, node, MANY), 0);
	for (uint32_t s = 0; s < M; s++)
		assert_int_equal(slot[s], 0);
	nodes(MANY, 1);
	assert_int_equal(maglev_fill(slot, 251, node, MANY), 0);
	for (uint32_t s = 0; s < 251; s++)
		assert_true(slot[s] < MANY);
	nodes(2, 1);
	node[1].weight = M;
	assert_int_equal(maglev_fill(slot, M, node, 2), 0);
	check_spread(slot, node, 2);
}

/* Two gateways whose configurations name the backends in another order. */
static void test_order(void **state)
{
	static struct maglev_node back[NODES];
	(void)state;
	nodes(17, 3);
	for (uint32_t i = 0; i < 17; i++)
		back[i] = node[16 - i];
	assert_int_equal(maglev_fill(slot, M, node, 17) | maglev_fill(other, M, back, 17), 0);
	for (uint32_t s = 0; s < M; s++)
		assert_int_equal(slot[s], 16 - other[s]);
}

/* ---- services ---- */

static struct service_conf conf;
static struct err e;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(endpoint_init(&e) | ipcache_init(&e) | service_init(&e) | affinity_init(&e), 0);
	conf = (struct service_conf){ .key = { .vip = addr(1000), .port = 80, .proto = PROTO_TCP }, .maglev_size = M };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	affinity_fini();
	service_fini();
	ipcache_fini();
	endpoint_fini();
	rcu_wait();
	return 0;
}

static void configure(enum service_algorithm a, const uint16_t *weight, unsigned n)
{
	conf.algorithm = a;
	assert_int_equal(service_set(&conf, NULL, 0, &e), 0);
	for (unsigned i = 0; i < n; i++) {
		struct ipaddr b = addr(i + 1);
		assert_int_equal(backend_set(&conf.key, &b, 80, weight[i], BACKEND_ACTIVE, &e), 0);
	}
	assert_int_equal(service_commit(&e), 0);
}

static const struct service *find(void)
{
	bool vip;
	const struct service *s = service_find(&conf.key.vip, 80, PROTO_TCP, &vip);
	assert_true(s && vip);
	return s;
}

static unsigned which(uint32_t b)
{
	return ntohl(backend_key_at(b)->addr.w[3]) - 0x0a000001;
}

static void test_algorithms(void **state)
{
	static const uint16_t weight[] = { 1, 3, 0, 6 };
	enum { N = 20000 };
	(void)state;
	for (unsigned a = LB_MAGLEV; a <= LB_SOURCE; a++) {
		unsigned count[4] = { 0 };
		configure((enum service_algorithm)a, weight, 4);
		const struct service *s = find();
		for (unsigned i = 0; i < N; i++) {
			struct ipaddr c = addr(5000 + i);
			uint32_t b = service_choose(s, &c, (uint16_t)i, i * 2654435761u, false);
			count[which(b)]++;
			if (a == LB_LEASTCONN)
				backend_take(b);
		}
		for (unsigned i = 0; i < 4; i++) {
			double want = N * weight[i] / 10.0;
			assert_true(count[i] >= want * 0.93 && count[i] <= want * 1.07);
		}
	}
	/* source: whatever the port; maglev: not so */
	struct ipaddr c = addr(77);
	const struct service *s = find();
	bool same = true;
	for (uint16_t p = 1; p < 100; p++)
		assert_int_equal(service_choose(s, &c, p, 0, false), service_choose(s, &c, 1, 0, false));
	configure(LB_MAGLEV, weight, 4);
	s = find();
	for (uint16_t p = 1; p < 100; p++)
		same &= service_choose(s, &c, p, 0, false) == service_choose(s, &c, 1, 0, false);
	assert_false(same);
}

/* A deleted backend stays as long as a connection holds it, and its place is given back then. */
static void test_gone(void **state)
{
	static const uint16_t weight[] = { 1, 1 };
	(void)state;
	configure(LB_WRR, weight, 2);
	struct ipaddr a = addr(1);
	const uint32_t id = find()->id, b = backend_find(id, &a, 80);
	backend_take(b);
	assert_int_equal(backend_del(&conf.key, &a, 80, &e) | service_commit(&e), 0);
	assert_int_equal(backend_at(b)->use, USE_NONE);
	assert_int_equal(backend_find(id, &a, 80), 0);
	for (int i = 0; i < 5; i++)
		assert_int_not_equal(service_choose(find(), &a, 1, 0, false), b);
	rcu_wait();
	service_tick(1);
	assert_int_equal(backend_count(), 2);
	backend_give(b);
	rcu_wait();
	service_tick(2);
	assert_int_equal(backend_count(), 1);
	/* the service too */
	struct ipaddr last = addr(2);
	assert_int_equal(service_del(&conf.key, &e), -EBUSY);
	assert_int_equal(backend_del(&conf.key, &last, 80, &e) | service_del(&conf.key, &e) | service_commit(&e), 0);
	assert_false(service_is_vip(&conf.key.vip));
	rcu_wait();
	service_tick(3);
	assert_int_equal(backend_count() + service_count(), 0);
}

static void test_health(void **state)
{
	static const uint16_t weight[] = { 1, 1 };
	(void)state;
	configure(LB_WRR, weight, 2);
	struct ipaddr a = addr(1), c = addr(2);
	const uint32_t id = find()->id, b = backend_find(id, &a, 80);
	assert_int_equal(backend_set(&conf.key, &c, 80, 1, BACKEND_DRAINING, &e) | service_commit(&e), 0);
	assert_int_equal(service_choose(find(), &a, 1, 0, false), b);
	backend_health_set(b, HEALTH_DOWN);
	assert_int_equal(service_commit(&e), 0);
	assert_true(find()->fallback);
	assert_int_equal(which(service_choose(find(), &a, 1, 0, false)), 1);
	assert_int_equal(backend_at(b)->use, USE_NONE);
	assert_int_equal(backend_set(&conf.key, &c, 80, 1, BACKEND_MAINTENANCE, &e) | service_commit(&e), 0);
	assert_int_equal(service_choose(find(), &a, 1, 0, false), 0);
}

/* Of 1000 new connections, how many the backend gets. */
static unsigned portion(unsigned backend)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < 10000; i++) {
		struct ipaddr c = addr(5000 + i);
		n += which(service_choose(find(), &c, 1, 0, false)) == backend;
	}
	return (n + 5) / 10;
}

static void at(uint32_t s)
{
	clock_set(s * NS_PER_S);
	service_tick(s);
}

/* From a sixteenth of its weight at 'from' to all of it 32 s later, by and by. */
static void check_ramp(uint32_t from)
{
	unsigned last = 0, steps = 0;
	assert_in_range(portion(2), 20, 40);
	for (uint32_t s = 0; s <= 40; s++) {
		at(from + s);
		const unsigned now = portion(2);
		assert_true(now >= last);
		steps += now > last;
		last = now;
		if (s == 16) /* half of it: 8 of 16 + 16 + 8 */
			assert_in_range(now, 180, 220);
		if (s == 31)
			assert_true(now < 333);
		if (s >= 32)
			assert_in_range(now, 318, 348);
	}
	assert_true(steps >= 12);
}

/* A backend that comes, or comes back, does not get its full share at once; those of a new service do. */
static void test_slow_start(void **state)
{
	static const uint16_t weight[] = { 1, 1, 1 };
	(void)state;
	conf.slow_start = 32;
	at(1000);
	configure(LB_MAGLEV, weight, 2);
	assert_in_range(portion(1), 480, 520);
	at(1001);
	configure(LB_MAGLEV, weight, 3);
	check_ramp(1001);
	struct ipaddr third = addr(3);
	const uint32_t b = backend_find(find()->id, &third, 80);
	backend_health_set(b, HEALTH_DOWN);
	at(1100);
	assert_int_equal(portion(2), 0);
	backend_health_set(b, HEALTH_UP);
	at(1200);
	check_ramp(1200);
	assert_int_equal(backend_set(&conf.key, &third, 80, 1, BACKEND_MAINTENANCE, &e) | service_commit(&e), 0);
	assert_int_equal(portion(2), 0);
	at(1300);
	assert_int_equal(backend_set(&conf.key, &third, 80, 1, BACKEND_ACTIVE, &e) | service_commit(&e), 0);
	check_ramp(1300);
	/* told otherwise, it is at its weight with the next change */
	at(1400);
	backend_health_set(b, HEALTH_DOWN);
	at(1401);
	backend_health_set(b, HEALTH_UP);
	at(1402);
	assert_true(portion(2) < 50);
	conf.slow_start = 0;
	assert_int_equal(service_set(&conf, NULL, 0, &e) | service_commit(&e), 0);
	assert_in_range(portion(2), 318, 348);
	clock_set(0);
}

static void test_affinity(void **state)
{
	(void)state;
	struct ipaddr c = addr(9);
	affinity_take(0, &c, 3, 77, 100);
	assert_int_equal(affinity_find(&c, 3, 60, 1000), 77); /* a connection lives */
	affinity_give(&c, 3, 77, 500);
	assert_int_equal(affinity_find(&c, 3, 60, 559), 77);
	assert_int_equal(affinity_find(&c, 3, 60, 560), 0);
	assert_int_equal(affinity_find(&c, 4, 60, 101), 0);
	affinity_take(0, &c, 3, 78, 600);
	affinity_give(&c, 3, 77, 600); /* an older one of another backend */
	assert_int_equal(affinity_find(&c, 3, 60, 9000), 78);
	for (uint32_t i = 0; i < 70000; i++) {
		struct ipaddr x = addr(100000 + i);
		affinity_take(0, &x, 3, 5, i);
		if (i % 1024 == 0)
			rcu_wait();
	}
	assert_true(affinity_count() <= 65536 && affinity_count() > 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread_and_disruption),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_order),
		cmocka_unit_test_setup_teardown(test_algorithms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_health, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_affinity, setup, teardown),
	};
	hash_init(1);
	rcu_thread_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
