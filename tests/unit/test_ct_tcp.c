/* SPDX-License-Identifier: BSD-2-Clause */
/* The TCP machine, walked packet by packet, and its little sister for datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tables/ct.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, SYNACK = SYN | ACK, FINACK = FIN | ACK };
struct step {
	bool reply;
	uint8_t flags;
	enum ct_state then;
	enum ct_tcp_verdict verdict;
};

static void walk(const struct step *s, unsigned n, struct conn *c)
{
	for (unsigned i = 0; i < n; i++) {
		if (ct_tcp(c, s[i].reply, s[i].flags) != s[i].verdict || c->state != s[i].then)
			fail_msg("step %u: state %s, expected %s", i, ct_state_names[c->state],
				 ct_state_names[s[i].then]);
	}
}
#define WALK(...)                                                                                                      \
	do {                                                                                                           \
		const struct step s_[] = { __VA_ARGS__ };                                                              \
		struct conn c_ = { .proto = PROTO_TCP };                                                               \
		walk(s_, ARRAY_LEN(s_), &c_);                                                                          \
	} while (0)

static void test_tcp_open_close(void **state)
{
	(void)state;
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 0, SYN, CT_SYN_SENT, 0 }, { 1, SYNACK, CT_SYN_RECV, 0 },
	     { 1, SYNACK, CT_SYN_RECV, 0 }, { 0, ACK, CT_ESTABLISHED, 0 }, { 0, ACK | PSH, CT_ESTABLISHED, 0 },
	     { 1, ACK, CT_ESTABLISHED, 0 }, { 0, SYN, CT_ESTABLISHED, 0 }, { 0, FINACK, CT_FIN_WAIT, 0 },
	     { 1, ACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 }, { 1, FINACK, CT_CLOSING, 0 },
	     { 0, ACK, CT_TIME_WAIT, 0 }, { 1, FINACK, CT_TIME_WAIT, 0 }, { 0, RST, CT_TIME_WAIT, 0 });
	/* simultaneous open: no bare ACK (RFC 9293 figure 8), in both orders of the SYN+ACKs */
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, SYN, CT_SYN_RECV, 0 }, { 0, SYNACK, CT_ESTABLISHED, 0 },
	     { 1, SYNACK, CT_ESTABLISHED, 0 }, { 1, ACK, CT_ESTABLISHED, 0 });
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, SYN, CT_SYN_RECV, 0 }, { 1, SYNACK, CT_SYN_RECV, 0 },
	     { 0, SYNACK, CT_ESTABLISHED, 0 });
	/* half close: the other side goes on sending, and the FIN is repeated */
	for (unsigned side = 0; side < 2; side++)
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { side, FINACK, CT_FIN_WAIT, 0 },
		     { !side, ACK | PSH, CT_FIN_WAIT, 0 }, { side, FINACK, CT_FIN_WAIT, 0 },
		     { side, ACK, CT_FIN_WAIT, 0 }, { !side, FINACK, CT_CLOSING, 0 }, { side, ACK, CT_TIME_WAIT, 0 });
	/* simultaneous close */
	WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { 0, FINACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 },
	     { 1, ACK, CT_TIME_WAIT, 0 }, { 0, ACK, CT_TIME_WAIT, 0 });
	/* a challenge ACK before the reset (RFC 5961 section 4) */
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, ACK, CT_SYN_SENT, 0 }, { 0, RST, CT_RST_SEEN, 0 },
	     { 0, SYN, CT_RST_SEEN, CT_TCP_REOPEN });
}

static void test_tcp_reset_reopen(void **state)
{
	(void)state;
	for (unsigned side = 0; side < 2; side++) {
		/* RFC 7857 section 2.2: data from either side restores */
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { side, RST | ACK, CT_RST_SEEN, 0 }, { side, RST, CT_RST_SEEN, 0 },
		     { !side, ACK | PSH, CT_ESTABLISHED, 0 }, { !side, RST, CT_RST_SEEN, 0 },
		     { side, ACK, CT_ESTABLISHED, 0 });
		/* ... but does not forget a FIN */
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { side, FINACK, CT_FIN_WAIT, 0 }, { 1, RST, CT_RST_SEEN, 0 },
		     { 0, ACK, CT_FIN_WAIT, 0 }, { !side, FINACK, CT_CLOSING, 0 });
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { 0, RST, CT_RST_SEEN, 0 },
		     { side, SYN, CT_RST_SEEN, CT_TCP_REOPEN });
		WALK({ 0, ACK, CT_ESTABLISHED, 0 }, { 0, FINACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 },
		     { side, SYN, CT_CLOSING, CT_TCP_REOPEN }, { 0, ACK, CT_TIME_WAIT, 0 },
		     { side, SYN, CT_TIME_WAIT, CT_TCP_REOPEN });
	}
	/* a forged RST must not stop an opening */
	WALK({ 0, SYN, CT_SYN_SENT, 0 }, { 1, RST, CT_RST_SEEN, 0 }, { 1, SYNACK, CT_SYN_RECV, 0 },
	     { 0, ACK, CT_ESTABLISHED, 0 });
}

static void test_tcp_loose_and_invalid(void **state)
{
	static const uint8_t nonsense[] = {
		0, PSH, FIN, SYN | FIN, SYN | RST, SYN | FIN | ACK, FIN | RST, FIN | RST | ACK
	};
	(void)state;
	WALK({ 0, ACK, CT_ESTABLISHED, 0 });
	WALK({ 0, ACK | PSH, CT_ESTABLISHED, 0 });
	WALK({ 0, FINACK, CT_FIN_WAIT, 0 }, { 1, FINACK, CT_CLOSING, 0 });
	WALK({ 0, SYNACK, CT_NEW, CT_TCP_INVALID }, { 0, RST, CT_NEW, CT_TCP_INVALID }, { 0, SYN, CT_SYN_SENT, 0 });
	for (unsigned s = 0; s < CT_STATES; s++) {
		for (unsigned n = 0; n < 2 * ARRAY_LEN(nonsense); n++) {
			struct conn c = { .proto = PROTO_TCP, .state = (uint8_t)s };
			assert_int_equal(ct_tcp(&c, n % 2, nonsense[n / 2]), CT_TCP_INVALID);
			assert_int_equal(c.state, s);
			assert_int_equal(c.fin_seen, 0);
		}
		assert_non_null(ct_state_names[s]);
	}
	/* ECE, CWR, URG say nothing */
	WALK({ 0, SYN | 0xc0, CT_SYN_SENT, 0 }, { 1, SYNACK | 0x40, CT_SYN_RECV, 0 },
	     { 0, ACK | 0x20, CT_ESTABLISHED, 0 });
}

/* Replies go another way: what they were is read off the other side. */
static void test_one_way(void **state)
{
	static const struct step steps[] = {
		{ 0, SYN, CT_SYN_SENT, CT_TCP_OK },      { 0, SYN, CT_SYN_SENT, CT_TCP_OK },
		{ 0, ACK, CT_ESTABLISHED, CT_TCP_OK },   { 0, RST, CT_RST_SEEN, CT_TCP_OK },
		{ 0, ACK, CT_ESTABLISHED, CT_TCP_OK },   { 0, FINACK, CT_CLOSING, CT_TCP_OK },
		{ 0, FINACK, CT_CLOSING, CT_TCP_OK },    { 0, ACK, CT_TIME_WAIT, CT_TCP_OK },
		{ 0, SYN, CT_TIME_WAIT, CT_TCP_REOPEN },
	};
	struct conn c = { .proto = PROTO_TCP };
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
		assert_int_equal(ct_tcp_one_way(&c, steps[i].flags), steps[i].verdict);
		assert_int_equal(c.state, steps[i].then);
	}
	/* in the middle, and closed at once */
	c = (struct conn){ .proto = PROTO_TCP };
	assert_int_equal(ct_tcp_one_way(&c, ACK), CT_TCP_OK);
	assert_int_equal(c.state, CT_ESTABLISHED);
	c = (struct conn){ .proto = PROTO_TCP, .state = CT_SYN_SENT };
	assert_int_equal(ct_tcp_one_way(&c, FINACK), CT_TCP_OK);
	assert_int_equal(c.state, CT_CLOSING);
	/* what says nothing of a reply changes nothing */
	c = (struct conn){ .proto = PROTO_TCP };
	assert_int_equal(ct_tcp_one_way(&c, SYNACK), CT_TCP_INVALID);
	assert_int_equal(ct_tcp_one_way(&c, 0), CT_TCP_INVALID);
	assert_int_equal(c.state, CT_NEW);
}

static void test_datagram(void **state)
{
	struct conn c = { .proto = PROTO_UDP };
	(void)state;
	ct_datagram(&c, false);
	assert_int_equal(c.state, CT_UNREPLIED);
	ct_datagram(&c, false);
	assert_int_equal(c.state, CT_UNREPLIED);
	ct_datagram(&c, true);
	assert_int_equal(c.state, CT_REPLIED);
	ct_datagram(&c, false);
	assert_int_equal(c.state, CT_REPLIED);
	c.state = CT_REFUSED;
	ct_datagram(&c, true);
	assert_int_equal(c.state, CT_REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_open_close),
		cmocka_unit_test(test_tcp_reset_reopen),
		cmocka_unit_test(test_tcp_loose_and_invalid),
		cmocka_unit_test(test_one_way),
		cmocka_unit_test(test_datagram),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
