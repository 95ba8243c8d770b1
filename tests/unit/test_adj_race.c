/* SPDX-License-Identifier: BSD-2-Clause */
/* A tunnel changes while a thread puts its headers in front of packets, as workers do: each packet has those of before or of after,
 * never of both. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "fwd/rewrite.h"
#include "tables/neighbor.h"

enum { PACKETS = 300000, WAYS = 4, PAYLOAD = 40 };

/* What changes is all that can, but for the last two, which differ from the second: a next hop's MAC and the inner one, in place. */
static struct adj_tunnel ways[WAYS];
static const struct neighbor_key key = { .dev = NEIGHBOR_REMOTE | 1, .vni = 5 };
static bool stop;

static struct ipaddr ip(const char *text)
{
	struct ipaddr a;
	assert_true(ip_parse(text, &a));
	return a;
}

static void tell(struct adj_tunnel *t, const char *local, const char *remote, uint8_t mac, uint16_t port)
{
	*t = (struct adj_tunnel){ .port = port,
				  .local = ip(local),
				  .remote = ip(remote),
				  .dport = (uint16_t)(4000 + mac),
				  .vni = mac * 0x010101u,
				  .link_mtu = 1500 };
	memset(t->outer_src.b, mac, 6);
	memset(t->outer_dst.b, mac, 6);
	memset(t->inner_src.b, mac, 6);
	memset(t->inner_dst.b, mac, 6);
}

static void publish(const struct adj_tunnel *t)
{
	struct err e = { "" };
	const struct neighbor *was = neighbor_find(&key);
	struct neighbor n = { .state = NEIGHBOR_REACHABLE, .source = NEIGHBOR_OVERLAY };
	n.adj = adj_move_tunnel(was ? was->adj : 0, t, &e);
	if (!n.adj || neighbor_set(&key, &n, &e))
		fail_msg("%s", e.text);
}

/* The control thread. An adjacency changes in place once at most: a packet that is put together meanwhile may have the first of two
 * such changes missed and the second seen. */
static void *change(void *arg)
{
	static const uint8_t order[] = { 0, 1, 2, 0, 1, 3 };
	(void)arg;
	rcu_thread_register();
	for (unsigned n = 0; !LOAD_RELAXED(&stop); n++) {
		publish(&ways[order[n % ARRAY_LEN(order)]]);
		rcu_poll_deferred();
	}
	rcu_thread_unregister();
	return NULL;
}

static void expect_one(const uint8_t *o, uint16_t port, unsigned seen[WAYS])
{
	for (unsigned i = 0; i < WAYS; i++) {
		const struct adj_tunnel *t = &ways[i];
		const bool v4 = ip_is4(&t->local);
		const uint8_t *l3 = o + ETH_HLEN_, *udp = l3 + (v4 ? IP4_HLEN : IP6_HLEN),
			      *in = udp + UDP_HLEN + VXLAN_HLEN;
		if (memcmp(o, t->outer_dst.b, 6) || memcmp(o + 6, t->outer_src.b, 6) || port != t->port ||
		    memcmp(l3 + (v4 ? 12 : 8), t->local.b + (v4 ? 12 : 0), v4 ? 4 : 16) ||
		    memcmp(l3 + (v4 ? 16 : 24), t->remote.b + (v4 ? 12 : 0), v4 ? 4 : 16) ||
		    rd16(udp + 2) != t->dport || rd32(udp + 12) != t->vni << 8 || memcmp(in, t->inner_dst.b, 6) ||
		    memcmp(in + 6, t->inner_src.b, 6))
			continue;
		if (v4 ? csum_fold(csum_add(l3, IP4_HLEN, 0)) != 0xffff
		       : csum_fold(csum_add(udp, rd16(udp + 4),
					    csum_pseudo(l3 + 8, l3 + 24, 16, PROTO_UDP, rd16(udp + 4)))) != 0xffff)
			break;
		seen[i]++;
		return;
	}
	fail_msg("a packet left half by one tunnel, half by another: VNI %u", rd32(o + 46) >> 8);
}

static bool all_seen(const unsigned seen[WAYS])
{
	for (unsigned i = 0; i < WAYS; i++)
		if (!seen[i])
			return false;
	return true;
}

static void race(void)
{
	uint8_t frame[256] __attribute__((aligned(64))) = { 0 }, *l3 = frame + 128;
	unsigned seen[WAYS] = { 0 };
	pthread_t t;
	publish(&ways[0]);
	STORE_RELAXED(&stop, false);
	assert_int_equal(pthread_create(&t, NULL, change, NULL), 0);
	l3[0] = 0x45;
	for (unsigned i = 0; i < PACKETS || !all_seen(seen);) {
		rcu_quiescent();
		const struct adj *a = adj_at(LOAD_ACQUIRE(&neighbor_find(&key)->adj));
		const struct adj_state use = adj_state(a);
		if (!use.mtu) /* decided again */
			continue;
		const uint8_t *o = put_headers(a, use.kind, l3, PAYLOAD, false, 7);
		expect_one(o, a->port, seen);
		i++;
	}
	STORE_RELAXED(&stop, true);
	rcu_offline();
	assert_int_equal(pthread_join(t, NULL), 0);
	rcu_online();
}

static void over_ipv4(void **state)
{
	(void)state;
	tell(&ways[0], "192.0.2.1", "198.51.100.7", 0x12, 2);
	tell(&ways[1], "203.0.113.9", "10.9.8.7", 0x56, 3);
	ways[3] = ways[2] = ways[1];
	memset(ways[2].outer_dst.b, 0x78, 6);
	memset(ways[3].inner_dst.b, 0x9a, 6);
	race();
}

static void over_ipv6(void **state)
{
	(void)state;
	tell(&ways[0], "2001:db8::1", "2001:db8::7", 0x12, 2);
	tell(&ways[1], "fd00:aa:bb:cc:dd::9", "fd99:1:2:3:4:5:6:7", 0x56, 3);
	ways[3] = ways[2] = ways[1];
	memset(ways[2].outer_dst.b, 0x78, 6);
	memset(ways[3].inner_dst.b, 0x9a, 6);
	race();
}

/* One family, then the other. */
static void over_both(void **state)
{
	(void)state;
	tell(&ways[0], "192.0.2.1", "198.51.100.7", 0x12, 2);
	tell(&ways[1], "2001:db8::1", "2001:db8::7", 0x12, 2);
	tell(&ways[2], "203.0.113.9", "10.9.8.7", 0x56, 3);
	tell(&ways[3], "fd00:aa:bb:cc:dd::9", "fd99:1:2:3:4:5:6:7", 0x56, 3);
	race();
}

static int setup(void **state)
{
	struct err e = { "" };
	(void)state;
	hash_init(1);
	rcu_thread_register();
	return neighbor_init(&e);
}

static int teardown(void **state)
{
	(void)state;
	neighbor_fini();
	rcu_thread_unregister();
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(over_ipv4, setup, teardown),
		cmocka_unit_test_setup_teardown(over_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(over_both, setup, teardown),
	};
	return cmocka_run_group_tests_name("adj_race", tests, NULL, NULL);
}
