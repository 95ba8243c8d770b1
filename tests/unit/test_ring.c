/* SPDX-License-Identifier: BSD-2-Clause */
/* The bounded ring between two threads: order, fullness, wrap of the 32-bit counters, a million elements across threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <sched.h>

#include <cmocka.h>

#include "fwd/ring.h"

struct item {
	uint64_t n;
	uint32_t check;
};

static struct item item(uint64_t n)
{
	return (struct item){ n, (uint32_t)(n * 2654435761u) };
}

static void is_first_in_first_out(void **state)
{
	(void)state;
	struct ring r;
	struct item i[8];
	assert_int_equal(ring_init(&r, 8, sizeof(i[0])), 0);
	assert_true(ring_empty(&r));
	assert_false(ring_pop(&r, &i[0], sizeof(i[0])));
	for (uint64_t n = 0; n < 8; n++) {
		i[0] = item(n);
		assert_true(ring_push(&r, &i[0], sizeof(i[0])));
	}
	i[0] = item(99);
	assert_false(ring_push(&r, &i[0], sizeof(i[0])));
	assert_int_equal(ring_room(&r, 1), 0);
	assert_int_equal(ring_pop_n(&r, i, 3, sizeof(i[0])), 3);
	assert_int_equal(i[0].n, 0);
	assert_int_equal(i[2].n, 2);
	for (uint64_t n = 0; n < 5; n++)
		i[n] = item(8 + n);
	assert_int_equal(ring_push_n(&r, i, 5, sizeof(i[0])), 3); /* what fits, in order */
	assert_int_equal(ring_pop_n(&r, i, 8, sizeof(i[0])), 8);
	for (uint64_t n = 0; n < 8; n++)
		assert_int_equal(i[n].n, 3 + n);
	assert_true(ring_empty(&r));
	ring_fini(&r);
}

static void counters_wrap(void **state)
{
	(void)state;
	struct ring r;
	assert_int_equal(ring_init(&r, 4, sizeof(uint32_t)), 0);
	r.head = r.tail = r.head_seen = r.tail_seen = UINT32_MAX - 5;
	for (uint32_t n = 0, got; n < 40; n += 4) {
		for (uint32_t k = 0; k < 4; k++) {
			uint32_t v = n + k;
			assert_true(ring_push(&r, &v, sizeof(v)));
		}
		assert_false(ring_push(&r, &n, sizeof(n)));
		for (uint32_t k = 0; k < 4; k++) {
			assert_true(ring_pop(&r, &got, sizeof(got)));
			assert_int_equal(got, n + k);
		}
		assert_false(ring_pop(&r, &got, sizeof(got)));
	}
	ring_fini(&r);
}

enum { MANY = 1000000 };

static void *produce(void *arg)
{
	for (uint64_t n = 0; n < MANY;) {
		struct item i[3] = { item(n), item(n + 1), item(n + 2) };
		uint32_t want = (uint32_t)MIN(3, MANY - n), done = ring_push_n(arg, i, want, sizeof(i[0]));
		n += done;
		if (!done)
			sched_yield();
	}
	return NULL;
}

static void crosses_threads(void **state)
{
	(void)state;
	struct ring r;
	pthread_t t;
	assert_int_equal(ring_init(&r, 64, sizeof(struct item)), 0);
	assert_int_equal(pthread_create(&t, NULL, produce, &r), 0);
	for (uint64_t n = 0; n < MANY;) {
		struct item i[5];
		uint32_t got = ring_pop_n(&r, i, 5, sizeof(i[0]));
		for (uint32_t k = 0; k < got; k++, n++) {
			assert_int_equal(i[k].n, n);
			assert_int_equal(i[k].check, item(n).check);
		}
		if (!got)
			sched_yield();
	}
	pthread_join(t, NULL);
	assert_true(ring_empty(&r));
	ring_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_first_in_first_out),
		cmocka_unit_test(counters_wrap),
		cmocka_unit_test(crosses_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
