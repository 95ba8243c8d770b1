/* SPDX-License-Identifier: BSD-2-Clause */
/* pkttext against frames written by hand, canonical texts there and back, and random damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/pkttext.h"
#include "fwd/base/net.h"

#define ETH "eth 02:00:00:00:00:09 > 02:00:00:00:00:01 | "

static uint32_t build(const char *text, uint8_t *frame)
{
	struct err e = { "" };
	int n = pkttext_parse(text, frame, &e);
	if (n < 0)
		fail_msg("%s: %s", text, e.text);
	return (uint32_t)n;
}

static void assert_frame(const char *text, const uint8_t *want, uint32_t len)
{
	uint8_t frame[PKTTEXT_FRAME_MAX];
	assert_int_equal(build(text, frame), len);
	assert_memory_equal(frame, want, len);
}

/* Sums worked out by hand. */
static void known_frames(void **state)
{
	(void)state;
	static const uint8_t ping[] = { 0x02, 0,    0,    0,    0,    0x01, 0x02, 0,    0,    0,    0,    0x09,
					0x08, 0x00, 0x45, 0x00, 0x00, 0x20, 0x00, 0x01, 0x40, 0x00, 0x40, 0x01,
					0x26, 0xda, 10,   0,    0,    1,    10,   0,    0,    2,    0x08, 0x00,
					0xb0, 0xf3, 0x45, 0x07, 0x00, 0x01, 0,    1,    2,    3 };
	assert_frame("ip 10.0.0.1 > 10.0.0.2 id=1 df | icmp echo id=17671 seq=1 | data 4", ping, sizeof(ping));
	static const uint8_t arp[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0,    0, 0,  0x0a, 0x08, 0x06,
				       0,    1,    8,    0,    6,    4,    0,    1, 0x02, 0, 0,  0,    0,    0x0a,
				       10,   0,    0,    1,    0,    0,    0,    0, 0,    0, 10, 0,    0,    2 };
	assert_frame("eth 02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff | arp request 10.0.0.1 > 10.0.0.2", arp, sizeof(arp));
}

static uint16_t sum4(const uint8_t *ip, uint8_t proto, uint32_t len)
{
	return csum_fold(csum_add(ip + 20, len, csum_pseudo(ip + 12, ip + 16, 4, proto, len)));
}

static void checksums_are_right(void **state)
{
	(void)state;
	uint8_t f[PKTTEXT_FRAME_MAX];
	uint32_t n = build("ip 10.0.0.1 > 10.0.0.2 | tcp 1 > 2 S opt=020405b4 | data 33", f);
	assert_int_equal(n, 14 + 20 + 24 + 33);
	assert_int_equal(f[14 + 20 + 12], 0x60);
	assert_int_equal(sum4(f + 14, PROTO_TCP, n - 34), 0xffff);
	n = build("ip 10.0.0.1 > 10.0.0.2 | udp 1 > 2 | data 33 | pad 5", f);
	assert_int_equal(rd16(f + 16), 20 + 8 + 33);
	assert_int_equal(rd16(f + 38), 8 + 33);
	assert_int_equal(sum4(f + 14, PROTO_UDP, 8 + 33), 0xffff);
	n = build("ip 2001:db8::1 > 2001:db8::2 | dstopts 16 | udp 1 > 2 csum=partial | data 8", f);
	assert_int_equal(n, 14 + 40 + 16 + 16);
	assert_int_equal(f[20], PROTO_DSTOPTS);
	assert_int_equal(f[54], PROTO_UDP);
	assert_int_equal(ld16(f + 14 + 40 + 16 + 6), csum_fold(csum_pseudo(f + 22, f + 38, 16, PROTO_UDP, 16)));
	n = build("ip 10.0.0.1 > 10.0.0.2 csum=0xbeef len=9 | hex 00", f);
	assert_int_equal(rd16(f + 24), 0xbeef);
	assert_int_equal(rd16(f + 16), 9);
	/* RFC 9260 appendix A's polynomial; the check value of CRC-32C */
	assert_int_equal(pkttext_crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
}

static void canonical_texts_come_back(void **state)
{
	(void)state;
	static const char *const texts[] = {
		ETH "ip 10.1.0.10 > 10.2.0.7 | tcp 40000 > 80 S seq=1",
		ETH "ip 10.1.0.10 > 10.2.0.7 ttl=9 tos=3 id=77 df | tcp 40000 > 80 PA seq=1 ack=2 win=9 opt=01010101 | "
		    "data 100",
		ETH "ip 10.1.0.10 > 10.2.0.7 | tcp 40000 > 80 csum=0x1234",
		ETH "ip 10.1.0.10 > 10.2.0.7 mf | udp 5 > 6 csum=partial | data 1000",
		ETH "ip 10.1.0.10 > 10.2.0.7 off=1008 proto=17 | data 100",
		ETH "ip 10.1.0.10 > 10.2.0.7 opt=94040000 | udp 5 > 6 csum=0",
		ETH "ip 10.1.0.10 > 10.2.0.7 len=1000 ihl=3 ver=5 csum=0x0000 | sctp 5 > 6 vtag=9",
		ETH "ip 10.1.0.10 > 10.2.0.7 | icmp echo id=7 seq=1 | data 8 | pad 10",
		ETH "ip 10.1.0.10 > 10.2.0.7 | icmp type=3 code=4 mtu=1400 | ip 10.2.0.7 > 10.1.0.10 df len=1500 | udp "
		    "5 > 6 len=1480",
		ETH "ip 10.1.0.10 > 10.2.0.7 | icmp type=11 | ip 10.2.0.7 > 10.1.0.10 | tcp 5 > 6 seq=7 | cut 8",
		ETH "ip 10.1.0.10 > 10.2.0.7 | icmp type=13 rest=0x00010002 code=3 | data 12",
		ETH "ip 2001:db8::1 > 2001:db8::2 hlim=3 tc=184 flow=5 | hopopts 16 | routing type=4 left=1 | frag mf "
		    "id=9 | udp 5 > 6",
		ETH "ip 2001:db8::1 > 2001:db8::2 | frag off=1232 id=9 nh=6 | data 40",
		ETH "ip 2001:db8::1 > 2001:db8::2 | icmp echo-reply id=7",
		ETH "ip 2001:db8::1 > 2001:db8::2 | icmp type=2 code=0 mtu=1280 | ip 2001:db8::2 > 2001:db8::1 | udp 5 "
		    "> 6 | data 50",
		ETH "ip 2001:db8::1 > ::ffff:1.2.3.4 plen=9 | udp 5 > 6",
		ETH "ns fe80::1 > 2001:db8::7 sll=02:00:00:00:00:09",
		ETH "ns :: > 2001:db8::7",
		ETH "na 2001:db8::7 > fe80::1 flags=3 tll=02:00:00:00:00:09",
		ETH "arp reply 10.1.0.1 > 10.1.0.10 sha=02:00:00:00:00:07 | pad 18",
		ETH "vlan 5 pcp=3 | ip 10.1.0.10 > 10.2.0.7 | udp 5 > 6",
		ETH "ip 192.0.2.1 > 192.0.2.2 | udp 50000 > 4789 csum=0 | vxlan vni=300 | eth 02:00:00:00:00:0a > "
		    "02:00:00:00:00:0b | "
		    "ip 10.1.0.10 > 10.2.0.7 | tcp 1 > 2 A csum=partial | data 9 | pad 3",
		"eth 02:00:00:00:00:09 > 02:00:00:00:00:01 type=0x1234 | hex 0102",
		"hex 02000000",
	};
	for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
		uint8_t f[PKTTEXT_FRAME_MAX];
		char text[PKTTEXT_MAX];
		uint32_t n = build(texts[i], f);
		assert_string_equal(pkttext_print(f, n, text), texts[i]);
	}
}

static void errors_name_the_word(void **state)
{
	(void)state;
	static const char *const texts[][2] = {
		{ "", "an empty layer" },
		{ "ip 10.0.0.1 > 10.0.0.2 |", "an empty layer" },
		{ "ipx 1 > 2", "'ipx' is no layer, but: eth vlan ip " },
		{ "ip 10.0.0.1 10.0.0.2", "ip: 'A > B' was expected" },
		{ "ip 10.0.0.256 > 10.0.0.2", "ip: '10.0.0.256' is not an IP address" },
		{ "ip 10.0.0.1 > 10.0.0.2 ttl=256", "ip: '256' is not a number from 0 to 255" },
		{ "ip 10.0.0.1 > 10.0.0.2 off=7", "off=7 is no multiple of 8" },
		{ "ip 10.0.0.1 > 10.0.0.2 | tcp 1 > 2 XY", "tcp: 'XY' are no flags" },
		{ "ip 10.0.0.1 > 10.0.0.2 | tcp 1 > 65536", "tcp: '65536' is not a number" },
		{ "ip 10.0.0.1 > 10.0.0.2 | udp 1 > 2 seq=4", "udp: 'seq=4' is not known here" },
		{ "ip 10.0.0.1 > 10.0.0.2 | icmp", "icmp: 'echo', 'echo-reply' or 'type=N' was expected" },
		{ "ip 10.0.0.1 > 10.0.0.2 | data 16380", "longer than 16384 bytes" },
		{ "eth 02:00 > 02:00:00:00:00:01", "'02:00' is not a MAC address" },
		{ "ip 10.0.0.1 > 10.0.0.2 | hex 123", "even number of hex digits" },
		{ "ip 10.0.0.1 > 10.0.0.2 | hex 12 | cut 9", "the layer in front has no 9 bytes" },
	};
	for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
		uint8_t f[PKTTEXT_FRAME_MAX];
		struct err e = { "" };
		assert_int_equal(pkttext_parse(texts[i][0], f, &e), -22);
		if (!strstr(e.text, texts[i][1]))
			fail_msg("'%s': '%s' has no '%s'", texts[i][0], e.text, texts[i][1]);
	}
}

/* Whatever damage does to a frame, its text gives the same bytes. */
static void damaged_frames_come_back(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"ip 10.1.0.10 > 10.2.0.7 opt=94040000 | tcp 40000 > 80 S opt=020405b4 | data 20",
		"ip 2001:db8::1 > 2001:db8::2 | dstopts | frag id=4 | udp 5 > 6 | data 30",
		"ip 192.0.2.1 > 192.0.2.2 | udp 50000 > 8472 | vxlan vni=300 | eth 02:00:00:00:00:0a > "
		"02:00:00:00:00:0b | "
		"ip 10.1.0.10 > 10.2.0.7 | icmp type=3 code=1 | ip 10.2.0.7 > 10.1.0.10 | tcp 5 > 6 seq=7 | cut 8",
		"ns fe80::1 > 2001:db8::7 sll=02:00:00:00:00:09",
		"vlan 7 | arp reply 10.1.0.1 > 10.1.0.10 | pad 18",
	};
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t f[PKTTEXT_FRAME_MAX], back[PKTTEXT_FRAME_MAX];
		char text[PKTTEXT_MAX];
		uint32_t n = build(texts[i % ARRAY_LEN(texts)], f);
		if (i % 3 == 0)
			n = 1 + (uint32_t)rand() % n;
		for (int k = rand() % 4; k > 0; k--)
			f[(uint32_t)rand() % n] = (uint8_t)(rand() >> 8);
		pkttext_print(f, n, text);
		if (pkttext_parse(text, back, NULL) != (int)n || memcmp(f, back, n) != 0)
			fail_msg("other bytes from: %s", text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_frames),
		cmocka_unit_test(checksums_are_right),
		cmocka_unit_test(canonical_texts_come_back),
		cmocka_unit_test(errors_name_the_word),
		cmocka_unit_test(damaged_frames_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
