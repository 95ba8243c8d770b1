/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and the watchdog, with a clock that the test moves. Workers have no threads; what they counted is written here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/meter.h"
#include "fwd/worker.h"

static uint64_t now = 1000 * NS_PER_S;
static struct port_stats device; /* of the only queue */

static int fake_open(struct port *p, struct err *e)
{
	(void)e;
	p->n_queues = 1;
	p->up = true;
	return 0;
}

static void fake_close(struct port *p, bool clean)
{
	(void)p, (void)clean;
}

static unsigned fake_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max)
{
	(void)q, (void)c, (void)pkts, (void)max;
	return 0;
}

static int fake_wait_fd(struct port_queue *q)
{
	(void)q;
	return -1;
}

static void fake_stats(struct port_queue *q, struct port_stats *s)
{
	(void)q;
	s->completed += device.completed;
	s->unsent += device.unsent;
}

static const struct port_ops fake = {
	.open = fake_open, .close = fake_close, .rx = fake_rx, .wait_fd = fake_wait_fd, .stats = fake_stats
};
static struct port port = { .conf = { .name = "p0", .device = "eth9" }, .ops = &fake, .index = PORT_FIRST };

static int setup(void **state)
{
	struct err e;
	(void)state;
	rcu_thread_register();
	assert_int_equal(frames_init(64, &e), 0);
	assert_int_equal(workers_init(2, &e), 0);
	fake.open(&port, &e);
	port.queue[0].port = &port;
	port.n_tx_queues = 1;
	ports[port.index] = &port;
	workers_assign();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ports[port.index] = NULL;
	workers_fini();
	frames_fini();
	rcu_thread_unregister();
	return 0;
}

/* 'seconds' pass, a look a second; the workers in 'alive' (a bit each) go round meanwhile. */
static void pass(unsigned seconds, unsigned alive)
{
	while (seconds--) {
		for (unsigned i = 0; i < n_workers; i++)
			if (alive >> i & 1)
				worker_run_once(workers[i]);
		now += NS_PER_S;
		meter_tick(now);
	}
}

static void rates_are_of_the_last_interval(void **state)
{
	(void)state;
	struct worker *w = workers[0];
	pass(1, 3);
	w->packets_busy += 5000;
	w->cycles_busy += 5000 * 300;
	w->cycles_io += 5000 * 200;
	w->port[port.index].rx.packets += 4000;
	w->port[port.index].tx.packets += 3000;
	workers[1]->port[port.index].tx.packets += 500;
	workers[1]->port[port.index].dropped.packets += 250;
	now += NS_PER_S; /* two seconds until the next look */
	pass(1, 3);
	assert_int_equal(meter_worker(0).packets_per_s, 2500);
	assert_int_equal(meter_worker(0).cycles_per_packet, 300);
	assert_int_equal(meter_worker(0).io_per_packet, 200);
	assert_int_equal(meter_worker(1).packets_per_s, 0);
	assert_int_equal(meter_port(port.index).rx_per_s, 2000);
	assert_int_equal(meter_port(port.index).tx_per_s, 1750);
	assert_int_equal(meter_port(port.index).dropped_per_s, 125);
	w->packets_busy += 100;
	now += NS_PER_S / 2;
	meter_tick(now); /* not due: what is shown stays */
	assert_int_equal(meter_worker(0).packets_per_s, 2500);
	now -= NS_PER_S / 2;
	pass(1, 3);
	assert_int_equal(meter_worker(0).packets_per_s, 100);
	pass(1, 3);
	assert_int_equal(meter_worker(0).packets_per_s, 0);
	assert_int_equal(meter_worker(0).cycles_per_packet, 0);
	assert_int_equal(meter_port(port.index).rx_per_s, 0);
}

/* Counters of a new port with an old one's index begin at zero. */
static void smaller_counters_are_a_new_beginning(void **state)
{
	(void)state;
	workers[0]->port[port.index].rx.packets = 9000;
	pass(2, 3);
	workers_forget_port(port.index);
	pass(1, 3);
	assert_int_equal(meter_port(port.index).rx_per_s, 0);
}

static void worker_that_stands_still_is_seen(void **state)
{
	(void)state;
	pass(10, 3);
	assert_false(meter_worker(0).stalled);
	assert_false(meter_worker(1).stalled);
	pass(2, 1);
	assert_false(meter_worker(1).stalled);
	pass(2, 1);
	assert_false(meter_worker(0).stalled);
	assert_true(meter_worker(1).stalled);
	pass(1, 3);
	assert_false(meter_worker(1).stalled);
}

static void queue_that_gives_nothing_back_is_seen(void **state)
{
	(void)state;
	device = (struct port_stats){ 0 };
	pass(10, 3); /* nothing to send */
	assert_false(meter_queue_stalled(port.index, 0));
	device.unsent = 5;
	for (unsigned i = 0; i < 10; i++) { /* slow, but it moves */
		device.completed++;
		pass(1, 3);
	}
	assert_false(meter_queue_stalled(port.index, 0));
	pass(4, 3);
	assert_true(meter_queue_stalled(port.index, 0));
	port.up = false; /* no carrier: not the device's fault */
	pass(1, 3);
	assert_false(meter_queue_stalled(port.index, 0));
	port.up = true;
	pass(5, 3);
	assert_true(meter_queue_stalled(port.index, 0));
	device.completed++;
	pass(1, 3);
	assert_false(meter_queue_stalled(port.index, 0));
	assert_false(meter_queue_stalled(port.index + 1, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_of_the_last_interval),
		cmocka_unit_test(smaller_counters_are_a_new_beginning),
		cmocka_unit_test(worker_that_stands_still_is_seen),
		cmocka_unit_test(queue_that_gives_nothing_back_is_seen),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
