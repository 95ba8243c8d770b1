/* SPDX-License-Identifier: BSD-2-Clause */
/* tables/hidx: the index that grows, level by level. Random operations and many threads on one: test_hidx.c. */
#include "tables/table.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
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

static bool is_empty(const struct hidx_level *l)
{
	static const uint16_t none[BUCKET_SLOTS];
	for (uint64_t b = 0; b <= l->mask; b++)
		if (memcmp(l->b[b].tag, none, sizeof(none)) != 0)
			return false;
	return true;
}

/* Level by level: where entries lie, and that nothing is moved before a grace period. */
static void test_grow(void **state)
{
	(void)state;
	enum { N = 3000 };
	struct entry *e = calloc(N + 1, sizeof(*e));
	struct hidx h;
	uint32_t i = 1, first;
	assert_int_equal(hidx_open_growing(&h, N, e, sizeof(*e), 16, NULL), 0);
	assert_int_equal(h.level[0].mask + 1, 8);
	assert_int_equal(h.level[2].mask + 1, 512);
	for (; h.state == 0; i++) {
		e[i].key[0] = i;
		assert_int_equal(hidx_insert(&h, key_hash(&e[i]), i, NULL), 0);
	}
	assert_int_equal(h.state, 0x100);
	assert_in_range(i, 20, 80);
	assert_true(hidx_grow(&h, 100) && hidx_grow(&h, 100)); /* starts to wait */
	assert_int_equal(h.cursor, 0);
	first = i;
	for (unsigned k = 0; k < 4; k++)
		rcu_poll_deferred();
	assert_int_equal(hidx_remove(&h, key_hash(&e[1]), 1), 0);         /* from below */
	assert_int_equal(hidx_remove(&h, key_hash(&e[i - 1]), i - 1), 0); /* from above */
	assert_true(hidx_grow(&h, 3));
	assert_int_equal(h.cursor, 3);
	for (uint32_t k = 1; k < first; k++) {
		uint32_t present = 0, is = k != 1 && k != first - 1 ? k : 0;
		assert_int_equal(hidx_find(&h, e[k].key, key_hash(&e[k])), is);
		if (is)
			assert_int_equal(hidx_insert(&h, key_hash(&e[k]), k, &present), -EEXIST);
		assert_int_equal(present, is);
	}
	assert_true(hidx_grow(&h, 5));
	assert_int_equal(h.state, 0x101);
	assert_false(hidx_grow(&h, 5));
	assert_true(is_empty(&h.level[0]));
	for (; i <= N; i++) { /* nobody moves anything: the third level takes all */
		e[i].key[0] = i;
		assert_int_equal(hidx_insert(&h, key_hash(&e[i]), i, NULL), 0);
	}
	assert_int_equal(h.state, 0x201);
	while (hidx_grow(&h, 7))
		rcu_poll_deferred();
	assert_int_equal(h.state, 0x202);
	assert_true(is_empty(&h.level[0]) && is_empty(&h.level[1]));
	for (uint32_t k = 2; k <= N; k++)
		assert_int_equal(hidx_find(&h, e[k].key, key_hash(&e[k])), k == first - 1 ? 0 : k);
	hidx_close(&h);
	free(e);
}

/* The index grows while an insertion waits for its bucket: the lower level must not get the key any more, for others have looked
 * there already and will not again. */
static struct hidx slow;
static struct entry slow_entries[2];
static bool inserted;

static void *insert_slowly(void *arg)
{
	(void)arg;
	rcu_thread_register();
	if (hidx_insert(&slow, key_hash(&slow_entries[1]), 1, NULL))
		abort();
	STORE_RELEASE(&inserted, true);
	rcu_thread_unregister();
	return NULL;
}

static void test_grows_meanwhile(void **state)
{
	pthread_t t;
	(void)state;
	assert_int_equal(hidx_open_growing(&slow, 3000, slow_entries, sizeof(struct entry), 16, NULL), 0);
	slow_entries[1].key[0] = 1;
	struct bucket *home = &slow.level[0].b[key_hash(&slow_entries[1]) & slow.level[0].mask];
	STORE_RELAXED(&home->lock, 1);
	assert_int_equal(pthread_create(&t, NULL, insert_slowly, NULL), 0);
	for (unsigned i = 0; i < 2000; i++)
		sched_yield();
	assert_false(LOAD_ACQUIRE(&inserted));
	STORE_RELEASE(&slow.state, 0x100);
	STORE_RELEASE(&home->lock, 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(is_empty(&slow.level[0]));
	assert_int_equal(hidx_find(&slow, slow_entries[1].key, key_hash(&slow_entries[1])), 1);
	hidx_close(&slow);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grow),
		cmocka_unit_test(test_grows_meanwhile),
	};
	hash_init(1);
	rcu_thread_register();
	return cmocka_run_group_tests_name("hidx_grow", tests, NULL, NULL);
}
