/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections: both keys, duplicates, expiry, ageing, eviction order, quotas; for IPv4 and IPv6. */
#include "tests/unit/ct_kit.h"

/* Connection number 'n' of host 1 to host 2, with source translation to host 9 when 'nat'. */
static uint32_t simple(struct ct *c, unsigned n, uint8_t proto, uint32_t now, bool nat)
{
	uint64_t fwd[5], rev[5];
	uint32_t present;
	int err;
	make_key(c, fwd, 1, n, 2, 80, proto);
	make_key(c, rev, 2, 80, nat ? 9 : 1, n, proto);
	return create(c, 0, fwd, rev, proto, now, &err, &present);
}

static void test_both_directions(void **state)
{
	uint64_t key[5];
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		deleted = 0;
		uint32_t i = simple(c, 5, PROTO_TCP, T0, true);
		assert_int_not_equal(i, 0);
		assert_int_equal(ct_count(c), 1);
		assert_int_equal(get_in(c, 2 * i), FLOW_IN_HOST);
		assert_int_equal(get_in(c, 2 * i + 1), 0);
		make_key(c, key, 1, 5, 2, 80, PROTO_TCP);
		assert_int_equal(find(c, key, T0), 2 * i);
		make_key(c, key, 2, 80, 9, 5, PROTO_TCP);
		assert_int_equal(find(c, key, T0), 2 * i + 1);
		make_key(c, key, 2, 80, 1, 5, PROTO_TCP); /* the untranslated reply */
		assert_int_equal(find(c, key, T0), 0);
		make_key(c, key, 1, 5, 2, 80, PROTO_UDP);
		assert_int_equal(find(c, key, T0), 0);
		assert_int_equal(ct_next(c, 0), i);
		assert_int_equal(ct_next(c, i), 0);
		assert_true(ct_delete(c, 0, i));
		assert_false(ct_delete(c, 0, i));
		assert_int_equal(deleted, 1);
		assert_int_equal(ct_count(c), 0);
		assert_int_equal(ct_next(c, 0), 0);
		make_key(c, key, 2, 80, 9, 5, PROTO_TCP);
		assert_int_equal(find(c, key, T0), 0);
	}
}

static void test_clean_record_never_valid(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++, gen_bump_extra()) {
		uint32_t i = ct_alloc(&ct4, 0, PROTO_UDP, T0), j = ct_alloc(&ct6, 0, PROTO_UDP, T0);
		for (unsigned d = 0; d < 2; d++) {
			assert_int_not_equal(ct_flow4(2 * i + d)->gensum, gen_sum(ct_flow4(2 * i + d)->dep));
			assert_int_not_equal(ct_flow6(2 * j + d)->gensum, gen_sum(ct_flow6(2 * j + d)->dep));
		}
		ct_abort(&ct4, 0, i);
		ct_abort(&ct6, 0, j);
	}
	assert_int_equal(ct_count(&ct4) + ct_count(&ct6), 0);
}

static void test_exists(void **state)
{
	uint64_t fwd[5], rev[5], other[5];
	uint32_t present;
	int err;
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		uint32_t i = simple(c, 5, PROTO_TCP, T0, false);
		make_key(c, fwd, 1, 5, 2, 80, PROTO_TCP);
		make_key(c, rev, 2, 80, 1, 5, PROTO_TCP);
		for (unsigned n = 0; n < 20; n++) {
			/* both sides of the order of keys */
			make_key(c, other, n < 10 ? 0 : 200 + n, 1, 3, n, PROTO_TCP);
			present = 0;
			assert_int_equal(create(c, 0, fwd, other, PROTO_TCP, T0, &err, &present), 0);
			assert_int_equal(err, -EEXIST);
			assert_int_equal(present, 2 * i);
			assert_int_equal(find(c, other, T0), 0);
			assert_int_equal(create(c, 0, other, rev, PROTO_TCP, T0, &err, &present), 0);
			assert_int_equal(err, -EEXIST);
			assert_int_equal(present, 2 * i + 1);
			assert_int_equal(find(c, other, T0), 0);
			/* what is in the way as an original key is so as a reply key, too */
			assert_int_equal(create(c, 0, rev, fwd, PROTO_TCP, T0, &err, &present), 0);
			assert_int_equal(err, -EEXIST);
			assert_int_equal(present >> 1, i);
		}
		assert_int_equal(find(c, fwd, T0), 2 * i);
		assert_int_equal(ct_count(c), 1);
		ct_delete(c, 0, i);
	}
	assert_int_equal(deleted, 2); /* none for the aborted ones */
}

/* What other threads could see for a moment must not be reused at once; what nobody saw may. */
static void test_abort(void **state)
{
	uint64_t low[5], high[5], taken[5], self[5];
	uint32_t present;
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		make_key(c, taken, 5, 5, 2, 80, PROTO_TCP);
		make_key(c, self, 2, 80, 5, 5, PROTO_TCP);
		make_key(c, low, 0, 5, 2, 80, PROTO_TCP);
		make_key(c, high, 250, 5, 2, 80, PROTO_TCP);
		int err;
		assert_int_not_equal(create(c, 0, taken, self, PROTO_TCP, T0, &err, &present), 0);
		for (unsigned n = 0; n < 2; n++) {
			uint32_t i = ct_alloc(c, 0, PROTO_TCP, T0);
			memcpy(record(c, 2 * i), taken, c->idx.key_len);
			memcpy(record(c, 2 * i + 1), n ? low : high, c->idx.key_len);
			set_in(c, 2 * i, FLOW_IN_HOST);
			assert_int_equal(ct_publish(c, 0, i, &present), -EEXIST);
			assert_int_equal(get_in(c, 2 * i), 0); /* no ingress: nobody replays it */
			assert_int_equal(pool_state(&c->conns, i), POOL_BUSY);
			ct_abort(c, 0, i);
			assert_int_equal(pool_state(&c->conns, i), n ? POOL_DEAD : POOL_FREE);
		}
		assert_int_equal(ct_count(c), 1);
	}
}

static void test_self(void **state)
{
	uint64_t key[5];
	uint32_t present;
	int err;
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		make_key(c, key, 1, 5, 1, 5, PROTO_TCP);
		uint32_t i = create(c, 0, key, key, PROTO_TCP, T0, &err, &present);
		assert_int_not_equal(i, 0);
		assert_int_equal(find(c, key, T0), 2 * i);
		assert_int_equal(create(c, 0, key, key, PROTO_TCP, T0, &err, &present), 0);
		assert_int_equal(err, -EEXIST);
		assert_true(ct_delete(c, 0, i));
		assert_int_equal(find(c, key, T0), 0);
	}
}

static void test_expiry(void **state)
{
	uint64_t key[5];
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		deleted = 0;
		uint32_t i = simple(c, 5, PROTO_UDP, T0, false);
		ct_datagram(ct_conn(c, i), false);
		make_key(c, key, 1, 5, 2, 80, PROTO_UDP);
		assert_int_equal(ct_remaining(c, i, T0), 120);
		assert_int_equal(ct_remaining(c, i, T0 - 5), 120); /* another thread's clock */
		assert_int_equal(find(c, key, T0 + 119), 2 * i);
		assert_int_equal(find(c, key, T0 + 120), 0);
		assert_int_equal(ct_remaining(c, i, T0 + 5000), 0);
		set_seen(c, 2 * i + 1, T0 + 100); /* either direction refreshes */
		set_seen(c, 2 * i, T0 + 50);
		ct_datagram(ct_conn(c, i), true);
		assert_int_equal(ct_remaining(c, i, T0 + 110), 290);
		assert_int_equal(find(c, key, T0 + 399), 2 * i);
		assert_int_equal(find(c, key, T0 + 400), 0);
		/* an expired one is no obstacle, and is deleted properly */
		uint32_t j = simple(c, 5, PROTO_UDP, T0 + 400, false);
		assert_int_not_equal(j, 0);
		assert_int_equal(deleted, 1);
		assert_int_equal(ct_count(c), 1);
		assert_int_equal(find(c, key, T0 + 400), 2 * j);
		ct_delete(c, 0, j);
	}
}

static void test_timeouts(void **state)
{
	static const struct {
		uint8_t proto, state;
		enum ct_timeout t;
	} rows[] = {
		{ PROTO_TCP, CT_SYN_SENT, CT_T_TCP_SYN },
		{ PROTO_TCP, CT_SYN_RECV, CT_T_TCP_SYN },
		{ PROTO_TCP, CT_ESTABLISHED, CT_T_TCP_ESTABLISHED },
		{ PROTO_TCP, CT_FIN_WAIT, CT_T_TCP_HALF_CLOSED },
		{ PROTO_SCTP, CT_FIN_WAIT, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_CLOSING, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_TIME_WAIT, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_RST_SEEN, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_REFUSED, CT_T_TCP_TRANSITORY },
		{ PROTO_UDP, CT_REFUSED, CT_T_TCP_TRANSITORY },
		{ PROTO_UDP, CT_UNREPLIED, CT_T_UDP_UNREPLIED },
		{ PROTO_UDP, CT_REPLIED, CT_T_UDP },
		{ PROTO_SCTP, CT_ESTABLISHED, CT_T_TCP_ESTABLISHED },
		{ PROTO_ICMP, CT_UNREPLIED, CT_T_ICMP },
		{ PROTO_ICMP6, CT_REPLIED, CT_T_ICMP },
	};
	static const uint32_t minimum[CT_TIMEOUTS] = { 7440, 7440, 240, 240, 300, 120, 60 }; /* RFC 5382, 4787, 5508 */
	uint32_t saved[CT_TIMEOUTS];
	(void)state;
	for (unsigned t = 0; t < CT_TIMEOUTS; t++)
		assert_true(ct_timeouts[t] >= minimum[t]);
	memcpy(saved, ct_timeouts, sizeof(saved));
	for (unsigned t = 0; t < CT_TIMEOUTS; t++)
		ct_timeouts[t] = 11 + t; /* settable live */
	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		uint32_t i = simple(&ct4, n, rows[n].proto, T0, false);
		ct_conn(&ct4, i)->state = rows[n].state;
		assert_int_equal(ct_remaining(&ct4, i, T0), 11 + rows[n].t);
	}
	memcpy(ct_timeouts, saved, sizeof(saved));
}

static void test_ageing(void **state)
{
	enum { N = 60 };
	uint64_t key[5];
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		deleted = 0;
		c->expired = 0;
		for (unsigned n = 0; n < N; n++) {
			uint32_t i = simple(c, n, PROTO_TCP, T0, false);
			assert_int_not_equal(i, 0);
			ct_conn(c, i)->state = n % 2 ? CT_ESTABLISHED : CT_SYN_SENT;
		}
		for (unsigned n = 0; n < 10 * N; n++)
			ct_age(c, n % 3, 3, 7, T0 + 239);
		assert_int_equal(ct_count(c), N);
		/* a budget is kept */
		ct_age(c, 0, 1, 4, T0 + 240);
		assert_true(ct_count(c) >= N - 4);
		/* three threads cover everything between them, none does alone */
		for (unsigned n = 0; n < 40; n++)
			ct_age(c, 1, 3, 7, T0 + 240);
		assert_true(ct_count(c) > N / 2);
		for (unsigned n = 0; n < 120; n++)
			ct_age(c, n % 3, 3, 7, T0 + 240);
		assert_int_equal(ct_count(c), N / 2);
		assert_int_equal(deleted, N / 2);
		assert_int_equal(c->expired, N / 2);
		for (unsigned n = 0; n < N; n++) {
			make_key(c, key, 1, n, 2, 80, PROTO_TCP);
			assert_int_equal(find(c, key, T0 + 240) != 0, n % 2);
		}
		while (ct_age(c, SLOT_CONTROL, 1, 1000000, T0 + 100000))
			;
		assert_int_equal(ct_count(c), 0);
		rcu_poll_deferred();
		rcu_poll_deferred();
		rcu_poll_deferred();
		assert_int_equal(pool_used(&c->conns), 0);
	}
}

/* Fills the TCP quota: a third of each class, all seen at 'seen'. */
static void fill(struct ct *c, uint32_t seen)
{
	static const uint8_t idle[] = { CT_ESTABLISHED },
			     closing[] = { CT_FIN_WAIT, CT_CLOSING, CT_TIME_WAIT, CT_RST_SEEN },
			     embryonic[] = { CT_SYN_SENT, CT_SYN_RECV };
	for (unsigned n = 0; n < QUOTA_TCP; n++) {
		uint32_t i = simple(c, n, PROTO_TCP, T0, false);
		assert_int_not_equal(i, 0);
		ct_conn(c, i)->state = n % 3 == 0 ? idle[0] : n % 3 == 1 ? closing[n % 4] : embryonic[n % 2];
		set_seen(c, 2 * i, seen);
		set_seen(c, 2 * i + 1, seen);
	}
}

static unsigned count_class(struct ct *c, unsigned class)
{
	static const uint8_t class_of[CT_STATES] = {
		[CT_SYN_SENT] = 2,  [CT_SYN_RECV] = 2, [CT_FIN_WAIT] = 1,   [CT_CLOSING] = 1,
		[CT_TIME_WAIT] = 1, [CT_RST_SEEN] = 1, [CT_ESTABLISHED] = 0
	};
	unsigned n = 0;
	for (uint32_t i = ct_next(c, 0); i; i = ct_next(c, i))
		n += ct_conn(c, i)->created == T0 && class_of[ct_conn(c, i)->state] == class;
	return n;
}

static void answered(struct ct *c, uint32_t i, uint32_t now)
{
	ct_conn(c, i)->state = CT_ESTABLISHED;
	set_seen(c, 2 * i, now);
	set_seen(c, 2 * i + 1, now);
}

static void test_eviction(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		fill(c, T0 + 10);
		c->evicted = 0;
		unsigned idle = count_class(c, 0), closing = count_class(c, 1), embryonic = count_class(c, 2), n = 0;
		assert_int_equal(idle + closing + embryonic, QUOTA_TCP);
		/* never one used in the last second */
		assert_int_equal(simple(c, 1000, PROTO_TCP, T0 + 10, false), 0);
		assert_int_equal(simple(c, 1000, PROTO_TCP, T0 + 11, false), 0);
		assert_int_equal(ct_count(c), QUOTA_TCP);
		/* another quota is not touched, and does not help */
		assert_int_not_equal(simple(c, 2000, PROTO_UDP, T0 - 50, false), 0);
		assert_int_equal(simple(c, 1000, PROTO_TCP, T0 + 10, false), 0);
		for (unsigned k = 0; k < QUOTA_TCP; k++) {
			/* the new ones are of this second: they stay */
			uint32_t i = simple(c, 1000 + n++, PROTO_TCP, T0 + 12, false);
			assert_int_not_equal(i, 0);
			answered(c, i, T0 + 12);
			if (embryonic)
				embryonic--;
			else if (closing)
				closing--;
			else
				idle--;
			assert_int_equal(count_class(c, 2), embryonic);
			assert_int_equal(count_class(c, 1), closing);
			assert_int_equal(count_class(c, 0), idle);
			assert_int_equal(ct_count(c), QUOTA_TCP + 1);
		}
		assert_int_equal(c->evicted, QUOTA_TCP);
		assert_int_equal(simple(c, 5000, PROTO_TCP, T0 + 12, false), 0);
	}
}

static uint32_t asked;

static bool refuse(bool v6, uint32_t conn)
{
	(void)v6;
	(void)conn;
	asked++;
	return false;
}

/* Idle ones that must not go for another stay; those that open or close are not asked for. */
static void test_eviction_asks(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		ct_may_evict = NULL;
		fill(c, T0 + 10);
		const unsigned others = count_class(c, 2) + count_class(c, 1);
		asked = 0;
		ct_may_evict = refuse;
		for (unsigned k = 0; k < others; k++) {
			uint32_t i = simple(c, 1000 + k, PROTO_TCP, T0 + 12, false);
			assert_int_not_equal(i, 0);
			answered(c, i, T0 + 12);
		}
		assert_int_equal(simple(c, 5000, PROTO_TCP, T0 + 14, false), 0);
		assert_int_not_equal(asked, 0);
		assert_int_equal(ct_count(c), QUOTA_TCP);
		assert_int_equal(count_class(c, 2) + count_class(c, 1), 0);
		ct_may_evict = NULL;
	}
}

static void test_eviction_oldest(void **state)
{
	uint64_t key[5];
	(void)state;
	/* within a class the longest unused goes; fewer than the early end of the walk, so the order is exact */
	for (unsigned n = 0; n < QUOTA_TCP; n++) {
		uint32_t i = simple(&ct4, n, PROTO_TCP, T0, false);
		ct_conn(&ct4, i)->state = CT_ESTABLISHED;
		set_seen(&ct4, 2 * i, T0 + 1 + (n * 37) % QUOTA_TCP);
		set_seen(&ct4, 2 * i + 1, T0 + 1);
	}
	for (unsigned k = 0; k < QUOTA_TCP; k++) {
		unsigned n = 0;
		while ((n * 37) % QUOTA_TCP != k)
			n++;
		make_key(&ct4, key, 1, n, 2, 80, PROTO_TCP);
		assert_int_not_equal(find(&ct4, key, T0 + 100), 0);
		uint32_t i = simple(&ct4, 1000 + k, PROTO_TCP, T0 + 100, false);
		assert_int_not_equal(i, 0);
		answered(&ct4, i, T0 + 100);
		assert_int_equal(find(&ct4, key, T0 + 100), 0);
	}
	/* picked up and never answered: not better than embryonic */
	uint32_t victim = ct_next(&ct4, 0);
	for (uint32_t i = victim; i; i = ct_next(&ct4, i)) {
		ct_conn(&ct4, i)->state = CT_ESTABLISHED;
		set_seen(&ct4, 2 * i, T0 + 110);
		set_seen(&ct4, 2 * i + 1, i == victim ? 0 : T0 + 105);
	}
	assert_int_not_equal(simple(&ct4, 3000, PROTO_TCP, T0 + 120, false), 0);
	assert_false(ct_is_live(&ct4, victim));
}

/* A SYN flood into a full table: what was answered stays, the oldest half-open one goes for each new one, and who comes in
 * between gets a place. */
static void test_flood(void **state)
{
	enum { OLD = 20, PER_S = 8 };
	uint64_t key[5];
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		bool is_friend[40 * QUOTA_TCP] = { false };
		unsigned n = 0, friends = OLD;
		for (; n < OLD; n++)
			answered(c, simple(c, n, PROTO_TCP, T0, false), T0);
		for (; n < QUOTA_TCP; n++)
			assert_int_not_equal(simple(c, n, PROTO_TCP, T0 + n / PER_S, false), 0);
		for (unsigned oldest = OLD; n < 40 * QUOTA_TCP; n++) {
			const uint32_t now = T0 + n / PER_S;
			uint32_t i = simple(c, n, PROTO_TCP, now, false);
			assert_int_not_equal(i, 0);
			while (is_friend[oldest])
				oldest++;
			make_key(c, key, 1, oldest++, 2, 80, PROTO_TCP);
			assert_int_equal(find(c, key, now), 0);
			if (n % QUOTA_TCP == 0 && friends < OLD + 10) {
				answered(c, i, now);
				is_friend[n] = true;
				friends++;
			}
			rcu_poll_deferred();
		}
		for (unsigned k = 0; k < OLD; k++) {
			make_key(c, key, 1, k, 2, 80, PROTO_TCP);
			assert_int_not_equal(find(c, key, T0 + 500), 0);
		}
		/* a flood too fast for its own eviction is refused; nobody pays for it */
		const uint32_t now = T0 + n / PER_S + 10, evicted = (uint32_t)c->evicted;
		unsigned in = 0;
		for (unsigned k = 0; k < 1000; k++)
			in += simple(c, 100000 + k, PROTO_TCP, now, false) != 0;
		assert_int_equal(in, QUOTA_TCP - friends);
		assert_int_equal(c->evicted, evicted + QUOTA_TCP - friends);
		unsigned alive = 0;
		for (uint32_t i = ct_next(c, 0); i; i = ct_next(c, i))
			alive += ct_conn(c, i)->state == CT_ESTABLISHED;
		assert_int_equal(alive, friends);
	}
}

/* Answered and deleted ones are passed over; a queue does not grow for ever; another thread's victims are found. */
static void test_fifo(void **state)
{
	uint32_t young;
	(void)state;
	struct ct *c = &ct4;
	for (unsigned n = 0; n < 100000; n++) {
		uint32_t i = simple(c, n, PROTO_TCP, T0, false);
		assert_int_not_equal(i, 0);
		if (n % 3)
			answered(c, i, T0);
		assert_true(ct_delete(c, 0, i));
		rcu_poll_deferred();
	}
	assert_int_equal(ct_fifo_victim(c, 0, true, T0 + 10, &young), 0);
	uint32_t a = simple(c, 1, PROTO_TCP, T0, false), b = simple(c, 2, PROTO_TCP, T0, false);
	uint32_t d = simple(c, 3, PROTO_TCP, T0, false), u = simple(c, 4, PROTO_UDP, T0, false);
	answered(c, b, T0);
	set_seen(c, 2 * a, T0 + 9); /* unanswered, but in use: behind the others */
	assert_int_equal(ct_fifo_victim(c, 5, true, T0 + 1, &young), 0);
	assert_true(young >= 3);
	assert_int_equal(ct_fifo_victim(c, 5, true, T0 + 10, &young), d);
	assert_int_equal(ct_fifo_victim(c, 5, true, T0 + 11, &young), a);
	assert_int_equal(ct_fifo_victim(c, 5, true, T0 + 11, &young), 0);
	assert_int_equal(ct_fifo_victim(c, 5, false, T0 + 11, &young), u);
}

/* Design section 9: at the default capacities. */
static void test_memory(void **state)
{
	(void)state;
	assert_int_equal(open_with(0, 0), 0);
	print_message("bytes a connection: IPv4 %.1f IPv6 %.1f\n", ct_bytes_each(&ct4), ct_bytes_each(&ct6));
	assert_true(ct_bytes_each(&ct4) <= 256);
	assert_true(ct_bytes_each(&ct6) <= 400);
	close_all(NULL);
}

static void test_quota(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		struct ct *c = ct_of(families[f]);
		unsigned tcp = 0, other = 0;
		for (unsigned n = 0; n < 200; n++) {
			tcp += simple(c, n, PROTO_TCP, T0, false) != 0;
			other += simple(c, n, n % 2 ? PROTO_UDP : PROTO_SCTP, T0, false) != 0;
		}
		assert_int_equal(tcp, QUOTA_TCP);
		assert_int_equal(other, QUOTA_OTHER);
		assert_int_equal(ct_count(c), QUOTA_TCP + QUOTA_OTHER);
		/* an abort and a delete give their place back */
		uint32_t i = ct_next(c, 0);
		uint8_t proto = ct_conn(c, i)->proto;
		ct_delete(c, 0, i);
		i = ct_alloc(c, 0, proto, T0);
		assert_int_not_equal(i, 0);
		assert_int_equal(ct_alloc(c, 0, proto, T0), 0);
		ct_abort(c, 0, i);
		assert_int_not_equal(ct_alloc(c, 0, proto, T0), 0);
		assert_int_equal(ct_alloc(c, 0, proto, T0), 0);
	}
}

/* 'set ct max-tcp' and max-other, which ct_init() follows unless it is told otherwise. */
static void test_room_is_a_setting(void **state)
{
	struct err e = { "" };
	unsigned tcp = 0;
	(void)state;
	ct_fini();
	const uint32_t before = ct_max_tcp, before_other = ct_max_other;
	ct_max_tcp = 1024;
	ct_max_other = 2048;
	assert_int_equal(ct_init(0, 0, &e), 0);
	for (unsigned n = 0; n < 1500; n++)
		tcp += simple(&ct4, n, PROTO_TCP, T0, false) != 0;
	assert_int_equal(tcp, 1024);
	assert_int_equal(ct4.max_other + ct6.max_other, 2 * 2048);
	ct_max_tcp = before;
	ct_max_other = before_other;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_directions, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_clean_record_never_valid, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_exists, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_abort, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_self, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_expiry, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_timeouts, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_ageing, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_eviction, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_eviction_asks, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_eviction_oldest, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_flood, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_fifo, open_small, close_all),
		cmocka_unit_test(test_memory),
		cmocka_unit_test_setup_teardown(test_quota, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_room_is_a_setting, open_small, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
