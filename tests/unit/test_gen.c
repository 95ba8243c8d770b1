/* SPDX-License-Identifier: BSD-2-Clause */
/* tables/gen: numbers, bumps, sums, the protocol of a decision. */
#include "tables/gen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_numbers(void **state)
{
	(void)state;
	static uint8_t seen[GEN_COUNTERS];
	/* the first 10 Ki objects of all families share no counter (but for number 0, which stands in for 1) */
	unsigned shared = 0;
	for (unsigned f = GEN_ENDPOINT; f <= GEN_ADJ; f++)
		for (uint32_t i = 0; i < 10240; i++) {
			uint16_t n = gen_number(f, i);
			assert_int_not_equal(n, 0);
			shared += seen[n]++ != 0;
		}
	assert_true(shared <= 1);
	for (unsigned k = 0; k < 10; k++)
		for (uint32_t i = 0; i < 200000; i++)
			assert_int_not_equal(gen_number(k % 6, i * 2654435761u), 0);
}

static void test_bump(void **state)
{
	(void)state;
	const uint16_t dep[4] = { 5, 9, 9, 0 };
	uint32_t before = gen_sum(dep);
	gen_bump(7);
	assert_int_equal(gen_sum(dep), before);
	gen_bump(0);
	assert_int_equal(gen_sum(dep), before); /* counter 0 stands still */
	gen_bump(5);
	assert_int_equal(gen_sum(dep), before + 1);
	gen_bump(9);
	assert_int_equal(gen_sum(dep), before + 3); /* named twice */
	gen_bump_extra();
	assert_int_equal(gen_sum(dep), before + 4);
	uint32_t c = gen_load(5);
	gen_bump(5);
	assert_int_equal(gen_load(5), c + 1);
}

static void test_use(void **state)
{
	(void)state;
	struct gen_area *mine = calloc(1, sizeof(*mine)), *plain = gen_area;
	uint32_t c = gen_load(3);
	mine->counter[3] = UINT32_MAX; /* adopted: counting goes on, through the wrap */
	gen_use(mine);
	const uint16_t dep[4] = { 3 };
	uint32_t sum = gen_sum(dep);
	gen_bump(3);
	assert_int_equal(mine->counter[3], 0);
	assert_int_equal(gen_sum(dep), (uint32_t)(sum + 1));
	gen_use(NULL);
	assert_ptr_equal(gen_area, plain);
	assert_int_equal(gen_load(3), c);
	free(mine);
}

static void test_stable(void **state)
{
	(void)state;
	uint32_t b = gen_begin();
	assert_true(gen_stable(b));
	gen_bump(1234);
	assert_false(gen_stable(b));
	b = gen_begin();
	gen_bump_extra();
	assert_false(gen_stable(b));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bump),
		cmocka_unit_test(test_use),
		cmocka_unit_test(test_stable),
	};
	return cmocka_run_group_tests_name("gen", tests, NULL, NULL);
}
