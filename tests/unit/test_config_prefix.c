/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools that translate prefixes or single addresses, as configuration: what is refused and how it is said, save, changes. */
#include "tests/unit/config_env.h"

/* Prefixes: what is refused says what to write instead. */
static void test_pool_prefixes(void **state)
{
	char *is;
	const struct nat_pool *p;
	(void)state;
	ok("add port p0 mem");
	ok("add nat pool 2001:db8:1::/48 static fd01:203:405::/48");
	p = &nat_pools[nat_pool_by_outside(ip("2001:db8:1:d550::1234"))];
	assert_true(p->prefix == 48 && ip_eq(&p->inside, ip("fd01:203:405::")) && p->port == -1);
	refused("add nat pool 2001:db8:2::/48", "wants 'static PREFIX'");
	refused("add nat pool 2001:db8:2:100::/56 static fd02::/48",
		"give both the longer one: nat pool 2001:db8:2:100::/56 static fd02::/56");
	refused("add nat pool 2001:db8:2::/48 static fd02::/56",
		"give both the longer one: nat pool 2001:db8:2::/56 static fd02::/56");
	refused("add nat pool 2001:db8:2::/48 static fd02::1", "give a prefix of /64 or shorter");
	refused("add nat pool 2001:db8:2::/80 static fd02::/80", "2001:db8:2::/80: give a prefix of /64 or shorter");
	refused("add nat pool fe80::/48 static fd02::/48", "fe80::/48: it overlaps fe80::/10");
	refused("add nat pool 2001:db8:2::1 static fd02::/48", "another unicast address");
	refused("add nat pool 198.51.100.0/24 static 10.1.0.0/24", "add a pool for each IPv4 address");
	refused("add nat pool 2001:db8:2::/48 static 10.1.0.0/24", "add a pool for each IPv4 address");
	refused("add nat pool ff05::/48 static fd02::/48", "overlaps ff00::/8");
	refused("add nat pool 2001:db8:2::/48 static fe80::/48", "overlaps fe80::/10");
	refused("add nat pool 2001:db8:2::1/48 static fd02::/48", "host bits");
	refused("add nat pool 2001:db8:2::/48 static 2001:db8:2::/48", "overlaps its own inside");
	refused("add nat pool 2001:db8:1:1::/64 static fd02:0:0:1::/64", "overlaps nat pool 2001:db8:1::/48");
	refused("add nat pool 2001:db8:2::/48 static 2001:db8:1::/48",
		"the other's inside, of nat pool 2001:db8:1::/48");
	refused("add nat pool fd01:203::/32 static fd02::/32", "the other's inside, of nat pool 2001:db8:1::/48");
	refused("add nat pool 2001:db8:2::/48 static fd01:203:405::/48", "give each the 'port' it is for");
	refused("add nat pool 2001:db8:2::/48 static fd02::/48 filter eif", "no option but port");
	ok("add nat pool 2001:db8:2::/48 static fd01:203:405::/48 port p0");
	ok("add nat pool 2001:db8:3:1::/64 static fd01:203:405:1::/64");
	ok("add nat pool 2001:db8:1::"); /* an address beside the prefix */
	/* the prefix can change, and with it what is under it */
	ok("set nat pool 2001:db8:1::/48 static fd03::/48");
	assert_true(nat_under_prefix(ip("fd03::1")));
	refused("set nat pool 2001:db8:1::/48 static fd01:203:405:1::/64", "another length");
	is = saved();
	assert_non_null(strstr(is, "add nat pool 2001:db8:1::/48 static fd03::/48\n"));
	assert_non_null(strstr(is, "add nat pool 2001:db8:2::/48 port p0 static fd01:203:405::/48\n"));
	free(is);
	ok("del nat pool 2001:db8:1::/48");
	assert_int_equal(nat_pool_by_outside(ip("2001:db8:1:d550::1234")), -1);
	assert_true(nat_pool_by_addr(ip("2001:db8:1::")) >= 0);
	refused("del nat pool 2001:db8:1::/48", "nat pool 2001:db8:1::/48");
}

/* Addresses that serve nobody, and those that would be translated twice. */
static void test_pool_addresses(void **state)
{
	(void)state;
	ok("add nat pool 198.51.100.3");
	refused("add nat pool 198.51.100.3 rest 1", "exists with other values (all at their defaults)");
	ok("add nat pool 198.51.100.5 static 10.1.0.77");
	refused("add nat pool 240.0.0.1", "unicast address that is routed");
	refused("add nat pool 0.0.0.5", "unicast address that is routed");
	refused("add nat pool fe80::5", "unicast address that is routed");
	refused("add nat pool 198.51.100.6 static 127.0.0.1", "another unicast address");
	refused("add nat pool 198.51.100.6 static 198.51.100.3", "is an outside address itself: nat pool 198.51.100.3");
	refused("add nat pool 10.1.0.77", "inside itself, as static of nat pool 198.51.100.5");
	ok("del nat pool 198.51.100.3");
	ok("del nat pool 198.51.100.5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_pool_prefixes),
		T(test_pool_addresses),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
