/* SPDX-License-Identifier: BSD-2-Clause */
/* Frame area: every chunk is given once, comes back, and threads trade through the shared stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fwd/frame.h"

enum { N = 4096 };

static int setup(void **state)
{
	(void)state;
	struct err e;
	return frames_init(N, &e);
}

static int teardown(void **state)
{
	(void)state;
	frames_fini();
	return 0;
}

/* All chunks, each once; then none; then all again. */
static void gives_each_chunk_once(void **state)
{
	(void)state;
	static struct frame_cache c;
	static uint8_t *f[N];
	static bool seen[N];
	memset(seen, 0, sizeof(seen));
	assert_int_equal(frames_free(), N);
	for (unsigned i = 0; i < N; i++) {
		f[i] = frame_get(&c);
		assert_non_null(f[i]);
		size_t chunk = (size_t)(f[i] - frame_area.base) / FRAME_SIZE;
		assert_false(seen[chunk]);
		seen[chunk] = true;
		assert_int_equal(frame_headroom(f[i]), FRAME_HEADROOM);
		assert_int_equal(frame_tailroom(f[i] + FRAME_ROOM), 0);
		assert_int_equal(frame_tailroom(f[i] + 100), FRAME_ROOM - 100);
		memset(f[i], 0xaa, FRAME_ROOM);
	}
	assert_null(frame_get(&c));
	assert_int_equal(frames_free(), 0);
	for (unsigned i = 0; i < N; i++)
		frame_put(&c, f[i] + i % FRAME_ROOM); /* any pointer into the chunk names it */
	assert_true(c.n <= FRAME_CACHE);
	assert_int_equal(frames_free() + c.n, N);
	frame_cache_flush(&c);
	assert_int_equal(frames_free(), N);
}

/* Big ones likewise; 16 KiB, their own memory, named by any pointer into them. */
static void gives_each_big_frame_once(void **state)
{
	(void)state;
	static struct frame_cache c;
	uint8_t *f[N / BIG_SHARE];
	assert_int_equal(frame_area.n_big, N / BIG_SHARE);
	for (unsigned i = 0; i < N / BIG_SHARE; i++) {
		assert_non_null(f[i] = frame_get_for(&c, FRAME_ROOM + 1));
		assert_true(frame_is_big(f[i]));
		assert_int_equal(frame_headroom(f[i]), FRAME_HEADROOM);
		assert_int_equal(frame_tailroom(f[i] + BIG_ROOM), 0);
		memset(f[i] - FRAME_HEADROOM, (int)i, BIG_SIZE);
	}
	assert_null(frame_get_big(&c));
	for (unsigned i = 0; i < N / BIG_SHARE; i++) {
		assert_int_equal(f[i][BIG_ROOM - 1], i);
		assert_int_equal(f[i][-FRAME_HEADROOM], i);
		frame_put(&c, f[i] + i * 1000 % BIG_ROOM);
	}
	assert_true(c.n_big <= BIG_CACHE);
	assert_int_equal(c.n, 0);
	frame_cache_flush(&c);
	assert_int_equal(frames_big_free(), N / BIG_SHARE);
	assert_int_equal(frames_free(), N);
	uint8_t *small = frame_get_for(&c, FRAME_ROOM);
	assert_false(frame_is_big(small));
	frame_put(&c, small);
	frame_cache_flush(&c);
}

static void last_put_is_first_got(void **state)
{
	(void)state;
	static struct frame_cache c;
	uint8_t *a = frame_get(&c), *b = frame_get(&c);
	frame_put(&c, a - 14);
	assert_ptr_equal(frame_get(&c), a);
	frame_put(&c, b);
	frame_put(&c, a);
	assert_ptr_equal(frame_get(&c), a);
	frame_put(&c, a);
	frame_cache_flush(&c);
	assert_int_equal(frames_free(), N);
}

/* Each thread marks the chunks it has; a chunk given twice would be seen marked by another. */
static uint32_t mark[N];

static void *churn(void *arg)
{
	struct frame_cache *c = calloc(1, sizeof(*c));
	uint8_t *have[600];
	uint32_t n = 0, me = (uint32_t)(uintptr_t)arg, x = me * 2654435761u, bad = 0;
	for (unsigned i = 0; i < 200000; i++) {
		x = x * 1664525 + 1013904223;
		if (n < ARRAY_LEN(have) && x >> 31) {
			uint8_t *f = frame_get(c);
			if (!f)
				continue;
			bad += __atomic_exchange_n(&mark[(f - frame_area.base) / FRAME_SIZE], me, __ATOMIC_RELAXED) !=
			       0;
			have[n++] = f;
		} else if (n) {
			uint8_t *f = have[--n];
			bad += __atomic_exchange_n(&mark[(f - frame_area.base) / FRAME_SIZE], 0, __ATOMIC_RELAXED) !=
			       me;
			frame_put(c, f);
		}
	}
	while (n) {
		mark[(have[--n] - frame_area.base) / FRAME_SIZE] = 0;
		frame_put(c, have[n]);
	}
	frame_cache_flush(c);
	free(c);
	return (void *)(uintptr_t)bad;
}

static void threads_never_share_a_chunk(void **state)
{
	(void)state;
	pthread_t t[3];
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < 3; i++) {
		void *bad;
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(frames_free(), N);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_each_chunk_once),
		cmocka_unit_test(gives_each_big_frame_once),
		cmocka_unit_test(last_put_is_first_got),
		cmocka_unit_test(threads_never_share_a_chunk),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
