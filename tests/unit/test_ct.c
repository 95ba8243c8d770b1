/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections: both keys, duplicates, expiry, ageing, eviction order, quotas, the TCP machine, races; and random operations
 * against a list that does the same without any cleverness. Everything runs for IPv4 and IPv6. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "tables/ct.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, SYNACK = SYN | ACK, FINACK = FIN | ACK };
enum { QUOTA_TCP = 64, QUOTA_OTHER = 32, T0 = 1000 };

static const bool families[2] = { false, true };
static unsigned deleted; /* calls of ct_on_delete */
static uint64_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(rnd_state >> 33) % n;
}

static void count_delete(unsigned slot, bool v6, uint32_t conn)
{
	struct ct *c = ct_of(v6);
	(void)slot;
	/* unlinked, but not yet reusable */
	assert_int_equal(pool_state(&c->conns, conn), POOL_LIVE);
	assert_true(LOAD_RELAXED(&ct_conn(c, conn)->flags) & CONN_DEAD);
	__atomic_add_fetch(&deleted, 1, __ATOMIC_RELAXED);
}

static int open_with(uint32_t tcp, uint32_t other)
{
	struct err e;
	rcu_thread_register();
	hash_init(42);
	rnd_state = 7;
	deleted = 0;
	ct_on_delete = count_delete;
	return ct_init(tcp, other, &e);
}

static int open_small(void **state)
{
	(void)state;
	return open_with(QUOTA_TCP, QUOTA_OTHER);
}

static int open_big(void **state)
{
	(void)state;
	return open_with(20000, 20000);
}

static int close_all(void **state)
{
	(void)state;
	ct_fini();
	rcu_thread_unregister();
	return 0;
}

/* The key of host 'a' port 'ap' talking to 'b' port 'bp'. */
static void make_key(const struct ct *c, void *key, unsigned a, unsigned ap, unsigned b, unsigned bp, uint8_t proto)
{
	memset(key, 0, c->idx.key_len);
	if (c->v6) {
		struct flow_key6 *k = key;
		k->src[0] = k->dst[0] = 0xfd;
		wr32(k->src + 12, a);
		wr32(k->dst + 12, b);
		k->sport = htons((uint16_t)ap);
		k->dport = htons((uint16_t)bp);
		k->zp = proto;
	} else {
		struct flow_key4 *k = key;
		k->src = htonl(0x0a000000 + a);
		k->dst = htonl(0x0a000000 + b);
		k->sport = htons((uint16_t)ap);
		k->dport = htons((uint16_t)bp);
		k->zp = proto;
	}
}

static void *record(struct ct *c, uint32_t r)
{
	return c->v6 ? (void *)ct_flow6(r) : (void *)ct_flow4(r);
}

static void set_in(struct ct *c, uint32_t r, uint32_t in)
{
	if (c->v6)
		ct_flow6(r)->in = in;
	else
		ct_flow4(r)->in = in;
}

static uint32_t get_in(struct ct *c, uint32_t r)
{
	return c->v6 ? ct_flow6(r)->in : ct_flow4(r)->in;
}

static void set_seen(struct ct *c, uint32_t r, uint32_t s)
{
	if (c->v6)
		ct_flow6(r)->seen = s;
	else
		ct_flow4(r)->seen = s;
}

static uint32_t find(struct ct *c, const void *key, uint32_t now)
{
	return ct_find(c, key, hash_key(key, c->idx.key_len), now);
}

/* A published connection with these keys, or 0 and errno text in *err. */
static uint32_t create(struct ct *c, unsigned slot, const void *fwd, const void *rev, uint8_t proto, uint32_t now, int *err,
		       uint32_t *present)
{
	uint32_t i = ct_alloc(c, slot, proto, now);
	if (!i) {
		*err = -ENOSPC;
		return 0;
	}
	memcpy(record(c, 2 * i), fwd, c->idx.key_len);
	memcpy(record(c, 2 * i + 1), rev, c->idx.key_len);
	set_in(c, 2 * i, FLOW_IN_HOST);
	*err = ct_publish(c, slot, i, present);
	if (*err) {
		ct_abort(c, slot, i);
		return 0;
	}
	return i;
}

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
		{ PROTO_TCP, CT_FIN_WAIT, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_CLOSING, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_TIME_WAIT, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_RST_SEEN, CT_T_TCP_TRANSITORY },
		{ PROTO_TCP, CT_REFUSED, CT_T_TCP_TRANSITORY },
		{ PROTO_UDP, CT_REFUSED, CT_T_TCP_TRANSITORY },
		{ PROTO_UDP, CT_UNREPLIED, CT_T_UDP_UNREPLIED },
		{ PROTO_UDP, CT_REPLIED, CT_T_UDP },
		{ PROTO_SCTP, CT_REPLIED, CT_T_UDP },
		{ PROTO_ICMP, CT_UNREPLIED, CT_T_ICMP },
		{ PROTO_ICMP6, CT_REPLIED, CT_T_ICMP },
	};
	static const uint32_t minimum[CT_TIMEOUTS] = { 7440, 240, 240, 300, 120, 60 }; /* RFC 5382, 4787, 5508 */
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
		ct_age(c, SLOT_CONTROL, 1, 1000000, T0 + 100000);
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
	static const uint8_t idle[] = { CT_ESTABLISHED }, closing[] = { CT_FIN_WAIT, CT_CLOSING, CT_TIME_WAIT, CT_RST_SEEN },
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
	static const uint8_t class_of[CT_STATES] = { [CT_SYN_SENT] = 2,	 [CT_SYN_RECV] = 2,  [CT_FIN_WAIT] = 1,
						     [CT_CLOSING] = 1,	 [CT_TIME_WAIT] = 1, [CT_RST_SEEN] = 1,
						     [CT_ESTABLISHED] = 0 };
	unsigned n = 0;
	for (uint32_t i = ct_next(c, 0); i; i = ct_next(c, i))
		n += ct_conn(c, i)->state != CT_NEW && class_of[ct_conn(c, i)->state] == class;
	return n;
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
		assert_int_not_equal(simple(&ct4, 1000 + k, PROTO_TCP, T0 + 100, false), 0);
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

struct step {
	bool reply;
	uint8_t flags;
	enum ct_state then;
	enum ct_tcp_verdict verdict;
};

static void walk(const struct step *s, unsigned n, struct conn *c)
{
	for (unsigned i = 0; i < n; i++) {
		if (ct_tcp(c, s[i].reply, s[i].flags) != s[i].verdict || c->state != s[i].then)
			fail_msg("step %u: state %s, expected %s", i, ct_state_names[c->state], ct_state_names[s[i].then]);
	}
}
#define WALK(...)                                                                                                              \
	do {                                                                                                                   \
		const struct step s_[] = { __VA_ARGS__ };                                                                      \
		struct conn c_ = { .proto = PROTO_TCP };                                                                       \
		walk(s_, ARRAY_LEN(s_), &c_);                                                                                  \
	} while (0)

static void test_tcp_open_close(void **state)
{
	(void)state;
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 0, SYN, CT_SYN_SENT, 0 }, { 1, SYNACK, CT_SYN_RECV, 0 },
	     { 1, SYNACK, CT_SYN_RECV, 0 }, { 0, ACK, CT_ESTABLISHED, 0 }, { 0, ACK | PSH, CT_ESTABLISHED, 0 },
	     { 1, ACK, CT_ESTABLISHED, 0 }, { 0, SYN, CT_ESTABLISHED, 0 }, { 0, FINACK, CT_FIN_WAIT, 0 },
	     { 1, ACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 }, { 1, FINACK, CT_CLOSING, 0 },
	     { 0, ACK, CT_TIME_WAIT, 0 }, { 1, FINACK, CT_TIME_WAIT, 0 }, { 0, RST, CT_TIME_WAIT, 0 });
	/* simultaneous open: no bare ACK (RFC 9293 figure 8), in both orders of the SYN+ACKs */
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, SYN, CT_SYN_RECV, 0 }, { 0, SYNACK, CT_ESTABLISHED, 0 },
	     { 1, SYNACK, CT_ESTABLISHED, 0 }, { 1, ACK, CT_ESTABLISHED, 0 });
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, SYN, CT_SYN_RECV, 0 }, { 1, SYNACK, CT_SYN_RECV, 0 },
	     { 0, SYNACK, CT_ESTABLISHED, 0 });
	/* half close: the other side goes on sending, and the FIN is repeated */
	for (unsigned side = 0; side < 2; side++)
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { side, FINACK, CT_FIN_WAIT, 0 }, { !side, ACK | PSH, CT_FIN_WAIT, 0 },
		     { side, FINACK, CT_FIN_WAIT, 0 }, { side, ACK, CT_FIN_WAIT, 0 }, { !side, FINACK, CT_CLOSING, 0 },
		     { side, ACK, CT_TIME_WAIT, 0 });
	/* simultaneous close */
	WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { 0, FINACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 },
	     { 1, ACK, CT_TIME_WAIT, 0 }, { 0, ACK, CT_TIME_WAIT, 0 });
	/* a challenge ACK before the reset (RFC 5961 section 4) */
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, ACK, CT_SYN_SENT, 0 }, { 0, RST, CT_RST_SEEN, 0 },
	     { 0, SYN, CT_RST_SEEN, CT_TCP_REOPEN });
}

static void test_tcp_reset_reopen(void **state)
{
	(void)state;
	for (unsigned side = 0; side < 2; side++) {
		/* RFC 7857 section 2.2: data from either side restores */
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { side, RST | ACK, CT_RST_SEEN, 0 }, { side, RST, CT_RST_SEEN, 0 },
		     { !side, ACK | PSH, CT_ESTABLISHED, 0 }, { !side, RST, CT_RST_SEEN, 0 }, { side, ACK, CT_ESTABLISHED, 0 });
		/* ... but does not forget a FIN */
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { side, FINACK, CT_FIN_WAIT, 0 }, { 1, RST, CT_RST_SEEN, 0 },
		     { 0, ACK, CT_FIN_WAIT, 0 }, { !side, FINACK, CT_CLOSING, 0 });
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { 0, RST, CT_RST_SEEN, 0 }, { side, SYN, CT_RST_SEEN, CT_TCP_REOPEN });
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { 0, FINACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 },
		     { side, SYN, CT_CLOSING, CT_TCP_REOPEN }, { 0, ACK, CT_TIME_WAIT, 0 },
		     { side, SYN, CT_TIME_WAIT, CT_TCP_REOPEN });
	}
	/* a forged RST must not stop an opening */
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, RST, CT_RST_SEEN, 0 }, { 1, SYNACK, CT_SYN_RECV, 0 },
	     { 0, ACK, CT_ESTABLISHED, 0 });
}

static void test_tcp_loose_and_invalid(void **state)
{
	static const uint8_t nonsense[] = { 0, PSH, FIN, SYN | FIN, SYN | RST, SYN | FIN | ACK, FIN | RST, FIN | RST | ACK };
	(void)state;
	WALK({ 0, ACK, CT_ESTABLISHED, 0 });
	WALK({ 0, ACK | PSH, CT_ESTABLISHED, 0 });
	WALK({ 0, FINACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 });
	WALK({ 0, SYNACK, CT_NEW, CT_TCP_INVALID }, { 0, RST, CT_NEW, CT_TCP_INVALID }, { 0, SYN, CT_SYN_SENT, 0 });
	for (unsigned s = 0; s < CT_STATES; s++) {
		for (unsigned n = 0; n < 2 * ARRAY_LEN(nonsense); n++) {
			struct conn c = { .proto = PROTO_TCP, .state = (uint8_t)s };
			assert_int_equal(ct_tcp(&c, n % 2, nonsense[n / 2]), CT_TCP_INVALID);
			assert_int_equal(c.state, s);
			assert_int_equal(c.fin_seen, 0);
		}
		assert_non_null(ct_state_names[s]);
	}
	/* ECE, CWR, URG say nothing */
	WALK({ 0, SYN | 0xc0, CT_SYN_SENT, 0 }, { 1, SYNACK | 0x40, CT_SYN_RECV, 0 }, { 0, ACK | 0x20, CT_ESTABLISHED, 0 });
}

static void test_datagram(void **state)
{
	struct conn c = { .proto = PROTO_UDP };
	(void)state;
	ct_datagram(&c, false);
	assert_int_equal(c.state, CT_UNREPLIED);
	ct_datagram(&c, false);
	assert_int_equal(c.state, CT_UNREPLIED);
	ct_datagram(&c, true);
	assert_int_equal(c.state, CT_REPLIED);
	ct_datagram(&c, false);
	assert_int_equal(c.state, CT_REPLIED);
	c.state = CT_REFUSED;
	ct_datagram(&c, true);
	assert_int_equal(c.state, CT_REFUSED);
}

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
	race.made[me] = create(c, me, turn ? race.rev : race.fwd, turn ? race.fwd : race.rev, PROTO_TCP, T0, &race.err[me],
			       &race.present[me]);
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

static void *churn_thread(void *arg)
{
	(void)arg;
	rcu_thread_register();
	churn(1);
	rcu_thread_unregister();
	return NULL;
}

static void test_churn(void **state)
{
	pthread_t t;
	unsigned n = 0;
	(void)state;
	assert_int_equal(pthread_create(&t, NULL, churn_thread, NULL), 0);
	churn(0);
	rcu_offline();
	pthread_join(t, NULL);
	rcu_online();
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
		cmocka_unit_test_setup_teardown(test_both_directions, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_clean_record_never_valid, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_exists, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_abort, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_self, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_expiry, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_timeouts, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_ageing, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_eviction, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_eviction_oldest, open_small, close_all),
		cmocka_unit_test_setup_teardown(test_quota, open_small, close_all),
		cmocka_unit_test(test_tcp_open_close),
		cmocka_unit_test(test_tcp_reset_reopen),
		cmocka_unit_test(test_tcp_loose_and_invalid),
		cmocka_unit_test(test_datagram),
		cmocka_unit_test_setup_teardown(test_random, open_big, close_all),
		cmocka_unit_test_setup_teardown(test_race, open_big, close_all),
		cmocka_unit_test_setup_teardown(test_churn, open_big, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
