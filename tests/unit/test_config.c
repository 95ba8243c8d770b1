/* SPDX-License-Identifier: BSD-2-Clause */
/* Transactions: everything or nothing, what is refused, save and load, reload; with the real tables and mem ports. */
#include "tests/unit/config_env.h"

#include <errno.h>

static void test_add_twice(void **state)
{
	(void)state;
	ok("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 7");
	assert_int_equal(endpoint_hooks, 1);
	assert_int_equal(prefixes_added, 1);
	assert_int_equal(prepared, 1);
	assert_int_equal(endpoint_by_addr(ip("10.1.0.10"))->id, 10);
	ok("add endpoint 10 identity 7 ipv4 10.1.0.10 device lxc10");
	assert_int_equal(endpoint_hooks, 1); /* nothing changed */
	refused("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 8", "use 'set endpoint 10 ...'");
	ok("set endpoint 10 identity 8");
	assert_int_equal(endpoint_by_id(10)->identity, 8);
	assert_string_equal(endpoint_by_id(10)->device, "lxc10");
	ok("set endpoint 10 ipv4 10.1.0.11 ipv4 10.1.0.12 ipv6 2001:db8::1");
	assert_null(endpoint_by_addr(ip("10.1.0.10")));
	assert_int_equal(endpoint_by_id(10)->n_addrs, 3);
	assert_int_equal(prefixes_deleted, 1);
	refused("set endpoint 11 identity 8", "there is no endpoint 11");
	refused("del endpoint 11", "there is no endpoint 11");
	refused("add endpoint 12 device lxc12 identity 5", "needs an address");
	ok("add policy host ingress allow any tcp port 80");
	refused("add policy host ingress allow any tcp port 80 precedence 3",
		"use 'set policy host ingress allow any tcp port 80");
	ok("set policy host ingress allow any tcp port 80 precedence 3 name web");
	assert_int_equal(policy_rule_at(policy_next(0))->precedence, 3);
}

static void test_duplicates(void **state)
{
	(void)state;
	ok("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 7");
	refused("add endpoint 11 device lxc11 ipv4 10.1.0.10 identity 7",
		"address 10.1.0.10 is used by endpoint 10 already");
	refused("add endpoint 11 device lxc10 ipv4 10.1.0.11 identity 7",
		"device lxc10 is used by endpoint 10 already");
	refused("add endpoint 11 device lxc11 ipv4 10.1.0.11 ipv4 10.1.0.11 identity 7", "given twice");
	refused("add nat pool 10.1.0.10", "address 10.1.0.10 is used by endpoint 10 already");
	ok("add nat pool 198.51.100.1 ports 1000-2000");
	assert_int_equal(pools_changed, 1);
	refused("add nat pool 198.51.100.1 ports 3000-4000", "use 'set nat pool 198.51.100.1");
	ok("set nat pool 198.51.100.1 ports 3000-4000");
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.1"))].port_lo, 3000);
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.1"))].filter, NAT_ADF);
	refused("add endpoint 11 device lxc11 ipv4 198.51.100.1 identity 7",
		"address 198.51.100.1 is used by nat pool");
	ok("add port p0 mem");
	refused("add port p1 device lxc10", "device lxc10 is used by endpoint 10");
}

/* What a pool has of it: kept by set, absent from save unless given. */
static void test_pool_options(void **state)
{
	(void)state;
	ok("add nat pool 198.51.100.1 ports 1000-2000 rest 60 max-ports 500 max-sessions 4000");
	const struct nat_pool *p = &nat_pools[nat_pool_by_addr(ip("198.51.100.1"))];
	assert_true(p->rest == 60 && p->max_ports == 500 && p->max_sessions == 4000);
	ok("set nat pool 198.51.100.1 max-ports 0 rest 0");
	p = &nat_pools[nat_pool_by_addr(ip("198.51.100.1"))];
	assert_true(p->rest == 0 && p->max_ports == 0 && p->max_sessions == 4000);
	char *is = saved();
	assert_string_equal(is, "add nat pool 198.51.100.1 ports 1000-2000 rest 0 max-sessions 4000\n");
	free(is);
	refused("set nat pool 198.51.100.1 rest 3601", "rest");
	/* RFC 6888 REQ-8: without a filter by address a port rests for 120 s unless told otherwise */
	ok("add nat pool 198.51.100.2 filter eif");
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.2"))].rest, 120);
	ok("add nat pool 198.51.100.3");
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.3"))].rest, 0);
	refused("add nat pool 198.51.100.4 mapping apdm filter eif", "mapping apdm goes with filter apdf, not eif");
	ok("set nat pool 198.51.100.3 mapping apdm");
	refused("set nat pool 198.51.100.3 filter adf", "mapping apdm goes with filter apdf, not adf");
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.3"))].filter, NAT_APDF);
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.3"))].mapping, NAT_APDM);
	is = saved();
	assert_non_null(strstr(is, "add nat pool 198.51.100.3 mapping apdm\n"));
	free(is);
	ok("add nat pool 198.51.100.5 static 10.1.0.10");
	p = &nat_pools[nat_pool_by_addr(ip("198.51.100.5"))];
	assert_true(nat_is_static(p) && ip_eq(&p->inside, ip("10.1.0.10")));
	is = saved();
	assert_non_null(strstr(is, "add nat pool 198.51.100.5 static 10.1.0.10\n"));
	free(is);
	refused("add nat pool 198.51.100.6 static 10.1.0.10", "static 10.1.0.10 is used by nat pool 198.51.100.5");
	refused("add nat pool 198.51.100.6 static 2001:db8::1", "of the same family");
	refused("add nat pool 198.51.100.6 static 198.51.100.6", "another unicast address");
	refused("add nat pool 198.51.100.6 static 10.1.0.11 ports 1-9", "no option but port");
	refused("set nat pool 198.51.100.5 filter eif", "no option but port");
	refused("add nat pool 127.0.0.2 static 10.1.0.11", "unicast address");
	refused("set nat pool 198.51.100.5 blocks 64", "no option but port");
	refused("add nat pool 198.51.100.7 blocks 100", "a power of two from 16 to 4096");
	refused("add nat pool 198.51.100.7 blocks 8192", "blocks");
	refused("add nat pool 198.51.100.7 ports 1024-1087 blocks 128", "no block of 128 ports");
	ok("add nat pool 198.51.100.7 blocks 512 block-limit 4");
	p = &nat_pools[nat_pool_by_addr(ip("198.51.100.7"))];
	assert_true(p->blocks == 512 && p->block_limit == 4 && p->rest == 120);
	is = saved();
	assert_non_null(strstr(is, "add nat pool 198.51.100.7 blocks 512 block-limit 4\n"));
	free(is);
	/* while blocks are in use their size stays, and the pool with it */
	const struct nat_key k = { .inside = *ip("10.1.0.9"),
				   .proto = PROTO_TCP,
				   .pool = (uint8_t)nat_pool_by_addr(ip("198.51.100.7")) };
	uint32_t mapping;
	bool created;
	assert_int_equal(nat_map(SLOT_CONTROL, &k, 1, 1, &mapping, &created), 0);
	refused("set nat pool 198.51.100.7 blocks 64", "1 blocks of 512 ports are in use");
	p = &nat_pools[nat_pool_by_addr(ip("198.51.100.7"))];
	assert_true(p->blocks == 512 && p->block_limit == 4);
	ok("set nat pool 198.51.100.7 block-limit 1");
	nat_unref(SLOT_CONTROL, mapping);
	ok("set nat pool 198.51.100.7 blocks 0 block-limit 0 rest 5");
	is = saved();
	assert_non_null(strstr(is, "add nat pool 198.51.100.7 rest 5\n"));
	free(is);
	ok("del nat pool 198.51.100.7");
	ok("del nat pool 198.51.100.5");
	ok("del nat pool 198.51.100.1");
	ok("del nat pool 198.51.100.2");
	ok("del nat pool 198.51.100.3");
}

/* Bit i: VTEP i knows the node. */
static unsigned vtep_of_remote(const char *addr)
{
	unsigned bits = 0;

	for (uint32_t i = 0; i < VTEPS_MAX; i++)
		bits |= (unsigned)(remote_find(i, ip(addr)) != 0) << i;
	return bits;
}

static void test_references(void **state)
{
	(void)state;
	refused("add policy endpoint 10 egress allow any", "there is no endpoint 10");
	refused("add nat pool 198.51.100.1 port p0", "there is no port p0");
	refused("add tunnel 10.3.0.0/16 remote 192.0.2.9", "needs an IPv4 vtep");
	refused("add ipcache 10.3.0.0/16 identity 9 remote 2001:db8::9", "needs an IPv6 vtep");
	ok("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 7");
	ok("add policy endpoint 10 egress allow any tcp");
	refused("del endpoint 10", "endpoint 10 is used by policy endpoint 10 egress allow any tcp: delete that first");
	ok("add policy endpoint 10 egress allow any udp");
	refused("del endpoint 10", "and 1 more");
	ok("add port p0 mem");
	ok("add nat pool 198.51.100.1 port p0");
	refused("del port p0", "port p0 is used by nat pool 198.51.100.1");
	assert_non_null(port_by_name("p0"));
	ok("add vtep 192.0.2.1");
	ok("add tunnel 10.3.0.0/16 remote 192.0.2.9");
	ok("add ipcache 10.4.0.0/16 identity 9 remote 192.0.2.9");
	refused("del vtep 192.0.2.1", "is used by tunnel 10.3.0.0/16 and others");
	refused("add tunnel 10.5.0.0/16 remote 192.0.2.1", "is this box itself");
	refused("set vtep 192.0.2.1 vni-mode network", "vni is missing");
	ok("set tunnel 10.3.0.0/16 vni 5");
	/* rows move to a VTEP that suits better, and back; of what is refused nothing moves */
	refused("add tunnel 10.6.0.0/16 remote 192.0.2.9 vtep 192.0.2.2", "there is no vtep 192.0.2.2: add that");
	refused("add tunnel 10.6.0.0/16 remote 192.0.2.9 vtep 192.0.2.1 port 9", "there is no vtep 192.0.2.1 port 9");
	refused("add tunnel 10.6.0.0/16 remote 192.0.2.9 vtep 2001:db8::1", "vtep 2001:db8::1 is of the other family");
	refused("add ipcache 10.6.0.0/16 identity 9 vtep 192.0.2.1", "go with a remote");
	assert_int_equal(vtep_of_remote("192.0.2.9"), 1u << vtep_find(ip("192.0.2.1"), 8472));
	ok("add vtep 192.0.2.1 port 4789 vni-mode network");
	assert_int_equal(vtep_of_remote("192.0.2.9"),
			 1u << vtep_find(ip("192.0.2.1"), 8472) | 1u << vtep_find(ip("192.0.2.1"), 4789));
	ok("set tunnel 10.3.0.0/16 port 4789");
	refused("del vtep 192.0.2.1 port 4789", "is used by tunnel 10.3.0.0/16: delete that first");
	char *is = saved();
	assert_non_null(strstr(is, "add tunnel 10.3.0.0/16 remote 192.0.2.9 port 4789 vni 5\n"));
	free(is);
	ok("del tunnel 10.3.0.0/16");
	ok("add tunnel 10.3.0.0/16 remote 192.0.2.9 vni 5");
	ok("del vtep 192.0.2.1 port 4789");
	ok("set vtep 192.0.2.1 vni-mode network");
	assert_int_equal(vteps[vtep_find(ip("192.0.2.1"), 8472)].mode, VNI_NETWORK);
	ok("del tunnel 10.3.0.0/16");
	ok("del ipcache 10.4.0.0/16");
	ok("del vtep 192.0.2.1");
	ok("del nat pool 198.51.100.1");
	ok("del port p0");
	assert_null(port_by_name("p0"));
}

static void test_file_is_one_transaction(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	char *was, *is, want[300];
	const char *path;

	(void)state;
	ok("add ipmasq 10.99.0.0/16");
	was = saved();
	fputs("add port p0 mem\nset ct timeout udp 77\n", f); /* opened, set, and taken back */
	for (unsigned i = 3; i <= 1000; i++)
		if (i == 700)
			fputs("add ipcache 10.0.0.0/8 identty 5\n", f);
		else
			fprintf(f, "add ipcache 10.%u.%u.0/24 identity %u\n", i / 250, i % 250, i);
	fclose(f);
	path = write_file(text);
	free(text);
	assert_true(config_load(path, false, &e) < 0);
	snprintf(want, sizeof(want),
		 "%s:700: ipcache 10.0.0.0/8: unknown word 'identty', expected identity|remote|vtep|port", path);
	assert_string_equal(e.text, want);
	is = saved();
	assert_string_equal(was, is);
	free(is);
	assert_int_equal(ipcache_count(), 0);
	assert_null(port_by_name("p0"));
	assert_int_equal(ct_timeouts[CT_T_UDP], 300);

	/* refused at the end of stage 1: the line of the object that does not fit */
	path = write_file(
		"add port p0 mem\n\n# comment\nadd policy endpoint 9 egress allow any\nadd ipmasq 10.0.0.0/8\n");
	assert_true(config_load(path, false, &e) < 0);
	snprintf(want, sizeof(want), "%s:4: policy endpoint 9 egress allow any: there is no endpoint 9", path);
	assert_string_equal(e.text, want);
	assert_int_equal(ports_changed, 0);

	/* refused by the outside world: a port that cannot open takes the first one and the setting with it */
	path = write_file(
		"set ct timeout udp 77\nadd port p0 mem\nadd port p1 pcap in /nonexistent/in out /nonexistent/out\n"
		"add ipcache 10.0.0.0/8 identity 5\n");
	assert_true(config_load(path, false, &e) < 0);
	snprintf(want, sizeof(want), "%s:3: ", path);
	assert_non_null(strstr(e.text, want));
	assert_null(port_by_name("p0"));
	assert_int_equal(ct_timeouts[CT_T_UDP], 300);
	is = saved();
	assert_string_equal(was, is);
	free(is);

	/* a file may hold things in any order; -t opens nothing */
	path = write_file("add policy endpoint 9 egress allow any\nadd nat pool 198.51.100.1 port p0\n"
			  "add endpoint 9 device lxc9 ipv4 10.1.0.9 identity 4\nadd port p0 mem\n");
	assert_int_equal(config_load(path, true, &e), 0);
	assert_null(port_by_name("p0"));
	if (config_load(path, false, &e))
		fail_msg("%s", e.text);
	assert_non_null(port_by_name("p0"));
	assert_true(endpoint_by_id(9)->policy_set);
	assert_true(hook_saw_policy); /* nobody hears of an endpoint before its rules are in force */
	assert_int_equal(nat_pools[nat_pool_by_addr(ip("198.51.100.1"))].port, port_by_name("p0")->index);
	free(was);
}

static void test_table_refuses(void **state)
{
	char line[128];
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	char *was, *is;

	(void)state;
	ok("add vtep 192.0.2.1 vni-mode network");
	ok("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 7");
	/* more VNIs than a remote node has: only the table knows, so stage 2 has to take back */
	fputs("set endpoint 10 identity 8\nadd policy endpoint 10 egress deny any\nadd ipmasq 10.0.0.0/8\n", f);
	for (unsigned i = 1; i <= REMOTE_VNIS + 1; i++)
		fprintf(f, "add tunnel 10.%u.0.0/16 remote 192.0.2.9 vni %u\n", i + 10, i);
	fclose(f);
	was = saved();
	assert_true(config_load(write_file(text), false, &e) < 0);
	snprintf(line, sizeof(line), ":%d: ", 3 + REMOTE_VNIS + 1);
	assert_non_null(strstr(e.text, line));
	is = saved();
	assert_string_equal(was, is);
	assert_int_equal(tunnel_count() + ipmasq_count() + policy_rule_count(), 0);
	assert_int_equal(endpoint_by_id(10)->identity, 7);
	assert_int_equal(endpoint_by_id(10)->policy_set, 0);
	free(was);
	free(is);
	free(text);
}

static void test_save_and_load(void **state)
{
	char *first, *second, *policy;

	(void)state;
	if (config_load(write_file(everything), false, &e))
		fail_msg("%s", e.text);
	assert_int_equal(policy_mode, POLICY_MODE_ALWAYS);
	assert_true(settings.policy_reject && !settings.host_routes);
	assert_int_equal(ct_timeouts[CT_T_UDP], 77);
	assert_int_equal(settings.mss_clamp, 1400);
	assert_int_equal(port_by_name("p1")->conf.source_validation, PORT_SOURCES_STRICT);
	policy = show("show policy");
	assert_non_null(strstr(policy, "no \\\"dns\\\" here"));
	free(policy);
	first = saved();
	assert_int_equal(config_reload(write_file(""), &e), 0);
	assert_int_equal(policy_mode, POLICY_MODE_DEFAULT);
	assert_true(!settings.policy_reject && settings.host_routes);
	assert_int_equal(endpoint_count() + tunnel_count() + ipcache_count(), 0);
	if (config_load(write_file(first), false, &e))
		fail_msg("%s", e.text);
	second = saved();
	assert_string_equal(first, second);
	free(first);
	free(second);
}

/* What is refused leaves no trace in the order either, wherever its objects stood. */
static void test_refused_keeps_order(void **state)
{
	char *before, *after;

	(void)state;
	for (unsigned i = 10; i < 15; i++) {
		char line[80];
		snprintf(line, sizeof(line), "add endpoint %u device lxc%u ipv4 10.1.0.%u identity 7", i, i, i);
		ok(line);
	}
	before = saved();
	refused("set endpoint 10 ipv4 10.1.0.13", "10.1.0.13 is used by endpoint 13");
	refused("set endpoint 12 ipv4 10.1.0.13", "10.1.0.13 is used by endpoint 13");
	refused("set endpoint 14 ipv4 10.1.0.13", "10.1.0.13 is used by endpoint 13");
	/* neighbours in the list, one of them twice, and one that comes and goes */
	assert_true(config_load(write_file("set endpoint 11 identity 8\nset endpoint 12 identity 8\n"
					   "del endpoint 13\nset endpoint 11 identity 9\ndel endpoint 10\n"
					   "add endpoint 15 device lxc15 ipv4 10.1.0.15 identity 7\ndel endpoint 15\n"
					   "set endpoint 14 ipv4 10.1.0.11\n"),
				false, &e) < 0);
	after = saved();
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void test_reload(void **state)
{
	char text[4096];
	uint16_t index;
	uint32_t adj_before;

	(void)state;
	assert_int_equal(config_load(write_file(everything), false, &e), 0);
	index = port_by_name("p0")->index;
	ports_changed = endpoint_hooks = pools_changed = prefixes_added = prefixes_deleted = 0;
	assert_int_equal(config_reload(write_file(everything), &e), 0);
	assert_int_equal(ports_changed + endpoint_hooks + pools_changed + prefixes_added, 0);

	/* what runs keeps what it learned */
	struct endpoint live = *endpoint_by_id(10);
	live.adj = adj_before = 4711;
	assert_int_equal(endpoint_set(&live, &e), 0);

	snprintf(text, sizeof(text), "%s", everything);
	memcpy(strstr(text, "identity 1001 attach"), "identity 1002 attach", 20);
	memcpy(strstr(text, "vtep 192.0.2.1\n"), "vtep 192.0.2.2\n", 15); /* two rows hang on it */
	memcpy(strstr(text, "add ipmasq 10"), "add ipmasq 11", 13);
	if (config_reload(write_file(text), &e))
		fail_msg("%s", e.text);
	assert_int_equal(port_by_name("p0")->index, index);
	assert_int_equal(ports_changed, 0);
	assert_int_equal(endpoint_hooks, 1);
	assert_int_equal(endpoint_by_id(10)->identity, 1002);
	assert_int_equal(endpoint_by_id(10)->adj, adj_before);
	assert_true(vtep_find(ip("192.0.2.2"), 8472) >= 0);
	assert_true(vtep_find(ip("192.0.2.1"), 8472) < 0);
	assert_int_equal(tunnel_count(), 2);
	int vtep = vtep_find(ip("192.0.2.2"), 8472);
	uint32_t r = remote_find((uint32_t)vtep, ip("192.0.2.9"));
	assert_true(r && remote_at(r)->refs == 2);

	/* a bad file changes nothing */
	strcat(text, "add endpoint 11 device lxc11 ipv4 10.1.0.11 identity 3\n");
	assert_true(config_reload(write_file(text), &e) < 0);
	assert_non_null(strstr(e.text, "address 10.1.0.11 is used by endpoint 10"));
	assert_null(endpoint_by_id(11));
}

static void test_moves(void **state)
{
	(void)state;
	assert_int_equal(config_load(write_file("add endpoint 10 device a ipv4 10.1.0.10 ipv4 10.1.0.12 identity 7\n"
						"add endpoint 11 device b ipv4 10.1.0.11 identity 8\n"),
				     false, &e),
			 0);
	/* two endpoints exchange an address in one transaction */
	if (config_reload(write_file("add endpoint 10 device a ipv4 10.1.0.11 ipv4 10.1.0.12 identity 7\n"
				     "add endpoint 11 device b ipv4 10.1.0.10 identity 8\n"),
			  &e))
		fail_msg("%s", e.text);
	assert_int_equal(endpoint_by_addr(ip("10.1.0.10"))->id, 11);
	assert_int_equal(endpoint_by_addr(ip("10.1.0.11"))->id, 10);
	assert_int_equal(endpoint_by_addr(ip("10.1.0.12"))->id, 10);
	assert_int_equal(ipcache_identity(ip("10.1.0.10"), NULL), 8);
	assert_int_equal(prefixes_deleted, 0);
}

static void test_limits(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	fputs("add endpoint 10 device a ipv4 10.1.0.10 identity 7\n", f);
	for (unsigned i = 0; i <= POLICY_SET_RULES_MAX; i++)
		fprintf(f, "add policy endpoint 10 egress allow cidr 10.%u.%u.0/24\n", i >> 8, i & 255);
	fclose(f);
	assert_true(config_load(write_file(text), false, &e) < 0);
	assert_non_null(strstr(e.text, "more than 16384"));
	assert_int_equal(endpoint_count() + policy_rule_count(), 0);
	free(text);

	f = open_memstream(&text, &size);
	for (unsigned i = 0; i <= VTEPS_MAX; i++)
		fprintf(f, "add vtep 192.0.2.%u\n", i + 1);
	fclose(f);
	assert_true(config_load(write_file(text), false, &e) < 0);
	assert_non_null(strstr(e.text, "more than 8 VTEPs"));
	free(text);
}

/* Rules of an identity come to an endpoint that has many of its own: only compiling tells, so stage 2 takes back. */
static void test_policy_refuses(void **state)
{
	char *own = NULL, *shared = NULL, *was, *is;
	size_t size;
	FILE *f = open_memstream(&own, &size);
	uint32_t set;

	(void)state;
	fputs("add endpoint 10 device a ipv4 10.1.0.10 identity 7\n", f);
	for (unsigned i = 0; i < 9000; i++)
		fprintf(f, "add policy endpoint 10 egress allow cidr 10.%u.%u.0/24\n", i >> 8, i & 255);
	fclose(f);
	f = open_memstream(&shared, &size);
	fputs("add ipmasq 10.0.0.0/8\n", f);
	for (unsigned i = 0; i < 9000; i++)
		fprintf(f, "add policy identity 7 egress allow cidr 11.%u.%u.0/24\n", i >> 8, i & 255);
	fclose(f);
	assert_int_equal(config_load(write_file(own), false, &e), 0);
	set = endpoint_by_id(10)->policy_set;
	was = saved();
	assert_int_equal(config_load(write_file(shared), false, &e), -ENOSPC);
	is = saved();
	assert_string_equal(was, is);
	assert_int_equal(policy_rule_count(), 9000);
	assert_int_equal(ipmasq_count(), 0);
	assert_int_equal(endpoint_by_id(10)->policy_set, set);
	ok("add policy identity 7 egress deny any udp"); /* and it goes on working */
	assert_int_equal(policy_rule_count(), 9001);
	free(own);
	free(shared);
	free(was);
	free(is);
}

static void test_redirect(void **state)
{
	(void)state;
	refused("add policy host egress redirect 80 any", "name an endpoint or an identity");
	refused("add policy identity 7 egress redirect 80 any icmp", "redirect takes tcp or udp");
	refused("add policy identity 7 egress redirect 80 any sctp port 5", "redirect takes tcp or udp");
	ok("add policy identity 7 egress redirect 15001 any tcp port 80 name web");
	ok("add policy identity 7 egress redirect 15001 any tcp port 80 name web");
	assert_int_equal(policy_rule_count(), 1);
	ok("add policy identity 7 egress redirect 15002 any tcp port 80");
	ok("del policy identity 7 egress redirect 15002 any tcp port 80");
	char *text = saved();
	assert_non_null(strstr(text, "add policy identity 7 egress redirect 15001 any tcp port 80 name web\n"));
	free(text);
}

static void test_probes(void **state)
{
	const struct service_key k = { .vip = *ip("203.0.113.80"), .port = 80, .proto = PROTO_TCP };
	char *text;

	(void)state;
	ok("add service 203.0.113.80:80/tcp");
	ok("add backend 203.0.113.80:80/tcp 10.1.0.10:8080");
	const struct probe_conf *p = service_probe(service_by_key(&k));
	const uint32_t version = service_version();
	assert_int_equal(p->kind, PROBE_NONE);
	ok("set service 203.0.113.80:80/tcp probe http");
	assert_int_equal(p->kind, PROBE_HTTP);
	assert_int_not_equal(service_version(), version);
	assert_int_equal(p->interval_ms, 2000);
	assert_int_equal(p->timeout_ms, 1000);
	assert_int_equal(p->rise, 2);
	assert_int_equal(p->fall, 3);
	assert_string_equal(p->path, "/");
	ok("set service 203.0.113.80:80/tcp probe-path /up probe-interval 100ms probe-timeout 60m probe-fall 1");
	assert_int_equal(p->kind, PROBE_HTTP); /* what a command does not name stays */
	assert_int_equal(p->interval_ms, 100);
	assert_int_equal(p->timeout_ms, 3600000);
	text = saved();
	assert_non_null(strstr(text, "add service 203.0.113.80:80/tcp probe http probe-path /up probe-interval 100ms "
				     "probe-timeout 3600s probe-fall 1\n"));
	free(text);
	refused("set service 203.0.113.80:80/tcp probe-path up", "begins with /");
	refused("set service 203.0.113.80:80/tcp probe-path \"/a b\"", "character 3");
	refused("set service 203.0.113.80:80/tcp probe-path /a#b", "character 3");
	refused("set service 203.0.113.80:80/tcp probe-interval 99ms", "500ms");
	refused("set service 203.0.113.80:80/tcp probe-interval 61m", "500ms");
	refused("set service 203.0.113.80:80/tcp probe-interval 2", "with its unit");
	refused("set service 203.0.113.80:80/tcp probe-rise 0", "from 1 to 100");
	refused("set service 203.0.113.80:80/tcp probe ssh", "none|tcp|http|icmp");
	refused("add service 203.0.113.80:0/tcp probe tcp", "needs probe-port");
	ok("add service 203.0.113.80:0/tcp probe tcp probe-port 80");
	refused("set service 203.0.113.80:0/tcp probe-port 0", "needs probe-port");
	text = show("show services service=203.0.113.80:80/tcp");
	assert_non_null(strstr(text, "\"probe\":\"http\",\"reason\":null,\"since\":null,\"probes\":0,\"failed\":0"));
	free(text);
	ok("set service 203.0.113.80:80/tcp probe none probe-path / probe-interval 2s probe-timeout 1s probe-fall 3");
	text = saved();
	assert_non_null(strstr(text, "add service 203.0.113.80:80/tcp\n"));
	free(text);
}

static void test_not_in_this_version(void **state)
{
	(void)state;
	refused("add service 10.96.0.1:80/sctp", "not in this version");
	refused("add backend 10.96.0.1:80/tcp 10.1.0.10:8080", "there is no service 10.96.0.1:80/tcp");
	refused("add endpoint 10 device a ipv4 10.1.0.10 identity 7 attach macvlan-bridge", "not in this version");
}

/* Words of the configuration are the same with and without DPDK; only opening is not. */
static void test_dpdk_words(void **state)
{
	(void)state;
	ok("set dpdk eal-args \"--no-huge -m 64\"");
	assert_string_equal(settings.dpdk_eal_args, "--no-huge -m 64");
	ok("set dpdk eal-args \"\"");
	assert_string_equal(settings.dpdk_eal_args, "");
	ok("set dpdk idle sleep");
	assert_true(settings.dpdk_sleep);
	ok("set dpdk idle spin");
#ifndef SLUICE_DPDK
	refused("add port p9 dpdk net_null0", "port p9: built without DPDK: make DPDK=1");
#endif
}

/* Rows of settings.def name the defaults a second time. */
static void test_setting_defaults(void **state)
{
	struct settings were = settings;
	uint32_t timeouts[CT_TIMEOUTS];

	(void)state;
	memcpy(timeouts, ct_timeouts, sizeof(timeouts));
	settings_default();
	assert_memory_equal(&were, &settings, sizeof(were));
	assert_memory_equal(timeouts, ct_timeouts, sizeof(timeouts));
}

/* Last: start cannot be taken back. */
static void test_start_settings(void **state)
{
	(void)state;
	ok("set worker count 1");
	config_started();
	ok("set worker count 1");
	refused("set worker count 2", "restart");
	assert_int_equal(settings.worker_count, 1);
	ok("set ct accounting off");
	assert_false(settings.ct_accounting);
	assert_int_equal(settings_changed, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_setting_defaults),
		T(test_add_twice),
		T(test_duplicates),
		T(test_pool_options),
		T(test_references),
		T(test_file_is_one_transaction),
		T(test_table_refuses),
		T(test_save_and_load),
		T(test_refused_keeps_order),
		T(test_reload),
		T(test_moves),
		T(test_limits),
		T(test_policy_refuses),
		T(test_redirect),
		T(test_probes),
		T(test_not_in_this_version),
		T(test_dpdk_words),
		T(test_start_settings),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
