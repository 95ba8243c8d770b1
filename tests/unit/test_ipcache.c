/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcache and ipmasq: longest match and its generation counter, references on remote nodes, refusals, full tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "fwd/base/hash.h"
#include "fwd/base/rcu.h"
#include "tables/ipcache.h"
#include "tables/ipmasq.h"
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
	assert_int_equal(ipcache_init(&e), 0);
	assert_int_equal(ipmasq_init(&e), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ipmasq_fini();
	ipcache_fini();
	tunnel_fini();
	return 0;
}

static int set(const char *n, uint32_t identity, const char *remote, struct err *e)
{
	struct ipnet p = net(n);
	struct ipaddr r = remote ? ip(remote) : (struct ipaddr){ 0 };
	return ipcache_set(&p, identity, remote ? &(struct remote_name){ .addr = r } : NULL, 0, e);
}

static uint32_t identity(const char *a, uint16_t *dep)
{
	struct ipaddr addr = ip(a);
	return ipcache_identity(&addr, dep);
}

static void test_longest_match(void **state)
{
	struct err e = { "" };
	uint16_t world, net8, net24, six;
	(void)state;
	assert_int_equal(identity("10.2.3.4", &world), ID_WORLD);
	uint32_t g = gen_load(world) + gen_area->extra;
	assert_int_equal(set("10.0.0.0/8", 2001, NULL, &e), 0);
	assert_true(gen_load(world) + gen_area->extra > g); /* who saw "no match" decides again */
	assert_int_equal(identity("10.2.3.4", &net8), 2001);
	g = gen_load(net8);
	assert_int_equal(set("10.2.3.0/24", 2002, NULL, &e), 0);
	assert_true(gen_load(net8) > g); /* who saw the /8 decides again */
	assert_int_equal(identity("10.2.3.4", &net24), 2002);
	assert_int_equal(identity("10.2.4.4", NULL), 2001);
	g = gen_load(net24);
	assert_int_equal(set("10.2.3.0/24", 2003, NULL, &e), 0);
	assert_true(gen_load(net24) > g);
	assert_int_equal(identity("10.2.3.4", NULL), 2003);
	assert_int_equal(ipcache_count(), 2);

	assert_int_equal(set("::/0", 2009, NULL, &e), 0);
	assert_int_equal(identity("192.0.2.1", NULL), ID_WORLD); /* ::/0 never covers IPv4 */
	assert_int_equal(identity("2001:db8::1", &six), 2009);
	struct ipnet n = net("10.2.3.0/24");
	assert_int_equal(ipcache_del(&n, &e), 0);
	assert_int_equal(ipcache_del(&n, &e), -ENOENT);
	assert_non_null(strstr(e.text, "10.2.3.0/24"));
	assert_int_equal(identity("10.2.3.4", NULL), 2001);
	assert_int_equal(set("10.2.3.0/24", ID_MAX + 1, NULL, &e), -EINVAL);
}

static void test_remote_references(void **state)
{
	struct vtep v = { .addr = ip("192.0.2.1"), .port = 8472 };
	struct ipaddr a = ip("192.0.2.7"), b = ip("192.0.2.8"), at = ip("10.2.0.9");
	struct err e = { "" };
	(void)state;
	assert_int_equal(set("10.2.0.0/24", 2001, "192.0.2.7", &e), -ENOENT);
	assert_non_null(strstr(e.text, "'add vtep' first"));
	assert_int_equal(ipcache_count(), 0);
	assert_int_equal(vtep_add(&v, &e), 0);
	assert_int_equal(set("10.2.0.0/24", 2001, "192.0.2.7", &e), 0);
	uint32_t first = remote_find(0, &a);
	assert_int_not_equal(first, 0);
	assert_int_equal(ipcache_lookup(&at, NULL)->remote, first);
	assert_int_equal(remote_at(first)->refs, 1);
	assert_int_equal(set("10.2.0.0/24", 2001, "192.0.2.7", &e), 0);
	assert_int_equal(remote_at(first)->refs, 1);
	assert_int_equal(set("10.3.0.0/24", 2001, "192.0.2.7", &e), 0);
	assert_int_equal(remote_at(first)->refs, 2);
	assert_int_equal(set("10.2.0.0/24", 2001, "192.0.2.8", &e), 0);
	assert_int_equal(remote_at(first)->refs, 1);
	assert_int_equal(vtep_del(&v.addr, 8472, &e), -EBUSY);
	struct ipnet n = net("10.3.0.0/24");
	uint32_t extra = gen_area->extra;
	assert_int_equal(ipcache_del(&n, &e), 0);
	assert_int_equal(remote_find(0, &a), 0);
	assert_null(remote_at(first));
	assert_int_not_equal(gen_area->extra, extra); /* records name the remote's index, which may be reused */
	assert_int_equal(set("10.2.0.0/24", 2001, NULL, &e), 0);
	assert_int_equal(remote_find(0, &b), 0);
	assert_int_equal(vtep_del(&v.addr, 8472, &e), 0);
}

static void test_ipcache_full(void **state)
{
	enum { CAPACITY = 512 * 1024 };
	struct err e = { "" };
	(void)state;
	for (uint32_t i = 0; i < CAPACITY; i++) {
		struct ipnet n = { .addr = ip_from4(htonl(0x0a000000 + i)), .len = 128 };
		assert_int_equal(ipcache_set(&n, 2000, NULL, 0, &e), 0);
	}
	assert_int_equal(set("192.0.2.1", 1, NULL, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "524288"));
	/* replacement and deletion still work, and what was deleted makes room */
	for (uint32_t i = 0; i < CAPACITY / 4; i++) {
		struct ipnet n = { .addr = ip_from4(htonl(0x0a000000 + i)), .len = 128 };
		assert_int_equal(ipcache_set(&n, 2001, NULL, 0, &e), 0);
	}
	struct ipnet gone = net("10.0.0.0/32");
	assert_int_equal(ipcache_del(&gone, &e), 0);
	assert_int_equal(set("192.0.2.1", 2002, NULL, &e), 0);
	assert_int_equal(identity("192.0.2.1", NULL), 2002);
	assert_int_equal(identity("10.0.0.1", NULL), 2001);
}

static void test_ipmasq(void **state)
{
	struct ipaddr in = ip("10.1.2.3"), out = ip("11.1.2.3");
	struct ipnet a = net("10.0.0.0/8"), b = net("10.1.0.0/16"), which;
	struct err e = { "" };
	(void)state;
	assert_false(ipmasq_match(&in, &which)); /* starts empty */
	uint32_t g = gen_area->extra;
	assert_int_equal(ipmasq_add(&a, &e), 0);
	assert_true(gen_area->extra > g);
	g = gen_area->extra;
	assert_int_equal(ipmasq_add(&a, &e), -EEXIST);
	assert_int_equal(gen_area->extra, g);
	assert_int_equal(ipmasq_add(&b, &e), 0);
	assert_true(ipmasq_match(&in, &which));
	assert_int_equal(which.len, 96 + 16);
	assert_true(ip_eq(&which.addr, &b.addr));
	assert_false(ipmasq_match(&out, NULL));
	assert_int_equal(ipmasq_count(), 2);
	g = gen_area->extra;
	assert_int_equal(ipmasq_del(&b, &e), 0);
	assert_true(gen_area->extra > g);
	assert_true(ipmasq_match(&in, &which));
	assert_int_equal(which.len, 96 + 8);
	assert_int_equal(ipmasq_del(&b, &e), -ENOENT);
	uint32_t i = ipmasq_next(0, &which);
	assert_int_not_equal(i, 0);
	assert_true(ip_eq(&which.addr, &a.addr));
	assert_int_equal(ipmasq_next(i, &which), 0);
	assert_int_equal(ipmasq_del(&a, &e), 0);
	assert_false(ipmasq_match(&in, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_longest_match, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remote_references, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ipcache_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ipmasq, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
