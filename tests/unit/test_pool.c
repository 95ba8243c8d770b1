/* SPDX-License-Identifier: BSD-2-Clause */
/* tables/pool and arena, and the RCU wrapper under them: nobody gets an index twice, nothing is reused too early,
 * nothing is lost, and idle threads keep nothing for themselves. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "tables/table.h"

static void test_capacity(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 1, 2, 31, 32, 33, 1000, 8192 };
	for (unsigned k = 0; k < ARRAY_LEN(sizes); k++) {
		struct pool p;
		uint32_t n = sizes[k], i;
		uint8_t *seen = calloc(n + 1, 1);
		assert_int_equal(pool_open(&p, "test", 24, n, NULL), 0);
		for (uint32_t c = 0; c < n; c++) {
			i = pool_alloc(&p,
				       c % 3); /* three threads take turns: what they cache is found by the others */
			assert_true(i >= 1 && i <= n && !seen[i]);
			seen[i] = 1;
			assert_int_equal(pool_state(&p, i), POOL_BUSY);
		}
		assert_int_equal(pool_used(&p), n);
		assert_int_equal(pool_alloc(&p, 0), 0);
		assert_int_equal(pool_alloc(&p, 32), 0);
		pool_abort(&p, 5, n);
		assert_int_equal(pool_used(&p), n - 1);
		assert_int_equal(pool_alloc(&p, 1), n);
		pool_close(&p);
		pool_close(&p);
		free(seen);
	}
	struct pool p;
	struct err e = { "" };
	assert_int_equal(pool_open(&p, "test", 24, 0, &e), -EINVAL);
	assert_int_equal(pool_open(&p, "test", 23, 8, &e), -EINVAL);
	assert_true(e.text[0]);
	pool_close(NULL);
}

static void test_grace(void **state)
{
	(void)state;
	struct pool p;
	assert_int_equal(pool_open(&p, "test", 8, 1, NULL), 0);
	uint32_t i = pool_alloc(&p, 0);
	assert_int_equal(i, 1);
	pool_publish(&p, i);
	assert_int_equal(pool_state(&p, i), POOL_LIVE);
	uint64_t e = rcu_epoch();
	pool_retire(&p, 0, i);
	assert_int_equal(pool_state(&p, i), POOL_DEAD);
	while (rcu_epoch() < e + 2) {
		assert_int_equal(pool_alloc(&p, 0), 0);
		assert_int_equal(pool_used(&p), 1);
		rcu_poll_deferred();
	}
	assert_int_equal(pool_used(&p), 0);
	assert_int_equal(pool_alloc(&p, 7), 1); /* another slot finds what slot 0 retired */
	pool_publish(&p, 1);
	pool_retire(&p, 0, 1);
	rcu_wait();
	assert_int_equal(pool_alloc(&p, 0), 1);
	/* linked, found and deleted by another thread before its creator published it */
	pool_retire(&p, 1, 1);
	pool_publish(&p, 1);
	assert_int_equal(pool_state(&p, 1), POOL_DEAD);
	assert_int_equal(pool_next(&p, 0), 0);
	pool_close(&p);
}

static void test_walk(void **state)
{
	(void)state;
	struct pool p;
	enum { N = 1000 };
	bool live[N + 1] = { false };
	assert_int_equal(pool_open(&p, "test", 8, N, NULL), 0);
	assert_int_equal(pool_next(&p, 0), 0);
	srandom(1);
	for (unsigned round = 0; round < 3000; round++) {
		uint32_t i = (uint32_t)random() % N + 1;
		if (live[i]) {
			pool_retire(&p, 0, i);
			live[i] = false;
		} else if ((i = pool_alloc(&p, 0))) {
			pool_publish(&p, i);
			live[i] = true;
		}
		if (round % 5 == 0)
			rcu_poll_deferred();
		if (round % 100)
			continue;
		uint32_t at = 0;
		for (i = 1; i <= N; i++)
			if (live[i])
				assert_int_equal(at = pool_next(&p, at), i);
		assert_int_equal(pool_next(&p, at), 0);
	}
	pool_close(&p);
}

static unsigned n_ran;
static void ran(void *arg)
{
	assert_int_equal((uintptr_t)arg, n_ran); /* in order */
	n_ran++;
	if (n_ran == 3)
		rcu_defer(ran, (void *)(uintptr_t)3);
}

static void test_defer(void **state)
{
	(void)state;
	rcu_defer(ran, (void *)0);
	rcu_defer(ran, (void *)1);
	assert_int_equal(n_ran, 0);
	rcu_wait();
	assert_int_equal(n_ran, 2);
	rcu_defer(ran, (void *)2);
	for (unsigned i = 0; i < 8; i++)
		rcu_poll_deferred();
	assert_int_equal(n_ran, 4);
}

/* Several threads take, stamp, publish, retire. A reader that saw an entry must find it unchanged until it is
 * quiescent; an owner must never meet another owner. */
enum { CHURNERS = 3, CHURN_CAPACITY = 2000 };
static struct pool churn;
static uint32_t shown[64]; /* what a retired entry was found under */
static int stop;
static uint64_t n_failed, n_reused;

static void *churner(void *arg)
{
	unsigned slot = (unsigned)(uintptr_t)arg, seed = slot + 1, ops = 0;
	uint64_t failed = 0;
	rcu_thread_register();
	while (!LOAD_RELAXED(&stop)) {
		for (unsigned k = 0; k < 64; k++, ops++) {
			uint32_t i = pool_alloc(&churn, slot);
			if (!i) {
				failed++;
				break;
			}
			uint64_t *v = pool_at(&churn, i);
			if (v[0])
				__atomic_add_fetch(&n_reused, 1, __ATOMIC_RELAXED);
			/* words agree whenever somebody may look */
			v[0] = v[1] = (uint64_t)slot << 56 | ops;
			v[2] = ~v[0];
			pool_publish(&churn, i);
			unsigned at = (unsigned)rand_r(&seed) % ARRAY_LEN(shown);
			uint32_t old = __atomic_exchange_n(&shown[at], i, __ATOMIC_ACQ_REL);
			if (old)
				pool_retire(&churn, slot, old);
			/* read somebody's entry twice within this section */
			uint32_t other = LOAD_ACQUIRE(&shown[(unsigned)rand_r(&seed) % ARRAY_LEN(shown)]);
			if (other) {
				const volatile uint64_t *w = pool_at(&churn, other);
				uint64_t first = w[0];
				if (k % 16 == 0)
					sched_yield();
				if (w[0] != first || w[1] != first || w[2] != ~first)
					abort();
			}
		}
		rcu_quiescent();
		sched_yield();
	}
	rcu_thread_unregister();
	__atomic_add_fetch(&n_failed, failed, __ATOMIC_RELAXED);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t t[CHURNERS];
	assert_int_equal(pool_open(&churn, "test", 24, CHURN_CAPACITY, NULL), 0);
	for (uintptr_t k = 0; k < CHURNERS; k++)
		pthread_create(&t[k], NULL, churner, (void *)k);
	while (LOAD_RELAXED(&n_reused) < 50 * CHURN_CAPACITY) { /* work done, not time: the machine may be busy */
		rcu_poll_deferred();
		usleep(1000);
	}
	STORE_RELAXED(&stop, 1);
	rcu_offline();
	for (unsigned k = 0; k < CHURNERS; k++)
		pthread_join(t[k], NULL);
	rcu_online();
	for (unsigned k = 0; k < ARRAY_LEN(shown); k++)
		if (shown[k])
			pool_retire(&churn, SLOT_CONTROL, shown[k]);
	rcu_wait();
	assert_int_equal(pool_used(&churn), 0);
	unsigned n = 0;
	for (; pool_alloc(&churn, SLOT_CONTROL); n++)
		;
	assert_int_equal(n, CHURN_CAPACITY); /* none lost, none doubled */
	print_message("reused %lu, refused %lu\n", (unsigned long)n_reused, (unsigned long)n_failed);
	pool_close(&churn);
}

/* A thread that sleeps offline holds up nobody; one that is online does. */
static int phase;
static void *sleeper(void *arg)
{
	(void)arg;
	rcu_thread_register();
	STORE_RELEASE(&phase, 1);
	while (LOAD_ACQUIRE(&phase) == 1)
		usleep(100);
	rcu_offline();
	STORE_RELEASE(&phase, 3);
	while (LOAD_ACQUIRE(&phase) == 3)
		usleep(100);
	rcu_online();
	rcu_thread_unregister();
	return NULL;
}

static void set_flag(void *flag)
{
	*(bool *)flag = true;
}

static void test_offline(void **state)
{
	(void)state;
	pthread_t t;
	bool freed = false;
	pthread_create(&t, NULL, sleeper, NULL);
	while (LOAD_ACQUIRE(&phase) != 1)
		usleep(100);
	uint64_t e = rcu_epoch();
	rcu_defer(set_flag, &freed);
	for (unsigned i = 0; i < 30; i++) {
		rcu_request();
		rcu_poll_deferred();
		usleep(1000);
	}
	assert_true(rcu_epoch() <= e + 1); /* the period that had begun before may end, no other one */
	assert_false(freed);
	STORE_RELEASE(&phase, 2);
	e = rcu_epoch();
	for (unsigned i = 0; rcu_epoch() < e + 10; i++) {
		assert_true(i < 5000);
		rcu_request();
		rcu_poll_deferred();
		usleep(1000);
	}
	assert_true(freed);
	rcu_wait();
	STORE_RELEASE(&phase, 4);
	pthread_join(t, NULL);
}

/* 'dir' holds an arena "t" of layout 2, 'old' was there before it. */
static void test_arena_former(const char *dir, const struct arena *old)
{
	struct arena_file f;
	struct err e;
	uint8_t byte = 9;
	assert_int_equal(arena_set_dir(dir, &e), 0);
	assert_true(arena_former_begin());
	assert_int_equal(arena_former_open("t", 1, &f), -EINVAL);
	assert_non_null(strstr(arena_reason(), "layout"));
	assert_int_equal(arena_former_open("u", 2, &f), -ENOENT);
	assert_int_equal(arena_former_open("t", 2, &f), 0);
	assert_true(f.capacity == 10 && f.size == old->size);
	assert_true(arena_former_read(&f, f.size - 1, &byte, 1) && byte == 0);
	assert_false(arena_former_read(&f, f.size, &byte, 1));
	assert_false(arena_former_read(&f, UINT64_MAX, &byte, 2));
	close(f.fd);
	arena_former_done();
	assert_false(arena_former_begin());
	chmod(dir, 0777); /* somebody else might have put files there */
	assert_int_equal(arena_set_dir(dir, &e), -EPERM);
	chmod(dir, 0700);
	assert_int_equal(arena_set_dir(dir, &e), 0);
	arena_former_done();
}

static void test_arena_file(void **state)
{
	(void)state;
	char dir[] = "/tmp/sluice-arena-XXXXXX", sub[64], file[96];
	struct arena a, b;
	struct stat st;
	struct err e;
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/state", dir);
	snprintf(file, sizeof(file), "%s/t.arena", sub);
	assert_int_equal(arena_set_dir("/nonexistent/x", &e), -ENOENT);
	assert_int_equal(arena_set_dir(sub, &e), 0);
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	const size_t size = 64u << 20;
	assert_int_equal(arena_open(&a, "t", 1, 10, size, &e), 0);
	assert_true(a.fd >= 0 && (uintptr_t)a.base % 4096 == 0);
	assert_int_equal(stat(file, &st), 0);
	assert_true(st.st_size > (off_t)size && st.st_blocks * 512 < 8 << 20); /* lazily backed */
	uint8_t *p = a.base;
	assert_true(p[0] == 0 && p[size - 1] == 0);
	p[0] = p[size - 1] = 1;
	assert_string_equal(arena_reason(), "");
	/* a second opening starts empty and leaves the first mapping alone */
	assert_int_equal(arena_open(&b, "t", 2, 10, size, &e), 0);
	assert_true(((uint8_t *)b.base)[0] == 0 && p[0] == 1);
	arena_close(&b);
	arena_close(&b);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(arena_open(&b, "../t", 2, 10, size, &e), -EINVAL);
	test_arena_former(sub, &a);
	arena_remove_all();
	assert_int_equal(stat(file, &st), -1);
	arena_close(&a);
	arena_close(NULL);
	rmdir(sub);
	assert_int_equal(rmdir(dir), 0);
	arena_set_dir(NULL, NULL);
	assert_int_equal(arena_open(&a, "t", 1, 10, 100, &e), 0);
	assert_int_equal(a.fd, -1);
	arena_close(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity),   cmocka_unit_test(test_grace),   cmocka_unit_test(test_walk),
		cmocka_unit_test(test_defer),      cmocka_unit_test(test_threads), cmocka_unit_test(test_offline),
		cmocka_unit_test(test_arena_file),
	};
	rcu_thread_register();
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
