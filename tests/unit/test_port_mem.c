/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports in memory, and the registry: names, indices, refusals. No engine runs here: rx and tx are called as a worker does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fwd/engine.h"

enum { N = 16384 };

void engine_burst(struct worker *w, struct pkt *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		worker_drop(w, &p[i], DROP_POLICY);
}

void engine_held(struct worker *w)
{
	(void)w;
}

static int setup(void **state)
{
	(void)state;
	struct err e;
	return frames_init(N, &e) || workers_init(1, &e);
}

static int teardown(void **state)
{
	(void)state;
	workers_fini();
	bool whole = frames_free() == N && frames_big_free() == frame_area.n_big;
	frames_fini();
	return whole ? 0 : -1;
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

static void frames_go_in_and_out(void **state)
{
	(void)state;
	static struct frame_cache c;
	struct port *p = open_mem("m0", 2);
	struct pkt k[BURST_MAX];
	static uint8_t buf[BIG_SIZE], frame[BIG_ROOM];
	assert_int_equal(p->n_queues, 2);
	assert_int_equal(p->n_tx_queues, 2);
	assert_true(p->up);
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	assert_int_equal(p->ops->rx(&p->queue[1], &c, k, BURST_MAX), 0);
	assert_int_equal(mem_port_put(p, 1, frame, 60), 0);
	assert_int_equal(mem_port_put(p, 1, frame, BIG_ROOM), 0);
	assert_int_equal(mem_port_put(p, 1, frame, BIG_ROOM + 1), -EMSGSIZE);
	memset(k, 0xff, sizeof(k));
	assert_int_equal(p->ops->rx(&p->queue[0], &c, k, BURST_MAX), 0);
	assert_int_equal(p->ops->rx(&p->queue[1], &c, k, BURST_MAX), 2);
	assert_int_equal(k[0].len, 60);
	assert_int_equal(k[1].len, BIG_ROOM);
	assert_int_equal(k[0].port, p->index);
	assert_int_equal(k[0].csum, PKT_CSUM_UNKNOWN);
	assert_memory_equal(k[1].data, frame, BIG_ROOM);
	assert_int_equal(frame_headroom(k[0].data), FRAME_HEADROOM);
	assert_int_equal(frame_headroom(k[1].data), FRAME_HEADROOM);
	assert_int_equal(frame_tailroom(k[1].data + k[1].len), 0);
	struct txd d[2] = { { k[0].data, k[0].len, p->index }, { k[1].data, k[1].len, p->index } };
	assert_int_equal(p->ops->tx(&p->queue[0], &c, d, 2), 2);
	assert_int_equal(mem_port_take(p, buf, sizeof(buf)), 60);
	assert_int_equal(mem_port_take(p, buf, sizeof(buf)), BIG_ROOM);
	assert_memory_equal(buf, frame, BIG_ROOM);
	assert_int_equal(mem_port_take(p, buf, sizeof(buf)), 0);
	/* frames still inside when it closes are not lost: teardown counts */
	assert_int_equal(mem_port_put(p, 0, frame, 60), 0);
	frame_cache_flush(&c);
	port_close(p, true);
}

static void refuses_what_does_not_fit(void **state)
{
	(void)state;
	struct port *p = open_mem("m1", 0);
	uint8_t frame[60] = { 0 };
	unsigned n = 0;
	while (mem_port_put(p, 0, frame, 60) == 0)
		n++;
	assert_int_equal(n, 4096);
	assert_int_equal(mem_port_put(p, 0, frame, 60), -ENOSPC);
	/* the worker empties it, drops all and counts each */
	struct worker *w = workers[0];
	uint64_t before = w->drops[DROP_POLICY].packets;
	while (worker_run_once(w))
		;
	assert_int_equal(w->drops[DROP_POLICY].packets - before, 4096);
	assert_int_equal(workers_port(p->index).rx.packets, 4096);
	assert_int_equal(workers_port(p->index).dropped.bytes, 4096 * 60);
	port_close(p, true);
}

static void registry_knows_names(void **state)
{
	(void)state;
	struct err e = { "" };
	struct port *p = open_mem("a", 0), *q = open_mem("b", 0), *r;
	struct port_conf c = { .name = "a", .kind = "mem" };
	assert_true(p->index >= PORT_FIRST && q->index >= PORT_FIRST && p->index != q->index);
	assert_ptr_equal(port_by_name("a"), p);
	assert_ptr_equal(port_by_name("b"), q);
	assert_null(port_by_name("c"));
	assert_non_null(port_by_name("control"));
	assert_null(port_by_name("control")->ops);
	assert_null(port_by_ifindex(0));
	assert_int_equal(port_open(&c, -1, &r, &e), -EEXIST);
	assert_string_equal(e.text, "port a exists");
	strcpy(c.name, "x");
	strcpy(c.kind, "nic");
	assert_int_equal(port_open(&c, -1, &r, &e), -EINVAL);
	assert_non_null(strstr(e.text, "nic"));
	/* the index of a closed port is not the next to be given */
	unsigned old = p->index;
	port_close(p, true);
	assert_null(ports[old]);
	r = open_mem("a", 0);
	assert_int_not_equal(r->index, old);
	port_close(q, true);
	port_close(r, true);
}

static void registry_has_an_end(void **state)
{
	(void)state;
	struct err e = { "" };
	struct port *p[PORTS_MAX], *one_more;
	struct port_conf c = { .kind = "mem" };
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++) {
		char name[16];
		snprintf(name, sizeof(name), "p%u", i);
		p[i] = open_mem(name, 0);
	}
	strcpy(c.name, "more");
	assert_int_equal(port_open(&c, -1, &one_more, &e), -ENOSPC);
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
		port_close(p[i], true);
}

/* A frame for a port that is gone or down is a counted drop, charged to where it came from. */
static void port_that_is_gone(void **state)
{
	(void)state;
	struct worker *w = workers[0];
	struct port *in = open_mem("in", 0), *out = open_mem("out", 0);
	uint64_t before = w->drops[DROP_NO_PORT].packets;
	out->up = false;
	worker_tx(w, out->index, frame_get(&w->frames), 60, in->index);
	worker_run_once(w);
	assert_int_equal(w->drops[DROP_NO_PORT].packets, before + 1);
	uint16_t index = out->index;
	worker_tx(w, index, frame_get(&w->frames), 60, in->index);
	port_close(out, true);
	worker_tx(w, index, frame_get(&w->frames), 60, in->index);
	worker_tx(w, PORT_CONTROL, frame_get(&w->frames), 60, in->index);
	worker_run_once(w);
	assert_int_equal(w->drops[DROP_NO_PORT].packets, before + 4);
	assert_int_equal(w->port[in->index].dropped.packets, 4);
	assert_int_equal(w->port[in->index].dropped.bytes, 240);
	port_close(in, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_go_in_and_out), cmocka_unit_test(refuses_what_does_not_fit),
		cmocka_unit_test(registry_knows_names), cmocka_unit_test(registry_has_an_end),
		cmocka_unit_test(port_that_is_gone),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
