/* SPDX-License-Identifier: BSD-2-Clause */
/* Address and port dependent mappings: ports that connections to different remotes share. */
#include "tables/nat_pool.h"
#include "tests/unit/nat_kit.h"
#include "tests/support/pair.h"

static unsigned add_apdm(uint16_t lo, uint16_t hi)
{
	struct nat_pool conf = { .addr = ip("192.0.2.1"),
				 .port_lo = lo,
				 .port_hi = hi,
				 .port = -1,
				 .mapping = NAT_APDM,
				 .filter = NAT_APDF };
	struct err e = { "" };
	int r = nat_pool_add(&conf, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return (unsigned)r;
}

static struct nat_remote remote(uint32_t host, uint16_t port)
{
	return (struct nat_remote){ .addr = ip_from4(htonl(0xcb007100 + host)), .port = port };
}

static int open_one(unsigned slot, const struct nat_key *k, const struct nat_remote *to, uint32_t *m)
{
	return nat_open(slot, k, to, 1, rnd64(), m);
}

static void end_one(unsigned slot, uint32_t m, const struct nat_remote *to)
{
	nat_unpermit(slot, m, &to->addr, to->port);
	nat_unref(slot, m);
}

static unsigned yields;

int sched_yield(void)
{
	__atomic_add_fetch(&yields, 1, __ATOMIC_RELAXED);
	return 0;
}

static uint64_t *kept_bits(unsigned pool, enum steer_proto which)
{
	static uint64_t bits[STEER_PROTOS][STEER_BITMAP_SIZE / 8];
	(void)pool;
	memset(bits[which], 255, sizeof(bits[which]));
	return bits[which];
}

/* Right after a crash all bits are nobody's: none is waited for for long, and each can be had once they are settled. */
static void test_unsettled(void **state)
{
	const struct nat_remote to = remote(0, 53);
	uint32_t m;
	(void)state;
	nat_bits_kept = true;
	nat_set_bits_provider(kept_bits);
	unsigned p = add_apdm(1024, 65535);
	struct nat_key k = key_of(p, PROTO_UDP, 1, 5003);
	yields = 0;
	assert_int_equal(open_one(0, &k, &to, &m), -ENOSPC);
	assert_in_range(yields, 1, 10);
	nat_bits_settle();
	assert_int_equal(open_one(0, &k, &to, &m), 0);
	end_one(0, m, &to);
	assert_int_equal(nat_count(), 0);
}

/* Every port toward every remote, to the last one. */
static void test_share(void **state)
{
	enum { PORTS = 7, REMOTES = 5 };
	const struct ipaddr a = ip("192.0.2.1");
	uint32_t m[REMOTES][PORTS], again;
	(void)state;
	unsigned p = add_apdm(5000, 5000 + PORTS - 1);
	for (unsigned r = 0; r < REMOTES; r++) {
		const struct nat_remote to = remote(r / 2, (uint16_t)(53 + r % 2));
		bool given[PORTS] = { false };
		for (unsigned i = 0; i < PORTS; i++) {
			struct nat_key k = key_of(p, PROTO_UDP, i, 5003);
			assert_int_equal(nat_open_try(&k, &to), 0);
			assert_int_equal(open_one(0, &k, &to, &m[r][i]), 0);
			const uint16_t port = nat_at(m[r][i])->outside_port;
			assert_in_range(port, 5000, 5000 + PORTS - 1);
			assert_false(given[port - 5000]);
			given[port - 5000] = true;
			assert_true(nat_permitted(m[r][i], &to.addr, to.port));
		}
		struct nat_key k = key_of(p, PROTO_UDP, 99, 5003);
		assert_int_equal(nat_open_try(&k, &to), -ENOSPC);
		assert_int_equal(open_one(0, &k, &to, &again), -ENOSPC);
	}
	assert_int_equal(nat_count(), PORTS * REMOTES);
	assert_int_equal(nat_permit_count(), PORTS * REMOTES);
	assert_int_equal(bits_in(p, STEER_UDP), PORTS);
	assert_int_equal(nat_pools[p].in_use[STEER_UDP], PORTS);
	assert_int_equal(nat_refused(p, -ENOSPC), REMOTES);
	/* nobody but the connection is found by such a port */
	assert_int_equal(nat_by_outside(&a, PROTO_UDP, 5003), 0);
	assert_true(nat_is_shared(&a, PROTO_UDP, 5003));
	assert_false(nat_is_shared(&a, PROTO_TCP, 5003));
	/* one ends: its port toward its remote is free, and no other */
	const struct nat_remote second = remote(0, 54);
	struct nat_key k = key_of(p, PROTO_UDP, 99, 80);
	const uint16_t port = nat_at(m[1][4])->outside_port;
	end_one(0, m[1][4], &second);
	assert_int_equal(open_one(0, &k, &second, &m[1][4]), 0);
	assert_int_equal(nat_at(m[1][4])->outside_port, port);
	for (unsigned r = 0; r < REMOTES; r++) {
		const struct nat_remote to = remote(r / 2, (uint16_t)(53 + r % 2));
		for (unsigned i = 0; i < PORTS; i++)
			end_one(0, m[r][i], &to);
		assert_int_equal(bits_in(p, STEER_UDP), r < REMOTES - 1 ? PORTS : 0);
	}
	assert_int_equal(nat_count() + nat_permit_count(), 0);
	assert_int_equal(nat_pools[p].in_use[STEER_UDP], 0);
}

/* The pool's mode changes under living mappings: a port is shared or somebody's own, never both. */
static void test_modes(void **state)
{
	const struct ipaddr a = ip("192.0.2.1");
	const struct nat_remote to = remote(1, 53), other = remote(2, 53);
	uint32_t own, shared, m;
	struct err e;
	(void)state;
	unsigned p = add_pool("192.0.2.1", 6000, 6001, NAT_EIF);
	struct nat_key k1 = key_of(p, PROTO_TCP, 1, 6000), k2 = key_of(p, PROTO_TCP, 2, 6000),
		       k3 = key_of(p, PROTO_TCP, 3, 6001);
	assert_int_equal(open_one(0, &k1, &to, &own), 0);
	assert_int_equal(nat_pool_del(&a, &e), 0);
	assert_int_equal(add_apdm(6000, 6001), p);
	assert_int_equal(open_one(0, &k2, &to, &shared), 0);
	assert_int_equal(nat_at(shared)->outside_port, 6001);
	assert_int_equal(open_one(0, &k3, &to, &m), -ENOSPC);
	assert_int_equal(open_one(0, &k3, &other, &m), 0);
	assert_int_equal(nat_at(m)->outside_port, 6001);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 6000), own);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 6001), 0);
	assert_int_equal(nat_pool_del(&a, &e), 0);
	assert_int_equal(add_pool("192.0.2.1", 6000, 6001, NAT_EIF), p);
	end_one(0, m, &other);
	assert_int_equal(open_one(0, &k3, &to, &m), -ENOSPC);
	end_one(0, shared, &to);
	assert_int_equal(open_one(0, &k3, &to, &m), 0);
	assert_int_equal(nat_at(m)->outside_port, 6001);
	assert_int_equal(nat_by_outside(&a, PROTO_TCP, 6001), m);
	end_one(0, m, &to);
	end_one(0, own, &to);
	assert_int_equal(bits_in(p, STEER_TCP), 0);
	assert_int_equal(nat_count() + nat_permit_count(), 0);
}

/* A large range toward one remote: refusals, by the part of the ports that is in use. */
static void test_curve(void **state)
{
	enum { N = 32768 };
	const struct nat_remote to = remote(1, 443);
	unsigned refused = 0, at[3] = { 0 };
	uint32_t m;
	(void)state;
	unsigned p = add_apdm(32768, 65535);
	for (uint32_t i = 0; i < N; i++) {
		struct nat_key k = key_of(p, PROTO_TCP, i, 80);
		refused += open_one(0, &k, &to, &m) != 0;
		at[0] = i == N / 4 * 3 ? refused : at[0];
		at[1] = i == N / 100 * 98 ? refused : at[1];
	}
	print_message("shared ports, one remote: refused at 75 / 98 / 100 %% of %d: %u / %u / %u\n", N, at[0], at[1],
		      refused);
	assert_int_equal(at[0] + at[1], 0);
	assert_true(refused < N / 200);
}

/* Two threads, few ports, few remotes: at no time do two connections have the same port and remote. */
enum { ROUNDS = 60000, FEW = 4 };
static struct race {
	unsigned pool;
	uint8_t held[2][FEW]; /* remote, port */
	unsigned opened[2];
} race;

static void churn(unsigned me)
{
	uint64_t x = 11 + me;
	uint32_t m;

	for (unsigned n = 0; n < ROUNDS; n++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		const unsigned r = x >> 40 & 1;
		const struct nat_remote to = { .addr = ip_from4(htonl(0xcb007100 + r)), .port = 53 };
		struct nat_key k = key_of(race.pool, PROTO_UDP, 1 + me, (uint16_t)(7000 + (x >> 41) % FEW));
		if (nat_open(me, &k, &to, 1, x >> 7, &m))
			abort(); /* two connections and four ports: there is always one */
		race.opened[me]++;
		const unsigned port = nat_at(m)->outside_port - 7000u;
		if (port >= FEW || __atomic_exchange_n(&race.held[r][port], 1, __ATOMIC_SEQ_CST))
			abort();
		__atomic_store_n(&race.held[r][port], 0, __ATOMIC_SEQ_CST);
		nat_unpermit(me, m, &to.addr, to.port);
		nat_unref(me, m);
		if (n % 64 == 0)
			rcu_quiescent();
	}
}

static void test_race(void **state)
{
	(void)state;
	race.pool = add_apdm(7000, 7000 + FEW - 1);
	run_pair(churn);
	assert_int_equal(race.opened[0] + race.opened[1], 2 * ROUNDS);
	assert_int_equal(bits_in(race.pool, STEER_UDP), 0);
	assert_int_equal(nat_pools[race.pool].in_use[STEER_UDP], 0);
	assert_int_equal(nat_count() + nat_permit_count(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unsettled, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_share, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_modes, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_curve, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_race, open_all, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
