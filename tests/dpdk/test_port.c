/* SPDX-License-Identifier: BSD-2-Clause */
/* DPDK ports over net_ring: frames come and go unharmed, what cannot be held is counted, full rings lose nothing that was taken,
 * workers join and leave the EAL, and refusals say which device and why. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fwd/engine.h"
#include "fwd/port/port.h"
#include "tests/dpdk/wire.h"
/* behind ours: they define container_of and likely unless somebody has */
#include <rte_lcore.h>
#include <rte_mbuf.h>

enum { N = 4096, RING = 64 };

static bool keep; /* the engine of this test sends everything back, or counts and keeps it */
static unsigned n_seen;
static uint32_t seen_len[BURST_MAX];
static uint8_t seen[BURST_MAX][FRAME_ROOM];

void engine_burst(struct worker *w, struct pkt *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!keep) {
			worker_tx(w, p[i].port, p[i].data, p[i].len, p[i].port);
			continue;
		}
		assert_true(frame_headroom(p[i].data) >= FRAME_HEADROOM);
		seen_len[n_seen % BURST_MAX] = p[i].len;
		memcpy(seen[n_seen++ % BURST_MAX], p[i].data, p[i].len);
		frame_put(&w->frames, p[i].data);
	}
}

void engine_held(struct worker *w)
{
	(void)w;
}

static int try_open(const char *devargs, unsigned queues, struct port **p, struct err *e)
{
	struct port_conf c = { .name = "p", .kind = "dpdk", .queues = queues };
	snprintf(c.devargs, sizeof(c.devargs), "%s", devargs);
	e->text[0] = 0;
	return port_open(&c, -1, p, e);
}

static struct port *open_ring(const char *name)
{
	struct err e = { "" };
	struct port *p = NULL;
	char devargs[64];
	snprintf(devargs, sizeof(devargs), "net_ring_%s", name);
	if (wire_make(name, RING, &e) || try_open(devargs, 0, &p, &e))
		fail_msg("%s", e.text);
	n_seen = 0;
	return p;
}

static struct port_stats stats(struct port *p)
{
	return port_stats_sum(p);
}

static int setup(void **state)
{
	struct err e;
	(void)state;
	return frames_init(N, &e) || workers_init(1, &e);
}

static int teardown(void **state)
{
	(void)state;
	workers_fini();
	bool whole = frames_free() == N && !wire_in_use();
	frames_fini();
	return whole ? 0 : -1;
}

/* Whatever the length, byte for byte, in order. */
static void sends_back(void **state)
{
	uint8_t frame[FRAME_ROOM], back[FRAME_ROOM];
	struct port *p = open_ring("a");
	(void)state;
	keep = false;
	assert_int_equal(p->n_queues, 1);
	assert_int_equal(p->mtu, 1500);
	assert_true(p->up);
	for (uint32_t len = 14, sent = 0, got = 14; got <= FRAME_ROOM;) {
		for (; len <= FRAME_ROOM && sent < 40; len++, sent++) {
			memset(frame, (int)len, sizeof(frame));
			assert_int_equal(wire_put("a", frame, len, 0, 0), 0);
		}
		worker_run_once(workers[0]);
		for (; sent; sent--, got++) {
			assert_int_equal(wire_take("a", back, sizeof(back)), got);
			memset(frame, (int)got, sizeof(frame));
			assert_memory_equal(frame, back, got);
		}
	}
	assert_int_equal(workers_port(p->index).rx.packets, FRAME_ROOM - 13);
	assert_int_equal(workers_port(p->index).tx.packets, FRAME_ROOM - 13);
	assert_int_equal(stats(p).completed, FRAME_ROOM - 13);
	assert_int_equal(stats(p).rx_dropped, 0);
	port_close(p, true);
}

static void segments_become_one_frame(void **state)
{
	uint8_t frame[4096];
	struct port *p = open_ring("b");
	(void)state;
	keep = true;
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 7);
	wire_put("b", frame, 1500, 14, 0);
	wire_put("b", frame, FRAME_ROOM, FRAME_ROOM - 1, 0);
	wire_put("b", frame, FRAME_ROOM + 1, 1000, 0); /* too long together */
	wire_put("b", frame, FRAME_ROOM + 1, 0, 0);    /* too long alone */
	wire_put("b", frame, 3000, 0, 0);
	wire_put("b", frame, 60, 0, RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED); /* its tag is not in it */
	wire_put("b", frame, 60, 0, 0);
	worker_run_once(workers[0]);
	assert_int_equal(n_seen, 3);
	assert_int_equal(seen_len[0], 1500);
	assert_memory_equal(seen[0], frame, 1500);
	assert_int_equal(seen_len[1], FRAME_ROOM);
	assert_memory_equal(seen[1], frame, FRAME_ROOM);
	assert_int_equal(seen_len[2], 60);
	assert_int_equal(stats(p).rx_dropped, 4);
	port_close(p, true);
	assert_int_equal(wire_in_use(), 0);
}

/* A jumbo frame that the engine sends in spite of the MTU: counted, and the frames around it leave. */
static void too_long_to_send(void **state)
{
	static const uint32_t lens[] = { 60, 9000, 61 };
	uint8_t back[FRAME_ROOM];
	struct port *p = open_ring("f");
	struct worker *w = workers[0];
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		worker_tx(w, p->index, frame_get_for(&w->frames, lens[i]), lens[i], p->index);
	worker_run_once(w);
	assert_int_equal(wire_take("f", back, sizeof(back)), 60);
	assert_int_equal(wire_take("f", back, sizeof(back)), 61);
	assert_int_equal(wire_take("f", back, sizeof(back)), 0);
	assert_int_equal(stats(p).tx_invalid, 1);
	port_close(p, true);
}

/* No chunk is free: counted, and nothing leaks. */
static void without_frames(void **state)
{
	struct port *p = open_ring("c");
	struct frame_cache hoard = { 0 }, mine = { 0 };
	uint8_t *f, **all = test_malloc(N * sizeof(*all)), frame[60] = { 2 };
	unsigned n = 0;
	(void)state;
	keep = true;
	frame_cache_flush(&workers[0]->frames);
	while ((f = frame_get(&hoard)))
		all[n++] = f;
	assert_int_equal(n, N);
	for (unsigned i = 0; i < 5; i++)
		wire_put("c", frame, 60, 0, 0);
	worker_run_once(workers[0]);
	assert_int_equal(n_seen, 0);
	assert_int_equal(stats(p).rx_dropped, 5);
	while (n)
		frame_put(&mine, all[--n]);
	frame_cache_flush(&mine);
	test_free(all);
	port_close(p, true);
	assert_int_equal(wire_in_use(), 0);
}

/* Nobody takes what is sent: the ring, then the stash fill; then frames are dropped for 234. What was taken goes on in order. */
static void full_ring(void **state)
{
	enum { SENT = 300, HELD = RING - 1 + BURST_MAX };
	uint8_t frame[100], back[100];
	struct port *p = open_ring("d");
	struct worker *w = workers[0];
	const uint64_t before = workers_drops(DROP_TX_FULL).packets;
	(void)state;
	for (unsigned i = 0; i < SENT; i++) {
		uint8_t *f = frame_get(&w->frames);
		memset(f, (int)i, sizeof(frame));
		worker_tx(w, p->index, f, sizeof(frame), p->index);
	}
	worker_run_once(w);
	assert_int_equal(workers_drops(DROP_TX_FULL).packets - before, SENT - HELD);
	assert_int_equal(workers_port(p->index).tx.packets, HELD);
	assert_int_equal(stats(p).unsent, BURST_MAX);
	assert_int_equal(stats(p).completed, RING - 1);
	for (unsigned i = 0; i < HELD; i++) {
		if (!wire_take("d", back, sizeof(back))) {
			worker_run_once(w); /* poll() pushes the rest */
			assert_int_equal(wire_take("d", back, sizeof(back)), sizeof(back));
		}
		assert_int_equal(back[0], i);
	}
	assert_int_equal(wire_take("d", back, sizeof(back)), 0);
	assert_int_equal(stats(p).unsent, 0);
	assert_int_equal(stats(p).completed, HELD);
	/* closed with a stash */
	for (unsigned i = 0; i < SENT; i++)
		worker_tx(w, p->index, frame_get(&w->frames), sizeof(frame), p->index);
	worker_run_once(w);
	assert_int_equal(stats(p).unsent, BURST_MAX);
	while (wire_take("d", back, sizeof(back)))
		;
	port_close(p, true);
}

/* Threads become lcores and are none after their end, however often. */
static void workers_are_lcores(void **state)
{
	struct err e = { "" };
	uint8_t frame[60] = { 2 }, back[60];
	const unsigned lcores = rte_lcore_count();
	(void)state;
	keep = false;
	for (unsigned round = 0; round < 3; round++) {
		struct port *p = open_ring("e");
		assert_int_equal(workers_start(&e), 0);
		for (unsigned got = 0, put = 0; got < 1000; got += wire_take("e", back, sizeof(back)) != 0)
			put += put < 1000 && wire_put("e", frame, sizeof(frame), 0, 0) == 0;
		assert_int_equal(rte_lcore_count(), lcores + 1);
		workers_stop();
		assert_int_equal(rte_lcore_count(), lcores);
		port_close(p, true);
	}
}

static void refusals(void **state)
{
	static const struct {
		const char *devargs;
		unsigned queues;
		const char *says[2];
	} bad[] = {
		{ "net_nonsense0", 0, { "'net_nonsense0'", "failed to parse device" } },
		{ "net_af_packet0,iface=absent0", 0, { "'net_af_packet0,iface=absent0'", "No such device" } },
		{ "net_pcap0,rx_pcap=/absent/x.pcap", 0, { "/absent/x.pcap", "No such file" } },
		{ "0000:99:00.0", 0, { "'0000:99:00.0'", "Cannot find device" } },
		{ "net_pcap1,tx_pcap=/dev/null", 9, { "'net_pcap1,tx_pcap=/dev/null'", "9 are wanted" } },
	};
	struct err e;
	struct port *p;
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_not_equal(try_open(bad[i].devargs, bad[i].queues, &p, &e), 0);
		for (unsigned k = 0; k < 2; k++)
			if (!strstr(e.text, bad[i].says[k]))
				fail_msg("'%s' does not say: %s", e.text, bad[i].says[k]);
		assert_null(port_by_name("p"));
	}
	/* and the last of them opens with what it has */
	for (unsigned i = 0; i < 2; i++) {
		if (try_open(bad[4].devargs, 1, &p, &e))
			fail_msg("%s", e.text);
		port_close(p, true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_back),       cmocka_unit_test(segments_become_one_frame),
		cmocka_unit_test(too_long_to_send), cmocka_unit_test(without_frames),
		cmocka_unit_test(full_ring),        cmocka_unit_test(workers_are_lcores),
		cmocka_unit_test(refusals),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
