/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours and adjacencies: states, changes in place, eviction, and the template bytes written out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "fwd/base/clock.h"
#include "fwd/base/hash.h"
#include "fwd/base/rcu.h"
#include "tables/neighbor.h"

static const struct mac m1 = { { 2, 0, 0, 0, 0, 1 } }, m2 = { { 2, 0, 0, 0, 0, 2 } };
static const struct mac m3 = { { 2, 0, 0, 0, 0, 3 } }, m4 = { { 2, 0, 0, 0, 0, 4 } };

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static int setup(void **state)
{
	struct err e = { "" };
	(void)state;
	hash_init(7);
	rcu_thread_register();
	clock_set(1000 * NS_PER_S);
	assert_int_equal(neighbor_init(&e), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	neighbor_fini();
	clock_set(0);
	return 0;
}

static void test_states(void **state)
{
	struct neighbor_key k = { .ip = ip("192.0.2.9"), .dev = 1 };
	struct neighbor n = { .state = NEIGHBOR_REACHABLE, .mac = m1 };
	struct err e = { "" };
	(void)state;
	assert_null(neighbor_find(&k));
	assert_int_equal(neighbor_set(&k, &n, &e), -EINVAL); /* no adjacency */
	n.adj = adj_alloc(&e);
	assert_int_not_equal(n.adj, 0);
	uint16_t gen = (uint16_t)adj_at(n.adj)->gen;
	adj_set_eth(n.adj, 3, &m2, &m1, 1500);
	assert_int_equal(neighbor_set(&k, &n, &e), 0);
	const struct neighbor *f = neighbor_find(&k);
	assert_int_equal(f->adj, n.adj);
	assert_int_equal(f->updated, 1000);
	assert_true(mac_eq(&f->mac, &m1));
	k.vni = 5;
	assert_null(neighbor_find(&k));
	k.vni = 0;

	/* a new MAC and another state, in place: the same entry, no counter moves */
	uint32_t g = gen_load(gen);
	n.mac = m3;
	n.state = NEIGHBOR_STALE;
	adj_set_eth(n.adj, 3, &m2, &m3, 1500);
	assert_int_equal(neighbor_set(&k, &n, &e), 0);
	assert_ptr_equal(neighbor_find(&k), f);
	assert_true(mac_eq(&f->mac, &m3));
	assert_int_equal(gen_load(gen), g);
	assert_int_equal(adj_at(n.adj)->kind, ADJ_ETH);

	/* failed: the adjacency dies */
	uint32_t dead = n.adj;
	n.state = NEIGHBOR_FAILED;
	assert_int_equal(neighbor_set(&k, &n, &e), 0);
	assert_int_equal(neighbor_find(&k)->adj, 0);
	assert_int_equal(adj_at(dead)->kind, ADJ_NONE);
	assert_int_equal(gen_load(gen), g + 1);
	assert_int_equal(neighbor_count(), 1);

	/* back, then another adjacency replaces the first */
	n.state = NEIGHBOR_REACHABLE;
	n.adj = adj_alloc(&e);
	adj_set_eth(n.adj, 3, &m2, &m3, 1500);
	assert_int_equal(neighbor_set(&k, &n, &e), 0);
	dead = n.adj;
	n.adj = adj_alloc(&e);
	adj_set_eth(n.adj, 3, &m2, &m3, 1500);
	assert_int_equal(neighbor_set(&k, &n, &e), 0);
	assert_int_equal(adj_at(dead)->kind, ADJ_NONE);
	assert_int_equal(adj_at(n.adj)->kind, ADJ_ETH);
	assert_int_equal(neighbor_del(&k), 0);
	assert_int_equal(adj_at(n.adj)->kind, ADJ_NONE);
	assert_int_equal(neighbor_del(&k), -ENOENT);
	assert_int_equal(neighbor_count(), 0);
}

static void test_adj_pool(void **state)
{
	static bool seen[ADJS_MAX];
	struct err e = { "" };
	(void)state;
	for (uint32_t i = 1; i < ADJS_MAX; i++) {
		uint32_t a = adj_alloc(&e);
		assert_true(a > 0 && a < ADJS_MAX && !seen[a]);
		seen[a] = true;
		assert_int_not_equal(adj_at(a)->gen, 0);
	}
	assert_int_equal(adj_alloc(&e), 0);
	assert_non_null(strstr(e.text, "65535 adjacencies"));
	/* an index that had another owner: what may still name it is decided anew, once for all that are free by then */
	const uint32_t extra = gen_area->extra;
	for (uint32_t i = 70; i < 77; i++)
		adj_free(i);
	for (uint32_t i = 70; i < 77; i++)
		assert_int_equal(adj_alloc(&e), i);
	assert_int_equal(gen_area->extra, extra + 1);
	adj_set_eth(77, 1, &m1, &m2, 1500);
	adj_free(77);
	assert_int_equal(adj_alloc(&e), 77); /* the only free one, after a grace period */
	assert_int_equal(adj_at(77)->kind, ADJ_NONE);
	assert_int_equal(adj_at(77)->mtu, 0);
	assert_int_equal(gen_area->extra, extra + 2);
}

static void test_eth(void **state)
{
	static const uint8_t want[14] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00 };
	struct err e = { "" };
	(void)state;
	uint32_t i = adj_alloc(&e);
	adj_set_eth(i, 7, &m2, &m1, 1400);
	const struct adj *a = adj_at(i);
	assert_memory_equal(a->eth, want, 14);
	assert_int_equal(a->port, 7);
	assert_int_equal(a->mtu, 1400);
	assert_int_equal(a->kind, ADJ_ETH);
}

static void test_tunnel4(void **state)
{
	static const uint8_t want[64] = {
		2,    0, 0,    0,    0,    2,    2,    0, 0,  0,  0, 1, 0x08, 0x00, /* outer Ethernet */
		0x45, 0, 0,    0,    0,    0,    0x40, 0, 64, 17, 0, 0, 192,  0,
		2,    1, 198,  51,   100,  7,                                       /* IPv4, DF, TTL 64 */
		0,    0, 0x21, 0x18, 0,    0,    0,    0,                           /* UDP to 8472, no checksum */
		0x08, 0, 0,    0,    0x12, 0x34, 0x56, 0,                           /* VXLAN, flag I, VNI */
		2,    0, 0,    0,    0,    4,    2,    0, 0,  0,  0, 3, 0x08, 0x00, /* inner Ethernet */
	};
	struct adj_tunnel t = { .port = 2,
				.outer_src = m1,
				.outer_dst = m2,
				.inner_src = m3,
				.inner_dst = m4,
				.local = ip("192.0.2.1"),
				.remote = ip("198.51.100.7"),
				.dport = 8472,
				.vni = 0x123456,
				.link_mtu = 1500 };
	struct err e = { "" };
	(void)state;
	uint32_t i = adj_alloc(&e);
	adj_set_tunnel(i, &t);
	const struct adj *a = adj_at(i);
	assert_int_equal(a->kind, ADJ_TUNNEL4);
	assert_int_equal(a->tmpl_size, 64);
	assert_memory_equal(a->tmpl, want, 64);
	assert_memory_equal(a->eth, want, 14);
	assert_int_equal(a->mtu, 1450);
	assert_int_equal(a->port, 2);
	/* base3 + total length + complement = a header whose sum verifies */
	uint8_t h[20];
	memcpy(h, a->tmpl + 14, 20);
	wr16(h + 2, 150);
	st16(h + 10, (uint16_t)~csum_fold((uint64_t)a->base3 + ld16(h + 2)));
	assert_int_equal(csum_fold(csum_add(h, 20, 0)), 0xffff);

	/* another MAC, of the next hop or inside, another MTU: in place, no decision again */
	uint32_t g = gen_load((uint16_t)a->gen);
	t.outer_dst = m4;
	assert_int_equal(adj_move_tunnel(i, &t, &e), i);
	assert_memory_equal(a->tmpl, m4.b, 6);
	assert_memory_equal(a->eth, m4.b, 6);
	t.inner_dst = m2;
	t.link_mtu = 1400;
	assert_int_equal(adj_move_tunnel(i, &t, &e), i);
	assert_memory_equal(a->tmpl + 50, m2.b, 6);
	assert_int_equal(a->mtu, 1350);
	assert_int_equal(gen_load((uint16_t)a->gen), g);
}

static bool move_stays(uint32_t i, struct adj_tunnel t)
{
	struct err e = { "" };
	uint32_t now = adj_move_tunnel(i, &t, &e);
	assert_int_not_equal(now, 0);
	if (now != i)
		adj_free(now);
	return now == i;
}

/* What no single store changes is sent by another adjacency; the former one stays as it was. */
static void test_tunnel_moves(void **state)
{
	const struct adj_tunnel t4 = { .port = 2,
				       .outer_src = m1,
				       .outer_dst = m2,
				       .inner_src = m3,
				       .inner_dst = m4,
				       .local = ip("192.0.2.1"),
				       .remote = ip("198.51.100.7"),
				       .dport = 8472,
				       .vni = 5,
				       .link_mtu = 1500 };
	struct adj_tunnel t, t6 = t4, t0 = t4;
	struct err e = { "" };
	(void)state;
	t6.local = ip("2001:db8::1");
	t6.remote = ip("2001:db8::7");
	t0.ipip = true;
	for (unsigned kind = 0; kind < 3; kind++) {
		const struct adj_tunnel from = kind == 0 ? t4 : kind == 1 ? t6 : t0;
		const uint32_t i = adj_move_tunnel(0, &from, &e);
		const struct adj was = *adj_at(i);
		t = from;
		assert_true(move_stays(i, t));
		t.port = 3;
		assert_false(move_stays(i, t));
		t = from;
		t.outer_src = (struct mac){ { 6, 1, 1, 1, 1, 1 } };
		assert_false(move_stays(i, t));
		t = from;
		t.remote.b[15]++;
		assert_false(move_stays(i, t));
		t = from;
		t.outer_dst = m3;
		t.local.b[15]++;
		assert_false(move_stays(i, t));
		t = kind == 0 ? t6 : t4;
		assert_false(move_stays(i, t));
		if (!from.ipip) {
			t = from;
			t.vni = 0x100006;
			assert_false(move_stays(i, t));
			/* over IPv6 they are in the sum, too */
			t.vni = 6;
			assert_true(move_stays(i, t) == (kind == 0));
			assert_true(move_stays(i, from));
			t = from;
			t.dport = 4789;
			assert_true(move_stays(i, t) == (kind == 0));
			assert_true(move_stays(i, from));
			t = from;
			t.inner_dst = m2;
			assert_true(move_stays(i, t) == (kind == 0));
			assert_true(move_stays(i, from));
		}
		assert_memory_equal(adj_at(i), &was, sizeof(was));
		t = from;
		t.outer_dst = m4;
		assert_true(move_stays(i, t));
		assert_memory_equal(adj_at(i)->tmpl, m4.b, 6);
		adj_free(i);
	}
	rcu_wait();
}

static void test_tunnel6(void **state)
{
	struct adj_tunnel t = { .port = 2,
				.outer_src = m1,
				.outer_dst = m2,
				.inner_src = m3,
				.inner_dst = m4,
				.local = ip("2001:db8::1"),
				.remote = ip("2001:db8::7"),
				.dport = 4789,
				.vni = 5,
				.link_mtu = 1500 };
	static const uint8_t tail[30] = { 0, 0, 0x12, 0xb5, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0,    5,
					  0, 2, 0,    0,    0, 0, 4, 2, 0,    0, 0, 0, 3, 0x08, 0x00 };
	static const uint8_t head[8] = { 0x60, 0, 0, 0, 0, 0, 17, 64 };
	struct err e = { "" };
	(void)state;
	uint32_t i = adj_alloc(&e);
	adj_set_tunnel(i, &t);
	const struct adj *a = adj_at(i);
	assert_int_equal(a->kind, ADJ_TUNNEL6);
	assert_int_equal(a->tmpl_size, 84);
	assert_int_equal(a->mtu, 1430);
	assert_int_equal(rd16(a->tmpl + 12), ET_IP6);
	assert_memory_equal(a->tmpl + 14, head, 8);
	assert_memory_equal(a->tmpl + 22, t.local.b, 16);
	assert_memory_equal(a->tmpl + 38, t.remote.b, 16);
	assert_memory_equal(a->tmpl + 54, tail, 30);
	/* base3 and what differs by packet = what the whole adds up to */
	uint8_t f[84];
	memcpy(f, a->tmpl, 84);
	wr16(f + 54, 50001);
	wr16(f + 58, 30);
	const uint16_t whole = csum_fold(csum_add(f + 54, 30, csum_pseudo(f + 22, f + 38, 16, PROTO_UDP, 30)));
	assert_int_equal(csum_fold((uint64_t)a->base3 + htons(50001) + htons(30) + htons(30) + htons(ET_IP4)), whole);
}

static struct neighbor_key nth(uint32_t i)
{
	return (struct neighbor_key){ .ip = ip_from4(htonl(0x0a000000 + i)), .dev = 1 };
}

/* A full table: without stale entries it refuses, else the oldest stale ones go and nothing else. */
static void test_full(void **state)
{
	enum { CAPACITY = 512 * 1024 };
	struct err e = { "" };
	uint32_t adj = adj_alloc(&e), stale_adj = adj_alloc(&e);
	(void)state;
	for (uint32_t i = 0; i < CAPACITY; i++) {
		struct neighbor_key k = nth(i);
		/* one adjacency for all: what is evicted here has its own */
		struct neighbor n = { .state = NEIGHBOR_REACHABLE, .adj = adj, .updated = 10 };
		if (i == 1000 || i == 300000)
			n.state = NEIGHBOR_INCOMPLETE;
		assert_int_equal(neighbor_set(&k, &n, &e), 0);
	}
	struct neighbor_key fresh = nth(CAPACITY), k = nth(400000), statik = nth(5);
	struct neighbor n = { .state = NEIGHBOR_REACHABLE, .adj = adj, .updated = 20 };
	assert_int_equal(neighbor_set(&fresh, &n, &e), -ENOSPC);
	assert_int_equal(neighbor_count(), CAPACITY);
	n.state = NEIGHBOR_STALE;
	n.source = NEIGHBOR_STATIC;
	assert_int_equal(neighbor_set(&statik, &n, &e), 0);
	n.source = NEIGHBOR_KERNEL;
	n.adj = stale_adj;
	/* neighbor_set frees the adjacency an entry had; this one is shared here, so give it back its kind */
	adj_set_eth(adj, 1, &m1, &m2, 1500);
	assert_int_equal(neighbor_set(&k, &n, &e), 0);
	adj_set_eth(stale_adj, 1, &m1, &m2, 1500);
	n.state = NEIGHBOR_REACHABLE;
	n.adj = adj;
	assert_int_equal(neighbor_set(&fresh, &n, &e), 0);
	assert_non_null(neighbor_find(&fresh));
	assert_null(neighbor_find(&k));
	assert_non_null(neighbor_find(&statik));
	assert_int_equal(adj_at(stale_adj)->kind, ADJ_NONE);
	assert_int_equal(neighbor_count(), CAPACITY);
}

/* Of many stale ones the oldest go first. */
static void test_oldest_first(void **state)
{
	enum { CAPACITY = 512 * 1024 };
	struct err e = { "" };
	(void)state;
	for (uint32_t i = 0; i < CAPACITY; i++) {
		struct neighbor_key k = nth(i);
		struct neighbor n = { .state = NEIGHBOR_FAILED, .updated = 1000 + i % 128 };
		assert_int_equal(neighbor_set(&k, &n, &e), 0);
	}
	struct neighbor_key fresh = nth(CAPACITY), k;
	struct neighbor n = { .state = NEIGHBOR_FAILED, .updated = 9999 };
	assert_int_equal(neighbor_set(&fresh, &n, &e), 0);
	uint32_t gone = 0;
	for (uint32_t i = 0; i < CAPACITY; i++) {
		k = nth(i);
		if (!neighbor_find(&k)) {
			gone++;
			assert_true(i % 128 < 2); /* 4096 sampled, 32 of each second, 64 go */
		}
	}
	assert_int_equal(gone, CAPACITY + 1 - neighbor_count());
	assert_true(gone > 0);
	uint32_t walked = 0;
	for (uint32_t i = neighbor_next(0, &k, &n); i; i = neighbor_next(i, &k, &n))
		walked++;
	assert_int_equal(walked, neighbor_count());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_states, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adj_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(test_eth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tunnel4, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tunnel_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tunnel6, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_oldest_first, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
