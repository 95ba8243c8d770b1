/* SPDX-License-Identifier: BSD-2-Clause */
/* Worker threads: their life, their loop, and who owns which queue. Frames leaving a worker: handoff.c.
 *
 * The control thread starts, pauses and stops workers and is the only one to change ports[] and the lists of owned queues,
 * while they stand still. A worker that found nothing SPIN_LOOPS times goes RCU-offline and sleeps in poll(2) on its
 * sockets and its eventfd, unless it owns a queue that wakes nobody (DPDK). */
#include "fwd/worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"
#include "fwd/settings.h"
#include "fwd/worker_priv.h"
#include "tables/ct.h"

enum {
	SPIN_LOOPS = 256, /* about 30 us: a sleep and a wake-up cost a sender 5 to 10 */
	SLEEP_LONG_MS = 100,
	SLEEP_TIMED_MS = 10, /* something is held, or connections age */
	SLEEP_SHORT_MS = 1,  /* a queue cannot be polled, or frames wait for the device */
	AGE_EVERY_NS = 250000,
	AGE_AGAIN_NS = 50000, /* when there is more to do: a tenth of the time at most */
	AGE_OWED_PART = 1000, /* of a walk: what was slept away is made up for, not more */
};
#define AGE_ALL_NS (10 * NS_PER_S) /* so that all connections are seen once in 10 s */

struct worker *workers[WORKERS_MAX];
unsigned n_workers;
uint32_t samples_wanted = 1;
uint32_t neighbor_epoch;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned depth;     /* of workers_pause */
	unsigned n_running; /* threads */
	unsigned n_paused;
	uint32_t attention; /* depth or stop: workers look at this one, without the lock */
	bool stop;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

/* ---- one loop ---- */
/* A slice, of what is owed since the last one. True: there is more. */
static bool age_family(struct worker *w, bool v6, uint64_t ns)
{
	struct ct *c = ct_of(v6);
	uint32_t *owed = &w->priv->age_owed[v6];
	if (!c->conns.capacity || !ct_count(c)) {
		*owed = 0;
		return false;
	}
	*owed += (uint32_t)(c->conns.capacity / n_workers * ns / AGE_ALL_NS) + 1;
	const uint32_t looks = MIN(*owed, (uint32_t)CT_AGE_WORK), left = ct_age(c, w->slot, n_workers, looks, w->now_s);
	*owed = MIN(*owed - looks + left, c->conns.capacity / n_workers / AGE_OWED_PART + 1);
	return *owed;
}

/* At most a slice of each family in a loop. Who has nothing else to do goes on at once. */
static void age(struct worker *w, bool moved)
{
	struct worker_private *v = w->priv;
	if (w->now_ns < v->age_ns)
		return;
	const uint64_t ns = MIN(w->now_ns - v->aged_ns, AGE_ALL_NS / AGE_OWED_PART);
	v->aged_ns = w->now_ns;
	STORE_RELAXED(&w->cpu, (uint32_t)sched_getcpu());
	v->age_more = age_family(w, false, ns);
	v->age_more |= age_family(w, true, ns);
	v->age_ns = w->now_ns + (!v->age_more ? AGE_EVERY_NS : moved ? AGE_AGAIN_NS : 0);
}

static unsigned receive(struct worker *w, struct port_queue *q)
{
	struct port *p = q->port;
	const uint64_t start = clock_cycles();
	unsigned n = p->ops->rx(q, &w->frames, w->burst, BURST_MAX);
	if (!n)
		return 0;
	w->cycles_io += clock_cycles() - start;
	STORE_RELAXED(&q->rx_packets, q->rx_packets + n);
	uint64_t bytes = 0;
	for (unsigned i = 0; i < n; i++)
		bytes += w->burst[i].len;
	counter_add(&w->port[p->index].rx, n, bytes);
	engine_burst(w, w->burst, n);
	return n;
}

/* '*moved' says whether there was anything to do; returns packets received. */
static unsigned loop(struct worker *w, bool *moved)
{
	struct worker_private *v = w->priv;
	uint64_t start = clock_cycles();
	unsigned n = 0;
	w->now_ns = clock_ns();
	w->now_s = (uint32_t)(w->now_ns / NS_PER_S);
	w->loops++;
	for (unsigned i = 0; i < v->n_queues; i++)
		n += receive(w, v->queue[i]);
	unsigned handed = handoff_receive(w);
	v->epoch = LOAD_ACQUIRE(&neighbor_epoch);
	if (w->n_held | w->n_frags)
		engine_held(w);
	handoff_flush(w);
	const uint64_t polled = clock_cycles();
	v->pending = false;
	for (unsigned i = 0; i < v->n_queues; i++) {
		const struct port_ops *ops = v->queue[i]->port->ops;
		if (ops->poll && ops->poll(v->queue[i], &w->frames))
			v->pending = true;
	}
	if (n + handed) {
		const uint64_t end = clock_cycles();
		w->cycles_io += end - polled;
		STORE_RELAXED(&w->cycles_busy, w->cycles_busy + (end - start));
		STORE_RELAXED(&w->packets_busy, w->packets_busy + n + handed);
	}
	*moved = n || handed;
	age(w, *moved);
	rcu_quiescent();
	return n;
}

unsigned worker_run_once(struct worker *w)
{
	bool moved;
	return loop(w, &moved);
}

/* ---- threads ---- */
static int sleep_ms(const struct worker *w)
{
	const struct worker_private *v = w->priv;
	if (v->pending || v->must_poll)
		return SLEEP_SHORT_MS;
	if (w->n_held || w->n_frags || (ct4.conns.capacity && ct_count(&ct4)) || (ct6.conns.capacity && ct_count(&ct6)))
		return SLEEP_TIMED_MS;
	return SLEEP_LONG_MS;
}

static bool something_came(const struct worker *w)
{
	return LOAD_RELAXED(&gate.attention) || handoff_waiting(w) ||
	       (w->n_held && LOAD_RELAXED(&neighbor_epoch) != w->priv->epoch);
}

static void go_to_sleep(struct worker *w)
{
	struct worker_private *v = w->priv;
	uint64_t value;
	__atomic_exchange_n(&v->asleep, 1, __ATOMIC_SEQ_CST); /* before the look: see worker_wake */
	if (!something_came(w)) {
		int ms = sleep_ms(w);
		STORE_RELAXED(&w->sleeps, w->sleeps + 1);
		rcu_offline();
		if (poll(v->fds, v->n_fds, ms) > 0)
			/* a device that went away reports an error for ever: no longer wait for that one */
			for (unsigned i = 1; i < v->n_fds; i++)
				if (v->fds[i].revents & (POLLERR | POLLHUP | POLLNVAL) && !(v->fds[i].revents & POLLIN))
					v->fds[i].fd = -1;
		rcu_online();
	}
	STORE_RELAXED(&v->asleep, 0);
	if (read(v->wake_fd, &value, sizeof(value)) < 0)
		return; /* nobody woke us */
}

/* false: the thread ends. */
static bool stand_still(struct worker *w)
{
	(void)w;
	rcu_offline();
	pthread_mutex_lock(&gate.lock);
	gate.n_paused++;
	pthread_cond_broadcast(&gate.cond);
	while (gate.depth && !gate.stop)
		pthread_cond_wait(&gate.cond, &gate.lock);
	gate.n_paused--;
	bool go_on = !gate.stop;
	pthread_mutex_unlock(&gate.lock);
	rcu_online();
	return go_on;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	rcu_thread_register();
	for (unsigned empty = 0;;) {
		bool moved;
		if (unlikely(LOAD_ACQUIRE(&gate.attention)) && !stand_still(w))
			break;
		loop(w, &moved);
		empty = moved ? 0 : empty + 1;
		if (empty >= SPIN_LOOPS && !w->priv->age_more) {
			if (LOAD_RELAXED(&settings.worker_spin) ||
			    (w->priv->spins && !LOAD_RELAXED(&settings.dpdk_sleep)))
				sched_yield(); /* others on this CPU need not wait for the end of our slice */
			else
				go_to_sleep(w);
			empty = SPIN_LOOPS; /* one look, then sleep again unless something moved */
		}
	}
	frame_cache_flush(&w->frames);
	rcu_thread_unregister();
	return NULL;
}

static void wake_all(void)
{
	for (unsigned i = 0; i < n_workers; i++)
		worker_wake(workers[i]);
}

static void set_attention(void)
{
	STORE_RELEASE(&gate.attention, gate.depth || gate.stop);
}

/* Worker 'id' to the id-th of the CPUs that this process may use, round again when there are fewer. */
static void pin(pthread_t thread, unsigned id, const cpu_set_t *allowed)
{
	cpu_set_t one;
	unsigned nth = id % (unsigned)CPU_COUNT(allowed), cpu = 0;
	while (!CPU_ISSET(cpu, allowed) || nth--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	int rc = pthread_setaffinity_np(thread, sizeof(one), &one);
	if (rc)
		log_warn("worker %u: cannot be pinned to CPU %u: %s", id, cpu, strerror(rc));
}

int workers_start(struct err *e)
{
	cpu_set_t allowed;
	sigset_t all, old;
	int rc = 0;
	gate.stop = false;
	set_attention();
	if (sched_getaffinity(0, sizeof(allowed), &allowed) || !CPU_COUNT(&allowed)) {
		CPU_ZERO(&allowed); /* more CPUs than the type holds: CPU 0 is there */
		CPU_SET(0, &allowed);
	}
	if (settings.worker_pin && (unsigned)CPU_COUNT(&allowed) < n_workers)
		log_warn("%u workers share %d CPUs: fewer workers, or more CPUs for the process", n_workers,
			 CPU_COUNT(&allowed));
	sigfillset(&all); /* signals are for the control thread */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < n_workers && !rc; i++) {
		struct worker_private *v = workers[i]->priv;
		char name[24];
		rc = v->running ? 0 : pthread_create(&v->thread, NULL, worker_main, workers[i]);
		if (rc || v->running)
			continue;
		v->running = true;
		gate.n_running++;
		snprintf(name, sizeof(name), "worker/%u", i);
		pthread_setname_np(v->thread, name);
		if (settings.worker_pin)
			pin(v->thread, i, &allowed);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		workers_stop();
		return err_set(e, -rc, "cannot start a worker thread: %s", strerror(rc));
	}
	return 0;
}

void workers_stop(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.stop = true;
	set_attention();
	pthread_cond_broadcast(&gate.cond);
	pthread_mutex_unlock(&gate.lock);
	wake_all();
	for (unsigned i = 0; i < n_workers; i++) {
		struct worker_private *v = workers[i]->priv;
		if (!v->running)
			continue;
		pthread_join(v->thread, NULL);
		v->running = false;
		gate.n_running--;
	}
}

void workers_pause(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.depth++;
	set_attention();
	pthread_mutex_unlock(&gate.lock);
	wake_all();
	pthread_mutex_lock(&gate.lock);
	while (gate.n_paused < gate.n_running)
		pthread_cond_wait(&gate.cond, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

void workers_resume(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.depth--;
	set_attention();
	pthread_cond_broadcast(&gate.cond);
	pthread_mutex_unlock(&gate.lock);
}

/* ---- workers ---- */
static struct worker *worker_new(unsigned id, unsigned n)
{
	struct worker *w = aligned_alloc(64, sizeof(*w));
	struct worker_private *v = aligned_alloc(64, ALIGN_UP(sizeof(*v), 64));
	if (!w || !v) {
		free(w);
		free(v);
		return NULL;
	}
	memset(w, 0, sizeof(*w));
	memset(v, 0, sizeof(*v));
	w->priv = v;
	w->id = w->slot = (uint16_t)id;
	w->random = (clock_cycles() << 8 | id) * 0x9e3779b97f4a7c15ull | 1;
	v->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	v->fds[0] = (struct pollfd){ .fd = v->wake_fd, .events = POLLIN };
	v->n_fds = 1;
	workers[id] = w;
	n_workers = id + 1;
	return v->wake_fd < 0 || handoff_init(w, n) ? NULL : w;
}

int workers_init(unsigned n, struct err *e)
{
	const struct port_conf control = { .name = "control", .kind = "control" };
	if (n < 1 || n > WORKERS_MAX)
		return err_set(e, -ERANGE, "worker count %u: 1 to %d", n, WORKERS_MAX);
	int rc = requests_init(e);
	if (rc)
		return rc;
	for (unsigned i = 0; i < n; i++)
		if (!worker_new(i, n)) {
			workers_fini();
			return err_set(e, -ENOMEM, "no memory or file descriptor for worker %u", i);
		}
	rc = port_open(&control, PORT_CONTROL, NULL, e);
	if (rc)
		workers_fini();
	return rc;
}

static void worker_free(struct worker *w)
{
	for (unsigned i = 0; i < w->n_held; i++)
		frame_put(&w->frames, w->held[i].pkt.data);
	handoff_fini(w);
	frame_cache_flush(&w->frames);
	if (w->priv->wake_fd >= 0)
		close(w->priv->wake_fd);
	free(w->priv);
	free(w);
}

void workers_fini(void)
{
	workers_stop();
	port_close(ports[PORT_CONTROL], true);
	for (unsigned i = 0; i < n_workers; i++) {
		worker_free(workers[i]);
		workers[i] = NULL;
	}
	n_workers = 0;
	inject_fini();
	requests_fini();
}

/* ---- who owns what ---- */
static void own(struct worker *w, struct port_queue *q)
{
	struct worker_private *v = w->priv;
	int fd = q->port->ops->wait_fd(q);
	q->owner = w->id;
	v->queue[v->n_queues++] = q;
	v->spins |= q->port->ops->spins;
	if (fd >= 0)
		v->fds[v->n_fds++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	if (fd < 0 || q->port->ops->spins)
		v->must_poll = true;
}

/* The queue each thread sends on: one of its own, else they are spread. */
static void choose_tx_queues(struct port *p)
{
	for (unsigned w = 0; w <= WORKERS_MAX; w++) {
		p->tx_queue[w] = (uint16_t)(w % p->n_tx_queues);
		for (unsigned q = 0; q < p->n_tx_queues && w < n_workers; q++)
			if (p->queue[q].owner == w) {
				p->tx_queue[w] = (uint16_t)q;
				break;
			}
	}
}

void workers_assign(void)
{
	unsigned next = 0;
	/* what was handed over still goes by the old order, so that no frame meets an index given to another port */
	for (unsigned i = 0; i < n_workers; i++) {
		handoff_receive(workers[i]);
		handoff_flush(workers[i]);
	}
	for (unsigned i = 0; i < n_workers; i++) {
		struct worker_private *v = workers[i]->priv;
		v->n_queues = 0;
		v->n_fds = 1;
		v->must_poll = v->spins = false;
	}
	for (unsigned i = 0; i < PORTS_MAX && n_workers; i++) {
		struct port *p = ports[i];
		if (!p || !p->ops)
			continue;
		/* The gate's queue n is worker n's: the kernel chooses the worker by it. Elsewhere ports of one queue are
		 * spread over workers. */
		unsigned first = i == PORT_GATE ? 0 : next;
		for (unsigned q = 0; q < p->n_queues; q++)
			own(workers[(first + q) % n_workers], &p->queue[q]);
		if (i != PORT_GATE)
			next += p->n_queues;
		choose_tx_queues(p);
	}
}

void workers_forget_port(unsigned index)
{
	for (unsigned i = 0; i < n_workers; i++) {
		struct port_counter *c = &workers[i]->port[index];
		/* what is held will be counted as sent or dropped, so it came in */
		*c = (struct port_counter){ .rx.packets = c->held, .held = c->held };
	}
}

/* ---- sums ---- */
void workers_neighbor_changed(void)
{
	__atomic_add_fetch(&neighbor_epoch, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < n_workers; i++)
		if (LOAD_RELAXED(&workers[i]->n_held))
			worker_wake(workers[i]);
}

static void add(struct counter *to, const struct counter *c)
{
	to->packets += LOAD_RELAXED(&c->packets);
	to->bytes += LOAD_RELAXED(&c->bytes);
}

struct counter workers_drops(unsigned reason)
{
	struct counter sum = { 0 };
	for (unsigned i = 0; i < n_workers && reason < ARRAY_LEN(workers[i]->drops); i++)
		add(&sum, &workers[i]->drops[reason]);
	return sum;
}

struct port_counter workers_port(unsigned port)
{
	struct port_counter sum = { 0 };
	for (unsigned i = 0; i < n_workers && port < PORTS_MAX; i++) {
		const struct port_counter *c = &workers[i]->port[port];
		add(&sum.rx, &c->rx);
		add(&sum.tx, &c->tx);
		add(&sum.dropped, &c->dropped);
		sum.held += LOAD_RELAXED(&c->held);
	}
	return sum;
}
