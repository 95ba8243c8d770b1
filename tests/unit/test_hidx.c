/* SPDX-License-Identifier: BSD-2-Clause */
/* tables/hidx and table against naive twins: random operations, crowded buckets, load, several writers with readers. */
#include "tables/table.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "fwd/base/rcu.h"

struct entry {
	uint64_t key[2];
	uint64_t value;
};

static uint64_t key_hash(const struct entry *e)
{
	return hash_key(e->key, 16);
}

/* Slots in use, guests, and the sum of overflow marks. */
static unsigned count_slots(const struct hidx *h, unsigned *guests, unsigned *marks)
{
	unsigned n = 0, g = 0, m = 0;
	for (uint64_t i = 0; i < h->n_buckets; i++) {
		for (unsigned s = 0; s < BUCKET_SLOTS; s++)
			n += h->b[i].tag[s] != 0;
		g += (unsigned)__builtin_popcount(h->b[i].alt);
		m += h->b[i].ovf;
		assert_int_equal(h->b[i].lock, 0);
	}
	*guests = g;
	*marks = m;
	return n;
}

/* Random operations on an index that is kept far fuller than a pool would fill it; the twin is 'linked', by key
 * number. */
static void twin(unsigned n_keys, unsigned n_index, bool growing, unsigned ops, unsigned *most, unsigned *refused)
{
	struct entry *e = calloc(2 * n_keys + 1, sizeof(*e)); /* two entries a key, for replacement */
	uint32_t *linked = calloc(n_keys, sizeof(*linked)), n_linked = 0;
	unsigned guests, marks;
	struct hidx h;

	assert_int_equal((growing ? hidx_open_growing : hidx_open)(&h, n_index, e, sizeof(*e), 16, NULL), 0);
	for (unsigned i = 1; i <= 2 * n_keys; i++)
		e[i].key[0] = e[i].key[1] = (i - 1) / 2;
	*most = *refused = 0;
	for (unsigned n = 0; n < ops; n++) {
		unsigned k = (unsigned)random() % n_keys, op = (unsigned)random() % 8;
		uint32_t a = 2 * k + 1, b = a + 1, present = 0, now = linked[k];
		uint64_t hash = key_hash(&e[a]);
		if (op < 4) {
			uint32_t i = random() & 1 ? a : b;
			int r = hidx_insert(&h, hash, i, &present);
			if (now) {
				assert_int_equal(r, -EEXIST);
				assert_int_equal(present, now);
			} else if (r == 0) {
				linked[k] = i;
				n_linked++;
				*most = MAX(*most, n_linked);
			} else {
				assert_int_equal(r, -ENOSPC);
				++*refused;
			}
		} else if (op < 5) {
			uint32_t from = random() & 1 ? a : b, to = a + b - from;
			int r = hidx_replace(&h, hash, from, to);
			assert_int_equal(r, now == from ? 0 : -ENOENT);
			if (r == 0)
				linked[k] = to;
		} else if (op < 6) {
			uint32_t i = random() & 1 ? a : b;
			int r = hidx_remove(&h, hash, i);
			assert_int_equal(r, now == i ? 0 : -ENOENT);
			if (r == 0) {
				linked[k] = 0;
				n_linked--;
			}
		}
		assert_int_equal(hidx_find(&h, e[a].key, hash), linked[k]);
		if (growing && n % 32 == 0) { /* so seldom that what comes meanwhile takes another level */
			hidx_grow(&h, 1);
			rcu_poll_deferred();
		}
		if (n % (ops / 20) == 0) {
			for (k = 0; k < n_keys; k++)
				assert_int_equal(hidx_find(&h, e[2 * k + 1].key, key_hash(&e[2 * k + 1])), linked[k]);
			assert_int_equal(count_slots(&h, &guests, &marks), n_linked);
			assert_int_equal(guests, marks);
		}
	}
	for (unsigned k = 0; k < n_keys; k++)
		if (linked[k])
			assert_int_equal(hidx_remove(&h, key_hash(&e[linked[k]]), linked[k]), 0);
	assert_int_equal(count_slots(&h, &guests, &marks), 0);
	assert_true(guests == 0 && marks == 0);
	hidx_close(&h);
	hidx_close(&h);
	free(linked);
	free(e);
}

static void test_twin(void **state)
{
	unsigned most, refused;
	(void)state;
	srandom(5);
	twin(3000, 3000, false, 200000, &most, &refused);
	assert_int_equal(refused, 0);
	/* 64 buckets, 640 slots, 700 keys: displacement and refusals all the time */
	twin(700, 384, false, 300000, &most, &refused);
	assert_true(most > 600 && refused > 0);
	/* 2 buckets: everything is each other's alternate */
	twin(24, 2, false, 50000, &most, &refused);
	assert_int_equal(most, 20);
	assert_true(refused > 0);
	/* levels of 8, 64 and 512 buckets */
	twin(2500, 3000, true, 300000, &most, &refused);
	assert_true(most > 1000 && refused == 0);
	/* of 8, 64 and 512, twice as many keys as slots in the largest */
	twin(10000, 3000, true, 300000, &most, &refused);
	assert_true(most > 4800 && refused > 0);
}

/* Load before the first refusal, and that a full pool (60 %) is never refused, for many sizes and hash keys. */
static void test_load(void **state)
{
	(void)state;
	const uint32_t n = 64 * 1024 * 6; /* 64 Ki buckets */
	struct entry *e = calloc(n * 2, sizeof(*e));
	struct hidx h;
	double worst = 1, sum = 0;
	enum { TRIALS = 4 };
	for (unsigned trial = 0; trial < TRIALS; trial++) {
		hash_init(100 + trial);
		assert_int_equal(hidx_open(&h, n, e, sizeof(*e), 16, NULL), 0);
		assert_int_equal(h.mask + 1, 64 * 1024);
		uint32_t i = 1;
		for (; i < 2 * n; i++) {
			/* random keys: consecutive ones spread more evenly than chance */
			e[i].key[0] = (uint64_t)random() << 32 | (uint64_t)random();
			e[i].key[1] = i;
			if (hidx_insert(&h, key_hash(&e[i]), i, NULL))
				break;
			if (i == n) {
				unsigned guests, marks;
				count_slots(&h, &guests, &marks);
				if (!trial)
					print_message("at 60 %%: %.2f %% in alternate buckets\n", 100.0 * guests / n);
				assert_true(guests < n / 40);
			}
		}
		double load = (double)(i - 1) / (64 * 1024 * BUCKET_SLOTS);
		worst = MIN(worst, load);
		sum += load;
		for (uint32_t k = 1; k < i; k += 7)
			assert_int_equal(hidx_find(&h, e[k].key, key_hash(&e[k])), k);
		hidx_close(&h);
	}
	print_message("first refusal at %.1f %% (mean %.1f %%)\n", 100 * worst, 100 * sum / TRIALS);
	assert_true(worst > 0.95);
	for (unsigned trial = 0; trial < 2000; trial++) {
		uint32_t size = 1 + (uint32_t)random() % 800;
		hash_init(1000 + trial);
		assert_int_equal(hidx_open(&h, size, e, sizeof(*e), 16, NULL), 0);
		for (uint32_t i = 1; i <= size; i++) {
			e[i].key[0] = (uint64_t)random() << 32 | (uint64_t)random();
			assert_int_equal(hidx_insert(&h, key_hash(&e[i]), i, NULL), 0);
		}
		hidx_close(&h);
	}
	hash_init(1);
	free(e);
}

/* The overflow mark saturates: nothing may be lost then. All keys share one home and one alternate bucket cannot do it,
 * so hashes are made up: one home, many tags. */
static void test_saturation(void **state)
{
	(void)state;
	enum { N = 600 };
	struct entry e[N + 1] = { { .value = 0 } };
	struct hidx h;
	uint32_t n = 0;
	assert_int_equal(hidx_open(&h, 60000, e, sizeof(e[0]), 16, NULL), 0);
	for (uint32_t i = 1; i <= N; i++) {
		e[i].key[0] = i;
		n += hidx_insert(&h, (uint64_t)i << 50 | 77, i, NULL) == 0;
	}
	assert_int_equal(n, N);
	assert_int_equal(h.b[77].ovf, 255);
	for (uint32_t i = 1; i <= N; i++) {
		assert_int_equal(hidx_find(&h, e[i].key, (uint64_t)i << 50 | 77), i);
		if (i % 3)
			assert_int_equal(hidx_remove(&h, (uint64_t)i << 50 | 77, i), 0);
	}
	for (uint32_t i = 1; i <= N; i++)
		assert_int_equal(hidx_find(&h, e[i].key, (uint64_t)i << 50 | 77), i % 3 ? 0 : i);
	hidx_close(&h);
}

static void test_first(void **state)
{
	(void)state;
	struct table t;
	uint64_t key[2] = { 1, 2 }, ones[2] = { ~0ull, ~0ull };
	uint32_t i;
	assert_int_equal(table_open(&t, "test", 10, 16, 8, NULL), 0);
	assert_int_equal(table_insert(&t, 0, key, NULL, &i), 0);
	assert_int_equal(hidx_first(&t.idx, hash_key(key, 16)), i);
	assert_int_equal(hidx_first(&t.idx, hash_key(key, 16) ^ (1ull << 60)), 0);
	assert_memory_equal(table_key(&t, 0), ones, 16);
	memset(key, 0, sizeof(key)); /* the all-zero key is a key like others */
	assert_int_equal(table_find(&t, key), 0);
	assert_int_equal(table_insert(&t, 0, key, NULL, &i), 0);
	assert_int_equal(table_find(&t, key), i);
	assert_int_equal(table_find(&t, ones), 0);
	table_close(&t);
}

/* ---- table ---- */
static void test_table(void **state)
{
	(void)state;
	enum { KEYS = 60, CAPACITY = 40 };
	uint64_t value[KEYS] = { 0 };
	struct table t;
	unsigned n = 0, full = 0;
	struct err e;
	assert_int_equal(table_open(&t, "no such row", 0, 24, 16, &e), -EINVAL);
	assert_int_equal(table_open(&t, "test", CAPACITY, 24, 16, &e), 0);
	srandom(6);
	for (uint64_t round = 1; round < 40000; round++) {
		uint64_t k = (uint64_t)random() % KEYS, key[3] = { 0, k, 0 }, v[2] = { round, ~round };
		uint32_t i = 0;
		int r, op = (int)(random() % 3);
		if (op == 0) {
			r = table_insert(&t, 0, key, v, &i);
			assert_int_equal(r, value[k] ? -EEXIST : n == CAPACITY ? -ENOSPC : 0);
			if (r == -EEXIST)
				assert_int_equal(*(uint64_t *)table_value(&t, i), value[k]);
		} else if (op == 1) {
			r = table_set(&t, 0, key, v, &i);
			assert_int_equal(r, !value[k] && n == CAPACITY ? -ENOSPC : 0);
		} else {
			r = table_delete(&t, 0, key);
			assert_int_equal(r, value[k] ? 0 : -ENOENT);
		}
		full += r == -ENOSPC;
		if (r == 0) {
			if (op < 2)
				assert_memory_equal(table_value(&t, i), v, 16);
			n = n + (op < 2 && !value[k]) - (op == 2);
			value[k] = op < 2 ? round : 0;
		}
		i = table_find(&t, key);
		assert_int_equal(i != 0, value[k] != 0);
		if (i)
			assert_int_equal(*(uint64_t *)table_value(&t, i), value[k]);
		assert_int_equal(table_count(&t), n);
		if (round % 20 == 0)
			rcu_poll_deferred();
	}
	assert_true(full > 100);
	unsigned walked = 0;
	for (uint32_t i = table_next(&t, 0); i; i = table_next(&t, i), walked++)
		assert_int_equal(*(uint64_t *)table_value(&t, i), value[((uint64_t *)table_key(&t, i))[1]]);
	assert_int_equal(walked, n);
	table_close(&t);
	table_close(&t);
}

static void test_rows(void **state)
{
	(void)state;
	static const char *const names[] = { "ct",       "nat",    "neighbor",    "endpoints", "ipcache",
					     "lb",       "policy", "proxy",       "tunnel",    "frag",
					     "affinity", "ipmasq", "source_range" };
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		const struct table_def *d = table_def_by_name(names[i]);
		assert_non_null(d);
		assert_string_equal(d->name, names[i]);
		assert_true(d->capacity && d->key_size % 8 == 0 && d->value_size % 8 == 0 && d->full_text[0] &&
			    d->help[0]);
	}
	assert_null(table_def_by_name("ct "));
	assert_int_equal(table_def_by_name("ipcache")->kind, TABLE_LPM);
	assert_int_equal(table_def_by_name("ct")->kind, TABLE_HASH);
}

/* ---- threads ---- */
/* Index crowded to about 85 %: displacement never rests. Even keys stay for ever: readers must find each of them
 * always. Odd keys come and go, inserted by any writer: exactly one of the racing ones may win. */
enum { T_BUCKETS = 256, T_STAY = 1350, T_CHURN = 1000, T_CLAIM = 40, WRITERS = 2, READERS = 2 };
static struct hidx crowd;
static struct entry crowd_entries[1 + T_STAY + WRITERS * T_CHURN + WRITERS * T_CLAIM];
static int stop;
static uint32_t n_stay;
static uint64_t n_ops[WRITERS + READERS], n_refused;
static int claimed[T_CLAIM]; /* writers inside: more than one is a duplicate */

static void *reader(void *arg)
{
	uint64_t n = 0;
	rcu_thread_register();
	while (!LOAD_RELAXED(&stop)) {
		const uint32_t there = LOAD_ACQUIRE(&n_stay);
		for (uint32_t i = 1; i <= there; i++)
			if (hidx_find(&crowd, crowd_entries[i].key, key_hash(&crowd_entries[i])) != i)
				abort(); /* a false miss */
		n += there;
		STORE_RELAXED((uint64_t *)arg, n);
		rcu_quiescent();
		sched_yield();
	}
	rcu_thread_unregister();
	return NULL;
}

static void *writer(void *arg)
{
	unsigned w = (unsigned)(uintptr_t)arg, seed = w + 1;
	uint32_t first = 1 + T_STAY + w * T_CHURN, claim = 1 + T_STAY + WRITERS * T_CHURN + w * T_CLAIM, present;
	bool in[T_CHURN] = { false };
	uint64_t n = 0, refused = 0;
	rcu_thread_register();
	while (!LOAD_RELAXED(&stop)) {
		for (unsigned k = 0; k < 1000; k++, n++) {
			unsigned c = (unsigned)rand_r(&seed) % T_CHURN;
			struct entry *e = &crowd_entries[first + c];
			uint64_t hash = key_hash(e);
			if (in[c]) {
				if (hidx_remove(&crowd, hash, first + c))
					abort();
				in[c] = false;
			} else {
				int r = hidx_insert(&crowd, hash, first + c, &present);
				if (r == -EEXIST)
					abort();
				in[c] = r == 0;
				refused += r != 0;
			}
			if ((hidx_find(&crowd, e->key, hash) == first + c) != in[c])
				abort();
			if (k % 100 == 0)
				hidx_grow(&crowd, 2);
			/* a key that both writers want: the winner holds it alone */
			c = (unsigned)rand_r(&seed) % T_CLAIM;
			hash = key_hash(&crowd_entries[claim + c]);
			if (hidx_insert(&crowd, hash, claim + c, &present) == 0) {
				if (__atomic_add_fetch(&claimed[c], 1, __ATOMIC_SEQ_CST) != 1)
					abort();
				if (k % 50 == 0)
					sched_yield();
				__atomic_sub_fetch(&claimed[c], 1, __ATOMIC_SEQ_CST);
				if (hidx_remove(&crowd, hash, claim + c))
					abort();
			}
		}
		STORE_RELAXED(&n_ops[w], n);
		/* what the other writer displaces meanwhile is found all the same */
		for (unsigned c = 0; c < 20 * T_CHURN; c++) {
			uint32_t i = first + c % T_CHURN;
			if (in[c % T_CHURN] &&
			    hidx_find(&crowd, crowd_entries[i].key, key_hash(&crowd_entries[i])) != i)
				abort();
		}
		rcu_quiescent();
	}
	for (unsigned c = 0; c < T_CHURN; c++)
		if (in[c] && hidx_remove(&crowd, key_hash(&crowd_entries[first + c]), first + c))
			abort();
	rcu_thread_unregister();
	__atomic_add_fetch(&n_refused, refused, __ATOMIC_RELAXED);
	return NULL;
}

static void start(pthread_t t[WRITERS + READERS])
{
	/* entries of both writers are keyed apart, but for the claimed ones */
	for (uint32_t i = 1; i < ARRAY_LEN(crowd_entries); i++) {
		uint32_t k = i;
		if (i > T_STAY + WRITERS * T_CHURN)
			k = T_STAY + WRITERS * T_CHURN + 1 + (i - 1 - T_STAY - WRITERS * T_CHURN) % T_CLAIM;
		crowd_entries[i].key[0] = k;
	}
	stop = 0;
	n_refused = 0;
	memset(n_ops, 0, sizeof(n_ops));
	for (uintptr_t w = 0; w < WRITERS; w++)
		pthread_create(&t[w], NULL, writer, (void *)w);
	for (unsigned r = 0; r < READERS; r++)
		pthread_create(&t[WRITERS + r], NULL, reader, &n_ops[WRITERS + r]);
}

/* By work done, not by time: the machine may be busy. */
static void finish(pthread_t t[WRITERS + READERS], uint64_t ops)
{
	unsigned guests, marks;
	rcu_offline();
	for (unsigned k = 0; k < WRITERS + READERS; k++)
		while (LOAD_RELAXED(&n_ops[k]) < ops)
			usleep(1000);
	STORE_RELAXED(&stop, 1);
	for (unsigned k = 0; k < WRITERS + READERS; k++)
		pthread_join(t[k], NULL);
	rcu_online();
	for (uint32_t i = 1; i <= T_STAY; i++)
		assert_int_equal(hidx_remove(&crowd, key_hash(&crowd_entries[i]), i), 0);
	assert_int_equal(count_slots(&crowd, &guests, &marks), 0);
	assert_true(guests == 0 && marks == 0);
	hidx_close(&crowd);
}

static void stay(uint32_t i)
{
	assert_int_equal(hidx_insert(&crowd, key_hash(&crowd_entries[i]), i, NULL), 0);
	STORE_RELEASE(&n_stay, i);
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t t[WRITERS + READERS];
	assert_int_equal(hidx_open(&crowd, T_BUCKETS * 6, crowd_entries, sizeof(struct entry), 16, NULL), 0);
	assert_int_equal(crowd.mask + 1, T_BUCKETS);
	for (uint32_t i = 1; i < ARRAY_LEN(crowd_entries); i++)
		crowd_entries[i].key[0] = i;
	for (uint32_t i = 1; i <= T_STAY; i++)
		stay(i);
	start(t);
	finish(t, 200000);
}

/* The index grows twice meanwhile, and all three sorts of threads move entries. */
static void test_threads_growing(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 12; round++) {
		pthread_t t[WRITERS + READERS];
		n_stay = 0;
		assert_int_equal(
			hidx_open_growing(&crowd, 16 * T_BUCKETS * 6, crowd_entries, sizeof(struct entry), 16, NULL),
			0);
		assert_int_equal(crowd.level[0].mask + 1, T_BUCKETS / 4);
		start(t);
		for (uint32_t i = 1; i <= T_STAY; i++) {
			stay(i);
			if (i % (8 << round % 4) == 0) {
				rcu_poll_deferred();
				hidx_grow(&crowd, 4);
			}
		}
		while (hidx_grow(&crowd, 4))
			rcu_poll_deferred();
		finish(t, 2000);
		assert_int_equal(n_refused, 0);
	}
}

/* One table, several writers that replace the same rows: readers see a whole value, nothing leaks. */
static struct table shared;
static void *setter(void *arg)
{
	unsigned slot = (unsigned)(uintptr_t)arg, seed = slot + 7;
	rcu_thread_register();
	for (unsigned n = 0; !LOAD_RELAXED(&stop); n++) {
		uint64_t key[2] = { (uint64_t)rand_r(&seed) % 20, 0 }, v[2] = { (uint64_t)slot << 32 | n, 0 };
		v[1] = ~v[0];
		int r = rand_r(&seed) % 4 ? table_set(&shared, slot, key, v, NULL) : table_delete(&shared, slot, key);
		if (r && r != -ENOENT && r != -ENOSPC)
			abort();
		uint32_t i = table_find(&shared, key);
		if (i) {
			const uint64_t *got = table_value(&shared, i);
			if (got[0] != ~got[1] || memcmp(table_key(&shared, i), key, 16))
				abort();
		}
		rcu_quiescent();
		if (r == -ENOSPC)
			usleep(500); /* all in limbo: let a grace period pass */
	}
	rcu_thread_unregister();
	return NULL;
}

static void test_setters(void **state)
{
	(void)state;
	pthread_t t[3];
	stop = 0;
	assert_int_equal(table_open(&shared, "test", 4000, 16, 16, NULL), 0);
	for (uintptr_t k = 0; k < ARRAY_LEN(t); k++)
		pthread_create(&t[k], NULL, setter, (void *)k);
	for (unsigned k = 0; k < 500; k++) {
		rcu_poll_deferred();
		usleep(1000);
	}
	STORE_RELAXED(&stop, 1);
	rcu_offline();
	for (unsigned k = 0; k < ARRAY_LEN(t); k++)
		pthread_join(t[k], NULL);
	rcu_online();
	unsigned n = 0;
	for (uint32_t i = table_next(&shared, 0); i; i = table_next(&shared, i))
		n++;
	assert_int_equal(n, table_count(&shared));
	assert_true(n <= 20);
	rcu_wait();
	assert_int_equal(pool_used(&shared.pool), n);
	table_close(&shared);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twin),       cmocka_unit_test(test_load),
		cmocka_unit_test(test_saturation), cmocka_unit_test(test_first),
		cmocka_unit_test(test_table),      cmocka_unit_test(test_rows),
		cmocka_unit_test(test_threads),    cmocka_unit_test(test_threads_growing),
		cmocka_unit_test(test_setters),
	};
	hash_init(1);
	rcu_thread_register();
	return cmocka_run_group_tests_name("hidx", tests, NULL, NULL);
}
