/* SPDX-License-Identifier: BSD-2-Clause */
/* A record is decided anew by one thread while a worker replays it: each packet leaves by one decision, addresses, ports,
 * checksums and adjacency alike, and so does what the kernel gets a copy of. And when it must not be replayed at all. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/kit.h"
#include "fwd/base/clock.h"
#include "fwd/export_record.h"
#include "fwd/replay.h"
#include "fwd/resolve.h"
#include "tables/neighbor.h"
#include "tests/support/box.h"
#include "tests/support/check.h"

#if defined(__SANITIZE_THREAD__)
enum { BURSTS = 2000, COPIES = 100000 };
#else
enum { BURSTS = 20000, COPIES = 1000000 };
#endif
enum { BURST = 64, WAYS = 3 };

/* The first is what the decision path says, the others are the second thread's. */
struct way {
	struct tuple out;
	uint32_t adj;
	struct mac to;
};
static struct family {
	struct kit_case flow;
	struct ct *ct;
	uint32_t record;
	struct way way[WAYS];
	unsigned seen[WAYS];
} families[2] = { { .flow = { .name = "record" } }, { .flow = { .name = "record", .v6 = true } } };
static struct port *up;
static bool stop;

static void tell(struct way *w, const char *src, uint16_t sport, const char *dst, uint16_t dport, uint8_t mac)
{
	struct err e = { "" };
	w->out = (struct tuple){ .src = kit_addr(src),
				 .dst = kit_addr(dst),
				 .sport = htons(sport),
				 .dport = htons(dport),
				 .proto = PROTO_UDP };
	memset(w->to.b, mac, sizeof(w->to.b));
	w->adj = adj_alloc(&e);
	assert_int_not_equal(w->adj, 0);
	adj_set_eth(w->adj, up->index, &up->mac, &w->to, 1500);
}

static void put(const struct family *f, unsigned n)
{
	uint8_t b[128];
	const uint32_t len = kit_build(b, &f->flow, 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(mem_port_put(ports[PORT_GATE], 0, b, len), 0);
}

static void tuple_of_frame(const uint8_t *b, bool v6, struct tuple *t)
{
	const uint8_t *l3 = b + ETH_HLEN_, *l4 = l3 + (v6 ? IP6_HLEN : IP4_HLEN);
	*t = (struct tuple){ .src = v6 ? ip_from6(l3 + 8) : ip_from4(ld32(l3 + 12)),
			     .dst = v6 ? ip_from6(l3 + 24) : ip_from4(ld32(l3 + 16)),
			     .sport = ld16(l4),
			     .dport = ld16(l4 + 2) };
}

static bool same(const struct tuple *a, const struct tuple *b)
{
	return ip_eq(&a->src, &b->src) && ip_eq(&a->dst, &b->dst) && a->sport == b->sport && a->dport == b->dport;
}

static int which(const struct family *f, const struct tuple *t)
{
	for (int i = 0; i < WAYS; i++)
		if (same(t, &f->way[i].out))
			return i;
	return -1;
}

static void expect_whole(struct family *f, const uint8_t *b, uint32_t len)
{
	struct tuple t;
	tuple_of_frame(b, f->flow.v6, &t);
	const int i = which(f, &t);
	if (i < 0)
		fail_msg("a packet left half by one decision, half by another: ports %u > %u", ntohs(t.sport),
			 ntohs(t.dport));
	assert_memory_equal(b, f->way[i].to.b, 6);
	assert_int_equal(check_frame(b, len) & (FRAME_IP_CSUM | FRAME_L4_CSUM), 0);
	f->seen[i]++;
}

static void learn(struct family *f)
{
	uint8_t b[BOX_FRAME_MAX];
	put(f, 1);
	box_run();
	assert_true(box_take(up, b) > 0);
	f->ct = ct_of(f->flow.v6);
	const uint32_t conn = ct_next(f->ct, 0);
	assert_int_not_equal(conn, 0);
	f->record = 2 * conn;
	tuple_of_frame(b, f->flow.v6, &f->way[0].out);
	memcpy(f->way[0].to.b, b, 6);
}

static int setup(void **state)
{
	const struct box_limits limits = { .frames = 4096 };
	const struct mac m = { { 2, 0, 0, 0, 0, 0x99 } };
	struct err e = { "" };
	(void)state;
	char text[] = "set worker count 1\nadd port up0 mem\n"
		      "add endpoint 10 device c10 ipv4 10.1.0.10 ipv6 fd01::10 mac 02:02:00:00:00:0a identity 1001\n";
	FILE *none = fopen("/dev/null", "w");
	if (!none || box_open(&limits, &e) || box_commands("record", text, none, &e) || !(up = port_by_name("up0")) ||
	    box_route(true, "0.0.0.0/0", up, "192.0.2.254", &e) || box_route(true, "::/0", up, "2001:db8:2::2", &e))
		fail_msg("%s", e.text);
	fclose(none);
	const struct ipaddr router4 = kit_addr("192.0.2.254"), router6 = kit_addr("2001:db8:2::2");
	resolve_kernel_neighbor(up->ifindex, &router4, &m, true, false);
	resolve_kernel_neighbor(up->ifindex, &router6, &m, true, false);
	learn(&families[0]);
	learn(&families[1]);
	tell(&families[0].way[1], "198.51.100.1", 1111, "203.0.113.7", 2222, 0x12);
	tell(&families[0].way[2], "192.0.2.77", 33333, "198.18.200.9", 44444, 0x34);
	tell(&families[1].way[1], "2001:db8:1::1", 1111, "2001:db8:77::7", 2222, 0x12);
	tell(&families[1].way[2], "fd00:aa:bb:cc:dd::1", 33333, "fd99:1:2:3:4:5:6:7", 44444, 0x34);
	return 0;
}

static int teardown(void **state)
{
	struct err e = { "" };
	(void)state;
	if (!box_close(&e))
		print_error("%s\n", e.text);
	return 0;
}

/* Decides anew, now one way, now the other. Between two of them it stands for a moment of changing length. */
static void *decide_anew(void *arg)
{
	const struct family *f = arg;
	const uint16_t dep[4] = { 0 };
	for (unsigned n = 0; !LOAD_RELAXED(&stop); n++) {
		const struct way *w = &f->way[1 + n % 2];
		const struct flow_from from = { .in = FLOW_IN_ENDPOINT | KIT_EP_ID, .vni = 100 + 1 + n % 2 };
		record_write(f->ct, f->record, &w->out, w->adj, &from, dep, gen_begin());
		for (unsigned i = 0; i < n % 61 * 4; i++)
			__builtin_ia32_pause();
	}
	return NULL;
}

static pthread_t start(struct family *f)
{
	pthread_t t;
	STORE_RELAXED(&stop, false);
	assert_int_equal(pthread_create(&t, NULL, decide_anew, f), 0);
	return t;
}

static void end(pthread_t t)
{
	STORE_RELAXED(&stop, true);
	assert_int_equal(pthread_join(t, NULL), 0);
}

static void replay(struct family *f)
{
	uint8_t b[BOX_FRAME_MAX];
	pthread_t t = start(f);
	for (unsigned i = 0; i < BURSTS; i++) {
		uint32_t len;
		put(f, BURST);
		worker_run_once(workers[0]);
		while ((len = box_take(up, b)))
			expect_whole(f, b, len);
	}
	end(t);
	assert_int_equal(f->seen[0] + f->seen[1] + f->seen[2], BURSTS * BURST);
	assert_true(f->seen[1] > 0 && f->seen[2] > 0);
	assert_int_equal(box_drops(), 0);
}

static void replayed_ipv4(void **state)
{
	(void)state;
	replay(&families[0]);
}

static void replayed_ipv6(void **state)
{
	(void)state;
	replay(&families[1]);
}

static void copy(struct family *f)
{
	pthread_t t = start(f);
	unsigned got = 0;
	for (unsigned i = 0; i < COPIES; i++) {
		union export_record k;
		struct tuple out = { .proto = PROTO_UDP };
		if (!export_record_copy(f->ct, f->record, &k))
			continue;
		got++;
		out.src = f->flow.v6 ? ip_from6(k.v6.src) : ip_from4(k.v4.src);
		out.dst = f->flow.v6 ? ip_from6(k.v6.dst) : ip_from4(k.v4.dst);
		out.sport = f->flow.v6 ? k.v6.sport : k.v4.sport;
		out.dport = f->flow.v6 ? k.v6.dport : k.v4.dport;
		const int w = which(f, &out);
		if (w < 0)
			fail_msg("a copy is half of one decision, half of another");
		if (w == 0)
			continue;
		assert_int_equal(f->flow.v6 ? k.v6.adj : k.v4.adj, f->way[w].adj);
		assert_int_equal(f->flow.v6 ? k.v6.vni : k.v4.vni, 100 + w);
	}
	end(t);
	assert_true(got > 0);
}

static void copied_for_the_kernel(void **state)
{
	(void)state;
	copy(&families[0]);
	copy(&families[1]);
}

/* ---- what must not be replayed ---- */

static bool is_valid(const struct family *f)
{
	union record now;
	record_read(f->ct, f->record, &now);
	return now.v4.gensum == gen_sum(now.v4.dep);
}

static void write_way(const struct family *f, const uint16_t dep[4], uint32_t begin)
{
	const struct flow_from from = { .in = FLOW_IN_ENDPOINT | KIT_EP_ID };
	record_write(f->ct, f->record, &f->way[1].out, f->way[1].adj, &from, dep, begin);
}

/* What changed between a decision's first look and its end may have been seen by half of it. */
static void not_kept_after_a_change(void **state)
{
	const struct family *f = &families[0];
	const uint16_t dep[4] = { 100, 0, 0, 0 };
	(void)state;
	const uint32_t begin = gen_begin();
	write_way(f, dep, begin);
	assert_true(is_valid(f));
	gen_bump(200); /* any of them: which one mattered is not known */
	write_way(f, dep, begin);
	assert_false(is_valid(f));
	write_way(f, dep, gen_begin());
	assert_true(is_valid(f));
}

/* Another worker may have seen the connection end meanwhile. */
static void not_kept_at_the_end(void **state)
{
	const struct family *f = &families[0];
	const uint16_t dep[4] = { 0 };
	struct conn *k = ct_conn(f->ct, f->record >> 1);
	const struct conn was = *k;
	(void)state;
	k->proto = PROTO_TCP;
	k->state = CT_RST_SEEN;
	write_way(f, dep, gen_begin());
	assert_false(is_valid(f));
	k->state = CT_ESTABLISHED;
	write_way(f, dep, gen_begin());
	assert_true(is_valid(f));
	k->proto = was.proto;
	k->state = was.state;
}

/* One that has run out is not replayed although ageing has not come to it yet. */
static void not_after_its_time(void **state)
{
	const struct family *f = &families[0];
	const uint16_t dep[4] = { 0 };
	uint8_t b[BOX_FRAME_MAX];
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		const uint64_t decided = workers[0]->decided;
		write_way(f, dep, gen_begin());
		put(f, 1);
		/* in use, then idle for longer than is let pass unasked, then for too long */
		clock_set(clock_ns() + (n == 0 ? 1 : n == 1 ? 20 : ct_timeouts[CT_T_UDP_UNREPLIED]) * NS_PER_S);
		worker_run_once(workers[0]);
		assert_int_equal(workers[0]->decided - decided, n == 2);
		assert_true(box_take(up, b) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replayed_ipv4),         cmocka_unit_test(replayed_ipv6),
		cmocka_unit_test(copied_for_the_kernel), cmocka_unit_test(not_kept_after_a_change),
		cmocka_unit_test(not_kept_at_the_end),   cmocka_unit_test(not_after_its_time),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
