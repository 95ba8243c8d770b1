/* SPDX-License-Identifier: BSD-2-Clause */
/* tables/lpm against a naive twin under random changes. The property that flow records live on: after every change,
 * every address whose answer changed had its counter bumped. */
#include "tables/lpm.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "tests/support/turns.h"

enum { MAX_ROWS = 300, PROBES = 400, SETS = 3 };

struct row {
	bool used;
	uint32_t set;
	struct ipnet net;
	uint64_t value;
};
static struct row rows[MAX_ROWS];

/* A small corner of each family, so that prefixes nest: 4 addresses bits vary in few places. */
static struct ipaddr random_addr(void)
{
	struct ipaddr a = { .d = { 0, 0 } };
	if (random() & 1) {
		a = ip_from4(htonl(0x0a000000));
		for (unsigned i = 12; i < 16; i++)
			a.b[i] ^= (uint8_t)((random() & 3) << (random() & 1 ? 6 : 0));
	} else {
		for (unsigned i = 0; i < 16; i += 5)
			a.b[i] = (uint8_t)((random() & 3) << (random() & 1 ? 6 : 0));
		if (random() % 8 == 0)
			a.d[0] = 0;
	}
	return a;
}

static struct ipnet random_net(void)
{
	struct ipaddr a = random_addr();
	unsigned lo = ip_is4(&a) ? 96 : 0;
	static const uint8_t common[] = { 0, 8, 9, 16, 24, 30, 31, 32 };
	unsigned len = ip_is4(&a) ? lo + common[random() % 8] : common[random() % 8] * 4;
	if (random() % 4 == 0)
		len = lo + (unsigned)random() % (129 - lo);
	struct ipnet n = { .len = (uint8_t)len };
	n.addr = ip_mask(&a, len);
	if (!ip_is4(&a) && ip_is4(&n.addr))
		n.len = 128; /* not reachable with these addresses; keeps the families apart */
	return n;
}

static struct row *naive_exact(uint32_t set, const struct ipnet *n)
{
	for (unsigned i = 0; i < MAX_ROWS; i++)
		if (rows[i].used && rows[i].set == set && rows[i].net.len == n->len &&
		    ip_eq(&rows[i].net.addr, &n->addr))
			return &rows[i];
	return NULL;
}

static struct row *naive_lookup(uint32_t set, const struct ipaddr *a)
{
	struct row *best = NULL;
	for (unsigned i = 0; i < MAX_ROWS; i++)
		if (rows[i].used && rows[i].set == set && ipnet_contains(&rows[i].net, a) &&
		    (!best || rows[i].net.len > best->net.len))
			best = &rows[i];
	return best;
}

struct probe {
	struct ipaddr a;
	uint32_t set;
	uint64_t answer; /* value, 0 = none */
	uint32_t index;
	uint16_t dep;
	uint32_t counter;
};
static struct probe probes[PROBES];

static void sample(const struct lpm *l, struct probe *p)
{
	p->index = lpm_lookup(l, p->set, &p->a, &p->dep);
	p->answer = p->index ? *(uint64_t *)lpm_value(l, p->index) : 0;
	p->counter = gen_load(p->dep) + gen_area->extra;
}

/* Counts probes whose answer is another one; each must have been told. 'calm': told without need. */
static unsigned check_probes(const struct lpm *l, unsigned *calm)
{
	unsigned changed = 0;
	for (unsigned i = 0; i < PROBES; i++) {
		struct probe now = probes[i], *was = &probes[i];
		sample(l, &now);
		struct row *r = naive_lookup(now.set, &now.a);
		assert_int_equal(now.answer, r ? r->value : 0);
		bool told = gen_load(was->dep) + gen_area->extra != was->counter;
		if (now.answer != was->answer || now.index != was->index) {
			changed++;
			assert_true(told);
		} else {
			*calm += told;
		}
		*was = now;
	}
	return changed;
}

static void test_twin(void **state)
{
	(void)state;
	struct lpm l;
	unsigned changed = 0, needless = 0, rounds = 0, done[4] = { 0 };
	assert_int_equal(lpm_open(&l, "test", MAX_ROWS, 8, GEN_IPCACHE, NULL), 0);
	srandom(4);
	for (unsigned i = 0; i < PROBES; i++) {
		probes[i] = (struct probe){ .a = random_addr(), .set = (uint32_t)random() % SETS };
		sample(&l, &probes[i]);
	}
	for (uint64_t value = 1; value < TURNS(6000); value++, rounds++) {
		struct ipnet n = random_net();
		uint32_t set = (uint32_t)random() % SETS;
		struct row *r = naive_exact(set, &n), *slot = NULL;
		for (unsigned i = 0; i < MAX_ROWS && !slot; i++)
			if (!rows[i].used)
				slot = &rows[i];
		if (random() % 2) { /* an existing one, so that deletions and replacements happen */
			struct row *any = &rows[random() % MAX_ROWS];
			if (any->used) {
				r = any;
				n = r->net;
				set = r->set;
			}
		}
		/* phases of growth and of decay */
		unsigned op = (unsigned)random() % 8 < (rounds / 700 % 2 ? 5 : 2) ? 2 : (unsigned)random() % 2;
		done[r ? op : 3]++;
		int want = op == 0   ? (r      ? -EEXIST
					: slot ? 0
					       : -ENOSPC)
			   : op == 1 ? (r || slot ? 0 : -ENOSPC)
			   : r       ? 0
				     : -ENOENT;
		int got = op == 0   ? lpm_insert(&l, set, &n, &value)
			  : op == 1 ? lpm_set(&l, set, &n, &value)
				    : lpm_delete(&l, set, &n);
		assert_int_equal(got, want);
		if (got == 0) {
			if (!r && op < 2)
				*(r = slot) = (struct row){ .used = true, .set = set, .net = n };
			r->value = value;
			if (op == 2)
				r->used = false;
		}
		changed += check_probes(&l, &needless);
		assert_int_equal(lpm_exact(&l, set, &n) != 0, naive_exact(set, &n) != NULL);
		rcu_poll_deferred();
	}
	assert_true(changed > TURNS(5000) && done[1] > TURNS(300) && done[2] > TURNS(300));
	print_message("%u answers changed, %u told needlessly of %u\n", changed, needless, rounds * PROBES);
	/* the random prefixes are shorter than real ones: many concern more blocks than are told one by one */
	assert_true(needless < rounds * PROBES / 4);

	unsigned n_rows = 0, seen = 0;
	for (unsigned i = 0; i < MAX_ROWS; i++)
		n_rows += rows[i].used;
	for (uint32_t i = lpm_next(&l, 0); i; i = lpm_next(&l, i)) {
		const struct lpm_key *k = lpm_key(&l, i);
		struct ipnet n = { .addr = k->addr, .len = (uint8_t)k->len };
		struct row *r = naive_exact(k->set, &n);
		assert_true(r && r->value == *(uint64_t *)lpm_value(&l, i));
		seen++;
	}
	assert_int_equal(seen, n_rows);
	assert_int_equal(table_count(&l.t), n_rows);
	for (unsigned i = 0; i < MAX_ROWS; i++)
		if (rows[i].used)
			assert_int_equal(lpm_delete(&l, rows[i].set, &rows[i].net), 0);
	for (unsigned w = 0; w < 3; w++)
		assert_true(l.lens[0][w] == 0 && l.lens[1][w] == 0);
	lpm_close(&l);
	lpm_close(&l);
}

static struct ipnet net(const char *s)
{
	struct ipnet n;
	assert_true(ipnet_parse(s, &n));
	return n;
}

static uint64_t value_of(const struct lpm *l, const char *addr)
{
	struct ipaddr a;
	assert_true(ip_parse(addr, &a));
	uint32_t i = lpm_lookup(l, 0, &a, NULL);
	return i ? *(uint64_t *)lpm_value(l, i) : 0;
}

/* Host routes come and go below a default route: who asked for addresses of other blocks is left alone. */
static void test_blocks(void **state)
{
	(void)state;
	struct lpm l;
	struct ipaddr four, six;
	struct ipnet def4 = { .len = 96 }, def6 = { 0 }, n = { .len = 128 };
	uint64_t value = 1;
	uint16_t near4, far4, near6, far6;
	ip_parse("0.0.0.0", &def4.addr);
	assert_int_equal(lpm_open(&l, "test", MAX_ROWS, 8, GEN_ROUTE, NULL), 0);
	assert_int_equal(lpm_insert(&l, 0, &def4, &value), 0);
	assert_int_equal(lpm_insert(&l, 0, &def6, &value), 0);
	ip_parse("10.1.2.3", &four);
	ip_parse("2001:db8:1::3", &six);
	lpm_lookup(&l, 0, &four, &near4);
	lpm_lookup(&l, 0, &six, &near6);
	ip_parse("10.1.3.3", &n.addr);
	lpm_lookup(&l, 0, &n.addr, &far4);
	ip_parse("2001:db8:2::3", &n.addr);
	lpm_lookup(&l, 0, &n.addr, &far6);
	uint32_t extra = gen_area->extra, n4 = gen_load(near4), f4 = gen_load(far4), n6 = gen_load(near6),
		 f6 = gen_load(far6);
	ip_parse("10.1.2.4", &n.addr);
	assert_int_equal(lpm_insert(&l, 0, &n, &value), 0);
	ip_parse("2001:db8:1::4", &n.addr);
	assert_int_equal(lpm_insert(&l, 0, &n, &value), 0);
	assert_true(gen_load(near4) > n4 && gen_load(near6) > n6);
	assert_true(gen_load(far4) == f4 && gen_load(far6) == f6 && gen_area->extra == extra);
	/* a prefix of several blocks tells them all, the default route itself everybody */
	struct ipnet n22 = { .len = 96 + 22 };
	ip_parse("10.1.0.0", &n22.addr);
	n4 = gen_load(near4);
	assert_int_equal(lpm_insert(&l, 0, &n22, &value), 0);
	assert_true(gen_load(near4) > n4 && gen_load(far4) > f4 && gen_area->extra == extra);
	assert_int_equal(lpm_delete(&l, 0, &def4), 0);
	assert_true(gen_area->extra > extra);
	lpm_close(&l);
}

static void test_families(void **state)
{
	(void)state;
	struct lpm l;
	struct ipnet n;
	assert_int_equal(lpm_open(&l, "ipmasq", 0, 8, GEN_IPCACHE, NULL), 0); /* default capacity of that row */
	assert_int_equal(l.t.capacity, table_def_by_name("ipmasq")->capacity);
	uint64_t v = 6;
	assert_int_equal(lpm_insert(&l, 0, (n = net("::/0"), &n), &v), 0);
	assert_int_equal(value_of(&l, "1.2.3.4"), 0);
	assert_int_equal(value_of(&l, "2001:db8::1"), 6);
	v = 4;
	assert_int_equal(lpm_insert(&l, 0, (n = net("0.0.0.0/0"), &n), &v), 0);
	v = 32;
	assert_int_equal(lpm_insert(&l, 0, (n = net("1.2.3.4"), &n), &v), 0);
	v = 128;
	assert_int_equal(lpm_insert(&l, 0, (n = net("2001:db8::1"), &n), &v), 0);
	v = 63;
	assert_int_equal(lpm_insert(&l, 0, (n = net("2001:db8::/63"), &n), &v), 0);
	v = 64;
	assert_int_equal(lpm_insert(&l, 0, (n = net("2001:db8::/64"), &n), &v), 0);
	assert_int_equal(value_of(&l, "1.2.3.4"), 32);
	assert_int_equal(value_of(&l, "1.2.3.5"), 4);
	assert_int_equal(value_of(&l, "2001:db8::1"), 128);
	assert_int_equal(value_of(&l, "2001:db8::2"), 64);
	assert_int_equal(value_of(&l, "2001:db8:0:1::2"), 63);
	assert_int_equal(value_of(&l, "2001:db8:0:2::2"), 6);
	lpm_close(&l);
}

/* Rows above and below come and go under a reader; it must see one of the answers that are possible, and whenever it
 * stores an answer by the protocol of tables/gen.h and the sum still matches later, the answer must still be right. */
static struct lpm shared;
static int stop;
static uint64_t n_checked;

static void *reader(void *arg)
{
	struct ipaddr a;
	uint64_t checked = 0;
	(void)arg;
	rcu_thread_register();
	ip_parse("10.1.1.1", &a);
	while (!LOAD_RELAXED(&stop)) {
		uint16_t dep[4] = { 0 };
		uint32_t begin = gen_begin();
		uint32_t i = lpm_lookup(&shared, 0, &a, &dep[0]);
		uint64_t v = i ? *(uint64_t *)lpm_value(&shared, i) : 0;
		uint32_t sum = gen_sum(dep);
		if (v == 0)
			abort(); /* 10.0.0.0/8 is always there */
		if (gen_stable(begin)) {
			/* later: while the sum matches, a look-up gives the same. Look first, compare after: what
			 * changed before the look-up may be told only after it. */
			uint32_t j = lpm_lookup(&shared, 0, &a, NULL);
			uint64_t w = *(uint64_t *)lpm_value(&shared, j);
			if (w != v) {
				/* the writer bumps within a few instructions of the change, when it runs */
				for (unsigned n = 0; gen_sum(dep) == sum; n++) {
					if (n > 100000)
						abort();
					usleep(100);
				}
			}
			STORE_RELAXED(&n_checked, ++checked);
		}
		rcu_quiescent();
	}
	rcu_thread_unregister();
	return NULL;
}

static void test_reader(void **state)
{
	(void)state;
	pthread_t t;
	struct ipnet all = net("10.0.0.0/8");
	struct ipnet some[] = { net("10.1.0.0/16"), net("10.1.1.0/24"), net("10.1.1.1/32"), net("10.1.1.0/30") };
	uint64_t v = 1;
	assert_int_equal(lpm_open(&shared, "test", 100, 8, GEN_ROUTE, NULL), 0);
	assert_int_equal(lpm_insert(&shared, 0, &all, &v), 0);
	pthread_create(&t, NULL, reader, NULL);
	uint64_t end = 0;
	for (unsigned k = 0; end < TURNS(60000) || LOAD_RELAXED(&n_checked) < 1000; k++) {
		struct ipnet *n = &some[random() % ARRAY_LEN(some)];
		v++;
		int r = random() % 2 ? lpm_set(&shared, 0, n, &v) : lpm_delete(&shared, 0, n);
		assert_true(r == 0 || r == -ENOENT || r == -ENOSPC); /* limbo may be full for a moment */
		end += r == 0;
		if (r == -ENOSPC)
			usleep(200);
		rcu_poll_deferred();
	}
	STORE_RELAXED(&stop, 1);
	rcu_offline();
	pthread_join(t, NULL);
	rcu_online();
	print_message("%lu stable answers checked\n", (unsigned long)n_checked);
	lpm_close(&shared);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twin),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_reader),
	};
	hash_init(1);
	rcu_thread_register();
	return cmocka_run_group_tests_name("lpm", tests, NULL, NULL);
}
