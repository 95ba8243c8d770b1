/* SPDX-License-Identifier: BSD-2-Clause */
/* Two workers decide about the same connections at once: both see the first packet, or one sees the first packet and the
 * other its answer, with and without masquerade, also while the control thread deletes. There is one entry and one port
 * for each connection, every packet is counted once, and nothing is left when all are deleted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "bench/kit.h"
#include "fwd/base/rcu.h"
#include "fwd/resolve.h"
#include "tables/ct.h"
#include "tables/nat.h"
#include "tests/support/box.h"

/* POOL_LO: every sixth source port is outside the pool's range, so its mapping takes a random one that others want, too. */
#if defined(__SANITIZE_THREAD__)
enum { SHARE = 20 }; /* of the flows, so that it ends in seconds */
#else
enum { SHARE = 1 };
#endif
enum {
	ROUND = 2000,
	SOURCES = KIT_PORTS_PER_DST,
	ALL = 2 * SOURCES,
	FEW = 20000 / SHARE,
	POOL_LO = 10000,
	PATIENCE = 200000
};
enum kind { ORIGINAL, ANSWER, ANSWER_TO_POOL };

static struct kit_case flow = { .name = "race" };
static struct port *up;
static struct ipaddr pool_addr;

static void commands(const char *line)
{
	struct err e = { "" };
	char text[512];
	FILE *none = fopen("/dev/null", "w");
	assert_non_null(none);
	strcpy(text, line);
	int err = box_commands("race", text, none, &e);
	fclose(none);
	if (err)
		fail_msg("%s: %s", line, e.text);
}

/* ---- packets ---- */

static unsigned queue_of(const struct port *p, unsigned worker)
{
	for (unsigned q = 0; q < p->n_queues; q++)
		if (p->queue[q].owner == worker)
			return q;
	fail_msg("worker %u owns no queue of %s", worker, p->conf.name);
	return 0;
}

/* The answer to a frame of the container; to a pool address: as if the source port had been kept. */
static void turn_round(uint8_t *b, bool to_pool)
{
	uint8_t *l3 = b + ETH_HLEN_, *l4 = l3 + IP4_HLEN, src[4], sport[2];
	memcpy(b, up->mac.b, 6);
	memcpy(b + 6, (uint8_t[]){ 2, 0, 0, 0, 0, 0x99 }, 6);
	memcpy(src, to_pool ? pool_addr.b + 12 : l3 + 12, 4);
	memcpy(l3 + 12, l3 + 16, 4);
	memcpy(l3 + 16, src, 4);
	memcpy(sport, l4, 2);
	memcpy(l4, l4 + 2, 2);
	memcpy(l4 + 2, sport, 2);
	st16(l4 + 6, 0); /* no checksum: RFC 768 */
	st16(l3 + 10, 0);
	st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
}

static void put(enum kind kind, unsigned worker, uint32_t f)
{
	uint8_t b[128];
	uint32_t len = kit_build(b, &flow, f);
	struct port *p = kind == ORIGINAL ? ports[PORT_GATE] : up;
	if (kind != ORIGINAL)
		turn_round(b, kind == ANSWER_TO_POOL);
	assert_int_equal(mem_port_put(p, queue_of(p, worker), b, len), 0);
}

static uint64_t received(void)
{
	return workers_port(PORT_GATE).rx.packets + workers_port(up->index).rx.packets;
}

static uint64_t inside_out; /* packets that left with an inside source */

static uint64_t drain(void)
{
	uint8_t b[BOX_FRAME_MAX];
	uint64_t n = 0;
	for (; box_take(up, b); n++)
		inside_out += b[ETH_HLEN_ + 12] == 10;
	while (box_take(ports[PORT_GATE], b))
		n++;
	return n;
}

/* Both workers stand still while their queues are filled with the same flows in the same order, then run at once: who falls
 * behind only replays, so they keep meeting. 'meanwhile' runs as the control thread. Returns how many packets came out. */
static uint64_t race(enum kind kind0, enum kind kind1, uint32_t from, uint32_t to, void (*meanwhile)(void))
{
	uint64_t out = 0, want = received(), left;
	for (uint32_t f = from; f < to;) {
		uint32_t end = MIN(f + ROUND, to);
		workers_pause();
		for (; f < end; f++, want += 2) {
			put(kind0, 0, f);
			put(kind1, 1, f);
		}
		workers_resume();
		for (left = PATIENCE; received() < want && left; left--) {
			if (meanwhile)
				meanwhile();
			rcu_poll_deferred();
			nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
		}
		assert_int_equal(received(), want);
		workers_pause(); /* what they received is out */
		out += drain();
		workers_resume();
	}
	return out;
}

/* With the reasons when some are missing. */
static void expect_out(uint64_t out, uint64_t want)
{
	if (out == want)
		return;
	for (unsigned i = 0; i < 256; i++)
		if (workers_drops(i).packets)
			print_error("dropped %lu: %s\n", workers_drops(i).packets, drop_text(i));
	assert_int_equal(out, want);
}

/* ---- what is there ---- */

static uint32_t bits_set(void)
{
	uint32_t n = 0;
	int p = nat_pool_by_addr(&pool_addr);
	for (unsigned w = 0; p >= 0 && w < 3; w++)
		for (unsigned i = 0; i < 65536 / 64; i++)
			n += (uint32_t)__builtin_popcountll(nat_pools[p].bits[w][i]);
	return n;
}

/* Live connections, each found by both its keys. */
static uint32_t live(void)
{
	uint32_t n = 0;
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i), n++)
		for (uint32_t r = 2 * i; r < 2 * i + 2; r++)
			assert_int_equal(hidx_find(&ct4.idx, &ct_flow4(r)->key, hash_key(&ct_flow4(r)->key, 16)), r);
	return n;
}

static uint32_t linked(void)
{
	uint32_t n = 0;
	for (uint64_t i = 0; i < ct4.idx.n_buckets; i++)
		for (unsigned k = 0; k < BUCKET_SLOTS; k++)
			n += ct4.idx.b[i].tag[k] != 0;
	return n;
}

static void expect(uint32_t conns, uint32_t mappings)
{
	struct err e = { "" };
	uint32_t refs = 0;
	workers_pause();
	assert_int_equal(live(), conns);
	assert_int_equal(linked(), 2 * conns);
	assert_int_equal(ct_count(&ct4), conns);
	assert_int_equal(nat_count(), mappings);
	assert_int_equal(bits_set(), mappings);
	int p = nat_pool_by_addr(&pool_addr);
	assert_int_equal(p < 0 ? 0 : nat_pools[p].in_use[STEER_UDP], mappings);
	for (uint32_t m = nat_next(0); m; m = nat_next(m)) {
		const struct nat_mapping *v = nat_at(m);
		assert_int_equal(nat_by_outside(&v->outside, v->proto, v->outside_port), m);
		refs += v->refs;
	}
	assert_int_equal(refs, mappings ? conns : 0);
	if (!box_balanced(&e))
		fail_msg("%s", e.text);
	workers_resume();
}

static void delete_all(void)
{
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		ct_delete(&ct4, SLOT_CONTROL, i);
}

static void expect_nothing(void)
{
	commands("clear ct\n");
	expect(0, 0);
	assert_int_equal(nat_permit_count(), 0);
	rcu_wait();
	assert_int_equal(pool_used(&ct4.conns), 0);
}

/* ---- tests ---- */

static int setup(void **state)
{
	const struct box_limits limits = { .frames = 32768, .ct_other = ALL + 4 * ROUND, .gate_queues = 2 };
	const struct mac m = { { 2, 0, 0, 0, 0, 0x99 } };
	struct err e = { "" };
	struct ipaddr router;
	(void)state;
	kit_endpoints = 4;
	if (box_open(&limits, &e))
		fail_msg("%s", e.text);
	commands("set worker count 2\n"
		 "add port up0 mem queues 2\n"
		 "add endpoint 10 device c10 ipv4 10.1.0.10 mac 02:02:00:00:00:0a identity 1001\n"
		 "add endpoint 11 device c11 ipv4 10.1.0.11 mac 02:02:00:00:00:0a identity 1001\n"
		 "add endpoint 12 device c12 ipv4 10.1.0.12 mac 02:02:00:00:00:0a identity 1001\n"
		 "add endpoint 13 device c13 ipv4 10.1.0.13 mac 02:02:00:00:00:0a identity 1001\n");
	up = port_by_name("up0");
	if (!up || box_route(true, "0.0.0.0/0", up, "192.0.2.254", &e) || !ip_parse("192.0.2.254", &router) ||
	    !ip_parse("198.51.100.1", &pool_addr))
		fail_msg("%s", e.text);
	resolve_kernel_neighbor(up->ifindex, &router, &m, true, false);
	put(ORIGINAL, 0, 0); /* asks for the neighbour, waits, goes on */
	box_run();
	assert_int_equal(drain(), 1);
	expect_nothing();
	return workers_start(&e);
}

static int teardown(void **state)
{
	struct err e = { "" };
	(void)state;
	workers_stop();
	if (!box_close(&e))
		print_error("%s\n", e.text);
	return 0;
}

static void both_see_the_first_packet(void **state)
{
	(void)state;
	expect_out(race(ORIGINAL, ORIGINAL, 0, FEW, NULL), 2 * FEW);
	expect(FEW, 0);
	expect_nothing();
	assert_int_equal(box_drops(), 0);
}

/* The answer may be first: then it opens the connection. */
static void one_sees_the_answer(void **state)
{
	(void)state;
	expect_out(race(ORIGINAL, ANSWER, 0, FEW, NULL), 2 * FEW);
	expect(FEW, 0);
	expect_nothing();
	assert_int_equal(box_drops(), 0);
}

static void both_masquerade(void **state)
{
	(void)state;
	commands("add nat pool 198.51.100.1 ports 10000-65000\n");
	uint64_t out = race(ORIGINAL, ORIGINAL, 0, SOURCES / SHARE, NULL);
	out += race(ORIGINAL, ORIGINAL, SOURCES, SOURCES + SOURCES / SHARE, NULL);
	expect_out(out, 2 * ALL / SHARE);
	expect(ALL / SHARE, SOURCES / SHARE);
	assert_int_equal(nat_permit_count(), ALL / SHARE);
	assert_int_equal(box_drops(), 0);
	expect_nothing();
}

/* An answer that comes before there is a mapping, or before it may come in, is dropped; nothing else is. */
static void one_sees_the_answer_to_the_pool(void **state)
{
	const uint32_t from = POOL_LO; /* source ports that the pool has */
	(void)state;
	uint64_t out = race(ORIGINAL, ANSWER_TO_POOL, from, from + FEW, NULL);
	uint64_t early = workers_drops(DROP_NAT_NO_MAPPING).packets + workers_drops(DROP_NAT_FILTERED).packets;
	expect_out(out + early, 2 * FEW);
	assert_int_equal(box_drops(), early);
	expect(FEW, FEW);
	expect_nothing();
}

static void connections_die_while_they_are_made(void **state)
{
	(void)state;
	uint64_t before = box_drops(), out = race(ORIGINAL, ORIGINAL, 0, FEW, delete_all);
	out += race(ORIGINAL, ANSWER_TO_POOL, POOL_LO, POOL_LO + FEW, delete_all);
	expect_out(out + box_drops() - before, 4 * FEW);
	expect_nothing();
}

/* A service goes and comes while its connections begin: they get its backend, or nobody serves the address. */
static void service_toggles(void)
{
	static bool there;
	commands(there ? "del backend 203.1.0.1:5001/udp 198.18.0.5:5001\ndel service 203.1.0.1:5001/udp\n"
		       : "add service 203.1.0.1:5001/udp\nadd backend 203.1.0.1:5001/udp 198.18.0.5:5001\n");
	there = !there;
}

static void a_service_goes_while_it_is_used(void **state)
{
	(void)state;
	flow.service = true;
	uint64_t before = box_drops(), out = race(ORIGINAL, ORIGINAL, 0, FEW, service_toggles);
	flow.service = false;
	expect_out(out + box_drops() - before, 2 * FEW);
	assert_true(out > 0);
	expect_nothing();
}

/* A container goes and comes while it sends: its packets are dropped, or leave by its policy and with the pool's address. */
static bool container_gone;
static void container_toggles(void)
{
	commands(container_gone ? "add endpoint 10 device c10 ipv4 10.1.0.10 mac 02:02:00:00:00:0a identity 1001\n"
				: "del endpoint 10\n");
	container_gone = !container_gone;
}

static void a_container_goes_while_it_sends(void **state)
{
	(void)state;
	inside_out = 0;
	uint64_t before = box_drops(), out = race(ORIGINAL, ORIGINAL, POOL_LO, POOL_LO + FEW, container_toggles);
	expect_out(out + box_drops() - before, 2 * FEW);
	assert_true(out > 0);
	assert_int_equal(inside_out, 0);
	if (container_gone)
		container_toggles();
	expect_nothing();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_see_the_first_packet),
		cmocka_unit_test(one_sees_the_answer),
		cmocka_unit_test(both_masquerade),
		cmocka_unit_test(one_sees_the_answer_to_the_pool),
		cmocka_unit_test(connections_die_while_they_are_made),
		cmocka_unit_test(a_service_goes_while_it_is_used),
		cmocka_unit_test(a_container_goes_while_it_sends),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
