/* SPDX-License-Identifier: BSD-2-Clause */
/* What tests of the configuration stand on: the real tables, one worker without a thread, mem ports, hooks that count.
 * Each test begins and ends with nothing configured (before, after). */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/commands.h"
#include "cli/config.h"
#include "fwd/base/rcu.h"
#include "fwd/fib.h"
#include "fwd/settings.h"
#include "fwd/worker.h"
#include "tables/ct.h"
#include "tables/ipcache.h"
#include "tables/ipmasq.h"
#include "tables/neighbor.h"
#include "tables/policy.h"
#include "tables/service.h"

static struct err e;
static unsigned prepared, endpoint_hooks, prefixes_added, prefixes_deleted, ports_changed, pools_changed,
	settings_changed;
static bool hook_saw_policy;

static inline int on_prepare(struct err *x)
{
	(void)x;
	prepared++;
	return 0;
}

static inline void on_endpoint(const struct endpoint *old, const struct endpoint *now)
{
	(void)old;
	endpoint_hooks++;
	hook_saw_policy = now && now->policy_set;
}

static inline void on_prefix(bool added, const struct ipnet *n)
{
	(void)n;
	*(added ? &prefixes_added : &prefixes_deleted) += 1;
}

static inline void on_port(bool added, const struct port_conf *conf, struct port *port)
{
	assert_true(added == (port != NULL));
	assert_true(conf->name[0]);
	ports_changed++;
}

static inline void on_pool(bool added, int index, const struct nat_pool *pool)
{
	(void)pool;
	assert_true(added == (index >= 0));
	pools_changed++;
}

static inline void on_setting(const char *name)
{
	assert_non_null(name);
	settings_changed++;
}

static inline int start(void **state)
{
	(void)state;
	hash_init(1);
	rcu_thread_register();
	assert_int_equal(frames_init(2048, &e), 0);
	assert_int_equal(endpoint_init(&e) | ipcache_init(&e) | ipmasq_init(&e) | tunnel_init(&e) | neighbor_init(&e) |
				 policy_init(&e) | nat_init(&e) | ct_init(1024, 1024, &e) | fib_init(&e) |
				 service_init(&e),
			 0);
	assert_int_equal(workers_init(1, &e), 0);
	config_hooks = (struct config_hooks){ .prepare = on_prepare,
					      .endpoint_changed = on_endpoint,
					      .prefix_changed = on_prefix,
					      .port_changed = on_port,
					      .pool_changed = on_pool,
					      .setting_changed = on_setting };
	return 0;
}

static char config_path[] = "/tmp/sluice-test-config-XXXXXX";

static void remove_file(void)
{
	unlink(config_path);
}

static inline const char *write_file(const char *text)
{
	static int fd = -1;

	if (fd < 0) {
		fd = mkstemp(config_path);
		atexit(remove_file);
	}
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	return config_path;
}

static inline char *saved(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	config_save(f);
	fclose(f);
	return text;
}

/* Every test begins and ends with nothing configured. */
static inline int before(void **state)
{
	(void)state;
	config_init();
	e.text[0] = 0;
	endpoint_hooks = prefixes_added = prefixes_deleted = ports_changed = pools_changed = settings_changed = 0;
	return 0;
}

static inline int after(void **state)
{
	(void)state;
	if (config_reload(write_file(""), &e))
		fail_msg("%s", e.text);
	assert_int_equal(endpoint_count() + ipcache_count() + tunnel_count() + ipmasq_count() + policy_rule_count() +
				 service_count(),
			 0);
	assert_null(port_by_name("p0"));
	for (unsigned i = 0; i < 3; i++)
		rcu_poll_deferred();
	return 0;
}

static inline int run(const char *line)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int r;

	e.text[0] = 0;
	r = cli_execute(line, false, f, &e);
	fclose(f);
	free(text);
	return r;
}

static inline void ok(const char *line)
{
	if (run(line))
		fail_msg("%s: %s", line, e.text);
}

static inline void refused(const char *line, const char *why)
{
	char *was = saved(), *is;

	if (run(line) >= 0)
		fail_msg("%s: not refused", line);
	if (!strstr(e.text, why))
		fail_msg("%s: '%s' does not say '%s'", line, e.text, why);
	is = saved();
	assert_string_equal(was, is);
	free(was);
	free(is);
}

static inline char *show(const char *line)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (cli_execute(line, true, f, &e))
		fail_msg("%s: %s", line, e.text);
	fclose(f);
	return text;
}

static inline const struct ipaddr *ip(const char *s)
{
	static struct ipaddr a;

	assert_true(ip_parse(s, &a));
	return &a;
}

static const char everything[] =
	"set policy mode always\nset policy reject on\nset ct timeout udp 77\nset host-routes off\n"
	"set tcp mss-clamp 1400\nset icmp rate too-big 0\nset ip source-route ignore\n"
	"add port p0 mem\nadd port p1 mem queues 2 source-validation strict\n"
	"add vtep 192.0.2.1\nadd vtep 2001:db8::1 port 4789 vni-mode network\n"
	"add nat pool 198.51.100.1 ports 1000-2000 port p1 source 10.1.0.0/24 mapping eim filter eif\n"
	"add nat pool 2001:db8:5::1\nadd ipmasq 10.0.0.0/8\nadd ipmasq 2001:db8::/32\n"
	"add tunnel 10.3.0.0/16 remote 192.0.2.9 vni 5 mac 02:00:00:00:00:09\nadd tunnel 10.4.0.0/16 remote "
	"2001:db8::9 vni 6 via 10.4.0.1\n"
	"add ipcache 10.5.0.0/24 identity 9 remote 192.0.2.9\nadd ipcache 0.0.0.0/0 identity 2\n"
	"add endpoint 10 device lxc10 ipv6 2001:db8:1::a ipv4 10.1.0.10 ipv4 10.1.0.11 mac 02:00:00:00:00:0a identity "
	"1001 attach veth\n"
	"add policy endpoint 10 egress allow any\n"
	"add policy identity 1001 ingress deny cidr 10.9.0.0/16 udp port 53-60 precedence 7 name \"no \\\"dns\\\" "
	"here\"\n"
	"add policy host egress allow identity 2 icmpv6 port 128\n"
	"add service 203.0.113.80:80/tcp algorithm wrr source-range 10.0.0.0/8 probe http probe-port 8080 probe-path "
	"/up?a=1 probe-interval 500ms probe-timeout 3s probe-rise 1 probe-fall 5\n"
	"add service [2001:db8:80::80]:53/udp probe icmp probe-interval 2m\n"
	"add backend 203.0.113.80:80/tcp 10.1.0.10:80 weight 3 state draining\n";

#define T(f) cmocka_unit_test_setup_teardown(f, before, after)
