/* SPDX-License-Identifier: BSD-2-Clause */
/* [to-host] for connections of a proxy by BPF_PROG_TEST_RUN, with real sockets: who gets a packet, what goes back. */
#include "tests/bpf/gate_kit.h"

#include <netinet/in.h>

#define PROXY_STAMP "02 e4 00 00 3a 99" /* port 15001 */
#define HOST_MAC "02 e9 00 00 00 02"
#define GATEWAY_MAC "02 e9 00 00 00 01"
#define SYN4(dport)                                                                                                    \
	"08 00 | 45 00 00 28 00 00 40 00 40 06 00 00 0a 01 00 0a 0a 09 09 09 | 9c 40 " dport                           \
	"00 00 00 01 00 00 00 00 50 02 ff ff 00 00 00 00"
#define SYN6                                                                                                           \
	"86 dd | 60 00 00 00 00 14 06 40 fd 01 00 00 00 00 00 00 00 00 00 00 00 00 00 0a "                             \
	"fd 09 00 00 00 00 00 00 00 00 00 00 00 00 00 09 | 9c 40 00 50 00 00 00 01 00 00 00 00 50 02 ff ff 00 00 00 "  \
	"00"
#define ICMP4 "08 00 | 45 00 00 1c 00 00 40 00 40 01 00 00 0a 01 00 0a 0a 09 09 09 | 03 03 00 00 00 00 00 00"

static int listener(int family, int type, uint16_t port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(family, type, 0), one = 1;

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, family == AF_INET6 ? sizeof(one) : 0);
	assert_int_equal(family == AF_INET6 ? bind(fd, (void *)&a6, sizeof(a6)) : bind(fd, (void *)&a4, sizeof(a4)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* What comes back is what was sent, with the stamp where a sender's stands. */
#define CHECK_REFUSED(body)                                                                                            \
	check_tc(PROG_TO_HOST, PROXY_STAMP HOST_MAC body, TC_ACT_REDIRECT, HOST_MAC PROXY_STAMP body,                  \
		 GATE_PROXY_REFUSED)
#define CHECK_TAKEN(body)                                                                                              \
	check_tc(PROG_TO_HOST, PROXY_STAMP HOST_MAC body, TC_ACT_OK, HOST_MAC GATEWAY_MAC body, GATE_TO_PROXY)

/* Both ends on the loopback device; the frame is the client's. */
static void connected(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, c;
	socklen_t size = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), server;
	char text[512];

	assert_int_equal(bind(l, (void *)&a, size) | listen(l, 1), 0);
	assert_int_equal(getsockname(l, (void *)&a, &size) | connect(client, (void *)&a, size), 0);
	assert_int_equal(getsockname(client, (void *)&c, &size), 0);
	server = accept(l, NULL, NULL);
	assert_true(server >= 0);
	for (unsigned wrong = 0; wrong < 2; wrong++) {
		const uint16_t sp = (uint16_t)(ntohs(c.sin_port) + wrong), dp = ntohs(a.sin_port);
		char body[400], want[512];
		snprintf(body, sizeof(body),
			 "08 00 | 45 00 00 28 00 00 40 00 40 06 00 00 7f 00 00 01 7f 00 00 01 | %02x %02x %02x %02x "
			 "00 00 00 01 00 00 00 00 50 10 ff ff 00 00 00 00",
			 sp >> 8, sp & 255, dp >> 8, dp & 255);
		snprintf(text, sizeof(text), PROXY_STAMP HOST_MAC "%s", body);
		snprintf(want, sizeof(want), "%s%s", wrong ? HOST_MAC PROXY_STAMP : HOST_MAC GATEWAY_MAC, body);
		check_tc(PROG_TO_HOST, text, wrong ? TC_ACT_REDIRECT : TC_ACT_OK, want,
			 wrong ? GATE_PROXY_REFUSED : GATE_TO_PROXY);
	}
	close(client);
	close(server);
	close(l);
}

static void to_proxy(void **state)
{
	struct gate_conf c = { .host_ifindex = LO, .n_queues = 2 };

	(void)state;
	assert_int_equal(system("ip link set lo up"), 0);
	assert_int_equal(loader_gate_conf_set(loader, &c), 0);
	CHECK_REFUSED(SYN4("00 50"));
	CHECK_REFUSED(SYN6);
	CHECK_REFUSED(BODY);
	/* a service of the box on the destination's own port is not asked */
	int other = listener(AF_INET, SOCK_STREAM, 80), udp_other = listener(AF_INET, SOCK_DGRAM, 8080);
	CHECK_REFUSED(SYN4("00 50"));
	CHECK_REFUSED(BODY);
	/* a socket of exactly this connection takes it; BPF_PROG_TEST_RUN cannot assign listeners: tests/net/proxy.sh */
	connected();
	/* an ICMP error is the stack's business; what is neither, and a piece of a datagram, nobody's */
	CHECK_TAKEN(ICMP4);
	CHECK_REFUSED("08 06 00 01");
	CHECK_REFUSED("08 00 | 45 00 00 24 00 07 20 00 40 11 00 00 0a 01 00 0a 0a 09 09 09 "
		      "12 34 1f 90 00 40 00 00 | 68 65 6c 6c 6f 21 21 21");
	/* its way back to the engine passes [from-host] as it is */
	check_tc(PROG_FROM_HOST, HOST_MAC PROXY_STAMP SYN4("00 50"), TC_ACT_OK, HOST_MAC PROXY_STAMP SYN4("00 50"),
		 GATE_STATS);
	close(other);
	close(udp_other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_proxy),
	};

	return cmocka_run_group_tests(tests, env_setup, env_teardown);
}
