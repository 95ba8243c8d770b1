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

static uint64_t version;

uint64_t fib_version(void)
{
	return version;
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

static struct claim claim_of(const struct ipaddr *want)
{
	struct ipaddr a;
	struct claim c;

	for (uint32_t i = claim_next(0, &a, &c); i; i = claim_next(i, &a, &c))
		if (ip_eq(&a, want))
			return c;
	fail_msg("no such claim");
	return c;
}

/* Who has it is whom its own link says so, not we ourselves; he is asked again after ten seconds, and once he has answered often,
 * every minute. */
static void whose_word_counts(void **state)
{
	static struct port up1 = { .up = true };
	const struct ipaddr a = ip_from4(htonl(0xcb007101));
	const struct mac other = { { 2, 0, 0, 0, 0, 0x77 } };
	const uint64_t now = 1000 * NS_PER_S;
	struct err e;

	(void)state;
	up0.mac = (struct mac){ { 2, 0, 0, 0, 0x10, 2 } };
	ports[PORT_FIRST] = &up0;
	ports[PORT_FIRST + 1] = &up1;
	clock_set(now);
	assert_int_equal(claim_init(&e), 0);
	claim_begin(&a, true);
	claim_seen(&a, PORT_FIRST + 1, &other);
	claim_seen(&a, PORT_FIRST, &up0.mac);
	assert_int_equal(claim_of(&a).state, CLAIM_ASKING);
	for (unsigned n = 1; n <= 12; n++) {
		claim_seen(&a, PORT_FIRST, &other);
		assert_true(claim_taken(&a) && claim_withheld(&a));
		assert_int_equal(claim_of(&a).next_ns - now, (n < 10 ? 10 : 60) * NS_PER_S);
	}
	claim_fini();
	ports[PORT_FIRST] = ports[PORT_FIRST + 1] = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_ring),
		cmocka_unit_test(whose_word_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
