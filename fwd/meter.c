/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks at counters once a second: rates of workers and ports, and who makes no progress. */
#include "fwd/meter.h"

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/worker.h"

/* Three looks: a worker that a busy machine kept from its core for a moment is not stalled. */
#define LOOK_NS NS_PER_S
#define STALL_NS (3 * NS_PER_S)

struct watch {
	uint64_t progress, since_ns; /* the count, and since when it stands */
	bool stalled;
};

static struct {
	uint64_t at_ns, at_cycles;
	struct {
		uint64_t packets, cycles, io;
		struct meter_worker shown;
		struct watch watch;
	} worker[WORKERS_MAX];
	struct {
		struct port *port; /* which one had the index, only compared */
		uint64_t rx, tx, dropped;
		struct meter_port shown;
		struct watch queue[QUEUES_MAX];
	} port[PORTS_MAX];
} meter;

/* '*before' becomes 'now'; returns what was added, 0 after a counter began anew. */
static uint64_t step(uint64_t *before, uint64_t now)
{
	uint64_t n = now > *before ? now - *before : 0;
	*before = now;
	return n;
}

static uint64_t per_s(uint64_t n, uint64_t ns)
{
	return (uint64_t)((double)n * NS_PER_S / (double)ns + 0.5);
}

/* 1: it stalls from now on; -1: no longer; 0: as before. */
static int watch(struct watch *w, uint64_t progress, bool waits, uint64_t now_ns)
{
	if (!waits || progress != w->progress || !w->since_ns) {
		const bool was = w->stalled;
		*w = (struct watch){ .progress = progress, .since_ns = now_ns };
		return was ? -1 : 0;
	}
	if (w->stalled || now_ns - w->since_ns < STALL_NS)
		return 0;
	w->stalled = true;
	return 1;
}

static void look_at_worker(unsigned i, uint64_t now_ns, uint64_t ns, uint64_t cycles)
{
	const struct worker *w = workers[i];
	struct meter_worker *m = &meter.worker[i].shown;
	const uint64_t packets = step(&meter.worker[i].packets, LOAD_RELAXED(&w->packets_busy));
	const uint64_t busy = step(&meter.worker[i].cycles, LOAD_RELAXED(&w->cycles_busy));
	const uint64_t io = step(&meter.worker[i].io, LOAD_RELAXED(&w->cycles_io));
	int change = watch(&meter.worker[i].watch, LOAD_RELAXED(&w->loops), true, now_ns);
	*m = (struct meter_worker){ .stalled = meter.worker[i].watch.stalled };
	if (ns && cycles) {
		m->packets_per_s = per_s(packets, ns);
		m->cycles_per_packet = packets ? busy / packets : 0;
		m->io_per_packet = packets ? io / packets : 0;
		m->busy_permille = MIN(busy * 1000 / cycles, 1000ul);
	}
	if (change > 0)
		log_error("worker %u makes no progress for %llu s (last on CPU %u): its ports stand still; "
			  "is the CPU taken by another program?",
			  i, STALL_NS / NS_PER_S, LOAD_RELAXED(&w->cpu));
	if (change < 0)
		log_info("worker %u goes on", i);
}

static void look_at_queues(struct port *p, uint64_t now_ns)
{
	for (unsigned q = 0; q < p->n_queues && p->ops && p->ops->stats; q++) {
		struct port_stats s = { 0 };
		p->ops->stats(&p->queue[q], &s);
		int change = watch(&meter.port[p->index].queue[q], s.completed, s.unsent && p->up, now_ns);
		if (change > 0)
			log_error("port %s: %s does not give back %u frames sent on queue %u for %llu s: the driver "
				  "hangs, or "
				  "the other end takes nothing",
				  p->conf.name, p->conf.device[0] ? p->conf.device : p->mode_text, s.unsent, q,
				  STALL_NS / NS_PER_S);
		if (change < 0)
			log_info("port %s: queue %u sends again", p->conf.name, q);
	}
}

static void look_at_port(unsigned i, uint64_t now_ns, uint64_t ns)
{
	struct port *p = ports[i];
	struct port_counter c = workers_port(i);
	if (meter.port[i].port != p) {
		memset(&meter.port[i], 0, sizeof(meter.port[i]));
		meter.port[i].port = p;
		ns = 0;
	}
	const uint64_t rx = step(&meter.port[i].rx, c.rx.packets), tx = step(&meter.port[i].tx, c.tx.packets);
	const uint64_t dropped = step(&meter.port[i].dropped, c.dropped.packets);
	meter.port[i].shown = (struct meter_port){ 0 };
	if (ns)
		meter.port[i].shown = (struct meter_port){ per_s(rx, ns), per_s(tx, ns), per_s(dropped, ns) };
	if (p)
		look_at_queues(p, now_ns);
}

void meter_tick(uint64_t now_ns)
{
	if (meter.at_ns && now_ns - meter.at_ns < LOOK_NS)
		return;
	const uint64_t ns = meter.at_ns ? now_ns - meter.at_ns : 0, now_cycles = clock_cycles();
	const uint64_t cycles = meter.at_ns ? now_cycles - meter.at_cycles : 0;
	meter.at_ns = now_ns;
	meter.at_cycles = now_cycles;
	for (unsigned i = 0; i < n_workers; i++)
		look_at_worker(i, now_ns, ns, cycles);
	for (unsigned i = 0; i < PORTS_MAX; i++)
		look_at_port(i, now_ns, ns);
}

struct meter_worker meter_worker(unsigned id)
{
	return id < n_workers ? meter.worker[id].shown : (struct meter_worker){ 0 };
}

struct meter_port meter_port(unsigned index)
{
	return index < PORTS_MAX && meter.port[index].port == ports[index] ? meter.port[index].shown
									   : (struct meter_port){ 0 };
}

bool meter_queue_stalled(unsigned index, unsigned q)
{
	return index < PORTS_MAX && q < QUEUES_MAX && ports[index] && meter.port[index].port == ports[index] &&
	       meter.port[index].queue[q].stalled;
}
