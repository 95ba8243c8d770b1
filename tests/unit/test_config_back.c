/* SPDX-License-Identifier: BSD-2-Clause */
/* Options that 'set' takes back: for each one there is a way, and afterwards nothing is left of it in what is saved. */
#include "tests/unit/config_env.h"

/* Every option of every kind that may be absent: given, and taken back, it leaves no trace in what is saved. */
static void test_taken_back(void **state)
{
	static const struct {
		const char *key, *options, *given, *back;
	} rows[] = {
		{ "nat pool 198.51.100.1", "", "ports 1000-2000", "ports none" },
		{ "nat pool 198.51.100.1", "", "port p1", "port none" },
		{ "nat pool 198.51.100.1", "", "source 10.1.0.0/24", "source none" },
		{ "nat pool 198.51.100.1", "", "static 10.1.0.10", "static none" },
		{ "nat pool 2001:db8:9::/48", "static fd00:1::/48 port p1", "static fd00:2::/48",
		  "static fd00:1::/48" },
		{ "nat pool 198.51.100.1", "", "mapping apdm", "mapping eim" },
		{ "nat pool 198.51.100.1", "", "filter eif", "filter none" },
		{ "nat pool 198.51.100.1", "", "filter adf", "filter none" },
		{ "nat pool 198.51.100.1", "filter eif", "rest 5", "rest none" },
		{ "nat pool 198.51.100.1", "", "max-ports 500", "max-ports 0" },
		{ "nat pool 198.51.100.1", "", "max-sessions 500", "max-sessions 0" },
		{ "nat pool 198.51.100.1", "", "blocks 64", "blocks 0" },
		{ "nat pool 198.51.100.1", "", "block-limit 2", "block-limit 0" },
		{ "tunnel 10.3.0.0/16", "remote 192.0.2.9", "vtep 192.0.2.1", "vtep none" },
		{ "tunnel 10.3.0.0/16", "remote 192.0.2.9", "port 8472", "port none" },
		{ "tunnel 10.3.0.0/16", "remote 192.0.2.9", "vni 0", "vni none" },
		{ "tunnel 10.3.0.0/16", "remote 192.0.2.9", "mac 02:00:00:00:00:09", "mac none" },
		{ "tunnel 10.3.0.0/16", "remote 192.0.2.9", "via 10.3.0.1", "via none" },
		{ "tunnel 10.3.0.0/16", "remote 192.0.2.9 via 10.3.0.1", "mac 02:00:00:00:00:09", "via 10.3.0.1" },
		{ "ipcache 10.5.0.0/24", "identity 9", "remote 192.0.2.9", "remote none" },
		{ "ipcache 10.5.0.0/24", "identity 9", "remote 192.0.2.9 vtep 192.0.2.1 port 8472", "remote none" },
		{ "ipcache 10.5.0.0/24", "identity 9 remote 192.0.2.9", "vtep 192.0.2.1", "vtep none" },
		{ "ipcache 10.5.0.0/24", "identity 9 remote 192.0.2.9", "port 8472", "port none" },
		{ "endpoint 10", "device a ipv4 10.1.0.10 identity 7", "ipv6 2001:db8::a ipv6 2001:db8::b",
		  "ipv6 none" },
		{ "endpoint 10", "device a ipv6 2001:db8::a identity 7", "ipv4 10.1.0.10", "ipv4 none" },
		{ "endpoint 10", "device a ipv4 10.1.0.10 identity 7", "mac 02:00:00:00:00:0a", "mac none" },
		{ "endpoint 10", "device a ipv4 10.1.0.10 identity 7", "zone 3", "zone 0" },
		{ "port p0", "mem", "queues 2", "queues none" },
		{ "port p0", "mem", "zone 2", "zone 0" },
		{ "port p0", "mem", "mode generic", "mode auto" },
		{ "port p0", "mem", "checksum trust", "checksum auto" },
		{ "port p0", "mem", "on-exit pass", "on-exit drop" },
		{ "port p0", "mem", "transit on", "transit off" },
		{ "port p0", "mem", "gro keep", "gro auto" },
		{ "port p0", "mem", "source-validation loose", "source-validation off" },
		{ "policy host egress allow any", "", "precedence 4", "precedence 0" },
		{ "policy host egress allow any", "", "name web", "name \"\"" },
		{ "service 203.0.113.80:80/tcp", "", "source-range 10.0.0.0/8 source-deny 10.9.0.0/16", "any-source" },
		{ "service 203.0.113.80:80/tcp", "", "affinity 60", "affinity 0" },
		{ "service 203.0.113.80:80/tcp", "", "probe http probe-port 81", "probe none probe-port 0" },
		{ "service 203.0.113.80:80/tcp", "", "slow-start 5", "slow-start 0" },
		{ "backend 203.0.113.81:80/tcp 10.1.0.10:80", "", "weight 3", "weight 1" },
		{ "backend 203.0.113.81:80/tcp 10.1.0.10:80", "", "state down", "state active" },
		{ "vtep 192.0.2.7", "", "vni-mode network", "vni-mode identity" },
	};
	char line[200];

	(void)state;
	ok("add port p1 mem");
	ok("add vtep 192.0.2.1");
	ok("add service 203.0.113.81:80/tcp");
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(line, sizeof(line), "add %s %s", rows[i].key, rows[i].options);
		ok(line);
		char *was = saved();
		snprintf(line, sizeof(line), "set %s %s", rows[i].key, rows[i].given);
		ok(line);
		char *given = saved();
		if (strcmp(rows[i].given, "filter adf") != 0) /* the default: as if not given */
			assert_string_not_equal(was, given);
		/* what cannot stand takes it back, too */
		snprintf(line, sizeof(line), "set %s %s\nadd policy endpoint 99 egress allow any\n", rows[i].key,
			 rows[i].back);
		assert_true(config_load(write_file(line), false, &e) < 0);
		char *still = saved();
		assert_string_equal(given, still);
		snprintf(line, sizeof(line), "set %s %s", rows[i].key, rows[i].back);
		ok(line);
		char *is = saved();
		if (strcmp(was, is) != 0)
			fail_msg("%s: %s", line, is);
		snprintf(line, sizeof(line), "del %s", rows[i].key);
		ok(line);
		free(was);
		free(given);
		free(still);
		free(is);
	}
	/* the tables know it, too */
	ok("add nat pool 198.51.100.1 ports 1000-2000 port p1 source 10.1.0.0/24 rest 5");
	ok("set nat pool 198.51.100.1 ports none port none source none rest none static 10.1.0.10");
	const struct nat_pool *p = &nat_pools[nat_pool_by_addr(ip("198.51.100.1"))];
	assert_true(p->port == -1 && !p->has_source && nat_is_static(p) && !p->rest);
	refused("set nat pool 198.51.100.1 ports 5-9 rest 3", "take back: ports none rest none");
	ok("set nat pool 198.51.100.1 static none");
	p = &nat_pools[nat_pool_by_addr(ip("198.51.100.1"))];
	assert_true(!nat_is_static(p) && p->port_lo == 1024 && p->port_hi == 65535);
	ok("add tunnel 10.3.0.0/16 remote 192.0.2.9 vni 5 via 10.3.0.1");
	ok("set tunnel 10.3.0.0/16 vni none via none");
	assert_int_equal(tunnel_lookup(0, ip("10.3.0.1"), &(uint16_t){ 0 })->flags, 0);
	refused("set tunnel 10.3.0.0/16 via 10.3.0.1 mac 02:00:00:00:00:09", "exclude each other");
	ok("add endpoint 10 device a ipv4 10.1.0.10 ipv6 2001:db8::a mac 02:00:00:00:00:0a identity 7");
	ok("set endpoint 10 ipv6 none mac none");
	assert_true(!endpoint_by_id(10)->mac_fixed && endpoint_by_id(10)->n_addrs == 1);
	assert_null(endpoint_by_addr(ip("2001:db8::a")));
	refused("set endpoint 10 ipv4 none", "it needs an address");
	refused("set tunnel 10.3.0.0/16 zone 3", "zone is part of its name: del the old one and add the new one");
	refused("set vtep 192.0.2.1 port 4789", "port is part of its name: del the old one and add the new one");
	refused("set tunnel 10.4.0.0/16 vni none", "there is no tunnel 10.4.0.0/16");
	refused("set port p1 tap x", "tap x goes with a dpdk device only");
	refused("add port none mem", "give it another name");
}

/* An option added to a kind needs a way back: none, a word or a 0 that is the default, or it is named here. */
static void test_each_has_a_way(void **state)
{
	static const char *const others[] = {
		"[name TEXT]",           /* "" */
		"[source-range PREFIX]", /* any-source */
		"[source-deny PREFIX]",
		"[any-source]",
		"[attach WORD]", /* veth is all there is */
		/* the default is a value like others */
		"[maglev-size N:251-131071]",
		"[probe-path WORD]",
		"[probe-interval TIME]",
		"[probe-timeout TIME]",
		"[probe-rise N:1-100]",
		"[probe-fall N:1-100]",
	};

	(void)state;
	for (unsigned k = 0; config_kinds[k]; k++)
		for (const char *s = config_kinds[k]->options; s && (s = strchr(s, '[')); s++) {
			const char *value = s + strcspn(s, " ]") + 1;
			bool fine = (*value >= 'a' && *value <= 'z') || !strncmp(value, "N:0-", 4);
			for (unsigned i = 0; i < ARRAY_LEN(others); i++)
				fine |= !strncmp(s, others[i], strlen(others[i]));
			if (!fine)
				fail_msg("%s: nothing takes back %.*s]", config_kinds[k]->name, (int)strcspn(s, "]"),
					 s);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_taken_back),
		T(test_each_has_a_way),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
