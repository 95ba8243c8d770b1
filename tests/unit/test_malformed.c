/* SPDX-License-Identifier: BSD-2-Clause */
/* Damaged frames of every protocol through gate, uplink and tunnels: each is counted exactly once, forwarded, answered or
 * dropped for one reason; what is cut below its own lengths never goes on; nothing ill-formed ever leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/pkttext.h"
#include "fwd/gate.h"
#include "tests/support/check.h"
#include "tests/support/fixed.h"

enum { PER_PROTOCOL = 1000 };

#define V4 "ip 10.1.0.10 > 10.1.0.11 id=7 | "
#define V6 "ip 2001:db8:1::10 > 2001:db8:1::11 | "
#define IN4 "ip 198.51.100.77 > 203.0.113.7 | "
#define TUN4                                                                                                           \
	"ip 192.0.2.2 > 192.0.2.1 | udp 50000 > 8472 csum=0 | vxlan vni=2001 | "                                       \
	"eth 02:00:00:00:00:22 > 02:e9:00:00:00:01 | "
#define TUN6                                                                                                           \
	"ip 2001:db8:f::2 > 2001:db8:f::1 | udp 50000 > 4789 | vxlan vni=300 | "                                       \
	"eth 02:00:00:00:03:07 > 02:e9:00:00:00:01 | "

static const struct {
	unsigned port; /* FIXED_* */
	const char *text;
} protocols[] = {
	{ FIXED_GATE, V4 "tcp 40000 > 80 S seq=1 opt=020405b4 | data 20" },
	{ FIXED_GATE, V4 "udp 5000 > 53 | data 30" },
	{ FIXED_GATE, V4 "sctp 5000 > 6000 | data 16" },
	{ FIXED_GATE, V4 "icmp echo id=7 | data 16" },
	{ FIXED_GATE, V4 "icmp type=3 code=4 mtu=1400 | ip 10.1.0.11 > 10.1.0.10 | udp 7 > 9 | data 8" },
	{ FIXED_GATE, "ip 10.1.0.10 > 10.1.0.11 opt=0101010101010100 | udp 5000 > 53 | data 30" },
	{ FIXED_GATE, "ip 10.1.0.10 > 10.1.0.11 off=64 mf proto=17 | data 64" },
	{ FIXED_GATE, V6 "tcp 40000 > 80 S seq=1 opt=020405b4 | data 20" },
	{ FIXED_GATE, V6 "udp 5000 > 53 | data 30" },
	{ FIXED_GATE, V6 "icmp echo id=7 | data 16" },
	{ FIXED_GATE, V6 "icmp type=2 mtu=1300 | ip 2001:db8:1::11 > 2001:db8:1::10 | tcp 7 > 9 A | data 8" },
	{ FIXED_GATE, V6 "hopopts 16 | routing 24 type=4 | dstopts | udp 5000 > 53 | data 8" },
	{ FIXED_GATE, V6 "frag mf id=4 | udp 5000 > 53 | data 32" },
	{ FIXED_GATE, "arp request 10.1.0.10 > 10.1.0.1 sha=02:00:00:00:0a:0a" },
	{ FIXED_GATE, "ns 2001:db8:1::10 > 2001:db8:1::1 sll=02:00:00:00:0a:0a" },
	{ FIXED_UP0, "vlan 5 | " IN4 "udp 5000 > 53 | data 8" },
	{ FIXED_UP0, IN4 "tcp 40000 > 80 S | data 20" },
	{ FIXED_UP0, IN4 "udp 5000 > 53 | data 30" },
	{ FIXED_UP1, IN4 "udp 5000 > 53 csum=partial | data 30" },
	{ FIXED_UP0, "ip 203.0.113.9 > 198.51.100.1 | udp 53 > 40000 | data 30" },
	{ FIXED_UP0, "ip 203.0.113.9 > 198.51.100.1 | icmp type=11 | ip 198.51.100.1 > 203.0.113.9 | tcp 40000 > 80 "
		     "seq=1 | cut 8" },
	{ FIXED_UP0, "arp request 192.0.2.254 > 198.51.100.1" },
	{ FIXED_UP0, "ns 2001:db8:f::ff > 2001:db8:a::1" },
	{ FIXED_UP0, TUN4 "ip 10.2.0.7 > 10.1.0.10 | tcp 80 > 40000 S | data 20" },
	{ FIXED_UP0, TUN4 "ip 10.2.0.7 > 10.1.0.11 tos=2 | udp 80 > 40000 | data 20" },
	{ FIXED_UP0, TUN4 "ip 2001:db8:2::7 > 2001:db8:1::10 | dstopts | icmp echo id=5 | data 20" },
	{ FIXED_UP0, TUN6 "ip 10.3.0.7 > 10.1.0.10 | udp 80 > 40000 | data 20" },
	{ FIXED_UP0, TUN6 "ip 2001:db8:3::7 > 2001:db8:1::10 | tcp 80 > 40000 S | data 20" },
	{ FIXED_UP0, TUN6 "arp request 10.3.0.7 > 10.1.0.10" },
	{ FIXED_UP0, TUN6 "ns 2001:db8:3::7 > 2001:db8:1::10 sll=02:00:00:00:03:07" },
	{ FIXED_UP0, TUN6 "na 2001:db8:3::7 > fe80::e9:ff:fe00:1 flags=3 tll=02:00:00:00:03:07" },
};

struct sums {
	uint64_t rx, control_rx, tx, dropped, held;
};

static struct sums sums_now(void)
{
	struct sums s = { .control_rx = workers_port(PORT_CONTROL).rx.packets, .dropped = box_drops() };
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		struct port_counter c = workers_port(i);
		s.rx += i == PORT_CONTROL ? 0 : c.rx.packets;
		s.tx += c.tx.packets;
		s.held += c.held;
	}
	return s;
}

static uint32_t build(unsigned i, uint8_t *frame)
{
	struct err e = { "" };
	int n = pkttext_parse(protocols[i].text, frame, &e);
	if (n < 0)
		fail_msg("%s: %s", protocols[i].text, e.text);
	if (protocols[i].port == FIXED_GATE) {
		struct mac stamp = gate_stamp(GATE_ENDPOINT, 10), mac = { { 2, 0, 0, 0, 0x0a, 0x0a } };
		memcpy(frame, mac.b, 6);
		memcpy(frame + 6, stamp.b, 6);
	}
	return (uint32_t)n;
}

/* Sends it; true when it went on (or waits, or was answered in place), false when it was dropped. */
static bool goes_on(unsigned i, const uint8_t *frame, uint32_t n)
{
	char text[PKTTEXT_MAX];
	uint8_t out[BOX_FRAME_MAX];
	struct err e;
	struct sums a = sums_now();
	assert_int_equal(box_send(fixed_ports[protocols[i].port], frame, n), 0);
	struct sums b = sums_now();
	uint64_t dropped = b.dropped - a.dropped, went = b.tx - a.tx + b.held - a.held,
		 made = b.control_rx - a.control_rx;
	/* a fragment may end the wait of others of its datagram */
	uint64_t released = b.held < a.held ? a.held - b.held : 0;
	if (b.rx - a.rx != 1 || dropped > 1 + released || went + dropped != 1 + made)
		fail_msg("rx %lu, dropped %lu, sent or held %lu, made %lu: %s", b.rx - a.rx, dropped, went, made,
			 pkttext_print(frame, n, text));
	if (!box_balanced(&e))
		fail_msg("%s: %s", e.text, pkttext_print(frame, n, text));
	for (unsigned p = 0; p < FIXED_PORTS; p++)
		for (uint32_t len; (len = box_take(fixed_ports[p], out));)
			if (check_frame(out, len) & (FRAME_SHORT | FRAME_IP_CSUM)) {
				fprintf(stderr, "in: %s\n", pkttext_print(frame, n, text));
				fail_msg("ill-formed: %s", pkttext_print(out, len, text));
			}
	return !dropped;
}

static void whole_frames_are_taken(void **state)
{
	(void)state;
	unsigned on = 0;
	for (unsigned i = 0; i < ARRAY_LEN(protocols); i++) {
		uint8_t f[PKTTEXT_FRAME_MAX];
		uint32_t n = build(i, f);
		on += goes_on(i, f, n);
		fixed_clear();
	}
	/* VLAN, two fragments, four errors about nothing, two to unknown mappings: the rest lives */
	assert_true(on >= 20);
}

/* At every length; most have fewer than 1,000 bytes, so lengths are all met, in frames that are new and that are known. */
static void cut_frames_never_go_on(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(protocols); i++) {
		uint8_t f[PKTTEXT_FRAME_MAX];
		uint32_t n = build(i, f);
		for (unsigned round = 0; round < PER_PROTOCOL / n + 1; round++) {
			if (round & 1)
				goes_on(i, f, n); /* now there is a record that could be replayed */
			for (uint32_t len = 0; len < n; len++)
				if (goes_on(i, f, len))
					fail_msg("%u bytes of %u went on: %s", len, n, protocols[i].text);
			fixed_clear();
		}
	}
}

static uint32_t dice(uint32_t n)
{
	return (uint32_t)(rand() >> 4) % n;
}

static void flipped_bits(void **state)
{
	(void)state;
	srand(1);
	for (unsigned i = 0; i < ARRAY_LEN(protocols); i++)
		for (unsigned k = 0; k < PER_PROTOCOL; k++) {
			uint8_t f[PKTTEXT_FRAME_MAX];
			uint32_t n = build(i, f);
			for (uint32_t flips = 1 + dice(4); flips; flips--)
				f[dice(n)] ^= (uint8_t)(1u << dice(8));
			if (k & 1)
				repair_ip_csum(f, n);
			bool on = goes_on(i, f, n);
			if (on && check_frame(f, n) & (FRAME_SHORT | FRAME_IP_CSUM))
				fail_msg("went on: %s", protocols[i].text);
			if (k % 16 == 0)
				fixed_clear();
		}
}

/* Length fields of any value: IPv4 total and header length, IPv6 payload, UDP, TCP data offset, extension headers. */
static void random_lengths(void **state)
{
	(void)state;
	srand(2);
	for (unsigned i = 0; i < ARRAY_LEN(protocols); i++)
		for (unsigned k = 0; k < PER_PROTOCOL; k++) {
			static const uint8_t at[] = { 14, 16, 17, 18, 19, 38, 39, 46, 55, 58,
						      59, 66, 63, 71, 79, 78, 81, 82, 83 };
			uint8_t f[PKTTEXT_FRAME_MAX];
			uint32_t n = build(i, f);
			for (uint32_t changes = 1 + dice(3); changes; changes--) {
				uint32_t where = at[dice(ARRAY_LEN(at))];
				if (where < n)
					f[where] = dice(2) ? (uint8_t)rand() : (uint8_t)(f[where] + dice(9) - 4);
			}
			repair_ip_csum(f, n);
			bool on = goes_on(i, f, n);
			if (on && check_frame(f, n) & (FRAME_SHORT | FRAME_IP_CSUM))
				fail_msg("went on: %s", protocols[i].text);
			if (k % 16 == 0)
				fixed_clear();
		}
}

static void noise(void **state)
{
	(void)state;
	srand(3);
	for (unsigned k = 0; k < 10 * PER_PROTOCOL; k++) {
		uint8_t f[256];
		uint32_t n = dice(sizeof(f) + 1), i = dice(ARRAY_LEN(protocols));
		for (uint32_t b = 0; b < n; b++)
			f[b] = (uint8_t)(rand() >> 7);
		if (n > 14 && dice(2)) {
			f[12] = dice(2) ? 0x08 : 0x86;
			f[13] = f[12] == 0x08 ? 0 : 0xdd;
			f[14] = f[12] == 0x08 ? 0x45 : 0x60;
			repair_ip_csum(f, n);
		}
		goes_on(i, f, n);
	}
	fixed_clear();
}

static int setup(void **state)
{
	(void)state;
	fixed_open();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	struct err e;
	fixed_clear();
	if (box_close(&e))
		return 0;
	print_error("%s\n", e.text);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_frames_are_taken),
		cmocka_unit_test(cut_frames_never_go_on),
		cmocka_unit_test(flipped_bits),
		cmocka_unit_test(random_lengths),
		cmocka_unit_test(noise),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
