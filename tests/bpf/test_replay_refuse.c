/* SPDX-License-Identifier: BSD-2-Clause */
/* What leaves kernel replay (design section 5): the frame goes on as it came, and the reason is counted. */
#include "tests/bpf/replay_kit.h"

static void refused(int line, int from, const char *text, enum replay_stat why)
{
	const struct step s = { from, text };
	uint64_t before = why < REPLAY_STATS ? stat_of(why) : 0, sent = stat_of(REPLAY_TC) + stat_of(REPLAY_XDP);
	struct frame in, got;
	char at[32];

	wire(&s, &in);
	if (kernel(from, &in, &got) != (from < 0 ? (uint32_t)XDP_PASS : TC_ACT_REDIRECT))
		fail_msg("line %d: not refused: %s", line, text);
	stamp(&s, &in);
	snprintf(at, sizeof(at), "line %d", line);
	same_bytes(at, &got, &in);
	assert_int_equal(stat_of(REPLAY_TC) + stat_of(REPLAY_XDP), sent);
	if (why < REPLAY_STATS && stat_of(why) != before + 1)
		fail_msg("%s: not counted as reason %u: %s", at, why, text);
}
#define REFUSED(from, text, why) refused(__LINE__, from, text, why)

static void replayed(int line, int from, const char *text)
{
	const struct step s = { from, text };
	uint64_t before = stat_of(from < 0 ? REPLAY_XDP : REPLAY_TC);
	struct frame in, got;

	wire(&s, &in);
	assert_int_equal(kernel(from, &in, &got), from < 0 ? (int)XDP_REDIRECT : TC_ACT_REDIRECT);
	if (stat_of(from < 0 ? REPLAY_XDP : REPLAY_TC) != before + 1)
		fail_msg("line %d: not replayed: %s", line, text);
}
#define REPLAYED(from, text) replayed(__LINE__, from, text)

static void shapes(void **state)
{
	struct frame want;

	(void)state;
	play(scenario("snat udp"), &want);
	REPLAYED(10, C10 " | udp 5353 > 53 | data 32");
	REPLAYED(10, C10 " df | udp 5353 > 53");
	REPLAYED(10, C10 " ttl=2 | udp 5353 > 53 | pad 6");
	REFUSED(10, C10 " mf | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " off=8 | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " opt=01010101 | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " ttl=1 | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " ttl=0 | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " csum=1 | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " len=200 | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " | udp 5353 > 53 len=41 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " | udp 5353 > 53 len=7 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " | icmp echo id=1 seq=1 | data 32", REPLAY_SHAPE);
	REFUSED(10, C10 " | udp 5353 > 54 | data 32", REPLAY_MISS);
	REFUSED(11, C10 " | udp 5353 > 53 | data 32", REPLAY_INGRESS);
	table->conf->flags |= REPLAY_UNIQUE_IDS;
	REFUSED(10, C10 " | udp 5353 > 53 | data 32", REPLAY_SHAPE);
	REPLAYED(10, C10 " df | udp 5353 > 53");
	table->conf->flags &= ~REPLAY_UNIQUE_IDS;
	uint64_t missed = stat_of(REPLAY_MISS);
	remove_record();
	REFUSED(10, C10 " | udp 5353 > 53 | data 32", REPLAY_STATS);
	assert_int_equal(stat_of(REPLAY_MISS), missed); /* no record: nothing is looked at */

	play(scenario("routed tcp"), &want);
#define TCP "ip 203.0.113.9 > 10.9.0.7 | tcp 4000 > 80 "
	REPLAYED(UP0, TCP "PA seq=2 ack=10 | data 70");
	REFUSED(UP0, TCP "S seq=1", REPLAY_SHAPE);
	REFUSED(UP0, TCP "FA seq=2 ack=10", REPLAY_SHAPE);
	REFUSED(UP0, TCP "RA seq=2 ack=10", REPLAY_SHAPE);
	REFUSED(UP0, TCP "P seq=2 | data 7", REPLAY_SHAPE); /* without ACK: the TCP machine drops it */
	REFUSED(UP0, TCP "U seq=2 | data 7", REPLAY_SHAPE);
	REPLAYED(UP0, TCP "UPA seq=2 ack=10 | data 7");
	REFUSED(UP0, TCP "A seq=2 ack=10 doff=4", REPLAY_SHAPE);
	REFUSED(UP0, TCP "A seq=2 ack=10 doff=8", REPLAY_SHAPE);
	REFUSED(UP0, TCP "A seq=2 ack=10 csum=partial | data 3", REPLAY_UNFINISHED);
	remove_record();

	play(scenario("routed udp 6"), &want);
#define UDP6(x) "ip 2001:db8:c::9 > 2001:db8:9::7 " x " | udp 4 > 5 | data 7"
	REPLAYED(UP0, UDP6(""));
	REFUSED(UP0, UDP6("hlim=1"), REPLAY_SHAPE);
	REFUSED(UP0, UDP6("plen=100"), REPLAY_SHAPE);
	REFUSED(UP0, UDP6("| hopopts"), REPLAY_SHAPE);
	REFUSED(UP0, UDP6("| frag mf"), REPLAY_SHAPE);
	REFUSED(UP0, "ip 2001:db8:c::9 > 2001:db8:9::7 | udp 4 > 5 csum=partial | data 7", REPLAY_UNFINISHED);
	remove_record();
}

static void overlay(void **state)
{
	static const char inner[] = "ip 10.2.0.7 > 10.9.0.7 | udp 4 > 5 | data 7";
	const struct ipaddr local = ip_from4(htonl(0xc0000201)), remote = ip_from4(htonl(0xc0000202));
	struct replay_remote k = remote_key(&local, &remote, htons(8472)), net = k;
	struct frame want;
	char text[256];

	(void)state;
	play(scenario("decap, routed"), &want);
#define OUTER(ip, vxlan, eth)                                                                                          \
	"ip " ip " | udp 50000 > 8472 csum=0 | vxlan " vxlan " | eth 02:00:00:00:00:01 > " eth " | %s"
#define IN(outer) (snprintf(text, sizeof(text), outer, inner), text)
	REPLAYED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1", "vni=2001", "02:e9:00:00:00:01")));
	REFUSED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1", "vni=2005", "02:e9:00:00:00:01")), REPLAY_INGRESS);
	REFUSED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1", "vni=2001 flags=0", "02:e9:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1", "vni=2001", "33:33:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1 tos=3", "vni=2001", "02:e9:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1 mf", "vni=2001", "02:e9:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER("192.0.2.9 > 192.0.2.1", "vni=2001", "02:e9:00:00:00:01")), REPLAY_SENDER);
	REFUSED(UP0, inner, REPLAY_INGRESS); /* the same packet without a tunnel */

	/* network mode: the VNI is part of who sends */
	net.vni = 77;
	export_table_set_flags(false, number, REPLAY_BY_XDP);
	assert_int_equal(loader_replay_remote_del(loader, &k), 0);
	assert_int_equal(loader_replay_remote_set(loader, &net, record.v4.in), 0);
	REPLAYED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1", "vni=77", "02:e9:00:00:00:01")));
	REFUSED(UP0, IN(OUTER("192.0.2.2 > 192.0.2.1", "vni=78", "02:e9:00:00:00:01")), REPLAY_SENDER);
	assert_int_equal(loader_replay_remote_del(loader, &net), 0);
	remove_record();
}

/* Outer headers of IPv6: what is no VXLAN of a known sender, and what has no sum that the outer checksum could be made of. */
static void underlay6(void **state)
{
	static const char inner[] = "ip 10.5.0.7 > 10.9.0.7 | udp 4 > 5 | data 7";
	struct frame want;
	char text[256];

	(void)state;
	play(scenario("decap from IPv6, routed"), &want);
#define OUTER6(ip, port, vxlan, eth)                                                                                   \
	"ip " ip " | udp 50000 > " port " | vxlan " vxlan " | eth 02:00:00:00:00:01 > " eth " | %s"
#define NODES6 "2001:db8:f::5 > 2001:db8:f::9"
	REPLAYED(UP0, IN(OUTER6(NODES6, "4789", "vni=2005", "02:e9:00:00:00:01")));
	REPLAYED(UP0, IN(OUTER6(NODES6 " tc=2", "4789", "vni=2005", "02:e9:00:00:00:01")));
	REFUSED(UP0, IN(OUTER6(NODES6 " tc=3", "4789", "vni=2005", "02:e9:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER6(NODES6 " tc=1", "4789", "vni=2005", "02:e9:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER6(NODES6, "4789", "vni=2005", "33:33:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER6(NODES6, "4789", "vni=2005 flags=0", "02:e9:00:00:00:01")), REPLAY_SHAPE);
	REFUSED(UP0, IN(OUTER6(NODES6, "4789", "vni=2001", "02:e9:00:00:00:01")), REPLAY_INGRESS);
	REFUSED(UP0, IN(OUTER6("2001:db8:f::6 > 2001:db8:f::9", "4789", "vni=2005", "02:e9:00:00:00:01")),
		REPLAY_SENDER);
	/* the port of the other VTEP: a node is known by the one that it talks to */
	REFUSED(UP0, IN(OUTER6(NODES6, "8472", "vni=2005", "02:e9:00:00:00:01")), REPLAY_SENDER);
	remove_record();

	play(scenario("uplink to IPv6 tunnel"), &want);
#define TO6(x) "ip 203.0.113.9 > 10.5.0.7 | udp 4 > 5 " x "| data 40"
	REPLAYED(UP0, TO6(""));
	REFUSED(UP0, TO6("csum=0 "), REPLAY_UNFINISHED);
	REFUSED(UP0, TO6("len=20 "), REPLAY_UNFINISHED);
	export_table_set_flags(false, number, REPLAY_BY_TC); /* XDP leaves nothing to tc that tc refuses */
	table->conf->overlay_port = htons(8472);
	REFUSED(UP0, TO6(""), REPLAY_NOT_HERE);
	table->conf->overlay_port = htons(4789);
	remove_record();
	play(scenario("container to IPv6 tunnel"), &want);
#define CONTAINER_TO6 "ip 10.1.0.10 > 10.5.0.7 | udp 4 > 5 | data 8"
	REPLAYED(10, CONTAINER_TO6);
	table->conf->overlay_port = htons(8472); /* the device is another VTEP's */
	REFUSED(10, CONTAINER_TO6, REPLAY_NOT_HERE);
	table->conf->overlay_port = htons(4789);
	table->conf->overlay_ifindex = 0;
	REFUSED(10, CONTAINER_TO6, REPLAY_NOT_HERE);
	table->conf->overlay_ifindex = LO;
	remove_record();
	play(scenario("uplink to tunnel"), &want);
	REPLAYED(UP0, "ip 203.0.113.9 > 10.2.0.7 | udp 4 > 5 csum=0 | data 40");
	remove_record();
}

static void validity(void **state)
{
	static const char text[] = C10 " | udp 5353 > 53 | data 32";
	struct frame want;
	struct adj *a;

	(void)state;
	play(scenario("snat udp"), &want);
	a = adj_at(record.v4.adj);
	for (unsigned i = 0; i < 4; i++) {
		if (!record.v4.dep[i])
			continue;
		REPLAYED(10, text);
		gen_bump(record.v4.dep[i]);
		REFUSED(10, text, REPLAY_STALE);
		gen_area->counter[record.v4.dep[i]]--;
	}
	gen_bump_extra();
	REFUSED(10, text, REPLAY_STALE);
	gen_area->extra--;
	REPLAYED(10, text);
	dead = true;
	REFUSED(10, text, REPLAY_DEAD);
	dead = false;
	export_table_use(false, number)->seen -= 9;
	REFUSED(10, text, REPLAY_IDLE);
	export_table_use(false, number)->seen = REPLAY_SEEN_NOW(real_ns());
	REPLAYED(10, text);

	export_table_set_flags(false, number, REPLAY_BY_XDP);
	REFUSED(10, text, REPLAY_NOT_HERE);
	export_table_set_flags(false, number, REPLAY_BY_TC);
	table->conf->port[a->port].ifindex = 0;
	REFUSED(10, text, REPLAY_NOT_HERE);
	table->conf->port[a->port].ifindex = LO;
	for (uint8_t kind = 0, was = a->kind; kind < 8; kind += 3) { /* ADJ_NONE, ADJ_TUNNEL6 (tc), nonsense */
		a->kind = kind;
		REFUSED(10, text, REPLAY_NOT_HERE);
		a->kind = was;
	}
	export_table_switch(false);
	REFUSED(10, text, REPLAY_STATS);
	export_table_switch(true);
	REPLAYED(10, text);

	/* a new MAC is used at once */
	const struct step s = { 10, text };
	struct frame in, got;

	neighbour("up0", "192.0.2.254", 0x97);
	box_run();
	wire(&s, &in);
	kernel(10, &in, &got);
	assert_int_equal(got.b[5], 0x97);
	neighbour("up0", "192.0.2.254", 0x99);
	box_run();
	remove_record();
}

static void sizes(void **state)
{
	struct frame want;

	(void)state;
	play(scenario("encap tcp"), &want); /* inner MTU 1450 */
#define BIG(n) "ip 10.1.0.10 > 10.2.0.7 | tcp 1000 > 80 A seq=2 ack=6 | data " n
	REPLAYED(10, BIG("1410"));
	REFUSED(10, BIG("1411"), REPLAY_LONG);
	/* a kind of GSO that takes no tunnel: as it came */
	gso_size = 1410;
	gso_segs = 2;
	REFUSED(10, BIG("1800"), REPLAY_NOT_HERE);
	remove_record();

	play(scenario("snat tcp"), &want);
#define BIG2(n) C10 " | tcp 5355 > 443 A seq=2 ack=8 | data " n
	gso_size = 1460;
	REPLAYED(10, BIG2("1800"));
	assert_int_equal(export_table_use(false, number)->packets, 2);
	assert_int_equal(export_table_use(false, number)->bytes, 1800 + 2 * 40);
	gso_size = 1461;
	REFUSED(10, BIG2("1800"), REPLAY_LONG);
	gso_size = gso_segs = 0;
	REFUSED(10, BIG2("1461"), REPLAY_LONG);
	REPLAYED(10, BIG2("1460"));
	remove_record();
}

/* Which way XDP hands on, by what the devices behind can do. */
static void ways(void **state)
{
	static const char text[] = "ip 203.0.113.9 > 10.9.0.7 | udp 4 > 5 | data 7";
	struct replay_port *up0 = &table->conf->port[-UP0], *up1 = &table->conf->port[-UP1];
	const struct step s = { UP0, text };
	struct frame want, in, got;

	(void)state;
	play(scenario("routed udp"), &want);
	table->conf->flags |= REPLAY_UNIQUE_IDS; /* not translated: its sender's is good */
	REPLAYED(UP0, text);
	table->conf->flags &= ~REPLAY_UNIQUE_IDS;
	up1->flags = 0; /* takes no redirect: tc behind us sends it */
	wire(&s, &in);
	assert_int_equal(kernel(UP0, &in, &got), XDP_PASS);
	assert_int_equal(ld32(got.b), REPLAY_META);
	up0->flags &= ~(uint32_t)REPLAY_PORT_NETDEV;
	REFUSED(UP0, text, REPLAY_NOT_HERE);
	up1->flags = REPLAY_PORT_REDIRECT;
	REPLAYED(UP0, text);
	export_table_set_flags(false, number, REPLAY_BY_TC);
	REFUSED(UP0, text, REPLAY_NOT_HERE);
	export_table_set_flags(false, number, REPLAY_BY_XDP);
	up0->flags = REPLAY_PORT_NO_INGRESS;
	REFUSED(UP0, text, REPLAY_STATS);
	up0->flags = up1->flags = REPLAY_PORT_REDIRECT | REPLAY_PORT_STRIP;
	/* not addressed to us */
	wire(&s, &in);
	in.b[5] ^= 1;
	assert_int_equal(kernel(UP0, &in, &got), XDP_PASS);
	same_bytes("another MAC", &got, &in);
	remove_record();

	play(scenario("decap to a container"), &want);
	up0->flags &= ~(uint32_t)REPLAY_PORT_NETDEV;
	table->conf->overlay_port = 0;
	REFUSED(UP0, VX("2001") "ip 10.2.0.7 > 10.1.0.10 | udp 4 > 3 | data 8", REPLAY_NOT_HERE);
	table->conf->overlay_port = htons(8472);
	/* to sluice_vxlan, as it came */
	const struct step tunnelled = { UP0, VX("2001") "ip 10.2.0.7 > 10.1.0.10 | udp 4 > 3 | data 8" };
	uint64_t before = stat_of(REPLAY_XDP_TO_TC);

	wire(&tunnelled, &in);
	assert_int_equal(kernel(UP0, &in, &got), XDP_PASS);
	same_bytes("to sluice_vxlan", &got, &in);
	assert_int_equal(stat_of(REPLAY_XDP_TO_TC), before + 1);
	/* without GRO too, but not for another port */
	up0->flags = REPLAY_PORT_REDIRECT | REPLAY_PORT_NETDEV;
	assert_int_equal(kernel(UP0, &in, &got), XDP_PASS);
	same_bytes("no GRO", &got, &in);
	table->conf->overlay_port = htons(4789);
	assert_int_equal(kernel(UP0, &in, &got), XDP_PASS);
	assert_int_equal(ld32(got.b), REPLAY_META);
	table->conf->overlay_port = htons(8472);
	up0->flags |= REPLAY_PORT_STRIP;
	remove_record();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes),   cmocka_unit_test(overlay), cmocka_unit_test(underlay6),
		cmocka_unit_test(validity), cmocka_unit_test(sizes),   cmocka_unit_test(ways),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
