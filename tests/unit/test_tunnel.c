/* SPDX-License-Identifier: BSD-2-Clause */
/* VTEPs, remote nodes and tunnel prefixes: references, VNI lists, refusals that leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "fwd/base/hash.h"
#include "fwd/base/rcu.h"
#include "tables/tunnel.h"

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static struct ipnet net(const char *s)
{
	struct ipnet n;
	assert_true(ipnet_parse(s, &n));
	return n;
}

static int setup(void **state)
{
	struct err e = { "" };
	(void)state;
	hash_init(7);
	rcu_thread_register();
	assert_int_equal(tunnel_init(&e), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tunnel_fini();
	return 0;
}

static int vtep(const char *a, uint16_t port, enum vni_mode mode, struct err *e)
{
	struct vtep v = { .addr = ip(a), .port = port, .mode = (uint8_t)mode };
	return vtep_add(&v, e);
}

static int tunnel(const char *n, const char *remote, uint32_t vni, struct err *e)
{
	struct tunnel_value v = { .vni = vni, .flags = TUNNEL_VNI };
	struct ipaddr r = ip(remote);
	struct ipnet p = net(n);
	return tunnel_set(&p, &(struct remote_name){ .addr = r, .has_vni = true }, &v, e);
}

static void test_vteps(void **state)
{
	struct ipaddr a = ip("192.0.2.1"), zero = { 0 }, zero4 = ip("0.0.0.0");
	struct err e = { "" };
	(void)state;
	uint32_t g = gen_area->extra;
	assert_int_equal(vtep_find(&a, 8472), -1);
	assert_int_equal(vtep("192.0.2.1", 8472, VNI_IDENTITY, &e), 0);
	assert_int_equal(__builtin_popcountll(vtep_ports), 1);
	assert_int_equal(gen_area->extra, g + 1);
	assert_int_equal(vtep("192.0.2.1", 8472, VNI_NETWORK, &e), -EEXIST);
	assert_int_equal(vtep("192.0.2.1", 4789, VNI_NETWORK, &e), 1);
	assert_int_equal(vtep_find(&a, 8472), 0);
	assert_int_equal(vtep_find(&a, 4789), 1);
	assert_int_equal(vtep_find(&a, 4790), -1);
	/* unused slots are zero, and zero is nobody's address */
	assert_int_equal(vtep_find(&zero, 0), -1);
	assert_int_equal(vtep_find(&zero4, 0), -1);
	assert_false(vtep_addr_known(&zero));
	assert_true(vtep_addr_known(&a));
	assert_int_equal(vtep("224.0.0.1", 8472, VNI_IDENTITY, &e), -EINVAL);
	assert_int_equal(vtep("192.0.2.3", 0, VNI_IDENTITY, &e), -EINVAL);
	for (uint16_t i = 2; i < VTEPS_MAX; i++)
		assert_int_equal(vtep("192.0.2.1", (uint16_t)(9000 + i), VNI_IDENTITY, &e), i);
	assert_int_equal(vtep("192.0.2.2", 8472, VNI_IDENTITY, &e), -ENOSPC);
	assert_int_equal(vtep_del(&a, 4789, &e), 0);
	assert_int_equal(vtep_del(&a, 4789, &e), -ENOENT);
	assert_int_equal(vtep_find(&a, 4789), -1);
	assert_int_equal(vtep("2001:db8::1", 8472, VNI_IDENTITY, &e), 1);
	assert_int_equal(__builtin_popcountll(vtep_ports), 7); /* 8472 twice */
}

static void test_tunnels(void **state)
{
	struct ipaddr in = ip("10.3.9.9"), r1 = ip("198.51.100.1"), r2 = ip("198.51.100.2"), self = ip("192.0.2.1");
	struct ipnet n16 = net("10.3.0.0/16"), n24 = net("10.3.9.0/24"), at;
	struct tunnel_value v;
	struct err e = { "" };
	uint16_t dep;
	(void)state;
	assert_int_equal(tunnel("10.3.0.0/16", "198.51.100.1", 7, &e), -ENOENT);
	assert_int_equal(vtep("192.0.2.1", 4789, VNI_NETWORK, &e), 0);
	assert_int_equal(tunnel("10.3.0.0/16", "2001:db8::7", 7, &e), -ENOENT);
	assert_non_null(strstr(e.text, "no IPv6 VTEP"));
	assert_int_equal(tunnel("10.3.0.0/16", "192.0.2.1", 7, &e), -ENOENT);
	assert_non_null(strstr(e.text, "another node"));
	assert_int_equal(tunnel("10.3.0.0/16", "198.51.100.1", 0x1000000, &e), -EINVAL);
	assert_int_equal(tunnel_count(), 0);
	assert_int_equal(remote_next(0), 0);

	assert_null(tunnel_lookup(0, &in, &dep));
	uint32_t g = gen_load(dep);
	assert_int_equal(tunnel("10.3.0.0/16", "198.51.100.1", 7, &e), 0);
	assert_true(gen_load(dep) > g);
	uint32_t a = remote_find(0, &r1);
	assert_int_not_equal(a, 0);
	assert_int_equal(remote_find(1, &r1), 0);
	assert_int_equal(remote_at(a)->vtep, 0);
	assert_true(ip_eq(&remote_at(a)->addr, &r1));
	assert_int_equal(tunnel_lookup(0, &in, NULL)->remote, a);
	assert_int_equal(tunnel("10.3.9.0/24", "198.51.100.2", 8, &e), 0);
	uint32_t b = remote_find(0, &r2);
	assert_int_equal(tunnel_lookup(0, &in, NULL)->remote, b);
	assert_int_equal(tunnel_lookup(0, &in, NULL)->vni, 8);
	assert_int_equal(tunnel_count(), 2);
	assert_int_equal(vtep_del(&self, 4789, &e), -EBUSY);
	assert_non_null(strstr(e.text, "2 remote nodes"));

	/* replaced: the former remote goes */
	g = gen_load(remote_at(b)->gen);
	uint16_t gb = remote_at(b)->gen;
	assert_int_equal(tunnel("10.3.9.0/24", "198.51.100.1", 9, &e), 0);
	assert_int_equal(remote_find(0, &r2), 0);
	assert_null(remote_at(b));
	assert_true(gen_load(gb) > g);
	assert_int_equal(remote_at(a)->refs, 2);
	assert_true(remote_has_vni(remote_at(a), 7, NULL) && remote_has_vni(remote_at(a), 9, NULL));
	uint32_t walked = 0;
	for (uint32_t i = tunnel_next(0, &at, &v); i; i = tunnel_next(i, &at, &v), walked++)
		assert_int_equal(v.remote, a);
	assert_int_equal(walked, 2);
	assert_int_equal(tunnel_del(0, &n24, &e), 0);
	assert_int_equal(tunnel_del(0, &n24, &e), -ENOENT);
	assert_false(remote_has_vni(remote_at(a), 9, NULL));
	assert_true(remote_has_vni(remote_at(a), 7, NULL));
	assert_int_equal(tunnel_del(0, &n16, &e), 0);
	assert_null(remote_at(a));
	assert_int_equal(vtep_del(&self, 4789, &e), 0);
}

static void test_vni_list(void **state)
{
	struct ipaddr r = ip("198.51.100.1");
	struct err e = { "" };
	char text[IP_STRLEN];
	(void)state;
	assert_int_equal(vtep("192.0.2.1", 4789, VNI_NETWORK, &e), 0);
	for (unsigned i = 0; i < REMOTE_VNIS; i++) {
		snprintf(text, sizeof(text), "10.%u.0.0/16", i);
		assert_int_equal(tunnel(text, "198.51.100.1", 100 + i, &e), 0);
	}
	assert_int_equal(tunnel("10.99.0.0/16", "198.51.100.1", 99, &e), -ENOSPC);
	assert_int_equal(tunnel("10.99.0.0/16", "198.51.100.1", 103, &e), 0); /* a VNI it has */
	uint32_t i = remote_find(0, &r);
	assert_int_equal(remote_at(i)->refs, REMOTE_VNIS + 1);
	assert_int_equal(remote_at(i)->n_vnis, REMOTE_VNIS);
	struct ipnet n = net("10.3.0.0/16");
	assert_int_equal(tunnel_del(0, &n, &e), 0);
	assert_true(remote_has_vni(remote_at(i), 103, NULL)); /* 10.99.0.0/16 still uses it */
	n = net("10.99.0.0/16");
	assert_int_equal(tunnel_del(0, &n, &e), 0);
	assert_false(remote_has_vni(remote_at(i), 103, NULL));
	for (unsigned k = 0; k < REMOTE_VNIS; k++)
		assert_int_equal(remote_has_vni(remote_at(i), 100 + k, NULL), k != 3);
	assert_int_equal(tunnel("10.99.0.0/16", "198.51.100.1", 99, &e), 0);
	assert_true(remote_has_vni(remote_at(i), 99, NULL));
}

static int tunnel_in(uint16_t zone, const char *n, uint32_t vni, struct err *e)
{
	struct tunnel_value v = { .vni = vni, .flags = TUNNEL_VNI, .zone = zone };
	struct ipaddr r = ip("198.51.100.1");
	struct ipnet p = net(n);
	return tunnel_set(&p, &(struct remote_name){ .addr = r, .has_vni = true }, &v, e);
}

/* One prefix in several zones, and the zone that each VNI has. */
static void test_zones(void **state)
{
	const struct ipaddr r = ip("198.51.100.1"), in = ip("10.3.0.7");
	const struct ipnet n = net("10.3.0.0/16");
	struct err e = { "" };
	uint16_t zone = 0, dep[3];
	(void)state;
	assert_int_equal(vtep("192.0.2.1", 4789, VNI_NETWORK, &e), 0);
	assert_int_equal(tunnel_in(1, "10.3.0.0/16", 501, &e), 0);
	assert_int_equal(tunnel_in(2, "10.3.0.0/16", 502, &e), 0);
	assert_int_equal(tunnel_in(65535, "10.3.0.0/16", 503, &e), 0);
	assert_int_equal(tunnel_count(), 3);
	assert_null(tunnel_lookup(0, &in, NULL));
	assert_int_equal(tunnel_lookup(1, &in, &dep[0])->vni, 501);
	assert_int_equal(tunnel_lookup(2, &in, &dep[1])->vni, 502);
	assert_int_equal(tunnel_lookup(65535, &in, &dep[2])->vni, 503);
	const struct remote *node = remote_at(remote_find(0, &r));
	assert_true(remote_has_vni(node, 503, &zone));
	assert_int_equal(zone, 65535);
	/* a VNI has one zone: what comes with it would be in two */
	assert_int_equal(tunnel_in(3, "10.4.0.0/16", 502, &e), -EINVAL);
	assert_non_null(strstr(e.text, "zone 2"));
	assert_int_equal(tunnel_in(2, "10.4.0.0/16", 502, &e), 0);
	/* the last one of the list takes a place that came free, with its zone */
	const uint32_t before = gen_load(dep[0]), other = gen_load(dep[1]);
	assert_int_equal(tunnel_del(1, &n, &e), 0);
	assert_true(gen_load(dep[0]) > before);
	assert_int_equal(gen_load(dep[1]), other);
	assert_false(remote_has_vni(node, 501, NULL));
	assert_true(remote_has_vni(node, 503, &zone) && zone == 65535);
	assert_true(remote_has_vni(node, 502, &zone) && zone == 2);
	assert_int_equal(tunnel_in(7, "10.3.0.0/16", 501, &e), 0); /* once free, in any zone */
	assert_true(remote_has_vni(node, 501, &zone) && zone == 7);
}

static void test_value_checks(void **state)
{
	struct tunnel_value v = { .flags = TUNNEL_MAC | TUNNEL_VIA, .via = ip("10.9.9.9") };
	struct remote_name r = { .addr = ip("198.51.100.1") };
	struct ipnet n = net("10.3.0.0/16");
	struct err e = { "" };
	(void)state;
	assert_int_equal(vtep("192.0.2.1", 8472, VNI_IDENTITY, &e), 0);
	mac_parse("02:00:00:00:00:01", &v.mac);
	assert_int_equal(tunnel_set(&n, &r, &v, &e), -EINVAL);
	v.flags = TUNNEL_MAC;
	v.mac.b[0] = 1;
	assert_int_equal(tunnel_set(&n, &r, &v, &e), -EINVAL);
	v.mac.b[0] = 2;
	assert_int_equal(tunnel_set(&n, &r, &v, &e), 0);
	assert_int_equal(remote_at(v.remote)->n_vnis, 0); /* identity mode keeps no list */
	/* a second VTEP of the family changes nothing for remotes that are known */
	struct ipaddr first = ip("192.0.2.1");
	assert_int_equal(vtep("192.0.2.2", 8472, VNI_IDENTITY, &e), 1);
	assert_int_equal(remote_get(&r, &e), v.remote);
	remote_put(v.remote);
	assert_int_equal(vtep_del(&first, 8472, &e), -EBUSY);
}

/* ---- which VTEP ---- */

static int chosen(const char *remote, const char *vtep_addr, uint16_t port, bool has_vni)
{
	struct remote_name n = { .addr = ip(remote), .port = port, .has_vni = has_vni };
	if (vtep_addr)
		n.vtep = ip(vtep_addr);
	return vtep_choose(&n);
}

static void test_choice(void **state)
{
	struct ipaddr a = ip("192.0.2.1"), r = ip("198.51.100.9");
	struct remote_name n = { .addr = r };
	struct err e = { "" };
	(void)state;
	assert_int_equal(chosen("192.0.2.9", NULL, 0, false), -1);
	assert_int_equal(vtep("192.0.2.1", 8472, VNI_IDENTITY, &e), 0);
	assert_int_equal(vtep("192.0.2.2", 8472, VNI_IDENTITY, &e), 1);
	assert_int_equal(vtep("198.51.100.1", 8472, VNI_IDENTITY, &e), 2);
	assert_int_equal(vtep("192.0.2.1", 4789, VNI_NETWORK, &e), 3);
	assert_int_equal(vtep("2001:db8:1::1", 8472, VNI_IDENTITY, &e), 4);
	assert_int_equal(vtep("2001:db8:2::1", 8472, VNI_IDENTITY, &e), 5);
	/* of one network the first, however alike the last bits are */
	assert_int_equal(chosen("192.0.2.3", NULL, 0, false), 0);
	assert_int_equal(chosen("198.51.100.9", NULL, 0, false), 2);
	assert_int_equal(chosen("203.0.113.9", NULL, 0, false), 0);
	assert_int_equal(chosen("198.51.100.9", NULL, 0, true), 3); /* the mode counts more than the network */
	assert_int_equal(chosen("2001:db8:2::9", NULL, 0, false), 5);
	assert_int_equal(chosen("2001:db8:1::9", NULL, 0, true), 4); /* none in network mode */
	assert_int_equal(chosen("192.0.2.9", "198.51.100.1", 0, true), 2);
	assert_int_equal(chosen("192.0.2.9", "192.0.2.1", 0, false), 0);
	assert_int_equal(chosen("192.0.2.9", NULL, 4789, false), 3);
	assert_int_equal(chosen("192.0.2.9", "192.0.2.2", 4789, false), -1);
	assert_int_equal(chosen("192.0.2.9", "2001:db8:1::1", 0, false), -1);
	/* one node at two VTEPs: two remotes, each with references of its own */
	const uint32_t first = remote_get(&n, &e);
	n.vtep = a;
	const uint32_t second = remote_get(&n, &e);
	assert_true(first && second && first != second);
	assert_int_equal(remote_find(2, &r), first);
	assert_int_equal(remote_find(0, &r), second);
	assert_int_equal(remote_find(1, &r), 0);
	remote_put(first);
	assert_int_equal(remote_find(2, &r), 0);
	assert_int_equal(remote_find(0, &r), second);
	n.vtep = r;
	assert_int_equal(remote_get(&n, &e), 0);
	assert_non_null(strstr(e.text, "no such IPv4 VTEP"));
	/* the first is who came first, not who has the lowest place */
	remote_put(second);
	assert_int_equal(vtep_del(&a, 8472, &e), 0);
	assert_int_equal(vtep("192.0.2.3", 8472, VNI_IDENTITY, &e), 0);
	assert_int_equal(chosen("192.0.2.9", NULL, 0, false), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vteps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tunnels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vni_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_value_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_choice, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
