/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of services: clients stick to the backend they had, and connections keep it, though the next process knows services
 * and backends by other numbers; nothing comes back for what is no longer configured, and no byte of a former arena does harm. */
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/nat_kit.h"

#include "fwd/decide.h"
#include "tables/adopt.h"
#include "tables/affinity.h"
#include "tables/ct.h"
#include "tables/endpoint.h"
#include "tables/frag.h"
#include "tables/ipcache.h"
#include "tables/maglev.h"
#include "tables/proxy.h"
#include "tables/service.h"
#include "tables/tunnel.h"
#include "tests/unit/adopt_kit.h"

enum { NOW = 5000, SHORT = 60, LONG = 1000, HEADER = 4096, ROW = 40, DAMAGE_ROUNDS = 60, CLIENTS = 100 };

static struct err e;

static void start(void)
{
	open_tables(1024, 64);
	ct_on_delete = decide_connection_gone;
	adoption = (struct adoption){ .tried = false };
}

static int setup(void **state)
{
	(void)state;
	if (first_process(13))
		return -1;
	start();
	return 0;
}

static struct ipaddr client(uint32_t n)
{
	return ip_from4(htonl(0xcb007100 + n));
}

static struct service_key frontend(const char *vip)
{
	return (struct service_key){ .vip = ip(vip), .port = 80, .proto = PROTO_TCP };
}

/* Its id. */
static uint32_t service(const char *vip, uint32_t affinity)
{
	const struct service_conf c = { .key = frontend(vip), .maglev_size = MAGLEV_DEFAULT, .affinity = affinity };

	assert_int_equal(service_set(&c, NULL, 0, &e), 0);
	return service_by_key(&c.key);
}

/* Its index. */
static uint32_t backend(const char *vip, const char *addr)
{
	const struct service_key k = frontend(vip);
	const struct ipaddr a = ip(addr);

	assert_int_equal(backend_set(&k, &a, 8080, 1, BACKEND_ACTIVE, &e), 0);
	return backend_find(service_by_key(&k), &a, 8080);
}

/* Of client 'n' from port 'sport', as step_ct makes it. */
static uint32_t connect_(uint32_t n, uint16_t sport, const char *vip, const char *addr, uint32_t b)
{
	const uint32_t conn = ct_alloc(&ct4, 0, PROTO_TCP, NOW - 10);
	const struct ipaddr c = client(n), v = ip(vip), a = ip(addr);
	struct conn *k = ct_conn(&ct4, conn);
	uint32_t present;

	assert_true(conn);
	k->state = CT_ESTABLISHED;
	k->in = FLOW_IN_UPLINK;
	k->flags = CONN_SERVICE;
	k->dnat = b;
	ct_flow4(2 * conn)->key = (struct flow_key4){ c.w[3], v.w[3], htons(sport), htons(80), PROTO_TCP };
	ct_flow4(2 * conn + 1)->key = (struct flow_key4){ a.w[3], c.w[3], htons(8080), htons(sport), PROTO_TCP };
	ct_flow4(2 * conn)->seen = NOW - 5;
	assert_int_equal(ct_publish(&ct4, 0, conn, &present), 0);
	backend_take(b);
	affinity_take(0, &c, backend_key_at(b)->service, b, NOW - 10);
	return conn;
}

static const struct conn *connection(uint32_t n, uint16_t sport, const char *vip)
{
	const struct ipaddr c = client(n), v = ip(vip);
	const struct flow_key4 k = { c.w[3], v.w[3], htons(sport), htons(80), PROTO_TCP };
	const uint32_t r = ct_find(&ct4, &k, hash_key(&k, sizeof(k)), NOW);

	return r ? ct_conn(&ct4, r >> 1) : NULL;
}

static uint32_t sticks_to(uint32_t n, uint32_t id, uint32_t timeout)
{
	const struct ipaddr c = client(n);

	return affinity_find(&c, id, timeout, NOW);
}

/* A client without a connection that used 'b' last at 'used'. */
static void stuck(uint32_t n, uint32_t b, uint32_t used)
{
	const struct affinity_key k = { .client = client(n), .service = backend_key_at(b)->service };

	assert_int_equal(affinity_put(&k, b, used), 0);
}

static void test_clients(void **state)
{
	(void)state;
	service("203.0.113.1", SHORT);
	service("203.0.113.2", LONG);
	service("203.0.113.3", LONG);
	const uint32_t a1 = backend("203.0.113.1", "10.1.0.1"), a2 = backend("203.0.113.1", "10.1.0.2");
	const uint32_t b1 = backend("203.0.113.2", "10.1.0.1"), gone = backend("203.0.113.2", "10.1.0.9");
	const uint32_t c1 = backend("203.0.113.3", "10.1.0.1");
	assert_int_equal(service_commit(&e), 0);
	stuck(1, a1, NOW - SHORT + 1);
	stuck(2, a2, NOW - 5);
	stuck(3, a2, NOW - SHORT); /* ran out */
	stuck(4, b1, NOW - SHORT); /* that service's time is longer */
	stuck(5, gone, NOW - 5);
	stuck(6, c1, NOW - 5);
	stuck(7, a1, NOW + 1); /* from a future */
	stuck(1, b1, NOW - 7); /* the same client, another service */
	crash();

	/* in another order, without one service and one backend */
	start();
	service("203.0.113.9", 0);
	backend("203.0.113.9", "10.1.0.9");
	const uint32_t b = service("203.0.113.2", LONG), nb1 = backend("203.0.113.2", "10.1.0.1");
	const uint32_t na2 = (service("203.0.113.1", SHORT), backend("203.0.113.1", "10.1.0.2"));
	const uint32_t na1 = backend("203.0.113.1", "10.1.0.1"), a = backend_key_at(na1)->service;
	assert_int_equal(service_commit(&e), 0);
	assert_true(na1 != a1 || na2 != a2);
	adopt_state(NOW, 1);
	assert_int_equal(adoption.clients, 4);
	assert_int_equal(affinity_count(), 4);
	assert_int_equal(sticks_to(1, a, SHORT), na1);
	assert_int_equal(sticks_to(2, a, SHORT), na2);
	assert_int_equal(sticks_to(3, a, SHORT), 0);
	assert_int_equal(sticks_to(4, b, LONG), nb1);
	assert_int_equal(sticks_to(5, b, LONG), 0);
	assert_int_equal(sticks_to(7, a, SHORT), 0);
	assert_int_equal(sticks_to(1, b, LONG), nb1);
	/* its time goes on from where it was */
	const struct ipaddr one = client(1);
	assert_int_equal(affinity_find(&one, a, SHORT, NOW + 1), 0);
}

static void test_connections(void **state)
{
	(void)state;
	service("203.0.113.1", SHORT);
	const uint32_t b1 = backend("203.0.113.1", "10.1.0.1"), b2 = backend("203.0.113.1", "10.1.0.2");
	assert_int_equal(service_commit(&e), 0);
	connect_(1, 4000, "203.0.113.1", "10.1.0.1", b1);
	connect_(1, 4001, "203.0.113.1", "10.1.0.1", b1);
	connect_(2, 4000, "203.0.113.1", "10.1.0.2", b2);
	crash();

	start();
	service("203.0.113.7", 0);
	const uint32_t id = service("203.0.113.1", SHORT), b = backend("203.0.113.1", "10.1.0.1");
	backend("203.0.113.1", "10.1.0.3");
	assert_int_equal(service_commit(&e), 0);
	adopt_state(NOW, 1);
	assert_int_equal(adoption.connections, 2);
	assert_int_equal(adoption.drops[ADOPT_SERVICE], 1);
	assert_int_equal(connection(1, 4000, "203.0.113.1")->dnat, b);
	assert_int_equal(connection(1, 4001, "203.0.113.1")->dnat, b);
	assert_null(connection(2, 4000, "203.0.113.1"));
	assert_int_equal(backend_at(b)->connections, 2);
	/* while they live the client sticks, and they give back what they took */
	const struct ipaddr one = client(1);
	assert_int_equal(affinity_find(&one, id, SHORT, NOW + LONG), b);
	const struct conn *c = connection(1, 4000, "203.0.113.1");
	ct_delete(&ct4, 0, (uint32_t)(c - ct_conn(&ct4, 0)));
	c = connection(1, 4001, "203.0.113.1");
	ct_delete(&ct4, 0, (uint32_t)(c - ct_conn(&ct4, 0)));
	assert_int_equal(backend_at(b)->connections, 0);
	assert_int_equal(affinity_find(&one, id, SHORT, NOW + SHORT - 6), b);
	assert_int_equal(affinity_find(&one, id, SHORT, NOW + SHORT), 0);
}

static void damage(const char *name, unsigned n)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s.arena", dir, name);
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < n; i++) {
		uint8_t b = (uint8_t)(rnd(4) ? rnd(256) : 0xff);
		assert_int_equal(pwrite(fd, &b, 1, (off_t)(HEADER + rnd(CLIENTS * ROW))), 1);
	}
	close(fd);
}

static void test_damage(void **state)
{
	unsigned back = 0;
	(void)state;
	for (unsigned round = 0; round < DAMAGE_ROUNDS; round++) {
		const uint32_t id = service("203.0.113.1", LONG), b = backend("203.0.113.1", "10.1.0.1");
		assert_int_equal(service_commit(&e), 0);
		if (round) { /* what came back is of the service and its backend */
			adopt_state(NOW, 1);
			for (uint32_t i = 0; i < CLIENTS; i++)
				back += sticks_to(i, id, LONG) == b;
			struct affinity_key k;
			struct affinity v;
			for (uint32_t i = affinity_next(0, &k, &v); i; i = affinity_next(i, &k, &v))
				assert_true(k.service == id && v.backend == b && v.used <= NOW && !v.live && !k.zero);
		}
		for (uint32_t i = 0; i < CLIENTS; i++)
			if (!sticks_to(i, id, LONG))
				stuck(i, b, NOW - 5);
		crash();
		damage("affinity", 60);
		damage(round % 2 ? "lb" : "lb_backends", 3);
		start();
	}
	assert_in_range(back, DAMAGE_ROUNDS, CLIENTS * (DAMAGE_ROUNDS - 1) - 1); /* both happen */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_clients, setup, last_process),
		cmocka_unit_test_setup_teardown(test_connections, setup, last_process),
		cmocka_unit_test_setup_teardown(test_damage, setup, last_process),
	};
	return cmocka_run_group_tests_name("adopt_service", tests, NULL, NULL);
}
