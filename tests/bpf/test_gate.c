/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate: stamps and verdicts of the tc programs by BPF_PROG_TEST_RUN, then the real veth pair with a container in
 * its own namespace (is a frame of ours accepted by its IP stack, by the box's; which queue does a flow take), then the
 * life of the attachments: replaced, adopted, refused, put back. */
#include "tests/bpf/gate_kit.h"

#include <linux/if_packet.h>
#include <linux/pkt_sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define CONTAINER_MAC "02 00 00 00 00 0c"
#define STAMP "02 e1 00 01 02 03" /* endpoint 0x10203 */

static void sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd))
		fail_msg("failed: %s", cmd);
}

static void endpoint(uint32_t id, uint32_t ifindex)
{
	struct gate_endpoint ep = { .id = id, .ifindex = ifindex };

	assert_int_equal(loader_endpoint_set(loader, &ep), 0);
}

static void from_container(void **state)
{
	struct gate_conf c = { .host_ifindex = LO, .n_queues = 2 };

	(void)state;
	check_tc(PROG_FROM_CONTAINER, "02 e9 00 00 00 01" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL,
		 GATE_DROP_UNKNOWN_DEVICE);
	endpoint(0x10203, LO);
	check_tc(PROG_FROM_CONTAINER, "02 e9 00 00 00 01" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_WRITE);
	assert_int_equal(loader_gate_conf_set(loader, &c), 0);
	check_tc(PROG_FROM_CONTAINER, "02 e9 00 00 00 01" CONTAINER_MAC BODY, TC_ACT_REDIRECT, CONTAINER_MAC STAMP BODY,
		 GATE_STATS);
	check_tc(PROG_FROM_CONTAINER, "ff ff ff ff ff ff" CONTAINER_MAC "08 06 00 01", TC_ACT_REDIRECT,
		 CONTAINER_MAC "02 e2 00 01 02 03 08 06 00 01", GATE_STATS);
	/* a forged stamp is overwritten */
	check_tc(PROG_FROM_CONTAINER, "33 33 00 00 00 01 02 e3 00 00 00 00" BODY, TC_ACT_REDIRECT,
		 "02 e3 00 00 00 00 02 e2 00 01 02 03" BODY, GATE_STATS);
}

static void from_host(void **state)
{
	(void)state;
	check_tc(PROG_FROM_HOST, "02 e9 00 00 00 02 02 e9 00 00 00 02" BODY, TC_ACT_OK,
		 "02 e9 00 00 00 02 02 e3 00 00 00 00" BODY, GATE_STATS);
	check_tc(PROG_FROM_HOST, CONTAINER_MAC STAMP "88 cc 00 00", TC_ACT_OK, CONTAINER_MAC STAMP "88 cc 00 00",
		 GATE_STATS);
	check_tc(PROG_FROM_HOST, "02 e9 00 00 00 02 02 e9 00 00 00 02 88 cc 00 00", TC_ACT_SHOT, NULL,
		 GATE_DROP_HOST_PROTO);
	/* neither a kind nor a stamp prefix of ours: the box's own frame */
	check_tc(PROG_FROM_HOST, "02 e9 00 00 00 02 02 e5 00 00 00 00" BODY, TC_ACT_OK,
		 "02 e5 00 00 00 00 02 e3 00 00 00 00" BODY, GATE_STATS);
}

static void to_host(void **state)
{
	(void)state;
	check_tc(PROG_TO_HOST, STAMP CONTAINER_MAC BODY, TC_ACT_REDIRECT, CONTAINER_MAC "02 e9 00 00 00 01" BODY,
		 GATE_FROM_ENGINE);
	check_tc(PROG_TO_HOST, "02 e3 00 00 00 00 02 e9 00 00 00 02" BODY, TC_ACT_OK,
		 "02 e9 00 00 00 02 02 e9 00 00 00 01" BODY, GATE_FROM_ENGINE);
	check_tc(PROG_TO_HOST, "02 e1 00 01 02 04" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_UNKNOWN_ENDPOINT);
	check_tc(PROG_TO_HOST, "02 e2 00 01 02 03" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_BAD_STAMP);
	check_tc(PROG_TO_HOST, "02 e0 00 01 02 03" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_BAD_STAMP);
	check_tc(PROG_TO_HOST, "ff ff ff ff ff ff" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_BAD_STAMP);
	assert_int_equal(loader_endpoint_del(loader, 0x10203, LO), 0);
	check_tc(PROG_TO_HOST, STAMP CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_UNKNOWN_ENDPOINT);
}

static void to_container(void **state)
{
	(void)state;
	check_tc(PROG_TO_CONTAINER, CONTAINER_MAC "02 e9 00 00 00 01" BODY, TC_ACT_OK,
		 CONTAINER_MAC "02 e9 00 00 00 01" BODY, GATE_TO_CONTAINER);
	/* the box's own, past the engine: routed, and a multicast */
	check_tc(PROG_TO_CONTAINER, CONTAINER_MAC "02 e9 00 00 00 02" BODY, TC_ACT_SHOT, NULL, GATE_DROP_TO_CONTAINER);
	check_tc(PROG_TO_CONTAINER, "33 33 00 00 00 01" CONTAINER_MAC BODY, TC_ACT_SHOT, NULL, GATE_DROP_TO_CONTAINER);
}

static void net_to_host(void **state)
{
	(void)state;
	check_tc(PROG_NET_TO_HOST, "02 e9 00 00 00 03" STAMP BODY, TC_ACT_SHOT, NULL, GATE_DROP_NET);
	check_tc(PROG_NET_TO_HOST, "ff ff ff ff ff ff" STAMP "08 06 00 01", TC_ACT_SHOT, NULL, GATE_DROP_NET);
}

static void gate_xdp(void **state)
{
	uint8_t frame[128];
	unsigned size = hex(frame, CONTAINER_MAC STAMP BODY);
	uint64_t before = stat_of(GATE_DROP_NO_SOCKET), engine = stat_of(GATE_TO_ENGINE);
	int fd = socket(AF_XDP, SOCK_RAW, 0);

	(void)state;
	assert_int_equal(run_xdp(PROG_GATE, frame, size), XDP_DROP);
	assert_int_equal(stat_of(GATE_DROP_NO_SOCKET), before + 1);
	assert_int_equal(loader_xsk_set(loader, 0, 0, fd), 0);
	assert_int_equal(run_xdp(PROG_GATE, frame, size), XDP_REDIRECT);
	assert_int_equal(stat_of(GATE_TO_ENGINE), engine + 1);
	assert_int_equal(loader_xsk_del(loader, 0, 0), 0);
	close(fd);
}

/* ---- real devices ---- */

#define CONTAINER "10.1.0.10"
#define OUTSIDE "10.9.9.9"
static pid_t container; /* a process holding its namespace */
static uint32_t container_host_if;

static int live_setup(void **state)
{
	struct gate_info gi;
	int ready[2], up[2];
	struct err e;
	char c = 0;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(up), 0);
	container = fork();
	if (!container) {
		if (unshare(CLONE_NEWNET) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	sh("ip link add lxc10 type veth peer name eth0 address 02:00:00:00:00:0c netns %d", container);
	/* without IPv6, whose multicast reports would disturb the counting */
	sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; ip link set lxc10 up; "
	   "ip link set lo up");
	sh("nsenter -t %d -n sh -c 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link set eth0 up; ip addr add "
	   "%s/24 dev eth0; ip route add default via 10.1.0.1; "
	   "ip neigh add 10.1.0.1 lladdr 02:e9:00:00:00:01 dev eth0'",
	   container, CONTAINER);
	if (gate_create(loader, 2, 1500, &gi, &e))
		fail_msg("%s", e.text);
	assert_false(gi.adopted);
	container_host_if = if_nametoindex("lxc10");
	endpoint(0x10203, container_host_if);
	if (loader_attach_tc(loader, PROG_FROM_CONTAINER, "lxc10", &e) ||
	    loader_attach_tc(loader, PROG_TO_CONTAINER, "lxc10", &e))
		fail_msg("%s", e.text);
	return 0;
}

static int live_teardown(void **state)
{
	(void)state;
	kill(container, SIGKILL);
	waitpid(container, NULL, 0);
	return 0;
}

/* Into the namespace of 'pid'; leave() takes the result and goes back. */
static int enter(pid_t pid)
{
	int here = open("/proc/self/ns/net", O_RDONLY), there;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	there = open(path, O_RDONLY);
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
	close(there);
	return here;
}

static void leave(int here)
{
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	close(here);
}

static int udp_socket(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(fd, (void *)&a, sizeof(a)), 0);
	return fd;
}

static int container_listens(void)
{
	int here = enter(container), fd = udp_socket(8080);

	leave(here);
	return fd;
}

static int packet_socket(const char *dev)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex(dev) };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	assert_int_equal(bind(fd, (void *)&a, sizeof(a)), 0);
	return fd;
}

/* The engine's part: one frame into sluice_net, with a right IPv4 header checksum. */
static void engine_sends(const char *text)
{
	uint8_t b[128];
	unsigned size = hex(b, text);
	int fd = packet_socket(GATE_NET_DEVICE);

	st16(b + 24, (uint16_t)~csum_fold(csum_add(b + 14, 20, 0)));
	assert_int_equal(send(fd, b, size, 0), size);
	close(fd);
}

static void expect_hello(int fd, const char *from)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct sockaddr_in a;
	socklen_t n = sizeof(a);
	char b[64];

	assert_int_equal(poll(&p, 1, 2000), 1);
	assert_int_equal(recvfrom(fd, b, sizeof(b), 0, (void *)&a, &n), 8);
	assert_memory_equal(b, "hello!!!", 8);
	assert_int_equal(a.sin_addr.s_addr, inet_addr(from));
	close(fd);
}

static void engine_to_container(void **state)
{
	int fd = container_listens();

	(void)state;
	engine_sends(STAMP CONTAINER_MAC UDP4("0a 09 09 09 ", "0a 01 00 0a "));
	expect_hello(fd, OUTSIDE);
}

/* From a source without a route here, and from an address of the box itself: both are the engine's right. */
static void engine_to_host(void **state)
{
	(void)state;
	sh("ip addr add 192.0.2.77/32 dev lo");
	int fd = udp_socket(8080);
	engine_sends("02 e3 00 00 00 00 02 e9 00 00 00 02" UDP4("0a 09 09 09 ", "c0 00 02 4d "));
	expect_hello(fd, OUTSIDE);
	fd = udp_socket(8080);
	engine_sends("02 e3 00 00 00 00 02 e9 00 00 00 02" UDP4("c0 00 02 4d ", "c0 00 02 4d "));
	expect_hello(fd, "192.0.2.77");
	/* conf/all strict would win over 0: gate_check turns ours to loose, which asks for some route to the source. */
	sh("ip addr add 10.8.0.1/24 dev sluice_host; ip route add default dev lxc10; "
	   "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter");
	struct err e;
	assert_int_equal(gate_check(loader, &e), 1);
	fd = udp_socket(8080);
	engine_sends("02 e3 00 00 00 00 02 e9 00 00 00 02" UDP4("0a 09 09 09 ", "c0 00 02 4d "));
	expect_hello(fd, OUTSIDE);
	sh("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; ip route del default; ip addr del 10.8.0.1/24 dev "
	   "sluice_host");
	assert_int_equal(gate_check(loader, &e), 1);
	assert_int_equal(gate_check(loader, &e), 0);
}

/* Frames XDP saw on queue 'q' of sluice_net, by veth's own counters. */
static uint64_t queue_frames(unsigned q)
{
	char cmd[128], line[64] = "0";

	snprintf(cmd, sizeof(cmd), "ethtool -S sluice_net | awk '/rx_queue_%u_xdp_packets/ {print $2}'", q);
	FILE *f = popen(cmd, "r");
	if (!fgets(line, sizeof(line), f))
		fail_msg("no counter for queue %u", q);
	pclose(f);
	return strtoull(line, NULL, 10);
}

/* Three datagrams from the container's UDP socket 'sport' to OUTSIDE:53; 'reverse': frames of the opposite direction,
 * as if the container routed them. */
static void container_sends(uint16_t sport, bool reverse)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = inet_addr(OUTSIDE) };
	int here = enter(container), fd = reverse ? packet_socket("eth0") : udp_socket(sport);
	uint8_t b[128];
	unsigned size = hex(b, "02 e9 00 00 00 01" CONTAINER_MAC UDP4("0a 09 09 09 ", "0a 01 00 0a "));

	wr16(b + 34, 53);
	wr16(b + 36, sport);
	if (!reverse)
		assert_int_equal(connect(fd, (void *)&a, sizeof(a)), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send(fd, b, size, 0), size);
	close(fd);
	leave(here);
}

/* Which queue three frames took; all three the same one. */
static unsigned queue_of(uint16_t sport, bool reverse)
{
	uint64_t before[2] = { queue_frames(0), queue_frames(1) }, after[2];
	unsigned q, tries = 0;

	container_sends(sport, reverse);
	do {
		usleep(1000);
		after[0] = queue_frames(0);
		after[1] = queue_frames(1);
	} while (after[0] + after[1] < before[0] + before[1] + 3 && tries++ < 500);
	q = after[0] == before[0];
	assert_int_equal(after[q] - before[q], 3);
	assert_int_equal(after[!q], before[!q]);
	return q;
}

/* A flow keeps one queue, its opposite direction has the same, many flows spread; without sockets the gate drops them
 * all. */
static void container_to_engine(void **state)
{
	uint64_t dropped = stat_of(GATE_DROP_NO_SOCKET);
	unsigned hits[2] = { 0, 0 };

	(void)state;
	for (uint16_t p = 1000; p < 1012; p++) {
		unsigned q = queue_of(p, false);

		assert_int_equal(queue_of(p, true), q);
		hits[q]++;
	}
	assert_true(hits[0] && hits[1]);
	assert_int_equal(stat_of(GATE_DROP_NO_SOCKET), dropped + 12 * 2 * 3);
}

/* The containers keep their offloads; the gate's are what makes AF_XDP see whole, short frames. */
static void offloads(void **state)
{
	(void)state;
	sh("nsenter -t %d -n ethtool -k eth0 | grep -q 'tcp-segmentation-offload: on'", container);
	sh("! ethtool -k sluice_host | grep -E '^(tx-checksumming|scatter-gather|tcp-segmentation-offload|"
	   "generic-segmentation-offload|tx-vlan-offload|tx-udp-segmentation): on'");
	sh("ethtool -K sluice_host tx on sg on tso on gso on txvlan on >/dev/null");
	struct err e;
	assert_int_equal(gate_check(loader, &e), 1);
	assert_non_null(strstr(e.text, "tx-checksum-ip-generic"));
	assert_int_equal(gate_check(loader, &e), 0);
	sh("! ethtool -k sluice_host | grep -E '^(tx-checksumming|scatter-gather|generic-segmentation-offload|"
	   "tx-vlan-offload): on'");
}

static void filter_names(void **state)
{
	(void)state;
	sh("tc filter show dev lxc10 ingress | grep -q 'container.o:\\[from-container\\] direct-action'");
	sh("tc filter show dev lxc10 egress | grep -q 'container.o:\\[to-container\\] direct-action'");
	sh("tc filter show dev sluice_net ingress | grep -q 'host.o:\\[to-host\\] direct-action'");
	sh("tc filter show dev sluice_host ingress | grep -q 'host.o:\\[to-host\\] direct-action'");
	sh("tc filter show dev sluice_host egress | grep -q 'host.o:\\[from-host\\] direct-action'");
}

static void put_back(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(loader_check(loader, &e), 0);
	sh("tc filter del dev lxc10 ingress; ip link set sluice_net xdp off; tc qdisc del dev sluice_host clsact");
	assert_int_equal(loader_check(loader, &e), 4);
	assert_int_equal(loader_check(loader, &e), 0);
	filter_names(state);
}

static void refusals(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, "nosuch0", LOADER_AUTO, NULL, &e), -ENODEV);
	assert_non_null(strstr(e.text, "nosuch0"));
	assert_int_equal(loader_attach_tc(loader, PROG_FROM_CONTAINER, "a-name-that-is-too-long", &e), -ENODEV);
	sh("ip link add u0 numtxqueues 1 numrxqueues 1 type veth peer name u1 numtxqueues 4 numrxqueues 4");
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, "u0", LOADER_NATIVE, NULL, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "numrxqueues"));
	sh("ip link del u0; ip link add u0 mtu 9000 type veth peer name u1 mtu 9000");
	/* on uplinks packets may have several pieces, not at the gate */
	assert_true(loader_attach_xdp(loader, PROG_GATE, "u0", LOADER_NATIVE, NULL, &e) < 0);
	assert_non_null(strstr(e.text, "MTU"));
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, "u0", LOADER_NATIVE, NULL, &e), 0);
	assert_int_equal(loader_detach(loader, PROG_STEER, if_nametoindex("u0"), &e), 0);
	/* the gate's program is foreign to an uplink */
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, GATE_NET_DEVICE, LOADER_AUTO, NULL, &e), -EBUSY);
	assert_non_null(strstr(e.text, "ip link set dev sluice_net xdp off"));
	assert_int_equal(bpf_obj_pin(loader_prog_fd(loader, PROG_TO_HOST), "/sys/fs/bpf/foreign"), 0);
	sh("tc qdisc add dev u0 clsact; tc filter add dev u0 ingress pref 1 bpf da object-pinned /sys/fs/bpf/foreign");
	assert_int_equal(loader_attach_tc(loader, PROG_FROM_CONTAINER, "u0", &e), -EBUSY);
	assert_non_null(strstr(e.text, "tc filter del dev u0 ingress pref 1"));
	assert_int_equal(loader_detach(loader, PROG_FROM_CONTAINER, if_nametoindex("u0"), &e), 0);
	sh("tc filter show dev u0 ingress | grep -q foreign; rm /sys/fs/bpf/foreign");
	sh("ip link del u0; ip link add u0 type veth peer name u1; tc qdisc add dev u0 ingress");
	/* somebody's ingress qdisc serves as well, and stays; an egress program needs clsact */
	assert_int_equal(loader_attach_tc(loader, PROG_FROM_CONTAINER, "u0", &e), 0);
	sh("tc filter show dev u0 ingress | grep -q from-container");
	assert_int_equal(loader_detach(loader, PROG_FROM_CONTAINER, if_nametoindex("u0"), &e), 0);
	sh("tc qdisc show dev u0 | grep -q 'qdisc ingress'; test -z \"$(tc filter show dev u0 ingress)\"");
	assert_true(loader_attach_tc(loader, PROG_FROM_HOST, "u0", &e) < 0);
	assert_non_null(strstr(e.text, "tc qdisc del dev u0 ingress"));
	sh("ip link del u0");
	assert_int_equal(loader_open(&(struct loader *){ NULL }, "a/b", &e), -EINVAL);
}

static void modes(void **state)
{
	enum loader_mode got;
	uint32_t ifindex;
	struct err e;

	(void)state;
	sh("ip link add m0 type veth peer name m1");
	ifindex = if_nametoindex("m0");
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, "m0", LOADER_AUTO, &got, &e), 0);
	assert_int_equal(got, LOADER_NATIVE);
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, "m0", LOADER_GENERIC, &got, &e), 0);
	sh("ip link show m0 | grep -q xdpgeneric");
	assert_int_equal(loader_attach_xdp(loader, PROG_STEER, "m0", LOADER_AUTO, &got, &e), 0);
	assert_int_equal(got, LOADER_GENERIC);
	sh("ip link set m0 name m9");
	assert_int_equal(loader_detach(loader, PROG_STEER, ifindex, &e), 0);
	sh("! ip link show m9 | grep -q xdp; ip link del m9");
	assert_int_equal(loader_detach(loader, PROG_STEER, ifindex, &e), 0);
}

/* As after kill -9: nothing is closed properly, a second loader takes over. */
static void adoption(void **state)
{
	struct ipnet keep = net("10.1.0.0/24"), lose = net("10.2.0.0/24");
	struct steer_val v = { .flags = STEER_ALL };
	struct steer_key k = { .prefixlen = keep.len };
	struct gate_info gi;
	struct err e;
	uint32_t lost;

	(void)state;
	sh("ip link add lxc11 type veth peer name x11; ip link set lxc11 up");
	lost = if_nametoindex("lxc11");
	endpoint(11, lost);
	assert_int_equal(loader_attach_tc(loader, PROG_FROM_CONTAINER, "lxc11", &e), 0);
	assert_int_equal(loader_steer_set(loader, &keep, &v), 0);
	assert_int_equal(loader_steer_set(loader, &lose, &v), 0);
	loader_pool_bits(loader, 5, STEER_UDP)[1] = 0x55;
	loader_gen_area(loader)->counter[7] = 42;
	loader_close(loader, false);

	filter_names(state); /* still there with no process */
	int fd = container_listens();
	engine_sends(STAMP CONTAINER_MAC UDP4("0a 09 09 09 ", "0a 01 00 0a "));
	expect_hello(fd, OUTSIDE);

	env_open();
	assert_true(loader_adopted(loader));
	assert_int_equal(loader_pool_bits(loader, 5, STEER_UDP)[1], 0x55);
	assert_int_equal(loader_gen_area(loader)->counter[7], 42);
	assert_int_equal(gate_create(loader, 2, 1500, &gi, &e), 0);
	assert_true(gi.adopted);
	endpoint(0x10203, container_host_if);
	assert_int_equal(loader_attach_tc(loader, PROG_FROM_CONTAINER, "lxc10", &e), 0);
	assert_int_equal(loader_steer_set(loader, &keep, &v), 0);
	assert_int_equal(loader_adopt_done(loader), 3); /* lxc11 both ways and 10.2.0.0/24 */
	sh("test -z \"$(tc filter show dev lxc11 ingress)\"; ! tc qdisc show dev lxc11 | grep -q clsact");
	memcpy(k.addr, keep.addr.b, 16);
	assert_int_equal(bpf_map_lookup_elem(loader_map_fd(loader, MAP_STEER_LPM), &k, &v), 0);
	memcpy(k.addr, lose.addr.b, 16);
	assert_int_equal(bpf_map_lookup_elem(loader_map_fd(loader, MAP_STEER_LPM), &k, &v), -ENOENT);
	assert_int_equal(loader_check(loader, &e), 0);
	sh("ip link del lxc11");
	filter_names(state);
}

/* A pinned map of another shape is replaced, not used. */
static void other_layout(void **state)
{
	int fd;

	(void)state;
	loader_close(loader, false);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "gate_conf", 4, 8, 1, NULL);
	assert_int_equal(unlink("/sys/fs/bpf/sluice/test/gate_conf"), 0);
	assert_int_equal(bpf_obj_pin(fd, "/sys/fs/bpf/sluice/test/gate_conf"), 0);
	close(fd);
	env_open();
	struct gate_conf c = { .host_ifindex = LO };
	assert_int_equal(loader_gate_conf_set(loader, &c), 0);
}

static void another_shape_and_clean_end(void **state)
{
	struct gate_info gi;
	struct err e;

	(void)state;
	assert_int_equal(gate_create(loader, 3, 1400, &gi, &e), 0);
	assert_false(gi.adopted);
	sh("ip link show sluice_host | grep -q 'mtu 1400'");
	assert_int_equal(loader_attach_tc(loader, PROG_FROM_CONTAINER, "lxc10", &e), 0);
	sh("ip addr add 10.7.0.1/32 dev sluice_host");
	loader_close(loader, true);
	sh("! ip link show up | grep -q sluice_host; ip addr show sluice_host | grep -q 10.7.0.1");
	sh("test -z \"$(tc filter show dev lxc10 ingress)$(tc filter show dev sluice_host egress)\"");
	sh("ip addr del 10.7.0.1/32 dev sluice_host");
	env_open();
	assert_false(loader_adopted(loader));
	assert_int_equal(gate_create(loader, 3, 1400, &gi, &e), 0);
	assert_true(gi.adopted);
	loader_close(loader, true);
	sh("! ip link show sluice_host 2>/dev/null");
	env_open();
}

int main(void)
{
	const struct CMUnitTest run[] = {
		cmocka_unit_test(from_container), cmocka_unit_test(from_host),   cmocka_unit_test(to_host),
		cmocka_unit_test(to_container),   cmocka_unit_test(net_to_host), cmocka_unit_test(gate_xdp),
	};
	const struct CMUnitTest live[] = {
		cmocka_unit_test(engine_to_container),
		cmocka_unit_test(engine_to_host),
		cmocka_unit_test(container_to_engine),
		cmocka_unit_test(offloads),
		cmocka_unit_test(filter_names),
		cmocka_unit_test(put_back),
		cmocka_unit_test(refusals),
		cmocka_unit_test(modes),
		cmocka_unit_test(adoption),
		cmocka_unit_test(other_layout),
		cmocka_unit_test(another_shape_and_clean_end),
	};
	int rc = cmocka_run_group_tests(run, env_setup, NULL);

	rc += cmocka_run_group_tests(live, live_setup, live_teardown);
	return rc + env_teardown(NULL);
}
