/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP windows: the edges of each rule at ordinary numbers and around the wrap, and two honest ends with losses and disorder
 * between which nothing may be refused. */
#include "tests/unit/ct_kit.h"
#include "tables/ct_window.h"

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16, WIN = 1000 };

static uint32_t conn, isn[2];
static const char *why; /* the last one was refused */
static bool aside;      /* or forwarded without effect */
static const uint32_t starts[] = { 1000, 0x7ffffff0, 0xfffffc00, 0xffffffff };

static struct conn *fresh(void)
{
	if (conn)
		ct_abort(&ct4, 0, conn);
	conn = ct_alloc(&ct4, 0, PROTO_TCP, T0);
	assert_int_not_equal(conn, 0);
	return ct_conn(&ct4, conn);
}

/* As the decision path does it; false: refused by its window, or by the machine. */
static bool tap(bool reply, const struct ct_segment *s)
{
	struct conn *c = ct_conn(&ct4, conn), copy = *c;
	if (ct_tcp(&copy, reply, s->flags) != CT_TCP_OK)
		return false;
	aside = false;
	if (c->state == CT_NEW) {
		ct_window_begin(&ct4, conn, s);
	} else {
		const enum ct_window_verdict dry = ct_window(&ct4, conn, reply, s, true, &why),
					     v = ct_window(&ct4, conn, reply, s, false, &why);
		assert_int_equal(dry, v);
		if (v == CT_WINDOW_OUTSIDE)
			return false;
		aside = v == CT_WINDOW_ASIDE;
	}
	return aside || ct_tcp(c, reply, s->flags) == CT_TCP_OK;
}

/* seq and ack count from the SYNs: the first byte of data is 1. */
static struct ct_segment segment(bool reply, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	const uint32_t a = flags & ACK ? isn[!reply] + ack : 0;
	return (struct ct_segment){ .seq = isn[reply] + seq,
				    .ack = a,
				    .sack = a,
				    .len = len,
				    .win = WIN,
				    .flags = flags,
				    .scale = CT_SCALE_NONE };
}

static bool sends(bool reply, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	const struct ct_segment s = segment(reply, flags, seq, ack, len);
	return tap(reply, &s);
}

static bool sends_win(bool reply, uint32_t seq, uint32_t ack, uint32_t len, uint16_t win)
{
	struct ct_segment s = segment(reply, ACK, seq, ack, len);
	s.win = win;
	return tap(reply, &s);
}

static bool sends_syn(bool reply, uint8_t flags, uint8_t scale)
{
	struct ct_segment s = segment(reply, flags, 0, 1, 0);
	s.scale = scale;
	return tap(reply, &s);
}

static void opened(uint32_t start, uint8_t scale0, uint8_t scale1)
{
	isn[0] = start;
	isn[1] = start * 7 + 5;
	fresh();
	assert_true(sends_syn(0, SYN, scale0));
	assert_true(sends_syn(1, SYN | ACK, scale1));
	assert_true(sends(0, ACK, 1, 1, 0));
	assert_int_equal(ct_conn(&ct4, conn)->state, CT_ESTABLISHED);
}
#define PLAIN CT_SCALE_NONE, CT_SCALE_NONE

static void test_edges(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
		opened(starts[i], PLAIN);
		assert_true(sends(0, ACK, 1, 1, WIN));
		assert_true(sends(0, ACK, 1, 1, WIN));     /* again */
		assert_true(sends(0, ACK, WIN + 1, 1, 1)); /* a probe of a full window */
		assert_false(sends(0, ACK, WIN + 2, 1, 1));
		assert_false(sends(1, ACK, 1, WIN + 3, 0)); /* not sent yet */
		assert_true(sends(1, ACK, 1, WIN + 1, 0));
		assert_true(sends(0, ACK, 2 * WIN + 1, 1, 0));
		assert_true(sends(0, ACK, WIN + 1, 1, WIN));
		assert_true(sends(1, ACK, 1, 2 * WIN + 1, 100));
		/* a whole window back, and no more; 1 for the probe's byte */
		assert_true(sends(0, ACK, WIN - 98, 101, 99));
		assert_false(sends(0, ACK, 1, 101, WIN - 10));
		/* the window closes, is probed, kept alive, and opens */
		assert_true(sends_win(1, 101, 2 * WIN + 1, 0, 0));
		assert_true(sends(0, ACK, 2 * WIN, 101, 0));
		assert_true(sends(0, ACK, 2 * WIN, 101, 1));
		assert_true(sends_win(1, 101, 2 * WIN + 1, 0, 500));
		/* ends: FINs count */
		assert_true(sends(0, FIN | ACK, 2 * WIN + 1, 101, 0));
		assert_false(sends(1, ACK, 101, 2 * WIN + 3, 0));
		assert_true(sends(1, FIN | ACK, 101, 2 * WIN + 2, 0));
		assert_true(sends(0, ACK, 2 * WIN + 2, 102, 0));
		assert_int_equal(ct_conn(&ct4, conn)->state, CT_TIME_WAIT);
		assert_true(sends(1, FIN | ACK, 101, 2 * WIN + 2, 0));
	}
}

static void test_scale(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
		opened(starts[i], CT_SCALE + 7, CT_SCALE + 3);
		/* the SYNs' own windows are not scaled */
		assert_false(sends(0, ACK, WIN + 2, 1, 1));
		assert_true(sends(1, ACK, 1, 1, 0));
		assert_true(sends(0, ACK, 8 * WIN + 1, 1, 1));
		assert_false(sends(0, ACK, 8 * WIN + 2, 1, 1));
		assert_true(sends(1, ACK, 128 * WIN + 1, 1, 1));
		assert_false(sends(1, ACK, 128 * WIN + 2, 1, 1));
		/* one side without: none has it (RFC 7323 2.2) */
		opened(starts[i], CT_SCALE + 7, CT_SCALE_NONE);
		assert_true(sends(1, ACK, 1, 1, 0));
		assert_false(sends(0, ACK, WIN + 2, 1, 1));
		assert_false(sends(1, ACK, WIN + 2, 1, 1));
	}
}

static void test_sack(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
		opened(starts[i], PLAIN);
		/* 1..100 is lost behind the gateway, the rest arrives and is acknowledged selectively, then it comes again */
		for (unsigned at = 1; at < 900; at += 100)
			assert_true(sends(0, ACK, at, 1, 100));
		struct ct_segment s = segment(1, ACK, 1, 1, 0);
		s.sack = isn[0] + 901;
		assert_true(tap(1, &s));
		assert_true(sends(0, ACK, 1, 1, 100));
		s.sack = isn[0] + 902; /* never sent */
		assert_false(tap(1, &s));
		assert_true(sends(1, ACK, 1, 901, 0));
	}
}

static void test_resets(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
		opened(starts[i], PLAIN);
		assert_true(sends(0, ACK, 1, 1, 500));
		assert_true(sends(1, ACK, 1, 501, 0));
		assert_true(sends(0, RST, 500, 0, 0) && aside); /* acknowledged before */
		assert_false(sends(0, RST, 500 - WIN, 0, 0));
		assert_false(sends(0, RST, WIN + 502, 0, 0));
		assert_false(sends(1, RST, -WIN, 0, 0));
		assert_false(sends(1, RST | ACK, WIN + 2, 501, 0));
		assert_int_equal(ct_conn(&ct4, conn)->state, CT_ESTABLISHED);
		assert_true(sends(0, RST, 502, 0, 0) && aside); /* the receiver will ask */
		assert_int_equal(ct_conn(&ct4, conn)->state, CT_ESTABLISHED);
		assert_true(sends(0, RST, 501, 0, 0));
		assert_int_equal(ct_conn(&ct4, conn)->state, CT_RST_SEEN);
		assert_true(sends(1, ACK, 1, 501, 100)); /* it was none */
		assert_int_equal(ct_conn(&ct4, conn)->state, CT_ESTABLISHED);

		/* the answer to a SYN */
		fresh();
		assert_true(sends_syn(0, SYN, CT_SCALE + 7));
		assert_false(sends(1, RST | ACK, 0, 2, 0));
		assert_false(sends(1, RST, 0, 0, 0));
		struct ct_segment s = segment(1, RST | ACK, 0, 1, 0);
		s.seq = 0;
		assert_true(tap(1, &s));
		/* and the opener's */
		fresh();
		assert_true(sends_syn(0, SYN, CT_SCALE + 7));
		assert_false(sends(0, RST, 2, 0, 0));
		assert_true(sends(0, RST, 1, 0, 0));
	}
}

/* Who knows addresses and ports only. */
static void test_blind(void **state)
{
	(void)state;
	unsigned data = 0, reset = 0, fin = 0, synack = 0, n = 100000;
	opened(1000, CT_SCALE + 7, CT_SCALE + 7);
	assert_true(sends(0, ACK, 1, 1, 500));
	assert_true(sends(1, ACK, 1, 501, 0));
	for (unsigned i = 0; i < n; i++) {
		const bool reply = rnd(2);
		struct ct_segment s = segment(reply, ACK, 0, 0, 10);
		s.seq = rnd(UINT32_MAX);
		s.ack = s.sack = rnd(UINT32_MAX);
		data += tap(reply, &s);
		s.flags = FIN | ACK;
		fin += tap(reply, &s);
		s.flags = SYN | ACK;
		synack += tap(reply, &s);
		s.flags = RST;
		reset += tap(reply, &s);
		s.flags = SYN; /* the other end answers that with an ACK */
		assert_true(tap(reply, &s) && aside);
	}
	assert_int_equal(data + fin + synack, 0);
	assert_in_range(reset, 0, 20); /* window / 2^32: 3 of 100,000, and none of them the next byte */
	assert_int_equal(ct_conn(&ct4, conn)->state, CT_ESTABLISHED);
	/* and the connection goes on as if nothing had happened */
	assert_true(sends(0, ACK, 501, 1, 500));
	assert_true(sends(1, ACK, 1, 1001, 500));
	/* half open: what answers must know the number of the SYN */
	fresh();
	assert_true(sends_syn(0, SYN, CT_SCALE + 7));
	for (unsigned i = 0; i < n; i++) {
		struct ct_segment s = segment(1, SYN | ACK, rnd(UINT32_MAX), 2 + rnd(UINT32_MAX - 2), 0);
		assert_false(tap(1, &s));
	}
	assert_true(sends_syn(1, SYN | ACK, CT_SCALE + 7));
	for (unsigned i = 0; i < n; i++) {
		struct ct_segment s = segment(0, ACK, 1, 2 + rnd(UINT32_MAX - 2), 0);
		assert_false(tap(0, &s));
	}
	assert_int_equal(ct_conn(&ct4, conn)->state, CT_SYN_RECV);
}

/* Both open at once (RFC 9293 figure 8). */
static void test_simultaneous(void **state)
{
	(void)state;
	isn[0] = 77;
	isn[1] = 0xfffffff0;
	fresh();
	assert_true(sends_syn(0, SYN, CT_SCALE + 2));
	assert_true(sends_syn(1, SYN, CT_SCALE + 2));
	assert_true(sends_syn(0, SYN | ACK, CT_SCALE + 2));
	assert_true(sends_syn(1, SYN | ACK, CT_SCALE + 2));
	assert_true(sends(0, ACK, 1, 1, 700));
	assert_true(sends(1, ACK, 1, 701, 100));
	assert_false(sends(1, ACK, 1, 702, 100));
	assert_int_equal(ct_conn(&ct4, conn)->state, CT_ESTABLISHED);
}

/* An opener that died and comes again, while the other end, but not the gateway, remembers its former life (RFC 9293 figure 9). */
static void test_half_open(void **state)
{
	(void)state;
	isn[0] = 5000;
	isn[1] = 90000;
	fresh();
	assert_true(sends_syn(0, SYN, CT_SCALE_NONE));
	struct ct_segment s = segment(1, ACK, 300, 0, 0);
	s.ack = s.sack = 123456;
	assert_true(tap(1, &s));
	assert_int_equal(ct_conn(&ct4, conn)->state, CT_SYN_SENT);
	s = segment(0, RST, 0, 0, 0);
	s.seq = 123457;
	assert_false(tap(0, &s));
	s.seq = 123456;
	assert_true(tap(0, &s));
}

/* The SYN comes again, with another number: the last one counts. */
static void test_syn_again(void **state)
{
	(void)state;
	isn[0] = 5000;
	isn[1] = 1;
	fresh();
	assert_true(sends_syn(0, SYN, CT_SCALE_NONE));
	assert_true(sends_syn(0, SYN, CT_SCALE_NONE));
	isn[0] = 3000000000;
	assert_true(sends_syn(0, SYN, CT_SCALE_NONE));
	isn[0] = 5000;
	assert_false(sends_syn(1, SYN | ACK, CT_SCALE_NONE));
	isn[0] = 3000000000;
	assert_true(sends_syn(1, SYN | ACK, CT_SCALE_NONE));
	assert_true(sends(0, ACK, 1, 1, 10));
}

/* Taken up in the middle, from either side, with data on their way and scales that nobody knows. */
static void test_picked(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
		isn[0] = starts[i];
		isn[1] = starts[i] + 100;
		fresh();
		assert_true(sends(0, ACK, 200000, 50000, 100));
		assert_true(sends(1, ACK, 49000, 100000, 1000)); /* acknowledges, sends again what is old */
		assert_true(sends(0, ACK, 200100, 90000, 100));  /* what was on its way before */
		assert_true(sends(1, ACK, 90000, 200200, 1000));
		assert_true(sends(0, ACK, 2000000, 91000, 100));
		/* no reset by guessing, in spite of the generous window */
		assert_false(sends(1, RST, 91000 + 200000, 0, 0));
		assert_false(sends(1, RST, 91000 - 200000, 0, 0));
		assert_true(sends(1, RST, 91000, 0, 0));
		/* one that was taken over from a crash: nothing is known of it but its state */
		fresh()->state = CT_ESTABLISHED;
		ct_window_begin(&ct4, conn, &(struct ct_segment){ .flags = SYN });
		memset((uint8_t *)ct4.windows.base + (size_t)conn * CACHE_LINE, 0, CACHE_LINE);
		assert_true(sends(1, ACK, 7000, 9000, 10));
		assert_true(sends(0, ACK, 9000, 7010, 10));
		assert_true(sends(1, ACK, 7010, 9010, 10));
	}
}

/* ---- two honest ends ---- */

enum { CHUNK = 800, WINDOW_CHUNKS = 48, QUEUE = 8, SHIFT = 3 };
struct end {
	uint32_t una, nxt, edge;  /* chunks: acknowledged, sent, may be sent */
	uint32_t rcv, right;      /* chunks: received, window announced */
	bool have[WINDOW_CHUNKS]; /* behind 'rcv' */
};
static struct end ends[2];
static struct flight {
	struct ct_segment s[QUEUE];
	unsigned n;
} before[2], behind[2]; /* the gateway, by direction */

static void fly(struct flight *f, const struct ct_segment *s)
{
	if (f->n < QUEUE && rnd(10))
		f->s[f->n++] = *s;
}

static bool land(struct flight *f, struct ct_segment *s)
{
	if (!f->n)
		return false;
	const unsigned i = rnd(MIN(f->n, 4u));
	*s = f->s[i];
	memmove(&f->s[i], &f->s[i + 1], (f->n - i - 1) * sizeof(*s));
	f->n--;
	return true;
}

static void transmit(unsigned d)
{
	struct end *e = &ends[d];
	uint32_t chunk = e->nxt, len = CHUNK, top = 0;
	const uint32_t kind = rnd(4), right = e->rcv + rnd(WINDOW_CHUNKS);
	if (kind == 0)
		len = 0;
	else if (kind == 1 && e->nxt != e->una)
		chunk = e->una + rnd(e->nxt - e->una);
	else if (e->nxt < e->edge)
		e->nxt++;
	else
		len = 0;
	e->right = MAX(e->right, right); /* an announced window is not taken back */
	struct ct_segment s = segment(d, ACK, 1 + chunk * CHUNK, 1 + e->rcv * CHUNK, len);
	s.win = (uint16_t)((e->right - e->rcv) * CHUNK >> SHIFT);
	for (unsigned i = 0; i < WINDOW_CHUNKS; i++)
		top = e->have[i] ? i + 1 : top;
	s.sack += top * CHUNK;
	fly(&before[d], &s);
}

static void receive(unsigned d, const struct ct_segment *s)
{
	struct end *e = &ends[!d];
	const uint32_t chunk = (s->seq - isn[d] - 1) / CHUNK, ack = (s->ack - isn[!d] - 1) / CHUNK;
	e->una = MAX(e->una, ack);
	e->edge = MAX(e->edge, ack + ((uint32_t)s->win << SHIFT) / CHUNK);
	if (s->len && chunk >= e->rcv && chunk < e->right)
		e->have[chunk - e->rcv] = true;
	while (e->have[0]) {
		memmove(e->have, e->have + 1, sizeof(e->have) - 1);
		e->have[WINDOW_CHUNKS - 1] = false;
		e->rcv++;
	}
}

static void test_honest(void **state)
{
	(void)state;
	struct ct_segment s;
	for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
		uint32_t acked[2] = { 0 }, late = 0;
		memset(ends, 0, sizeof(ends));
		memset(before, 0, sizeof(before));
		memset(behind, 0, sizeof(behind));
		opened(starts[i], CT_SCALE + SHIFT, CT_SCALE + SHIFT);
		for (unsigned n = 0; n < 50000; n++) {
			const unsigned d = rnd(2);
			transmit(d);
			if (rnd(4) && land(&before[d], &s)) {
				if (tap(d, &s)) {
					acked[!d] = MAX(acked[!d], s.ack - isn[!d]);
					fly(&behind[d], &s);
				} else if (s.seq - isn[d] + s.len > acked[d]) {
					fail_msg("step %u refused: %s", n, why);
				} else {
					late++; /* older than a window */
				}
			}
			if (rnd(4) && land(&behind[!d], &s))
				receive(!d, &s);
		}
		assert_true(ends[0].rcv > 500 && ends[1].rcv > 500);
		assert_in_range(late, 0, 100);
	}
}

static int open_strict(void **state)
{
	struct err e;
	conn = 0;
	ct_strict = true;
	int r = open_small(state);
	return r ? r : ct_window_open(&e);
}

static int close_strict(void **state)
{
	ct_strict = false;
	return close_all(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_edges, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_scale, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_sack, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_resets, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_blind, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_simultaneous, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_half_open, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_syn_again, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_picked, open_strict, close_strict),
		cmocka_unit_test_setup_teardown(test_honest, open_strict, close_strict),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
