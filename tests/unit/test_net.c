/* SPDX-License-Identifier: BSD-2-Clause */
/* fwd/base/net: text forms both ways, masks, checksums against the definition of RFC 1071. Also hash and clock. */
#include "fwd/base/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/hash.h"

static void check_ip(const char *in, const char *want)
{
	struct ipaddr a;
	char buf[IP_STRLEN];
	if (!want) {
		struct ipaddr before;
		memset(&before, 0x5a, sizeof(before));
		a = before;
		assert_false(ip_parse(in, &a));
		assert_memory_equal(&a, &before, sizeof(a));
		return;
	}
	assert_true(ip_parse(in, &a));
	assert_string_equal(ip_print(&a, buf), want);
}

static void test_ip_text(void **state)
{
	(void)state;
	check_ip("10.1.2.3", "10.1.2.3");
	check_ip("0.0.0.0", "0.0.0.0");
	check_ip("255.255.255.255", "255.255.255.255");
	check_ip("::", "::");
	check_ip("2001:DB8:0:0:0:0:0:1", "2001:db8::1");
	check_ip("::ffff:1.2.3.4", "1.2.3.4");
	check_ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	static const char *const bad[] = {
		"",          "1.2.3", "1.2.3.4.5", "256.1.1.1",    " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/32",
		"0x1.2.3.4", ":::",   "1::2::3",   "fe80::1%eth0", "g::",      "01.2.3.4x"
	};
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		check_ip(bad[i], NULL);
}

static void check_net(const char *in, const char *want)
{
	struct ipnet n;
	char buf[IP_STRLEN];
	assert_int_equal(ipnet_parse(in, &n), want != NULL);
	if (want)
		assert_string_equal(ipnet_print(&n, buf), want);
}

static void test_net_text(void **state)
{
	(void)state;
	check_net("10.0.0.0/8", "10.0.0.0/8");
	check_net("10.0.0.1", "10.0.0.1");
	check_net("10.0.0.1/32", "10.0.0.1");
	check_net("0.0.0.0/0", "0.0.0.0/0");
	check_net("::/0", "::/0");
	check_net("2001:db8::/32", "2001:db8::/32");
	check_net("2001:db8::1/128", "2001:db8::1");
	check_net("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
	check_net("::ffff:10.0.0.0/104", "10.0.0.0/8");
	static const char *const bad[] = { "10.0.0.1/8",     "10.0.0.0/33",   "10.0.0.0/",   "10.0.0.0/-1",
					   "10.0.0.0/ 8",    "::/129",        "10.0.0.0/8x", "/8",
					   "2001:db8::1/64", "10.0.0.0/0008", "10.0.0.0/8/8" };
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		check_net(bad[i], NULL);
}

static void test_mac_and_port(void **state)
{
	struct mac m;
	char buf[MAC_STRLEN];
	uint16_t port = 7;
	(void)state;
	assert_true(mac_parse("02:00:5E:aB:00:ff", &m));
	assert_string_equal(mac_print(&m, buf), "02:00:5e:ab:00:ff");
	assert_false(mac_parse("02:00:5e:ab:00", &m));
	assert_false(mac_parse("02:00:5e:ab:00:ff:", &m));
	assert_false(mac_parse("02:00:5e:ab:00:f", &m));
	assert_false(mac_parse("02-00-5e-ab-00-ff", &m));
	assert_false(mac_parse("", &m));
	assert_false(mac_parse("0g:00:00:00:00:00", &m));
	assert_true(port_parse("0", &port) && port == 0);
	assert_true(port_parse("65535", &port) && port == 65535);
	assert_false(port_parse("65536", &port) || port_parse("", &port) || port_parse("+1", &port) ||
		     port_parse("1 ", &port) || port_parse("-1", &port) || port_parse("0x50", &port));
	assert_int_equal(port, 65535);
}

/* Bit by bit, the slow way. */
static bool naive_inside(const struct ipnet *n, const struct ipaddr *a)
{
	for (unsigned i = 0; i < n->len; i++)
		if ((n->addr.b[i / 8] ^ a->b[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static void test_mask_and_contains(void **state)
{
	(void)state;
	srandom(1);
	for (unsigned round = 0; round < 20000; round++) {
		struct ipaddr a, b;
		bool v4 = random() & 1;
		for (unsigned i = 0; i < 16; i++)
			a.b[i] = (uint8_t)random();
		if (v4)
			a = ip_from4(a.w[3]);
		else if (ip_is4(&a))
			continue;
		struct ipnet n = { .len = (uint8_t)(v4 ? 96 + random() % 33 : random() % 129) };
		n.addr = ip_mask(&a, n.len);
		assert_true(naive_inside(&n, &a));
		for (unsigned i = n.len; i < 128; i++)
			assert_int_equal(n.addr.b[i / 8] >> (7 - i % 8) & 1, 0);
		assert_true(ipnet_contains(&n, &a));
		b = a;
		b.b[15 - random() % (v4 ? 4 : 8)] ^= (uint8_t)(1 << random() % 8);
		assert_int_equal(ipnet_contains(&n, &b), naive_inside(&n, &b));
	}
	struct ipnet all6, all4;
	struct ipaddr four, six;
	assert_true(ipnet_parse("::/0", &all6) && ipnet_parse("0.0.0.0/0", &all4));
	assert_true(ip_parse("1.2.3.4", &four) && ip_parse("2001:db8::1", &six));
	assert_false(ipnet_contains(&all6, &four));
	assert_true(ipnet_contains(&all6, &six));
	assert_true(ipnet_contains(&all4, &four));
	assert_false(ipnet_contains(&all4, &six));
}

/* RFC 1071 to the letter: 16-bit words, end-around carry. */
static uint16_t naive_sum(const uint8_t *p, size_t n)
{
	uint32_t s = 0;
	for (size_t i = 0; i < n; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return htons((uint16_t)s);
}

static void test_checksum(void **state)
{
	uint8_t p[2048 + 16];
	(void)state;
	srandom(2);
	for (unsigned i = 0; i < sizeof(p); i++)
		p[i] = (uint8_t)random();
	for (size_t n = 0; n <= 2048; n++)
		assert_int_equal(csum_fold(csum_add(p + n % 9, n, 0)), naive_sum(p + n % 9, n));
	memset(p, 0xff, sizeof(p));
	assert_int_equal(csum_fold(csum_add(p, 2048, 0)), 0xffff);
	assert_int_equal(csum_fold(~0ull), 0xffff);
	/* the example of RFC 1071 section 3 */
	static const uint8_t rfc[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	assert_int_equal(csum_fold(csum_add(rfc, sizeof(rfc), 0)), htons(0xddf2));
}

static void test_pseudo_header(void **state)
{
	/* a DNS query seen on the wire: 192.168.1.2 > 192.168.1.1, UDP checksum by hand below */
	uint8_t src[4] = { 192, 168, 1, 2 }, dst[4] = { 192, 168, 1, 1 };
	uint8_t flat[12] = { 192, 168, 1, 2, 192, 168, 1, 1, 0, PROTO_UDP, 0, 33 };
	(void)state;
	assert_int_equal(csum_fold(csum_pseudo(src, dst, 4, PROTO_UDP, 33)), naive_sum(flat, sizeof(flat)));
	uint8_t flat6[40];
	for (unsigned i = 0; i < 32; i++)
		flat6[i] = (uint8_t)(i * 37);
	memcpy(flat6 + 32, "\x00\x01\x02\x03\x00\x00\x00\x3a", 8);
	assert_int_equal(csum_fold(csum_pseudo(flat6, flat6 + 16, 16, PROTO_ICMP6, 0x10203)), naive_sum(flat6, 40));
}

static void test_checksum_update(void **state)
{
	uint8_t p[40];
	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < sizeof(p); i++)
			p[i] = (uint8_t)random();
		st16(p + 10, 0);
		st16(p + 10, (uint16_t)~csum_fold(csum_add(p, sizeof(p), 0)));
		uint16_t minus = csum_fold(csum_add(p + 12, 8, 0));
		for (unsigned i = 12; i < 20; i++)
			p[i] = round % 5 ? (uint8_t)random() : 0;
		st16(p + 10, csum_update(ld16(p + 10), minus, csum_fold(csum_add(p + 12, 8, 0))));
		assert_int_equal(csum_fold(csum_add(p, sizeof(p), 0)), 0xffff);
	}
}

static void test_hash(void **state)
{
	uint8_t k[40];
	(void)state;
	for (unsigned i = 0; i < sizeof(k); i++)
		k[i] = (uint8_t)i;
	hash_init(7);
	uint64_t h16 = hash_key(k, 16), h40 = hash_key(k, 40), h24 = hash_key(k, 24);
	assert_int_equal(h16, hash_key16(_mm_loadu_si128((const void *)k)));
	assert_int_equal(h40, hash_key40(k));
	hash_init(8);
	assert_int_not_equal(h16, hash_key(k, 16));
	hash_init(7);
	assert_int_equal(h16, hash_key(k, 16));
	/* every bit of the key reaches the bits used for buckets and for tags */
	for (unsigned bit = 0; bit < 320; bit++) {
		k[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal((uint16_t)h40, (uint16_t)hash_key(k, 40));
		assert_int_not_equal(h40 >> 48, hash_key(k, 40) >> 48);
		if (bit < 192)
			assert_int_not_equal((uint32_t)h24, (uint32_t)hash_key(k, 24));
		k[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	hash_init(0);
	uint64_t a = hash_key(k, 16);
	hash_init(0);
	assert_int_not_equal(a, hash_key(k, 16));
}

static void test_clock(void **state)
{
	(void)state;
	uint64_t a = clock_ns();
	assert_true(clock_ns() >= a);
	clock_set(5 * NS_PER_S);
	assert_int_equal(clock_ns(), 5 * NS_PER_S);
	clock_set(0);
	assert_true(clock_ns() >= a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ip_text),         cmocka_unit_test(test_net_text),
		cmocka_unit_test(test_mac_and_port),    cmocka_unit_test(test_mask_and_contains),
		cmocka_unit_test(test_checksum),        cmocka_unit_test(test_pseudo_header),
		cmocka_unit_test(test_checksum_update), cmocka_unit_test(test_hash),
		cmocka_unit_test(test_clock),
	};
	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
