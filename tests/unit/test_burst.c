/* SPDX-License-Identifier: BSD-2-Clause */
/* Replay against decision: what a burst sends by its records must be, byte for byte and in order, what deciding each packet
 * anew would send. Random damage to packets of established connections, one at a time and in full bursts; and every value of
 * a checksum. Under ASan also: nothing is read behind a frame's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/pkttext.h"
#include "tables/gen.h"
#include "tests/support/check.h"
#include "tests/support/fixed.h"

enum { ROUNDS = 100000, BURSTS = 1000, BURST = 64, FLOWS_MAX = 48, OUT_MAX = 2 * BURST };

#define EP10 "eth 02:e1:00:00:00:0a > 02:00:00:00:0a:0a | "
#define EP11 "eth 02:e1:00:00:00:0b > 02:00:00:00:0a:0b | "
#define UP "eth 02:00:00:00:00:09 > 02:00:00:00:10:02 | "
#define IN4 UP "ip 192.0.2.2 > 192.0.2.1 | udp 50000 > 8472 | vxlan vni=2001 | "
#define IN6 UP "ip 2001:db8:f::2 > 2001:db8:f::1 | udp 50000 > 4789 | vxlan vni=300 | "
static const struct {
	int port;
	const char *text;
} texts[] = {
	{ FIXED_GATE, EP10 "ip 10.1.0.10 > 9.9.9.9 | " },
	{ FIXED_GATE, EP10 "ip 2001:db8:1::10 > 2001:db8:99::1 | " },
	{ FIXED_GATE, EP10 "ip 10.1.0.10 > 10.2.0.7 | " },
	{ FIXED_GATE, EP10 "ip 10.1.0.10 > 10.3.0.7 | " },
	{ FIXED_GATE, EP10 "ip 2001:db8:1::10 > 2001:db8:2::7 | " },
	{ FIXED_GATE, EP10 "ip 10.1.0.10 > 10.1.0.11 | " },
	{ FIXED_GATE, EP11 "ip 2001:db8:1::11 > 2001:db8:1::10 | " },
	{ FIXED_UP0, UP "ip 9.9.9.9 > 203.0.113.7 | " },
	{ FIXED_UP0, IN4 "eth 02:00:00:00:00:05 > 02:00:00:00:00:06 | ip 10.2.0.8 > 10.1.0.11 | " },
	{ FIXED_UP0, IN4 "eth 02:00:00:00:00:05 > 02:00:00:00:00:06 | ip 2001:db8:2::8 > 2001:db8:1::11 | " },
	{ FIXED_UP0, IN6 "eth 02:00:00:00:00:05 > 02:00:00:00:00:06 | ip 10.3.0.8 > 10.1.0.11 | " },
};

static struct flow {
	struct port *port;
	uint32_t len, l3, replayed; /* l3: of the innermost IP packet */
	uint8_t frame[BOX_FRAME_MAX];
} flows[FLOWS_MAX];
static unsigned n_flows;

struct sent {
	unsigned n;
	struct {
		uint32_t port, len;
		uint8_t frame[BOX_FRAME_MAX];
	} out[OUT_MAX];
};
static struct sent by_record, by_decision;

static uint32_t dice(uint32_t n)
{
	return (uint32_t)(rand() >> 4) % n;
}

static bool is6(const uint8_t *l3)
{
	return l3[0] >> 4 == 6;
}

static uint8_t *l4_of(uint8_t *l3)
{
	return l3 + (is6(l3) ? IP6_HLEN : IP4_HLEN);
}

static unsigned proto_of(const uint8_t *l3)
{
	return is6(l3) ? l3[6] : l3[9];
}

static void take_all(struct sent *s)
{
	s->n = 0;
	for (unsigned p = 0; p < FIXED_PORTS; p++)
		for (uint32_t len; s->n < OUT_MAX && (len = box_take(fixed_ports[p], s->out[s->n].frame)); s->n++) {
			s->out[s->n].port = p;
			s->out[s->n].len = len;
		}
}

static void must_be_balanced(void)
{
	struct err e = { "" };
	if (!box_balanced(&e))
		fail_msg("%s", e.text);
}

static void must_be_equal(const uint8_t *in, uint32_t len)
{
	char text[2][PKTTEXT_MAX], *what = text[0];
	if (in)
		print_error("in:       %s\n", pkttext_print(in, len, what));
	for (unsigned i = 0; i < MAX(by_record.n, by_decision.n); i++) {
		const bool both = i < by_record.n && i < by_decision.n;
		if (both && by_record.out[i].port == by_decision.out[i].port &&
		    by_record.out[i].len == by_decision.out[i].len &&
		    !memcmp(by_record.out[i].frame, by_decision.out[i].frame, by_record.out[i].len))
			continue;
		fail_msg("frame %u of %u, %u\n  replayed: %s\n  decided:  %s", i, by_record.n, by_decision.n,
			 i < by_record.n ? pkttext_print(by_record.out[i].frame, by_record.out[i].len, text[0])
					 : "none",
			 i < by_decision.n ? pkttext_print(by_decision.out[i].frame, by_decision.out[i].len, text[1])
					   : "none");
	}
}

/* ---- connections ---- */
static struct flow *add_flow(int port, const uint8_t *frame, uint32_t len, bool inner)
{
	struct flow *f = &flows[n_flows++];
	assert_true(n_flows <= FLOWS_MAX);
	f->port = fixed_ports[port];
	f->len = len;
	memcpy(f->frame, frame, len);
	f->l3 = ETH_HLEN_;
	if (inner)
		f->l3 += (is6(frame + ETH_HLEN_) ? IP6_HLEN : IP4_HLEN) + UDP_HLEN + VXLAN_HLEN + ETH_HLEN_;
	return f;
}

/* The other direction of a masqueraded connection: what left, turned round. */
static void add_reply(const uint8_t *out, uint32_t len)
{
	uint8_t f[BOX_FRAME_MAX], *l3 = f + ETH_HLEN_, *l4;
	memcpy(f, out, len);
	memcpy(f, out + 6, 6);
	memcpy(f + 6, out, 6);
	l4 = l4_of(l3);
	const unsigned n = is6(l3) ? 16 : 4, at = is6(l3) ? 8 : 12;
	memcpy(l3 + at, out + ETH_HLEN_ + at + n, n);
	memcpy(l3 + at + n, out + ETH_HLEN_ + at, n);
	memcpy(l4, out + (l4 - f) + 2, 2);
	memcpy(l4 + 2, out + (l4 - f), 2);
	add_flow(FIXED_UP0, f, len, false);
}

static int setup(void **state)
{
	(void)state;
	fixed_open();
	ports[PORT_GATE]->rx_csum = PKT_CSUM_MAYBE_PARTIAL; /* as the real one */
	struct err e = { "" };
	for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
		for (unsigned udp = 0; udp < 2; udp++) {
			char text[512];
			uint8_t f[PKTTEXT_FRAME_MAX];
			snprintf(text, sizeof(text), "%s%s | data %u", texts[i].text,
				 udp ? "udp 41000 > 53" : "tcp 42000 > 443 A seq=9 ack=7", 21 + i);
			int n = pkttext_parse(text, f, &e);
			if (n < 0)
				fail_msg("%s: %s", text, e.text);
			struct flow *fl = add_flow(texts[i].port, f, (uint32_t)n, strstr(text, "vxlan"));
			assert_int_equal(box_send(fl->port, fl->frame, fl->len), 0);
			box_run();
			take_all(&by_decision);
			if (by_decision.n != 1)
				fail_msg("%s: %u frames left", text, by_decision.n);
			if (i < 2)
				add_reply(by_decision.out[0].frame, by_decision.out[0].len);
		}
	return 0;
}

/* ---- damage ---- */
static uint16_t odd_value(void)
{
	static const uint16_t v[] = { 0,  1,  7,  8,  9,      19,     20,    27,    28,   39,
				      40, 41, 47, 48, 0x7fff, 0x8000, 65495, 65496, 65535 };
	return dice(3) ? v[dice(ARRAY_LEN(v))] : (uint16_t)rand();
}

static void damage_csum(uint8_t *l3)
{
	const bool v6 = is6(l3), tcp = proto_of(l3) == PROTO_TCP;
	uint8_t *l4 = l4_of(l3), *field = l4 + (tcp ? 16 : 6);
	const uint32_t len = tcp ? (v6 ? rd16(l3 + 4) : rd16(l3 + 2) - IP4_HLEN) : rd16(l4 + 4);
	switch (dice(4)) {
	case 0:
		st16(field, 0);
		break;
	case 1:
		st16(field, 0xffff);
		break;
	case 2: /* as a veth hands it over */
		st16(field, csum_fold(csum_pseudo(l3 + (v6 ? 8 : 12), l3 + (v6 ? 24 : 16), v6 ? 16 : 4,
						  (uint8_t)proto_of(l3), len)));
		break;
	default:
		st16(field, (uint16_t)rand());
	}
}

static void damage_tcp_flags(uint8_t *l4, bool alone)
{
	static const uint8_t harmless[] = { 0x10, 0x18, 0x30, 0xd0, 0x00, 0x50 };
	/* no FIN: a finished connection is never replayed again */
	l4[13] = alone ? (uint8_t)(rand() & 0xfe) : harmless[dice(ARRAY_LEN(harmless))];
}

/* One change to 'f'. 'alone': also what changes a connection's state or is answered. */
static void damage(const struct flow *fl, uint8_t *f, uint32_t *n, bool alone)
{
	uint8_t *outer = f + ETH_HLEN_, *l3 = fl->l3 != ETH_HLEN_ && dice(4) == 0 ? outer : f + fl->l3, *l4 = l4_of(l3);
	const bool v6 = is6(l3), tcp = proto_of(l3) == PROTO_TCP;
	switch (dice(12)) {
	case 0:
		damage_csum(l3);
		break;
	case 1:
		if (tcp)
			l4[12] = (uint8_t)rand();
		else
			wr16(l4 + 4, odd_value());
		break;
	case 2:
		wr16(l3 + (v6 ? 4 : 2), odd_value());
		break;
	case 3:
		*n = dice(2) ? dice(*n + 1) : MIN(*n, 40 + dice(16) + (uint32_t)(l3 - outer));
		break;
	case 4:
		l3[0] = (uint8_t)(dice(2) ? l3[0] ^ (1 << dice(8)) : rand());
		break;
	case 5:
		if (v6)
			l3[1] = (uint8_t)rand();
		else
			l3[6] = (uint8_t)(dice(4) << 6); /* reserved bit, DF; fragments have state */
		break;
	case 6:
		if (v6)
			wr16(l3, (uint16_t)(0x6000 | dice(0x1000)));
		else
			l3[1] = (uint8_t)rand();
		break;
	case 7:
		if (tcp)
			damage_tcp_flags(l4, alone);
		break;
	case 8:
		l3[v6 ? 7 : 8] = (uint8_t)(alone ? dice(4) : 2 + dice(254));
		break;
	case 9:
		if (fl->l3 != ETH_HLEN_)
			f[fl->l3 - ETH_HLEN_ - VXLAN_HLEN + dice(VXLAN_HLEN)] = (uint8_t)rand();
		break;
	case 10:
		if (fl->port != ports[PORT_GATE])
			f[fl->l3 - ETH_HLEN_] ^= (uint8_t)dice(2);
		break;
	default: /* bytes behind the packet */
		memset(f + *n, 0, 18);
		*n += dice(19);
	}
}

static uint32_t random_frame(const struct flow *fl, uint8_t *f, bool alone)
{
	uint32_t n = fl->len;
	memset(f, 0, BOX_FRAME_MAX);
	memcpy(f, fl->frame, n);
	for (unsigned i = dice(4); i; i--)
		damage(fl, f, &n, alone);
	if (dice(16))
		repair_ip_csum(f, n);
	return n;
}

/* ---- tests ---- */
static void one_at_a_time(void **state)
{
	(void)state;
	static uint8_t f[BOX_FRAME_MAX];
	srand(4);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct flow *fl = &flows[dice(n_flows)];
		const uint32_t n = random_frame(fl, f, true);
		assert_int_equal(box_send(fl->port, fl->frame, fl->len), 0);
		take_all(&by_record);
		const uint64_t replayed = workers[0]->replayed, decided = workers[0]->decided;
		assert_int_equal(box_send(fl->port, f, n), 0);
		take_all(&by_record);
		must_be_balanced();
		assert_int_equal(workers[0]->replayed - replayed + workers[0]->decided - decided, 1);
		if (workers[0]->replayed == replayed)
			continue;
		fl->replayed++;
		gen_bump_extra();
		assert_int_equal(box_send(fl->port, f, n), 0);
		assert_int_equal(workers[0]->decided, decided + 1);
		take_all(&by_decision);
		assert_int_equal(by_record.n, 1);
		if (by_decision.n != 1 || memcmp(&by_record.out[0], &by_decision.out[0], 8 + by_record.out[0].len) != 0)
			must_be_equal(f, n);
	}
	for (unsigned i = 0; i < n_flows; i++)
		if (flows[i].replayed < ROUNDS / n_flows / 4)
			fail_msg("flow %u was replayed %u times", i, flows[i].replayed);
}

static void full_bursts(void **state)
{
	(void)state;
	static uint8_t f[BURST][BOX_FRAME_MAX];
	static uint32_t len[BURST];
	uint64_t replayed = workers[0]->replayed, decided;
	srand(5);
	for (unsigned i = 0; i < BURSTS; i++) {
		struct port *p = fixed_ports[dice(2) ? FIXED_GATE : FIXED_UP0];
		for (unsigned k = 0; k < BURST; k++) {
			const struct flow *fl = &flows[dice(n_flows)];
			while (fl->port != p)
				fl = &flows[dice(n_flows)];
			len[k] = random_frame(fl, f[k], false);
			assert_int_equal(mem_port_put(p, 0, f[k], len[k]), 0);
		}
		worker_run_once(workers[0]);
		take_all(&by_record);
		decided = workers[0]->decided;
		for (unsigned k = 0; k < BURST; k++) {
			gen_bump_extra();
			assert_int_equal(box_send(p, f[k], len[k]), 0);
		}
		assert_int_equal(workers[0]->decided, decided + BURST);
		take_all(&by_decision);
		must_be_equal(NULL, 0);
		must_be_balanced();
	}
	assert_true(workers[0]->replayed - replayed > BURSTS * BURST / 8);
}

/* Whatever the checksum was, right or wrong, it is right or wrong by as much afterwards, and UDP's 0 means none. */
static void every_checksum(void **state)
{
	(void)state;
	static uint8_t f[BOX_FRAME_MAX];
	for (unsigned i = 0; i < 6; i++) { /* masqueraded: both directions */
		const struct flow *fl = &flows[i];
		const uint8_t *out = by_record.out[0].frame;
		ports[PORT_GATE]->rx_csum = PKT_CSUM_UNKNOWN;
		memcpy(f, fl->frame, fl->len);
		uint8_t *l3 = f + ETH_HLEN_, *field = l4_of(l3) + (proto_of(l3) == PROTO_TCP ? 16 : 6);
		const bool udp = proto_of(l3) == PROTO_UDP;
		const uint16_t right = ld16(field);
		uint16_t right_out = 0;
		assert_int_equal(box_send(fl->port, f, fl->len), 0);
		for (uint32_t c = 0; c < 0x10000; c++) {
			const uint16_t have = (uint16_t)(right + c);
			st16(field, have);
			assert_int_equal(box_send(fl->port, f, fl->len), 0);
			take_all(&by_record);
			const uint16_t got = ld16(out + (field - f));
			if (c == 0)
				right_out = got;
			if (udp && have == 0) {
				assert_int_equal(got, 0);
				continue;
			}
			assert_true(!udp || got);
			assert_int_equal(csum_fold((uint64_t)have + (uint16_t)~right) % 0xffff,
					 csum_fold((uint64_t)got + (uint16_t)~right_out) % 0xffff);
			assert_true(c || !(check_frame(out, by_record.out[0].len) & FRAME_L4_CSUM));
		}
	}
	ports[PORT_GATE]->rx_csum = PKT_CSUM_MAYBE_PARTIAL;
}

static int teardown(void **state)
{
	(void)state;
	struct err e = { "" };
	fixed_clear();
	if (box_close(&e))
		return 0;
	print_error("%s\n", e.text);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(full_bursts),
		cmocka_unit_test(every_checksum),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
