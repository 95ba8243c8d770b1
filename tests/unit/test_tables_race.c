/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that insert, replace, delete, age and read the same keys at once, in a table and in ct with nat behind it, and
 * readers of entries that are being displaced. What a reader may see: never a torn value, never another key's, never an
 * older value than before, never a miss of a key that is there throughout. Made for ThreadSanitizer (make tsan), true
 * without it. Threads check with CHECK: cmocka's assertions are for the main thread. */
#include <stdio.h>

#include "tables/nat.h"
#include "tests/unit/ct_kit.h"

static void check(bool ok, int line, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: %s\n", __FILE__, line, what);
	abort();
}
#define CHECK(cond) check((cond), __LINE__, #cond)

enum { WORKERS = 3, TURNS = 20000 };

static uint32_t draw(uint64_t *s, uint32_t n)
{
	*s = *s * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(*s >> 33) % n;
}

/* Runs 'fn' in WORKERS threads; this one is the control thread meanwhile. */
static unsigned n_done;
static void run_workers(void *(*fn)(void *))
{
	pthread_t t[WORKERS];

	STORE_RELAXED(&n_done, 0);
	for (uintptr_t k = 0; k < WORKERS; k++)
		assert_int_equal(pthread_create(&t[k], NULL, fn, (void *)k), 0);
	while (LOAD_RELAXED(&n_done) < WORKERS) {
		rcu_poll_deferred();
		sched_yield();
	}
	rcu_offline();
	for (unsigned k = 0; k < WORKERS; k++)
		pthread_join(t[k], NULL);
	rcu_online();
}

static void worker_ends(void)
{
	rcu_thread_unregister();
	__atomic_add_fetch(&n_done, 1, __ATOMIC_RELAXED);
}

/* ---- a table ---- */
/* Keys 0 .. STABLE - 1 are there throughout, each replaced by one thread with growing versions; the others come and go
 * by anybody's hand. */
enum { STABLE = 24, CHURN = 24, WORDS = 6 };
static struct table shared;

static void value_of(uint64_t *v, uint64_t key, uint64_t version)
{
	v[0] = key;
	v[1] = version;
	for (unsigned i = 2; i < WORDS; i++)
		v[i] = (key + 1) * 0x9e3779b97f4a7c15 ^ (version + i);
}

static uint64_t check_entry(uint32_t i, uint64_t key)
{
	const uint64_t *k = table_key(&shared, i), *v = table_value(&shared, i);
	uint64_t want[WORDS];

	CHECK(k[0] == key && k[1] == ~key);
	value_of(want, key, v[1]);
	CHECK(memcmp(v, want, sizeof(want)) == 0);
	return v[1];
}

static void table_turn(unsigned me, uint64_t *seed, uint64_t version, uint64_t *seen)
{
	uint64_t k = draw(seed, STABLE + CHURN), v[WORDS];
	int r = 0;

	if (k < STABLE)
		k -= k % WORKERS - me; /* one of mine */
	const uint64_t key[2] = { k, ~k };
	value_of(v, k, version);
	uint32_t op = draw(seed, 3), i;
	if (k < STABLE || op == 0)
		r = table_set(&shared, me, key, v, NULL);
	else if (op == 1)
		r = table_insert(&shared, me, key, v, &i);
	else
		r = table_delete(&shared, me, key);
	CHECK(r == 0 || r == -EEXIST || r == -ENOENT || r == -ENOSPC);
	for (unsigned n = 0; n < 8; n++) {
		k = draw(seed, STABLE + CHURN);
		i = table_find(&shared, (uint64_t[]){ k, ~k });
		CHECK(i || k >= STABLE);
		if (!i)
			continue;
		uint64_t now = check_entry(i, k);
		CHECK(k >= STABLE || now >= seen[k]);
		if (k < STABLE)
			seen[k] = now;
	}
	if (r == -ENOSPC) /* all in limbo */
		sched_yield();
}

static void *table_worker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t seed = me + 1, seen[STABLE] = { 0 };

	rcu_thread_register();
	for (unsigned n = 1; n <= TURNS; n++) {
		table_turn(me, &seed, n, seen);
		rcu_quiescent();
	}
	worker_ends();
	return NULL;
}

static void test_table(void **state)
{
	uint64_t v[WORDS];
	unsigned n = 0;

	(void)state;
	_Static_assert(STABLE % WORKERS == 0, "each has its own");
	assert_int_equal(table_open(&shared, "test", 2000, 16, sizeof(v), NULL), 0);
	for (uint64_t k = 0; k < STABLE; k++) {
		value_of(v, k, 0);
		assert_int_equal(table_insert(&shared, 0, (uint64_t[]){ k, ~k }, v, NULL), 0);
	}
	run_workers(table_worker);
	for (uint32_t i = table_next(&shared, 0); i; i = table_next(&shared, i), n++)
		check_entry(i, *(uint64_t *)table_key(&shared, i));
	assert_int_equal(n, table_count(&shared));
	rcu_wait();
	assert_int_equal(pool_used(&shared.pool), n);
	table_close(&shared);
}

/* ---- ct with nat behind it ---- */
/* Flow f: host f to one server. The first ones stay, 'seen' in the far future; others are made, deleted, aged. Each
 * connection holds a mapping, as the engine's do. */
enum { KEPT = 12, FLOWS = 36, FUTURE = 1000000, RANGE_LO = 2000 };
static unsigned nat_pool;
static struct ipaddr outside;

static void release_mapping(unsigned slot, bool v6, uint32_t conn)
{
	nat_unref(slot, ct_conn(ct_of(v6), conn)->mapping);
}

static void flow_keys(uint32_t f, uint16_t port, void *fwd, void *rev)
{
	make_key(&ct4, fwd, 10 + f, 100 + f, 3, 80, PROTO_UDP);
	make_key(&ct4, rev, 3, 80, 9, port, PROTO_UDP);
}

static struct nat_key mapping_key(uint32_t f)
{
	return (struct nat_key){ .inside = ip_from4(htonl(0x0a000000 + 10 + f)),
				 .inside_port = (uint16_t)(100 + f),
				 .proto = PROTO_UDP,
				 .pool = (uint8_t)nat_pool };
}

static void flow_make(unsigned me, uint32_t f, uint64_t *seed, uint32_t now)
{
	const struct nat_key k = mapping_key(f);
	uint64_t fwd[5], rev[5];
	uint32_t m, present = 0;
	bool created;

	uint32_t c = ct_alloc(&ct4, me, PROTO_UDP, now);
	if (!c)
		return; /* all in limbo */
	if (nat_map(me, &k, now, (uint64_t)draw(seed, 1 << 30) << 20, &m, &created)) {
		ct_abort(&ct4, me, c);
		return;
	}
	flow_keys(f, nat_at(m)->outside_port, fwd, rev);
	memcpy(ct_flow4(2 * c), fwd, ct4.idx.key_len);
	memcpy(ct_flow4(2 * c + 1), rev, ct4.idx.key_len);
	STORE_RELAXED(&ct_flow4(2 * c)->seen, f < KEPT ? FUTURE : now);
	ct_flow4(2 * c)->in = ct_flow4(2 * c + 1)->in = FLOW_IN_HOST;
	ct_conn(&ct4, c)->mapping = m;
	ct_conn(&ct4, c)->identity = f;
	ct_conn(&ct4, c)->dst_identity = ~f;
	if (ct_publish(&ct4, me, c, &present)) {
		ct_abort(&ct4, me, c);
		nat_unref(me, m);
	}
}

/* What is found belongs together: key, connection, mapping, and the way back. */
static void flow_check(unsigned me, uint32_t f, uint32_t now)
{
	const struct nat_key k = mapping_key(f);
	uint64_t fwd[5], rev[5];

	flow_keys(f, 0, fwd, rev);
	uint32_t r = find(&ct4, fwd, now);
	CHECK(r || f >= KEPT);
	if (!r)
		return;
	const struct conn *c = ct_conn(&ct4, r >> 1);
	CHECK(memcmp(ct_flow4(r), fwd, ct4.idx.key_len) == 0);
	CHECK(c->identity == f && c->dst_identity == ~f);
	const struct nat_mapping *m = nat_at(c->mapping);
	CHECK(memcmp(nat_key_at(c->mapping), &k, sizeof(k)) == 0);
	const uint16_t port = m->outside_port;
	uint32_t in = LOAD_ACQUIRE(&ct_flow4(r)->in);
	CHECK(in == FLOW_IN_HOST || in == 0);
	flow_keys(f, port, fwd, rev);
	r = find(&ct4, rev, now);
	CHECK(f >= KEPT || (r && ct_conn(&ct4, r >> 1) == c));
	uint32_t by = nat_by_outside(&outside, PROTO_UDP, port);
	CHECK(f >= KEPT || by == c->mapping);
	if (by && nat_ref(by)) {
		CHECK(f >= KEPT || nat_at(by)->outside_port == port);
		nat_unref(me, by);
	}
}

static void *flow_worker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t seed = me + 1, fwd[5], rev[5];

	rcu_thread_register();
	for (unsigned n = 0; n < TURNS; n++) {
		uint32_t f = KEPT + draw(&seed, FLOWS - KEPT), now = T0 + n / 8, op = draw(&seed, 8), r;
		flow_keys(f, 0, fwd, rev);
		if (op < 5)
			flow_make(me, f, &seed, now);
		else if (op < 7 && (r = find(&ct4, fwd, now)))
			ct_delete(&ct4, me, r >> 1);
		else
			ct_age(&ct4, me, WORKERS, 32, now + 120 - draw(&seed, 2));
		for (unsigned k = 0; k < 4; k++)
			flow_check(me, draw(&seed, FLOWS), now);
		rcu_quiescent();
	}
	worker_ends();
	return NULL;
}

static void test_flows(void **state)
{
	struct nat_pool conf = { .port_lo = RANGE_LO, .port_hi = RANGE_LO + 200, .port = -1, .filter = NAT_EIF };
	struct err e = { "" };
	uint64_t seed = 1;

	(void)state;
	assert_int_equal(open_with(500, 500), 0);
	assert_int_equal(nat_init(&e), 0);
	assert_true(ip_parse("192.0.2.1", &outside));
	conf.addr = outside;
	int p = nat_pool_add(&conf, &e);
	assert_true(p >= 0);
	nat_pool = (unsigned)p;
	ct_on_delete = release_mapping;
	for (uint32_t f = 0; f < KEPT; f++)
		flow_make(0, f, &seed, T0);
	assert_int_equal(ct_count(&ct4), KEPT);
	run_workers(flow_worker);
	for (uint32_t f = 0; f < FLOWS; f++)
		flow_check(0, f, T0);
	assert_int_equal(ct_count(&ct4), nat_count());
	print_message("expired %lu\n", (unsigned long)ct4.expired);
	assert_true(ct4.expired > 0);
	ct_age(&ct4, 0, 1, 1000000, FUTURE + 100000);
	assert_int_equal(ct_count(&ct4), 0);
	assert_int_equal(nat_count(), 0);
	ct_on_delete = NULL;
	nat_fini();
	close_all(NULL);
}

/* ---- displacement under the eyes of readers ---- */
/* Bucket HOME is filled with victims and its alternates, by entries of their own, to eight of ten; then intruders that
 * share HOME and one alternate push the victims out, the last ones by chains of two moves: hashes are made up for it.
 * The readers look for all victims while 'shown' is odd: each must be found at every moment. */
enum {
	HOME = 7,
	VICTIMS = BUCKET_SLOTS,
	FILLERS = 32,
	INTRUDERS = 16,
	ALL = VICTIMS + FILLERS + INTRUDERS,
	ROUNDS = 200,
	READERS = 2
};
static struct hidx crowd;
static struct crowded {
	uint64_t key[2];
} crowded[1 + ALL];
static unsigned shown, acked[READERS];
static uint64_t looked[READERS];

/* Other tags, and so other alternate buckets, in every round. Alternates follow from the lowest bits of the tag. */
static uint64_t made_up(uint32_t i, uint32_t round)
{
	uint32_t x = i * 37 + round * 101, home = HOME;

	if (i > VICTIMS + FILLERS)
		x = i * 8 + round;
	else if (i > VICTIMS)
		home = HOME ^ (1 + 2 * (i % 4));
	return (uint64_t)(x << 1 & 0xffff) << 48 | home;
}

static void *looker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, last = 0;

	rcu_thread_register();
	while (last != 2 * ROUNDS) {
		unsigned now = LOAD_ACQUIRE(&shown);
		if (now & 1)
			for (uint32_t i = 1; i <= VICTIMS; i++) {
				CHECK(hidx_find(&crowd, crowded[i].key, made_up(i, now / 2)) == i);
				STORE_RELAXED(&looked[me], looked[me] + 1);
			}
		last = now;
		STORE_RELEASE(&acked[me], now);
		rcu_quiescent();
		sched_yield();
	}
	rcu_thread_unregister();
	return NULL;
}

static void show(unsigned n)
{
	STORE_RELEASE(&shown, n);
	for (unsigned k = 0; k < READERS; k++)
		while (LOAD_ACQUIRE(&acked[k]) != n)
			sched_yield();
}

static unsigned guests_of(const struct hidx *h)
{
	unsigned n = 0;
	for (uint64_t b = 0; b <= h->mask; b++)
		n += (unsigned)__builtin_popcount(h->b[b].alt);
	return n;
}

static void one_round(uint32_t round, uint64_t *moved, uint64_t *seen_meanwhile)
{
	uint64_t before[READERS];
	unsigned n = 0;

	for (uint32_t i = 1; i <= VICTIMS; i++)
		assert_int_equal(hidx_insert(&crowd, made_up(i, round), i, NULL), 0);
	assert_int_equal(guests_of(&crowd), 0);
	show(2 * round + 1);
	for (unsigned k = 0; k < READERS; k++)
		before[k] = LOAD_RELAXED(&looked[k]);
	for (uint32_t i = VICTIMS + 1; i <= ALL; i++) {
		n += hidx_insert(&crowd, made_up(i, round), i, NULL) == 0;
		if (i % 16 == 0)
			sched_yield();
	}
	for (unsigned k = 0; k < READERS; k++)
		*seen_meanwhile += LOAD_RELAXED(&looked[k]) - before[k];
	for (uint32_t i = 1; i <= VICTIMS; i++) { /* no longer at home? */
		bool home = false;
		for (unsigned s = 0; s < BUCKET_SLOTS; s++)
			home |= crowd.b[HOME].tag[s] && crowd.b[HOME].idx[s] == i;
		*moved += !home;
	}
	show(2 * round + 2);
	for (uint32_t i = VICTIMS + 1; i <= ALL; i++)
		n -= hidx_remove(&crowd, made_up(i, round), i) == 0;
	assert_int_equal(n, 0);
	for (uint32_t i = 1; i <= VICTIMS; i++)
		assert_int_equal(hidx_remove(&crowd, made_up(i, round), i), 0);
}

static void test_displacement(void **state)
{
	pthread_t t[READERS];
	uint64_t moved = 0, seen_meanwhile = 0;

	(void)state;
	rcu_thread_register();
	for (uint32_t i = 1; i < ARRAY_LEN(crowded); i++)
		crowded[i].key[0] = i;
	/* eight buckets of ten: alternates fill up as well, so chains of two moves happen */
	assert_int_equal(hidx_open(&crowd, 8 * 6, crowded, sizeof(crowded[0]), 16, NULL), 0);
	for (uintptr_t k = 0; k < READERS; k++)
		assert_int_equal(pthread_create(&t[k], NULL, looker, (void *)k), 0);
	rcu_offline();
	for (uint32_t round = 0; round < ROUNDS; round++)
		one_round(round, &moved, &seen_meanwhile);
	for (unsigned k = 0; k < READERS; k++)
		pthread_join(t[k], NULL);
	rcu_online();
	print_message("%lu victims displaced, %lu look-ups meanwhile\n", (unsigned long)moved,
		      (unsigned long)seen_meanwhile);
	assert_true(moved > ROUNDS);
	assert_true(seen_meanwhile > ROUNDS);
	assert_int_equal(guests_of(&crowd), 0);
	hidx_close(&crowd);
	rcu_thread_unregister();
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_flows),
						   cmocka_unit_test(test_displacement) };
	hash_init(1);
	rcu_thread_register();
	return cmocka_run_group_tests_name("tables_race", tests, NULL, NULL);
}
