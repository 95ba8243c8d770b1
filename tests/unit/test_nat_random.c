/* SPDX-License-Identifier: BSD-2-Clause */
/* Masquerade state under random operations, against arrays that do the same without any cleverness, and under two
 * threads. */
#include "tables/nat_pool.h"
#include "tests/unit/nat_kit.h"
#include "tests/support/turns.h"
#include "tests/support/pair.h"

/* ---- random operations against arrays ---- */

enum { HOSTS = 12, INSIDE_PORTS = 8, RANGE_LO = 4000, RANGE = 60, REMOTES = 6 };
struct twin {
	unsigned refs, outside, permits[REMOTES];
	uint32_t index;
};

static void twin_map(unsigned p, struct twin *t, struct twin *all, unsigned host, unsigned port)
{
	struct nat_key k = key_of(p, PROTO_UDP, host, (uint16_t)(RANGE_LO - 4 + port));
	bool taken[RANGE] = { false }, created;
	unsigned n_taken = 0;
	uint32_t m;

	for (struct twin *o = all; o < all + HOSTS * INSIDE_PORTS; o++)
		if (o->refs) {
			taken[o->outside - RANGE_LO] = true;
			n_taken++;
		}
	int r = nat_map(rnd(3), &k, 1, rnd64(), &m, &created);
	if (!t->refs && n_taken == RANGE) {
		assert_int_equal(r, -ENOSPC);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(created, !t->refs);
	unsigned outside = nat_at(m)->outside_port;
	if (t->refs) {
		assert_int_equal(m, t->index);
		assert_int_equal(outside, t->outside);
	} else {
		assert_in_range(outside, RANGE_LO, RANGE_LO + RANGE - 1);
		assert_false(taken[outside - RANGE_LO]);
		if (k.inside_port >= RANGE_LO && !taken[k.inside_port - RANGE_LO])
			assert_int_equal(outside, k.inside_port);
	}
	t->refs++;
	t->index = m;
	t->outside = outside;
}

static void twin_check(unsigned p, const struct twin *all)
{
	const struct ipaddr a = ip("192.0.2.1");
	uint32_t want[RANGE] = { 0 };
	unsigned n = 0;

	for (const struct twin *t = all; t < all + HOSTS * INSIDE_PORTS; t++) {
		if (!t->refs)
			continue;
		n++;
		want[t->outside - RANGE_LO] = t->index;
		assert_int_equal(nat_at(t->index)->refs, t->refs);
		for (unsigned r = 0; r < REMOTES; r++) {
			const struct ipaddr remote = ip_from4(htonl(0xcb007100 + r / 2));
			assert_int_equal(nat_permitted(t->index, &remote, (uint16_t)(r % 2)), t->permits[r] > 0);
		}
	}
	assert_int_equal(nat_count(), n);
	assert_int_equal(nat_pools[p].in_use[STEER_UDP], n);
	assert_int_equal(bits_in(p, STEER_UDP), n);
	for (unsigned i = 0; i < RANGE; i++) {
		assert_int_equal(nat_by_outside(&a, PROTO_UDP, (uint16_t)(RANGE_LO + i)), want[i]);
		assert_int_equal(bit_set(p, PROTO_UDP, (uint16_t)(RANGE_LO + i)), want[i] != 0);
	}
}

static void test_random(void **state)
{
	static struct twin all[HOSTS * INSIDE_PORTS];
	(void)state;
	memset(all, 0, sizeof(all));
	unsigned p = add_pool("192.0.2.1", RANGE_LO, RANGE_LO + RANGE - 1, NAT_APDF);
	for (unsigned n = 0; n < TURNS(60000); n++) {
		/* tides, so that the range is full at times and empty at others */
		unsigned up = n / 3000 % 2 ? 58 : 30, op = rnd(100);
		unsigned host = rnd(HOSTS), port = rnd(INSIDE_PORTS), r = rnd(REMOTES);
		struct twin *t = &all[host * INSIDE_PORTS + port];
		const struct ipaddr remote = ip_from4(htonl(0xcb007100 + r / 2));
		if (op < up) {
			twin_map(p, t, all, host, port);
		} else if (op < 80 && t->refs) {
			if (t->refs == 1) /* a connection takes its permits along */
				for (r = 0; r < REMOTES; r++)
					for (const struct ipaddr a = ip_from4(htonl(0xcb007100 + r / 2)); t->permits[r];
					     t->permits[r]--)
						nat_unpermit(0, t->index, &a, (uint16_t)(r % 2));
			nat_unref(rnd(3), t->index);
			t->refs--;
		} else if (op < 87 && t->refs) {
			assert_int_equal(nat_permit(rnd(3), t->index, &remote, (uint16_t)(r % 2)), 0);
			t->permits[r]++;
		} else if (op < 94 && t->refs && t->permits[r]) {
			nat_unpermit(rnd(3), t->index, &remote, (uint16_t)(r % 2));
			t->permits[r]--;
		} else if (op == 99) {
			rcu_poll_deferred();
			twin_check(p, all);
		}
	}
}

/* ---- races ---- */

enum { ROUNDS = TURNS(30000) };
static struct race {
	unsigned at, pool;
	struct nat_key k;
	uint32_t mapping[2];
	int err[2];
	bool created[2], same;
} race;

static void meet(unsigned *generation)
{
	unsigned want = ++*generation * 2, spins = 0;
	__atomic_add_fetch(&race.at, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&race.at, __ATOMIC_SEQ_CST) < want)
		if (++spins % 64 == 0)
			sched_yield();
}

static void race_round(unsigned me, unsigned *gen, unsigned n)
{
	if (!me) {
		race.k = key_of(race.pool, PROTO_TCP, n, 3000);
		race.same = rnd(4);
	}
	meet(gen);
	struct nat_key k = race.k;
	if (me && !race.same)
		k.zone = 1; /* two keys that want one port */
	race.err[me] = nat_map(me, &k, 1, n, &race.mapping[me], &race.created[me]);
	meet(gen);
	if (!me) {
		assert_int_equal(race.err[0], 0);
		assert_int_equal(race.err[1], 0);
		assert_int_equal(race.created[0] + race.created[1], race.same ? 1 : 2);
		assert_int_equal(race.mapping[0] == race.mapping[1], race.same);
		assert_int_equal(nat_at(race.mapping[0])->refs, race.same ? 2 : 1);
		assert_int_equal(bits_in(race.pool, STEER_TCP), race.same ? 1 : 2);
		assert_int_equal(nat_pools[race.pool].in_use[STEER_TCP], race.same ? 1 : 2);
		assert_int_equal(nat_count(), race.same ? 1 : 2);
	}
	meet(gen);
	nat_unref(me, race.mapping[me]);
	meet(gen);
	if (!me) {
		assert_int_equal(bits_in(race.pool, STEER_TCP), 0);
		assert_int_equal(nat_count(), 0);
	}
	rcu_quiescent();
}

static void *race_thread(void *arg)
{
	unsigned gen = 0;
	(void)arg;
	rcu_thread_register();
	for (unsigned n = 0; n < ROUNDS; n++)
		race_round(1, &gen, n);
	rcu_thread_unregister();
	return NULL;
}

static void test_race(void **state)
{
	pthread_t t;
	unsigned gen = 0;
	(void)state;
	memset(&race, 0, sizeof(race));
	race.pool = add_pool("192.0.2.1", 3000, 3003, NAT_EIF);
	assert_int_equal(pthread_create(&t, NULL, race_thread, NULL), 0);
	for (unsigned n = 0; n < ROUNDS; n++)
		race_round(0, &gen, n);
	rcu_offline();
	pthread_join(t, NULL);
	rcu_online();
}

/* Without meeting: references and permits of few keys go up and down on both threads, new ones meet dying ones. */
static void churn(unsigned me)
{
	const struct ipaddr remote = ip("203.0.113.1"), a = ip("192.0.2.1");
	uint64_t x = 5 + me;

	for (unsigned n = 0; n < TURNS(200000); n++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		unsigned r = (unsigned)(x >> 40);
		struct nat_key k = key_of(race.pool, PROTO_UDP, r % 3, (uint16_t)(3000 + r / 3 % 2));
		uint32_t m, seen;
		bool created;
		/* six keys at most and eight ports: there is always one */
		if (nat_map(me, &k, 1, x, &m, &created) || nat_permit(me, m, &remote, 0))
			abort();
		seen = nat_by_outside(&a, PROTO_UDP, nat_at(m)->outside_port);
		if (memcmp(nat_key_at(m), &k, sizeof(k)) || seen != m || !nat_permitted(m, &remote, 9))
			abort();
		seen = nat_by_outside(&a, PROTO_UDP, (uint16_t)(3000 + r / 6 % 8));
		if (seen && nat_ref(seen))
			nat_unref(me, seen);
		nat_unpermit(me, m, &remote, 0);
		nat_unref(me, m);
		if (n % 64 == 0)
			rcu_quiescent();
	}
}

static void test_churn(void **state)
{
	(void)state;
	race.pool = add_pool("192.0.2.1", 3000, 3007, NAT_ADF);
	run_pair(churn);
	assert_int_equal(nat_count(), 0);
	assert_int_equal(bits_in(race.pool, STEER_UDP), 0);
	assert_int_equal(nat_pools[race.pool].in_use[STEER_UDP], 0);
	for (unsigned i = 0; i < 65536; i++)
		assert_int_equal(nat_pools[race.pool].owner[STEER_UDP][i], 0);
}

static int claim(enum steer_proto which, uint16_t want, uint64_t random, struct ipaddr *a)
{
	return nat_port_claim(race.pool, which, &(struct nat_port_wish){ .port = want, .random = random }, a);
}

/* Two threads drain one range from the same end: the claims meet in the same words all the time. */
enum { DRAIN_LO = 1, DRAIN_HI = 65535, DRAINS = TURNS(30) };
static struct drain {
	unsigned got[2];
	uint16_t port[2][65536];
} drain;

static void drain_once(unsigned me, unsigned *gen)
{
	struct ipaddr a;
	int port;

	meet(gen);
	drain.got[me] = 0;
	while ((port = claim(STEER_UDP, 0, 0, &a)) >= 0)
		drain.port[me][drain.got[me]++] = (uint16_t)port;
	meet(gen);
	if (!me) {
		assert_int_equal(drain.got[0] + drain.got[1], DRAIN_HI);
		assert_int_equal(bits_in(race.pool, STEER_UDP), DRAIN_HI);
		assert_int_equal(nat_pools[race.pool].in_use[STEER_UDP], DRAIN_HI);
	}
	meet(gen);
	for (unsigned i = 0; i < drain.got[me]; i++)
		nat_port_release(race.pool, STEER_UDP, drain.port[me][i], 0);
	meet(gen);
	if (!me) {
		assert_int_equal(bits_in(race.pool, STEER_UDP), 0);
		assert_int_equal(nat_pools[race.pool].in_use[STEER_UDP], 0);
	}
}

static void *drain_thread(void *arg)
{
	unsigned gen = 0;
	(void)arg;
	for (unsigned n = 0; n < DRAINS; n++)
		drain_once(1, &gen);
	return NULL;
}

static void test_drain(void **state)
{
	pthread_t t;
	unsigned gen = 0;
	(void)state;
	race.pool = add_pool("192.0.2.1", DRAIN_LO, DRAIN_HI, NAT_EIF);
	race.at = 0;
	assert_int_equal(pthread_create(&t, NULL, drain_thread, NULL), 0);
	for (unsigned n = 0; n < DRAINS; n++)
		drain_once(0, &gen);
	pthread_join(t, NULL);
}

/* Two ports of the whole range are free; one thread moves from one to the other as fast as it can, so that what is free is
 * often where the other thread has just looked. Neither is ever refused. */
enum { SCARCE = 30000 };
static struct scarce {
	bool ready, done;
} scarce;

static void *scarce_thread(void *arg)
{
	static const uint16_t ports[2] = { 1000, 30000 };
	struct ipaddr a;
	int have = claim(STEER_TCP, ports[0], 0, &a);
	(void)arg;
	STORE_RELEASE(&scarce.ready, true);
	for (unsigned n = 1; !LOAD_ACQUIRE(&scarce.done); n++) {
		nat_port_release(race.pool, STEER_TCP, (uint16_t)have, 0);
		have = claim(STEER_TCP, ports[n % 2], 0, &a);
		if (have < 0)
			abort();
	}
	nat_port_release(race.pool, STEER_TCP, (uint16_t)have, 0);
	return NULL;
}

static void test_scarce(void **state)
{
	unsigned refused = 0;
	struct ipaddr a;
	pthread_t t;
	(void)state;
	race.pool = add_pool("192.0.2.1", 1, 65535, NAT_EIF);
	for (unsigned i = 1; i <= 65535; i++)
		assert_int_equal(claim(STEER_TCP, (uint16_t)i, 0, &a), i);
	assert_int_equal(claim(STEER_TCP, 0, 5, &a), -ENOSPC);
	nat_port_release(race.pool, STEER_TCP, 1000, 0);
	nat_port_release(race.pool, STEER_TCP, 30000, 0);
	scarce = (struct scarce){ false, false };
	assert_int_equal(pthread_create(&t, NULL, scarce_thread, NULL), 0);
	while (!LOAD_ACQUIRE(&scarce.ready))
		sched_yield();
	for (unsigned n = 0; n < SCARCE; n++) {
		int port = claim(STEER_TCP, 0, rnd64() >> 20, &a);
		refused += port < 0;
		if (port >= 0)
			nat_port_release(race.pool, STEER_TCP, (uint16_t)port, 0);
	}
	STORE_RELEASE(&scarce.done, true);
	pthread_join(t, NULL);
	assert_int_equal(refused, 0);
	assert_int_equal(bits_in(race.pool, STEER_TCP), 65533);
}

/* New connections toward one destination until the range is full, by two threads at once: how many were refused by the
 * time a part of the ports was in use. Nobody is, before the last one is taken. */
enum { CURVE_LO = 32768, CURVE = 32768, CURVE_MORE = 1000 };
static struct curve {
	uint32_t offered, refused, early; /* early: refused while a port was free */
	uint32_t refused_at[3];           /* by the time half, three quarters, all of the ports were offered a flow */
} curve;

static void fill_curve(unsigned me)
{
	const struct ipaddr remote = ip("203.0.113.1");
	uint64_t x = 3 + me;
	bool created;
	uint32_t n, m;

	while ((n = __atomic_fetch_add(&curve.offered, 1, __ATOMIC_RELAXED)) < CURVE + CURVE_MORE) {
		struct nat_key k = key_of(race.pool, PROTO_TCP, n, 80); /* no source port is kept */
		x = x * 6364136223846793005 + 1442695040888963407;
		if (n == CURVE / 2 || n == CURVE / 4 * 3 || n == CURVE)
			STORE_RELAXED(&curve.refused_at[n / (CURVE / 4) - 2], LOAD_RELAXED(&curve.refused));
		if (!nat_map(me, &k, 1, x >> 11, &m, &created)) {
			if (nat_permit(me, m, &remote, 443))
				abort();
			continue;
		}
		if (__atomic_add_fetch(&curve.refused, 1, __ATOMIC_RELAXED) < 3 &&
		    bits_in(race.pool, STEER_TCP) < CURVE)
			__atomic_add_fetch(&curve.early, 1, __ATOMIC_RELAXED);
	}
}

static void test_curve(void **state)
{
	(void)state;
	memset(&curve, 0, sizeof(curve));
	race.pool = add_pool("192.0.2.1", CURVE_LO, CURVE_LO + CURVE - 1, NAT_APDF);
	run_pair(fill_curve);
	print_message("new connections refused at 50 / 75 / 100 %% of %d ports: %u / %u / %u; then %u of %d\n", CURVE,
		      curve.refused_at[0], curve.refused_at[1], curve.refused_at[2], curve.refused, CURVE_MORE);
	assert_int_equal(curve.early, 0);
	assert_int_equal(curve.refused, CURVE_MORE);
	assert_int_equal(bits_in(race.pool, STEER_TCP), CURVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_race, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_drain, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_scarce, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_curve, open_all, close_all),
		cmocka_unit_test_setup_teardown(test_churn, open_all, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
