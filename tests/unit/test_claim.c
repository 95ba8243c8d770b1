/* SPDX-License-Identifier: BSD-2-Clause */
/* fwd/claim with links and a worker's ring of our own: many addresses at one moment. */
#include "fwd/claim.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/fib.h"
#include "fwd/worker.h"

enum { MANY = 1000, ROOM = 300 };

struct port *ports[PORTS_MAX];
static struct port up0 = { .up = true };
static unsigned room, n_sent;

int workers_inject(uint16_t out, const void *frame, uint32_t len)
{
	(void)out;
	(void)frame;
	(void)len;
	if (!room)
		return -1;
	room--;
	n_sent++;
	return 0;
}

void fib_lookup(const struct ipaddr *dst, uint32_t hash, struct fib_result *r)
{
	(void)dst;
	(void)hash;
	*r = (struct fib_result){ .kind = FIB_UNICAST, .nh = { .port = PORT_FIRST } };
}

static unsigned n_of(enum claim_state s)
{
	struct ipaddr a;
	struct claim c;
	unsigned n = 0;

	for (uint32_t i = claim_next(0, &a, &c); i; i = claim_next(i, &a, &c))
		n += c.state == s;
	return n;
}

/* None is taken that was not asked for, and each is announced twice. */
static void full_ring(void **state)
{
	struct err e;
	uint64_t now = 1000 * NS_PER_S;

	(void)state;
	ports[PORT_FIRST] = &up0;
	clock_set(now);
	assert_int_equal(claim_init(&e), 0);
	for (uint32_t i = 0; i < MANY; i++) {
		const struct ipaddr a = ip_from4(htonl(0xcb007100 + i));
		claim_begin(&a, true);
	}
	for (unsigned t = 0; t < 100; t++) {
		room = ROOM;
		claim_tick(now);
		assert_true(n_of(CLAIM_OWN) <= n_sent);
		if (t == 0)
			assert_int_equal(n_sent, ROOM);
		if (t == 9)
			assert_int_equal(n_of(CLAIM_ASKING), MANY);
		if (t == 9)
			assert_int_equal(n_sent, MANY);
		now += NS_PER_S / 10;
		clock_set(now);
	}
	assert_int_equal(n_of(CLAIM_OWN), MANY);
	assert_in_range(n_sent, 2 * MANY, 3 * MANY);
	claim_fini();
	ports[PORT_FIRST] = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
