/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections under random operations, against a list without any cleverness, and under two threads. */
#include "tests/unit/ct_kit.h"
#include "tests/support/pair.h"

/* ---- random operations against a list ---- */

enum { TWIN = 300 };
struct twin {
	bool used;
	uint32_t conn, last, timeout;
	uint64_t key[2][5];
};

static struct twin *twin_find(struct twin *t, const struct ct *c, const uint64_t *key, uint32_t now, unsigned *dir)
{
	for (unsigned i = 0; i < TWIN; i++)
		for (unsigned d = 0; d < 2; d++)
			if (t[i].used && now - t[i].last < t[i].timeout && !memcmp(t[i].key[d], key, c->idx.key_len)) {
				*dir = d;
				return &t[i];
			}
	return NULL;
}

static void twin_create(struct ct *c, struct twin *t, uint32_t now)
{
	struct twin *free_one = t, *hit[2];
	uint64_t key[2][5] = { 0 };
	uint32_t present = 0;
	unsigned dir[2] = { 0, 0 };
	int err;

	while (free_one < t + TWIN && free_one->used)
		free_one++;
	if (free_one == t + TWIN)
		return;
	/* few addresses and ports, so that keys collide: as the same, as the reverse, and by one half only */
	unsigned a = rnd(3), b = rnd(3), ap = rnd(4), bp = rnd(4), nat = rnd(4);
	make_key(c, key[0], a, ap, b, bp, PROTO_UDP);
	make_key(c, key[1], b, bp, nat ? 10 + rnd(2) : a, nat ? rnd(8) : ap, PROTO_UDP);
	hit[0] = twin_find(t, c, key[0], now, &dir[0]);
	hit[1] = twin_find(t, c, key[1], now, &dir[1]);
	uint32_t i = create(c, 0, key[0], key[1], PROTO_UDP, now, &err, &present);
	if (hit[0] || hit[1]) {
		assert_int_equal(i, 0);
		assert_int_equal(err, -EEXIST);
		assert_true((hit[0] && present == 2 * hit[0]->conn + dir[0]) ||
			    (hit[1] && present == 2 * hit[1]->conn + dir[1]));
		return;
	}
	assert_int_not_equal(i, 0);
	*free_one = (struct twin){ .used = true, .conn = i, .last = now, .timeout = ct_timeouts[CT_T_UDP_UNREPLIED] };
	memcpy(free_one->key, key, sizeof(key));
}

static void twin_check(struct ct *c, struct twin *t, uint32_t now)
{
	unsigned live = 0, dir;
	uint64_t key[5] = { 0 };

	ct_age(c, rnd(4), 1, 1000000, now);
	for (unsigned i = 0; i < TWIN; i++) {
		t[i].used = t[i].used && now - t[i].last < t[i].timeout;
		live += t[i].used;
	}
	assert_int_equal(ct_count(c), live);
	for (unsigned n = 0; n < 50; n++) {
		make_key(c, key, rnd(3), rnd(4), n % 2 ? rnd(3) : 10 + rnd(2), rnd(8), PROTO_UDP);
		struct twin *w = twin_find(t, c, key, now, &dir);
		assert_int_equal(find(c, key, now), w ? 2 * w->conn + dir : 0);
	}
}

static void test_random(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		static struct twin t[TWIN];
		struct ct *c = ct_of(families[f]);
		uint32_t now = T0;
		memset(t, 0, sizeof(t));
		for (unsigned n = 0; n < 60000; n++) {
			struct twin *w = &t[rnd(TWIN)];
			unsigned op = rnd(100), dir;
			bool alive = w->used && now - w->last < w->timeout;
			if (op < 55) {
				twin_create(c, t, now);
			} else if (op < 70 && alive) {
				dir = memcmp(w->key[0], w->key[1], sizeof(w->key[0])) ? rnd(2) : 0;
				assert_int_equal(find(c, w->key[dir], now), 2 * w->conn + dir);
				set_seen(c, 2 * w->conn + dir, w->last = now);
				ct_datagram(ct_conn(c, w->conn), dir);
				if (dir)
					w->timeout = ct_timeouts[CT_T_UDP];
			} else if (op < 85 && alive) {
				assert_true(ct_delete(c, 0, w->conn));
				w->used = false;
			} else if (op < 98) {
				now += rnd(3) == 0 ? rnd(6) : 0;
			} else {
				rcu_poll_deferred();
				twin_check(c, t, now);
			}
		}
		ct_age(c, 0, 1, 1000000, now + 100000);
		assert_int_equal(ct_count(c), 0);
	}
}

/* ---- races ---- */

enum { ROUNDS = 30000 };
static struct race {
	struct ct *c;
	uint64_t fwd[5], rev[5];
	unsigned at, round_wins, deletes;
	uint32_t made[2], present[2];
	int err[2];
	bool turned; /* thread 1 sees the connection from the other end */
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
	struct ct *c = race.c;

	if (!me) {
		unsigned host = rnd(2) ? 1 : 7; /* both orders of the two keys */
		make_key(c, race.fwd, host, n & 0xffff, 3, 80, PROTO_TCP);
		make_key(c, race.rev, 3, 80, rnd(2) ? 9 : host, n & 0xffff, PROTO_TCP);
		race.turned = rnd(2);
	}
	meet(gen);
	bool turn = me && race.turned;
	race.made[me] = create(c, me, turn ? race.rev : race.fwd, turn ? race.fwd : race.rev, PROTO_TCP, T0,
			       &race.err[me], &race.present[me]);
	meet(gen);
	uint32_t conn = race.made[0] ? race.made[0] : race.made[1];
	if (!me) {
		assert_int_equal(!!race.made[0] + !!race.made[1], 1);
		unsigned loser = race.made[0] ? 1 : 0;
		assert_int_equal(race.err[loser], -EEXIST);
		assert_int_equal(race.present[loser] >> 1, conn);
		assert_int_equal(find(c, race.fwd, T0) >> 1, conn);
		assert_int_equal(find(c, race.rev, T0) >> 1, conn);
		race.deletes = 0;
	}
	meet(gen);
	if (ct_delete(c, me, conn))
		__atomic_add_fetch(&race.deletes, 1, __ATOMIC_RELAXED);
	meet(gen);
	if (!me)
		assert_int_equal(race.deletes, 1);
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
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		pthread_t t;
		unsigned gen = 0;
		memset(&race, 0, sizeof(race));
		deleted = 0;
		race.c = ct_of(families[f]);
		assert_int_equal(pthread_create(&t, NULL, race_thread, NULL), 0);
		for (unsigned n = 0; n < ROUNDS; n++)
			race_round(0, &gen, n);
		rcu_offline();
		pthread_join(t, NULL);
		rcu_online();
		assert_int_equal(deleted, ROUNDS);
		assert_int_equal(ct_count(race.c), 0);
		for (unsigned n = 0; n < 3; n++)
			rcu_poll_deferred();
		assert_int_equal(pool_used(&race.c->conns), 0);
	}
}

/* Two threads create, find, delete and age over few tuples without meeting: nothing may get lost or stuck. */
static void churn(unsigned me)
{
	struct ct *c = &ct4;
	uint64_t fwd[5], rev[5], x = 99 + me;
	uint32_t present;
	int err;

	for (unsigned n = 0; n < 200000; n++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		unsigned r = (unsigned)(x >> 40), a = r % 3, b = 3 + r / 3 % 3, p = r / 9 % 4;
		bool turn = r >> 10 & 1;
		make_key(c, fwd, turn ? b : a, p, turn ? a : b, p, PROTO_UDP);
		make_key(c, rev, turn ? a : b, p, turn ? b : a, p, PROTO_UDP);
		if (r >> 11 & 1) {
			create(c, me, fwd, rev, PROTO_UDP, T0, &err, &present);
		} else {
			uint32_t f = find(c, fwd, T0);
			if (f)
				ct_delete(c, me, f >> 1);
		}
		if (n % 64 == 0) {
			ct_age(c, me, 2, 16, T0 + 50);
			rcu_quiescent();
		}
	}
}

static void test_churn(void **state)
{
	unsigned n = 0;
	(void)state;
	run_pair(churn);
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i), n++)
		for (unsigned d = 0; d < 2; d++)
			assert_int_equal(find(&ct4, record(&ct4, 2 * i + d), T0), 2 * i + d);
	assert_int_equal(ct_count(&ct4), n);
	ct_age(&ct4, 0, 1, 1000000, T0 + 100000);
	assert_int_equal(ct_count(&ct4), 0);
	for (n = 0; n < 3; n++)
		rcu_poll_deferred();
	assert_int_equal(pool_used(&ct4.conns), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, open_big, close_all),
		cmocka_unit_test_setup_teardown(test_race, open_big, close_all),
		cmocka_unit_test_setup_teardown(test_churn, open_big, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
