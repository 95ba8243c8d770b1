/* SPDX-License-Identifier: BSD-2-Clause */
/* tables/nat_prefix against RFC 6296: its example, its words about the two zeroes, and a model that adds 16-bit words slowly. Pools
 * that have prefixes: which one, and memory of a slot that had none. */
#include "tables/nat.h"

#include "tests/unit/nat_kit.h"

static struct ipnet net(const char *text)
{
	struct ipnet n;
	assert_true(ipnet_parse(text, &n));
	return n;
}

static enum nat_prefix map(const char *a, const char *from, const char *to, struct ipaddr *out)
{
	const struct ipaddr in = ip(a);
	const struct ipnet f = net(from), t = net(to);
	assert_int_equal(f.len, t.len);
	return nat_prefix_map(&in, &f.addr, &t.addr, f.len, out);
}

static void both_ways(const char *inside, const char *outside, const char *in, const char *out)
{
	struct ipaddr r;
	char b[IP_STRLEN];
	assert_int_equal(map(inside, in, out, &r), NAT_PREFIX_OK);
	assert_string_equal(ip_print(&r, b), outside);
	assert_int_equal(map(outside, out, in, &r), NAT_PREFIX_OK);
	assert_string_equal(ip_print(&r, b), inside);
}

/* 3.6, and what a 16-bit word may hold. */
static void test_example(void **state)
{
	const char *in = "fd01:203:405::/48", *out = "2001:db8:1::/48";
	struct ipaddr r;
	(void)state;
	both_ways("fd01:203:405:1::1234", "2001:db8:1:d550::1234", in, out);
	both_ways("fd01:203:405::1", "2001:db8:1:d54f::1", in, out);
	both_ways("fd01:203:405:2ab0::1", "2001:db8:1::1", in, out); /* the sum is ffff: written as 0 */
	both_ways("fd01:203:405:fffe::1", "2001:db8:1:d54e::1", in, out);
	assert_int_equal(map("fd01:203:405:ffff::1", in, out, &r), NAT_PREFIX_SUBNET);
	assert_int_equal(map("2001:db8:1:ffff::1", out, in, &r), NAT_PREFIX_SUBNET);
}

/* 3.5, 3.7: which word of the identifier, and which identifiers have no address. */
static void test_longer(void **state)
{
	const char *in = "fd01:203:405:ab00::/56", *out = "2001:db8:1:100::/56";
	struct ipaddr r;
	(void)state;
	both_ways("fd01:203:405:ab01:1:2:3:4", "2001:db8:1:101:7f51:2:3:4", in, out);
	both_ways("fd01:203:405:abff:ffff:2:3:4", "2001:db8:1:1ff:ffff:7f52:3:4", in, out);
	both_ways("fd01:203:405:abff:ffff:ffff:ffff:4", "2001:db8:1:1ff:ffff:ffff:ffff:7f54", in, out);
	assert_int_equal(map("fd01:203:405:ab01::", in, out, &r), NAT_PREFIX_IID);
	assert_int_equal(map("2001:db8:1:101::", out, in, &r), NAT_PREFIX_IID);
	assert_int_equal(map("fd01:203:405:ab01:ffff:ffff:ffff:ffff", in, out, &r), NAT_PREFIX_IID);
	assert_int_equal(map("fd01:203:405:ab01:80af::", in, out, &r), NAT_PREFIX_IID); /* all zeros outside */
	/* of /48 it says nothing */
	both_ways("fd01:203:405:1::", "2001:db8:1:d550::", "fd01:203:405::/48", "2001:db8:1::/48");
}

/* As appendix B adds: with ffff never left standing. */
static unsigned add(unsigned a, unsigned b)
{
	unsigned s = a + b;
	while (s >= 0xffff)
		s -= 0xffff;
	return s;
}

static unsigned sum_of(const struct ipaddr *a, unsigned words)
{
	unsigned s = 0;
	for (unsigned i = 0; i < words; i++)
		s = add(s, rd16(a->b + 2 * i));
	return s;
}

static bool model(const struct ipaddr *a, const struct ipaddr *from, const struct ipaddr *to, unsigned len,
		  struct ipaddr *out)
{
	const unsigned adjust = add(sum_of(from, 4), 0xffff - sum_of(to, 4));
	unsigned i = len <= 48 ? 3 : 4;
	*out = *a;
	for (unsigned bit = 0; bit < len; bit++) {
		const uint8_t m = (uint8_t)(0x80 >> bit % 8);
		out->b[bit / 8] = (uint8_t)((out->b[bit / 8] & ~m) | (to->b[bit / 8] & m));
	}
	while (i < 8 && rd16(a->b + 2 * i) == 0xffff)
		i++;
	if (len <= 48 ? i != 3 : i == 8)
		return false;
	wr16(out->b + 2 * i, (uint16_t)add(rd16(a->b + 2 * i), adjust));
	return len <= 48 || (a->d[1] && out->d[1]);
}

static void random_addr(struct ipaddr *a)
{
	for (unsigned i = 0; i < 8; i++) { /* words at the edges are as likely as others */
		const uint32_t r = rnd(UINT32_MAX);
		wr16(a->b + 2 * i, r % 4 == 0 ? 0xffff : r % 4 == 1 ? 0 : (uint16_t)(r >> 8));
	}
}

static void test_random(void **state)
{
	unsigned mapped = 0;
	(void)state;
	rnd_state = 6296;
	for (unsigned n = 0; n < 200000; n++) {
		struct ipaddr a, from, to, out, want, back;
		const unsigned len = 16 + rnd(49);
		random_addr(&a);
		random_addr(&from);
		random_addr(&to);
		from = ip_mask(&from, len);
		to = ip_mask(&to, len);
		for (unsigned k = 0; k < 2; k++) {
			const struct ipaddr own = ip_mask(&a, len);
			a.d[k] ^= own.d[k] ^ from.d[k];
		}
		const bool ok = nat_prefix_map(&a, &from, &to, len, &out) == NAT_PREFIX_OK;
		assert_int_equal(ok, model(&a, &from, &to, len, &want));
		if (!ok)
			continue;
		mapped++;
		assert_true(ip_eq(&out, &want));
		assert_int_equal(sum_of(&out, 8), sum_of(&a, 8));
		assert_int_equal(nat_prefix_map(&out, &to, &from, len, &back), NAT_PREFIX_OK);
		assert_true(ip_eq(&back, &a));
	}
	assert_true(mapped > 100000);
}

static int check(const char *text)
{
	struct err e;
	const struct ipnet n = net(text);
	return nat_prefix_check(&n, "x", &e);
}

static void test_check(void **state)
{
	static const char *const good[] = { "2001:db8::/32", "fd00::/8", "fd01:2:3:4::/64", "64:ff9b::/48",
					    "fc00::/7" };
	static const char *const bad[] = { "::/0",      "::/3",     "::/64",         "fe80::/64",      "fe80::/10",
					   "ff00::/16", "f000::/4", "2001:db8::/65", "198.51.100.0/24" };
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(check(good[i]), 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(check(bad[i]), -EINVAL);
}

static int add_prefix(const char *out, const char *in, int32_t port)
{
	struct err e;
	const struct ipnet o = net(out), i = net(in);
	return nat_pool_add(&(struct nat_pool){ .addr = o.addr, .prefix = o.len, .inside = i.addr, .port = port }, &e);
}

static int choose(const char *src, uint32_t out)
{
	const struct ipaddr a = ip(src);
	return nat_pool_choose(&a, out);
}

static int by_outside(const char *addr)
{
	const struct ipaddr a = ip(addr);
	return nat_pool_by_outside(&a);
}

static void test_pools(void **state)
{
	struct err e;
	struct nat_pool one = { .addr = ip("2001:db8:1::"), .port = -1 };
	const struct ipaddr in = ip("fd01:203:405:1::1234"), out = ip("2001:db8:1:d550::1234"), base = one.addr;
	const struct ipnet prefix = net("2001:db8:1::/48");
	(void)state;
	const int wide = add_prefix("2001:db8:1::/48", "fd01:203:405::/48", -1);
	const int narrow = add_prefix("2001:db8:2:3::/64", "fd01:203:405:1::/64", -1);
	const int by_port = add_prefix("2001:db8:3::/48", "fd01:203:405::/48", 7);
	assert_true(wide >= 0 && narrow >= 0 && by_port >= 0);
	assert_int_equal(add_prefix("2001:db8:1::/48", "fd02::/48", -1), -EEXIST);
	assert_int_equal(add_prefix("2001:db8:4::/48", "2001:db8:4::/48", -1), -EINVAL);
	/* the longer inside, the port before it, an address before both */
	assert_int_equal(choose("fd01:203:405:1::1", 3), narrow);
	assert_int_equal(choose("fd01:203:405:2::1", 3), wide);
	assert_int_equal(choose("fd01:203:405:1::1", 7), by_port);
	assert_int_equal(choose("fd01:203:406::1", 7), -1);
	const int fixed = nat_pool_add(
		&(struct nat_pool){ .addr = ip("2001:db8:1::9"), .port = -1, .inside = ip("fd01:203:405:2::9") }, &e);
	assert_int_equal(choose("fd01:203:405:2::9", 7), fixed);
	assert_int_equal(by_outside("2001:db8:1::9"), fixed);
	assert_int_equal(by_outside("2001:db8:1:d550::1234"), wide);
	assert_int_equal(by_outside("2001:db8:4::1"), -1);
	assert_int_equal(nat_pool_by_addr(&base), -1);
	assert_int_equal(nat_static(&in, &out), NAT_STATIC | (uint32_t)wide);
	assert_int_equal(nat_static(&out, &in), 0);
	assert_int_equal(nat_ports_taken(&nat_pools[wide], STEER_UDP), 0);
	assert_true(nat_under_prefix(&in) && !nat_under_prefix(&out));
	/* its first address can be a pool beside it, and has ports also in a slot that had none */
	const int first = nat_pool_add(&one, &e);
	assert_true(first >= 0 && first != wide);
	assert_int_equal(by_outside("2001:db8:1::"), first);
	assert_int_equal(nat_pool_del(&base, &e), 0);
	assert_int_equal(nat_pool_by_prefix(&prefix), wide);
	assert_int_equal(nat_pool_del_prefix(&prefix, &e), 0);
	assert_int_equal(nat_static(&in, &out), 0);
	assert_int_equal(nat_pool_del_prefix(&prefix, &e), -ENOENT);
	rcu_wait();
	rcu_wait();
	for (unsigned i = 0; i < NAT_POOLS_MAX - 3; i++) {
		one.addr = ip("2001:db8:77::");
		one.addr.b[15] = (uint8_t)i + 1;
		const int at = nat_pool_add(&one, &e);
		assert_true(at >= 0);
		assert_true(nat_pools[at].bits[STEER_UDP] && nat_pools[at].owner[STEER_UDP] && !nat_pools[at].prefix);
	}
	assert_int_equal(add_prefix("2001:db8:4::/48", "fd02::/48", -1), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_longer),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_check),
		cmocka_unit_test_setup_teardown(test_pools, open_all, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
