/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks of ports. What the tests compare with is the log: who has a port is whom its block was given to last. */
#include "fwd/base/clock.h"
#include "tables/nat_pool.h"
#include "tests/unit/nat_kit.h"
#include "tests/support/pair.h"
#include "tests/support/turns.h"

enum { LO = 4096, SIZE = 16, BLOCKS_MAX = 64 };
static const struct nat_remote somebody = { .port = 53 };

/* ---- the log ---- */

static uint32_t owner[BLOCKS_MAX]; /* by what was said: last word of the inside address, 0 = nobody */
static uint32_t said[NAT_BLOCK_WHATS];
static struct nat_block_event last;
static unsigned
	slow; /* so often others may run before it is said that one was given: the other thread comes in between */
static void (*while_back)(void); /* called while one goes back */

static void on_block(unsigned slot, const struct nat_block_event *e)
{
	const uint32_t inside = ntohl(e->inside.w[3]), n = (e->first - LO) / SIZE;

	__atomic_add_fetch(&said[e->what], 1, __ATOMIC_RELAXED);
	if (slot == 0 || slot == SLOT_CONTROL)
		last = *e;
	if (e->what == NAT_BLOCK_START)
		return;
	for (unsigned i = 0; i < slow; i++)
		sched_yield();
	/* nobody gets what another has, and it goes back once, from who has it */
	if (while_back && e->what == NAT_BLOCK_BACK)
		while_back();
	if (n >= BLOCKS_MAX || e->first % SIZE || e->last != e->first + SIZE - 1 ||
	    __atomic_exchange_n(&owner[n], e->what == NAT_BLOCK_BACK ? 0 : inside, __ATOMIC_RELAXED) !=
		    (e->what == NAT_BLOCK_BACK ? inside : 0))
		abort();
}

static int setup(void **state)
{
	memset(owner, 0, sizeof(owner));
	memset(said, 0, sizeof(said));
	slow = 0;
	while_back = NULL;
	nat_on_block = on_block;
	clock_set(1000 * NS_PER_S);
	return open_all(state);
}

static int teardown(void **state)
{
	clock_set(0);
	close_all(state);
	nat_on_block = NULL;
	return 0;
}

static int try_add(const struct nat_pool *more, struct err *e)
{
	struct nat_pool conf = *more;
	conf.addr = ip("192.0.2.1");
	conf.port = -1;
	return nat_pool_add(&conf, e);
}

static unsigned add(const struct nat_pool *more)
{
	struct err e = { "" };
	int r = try_add(more, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return (unsigned)r;
}

static void del(void)
{
	const struct ipaddr a = ip("192.0.2.1");
	struct err e;
	assert_int_equal(nat_pool_del(&a, &e), 0);
}

/* Of 'blocks' blocks. */
static unsigned add_blocks(unsigned blocks, uint16_t limit, uint16_t rest)
{
	return add(&(struct nat_pool){ .port_lo = LO,
				       .port_hi = (uint16_t)(LO + blocks * SIZE - 1),
				       .filter = NAT_EIF,
				       .rest = rest,
				       .blocks = SIZE,
				       .block_limit = limit });
}

static int map_at(const struct nat_key *k, uint32_t now_s, uint32_t *m)
{
	bool created;
	return nat_map(0, k, now_s, rnd64(), m, &created);
}

static unsigned block_of(uint32_t m)
{
	return (nat_at(m)->outside_port - LO) / SIZE;
}

static uint32_t inside_of(uint32_t host)
{
	return 0x0a000000 + host;
}

/* What is shown is what was said. */
static unsigned check_shown(void)
{
	uint32_t shown[BLOCKS_MAX] = { 0 };
	struct nat_block_info b;
	unsigned n = 0;

	for (uint32_t at = nat_block_next(0, &b); at; at = nat_block_next(at, &b), n++)
		shown[(b.first - LO) / SIZE] = ntohl(b.inside.w[3]);
	assert_memory_equal(shown, owner, sizeof(owner));
	assert_int_equal(n, nat_block_count());
	return n;
}

/* ---- one by one ---- */

static void test_given(void **state)
{
	uint32_t m[3 * SIZE], other;
	(void)state;
	unsigned p = add_blocks(4, 2, 60);
	assert_int_equal(said[NAT_BLOCK_START], 1);
	assert_true(last.first == LO && last.last == LO + 4 * SIZE - 1 && ip_is_zero(&last.inside));
	for (uint16_t i = 0; i < 2 * SIZE; i++) {
		struct nat_key k = key_of(p, PROTO_TCP, 1, (uint16_t)(9000 + i));
		assert_int_equal(nat_open_try(&k, &somebody), 0);
		m[i] = map_new(&k);
		assert_int_equal(owner[block_of(m[i])], inside_of(1));
		assert_int_equal(block_of(m[i]), block_of(m[i / SIZE * SIZE])); /* the first one until it is full */
		assert_int_equal(said[NAT_BLOCK_GIVEN], 1 + i / SIZE);
	}
	assert_true(ip_eq(&last.inside, &nat_key_at(m[0])->inside) && ip_eq(&last.outside, &nat_at(m[0])->outside));
	/* no third one; by other protocols the same two have ports */
	struct nat_key k = key_of(p, PROTO_TCP, 1, 9999), udp = key_of(p, PROTO_UDP, 1, 9999);
	assert_int_equal(nat_open_try(&k, &somebody), -EDQUOT);
	assert_int_equal(map_at(&k, 1000, &other), -EDQUOT);
	assert_int_equal(nat_refused(p, -EDQUOT), 1);
	assert_int_equal(nat_open_try(&udp, &somebody), 0);
	other = map_new(&udp);
	assert_int_equal(owner[block_of(other)], inside_of(1));
	assert_int_equal(nat_at(other)->outside_port % 2, 1); /* RFC 4787 REQ-4 */
	assert_int_equal(said[NAT_BLOCK_GIVEN], 2);
	nat_unref(0, other);
	/* others take the other two, then there is none */
	for (uint32_t host = 2; host < 5; host++) {
		k = key_of(p, PROTO_TCP, host, 80);
		assert_int_equal(nat_open_try(&k, &somebody), host < 4 ? 0 : -ENOSPC);
		assert_int_equal(map_at(&k, 1000, &m[2 * SIZE + host]), host < 4 ? 0 : -ENOSPC);
	}
	assert_int_equal(nat_refused(p, -ENOSPC), 1);
	assert_int_equal(check_shown(), 4);
	const struct nat_block_use u = nat_blocks_of(p);
	assert_true(u.all == 4 && u.busy == 4 && u.given == 4);
	/* empty ones go back after their rest, not sooner */
	for (unsigned i = 0; i < 2 * SIZE; i++)
		nat_unref(0, m[i]);
	assert_int_equal(nat_blocks_of(p).busy, 2);
	nat_block_tick(1059);
	assert_int_equal(check_shown(), 4);
	nat_block_tick(1060);
	assert_int_equal(check_shown(), 2);
	assert_int_equal(said[NAT_BLOCK_BACK], 2);
	nat_unref(0, m[2 * SIZE + 2]);
	nat_unref(0, m[2 * SIZE + 3]);
	nat_block_end();
	assert_int_equal(check_shown() + nat_source_count() + nat_count(), 0);
}

/* The same address in another zone is another one. */
static void test_zone(void **state)
{
	uint32_t m[2];
	(void)state;
	unsigned p = add_blocks(2, 0, 0);
	for (uint16_t zone = 0; zone < 2; zone++) {
		struct nat_key k = key_of(p, PROTO_TCP, 1, 80);
		k.zone = zone;
		m[zone] = map_new(&k);
		assert_int_equal(last.zone, zone);
	}
	assert_int_not_equal(block_of(m[0]), block_of(m[1]));
}

/* Inside the blocks a port is random, the inside port is kept when it is there. */
static void test_which_port(void **state)
{
	unsigned seen[SIZE] = { 0 }, kinds = 0;
	uint32_t m;
	(void)state;
	unsigned p = add_blocks(1, 0, 0);
	for (unsigned n = 0; n < 400; n++) {
		struct nat_key k = key_of(p, PROTO_TCP, 1, 80);
		m = map_new(&k);
		kinds += !seen[nat_at(m)->outside_port - LO]++;
		nat_unref(0, m);
		struct nat_key own = key_of(p, PROTO_TCP, 1, (uint16_t)(LO + n % SIZE));
		m = map_new(&own);
		assert_int_equal(nat_at(m)->outside_port, LO + n % SIZE);
		nat_unref(0, m);
	}
	assert_int_equal(kinds, SIZE);
	/* a port of another's block is not kept */
	struct nat_key k = key_of(p, PROTO_TCP, 1, LO), other = key_of(p, PROTO_TCP, 2, LO + 3);
	m = map_new(&k);
	assert_int_equal(map_at(&other, 1000, &m), -ENOSPC);
}

/* Who needs a block while all the free ones rest gets the one that is empty for the longest; its user, who needs it, has it. */
static void test_rest(void **state)
{
	uint32_t m[3];
	(void)state;
	unsigned p = add_blocks(3, 0, 3600), was[3];
	for (uint32_t i = 0; i < 3; i++) {
		struct nat_key k = key_of(p, PROTO_UDP, 1 + i, 5000);
		m[i] = map_new(&k);
		was[i] = block_of(m[i]);
	}
	const unsigned order[] = { 1, 2, 0 };
	for (unsigned i = 0; i < 3; i++) {
		clock_set((1000 + i) * NS_PER_S);
		nat_unref(0, m[order[i]]);
	}
	struct nat_key second = key_of(p, PROTO_UDP, 2, 5000), k = key_of(p, PROTO_UDP, 7, 5000);
	assert_int_equal(map_at(&second, 1003, &m[1]), 0);
	assert_int_equal(block_of(m[1]), was[1]);
	assert_int_equal(said[NAT_BLOCK_GIVEN], 3);
	assert_int_equal(nat_open_try(&k, &somebody), 0);
	assert_int_equal(map_at(&k, 1003, &m[2]), 0);
	assert_int_equal(block_of(m[2]), was[2]);
	assert_int_equal(owner[was[2]], inside_of(7));
	assert_int_equal(said[NAT_BLOCK_BACK], 1);
	assert_int_equal(check_shown(), 3);
}

/* A worker's clock may be ahead of the one that looks whether a block has rested. */
static void test_clock_ahead(void **state)
{
	(void)state;
	unsigned p = add_blocks(1, 0, 10);
	struct nat_key k = key_of(p, PROTO_UDP, 1, 5000);
	nat_unref(0, map_new(&k));
	nat_block_tick(999);
	assert_int_equal(check_shown(), 1);
}

static void test_shared(void **state)
{
	const struct nat_remote to[2] = { { .addr = ip("203.0.113.1") }, { .addr = ip("203.0.113.2") } };
	uint32_t m[2][2 * SIZE], more;
	(void)state;
	unsigned p = add(&(struct nat_pool){ .port_lo = LO,
					     .port_hi = LO + 4 * SIZE - 1,
					     .mapping = NAT_APDM,
					     .filter = NAT_APDF,
					     .blocks = SIZE,
					     .block_limit = 2 });
	/* a block has its ports toward each remote */
	for (unsigned i = 0; i < 2 * SIZE; i++)
		for (unsigned r = 0; r < 2; r++) {
			struct nat_key k = key_of(p, PROTO_TCP, 1, (uint16_t)(9000 + i));
			assert_int_equal(nat_open_try(&k, &to[r]), 0);
			assert_int_equal(nat_open(0, &k, &to[r], 1000, rnd64(), &m[r][i]), 0);
			assert_int_equal(owner[block_of(m[r][i])], inside_of(1));
			assert_int_equal(said[NAT_BLOCK_GIVEN], 1 + i / SIZE);
		}
	struct nat_key k = key_of(p, PROTO_TCP, 1, 8000), other = key_of(p, PROTO_TCP, 2, 8000);
	assert_int_equal(nat_open_try(&k, &to[0]), -EDQUOT);
	assert_int_equal(nat_open(0, &k, &to[0], 1000, rnd64(), &more), -EDQUOT);
	assert_int_equal(nat_open(0, &other, &to[0], 1000, rnd64(), &more), 0);
	assert_int_equal(owner[block_of(more)], inside_of(2));
	nat_unpermit(0, more, &to[0].addr, to[0].port);
	nat_unref(0, more);
	for (unsigned i = 0; i < 4 * SIZE; i++) {
		nat_unpermit(0, m[i % 2][i / 2], &to[i % 2].addr, to[i % 2].port);
		nat_unref(0, m[i % 2][i / 2]);
	}
	nat_block_tick(1000);
	assert_int_equal(check_shown() + nat_source_count() + nat_permit_count() + bits_in(p, STEER_TCP), 0);
}

/* ---- changes of the pool ---- */

static void test_size(void **state)
{
	struct nat_pool bad = { .port_lo = LO, .port_hi = LO + 63, .blocks = 24 };
	struct err e = { "" };
	(void)state;
	assert_int_equal(try_add(&bad, &e), -EINVAL);
	bad.blocks = 8;
	assert_int_equal(try_add(&bad, &e), -EINVAL);
	bad.blocks = 128;
	assert_int_equal(try_add(&bad, &e), -EINVAL);
	assert_non_null(strstr(e.text, "no block of 128 ports, from a multiple of 128 on, is in 4096-4159"));
	/* whole blocks only */
	const struct {
		uint16_t lo, hi, size;
		unsigned all;
	} row[] = { { 1024, 65535, 512, 126 }, { 1024, 65535, 4096, 15 }, { 1, 65535, 16, 4095 },
		    { 4097, 4127, 16, 1 },     { 4095, 4112, 16, 1 },     { 4096, 4111, 16, 1 } };
	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		unsigned p =
			add(&(struct nat_pool){ .port_lo = row[i].lo, .port_hi = row[i].hi, .blocks = row[i].size });
		assert_int_equal(nat_blocks_of(p).all, row[i].all);
		del();
	}
}

static void test_changed(void **state)
{
	struct nat_pool conf = { .port_lo = LO, .port_hi = LO + 2 * SIZE - 1, .filter = NAT_EIF };
	struct err e = { "" };
	uint32_t stray, m, none;
	(void)state;
	unsigned p = add(&conf);
	struct nat_key k = key_of(p, PROTO_UDP, 9, LO + 5);
	stray = map_new(&k);
	assert_int_equal(nat_at(stray)->outside_port, LO + 5);
	/* switched on: a block with a port that is in use is nobody's */
	del();
	conf.blocks = SIZE;
	assert_int_equal(add(&conf), p);
	struct nat_key a = key_of(p, PROTO_TCP, 1, 80), b = key_of(p, PROTO_TCP, 2, 80);
	m = map_new(&a);
	assert_int_equal(block_of(m), 1);
	assert_int_equal(nat_open_try(&b, &somebody), -ENOSPC);
	assert_int_equal(map_at(&b, 1000, &none), -ENOSPC);
	nat_unref(0, stray);
	stray = map_new(&b);
	assert_int_equal(block_of(stray), 0);
	nat_unref(0, stray);
	/* another size, or none, while blocks are in use: refused, and what there is stays as it is */
	del();
	conf.blocks = 2 * SIZE;
	assert_int_equal(try_add(&conf, &e), -EBUSY);
	assert_non_null(strstr(e.text, "1 blocks of 16 ports are in use"));
	conf.blocks = 0;
	assert_int_equal(try_add(&conf, &e), -EBUSY);
	conf.blocks = SIZE;
	assert_int_equal(add(&conf), p);
	assert_int_equal(said[NAT_BLOCK_START], 0); /* the pool never ended */
	assert_int_equal(owner[block_of(m)], inside_of(1));
	/* removed: they go back with what they are used by */
	del();
	nat_block_tick(1000);
	assert_int_equal(check_shown(), 1);
	nat_unref(0, m);
	nat_block_tick(1000);
	assert_int_equal(check_shown() + nat_source_count(), 0);
	conf.blocks = 0;
	assert_int_equal(add(&conf), p);
	assert_int_not_equal(map_new(&b), 0);
	assert_int_equal(nat_block_count(), 0);
}

/* ---- at random ---- */

enum { HOSTS = 9, PORTS = 40 };

/* Every port is of the block of who has it, at each moment; what is refused could not be had. */
static void test_random(void **state)
{
	static uint32_t at[HOSTS][PORTS];
	uint32_t now_s = 1000, n[HOSTS] = { 0 }, refused = 0;
	(void)state;
	memset(at, 0, sizeof(at));
	unsigned p = add_blocks(12, 2, 5);
	for (unsigned turn = 0; turn < TURNS(60000); turn++) {
		const unsigned up = turn / 700 % 2 ? 70 : 25, host = rnd(HOSTS), port = rnd(PORTS);
		uint32_t *m = &at[host][port];
		struct nat_key k = key_of(p, PROTO_UDP, 1 + host, (uint16_t)(LO - 20 + port * 5));
		if (rnd(100) == 0)
			clock_set(++now_s * NS_PER_S);
		for (unsigned i = 0; turn % 100 == 0 && i < PORTS; i++) { /* hangs up */
			if (at[host][i])
				nat_unref(0, at[host][i]);
			at[host][i] = 0;
			n[host] = 0;
		}
		if (rnd(100) < up && !*m) {
			const int would = nat_open_try(&k, &somebody), err = map_at(&k, now_s, m);
			assert_int_equal(err, would);
			const struct nat_block_use u = nat_blocks_of(p);
			refused += err != 0;
			if (err == -EDQUOT)
				assert_int_equal(n[host], 2 * SIZE);
			else if (err)
				assert_true(err == -ENOSPC && u.busy == 12 && n[host] % SIZE == 0);
			n[host] += !err;
		} else if (rnd(100) > up && *m) {
			nat_unref(0, *m);
			*m = 0;
			n[host]--;
		}
		if (*m)
			assert_int_equal(owner[block_of(*m)], inside_of(1 + host));
		if (turn % 50 == 0) {
			nat_block_tick(now_s);
			check_shown();
			rcu_poll_deferred();
		}
	}
	assert_true(refused > 50 && said[NAT_BLOCK_BACK] > 20);
	for (unsigned i = 0; i < HOSTS * PORTS; i++)
		if (at[i / PORTS][i % PORTS])
			nat_unref(0, at[i / PORTS][i % PORTS]);
	nat_block_tick(now_s + 5);
	assert_int_equal(check_shown() + nat_source_count() + nat_count() + bits_in(p, STEER_UDP), 0);
	assert_int_equal(said[NAT_BLOCK_GIVEN], said[NAT_BLOCK_BACK]);
}

/* ---- two threads ---- */

static unsigned pool, at_gate, got[2];

static void meet(unsigned *generation)
{
	const unsigned want = ++*generation * 2;
	__atomic_add_fetch(&at_gate, 1, __ATOMIC_SEQ_CST);
	for (unsigned spins = 0; __atomic_load_n(&at_gate, __ATOMIC_SEQ_CST) < want; spins++)
		if (spins % 64 == 63)
			sched_yield();
}

/* The first two connections of an address at the same moment: one block. */
static void first_ones(unsigned me)
{
	unsigned gen = 0;
	uint32_t m;
	bool created;

	for (uint32_t n = 1; n <= TURNS(20000); n++) {
		struct nat_key k = key_of(pool, PROTO_UDP, n, (uint16_t)(100 + me));
		meet(&gen);
		if (nat_map(me, &k, 1000, n * 77777, &m, &created) || owner[block_of(m)] != inside_of(n))
			abort();
		meet(&gen);
		if (__atomic_load_n(&said[NAT_BLOCK_GIVEN], __ATOMIC_RELAXED) != n)
			abort();
		nat_unref(me, m);
		meet(&gen);
		if (!me)
			nat_block_tick(1000);
		rcu_quiescent();
	}
}

static void test_first_race(void **state)
{
	(void)state;
	at_gate = 0;
	slow = 3;
	pool = add_blocks(4, 0, 0);
	run_pair(first_ones);
	assert_int_equal(check_shown() + nat_count() + nat_source_count(), 0);
}

/* A block that goes back at this moment is waited for, by whoever had it and by others. */
static struct {
	pthread_t thread;
	struct nat_key key;
	uint32_t mapping;
	int err;
	bool done;
} comer;

static void *come(void *arg)
{
	(void)arg;
	bool created;
	rcu_thread_register();
	comer.err = nat_map(1, &comer.key, 1010, 7, &comer.mapping, &created);
	__atomic_store_n(&comer.done, true, __ATOMIC_RELEASE);
	rcu_thread_unregister();
	return NULL;
}

static void let_come(void)
{
	while_back = NULL;
	if (pthread_create(&comer.thread, NULL, come, NULL))
		abort();
	for (unsigned i = 0; i < 2000 && !__atomic_load_n(&comer.done, __ATOMIC_ACQUIRE); i++)
		sched_yield();
}

static void test_back_race(void **state)
{
	(void)state;
	unsigned p = add_blocks(1, 1, 10);
	for (uint32_t host = 1; host <= 2; host++) {
		struct nat_key k = key_of(p, PROTO_UDP, 1, 100);
		clock_set(1000 * NS_PER_S);
		nat_unref(0, map_new(&k));
		memset(&comer, 0, sizeof(comer));
		comer.key = key_of(p, PROTO_UDP, host, 101);
		while_back = let_come;
		clock_set(1010 * NS_PER_S);
		nat_block_tick(1010);
		assert_null(while_back);
		assert_int_equal(pthread_join(comer.thread, NULL), 0);
		assert_int_equal(comer.err, 0);
		assert_int_equal(owner[0], inside_of(host));
		nat_unref(0, comer.mapping);
		nat_block_tick(1020);
		assert_int_equal(check_shown() + nat_count() + nat_source_count(), 0);
	}
}

/* Blocks come, are full, are taken from whom they rest with, go back; more addresses than blocks. */
static void churn(unsigned me)
{
	enum { HAVE = 5 };
	uint32_t have[HAVE] = { 0 }, host[HAVE] = { 0 };
	uint64_t x = 5 + me;
	bool created;

	for (unsigned n = 0; n < TURNS(200000); n++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		const unsigned r = (unsigned)(x >> 40), i = r % HAVE;
		if (have[i]) {
			/* his for as long as he has a port of it */
			if (__atomic_load_n(&owner[block_of(have[i])], __ATOMIC_RELAXED) != inside_of(host[i]))
				abort();
			nat_unref(me, have[i]);
			have[i] = 0;
		}
		host[i] = 1 + r / HAVE % 7;
		struct nat_key k = key_of(pool, PROTO_UDP, host[i], (uint16_t)(100 + r / 256 % 24));
		const int err = nat_map(me, &k, 1000, x, &have[i], &created);
		if (err && err != -ENOSPC && err != -EDQUOT)
			abort();
		got[me] += !err;
		if (err)
			have[i] = 0;
		if (!me && n % 128 == 0)
			nat_block_tick(1000 + 10 * (n % 256 == 0));
		if (n % 64 == 0)
			rcu_quiescent();
	}
	for (unsigned i = 0; i < HAVE; i++)
		if (have[i])
			nat_unref(me, have[i]);
}

static void test_churn(void **state)
{
	(void)state;
	pool = add_blocks(4, 2, 10);
	run_pair(churn);
	assert_true(got[0] > 1000 && got[1] > 1000 && said[NAT_BLOCK_BACK] > 1000);
	assert_int_equal(nat_count() + bits_in(pool, STEER_UDP), 0);
	assert_int_equal(nat_blocks_of(pool).busy, 0);
	check_shown();
	nat_block_tick(1010);
	assert_int_equal(check_shown() + nat_source_count(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_given, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_which_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clock_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_back_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_churn, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
