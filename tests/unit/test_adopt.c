/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption: what comes back after a crash, and what does not. A crash is to unmap everything and leave the files. */
#include "tests/unit/adopt_ct_kit.h"

static void test_round_trip(void **state)
{
	(void)state;
	unsigned n = fill(3000);
	uint32_t mappings = nat_count();
	for (unsigned i = 0; i < 3; i++) { /* also what was adopted is adopted */
		crash();
		start(SMALL_TCP, SMALL_OTHER);
		assert_int_equal(ct_count(&ct4), 0);
		adopt_now();
		assert_string_equal(adopt_reason(), "");
		assert_true(adoption.tried);
		assert_int_equal(adoption.connections, n);
		assert_int_equal(adoption.mappings, mappings);
		assert_int_equal(adoption.dropped + adoption.expired + adoption.dropped_mappings, 0);
	}
	/* counters, identity and permits came along */
	union {
		struct flow_key4 k4;
		struct flow_key6 k6;
	} key;
	struct ipaddr src = inside(false, 0), dst = ip("203.0.113.2");
	set_key(&ct4, &key, &src, 2001, &dst, 80, PROTO_TCP);
	uint32_t r = ct_find(&ct4, &key, hash_key(&key, 16), NOW);
	assert_true(r && ct_flow4(r)->packets == 1 && ct_flow4(r)->in == 0);
	const struct conn *k = ct_conn(&ct4, r >> 1);
	assert_int_equal(k->identity, 1001);
	assert_true(nat_permitted(k->mapping, &dst, 80));
	dst = ip("203.0.113.3");
	assert_false(nat_permitted(k->mapping, &dst, 80));
	check_whole();
}

/* The same host and port in two zones, to one remote that is in a third. */
static void test_zones(void **state)
{
	const struct ipaddr src = inside(false, 0), dst = ip("203.0.113.1");
	(void)state;
	for (uint16_t zone = 1; zone <= 2; zone++) {
		const uint32_t conn = ct_alloc(&ct4, 0, PROTO_UDP, NOW - 10);
		const struct nat_key key = { .inside = src, .inside_port = 2000, .zone = zone, .proto = PROTO_UDP };
		const struct nat_remote to = { .addr = dst, .port = 80, .zone = 9 };
		struct conn *k = ct_conn(&ct4, conn);
		uint32_t present;
		k->state = CT_REPLIED;
		k->in = FLOW_IN_UPLINK;
		k->flags = CONN_SNAT;
		assert_int_equal(nat_open(0, &key, &to, NOW - 10, rnd64(), &k->mapping), 0);
		const struct nat_mapping *m = nat_at(k->mapping);
		set_key(&ct4, record(&ct4, 2 * conn), &src, 2000, &dst, 80, PROTO_UDP);
		set_key(&ct4, record(&ct4, 2 * conn + 1), &dst, 80, &m->outside, m->outside_port, PROTO_UDP);
		ct_flow4(2 * conn)->key.zp |= (uint32_t)zone << 8;
		ct_flow4(2 * conn + 1)->key.zp |= 9 << 8;
		touch(&ct4, 2 * conn, NOW - 5, zone);
		assert_int_equal(ct_publish(&ct4, 0, conn, &present), 0);
	}
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_string_equal(adopt_reason(), "");
	assert_int_equal(adoption.connections, 2);
	assert_int_equal(adoption.mappings, 2);
	unsigned zones = 0;
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i)) {
		const struct conn *k = ct_conn(&ct4, i);
		const struct nat_remote there = { .addr = dst, .port = 80, .zone = 9 };
		assert_int_equal(nat_key_at(k->mapping)->zone, ct_flow4(2 * i)->key.zp >> 8);
		assert_int_equal(ct_flow4(2 * i)->packets, ct_flow4(2 * i)->key.zp >> 8);
		assert_true(nat_permitted_in(k->mapping, &there));
		assert_false(nat_permitted(k->mapping, &dst, 80)); /* who has that address in zone 0 */
		zones |= 1u << (ct_flow4(2 * i)->key.zp >> 8);
	}
	assert_int_equal(zones, 6);
	check_whole();
}

/* A connection opened through a mapping holds it; one by hairpin also its sender's, which permits the outside address. */
static void test_inbound(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		connect_inbound(v6, 1, PROTO_UDP, false);
		connect_inbound(v6, 1, PROTO_UDP, true); /* to the same port */
		connect_inbound(v6, 2, PROTO_TCP, true);
	}
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_string_equal(adopt_reason(), "");
	assert_int_equal(adoption.connections, 6);
	assert_int_equal(adoption.mappings, 2 * 4);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const struct ct *c = ct_of(v6);
		unsigned shared = 0, permitted = 0;
		for (uint32_t i = ct_next(c, 0); i; i = ct_next(c, i)) {
			const struct conn *k = ct_conn(c, i);
			const struct nat_mapping *m = nat_at(k->dnat);
			shared += m->refs == 2;
			permitted += k->mapping && nat_permitted(k->mapping, &m->outside, m->outside_port);
			/* the one asked let nobody in by that */
			assert_false(nat_permitted(k->dnat, &m->outside, m->outside_port));
		}
		assert_int_equal(shared, 2);
		assert_int_equal(permitted, 2);
	}
	assert_int_equal(nat_permit_count(), 4);
	check_whole();
}

static void test_unfinished(void **state)
{
	(void)state;
	uint32_t busy = connect_(false, 1, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t dead = connect_(false, 2, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t dying = connect_(true, 3, PROTO_TCP, true, FLOW_IN_HOST);
	connect_(false, 4, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t m_busy = connect_(false, 5, PROTO_UDP, true, FLOW_IN_HOST);
	ct4.conns.state[busy] = POOL_BUSY;
	ct4.conns.state[dead] = POOL_DEAD;
	ct_conn(&ct6, dying)->flags |= CONN_DEAD;
	/* a killed thread held the lock of its records */
	ct_conn(&ct4, m_busy)->writing = 1;
	/* a reference that a killed thread took or forgot */
	((struct nat_mapping *)(uintptr_t)nat_at(ct_conn(&ct4, m_busy)->mapping))->refs = 9;
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 2);
	assert_int_equal(adoption.mappings, 2);
	assert_int_equal(adoption.expired, 1); /* the dying one: no loss to report */
	assert_int_equal(adoption.dropped, 0);
	assert_string_equal(adopt_reason(), "");
	assert_int_equal(adoption.dropped_mappings, 3);
	check_whole();
}

static void test_configuration(void **state)
{
	(void)state;
	struct err e = { "" };
	fill(600);
	struct endpoint ep = { .id = 7, .identity = 300, .n_addrs = 1, .addr = { ip("10.9.0.1") } };
	assert_int_equal(endpoint_set(&ep, &e), 0);
	connect_(false, 100000, PROTO_TCP, false, FLOW_IN_ENDPOINT | 7);
	connect_(false, 100001, PROTO_TCP, false, FLOW_IN_ENDPOINT | 8);
	uint32_t kept = connect_(false, 100002, PROTO_TCP, false, 0);
	uint32_t lost = connect_(false, 100003, PROTO_TCP, false, 0);
	struct vtep v = { .addr = ip("192.0.2.1"), .port = 4789 }, other = { .addr = v.addr, .port = 8472 };
	struct ipaddr r1 = ip("192.0.2.2"), r2 = ip("192.0.2.3");
	vtep_add(&v, &e);
	vtep_add(&other, &e);
	ct_conn(&ct4, kept)->in = FLOW_IN_REMOTE | remote_get(&(struct remote_name){ .addr = r1 }, &e);
	ct_conn(&ct4, lost)->in = FLOW_IN_REMOTE | remote_get(&(struct remote_name){ .addr = r2 }, &e);
	crash();
	with_pools = false;
	start(SMALL_TCP, SMALL_OTHER);
	/* pools in another order: other numbers; those of IPv6 are gone */
	add_pool("198.51.100.9", 0, 0, NAT_ADF);
	add_pool("198.51.100.1", 0, 0, NAT_ADF);
	assert_int_equal(endpoint_set(&ep, &e), 0);
	/* VTEPs too, and both know the node: the one it was connected by has another number */
	vtep_add(&other, &e);
	vtep_add(&v, &e);
	r2 = ip("192.0.2.77");
	remote_get(&(struct remote_name){ .addr = r2 }, &e);
	remote_get(&(struct remote_name){ .addr = r1, .port = 8472 }, &e);
	uint32_t now = remote_get(&(struct remote_name){ .addr = r1, .port = 4789 }, &e);
	adopt_now();
	assert_int_equal(adoption.drops[ADOPT_SENDER], 2);
	assert_int_equal(adoption.drops[ADOPT_POOL], 150 + 20);
	assert_int_equal(adoption.connections, 660 + 2 - 170);
	assert_non_null(strstr(adopt_reason(), "170 connections whose NAT pool"));
	assert_true(nat_pools[1].in_use[STEER_TCP] && !nat_pools[0].in_use[STEER_TCP]);
	unsigned found = 0;
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		found += ct_conn(&ct4, i)->in == (FLOW_IN_REMOTE | now);
	assert_int_equal(found, 1);
	check_whole();
}

static void test_duplicates(void **state)
{
	(void)state;
	uint32_t a = connect_(false, 1, PROTO_TCP, false, FLOW_IN_HOST);
	uint32_t b = connect_(false, 2, PROTO_TCP, false, FLOW_IN_HOST);
	uint32_t c = connect_(false, 3, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t d = connect_(false, 4, PROTO_TCP, true, FLOW_IN_HOST);
	memcpy(record(&ct4, 2 * b), record(&ct4, 2 * a), 2 * sizeof(struct flow4));
	/* two connections, one mapping's port */
	((struct nat_mapping *)(uintptr_t)nat_at(ct_conn(&ct4, d)->mapping))->outside_port =
		nat_at(ct_conn(&ct4, c)->mapping)->outside_port;
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.drops[ADOPT_DUPLICATE], 1);
	assert_int_equal(adoption.drops[ADOPT_POOL], 1);
	assert_int_equal(adoption.connections, 2);
	check_whole();
}

static void test_time(void **state)
{
	(void)state;
	uint32_t old = connect_(false, 1, PROTO_UDP, true, FLOW_IN_HOST);
	uint32_t future = connect_(false, 2, PROTO_TCP, true, FLOW_IN_HOST);
	connect_(false, 3, PROTO_TCP, true, FLOW_IN_HOST);
	ct_conn(&ct4, old)->created = 1;
	touch(&ct4, 2 * old, NOW - 301, 1);
	touch(&ct4, 2 * future + 1, NOW + 1, 1);
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.expired, 1);
	assert_int_equal(adoption.drops[ADOPT_FUTURE], 1);
	assert_int_equal(adoption.connections, 1);
	check_whole();
}

static void test_other_capacity(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3000; i++)
		connect_(false, i, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	start(2 * SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 3000);
	crash();
	start(1000, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 1000);
	assert_int_equal(adoption.drops[ADOPT_ROOM], 2000);
	assert_int_equal(adoption.dropped_mappings, 2000);
	check_whole();
}

static void test_many(void **state)
{
	enum { MANY = 100000 };
	(void)state;
	crash();
	arena_remove_all();
	start(2 * MANY, SMALL_OTHER);
	for (unsigned i = 0; i < MANY; i++)
		connect_(false, i, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	start(2 * MANY, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, MANY);
	assert_int_equal(adoption.mappings, MANY);
	print_message("%u connections with translations in %u us\n", (unsigned)MANY, adoption.microseconds);
	check_whole();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, last_process)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_round_trip), TEST(test_zones),          TEST(test_inbound),
		TEST(test_unfinished), TEST(test_configuration),  TEST(test_duplicates),
		TEST(test_time),       TEST(test_other_capacity), TEST(test_many),
	};
	return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
