/* SPDX-License-Identifier: BSD-2-Clause */
/* What XDP on an uplink takes and what it passes: each rule of design section 7 by BPF_PROG_TEST_RUN. An unbound AF_XDP
 * socket in the map is enough for the verdict XDP_REDIRECT. */
#include "tests/bpf/env.h"

#define SLOT 3
#define OWN "02 00 00 00 00 aa"
#define ETH(dst, type) dst " 02 00 00 00 00 01 " type " | "
#define ETH4 ETH(OWN, "08 00")
#define ETH6 ETH(OWN, "86 dd")
/* from 192.0.2.1; 'frag' is the flags and offset word */
#define IP4(proto, frag, dst) "45 00 00 40 12 34 " frag " 40 " proto " 00 00 c0 00 02 01 " dst " | "
#define IP6(next, dst) "60 00 00 00 00 40 " next " ff 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 " dst " | "
#define PORTS(sport, dport) sport " " dport " 00 08 00 00 | "
#define PAD "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
/* the addresses below */
#define ALL4 "0a 01 00 0a"
#define SHARED4 "cb 00 71 05"
#define OWNED4 "cb 00 71 06"
#define VTEP4 "cb 00 71 07"
#define BOX4 "cb 00 71 08" /* services: TCP 80, SCTP 99; and pool 5 */
#define HOLE4 "0a 01 00 63"
#define ALL6 "20 01 0d b8 00 0a 00 00 00 00 00 00 00 00 00 0a"
#define POOL6 "20 01 0d b8 00 0b 00 00 00 00 00 00 00 00 00 05"
#define BOX6 "20 01 0d b8 00 0b 00 00 00 00 00 00 00 00 00 08" /* UDP 53; no pool */
#define NONE6 "20 01 0d b8 00 0c 00 00 00 00 00 00 00 00 00 05"

static int socket_fd;

static void allow(const char *prefix, uint32_t flags, uint32_t pool)
{
	struct steer_val v = { .flags = flags, .pool = pool, .vtep_port = { htons(8472), htons(4789) } };
	struct ipnet n = net(prefix);

	assert_int_equal(loader_steer_set(loader, &n, &v), 0);
}

static void service(const char *addr, uint8_t proto, uint16_t port)
{
	struct ipnet n = net(addr);
	struct steer_service k = { .port = htons(port), .proto = proto };

	memcpy(k.addr, n.addr.b, 16);
	assert_int_equal(loader_service_set(loader, &k), 0);
}

static void port_bit(uint32_t pool, enum steer_proto which, unsigned n)
{
	loader_pool_bits(loader, pool, which)[n / 64] |= 1ull << n % 64;
}

static void in_zone(uint16_t zone)
{
	struct steer_dev d = { .slot = SLOT, .mac = { 2, 0, 0, 0, 0, 0xaa }, .on_exit = XDP_DROP, .zone = zone };

	assert_int_equal(loader_steer_dev_set(loader, LO, &d), 0);
}

static int setup(void **state)
{
	env_setup(state);
	allow("10.1.0.0/24", STEER_ALL, 0);
	allow("10.1.0.99", STEER_PASS, 0);
	allow("203.0.113.5", STEER_POOL, 1);
	allow("203.0.113.6", STEER_POOL | STEER_ARP, 2);
	allow("203.0.113.7", STEER_VTEP, 0);
	allow("2001:db8:a::/64", STEER_ALL, 0);
	allow("2001:db8:b::5", STEER_POOL | STEER_ARP, 127);
	allow("203.0.113.8", STEER_POOL | STEER_SERVICE, 5);
	allow("2001:db8:b::8", STEER_SERVICE, 0);
	service("203.0.113.8", PROTO_TCP, 80);
	service("203.0.113.8", PROTO_SCTP, 99);
	service("2001:db8:b::8", PROTO_UDP, 53);
	port_bit(5, STEER_TCP, 0x9c40);
	port_bit(0, STEER_UDP, 0x9c41); /* somebody else's */
	port_bit(0, STEER_ICMP, 0x0777);
	for (unsigned p = 1; p <= 127; p += p == 2 ? 125 : 1) {
		port_bit(p, STEER_TCP, 0x9c40);
		port_bit(p, STEER_UDP, 0x9c41);
		port_bit(p, STEER_ICMP, 0x0777);
		port_bit(p, STEER_SCTP, 0x9c43);
	}
	in_zone(0);
	socket_fd = socket(AF_XDP, SOCK_RAW, 0);
	assert_int_equal(loader_xsk_set(loader, SLOT, 0, socket_fd), 0);
	return 0;
}

static void expect(uint32_t verdict, const char *frame, int line)
{
	uint8_t b[256];
	uint32_t got = run_xdp(PROG_STEER, b, hex(b, frame));

	if (got != verdict)
		fail_msg("line %d: verdict %u instead of %u: %s", line, got, verdict, frame);
}
#define TAKES(f) expect(XDP_REDIRECT, f, __LINE__)
#define PASSES(f) expect(XDP_PASS, f, __LINE__)

static void prefixes(void **state)
{
	(void)state;
	TAKES(ETH4 IP4("06", "00 00", ALL4) PORTS("00 50", "9c 40") PAD);
	TAKES(ETH4 IP4("84", "00 00", ALL4) PAD);
	TAKES(ETH6 IP6("06", ALL6) PORTS("00 50", "9c 40") PAD);
	TAKES(ETH4 IP4("11", "00 64", ALL4) PAD); /* later fragment */
	PASSES(ETH4 IP4("06", "00 00", HOLE4) PORTS("00 50", "9c 40") PAD);
	PASSES(ETH4 IP4("06", "00 00", "08 08 08 08") PORTS("00 50", "9c 40") PAD);
	PASSES(ETH6 IP6("06", NONE6) PORTS("00 50", "9c 40") PAD);
}

static void macs_and_types(void **state)
{
	(void)state;
	PASSES(ETH("02 00 00 00 00 ab", "08 00") IP4("06", "00 00", ALL4) PORTS("00 50", "9c 40") PAD);
	PASSES(ETH("ff ff ff ff ff ff", "08 00") IP4("11", "00 00", ALL4) PORTS("00 50", "9c 40") PAD);
	PASSES(ETH("01 00 5e 00 00 01", "08 00") IP4("11", "00 00", ALL4) PORTS("00 50", "9c 40") PAD);
	PASSES(ETH(OWN, "81 00") "00 05 08 00 | " IP4("06", "00 00", ALL4) PORTS("00 50", "9c 40") PAD);
	PASSES(ETH(OWN, "88 cc") PAD);
	PASSES(ETH4 "45 00 00");                                                  /* too short for an address */
	PASSES(ETH4 "65 00 00 40 12 34 00 00 40 06 00 00 c0 00 02 01 " ALL4 PAD); /* not version 4 */
	PASSES(ETH4 "41 00 00 40 12 34 00 00 40 06 00 00 c0 00 02 01 " ALL4 PAD); /* header length 4 */
}

static void pool_ports(void **state)
{
	(void)state;
	TAKES(ETH4 IP4("06", "00 00", SHARED4) PORTS("00 50", "9c 40") PAD);
	TAKES(ETH4 IP4("06", "40 00", SHARED4) PORTS("00 50", "9c 40") PAD); /* DF is no fragment */
	TAKES(ETH4 IP4("11", "00 00", SHARED4) PORTS("00 35", "9c 41") PAD);
	PASSES(ETH4 IP4("06", "00 00", SHARED4) PORTS("00 50", "9c 41") PAD); /* UDP's bit */
	PASSES(ETH4 IP4("06", "00 00", SHARED4) PORTS("9c 40", "00 16") PAD); /* source does not count */
	TAKES(ETH4 IP4("84", "00 00", SHARED4) PORTS("00 50", "9c 43") PAD);
	PASSES(ETH4 IP4("84", "00 00", SHARED4) PORTS("00 50", "9c 40") PAD); /* TCP's bit */
	PASSES(ETH4 IP4("06", "00 00", SHARED4) PORTS("00 50", "9c 43") PAD);
	PASSES(ETH4 IP4("06", "00 00", SHARED4) "00 50");
	TAKES(ETH4 "46 00 00 40 12 34 00 00 40 06 00 00 c0 00 02 01 " SHARED4 " 94 04 00 00 | " PORTS("00 50", "9c 40")
		      PAD);
	TAKES(ETH6 IP6("11", POOL6) PORTS("00 35", "9c 41") PAD);
	PASSES(ETH6 IP6("11", POOL6) PORTS("00 35", "9c 40") PAD);
}

static void pool_icmp(void **state)
{
	(void)state;
	TAKES(ETH4 IP4("01", "00 00", SHARED4) "00 00 00 00 07 77 00 01 " PAD);
	PASSES(ETH4 IP4("01", "00 00", SHARED4) "00 00 00 00 07 78 00 01 " PAD);
	PASSES(ETH4 IP4("01", "00 00", SHARED4) "08 00 00 00 07 77 00 01 " PAD); /* echo request: the box's */
	TAKES(ETH6 IP6("3a", POOL6) "81 00 00 00 07 77 00 01 " PAD);
	PASSES(ETH6 IP6("3a", POOL6) "80 00 00 00 07 77 00 01 " PAD);
	PASSES(ETH6 IP6("01", POOL6) "00 00 00 00 07 77 00 01 " PAD); /* ICMPv4 in IPv6 */
}

#define INNER4(proto, frag, src) "45 00 00 40 55 55 " frag " 3f " proto " 00 00 " src " c0 00 02 09 | "
#define INNER6(proto, src) "60 00 00 00 00 40 " proto " 3f " src " 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 09 | "

static void pool_icmp_errors(void **state)
{
	(void)state;
#define ERR4(type) ETH4 IP4("01", "00 00", SHARED4) type " 01 00 00 00 00 00 00 | "
	TAKES(ERR4("03") INNER4("06", "00 00", SHARED4) "9c 40 00 50 00 00 00 00");
	TAKES(ERR4("0b") INNER4("11", "00 00", SHARED4) "9c 41 00 35 00 00 00 00");
	TAKES(ERR4("0c") INNER4("01", "00 00", SHARED4) "08 00 00 00 07 77 00 01");
	PASSES(ERR4("03") INNER4("06", "00 00", SHARED4) "9c 42 00 50 00 00 00 00");
	PASSES(ERR4("03") INNER4("06", "00 00", SHARED4) "00 50 9c 40 00 00 00 00");
	PASSES(ERR4("03") INNER4("06", "00 64", SHARED4) "9c 40 00 50 00 00 00 00"); /* no ports inside */
	PASSES(ERR4("03") INNER4("06", "00 00", "08 08 08 08") "9c 40 00 50 00 00 00 00");
	PASSES(ERR4("03") INNER4("01", "00 00", SHARED4) "00 00 00 00 07 77 00 01"); /* about our echo reply */
	PASSES(ERR4("05") INNER4("06", "00 00", SHARED4) "9c 40 00 50 00 00 00 00"); /* redirect */
	PASSES(ERR4("03") INNER4("06", "00 00", SHARED4) "9c 40");
	TAKES(ETH6 IP6("3a", POOL6) "02 00 00 00 00 00 05 00 | " INNER6("11", POOL6) "9c 41 00 35 00 00 00 00");
	TAKES(ETH6 IP6("3a", POOL6) "01 04 00 00 00 00 00 00 | " INNER6("3a", POOL6) "80 00 00 00 07 77 00 00");
	PASSES(ETH6 IP6("3a", POOL6) "02 00 00 00 00 00 05 00 | " INNER6("11", NONE6) "9c 41 00 35 00 00 00 00");
	PASSES(ETH6 IP6("3a", POOL6) "05 00 00 00 00 00 05 00 | " INNER6("11", POOL6) "9c 41 00 35 00 00 00 00");
}

/* Of an address of the box itself the services' ports, and what is about them; the rest is the kernel's. */
static void own_address(void **state)
{
	struct steer_service k = { .port = htons(53), .proto = PROTO_UDP };
	struct ipnet n = net("2001:db8:b::8");

	(void)state;
	TAKES(ETH4 IP4("06", "00 00", BOX4) PORTS("9c 40", "00 50") PAD);
	TAKES(ETH4 IP4("06", "00 00", BOX4) PORTS("00 50", "9c 40") PAD); /* the pool's */
	TAKES(ETH4 IP4("84", "00 00", BOX4) PORTS("9c 40", "00 63") PAD);
	TAKES(ETH6 IP6("11", BOX6) PORTS("9c 40", "00 35") PAD);
	PASSES(ETH4 IP4("06", "00 00", BOX4) PORTS("9c 40", "00 16") PAD);
	PASSES(ETH4 IP4("06", "00 00", BOX4) PORTS("00 50", "9c 41") PAD);
	PASSES(ETH4 IP4("11", "00 00", BOX4) PORTS("9c 40", "00 50") PAD);
	PASSES(ETH4 IP4("84", "00 00", BOX4) PORTS("9c 40", "9c 40") PAD);
	PASSES(ETH4 IP4("01", "00 00", BOX4) "08 00 00 00 07 77 00 01 " PAD);
	PASSES(ETH6 IP6("06", BOX6) PORTS("9c 40", "00 35") PAD);
	PASSES(ETH6 IP6("11", BOX6) PORTS("9c 40", "9c 41") PAD);
	PASSES(ETH6 IP6("3a", BOX6) "81 00 00 00 07 77 00 01 " PAD);
#define ERR(type) ETH4 IP4("01", "00 00", BOX4) type " 01 00 00 00 00 00 00 | "
	TAKES(ERR("03") INNER4("06", "00 00", BOX4) "00 50 9c 40 00 00 00 00");
	PASSES(ERR("03") INNER4("06", "00 00", BOX4) "00 16 9c 40 00 00 00 00");
	TAKES(ETH6 IP6("3a", BOX6) "02 00 00 00 00 00 05 00 | " INNER6("11", BOX6) "00 35 9c 41 00 00 00 00");
	PASSES(ETH6 IP6("3a", BOX6) "02 00 00 00 00 00 05 00 | " INNER6("11", BOX6) "9c 41 00 35 00 00 00 00");
	/* fragments follow their first one */
	PASSES(ETH4 IP4("06", "00 64", BOX4) PAD);
	TAKES(ETH4 IP4("06", "20 00", BOX4) PORTS("9c 40", "00 50") PAD);
	TAKES(ETH4 IP4("06", "00 64", BOX4) PAD);
	PASSES(ETH4 IP4("06", "20 00", BOX4) PORTS("9c 40", "00 16") PAD);
	PASSES(ETH4 IP4("06", "00 64", BOX4) PAD);
	/* a service goes */
	memcpy(k.addr, n.addr.b, 16);
	assert_int_equal(loader_service_del(loader, &k), 0);
	PASSES(ETH6 IP6("11", BOX6) PORTS("9c 40", "00 35") PAD);
}

static void fragments(void **state)
{
	(void)state;
	PASSES(ETH4 IP4("11", "00 64", SHARED4) PAD); /* its first piece was not seen */
	TAKES(ETH4 IP4("11", "20 00", SHARED4) PORTS("00 35", "9c 41") PAD);
	TAKES(ETH4 IP4("11", "00 64", SHARED4) PAD);
	TAKES(ETH4 IP4("11", "20 32", SHARED4) PAD);
	PASSES(ETH4 IP4("06", "00 64", SHARED4) PAD);                         /* other protocol, same id */
	PASSES(ETH4 IP4("11", "20 00", SHARED4) PORTS("00 35", "9c 42") PAD); /* the box's datagram reuses the id */
	PASSES(ETH4 IP4("11", "00 64", SHARED4) PAD);
	TAKES(ETH4 IP4("11", "00 64", OWNED4) PAD);
	PASSES(ETH4 IP4("11", "00 64", VTEP4) PAD);
	TAKES(ETH6 IP6("2c", POOL6) "11 00 00 01 00 00 00 07 | " PORTS("00 35", "9c 41") PAD);
	TAKES(ETH6 IP6("2c", POOL6) "11 00 05 a8 00 00 00 07 | " PAD);
	TAKES(ETH6 IP6("2c", POOL6) "11 00 00 00 00 00 00 08 | " PORTS("00 35", "9c 41") PAD); /* atomic */
	PASSES(ETH6 IP6("2c", POOL6) "11 00 00 01 00 00 00 09 | " PORTS("00 35", "9c 40") PAD);
}

/* What comes in by an uplink of another zone is of another datagram. */
static void fragments_of_zones(void **state)
{
	(void)state;
	service("2001:db8:b::8", PROTO_UDP, 53);
	in_zone(7);
	TAKES(ETH4 IP4("06", "20 00", BOX4) PORTS("9c 40", "00 50") PAD);
	TAKES(ETH6 IP6("2c", BOX6) "11 00 00 01 00 00 00 07 | " PORTS("9c 40", "00 35") PAD);
	in_zone(0);
	PASSES(ETH4 IP4("06", "00 64", BOX4) PAD);
	PASSES(ETH6 IP6("2c", BOX6) "11 00 05 a8 00 00 00 07 | " PAD);
	PASSES(ETH4 IP4("06", "20 00", BOX4) PORTS("9c 40", "00 16") PAD);
	PASSES(ETH6 IP6("2c", BOX6) "11 00 00 01 00 00 00 07 | " PORTS("9c 40", "00 36") PAD);
	in_zone(7);
	TAKES(ETH4 IP4("06", "00 64", BOX4) PAD);
	TAKES(ETH6 IP6("2c", BOX6) "11 00 05 a8 00 00 00 07 | " PAD);
	in_zone(0);
}

static void extension_headers(void **state)
{
	(void)state;
#define HOP(next) next " 00 00 00 00 00 00 00 | "
#define RH(next) next " 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 | "
	TAKES(ETH6 IP6("00", POOL6) HOP("06") PORTS("00 50", "9c 40") PAD);
	TAKES(ETH6 IP6("00", POOL6) HOP("2b") RH("3c") HOP("06") PORTS("00 50", "9c 40") PAD);
	TAKES(ETH6 IP6("00", POOL6) HOP("3c") HOP("2b") RH("3c") HOP("06") PORTS("00 50", "9c 40") PAD);
	PASSES(ETH6 IP6("00", POOL6) HOP("3c") HOP("3c") HOP("3c") HOP("3c") HOP("06") PORTS("00 50", "9c 40") PAD);
	TAKES(ETH6 IP6("00", ALL6) HOP("3c") HOP("3c") HOP("3c") HOP("3c") HOP("06") PORTS("00 50", "9c 40") PAD);
	PASSES(ETH6 IP6("00", POOL6) "06 ff 00 00 00 00 00 00 | " PORTS("00 50", "9c 40")); /* longer than the frame */
}

static void vtep(void **state)
{
	(void)state;
	TAKES(ETH4 IP4("11", "00 00", VTEP4) PORTS("c0 00", "21 18") PAD);
	TAKES(ETH4 IP4("11", "00 00", VTEP4) PORTS("c0 00", "12 b5") PAD);
	PASSES(ETH4 IP4("11", "00 00", VTEP4) PORTS("21 18", "c0 00") PAD);
	PASSES(ETH4 IP4("11", "00 00", VTEP4) PORTS("c0 00", "00 00") PAD);
	PASSES(ETH4 IP4("06", "00 00", VTEP4) PORTS("c0 00", "21 18") PAD);
}

static void neighbour_requests(void **state)
{
	(void)state;
#define ARP(op, target) "00 01 08 00 06 04 00 " op " 02 00 00 00 00 01 c0 00 02 01 00 00 00 00 00 00 " target
#define NS(type, target) type " 00 00 00 00 00 00 00 " target
	TAKES(ETH("ff ff ff ff ff ff", "08 06") ARP("01", OWNED4));
	TAKES(ETH(OWN, "08 06") ARP("01", OWNED4));
	PASSES(ETH("ff ff ff ff ff ff", "08 06") ARP("01", SHARED4));
	PASSES(ETH("ff ff ff ff ff ff", "08 06") ARP("02", OWNED4));
	/* who says that it is his: in an answer to us, gratuitous; who asks for another's and who answers the kernel: the kernel's */
#define ARP_BY(op, sender, target) "00 01 08 00 06 04 00 " op " 02 00 00 00 00 01 " sender " 00 00 00 00 00 00 " target
	TAKES(ETH(OWN, "08 06") ARP_BY("02", OWNED4, "00 00 00 00"));
	PASSES(ETH("ff ff ff ff ff ff", "08 06") ARP_BY("01", OWNED4, SHARED4));
	PASSES(ETH(OWN, "08 06") ARP_BY("02", OWNED4, SHARED4));
	TAKES(ETH("ff ff ff ff ff ff", "08 06") ARP_BY("01", OWNED4, OWNED4));
	TAKES(ETH("ff ff ff ff ff ff", "08 06") ARP_BY("01", "00 00 00 00", OWNED4));
	TAKES(ETH("ff ff ff ff ff ff", "08 06") ARP_BY("02", OWNED4, OWNED4));
	PASSES(ETH(OWN, "08 06") ARP_BY("02", SHARED4, OWNED4));
	PASSES(ETH(OWN, "08 06") ARP_BY("03", OWNED4, OWNED4));
	PASSES(ETH("02 00 00 00 00 ab", "08 06") ARP("01", OWNED4));
	PASSES(ETH("ff ff ff ff ff ff", "08 06") "00 01 08 00 06 04 00 01");
	TAKES(ETH("33 33 ff 00 00 05", "86 dd") IP6("3a", "ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 05")
		      NS("87", POOL6));
	TAKES(ETH6 IP6("3a", POOL6) NS("87", POOL6));
	/* hop limit 64: RFC 4861 7.1.1, it was forwarded */
	PASSES(ETH6 "60 00 00 00 00 40 3a 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 " POOL6 NS("87", POOL6));
	PASSES(ETH("33 33 ff 00 00 05", "86 dd") IP6("3a", "ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 05")
		       NS("87", NONE6));
	TAKES(ETH("33 33 00 00 00 01", "86 dd") IP6("3a", "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01")
		      NS("88", POOL6));
	PASSES(ETH6 IP6("3a", POOL6) NS("88", POOL6)); /* the kernel asked */
	PASSES(ETH("33 33 00 00 00 01", "86 dd") IP6("3a", "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01")
		       NS("88", NONE6));
	PASSES(ETH("33 33 00 00 00 01", "86 dd") IP6("3a", "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01")
		       NS("86", POOL6));
	PASSES(ETH("33 33 00 00 00 02", "86 dd") IP6("3a", "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 02")
		       NS("88", POOL6));
	PASSES(ETH("33 33 ff 00 00 05", "86 dd") IP6("11", ALL6) PORTS("00 35", "9c 41") PAD);
}

static void without_socket(void **state)
{
	static const char frame[] = ETH4 IP4("06", "00 00", ALL4) PORTS("00 50", "9c 40") PAD;
	struct steer_dev d = { .slot = SLOT, .mac = { 2, 0, 0, 0, 0, 0xaa }, .on_exit = XDP_PASS };
	uint64_t before[STEER_STATS], after[STEER_STATS];

	(void)state;
	assert_int_equal(loader_steer_stats(loader, before), 0);
	TAKES(frame);
	assert_int_equal(loader_xsk_del(loader, SLOT, 0), 0);
	expect(XDP_DROP, frame, __LINE__);
	assert_int_equal(loader_steer_dev_set(loader, LO, &d), 0);
	PASSES(frame);
	assert_int_equal(loader_steer_dev_del(loader, LO), 0);
	PASSES(frame);
	assert_int_equal(loader_steer_stats(loader, after), 0);
	assert_int_equal(after[STEER_TAKEN] - before[STEER_TAKEN], 1);
	assert_int_equal(after[STEER_NO_SOCKET] - before[STEER_NO_SOCKET], 2);
	assert_int_equal(after[STEER_PASSED] - before[STEER_PASSED], 1);
	d.slot = 0; /* the gate's */
	assert_int_equal(loader_steer_dev_set(loader, LO, &d), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes),
		cmocka_unit_test(macs_and_types),
		cmocka_unit_test(pool_ports),
		cmocka_unit_test(pool_icmp),
		cmocka_unit_test(pool_icmp_errors),
		cmocka_unit_test(own_address),
		cmocka_unit_test(fragments),
		cmocka_unit_test(fragments_of_zones),
		cmocka_unit_test(extension_headers),
		cmocka_unit_test(vtep),
		cmocka_unit_test(neighbour_requests),
		cmocka_unit_test(without_socket), /* last: takes the device away */
	};

	return cmocka_run_group_tests(tests, setup, env_teardown);
}
