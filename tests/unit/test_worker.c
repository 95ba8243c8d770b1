/* SPDX-License-Identifier: BSD-2-Clause */
/* Two workers, ports of one queue, so that frames change workers in both directions; with threads and without. The engine
 * here sends what comes in by one port out by the other. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"
#include "tables/ct.h"

enum { N = 32768 };
static struct port *a, *b;
static uint32_t stand; /* engine_burst runs right now, bit per worker */
static bool hold;      /* keep frames that come by port a */

static void hold_one(struct worker *w, const struct pkt *p)
{
	w->held[w->n_held].pkt = *p;
	STORE_RELAXED(&w->n_held, w->n_held + 1);
	STORE_RELAXED(&w->port[p->port].held, w->port[p->port].held + 1);
}

void engine_burst(struct worker *w, struct pkt *p, unsigned n)
{
	__atomic_or_fetch(&stand, 1u << w->id, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < n; i++) {
		uint16_t out = p[i].port == a->index ? b->index : a->index;
		if (p[i].data[0] == 0xdd)
			worker_drop(w, &p[i], DROP_POLICY);
		else if (p[i].data[0] == 0xcc)
			worker_consume(w, &p[i]);
		else if (hold && p[i].port == a->index && w->n_held < HELD_MAX)
			hold_one(w, &p[i]);
		else
			worker_tx(w, out, p[i].data, p[i].len, p[i].port);
	}
	__atomic_and_fetch(&stand, ~(1u << w->id), __ATOMIC_SEQ_CST);
}

void engine_held(struct worker *w)
{
	if (w->held_epoch == LOAD_ACQUIRE(&neighbor_epoch))
		return;
	w->held_epoch = LOAD_ACQUIRE(&neighbor_epoch);
	while (w->n_held) {
		STORE_RELAXED(&w->n_held, w->n_held - 1);
		const struct pkt *p = &w->held[w->n_held].pkt;
		STORE_RELAXED(&w->port[p->port].held, w->port[p->port].held - 1);
		worker_tx(w, b->index, p->data, p->len, p->port);
	}
}

static struct port *open_mem(const char *name, unsigned queues)
{
	struct port_conf c = { .kind = "mem", .queues = queues };
	struct port *p = NULL;
	struct err e = { "" };
	strcpy(c.name, name);
	if (port_open(&c, -1, &p, &e))
		fail_msg("%s", e.text);
	return p;
}

static int setup(void **state)
{
	(void)state;
	struct err e = { "" };
	rcu_thread_register();
	if (frames_init(N, &e) || workers_init(2, &e))
		return -1;
	a = open_mem("a", 1);
	b = open_mem("b", 1);
	hold = false;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	workers_stop();
	port_close(a, true);
	port_close(b, true);
	workers_fini();
	unsigned n = frames_free();
	frames_fini();
	rcu_thread_unregister();
	if (n != N)
		print_error("%u of %u frames came back\n", n, N);
	return n == N ? 0 : -1;
}

/* in = out + drops + held, over all ports */
static void assert_balance(void)
{
	uint64_t in = 0, out = 0, dropped = 0, reasons = 0;
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		struct port_counter c = workers_port(i);
		in += c.rx.packets;
		out += c.tx.packets + c.held;
		dropped += c.dropped.packets;
	}
	for (unsigned i = 0; i < 256; i++)
		reasons += workers_drops(i).packets;
	assert_int_equal(in, out + dropped);
	assert_int_equal(dropped, reasons);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

static void put(struct port *p, uint8_t first, uint32_t number, uint32_t len)
{
	uint8_t f[256] = { first };
	memcpy(f + 4, &number, 4);
	assert_int_equal(mem_port_put(p, 0, f, len), 0);
}

static uint32_t take(struct port *p, uint32_t *number)
{
	uint8_t f[256];
	uint32_t len = mem_port_take(p, f, sizeof(f));
	memcpy(number, f + 4, 4);
	return len;
}

static void queues_are_spread(void **state)
{
	(void)state;
	assert_int_not_equal(a->queue[0].owner, b->queue[0].owner);
	struct port *m = open_mem("m", 5);
	unsigned own[2] = { 0 };
	for (unsigned q = 0; q < 5; q++)
		own[m->queue[q].owner]++;
	assert_int_equal(own[0] + own[1], 5);
	assert_true(own[0] >= 2 && own[1] >= 2);
	for (unsigned w = 0; w < 2; w++)
		assert_int_equal(m->queue[m->tx_queue[w]].owner, w);
	port_close(m, true);
}

/* Without threads: worker 0 gets a frame for a port of worker 1, and the other way. */
static void hands_over_without_threads(void **state)
{
	(void)state;
	struct worker *wa = workers[a->queue[0].owner], *wb = workers[b->queue[0].owner];
	uint32_t n;
	put(a, 0, 7, 60);
	put(b, 0, 8, 61);
	assert_int_equal(worker_run_once(wa), 1);
	assert_int_equal(take(b, &n), 0); /* in the ring */
	assert_int_equal(worker_run_once(wb), 1);
	assert_int_equal(take(b, &n), 60);
	assert_int_equal(n, 7);
	assert_int_equal(worker_run_once(wa), 0);
	assert_int_equal(take(a, &n), 61);
	assert_int_equal(n, 8);
	assert_int_equal(wb->port[b->index].tx.packets, 1);
	assert_int_equal(wb->port[b->index].tx.bytes, 60);
	assert_int_equal(wa->port[b->index].tx.packets, 0);
	assert_int_equal(wa->packets_busy, 2); /* one received, one handed over */
	assert_true(wa->cycles_busy > 0);
	assert_balance();
}

static void ring_overflow_is_counted(void **state)
{
	(void)state;
	struct worker *wa = workers[a->queue[0].owner], *wb = workers[b->queue[0].owner];
	uint32_t n, got = 0;
	for (uint32_t i = 0; i < 3000; i++)
		put(a, 0, i, 60);
	while (worker_run_once(wa))
		;
	assert_int_equal(workers_drops(DROP_RING_FULL).packets, 3000 - 2048);
	assert_int_equal(workers_port(a->index).dropped.packets, 3000 - 2048);
	worker_run_once(wb);
	for (; take(b, &n); got++)
		assert_int_equal(n, got); /* order is kept, the tail is what was dropped */
	assert_int_equal(got, 2048);
	assert_balance();
}

static void full_port_is_counted(void **state)
{
	(void)state;
	struct worker *wa = workers[a->queue[0].owner], *wb = workers[b->queue[0].owner];
	for (unsigned round = 0; round < 10; round++) {
		for (uint32_t i = 0; i < 500; i++)
			put(a, 0, i, 60);
		while (worker_run_once(wa))
			;
		worker_run_once(wb);
	}
	assert_int_equal(workers_drops(DROP_TX_FULL).packets, 5000 - 4096);
	assert_int_equal(workers_port(b->index).tx.packets, 4096);
	assert_balance();
}

static void drops_and_own_packets_are_counted(void **state)
{
	(void)state;
	struct worker *wa = workers[a->queue[0].owner], *wb = workers[b->queue[0].owner];
	uint32_t n;
	put(a, 0xdd, 0, 100);
	put(a, 0xcc, 0, 80);
	worker_run_once(wa);
	assert_int_equal(workers_drops(DROP_POLICY).packets, 1);
	assert_int_equal(workers_drops(DROP_POLICY).bytes, 100);
	assert_int_equal(workers_port(a->index).dropped.bytes, 100);
	assert_int_equal(workers_port(PORT_CONTROL).tx.packets, 1);
	uint8_t *f = worker_new_frame(wb);
	memset(f, 5, 60);
	worker_tx(wb, b->index, f, 60, PORT_CONTROL);
	worker_run_once(wb);
	assert_int_equal(take(b, &n), 60);
	assert_int_equal(n, 0x05050505);
	assert_balance();
}

static void control_thread_injects(void **state)
{
	(void)state;
	uint8_t f[64] = { 0 };
	uint32_t n = 77, sent = 0;
	memcpy(f + 4, &n, 4);
	assert_int_equal(workers_inject(b->index, f, 64), 0);
	assert_int_equal(workers_inject(PORT_CONTROL, f, 64), -ENODEV);
	assert_int_equal(workers_inject(b->index, f, BIG_ROOM + 1), -EMSGSIZE);
	worker_run_once(workers[0]);
	worker_run_once(workers[1]);
	assert_int_equal(take(b, &n), 64);
	assert_int_equal(n, 77);
	assert_int_equal(workers_port(PORT_CONTROL).rx.packets, 1);
	assert_int_equal(workers_port(PORT_CONTROL).rx.bytes, 64);
	while (workers_inject(b->index, f, 64) == 0)
		sent++;
	assert_int_equal(sent, 512);
	worker_run_once(workers[b->queue[0].owner]);
	assert_balance();
}

static void requests_reach_the_control_thread(void **state)
{
	(void)state;
	struct request r = { .kind = REQUEST_LEARN_MAC };
	struct pollfd fd = { .fd = workers_request_fd(), .events = POLLIN };
	unsigned n = 0, from[2] = { 0 };
	assert_int_equal(poll(&fd, 1, 0), 0);
	assert_false(workers_next_request(&r));
	for (unsigned i = 0; i < 300; i++) {
		r.endpoint = i;
		n += worker_request(workers[0], &r);
	}
	assert_int_equal(n, 256); /* full: the worker goes on without */
	r.endpoint = 1000;
	assert_true(worker_request(workers[1], &r));
	assert_int_equal(poll(&fd, 1, 0), 1);
	for (unsigned i = 0; i < 100; i++)
		assert_true(workers_next_request(&r));
	assert_int_equal(poll(&fd, 1, 0), 1); /* still: there are more */
	for (n = 100; workers_next_request(&r); n++)
		from[r.endpoint == 1000]++;
	assert_int_equal(n, 257);
	assert_int_equal(poll(&fd, 1, 0), 0);
	assert_true(worker_request(workers[1], &r));
	assert_int_equal(poll(&fd, 1, 0), 1);
	assert_true(workers_next_request(&r));
	assert_false(workers_next_request(&r));
}

/* ---- with threads ---- */
static void start(void)
{
	struct err e;
	assert_int_equal(workers_start(&e), 0);
}

/* Both directions at once, each paced so that rings cannot overflow; every frame arrives once and in order. */
static void hands_over_between_threads(void **state)
{
	(void)state;
	enum { TOTAL = 100000, WINDOW = 1500 };
	struct port *p[2] = { a, b };
	uint32_t sent[2] = { 0 }, got[2] = { 0 }, n;
	start();
	for (unsigned idle = 0; (got[0] < TOTAL || got[1] < TOTAL) && idle < 50000;) {
		bool moved = false;
		for (unsigned i = 0; i < 2; i++) {
			for (; sent[i] < TOTAL && sent[i] - got[i] < WINDOW; sent[i]++)
				put(p[i], 0, sent[i], 60 + sent[i] % 100);
			for (uint32_t len; (len = take(p[!i], &n)); got[i]++, moved = true) {
				assert_int_equal(n, got[i]);
				assert_int_equal(len, 60 + n % 100);
			}
		}
		idle = moved ? 0 : idle + 1;
		if (!moved)
			nap();
	}
	assert_int_equal(got[0], TOTAL);
	assert_int_equal(got[1], TOTAL);
	workers_stop();
	assert_balance();
	assert_int_equal(workers_port(a->index).rx.packets, TOTAL);
	assert_int_equal(workers_port(a->index).tx.packets, TOTAL);
}

/* More than a ring or a port can take: whatever is lost is counted. */
static void balance_under_overload(void **state)
{
	(void)state;
	uint64_t sent = 0, got = 0;
	uint32_t n;
	start();
	for (unsigned round = 0; round < 60; round++) {
		uint8_t f[64] = { 0 };
		for (unsigned i = 0; i < 1500; i++) {
			f[0] = i % 7 ? 0 : 0xdd;
			sent += mem_port_put(a, 0, f, 64) == 0;
			sent += mem_port_put(b, 0, f, 64) == 0;
		}
		if (round % 3 == 0)
			while (take(a, &n) || take(b, &n))
				;
		if (round % 10 == 0) {
			workers_pause();
			assert_int_equal(LOAD_RELAXED(&stand), 0);
			workers_resume();
		}
	}
	for (unsigned i = 0; i < 25000 && workers_port(a->index).rx.packets + workers_port(b->index).rx.packets < sent;
	     i++)
		nap();
	nap();
	workers_stop();
	/* frames in rings count as neither sent nor dropped: let them out */
	for (unsigned i = 0; i < 4; i++)
		worker_run_once(workers[i % 2]);
	got = workers_port(a->index).rx.packets + workers_port(b->index).rx.packets;
	assert_int_equal(got, sent);
	assert_true(workers_drops(DROP_POLICY).packets > 0);
	assert_balance();
}

static void pause_stops_them(void **state)
{
	(void)state;
	start();
	for (unsigned round = 0; round < 50; round++) {
		uint64_t loops[2];
		workers_pause();
		workers_pause(); /* nests */
		workers_resume();
		for (unsigned i = 0; i < 2; i++)
			loops[i] = workers[i]->loops;
		put(a, 0, round, 60);
		nap();
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(workers[i]->loops, loops[i]); /* not one more */
		assert_int_equal(LOAD_RELAXED(&stand), 0);
		workers_resume();
		uint32_t n = 0, len = 0;
		for (unsigned i = 0; i < 5000 && !len; i++) {
			nap();
			len = take(b, &n);
		}
		assert_int_equal(len, 60);
		assert_int_equal(n, round);
	}
	workers_stop();
	assert_balance();
}

/* Ports come and go under traffic. */
static void ports_change_under_traffic(void **state)
{
	(void)state;
	uint32_t n;
	start();
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 200; i++) {
			put(a, 0, i, 60);
			put(b, 0, i, 60);
		}
		struct port *extra = open_mem("extra", 1 + round % 4);
		port_close(extra, true);
		while (take(a, &n) || take(b, &n))
			;
		if (round % 10 == 9)
			for (unsigned i = 0; i < 25000 && workers_port(b->index).rx.packets < (round + 1) * 200; i++)
				nap();
	}
	workers_stop();
	for (unsigned i = 0; i < 200; i++)
		worker_run_once(workers[i % 2]);
	assert_int_equal(workers_port(a->index).rx.packets, 40 * 200);
	assert_balance();
}

/* A sleeping worker is woken by a hand-over, an injected frame, and news for what it holds. */
static void sleepers_wake_up(void **state)
{
	(void)state;
	uint8_t f[60] = { 0 };
	uint32_t n, len = 0;
	hold = true;
	start();
	for (uint32_t i = 0; i < 5; i++)
		put(a, 0, i, 60);
	for (unsigned i = 0; i < 5000 && workers_port(a->index).held < 5; i++)
		nap();
	assert_int_equal(workers_port(a->index).held, 5);
	assert_int_equal(take(b, &n), 0);
	for (unsigned i = 0; i < 50; i++)
		nap(); /* they sleep by now */
	assert_int_equal(workers_inject(b->index, f, 60), 0);
	for (unsigned i = 0; i < 5000 && !len; i++, nap())
		len = take(b, &n);
	assert_int_equal(len, 60);
	workers_neighbor_changed();
	unsigned got = 0;
	for (unsigned i = 0; i < 5000 && got < 5; i++, nap())
		while (take(b, &n))
			got++;
	assert_int_equal(got, 5);
	assert_int_equal(workers_port(a->index).held, 0);
	workers_stop();
	assert_balance();
}

static void make_connections(unsigned n, uint32_t now_s)
{
	for (unsigned k = 0; k < n; k++) {
		uint32_t i = ct_alloc(&ct4, SLOT_CONTROL, PROTO_UDP, now_s), present;
		assert_true(i);
		ct_flow4(2 * i)->key = (struct flow_key4){ k, 1, 1, 2, PROTO_UDP };
		ct_flow4(2 * i + 1)->key = (struct flow_key4){ 1, k, 2, 1, PROTO_UDP };
		assert_int_equal(ct_publish(&ct4, SLOT_CONTROL, i, &present), 0);
	}
}

/* One loop never deletes much, one without packets goes on at once, and within ten seconds all that expired is gone. */
static void ages_in_slices(void **state)
{
	enum { MANY = 40000, SLICE = CT_AGE_WORK / 20 + 1, T = 1000 };
	struct err e = { "" };
	(void)state;
	assert_int_equal(ct_init(1, MANY, &e), 0);
	make_connections(MANY, T);
	uint64_t now = (T + 100000) * NS_PER_S;
	for (unsigned i = 0; i < 1000; i++, now += NS_PER_S / 100)
		for (unsigned w = 0; w < 2; w++)
			for (unsigned again = 0; again < 3; again++) {
				uint32_t before = ct_count(&ct4);
				clock_set(now);
				worker_run_once(workers[w]);
				assert_in_range(before - ct_count(&ct4), 0, SLICE);
				if (i == 0 && again < 2)
					assert_true(before > ct_count(&ct4));
			}
	assert_int_equal(ct_count(&ct4), 0);
	clock_set(0);
	ct_fini();
}

#define WITH_WORKERS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORKERS(queues_are_spread),
		WITH_WORKERS(hands_over_without_threads),
		WITH_WORKERS(ring_overflow_is_counted),
		WITH_WORKERS(full_port_is_counted),
		WITH_WORKERS(drops_and_own_packets_are_counted),
		WITH_WORKERS(control_thread_injects),
		WITH_WORKERS(requests_reach_the_control_thread),
		WITH_WORKERS(hands_over_between_threads),
		WITH_WORKERS(balance_under_overload),
		WITH_WORKERS(pause_stops_them),
		WITH_WORKERS(ports_change_under_traffic),
		WITH_WORKERS(sleepers_wake_up),
		WITH_WORKERS(ages_in_slices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
