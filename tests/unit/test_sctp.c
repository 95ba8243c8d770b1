/* SPDX-License-Identifier: BSD-2-Clause */
/* SCTP: the checksum against known values and a naive one, what chunks mean, what a veth leaves unfinished. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/pkttext.h"
#include "fwd/parse.h"
#include "fwd/sctp.h"

static uint32_t checksum(const uint8_t *l4, uint32_t len)
{
	uint8_t copy[2048];
	memcpy(copy, l4, len);
	memset(copy + 8, 0, 4);
	return pkttext_crc32c(copy, len);
}

/* RFC 3720 B.4 (iSCSI has the same CRC), with the checksum's own place counted as zeroes: the header's first bytes differ, so
 * the naive one is held to them, and ours to the naive one. */
static void test_known(void **state)
{
	uint8_t b[48];
	(void)state;
	memset(b, 0, 32);
	assert_int_equal(pkttext_crc32c(b, 32), 0x8a9136aa);
	sctp_finish(b, 32);
	assert_int_equal(ld32(b + 8), 0x8a9136aa);
	assert_int_equal(b[8], 0xaa); /* RFC 9260 appendix A: low byte first */
	memset(b, 0xff, 32);
	assert_int_equal(pkttext_crc32c(b, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(pkttext_crc32c(b, 32), 0x46dd794e);
	assert_int_equal(pkttext_crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
}

/* Whatever the length: right stays right, wrong stays wrong by the same bits, and back again is as it was. */
static void test_ports(void **state)
{
	uint8_t b[1600], was[1600];
	(void)state;
	srandom(1);
	for (unsigned n = 0; n < 2000; n++) {
		const uint32_t len = SCTP_HLEN + (n < 64 ? n : (uint32_t)random() % 1500);
		const uint32_t error = n % 3 ? 0 : (uint32_t)random();
		const be16 sport = (be16)random(), dport = n % 2 ? (be16)random() : ld16(b + 2);
		for (unsigned i = 0; i < len; i++)
			b[i] = (uint8_t)random();
		sctp_finish(b, len);
		assert_int_equal(ld32(b + 8), checksum(b, len));
		st32(b + 8, ld32(b + 8) ^ error);
		memcpy(was, b, len);
		sctp_set_ports(b, len, sport, dport);
		assert_int_equal(ld16(b), sport);
		assert_int_equal(ld16(b + 2), dport);
		assert_memory_equal(b + SCTP_HLEN, was + SCTP_HLEN, len - SCTP_HLEN);
		assert_int_equal(ld32(b + 8) ^ checksum(b, len), error);
		sctp_set_ports(b, len, ld16(was), ld16(was + 2));
		assert_memory_equal(b, was, len);
	}
}

static void test_chunks(void **state)
{
	static const struct {
		const char *chunks;
		uint8_t flags;
	} rows[] = {
		{ "", 0x10 },
		{ "hex 01000004", 0x02 },
		{ "hex 02000004", 0x12 },
		{ "hex 0a00000561000000", 0x10 },
		{ "hex 0a0000056100000007000004", 0x11 }, /* padded to four bytes */
		{ "hex 08000004", 0x11 },
		{ "hex 0e000004", 0x10 },
		{ "hex 06000004", 0x04 },
		{ "hex 0300000406000004", 0x04 },
		{ "hex 0000000006000004", 0x10 }, /* a length that cannot be */
		{ "hex 0000000306000004", 0x10 },
		{ "hex 0000ffff06000004", 0x10 },
		{ "hex 060000", 0x10 },
	};
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		uint8_t f[256];
		char text[128];
		struct err e;
		snprintf(text, sizeof(text), "ip 10.0.0.1 > 10.0.0.2 | sctp 1 > 2%s%s", *rows[n].chunks ? " | " : "",
			 rows[n].chunks);
		int len = pkttext_parse(text, f, &e);
		assert_true(len > 0);
		struct pkt p = { .data = f, .len = (uint32_t)len };
		assert_int_equal(parse_frame(&p), DROP_NONE);
		assert_int_equal(p.tcp_flags, rows[n].flags);
	}
}

static void test_tags(void **state)
{
	static const struct {
		const char *chunks;
		uint32_t initiate;
		uint8_t kind;
	} rows[] = {
		{ "", 0, CT_TAG_OTHER },
		{ "hex 0100001400000007", 7, CT_TAG_INIT },
		{ "hex 01000014000000", 0, CT_TAG_INIT }, /* cut off */
		{ "hex 02000014fffffffe", 0xfffffffe, CT_TAG_INIT_ACK },
		{ "hex 0a000004", 0, CT_TAG_COOKIE_ECHO },
		{ "hex 04000004", 0, CT_TAG_OTHER },
		{ "hex 06000004", 0, CT_TAG_END },
		{ "hex 06010004", 0, CT_TAG_END_BY_PEER },
		{ "hex 0300000406010004", 0, CT_TAG_END_BY_PEER },
		{ "hex 07000004", 0, CT_TAG_END },
		{ "hex 08010004", 0, CT_TAG_END }, /* no T bit there */
		{ "hex 0e000004", 0, CT_TAG_END },
		{ "hex 0e010004", 0, CT_TAG_END_BY_PEER },
	};
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		uint8_t f[256];
		char text[128];
		struct err e;
		snprintf(text, sizeof(text), "ip 10.0.0.1 > 10.0.0.2 | sctp 1 > 2 vtag=4000000001%s%s",
			 *rows[n].chunks ? " | " : "", rows[n].chunks);
		int len = pkttext_parse(text, f, &e);
		assert_true(len > 0);
		struct pkt p = { .data = f, .len = (uint32_t)len };
		assert_int_equal(parse_frame(&p), DROP_NONE);
		const struct ct_tagged t = sctp_tags(p.l4, p.l4_len);
		assert_int_equal(t.tag, 4000000001);
		assert_int_equal(t.kind, rows[n].kind);
		assert_int_equal(t.initiate, rows[n].initiate);
	}
}

/* A veth hands over 0 where the sender's device should have computed it; anything else is left alone, also a wrong one. */
static void test_unfinished(void **state)
{
	static const struct {
		const char *csum;
		enum pkt_csum how;
		bool finished;
	} rows[] = {
		{ "csum=0", PKT_CSUM_MAYBE_PARTIAL, true },
		{ "csum=0x00000001", PKT_CSUM_MAYBE_PARTIAL, false },
		{ "csum=0x00000001", PKT_CSUM_COMPLETE, true },
	};
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(rows); n++) {
		uint8_t f[256];
		char text[128];
		struct err e;
		snprintf(text, sizeof(text), "ip 10.0.0.1 > 10.0.0.2 | sctp 1 > 2 %s | data 33", rows[n].csum);
		int len = pkttext_parse(text, f, &e);
		assert_true(len > 0);
		struct pkt p = { .data = f, .len = (uint32_t)len, .csum = (uint8_t)rows[n].how };
		assert_int_equal(parse_frame(&p), DROP_NONE);
		const uint32_t before = ld32(p.l4 + 8);
		parse_complete_csum(&p);
		assert_int_equal(ld32(p.l4 + 8), rows[n].finished ? checksum(p.l4, p.l4_len) : before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known), cmocka_unit_test(test_ports),      cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_tags),  cmocka_unit_test(test_unfinished),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
