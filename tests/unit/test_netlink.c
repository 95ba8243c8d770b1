/* SPDX-License-Identifier: BSD-2-Clause */
/* fwd/netlink against the kernel in a network namespace of its own, changed with ip(8): whatever the kernel would answer, the
 * mirror answers, also where the kernel says nothing. The oracle of test_oracle is 'ip route get' itself. */
#include "fwd/netlink.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/fib.h"
#include "fwd/resolve.h"
#include "tables/ipcache.h"
#include "tables/tunnel.h"

struct port *ports[PORTS_MAX];
static struct port up[2];

struct port *port_by_ifindex(uint32_t ifindex)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && ports[i]->ifindex == ifindex)
			return ports[i];
	return NULL;
}

int workers_inject(uint16_t out, const void *frame, uint32_t len)
{
	(void)out, (void)frame, (void)len;
	return 0;
}

void workers_neighbor_changed(void)
{
}

/* ---- the namespace: e0 - p0 in namespace 'peer', e1 - p1 ---- */

__attribute__((format(printf, 1, 2))) static void sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd) != 0)
		fail_msg("%s", cmd);
}

static void settle(void)
{
	netlink_read();
	for (int i = 0; i < 1000 && netlink_pending(); i++) {
		usleep(10000);
		netlink_tick(clock_ns());
	}
	assert_false(netlink_pending());
	rcu_poll_deferred();
}

static void change(const char *command)
{
	sh("%s", command);
	settle();
}

/* Carrier changes reach user space up to a second late. */
static void wait_port(unsigned i, bool is_up)
{
	for (int n = 0; n < 300 && up[i].up != is_up; n++) {
		usleep(10000);
		settle();
	}
	assert_int_equal(up[i].up, is_up);
	settle();
}

static uint16_t port_index[2] = { PORT_FIRST, PORT_FIRST + 1 };

static int setup(void **state)
{
	struct err e;
	(void)state;
	hash_init(5);
	memset(ports, 0, sizeof(ports));
	/* a private mount namespace hides that of the machine: /sys is not needed, /run/netns is */
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
		return -1;
	sh("mkdir -p /run/netns; ip netns add peer; ip link set lo up");
	sh("sysctl -qw net.ipv6.conf.default.accept_dad=0; ip netns exec peer sysctl -qw "
	   "net.ipv6.conf.default.accept_dad=0");
	for (unsigned i = 0; i < 2; i++) {
		sh("ip link add e%u type veth peer name p%u netns peer", i, i);
		sh("ip link set e%u up; ip -n peer link set p%u up", i, i);
		sh("ip addr add 10.0.%u.1/24 dev e%u; ip -n peer addr add 10.0.%u.2/24 dev p%u", i, i, i, i);
		sh("ip addr add fd00:%u::1/64 dev e%u nodad; ip -n peer addr add fd00:%u::2/64 dev p%u nodad", i, i, i,
		   i);
		char name[8];
		snprintf(name, sizeof(name), "e%u", i);
		up[i] = (struct port){
			.index = port_index[i], .ifindex = if_nametoindex(name), .mtu = 1500, .mtu_max = 1774
		};
		ports[port_index[i]] = &up[i];
	}
	if (fib_init(&e) || neighbor_init(&e) || ipcache_init(&e) || tunnel_init(&e) || resolve_init(&e))
		return -1;
	return netlink_init(&e);
}

static int teardown(void **state)
{
	(void)state;
	netlink_fini();
	resolve_fini();
	tunnel_fini();
	ipcache_fini();
	neighbor_fini();
	fib_fini();
	rcu_wait();
	sh("ip netns del peer; umount -l /run");
	return 0;
}

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static struct fib_result look(const char *addr, uint32_t hash)
{
	struct ipaddr a = ip(addr);
	struct fib_result r;
	fib_lookup(&a, hash, &r);
	return r;
}

static void expect_via(const char *addr, const char *gateway, unsigned e)
{
	struct fib_result r = look(addr, 1);
	struct ipaddr g = gateway ? ip(gateway) : (struct ipaddr){ .d = { 0 } };
	assert_int_equal(r.kind, FIB_UNICAST);
	assert_true(ip_eq(&r.nh.gateway, &g));
	assert_int_equal(r.nh.ifindex, up[e].ifindex);
	assert_int_equal(r.nh.port, port_index[e]);
}

static unsigned hits(const char *addr, const char *gateway)
{
	struct ipaddr g = ip(gateway);
	unsigned n = 0;
	for (uint32_t h = 0; h < 1000; h++) {
		struct fib_result r = look(addr, h);
		n += r.kind == FIB_UNICAST && ip_eq(&r.nh.gateway, &g);
	}
	return n;
}

/* ---- routes ---- */

static void test_start(void **state)
{
	struct ipaddr a, want = ip("10.0.0.1");
	(void)state;
	assert_int_equal(look("10.0.0.1", 0).kind, FIB_LOCAL);
	assert_int_equal(look("10.0.0.255", 0).kind, FIB_BROADCAST);
	assert_int_equal(look("127.0.0.5", 0).kind, FIB_LOCAL);
	assert_int_equal(look("fd00:1::1", 0).kind, FIB_LOCAL);
	assert_int_equal(look("::1", 0).kind, FIB_LOCAL);
	expect_via("10.0.1.77", NULL, 1);
	expect_via("fd00::77", NULL, 0);
	assert_int_equal(look("8.8.8.8", 0).kind, FIB_NONE);
	assert_true(fib_port_addr(up[0].ifindex, false, &a) && ip_eq(&a, &want));
	assert_true(up[0].up);
	assert_int_not_equal(up[0].mac.b[0] | up[0].mac.b[5], 0);
}

static void test_routes(void **state)
{
	(void)state;
	sh("ip route add 20.0.0.0/8 via 10.0.0.2; ip route add 20.0.0.0/8 via 10.0.1.2 metric 10");
	sh("ip -6 route add 2001:db8::/32 via fd00::2; ip route add blackhole 21.0.0.0/8");
	sh("ip route add unreachable 22.0.0.0/8; ip -6 route add prohibit 2001:db9::/32; ip route add throw "
	   "27.0.0.0/8");
	sh("ip route add 23.0.0.0/8 via inet6 fd00:1::2 dev e1; ip route add 24.0.0.0/8 via 10.0.0.2 table 100");
	sh("ip route add 25.0.0.0/8 via 10.0.0.2 proto %d", NETLINK_ROUTE_PROTOCOL);
	change("ip route add default via 10.0.1.2");
	expect_via("20.1.1.1", "10.0.0.2", 0);
	expect_via("2001:db8::5", "fd00::2", 0);
	expect_via("23.1.1.1", "fd00:1::2", 1);
	expect_via("24.1.1.1", "10.0.1.2", 1); /* another table's is not ours */
	expect_via("25.1.1.1", "10.0.1.2", 1); /* the engine's own */
	assert_int_equal(look("21.0.0.1", 0).kind, FIB_BLACKHOLE);
	assert_int_equal(look("22.0.0.1", 0).kind, FIB_UNREACHABLE);
	assert_int_equal(look("27.0.0.1", 0).kind, FIB_THROW);
	assert_int_equal(look("2001:db9::1", 0).kind, FIB_PROHIBIT);
	struct fib_result r = look("20.1.1.1", 0);
	uint32_t gen = gen_load(r.dep) + gen_area->extra;
	change("ip route replace 20.0.0.0/8 via 10.0.1.2");
	expect_via("20.1.1.1", "10.0.1.2", 1);
	assert_int_not_equal(gen_load(r.dep) + gen_area->extra, gen);
	change("ip route del 20.0.0.0/8 metric 0; ip route del 20.0.0.0/8 metric 10; ip -6 route del 2001:db8::/32");
	assert_int_equal(look("20.1.1.1", 0).prefix.len, 96);
	assert_int_equal(look("2001:db8::5", 0).kind, FIB_NONE);
	/* several of one prefix and metric: the first counts, then the next */
	change("ip route add 26.0.0.0/8 via 10.0.0.2; ip route append 26.0.0.0/8 via 10.0.1.2");
	expect_via("26.0.0.1", "10.0.0.2", 0);
	change("ip route del 26.0.0.0/8 via 10.0.0.2");
	expect_via("26.0.0.1", "10.0.1.2", 1);
	change("ip route prepend 26.0.0.0/8 via 10.0.0.2");
	expect_via("26.0.0.1", "10.0.0.2", 0);
}

static void test_multipath(void **state)
{
	(void)state;
	sh("ip route add 30.0.0.0/8 nexthop via 10.0.0.2 weight 3 nexthop via 10.0.1.2 weight 1");
	sh("ip -6 route add 2001:db8::/32 nexthop via fd00::2 nexthop via fd00:1::2");
	change("ip -6 route add 2001:dba::/32 via fd00::2; ip -6 route append 2001:dba::/32 via fd00:1::2");
	assert_in_range(hits("30.0.0.1", "10.0.0.2"), 720, 780);
	assert_in_range(hits("30.0.0.1", "10.0.1.2"), 220, 280);
	assert_in_range(hits("2001:db8::1", "fd00::2"), 470, 530);
	assert_in_range(hits("2001:dba::1", "fd00:1::2"), 470, 530);
	change("ip -6 route del 2001:db8::/32 via fd00::2");
	assert_int_equal(hits("2001:db8::1", "fd00:1::2"), 1000);
	change("ip -6 route append 2001:db8::/32 via fd00::2");
	assert_in_range(hits("2001:db8::1", "fd00::2"), 470, 530);
	change("ip route replace 30.0.0.0/8 nexthop via 10.0.0.2 nexthop via 10.0.1.2");
	assert_in_range(hits("30.0.0.1", "10.0.0.2"), 470, 530);
	/* carrier goes: only the other hop is left, though the kernel says nothing */
	sh("ip -n peer link set p0 down");
	wait_port(0, false);
	assert_int_equal(hits("30.0.0.1", "10.0.1.2"), 1000);
	assert_int_equal(hits("2001:dba::1", "fd00:1::2"), 1000);
	sh("ip -n peer link set p0 up");
	wait_port(0, true);
	assert_in_range(hits("30.0.0.1", "10.0.0.2"), 470, 530);
}

static void test_link_down(void **state)
{
	(void)state;
	change("ip route add 40.0.0.0/8 via 10.0.0.2; ip route add 40.0.0.0/8 via 10.0.1.2 metric 50");
	expect_via("40.0.0.1", "10.0.0.2", 0);
	sh("ip link set e0 down"); /* IPv4 routes vanish without a message */
	settle();
	expect_via("40.0.0.1", "10.0.1.2", 1);
	assert_int_equal(look("10.0.0.9", 0).kind, FIB_NONE);
	change("ip link set e0 up");
	expect_via("40.0.0.1", "10.0.1.2", 1); /* it does not come back by itself */
	expect_via("10.0.0.9", NULL, 0);
	change("ip route add 41.0.0.0/8 via 10.0.1.2 src 10.0.0.1");
	expect_via("41.0.0.1", "10.0.1.2", 1);
	sh("ip addr del 10.0.0.1/24 dev e0"); /* nor does it tell of routes that prefer that source */
	settle();
	assert_int_equal(look("41.0.0.1", 0).kind, FIB_NONE);
	change("ip link del e1");
	assert_int_equal(look("40.0.0.1", 0).kind, FIB_NONE);
	assert_int_equal(look("fd00:1::9", 0).kind, FIB_NONE);
}

static void test_addresses(void **state)
{
	struct ipaddr a, want = ip("2001:db8:5::1");
	(void)state;
	change("ip addr del fd00::1/64 dev e0; ip addr add 2001:db8:5::1/64 dev e0 nodad; ip addr add 10.9.9.9/32 dev "
	       "e0");
	assert_true(fib_port_addr(up[0].ifindex, true, &a) && ip_eq(&a, &want));
	assert_int_equal(look("10.9.9.9", 0).kind, FIB_LOCAL);
	assert_int_equal(look("2001:db8:5::1", 0).kind, FIB_LOCAL);
	change("ip addr del 2001:db8:5::1/64 dev e0; ip addr del 10.9.9.9/32 dev e0");
	assert_false(fib_port_addr(up[0].ifindex, true, &a));
	assert_int_equal(look("10.9.9.9", 0).kind, FIB_NONE);
	/* MTU and MAC of a port's device */
	change("ip link set e0 mtu 1400 address 02:00:00:00:00:42");
	assert_int_equal(up[0].mtu, 1400);
	assert_false(up[0].reopen);
	sh("ip link set e0 mtu 9000"); /* as it was opened it holds less: opened again */
	settle();
	assert_int_equal(up[0].mtu, 1774);
	assert_true(up[0].reopen);
	assert_int_equal(up[0].mac.b[5], 0x42);
}

static void nexthops(void)
{
	sh("ip nexthop add id 1 via 10.0.0.2 dev e0; ip nexthop add id 2 via 10.0.1.2 dev e1");
	sh("ip nexthop add id 3 via fd00::2 dev e0; ip nexthop add id 10 group 1,1/2,3; ip nexthop add id 9 blackhole");
	sh("ip route add 50.0.0.0/8 nhid 1; ip route add 51.0.0.0/8 nhid 10; ip route add 52.0.0.0/8 nhid 9");
	change("ip -6 route add 2001:db8::/32 nhid 3");
	expect_via("50.0.0.1", "10.0.0.2", 0);
	assert_in_range(hits("51.0.0.1", "10.0.0.2"), 220, 280);
	assert_in_range(hits("51.0.0.1", "10.0.1.2"), 720, 780);
	assert_int_equal(look("52.0.0.1", 0).kind, FIB_BLACKHOLE);
	expect_via("2001:db8::1", "fd00::2", 0);
	change("ip nexthop replace id 1 via 10.0.1.3 dev e1; ip nexthop replace id 3 via fd00:1::3 dev e1");
	expect_via("50.0.0.1", "10.0.1.3", 1);
	expect_via("2001:db8::1", "fd00:1::3", 1);
	assert_in_range(hits("51.0.0.1", "10.0.1.3"), 220, 280);
	change("ip nexthop replace id 10 group 2");
	assert_int_equal(hits("51.0.0.1", "10.0.1.2"), 1000);
	sh("ip nexthop del id 1; ip nexthop del id 3"); /* with them go their routes, IPv4 in silence */
	settle();
	assert_int_equal(look("50.0.0.1", 0).kind, FIB_NONE);
	assert_int_equal(look("2001:db8::1", 0).kind, FIB_NONE);
	assert_int_equal(hits("51.0.0.1", "10.0.1.2"), 1000);
}

static void test_nexthop_objects(void **state)
{
	(void)state;
	nexthops();
}

/* The kernel then names the object only. */
static void test_nexthop_objects_bare(void **state)
{
	(void)state;
	sh("sysctl -qw net.ipv4.nexthop_compat_mode=0");
	nexthops();
}

/* ---- neighbours ---- */

static int neighbor_state(const struct neighbor_key *k)
{
	return neighbor_find(k) ? neighbor_find(k)->state : -1;
}

static bool reaches(const struct neighbor_key *k, int state)
{
	for (int i = 0; i < 500 && neighbor_state(k) != state; i++) {
		usleep(10000);
		netlink_read();
		resolve_tick(clock_ns());
		rcu_poll_deferred();
	}
	return neighbor_state(k) == state;
}

static void want(const struct neighbor_key *k)
{
	struct request r = { .kind = REQUEST_RESOLVE, .key = *k };
	resolve_request(&r);
}

static void test_neighbors(void **state)
{
	struct neighbor_key k4 = { .ip = ip("10.0.0.2"), .dev = PORT_FIRST },
			    k6 = { .ip = ip("fd00::2"), .dev = PORT_FIRST };
	struct neighbor_key nobody = { .ip = ip("10.0.0.99"), .dev = PORT_FIRST };
	struct neighbor_key known = { .ip = ip("10.0.1.55"), .dev = PORT_FIRST + 1 };
	(void)state;
	sh("ip -n peer link set p0 address 02:00:00:00:00:aa");
	want(&k4);
	want(&k6);
	want(&nobody);
	assert_true(reaches(&k4, NEIGHBOR_REACHABLE));
	assert_true(reaches(&k6, NEIGHBOR_REACHABLE));
	const struct adj *a = adj_at(neighbor_find(&k4)->adj);
	assert_int_equal(a->eth[5], 0xaa);
	assert_memory_equal(a->eth + 6, up[0].mac.b, 6);
	assert_int_equal(neighbor_state(&nobody), NEIGHBOR_INCOMPLETE);
	assert_true(reaches(&nobody, NEIGHBOR_FAILED));
	sh("ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:bb dev e0");
	netlink_read();
	assert_int_equal(a->eth[5], 0xbb);
	sh("ip neigh add 10.0.1.55 lladdr 02:00:00:00:00:cc dev e1 nud permanent");
	netlink_read();
	want(&known);
	assert_int_equal(neighbor_state(&known), NEIGHBOR_REACHABLE); /* at once */
	/* deleted under way: asked again, found again */
	sh("ip neigh del 10.0.0.2 dev e0");
	netlink_read();
	assert_true(reaches(&k4, NEIGHBOR_REACHABLE));
	assert_int_equal(adj_at(neighbor_find(&k4)->adj)->eth[5], 0xaa);
}

/* ---- many ---- */

static void batch(const char *what, unsigned n, const char *tail)
{
	FILE *f = fopen("/run/batch", "w");
	assert_non_null(f);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "route %s 60.%u.%u.0/24 %s\n", what, i >> 8, i & 255, tail);
	fclose(f);
	sh("ip -batch /run/batch");
}

static void test_many(void **state)
{
	enum { MANY = 20000 };
	(void)state;
	uint32_t base = fib_count();
	batch("add", MANY, "via 10.0.0.2");
	settle();
	assert_int_equal(fib_count(), base + MANY);
	expect_via("60.78.31.9", "10.0.0.2", 0);
	/* nothing changes in a re-dump: no counter moves */
	uint64_t version = fib_version();
	int small = 4096, fd = netlink_fd();
	sh("ip link set e0 mtu 1480"); /* a device with routes: dumps again */
	settle();
	assert_int_equal(fib_version(), version);
	assert_int_equal(fib_count(), base + MANY);
	/* events are lost: the old answers serve until the re-dump */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	batch("replace", MANY, "via 10.0.1.2");
	sh("ip route del 60.0.0.0/24; ip route add 61.0.0.0/24 via 10.0.0.2");
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_true(pfd.revents & POLLERR); /* ENOBUFS waits to be read */
	expect_via("60.78.31.9", "10.0.0.2", 0);
	change("ip route add 62.0.0.0/24 via 10.0.0.2");
	expect_via("60.78.31.9", "10.0.1.2", 1);
	expect_via("61.0.0.1", "10.0.0.2", 0);
	assert_int_equal(look("60.0.0.1", 0).kind, FIB_NONE);
	assert_int_equal(fib_count(), base + MANY + 1); /* one less, two more */
	uint64_t start = clock_ns();
	change("ip link set e1 down");
	print_message("link down with %d routes: %llu ms\n", MANY,
		      (unsigned long long)((clock_ns() - start) / 1000000));
	assert_int_equal(look("60.78.31.9", 0).kind, FIB_NONE);
}

/* ---- the kernel as oracle ---- */

static const char *kernel_answer(const char *addr, char *text, size_t size)
{
	char cmd[128], line[512] = "";
	snprintf(cmd, sizeof(cmd), "ip -o route get %s 2>&1", addr);
	FILE *f = popen(cmd, "r");
	assert_non_null(f);
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	pclose(f);
	char *via = strstr(line, " via "), *dev = strstr(line, " dev ");
	if (strncmp(line, "local ", 6) == 0)
		snprintf(text, size, "local");
	else if (strncmp(line, "broadcast ", 10) == 0)
		snprintf(text, size, "broadcast");
	else if (strstr(line, "RTNETLINK"))
		snprintf(text, size, "none");
	else
		snprintf(text, size, "%.*s %.*s", via ? (int)strcspn(via + 5, " ") : 1, via ? via + 5 : "-",
			 dev ? (int)strcspn(dev + 5, " ") : 1, dev ? dev + 5 : "-");
	return text;
}

static const char *our_answer(const char *addr, char *text, size_t size)
{
	struct fib_result r = look(addr, 0);
	char gw[IP_STRLEN], dev[IFNAMSIZ] = "-";
	if (r.kind == FIB_LOCAL)
		snprintf(text, size, "local");
	else if (r.kind == FIB_BROADCAST)
		snprintf(text, size, "broadcast");
	else if (r.kind != FIB_UNICAST)
		snprintf(text, size, "none");
	else
		snprintf(text, size, "%s %s", ip_is_zero(&r.nh.gateway) ? "-" : ip_print(&r.nh.gateway, gw),
			 if_indextoname(r.nh.ifindex, dev) ? dev : "-");
	return text;
}

static void test_oracle(void **state)
{
	static const char *const verbs[] = { "add", "replace", "del", "append" };
	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 12; round++) {
		FILE *f = fopen("/run/batch", "w");
		assert_non_null(f);
		for (unsigned i = 0; i < 60; i++) {
			unsigned e = (unsigned)random() & 1, len = 16 + (unsigned)random() % 4 * 4,
				 b = (unsigned)random() % 4;
			if (random() & 1)
				fprintf(f, "route %s 70.%u.%u.0/%u via 10.0.%u.%u metric %u\n", verbs[random() % 4], b,
					(unsigned)random() % 4 * 64 & (0xff00 >> (len - 16) & 0xff), len, e,
					2 + (unsigned)random() % 3, (unsigned)random() % 3);
			else
				fprintf(f, "-6 route %s 2001:db8:%u::/48 via fd00:%u::%u metric %u\n",
					verbs[random() % 3], b, e, 2 + (unsigned)random() % 3,
					1 + (unsigned)random() % 3);
		}
		fclose(f);
		/* many of them fail: exists, does not exist */
		assert_int_not_equal(system("ip -force -batch /run/batch >/run/batch.log 2>&1"), -1);
		if (round % 4 == 3)
			sh("ip link set e%u down; ip link set e%u up; ip addr add fd00:%u::1/64 dev e%u nodad",
			   round / 4 & 1, round / 4 & 1, round / 4 & 1, round / 4 & 1);
		settle();
		for (unsigned i = 0; i < 24; i++) {
			char addr[64], a[128], b[128];
			if (i & 1)
				snprintf(addr, sizeof(addr), "70.%u.%u.%u", i / 2 % 4, (unsigned)random() % 4 * 64 + 3,
					 i);
			else
				snprintf(addr, sizeof(addr), "2001:db8:%u::%u", i / 2 % 4, i);
			kernel_answer(addr, a, sizeof(a));
			our_answer(addr, b, sizeof(b));
			if (strcmp(a, b))
				fail_msg("round %u, %s: the kernel says '%s', the mirror '%s'", round, addr, a, b);
		}
	}
}

/* ---- own routes ---- */

static void test_host_route(void **state)
{
	struct ipnet n4, n6;
	struct err e;
	(void)state;
	assert_true(ipnet_parse("10.1.0.10", &n4) && ipnet_parse("fd00:9::/64", &n6));
	assert_int_equal(netlink_host_route(true, &n4, &e), -ENODEV);
	sh("ip link add sluice_host type veth peer name sluice_net; ip link set sluice_host up; ip link set sluice_net "
	   "up");
	for (int i = 0; i < 4; i++) /* twice each */
		assert_int_equal(netlink_host_route(true, i & 1 ? &n4 : &n6, &e), 0);
	sh("ip route show 10.1.0.10 | grep -q 'dev sluice_host proto 196 scope link'");
	change("ip -6 route show fd00:9::/64 | grep -q 'dev sluice_host proto 196'");
	assert_int_equal(look("10.1.0.10", 0).kind, FIB_NONE); /* not mirrored back */
	for (int i = 0; i < 4; i++)
		assert_int_equal(netlink_host_route(false, i & 1 ? &n4 : &n6, &e), 0);
	sh("! ip route show 10.1.0.10 | grep .");
	/* somebody else's route of that prefix stays */
	sh("ip route add 10.1.0.10/32 dev sluice_host");
	assert_int_equal(netlink_host_route(false, &n4, &e), 0);
	sh("ip route show 10.1.0.10 | grep -q sluice_host");
}

static unsigned n_present, n_gone;
static void on_link(uint32_t ifindex, const char *name, bool present, bool up_now, uint32_t mtu, const struct mac *mac)
{
	(void)ifindex, (void)mtu, (void)up_now, (void)mac;
	if (strcmp(name, "late") == 0)
		(*(present ? &n_present : &n_gone))++;
}

static void test_links(void **state)
{
	(void)state;
	n_present = n_gone = 0;
	netlink_on_link = on_link;
	change("ip link add late type veth peer name later");
	assert_true(n_present >= 1);
	assert_int_equal(n_gone, 0);
	change("ip link del late");
	assert_int_equal(n_gone, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_start),
		T(test_routes),
		T(test_multipath),
		T(test_link_down),
		T(test_addresses),
		T(test_nexthop_objects),
		T(test_nexthop_objects_bare),
		T(test_neighbors),
		T(test_many),
		T(test_oracle),
		T(test_host_route),
		T(test_links),
	};
	if (geteuid() != 0) {
		print_message("needs root\n");
		return 77;
	}
	rcu_thread_register();
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return rc;
}
